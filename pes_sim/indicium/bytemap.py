"""A layout as people look at it: its byte map as rows of a table, and as a picture in SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from pes_sim.indicium.layout import Layout

_PER_ROW: Final = 16
_BYTE: Final = (64, 46)
"""Width and height of a byte's box, in pixels."""
_LEFT: Final = 56
_TOP: Final = 92
_LETTER: Final = 6.1
"""Width of a letter of the boxes' font, which is monospaced, 10 pixels high."""
_LEGEND: Final = 17
_LINES: Final = 3
_COLOURS: Final = {"public": "#cde7cd", "assumed": "#fbe3b6", "signature": "#d5def3"}
_WORDS: Final = {"public": "public", "assumed": "assumed", "signature": "signature, over all bytes before it"}


class Part(NamedTuple):
    """One field of a layout, or its signature: a row of the byte map."""

    offset: int
    length: int
    name: str
    coding: str
    unit: str
    meaning: str
    basis: str
    source: str

    @property
    def span(self) -> str:
        """Its bytes, as "7" or "7-9"."""
        return str(self.offset) if self.length == 1 else f"{self.offset}-{self.offset + self.length - 1}"

    @property
    def said(self) -> str:
        """How sure its place is, and why."""
        return self.basis + (f": {self.source}" if self.source else "")


def parts(layout: Layout) -> list[Part]:
    """Everything in the layout, in order."""
    s = layout.signature
    return [
        *(
            Part(f.offset, f.length, f.name, f.coding, f.unit, _meaning(f.meaning, f.constant), f.basis, f.source)
            for f in layout.fields
        ),
        Part(layout.signed_length, s.length, "signature", s.scheme, "", s.meaning, s.basis, s.source),
    ]


def _meaning(meaning: str, constant: object) -> str:
    return meaning if constant is None else f"{meaning}; always {constant}"


def summary(layout: Layout) -> str:
    """The whole of it in a line."""
    span = layout.versions
    versions = f"version {span[0]}" if len(span) == 1 else f"versions {span[0]} to {span[-1]}" if span else "no version"
    made = "made and read" if layout.writable else "read only"
    return f"{layout.length} bytes, {layout.symbol} Data Matrix, {layout.signature.scheme}, {versions}, {made}"


def svg(layout: Layout) -> str:
    """The byte map as a picture: 16 bytes in a row, coloured by what is public, with a legend."""
    every = parts(layout)
    rows = -(-layout.length // _PER_ROW)
    bottom = _TOP + rows * _BYTE[1]
    width, height = _LEFT + _PER_ROW * _BYTE[0] + 16, bottom + 52 + _LEGEND * len(every)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="DejaVu Sans, Verdana, sans-serif">',
            f"<title>{escape(layout.title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            _text(_LEFT, 26, layout.title, 17, "bold"),
            _text(_LEFT, 46, summary(layout), 12),
            *_key(),
            *(_text(_LEFT + (n + 0.5) * _BYTE[0], _TOP - 6, f"+{n}", 10, anchor="middle") for n in range(_PER_ROW)),
            *(_text(_LEFT - 8, _TOP + (n + 0.6) * _BYTE[1], str(n * _PER_ROW), 11, anchor="end") for n in range(rows)),
            *(line for number, part in enumerate(every, 1) for line in _boxes(number, part)),
            *_legend(every, bottom + 34),
            "</svg>",
            "",
        ]
    )


def _key() -> Iterator[str]:
    x = float(_LEFT)
    for name, words in _WORDS.items():
        yield _box(x, 57, 14, 12, _COLOURS[name])
        yield _text(x + 20, 67, words, 11)
        x += 40 + 6.6 * len(words)


def _boxes(number: int, part: Part) -> Iterator[str]:
    """A field's boxes, one for each row that it has bytes in; its name stands in the widest."""
    pieces = list(_pieces(part))
    widest = max(pieces, key=lambda piece: piece[1])
    colour = _COLOURS["signature" if part.name == "signature" else part.basis]
    for first, count in pieces:
        x, y = _LEFT + first % _PER_ROW * _BYTE[0], _TOP + first // _PER_ROW * _BYTE[1]
        width = count * _BYTE[0]
        yield _box(x, y, width, _BYTE[1], colour)
        shown = _wrapped(part.name, width) or [f"({number})"] if (first, count) == widest else ["…"]
        for index, line in enumerate(shown):
            middle = y + _BYTE[1] / 2 + 3.5 + (index - (len(shown) - 1) / 2) * 12
            yield _text(x + width / 2, middle, line, 10, anchor="middle", mono=True)


def _pieces(part: Part) -> Iterator[tuple[int, int]]:
    at, end = part.offset, part.offset + part.length
    while at < end:
        stop = min(end, (at // _PER_ROW + 1) * _PER_ROW)
        yield at, stop - at
        at = stop


def _wrapped(name: str, width: float) -> list[str]:
    """The name in lines that fit, broken after "_"; nothing where they do not."""
    most, lines = int((width - 2) / _LETTER), [""]
    for word in name.replace("_", "_ ").split():
        if len(lines[-1] + word) > most:
            lines.append("")
        lines[-1] += word
    lines = [line for line in lines if line]
    return lines if len(lines) <= _LINES and all(len(line) <= most for line in lines) else []


def _legend(every: Sequence[Part], top: float) -> Iterator[str]:
    for number, part in enumerate(every, 1):
        y = top + (number - 1) * _LEGEND
        yield _text(_LEFT - 8, y, f"({number})", 10, anchor="end")
        yield _text(_LEFT, y, f"{part.span}", 10, mono=True)
        yield _text(_LEFT + 56, y, part.name[:26], 10, "bold")
        yield _text(_LEFT + 216, y, part.coding + (f", {part.unit}" if part.unit else ""), 10)
        meaning = part.meaning if len(part.meaning) <= 118 else part.meaning[:117] + "…"
        yield _text(_LEFT + 364, y, meaning, 10)


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}" stroke="#555555" '
        'stroke-width="1"/>'
    )


def _text(
    x: float, y: float, text: str, size: int, weight: str = "normal", *, anchor: str = "start", mono: bool = False
) -> str:
    family = ' font-family="DejaVu Sans Mono, monospace"' if mono else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"{family}>'
        f"{escape(text)}</text>"
    )
