"""A withdrawal on paper: what a PSD had left when its service ended, field by field, with its symbol.

All of the page is assumed: that there is such a statement is public, how it looks is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pes_sim import money
from pes_sim.errors import LayoutError, UsageError
from pes_sim.indicium.layout import Layout
from pes_sim.indicium.symbol import Symbol
from pes_sim.preview import block
from pes_sim.preview.face import NOTES, Advert
from pes_sim.preview.fonts import BOLD, REGULAR, fit, width
from pes_sim.preview.imprint import Imprint
from pes_sim.preview.marks import GREY, Box, Mark, Modules, Text
from pes_sim.preview.stationery import PageKind

CONSTRUCT: Final = "WITHDRAWAL"
"""What a layout's file calls it."""
_NAMES: Final = 120.0  # the column of the fields' names
_STEP: Final = 28.0


def check_statement(layout: Layout, advert: Advert) -> None:
    """Raises `LayoutError` for a layout of postage, `UsageError` for a slogan or a logo."""
    if layout.construct != CONSTRUCT:
        raise LayoutError(
            f"layout {layout.name} is no withdrawal statement", hint="Print it on another page, such as envelope-10"
        )
    if advert.slogan or advert.logo is not None:
        raise UsageError("a withdrawal statement has no place for a slogan or a logo", hint="Leave it out")


def statement(imprint: Imprint, symbol: Symbol, page: PageKind) -> Iterator[Mark]:
    """The marks of the page."""
    left, right, top = page.margin, page.width - page.margin, page.height - page.margin
    yield Text(left, top - 16, BOLD, 18, "WITHDRAWAL STATEMENT")
    yield Text(left, top - 32, REGULAR, 9, f"PSD {imprint.meter_serial}. No postage: a report for the data centre.")
    side = (symbol.size + 2 * block.QUIET_MODULES) * block.MODULE
    whole = Box(left, top - 60 - side - 13, left + side + 240, top - 60)
    yield from block.specimen(whole, left + side)
    yield Modules(left + block.QUIET_MODULES * block.MODULE, whole.top - 13 - block.QUIET_MODULES * block.MODULE,
                  block.MODULE, symbol)  # fmt: skip
    yield Text(left + side + 8, whole.top - 40, REGULAR, 9, "Paid back to the customer's account")
    yield Text(left + side + 8, whole.top - 62, BOLD, 18, money.dollars(imprint.postage_mills))
    yield from _fields(imprint, left, right, whole.bottom - 30)
    yield Text(left, page.margin, REGULAR, 6, NOTES[0])


def _fields(imprint: Imprint, left: float, right: float, top: float) -> Iterator[Mark]:
    """A field with its value, and what it means below."""
    for number, row in enumerate(imprint.layout.describe(imprint.payload)):
        y = top - number * _STEP
        value = row.value.hex() if isinstance(row.value, bytes) else str(row.value)
        money_shown = row.unit == "mills" and isinstance(row.value, int)
        shown = money.dollars(int(row.value)) if money_shown else value
        name = row.name.replace("_", " ").removesuffix(" mills" if money_shown else "")
        yield Text(left, y, BOLD, 9, fit(name, BOLD, 9, _NAMES - 6))
        yield from _value(shown, left + _NAMES, y, right - left - _NAMES)
        yield Text(left + _NAMES, y - 10, REGULAR, 7, fit(row.meaning, REGULAR, 7, right - left - _NAMES), GREY)


def _value(shown: str, left: float, y: float, room: float) -> Iterator[Mark]:
    """On one line; or, as a signature is too long for that, in smaller letters on two."""
    if width(shown, REGULAR, 9) <= room:
        yield Text(left, y, REGULAR, 9, fit(shown, REGULAR, 9, room))
        return
    half = -(-len(shown) // 2)
    for up, part in ((7, shown[:half]), (0, shown[half:])):
        yield Text(left, y + up, REGULAR, 6.5, fit(part, REGULAR, 6.5, room))
