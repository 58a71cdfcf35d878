"""What was scanned before: copies, registers that only move one way, redates, corrections and reprints."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.errors import RequestIdReused
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import Layout
from pes_sim.indicium.verify import Trust
from pes_sim.postal.assessment import Result, Verdict
from pes_sim.postal.curves import P224, P256, Curve
from pes_sim.postal.sqlite_store import SqliteScans
from pes_sim.postal.store import MemoryScans, ScanStore
from tests.postal.made import DAY, MAX, MIN, Desk, certificate, finding, indicium, office, records, result, trust

TRACKING = "9400100000000000000001"
NEXT = DAY + timedelta(days=1)
DUPLICATE, DISAGREE = Verdict.DUPLICATE, Verdict.REGISTERS_DISAGREE


# Once


def test_the_same_scan_gets_the_same_assessment_and_is_no_duplicate_of_itself(desk: Desk) -> None:
    payload = indicium()
    first = desk.scan(payload, id_="one")
    assert first.verdict is Verdict.ACCEPTED
    for day in (DAY, NEXT + timedelta(days=300)):
        assert desk.scan(payload, id_="one", day=day) == first


def test_it_stays_the_same_whatever_became_known_since(desk: Desk) -> None:
    payload = indicium(piece_count=9)
    first = desk.scan(payload, id_="one")
    desk.office = office(trust=trust(revoked=frozenset({4711})))
    assert desk.scan(payload, id_="one") == first
    assert desk.scan(payload, id_="two").verdict is Verdict.REVOKED_CERTIFICATE


def test_an_id_is_one_payloads(desk: Desk) -> None:
    desk.scan(indicium(), id_="one")
    with pytest.raises(RequestIdReused, match="scan one was of another payload"):
        desk.scan(indicium(piece_count=9), id_="one")
    assert desk.scan(indicium(piece_count=10), id_="two").verdict is not DUPLICATE


def test_what_could_not_be_decided_may_come_again(desk: Desk) -> None:
    payload = indicium()
    desk.office = office(trust=Trust())
    assert desk.scan(payload, id_="one").verdict is Verdict.NO_CERTIFICATE
    desk.office = office()
    assert desk.scan(payload, id_="one").verdict is Verdict.ACCEPTED


def test_a_scan_judged_with_the_wrong_certificate_may_come_again(desk: Desk) -> None:
    payload = indicium()
    for wrong in (trust(psd_certificates=[certificate("secp224r1")]), trust(psd_certificates=[b"junk"])):
        desk.office = office(trust=wrong)
        assert desk.scan(payload, id_="one").verdict in (
            Verdict.WRONG_CERTIFICATE, Verdict.UNTRUSTED_CERTIFICATE,
        )  # fmt: skip
    desk.office = office()
    assert desk.scan(payload, id_="one").verdict is Verdict.ACCEPTED


def test_a_copy_that_was_not_proved_genuine_is_no_first_one(desk: Desk) -> None:
    payload = indicium()
    desk.office = office(trust=trust(revoked=frozenset({4711})))
    for _ in range(2):
        assert desk.scan(payload).verdict is Verdict.REVOKED_CERTIFICATE
    assert finding(desk.scan(payload), "duplicate").verdict is DUPLICATE, "among themselves they are copies"
    desk.office = office()
    assert [desk.scan(payload).verdict, desk.scan(payload).verdict] == [Verdict.ACCEPTED, DUPLICATE]


def test_what_cannot_be_read_is_remembered_as_well(desk: Desk) -> None:
    for _ in range(2):
        assessment = desk.scan(b"\xca99")
        assert (assessment.verdict, result(assessment, "duplicate")) == (Verdict.TRUNCATED, Result.NOT_CHECKABLE)


# Duplicates


def test_a_copy_is_a_duplicate_and_names_the_first(desk: Desk) -> None:
    payload = indicium()
    desk.scan(payload, id_="first")
    assessment = desk.scan(payload, id_="second", day=NEXT)
    assert assessment.verdict is DUPLICATE
    assert finding(assessment, "duplicate").note == f"scan first of {DAY} bore the very same payload"
    assert result(assessment, "reprint") is Result.NOT_CHECKABLE
    assert desk.scan(payload, id_="third").verdict is DUPLICATE


def test_two_payloads_of_one_piece_count_are_duplicates(desk: Desk) -> None:
    desk.give(MIN)
    assert desk.give(MIN, destination="100019999").verdict is DUPLICATE
    assert desk.give(MIN, piece_count=4).verdict is Verdict.ACCEPTED


def test_one_tracking_number_is_one_mailpiece(desk: Desk) -> None:
    desk.give(MAX, tracking_number=TRACKING)
    assessment = desk.give(MAX, tracking_number=TRACKING, piece_count=4, ascending_mills=2960, descending_mills=97_040)
    assert assessment.verdict is DUPLICATE
    assert TRACKING in finding(assessment, "duplicate").note


def test_a_tracking_number_of_zeros_is_none(desk: Desk) -> None:
    for count in (3, 4, 5):
        values = at(count, 740 * count, 100_000 - 740 * count)
        payload = indicium(MAX, tracking_number="", **values)
        assert payload[50:60] == bytes(10)
        assert desk.scan(payload).verdict is Verdict.ACCEPTED


def test_a_forgery_makes_no_true_piece_a_duplicate_nor_its_registers_false(desk: Desk) -> None:
    forged = bytearray(indicium(MAX, tracking_number=TRACKING, ascending_mills=10**9, destination="100019999"))
    forged[-1] ^= 1
    assert desk.scan(bytes(forged)).verdict is Verdict.BAD_SIGNATURE
    assert desk.give(MAX, tracking_number=TRACKING).verdict is Verdict.ACCEPTED
    assert desk.give(MAX, piece_count=4, ascending_mills=2960, descending_mills=97_040).verdict is Verdict.ACCEPTED


def test_a_mailpiece_that_is_scanned_again_is_no_copy_but_on_another_one_it_is(desk: Desk) -> None:
    payload = indicium()
    desk.scan(payload, mailpiece="m1")
    again = desk.scan(payload, mailpiece="m1")
    assert again.verdict is Verdict.ACCEPTED
    assert "this mailpiece was scanned before" in finding(again, "duplicate").note
    assert desk.scan(payload, mailpiece="m2").verdict is DUPLICATE
    assert desk.scan(payload).verdict is DUPLICATE


# Reprints


def test_a_copy_that_was_reported_as_reprinted_is_none(store: ScanStore) -> None:
    payload = indicium()
    desk = Desk(store, records=records(reprints={payload: 1}))
    assert result(desk.scan(payload), "reprint") is Result.NOT_APPLICABLE
    second = desk.scan(payload)
    assert (second.verdict, result(second, "reprint")) == (Verdict.ACCEPTED, Result.PASSED)
    assert "reported as reprinted" in finding(second, "duplicate").note
    third = desk.scan(payload)
    assert (third.verdict, result(third, "reprint")) == (DUPLICATE, Result.FAILED)
    assert finding(third, "reprint").note == "seen 3 times, with 1 reprints reported"


# Registers


def at(count: int, ascending: int, descending: int, postage: int = 740) -> dict[str, Any]:
    return {"piece_count": count, "ascending_mills": ascending, "descending_mills": descending,
            "postage_mills": postage}  # fmt: skip


FIRST = at(10, 7400, 92_600)


@pytest.mark.parametrize(
    ("values", "check", "said"),
    [
        (at(11, 8140, 91_860), "", ""),
        (at(11, 8140, 191_860), "", "AR + DR rose by $100.00: refills"),
        (at(13, 9620, 90_380), "", ""),
        (at(13, 8140, 91_860), "", ""),  # redates in between move the count, and no money
        (at(9, 6660, 93_340), "", ""),
        (at(11, 7399, 92_601), "ascending", "from piece 10 to 11 the ascending register fell by $0.001"),
        (at(12, 8139, 91_861), "ascending", "rose by $0.739, less than the $0.74 of the later piece"),
        (at(11, 8880, 91_120), "ascending", "rose by $1.48, and the piece cost $0.74"),
        (at(9, 7000, 93_000), "ascending", "from piece 9 to 10 the ascending register rose by $0.40"),
        (at(11, 8140, 91_859), "control_sum", "AR + DR fell by $0.001, which no refill does"),
        (at(9, 6660, 93_341), "control_sum", "from piece 9 to 10 AR + DR fell"),
        (at(0, 10**11, 92_600), "ascending", "from piece 0 to 10 the ascending register fell"),  # a count that wrapped
        (at(11, 700, 99_300), "ascending", "is below its own postage"),
    ],
)  # fmt: skip
def test_registers_move_one_way(desk: Desk, values: dict[str, Any], check: str, said: str) -> None:
    desk.give(**FIRST)
    assessment = desk.give(**values)
    assert (assessment.verdict is DISAGREE) is bool(check)
    assert {found.check for found in assessment.findings if found.verdict is DISAGREE} >= ({check} if check else set())
    assert said in " ".join(finding(assessment, name).note for name in ("ascending", "control_sum"))


def test_both_neighbours_are_looked_at_in_whatever_order_the_mail_comes(desk: Desk) -> None:
    for count in (10, 20, 15):
        assert desk.give(**at(count, 740 * count, 100_000 - 740 * count)).verdict is Verdict.ACCEPTED
    assessment = desk.give(**at(16, 740 * 16, 100_000 - 740 * 16))
    assert finding(assessment, "ascending").note == "it agrees with piece 15 and piece 20"
    assert desk.give(**at(17, 740 * 20 - 1, 100_000 - 740 * 17)).verdict is DISAGREE


def test_a_zero_value_piece_moves_no_money(desk: Desk) -> None:
    desk.give(**FIRST, mailpiece="m")
    assert desk.give(**at(11, 7400, 92_600, 0), mailpiece="m").verdict is Verdict.ACCEPTED


def test_no_more_postage_than_was_granted(store: ScanStore) -> None:
    desk = Desk(store, records=records(granted_mills=100_000))
    assert desk.give(**FIRST).verdict is Verdict.ACCEPTED
    assessment = desk.give(**at(11, 8140, 91_861))
    assert (assessment.verdict, result(assessment, "control_sum")) == (DISAGREE, Result.FAILED)


# Redates and corrections


def redate(count: int, day: int = 0) -> dict[str, Any]:
    return at(count, 7400, 92_600, 0) | {"mailing_date": str(DAY + timedelta(days=day))}


def test_a_late_piece_is_accepted_with_its_redate(desk: Desk) -> None:
    late = DAY + timedelta(days=9)
    assert desk.give(**FIRST, day=late, mailpiece="m").verdict is Verdict.STALE
    assessment = desk.give(**redate(11, 9), day=late, mailpiece="m")
    assert (assessment.verdict, result(assessment, "redate")) == (Verdict.ACCEPTED, Result.PASSED)
    assert "with $0.74 on the mailpiece before" in finding(assessment, "postage").note


def test_one_redate_is_allowed(desk: Desk) -> None:
    desk.give(**FIRST, mailpiece="m")
    payload = indicium(**redate(11))
    assert desk.scan(payload, mailpiece="m").verdict is Verdict.ACCEPTED
    assert desk.scan(payload, mailpiece="m").verdict is Verdict.ACCEPTED, "the same one, read once more"
    for count in (12, 13):
        second = desk.give(**redate(count), mailpiece="m")
        assert (second.verdict, "one is allowed" in finding(second, "redate").note) == (Verdict.BAD_REDATE, True)


def test_a_redate_never_goes_back(desk: Desk) -> None:
    desk.give(**FIRST, mailpiece="m")
    assert desk.give(**redate(11, -1), mailpiece="m").verdict is Verdict.BAD_REDATE


def test_a_redate_alone_pays_for_nothing(desk: Desk) -> None:
    alone = desk.give(**redate(11))
    assert (alone.verdict, result(alone, "redate")) == (Verdict.SHORT_PAID, Result.NOT_CHECKABLE)
    assert "scan what it corrects first" in finding(alone, "postage").note
    on_nothing = desk.give(**redate(12), mailpiece="m")
    assert on_nothing.verdict is Verdict.BAD_REDATE


def test_an_amount_correction_completes_what_was_short(desk: Desk) -> None:
    short = desk.give(**at(10, 7000, 93_000, 700), mailpiece="m")
    assert (short.verdict, result(short, "correction")) == (Verdict.SHORT_PAID, Result.NOT_APPLICABLE)
    missing = indicium(**at(11, 7040, 92_960, 40))
    for _ in range(2):
        assert desk.scan(missing, mailpiece="m").verdict is Verdict.ACCEPTED
    assert desk.give(**at(12, 7100, 92_900, 60), mailpiece="m").verdict is Verdict.OVER_PAID


def test_a_mailpiece_that_is_scanned_again_pays_once(desk: Desk) -> None:
    short = indicium(**at(10, 7000, 93_000, 700))
    for _ in range(2):
        assert desk.scan(short, mailpiece="m").verdict is Verdict.SHORT_PAID
    assert desk.give(**at(11, 7040, 92_960, 40), mailpiece="m").verdict is Verdict.ACCEPTED


def test_a_correction_on_another_mailpiece_completes_nothing(desk: Desk) -> None:
    desk.give(**at(10, 7000, 93_000, 700), mailpiece="m")
    assert desk.give(**at(11, 7040, 92_960, 40), mailpiece="n").verdict is Verdict.SHORT_PAID
    assert desk.give(**at(12, 7080, 92_920, 40)).verdict is Verdict.SHORT_PAID


def test_a_correction_is_not_made_before_what_it_corrects(desk: Desk) -> None:
    desk.give(**at(10, 7000, 93_000, 700), mailpiece="m")
    before = at(11, 7040, 92_960, 40) | {"mailing_date": str(DAY - timedelta(days=1))}
    assert desk.give(**before, mailpiece="m").verdict is Verdict.BAD_CORRECTION


def test_a_mailpiece_costs_what_the_heaviest_of_its_indicia_says(desk: Desk) -> None:
    heavy = at(10, 7000, 93_000, 740) | {"weight": 300}
    assert desk.give(**heavy, mailpiece="m").verdict is Verdict.SHORT_PAID
    light = desk.give(**at(11, 7010, 92_990, 10), mailpiece="m")
    assert light.verdict is Verdict.SHORT_PAID
    assert "the mailpiece costs $1.32: $0.57 short" in finding(light, "postage").note
    assert desk.give(**at(12, 7580, 92_420, 570), mailpiece="m").verdict is Verdict.ACCEPTED
    redated = desk.give(**at(13, 7580, 92_420, 0), mailpiece="m")
    assert redated.verdict is Verdict.ACCEPTED, "a redate that bears one ounce makes nothing over-paid"
    assert desk.give(**at(14, 7581, 92_419, 1), mailpiece="n").verdict is Verdict.SHORT_PAID


def without_count(layout: str, **changes: Any) -> Layout:
    """A user's layout in which nothing tells one piece from the next but the signature."""
    document = tomllib.loads((Path(layouts.__file__).parent / "layouts" / f"{layout}.toml").read_text())
    for row in document["field"]:
        if row["name"] == "piece_count":
            row |= {"name": "spare", "coding": "bytes", "constant": "00" * row["length"]}
    return Layout(document | changes, "mine.toml")


@pytest.mark.parametrize("curve", [P256, P224])
def test_the_other_half_of_a_signature_makes_no_other_piece(store: ScanStore, curve: Curve) -> None:
    """(r, n - s) is as good a signature as (r, s), and whoever has a print can write it."""
    scheme = {"scheme": f"ecdsa-p{8 * curve.length}-sha256", "length": 2 * curve.length}
    document = tomllib.loads((Path(layouts.__file__).parent / "layouts" / "imi_std.toml").read_text())
    layout = without_count("imi_std", signature=document["signature"] | scheme)
    desk = Desk(store, layouts=[layout])
    payload = indicium(layout)
    s = int.from_bytes(payload[-curve.length :], "big")
    twin = payload[: -curve.length] + (curve.n - s).to_bytes(curve.length, "big")
    assert desk.scan(payload).verdict is Verdict.ACCEPTED
    assert desk.scan(twin).verdict is DUPLICATE
    short, long = indicium(layout, postage_mills=400), curve.length
    again = short[:-long] + (curve.n - int.from_bytes(short[-long:], "big")).to_bytes(long, "big")
    for half in (short, again):
        assert desk.scan(half, mailpiece="m").verdict is Verdict.SHORT_PAID, "$0.40 pays for a mailpiece once"


def test_a_copied_indicium_pays_for_no_mailpiece(desk: Desk) -> None:
    payload = indicium(**FIRST)
    desk.scan(payload, mailpiece="m")
    desk.scan(payload, mailpiece="n")
    assert desk.give(**redate(11), mailpiece="n").verdict is Verdict.BAD_REDATE


def test_original_and_correction_may_bear_one_tracking_number(desk: Desk) -> None:
    desk.give(MAX, **at(10, 7000, 93_000, 700), tracking_number=TRACKING, mailpiece="m")
    second = desk.give(MAX, **at(11, 7040, 92_960, 40), tracking_number=TRACKING, mailpiece="m")
    assert second.verdict is Verdict.ACCEPTED


# Any order


PIECES = st.lists(
    st.tuples(
        st.integers(1, 5), st.sampled_from([0, 700, 740]), st.sampled_from([0, 740, 1480]),
        st.sampled_from(["", "m", "n"]), st.sampled_from(["", TRACKING]), st.integers(0, 7),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(PIECES)
def test_both_stores_say_the_same_of_any_mail(pieces: list[tuple[int, int, int, str, str, int]]) -> None:
    plain, database = Desk(MemoryScans()), Desk(SqliteScans(None))
    for number, (count, postage, more, mailpiece, tracking, id_) in enumerate(pieces):
        values = at(count, 740 * count + more, 100_000 - 740 * count, postage)
        payload = indicium(MAX, **values, tracking_number=tracking)
        name = f"{id_} {payload.hex()}" if number % 2 else f"n{number}"
        said = [desk.scan(payload, id_=name[:190], mailpiece=mailpiece) for desk in (plain, database)]
        assert said[0] == said[1]
    assert isinstance(database.store, SqliteScans)
    database.store.close()
