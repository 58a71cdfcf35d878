"""The PSD's memory: a log of records, each in two banks, each MACed and numbered.

* One `append` is one durable write: both copies are written, then one sync. What was appended before stays readable
  whatever happens to it.
* A record that is torn at the log's end was never answered, so it is dropped. A record that is bad in one bank is
  repaired from the other and reported. A record that is bad in both, with good ones behind it, stops the device:
  going on from an older one would print money.
* Segments are files of fixed size, zeroed beforehand. Each begins with a whole state record, so that opening reads the
  newest segment and the one before it, however long the log is. The head says which is the newest at least, so that one
  that was taken away is missed; and, in a log that was begun anew (`wreck`), before which number nothing counts.

A record may stand for several things that become durable together (a batch): it takes as many numbers as it says.

Record: magic 4, kind 1, numbers that it takes less one 1, body length 2, sequence number 8, body, MAC 16 (HMAC-SHA-256,
truncated), all little-endian, padded to a multiple of 64. The banks take turns by pages of 4,096 bytes: page n of bank
A, then page n of bank B. No page holds both copies of anything, and yet the disk takes both in one go.
"""

from __future__ import annotations

import contextlib
import hmac
import re
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from pes_sim.errors import IntegrityError, StorageFailed, StorageFull
from pes_sim.psd.storage import Storage

MAGIC: Final = b"PESr"
ALIGN: Final = 64
MAC_LENGTH: Final = 16
PAGE: Final = 4096
BANK: Final = 1 << 20
"""Bytes of one bank of one segment: some 4,000 pieces, or 160 check-ins, refills or logins."""

KEPT: Final = 2
"""Segments that are never reclaimed."""

_HEADER: Final = struct.Struct("<4sBBHQ")
_SEGMENT: Final = re.compile(r"log-[0-9]{16}\.seg")
HEAD: Final = "head.seg"
_NO_OLDER: Final = "The device must not go on from an older state; its last signed report is with the provider"
_PUT_BACK: Final = "Put the segment back from a copy; the registers are not concerned"
_OVERHEAD: Final = _HEADER.size + MAC_LENGTH


class Kind(IntEnum):
    """What a record's body is."""

    STATE = 1
    PIECE = 2
    HEAD = 3
    BATCH = 4
    REPORT = 5


_KINDS: Final = frozenset(Kind)
IN_LOG: Final = frozenset({Kind.STATE, Kind.PIECE, Kind.BATCH})


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


class Nvram:
    """The log. `repaired` counts the copies mended on opening.

    Raises `IntegrityError` when a record that must be there cannot be read in either bank.
    """

    def __init__(self, storage: Storage, key: bytes, bank: int = BANK) -> None:
        self._storage = storage
        self._key = key
        self._bank = bank
        self._page = min(PAGE, bank)
        self.repaired = 0
        self.sequence = 0
        self._end = 0
        self._firsts: list[tuple[int, str]] = []
        self._base = 0
        """The first number that counts, in a log that was begun anew."""
        self._broken = False
        self._head = 0
        """What the head says, as far as this is known."""
        self._dead: tuple[str, int, int] | None = None
        """Segment, offset and length of a record that failed, and that may have reached the disk all the same."""
        self._recovered: list[Record] = []
        self._open()

    # Writing

    def append(self, kind: Kind, body: bytes, whole_state: Callable[[], bytes], numbers: int = 1) -> Record:
        """Makes `body` durable as the next record; gives where it lies, without the body. `whole_state` is asked when
        a piece makes a new segment begin.

        Raises `StorageFailed`; then nothing counts as appended, and the same numbers are used again.
        """
        if self._broken:
            raise StorageFailed("the medium could not be made sure of", hint="Power it off and on again")
        data = self._frame(kind, body, self.sequence + 1, numbers)
        if not self._firsts or self._end + len(data) > self._bank:
            self._erase_dead()
            begin = body if kind is Kind.STATE else whole_state()
            self._begin_segment(self._frame(Kind.STATE, begin, self.sequence + 1))
            if kind is Kind.STATE:
                return Record(self.sequence, kind, b"", self._firsts[-1][1], 0, self._end)
            data = self._frame(kind, body, self.sequence + 1, numbers)
            if self._end + len(data) > self._bank:
                raise StorageFull(f"a record of {len(data)} bytes does not fit a bank of {self._bank}")
        segment, offset = self._firsts[-1][1], self._end
        self._dead = (segment, offset, len(data))
        self._put(segment, offset, data)
        self._dead = None
        self._end += len(data)
        first, self.sequence = self.sequence + 1, self.sequence + numbers
        return Record(first, kind, b"", segment, offset, len(data), numbers)

    def _erase_dead(self) -> None:
        """A record that failed is written over by the next one. Before that goes elsewhere, with the same number, what
        may have reached the disk must go: it would stand there for a piece that nobody paid.
        """
        if self._dead is not None:
            segment, offset, length = self._dead
            self._put(segment, offset, bytes(length))
            self._dead = None

    def _begin_segment(self, first: bytes) -> None:
        if len(first) > self._bank:
            raise StorageFull(f"a state record of {len(first)} bytes does not fit a bank of {self._bank}")
        name = f"log-{self.sequence + 1:016d}.seg"
        if HEAD not in self._storage.names():
            self._storage.create(HEAD, 2 * PAGE)
        if self._firsts and not self._head:
            self._write_head(self._firsts[-1][0])  # beside more than one segment it is never blank
        try:
            self._storage.create(name, 2 * self._bank)
            self._put(name, 0, first)
        except StorageFailed:
            # What may have reached the disk must go: the next record will bear its number elsewhere.
            self._broken = True
            self._storage.remove(name)
            self._broken = False
            raise
        self._firsts.append((self.sequence + 1, name))
        with contextlib.suppress(StorageFailed):  # the head is a lower bound; the next segment tries again
            self._write_head(self.sequence + 1)
        self._end = len(first)
        self.sequence += 1

    def _put(self, segment: str, offset: int, data: bytes) -> None:
        for bank in (0, 1):
            self._write(segment, bank, offset, data)
        self._storage.sync(segment)

    def _write(self, segment: str, bank: int, offset: int, data: bytes) -> None:
        page = self._page
        while data:
            number, within = divmod(offset, page)
            part = data[: page - within]
            self._storage.write(segment, (2 * number + bank) * page + within, part)
            offset += len(part)
            data = data[len(part) :]

    def _frame(self, kind: Kind, body: bytes, sequence: int, numbers: int = 1) -> bytes:
        head = _HEADER.pack(MAGIC, kind, numbers - 1, len(body), sequence) + body
        data = head + hmac.digest(self._key, head, "sha256")[:MAC_LENGTH]
        return data + bytes(-len(data) % ALIGN)

    def reclaim(self, acknowledged: int) -> None:
        """Removes the oldest segments, of which every record up to number `acknowledged` may go; never the newest two,
        which opening and retries read. Oldest first, so that a cut leaves no gap. Raises `StorageFailed`; ask again.
        """
        while len(self._firsts) > KEPT and self._firsts[1][0] <= acknowledged + 1:
            name = self._firsts[0][1]
            try:
                self._storage.remove(name)
            except StorageFailed:  # it may be gone for all that
                there = self._storage.names()
                self._firsts = [place for place in self._firsts if place[1] in there]
                raise
            del self._firsts[0]

    # Reading

    @property
    def oldest(self) -> int:
        """Number of the first record that is kept; 0 for a blank storage."""
        return self._firsts[0][0] if self._firsts else 0

    def read_from(self, sequence: int) -> Iterator[Record]:
        """The records from number `sequence` on, a segment at a time.

        Raises `IntegrityError` where one is missing, `StorageFailed` where one is that opening need not read: a device
        that lost a part of its log still knows its registers.
        """
        for index, (_, name) in enumerate(self._firsts):
            following = self._firsts[index + 1][0] if index + 1 < len(self._firsts) else self.sequence + 1
            if following > sequence:
                old = index < len(self._firsts) - KEPT
                yield from (record for record in self._whole(name, following - 1, old) if sequence <= record.last)

    def _whole(self, name: str, last: int, old: bool) -> list[Record]:
        try:
            return self._scan(name, last)
        except IntegrityError as problem:
            if not old:
                raise
            raise StorageFailed(f"the log cannot be read: {problem.message}", hint=_PUT_BACK) from None

    def take_recovered(self) -> list[Record]:
        """The records of the newest two segments, oldest first. Given once: they need not stay in memory."""
        records, self._recovered = self._recovered, []
        return records

    def reread(self, record: Record) -> Record:
        """`record` once more from the medium, from whichever bank still has it. Raises `IntegrityError`."""
        for data in self._banks(record.segment, record.offset, record.offset + record.span):
            found = self._parse(data, 0, record.segment, record.offset)
            if found is not None and found.sequence == record.sequence:
                return found
        raise IntegrityError(f"record {record.sequence} cannot be read in either bank of {record.segment}")

    def _banks(self, segment: str, start: int, end: int) -> tuple[bytes, bytes]:
        """The bytes from `start` to `end` of bank A and of bank B."""
        page = self._page
        first = start // page
        image = self._storage.read(segment, 2 * first * page, 2 * (-(-end // page) - first) * page)
        a = b"".join(image[at : at + page] for at in range(0, len(image), 2 * page))
        b = b"".join(image[at : at + page] for at in range(page, len(image), 2 * page))
        within = slice(start - first * page, end - first * page)
        return a[within], b[within]

    def _open(self) -> None:
        names = self._segments()
        self._head = head = self._read_head(bool(names))
        before_base = [name for name in names if first_of(name) < self._base]
        names = names[len(before_base) :]
        newest: list[Record] = []
        while names:
            whole = first_of(names[-1]) <= head or self._storage.size(names[-1]) == 2 * self._bank
            newest = self._scan(names[-1]) if whole else []
            if newest or first_of(names[-1]) <= head:
                break
            # Only a cut while the segment was being begun leaves it above the head, short, or without one good record.
            begun = names.pop()
            try:
                self._storage.remove(begun)
            except StorageFailed:
                self._broken = True  # it can be read all the same
        if not head and len(names) > 1:
            raise IntegrityError(f"{HEAD} is blank beside {len(names)} segments", hint=_NO_OLDER)
        if head and not (newest and first_of(names[-1]) >= head):
            raise IntegrityError(f"the segment of record {head} is missing or empty", hint=_NO_OLDER)
        if not newest:
            return
        self._sync(names[-1])
        self._firsts = [(first_of(name), name) for name in names]
        before = self._scan(names[-2]) if len(names) > 1 else []
        self._recovered = before + newest
        self._check_numbers()
        self.sequence = newest[-1].last
        self._end = newest[-1].offset + newest[-1].span
        with contextlib.suppress(StorageFailed):  # the next power-on tries again
            for name in before_base:
                self._storage.remove(name)

    def _segments(self) -> list[str]:
        return [name for name in self._storage.names() if _SEGMENT.fullmatch(name)]

    def _sync(self, newest: str) -> None:
        """What a process that died has written lies in the system's cache, and what is read here counts as durable."""
        try:
            self._storage.sync(newest)
        except StorageFailed:
            self._broken = True  # it can be read all the same

    def _read_head(self, expected: bool) -> int:
        """The first record of the segment that is the newest at least; 0 for a blank storage."""
        if HEAD not in self._storage.names():
            if expected:
                raise IntegrityError(f"{HEAD} is missing beside the log's segments", hint=_NO_OLDER)
            return 0
        written = [self._storage.read(HEAD, at, PAGE) for at in (0, PAGE)]
        found = (self._parse(data, 0, HEAD, 0) for data in written)
        copies = [copy for copy in found if copy is not None and copy.kind is Kind.HEAD]
        if not copies and any(map(any, written)):
            raise IntegrityError(
                f"neither copy of {HEAD} can be read: rotten, or of another master key", hint=_NO_OLDER
            )
        newest = max(copies, key=lambda copy: copy.sequence, default=None)
        self._base = int.from_bytes(newest.body, "little") if newest else 0
        return newest.sequence if newest else 0

    def _write_head(self, first: int) -> None:
        base = self._base.to_bytes(8, "little") if self._base else b""
        data = self._frame(Kind.HEAD, base, first)
        for at in (0, PAGE):  # one after the other: a cut tears one copy at most
            self._storage.write(HEAD, at, data)
            self._storage.sync(HEAD)
        self._head = first

    def _check_numbers(self) -> None:
        expected = self._recovered[0].sequence
        for record in self._recovered:
            if record.sequence != expected:
                raise IntegrityError(f"record {expected} is missing before record {record.sequence}")
            expected += record.numbers

    def _scan(self, name: str, last: int | None = None) -> list[Record]:
        """The records of a segment: up to number `last`, which must be there, or as many as there are."""
        if self._storage.size(name) != 2 * self._bank:
            raise IntegrityError(f"{name} has {self._storage.size(name)} bytes, not {2 * self._bank}", hint=_NO_OLDER)
        bank_a, bank_b = self._banks(name, 0, self._bank)
        found: list[Record] = []
        position, expected = 0, first_of(name)
        while last is None or expected <= last:
            a = self._expected(bank_a, position, name, expected)
            b = self._expected(bank_b, position, name, expected)
            record = a or b
            if record is None:
                break
            if a is None or b is None or a.body != b.body:
                whole = self._frame(record.kind, record.body, record.sequence, record.numbers)
                self._mend(name, position, whole, good_a=a is not None)
            found.append(record)
            position += record.span
            expected += record.numbers
        if last is not None:
            if expected <= last:
                raise IntegrityError(
                    f"records {expected} to {last}, from {name} on, are missing or rotten", hint=_NO_OLDER
                )
            return found
        for bank in (bank_a, bank_b):
            later = self._find_later(bank, position, name, expected)
            if later is not None:
                raise IntegrityError(
                    f"record {expected} is bad in both banks of {name}, and record {later} follows it",
                    hint=_NO_OLDER,
                )
        return found

    def _expected(self, bank: bytes, position: int, name: str, expected: int) -> Record | None:
        """The log's record of number `expected` at `position`, if it is there."""
        record = self._parse(bank, position, name, position)
        return record if record is not None and record.sequence == expected and record.kind in IN_LOG else None

    def _find_later(self, bank: bytes, position: int, name: str, expected: int) -> int | None:
        """The number of a good record at or after `position` that a torn end cannot explain."""
        while (position := bank.find(MAGIC, position)) >= 0:
            if position % ALIGN == 0 and int.from_bytes(bank[position + 8 : position + 16], "little") > expected:
                record = self._parse(bank, position, name, position)
                if record is not None:
                    return record.sequence
            position += 1
        return None

    def _mend(self, name: str, position: int, data: bytes, *, good_a: bool) -> None:
        with contextlib.suppress(StorageFailed):  # a medium that can only be read can be read all the same
            self._write(name, int(good_a), position, data)
            self._storage.sync(name)
            self.repaired += 1

    def _parse(self, bank: bytes, position: int, segment: str, offset: int) -> Record | None:
        if bank[position : position + 4] != MAGIC or len(bank) - position < _OVERHEAD:
            return None
        _, kind, more, length, sequence = _HEADER.unpack_from(bank, position)
        end = position + _HEADER.size + length
        if end + MAC_LENGTH > len(bank):
            return None
        if not hmac.compare_digest(
            hmac.digest(self._key, bank[position:end], "sha256")[:MAC_LENGTH], bank[end : end + MAC_LENGTH]
        ):
            return None
        if kind not in _KINDS:  # dropping what a newer program wrote could bring a withdrawn device back
            raise IntegrityError(f"record {sequence} is of kind {kind}, which this version does not know")
        span = -(-(_OVERHEAD + length) // ALIGN) * ALIGN
        return Record(sequence, Kind(kind), bank[position + _HEADER.size : end], segment, offset, span, more + 1)


def first_of(name: str) -> int:
    """The number of a segment's first record, from its name."""
    return int(name[4:20])
