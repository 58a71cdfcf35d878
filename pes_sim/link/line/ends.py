"""A line between a host and its port, and between a device and its port. Either has both directions of it.

Both wait on the clock while bytes are on their way: on a virtual clock that stands still, waiting moves it, and an hour
of a slow line takes no time. A line that is `transparent` is not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pes_sim.clock import SECOND, Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import Session
from pes_sim.link.line.config import Direction
from pes_sim.link.line.line import Line

TIMEOUT_US: Final = 2 * SECOND
"""How long a host waits for an answer before it asks again, and either end for its CTS."""
_LOOK_US: Final = SECOND // 100
"""How often who waits for CTS looks at it: any thread may turn it on."""
_SLICE_US: Final = SECOND // 4
"""How long a device's end holds back what has arrived at the host while more is on its way."""


class LineTransport:
    """The host's end: `inner` with a line in front of it. A `Transport`.

    `write` returns when everything has left the line at the device's end. `read` gives what has arrived when the line
    falls silent, or at the time-out. Both raise `LinkError` for a device that has hung up or never lets the host send,
    and for a port that has vanished with its plug.
    """

    def __init__(self, inner: Transport, line: Line, clock: Clock, timeout_us: int = TIMEOUT_US) -> None:
        self.name = inner.name
        self._inner = inner
        self._line = line
        self._clock = clock
        self._timeout = timeout_us

    def read(self) -> bytes:
        if self._line.transparent:
            return self._inner.read()
        deadline = self._clock.now() + self._timeout
        while True:
            self._check()
            last = self._line.last(Direction.TO_HOST)
            if last is not None:
                wait_until(self._clock, min(last, deadline))
                if data := self._line.take(Direction.TO_HOST, self._clock.now()):
                    return data
            elif came := self._inner.read():
                self._line.send(Direction.TO_HOST, came, self._clock.now())
            else:
                wait_until(self._clock, deadline)
            if self._clock.now() >= deadline:
                return b""

    def write(self, data: bytes) -> None:
        if self._line.transparent:
            self._inner.write(data)
            return
        self._check()
        if not clear_to_send(self._line, "host_cts", self._clock, self._timeout):
            raise LinkError(
                f"{self.name} does not take what is written: CTS is off", hint="Is the device ready, and wired for it?"
            )
        self._line.send(Direction.TO_DEVICE, data, self._clock.now())
        while (last := self._line.last(Direction.TO_DEVICE)) is not None:
            wait_until(self._clock, last)
            if arrived := self._line.take(Direction.TO_DEVICE, self._clock.now()):
                self._inner.write(arrived)

    def close(self) -> None:
        self._inner.close()

    def _check(self) -> None:
        now = self._clock.now()
        if self._line.config.port_vanishes and not self._line.is_on("plugged", now):
            raise LinkError(f"{self.name} was lost: it is unplugged", hint="Plug it in, and ask again")
        if not self._line.is_on("device_dtr", now):
            raise LinkError(f"the device at {self.name} has hung up", hint="Is it switched on?")


class LineSession:
    """The device's end: `session` with a line in front of it. A `Session`, for a port with a thread that may wait.

    `receive` and `unasked` return when everything that is on its way has come. With `more` (a server's `poke`) they
    return sooner with what the host has by then, and call `more` to be asked for the rest: so a long answer on a slow
    line does not look like silence. After the host has hung up, what `fresh` makes takes the session's place.
    """

    def __init__(
        self, session: Session, line: Line, clock: Clock, *, more: Callable[[], None] | None = None,
        fresh: Callable[[], Session] | None = None, timeout_us: int = TIMEOUT_US,
    ) -> None:  # fmt: skip
        self._session = session
        self._line = line
        self._clock = clock
        self._more = more
        self._fresh = fresh
        self._timeout = timeout_us
        self._hung_up = line.host_hang_ups

    def receive(self, data: bytes, now: int) -> bytes:
        """What has come back to the host."""
        if self._line.transparent and self._line.host_hang_ups == self._hung_up:
            return self._session.receive(data, now)
        self._line.send(Direction.TO_DEVICE, data, now)
        return self._carry()

    def unasked(self, now: int) -> bytes:
        """The rest of it, and what the device says by itself."""
        if self._line.transparent:
            return self._session.unasked(now)
        self._answer(self._session.unasked(now))
        return self._carry()

    def _carry(self) -> bytes:
        """Lets time pass until nothing is on its way; or for a while, when somebody asks for `more`."""
        came = []
        end = self._clock.now() + _SLICE_US
        while True:
            now = self._clock.now()
            arrived = self._line.take(Direction.TO_DEVICE, now)
            self._notice_hang_up()
            if arrived:
                self._answer(self._session.receive(arrived, now))
            came.append(self._line.take(Direction.TO_HOST, self._clock.now()))
            coming = [last for direction in Direction if (last := self._line.last(direction)) is not None]
            if not coming:
                return b"".join(came)
            if self._more is None:
                wait_until(self._clock, min(coming))
            elif self._clock.now() < end:
                wait_until(self._clock, min(*coming, end))
            else:
                self._more()
                return b"".join(came)

    def _answer(self, data: bytes) -> None:
        """What the device may not send in time is lost: the host asks again."""
        if data and clear_to_send(self._line, "device_cts", self._clock, self._timeout):
            self._line.send(Direction.TO_HOST, data, self._clock.now())

    def _notice_hang_up(self) -> None:
        if self._line.host_hang_ups != self._hung_up:
            self._hung_up = self._line.host_hang_ups
            if self._fresh is not None:
                self._session = self._fresh()


def clear_to_send(line: Line, signal: str, clock: Clock, timeout_us: int) -> bool:
    """Waits for CTS; whether it came in time."""
    deadline = clock.now() + timeout_us
    while not line.is_on(signal, now := clock.now()):
        if now >= deadline:
            return False
        clock.wait(min(_LOOK_US, deadline - now))
    return True


def wait_until(clock: Clock, instant: int) -> None:
    """Lets time pass, if it has not."""
    if (left := instant - clock.now()) > 0:
        clock.wait(left)
