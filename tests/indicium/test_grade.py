"""The estimate of a print's grade: a perfect symbol is an A, and each damage lowers what it should."""

from __future__ import annotations

import random
from typing import Any

import pytest
import zxingcpp
from PIL import Image, ImageFilter, ImageOps

from pes_sim.indicium import reading
from pes_sim.indicium.grade import LETTERS, PARAMETERS, Grade, grade
from pes_sim.indicium.sizes import CAPACITY
from pes_sim.indicium.symbol import Symbol, encode
from tests.indicium import datamatrix

NOISE = random.Random(15416).randbytes(2000)
CLEAN = encode(NOISE[:114])
Picture = Image.Image


def graded(page: Picture, as_of: Picture | None = None) -> Grade:
    """That of the one symbol on a page. `as_of`: where it is found instead, when damage would hide it."""
    (mark,) = reading.find(as_of or page)
    return grade(page, mark)


def drawn(modules: bytes = CLEAN.modules, scale: int = 8) -> Picture:
    return datamatrix.picture(Symbol(44, modules), scale, 3)


def flipped(places: list[int]) -> bytes:
    modules = bytearray(CLEAN.modules)
    for place in places:
        modules[place] ^= 1
    return bytes(modules)


@pytest.mark.parametrize("size", ["10x10", "20x20", "32x32", "40x40", "44x44", "52x52"])
def test_a_perfect_symbol_is_an_a_in_everything(size: str) -> None:
    symbol = encode(NOISE[: CAPACITY[size]], size)
    found = graded(datamatrix.picture(symbol, 8, 3))
    assert set(found.grades.values()) == {4}
    assert (found.overall, found.letter) == (4, "A")
    assert found.values["symbol_contrast"] == found.values["unused_error_correction"] == 1.0
    assert found.values["fixed_pattern_damage"] == 0.0


@pytest.mark.parametrize("degrees", [0, 3, 45, 90, 137, 180, 270, 345])
def test_rotation_costs_nothing(degrees: int) -> None:
    assert graded(drawn().rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=255)).letter == "A"


@pytest.mark.parametrize("scale", [4, 6, 12])
def test_nor_does_the_resolution_of_a_good_scan(scale: int) -> None:
    assert graded(drawn(scale=scale)).letter == "A"


def test_there_is_a_value_and_a_grade_for_every_parameter() -> None:
    found = graded(drawn())
    assert list(found.values) == list(found.grades) == list(PARAMETERS)


def test_the_overall_grade_is_the_lowest() -> None:
    found = Grade({}, {"symbol_contrast": 4, "modulation": 2, "unused_error_correction": 3})
    assert (found.overall, found.letter) == (2, "C")
    assert LETTERS == "FDCBA"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("symbol_contrast", 0.70, 4), ("symbol_contrast", 0.69, 3), ("symbol_contrast", 0.55, 3),
        ("symbol_contrast", 0.40, 2), ("symbol_contrast", 0.20, 1), ("symbol_contrast", 0.19, 0),
        ("modulation", 0.50, 4), ("modulation", 0.49, 3), ("modulation", 0.19, 0),
        ("axial_non_uniformity", 0.06, 4), ("axial_non_uniformity", 0.11, 1), ("axial_non_uniformity", 0.13, 0),
        ("grid_non_uniformity", 0.38, 4), ("grid_non_uniformity", 0.76, 0),
        ("unused_error_correction", 0.62, 4), ("unused_error_correction", 0.24, 0),
        ("fixed_pattern_damage", 0.0, 4), ("fixed_pattern_damage", 0.01, 3), ("fixed_pattern_damage", 0.18, 0),
    ],
)  # fmt: skip
def test_the_limits_are_those_of_the_standard(name: str, value: float, expected: int) -> None:
    assert PARAMETERS[name].grade(value) == expected


# --- each damage, weaker to stronger ---------------------------------------------------------------------------------


def falls(name: str, pages: list[Picture], as_of: Picture | None = None) -> list[Grade]:
    """The grades of pages that get worse: the parameter's value gets worse with each, and its grade never better."""
    found = [graded(page, as_of) for page in pages]
    values = [one.values[name] for one in found]
    assert values == sorted(values, reverse=PARAMETERS[name].more_is_better)
    assert len(set(values)) == len(values), values
    grades = [one.grades[name] for one in found]
    assert grades == sorted(grades, reverse=True)
    assert grades[-1] < grades[0]
    return found


def test_pale_ink_lowers_the_contrast_and_nothing_else() -> None:
    pages = [drawn().point(lambda grey, ink=ink: ink + grey * (255 - ink) // 255) for ink in (0, 90, 130, 170, 220)]
    found = falls("symbol_contrast", pages)
    assert [one.letter for one in found] == ["A", "B", "C", "D", "F"]
    assert all(one.grades["modulation"] == 4 for one in found)


def test_blur_lowers_the_modulation() -> None:
    pages = [drawn().filter(ImageFilter.GaussianBlur(width)) for width in (0, 1, 2, 2.5, 3)]
    assert all(one.grades["symbol_contrast"] == 4 for one in falls("modulation", pages, drawn()))


def test_dot_gain_lowers_the_modulation() -> None:
    fine = drawn(scale=20)
    falls("modulation", [fine, *(fine.filter(ImageFilter.MinFilter(width)) for width in (7, 9, 11))], fine)


@pytest.mark.parametrize("across", [True, False])
def test_stretching_lowers_the_axial_uniformity(across: bool) -> None:
    page = drawn()
    pages = [
        page.resize((round(page.width * by), page.height) if across else (page.width, round(page.height * by)))
        for by in (1.0, 1.07, 1.09, 1.11, 1.2)
    ]
    assert [one.letter for one in falls("axial_non_uniformity", pages)] == ["A", "B", "C", "D", "F"]


def test_paper_that_slipped_lowers_the_uniformity_of_the_grid() -> None:
    page = drawn(scale=12)

    def slipped(by: int) -> Picture:
        """The left half is so much too wide, and the right half too narrow."""
        whole, middle = page.copy(), page.width // 2
        for left, right, start, end in ((0, middle, 0, middle + by), (middle, page.width, middle + by, page.width)):
            whole.paste(page.crop((left, 0, right, page.height)).resize((end - start, page.height)), (start, 0))
        return whole

    falls("grid_non_uniformity", [slipped(by) for by in (0, 4, 9, 16)], page)


def test_wrong_codewords_use_up_the_error_correction() -> None:
    from pes_sim.indicium import codewords

    words = random.Random(3).sample(codewords.placement(44), 20)
    pages = [drawn(flipped([places[0] for places in words[:count]])) for count in (0, 4, 12, 20)]
    found = falls("unused_error_correction", pages)
    assert [one.values["unused_error_correction"] for one in found] == [1.0, 0.857, 0.571, 0.286]
    assert [one.grades["modulation"] for one in found] == [4, 4, 3, 1]  # what is wrong has no modulation
    for page, one in zip(pages, found, strict=True):
        (decoded,) = zxingcpp.read_barcodes(page)
        extra: Any = decoded.extra  # a dictionary, which its types do not say
        assert extra["UEC"] == pytest.approx(one.values["unused_error_correction"], abs=0.01)  # the decoder's own


def test_beyond_repair_there_is_nothing_unused() -> None:
    from pes_sim.indicium import codewords

    places = [places[bit] for places in codewords.placement(44)[:60] for bit in range(0, 8, 3)]
    found = graded(drawn(flipped(places)), drawn())
    assert (found.values["unused_error_correction"], found.values["modulation"]) == (0.0, 0.0)
    assert found.grades["modulation"] == found.overall == 0


LEFT = [row * 44 for row in range(44)]
BOTTOM = [43 * 44 + column for column in range(44)]
TOP = list(range(44))
RIGHT = [row * 44 + 43 for row in range(44)]
INNER = [row * 44 + 22 for row in range(1, 43)]


@pytest.mark.parametrize("segment", [LEFT, BOTTOM, TOP, RIGHT, INNER], ids=["left", "bottom", "top", "right", "inner"])
def test_a_damaged_pattern_is_told_wherever_it_is(segment: list[int]) -> None:
    pages = [drawn(flipped(segment[5 : 5 + count])) for count in (0, 3, 5, 12)]
    found = falls("fixed_pattern_damage", pages, drawn())
    assert all(one.values["unused_error_correction"] == 1.0 for one in found)


def test_ink_in_the_quiet_zone_is_damage_too() -> None:
    page = drawn()
    smeared = page.copy()
    smeared.paste(0, (page.width - 24, 24, page.width - 8, page.height - 24))
    assert graded(smeared, page).grades["fixed_pattern_damage"] == 0


def test_without_timing_patterns_there_is_no_grid() -> None:
    page = drawn()
    bare = [place for place in range(44 * 44) if CLEAN.modules[place]]
    gone = [row * 44 + column for row, column in ((r, c) for r in (0, 22) for c in range(44))]
    gone += [row * 44 + column for row, column in ((r, c) for c in (21, 43) for r in range(44))]
    found = graded(drawn(flipped([place for place in gone if place in set(bare)])), page)
    assert (found.values["grid_non_uniformity"], found.grades["grid_non_uniformity"]) == (1.0, 0)


def test_a_page_of_one_grey_has_no_modulation() -> None:
    found = graded(Image.new("L", drawn().size, 128), drawn())
    assert found.overall == 0
    assert found.values["symbol_contrast"] == 0.0


def test_light_on_dark_is_read_and_fails() -> None:
    assert graded(ImageOps.invert(drawn())).letter == "F"


@pytest.mark.parametrize("cut", [(0, 0), (24, 24)])
def test_a_symbol_at_the_very_edge_of_the_page_is_graded_all_the_same(cut: tuple[int, int]) -> None:
    page = drawn()
    edge = page.crop((*cut, page.width, page.height))
    (mark,) = reading.find(page)
    moved = reading.Mark(
        mark.payload,
        mark.size,
        tuple(reading.Point(corner.x - cut[0], corner.y - cut[1]) for corner in mark.corners),  # type: ignore[arg-type]
        mark.how,
    )
    assert grade(edge, moved).values["unused_error_correction"] == 1.0


def test_grading_is_deterministic() -> None:
    page = drawn().filter(ImageFilter.GaussianBlur(2))
    assert graded(page) == graded(page)
