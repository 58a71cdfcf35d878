"""Money: a whole number of mills (1/1000 dollar), and nothing else.

No float touches money anywhere in the project. Text from people is parsed here, text for people is made here.
"""

from __future__ import annotations

from typing import Final, NewType

from pes_sim.errors import MoneyError

Mills = NewType("Mills", int)
"""An amount of money in 1/1000 dollar. Plain `int` at run time, so arithmetic costs nothing."""

DOLLAR: Final = 1000
MAX_MILLS: Final = 10**12
"""One billion dollars: more than any register of a meter holds; a larger amount is a mistake."""


def mills(value: object) -> Mills:
    """`value` as `Mills`. Raises `MoneyError` unless it is an `int` (no bool, no float) from 0 to `MAX_MILLS`."""
    if type(value) is not int:
        raise MoneyError(
            f"money must be an int of mills (1/1000 dollar), not {type(value).__name__} {value!r}",
            hint="For text in dollars use money.parse",
        )
    if not 0 <= value <= MAX_MILLS:
        shown = f"{value} mills" if value.bit_length() < 128 else "the amount"  # Python refuses to print huge numbers
        raise MoneyError(f"{shown} is outside 0 to {MAX_MILLS} mills")
    return Mills(value)


def parse(text: str) -> Mills:
    """Dollars in text, such as "12", "0.74" or "$1,234.567", as mills. Raises `MoneyError` for anything else."""
    body = text.strip().removeprefix("$")
    whole, dot, fraction = body.partition(".")
    first, *groups = whole.split(",")
    grouped_well = not groups or (1 <= len(first) <= 3 and all(len(group) == 3 for group in groups))
    digits = first + "".join(groups)
    if not (digits.isascii() and digits.isdigit() and grouped_well):
        raise MoneyError(f"{text!r} is not an amount in dollars", hint='Allowed: "12", "0.74", "1,234.567"')
    if dot and not (fraction.isascii() and fraction.isdigit() and len(fraction) <= 3):
        raise MoneyError(f"{text!r} needs one to three digits after the point", hint='Allowed: "12", "0.74", "0.593"')
    if len(digits) > 100:
        raise MoneyError(f"an amount of {len(digits)} digits is outside 0 to {MAX_MILLS} mills")
    return mills(int(digits) * DOLLAR + int(fraction.ljust(3, "0")))


def dollars(amount: int) -> str:
    """Mills as people read them: "$1,234.56", with a third decimal only where there is one ("$0.593")."""
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), DOLLAR)
    cents, mill = divmod(rest, 10)
    return f"{sign}${whole:,}.{cents:02d}{mill or ''}"
