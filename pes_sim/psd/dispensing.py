"""Indicia: each kind of piece is checked, debited, signed, made durable, and only then given out.

* The same request id gives the same bytes: they stand in the record, whatever key signs by now.
* A full log stops dispensing; nothing in it is dropped before the provider has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pes_sim.errors import BadDate, FieldError, IdBeyondReach, LogFull, PesError, RefusedInState
from pes_sim.indicium.layout import Layout
from pes_sim.psd import piece
from pes_sim.psd.books import Books, each_piece
from pes_sim.psd.fields import Values, check_all, fields, unpack
from pes_sim.psd.keys import KeyStore, Slot
from pes_sim.psd.piece import Piece, PieceKind, Printer
from pes_sim.psd.records import Kind, Record
from pes_sim.psd.registers import Registers

KIND_OF: Final[Mapping[str, PieceKind]] = {
    "dispense": PieceKind.STANDARD,
    "redate": PieceKind.DATE_CORRECTION,
    "correct_amount": PieceKind.AMOUNT_CORRECTION,
    "reprint": PieceKind.REPRINT,
}
"""The services that make one piece."""
BATCH: Final = "dispense_batch"
_DATE_CORRECTION: Final = PieceKind.DATE_CORRECTION
_REPRINT: Final = PieceKind.REPRINT
_INDICIUM: Final = Slot.INDICIUM
SPENDING: Final = frozenset({*KIND_OF, BATCH})
_ASKED_IN_A_BATCH: Final = fields("postage_mills mailing_date mail_class weight destination reference")
_BESIDES_IN_A_BATCH: Final = fields("tracking_number extra_services")
LOG_LIMIT: Final = 1_000_000
"""Records that may wait for the provider's acknowledgement."""


class Dispenser:
    """Makes pieces by one layout, from the books and with the keys of one device."""

    def __init__(self, books: Books, keys: KeyStore, layout: Layout, log_limit: int = LOG_LIMIT) -> None:
        self._books = books
        self._keys = keys
        self._layout = layout
        self._log_limit = log_limit
        signing = piece.signing(layout)
        self._mac_length = signing.length if signing.slot is Slot.MAC else 0
        """Bytes that are printed of a MAC; 0 where indicia are signed."""
        self._printer: Printer | None = None

    def renew(self) -> None:
        """After a change of what indicia bear: the licence, the certificate."""
        self._printer = None

    def dispense(self, name: str, request: Values, request_id: bytes) -> Values:
        """A new piece for one of the services `KIND_OF`. Commits, then answers."""
        self._check_open(name, len(request["pieces"]) if name == BATCH else 1)
        if name == BATCH:
            return self._batch(request, request_id)
        kind = KIND_OF[name]
        if kind is _REPRINT:
            done = self._reprint(request, request_id)
        else:
            done = self._new(kind, request, request_id, self._books.registers)
        return self._answer(self._books.book(done), done)

    def _check_open(self, name: str, records: int) -> None:
        books = self._books
        if books.state.withdrawal.nonce:
            sub_state = books.state.sub_state
            raise RefusedInState(
                f"sub-state {sub_state} does not allow {name}", hint="Complete the withdrawal", state=sub_state.value
            )
        waiting = books.sequence - books.state.acknowledged
        if waiting + records > self._log_limit:
            raise LogFull(
                f"{waiting} records wait for the provider's acknowledgement, of {self._log_limit} that may",
                hint="A check-in has them acknowledged; until then nothing is dispensed", waiting=waiting,
            )  # fmt: skip

    def _batch(self, request: Values, request_id: bytes) -> Values:
        batch, registers = [], self._books.registers
        for number, item in enumerate(request["pieces"]):
            try:
                asked = unpack(item)
                check_all(_ASKED_IN_A_BATCH, asked, _BESIDES_IN_A_BATCH)
                done = self._new(PieceKind.STANDARD, asked, request_id, registers)
            except PesError as refusal:
                refusal.message = f"piece {number} of the batch: {refusal.message}"
                refusal.detail["piece"] = number
                raise
            batch.append(done)
            registers = done.registers
        if not batch:
            raise FieldError("a batch has at least one piece", field="pieces")
        return self._answer_all(self._books.book_all(batch), batch)

    def again(self, record: Record) -> Values:
        """The answer that a record of pieces stands for."""
        batch = [piece.decode(single.body) for single in each_piece(record)]
        if record.kind is Kind.BATCH:
            return self._answer_all(record.sequence, batch)
        return self._answer(record.sequence, batch[0])

    def same(self, record: Record, name: str, request: Values) -> bool:
        """Whether the record was made for this request."""
        batch = [piece.decode(single.body) for single in each_piece(record)]
        if record.kind is Kind.BATCH:
            if name != BATCH:
                return False
            asked = [_without_empty(unpack(item)) for item in request["pieces"]]
            return [self._asked(done) for done in batch] == asked
        done = batch[0]
        if KIND_OF.get(name) is not done.kind:
            return False
        if done.kind is PieceKind.REPRINT:
            return request == {"original": done.original}
        return self._asked(done) == {"postage_mills": 0} | _without_empty(request)

    def _asked(self, done: Piece) -> Values:
        """The request that a piece was made for."""
        values = self._layout.unpack(done.signed + bytes(self._layout.signature.length)).values
        besides = {name: values[name] for name in piece.ASKED_BESIDES if values.get(name)}
        return {"reference": done.reference} | {name: values[name] for name in piece.ASKED} | besides

    def entry(self, record: Record) -> Values:
        """The entry of the log for people and programs outside, by the fields of `services.LOG_ENTRY`."""
        done = piece.decode(record.body)
        return {
            "record": record.sequence,
            "piece_kind": done.kind.label,
            "original": done.original,
            "request_id": done.request_id,
            "device_time": done.time,
            "reference": done.reference,
            "indicium": done.indicium,
            "chain": piece.chain_after(record.body),
            **done.registers.values(),
        }

    def _new(self, kind: PieceKind, request: Values, request_id: bytes, before: Registers) -> Piece:
        books = self._books
        if kind is _DATE_CORRECTION:
            request = request | {"postage_mills": 0}
        else:
            piece.check_postage(request["postage_mills"])
        piece.check_date(request["mailing_date"], books.time, books.state.utc_offset_minutes)
        after = before.debit(request["postage_mills"])
        signed = self._print().signed_bytes(request, after)
        signature = self._mac(signed) if self._mac_length else self._keys.sign(_INDICIUM, signed)
        return Piece(kind, request_id, books.time, after, request["reference"], signed, signature)

    def _mac(self, signed: bytes) -> bytes:
        if not self._keys.has(Slot.MAC):
            raise RefusedInState(
                "no key for the MAC of an indicium was loaded", hint="The provider loads it: load_key, slot mac"
            )
        return self._keys.mac(Slot.MAC, signed)[: self._mac_length]

    def _reprint(self, request: Values, request_id: bytes) -> Piece:
        books, number = self._books, request["original"]
        record = books.find(number)
        if record is None:
            raise IdBeyondReach(f"record {number} is no piece that the log still holds", hint="read_log lists them")
        spoiled = piece.decode(record.body)
        if spoiled.kind is PieceKind.REPRINT:
            raise IdBeyondReach(
                f"record {number} is a reprint itself", hint=f"Reprint the piece: record {spoiled.original}"
            )
        bears = str(self._layout.unpack(spoiled.indicium).values["mailing_date"])
        if bears < (today := piece.today(books.time, books.state.utc_offset_minutes).isoformat()):
            raise BadDate(f"the piece is dated {bears}, and today is {today}", hint="Redate it instead", today=today)
        return spoiled._replace(
            kind=PieceKind.REPRINT, request_id=request_id, time=books.time, registers=books.registers, original=number
        )

    def _answer(self, record: int, done: Piece) -> Values:
        return {
            "indicium": done.indicium,
            "record": record,
            "device_time": done.time,
            **done.registers.values(),
        }

    def _answer_all(self, first: int, batch: Sequence[Piece]) -> Values:
        return {
            "indicia": [done.indicium for done in batch],
            "record": first,
            "device_time": batch[-1].time,
            **batch[-1].registers.values(),
        }

    def _print(self) -> Printer:
        if self._printer is None:
            s = self._books.state
            self._printer = Printer(
                self._layout,
                psd_serial=s.psd_serial,
                certificate_serial=s.certificate_serial,
                origin_zip=s.licensing_zip,
                software_id=s.software.software_id,
            )
        return self._printer


def _without_empty(request: Values) -> Values:
    """A request where what may be left out is left out when it is empty, which is the same."""
    return {name: value for name, value in request.items() if value or name not in piece.ASKED_BESIDES}
