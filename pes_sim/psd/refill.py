"""Refill (postage value download): a signed request out, a signed grant or refusal in. State in, state out.

* One refill at a time. Beginning again with the same amount gives the same request; its amount cannot be changed on
  retry (as on real meters: a vendor's manual, facts in docs/fidelity.md).
* A grant counts once: it must repeat the nonce of the request that is pending, and then nothing is pending.
* Cancelling promises, signed, that the grant will never be accepted. The provider can then take back what it booked,
  and only its refusal ends the refill: a refill that is simply forgotten would lose the customer's money.
"""

from __future__ import annotations

from dataclasses import replace

from pes_sim.errors import BadMessage, MoneyError, NothingPending, RefillPending
from pes_sim.money import dollars
from pes_sim.psd import exchange
from pes_sim.psd.fields import Values
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import Exchange, PsdState


def begin(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """The signed request, with the register readings (39 CFR 501.15(e))."""
    amount, pending = request["amount_mills"], state.refill
    if state.withdrawal.nonce:
        raise RefillPending("a withdrawal is under way", hint="Complete it; a device that is withdrawn takes no refill")
    if pending.nonce:
        if state.refill_cancellation:
            raise RefillPending(
                f"a refill of {dollars(pending.amount)} was cancelled, and the provider has not confirmed it yet",
                hint="Cancel again for the message that the provider answers; its refusal ends the refill",
                pending_mills=pending.amount,
            )
        if amount != pending.amount:
            raise RefillPending(
                f"a refill of {dollars(pending.amount)} is under way; {dollars(amount)} cannot take its place",
                hint="Complete it first: begin again with the same amount and send the request to the provider",
                pending_mills=pending.amount,
            )
        return Outcome(state, {"message": pending.message})
    if amount == 0:
        raise MoneyError("a refill of nothing is no refill", hint="Give an amount above 0")
    tools.registers.credit(amount)  # refuses now what could not be booked when the grant comes
    state, begun = exchange.begin(
        state, tools, "refill_request", amount=amount, customer=state.customer, amount_mills=amount
    )
    return Outcome(replace(state, refill=begun), {"message": begun.message})


def cancel(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """The signed promise; the same again while it waits for the provider's refusal."""
    pending = state.refill
    if not pending.nonce:
        raise NothingPending("no refill is under way that could be cancelled")
    message = state.refill_cancellation or exchange.statement(
        state, tools, "refill_cancellation", pending.nonce, tools.registers.values(),
        number=pending.number, customer=state.customer, amount_mills=pending.amount,
    )  # fmt: skip
    return Outcome(replace(state, refill_cancellation=message), {"message": message})


def complete(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Books a grant, or clears the pending refill after a refusal."""
    pending = state.refill
    granted = message.get("amount_mills", 0)
    if "amount_mills" in message and granted != pending.amount:
        raise BadMessage(f"the grant is for {dollars(granted)}, the request was for {dollars(pending.amount)}")
    if "amount_mills" in message and state.refill_cancellation:
        raise BadMessage(
            "the refill was cancelled, so its grant is not accepted any more",
            hint="Send the cancellation to the provider; its refusal ends the refill",
        )
    after = replace(state, refill=Exchange(), refill_cancellation=b"")
    registers = tools.registers.credit(granted)
    reply = {"amount_mills": granted, "reason": message.get("reason", ""), **registers.values()}
    return Outcome(after, reply, refilled=granted)
