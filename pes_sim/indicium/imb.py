"""Intelligent Mail barcode (IMb): fields into 65 bars, and 65 bars into fields. It sorts mail; it pays for nothing.

Three rules:

* reportlab writes and this module reads, so that a barcode that comes back was understood twice.
* Fields are checked here: reportlab takes a barcode identifier whose second digit is above 4, and writes another one.
* A wrong bar is never read as another barcode: it changes one bit in one or two characters, and no character of 13 bits
  is one bit away from another. Nothing is guessed.

Source: USPS-B-3200, the public specification. The tables of characters follow from its rule; the bars' table is data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from pes_sim.errors import UsageError

BARS: Final = 65
TEST_MAILER: Final = "999999999"
"""A mailer identifier for specimens. Assumed: USPS publishes none for tests, so this one is meant to look like one."""

_PARTS: Final = (
    ("barcode identifier", r"[0-9][0-4]", "2 digits, the second of them 0 to 4"),
    ("service type", r"[0-9]{3}", "3 digits"),
    ("mailer identifier", r"[0-8][0-9]{5}|9[0-9]{8}", "6 digits, or 9 that begin with 9"),
)
_LENGTHS: Final = {0: 0, 5: 1, 9: 100_001, 11: 1_000_100_001}
"""Digits of a routing code: what is added to it, so that "00000" and none are two numbers (step 1)."""
_END: Final = 101_000_100_001
"""One more than the largest routing code as a number."""
_BITS: Final = MappingProxyType({"T": (0, 0), "D": (1, 0), "A": (0, 1), "F": (1, 1)})  # descends, ascends
_TURNED: Final = str.maketrans("AD", "DA")
_LAST: Final = 636
_OTHER: Final = 1365
_FIRST: Final = 659
_POLYNOMIAL: Final = 0xF35

# For each bar: character and bit of its descender, character and bit of its ascender (USPS-B-3200, "Bar to Character
# Mapping"; characters A to J are 0 to 9).
_MAP: Final = (
    (7, 2, 4, 3), (1, 10, 0, 0), (9, 12, 2, 8), (5, 5, 6, 11), (8, 9, 3, 1), (0, 1, 5, 12), (2, 5, 1, 8),
    (4, 4, 9, 11), (6, 3, 8, 10), (3, 9, 7, 6), (5, 11, 1, 4), (8, 5, 2, 12), (9, 10, 0, 2), (7, 1, 6, 7),
    (3, 6, 4, 9), (0, 3, 8, 6), (6, 4, 2, 7), (1, 1, 9, 9), (7, 10, 5, 2), (4, 0, 3, 8), (6, 2, 0, 4), (8, 11, 1, 0),
    (9, 8, 3, 12), (2, 6, 7, 7), (5, 1, 4, 10), (1, 12, 6, 9), (7, 3, 8, 0), (5, 8, 9, 7), (4, 6, 2, 10),
    (3, 4, 0, 5), (8, 4, 5, 7), (7, 11, 1, 9), (6, 0, 9, 6), (0, 6, 4, 8), (2, 1, 3, 2), (5, 9, 8, 12),
    (4, 11, 6, 1), (9, 5, 7, 4), (3, 3, 1, 2), (0, 7, 2, 0), (1, 3, 4, 1), (6, 10, 3, 5), (8, 7, 9, 4), (2, 11, 5, 6),
    (0, 8, 7, 12), (4, 2, 8, 1), (5, 10, 3, 0), (9, 3, 0, 9), (6, 5, 2, 4), (7, 8, 1, 7), (5, 0, 4, 5), (2, 3, 0, 10),
    (6, 12, 9, 2), (3, 11, 1, 6), (8, 8, 7, 9), (5, 4, 0, 11), (1, 5, 2, 2), (9, 1, 4, 12), (8, 3, 6, 6), (7, 0, 3, 7),
    (4, 7, 7, 5), (0, 12, 1, 11), (2, 9, 9, 0), (6, 8, 5, 3), (3, 10, 8, 2),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Imb:
    """What an Intelligent Mail barcode says, as digits.

    `serial`: 9 digits behind a mailer identifier of 6, or 6 behind one of 9. `routing`: none, or a ZIP Code of 5, 9 or
    11 digits. Raises `UsageError` for anything else, naming the part.
    """

    barcode_id: str
    service_type: str
    mailer_id: str
    serial: str
    routing: str = ""

    def __post_init__(self) -> None:
        for (name, pattern, allowed), value in zip(_PARTS, self._parts(), strict=False):
            if not re.fullmatch(pattern, value):
                raise UsageError(f"IMb: {value!r} is no {name}", hint=f"Give {allowed}")
        digits = 15 - len(self.mailer_id)
        if not re.fullmatch(f"[0-9]{{{digits}}}", self.serial):
            raise UsageError(
                f"IMb: {self.serial!r} is no serial number",
                hint=f"Give {digits} digits: with the mailer identifier they are 15",
            )
        if not re.fullmatch("[0-9]*", self.routing) or len(self.routing) not in _LENGTHS:
            raise UsageError(
                f"IMb: {self.routing!r} is no routing code",
                hint="Give 5 digits, 9 (ZIP+4), 11 (delivery point) or none",
            )

    def _parts(self) -> tuple[str, str, str, str]:
        return self.barcode_id, self.service_type, self.mailer_id, self.serial

    @property
    def tracking(self) -> str:
        """The 20 digits of the tracking code."""
        return "".join(self._parts())


def parse(tracking: str, routing: str = "") -> Imb:
    """The fields of a tracking code of 20 digits, and a routing code. Raises `UsageError`."""
    if not re.fullmatch(r"[0-9]{20}", tracking):
        raise UsageError(
            f"IMb: {tracking[:60]!r} is no tracking code",
            hint="Give 20 digits: barcode identifier 2, service type 3, mailer identifier and serial number 15",
        )
    mailer = 9 if tracking[5] == "9" else 6
    return Imb(tracking[:2], tracking[2:5], tracking[5 : 5 + mailer], tracking[5 + mailer :], routing)


def encode(fields: Imb) -> str:
    """The 65 bars, from left to right: F is full, A ascends, D descends, T does neither."""
    from reportlab.graphics.barcode.usps4s import USPS_4State

    return str(USPS_4State(fields.tracking, fields.routing).barcodes)


def turned(bars: str) -> str:
    """The same bars as they look when the mail piece lies upside down."""
    return bars[::-1].translate(_TURNED)


def decode(bars: str) -> Imb:
    """The fields of 65 bars the right way up. Raises `UsageError` for bars that are no whole barcode, and says which
    bars are in doubt, or that it reads upside down (`turned`).
    """
    if not re.fullmatch(f"[TADF]{{{BARS}}}", bars):
        odd = next((f"{char!r} at bar {at}" for at, char in enumerate(bars, 1) if char not in _BITS), "")
        raise UsageError(f"IMb: {odd or f'{len(bars)} bars'} is not 65 bars of T, A, D and F")
    problem, hint, found = _read(bars)
    if found is None:
        upright = _read(turned(bars))[2]
        raise UsageError(f"IMb: {problem}", hint="It reads upside down: turn it by 180 degrees" if upright else hint)
    return found


def _read(bars: str) -> tuple[str, str, Imb | None]:
    """What is wrong and what to do; or the fields."""
    again = "Scan it again"
    characters = _characters(bars)
    words, wrong = [], set[int]()
    check = 0
    for place, character in enumerate(characters):
        inverted, word = _table().get(character, (0, -1))
        words.append(word)
        check |= inverted << place
        if word < 0:
            wrong.add(place)
    if wrong:
        return f"the bars are damaged: {_doubtful(wrong)}", again, None
    first, last = words[0], words[9]
    if first >= _FIRST:
        first, check = first - _FIRST, check | 1 << 10
    if first >= _FIRST or last % 2 or last // 2 >= _LAST:
        return "the bars are damaged: a codeword is out of its range", again, None
    value = first
    for word in words[1:9]:
        value = value * _OTHER + word
    value = value * _LAST + last // 2
    if crc11(value) != check:
        return f"the bars are damaged: CRC-11 is {crc11(value):03x}, not {check:03x}", again, None
    rest, tracking = divmod(value, 50 * 10**18)
    identifier, digits = divmod(tracking, 10**18)
    if rest >= _END:
        return f"the routing code {rest} is beyond 11 digits", "Whoever printed it made a mistake", None
    length, base = max((digits, base) for digits, base in _LENGTHS.items() if base <= rest)
    routing = f"{rest - base:0{length}}" if length else ""
    return "", "", parse(f"{identifier // 5}{identifier % 5}{digits:018}", routing)


def _characters(bars: str) -> list[int]:
    characters = [0] * 10
    for bar, (low, low_bit, high, high_bit) in zip(bars, _MAP, strict=True):
        descends, ascends = _BITS[bar]
        characters[low] |= descends << low_bit
        characters[high] |= ascends << high_bit
    return characters


def _doubtful(wrong: set[int]) -> str:
    """Which bars are in the most wrong characters: with one wrong bar, it is among them."""
    hits = [(low in wrong) + (high in wrong) for low, _, high, _ in _MAP]
    named = [str(at) for at, count in enumerate(hits, 1) if count == max(hits)]
    return f"one or more of bars {', '.join(named)}" if len(named) > 1 else f"look at bar {named[0]}"


def crc11(value: int) -> int:
    """USPS-B-3200's check of 11 bits over the 102 bits of the whole number, the highest first."""
    check = 0x7FF
    for bit in range(101, -1, -1):
        carry = (check >> 10 ^ value >> bit) & 1
        check = (check << 1 & 0x7FF) ^ (_POLYNOMIAL & 0x7FF if carry else 0)
    return check


@cache
def _table() -> dict[int, tuple[int, int]]:
    """Character: whether it is inverted (which is a bit of the check), and its codeword."""
    words = [*_of_13(5), *_of_13(2)]
    return {bits ^ 0x1FFF * inverted: (inverted, word) for word, bits in enumerate(words) for inverted in (0, 1)}


def _of_13(weight: int) -> list[int]:
    """The characters with `weight` of 13 bits set, in the specification's order: each with its mirror image behind it,
    by the smaller of the two; those that are their own mirror image last, the largest first.
    """
    pairs, own = list[int](), list[int]()
    for bits in (bits for bits in range(1 << 13) if bits.bit_count() == weight):
        mirror = int(f"{bits:013b}"[::-1], 2)
        if mirror > bits:
            pairs += [bits, mirror]
        elif mirror == bits:
            own.append(bits)
    return pairs + own[::-1]
