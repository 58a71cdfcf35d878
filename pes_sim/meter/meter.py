"""One meter, whatever it is behind: in this process, on a virtual port, on a real one. A test is written once.

`Meter` turns typed calls into requests. What carries them is a `Caller`: `LocalCaller` for a meter in this process,
`link.client.Client` for one at the other end of a line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pes_sim.clock import SECOND, Clock
from pes_sim.entropy import Entropy
from pes_sim.errors import FieldError, PesError, RefusedByProvider, RegisterLimit
from pes_sim.link.events import Event, Watch
from pes_sim.link.inbox import Inbox
from pes_sim.link.transfer import read_log
from pes_sim.meter.services import DEPARTMENT
from pes_sim.meter.store import DepartmentTotal
from pes_sim.money import dollars
from pes_sim.psd.fields import Values, check_all, unpack
from pes_sim.psd.registers import DESCENDING_LIMIT


class Caller(Protocol):
    """Whatever carries a request to a meter and its answer back. Without a request id it makes one."""

    def call(self, name: str, request: Values, *, request_id: bytes = b"") -> Values: ...

    def subscribe(self, low_funds_mills: int = 0) -> None: ...

    def unsubscribe(self) -> None: ...

    def events(self, *, listen: bool = False) -> list[Event]: ...

    def close(self) -> None: ...


class Executes(Protocol):
    """A device in this process."""

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values: ...


class LocalCaller:
    """Straight into a device of this process."""

    def __init__(self, device: Executes, clock: Clock, entropy: Entropy) -> None:
        self._device = device
        self._clock = clock
        self._entropy = entropy
        self._watch: Watch | None = None
        self._inbox = Inbox()

    def call(self, name: str, request: Values, *, request_id: bytes = b"") -> Values:
        request_id = request_id or self._entropy(16)
        if self._watch is None:
            return self._device.execute(name, request, request_id=request_id, now=self._clock.now())
        try:
            answer = self._device.execute(name, request, request_id=request_id, now=self._clock.now())
        except PesError:
            self._look()
            raise
        self._look()
        return answer

    def subscribe(self, low_funds_mills: int = 0) -> None:
        """See `link.client.Client`."""
        self._watch, self._inbox = Watch(self._device, self._clock.now(), low_funds_mills), Inbox()
        self._look()

    def unsubscribe(self) -> None:
        """See `link.client.Client`."""
        self._watch = None

    def events(self, *, listen: bool = False) -> list[Event]:
        """See `link.client.Client`. There is no line to listen to: the device is looked at once more."""
        if listen:
            self._look()
        return self._inbox.fetch()

    def _look(self) -> None:
        """As a device at a line looks at itself, after each answer."""
        if self._watch is not None:
            with contextlib.suppress(PesError):
                for event in self._watch.look(self._clock.now()):
                    self._inbox.add(event)

    def close(self) -> None:
        """The device belongs to whoever made it."""


@dataclass(frozen=True, slots=True)
class Registers:
    """A meter's registers: amounts in mills."""

    ascending_mills: int
    descending_mills: int
    control_sum_mills: int
    piece_count: int
    zero_piece_count: int

    def balanced(self) -> bool:
        """AR + DR = control sum."""
        return self.ascending_mills + self.descending_mills == self.control_sum_mills


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """How a meter is. `seconds_to_lockout` is negative when the check-in is overdue; `device_time` in microseconds.

    `cleared_by` names the services that clear what it is locked for, `warnings` what will lock it unless somebody acts,
    `role` who has a session with the PSD.
    """

    state: str
    sub_state: str
    lock_reasons: list[str]
    cleared_by: list[str]
    warnings: list[str]
    seconds_to_lockout: int
    device_time: int
    today: str
    refill_pending_mills: int
    log_sequence: int
    reprint_count: int
    self_tests_failed: list[str]
    role: str
    repaired: int

    @property
    def hours_to_lockout(self) -> float:
        """Negative when overdue; to a hundredth."""
        return round(self.seconds_to_lockout * SECOND / (3600 * SECOND), 2)


@dataclass(frozen=True, slots=True)
class SelfTestRun:
    """What the PSD's self-tests came to, by their names in docs/psd.md."""

    passed: list[str]
    failed: list[str]


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What was paid back, the PSD's signed last word (a message of docs/protocol.md), and the registers after it."""

    amount_mills: int
    statement: bytes
    registers: Registers


@dataclass(frozen=True, slots=True)
class Printed:
    """One indicium: its signed payload, what it cost, and the registers after it."""

    indicium: bytes
    record: int
    postage_mills: int
    rate_table: str
    registers: Registers


class Meter:
    """A meter behind a caller. Every call may raise what the device refuses with (`pes_sim.errors`)."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    @property
    def caller(self) -> Caller:
        """What carries its requests, for whoever puts something in between."""
        return self._caller

    def close(self) -> None:
        """Lets go of the port."""
        self._caller.close()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def subscribe(self, low_funds_mills: int = 0) -> None:
        """Has the meter tell of changes of its state, of a check-in that is due, of tampering, and of funds below
        `low_funds_mills` (0: not of those). It lasts until `unsubscribe`, or until the meter is without power.
        """
        self._caller.subscribe(low_funds_mills)

    def unsubscribe(self) -> None:
        """Has it tell no more."""
        self._caller.unsubscribe()

    def events(self, *, listen: bool = False) -> list[Event]:
        """What it told since the last time, in order: see the events of docs/protocol.md. Each has a number; `missed`
        says how many were lost just before it. With `listen` the line is read for more, up to its time-out.
        """
        return self._caller.events(listen=listen)

    def print_piece(
        self,
        *,
        department: str,
        mail_class: str = "first_class_letter",
        weight: int = 100,
        destination: str = "",
        mailing_date: str = "",
        amount_mills: int = 0,
        tracking_number: str = "",
        extra_services: str = "",
        request_id: bytes = b"",
    ) -> Printed:
        """Prints one piece: debits the rate table's postage (or `amount_mills`, never less) and gives the indicium.

        `weight` in 1/100 oz; `destination` of 5, 9 or 11 digits or empty; `mailing_date` as YYYY-MM-DD, empty for the
        meter's today. `tracking_number` (20 or 22 digits) and `extra_services` (names of the layout's, joined by +) are
        for layouts that have a place for them, as imi_max has. The same `request_id` (16 bytes) gives the same indicium
        and debits nothing more.
        """
        besides = {"tracking_number": tracking_number, "extra_services": extra_services}
        answer = self._caller.call(
            "print_piece",
            {
                "department": department,
                "mail_class": mail_class,
                "weight": weight,
                "destination": destination,
                "mailing_date": mailing_date or self.status().today,
                "declared_mills": amount_mills,
                **{name: value for name, value in besides.items() if value},
            },
            request_id=request_id,
        )
        return Printed(
            answer["indicium"], answer["record"], answer["postage_mills"], answer["rate_table"], _registers(answer)
        )

    def quote(self, mail_class: str, weight: int, mailing_date: str = "") -> int:
        """What a piece would cost, in mills."""
        day = mailing_date or self.status().today
        answer = self._caller.call("quote", {"mail_class": mail_class, "weight": weight, "mailing_date": day})
        return int(answer["postage_mills"])

    def info(self) -> Mapping[str, Any]:
        """What the device is, by the names of docs/protocol.md."""
        return self._caller.call("get_info", {})

    def status(self) -> MeterStatus:
        """How it is."""
        answer = self._caller.call("get_status", {})
        return MeterStatus(**{name: answer[name] for name in MeterStatus.__slots__})

    def registers(self) -> Registers:
        """The registers."""
        return _registers(self._caller.call("get_registers", {}))

    def statement(self) -> bytes:
        """The PSD's last word, signed: of one withdrawn its final statement, of one that has stopped its last report;
        empty where that is lost, too.
        """
        return bytes(self._caller.call("get_statement", {})["statement"])

    def self_test(self) -> SelfTestRun:
        """Runs every self-test of the PSD. In the 140-2 profile one that fails stops it, until the power goes."""
        answer = self._caller.call("self_test", {})
        return SelfTestRun(answer["self_tests_passed"], answer["self_tests_failed"])

    def certificates(self) -> Mapping[str, bytes]:
        """`psd_certificate`, `provider_certificate` and `trust_anchor`, each in DER."""
        return self._caller.call("get_certificates", {})

    def departments(self) -> list[DepartmentTotal]:
        """Departments with what they have used, in order of code."""
        found: list[DepartmentTotal] = []
        following, more = "", True
        while more:
            answer = self._caller.call("get_departments", {"from_department": following})
            for entry in answer["departments"]:
                d = unpack(entry)
                check_all(DEPARTMENT, d)
                found.append(
                    DepartmentTotal(
                        d["department"], d["department_name"], d["department_pieces"], d["department_mills"]
                    )
                )
            more = bool(answer["next_department"])
            if more and answer["next_department"] <= following:
                raise FieldError("the device goes round in a circle: next_department does not rise")
            following = answer["next_department"]
        return found

    def log(self, first_record: int = 1) -> Iterator[Values]:
        """The PSD's log of pieces from a record on: its fields by name, `indicium` and registers among them."""
        return read_log(self._caller, first_record)

    def refill(self, amount_mills: int, *, request_id: bytes = b"") -> Registers:
        """Adds postage through the meter's data centre. Raises `RefusedByProvider` with the provider's reason."""
        if amount_mills > DESCENDING_LIMIT:
            hint = f"At most {dollars(DESCENDING_LIMIT)} in all"
            raise RegisterLimit(f"{dollars(amount_mills)} is more than the register holds", hint=hint)
        answer = self._caller.call("refill", {"amount_mills": amount_mills}, request_id=request_id)
        if answer["amount_mills"] != amount_mills:
            raise RefusedByProvider(f"the provider refuses the refill: {answer['reason']}")
        return _registers(answer)

    def cancel_refill(self, *, request_id: bytes = b"") -> str:
        """Gives up the refill under way, whose grant is paid back; gives the provider's word on it.

        Raises `NothingPending` when there is none.
        """
        return str(self._caller.call("cancel_refill", {}, request_id=request_id)["reason"])

    def withdraw(self, *, request_id: bytes = b"") -> Withdrawn:
        """Ends service for good: what is left goes back to the customer's account with the provider.

        Raises `RefusedByProvider` with the reason; the meter then goes on as before.
        """
        answer = self._caller.call("withdraw", {}, request_id=request_id)
        if answer["reason"]:
            raise RefusedByProvider(f"the provider refuses the withdrawal: {answer['reason']}")
        return Withdrawn(answer["amount_mills"], answer["statement"], _registers(answer))

    def check_in(self, *, request_id: bytes = b"") -> MeterStatus:
        """Reports to the data centre, which restarts the 72 hours."""
        self._caller.call("check_in", {}, request_id=request_id)
        return self.status()


def _registers(answer: Values) -> Registers:
    return Registers(**{name: answer[name] for name in Registers.__slots__})
