"""Whether what a PSD reports can be true, given what was granted to it and what it reported before. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pes_sim.errors import RefusedByProvider
from pes_sim.money import dollars
from pes_sim.provider.registry import Registered
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Lock

BOOKS: Final = frozenset({Lock.REGISTER_FAULT, Lock.ROLLBACK_FOUND})
"""Locks that only end when somebody has looked at the books: the device's log, and the provider's."""
_LOOK: Final = ". Both logs have to be looked at"
_LONGEST: Final = 200
"""Characters of a reason, which is a field of a message."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong, and the lock that it deserves."""

    text: str
    lock: Lock


def judge(known: Registered, values: Values, *, under_way: int = 0) -> list[Complaint]:
    """What is wrong with the registers in a message of a PSD that is `known`. An older image put back shows.

    `under_way`: what was granted for the refill that it says it waits for. Only a check-in may come meanwhile; a refill
    request may not (one at a time). Only for messages in their order: a late one says what was true when it was made;
    nor for one from before a recovery.
    """
    control_sum, granted, least = values["control_sum_mills"], known.granted_mills - under_way, known.least
    behind = Lock.ROLLBACK_FOUND if control_sum < granted else Lock.REGISTER_FAULT
    rules = (
        (values["ascending_mills"] + values["descending_mills"] == control_sum,
         "AR + DR is not the control sum", Lock.REGISTER_FAULT),
        (values["ascending_mills"] >= least["ascending_mills"], "the ascending register fell", Lock.ROLLBACK_FOUND),
        (values["piece_count"] >= least["piece_count"], "the piece count fell", Lock.ROLLBACK_FOUND),
        (values["zero_piece_count"] >= least["zero_piece_count"], "the count of zero-value pieces fell",
         Lock.ROLLBACK_FOUND),
        (control_sum >= least["control_sum_mills"], "the control sum fell", Lock.ROLLBACK_FOUND),
        (values.get("log_sequence", known.log_sequence) >= known.log_sequence, "the log got shorter",
         Lock.ROLLBACK_FOUND),
        (not known.last_report or known.last_report in values.get("reports", [known.last_report]),
         "the log is not the one that was reported", Lock.ROLLBACK_FOUND),
        (control_sum == granted,
         f"the control sum is {dollars(control_sum)}, refills come to {dollars(granted)}", behind),
    )  # fmt: skip
    return [Complaint(text, lock) for holds, text, lock in rules if not holds]


def unrecoverable(known: Registered, registers: Values) -> str:
    """Why a PSD that is `known` cannot go on with `registers` after a recovery; empty where it can. What was only
    ordered of it before says nothing: that may have been a slip, and was never confirmed.
    """
    spent = registers["ascending_mills"] - known.ascending_mills
    pieces = registers["piece_count"] - known.piece_count
    zero = registers["zero_piece_count"] - known.zero_piece_count
    rules = (
        (spent >= 0, "the ascending register is below what it last reported"),
        (pieces >= 0, "the piece count is below what it last reported"),
        (0 <= zero <= pieces, "the count of zero-value pieces does not fit"),
        (spent == 0 or pieces > zero, "postage was used without a piece"),
        (registers["descending_mills"] >= 0, "more was used than was granted"),
    )
    return next((complaint for holds, complaint in rules if not holds), "")


def possible(psd: Registered, printed: Values, what: str) -> Values:
    """The registers of a PSD that has `printed` so much. Raises `RefusedByProvider` where that cannot be true."""
    registers = printed | {
        "descending_mills": psd.granted_mills - printed["ascending_mills"], "control_sum_mills": psd.granted_mills,
    }  # fmt: skip
    if complaint := unrecoverable(psd, registers):
        raise RefusedByProvider(
            f"PSD {psd.psd_serial} cannot {what}: {complaint}",
            hint=f"It has reported {dollars(psd.ascending_mills)} used in {psd.piece_count} pieces, "
            f"{psd.zero_piece_count} of them of zero value; {dollars(psd.granted_mills)} were granted",
            ascending_mills=psd.ascending_mills, piece_count=psd.piece_count, zero_piece_count=psd.zero_piece_count,
        )  # fmt: skip
    return registers


def cancellation_fits(known: Registered, values: Values, amount: int) -> bool:
    """Whether a PSD that cancels a refill of `amount`, which was granted, can have done without the money.

    Its control sum alone tells: the rest of a cancellation was true when it was made, and that may be long ago.
    """
    without = known.granted_mills - amount
    return bool(values["control_sum_mills"] == without >= known.control_sum_mills)


def text_of(complaints: Sequence[Complaint]) -> str:
    """All of them, as a message gives its reason."""
    ending = _LOOK if any(complaint.lock in BOOKS for complaint in complaints) else ""
    return shortened("; ".join(complaint.text for complaint in complaints), ending)


def shortened(text: str, ending: str = "") -> str:
    """`text` with its `ending`, no longer than a reason may be."""
    return text[: _LONGEST - len(ending)] + ending
