"""A piece: its date, its record, and the chain through the log."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.clock import DAY, HOUR, parse_iso
from pes_sim.errors import BadDate, IntegrityError, LayoutError, MoneyError
from pes_sim.indicium import layout
from pes_sim.psd import piece
from pes_sim.psd.keys import Curve, Slot
from pes_sim.psd.piece import Piece, PieceKind
from pes_sim.psd.registers import ASCENDING_LIMIT, DESCENDING_LIMIT, PIECE_LIMIT, Registers

NOON = parse_iso("2026-11-21T12:00:00Z")
u63 = st.integers(0, 2**63 - 1)
MOST = (ASCENDING_LIMIT, DESCENDING_LIMIT, ASCENDING_LIMIT, PIECE_LIMIT, PIECE_LIMIT)


@pytest.mark.parametrize("day", ["2026-11-21", "2026-11-22", "2026-12-21"])
def test_a_date_from_today_to_30_days_ahead_passes(day: str) -> None:
    piece.check_date(day, NOON, 0)


@pytest.mark.parametrize(
    ("day", "why"), [("2026-11-20", "before"), ("2026-12-22", "too far after"), ("1970-01-01", "before")]
)
def test_any_other_date_is_refused_with_what_is_allowed(day: str, why: str) -> None:
    with pytest.raises(BadDate, match=f"{day} is {why} the device's date. Allowed: 2026-11-21 to 2026-12-21") as caught:
        piece.check_date(day, NOON, 0)
    assert caught.value.detail == {"today": "2026-11-21", "most_days_ahead": 30}


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-02-30", "21.11.2026", "20261121", "2026-W47-6"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(BadDate, match="is not a date"):
        piece.check_date(text, NOON, 0)


@pytest.mark.parametrize(
    ("time", "offset", "day"),
    [(NOON, 0, "2026-11-21"), (NOON, 12 * 60, "2026-11-22"), (NOON, -12 * 60 - 1, "2026-11-20"),
     (NOON + 12 * HOUR, 0, "2026-11-22"), (NOON + 12 * HOUR, -300, "2026-11-21"), (NOON + 10 * DAY, 0, "2026-12-01")],
)  # fmt: skip
def test_the_devices_date_follows_its_offset_from_utc(time: int, offset: int, day: str) -> None:
    assert piece.today(time, offset) == date.fromisoformat(day)
    piece.check_date(day, time, offset)


def test_a_piece_without_postage_is_not_dispensed() -> None:
    piece.check_postage(1)
    with pytest.raises(MoneyError):
        piece.check_postage(0)


pieces = st.builds(
    Piece,
    kind=st.sampled_from(PieceKind),
    request_id=st.binary(min_size=16, max_size=16),
    time=u63,
    registers=st.builds(Registers, *(st.integers(0, most) for most in MOST)),
    reference=st.binary(max_size=32),
    signed=st.binary(max_size=128),
    original=u63,
    signature=st.binary(max_size=64),
)


@given(pieces, st.binary(min_size=32, max_size=32))
def test_a_record_gives_the_piece_back(made: Piece, chain: bytes) -> None:
    body, following = piece.encode(made, chain)
    assert piece.decode(body) == made
    assert body.endswith(following)


@given(pieces)
def test_the_chain_depends_on_everything_before(made: Piece) -> None:
    one, other = (piece.encode(made, bytes([n]) * 32)[1] for n in (1, 2))
    assert one != other
    assert piece.encode(made, one)[1] != piece.encode(made, other)[1]


def test_a_record_of_another_length_is_refused() -> None:
    body, _ = piece.encode(
        Piece(PieceKind.STANDARD, bytes(16), 1, Registers(), b"100", b"signed", b"signature"), bytes(32)
    )
    with pytest.raises(IntegrityError, match="piece record"):
        piece.decode(body + b"x")


@given(pieces)
def test_every_field_of_a_record_is_in_the_chain(made: Piece) -> None:
    body, following = piece.encode(made, bytes(32))
    assert piece.chain_after(body) == following
    for changes in (
        {"kind": piece.KINDS[(made.kind.code + 1) % len(piece.KINDS)]},
        {"original": made.original ^ 1},
        {"signature": made.signature + b"x"},
        {"reference": made.reference + b"x"},
        {"time": made.time ^ 1},
    ):
        assert piece.encode(made._replace(**changes), bytes(32))[1] != following


def test_the_kinds_of_a_record_are_numbered_as_the_log_has_always_had_them() -> None:
    assert [(kind.code, kind.label) for kind in piece.KINDS] == [
        (0, "standard"), (1, "date correction"), (2, "amount correction"), (3, "reprint"),
    ]  # fmt: skip
    made = Piece(PieceKind.STANDARD, bytes(16), 1, Registers(), b"100", b"signed", b"signature")
    for kind in PieceKind:
        body, _ = piece.encode(made._replace(kind=kind), bytes(32))
        assert body[0] == kind.code
        assert piece.decode(body).kind is kind
        assert made._replace(kind=kind).counts == (kind is not PieceKind.REPRINT)


@pytest.mark.parametrize("code", [4, 255])
def test_a_record_of_a_kind_that_a_newer_program_wrote_is_refused_by_number(code: int) -> None:
    body, _ = piece.encode(
        Piece(PieceKind.STANDARD, bytes(16), 1, Registers(), b"100", b"signed", b"signature"), bytes(32)
    )
    with pytest.raises(IntegrityError, match=f"a piece record of kind {code}, which this version does not know"):
        piece.decode(bytes([code]) + body[1:])


def test_what_a_record_stores_of_a_signature_comes_back_behind_what_was_signed() -> None:
    made = Piece(PieceKind.REPRINT, b"i" * 16, 7, Registers(1, 2, 3, 4, 5), b"100", b"signed", b"signature", 9)
    found = piece.decode(piece.encode(made, bytes(32))[0])
    assert found == made
    assert found.indicium == b"signedsignature"


# What a device can print by


def changed_layout(*, more: list[dict[str, Any]] | None = None, **changes: Any) -> layout.Layout:
    """IMI-STD with changes of its signature, and more fields."""
    document = tomllib.loads((Path(layout.__file__).parent / "layouts" / "imi_std.toml").read_text())
    document["field"] += more or []
    return layout.Layout(document | {"signature": document["signature"] | changes}, "vendor.toml")


def test_a_layout_tells_the_curve_that_it_is_signed_on_and_the_algorithms_number() -> None:
    assert piece.signing(layout.builtin("imi_std")) == (Curve.P256, Slot.INDICIUM, 2, 64)
    assert piece.signing(changed_layout(scheme="ecdsa-p224-sha256", length=56)) == (Curve.P224, Slot.INDICIUM, 3, 56)
    assert piece.signing(layout.builtin("imi_min")) == (Curve.P256, Slot.MAC, 4, 16)


def test_a_layout_that_no_device_can_sign_is_refused() -> None:
    with pytest.raises(LayoutError, match="a signature of ecdsa-p224-sha256 has 56 bytes, not 64"):
        changed_layout(scheme="ecdsa-p224-sha256", length=64)
    long = {"name": "filler", "offset": 50, "length": 20, "coding": "bytes", "meaning": "Zeros", "basis": "assumed",
            "constant": "00" * 20}  # fmt: skip
    with pytest.raises(
        LayoutError, match="layout imi_std has 134 bytes signed by ecdsa-p256-sha256. A device prints up to 128"
    ):
        piece.signing(changed_layout(more=[long]))
    with pytest.raises(LayoutError, match="read-only"):
        piece.signing(layout.builtin("ibi"))


def test_the_indicium_bears_the_number_of_its_algorithm() -> None:
    for made, number in ((layout.builtin("imi_std"), 2), (changed_layout(scheme="ecdsa-p224-sha256", length=56), 3)):
        printer = piece.Printer(made, psd_serial=1, certificate_serial=2, origin_zip="20260", software_id=3)
        request = {"postage_mills": 1, "mailing_date": "2026-01-05", "mail_class": "first_class_letter", "weight": 1,
                   "destination": ""}  # fmt: skip
        signed = printer.signed_bytes(request, Registers(1, 0, 1, 1, 0))
        assert made.unpack(signed + bytes(made.signature.length)).values["algorithm_id"] == number
