"""Refill: a signed request, a signed grant that counts once, or a signed refusal that clears it."""

from __future__ import annotations

from typing import Any

import pytest

from pes_sim.clock import HOUR
from pes_sim.errors import (
    BadMessage,
    BadSignature,
    MoneyError,
    NotForThisDevice,
    NothingPending,
    PesError,
    RefillPending,
    RegisterLimit,
    StaleMessage,
)
from pes_sim.psd.registers import REGISTERS
from tests.rig import CUSTOMER, SERIAL, Rig, answer, operational, sign


def test_the_request_gives_serial_account_and_registers_as_the_cfr_wants() -> None:
    rig = operational(10_000)
    rig.dispense()
    request = rig.request_refill(5_000)
    assert (request["psd_serial"], request["customer"], request["amount_mills"]) == (SERIAL, CUSTOMER, 5_000)
    assert (request["ascending_mills"], request["descending_mills"]) == (740, 9_260)


def test_a_grant_adds_to_what_is_available_and_to_the_control_sum() -> None:
    rig = operational(10_000)
    rig.dispense()
    assert rig.refill(5_000) == {
        "amount_mills": 5_000,
        "reason": "",
        "ascending_mills": 740,
        "descending_mills": 14_260,
        "control_sum_mills": 15_000,
        "piece_count": 1,
        "zero_piece_count": 0,
        "service_indicator": 0,
    }


def test_beginning_again_gives_the_same_request_and_another_amount_is_refused() -> None:
    rig = operational()
    first = rig.ask("refill_begin", amount_mills=5_000)
    assert rig.ask("refill_begin", amount_mills=5_000) == first
    assert rig.status()["refill_pending_mills"] == 5_000
    with pytest.raises(RefillPending, match=r"a refill of \$5.00 is under way; \$6.00 cannot take its place") as caught:
        rig.ask("refill_begin", amount_mills=6_000)
    assert caught.value.detail == {"pending_mills": 5_000}
    with pytest.raises(RefillPending):
        rig.ask("refill_begin", amount_mills=4_000)


def test_every_request_has_a_number_of_its_own() -> None:
    rig = operational()
    numbers = []
    for _ in range(3):
        request = rig.request_refill(1_000)
        numbers.append(request["message_number"])
        rig.ask("refill_complete", message=rig.grant(request))
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


def test_a_refusal_clears_the_pending_refill_and_says_why() -> None:
    rig = operational()
    before = rig.registers()
    request = rig.request_refill(5_000)
    done = rig.ask("refill_complete", message=answer("refill_refusal", request, reason="no funds"))
    assert (done["amount_mills"], done["reason"]) == (0, "no funds")
    assert rig.registers() == before
    assert rig.status()["refill_pending_mills"] == 0
    rig.refill(6_000)


def test_a_grant_that_comes_after_the_lockout_is_booked_all_the_same() -> None:
    rig = operational(10_000)
    request = rig.request_refill(5_000)
    rig.now += 80 * HOUR
    assert rig.ask("refill_complete", message=rig.grant(request))["descending_mills"] == 15_000
    assert rig.status()["state"] == "LOCKED"


def refused(rig: Rig, message: bytes, error: type[PesError]) -> None:
    before = rig.everything()
    with pytest.raises(error):
        rig.ask("refill_complete", message=message)
    assert rig.everything() == before


def test_a_grant_counts_once() -> None:
    rig = operational()
    grant = rig.grant(rig.request_refill(5_000))
    rig.ask("refill_complete", message=grant)
    refused(rig, grant, NothingPending)
    rig.request_refill(5_000)
    refused(rig, grant, StaleMessage)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"amount_mills": 50_000}, BadMessage),
        ({"amount_mills": 4_999}, BadMessage),
        ({"psd_serial": 1}, NotForThisDevice),
        ({"nonce": bytes(16)}, StaleMessage),
        ({"message_number": 0}, StaleMessage),
    ],
)
def test_a_grant_that_says_something_else_is_refused(changes: dict[str, Any], error: type[PesError]) -> None:
    rig = operational()
    request = rig.request_refill(5_000)
    refused(rig, answer("refill_grant", request, **{"amount_mills": 5_000} | changes), error)
    rig.ask("refill_complete", message=rig.grant(request))


def test_a_grant_of_another_provider_is_refused() -> None:
    rig = operational()
    request = rig.request_refill(5_000)
    values = {name: request[name] for name in ("psd_serial", "nonce", "message_number", "amount_mills", *REGISTERS)}
    refused(rig, sign("refill_grant", values, "another provider"), BadSignature)


@pytest.mark.parametrize(("amount", "error"), [(0, MoneyError), (2**32 - 1, RegisterLimit)])
def test_an_amount_that_could_not_be_booked_is_refused_before_the_provider_is_asked(
    amount: int, error: type[PesError]
) -> None:
    rig = operational()
    with pytest.raises(error):
        rig.ask("refill_begin", amount_mills=amount)
    assert rig.status()["refill_pending_mills"] == 0


# Cancelling


def cancel(rig: Rig, request_id: bytes = b"") -> bytes:
    return bytes(rig.ask("refill_cancel", request_id)["message"])


def test_cancelling_promises_signed_that_the_grant_of_that_request_is_never_accepted() -> None:
    rig = operational(10_000)
    rig.dispense()
    request = rig.request_refill(5_000)
    rig.check_in()  # a later message, with a later number
    rig.now += HOUR
    promise = rig.read("refill_cancellation", cancel(rig))
    repeated = ("psd_serial", "nonce", "message_number", "customer", "amount_mills", *REGISTERS)
    assert {name: promise[name] for name in repeated} == {name: request[name] for name in repeated}
    assert promise["device_time"] == request["device_time"] + HOUR
    status = rig.status()
    assert (status["sub_state"], status["refill_pending_mills"]) == ("REFILL_CANCELLED", 5_000)
    refused(rig, rig.grant(request), BadMessage)
    rig.power_on()
    refused(rig, rig.grant(request), BadMessage)
    assert rig.registers()["control_sum_mills"] == 10_000


def test_only_the_providers_refusal_ends_a_refill_that_was_cancelled() -> None:
    rig = operational(10_000)
    request = rig.request_refill(5_000)
    cancel(rig)
    for amount in (5_000, 6_000):
        with pytest.raises(RefillPending):
            rig.ask("refill_begin", amount_mills=amount)
    with pytest.raises(RefillPending):
        rig.ask("withdraw_begin")
    refusal = answer("refill_refusal", request, reason="taken back")
    done = rig.ask("refill_complete", message=refusal)
    assert (done["amount_mills"], done["reason"], done["descending_mills"]) == (0, "taken back", 10_000)
    assert rig.status()["sub_state"] == ""
    refused(rig, refusal, NothingPending)
    refused(rig, rig.grant(request), NothingPending)
    with pytest.raises(NothingPending):
        cancel(rig)
    again = rig.request_refill(5_000)
    assert (again["nonce"], again["message_number"]) != (request["nonce"], request["message_number"])
    refused(rig, refusal, StaleMessage)
    assert rig.ask("refill_complete", message=rig.grant(again))["descending_mills"] == 15_000


def test_cancelling_again_gives_the_same_promise_whatever_happened_meanwhile() -> None:
    rig = operational(10_000)
    rig.request_refill(5_000)
    promise = cancel(rig, b"c" * 16)
    rig.now += HOUR
    rig.dispense()
    rig.check_in()
    assert cancel(rig) == promise
    rig.power_on()
    assert cancel(rig) == promise
    assert cancel(rig, b"c" * 16) == promise


def test_a_refill_that_is_not_under_way_cannot_be_cancelled() -> None:
    rig = operational()
    before = rig.everything()
    with pytest.raises(NothingPending, match="no refill is under way"):
        cancel(rig)
    rig.refill(5_000)
    with pytest.raises(NothingPending):
        cancel(rig)
    assert rig.everything()[0]["control_sum_mills"] == before[0]["control_sum_mills"] + 5_000


def test_a_grant_that_was_booked_before_stays_booked_and_cannot_be_cancelled() -> None:
    rig = operational(10_000)
    grant = rig.grant(rig.request_refill(5_000))
    done = rig.ask("refill_complete", b"g" * 16, message=grant)
    with pytest.raises(NothingPending):
        cancel(rig)
    rig.power_on()
    assert rig.ask("refill_complete", b"g" * 16, message=grant) == done
    assert rig.registers()["descending_mills"] == 15_000


def test_a_cancelled_refill_is_ended_in_a_locked_device_too() -> None:
    rig = operational(10_000)
    request = rig.request_refill(5_000)
    rig.now += 80 * HOUR
    promise = cancel(rig)
    assert rig.status()["state"] == "LOCKED"
    assert cancel(rig) == promise
    rig.ask("refill_complete", message=answer("refill_refusal", request, reason="taken back"))
    assert rig.status()["sub_state"] == ""


def test_a_cancelled_refill_stops_no_piece() -> None:
    rig = operational(10_000)
    rig.request_refill(5_000)
    cancel(rig)
    assert rig.dispense()["descending_mills"] == 9_260


def test_a_grant_of_nothing_is_no_refusal() -> None:
    rig = operational()
    refused(rig, answer("refill_grant", rig.request_refill(5_000), amount_mills=0), BadMessage)


def test_the_hint_for_a_cancelled_refill_says_what_helps() -> None:
    rig = operational()
    rig.request_refill(5_000)
    cancel(rig)
    with pytest.raises(RefillPending) as caught:
        rig.ask("refill_begin", amount_mills=5_000)
    assert "cancel" in str(caught.value)
    assert "begin again" not in caught.value.hint
    assert caught.value.detail == {"pending_mills": 5_000}
