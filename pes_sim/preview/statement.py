"""A withdrawal on paper: what a PSD had left when its service ended, field by field, with its symbol.

All of the page is assumed: that there is such a statement is public, how it looks is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pes_sim import money
from pes_sim.errors import LayoutError, UsageError
from pes_sim.indicium.layout import Layout, Row
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
_SMALL, _LINE = 6.5, 7.0  # the letters of a value on several lines, and from one to the next
_HEAD: Final = 130.0  # of a further page


def check_statement(layout: Layout, advert: Advert) -> None:
    """Raises `LayoutError` for a layout of postage, `UsageError` for a slogan or a logo."""
    if layout.construct != CONSTRUCT:
        raise LayoutError(
            f"layout {layout.name} is no withdrawal statement", hint="Print it on another page, such as envelope-10"
        )
    if advert.slogan or advert.logo is not None:
        raise UsageError("a withdrawal statement has no place for a slogan or a logo", hint="Leave it out")


def statement(imprint: Imprint, symbol: Symbol, page: PageKind) -> list[list[Mark]]:
    """The marks of each page: fields that the first has no room for flow on to as many as they need."""
    side = (symbol.size + 2 * block.QUIET_MODULES) * block.MODULE
    top = page.height - page.margin
    rows = [_Row.of(row, page) for row in imprint.layout.describe(imprint.payload)]
    pages = _flowed(rows, top - 60 - side - 13 - 30, top - _HEAD - 30, page.margin)
    drawn = []
    for number, (first, placed) in enumerate(pages, start=1):
        marks = list(_head(imprint, page, f", page {number} of {len(pages)}" if len(pages) > 1 else ""))
        marks += _paid_back(imprint, symbol, page, side) if number == 1 else _more(page)
        drawn.append([*marks, *_fields(placed, page, first), Text(page.margin, page.margin, REGULAR, 6, NOTES[0])])
    return drawn


class _Row(NamedTuple):
    """A field as it is shown. `lines`: its value, on several where it is too long; `meaning`: what stands below."""

    name: str
    lines: Sequence[str]
    meaning: str

    @property
    def height(self) -> float:
        """In points; two lines have the room of one."""
        return _STEP + _LINE * max(0, len(self.lines) - 2)

    @classmethod
    def of(cls, row: Row, page: PageKind) -> _Row:
        """A field of the layout, for a page of this kind."""
        value = row.value.hex() if isinstance(row.value, bytes) else str(row.value)
        money_shown = row.unit == "mills" and isinstance(row.value, int)
        shown = money.dollars(int(row.value)) if money_shown else value
        name = row.name.replace("_", " ").removesuffix(" mills" if money_shown else "")
        room = page.width - 2 * page.margin - _NAMES
        return cls(fit(name, BOLD, 9, _NAMES - 6), _lines(shown, room), fit(row.meaning, REGULAR, 7, room))


def _lines(shown: str, room: float) -> list[str]:
    """A value on one line; or in smaller letters on as many as it needs, all equally long. A signature needs two."""
    if width(shown, REGULAR, 9) <= room:
        return [shown]
    count = 2
    while True:
        length = -(-len(shown) // count)
        lines = [shown[start : start + length] for start in range(0, len(shown), length)]
        if max(width(line, REGULAR, _SMALL) for line in lines) <= room:
            return lines
        count += 1


def _flowed(rows: Sequence[_Row], first: float, next_: float, bottom: float) -> list[tuple[float, list[_Row]]]:
    """The rows of each page, and where they begin on it."""
    pages: list[tuple[float, list[_Row]]] = [(first, [])]
    left = first
    for row in rows:
        if left - row.height < bottom:
            left = next_
            pages.append((left, []))
        pages[-1][1].append(row)
        left -= row.height
    return pages


def _head(imprint: Imprint, page: PageKind, which: str) -> Iterator[Mark]:
    left, top = page.margin, page.height - page.margin
    yield Text(left, top - 16, BOLD, 18, f"WITHDRAWAL STATEMENT{which}")
    yield Text(left, top - 32, REGULAR, 9, f"PSD {imprint.meter_serial}. No postage: a report for the data centre.")


def _paid_back(imprint: Imprint, symbol: Symbol, page: PageKind, side: float) -> Iterator[Mark]:
    """The symbol, and the amount in words that people read."""
    left, top = page.margin, page.height - page.margin
    whole = Box(left, top - 60 - side - 13, left + side + 240, top - 60)
    yield from block.specimen(whole, left + side)
    yield Modules(left + block.QUIET_MODULES * block.MODULE, whole.top - 13 - block.QUIET_MODULES * block.MODULE,
                  block.MODULE, symbol)  # fmt: skip
    yield Text(left + side + 8, whole.top - 40, REGULAR, 9, "Paid back to the customer's account")
    yield Text(left + side + 8, whole.top - 62, BOLD, 18, money.dollars(imprint.postage_mills))


def _more(page: PageKind) -> Iterator[Mark]:
    """A further page says as loudly as the first what it is."""
    top = page.height - page.margin
    yield from block.specimen(Box(page.margin, top - _HEAD, page.width - page.margin, top - 60), page.margin)


def _fields(rows: Sequence[_Row], page: PageKind, top: float) -> Iterator[Mark]:
    """A field with its value, and what it means below."""
    left = page.margin + _NAMES
    for row in rows:
        y = top - (row.height - _STEP)
        yield Text(page.margin, y, BOLD, 9, row.name)
        size = 9.0 if len(row.lines) == 1 else _SMALL
        for below, line in enumerate(row.lines, start=1):
            yield Text(left, y + (len(row.lines) - below) * _LINE, REGULAR, size, line)
        yield Text(left, y - 10, REGULAR, 7, row.meaning, GREY)
        top -= row.height
