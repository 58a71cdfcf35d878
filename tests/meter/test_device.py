"""The meter's device: every piece paid once and by somebody, whatever becomes of its database, disk and line."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest

from pes_sim.clock import HOUR
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import (
    BadDate,
    FieldError,
    InsufficientFunds,
    IntegrityError,
    LayoutError,
    LockedCheckinOverdue,
    MoneyError,
    NoRate,
    PesError,
    RefillPending,
    RefusedByProvider,
    RequestIdReused,
    StaleMessage,
    StorageFailed,
    StorageFull,
    UnknownDepartment,
    UnknownService,
)
from pes_sim.indicium import layout
from pes_sim.link.client import Client
from pes_sim.link.ports.memory import MemoryTransport
from pes_sim.meter.meter import Meter
from pes_sim.meter.services import BY_NAME, DEPARTMENT
from pes_sim.meter.store import DepartmentTotal, MeterStore, StoredPiece
from pes_sim.psd.faults import Fault, FaultKind, FaultyStorage
from pes_sim.psd.fields import BY_NUMBER, Values, check_all, to_names
from pes_sim.psd.nvram import first_of
from tests.meter.bench import PIECE, SMALL_BANK, Bench, Interrupted
from tests.meter.made import CUSTOMER, DEPOSIT, FUNDS, SERIAL, TODAY

ONE, OTHER = b"\x01" * 16, b"\x02" * 16
IMI = layout.builtin("imi_std")


@pytest.fixture
def forgetful(tmp_path: Path) -> Bench:
    """A meter whose PSD remembers some 40 requests."""
    return Bench(tmp_path, bank=SMALL_BANK)


def make_it_forget(bench: Bench, request_id: bytes) -> None:
    """Prints until the PSD has forgotten `request_id`."""
    while bench.psd._books.recall(request_id) is not None:
        bench.print()


def refuse_to_store(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: StoredPiece) -> None:
        raise StorageFull("no room in meter.sqlite", hint="Free some space")

    monkeypatch.setattr(bench.store, "add", full)


def stored(bench: Bench) -> list[StoredPiece]:
    return list(bench.store.pieces())


# --- printing --------------------------------------------------------------------------------------------------------


def test_a_piece_costs_what_the_rates_say_and_somebody_pays_for_it(bench: Bench) -> None:
    answer = bench.print(department="200", weight=150)
    assert answer["postage_mills"] == 1_030
    assert answer["rate_table"] == "2025-07-13.1"
    registers = bench.registers()
    assert (registers.ascending_mills, registers.descending_mills) == (1_030, FUNDS - 1_030)
    assert registers.piece_count == 1
    assert {name: answer[name] for name in type(registers).__slots__} == {
        name: getattr(registers, name) for name in type(registers).__slots__
    }
    values = IMI.unpack(answer["indicium"]).values
    assert (values["postage_mills"], values["weight"], values["mailing_date"]) == (1_030, 150, TODAY)
    (entry,) = bench.meter.log()
    assert (entry["record"], entry["reference"], entry["indicium"]) == (answer["record"], b"200", answer["indicium"])
    assert bench.meter.departments()[1] == DepartmentTotal("200", "Billing", 1, 1_030)
    bench.check_books()


@pytest.mark.parametrize(
    ("mail_class", "weight", "mills"),
    [("first_class_letter", 350, 1_610), ("first_class_postcard", 15, 610), ("international_letter", 90, 1_700)],
)
def test_a_quote_costs_nothing_and_is_what_the_piece_then_costs(
    bench: Bench, mail_class: str, weight: int, mills: int
) -> None:
    before = bench.registers(), bench.log_sequence()
    quote = bench.ask("quote", mail_class=mail_class, weight=weight, mailing_date=TODAY)
    assert quote == {"postage_mills": mills, "rate_table": "2025-07-13.1"}
    assert (bench.registers(), bench.log_sequence()) == before
    bench.print(mail_class=mail_class, weight=weight)
    assert bench.registers().ascending_mills == mills


def test_more_than_the_rate_may_be_paid_and_is_debited_to_the_mill(bench: Bench) -> None:
    assert bench.print(declared_mills=740)["postage_mills"] == 740
    assert bench.print(declared_mills=741)["postage_mills"] == 741
    assert bench.registers().ascending_mills == 1_481


@pytest.mark.parametrize("declared", [1, 739])
def test_less_than_the_rate_is_refused_with_both_amounts(bench: Bench, declared: int) -> None:
    with pytest.raises(MoneyError, match=r"short-paid: the rate is \$0\.74"):
        bench.print(declared_mills=declared)
    assert bench.registers().piece_count == 0


REFUSED: dict[str, tuple[dict[str, Any], type[PesError], str]] = {
    "unknown department": ({"department": "300"}, UnknownDepartment, "there is no department '300'"),
    "no department": ({"department": ""}, UnknownDepartment, "there is no department ''"),
    "unknown class": ({"mail_class": "parcel"}, NoRate, "unknown mail class 'parcel'"),
    "no weight": ({"weight": 0}, NoRate, "no rate for first_class_letter of 0.00 oz"),
    "too heavy": ({"weight": 351}, NoRate, "of 3.51 oz"),
    "no date": ({"mailing_date": ""}, BadDate, "'' is not a date"),
    "a date that does not exist": ({"mailing_date": "2026-02-30"}, BadDate, "'2026-02-30' is not a date"),
    "yesterday": ({"mailing_date": "2026-01-04"}, BadDate, "before the device's date"),
    "in 31 days": ({"mailing_date": "2026-02-05"}, BadDate, "too far after the device's date"),
    "before the first rates": ({"mailing_date": "2020-01-01"}, NoRate, "no rate table covers 2020-01-01"),
    "a ZIP of four digits": ({"destination": "1000"}, LayoutError, "destination must be text of 5, 9 or 11 digits"),
    "a ZIP of zeros": ({"destination": "00000"}, LayoutError, "ZIP Code of zeros"),
    "more than there is": ({"declared_mills": FUNDS + 1}, InsufficientFunds, r"\$0.001 missing"),
    "more than a piece can bear": ({"declared_mills": 1 << 24}, FieldError, "declared_mills"),
    "a fraction of a mill": ({"declared_mills": 740.5}, FieldError, "declared_mills"),
}


@pytest.mark.parametrize(("changes", "kind", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_costs_nothing_and_leaves_no_trace(
    bench: Bench, changes: dict[str, Any], kind: type[PesError], says: str
) -> None:
    before = bench.registers(), bench.log_sequence()
    with pytest.raises(kind, match=says):
        bench.print(ONE, **changes)
    assert (bench.registers(), bench.log_sequence()) == before
    assert stored(bench) == []
    bench.print(ONE)  # nor is the request id used up
    assert bench.registers().ascending_mills == 740


def test_an_unknown_service_is_refused(bench: Bench) -> None:
    with pytest.raises(UnknownService, match="a meter has no service 'print'"):
        bench.ask("print")


# --- a request counts once -------------------------------------------------------------------------------------------


def same_answer_for_nothing(bench: Bench, first: dict[str, Any]) -> None:
    before = bench.registers()
    assert bench.print(ONE) == first
    assert bench.registers() == before
    bench.check_books()


def test_the_same_request_gets_the_same_indicium_and_one_debit(bench: Bench) -> None:
    first = bench.print(ONE)
    same_answer_for_nothing(bench, first)
    bench.print(OTHER)
    same_answer_for_nothing(bench, first)
    bench.power_on()
    same_answer_for_nothing(bench, first)


def test_also_long_after_the_psd_has_forgotten_it(forgetful: Bench) -> None:
    first = forgetful.print(ONE)
    make_it_forget(forgetful, ONE)
    same_answer_for_nothing(forgetful, first)
    forgetful.power_on()
    same_answer_for_nothing(forgetful, first)


def test_also_when_the_database_was_lost_meanwhile(forgetful: Bench) -> None:
    first = forgetful.print(ONE)
    make_it_forget(forgetful, ONE)
    forgetful.lose_database()
    forgetful.power_on()
    same_answer_for_nothing(forgetful, first)


def test_also_when_the_disk_was_full_all_the_time(forgetful: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as disk:
        refuse_to_store(forgetful, disk)
        first = forgetful.print(ONE)
        make_it_forget(forgetful, ONE)
        before = forgetful.registers()
        assert forgetful.print(ONE) == first
        assert forgetful.registers() == before
        assert stored(forgetful) == []
    same_answer_for_nothing(forgetful, first)


def test_also_while_the_meter_is_locked(bench: Bench) -> None:
    first = bench.print(ONE)
    bench.clock.advance(73 * HOUR)
    assert bench.print(ONE) == first
    with pytest.raises(LockedCheckinOverdue):
        bench.print(OTHER)


def test_also_when_its_date_is_written_otherwise(bench: Bench) -> None:
    first = bench.print(ONE, mailing_date="20260105")
    assert IMI.unpack(first["indicium"]).values["mailing_date"] == TODAY
    assert bench.print(ONE, mailing_date="20260105") == first
    assert bench.print(ONE, mailing_date="2026-01-05") == first
    assert bench.registers().ascending_mills == 740


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"department": "200"},
        {"mail_class": "first_class_postcard"},
        {"weight": 99},
        {"weight": 101},
        {"destination": "10001"},
        {"destination": ""},
        {"mailing_date": "2026-01-06"},
        {"declared_mills": 741},
        {"department": "300"},
    ],
)
def test_a_request_id_with_other_content_is_refused(tmp_path: Path, changes: dict[str, Any], forgotten: bool) -> None:
    bench = Bench(tmp_path, bank=SMALL_BANK)
    bench.print(ONE)
    if forgotten:
        make_it_forget(bench, ONE)
    before = bench.registers()
    with pytest.raises(RequestIdReused, match="printed another piece") as refusal:
        bench.print(ONE, **changes)
    assert "a new id" in refusal.value.hint
    assert bench.registers() == before


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_request_id_has_16_bytes(bench: Bench, length: int) -> None:
    with pytest.raises(FieldError, match=f"a request id has 16 bytes, not {length}"):
        bench.device.execute("print_piece", PIECE, request_id=bytes(length), now=bench.clock.now())
    assert bench.registers().piece_count == 0


def test_two_ports_printing_at_once_pay_for_what_they_print(bench: Bench) -> None:
    """Half of the requests are the same on both ports: those are paid once."""
    failed: list[BaseException] = []

    def print_all(port: int) -> None:
        try:
            for number in range(20):
                bench.print(bytes([port if number % 2 else 9]) + number.to_bytes(15, "big"))
        except BaseException as problem:
            failed.append(problem)

    ports = [threading.Thread(target=print_all, args=(port,)) for port in (1, 2)]
    for port in ports:
        port.start()
    for port in ports:
        port.join()
    assert failed == []
    assert bench.registers().piece_count == 30
    bench.check_books()


# --- departments -----------------------------------------------------------------------------------------------------


def test_twenty_departments_come_in_order_and_in_chunks(tmp_path: Path) -> None:
    departments = {f"D{number:02d}": f"Department {number}" for number in range(20)}
    bench = Bench(tmp_path, departments=departments)
    bench.print(department="D07")
    found = bench.meter.departments()
    assert [d.code for d in found] == list(departments)
    assert [d.code for d in found if d.pieces] == ["D07"]
    first = bench.ask("get_departments", from_department="")
    assert len(first["departments"]) < 8
    assert first["next_department"] == f"D{len(first['departments']):02d}"
    last = bench.ask("get_departments", from_department="D19")
    assert len(last["departments"]) == 1
    assert last["next_department"] == ""
    assert bench.ask("get_departments", from_department="D20") == {"departments": [], "next_department": ""}


def test_departments_of_the_longest_names_fit_the_smallest_frame(tmp_path: Path) -> None:
    departments = {f"{number:016d}": "\U0001f4ee" * 64 for number in range(9)}
    bench = Bench(tmp_path, departments=departments)
    shy = Meter(Client(MemoryTransport(bench.device, bench.clock), BY_NAME, SystemEntropy()))  # says no hello
    assert {d.code: d.name for d in shy.departments()} == departments


def test_an_entry_of_departments_is_what_the_table_says(bench: Bench) -> None:
    (sales, _) = bench.ask("get_departments", from_department="")["departments"]
    check_all(DEPARTMENT, to_names(cbor2.loads(sales), BY_NUMBER))


# --- the database is made again from the PSD's log -------------------------------------------------------------------


def some_pieces(bench: Bench) -> list[StoredPiece]:
    for number in range(15):
        bench.print(department=("100", "200")[number % 2], weight=1 + 25 * (number % 14))
    bench.ask("check_in")
    return stored(bench)


def test_a_lost_database_is_made_again_piece_by_piece(bench: Bench) -> None:
    before = some_pieces(bench)
    bench.lose_database()
    bench.power_on()
    assert stored(bench) == before
    bench.check_books()
    # Names are not in the log: the departments that printed are there, and say where they come from.
    assert [(d.code, d.name) for d in bench.meter.departments()] == [
        ("100", "(found in the PSD's log)"),
        ("200", "(found in the PSD's log)"),
    ]
    bench.print()
    bench.check_books()


@pytest.mark.parametrize(
    "where", ["piece_count > 5", "piece_count = 15", "piece_count = 1", "piece_count IN (3, 4, 9)"]
)
def test_a_database_that_is_behind_or_has_a_hole_is_mended_at_power_on(bench: Bench, where: str) -> None:
    before = some_pieces(bench)
    bench.store._db.execute(f"DELETE FROM piece WHERE {where}")
    bench.power_on()
    assert stored(bench) == before
    assert [d.name for d in bench.meter.departments()] == ["Sales", "Billing"]
    bench.check_books()


def test_a_piece_that_was_paid_as_the_power_went_is_taken_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(bench.store, "add", lambda *_: (_ for _ in ()).throw(Interrupted))
        with pytest.raises(Interrupted):
            bench.print(ONE)
    bench.power_on()
    assert [piece.request_id for piece in stored(bench)] == [ONE]
    same = bench.print(ONE)
    assert same["record"] == stored(bench)[0].record
    assert bench.registers().ascending_mills == 740


def not_taken_over(bench: Bench, fault: Fault) -> tuple[Values, FaultyStorage]:
    """A piece that was paid as the power went, and a medium that fails when the power is back; gives its answer."""
    first = bench.print(ONE)
    bench.store._db.execute("DELETE FROM piece WHERE request_id = ?", (ONE,))
    medium = FaultyStorage(bench.storage, [fault])
    bench.storage = medium  # type: ignore[assignment]
    bench.power_on()
    assert stored(bench) == []
    return first, medium


def test_a_medium_that_failed_once_at_power_on_loses_no_piece_at_the_next_check_in(forgetful: Bench) -> None:
    """What the receipt acknowledges leaves the PSD's log, and with it the last that knows the request."""
    first, _ = not_taken_over(forgetful, Fault(FaultKind.EIO, 2))
    for _ in range(4):
        forgetful.meter.check_in()
    assert [piece.request_id for piece in stored(forgetful)] == [ONE]
    assert forgetful.psd._books.recall(ONE) is None
    assert forgetful.print(ONE) == first
    assert forgetful.registers().piece_count == 1
    forgetful.print(OTHER)


def test_while_the_log_cannot_be_taken_over_nothing_is_reported_and_nothing_printed(forgetful: Bench) -> None:
    first, medium = not_taken_over(forgetful, Fault(FaultKind.WEAR, 2))
    before = forgetful.wire.sent[:]
    for move in (forgetful.meter.check_in, forgetful.meter.withdraw, lambda: forgetful.print(OTHER)):
        with pytest.raises(StorageFailed, match="worn out"):
            move()
    assert forgetful.wire.sent == before
    medium.mend()
    forgetful.meter.check_in()
    assert forgetful.print(ONE) == first
    assert forgetful.registers().piece_count == 1


def test_pieces_behind_a_part_of_the_log_that_cannot_be_read_are_taken_over_before_a_check_in(forgetful: Bench) -> None:
    bench = forgetful
    while len(logs := [name for name in bench.storage.names() if name.startswith("log-")]) < 7:
        bench.print()
    before = stored(bench)
    spoiled = range(first_of(logs[-4]), first_of(logs[-3]))
    bench.storage.areas[logs[-4]][:] = b"\xa5" * len(bench.storage.areas[logs[-4]])
    bench.lose_database()
    bench.power_on()
    kept = [piece for piece in before if piece.record not in spoiled]
    assert stored(bench) == kept != before
    assert "cannot be read to the end" in bench.device.complaint
    bench.meter.check_in()
    bench.power_on()
    assert stored(bench) == kept
    assert [d.pieces for d in bench.meter.departments() if d.code == "(carried)"] == [len(before) - len(kept)]
    bench.print()
    registers = bench.registers()
    assert bench.store.totals() == (registers.piece_count, registers.ascending_mills)


# --- a full disk -----------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_no_piece_that_is_paid_and_loses_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as disk:
        refuse_to_store(bench, disk)
        answers = {bytes([number]) * 16: bench.print(bytes([number]) * 16) for number in range(1, 6)}
        for request_id, answer in answers.items():
            assert bench.print(request_id) == answer
        assert bench.registers().piece_count == 5
        # Totals that lack five pieces would be wrong, and a receipt would acknowledge what is not safe here.
        with pytest.raises(StorageFull, match="no room"):
            bench.meter.departments()
        sent = len(bench.wire.sent)
        with pytest.raises(StorageFull, match="no room"):
            bench.ask("check_in")
        assert len(bench.wire.sent) == sent
    bench.print()
    assert [piece.piece_count for piece in stored(bench)] == [1, 2, 3, 4, 5, 6]
    bench.check_books()
    bench.ask("check_in")


def test_what_a_full_disk_kept_out_is_there_after_a_power_cut(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.print()
    with monkeypatch.context() as disk:
        refuse_to_store(bench, disk)
        bench.print(ONE)
        bench.print(OTHER)
    bench.power_on()
    assert [piece.request_id for piece in stored(bench)[1:]] == [ONE, OTHER]
    bench.check_books()


def test_a_disk_that_is_full_at_power_on_is_said_and_nothing_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = some_pieces(bench)
    bench.lose_database()
    with monkeypatch.context() as disk:

        def full(*_: object) -> None:
            raise StorageFull("no room in meter.sqlite")

        disk.setattr(MeterStore, "add", full)
        bench.power_on()
        for name in ("print", "registers"):
            with pytest.raises(StorageFull, match="no room") if name == "print" else contextlib.nullcontext():
                getattr(bench, name)()
    bench.power_on()
    assert stored(bench) == before


@pytest.mark.parametrize("question", ["find", "has_department"])
def test_a_database_that_cannot_be_read_is_found_out_before_anything_is_debited(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    def broken(*_: object) -> None:
        raise StorageFailed("meter.sqlite: disk I/O error")

    with monkeypatch.context() as disk:
        disk.setattr(bench.store, question, broken)
        with pytest.raises(StorageFailed, match="disk I/O error"):
            bench.print()
    assert bench.registers().piece_count == 0


# --- one of the two was put back -------------------------------------------------------------------------------------


def test_a_psd_that_was_put_back_prints_nothing_on_this_database(bench: Bench) -> None:
    image = copy.deepcopy(bench.storage.areas)
    first = bench.print(ONE)
    bench.storage.areas = image
    bench.power_on()
    with pytest.raises(IntegrityError) as refusal:
        bench.print(OTHER)
    assert refusal.value.message == (
        "the meter's database knows 1 pieces of $0.74, the PSD 0 of $0.00: the PSD has lost a part of its log"
    )
    assert "pes-sim meter recover DIR" in refusal.value.hint
    assert bench.registers().piece_count == 0
    assert bench.print(ONE) == first  # what is known to be paid is still answered
    assert bench.meter.status().state == "OPERATIONAL"


def test_nothing_that_reports_or_moves_money_makes_what_was_lost_official(bench: Bench) -> None:
    image = copy.deepcopy(bench.storage.areas)
    bench.print(ONE)
    bench.storage.areas = image
    bench.power_on()
    before, sent = bench.psd.execute("get_status", {}, request_id=b"", now=bench.clock.now()), len(bench.wire.sent)
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("check_in", {}), ("refill", {"amount_mills": 1_000}), ("withdraw", {}), ("cancel_refill", {}),
        ("checkin_begin", {}), ("refill_begin", {"amount_mills": 1_000}), ("withdraw_begin", {}), ("refill_cancel", {}),
        ("checkin_complete", {"message": b"x"}), ("refill_complete", {"message": b"x"}),
        ("withdraw_complete", {"message": b"x"}),
    ]  # fmt: skip
    for name, request in attempts:
        with pytest.raises(IntegrityError, match="the PSD has lost a part of its log"):
            bench.ask(name, **request)
    assert bench.ask("get_status") | {"role": before["role"]} == before
    assert len(bench.wire.sent) == sent
    order = bench.centre.recover(SERIAL, bench.ask("challenge"), ascending_mills=740, piece_count=1, zero_piece_count=0)
    bench.ask("recover", message=order)
    bench.ask("unlock", message=bench.centre.order("unlock_order", SERIAL, bench.ask("challenge"),
                                                   lock_reasons=["register fault"]))  # fmt: skip
    bench.print(OTHER)
    bench.meter.check_in()
    assert bench.store.totals() == (2, 1_480) == (bench.registers().piece_count, bench.registers().ascending_mills)


def test_a_database_that_was_altered_is_found_out(bench: Bench) -> None:
    bench.print(ONE)
    bench.store._db.execute("UPDATE piece SET postage_mills = 739")
    bench.power_on()
    with pytest.raises(IntegrityError, match=r"holds 1 pieces of \$0\.739, the PSD's registers say 1 of \$0\.74"):
        bench.print(OTHER)
    assert bench.registers().piece_count == 1


def test_a_psd_that_has_stopped_leaves_a_meter_that_can_be_looked_at(bench: Bench) -> None:
    bench.print(ONE)
    name = bench.storage.names()[-1]
    rotten = bytes(len(bench.storage.areas[name]))
    bench.storage.areas[name][64:2048] = rotten[64:2048]
    bench.storage.areas[name][4096 + 64 : 4096 + 2048] = rotten[4096 + 64 : 4096 + 2048]
    bench.power_on()
    status = bench.meter.status()
    assert status.state == "ERROR"
    assert status.lock_reasons != []
    with pytest.raises(IntegrityError):
        bench.print(OTHER)
    assert [d.pieces for d in bench.meter.departments()] == [1, 0]


# --- refill and check-in over the meter's own line -------------------------------------------------------------------


def test_a_refill_moves_money_from_the_account_to_the_meter(bench: Bench) -> None:
    answer = bench.ask("refill", amount_mills=5_000)
    assert (answer["amount_mills"], answer["reason"], answer["descending_mills"]) == (5_000, "", FUNDS + 5_000)
    assert bench.centre.balance(CUSTOMER) == DEPOSIT - FUNDS - 5_000
    bench.check_books()


def test_a_refill_without_funds_moves_nothing_and_leaves_nothing_pending(bench: Bench) -> None:
    answer = bench.ask("refill", amount_mills=DEPOSIT)
    assert answer["amount_mills"] == 0
    assert answer["reason"].startswith(f"account {CUSTOMER} holds $900.00, $100.00 less than the refill")
    assert bench.meter.status().refill_pending_mills == 0
    bench.check_books()
    bench.ask("refill", amount_mills=DEPOSIT - FUNDS)
    assert bench.centre.balance(CUSTOMER) == 0
    bench.check_books()


def test_the_same_refill_request_is_one_refill_and_its_id_serves_no_other(bench: Bench) -> None:
    answer = bench.ask("refill", ONE, amount_mills=5_000)
    assert bench.ask("refill", ONE, amount_mills=5_000) == answer
    bench.power_on()
    assert bench.ask("refill", ONE, amount_mills=5_000) == answer
    with pytest.raises(RequestIdReused):
        bench.ask("refill", ONE, amount_mills=6_000)
    assert bench.registers().control_sum_mills == FUNDS + 5_000
    bench.check_books()


@pytest.mark.parametrize("cut", ["there", "back"])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("again", [ONE, OTHER], ids=["same id", "new id"])
def test_a_refill_that_was_cut_off_is_finished_by_the_next_one_of_its_amount(
    bench: Bench, cut: str, restart: bool, again: bytes
) -> None:
    bench.wire.cut = cut
    with pytest.raises(Interrupted):
        bench.ask("refill", ONE, amount_mills=5_000)
    assert bench.meter.status().refill_pending_mills == 5_000
    bench.wire.cut = ""
    if restart:
        bench.power_on()
    with pytest.raises(RefillPending, match=r"a refill of \$5\.00 is under way"):
        bench.ask("refill", b"\x03" * 16, amount_mills=6_000)
    bench.print()  # meanwhile the meter goes on
    answer = bench.ask("refill", again, amount_mills=5_000)
    assert answer["amount_mills"] == 5_000
    assert bench.registers().control_sum_mills == FUNDS + 5_000
    bench.check_books()
    assert bench.ask("refill", again, amount_mills=5_000) == answer
    bench.check_books()


@pytest.mark.parametrize("cut", ["there", "back"])
def test_a_check_in_that_overtakes_a_refill_does_not_block_refills_for_ever(bench: Bench, cut: str) -> None:
    bench.wire.cut = cut
    with pytest.raises(Interrupted):
        bench.ask("refill", amount_mills=5_000)
    bench.wire.cut = ""
    bench.print()
    bench.ask("check_in")
    if cut == "there":
        with pytest.raises(RefusedByProvider, match=r"comes after \d+: late, or replayed\. Begin again"):
            bench.meter.refill(5_000)
        assert bench.meter.status().refill_pending_mills == 0
        bench.check_books()
    bench.meter.refill(5_000)
    assert bench.registers().control_sum_mills == FUNDS + 5_000
    bench.check_books()


@pytest.mark.parametrize("cut", ["there", "back"])
def test_a_check_in_that_was_cut_off_is_done_by_the_next_one(bench: Bench, cut: str) -> None:
    bench.clock.advance(73 * HOUR)
    assert bench.meter.status().state == "LOCKED"
    bench.wire.cut = cut
    with pytest.raises(Interrupted):
        bench.ask("check_in", ONE)
    assert bench.meter.status().state == "LOCKED"
    bench.wire.cut = ""
    answer = {"state": "OPERATIONAL", "lock_reasons": [], "seconds_to_lockout": 72 * 3600}
    assert bench.ask("check_in", OTHER) == answer
    assert bench.meter.status().seconds_to_lockout == 72 * 3600


def test_a_receipt_of_an_earlier_check_in_unlocks_nothing(bench: Bench) -> None:
    bench.ask("check_in")
    old = bench.wire.received[-1]
    bench.clock.advance(73 * HOUR)
    bench.ask("checkin_begin")
    with pytest.raises(StaleMessage):
        bench.ask("checkin_complete", message=old)
    assert bench.meter.status().state == "LOCKED"


def test_the_outside_may_carry_the_messages_itself(bench: Bench) -> None:
    """A meter whose host has the connection: begin and complete are passed through."""
    request = bench.ask("refill_begin", amount_mills=5_000)["message"]
    grant = bench.centre.refill(request)
    bench.ask("refill_complete", message=grant)
    report = bench.ask("checkin_begin")["message"]
    bench.ask("checkin_complete", message=bench.centre.check_in(report))
    bench.check_books()
    bench.ask("refill_begin", amount_mills=5_000)
    bench.ask("refill_complete", message=bench.centre.cancel_refill(bench.ask("refill_cancel")["message"]))
    bench.check_books()
    ordered(bench, "lock", "lock_order", lock_reasons=["provider lock"])
    ordered(bench, "unlock", "unlock_order", lock_reasons=["provider lock"])
    bench.ask("withdraw_complete", message=bench.centre.withdraw(bench.ask("withdraw_begin")["message"]))
    assert bench.centre.balance(CUSTOMER) == DEPOSIT


def test_a_new_offset_from_utc_counts_from_the_next_piece_on(bench: Bench) -> None:
    bench.clock.advance(8 * HOUR)  # 23:00 UTC
    bench.print()
    ordered(bench, "reauthorize", "reauthorization", licensing_zip="10001", customer=CUSTOMER, utc_offset_minutes=120)
    bench.print(mailing_date=bench.meter.status().today)
    assert [piece.printed_on for piece in stored(bench)] == ["2026-01-05", "2026-01-06"]


def pending(bench: Bench, amount: int = 5_000, cut: str = "back") -> Bench:
    """A refill whose grant got lost, or whose request did."""
    bench.wire.cut = cut
    with pytest.raises(Interrupted):
        bench.meter.refill(amount)
    bench.wire.cut = ""
    return bench


def ordered(bench: Bench, service: str, kind: str, **fields: Any) -> dict[str, Any]:
    """An order of the provider, over the meter's port."""
    message = bench.centre.order(kind, SERIAL, bench.ask("challenge"), **fields)
    return bench.ask(service, message=message)


# --- what the table promises -----------------------------------------------------------------------------------------

ANSWERS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "print_piece": lambda bench: bench.print(),
    "quote": lambda bench: bench.ask("quote", mail_class="first_class_letter", weight=1, mailing_date=TODAY),
    "get_departments": lambda bench: bench.ask("get_departments", from_department=""),
    "refill": lambda bench: bench.ask("refill", amount_mills=1_000),
    "check_in": lambda bench: bench.ask("check_in"),
    "get_info": lambda bench: bench.ask("get_info"),
    "get_status": lambda bench: bench.ask("get_status"),
    "get_registers": lambda bench: bench.ask("get_registers"),
    "get_certificates": lambda bench: bench.ask("get_certificates"),
    "self_test": lambda bench: bench.ask("self_test"),
    "cancel_refill": lambda bench: pending(bench).ask("cancel_refill"),
    "withdraw": lambda bench: bench.ask("withdraw"),
    "refill_begin": lambda bench: bench.ask("refill_begin", amount_mills=1_000),
    "refill_cancel": lambda bench: pending(bench).ask("refill_cancel"),
    "withdraw_begin": lambda bench: bench.ask("withdraw_begin"),
    "checkin_begin": lambda bench: bench.ask("checkin_begin"),
    "challenge": lambda bench: bench.ask("challenge"),
    "reauthorize": lambda bench: ordered(
        bench, "reauthorize", "reauthorization", licensing_zip="10001", customer="B", utc_offset_minutes=60
    ),
    "set_time": lambda bench: ordered(bench, "set_time", "time_setting", device_time=bench.clock.now()),
    "lock": lambda bench: ordered(bench, "lock", "lock_order", lock_reasons=["provider lock"]),
    "unlock": lambda bench: ordered(bench, "unlock", "unlock_order", lock_reasons=["provider lock"]),
    "get_statement": lambda bench: stopped(bench).ask("get_statement"),
    "recover": lambda bench: stopped(bench).ask("recover", message=recovery(bench)),
    "read_log": lambda bench: bench.ask("read_log", first_record=1),
}


def stopped(bench: Bench) -> Bench:
    bench.psd._books.stop("a test said so")
    return bench


def recovery(bench: Bench) -> bytes:
    said = {"ascending_mills": 0, "piece_count": 0, "zero_piece_count": 0}
    return bench.centre.recover(SERIAL, bench.ask("challenge"), **said)


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_has_just_the_fields_of_the_table(bench: Bench, name: str) -> None:
    check_all(BY_NAME[name].reply, ANSWERS[name](bench))


def test_no_service_is_left_out_of_that() -> None:
    ends = {"refill_complete", "checkin_complete", "withdraw_complete"}  # what refill, check_in and withdraw end with
    assert set(BY_NAME) - set(ANSWERS) == ends
