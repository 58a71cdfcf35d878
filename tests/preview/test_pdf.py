"""Envelopes: what a page shows and where, and that the file is whole, repeatable and safe."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reportlab import rl_config

from pes_sim.errors import SymbolError, UsageError
from pes_sim.indicium import symbol
from pes_sim.indicium.definition import PLACEHOLDERS, TEXT_LINES
from pes_sim.indicium.layout import builtin
from pes_sim.preview import envelope
from pes_sim.preview.envelope import CLEAR_ZONE, MODULE, PAGE, QUIET_MODULES, Box, indicium_box, symbol_box
from pes_sim.preview.image import pages
from pes_sim.preview.pdf import EnvelopePdf, Imprint

NOISE = random.Random(99).randbytes(300)
PIECE = Imprint(
    payload=NOISE[:113],
    symbol_size="44x44",
    postage_mills=740,
    mailing_date=date(2026, 1, 5),
    mail_class="FIRST-CLASS MAIL",
    origin_zip="06926",
    meter_serial="99PS0000001",
    piece_count=123,
    destination="62701123456",
    text="Attn: Zoë Müller, Accounts Payable",
    reference="Department 100 Sales",
    weight_text="1.00 oz",
)
FULL = "\N{FULL BLOCK} WIDE Ẁ WWWWWWWW " * 60
CROWDED = replace(
    PIECE,
    postage_mills=99_999_999_999,
    mail_class=FULL,
    meter_serial=FULL,
    piece_count=10**60,
    text=FULL,
    reference=FULL,
    weight_text=FULL,
)
SIZES = {10: 1, 20: 20, 40: 112, 44: 142, 52: 202, 64: 277}
DPI = 300


def write(path: Path, *pieces: Imprint) -> Path:
    with EnvelopePdf(path, title="Test") as pdf:
        for piece in pieces:
            pdf.add(piece)
    return path


def sized(side: int, piece: Imprint = PIECE) -> Imprint:
    return replace(piece, payload=NOISE[: SIZES[side]], symbol_size=f"{side}x{side}")


def text_of(path: Path, box: Box | None = None, page: int = 0) -> str:
    """The text on a page, or what of it lies in a box, as a viewer would copy it."""
    with pypdfium2.PdfDocument(path) as document:
        found = document[page].get_textpage()
        text = (
            found.get_text_range() if box is None else found.get_text_bounded(box.left, box.bottom, box.right, box.top)
        )
        return " ".join(str(text).split())


def pixel(page: Image.Image, x: float, y: float) -> tuple[float, float]:
    """Where a point of the page is in its image, which has whole pixels and so may be half a pixel too high."""
    return x * page.width / PAGE[0], page.height - y * page.height / PAGE[1]


def crop(page: Image.Image, box: Box) -> Image.Image:
    """The pixels in a box of the page, without those at its edges, which may be half this, half that."""
    left, top = pixel(page, box.left, box.top)
    right, bottom = pixel(page, box.right, box.bottom)
    return page.crop((round(left) + 1, round(top) + 1, round(right) - 1, round(bottom) - 1))


def darkest(image: Image.Image) -> int:
    assert image.width * image.height > 100
    return min(image.tobytes())


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
    box, drawn = symbol_box(side), symbol.encode(piece.payload, piece.symbol_size)
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
    left_of_it = Box(whole.left - CLEAR_ZONE, whole.bottom - CLEAR_ZONE, whole.left, PAGE[1])
    below_it = Box(whole.left - CLEAR_ZONE, whole.bottom - CLEAR_ZONE, PAGE[0], whole.bottom)
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
    without_bar = text_of(path, replace(box, top=box.top - 14))
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


@pytest.mark.parametrize("side", [72, 144])
def test_a_symbol_without_room_on_the_envelope_is_refused(tmp_path: Path, side: int) -> None:
    with EnvelopePdf(tmp_path / "a.pdf", title="") as pdf:
        pdf.add(PIECE)
        with pytest.raises(UsageError, match="up to 64x64"):
            pdf.add(replace(PIECE, symbol_size=f"{side}x{side}"))
    assert page_count(tmp_path / "a.pdf") == 1


# --- addresses and the customer's text -------------------------------------------------------------------------------


def test_return_address_and_destination_are_where_they_belong(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", PIECE)
    upper_left = text_of(path, Box(0, PAGE[1] / 2, PAGE[0] / 2, PAGE[1]))
    assert upper_left == "PES-SIM MAIL ROOM SIMULATED POSTAGE METER ORIGIN ZIP 06926 Department 100 Sales"
    middle = text_of(path, Box(280, 45, PAGE[0], PAGE[1] / 2))
    assert middle == "ADDRESSEE (SIMULATED) Attn: Zoë Müller, Accounts Payable ZIP 62701-1234, DELIVERY POINT 56"
    (page,) = pages(path, DPI)
    assert darkest(crop(page, Box(PAGE[0] - 342, 0, PAGE[0], 45))) == 255  # the Postal Service's barcode goes there


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
    assert text_of(path, Box(280, 45, PAGE[0], PAGE[1] / 2)) == f"ADDRESSEE (SIMULATED) {written}".strip()


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
    assert shown in text_of(path, Box(280, 45, PAGE[0], PAGE[1] / 2))
    assert shown in text_of(path, Box(0, PAGE[1] / 2, PAGE[0] / 2, PAGE[1]))
    assert shown in text_of(path, indicium_box(44))
    (page,) = pages(path, DPI)
    assert symbol.read(page) == [PIECE.payload]


@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=80), size=st.integers(4, 30), width=st.floats(0, 400))
def test_any_text_fits_its_line(text: str, size: int, width: float) -> None:
    envelope.load_fonts()
    line = envelope.fit(text, envelope.REGULAR, size, width)
    assert envelope._width(line, envelope.REGULAR, size) <= max(width, envelope._width("…", envelope.REGULAR, size))
    assert len(line.splitlines()) <= 1


def test_long_text_ends_in_an_ellipsis_on_the_page(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", replace(PIECE, text="word " * 100, mail_class="CLASS " * 20))
    assert re.search(r"(word ){5,}(w|wo|wor|word)?…", text_of(path, Box(280, 45, PAGE[0] - 17, PAGE[1] / 2)))
    assert re.search(r"CLASS (CLASS )*\w*… 1\.00 oz", text_of(path, indicium_box(44)))


def test_text_that_fits_exactly_is_not_shortened() -> None:
    envelope.load_fonts()
    width = envelope._width("exactly", envelope.BOLD, 8)
    assert envelope.fit("exactly", envelope.BOLD, 8, width) == "exactly"
    assert envelope.fit("exactly", envelope.BOLD, 8, width - 0.1) == "exac…"


# --- the file --------------------------------------------------------------------------------------------------------


def page_count(path: Path) -> int:
    with pypdfium2.PdfDocument(path) as document:
        return len(document)


def test_one_page_a_piece_of_a_number_10_envelope(tmp_path: Path) -> None:
    with EnvelopePdf(tmp_path / "a.pdf", title="Zoë\N{RIGHT SINGLE QUOTATION MARK}s mail") as pdf:
        for number in range(3):
            pdf.add(replace(PIECE, piece_count=number))
            assert pdf.pages == number + 1
    with pypdfium2.PdfDocument(tmp_path / "a.pdf") as document:
        assert [page.get_size() for page in document] == [(9.5 * 72, 4.125 * 72)] * 3
        about = document.get_metadata_dict(skip_empty=True)
    assert about["Title"] == "Zoë\N{RIGHT SINGLE QUOTATION MARK}s mail"
    assert about["Subject"] == "SPECIMEN. NOT VALID POSTAGE"
    assert [f"PIECE {n}" in text_of(tmp_path / "a.pdf", page=n) for n in range(3)] == [True] * 3


def test_all_fonts_are_embedded(tmp_path: Path) -> None:
    data = write(tmp_path / "a.pdf", PIECE, CROWDED).read_bytes()
    fonts = re.findall(rb"/BaseFont /(\S+)", data)
    assert sorted(set(fonts)) == [b"AAAAAA+BitstreamVeraSans-Bold", b"AAAAAA+BitstreamVeraSans-Roman"]
    assert data.count(b"/FontFile2") == 2


def test_the_same_pieces_give_the_same_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "a.pdf", PIECE, CROWDED, sized(20)).read_bytes()
    assert write(tmp_path / "b.pdf", PIECE, CROWDED, sized(20)).read_bytes() == first
    program = (
        "import sys; sys.path.insert(0, '.'); from pathlib import Path; from tests.preview import test_pdf as t;"
        "t.write(Path(sys.argv[1]), t.PIECE, t.CROWDED, t.sized(20))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "c.pdf")], check=True)
    assert (tmp_path / "c.pdf").read_bytes() == first
    assert write(tmp_path / "d.pdf", PIECE).read_bytes() != first


def test_nothing_is_at_the_path_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"yesterday's")
    pdf = EnvelopePdf(path, title="")
    pdf.add(PIECE)
    assert path.read_bytes() == b"yesterday's"
    pdf.close()
    assert page_count(path) == 1
    assert os.listdir(tmp_path) == ["a.pdf"]
    pdf.close()
    with pytest.raises(UsageError, match="no page can be added"):
        pdf.add(PIECE)


@pytest.mark.parametrize("error", [RuntimeError("no funds"), KeyboardInterrupt()])
def test_pages_printed_before_an_error_are_kept(tmp_path: Path, error: BaseException) -> None:
    def job() -> None:
        with EnvelopePdf(tmp_path / "a.pdf", title="") as pdf:
            pdf.add(PIECE)
            pdf.add(PIECE)
            raise error

    with pytest.raises(type(error)):
        job()
    assert page_count(tmp_path / "a.pdf") == 2
    assert os.listdir(tmp_path) == ["a.pdf"]


def test_a_payload_that_does_not_fit_adds_no_page(tmp_path: Path) -> None:
    with EnvelopePdf(tmp_path / "a.pdf", title="") as pdf:
        pdf.add(PIECE)
        with pytest.raises(SymbolError, match="does not fit 44x44"):
            pdf.add(replace(PIECE, payload=bytes(143)))
        pdf.add(PIECE)
    assert page_count(tmp_path / "a.pdf") == 2
    (first, second) = pages(tmp_path / "a.pdf")
    assert first.tobytes() == second.tobytes()


def test_an_error_before_the_first_page_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="early"), EnvelopePdf(tmp_path / "a.pdf", title="") as pdf:
        raise RuntimeError("early")
    assert os.listdir(tmp_path) == []
    pdf.close()


def test_no_page_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"yesterday's")
    with pytest.raises(UsageError, match=r"a\.pdf is not written: no mail piece was printed"):
        write(tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes() == b"yesterday's"
    assert os.listdir(tmp_path) == ["a.pdf"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pdf").write_bytes(b"yesterday's")

    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(UsageError, match=r"a\.pdf cannot be written: No space left on device"):
        write(tmp_path / "a.pdf", PIECE)
    assert (tmp_path / "a.pdf").read_bytes() == b"yesterday's"
    assert os.listdir(tmp_path) == ["a.pdf"]


def test_the_file_is_on_the_disk_before_it_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    def watched(descriptor: int) -> None:
        (file,) = tmp_path.iterdir()
        seen.append((file.name, file.read_bytes().rstrip().endswith(b"%%EOF")))

    monkeypatch.setattr(os, "fsync", watched)
    write(tmp_path / "a.pdf", PIECE)
    ((name, whole),) = seen
    assert whole
    assert name != "a.pdf"


@pytest.mark.parametrize(("name", "says"), [("none/a.pdf", "No such file or directory"), (".", "it is a directory")])
def test_a_path_that_cannot_be_written_is_said_before_postage_is_spent(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be written: {says}"):
        EnvelopePdf(tmp_path / name, title="")
    assert os.listdir(tmp_path) == []


def test_a_missing_libdmtx_is_said_before_postage_is_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise SymbolError("libdmtx cannot be loaded")

    monkeypatch.setattr(symbol, "_libdmtx", missing)
    with pytest.raises(SymbolError):
        EnvelopePdf(tmp_path / "a.pdf", title="")
    assert os.listdir(tmp_path) == []


def test_two_files_grow_side_by_side(tmp_path: Path) -> None:
    with EnvelopePdf(tmp_path / "a.pdf", title="") as one, EnvelopePdf(tmp_path / "b.pdf", title="") as other:
        one.add(PIECE)
        other.add(sized(20))
        one.add(sized(40))
    found = [symbol.read(page) for name in ("a.pdf", "b.pdf") for page in pages(tmp_path / name)]
    assert found == [[PIECE.payload], [NOISE[:112]], [NOISE[:20]]]


@pytest.mark.parametrize("setting", [0, 1])
def test_settings_of_reportlab_are_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: int) -> None:
    monkeypatch.setattr(rl_config, "useA85", setting)
    data = write(tmp_path / "a.pdf", PIECE).read_bytes()
    assert b"ASCII85" not in data
    assert rl_config.useA85 == setting


def test_importing_the_module_loads_no_library() -> None:
    program = (
        "import sys, pes_sim.preview.pdf; print([n for n in ('PIL', 'reportlab', 'pylibdmtx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- a layout's own human-readable text ------------------------------------------------------------------------------


def test_a_layouts_own_lines_stand_in_the_indicium_and_take_nothing_of_the_specimen_marks_away(tmp_path: Path) -> None:
    lines = ("ACME {mail_class}", "{postage} | {weight}", "{date}|ZIP {origin_zip}", "{extra_services}")
    path = write(tmp_path / "o.pdf", replace(PIECE, lines=lines, extra_services="certified_mail+insurance"))
    shown = text_of(path, indicium_box(44))
    for part in ("ACME FIRST-CLASS MAIL", "$0.74", "1.00 oz", "JAN 05 2026", "ZIP 06926", "CERTIFIED MAIL, INSURANCE"):
        assert part in shown
    assert "SPECIMEN \N{EM DASH} NOT VALID POSTAGE" in shown
    assert "US POSTAGE" not in shown


def test_a_line_that_comes_out_empty_takes_no_room() -> None:
    assert envelope.fill("{tracking_number} | {extra_services}", PIECE) == ("", "")
    assert envelope.fill("{date}", PIECE) == ("JAN 05 2026", "")


def test_a_layout_without_text_has_the_usual_lines_which_are_those_of_imi_std() -> None:
    assert builtin("imi_std").text == envelope.USUAL
    assert builtin("ibi").text == ()


@pytest.mark.parametrize("count", range(1, TEXT_LINES + 1))
def test_as_many_lines_as_a_layout_may_have_stay_within_the_indicium(tmp_path: Path, count: int) -> None:
    lines = tuple(f"line {number} {{postage}}" for number in range(count))
    path = write(tmp_path / "o.pdf", replace(PIECE, lines=lines))
    shown = text_of(path, indicium_box(44))
    assert all(f"line {number} $0.74" in shown for number in range(count))


def test_every_placeholder_of_a_layout_is_filled() -> None:
    for name in PLACEHOLDERS:
        assert "{" not in "".join(envelope.fill(f"{{{name}}}", PIECE))
