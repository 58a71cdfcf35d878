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
from datetime import date
from typing import Final

from pes_sim.clock import Clock
from pes_sim.errors import (
    BadDate,
    IntegrityError,
    MoneyError,
    RefusedByProvider,
    RequestIdReused,
    StorageFailed,
    UnknownDepartment,
    UnknownService,
)
from pes_sim.indicium.layout import Layout
from pes_sim.link.bare import BarePsd
from pes_sim.meter.connection import EXCHANGES, Centre, Connection, derived, usable
from pes_sim.meter.projection import Projection
from pes_sim.meter.rates import RateBook, RateTable
from pes_sim.meter.services import BY_NAME, PASSED_THROUGH, SERVICES
from pes_sim.meter.session import Session
from pes_sim.meter.store import MeterStore, StoredPiece
from pes_sim.money import dollars
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values, check_all, pack
from pes_sim.psd.piece import ASKED_BESIDES
from pes_sim.psd.policy import Regime
from pes_sim.psd.registers import Registers
from pes_sim.psd.selftest import TestName
from pes_sim.psd.services import Service

_MOVES_MONEY: Final = frozenset(name for exchange in EXCHANGES.values() for name in (exchange.begin, exchange.complete))
"""Services of the PSD that report its registers to the provider, or change them."""
_REPORTS: Final = frozenset({EXCHANGES["check_in"].begin, EXCHANGES["withdraw"].begin})
"""Services of the PSD that report its log to the provider."""
_PLAIN: Final = len(BY_NAME["print_piece"].request)
"""Fields of a print request that asks for nothing besides."""
_CHUNK: Final = 6
"""Departments in one answer: they fit the smallest frame, whatever their names are written in."""


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
        self._projection = Projection(psd, self._session, store, layout, clock)
        self._look_again()
        with contextlib.suppress(IntegrityError, StorageFailed):  # said again to whoever needs the store, or the PSD
            self._projection.bring_up_to_date(clock.now())

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        """The answer to one request; see `Psd.execute`. Requests from several ports take turns."""
        if name not in BY_NAME:
            raise UnknownService(f"a meter has no service {name!r}")
        with self._turn:
            if name in PASSED_THROUGH:
                if name in _REPORTS:
                    self._projection.make_safe(now)  # what the answer acknowledges may leave the PSD's log
                if name in _MOVES_MONEY:
                    self._projection.check_nothing_lost()
                answer = self._session.execute(name, request, request_id=request_id, now=now)
                if name in ("reauthorize", "recover"):
                    self._look_again()
                if name == "recover":
                    self._projection.begin_anew()
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
        return self._projection.complaint

    @property
    def lost(self) -> bool:
        """Whether that is a part of the PSD's log that it has lost."""
        return self._projection.lost

    @property
    def psd(self) -> BarePsd:
        """Its PSD, for a port of its own, or for a look from another thread: it takes turns with the meter."""
        return self._bare

    # Its own services

    def _print_piece(self, request: Values, request_id: bytes, now: int) -> Values:
        self._projection.compare(now)
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
        piece = self._projection.find(request_id)
        if piece is None:
            self._projection.check_agrees()
            if not self._store.has_department(request["department"]):
                raise UnknownDepartment(
                    f"there is no department {request['department']!r}", hint="The meter lists its departments"
                )
            answer = self._session.execute("dispense", asked, request_id=request_id, now=now)
            piece = self._projection.take_over({**asked, **answer, "request_id": request_id})
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
        self._projection.store_waiting()  # totals that lack a piece would be wrong
        self._projection.bring_up_to_date(now)
        found = list(itertools.islice(self._store.departments(request["from_department"]), _CHUNK + 1))
        return {
            "departments": [pack(d.values()) for d in found[:_CHUNK]],
            "next_department": found[_CHUNK].code if len(found) > _CHUNK else "",
        }

    def _refill(self, request: Values, request_id: bytes, now: int) -> Values:
        return self._through_centre("refill", request, request_id, now)

    def _check_in(self, request: Values, request_id: bytes, now: int) -> Values:
        self._projection.make_safe(now)  # the receipt acknowledges the log, so what was in it must be safe here first
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
        self._projection.make_safe(now)  # what the PSD then states is its last word
        return self._through_centre("withdraw", request, request_id, now)

    def _through_centre(self, name: str, request: Values, request_id: bytes, now: int) -> Values:
        self._projection.check_nothing_lost()
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
        info = self._psd.execute("get_info", {}, request_id=b"", now=self._clock.now())
        self._projection.utc_offset = int(info["utc_offset_minutes"])
        self._regime = Regime(info["regime"])

    def _postage(self, request: Values, day: date) -> tuple[RateTable, int]:
        table = self._rates.on(day)
        rate, declared = table.postage(request["mail_class"], request["weight"]), request["declared_mills"]
        if 0 < declared < rate:
            raise MoneyError(
                f"{dollars(declared)} is short-paid: the rate is {dollars(rate)}",
                hint="Leave the amount to the rate table",
            )
        return table, declared or rate


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadDate(f"{text!r} is not a date", hint="Allowed: YYYY-MM-DD") from None
