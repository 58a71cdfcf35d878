"""A medium that fails at one operation: the power goes, or the operation ends with an error. As plain as it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pes_sim.errors import StorageFailed
from pes_sim.psd.storage import MemoryStorage


class PowerCut(Exception):
    """The device is gone. No `PesError`, so nothing in it can live on."""


@dataclass(frozen=True)
class Cut:
    """At operation number `operation` from now. `fates`: of each write that was not synced, in turns: how many of its
    bytes stay (None: all).
    """

    operation: int
    fates: tuple[int | None, ...]


@dataclass(frozen=True)
class Failure:
    """The operation raises; `written`: after it has done its work."""

    operation: int
    written: bool


class Medium(MemoryStorage):
    """Knows of each write whether it is durable: `durable` is what a cut cannot take any more."""

    def __init__(self, areas: dict[str, bytes]) -> None:
        super().__init__()
        self.areas = {name: bytearray(area) for name, area in areas.items()}
        self.durable = dict(areas)
        self.pending: list[tuple[str, int, bytes]] = []
        self.created = ""
        self.trouble: Cut | Failure | None = None
        self.left = 0
        self.gone = False

    def arm(self, trouble: Cut | Failure | None) -> None:
        self.trouble, self.left = trouble, trouble.operation if trouble else 0

    def disarm(self) -> bool:
        """Whether it came to the trouble."""
        came, self.trouble = self.trouble is not None and self.left <= 0, None
        return came

    def flush(self) -> None:
        """Everything reaches the disk, as it does in time without a sync."""
        self.durable, self.pending = {name: bytes(area) for name, area in self.areas.items()}, []

    def after_cut(self, fates: tuple[int | None, ...]) -> Medium:
        """What is there when the power comes back."""
        areas = {name: bytearray(area) for name, area in self.durable.items()}
        if self.created and fates[-1] is not None:  # the last operation made an area, and did not come to its end
            del areas[self.created]
            if fates[-1]:
                areas[self.created] = bytearray(min(64 * fates[-1], self.size(self.created)))
        for number, (name, offset, data) in enumerate(self.pending):
            part = data[: fates[number % len(fates)]]
            areas[name][offset : offset + len(part)] = part
        return Medium({name: bytes(area) for name, area in areas.items()})

    def _operation(self, work: Callable[[], None]) -> None:
        if self.gone:
            raise PowerCut
        self.left -= 1
        now = self.trouble if self.left == 0 else None
        if isinstance(now, Failure) and not now.written:
            raise StorageFailed("EIO")
        self.created = ""
        work()
        if isinstance(now, Failure):
            raise StorageFailed("EIO")
        if isinstance(now, Cut):
            self.gone = True
            raise PowerCut

    def size(self, name: str) -> int:
        if name not in self.areas:
            raise StorageFailed(f"there is no {name}")
        return super().size(name)

    def create(self, name: str, size: int) -> None:
        def work() -> None:
            MemoryStorage.create(self, name, size)
            self._forget(name)
            self.durable[name] = bytes(size)
            self.created = name

        self._operation(work)

    def write(self, name: str, offset: int, data: bytes) -> None:
        def work() -> None:
            MemoryStorage.write(self, name, offset, data)
            self.pending.append((name, offset, data))

        self._operation(work)

    def sync(self, name: str) -> None:
        def work() -> None:
            self.durable[name] = bytes(self.areas[name])
            self._forget(name)

        self._operation(work)

    def remove(self, name: str) -> None:
        def work() -> None:
            MemoryStorage.remove(self, name)
            self._forget(name)
            self.durable.pop(name, None)

        self._operation(work)

    def _forget(self, name: str) -> None:
        self.pending = [write for write in self.pending if write[0] != name]
