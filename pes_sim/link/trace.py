"""Traces: what went over a line, frame by frame with direction and time, in a pcapng file or a named pipe.

* Tracing never stops a meter. Where a file cannot be written any more, the trace ends there and the log says so; what
  nobody reads from a pipe is dropped, and the next packet says how many were.
* Every packet is written at once. Whoever opens the pipe, at any time, gets a capture with a head of its own.
* Time is the injected clock's. No secret is shown: see `showing`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final

from pes_sim.clock import Clock
from pes_sim.errors import UsageError
from pes_sim.link import pcapng
from pes_sim.link.client import Transport
from pes_sim.link.device import Session
from pes_sim.link.showing import Shown, Splitter, harmless
from pes_sim.psd.services import Service

COMMENT: Final = (
    "Frames of the pes_sim serial protocol, version 1 (docs/protocol.md): COBS, without delimiters, one a packet. "
    "Specimens only, not valid postage. Secrets are blanked."
)

_log: Final = logging.getLogger(__name__)


class Trace:
    """A trace that is being written, until `close`. Any thread may write to it."""

    def __init__(self, path: Path) -> None:
        """Begins it in a new file, in place of an old trace, or on a named pipe that exists. Raises `UsageError`, also
        for a file that is anything else: a meter's log, or a mail job, would be gone.
        """
        self._turn = threading.Lock()
        self._lines: dict[str, int] = {}
        self._head = pcapng.section("pes_sim", COMMENT)
        try:
            is_pipe = path.exists() and stat.S_ISFIFO(path.stat().st_mode)
            if path.is_file() and _holds_something_else(path):
                raise UsageError(f"{path} is no trace, and would be replaced", hint="Name a new file, or an old trace")
            self._out: _Pipe | _File = _Pipe(path) if is_pipe else _File(path)
        except OSError as problem:
            raise UsageError(
                f"no trace can be written to {path}: {problem.strerror}",
                hint="Name a new file in a folder of yours, or a pipe that was made with mkfifo",
            ) from None
        self._out.begin(self._head)

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it."""
        with self._turn:
            self._out.close()

    def line(self, name: str, description: str) -> int:
        """The number of a line by that name, which is the same each time."""
        with self._turn:
            if name not in self._lines:
                self._lines[name] = len(self._lines)
                block = pcapng.interface(name, description)
                self._head += block
                self._out.extend(block, self._head)
            return self._lines[name]

    def write(self, line: int, time: int, shown: Shown, *, inbound: bool) -> None:
        """Adds a packet."""
        with self._turn:
            block = pcapng.packet(
                line, time, shown.data, inbound=inbound, comment=shown.remark, dropped=self._out.dropped
            )
            self._out.packet(block, self._head)


def _holds_something_else(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(pcapng.BEGIN)) not in (b"", pcapng.BEGIN)


class _File:
    """A file. `dropped`: packets that it would not take since the last that it took."""

    def __init__(self, path: Path) -> None:
        self.dropped = 0
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._whole = 0
        """Bytes of whole blocks."""

    def begin(self, head: bytes) -> None:
        self._write(head)

    def extend(self, block: bytes, head: bytes) -> None:
        self._write(block)

    def packet(self, block: bytes, head: bytes) -> None:
        self._write(block)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, block: bytes) -> None:
        if self._fd < 0:
            return
        rest = block
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as problem:
            _log.warning("the trace ends here: %s: %s", problem.strerror, self._path)
            with contextlib.suppress(OSError):  # a piece of a block is an error to who reads the file
                os.ftruncate(self._fd, self._whole)
            self.close()
        self._whole += len(block)


class _Pipe:
    """A named pipe. Readers may come and go: each is given the head first, and nothing is kept for the next."""

    def __init__(self, path: Path) -> None:
        self.dropped = 0
        self._path = path
        self._fd = -1
        self._rest = b""
        """The end of a block that the pipe had no room for: it comes before anything else."""

    def begin(self, head: bytes) -> None:
        self._ready(head)

    def extend(self, block: bytes, head: bytes) -> None:
        # A head that already has it goes to a reader who comes just now.
        if self._fd >= 0:
            self._rest += block
            self._push()

    def packet(self, block: bytes, head: bytes) -> None:
        if not self._ready(head):
            self.dropped += 1
            return
        self.dropped = 0
        self._rest = block
        self._push()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _ready(self, head: bytes) -> bool:
        """Whether somebody reads, and has read enough for a new block."""
        if self._fd < 0:
            with contextlib.suppress(OSError):  # nobody has it open for reading
                self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                self._rest = head
        self._push()
        return self._fd >= 0 and not self._rest

    def _push(self) -> None:
        try:
            while self._rest and self._fd >= 0:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            pass
        except OSError as problem:
            if problem.errno != errno.EPIPE:
                _log.warning("the trace loses its reader: %s: %s", problem.strerror, self._path)
            self.close()
            self._rest = b""


class Tap:
    """Both directions of one conversation on a line of a trace. `at_device`: it is the device's end that is seen."""

    def __init__(self, trace: Trace, name: str, services: Iterable[Service], *, at_device: bool) -> None:
        end = "the device's end" if at_device else "the host's end"
        self._trace = trace
        self._line = trace.line(name, f"{name}, {end}")
        known = harmless(services)
        self._inbound, self._outbound = (Splitter(known, to_device=to) for to in (at_device, not at_device))

    def came(self, data: bytes, now: int) -> None:
        """These bytes arrived at this end."""
        self._write(self._inbound.feed(data), now, inbound=True)

    def went(self, data: bytes, now: int) -> None:
        """These bytes left it."""
        self._write(self._outbound.feed(data), now, inbound=False)

    def end(self, now: int) -> None:
        """Nothing more comes: what was begun is shown as it is."""
        self._write(self._inbound.end(), now, inbound=True)
        self._write(self._outbound.end(), now, inbound=False)

    def _write(self, runs: Iterable[Shown], now: int, *, inbound: bool) -> None:
        for shown in runs:
            self._trace.write(self._line, now, shown, inbound=inbound)


class TracedSession:
    """A device's session that is traced. An answer has the time when it is ready."""

    def __init__(
        self, session: Session, trace: Trace, name: str, clock: Clock, services: Iterable[Service] = ()
    ) -> None:
        """`services` are the device's: so many requests are shown though their CRC is wrong."""
        self._session = session
        self._tap = Tap(trace, name, services, at_device=True)
        self._clock = clock

    def receive(self, data: bytes, now: int) -> bytes:
        """See `Session`."""
        self._tap.came(data, now)
        answer = self._session.receive(data, now)
        if answer:
            self._tap.went(answer, self._clock.now())
        return answer

    def unasked(self, now: int) -> bytes:
        """See `Session`."""
        said = self._session.unasked(now)
        if said:
            self._tap.went(said, now)
        return said


class TracedTransport:
    """A host's port that is traced."""

    def __init__(self, transport: Transport, trace: Trace, clock: Clock, services: Iterable[Service] = ()) -> None:
        """`services`: see `TracedSession`."""
        self.name = transport.name
        self._transport = transport
        self._tap = Tap(trace, transport.name, services, at_device=False)
        self._clock = clock

    def read(self) -> bytes:
        """See `Transport`."""
        data = self._transport.read()
        if data:
            self._tap.came(data, self._clock.now())
        return data

    def write(self, data: bytes) -> None:
        """See `Transport`."""
        self._tap.went(data, self._clock.now())
        self._transport.write(data)

    def close(self) -> None:
        """See `Transport`."""
        self._tap.end(self._clock.now())
        self._transport.close()
