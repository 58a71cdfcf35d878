"""Money: what is an amount, what is none, and how it is read and shown."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pes_sim.errors import MoneyError, Status
from pes_sim.money import DOLLAR, MAX_MILLS, dollars, mills, parse

READ = {
    "0": 0,
    "12": 12_000,
    "0.5": 500,
    "0.74": 740,
    "0.593": 593,
    "0.001": 1,
    "0.000": 0,
    "000012": 12_000,
    "$1": 1_000,
    "$0.78": 780,
    "1,234": 1_234_000,
    "12,345.6": 12_345_600,
    "123,456.789": 123_456_789,
    "$1,234,567.891": 1_234_567_891,
    "1234567": 1_234_567_000,
    "1,000,000,000": MAX_MILLS,
    "  7.00\n": 7_000,
}
"""Text from people, and the mills in it."""

SHOWN = {
    0: "$0.00",
    1: "$0.001",
    9: "$0.009",
    10: "$0.01",
    593: "$0.593",
    780: "$0.78",
    1_000: "$1.00",
    1_234_560: "$1,234.56",
    1_234_567: "$1,234.567",
    MAX_MILLS: "$1,000,000,000.00",
    -1: "-$0.001",
    -1_500: "-$1.50",
}

NO_AMOUNTS = [
    "", " ", "$", ".", ",", "-", "free", "-1", "+1", "$-1", "-$1", "$$1", "$ 1", "1$", "1 000", "1_000", "0x10",
    "1e3", "nan", "inf", "Infinity", "1/2", "€1", "1,", ",1", ",123", "1,,234", "1,23", "1,2345", "1234,567",
    "1,234,56", ".50", "$.50", "1,234567", "1\0", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT ONE}",
    "\N{FULLWIDTH DIGIT ONE}", "1\N{NO-BREAK SPACE}000", "\udc80",
]  # fmt: skip
BAD_FRACTIONS = [
    "1.", "$1.", "0.1234", "0.0000", "1.2.3", "1.-5", "1.+5", "1. 5", "1.5x", "1.\N{SUPERSCRIPT TWO}", "1.,5",
]  # fmt: skip


@pytest.mark.parametrize(("text", "amount"), READ.items())
def test_dollars_in_text_are_read_as_mills(text: str, amount: int) -> None:
    assert parse(text) == amount


@pytest.mark.parametrize(("amount", "text"), SHOWN.items())
def test_mills_are_shown_as_people_write_dollars(amount: int, text: str) -> None:
    assert dollars(amount) == text


@given(st.integers(0, MAX_MILLS))
@example(0)
@example(MAX_MILLS)
def test_every_amount_that_is_shown_is_read_as_itself(amount: int) -> None:
    assert parse(dollars(amount)) == amount


@given(st.integers(0, MAX_MILLS))
def test_without_its_commas_and_its_dollar_sign_it_is_read_as_itself(amount: int) -> None:
    assert parse(dollars(amount).replace(",", "").replace("$", "")) == amount


@given(st.text(alphabet="0123456789.,$- +e_", max_size=12))
def test_any_text_is_an_amount_or_a_money_error(text: str) -> None:
    try:
        amount = parse(text)
    except MoneyError:
        return
    body = text.strip().removeprefix("$").replace(",", "")
    assert amount == Decimal(body) * DOLLAR  # an independent reader agrees, to the mill


@pytest.mark.parametrize("text", NO_AMOUNTS)
def test_what_is_no_amount_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(MoneyError, match="is not an amount in dollars") as caught:
        parse(text)
    assert repr(text) in caught.value.message
    assert "1,234.567" in caught.value.hint
    assert caught.value.status is Status.BAD_POSTAGE


@pytest.mark.parametrize("text", BAD_FRACTIONS)
def test_a_point_needs_one_to_three_digits_after_it(text: str) -> None:
    with pytest.raises(MoneyError, match="needs one to three digits after the point") as caught:
        parse(text)
    assert "0.593" in caught.value.hint


@pytest.mark.parametrize("text", ["1000000000.001", "1,000,000,001", "9" * 100, "9" * 101, "9" * 5000])
def test_more_than_any_register_holds_is_refused_however_long_it_is(text: str) -> None:
    with pytest.raises(MoneyError, match=f"is outside 0 to {MAX_MILLS} mills"):
        parse(text)


@pytest.mark.parametrize("amount", [0, 1, 740, MAX_MILLS])
def test_an_int_in_range_is_money_unchanged(amount: int) -> None:
    assert mills(amount) == amount
    assert type(mills(amount)) is int


@pytest.mark.parametrize(
    "value", [0.74, 740.0, float("nan"), True, False, None, "740", b"740", Decimal(740), Fraction(740), [740]]
)
def test_only_an_int_is_money_and_neither_a_float_nor_a_bool_is_one(value: object) -> None:
    with pytest.raises(MoneyError, match="money must be an int of mills") as caught:
        mills(value)
    assert type(value).__name__ in caught.value.message
    assert "money.parse" in caught.value.hint


@pytest.mark.parametrize("amount", [-1, MAX_MILLS + 1, -(10**30)])
def test_an_amount_out_of_range_is_named_in_the_refusal(amount: int) -> None:
    with pytest.raises(MoneyError, match=f"^{amount} mills is outside 0 to {MAX_MILLS} mills$"):
        mills(amount)


@pytest.mark.parametrize("amount", [10**5000, -(10**5000)], ids=["huge", "hugely negative"])
def test_an_amount_too_long_to_be_shown_is_refused_all_the_same(amount: int) -> None:
    with pytest.raises(MoneyError, match=f"^the amount is outside 0 to {MAX_MILLS} mills$"):
        mills(amount)


def test_a_money_error_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="outside"):
        mills(-1)
