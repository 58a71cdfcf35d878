"""The PSD: takes a request and the time, gives an answer, and has made it durable before.

* Commit, then answer: nothing leaves the device before the record that holds it is on disk.
* A request id counts once. The same id with the same request gets the same answer; with another it is refused.
* State, then role: what the state does not allow is refused first, and by the same status for everybody.
* Time never runs back but by the provider's order: the device reckons with its own clock (`rtc`), and after a restart
  goes on from the latest instant that a record wrote down.
* A broken invariant or record stops the device: state ERROR, in which it can only be read, tested and zeroized.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from pes_sim.entropy import Entropy, child
from pes_sim.errors import (
    FieldError,
    IntegrityError,
    KeysGone,
    KeyStoreFailed,
    NotAuthenticated,
    PesError,
    RefusedInState,
    RequestIdReused,
    SelfTestFailed,
    StorageFailed,
    UnknownService,
)
from pes_sim.indicium.layout import Layout
from pes_sim.psd import (
    access,
    audit,
    checkin,
    keyloading,
    lifecycle,
    locks,
    manufacture,
    orders,
    piece,
    refill,
    rtc,
    services,
    software,
    state,
    withdrawal,
)  # fmt: skip
from pes_sim.psd.access import Access
from pes_sim.psd.books import Books
from pes_sim.psd.dispensing import LOG_LIMIT, SPENDING, Dispenser
from pes_sim.psd.fields import Values, check_all, pack
from pes_sim.psd.inbox import open_order, rolled_back, uses_challenge
from pes_sim.psd.keys import Curve, KeyStore
from pes_sim.psd.lifecycle import Event, Lock, State
from pes_sim.psd.nvram import BANK, Kind, Record
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.profile import Profile
from pes_sim.psd.reading import Reader
from pes_sim.psd.roles import Role
from pes_sim.psd.rtc import DeviceClock, Rtc
from pes_sim.psd.selftest import Algorithm, SelfTests, Subject, TestName
from pes_sim.psd.services import Service
from pes_sim.psd.state import Answer, PsdState
from pes_sim.psd.storage import Storage

REQUEST_ID_LENGTH: Final = 16
_POWER_CYCLE: Final = "Power the device off and on; if it fails again, return it"

_CHANGES: Final[Mapping[str, Callable[[PsdState, Values, Tools], Outcome]]] = {
    "initialize": manufacture.initialize,
    "authorize": manufacture.authorize,
    "reauthorize": orders.reauthorize,
    "set_time": orders.set_time,
    "lock": orders.lock,
    "unlock": orders.unlock,
    "refill_begin": refill.begin,
    "refill_complete": refill.complete,
    "refill_cancel": refill.cancel,
    "withdraw_begin": withdrawal.begin,
    "withdraw_complete": withdrawal.complete,
    "checkin_begin": checkin.begin,
    "checkin_complete": checkin.complete,
    "audit": audit.report,
    "renew_key": keyloading.renew,
    "load_certificate": keyloading.load_certificate,
    "load_key": keyloading.load_key,
    "software_begin": software.begin,
    "software_data": software.data,
    "software_complete": software.complete,
}

_TOUCHES_KEYS: Final = frozenset({"initialize", "renew_key", "load_certificate", "load_key"})


class Psd:
    """A device over a storage and a key store. Opening it is powering it on.

    A storage that cannot be trusted does not raise here: the device comes up in state ERROR and says why, as a real
    one does. It serves one thread at a time: who shares it among several takes turns (`meter.device` does).
    """

    def __init__(
        self,
        storage: Storage,
        keys: KeyStore,
        *,
        entropy: Entropy,
        layout: Layout,
        bank: int = BANK,
        rtc: Rtc = Rtc(),  # noqa: B008  # immutable
        log_limit: int = LOG_LIMIT,
        failing: frozenset[TestName] = frozenset(),
    ) -> None:
        piece.check_layout(layout)
        self._curve = piece.signing(layout)[0]
        self._needs = {service.name: _needs(service, self._curve) for service in services.SERVICES}
        self._keys = keys
        self._storage = storage
        self._clock = DeviceClock(rtc)
        self._books = Books(storage, keys.derive("log"), bank)
        self._entropy = child(entropy, f"psd after record {self._books.sequence}")
        self._access = Access()
        self._dispenser = Dispenser(self._books, keys, layout, log_limit)
        self._unwritten = False
        """Whether a lock holds that the storage would not take."""
        self._failing = failing
        self._failure: SelfTestFailed | None = None
        self._tests = self._new_tests()
        reader = Reader(
            self._books, self._access, self._dispenser, layout, lambda: self._tests,
            reproducible=self._entropy.reproducible,
        )  # fmt: skip
        self._reads: Mapping[str, Callable[[Values], Values]] = {
            "get_info": reader.get_info,
            "get_status": reader.get_status,
            "get_registers": reader.get_registers,
            "get_certificates": reader.get_certificates,
            "get_statement": reader.get_statement,
            "read_log": reader.read_log,
            "challenge": lambda _: self._access.challenge(self._books.state, self._entropy, self._books.time),
            "authenticate": self._authenticate,
            "self_test": self._self_test,
        }
        self._power_on()

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        """The answer to one request, by field name. `now` is in microseconds since 1970-01-01 UTC.

        `request_id` (16 bytes) matters for services that change something. Raises a `PesError` whose status says why
        not; then nothing has changed (but that a wrong proof is counted, and that a rollback found locks the device).
        """
        service = services.BY_NAME.get(name)
        if service is None:
            raise UnknownService(f"there is no service {name!r}")
        check_all(service.request, request)
        try:
            self._tick(now, reading=not service.changes)
            if service.changes:
                reply = self._change_once(service, request, request_id, now)
            else:
                self._check_allowed(service)
                reply = self._reads[name](request)
        except IntegrityError as problem:
            self._books.stop(problem.message)
            raise
        except SelfTestFailed as problem:
            self._halt_unless_degraded(problem)
            raise
        reply["service_indicator"] = self._indicator(service)
        return reply

    def tamper(self) -> None:
        """The tamper input: every key is destroyed at once, whatever the state; the registers stay readable."""
        self._zeroize("tamper input")

    def fail_self_test(self, name: TestName, *, fails: bool = True) -> None:
        """The bench's control: from its next run on this test fails, or no longer does."""
        (self._tests.fail if fails else self._tests.restore)(name)
        self._failing = self._failing | {name} if fails else self._failing - {name}

    # Power-on and self-tests

    def _power_on(self) -> None:
        if self._books.state.lifecycle is State.ERROR:
            return
        if self._books.state.lifecycle is State.ZEROIZED:
            with contextlib.suppress(PesError):
                self._keys.zeroize()
        try:
            self._tests.power_on()
            if self._books.state.keys:
                self._tests.need(Algorithm.AES_256_KEY_WRAP)
            self._keys.load(self._books.state.keys)
        except KeysGone:
            # A cut came between their end and the record of it; or a file was lost, and may be put back.
            self._books.state = replace(self._books.state, lifecycle=State.ZEROIZED, fault="the keys are gone")
        except IntegrityError as problem:
            self._books.halt(problem.message)  # not for good: the right file may be put back
        except SelfTestFailed as problem:
            self._halt(problem)

    def _new_tests(self) -> SelfTests:
        def measured() -> tuple[bytes, bytes]:
            return software.measured(self._storage, self._books.state)

        subject = Subject(child(self._entropy, "self-test"), measured, self._books.registers_twice)
        return SelfTests(subject, self._books.state.profile, self._failing)

    def _self_test(self, _: Values) -> Values:
        self._tests.run_all()
        if self._tests.failed:
            names = ", ".join(self._tests.failed)
            failure = SelfTestFailed(f"self-test failed: {names}", hint=_POWER_CYCLE, test=names)
            self._halt_unless_degraded(failure)
        return {
            "self_tests_passed": [name.value for name in self._tests.passed],
            "self_tests_failed": [name.value for name in self._tests.failed],
        }

    def _halt_unless_degraded(self, problem: SelfTestFailed) -> None:
        """140-3: an algorithm that fails its test is out of service, and the rest goes on (degraded operation)."""
        if self._books.state.profile is Profile.FIPS_140_2 or self._tests.stopped:
            self._halt(problem)

    def _halt(self, problem: SelfTestFailed) -> None:
        self._failure = problem
        self._books.halt(problem.message)

    # Time

    def _tick(self, now: int, *, reading: bool) -> None:
        books = self._books
        if self._clock.lost_its_time(books.state, now):
            # Also the next power-on, with a good battery, must not find the right time by itself.
            books.state = rtc.set_to(books.state, books.time, now)
            self._clock.was_set()
            self._commit_lock((Lock.DATE_FAULT,), reading=True)
        books.time = self._clock.time(books.state, books.time, now)
        due = locks.due(books.state, books.time)
        if due:
            # Written down, so that a restart with the host's clock set back finds it locked.
            self._commit_lock(due, reading=reading)

    def _commit_lock(self, reasons: tuple[Lock, ...], *, reading: bool) -> None:
        locked = locks.with_locks(self._books.state, reasons)
        try:
            self._books.commit(locked, Answer())
            self._unwritten = False
        except StorageFailed:
            # Locked all the same, and a full disk keeps nobody from reading the registers.
            self._books.state = locked
            self._unwritten = True
            if not reading:
                raise

    # Who may do what where

    def _check_allowed(self, service: Service) -> None:
        s = self._books.state
        if s.lifecycle not in service.states:
            if s.lifecycle is State.ERROR and self._failure is not None:
                raise self._failure
            if s.lifecycle is State.ERROR:
                hint = "It can still be read, tested and zeroized"
                raise IntegrityError(f"the device is in state ERROR: {s.fault}", hint=hint)
            if s.lifecycle is State.LOCKED:
                raise locks.refusal(s, self._books.time)
            raise RefusedInState(
                f"state {s.lifecycle} does not allow {service.name}",
                hint=f"Allowed in: {', '.join(sorted(service.states))}",
                state=s.lifecycle.value,
            )
        self._check_role(service)
        if service.needs:
            self._tests.need(*self._needs[service.name])

    def _check_role(self, service: Service) -> None:
        # A signed order proves itself.
        if Role.NONE in service.roles or service.signed or self._access.role in service.roles:
            return
        roles = [role.value for role in Role if role in service.roles]
        raise NotAuthenticated(
            f"{service.name} is for {' or '.join(roles)}; who is there: {self._access.role}",
            hint="Ask for a challenge and authenticate; a session ends with the power", roles=roles,
        )  # fmt: skip

    def _authenticate(self, request: Values) -> Values:
        books, before, role = self._books, self._books.state, access.claimed(request)
        access.check_wait(before, role, books.time)
        self._access.forget_old(books.time)
        nonce = self._access.take_nonce()
        self._access.role = Role.NONE
        # Counted as wrong before it is looked at: an attempt that cannot be written down would be free.
        books.commit(access.after_failure(before, role, books.time), Answer())
        try:
            proven = access.proves(before, self._keys, role, request["proof"], nonce, books.time)
        except KeyStoreFailed:
            books.commit(before, Answer())  # a token that is away has not looked at the proof
            raise
        if not proven:
            raise access.failure(books.state, role)
        books.commit(access.after_success(books.state, role), Answer())
        self._access.role = role
        return {"role": role.value}

    def _indicator(self, service: Service) -> int:
        if self._books.state.profile is Profile.FIPS_140_2:
            return 0
        return 1 if service.needs else 2

    # Changes

    def _change_once(self, service: Service, request: Values, request_id: bytes, now: int) -> Values:
        if len(request_id) != REQUEST_ID_LENGTH:
            raise FieldError(f"a request id has {REQUEST_ID_LENGTH} bytes, not {len(request_id)}", field="request_id")
        if service.name == "zeroize":
            return self._zeroize("zeroized")
        if self._books.state.lifecycle in (State.ERROR, State.ZEROIZED):
            self._check_allowed(service)  # not even a retry: no indicium is given out there
        known = self._books.recall(request_id)
        if known is not None:
            self._check_role(service)
            self._tests.need(*self._needs[service.name])
            return self._answer_again(service, request, known)
        self._check_allowed(service)
        if service.name in SPENDING:
            return self._dispenser.dispense(service.name, request, request_id)
        return self._change(service, request, request_id, now)

    def _change(self, service: Service, request: Values, request_id: bytes, now: int) -> Values:
        books = self._books
        body = self._open_order(service.name, request["message"]) if service.signed else request
        tools = Tools(
            self._keys, self._entropy, books.time, now, books.registers, books.sequence, books.chain, books.reprints,
            books.last_dispense, self._curve, self._tests, self._storage,
        )  # fmt: skip
        before = books.time
        try:
            outcome = _CHANGES[service.name](books.state, body, tools)
            answer = Answer(request_id, service.name, _digest(request), outcome.reply)
            books.time = before if outcome.time is None else outcome.time
            books.commit(outcome.state, answer, outcome.refilled, outcome.withdrawn)
        except PesError:
            books.time = before
            if service.name in _TOUCHES_KEYS:
                self._restore_keys()
            raise
        if outcome.time is not None:
            self._clock.was_set()
        if service.name == "initialize":
            self._tests = self._new_tests()  # by the rules of the profile that was chosen
        if uses_challenge(service.name):
            self._access.nonce = b""
        self._dispenser.renew()
        if service.name == "load_key":
            self._access.role = Role.NONE  # it may have been the secret that opened the session
        return {**outcome.reply}

    def _restore_keys(self) -> None:
        """The keys as they were. A store that does not give them now may do so after the next power-on."""
        try:
            self._keys.load(self._books.state.keys)
        except PesError as problem:
            self._books.halt(problem.message)

    def _open_order(self, name: str, message: bytes) -> Values:
        books = self._books
        self._access.forget_old(books.time)
        values = open_order(name, message, books.state, (self._access.nonce, self._access.number))
        if rolled_back(values, books.registers):
            # A message that comes again and again must not fill the log.
            if self._unwritten or Lock.ROLLBACK_FOUND not in books.state.locks:
                self._commit_lock((Lock.ROLLBACK_FOUND,), reading=True)
            raise locks.refusal(books.state, books.time)
        return values

    def _answer_again(self, service: Service, request: Values, known: Record) -> Values:
        if known.kind is not Kind.STATE:
            if self._dispenser.same(known, service.name, request):
                return self._dispenser.again(known)
        else:
            answer = state.decode(known.body).answer
            if (answer.service, answer.digest) == (service.name, _digest(request)):
                return answer.reply
        raise RequestIdReused(
            "this request id was used for another request", hint="A retry repeats the whole request; else a new id"
        )

    def _zeroize(self, why: str) -> Values:
        failure: PesError | None = None
        try:
            self._keys.zeroize()
        except PesError as problem:
            failure = problem  # the device ends all the same; what is left of the keys goes at the next power-on
        self._access.role = Role.NONE
        books = self._books
        if books.state.lifecycle is not State.ZEROIZED or books.state.keys:
            after = lifecycle.after(books.state.lifecycle, Event.ZEROIZE)
            books.state = replace(books.state, lifecycle=after, fault=why, keys=b"")
            with contextlib.suppress(PesError):  # without its record the next power-on finds the keys gone
                books.write_down()
        if failure is not None:
            raise failure
        return {"state": books.state.lifecycle.value}


def _needs(service: Service, curve: Curve) -> tuple[Algorithm, ...]:
    """The table says P-256 for the keys of indicia; a device on another curve needs that one's."""
    if curve is Curve.P256:
        return service.needs
    if service.name in _MAKES_INDICIUM_KEYS:
        return (*service.needs, *_P224.values())
    if service.name not in SPENDING:
        return service.needs
    return tuple(_P224.get(algorithm, algorithm) for algorithm in service.needs)


_P224: Final = {
    Algorithm.ECDSA_P256_SIGN: Algorithm.ECDSA_P224_SIGN, Algorithm.ECDSA_P256_VERIFY: Algorithm.ECDSA_P224_VERIFY,
}  # fmt: skip
_MAKES_INDICIUM_KEYS: Final = frozenset({"initialize", "renew_key"})


def _digest(request: Values) -> bytes:
    return hashlib.sha256(pack(request)).digest()
