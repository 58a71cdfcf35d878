"""Many pseudo-terminals, one thread: what a hundred meters in one process need.

A thread for each would have them wait for one another's turn at the interpreter, which lasts milliseconds. Here they
wait for one another's requests, which last a fraction of one; a session that takes its time (a line with a pace) is for
a port of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from pes_sim.clock import Clock
from pes_sim.link.device import Session
from pes_sim.link.ports import pty
from pes_sim.link.ports.server import Conversation, Server
from pes_sim.link.ports.stream import DEVICE_LOOKS, wait_for
from pes_sim.link.ports.uri import Uri

_log: Final = logging.getLogger(__name__)


class Switchboard:
    """Serves pseudo-terminals until `close`, which closes them all."""

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self._turn = threading.RLock()
        """Held while a line is asked, made or closed."""
        self._poll = select.poll()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._poll.register(self._wake_read, select.POLLIN)
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="pes-sim switchboard", daemon=True)
        self._thread.start()

    def __enter__(self) -> Switchboard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def serve(self, uri: str, sessions: Callable[[], Session], clock: Clock) -> Server:
        """As `ports.serve` does, for a `pty:` URI. Raises `UsageError` for another, and `LinkError`."""
        address = Uri.parse(uri)
        if address.scheme != "pty":
            raise address.bad("is served by a thread of its own", "A switchboard has pty: ports only")
        with contextlib.ExitStack() as opened, self._turn:
            if self._stopping:
                raise RuntimeError("this switchboard was closed")
            master, path = pty.terminal(address, opened)
            line = _Line(self, Conversation(master, sessions, clock), path, opened.pop_all())
            self._lines[master] = line
            self._poll.register(master, select.POLLIN)
        line.poke()
        return line

    def close(self) -> None:
        """Stops serving. A request under way is finished first."""
        self.check_outside()
        with self._turn:
            if self._stopping:
                return
            self._stopping = True
        self.wake()
        self._thread.join()
        for line in list(self._lines.values()):
            line.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def wake(self) -> None:
        """From any thread: has every line looked at that was poked, or closed."""
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_write, b"x")

    def check_outside(self) -> None:
        """Raises `RuntimeError` in the thread that serves."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a request cannot close the port that it came through: it would wait for its own end")

    def remove(self, line: _Line) -> None:
        """Serves it no more; a request of it is finished first."""
        with self._turn:
            if self._lines.pop(line.host.fd, None) is not None:
                self._poll.unregister(line.host.fd)
            line.opened.close()

    def _serve(self) -> None:
        while not self._stopping:
            for number, _ in wait_for(self._poll, None, DEVICE_LOOKS):
                with self._turn:
                    if number == self._wake_read:
                        os.read(number, 4096)
                        for line in list(self._lines.values()):
                            self._go_on(line, asked=False)
                    elif (found := self._lines.get(number)) is not None:  # not one that was closed just now
                        self._go_on(found, asked=True)

    def _go_on(self, line: _Line, *, asked: bool) -> None:
        host = line.host
        had = bool(host.pending)
        try:
            if asked:
                host.go_on()
            if host.poked:
                host.speak()
        except OSError as problem:
            _log.error("%s was lost, and nothing is answered there any more: %s", line.uri, problem)
            self.remove(line)
            return
        if bool(host.pending) != had:
            self._poll.modify(host.fd, select.POLLOUT if host.pending else select.POLLIN)


class _Line(Server):
    """One of its terminals."""

    def __init__(self, board: Switchboard, host: Conversation, path: str, opened: contextlib.ExitStack) -> None:
        self.uri = f"pty:{path}"
        self.path = path
        self.host = host
        self.opened = opened
        self._board = board
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._board.check_outside()
        if not self._closed:
            self._closed = True
            self._board.remove(self)

    def poke(self) -> None:
        if not self._closed:
            self.host.poked = True
            self._board.wake()
