"""The life cycle: which states there are, which events, and where each event leads from each state.

* Everything that changes the state is in `TRANSITIONS`. What is not in it is refused, by name of state and event.
* `FAULT` leads to ERROR from everywhere, and nothing leads out of ERROR yet.

States are tied to their sources in docs/fidelity.md. The names are ours unless that page says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pes_sim.errors import RefusedInState


class State(StrEnum):
    """States of the device."""

    UNINITIALIZED = "UNINITIALIZED"
    INITIALIZED = "INITIALIZED"
    AUTHORIZED = "AUTHORIZED"
    OPERATIONAL = "OPERATIONAL"
    LOCKED = "LOCKED"
    ERROR = "ERROR"


class Event(StrEnum):
    """What can happen to it."""

    INITIALIZE = "initialize"
    AUTHORIZE = "authorize"
    RECEIPT = "check-in receipt accepted"
    OVERDUE = "72 hours without a receipt"
    FAULT = "integrity or self-test failure"


TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.UNINITIALIZED: {Event.INITIALIZE: State.INITIALIZED, Event.FAULT: State.ERROR},
    State.INITIALIZED: {Event.AUTHORIZE: State.AUTHORIZED, Event.FAULT: State.ERROR},
    State.AUTHORIZED: {Event.RECEIPT: State.OPERATIONAL, Event.FAULT: State.ERROR},
    State.OPERATIONAL: {
        Event.RECEIPT: State.OPERATIONAL,
        Event.OVERDUE: State.LOCKED,
        Event.FAULT: State.ERROR,
    },
    State.LOCKED: {Event.RECEIPT: State.OPERATIONAL, Event.FAULT: State.ERROR},
    State.ERROR: {Event.FAULT: State.ERROR},
}


def after(state: State, event: Event) -> State:
    """The state that `event` leads to. Raises `RefusedInState` naming both."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise RefusedInState(f"state {state} does not allow the event: {event}", state=state, event=event) from None
