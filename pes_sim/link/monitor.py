"""A monitor: takes bytes as they go by, in both directions, and tells of each frame in them.

* Whoever passes the bytes on never waits for it: they are noted, and a thread of its own cuts, decodes and tells.
* Of what is noted only so much is kept; what was too much is counted, and the monitor says so when it goes on.
* What is told is what a trace shows: see `showing`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from pes_sim.clock import Clock
from pes_sim.link import pcapng
from pes_sim.link.frame import FrameKind, Framer
from pes_sim.link.showing import Harmless, Shown, Splitter, harmless
from pes_sim.link.telling import Seen
from pes_sim.link.trace import Trace
from pes_sim.psd.services import Service

MOST: Final = 4 << 20
"""Bytes that wait to be told, with what it takes to note them."""
_EACH: Final = 256
"""What it takes to note one piece."""
_AT_DEVICE, _AT_HOST = "the device's end", "the host's end"
"""How a trace says which end it was taken at (`trace.Tap`)."""

Tell = Callable[["Seen | Notice"], None]


class Notice(NamedTuple):
    """Something to be told that is no frame."""

    time: int
    text: str

    @property
    def size(self) -> int:
        """What it takes to keep it."""
        return _EACH + len(self.text)


class _Noted(NamedTuple):
    time: int
    to_device: bool
    data: bytes
    missed: tuple[int, int] = (0, 0)
    """Bytes that were not kept just before it: to the host, and to the device."""

    @property
    def size(self) -> int:
        """What it takes to keep it."""
        return _EACH + len(self.data)


class Decoder:
    """Bytes of both directions in, what is to be told out."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._known: Harmless = harmless(services)
        self._ways = [Splitter(self._known, to_device=bool(to_device)) for to_device in (0, 1)]
        self._positions = [0, 0]

    def feed(self, time: int, data: bytes, *, to_device: bool) -> Iterator[Seen]:
        """What these bytes complete."""
        self._positions[to_device] += len(data)
        yield from self._told(time, to_device, self._ways[to_device].feed(data))

    def skip(self, time: int, missed: tuple[int, int]) -> Iterator[Seen | Notice]:
        """So many bytes, to the host and to the device, were not kept: what was begun before them has no end."""
        yield from self.end(time)
        yield Notice(time, f"{sum(missed)} bytes went by too fast to be shown; they were passed on")
        for to_device in (False, True):
            self._positions[to_device] += missed[to_device]
            position = self._positions[to_device]
            self._ways[to_device] = Splitter(self._known, to_device=to_device, position=position)

    def end(self, time: int) -> Iterator[Seen]:
        """Nothing more comes: what was begun is told as it is."""
        for to_device in (False, True):
            yield from self._told(time, to_device, self._ways[to_device].end())

    def _told(self, time: int, to_device: bool, runs: Iterable[Shown]) -> Iterator[Seen]:
        for shown in runs:
            yield Seen(time, to_device, shown, *self._ways[to_device].span)


class Monitor:
    """Tells of what `saw` is called with, until `close`. `name` is what a `trace` calls the line."""

    def __init__(
        self, services: Iterable[Service], clock: Clock, tell: Tell, *, trace: Trace | None = None, name: str = "",
        failed: Callable[[], None] = lambda: None, most: int = MOST,
    ) -> None:  # fmt: skip
        """`tell` may take its time; what it raises ends the telling, is raised by `close`, and `failed` is called."""
        self._clock = clock
        self._tell = tell
        self._trace = trace
        self._line = trace.line(name, f"{name}, {_AT_DEVICE}") if trace else 0
        self._failed = failed
        self._decoder = Decoder(services)
        self._most = most
        self._turn = threading.Condition()
        self._noted: deque[_Noted | Notice] = deque()
        self._kept = 0
        self._missed = (0, 0)
        self._closed = False
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="pes-sim monitor", daemon=True)
        self._thread.start()

    def saw(self, data: bytes, to_device: bool) -> None:
        """These bytes went by."""
        with self._turn:
            if not self._keep(_Noted(self._clock.now(), to_device, data, self._missed)):
                missed = [*self._missed]
                missed[to_device] += len(data)
                self._missed = (missed[0], missed[1])
            else:
                self._missed = (0, 0)

    def said(self, text: str) -> None:
        """Something else happened."""
        with self._turn:
            self._keep(Notice(self._clock.now(), text))

    def _keep(self, item: _Noted | Notice) -> bool:
        """Notes it, if there is room."""
        if self._kept and self._kept + item.size > self._most:
            return False
        self._kept += item.size
        self._noted.append(item)
        self._turn.notify()
        return True

    def close(self) -> None:
        """Tells the rest, and ends. Raises what telling has failed with."""
        with self._turn:
            self._closed = True
            self._turn.notify()
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                if isinstance(item, Notice):
                    self._tell(item)
                    continue
                if any(item.missed):
                    self._each(self._decoder.skip(item.time, item.missed))
                self._each(self._decoder.feed(item.time, item.data, to_device=item.to_device))
            if any(self._missed):
                self._each(self._decoder.skip(self._clock.now(), self._missed))
            self._each(self._decoder.end(self._clock.now()))
        except Exception as problem:
            self._problem = problem
            self._failed()

    def _next(self) -> _Noted | Notice | None:
        with self._turn:
            self._turn.wait_for(lambda: self._noted or self._closed)
            if not self._noted:
                return None
            item = self._noted.popleft()
            self._kept -= item.size
            return item

    def _each(self, items: Iterable[Seen | Notice]) -> None:
        for item in items:
            if self._trace is not None and isinstance(item, Seen):
                self._trace.write(self._line, item.time, item.shown, inbound=item.to_device)
            self._tell(item)


def recorded(packet: pcapng.Packet) -> Seen:
    """A packet of a trace. Where nothing says which way it went, what it is does."""
    if packet.inbound is None or not packet.description.endswith((_AT_DEVICE, _AT_HOST)):
        items = Framer().feed(packet.data + b"\0")
        to_device = bool(items) and getattr(items[0], "kind", None) == FrameKind.REQUEST
    else:
        to_device = packet.inbound == packet.description.endswith(_AT_DEVICE)
    return Seen(packet.time, to_device, Shown(packet.data, packet.comment), lost=packet.dropped)
