"""Ports: a pseudo-terminal that a device serves, a serial port that a host opens, and both ends in memory.

`open_host` takes a URI and `SCHEMES` says which there are; each imports what it needs only when it is used.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final

from pes_sim.clock import Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import DeviceSession, Endpoint, Session
from pes_sim.psd.faults import PowerCut

if TYPE_CHECKING:
    from serial import Serial

TIMEOUT_MS: Final = 2_000
"""How long a host waits for an answer before it asks again, and for a device to take what it writes."""


class MemoryTransport:
    """The host's end of a line without a line: what is written is answered at once, through the same frames."""

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


class SerialTransport:
    """The host's end of a serial port (or a pseudo-terminal), through pyserial."""

    def __init__(self, path: str, baud: int = 115200) -> None:
        import serial

        self.name = path
        try:
            self._port: Serial = serial.Serial(path, baud, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as problem:
            raise _cannot_open(path, problem) from None
        self._readable = _poll(self._port.fileno(), select.POLLIN)
        self._writable = _poll(self._port.fileno(), select.POLLOUT)

    def read(self) -> bytes:
        # By the port's descriptor: two system calls. pyserial's read needs five, and what waits on an idle processor
        # feels each of them.
        try:
            fd = self._port.fileno()
            if not self._readable.poll(TIMEOUT_MS):
                return b""
            data = os.read(fd, 65536)
            if not data:
                raise OSError("the other end has gone")
        except OSError as problem:
            raise self._lost(problem) from None
        return data

    def write(self, data: bytes) -> None:
        try:
            fd = self._port.fileno()
            while data:
                try:
                    data = data[os.write(fd, data) :]
                except BlockingIOError:
                    if not self._writable.poll(TIMEOUT_MS):
                        raise OSError("nothing takes what is written") from None
        except OSError as problem:
            raise self._lost(problem) from None

    def close(self) -> None:
        self._port.close()

    def _lost(self, problem: OSError) -> LinkError:
        """pyserial's own exceptions are `OSError`s too."""
        return LinkError(f"{self.name} was lost: {problem}", hint="Is the meter still running, and plugged in?")


def _cannot_open(path: str, problem: Exception) -> LinkError:
    if "Permission denied" in str(problem):
        return LinkError(f"no permission to open {path}", hint="Add yourself to the group dialout and log in again")
    if not os.path.exists(path):  # pathlib's raises for a name that is too long
        return LinkError(f"there is no port {path}", hint="Start the meter first, and take the path that it prints")
    if "exclusively lock" in str(problem) or "busy" in str(problem):
        return LinkError(f"{path} is in use by another program", hint="Close that one first")
    return LinkError(f"{path} cannot be opened: {problem}")


SCHEMES: Final[Mapping[str, Callable[[str], Transport]]] = {"serial": SerialTransport}


def open_host(uri: str) -> Transport:
    """The host's end of a port: "serial:/dev/ttyUSB0", or just the path. Raises `LinkError`."""
    scheme, colon, rest = uri.partition(":")
    if uri.startswith("/"):
        scheme, rest = "serial", uri
    elif not colon or scheme not in SCHEMES:
        known = ", ".join(f"{name}:" for name in SCHEMES)
        raise LinkError(f"{uri!r} is not a port", hint=f"Allowed: a path such as /dev/ttyUSB0, or {known}PATH")
    return SCHEMES[scheme](rest)


class PtyServer:
    """Serves an endpoint on a pseudo-terminal, in a thread of its own, until `close`.

    `path` is the terminal's name, ready to be opened when the constructor returns: nobody has to wait or to guess.
    """

    def __init__(self, endpoint: Endpoint, clock: Clock, sessions: Callable[[], Session] | None = None) -> None:
        """`sessions` makes the endpoint's, at first and after each power cut; without it they are the plain ones."""
        import tty

        self._sessions = sessions or (lambda: DeviceSession(endpoint))
        self._session = self._sessions()
        self._clock = clock
        self._closing = threading.RLock()
        with contextlib.ExitStack() as opened:
            self._master, slave = os.openpty()
            opened.callback(os.close, self._master)
            # The slave stays open here, or the master would see an error whenever the last outside program closes.
            opened.callback(os.close, slave)
            # Raw on our side: an outside program that forgets it still gets its bytes unchanged.
            tty.setraw(slave)
            os.set_blocking(self._master, False)
            self.path = os.ttyname(slave)
            self._wake_read, self._wake_write = os.pipe()
            opened.callback(os.close, self._wake_read)
            opened.callback(os.close, self._wake_write)
            self._thread = threading.Thread(target=self._serve, name=f"pes-sim {self.path}", daemon=True)
            self._thread.start()
            self._opened: contextlib.ExitStack | None = opened.pop_all()

    def __enter__(self) -> PtyServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops serving. A request under way is finished first, so its debit and its record agree."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a request cannot close the port that it came through: it would wait for its own end")
        with self._closing:
            if self._opened is not None:
                os.write(self._wake_write, b"x")
                self._thread.join()
                self._opened.close()
                self._opened = None

    def _serve(self) -> None:
        asked = _poll(self._master, select.POLLIN, self._wake_read)
        answerable = _poll(self._master, select.POLLOUT, self._wake_read)
        pending = b""
        while True:
            ready = (answerable if pending else asked).poll()
            if len(ready) > 1 or ready[0][0] == self._wake_read:
                return
            try:
                if not pending:
                    pending = self._session.receive(os.read(self._master, 65536), self._clock.now())
                if pending:
                    pending = pending[os.write(self._master, pending) :]
            except BlockingIOError:
                continue  # the terminal is full, or an outside program flushed what poll had promised
            except PowerCut:
                self._session = self._sessions()  # it answers nothing, and remembers nobody


def _poll(fd: int, event: int, wake: int = -1) -> select.poll:
    """Waits for `event` on `fd`, or for bytes on `wake`. Unlike select it takes any descriptor's number."""
    poll = select.poll()
    poll.register(fd, event)
    if wake >= 0:
        poll.register(wake, select.POLLIN)
    return poll
