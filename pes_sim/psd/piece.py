"""One piece: the checks before the debit, its bytes by the layout, and its record in the log.

The record holds the whole indicium. It could be made again where signing is deterministic; but not in every key store,
nor by the key that signs after a renewal, and a retry, a reprint and the log must give the very bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence, Set
from datetime import date
from enum import Enum
from typing import Any, Final, NamedTuple

from pes_sim.clock import DAY, MINUTE, iso
from pes_sim.errors import BadDate, IntegrityError, LayoutError, MoneyError
from pes_sim.indicium.codings import iso_date
from pes_sim.indicium.layout import SPECIMEN_PROVIDER, Layout, Packer
from pes_sim.indicium.signature import LENGTHS
from pes_sim.psd.keys import Curve, Slot
from pes_sim.psd.registers import Registers
from pes_sim.psd.state import RELEASED

DATE_ADVANCE_DAYS: Final = 30
"""A printed date may lie this far ahead (a vendor's manual for a US meter; the IMI-PC's own limit is not public)."""

MODEL_ID: Final = "S1"
MOST_BYTES: Final = 128
ALGORITHM_DSA_1024: Final = 1
ALGORITHM_ECDSA_P256: Final = 2
ALGORITHM_ECDSA_P224: Final = 3
ALGORITHM_HMAC_SHA256: Final = 4
"""Assumed: the real numbers are not public."""

_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_FIXED: Final = struct.Struct("<B16sQQQIQIIBBB")
_CHAIN_LENGTH: Final = 32


class PieceKind(Enum):
    """What an entry of the log is. Values: as in the record, and the name on the wire."""

    STANDARD = 0, "standard"
    DATE_CORRECTION = 1, "date correction"
    AMOUNT_CORRECTION = 2, "amount correction"
    REPRINT = 3, "reprint"

    def __init__(self, code: int, label: str) -> None:
        self.code = code
        self.label = label


KINDS: Final = tuple(PieceKind)
_REPRINT: Final = PieceKind.REPRINT


class Piece(NamedTuple):  # not a dataclass: one is made for every debit, and a tuple costs a quarter
    """One entry of the log. `registers` are those after it; `original` is the record that a reprint repeats, or 0."""

    kind: PieceKind
    request_id: bytes
    time: int
    registers: Registers
    reference: bytes
    signed: bytes
    signature: bytes
    original: int = 0

    @property
    def indicium(self) -> bytes:
        """What is printed."""
        return self.signed + self.signature

    @property
    def counts(self) -> int:
        """By how much it raises the piece count."""
        return int(self.kind is not _REPRINT)


def encode(piece: Piece, chain: bytes) -> tuple[bytes, bytes]:
    """The body of a piece record, and the new value of the hash chain, which is its last 32 bytes."""
    content = (
        _FIXED.pack(
            piece.kind.code, piece.request_id, piece.time, piece.original,
            *piece.registers,
            len(piece.reference), len(piece.signed), len(piece.signature),
        )
        + piece.reference
        + piece.signed
        + piece.signature
    )  # fmt: skip
    chain = hashlib.sha256(chain + content).digest()
    return content + chain, chain


def decode(body: bytes) -> Piece:
    """The piece in a record's body. Raises `IntegrityError` when the lengths do not fit."""
    code, request_id, time, original, *registers, for_reference, for_signed, for_signature = _FIXED.unpack_from(body)
    if code >= len(KINDS):
        raise IntegrityError(f"a piece record of kind {code}, which this version does not know")
    reference_end = _FIXED.size + for_reference
    signed_end = reference_end + for_signed
    end = signed_end + for_signature
    if len(body) != end + _CHAIN_LENGTH:
        raise IntegrityError(f"a piece record of {len(body)} bytes should have {end + _CHAIN_LENGTH}")
    return Piece(
        KINDS[code], request_id, time, Registers(*registers), body[_FIXED.size : reference_end],
        body[reference_end:signed_end], body[signed_end:end], original,
    )  # fmt: skip


def join(bodies: Sequence[bytes]) -> bytes:
    """The body of a batch's record: each piece's, with its length before it (2 bytes, little-endian)."""
    return b"".join(len(body).to_bytes(2, "little") + body for body in bodies)


def split(joined: bytes) -> list[bytes]:
    """The reverse."""
    bodies, at = [], 0
    while at < len(joined):
        start = at + 2
        at = start + int.from_bytes(joined[at:start], "little")
        bodies.append(joined[start:at])
    return bodies


def chain_after(body: bytes) -> bytes:
    """The log's hash chain after the record with this body."""
    return body[-_CHAIN_LENGTH:]


def today(time: int, utc_offset_minutes: int) -> date:
    """The device's date."""
    return date.fromordinal(_EPOCH_ORDINAL + (time + utc_offset_minutes * MINUTE) // DAY)


def check_date(text: str, time: int, utc_offset_minutes: int) -> None:
    """Raises `BadDate` unless `text` is a date from the device's own to `DATE_ADVANCE_DAYS` ahead."""
    try:
        day = iso_date(text)
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
    """Raises `MoneyError` for a zero-value piece: that is a date correction, which has a service of its own."""
    if postage == 0:
        raise MoneyError(
            "a piece without postage is not dispensed", hint="Give the postage in mills, above 0; or redate a piece"
        )


ASKED: Final = ("postage_mills", "mailing_date", "mail_class", "weight", "destination")
"""What every piece is asked with, and every indicium bears: the log keeps indicia, and a retry is told by them."""
ASKED_BESIDES: Final = ("tracking_number", "extra_services")
"""What a piece may be asked with, where the layout has a place for it. Empty is none."""
_SAMPLE: Final[Mapping[str, Any]] = {
    "postage_mills": 1, "mailing_date": "2026-01-05", "mail_class": "first_class_letter", "weight": 1,
    "destination": "",
}  # fmt: skip
_PLAIN: Final = len(ASKED) + 1
"""Fields of a request that asks for nothing besides: those, and the reference."""


_DRAWN_SERIAL: Final = 9_999_999
_DRAWN_CERTIFICATE: Final = 10_000_000
"""Numbers as large as those that are drawn for a new device; certificates' are drawn from 24 bits."""


class Signing(NamedTuple):
    """How a layout's indicia are signed: the key's curve and slot, the algorithm ID, and the signature's length.

    A device whose indicia bear a MAC has an indicium key as well: its certificate says which device it is.
    """

    curve: Curve
    slot: Slot
    algorithm_id: int
    length: int


_SIGNINGS: Final = {
    "ecdsa-p256-sha256": (Curve.P256, Slot.INDICIUM, ALGORITHM_ECDSA_P256),
    "ecdsa-p224-sha256": (Curve.P224, Slot.INDICIUM, ALGORITHM_ECDSA_P224),
    "hmac-sha256": (Curve.P256, Slot.MAC, ALGORITHM_HMAC_SHA256),
    "dsa-1024-sha1": (Curve.DSA_1024, Slot.INDICIUM, ALGORITHM_DSA_1024),
}


def signing(layout: Layout) -> Signing:
    """How a device signs what it prints by `layout`. Raises `LayoutError` for one that no device can print by."""
    scheme, length = layout.signature.scheme, layout.signature.length
    if not layout.writable:
        raise LayoutError(f"layout {layout.name} is read-only", hint="A device needs one that can be made")
    if scheme not in _SIGNINGS or layout.length > MOST_BYTES:
        raise LayoutError(
            f"layout {layout.name} has {layout.length} bytes signed by {scheme}",
            hint=f"A device prints up to {MOST_BYTES} bytes, signed by {' or '.join(LENGTHS)}",
        )
    return Signing(*_SIGNINGS[scheme], length)


def check_layout(layout: Layout) -> None:
    """Raises `LayoutError` unless some device can print by `layout`."""
    _check(layout, psd_serial=1, certificate_serial=1, software_id=1)


def check_for_new(layout: Layout, psd_serial: int = _DRAWN_SERIAL) -> None:
    """Raises `LayoutError` unless a new device can print by `layout`: before it is made, not at its first debit."""
    _check(layout, psd_serial=psd_serial, certificate_serial=_DRAWN_CERTIFICATE, software_id=RELEASED.software_id)


def _check(layout: Layout, *, psd_serial: int, certificate_serial: int, software_id: int) -> None:
    missing = [name for name in ASKED if name not in {row.name for row in layout.fields}]
    if layout.writable and missing:
        raise LayoutError(
            f"layout {layout.name} has no field {', '.join(missing)}",
            hint=f"A device prints these in any order, whatever else: {', '.join(ASKED)}",
        )
    printer = Printer(
        layout,
        psd_serial=psd_serial, certificate_serial=certificate_serial, origin_zip="20260", software_id=software_id,
    )  # fmt: skip
    unfilled = [row.name for row in layout.fields if row.name not in printer.filled]
    if unfilled:
        raise LayoutError(
            f"layout {layout.name}: a device has nothing to put into {', '.join(unfilled)}",
            hint=f"Give such a field a constant. What a device fills: {', '.join(FILLED)}",
        )
    sample = {**_SAMPLE, "mail_class": printer.any_class}
    printer.signed_bytes(sample, Registers(1, 0, 1, 1, 0))


_OF_THE_DEVICE: Final = (
    "indicia_version", "provider_id", "model_id", "psd_serial", "algorithm_id", "certificate_serial", "origin_zip",
    "software_id",
)  # fmt: skip
_OF_THE_REGISTERS: Final = ("piece_count", "ascending_mills", "descending_mills")
FILLED: Final = (*_OF_THE_DEVICE, *_OF_THE_REGISTERS, *ASKED, *ASKED_BESIDES)
"""The fields that a device has a value for, by name. A layout has those of `ASKED` and any of the others."""


class Printer:
    """Fills the layout: the fields that stay the same for one device are worked out once."""

    def __init__(
        self, layout: Layout, *, psd_serial: int, certificate_serial: int, origin_zip: str, software_id: int
    ) -> None:
        fixed: dict[str, Any] = {
            "indicia_version": layout.versions.start,
            "provider_id": SPECIMEN_PROVIDER,
            "model_id": MODEL_ID,
            "psd_serial": psd_serial,
            "algorithm_id": signing(layout).algorithm_id,
            "certificate_serial": certificate_serial,
            "origin_zip": origin_zip,
            "software_id": software_id,
        }
        names = {row.name for row in layout.fields}
        self.layout = layout
        self.filled: Set[str] = {*FILLED, *layout.constants}
        self._packer = Packer(layout, {name: value for name, value in fixed.items() if name in names})
        self._left_out = [name for name in _OF_THE_REGISTERS if name not in names]
        self._besides = [name for name in ASKED_BESIDES if name in names]

    @property
    def any_class(self) -> str:
        """A class of mail that the layout has a number for."""
        names = next((row.values for row in self.layout.fields if row.name == "mail_class"), {})
        return next(iter(names), str(_SAMPLE["mail_class"]))

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
        for name in self._left_out:
            del values[name]
        for name in self._besides:
            values[name] = request.get(name, "")
        if len(request) > _PLAIN:
            self._check_besides(request)
        return self._packer.pack(values)

    def _check_besides(self, request: Mapping[str, Any]) -> None:
        """What is asked for is in the indicium, or refused; it is never dropped."""
        for name in ASKED_BESIDES:
            if request.get(name) and name not in self._besides:
                hint = "IMI-MAX has one: pes-sim meter new --layout imi_max"
                raise LayoutError(f"layout {self.layout.name} has no place for {name}", hint=hint, field=name)
