"""Ports: a pseudo-terminal that a device serves, a serial port that a host opens, and both ends in memory.

`open_host` takes a URI and `SCHEMES` says which there are; each imports what it needs only when it is used.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from pes_sim.clock import Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import DeviceSession, Endpoint

if TYPE_CHECKING:
    from serial import Serial

READ_TIMEOUT_SECONDS: Final = 2
"""How long a host waits for an answer before it asks again."""


class MemoryTransport:
    """The host's end of a line without a line: what is written is answered at once, through the same frames."""

    name = "memory:"

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self._session = DeviceSession(endpoint)
        self._clock = clock
        self._answer = b""

    def read(self) -> bytes:
        answer, self._answer = self._answer, b""
        return answer

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
            self._port: Serial = serial.Serial(path, baud, timeout=READ_TIMEOUT_SECONDS, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as problem:
            raise _cannot_open(path, problem) from None

    def read(self) -> bytes:
        with _line_errors(self.name):
            first: bytes = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""

    def write(self, data: bytes) -> None:
        with _line_errors(self.name):
            self._port.write(data)

    def close(self) -> None:
        self._port.close()


@contextlib.contextmanager
def _line_errors(name: str) -> Iterator[None]:
    import serial

    try:
        yield
    except (serial.SerialException, OSError) as problem:
        raise LinkError(f"{name} was lost: {problem}", hint="Is the meter still running, and plugged in?") from None


def _cannot_open(path: str, problem: Exception) -> LinkError:
    if not Path(path).exists():
        return LinkError(f"there is no port {path}", hint="Start the meter first, and take the path that it prints")
    if "Permission denied" in str(problem):
        return LinkError(f"no permission to open {path}", hint="Add yourself to the group dialout and log in again")
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

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        import tty

        self._session = DeviceSession(endpoint)
        self._clock = clock
        self._master, self._slave = os.openpty()
        # Raw on our side: an outside program that forgets it still gets its bytes unchanged. The slave stays open
        # here, or the master would see an error whenever the last outside program closes.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name=f"pes-sim {self.path}", daemon=True)
        self._thread.start()

    def __enter__(self) -> PtyServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops serving. A request under way is finished first, so its debit and its record agree."""
        if self._wake_write < 0:
            return
        os.write(self._wake_write, b"x")
        self._thread.join()
        for fd in (self._wake_write, self._wake_read, self._master, self._slave):
            os.close(fd)
        self._wake_write = -1

    def _serve(self) -> None:
        pending = b""
        while True:
            readable, _, _ = select.select(
                [self._wake_read] if pending else [self._master, self._wake_read],
                [self._master] if pending else [],
                [],
            )
            if self._wake_read in readable:
                return
            if pending:
                pending = pending[os.write(self._master, pending) :]
                continue
            data = os.read(self._master, 65536)
            pending = self._session.receive(data, self._clock.now())
            if pending:
                # Nearly always the terminal takes it whole, which saves a round through select.
                with contextlib.suppress(BlockingIOError):
                    pending = pending[os.write(self._master, pending) :]
