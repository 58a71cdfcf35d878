"""The device's signing, key wrapping, digest and HMAC against outside vectors: RFC 6979, CAVP, Wycheproof, RFC 4231."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from pes_sim.entropy import SeededEntropy
from pes_sim.errors import BadMessage
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd import softkeys
from pes_sim.psd.keys import Curve, Slot
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.vault import MemoryVault
from tests import rsp


def store_with(scalar: bytes) -> SoftwareKeyStoreNotForProduction:
    """The real store, with a private key that a vector dictates."""
    made = SoftwareKeyStoreNotForProduction(bytes(32), SeededEntropy("vectors"), MemoryVault())
    made._pairs[Slot.INDICIUM] = softkeys.pair(Curve.P256, scalar)
    return made


def store_under(transport: bytes) -> SoftwareKeyStoreNotForProduction:
    """The real store, with a transport key that a vector dictates."""
    made = SoftwareKeyStoreNotForProduction(bytes(32), SeededEntropy("vectors"), MemoryVault())
    made.put(Slot.TRANSPORT, transport)
    return made


@pytest.mark.parametrize("message", ["sample", "test"])
def test_the_store_signs_as_rfc_6979_says_again_and_again(message: str) -> None:
    (case,) = (
        case
        for case in json.loads((rsp.VECTORS / "rfc6979_ecdsa_sha256.json").read_text())
        if (case["curve"], case["message"]) == ("P-256", message)
    )
    made = store_with(bytes.fromhex(case["x"]))
    assert made.public_point(Slot.INDICIUM).hex() == case["U"]
    assert {made.sign(Slot.INDICIUM, message.encode()).hex() for _ in range(3)} == {case["r"] + case["s"]}


def test_the_store_finds_nists_public_keys_and_its_signatures_verify_under_them() -> None:
    cases = [case for case in rsp.cases("cavp_ecdsa_siggen.rsp") if case["section"] == "P-256,SHA-256"]
    assert len(cases) == 15
    for case in cases:
        made = store_with(bytes.fromhex(case["d"]))
        assert made.public_point(Slot.INDICIUM).hex() == "04" + case["Qx"] + case["Qy"]
        message = bytes.fromhex(case["Msg"])
        verify_p256(made.public_point(Slot.INDICIUM), message, made.sign(Slot.INDICIUM, message))
        # Not NIST's own r and s: those come of its random k, ours of RFC 6979.
        assert made.sign(Slot.INDICIUM, message).hex() != case["R"] + case["S"]


def fits(plain: bytes) -> bool:
    """Whether it can be a secret for an HMAC."""
    return 32 <= len(plain) <= 64


def test_cavp_keys_are_wrapped_as_nist_says() -> None:
    through_the_store = 0
    for case in rsp.cases("cavp_aes256_kw_wrap.rsp"):
        key, plain, wrapped = (bytes.fromhex(case[name]) for name in ("K", "P", "C"))
        assert aes_key_wrap(key, plain) == wrapped
        if fits(plain):
            made = store_under(key)
            made.unwrap_into(Slot.MAC, wrapped)
            assert made._secrets[Slot.MAC] == plain
            through_the_store += 1
    assert through_the_store >= 20


def test_cavp_keys_are_unwrapped_or_refused_as_nist_says() -> None:
    accepted = refused = 0
    for case in rsp.cases("cavp_aes256_kw_unwrap.rsp"):
        key, wrapped = bytes.fromhex(case["K"]), bytes.fromhex(case["C"])
        if "FAIL" in case:
            with pytest.raises(BadMessage):
                store_under(key).unwrap_into(Slot.MAC, wrapped)
            refused += 1
        else:
            assert aes_key_unwrap(key, wrapped).hex() == case["P"]
            accepted += 1
    assert (accepted, refused) == (32, 8)


def test_wycheproof_wrapped_keys_are_taken_or_refused() -> None:
    data = json.loads((rsp.VECTORS / "wycheproof_aes256_wrap.json").read_text())
    (group,) = data["testGroups"]
    acceptable = []
    for case in group["tests"]:
        key, plain, wrapped = (bytes.fromhex(case[name]) for name in ("key", "msg", "ct"))
        if case["result"] == "valid":
            assert aes_key_unwrap(key, wrapped) == plain, case["comment"]
            assert aes_key_wrap(key, plain) == wrapped, case["comment"]
            continue
        if case["result"] == "acceptable":
            acceptable.append((case["flags"], case["comment"], len(plain)))
        with pytest.raises(BadMessage):
            store_under(key).unwrap_into(Slot.MAC, wrapped)
    # The one where an implementation may choose: a key of 64 bits, which SP 800-38F leaves out. It is refused.
    assert acceptable == [(["ShortKey"], "wrapping an 8 byte key", 8)]


def test_the_digest_is_nists() -> None:
    cases = rsp.cases("cavp_sha256_short.rsp")
    assert len(cases) == 65
    for case in cases:
        message = bytes.fromhex(case["Msg"])[: int(case["Len"]) // 8]  # the empty message is written as one zero byte
        assert hashlib.sha256(message).hexdigest() == case["MD"]


def test_the_hmac_is_rfc_4231s() -> None:
    cases = rsp.cases("rfc4231_hmac_sha256.rsp")
    assert len(cases) == 6
    for case in cases:
        assert hmac.digest(bytes.fromhex(case["Key"]), bytes.fromhex(case["Msg"]), "sha256").hex() == case["MD"]
