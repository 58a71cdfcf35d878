"""The PSD's memory: a log of records, each in two banks, each MACed and numbered.

* One `append` is one durable write: both copies are written, then one sync. What was appended before stays readable
  whatever happens to it.
* A record that is torn at the log's end was never answered, so it is dropped, and gone before the next is written. A
  record that is bad in one bank is repaired from the other and reported. Anything else that is bad in both stops the
  device: going on from an older record would print money. `torn` says what a cut explains.
* Segments are files of fixed size, zeroed beforehand. Each begins with a whole state record, so that opening reads the
  newest segment and the one before it, however long the log is. The head says which is the newest at least, so that one
  that was taken away is missed; and, in a log that was begun anew (`wreck`), before which number nothing counts.

A record may stand for several things that become durable together (a batch): it takes as many numbers as it says.

The banks take turns by pages of 4,096 bytes: page n of bank A, then page n of bank B. No page holds both copies of
anything, and yet the disk takes both in one go. A page that cannot be read counts as its twin does.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Final

from pes_sim.errors import IntegrityError, StorageFailed, StorageFull
from pes_sim.psd import torn
from pes_sim.psd.head import HEAD, NO_OLDER, PAGE, UNREADABLE, Head
from pes_sim.psd.records import ALIGN, HEADER, IN_LOG, MAGIC, OVERHEAD, Kind, LogKey, Record, frame, parse
from pes_sim.psd.storage import Storage

BANK: Final = 1 << 20
"""Bytes of one bank of one segment: some 4,000 pieces, or 160 check-ins, refills or logins."""

KEPT: Final = 2
"""Segments that are never reclaimed."""

_SEGMENT: Final = re.compile(r"log-[0-9]{16}\.seg")
_PUT_BACK: Final = "Put the segment back from a copy; the registers are not concerned"


class Nvram:
    """The log. `repaired` counts the copies mended on opening.

    Raises `IntegrityError` when a record that must be there cannot be read in either bank.
    """

    def __init__(self, storage: Storage, key: bytes, bank: int = BANK) -> None:
        self._storage = storage
        self._key = LogKey(key)
        self._bank = bank
        self._page = min(PAGE, bank)
        self.repaired = 0
        self.sequence = 0
        self._end = 0
        self._firsts: list[tuple[int, str]] = []
        self._broken = False
        self._head = Head(storage, self._key)
        self._head_lags = False
        """Whether the head does not name the newest segment yet."""
        self._dead: tuple[str, int, int, int] | None = None
        """Segment, offset, length with and without padding of a record that failed or was torn: some of it may lie on
        the disk.
        """
        self._unread: dict[tuple[str, int], bytes] = {}
        """Pages that could not be read, and what their twins hold."""
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
        if self._dead is not None or self._head_lags:
            self._settle()
        data = frame(self._key, kind, body, self.sequence + 1, numbers)
        if not self._firsts or self._end + len(data) > self._bank:
            begin = body if kind is Kind.STATE else whole_state()
            self._begin_segment(frame(self._key, Kind.STATE, begin, self.sequence + 1))
            if kind is Kind.STATE:
                return Record(self.sequence, kind, b"", self._firsts[-1][1], 0, self._end)
            data = frame(self._key, kind, body, self.sequence + 1, numbers)
            if self._end + len(data) > self._bank:
                raise StorageFull(f"a record of {len(data)} bytes does not fit a bank of {self._bank}")
        segment, offset = self._firsts[-1][1], self._end
        self._dead = (segment, offset, len(data), OVERHEAD + len(body))
        self._put(segment, offset, data)
        self._dead = None
        self._end += len(data)
        first, self.sequence = self.sequence + 1, self.sequence + numbers
        return Record(first, kind, b"", segment, offset, len(data), numbers)

    def _settle(self) -> None:
        """What must be done before the next record is written."""
        self._erase_dead()
        if self._head_lags:
            try:
                self._write_head()
            except StorageFailed:
                if not self._head.first:  # it is blank beside the log's very first record only
                    raise

    def _erase_dead(self) -> None:
        """Of a record that failed or was torn nothing may be left: it would stand there for a piece that nobody paid,
        or look like rot behind the next one. A cut in here leaves what `torn` knows: first the record ends in a zero,
        then its header stands alone, then that is gone.
        """
        if self._dead is not None:
            segment, offset, length, record = self._dead
            if record:
                self._put(segment, offset + record - 1, bytes(1))
            self._put(segment, offset + HEADER.size, bytes(length - HEADER.size))
            self._put(segment, offset, bytes(HEADER.size))
            self._dead = None

    def _begin_segment(self, first: bytes) -> None:
        if len(first) > self._bank:
            raise StorageFull(f"a state record of {len(first)} bytes does not fit a bank of {self._bank}")
        name = f"log-{self.sequence + 1:016d}.seg"
        self._head.make()
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
        with contextlib.suppress(StorageFailed):  # the head is a lower bound; the next record tries again
            self._write_head()
        self._end = len(first)
        self.sequence += 1

    def _write_head(self) -> None:
        self._head_lags = True
        self._head.write(self._firsts[-1][0])
        self._head_lags = False

    def _put(self, segment: str, offset: int, data: bytes) -> None:
        number, within = divmod(offset, self._page)
        if within + len(data) <= self._page:  # as most records do
            place = 2 * number * self._page + within
            self._storage.write(segment, place, data)
            self._storage.write(segment, place + self._page, data)
        else:
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
        that lost a part of its log still knows its registers. `next_record` says where the log goes on.
        """
        for index, (_, name) in enumerate(self._firsts):
            following = self._firsts[index + 1][0] if index + 1 < len(self._firsts) else self.sequence + 1
            if following > sequence:
                old = index < len(self._firsts) - KEPT
                yield from (record for record in self._whole(name, following - 1, old) if sequence <= record.last)

    def _whole(self, name: str, last: int, old: bool) -> list[Record]:
        try:
            return self._scan(name, last, some=False)
        except IntegrityError as problem:
            if not old:
                raise
            raise StorageFailed(
                f"the log cannot be read: {problem.message}", hint=_PUT_BACK, next_record=last + 1
            ) from None

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

    def _banks(self, segment: str, start: int, end: int, *, some: bool = False) -> tuple[bytes, bytes]:
        """The bytes from `start` to `end` of bank A and of bank B. Raises `StorageFailed` where a page can be read in
        neither; if `some` are better than none, it counts as rotten.
        """
        page = self._page
        first = start // page
        pairs = self._pairs(segment, first, -(-end // page) - first, some)
        a, b = (b"".join(pair[bank] for pair in pairs) for bank in (0, 1))
        within = slice(start - first * page, end - first * page)
        return a[within], b[within]

    def _pairs(self, segment: str, first: int, count: int, some: bool) -> list[tuple[bytes, bytes]]:
        """Pages of bank A and bank B, from page `first` of each on."""
        page = self._page
        with contextlib.suppress(StorageFailed):
            image = self._storage.read(segment, 2 * first * page, 2 * count * page)
            return [(image[at : at + page], image[at + page : at + 2 * page]) for at in range(0, len(image), 2 * page)]
        return [self._pair(segment, number, some) for number in range(first, first + count)]

    def _pair(self, segment: str, number: int, some: bool) -> tuple[bytes, bytes]:
        """One page of each bank, where not all can be read."""
        places = [(2 * number + bank) * self._page for bank in (0, 1)]
        found: dict[int, bytes] = {}
        for place in places:
            try:
                found[place] = self._storage.read(segment, place, self._page)
            except StorageFailed:
                if place == places[1] and not found and not some:
                    raise
        if not found:
            return UNREADABLE[0][: self._page], UNREADABLE[1][: self._page]
        twin = next(iter(found.values()))
        self._unread.update({(segment, place): twin for place in places if place not in found})
        a, b = (found.get(place, twin) for place in places)
        return a, b

    def _open(self) -> None:
        names = self._segments()
        self._head.read(log=bool(names))
        head = self._head.first
        before_base = [name for name in names if first_of(name) < self._head.base]
        names = names[len(before_base) :]
        newest: list[Record] = []
        while names:
            newest = self._newest(names[-1], sure=first_of(names[-1]) <= head)
            if newest or first_of(names[-1]) <= head:
                break
            # Only a cut while the segment was being begun leaves it above the head, short, or without one good record.
            begun = names.pop()
            self._dead = None
            try:
                self._storage.remove(begun)
            except StorageFailed:
                self._broken = True  # it can be read all the same
        if head and not (newest and first_of(names[-1]) >= head):
            raise IntegrityError(f"the segment of record {head} is missing or empty", hint=NO_OLDER)
        if not newest:
            return
        if not head and (len(names) > 1 or newest[-1].last > 1):
            raise IntegrityError(
                f"{HEAD} is blank beside {len(names)} segments, with records up to {newest[-1].last}", hint=NO_OLDER
            )
        self._sync(names[-1])
        self._firsts = [(first_of(name), name) for name in names]
        # To its end: of a segment in which nothing can be read, what was answered would be answered anew.
        before = self._scan(names[-2], first_of(names[-1]) - 1) if len(names) > 1 else []
        self._recovered = before + newest
        self.sequence = newest[-1].last
        self._end = newest[-1].offset + newest[-1].span
        self._head_lags = head < self._firsts[-1][0]
        self.repaired += self._head.mend()
        with contextlib.suppress(StorageFailed):  # the next power-on tries again
            for name in before_base:
                self._storage.remove(name)

    def _newest(self, name: str, *, sure: bool) -> list[Record]:
        """The records of the segment that is the newest. Where this is not `sure`, it may not be made yet."""
        size = self._storage.size(name)
        if sure or size == 2 * self._bank:
            return self._scan(name)
        if not torn.blank(self._storage.read(name, 0, size), 0):
            raise IntegrityError(f"{name} has {size} bytes, not {2 * self._bank}", hint=NO_OLDER)
        return []

    def _segments(self) -> list[str]:
        return [name for name in self._storage.names() if _SEGMENT.fullmatch(name)]

    def _sync(self, newest: str) -> None:
        """What a process that died has written lies in the system's cache, and what is read here counts as durable."""
        try:
            self._storage.sync(newest)
        except StorageFailed:
            self._broken = True  # it can be read all the same

    def _scan(self, name: str, last: int | None = None, *, some: bool = True) -> list[Record]:
        """The records of a segment: up to number `last`, which must be there; of the newest, without it, as many as
        there are, and behind them nothing but what a cut explains. `some` as for `_banks`.
        """
        if self._storage.size(name) != 2 * self._bank:
            raise IntegrityError(f"{name} has {self._storage.size(name)} bytes, not {2 * self._bank}", hint=NO_OLDER)
        bank_a, bank_b = self._banks(name, 0, self._bank, some=some)
        found: list[Record] = []
        position, expected = 0, first_of(name)
        while last is None or expected <= last:
            a = self._expected(bank_a, position, name, expected)
            b = self._expected(bank_b, position, name, expected)
            record = a or b
            if record is None:
                break
            if a is None or b is None or a.body != b.body:
                whole = frame(self._key, record.kind, record.body, record.sequence, record.numbers)
                self._mend(name, position, whole, good_a=a is not None)
            found.append(record)
            position += record.span
            expected += record.numbers
        if last is not None:
            if expected <= last:
                raise IntegrityError(
                    f"records {expected} to {last}, from {name} on, are missing or rotten", hint=NO_OLDER
                )
            self._mend_pages(name)
            return found
        for bank in (bank_a, bank_b):
            later = self._find_later(bank, position, name, expected)
            if later is not None:
                raise IntegrityError(
                    f"record {expected} is bad in both banks of {name}, and record {later} follows it",
                    hint=NO_OLDER,
                )
        self._look_behind(name, (bank_a, bank_b), position, expected)
        self._mend_pages(name)
        return found

    def _look_behind(self, name: str, banks: tuple[bytes, bytes], position: int, expected: int) -> None:
        """Notes what a cut left behind the last record. Raises `IntegrityError` where no cut left it."""
        left = torn.remains(banks, position, expected)
        if left is not None:
            self._dead = (name, position, left.length, left.record) if left.length else None
            return
        rotten = [bank for bank in (0, 1) if not torn.blank(banks[bank], position)]
        if len(rotten) > 1:
            raise IntegrityError(
                f"the log breaks off before record {expected}: what lies behind it in {name} is no torn write",
                hint=NO_OLDER,
            )
        # The other copy says that nothing was written there yet.
        self._mend(name, position, bytes(self._bank - position), good_a=rotten[0] == 1)

    def _mend_pages(self, name: str) -> None:
        """Writes pages that could not be read from their twins: whole ones, since no less of them can be written."""
        for segment, place in [where for where in self._unread if where[0] == name]:
            with contextlib.suppress(StorageFailed):
                self._storage.write(name, place, self._unread.pop((segment, place)))
                self._storage.sync(name)
                self.repaired += 1

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
        return parse(self._key, bank, position, segment, offset)


def first_of(name: str) -> int:
    """The number of a segment's first record, from its name."""
    return int(name[4:20])
