"""Recovery: a PSD that cannot read its log goes on with what the provider's books and the meter's say, and nobody gains
by the rot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pes_sim.errors import BadMessage, FieldError, Locked, NotForThisDevice, NothingPending, PesError, RefusedByProvider
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.psd.registers import REGISTERS
from tests.meter.bench import SMALL_BANK, Bench
from tests.meter.made import CUSTOMER, DEPOSIT, FUNDS, SERIAL
from tests.provider.helpers import Device, balance, forged, known, opened, ordered, report, request

FROM_BEFORE = "is from before the recovery that was ordered"


def rot(bench: Bench, *, report_too: bool = False) -> None:
    """Every segment of the log, both banks, and the power goes."""
    for name, area in bench.storage.areas.items():
        if name.startswith("log-") or (report_too and name.startswith("last-report")):
            area[:] = b"\xa5" * len(area)
    bench.power_on()
    assert bench.meter.status().state == "ERROR"


def recovery(bench: Bench, ascending: int, pieces: int, zero: int = 0, challenge: Values | None = None) -> bytes:
    return bench.centre.recover(
        SERIAL, challenge or bench.ask("challenge"), ascending_mills=ascending, piece_count=pieces,
        zero_piece_count=zero,
    )  # fmt: skip


def recover(bench: Bench, ascending: int, pieces: int, zero: int = 0) -> None:
    before = known(bench).registers
    bench.ask("recover", message=recovery(bench, ascending, pieces, zero))
    assert "register fault" in bench.meter.status().lock_reasons
    assert known(bench).registers == before, "what was ordered is no report"


def unlock(bench: Bench) -> None:
    ordered(bench, "unlock", "unlock_order", lock_reasons=bench.meter.status().lock_reasons)
    bench.meter.check_in()
    assert bench.meter.status().state == "OPERATIONAL"


def agree(bench: Bench) -> None:
    """Provider, PSD and meter, to the mill."""
    registers, psd = bench.registers(), known(bench)
    assert {name: getattr(registers, name) for name in REGISTERS} == psd.least
    assert registers.balanced()
    assert registers.control_sum_mills == psd.granted_mills
    assert bench.store.totals() == (registers.piece_count, registers.ascending_mills)
    assert balance(bench) == DEPOSIT - registers.control_sum_mills


@pytest.mark.parametrize("printed", [0, 3])
@pytest.mark.parametrize("bank", [SMALL_BANK, 1 << 20])
def test_it_serves_again_and_all_books_agree(tmp_path: Any, printed: int, bank: int) -> None:
    bench = Bench(tmp_path, bank=bank)
    for _ in range(2):
        bench.print()
    bench.meter.check_in()
    for _ in range(printed):  # of which the provider has not heard
        bench.print()
    rot(bench)
    recover(bench, (2 + printed) * 740, 2 + printed)
    agree(bench)
    with pytest.raises(Locked):
        bench.print()
    unlock(bench)
    bench.print()
    bench.meter.refill(5_000)
    bench.print()
    bench.meter.check_in()
    agree(bench)
    assert bench.registers().ascending_mills == (4 + printed) * 740
    bench.power_on()
    bench.meter.check_in()
    agree(bench)
    bench.store.close()
    bench.centre.close()


def test_no_number_of_the_log_is_used_twice_though_all_segments_are_gone(bench: Bench) -> None:
    bench.meter.check_in()
    for _ in range(30):
        bench.print()
    for name in bench.storage.names():
        if name.startswith("log-"):
            del bench.storage.areas[name]
    bench.power_on()
    recover(bench, 30 * 740, 30)
    unlock(bench)
    assert bench.print()["record"] > 30
    bench.meter.check_in()
    agree(bench)  # a piece of a number that the database knows would not have been taken into it


def test_withdrawn_it_pays_back_exactly_the_rest_and_never_comes_back(bench: Bench) -> None:
    bench.print()
    bench.meter.check_in()
    bench.print()
    rot(bench)
    recover(bench, 1_480, 2)
    withdrawn = bench.meter.withdraw()
    assert withdrawn.amount_mills == FUNDS - 1_480
    assert balance(bench) == DEPOSIT - 1_480
    rot(bench)
    last = messages.open_signed(bench.meter.statement(), known(bench).message_point, "withdrawal_statement")[1]
    assert (last["ascending_mills"], last["descending_mills"]) == (1_480, 0)
    with pytest.raises(RefusedByProvider, match="withdrawn from service, and its postage paid back"):
        recovery(bench, 1_480, 2)
    assert balance(bench) == DEPOSIT - 1_480


def test_what_it_reported_last_is_shown_under_its_own_key(bench: Bench) -> None:
    bench.print()
    bench.meter.check_in()
    rot(bench)
    said = messages.open_signed(bench.meter.statement(), known(bench).message_point, "checkin_report")[1]
    assert {name: said[name] for name in REGISTERS} == known(bench).registers


REFUSED = {
    "AR below the last report": ((739, 2, 0), "the ascending register is below what it last reported"),
    "fewer pieces": ((1_480, 1, 0), "the piece count is below"),
    "fewer zero-value pieces": ((1_480, 2, -1), "the count of zero-value pieces"),
    "more zero-value pieces than pieces": ((1_480, 2, 1), "the count of zero-value pieces"),
    "postage without a piece": ((1_481, 2, 0), "postage was used without a piece"),
    "more than was granted": ((FUNDS + 1, 3, 0), "more was used than was granted"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_registers_that_cannot_be_true_are_not_signed(bench: Bench, what: str) -> None:
    numbers, complaint = REFUSED[what]
    bench.print()
    bench.print()
    bench.meter.check_in()
    rot(bench)
    before, challenge = known(bench), bench.ask("challenge")
    with pytest.raises(RefusedByProvider, match=complaint) as caught:
        recovery(bench, *numbers, challenge=challenge)
    assert "$1.48 used in 2 pieces" in caught.value.hint
    assert known(bench) == before
    with pytest.raises(FieldError):
        recovery(bench, 1_480, 1 << 40, challenge=challenge)
    assert known(bench) == before
    recover(bench, FUNDS, 3, 0)  # all of it may have been printed
    agree_without_store(bench)


def agree_without_store(bench: Bench) -> None:
    registers = bench.registers()
    assert {name: getattr(registers, name) for name in REGISTERS} == known(bench).least
    assert registers.descending_mills == 0


def test_no_such_device_and_no_such_order(bench: Bench) -> None:
    challenge = bench.ask("challenge")
    with pytest.raises(NotForThisDevice):
        bench.centre.recover(SERIAL + 1, challenge, ascending_mills=0, piece_count=0, zero_piece_count=0)
    with pytest.raises(FieldError, match="'recovery_order' is no order"):
        bench.centre.order("recovery_order", SERIAL, challenge, newest_number=1, log_sequence=1, device_time=1)


def test_an_order_for_another_device_of_the_customer_is_refused(bench: Bench) -> None:
    other = Device(bench, SERIAL + 1)
    rot(bench)
    message = bench.centre.recover(
        SERIAL + 1, bench.ask("challenge"), ascending_mills=0, piece_count=0, zero_piece_count=0
    )
    with pytest.raises(NotForThisDevice):
        bench.ask("recover", message=message)
    assert other.ask("get_status")["state"] == "OPERATIONAL"


def test_what_was_wrong_between_the_meter_and_its_psd_before_is_looked_at_anew(bench: Bench) -> None:
    bench.print()
    bench.device._projection.complaint = "the meter's database knows more"
    bench.device._projection.lost = True
    bench.psd._books.stop("a test said so")
    recover(bench, 740, 1)
    unlock(bench)
    bench.print()
    bench.meter.check_in()
    agree(bench)


# A refill under way


def test_a_grant_that_never_arrived_is_had_by_the_recovery_and_not_once_more(bench: Bench) -> None:
    asked = request(bench, 5_000)
    grant = bench.centre.refill(asked)
    rot(bench)
    recover(bench, 0, 0)
    assert bench.registers().descending_mills == FUNDS + 5_000
    with pytest.raises(NothingPending):
        bench.ask("refill_complete", message=grant)
    assert opened(bench, bench.centre.refill(asked))[0] == "refill_refusal"  # an older image could book it as well
    unlock(bench)
    agree(bench)


def test_a_request_that_never_arrived_comes_late_and_costs_nothing(bench: Bench) -> None:
    for _ in range(20):
        report(bench)  # numbers that the provider has not heard of
    asked = request(bench, 5_000)
    rot(bench)
    recover(bench, 0, 0)
    kind, said = opened(bench, bench.centre.refill(asked))
    assert (kind, FROM_BEFORE in said["reason"]) == ("refill_refusal", True)
    unlock(bench)
    agree(bench)
    bench.meter.refill(1_000)
    bench.meter.check_in()
    agree(bench)


@pytest.mark.parametrize("used", [0, 1])
def test_a_cancellation_that_comes_after_the_recovery_is_not_paid_back(bench: Bench, used: int) -> None:
    bench.centre.refill(request(bench, 5_000))
    cancellation = bench.ask("refill_cancel")["message"]
    rot(bench)
    message = recovery(bench, 0, 0)
    if used:
        bench.ask("recover", message=message)
    kind, said = opened(bench, bench.centre.cancel_refill(cancellation))
    assert (kind, FROM_BEFORE in said["reason"]) == ("refill_refusal", True)
    assert balance(bench) == DEPOSIT - FUNDS - 5_000
    if used:
        unlock(bench)
        agree(bench)


def test_a_cancellation_that_came_before_is(bench: Bench) -> None:
    bench.centre.refill(request(bench, 5_000))
    bench.centre.cancel_refill(bench.ask("refill_cancel")["message"])
    rot(bench)
    recover(bench, 0, 0)
    unlock(bench)
    assert bench.registers().descending_mills == FUNDS
    agree(bench)


def test_a_withdrawal_that_was_granted_and_never_arrived_is_the_end(bench: Bench) -> None:
    bench.centre.withdraw(bench.ask("withdraw_begin")["message"])
    rot(bench)
    with pytest.raises(RefusedByProvider, match="withdrawn"):
        recovery(bench, 0, 0)
    assert balance(bench) == DEPOSIT


def test_a_withdrawal_that_was_asked_for_before_is_not_granted_after(bench: Bench) -> None:
    asked = bench.ask("withdraw_begin")["message"]
    rot(bench)
    recover(bench, 0, 0)
    assert opened(bench, bench.centre.withdraw(asked))[0] == "withdrawal_refusal"
    assert balance(bench) == DEPOSIT - FUNDS
    assert bench.meter.withdraw().amount_mills == FUNDS
    assert balance(bench) == DEPOSIT


# Who rots the log on purpose


def test_rot_on_purpose_gains_nothing_that_was_reported_or_can_be_read(bench: Bench) -> None:
    for _ in range(3):
        bench.print()
    bench.meter.check_in()
    bench.print()
    report(bench)  # kept in the device, and not sent
    rot(bench)
    with pytest.raises(RefusedByProvider):  # what was reported, the provider knows
        recovery(bench, 1_480, 2)
    message = recovery(bench, 3 * 740, 3)  # what was not, the device does
    with pytest.raises(BadMessage, match="the ascending register would fall"):
        bench.ask("recover", message=message)
    recover(bench, 4 * 740, 4)
    unlock(bench)
    agree(bench)


def test_an_order_kept_back_serves_no_second_time(bench: Bench) -> None:
    bench.print()
    rot(bench)
    first = recovery(bench, 740, 1)
    bench.ask("recover", message=first)
    unlock(bench)
    bench.print()
    bench.print()
    bench.meter.check_in()
    rot(bench)
    for message in (first, first):
        with pytest.raises(PesError):
            bench.ask("recover", message=message)
        bench.ask("challenge")
    with pytest.raises(RefusedByProvider):
        recovery(bench, 740, 1)
    recover(bench, 3 * 740, 3)
    unlock(bench)
    agree(bench)


# Older images, and orders that nobody carried out


def image_of(bench: Bench) -> dict[str, bytearray]:
    return {name: bytearray(area) for name, area in bench.storage.areas.items()}


def put_back(bench: Bench, image: dict[str, bytearray]) -> None:
    """Another image of the device, with the meter's database made from its log."""
    bench.storage.areas = {name: bytearray(area) for name, area in image.items()}
    bench.lose_database()
    bench.power_on()


def found_out(bench: Bench, why: str = FROM_BEFORE) -> None:
    """At its next check-in, and then nothing but another recovery helps."""
    before, money = known(bench), balance(bench)
    with pytest.raises((RefusedByProvider, Locked), match=f"{why}|later registers than this device's"):
        bench.meter.check_in()
    assert bench.meter.status().state == "LOCKED"
    with pytest.raises(PesError):
        bench.print()
    with pytest.raises(RefusedByProvider, match="has not carried out the recovery|withdrawn from service"):
        ordered(bench, "unlock", "unlock_order", lock_reasons=bench.meter.status().lock_reasons)
    assert (known(bench), balance(bench)) == (before, money), "and nothing is said against the device that serves"


@pytest.mark.parametrize("reported", [False, True])
def test_the_image_from_before_the_recovery_is_found_out(bench: Bench, reported: bool) -> None:
    image = image_of(bench)
    bench.print()
    rot(bench)
    recover(bench, 740, 1)
    if reported:
        unlock(bench)
    serves = image_of(bench)
    put_back(bench, image)
    found_out(bench)
    put_back(bench, serves)
    unlock(bench)
    agree(bench)


def test_of_two_images_that_are_recovered_the_first_is_found_out(bench: Bench) -> None:
    bench.print()
    image = image_of(bench)
    rot(bench)
    recover(bench, 740, 1)
    first = image_of(bench)
    put_back(bench, image)
    rot(bench)
    recover(bench, 740, 1)
    unlock(bench)
    bench.store.add_department("100", "Sales")
    second = image_of(bench)
    put_back(bench, first)
    found_out(bench)
    put_back(bench, second)
    bench.meter.refill(5_000)
    bench.meter.check_in()
    agree(bench)


def test_the_first_of_two_is_found_out_after_the_second_was_withdrawn_too(bench: Bench) -> None:
    image = image_of(bench)
    rot(bench)
    recover(bench, 0, 0)
    unlock(bench)
    first = image_of(bench)
    put_back(bench, image)
    recover(bench, 0, 0)
    bench.meter.withdraw()
    assert balance(bench) == DEPOSIT
    put_back(bench, first)
    found_out(bench, "the device was withdrawn from service")
    assert balance(bench) == DEPOSIT


def test_the_image_of_a_withdrawn_device_is_found_out_though_its_numbers_are_old(bench: Bench) -> None:
    image = image_of(bench)
    bench.meter.check_in()
    bench.meter.withdraw()
    put_back(bench, image)
    with pytest.raises(RefusedByProvider, match="the device was withdrawn from service"):
        bench.meter.check_in()
    assert bench.meter.status().lock_reasons == ["provider lock"]


def test_a_receipt_of_before_is_not_given_again(bench: Bench) -> None:
    """It would let an older image print for another 72 hours."""
    asked = report(bench)
    bench.centre.check_in(asked)
    recovery(bench, 0, 0)
    kind, said = opened(bench, bench.centre.check_in(asked))
    assert (kind, said["lock_reasons"]) == ("checkin_refusal", ["rollback found"])


def test_an_order_that_nobody_carried_out_binds_neither_side(bench: Bench) -> None:
    bench.print()
    bench.meter.check_in()
    bench.print()
    before = known(bench)
    recovery(bench, 90_000, 900)  # a slip
    assert replace(known(bench), ordered=None) == before
    found_out(bench)  # the device is well, and says what nobody waits for
    with pytest.raises(RefusedByProvider, match="below what it last reported"):
        recovery(bench, 0, 0)
    recover(bench, 1_480, 2)
    unlock(bench)
    bench.print()
    bench.meter.check_in()
    agree(bench)


def test_an_order_that_the_device_refuses_binds_neither_side(bench: Bench) -> None:
    bench.print()
    bench.meter.check_in()
    bench.print()
    report(bench)
    rot(bench)
    message = recovery(bench, 1_479, 3)  # the provider has heard of one, the device has a report of two
    with pytest.raises(BadMessage, match="the ascending register would fall"):
        bench.ask("recover", message=message)
    recover(bench, 1_480, 2)
    unlock(bench)
    agree(bench)


def test_what_the_device_has_carried_out_binds_it_whatever_is_ordered_next(bench: Bench) -> None:
    bench.print()
    rot(bench)
    recover(bench, 7_400, 10)
    message = recovery(bench, 740, 1)
    with pytest.raises(BadMessage, match="would fall"):
        bench.ask("recover", message=message)
    with pytest.raises(RefusedByProvider):
        bench.meter.check_in()  # the provider waits for the other
    recover(bench, 7_400, 10)
    unlock(bench)
    assert bench.registers().ascending_mills == 7_400


def test_who_has_got_to_the_new_numbers_without_the_registers_was_never_recovered(bench: Bench) -> None:
    rot(bench)
    recover(bench, 7_400, 10)
    forgery = forged(bench, report(bench), "checkin_report", ascending_mills=740, descending_mills=FUNDS - 740)
    kind, said = opened(bench, bench.centre.check_in(forgery))
    assert (kind, said["lock_reasons"]) == ("checkin_refusal", ["rollback found"])
    assert bench.centre.waits_for(SERIAL).startswith("the ascending register fell")


def test_what_the_provider_waits_for_is_told(bench: Bench) -> None:
    assert bench.centre.waits_for(SERIAL) == ""
    recover(bench, 0, 0)
    assert bench.centre.waits_for(SERIAL) == "a recovery was ordered, and the device has not reported by it"
    unlock(bench)
    assert bench.centre.waits_for(SERIAL) == ""


@pytest.mark.parametrize("first", ["check-in", "refill", "withdrawal"])
def test_whatever_comes_first_after_the_recovery_is_taken(bench: Bench, first: str) -> None:
    bench.meter.check_in()  # its mark is not in the new log
    bench.print()
    rot(bench)
    recover(bench, 740, 1)
    if first == "withdrawal":
        assert bench.meter.withdraw().amount_mills == FUNDS - 740
        return
    ordered(bench, "unlock", "unlock_order", lock_reasons=["register fault"])
    if first == "refill":
        bench.meter.refill(5_000)
    bench.meter.check_in()
    bench.meter.check_in()
    agree(bench)


def test_an_order_that_was_never_carried_out_can_be_reconciled_as_well(bench: Bench) -> None:
    bench.print()
    recovery(bench, 740, 1)  # for a device that serves: a mistake
    proof = bench.centre.login(SERIAL, bench.ask("challenge"))
    bench.ask_psd("authenticate", role="provider", proof=proof)
    bench.centre.reconcile(bench.ask_psd("audit", nonce=bytes(16))["statement"], bytes(16))
    bench.power_on()
    bench.meter.check_in()
    agree(bench)
    assert bench.centre.balance(CUSTOMER) == DEPOSIT - FUNDS
