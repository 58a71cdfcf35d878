"""Refill (postage value download): a signed request out, a signed grant or refusal in. Pure: state in, state out.

* One refill at a time. Beginning again with the same amount gives the same request; its amount cannot be changed on
  retry (as on real meters: a vendor's manual, facts in docs/fidelity.md).
* A grant counts once: it must repeat the nonce of the request that is pending, and then nothing is pending.
"""

from __future__ import annotations

from dataclasses import replace

from pes_sim.errors import BadMessage, MoneyError, RefillPending
from pes_sim.money import dollars
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import PsdState


def begin(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """The signed request, with the register readings (39 CFR 501.15(e))."""
    amount = request["amount_mills"]
    if state.refill_nonce:
        if amount != state.refill_mills:
            raise RefillPending(
                f"a refill of {dollars(state.refill_mills)} is under way; {dollars(amount)} cannot take its place",
                hint="Complete it first: begin again with the same amount and send the request to the provider",
                pending_mills=state.refill_mills,
            )
        return Outcome(state, {"message": state.refill_message})
    if amount == 0:
        raise MoneyError("a refill of nothing is no refill", hint="Give the amount in mills, above 0")
    tools.registers.credit(amount)  # refuses now what could not be booked when the grant comes
    nonce = tools.entropy(16)
    number = state.message_number + 1
    values = {
        "psd_serial": state.psd_serial,
        "nonce": nonce,
        "message_number": number,
        "customer": state.customer,
        "amount_mills": amount,
        "device_time": tools.time,
        **tools.registers.values(),
    }
    message = messages.sign("refill_request", values, tools.keys.sign)
    after = replace(state, message_number=number, refill_nonce=nonce, refill_mills=amount, refill_message=message)
    return Outcome(after, {"message": message})


def complete(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Books a grant, or clears the pending refill after a refusal."""
    granted = message.get("amount_mills", 0)
    if granted not in (0, state.refill_mills):
        raise BadMessage(f"the grant is for {dollars(granted)}, the request was for {dollars(state.refill_mills)}")
    after = replace(state, refill_nonce=b"", refill_mills=0, refill_message=b"")
    registers = tools.registers.credit(granted)
    reply = {"amount_mills": granted, "reason": message.get("reason", ""), **registers.values()}
    return Outcome(after, reply, refilled=granted)
