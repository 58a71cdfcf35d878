"""Audit: the device states, signed and over the auditor's own nonce, how it is."""

from __future__ import annotations

import pytest

from pes_sim.clock import HOUR
from pes_sim.errors import FieldError, NotAuthenticated, RequestIdReused
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import State, SubState
from pes_sim.psd.roles import Role
from tests.rig import CUSTOMER, SERIAL, Rig, answer, operational

NONCE = bytes(range(16))


def audited(rig: Rig, nonce: bytes = NONCE, request_id: bytes = b"") -> Values:
    """What the device states; its signature was checked with the key it was made with."""
    return rig.read("audit_report", rig.ask("audit", request_id, nonce=nonce)["statement"])


@pytest.mark.parametrize("role", [Role.INSPECTOR, Role.PROVIDER])
def test_an_auditor_gets_the_registers_the_state_and_the_chain(role: Role) -> None:
    rig = operational()
    record = rig.dispense()["record"]
    rig.ask("reprint", original=record)
    chain = rig.report()["chain"]
    rig.log_in(role)
    status, registers = rig.status(), rig.registers()
    assert audited(rig) == {
        "psd_serial": SERIAL, "nonce": NONCE, "message_number": 4, "device_time": rig.now, "customer": CUSTOMER,
        "state": "OPERATIONAL", "sub_state": "", "lock_reasons": [], "log_sequence": status["log_sequence"],
        "reprint_count": 1, "software_id": 0x00_01_00_00, "chain": chain, **registers,
    }  # fmt: skip
    assert rig.registers() == registers


def test_it_says_what_the_device_is_locked_for_and_what_is_under_way() -> None:
    rig = operational()
    rig.request_refill(1_000)
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock"]))
    rig.now += 73 * HOUR
    rig.log_in(Role.INSPECTOR)
    said = audited(rig)
    assert (said["state"], said["sub_state"]) == (State.LOCKED, SubState.REFILL_PENDING)
    assert said["lock_reasons"] == ["provider lock", "check-in overdue"]


def test_a_device_that_was_withdrawn_can_still_be_audited() -> None:
    rig = operational()
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    rig.ask("withdraw_complete", message=answer("withdrawal_grant", asked, amount_mills=100_000))
    rig.log_in(Role.INSPECTOR)
    said = audited(rig)
    assert (said["state"], said["descending_mills"]) == (State.WITHDRAWN, 0)


@pytest.mark.parametrize("length", [0, 15])
def test_a_nonce_of_another_length_is_refused(length: int) -> None:
    rig = operational()
    rig.log_in(Role.INSPECTOR)
    before = rig.everything()
    with pytest.raises(FieldError, match="field nonce has 16 bytes"):
        audited(rig, bytes(length))
    assert rig.everything() == before


def test_the_customer_does_not_audit() -> None:
    with pytest.raises(NotAuthenticated, match="audit is for postal inspector or provider"):
        audited(operational())


def test_each_statement_has_its_number_and_a_retry_gets_the_same_one() -> None:
    rig = operational()
    rig.log_in(Role.INSPECTOR)
    first = rig.ask("audit", b"a" * 16, nonce=NONCE)
    assert audited(rig)["message_number"] == rig.read("audit_report", first["statement"])["message_number"] + 1
    assert rig.ask("audit", b"a" * 16, nonce=NONCE) == first
    with pytest.raises(RequestIdReused):
        rig.ask("audit", b"a" * 16, nonce=bytes(16))


def test_an_audit_disturbs_no_exchange_with_the_provider() -> None:
    rig = operational()
    report, request = rig.report(), rig.request_refill(1_000)
    rig.log_in(Role.INSPECTOR)
    audited(rig)
    rig.ask("checkin_complete", message=rig.receipt(report))
    rig.ask("refill_complete", message=rig.grant(request))
    assert rig.registers()["descending_mills"] == 101_000
