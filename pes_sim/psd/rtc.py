"""The device's own real-time clock, emulated. It reads no clock: the host's instant is passed in.

* It drifts, by so many parts per million since it was last set.
* It does not follow the host's clock back: it goes on from where it was, so that setting the host back gains nothing.
* After a battery failure it goes on from the last instant on record, and the device is locked for a date fault until
  the provider sets the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pes_sim.clock import DAY, LATEST
from pes_sim.errors import FieldError
from pes_sim.psd.lifecycle import WORKING
from pes_sim.psd.state import PsdState

LAST: Final = LATEST - 31 * DAY
"""The latest instant of the device: a date 30 days ahead can still be written."""


@dataclass(frozen=True, slots=True)
class Rtc:
    """The hardware: `drift_ppm` is how much it runs fast (negative: slow). `battery_failed` while the power was off."""

    drift_ppm: int = 0
    battery_failed: bool = False


def set_to(state: PsdState, time: int, now: int) -> PsdState:
    """`state` with a clock that shows `time` at the host's `now`."""
    return replace(state, clock_offset=time - now, clock_set=now)


class DeviceClock:
    """The clock of one power cycle. All instants in microseconds since 1970-01-01 UTC."""

    def __init__(self, rtc: Rtc) -> None:
        self._rtc = rtc
        self._failed = rtc.battery_failed
        self._behind = 0
        """By how much it was kept from running back."""

    def time(self, state: PsdState, last: int, now: int) -> int:
        """What it shows at the host's `now`, never before `last`. At the end of the year 9999 it stands.

        Raises `FieldError` for a `now` outside 1970 to 9999.
        """
        shows = self._shows(state, now)
        if shows < last:
            self._behind += last - shows
            return last
        return min(shows, LAST)

    def lost_its_time(self, state: PsdState, now: int) -> bool:
        """Once after a battery failure, in a device that needs the time. Raises as `time` does, and is asked again."""
        if not self._failed:
            return False
        self._shows(state, now)
        self._failed = False
        return state.lifecycle in WORKING

    def was_set(self) -> None:
        """It shows what it was set to."""
        self._behind = 0

    def _shows(self, state: PsdState, now: int) -> int:
        if not 0 <= now <= LAST:
            raise FieldError(f"the time {now} is outside 1970 to 9999", field="now")
        drift = (now - state.clock_set) * self._rtc.drift_ppm // 1_000_000 if state.clock_set else 0
        return now + state.clock_offset + drift + self._behind
