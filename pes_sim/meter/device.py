"""The meter as a device: it answers requests, takes postage from its PSD, and keeps each department's account.

* The PSD's record carries the department, so one durable write holds both the debit and who pays for it.
* A request id counts once, for ever: the same print request gets the same indicium again.
* What the provider has to do with goes through the meter's own connection to the data centre (`connection`).
* The meter proves itself to its PSD when something needs its session, and not before: looking writes nothing. One that
  cannot is open all the same: what needs no session, such as the registers, can be read.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Final

from pes_sim.clock import Clock
from pes_sim.errors import (
    BadDate,
    IntegrityError,
    MoneyError,
    NotAuthenticated,
    RefusedByProvider,
    RequestIdReused,
    SelfTestFailed,
    StorageFailed,
    UnknownDepartment,
    UnknownService,
)
from pes_sim.indicium.layout import Layout
from pes_sim.link.bare import BarePsd
from pes_sim.meter.connection import EXCHANGES, Centre, Connection, derived, usable
from pes_sim.meter.rates import RateBook, RateTable
from pes_sim.meter.services import BY_NAME, PASSED_THROUGH, SERVICES
from pes_sim.meter.session import Session
from pes_sim.meter.store import MeterStore, StoredPiece
from pes_sim.money import dollars
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import BY_NAME as FIELDS
from pes_sim.psd.fields import Values, check, check_all, pack, unpack
from pes_sim.psd.piece import ASKED_BESIDES, PieceKind, today
from pes_sim.psd.policy import Regime
from pes_sim.psd.registers import Registers
from pes_sim.psd.selftest import TestName
from pes_sim.psd.services import BY_NAME as PSD_SERVICES
from pes_sim.psd.services import Service

_MOVES_MONEY: Final = frozenset(name for exchange in EXCHANGES.values() for name in (exchange.begin, exchange.complete))
"""Services of the PSD that report its registers to the provider, or change them."""
_REPORTS: Final = frozenset({EXCHANGES["check_in"].begin, EXCHANGES["withdraw"].begin})
"""Services of the PSD that report its log to the provider."""
_PLAIN: Final = len(BY_NAME["print_piece"].request)
"""Fields of a print request that asks for nothing besides."""
_CHUNK: Final = 6
"""Departments in one answer: they fit the smallest frame, whatever their names are written in."""
_NOBODYS: Final = "?"
"""The department of pieces that bear no department's code."""


class MeterDevice:
    """A meter over its PSD, its store and its rates. `centre` is None while its LAN is unplugged.

    `secret` is what the PSD knows its meter by; empty when `meter.key` is lost.
    """

    kind = "meter"
    services: Mapping[int, Service] = {service.code: service for service in SERVICES}

    def __init__(
        self,
        psd: Psd,
        store: MeterStore,
        rates: RateBook,
        layout: Layout,
        clock: Clock,
        centre: Centre | None,
        secret: bytes,
        connection: Connection = Connection.LAN,
    ) -> None:
        self._psd = psd
        self._session = Session(psd, secret)
        self._store = store
        self._rates = rates
        self._layout = layout
        self._clock = clock
        self.centre = centre
        self._connection = Connection(connection)
        self._turn = threading.RLock()
        self._bare = BarePsd(psd, self._turn)
        self._own: Mapping[str, Callable[[Values, bytes, int], Values]] = {
            "print_piece": self._print_piece,
            "quote": self._quote,
            "get_departments": self._get_departments,
            "refill": self._refill,
            "check_in": self._check_in,
            "cancel_refill": self._cancel_refill,
            "withdraw": self._withdraw,
        }
        self._waiting: dict[bytes, StoredPiece] = {}
        """Pieces that are paid, and that the store would not take yet; by request id."""
        self._complaint = ""
        """What is wrong between store and PSD; empty when nothing is, or nobody has looked yet."""
        self._lost = False
        """Whether that is a part of the PSD's log that it has lost: the store knows more than it."""
        self._compared = False
        self._look_again()
        with contextlib.suppress(IntegrityError, StorageFailed):  # said again to whoever needs the store, or the PSD
            self._bring_up_to_date(clock.now())

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        """The answer to one request; see `Psd.execute`. Requests from several ports take turns."""
        if name not in BY_NAME:
            raise UnknownService(f"a meter has no service {name!r}")
        with self._turn:
            if name in PASSED_THROUGH:
                if name in _REPORTS:
                    self._make_safe(now)  # what the answer acknowledges may leave the PSD's log
                if name in _MOVES_MONEY:
                    self._check_nothing_lost()
                answer = self._session.execute(name, request, request_id=request_id, now=now)
                if name in ("reauthorize", "recover"):
                    self._look_again()
                if name == "recover":
                    self._complaint, self._lost, self._compared = "", False, False
                return answer
            service = BY_NAME[name]
            check_all(service.request, request, service.optional)
            answer = self._own[name](request, request_id, now)
            return {field.name: answer[field.name] for field in service.reply}

    def log_out(self) -> None:
        """Ends the session with the PSD, as when somebody else is to use it. It is opened again when it is needed."""
        with self._turn:
            self._psd.log_out()

    # The bench's controls of its PSD

    def tamper(self) -> None:
        """See `Psd.tamper`."""
        with self._turn:
            self._psd.tamper()

    def fail_self_test(self, name: TestName, *, fails: bool) -> None:
        """See `Psd.fail_self_test`."""
        with self._turn:
            self._psd.fail_self_test(name, fails=fails)

    @property
    def standing(self) -> tuple[str, tuple[str, ...]]:
        """See `Psd.standing`."""
        return self._psd.standing

    @property
    def spent(self) -> Registers:
        """See `Psd.spent`."""
        return self._psd.spent

    @property
    def complaint(self) -> str:
        """What is wrong between the meter's database and its PSD, as far as anybody has looked; empty for nothing."""
        return self._complaint

    @property
    def lost(self) -> bool:
        """Whether that is a part of the PSD's log that it has lost."""
        return self._lost

    @property
    def psd(self) -> BarePsd:
        """Its PSD, for a port of its own, or for a look from another thread: it takes turns with the meter."""
        return self._bare

    # Its own services

    def _print_piece(self, request: Values, request_id: bytes, now: int) -> Values:
        if not self._compared:
            self._bring_up_to_date(now)
        day = _date(request["mailing_date"])
        table, postage = self._postage(request, day)
        asked = {
            "postage_mills": postage,
            "mailing_date": day.isoformat(),
            "mail_class": request["mail_class"],
            "weight": request["weight"],
            "destination": request["destination"],
            "reference": request["department"].encode(),
        }
        if len(request) > _PLAIN:
            asked |= {name: request[name] for name in ASKED_BESIDES if request.get(name)}
        piece = self._waiting.get(request_id) or self._store.find(request_id)
        if piece is None:
            self._check_nothing_lost()
            if self._complaint:
                raise IntegrityError(
                    self._complaint, hint="One of them was put back or altered; the PSD's log is what counts"
                )
            if not self._store.has_department(request["department"]):
                raise UnknownDepartment(
                    f"there is no department {request['department']!r}", hint="The meter lists its departments"
                )
            answer = self._session.execute("dispense", asked, request_id=request_id, now=now)
            piece = self._piece({**asked, **answer, "request_id": request_id})
            self._take_over(piece)
        elif self._asked(piece) != asked:
            raise RequestIdReused(
                "this request id printed another piece", hint="A retry repeats the whole request; else a new id"
            )
        return {
            "indicium": piece.indicium,
            "record": piece.record,
            "postage_mills": piece.postage_mills,
            "rate_table": table.version,
            **piece.registers(),
        }

    def _quote(self, request: Values, request_id: bytes, now: int) -> Values:
        table, postage = self._postage({**request, "declared_mills": 0}, _date(request["mailing_date"]))
        return {"postage_mills": postage, "rate_table": table.version}

    def _get_departments(self, request: Values, request_id: bytes, now: int) -> Values:
        self._store_waiting()  # totals that lack a piece would be wrong
        self._bring_up_to_date(now)
        found = list(itertools.islice(self._store.departments(request["from_department"]), _CHUNK + 1))
        return {
            "departments": [pack(d.values()) for d in found[:_CHUNK]],
            "next_department": found[_CHUNK].code if len(found) > _CHUNK else "",
        }

    def _refill(self, request: Values, request_id: bytes, now: int) -> Values:
        return self._through_centre("refill", request, request_id, now)

    def _check_in(self, request: Values, request_id: bytes, now: int) -> Values:
        self._make_safe(now)  # the receipt acknowledges the log, so what was in it must be safe here first
        reply = self._through_centre("check_in", request, request_id, now)
        if reply["reason"]:
            raise RefusedByProvider(
                f"the provider refuses the check-in: {reply['reason']}",
                hint="The status says what the device is locked for, and what clears it",
            )
        return reply

    def _cancel_refill(self, request: Values, request_id: bytes, now: int) -> Values:
        return self._through_centre("cancel_refill", request, request_id, now)

    def _withdraw(self, request: Values, request_id: bytes, now: int) -> Values:
        self._make_safe(now)  # what the PSD then states is its last word
        return self._through_centre("withdraw", request, request_id, now)

    def _through_centre(self, name: str, request: Values, request_id: bytes, now: int) -> Values:
        self._check_nothing_lost()
        centre, exchange = usable(self.centre, self._connection, self._regime), EXCHANGES[name]
        steps = derived(request_id, "begin"), derived(request_id, "complete")
        begun = self._session.execute(exchange.begin, request, request_id=steps[0], now=now)
        answer = {"message": exchange.send(centre, begun["message"])}
        return self._session.execute(exchange.complete, answer, request_id=steps[1], now=now)

    # Its helpers

    def _asked(self, piece: StoredPiece) -> dict[str, int | str | bytes]:
        """What the piece was asked for with; what is not in the database is in the indicium."""
        values = self._layout.unpack(piece.indicium).values
        return piece.asked() | {name: values[name] for name in ASKED_BESIDES if values.get(name)}

    def _look_again(self) -> None:
        """What the meter has to know of its PSD, which a new licence may change."""
        info = self._ask("get_info", {})
        self._utc_offset = int(info["utc_offset_minutes"])
        self._regime = Regime(info["regime"])

    def _ask(self, name: str, request: Values) -> Values:
        return self._psd.execute(name, request, request_id=b"", now=self._clock.now())

    def _postage(self, request: Values, day: date) -> tuple[RateTable, int]:
        table = self._rates.on(day)
        rate, declared = table.postage(request["mail_class"], request["weight"]), request["declared_mills"]
        if 0 < declared < rate:
            raise MoneyError(
                f"{dollars(declared)} is short-paid: the rate is {dollars(rate)}",
                hint="Leave the amount to the rate table",
            )
        return table, declared or rate

    def _take_over(self, piece: StoredPiece) -> None:
        # The piece is debited and its indicium must be answered, whatever becomes of the store.
        self._waiting[piece.request_id] = piece
        with contextlib.suppress(StorageFailed):
            self._store_waiting()

    def _store_waiting(self) -> None:
        if self._waiting:
            self._store.add(*self._waiting.values())
            self._waiting.clear()

    def _make_safe(self, now: int) -> None:
        """Raises `StorageFailed` where the log cannot be taken over now: a receipt would let go of what nobody has."""
        self._store_waiting()
        if not self._lost:
            self._complaint = ""  # what could not be read then may be readable now
        self._bring_up_to_date(now)
        self._store.sync()

    def _check_nothing_lost(self) -> None:
        """Raises `IntegrityError` where the store knows of more than the PSD. It only ever takes from the PSD's log, so
        that log has lost something: a report of such registers would make the loss official, and pay it out.
        """
        if self._lost:
            raise IntegrityError(
                self._complaint,
                hint="The provider's order lets it go on with what the database knows: pes-sim meter recover DIR",
            )

    def _bring_up_to_date(self, now: int) -> None:
        """Sees to it that the store holds what the PSD's registers say. Only where it does not, the log is read."""
        if self._complaint or self._ask("get_status", {})["state"] not in PSD_SERVICES["read_log"].states:
            return
        if self._lost_something():
            return
        if self._difference():
            with contextlib.suppress(NotAuthenticated, SelfTestFailed):  # said again to whoever needs the session
                self._catch_up(now)
                if not self._complaint:
                    self._carry_forward(now)
                    self._complaint = self._difference()
                self._compared = True
        else:
            self._compared = True

    def _catch_up(self, now: int) -> None:
        """Takes over from the PSD's log what a power cut, or a full disk, kept out of the store; also what lies behind
        a part of it that cannot be read. Raises `StorageFailed` where it may go well the next time.
        """
        following = self._store.complete_up_to() + 1
        while following and self._ask("get_status", {})["log_sequence"] >= following:
            try:
                answer = self._session.execute("read_log", {"first_record": following}, request_id=b"", now=now)
            except StorageFailed as problem:
                if "next_record" not in problem.detail:
                    raise
                self._complaint = f"the PSD's log cannot be read to the end: {problem.message}"
                following = int(str(problem.detail["next_record"]))
                continue
            entries = [unpack(entry) for entry in answer["entries"]]
            pieces = [self._piece(entry) for entry in entries if entry["piece_kind"] != PieceKind.REPRINT.label]
            for code in sorted({piece.department for piece in pieces}):
                if not self._store.has_department(code):
                    self._store.add_department(code, "(found in the PSD's log)")
            for piece in pieces:
                self._store.add(self._found_once(piece))
            following = answer["next_record"]

    def _found_once(self, piece: StoredPiece) -> StoredPiece:
        """A batch (which only the PSD's own port takes) is one request: its id finds its first piece alone."""
        first = self._store.find(piece.request_id)
        if first is None or first.record == piece.record:
            return piece
        return replace(piece, request_id=piece.request_id + piece.record.to_bytes(8, "big"))

    def _lost_something(self) -> bool:
        """Notes where the store knows more than the PSD."""
        registers = self._ask("get_registers", {})
        pieces, postage = self._store.totals()
        self._lost = pieces > registers["piece_count"] or postage > registers["ascending_mills"]
        if self._lost:
            self._compared = True
            self._complaint = (
                f"the meter's database knows {pieces} pieces of {dollars(postage)}, the PSD "
                f"{registers['piece_count']} of {dollars(registers['ascending_mills'])}: the PSD has lost a part of "
                "its log"
            )
        return self._lost

    def _difference(self) -> str:
        """What store and registers say, where it is not the same."""
        registers = self._ask("get_registers", {})
        pieces, postage = self._store.totals()
        if (pieces, postage) == (registers["piece_count"], registers["ascending_mills"]):
            return ""
        return (
            f"the meter's database holds {pieces} pieces of {dollars(postage)}, the PSD's registers say "
            f"{registers['piece_count']} of {dollars(registers['ascending_mills'])}"
        )

    def _carry_forward(self, now: int) -> None:
        """Where the database was lost, or an older one put back, after its pieces had left the PSD's log (the provider
        has acknowledged them, or they rotted): nothing but their number and their postage is known any more.
        """
        registers = self._ask("get_registers", {})
        pieces, postage = self._store.totals()
        missing = registers["piece_count"] - pieces, registers["ascending_mills"] - postage
        if missing[0] > 0 and missing[1] >= 0 and self._pieces_in_a_row(now) < registers["piece_count"]:
            self._store.carry(*missing)

    def _pieces_in_a_row(self, now: int) -> int:
        """So many pieces the PSD's log holds, from its very first on, without a gap. A recovery may have left one."""
        count, following = 0, 1
        while following:
            answer = self._session.execute("read_log", {"first_record": following}, request_id=b"", now=now)
            for entry in map(unpack, answer["entries"]):
                if entry["piece_kind"] != PieceKind.REPRINT.label:
                    if entry["piece_count"] != count + 1:
                        return count
                    count += 1
            following = answer["next_record"]
        return count

    def _piece(self, entry: Values) -> StoredPiece:
        values = self._layout.unpack(entry["indicium"]).values
        return StoredPiece(
            record=entry["record"],
            request_id=entry["request_id"],
            time=entry["device_time"],
            printed_on=today(entry["device_time"], self._utc_offset).isoformat(),
            department=_department(entry["reference"]),
            mailing_date=str(values["mailing_date"]),
            mail_class=str(values["mail_class"]),
            weight=int(values["weight"]),
            destination=str(values["destination"]),
            postage_mills=int(values["postage_mills"]),
            indicium=entry["indicium"],
            ascending_mills=entry["ascending_mills"],
            descending_mills=entry["descending_mills"],
            control_sum_mills=entry["control_sum_mills"],
            piece_count=entry["piece_count"],
            zero_piece_count=entry["zero_piece_count"],
        )


def _department(reference: bytes) -> str:
    """Who pays for a piece. The PSD's own port takes any reference: what is no code is all one department's."""
    with contextlib.suppress(ValueError):
        code = reference.decode()
        check(FIELDS["department"], code)
        if code.isprintable() and code:
            return code
    return _NOBODYS


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadDate(f"{text!r} is not a date", hint="Allowed: YYYY-MM-DD") from None
