"""The services that change state but make no indicium: which function says what becomes of the device.

Each takes state and request and gives state and answer; what it works with besides is handed in (`outcome.Tools`). The
device commits what comes out, or leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pes_sim.psd import audit, checkin, keyloading, manufacture, orders, refill, software, withdrawal
from pes_sim.psd.fields import Values
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import PsdState


@dataclass(frozen=True, slots=True)
class Change:
    """One of them. `keys`: it works in the key store, which is loaded again when the change does not come about."""

    apply: Callable[[PsdState, Values, Tools], Outcome]
    keys: bool = False


CHANGES: Final[Mapping[str, Change]] = {
    "initialize": Change(manufacture.initialize, keys=True),
    "authorize": Change(manufacture.authorize),
    "reauthorize": Change(orders.reauthorize),
    "set_time": Change(orders.set_time),
    "lock": Change(orders.lock),
    "unlock": Change(orders.unlock),
    "renew_key": Change(keyloading.renew, keys=True),
    "load_certificate": Change(keyloading.load_certificate, keys=True),
    "load_key": Change(keyloading.load_key, keys=True),
    "software_begin": Change(software.begin),
    "software_data": Change(software.data),
    "software_complete": Change(software.complete),
    "refill_begin": Change(refill.begin),
    "refill_complete": Change(refill.complete),
    "refill_cancel": Change(refill.cancel),
    "withdraw_begin": Change(withdrawal.begin),
    "withdraw_complete": Change(withdrawal.complete),
    "checkin_begin": Change(checkin.begin),
    "checkin_complete": Change(checkin.complete),
    "audit": Change(audit.report),
}
