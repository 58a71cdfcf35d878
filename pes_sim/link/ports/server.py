"""What a device answers at: the loop that all schemes with a descriptor share, in a thread of its own.

One thread asks the session, so an answer and what a device sends by itself never run into each other. It polls, and a
pipe wakes it: nothing here waits for a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from pes_sim.clock import Clock
from pes_sim.link.device import Session
from pes_sim.link.ports.stream import DEVICE_LOOKS, poll, wait_for
from pes_sim.psd.faults import PowerCut

_HUNG_UP: Final = getattr(select, "POLLRDHUP", 0)
"""The other side of a connection sends no more. (A terminal, and another system than Linux, does not have it.)"""

_log: Final = logging.getLogger(__name__)


class Server(ABC):
    """A port that is served until `close`.

    `uri` is what a host passes to `open_host` (for a real serial port what it would be here: the host has a name of its
    own for the other end). `path` is the terminal's, where there is one.
    """

    uri: str
    path: str = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it serves no more because it was closed."""

    @abstractmethod
    def close(self) -> None:
        """Stops serving. A request under way is finished first, so its debit and its record agree."""

    @abstractmethod
    def poke(self) -> None:
        """From any thread: has the session asked for what the device sends by itself, after any answer under way."""


class ThreadedServer(Server):
    """Serves one host at a time; a subclass's `_serve` says which. It starts with `_start`, and takes over what was
    `opened` for it then: it is closed in the end.
    """

    knocks: int = -1
    """A descriptor that is readable when another host comes; -1 where none can."""

    def __init__(self, uri: str, sessions: Callable[[], Session], clock: Clock, *, path: str = "") -> None:
        self.uri = uri
        self.path = path
        self._sessions = sessions
        self._clock = clock
        self._stopping = False
        self._closing = threading.RLock()
        self._waking = threading.Lock()
        """Not the same: a request under way may poke, and whoever closes waits for it."""
        self._opened: contextlib.ExitStack | None = None

    def _start(self, opened: contextlib.ExitStack) -> Self:
        self._wake_read, self._wake_write = os.pipe()
        opened.callback(os.close, self._wake_read)
        opened.callback(os.close, self._wake_write)
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._serve, name=f"pes-sim {self.uri}", daemon=True)
        self._opened = opened  # the first request may poke
        self._thread.start()
        self._opened = opened.pop_all()
        return self

    @property
    def closed(self) -> bool:
        return self._opened is None

    def close(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("a request cannot close the port that it came through: it would wait for its own end")
        with self._closing:
            if self._opened is None:
                return
            self._stopping = True
            self.poke()
            self._thread.join()
            with self._waking:
                self._opened.close()
                self._opened = None

    def poke(self) -> None:
        with self._waking, contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            if self._opened is not None:
                os.write(self._wake_write, b"x")

    @abstractmethod
    def _serve(self) -> None: ...

    def _turn_away(self, fd: int) -> None:
        """Another host knocked while one is there, at `fd`."""

    def _converse(self, fd: int) -> str:
        """Answers on `fd` until its host has gone, and says how; or until the server is closed: that gives ""."""
        awaited = [self._wake_read] if self.knocks < 0 else [self._wake_read, self.knocks]
        asked, answerable = poll(fd, select.POLLIN, *awaited), poll(fd, select.POLLOUT, *awaited)
        host = Conversation(fd, self._sessions, self._clock)
        while True:
            try:
                if host.poked:
                    host.speak()
                ready = wait_for(answerable if host.pending else asked, None, DEVICE_LOOKS)
                if len(ready) > 1 or ready[0][0] != fd:
                    found = {number for number, _ in ready}
                    if self._wake_read in found:
                        if self._stopping:
                            return ""
                        os.read(self._wake_read, 4096)
                        host.poked = True
                    if self.knocks in found:
                        if not _hung_up(fd):
                            self._turn_away(fd)
                        elif host.pending:
                            return "it sends no more, and does not read what it asked for"
                    if fd not in found:
                        continue
                host.go_on()
            except OSError as problem:
                return str(problem)


class Conversation:
    """With the host at `fd`, which does not block. Whoever polls says when it goes on: to read while nothing is
    `pending`, else to write.
    """

    def __init__(self, fd: int, sessions: Callable[[], Session], clock: Clock) -> None:
        self.fd = fd
        self.pending = b""
        """What the host has not taken yet."""
        self.poked = True
        """Whether the device may have something to say by itself."""
        self._sessions = sessions
        self._session = sessions()
        self._clock = clock

    def speak(self) -> None:
        """Has the session say what it says by itself, unless an answer is under way."""
        if not self.pending:
            self.poked = False
            try:
                self.pending = self._session.unasked(self._clock.now())
            except PowerCut:
                self._session = self._sessions()

    def go_on(self) -> None:
        """Reads what was asked, or writes what is left of an answer. Raises `OSError` when the host has gone."""
        try:
            if not self.pending:
                data = os.read(self.fd, 65536)
                if not data:
                    raise ConnectionError("the other end has gone")
                self.pending = self._session.receive(data, self._clock.now())
            if self.pending:
                self.pending = self.pending[os.write(self.fd, self.pending) :]
        except BlockingIOError:
            pass  # the line is full, or an outside program flushed what poll had promised
        except PowerCut:
            self._session = self._sessions()  # it answers nothing, and remembers nobody


def _hung_up(fd: int) -> bool:
    """Whether a host has gone. What it left is still to be read."""
    return bool(poll(fd, _HUNG_UP).poll(0))


class LineServer(ThreadedServer):
    """Serves one line that is there from the start: a terminal, a serial port."""

    def __init__(
        self, uri: str, sessions: Callable[[], Session], clock: Clock, fd: int, opened: contextlib.ExitStack,
        *, path: str = "",
    ) -> None:  # fmt: skip
        super().__init__(uri, sessions, clock, path=path)
        self.fd = fd
        self._start(opened)

    def _serve(self) -> None:
        if problem := self._converse(self.fd):
            _log.error("%s was lost, and nothing is answered there any more: %s", self.uri, problem)
