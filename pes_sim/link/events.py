"""Events: what a device says without being asked, to a host that has asked for it once. Sans-IO.

* Nobody is told anything who has not subscribed, and for him nothing is different, not even the time that it takes.
* An event is what `get_status` and `get_registers` say now and did not say at the last look, so whatever has these two
  services can tell of it: a PSD, or a meter around one.
* Low funds, a check-in that is due and tampering are told once when they begin; and at the first look, where they hold
  already. A state is told when it is another one than at the last look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from pes_sim.errors import PesError, UnknownService
from pes_sim.psd.fields import Field, Values, fields
from pes_sim.psd.lifecycle import TAMPER, State
from pes_sim.psd.locks import CHECKIN_DUE
from pes_sim.psd.services import Service


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind of event: the code in its frame, its name, what it says, and what it means."""

    code: int
    name: str
    fields: tuple[Field, ...]
    meaning: str


def _kind(code: int, name: str, says: str, meaning: str) -> EventKind:
    return EventKind(code, name, fields("event_sequence device_time " + says), meaning)


EVENTS: Final = (
    _kind(0x01, "state_changed", "state sub_state lock_reasons",
          "Another state, sub-state or reason to be locked than at the last look"),
    _kind(0x02, "low_funds", "descending_mills low_funds_mills",
          "The descending register is below what the host named when it subscribed"),
    _kind(0x03, "checkin_due", "seconds_to_lockout",
          "The time has come from which on the status warns of the check-in (docs/psd.md: regimes)"),
    _kind(0x04, "tamper", "state",
          "The tamper input: every key is destroyed"),
)  # fmt: skip
STATE_CHANGED, LOW_FUNDS, CHECKIN_IS_DUE, TAMPERED = EVENTS
BY_CODE: Final[Mapping[int, EventKind]] = {kind.code: kind for kind in EVENTS}
BY_NAME: Final[Mapping[str, EventKind]] = {kind.name: kind for kind in EVENTS}

_ASKED: Final = ("get_status", "get_registers")


class Event(NamedTuple):
    """Something that happened. `sequence` rises by one from event to event; `missed` were lost just before this one."""

    name: str
    sequence: int
    values: Values
    missed: int = 0


class Answers(Protocol):
    """A device that can be asked how it is."""

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values: ...


def check_can_tell(kind: str, services: Mapping[int, Service]) -> None:
    """Raises `UnknownService` where a device has not the services that events come from."""
    if not set(_ASKED) <= {service.name for service in services.values()}:
        raise UnknownService(f"a {kind} tells no events: it has not both of {' and '.join(_ASKED)}")


class Watch:
    """What one subscriber has been told. `low_funds_mills`: below so much funds are low; 0 for never.

    `sequence` is the number of the newest event so far; a watch that follows another goes on from its number.
    """

    def __init__(self, device: Answers, now: int, low_funds_mills: int = 0, sequence: int = 0) -> None:
        self.sequence = sequence
        self._device = device
        self._low = low_funds_mills
        self._told: frozenset[EventKind] = frozenset()
        """Of those that hold for a while: which did at the last look."""
        self._state = _state(self._ask("get_status", now))

    def look(self, now: int) -> list[Event]:
        """What came about since the last look. Raises what the device refuses with; then it counts as no look."""
        says = {**self._ask("get_status", now), **self._registers(now), "low_funds_mills": self._low}
        state, holding = _state(says), frozenset(kind for kind, holds in _HOLDS.items() if holds(says))
        changed = (STATE_CHANGED,) if state != self._state else ()
        new = (*changed, *(kind for kind in _HOLDS if kind in holding - self._told))
        self._state, self._told = state, holding
        return list(self._numbered(new, says))

    def _numbered(self, kinds: tuple[EventKind, ...], says: Values) -> Iterator[Event]:
        for kind in kinds:
            self.sequence += 1
            values = {field.name: says[field.name] for field in kind.fields[1:]}
            yield Event(kind.name, self.sequence, {"event_sequence": self.sequence} | values)

    def _registers(self, now: int) -> Values:
        try:
            return self._ask("get_registers", now)
        except PesError:
            return {}  # of a device that has stopped; that it has, its status says

    def _ask(self, name: str, now: int) -> Values:
        return self._device.execute(name, {}, request_id=b"", now=now)


def _state(status: Values) -> tuple[object, ...]:
    return status["state"], status["sub_state"], tuple(status["lock_reasons"])


_HOLDS: Final[Mapping[EventKind, Callable[[Values], bool]]] = {
    LOW_FUNDS: lambda says: says.get("descending_mills", says["low_funds_mills"]) < says["low_funds_mills"],
    CHECKIN_IS_DUE: lambda says: CHECKIN_DUE in says["warnings"],
    TAMPERED: lambda says: says["state"] == State.ZEROIZED and TAMPER in says["lock_reasons"],
}
