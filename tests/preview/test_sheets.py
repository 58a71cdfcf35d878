"""From pieces to pages: rolls, proofs, statements."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest

from pes_sim.errors import LayoutError, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import Layout, builtin
from pes_sim.preview.face import NOTES, Advert
from pes_sim.preview.imprint import Imprint, of_payload
from pes_sim.preview.marks import Box, Line
from pes_sim.preview.sheets import Sheets
from pes_sim.preview.statement import CONSTRUCT
from pes_sim.preview.stationery import PROOF, PROOF_SCALE, kind_of
from pes_sim.psd.piece import PieceKind
from tests.preview.made import PAYLOADS, PIECE, attached, changed, page_count, text_of, write

STATEMENT = of_payload(PAYLOADS["withdrawal"], builtin("withdrawal"))
ROLL, PROOFS, WITHDRAWAL = kind_of("tape-roll"), kind_of("proof"), kind_of("withdrawal")


def sizes(path: Path) -> list[tuple[float, float]]:
    with pypdfium2.PdfDocument(path) as document:
        return [page.get_size() for page in document]


# --- a roll of tapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "strips"), [(1, [1]), (5, [5]), (6, [5, 1]), (12, [5, 5, 2])])
def test_a_strip_is_as_long_as_its_tapes(tmp_path: Path, count: int, strips: list[int]) -> None:
    path = write(tmp_path / "a.pdf", *[replace(PIECE, piece_count=n) for n in range(count)], kind=ROLL)
    assert sizes(path) == [(tapes * 6.5 * 72, 2 * 72) for tapes in strips]
    found = " ".join(text_of(path, page=number) for number in range(len(strips)))
    assert [f"PIECE {n}" in found for n in range(count)] == [True] * count


def test_a_line_to_cut_along_is_between_two_tapes() -> None:
    sheets = Sheets(ROLL)
    for _ in range(3):
        assert list(sheets.add(PIECE)) == []
    (strip,) = sheets.rest()
    cuts = [mark.x1 for mark in strip.marks if isinstance(mark, Line)]
    assert cuts == [468.0, 936.0]
    assert list(sheets.rest()) == []


# --- a proof sheet ---------------------------------------------------------------------------------------------------


def test_a_proof_has_a_piece_of_each_kind_with_its_measures_and_what_it_is(tmp_path: Path) -> None:
    kinds = [PieceKind.STANDARD, *PieceKind, PieceKind.STANDARD]
    path = write(tmp_path / "a.pdf", *[replace(PIECE, kind=is_a, piece_count=7) for is_a in kinds], kind=PROOFS)
    text = text_of(path)
    assert sizes(path) == [(612, 792)]
    for cell, is_a in zip(PROOF, kinds, strict=True):
        assert f"{cell.kind}: {is_a.label}, piece 7" in text
        page = kind_of(cell.kind)
        assert f"{page.width / 72:.4g} in" in text
        assert f"{page.height / 72:.4g} in" in text
    assert text.count("SPECIMEN — NOT VALID POSTAGE") == len(PROOF)
    assert "PROOF SHEET — SPECIMENS, NOT VALID POSTAGE" in text


def test_the_cells_of_a_proof_lie_on_the_sheet_and_apart() -> None:
    boxes = []
    for cell in PROOF:
        page = kind_of(cell.kind)
        right, top = cell.left + page.width * PROOF_SCALE, cell.bottom + page.height * PROOF_SCALE
        boxes.append((cell.left - 20, cell.bottom - 20, right + 12, top + 24))  # with marks, measures and caption
    for number, (left, bottom, right, top) in enumerate(boxes):
        assert left >= 0
        assert bottom >= 36
        assert right <= PROOFS.width
        assert top <= 748
        for other in boxes[:number]:
            assert other[2] <= left or right <= other[0] or other[3] <= bottom + 10 or top <= other[1] + 10


def test_a_seventh_piece_begins_another_sheet(tmp_path: Path) -> None:
    assert page_count(write(tmp_path / "a.pdf", *[PIECE] * 7, kind=PROOFS)) == 2


def test_a_slogan_stands_on_those_pieces_of_a_proof_that_have_a_place_for_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", *[PIECE] * 6, kind=PROOFS, advert=Advert("Hello"), layout=builtin("imi_std"))
    assert text_of(path).count("Hello") == sum(kind_of(cell.kind).advert is not None for cell in PROOF) == 5


# --- a withdrawal statement ------------------------------------------------------------------------------------------


def test_a_statement_says_every_field_and_what_it_means(tmp_path: Path) -> None:
    text = text_of(write(tmp_path / "a.pdf", STATEMENT, kind=WITHDRAWAL, layout=STATEMENT.layout))
    for row in STATEMENT.layout.describe(STATEMENT.payload):
        assert row.name.removesuffix("_mills").replace("_", " ") in text
        assert row.meaning.split(":")[0][:40] in text
    signature = STATEMENT.payload[-64:].hex()
    assert f"{signature[:64]} {signature[64:]}" in text, "all of it, on two lines"
    for part in ("WITHDRAWAL STATEMENT", "$2.22", "$97.78", "SPECIMEN — NOT VALID POSTAGE", "2026-01-05", "No postage"):
        assert part in text


def with_more_fields(count: int) -> Imprint:
    """A statement by somebody's own layout, with so many fields more: each of 16 bytes, the last of 128."""
    layout = builtin("withdrawal")
    document = tomllib.loads((Path(layouts.__file__).parent / "layouts" / "withdrawal.toml").read_text("utf-8"))
    lengths, more, offset = [16] * (count - 1) + [128], [], layout.signed_length
    for number, length in enumerate(lengths, start=1):
        more.append({"name": f"note_{number}", "offset": offset, "length": length, "coding": "bytes",
                     "meaning": f"Of the customer, number {number}", "basis": "assumed", "source": "ours"})  # fmt: skip
        offset += length
    own = Layout(document | {"name": "own", "symbol": "120x120", "field": document["field"] + more}, "own.toml")
    payload = STATEMENT.payload
    signed, signature = payload[: layout.signed_length], payload[layout.signed_length :]
    filler = b"".join(bytes([number]) * length for number, length in enumerate(lengths, start=1))
    return of_payload(signed + filler + signature, own)


@pytest.mark.parametrize(("more", "sheets"), [(1, 1), (14, 2), (40, 4)])
def test_a_statement_of_many_fields_flows_on_to_further_pages_each_a_specimen(
    tmp_path: Path, more: int, sheets: int
) -> None:
    path = write(tmp_path / "a.pdf", with_more_fields(more), STATEMENT, kind=WITHDRAWAL)
    assert page_count(path) == sheets + 1
    texts = [text_of(path, page=number) for number in range(sheets)]
    for number, text in enumerate(texts, start=1):
        assert (f"STATEMENT, page {number} of {sheets}" in text) == (sheets > 1)
        assert "SPECIMEN — NOT VALID POSTAGE" in text
        lowest = text_of(path, Box(0, 0, WITHDRAWAL.width, WITHDRAWAL.margin + 9), number - 1)
        assert lowest == NOTES[0], "no field runs over the note, or off the page"
    for number in range(1, more + 1):
        assert sum(f"Of the customer, number {number} " in f"{text} " for text in texts) == 1
    last = texts[-1].split(f"note {more} ")[1].split(" Of the")[0]
    assert last.replace(" ", "") == f"{more:02x}" * 128, "nothing of a long value is cut"
    assert [line["page"] for line in attached(path)] == [1, sheets + 1]


@pytest.mark.parametrize("kind", ["envelope-10", "tape-roll", "proof"])
def test_a_statement_comes_onto_no_mail(tmp_path: Path, kind: str) -> None:
    with pytest.raises(LayoutError, match="layout withdrawal has no field"):
        write(tmp_path / "a.pdf", STATEMENT, kind=kind_of(kind))


def test_postage_is_no_statement_and_that_is_said_before_any_is_spent(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="layout imi_std is no withdrawal statement"):
        Sheets(WITHDRAWAL, layout=builtin("imi_std"))
    with pytest.raises(LayoutError, match="is no withdrawal statement"):
        write(tmp_path / "a.pdf", PIECE, kind=WITHDRAWAL)
    with pytest.raises(UsageError, match="no place for a slogan"):
        Sheets(WITHDRAWAL, Advert("Hello"), builtin("withdrawal"))


def test_a_real_providers_statement_is_refused(tmp_path: Path) -> None:
    real = replace(STATEMENT, payload=b"02" + STATEMENT.payload[2:])
    with pytest.raises(LayoutError, match="of provider '02' is not drawn"):
        write(tmp_path / "a.pdf", real, kind=WITHDRAWAL)


def test_another_layout_that_calls_itself_a_withdrawal_must_be_a_specimen_too(tmp_path: Path) -> None:
    layout = changed("imi_std", construct=CONSTRUCT)
    fine = replace(PIECE, layout=layout)
    assert page_count(write(tmp_path / "a.pdf", fine, kind=WITHDRAWAL)) == 1
    with pytest.raises(LayoutError, match="of provider '03' is not drawn"):
        write(tmp_path / "b.pdf", Imprint(
            payload=PIECE.payload[:1] + b"03" + PIECE.payload[3:], layout=layout, postage_mills=1,
            mailing_date=PIECE.mailing_date, mail_class="", origin_zip="20260", meter_serial="", piece_count=1,
        ), kind=WITHDRAWAL)  # fmt: skip
