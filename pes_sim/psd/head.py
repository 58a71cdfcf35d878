"""The head: which segment of the log is the newest at least, and in a log that was begun anew its first number.

It lies in an area of its own, twice, one copy written after the other, so that a cut tears one at most. It is blank, or
short, only until the log's first segment has been begun.
"""

from __future__ import annotations

import contextlib
from typing import Final

from pes_sim.errors import IntegrityError, StorageFailed
from pes_sim.psd.records import Kind, LogKey, frame, parse
from pes_sim.psd.storage import Storage
from pes_sim.psd.torn import blank

HEAD: Final = "head.seg"
PAGE: Final = 4096
UNREADABLE: Final = b"\xee" * PAGE, b"\x11" * PAGE
"""Stands for a page that cannot be read in either bank: for no record, and neither for a torn nor for an empty one."""
NO_OLDER: Final = "The device must not go on from an older state; its last signed report is with the provider"


class Head:
    """`first`: number of the first record of the segment that is the newest at least; 0 for a blank one. `base`: the
    first number that counts, in a log that was begun anew.
    """

    def __init__(self, storage: Storage, key: LogKey) -> None:
        self._storage = storage
        self._key = key
        self.first = 0
        self.base = 0
        self._copies: list[bytes] = []

    def read(self, *, log: bool) -> None:
        """Finds out what it says, beside a `log` or without. Raises `IntegrityError` for what no cut explains."""
        if HEAD not in self._storage.names():
            if log:
                raise IntegrityError(f"{HEAD} is missing beside the log's segments", hint=NO_OLDER)
            return
        size = self._storage.size(HEAD)
        self._copies = [self._page(at) for at in (0, PAGE)]
        if size != 2 * PAGE and (log or not all(blank(copy, 0) for copy in self._copies)):
            raise IntegrityError(f"{HEAD} has {size} bytes, not {2 * PAGE}", hint=NO_OLDER)
        found = (parse(self._key, copy, 0, HEAD, 0) for copy in self._copies)
        whole = [record for record in found if record is not None and record.kind is Kind.HEAD]
        if not whole and not all(blank(copy, 0) for copy in self._copies):
            raise IntegrityError(f"neither copy of {HEAD} can be read: rotten, or of another master key", hint=NO_OLDER)
        if whole:
            newest = max(whole, key=lambda record: record.sequence)
            self.first, self.base = newest.sequence, int.from_bytes(newest.body, "little")

    def mend(self) -> int:
        """Makes both copies the newest one, as well as can be; gives how many were not."""
        whole, mended = self._bytes(), 0
        for at, copy in zip((0, PAGE), self._copies, strict=False):
            if copy != whole and self.first:
                with contextlib.suppress(StorageFailed):  # a medium that can only be read can be read all the same
                    self._storage.write(HEAD, at, whole)
                    self._storage.sync(HEAD)
                    mended += 1
        return mended

    def make(self) -> None:
        """Sees to it that there is room for it. Raises `StorageFailed`."""
        if HEAD not in self._storage.names() or self._storage.size(HEAD) != 2 * PAGE:
            self._storage.create(HEAD, 2 * PAGE)

    def write(self, first: int) -> None:
        """From now on the segment of record `first` is missed when it is not there. Raises `StorageFailed`."""
        data = self._bytes(first)
        for at in (0, PAGE):
            self._storage.write(HEAD, at, data)
            self._storage.sync(HEAD)
        self.first = first

    def _bytes(self, first: int = 0) -> bytes:
        """A whole page of them: one that cannot be read is mended by nothing less."""
        base = self.base.to_bytes(8, "little") if self.base else b""
        return frame(self._key, Kind.HEAD, base, first or self.first).ljust(PAGE, b"\0")

    def _page(self, at: int) -> bytes:
        try:
            return self._storage.read(HEAD, at, PAGE)
        except StorageFailed:
            return UNREADABLE[0]
