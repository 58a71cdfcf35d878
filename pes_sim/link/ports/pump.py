"""A descriptor for a port that has none of its own: two threads carry its bytes to and from a socket that has one.

For whoever polls several ports in one thread, as a relay does, and is given one that can only be read and written.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Final

from pes_sim.errors import LinkError
from pes_sim.link.client import Transport

_AT_ONCE: Final = 65536


class Pump:
    """Of `inner`, which it closes with itself. Its descriptor does not block, and is at its end when `inner` is lost.

    Back pressure goes through: what nobody takes at the one side is not read for long at the other.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self._closing = False
        self._threads = [
            threading.Thread(target=carry, name=f"pes-sim pump {inner.name}", daemon=True)
            for carry in (self._inwards, self._outwards)
        ]
        for thread in self._threads:
            thread.start()

    def fileno(self) -> int:
        """The descriptor."""
        return self._theirs.fileno()

    def close(self) -> None:
        """Closes both. What was written and not carried yet is lost, as with any port."""
        self._closing = True
        self._end()
        self._inner.close()
        for thread in self._threads:
            thread.join()
        self._ours.close()
        self._theirs.close()

    def _inwards(self) -> None:
        with self._until_lost():
            while not self._closing:
                self._ours.sendall(self._inner.read())  # nothing, each time its time is out

    def _outwards(self) -> None:
        with self._until_lost():
            while data := self._ours.recv(_AT_ONCE):
                self._inner.write(data)

    @contextlib.contextmanager
    def _until_lost(self) -> Iterator[None]:
        try:
            yield
        except (LinkError, OSError):
            pass  # the port was lost, or the socket closed: the other side finds that out by itself
        finally:
            self._end()

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
