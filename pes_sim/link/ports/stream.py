"""The host's end of anything that has a descriptor, and how both ends wait for one."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from pes_sim.errors import LinkError


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
            if not self._readable.poll(self._timeout_ms):
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


def poll(fd: int, event: int, *readable: int) -> select.poll:
    """Waits for `event` on `fd`, or for bytes on another. Unlike select it takes any descriptor's number."""
    waits = select.poll()
    waits.register(fd, event)
    for other in readable:
        waits.register(other, select.POLLIN)
    return waits
