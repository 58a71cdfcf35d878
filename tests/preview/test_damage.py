"""Each damage does what its name says, by its unit, and the same again from the same seed."""

from __future__ import annotations

import random

import pytest
from PIL import Image, ImageChops, ImageStat

from pes_sim.preview.damage import DAMAGES, PAPER

DPI = 508.0  # twenty pixels to a millimetre
SEED = 1
Picture = Image.Image


def square(side: int = 400, ink: int = 200) -> Picture:
    """A black square in the middle of white paper."""
    page = Image.new("L", (side, side), 255)
    edge = (side - ink) // 2
    page.paste(0, (edge, edge, edge + ink, edge + ink))
    return page


def done(name: str, strength: float, page: Picture, seed: int = SEED) -> Picture:
    return DAMAGES[name].done(page, strength, DPI, random.Random(seed))


def ink(page: Picture) -> float:
    """Pixels' worth of ink."""
    return sum((255 - grey) * count for grey, count in enumerate(page.histogram())) / 255


def mean(page: Picture) -> float:
    return float(ImageStat.Stat(page).mean[0])


@pytest.mark.parametrize("name", DAMAGES)
def test_the_same_seed_does_the_same_and_the_page_itself_stays_as_it_was(name: str) -> None:
    page, strength = square(), DAMAGES[name].most / 10
    before = page.tobytes()
    first = done(name, strength, page)
    assert first.tobytes() == done(name, strength, page).tobytes()
    assert first.mode == "L"
    assert page.tobytes() == before
    assert first.tobytes() != before


@pytest.mark.parametrize("name", ["ink-spread", "stripe", "torn-corner", "noise"])
def test_where_chance_has_a_say_another_seed_does_it_otherwise(name: str) -> None:
    strength = DAMAGES[name].most / 10
    page = square(ink=398)
    assert len({done(name, strength, page, seed).tobytes() for seed in range(4)}) == 4


@pytest.mark.parametrize("name", DAMAGES)
def test_even_the_most_of_it_on_the_smallest_page_is_a_page(name: str) -> None:
    for size in ((1, 1), (1, 300), (300, 2)):
        assert min(done(name, DAMAGES[name].most, Image.new("L", size, 255)).size) >= 1


@pytest.mark.parametrize("millimetres", [0.05, 0.1, 0.125, 0.5])
def test_dot_gain_moves_every_edge_by_so_much(millimetres: float) -> None:
    side = 200 + 2 * millimetres * 20
    assert ink(done("dot-gain", millimetres, square())) == pytest.approx(side**2, rel=0.01)


def test_ink_spreads_outwards_unevenly_and_takes_no_ink_away() -> None:
    page = square()
    spread = done("ink-spread", 0.2, page)
    assert ImageChops.darker(page, spread).tobytes() == spread.tobytes()
    assert 200**2 < ink(spread) < (200 + 2 * 2 * 4) ** 2
    row = [spread.getpixel((x, 96)) for x in range(100, 300)]  # 0.2 mm above the upper edge
    assert len(set(row)) > 5


@pytest.mark.parametrize("strength", [0.05, 0.5, 1.0])
def test_ink_does_not_spread_where_there_is_none(strength: float) -> None:
    assert done("ink-spread", strength, Image.new("L", (300, 300), 255)).getextrema() == (255, 255)


@pytest.mark.parametrize("millimetres", [0.125, 0.5, 2])
def test_a_stripe_of_the_given_thickness_in_every_half_inch(millimetres: float) -> None:
    page = Image.new("L", (10, 254 * 4), 0)
    lost = page.width * page.height - ink(done("stripe", millimetres, page))
    assert lost == pytest.approx(4 * page.width * millimetres * 20, rel=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_one_corner_is_torn_off_about_as_far_as_said(seed: int) -> None:
    page = Image.new("L", (400, 400), 0)
    torn = done("torn-corner", 8, page, seed)
    corners = [torn.getpixel(place) for place in ((0, 0), (399, 0), (0, 399), (399, 399))]
    assert (corners.count(0), corners.count(PAPER)) == (3, 1)
    assert 160**2 / 2 * 0.6 < 400**2 - ink(torn) < 160**2 / 2 * 1.5


def test_all_four_corners_may_be_torn() -> None:
    page = Image.new("L", (100, 100), 0)
    places = ((0, 0), (99, 0), (0, 99), (99, 99))
    torn = [done("torn-corner", 1, page, seed) for seed in range(40)]
    assert {place for one in torn for place in places if one.getpixel(place) == PAPER} == set(places)


@pytest.mark.parametrize("percent", [10, 50, 90])
def test_so_much_of_the_contrast_is_gone(percent: int) -> None:
    pale = done("low-contrast", percent, square()).tobytes()
    least, most = min(pale), max(pale)
    assert (most - least) / 255 == pytest.approx(1 - percent / 100, abs=0.01)


def test_skew_turns_against_the_clock_and_keeps_all_of_the_page() -> None:
    page = Image.new("L", (300, 100), 255)
    page.paste(0, (0, 0, 300, 10))  # along the upper edge
    turned = done("skew", 90, page)
    assert turned.size == (100, 300)
    assert turned.getpixel((5, 150)) == 0
    assert done("skew", 30, page).size[1] > 230


def test_blur_keeps_the_ink_and_softens_its_edges() -> None:
    blurred = done("blur", 0.25, square())
    assert ink(blurred) == pytest.approx(200**2, rel=0.01)
    # One standard deviation (five pixels) inside and outside of the edge: 84 % and 16 % of the ink.
    assert [blurred.getpixel((x, 200)) for x in (105, 94)] == pytest.approx([255 * 0.16, 255 * 0.84], abs=12)


@pytest.mark.parametrize("percent", [1, 5, 20])
def test_noise_has_the_given_deviation_and_no_tendency(percent: int) -> None:
    noisy = done("noise", percent, Image.new("L", (400, 400), 128))
    assert ImageStat.Stat(noisy).stddev[0] == pytest.approx(percent * 2.55, rel=0.05)
    assert mean(noisy) == pytest.approx(128, abs=0.3)


def test_only_noise_belongs_to_the_scanners_pixels() -> None:
    assert [name for name, damage in DAMAGES.items() if damage.sampled] == ["noise"]
    assert list(DAMAGES)[-1] == "noise"  # what comes after the sampling comes last


def test_every_damage_says_what_it_is_and_its_unit() -> None:
    assert all(damage.meaning and damage.unit and damage.most > 0 for damage in DAMAGES.values())
