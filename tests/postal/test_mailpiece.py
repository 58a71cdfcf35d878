"""The account of one mailpiece: what is refused and comes again, in whatever order it is scanned, counts once."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import permutations
from typing import Any

import pytest

from pes_sim.indicium.layout import builtin
from pes_sim.indicium.verify import Trust
from pes_sim.meter import rates
from pes_sim.meter.rates import Category, RateBook, RateTable
from pes_sim.postal import calendar
from pes_sim.postal.assessment import Judged, Result, Verdict
from pes_sim.postal.curves import P256
from pes_sim.postal.records import Status
from pes_sim.postal.store import ScanStore
from tests.postal.made import (
    ANOTHERS,
    DAY,
    MAX,
    STD,
    VENDOR,
    Desk,
    certificate,
    certificate_of_another,
    finding,
    indicium,
    office,
    records,
    result,
    trust,
)
from tests.rig import CERTIFICATE_SERIAL, SERIAL

ACCEPTED, SHORT, DUPLICATE = Verdict.ACCEPTED, Verdict.SHORT_PAID, Verdict.DUPLICATE
TRACKING = "9400100000000000000001"
HEAVY = {"weight": 300}
"""Three ounces cost $1.32."""


def days(count: int) -> date:
    return DAY + timedelta(days=count)


def piece(count: int, postage: int, total: int, day: int = 0, **values: Any) -> bytes:
    """Piece `count` of the PSD, with $`postage` that brings the ascending register to `total`."""
    return indicium(values.pop("layout", STD), piece_count=count, postage_mills=postage, ascending_mills=7400 + total,
                    descending_mills=92_600 - total, mailing_date=str(days(day)), **values)  # fmt: skip


def twin(payload: bytes) -> bytes:
    """The same signature with n - s in place of s, which anybody can write."""
    return payload[:-32] + (P256.n - int.from_bytes(payload[-32:], "big")).to_bytes(32, "big")


# Refused, then accepted


@pytest.mark.parametrize(
    ("told", "day", "first"),
    [
        ({"records": records(status=Status.LOST)}, 0, Verdict.METER_LOST_OR_STOLEN),
        ({"records": records(status=Status.WITHDRAWN)}, 0, Verdict.METER_WITHDRAWN),
        ({"records": records(granted_mills=1)}, 0, Verdict.REGISTERS_DISAGREE),
        ({}, -40, Verdict.FUTURE_DATED),
        ({}, -9, Verdict.TOO_EARLY),
    ],
    ids=["lost", "withdrawn", "granted", "future", "early"],
)
@pytest.mark.parametrize("named", ["m", ""])
def test_a_piece_that_was_refused_first_counts_for_its_mailpiece_when_it_is_accepted(
    store: ScanStore, told: dict[str, Any], day: int, first: Verdict, named: str
) -> None:
    desk, base = Desk(store, **told), piece(10, 740, 740)
    assert desk.scan(base, day=days(day), mailpiece=named).verdict is first
    desk.office = office()
    assert desk.scan(base, mailpiece="m").verdict is ACCEPTED
    assert desk.scan(piece(11, 0, 740), mailpiece="m").verdict is ACCEPTED, "its redate"
    more = desk.scan(piece(12, 290, 1030, weight=200), mailpiece="m")
    assert (more.verdict, result(more, "correction")) == (ACCEPTED, Result.PASSED)
    assert desk.scan(base).verdict is DUPLICATE


def test_no_correction_makes_a_piece_lighter_that_was_refused_first(store: ScanStore) -> None:
    desk = Desk(store, records=records(status=Status.LOST))
    base = piece(10, 740, 740, **HEAVY)
    desk.scan(base, mailpiece="m")
    desk.office = office()
    assert desk.scan(base, mailpiece="m").verdict is SHORT
    assert desk.scan(piece(11, 10, 750), mailpiece="m").verdict is SHORT
    assert desk.scan(piece(12, 570, 1320), mailpiece="m").verdict is ACCEPTED


@pytest.mark.parametrize(
    ("values", "day", "first", "then"),
    [
        ({"weight": 351}, 0, Verdict.NO_RATE, Verdict.NO_RATE),
        (HEAVY, 40, Verdict.FUTURE_DATED, Verdict.BAD_CORRECTION),
    ],
)
def test_nor_does_one_make_cheap_what_has_no_rate_or_is_dated_ahead(
    desk: Desk, values: dict[str, Any], day: int, first: Verdict, then: Verdict
) -> None:
    assert desk.scan(piece(10, 740, 740, day, **values), mailpiece="m").verdict is first
    assert desk.scan(piece(11, 740, 1480), mailpiece="m").verdict is then


def test_a_correction_of_which_nobody_knows_the_rate_completes_nothing_that_is_short(desk: Desk) -> None:
    desk.office = office(layouts=[STD, VENDOR])
    desk.scan(piece(10, 740, 740, **HEAVY), mailpiece="m")
    steps = {"first_class_letter": Category("first_class_letter", "L", True, ((350, 1320),))}
    desk.office = office(rates=RateBook([RateTable("mine", days(-300), steps)]))
    card = piece(11, 10, 750, mail_class="first_class_postcard")
    unknown = desk.scan(card, mailpiece="m")
    assert "has no class first_class_postcard; what was scanned before says that" in finding(unknown, "postage").note
    assert unknown.verdict is SHORT
    assert desk.scan(piece(12, 570, 1320, mail_class="first_class_postcard"), mailpiece="m").verdict is ACCEPTED


def test_the_newest_reading_of_an_indicium_is_the_one_that_counts(store: ScanStore) -> None:
    """A wrong table of rates makes no piece short for good."""
    dear = {"first_class_letter": Category("first_class_letter", "L", True, ((350, 5000),))}
    desk, base = Desk(store, rates=RateBook([RateTable("dear", days(-300), dear)])), piece(10, 740, 740)
    assert desk.scan(base, mailpiece="m").verdict is SHORT
    desk.office = office(rates=rates.built_in())
    assert desk.scan(base, mailpiece="m").verdict is ACCEPTED
    assert desk.scan(piece(11, 0, 740), mailpiece="m").verdict is ACCEPTED


def test_what_had_no_rate_may_come_again_with_the_table_that_has_one(store: ScanStore) -> None:
    desk, payload = Desk(store), piece(10, 1610, 1610, weight=351)
    assert desk.scan(payload).verdict is Verdict.NO_RATE
    heavier = {"first_class_letter": Category("first_class_letter", "L", True, ((400, 1610),))}
    desk.office = office(rates=RateBook([RateTable("heavier", days(-300), heavier)]))
    assert [desk.scan(payload).verdict for _ in range(2)] == [ACCEPTED, DUPLICATE]


def test_what_was_too_early_may_come_on_another_day_and_on_the_same_one_is_a_copy(desk: Desk) -> None:
    for base, ahead in ((piece(10, 740, 740), 9), (piece(11, 740, 1480), 40)):
        assert desk.scan(base, day=days(-ahead)).verdict in (Verdict.TOO_EARLY, Verdict.FUTURE_DATED)
        assert desk.scan(base, day=days(-ahead)).verdict is DUPLICATE
        assert desk.scan(base, day=days(-5)).verdict is Verdict.TOO_EARLY
        assert [desk.scan(base).verdict for _ in range(2)] == [ACCEPTED, DUPLICATE]


# Accepted, then seen elsewhere


def test_a_thief_with_a_copy_makes_nobodys_own_mailpiece_a_duplicate(desk: Desk) -> None:
    base = piece(10, 700, 700)
    desk.scan(base, mailpiece="m")
    for elsewhere in ("n", "", "n"):
        assert desk.scan(base, mailpiece=elsewhere).verdict is DUPLICATE
    assert desk.scan(base, mailpiece="m").verdict is SHORT
    assert desk.scan(piece(11, 40, 740), mailpiece="m").verdict is ACCEPTED
    assert desk.scan(piece(12, 40, 780), mailpiece="n").verdict is SHORT, "a copy pays for nothing"


def test_a_base_that_is_read_often_pays_once(desk: Desk) -> None:
    base, more = piece(10, 370, 370), piece(11, 370, 740)
    for _ in range(3):
        assert desk.scan(base, mailpiece="m").verdict is SHORT
    for payload in (more, base, twin(base), more):
        assert desk.scan(payload, mailpiece="m").verdict is ACCEPTED
    assert desk.scan(piece(12, 370, 1110, weight=300), mailpiece="m").verdict is SHORT, "$1.11 in all"


def test_without_a_mailpiece_it_is_accepted_once(desk: Desk) -> None:
    base = piece(10, 740, 740)
    assert [desk.scan(base, mailpiece=name).verdict for name in ("", "", "m", "m")] == [ACCEPTED] + [DUPLICATE] * 3


# In any order


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_order_of_scans_does_not_matter_once_all_were_read(desk: Desk, order: tuple[int, ...]) -> None:
    """A piece of two ounces, $0.74 four days ago; $0.29 three days ago; redated to today."""
    all_of_it = [piece(10, 740, 740, -4, weight=200), piece(11, 290, 1030, -3, weight=200), piece(12, 0, 1030)]
    for index in order:
        desk.scan(all_of_it[index], mailpiece="m")
    assert [desk.scan(payload, mailpiece="m").verdict for payload in all_of_it] == [ACCEPTED] * 3


def test_a_correction_dated_before_its_base_is_refused_as_often_as_it_comes(desk: Desk) -> None:
    desk.scan(piece(10, 700, 700), mailpiece="m")
    early = piece(11, 40, 740, -1)
    for _ in range(3):
        assert desk.scan(early, mailpiece="m").verdict is Verdict.BAD_CORRECTION
    stale = piece(12, 40, 780, -30)
    assert desk.scan(stale, mailpiece="m").verdict is Verdict.STALE
    assert desk.scan(piece(13, 0, 780), mailpiece="m").verdict is SHORT, "neither of them paid for anything"


def test_a_base_that_counts_already_is_no_correction_of_what_another_psd_added_later(store: ScanStore) -> None:
    """Piece counts tell the order for one PSD alone."""
    desk = Desk(store, trust=trust(psd_certificates=[certificate(), certificate_of_another()]))
    base, other = piece(10, 700, 700), {"psd_serial": SERIAL + 1, "certificate_serial": ANOTHERS}
    desk.scan(base, day=days(1), mailpiece="m")
    assert desk.scan(piece(5, 40, 40, 1, **other), day=days(1), mailpiece="m").verdict is ACCEPTED
    again = desk.scan(base, day=days(1), mailpiece="m")
    assert (again.verdict, finding(again, "correction").note) == (ACCEPTED, "it counts for this mailpiece already")


def test_a_redate_that_was_read_before_its_base_is_the_one_that_is_allowed(desk: Desk) -> None:
    first, second = piece(11, 0, 740), piece(12, 0, 740)
    for payload in (first, piece(10, 740, 740)):
        desk.scan(payload, mailpiece="m")
    assert desk.scan(second, mailpiece="m").verdict is Verdict.BAD_REDATE


def test_a_correction_may_follow_a_redate(desk: Desk) -> None:
    late = days(9)
    desk.scan(piece(10, 740, 740, weight=200), day=late, mailpiece="m")
    assert desk.scan(piece(11, 0, 740, 9), day=late, mailpiece="m").verdict is SHORT
    assert desk.scan(piece(12, 290, 1030, 9), day=late, mailpiece="m").verdict is ACCEPTED
    assert desk.scan(piece(13, 290, 1320, 8), day=late, mailpiece="m").verdict is Verdict.BAD_CORRECTION


# Only a date correction makes a mailpiece newer


@pytest.mark.parametrize("more", [1, 290], ids=["a mill", "an ounce"])
def test_no_amount_correction_makes_a_stale_mailpiece_fresh(desk: Desk, more: int) -> None:
    """Or for a mill a stale piece would be mailed, without a redate or after the one that is allowed."""
    base, mill, redate = piece(10, 740, 740), piece(11, more, 740 + more, 9), piece(12, 0, 740 + more, 9)
    for _ in range(2):
        assert desk.scan(base, day=days(9), mailpiece="m").verdict is Verdict.STALE
        added = desk.scan(mill, day=days(9), mailpiece="m")
        assert (added.verdict, result(added, "correction") is Result.FAILED) == (Verdict.STALE, False)
        assert "on a mailpiece of 2026-11-21, which only a date correction moves" in finding(added, "date").note
        assert "9 days late, 7 allowed; it can be redated" in finding(added, "date").note
    assert desk.scan(redate, day=days(9), mailpiece="m").verdict is Verdict.OVER_PAID
    assert desk.scan(mill, day=days(9), mailpiece="m").verdict is Verdict.OVER_PAID, "it is of the redate's day now"
    assert desk.scan(piece(13, more, 740 + 2 * more, 16), day=days(16), mailpiece="m").verdict is Verdict.OVER_PAID
    late = desk.scan(piece(14, more, 740 + 3 * more, 17), day=days(17), mailpiece="m")
    assert (late.verdict, "it can be redated" in finding(late, "date").note) == (Verdict.STALE, False)


def test_nor_does_one_after_a_second_redate_that_is_refused(desk: Desk) -> None:
    desk.scan(piece(10, 740, 740), mailpiece="m")
    assert desk.scan(piece(11, 0, 740, 9), day=days(9), mailpiece="m").verdict is ACCEPTED
    assert desk.scan(piece(12, 0, 740, 18), day=days(18), mailpiece="m").verdict is Verdict.BAD_REDATE
    assert desk.scan(piece(13, 1, 741, 18), day=days(18), mailpiece="m").verdict is Verdict.STALE


def test_nor_one_on_a_mailpiece_that_is_redated_to_a_day_to_come(desk: Desk) -> None:
    desk.scan(piece(10, 740, 740), mailpiece="m")
    assert desk.scan(piece(12, 0, 741, 20), day=days(9), mailpiece="m").verdict is Verdict.TOO_EARLY
    assert desk.scan(piece(11, 1, 741, 9), day=days(9), mailpiece="m").verdict is Verdict.STALE
    assert desk.scan(piece(13, 1, 742, 20), day=days(20), mailpiece="m").verdict is Verdict.OVER_PAID


def test_a_redate_of_another_day_than_its_base_dates_nothing_back(desk: Desk) -> None:
    desk.scan(piece(10, 0, 0, -9), mailpiece="m")
    desk.scan(piece(11, 740, 740), mailpiece="m")
    assert desk.scan(piece(11, 740, 740), day=date.max, mailpiece="m").verdict is Verdict.STALE
    assert desk.scan(piece(12, 290, 1030, 7, weight=200), day=days(7), mailpiece="m").verdict is ACCEPTED


# A hint leads to what it says


@pytest.mark.parametrize("layout", [STD, MAX], ids=lambda layout: layout.name)
@pytest.mark.parametrize("again", [True, False], ids=["same scans", "new scans"])
def test_a_redate_that_was_read_alone_is_accepted_with_what_it_corrects(desk: Desk, layout: Any, again: bool) -> None:
    """Also where the original was read alone before, and accepted: as the same scan, told its mailpiece."""
    more = {"layout": layout} | ({"tracking_number": TRACKING} if layout is MAX else {})
    base, redate = piece(10, 740, 740, **more), piece(11, 0, 740, **more)
    if again:
        assert desk.scan(base, id_="base").verdict is ACCEPTED
    alone = desk.scan(redate, id_="redate")
    assert alone.reasons[-1].verdict is SHORT
    assert "scan what it corrects first, both with one --mailpiece" in finding(alone, "postage").note
    for name, payload in (("base", base), ("redate", redate)):
        said = desk.scan(payload, id_=name if again else "", mailpiece="m")
        assert said.verdict is ACCEPTED
    assert "it bears no postage" in finding(said, "correction").note
    assert [desk.scan(payload).verdict for payload in (base, redate)] == [DUPLICATE] * 2


@pytest.mark.parametrize("layout", [STD, MAX], ids=lambda layout: layout.name)
def test_what_was_late_and_read_alone_can_be_redated(desk: Desk, layout: Any) -> None:
    late, more = days(9), {"layout": layout} | ({"tracking_number": TRACKING} if layout is MAX else {})
    base = piece(10, 740, 740, **more)
    assert "it can be redated" in finding(desk.scan(base, day=late), "date").note
    desk.scan(base, day=late, mailpiece="m")
    assert desk.scan(piece(11, 0, 740, 9, **more), day=late, mailpiece="m").verdict is ACCEPTED


def test_a_redate_read_before_its_base_is_accepted_after_it(desk: Desk) -> None:
    base, redate = piece(10, 740, 740), piece(11, 0, 740)
    early = desk.scan(redate, mailpiece="m")
    assert "no postage was scanned on this mailpiece before" in finding(early, "redate").note
    assert [desk.scan(payload, mailpiece="m").verdict for payload in (base, redate)] == [ACCEPTED] * 2


def test_a_reprint_that_was_refused_is_accepted_when_the_log_has_it(store: ScanStore) -> None:
    desk, payload = Desk(store), piece(10, 740, 740)
    desk.scan(payload)
    for _ in range(3):
        refused = desk.scan(payload)
        assert (refused.verdict, "(--records)" in finding(refused, "reprint").note) == (DUPLICATE, True)
    desk.office = office(records=records(reprints={payload: 1}))
    assert [desk.scan(payload).verdict for _ in range(3)] == [ACCEPTED, DUPLICATE, DUPLICATE]


# The same scan


def test_a_scan_that_was_judged_says_so_and_as_what(desk: Desk) -> None:
    payload = piece(10, 740, 740)
    assert desk.scan(payload, id_="one", mailpiece="m").judged_before is None
    for mailpiece in ("", "m", "n"):
        again = desk.scan(payload, id_="one", day=days(90), mailpiece=mailpiece)
        assert (again.verdict, again.judged_before) == (ACCEPTED, Judged(DAY, "m"))
        assert again.document()["judged_before"] == {"date": str(DAY), "mailpiece": "m"}


def test_a_scan_that_cannot_be_decided_takes_the_place_of_no_answer(desk: Desk) -> None:
    payload = piece(10, 740, 740)
    desk.scan(payload, id_="one")
    desk.office = office(trust=Trust())
    again = desk.scan(payload, id_="one", mailpiece="m")
    assert (again.verdict, again.judged_before) == (ACCEPTED, Judged(DAY, ""))


def test_a_scan_that_is_told_its_mailpiece_stands_once(desk: Desk) -> None:
    base = piece(10, 740, 740)
    for day, name in enumerate(("", "m")):
        assert desk.scan(base, id_="one", day=days(day), mailpiece=name).verdict is ACCEPTED
    assert desk.scan(base, id_="one", day=days(2), mailpiece="n").judged_before == Judged(DAY, "m")
    assert desk.scan(piece(11, 0, 740), mailpiece="m").verdict is ACCEPTED, "its redate"
    assert desk.scan(base, mailpiece="n").verdict is DUPLICATE


@pytest.mark.parametrize(
    "told",
    [{"records": records(status=Status.LOST)}, {"trust": trust(revoked=frozenset({CERTIFICATE_SERIAL}))}],
    ids=["lost", "revoked"],
)
def test_what_was_accepted_stays_used_up_whatever_is_known_when_its_mailpiece_is_told(
    desk: Desk, told: dict[str, Any]
) -> None:
    base = piece(10, 740, 740)
    desk.scan(base, id_="one")
    desk.office = office(**told)
    again = desk.scan(base, id_="one", mailpiece="m")
    assert (again.verdict, again.judged_before is not None) == (ACCEPTED, True)
    desk.office = office()
    assert desk.scan(base).verdict is DUPLICATE


# One payload, however its signature is written


def test_the_twin_of_a_signature_is_the_same_scan_and_the_same_reprint(store: ScanStore) -> None:
    payload = piece(10, 740, 740)
    desk = Desk(store, records=records(reprints={twin(payload): 1}))
    assert desk.scan(payload, id_="one").verdict is ACCEPTED
    assert desk.scan(twin(payload), id_="one").judged_before == Judged(DAY, "")
    assert [desk.scan(copy).verdict for copy in (payload, twin(payload))] == [ACCEPTED, DUPLICATE]


# What is no postage


def test_a_withdrawal_statement_is_no_piece_of_its_psd(desk: Desk) -> None:
    statement = builtin("withdrawal")
    payload = indicium(statement, piece_count=10, ascending_mills=8140, descending_mills=1, postage_mills=91_860)
    desk.office = office(layouts=[statement])
    for expected in (Result.PASSED, Result.FAILED):
        said = desk.scan(payload)
        assert (said.verdict, result(said, "duplicate")) == (Verdict.NOT_POSTAGE, expected)
        for check in ("ascending", "control_sum"):
            assert result(said, check) is Result.NOT_APPLICABLE
    desk.office = office()
    for count, total in ((10, 740), (11, 1480)):
        assert desk.scan(piece(count, 740, total)).verdict is ACCEPTED
    desk.office = office(layouts=[statement])
    late = indicium(statement, piece_count=11, ascending_mills=8880, descending_mills=0, postage_mills=91_120)
    assert result(desk.scan(late), "duplicate") is Result.PASSED, "a statement is no other payload of the last piece"


def test_nor_does_what_is_no_postage_use_up_a_tracking_number(desk: Desk) -> None:
    """A calendar of a user's own says of IMI-MAX that it is none."""
    known = calendar.built_in()
    none = [replace(regime, postage=False) for regime in known.regimes]
    desk.office = office(calendar=replace(known, regimes=none))
    assert desk.scan(piece(10, 740, 740, layout=MAX, tracking_number=TRACKING)).verdict is Verdict.NOT_POSTAGE
    desk.office = office()
    assert desk.scan(piece(11, 740, 1480, layout=MAX, tracking_number=TRACKING)).verdict is ACCEPTED
