"""What the device can be asked: one row a service. Execution and docs/protocol.md come from this table.

* A service is for `roles`, in `states`. The state is looked at first, then the role.
* A service that `changes` something takes effect once per request id: the same id again gets the same answer.
* A service of the provider's carries its order as a signed message, whoever brings it: the device acts on nothing in it
  before signature, addressee and nonce have been checked. (An authorization brings the provider's certificate itself:
  that is checked against the trust anchor first.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pes_sim.errors import Status
from pes_sim.psd import piece
from pes_sim.psd.fields import Field, fields
from pes_sim.psd.keys import Curve
from pes_sim.psd.lifecycle import IN_SERVICE, WORKING, State
from pes_sim.psd.registers import REGISTER_FIELDS
from pes_sim.psd.roles import Role
from pes_sim.psd.selftest import Algorithm


class WithIndiciumKey(StrEnum):
    """What a service does with the key of the indicia; the algorithm follows from the device's layout: its curve, or
    HMAC where the indicia bear a MAC."""

    SIGN = "sign by the key pair of the indicia"
    VERIFY = "verify by the same"


_ALGORITHM: Final[Mapping[tuple[WithIndiciumKey, Curve], Algorithm]] = {
    (WithIndiciumKey.SIGN, Curve.P256): Algorithm.ECDSA_P256_SIGN,
    (WithIndiciumKey.VERIFY, Curve.P256): Algorithm.ECDSA_P256_VERIFY,
    (WithIndiciumKey.SIGN, Curve.P224): Algorithm.ECDSA_P224_SIGN,
    (WithIndiciumKey.VERIFY, Curve.P224): Algorithm.ECDSA_P224_VERIFY,
    (WithIndiciumKey.SIGN, Curve.DSA_1024): Algorithm.DSA_1024_SIGN,
    (WithIndiciumKey.VERIFY, Curve.DSA_1024): Algorithm.DSA_1024_VERIFY,
}


_ALL: Final = frozenset(State)
_KEYED: Final = WORKING | {State.WITHDRAWN}
_READABLE: Final = _KEYED | {State.ERROR}
_OPERATIONAL: Final = frozenset({State.OPERATIONAL})

_EVERYBODY: Final = frozenset(Role)
_USER: Final = frozenset({Role.USER})
_PROVIDER: Final = frozenset({Role.PROVIDER})
_AUDITORS: Final = frozenset({Role.INSPECTOR, Role.PROVIDER})

_PIECE: Final = "postage_mills mailing_date mail_class weight destination reference"
_TRACKED: Final = "tracking_number extra_services"
"""What a piece may ask for besides, in a device whose layout has a place for it."""
_DISPENSED: Final = "indicium record device_time " + REGISTER_FIELDS

_RECORD: Final = (Algorithm.SHA_256, Algorithm.HMAC_SHA_256)
"""Every change is chained and sealed."""
_SIGN: Final = (Algorithm.ECDSA_P256_SIGN,)
"""A message to the provider, which is signed on P-256 whatever the indicia are."""
_SIGN_INDICIA: Final = (WithIndiciumKey.SIGN,)
_ASK: Final = (Algorithm.ENTROPY, Algorithm.ECDSA_P256_SIGN)
_MAKE_KEYS: Final = (
    Algorithm.ENTROPY,
    Algorithm.AES_256_KEY_WRAP,
    Algorithm.ECDSA_P256_SIGN,
    Algorithm.ECDSA_P256_VERIFY,
    WithIndiciumKey.SIGN,
    WithIndiciumKey.VERIFY,
)

_ANY: Final = (Status.BAD_FIELD, Status.REFUSED_IN_STATE, Status.INTEGRITY)
_CHANGE: Final = (Status.REQUEST_ID_REUSED, Status.STORAGE_FAILED, Status.STORAGE_FULL)
_ORDER: Final = (
    Status.BAD_SIGNATURE, Status.BAD_MESSAGE, Status.NOT_FOR_THIS_DEVICE, Status.STALE_MESSAGE, Status.NOTHING_PENDING,
    Status.LOCKED_ROLLBACK_FOUND,
)  # fmt: skip
_SPENDING: Final = (
    Status.INSUFFICIENT_FUNDS, Status.BAD_DATE, Status.BAD_POSTAGE, Status.REGISTER_LIMIT, Status.LOG_FULL,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its code on the wire, its name, who may ask it where, what goes in and out, how it refuses.

    `signed`: its request is an order signed by the provider. `needs`: the algorithms that must have passed their
    self-tests. A service that needs one is an approved security service, and the service indicator of the 140-3 profile
    says so (ISO/IEC 19790). `grows`: a list in the request, and by how many bytes each item of it makes the answer
    longer, at most. `optional`: fields that a request may leave out.
    """

    code: int
    name: str
    states: frozenset[State]
    request: tuple[Field, ...]
    reply: tuple[Field, ...]
    meaning: str
    roles: frozenset[Role] = _EVERYBODY
    statuses: tuple[Status, ...] = ()
    changes: bool = False
    signed: bool = False
    needs: tuple[Algorithm | WithIndiciumKey, ...] = ()
    grows: tuple[str, int] = ("", 0)
    optional: tuple[Field, ...] = ()


def needs(service: Service, curve: Curve, *, mac: bool = False) -> tuple[Algorithm, ...]:
    """The algorithms that `service` needs in a device with an indicium key on `curve`; or whose indicia bear a MAC."""
    found = (
        need if not isinstance(need, WithIndiciumKey) else Algorithm.HMAC_SHA_256 if mac else _ALGORITHM[need, curve]
        for need in service.needs
    )
    return tuple(dict.fromkeys(found))


def row(
    code: int,
    name: str,
    states: Iterable[State],
    request: str,
    reply: str,
    meaning: str,
    *,
    changes: bool = False,
    optional: str = "",
    statuses: Iterable[Status] = (),
) -> Service:
    """A row of a table of services, with its fields named in text. Here, and of the meter around the PSD."""
    return Service(
        code, name, frozenset(states), fields(request), fields(reply), meaning, changes=changes,
        optional=fields(optional), statuses=tuple(sorted(statuses)),
    )  # fmt: skip


def _psd(
    code: int,
    name: str,
    roles: frozenset[Role],
    states: frozenset[State],
    request: str,
    reply: str,
    meaning: str,
    *statuses: Status,
    changes: bool = True,
    needs: tuple[Algorithm | WithIndiciumKey, ...] = (),
    grows: tuple[str, int] = ("", 0),
    optional: str = "",
) -> Service:
    """A row of the PSD's: every answer carries the service indicator, and some refusals go without saying."""
    signed = roles == _PROVIDER
    refusals = {*_ANY, *statuses, *(_CHANGE if changes else ()), *(_ORDER if signed else ())}
    if Role.NONE not in roles and not signed:
        refusals.add(Status.NOT_AUTHENTICATED)
    if needs or changes or signed:
        needs = (*_RECORD, *needs, *((Algorithm.ECDSA_P256_VERIFY,) if signed else ()))
        refusals.add(Status.SELF_TEST_FAILED)
    reply += " service_indicator"
    made = row(code, name, states, request, reply, meaning, changes=changes, optional=optional, statuses=refusals)
    return replace(made, roles=roles, signed=signed, needs=needs, grows=grows)


# fmt: off
SERVICES: Final = (
    # For everybody
    _psd(0x01, "get_info", _EVERYBODY, _ALL, "",
         "model_id psd_serial provider_id software_id layout licensing_zip customer utc_offset_minutes profile regime "
         "curve notice",
         "What the device is, and what about it is assumed", changes=False),
    _psd(0x02, "get_status", _EVERYBODY, _ALL, "",
         "state sub_state lock_reasons cleared_by warnings seconds_to_lockout device_time today refill_pending_mills "
         "log_sequence reprint_count role self_tests_failed offset repaired",
         "How the device is, and what clears a lock", changes=False),
    _psd(0x03, "get_registers", _EVERYBODY, _ALL, "", REGISTER_FIELDS,
         "The registers, readable in every state unless the storage is not", changes=False),
    _psd(0x04, "get_certificates", _EVERYBODY, _READABLE, "", "psd_certificate provider_certificate trust_anchor",
         "The certificates that a verifier needs", changes=False),
    _psd(0x05, "self_test", _EVERYBODY, _ALL, "", "self_tests_passed self_tests_failed",
         "Runs every self-test again. In the 140-2 profile a failure stops the device, until the power goes",
         Status.SELF_TEST_FAILED, changes=False),
    _psd(0x06, "challenge", _EVERYBODY, _READABLE, "", "nonce message_number",
         "A fresh nonce: for one login, or for one order of the provider's", changes=False, needs=(Algorithm.ENTROPY,)),
    _psd(0x07, "authenticate", _EVERYBODY, _KEYED, "role proof", "role",
         "Opens a session for a role that proves itself over the challenge's nonce",
         Status.AUTHENTICATION_FAILED, Status.AUTHENTICATION_WAITS, Status.NOTHING_PENDING, Status.STORAGE_FAILED,
         Status.STORAGE_FULL, changes=False, needs=(Algorithm.ECDSA_P256_VERIFY,)),
    _psd(0x0F, "zeroize", _EVERYBODY, _ALL, "", "state",
         "Destroys every key at once. The registers stay readable; nothing brings the device back"),

    # Manufacture, licence, and the provider's orders
    _psd(0x10, "initialize", frozenset({Role.NONE}), frozenset({State.UNINITIALIZED}),
         "psd_serial trust_anchor user_secret transport_key profile regime curve", "public_key message_key nonce",
         "At manufacture: serial number, trust anchor, the meter's secret, rules, and new key pairs",
         Status.BAD_CERTIFICATE, needs=_MAKE_KEYS),
    _psd(0x11, "authorize", _PROVIDER, frozenset({State.INITIALIZED}), "message", "state",
         "Licence for a ZIP Code and a customer", Status.BAD_CERTIFICATE),
    _psd(0x12, "reauthorize", _PROVIDER, WORKING, "message", "state",
         "A new licence: the customer moved to another ZIP Code"),
    _psd(0x13, "set_time", _PROVIDER, _KEYED, "message", "device_time state",
         "Sets the clock; never back past the last piece. Clears a date fault", Status.BAD_TIME),
    _psd(0x14, "lock", _PROVIDER, WORKING, "message", "state lock_reasons",
         "Locks the device for reasons that the provider has"),
    _psd(0x15, "unlock", _PROVIDER, _KEYED, "message", "state lock_reasons",
         "Clears such reasons, and lets wrong proofs of identity be forgotten"),
    _psd(0x16, "renew_key", _PROVIDER, WORKING, "message", "public_key",
         "A new key pair for indicia, which waits for its certificate", needs=_MAKE_KEYS),
    _psd(0x17, "load_certificate", _PROVIDER, WORKING, "message", "state",
         "A new certificate: for the key that waits, which then signs, or for the one in use",
         Status.BAD_CERTIFICATE, needs=(Algorithm.AES_256_KEY_WRAP,)),
    _psd(0x18, "load_key", _PROVIDER, WORKING, "message", "slot",
         "A secret under the transport key: the HMAC key of IMI-MIN, or a new secret of the meter's",
         needs=(Algorithm.AES_256_KEY_WRAP,)),
    _psd(0x19, "software_begin", _PROVIDER, WORKING, "message", "software_id offset",
         "A software package is announced, signed; its version must rise", Status.OLD_SOFTWARE),
    _psd(0x1A, "software_data", _USER, WORKING, "offset data", "offset",
         "The next bytes of the package; after a cut the device says where it stopped", Status.NOTHING_PENDING),
    _psd(0x1B, "software_complete", _USER, WORKING, "", "software_id",
         "The whole package is there: its digest is checked, and it is in use", Status.NOTHING_PENDING,
         Status.BAD_MESSAGE),

    _psd(0x1C, "recover", _PROVIDER, IN_SERVICE | {State.ERROR}, "message", "state lock_reasons " + REGISTER_FIELDS,
         "The registers to go on with, where the log cannot be read or is not the provider's: never lower than the "
         "device's own. Another log is begun where they are others, and the device is locked",
         Status.BAD_TIME),

    # Postage
    _psd(0x20, "dispense", _USER, _OPERATIONAL, _PIECE, _DISPENSED,
         "One indicium, debited before it is answered", *_SPENDING, needs=_SIGN_INDICIA, optional=_TRACKED),
    _psd(0x21, "dispense_batch", _USER, _OPERATIONAL, "pieces",
         "indicia record device_time " + REGISTER_FIELDS,
         "Several indicia, debited together in one durable write, or none of them; `record` is the first one's",
         *_SPENDING, needs=_SIGN_INDICIA, grows=("pieces", piece.MOST_BYTES + 4)),
    _psd(0x22, "redate", _USER, _OPERATIONAL, "mailing_date mail_class weight destination reference", _DISPENSED,
         "A date correction: an indicium of zero postage, counted as a piece (DMM 604.4)", *_SPENDING,
         needs=_SIGN_INDICIA, optional=_TRACKED),
    _psd(0x23, "correct_amount", _USER, _OPERATIONAL, _PIECE, _DISPENSED,
         "An amount correction: an indicium for the postage that was missing", *_SPENDING,
         needs=_SIGN_INDICIA, optional=_TRACKED),
    _psd(0x24, "reprint", _USER, _OPERATIONAL, "original", _DISPENSED,
         "The same indicium once more for a spoiled print: logged and counted, no piece, no debit",
         Status.ID_BEYOND_REACH, Status.BAD_DATE, Status.LOG_FULL),
    _psd(0x30, "refill_begin", _USER, _OPERATIONAL, "amount_mills", "message",
         "A signed request for postage, with the register readings (39 CFR 501.15(e))",
         Status.BAD_POSTAGE, Status.REGISTER_LIMIT, Status.REFILL_PENDING, needs=_ASK),
    _psd(0x31, "refill_complete", _PROVIDER, IN_SERVICE, "message", "amount_mills reason " + REGISTER_FIELDS,
         "The provider's grant (or refusal: amount 0) for the refill under way"),
    _psd(0x32, "refill_cancel", _USER, IN_SERVICE, "", "message",
         "A signed statement that the grant under way will not be accepted; the provider's refusal then ends it",
         Status.NOTHING_PENDING, needs=_SIGN),
    _psd(0x34, "withdraw_begin", _USER, IN_SERVICE, "", "message",
         "A signed request to end service and pay back the descending register; no piece is dispensed from then on",
         Status.REFILL_PENDING, needs=_ASK),
    _psd(0x35, "withdraw_complete", _PROVIDER, IN_SERVICE, "message",
         "amount_mills reason statement " + REGISTER_FIELDS,
         "The provider's grant: the descending register goes to zero, and the device states so, signed, at last",
         needs=_SIGN),
    _psd(0x36, "get_statement", _EVERYBODY, frozenset({State.WITHDRAWN, State.ERROR}), "", "statement",
         "The device's last word once more: its signed statement of the withdrawal; of a device that has stopped the "
         "last signed report, or nothing", changes=False),
    _psd(0x38, "checkin_begin", _USER, WORKING, "", "message",
         "A signed report with a fresh nonce", needs=_ASK),
    _psd(0x39, "checkin_complete", _PROVIDER, WORKING, "message", "state lock_reasons reason seconds_to_lockout",
         "The provider's receipt, which restarts the time to the lockout; or its refusal, which locks the device"),

    # The log
    _psd(0x40, "read_log", frozenset(Role) - {Role.NONE}, _KEYED, "first_record", "entries next_record",
         "The pieces dispensed, from a record on; each with the hash chain after it",
         Status.STORAGE_FAILED, changes=False),
    _psd(0x41, "audit", _AUDITORS, _KEYED, "nonce", "statement",
         "A signed report of registers, state and the log's hash chain, over the auditor's own nonce", needs=_SIGN),
)
# fmt: on

BY_NAME: Final[Mapping[str, Service]] = {service.name: service for service in SERVICES}

LOG_ENTRY: Final = fields(
    "record piece_kind original request_id device_time reference indicium chain " + REGISTER_FIELDS
)
"""The fields of one entry of `read_log`."""
