"""What a device really prints, in every kind that it has, as the post office sees it."""

from __future__ import annotations

import pytest

from pes_sim.indicium.layout import builtin
from pes_sim.indicium.verify import Trust
from pes_sim.postal.acceptance import Office
from pes_sim.postal.assessment import Verdict
from pes_sim.postal.records import Meter, Records
from tests.postal.made import Desk, result
from tests.rig import MAC_KEY, SERIAL, Rig, correction, operational, piece


def office_of(rig: Rig, **told: object) -> Desk:
    """A post office that knows the device's certificate."""
    known = rig.ask("get_certificates")
    desk = Desk()
    trust = Trust(known["trust_anchor"], [known["psd_certificate"]], {SERIAL: [MAC_KEY]})
    desk.office = Office(trust, **told)  # type: ignore[arg-type]
    return desk


@pytest.mark.parametrize("layout", ["imi_min", "imi_std", "imi_max"])
def test_a_days_mail_is_accepted_in_any_order(layout: str) -> None:
    rig = operational(layout=builtin(layout))
    mail = [rig.dispense()["indicium"] for _ in range(6)]
    desk = office_of(rig)
    for payload in (mail[3], mail[0], mail[5], *mail[1:3], mail[4]):
        assert desk.scan(payload).verdict is Verdict.ACCEPTED
    assert {desk.scan(payload).verdict for payload in mail} == {Verdict.DUPLICATE}


def test_redate_correction_and_reprint_are_told_apart() -> None:
    rig = operational()
    short = rig.dispense(postage_mills=700)
    missing = rig.ask("correct_amount", **piece(postage_mills=40))
    later = rig.ask("redate", **correction())
    again = rig.ask("reprint", original=short["record"])
    assert again["indicium"] == short["indicium"]
    desk = office_of(rig)
    said = [desk.scan(done["indicium"], mailpiece="m").verdict for done in (short, missing, later)]
    assert said == [Verdict.SHORT_PAID, Verdict.ACCEPTED, Verdict.ACCEPTED]
    assert desk.scan(again["indicium"]).verdict is Verdict.DUPLICATE


def test_a_reprint_that_the_log_has_is_no_copy() -> None:
    rig = operational()
    spoiled = rig.dispense()
    again = rig.ask("reprint", original=spoiled["record"])["indicium"]
    desk = office_of(rig, records=Records([Meter(str(SERIAL), reprints={again: 1})]))
    assert [desk.scan(spoiled["indicium"]).verdict, desk.scan(again).verdict] == [Verdict.ACCEPTED] * 2
    assert desk.scan(again).verdict is Verdict.DUPLICATE


def test_a_refill_between_two_pieces_is_seen_and_is_no_fault() -> None:
    rig = operational()
    first = rig.dispense()["indicium"]
    rig.refill(50_000)
    desk = office_of(rig)
    desk.scan(first)
    assessment = desk.scan(rig.dispense()["indicium"])
    assert assessment.verdict is Verdict.ACCEPTED
    assert any("AR + DR rose by $50.00: refills" in found.note for found in assessment.findings)
    assert result(assessment, "control_sum") == "passed"
