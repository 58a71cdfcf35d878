"""`pes_sim.decode` and `pes_sim.verify`, as a program that only has a payload and two PEM files uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

import pes_sim
from pes_sim.errors import PayloadError, UsageError
from pes_sim.indicium.layout import builtin
from pes_sim.indicium.verify import Verdict
from pes_sim.provider.pki import pem
from tests.rig import MAC_KEY, SERIAL, operational


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path, Path]:
    rig = operational()
    folder = tmp_path_factory.mktemp("pem")
    certificates = rig.ask("get_certificates")
    (folder / "ca.pem").write_bytes(pem(certificates["trust_anchor"]))
    (folder / "psd.pem").write_bytes(pem(certificates["psd_certificate"]))
    return rig.dispense()["indicium"], folder / "ca.pem", folder / "psd.pem"


def test_bytes_and_hex_decode_alike(files: tuple[bytes, Path, Path]) -> None:
    payload = files[0]
    spaced = " ".join(payload.hex()[i : i + 8] for i in range(0, 228, 8)).upper() + "\n"
    for form in (payload, payload.hex(), spaced):
        assert pes_sim.decode(form).values["postage_mills"] == 740
    assert pes_sim.decode(payload, "imi_std").layout.name == "imi_std"


def test_one_certificate_or_several_can_be_given(files: tuple[bytes, Path, Path]) -> None:
    payload, ca, psd = files
    assert pes_sim.verify(payload, ca=ca, psd=psd).verdict is Verdict.VALID
    assert pes_sim.verify(payload.hex(), ca=str(ca), psd=[str(ca), psd]).verdict is Verdict.VALID


def test_a_mac_is_verified_with_the_providers_file_of_keys(files: tuple[bytes, Path, Path], tmp_path: Path) -> None:
    payload = operational(layout=builtin("imi_min")).dispense()["indicium"]
    keys = tmp_path / "keys"
    keys.write_text(
        f"# keys\n\n{SERIAL} {'00' * 32}\n  {SERIAL} {MAC_KEY.hex().upper()} # the newer one\n7 {'00' * 6}\n"
    )
    assert pes_sim.verify(payload, mac_keys=keys).verdict is Verdict.VALID
    assert pes_sim.verify(payload, mac_keys=str(keys), layout="imi_min").verdict is Verdict.VALID
    assert pes_sim.verify(payload, ca=files[1], psd=files[2]).verdict is Verdict.NO_KEY
    assert pes_sim.verify(payload, mac_keys=keys, layout="imi_std").verdict is Verdict.UNKNOWN_VERSION


@pytest.mark.parametrize("line", ["7", "7 xyz", "7 00 00", "x " + "00" * 32, "7 " + "00" * 65, "7 0011"])
def test_a_bad_line_in_a_file_of_keys_is_named_and_not_shown(tmp_path: Path, line: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"1 {'ab' * 32}\n{line}\n")
    with pytest.raises(UsageError, match="keys, line 2: not a PSD's key") as caught:
        pes_sim.verify(b"x", mac_keys=keys)
    assert str(caught.value).partition("keys, ")[2] == "line 2: not a PSD's key. Its serial number, and its key in hex"
    with pytest.raises(UsageError, match="none cannot be read"):
        pes_sim.verify(b"x", mac_keys=tmp_path / "none")


def test_a_file_of_keys_or_a_certificate_without_end_is_refused(
    files: tuple[bytes, Path, Path], tmp_path: Path
) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="huge has more than 16777216 bytes: no keys"):
        pes_sim.verify(b"x", mac_keys=tmp_path / "huge")
    with pytest.raises(UsageError, match="huge is not a certificate"):
        pes_sim.verify(b"x", ca=tmp_path / "huge")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("abc", "3 hex digits"), ("0g", "'g' at character 2"), ("0a\n 0g", "'g' at character 6"), ("٠٠", "not hex")],
)
def test_text_that_is_not_hex_is_refused_with_the_place(text: str, complaint: str) -> None:
    with pytest.raises(PayloadError, match=complaint):
        pes_sim.decode(text)


def test_a_certificate_file_that_cannot_be_used_is_named(files: tuple[bytes, Path, Path], tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(UsageError, match="junk.pem is not a certificate"):
        pes_sim.verify(files[0], ca=tmp_path / "junk.pem", psd=files[2])
    with pytest.raises(UsageError, match="none.pem cannot be read"):
        pes_sim.verify(files[0], ca=tmp_path / "none.pem", psd=files[2])
