"""What is printed on a piece, from the payload's own fields."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from pes_sim.errors import PayloadError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import Layout, builtin
from pes_sim.preview.imprint import MARKINGS, block_lines, class_title, of_payload
from pes_sim.psd.piece import PieceKind
from tests.preview.made import PAYLOADS, PIECE


def test_a_payload_says_what_people_read() -> None:
    imprint = of_payload(PAYLOADS["imi_std"], builtin("imi_std"))
    assert block_lines(imprint) == [
        ("US POSTAGE", "SPECIMEN"),
        ("$0.74", ""),
        ("FIRST-CLASS MAIL LETTER", "1.00 oz"),
        ("JAN 05 2026", "ZIP 20260"),
        ("99S10001234567", "PIECE 3"),
        ("PES-SIM TEST PROVIDER 99", ""),
    ]
    assert imprint.kind is PieceKind.STANDARD


def test_a_payload_of_no_value_is_a_date_correction_unless_somebody_knows_better() -> None:
    layout = builtin("imi_std")
    (field,) = [row for row in layout.fields if row.name == "postage_mills"]
    payload = PAYLOADS["imi_std"]
    zero = payload[: field.offset] + bytes(field.length) + payload[field.offset + field.length :]
    assert of_payload(zero, layout).kind is PieceKind.DATE_CORRECTION
    assert of_payload(zero, layout, kind=PieceKind.REPRINT).kind is PieceKind.REPRINT


def recoded(**codings: str) -> Layout:
    """IMI-STD with other codings of some fields, as a file of somebody's own may have."""
    document = tomllib.loads((Path(layouts.__file__).parent / "layouts" / "imi_std.toml").read_text())
    for row in document["field"]:
        row["coding"] = codings.get(row["name"], row["coding"])
    return Layout(document, "mine.toml")


@pytest.mark.parametrize("coding", ["ascii", "bytes"])
@pytest.mark.parametrize("field", ["postage_mills", "weight", "piece_count"])
def test_a_field_that_is_no_number_in_somebodys_layout_is_said(field: str, coding: str) -> None:
    with pytest.raises(PayloadError, match="that could be printed .*is no number"):
        of_payload(PAYLOADS["imi_std"], recoded(**{field: coding}))


def test_a_serial_number_may_be_a_text_or_bytes() -> None:
    assert of_payload(PAYLOADS["imi_std"], recoded(psd_serial="bytes")).meter_serial == "99S10087d61200"
    assert of_payload(PAYLOADS["imi_std"], recoded(model_id="bytes")).meter_serial == "9953310001234567"


def test_what_a_payload_has_besides_is_read_too() -> None:
    imprint = of_payload(PAYLOADS["imi_max"], builtin("imi_max"))
    assert imprint.tracking_number
    assert block_lines(imprint)[6][0] == imprint.tracking_number


def test_a_payload_without_a_date_cannot_be_printed() -> None:
    payload = PIECE.payload[:36] + b"\xff\xff\xff\xff" + PIECE.payload[40:]
    layout = builtin("imi_std")
    (field,) = [row for row in layout.fields if row.name == "mailing_date"]
    wrong = payload[: field.offset] + b"\xff" * field.length + payload[field.offset + field.length :]
    with pytest.raises(PayloadError, match="no postage, date, weight or piece count that could be printed"):
        of_payload(wrong, layout)


def test_a_class_that_the_rates_do_not_know_is_shown_as_it_is_named() -> None:
    assert class_title("first_class_letter", date(2026, 1, 5)) == "FIRST-CLASS MAIL LETTER"
    assert class_title("media_mail", date(2026, 1, 5)) == "MEDIA MAIL"
    assert class_title("first_class_letter", date(1990, 1, 5)) == "FIRST CLASS LETTER"


def test_every_kind_of_piece_has_its_marking() -> None:
    assert set(MARKINGS) == set(PieceKind)
    assert ("REPRINT", "") in block_lines(replace(PIECE, kind=PieceKind.REPRINT))
