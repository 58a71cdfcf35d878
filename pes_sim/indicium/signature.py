"""Checking signatures. `SCHEMES` names what the verifier can check; a layout's scheme that is not there is reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pes_sim.errors import BadSignature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

P256_LENGTH: Final = 64


def verify_p256(point: bytes, message: bytes, signature: bytes) -> None:
    """ECDSA P-256 with SHA-256: r and s (32 bytes each, big-endian) over `message`. Raises `BadSignature`.

    `point` is the public key as an uncompressed point, 65 bytes (SEC 1).
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import utils

    if len(signature) != P256_LENGTH:
        raise BadSignature(f"a signature has {P256_LENGTH} bytes, not {len(signature)}")
    der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    key, algorithm = _p256(point)
    try:
        key.verify(der, message, algorithm)
    except InvalidSignature:
        raise BadSignature("the signature does not verify") from None


@lru_cache(maxsize=256)
def _p256(point: bytes) -> tuple[ec.EllipticCurvePublicKey, ec.ECDSA]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise BadSignature("the public key is not a point on P-256") from None
    return key, ec.ECDSA(hashes.SHA256())


SCHEMES: Final[Mapping[str, Callable[[bytes, bytes, bytes], None]]] = {"ecdsa-p256-sha256": verify_p256}
