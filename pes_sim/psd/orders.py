"""The provider's orders to a device in service: a new licence, the time, lock and unlock. State in, state out.

Each is a signed message over the nonce of a challenge, which it uses up. Who brings it does not matter.
"""

from __future__ import annotations

from dataclasses import replace

from pes_sim.clock import iso
from pes_sim.errors import BadTime
from pes_sim.psd import locks, rtc
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Lock
from pes_sim.psd.manufacture import check_zip
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import Attempts, PsdState


def reauthorize(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """The customer moved: a new licensing ZIP Code, which indicia bear from now on ("Postal/ZIP Code Update")."""
    check_zip(message["licensing_zip"])
    after = replace(
        state,
        licensing_zip=message["licensing_zip"],
        customer=message["customer"],
        utc_offset_minutes=message["utc_offset_minutes"],
    )
    return Outcome(after, {"state": after.lifecycle.value})


def set_time(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Sets the device's clock. Never back past the last piece: no indicium is older than the one before it."""
    time = message["device_time"]
    if time < tools.last_dispense:
        raise BadTime(
            f"{iso(time)} is before the last piece, {iso(tools.last_dispense)}",
            hint="The clock is never set back past it", last_dispense=tools.last_dispense,
        )  # fmt: skip
    after = locks.without(with_time(state, time, before=tools.time, now=tools.now), [Lock.DATE_FAULT])
    return Outcome(after, {"device_time": time, "state": after.lifecycle.value}, time=time)


def with_time(state: PsdState, time: int, *, before: int, now: int) -> PsdState:
    """`state` with a clock that showed `before`, and shows `time` at the host's `now`. Raises `BadTime`.

    What was measured from an instant goes back with the clock, or setting it back would put the lockout off.
    """
    if time > rtc.LAST:
        raise BadTime(f"the time {time} is beyond the year 9999")
    back = max(0, before - time)
    return replace(
        rtc.set_to(state, time, now),
        last_receipt=_earlier(state.last_receipt, back),
        last_inspection=_earlier(state.last_inspection, back),
        checkin_begun=_earlier(state.checkin_begun, back),
        attempts=tuple(Attempts(made.failed) for made in state.attempts),  # their waits were on the old time
    )


def _earlier(instant: int, back: int) -> int:
    """`instant`, so much earlier; 0 means never, and stays."""
    return max(1, instant - back) if instant else 0


def lock(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Locks the device for reasons that only the provider clears."""
    return _locks(locks.with_locks(state, locks.ordered(message["lock_reasons"])))


def unlock(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Clears them. An inspection that was due counts as made; wrong proofs of identity are forgotten, with or without
    a reason beside.
    """
    reasons = locks.ordered(message["lock_reasons"], some=False)
    after = replace(state, attempts=PsdState().attempts)
    if Lock.INSPECTION_DUE in reasons:
        after = replace(after, last_inspection=tools.time)
    return _locks(locks.without(after, reasons))


def _locks(after: PsdState) -> Outcome:
    return Outcome(after, {"state": after.lifecycle.value, "lock_reasons": list(after.locks)})
