"""What is left of a log that cannot be opened, the last signed report beside it, and the log that is begun anew.

* Reading trusts whole records only: each is MACed, so that rot, and whoever causes it, can take records away and make
  none up. What was found is a lower bound.
* The report lies in an area of its own, twice, one copy written after the other. It is kept as well as can be: where it
  cannot be written, nothing is refused for that.
* A log that is begun anew counts from the moment in which the head says so; before it the device finds the old one. It
  carries the newest pieces of the old one: they count for nothing, but whoever asks for them again gets them again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from pes_sim.errors import IntegrityError, StorageFailed, StorageFull
from pes_sim.psd.head import PAGE
from pes_sim.psd.nvram import Nvram, first_of
from pes_sim.psd.records import (
    ALIGN,
    IN_LOG,
    LONGEST_BODY,
    MAGIC,
    Kind,
    Record,
    frame,
    original,
    parse,
    salvaged,
    span_of,
)

REPORT: Final = "last-report.seg"
COPY: Final = 4 * PAGE
"""Bytes of one copy of the report: a message, and the whole state."""


class Wreck(Nvram):
    """The same areas, not opened: nothing is mended or dropped by looking at them."""

    def _open(self) -> None:
        """Not as a log."""

    # The last report

    def keep_report(self, body: bytes, sequence: int) -> None:
        """Keeps a report, made with the log's record `sequence`, in place of the last one. Raises `StorageFailed`."""
        data = frame(self._key, Kind.REPORT, body, sequence)
        if len(data) > COPY:
            raise StorageFull(f"a report of {len(data)} bytes does not fit {COPY}")
        if REPORT not in self._storage.names() or self._storage.size(REPORT) != 2 * COPY:
            self._storage.create(REPORT, 2 * COPY)
        for at in (0, COPY):  # one after the other: a cut tears one copy at most
            self._storage.write(REPORT, at, data)
            self._storage.sync(REPORT)

    def report(self, log_end: int = 0) -> Record | None:
        """The last one kept, from whichever copy is whole and newest. Where the log that can be read has come as far,
        the other copy is made the same, as well as can be. Raises `IntegrityError` for a newer version's.
        """
        copies = dict(self._report_copies())
        found = (parse(self._key, data, 0, REPORT, 0) for data in copies.values())
        whole = [record for record in found if record is not None and record.kind is Kind.REPORT]
        newest = max(whole, key=lambda record: record.sequence, default=None)
        if newest is not None and newest.sequence <= log_end:
            data = frame(self._key, Kind.REPORT, newest.body, newest.sequence).ljust(COPY, b"\0")
            for at in (at for at, copy in copies.items() if copy[: newest.span] != data[: newest.span]):
                with contextlib.suppress(StorageFailed):  # as well as can be
                    self._storage.write(REPORT, at, data)
                    self._storage.sync(REPORT)
                    self.repaired += 1
        return newest

    def _report_copies(self) -> Iterator[tuple[int, bytes]]:
        """Where each lies, and its bytes: none where it cannot be read."""
        for at in (0, COPY) if REPORT in self._storage.names() else ():
            try:
                yield at, self._storage.read(REPORT, at, COPY)
            except StorageFailed:
                yield at, b""

    # What is left of the log

    def salvage(self) -> list[Record]:
        """The whole records of the newest segments, back to the newest that still has a state record; oldest first. Not
        of a log that was begun anew and never counted.

        Raises `IntegrityError` for a record that only a newer version knows: an older one must not take its place.
        """
        found: dict[int, Record] = {}
        for name in reversed(self._that_count()):
            found.update((record.sequence, record) for record in self._whole_records(name))
            if any(record.kind is Kind.STATE for record in found.values()):
                break
        return [found[sequence] for sequence in sorted(found)]

    def _that_count(self) -> list[str]:
        """The segments, without those of a log that a cut kept from counting: its registers were somebody's word, by
        which the device never served, and bind nobody.
        """
        names = self._segments()
        self._read_head()
        while len(names) > 1 and self._never_counted(*names[-2:]):
            names.pop()
        return names

    def _never_counted(self, before: str, name: str) -> bool:
        """Whether a segment begins further behind the one before it, and the one that the head names, than any that
        joins them; and holds nothing but what it was begun with.
        """
        if not self._head.first or first_of(name) <= self._joins(before):
            return False
        later = (record for record in self._whole_records(name) if record.sequence > first_of(name))
        return all(record.kind is Kind.SALVAGED for record in later)

    def _joins(self, *names: str) -> int:
        """The highest number by which another segment can go on with the head's newest, or with one of `names`."""
        return max([self._head.first, *map(first_of, names)]) + self._bank // ALIGN

    def _read_head(self) -> None:
        """As far as it can be read."""
        with contextlib.suppress(IntegrityError, StorageFailed):
            self._head.read(log=True)

    def pieces(self, room: int) -> list[bytes]:
        """Bodies for the records of pieces that another log carries on: the newest that are whole and fit `room` bytes,
        in the order of their numbers. Raises `IntegrityError` as `salvage` does.
        """
        found: dict[int, bytes] = {}
        for name in reversed(self._segments()):
            for record in reversed(self._whole_records(name)):
                number = original(record).sequence
                if record.kind is Kind.STATE or number in found or len(body := salvaged(record)) > LONGEST_BODY:
                    continue
                room -= span_of(len(body))
                if room < 0:
                    return [found[number] for number in sorted(found)]
                found[number] = body
        return [found[number] for number in sorted(found)]

    def _whole_records(self, name: str) -> list[Record]:
        """Those of one segment, in the order of their numbers; none where it cannot be read."""
        found: dict[int, Record] = {}
        with contextlib.suppress(StorageFailed):
            for bank in self._banks(name, 0, self._bank, some=True):
                found.update((record.sequence, record) for record in self._records(bank, name))
        return [found[sequence] for sequence in sorted(found)]

    def _records(self, bank: bytes, name: str) -> Iterator[Record]:
        position = bank.find(MAGIC)
        while position >= 0:
            record = self._parse(bank, position, name, position) if position % ALIGN == 0 else None
            if record is not None and record.kind in IN_LOG:
                yield record
            position = bank.find(MAGIC, position + 1)

    # Another log

    def beyond(self, above: int) -> int:
        """A number above `above` and above all that any segment's records can have, also of one that the head names and
        that is gone: no old record joins a new one.
        """
        self._read_head()
        return max(above, self._joins(*self._segments())) + 1

    def begin_anew(self, first: int, body: bytes) -> None:
        """Begins a log with the state `body` as its record `first`, of `beyond`, and behind it the pieces that the old
        one still holds. Raises `StorageFailed`: then the old log counts, or (where the head may have been written) the
        new one from the next opening on.
        """
        name = f"log-{first:016d}.seg"
        data = frame(self._key, Kind.STATE, body, first)
        if len(data) > self._bank:
            raise StorageFull(f"a state record of {len(data)} bytes does not fit a bank of {self._bank}")
        for number, old in enumerate(self.pieces(self._bank - len(data)), first + 1):
            data += frame(self._key, Kind.SALVAGED, old, number)
        try:
            self._storage.create(name, 2 * self._bank)
            self._put(name, 0, data)
        except StorageFailed:
            with contextlib.suppress(StorageFailed):  # without the head's word for it, it counts for nothing
                self._storage.remove(name)
            raise
        self._head.make()
        self._head.base = first
        self._head.write(first)
