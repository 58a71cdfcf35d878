"""The registers, and the invariants that hold at every commit (money first).

AR never falls. AR + DR = control sum. DR never below zero. Piece count + 1 per indicium, and none without its debit.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from pes_sim.errors import InsufficientFunds, IntegrityError, RegisterLimit
from pes_sim.money import dollars

ASCENDING_LIMIT: Final = (1 << 40) - 1
DESCENDING_LIMIT: Final = (1 << 32) - 1
PIECE_LIMIT: Final = (1 << 32) - 1
REGISTERS: Final = ("ascending_mills", "descending_mills", "control_sum_mills", "piece_count", "zero_piece_count")
"""All of them, by the names that they have in replies and messages."""
REGISTER_FIELDS: Final = " ".join(REGISTERS)
_ENCODED: Final = struct.Struct("<5Q")


class Registers(NamedTuple):  # not a dataclass: one is made for every debit, and a tuple costs a third
    """All of them, in mills and pieces. Immutable: a change is a new value that `check_step` has seen."""

    ascending: int = 0
    descending: int = 0
    control_sum: int = 0
    pieces: int = 0
    zero_pieces: int = 0

    def debit(self, postage: int) -> Registers:
        """After one indicium of `postage` mills. Raises `InsufficientFunds` or `RegisterLimit`."""
        if postage > self.descending:
            missing = postage - self.descending
            raise InsufficientFunds(
                f"{dollars(postage)} asked, {dollars(self.descending)} available, {dollars(missing)} missing",
                hint="Refill the meter",
                missing_mills=missing, available_mills=self.descending, asked_mills=postage,
            )  # fmt: skip
        if self.ascending + postage > ASCENDING_LIMIT or self.pieces >= PIECE_LIMIT:
            raise RegisterLimit("the ascending register or the piece count is full", hint="Withdraw the device")
        return Registers(
            self.ascending + postage,
            self.descending - postage,
            self.control_sum,
            self.pieces + 1,
            self.zero_pieces + (postage == 0),
        )

    def credit(self, amount: int) -> Registers:
        """After a refill of `amount` mills. Raises `RegisterLimit`."""
        if self.descending + amount > DESCENDING_LIMIT or self.control_sum + amount > ASCENDING_LIMIT:
            raise RegisterLimit(
                f"{dollars(amount)} on top of {dollars(self.descending)} is more than the register holds",
                hint=f"At most {dollars(DESCENDING_LIMIT)} in all",
                limit_mills=DESCENDING_LIMIT,
            )
        return Registers(
            self.ascending, self.descending + amount, self.control_sum + amount, self.pieces, self.zero_pieces
        )

    def withdraw(self) -> Registers:
        """After the whole descending register was paid back."""
        return Registers(self.ascending, 0, self.ascending, self.pieces, self.zero_pieces)

    def encoded(self) -> bytes:
        """As bytes that differ when any of them does."""
        return _ENCODED.pack(*self)

    def values(self) -> dict[str, int]:
        """By the names of the protocol's fields."""
        return {
            "ascending_mills": self.ascending,
            "descending_mills": self.descending,
            "control_sum_mills": self.control_sum,
            "piece_count": self.pieces,
            "zero_piece_count": self.zero_pieces,
        }


def check_step(before: Registers, after: Registers, *, pieces: int, refilled: int = 0, withdrawn: int = 0) -> None:
    """Whether `after` may follow `before` by `pieces` indicia, a refill, a withdrawal. Raises `IntegrityError`."""
    spent = after.ascending - before.ascending
    rules = (
        ("the ascending register fell", spent >= 0),
        ("the descending register is below zero", after.descending >= 0),
        ("AR + DR is not the control sum", after.ascending + after.descending == after.control_sum),
        (
            "the control sum changed by something else than a refill or a withdrawal",
            after.control_sum == before.control_sum + refilled - withdrawn,
        ),
        ("a withdrawal left something", not withdrawn or after.descending == 0),
        ("the piece count does not match the indicia", after.pieces == before.pieces + pieces),
        ("postage left without an indicium", pieces > 0 or spent == 0),
        ("the zero-value count does not match", 0 <= after.zero_pieces - before.zero_pieces <= pieces),
    )
    for complaint, holds in rules:
        if not holds:
            raise IntegrityError(f"money invariant broken: {complaint}", hint="The device stops; report this")
