"""The marks of a page as SVG: the same places and lines of text as in the PDF.

Fonts are not in it. Every line says how long it is, so that it takes the same room in whichever font a viewer has.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from pes_sim.preview.content import LINE_WIDTH
from pes_sim.preview.drawing import NOTICE
from pes_sim.preview.fonts import BOLD, width
from pes_sim.preview.marks import BLACK, Colour, Group, Line, Logo, Mark, Modules, Page, Rectangles, Text

_FAMILY: Final = "Bitstream Vera Sans, DejaVu Sans, Verdana, sans-serif"
_RUN: Final = re.compile(rb"\x01+")


def svg(page: Page) -> str:
    """A page as an SVG document, as large as it is on paper."""
    body = "\n".join(_drawn(page.marks))
    size = f"{page.width:.6g} {page.height:.6g}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page.width:.6g}pt" height="{page.height:.6g}pt" '
        f'viewBox="0 0 {size}">\n<title>{NOTICE}</title>\n'
        f'<rect width="{page.width:.6g}" height="{page.height:.6g}" fill="#fff"/>\n'
        f'<g transform="translate(0 {page.height:.6g}) scale(1 -1)" font-family="{_FAMILY}">\n{body}\n</g>\n</svg>\n'
    )


def _drawn(marks: Sequence[Mark]) -> Iterator[str]:
    for mark in marks:
        yield from _DRAW[type(mark)](mark)


def _text(mark: Text) -> Iterator[str]:
    if mark.text:
        turn = f" rotate({-mark.turn:g})" if mark.turn else ""
        bold = ' font-weight="bold"' if mark.font == BOLD else ""
        yield (
            f'<text transform="translate({mark.x:.2f} {mark.y:.2f}) scale(1 -1){turn}" '
            f'font-size="{mark.size:.4g}"{bold} '
            f'textLength="{width(mark.text, mark.font, mark.size):.2f}" lengthAdjust="spacingAndGlyphs" '
            f'xml:space="preserve"{_fill(mark.colour)}>{escape(mark.text)}</text>'
        )


def _rectangles(mark: Rectangles) -> Iterator[str]:
    path = "".join(f"M{x:.2f} {y:.2f}h{w:.2f}v{h:.2f}h{-w:.2f}z" for x, y, w, h in mark.rectangles)
    yield f'<path d="{path}"{_fill(mark.colour)}/>'


def _line(mark: Line) -> Iterator[str]:
    dash = f' stroke-dasharray="{mark.dash:g}"' if mark.dash else ""
    yield (
        f'<line x1="{mark.x1:.2f}" y1="{mark.y1:.2f}" x2="{mark.x2:.2f}" y2="{mark.y2:.2f}" '
        f'stroke="{_colour(mark.colour)}" stroke-width="{LINE_WIDTH}"{dash}/>'
    )


def _modules(mark: Modules) -> Iterator[str]:
    side, modules = mark.symbol.size, mark.symbol.modules
    path = "".join(
        f"M{run.start() - start} {start // side}h{run.end() - run.start()}v1h-{run.end() - run.start()}z"
        for start in range(0, side * side, side)
        for run in _RUN.finditer(modules, start, start + side)
    )
    place = f"translate({mark.left:.2f} {mark.top:.2f}) scale({mark.side:.4g} {-mark.side:.4g})"
    yield f'<path transform="{place}" d="{path}"/>'


def _logo(mark: Logo) -> Iterator[str]:
    data = io.BytesIO()
    mark.picture.save(data, "PNG")
    box, uri = mark.box, f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    yield (
        f'<image transform="translate({box.left:.2f} {box.top:.2f}) scale(1 -1)" width="{box.width:.2f}" '
        f'height="{box.height:.2f}" preserveAspectRatio="none" href={quoteattr(uri)}/>'
    )


def _group(mark: Group) -> Iterator[str]:
    yield f'<g transform="translate({mark.x:.2f} {mark.y:.2f}) scale({mark.scale:.4g})">'
    yield from _drawn(mark.marks)
    yield "</g>"


_DRAW: Final[dict[type, Callable[[Any], Iterator[str]]]] = {
    Text: _text,
    Rectangles: _rectangles,
    Line: _line,
    Modules: _modules,
    Logo: _logo,
    Group: _group,
}


def _fill(colour: Colour) -> str:
    return "" if colour == BLACK else f' fill="{_colour(colour)}"'


def _colour(colour: Colour) -> str:
    return "#" + "".join(f"{round(part * 255):02x}" for part in colour)
