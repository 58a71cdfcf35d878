"""The two fonts of every page: which characters they have, how wide a line is, and a line cut to its room.

They are Bitstream Vera, which may be embedded freely, and come with reportlab. They have the letters of Western
European languages. Of others a letter is shown without its accent if they have that, and as a lozenge if not.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections import Counter
from functools import cache
from typing import Any, Final

REGULAR: Final = "PesSim"
BOLD: Final = "PesSim-Bold"
FONTS: Final = {REGULAR: "Vera.ttf", BOLD: "VeraBd.ttf"}
"""The file of each, which reportlab finds."""
MISSING: Final = "\N{LOZENGE}"
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
_LONGEST: Final = 400  # characters of a line that are looked at; no line of a page has room for as many


@cache
def face(font: str) -> Any:
    """The font's tables, as reportlab reads them (`Any`: its stubs know few of them)."""
    from reportlab.pdfbase.ttfonts import TTFontFace

    return TTFontFace(FONTS[font])


@cache
def load_fonts() -> None:
    """Registers the fonts with reportlab, for whoever draws with it."""
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfbase.ttfonts import TTFont

    for name, file in FONTS.items():
        registerFont(TTFont(name, file))


@cache
def _widths(font: str) -> dict[str, float]:
    """Of every character that the font has, in thousandths of its size.

    A glyph that stands for several characters is the font's own sign for what it lacks.
    """
    loaded = face(font)
    glyphs = {code: glyph for code, glyph in loaded.charToGlyph.items() if chr(code).isprintable()}
    shared = Counter(glyphs.values())
    return {chr(code): float(loaded.charWidths[code]) for code, glyph in glyphs.items() if shared[glyph] == 1}


def width(text: str, font: str, size: float) -> float:
    """Points that a line of characters of the font takes."""
    widths = _widths(font)
    return sum([widths[char] for char in text]) * size / 1000


def lacks(text: str, font: str = REGULAR) -> bool:
    """Whether a lozenge stands for one of the characters."""
    return any(_shown(char, font) == MISSING for char in _plain(text).replace(MISSING, ""))


def fit(text: str, font: str, size: float, room: float) -> str:
    """`text` as one line of at most `room` points: no line breaks, no character that `font` lacks, cut with "…"."""
    widths = _widths(font)
    plain = "".join([char if char in widths else _shown(char, font) for char in _plain(text)])
    if width(plain, font, size) <= room:
        return plain
    left = room - width(_ELLIPSIS, font, size)
    kept = bisect_right(range(len(plain) + 1), left, key=lambda length: width(plain[:length], font, size)) - 1
    return plain[: max(kept, 0)].rstrip() + _ELLIPSIS


def _shown(char: str, font: str) -> str:
    """The character itself, or the letter without its accents, or a lozenge."""
    widths = _widths(font)
    base = unicodedata.normalize("NFD", char)[0]
    return char if char in widths else base if base in widths else MISSING


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text[: 2 * _LONGEST].split()))[:_LONGEST]
