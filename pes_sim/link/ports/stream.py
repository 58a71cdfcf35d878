"""The host's end of anything that has a descriptor, and how both ends wait for one."""

from __future__ import annotations

import math
import os
import select
import threading
from collections.abc import Callable
from typing import Final

from pes_sim.clock import stopwatch
from pes_sim.errors import LinkError

HOST_LOOKS: Final = 1000
"""How often a host looks for an answer before it sleeps: longer than a debit takes on a good disk, some 0.7 ms."""
DEVICE_LOOKS: Final = 200
"""How often a device looks for the next request: so long as a program takes that asks one after the other."""

ANOTHERS_TURN: Final = 0.0005
"""Seconds. Who lets others go first and comes back later than that has let another program have its whole turn."""
SLEEPS: Final = 500
"""How often one then sleeps at once: who sleeps is woken before such a program, who looks waits for its turn's end."""

_PROCESSORS: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_let_others: Final[Callable[[], object]] = getattr(os, "sched_yield", int)


class StreamTransport:
    """Reads and writes a descriptor that does not block; `fileno` gives it, or raises `OSError` once it is closed."""

    def __init__(self, name: str, fileno: Callable[[], int], close: Callable[[], None], timeout_ms: int) -> None:
        self.name = name
        self.close = close
        self.fileno = fileno
        self._timeout_ms = timeout_ms
        self._heard = False
        self._readable = poll(fileno(), select.POLLIN)
        self._writable = poll(fileno(), select.POLLOUT)

    def read(self) -> bytes:
        # By the port's descriptor: two system calls. pyserial's read needs five, and what waits on an idle processor
        # feels each of them.
        try:
            fd = self.fileno()
            # With another thread of this process, which may be the device's, looking would only keep it waiting.
            looks = HOST_LOOKS if threading.active_count() == 1 else 0
            if not wait_for(self._readable, self._timeout_ms, looks):
                return b""
            data = os.read(fd, 65536)
            if not data:
                raise ConnectionError("the other end has gone")
        except OSError as problem:
            raise self._lost(problem) from None
        self._heard = True
        return data

    def write(self, data: bytes) -> None:
        try:
            fd = self.fileno()
            while data:
                try:
                    data = data[os.write(fd, data) :]
                except BlockingIOError:
                    if not self._writable.poll(self._timeout_ms):
                        raise OSError("nothing takes what is written") from None
        except OSError as problem:
            raise self._lost(problem) from None

    def _lost(self, problem: OSError) -> LinkError:
        """pyserial's own exceptions are `OSError`s too."""
        return lost(self.name, problem)


def lost(name: str, problem: object) -> LinkError:
    """The end of a port that was open."""
    return LinkError(f"{name} was lost: {problem}", hint="Is the meter still running, and plugged in?")


def wait_for(waits: select.poll, timeout_ms: int | None, looks: int) -> list[tuple[int, int]]:
    """What has come of all that is waited for; nothing when the time is out. None waits without end.

    It looks so many times before it sleeps: a processor that has nothing to do falls asleep, and takes some 50 us to
    wake, which is more than either side needs to answer the other. Each look lets others go first; where there is one
    processor, or other programs want all there are, it sleeps at once.
    """
    looked, most = 0.0, math.inf if timeout_ms is None else timeout_ms / 1000
    for _ in range(_eagerness.looks(looks)):
        if found := waits.poll(0):
            return found
        before = stopwatch()
        _let_others()
        turn = stopwatch() - before
        looked += turn
        if turn > ANOTHERS_TURN:
            _eagerness.tire()
            break
        if looked > most:
            break
    # Others' short turns, a thousand of them, would make half a second of it.
    return waits.poll(None if timeout_ms is None else max(0, timeout_ms - int(looked * 1000)))


class _Eagerness:
    """Whether looking pays, for all ports of this process: its processors are the same."""

    def __init__(self, processors: int) -> None:
        self._processors = processors
        self._sleeps = 0

    def looks(self, wanted: int) -> int:
        """How often to look this time."""
        if self._processors == 1:
            return 0
        if self._sleeps > 0:  # two threads may both have counted down
            self._sleeps -= 1
            return 0
        return wanted

    def tire(self) -> None:
        """A processor was wanted by somebody else."""
        self._sleeps = SLEEPS


_eagerness: Final = _Eagerness(_PROCESSORS)


def poll(fd: int, event: int, *readable: int) -> select.poll:
    """Waits for `event` on `fd`, or for bytes on another. Unlike select it takes any descriptor's number."""
    waits = select.poll()
    waits.register(fd, event)
    for other in readable:
        waits.register(other, select.POLLIN)
    return waits
