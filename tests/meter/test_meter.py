"""The one `Meter` interface: in this process, over a line's frames, and over a pseudo-terminal, all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from pes_sim.clock import HOUR, MINUTE
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import (
    FieldError,
    InsufficientFunds,
    LinkError,
    LockedCheckinOverdue,
    RefusedByProvider,
    UnknownDepartment,
)
from pes_sim.indicium import layout
from pes_sim.link.client import Client
from pes_sim.link.device import DeviceSession
from pes_sim.link.events import Event
from pes_sim.link.ports import serve
from pes_sim.link.ports.memory import MemoryTransport
from pes_sim.meter.meter import Caller, LocalCaller, Meter, MeterStatus, Registers
from pes_sim.meter.services import BY_NAME
from pes_sim.meter.store import DepartmentTotal
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.virtual import connect
from tests.meter.bench import Bench
from tests.meter.made import CUSTOMER, FUNDS, SERIAL, TODAY


@pytest.fixture(params=["in process", "over frames", "over a pseudo-terminal"])
def meter(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Meter]:
    with ExitStack() as opened:
        if request.param == "in process":
            yield opened.enter_context(Meter(LocalCaller(bench.device, bench.clock, SystemEntropy())))
        elif request.param == "over frames":
            line = Client(MemoryTransport(bench.device, bench.clock), BY_NAME, SystemEntropy())
            yield opened.enter_context(Meter(line))
        else:
            server = opened.enter_context(serve("pty:", lambda: DeviceSession(bench.device), bench.clock))
            yield opened.enter_context(connect(server.path))


def test_a_piece_with_nothing_but_its_department_is_a_letter_of_an_ounce_of_today(meter: Meter) -> None:
    printed = meter.print_piece(department="100")
    values = layout.builtin("imi_std").unpack(printed.indicium).values
    assert printed.postage_mills == 740
    assert printed.rate_table == "2025-07-13.1"
    assert printed.registers == Registers(740, FUNDS - 740, FUNDS, 1, 0)
    assert printed.registers == meter.registers()
    assert [values[name] for name in ("mail_class", "weight", "destination", "mailing_date")] == [
        "first_class_letter",
        100,
        "",
        TODAY,
    ]


def test_all_that_can_be_said_of_a_piece_arrives(meter: Meter) -> None:
    printed = meter.print_piece(
        department="200",
        mail_class="first_class_postcard",
        weight=15,
        destination="00501000101",
        mailing_date="2026-02-04",
        amount_mills=611,
    )
    values = layout.builtin("imi_std").unpack(printed.indicium).values
    assert printed.postage_mills == values["postage_mills"] == 611
    assert [values[name] for name in ("mail_class", "weight", "destination", "mailing_date")] == [
        "first_class_postcard",
        15,
        "00501000101",
        "2026-02-04",
    ]
    assert meter.departments() == [DepartmentTotal("100", "Sales", 0, 0), DepartmentTotal("200", "Billing", 1, 611)]


def test_the_same_request_id_is_the_same_piece_and_none_is_a_new_one(meter: Meter) -> None:
    first = meter.print_piece(department="100", request_id=b"\x01" * 16)
    assert meter.print_piece(department="100", request_id=b"\x01" * 16) == first
    assert meter.print_piece(department="100").indicium != meter.print_piece(department="100").indicium
    assert meter.registers().piece_count == 3


def test_a_quote_is_for_today_unless_told_otherwise(meter: Meter) -> None:
    assert meter.quote("first_class_letter", 101) == 1_030
    assert meter.quote("first_class_letter", 101, "2026-02-04") == 1_030


def test_a_refusal_arrives_as_what_it_is_with_its_facts(meter: Meter) -> None:
    with pytest.raises(InsufficientFunds) as refusal:
        meter.print_piece(department="100", amount_mills=FUNDS + 1)
    assert refusal.value.message == "$100.001 asked, $100.00 available, $0.001 missing"
    assert refusal.value.detail == {"missing_mills": 1, "available_mills": FUNDS, "asked_mills": FUNDS + 1}
    with pytest.raises(UnknownDepartment, match="there is no department '999'"):
        meter.print_piece(department="999")


def test_the_log_is_read_to_its_end_and_from_any_record_on(meter: Meter) -> None:
    printed = [meter.print_piece(department="100") for _ in range(14)]
    assert [entry["indicium"] for entry in meter.log()] == [piece.indicium for piece in printed]
    assert [entry["record"] for entry in meter.log(printed[9].record)] == [piece.record for piece in printed[9:]]
    assert list(meter.log(printed[-1].record + 1)) == []


def test_a_refill_gives_the_registers_after_it(meter: Meter) -> None:
    assert meter.refill(2_500) == Registers(0, FUNDS + 2_500, FUNDS + 2_500, 0, 0) == meter.registers()


def test_a_refused_refill_raises_with_the_providers_reason(meter: Meter) -> None:
    with pytest.raises(RefusedByProvider, match=f"the provider refuses the refill: account {CUSTOMER} holds"):
        meter.refill(10_000_000)
    assert meter.registers().control_sum_mills == FUNDS
    assert meter.status().refill_pending_mills == 0


def test_a_refill_under_way_is_given_up(meter: Meter, bench: Bench) -> None:
    bench.ask("refill_begin", amount_mills=5_000)
    assert meter.status().sub_state == "REFILL_PENDING"
    assert meter.cancel_refill() == "cancelled by the device"
    assert (meter.status().sub_state, meter.status().refill_pending_mills) == ("", 0)
    bench.check_books()


def test_a_withdrawal_gives_what_was_paid_back_and_the_last_word(meter: Meter, bench: Bench) -> None:
    meter.print_piece(department="100")
    done = meter.withdraw()
    assert (done.amount_mills, done.registers) == (FUNDS - 740, Registers(740, 0, 740, 1, 0))
    assert messages.peek(done.statement, "withdrawal_statement")[1]["amount_mills"] == FUNDS - 740
    assert meter.status().state == "WITHDRAWN"
    bench.check_books()


def test_a_check_in_restarts_the_hours(meter: Meter, bench: Bench) -> None:
    bench.clock.advance(71 * HOUR + 30 * MINUTE)
    assert meter.status().hours_to_lockout == 0.5
    bench.clock.advance(30 * MINUTE)
    assert meter.status().state == "LOCKED"
    assert meter.status().lock_reasons == ["check-in overdue"]
    with pytest.raises(LockedCheckinOverdue) as refusal:
        meter.print_piece(department="100")
    assert refusal.value.detail == {
        "seconds_overdue": 0,
        "reasons": ["check-in overdue"],
        "cleared_by": "checkin_complete",
    }
    assert meter.status().cleared_by == ["checkin_complete"]
    status = meter.check_in()
    assert (status.state, status.hours_to_lockout, status.lock_reasons) == ("OPERATIONAL", 72.0, [])


def test_who_it_is_and_what_a_verifier_needs(meter: Meter, bench: Bench) -> None:
    info = meter.info()
    assert (info["psd_serial"], info["provider_id"], info["licensing_zip"]) == (SERIAL, "99", "20260")
    assert info["notice"].startswith("SPECIMEN ONLY, NOT VALID POSTAGE")
    assert meter.certificates()["trust_anchor"] == bench.centre.trust_anchor


@pytest.mark.parametrize(
    ("seconds", "hours"), [(72 * 3600, 72.0), (5_400, 1.5), (36, 0.01), (0, 0.0), (-60, -0.02), (-3_600, -1.0)]
)
def test_hours_to_lockout_are_told_to_a_hundredth_and_negative_when_overdue(seconds: int, hours: float) -> None:
    status = MeterStatus("OPERATIONAL", "", [], [], [], seconds, 0, TODAY, 0, 1, 0, [], "customer's meter", 0)
    assert status.hours_to_lockout == hours


def test_registers_balance_to_the_mill() -> None:
    registers = Registers(740, 260, 1_000, 1, 0)
    assert registers.balanced()
    for name in ("ascending_mills", "descending_mills", "control_sum_mills"):
        assert not replace(registers, **{name: getattr(registers, name) + 1}).balanced()


# Events


def test_a_meter_tells_nothing_to_who_has_not_subscribed(meter: Meter, bench: Bench) -> None:
    bench.clock.advance(73 * HOUR)
    assert meter.status().state == "LOCKED"
    assert meter.events() == []
    meter.unsubscribe()
    assert meter.events() == []


def test_a_meter_tells_what_comes_about_each_once_and_in_order(meter: Meter, bench: Bench) -> None:
    meter.subscribe(low_funds_mills=FUNDS - 1000)
    assert meter.events() == []
    meter.print_piece(department="100")
    meter.print_piece(department="100")
    bench.clock.advance(25 * HOUR)
    meter.registers()
    bench.clock.advance(48 * HOUR)
    with pytest.raises(LockedCheckinOverdue):
        meter.print_piece(department="100", mailing_date=TODAY)  # one request, which is refused
    meter.check_in()
    told = meter.events()
    assert [(event.sequence, event.name, event.missed) for event in told] == [
        (1, "low_funds", 0), (2, "checkin_due", 0), (3, "state_changed", 0), (4, "state_changed", 0),
    ]  # fmt: skip
    assert [event.values["state"] for event in told[2:]] == ["LOCKED", "OPERATIONAL"]
    assert told[0].values["descending_mills"] == FUNDS - 1480
    assert meter.events() == []
    meter.unsubscribe()
    bench.clock.advance(73 * HOUR)
    meter.status()
    assert meter.events() == []


def test_what_holds_already_is_told_at_once(meter: Meter) -> None:
    meter.subscribe(low_funds_mills=FUNDS + 1)
    (event,) = meter.events()
    assert (event.name, event.values["low_funds_mills"]) == ("low_funds", FUNDS + 1)


@pytest.mark.parametrize("line", [False, True])
def test_who_listens_is_told_what_the_time_has_brought_about_meanwhile(bench: Bench, line: bool) -> None:
    caller: Caller = LocalCaller(bench.device, bench.clock, SystemEntropy())
    if line:
        caller = Client(MemoryTransport(bench.device, bench.clock), BY_NAME, SystemEntropy())
    meter = Meter(caller)
    meter.subscribe()
    bench.clock.advance(73 * HOUR)
    assert meter.events() == []
    assert [event.name for event in meter.events(listen=True)] == ["state_changed", "checkin_due"]


def test_a_device_that_cannot_say_how_it_is_answers_all_the_same(bench: Bench) -> None:
    class Shy:
        silent = False

        def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
            if name == "get_status" and self.silent:
                raise LinkError("not now")
            return bench.device.execute(name, request, request_id=request_id, now=now)

    shy = Shy()
    meter = Meter(LocalCaller(shy, bench.clock, SystemEntropy()))
    meter.subscribe(low_funds_mills=FUNDS)
    shy.silent = True
    assert meter.print_piece(department="100", mailing_date=TODAY).record > 0
    assert meter.events() == []
    shy.silent = False
    assert [event.name for event in meter.events(listen=True)] == ["low_funds"]


class Circling:
    """A device that never comes to an end."""

    def call(self, name: str, request: Values, *, request_id: bytes = b"") -> Values:
        if name == "get_departments":
            return {"departments": [], "next_department": "A"}
        return {"entries": [], "next_record": 7}

    def subscribe(self, low_funds_mills: int = 0) -> None:
        """It tells nothing."""

    def unsubscribe(self) -> None:
        """Nor does it then."""

    def events(self, *, listen: bool = False) -> list[Event]:
        return []

    def close(self) -> None:
        """Nothing is open."""


def test_a_device_that_goes_round_in_a_circle_is_not_followed() -> None:
    with pytest.raises(FieldError, match="next_department does not rise"):
        Meter(Circling()).departments()
    with pytest.raises(FieldError, match="next_record does not rise"):
        list(Meter(Circling()).log())
