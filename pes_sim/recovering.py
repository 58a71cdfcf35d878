"""What becomes of a virtual meter that has lost its registers: the provider brings it back, or settles it.

Whoever says what was printed is held against what the meter's database and its PSD still show; without anybody's word
the database is the evidence.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pes_sim.controls import Controls
from pes_sim.errors import (
    BadMessage,
    IntegrityError,
    PesError,
    RefusedByProvider,
    RefusedInState,
    StorageFailed,
    UsageError,
)
from pes_sim.meter.meter import Caller, MeterStatus
from pes_sim.meter.services import BY_NAME
from pes_sim.meter.store import MeterStore
from pes_sim.money import dollars
from pes_sim.psd.lifecycle import Lock, State


@dataclass(frozen=True, slots=True)
class PrintedSoFar:
    """What a meter has printed in its life: postage in mills, pieces, and how many of these were of zero value."""

    ascending_mills: int
    piece_count: int
    zero_piece_count: int = 0


class Recovering(Controls):
    """A meter in this process that can be recovered and settled."""

    if TYPE_CHECKING:

        def _new_caller(self) -> Caller: ...

    def recover(self, printed: PrintedSoFar | None = None) -> MeterStatus:
        """Has the provider bring back a meter whose PSD has lost its registers, a part of its log, or the provider's
        trust: an older image, or an order that it was never given. It is locked then, until `unlock`.

        `printed` is what it printed in its life. Without it the meter's own database is the evidence. Raises
        `UsageError` where that is none, or knows of more; `RefusedByProvider` or `BadMessage` for less than the meter
        has reported, or than its PSD can still read; `RefusedInState` where there is nothing to recover.
        """
        self._check_recoverable()
        told = self._told(printed, "recover")
        serial, challenge = self._home.config.psd_serial, self._caller.call("challenge", {})
        try:
            message = self.centre.recover(serial, challenge, **asdict(told))
            self._caller.call("recover", {"message": message})
        except (RefusedByProvider, BadMessage) as problem:
            self._say_the_least(problem)
            raise
        self._caller = self._new_caller()  # what a seed gave after records that are lost, it must not give again
        return self.status()

    @property
    def complaint(self) -> str:
        """What is wrong between the meter's database and its PSD, as far as anybody has looked; empty for nothing."""
        return self._device.complaint

    @property
    def lost(self) -> bool:
        """Whether that is a part of the PSD's log that it has lost; `recover` is the way out."""
        return self._device.lost

    def settle(self, printed: PrintedSoFar | None = None) -> int:
        """Has the provider settle a meter that cannot come back: gives what was paid back, in mills. For good.

        `printed` as for `recover`, and it raises for the same reasons; `RefusedInState` for a meter that can serve.
        """
        state = self.status().state
        if state in (State.OPERATIONAL, State.LOCKED) and self._home.secret():
            raise RefusedInState(
                f"the meter is {state}: it can be withdrawn, and then states itself what is left",
                hint="pes-sim meter withdraw DIR", state=state,
            )  # fmt: skip
        told = self._told(printed, "settle")
        spent = self._device.spent
        if told.ascending_mills < spent.ascending or told.piece_count < spent.pieces:
            raise UsageError(
                f"the PSD's registers show {spent.pieces} pieces of {dollars(spent.ascending)}, more than that",
                hint="What was printed is at least what it can still read",
            )
        return self.centre.settle(self._home.config.psd_serial, **asdict(told))

    def printed_by_database(self) -> PrintedSoFar | None:
        """What the meter's database shows to have been printed; None where it is no evidence. What the PSD's own port
        printed since the meter last looked, and what was printed after the newest piece in it, is not in there.
        """
        self.departments()  # pieces that wait for the database are taken over first, or this raises
        found = self._home.store.evidence()
        return PrintedSoFar(*found) if found else None

    def _check_recoverable(self) -> None:
        status = self.status()
        if status.state not in BY_NAME["recover"].states:
            raise RefusedInState(f"the meter is {status.state}: there is nothing to recover", state=status.state)
        if not self.info()["psd_serial"]:
            raise IntegrityError(
                f"nothing is left in {self._home.directory / 'psd'} that says which PSD this is, and nothing can be "
                "recovered",
                hint="The provider can settle it: pes-sim meter settle DIR --used DOLLARS --pieces N",
            )
        if status.state == State.ERROR or {Lock.ROLLBACK_FOUND, Lock.REGISTER_FAULT} & set(status.lock_reasons):
            return
        with contextlib.suppress(StorageFailed):
            self.departments()  # compares database and registers
        if not (self.complaint or self.centre.waits_for(self._home.config.psd_serial)):
            raise RefusedInState(f"the meter is {status.state}: there is nothing to recover", state=status.state)

    def _told(self, printed: PrintedSoFar | None, command: str) -> PrintedSoFar:
        """What was printed, by whoever says it, or by the meter's database. Raises `UsageError` where that knows of
        more, or is no evidence; one that cannot be read knows of nothing.
        """
        told = printed or self.printed_by_database()
        if told is None:
            raise UsageError(
                "the meter's database does not show what was printed: it is empty, or pieces are missing in it",
                hint=f"Say what was printed: pes-sim meter {command} DIR --used DOLLARS --pieces N [--zero-pieces N]",
            )
        check_database(self._home.store, told)
        return told

    def _say_the_least(self, problem: PesError) -> None:
        """Adds what would be enough, as far as provider, PSD and database know, to a refusal of too little."""
        if "ascending_mills" not in problem.detail:
            return
        names = PrintedSoFar.__slots__
        known = [[int(str(problem.detail.get(name, 0))) for name in names]]
        with contextlib.suppress(StorageFailed):
            pieces, postage = self._home.store.totals()
            known.append([postage, pieces, 0])
        used, pieces, zero = (max(values) for values in zip(*known, strict=True))
        problem.hint += (
            f". At least: pes-sim meter recover DIR --used {dollars(used)[1:].replace(',', '')} --pieces {pieces}"
            f" --zero-pieces {zero}"
        )


def check_database(store: MeterStore, told: PrintedSoFar) -> None:
    """Raises `UsageError` where a meter's database shows more than was told; one that cannot be read shows nothing."""
    try:
        pieces, postage = store.totals()
    except StorageFailed:
        return
    if told.ascending_mills < postage or told.piece_count < pieces:
        raise UsageError(
            f"the meter's database shows {pieces} pieces of {dollars(postage)}, more than that",
            hint="What was printed is at least what is in there",
        )
