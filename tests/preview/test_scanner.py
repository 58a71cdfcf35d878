"""Pages as a scanner would have seen them: in order, by the seed, and never without their notice."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from PIL import Image

from pes_sim.errors import UsageError
from pes_sim.indicium import reading
from pes_sim.indicium.symbol import encode
from pes_sim.preview import damage, image, scanner
from tests.indicium import datamatrix

PAYLOAD = bytes(range(100))
SYMBOL = datamatrix.picture(encode(PAYLOAD), 6, 4)  # at 300 dpi


def saved(path: Path, dpi: float = 300) -> Path:
    SYMBOL.save(path, dpi=(dpi, dpi))
    return path


@pytest.mark.parametrize("dpi", [150, 200, 300, 400, 600])
def test_a_scan_has_its_resolution_whatever_the_pages(dpi: int) -> None:
    inches = SYMBOL.width / 300
    seen = scanner.scan(SYMBOL, 300, dpi, {}, 1)
    assert seen.width == pytest.approx(inches * dpi, abs=1)
    assert reading.find(seen)[0].payload == PAYLOAD


@pytest.mark.parametrize(("across", "down"), [(300, 600), (204, 98)])
def test_a_page_with_other_dots_down_than_across_is_scanned_as_it_is_on_paper(
    tmp_path: Path, across: int, down: int
) -> None:
    size = SYMBOL.width * across // 300, SYMBOL.height * down // 300
    SYMBOL.resize(size, Image.Resampling.BOX).save(tmp_path / "fax.tiff", dpi=(across, down))
    ((seen, _),) = scanner.scans(tmp_path / "fax.tiff", 300, {}, 1)
    ((usual, _),) = scanner.scans(saved(tmp_path / "a.png"), 300, {}, 1)
    assert (seen.width, seen.height) == pytest.approx((usual.width, usual.height), abs=3)
    assert [mark.payload for mark in reading.find(seen)] == [PAYLOAD]


def test_a_page_at_the_scans_own_resolution_and_undamaged_is_as_it_was() -> None:
    whole = Image.new("L", (40, 40), 7)
    assert scanner.scan(whole, 300, 300, {}, 1).tobytes() == whole.tobytes()


def test_damages_happen_in_the_worlds_order_whoever_asks() -> None:
    asked = {"noise": 5.0, "blur": 0.1, "dot-gain": 0.05, "stripe": 0.1}
    scans = {
        scanner.scan(SYMBOL, 300, 300, dict(order), 1).tobytes() for order in itertools.permutations(asked.items())
    }
    assert len(scans) == 1


def test_below_a_torn_corner_is_the_scanners_white_lid_and_not_the_pages_grey_paper() -> None:
    page = Image.new("L", (300, 300), 255)
    seen = scanner.scan(page, 300, 300, {"low-contrast": 60.0, "torn-corner": 5.0}, 1)
    corners = [seen.getpixel(place) for place in ((0, 0), (299, 0), (0, 299), (299, 299))]
    assert (corners.count(damage.PAPER), corners.count(seen.getpixel((150, 150)))) == (1, 3)


def test_the_same_seed_gives_the_same_scan_and_another_another() -> None:
    asked = {"noise": 5.0, "torn-corner": 2.0}
    assert scanner.scan(SYMBOL, 300, 300, asked, 1).tobytes() == scanner.scan(SYMBOL, 300, 300, asked, 1).tobytes()
    assert scanner.scan(SYMBOL, 300, 300, asked, 1).tobytes() != scanner.scan(SYMBOL, 300, 300, asked, 2).tobytes()


def test_a_page_too_large_for_more_is_dealt_with_at_the_scans_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noted(page: Image.Image, strength: float, dpi: float, chance: object) -> Image.Image:
        seen.append((dpi, page.width))
        return page

    kind = damage.DAMAGES["blur"]
    monkeypatch.setitem(damage.DAMAGES, "blur", damage.Damage(kind.name, kind.unit, kind.most, kind.meaning, noted))
    scanner.scan(SYMBOL, 300, 300, {"blur": 0.1}, 1)
    monkeypatch.setattr(image, "MAX_PIXELS", SYMBOL.width * SYMBOL.height)
    scanner.scan(SYMBOL, 300, 300, {"blur": 0.1}, 1)
    assert seen == [(600.0, 2 * SYMBOL.width), (300.0, SYMBOL.width)]


# --- realistic -------------------------------------------------------------------------------------------------------


def test_realistic_damages_are_within_their_ranges_and_as_frequent_as_said() -> None:
    pages = [scanner.drawn(seed) for seed in range(1000)]
    for name, may in scanner.REALISTIC.items():
        strengths = [page[name] for page in pages if name in page]
        assert all(may.least <= strength <= may.most for strength in strengths)
        assert len(strengths) / 1000 == pytest.approx(may.share, abs=0.03)
        assert max(strengths) - min(strengths) > 0.8 * (may.most - may.least)


def test_each_page_of_a_file_is_damaged_in_its_own_way() -> None:
    assert scanner.drawn(1, 1) == scanner.drawn(1, 1)
    assert scanner.drawn(1, 1) != scanner.drawn(1, 2) != scanner.drawn(2, 1)
    assert scanner.seed_of(1, 1) != scanner.seed_of(1, 2)


def test_the_realistic_damages_are_known_and_none_is_beyond_its_range() -> None:
    for name, may in scanner.REALISTIC.items():
        assert max(abs(may.least), may.most) <= damage.DAMAGES[name].most


# --- files -----------------------------------------------------------------------------------------------------------


def test_every_page_of_a_file_is_scanned(tmp_path: Path) -> None:
    path = tmp_path / "two.tif"
    SYMBOL.save(path, save_all=True, append_images=[SYMBOL.rotate(90)], dpi=(300, 300))
    found = list(scanner.scans(path, 300, {"skew": 10.0}, 1))
    assert [done for _, done in found] == [{"skew": 10.0}] * 2
    assert [round(reading.find(seen)[0].rotation) for seen, _ in found] == [10, 100]


def test_realistic_pages_say_what_was_done_to_them(tmp_path: Path) -> None:
    ((seen, done),) = scanner.scans(saved(tmp_path / "a.png"), 300, None, 5)
    assert done == scanner.drawn(5, 1)
    assert reading.find(seen)[0].payload == PAYLOAD


def test_a_picture_that_does_not_say_its_resolution_is_taken_for_the_scans(tmp_path: Path) -> None:
    SYMBOL.save(tmp_path / "a.png")
    ((seen, _),) = scanner.scans(tmp_path / "a.png", 200, {}, 1)
    assert seen.width == SYMBOL.width


def test_a_letter_page_is_scanned_at_600_dpi(tmp_path: Path) -> None:
    """Twice as fine it is too large to be drawn."""
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "letter.pdf"), pagesize=(612, 792))
    canvas.drawString(100, 100, "Dear Sir or Madam")
    canvas.save()
    ((seen, _),) = scanner.scans(tmp_path / "letter.pdf", 600, {}, 1)
    assert seen.width == 5100


@pytest.mark.parametrize("dpi", [0, 99, 601, -300])
def test_a_resolution_that_no_scanner_has_is_refused(tmp_path: Path, dpi: int) -> None:
    with pytest.raises(UsageError, match=f"{dpi} dpi is no resolution of a scanner. Give 100 to 600"):
        next(scanner.scans(saved(tmp_path / "a.png"), dpi, {}, 1))


# --- the notice ------------------------------------------------------------------------------------------------------


def letters(whole: Image.Image, above: int) -> Image.Image:
    """What stands below the scan, a pixel a cell."""
    strip = whole.crop((0, above, whole.width, whole.height)).point(lambda grey: 255 - grey)
    box = strip.getbbox()
    assert box is not None
    return strip.crop(box)


@pytest.mark.parametrize("size", [(1, 1), (100, 700), (2850, 1238)])
@pytest.mark.parametrize("dpi", [100, 300, 600])
def test_below_every_scan_stands_the_notice(size: tuple[int, int], dpi: int) -> None:
    page = Image.new("L", size, 90)
    whole = scanner.marked(page, dpi)
    assert whole.crop((0, 0, *size)).tobytes() == page.tobytes()
    found = letters(whole, size[1])
    cells = 6 * len(scanner.NOTICE) - 1
    assert found.width % cells == 0
    cell = found.width // cells
    assert found.height == 7 * cell
    first = [found.getpixel((x * cell, 0)) for x in range(10)]
    assert first == [0, 255, 255, 255, 255, 0, 255, 255, 255, 255]  # the uppermost row of "S" and "P"


def test_no_damage_takes_it_away(tmp_path: Path) -> None:
    most = {name: one.most for name, one in damage.DAMAGES.items()}
    ((seen, _),) = scanner.scans(saved(tmp_path / "a.png"), 300, most, 1)
    clean = scanner.marked(Image.new("L", (seen.width, 1), 255), 300)
    strip = clean.height - 1
    assert letters(seen, seen.height - strip).tobytes() == letters(clean, 1).tobytes()


def test_the_file_says_it_too_and_has_its_resolution(tmp_path: Path) -> None:
    scanner.save(SYMBOL, tmp_path / "a.png", 200)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info["Comment"] == "SPECIMEN. NOT VALID POSTAGE"
        assert picture.info["dpi"] == pytest.approx((200, 200), abs=0.01)
    (page,) = image.pages(tmp_path / "a.png")
    assert image.resolution(page) == pytest.approx((200, 200), abs=0.01)


# --- what is typed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "damages"), [("blur=0.1", ("blur", 0.1)), ("skew=360", ("skew", 360.0))])
def test_a_damage_is_typed_as_name_and_strength(text: str, damages: tuple[str, float]) -> None:
    assert scanner.parsed(text) == damages


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fire=1", "there is no damage 'fire'. Damages: dot-gain, ink-spread, "),
        ("", "there is no damage ''"),
        ("blur", "'blur' is no strength of blur. Give blur=N, 0 to 2 \\(mm\\)"),
        ("blur=much", "'blur=much' is no strength"),
        ("blur=-1", "0 to 2"),
        ("blur=2.1", "0 to 2"),
        ("blur=nan", "0 to 2"),
        ("skew=inf", "0 to 360 \\(degrees\\)"),
    ],
)
def test_another_text_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        scanner.parsed(text)


def test_a_unit_is_known_by_its_damage() -> None:
    assert scanner.unit("noise") == "% of white"


def test_a_picture_that_claims_to_be_larger_than_any_scan_is_refused(tmp_path: Path) -> None:
    """As a photo does that says 72 dpi."""
    path = tmp_path / "a.png"
    Image.new("L", (4000, 3000), 255).save(path, dpi=(72, 72))
    with pytest.raises(UsageError, match=r"a scan at 300 dpi of a page of 55\.5 by 41\.7 inches is too large"):
        next(scanner.scans(path, 300, {"noise": 1.0}, 1))
