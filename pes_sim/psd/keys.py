"""Keys: one interface, and a software store behind it whose name says that it protects nothing real.

* A private key leaves the store only wrapped (AES key wrap, RFC 3394) under a key derived from the master key.
* Signatures are ECDSA P-256 with SHA-256, deterministic (RFC 6979): the same record always gives the same indicium.
"""

from __future__ import annotations

import hmac
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

from pes_sim.entropy import Entropy
from pes_sim.errors import IntegrityError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

MASTER_KEY_LENGTH: Final = 32
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class KeyStore(Protocol):
    """What the PSD needs of whatever holds its keys."""

    def generate(self) -> None: ...

    def wrapped(self) -> bytes: ...

    def load(self, wrapped: bytes) -> None: ...

    def public_point(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...

    def derive(self, purpose: str) -> bytes: ...


class SoftwareKeyStoreNotForProduction:
    """Keys in this process's memory, wrapped under a master key that the caller keeps. For simulation only."""

    def __init__(self, master: bytes, entropy: Entropy) -> None:
        if len(master) != MASTER_KEY_LENGTH:
            raise IntegrityError(f"the master key has {len(master)} bytes, not {MASTER_KEY_LENGTH}")
        self._master = master
        self._entropy = entropy
        self._key: ec.EllipticCurvePrivateKey | None = None
        self._scalar = b""

    def generate(self) -> None:
        """A new P-256 key pair from the entropy source (FIPS 186-5 A.2.1: 64 extra random bits, then reduction)."""
        scalar = int.from_bytes(self._entropy(40), "big") % (P256_ORDER - 1) + 1
        self._use(scalar.to_bytes(32, "big"))

    def wrapped(self) -> bytes:
        """The private key, wrapped; empty when there is none."""
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        return aes_key_wrap(self.derive("key wrap"), self._scalar) if self._scalar else b""

    def load(self, wrapped: bytes) -> None:
        """Takes back what `wrapped` gave. Raises `IntegrityError` when it was altered or is another device's."""
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

        try:
            self._use(aes_key_unwrap(self.derive("key wrap"), wrapped))
        except InvalidUnwrap:
            raise IntegrityError("the signing key cannot be unwrapped: altered, or of another device") from None

    def public_point(self) -> bytes:
        """The public key as an uncompressed point, 65 bytes (SEC 1)."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._private().public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def sign(self, message: bytes) -> bytes:
        """r and s, 32 bytes each, big-endian."""
        return raw_signature(self._private().sign(message, signing_algorithm()))

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, from the master key."""
        return hmac.digest(self._master, b"pes-sim " + purpose.encode(), "sha256")

    def _use(self, scalar: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._key = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
        self._scalar = scalar

    def _private(self) -> ec.EllipticCurvePrivateKey:
        if self._key is None:
            raise IntegrityError("there is no signing key yet", hint="Initialize the device first")
        return self._key


@cache
def signing_algorithm() -> ec.ECDSA:
    """Deterministic ECDSA with SHA-256."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def raw_signature(der: bytes) -> bytes:
    """r and s, 32 bytes each, from the DER that `cryptography` makes of a P-256 signature."""
    # SEQUENCE { INTEGER r, INTEGER s }: every length is below 128, so one byte each.
    r_end = 4 + der[3]
    r = int.from_bytes(der[4:r_end], "big")
    s = int.from_bytes(der[r_end + 2 :], "big")
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
