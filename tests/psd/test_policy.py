"""How long a device may go without its provider: by the regime it was made for, to the microsecond."""

from __future__ import annotations

import pytest

from pes_sim.clock import DAY, HOUR
from pes_sim.errors import FieldError, Locked, Status
from pes_sim.psd.lifecycle import Lock, State
from pes_sim.psd.policy import POLICIES, Policy, Regime
from tests.rig import Rig, operational

DECIDED = {
    Regime.IMI: Policy(24 * HOUR, 72 * HOUR, 0, 0, dial_up=False),
    Regime.IBI: Policy(83 * DAY, 90 * DAY, 90 * DAY, 120 * DAY, dial_up=True),
}
"""By hand: the sources stand in `pes_sim.psd.policy`."""


def refusal(rig: Rig) -> Status:
    with pytest.raises(Locked) as caught:
        rig.dispense(mailing_date=rig.status()["today"])
    return caught.value.status


def test_the_table_says_what_was_decided() -> None:
    assert POLICIES == DECIDED


@pytest.mark.parametrize("regime", Regime)
def test_the_regime_is_chosen_at_manufacture_and_reported_ever_after(regime: Regime) -> None:
    rig = Rig(regime=regime.value)
    rig.initialize()
    assert rig.ask("get_info")["regime"] == regime
    rig.authorize()
    rig.check_in()
    rig.power_on()
    assert rig.ask("get_info")["regime"] == regime


def test_a_device_is_not_made_for_another_regime() -> None:
    with pytest.raises(FieldError, match="field regime must be one of IMI, IBI, not 'XYZ'"):
        Rig(regime="XYZ").initialize()


@pytest.mark.parametrize("regime", Regime)
def test_the_check_in_lockout_comes_at_its_microsecond(regime: Regime) -> None:
    rig = operational(regime=regime.value)
    rig.now += DECIDED[regime].block - 1
    assert rig.status()["seconds_to_lockout"] == 0
    rig.dispense(mailing_date=rig.status()["today"])
    rig.now += 1
    assert refusal(rig) is Status.LOCKED_CHECKIN_OVERDUE


@pytest.mark.parametrize("regime", Regime)
def test_a_receipt_restarts_it(regime: Regime) -> None:
    rig = operational(regime=regime.value)
    rig.now += DECIDED[regime].block - 1
    assert rig.check_in()["seconds_to_lockout"] == DECIDED[regime].block // 1_000_000
    rig.now += DECIDED[regime].block - 1
    assert rig.status()["seconds_to_lockout"] == 0
    assert Lock.CHECKIN_OVERDUE.value not in rig.status()["lock_reasons"]


@pytest.mark.parametrize("regime", Regime)
def test_a_report_without_its_receipt_does_not(regime: Regime) -> None:
    rig = operational(regime=regime.value)
    rig.now += DECIDED[regime].block - 1
    rig.report()
    rig.now += 1
    assert refusal(rig) is Status.LOCKED_CHECKIN_OVERDUE


@pytest.mark.parametrize("regime", Regime)
def test_the_check_in_is_called_due_at_its_microsecond(regime: Regime) -> None:
    rig = operational(regime=regime.value)
    rig.now += DECIDED[regime].warn - 1
    assert rig.status()["warnings"] == []
    rig.now += 1
    assert rig.status()["warnings"] == ["check-in due"]
    rig.check_in()
    assert rig.status()["warnings"] == []


def test_an_inspection_is_announced_and_then_wanted_under_ibi() -> None:
    rig = operational(regime="IBI")
    first = rig.now
    rig.now = first + 60 * DAY
    rig.check_in()
    rig.now = first + 90 * DAY - 1
    assert rig.status()["warnings"] == []
    rig.now += 1
    assert rig.status()["warnings"] == ["inspection warning"]
    rig.check_in()
    assert rig.status()["warnings"] == ["inspection warning"]
    rig.now = first + 120 * DAY - 1
    rig.dispense(mailing_date=rig.status()["today"])
    rig.now += 1
    assert refusal(rig) is Status.LOCKED_INSPECTION_DUE
    rig.check_in()
    assert refusal(rig) is Status.LOCKED_INSPECTION_DUE


def test_an_inspection_restarts_its_time_when_the_provider_says_so() -> None:
    rig = operational(regime="IBI")
    rig.now += 60 * DAY
    rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=[Lock.INSPECTION_DUE.value]))
    inspected = rig.now
    rig.check_in()
    for after in (60 * DAY, 120 * DAY - 1):
        rig.now = inspected + after
        rig.check_in()
    assert rig.status()["state"] == State.OPERATIONAL
    rig.now += 1
    assert refusal(rig) is Status.LOCKED_INSPECTION_DUE


def test_both_can_be_overdue_and_then_the_check_in_is_looked_at_first() -> None:
    rig = operational(regime="IBI")
    rig.now += 83 * DAY
    assert rig.status()["warnings"] == ["check-in due"]
    rig.now += 37 * DAY
    status = rig.status()
    assert status["lock_reasons"] == ["check-in overdue", "inspection due"]
    assert status["warnings"] == ["check-in due", "inspection warning"]
    assert refusal(rig) is Status.LOCKED_CHECKIN_OVERDUE
    assert rig.check_in()["lock_reasons"] == ["inspection due"]


def test_imi_knows_no_inspection() -> None:
    rig = operational()
    for _ in range(200):
        rig.now += 60 * HOUR
        rig.check_in()
    assert (rig.status()["state"], rig.status()["warnings"]) == (State.OPERATIONAL, [])


@pytest.mark.parametrize("regime", Regime)
def test_nothing_is_due_before_the_first_receipt(regime: Regime) -> None:
    rig = Rig(regime=regime.value)
    for step in (rig.initialize, rig.authorize):
        step()
        rig.now += 1000 * DAY
        status = rig.status()
        assert (status["lock_reasons"], status["warnings"], status["seconds_to_lockout"]) == ([], [], 0)
    assert rig.check_in()["state"] == State.OPERATIONAL
