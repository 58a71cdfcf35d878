"""The face of a piece on every kind of page: addresses, barcode, facing identification mark, slogan, logo."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from pes_sim.errors import UsageError
from pes_sim.indicium import imb, symbol
from pes_sim.indicium.layout import builtin
from pes_sim.meter.job import ADDRESS_LENGTH, ADDRESS_LINES
from pes_sim.preview.block import clear_zone, indicium_box, symbol_box
from pes_sim.preview.face import FIMS, NO_ADVERT, NOTES, Advert, address_lines, check_room, face, place_of
from pes_sim.preview.image import pages
from pes_sim.preview.imprint import Imprint
from pes_sim.preview.marks import Box, Text
from pes_sim.preview.stationery import (
    CLEAR_ZONE,
    INCH,
    KINDS,
    USUAL,
    Arrangement,
    Barcode,
    PageKind,
    Place,
    kind_of,
)
from pes_sim.psd.piece import PieceKind
from tests.preview.made import CROWDED, DPI, FULL, PIECE, changed, crop, darkest, pixel, sized, text_of, write

SINGLE = [kind for kind in KINDS if kind.arrangement is Arrangement.SINGLE]
ADDRESSED = [kind for kind in SINGLE if kind.addressee]
ADVERTISED = [kind for kind in SINGLE if kind.advert]
RECIPIENT = ("MS ZOË MÜLLER", "ACME CORPORATION", "123 MAIN ST STE 200", "SPRINGFIELD IL")


def named(kinds: list[PageKind]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.name)


# --- every kind ------------------------------------------------------------------------------------------------------


@named(SINGLE)
@pytest.mark.parametrize("piece", [PIECE, CROWDED], ids=["usual", "crowded"])
@pytest.mark.parametrize("is_a", PieceKind, ids=lambda is_a: is_a.label)
def test_the_symbol_reads_and_its_clear_zone_is_blank(
    tmp_path: Path, kind: PageKind, piece: Imprint, is_a: PieceKind
) -> None:
    advert = Advert("Ask for our\n|SPRING|CATALOGUE") if kind.advert else NO_ADVERT
    drawn = replace(piece, kind=is_a)
    path = write(tmp_path / "a.pdf", drawn, kind=kind, advert=advert)
    (page,) = pages(path, DPI)
    assert symbol.read(page) == [PIECE.payload]
    whole = indicium_box(44, kind, place_of(is_a, kind))
    zone = clear_zone(whole)
    left_of_it = Box(zone.left, max(zone.bottom, 0), whole.left, whole.top)
    below_it = Box(zone.left, zone.bottom, zone.right, whole.bottom)
    note = 22.0 if place_of(is_a, kind) is Place.LOWER_LEFT else 0.0  # the piece's own edge is near
    if left_of_it.left > 0:
        assert darkest(crop(page, left_of_it, kind)) == 255
    assert darkest(crop(page, below_it._replace(left=max(zone.left, 0), bottom=max(zone.bottom, note)), kind)) == 255


@named(SINGLE)
@pytest.mark.parametrize("is_a", PieceKind, ids=lambda is_a: is_a.label)
def test_every_indicium_says_specimen_above_it_across_it_and_on_the_page(
    tmp_path: Path, kind: PageKind, is_a: PieceKind
) -> None:
    path = write(tmp_path / "a.pdf", replace(PIECE, kind=is_a), kind=kind)
    place = place_of(is_a, kind)
    box = indicium_box(44, kind, place)
    assert "SPECIMEN — NOT VALID POSTAGE" in text_of(path, box)
    assert any(note in text_of(path) for note in NOTES)
    (page,) = pages(path, DPI)
    column = crop(page, Box(symbol_box(44, kind, place).right + 5, box.bottom, box.right, box.top - 14), kind)
    assert sum(column.histogram()[190:230]) > 0.04 * column.width * column.height


@named(SINGLE)
def test_nothing_on_a_page_has_the_same_place(kind: PageKind) -> None:
    side = max(s for s in (32, 36, 40, 44, 48, 52, 64) if not _refused(kind, s))
    assert side >= 48
    zone = clear_zone(indicium_box(side, kind))
    boxes = {
        "clear zone": zone,
        "sender": kind.sender,
        "addressee": kind.addressee,
        "advert": kind.advert and kind.advert._replace(right=zone.left),
    }
    there = [(name, box) for name, box in boxes.items() if box]
    assert [(a, b) for (a, one), (b, other) in combinations(there, 2) if one.meets(other)] == []
    paper = Box(0, 0, kind.width, kind.height)
    assert [name for name, box in there[1:] if not box.within(paper)] == []
    assert indicium_box(side, kind).within(paper)
    assert CLEAR_ZONE == INCH / 2


def _refused(kind: PageKind, side: int) -> bool:
    try:
        check_room(changed("imi_std", symbol=f"{side}x{side}") if side >= 44 else sized(side).layout, kind)
    except UsageError:
        return True
    return False


@named(SINGLE)
def test_a_symbol_without_room_is_refused_with_the_largest_that_has(kind: PageKind) -> None:
    with pytest.raises(UsageError, match=rf"has no room on page {kind.name}.* Take a size up to \d\d+x"):
        check_room(changed("imi_std", symbol="144x144"), kind)


def test_an_unknown_page_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="there is no page 'a4'. Known: envelope-10, .*withdrawal"):
        kind_of("a4")


# --- where it goes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "is_a", "place"),
    [
        ("envelope-10", PieceKind.STANDARD, Place.FRONT),
        ("envelope-10", PieceKind.REPRINT, Place.FRONT),
        ("envelope-10", PieceKind.DATE_CORRECTION, Place.BACK),
        ("flat", PieceKind.AMOUNT_CORRECTION, Place.BACK),
        ("label", PieceKind.DATE_CORRECTION, Place.LOWER_LEFT),
        ("label", PieceKind.REPRINT, Place.FRONT),
        ("tape", PieceKind.STANDARD, Place.TAPE),
        ("tape", PieceKind.DATE_CORRECTION, Place.TAPE),
    ],
)
def test_each_kind_of_piece_has_its_place(kind: str, is_a: PieceKind, place: Place) -> None:
    assert place_of(is_a, kind_of(kind)) is place


@named([kind for kind in ADDRESSED if kind.correction is Place.BACK])
def test_the_non_address_side_bears_no_address_and_says_which_side_it_is(tmp_path: Path, kind: PageKind) -> None:
    text = text_of(write(tmp_path / "a.pdf", replace(PIECE, kind=PieceKind.DATE_CORRECTION), kind=kind))
    assert "Non-address side of the piece" in text
    assert "MAIL ROOM" not in text
    assert "62701" not in text


def test_a_date_correction_on_a_label_is_on_the_address_side_lower_left(tmp_path: Path) -> None:
    kind = kind_of("label")
    path = write(tmp_path / "a.pdf", replace(PIECE, kind=PieceKind.DATE_CORRECTION), kind=kind)
    assert "DATE CORRECTION" in text_of(path, Box(0, 0, kind.width, kind.height / 3))
    assert "62701-1234" in text_of(path)


def test_a_tape_says_where_it_belongs_if_it_corrects(tmp_path: Path) -> None:
    kind = kind_of("tape")
    pieces = [replace(PIECE, kind=is_a) for is_a in PieceKind]
    path = write(tmp_path / "a.pdf", *pieces, kind=kind)
    found = [text_of(path, page=number) for number in range(4)]
    assert ["address side" in text for text in found] == [False, True, True, False]
    assert "Put it on the address side, lower left" in found[1]
    assert "Put it on the non-address side" in found[2]


# --- Intelligent Mail barcode ----------------------------------------------------------------------------------------


def _point(page: Image.Image, x: float, y: float, kind: PageKind) -> bool:
    """Whether it is dark there."""
    across, down = pixel(page, x, y, kind)
    return page.getpixel((int(across), int(down))) == 0


def bars_on(page: Image.Image, kind: PageKind) -> str:
    """The bars where the kind has them, as a reader of pixels finds them."""
    full, pitch = 0.145 * INCH, INCH / 22
    assert kind.addressee
    if kind.barcode is Barcode.CORNER:
        left, bottom = kind.width - 4 * INCH, 0.22 * INCH
    else:
        left, bottom = kind.addressee.left, kind.addressee.top - full
    found = ""
    for number in range(65):
        middle = left + number * pitch + 0.01 * INCH
        ends = [_point(page, middle, bottom + full * at, kind) for at in (0.9, 0.1)]
        found += "TADF"[ends[0] + 2 * ends[1]]
    return found


@named(ADDRESSED)
@pytest.mark.parametrize("digits", ["62701", "627011234", "62701123456"])
def test_the_barcode_on_the_page_reads_and_names_a_test_mailer(tmp_path: Path, kind: PageKind, digits: str) -> None:
    piece = replace(PIECE, destination=digits, piece_count=7_000_042)
    (page,) = pages(write(tmp_path / "a.pdf", piece, kind=kind), 600)
    fields = imb.decode(bars_on(page, kind))
    assert (fields.routing, fields.serial) == (digits, "000042")
    assert fields.mailer_id == imb.TEST_MAILER


@named(ADDRESSED)
def test_a_piece_without_a_destination_has_no_barcode(tmp_path: Path, kind: PageKind) -> None:
    (page,) = pages(write(tmp_path / "a.pdf", replace(PIECE, destination=""), kind=kind), 300)
    with pytest.raises(UsageError):
        imb.decode(bars_on(page, kind))


def test_the_barcode_has_the_sizes_of_its_specification() -> None:
    from pes_sim.preview.face import barcode

    drawn = barcode("F" * 65, 100, 50).rectangles
    pitch = (drawn[-1][0] - drawn[0][0]) / 64
    assert 20 <= INCH / pitch <= 24
    assert 0.015 <= drawn[0][2] / INCH <= 0.025
    assert 0.125 <= drawn[0][3] / INCH <= 0.165


# --- facing identification mark --------------------------------------------------------------------------------------


def test_the_facing_identification_mark_is_that_of_information_based_indicia(tmp_path: Path) -> None:
    kind = kind_of("envelope-10-fim")
    (page,) = pages(write(tmp_path / "a.pdf", PIECE, kind=kind), 300)
    last, middle = kind.width - 2 * INCH + INCH / 64, kind.height - INCH / 4
    places = (last - back * INCH / 16 for back in reversed(range(9)))
    seen = "".join(str(int(_point(page, x, middle, kind))) for x in places)
    assert seen == FIMS["D"] == "111010111"


def test_marks_read_the_same_from_both_ends() -> None:
    assert all(mark == mark[::-1] and len(mark) == 9 for mark in FIMS.values())


@named([kind for kind in SINGLE if not kind.fim])
def test_other_pages_have_none(tmp_path: Path, kind: PageKind) -> None:
    (page,) = pages(write(tmp_path / "a.pdf", PIECE, kind=kind), 300)
    assert darkest(crop(page, Box(kind.width - 3 * INCH, kind.height - 11, kind.width, kind.height), kind)) == 255


# --- slogan and logo -------------------------------------------------------------------------------------------------


def logo(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (0, 90, 160))


@named(ADVERTISED)
def test_a_logo_is_left_of_the_clear_zone(tmp_path: Path, kind: PageKind) -> None:
    path = write(tmp_path / "a.pdf", PIECE, kind=kind, advert=Advert(logo=logo(300, 150), dpi=300))
    (page,) = pages(path, DPI)
    assert kind.advert
    box = Box(kind.advert.left, kind.advert.top - 36, kind.advert.left + 72, kind.advert.top)
    assert 60 < darkest(crop(page, box, kind)) < 120
    assert max(crop(page, box, kind).tobytes()) < 120


@named(ADVERTISED)
def test_a_logo_as_wide_as_the_room_is_taken_and_a_wider_one_refused(kind: PageKind) -> None:
    assert kind.advert
    room = clear_zone(indicium_box(44, kind)).left - kind.advert.left
    check_room(builtin("imi_std"), kind, Advert(logo=logo(int(room), 10), dpi=72))
    with pytest.raises(UsageError, match=r"the logo of .* would enter the clear zone of half an inch.*is free there"):
        check_room(builtin("imi_std"), kind, Advert(logo=logo(int(room) + 2, 10), dpi=72))
    with pytest.raises(UsageError, match="is too high"):
        check_room(builtin("imi_std"), kind, Advert(logo=logo(10, 400), dpi=72))


def test_a_slogan_stands_there_and_one_too_wide_or_of_too_many_lines_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", PIECE, advert=Advert("Ask for our|SPRING CATALOGUE"))
    assert "Ask for our SPRING CATALOGUE" in text_of(path, Box(200, 185, 400, 285))
    with pytest.raises(UsageError, match="the slogan of .* would enter the clear zone"):
        check_room(builtin("imi_std"), USUAL, Advert("A slogan that is a good deal too long for its place"))
    with pytest.raises(UsageError, match="a slogan of 5 lines. At most 4"):
        check_room(builtin("imi_std"), USUAL, Advert("a|b|c|d|e"))


def test_a_slogan_of_blanks_has_no_size() -> None:
    with pytest.raises(UsageError, match="the slogan has no size"):
        check_room(builtin("imi_std"), USUAL, Advert(" | "))


def test_a_page_without_a_place_for_a_logo_refuses_one() -> None:
    with pytest.raises(UsageError, match="page label has no place for a slogan or a logo"):
        check_room(builtin("imi_std"), kind_of("label"), Advert("Hello"))


# --- addresses and the customer's text -------------------------------------------------------------------------------


@named(ADDRESSED)
def test_addresses_of_a_job_stand_on_the_page_and_the_zip_code_ends_them(tmp_path: Path, kind: PageKind) -> None:
    sender = ("EXAMPLE BROTHERS INC", "9 TEST AVE", "NEW YORK NY 10001")
    piece = replace(PIECE, recipient=RECIPIENT, sender=sender, text="")
    path = write(tmp_path / "a.pdf", piece, kind=kind)
    assert kind.addressee
    assert kind.sender
    grown = [Box(b.left - 1, b.bottom - 3, b.right + 1, b.top + 3) for b in (kind.addressee, kind.sender)]
    assert text_of(path, grown[0]) == " ".join(RECIPIENT) + " 62701-1234"
    assert text_of(path, grown[1]) == " ".join(sender) + " Department 100 Sales"


def test_a_zip_code_that_the_address_has_is_not_said_twice() -> None:
    piece = replace(PIECE, recipient=("ACME", "SPRINGFIELD IL 62701-1234"), text="Attn: Sales")
    assert address_lines(piece) == ["Attn: Sales", "ACME", "SPRINGFIELD IL 62701-1234"]
    abroad = replace(PIECE, recipient=("Zürich",), destination="", text="")
    assert address_lines(abroad) == ["Zürich"]


@named(ADDRESSED)
def test_the_widest_address_that_a_job_allows_is_smaller_and_not_cut(tmp_path: Path, kind: PageKind) -> None:
    widest = "W" * ADDRESS_LENGTH
    piece = replace(PIECE, text="", recipient=(widest,) * ADDRESS_LINES["recipient"])
    assert f"{widest} {widest} 62701-1234" in text_of(write(tmp_path / "a.pdf", piece, kind=kind))


def _texts(kind: PageKind, text: str, piece: Imprint) -> list[Text]:
    drawn = symbol.encode(piece.payload, piece.layout.symbol)
    return [mark for mark in face(replace(piece, text=text), drawn, kind) if isinstance(mark, Text)]


@named(ADDRESSED)
def test_an_address_made_smaller_loses_no_letter_to_rounding(kind: PageKind) -> None:
    for length in range(20, ADDRESS_LENGTH + 1):
        for letters in ("W", "MW ", "HILO"):
            last = (letters * length)[:length].strip()
            shown = [mark.text for mark in _texts(kind, "", replace(PIECE, recipient=("ACME", last)))]
            assert f"{last} 62701-1234" in shown


@named(ADDRESSED)
def test_a_customers_long_line_is_cut_and_leaves_the_address_as_large_as_it_is(tmp_path: Path, kind: PageKind) -> None:
    piece = replace(PIECE, recipient=RECIPIENT)
    assert "x x x" in text_of(write(tmp_path / "a.pdf", replace(piece, text="x " * 200), kind=kind))
    places = [mark for mark in _texts(kind, "x", piece) if mark.text in RECIPIENT]
    assert places == [mark for mark in _texts(kind, "x " * 200, piece) if mark.text in RECIPIENT] != []


@pytest.mark.parametrize("lines", [("Attn",), (" ",), ("", "")])
def test_an_address_of_next_to_nothing_is_drawn(tmp_path: Path, lines: tuple[str, ...]) -> None:
    piece = replace(PIECE, recipient=lines, text="Attn", destination="")
    assert text_of(write(tmp_path / "a.pdf", piece)).count("Attn") >= 1
    assert "Attn" in text_of(write(tmp_path / "b.pdf", replace(piece, text=""))) or not lines[0].strip()


@named(SINGLE)
def test_no_text_runs_off_the_page(tmp_path: Path, kind: PageKind) -> None:
    path = write(tmp_path / "a.pdf", CROWDED, kind=kind)
    (page,) = pages(path, 150)
    for edge in (Box(0, 0, 5, kind.height), Box(kind.width - 5, 0, kind.width, kind.height)):
        assert darkest(crop(page, edge, kind)) == 255
    assert FULL[:20].split()[1] in text_of(path)


def test_return_address_and_destination_are_where_they_belong(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", PIECE)
    upper_left = text_of(path, Box(0, USUAL.height / 2, USUAL.width / 2, USUAL.height))
    assert upper_left == "PES-SIM MAIL ROOM SIMULATED POSTAGE METER ORIGIN ZIP 06926 Department 100 Sales"
    middle = text_of(path, Box(280, 45, USUAL.width, USUAL.height / 2))
    assert middle == "ADDRESSEE (SIMULATED) Attn: Zoë Müller, Accounts Payable ZIP 62701-1234, DELIVERY POINT 56"
    (page,) = pages(path, DPI)
    corner = Box(USUAL.width - 342, 0, USUAL.width, 45)  # the Postal Service's barcode goes there
    assert darkest(crop(page, corner)) == 255


@pytest.mark.parametrize(
    ("digits", "written"),
    [
        ("", ""),
        ("62701", "ZIP 62701"),
        ("627011234", "ZIP 62701-1234"),
        ("62701123456", "ZIP 62701-1234, DELIVERY POINT 56"),
    ],
)
def test_destinations(tmp_path: Path, digits: str, written: str) -> None:
    path = write(tmp_path / "a.pdf", replace(PIECE, destination=digits, text=""))
    assert text_of(path, Box(280, 45, USUAL.width, USUAL.height / 2)) == f"ADDRESSEE (SIMULATED) {written}".strip()


@pytest.mark.parametrize("digits", ["1", "6270", "627011", "627011234567", "62701-1234", "6270a", "٦٢٧٠١", "62701\n"])
def test_impossible_digits_are_refused(digits: str) -> None:
    with pytest.raises(UsageError, match=r"destination .* is not a ZIP Code. Give 5 digits, 9 .*, 11"):
        replace(PIECE, destination=digits)
    with pytest.raises(UsageError, match=r"origin ZIP .* is not a ZIP Code. Give 5 digits"):
        replace(PIECE, origin_zip=digits)


def test_an_origin_is_needed() -> None:
    with pytest.raises(UsageError, match="origin ZIP ''"):
        replace(PIECE, origin_zip="")


ODD = {
    "accents": ("Zoë Ångström – ñ ß € “x”", "Zoë Ångström – ñ ß € “x”"),
    "composed": ("Zoe\u0308", "Zoë"),
    "cyrillic": ("Привет", "\N{LOZENGE}" * 6),
    "chinese and emoji": ("日本 \N{SLIGHTLY SMILING FACE}", "\N{LOZENGE}" * 2 + " \N{LOZENGE}"),
    "right to left": ("שלום", "\N{LOZENGE}" * 4),
    "control": ("a\x00b\x1bc\x7f", "a\N{LOZENGE}b\N{LOZENGE}c\N{LOZENGE}"),
    "lines": ("one\r\ntwo\tthree\u2028four", "one two three four"),
    "half a character": ("a\ud800b", "a\N{LOZENGE}b"),
    "syntax": (r"(a) \b <<c>> 100% ) ET Q", r"(a) \b <<c>> 100% ) ET Q"),
}


@pytest.mark.parametrize(("given", "shown"), ODD.values(), ids=ODD)
def test_odd_text_is_shown_as_far_as_it_can_be(tmp_path: Path, given: str, shown: str) -> None:
    path = write(tmp_path / "a.pdf", replace(PIECE, text=given, reference=given, mail_class=given))
    assert shown in text_of(path, Box(280, 45, USUAL.width, USUAL.height / 2))
    assert shown in text_of(path, Box(0, USUAL.height / 2, USUAL.width / 2, USUAL.height))
    assert shown in text_of(path, indicium_box(44))
    (page,) = pages(path, DPI)
    assert symbol.read(page) == [PIECE.payload]
