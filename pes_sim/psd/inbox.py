"""What comes from the provider: each message is checked to be an order for this device, now, before anything is done.

Signature first; then the addressee; then nonce and number, which must be those of what is answered; then the registers
that the provider knows of, which no device can be behind that was not rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pes_sim.errors import NotForThisDevice, NothingPending, StaleMessage
from pes_sim.indicium import certificates
from pes_sim.indicium.certificates import Purpose
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.psd.registers import Registers
from pes_sim.psd.state import PsdState

Waiting = tuple[bytes, int]
"""The nonce and the number that an order must repeat; an empty nonce for nothing."""


@dataclass(frozen=True, slots=True)
class Order:
    """For a service that carries a provider's message: which kinds it takes, and what they answer.

    Without `waiting` it is the challenge. `sets_registers`: those in the message are to be the device's, where others'
    are what the provider knows of.
    """

    kinds: tuple[str, ...]
    waiting: Callable[[PsdState], Waiting] | None = None
    sets_registers: bool = False


ORDERS: Final[Mapping[str, Order]] = {
    "authorize": Order(("authorization",), lambda s: (s.authorization_nonce, 0)),
    "refill_complete": Order(("refill_grant", "refill_refusal"), lambda s: (s.refill.nonce, s.refill.number)),
    "withdraw_complete": Order(
        ("withdrawal_grant", "withdrawal_refusal"), lambda s: (s.withdrawal.nonce, s.withdrawal.number)
    ),
    "checkin_complete": Order(("checkin_receipt", "checkin_refusal"), lambda s: (s.checkin.nonce, s.checkin.number)),
    "reauthorize": Order(("reauthorization",)),
    "set_time": Order(("time_setting",)),
    "lock": Order(("lock_order",)),
    "unlock": Order(("unlock_order",)),
    "renew_key": Order(("key_renewal",)),
    "load_certificate": Order(("certificate_load",)),
    "load_key": Order(("key_load",)),
    "software_begin": Order(("software_manifest",)),
    "recover": Order(("recovery_order",), sets_registers=True),
}


def open_order(name: str, message: bytes, state: PsdState, challenge: Waiting) -> Values:
    """What the message for the service `name` says. Raises what is wrong with it; then nothing was done."""
    order, point = ORDERS[name], state.provider_point
    if name == "authorize":
        _, claimed = messages.peek(message, *order.kinds)
        point = certificates.read(claimed["provider_certificate"], state.trust_anchor, Purpose.PROVIDER).point
    _, values = messages.open_signed(message, point, *order.kinds)
    if values["psd_serial"] != state.psd_serial:
        raise NotForThisDevice(f"the message is for PSD {values['psd_serial']}, this is {state.psd_serial}")
    nonce, number = order.waiting(state) if order.waiting else challenge
    if not nonce:
        hint = "Begin it first" if order.waiting else "Ask for a challenge first"
        raise NothingPending(f"nothing is pending that {name} could complete", hint=hint)
    if (values["nonce"], values["message_number"]) != (nonce, number):
        raise StaleMessage("the message answers another request: late, or replayed", hint="Begin again")
    return values


def uses_challenge(name: str) -> bool:
    """Whether the service uses the challenge up."""
    return name in ORDERS and ORDERS[name].waiting is None


def rolled_back(name: str, known: Values, own: Registers) -> bool:
    """The provider has heard of registers from this device only; who is behind them was put back."""
    return not ORDERS[name].sets_registers and bool(
        known["ascending_mills"] > own.ascending or known["piece_count"] > own.pieces
    )
