"""A request to the provider: a signed message with a fresh nonce and the next number, kept until it is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import Slot
from pes_sim.psd.outcome import Tools
from pes_sim.psd.state import Exchange, PsdState


def begin(state: PsdState, tools: Tools, kind: str, /, *, amount: int = 0, **more: Any) -> tuple[PsdState, Exchange]:
    """The state with the next message number, and the exchange with its message of `kind`."""
    state = replace(state, message_number=state.message_number + 1)
    nonce = tools.entropy(16)
    message = statement(state, tools, kind, nonce, tools.registers.values(), **more)
    return state, Exchange(nonce, state.message_number, amount, message)


def statement(
    state: PsdState, tools: Tools, kind: str, nonce: bytes, registers: Values, /, *, number: int = 0, **more: Any
) -> bytes:
    """A message of the PSD, signed: serial number, nonce, number (the newest), time, registers, and `more`."""
    values = {
        "psd_serial": state.psd_serial,
        "nonce": nonce,
        "message_number": number or state.message_number,
        "device_time": tools.time,
        **registers,
        **more,
    }
    return messages.sign(kind, values, lambda message: tools.keys.sign(Slot.MESSAGE, message))
