"""The one clock. Nothing else in `pes_sim` reads the system's time or sleeps.

An instant is an `int` of microseconds since 1970-01-01 UTC: exact, cheap, and the same on the wire and on disk.
Device, link, provider and post office share one `Clock`; jumping 72 hours drives the same code as waiting for them.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final, Protocol

from pes_sim.errors import UsageError

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FASTEST: Final = 1_000_000
LATEST: Final = int((datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH).total_seconds()) * SECOND


class Clock(Protocol):
    """Whatever tells the time, and lets it pass. `now` is in microseconds since 1970-01-01 UTC."""

    def now(self) -> int: ...

    def wait(self, microseconds: int) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def wait(self, microseconds: int) -> None:
        time.sleep(max(0, microseconds) / SECOND)


class VirtualClock:
    """A clock that stands still until it is told to move. It never goes back.

    With a `rate` it also runs by itself, so many times as fast as the machine's. Any thread may read and move it.
    """

    def __init__(self, start: int) -> None:
        self._turn = threading.Condition()
        """Changes with what moves it, for whoever waits on it while it runs."""
        self._shown = start
        """What it showed at the machine's instant `_since` (nanoseconds), when it was last moved."""
        self._since = 0
        self._rate = 0.0

    @property
    def rate(self) -> float:
        """How fast it runs: 0 stands still, 1 is the machine's own speed."""
        return self._rate

    def run(self, rate: float) -> None:
        """Sets the rate. Raises `UsageError` for one below 0, or that is no number."""
        if not 0 <= rate <= FASTEST:
            raise UsageError(f"a clock does not run at {rate} times its speed", hint=f"Allowed: 0 to {FASTEST}")
        with self._turn:
            self._shown, self._since, self._rate = self._running(), time.monotonic_ns(), rate
            self._turn.notify_all()

    def now(self) -> int:
        if not self._rate:
            return self._shown
        with self._turn:
            return self._running()

    def advance(self, microseconds: int) -> int:
        """Moves the clock on; gives the new instant. Raises `UsageError` for a step back or past the year 9999."""
        if microseconds < 0:
            raise UsageError("the clock never goes back", hint="Give a positive step")
        return self._pass(microseconds)

    def _pass(self, microseconds: int) -> int:
        with self._turn:
            if self._running() + microseconds > LATEST:
                raise UsageError("the clock cannot go past the year 9999", hint="Give a smaller step")
            self._shown += microseconds
            self._turn.notify_all()
            return self._running()

    def wait(self, microseconds: int) -> None:
        """Whoever waits on a clock that stands still moves it: the time passes at once. One that runs is waited for
        until it shows so much: who moves it, or has it run faster, ends that sooner, and who stops it at once.
        """
        with self._turn:
            left = max(0, microseconds)
            if self._rate:
                until = min(LATEST, self._running() + left)
                while (left := until - self._running()) > 0 and self._rate:
                    self._turn.wait(min(left / SECOND / self._rate, threading.TIMEOUT_MAX))
        if left > 0:
            self._pass(left)

    def _running(self) -> int:
        if not self._rate:
            return self._shown
        return min(LATEST, self._shown + int((time.monotonic_ns() - self._since) * self._rate) // 1000)


def stopwatch() -> float:
    """Seconds on a clock that only runs forward, for progress displays, benchmarks, and how to wait. No rule may
    depend on it.
    """
    return time.perf_counter()


def local_date(instant: int, utc_offset_minutes: int = 0) -> date:
    """The calendar date at `instant`, at a fixed offset from UTC."""
    zone = timezone(timedelta(minutes=utc_offset_minutes))
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(zone).date()


def iso(instant: int) -> str:
    """`instant` as ISO 8601 in UTC, to the second: "2026-07-13T15:00:00Z"."""
    return (_EPOCH + timedelta(microseconds=instant)).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso(text: str) -> int:
    """An instant from ISO 8601 text; without an offset it is UTC. Raises `UsageError`, also before 1970."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a date and time", hint="Allowed: 2026-07-13T15:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    instant = (moment - _EPOCH) // timedelta(microseconds=1)
    if not 0 <= instant <= LATEST:
        raise UsageError(f"{text!r} is out of the clock's reach", hint="Allowed: 1970-01-01 to 9999-12-30")
    return instant


_UNITS: Final = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}


def parse_duration(text: str) -> int:
    """Microseconds from text such as "72h1m", "3d" or "90s". Raises `UsageError`."""
    total, digits = 0, ""
    for char in text:
        if char.isascii() and char.isdigit() and len(digits) < 20:
            digits += char
        elif char in _UNITS and digits:
            total += int(digits) * _UNITS[char]
            digits = ""
        else:
            break
    else:
        if text and not digits:
            return total
    raise UsageError(f"{text!r} is not a duration", hint="Allowed: 72h1m, 3d, 90s")
