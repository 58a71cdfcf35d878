"""rfc2217: a serial port over TCP, with its settings and control lines (RFC 2217): `rfc2217:HOST:PORT?baud=9600`.

Both ends are pyserial's. A device there has a line that is never too slow: any speed is accepted, and none is kept to.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, cast

from serial import rfc2217

from pes_sim.clock import Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import Session
from pes_sim.link.ports.server import Server
from pes_sim.link.ports.stream import lost
from pes_sim.link.ports.tcp import cannot_connect, listen
from pes_sim.link.ports.uri import PARITIES, STOPS, Line, Uri, join
from pes_sim.psd.faults import PowerCut

_IAC: Final = rfc2217.IAC
_MOST: Final = 1024
"""Bytes of one telnet option that are kept; the longest that RFC 2217 has is much shorter."""

_log: Final = logging.getLogger(__name__)


class _Port(rfc2217.Serial):
    def close(self) -> None:
        """pyserial leaves the socket open where the other end was first to go."""
        connection = cast(Any, self)._socket
        super().close()
        if connection is not None:
            connection.close()


class Rfc2217Transport:
    """The host's end. `lines` has the control lines: set `lines.rts` and `lines.dtr`, read `lines.cts` and others."""

    def __init__(self, name: str, port: rfc2217.Serial) -> None:
        self.name = name
        self.lines = port

    def read(self) -> bytes:
        try:
            first = self.lines.read(1)
            return first + self.lines.read(self.lines.in_waiting) if first else b""
        except OSError as problem:
            raise lost(self.name, problem) from None

    def write(self, data: bytes) -> None:
        try:
            self.lines.write(data)
        except OSError as problem:
            raise lost(self.name, problem) from None

    def close(self) -> None:
        self.lines.close()


def open_host(uri: Uri, timeout_ms: int) -> Transport:
    """A connection on which the line is set. Raises `LinkError` where nothing speaks RFC 2217 as well."""
    line = Line.of(uri)
    name = join("rfc2217", *uri.host_and_port())
    port = _Port(None, line.baud, parity=PARITIES[line.parity], stopbits=STOPS[line.stop], timeout=timeout_ms / 1000)
    port.port = name.replace(":", "://", 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pyserial 3.5 names its thread in the old way
            port.open()
    except (OSError, ValueError) as problem:
        if isinstance(problem.__context__, OSError | UnicodeError):
            raise cannot_connect(name, problem.__context__) from None
        raise LinkError(
            f"{name} does not answer as an RFC 2217 port: {problem}",
            hint="Another host may have it: only one at a time is served. For plain bytes open it as tcp:",
        ) from None
    return Rfc2217Transport(name, port)


def serve(uri: Uri, sessions: Callable[[], Session], clock: Clock) -> Server:
    """Listens as tcp: does. The parameters are the host's to set, so the device has none."""
    uri.parameters()
    return listen(uri, lambda: TelnetSession(sessions), clock)


@dataclass(slots=True)
class ControlLines:
    """The device's serial port, as far as the telnet side asks for it. A device that has power has its lines up; what
    the host sets is kept, and does nothing.
    """

    baudrate: int = 115_200
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1
    xonxoff: bool = False
    rtscts: bool = False
    break_condition: bool = False
    dtr: bool = False
    rts: bool = False
    cts: bool = True
    dsr: bool = True
    ri: bool = False
    cd: bool = True

    def reset_input_buffer(self) -> None:
        """Nothing waits here: what came in has been answered."""

    def reset_output_buffer(self) -> None:
        """What has been answered is on its way."""


class TelnetSession:
    """A session behind telnet: its own bytes are escaped, the telnet side's are dealt with here, and are not cut with
    the device's power.
    """

    def __init__(self, sessions: Callable[[], Session]) -> None:
        self.lines = ControlLines()
        self._sessions = sessions
        self._session = sessions()
        self._said = bytearray()
        # It asks a port for no more than `ControlLines` has, and a connection for `write`.
        connection = SimpleNamespace(write=self._said.extend)
        self._manager = rfc2217.PortManager(cast(Any, self.lines), cast(Any, connection))

    def receive(self, data: bytes, now: int) -> bytes:
        """See `Session`."""
        plain = self._plain(data)
        return self._with_telnet(lambda: self._session.receive(plain, now) if plain else b"")

    def unasked(self, now: int) -> bytes:
        """See `Session`. Telnet's own greeting is the first of it."""
        return self._with_telnet(lambda: self._session.unasked(now))

    def _with_telnet(self, answer: Callable[[], bytes]) -> bytes:
        try:
            data = answer().replace(_IAC, _IAC + _IAC)
        except PowerCut:
            self._session, data = self._sessions(), b""
        said = bytes(self._said)
        self._said.clear()
        return said + data

    def _plain(self, data: bytes) -> bytes:
        """What is left of `data` for the device."""
        manager = self._manager
        if _IAC not in data and manager.mode == rfc2217.M_NORMAL and manager.suboption is None:
            return data
        plain = bytearray()
        for number in data:
            try:
                plain += b"".join(manager.filter(bytes([number])))
            except (LookupError, TypeError, ValueError, struct.error):
                # An option that is none: pyserial takes any for a good one.
                _log.warning("a telnet option that cannot be read was left out")
                self._start_anew()
            if manager.suboption is not None and len(manager.suboption) > _MOST:
                self._start_anew()
        return bytes(plain)

    def _start_anew(self) -> None:
        self._manager.mode, self._manager.suboption = rfc2217.M_NORMAL, None
