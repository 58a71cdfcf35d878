"""Registers: AR never falls, AR + DR = control sum, DR never below zero, a piece per indicium."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.errors import InsufficientFunds, IntegrityError, RegisterLimit
from pes_sim.psd.registers import ASCENDING_LIMIT, DESCENDING_LIMIT, PIECE_LIMIT, Registers, check_step

amounts = st.integers(0, 10_000_000)
steps = st.lists(st.tuples(st.booleans(), amounts), max_size=60)


@given(steps)
def test_no_sequence_of_refills_and_debits_makes_or_loses_a_mill(sequence: list[tuple[bool, int]]) -> None:
    registers, refilled, spent, pieces = Registers(), 0, 0, 0
    for is_refill, amount in sequence:
        before = registers
        if is_refill:
            registers = registers.credit(amount)
            check_step(before, registers, pieces=0, refilled=amount)
            refilled += amount
        elif amount > registers.descending:
            with pytest.raises(InsufficientFunds):
                registers.debit(amount)
        else:
            registers = registers.debit(amount)
            check_step(before, registers, pieces=1)
            spent, pieces = spent + amount, pieces + 1
    assert (registers.ascending, registers.control_sum, registers.pieces) == (spent, refilled, pieces)
    assert registers.descending == refilled - spent


def test_a_debit_beyond_the_funds_says_how_much_is_missing() -> None:
    with pytest.raises(InsufficientFunds, match=r"\$0\.74 asked, \$0\.50 available, \$0\.24 missing") as caught:
        Registers(0, 500, 500).debit(740)
    assert caught.value.detail == {"missing_mills": 240, "available_mills": 500, "asked_mills": 740}


def test_the_last_mill_can_be_spent() -> None:
    assert Registers(0, 740, 740).debit(740) == Registers(740, 0, 740, 1, 0)


def test_a_zero_value_piece_moves_piece_counts_and_no_money() -> None:
    assert Registers(5, 5, 10, 3, 1).debit(0) == Registers(5, 5, 10, 4, 2)


@pytest.mark.parametrize(
    "registers",
    [Registers(ASCENDING_LIMIT, 1, ASCENDING_LIMIT + 1), Registers(0, 1, 1, PIECE_LIMIT)],
    ids=["ascending register", "piece count"],
)
def test_a_full_register_refuses_a_debit(registers: Registers) -> None:
    with pytest.raises(RegisterLimit):
        registers.debit(1)


@pytest.mark.parametrize(
    "registers",
    [Registers(0, DESCENDING_LIMIT, DESCENDING_LIMIT), Registers(ASCENDING_LIMIT, 0, ASCENDING_LIMIT)],
    ids=["descending register", "control sum"],
)
def test_a_refill_that_a_register_cannot_hold_is_refused(registers: Registers) -> None:
    with pytest.raises(RegisterLimit):
        registers.credit(1)


GOOD = Registers(740, 260, 1000, 1, 0)


@pytest.mark.parametrize(
    ("after", "pieces", "complaint"),
    [
        (GOOD._replace(ascending=0, descending=1000, pieces=2), 1, "ascending register fell"),
        (GOOD._replace(ascending=1001, descending=-1, pieces=2), 1, "below zero"),
        (GOOD._replace(descending=261), 0, "not the control sum"),
        (GOOD._replace(descending=261, control_sum=1001), 0, "by something else than a refill"),
        (GOOD._replace(pieces=3), 1, "piece count does not match"),
        (GOOD._replace(ascending=741, descending=259), 0, "without an indicium"),
        (GOOD._replace(pieces=2, zero_pieces=2), 1, "zero-value count"),
        (GOOD._replace(descending=0, control_sum=740), 0, "by something else than a refill or a withdrawal"),
    ],
)
def test_every_invariant_stops_what_breaks_it(after: Registers, pieces: int, complaint: str) -> None:
    with pytest.raises(IntegrityError, match=complaint):
        check_step(GOOD, after, pieces=pieces)


def test_a_withdrawal_takes_all_that_is_left_and_leaves_the_rest_as_it_is() -> None:
    after = GOOD.withdraw()
    assert after == Registers(740, 0, 740, 1, 0)
    check_step(GOOD, after, pieces=0, withdrawn=260)
    assert after.withdraw() == after
    check_step(after, after.withdraw(), pieces=0, withdrawn=0)


@pytest.mark.parametrize(
    ("after", "withdrawn", "complaint"),
    [
        (Registers(740, 0, 740, 1, 0), 259, "by something else than a refill or a withdrawal"),
        (Registers(740, 1, 741, 1, 0), 259, "a withdrawal left something"),
        (Registers(1000, 0, 1000, 1, 0), 260, "by something else than a refill or a withdrawal"),
        (Registers(740, 0, 740, 2, 0), 260, "piece count does not match"),
        (Registers(740, 0, 1000, 1, 0), 0, "not the control sum"),
        (Registers(740, -1, 739, 1, 0), 261, "below zero"),
    ],
)
def test_a_withdrawal_that_is_not_all_of_it_is_stopped(after: Registers, withdrawn: int, complaint: str) -> None:
    with pytest.raises(IntegrityError, match=complaint):
        check_step(GOOD, after, pieces=0, withdrawn=withdrawn)


def test_the_encoded_form_differs_when_any_register_does() -> None:
    forms = {Registers(*(int(n == i) for n in range(5))).encoded() for i in range(5)} | {Registers().encoded()}
    assert len(forms) == 6
