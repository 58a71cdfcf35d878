"""What is left of a log that cannot be opened, the last signed report beside it, and the log that is begun anew.

* Reading trusts whole records only: each is MACed, so that rot, and whoever causes it, can take records away and make
  none up. What was found is a lower bound.
* The report lies in an area of its own, twice, one copy written after the other. It is kept as well as can be: where it
  cannot be written, nothing is refused for that.
* A log that is begun anew counts from the moment in which the head says so; before it the device finds the old one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from pes_sim.errors import StorageFailed, StorageFull
from pes_sim.psd.nvram import ALIGN, HEAD, IN_LOG, MAGIC, PAGE, Kind, Nvram, Record, first_of

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
        data = self._frame(Kind.REPORT, body, sequence)
        if len(data) > COPY:
            raise StorageFull(f"a report of {len(data)} bytes does not fit {COPY}")
        if REPORT not in self._storage.names() or self._storage.size(REPORT) != 2 * COPY:
            self._storage.create(REPORT, 2 * COPY)
        for at in (0, COPY):  # one after the other: a cut tears one copy at most
            self._storage.write(REPORT, at, data)
            self._storage.sync(REPORT)

    def report(self) -> Record | None:
        """The last one kept, from whichever copy is whole and newest. Raises `IntegrityError` for a newer version's."""
        copies: list[bytes] = []
        with contextlib.suppress(StorageFailed):
            if REPORT in self._storage.names():
                copies = [self._storage.read(REPORT, at, COPY) for at in (0, COPY)]
        found = (self._parse(data, 0, REPORT, 0) for data in copies)
        whole = [record for record in found if record is not None and record.kind is Kind.REPORT]
        return max(whole, key=lambda record: record.sequence, default=None)

    # What is left of the log

    def salvage(self) -> list[Record]:
        """The whole records of the newest segments, back to the newest that still has a state record; oldest first.

        Raises `IntegrityError` for a record that only a newer version knows: an older one must not take its place.
        """
        found: dict[int, Record] = {}
        for name in reversed(self._segments()):
            with contextlib.suppress(StorageFailed):
                for bank in self._banks(name, 0, self._bank):
                    found.update((record.sequence, record) for record in self._records(bank, name))
            if any(record.kind is Kind.STATE for record in found.values()):
                break
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
        """A number above `above` and above all that any segment's records can have: no old record joins a new one."""
        return max([above, *(first_of(name) + self._bank // ALIGN for name in self._segments())]) + 1

    def begin_anew(self, first: int, body: bytes) -> None:
        """Begins a log with the state `body` as its record `first`, of `beyond`. Raises `StorageFailed`: then the old
        log counts, or (where the head may have been written) the new one from the next opening on.
        """
        name = f"log-{first:016d}.seg"
        data = self._frame(Kind.STATE, body, first)
        if len(data) > self._bank:
            raise StorageFull(f"a state record of {len(data)} bytes does not fit a bank of {self._bank}")
        try:
            self._storage.create(name, 2 * self._bank)
            self._put(name, 0, data)
        except StorageFailed:
            with contextlib.suppress(StorageFailed):  # without the head's word for it, it counts for nothing
                self._storage.remove(name)
            raise
        if HEAD not in self._storage.names():
            self._storage.create(HEAD, 2 * PAGE)
        self._base = first
        self._write_head(first)
