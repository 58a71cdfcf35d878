"""One piece: the checks before the debit, its record in the log, and its indicium made again from that record.

The record holds the bytes that are signed, not the signature: signing is deterministic, so the indicium can be made
again after a power cut, and the debit need not wait for it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from pes_sim.clock import DAY, MINUTE, iso
from pes_sim.errors import BadDate, IntegrityError, LayoutError, MoneyError
from pes_sim.indicium.layout import SPECIMEN_PROVIDER, Layout
from pes_sim.psd.registers import Registers

DATE_ADVANCE_DAYS: Final = 30
"""A printed date may lie this far ahead (a vendor's manual for a US meter; the IMI-PC's own limit is not public)."""

MODEL_ID: Final = "S1"
MOST_BYTES: Final = 128
ALGORITHM_ECDSA_P256: Final = 2
SOFTWARE_ID: Final = 0x00_01_00_00
"""0.1.0, as get_info and the indicium give it."""

_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_FIXED: Final = struct.Struct("<16sQQQQQQBB")
_CHAIN_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Piece:
    """One dispensed piece as the log keeps it. `registers` are those after it."""

    request_id: bytes
    time: int
    registers: Registers
    reference: bytes
    signed: bytes


def encode(piece: Piece, chain: bytes) -> tuple[bytes, bytes]:
    """The body of a piece record, and the new value of the hash chain, which is its last 32 bytes."""
    r = piece.registers
    content = (
        _FIXED.pack(
            piece.request_id, piece.time, r.ascending, r.descending, r.control_sum, r.pieces, r.zero_pieces,
            len(piece.reference), len(piece.signed),
        )
        + piece.reference
        + piece.signed
    )  # fmt: skip
    chain = hashlib.sha256(chain + content).digest()
    return content + chain, chain


def decode(body: bytes) -> Piece:
    """The piece in a record's body. Raises `IntegrityError` when the lengths do not fit."""
    fixed = _FIXED.unpack_from(body)
    middle = _FIXED.size + fixed[7]
    end = middle + fixed[8]
    if len(body) != end + _CHAIN_LENGTH:
        raise IntegrityError(f"a piece record of {len(body)} bytes should have {end + _CHAIN_LENGTH}")
    return Piece(fixed[0], fixed[1], Registers(*fixed[2:7]), body[_FIXED.size : middle], body[middle:end])


def today(time: int, utc_offset_minutes: int) -> date:
    """The device's date."""
    return date.fromordinal(_EPOCH_ORDINAL + (time + utc_offset_minutes * MINUTE) // DAY)


def check_date(text: str, time: int, utc_offset_minutes: int) -> None:
    """Raises `BadDate` unless `text` is a date from the device's own to `DATE_ADVANCE_DAYS` ahead."""
    try:
        day = date.fromisoformat(text)
        if day.isoformat() != text:  # newer Pythons also take 20261121 and 2026-W47-6
            raise ValueError
    except ValueError:
        raise BadDate(f"{text!r} is not a date", hint="Allowed: YYYY-MM-DD") from None
    ahead = day.toordinal() - _EPOCH_ORDINAL - (time + utc_offset_minutes * MINUTE) // DAY
    if not 0 <= ahead <= DATE_ADVANCE_DAYS:
        first = today(time, utc_offset_minutes)
        raise BadDate(
            f"mailing date {text} is {'before' if ahead < 0 else 'too far after'} the device's date",
            hint=f"Allowed: {first} to {date.fromordinal(first.toordinal() + DATE_ADVANCE_DAYS)} "
            f"(device time {iso(time)})",
            today=first.isoformat(), most_days_ahead=DATE_ADVANCE_DAYS,
        )  # fmt: skip


def check_postage(postage: int) -> None:
    """Raises `MoneyError` for a zero-value piece: that is a correction, which this service does not make."""
    if postage == 0:
        raise MoneyError("a piece without postage is not dispensed", hint="Give the postage in mills, above 0")


_SCHEME: Final = "ecdsa-p256-sha256"
_SAMPLE: Final[Mapping[str, Any]] = {
    "postage_mills": 1, "mailing_date": "2026-01-05", "mail_class": "first_class_letter", "weight": 1,
    "destination": "",
}  # fmt: skip


def check_layout(layout: Layout) -> None:
    """Raises `LayoutError` unless a device can print by `layout`: before it is made, not at its first debit."""
    if not layout.writable:
        raise LayoutError(f"layout {layout.name} is read-only", hint="A device needs one that can be made")
    if (layout.signature.scheme, layout.signature.length) != (_SCHEME, 64) or layout.length > MOST_BYTES:
        raise LayoutError(f"layout {layout.name}: a device makes {_SCHEME} signatures of 64 bytes, {MOST_BYTES} in all")
    fixed = {"indicia_version": layout.versions.start, "provider_id": SPECIMEN_PROVIDER, "model_id": MODEL_ID,
             "psd_serial": 1, "algorithm_id": ALGORITHM_ECDSA_P256, "certificate_serial": 1, "origin_zip": "20260",
             "software_id": SOFTWARE_ID}  # fmt: skip
    Printer(layout, fixed).signed_bytes(_SAMPLE, Registers(1, 0, 1, 1, 0))


class Printer:
    """Fills the layout: the fields that stay the same for one device are worked out once."""

    def __init__(self, layout: Layout, fixed: Mapping[str, Any]) -> None:
        names = {row.name for row in layout.fields}
        self.layout = layout
        self._fixed = {name: value for name, value in fixed.items() if name in names}

    def signed_bytes(self, request: Mapping[str, Any], after: Registers) -> bytes:
        """The bytes to sign for a request. Raises `LayoutError` for a value that its field cannot hold."""
        values = {
            "piece_count": after.pieces,
            "ascending_mills": after.ascending,
            "descending_mills": after.descending,
            "postage_mills": request["postage_mills"],
            "mailing_date": request["mailing_date"],
            "mail_class": request["mail_class"],
            "weight": request["weight"],
            "destination": request["destination"],
        }
        return self.layout.pack(self._fixed | values)
