"""The test PKI: a CA that says in its name what it is, the provider's message key, and certificates for PSDs.

Keys lie in files whose names say that they protect nothing real. Dates come from the injected clock, and signatures
are deterministic, so that a seed repeats every certificate byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pes_sim.clock import DAY, SECOND
from pes_sim.entropy import Entropy
from pes_sim.errors import BadCertificate, BadSignature
from pes_sim.indicium.certificates import Purpose
from pes_sim.psd.keys import CURVES, P256_ORDER, Curve, curve_class, raw_signature, signing_algorithm
from pes_sim.psd.owned import read_regular, read_secret
from pes_sim.psd.storage import write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import dsa, ec
    from cryptography.x509 import Certificate, Name

CA_NAME: Final = "PES-SIM TEST CA - SPECIMEN ONLY - NOT FOR POSTAGE"
PROVIDER_NAME: Final = "PES-SIM TEST PROVIDER 99"
CA_YEARS: Final = 20
LEAF_YEARS: Final = 10
_BACKDATE: Final = DAY
"""Certificates begin a day before they are made: another machine's clock may be behind."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate in DER, and the key that goes with it."""

    certificate: bytes
    key: ec.EllipticCurvePrivateKey

    @property
    def name(self) -> Name:
        """Whom the certificate names."""
        from cryptography import x509

        return x509.load_der_x509_certificate(self.certificate).subject

    def sign(self, message: bytes) -> bytes:
        """r and s over `message`, 64 bytes."""
        return raw_signature(self.key.sign(message, signing_algorithm()))


class Pki:
    """The CA and the provider's key, in a directory; made there when it is empty, and `may_make` says so."""

    def __init__(self, directory: Path, entropy: Entropy, now: int, *, may_make: bool = True) -> None:
        self._directory = directory
        self._entropy = entropy
        if may_make and not (directory / "ca.pem").exists():
            self._make(entropy, now)
        self.ca = self._load("ca")
        self.provider = self._load("provider")

    @staticmethod
    def check_point(point: bytes) -> None:
        """Raises `BadCertificate` unless `point` is a public key on P-256: what it signs could never be checked."""
        _public_key(point, Curve.P256)

    def issue_psd(self, point: bytes, psd_serial: int, number: int, now: int) -> bytes:
        """A certificate in DER for a PSD's key, whose kind its length tells. `number`, its serial number, must fit four
        bytes.
        """
        curve = next((curve for curve, facts in CURVES.items() if facts.point == len(point)), Curve.P256)
        key = _public_key(point, curve)
        name = _name(f"PES-SIM PSD {psd_serial:010d}", Purpose.PSD, str(psd_serial))
        certificate = _certificate(name, self.ca.name, key, self.ca.key, number, now, LEAF_YEARS, ca=False)
        return _der(certificate)

    def inspector(self, now: int) -> Issued:
        """A postal inspector's key and certificate. Made anew each time, and kept by nobody but the caller."""
        key = _key(self._entropy)
        name = _name("PES-SIM TEST INSPECTOR", Purpose.INSPECTOR)
        number = int.from_bytes(self._entropy(8), "big") + 1
        certificate = _certificate(name, self.ca.name, key.public_key(), self.ca.key, number, now, LEAF_YEARS, ca=False)
        return Issued(_der(certificate), key)

    def _make(self, entropy: Entropy, now: int) -> None:
        ca_key, provider_key = _key(entropy), _key(entropy)
        ca_name = _name(CA_NAME, Purpose.ANCHOR)
        ca = _certificate(ca_name, ca_name, ca_key.public_key(), ca_key, 1, now, CA_YEARS, ca=True)
        name = _name(PROVIDER_NAME, Purpose.PROVIDER)
        provider = _certificate(name, ca_name, provider_key.public_key(), ca_key, 2, now, LEAF_YEARS, ca=False)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The CA's certificate is written last: until it is there, the PKI counts as not made.
        self._save("provider", provider, provider_key)
        self._save("ca", ca, ca_key)

    def _save(self, name: str, certificate: Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        from cryptography.hazmat.primitives import serialization as form

        pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        write_atomically(self._key_file(name), pem, 0o600)
        write_atomically(self._directory / f"{name}.pem", certificate.public_bytes(form.Encoding.PEM))

    def _load(self, name: str) -> Issued:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        path = self._directory / f"{name}.pem"
        try:
            certificate = x509.load_pem_x509_certificate(read_regular(path))
            key = load_pem_private_key(read_secret(self._key_file(name)), None)
        except (OSError, ValueError, TypeError) as problem:
            hint = "Put back the files that were made with the meter"
            raise BadCertificate(f"{path} or its key cannot be read: {problem}", hint=hint) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise BadCertificate(f"{path} is not for the key beside it", hint="Put back the files of one meter")
        return Issued(_der(certificate), key)

    def _key_file(self, name: str) -> Path:
        return self._directory / f"{name}-key-NOT-FOR-PRODUCTION.pem"


def pem(der: bytes) -> bytes:
    """A certificate in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def _public_key(point: bytes, curve: Curve) -> ec.EllipticCurvePublicKey | dsa.DSAPublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    if curve is Curve.DSA_1024:
        return _dsa_key(point)
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve_class(curve), point)
    except ValueError:
        raise BadCertificate(f"the PSD's public key is not a point on {curve}") from None


def _dsa_key(public: bytes) -> dsa.DSAPublicKey:
    from pes_sim.indicium.dsa import public_key

    try:
        return public_key(public)
    except BadSignature as problem:
        raise BadCertificate(problem.message) from None


def _key(entropy: Entropy) -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.derive_private_key(int.from_bytes(entropy(40), "big") % (P256_ORDER - 1) + 1, ec.SECP256R1())


def _name(common: str, purpose: Purpose, device: str = "") -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "pes_sim - specimens, no postage"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, purpose.value),
        x509.NameAttribute(NameOID.COMMON_NAME, common),
    ]
    if device:
        parts.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, device))
    return x509.Name(parts)


def _certificate(
    subject: Name,
    issuer: Name,
    key: ec.EllipticCurvePublicKey | dsa.DSAPublicKey,
    signer: ec.EllipticCurvePrivateKey,
    number: int,
    now: int,
    years: int,
    *,
    ca: bool,
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    begin = datetime.fromtimestamp((now - _BACKDATE) // SECOND, UTC)
    usage = x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    signer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(number)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(signer_id, critical=False)
        .sign(signer, hashes.SHA256(), ecdsa_deterministic=True)
    )


def _der(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)
