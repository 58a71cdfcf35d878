"""The device's own clock: it drifts, it does not follow the host back, and without its battery it has lost the time."""

from __future__ import annotations

import pytest

from pes_sim.clock import DAY, HOUR, LATEST, MINUTE, SECOND
from pes_sim.errors import FieldError, Locked
from pes_sim.psd.lifecycle import State
from pes_sim.psd.rtc import LAST, DeviceClock, Rtc, set_to
from pes_sim.psd.state import PsdState
from tests.rig import NOON, Full, Rig, answer, operational


def shown(rig: Rig) -> int:
    return int(rig.status()["device_time"])


def set_time(rig: Rig, time: int) -> None:
    rig.ask("set_time", message=rig.order("time_setting", device_time=time))


# Drift


@pytest.mark.parametrize(("ppm", "ahead"), [(50, 43_200_000), (-50, -43_200_000), (1, 864_000), (0, 0)])
def test_it_drifts_by_so_much_in_ten_days(ppm: int, ahead: int) -> None:
    rig = Rig(rtc=Rtc(drift_ppm=ppm))
    rig.initialize()
    for _ in range(10):
        rig.now += DAY
        rig.power_on()
    assert shown(rig) == rig.now + ahead


def test_setting_the_time_ends_the_drift_that_was() -> None:
    rig = operational(rtc=Rtc(drift_ppm=100))
    rig.now += 10 * HOUR
    assert shown(rig) == rig.now + 3_600_000
    set_time(rig, rig.now)
    assert shown(rig) == rig.now
    rig.now += 10 * HOUR
    assert shown(rig) == rig.now + 3_600_000


def test_a_blank_device_has_no_time_to_drift_from() -> None:
    rig = Rig(rtc=Rtc(drift_ppm=1000))
    rig.now += DAY
    assert shown(rig) == rig.now


@pytest.mark.parametrize(("ppm", "state"), [(100, State.LOCKED), (-100, State.OPERATIONAL)])
def test_the_lockout_goes_by_the_devices_clock_not_the_hosts(ppm: int, state: State) -> None:
    rig = operational(rtc=Rtc(drift_ppm=ppm))
    rig.now += 72 * HOUR - SECOND * 20 * (ppm > 0)
    assert rig.status()["state"] == state


def test_time_runs_on_without_a_step_whatever_the_drift() -> None:
    rig = operational(rtc=Rtc(drift_ppm=-999_999))
    seen = []
    for _ in range(50):
        rig.now += 1
        seen.append(shown(rig))
    assert seen == sorted(seen)


# The host's clock, set back


def test_a_host_set_back_is_not_followed_and_time_goes_on_from_there() -> None:
    rig = operational()
    rig.now += 10 * HOUR
    there = shown(rig)
    rig.now -= 3 * DAY
    assert shown(rig) == there
    rig.now += MINUTE
    assert shown(rig) == there + MINUTE
    rig.now -= HOUR
    rig.now += 2 * MINUTE
    assert shown(rig) == there + MINUTE  # it was not asked in between
    rig.now += 2 * MINUTE
    assert shown(rig) == there + 3 * MINUTE


def test_a_host_set_back_gains_no_time_to_the_lockout() -> None:
    rig = operational()
    for _ in range(71):
        rig.now += HOUR
        rig.status()
        rig.now -= HOUR
        rig.status()
    rig.now += HOUR - 1
    assert rig.status()["state"] == State.OPERATIONAL
    rig.now += 1
    assert rig.status()["state"] == State.LOCKED


def test_a_host_set_back_over_a_restart_finds_the_last_instant_on_record() -> None:
    rig = operational()
    rig.now += 10 * HOUR
    there = rig.dispense()["device_time"]
    rig.now -= 30 * DAY
    rig.power_on()
    assert shown(rig) == there
    rig.now += HOUR
    assert shown(rig) == there + HOUR


def test_a_host_that_is_set_right_again_takes_the_device_no_further() -> None:
    rig = operational()
    rig.now -= 5 * HOUR
    assert shown(rig) == NOON
    rig.now += 5 * HOUR
    assert shown(rig) == NOON + 5 * HOUR


def test_setting_the_time_forgets_what_the_host_was_set_back_by() -> None:
    rig = operational()
    rig.now -= 5 * HOUR
    rig.status()
    set_time(rig, rig.now + DAY)
    assert shown(rig) == rig.now + DAY
    rig.now += HOUR
    assert shown(rig) == rig.now + DAY


# The battery


def failed(rig: Rig) -> Rig:
    """After a power cycle in which the clock had no battery."""
    rig.rtc = Rtc(battery_failed=True)
    rig.power_on()
    return rig


def test_without_its_battery_it_comes_up_locked_at_the_last_instant_on_record() -> None:
    rig = operational()
    rig.now += HOUR
    last = rig.dispense()["device_time"]
    before = rig.registers()
    rig.now += 5 * DAY
    failed(rig)
    status = rig.status()
    assert (status["state"], status["lock_reasons"], status["device_time"]) == (State.LOCKED, ["date fault"], last)
    assert status["cleared_by"] == ["set_time"]
    with pytest.raises(Locked, match="the real-time clock lost its time"):
        rig.dispense()
    rig.now += MINUTE
    assert shown(rig) == last + MINUTE
    assert rig.registers() == before


def test_only_setting_the_time_clears_it() -> None:
    rig = failed(operational())
    rig.check_in()
    assert rig.status()["state"] == State.LOCKED
    rig.rtc = Rtc()
    for _ in range(2):
        rig.power_on()
        assert rig.status()["lock_reasons"] == ["date fault"]
    set_time(rig, rig.now)
    assert rig.status()["state"] == State.OPERATIONAL
    rig.power_on()
    rig.dispense()


def test_a_battery_that_fails_again_locks_again() -> None:
    rig = failed(operational())
    set_time(rig, rig.now)
    rig.dispense()
    assert failed(rig).status()["lock_reasons"] == ["date fault"]


def test_it_is_found_once_in_a_power_cycle() -> None:
    rig = failed(operational())
    before = rig.everything()
    rig.now += HOUR
    assert rig.everything() == before


@pytest.mark.parametrize("steps", [0, 1])
def test_a_device_that_needs_no_time_yet_is_not_locked(steps: int) -> None:
    rig = Rig()
    for step in (rig.initialize,)[:steps]:
        step()
    failed(rig)
    rig.now += DAY
    assert rig.status()["lock_reasons"] == []
    assert shown(rig) == rig.now


def test_a_device_out_of_service_is_not_locked() -> None:
    rig = operational(0)
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    rig.ask("withdraw_complete", message=answer("withdrawal_grant", asked, amount_mills=0))
    assert failed(rig).status()["lock_reasons"] == []


def test_on_a_full_disk_it_is_locked_all_the_same() -> None:
    storage = Full()
    rig = operational(storage=storage)
    storage.full = True
    rig.rtc = Rtc(battery_failed=True)
    rig.power_on(log_in=False)
    assert (rig.status()["state"], rig.status()["lock_reasons"]) == (State.LOCKED, ["date fault"])


def test_the_time_that_was_lost_does_not_come_back_with_the_next_power_on() -> None:
    rig = operational()
    rig.now += 5 * DAY
    failed(rig)
    rig.rtc = Rtc()
    rig.power_on()
    assert shown(rig) == NOON


# The part


def test_it_shows_what_it_was_set_to() -> None:
    state = set_to(PsdState(), 5_000, 1_000)
    clock = DeviceClock(Rtc())
    assert [clock.time(state, 0, now) for now in (1_000, 1_001, 2_000)] == [5_000, 5_001, 6_000]


@pytest.mark.parametrize("now", [-1, LAST + 1, LATEST, 1 << 63])
def test_an_instant_that_is_none_is_refused(now: int) -> None:
    with pytest.raises(FieldError, match="outside 1970 to 9999"):
        DeviceClock(Rtc()).time(PsdState(), 0, now)


def test_it_does_not_run_out_of_the_calendar() -> None:
    rig = operational()
    set_time(rig, LAST - HOUR)
    rig.now += HOUR
    assert shown(rig) == LAST
    rig.now += DAY
    assert shown(rig) == LAST  # it stands, and the device can be read
    set_time(rig, LAST - HOUR)
    assert shown(rig) == LAST - HOUR
