"""Audit: the signed register report, for provider and postal inspector. State in, state out."""

from __future__ import annotations

from dataclasses import replace

from pes_sim.errors import FieldError
from pes_sim.psd import exchange
from pes_sim.psd.fields import Values
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import PsdState

NONCE_LENGTH = 16


def report(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """Over the auditor's own nonce, so that he knows it is fresh."""
    if len(request["nonce"]) != NONCE_LENGTH:
        raise FieldError(f"field nonce has {NONCE_LENGTH} bytes, of the auditor's own choice", field="nonce")
    after = replace(state, message_number=state.message_number + 1)
    statement = exchange.statement(
        after, tools, "audit_report", request["nonce"], tools.registers.values(),
        customer=state.customer, state=state.lifecycle.value, sub_state=state.sub_state.value,
        lock_reasons=list(state.locks), log_sequence=tools.log_sequence, reprint_count=tools.reprints,
        software_id=state.software.software_id, chain=tools.chain,
    )  # fmt: skip
    return Outcome(after, {"statement": statement})
