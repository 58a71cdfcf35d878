"""How one field's value becomes bytes and back: one table, a row a coding.

* `encode` takes a legal value and raises `ValueError` for any other, never truncating.
* `decode` never fails: bytes that mean nothing in the coding come back as "#" and the number or hex they hold, because
  a verifier must be able to show an altered payload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final, Literal

Value = int | str | bytes
Encode = Callable[[Value], bytes]
Decode = Callable[[bytes], Value]
Order = Literal["little", "big"]
Make = Callable[[int, Mapping[str, int]], tuple[Encode, Decode]]

_ELEVEN_DIGITS: Final = 1 << 39
"""Set in a 5-byte routing code whose 11 digits begin with 00, which would otherwise read as 9 digits."""
_SHORT_TRACKING: Final = 20
_LONG_TRACKING: Final = 22
_LEAST_LONG: Final = 10**_SHORT_TRACKING
"""A number of 22 digits is at least this, so that none reads as one of 20. Real ones begin with 9."""


@dataclass(frozen=True, slots=True)
class Coding:
    """`make(length, names)` gives the pair of functions; `lengths` are the byte lengths that the coding allows.

    `named`: it needs the names that its numbers stand for.
    """

    make: Make
    lengths: range
    holds: str
    named: bool = False


def _digits(value: Value, count: int) -> int:
    if not (isinstance(value, str) and len(value) == count and value.isascii() and value.isdigit()):
        raise ValueError(f"must be text of {count} digits")
    return int(value)


def _uint(order: Order) -> Make:
    def make(length: int, _: Mapping[str, int]) -> tuple[Encode, Decode]:
        limit = 1 << 8 * length

        def encode(value: Value) -> bytes:
            if type(value) is not int or not 0 <= value < limit:
                raise ValueError(f"must be a whole number from 0 to {limit - 1}")
            return value.to_bytes(length, order)

        return encode, lambda raw: int.from_bytes(raw, order)

    return make


def _ascii(length: int, _: Mapping[str, int]) -> tuple[Encode, Decode]:
    def encode(value: Value) -> bytes:
        if not (isinstance(value, str) and len(value) == length and value.isascii() and value.isprintable()):
            raise ValueError(f"must be {length} printable ASCII characters")
        return value.encode()

    def decode(raw: bytes) -> Value:
        text = raw.decode("latin-1")
        return text if text.isascii() and text.isprintable() else f"#{raw.hex()}"

    return encode, decode


def _bytes(length: int, _: Mapping[str, int]) -> tuple[Encode, Decode]:
    def encode(value: Value) -> bytes:
        if not (isinstance(value, bytes) and len(value) == length):
            raise ValueError(f"must be {length} bytes")
        return value

    return encode, bytes


@lru_cache(maxsize=128)
def iso_date(text: str) -> date:
    """The date that `text` says, YYYY-MM-DD. Raises `ValueError`. A day's mail has few of them."""
    day = date.fromisoformat(text)
    if day.isoformat() != text:  # newer Pythons also take 20261121 and 2026-W47-6
        raise ValueError
    return day


def _date(order: Order) -> Make:
    def make(length: int, _: Mapping[str, int]) -> tuple[Encode, Decode]:
        @lru_cache(maxsize=128)
        def encoded(text: str) -> bytes:
            day = iso_date(text)
            return (day.year * 10000 + day.month * 100 + day.day).to_bytes(length, order)

        def encode(value: Value) -> bytes:
            try:
                return encoded(value)
            except (TypeError, ValueError):
                raise ValueError("must be a date, YYYY-MM-DD") from None

        def decode(raw: bytes) -> Value:
            number = int.from_bytes(raw, order)
            try:
                return date(number // 10000, number // 100 % 100, number % 100).isoformat()
            except (ValueError, OverflowError):
                return f"#{number}"

        return encode, decode

    return make


def _zip5(order: Order) -> Make:
    def make(length: int, _: Mapping[str, int]) -> tuple[Encode, Decode]:
        def decode(raw: bytes) -> Value:
            number = int.from_bytes(raw, order)
            return f"{number:05d}" if number <= 99999 else f"#{number}"

        return lambda value: _digits(value, 5).to_bytes(length, order), decode

    return make


def _routing(order: Order) -> Make:
    def make(length: int, _: Mapping[str, int]) -> tuple[Encode, Decode]:
        def encode(value: Value) -> bytes:
            if value == "":
                return bytes(length)
            if not isinstance(value, str) or len(value) not in (5, 9, 11):
                raise ValueError("must be text of 5, 9 or 11 digits, or empty")
            number = _digits(value, len(value))
            if len(value) == 11 and number < 10**9:
                number |= _ELEVEN_DIGITS
            elif number < (1, 10**5)[len(value) == 9]:
                raise ValueError("must not be a ZIP Code of zeros")
            return number.to_bytes(length, order)

        def decode(raw: bytes) -> Value:
            number = int.from_bytes(raw, order)
            code = number & ~_ELEVEN_DIGITS
            if number == 0:
                return ""
            if number != code:
                return f"{code:011d}" if code < 10**9 else f"#{number}"
            width = 5 if code < 10**5 else 9 if code < 10**9 else 11
            return f"{code:0{width}d}" if code < 10**11 else f"#{number}"

        return encode, decode

    return make


def _tracking(order: Order) -> Make:
    def make(length: int, _: Mapping[str, int]) -> tuple[Encode, Decode]:
        def encode(value: Value) -> bytes:
            if value == "":
                return bytes(length)
            if not isinstance(value, str) or len(value) not in (_SHORT_TRACKING, _LONG_TRACKING):
                raise ValueError(f"must be text of {_SHORT_TRACKING} or {_LONG_TRACKING} digits, or empty")
            number = _digits(value, len(value))
            if number < (1, _LEAST_LONG)[len(value) == _LONG_TRACKING]:
                raise ValueError("must not begin with 00 where it has 22 digits, nor be zeros")
            return number.to_bytes(length, order)

        def decode(raw: bytes) -> Value:
            number = int.from_bytes(raw, order)
            width = _SHORT_TRACKING if number < _LEAST_LONG else _LONG_TRACKING
            return f"{number:0{width}d}" if 0 < number < 10**_LONG_TRACKING else f"#{number}" if number else ""

        return encode, decode

    return make


def _name(order: Order) -> Make:
    def make(length: int, names: Mapping[str, int]) -> tuple[Encode, Decode]:
        coded = {name: number.to_bytes(length, order) for name, number in names.items()}
        named: dict[bytes, Value] = {raw: name for name, raw in coded.items()}

        def encode(value: Value) -> bytes:
            try:
                return coded[value]  # type: ignore[index]
            except (KeyError, TypeError):
                raise ValueError(f"must be one of {', '.join(coded)}") from None

        return encode, lambda raw: named.get(raw) or f"#{int.from_bytes(raw, order)}"

    return make


def _flags(order: Order) -> Make:
    """Names joined by "+", in the order of their numbers: one text for one set, so that a retry can be compared."""

    def make(length: int, names: Mapping[str, int]) -> tuple[Encode, Decode]:
        in_order = sorted(names, key=lambda name: names[name])

        def decode(raw: bytes) -> Value:
            number = int.from_bytes(raw, order)
            found = [name for name in in_order if names[name] & number]
            return "+".join(found) if sum(names[name] for name in found) == number else f"#{number}"

        def encode(value: Value) -> bytes:
            given = value.split("+") if isinstance(value, str) and value else []
            if (value != "" and not given) or given != [name for name in in_order if name in given]:
                raise ValueError(f"must be names out of {', '.join(in_order)}, in this order, joined by +")
            return sum(names[name] for name in given).to_bytes(length, order)

        return encode, decode

    return make


_ORDERS: Final[tuple[tuple[str, Order, str], ...]] = (
    ("le", "little", "least significant byte first"),
    ("be", "big", "most significant byte first"),
)
_NUMBERS: Final[tuple[tuple[str, Callable[[Order], Make], range, str, bool], ...]] = (
    ("uint", _uint, range(1, 9), "a whole number", False),
    ("date", _date, range(4, 9), "YYYYMMDD as a whole number", False),
    ("zip5", _zip5, range(3, 9), "a 5-digit ZIP Code as a whole number", False),
    ("routing", _routing, range(5, 9), "5, 9 or 11 digits as a whole number, 0 for none", False),
    ("tracking", _tracking, range(10, 17), "20 or 22 digits as a whole number, 0 for none", False),
    ("name", _name, range(1, 9), "a number that stands for a name", True),
    ("flags", _flags, range(1, 9), "a number whose bits stand for names", True),
)

CODINGS: Final[dict[str, Coding]] = {
    f"{name}-{suffix}": Coding(make(order), lengths, f"{holds}, {words}", named)
    for name, make, lengths, holds, named in _NUMBERS
    for suffix, order, words in _ORDERS
} | {
    "ascii": Coding(_ascii, range(1, 65), "printable ASCII characters, filling the field"),
    "bytes": Coding(_bytes, range(1, 129), "bytes without further meaning"),
}
