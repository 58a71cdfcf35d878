"""What a PSD must answer, plainly: no storage, no keys, no signatures, nothing that can be cut.

A `Reference` says of each request what comes of it. What it cannot know (signatures, nonces, numbers of records) it is
told when the device has answered. Where a cut leaves open whether a request was carried out, two of them go on side by
side, and the device's next answers tell which was right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pes_sim.clock import DAY, HOUR, iso
from pes_sim.errors import Status
from pes_sim.psd.fields import Values, unpack

USER: Final = "customer's meter"
PROVIDER: Final = "provider"
LOCKS: Final = {
    "rollback found": Status.LOCKED_ROLLBACK_FOUND,
    "register fault": Status.LOCKED_REGISTER_FAULT,
    "provider lock": Status.LOCKED_BY_PROVIDER,
    "check-in overdue": Status.LOCKED_CHECKIN_OVERDUE,
}
"""In the order in which a refusal looks at them."""
KINDS: Final = {
    "dispense": "standard", "dispense_batch": "standard", "redate": "date correction",
    "correct_amount": "amount correction", "reprint": "reprint",
}  # fmt: skip
SPENDING: Final = frozenset(KINDS)
ORDERS: Final = frozenset({"refill_complete", "withdraw_complete", "checkin_complete", "lock", "unlock"})
UNLOCKED: Final = SPENDING | {"refill_begin"}
MESSAGES: Final = {
    "refill_begin": "refill_request", "refill_cancel": "refill_cancellation", "checkin_begin": "checkin_report",
    "withdraw_begin": "withdrawal_request", "withdraw_complete": "withdrawal_statement", "audit": "audit_report",
}  # fmt: skip
"""What the device signs, by the service that asks for it."""
SENT: Final = {
    "refill_begin": "refill", "refill_cancel": "cancellation", "withdraw_begin": "withdrawal",
    "checkin_begin": "checkin",
}  # fmt: skip
SHOWN: Final = ("postage_mills", "mailing_date", "mail_class", "weight", "destination")
SERVED_AS: Final = {
    "dispense": "spend", "dispense_batch": "spend", "redate": "spend", "correct_amount": "spend",
    "lock": "obey", "unlock": "obey",
}  # fmt: skip
LIMIT: Final = (1 << 32) - 1


class Refused(Exception):
    """By the reference: with which status."""

    def __init__(self, status: Status) -> None:
        self.status = status


@dataclass(frozen=True)
class Request:
    """One request. `said`: what a provider's message in it says; `forged`: that message is signed by somebody else."""

    service: str
    values: dict[str, Any]
    request_id: bytes
    said: dict[str, Any] = field(default_factory=dict)
    forged: bool = False


@dataclass(frozen=True)
class Pending:
    """A message of the device that waits for its answer. What nobody has seen yet is empty."""

    number: int
    amount: int = 0
    nonce: bytes = b""
    message: bytes = b""


@dataclass(frozen=True)
class Entry:
    """One entry of the log: `shows` is what the indicium says in clear."""

    request_id: bytes
    kind: str
    shows: dict[str, Any]
    registers: dict[str, int]
    reference: bytes
    original: int = 0
    indicium: bytes = b""
    record: int = 0


@dataclass(frozen=True)
class Expected:
    """Of an answer: what it holds; what the indicia in it show; what the device's message in it says. Or the answer."""

    values: dict[str, Any]
    entries: tuple[Entry, ...] = ()
    says: dict[str, Any] | None = None
    exactly: Values | None = None


@dataclass
class Reference:
    """A device. Amounts in mills, instants in microseconds.

    `sequence` and `oldest` are told: the newest record of the log, and the oldest that is kept.
    """

    limit: int
    last_receipt: int
    registers: dict[str, int]
    reprints: int = 0
    state: str = "OPERATIONAL"
    locks: tuple[str, ...] = ()
    refill: Pending | None = None
    cancellation: Pending | None = None
    withdrawal: Pending | None = None
    checkin: Pending | None = None
    checkin_begun: int = 0
    number: int = 0
    acknowledged: int = 0
    sequence: int = 0
    oldest: int = 1
    log: tuple[Entry, ...] = ()
    answered: dict[bytes, tuple[Request, Expected]] = field(default_factory=dict)
    places: dict[bytes, int] = field(default_factory=dict)
    """Of what was answered: the record that was the newest then."""
    role: str = ""
    challenge: tuple[bytes, int] = (b"", 0)
    challenged: int = 0

    def copy(self, **changes: Any) -> Reference:
        """Another one, which goes its own way."""
        copies: dict[str, Any] = {"answered": {**self.answered}, "places": {**self.places}}
        return replace(self, **(copies | changes))

    def power_cycle(self) -> Reference:
        """Nobody is logged in, and no challenge waits."""
        return self.copy(role="", challenge=(b"", 0))

    @property
    def sub_state(self) -> str:
        if self.refill:
            return "REFILL_CANCELLED" if self.cancellation else "REFILL_PENDING"
        return "WITHDRAWAL_PENDING" if self.withdrawal else ""

    def tick(self, now: int) -> None:
        """What time alone brings."""
        if self.state != "WITHDRAWN" and now - self.last_receipt >= 72 * HOUR:
            self.lock(["check-in overdue"])

    def lock(self, reasons: Sequence[str]) -> None:
        self.locks = tuple(name for name in LOCKS if name in {*self.locks, *reasons})
        if self.locks and self.state == "OPERATIONAL":
            self.state = "LOCKED"

    def unlock(self, reasons: Sequence[str]) -> None:
        self.locks = tuple(name for name in self.locks if name not in reasons)
        if not self.locks and self.state == "LOCKED":
            self.state = "OPERATIONAL"

    # One request

    def execute(self, request: Request, now: int, *, remembers: bool) -> Expected:
        """What the answer must be. Raises `Refused`. `remembers`: whether it still knows an id that it answered."""
        self.tick(now)
        known = self.answered.get(request.request_id) if remembers else None
        if known is None:
            self.check_state(request.service)
        if request.service not in ORDERS and self.role != (PROVIDER if request.service == "audit" else USER):
            raise Refused(Status.NOT_AUTHENTICATED)
        if known is not None:
            asked, expected = known
            if (asked.service, asked.values) != (request.service, request.values):
                raise Refused(Status.REQUEST_ID_REUSED)
            return expected
        if request.service in ORDERS:
            self.check_order(request, now)
        if request.service in SPENDING:
            self.check_open(len(request.values["pieces"]) if "pieces" in request.values else 1)
        serve: Callable[[Request, int], Expected] = getattr(self, SERVED_AS.get(request.service, request.service))
        expected = serve(request, now)
        self.answered[request.request_id] = (request, expected)
        self.places.pop(request.request_id, None)
        return expected

    def check_state(self, service: str) -> None:
        if self.state == "WITHDRAWN" and service not in ("unlock", "audit"):
            raise Refused(Status.REFUSED_IN_STATE)
        if self.state == "LOCKED" and service in UNLOCKED:
            raise Refused(LOCKS[self.locks[0]])

    def check_order(self, request: Request, now: int) -> None:
        said, name = request.said, request.service
        if request.forged:
            raise Refused(Status.BAD_SIGNATURE)
        if name in ("lock", "unlock"):
            waits = self.challenge if self.challenge[0] and now - self.challenged <= HOUR else None
        else:
            slot = {"refill_complete": self.refill, "withdraw_complete": self.withdrawal}.get(name, self.checkin)
            waits = (slot.nonce, slot.number) if slot else None
        if waits is None:
            raise Refused(Status.NOTHING_PENDING)
        if waits != (said["nonce"], said["message_number"]):
            raise Refused(Status.STALE_MESSAGE)
        own = self.registers
        if any(said[known] > own[known] for known in ("ascending_mills", "piece_count")):
            self.lock(["rollback found"])
            raise Refused(LOCKS[self.locks[0]])

    def check_open(self, pieces: int) -> None:
        if self.withdrawal:
            raise Refused(Status.REFUSED_IN_STATE)
        if self.sequence - self.acknowledged + pieces > self.limit:
            raise Refused(Status.LOG_FULL)

    # Postage

    def spend(self, request: Request, now: int) -> Expected:
        """Every kind of piece but a reprint."""
        asked = request.values
        items = [unpack(item) for item in asked["pieces"]] if "pieces" in asked else [asked]
        registers, made = self.registers, []
        for item in items:
            postage = item.get("postage_mills", 0)
            if postage == 0 and request.service != "redate":
                raise Refused(Status.BAD_POSTAGE)
            if not date(now) <= item["mailing_date"] <= date(now + 30 * DAY):
                raise Refused(Status.BAD_DATE)
            if postage > registers["descending_mills"]:
                raise Refused(Status.INSUFFICIENT_FUNDS)
            registers = {
                "ascending_mills": registers["ascending_mills"] + postage,
                "descending_mills": registers["descending_mills"] - postage,
                "control_sum_mills": registers["control_sum_mills"],
                "piece_count": registers["piece_count"] + 1,
                "zero_piece_count": registers["zero_piece_count"] + (postage == 0),
            }
            shows = {"postage_mills": 0} | {name: item[name] for name in SHOWN if name in item}
            shows |= {name: registers[name] for name in ("piece_count", "ascending_mills", "descending_mills")}
            kind = KINDS[request.service]
            made.append(Entry(request.request_id, kind, shows, registers, item["reference"]))
        if not made:
            raise Refused(Status.BAD_FIELD)
        self.registers, self.log = registers, (*self.log, *made)
        return Expected(registers, tuple(made))

    def reprint(self, request: Request, now: int) -> Expected:
        number = request.values["original"]
        spoiled = next((entry for entry in self.log if entry.record == number), None)
        if spoiled is None or spoiled.record < self.oldest or spoiled.kind == "reprint":
            raise Refused(Status.ID_BEYOND_REACH)
        if spoiled.shows["mailing_date"] < date(now):
            raise Refused(Status.BAD_DATE)
        done = replace(spoiled, request_id=request.request_id, kind="reprint", original=number, record=0,
                       registers=self.registers)  # fmt: skip
        self.log, self.reprints = (*self.log, done), self.reprints + 1
        return Expected(self.registers, (done,))

    # Exchanges with the provider

    def begin(self, amount: int = 0) -> Pending:
        self.number += 1
        return Pending(self.number, amount)

    def says(self, pending: Pending, **more: Any) -> Expected:
        return Expected({}, says={"message_number": pending.number} | self.registers | more)

    def refill_begin(self, request: Request, _: int) -> Expected:
        amount = request.values["amount_mills"]
        if self.withdrawal or self.cancellation or (self.refill and self.refill.amount != amount):
            raise Refused(Status.REFILL_PENDING)
        if self.refill:
            return again(self.refill)
        if amount == 0:
            raise Refused(Status.BAD_POSTAGE)
        if self.registers["descending_mills"] + amount > LIMIT:
            raise Refused(Status.REGISTER_LIMIT)
        self.refill = self.begin(amount)
        return self.says(self.refill, amount_mills=amount)

    def refill_cancel(self, _: Request, __: int) -> Expected:
        if not self.refill:
            raise Refused(Status.NOTHING_PENDING)
        if self.cancellation:
            return again(self.cancellation)
        self.cancellation = self.refill
        return self.says(replace(self.refill, message=b""), amount_mills=self.refill.amount)

    def refill_complete(self, request: Request, _: int) -> Expected:
        assert self.refill is not None
        granted = request.said.get("amount_mills")
        if granted is not None and (granted != self.refill.amount or self.cancellation):
            raise Refused(Status.BAD_MESSAGE)
        self.refill = self.cancellation = None
        self.registers = self.moved(granted or 0)
        return Expected({"amount_mills": granted or 0} | self.registers)

    def moved(self, amount: int) -> dict[str, int]:
        own = self.registers
        moved = {name: own[name] + amount for name in ("descending_mills", "control_sum_mills")}
        return own | moved

    def withdraw_begin(self, _: Request, __: int) -> Expected:
        if self.refill:
            raise Refused(Status.REFILL_PENDING)
        if self.withdrawal:
            return again(self.withdrawal)
        self.withdrawal = self.begin(self.registers["descending_mills"])
        return self.says(self.withdrawal, amount_mills=self.withdrawal.amount)

    def withdraw_complete(self, request: Request, _: int) -> Expected:
        granted = request.said.get("amount_mills")
        if granted is None:
            self.withdrawal = None
            return Expected({"amount_mills": 0, "statement": b""} | self.registers)
        if granted != self.registers["descending_mills"]:
            raise Refused(Status.BAD_MESSAGE)
        self.withdrawal, self.state, self.registers = None, "WITHDRAWN", self.moved(-granted)
        return Expected({"amount_mills": granted} | self.registers, says=self.registers | {"amount_mills": granted})

    def checkin_begin(self, _: Request, now: int) -> Expected:
        self.checkin, self.checkin_begun = self.begin(), now
        return self.says(self.checkin, log_sequence=self.sequence, lock_reasons=list(self.locks))

    def checkin_complete(self, request: Request, now: int) -> Expected:
        if now - self.checkin_begun > HOUR:
            raise Refused(Status.STALE_MESSAGE)
        self.checkin = None
        if "lock_reasons" in request.said:
            self.lock(request.said["lock_reasons"])
        else:
            self.last_receipt, self.acknowledged = now, request.said["acknowledged"]
            self.unlock(["check-in overdue"])
        return Expected({"state": self.state, "lock_reasons": list(self.locks)})

    def obey(self, request: Request, _: int) -> Expected:
        """An order over a challenge, which it uses up."""
        self.challenge = (b"", 0)
        (self.unlock if request.service == "unlock" else self.lock)(request.said["lock_reasons"])
        return Expected({"state": self.state, "lock_reasons": list(self.locks)})

    def audit(self, request: Request, _: int) -> Expected:
        self.number += 1
        says = {
            "message_number": self.number,
            "state": self.state,
            "sub_state": self.sub_state,
            "log_sequence": self.sequence,
        }
        return Expected({}, says=says | self.registers | {"reprint_count": self.reprints})

    # What only the device knows

    def learn(self, request: Request, reply: Values, said: Values) -> None:
        """The answer to a request: from now on it is just this one. `said`: what the message in it says."""
        asked, expected = self.answered[request.request_id]
        self.answered[request.request_id] = (asked, replace(expected, exactly=reply))
        if "record" in reply:
            indicia = iter(reply.get("indicia") or [reply.get("indicium", b"")])
            numbers = itertools.count(reply["record"])
            self.log = tuple(
                replace(entry, indicium=next(indicia), record=next(numbers))
                if entry.request_id == request.request_id and not (entry.indicium and entry.record)
                else entry
                for entry in self.log
            )
        for slot in ("refill", "cancellation", "withdrawal", "checkin"):
            pending = getattr(self, slot)
            if SENT.get(request.service) == slot and pending and pending.number == said["message_number"]:
                setattr(self, slot, replace(pending, nonce=said["nonce"], message=reply["message"]))


def again(pending: Pending) -> Expected:
    """The same message once more; or one that nobody has seen yet."""
    said = {"message_number": pending.number, "amount_mills": pending.amount}
    return Expected({"message": pending.message} if pending.message else {}, says=said)


def date(now: int) -> str:
    """Of an instant, as an indicium bears it."""
    return iso(now)[:10]
