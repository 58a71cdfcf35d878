"""Signatures against outside vectors: Wycheproof, NIST's CAVP and RFC 6979, through the project's own verification."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pes_sim.errors import BadSignature
from pes_sim.indicium.signature import verify_p224, verify_p256
from tests import rsp

Verify = Callable[[bytes, bytes, bytes], None]
CURVES: dict[str, tuple[Verify, int]] = {"P-256": (verify_p256, 32), "P-224": (verify_p224, 28)}


def accepts(verify: Verify, point: bytes, message: bytes, signature: bytes) -> bool:
    """Any other exception than `BadSignature` is a defect, and ends the test."""
    try:
        verify(point, message, signature)
    except BadSignature:
        return False
    return True


def wycheproof(curve: str) -> list[tuple[str, dict[str, Any]]]:
    name = f"wycheproof_ecdsa_{curve.lower().replace('-', '')}_sha256.json"
    data = json.loads((rsp.VECTORS / name).read_text())
    found = [(group["uncompressed"], case) for group in data["testGroups"] for case in group["tests"]]
    assert len(found) == data["numberOfTests"]
    return found


@pytest.mark.parametrize("curve", CURVES)
def test_wycheproof_valid_is_accepted_and_invalid_is_refused(curve: str) -> None:
    verify, _ = CURVES[curve]
    wrong = [
        f"{case['tcId']}: {case['comment']}"
        for point, case in wycheproof(curve)
        if accepts(verify, *(bytes.fromhex(text) for text in (point, case["msg"], case["sig"])))
        is not (case["result"] == "valid")
    ]
    assert not wrong


@pytest.mark.parametrize(("curve", "valid", "invalid"), [("P-256", 173, 89), ("P-224", 171, 87)])
def test_wycheproof_leaves_nothing_to_choose_here(curve: str, valid: int, invalid: int) -> None:
    # "acceptable" would be a case where an implementation may do either. In these two files there is none.
    assert Counter(case["result"] for _, case in wycheproof(curve)) == {"valid": valid, "invalid": invalid}


@pytest.mark.parametrize(
    "flag",
    ["RangeCheck", "IntegerOverflow", "InvalidSignature", "SignatureSize", "PointDuplication", "ArithmeticError"],
)
@pytest.mark.parametrize("curve", CURVES)
def test_wycheproof_has_every_kind_of_forgery(curve: str, flag: str) -> None:
    assert any(flag in case["flags"] and case["result"] == "invalid" for _, case in wycheproof(curve))


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_refuses_the_signatures_and_the_points_of_the_other(curve: str) -> None:
    (other,) = set(CURVES) - {curve}
    point, case = wycheproof(other)[0]
    own_point, own = wycheproof(curve)[0]
    verify, size = CURVES[curve]
    message = bytes.fromhex(own["msg"])
    with pytest.raises(BadSignature, match=f"{2 * size} bytes"):
        verify(bytes.fromhex(own_point), message, bytes.fromhex(case["sig"]))
    with pytest.raises(BadSignature, match=f"not a point on {curve}"):
        verify(bytes.fromhex(point), message, bytes.fromhex(own["sig"]))


@pytest.mark.parametrize("curve", CURVES)
def test_cavp_signatures_pass_and_fail_as_nist_says(curve: str) -> None:
    cases = [case for case in rsp.cases("cavp_ecdsa_sigver.rsp") if case["section"] == f"{curve},SHA-256"]
    assert len(cases) == 15
    for case in cases:
        x, y, message, r, s = (bytes.fromhex(case[key]) for key in ("Qx", "Qy", "Msg", "R", "S"))
        expected = case["Result"].startswith("P")
        assert accepts(CURVES[curve][0], b"\x04" + x + y, message, r + s) is expected, case["Result"]
    assert {case["Result"][0] for case in cases} == {"P", "F"}


@pytest.mark.parametrize("curve", CURVES)
def test_cavp_signatures_that_were_made_are_accepted(curve: str) -> None:
    cases = [case for case in rsp.cases("cavp_ecdsa_siggen.rsp") if case["section"] == f"{curve},SHA-256"]
    assert len(cases) == 15
    for case in cases:
        x, y, message, r, s = (bytes.fromhex(case[key]) for key in ("Qx", "Qy", "Msg", "R", "S"))
        assert accepts(CURVES[curve][0], b"\x04" + x + y, message, r + s)
        assert not accepts(CURVES[curve][0], b"\x04" + x + y, message, s + r)


def test_rfc_6979_signatures_are_accepted() -> None:
    for case in json.loads((rsp.VECTORS / "rfc6979_ecdsa_sha256.json").read_text()):
        verify, size = CURVES[case["curve"]]
        signature = bytes.fromhex(case["r"] + case["s"])
        assert len(signature) == 2 * size
        assert accepts(verify, bytes.fromhex(case["U"]), case["message"].encode(), signature)
        assert not accepts(verify, bytes.fromhex(case["U"]), b"another", signature)
