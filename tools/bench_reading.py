"""How fast images are read: what finding, places and the choice of passes cost beside the decoder alone."""

from __future__ import annotations

import random

import zxingcpp
from PIL import Image

from pes_sim.indicium import reading
from pes_sim.preview import scanner
from tools.bench import Line, turns, us
from tools.read_rates import PAYLOAD, printed

DPI = 300
READS = 20


def pages() -> dict[str, Image.Image]:
    """What is read: one clean symbol, one scanned, and a page of twelve."""
    chance = random.Random(1)
    clean = printed(chance.randbytes(PAYLOAD), DPI)
    fine = printed(chance.randbytes(PAYLOAD), DPI * scanner.FINER)
    whole = Image.new("L", (2550, 3300), 255)
    for number in range(12):
        whole.paste(printed(chance.randbytes(PAYLOAD), DPI), (150 + number % 3 * 800, 150 + number // 3 * 800))
    return {
        "one clean symbol": clean,
        "one realistic scan": scanner.scan(fine, DPI * scanner.FINER, DPI, scanner.drawn(1), 1),
        "a letter page of twelve": whole,
    }


def line(what: str, page: Image.Image) -> Line:
    formats = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.DataMatrix)

    def decoder() -> None:
        zxingcpp.read_barcodes(page, formats=formats, binarizer=zxingcpp.Binarizer.LocalAverage)

    bare, own = turns([decoder, lambda: reading.find(page)], READS)
    return Line(f"reading {what} at {DPI} dpi", us(own), f"the decoder alone {us(bare)}", bare / own,
                "at least 0.8", bare / own >= 0.8)  # fmt: skip


def lines() -> list[Line]:
    """The part of the table for reading."""
    return [line(what, page) for what, page in pages().items()]
