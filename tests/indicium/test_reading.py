"""Symbols on a page: each found once, in its place; what is no indicium is left out; nothing is made up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps

from pes_sim.errors import SymbolError
from pes_sim.indicium import reading
from pes_sim.indicium.reading import PASSES, Mark, Point, find
from pes_sim.indicium.symbol import encode
from tests.indicium import datamatrix

CHANCE = random.Random(300)
PAYLOADS = [CHANCE.randbytes(114) for _ in range(50)]
Picture = Image.Image


def symbol(payload: bytes, scale: int = 6) -> Picture:
    return datamatrix.picture(encode(payload), scale, 2)


def sheet(count: int, columns: int, scale: int = 4) -> tuple[Picture, list[tuple[int, int]]]:
    """A page with so many symbols, and where the upper left corner of each is."""
    side = symbol(PAYLOADS[0], scale).width + 30
    page = Image.new("L", (side * columns + 60, side * -(-count // columns) + 60), 255)
    places = [(30 + number % columns * side, 30 + number // columns * side) for number in range(count)]
    for payload, place in zip(PAYLOADS, places, strict=False):
        page.paste(symbol(payload, scale), place)
    return page, [(x + 2 * scale, y + 2 * scale) for x, y in places]


# --- where they are --------------------------------------------------------------------------------------------------


def test_fifty_on_a_page_are_found_once_each_in_reading_order_and_in_their_places() -> None:
    page, places = sheet(50, 5)
    marks = find(page)
    assert [mark.payload for mark in marks] == PAYLOADS
    for mark, (x, y) in zip(marks, places, strict=True):
        assert mark.box == pytest.approx((x, y, x + 176, y + 176), abs=1.5)
        assert (mark.size, mark.how) == (44, "plain")
        assert mark.rotation in (0.0, pytest.approx(359.7, abs=0.3), pytest.approx(0.3, abs=0.3))


@pytest.mark.parametrize("degrees", range(0, 360, 15))
def test_in_any_rotation_and_it_is_said(degrees: int) -> None:
    page, _ = sheet(4, 2, 6)
    marks = find(page.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=255), 4)
    assert {mark.payload for mark in marks} == set(PAYLOADS[:4])
    assert len(marks) == 4
    for mark in marks:
        assert abs((mark.rotation - degrees + 180) % 360 - 180) < 1.0


def test_two_equal_ones_in_two_places_are_two() -> None:
    page = Image.new("L", (800, 400), 255)
    page.paste(symbol(PAYLOADS[0]), (20, 20))
    page.paste(symbol(PAYLOADS[0]), (420, 20))
    assert [mark.payload for mark in find(page)] == [PAYLOADS[0]] * 2


def test_the_box_goes_around_a_turned_symbol() -> None:
    mark = Mark(b"", 10, (Point(5, 0), Point(10, 5), Point(5, 10), Point(0, 5)), "plain")
    assert mark.box == (0.0, 0.0, 10.0, 10.0)
    assert mark.middle == Point(5, 5)
    assert mark.rotation == 315.0


# --- what is no indicium ---------------------------------------------------------------------------------------------


def drawn(barcode: zxingcpp.Barcode, scale: int = 5) -> Picture:
    image: Any = barcode.to_image(scale=scale)  # a buffer, which 3.11 cannot type
    pixels: Any = memoryview(image)
    height, width = pixels.shape
    return Image.frombytes("L", (width, height), pixels.tobytes())


OTHERS: dict[str, Callable[[], zxingcpp.Barcode]] = {
    "QR code": lambda: zxingcpp.create_barcode("not postage", zxingcpp.BarcodeFormat.QRCode),
    "PDF417": lambda: zxingcpp.create_barcode("not postage", zxingcpp.BarcodeFormat.PDF417),
    "Aztec": lambda: zxingcpp.create_barcode("not postage", zxingcpp.BarcodeFormat.Aztec),
    "Code 128": lambda: zxingcpp.create_barcode("420627019400", zxingcpp.BarcodeFormat.Code128),
    "rectangular Data Matrix": lambda: zxingcpp.create_barcode(b"\xe9" * 30, zxingcpp.BarcodeFormat.DataMatrix, eci=0),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_barcodes_are_left_out(kind: str) -> None:
    other = drawn(OTHERS[kind]())
    alone = ImageOps.expand(other, 40, 255)
    assert find(alone) == []
    page = Image.new("L", (alone.width + 400, max(alone.height, 400)), 255)
    page.paste(alone, (0, 0))
    page.paste(symbol(PAYLOADS[0]), (alone.width + 20, 20))
    assert [mark.payload for mark in find(page)] == [PAYLOADS[0]]


def test_a_rectangular_one_is_a_data_matrix_to_the_decoder() -> None:
    """So it is left out by us."""
    (found,) = zxingcpp.read_barcodes(ImageOps.expand(drawn(OTHERS["rectangular Data Matrix"]()), 40, 255))
    assert found.valid
    assert found.format == zxingcpp.BarcodeFormat.DataMatrix


@pytest.mark.parametrize("change", [ImageOps.mirror, ImageOps.flip, ImageOps.invert])
def test_a_mirrored_or_inverted_one_is_read_for_what_it_says(change: Callable[[Picture], Picture]) -> None:
    page = ImageOps.expand(change(symbol(PAYLOADS[0])), 60, 255)
    assert [mark.payload for mark in find(page)] == [PAYLOADS[0]]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (40_000, 9), (9, 9), (10, 10), (40_000, 12), (300, 200)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_page_without_one_has_none(size: tuple[int, int], grey: int) -> None:
    assert find(Image.new("L", size, grey)) == []


def test_a_page_that_is_too_long_for_the_decoder_is_refused() -> None:
    with pytest.raises(SymbolError, match="side of 65536 pixels is not read. At most 65535"):
        find(Image.new("L", (65_536, 12), 255))


def test_to_expect_nothing_is_a_mistake() -> None:
    with pytest.raises(SymbolError, match="nothing to read. Expect 1 or more"):
        find(symbol(PAYLOADS[0]), 0)


# --- what takes more than a plain read -------------------------------------------------------------------------------


def test_a_good_page_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(page: Picture) -> Picture:
        raise AssertionError("prepared")

    monkeypatch.setattr(reading, "PASSES", (PASSES[0], *(Reject(never) for _ in PASSES[1:])))
    assert len(find(sheet(4, 2)[0])) == 4


class Reject(reading.Pass):
    """A pass that must not be reached."""

    def __init__(self, prepare: Callable[[Picture], Picture]) -> None:
        super().__init__("reject", prepare, 1, False, "")


def striped(page: Picture) -> Picture:
    """Two lines without ink through it."""
    page = page.copy()
    for y in (page.height // 3, page.height // 2):
        page.paste(255, (0, y, page.width, y + 3))
    return page


NOISE = Image.frombytes("L", (2000, 2000), random.Random(7).randbytes(4_000_000))


def noisy(page: Picture) -> Picture:
    return Image.blend(page, NOISE.crop((0, 0, *page.size)), 0.6)


HARD: dict[str, Callable[[], Picture]] = {
    "noise": lambda: noisy(symbol(PAYLOADS[0], 5)),
    "stripes": lambda: striped(symbol(PAYLOADS[0])),
    "dot gain": lambda: symbol(PAYLOADS[0]).filter(ImageFilter.MinFilter(5)),
    "blur": lambda: symbol(PAYLOADS[0]).filter(ImageFilter.GaussianBlur(3)),
}


@pytest.mark.parametrize("case", HARD)
def test_a_bad_scan_is_read_in_another_way_and_stays_in_its_place(case: str) -> None:
    page = ImageOps.expand(HARD[case](), 30, 255)
    (mark,) = find(page)
    assert mark.payload == PAYLOADS[0]
    assert mark.how != "plain"
    module = (page.width - 60) / 48
    ends = (30 + 2 * module, 30 + 46 * module)
    assert mark.box == pytest.approx((ends[0], ends[0], ends[1], ends[1]), abs=1.5 * module)


def test_what_is_read_in_one_way_only_is_found_beside_what_is_read_in_another() -> None:
    page = Image.new("L", (1100, 400), 255)
    for number, part in enumerate((symbol(PAYLOADS[0]), HARD["stripes"](), HARD["dot gain"]())):
        page.paste(part, (20 + 360 * number, 40 + 9 * number))  # a little lower each: still one row
    assert len(find(page)) == 1
    marks = find(page, 3)
    assert [round(mark.middle.x) // 360 for mark in marks] == [0, 1, 2]
    assert len({mark.how for mark in marks}) == 3


def test_the_search_ends_where_nothing_is_left_to_try() -> None:
    assert len(find(sheet(2, 2)[0], 3)) == 2


def test_a_page_of_fine_resolution_is_halved_before_it_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ImageOps.expand(striped(symbol(PAYLOADS[0], 12)), 30, 255)
    sizes: list[tuple[int, float]] = []
    read = reading._read

    def looked_at(prepared: Picture, way: reading.Pass, scale: float) -> list[Mark]:
        sizes.append((prepared.width, scale))
        return read(prepared, way, scale)

    monkeypatch.setattr(reading, "LARGEST_PREPARED", page.width * page.height - 1)
    monkeypatch.setattr(reading, "_read", looked_at)
    (mark,) = find(page)
    assert mark.payload == PAYLOADS[0]
    assert sizes[0] == (page.width, 1.0)
    assert all(width <= page.width // 2 + 1 for width, _ in sizes[1:])
    assert mark.box == pytest.approx((54, 54, 582, 582), abs=15)


def test_every_pass_says_what_it_is_for() -> None:
    assert len({way.name for way in PASSES}) == len(PASSES)
    assert all(way.against for way in PASSES)
    page = symbol(PAYLOADS[0])
    assert PASSES[0].name == "plain"
    assert PASSES[0].prepare(page) is page


# --- what is not there -----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(20, 90), st.integers(20, 90), st.randoms(use_true_random=False))
def test_nothing_is_read_in_noise(width: int, height: int, chance: random.Random) -> None:
    modules = Image.frombytes("L", (width, height), chance.randbytes(width * height))
    page = modules.point(lambda grey: 255 * (grey > 127)).resize((width * 4, height * 4), Image.Resampling.NEAREST)
    assert find(page) == []


@settings(max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(0, 400))
def test_a_damaged_symbol_gives_its_payload_or_nothing(chance: random.Random, count: int) -> None:
    modules = bytearray(encode(PAYLOADS[0]).modules)
    for place in chance.sample(range(44 * 44), count):
        modules[place] ^= 1
    page = datamatrix.picture(type(encode(b"x"))(44, bytes(modules)), 4, 2)
    assert {mark.payload for mark in find(page)} <= {PAYLOADS[0]}


def test_the_same_page_gives_the_same_marks() -> None:
    page = noisy(sheet(4, 2, 5)[0])
    assert find(page, 9) == find(page, 9)


def test_no_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> float:
        raise AssertionError("asked for the time")

    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, never)
    assert find(Image.new("L", (60, 60), 255)) == []
