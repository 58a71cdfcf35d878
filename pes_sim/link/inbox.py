"""The events that a host has received and not fetched yet: a queue that is bounded, and says what is missing in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from pes_sim.errors import FieldError, ProtocolError
from pes_sim.link import message
from pes_sim.link.events import BY_CODE, Event
from pes_sim.link.frame import VERSION, Frame, FrameKind
from pes_sim.psd.fields import check_all

MOST: Final = 256
"""Events that wait to be fetched. Of more the oldest are lost, and counted as missed."""


class Inbox:
    """Of one subscription. An event that comes twice counts once; what cannot be read, or is of a kind that nobody
    knows here, is missed.
    """

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._newest = -1
        """Number of the newest event that came; below 0 while it is not known from which number on they count."""

    def begin(self, sequence: int) -> None:
        """The device has said how many events it told before. Some that are newer may have come already."""
        self._newest = max(self._newest, sequence)

    def take(self, items: Iterable[Frame | ProtocolError]) -> None:
        """Takes the events among what was received."""
        for item in items:
            if isinstance(item, Frame) and item.kind == FrameKind.EVENT:
                self._take(item)

    def fetch(self) -> list[Event]:
        """What waits, which then waits no more."""
        found = list(self._waiting)
        self._waiting.clear()
        return found

    def _take(self, frame: Frame) -> None:
        kind = BY_CODE.get(frame.service)
        if kind is None or frame.version != VERSION:
            return
        try:
            values = message.read_values(frame)
            check_all(kind.fields, values)
        except (ProtocolError, FieldError):
            return
        self.add(Event(kind.name, values["event_sequence"], values))

    def add(self, event: Event) -> None:
        """Puts an event behind those that wait."""
        sequence = event.sequence
        if sequence <= self._newest:
            return
        missed = sequence - self._newest - 1 if self._newest >= 0 else 0
        self._newest = sequence
        if len(self._waiting) == MOST:
            oldest = self._waiting.popleft()
            following = self._waiting[0]
            self._waiting[0] = following._replace(missed=following.missed + oldest.missed + 1)
        self._waiting.append(event._replace(missed=missed))
