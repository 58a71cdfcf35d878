"""A piece: its date, its record, and the chain through the log."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.clock import DAY, HOUR, parse_iso
from pes_sim.errors import BadDate, IntegrityError, MoneyError
from pes_sim.psd import piece
from pes_sim.psd.piece import Piece
from pes_sim.psd.registers import Registers

NOON = parse_iso("2026-11-21T12:00:00Z")
u63 = st.integers(0, 2**63 - 1)


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
    request_id=st.binary(min_size=16, max_size=16),
    time=u63,
    registers=st.builds(Registers, u63, u63, u63, u63, u63),
    reference=st.binary(max_size=32),
    signed=st.binary(max_size=128),
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
    body, _ = piece.encode(Piece(bytes(16), 1, Registers(), b"100", b"signed"), bytes(32))
    with pytest.raises(IntegrityError, match="piece record"):
        piece.decode(body + b"x")
