"""X.509 certificates of the test PKI: what each must say, and how one is read.

The subject tells the purpose (organizational unit) and, for a PSD, its serial number. A certificate of one purpose
never passes for another. This is the simulator's own profile: the real PKI's is not public.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pes_sim.clock import SECOND, iso
from pes_sim.errors import BadCertificate
from pes_sim.indicium import dsa

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class Purpose(StrEnum):
    """What a certificate is for: the organizational unit of its subject."""

    ANCHOR = "PES-SIM test CA"
    PROVIDER = "PES-SIM provider messages"
    PSD = "PES-SIM specimen indicia"
    INSPECTOR = "PES-SIM postal inspector"


@dataclass(frozen=True, slots=True)
class Checked:
    """A certificate that chains to the anchor: its serial number, its key as a point, and the device it names or 0."""

    serial: int
    point: bytes
    device: int
    not_before: int
    not_after: int


def check_anchor(der: bytes) -> None:
    """Raises `BadCertificate` unless `der` is a self-signed certificate of the test CA."""
    with _as_bad_certificate():
        _check(_load(der), _load(der), Purpose.ANCHOR)


def read(der: bytes, anchor: bytes, purpose: Purpose) -> Checked:
    """The certificate in `der`. Raises `BadCertificate` unless `anchor` issued it for `purpose`."""
    with _as_bad_certificate():
        certificate = _load(der)
        _check(certificate, _load(anchor), purpose)
        return _read(certificate)


def check_dates(checked: Checked, time: int) -> None:
    """Raises `BadCertificate` unless the certificate holds at `time`, in microseconds since 1970-01-01 UTC."""
    if not checked.not_before <= time // SECOND <= checked.not_after:
        first, last = iso(checked.not_before * SECOND), iso(checked.not_after * SECOND)
        raise BadCertificate(f"a certificate that holds from {first} to {last} does not hold at {iso(time)}")


def _read(certificate: Certificate) -> Checked:
    from cryptography.x509.oid import NameOID

    names = certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    device = str(names[0].value) if names else "0"
    return Checked(
        serial=certificate.serial_number,
        point=_point(certificate),
        device=int(device) if device.isascii() and device.isdigit() and len(device) <= 10 else 0,
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
    )


def _point(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import dsa as library
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = certificate.public_key()
    if isinstance(key, library.DSAPublicKey):
        return key.public_numbers().y.to_bytes(dsa.PUBLIC, "big")
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@contextmanager
def _as_bad_certificate() -> Iterator[None]:
    """Whatever a parser finds wrong, at whichever field, is the certificate's fault and never a traceback."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509 import InvalidVersion

    try:
        yield
    except BadCertificate:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidVersion) as problem:
        raise BadCertificate(f"the certificate cannot be read: {problem}") from None


def _load(der: bytes) -> Certificate:
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        raise BadCertificate("not an X.509 certificate in DER") from None


def _check(certificate: Certificate, anchor: Certificate, purpose: Purpose) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509.oid import NameOID

    units = [str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    if units != [purpose.value]:
        raise BadCertificate(f"the certificate is for {', '.join(units) or 'no purpose'}, not for {purpose.value}")
    kind, allowed = _kind_of_key(certificate), ("P-256", "P-224", "DSA-1024") if purpose is Purpose.PSD else ("P-256",)
    if kind not in allowed:
        raise BadCertificate(f"the certificate's key is not a {' or '.join(allowed)} key")
    try:
        certificate.verify_directly_issued_by(anchor)
    except (ValueError, TypeError, InvalidSignature):
        raise BadCertificate("the certificate was not issued by the trust anchor") from None


def _kind_of_key(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.asymmetric import dsa as library
    from cryptography.hazmat.primitives.asymmetric import ec

    key = certificate.public_key()
    if isinstance(key, library.DSAPublicKey):
        return "DSA-1024" if key.parameters().parameter_numbers() == dsa.group() else ""
    names = {"secp256r1": "P-256", "secp224r1": "P-224"}
    return names.get(key.curve.name, "") if isinstance(key, ec.EllipticCurvePublicKey) else ""


def from_pem(data: bytes) -> bytes:
    """DER from PEM. Raises `ValueError` when it is no certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
