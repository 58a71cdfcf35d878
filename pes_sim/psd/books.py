"""The device's durable side: state, registers, time and log, recovered when it is opened, committed before an answer.

* `book` and `commit` are the only ways to change anything, and each is one durable write.
* The money invariants are checked at every commit and again at recovery.
* The answer to a request id is remembered as far back as one whole segment of the log: some 5,400 pieces, or 380
  check-ins and refills.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from pes_sim.errors import IntegrityError, PesError
from pes_sim.psd import lifecycle, piece, state
from pes_sim.psd.lifecycle import Event, State
from pes_sim.psd.nvram import Kind, Nvram, Record
from pes_sim.psd.piece import Piece
from pes_sim.psd.registers import Registers, check_step
from pes_sim.psd.state import Answer, PsdState, Snapshot
from pes_sim.psd.storage import Storage


class Books:
    """`state`, `registers` and `time` as of the last commit (`time` also as of the last request).

    A storage that cannot be trusted does not raise: the state is ERROR then, and `readable` is false.
    """

    def __init__(self, storage: Storage, key: bytes, bank: int) -> None:
        self.state = PsdState()
        self.registers = Registers()
        self.time = 0
        self.readable = False
        self._chain = bytes(32)
        self._answers: dict[bytes, Record] = {}
        self._segments = ("", "")
        self._nvram: Nvram | None = None
        try:
            self._nvram = Nvram(storage, key, bank)
            for record in self._nvram.take_recovered():
                self._take(record)
            self.readable = True
        except IntegrityError as problem:
            self.state = replace(self.state, lifecycle=State.ERROR, fault=problem.message)

    @property
    def sequence(self) -> int:
        """Number of the newest record; 0 for a blank device."""
        return self._nvram.sequence if self._nvram else 0

    @property
    def repaired(self) -> int:
        """Copies of records that were mended when the storage was opened."""
        return self._nvram.repaired if self._nvram else 0

    # Changing

    def book(self, done: Piece) -> int:
        """Makes a debit durable; gives the number of its record. Raises `StorageFailed`, and then nothing changed."""
        check_step(self.registers, done.registers, pieces=1)
        body, chain = piece.encode(done, self._chain)
        record = self._log().append(Kind.PIECE, body, self._whole_state)
        self.registers, self._chain = done.registers, chain
        self._remember(done.request_id, record)
        return record.sequence

    def commit(self, after: PsdState, answer: Answer, refilled: int = 0) -> None:
        """Makes a new state durable, with the answer it goes with and what a refill adds."""
        registers = self.registers.credit(refilled) if refilled else self.registers
        check_step(self.registers, registers, pieces=0, refilled=refilled)
        body = state.encode(Snapshot(after, registers, self.time, self._chain, answer))
        record = self._log().append(Kind.STATE, body, self._whole_state)
        self.state, self.registers = after, registers
        if answer.request_id:
            self._remember(answer.request_id, record)

    def stop(self, fault: str) -> None:
        """State ERROR, written down if the storage still allows it."""
        if self.state.lifecycle is State.ERROR:
            return
        after = lifecycle.after(self.state.lifecycle, Event.FAULT)
        self.state = replace(self.state, lifecycle=after, fault=fault)
        with contextlib.suppress(PesError):
            self._log().append(Kind.STATE, self._whole_state(), self._whole_state)

    # Looking back

    def recall(self, request_id: bytes) -> Record | None:
        """The record that answered `request_id`, read again from the storage."""
        known = self._answers.get(request_id)
        return self._log().reread(known) if known else None

    def pieces_from(self, sequence: int) -> Iterator[Record]:
        """The records of pieces from number `sequence` on."""
        return (record for record in self._log().read_from(sequence) if record.kind is Kind.PIECE)

    def _log(self) -> Nvram:
        assert self._nvram is not None, "state ERROR serves nothing that needs the log"
        return self._nvram

    def _remember(self, request_id: bytes, record: Record) -> None:
        if record.segment != self._segments[1]:
            self._segments = (self._segments[1], record.segment)
            self._answers = {key: old for key, old in self._answers.items() if old.segment in self._segments}
        # Where it lies, without what it holds.
        self._answers[request_id] = Record(
            record.sequence, record.kind, b"", record.segment, record.offset, record.span
        )

    def _whole_state(self) -> bytes:
        return state.encode(Snapshot(self.state, self.registers, self.time, self._chain, Answer()))

    # Recovery

    def _take(self, record: Record) -> None:
        if record.kind is Kind.STATE:
            self._take_state(record)
        else:
            self._take_piece(record)

    def _take_state(self, record: Record) -> None:
        found = state.decode(record.body)
        if self.time:
            refilled = found.registers.control_sum - self.registers.control_sum
            check_step(self.registers, found.registers, pieces=0, refilled=max(0, refilled))
        self.state, self.registers = found.state, found.registers
        self.time, self._chain = found.time, found.chain
        if found.answer.request_id:
            self._remember(found.answer.request_id, record)

    def _take_piece(self, record: Record) -> None:
        done = piece.decode(record.body)
        check_step(self.registers, done.registers, pieces=1)
        body, chain = piece.encode(done, self._chain)
        if body != record.body:
            raise IntegrityError(f"the log's hash chain breaks at record {record.sequence}")
        self.registers, self.time, self._chain = done.registers, done.time, chain
        self._remember(done.request_id, record)
