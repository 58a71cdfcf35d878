"""The meter as a device: it answers requests, takes postage from its PSD, and keeps each department's account.

* The PSD's record carries the department, so one durable write holds both the debit and who pays for it.
* A request id counts once, for ever: the same print request gets the same indicium again.
* Refill and check-in go through the meter's own connection to the data centre, and their steps take their request ids
  from the caller's, so that a retry after a cut finishes what was begun.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, Protocol

from pes_sim.clock import Clock
from pes_sim.errors import (
    BadDate,
    IntegrityError,
    LinkError,
    MoneyError,
    RequestIdReused,
    StorageFailed,
    UnknownDepartment,
    UnknownService,
)
from pes_sim.indicium.layout import Layout
from pes_sim.meter.rates import RateBook, RateTable
from pes_sim.meter.services import BY_NAME, PASSED_THROUGH, SERVICES
from pes_sim.meter.store import MeterStore, StoredPiece
from pes_sim.money import dollars
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values, check_all, pack, unpack
from pes_sim.psd.lifecycle import State
from pes_sim.psd.piece import today
from pes_sim.psd.services import Service

_CHUNK: Final = 6
"""Departments in one answer: they fit the smallest frame, whatever their names are written in."""


class Centre(Protocol):
    """The connection to the provider's data centre: signed bytes out, signed bytes back."""

    def refill(self, request: bytes) -> bytes: ...

    def check_in(self, report: bytes) -> bytes: ...


class MeterDevice:
    """A meter over its PSD, its store and its rates. `centre` is None while its LAN is unplugged."""

    kind = "meter"
    services: Mapping[int, Service] = {service.code: service for service in SERVICES}

    def __init__(
        self, psd: Psd, store: MeterStore, rates: RateBook, layout: Layout, clock: Clock, centre: Centre | None
    ) -> None:
        self._psd = psd
        self._store = store
        self._rates = rates
        self._layout = layout
        self._clock = clock
        self.centre = centre
        self._turn = threading.RLock()
        self._own: Mapping[str, Callable[[Values, bytes, int], Values]] = {
            "print_piece": self._print_piece,
            "quote": self._quote,
            "get_departments": self._get_departments,
            "refill": self._refill,
            "check_in": self._check_in,
        }
        self._waiting: dict[bytes, StoredPiece] = {}
        """Pieces that are paid, and that the store would not take yet; by request id."""
        self._complaint = ""
        """What is wrong between store and PSD; empty when nothing is."""
        self._utc_offset = int(self._ask("get_info", {})["utc_offset_minutes"])
        if self._ask("get_status", {})["state"] != State.ERROR:
            self._catch_up()
            self._compare_books()

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        """The answer to one request; see `Psd.execute`. Requests from several ports take turns."""
        if name not in BY_NAME:
            raise UnknownService(f"a meter has no service {name!r}")
        with self._turn:
            if name in PASSED_THROUGH:
                return self._psd.execute(name, request, request_id=request_id, now=now)
            check_all(BY_NAME[name].request, request)
            return self._own[name](request, request_id, now)

    # Its own services

    def _print_piece(self, request: Values, request_id: bytes, now: int) -> Values:
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
        piece = self._waiting.get(request_id) or self._store.find(request_id)
        if piece is None:
            if self._complaint:
                raise IntegrityError(
                    self._complaint, hint="One of them was put back or altered; the PSD's log is what counts"
                )
            if not self._store.has_department(request["department"]):
                raise UnknownDepartment(
                    f"there is no department {request['department']!r}", hint="The meter lists its departments"
                )
            answer = self._psd.execute("dispense", asked, request_id=request_id, now=now)
            piece = self._piece({**asked, **answer, "request_id": request_id})
            self._take_over(piece)
        elif any(piece.asked()[name] != value for name, value in asked.items()):
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
        found = list(itertools.islice(self._store.departments(request["from_department"]), _CHUNK + 1))
        return {
            "departments": [pack(d.values()) for d in found[:_CHUNK]],
            "next_department": found[_CHUNK].code if len(found) > _CHUNK else "",
        }

    def _refill(self, request: Values, request_id: bytes, now: int) -> Values:
        return self._through_centre("refill", request, request_id, now, lambda centre: centre.refill)

    def _check_in(self, request: Values, request_id: bytes, now: int) -> Values:
        self._store_waiting()
        self._store.sync()  # the receipt acknowledges the log, so what was in it must be safe here first
        return self._through_centre("checkin", request, request_id, now, lambda centre: centre.check_in)

    def _through_centre(
        self,
        name: str,
        request: Values,
        request_id: bytes,
        now: int,
        exchange: Callable[[Centre], Callable[[bytes], bytes]],
    ) -> Values:
        if self.centre is None:
            raise LinkError("the meter has no connection to its data centre", hint="Plug the LAN in")
        begun = self._psd.execute(f"{name}_begin", request, request_id=_derived(request_id, "begin"), now=now)
        reply = exchange(self.centre)(begun["message"])
        return self._psd.execute(
            f"{name}_complete", {"message": reply}, request_id=_derived(request_id, "complete"), now=now
        )

    # Its helpers

    def _postage(self, request: Values, day: date) -> tuple[RateTable, int]:
        table = self._rates.on(day)
        rate, declared = table.postage(request["mail_class"], request["weight"]), request["declared_mills"]
        if 0 < declared < rate:
            raise MoneyError(
                f"{dollars(declared)} is short-paid: the rate is {dollars(rate)}",
                hint="Leave the amount to the rate table",
            )
        return table, declared or rate

    def _ask(self, name: str, request: Values) -> Values:
        return self._psd.execute(name, request, request_id=b"", now=self._clock.now())

    def _take_over(self, piece: StoredPiece) -> None:
        # The piece is debited and its indicium must be answered, whatever becomes of the store.
        self._waiting[piece.request_id] = piece
        with contextlib.suppress(StorageFailed):
            self._store_waiting()

    def _store_waiting(self) -> None:
        if self._waiting:
            self._store.add(*self._waiting.values())
            self._waiting.clear()

    def _catch_up(self) -> None:
        """Takes over from the PSD's log what a power cut, or a full disk, kept out of the store."""
        following = self._store.complete_up_to() + 1
        while following and self._ask("get_status", {})["log_sequence"] >= following:
            answer = self._ask("read_log", {"first_record": following})
            entries = [unpack(entry) for entry in answer["entries"]]
            pieces = [self._piece(entry) for entry in entries]
            for code in sorted({piece.department for piece in pieces}):
                if not self._store.has_department(code):
                    self._store.add_department(code, "(found in the PSD's log)")
            self._store.add(*pieces)
            following = answer["next_record"]

    def _compare_books(self) -> None:
        registers = self._ask("get_registers", {})
        pieces, postage = self._store.totals()
        if (pieces, postage) != (registers["piece_count"], registers["ascending_mills"]):
            self._complaint = (
                f"the meter's database holds {pieces} pieces of {dollars(postage)}, the PSD's registers say "
                f"{registers['piece_count']} of {dollars(registers['ascending_mills'])}"
            )

    def _piece(self, entry: Values) -> StoredPiece:
        values = self._layout.unpack(entry["indicium"]).values
        return StoredPiece(
            record=entry["record"],
            request_id=entry["request_id"],
            time=entry["device_time"],
            printed_on=today(entry["device_time"], self._utc_offset).isoformat(),
            department=entry["reference"].decode(),
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


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadDate(f"{text!r} is not a date", hint="Allowed: YYYY-MM-DD") from None


def _derived(request_id: bytes, step: str) -> bytes:
    return hashlib.sha256(request_id + step.encode()).digest()[:16]
