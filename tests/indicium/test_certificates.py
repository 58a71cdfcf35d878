"""Certificates: each names its purpose and, for a PSD, its device; none passes for another."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pes_sim.errors import BadCertificate
from pes_sim.indicium import certificates
from pes_sim.indicium.certificates import Purpose
from pes_sim.provider.pki import pem
from tests.rig import CERTIFICATE_SERIAL, NOON, SERIAL, Rig, pki

CA = pki().ca.certificate


def psd_certificate() -> bytes:
    return pki().issue_psd(Rig().initialize()["public_key"], SERIAL, CERTIFICATE_SERIAL, NOON)


def test_a_psd_certificate_tells_its_serial_number_key_and_device() -> None:
    checked = certificates.read(psd_certificate(), CA, Purpose.PSD)
    assert (checked.serial, checked.device) == (CERTIFICATE_SERIAL, SERIAL)
    assert checked.point == Rig().initialize()["public_key"]
    assert checked.not_before < NOON // 1_000_000 < checked.not_after


def test_the_ca_says_in_its_name_what_it_is() -> None:
    name = x509.load_der_x509_certificate(CA).subject.rfc4514_string()
    assert "SPECIMEN ONLY" in name
    assert "NOT FOR POSTAGE" in name
    certificates.check_anchor(CA)


@pytest.mark.parametrize("purpose", [Purpose.ANCHOR, Purpose.PROVIDER])
def test_a_certificate_of_one_purpose_does_not_pass_for_another(purpose: Purpose) -> None:
    with pytest.raises(BadCertificate, match=f"is for {Purpose.PSD}, not for {purpose}"):
        certificates.read(psd_certificate(), CA, purpose)


def test_a_provider_certificate_names_no_device() -> None:
    assert certificates.read(pki().provider.certificate, CA, Purpose.PROVIDER).device == 0


def handmade(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey, units: list[str]) -> bytes:
    """A certificate as somebody else might make it."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def test_a_key_of_another_kind_is_refused() -> None:
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        with pytest.raises(BadCertificate, match="not a P-256 key"):
            certificates.check_anchor(handmade(key, [Purpose.ANCHOR]))


def test_a_certificate_without_a_purpose_or_with_two_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(BadCertificate, match="is for no purpose"):
        certificates.check_anchor(handmade(key, []))
    with pytest.raises(BadCertificate, match="PSD, PES-SIM test CA|specimen indicia, PES-SIM test CA"):
        certificates.check_anchor(handmade(key, [Purpose.PSD, Purpose.ANCHOR]))


def test_a_self_made_anchor_of_the_right_name_passes_only_for_its_own() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    anchor = handmade(key, [Purpose.ANCHOR])
    certificates.check_anchor(anchor)
    with pytest.raises(BadCertificate, match="not issued by the trust anchor"):
        certificates.read(psd_certificate(), anchor, Purpose.PSD)


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(BadCertificate, match="not an X.509"):
        certificates.read(b"junk", CA, Purpose.PSD)


def signed_part(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).tbs_certificate_bytes


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_a_certificate_with_any_byte_altered_is_refused_or_read_and_nothing_else_is_raised() -> None:
    good = psd_certificate()
    refused = 0
    for index in range(len(good)):
        for flip in (0x01, 0x80, 0xFF):
            altered = good[:index] + bytes([good[index] ^ flip]) + good[index + 1 :]
            try:
                certificates.read(altered, CA, Purpose.PSD)
            except BadCertificate:
                refused += 1
            else:  # an ambiguity of the wrapping: what is signed is the same
                assert signed_part(altered) == signed_part(good)
            with contextlib.suppress(BadCertificate):
                certificates.check_anchor(altered)
    assert refused > 3 * len(good) - 5


def test_pem_and_der_are_the_same_certificate() -> None:
    assert certificates.from_pem(pem(CA)) == CA
    with pytest.raises(ValueError, match="PEM"):
        certificates.from_pem(b"junk")
