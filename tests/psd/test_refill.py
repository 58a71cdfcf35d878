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
from tests.rig import CUSTOMER, SERIAL, Rig, operational, sign


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
    refusal = sign("refill_refusal", {"psd_serial": SERIAL, "nonce": request["nonce"], "reason": "no funds"})
    answer = rig.ask("refill_complete", message=refusal)
    assert (answer["amount_mills"], answer["reason"]) == (0, "no funds")
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
    ],
)
def test_a_grant_that_says_something_else_is_refused(changes: dict[str, Any], error: type[PesError]) -> None:
    rig = operational()
    refused(rig, rig.grant(rig.request_refill(5_000), **changes), error)


def test_a_grant_of_another_provider_is_refused() -> None:
    rig = operational()
    request = rig.request_refill(5_000)
    values = {name: request[name] for name in ("psd_serial", "nonce", "amount_mills")}
    refused(rig, sign("refill_grant", values, "another provider"), BadSignature)


@pytest.mark.parametrize(("amount", "error"), [(0, MoneyError), (2**32 - 1, RegisterLimit)])
def test_an_amount_that_could_not_be_booked_is_refused_before_the_provider_is_asked(
    amount: int, error: type[PesError]
) -> None:
    rig = operational()
    with pytest.raises(error):
        rig.ask("refill_begin", amount_mills=amount)
    assert rig.status()["refill_pending_mills"] == 0
