"""Why a device is locked: one row a reason. What sets it, what clears it, and how a request is refused meanwhile.

Several may hold at once; the state is LOCKED while one does. A refusal gives the status of the first in the table's
order and names all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pes_sim.clock import DAY, HOUR, SECOND
from pes_sim.errors import BadMessage, Locked, LockedCheckinOverdue, Status
from pes_sim.psd import lifecycle
from pes_sim.psd.lifecycle import IN_SERVICE, Event, Lock, State
from pes_sim.psd.policy import POLICIES, Policy
from pes_sim.psd.state import PsdState


@dataclass(frozen=True, slots=True)
class Row:
    """A reason's status, the service that clears it, and what the user is told. `ordered`: the provider may set it."""

    status: Status
    cleared_by: str
    meaning: str
    hint: str
    ordered: bool


LOCKS: Final[Mapping[Lock, Row]] = {
    Lock.ROLLBACK_FOUND: Row(
        Status.LOCKED_ROLLBACK_FOUND, "unlock", "the provider knows later registers than this device's",
        "An older image was put back. The provider unlocks it when the books are reconciled, or withdraws it", True),
    Lock.REGISTER_FAULT: Row(
        Status.LOCKED_REGISTER_FAULT, "unlock", "the registers and the provider's books cannot both be right",
        "The provider unlocks it when the books are reconciled", True),
    Lock.PROVIDER: Row(
        Status.LOCKED_BY_PROVIDER, "unlock", "the provider locked it", "The provider unlocks it", True),
    Lock.DATE_FAULT: Row(
        Status.LOCKED_DATE_FAULT, "set_time", "the real-time clock lost its time (battery)",
        "The provider sets the time", False),
    Lock.CHECKIN_OVERDUE: Row(
        Status.LOCKED_CHECKIN_OVERDUE, "checkin_complete", "no check-in in time",
        "A check-in with the provider clears it", False),
    Lock.INSPECTION_DUE: Row(
        Status.LOCKED_INSPECTION_DUE, "unlock", "the inspection is overdue",
        "The provider unlocks it after the inspection", True),
}  # fmt: skip

CHECKIN_DUE: Final = "check-in due"
"""The warning before the lockout."""


def policy(state: PsdState) -> Policy:
    """The device's."""
    return POLICIES[state.regime]


def to_lockout(state: PsdState, time: int) -> int:
    """Microseconds until the check-in lockout, negative when overdue; 0 before the first receipt."""
    return state.last_receipt + policy(state).block - time if state.last_receipt else 0


def warnings(state: PsdState, time: int) -> list[str]:
    """What will lock the device unless somebody acts."""
    rules, found = policy(state), []
    if state.last_receipt and time - state.last_receipt >= rules.warn:
        found.append(CHECKIN_DUE)
    if rules.inspection_warn and state.last_inspection and time - state.last_inspection >= rules.inspection_warn:
        found.append("inspection warning")
    return found


def due(state: PsdState, time: int) -> tuple[Lock, ...]:
    """The reasons that time alone has brought, and that are not noted yet."""
    if state.lifecycle not in IN_SERVICE:
        return ()
    rules = policy(state)
    overdue = time - state.last_receipt >= rules.block
    uninspected = rules.inspection_block > 0 and time - state.last_inspection >= rules.inspection_block
    if not (overdue or uninspected):
        return ()
    found = [*[Lock.CHECKIN_OVERDUE] * overdue, *[Lock.INSPECTION_DUE] * uninspected]
    return tuple(lock for lock in found if lock not in state.locks)


def with_locks(state: PsdState, locks: Iterable[str]) -> PsdState:
    """`state` with more reasons; LOCKED where the life cycle has that."""
    reasons = {*state.locks, *locks}
    held = tuple(lock.value for lock in Lock if lock in reasons)
    state = replace(state, locks=held)
    if held and state.lifecycle is State.OPERATIONAL:
        state = replace(state, lifecycle=lifecycle.after(state.lifecycle, Event.LOCK))
    return state


def without(state: PsdState, locks: Iterable[str]) -> PsdState:
    """`state` with fewer reasons; OPERATIONAL again when the last is gone."""
    gone = set(locks)
    held = tuple(lock for lock in state.locks if lock not in gone)
    state = replace(state, locks=held)
    if not held and state.lifecycle is State.LOCKED:
        state = replace(state, lifecycle=lifecycle.after(state.lifecycle, Event.UNLOCK))
    return state


def ordered(reasons: Sequence[str], *, some: bool = True) -> list[Lock]:
    """Reasons that the provider may set and clear. Raises `BadMessage` for any other, and for none where there must be
    some: an unlock order without one lets wrong proofs of identity be forgotten and clears nothing else.
    """
    known = [lock for lock in Lock if LOCKS[lock].ordered]
    if any(reason not in known for reason in reasons) or (some and not reasons):
        raise BadMessage(
            f"an order names {', '.join(reasons) or 'no reason'}",
            hint=f"The provider sets and clears: {', '.join(known)}",
        )
    return [Lock(reason) for reason in reasons]


def cleared_by(state: PsdState) -> list[str]:
    """The services that clear what the device is locked for."""
    return list(dict.fromkeys(LOCKS[Lock(lock)].cleared_by for lock in state.locks))


def refusal(state: PsdState, time: int) -> Locked:
    """What a locked device answers: every reason, and what clears each."""
    first = LOCKS[Lock(state.locks[0])]
    overdue = max(0, -to_lockout(state, time))
    said = [LOCKS[Lock(lock)].meaning for lock in state.locks]
    if Lock.CHECKIN_OVERDUE in state.locks:
        hours, minutes = divmod(overdue // (60 * SECOND), 60)
        block = policy(state).block
        allowed = f"{block // HOUR} hours" if block <= 72 * HOUR else f"{block // DAY} days"
        where = state.locks.index(Lock.CHECKIN_OVERDUE)
        said[where] = f"no check-in for {allowed}, overdue by {hours} h {minutes} min"
    hints = dict.fromkeys(LOCKS[Lock(lock)].hint for lock in state.locks)
    kind = LockedCheckinOverdue if first.status is Status.LOCKED_CHECKIN_OVERDUE else Locked
    error = kind(
        f"locked: {'; '.join(said)}", hint=". ".join(hints), seconds_overdue=overdue // SECOND,
        reasons=[str(lock) for lock in state.locks], cleared_by=", ".join(cleared_by(state)),
    )  # fmt: skip
    error.status = first.status
    return error
