"""A relay between a device's port and a program: it opens the one as a host would, and offers another for the program.

* Bytes are passed on unchanged, each direction by itself, at once; whoever looks on (`saw`) sees them after.
* Of each direction no more is read than the other end has taken: back pressure reaches whoever sends, and memory is
  bounded.
* It polls, and a pipe wakes it: nothing here waits for a time.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from typing import Final

from pes_sim.errors import LinkError, UsageError
from pes_sim.link.ports import TIMEOUT_MS, open_host
from pes_sim.link.ports.pump import Pump
from pes_sim.link.ports.stream import StreamTransport, lost
from pes_sim.link.ports.uri import Uri

OFFERED: Final = ("pty", "tcp", "serial")
"""Schemes at which a program can find it."""
OPENED: Final = ("pty", "serial", "tcp", "rfc2217")
"""Schemes at which it can find a device: all that lie outside this process."""
_AT_ONCE: Final = 65536

Saw = Callable[[bytes, bool], None]
"""Is told of bytes that were passed on, and whether they went to the device. It must not wait."""


class _End:
    """An end, and what it has not taken yet. Without a descriptor nobody is there, and what is sent is lost."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.pending = b""

    def send(self, data: bytes) -> None:
        """Raises `OSError` when the end has gone."""
        if self.fd >= 0:
            self.pending = data
            self.go_on()

    def go_on(self) -> None:
        """Writes what is pending, as far as it is taken."""
        with contextlib.suppress(BlockingIOError):
            self.pending = self.pending[os.write(self.fd, self.pending) :]


class Relay:
    """Between the device at `port` and a program that opens `uri`, from when it is made until `close`.

    Raises as `open_host` and `serve` of `pes_sim.link.ports` do.
    """

    def __init__(self, port: str, listen: str, saw: Saw, *, told: Callable[[str], None] = lambda _: None) -> None:
        """`told` is called when a program has come, or has gone, where the port shows that."""
        self._saw = saw
        self._told = told
        self._stopping = False
        self._lost: LinkError | None = None
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        for uri, known in ((Uri.parse(port), OPENED), (Uri.parse(listen), OFFERED)):
            if uri.scheme not in known:
                hint = f"Allowed: a path, or {', '.join(f'{name}:' for name in known)} (docs/monitor.md)"
                raise UsageError(f"no relay can be put at {uri.text!r}", hint=hint)
        with contextlib.ExitStack() as opened:
            device = open_host(port, timeout_ms=TIMEOUT_MS)
            carried = device if isinstance(device, StreamTransport) else Pump(device)
            opened.callback(carried.close)
            self._device = _End(device.name, carried.fileno())
            self.uri, fd = self._offer(Uri.parse(listen), opened)
            self._program = _End(self.uri, fd)
            self._wake_read, self._wake_write = os.pipe()
            opened.callback(os.close, self._wake_read)
            opened.callback(os.close, self._wake_write)
            os.set_blocking(self._wake_write, False)
            self._opened = opened.pop_all()

    def _offer(self, uri: Uri, opened: contextlib.ExitStack) -> tuple[str, int]:
        """What a program opens, and the descriptor of its end; -1 until a program comes."""
        if uri.scheme == "tcp":
            from pes_sim.link.ports import tcp

            uri.parameters()
            self._listener = opened.enter_context(tcp.listening(uri))
            opened.callback(self._hang_up)
            return tcp.address_of(self._listener, "tcp"), -1
        if uri.scheme == "pty":
            from pes_sim.link.ports import pty

            fd, path = pty.terminal(uri, opened)
            return path, fd
        line = open_host(uri.text, timeout_ms=TIMEOUT_MS)
        opened.callback(line.close)
        assert isinstance(line, StreamTransport)
        return uri.text, line.fileno()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes both ends; `run` must have returned."""
        self._opened.close()

    def stop(self) -> None:
        """From any thread, or a signal: has `run` return."""
        self._stopping = True
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_write, b"x")

    def run(self) -> None:
        """Passes bytes on until `stop`. Raises `LinkError` when an end has gone for good."""
        while not self._stopping:
            if self._lost is not None and not self._program.pending:
                raise self._lost
            for fd, event in self._awaited().poll():
                if fd == self._wake_read:
                    os.read(fd, 4096)
                elif self._listener is not None and fd == self._listener.fileno():
                    self._let_in()
                elif fd == self._device.fd:
                    self._go_on(self._device, self._program, event)
                elif fd == self._program.fd:
                    self._go_on(self._program, self._device, event)

    def _awaited(self) -> select.poll:
        waits = select.poll()
        waits.register(self._wake_read, select.POLLIN)
        if self._listener is not None and self._lost is None:
            waits.register(self._listener, select.POLLIN)
        for end, other in ((self._device, self._program), (self._program, self._device)):
            readable = not other.pending and self._lost is None
            # Without either it is not asked: that it has hung up would be told again and again.
            if end.fd >= 0 and (events := readable * select.POLLIN | bool(end.pending) * select.POLLOUT):
                waits.register(end.fd, events)
        return waits

    def _go_on(self, end: _End, other: _End, event: int) -> None:
        try:
            if end.pending and event & ~select.POLLIN:
                end.go_on()
            if other.pending or not event & ~select.POLLOUT or self._lost is not None:
                return
            try:
                data = os.read(end.fd, _AT_ONCE)
            except BlockingIOError:
                return
            if not data:
                raise ConnectionError("the other end has gone")
        except OSError as problem:
            self._gone(end, problem)
            return
        try:
            other.send(data)
        except OSError as problem:
            self._gone(other, problem)
        self._saw(data, other is self._device)

    def _gone(self, end: _End, problem: OSError) -> None:
        end.pending = b""
        if end is self._program and self._listener is not None:
            self._hang_up()
            self._told("the program has gone")
        elif self._lost is None:
            end.fd = -1
            # The same end: whether it had bytes unread when it went decides how the system tells of it.
            gone = "the other end has gone" if isinstance(problem, ConnectionError) else problem
            self._lost = lost(end.name, gone)

    def _let_in(self) -> None:
        from pes_sim.link.ports import tcp

        assert self._listener is not None
        busy = [fd for fd in (self._wake_read, self._device.fd, self._program.fd) if fd >= 0]
        connection = tcp.let_in(self._listener, *busy)
        if connection is not None and self._connection is not None:
            connection.close()  # one at a time, as at any port
        elif connection is not None:
            self._connection, self._program.fd = connection, connection.fileno()
            self._told("a program has come")

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection, self._program.fd = None, -1
