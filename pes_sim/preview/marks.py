"""What a page is made of: text, rectangles, lines, a symbol, a picture. Data only; `pdf` and `svg` write it.

Lengths are in points (1/72 inch), from the lower left corner of the page or of the group that a mark is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from pes_sim.indicium.symbol import Symbol

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[float, float, float]
"""Red, green and blue, 0 to 1."""
BLACK: Final[Colour] = (0, 0, 0)
WHITE: Final[Colour] = (1, 1, 1)
PALE_RED: Final[Colour] = (1, 0.72, 0.72)
GREY: Final[Colour] = (0.45, 0.45, 0.45)


class Box(NamedTuple):
    """A rectangle on the page."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        """In points."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """In points."""
        return self.top - self.bottom

    def meets(self, other: Box) -> bool:
        """Whether they have paper in common. Boxes that only touch do not."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )  # fmt: skip

    def within(self, other: Box) -> bool:
        """Whether all of it lies in the other."""
        return (
            other.left <= self.left
            and other.bottom <= self.bottom
            and self.right <= other.right
            and self.top <= other.top
        )  # fmt: skip


class Text(NamedTuple):
    """One line from (x, y) on, its base line turned by `turn` degrees to the left. All characters are the font's."""

    x: float
    y: float
    font: str
    size: float
    text: str
    colour: Colour = BLACK
    turn: float = 0


class Rectangles(NamedTuple):
    """Filled ones, each as left, bottom, width and height: one path."""

    rectangles: Sequence[tuple[float, float, float, float]]
    colour: Colour = BLACK


class Line(NamedTuple):
    """A thin straight line; `dash`: points drawn and left out in turn, 0 for a line without gaps."""

    x1: float
    y1: float
    x2: float
    y2: float
    dash: float = 0
    colour: Colour = GREY


class Modules(NamedTuple):
    """A symbol's dark modules, from its upper left corner on; `side`: of one module."""

    left: float
    top: float
    side: float
    symbol: Symbol


class Logo(NamedTuple):
    """A picture, as large as `box`."""

    box: Box
    picture: Image


class Group(NamedTuple):
    """Marks that were placed from another lower left corner, and are drawn smaller or larger."""

    x: float
    y: float
    scale: float
    marks: Sequence[Mark]


Mark = Text | Rectangles | Line | Modules | Logo | Group


class Page(NamedTuple):
    """A page of so many points, and what is on it, the lowest first."""

    width: float
    height: float
    marks: Sequence[Mark]
