"""The indicium on a page: its symbol, what people read, and the marks that make it a specimen.

Three rules:

* Every indicium says SPECIMEN and NOT VALID POSTAGE, above it and across it; nothing can leave that out (39 CFR 501.9).
* Inside its boundary stand postal markings and the provider's name, nothing else (DMM 604.4.3.3).
* Half an inch of blank paper is left of it and below it, as far as the page goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

from pes_sim.indicium.symbol import Symbol
from pes_sim.preview.fonts import BOLD, REGULAR, fit, width
from pes_sim.preview.imprint import Imprint, block_lines
from pes_sim.preview.marks import PALE_RED, WHITE, Box, Mark, Modules, Rectangles, Text
from pes_sim.preview.stationery import CLEAR_ZONE, USUAL, PageKind, Place

MODULE: Final = 1.44
"""Side of one module: 0.508 mm, 6 dots at 300 dpi. Assumed; what the IMI-PC asks for is not public."""
QUIET_MODULES: Final = 2
"""Blank modules around the symbol; ISO/IEC 16022 asks for one."""

_BANNER: Final = 13.0  # height of the black bar on top of the indicium
_COLUMN: Final = (158.0, 75.0)  # width and height of what people read, right of the symbol
_GAP: Final = 4.0
_NOTICE: Final = "SPECIMEN \N{EM DASH} NOT VALID POSTAGE"
_STAMP: Final = "SPECIMEN"
_STEPS: Final = (
    (11, BOLD, 8), (18, BOLD, 18), (11, BOLD, 8), (10, REGULAR, 8), *(5 * ((10, REGULAR, 7),)),
)  # fmt: skip
"""For each line that people read: how far below the last one, in which font, and how large."""
_ROOM: Final = 70.0
"""Points that the lines have; more of them stand closer together."""
_SMALLEST: Final = 6.0
"""Points of the smallest letters that a line gets which is too long. Only then is it cut: half a class is none."""
_APART: Final = "  "  # between the halves of a line
_ABOVE_EDGE: Final = 14.0  # the note along the lower edge stays readable below an indicium in the lower left


def indicium_box(side: int, page: PageKind = USUAL, place: Place = Place.FRONT) -> Box:
    """Where the whole indicium is, if its symbol has `side` modules along one side."""
    symbol = (side + 2 * QUIET_MODULES) * MODULE
    across, down = symbol + _GAP + _COLUMN[0], _BANNER + max(_COLUMN[1], symbol)
    if place is Place.LOWER_LEFT:
        left, bottom = page.margin, page.margin + _ABOVE_EDGE
        return Box(left, bottom, left + across, bottom + down)
    right, top = page.width - page.margin, page.height - page.top
    return Box(right - across, top - down, right, top)


def clear_zone(indicium: Box) -> Box:
    """The indicium, and the blank paper left of it and below it."""
    return Box(indicium.left - CLEAR_ZONE, indicium.bottom - CLEAR_ZONE, indicium.right, indicium.top)


def symbol_box(side: int, page: PageKind = USUAL, place: Place = Place.FRONT) -> Box:
    """Where the modules of the symbol are. Its quiet zone lies around this box, inside the indicium's."""
    whole = indicium_box(side, page, place)
    left = whole.left + QUIET_MODULES * MODULE
    bottom = (whole.bottom + whole.top - _BANNER - side * MODULE) / 2
    return Box(left, bottom, left + side * MODULE, bottom + side * MODULE)


def indicium(imprint: Imprint, symbol: Symbol, page: PageKind, place: Place) -> Iterator[Mark]:
    """The marks of the whole indicium."""
    box, modules = indicium_box(symbol.size, page, place), symbol_box(symbol.size, page, place)
    column = modules.right + QUIET_MODULES * MODULE
    yield from specimen(box, column)
    yield Modules(modules.left, modules.top, MODULE, symbol)
    yield from _lines(imprint, box, column + _GAP)


def specimen(box: Box, column: float) -> Iterator[Mark]:
    """What makes it a specimen: a bar along the top, and a stamp under the text, which begins at `column`."""
    yield Rectangles([(box.left, box.top - _BANNER, box.width, _BANNER)])
    middle = (box.left + box.right) / 2
    yield Text(middle - width(_NOTICE, BOLD, 9.5) / 2, box.top - 10, BOLD, 9.5, _NOTICE, WHITE)
    # Centred on its own middle, which the turn of 18 degrees moves left and up.
    half = width(_STAMP, BOLD, 25) / 2
    across, up = (column + box.right) / 2, (box.bottom + box.top - _BANNER) / 2
    yield Text(across - half * 0.9511 + 9 * 0.309, up - half * 0.309 - 9 * 0.9511, BOLD, 25, _STAMP, PALE_RED, 18)


def _lines(imprint: Imprint, box: Box, left: float) -> Iterator[Mark]:
    """What people read (DMM 604.4): postal markings and the provider's name."""
    top = (box.bottom + box.top - _BANNER + _COLUMN[1]) / 2
    filled = block_lines(imprint)
    steps = _STEPS[: len(filled)]
    tight = min(1.0, _ROOM / sum(step for step, _, _ in steps))
    down = 0.0
    for (step, font, full), (text, end) in zip(steps, filled, strict=True):
        down, size = down + step * tight, _size(text, end, font, full * tight)
        end = fit(end, font, size, _COLUMN[0] / 2)
        if end:
            yield Text(box.right - width(end, font, size), top - down, font, size, end)
        yield Text(
            left, top - down, font, size, fit(text, font, size, box.right - left - width(end + _APART, font, size))
        )


def _size(text: str, end: str, font: str, full: float) -> float:
    """How large the letters of a line are: smaller than `full` where its halves would not stand side by side."""
    whole = sum(width(fit(half, font, full, inf), font, full) for half in (text, end)) + width(_APART, font, full)
    room = _COLUMN[0] - 0.1  # a tenth of a point for what rounding adds
    return max(min(full, _SMALLEST), full * min(1.0, room / whole))
