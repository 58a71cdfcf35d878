"""The meter's connection to its data centre, and the exchanges that go over it: a message out, its answer back.

* Each exchange is a row of `EXCHANGES`. Its two steps take their request ids from the caller's, so that a retry after a
  cut finishes what was begun, once.
* An IMI meter talks to its provider over a network, never over a telephone line (notice A2); an IBI meter may dial up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from pes_sim.errors import LinkError
from pes_sim.psd.policy import POLICIES, Regime


class Connection(StrEnum):
    """What carries it."""

    LAN = "lan"
    DIAL_UP = "dial-up"


class Centre(Protocol):
    """The provider's data centre: signed bytes out, signed bytes back."""

    def refill(self, request: bytes) -> bytes: ...

    def check_in(self, report: bytes) -> bytes: ...

    def cancel_refill(self, cancellation: bytes) -> bytes: ...

    def withdraw(self, request: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """The PSD's service that makes the message, what the centre does with it, the service that takes the answer."""

    begin: str
    send: Callable[[Centre, bytes], bytes]
    complete: str


EXCHANGES: Final[Mapping[str, Exchange]] = {
    "refill": Exchange("refill_begin", lambda centre, message: centre.refill(message), "refill_complete"),
    "check_in": Exchange("checkin_begin", lambda centre, message: centre.check_in(message), "checkin_complete"),
    "cancel_refill": Exchange(
        "refill_cancel", lambda centre, message: centre.cancel_refill(message), "refill_complete"
    ),
    "withdraw": Exchange("withdraw_begin", lambda centre, message: centre.withdraw(message), "withdraw_complete"),
}
"""By the meter's service."""


def usable(centre: Centre | None, connection: Connection, regime: Regime) -> Centre:
    """The centre, where the meter can reach it and may. Raises `LinkError`."""
    if centre is None:
        raise LinkError("the meter has no connection to its data centre", hint="Plug the LAN in")
    if connection is Connection.DIAL_UP and not POLICIES[regime].dial_up:
        raise LinkError(
            f"a meter under {regime} rules reaches its data centre over a network, and this one dials up",
            hint="Connect it by LAN (notice A2)", connection=connection.value, regime=regime.value,
        )  # fmt: skip
    return centre


def derived(request_id: bytes, step: str) -> bytes:
    """The request id of one step of an exchange."""
    return hashlib.sha256(request_id + step.encode()).digest()[:16]
