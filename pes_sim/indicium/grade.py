"""How good the print of a symbol is, as far as a scan shows it: an ESTIMATE after ISO/IEC 15415, no verification.

Three rules:

* It is an estimate, and says so wherever it is shown. A verifier has a calibrated light, an aperture and a certificate;
  a scan has none. The limits are the standard's; where its procedure was simplified, the table `PARAMETERS` says so.
* The grade of a symbol is the lowest of its parameters, 4 (A) to 0 (F).
* It looks at the page as it was scanned, whichever way it took to read the symbol.

Lengths are in modules, from the symbol's upper left corner; reflectance goes from 0 (black) to 1 (white).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from statistics import fmean
from typing import TYPE_CHECKING, Final

from pes_sim.indicium import codewords
from pes_sim.indicium.reading import Mark, Point

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFilter import BoxBlur

NOTICE: Final = "ESTIMATE after ISO/IEC 15415 from a scan, no verification"
LETTERS: Final = "FDCBA"
_MARGIN: Final = 3  # modules around the symbol that are looked at

_SPOTS: Final = tuple(product((-0.25, 0.0, 0.25), repeat=2))
"""Where a module is sampled, from its middle: nine spots stand for the aperture of 0.8 modules."""
_ASIDE: Final = (0.25, 0.5, 0.75)  # across a timing pattern: where its edges are looked for
_STEPS: Final = (0.25, 0.12, 0.06, 0.03)  # modules by which corners are moved until they fit
_MOST_SPOTS: Final = 1500
_SWEEPS: Final = 4  # at most, for each of these steps
_STAY: Final = Point(0, 0)
_WAYS: Final = (Point(1, 0), Point(-1, 0), Point(0, 1), Point(0, -1))
_OUTWARDS: Final = (Point(-1, -1), Point(1, -1), Point(1, 1), Point(-1, 1))  # where the symbol stands upright
_MOVES: Final[tuple[tuple[Point, ...], ...]] = (
    *((way,) * 4 for way in _WAYS),
    *(tuple(Point(corner.x * by, corner.y * by) for corner in _OUTWARDS) for by in (1, -1)),
    *(tuple(way if index == corner else _STAY for index in range(4)) for way in _WAYS for corner in range(4)),
)
"""All corners at once, the symbol larger or smaller, and each corner alone."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What one value is graded by. `at_least`: those of the grades 4, 3, 2 and 1; where less is better, `at_most`."""

    name: str
    unit: str
    limits: tuple[float, float, float, float]
    more_is_better: bool
    meaning: str

    def grade(self, value: float) -> int:
        """4 to 0."""
        met = (value >= limit if self.more_is_better else value <= limit for limit in self.limits)
        return next((4 - index for index, good in enumerate(met) if good), 0)


PARAMETERS: Final = {
    parameter.name: parameter
    for parameter in (
        Parameter("symbol_contrast", "of white", (0.70, 0.55, 0.40, 0.20), True,
                  "lightest less darkest module, quiet zone included; white is the scanner's, not calibrated"),
        Parameter("modulation", "of contrast", (0.50, 0.40, 0.30, 0.20), True,
                  "how far modules are from the threshold; value: the worst right codeword; "
                  "grade: with the standard's allowance for what the error correction would mend"),
        Parameter("axial_non_uniformity", "of a module", (0.06, 0.08, 0.10, 0.12), False,
                  "modules wider than high, or higher than wide"),
        Parameter("grid_non_uniformity", "modules", (0.38, 0.50, 0.63, 0.75), False,
                  "how far elements of the timing patterns are from an even grid; along the patterns only"),
        Parameter("unused_error_correction", "of all", (0.62, 0.50, 0.37, 0.25), True,
                  "what is left of the error correction, in the block that has least"),
        Parameter("fixed_pattern_damage", "of modules", (0.0, 0.09, 0.13, 0.17), False,
                  "wrong modules in the worst of: solid edges, timing patterns, inner patterns, quiet zone; "
                  "the standard's tests of gaps and of transitions are left out"),
    )
}  # fmt: skip
"""In the order in which they are shown. Limits: ISO/IEC 15415, tables 4 to 9."""


@dataclass(frozen=True, slots=True)
class Grade:
    """What was measured, by the name of the parameter: value and grade from 4 to 0."""

    values: dict[str, float]
    grades: dict[str, int]

    @property
    def overall(self) -> int:
        """The lowest."""
        return min(self.grades.values())

    @property
    def letter(self) -> str:
        """A for 4, F for 0."""
        return LETTERS[self.overall]


def grade(page: Image, mark: Mark) -> Grade:
    """The estimate for a symbol that was found on a grey page (mode "L")."""
    view = _fitted(page, mark)
    symbol = _Modules(view, mark.size)
    wrong = codewords.wrong(mark.size, codewords.read(mark.size, symbol.dark))
    modulation, allowed = _modulation(symbol, wrong)
    damage, damage_grade = _fixed_pattern(symbol)
    values = {
        "symbol_contrast": symbol.contrast,
        "modulation": modulation,
        "axial_non_uniformity": _axial(view.corners),
        "grid_non_uniformity": _grid(view, symbol),
        "unused_error_correction": _unused(mark.size, wrong),
        "fixed_pattern_damage": damage,
    }
    grades = {name: PARAMETERS[name].grade(value) for name, value in values.items()}
    grades |= {"modulation": allowed, "fixed_pattern_damage": damage_grade}
    return Grade({name: round(value, 3) for name, value in values.items()}, grades)


# --- from the page to the modules ------------------------------------------------------------------------------------


class _View:
    """A part of a page, seen through the plane on which four corners are those of the square of `size` modules."""

    def __init__(self, pixels: bytes, width: int, height: int, corners: Sequence[Point], size: int) -> None:
        self._pixels, self._width, self._height, self._size = pixels, width, height, size
        self.corners = tuple(corners)
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
        # From the unit square to any quadrilateral (Heckbert 1989): two terms bend it, six are affine.
        dx1, dx2, dx3 = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
        dy1, dy2, dy3 = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
        area = dx1 * dy2 - dx2 * dy1
        g, h = (dx3 * dy2 - dx2 * dy3) / area, (dx1 * dy3 - dx3 * dy1) / area
        self._terms = (
            (x1 - x0 + g * x1) / size, (x3 - x0 + h * x3) / size, x0,
            (y1 - y0 + g * y1) / size, (y3 - y0 + h * y3) / size, y0,
            g / size, h / size,
        )  # fmt: skip

    @classmethod
    def of(cls, page: Image, mark: Mark, smoothed: BoxBlur | None = None) -> _View:
        """What is around a mark, so that no more of a page is copied than that."""
        left, top, right, bottom = mark.box
        edge = _MARGIN * max(right - left, bottom - top) / mark.size
        left, top = max(0, int(left - edge)), max(0, int(top - edge))
        right, bottom = min(page.width, int(right + edge) + 1), min(page.height, int(bottom + edge) + 1)
        corners = [Point(corner.x - left, corner.y - top) for corner in mark.corners]
        part = page.crop((left, top, right, bottom))
        part = part.filter(smoothed) if smoothed else part
        return cls(part.tobytes(), part.width, part.height, corners, mark.size)

    def moved(self, move: Sequence[Point], reach: float) -> _View:
        """The same with its corners elsewhere: by so many pixels times what the move says for each."""
        return self.with_corners(
            [Point(at.x + by.x * reach, at.y + by.y * reach) for at, by in zip(self.corners, move, strict=True)]
        )

    def with_corners(self, corners: Sequence[Point]) -> _View:
        """The same with other corners."""
        return _View(self._pixels, self._width, self._height, corners, self._size)

    def module(self) -> float:
        """Pixels along one side of a module."""
        (x0, y0), (x1, y1) = self.corners[0], self.corners[2]
        return max(abs(x1 - x0), abs(y1 - y0)) / self._size

    def at(self, across: float, down: float) -> float:
        """Grey value at a point given in modules: between four pixels. Beyond the page it is that of the edge."""
        a, b, c, d, e, f, g, h = self._terms
        depth = g * across + h * down + 1
        x = min(max((a * across + b * down + c) / depth - 0.5, 0.0), self._width - 1.001)
        y = min(max((d * across + e * down + f) / depth - 0.5, 0.0), self._height - 1.001)
        column, row = int(x), int(y)
        x, y = x - column, y - row
        pixels, place = self._pixels, row * self._width + column
        above = pixels[place] + (pixels[place + 1] - pixels[place]) * x
        place += self._width
        below = pixels[place] + (pixels[place + 1] - pixels[place]) * x
        return above + (below - above) * y


def _fitted(page: Image, mark: Mark) -> _View:
    """The decoder's corners are whole pixels: they are moved until the grid fits.

    First by finder and timing patterns, on a copy so smooth that each point is the mean of a module around it: the best
    place of a module is then its middle, and not anywhere in it. Dot gain moves the outer edges of these, so then by
    all modules: where the grid fits, none is grey.
    """
    from PIL import ImageFilter

    view = _View.of(page, mark)
    module = view.module()
    known = [(column + 0.5, row + 0.5, -1 if dark else 1) for row, column, dark in codewords.fixed(mark.size)]
    every = range(0, mark.size**2, 1 + mark.size**2 // _MOST_SPOTS)
    places = [(number % mark.size + 0.5, number // mark.size + 0.5) for number in every]

    def patterns(at: Callable[[float, float], float]) -> float:
        return sum(sign * at(across, down) for across, down, sign in known)

    def clear(at: Callable[[float, float], float]) -> float:
        seen = [at(across, down) for across, down in places]
        middle = (min(seen) + max(seen)) / 2
        return sum(abs(value - middle) for value in seen)

    for measure, width, steps in ((patterns, 0.4, _STEPS), (clear, 0.2, _STEPS[1:])):
        smooth = _View.of(page, mark, ImageFilter.BoxBlur(width * module)).with_corners(view.corners)
        view = view.with_corners(_climbed(smooth, measure, [step * module for step in steps]))
    return view


def _climbed(view: _View, measure: Callable[[Callable[[float, float], float]], float], steps: Sequence[float]
             ) -> Sequence[Point]:  # fmt: skip
    """The corners at which the measure is highest, as far as small moves lead."""
    best = measure(view.at)
    for step in steps:
        better, sweeps = True, 0
        while better and sweeps < _SWEEPS:
            better, sweeps = False, sweeps + 1
            for move in _MOVES:
                other = view.moved(move, step)
                seen = measure(other.at)
                if seen > best:
                    view, best, better = other, seen, True
    return view.corners


class _Modules:
    """Each module's reflectance, and those of the quiet zone around, one module wide."""

    def __init__(self, view: _View, size: int) -> None:
        def seen(row: int, column: int) -> float:
            return fmean(view.at(column + 0.5 + across, row + 0.5 + down) for across, down in _SPOTS) / 255

        ring = range(-1, size + 1)
        self.size = size
        self.reflectance = [seen(row, column) for row in range(size) for column in range(size)]
        self.quiet = [seen(row, column) for row, column in product(ring, ring) if {row, column} & {-1, size}]
        self.darkest = min(*self.reflectance, *self.quiet)
        self.contrast = max(*self.reflectance, *self.quiet) - self.darkest
        self.threshold = self.darkest + self.contrast / 2
        self.dark = [int(value < self.threshold) for value in self.reflectance]

    def modulation(self, value: float, dark: bool | None = None) -> float:
        """How far it is from the threshold; 0 where it is on the wrong side of it."""
        if not self.contrast or (dark is not None and dark != (value < self.threshold)):
            return 0.0
        return 2 * abs(value - self.threshold) / self.contrast


# --- the parameters --------------------------------------------------------------------------------------------------


def _axial(corners: Sequence[Point]) -> float:
    sides = [math.dist(a, b) for a, b in pairwise([*corners, corners[0]])]
    across, down = sides[0] + sides[2], sides[1] + sides[3]
    return abs(across - down) / ((across + down) / 2)


def _grid(view: _View, symbol: _Modules) -> float:
    """Along each timing pattern, the middles of its elements: between two edges, so that dot gain moves none of them.

    An edge that is gone is damage of the pattern; where half of them are, there is no grid to speak of.
    """
    size = symbol.size
    region = size // codewords.shape(size).regions
    middles: list[float | None] = []
    for start, first in product(range(0, size, region), repeat=2):
        for profile in (
            lambda at, row=start: fmean(view.at(at, row + aside) for aside in _ASIDE),
            lambda at, column=start + region - 1: fmean(view.at(column + aside, at) for aside in _ASIDE),
        ):
            edges = _edges(profile, range(first + 1, first + region), symbol.threshold * 255)
            middles += [None if None in pair else fmean(pair) for pair in pairwise(edges)]  # type: ignore[arg-type]
    offs = [abs(middle) for middle in middles if middle is not None]
    return max(offs) if len(offs) > len(middles) / 2 else 1.0


def _edges(profile: Callable[[float], float], boundaries: range, level: float) -> list[float | None]:
    """How far from each boundary of its modules a timing pattern crosses the threshold; None where it does not."""
    found: list[float | None] = []
    for boundary in boundaries:
        values = [(step / 10, profile(boundary + step / 10) - level) for step in range(-5, 6)]
        crossings = [a + (b - a) * u / (u - v) for (a, u), (b, v) in pairwise(values) if (u < 0) != (v < 0)]
        found.append(min(crossings, key=abs) if crossings else None)
    return found


def _unused(size: int, wrong: set[int] | None) -> float:
    """Of the block with the most wrong codewords."""
    if wrong is None:
        return 0.0
    shape = codewords.shape(size)
    room = shape.correction // shape.blocks // 2
    return 1 - max(_per_block(size, wrong)) / room


def _per_block(size: int, words: Iterable[int]) -> list[int]:
    shape = codewords.shape(size)
    counts = [0] * shape.blocks
    for word in words:
        counts[codewords.block(size, word)] += 1
    return counts


def _modulation(symbol: _Modules, wrong: set[int] | None) -> tuple[float, int]:
    """The worst right codeword's, and the grade: at each level, those below it count as errors (ISO/IEC 15415)."""
    if wrong is None:
        return 0.0, 0
    shape, unused = codewords.shape(symbol.size), PARAMETERS["unused_error_correction"]
    room = shape.correction // shape.blocks // 2
    each = [
        0.0 if word in wrong else min(symbol.modulation(symbol.reflectance[place]) for place in places)
        for word, places in enumerate(codewords.placement(symbol.size))
    ]
    best = 0
    for level in (4, 3, 2, 1):
        limit = PARAMETERS["modulation"].limits[4 - level]
        weak = [word for word, value in enumerate(each) if value < limit]
        best = max(best, min(level, unused.grade(1 - max(_per_block(symbol.size, weak)) / room)))
    return min(value for word, value in enumerate(each) if word not in wrong), best


def _fixed_pattern(symbol: _Modules) -> tuple[float, int]:
    """Of the worst segment: the share of modules on the wrong side, and the grade, which counts weak ones, too."""
    size, parameter = symbol.size, PARAMETERS["fixed_pattern_damage"]
    segments: dict[str, list[float]] = {"quiet": [symbol.modulation(value, False) for value in symbol.quiet]}
    for row, column, dark in codewords.fixed(size):
        name = ("left" if column == 0 else "bottom" if row == size - 1 else "top" if row == 0
                else "right" if column == size - 1 else "inner")  # fmt: skip
        segments.setdefault(name, []).append(symbol.modulation(symbol.reflectance[row * size + column], dark))
    grades = []
    for modules in segments.values():
        best = 0
        for level in (4, 3, 2, 1):
            limit = PARAMETERS["modulation"].limits[4 - level]
            share = sum(value < limit for value in modules) / len(modules)
            best = max(best, min(level, parameter.grade(share)))
        grades.append(best)
    return max(modules.count(0.0) / len(modules) for modules in segments.values()), min(grades)
