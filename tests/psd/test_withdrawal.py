"""Withdrawal: from the request on nothing is spent, a grant takes all that is left, and the device says so."""

from __future__ import annotations

from typing import Any

import pytest

from pes_sim.clock import HOUR
from pes_sim.errors import (
    BadMessage,
    BadSignature,
    InsufficientFunds,
    NotForThisDevice,
    NothingPending,
    PesError,
    RefillPending,
    RefusedInState,
    StaleMessage,
)
from pes_sim.psd.fields import Form, Values
from pes_sim.psd.lifecycle import State
from pes_sim.psd.registers import REGISTERS
from pes_sim.psd.roles import Role
from pes_sim.psd.services import SERVICES, Service
from pes_sim.psd.storage import MemoryStorage
from tests.rig import CUSTOMER, SERIAL, Rig, answer, correction, operational, piece, sign


def begin(rig: Rig, request_id: bytes = b"") -> Values:
    return rig.read("withdrawal_request", rig.ask("withdraw_begin", request_id)["message"])


def grant(request: Values, **changes: Any) -> bytes:
    return answer("withdrawal_grant", request, **{"amount_mills": request["amount_mills"]} | changes)


def spent(**rig: Any) -> Rig:
    """A device with $9.26 left of $10."""
    made = operational(10_000, **rig)
    made.dispense()
    return made


def withdrawn() -> Rig:
    rig = spent()
    rig.ask("withdraw_complete", message=grant(begin(rig)))
    return rig


def test_the_request_asks_for_all_that_is_left() -> None:
    rig = spent()
    request = begin(rig)
    assert (request["psd_serial"], request["customer"], request["amount_mills"]) == (SERIAL, CUSTOMER, 9_260)
    assert {name: request[name] for name in REGISTERS} == rig.registers()
    assert rig.status()["sub_state"] == "WITHDRAWAL_PENDING"


def test_beginning_again_gives_the_same_request_also_after_a_restart_and_a_check_in() -> None:
    rig = spent()
    first = rig.ask("withdraw_begin")
    rig.now += HOUR
    assert rig.ask("withdraw_begin") == first
    rig.check_in()
    rig.power_on()
    assert rig.status()["sub_state"] == "WITHDRAWAL_PENDING"
    assert rig.ask("withdraw_begin") == first


def test_from_the_request_on_no_piece_is_made_and_nothing_is_refilled() -> None:
    rig = spent()
    record = rig.dispense()["record"]
    begin(rig)
    for _ in range(2):
        before = rig.everything()
        for name, request in {
            "dispense": piece(), "correct_amount": piece(), "redate": correction(), "reprint": {"original": record},
        }.items():  # fmt: skip
            with pytest.raises(RefusedInState, match=f"sub-state WITHDRAWAL_PENDING does not allow {name}") as caught:
                rig.ask(name, **request)
            assert caught.value.detail == {"state": "WITHDRAWAL_PENDING"}
        with pytest.raises(RefillPending, match="a withdrawal is under way"):
            rig.ask("refill_begin", amount_mills=1_000)
        with pytest.raises(NothingPending):
            rig.ask("refill_cancel")
        assert rig.everything() == before
        rig.power_on()


def test_a_retry_of_a_piece_from_before_gets_its_answer_and_moves_nothing() -> None:
    rig = operational(10_000)
    made = rig.dispense(b"a" * 16)
    request = begin(rig)
    assert rig.dispense(b"a" * 16) == made
    rig.ask("withdraw_complete", message=grant(request))
    assert rig.dispense(b"a" * 16) == made
    assert rig.registers() == {name: made[name] for name in REGISTERS} | {
        "descending_mills": 0, "control_sum_mills": 740,
    }  # fmt: skip


def test_a_grant_takes_all_that_is_left_and_the_last_word_is_signed() -> None:
    rig = spent()
    request = begin(rig)
    done = rig.ask("withdraw_complete", message=grant(request))
    assert (done["amount_mills"], done["reason"]) == (9_260, "")
    left = {"ascending_mills": 740, "descending_mills": 0, "control_sum_mills": 740, "piece_count": 1,
            "zero_piece_count": 0}  # fmt: skip
    assert {name: done[name] for name in REGISTERS} == rig.registers() == left
    last = rig.read("withdrawal_statement", done["statement"])
    assert {name: last[name] for name in REGISTERS} == left
    assert (last["nonce"], last["amount_mills"], last["customer"]) == (request["nonce"], 9_260, CUSTOMER)
    assert (last["psd_serial"], last["device_time"]) == (SERIAL, rig.now)
    assert last["log_sequence"] == rig.status()["log_sequence"] - 1  # up to the record that holds the statement
    assert last["chain"] == rig.psd._books.chain
    assert (rig.status()["state"], rig.status()["sub_state"]) == ("WITHDRAWN", "")


def test_the_last_word_bears_the_number_of_what_it_ends_though_others_were_said_meanwhile() -> None:
    rig = spent()
    request = begin(rig)
    rig.check_in()
    done = rig.ask("withdraw_complete", message=grant(request))
    last = rig.read("withdrawal_statement", done["statement"])
    assert (last["nonce"], last["message_number"]) == (request["nonce"], request["message_number"])


def test_the_answer_to_the_grant_is_given_again_after_a_restart() -> None:
    rig = spent()
    message = grant(begin(rig))
    done = rig.ask("withdraw_complete", b"w" * 16, message=message)
    rig.power_on()
    assert rig.ask("withdraw_complete", b"w" * 16, message=message) == done
    assert rig.registers()["control_sum_mills"] == 740


def test_the_last_word_can_be_had_again_by_who_lost_answer_and_request_id() -> None:
    rig = spent()
    done = rig.ask("withdraw_complete", message=grant(begin(rig)))
    for _ in range(2):
        assert rig.ask("get_statement")["statement"] == done["statement"]
        rig.power_on(log_in=False)


def test_a_device_with_nothing_left_is_withdrawn_all_the_same() -> None:
    rig = operational(740)
    rig.dispense()
    done = rig.ask("withdraw_complete", message=grant(begin(rig)))
    assert (done["amount_mills"], done["control_sum_mills"], done["descending_mills"]) == (0, 740, 0)
    assert rig.read("withdrawal_statement", done["statement"])["control_sum_mills"] == 740
    rig.power_on()
    assert rig.status()["state"] == "WITHDRAWN"


def test_a_refusal_goes_on_with_service() -> None:
    rig = spent()
    request = begin(rig)
    refusal = answer("withdrawal_refusal", request, reason="not yet")
    done = rig.ask("withdraw_complete", message=refusal)
    assert (done["amount_mills"], done["reason"], done["statement"]) == (0, "not yet", b"")
    assert {name: done[name] for name in REGISTERS} == rig.registers()
    assert (rig.status()["state"], rig.status()["sub_state"]) == ("OPERATIONAL", "")
    rig.power_on()
    rig.dispense()
    rig.refill(1_000)
    for late in (refusal, grant(request)):
        refused(rig, late, NothingPending)
    again = begin(rig)
    assert (again["nonce"], again["amount_mills"]) != (request["nonce"], request["amount_mills"])
    for late in (refusal, grant(request)):
        refused(rig, late, StaleMessage)
    assert rig.ask("withdraw_complete", message=grant(again))["ascending_mills"] == 1_480


def refused(rig: Rig, message: bytes, error: type[PesError]) -> None:
    before = rig.everything(), rig.status()["sub_state"]
    with pytest.raises(error):
        rig.ask("withdraw_complete", message=message)
    assert (rig.everything(), rig.status()["sub_state"]) == before


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"amount_mills": 9_259}, BadMessage),
        ({"amount_mills": 9_261}, BadMessage),
        ({"amount_mills": 0}, BadMessage),
        ({"psd_serial": 1}, NotForThisDevice),
        ({"nonce": bytes(16)}, StaleMessage),
        ({"message_number": 0}, StaleMessage),
    ],
)
def test_a_grant_that_says_something_else_is_refused_and_the_right_one_is_still_taken(
    changes: dict[str, Any], error: type[PesError]
) -> None:
    rig = spent()
    request = begin(rig)
    refused(rig, grant(request, **changes), error)
    rig.ask("withdraw_complete", message=grant(request))


def test_a_grant_of_another_provider_or_for_another_service_is_refused() -> None:
    rig = spent()
    request = begin(rig)
    values = {name: request[name] for name in ("psd_serial", "nonce", "message_number", "amount_mills", *REGISTERS)}
    refused(rig, sign("withdrawal_grant", values, "another provider"), BadSignature)
    refused(rig, sign("refill_grant", values), BadMessage)


def test_a_grant_without_a_request_is_refused() -> None:
    rig = spent()
    message = grant(
        {"psd_serial": SERIAL, "nonce": bytes(16), "message_number": 0, **rig.registers(), "amount_mills": 0}
    )
    refused(rig, message, NothingPending)


def test_a_refill_under_way_comes_first() -> None:
    rig = spent()
    request = rig.request_refill(1_000)
    with pytest.raises(RefillPending, match=r"a refill of \$1.00 is under way\. Complete or cancel it first") as caught:
        begin(rig)
    assert caught.value.detail == {"pending_mills": 1_000}
    rig.ask("refill_complete", message=rig.grant(request))
    assert begin(rig)["amount_mills"] == 10_260


def test_a_locked_device_can_be_withdrawn_whatever_it_is_locked_for() -> None:
    rig = spent()
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock", "rollback found"]))
    rig.now += 80 * HOUR
    request = begin(rig)
    rig.power_on()
    assert rig.status()["state"] == "LOCKED"
    assert begin(rig) == request
    rig.ask("withdraw_complete", message=grant(request))
    rig.power_on()
    assert rig.status()["state"] == "WITHDRAWN"


def test_a_device_that_locks_while_it_waits_takes_the_refusal_too_and_can_be_unlocked() -> None:
    rig = spent()
    request = begin(rig)
    rig.now += 80 * HOUR
    assert rig.status()["state"] == "LOCKED"
    rig.ask("withdraw_complete", message=answer("withdrawal_refusal", request, reason="check in first"))
    rig.check_in()
    rig.dispense(mailing_date=rig.status()["today"])


def test_a_withdrawn_device_is_not_locked_by_time() -> None:
    rig = withdrawn()
    rig.now += 1000 * HOUR
    rig.power_on()
    status = rig.status()
    assert (status["state"], status["lock_reasons"]) == ("WITHDRAWN", [])


EMPTY: dict[Form, Any] = {
    Form.UINT: 0, Form.INT: 0, Form.BYTES: b"", Form.TEXT: "", Form.TEXTS: [], Form.BLOBS: [],
}  # fmt: skip
ENDED = [service for service in SERVICES if State.WITHDRAWN not in service.states]


@pytest.mark.parametrize("service", ENDED, ids=lambda service: service.name)
def test_a_withdrawn_device_serves_nothing_that_a_meter_in_service_does(service: Service) -> None:
    rig = withdrawn()
    for role in (Role.USER, Role.PROVIDER):
        rig.log_in(role)
        before = rig.everything()
        with pytest.raises(RefusedInState, match=f"state WITHDRAWN does not allow {service.name}"):
            rig.ask(service.name, **{field.name: EMPTY[field.form] for field in service.request})
        assert rig.everything() == before


def test_a_withdrawn_device_is_still_read_audited_and_zeroized() -> None:
    assert {service.name for service in SERVICES} - {service.name for service in ENDED} == {
        "get_info", "get_status", "get_registers", "get_certificates", "self_test", "challenge", "authenticate",
        "read_log", "set_time", "unlock", "audit", "zeroize", "get_statement",
    }  # fmt: skip
    rig = withdrawn()
    rig.power_on()
    assert len(rig.ask("read_log", first_record=1)["entries"]) == 1
    rig.log_in(Role.INSPECTOR)
    report = rig.read("audit_report", rig.ask("audit", nonce=b"n" * 16)["statement"])
    assert (report["state"], report["descending_mills"], report["control_sum_mills"]) == ("WITHDRAWN", 0, 740)
    assert rig.ask("zeroize")["state"] == "ZEROIZED"
    assert rig.registers()["ascending_mills"] == 740


@pytest.mark.parametrize("bank", [8192, 1 << 20])
def test_the_money_adds_up_over_every_restart_on_the_way(bank: int) -> None:
    storage = MemoryStorage()
    rig = operational(100_000, storage=storage, bank=bank)
    for _ in range(25):
        rig.dispense(postage_mills=1_000)
    request = begin(rig)
    for _ in range(20):  # over the end of a segment, where it is small
        rig.check_in()
        rig.power_on()
        assert rig.status()["sub_state"] == "WITHDRAWAL_PENDING"
    done = rig.ask("withdraw_complete", b"w" * 16, message=grant(request))
    for _ in range(3):
        rig.power_on()
        assert rig.status()["state"] == "WITHDRAWN"
        assert rig.registers() == {name: done[name] for name in REGISTERS}
        rig.log_in(Role.PROVIDER)
        rig.ask("audit", nonce=b"n" * 16)
    assert (done["amount_mills"], done["ascending_mills"], done["control_sum_mills"]) == (75_000, 25_000, 25_000)


def test_a_withdrawal_that_the_disk_refuses_took_nothing_and_is_made_by_the_retry() -> None:
    from tests.psd.test_checkin import Full

    storage = Full()
    rig = spent(storage=storage)
    message = grant(begin(rig))
    before = rig.everything()
    storage.full = True
    with pytest.raises(PesError, match="no room"):
        rig.ask("withdraw_complete", b"w" * 16, message=message)
    assert rig.everything() == before
    storage.full = False
    rig.ask("withdraw_complete", b"w" * 16, message=message)
    assert rig.registers()["control_sum_mills"] == 740


def test_nothing_is_spent_from_a_device_that_is_withdrawn_and_put_back_to_work_by_force() -> None:
    """Whatever becomes of the state: the register itself is empty."""
    from dataclasses import replace

    rig = withdrawn()
    rig.psd._books.state = replace(rig.psd._books.state, lifecycle=State.OPERATIONAL)
    with pytest.raises(InsufficientFunds):
        rig.dispense(postage_mills=1)
