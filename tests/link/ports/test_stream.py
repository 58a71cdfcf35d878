"""How both ends wait: they look some times before they sleep, where that keeps nobody waiting."""

from __future__ import annotations

import itertools
import os
import select
import threading
from collections.abc import Iterator

import pytest

from pes_sim.link.ports import stream
from pes_sim.link.ports.stream import ANOTHERS_TURN, HOST_LOOKS, SLEEPS, StreamTransport, poll, wait_for


class Looks:
    """Stands for `select.poll`: notes the time-outs that it is asked with, and finds something at the look `when`."""

    def __init__(self, when: int) -> None:
        self.asked: list[int | None] = []
        self._when = when

    def poll(self, timeout: int | None = None) -> list[tuple[int, int]]:
        self.asked.append(timeout)
        return [(3, select.POLLIN)] if len(self.asked) == self._when else []


def machine(monkeypatch: pytest.MonkeyPatch, processors: int, *turns: float) -> None:
    """A machine where letting others go first takes so long, time after time, and then no time."""
    times = itertools.chain(itertools.chain.from_iterable((0.0, turn) for turn in turns), itertools.repeat(0.0))
    monkeypatch.setattr(stream, "_eagerness", stream._Eagerness(processors))
    monkeypatch.setattr(stream, "stopwatch", lambda: next(times))


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("when", "asked"), [(1, [0]), (3, [0, 0, 0]), (4, [0, 0, 0, 250])], ids=["at once", "the last look", "after them"]
)
def test_it_looks_before_it_sleeps(when: int, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, processors=2)
    looks = Looks(when)
    assert wait_for(looks, 250, 3) == [(3, select.POLLIN)]  # type: ignore[arg-type]
    assert looks.asked == asked


def test_where_there_is_one_processor_it_sleeps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, processors=1)
    looks = Looks(1)
    wait_for(looks, 250, 3)  # type: ignore[arg-type]
    assert looks.asked == [250]


def test_where_another_program_has_its_turn_first_it_sleeps_at_once_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Who sleeps is woken before a program that only computes; who looks is kept waiting by it, 4 ms at a time.
    machine(monkeypatch, 2, ANOTHERS_TURN, 2 * ANOTHERS_TURN)
    looks = Looks(0)
    wait_for(looks, 250, 3)  # type: ignore[arg-type]
    assert looks.asked == [0, 0, 249]  # the turns' 1.5 ms were waited
    for _ in range(SLEEPS):
        looks = Looks(0)
        wait_for(looks, 250, 3)  # type: ignore[arg-type]
        assert looks.asked == [250]
    looks = Looks(0)
    wait_for(looks, 250, 3)  # type: ignore[arg-type]
    assert looks.asked == [0, 0, 0, 250]


@pytest.mark.parametrize(
    ("timeout_ms", "asked"),
    [(None, [0, 0, 0, 0, 0, 0, None]), (250, [0, 0, 0, 0, 0, 0, 248]), (1, [0, 0, 0, 0])],
    ids=["without end", "part of the time-out", "more than the time-out"],
)
def test_what_others_take_in_short_turns_is_part_of_the_time_out(
    timeout_ms: int | None, asked: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, 2, *[ANOTHERS_TURN * 0.75] * 6)  # none of them long enough to stop looking
    looks = Looks(0)
    assert wait_for(looks, timeout_ms, 6) == []  # type: ignore[arg-type]
    assert looks.asked == asked


def test_what_is_waited_for_is_found_by_the_sleep_as_well(ends: tuple[int, int]) -> None:
    read, write = ends
    waits = poll(read, select.POLLIN)
    assert wait_for(waits, 0, 5) == []
    os.write(write, b"x")
    assert wait_for(waits, None, 0) == wait_for(waits, None, 5) == [(read, select.POLLIN)]


@pytest.mark.parametrize("others", [0, 1])
def test_a_host_with_another_thread_does_not_keep_it_from_answering(
    others: int, ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def noted(waits: select.poll, timeout_ms: int | None, looks: int) -> list[tuple[int, int]]:
        asked.append(looks)
        return waits.poll(timeout_ms)

    monkeypatch.setattr(stream, "wait_for", noted)
    monkeypatch.setattr(threading, "active_count", lambda: 1 + others)
    os.write(ends[1], b"answer")
    assert StreamTransport("it", lambda: ends[0], lambda: None, 1000).read() == b"answer"
    assert asked == [0 if others else HOST_LOOKS]
