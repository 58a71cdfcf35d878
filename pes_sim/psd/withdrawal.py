"""Withdrawal from service: a signed request out, a grant in, and the descending register goes to zero.

From the request on no piece is dispensed, so that what the provider grants is what is there. The device's last word is
a signed statement of its registers (39 CFR 501.17: unused postage is submitted for refund).
"""

from __future__ import annotations

from dataclasses import replace

from pes_sim.errors import BadMessage, RefillPending
from pes_sim.money import dollars
from pes_sim.psd import exchange, lifecycle
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Event
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import Exchange, PsdState


def begin(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """The signed request; the same again while it is pending."""
    if state.refill.nonce:
        raise RefillPending(
            f"a refill of {dollars(state.refill.amount)} is under way",
            hint="Complete or cancel it first", pending_mills=state.refill.amount,
        )  # fmt: skip
    begun = state.withdrawal
    if not begun.nonce:
        amount = tools.registers.descending
        state, begun = exchange.begin(
            state, tools, "withdrawal_request", amount=amount, customer=state.customer, amount_mills=amount
        )
    return Outcome(replace(state, withdrawal=begun), {"message": begun.message})


def complete(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Ends service after a grant, goes on with it after a refusal."""
    if "amount_mills" not in message:
        after = replace(state, withdrawal=Exchange())
        reply = {"amount_mills": 0, "reason": message["reason"], "statement": b"", **tools.registers.values()}
        return Outcome(after, reply)
    granted = message["amount_mills"]
    if granted != tools.registers.descending:
        raise BadMessage(
            f"the grant is for {dollars(granted)}, the register holds {dollars(tools.registers.descending)}"
        )
    registers = tools.registers.withdraw()
    last = exchange.statement(
        state, tools, "withdrawal_statement", message["nonce"], registers.values(),
        number=state.withdrawal.number, customer=state.customer, amount_mills=granted,
        log_sequence=tools.log_sequence, chain=tools.chain,
    )  # fmt: skip
    after = replace(
        state,
        lifecycle=lifecycle.after(state.lifecycle, Event.WITHDRAW),
        withdrawal=Exchange(),
        final_statement=last,
    )
    reply = {"amount_mills": granted, "reason": "", "statement": last, **registers.values()}
    return Outcome(after, reply, withdrawn=granted)
