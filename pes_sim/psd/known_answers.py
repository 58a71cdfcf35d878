"""Known answers: what published standards say that the device's algorithms give, and the same computed.

Each computation goes through what the device itself calls, wherever it has something of its own for it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from pes_sim.errors import BadSignature
from pes_sim.indicium import dsa, signature
from pes_sim.psd import dsa as psd_dsa
from pes_sim.psd import keys

# FIPS 180-2, appendix B.1 and B.2 (FIPS 180-4 refers to the same two examples): one block, and padding into a second.
_SHA_MESSAGES: Final = (b"abc", b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
SHA_DIGESTS: Final = bytes.fromhex(
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
)
# RFC 4231, test case 2.
_HMAC_KEY: Final = b"Jefe"
_HMAC_DATA: Final = b"what do ya want for nothing?"
HMAC: Final = bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
# RFC 3394, section 4.6: 256 bits of key data under a 256-bit key.
_WRAPPING_KEY: Final = bytes(range(32))
KEY_DATA: Final = bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
WRAPPED: Final = bytes.fromhex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")
# RFC 6979, A.2.5 (P-256) and A.2.4 (P-224): SHA-256, message "sample".
_SAMPLE: Final = b"sample"
_P256_KEY: Final = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
_P256_POINT: Final = bytes.fromhex(
    "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
P256_SIGNATURE: Final = bytes.fromhex(
    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
)
_P224_KEY: Final = 0xF220266E1105BFE3083E03EC7A3A654651F45E37167E88600BF257C1
_P224_POINT: Final = bytes.fromhex(
    "0400cf08da5ad719e42707fa431292dea11244d64fc51610d94b130d6ceeab6f3debe455e3dbf85416f7030cbd94f34f2d6f232c69f3c1385a"
)
P224_SIGNATURE: Final = bytes.fromhex(
    "61aa3da010e8e8406c656bc477a7a7189895e7e840cdfe8ff42307babc814050dab5d23770879494f9e0a680dc1af7161991bde692b10101"
)


# RFC 6979, A.2.1: DSA with 1,024 bits, SHA-1, message "sample".
_DSA_KEY: Final = bytes.fromhex("411602cb19a6ccc34494d79d98ef1e7ed5af25f7")
_DSA_PUBLIC: Final = bytes.fromhex(
    "5df5e01ded31d0297e274e1691c192fe5868fef9e19a84776454b100cf16f65392195a38b90523e2542ee61871c0440cb87c322fc4b4d2ec"
    "5e1e7ec766e1be8d4ce935437dc11c3c8fd426338933ebfe739cb3465f4d3668c5e473508253b1e682f65cbdc4fae93c2ea212390e54905a"
    "86e2223170b44eaa7da5dd9ffcfb7f3b"
)
DSA_SIGNATURE: Final = bytes.fromhex("2e1a0c2562b2912caaf89186fb0f42001585da5529efb6b0aff2d7a68eb70ca313022253b9a88df5")


def sha_256() -> bytes:
    return b"".join(hashlib.sha256(message).digest() for message in _SHA_MESSAGES)


def hmac_sha_256() -> bytes:
    return hmac.digest(_HMAC_KEY, _HMAC_DATA, "sha256")


def key_wrap() -> bytes:
    from cryptography.hazmat.primitives import keywrap

    return keywrap.aes_key_wrap(_WRAPPING_KEY, KEY_DATA) + keywrap.aes_key_unwrap(_WRAPPING_KEY, WRAPPED)


def sign_p256() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.derive_private_key(_P256_KEY, ec.SECP256R1())
    return keys.raw_signature(key.sign(_SAMPLE, keys.signing_algorithm()))


def sign_p224() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key = ec.derive_private_key(_P224_KEY, ec.SECP224R1())
    r, s = utils.decode_dss_signature(key.sign(_SAMPLE, keys.signing_algorithm()))
    return r.to_bytes(28, "big") + s.to_bytes(28, "big")


def sign_dsa() -> bytes:
    return psd_dsa.sign(_DSA_KEY, _SAMPLE)


def verifies_dsa(signed: bytes) -> bool:
    return _verifies(dsa.verify, _DSA_PUBLIC, signed)


def verifies_p256(signed: bytes) -> bool:
    return _verifies(signature.verify_p256, _P256_POINT, signed)


def verifies_p224(signed: bytes) -> bool:
    return _verifies(signature.verify_p224, _P224_POINT, signed)


def _verifies(verify: Callable[[bytes, bytes, bytes], None], point: bytes, signed: bytes) -> bool:
    """The signature holds for its message, and for no other: an algorithm that accepts everything fails too."""

    def accepts(message: bytes) -> bool:
        try:
            verify(point, message, signed)
        except BadSignature:
            return False
        return True

    return accepts(_SAMPLE) and not accepts(b"simple")
