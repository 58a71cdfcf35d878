"""The PSD: takes a request and the time, gives an answer, and has made it durable before.

* Commit, then answer: nothing leaves the device before the record that holds it is on disk.
* A request id counts once. The same id with the same request gets the same answer; with another it is refused.
* State, then role: what the state does not allow is refused first, and by the same status for everybody.
* Time never runs back but by the provider's order: the device reckons with its own clock (`rtc`), and after a restart
  goes on from the latest instant that a record wrote down.
* A broken invariant or record stops the device: state ERROR, in which it can only be read, tested and zeroized, until
  the provider's recovery order says with which registers it goes on. A device in service takes that order, too: it may
  know less than was spent, and cannot tell.
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
    PesError,
    RefusedInState,
    RequestIdReused,
    SelfTestFailed,
    StorageFailed,
    UnknownService,
)
from pes_sim.indicium.layout import Layout
from pes_sim.psd import lifecycle, locks, piece, recovery, rtc, services, state
from pes_sim.psd.access import Access
from pes_sim.psd.books import Books
from pes_sim.psd.changes import CHANGES
from pes_sim.psd.condition import Condition
from pes_sim.psd.dispensing import LOG_LIMIT, SPENDING, Dispenser
from pes_sim.psd.fields import Values, check_all, pack
from pes_sim.psd.inbox import open_order, rolled_back, uses_challenge
from pes_sim.psd.keys import KeyStore, Slot
from pes_sim.psd.lifecycle import Event, Lock, State
from pes_sim.psd.nvram import BANK
from pes_sim.psd.outcome import Tools
from pes_sim.psd.profile import Profile
from pes_sim.psd.reading import Reader
from pes_sim.psd.records import Kind, Record
from pes_sim.psd.registers import Registers
from pes_sim.psd.roles import Role
from pes_sim.psd.rtc import DeviceClock, Rtc
from pes_sim.psd.selftest import TestName
from pes_sim.psd.services import Service, WithIndiciumKey
from pes_sim.psd.state import Answer, Snapshot
from pes_sim.psd.storage import Storage

REQUEST_ID_LENGTH: Final = 16

# Members looked up once: that takes as long as a call, and stands in the way of every debit.
_ERROR: Final = State.ERROR
_STOPPED: Final = frozenset({State.ERROR, State.ZEROIZED})
_WITHOUT_INDICATOR: Final = Profile.FIPS_140_2


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
        signing = piece.signing(layout)
        self._curve, mac = signing.curve, signing.slot is Slot.MAC
        self._needs = {service.name: services.needs(service, self._curve, mac=mac) for service in services.SERVICES}
        self._keys = keys
        self._storage = storage
        self._clock = DeviceClock(rtc)
        self._books = Books(storage, keys.derive("log"), bank)
        self._root = entropy
        self._entropy = self._drawn_from(max(self._books.sequence, self._books.found))
        self._access = Access()
        self._dispenser = Dispenser(self._books, keys, layout, log_limit)
        self._unwritten = False
        """Whether a lock holds that the storage would not take."""
        self._condition = Condition(self._books, storage, self._entropy, failing)
        reader = Reader(
            self._books, self._access, self._dispenser, layout, self._condition,
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
            "authenticate": lambda request: self._access.authenticate(request, self._books, self._keys),
            "self_test": self._condition.self_test,
        }
        self._condition.power_on(keys)

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        """The answer to one request, by field name. `now` is in microseconds since 1970-01-01 UTC.

        `request_id` (16 bytes) matters for services that change something. Raises a `PesError` whose status says why
        not; then nothing has changed (but that a wrong proof is counted, and that a rollback found locks the device).
        """
        service = services.BY_NAME.get(name)
        if service is None:
            raise UnknownService(f"there is no service {name!r}")
        check_all(service.request, request, service.optional)
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
            self._condition.failed(problem)
            raise
        reply["service_indicator"] = self._indicator(service)
        return reply

    def tamper(self) -> None:
        """The tamper input: every key is destroyed at once, whatever the state; the registers stay readable."""
        self._zeroize(lifecycle.TAMPER)

    @property
    def standing(self) -> tuple[str, tuple[str, ...]]:
        """State and reasons to be locked, as they were last written down: a look that costs and changes nothing."""
        s = self._books.state
        stopped = s.lifecycle in _STOPPED
        return s.lifecycle.value, (s.fault,) if stopped else tuple(s.locks)

    @property
    def spent(self) -> Registers:
        """The registers of the newest record that it can still read: what it spent is that much at least."""
        known = self._books.last_known()
        return known.registers if known else Registers()

    def log_out(self) -> None:
        """Ends the session of whoever is there."""
        self._access.role = Role.NONE

    def fail_self_test(self, name: TestName, *, fails: bool = True) -> None:
        """The bench's control: from its next run on this test fails, or no longer does."""
        self._condition.fail(name, fails=fails)

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
        # A stop that ends with the power, as for a self-test, leaves nothing to be done that needs an algorithm.
        if s.lifecycle not in service.states or (s.lifecycle is _ERROR and self._books.halted and service.needs):
            if s.lifecycle is State.ERROR:
                raise self._condition.refusal()
            if s.lifecycle is State.LOCKED:
                raise locks.refusal(s, self._books.time)
            raise RefusedInState(
                f"state {s.lifecycle} does not allow {service.name}",
                hint=f"Allowed in: {', '.join(sorted(service.states))}",
                state=s.lifecycle.value,
            )
        self._access.check(service)
        if service.needs:
            self._condition.need(self._needs[service.name])

    def _indicator(self, service: Service) -> int:
        profile = self._books.state.profile
        if profile is _WITHOUT_INDICATOR:
            return 0
        if profile is Profile.LEGACY:
            return 3 * (WithIndiciumKey.SIGN in service.needs)
        return 1 if service.needs else 2

    # Changes

    def _change_once(self, service: Service, request: Values, request_id: bytes, now: int) -> Values:
        if len(request_id) != REQUEST_ID_LENGTH:
            raise FieldError(f"a request id has {REQUEST_ID_LENGTH} bytes, not {len(request_id)}", field="request_id")
        if service.name == "zeroize":
            return self._zeroize("zeroized")
        if self._books.state.lifecycle in _STOPPED:
            self._check_allowed(service)  # not even a retry: no indicium is given out there
        known = self._books.recall(request_id)
        if known is not None:
            self._access.check(service)
            self._condition.need(self._needs[service.name])
            return self._answer_again(service, request, known)
        self._check_allowed(service)
        if service.name in SPENDING:
            return self._dispenser.dispense(service.name, request, request_id)
        if service.name == "recover":
            return self._recover(request, request_id, now)
        return self._change(service, request, request_id, now)

    def _change(self, service: Service, request: Values, request_id: bytes, now: int) -> Values:
        books, change = self._books, CHANGES[service.name]
        body = self._open_order(service.name, request["message"]) if service.signed else request
        tools = Tools(
            keys=self._keys, entropy=self._entropy, time=books.time, now=now, registers=books.registers,
            log_sequence=books.sequence, chain=books.chain, reprints=books.reprints,
            last_dispense=books.last_dispense, curve=self._curve, tests=self._condition.tests, storage=self._storage,
        )  # fmt: skip
        profile, before, was = books.state.profile, books.time, books.state
        try:
            outcome = change.apply(books.state, body, tools)
            answer = Answer(request_id, service.name, _digest(request), outcome.reply)
            books.time = before if outcome.time is None else outcome.time
            books.commit(outcome.state, answer, outcome.refilled, outcome.withdrawn)
        except PesError:
            books.time = before
            if change.keys:
                self._restore_keys()
            raise
        if outcome.state != was and (outcome.reply.get("message") or outcome.reply.get("statement")):
            books.keep_report(answer)
        if outcome.time is not None:
            self._clock.was_set()
        if books.state.profile is not profile:
            self._condition.rules_changed()
        if uses_challenge(service.name):
            self._access.nonce = b""
        if outcome.ends_session:
            self._access.role = Role.NONE
        self._dispenser.renew()
        return {**outcome.reply}

    def _recover(self, request: Values, request_id: bytes, now: int) -> Values:
        """Goes on with the registers of the provider's order. Whatever keeps it from that leaves the device as it was,
        or stopped until the power goes.
        """
        books = self._books
        known = recovery.check_known(books.last_known())
        order = self._open_order("recover", request["message"])
        answer = Answer(request_id, "recover", _digest(request))
        begun = recovery.begin(known, order, answer, time=books.time, now=now)
        if books.state.lifecycle is State.ERROR:
            self._bring_back(begun, order["log_sequence"])
        else:
            self._correct(begun, order["log_sequence"])
        self._clock.was_set()
        self._access.nonce, self._access.role = b"", Role.NONE
        self._dispenser.renew()
        return {**begun.answer.reply}

    def _bring_back(self, begun: Snapshot, above: int) -> None:
        """Begins another log: the old one cannot be read, or says that it is not to be trusted."""
        try:
            self._condition.make_ready(self._keys)
            self._begin_anew(begun, above)
        finally:
            if self._books.state.lifecycle is State.ERROR:
                self._keys.load(b"")

    def _correct(self, begun: Snapshot, above: int) -> None:
        """The same for a device in service. Where nothing else was spent than its log shows, that goes on: its pieces
        can still be read, and its request ids are still known. A refill under way may be in the order.
        """
        books, before = self._books, self._books.time
        refilled = begun.registers.control_sum - books.registers.control_sum
        if begun.registers.pieces == books.registers.pieces:  # then the order's other registers are the same, too
            books.time = begun.time
            try:
                books.commit(begun.state, begun.answer, refilled)
            except PesError:
                books.time = before
                raise
            return
        try:
            self._begin_anew(begun, above)
        except PesError as problem:
            # The new log may count from the next power-on: a piece in the old one would then be lost.
            self._books.halt(f"the recovery was cut short: {problem.message}")
            raise

    def _begin_anew(self, begun: Snapshot, above: int) -> None:
        self._books.begin_anew(begun, above)
        # What a seed gave after records that are lost, it must not give again.
        self._entropy = self._drawn_from(self._books.sequence)

    def _drawn_from(self, record: int) -> Entropy:
        """Random bytes that differ from power-on to power-on: a seed would give the same ones again."""
        return child(self._root, f"psd after record {record}")

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
        if rolled_back(name, values, books.registers):
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


def _digest(request: Values) -> bytes:
    return hashlib.sha256(pack(request)).digest()
