"""The PDF itself: what other programs find in it, and that it is written page by page."""

from __future__ import annotations

import io
import os
import re
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from pes_sim.indicium import symbol
from pes_sim.indicium.layout import builtin
from pes_sim.preview import document
from pes_sim.preview.document import Document
from pes_sim.preview.face import Advert
from pes_sim.preview.fonts import BOLD, REGULAR
from pes_sim.preview.image import pages
from pes_sim.preview.imprint import of_payload
from pes_sim.preview.marks import Page, Text
from pes_sim.preview.stationery import KINDS, Arrangement, PageKind
from pes_sim.psd.piece import PieceKind
from tests import programs
from tests.preview.made import CROWDED, PAYLOADS, PIECE, attached, payloads_of, sized, text_of, write

EVERY = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def pieces_for(kind: PageKind) -> list[object]:
    if kind.arrangement is Arrangement.STATEMENT:
        return [of_payload(PAYLOADS["withdrawal"], builtin("withdrawal"))]
    times = 2 if kind.several > 1 else 1  # enough for a second sheet
    return [replace(PIECE, kind=is_a, piece_count=n) for n, is_a in enumerate([*PieceKind] * times)]


def dpi_for(kind: PageKind) -> int:
    """The modules on a proof have 0.19 mm."""
    return 600 if kind.arrangement is Arrangement.PROOF else 200


def written(path: Path, kind: PageKind) -> list[bytes]:
    """A PDF of this kind; gives the payloads in it."""
    pieces = pieces_for(kind)
    write(path, *pieces, kind=kind)  # type: ignore[arg-type]
    return [piece.payload for piece in pieces]  # type: ignore[attr-defined]


# --- what other programs find ----------------------------------------------------------------------------------------


@EVERY
def test_every_symbol_reads_back_from_the_rasterised_page(tmp_path: Path, kind: PageKind) -> None:
    payloads = written(tmp_path / "a.pdf", kind)
    found = [
        payload
        for page in pages(tmp_path / "a.pdf", dpi_for(kind))
        for payload in symbol.read(page, limit=kind.several)
    ]
    assert found == payloads


@EVERY
def test_poppler_opens_it_reads_its_text_and_finds_every_font_embedded(tmp_path: Path, kind: PageKind) -> None:
    written(tmp_path / "a.pdf", kind)
    assert "Syntax" not in (about := programs.run("pdfinfo", tmp_path / "a.pdf"))
    assert re.search(r"^Keywords: +SPECIMEN, NOT VALID POSTAGE$", about, re.MULTILINE)
    assert re.search(r"^Producer: +pes_sim$", about, re.MULTILINE)
    text = " ".join(programs.run("pdftotext", "-raw", tmp_path / "a.pdf", "-").split())
    assert "SPECIMEN — NOT VALID POSTAGE" in text
    assert ("$97.78" if kind.name == "withdrawal" else "$0.74") in text
    fonts = [line.split() for line in programs.run("pdffonts", tmp_path / "a.pdf").splitlines()[2:]]
    assert [font[0][7:] for font in fonts] == ["BitstreamVeraSans-Roman", "BitstreamVeraSans-Bold"]
    assert {tuple(font[4:7]) for font in fonts} == {("yes", "yes", "yes")}  # embedded, a subset, with Unicode


@EVERY
def test_poppler_and_mupdf_draw_the_symbols(tmp_path: Path, kind: PageKind) -> None:
    payloads = written(tmp_path / "a.pdf", kind)
    said = programs.run("pdftoppm", "-r", dpi_for(kind), "-gray", "-png", tmp_path / "a.pdf", tmp_path / "poppler")
    said += programs.run(
        "mutool", "draw", "-q", "-r", dpi_for(kind), "-c", "gray", "-o", tmp_path / "mupdf-%02d.png", tmp_path / "a.pdf"
    )
    assert said in ("", "warning: ICC support is not available\n")  # Debian's mupdf
    for name in ("poppler", "mupdf"):
        drawn = [next(pages(file)) for file in sorted(tmp_path.glob(f"{name}-*.png"))]
        assert [payload for page in drawn for payload in symbol.read(page, limit=kind.several)] == payloads


@EVERY
def test_mupdf_finds_nothing_to_repair(tmp_path: Path, kind: PageKind) -> None:
    written(tmp_path / "a.pdf", kind)
    for command in ("info", "pages"):
        assert not re.search("error|warning|repair", programs.run("mutool", command, tmp_path / "a.pdf"))


@EVERY
def test_the_attachment_has_the_payloads(tmp_path: Path, kind: PageKind) -> None:
    payloads = written(tmp_path / "a.pdf", kind)
    lines = attached(tmp_path / "a.pdf")
    assert payloads_of(lines) == payloads
    programs.run("pdfdetach", "-save", 1, "-o", tmp_path / "pieces.jsonl", tmp_path / "a.pdf")
    assert (tmp_path / "pieces.jsonl").read_text().count("\n") == len(lines)
    if kind.arrangement is Arrangement.SINGLE:
        assert [line["page"] for line in lines] == [*range(1, len(lines) + 1)]
        assert [line["kind"] for line in lines] == [is_a.label for is_a in PieceKind]
        assert lines[0]["layout"] == "imi_std"
        assert lines[0]["fields"]["postage_mills"] == 740


def test_a_piece_on_a_sheet_of_several_says_on_which(tmp_path: Path) -> None:
    (kind,) = [kind for kind in KINDS if kind.arrangement is Arrangement.ROLL]
    written(tmp_path / "a.pdf", kind)
    assert [line["page"] for line in attached(tmp_path / "a.pdf")] == [1, 1, 1, 1, 1, 2, 2, 2]


def test_only_characters_that_were_used_are_embedded(tmp_path: Path) -> None:
    little, much = write(tmp_path / "a.pdf", PIECE), write(tmp_path / "b.pdf", CROWDED, PIECE)
    assert 15_000 < little.stat().st_size < 35_000 < 65_932  # Vera.ttf alone, and there are two
    assert much.read_bytes().count(b"/FontFile2") == 2


def test_a_font_that_no_page_uses_is_not_embedded() -> None:
    out = io.BytesIO()
    made = Document(out, {}, "x")
    made.add(Page(100, 100, [Text(10, 10, REGULAR, 10, "only this one"), Text(10, 30, BOLD, 10, "")]))
    made.finish()
    made.close()
    assert out.getvalue().count(b"/FontFile2") == 1
    with pypdfium2.PdfDocument(out.getvalue()) as opened:
        assert opened[0].get_textpage().get_text_range().strip() == "only this one"


@pytest.mark.parametrize(
    "title", ["plain", "Zoë’s (mail) \\ >> endobj", "日本 \N{SLIGHTLY SMILING FACE}", "half \ud800"]
)
def test_any_title_is_a_title_and_nothing_else(title: str) -> None:
    out = io.BytesIO()
    made = Document(out, {"Title": title}, "x")
    made.add(Page(100, 100, []))
    made.finish()
    with pypdfium2.PdfDocument(out.getvalue()) as opened:
        assert opened.get_metadata_dict()["Title"] == title.replace("\ud800", "?")


def test_a_logo_is_in_the_file_once(tmp_path: Path) -> None:
    logo = Image.new("RGB", (40, 30), (10, 20, 30))
    path = write(tmp_path / "a.pdf", PIECE, PIECE, PIECE, advert=Advert(logo=logo))
    assert path.read_bytes().count(b"/Subtype/Image") == 1
    assert [symbol.read(page) for page in pages(path)] == [[PIECE.payload]] * 3


def test_every_object_is_where_the_table_says(tmp_path: Path) -> None:
    data = write(tmp_path / "a.pdf", PIECE, sized(32), CROWDED).read_bytes()
    start = int(data[data.rindex(b"startxref") :].split()[1])
    table = data[start:].split(b"trailer")[0].split(b"\n")[3:-1]
    assert data[start : start + 4] == b"xref"
    for number, line in enumerate(table, start=1):
        assert data[int(line[:10]) :].startswith(b"%d 0 obj\n" % number)
        assert len(line) == 19


# --- page by page ----------------------------------------------------------------------------------------------------


def test_a_page_is_in_the_file_before_the_next_one_begins() -> None:
    out = io.BytesIO()
    made = Document(out, {}, "x")
    sizes = []
    for number in range(4):
        made.add(Page(100, 100, [Text(10, 10, REGULAR, 10, f"page {number}")]))
        sizes.append(len(out.getvalue()))
    streams = re.findall(rb"stream\n(.*?)\nendstream", out.getvalue(), re.DOTALL)
    assert len(streams) == 4
    assert all(b"Tj" in zlib.decompress(stream) for stream in streams)
    assert sizes == sorted(set(sizes))


def test_memory_does_not_grow_with_the_pages_and_a_page_takes_little(tmp_path: Path) -> None:
    """A thousand pages beside a hundred; what grows is 24 bytes a page, and caches that fill up."""
    signatures = [os.urandom(64) for _ in range(10)]
    pieces = [replace(PIECE, payload=PIECE.payload[:50] + signature) for signature in signatures]
    write(tmp_path / "warm.pdf", *pieces)
    most = []
    for count in (100, 1000):
        tracemalloc.start()
        write(tmp_path / "a.pdf", *(pieces * (count // 10)))
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] - most[0] < 150_000
    assert (tmp_path / "a.pdf").stat().st_size <= 4096 * 1000


def test_the_attachment_waits_in_a_file_not_in_memory(tmp_path: Path) -> None:
    made = Document(io.BytesIO(), {}, "x", tmp_path)
    assert made._waiting.fileno() > 2
    made.close()
    assert made._waiting.closed
    assert os.listdir(tmp_path) == []


def test_many_kinds_of_characters_are_told_apart(tmp_path: Path) -> None:
    """More than a hundred of them: the table of characters has blocks of a hundred."""
    letters = "".join(chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x180)) if code != 0xAD)
    path = write(
        tmp_path / "a.pdf", replace(PIECE, text=letters[:45], reference=letters[45:75], mail_class=letters[75:105])
    )
    assert letters[:45] in text_of(path)
    assert document._to_unicode(range(0x100, 0x200)).count(b"beginbfchar") == 3
