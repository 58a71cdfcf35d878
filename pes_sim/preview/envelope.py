"""The face of a mail piece: what is where on a #10 envelope, and how it is drawn.

Three rules:

* Every indicium says SPECIMEN and NOT VALID POSTAGE, in it and across it; nothing can leave that out (39 CFR 501.9).
* The indicium is in the upper right corner, with half an inch of blank paper left of it and below it (DMM 604.4.3.3).
* Whatever text a customer gives, the page is made: what the font lacks is shown as a lozenge, what is too long is cut.

Lengths are in points (1/72 inch), from the lower left corner of the page.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pes_sim import money
from pes_sim.errors import UsageError
from pes_sim.indicium.symbol import Symbol

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

PROVIDER: Final = "PES-SIM TEST PROVIDER 99"

PAGE: Final = (684.0, 297.0)
"""Width and height of a #10 envelope: 9.5 by 4.125 inches."""
MODULE: Final = 1.44
"""Side of one module: 0.508 mm, 6 dots at 300 dpi. Assumed; what the IMI-PC asks for is not public."""
QUIET_MODULES: Final = 2
"""Blank modules around the symbol; ISO/IEC 16022 asks for one."""
LARGEST: Final = 64
"""Modules along one side of the largest symbol that leaves room for the destination."""
CLEAR_ZONE: Final = 36.0
"""Width of the blank paper left of the indicium and below it."""

_MARGIN: Final = 18.0
_BANNER: Final = 13.0  # height of the black bar on top of the indicium
_COLUMN: Final = (158.0, 75.0)  # width and height of what people read, right of the symbol
_GAP: Final = 4.0
_DESTINATION: Final = (300.0, 112.0)  # left end of its first line, below the clear zone of the largest symbol

REGULAR: Final = "PesSim"
BOLD: Final = "PesSim-Bold"
_FILES: Final = {REGULAR: "Vera.ttf", BOLD: "VeraBd.ttf"}
_MISSING: Final = "\N{LOZENGE}"
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
_LONGEST: Final = 400  # characters of a line that are looked at; no line of the page has room for as many

USUAL: Final = (
    "US POSTAGE | SPECIMEN",
    "{postage}",
    "{mail_class} | {weight}",
    "{date} | ZIP {origin_zip}",
    "{meter} | PIECE {piece_count}",
    "{provider}",
)
"""The human-readable text of a layout that has none of its own."""
_STEPS: Final = (
    (11, BOLD, 8), (18, BOLD, 18), (11, BOLD, 8), (10, REGULAR, 8), *(4 * ((10, REGULAR, 7),)),
)  # fmt: skip
"""For each line of it: how far below the last one, in which font, and how large."""
_ROOM: Final = 70.0
"""Points that the lines have; more of them stand closer together."""
_NAMED: Final = re.compile(r"\{([a-z_]+)\}")

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_RUN: Final = re.compile(rb"\x01+")


@dataclass(frozen=True, slots=True)
class Imprint:
    """What is printed on one piece.

    `postage_mills`: 1/1000 dollar. `destination`: empty, or 5, 9 or 11 digits. `text`: a line of the customer's own,
    printed with the destination. `reference`: who pays, such as "Department 100 Sales", printed below the return
    address. Raises `UsageError` for a destination or an origin ZIP of other than its digits.
    """

    payload: bytes
    symbol_size: str
    postage_mills: int
    mailing_date: date
    mail_class: str
    origin_zip: str
    meter_serial: str
    piece_count: int
    destination: str = ""
    text: str = ""
    reference: str = ""
    weight_text: str = ""
    tracking_number: str = ""
    extra_services: str = ""
    lines: Sequence[str] = ()
    """The layout's human-readable text; none for the usual one."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9]{5}", self.origin_zip):
            raise UsageError(f"origin ZIP {self.origin_zip!r} is not a ZIP Code", hint="Give 5 digits")
        if not re.fullmatch(r"([0-9]{5}([0-9]{4}([0-9]{2})?)?)?", self.destination):
            raise UsageError(
                f"destination {self.destination!r} is not a ZIP Code",
                hint="Give 5 digits, 9 (ZIP+4), 11 (delivery point) or none",
            )


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on the page."""

    left: float
    bottom: float
    right: float
    top: float


def indicium_box(side: int) -> Box:
    """Where the whole indicium is, if its symbol has `side` modules along one side."""
    symbol = (side + 2 * QUIET_MODULES) * MODULE
    right, top = PAGE[0] - _MARGIN, PAGE[1] - _MARGIN
    return Box(right - _COLUMN[0] - _GAP - symbol, top - _BANNER - max(_COLUMN[1], symbol), right, top)


def symbol_box(side: int) -> Box:
    """Where the modules of the symbol are. Its quiet zone lies around this box, inside the indicium's."""
    whole = indicium_box(side)
    left = whole.left + QUIET_MODULES * MODULE
    bottom = (whole.bottom + whole.top - _BANNER - side * MODULE) / 2
    return Box(left, bottom, left + side * MODULE, bottom + side * MODULE)


@cache
def load_fonts() -> None:
    """Registers the fonts with reportlab. They are Bitstream Vera, which may be embedded freely, and come with it."""
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfbase.ttfonts import TTFont

    for name, file in _FILES.items():
        registerFont(TTFont(name, file))


def draw(canvas: Canvas, imprint: Imprint, symbol: Symbol) -> None:
    """Draws one envelope on the current page. `load_fonts` was called before; `symbol` is that of the payload."""
    if symbol.size > LARGEST:
        raise UsageError(
            f"a symbol of {symbol.size} modules leaves no room for the destination on a #10 envelope",
            hint=f"Take a size up to {LARGEST}x{LARGEST}",
        )
    _specimen(canvas, symbol.size)
    _modules(canvas, symbol)
    _indicium_text(canvas, imprint, symbol.size)
    _return_address(canvas, imprint, indicium_box(symbol.size).left - CLEAR_ZONE)
    _destination(canvas, imprint)


def _specimen(canvas: Canvas, side: int) -> None:
    """The marks that make it a specimen: a bar along the top, and a stamp under the text people read."""
    box, right_of_symbol = indicium_box(side), symbol_box(side).right + QUIET_MODULES * MODULE
    canvas.setFillGray(0)
    canvas.rect(box.left, box.top - _BANNER, box.right - box.left, _BANNER, stroke=0, fill=1)
    canvas.setFillGray(1)
    canvas.setFont(BOLD, 9.5)
    canvas.drawCentredString((box.left + box.right) / 2, box.top - 10, "SPECIMEN \N{EM DASH} NOT VALID POSTAGE")
    canvas.saveState()
    canvas.setFillColorRGB(1, 0.72, 0.72)
    canvas.translate((right_of_symbol + box.right) / 2, (box.bottom + box.top - _BANNER) / 2)
    canvas.rotate(18)
    canvas.setFont(BOLD, 25)
    canvas.drawCentredString(0, -9, "SPECIMEN")
    canvas.restoreState()
    canvas.setFillGray(0)


def _modules(canvas: Canvas, symbol: Symbol) -> None:
    """The symbol as one path of rectangles, a run of dark modules each: sharp at any resolution, and no seams.

    Written as PDF operators: 500 calls of `canvas.rect` would cost ten times the rest of the page.
    """
    box, side = symbol_box(symbol.size), symbol.size
    operators = [f"q {MODULE} 0 0 {-MODULE} {box.left:.2f} {box.top:.2f} cm"]
    for start in range(0, side * side, side):
        row = start // side
        for run in _RUN.finditer(symbol.modules, start, start + side):
            operators.append(f"{run.start() - start} {row} {run.end() - run.start()} 1 re")
    operators.append("f Q")
    canvas.addLiteral("\n".join(operators))


def _indicium_text(canvas: Canvas, imprint: Imprint, side: int) -> None:
    """What people read in the indicium (DMM 604.4): postal markings and the provider's name, nothing else."""
    box, left = indicium_box(side), symbol_box(side).right + QUIET_MODULES * MODULE + _GAP
    top = (box.bottom + box.top - _BANNER + _COLUMN[1]) / 2
    filled = [line for line in (fill(template, imprint) for template in imprint.lines or USUAL) if any(line)]
    steps = [_STEPS[index] for index in range(len(filled))]
    tight = min(1.0, _ROOM / sum(step for step, _, _ in steps))
    down = 0.0
    for (step, font, full), (text, end) in zip(steps, filled, strict=True):
        down, size = down + step * tight, full * tight
        end = fit(end, font, size, _COLUMN[0] / 2)
        if end:
            canvas.setFont(font, size)
            canvas.drawRightString(box.right, top - down, end)
        _line(canvas, left, top - down, font, size, text, box.right - left - _width(end + "  ", font, size))


def fill(template: str, imprint: Imprint) -> tuple[str, str]:
    """A line of human-readable text with its values, in its left half and its right one."""
    day = imprint.mailing_date
    values = {
        "postage": money.dollars(imprint.postage_mills),
        "date": f"{_MONTHS[day.month - 1]} {day.day:02d} {day.year}",
        "mail_class": imprint.mail_class,
        "weight": imprint.weight_text,
        "origin_zip": imprint.origin_zip,
        "meter": imprint.meter_serial,
        "piece_count": str(imprint.piece_count),
        "provider": PROVIDER,
        "tracking_number": imprint.tracking_number,
        "extra_services": imprint.extra_services.replace("_", " ").replace("+", ", ").upper(),
    }
    left, _, right = _NAMED.sub(lambda found: values[found[1]], template).partition("|")
    return left.strip(), right.strip()


def _return_address(canvas: Canvas, imprint: Imprint, right: float) -> None:
    lines = (
        (BOLD, "PES-SIM MAIL ROOM"),
        (REGULAR, "SIMULATED POSTAGE METER"),
        (REGULAR, f"ORIGIN ZIP {imprint.origin_zip}"),
        (REGULAR, imprint.reference),
    )
    for number, (font, text) in enumerate(lines):
        _line(canvas, _MARGIN, PAGE[1] - _MARGIN - 8 - 11 * number, font, 8, text, right - _MARGIN)
    note = "SPECIMEN: made by the simulator pes_sim for tests. Not valid postage."
    _line(canvas, _MARGIN, _MARGIN, REGULAR, 6, note, PAGE[0])


def _destination(canvas: Canvas, imprint: Imprint) -> None:
    """Clear of the lower right corner, where the Postal Service prints its barcode (DMM 202)."""
    left, top = _DESTINATION
    lines = ("ADDRESSEE (SIMULATED)", imprint.text, routing(imprint.destination))
    for number, text in enumerate(line for line in lines if line):
        _line(canvas, left, top - 15 * number, REGULAR, 11, text, PAGE[0] - _MARGIN - left)


def routing(digits: str) -> str:
    """A destination of 0, 5, 9 or 11 digits as people write it: "ZIP 62701-1234, DELIVERY POINT 56"."""
    zip_code = f"ZIP {digits[:5]}" if digits else ""
    add_on = f"-{digits[5:9]}" if len(digits) > 5 else ""
    point = f", DELIVERY POINT {digits[9:]}" if len(digits) > 9 else ""
    return zip_code + add_on + point


def _line(canvas: Canvas, x: float, y: float, font: str, size: float, text: str, width: float) -> None:
    canvas.setFont(font, size)
    canvas.drawString(x, y, fit(text, font, size, width))


def fit(text: str, font: str, size: float, width: float) -> str:
    """`text` as one line of at most `width` points: no line breaks, no character that `font` lacks, cut with "…"."""
    glyphs = _glyphs(font)
    plain = unicodedata.normalize("NFC", " ".join(text[: 2 * _LONGEST].split()))[:_LONGEST]
    plain = "".join([char if ord(char) in glyphs else _MISSING for char in plain])
    if _width(plain, font, size) <= width:
        return plain
    room = width - _width(_ELLIPSIS, font, size)
    kept = bisect_right(range(len(plain) + 1), room, key=lambda length: _width(plain[:length], font, size)) - 1
    return plain[: max(kept, 0)].rstrip() + _ELLIPSIS


@cache
def _glyphs(font: str) -> frozenset[int]:
    from reportlab.pdfbase.pdfmetrics import getFont

    loaded: Any = getFont(font)
    return frozenset(loaded.face.charToGlyph)


def _width(text: str, font: str, size: float) -> float:
    from reportlab.pdfbase.pdfmetrics import stringWidth

    return float(stringWidth(text, font, size))
