"""Check-in: a signed report out, the provider's receipt in, and the time to the lockout that it restarts.

* Only a receipt signed by the provider over the PSD's own fresh nonce restarts it (notices A2, A3).
* It is reckoned on the device's own clock: setting the host's clock back gains nothing.
* A provider that finds the registers wrong answers with a refusal, and the device locks itself.
* Each report names those before it that may have arrived, with the log's hash chain then. A device that was put back
  does not know what it reported meanwhile, however far it has caught up.
* It names the refill that waits for its answer, so that a grant which is under way is told from one that was had and
  taken back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pes_sim.clock import HOUR, SECOND
from pes_sim.errors import BadMessage, StaleMessage
from pes_sim.psd import exchange, lifecycle, locks
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Event, Lock, State
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import Exchange, PsdState

RECEIPT_LIFETIME: Final = 1 * HOUR
"""From a report to its receipt (assumed): a receipt kept back must not unlock the device whenever its host likes."""

MOST_REPORTS: Final = 16
"""That are named: the one of the last receipt, and the newest."""


def begin(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """The signed report. A nonce that waits for its receipt is replaced: only the newest report can be answered."""
    state, begun = exchange.begin(
        state, tools, "checkin_report",
        customer=state.customer, log_sequence=tools.log_sequence, software_id=state.software.software_id,
        lock_reasons=list(state.locks), chain=tools.chain, reports=list(state.reports), refill_nonce=state.refill.nonce,
    )  # fmt: skip
    reports = (*state.reports, report_mark(tools.log_sequence, tools.chain))
    if len(reports) > MOST_REPORTS:
        reports = (reports[0], *reports[-MOST_REPORTS + 1 :])
    after = replace(state, checkin=replace(begun, message=b""), checkin_begun=tools.time, reports=reports)
    return Outcome(after, {"message": begun.message})


def complete(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Accepts the receipt: operational from now on, unless locked for something else. Or obeys the refusal."""
    if tools.time - state.checkin_begun > RECEIPT_LIFETIME:
        raise StaleMessage("the receipt comes more than an hour after its report", hint="Begin the check-in again")
    after = replace(state, checkin=Exchange())
    after = _refused(after, message) if "lock_reasons" in message else _received(after, message, tools)
    return Outcome(
        after,
        {
            "state": after.lifecycle.value,
            "lock_reasons": list(after.locks),
            "reason": message.get("reason", ""),
            "seconds_to_lockout": locks.to_lockout(after, tools.time) // SECOND,
        },
    )


def _received(state: PsdState, receipt: Values, tools: Tools) -> PsdState:
    acknowledged = receipt["acknowledged"]
    if not state.acknowledged <= acknowledged <= tools.log_sequence:
        raise BadMessage(
            f"the receipt acknowledges record {acknowledged}, outside {state.acknowledged} to {tools.log_sequence}"
        )
    if state.lifecycle is State.AUTHORIZED:
        state = replace(state, lifecycle=lifecycle.after(state.lifecycle, Event.RECEIPT), last_inspection=tools.time)
    reports = tuple(mark for mark in state.reports if mark >= report_mark(acknowledged, b""))
    state = replace(state, last_receipt=tools.time, acknowledged=acknowledged, reports=reports)
    # With the locks that it had when it was not operational yet.
    return locks.with_locks(locks.without(state, [Lock.CHECKIN_OVERDUE]), ())


def report_mark(log_sequence: int, chain: bytes) -> bytes:
    """How a later report names one: by the log's length, and its chain then."""
    return log_sequence.to_bytes(8, "big") + chain


def _refused(state: PsdState, refusal: Values) -> PsdState:
    reasons = refusal["lock_reasons"]
    return locks.with_locks(state, locks.ordered(reasons) if reasons else ())
