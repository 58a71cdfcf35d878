"""What happened, numbered and bounded."""

from __future__ import annotations

import threading

from pes_sim.bench.events import Events


def test_events_are_numbered_from_1_and_read_from_a_number_on() -> None:
    events = Events()
    assert (events.newest, events.after(0)) == (0, [])
    for kind in ("a", "b", "c"):
        events.add(7, kind, more=kind)
    assert [event.number for event in events.after(0)] == [1, 2, 3]
    assert [event.document() for event in events.after(2)] == [{"number": 3, "time_us": 7, "event": "c", "more": "c"}]
    assert (events.newest, events.after(3)) == (3, [])


def test_a_slow_reader_loses_the_oldest_and_sees_that_by_the_numbers() -> None:
    events = Events(kept=3)
    for _ in range(10):
        events.add(0, "x")
    assert [event.number for event in events.after(2)] == [8, 9, 10]


def test_whoever_listens_is_told_at_once_and_not_after_he_has_ended_it() -> None:
    events, told = Events(), []
    end = events.listen(lambda: told.append(events.newest))
    events.add(0, "x")
    events.add(0, "y")
    end()
    end()
    events.add(0, "z")
    assert told == [1, 2]


def test_the_end_is_told_too() -> None:
    events, told = Events(), threading.Event()
    events.listen(told.set)
    events.close()
    assert events.closed
    assert told.is_set()


def test_threads_that_add_at_once_share_no_number() -> None:
    events = Events(kept=1000)

    def add() -> None:
        for _ in range(100):
            events.add(0, "x")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.number for event in events.after(0)] == list(range(1, 401))
