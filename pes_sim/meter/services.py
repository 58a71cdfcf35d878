"""What a meter can be asked: its own services, and those of its PSD that it passes through unchanged.

It does not pass `dispense` through: postage leaves a meter only on a department's account (notice A10).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pes_sim.errors import Status
from pes_sim.psd.fields import fields
from pes_sim.psd.lifecycle import IN_SERVICE, WORKING, State
from pes_sim.psd.registers import REGISTER_FIELDS
from pes_sim.psd.services import BY_NAME as PSD_SERVICES
from pes_sim.psd.services import Service, row


def _of_the_psd(*names: str) -> set[Status]:
    """What the PSD's services that stand behind one of the meter's refuse with."""
    return {status for name in names for status in PSD_SERVICES[name].statuses}


def _of_an_exchange(*names: str) -> set[Status]:
    """The same, where the data centre stands between them."""
    return _of_the_psd(*names) | {
        Status.NO_CONNECTION, Status.BAD_SIGNATURE, Status.BAD_MESSAGE, Status.NOT_FOR_THIS_DEVICE,
    }  # fmt: skip


_BOOKS: Final = frozenset({Status.STORAGE_FAILED, Status.STORAGE_FULL, Status.INTEGRITY})
"""What the meter's database, or the PSD's log that it follows, may have to say."""

# fmt: off
OWN: Final = (
    row(0x60, "print_piece", {State.OPERATIONAL},
        "department mail_class weight destination mailing_date declared_mills",
        "indicium record postage_mills rate_table " + REGISTER_FIELDS,
        "One piece: postage from the rate table, debited, on a department's account", changes=True,
        optional="tracking_number extra_services",
        statuses={*_of_the_psd("dispense"), Status.UNKNOWN_DEPARTMENT, Status.NO_RATE}),
    row(0x61, "quote", State, "mail_class weight mailing_date", "postage_mills rate_table",
        "What a piece would cost; nothing is debited",
        statuses={Status.BAD_FIELD, Status.BAD_DATE, Status.NO_RATE}),
    row(0x62, "get_departments", State, "from_department", "departments next_department",
        "Departments with their totals, in order of code", statuses={Status.BAD_FIELD, *_BOOKS}),
    row(0x64, "refill", {State.OPERATIONAL}, "amount_mills", "amount_mills reason " + REGISTER_FIELDS,
        "A refill through the meter's own connection to the data centre", changes=True,
        statuses=_of_an_exchange("refill_begin", "refill_complete")),
    row(0x65, "check_in", WORKING, "",
        "state lock_reasons seconds_to_lockout",
        "A check-in through the meter's own connection to the data centre", changes=True,
        statuses={*_of_an_exchange("checkin_begin", "checkin_complete"), Status.REFUSED_BY_PROVIDER}),
    row(0x66, "cancel_refill", IN_SERVICE, "", "reason " + REGISTER_FIELDS,
        "Gives up the refill under way; the provider takes back what it granted, or says why not", changes=True,
        statuses=_of_an_exchange("refill_cancel", "refill_complete")),
    row(0x67, "withdraw", IN_SERVICE, "", "amount_mills reason statement " + REGISTER_FIELDS,
        "Ends service: what is left is paid back to the customer's account, and nothing is printed any more",
        changes=True, statuses=_of_an_exchange("withdraw_begin", "withdraw_complete")),
)
# fmt: on

PASSED_THROUGH: Final = (
    "get_info", "get_status", "get_registers", "get_certificates", "get_statement", "self_test", "read_log",
    "refill_begin", "refill_complete", "refill_cancel", "withdraw_begin", "withdraw_complete", "checkin_begin",
    "checkin_complete", "challenge", "reauthorize", "set_time", "lock", "unlock", "recover",
)  # fmt: skip
"""Messages to and from the provider may also be carried by whoever is at the port: they prove themselves."""

SERVICES: Final[tuple[Service, ...]] = (*OWN, *(PSD_SERVICES[name] for name in PASSED_THROUGH))
BY_NAME: Final[Mapping[str, Service]] = {service.name: service for service in SERVICES}

DEPARTMENT: Final = fields("department department_name department_pieces department_mills")
"""The fields of one entry of `get_departments`."""
