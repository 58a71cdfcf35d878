"""What happened, numbered, for whoever reads along. Only the newest are kept: memory is bounded, nobody is waited for,
and a reader that was too slow sees by the numbers what it has lost.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `number` rises by 1; `time`: microseconds since 1970-01-01 UTC, by the meter's clock."""

    number: int
    time: int
    kind: str
    facts: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """As it goes over the wire."""
        return {"number": self.number, "time_us": self.time, "event": self.kind, **self.facts}


class Events:
    """The newest events, `kept` of them. Any thread may add and read."""

    def __init__(self, kept: int = KEPT) -> None:
        self._turn = threading.Lock()
        self._events: deque[Event] = deque(maxlen=kept)
        self._listeners: set[Callable[[], None]] = set()
        self.newest = 0
        """The number of the latest; 0 for none."""
        self.closed = False
        """Whether no more come."""

    def add(self, time: int, kind: str, **facts: Any) -> None:
        """One more; whoever listens is told at once."""
        with self._turn:
            self.newest += 1
            self._events.append(Event(self.newest, time, kind, facts))
            for told in self._listeners:
                told()

    def after(self, number: int) -> list[Event]:
        """Those of a higher number that are still kept, in order."""
        with self._turn:
            return [event for event in self._events if event.number > number]

    def listen(self, told: Callable[[], None]) -> Callable[[], None]:
        """`told` is called whenever there is something new; it must not wait. Gives what ends that."""
        with self._turn:
            self._listeners.add(told)

        def end() -> None:
            with self._turn:
                self._listeners.discard(told)

        return end

    def close(self) -> None:
        """No more come: whoever listens may go."""
        with self._turn:
            self.closed = True
            for told in self._listeners:
                told()
