"""The service table, walked cell by cell: service, role, state. Allowed means that it works; everything else is refused
with the right status and changes nothing, not a byte of the storage.

The state is looked at first, then the role. A service that the provider signs asks nobody who he is: there "the role"
is whose key signed the message.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from pes_sim.clock import HOUR
from pes_sim.errors import PesError, Status
from pes_sim.psd import messages
from pes_sim.psd.fields import Values, check_all, pack
from pes_sim.psd.lifecycle import Lock, State
from pes_sim.psd.locks import LOCKS
from pes_sim.psd.messages import Sign
from pes_sim.psd.records import ALIGN
from pes_sim.psd.roles import Role
from pes_sim.psd.rtc import Rtc
from pes_sim.psd.services import BY_NAME, SERVICES, Service
from pes_sim.psd.storage import MemoryStorage
from tests.rig import CUSTOMER, NOON, SECRET, SERIAL, TRANSPORT, Rig, correction, operational, piece, pki

_ALL = "UIAOLWEZ"
_EVERYBODY = frozenset(Role)
_METER = frozenset({Role.USER})
_PROVIDER = frozenset({Role.PROVIDER})
_AUDITORS = frozenset({Role.INSPECTOR, Role.PROVIDER})
_NOBODY = frozenset({Role.NONE})

DECIDED = {
    "get_info": (_ALL, _EVERYBODY),
    "get_status": (_ALL, _EVERYBODY),
    "get_registers": (_ALL, _EVERYBODY),
    "get_certificates": ("AOLWE", _EVERYBODY),
    "self_test": (_ALL, _EVERYBODY),
    "challenge": ("AOLWE", _EVERYBODY),
    "authenticate": ("AOLW", _EVERYBODY),
    "zeroize": (_ALL, _EVERYBODY),
    "initialize": ("U", _NOBODY),
    "authorize": ("I", _PROVIDER),
    "reauthorize": ("AOL", _PROVIDER),
    "set_time": ("AOLW", _PROVIDER),
    "lock": ("AOL", _PROVIDER),
    "unlock": ("AOLW", _PROVIDER),
    "renew_key": ("AOL", _PROVIDER),
    "load_certificate": ("AOL", _PROVIDER),
    "load_key": ("AOL", _PROVIDER),
    "software_begin": ("AOL", _PROVIDER),
    "recover": ("E", _PROVIDER),
    "software_data": ("AOL", _METER),
    "software_complete": ("AOL", _METER),
    "dispense": ("O", _METER),
    "dispense_batch": ("O", _METER),
    "redate": ("O", _METER),
    "correct_amount": ("O", _METER),
    "reprint": ("O", _METER),
    "refill_begin": ("O", _METER),
    "refill_complete": ("OL", _PROVIDER),
    "refill_cancel": ("OL", _METER),
    "withdraw_begin": ("OL", _METER),
    "withdraw_complete": ("OL", _PROVIDER),
    "get_statement": ("WE", _EVERYBODY),
    "checkin_begin": ("AOL", _METER),
    "checkin_complete": ("AOL", _PROVIDER),
    "read_log": ("AOLW", _EVERYBODY - _NOBODY),
    "audit": ("AOLW", _AUDITORS),
}
"""By hand: where each service is allowed, by the states' first letters, and for whom. The table must say the same."""

SIGNED = {name for name, (_, roles) in DECIDED.items() if roles == _PROVIDER}
READS = {
    "get_info", "get_status", "get_registers", "get_certificates", "self_test", "challenge", "authenticate", "read_log",
    "get_statement",
}  # fmt: skip

LOCKED_BY = {
    Lock.ROLLBACK_FOUND: 0x35,
    Lock.REGISTER_FAULT: 0x34,
    Lock.PROVIDER: 0x33,
    Lock.DATE_FAULT: 0x36,
    Lock.CHECKIN_OVERDUE: 0x31,
    Lock.INSPECTION_DUE: 0x32,
}
"""By hand: the status that a device locked for a reason refuses by."""
PLACES: tuple[State | Lock, ...] = (*(state for state in State if state is not State.LOCKED), *Lock)

BANK = 1 << 16
ORIGINAL = 9
"""The record of the one piece that every device in service has dispensed."""
RECORDS = {"dispense_batch": 2, "authenticate": 2, "recover": BANK // ALIGN - ORIGINAL + 2}
"""How many records a service writes, where it is not one for a change and none for what only reads: a batch one for
each of its pieces, a proof one before it is looked at and one after. A device that is zeroized writes none at all, and
one that is recovered goes on above every number that its one segment can hold, and carries its one piece on."""
PACKAGE = b"pes-sim PSD software 0.2.0\n"


@dataclass
class Bench:
    """A device in some state, and what it waits for the provider to answer."""

    rig: Rig
    pending: Values = field(default_factory=dict)

    def copy(self) -> Bench:
        """The same device once more, powered on anew from a copy of its storage and its vault. Nobody is logged in."""
        rig = copy.copy(self.rig)
        rig.storage, rig.vault = copy.deepcopy(self.rig.storage), copy.deepcopy(self.rig.vault)
        # ERROR is not left by the power, but where it was found is: keys are loaded, and the log can be read.
        stopped = self.rig.status()["state"] == State.ERROR
        rig.power_on(log_in=False)
        if stopped:
            rig.psd._books.stop("a test said so")
        return Bench(rig, self.pending)

    @property
    def image(self) -> dict[str, bytes]:
        assert isinstance(self.rig.storage, MemoryStorage)
        return {name: bytes(area) for name, area in self.rig.storage.areas.items()}

    def waiting(self) -> Values:
        """What an order repeats: of the request under way, else of a challenge."""
        known = {"psd_serial": SERIAL, **self.rig.registers()}
        if self.pending:
            return known | {name: self.pending[name] for name in ("nonce", "message_number")}
        if self.rig.status()["state"][0] in "AOLWE":
            challenge = self.rig.challenge()
            return known | {name: challenge[name] for name in ("nonce", "message_number")}
        return known | {"nonce": bytes(16), "message_number": 0}


# The devices


def _ask_for_refill(rig: Rig) -> Values:
    return rig.request_refill(1000)


def _ask_for_withdrawal(rig: Rig) -> Values:
    return rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])


def _announce_software(rig: Rig) -> Values:
    rig.ask("software_begin", message=rig.order("software_manifest", **_manifest()))
    return {}


def _load_software(rig: Rig) -> Values:
    _announce_software(rig)
    rig.ask("software_data", offset=0, data=PACKAGE)
    return {}


def _manifest() -> Values:
    return {"software_id": 0x00_02_00_00, "size": len(PACKAGE), "digest": hashlib.sha256(PACKAGE).digest()}


PREPARED: dict[str, tuple[str, Callable[[Rig], Values]]] = {
    "refill_complete": ("O", _ask_for_refill),
    "refill_cancel": ("O", _ask_for_refill),
    "withdraw_complete": ("O", _ask_for_withdrawal),
    "software_data": ("AO", _announce_software),
    "software_complete": ("AO", _load_software),
}
"""What must have happened before a service can work, and where it can happen."""


def _made(place: State | Lock, prepare: Callable[[Rig], Values] | None, where: str) -> Bench:
    """A device taken to its place the way that any device goes."""
    bench = Bench(Rig(bank=BANK))
    rig = bench.rig
    if place is State.UNINITIALIZED:
        return bench
    rig.initialize()
    if place is State.INITIALIZED:
        return bench
    rig.authorize()
    if place is State.AUTHORIZED:
        bench.pending = prepare(rig) if prepare and "A" in where else {}
        return bench
    rig.check_in()
    rig.refill(100_000)
    assert rig.dispense()["record"] == ORIGINAL
    bench.pending = prepare(rig) if prepare else {}
    if place is State.WITHDRAWN:
        asked = bench.pending if "amount_mills" in bench.pending else _ask_for_withdrawal(rig)
        grant = {"amount_mills": asked["amount_mills"], **_repeated(asked)}
        rig.ask("withdraw_complete", message=messages.sign("withdrawal_grant", grant, pki().provider.sign))
        bench.pending = {}
    elif place is State.ZEROIZED:
        rig.psd.tamper()
    elif place is State.ERROR:
        rig.psd._books.halt("a test said so")  # written down by every copy for itself
    elif isinstance(place, Lock):
        _lock(rig, place)
    return bench


def _lock(rig: Rig, lock: Lock) -> None:
    if lock is Lock.CHECKIN_OVERDUE:
        rig.now += 73 * HOUR
        rig.status()
    elif lock is Lock.DATE_FAULT:
        rig.rtc = Rtc(battery_failed=True)
        rig.power_on(log_in=False)
        rig.status()
        rig.rtc = Rtc()
    else:
        rig.ask("lock", message=rig.order("lock_order", lock_reasons=[lock.value]))


def _repeated(asked: Values) -> Values:
    names = ("psd_serial", "nonce", "message_number", "ascending_mills", "descending_mills", "control_sum_mills")
    return {name: asked[name] for name in (*names, "piece_count", "zero_piece_count")}


@cache
def _kept(place: State | Lock, name: str) -> Bench:
    where, prepare = PREPARED.get(name, ("", None))
    # What only a device in service can wait for, no other waits for.
    return _made(place, prepare if place is not State.WITHDRAWN else None, where)


def bench_at(place: State | Lock, name: str) -> Bench:
    """A fresh device at `place`, where the service `name` finds what it needs."""
    return _kept(place, name if name in PREPARED else "").copy()


# The requests


def _proof(bench: Bench) -> Values:
    nonce = bench.rig.challenge()["nonce"] if bench.rig.status()["state"][0] in "AOLW" else bytes(16)
    return {"role": Role.USER.value, "proof": bench.rig.user_proof(nonce)}


REQUESTS: dict[str, Callable[[Bench], Values]] = {
    "authenticate": _proof,
    "initialize": lambda bench: {
        "psd_serial": SERIAL, "trust_anchor": pki().ca.certificate, "user_secret": SECRET, **bench.rig.how_made,
    },
    "dispense": lambda bench: piece(mailing_date=bench.rig.status()["today"]),
    "correct_amount": lambda bench: piece(mailing_date=bench.rig.status()["today"]),
    "dispense_batch": lambda bench: {"pieces": [pack(piece(mailing_date=bench.rig.status()["today"]))] * 2},
    "redate": lambda bench: correction(mailing_date=bench.rig.status()["today"]),
    "reprint": lambda bench: {"original": ORIGINAL},
    "refill_begin": lambda bench: {"amount_mills": 1000},
    "software_data": lambda bench: {"offset": 0, "data": PACKAGE},
    "read_log": lambda bench: {"first_record": 1},
    "audit": lambda bench: {"nonce": bytes(range(16))},
}  # fmt: skip


def _authorization(bench: Bench) -> tuple[str, Values]:
    if not hasattr(bench.rig, "made"):
        bench.rig.made = _kept(State.INITIALIZED, "").rig.made  # it has no key yet: another one's must do
    return "authorization", bench.rig.authorization()


def _receipt(bench: Bench) -> tuple[str, Values]:
    rig = bench.rig
    if rig.status()["state"][0] in "AOL":
        role, rig.psd._access.role = rig.psd._access.role, Role.USER
        bench.pending = rig.report()
        rig.psd._access.role = role
    return "checkin_receipt", bench.waiting() | {"acknowledged": bench.pending.get("log_sequence", 0)}


def _certificate(bench: Bench) -> tuple[str, Values]:
    made = _kept(State.INITIALIZED, "").rig.made if not hasattr(bench.rig, "made") else bench.rig.made
    certificate = pki().issue_psd(made["public_key"], SERIAL, 4712, NOON)
    return "certificate_load", bench.waiting() | {"psd_certificate": certificate}


def _secret(bench: Bench) -> tuple[str, Values]:
    wrapped = aes_key_wrap(TRANSPORT, bytes(range(32)))
    return "key_load", bench.waiting() | {"slot": "mac", "wrapped_secret": wrapped}


MESSAGES: dict[str, Callable[[Bench], tuple[str, Values]]] = {
    "authorize": _authorization,
    "reauthorize": lambda bench: (
        "reauthorization",
        bench.waiting() | {"licensing_zip": "10001", "customer": CUSTOMER, "utc_offset_minutes": 0},
    ),
    "set_time": lambda bench: ("time_setting", bench.waiting() | {"device_time": bench.rig.now + HOUR}),
    "lock": lambda bench: ("lock_order", bench.waiting() | {"lock_reasons": [Lock.PROVIDER.value]}),
    "unlock": lambda bench: ("unlock_order", bench.waiting() | {"lock_reasons": [Lock.PROVIDER.value]}),
    "renew_key": lambda bench: ("key_renewal", bench.waiting()),
    "load_certificate": _certificate,
    "load_key": _secret,
    "software_begin": lambda bench: ("software_manifest", bench.waiting() | _manifest()),
    "recover": lambda bench: (
        "recovery_order",
        bench.waiting() | {"newest_number": 1 << 32, "log_sequence": 0, "device_time": bench.rig.now},
    ),
    "refill_complete": lambda bench: ("refill_grant", bench.waiting() | {"amount_mills": 1000}),
    "withdraw_complete": lambda bench: (
        "withdrawal_grant",
        bench.waiting() | {"amount_mills": bench.pending.get("amount_mills", 0)},
    ),
    "checkin_complete": _receipt,
}


@cache
def _signer(role: Role) -> Sign:
    """Whose key a role signs with. The meter has none: a provider of another CA stands for whoever has some key."""
    return {
        Role.PROVIDER: pki().provider.sign,
        Role.INSPECTOR: pki().inspector(NOON).sign,
        Role.USER: pki("somebody else").provider.sign,
        Role.NONE: lambda message: bytes(64),
    }[role]


def _signed(kind: str, values: Values, role: Role) -> Values:
    message = messages.sign(kind, values, _signer(role))
    return {"message": message if role is not Role.NONE else message[:-66] + b"\x40"}  # an empty signature


def _requests(bench: Bench, name: str) -> dict[Role, Values]:
    """The same request for every role: as it is, or signed by each."""
    if name in MESSAGES:
        kind, values = MESSAGES[name](bench)
        return {role: _signed(kind, values, role) for role in Role}
    return dict.fromkeys(Role, REQUESTS[name](bench) if name in REQUESTS else {})


def _execute(bench: Bench, name: str, role: Role, request: Values, request_id: bytes = b"") -> Values:
    rig = bench.rig
    # Logging in is tested elsewhere; here every role comes to every state, also to those where nobody can log in.
    rig.psd._access.role = role
    return rig.psd.execute(name, request, request_id=request_id or rig.new_id(), now=rig.now)


# The walk


def _state(place: State | Lock) -> State:
    return State.LOCKED if isinstance(place, Lock) else place


def _refusal(name: str, place: State | Lock, role: Role) -> set[int]:
    """The statuses by which the cell refuses; empty where it is allowed. From the table by hand."""
    states, roles = DECIDED[name]
    if _state(place)[0] not in states:
        if isinstance(place, Lock):
            return {LOCKED_BY[place]}
        return {Status.INTEGRITY if place is State.ERROR else Status.REFUSED_IN_STATE}
    if name in SIGNED and role not in roles:
        return {Status.BAD_MESSAGE if role is Role.NONE else Status.BAD_SIGNATURE}
    # Whoever has logged in can do what nobody in particular can.
    return set() if role in roles or Role.NONE in roles else {Status.NOT_AUTHENTICATED}


def _id(value: object) -> str:
    return value.name if isinstance(value, (Service, Lock)) else str(value)


@pytest.mark.parametrize("place", PLACES, ids=_id)
@pytest.mark.parametrize("service", SERVICES, ids=_id)
def test_what_is_allowed_works(service: Service, place: State | Lock) -> None:
    for role in Role:
        if _refusal(service.name, place, role):
            continue
        bench = bench_at(place, service.name)
        bench.rig.psd._access.role = role
        request = _requests(bench, service.name)[role]
        before = bench.rig.everything()
        request_id = bench.rig.new_id()
        answer = _execute(bench, service.name, role, request, request_id)
        check_all(service.reply, answer)
        after = bench.rig.everything()
        records = RECORDS.get(service.name, int(service.name not in READS)) if place is not State.ZEROIZED else 0
        assert after[2] == before[2] + records, role
        assert (after != before) is (records > 0), role
        if service.name not in READS:
            assert _execute(bench, service.name, role, request, request_id) == answer
            assert bench.rig.everything() == after


@pytest.mark.parametrize("place", PLACES, ids=_id)
@pytest.mark.parametrize("service", SERVICES, ids=_id)
def test_everything_else_is_refused_and_changes_nothing(service: Service, place: State | Lock) -> None:
    bench = bench_at(place, service.name)
    requests = _requests(bench, service.name)
    before, image = bench.rig.everything(), bench.image
    assert before[1] == _state(place)
    refused = {role: status for role in Role if (status := _refusal(service.name, place, role))}
    for role, status in refused.items():
        with pytest.raises(PesError) as caught:
            _execute(bench, service.name, role, requests[role])
        assert {caught.value.status} == status, (role, caught.value)
        lock = _state(place) is State.LOCKED and caught.value.status in {row.status for row in LOCKS.values()}
        assert caught.value.status in service.statuses or lock
        assert bench.rig.everything() == before
        assert bench.image == image
    if not refused:
        return
    allowed = next((role for role in Role if role not in refused), None)
    if allowed is None:
        _next(bench)
    else:
        _execute(bench, service.name, allowed, requests[allowed])  # the very request that was refused the others


def _next(bench: Bench) -> None:
    """What a device in its state can do, it still does."""
    state = bench.rig.status()["state"]
    if state == State.UNINITIALIZED:
        bench.rig.initialize()
    elif state == State.INITIALIZED:
        _execute(bench, "authorize", Role.NONE, _requests(bench, "authorize")[Role.PROVIDER])
    elif state in (State.AUTHORIZED, State.LOCKED):
        _execute(bench, "checkin_begin", Role.USER, {})
    elif state == State.OPERATIONAL:
        _execute(bench, "read_log", Role.USER, {"first_record": 1})
    elif state == State.WITHDRAWN:
        _execute(bench, "audit", Role.INSPECTOR, {"nonce": bytes(16)})
    else:
        bench.rig.registers()


# The table


def test_the_table_says_what_was_decided() -> None:
    says = {s.name: ("".join(state[0] for state in State if state in s.states), s.roles) for s in SERVICES}
    assert says == DECIDED
    assert {s.name for s in SERVICES if s.signed} == SIGNED
    assert {s.name for s in SERVICES if not s.changes} == READS


def test_every_reason_to_lock_has_the_status_that_was_decided() -> None:
    assert {lock: row.status for lock, row in LOCKS.items()} == LOCKED_BY


def test_a_session_service_says_that_it_may_want_one_and_a_signed_one_what_may_be_wrong_with_the_message() -> None:
    for service in SERVICES:
        wants = Role.NONE not in service.roles and not service.signed
        assert (Status.NOT_AUTHENTICATED in service.statuses) is wants
        assert ({Status.BAD_SIGNATURE, Status.STALE_MESSAGE} <= set(service.statuses)) is service.signed


def test_no_code_and_no_name_stands_twice() -> None:
    assert len({s.code for s in SERVICES}) == len({s.name for s in SERVICES}) == len(SERVICES)


def test_an_unknown_service_is_refused() -> None:
    with pytest.raises(PesError, match="there is no service 'print_money'") as caught:
        Rig().ask("print_money")
    assert caught.value.status is Status.UNKNOWN_SERVICE


def test_a_refusal_for_the_role_names_who_may_and_who_is_there() -> None:
    rig = operational()
    rig.log_in(Role.INSPECTOR)
    with pytest.raises(PesError, match="dispense is for customer's meter; who is there: postal inspector") as caught:
        rig.dispense()
    assert caught.value.detail == {"roles": ["customer's meter"]}


def test_a_field_is_looked_at_before_the_state_and_a_retry_before_the_state_too() -> None:
    rig = operational()
    done = rig.dispense(b"a" * 16)
    rig.now += 73 * HOUR
    assert rig.dispense(b"a" * 16) == done
    with pytest.raises(PesError) as caught:
        rig.dispense(reference=bytes(33))
    assert caught.value.status is Status.BAD_FIELD
    rig.power_on(log_in=False)
    with pytest.raises(PesError) as caught:
        rig.dispense(b"a" * 16)  # whose answer it was, nobody is to learn who is not the meter
    assert caught.value.status is Status.NOT_AUTHENTICATED


@pytest.mark.parametrize("length", [0, 15, 17])
def test_what_changes_something_wants_a_request_id_of_sixteen_bytes(length: int) -> None:
    for service in SERVICES:
        bench = bench_at(State.OPERATIONAL, service.name)
        request = _requests(bench, service.name)[Role.PROVIDER]
        if service.name in READS:
            continue
        with pytest.raises(PesError, match=f"a request id has 16 bytes, not {length}") as caught:
            bench.rig.psd.execute(service.name, request, request_id=bytes(length), now=bench.rig.now)
        assert caught.value.status is Status.BAD_FIELD


# Statuses that a service gives and its row must name


def _raised(rig: Rig, name: str, **request: Any) -> Status:
    with pytest.raises(PesError) as caught:
        rig.ask(name, **request)
    return caught.value.status


def test_cancelling_what_was_not_begun_is_refused_by_a_status_of_its_row() -> None:
    assert _raised(operational(), "refill_cancel") in BY_NAME["refill_cancel"].statuses
