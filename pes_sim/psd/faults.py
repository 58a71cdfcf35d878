"""A medium that fails as media do, at an operation that was chosen beforehand: for tests of the device, and of whatever
drives one ("does your mainboard recover from a cut in the middle of a print?").

* Operations that change the medium are counted, from 1: create, write, sync, remove. A debit is three of them: a write
  of each copy, and the sync. (More writes where a record goes over a page.)
* What is written lies in the medium's cache until the sync. A power cut loses it, keeps it, or mixes it up.
* Without power the medium answers nothing: `PowerCut` comes again until `power_on`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, NoReturn

from pes_sim.errors import StorageFailed, StorageFull, UsageError
from pes_sim.psd.storage import Storage

_ASKED_FOR: Final = "(a fault that was asked for)"
_PAGE: Final = 4096


class PowerCut(BaseException):
    """The power is gone. No handler of errors sees it, since a device without power handles none."""


class FaultKind(StrEnum):
    """What fails. `MEANING` says how."""

    CUT = "cut"
    CUT_KEPT = "cut-kept"
    CUT_REORDERED = "cut-reordered"
    TEAR = "tear"
    DROP_SYNC = "drop-sync"
    ROT = "rot"
    UNREADABLE = "unreadable"
    EIO = "eio"
    EIO_WRITTEN = "eio-written"
    FULL = "full"
    WEAR = "wear"


MEANING: Final[Mapping[FaultKind, str]] = {
    FaultKind.CUT: "the power goes before operation N: what was not synced is lost",
    FaultKind.CUT_KEPT: "the same, but what was not synced had reached the medium",
    FaultKind.CUT_REORDERED: "the same, but of what was not synced only the newest write had reached the medium",
    FaultKind.TEAR: "the same, in the middle of operation N: all before it, and K bytes of a write, had got there",
    FaultKind.DROP_SYNC: (
        "the first sync from operation N on does nothing, and says that it did; a cut, or the end of the process, then "
        "shows it"
    ),
    FaultKind.ROT: "of what the first write from operation N on writes, bit K reaches the medium changed",
    FaultKind.UNREADABLE: "the page that the first write from operation N on begins in cannot be read until "
    "the whole of it is written again",
    FaultKind.EIO: "operation N fails and has done nothing; the next ones work",
    FaultKind.EIO_WRITTEN: "operation N fails, but was done all the same",
    FaultKind.FULL: "from operation N on there is no room for another segment, until `make_room`",
    FaultKind.WEAR: "from operation N on nothing can be written any more; all can be read",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what, at which operation, and for some kinds how many bytes, or which bit (`k`)."""

    kind: FaultKind
    at: int = 1
    k: int = 0

    @staticmethod
    def parse(text: str) -> Fault:
        """ "tear@120:17" is a tear at operation 120 after 17 bytes. Raises `UsageError`."""
        match = re.fullmatch(r"([a-z-]+)(?:@([0-9]{1,9}))?(?::([0-9]{1,9}))?", text, re.ASCII)
        if match is None or match[1] not in list(FaultKind) or int(match[2] or 1) < 1:
            raise UsageError(
                f"{text!r} is no storage fault", hint=f"Allowed: KIND[@N[:K]], N from 1; KIND: {', '.join(FaultKind)}"
            )
        return Fault(FaultKind(match[1]), int(match[2] or 1), int(match[3] or 0))

    def __str__(self) -> str:
        return f"{self.kind}@{self.at}" + (f":{self.k}" if self.k else "")


class Write(NamedTuple):
    """One write that was not synced yet."""

    name: str
    offset: int
    data: bytes


class FaultyStorage:
    """`inner` behind a cache that a power cut empties, with faults. `operations` counts what changed the medium."""

    def __init__(self, inner: Storage, faults: Iterable[Fault] = ()) -> None:
        self._inner = inner
        self._faults = list(faults)
        self._pending: list[Write] = []
        self._unreadable: set[tuple[str, int]] = set()
        """Areas, and where in them a page begins that cannot be read."""
        self.operations = 0
        self.cut_at = 0
        """The operation that the latest power cut came in."""
        self.powered = True

    def add(self, fault: Fault) -> None:
        """One more. Its operation is counted as the others' are; one that is past comes at the next (`operations`)."""
        self._faults.append(fault)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Those that are still to come, or that last."""
        return tuple(self._faults)

    def mend(self) -> None:
        """No fault comes any more, and none lasts."""
        self._faults.clear()

    def make_room(self) -> None:
        """There is room again, after `FULL`."""
        self._faults = [fault for fault in self._faults if fault.kind is not FaultKind.FULL]

    def cut(self) -> None:
        """The power goes now, between two operations: what was not synced is lost."""
        self._lose_power(())

    def power_on(self) -> None:
        """After a cut."""
        self.powered = True

    # Storage

    def names(self) -> list[str]:
        self._check_power()
        return self._inner.names()

    def size(self, name: str) -> int:
        self._check_power()
        return self._inner.size(name)

    def read(self, name: str, offset: int, length: int) -> bytes:
        self._check_power()
        if any(area == name and offset - _PAGE < page < offset + length for area, page in self._unreadable):
            raise StorageFailed(f"cannot read {name} {_ASKED_FOR}")
        data = bytearray(self._inner.read(name, offset, length))
        for write in self._of(name):
            start, end = max(offset, write.offset), min(offset + len(data), write.offset + len(write.data))
            if start < end:
                data[start - offset : end - offset] = write.data[start - write.offset : end - write.offset]
        return bytes(data)

    def create(self, name: str, size: int) -> None:
        def work() -> None:
            if self._since(FaultKind.FULL):
                raise StorageFull(f"no room on the medium {_ASKED_FOR}", hint="Make room; nothing was debited")
            self._inner.create(name, size)
            self._unreadable = {bad for bad in self._unreadable if bad[0] != name}

        self._operate(work)

    def write(self, name: str, offset: int, data: bytes) -> None:
        write = Write(name, offset, data)

        def work() -> None:
            self._pending.append(self._rotten(write))
            whole = range(-(-offset // _PAGE) * _PAGE, offset + len(data) - _PAGE + 1, _PAGE)
            self._unreadable.difference_update((name, page) for page in whole)
            if self._due(FaultKind.UNREADABLE):
                self._unreadable.add((name, offset - offset % _PAGE))

        self._operate(work, write)

    def sync(self, name: str) -> None:
        def work() -> None:
            if not self._due(FaultKind.DROP_SYNC):
                self._flush(self._of(name))

        self._operate(work)

    def remove(self, name: str) -> None:
        def work() -> None:
            self._pending = [write for write in self._pending if write.name != name]
            self._inner.remove(name)

        self._operate(work)

    def close(self) -> None:
        # Not flushed: what was never synced is promised to nobody.
        self._inner.close()

    # Faults

    def _operate(self, work: Callable[[], None], write: Write | None = None) -> None:
        self._check_power()
        self.operations += 1
        for kind, reached in _CUTS.items():
            if fault := self._due(kind):
                self._cut(reached(self._pending, write, fault.k))
        if self._due(FaultKind.EIO):
            raise self._failed()
        if self._since(FaultKind.WEAR):
            raise StorageFailed(f"the medium is worn out {_ASKED_FOR}", hint="It can only be read")
        work()
        if self._due(FaultKind.EIO_WRITTEN):
            raise self._failed()

    def _due(self, kind: FaultKind) -> Fault | None:
        """The fault of this kind whose operation has come. It comes once."""
        found = next((fault for fault in self._faults if fault.kind is kind and fault.at <= self.operations), None)
        if found:
            self._faults.remove(found)
        return found

    def _since(self, kind: FaultKind) -> bool:
        return any(fault.kind is kind and fault.at <= self.operations for fault in self._faults)

    def _failed(self) -> StorageFailed:
        return StorageFailed(f"operation {self.operations} of the medium failed {_ASKED_FOR}")

    def _rotten(self, write: Write) -> Write:
        if not write.data or not (fault := self._due(FaultKind.ROT)):
            return write
        byte, bit = divmod(fault.k % (8 * len(write.data)), 8)
        data = bytearray(write.data)
        data[byte] ^= 1 << bit
        return write._replace(data=bytes(data))

    def _of(self, name: str) -> list[Write]:
        return [write for write in self._pending if write.name == name]

    def _flush(self, reached: Sequence[Write]) -> None:
        for write in reached:
            self._inner.write(*write)
        for name in dict.fromkeys(write.name for write in reached):
            self._inner.sync(name)
        self._pending = [write for write in self._pending if write not in reached]

    def _cut(self, reached: Sequence[Write]) -> NoReturn:
        self._lose_power(reached)
        raise PowerCut

    def _lose_power(self, reached: Sequence[Write]) -> None:
        self._flush(reached)
        self._pending = []
        self.powered = False
        self.cut_at = self.operations

    def _check_power(self) -> None:
        if not self.powered:
            raise PowerCut


def _torn(pending: list[Write], write: Write | None, length: int) -> list[Write]:
    return pending if write is None else [*pending, write._replace(data=write.data[:length])]


_CUTS: Final[Mapping[FaultKind, Callable[[list[Write], Write | None, int], list[Write]]]] = {
    FaultKind.CUT: lambda pending, write, k: [],
    FaultKind.CUT_KEPT: lambda pending, write, k: pending,
    FaultKind.CUT_REORDERED: lambda pending, write, k: pending[-1:],
    FaultKind.TEAR: _torn,
}
"""What has reached the medium when the power goes: of what waits, and of the write that is under way."""
