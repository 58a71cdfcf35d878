"""The project's own test vectors, as the post office sees them: what a verifier takes for valid, and what only a memory
refuses.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pes_sim.indicium.verify import Trust
from pes_sim.postal.acceptance import Office, accept
from pes_sim.postal.assessment import Assessment, Result, Scan
from pes_sim.postal.store import MemoryScans
from pes_sim.provider.vectors import layout_of
from tests.postal.made import finding

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "indicia" / "indicia.json").read_text())
GROUPS = VECTORS["testGroups"]


def office(group: dict[str, Any], test: dict[str, Any]) -> Office:
    keys = group["keys"]
    trust = Trust(
        bytes.fromhex(test.get("trustAnchor", keys.get("trustAnchor", ""))),
        [bytes.fromhex(der) for der in test.get("psdCertificates", keys.get("psdCertificates", []))],
        {int(psd): [bytes.fromhex(key) for key in known] for psd, known in keys.get("macKeys", {}).items()},
        frozenset(test.get("revoked", [])),
    )
    return Office(trust, layouts=[layout_of(group)])


@pytest.mark.parametrize("group", GROUPS, ids=[group["layout"]["name"] for group in GROUPS])
def test_every_bad_vector_is_refused_and_every_good_one_is_genuine(group: dict[str, Any]) -> None:
    said: dict[int, Assessment] = {}
    store = MemoryScans()
    for test in group["tests"]:
        payload = bytes.fromhex(test["payload"])
        scan = Scan(str(test["tcId"]), payload, date(2026, 1, 5))
        said[test["tcId"]] = assessment = accept(scan, office(group, test), store)
        if "Replay" in test["flags"]:
            assert finding(assessment, "duplicate").result is Result.FAILED
        elif "HighS" in test["flags"] and test["result"] == "valid":
            # Whoever has a signature can make this other one of it, without the key: other bytes, and still a copy.
            assert finding(assessment, "duplicate").result is Result.FAILED
        elif test["result"] == "invalid":
            assert not assessment.accepted, test["comment"]
        else:
            assert finding(assessment, "signature").result is Result.PASSED, test["comment"]
    assert len(said) == len(group["tests"])
