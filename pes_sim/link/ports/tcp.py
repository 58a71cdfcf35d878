"""tcp: the plain bytes over a connection: `tcp:HOST:PORT`, or `tcp:PORT` on this machine.

One host at a time, as on a serial line: the next is turned away while one is there. One that has gone without a word,
with its machine or its network, is missed after half a minute, and its place is free.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Callable, Mapping
from typing import Final

from pes_sim.clock import Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import Session
from pes_sim.link.ports.server import Server, ThreadedServer
from pes_sim.link.ports.stream import StreamTransport, poll
from pes_sim.link.ports.uri import LOOPBACK, Uri, join

_MISSED_AFTER: Final[Mapping[str, int]] = {
    "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000,
}  # fmt: skip
"""Options of a socket, in seconds, but the last in milliseconds."""
_OPTIONS: Final = [(getattr(socket, name), value) for name, value in _MISSED_AFTER.items() if hasattr(socket, name)]
"""Those that this system has."""
_CONNECTS_IN: Final = 5
"""Seconds that a host gives a connection to come about. An answer on it is another matter."""
_ANYWHERE: Final = {"0.0.0.0": LOOPBACK, "::": "::1"}
"""Where this machine reaches a port of its own that listens at every address."""
_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_AT_REST: Final = 1_000
"""Milliseconds after which a connection that could not be taken in, for want of descriptors, is tried again."""


class TcpTransport(StreamTransport):
    """The host's end of a connection."""

    def __init__(self, name: str, connection: socket.socket, timeout_ms: int) -> None:
        self._connection = connection
        super().__init__(name, self._descriptor, connection.close, timeout_ms)

    def _descriptor(self) -> int:
        fd = self._connection.fileno()
        if fd < 0:
            raise OSError("this program closed it")
        return fd

    def _lost(self, problem: OSError) -> LinkError:
        if self._heard or not isinstance(problem, ConnectionError):
            return super()._lost(problem)
        return LinkError(
            f"{self.name} closed the connection before it answered anything",
            hint="Another host may have it: only one at a time is served. Close that one, or see if the meter runs",
        )


def open_host(uri: Uri, timeout_ms: int) -> Transport:
    """A connection to a port that listens."""
    uri.parameters()
    host, port = uri.host_and_port()
    name = join("tcp", host, port)
    try:
        connection = socket.create_connection((host, port), timeout=_CONNECTS_IN)
    except (OSError, UnicodeError) as problem:
        raise cannot_connect(name, problem) from None
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return TcpTransport(name, connection, timeout_ms)


def serve(uri: Uri, sessions: Callable[[], Session], clock: Clock) -> Server:
    """Listens. Port 0 is any that is free; the server's `uri` has its number."""
    uri.parameters()
    return listen(uri, sessions, clock)


def listen(uri: Uri, sessions: Callable[[], Session], clock: Clock) -> Server:
    """A listening port of any scheme over TCP: they differ in their sessions."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(listening(uri))
        return ListeningServer(uri.scheme, sessions, clock, listener, opened)


def listening(uri: Uri) -> socket.socket:
    """A socket that listens there, and does not block. Raises `LinkError`."""
    host, port = uri.host_and_port()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as problem:
        raise _cannot_listen(join(uri.scheme, host, port), problem) from problem
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket, scheme: str) -> str:
    """The URI that a host opens."""
    host, port = listener.getsockname()[:2]
    return join(scheme, _ANYWHERE.get(host, host), port)


def let_in(listener: socket.socket, *meanwhile: int) -> socket.socket | None:
    """Who knocks. Where the system has no place for it, a moment passes, or until something comes `meanwhile`."""
    try:
        connection, _ = listener.accept()
    except OSError as problem:
        if problem.errno in _FULL:
            poll(meanwhile[0], select.POLLIN, *meanwhile[1:]).poll(_AT_REST)
        return None  # or it has gone again
    connection.setblocking(False)
    with contextlib.suppress(OSError):  # some systems set nothing where the other side has gone already
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _OPTIONS:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection


class ListeningServer(ThreadedServer):
    """Serves whoever connects, one after the other."""

    def __init__(
        self, scheme: str, sessions: Callable[[], Session], clock: Clock, listener: socket.socket,
        opened: contextlib.ExitStack,
    ) -> None:  # fmt: skip
        super().__init__(address_of(listener, scheme), sessions, clock)
        self._listener = listener
        self.knocks = listener.fileno()
        self._start(opened)

    def _serve(self) -> None:
        knocked = poll(self._wake_read, select.POLLIN, self.knocks)
        while not self._stopping:
            ready = {number for number, _ in knocked.poll()}
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)  # nobody is there to be told anything
            elif (connection := self._let_in()) is not None:
                with connection:
                    self._converse(connection.fileno())

    def _let_in(self, *meanwhile: int) -> socket.socket | None:
        return let_in(self._listener, self._wake_read, *meanwhile)

    def _turn_away(self, fd: int) -> None:
        if (connection := self._let_in(fd)) is not None:
            connection.close()


def cannot_connect(name: str, problem: Exception) -> LinkError:
    """Why there is no connection, and what to do."""
    if isinstance(problem, socket.gaierror | UnicodeError):
        return _no_such_host(name, problem)
    if isinstance(problem, ConnectionRefusedError):
        return LinkError(f"nothing listens at {name}", hint="Start the meter first, and take the port that it prints")
    if isinstance(problem, TimeoutError):
        return LinkError(f"{name} does not answer", hint="Is the machine on, and does a firewall let it through?")
    return LinkError(f"{name} cannot be reached: {_why(problem)}", hint="Check the address, and the network")


def _cannot_listen(name: str, problem: Exception) -> LinkError:
    if isinstance(problem, socket.gaierror | UnicodeError):
        return _no_such_host(name, problem)
    number = getattr(problem, "errno", None)
    if number == errno.EADDRINUSE:
        return LinkError(f"{name} is in use by another program", hint="Choose another port, or 0 for any that is free")
    if number == errno.EACCES:
        return LinkError(f"no permission to listen at {name}", hint="Choose a port from 1024 on")
    if number == errno.EADDRNOTAVAIL:
        return LinkError(
            f"{name} is no address of this machine", hint="Leave the host out for this machine alone, or name 0.0.0.0"
        )
    return LinkError(f"{name} cannot be listened at: {_why(problem)}", hint="Choose another port, or another address")


def _no_such_host(name: str, problem: Exception) -> LinkError:
    return LinkError(f"the host of {name} is not known: {_why(problem)}", hint="Check its name, or give its address")


def _why(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)
