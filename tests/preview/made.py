"""Pieces and pages for the tests of the preview, and what can be seen of them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pypdfium2
from PIL import Image

from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import Layout, builtin
from pes_sim.preview.imprint import Imprint, of_payload
from pes_sim.preview.marks import Box
from pes_sim.preview.pdf import PdfPages
from pes_sim.preview.stationery import USUAL, PageKind

VECTORS = Path(__file__).parents[1] / "vectors"
GROUPS = json.loads((VECTORS / "indicia" / "indicia.json").read_text())["testGroups"]
PAYLOADS = {group["layout"]["name"]: bytes.fromhex(group["tests"][0]["payload"]) for group in reversed(GROUPS)}
REAL = [bytes.fromhex(sample["hex"]) for sample in json.loads((VECTORS / "ibi_samples.json").read_text())]
PIECE = replace(
    of_payload(
        PAYLOADS["imi_std"], builtin("imi_std"), destination="62701123456", text="Attn: Zoë Müller, Accounts Payable",
        reference="Department 100 Sales", meter_serial="99PS0000001", piece_count=123, origin_zip="06926",
        mail_class="FIRST-CLASS MAIL",
    ),
)  # fmt: skip
FULL = "\N{FULL BLOCK} WIDE Ẁ WWWWWWWW " * 60
CROWDED = replace(
    PIECE,
    postage_mills=99_999_999_999,
    mail_class=FULL,
    meter_serial=f"99{FULL}",
    piece_count=10**60,
    text=FULL,
    reference=FULL,
    weight_text=FULL,
    recipient=(FULL, FULL, FULL, FULL),
    sender=(FULL, FULL, FULL),
)
SIZES = (32, 40, 44, 52, 64)
DPI = 300


@cache
def layout_of(side: int) -> Layout:
    """IMI-STD, or where that does not fit IMI-MIN, with a symbol of so many modules."""
    name = "imi_std" if side >= 44 else "imi_min"
    return changed(name, symbol=f"{side}x{side}")


def changed(layout: str, **top: Any) -> Layout:
    """A built-in layout with other entries at its top."""
    document = tomllib.loads((Path(layouts.__file__).parent / "layouts" / f"{layout}.toml").read_text("utf-8"))
    return Layout(document | top, layout)


def sized(side: int, piece: Imprint = PIECE) -> Imprint:
    """The piece with a symbol of so many modules."""
    layout = layout_of(side)
    return replace(piece, payload=PAYLOADS[layout.name], layout=layout)


def write(path: Path, *pieces: Imprint, kind: PageKind = USUAL, **more: Any) -> Path:
    """A PDF of these pieces."""
    with PdfPages(path, title="Test", kind=kind, **more) as pdf:
        for piece in pieces:
            pdf.add(piece)
    return path


def text_of(path: Path, box: Box | None = None, page: int = 0) -> str:
    """The text on a page, or what of it lies in a box, as a viewer would copy it."""
    with pypdfium2.PdfDocument(path) as document:
        found = document[page].get_textpage()
        text = (
            found.get_text_range() if box is None else found.get_text_bounded(box.left, box.bottom, box.right, box.top)
        )
        return " ".join(str(text).split())


def page_count(path: Path) -> int:
    """How many pages a PDF has."""
    with pypdfium2.PdfDocument(path) as document:
        return len(document)


def pixel(page: Image.Image, x: float, y: float, kind: PageKind = USUAL) -> tuple[float, float]:
    """Where a point of the page is in its image, which has whole pixels and so may be half a pixel too high."""
    return x * page.width / kind.width, page.height - y * page.height / kind.height


def crop(page: Image.Image, box: Box, kind: PageKind = USUAL) -> Image.Image:
    """The pixels in a box of the page, without those at its edges, which may be half this, half that."""
    left, top = pixel(page, box.left, box.top, kind)
    right, bottom = pixel(page, box.right, box.bottom, kind)
    return page.crop(
        (
            max(round(left) + 1, 0), max(round(top) + 1, 0),
            min(round(right) - 1, page.width), min(round(bottom) - 1, page.height),
        )
    )  # fmt: skip


def darkest(image: Image.Image) -> int:
    """The darkest pixel, 0 to 255."""
    assert image.width * image.height > 100
    return min(image.convert("L").tobytes())


def attached(path: Path) -> list[dict[str, Any]]:
    """The lines of a PDF's attachment."""
    with pypdfium2.PdfDocument(path) as document:
        (attachment,) = [document.get_attachment(index) for index in range(document.count_attachments())]
        assert attachment.get_name() == "pieces.jsonl"
        return [json.loads(line) for line in bytes(attachment.get_data()).decode().splitlines()]


def payloads_of(lines: Iterable[dict[str, Any]]) -> list[bytes]:
    """The payloads in such lines."""
    return [bytes.fromhex(line["payload_hex"]) for line in lines]
