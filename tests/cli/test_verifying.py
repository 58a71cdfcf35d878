"""`pes-sim verify` and `pes-sim decode`: each fault has its own verdict, and no bytes at all make a traceback."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pes_sim.cli import main
from pes_sim.cli.verifying import read_file
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import UsageError
from pes_sim.indicium import layout
from pes_sim.preview import image
from pes_sim.provider.pki import Pki, pem
from pes_sim.psd.keys import Slot
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.vault import MemoryVault
from pes_sim.virtual import DEFAULT_START, VirtualMeter
from tests.cli.conftest import Cli, job, letters
from tests.meter.made import copy_of_a_meter

IMI = layout.builtin("imi_std")
SAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "ibi_samples.json").read_text())
IBI, IBI_LITE = (bytes.fromhex(sample["hex"]) for sample in SAMPLES)


@dataclass(frozen=True, slots=True)
class Printed:
    """A folder with a printed PDF, one of its payloads and a page as a picture, and the certificates beside them."""

    folder: Path
    pdf: Path
    png: Path
    bin: Path
    payload: bytes
    meter: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    folder = tmp_path_factory.mktemp("printed")
    meter = copy_of_a_meter(folder / "m1")
    pdf = folder / "o.pdf"
    assert (
        main(["print", "--meter", str(meter), "--job", str(job(folder / "j.csv", *letters(2))), "--out", str(pdf)]) == 0
    )
    with VirtualMeter(meter) as opened:
        payload = next(iter(opened.log()))["indicium"]
    (folder / "p.bin").write_bytes(payload)
    next(image.pages(pdf, 300)).save(folder / "page.png")
    return Printed(folder, pdf, folder / "page.png", folder / "p.bin", payload, meter)


@pytest.fixture
def printed(made: Printed, tmp_path: Path) -> Printed:
    """A copy of it, with the certificates beside."""
    for path in (made.pdf, made.png, made.bin, made.meter / "ca.pem", made.meter / "psd.pem"):
        shutil.copy(path, tmp_path)
    return Printed(tmp_path, tmp_path / "o.pdf", tmp_path / "page.png", tmp_path / "p.bin", made.payload, made.meter)


# --- what is good ----------------------------------------------------------------------------------------------------


def test_what_was_printed_is_valid_as_pdf_as_picture_and_as_bytes(cli: Cli, printed: Printed) -> None:
    result = cli("verify", printed.pdf, printed.png, printed.bin)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"{printed.pdf} page 1: valid: $0.74, 2026-01-05, PSD 1234567",
        f"{printed.pdf} page 2: valid: $0.74, 2026-01-05, PSD 1234567",
        f"{printed.png} page 1: valid: $0.74, 2026-01-05, PSD 1234567",
        f"{printed.bin} page 1: valid: $0.74, 2026-01-05, PSD 1234567",
        "4 of 4 valid. Specimens: no valid postage, whatever the verdict.",
    ]


def test_hex_digits_may_stand_in_place_of_a_files_name(
    cli: Cli, printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # with the certificates
    digits = printed.payload.hex()
    for text in (digits, digits.upper(), f"{digits[:100]} {digits[100:]}", digits + "00" * 200):
        assert verdict(cli, Path(text)) == ("valid" if len(text) < 300 else "wrong_length")
    assert verdict(cli, Path(IBI_LITE.hex())) == "unknown_scheme"
    assert "cannot be read: No such file" in cli("verify", "abcdef12").complaint()[0]
    assert "cannot be read: No such file" in cli("verify", digits[:200] + "0x").complaint()[0]
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        list(read_file(Path("\udcff" * 40), 300))  # a name that is no UTF-8
    (tmp_path / digits).write_bytes(b"")
    assert "is empty" in cli("verify", digits).complaint()[0]  # a file of that name comes first


def test_as_json_every_check_is_there(cli: Cli, printed: Printed) -> None:
    result = cli("verify", printed.bin, "--json")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert document["valid"] is True
    (indicium,) = document["indicia"]
    assert indicium.keys() == {"file", "page", "verdict", "layout", "payload_hex", "fields", "checks"}
    assert (indicium["verdict"], indicium["layout"], indicium["page"]) == ("valid", "imi_std", 1)
    assert bytes.fromhex(indicium["payload_hex"]) == printed.payload
    assert indicium["fields"] == dict(IMI.unpack(printed.payload).values)
    assert [check["name"] for check in indicium["checks"]] == [
        "version",
        "length",
        "provider",
        "certificate",
        "validity",
        "signature",
    ]
    assert all(check["passed"] and check["note"] for check in indicium["checks"])


def test_certificates_may_lie_elsewhere_and_of_several_the_right_one_is_taken(
    cli: Cli, printed: Printed, tmp_path: Path
) -> None:
    (tmp_path / "certificates").mkdir()
    for name in ("ca.pem", "psd.pem"):
        (tmp_path / name).rename(tmp_path / "certificates" / name)
    assert verdict(cli, printed.bin) == "no_certificate"
    ca, psd = tmp_path / "certificates" / "ca.pem", tmp_path / "certificates" / "psd.pem"
    other = another_psd(printed.meter, tmp_path / "other.pem")
    for certificates in (["--psd", psd], ["--psd", other, "--psd", psd], ["--psd", psd, "--psd", other]):
        assert verdict(cli, printed.bin, "--ca", ca, *certificates) == "valid"


# --- each fault its own verdict --------------------------------------------------------------------------------------


def verdict(cli: Cli, *arguments: object) -> str:
    """The one verdict, which text and JSON agree on."""
    as_json, as_text = cli("verify", *arguments, "--json"), cli("verify", *arguments)
    document = json.loads(as_json.out)
    (indicium,) = document["indicia"]
    valid = indicium["verdict"] == "valid"
    assert document["valid"] is valid
    assert as_json.code == as_text.code == (0 if valid else 1)
    assert f": {indicium['verdict']}" in as_text.out.splitlines()[0]
    assert as_text.out.splitlines()[-1].startswith(f"{int(valid)} of 1 valid")
    if indicium["checks"]:
        assert [check["passed"] for check in indicium["checks"]].count(False) == (0 if valid else 1)
    return str(indicium["verdict"])


def another_psd(meter: Path, path: Path) -> Path:
    """The certificate of another PSD of the same CA, with a key of its own."""
    keys = SoftwareKeyStoreNotForProduction(bytes(32), SystemEntropy(), MemoryVault())
    point = keys.generate(Slot.INDICIUM)
    pki = Pki(meter / "provider", SystemEntropy(), DEFAULT_START, may_make=False)
    path.write_bytes(pem(pki.issue_psd(point, 7654321, 4711, DEFAULT_START)))
    return path


def test_another_psds_certificate_is_the_wrong_one(cli: Cli, printed: Printed, tmp_path: Path) -> None:
    other = another_psd(printed.meter, tmp_path / "other.pem")
    assert verdict(cli, printed.bin, "--ca", tmp_path / "ca.pem", "--psd", other) == "wrong_certificate"


def test_a_certificate_of_another_ca_is_not_trusted(cli: Cli, printed: Printed, tmp_path: Path) -> None:
    with VirtualMeter() as other:
        for name in ("ca.pem", "psd.pem"):
            shutil.copy(other.home.directory / name, tmp_path / f"other-{name}")
    ca, psd = tmp_path / "ca.pem", tmp_path / "psd.pem"
    assert verdict(cli, printed.bin, "--ca", tmp_path / "other-ca.pem", "--psd", psd) == "untrusted_certificate"
    assert verdict(cli, printed.bin, "--ca", ca, "--psd", tmp_path / "other-psd.pem") == "untrusted_certificate"
    assert verdict(cli, printed.bin, "--ca", ca, "--psd", ca) == "untrusted_certificate"


def test_without_a_certificate_there_is_no_verdict_on_the_signature(cli: Cli, printed: Printed, tmp_path: Path) -> None:
    (tmp_path / "psd.pem").unlink()
    assert verdict(cli, printed.bin) == "no_certificate"
    assert "Give --ca ca.pem and --psd psd.pem" in cli("verify", printed.bin).out


@pytest.mark.parametrize("option", ["--ca", "--psd"])
def test_a_certificate_that_is_named_is_read_also_where_the_other_is_missing(
    cli: Cli, printed: Printed, tmp_path: Path, option: str
) -> None:
    (tmp_path / "ca.pem").unlink()
    (tmp_path / "psd.pem").unlink()
    result = cli("verify", printed.bin, option, tmp_path / "none.pem")
    assert (result.code, result.complaint()) == (
        2, [f"pes-sim: {tmp_path / 'none.pem'} cannot be read: No such file or directory"]
    )  # fmt: skip


ALTERED = {
    "indicia_version": "unknown_version",
    "provider_id": "not_a_specimen",
    "psd_serial": "wrong_certificate",
    "certificate_serial": "wrong_certificate",
}


@pytest.mark.parametrize("field", [*(row.name for row in IMI.fields), "signature"])
def test_an_altered_field_is_found_out(cli: Cli, printed: Printed, field: str) -> None:
    offset = next((row.offset for row in IMI.fields if row.name == field), IMI.signed_length)
    altered = bytearray(printed.payload)
    altered[offset] ^= 1
    printed.bin.write_bytes(altered)
    assert verdict(cli, printed.bin) == ALTERED.get(field, "bad_signature")


def test_an_exchanged_signature_is_found_out(cli: Cli, printed: Printed) -> None:
    with VirtualMeter(printed.meter) as meter:
        first, second = (entry["indicium"] for entry in meter.log())
    printed.bin.write_bytes(first[: IMI.signed_length] + second[IMI.signed_length :])
    assert verdict(cli, printed.bin) == "bad_signature"


@pytest.mark.parametrize("length", [0, 1, 2, 49, 50, 113])
def test_a_truncated_payload_is_truncated(cli: Cli, printed: Printed, length: int) -> None:
    printed.bin.write_bytes(printed.payload[:length])
    assert verdict(cli, printed.bin) == "truncated"


def test_a_layout_without_a_serial_number_is_no_traceback(cli: Cli, printed: Printed, tmp_path: Path) -> None:
    text = (Path(layout.__file__).parent / "layouts" / "imi_std.toml").read_text("utf-8")
    for known, other in (('"psd_serial"', '"device"'), ("writable = true", "writable = false"),
                         ('scheme = "ecdsa-p256-sha256"', 'scheme = "mystery"')):  # fmt: skip
        assert known in text
        text = text.replace(known, other)
    (tmp_path / "own.toml").write_text(text)
    result = cli("verify", printed.bin, "--layout", tmp_path / "own.toml")
    assert (result.code, result.err) == (1, "")
    assert "unknown_scheme" in result.out


def test_bytes_too_many_are_not_overlooked(cli: Cli, printed: Printed) -> None:
    printed.bin.write_bytes(printed.payload + b"\0")
    assert verdict(cli, printed.bin) == "wrong_length"


def test_a_version_that_nobody_knows_is_said(cli: Cli, printed: Printed) -> None:
    printed.bin.write_bytes(b"\xcb" + printed.payload[1:])
    assert verdict(cli, printed.bin) == "unknown_version"


@pytest.mark.parametrize(
    ("payload", "said"), [(IBI, "not_a_specimen"), (IBI_LITE, "unknown_scheme")], ids=["IBI", "Lite"]
)
def test_older_constructs_are_read_and_their_signatures_are_not_guessed_at(
    cli: Cli, printed: Printed, payload: bytes, said: str
) -> None:
    printed.bin.write_bytes(payload)
    assert verdict(cli, printed.bin) == said


def test_an_indicium_dated_after_its_certificate_is_said(cli: Cli, tmp_path: Path) -> None:
    meter = copy_of_a_meter(tmp_path / "m1")
    cli("meter", "advance", meter, "3700d")
    cli("meter", "checkin", meter)
    out = meter / "o.pdf"
    assert cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(1)), "--out", out).code == 0
    assert verdict(cli, out) == "expired_certificate"


def test_a_page_without_a_symbol_is_unreadable(cli: Cli, printed: Printed) -> None:
    Image.new("L", (300, 200), 255).save(printed.png)
    assert verdict(cli, printed.png) == "unreadable"
    assert json.loads(cli("verify", printed.png, "--json").out)["indicia"] == [
        {"file": str(printed.png), "page": 1, "verdict": "unreadable", "missing": 1, "checks": []}
    ]
    assert "a higher --dpi or a better scan may help" in cli("verify", printed.png).out


def test_one_bad_indicium_among_good_ones_is_not_lost_in_the_crowd(cli: Cli, printed: Printed) -> None:
    altered = bytearray(printed.payload)
    altered[30] ^= 1
    printed.bin.write_bytes(altered)
    result = cli("verify", printed.pdf, printed.bin)
    assert result.code == 1
    assert f"{printed.bin} page 1: bad_signature" in result.out
    assert result.out.splitlines()[-1].startswith("2 of 3 valid")


# --- files that cannot be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.pdf", None, "cannot be read: No such file or directory"),
        ("none.bin", None, "cannot be read: No such file or directory"),
        (".", None, "cannot be read: Is a directory"),
        ("empty.pdf", b"", "is empty"),
        ("empty.png", b"", "is empty"),
        ("garbage.pdf", b"garbage" * 100, "is no file that can be read"),
        ("broken.pdf", b"%PDF-1.4 and nothing more", "is a damaged PDF file"),
        ("broken.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "broken.png"),
        ("huge.bin", bytes(65537), "has more than 65536 bytes: no payload"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    cli: Cli, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for more in ([], ["--json"]):
        result = cli("verify", path, *more)
        assert result.code == 2
        assert str(path) in result.complaint()[0]
        assert says in result.complaint()[0]


def test_a_file_that_cannot_be_read_does_not_hide_what_the_others_say(
    cli: Cli, printed: Printed, tmp_path: Path
) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    files = [tmp_path / "none.png", printed.bin, tmp_path / "empty.png", printed.png]
    result = cli("verify", *files)
    assert (result.code, result.out.splitlines()[-1].split(".")[0]) == (2, "2 of 2 valid")
    assert [line for line in result.err.splitlines() if not line.startswith("  ")] == [
        f"pes-sim: {tmp_path / 'none.png'} cannot be read: No such file or directory",
        f"pes-sim: {tmp_path / 'empty.png'} is empty",
    ]
    document = json.loads(cli("verify", *files, "--json").out)
    assert (document["valid"], len(document["indicia"])) == (False, 2)
    assert [row["file"] for row in document["unread"]] == [str(files[0]), str(files[2])]
    assert document["unread"][1]["problem"].endswith("empty.png is empty")


def test_a_certificate_beside_one_file_does_not_hide_what_the_others_say(
    cli: Cli, printed: Printed, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    other = shutil.copy(printed.bin, tmp_path / "bad")
    for name in ("ca.pem", "psd.pem"):
        (tmp_path / "bad" / name).write_text("no certificate")
    result = cli("verify", printed.bin, other, printed.png, other)
    assert (result.code, result.out.splitlines()[-1].split(".")[0]) == (2, "2 of 2 valid")
    assert result.err == f"pes-sim: {tmp_path / 'bad' / 'ca.pem'} is not a certificate in PEM\n"  # once


def test_the_pages_before_a_damaged_one_are_told(cli: Cli, printed: Printed, tmp_path: Path) -> None:
    with Image.open(printed.png) as page:
        page.save(tmp_path / "two.tif", save_all=True, append_images=[page.rotate(90)])
    (tmp_path / "cut.tif").write_bytes((tmp_path / "two.tif").read_bytes()[:-20_000])
    result = cli("verify", tmp_path / "cut.tif")
    assert (result.code, "page 1: valid" in result.out) == (2, True)
    assert "page 2 is damaged" in result.err


def test_a_file_without_an_end_is_not_read_to_its_end(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "zero.bin").symlink_to("/dev/zero")
    assert "has more than 65536 bytes" in cli("verify", tmp_path / "zero.bin").complaint()[0]
    assert "has more than 65536 bytes" in cli("decode", "/dev/zero").complaint()[0]


@pytest.mark.parametrize("option", ["--ca", "--psd"])
@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read: No such file"), (b"", "is not a certificate in PEM")]
)
def test_a_certificate_that_cannot_be_read_is_named(
    cli: Cli, printed: Printed, tmp_path: Path, option: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "x.pem").write_bytes(content)
    result = cli("verify", printed.bin, option, tmp_path / "x.pem")
    assert result.code == 2
    assert f"{tmp_path / 'x.pem'} {says}" in result.complaint()[0]


@pytest.mark.parametrize("dpi", ["0", "-1", "35", "1201", "1000000"])
def test_a_resolution_that_makes_no_sense_is_refused(cli: Cli, printed: Printed, dpi: str) -> None:
    result = cli("verify", printed.pdf, f"--dpi={dpi}")
    assert result.code == 2
    assert f"{dpi} dpi is no useful resolution" in result.complaint()[0]


# --- decode ----------------------------------------------------------------------------------------------------------


def decoded(cli: Cli, *arguments: object) -> dict[str, Any]:
    result = cli("decode", *arguments, "--json")
    assert (result.code, result.err) == (0, "")
    document: dict[str, Any] = json.loads(result.out)
    return document


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["name"] for sample in SAMPLES])
def test_published_indicia_are_read_field_by_field(cli: Cli, sample: dict[str, Any]) -> None:
    document = decoded(cli, sample["hex"])
    assert document["layout"] == sample["layout"]
    values = {field["name"]: field["value"] for field in document["fields"]}
    wanted = dict(sample["fields"])
    if "hmac" in wanted:  # by the layout's names
        wanted["signature"] = wanted.pop("hmac")
        wanted["vendor_model"] = 16 * wanted.pop("provider_nibble") + wanted.pop("model_nibble")
    assert {name: values[name] for name in wanted} == wanted


def test_every_field_has_its_place_and_nothing_of_the_payload_is_left_out(cli: Cli, printed: Printed) -> None:
    for payload in (printed.payload, IBI, IBI_LITE):
        document = decoded(cli, payload.hex())
        assert document.keys() == {"layout", "title", "construct", "length", "fields"}
        assert document["length"] == len(payload)
        offset = 0
        for field in document["fields"]:
            assert field.keys() == {
                "name", "offset", "length", "raw_hex", "value", "unit", "meaning", "basis", "source"
            }  # fmt: skip
            assert field["offset"] == offset
            assert bytes.fromhex(field["raw_hex"]) == payload[offset : offset + field["length"]]
            assert field["basis"] in ("public", "assumed")
            assert field["meaning"]
            offset += field["length"]
        assert offset == len(payload)


def test_what_is_assumed_is_said_to_be(cli: Cli, printed: Printed) -> None:
    result = cli("decode", printed.payload.hex())
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0] == "IMI-STD (simulator profile, not USPS's): 114 bytes"
    assert "The IMI Performance Criteria are not public" in result.out
    rows = {line.split()[2]: line.split() for line in result.out.splitlines() if len(line.split()) > 5}
    assert rows["provider_id"][5] == "public"
    assert rows["postage_mills"][4:6] == ["$0.74", "assumed"]
    assert rows["mailing_date"][4] == "2026-01-05"
    assert "not public" not in cli("decode", IBI.hex()).out


@pytest.mark.parametrize("form", ["{}", " {} ", "{}\n"], ids=["plain", "blanks", "line end"])
def test_hex_as_people_have_it_at_hand(cli: Cli, form: str) -> None:
    text = form.format(IBI_LITE.hex())
    assert decoded(cli, text)["layout"] == "ibi_lite"
    assert decoded(cli, text.upper())["layout"] == "ibi_lite"
    assert decoded(cli, " ".join(text))["layout"] == "ibi_lite"


def test_a_file_may_hold_the_payload_or_hex_digits(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw").write_bytes(IBI)
    (tmp_path / "hex").write_text("\n".join(IBI.hex()[at : at + 32] for at in range(0, 200, 32)) + "\n")
    assert decoded(cli, tmp_path / "raw") == decoded(cli, tmp_path / "hex") == decoded(cli, IBI.hex())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ff").write_bytes(IBI)
    assert decoded(cli, "ff")["layout"] == "ibi"  # a file of that name comes first


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_hex_digits_may_be_written_as_windows_does(cli: Cli, printed: Printed, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("e") else ""
    printed.bin.write_bytes(f"{mark}{printed.payload.hex()}\r\n".encode(encoding))
    assert decoded(cli, printed.bin)["layout"] == "imi_std"
    assert verdict(cli, printed.bin) == "valid"


@pytest.mark.parametrize("text", ["0x{}", "{}:", "payload {}\n", "\t{}, "])
def test_a_file_of_other_text_is_not_taken_for_a_payload(cli: Cli, printed: Printed, text: str) -> None:
    printed.bin.write_text(text.format(printed.payload.hex()))
    result = cli("decode", printed.bin)
    assert (result.code, result.complaint()[0]) == (2, f"pes-sim: {printed.bin} is text, but no hex digits")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the payload is empty"),
        ("f", "'f' is neither a file nor hex digits: 1 hex digits are no whole number of bytes"),
        ("fff", "3 hex digits are no whole number of bytes"),
        ("zz", "'zz' is neither a file nor hex digits: not hex: 'z' at character 1"),
        ("0xff4713", "not hex: 'x' at character 2"),
        ("ff4713g0", "not hex: 'g' at character 7"),
        ("١٢", "not hex: '١' at character 1"),
        ("no/such/file.bin", "'no/such/file.bin' is neither a file nor hex digits"),
        ("/", "/ cannot be read: Is a directory"),
        ("cb" * 114, "unknown indicia version 203"),
        ("ca", "truncated: the payload ends in field provider_id (bytes 1 to 2), 1 of 114 bytes"),
        ("ca" * 113, "truncated: the payload ends in field signature"),
        ("z" * 100_000, "is neither a file nor hex digits"),
    ],
)
def test_what_is_no_payload_is_told(cli: Cli, text: str, says: str) -> None:
    for more in ([], ["--json"]):
        result = cli("decode", text, *more)
        assert result.code == 2
        assert says in result.complaint()[0]
        assert len(result.complaint()[0]) < 250


def test_postage_that_is_no_number_in_somebodys_layout_is_no_traceback(
    cli: Cli, printed: Printed, tmp_path: Path
) -> None:
    text = (Path(layout.__file__).parent / "layouts" / "imi_std.toml").read_text()
    head, tail = text.split('name = "postage_mills"')
    (tmp_path / "x.toml").write_text(head + 'name = "postage_mills"' + tail.replace('"uint-le"', '"bytes"', 1))
    (tmp_path / "p.bin").write_bytes(printed.payload)
    result = cli("verify", tmp_path / "p.bin", "--layout", tmp_path / "x.toml")
    assert (result.code, result.out.splitlines()[0]) == (0, f"{tmp_path / 'p.bin'} page 1: valid")


def test_a_layout_may_be_forced_and_must_be_one(cli: Cli, printed: Printed, tmp_path: Path) -> None:
    assert decoded(cli, printed.payload.hex(), "--layout", "ibi")["layout"] == "ibi"
    assert "there is no layout 'imi'" in cli("decode", "ff", "--layout", "imi").complaint()[0]
    (tmp_path / "x.toml").write_text("name = 1")
    broken = cli("decode", "ff", "--layout", tmp_path / "x.toml")
    assert (broken.code, broken.complaint()[0].startswith(f"pes-sim: {tmp_path / 'x.toml'}, line 1: ")) == (2, True)
    assert "cannot be read" in cli("decode", "ff", "--layout", tmp_path / "none.toml").complaint()[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=150), st.sampled_from([b"", b"\xca", b"\x50", b"\xff"]))
def test_any_bytes_have_a_verdict_and_decode_or_say_why_not(
    cli: Cli, tmp_path: Path, rest: bytes, first: bytes
) -> None:
    path = tmp_path / "any.bin"
    path.write_bytes(first + rest)
    assert cli("verify", path).code == 1
    assert json.loads(cli("verify", path, "--json").out)["valid"] is False
    assert cli("decode", path).code in (0, 2)
