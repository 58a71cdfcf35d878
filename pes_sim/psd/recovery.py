"""Recovery: the provider's order says with which registers a device goes on that cannot tell its own. Pure.

* What the device can still read is a lower bound: nothing that was spent, and no refill that was had, is forgotten.
* Nothing that was under way goes on. The device is locked for a register fault until the provider unlocks it.
* A device that was withdrawn or zeroized is never brought back.
"""

from __future__ import annotations

from dataclasses import replace

from pes_sim.errors import BadMessage, IntegrityError, RefusedInState
from pes_sim.money import dollars
from pes_sim.psd import lifecycle, locks, orders
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Event, Lock, State
from pes_sim.psd.registers import Registers
from pes_sim.psd.state import Answer, Exchange, Snapshot

_GONE = frozenset({State.WITHDRAWN, State.ZEROIZED})


def check_known(known: Snapshot | None) -> Snapshot:
    """Raises unless the device knows who it is, and may come back."""
    if known is None or not known.state.provider_point:
        raise IntegrityError(
            "nothing is left that says who this device is, or it was never licensed",
            hint="It cannot be brought back. Zeroize it, and settle its registers with the provider",
        )
    state = known.state
    if state.lifecycle in _GONE or state.final_statement or not state.keys:
        how = "withdrawn" if state.final_statement else "zeroized"
        raise RefusedInState(f"the device was {how}, and that is for good", state=State.ERROR.value)
    return known


def begin(known: Snapshot, order: Values, request: Answer, *, time: int, now: int) -> Snapshot:
    """How the device goes on by `order`: the first record of its new log, with the answer to `request`.

    `time` is the device's clock and `now` the host's, in microseconds since 1970-01-01 UTC. Raises `BadMessage` for
    registers that cannot be true.
    """
    registers = _registers(order)
    _check(known, registers, order["newest_number"])
    # The clock may have lost its time with the log. It is never set back past the last piece.
    shows = max(order["device_time"], known.last_dispense)
    state = orders.with_time(known.state, shows, before=time, now=now)
    state = replace(
        state,
        lifecycle=lifecycle.after(State.ERROR, Event.RECOVER),
        fault="",
        message_number=order["newest_number"],
        refill=Exchange(),
        refill_cancellation=b"",
        withdrawal=Exchange(),
        checkin=Exchange(),
        reports=(),
    )
    state = locks.with_locks(state, [Lock.REGISTER_FAULT])
    state = locks.without(state, [Lock.DATE_FAULT])
    reply = {"state": state.lifecycle.value, "lock_reasons": list(state.locks), **registers.values()}
    return Snapshot(
        state, registers, shows, known.last_dispense, known.reprints, bytes(32), replace(request, reply=reply)
    )


def _registers(order: Values) -> Registers:
    return Registers(
        order["ascending_mills"],
        order["descending_mills"],
        order["control_sum_mills"],
        order["piece_count"],
        order["zero_piece_count"],
    )


def _check(known: Snapshot, after: Registers, newest_number: int) -> None:
    before = known.registers
    pieces, zero = after.pieces - before.pieces, after.zero_pieces - before.zero_pieces
    spent = after.ascending - before.ascending
    rules = (
        ("AR + DR is not the control sum", after.ascending + after.descending == after.control_sum),
        ("the ascending register would fall", spent >= 0),
        ("the control sum would fall", after.control_sum >= before.control_sum),
        ("the piece count would fall", pieces >= 0),
        ("the zero-value count does not match", 0 <= zero <= pieces),
        ("postage left without an indicium", spent == 0 or pieces > zero),
        ("the message number would fall", newest_number >= known.state.message_number),
    )
    for complaint, holds in rules:
        if not holds:
            raise BadMessage(
                f"no recovery with these registers: {complaint}",
                hint=f"The device can still read: {dollars(before.ascending)} used in {before.pieces} pieces, "
                f"{before.zero_pieces} of them of zero value, of {dollars(before.control_sum)}",
                **before.values(),
            )
