"""The life cycle: which states there are, which events, and where each event leads from each state.

* Everything that changes the state is in `TRANSITIONS`. What is not in it is refused, by name of state and event.
* LOCKED has reasons, several at once: `psd/locks.py`. A refill or withdrawal under way is a sub-state beside the state.
* Nothing leads out of ERROR but the provider's recovery and zeroization; nothing at all leads out of ZEROIZED. (An
  ERROR that was not written down, as a self-test's is not, ends with the power.)

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
    WITHDRAWN = "WITHDRAWN"
    ERROR = "ERROR"
    ZEROIZED = "ZEROIZED"


IN_SERVICE: Final = frozenset({State.OPERATIONAL, State.LOCKED})
"""Licensed and received: it may hold postage."""
WORKING: Final = IN_SERVICE | {State.AUTHORIZED}
"""It reckons with the time, and takes the provider's orders."""


class SubState(StrEnum):
    """What is under way with the provider besides."""

    NONE = ""
    REFILL_PENDING = "REFILL_PENDING"
    REFILL_CANCELLED = "REFILL_CANCELLED"
    WITHDRAWAL_PENDING = "WITHDRAWAL_PENDING"


class Lock(StrEnum):
    """Why it is LOCKED, in the order in which a refusal looks at the reasons. More of each: `psd/locks.py`."""

    ROLLBACK_FOUND = "rollback found"
    REGISTER_FAULT = "register fault"
    PROVIDER = "provider lock"
    DATE_FAULT = "date fault"
    CHECKIN_OVERDUE = "check-in overdue"
    INSPECTION_DUE = "inspection due"


TAMPER: Final = "tamper input"
"""What a device that was tampered with says it is ZEROIZED for."""


class Event(StrEnum):
    """What can happen to it."""

    INITIALIZE = "initialize"
    AUTHORIZE = "authorize"
    RECEIPT = "first check-in receipt"
    LOCK = "a reason to lock"
    UNLOCK = "last reason cleared"
    WITHDRAW = "withdrawal granted"
    RECOVER = "recovery ordered"
    FAULT = "integrity or self-test failure"
    ZEROIZE = "zeroize, tamper"


_ALWAYS: Final = {Event.FAULT: State.ERROR, Event.ZEROIZE: State.ZEROIZED}

TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.UNINITIALIZED: {Event.INITIALIZE: State.INITIALIZED, **_ALWAYS},
    State.INITIALIZED: {Event.AUTHORIZE: State.AUTHORIZED, **_ALWAYS},
    State.AUTHORIZED: {Event.RECEIPT: State.OPERATIONAL, **_ALWAYS},
    State.OPERATIONAL: {
        Event.LOCK: State.LOCKED, Event.WITHDRAW: State.WITHDRAWN, Event.RECOVER: State.LOCKED, **_ALWAYS,
    },
    State.LOCKED: {
        Event.UNLOCK: State.OPERATIONAL, Event.WITHDRAW: State.WITHDRAWN, Event.RECOVER: State.LOCKED, **_ALWAYS,
    },
    State.WITHDRAWN: {**_ALWAYS},
    State.ERROR: {Event.RECOVER: State.LOCKED, **_ALWAYS},
    State.ZEROIZED: {Event.ZEROIZE: State.ZEROIZED},
}  # fmt: skip


def after(state: State, event: Event) -> State:
    """The state that `event` leads to. Raises `RefusedInState` naming both."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise RefusedInState(f"state {state} does not allow the event: {event}", state=state, event=event) from None
