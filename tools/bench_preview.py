"""How fast pages are drawn: a thousand envelopes, beside the same pages drawn bare by reportlab.

The same pages drawn bare: every line of text, every rectangle of the barcode and every run of dark modules that our
pages have, in the same places, fonts and sizes, by reportlab's own public calls (`setFont`, `drawString`, one path of
`rect` for each filled path), compressed, with the same two fonts embedded. What is on a page was worked out before: the
bare side makes no symbol, no barcode, measures no text, checks no specimen and attaches no payloads.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pes_sim.indicium import symbol
from pes_sim.indicium.layout import builtin
from pes_sim.preview import fonts
from pes_sim.preview.face import face
from pes_sim.preview.imprint import Imprint, of_payload
from pes_sim.preview.marks import Mark, Modules, Rectangles, Text
from pes_sim.preview.pdf import PdfPages
from pes_sim.preview.stationery import kind_of
from tools.bench import Line, turns

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

PAGES = 1000
IN_A_ROUND = 100
BYTES = 4096
"""The most that a page of a thousand may have."""
_VECTORS = Path(__file__).parents[1] / "tests" / "vectors" / "indicia" / "indicia.json"


def pieces(count: int) -> Iterable[Imprint]:
    """So many pieces, every symbol another. Their signatures are not good, which no page shows."""
    groups = json.loads(_VECTORS.read_text())["testGroups"]
    payload = bytes.fromhex(next(g for g in groups if g["layout"]["name"] == "imi_std")["tests"][0]["payload"])
    first = of_payload(
        payload, builtin("imi_std"), destination="62701123456", text="Spring catalogue",
        reference="Department 100 Sales", recipient=("ACME CORPORATION", "123 MAIN ST", "SPRINGFIELD IL"),
    )  # fmt: skip
    for number in range(count):
        changed = payload[:50] + (number * 0x9E3779B97F4A7C15 % (1 << 512)).to_bytes(64, "little")
        yield replace(first, payload=changed, piece_count=number)


def ours(path: Path, count: int) -> None:
    """Pages as `pes-sim print` makes them."""
    with PdfPages(path, title="bench") as pdf:
        for piece in pieces(count):
            pdf.add(piece)


def bare(path: Path, drawn: Sequence[Sequence[Mark]]) -> None:
    """The same pages by reportlab."""
    from reportlab.pdfgen.canvas import Canvas

    fonts.load_fonts()
    kind = kind_of("envelope-10")
    canvas = Canvas(str(path), pagesize=(kind.width, kind.height), pageCompression=1,
                    initialFontName=fonts.REGULAR)  # type: ignore[arg-type]  # fmt: skip  # its stubs say float
    for marks in drawn:
        for mark in marks:
            _draw(canvas, mark)
        canvas.showPage()
    canvas.save()


def _draw(canvas: Canvas, mark: Mark) -> None:
    if isinstance(mark, Text):
        canvas.setFillColorRGB(*mark.colour)
        canvas.setFont(mark.font, mark.size)
        if not mark.turn:
            canvas.drawString(mark.x, mark.y, mark.text)
            return
        canvas.saveState()
        canvas.translate(mark.x, mark.y)
        canvas.rotate(mark.turn)
        canvas.drawString(0, 0, mark.text)
        canvas.restoreState()
        return
    canvas.setFillGray(0)
    path = canvas.beginPath()
    for x, y, w, h in _rectangles(mark):
        path.rect(x, y, w, h)
    canvas.drawPath(path, stroke=0, fill=1)


def _rectangles(mark: Mark) -> Iterable[tuple[float, float, float, float]]:
    if isinstance(mark, Rectangles):
        return mark.rectangles
    assert isinstance(mark, Modules)
    side, modules = mark.symbol.size, mark.symbol.modules
    return [
        (mark.left + x * mark.side, mark.top - (y + 1) * mark.side, length * mark.side, mark.side)
        for y in range(side)
        for x, length in _runs(modules[y * side : (y + 1) * side])
    ]


def _runs(row: bytes) -> Iterable[tuple[int, int]]:
    at = 0
    for dark, run in itertools.groupby(row):
        length = len(list(run))
        if dark:
            yield at, length
        at += length


def marks_of(count: int) -> list[list[Mark]]:
    """What is on the pages of so many pieces."""
    kind = kind_of("envelope-10")
    return [
        list(face(piece, symbol.encode(piece.payload, piece.layout.symbol), kind)) for piece in pieces(count)
    ]  # fmt: skip


def peak(folder: Path, count: int) -> int:
    """The most memory in bytes that Python holds while so many pages are written, in a process of its own."""
    program = (
        "import sys, tracemalloc; from pathlib import Path; from tools.bench_preview import ours;"
        "ours(Path(sys.argv[1]), 20); tracemalloc.start(); ours(Path(sys.argv[1]), int(sys.argv[2]));"
        "print(tracemalloc.get_traced_memory()[1])"
    )
    command = [sys.executable, "-c", program, str(folder / "peak.pdf"), str(count)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def lines(folder: Path) -> list[Line]:
    """The preview's part of the table."""
    drawn = marks_of(IN_A_ROUND)
    own, reference = (
        value / IN_A_ROUND
        for value in turns(
            [partial(ours, folder / "ours.pdf", IN_A_ROUND), partial(bare, folder / "bare.pdf", drawn)], 1
        )
    )
    ours(folder / "thousand.pdf", PAGES)
    size = (folder / "thousand.pdf").stat().st_size / PAGES
    little, much = peak(folder, PAGES // 10), peak(folder, PAGES)
    return [
        Line("envelope in a PDF, symbol, barcode, text", f"{1 / own:.0f} pages/s",
             f"the same by bare reportlab {1 / reference:.0f} pages/s", reference / own, "at least 0.5",
             reference / own >= 0.5),
        Line(f"a page of {PAGES:,} in the file", f"{size:.0f} bytes", "", None, f"at most {BYTES} bytes",
             size <= BYTES),
        Line(f"memory for {PAGES:,} pages", f"{much / 1e6:.2f} MB", f"for {PAGES // 10} {little / 1e6:.2f} MB",
             little / much, "flat: at least 0.9", little / much >= 0.9),
    ]  # fmt: skip
