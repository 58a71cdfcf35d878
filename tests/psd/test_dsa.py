"""DSA-1024 with SHA-1: RFC 6979's own numbers, and another library takes whatever is signed here, and nothing else."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.errors import BadSignature
from pes_sim.indicium import dsa
from pes_sim.indicium.dsa import G, P, Q
from pes_sim.psd import dsa as signing

# RFC 6979, A.2.1: the private key, y, and r and s with SHA-1 by message.
KEY = bytes.fromhex("411602cb19a6ccc34494d79d98ef1e7ed5af25f7")
PUBLIC = bytes.fromhex(
    "5df5e01ded31d0297e274e1691c192fe5868fef9e19a84776454b100cf16f65392195a38b90523e2542ee61871c0440cb87c322fc4b4d2ec"
    "5e1e7ec766e1be8d4ce935437dc11c3c8fd426338933ebfe739cb3465f4d3668c5e473508253b1e682f65cbdc4fae93c2ea212390e54905a"
    "86e2223170b44eaa7da5dd9ffcfb7f3b"
)
SIGNED = {
    b"sample": "2e1a0c2562b2912caaf89186fb0f42001585da5529efb6b0aff2d7a68eb70ca313022253b9a88df5",
    b"test": "42ab2052fd43e123f0607f115052a67dcd9c5c77183916b0230d45b9931491d4c6b0bd2fb4aaf088",
}

scalars = st.integers(1, Q - 1).map(lambda number: number.to_bytes(20, "big"))


def test_keys_and_signatures_are_those_of_rfc_6979() -> None:
    assert signing.public(KEY) == PUBLIC
    assert {message: signing.sign(KEY, message).hex() for message in SIGNED} == SIGNED


@given(scalars, st.binary(max_size=200), st.integers(0, 319))
def test_another_library_takes_what_is_signed_and_no_altered_bit(scalar: bytes, message: bytes, bit: int) -> None:
    public, signed = signing.public(scalar), signing.sign(scalar, message)
    dsa.verify(public, message, signed)
    altered = (int.from_bytes(signed, "big") ^ 1 << bit).to_bytes(40, "big")
    for wrong in ((message, altered), (message + b"x", signed)):
        with pytest.raises(BadSignature, match="does not verify"):
            dsa.verify(public, *wrong)


@pytest.mark.parametrize("length", [0, 39, 41, 64])
def test_a_signature_of_another_length_is_none(length: int) -> None:
    with pytest.raises(BadSignature, match=f"has 40 bytes, not {length}"):
        dsa.verify(PUBLIC, b"", bytes(length))


@pytest.mark.parametrize("number", [0, 1, P - 1, P, 2, 1 << 1023], ids=["0", "1", "-1", "p", "2", "outside"])
def test_a_public_key_outside_the_group_is_none(number: int) -> None:
    with pytest.raises(BadSignature, match="the public key is not one of DSA-1024"):
        dsa.verify(number.to_bytes(128, "big"), b"sample", bytes.fromhex(SIGNED[b"sample"]))
    with pytest.raises(BadSignature, match="the public key is not one of DSA-1024"):
        dsa.verify(PUBLIC[1:], b"sample", bytes.fromhex(SIGNED[b"sample"]))


def test_a_nonce_that_does_not_serve_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message is known whose first nonce fails, so two are put in its way: one that is not below Q, and 0."""
    usual = signing.sign(KEY, b"sample")
    values = iter([Q.to_bytes(20, "big"), bytes(20)])
    real = hmac.digest
    calls = 0

    def digest(key: bytes, data: bytes, name: str) -> bytes:
        nonlocal calls
        calls += 1
        made = real(key, data, name)
        return next(values, made) if calls in (5, 8) else made  # where a candidate is drawn

    monkeypatch.setattr(hmac, "digest", digest)
    other = signing.sign(KEY, b"sample")
    assert other != usual
    dsa.verify(PUBLIC, b"sample", other)


def test_numbers_of_zero_are_no_signature_and_the_next_nonce_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """With this key the nonce 7 gives s = 0 for the message, from which anybody could work out the key."""
    digest = int.from_bytes(hashlib.sha1(b"sample", usedforsecurity=False).digest(), "big")
    r = pow(G, 7, P) % Q
    scalar = (-digest * pow(r, -1, Q) % Q).to_bytes(20, "big")
    monkeypatch.setattr(signing, "_nonces", lambda *_: iter([7, 8]))
    signed = signing.sign(scalar, b"sample")
    assert int.from_bytes(signed[:20], "big") == pow(G, 8, P) % Q
    dsa.verify(signing.public(scalar), b"sample", signed)
