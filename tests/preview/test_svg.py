"""A page as SVG: the same places and the same text as in the PDF."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from pes_sim.indicium import symbol
from pes_sim.preview.drawing import NOTICE
from pes_sim.preview.face import Advert
from pes_sim.preview.image import pages
from pes_sim.preview.marks import Group, Line, Modules, Page, Rectangles, Text
from pes_sim.preview.pdf import open_pages
from pes_sim.preview.stationery import KINDS, Arrangement, PageKind, kind_of
from pes_sim.preview.svg import svg
from tests import programs
from tests.preview.made import CROWDED, PIECE, text_of, write
from tests.preview.test_sheets import STATEMENT

NAMESPACE = "{http://www.w3.org/2000/svg}"
EVERY = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def drawn(path: Path, kind: PageKind) -> Path:
    piece = STATEMENT if kind.arrangement is Arrangement.STATEMENT else PIECE
    with open_pages(path, title="", kind=kind) as out:
        for _ in range(kind.several):
            out.add(piece)
    return path


@EVERY
def test_the_symbol_reads_from_what_mupdf_makes_of_the_svg(tmp_path: Path, kind: PageKind) -> None:
    path = drawn(tmp_path / "a.svg", kind)
    dpi = 600 if kind.arrangement is Arrangement.PROOF else 200
    programs.run("mutool", "draw", "-q", "-r", dpi, "-c", "gray", "-o", tmp_path / "a.png", path)
    payload = STATEMENT.payload if kind.arrangement is Arrangement.STATEMENT else PIECE.payload
    (page,) = pages(tmp_path / "a.png")
    assert symbol.read(page, limit=kind.several) == [payload] * kind.several


@EVERY
def test_it_has_the_size_and_the_text_of_the_pdf(tmp_path: Path, kind: PageKind) -> None:
    root = ET.parse(drawn(tmp_path / "a.svg", kind)).getroot()
    drawn(tmp_path / "a.pdf", kind)
    several = kind.several if kind.each else 1
    assert root.get("viewBox") == f"0 0 {kind.width * several:.6g} {kind.height:.6g}"
    assert root.findtext(f"{NAMESPACE}title") == NOTICE
    lines = [element.text or "" for element in root.iter(f"{NAMESPACE}text")]
    shown = "".join(text_of(tmp_path / "a.pdf").split())
    assert sorted("".join("".join(lines).split())) == sorted(shown)
    assert lines.count("SPECIMEN \N{EM DASH} NOT VALID POSTAGE") == kind.several


def test_text_that_looks_like_a_tag_is_text(tmp_path: Path) -> None:
    page = Page(100, 50, [Text(1, 2, "PesSim", 8, '<b>&amp; "x"\'')])
    root = ET.fromstring(svg(page))
    assert [element.text for element in root.iter(f"{NAMESPACE}text")] == ['<b>&amp; "x"\'']


def test_odd_text_is_well_formed(tmp_path: Path) -> None:
    with open_pages(tmp_path / "a.svg", title="") as out:
        out.add(CROWDED)
    ET.parse(tmp_path / "a.svg")


def test_every_mark_has_its_element() -> None:
    small = symbol.encode(b"x", "10x10")
    page = Page(100, 50, [
        Text(1, 2, "PesSim-Bold", 8, "bold", (1, 0, 0), 90), Text(1, 2, "PesSim", 8, ""),
        Rectangles([(1, 2, 3, 4)], (0, 0, 1)), Line(0, 0, 9, 9), Line(0, 0, 9, 9, dash=2),
        Group(5, 5, 0.5, [Modules(1, 20, 1, small)]),
    ])  # fmt: skip
    text = svg(page)
    ET.fromstring(text)
    assert text.count("<text") == 1
    assert 'font-weight="bold"' in text
    assert "rotate(-90)" in text
    assert 'fill="#0000ff"' in text
    assert text.count("stroke-dasharray") == 1
    dark = sum(int(width) for width in re.findall(r"M\d+ \d+h(\d+)v1h-\d+z", text))
    assert dark == sum(small.modules)


def test_a_logo_is_in_it(tmp_path: Path) -> None:
    logo = Image.new("RGB", (30, 20), (1, 2, 3))
    with open_pages(tmp_path / "a.svg", title="", advert=Advert(logo=logo)) as out:
        out.add(PIECE)
    (data,) = re.findall(r'href="data:image/png;base64,([^"]+)"', (tmp_path / "a.svg").read_text())
    assert Image.open(io.BytesIO(base64.b64decode(data))).getpixel((0, 0)) == (1, 2, 3)


def test_the_same_piece_gives_the_same_bytes(tmp_path: Path) -> None:
    first = drawn(tmp_path / "a.svg", kind_of("label")).read_bytes()
    assert drawn(tmp_path / "b.svg", kind_of("label")).read_bytes() == first
    assert write(tmp_path / "a.pdf", PIECE).exists()
