"""Withdrawal: what is left goes back to the customer, once, and then there is nothing more for that PSD."""

from __future__ import annotations

import copy

import pytest

from pes_sim.errors import BadMessage, Locked, NothingPending, PesError, RefusedByProvider, RefusedInState, Status
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from tests.meter.bench import Bench
from tests.meter.made import CUSTOMER, DEPOSIT, FUNDS, SERIAL
from tests.provider.helpers import balance, forged, known, opened, ordered, reopen, repeated, report, request


def withdrawal(bench: Bench) -> bytes:
    message: bytes = bench.ask("withdraw_begin")["message"]
    return message


def complete(bench: Bench, reply: bytes) -> Values:
    return bench.ask("withdraw_complete", message=reply)


def test_what_is_left_is_paid_back_once(bench: Bench) -> None:
    bench.print()
    message = withdrawal(bench)
    grant = bench.centre.withdraw(message)
    answer = repeated(bench, message, "withdrawal_request", amount_mills=FUNDS - 740)
    assert opened(bench, grant) == ("withdrawal_grant", answer)
    assert bench.centre.withdraw(message) == grant == reopen(bench).withdraw(message)
    assert balance(bench) == DEPOSIT - 740
    reply = complete(bench, grant)
    assert (reply["amount_mills"], reply["descending_mills"], reply["control_sum_mills"]) == (FUNDS - 740, 0, 740)
    values = messages.open_signed(reply["statement"], known(bench).message_point, "withdrawal_statement")[1]
    assert (values["ascending_mills"], values["descending_mills"]) == (740, 0)
    bench.check_books()


def test_a_device_without_postage_is_withdrawn_for_nothing(bench: Bench) -> None:
    bench.print(declared_mills=FUNDS)
    grant = bench.centre.withdraw(withdrawal(bench))
    assert opened(bench, grant)[0] == "withdrawal_grant"
    assert complete(bench, grant)["amount_mills"] == 0
    bench.check_books()


@pytest.mark.parametrize("claimed", [FUNDS - 1, FUNDS + 1, 0, 900_000])
def test_another_amount_than_the_descending_register_is_refused_and_service_goes_on(bench: Bench, claimed: int) -> None:
    message = withdrawal(bench)
    refusal = bench.centre.withdraw(forged(bench, message, "withdrawal_request", amount_mills=claimed))
    kind, values = opened(bench, refusal)
    assert (kind, values["reason"]) == ("withdrawal_refusal", "the amount is not the descending register")
    with pytest.raises(BadMessage, match="this nonce was used for another message"):
        bench.centre.withdraw(message)
    assert balance(bench) == DEPOSIT - FUNDS
    assert complete(bench, refusal)["reason"] == "the amount is not the descending register"
    bench.print()
    bench.meter.refill(1_000)
    bench.meter.check_in()
    bench.check_books()


def test_registers_that_cannot_be_true_are_paid_nothing(bench: Bench) -> None:
    lie = {"descending_mills": FUNDS + 5_000, "control_sum_mills": FUNDS + 5_000, "amount_mills": FUNDS + 5_000}
    refusal = bench.centre.withdraw(forged(bench, withdrawal(bench), "withdrawal_request", **lie))
    kind, values = opened(bench, refusal)
    assert kind == "withdrawal_refusal"
    assert values["reason"].startswith("the control sum is $105.00, refills come to $100.00")
    assert balance(bench) == DEPOSIT - FUNDS
    assert not known(bench).withdrawn
    complete(bench, refusal)
    with pytest.raises(RefusedByProvider, match=r"the control sum is \$105\.00"):  # a suspect is paid nothing more
        bench.meter.withdraw()


def test_a_withdrawal_that_a_check_in_overtook_is_refused_and_can_be_begun_again(bench: Bench) -> None:
    late = withdrawal(bench)
    bench.meter.check_in()
    refusal = bench.centre.withdraw(late)
    kind, values = opened(bench, refusal)
    assert kind == "withdrawal_refusal"
    assert "comes after" in values["reason"]
    complete(bench, refusal)
    complete(bench, bench.centre.withdraw(withdrawal(bench)))
    assert balance(bench) == DEPOSIT


def test_a_check_in_between_the_grant_and_its_arrival_harms_no_honest_device(bench: Bench) -> None:
    """The registers then come to more than the provider's books: the money is back, the grant is on its way."""
    bench.print()
    message = withdrawal(bench)
    grant = bench.centre.withdraw(message)
    with pytest.raises(RefusedByProvider, match="was withdrawn from service"):
        bench.meter.check_in()
    assert known(bench).suspicion == ""
    assert bench.meter.status().lock_reasons == ["provider lock"]  # it waits for nothing but its grant
    assert complete(bench, grant)["amount_mills"] == FUNDS - 740
    bench.check_books()


def test_nothing_more_is_done_for_a_withdrawn_device(bench: Bench) -> None:
    refill = request(bench)
    bench.ask("refill_complete", message=bench.centre.refill(refill))
    image = copy.deepcopy(bench.storage.areas)
    complete(bench, bench.centre.withdraw(withdrawal(bench)))
    assert balance(bench) == DEPOSIT
    bench.storage.areas = image  # the device is put back to when it was in service
    bench.lose_database()
    bench.power_on()
    bench.store.add_department("100", "Sales")
    for _ in range(3):
        bench.ask("checkin_begin")  # past the numbers that were used
    kind, values = opened(bench, bench.centre.refill(request(bench)))
    assert (kind, values["reason"]) == ("refill_refusal", "the device was withdrawn from service")
    bench.ask("refill_complete", message=bench.centre.cancel_refill(bench.ask("refill_cancel")["message"]))
    kind, values = opened(bench, bench.centre.withdraw(withdrawal(bench)))
    assert (kind, values["reason"]) == ("withdrawal_refusal", "the device was withdrawn from service")
    kind, values = opened(bench, bench.centre.check_in(message := report(bench)))
    assert (kind, values["lock_reasons"]) == ("checkin_refusal", ["provider lock"])
    bench.ask("checkin_complete", message=bench.centre.check_in(message))
    with pytest.raises(Locked):
        bench.print()
    for order, fields in (
        ("unlock_order", {"lock_reasons": ["provider lock"]}),
        ("time_setting", {"device_time": bench.clock.now()}),
        ("reauthorization", {"licensing_zip": "10001", "customer": "B", "utc_offset_minutes": 0}),
    ):
        with pytest.raises(RefusedByProvider, match=f"PSD {SERIAL} was withdrawn from service"):
            bench.centre.order(order, SERIAL, bench.ask("challenge"), **fields)
    ordered(bench, "lock", "lock_order", lock_reasons=["register fault"])
    assert balance(bench) == DEPOSIT
    assert bench.centre.balance("B") == 0


def test_cancelling_an_old_refill_after_a_withdrawal_pays_nothing_a_second_time(bench: Bench) -> None:
    message = request(bench)
    image = copy.deepcopy(bench.storage.areas)
    bench.ask("refill_complete", message=bench.centre.refill(message))
    complete(bench, bench.centre.withdraw(withdrawal(bench)))
    assert balance(bench) == DEPOSIT
    bench.storage.areas = image
    bench.power_on()
    kind, values = opened(bench, bench.centre.cancel_refill(bench.ask("refill_cancel")["message"]))
    assert kind == "refill_refusal"
    assert values["reason"] == "the device was withdrawn from service"
    assert balance(bench) == DEPOSIT


def test_a_grant_counts_for_its_own_request(bench: Bench) -> None:
    first = withdrawal(bench)
    bench.meter.check_in()
    complete(bench, bench.centre.withdraw(first))  # refused: late
    with pytest.raises(NothingPending):
        complete(bench, bench.centre.withdraw(first))
    withdrawal(bench)
    with pytest.raises(PesError) as refusal:
        complete(bench, bench.centre.withdraw(first))
    assert refusal.value.status is Status.STALE_MESSAGE


def test_a_withdrawn_device_prints_nothing_and_its_registers_can_be_read(bench: Bench) -> None:
    bench.print()
    complete(bench, bench.centre.withdraw(withdrawal(bench)))
    for step in (bench.print, bench.meter.check_in, lambda: bench.meter.refill(1_000), bench.meter.withdraw):
        with pytest.raises(RefusedInState, match="state WITHDRAWN") as refusal:
            step()
        assert refusal.value.hint == (
            "It was withdrawn from service and its postage paid back; registers and log can still be read"
        )
    for _ in range(2):
        assert bench.registers().ascending_mills == 740
        assert len(list(bench.meter.log())) == 1
        bench.power_on()
    assert bench.centre.balance(CUSTOMER) == DEPOSIT - 740
