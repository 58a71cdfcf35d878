"""What a cut can leave behind the log's last whole record, and what it cannot. Pure.

* A write that was cut off leaves the bytes that were there before, which are zeros, or those that were being written:
  the beginning of a write, or whole sectors of it. Each bank has a copy of its own, so that they differ in zeros only.
* One append is under way at a time, and what it left is gone before the next. So damage that no single append explains
  is rot, and may be of many records: going on before them would print money that was printed already.
* A record that was written whole does not end in zeros where its MAC should be: rot in it is no torn write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from pes_sim.psd.records import ALIGN, HEADER, IN_LOG, LONGEST_BODY, MAGIC, OVERHEAD, span_of

SECTOR: Final = 512
"""Bytes that reach a disk together, or not at all."""


class Remains(NamedTuple):
    """What an append that was cut off left: so many bytes from the log's end on; and how many of them the record has
    without its padding, 0 where its header did not arrive.
    """

    length: int
    record: int = 0


def remains(banks: Sequence[bytes], position: int, expected: int) -> Remains | None:
    """What one append of record `expected` at `position` of both banks left there, which is no whole copy of it. None
    where no single append explains what is there.
    """
    if all(blank(bank, position) for bank in banks):
        return Remains(0)
    heads = {bank[position : position + HEADER.size] for bank in banks if _head(bank, position, expected)}
    if len(heads) > 1:
        return None
    record = OVERHEAD + (HEADER.unpack(heads.pop())[3] if heads else LONGEST_BODY)
    end = min(position + span_of(record - OVERHEAD), len(banks[0]))
    if not all(blank(bank, end) and _torn(bank, position, expected, end) for bank in banks):
        return None
    parts = [bank[position:end] for bank in banks]
    if not _copies(*parts) or any(_later(part, expected) for part in parts):
        return None
    known = any(_head(bank, position, expected) for bank in banks)
    length = max(len(part.rstrip(b"\0")) for part in parts)
    return Remains(end - position, record) if known else Remains(-(-length // ALIGN) * ALIGN)


def blank(bank: bytes, start: int, end: int | None = None) -> bool:
    """Whether there are only zeros."""
    part = bank[start:end]
    return part == bytes(len(part))


def _head(bank: bytes, position: int, expected: int) -> bool:
    """Whether the header of record `expected` stands at `position`, of a record that fits."""
    magic, kind, _, length, sequence = HEADER.unpack_from(bank, position)
    fits = position + span_of(length) <= len(bank)
    return bool(magic == MAGIC and sequence == expected and kind in IN_LOG and fits)


def _torn(bank: bytes, position: int, expected: int, end: int) -> bool:
    """Whether one bank's bytes are what is there of a record that is not whole."""
    sector = min(position + SECTOR - position % SECTOR, end)
    if _head(bank, position, expected):
        last = position + OVERHEAD + HEADER.unpack_from(bank, position)[3]
        ends = [*range(sector, last, SECTOR), last]
        return any(bank[at - 1] == 0 for at in ends)
    found = bank[position : position + HEADER.size]
    whole = HEADER.pack(MAGIC, 0, 0, 0, expected)
    free = range(4, 8)  # kind, numbers and length may be any
    fits = all(byte in (0, whole[at]) or at in free for at, byte in enumerate(found))
    return fits and blank(bank, position + HEADER.size, sector)


def _copies(a: bytes, b: bytes) -> bool:
    """Whether both may come from the same bytes."""
    return all(x == y or not x or not y for x, y in zip(a, b, strict=True))


def _later(part: bytes, expected: int) -> bool:
    """Whether the next record's header stands in there, but for a byte that rot may have changed: then the length in
    the first one was changed as well. (Text that begins alike, and is torn, has no kind.)
    """
    following = (expected + part[5] + 1).to_bytes(8, "little")
    for at in range(ALIGN, len(part), ALIGN):
        found = part[at : at + 4] + part[at + 8 : at + 16]
        alike = sum(x == y for x, y in zip(found, MAGIC + following, strict=True))
        if alike == len(found) or (alike == len(found) - 1 and part[at + 4] in IN_LOG):
            return True
    return False
