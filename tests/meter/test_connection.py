"""The meter's connection: what goes over it, once, and which meter may use a telephone line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pes_sim.clock import HOUR
from pes_sim.errors import (
    InsufficientFunds,
    LinkError,
    LockedCheckinOverdue,
    NothingPending,
    RefillPending,
    RefusedByProvider,
    RefusedInState,
    Status,
)
from pes_sim.meter.connection import EXCHANGES, Connection, derived
from pes_sim.meter.services import BY_NAME, OWN
from pes_sim.psd import messages
from tests.meter.bench import Bench, Interrupted
from tests.meter.made import CUSTOMER, DEPOSIT, FUNDS

ONE, OTHER = b"\x01" * 16, b"\x02" * 16
REQUESTS: dict[str, dict[str, Any]] = {"refill": {"amount_mills": 5_000}}


def pending(bench: Bench, cut: str) -> None:
    bench.wire.cut = cut
    with pytest.raises(Interrupted):
        bench.meter.refill(5_000)
    bench.wire.cut = ""


# --- the rule of notice A2 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXCHANGES)
def test_an_imi_meter_does_nothing_over_a_telephone_line(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path)
    bench.connection = Connection.DIAL_UP
    bench.power_on()
    before = bench.log_sequence()
    with pytest.raises(LinkError, match="under IMI rules") as refusal:
        bench.ask(name, **REQUESTS.get(name, {}))
    assert refusal.value.status is Status.NO_CONNECTION
    assert refusal.value.hint == "Connect it by LAN (notice A2)"
    assert refusal.value.detail == {"connection": "dial-up", "regime": "IMI"}
    assert bench.log_sequence() == before
    assert bench.wire.sent[1:] == []  # the bench's first refill went by LAN
    bench.print()  # until the lockout


@pytest.mark.parametrize("connection", Connection)
def test_an_ibi_meter_may_dial_up(tmp_path: Path, connection: Connection) -> None:
    bench = Bench(tmp_path, regime="IBI", connection=connection)
    assert bench.meter.info()["regime"] == "IBI"
    bench.clock.advance(80 * 24 * HOUR)
    bench.meter.print_piece(department="100")
    bench.meter.check_in()
    bench.meter.refill(1_000)
    bench.check_books()
    bench.meter.withdraw()
    bench.check_books()


def test_a_connection_by_name_is_the_same_and_another_is_a_mistake(bench: Bench) -> None:
    bench.connection = "lan"  # type: ignore[assignment]
    bench.power_on()
    bench.meter.check_in()
    bench.connection = "pigeon"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="pigeon"):
        bench.power_on()


@pytest.mark.parametrize("name", EXCHANGES)
def test_without_a_line_nothing_is_begun(bench: Bench, name: str) -> None:
    bench.device.centre = None
    before = bench.log_sequence()
    with pytest.raises(LinkError, match="no connection to its data centre"):
        bench.ask(name, **REQUESTS.get(name, {}))
    assert bench.log_sequence() == before


def test_every_exchange_is_a_service_and_its_steps_have_ids_of_their_own() -> None:
    assert set(EXCHANGES) <= {service.name for service in OWN}
    assert {BY_NAME[name].code for name in ("cancel_refill", "withdraw")} == {0x66, 0x67}
    ids = {derived(caller, step) for caller in (ONE, OTHER) for step in ("begin", "complete")}
    assert len(ids) == 4
    assert {len(made) for made in ids} == {16}


# --- cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["there", "back"])
@pytest.mark.parametrize("cut", ["", "there", "back"])
@pytest.mark.parametrize("again", [ONE, OTHER], ids=["same id", "new id"])
@pytest.mark.parametrize("restart", [False, True])
def test_a_refill_under_way_is_cancelled_once_whatever_is_cut(
    bench: Bench, lost: str, cut: str, again: bytes, restart: bool
) -> None:
    pending(bench, lost)
    if cut:
        bench.wire.cut = cut
        with pytest.raises(Interrupted):
            bench.meter.cancel_refill(request_id=ONE)
        bench.wire.cut = ""
        assert bench.meter.status().sub_state == "REFILL_CANCELLED"
        if restart:
            bench.power_on()
        bench.print()
        with pytest.raises(RefillPending):
            bench.meter.refill(5_000)
    assert bench.meter.cancel_refill(request_id=again) == "cancelled by the device"
    assert bench.meter.status().sub_state == ""
    assert bench.registers().control_sum_mills == FUNDS
    bench.check_books()
    assert bench.meter.cancel_refill(request_id=again) == "cancelled by the device"  # a retry changes nothing
    bench.check_books()
    with pytest.raises(NothingPending):
        bench.meter.cancel_refill()
    bench.meter.refill(6_000)  # another amount, at last
    bench.check_books()


def test_there_is_nothing_to_cancel_where_nothing_is_under_way(bench: Bench) -> None:
    before = bench.log_sequence()
    with pytest.raises(NothingPending, match="no refill is under way"):
        bench.meter.cancel_refill()
    assert bench.log_sequence() == before


def test_a_locked_meter_can_cancel(bench: Bench) -> None:
    pending(bench, "back")
    bench.clock.advance(73 * HOUR)
    assert bench.meter.status().state == "LOCKED"
    bench.meter.cancel_refill()
    assert bench.centre.balance(CUSTOMER) == DEPOSIT - FUNDS
    with pytest.raises(LockedCheckinOverdue):
        bench.print()


# --- withdrawal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["", "there", "back"])
@pytest.mark.parametrize("again", [ONE, OTHER], ids=["same id", "new id"])
@pytest.mark.parametrize("restart", [False, True])
def test_a_withdrawal_pays_back_once_whatever_is_cut(bench: Bench, cut: str, again: bytes, restart: bool) -> None:
    bench.print()
    if cut:
        bench.wire.cut = cut
        with pytest.raises(Interrupted):
            bench.meter.withdraw(request_id=ONE)
        bench.wire.cut = ""
        assert bench.meter.status().sub_state == "WITHDRAWAL_PENDING"
        if restart:
            bench.power_on()
        with pytest.raises(RefusedInState, match="WITHDRAWAL_PENDING"):
            bench.print()
    done = bench.meter.withdraw(request_id=again)
    assert (done.amount_mills, done.registers.descending_mills) == (FUNDS - 740, 0)
    assert done.registers == bench.registers()
    assert messages.peek(done.statement, "withdrawal_statement")[1]["ascending_mills"] == 740
    assert bench.meter.status().state == "WITHDRAWN"
    assert bench.centre.balance(CUSTOMER) == DEPOSIT - 740
    bench.check_books()
    assert bench.meter.withdraw(request_id=again) == done  # a retry gets the same last word
    bench.check_books()
    with pytest.raises(RefusedInState, match="WITHDRAWN"):
        bench.meter.withdraw()


def test_a_refill_under_way_comes_first(bench: Bench) -> None:
    pending(bench, "back")
    with pytest.raises(RefillPending, match=r"a refill of \$5\.00 is under way"):
        bench.meter.withdraw()
    bench.meter.cancel_refill()
    assert bench.meter.withdraw().amount_mills == FUNDS
    assert bench.centre.balance(CUSTOMER) == DEPOSIT


def test_a_refused_withdrawal_says_why_and_the_meter_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.wire.cut = "there"
    with pytest.raises(Interrupted):
        bench.meter.withdraw()
    bench.wire.cut = ""
    bench.meter.check_in()  # overtakes it
    with pytest.raises(RefusedByProvider, match=r"refuses the withdrawal: message \d+ of PSD 1234567 comes after"):
        bench.meter.withdraw()
    bench.print()
    bench.meter.refill(1_000)
    bench.check_books()
    assert bench.meter.withdraw().amount_mills == FUNDS + 1_000 - 740


def test_a_meter_without_postage_is_withdrawn(bench: Bench) -> None:
    bench.print(declared_mills=FUNDS)
    with pytest.raises(InsufficientFunds):
        bench.print()
    assert bench.meter.withdraw().amount_mills == 0


@pytest.mark.parametrize("name", ["check_in", "withdraw"])
def test_what_is_paid_is_safe_before_the_provider_is_told_of_it(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def noting(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            order.append(what)
            return real(*arguments)

        return call

    monkeypatch.setattr(bench.store, "sync", noting("sync", bench.store.sync))
    monkeypatch.setattr(bench.wire, name, noting("send", getattr(bench.wire, name)))
    bench.ask(name)
    assert order == ["sync", "send"]
