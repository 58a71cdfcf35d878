"""memory: both ends in one program, through the same frames. What a host writes is answered before `write` returns.

A served one has a name (`memory:bench`, or a number that it draws), which hosts in the same program find it by. From
another program there is nothing to connect to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import Final

from pes_sim.clock import Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import DeviceSession, Endpoint, Session
from pes_sim.link.ports import TIMEOUT_MS
from pes_sim.link.ports.server import Server
from pes_sim.link.ports.stream import lost
from pes_sim.link.ports.uri import Uri
from pes_sim.psd.faults import PowerCut

_served: Final[dict[str, MemoryServer]] = {}
_naming: Final = threading.Lock()
_numbers: Final = count(1)


class MemoryTransport:
    """The host's end of a line without a line, without a server either: it asks an endpoint, in the caller's thread.

    A power cut is the exception `PowerCut` here.
    """

    name = "memory:"

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self._session = DeviceSession(endpoint)
        self._clock = clock
        self._answer = b""

    def read(self) -> bytes:
        answer, self._answer = self._answer, b""
        if answer:
            return answer
        # Nothing comes: the time-out passes, on the clock that both ends share, and may bring something about.
        self._clock.wait(TIMEOUT_MS * 1000)
        return self._session.unasked(self._clock.now())

    def write(self, data: bytes) -> None:
        self._answer += self._session.receive(data, self._clock.now())

    def close(self) -> None:
        """Nothing is open."""


def open_host(uri: Uri, timeout_ms: int) -> Transport:
    """A host of what is served in this program, under that name."""
    uri.parameters()
    with _naming:
        server = _served.get(uri.where)
    if server is None:
        raise LinkError(
            f"nothing serves {uri.text} in this program",
            hint="A memory: port cannot be reached from outside; serve the device at pty: or tcp:, and open that",
        )
    return server.connect(timeout_ms)


def serve(uri: Uri, sessions: Callable[[], Session], clock: Clock) -> Server:
    """A port without a thread: who writes to it has the session answer."""
    uri.parameters()
    with _naming:
        name = uri.where or next(str(number) for number in _numbers if str(number) not in _served)
        if name in _served:
            raise LinkError(f"memory:{name} is in use", hint="Choose another name, or none")
        _served[name] = server = MemoryServer(name, sessions, clock)
    return server


class MemoryServer(Server):
    """One host at a time, each with a session of its own."""

    def __init__(self, name: str, sessions: Callable[[], Session], clock: Clock) -> None:
        self.uri = f"memory:{name}"
        self._name = name
        self._sessions = sessions
        self._clock = clock
        self._turn = threading.RLock()
        """Whoever asks the session has it. Who pokes does not wait for it: that may be whom a request waits for."""
        self._arrived = threading.Condition()
        """What has come for the host, and who that is, changes under it; nobody asks anything meanwhile."""
        self._asking = self._closed = self._poked = False
        self._host: _Host | None = None

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        with self._turn, self._arrived:
            if self._asking:
                raise RuntimeError("a request cannot close the port that it came through")
            if not self._closed:
                self._closed = True
                with _naming:
                    del _served[self._name]
            self._arrived.notify_all()

    def poke(self) -> None:
        self._poked = True
        self._speak()

    def connect(self, timeout_ms: int) -> Transport:
        """Its host. Raises `LinkError` while there is another."""
        with self._turn:
            if self._host is not None:
                raise LinkError(f"{self.uri} is in use by another host", hint="Close that one first")
            self._host = host = _Host(self, self._sessions(), timeout_ms)
        self.poke()
        return host

    def ask(self, host: _Host, data: bytes) -> None:
        """Has the host's session answer."""
        with self._turn:
            self._ask(host, lambda session, now: session.receive(data, now))
        self._speak()

    def _speak(self) -> None:
        """Has the session say what it says by itself, if it was poked. Who has the turn now does it afterwards."""
        while self._poked and self._turn.acquire(blocking=False):
            try:
                if self._asking or (host := self._host) is None:
                    return
                self._poked = False
                self._ask(host, lambda session, now: session.unasked(now))
            finally:
                self._turn.release()

    def _ask(self, host: _Host, what: Callable[[Session, int], bytes]) -> None:
        self._asking = True
        try:
            said = what(host.session, self._clock.now())
        except PowerCut:
            host.session, said = self._sessions(), b""
        finally:
            self._asking = False
        with self._arrived:
            host.came += said
            self._arrived.notify_all()


class _Host:
    """A host's end. A read that follows a write does not wait: what was answered is there."""

    def __init__(self, server: MemoryServer, session: Session, timeout_ms: int) -> None:
        self.name = server.uri
        self.session = session
        self.came = b""
        self._server = server
        self._timeout_ms = timeout_ms
        self._answered = False

    def read(self) -> bytes:
        with self._server._arrived:
            if not self._answered:
                self._server._arrived.wait_for(lambda: self.came or self._gone(), self._timeout_ms / 1000)
            self._answered = False
            data, self.came = self.came, b""
            if not data:
                self._check()
            return data

    def write(self, data: bytes) -> None:
        self._check()
        self._server.ask(self, data)
        self._answered = True

    def close(self) -> None:
        with self._server._arrived:
            if self._server._host is self:
                self._server._host = None
            self._server._arrived.notify_all()

    def _gone(self) -> bool:
        return self._server.closed or self._server._host is not self

    def _check(self) -> None:
        if self._gone():
            raise lost(self.name, "the server was closed" if self._server.closed else "this program closed it")
