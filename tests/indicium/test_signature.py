"""Signatures: what OpenSSL signs verifies, and nothing else does."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pes_sim.errors import BadSignature
from pes_sim.indicium import signature
from pes_sim.indicium.signature import SCHEMES, verify_p256

KEY = ec.derive_private_key(12345, ec.SECP256R1())
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def signed(message: bytes) -> bytes:
    r, s = utils.decode_dss_signature(KEY.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_a_good_signature_passes() -> None:
    verify_p256(POINT, b"message", signed(b"message"))


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(BadSignature, match=f"64 bytes, not {length}"):
        verify_p256(POINT, b"message", bytes(length))


def test_every_altered_byte_and_swapped_halves_are_refused() -> None:
    good = signed(b"message")
    altered = [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in range(64)]
    for bad in [*altered, good[32:] + good[:32], bytes(64), b"\xff" * 64]:
        with pytest.raises(BadSignature, match="does not verify"):
            verify_p256(POINT, b"message", bad)


def test_another_message_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify_p256(POINT, b"messagf", signed(b"message"))


def test_a_key_that_is_no_point_on_the_curve_is_refused() -> None:
    for point in (b"", b"\x04" + bytes(64), POINT[:-1]):
        with pytest.raises(BadSignature, match="not a point"):
            verify_p256(point, b"message", signed(b"message"))


def test_the_schemes_are_those_that_layouts_name() -> None:
    assert set(SCHEMES) == {"ecdsa-p256-sha256", "ecdsa-p224-sha256", "dsa-1024-sha1"}


def test_a_mac_is_the_first_bytes_of_the_whole_one() -> None:
    whole = hmac.digest(b"key", b"message", "sha256")
    for length in (4, 6, 16, 32):
        signature.verify_hmac(b"key", b"message", whole[:length])
    for wrong in (whole[1:17], whole + b"x", bytes(16)):
        with pytest.raises(BadSignature, match="the MAC does not verify"):
            signature.verify_hmac(b"key", b"message", wrong)
    for short in (b"", whole[:3]):
        with pytest.raises(BadSignature, match="at least 4 bytes"):
            signature.verify_hmac(b"key", b"message", short)


def test_every_scheme_has_its_lengths() -> None:
    assert set(signature.LENGTHS) == set(signature.SCHEMES) | set(signature.MACS)
