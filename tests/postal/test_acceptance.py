"""The acceptance: every check is listed with its result, each fault has its verdict, and one verdict rules."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import Layout, builtin
from pes_sim.indicium.verify import Trust
from pes_sim.indicium.verify import Verdict as Verified
from pes_sim.meter.rates import Category, RateBook, RateTable
from pes_sim.postal import calendar
from pes_sim.postal.acceptance import CHECKS, PRECEDENCE, assess
from pes_sim.postal.assessment import ACCEPTING, Result, Scan, Verdict
from pes_sim.postal.case import LARGEST
from pes_sim.postal.records import Records, Status
from tests.postal.made import (
    DAY,
    MAX,
    MIN,
    STD,
    VENDOR,
    Desk,
    finding,
    indicium,
    judged,
    office,
    records,
    result,
    trust,
)
from tests.rig import CERTIFICATE_SERIAL, SERIAL

SAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "ibi_samples.json").read_text())
IBI, IBI_LITE = (bytes.fromhex(sample["hex"]) for sample in SAMPLES)
PASSED, FAILED = Result.PASSED, Result.FAILED
NOT_APPLICABLE, NOT_CHECKABLE = Result.NOT_APPLICABLE, Result.NOT_CHECKABLE


def days(count: int) -> date:
    return DAY + timedelta(days=count)


# The tables


def test_every_verdict_but_the_good_one_has_its_place_once() -> None:
    assert sorted(PRECEDENCE) == sorted(set(Verdict) - {Verdict.ACCEPTED})


def test_what_the_verifier_says_is_said_in_its_words() -> None:
    assert {verdict.value for verdict in Verified} - {"valid"} <= {verdict.value for verdict in PRECEDENCE}


def test_every_check_is_listed_in_order_whatever_is_scanned() -> None:
    names = [row.name for row in CHECKS]
    assert len(set(names)) == len(names)
    for payload in (indicium(), b"", b"\xff" * 300, IBI, IBI_LITE, indicium(MIN)):
        assert [found.check for found in judged(payload).findings] == names


def test_a_good_piece_is_accepted_and_each_check_says_what_it_found() -> None:
    assessment = judged(indicium(), trust=trust(revoked=frozenset({1})), records=Records())
    assert (assessment.verdict, assessment.accepted, assessment.reasons) == (Verdict.ACCEPTED, True, [])
    assert all(found.note for found in assessment.findings)
    assert {found.check: found.result for found in assessment.findings if found.result is not PASSED} == {
        "key": NOT_APPLICABLE, "ascending": NOT_APPLICABLE, "control_sum": NOT_APPLICABLE, "redate": NOT_APPLICABLE,
        "correction": NOT_APPLICABLE, "reprint": NOT_APPLICABLE,
    }  # fmt: skip


def test_all_that_is_wrong_is_listed_and_the_first_of_the_table_rules() -> None:
    payload = indicium(postage_mills=100, mailing_date="2026-10-01")
    assessment = judged(payload, trust=trust(revoked=frozenset({CERTIFICATE_SERIAL})),
                        records=records(status=Status.STOLEN))  # fmt: skip
    assert assessment.verdict is Verdict.REVOKED_CERTIFICATE
    assert {found.verdict for found in assessment.reasons} == {
        Verdict.REVOKED_CERTIFICATE, Verdict.METER_LOST_OR_STOLEN, Verdict.STALE, Verdict.SHORT_PAID,
    }  # fmt: skip
    assert assessment.reasons[0].verdict is assessment.verdict
    assert result(assessment, "signature") is PASSED, "looked at, although the certificate does not hold"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xca99S1", b"\xc999S1", b"\xcc99S1", b"\x50", b"\xff", b"\x96"])
)
def test_no_bytes_raise_and_none_are_accepted(noise: bytes, start: bytes) -> None:
    for known in (None, [VENDOR], [builtin("withdrawal")]):
        assessment = judged(start + noise, layouts=known, records=Records())
        assert not assessment.accepted
        assert assessment.verdict is not Verdict.ACCEPTED


# What the verifier says


def test_a_forgery_is_one_and_all_else_is_still_looked_at() -> None:
    payload = bytearray(indicium())
    payload[-1] ^= 1
    assessment = judged(bytes(payload))
    assert assessment.verdict is Verdict.BAD_SIGNATURE
    assert (result(assessment, "postage"), result(assessment, "date")) == (PASSED, PASSED)


@pytest.mark.parametrize(
    ("payload", "believed", "verdict", "check"),
    [
        (b"", trust(), Verdict.TRUNCATED, "version"),
        (indicium()[:60], trust(), Verdict.TRUNCATED, "layout"),
        (indicium() + b"\0", trust(), Verdict.WRONG_LENGTH, "layout"),
        (b"\xcb" + indicium()[1:], trust(), Verdict.UNKNOWN_VERSION, "version"),
        (indicium()[:1] + b"02" + indicium()[3:], trust(), Verdict.NOT_A_SPECIMEN, "provider"),
        (indicium(psd_serial=5), trust(), Verdict.WRONG_CERTIFICATE, "certificate"),
        (indicium(), trust(psd_certificates=[b"junk"]), Verdict.UNTRUSTED_CERTIFICATE, "certificate"),
        (indicium(mailing_date="2050-01-05"), trust(), Verdict.EXPIRED_CERTIFICATE, "validity"),
        (indicium(), trust(revoked=frozenset({CERTIFICATE_SERIAL})), Verdict.REVOKED_CERTIFICATE, "revocation"),
    ],
    ids=lambda value: value.value if isinstance(value, Verdict) else "",
)
def test_each_fault_that_the_verifier_finds_has_its_verdict(
    payload: bytes, believed: Trust, verdict: Verdict, check: str
) -> None:
    assessment = judged(payload, trust=believed)
    assert (assessment.verdict, finding(assessment, check).verdict) == (verdict, verdict)
    assert result(assessment, check) is FAILED


def test_without_a_certificate_nothing_is_decided_but_the_rest_is_looked_at() -> None:
    assessment = judged(indicium(), trust=Trust())
    assert (assessment.verdict, assessment.accepted) == (Verdict.NO_CERTIFICATE, False)
    for check in ("certificate", "validity", "revocation", "signature"):
        assert result(assessment, check) is NOT_CHECKABLE
    assert result(assessment, "postage") is PASSED


def test_without_a_list_of_revoked_certificates_none_is_said_to_hold() -> None:
    assessment = judged(indicium())
    assert (result(assessment, "revocation"), assessment.verdict) == (NOT_CHECKABLE, Verdict.ACCEPTED)


def test_a_mac_has_a_key_and_no_certificate() -> None:
    assessment = judged(indicium(MIN))
    assert (assessment.verdict, result(assessment, "key"), result(assessment, "signature")) == (
        Verdict.ACCEPTED, PASSED, PASSED,
    )  # fmt: skip
    for check in ("certificate", "validity", "revocation", "ascending", "control_sum"):
        assert result(assessment, check) is NOT_APPLICABLE
    without = judged(indicium(MIN), trust=trust(secrets={}))
    assert (without.verdict, result(without, "signature")) == (Verdict.NO_KEY, NOT_CHECKABLE)


# Postage


@pytest.mark.parametrize(
    ("values", "verdict", "said"),
    [
        ({"postage_mills": 740}, Verdict.ACCEPTED, "costs $0.74, paid $0.74"),
        ({"postage_mills": 739}, Verdict.SHORT_PAID, "$0.001 short"),
        ({"postage_mills": 741}, Verdict.OVER_PAID, "$0.001 too much"),
        ({"weight": 101}, Verdict.SHORT_PAID, "1.01 oz on 2026-11-21 costs $1.03"),
        ({"weight": 350, "postage_mills": 1610}, Verdict.ACCEPTED, "costs $1.61"),
        ({"weight": 351}, Verdict.NO_RATE, "no rate for first_class_letter of 3.51 oz"),
        ({"weight": 0}, Verdict.NO_RATE, "no rate for first_class_letter of 0.00 oz"),
        ({"mail_class": "first_class_postcard", "postage_mills": 610}, Verdict.ACCEPTED, "costs $0.61"),
    ],
)
def test_postage_is_that_of_class_and_weight(values: dict[str, Any], verdict: Verdict, said: str) -> None:
    assessment = judged(indicium(**values))
    assert assessment.verdict is verdict
    assert assessment.accepted is (verdict in ACCEPTING)
    assert said in finding(assessment, "postage").note


def test_the_rate_is_that_of_the_mailing_date_and_not_of_the_scan() -> None:
    steps = ((100, 740),)
    old, new = (
        RateTable(version, effective, {"first_class_letter": Category("first_class_letter", "L", True, tuple(prices))})
        for version, effective, prices in (("old", date(2025, 7, 13), steps), ("new", DAY, [(100, 780)]))
    )
    book = RateBook([old, new])
    assert judged(indicium(mailing_date=str(days(-1))), rates=book).verdict is Verdict.ACCEPTED
    assert judged(indicium(), rates=book).verdict is Verdict.SHORT_PAID
    other = RateBook([replace(new, categories={})])
    assert "has no class" in finding(judged(indicium(), rates=other), "postage").note
    before = judged(indicium(mailing_date=str(days(-1))), rates=other)
    assert (result(before, "postage"), before.verdict) == (NOT_CHECKABLE, Verdict.ACCEPTED)
    nothing = judged(indicium(postage_mills=0, mailing_date=str(days(-1))), rates=other)
    assert (result(nothing, "postage"), nothing.verdict) == (NOT_CHECKABLE, Verdict.SHORT_PAID)


def test_fees_of_extra_services_are_not_known_so_more_is_not_too_much() -> None:
    assessment = judged(indicium(MAX, extra_services="certified_mail", postage_mills=2_000))
    assert assessment.verdict is Verdict.ACCEPTED
    assert "certified_mail" in finding(assessment, "postage").note
    assert judged(indicium(MAX, extra_services="certified_mail", postage_mills=5)).verdict is Verdict.SHORT_PAID


def test_a_class_that_is_none_of_the_layouts_has_no_rate() -> None:
    payload = bytearray(indicium())
    payload[37:39] = b"\xff\xff"
    assert finding(judged(bytes(payload)), "postage").verdict is Verdict.NO_RATE


# Dates


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [
        (0, Verdict.ACCEPTED), (1, Verdict.ACCEPTED), (2, Verdict.TOO_EARLY), (30, Verdict.TOO_EARLY),
        (31, Verdict.FUTURE_DATED), (-7, Verdict.ACCEPTED), (-8, Verdict.STALE),
    ],
)  # fmt: skip
def test_the_window_of_dates_to_the_day(ahead: int, verdict: Verdict) -> None:
    assert judged(indicium(mailing_date=str(days(ahead)))).verdict is verdict


def test_the_window_is_data(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = Path(calendar.__file__).with_name("calendar.toml").read_text()
    path.write_text(text.replace("late_days = 7", "late_days = 8"))
    mine = calendar.load_file(path)
    assert judged(indicium(mailing_date=str(days(-8))), calendar=mine).verdict is Verdict.ACCEPTED


def test_a_date_that_is_none_is_said_and_not_counted_from() -> None:
    payload = bytearray(indicium())
    payload[30:34] = bytes(4)
    assessment = judged(bytes(payload))
    assert finding(assessment, "date").verdict is Verdict.BAD_DATE
    assert result(assessment, "postage") is NOT_CHECKABLE


@pytest.mark.parametrize(
    ("day", "dated", "result_", "verdict"),
    [
        (date(2024, 6, 29), 20240629, PASSED, Verdict.ACCEPTED),
        (date(2024, 6, 30), 20240630, PASSED, Verdict.ACCEPTED),
        (date(2024, 12, 31), 20241231, PASSED, Verdict.ACCEPTED),
        (date(2025, 1, 1), 20250101, FAILED, Verdict.DECERTIFIED),
        (date(2025, 6, 30), 20241231, PASSED, Verdict.ACCEPTED),
        (date(2025, 7, 1), 20241231, FAILED, Verdict.DECERTIFIED),
    ],
)
def test_ibi_ends_on_the_days_that_were_published(day: date, dated: int, result_: Result, verdict: Verdict) -> None:
    payload = IBI[:22] + dated.to_bytes(4, "little") + IBI[26:]
    found = finding(judged(payload, day), "regime")
    assert (found.result, found.verdict) == (result_, verdict)
    assert ("is decertified since 2024-06-30" in found.note) is (result_ is PASSED and day >= date(2024, 6, 30))


def test_an_ibi_sample_today_is_decertified_before_anything_else() -> None:
    for payload in (IBI, IBI_LITE):
        assessment = judged(payload)
        assert assessment.verdict is Verdict.DECERTIFIED
        assert finding(assessment, "provider").verdict is Verdict.NOT_A_SPECIMEN
        assert finding(assessment, "signature").result is not PASSED
    assert finding(judged(IBI_LITE), "signature").verdict is Verdict.UNKNOWN_SCHEME
    assert "cannot be checked here" in finding(judged(IBI_LITE), "certificate").note
    assert result(judged(IBI_LITE), "date") is NOT_APPLICABLE


def test_a_withdrawal_statement_is_no_postage() -> None:
    statement = builtin("withdrawal")
    assessment = judged(indicium(statement), layouts=[statement])
    assert assessment.verdict is Verdict.NOT_POSTAGE
    assert result(assessment, "postage") is NOT_APPLICABLE


# Layouts of a user's own


def test_a_vendors_layout_is_checked_as_far_as_its_fields_go() -> None:
    assessment = judged(indicium(VENDOR, postage_mills=740), layouts=[VENDOR])
    assert assessment.verdict is Verdict.ACCEPTED
    assert "no construct ACME" in finding(assessment, "regime").note
    assert result(assessment, "signature") is PASSED
    assert result(assessment, "ascending") is NOT_APPLICABLE


def shortened(*without: str, **codings: str) -> Layout:
    """IMI-MIN without some fields, or with another coding of one."""
    document = tomllib.loads((Path(layouts.__file__).parent / "layouts" / "imi_min.toml").read_text())
    rows = [row for row in document["field"] if row["name"] not in without]
    offset = 0
    for row in rows:
        row["offset"], offset = offset, offset + row["length"]
        if row["name"] in codings:
            row["coding"] = codings[row["name"]]
            row.pop("values", None)
    return Layout(document | {"field": rows, "writable": False, "text": []}, "mine.toml")


OPTIONAL = (
    "postage_mills",
    "origin_zip",
    "mail_class",
    "weight",
    "destination",
    "piece_count",
    "algorithm_id",
    "model_id",
)


@pytest.mark.parametrize("field", OPTIONAL)
def test_a_field_that_a_layout_lacks_makes_a_check_not_applicable(field: str) -> None:
    layout = shortened(field)
    assessment = judged(b"\xc9" + bytes(layout.length - 1), layouts=[layout], records=Records())
    needs = {"postage_mills": ["postage", "redate", "correction"], "mail_class": ["postage"], "weight": ["postage"]}
    for check in needs.get(field, []):
        assert (result(assessment, check), field in finding(assessment, check).note) == (NOT_APPLICABLE, True)


def test_a_layout_may_have_next_to_no_fields() -> None:
    layout = shortened(*OPTIONAL, "provider_id")
    desk = Desk(layouts=[layout], records=Records())
    for _ in range(2):
        assert not desk.scan(b"\xc9" + bytes(layout.length - 1)).accepted


@pytest.mark.parametrize(
    "field", ["postage_mills", "weight", "piece_count", "psd_serial", "mail_class", "mailing_date"]
)
@pytest.mark.parametrize("coding", ["bytes", "ascii"])
def test_a_field_may_be_of_a_kind_that_nothing_can_be_said_of(field: str, coding: str) -> None:
    layout = shortened(**{field: coding})
    desk = Desk(layouts=[layout], records=records())
    for content in (bytes(layout.length - 1), b"A" * (layout.length - 1), b"\xff" * (layout.length - 1)):
        assert not desk.scan(b"\xc9" + content).accepted


def wide() -> Layout:
    """IMI-STD with registers of eight bytes."""
    document = tomllib.loads((Path(layouts.__file__).parent / "layouts" / "imi_std.toml").read_text())
    offset = 0
    for row in document["field"]:
        if row["name"] in ("piece_count", "ascending_mills", "descending_mills", "postage_mills"):
            row["length"] = 8
        row["offset"], offset = offset, offset + row["length"]
    return Layout(document, "wide.toml")


def test_numbers_that_no_meter_has_are_not_compared() -> None:
    layout = wide()
    desk = Desk(layouts=[layout])
    most = 2**64 - 1
    assessment = desk.give(layout, piece_count=most, ascending_mills=most, descending_mills=most, postage_mills=most)
    for check in ("postage", "ascending", "control_sum"):
        assert result(assessment, check) is NOT_CHECKABLE
    desk.give(layout, ascending_mills=LARGEST, descending_mills=LARGEST)
    assert desk.give(layout, piece_count=4, ascending_mills=LARGEST, descending_mills=0).verdict is not Verdict.ACCEPTED


# Meters out of service


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (Status.IN_SERVICE, Verdict.ACCEPTED),
        (Status.LOST, Verdict.METER_LOST_OR_STOLEN),
        (Status.STOLEN, Verdict.METER_LOST_OR_STOLEN),
        (Status.WITHDRAWN, Verdict.METER_WITHDRAWN),
    ],
)
def test_a_meter_out_of_service_prints_no_postage(status: Status, verdict: Verdict) -> None:
    assert judged(indicium(), records=records(status=status)).verdict is verdict


@pytest.mark.parametrize(("since", "verdict"), [(0, Verdict.METER_WITHDRAWN), (1, Verdict.ACCEPTED)])
def test_what_it_printed_before_holds(since: int, verdict: Verdict) -> None:
    told = records(status=Status.WITHDRAWN, since=days(since))
    assert judged(indicium(), records=told).verdict is verdict


def test_another_meters_entry_is_not_its_own() -> None:
    assessment = judged(indicium(), records=Records())
    assert (assessment.verdict, result(assessment, "meter")) == (Verdict.ACCEPTED, PASSED)
    assert result(judged(indicium()), "meter") is NOT_CHECKABLE


def test_the_same_case_gives_the_same_assessment() -> None:
    case = office().case(Scan("s", indicium(), DAY))
    assert assess(case) == assess(case)
    assert case.scan.payload[5:9] == SERIAL.to_bytes(4, "little")
    assert STD.name == assess(case).layout
