"""Every Data Matrix symbol on a page, each once, with its place: what `pes-sim verify` reads scans with.

Four rules, each from what was measured (docs/reading.md):

* The decoder's plain read comes first. It finds every good symbol on a page, of any number and in any rotation.
* Only a page on which it finds too few is prepared and read again, one row of `PASSES` after the other. Each row is
  there for something that the rows above it do not read.
* No clock decides. How long a page may take follows from its pixels (`LARGEST_PREPARED`) and the number of passes
  alone, so that the same page gives the same answer on any machine. libdmtx, which a time-out has to stop, is no pass.
* What is given was accepted by the decoder's error correction. That can still be wrong, once in many millions of bad
  reads of a small symbol, and says nothing about who made the symbol: the signature does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pes_sim.errors import SymbolError
from pes_sim.indicium.sizes import SQUARES

if TYPE_CHECKING:
    import zxingcpp
    from PIL.Image import Image

LARGEST_PREPARED: Final = 25_000_000
"""Pixels of a page above which it is halved before it is prepared in any other way, and is not enlarged.

A letter page at 600 dpi has 34 million. Its resolution is not what is missing then.
"""
LONGEST: Final = 65_535
"""Pixels along one side of a page: the decoder takes no more. It finds up to 255 symbols on one."""


class Point(NamedTuple):
    """In pixels of the page, from its upper left corner."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A symbol on a page.

    `corners`: the outer ones of its modules, upper left, upper right, lower right, lower left as the symbol stands
    upright (its solid edges left and below). `size`: modules along one side. `how`: which pass read it.
    """

    payload: bytes
    size: int
    corners: tuple[Point, Point, Point, Point]
    how: str

    @property
    def middle(self) -> Point:
        """Of the four corners."""
        return Point(sum(corner.x for corner in self.corners) / 4, sum(corner.y for corner in self.corners) / 4)

    @property
    def rotation(self) -> float:
        """Degrees against the clock by which the symbol is turned, from 0 up to 360."""
        left, right = self.corners[:2]
        return round(math.degrees(math.atan2(left.y - right.y, right.x - left.x)) % 360, 1) % 360

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the upright rectangle around it, in pixels."""
        across, down = [corner.x for corner in self.corners], [corner.y for corner in self.corners]
        return min(across), min(down), max(across), max(down)

    def same_place(self, other: Mark) -> bool:
        """Whether the two are one symbol, found twice: two prints never overlap by half."""
        side = max(self.box[2] - self.box[0], self.box[3] - self.box[1])
        return math.dist(self.middle, other.middle) < side / 2


@dataclass(frozen=True, slots=True)
class Pass:
    """A way of reading: how the page is prepared, by what its sides are then longer, and one threshold for all of it
    or a local one. `against`: what it helps against.
    """

    name: str
    prepare: Callable[[Image], Image]
    scale: float
    one_threshold: bool
    against: str


def _plain(page: Image) -> Image:
    return page


def _smoothed(page: Image) -> Image:
    from PIL import ImageFilter

    return page.filter(ImageFilter.GaussianBlur(1.2))


def _sharpened(page: Image) -> Image:
    from PIL import ImageFilter

    return page.filter(ImageFilter.UnsharpMask(radius=3, percent=200, threshold=0))


def _thinned(page: Image) -> Image:
    """A pixel less of ink on every side."""
    from PIL import ImageFilter

    return page.filter(ImageFilter.MaxFilter(3))


def _closed(page: Image) -> Image:
    """Gaps in the ink of up to two pixels are bridged, and the ink is as wide as before."""
    from PIL import ImageFilter

    return page.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.MaxFilter(3))


def _closed_wide(page: Image) -> Image:
    """The same with gaps of up to four."""
    from PIL import ImageFilter

    return page.filter(ImageFilter.MinFilter(5)).filter(ImageFilter.MaxFilter(5))


def _halved(page: Image) -> Image:
    return page.reduce(2)


def _enlarged(page: Image) -> Image:
    from PIL import Image

    return page.resize((page.width * 2, page.height * 2), Image.Resampling.BICUBIC)


def _enlarged_sharp(page: Image) -> Image:
    from PIL import ImageFilter

    return _enlarged(page).filter(ImageFilter.UnsharpMask(radius=5, percent=200, threshold=0))


PASSES: Final[tuple[Pass, ...]] = (
    Pass("plain", _plain, 1, False, "nothing: a good scan"),
    Pass("plain, one threshold", _plain, 1, True, "pale patches"),
    Pass("smoothed", _smoothed, 1, False, "noise"),
    Pass("smoothed, one threshold", _smoothed, 1, True, "much noise"),
    Pass("sharpened", _sharpened, 1, False, "blur"),
    Pass("thinned", _thinned, 1, False, "dot gain, ink that has spread"),
    Pass("thinned, one threshold", _thinned, 1, True, "much dot gain"),
    Pass("closed", _closed, 1, False, "thin stripes without ink"),
    Pass("closed, one threshold", _closed, 1, True, "thin stripes without ink"),
    Pass("enlarged", _enlarged, 2, False, "coarse scans"),
    Pass("enlarged, one threshold", _enlarged, 2, True, "coarse scans"),
    Pass("enlarged and sharpened", _enlarged_sharp, 2, False, "coarse scans with blur"),
    Pass("closed wide", _closed_wide, 1, False, "thick stripes without ink"),
    Pass("closed wide, one threshold", _closed_wide, 1, True, "thick stripes without ink"),
    Pass("halved", _halved, 0.5, False, "noise and ragged edges in fine scans"),
    Pass("halved, one threshold", _halved, 0.5, True, "noise and ragged edges in fine scans"),
    Pass("halved, closed", lambda page: _closed(_halved(page)), 0.5, True, "thick stripes in fine scans"),
    Pass("halved, closed wide", lambda page: _closed_wide(_halved(page)), 0.5, True, "thicker stripes in fine scans"),
)
"""In the order in which they are tried."""


def find(page: Image, expected: int = 1) -> list[Mark]:
    """The square Data Matrix symbols on a grey page (mode "L"), in reading order: from the top, then from the left.

    `expected`: how many there are at least. Fewer after the plain read, and the page is read in other ways as well,
    until so many are found or nothing is left to try. Rectangular Data Matrix and other barcodes are no indicia and are
    left out. Raises `SymbolError` for an `expected` below 1, and for a page with a side longer than `LONGEST`.
    """
    if expected < 1:
        raise SymbolError(f"a page with {expected} symbols has nothing to read", hint="Expect 1 or more")
    if max(page.size) > LONGEST:
        raise SymbolError(f"a page with a side of {max(page.size)} pixels is not read", hint=f"At most {LONGEST}")
    if min(page.size) < min(SQUARES):
        return []  # no symbol has so few modules
    found = plain(page)
    if len(found) < expected:
        found = _search(page, found, expected)
    return _in_order(found) if len(found) > 1 else found


def plain(page: Image) -> list[Mark]:
    """What the decoder finds by itself, in its own order: the first pass alone."""
    return _read(page, PASSES[0], 1)


def _in_order(marks: list[Mark]) -> list[Mark]:
    """From the top, then from the left: what begins a row and what is less than half a symbol lower is one row."""
    rows: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.middle.y):
        beside = rows and mark.middle.y - rows[-1][0].middle.y < (mark.box[3] - mark.box[1]) / 2
        if beside:
            rows[-1].append(mark)
        else:
            rows.append([mark])
    return [mark for row in rows for mark in sorted(row, key=lambda mark: mark.middle)]


def _search(page: Image, found: list[Mark], expected: int) -> list[Mark]:
    ways, base, shrunk = PASSES[1:], page, 1.0
    if page.width * page.height > LARGEST_PREPARED:
        ways, base, shrunk = tuple(way for way in PASSES if way.scale <= 1), page.reduce(2), 0.5
    prepare: Callable[[Image], Image] = _plain
    prepared = base
    for way in ways:
        if way.scale * max(base.size) > LONGEST:
            continue
        if way.prepare is not prepare:  # two passes in a row may look at one picture
            prepare, prepared = way.prepare, way.prepare(base)
        for mark in _read(prepared, way, way.scale * shrunk):
            if not any(mark.same_place(other) for other in found):
                found.append(mark)
        if len(found) >= expected:
            break
    return found


def _read(prepared: Image, way: Pass, scale: float) -> list[Mark]:
    import zxingcpp

    barcodes = zxingcpp.read_barcodes(
        prepared,
        formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.DataMatrix),
        binarizer=zxingcpp.Binarizer.GlobalHistogram if way.one_threshold else zxingcpp.Binarizer.LocalAverage,
    )
    marks = []
    for barcode in barcodes:
        across, _, down = _version(barcode).partition("x")
        if barcode.valid and across == down:
            place = barcode.position
            corners = (place.top_left, place.top_right, place.bottom_right, place.bottom_left)
            # The decoder names pixels; a pixel's middle is half a pixel further.
            upper_left, upper_right, lower_right, lower_left = (
                Point((corner.x + 0.5) / scale, (corner.y + 0.5) / scale) for corner in corners
            )
            marks.append(Mark(barcode.bytes, int(across), (upper_left, upper_right, lower_right, lower_left), way.name))
    return marks


def _version(barcode: zxingcpp.Barcode) -> str:
    """Its size as the decoder says it: "44x44"."""
    extra: Any = barcode.extra  # a dictionary, which its types do not say
    return str(extra["Version"])
