"""The meter's store as a projection of its PSD's log: it takes over what is in the log, and tells where they disagree.

* The PSD's log is what counts. What a power cut kept out of the store comes from it again.
* A store that knows of more than the PSD tells of a log that has lost something: nothing is printed or reported then.
* What cannot be stored now is answered all the same, and stored before anything lets go of it.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Final

from pes_sim.clock import Clock
from pes_sim.errors import IntegrityError, NotAuthenticated, SelfTestFailed, StorageFailed
from pes_sim.indicium.layout import Layout
from pes_sim.meter.session import Session
from pes_sim.meter.store import MeterStore, StoredPiece
from pes_sim.money import dollars
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import BY_NAME as FIELDS
from pes_sim.psd.fields import Values, check, unpack
from pes_sim.psd.piece import PieceKind, today
from pes_sim.psd.services import BY_NAME as PSD_SERVICES

_NOBODYS: Final = "?"
"""The department of pieces that bear no department's code."""


class Projection:
    """What the store has of the PSD's log. `utc_offset`: the PSD's, in minutes; its licence may change it."""

    def __init__(self, psd: Psd, session: Session, store: MeterStore, layout: Layout, clock: Clock) -> None:
        self._psd = psd
        self._session = session
        self._store = store
        self._layout = layout
        self._clock = clock
        self.utc_offset = 0
        self._waiting: dict[bytes, StoredPiece] = {}
        """Pieces that are paid, and that the store would not take yet; by request id."""
        self.complaint = ""
        """What is wrong between store and PSD; empty when nothing is, or nobody has looked yet."""
        self.lost = False
        """Whether that is a part of the PSD's log that it has lost: the store knows more than it."""
        self._compared = False

    def begin_anew(self) -> None:
        """What was wrong before is looked at once more: the PSD goes on with another log."""
        self.complaint, self.lost, self._compared = "", False, False

    def find(self, request_id: bytes) -> StoredPiece | None:
        """The piece that a request has printed."""
        return self._waiting.get(request_id) or self._store.find(request_id)

    def compare(self, now: int) -> None:
        """Brings it up to date, unless that was done before."""
        if not self._compared:
            self.bring_up_to_date(now)

    def check_agrees(self) -> None:
        """Raises `IntegrityError` where store and PSD do not say the same: no new piece is printed then."""
        self.check_nothing_lost()
        if self.complaint:
            raise IntegrityError(
                self.complaint, hint="One of them was put back or altered; the PSD's log is what counts"
            )

    def take_over(self, entry: Values) -> StoredPiece:
        """A piece that was just dispensed. It is debited and its indicium must be answered, whatever becomes of the
        store.
        """
        piece = self._piece(entry)
        self._waiting[piece.request_id] = piece
        with contextlib.suppress(StorageFailed):
            self.store_waiting()
        return piece

    def store_waiting(self) -> None:
        """Stores pieces that the store would not take before. Raises `StorageFailed`."""
        if self._waiting:
            self._store.add(*self._waiting.values())
            self._waiting.clear()

    def make_safe(self, now: int) -> None:
        """Raises `StorageFailed` where the log cannot be taken over now: a receipt would let go of what nobody has."""
        self.store_waiting()
        if not self.lost:
            self.complaint = ""  # what could not be read then may be readable now
        self.bring_up_to_date(now)
        self._store.sync()

    def check_nothing_lost(self) -> None:
        """Raises `IntegrityError` where the store knows of more than the PSD. It only ever takes from the PSD's log, so
        that log has lost something: a report of such registers would make the loss official, and pay it out.
        """
        if self.lost:
            raise IntegrityError(
                self.complaint,
                hint="The provider's order lets it go on with what the database knows: pes-sim meter recover DIR",
            )

    def bring_up_to_date(self, now: int) -> None:
        """Sees to it that the store holds what the PSD's registers say. Only where it does not, the log is read."""
        if self.complaint or self._ask("get_status", {})["state"] not in PSD_SERVICES["read_log"].states:
            return
        if self._lost_something():
            return
        if self._difference():
            with contextlib.suppress(NotAuthenticated, SelfTestFailed):  # said again to whoever needs the session
                self._catch_up(now)
                if not self.complaint:
                    self._carry_forward(now)
                    self.complaint = self._difference()
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
                self.complaint = f"the PSD's log cannot be read to the end: {problem.message}"
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
        self.lost = pieces > registers["piece_count"] or postage > registers["ascending_mills"]
        if self.lost:
            self._compared = True
            self.complaint = (
                f"the meter's database knows {pieces} pieces of {dollars(postage)}, the PSD "
                f"{registers['piece_count']} of {dollars(registers['ascending_mills'])}: the PSD has lost a part of "
                "its log"
            )
        return self.lost

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
            printed_on=today(entry["device_time"], self.utc_offset).isoformat(),
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

    def _ask(self, name: str, request: Values) -> Values:
        return self._psd.execute(name, request, request_id=b"", now=self._clock.now())


def _department(reference: bytes) -> str:
    """Who pays for a piece. The PSD's own port takes any reference: what is no code is all one department's."""
    with contextlib.suppress(ValueError):
        code = reference.decode()
        check(FIELDS["department"], code)
        if code.isprintable() and code:
            return code
    return _NOBODYS
