"""The device's durable side: state, registers, time and log, recovered when it is opened, committed before an answer.

* `book`, `book_all` and `commit` are the only ways to change anything but a fault, and each is one durable write.
* The money invariants are checked at every commit and again at recovery.
* What a storage that cannot be trusted still holds (`wreck`) says who the device is, and is a lower bound of what it
  spent. It is never served from: only a log that the provider's order begins anew is.
* A log that ends before the last report was made is no whole log, whatever it looks like (`wreck`).
* The answer to a request id is remembered as far back as one whole segment of the log: some 4,000 pieces, or 160
  check-ins, refills or logins.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from pes_sim.errors import IntegrityError, PesError, StorageFailed
from pes_sim.psd import lifecycle, piece, state
from pes_sim.psd.head import NO_OLDER
from pes_sim.psd.lifecycle import Event, State
from pes_sim.psd.nvram import Nvram
from pes_sim.psd.piece import Piece
from pes_sim.psd.records import Kind, Record, original
from pes_sim.psd.registers import Registers, check_step
from pes_sim.psd.state import Answer, PsdState, Snapshot
from pes_sim.psd.storage import Storage
from pes_sim.psd.wreck import Wreck

_PIECE: Final = Kind.PIECE


class Books:
    """State, registers, the log's hash chain, as of the last commit; `time` also as of the last request.

    A storage that cannot be trusted does not raise: the state is ERROR then, `readable` is false, and the state is what
    was `salvaged`. `halted`: in an ERROR that ends with the power.
    """

    state: PsdState
    registers: Registers
    _answers: dict[bytes, Record]
    _newest: Record | None
    _nvram: Nvram | None

    def __init__(self, storage: Storage, key: bytes, bank: int) -> None:
        self._medium = (storage, key, bank)
        self._wreck = Wreck(storage, key, bank)
        self.halted = False
        self.salvaged: Snapshot | None = None
        """The newest state that a log which cannot be opened still holds, with the registers of the newest record."""
        self.found = 0
        """The number of that record."""
        self._forget()
        try:
            self._nvram = Nvram(storage, key, bank)
            self._check_report()
            for record in self._nvram.take_recovered():
                self._take(record)
            self.readable = True
            self._check_kept()
        except IntegrityError as problem:
            if not self.readable:
                self._forget()  # of a log that breaks off, nothing counts
                self._salvage()
            self.state = replace(self.state, lifecycle=State.ERROR, fault=problem.message)

    def _forget(self) -> None:
        self.state = PsdState()
        self.registers = Registers()
        self.time = 0
        self.last_dispense = 0
        self.reprints = 0
        self.chain = bytes(32)
        self.readable = False
        self._answers = {}
        self._newest = None
        self._unreported = False
        self._unkept: Record | None = None
        self._segments = ("", "")
        self._nvram = None

    @property
    def sequence(self) -> int:
        """Number of the newest record; 0 for a blank device."""
        return self._nvram.sequence if self._nvram else 0

    @property
    def repaired(self) -> int:
        """Copies of records that were mended when the storage was opened."""
        return self._nvram.repaired + self._wreck.repaired if self._nvram else 0

    # Changing

    def book(self, done: Piece) -> int:
        """Makes a debit durable; gives the number of its record. Raises `StorageFailed`, and then nothing changed."""
        check_step(self.registers, done.registers, pieces=done.counts)
        body, chain = piece.encode(done, self.chain)
        record = self._log().append(_PIECE, body, self._whole_state)
        self._note(done, chain)
        self._remember(done.request_id, record)
        return record.sequence

    def book_all(self, batch: Sequence[Piece]) -> int:
        """The same for several pieces of one request: all of them durable, in one write, or none. Gives the first."""
        bodies, chain, before = [], self.chain, self.registers
        for done in batch:
            check_step(before, done.registers, pieces=done.counts)
            body, chain = piece.encode(done, chain)
            bodies.append(body)
            before = done.registers
        record = self._log().append(Kind.BATCH, piece.join(bodies), self._whole_state, len(batch))
        self._note(batch[-1], chain)
        self._remember(batch[-1].request_id, record)
        return record.sequence

    def commit(self, after: PsdState, answer: Answer, refilled: int = 0, withdrawn: int = 0) -> None:
        """Makes a new state durable, with the answer it goes with, and what a refill adds or a withdrawal takes."""
        registers = self.registers.credit(refilled) if refilled else self.registers
        if withdrawn:
            registers = registers.withdraw()
        check_step(self.registers, registers, pieces=0, refilled=refilled, withdrawn=withdrawn)
        body = self._encoded(after, registers, answer)
        record = self._log().append(Kind.STATE, body, self._whole_state)
        self.state, self.registers = after, registers
        self._remember(answer.request_id, record)
        with contextlib.suppress(StorageFailed):  # the next one tries again
            self._log().reclaim(after.acknowledged)
        if self._unkept is not None:
            self._keep_found(self._unkept)

    def keep_report(self, answer: Answer) -> None:
        """Keeps a message that states the registers, with the state as of the last commit, where no rot of the log
        reaches it. As well as can be.
        """
        with contextlib.suppress(StorageFailed):
            self._wreck.keep_report(self._encoded(self.state, self.registers, answer), self.sequence)

    def _keep_found(self, record: Record) -> None:
        """The same for the newest such message in the log, where none was kept: by an older version, or for rot. Not
        when the power comes on, since looking at a device writes nothing.
        """
        self._unkept = None
        with contextlib.suppress(IntegrityError, StorageFailed):
            self._wreck.keep_report(self._log().reread(record).body, record.sequence)

    def begin_anew(self, begun: Snapshot, above: int) -> None:
        """Begins another log, with the snapshot `begun` as its first record and nothing before it, by a number above
        `above`. Raises `StorageFailed`; then the device is in ERROR as before, until the next power-on at least.
        """
        first = self._wreck.beyond(max(above, self.found, self.sequence))
        # What was before is settled by whoever ordered this: nothing of it waits to be acknowledged.
        begun = replace(begun, state=replace(begun.state, acknowledged=first - 1))
        self._wreck.begin_anew(first, state.encode(begun))
        opened = Books(*self._medium)  # from the medium, as the next power-on will
        if not opened.readable:
            raise IntegrityError(f"the log that was begun cannot be read: {opened.state.fault}")
        vars(self).update(vars(opened))

    def stop(self, fault: str) -> None:
        """State ERROR, written down if the storage still allows it."""
        if self.state.lifecycle in (State.ERROR, State.ZEROIZED):
            return
        after = lifecycle.after(self.state.lifecycle, Event.FAULT)
        self.state = replace(self.state, lifecycle=after, fault=fault)
        with contextlib.suppress(PesError):
            self.write_down()

    def halt(self, fault: str) -> None:
        """State ERROR until the power goes: what failed may be well again then, so nothing is written down."""
        if self.state.lifecycle is not State.ZEROIZED:
            self.halted = True
            self.state = replace(self.state, lifecycle=lifecycle.after(self.state.lifecycle, Event.FAULT), fault=fault)

    def write_down(self) -> None:
        """Makes the state durable as it is."""
        if self._nvram is not None:
            self._remember(b"", self._nvram.append(Kind.STATE, self._whole_state(), self._whole_state))

    # Looking back

    def last_known(self) -> Snapshot | None:
        """The newest state with the newest registers, of a log that can be read or one that cannot; None where nothing
        is left.
        """
        if not self.readable:
            return self.salvaged
        return state.decode(self._whole_state())

    def last_report(self) -> bytes:
        """The last message that stated the registers; empty when there is none that can be read."""
        try:
            report = self._wreck.report()
            reply = state.decode(report.body).answer.reply if report else {}
        except IntegrityError:
            return b""
        return bytes(reply.get("statement") or reply.get("message") or b"")

    def registers_twice(self) -> tuple[bytes, bytes]:
        """The registers in use, and as the newest record holds them, read again from the storage; encoded."""
        stored = Registers()
        if self._newest is not None:
            again = self._log().reread(self._newest)
            pieces = each_piece(again)
            stored = piece.decode(pieces[-1].body).registers if pieces else state.decode(again.body).registers
        return self.registers.encoded(), stored.encoded()

    def recall(self, request_id: bytes) -> Record | None:
        """The record that answered `request_id`, read again from the storage."""
        known = self._answers.get(request_id)
        return original(self._log().reread(known)) if known else None

    def find(self, sequence: int) -> Record | None:
        """The record of number `sequence`, if it is a piece that is kept."""
        found = next(self.pieces_from(sequence), None)
        return found if found is not None and found.sequence == sequence else None

    def pieces_from(self, sequence: int) -> Iterator[Record]:
        """The records of pieces from number `sequence` on."""
        for record in self._log().read_from(sequence):
            yield from (single for single in each_piece(record) if single.sequence >= sequence)

    def _log(self) -> Nvram:
        assert self._nvram is not None, "state ERROR serves nothing that needs the log"
        return self._nvram

    def _remember(self, request_id: bytes, place: Record) -> None:
        """Where the newest record lies (without what it holds), and the request that it answers, if one."""
        self._newest = place
        self._answers_with(request_id, place)

    def _answers_with(self, request_id: bytes, place: Record) -> None:
        if place.segment != self._segments[1]:
            self._segments = (self._segments[1], place.segment)
            self._answers = {key: old for key, old in self._answers.items() if old.segment in self._segments}
        if request_id:
            self._answers[request_id] = place

    def _whole_state(self) -> bytes:
        return self._encoded(self.state, self.registers, Answer())

    def _encoded(self, after: PsdState, registers: Registers, answer: Answer) -> bytes:
        return state.encode(
            Snapshot(after, registers, self.time, self.last_dispense, self.reprints, self.chain, answer)
        )

    def _note(self, done: Piece, chain: bytes) -> None:
        self.registers, self.chain, self.last_dispense = done.registers, chain, done.time
        self.reprints += 1 - done.counts

    # Recovery

    def _salvage(self) -> None:
        """Takes from a log that cannot be opened who the device is, and the newest registers. They are not served."""
        try:
            report = self._wreck.report()
            self.found, self.salvaged = _newest_of([*([report] if report else []), *self._wreck.salvage()])
        except IntegrityError:  # only a newer version knows it: an older record must not take its place
            return
        if self.salvaged is not None:
            self.state, self.time = self.salvaged.state, self.salvaged.time

    def _check_report(self) -> None:
        """A report is kept when its record is in the log, so that the log never ends before it."""
        end = self.sequence
        report = self._wreck.report(end)
        if report is not None and report.sequence > end:
            ends = f"the log ends at record {end}" if end else "the log is blank"
            raise IntegrityError(f"{ends}, before the last report, of record {report.sequence}", hint=NO_OLDER)
        self._unreported = report is None

    def _take(self, record: Record) -> None:
        if record.kind is Kind.STATE:
            self._take_state(record)
            return
        if record.kind is Kind.SALVAGED:  # of another log: it counts for nothing
            self._answers_with(piece.decode(each_piece(record)[0].body).request_id, record._replace(body=b""))
            return
        for single in each_piece(record):
            self._take_piece(single)
        self._remember(piece.decode(single.body).request_id, record._replace(body=b""))

    def _check_kept(self) -> None:
        """What the provider has not acknowledged must be there, however old."""
        oldest, wanted = self._log().oldest, self.state.acknowledged + 1
        if oldest > wanted:
            raise IntegrityError(
                f"records {wanted} to {oldest - 1} of the log are missing, and the provider has not acknowledged them",
                hint="Put the log's older segments back",
            )

    def _take_state(self, record: Record) -> None:
        found = state.decode(record.body)
        if self.time:
            moved = found.registers.control_sum - self.registers.control_sum
            if moved < 0 and found.state.lifecycle is not State.WITHDRAWN:
                raise IntegrityError(f"record {record.sequence} takes postage away without a withdrawal")
            check_step(self.registers, found.registers, pieces=0, refilled=max(0, moved), withdrawn=max(0, -moved))
        self.state, self.registers = found.state, found.registers
        self.time, self.chain = found.time, found.chain
        self.last_dispense, self.reprints = found.last_dispense, found.reprints
        self._remember(found.answer.request_id, record._replace(body=b""))
        if self._unreported and (found.answer.reply.get("message") or found.answer.reply.get("statement")):
            self._unkept = record._replace(body=b"")

    def _take_piece(self, record: Record) -> None:
        done = piece.decode(record.body)
        check_step(self.registers, done.registers, pieces=done.counts)
        body, chain = piece.encode(done, self.chain)
        if body != record.body:
            raise IntegrityError(f"the log's hash chain breaks at record {record.sequence}")
        self._note(done, chain)
        self.time = done.time


def _newest_of(records: Iterable[Record]) -> tuple[int, Snapshot | None]:
    """The newest state in records of a log, with the registers of the pieces after it; and the newest number."""
    found, known = 0, None
    for record in records:
        if record.kind in (Kind.STATE, Kind.REPORT):
            if record.sequence >= found:
                found, known = record.last, state.decode(record.body)
            continue
        for single in each_piece(record):
            if known is not None and single.sequence > found:
                done = piece.decode(single.body)
                found = single.sequence
                known = replace(known, registers=done.registers, time=done.time, last_dispense=done.time)
    return found, known


def each_piece(record: Record) -> list[Record]:
    """The pieces in a record, each as if it had one of its own, by its old number if it was salvaged; none in a state
    record.
    """
    record = original(record)
    if record.kind is Kind.PIECE:
        return [record]
    if record.kind is not Kind.BATCH:
        return []
    return [
        record._replace(sequence=record.sequence + index, kind=Kind.PIECE, body=body, numbers=1)
        for index, body in enumerate(piece.split(record.body))
    ]
