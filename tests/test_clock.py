"""The clock: it never goes back, and instants, dates and durations are read and shown exactly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.clock import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Clock,
    SystemClock,
    VirtualClock,
    iso,
    local_date,
    parse_duration,
    parse_iso,
    stopwatch,
)
from pes_sim.errors import Status, UsageError

LAST = 253_402_128_000 * SECOND
"""9999-12-30T00:00:00Z: from here on, a date somewhere on Earth may be past what can be written."""

INSTANTS = {
    "1970-01-01T00:00:00Z": 0,
    "2026-07-13T15:00:00Z": 1_783_954_800 * SECOND,
    "2026-07-13T15:00:00": 1_783_954_800 * SECOND,
    "2026-07-13 15:00": 1_783_954_800 * SECOND,
    "20260713T150000Z": 1_783_954_800 * SECOND,
    "2026-07-13T15:00:00+00:00": 1_783_954_800 * SECOND,
    "2026-07-13T17:00:00+02:00": 1_783_954_800 * SECOND,
    "2026-07-13T05:00:00-10:00": 1_783_954_800 * SECOND,
    "2026-07-14T00:45:00+09:45": 1_783_954_800 * SECOND,
    "2026-07-13T15:00:00.000001Z": 1_783_954_800 * SECOND + 1,
    "2026-07-13T15:00:00.5": 1_783_954_800 * SECOND + 500_000,
    "2026-07-13": 1_783_900_800 * SECOND,
    "2024-02-29": 1_709_164_800 * SECOND,
    "1969-12-31T23:00:00-01:00": 0,
    "9999-12-30T00:00:00Z": LAST,
}

NO_INSTANTS = [
    "", " ", "now", "yesterday", "2026", "2026-13-01", "2026-02-29", "2026-07-32", "13.07.2026", "07/13/2026",
    "1783954800", "2026-07-13T25:00", "2026-07-13T15:60", "2026-07-13T15:00:60Z",
    " 2026-07-13", "2026-07-13 ", "2026-07-13T15:00+24:00", "2026-07-13T", "10000-01-01", "-2026-07-13",
    "2026-07-13T15:00:00Zulu", "2026-07-13\0", "2026-07-13T15:00:00\udc80", "\N{FULLWIDTH DIGIT TWO}026-07-13",
]  # fmt: skip

OUT_OF_REACH = [
    "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00+00:01", "1900-01-01", "0001-01-01",
    "0001-01-01T00:00:00+14:00", "9999-12-30T00:00:00.000001Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00",
]  # fmt: skip

DURATIONS = {
    "0s": 0,
    "1s": SECOND,
    "90s": 90 * SECOND,
    "5m": 5 * MINUTE,
    "72h": 72 * HOUR,
    "72h1m": 72 * HOUR + MINUTE,
    "3d": 3 * DAY,
    "1d2h3m4s": DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND,
    "1m1h": HOUR + MINUTE,
    "1h1h": 2 * HOUR,
    "007d": 7 * DAY,
    "12345678901234567890s": 12_345_678_901_234_567_890 * SECOND,
}

NO_DURATIONS = [
    "", " ", "5", "h", "1h1", "h1", "1hh", "1 h", " 1h", "1h ", "-1h", "+1h", "1.5h", "1,5h", "1w", "1y", "1H", "1ms",
    "72:00", "PT72H", "1_0s", "0x1s", "1h\0", "\N{SUPERSCRIPT TWO}h", "\N{ARABIC-INDIC DIGIT ONE}h", "one hour",
    "9" * 21 + "s", "9" * 5000 + "s",
]  # fmt: skip


def test_a_second_is_a_million_microseconds_and_the_rest_follows() -> None:
    assert (SECOND, MINUTE, HOUR, DAY) == (1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000)


# Clocks


def test_a_virtual_clock_stands_still_until_it_is_told_to_move() -> None:
    clock = VirtualClock(1_000)
    assert [clock.now(), clock.now()] == [1_000, 1_000]
    assert clock.advance(72 * HOUR) == 1_000 + 72 * HOUR
    assert clock.now() == 1_000 + 72 * HOUR
    assert clock.advance(0) == clock.now()


@pytest.mark.parametrize("step", [-1, -DAY, -(10**30)])
def test_a_virtual_clock_never_goes_back_and_a_refused_step_moves_nothing(step: int) -> None:
    clock = VirtualClock(DAY)
    with pytest.raises(UsageError, match="the clock never goes back") as caught:
        clock.advance(step)
    assert caught.value.hint == "Give a positive step"
    assert clock.now() == DAY


def test_a_virtual_clock_goes_up_to_the_last_day_and_no_further() -> None:
    clock = VirtualClock(0)
    for step in (LAST + 1, 10**40):
        with pytest.raises(UsageError, match="past the year 9999"):
            clock.advance(step)
    assert clock.now() == 0
    assert clock.advance(LAST) == LAST
    with pytest.raises(UsageError, match="past the year 9999"):
        clock.advance(1)
    assert clock.now() == LAST


def test_who_waits_on_a_clock_that_stands_still_moves_it() -> None:
    clock = VirtualClock(1_000)
    clock.wait(72 * HOUR)
    assert clock.now() == 1_000 + 72 * HOUR
    clock.wait(-5)
    assert clock.now() == 1_000 + 72 * HOUR


def test_a_virtual_clock_runs_at_a_rate_from_where_it_stood_and_stops_where_it_is() -> None:
    clock = VirtualClock(DAY)
    before = stopwatch()
    clock.run(1_000_000)
    clock.wait(SECOND)
    running = clock.now()
    clock.advance(HOUR)
    clock.run(0)
    stopped = clock.now()
    assert DAY + SECOND <= running <= stopped - HOUR
    assert stopped - HOUR - DAY <= (stopwatch() - before) * 1_000_000 * SECOND
    assert (clock.rate, clock.now()) == (0, stopped)


@pytest.mark.parametrize("rate", [1e-5, 1e-320])
@pytest.mark.parametrize(
    "end", [lambda clock: clock.run(0), lambda clock: clock.advance(DAY), lambda clock: clock.run(1e6)]
)
def test_who_waits_on_a_clock_that_runs_slowly_goes_on_when_it_is_moved_stopped_or_runs_faster(
    end: Callable[[VirtualClock], object], rate: float
) -> None:
    clock = VirtualClock(DAY)
    clock.run(rate)
    waits = threading.Thread(target=clock.wait, args=(SECOND,), daemon=True)
    waits.start()
    for _ in range(2_000):  # the first may come before it waits
        end(clock)
        waits.join(0.01)
        if not waits.is_alive():
            break
    assert not waits.is_alive()
    assert clock.now() >= DAY + SECOND


def test_a_running_clock_stays_at_the_last_day() -> None:
    clock = VirtualClock(LAST)
    clock.run(1_000_000)
    clock.wait(DAY)
    assert clock.now() == LAST


@pytest.mark.parametrize("rate", [-1, 1_000_001, float("nan"), float("inf")])
def test_a_rate_that_no_clock_has_is_refused(rate: float) -> None:
    clock = VirtualClock(5)
    with pytest.raises(UsageError, match="a clock does not run at"):
        clock.run(rate)
    assert (clock.rate, clock.now()) == (0, 5)


@given(st.lists(st.integers(-DAY, DAY)))
def test_whatever_it_is_told_a_virtual_clock_only_rises(steps: list[int]) -> None:
    clock = VirtualClock(0)
    for step in steps:
        before = clock.now()
        try:
            clock.advance(step)
        except UsageError:
            assert step < 0
        assert clock.now() == before + max(step, 0)


def test_the_system_clock_tells_the_systems_time() -> None:
    clock: Clock = SystemClock()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    before = datetime.now(UTC)
    told = epoch + timedelta(microseconds=clock.now())
    clock.wait(-1)
    clock.wait(1)
    assert before - timedelta(seconds=1) <= told <= datetime.now(UTC) + timedelta(seconds=1)


def test_the_stopwatch_runs_forward_only() -> None:
    readings = [stopwatch() for _ in range(100)]
    assert readings == sorted(readings)


# Instants in text


@pytest.mark.parametrize(("text", "instant"), INSTANTS.items())
def test_iso_text_is_read_as_an_instant_in_utc_unless_it_says_otherwise(text: str, instant: int) -> None:
    assert parse_iso(text) == instant


@pytest.mark.parametrize("text", NO_INSTANTS)
def test_what_is_no_date_and_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not a date and time") as caught:
        parse_iso(text)
    assert repr(text) in caught.value.message
    assert "2026-07-13T15:00:00Z" in caught.value.hint
    assert caught.value.status is Status.BAD_FIELD


@pytest.mark.parametrize("text", OUT_OF_REACH)
def test_a_year_that_no_clock_here_can_stand_in_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is out of the clock's reach") as caught:
        parse_iso(text)
    assert caught.value.hint == "Allowed: 1970-01-01 to 9999-12-30"


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (SECOND - 1, "1970-01-01T00:00:00Z"),
        (1_783_954_800 * SECOND + 999_999, "2026-07-13T15:00:00Z"),
        (LAST, "9999-12-30T00:00:00Z"),
    ],
)
def test_an_instant_is_shown_to_the_second_that_has_begun(instant: int, text: str) -> None:
    assert iso(instant) == text


@given(st.integers(0, LAST))
def test_what_is_shown_is_read_as_the_same_second(instant: int) -> None:
    assert parse_iso(iso(instant)) == instant - instant % SECOND


# Dates


@pytest.mark.parametrize(
    ("text", "offset", "day"),
    [
        ("2026-07-13T00:00:00Z", 0, date(2026, 7, 13)),
        ("2026-07-13T23:59:59.999999Z", 0, date(2026, 7, 13)),
        ("2026-07-13T04:59:59.999999Z", -300, date(2026, 7, 12)),
        ("2026-07-13T05:00:00Z", -300, date(2026, 7, 13)),
        ("2026-07-13T09:59:00Z", 14 * 60, date(2026, 7, 13)),
        ("2026-07-13T10:00:00Z", 14 * 60, date(2026, 7, 14)),
        ("2026-07-13T12:00:00Z", -14 * 60, date(2026, 7, 12)),
        ("2026-07-13T18:15:00Z", 345, date(2026, 7, 14)),
        ("2026-01-01T00:00:00Z", -1, date(2025, 12, 31)),
        ("2024-02-29T23:00:00Z", 60, date(2024, 3, 1)),
        ("1970-01-01T00:00:00Z", -14 * 60, date(1969, 12, 31)),
        ("9999-12-30T00:00:00Z", 14 * 60, date(9999, 12, 30)),
    ],
)
def test_the_date_is_that_of_the_place_at_its_offset(text: str, offset: int, day: date) -> None:
    assert local_date(parse_iso(text), offset) == day


def test_without_an_offset_the_date_is_utcs() -> None:
    assert local_date(DAY - 1) == date(1970, 1, 1)
    assert local_date(DAY) == date(1970, 1, 2)


@given(st.integers(0, LAST), st.integers(-14 * 60, 14 * 60))
def test_every_instant_that_can_be_read_has_a_date_everywhere(instant: int, offset: int) -> None:
    assert local_date(instant, offset).toordinal() == (instant + offset * MINUTE) // DAY + date(1970, 1, 1).toordinal()


# Durations


@pytest.mark.parametrize(("text", "microseconds"), DURATIONS.items())
def test_a_duration_is_the_sum_of_its_parts(text: str, microseconds: int) -> None:
    assert parse_duration(text) == microseconds


@pytest.mark.parametrize("text", NO_DURATIONS)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration") as caught:
        parse_duration(text)
    assert repr(text) in caught.value.message
    assert caught.value.hint == "Allowed: 72h1m, 3d, 90s"


@given(st.text(alphabet="0123456789dhms .-", max_size=10))
def test_any_text_is_a_duration_or_a_usage_error(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except UsageError:
        return
    assert text[0].isdigit()
    assert text[-1] in "dhms"
