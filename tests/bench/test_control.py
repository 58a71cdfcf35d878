"""The controls of a bench, in this process: each does what it says, and none loses or makes a mill."""

from __future__ import annotations

import contextlib
import inspect
import json
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from pes_sim import connect, snapshot
from pes_sim.bench.actions import ACTIONS, ANSWERS, EVENTS
from pes_sim.bench.control import Bench, BenchStatus, ClockReading
from pes_sim.clock import HOUR, SECOND, parse_iso
from pes_sim.errors import (
    FieldError,
    IntegrityError,
    LinkError,
    Locked,
    PesError,
    RefusedInState,
    SelfTestFailed,
    StorageFailed,
    UnknownService,
    UsageError,
)
from pes_sim.meter import replacing
from pes_sim.meter.meter import Meter
from pes_sim.psd.faults import PowerCut
from pes_sim.virtual import VirtualMeter, create
from tests.bench.conftest import Host, books_balance
from tests.meter.made import FUNDS, SERIAL, copy_of_a_meter

START = parse_iso("2026-01-05T15:00:00Z")


def said(bench: Bench) -> list[str]:
    """The kinds of its events, controls by name."""
    return [str(event.facts.get("control", event.kind)) for event in bench.events.after(0)]


def piece(meter: Meter, request_id: bytes = b"") -> bytes:
    return meter.print_piece(department="100", request_id=request_id).indicium


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_says_what_the_answers_hold() -> None:
    for name, answered in (("status", BenchStatus), ("clock", ClockReading)):
        assert [fact.name for fact in ANSWERS[name]] == [field.name for field in fields(answered)]
        assert [fact.kind for fact in ANSWERS[name]] == [field.type for field in fields(answered)]


def test_every_control_of_the_table_is_there_and_takes_what_the_table_says() -> None:
    for action in ACTIONS:
        if action.answer == "event":
            continue
        taken = inspect.signature(getattr(Bench, action.method)).parameters
        assert list(taken) == ["self", *(p.name for p in action.parameters)]
        assert [p.name for p in action.parameters if not p.needed] == [
            name for name, p in taken.items() if p.default is not inspect.Parameter.empty
        ]


def test_a_control_by_its_name_and_none_by_another(bench: Bench) -> None:
    assert bench.perform("advance", {"duration": "1h"})["time_us"] == START + HOUR
    assert bench.perform("clock", {})["clock"] == "virtual"
    for name in ("events", "close", "perform", "sell"):
        with pytest.raises(UnknownService, match=f"a bench has no control '{name}'") as refusal:
            bench.perform(name, {})
        assert "Known: status, clock, advance" in refusal.value.hint


@pytest.mark.parametrize("file", ["m1.snapshot", "../x", "", "/tmp/\0x", None])
def test_by_name_a_file_is_an_absolute_path(bench: Bench, file: str | None) -> None:
    with pytest.raises(FieldError, match="is not an absolute path") as refusal:
        bench.perform("snapshot", {"file": file})
    assert refusal.value.detail["field"] == "file"


# --- looking ---------------------------------------------------------------------------------------------------------


def test_the_status_says_how_the_meter_is(bench: Bench, meter: VirtualMeter) -> None:
    piece(meter)
    status = bench.status()
    assert (status.psd_serial, status.power, status.lan, status.state) == (SERIAL, "on", "in", "OPERATIONAL")
    assert (status.ascending_mills, status.descending_mills, status.control_sum_mills) == (740, FUNDS - 740, FUNDS)
    assert (status.clock, status.time_us, status.time, status.rate) == ("virtual", START, "2026-01-05T15:00:00Z", 0)
    assert (status.device_time_us, status.medium_operations, status.medium_faults) == (START, 0, [])
    assert bench.events.newest == 0


def test_looking_at_an_overdue_meter_finds_it_locked(bench: Bench) -> None:
    status = bench.advance(72 * HOUR)
    assert (status.state, status.lock_reasons) == ("LOCKED", ["check-in overdue"])
    assert said(bench) == ["advance", "state"]
    assert bench.events.after(1)[0].facts == {"state": "LOCKED", "lock_reasons": ["check-in overdue"]}


def test_a_change_of_state_in_a_request_of_somebody_else_is_seen(bench: Bench, meter: VirtualMeter) -> None:
    meter.lock()
    meter.status()
    meter.unlock()
    assert [event.facts["state"] for event in bench.events.after(0)] == ["LOCKED", "OPERATIONAL"]


def test_and_so_is_one_that_comes_with_a_refusal(bench: Bench, meter: VirtualMeter) -> None:
    meter.advance(72 * HOUR)
    with pytest.raises(Locked):
        piece(meter)
    assert [event.facts["state"] for event in bench.events.after(0)] == ["LOCKED"]


def test_what_a_device_that_has_stopped_cannot_read_is_none(bench: Bench, meter: VirtualMeter) -> None:
    bench.fault("rot@1")
    bench.self_test("register-integrity")
    status = bench.power()
    assert status.state == "ERROR"
    assert "register-integrity" in status.lock_reasons[0]
    assert status.self_tests_failed == ["register-integrity"]


# --- time ------------------------------------------------------------------------------------------------------------


def test_the_clock_is_moved_on(bench: Bench, meter: VirtualMeter) -> None:
    assert bench.advance("1h30m").time_us == START + HOUR * 3 // 2
    assert bench.advance(SECOND).device_time_us == START + HOUR * 3 // 2 + SECOND
    assert meter.clock.now() == bench.clock().time_us


def test_the_clock_runs_and_stands_still_again(bench: Bench) -> None:
    assert bench.rate(1_000_000).rate == 1_000_000
    first = bench.clock().time_us
    while bench.clock().time_us == first:  # a microsecond of the machine's is a second of its own
        pass
    assert bench.pause().rate == 0
    assert bench.clock() == bench.clock()


@pytest.mark.parametrize("wrong", ["", "x", "-1h", "72", -1])
def test_a_step_that_is_none_is_refused_and_noted(bench: Bench, wrong: str | int) -> None:
    with pytest.raises(UsageError):
        bench.advance(wrong)
    assert said(bench) == ["advance", "advance"]
    refused = bench.events.after(1)[0]
    assert (refused.kind, refused.facts["status"]) == ("refused", "0x13 BAD_FIELD")
    assert bench.clock().time_us == START


@pytest.mark.parametrize("rate", [-1, 1e7, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(bench: Bench, rate: float) -> None:
    with pytest.raises(UsageError, match="a clock does not run at"):
        bench.rate(rate)
    noted = [event.document() for event in bench.events.after(0)]
    told = json.loads(json.dumps(noted, allow_nan=False))[0]["rate"]
    assert float(told) == pytest.approx(rate, nan_ok=True)


def test_only_time_moves_a_real_clock(tmp_path: Path) -> None:
    create(tmp_path / "m1", start=None)
    with VirtualMeter(tmp_path / "m1") as meter:
        bench = Bench(meter)
        controls: list[Callable[[], object]] = [lambda: bench.advance("1h"), bench.pause, lambda: bench.rate(2)]
        for control in controls:
            with pytest.raises(UsageError, match="runs on the real clock, which only time moves"):
                control()
        assert (bench.clock().clock, bench.clock().rate) == ("real", None)
        bench.snapshot(tmp_path / "file")


# --- the LAN ---------------------------------------------------------------------------------------------------------


def test_without_its_lan_a_meter_reaches_nobody_and_prints_on(bench: Bench, meter: VirtualMeter) -> None:
    assert bench.lan("out").lan == "out"
    for call in (lambda: meter.refill(1000), meter.check_in):
        with pytest.raises(LinkError, match="no connection to its data centre") as refusal:
            call()
        assert refusal.value.hint == "Plug the LAN in"
    piece(meter)
    bench.power()
    with pytest.raises(LinkError):
        meter.check_in()
    assert bench.lan("in").lan == "in"
    assert meter.refill(1000).control_sum_mills == FUNDS + 1000


def test_a_refill_that_the_lan_kept_back_comes_once(bench: Bench, meter: VirtualMeter) -> None:
    bench.lan("out")
    with pytest.raises(LinkError):
        meter.refill(1000, request_id=b"R" * 16)
    bench.lan("in")
    for _ in range(2):
        meter.refill(1000, request_id=b"R" * 16)
    assert meter.registers().control_sum_mills == FUNDS + 1000


def test_a_plug_is_in_or_out(bench: Bench) -> None:
    with pytest.raises(FieldError, match="'half' is neither in nor out"):
        bench.lan("half")


# --- power -----------------------------------------------------------------------------------------------------------


def test_without_power_nothing_is_answered_until_it_is_back(bench: Bench, meter: VirtualMeter) -> None:
    first = piece(meter, b"A" * 16)
    status = bench.cut()
    assert (status.power, status.state, status.ascending_mills, status.device_time_us) == ("off", None, None, None)
    for _ in range(2):
        with pytest.raises(PowerCut):
            meter.status()
    assert bench.cut().power == "off"
    assert bench.power().power == "on"
    assert piece(meter, b"A" * 16) == first
    assert meter.registers().piece_count == 1
    assert said(bench) == ["cut", "power cut", "cut", "power", "power back"]


def test_the_power_that_is_on_goes_and_comes_back(bench: Bench, meter: VirtualMeter) -> None:
    device = meter._device
    bench.power()
    assert meter._device is not device
    assert said(bench) == ["power", "power cut", "power back"]


def test_a_port_is_silent_without_power_and_brings_none_back(bench: Bench, meter: VirtualMeter) -> None:
    host = Host(meter, bench, 4)
    host.printed(1)
    bench.cut()
    before = len(host.done)
    bench.fault("cut@1")  # also a cut that the medium was told to make is none that ends by itself now
    with pytest.raises(PowerCut):
        host._port.execute("get_status", {}, request_id=b"", now=0)
    assert (meter.powered, len(host.done)) == (False, before)
    bench.mend()
    bench.power()
    books_balance(meter, host.finish())


@pytest.mark.parametrize("at", range(1, 8))
def test_a_cut_before_any_operation_is_come_through_by_who_asks_again(
    bench: Bench, meter: VirtualMeter, at: int
) -> None:
    """Between a debit and its answer too: the retry is answered, and debits nothing more."""
    host = Host(meter, bench, 12, pause_after=2)
    host.printed(2)
    bench.cut(at=at)
    host.go()
    books_balance(meter, host.finish())
    assert {"cut", "power cut", "power back"} <= set(said(bench))
    assert bench.status().medium_faults == []


def test_a_cut_that_a_control_runs_into_leaves_it_without_power_in_this_process(
    bench: Bench, meter: VirtualMeter
) -> None:
    bench.cut(at=1)
    assert bench.advance(72 * HOUR).power == "off"  # it came when the lock was written down
    assert bench.power().state == "LOCKED"


def test_and_at_a_port_it_comes_back_by_itself(meter: VirtualMeter) -> None:
    back: list[str] = []
    meter.on_cut = lambda: back.append("back")
    bench = Bench(meter, comes_back=True)
    bench.cut(at=1)
    status = bench.advance(72 * HOUR)
    assert (status.power, status.state, back) == ("on", "LOCKED", ["back"])
    assert said(bench) == ["cut", "advance", "power cut", "power back", "state"]
    assert bench.cut().power == "off"  # which is another thing


@pytest.mark.parametrize("at", [0, -1])
def test_operations_are_counted_from_1(bench: Bench, at: int) -> None:
    with pytest.raises(FieldError, match="there is no operation"):
        bench.cut(at=at)


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_storage_fault_comes_at_its_operation_from_now_on(bench: Bench, meter: VirtualMeter) -> None:
    piece(meter)
    assert bench.fault("eio@2").medium_faults == ["eio@2"]
    piece_before = meter.registers().piece_count
    with pytest.raises(StorageFailed, match="operation 2 of the medium failed"):
        piece(meter)
    assert bench.status().medium_operations == 2
    assert bench.fault("tear@4:100").medium_faults == ["tear@6:100"]
    assert meter.registers().piece_count == piece_before


def test_a_medium_that_is_worn_out_can_be_mended(bench: Bench, meter: VirtualMeter) -> None:
    bench.mend()
    piece(meter)
    bench.fault("wear")
    with pytest.raises(StorageFailed, match="worn out"):
        piece(meter)
    assert bench.mend().medium_faults == []
    piece(meter)
    assert meter.registers().piece_count == 2


def test_a_fault_that_is_none_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="'moths' is no storage fault"):
        bench.fault("moths")
    assert bench.status().medium_faults == []


def test_a_fault_for_a_meter_without_power_waits_for_it(bench: Bench, meter: VirtualMeter) -> None:
    bench.cut()
    assert bench.fault("eio@9").power == "off"
    assert bench.power().medium_faults == ["eio@9"]


def test_a_self_test_fails_from_its_next_run_on_and_no_longer(bench: Bench, meter: VirtualMeter) -> None:
    assert bench.self_test("sha-256").self_tests_made_to_fail == ["sha-256"]
    piece(meter)
    assert meter.self_test().failed == ["sha-256"]
    assert bench.power().state == "ERROR"
    with pytest.raises(SelfTestFailed):
        piece(meter)
    assert bench.self_test("sha-256", fails=False).self_tests_made_to_fail == []
    assert bench.power().state == "OPERATIONAL"
    states = [event.facts["state"] for event in bench.events.after(0) if event.kind == "state"]
    assert (states[0], states[-1]) == ("ERROR", "OPERATIONAL")


def test_a_self_test_that_does_not_exist_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="there is no self-test 'moths'"):
        bench.self_test("moths")


# --- tampering -------------------------------------------------------------------------------------------------------


def test_a_tampered_meter_prints_nothing_more_and_its_registers_can_be_read(bench: Bench, meter: VirtualMeter) -> None:
    piece(meter)
    status = bench.tamper()
    assert (status.state, status.lock_reasons) == ("ZEROIZED", ["tamper input"])
    assert (status.ascending_mills, status.descending_mills) == (740, FUNDS - 740)
    with pytest.raises(RefusedInState):
        piece(meter)
    assert bench.power().state == "ZEROIZED"


@pytest.mark.parametrize("medium", [False, True])
def test_without_power_tampering_destroys_the_keys_all_the_same(bench: Bench, medium: bool) -> None:
    if medium:
        bench.fault("eio@100")
    bench.cut()
    assert bench.tamper().power == "off"
    assert bench.power().state == "ZEROIZED"


def test_a_cut_in_the_middle_of_it_does_not_save_the_keys(bench: Bench) -> None:
    bench.cut(at=1)
    assert bench.tamper().power == "off"
    assert bench.power().state == "ZEROIZED"


def test_a_device_that_was_exchanged_is_the_one_that_is_tampered_with(
    bench: Bench, meter: VirtualMeter, tmp_path: Path
) -> None:
    """The object of before the cut stands over files that are no more: what it wrote would spoil the log."""
    bench.snapshot(tmp_path / "file")
    for _ in range(3):
        piece(meter)
    bench.cut()
    bench.restore(tmp_path / "file")
    bench.tamper()
    status = bench.power()
    assert (status.state, status.piece_count, status.lock_reasons) == ("ZEROIZED", 0, ["tamper input"])


def test_a_snapshot_of_before_brings_the_keys_back(bench: Bench, meter: VirtualMeter, tmp_path: Path) -> None:
    bench.snapshot(tmp_path / "file")
    assert bench.tamper().state == "ZEROIZED"
    assert bench.restore(tmp_path / "file").state == "OPERATIONAL"
    piece(meter)


def test_in_the_middle_of_a_job_every_answer_was_paid_and_nothing_comes_after(
    bench: Bench, meter: VirtualMeter
) -> None:
    host = Host(meter, bench, 100)
    host.printed(5)
    bench.tamper()
    with contextlib.suppress(RefusedInState):  # unless it was done before
        host.finish()
    with pytest.raises(RefusedInState):
        piece(meter)
    registers = meter.registers()
    assert registers.piece_count == len(host.done) >= 5
    assert registers.ascending_mills == sum(answer["postage_mills"] for answer in host.done)
    assert registers.balanced()


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_a_running_meter_is_copied_and_put_back_at_the_same_port_with_the_same_clock(
    bench: Bench, meter: VirtualMeter, tmp_path: Path
) -> None:
    port = meter.serve_pty()
    with connect(port) as host:
        piece(host)
        bench.snapshot(tmp_path / "file")
        later = piece(host)
        bench.advance("1h")
        status = bench.restore(tmp_path / "file")
        assert (status.power, status.piece_count, status.time_us) == ("on", 1, START + HOUR)
        assert meter.serve_pty() == port
        assert host.registers().piece_count == 1
        assert host.print_piece(department="100", weight=200).indicium != later
        assert [d.pieces for d in host.departments()] == [2, 0]
    assert said(bench) == ["snapshot", "advance", "restore", "power cut", "power back"]


def test_a_snapshot_of_a_running_meter_is_that_of_one_at_rest(
    bench: Bench, meter: VirtualMeter, directory: Path, tmp_path: Path
) -> None:
    piece(meter)
    bench.rate(1000)
    bench.snapshot(tmp_path / "file")
    assert bench.pause().rate == 0
    snapshot.clone(tmp_path / "file", tmp_path / "m2")
    with VirtualMeter(tmp_path / "m2") as clone:
        assert clone.registers() == meter.registers()
        assert START <= clone.clock.now() <= meter.clock.now()
        assert clone.check_in().state == "OPERATIONAL"


def test_the_clock_runs_on_after_a_snapshot(bench: Bench, tmp_path: Path) -> None:
    bench.rate(5)
    assert bench.snapshot(tmp_path / "file").rate == 5


def test_a_restored_meter_is_found_out_by_its_provider(bench: Bench, meter: VirtualMeter, tmp_path: Path) -> None:
    bench.snapshot(tmp_path / "file")
    meter.refill(1000)
    meter.check_in()
    bench.restore(tmp_path / "file")
    with pytest.raises(PesError):
        meter.check_in()
    assert bench.status().lock_reasons == ["rollback found"]


def test_another_meters_snapshot_is_refused_and_this_one_is_not_even_switched_off(
    bench: Bench, meter: VirtualMeter, tmp_path: Path
) -> None:
    create(tmp_path / "other")
    snapshot.take(tmp_path / "other", tmp_path / "file")
    device = meter._device
    with pytest.raises(UsageError, match="is of PSD"):
        bench.restore(tmp_path / "file")
    assert meter._device is device
    assert said(bench) == ["restore", "restore"]
    piece(meter)


@pytest.mark.parametrize("damage", [b"", b"no snapshot", None])
def test_and_so_is_what_is_no_snapshot(bench: Bench, meter: VirtualMeter, tmp_path: Path, damage: bytes | None) -> None:
    bench.snapshot(tmp_path / "file")
    if damage is None:
        whole = (tmp_path / "file").read_bytes()
        damage = whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:]
    (tmp_path / "file").write_bytes(damage)
    with pytest.raises((UsageError, IntegrityError)):
        bench.restore(tmp_path / "file")
    piece(meter)


def test_a_snapshot_is_never_written_over_another_file(bench: Bench, tmp_path: Path) -> None:
    bench.snapshot(tmp_path / "file")
    with pytest.raises(UsageError, match="is there already"):
        bench.snapshot(tmp_path / "file")


@pytest.mark.parametrize("off", ["cut", "by the medium"])
def test_a_meter_without_power_is_copied_and_put_back_and_has_none_then(
    bench: Bench, meter: VirtualMeter, tmp_path: Path, off: str
) -> None:
    piece(meter)
    if off == "cut":
        bench.cut()
    else:
        bench.cut(at=1)
        with pytest.raises(PowerCut):
            piece(meter)
    bench.snapshot(tmp_path / "file")
    assert bench.restore(tmp_path / "file").power == "off"
    assert meter._off == (off == "cut")
    assert bench.power().piece_count == 1


@pytest.mark.parametrize("step", ["decide", "finish"])
def test_a_restore_that_fails_leaves_the_old_device_or_the_new_one_and_never_half_of_each(
    bench: Bench, meter: VirtualMeter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    bench.snapshot(tmp_path / "file")
    piece(meter)

    def full(*_: object) -> None:
        raise StorageFailed("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(replacing, step, full)
        with pytest.raises(StorageFailed, match="the disk is full"):
            bench.restore(tmp_path / "file")
        assert bench.status().power == {"decide": "on", "finish": "off"}[step]
    status = bench.power()
    assert (status.power, status.piece_count) == ("on", {"decide": 1, "finish": 0}[step])
    piece(meter)


def test_in_the_middle_of_a_job_it_is_put_back_between_two_requests(
    bench: Bench, meter: VirtualMeter, tmp_path: Path
) -> None:
    host = Host(meter, bench, 30)
    host.printed(3)
    bench.snapshot(tmp_path / "file")
    host.printed(3)
    kept = bench.restore(tmp_path / "file").piece_count
    assert kept is not None
    answered = host.finish()
    registers = meter.registers()
    assert registers.balanced()
    assert registers.control_sum_mills == FUNDS
    log = [entry["indicium"] for entry in meter.log()]
    assert len(log) == registers.piece_count
    assert log == [answer["indicium"] for answer in answered[:kept] + answered[len(answered) - len(log) + kept :]]


# --- all at once -----------------------------------------------------------------------------------------------------


def test_whatever_is_done_to_it_while_a_host_prints_the_books_balance(
    bench: Bench, meter: VirtualMeter, tmp_path: Path
) -> None:
    host = Host(meter, bench, 60)
    problems: list[BaseException] = []

    def hands(*controls: Callable[[], object]) -> threading.Thread:
        def work() -> None:
            try:
                for _ in range(6):
                    for control in controls:
                        control()
            except BaseException as problem:
                problems.append(problem)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    files = (tmp_path / f"s{number}" for number in range(100))
    threads = [
        hands(bench.cut, bench.power),
        hands(lambda: bench.cut(at=2), bench.status, lambda: bench.fault("tear@3:50")),
        hands(lambda: bench.lan("out"), lambda: bench.advance(SECOND), lambda: bench.lan("in"), bench.power),
        hands(lambda: bench.rate(3), lambda: bench.snapshot(next(files)), bench.pause),
        hands(lambda: bench.self_test("sha-256"), lambda: bench.self_test("sha-256", fails=False), bench.mend),
    ]
    for thread in threads:
        thread.join()
    bench.mend()
    bench.self_test("sha-256", fails=False)
    bench.power()
    try:
        answered = host.finish()
    except PesError:  # it met the failing self-test
        answered = host.done
    assert problems == []
    bench.power()
    registers = meter.registers()
    assert registers.balanced()
    assert registers.control_sum_mills == FUNDS
    assert registers.piece_count == len(answered) == len({answer["indicium"] for answer in answered})


def test_after_its_end_no_control_works_and_none_is_told(bench: Bench, meter: VirtualMeter) -> None:
    bench.close()
    for control in (bench.status, bench.cut, bench.clock):
        with pytest.raises(RefusedInState, match="the meter is being stopped"):
            control()
    meter.lock()
    assert (bench.events.newest, bench.events.closed) == (0, True)


def test_every_kind_of_event_is_in_the_table(bench: Bench, meter: VirtualMeter) -> None:
    bench.power()
    bench.advance(72 * HOUR)
    with pytest.raises(UsageError):
        bench.fault("moths")
    assert {event.kind for event in bench.events.after(0)} == set(EVENTS)


def test_a_copy_of_a_meter_needs_no_bench(tmp_path: Path) -> None:
    """Nobody watches: nothing is told, and every control of the meter itself works."""
    with VirtualMeter(copy_of_a_meter(tmp_path / "m2")) as meter:
        meter.cut_power()
        meter.power_on()
        meter.mend_storage()
        piece(meter)
