"""DSA with 1,024 bits and SHA-1, by which IBI was signed: to look at the old construct, and to make specimens of it.

Neither is approved any more: SHA-1 signatures since 2014 (NIST SP 800-131A), DSA since FIPS 186-5. The group is the one
of RFC 6979, A.2.1: the real provider's is not public.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pes_sim.errors import BadSignature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import dsa

P: Final = int(
    "86f5ca03dcfeb225063ff830a0c769b9dd9d6153ad91d7ce27f787c43278b447e6533b86b18bed6e8a48b784a14c252c5be0dbf60b86d638"
    "5bd2f12fb763ed8873abfd3f5ba2e0a8c0a59082eac056935e529daf7c610467899c77adedfc846c881870b7b19b2b58f9be0521a17002e3"
    "bdd6b86685ee90b3d9a1b02b782b1779", 16,
)  # fmt: skip
Q: Final = 0x996F967F6C8E388D9E28D01E205FBA957A5698B1
G: Final = int(
    "07b0f92546150b62514bb771e2a0c0ce387f03bda6c56b505209ff25fd3c133d89bbcd97e904e09114d9a7defdeadfc9078ea544d2e401ae"
    "ecc40bb9fbbf78fd87995a10a1c27cb7789b594ba7efb5c4326a9fe59a070e136db77175464adca417be5dce2f40d10a46a3a3943f26ab7f"
    "d9c0398ff8c76ee0a56826a8a88f1dbd", 16,
)  # fmt: skip
HALF: Final = 20
"""Bytes of r, of s and of the private key."""
PUBLIC: Final = 128
"""Bytes of a public key: y, big-endian."""


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """r and s (20 bytes each, big-endian) over `message`. `public` is y. Raises `BadSignature`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import utils

    if len(signature) != 2 * HALF:
        raise BadSignature(f"a signature has {2 * HALF} bytes, not {len(signature)}")
    r, s = int.from_bytes(signature[:HALF], "big"), int.from_bytes(signature[HALF:], "big")
    try:
        public_key(public).verify(utils.encode_dss_signature(r, s), message, hashes.SHA1())
    except InvalidSignature:
        raise BadSignature("the signature does not verify") from None


def group() -> dsa.DSAParameterNumbers:
    """The group as `cryptography` knows it."""
    from cryptography.hazmat.primitives.asymmetric import dsa

    return dsa.DSAParameterNumbers(P, Q, G)


@lru_cache(maxsize=256)
def public_key(public: bytes) -> dsa.DSAPublicKey:
    """The key as `cryptography` knows it. Raises `BadSignature` for bytes that are none in this group."""
    from cryptography.hazmat.primitives.asymmetric import dsa

    y = int.from_bytes(public, "big")
    if len(public) != PUBLIC or not 1 < y < P or pow(y, Q, P) != 1:
        raise BadSignature("the public key is not one of DSA-1024 in the group of this simulator")
    return dsa.DSAPublicNumbers(y, group()).public_key()
