"""Judging registers: each rule by itself, on the edge, and what a late cancellation may and may not be held to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.provider.judgement import Complaint, cancellation_fits, judge, shortened, text_of
from pes_sim.provider.registry import Registered
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Lock

KNOWN = Registered(
    psd_serial=1, customer="A", certificate_serial=1, certificate=b"", public_point=b"", message_point=b"",
    licensing_zip="20260", message_number=7, granted_mills=10_000, ascending_mills=1_480, descending_mills=8_520,
    control_sum_mills=10_000, piece_count=3, zero_piece_count=1, suspicion="", withdrawn=0, log_sequence=20,
    last_report=b"20 and its chain", last_contact=0,
)  # fmt: skip


def said(**changes: Any) -> Values:
    """A report of just what is known, with changes."""
    return KNOWN.registers | {"log_sequence": 20, "reports": [b"an older one", KNOWN.last_report]} | changes


def complaints(values: Values, known: Registered = KNOWN, *, under_way: int = 0) -> list[tuple[str, Lock]]:
    return [(c.text, c.lock) for c in judge(known, values, under_way=under_way)]


def test_what_is_known_already_can_be_true_and_so_can_later_registers() -> None:
    assert complaints(said()) == []
    later = said(ascending_mills=10_000, descending_mills=0, piece_count=9, zero_piece_count=2, log_sequence=30)
    assert complaints(later) == []


@pytest.mark.parametrize(
    ("changes", "text", "lock"),
    [
        ({"descending_mills": 8_521}, "AR + DR is not the control sum", Lock.REGISTER_FAULT),
        ({"reports": [b"an older one"]}, "the log is not the one that was reported", Lock.ROLLBACK_FOUND),
        ({"reports": []}, "the log is not the one that was reported", Lock.ROLLBACK_FOUND),
        ({"ascending_mills": 1_479, "descending_mills": 8_521}, "the ascending register fell", Lock.ROLLBACK_FOUND),
        ({"piece_count": 2}, "the piece count fell", Lock.ROLLBACK_FOUND),
        ({"zero_piece_count": 0}, "the count of zero-value pieces fell", Lock.ROLLBACK_FOUND),
        ({"descending_mills": 8_519, "control_sum_mills": 9_999}, "the control sum fell", Lock.ROLLBACK_FOUND),
        ({"log_sequence": 19}, "the log got shorter", Lock.ROLLBACK_FOUND),
        (
            {"descending_mills": 8_521, "control_sum_mills": 10_001},
            "the control sum is $10.001, refills come to $10.00",
            Lock.REGISTER_FAULT,
        ),
    ],
)
def test_a_mill_or_a_piece_too_few_or_too_many_is_told_with_its_lock(
    changes: dict[str, int], text: str, lock: Lock
) -> None:
    waits_for = max(0, 10_000 - changes.get("control_sum_mills", 10_000))  # or the sum alone would tell
    assert complaints(said(**changes), under_way=waits_for) == [(text, lock)]


def test_a_message_without_a_log_says_nothing_about_it() -> None:
    values = said()
    del values["log_sequence"]
    assert complaints(values) == []


@pytest.mark.parametrize(("under_way", "lock"), [(5_000, None), (0, Lock.ROLLBACK_FOUND), (4_999, Lock.ROLLBACK_FOUND),
                                                (5_001, Lock.REGISTER_FAULT)])  # fmt: skip
def test_only_the_very_grant_that_a_device_waits_for_may_be_missing(under_way: int, lock: Lock | None) -> None:
    granted = replace(KNOWN, granted_mills=15_000)
    assert [found for _, found in complaints(said(), granted, under_way=under_way)] == ([lock] if lock else [])


def test_everything_that_is_wrong_is_told() -> None:
    nothing = dict.fromkeys(KNOWN.registers, 0) | {"log_sequence": 0, "descending_mills": 1}
    texts = [text for text, _ in complaints(nothing)]
    assert len(texts) == 7


@given(
    st.fixed_dictionaries({name: st.integers(0, 12_000) for name in (*KNOWN.registers, "log_sequence")}),
    st.sampled_from([0, 2_000]),
)
def test_no_complaint_means_that_money_and_pieces_agree(values: Values, under_way: int) -> None:
    if not judge(replace(KNOWN, control_sum_mills=0), values, under_way=under_way):
        assert values["ascending_mills"] + values["descending_mills"] == values["control_sum_mills"]
        assert values["control_sum_mills"] == 10_000 - under_way
        assert values["ascending_mills"] >= 1_480
        assert values["piece_count"] >= 3


@pytest.mark.parametrize(
    ("control_sum", "fits"), [(10_000, True), (9_999, False), (10_001, False), (15_000, False), (0, False)]
)
def test_a_cancelled_grant_goes_back_only_where_the_control_sum_never_had_it(control_sum: int, fits: bool) -> None:
    granted = replace(KNOWN, granted_mills=15_000)
    assert cancellation_fits(granted, said(control_sum_mills=control_sum), 5_000) is fits


def test_a_device_that_reported_the_refill_before_cannot_cancel_it_now() -> None:
    booked = replace(KNOWN, granted_mills=15_000, control_sum_mills=15_000)
    assert not cancellation_fits(booked, said(), 5_000)


def test_a_cancellation_is_not_held_to_what_has_changed_since_it_was_made() -> None:
    granted = replace(KNOWN, granted_mills=15_000)
    assert cancellation_fits(granted, said(ascending_mills=0, descending_mills=10_000, piece_count=0), 5_000)


def test_the_reason_says_what_to_do_where_books_disagree_and_only_there() -> None:
    books = Complaint("the piece count fell", Lock.ROLLBACK_FOUND)
    other = Complaint("the device was withdrawn from service", Lock.PROVIDER)
    assert text_of([books]) == "the piece count fell. Both logs have to be looked at"
    assert text_of([other]) == "the device was withdrawn from service"
    assert text_of([other, books]).endswith("; the piece count fell. Both logs have to be looked at")


def test_a_reason_fits_its_field_and_keeps_its_ending() -> None:
    long = [Complaint("x" * 150, Lock.ROLLBACK_FOUND), Complaint("y" * 150, Lock.ROLLBACK_FOUND)]
    assert len(text_of(long)) == 200
    assert text_of(long).endswith(". Both logs have to be looked at")
    assert shortened("a" * 300) == "a" * 200
    assert shortened("a") == "a"


def test_known_registers_are_those_of_the_wire() -> None:
    registers: dict[str, Any] = KNOWN.registers
    assert list(registers) == [
        "ascending_mills", "descending_mills", "control_sum_mills", "piece_count", "zero_piece_count",
    ]  # fmt: skip
