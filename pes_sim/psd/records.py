"""One record of the PSD's log: its bytes, and how they are told from anything else. Pure.

Record: magic 4, kind 1, numbers that it takes less one 1, body length 2, sequence number 8, body, MAC 16 (HMAC-SHA-256,
truncated), all little-endian, padded to a multiple of 64.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from enum import IntEnum
from typing import Final, NamedTuple

from pes_sim.errors import IntegrityError

MAGIC: Final = b"PESr"
ALIGN: Final = 64
MAC_LENGTH: Final = 16
HEADER: Final = struct.Struct("<4sBBHQ")
OVERHEAD: Final = HEADER.size + MAC_LENGTH
LONGEST_BODY: Final = 0xFFFF


class Kind(IntEnum):
    """What a record's body is."""

    STATE = 1
    PIECE = 2
    HEAD = 3
    BATCH = 4
    REPORT = 5
    SALVAGED = 6
    """A piece or a batch of a log that went before: its old number, 8 bytes, its old kind, 1 byte, and its old body."""


_KINDS: Final = frozenset(Kind)
IN_LOG: Final = frozenset({Kind.STATE, Kind.PIECE, Kind.BATCH, Kind.SALVAGED})


class LogKey:
    """The key of a log's MACs. HMAC-SHA-256 (FIPS 198-1) begins each time with the same two blocks, made of the key
    alone: they are hashed once, here, which halves what the MAC of a debit costs.
    """

    def __init__(self, key: bytes) -> None:
        block = key.ljust(64, b"\0")
        if len(block) != 64:
            raise ValueError(f"a log's key has up to 64 bytes, not {len(key)}")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def mac(self, data: bytes) -> bytes:
        """The MAC of `data`, as long as a record bears it."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()[:MAC_LENGTH]


class Record(NamedTuple):  # not a dataclass: two are made for every debit, and a tuple costs a quarter
    """One record: its (first) number, what it is, its body, where it lies, and how many numbers it takes."""

    sequence: int
    kind: Kind
    body: bytes
    segment: str
    offset: int
    span: int
    numbers: int = 1

    @property
    def last(self) -> int:
        """Its last number."""
        return self.sequence + self.numbers - 1


def span_of(length: int) -> int:
    """Bytes that a record with a body of `length` bytes takes."""
    return -(-(OVERHEAD + length) // ALIGN) * ALIGN


def frame(key: LogKey, kind: Kind, body: bytes, sequence: int, numbers: int = 1) -> bytes:
    """The bytes of a record."""
    head = HEADER.pack(MAGIC, kind, numbers - 1, len(body), sequence) + body
    data = head + key.mac(head)
    return data + bytes(-len(data) % ALIGN)


def parse(key: LogKey, bank: bytes, position: int, segment: str, offset: int) -> Record | None:
    """The record at `position` of `bank`, if a whole one is there; `segment` and `offset` say where that is.

    Raises `IntegrityError` for a kind that only a newer version knows.
    """
    if bank[position : position + 4] != MAGIC or len(bank) - position < OVERHEAD:
        return None
    _, kind, more, length, sequence = HEADER.unpack_from(bank, position)
    end = position + HEADER.size + length
    if end + MAC_LENGTH > len(bank):
        return None
    if not hmac.compare_digest(key.mac(bank[position:end]), bank[end : end + MAC_LENGTH]):
        return None
    if kind not in _KINDS:  # dropping what a newer program wrote could bring a withdrawn device back
        raise IntegrityError(f"record {sequence} is of kind {kind}, which this version does not know")
    body = bank[position + HEADER.size : end]
    return Record(sequence, Kind(kind), body, segment, offset, span_of(length), more + 1)


def salvaged(record: Record) -> bytes:
    """The body by which another log carries a record of pieces: it counts for nothing there, and is still known."""
    if record.kind is Kind.SALVAGED:
        return record.body
    return record.sequence.to_bytes(8, "little") + bytes([record.kind]) + record.body


def original(record: Record) -> Record:
    """What a salvaged record was, with its old number; any other record as it is."""
    if record.kind is not Kind.SALVAGED:
        return record
    number, kind = int.from_bytes(record.body[:8], "little"), Kind(record.body[8])
    return record._replace(sequence=number, kind=kind, body=record.body[9:])
