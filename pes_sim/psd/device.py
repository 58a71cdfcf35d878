"""The PSD: takes a request and the time, gives an answer, and has made it durable before.

* Commit, then answer: nothing leaves the device before the record that holds it is on disk.
* A request id counts once. The same id with the same request gets the same answer; with another it is refused.
* Time never runs back: the device reckons with the latest instant it has seen, and after a restart with the latest one
  that a record or a lockout wrote down.
* A broken invariant or record stops the device: state ERROR, in which only reading is served.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pes_sim.clock import DAY, LATEST, SECOND
from pes_sim.entropy import Entropy, child
from pes_sim.errors import (
    FieldError,
    IntegrityError,
    NotForThisDevice,
    NothingPending,
    RefusedInState,
    RequestIdReused,
    StaleMessage,
    StorageFailed,
    UnknownService,
)
from pes_sim.indicium import certificates
from pes_sim.indicium.certificates import Purpose
from pes_sim.indicium.layout import SPECIMEN_PROVIDER, Layout
from pes_sim.psd import checkin, lifecycle, manufacture, messages, piece, refill, services, state
from pes_sim.psd.books import Books
from pes_sim.psd.fields import Values, check_all, pack
from pes_sim.psd.keys import KeyStore
from pes_sim.psd.lifecycle import Event, State
from pes_sim.psd.nvram import BANK, Kind, Record
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.piece import Piece, Printer
from pes_sim.psd.services import Service
from pes_sim.psd.state import Answer, PsdState
from pes_sim.psd.storage import Storage

REQUEST_ID_LENGTH: Final = 16
_WITHOUT_BOOKS: Final = frozenset({"get_info", "get_status"})
"""What a device can still answer whose storage cannot be read."""
LOG_CHUNK: Final = 6
"""Entries of one `read_log` answer: they fit the smallest frame that a peer may ask for."""


@dataclass(frozen=True, slots=True)
class _Signed:
    """For a service that carries a provider's message: which kinds it takes, and the nonce they must repeat."""

    kinds: tuple[str, ...]
    nonce: Callable[[PsdState], bytes]


_SIGNED: Final[Mapping[str, _Signed]] = {
    "authorize": _Signed(("authorization",), lambda s: s.authorization_nonce),
    "refill_complete": _Signed(("refill_grant", "refill_refusal"), lambda s: s.refill_nonce),
    "checkin_complete": _Signed(("checkin_receipt",), lambda s: s.checkin_nonce),
}

_CHANGES: Final[Mapping[str, Callable[[PsdState, Values, Tools], Outcome]]] = {
    "initialize": manufacture.initialize,
    "authorize": manufacture.authorize,
    "refill_begin": refill.begin,
    "refill_complete": refill.complete,
    "checkin_begin": checkin.begin,
    "checkin_complete": checkin.complete,
}


class Psd:
    """A device over a storage and a key store. Opening it is powering it on.

    A storage that cannot be trusted does not raise here: the device comes up in state ERROR and says why, as a real
    one does. It serves one thread at a time: who shares it among several takes turns (`meter.device` does).
    """

    def __init__(self, storage: Storage, keys: KeyStore, *, entropy: Entropy, layout: Layout, bank: int = BANK) -> None:
        piece.check_layout(layout)
        self._layout = layout
        self._keys = keys
        self._books = Books(storage, keys.derive("log"), bank)
        self._entropy = child(entropy, f"psd after record {self._books.sequence}")
        self._printer: Printer | None = None
        # Where a reader of the log is, so that the next chunk need not look for it. Void once the log has grown.
        self._log_cursor: tuple[tuple[int, int], Iterator[Record]] = ((0, 0), iter(()))
        self._reads: Mapping[str, Callable[[Values], Values]] = {
            "get_info": self._get_info,
            "get_status": self._get_status,
            "get_registers": self._get_registers,
            "get_certificates": self._get_certificates,
            "read_log": self._read_log,
        }
        if self._books.state.wrapped_key:
            try:
                keys.load(self._books.state.wrapped_key)
            except IntegrityError as problem:
                self._books.stop(problem.message)

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        """The answer to one request, by field name. `now` is in microseconds since 1970-01-01 UTC.

        `request_id` (16 bytes) matters for services that change something. Raises a `PesError` whose status says why
        not; then nothing has changed.
        """
        service = services.BY_NAME.get(name)
        if service is None:
            raise UnknownService(f"there is no service {name!r}")
        check_all(service.request, request)
        try:
            self._tick(now, reading=not service.changes)
            if service.changes:
                return self._change_once(service, request, request_id)
            self._check_state(service)
            if not self._books.readable and name not in _WITHOUT_BOOKS:
                raise IntegrityError(f"the storage cannot be read: {self._books.state.fault}")
            return self._reads[name](request)
        except IntegrityError as problem:
            self._books.stop(problem.message)
            raise

    def _tick(self, now: int, *, reading: bool) -> None:
        if not 0 <= now <= LATEST - 31 * DAY:
            raise FieldError(f"the time {now} is outside 1970 to 9999", field="now")
        books = self._books
        books.time = max(books.time, now)
        s = books.state
        if s.lifecycle is State.OPERATIONAL and checkin.to_lockout(s, books.time) <= 0:
            # Written down, so that a restart with the host's clock set back finds it locked.
            locked = replace(s, lifecycle=lifecycle.after(s.lifecycle, Event.OVERDUE))
            try:
                books.commit(locked, Answer())
            except StorageFailed:
                # Locked all the same, and a full disk keeps nobody from reading the registers.
                books.state = locked
                if not reading:
                    raise

    def _check_state(self, service: Service) -> None:
        s = self._books.state
        if s.lifecycle in service.states:
            return
        if s.lifecycle is State.ERROR:
            raise IntegrityError(f"the device is in state ERROR: {s.fault}", hint="It serves status and registers only")
        if s.lifecycle is State.LOCKED:
            raise checkin.locked(s, self._books.time)
        raise RefusedInState(
            f"state {s.lifecycle} does not allow {service.name}",
            hint=f"Allowed in: {', '.join(sorted(service.states))}",
            state=s.lifecycle.value,
        )

    # Changes

    def _change_once(self, service: Service, request: Values, request_id: bytes) -> Values:
        if len(request_id) != REQUEST_ID_LENGTH:
            raise FieldError(f"a request id has {REQUEST_ID_LENGTH} bytes, not {len(request_id)}", field="request_id")
        if self._books.state.lifecycle is State.ERROR:
            self._check_state(service)  # not even a retry: state ERROR gives no indicium out
        known = self._books.recall(request_id)
        if known is not None:
            return self._answer_again(service, request, known)
        self._check_state(service)
        if service.name == "dispense":
            return self._dispense(request, request_id)
        return self._change(service, request, request_id)

    def _dispense(self, request: Values, request_id: bytes) -> Values:
        books = self._books
        piece.check_postage(request["postage_mills"])
        piece.check_date(request["mailing_date"], books.time, books.state.utc_offset_minutes)
        after = books.registers.debit(request["postage_mills"])
        signed = self._print().signed_bytes(request, after)
        done = Piece(request_id, books.time, after, request["reference"], signed)
        return self._dispensed(books.book(done), done)

    def _dispensed(self, record: int, done: Piece) -> Values:
        return {
            "indicium": self._indicium(done),
            "record": record,
            "device_time": done.time,
            **done.registers.values(),
        }

    def _indicium(self, done: Piece) -> bytes:
        return done.signed + self._keys.sign(done.signed)

    def _print(self) -> Printer:
        if self._printer is None:
            s = self._books.state
            self._printer = Printer(
                self._layout,
                {
                    "indicia_version": self._layout.versions.start,
                    "provider_id": SPECIMEN_PROVIDER,
                    "model_id": piece.MODEL_ID,
                    "psd_serial": s.psd_serial,
                    "algorithm_id": piece.ALGORITHM_ECDSA_P256,
                    "certificate_serial": s.certificate_serial,
                    "origin_zip": s.licensing_zip,
                    "software_id": piece.SOFTWARE_ID,
                },
            )
        return self._printer

    def _change(self, service: Service, request: Values, request_id: bytes) -> Values:
        books = self._books
        body = self._open_message(service.name, request["message"]) if service.signed else request
        tools = Tools(self._keys, self._entropy, books.time, books.registers, books.sequence)
        outcome = _CHANGES[service.name](books.state, body, tools)
        answer = Answer(request_id, service.name, _digest(request), outcome.reply)
        books.commit(outcome.state, answer, outcome.refilled)
        return outcome.reply

    def _open_message(self, name: str, message: bytes) -> Values:
        expected, s = _SIGNED[name], self._books.state
        point = s.provider_point
        if name == "authorize":
            _, claimed = messages.peek(message, *expected.kinds)
            point = certificates.read(claimed["provider_certificate"], s.trust_anchor, Purpose.PROVIDER).point
        _, values = messages.open_signed(message, point, *expected.kinds)
        if values["psd_serial"] != s.psd_serial:
            raise NotForThisDevice(f"the message is for PSD {values['psd_serial']}, this is {s.psd_serial}")
        nonce = expected.nonce(s)
        if not nonce:
            raise NothingPending(f"nothing is pending that {name} could complete", hint="Begin it first")
        if values["nonce"] != nonce:
            raise StaleMessage("the message answers another request: late, or replayed", hint="Begin again")
        return values

    def _answer_again(self, service: Service, request: Values, known: Record) -> Values:
        if known.kind is Kind.PIECE:
            done = piece.decode(known.body)
            same = service.name == "dispense" and self._asked_for(done) == request
            reply = self._dispensed(known.sequence, done)
        else:
            answer = state.decode(known.body).answer
            same = (answer.service, answer.digest) == (service.name, _digest(request))
            reply = answer.reply
        if not same:
            raise RequestIdReused(
                "this request id was used for another request", hint="A retry repeats the whole request; else a new id"
            )
        return reply

    def _asked_for(self, done: Piece) -> Values:
        values = self._layout.unpack(done.signed + bytes(self._layout.signature.length)).values
        asked = ("postage_mills", "mailing_date", "mail_class", "weight", "destination")
        return {"reference": done.reference} | {name: values[name] for name in asked}

    # Reading

    def _get_info(self, _: Values) -> Values:
        s = self._books.state
        notice = f"SPECIMEN ONLY, NOT VALID POSTAGE. {self._layout.title}."
        return {
            "model_id": piece.MODEL_ID,
            "psd_serial": s.psd_serial,
            "provider_id": SPECIMEN_PROVIDER,
            "software_id": piece.SOFTWARE_ID,
            "layout": self._layout.name,
            "licensing_zip": s.licensing_zip,
            "customer": s.customer,
            "utc_offset_minutes": s.utc_offset_minutes,
            "notice": notice + (" Keys are reproducible from a seed." if self._entropy.reproducible else ""),
        }

    def _get_status(self, _: Values) -> Values:
        books, s = self._books, self._books.state
        reasons = {State.LOCKED: ["check-in overdue"], State.ERROR: [s.fault]}
        return {
            "state": s.lifecycle.value,
            "lock_reasons": reasons.get(s.lifecycle, []),
            "seconds_to_lockout": checkin.to_lockout(s, books.time) // SECOND,
            "device_time": books.time,
            "today": piece.today(books.time, s.utc_offset_minutes).isoformat(),
            "refill_pending_mills": s.refill_mills,
            "log_sequence": books.sequence,
            "repaired": books.repaired,
        }

    def _get_registers(self, _: Values) -> Values:
        return {**self._books.registers.values()}

    def _get_certificates(self, _: Values) -> Values:
        s = self._books.state
        return {
            "psd_certificate": s.psd_certificate,
            "provider_certificate": s.provider_certificate,
            "trust_anchor": s.trust_anchor,
        }

    def _read_log(self, request: Values) -> Values:
        wanted, newest = request["first_record"], self._books.sequence
        place, records = self._log_cursor
        if place != (wanted, newest):
            records = self._books.pieces_from(wanted)
        entries = [self._log_entry(record) for record in itertools.islice(records, LOG_CHUNK)]
        following = entries[-1]["record"] + 1 if len(entries) == LOG_CHUNK else 0
        self._log_cursor = ((following, newest if following else -1), records)
        blobs = [pack(entry) for entry in entries]
        return {"entries": blobs, "next_record": following}

    def _log_entry(self, record: Record) -> Values:
        done = piece.decode(record.body)
        return {
            "record": record.sequence,
            "request_id": done.request_id,
            "device_time": done.time,
            "reference": done.reference,
            "indicium": self._indicium(done),
            **done.registers.values(),
        }


def _digest(request: Values) -> bytes:
    return hashlib.sha256(pack(request)).digest()
