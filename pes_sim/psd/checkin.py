"""Check-in: a signed report out, the provider's receipt in, and the 72 hours that it restarts.

* Only a receipt signed by the provider over the PSD's own fresh nonce restarts them (notices A2, A3).
* The lockout is reckoned on the device's time, which never runs back: setting the host's clock back gains nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pes_sim.clock import HOUR, SECOND
from pes_sim.errors import BadMessage, LockedCheckinOverdue, StaleMessage
from pes_sim.psd import lifecycle, messages
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Event
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.piece import SOFTWARE_ID
from pes_sim.psd.state import PsdState

LOCKOUT: Final = 72 * HOUR
"""From the last accepted receipt to the lockout: locked once 72 hours have passed (notices A2, A3)."""

RECEIPT_LIFETIME: Final = 1 * HOUR
"""From a report to its receipt (assumed): a receipt kept back must not unlock the device whenever its host likes."""

CLEARED_BY: Final = "A check-in with the provider"


def begin(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """The signed report. A nonce that waits for its receipt is replaced: only the newest report can be answered."""
    nonce = tools.entropy(16)
    number = state.message_number + 1
    values = {
        "psd_serial": state.psd_serial,
        "nonce": nonce,
        "message_number": number,
        "customer": state.customer,
        "log_sequence": tools.log_sequence,
        "device_time": tools.time,
        "software_id": SOFTWARE_ID,
        **tools.registers.values(),
    }
    message = messages.sign("checkin_report", values, tools.keys.sign)
    after = replace(state, message_number=number, checkin_nonce=nonce, checkin_begun=tools.time)
    return Outcome(after, {"message": message})


def complete(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Accepts the receipt: operational for 72 hours from now."""
    if tools.time - state.checkin_begun > RECEIPT_LIFETIME:
        raise StaleMessage("the receipt comes more than an hour after its report", hint="Begin the check-in again")
    acknowledged = message["acknowledged"]
    if not state.acknowledged <= acknowledged <= tools.log_sequence:
        raise BadMessage(
            f"the receipt acknowledges record {acknowledged}, outside {state.acknowledged} to {tools.log_sequence}"
        )
    after = replace(
        state,
        lifecycle=lifecycle.after(state.lifecycle, Event.RECEIPT),
        checkin_nonce=b"",
        last_receipt=tools.time,
        acknowledged=acknowledged,
    )
    return Outcome(after, {"state": after.lifecycle.value, "seconds_to_lockout": LOCKOUT // SECOND})


def to_lockout(state: PsdState, time: int) -> int:
    """Microseconds until the lockout, negative when overdue; 0 before the first receipt."""
    return state.last_receipt + LOCKOUT - time if state.last_receipt else 0


def locked(state: PsdState, time: int) -> LockedCheckinOverdue:
    """The refusal of a locked device: how long overdue, and what clears it."""
    overdue = max(0, -to_lockout(state, time))
    hours, minutes = divmod(overdue // (60 * SECOND), 60)
    return LockedCheckinOverdue(
        f"no check-in for 72 hours: locked, overdue by {hours} h {minutes} min",
        hint=f"{CLEARED_BY} clears it",
        seconds_overdue=overdue // SECOND,
        cleared_by="checkin",
    )
