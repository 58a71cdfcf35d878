"""Requests to the provider: signed, fresh, numbered in one row, and kept until they are answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pes_sim.errors import BadSignature
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.psd.registers import REGISTERS
from pes_sim.psd.roles import Role
from tests.rig import SERIAL, Rig, answer, operational


def checkin(rig: Rig) -> Values:
    return rig.report()


def refill(rig: Rig) -> Values:
    request = rig.request_refill(1_000)
    rig.ask("refill_complete", message=answer("refill_refusal", request, reason=""))
    return request


def withdrawal(rig: Rig) -> Values:
    request = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    rig.ask("withdraw_complete", message=answer("withdrawal_refusal", request, reason=""))
    return request


def audit(rig: Rig) -> Values:
    rig.log_in(Role.INSPECTOR)
    report = rig.read("audit_report", rig.ask("audit", nonce=b"auditor's nonce.")["statement"])
    rig.log_in()
    return report


SAYING: tuple[Callable[[Rig], Values], ...] = (checkin, refill, withdrawal, audit, checkin, audit, refill)


def test_every_message_says_who_and_when_and_how_the_registers_are() -> None:
    rig = operational(10_000)
    for say in SAYING:
        rig.now += 1_000_000
        rig.dispense()
        said = say(rig)
        assert (said["psd_serial"], said["device_time"]) == (SERIAL, rig.now)
        assert {name: said[name] for name in REGISTERS} == rig.registers()


def test_messages_of_all_kinds_are_numbered_in_one_row_over_every_restart() -> None:
    rig = operational(10_000)
    numbers = []
    for say in SAYING * 2:
        numbers.append(say(rig)["message_number"])
        rig.power_on()
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_no_nonce_of_the_device_comes_twice_whatever_it_is_for() -> None:
    rig = operational(10_000)
    nonces = [rig.made["nonce"]]
    for say in (checkin, refill, withdrawal) * 3:
        nonces.append(rig.challenge()["nonce"])
        nonces.append(say(rig)["nonce"])
        rig.power_on()
    assert len(set(nonces)) == len(nonces)


def test_a_challenge_goes_with_the_number_of_the_newest_message() -> None:
    rig = operational()
    assert rig.challenge()["message_number"] == rig.report()["message_number"] - 1


def test_an_order_is_still_taken_though_the_device_has_said_something_since_its_challenge() -> None:
    rig = operational()
    order = rig.order("lock_order", lock_reasons=["provider lock"])
    rig.report()
    assert rig.ask("lock", message=order)["state"] == "LOCKED"


def test_messages_are_signed_by_the_message_key_alone() -> None:
    rig = operational()
    message = rig.ask("refill_begin", amount_mills=1_000)["message"]
    assert messages.open_signed(message, rig.made["message_key"], "refill_request")[1]["amount_mills"] == 1_000
    with pytest.raises(BadSignature):
        messages.open_signed(message, rig.made["public_key"], "refill_request")


def test_what_waits_for_different_answers_does_not_disturb_each_other() -> None:
    rig = operational(10_000)
    request, report = rig.request_refill(1_000), rig.report()
    order = rig.order("reauthorization", licensing_zip="10001", customer="MOVED", utc_offset_minutes=0)
    rig.ask("checkin_complete", message=rig.receipt(report))
    rig.ask("reauthorize", message=order)
    assert rig.ask("refill_complete", message=rig.grant(request))["descending_mills"] == 11_000
    assert rig.report()["customer"] == "MOVED"


@pytest.mark.parametrize("say", [checkin, refill, withdrawal])
def test_a_nonce_has_16_bytes(say: Callable[[Rig], Values]) -> None:
    assert len(say(operational(10_000))["nonce"]) == 16


def test_what_waits_knows_the_amount_it_is_about() -> None:
    rig = operational(10_000)
    report = rig.report()
    state = rig.psd._books.state
    assert (state.checkin.amount, state.checkin.nonce) == (0, report["nonce"])
    rig.request_refill(1_000)
    assert rig.psd._books.state.refill.amount == 1_000
    rig = operational(10_000)
    rig.ask("withdraw_begin")
    assert rig.psd._books.state.withdrawal.amount == 10_000
