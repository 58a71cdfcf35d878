"""Checking signatures. `SCHEMES` and `MACS` name what the verifier can check; any other scheme is reported.

A scheme of `MACS` is symmetric: who can check it could have made it, so its key stays with the provider.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from pes_sim.errors import BadSignature
from pes_sim.indicium import dsa

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

P256_LENGTH: Final = 64
P224_LENGTH: Final = 56
SHORTEST_MAC: Final = 4
"""Bytes that a truncated HMAC keeps at least (NIST SP 800-107, 5.3.3)."""


def verify_p256(point: bytes, message: bytes, signature: bytes) -> None:
    """ECDSA P-256 with SHA-256: r and s (32 bytes each, big-endian) over `message`. Raises `BadSignature`.

    `point` is the public key as an uncompressed point, 65 bytes (SEC 1).
    """
    _verify("P-256", P256_LENGTH, point, message, signature)


def verify_p224(point: bytes, message: bytes, signature: bytes) -> None:
    """ECDSA P-224 with SHA-256: r and s (28 bytes each, big-endian) over `message`. Raises `BadSignature`.

    `point` is the public key as an uncompressed point, 57 bytes (SEC 1).
    """
    _verify("P-224", P224_LENGTH, point, message, signature)


def _verify(curve: str, length: int, point: bytes, message: bytes, signature: bytes) -> None:
    if len(signature) != length:
        raise BadSignature(f"a signature has {length} bytes, not {len(signature)}")
    half = length // 2
    key = _public_key(curve, point)
    der = key.encode(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
    try:
        key.verify(der, message, key.algorithm)
    except key.invalid:
        raise BadSignature("the signature does not verify") from None


class _Key(NamedTuple):
    """What it takes to verify with one key. Looking the library's functions up each time would cost 3 us."""

    verify: Callable[[bytes, bytes, ec.ECDSA], None]
    algorithm: ec.ECDSA
    encode: Callable[[int, int], bytes]
    invalid: type[Exception]


@lru_cache(maxsize=256)
def _public_key(curve: str, point: bytes) -> _Key:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256R1() if curve == "P-256" else ec.SECP224R1(), point
        )
    except ValueError:
        raise BadSignature(f"the public key is not a point on {curve}") from None
    return _Key(key.verify, ec.ECDSA(hashes.SHA256()), utils.encode_dss_signature, InvalidSignature)


def verify_hmac(key: bytes, message: bytes, signature: bytes) -> None:
    """HMAC-SHA-256 over `message`, its first bytes (FIPS 198-1). Raises `BadSignature`."""
    if len(signature) < SHORTEST_MAC:
        raise BadSignature(f"a MAC has at least {SHORTEST_MAC} bytes, not {len(signature)}")
    if not hmac.compare_digest(hmac.digest(key, message, "sha256")[: len(signature)], signature):
        raise BadSignature("the MAC does not verify")


Check = Callable[[bytes, bytes, bytes], None]

SCHEMES: Final[Mapping[str, Check]] = {
    "ecdsa-p256-sha256": verify_p256,
    "ecdsa-p224-sha256": verify_p224,
    "dsa-1024-sha1": dsa.verify,
}
"""Checked with the public key of a certificate."""
MACS: Final[Mapping[str, Check]] = {"hmac-sha256": verify_hmac}
"""Checked with the secret key that made them."""
LENGTHS: Final[Mapping[str, Sequence[int]]] = {
    "ecdsa-p256-sha256": (P256_LENGTH,),
    "ecdsa-p224-sha256": (P224_LENGTH,),
    "dsa-1024-sha1": (2 * dsa.HALF,),
    "hmac-sha256": range(SHORTEST_MAC, 33),
}
"""Bytes of a signature by each scheme that can be made here; a MAC may be cut short."""
