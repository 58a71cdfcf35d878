"""One indicium's symbol as a picture of its own: PNG, SVG, PDF, or ZPL for a label printer.

Four rules:

* Above and below the symbol, outside its quiet zone, stands SPECIMEN and NOT VALID POSTAGE (39 CFR 501.9). It is part
  of the one picture from which every format is written; nothing can leave it out.
* Only a specimen is drawn: a payload that is, or would read as, a real provider's is refused, whatever the layout says.
* A module is a whole number of dots, so that no printer and no scaling makes some of them wider than others.
* The same payload gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Final

from pes_sim.errors import LayoutError, PayloadError, SymbolError, UsageError
from pes_sim.indicium import symbol
from pes_sim.indicium.layout import SPECIMEN_PROVIDER, Indicium, Layout, builtin
from pes_sim.indicium.packing import REAL_PROVIDERS
from pes_sim.indicium.symbol import Symbol
from pes_sim.psd.piece import check_layout

if TYPE_CHECKING:
    from PIL.Image import Image

NOTICE: Final = "SPECIMEN. NOT VALID POSTAGE"
QUIET_MODULES: Final = 2
"""Blank modules around the symbol; ISO/IEC 16022 asks for one."""
MODULE: Final = Fraction(1, 50)
"""Side of a module in inches, where nobody says otherwise: that of the envelopes, 0.508 mm. Assumed."""
DOTS: Final = range(2, 65)
"""Dots along one side of a module: with fewer it is not read, with more the picture is a poster."""
DPI: Final = range(72, 2401)
_SEEN: Final = 2
_READ_BACK: Final = 4  # dots of a module that reading back needs; more would only take longer

_ABOVE: Final = ("SPECIMEN",)
_BELOW: Final = ("NOT VALID", "POSTAGE")
_LETTER: Final = (5, 7)  # cells across and down; one blank cell between two letters
_LETTERS: Final = {
    " ": ("     ",) * 7,
    "A": (" ### ", "#   #", "#   #", "#####", "#   #", "#   #", "#   #"),
    "C": (" ### ", "#   #", "#    ", "#    ", "#    ", "#   #", " ### "),
    "D": ("#### ", "#   #", "#   #", "#   #", "#   #", "#   #", "#### "),
    "E": ("#####", "#    ", "#    ", "#### ", "#    ", "#    ", "#####"),
    "G": (" ### ", "#   #", "#    ", "# ###", "#   #", "#   #", " ### "),
    "I": (" ### ", "  #  ", "  #  ", "  #  ", "  #  ", "  #  ", " ### "),
    "L": ("#    ", "#    ", "#    ", "#    ", "#    ", "#    ", "#####"),
    "M": ("#   #", "## ##", "# # #", "# # #", "#   #", "#   #", "#   #"),
    "N": ("#   #", "##  #", "# # #", "# # #", "#  ##", "#   #", "#   #"),
    "O": (" ### ", "#   #", "#   #", "#   #", "#   #", "#   #", " ### "),
    "P": ("#### ", "#   #", "#   #", "#### ", "#    ", "#    ", "#    "),
    "S": (" ####", "#    ", "#    ", " ### ", "    #", "    #", "#### "),
    "T": ("#####", "  #  ", "  #  ", "  #  ", "  #  ", "  #  ", "  #  "),
    "V": ("#   #", "#   #", "#   #", "#   #", " # # ", " # # ", "  #  "),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """Dots, row by row from the top left, 1 = dark; `dpi` of them to an inch, `module` along one side of a module."""

    width: int
    height: int
    dots: bytes
    dpi: int
    module: int

    @property
    def finest(self) -> int:
        """The lowest resolution at which a scanner sees two pixels of a module, which is what it takes to read one."""
        return -(-_SEEN * self.dpi // self.module)


def draw(payload: bytes, layout: Layout, *, dpi: int = 300, dots: int = 0) -> Picture:
    """The symbol of `payload` between its bands. `dots`: along one side of a module; 0 for those that make it 1/50
    inch.

    Raises `LayoutError` for what is no specimen or is never printed, `PayloadError` for other than one whole payload of
    the layout, `UsageError` for a resolution at which a module is no whole number of dots.
    """
    check_specimen(payload, layout)
    size = _dots(dpi, dots)
    return _composed(symbol.encode(payload, layout.symbol), size, dpi)


def check_reads(picture: Picture, payload: bytes) -> None:
    """Reads what was drawn, as a scanner of the printer's resolution would. Raises `SymbolError` for anything else."""
    seen = _grey(picture).reduce(max(1, picture.module // _READ_BACK))
    if symbol.read(seen) != [payload]:
        raise SymbolError("the picture does not read back as its payload", hint="Give more --dots")


def check_specimen(payload: bytes, layout: Layout) -> Indicium:
    """The fields of a payload that a simulated meter prints. Raises `LayoutError` for any other, `PayloadError` for one
    that is not whole.
    """
    parsed = check_provider(payload, layout)
    _check_layout(layout)
    return parsed


_check_layout = lru_cache(maxsize=16)(check_layout)


def check_provider(payload: bytes, layout: Layout) -> Indicium:
    """The fields of a specimen's payload, printed by a meter or not. Raises as `check_specimen` does."""
    parsed = layout.unpack(payload)
    for provider in (str(parsed.values.get("provider_id", SPECIMEN_PROVIDER)), *_read_by_others(payload, layout)):
        if provider != SPECIMEN_PROVIDER:
            raise LayoutError(
                f"an indicium of provider {provider!r} is not drawn: specimens bear {SPECIMEN_PROVIDER} only",
                hint="39 CFR 501.9: it may be real postage. 'pes-sim decode' shows what it says",
            )
    if parsed.trailing:
        raise PayloadError(
            f"{len(parsed.trailing)} bytes follow the {layout.length} of layout {layout.name}",
            hint="Give the payload alone",
        )
    return parsed


def _read_by_others(payload: bytes, layout: Layout) -> Iterator[str]:
    """The real providers that a reader would find in it who goes by the public places, not by `layout`."""
    places = [payload[1:3]]
    if not layout.versions:
        places.append(payload[:2])
    if payload[0] in builtin("ibi").versions:
        places.append(payload[6:8])
    if payload[0] in builtin("ibi_lite").versions:
        places.append(b"%02d" % (payload[5] >> 4))
    yield from (place.decode() for place in places if place in REAL_PROVIDERS)


def _dots(dpi: int, dots: int) -> int:
    if dpi not in DPI:
        raise UsageError(f"{dpi} dpi is no resolution of a printer", hint=f"Give {DPI.start} to {DPI.stop - 1}")
    if dots:
        if dots not in DOTS:
            raise UsageError(f"a module of {dots} dots is not drawn", hint=f"Give {DOTS.start} to {DOTS.stop - 1}")
        return dots
    exact = dpi * MODULE
    if exact.denominator != 1 or int(exact) not in DOTS:
        near = max(DOTS.start, round(exact))
        raise UsageError(
            f"at {dpi} dpi a module of 1/50 inch has {float(exact):g} dots: some would be wider than others",
            hint=f"Give --dots {near} for modules of {near}/{dpi} inch, or a multiple of 50 for --dpi (100 to 2400)",
        )
    return int(exact)


def _composed(drawn: Symbol, size: int, dpi: int) -> Picture:
    """The symbol in the middle of its bands, each line of which is as large as the width allows, up to a module a cell.

    A symbol of few modules has a wider picture, in which a cell is half a module.
    """
    widest = max(_cells(text) for text in (*_ABOVE, *_BELOW))
    quiet = QUIET_MODULES * size
    inner = max((drawn.size + 2 * QUIET_MODULES) * size, widest * (size // 2))
    width = inner + 2 * quiet
    blank = bytes(width)
    rows = [blank] * quiet
    for text in _ABOVE:
        rows += [*lettering(text, _ABOVE, size, inner, width), *[blank] * size]
    rows += [blank] * quiet
    for start in range(0, len(drawn.modules), drawn.size):
        rows += [_stretched(drawn.modules[start : start + drawn.size], size).center(width, b"\0")] * size
    rows += [blank] * quiet
    for text in _BELOW:
        rows += [*[blank] * size, *lettering(text, _BELOW, size, inner, width)]
    rows += [blank] * quiet
    return Picture(width, len(rows), b"".join(rows), dpi, size)


def _cells(text: str) -> int:
    return len(text) * (_LETTER[0] + 1) - 1


def lettering(text: str, beside: tuple[str, ...], size: int, inner: int, width: int) -> list[bytes]:
    """A line of text, in letters as large as those of the lines beside it."""
    cell = min(size, inner // max(_cells(line) for line in beside))
    cells = (" ".join(_LETTERS[letter][row] for letter in text) for row in range(_LETTER[1]))
    return [
        row
        for line in cells
        for row in [_stretched(bytes(mark == "#" for mark in line), cell).center(width, b"\0")] * cell
    ]


def _stretched(row: bytes, size: int) -> bytes:
    return b"".join(bytes((dot,)) * size for dot in row)


# --- formats ---------------------------------------------------------------------------------------------------------


def png(picture: Picture) -> bytes:
    """Two colours, a dot a pixel, with its resolution and the notice in the file."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    said = PngInfo()
    said.add_text("Comment", NOTICE)
    out = io.BytesIO()
    two = _grey(picture).convert("1", dither=Image.Dither.NONE)
    two.save(out, "PNG", dpi=(picture.dpi, picture.dpi), pnginfo=said)
    return out.getvalue()


def _grey(picture: Picture) -> Image:
    from PIL import Image

    return Image.frombytes("L", _size(picture), picture.dots.translate(b"\xff\0" + bytes(254)))


def svg(picture: Picture) -> bytes:
    """One path, in units of dots; the size on paper in millimetres."""
    width, height = (f"{float(Fraction(dots * 254, picture.dpi * 10)):.4f}mm" for dots in _size(picture))
    path = "".join(f"M{x} {y}h{w}v{h}h-{w}z" for x, y, w, h in _rectangles(picture))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {picture.width} {picture.height}" shape-rendering="crispEdges">\n'
        f"<title>{NOTICE}</title>\n"
        f'<rect width="{picture.width}" height="{picture.height}" fill="#fff"/>\n'
        f'<path fill="#000" d="{path}"/>\n</svg>\n'
    ).encode()


def pdf(picture: Picture) -> bytes:
    """A page as large as the picture, with the symbol as one vector path."""
    from reportlab.pdfgen.canvas import Canvas

    from pes_sim.preview import fonts

    fonts.load_fonts()
    point = 72 / picture.dpi
    out = io.BytesIO()
    canvas = Canvas(
        out,
        pagesize=(picture.width * point, picture.height * point),
        invariant=1,
        initialFontName=fonts.REGULAR,  # type: ignore[arg-type]  # its stubs say float
    )
    canvas.setTitle(NOTICE)
    canvas.setSubject(NOTICE)
    canvas.setCreator("pes_sim")
    canvas.scale(point, point)
    path = canvas.beginPath()
    for x, y, w, h in _rectangles(picture):
        path.rect(x, picture.height - y - h, w, h)
    canvas.drawPath(path, stroke=0, fill=1)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def zpl(picture: Picture) -> bytes:
    """A label with the whole picture as one graphic (^GFA), for a printer of its resolution.

    Not as the printer's own Data Matrix (^BX): that chooses compaction and size by its firmware, so the codewords would
    be the printer's and not the layout's, and the band would be a field that somebody can drop.
    """
    across = -(-picture.width // 8)
    rows = []
    for start in range(0, len(picture.dots), picture.width):
        bits = "".join(map(str, picture.dots[start : start + picture.width])).ljust(across * 8, "0")
        rows.append(f"{int(bits, 2):0{across * 2}X}")
    total = across * picture.height
    graphic = "\n".join(rows)
    return (
        f"^XA\n^FX {NOTICE}. For {picture.dpi} dpi ^FS\n^PW{picture.width}\n^LL{picture.height}\n"
        f"^FO0,0^GFA,{total},{total},{across},\n{graphic}\n^FS\n^XZ\n"
    ).encode()


FORMATS: Final[dict[str, Callable[[Picture], bytes]]] = {".png": png, ".svg": svg, ".pdf": pdf, ".zpl": zpl}
"""By a file name's end."""


def _size(picture: Picture) -> tuple[int, int]:
    return picture.width, picture.height


def _rectangles(picture: Picture) -> Iterator[tuple[int, int, int, int]]:
    """What is dark, as left, top, width and height: runs of a row, over as many rows as are the same."""
    rows = (picture.dots[start : start + picture.width] for start in range(0, len(picture.dots), picture.width))
    top = 0
    for row, same in groupby(rows):
        height, left = len(list(same)), 0
        for dark, run in groupby(row):
            length = len(list(run))
            if dark:
                yield left, top, length, height
            left += length
        top += height
