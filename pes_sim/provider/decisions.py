"""What a PSD's message is answered: grant, receipt or refusal, and what is booked for it.

Every call works inside the caller's transaction, in which the answer is kept as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pes_sim.errors import RefusedByProvider
from pes_sim.provider.answers import Answer, Answers
from pes_sim.provider.judgement import Complaint, cancellation_fits, judge, shortened, text_of
from pes_sim.provider.ledger import Ledger
from pes_sim.provider.registry import Registered, Registry
from pes_sim.psd.checkin import report_mark
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Lock
from pes_sim.psd.registers import REGISTERS

if TYPE_CHECKING:
    from sqlalchemy import Connection

_REFUSAL: Final[Mapping[str, str]] = {
    "refill_request": "refill_refusal",
    "checkin_report": "checkin_refusal",
    "withdrawal_request": "withdrawal_refusal",
    "refill_cancellation": "refill_refusal",
}
_SETTLED: Final = Complaint("its postage was settled: the device is out of service", Lock.PROVIDER)
_WITHDRAWN: Final = Complaint("the device was withdrawn from service", Lock.PROVIDER)


@dataclass(frozen=True, slots=True)
class Decision:
    """The kind of an answer, what it says besides, and for a grant: which account paid, and how much."""

    kind: str
    fields: Values
    paid_by: str = ""
    amount_mills: int = 0


Decide = Callable[["Connection", Registered, Values, int], Decision]
"""Decides about a message of a PSD, at an instant."""


class Decider:
    """Judges what PSDs ask for, and books it."""

    def __init__(self, registry: Registry, answers: Answers, ledger: Ledger) -> None:
        self._registry = registry
        self._answers = answers
        self._ledger = ledger

    def refill(self, connection: Connection, psd: Registered, values: Values, now: int) -> Decision:
        """A grant of what was asked for, where the account holds it."""
        complaints = self._complaints(connection, psd, values)
        if complaints:
            return _refused("refill_request", complaints)
        amount = values["amount_mills"]
        self._note_registers(connection, psd, values)
        try:
            self._ledger.withdraw_for_refill(connection, psd.customer, amount, now, psd.psd_serial)
        except RefusedByProvider as refusal:
            return Decision("refill_refusal", {"reason": shortened(str(refusal))})
        self._registry.update(connection, psd.psd_serial, granted_mills=psd.granted_mills + amount)
        return Decision("refill_grant", {"amount_mills": amount}, psd.customer, amount)

    def check_in(self, connection: Connection, psd: Registered, values: Values, now: int) -> Decision:
        """A receipt for what was reported."""
        complaints = self._complaints(connection, psd, values, self._under_way(connection, psd, values))
        if complaints:
            return _refused("checkin_report", complaints)
        self._note_registers(connection, psd, values)
        mark = report_mark(values["log_sequence"], values["chain"])
        self._registry.update(connection, psd.psd_serial, log_sequence=values["log_sequence"], last_report=mark)
        return Decision("checkin_receipt", {"acknowledged": values["log_sequence"]})

    def withdrawal(self, connection: Connection, psd: Registered, values: Values, now: int) -> Decision:
        """A grant, with what the PSD holds paid back. Nothing follows it."""
        complaints = self._complaints(connection, psd, values)
        if complaints:
            return _refused("withdrawal_request", complaints)
        amount, what = values["amount_mills"], f"withdrawal of PSD {psd.psd_serial}"
        if amount != values["descending_mills"]:
            return Decision("withdrawal_refusal", {"reason": "the amount is not the descending register"})
        self._note_registers(connection, psd, values)
        self._ledger.pay_back(connection, psd.customer, amount, now, what)
        self._registry.update(connection, psd.psd_serial, granted_mills=psd.granted_mills - amount, withdrawn=1)
        return Decision("withdrawal_grant", {"amount_mills": amount})

    def cancellation(
        self, connection: Connection, psd: Registered, values: Values, now: int, granted: Answer | None
    ) -> Decision:
        """The end of a refill. What was `granted` for it goes back to who paid it, unless the PSD has had it."""
        reason = "cancelled by the device"
        if granted is not None and not cancellation_fits(psd, values, granted.amount_mills):
            complaint = Complaint("a refill was cancelled that the registers say was booked", Lock.REGISTER_FAULT)
            self._suspect(connection, psd, [complaint])
            reason = text_of([complaint])
        elif granted is not None:
            amount, what = granted.amount_mills, f"cancelled refill of PSD {psd.psd_serial}"
            self._ledger.pay_back(connection, granted.paid_by, amount, now, what)
            self._registry.update(connection, psd.psd_serial, granted_mills=psd.granted_mills - amount)
        return Decision("refill_refusal", {"reason": reason})

    def over(self, psd: Registered, values: Values, kind: str) -> Decision | None:
        """The refusal of whatever can have no money and no receipt any more, whatever it was answered before; None for
        a message of a device as the provider knows it.

        Nothing is suspicious in the device that serves: this may be from an older image, or have been kept back. Who
        sends it as a check-in locks himself.
        """
        number = values["message_number"]
        before = f"message {number} is from before the recovery that was ordered: of an older image, or of a device "
        rules = (
            (psd.settled is not None, _SETTLED),
            (bool(psd.withdrawn) and kind != "withdrawal_request", _WITHDRAWN),  # one may ask for its grant again
            (psd.is_from_before(number), Complaint(before + "that was never given the order", Lock.ROLLBACK_FOUND)),
        )
        complaint = next((complaint for holds, complaint in rules if holds), None)
        return None if complaint is None else _refused(kind, [complaint])

    def late(self, connection: Connection, psd: Registered, values: Values, kind: str) -> Decision:
        """A refusal that says nothing against the device; what was asked would stay pending without it.

        Unless another message had this number: a device that counts again from before was rolled back.
        """
        number = values["message_number"]
        if self._answers.has_number(connection, psd.psd_serial, number):
            complaint = Complaint(f"two different messages have the number {number}", Lock.ROLLBACK_FOUND)
            self._suspect(connection, psd, [complaint])
            return _refused(kind, [complaint])
        reason = f"message {number} of PSD {psd.psd_serial} comes after {psd.message_number}: late, or replayed"
        return _refused(kind, [], f"{reason}. Begin again")

    def drawn_again(self, connection: Connection, psd: Registered) -> Decision:
        """The refusal of a report whose nonce another message of this PSD had: it was rolled back."""
        complaint = Complaint("two different messages have the same nonce", Lock.ROLLBACK_FOUND)
        self._suspect(connection, psd, [complaint])
        return _refused("checkin_report", [complaint])

    def _under_way(self, connection: Connection, psd: Registered, values: Values) -> int:
        """What was granted for the refill that a device says it waits for; 0 where it waits for none that was."""
        nonce = values["refill_nonce"]
        granted = self._answers.find(connection, psd.psd_serial, nonce) if nonce else None
        return granted.amount_mills if granted is not None and granted.kind == "refill_grant" else 0

    def _complaints(
        self, connection: Connection, psd: Registered, values: Values, under_way: int = 0
    ) -> list[Complaint]:
        """Why a PSD gets no more than a refusal; nothing for one whose books agree. What is new is noted."""
        if psd.withdrawn:
            # Nothing is suspicious in a device that waits for its grant; but one that was put back must not go on.
            return [_WITHDRAWN]
        complaints = judge(psd, values, under_way=under_way)
        if complaints:
            self._suspect(connection, psd, complaints)
        elif psd.suspicion:
            complaints = [Complaint(psd.suspicion, Lock.REGISTER_FAULT)]
        return complaints

    def _suspect(self, connection: Connection, psd: Registered, complaints: Sequence[Complaint]) -> None:
        text = "; ".join(complaint.text for complaint in complaints)
        self._registry.update(connection, psd.psd_serial, suspicion=text)

    def _note_registers(self, connection: Connection, psd: Registered, values: Values) -> None:
        self._registry.update(connection, psd.psd_serial, **{name: values[name] for name in REGISTERS})


def _refused(asked: str, complaints: Sequence[Complaint], reason: str = "") -> Decision:
    """The refusal of what was `asked`; that of a check-in names the locks that the complaints deserve."""
    fields: Values = {"reason": reason or text_of(complaints)}
    if asked == "checkin_report":
        fields["lock_reasons"] = sorted({complaint.lock.value for complaint in complaints})
    return Decision(_REFUSAL[asked], fields)


def told(decision: Decision, values: Values, known: Values) -> Values:
    """What an answer repeats of a PSD's message. A refused check-in tells the device what is `known` of its registers:
    whether it was rolled back, it finds for itself.
    """
    return values | known if decision.kind == "checkin_refusal" else values
