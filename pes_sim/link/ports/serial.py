"""serial: a real serial port, through pyserial: `serial:/dev/ttyUSB0?baud=115200&parity=even&stop=2`.

A host opens it, or a device answers there: then the host is what is plugged in at the other end, a board on a desk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import termios
from collections.abc import Callable

import serial

from pes_sim.clock import Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import Session
from pes_sim.link.ports.server import LineServer, Server
from pes_sim.link.ports.stream import StreamTransport
from pes_sim.link.ports.uri import PARITIES, STOPS, Line, Uri


class SerialTransport(StreamTransport):
    """The host's end of a serial port, or of a pseudo-terminal. `lines` has the control lines, where there are any."""

    def __init__(self, path: str, line: Line = Line(), *, timeout_ms: int) -> None:  # noqa: B008  # immutable
        self.lines = _open(path, line, "Start the meter first, and take the path that it prints")
        super().__init__(path, self.lines.fileno, self.lines.close, timeout_ms)


def open_host(uri: Uri, timeout_ms: int) -> Transport:
    """The port, for this program alone."""
    return SerialTransport(_path(uri), Line.of(uri), timeout_ms=timeout_ms)


def serve(uri: Uri, sessions: Callable[[], Session], clock: Clock) -> Server:
    """A device at a port that is there. Who has the other end is not seen; when the port goes, nobody is answered."""
    line = Line.of(uri)
    with contextlib.ExitStack() as opened:
        port = _open(_path(uri), line, "Plug it in; `ls /dev/tty*` lists the ports of this machine")
        opened.callback(port.close)
        return LineServer(uri.text, sessions, clock, port.fileno(), opened, path=uri.where)


def _path(uri: Uri) -> str:
    if not uri.where:
        raise uri.bad("names no port", "Write serial:/dev/ttyUSB0; `ls /dev/tty*` lists the ports of this machine")
    return uri.where


def _open(path: str, line: Line, hint: str) -> serial.Serial:
    try:
        return serial.Serial(
            path, line.baud, parity=PARITIES[line.parity], stopbits=STOPS[line.stop], exclusive=True
        )  # fmt: skip
    except (serial.SerialException, OSError, ValueError, termios.error) as problem:
        raise _cannot_open(path, problem, hint) from None


def _cannot_open(path: str, problem: Exception, hint: str) -> LinkError:
    if "Permission denied" in str(problem):
        return LinkError(f"no permission to open {path}", hint="Add yourself to the group dialout and log in again")
    if not os.path.exists(path):  # pathlib's raises for a name that is too long
        return LinkError(f"there is no port {path}", hint=hint)
    if "exclusively lock" in str(problem) or "busy" in str(problem):
        return LinkError(f"{path} is in use by another program", hint="Close that one first")
    if isinstance(problem, termios.error) and problem.args[0] == errno.EINVAL:
        return LinkError(
            f"{path} cannot be set to such a line: {problem.args[1]}",
            hint="A pseudo-terminal has no parity, and some ports lack some speeds; leave the parameters out",
        )
    return LinkError(f"{path} cannot be opened: {problem}", hint="Is it a serial port, or a terminal?")
