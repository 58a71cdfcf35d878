"""The test PKI: names that nobody mistakes for real ones, chains that verify, and keys that are never made twice."""

from __future__ import annotations

import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from pes_sim.clock import DAY, parse_iso
from pes_sim.entropy import SeededEntropy, SystemEntropy
from pes_sim.errors import BadCertificate, HostileDirectory
from pes_sim.indicium import certificates, signature
from pes_sim.indicium.certificates import Purpose
from pes_sim.provider.pki import CA_NAME, Pki, pem

NOON = parse_iso("2026-11-21T12:00:00Z")


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path, SystemEntropy(), NOON)


def a_point() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(form.Encoding.X962, form.PublicFormat.UncompressedPoint)


def test_every_certificate_says_that_it_is_for_specimens(pki: Pki) -> None:
    issued = [pki.ca.certificate, pki.provider.certificate, pki.issue_psd(a_point(), 7, 1001, NOON)]
    for der, common in zip(issued, (CA_NAME, "PES-SIM TEST PROVIDER 99", "PES-SIM PSD 0000000007"), strict=True):
        subject = x509.load_der_x509_certificate(der).subject
        assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == common
        assert "specimens, no postage" in str(subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)
    assert "TEST CA - SPECIMEN ONLY - NOT FOR POSTAGE" in CA_NAME


def test_keys_lie_in_files_for_the_owner_whose_names_say_that_they_protect_nothing(pki: Pki, tmp_path: Path) -> None:
    keys = {path.name for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()}
    assert keys == {"ca-key-NOT-FOR-PRODUCTION.pem", "provider-key-NOT-FOR-PRODUCTION.pem"}
    assert all((tmp_path / name).stat().st_mode & 0o077 == 0 for name in keys)
    assert pki.ca.certificate == x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes()).public_bytes(
        form.Encoding.DER
    )


def test_a_psds_certificate_chains_names_its_device_and_fits_the_indicium(pki: Pki) -> None:
    point = a_point()
    der = pki.issue_psd(point, 1234567, (1 << 32) - 1, NOON)
    checked = certificates.read(der, pki.ca.certificate, Purpose.PSD)
    assert (checked.point, checked.device, checked.serial) == (point, 1234567, (1 << 32) - 1)
    certificates.check_anchor(pki.ca.certificate)
    certificates.read(pki.provider.certificate, pki.ca.certificate, Purpose.PROVIDER)
    with pytest.raises(BadCertificate, match="not for PES-SIM provider messages"):
        certificates.read(der, pki.ca.certificate, Purpose.PROVIDER)
    other = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.BasicConstraints)
    assert other.value.ca is False


def test_another_ca_of_the_same_name_is_another_ca(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Pki(tmp_path / "other", SystemEntropy(), NOON)
    with pytest.raises(BadCertificate, match="not issued by the trust anchor"):
        certificates.read(other.issue_psd(a_point(), 1, 1, NOON), pki.ca.certificate, Purpose.PSD)


def test_dates_come_from_the_clock_that_was_handed_in(pki: Pki) -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    ca = x509.load_der_x509_certificate(pki.ca.certificate)
    psd = x509.load_der_x509_certificate(pki.issue_psd(a_point(), 1, 1, NOON + DAY))
    assert ca.not_valid_before_utc == noon - timedelta(days=1)
    assert ca.not_valid_after_utc == noon + timedelta(days=20 * 365 - 1)
    assert psd.not_valid_before_utc == noon
    assert psd.not_valid_after_utc == noon + timedelta(days=10 * 365)


def test_the_provider_signs_with_the_key_of_its_certificate(pki: Pki) -> None:
    checked = certificates.read(pki.provider.certificate, pki.ca.certificate, Purpose.PROVIDER)
    signature.verify_p256(checked.point, b"a grant", pki.provider.sign(b"a grant"))
    assert pki.provider.sign(b"a grant") == pki.provider.sign(b"a grant")


def test_a_seed_repeats_every_byte(tmp_path: Path) -> None:
    point = a_point()
    made = []
    for name in ("a", "b", "c"):
        pki = Pki(tmp_path / name, SeededEntropy("lucky" if name != "c" else "other"), NOON)
        made.append((pki.ca.certificate, pki.provider.certificate, pki.issue_psd(point, 1, 1001, NOON)))
    assert made[0] == made[1]
    assert all(one != other for one, other in zip(made[1], made[2], strict=True))


def test_opened_again_it_is_the_same(pki: Pki, tmp_path: Path) -> None:
    again = Pki(tmp_path, SystemEntropy(), NOON + DAY)
    assert (again.ca.certificate, again.provider.certificate) == (pki.ca.certificate, pki.provider.certificate)
    assert again.provider.sign(b"x") == pki.provider.sign(b"x")


def test_a_key_on_p_224_gets_a_certificate_too_where_indicia_are_signed_and_nowhere_else(pki: Pki) -> None:
    key = ec.derive_private_key(7, ec.SECP224R1()).public_key()
    point = key.public_bytes(form.Encoding.X962, form.PublicFormat.UncompressedPoint)
    der = pki.issue_psd(point, 1, 1001, NOON)
    assert certificates.read(der, pki.ca.certificate, Purpose.PSD).point == point
    with pytest.raises(BadCertificate, match="not a point on P-256"):
        pki.check_point(point)
    with pytest.raises(BadCertificate, match="not a point on P-224"):
        pki.issue_psd(b"\x04" + bytes(56), 1, 1, NOON)


@pytest.mark.parametrize("point", [b"", bytes(65), b"\x04" + bytes(64), b"\x04" * 65, b"\x02" + b"\xff" * 32])
def test_what_is_no_point_on_the_curve_gets_no_certificate(pki: Pki, point: bytes) -> None:
    with pytest.raises(BadCertificate, match="not a point on P-256"):
        pki.issue_psd(point, 1, 1, NOON)


# --- files that are missing or mixed up ------------------------------------------------------------------------------


def test_a_pki_that_was_cut_off_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    Pki(tmp_path, SystemEntropy(), NOON)
    (tmp_path / "ca.pem").unlink()  # the file that is written last
    again = Pki(tmp_path, SystemEntropy(), NOON)
    certificates.read(again.provider.certificate, again.ca.certificate, Purpose.PROVIDER)


@pytest.mark.parametrize(
    "name", ["ca.pem", "provider.pem", "ca-key-NOT-FOR-PRODUCTION.pem", "provider-key-NOT-FOR-PRODUCTION.pem"]
)
def test_where_keys_have_been_used_none_is_made_anew(tmp_path: Path, name: str) -> None:
    Pki(tmp_path, SystemEntropy(), NOON)
    (tmp_path / name).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(BadCertificate, match="No such file") as refusal:
        Pki(tmp_path, SystemEntropy(), NOON, may_make=False)
    assert name.split("-")[0].removesuffix(".pem") in refusal.value.message
    assert refusal.value.hint == "Put back the files that were made with the meter"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_key_that_is_not_the_certificates_is_refused(tmp_path: Path) -> None:
    Pki(tmp_path / "a", SystemEntropy(), NOON)
    Pki(tmp_path / "b", SystemEntropy(), NOON)
    shutil.copy(tmp_path / "b" / "provider-key-NOT-FOR-PRODUCTION.pem", tmp_path / "a")
    with pytest.raises(BadCertificate, match=r"provider\.pem is not for the key beside it"):
        Pki(tmp_path / "a", SystemEntropy(), NOON)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    Pki(tmp_path, SystemEntropy(), NOON)
    key = rsa.generate_private_key(65537, 2048)
    raw = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (tmp_path / "ca-key-NOT-FOR-PRODUCTION.pem").write_bytes(raw)
    with pytest.raises(BadCertificate, match=r"ca\.pem is not for the key beside it"):
        Pki(tmp_path, SystemEntropy(), NOON)


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff" * 99]
)
def test_a_certificate_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    Pki(tmp_path, SystemEntropy(), NOON)
    (tmp_path / "provider.pem").write_bytes(content)
    with pytest.raises(BadCertificate, match=r"provider\.pem or its key cannot be read"):
        Pki(tmp_path, SystemEntropy(), NOON)


def test_pem_is_what_openssl_reads(pki: Pki) -> None:
    text = pem(pki.ca.certificate)
    assert text.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert certificates.from_pem(text) == pki.ca.certificate


def test_a_key_that_others_may_read_is_refused_and_said_with_what_to_do(tmp_path: Path) -> None:
    Pki(tmp_path, SystemEntropy(), NOON)
    key = tmp_path / "provider-key-NOT-FOR-PRODUCTION.pem"
    key.chmod(0o644)
    with pytest.raises(HostileDirectory) as refusal:
        Pki(tmp_path, SystemEntropy(), NOON)
    assert refusal.value.message == f"others may read {key} (mode 644)"
    assert refusal.value.hint == f"Put it right: chmod 600 {key}"
    key.chmod(0o600)
    Pki(tmp_path, SystemEntropy(), NOON)


@pytest.mark.parametrize("name", ["ca.pem", "ca-key-NOT-FOR-PRODUCTION.pem"])
def test_a_link_in_the_place_of_a_key_or_certificate_is_not_followed(tmp_path: Path, name: str) -> None:
    Pki(tmp_path, SystemEntropy(), NOON)
    (tmp_path / name).rename(tmp_path / "kept")
    (tmp_path / name).symlink_to("kept")
    with pytest.raises(HostileDirectory, match=f"{name} is a symbolic link, not a regular file"):
        Pki(tmp_path, SystemEntropy(), NOON)


def test_a_directory_that_it_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    Pki(tmp_path / "pki", SystemEntropy(), NOON)
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700
