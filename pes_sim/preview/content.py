"""The marks of a page as operators of PDF (ISO 32000-1, annex A).

A symbol is one path of rectangles: sharp at any resolution, and without seams. Eight modules are looked up at a time,
as to work out 500 runs of modules would cost more than the rest of the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import cos, radians, sin
from typing import TYPE_CHECKING, Any, Final

from pes_sim.preview import fonts
from pes_sim.preview.marks import BLACK, Colour, Group, Line, Logo, Mark, Modules, Rectangles, Text

if TYPE_CHECKING:
    from PIL.Image import Image

_RUN: Final = re.compile(rb"\x01+")
_AT_ONCE: Final = 8
LINE_WIDTH: Final = 0.5


@dataclass(slots=True)
class SharedFont:
    """A font of the document. `characters`: those used so far, in the order of their numbers from 1 on. Each has a
    glyph of its own (`fonts.fit` sees to that), so that these are the glyphs' numbers, too, in what is embedded.
    """

    resource: bytes
    face: Any
    characters: list[int] = field(default_factory=list)


class Encoder:
    """Gives every character that is used a number in its font, and text as those numbers."""

    def __init__(self, names: Iterable[str]) -> None:
        self.fonts = {
            name: SharedFont(b"F%d" % number, fonts.face(name)) for number, name in enumerate(names, start=1)
        }  # fmt: skip
        self._codes = {name: _Codes(font) for name, font in self.fonts.items()}
        self.text = lru_cache(maxsize=64)(self._text)
        self.pictures: list[Image] = []

    def picture(self, picture: Image) -> int:
        """The picture's number: the same one is in the document once."""
        known = next((number for number, one in enumerate(self.pictures) if one is picture), None)
        if known is None:
            self.pictures.append(picture)
        return len(self.pictures) - 1 if known is None else known

    def _text(self, font: str, text: str) -> str:
        return text.translate(self._codes[font])


class _Codes(dict[int, str]):
    """For `str.translate`: a character's code in hexadecimal digits, which it gets when it is first used."""

    def __init__(self, font: SharedFont) -> None:
        super().__init__()
        self._characters = font.characters

    def __missing__(self, code: int) -> str:
        self._characters.append(code)
        self[code] = digits = f"{len(self._characters):04x}"
        return digits


class Content:
    """Collects the operators of one page."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._operators: list[str] = []

    def bytes(self) -> bytes:
        """The content stream."""
        return "\n".join(self._operators).encode()

    def draw(self, marks: Sequence[Mark]) -> None:
        """Adds marks, the lowest first."""
        for mark in marks:
            _DRAW[type(mark)](self, mark)

    def _text(self, mark: Text) -> None:
        if not mark.text:
            return
        x, y, font, size, text, colour, turn = mark
        if turn:
            across, up = cos(radians(turn)), sin(radians(turn))
            place = f"{across:.5f} {up:.5f} {-up:.5f} {across:.5f} {x:.2f} {y:.2f} Tm"
        else:
            place = f"{x:.2f} {y:.2f} Td"
        resource = self._encoder.fonts[font].resource.decode()
        shown = f"BT /{resource} {size:.4g} Tf {place} <{self._encoder.text(font, text)}> Tj ET"
        self._operators.append(shown if colour == BLACK else f"{_fill(colour)} {shown} 0 g")

    def _rectangles(self, mark: Rectangles) -> None:
        path = " ".join([f"{x:.2f} {y:.2f} {w:.2f} {h:.2f} re" for x, y, w, h in mark.rectangles])
        self._operators.append(f"{path} f" if mark.colour == BLACK else f"{_fill(mark.colour)} {path} f 0 g")

    def _line(self, mark: Line) -> None:
        dash = f"[{mark.dash:.4g}] 0 d " if mark.dash else ""
        red, green, blue = mark.colour
        self._operators.append(
            f"q {red:.3g} {green:.3g} {blue:.3g} RG {LINE_WIDTH} w {dash}"
            f"{mark.x1:.2f} {mark.y1:.2f} m {mark.x2:.2f} {mark.y2:.2f} l S Q"
        )

    def _modules(self, mark: Modules) -> None:
        add, modules, side = self._operators.append, mark.symbol.modules, mark.symbol.size
        add(f"q {mark.side:.4g} 0 0 {-mark.side:.4g} {mark.left:.2f} {mark.top:.2f} cm")
        for row in range(side):
            start = row * side
            for across in range(0, side, _AT_ONCE):
                eight = modules[start + across : start + min(across + _AT_ONCE, side)]
                for left, wide in _runs(across, eight):
                    add(f"{left}{row}{wide}")
        add("f Q")

    def _logo(self, mark: Logo) -> None:
        box, number = mark.box, self._encoder.picture(mark.picture)
        self._operators.append(
            f"q {box.width:.2f} 0 0 {box.height:.2f} {box.left:.2f} {box.bottom:.2f} cm /L{number} Do Q"
        )

    def _group(self, mark: Group) -> None:
        self._operators.append(f"q {mark.scale:.4g} 0 0 {mark.scale:.4g} {mark.x:.2f} {mark.y:.2f} cm")
        self.draw(mark.marks)
        self._operators.append("Q")


_DRAW: Final[dict[type, Callable[[Content, Any], None]]] = {
    Text: Content._text,
    Rectangles: Content._rectangles,
    Line: Content._line,
    Modules: Content._modules,
    Logo: Content._logo,
    Group: Content._group,
}


@lru_cache(maxsize=18 << _AT_ONCE)
def _runs(across: int, eight: bytes) -> list[tuple[str, str]]:
    """The dark runs in eight modules of a row: what stands before the row's number in an operator, and behind it."""
    return [(f"{across + run.start()} ", f" {run.end() - run.start()} 1 re") for run in _RUN.finditer(eight)]


def _fill(colour: Colour) -> str:
    red, green, blue = colour
    return f"{red:.3g} {green:.3g} {blue:.3g} rg"
