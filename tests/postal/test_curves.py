"""The teaching curve arithmetic gives what `cryptography` gives, for good signatures and bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.errors import BadSignature
from pes_sim.indicium.signature import verify_p224, verify_p256
from pes_sim.postal.curves import BY_SCHEME, P224, P256, Curve, add, is_on, multiply, verify
from pes_sim.psd.keys import raw_signature, signing_algorithm
from tests.postal.made import point

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "indicia" / "indicia.json").read_text())
CLASSES = {P256: ec.SECP256R1, P224: ec.SECP224R1}
CHECKS = {P256: verify_p256, P224: verify_p224}
CURVES = pytest.mark.parametrize("curve", BY_SCHEME.values(), ids=BY_SCHEME)


def believed(curve: Curve, public: bytes, message: bytes, signature: bytes) -> bool:
    """What the verifier says."""
    try:
        CHECKS[curve](public, message, signature)
    except BadSignature:
        return False
    return True


@CURVES
def test_the_base_point_is_on_the_curve_and_of_its_order(curve: Curve) -> None:
    base = curve.x, curve.y
    assert is_on(curve, base)
    assert is_on(curve, None)
    assert multiply(curve, curve.n, base) is None
    assert multiply(curve, curve.n + 1, base) == base
    assert add(curve, None, None) is None
    assert add(curve, None, base) == add(curve, base, None) == base


@CURVES
@settings(max_examples=10, deadline=None)
@given(number=st.integers(1, P224.n - 1), message=st.binary(max_size=130))
def test_it_finds_what_the_library_finds(curve: Curve, number: int, message: bytes) -> None:
    key = ec.derive_private_key(number, CLASSES[curve]())
    public = key.public_key().public_numbers()
    assert multiply(curve, number, (curve.x, curve.y)) == (public.x, public.y)
    signature = raw_signature(key.sign(message, signing_algorithm()), curve.length)
    working = verify(curve, point(key), message, signature)
    assert working.good
    assert working.v == working.r
    for other, changed in ((message + b"x", signature), (message, signature[:-1] + bytes([signature[-1] ^ 1]))):
        assert verify(curve, point(key), other, changed).good is believed(curve, point(key), other, changed) is False


def test_it_agrees_with_every_published_vector_that_is_signed() -> None:
    count = 0
    for group in VECTORS["testGroups"]:
        if (curve := BY_SCHEME.get(group["layout"]["scheme"])) is None:
            continue
        public, signed = bytes.fromhex(group["keys"]["publicKey"]), group["layout"]["signedLength"]
        for test in group["tests"]:
            payload = bytes.fromhex(test["payload"])
            if len(payload) == signed + 2 * curve.length:
                message, signature = payload[:signed], payload[signed:]
                assert verify(curve, public, message, signature).good is believed(curve, public, message, signature)
                count += 1
    assert count > 150


@CURVES
def test_what_is_no_key_or_out_of_range_ends_early(curve: Curve) -> None:
    key = ec.derive_private_key(5, CLASSES[curve]())
    one = (1).to_bytes(curve.length, "big")
    for public in (point(key)[:-1], b"\4" + bytes(2 * curve.length), b""):
        assert "no point of" in verify(curve, public, b"", one + one).complaint
    for r, s in ((0, 1), (1, 0), (curve.n, 1), (1, curve.n)):
        signature = r.to_bytes(curve.length, "big") + s.to_bytes(curve.length, "big")
        working = verify(curve, point(key), b"", signature)
        assert (working.complaint, working.good) == ("r and s must be above 0 and below n", False)


@CURVES
def test_a_sum_at_infinity_is_no_signature(curve: Curve) -> None:
    """r so chosen that u2 Q is - u1 G: with Q = d G, r d = - z."""
    import hashlib

    z = int.from_bytes(hashlib.sha256(b"m").digest(), "big") >> max(0, 256 - curve.n.bit_length())
    key = ec.derive_private_key(7, CLASSES[curve]())
    r = -z * pow(7, -1, curve.n) % curve.n
    working = verify(curve, point(key), b"m", r.to_bytes(curve.length, "big") + (9).to_bytes(curve.length, "big"))
    assert (working.complaint, working.good) == ("the sum is the point at infinity", False)
