"""The indicium on a page: what it shows and where, and that it is always a specimen."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pypdfium2
import pytest

from pes_sim.errors import UsageError
from pes_sim.indicium import symbol
from pes_sim.indicium.definition import PLACEHOLDERS, TEXT_LINES
from pes_sim.indicium.layout import builtin
from pes_sim.meter import rates
from pes_sim.preview import imprint
from pes_sim.preview.block import MODULE, QUIET_MODULES, indicium_box, symbol_box
from pes_sim.preview.image import pages
from pes_sim.preview.imprint import Imprint
from pes_sim.preview.marks import Box
from pes_sim.preview.stationery import CLEAR_ZONE, USUAL
from pes_sim.psd.piece import PieceKind
from tests.preview.made import (
    CROWDED,
    DPI,
    PIECE,
    SIZES,
    changed,
    crop,
    darkest,
    page_count,
    pixel,
    sized,
    text_of,
    write,
)

# --- the indicium ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["zxing", "dmtx"])
@pytest.mark.parametrize("side", SIZES)
def test_every_symbol_reads_at_300_dpi(tmp_path: Path, side: int, engine: str) -> None:
    piece = sized(side)
    (page,) = pages(write(tmp_path / "a.pdf", piece), DPI)
    assert symbol.read(page, engine) == [piece.payload]


def test_the_symbol_reads_at_fax_resolution_and_printed_large(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", PIECE)
    for dpi in (150, 204, 600):
        (page,) = pages(path, dpi)
        assert symbol.read(page) == [PIECE.payload]


@pytest.mark.parametrize("side", SIZES)
def test_every_module_is_where_and_as_large_as_it_should_be(tmp_path: Path, side: int) -> None:
    piece = sized(side)
    (page,) = pages(write(tmp_path / "a.pdf", piece), DPI)
    box, drawn = symbol_box(side), symbol.encode(piece.payload, piece.layout.symbol)
    middles = bytearray()
    for y in range(side):
        for x in range(side):
            across, down = pixel(page, box.left + (x + 0.5) * MODULE, box.top - (y + 0.5) * MODULE)
            middles.append(page.getpixel((int(across), int(down))) == 0)
    assert middles == drawn.modules
    assert 0.5 <= MODULE / 72 * 25.4 <= 0.55  # millimetres


@pytest.mark.parametrize("piece", [PIECE, CROWDED], ids=["usual", "crowded"])
@pytest.mark.parametrize("side", SIZES)
def test_quiet_zone_and_clear_zone_are_blank(tmp_path: Path, side: int, piece: Imprint) -> None:
    (page,) = pages(write(tmp_path / "a.pdf", sized(side, piece)), DPI)
    whole, inner, quiet = indicium_box(side), symbol_box(side), QUIET_MODULES * MODULE
    for ring in (
        Box(inner.left - quiet, inner.bottom - quiet, inner.left, inner.top + quiet),
        Box(inner.right, inner.bottom - quiet, inner.right + quiet, inner.top + quiet),
        Box(inner.left - quiet, inner.bottom - quiet, inner.right + quiet, inner.bottom),
        Box(inner.left - quiet, inner.top, inner.right + quiet, inner.top + quiet),
    ):
        assert darkest(crop(page, ring)) == 255
    left_of_it = Box(whole.left - CLEAR_ZONE, whole.bottom - CLEAR_ZONE, whole.left, USUAL.height)
    below_it = Box(whole.left - CLEAR_ZONE, whole.bottom - CLEAR_ZONE, USUAL.width, whole.bottom)
    assert darkest(crop(page, left_of_it)) == 255
    assert darkest(crop(page, below_it)) == 255
    assert CLEAR_ZONE == 36  # half an inch
    assert QUIET_MODULES >= 2


@pytest.mark.parametrize("piece", [PIECE, CROWDED], ids=["usual", "crowded"])
@pytest.mark.parametrize("side", SIZES)
def test_the_indicium_says_specimen(tmp_path: Path, side: int, piece: Imprint) -> None:
    path = write(tmp_path / "a.pdf", sized(side, piece))
    box = indicium_box(side)
    assert "SPECIMEN — NOT VALID POSTAGE" in text_of(path, box)
    # Also when somebody cuts the bar off: beside "US POSTAGE", and as a stamp across, whose letters climb.
    without_bar = text_of(path, box._replace(top=box.top - 14))
    assert re.search("US POSTAGE +SPECIMEN", without_bar)
    assert stamp_letters(path, box) == "SPECIMEN"
    assert text_of(path).count("US POSTAGE") == 1


def stamp_letters(path: Path, box: Box) -> str:
    """The letters of the stamp, told from all others by their size, if they all lie in the box."""
    with pypdfium2.PdfDocument(path) as document:
        text = document[0].get_textpage()
        found = ""
        for index in range(text.count_chars()):
            left, bottom, right, top = text.get_charbox(index)
            if top - bottom > 18:
                assert box.left <= left
                assert right <= box.right
                assert box.bottom <= bottom
                assert top <= box.top
                found += text.get_text_range(index, 1)
        return found


def test_the_stamp_is_ink_on_the_page(tmp_path: Path) -> None:
    (page,) = pages(write(tmp_path / "a.pdf", PIECE), DPI)
    whole = indicium_box(44)
    column = crop(page, Box(symbol_box(44).right + 5, whole.bottom, whole.right, whole.top - 14))
    pale = sum(column.histogram()[190:230])
    assert pale > 0.04 * column.width * column.height
    bar = crop(page, Box(whole.left, whole.top - 13, whole.right, whole.top))
    assert sum(bar.histogram()[:50]) > 0.5 * bar.width * bar.height


def test_people_read_all_that_dmm_604_asks_for(tmp_path: Path) -> None:
    text = text_of(write(tmp_path / "a.pdf", PIECE), indicium_box(44))
    for part in (
        "US POSTAGE", "$0.74", "FIRST-CLASS MAIL", "JAN 05 2026", "ZIP 06926", "99PS0000001", "PIECE 123",
        "PES-SIM TEST PROVIDER 99", "1.00 oz",
    ):  # fmt: skip
        assert part in text
    assert "Department" not in text
    assert "Attn" not in text


@pytest.mark.parametrize(
    ("mills", "day", "amount", "mailed"),
    [
        (0, date(2026, 12, 31), "$0.00", "DEC 31 2026"),
        (593, date(2028, 2, 29), "$0.593", "FEB 29 2028"),
        (1_234_560, date(2026, 10, 1), "$1,234.56", "OCT 01 2026"),
    ],
)
def test_amounts_and_dates(tmp_path: Path, mills: int, day: date, amount: str, mailed: str) -> None:
    path = write(tmp_path / "a.pdf", replace(PIECE, postage_mills=mills, mailing_date=day))
    assert amount in text_of(path)
    assert mailed in text_of(path)


def test_months_are_english_everywhere(tmp_path: Path) -> None:
    pieces = [replace(PIECE, mailing_date=date(2026, month, 7)) for month in range(1, 13)]
    path = write(tmp_path / "a.pdf", *pieces)
    found = [re.findall(r"([A-Z]{3}) 07 2026", text_of(path, page=number)) for number in range(12)]
    assert found == [[m] for m in ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")]


@pytest.mark.parametrize("kind", PieceKind)
@pytest.mark.parametrize("mail_class", rates.built_in().on(PIECE.mailing_date).categories)
def test_the_class_of_mail_is_printed_whole_however_long(tmp_path: Path, mail_class: str, kind: PieceKind) -> None:
    title = imprint.class_title(mail_class, PIECE.mailing_date)
    path = write(tmp_path / "a.pdf", replace(PIECE, kind=kind, mail_class=title, weight_text="13.00 oz"))
    assert f"{title} 13.00 oz" in text_of(path, indicium_box(44))


@pytest.mark.parametrize("side", [72, 144])
def test_a_symbol_without_room_on_the_envelope_is_refused(tmp_path: Path, side: int) -> None:
    with pytest.raises(UsageError, match="up to 64x64"):
        write(tmp_path / "a.pdf", PIECE, replace(PIECE, layout=changed("imi_std", symbol=f"{side}x{side}")))
    assert page_count(tmp_path / "a.pdf") == 1


# --- a layout's own human-readable text ------------------------------------------------------------------------------


def test_a_layouts_own_lines_stand_in_the_indicium_and_take_nothing_of_the_specimen_marks_away(tmp_path: Path) -> None:
    lines = ("ACME {mail_class}", "{postage} | {weight}", "{date}|ZIP {origin_zip}", "{extra_services}")
    layout = changed("imi_std", text=list(lines))
    path = write(tmp_path / "o.pdf", replace(PIECE, layout=layout, extra_services="certified_mail+insurance"))
    shown = text_of(path, indicium_box(44))
    for part in ("ACME FIRST-CLASS MAIL", "$0.74", "1.00 oz", "JAN 05 2026", "ZIP 06926", "CERTIFIED MAIL, INSURANCE"):
        assert part in shown
    assert "SPECIMEN \N{EM DASH} NOT VALID POSTAGE" in shown
    assert "US POSTAGE" not in shown


def test_a_line_that_comes_out_empty_takes_no_room() -> None:
    assert imprint.fill("{tracking_number} | {extra_services}", PIECE) == ("", "")
    assert imprint.fill("{date}", PIECE) == ("JAN 05 2026", "")


def test_a_layout_without_text_has_the_usual_lines_which_are_those_of_imi_std() -> None:
    assert builtin("imi_std").text == imprint.USUAL
    assert builtin("ibi").text == ()


@pytest.mark.parametrize("count", range(1, TEXT_LINES + 1))
def test_as_many_lines_as_a_layout_may_have_stay_within_the_indicium(tmp_path: Path, count: int) -> None:
    lines = [f"line {number} {{postage}}" for number in range(count)]
    path = write(tmp_path / "o.pdf", replace(PIECE, layout=changed("imi_std", text=lines)))
    shown = text_of(path, indicium_box(44))
    assert all(f"line {number} $0.74" in shown for number in range(count))


def test_every_placeholder_of_a_layout_is_filled() -> None:
    for name in PLACEHOLDERS:
        assert "{" not in "".join(imprint.fill(f"{{{name}}}", PIECE))


# --- what it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (PieceKind.DATE_CORRECTION, "DATE CORRECTION"),
        (PieceKind.AMOUNT_CORRECTION, "ADDITIONAL POSTAGE"),
        (PieceKind.REPRINT, "REPRINT"),
    ],
)
def test_a_correction_and_a_reprint_say_so_in_the_indicium(tmp_path: Path, kind: PieceKind, says: str) -> None:
    assert says in text_of(write(tmp_path / "o.pdf", replace(PIECE, kind=kind)), indicium_box(44))
    assert says not in text_of(write(tmp_path / "p.pdf", PIECE))
