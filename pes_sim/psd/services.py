"""What the device can be asked: one row a service. Execution and docs/protocol.md come from this table.

A service that `changes` something takes effect once per request id: the same id again gets the same answer.
A service `signed` by the provider carries a message; the device acts on nothing in it before signature, addressee and
nonce have been checked. (An authorization brings the provider's certificate itself: that is checked against the trust
anchor first.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pes_sim.psd.fields import Field, fields
from pes_sim.psd.lifecycle import State

_ALL: Final = frozenset(State)
_WORKING: Final = frozenset({State.AUTHORIZED, State.OPERATIONAL, State.LOCKED})
_READABLE: Final = _WORKING | {State.ERROR}
_REGISTERS: Final = "ascending_mills descending_mills control_sum_mills piece_count zero_piece_count"


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its code on the wire, its name, where it is allowed, and what goes in and out."""

    code: int
    name: str
    states: frozenset[State]
    request: tuple[Field, ...]
    reply: tuple[Field, ...]
    changes: bool
    signed: bool
    meaning: str


def row(
    code: int,
    name: str,
    states: Iterable[State],
    request: str,
    reply: str,
    meaning: str,
    *,
    changes: bool = False,
    signed: bool = False,
) -> Service:
    """A row of the table, with its fields named in text."""
    return Service(code, name, frozenset(states), fields(request), fields(reply), changes, signed, meaning)


# fmt: off
SERVICES: Final = (
    row(0x01, "get_info", _ALL, "",
        "model_id psd_serial provider_id software_id layout licensing_zip customer utc_offset_minutes notice",
        "What the device is, and what about it is assumed"),
    row(0x02, "get_status", _ALL, "",
        "state lock_reasons seconds_to_lockout device_time today refill_pending_mills log_sequence repaired",
        "How the device is, and what clears a lock"),
    row(0x03, "get_registers", _ALL, "", _REGISTERS,
        "The registers, readable in every state unless the storage is not"),
    row(0x04, "get_certificates", _READABLE, "", "psd_certificate provider_certificate trust_anchor",
        "The certificates that a verifier needs"),
    row(0x10, "initialize", {State.UNINITIALIZED}, "psd_serial trust_anchor", "public_key nonce",
        "At manufacture: serial number, trust anchor, and a new key pair", changes=True),
    row(0x11, "authorize", {State.INITIALIZED}, "message", "state",
        "Licence for a ZIP Code and a customer", changes=True, signed=True),
    row(0x20, "dispense", {State.OPERATIONAL},
        "postage_mills mailing_date mail_class weight destination reference",
        "indicium record device_time " + _REGISTERS,
        "One indicium, debited before it is answered", changes=True),
    row(0x30, "refill_begin", {State.OPERATIONAL}, "amount_mills", "message",
        "A signed request for postage, with the register readings (39 CFR 501.15(e))", changes=True),
    row(0x31, "refill_complete", {State.OPERATIONAL, State.LOCKED}, "message", "amount_mills reason " + _REGISTERS,
        "The provider's grant (or refusal: amount 0) for the refill under way", changes=True, signed=True),
    row(0x38, "checkin_begin", _WORKING, "", "message",
        "A signed report with a fresh nonce", changes=True),
    row(0x39, "checkin_complete", _WORKING, "message", "state seconds_to_lockout",
        "The provider's receipt, which restarts the 72 hours", changes=True, signed=True),
    row(0x40, "read_log", _READABLE, "first_record", "entries next_record",
        "The pieces dispensed, from a record on"),
)
# fmt: on

BY_NAME: Final[Mapping[str, Service]] = {service.name: service for service in SERVICES}

LOG_ENTRY: Final = fields("record request_id device_time reference indicium " + _REGISTERS)
"""The fields of one entry of `read_log`."""
