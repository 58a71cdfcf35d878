"""The reasons to lock: what sets each, how requests are refused meanwhile, what clears it; and several at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pes_sim.clock import DAY, HOUR, MINUTE
from pes_sim.errors import BadMessage, Locked, LockedCheckinOverdue, PesError, Status, StorageFailed
from pes_sim.psd import locks
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Lock, State
from pes_sim.psd.locks import LOCKS
from pes_sim.psd.rtc import Rtc
from pes_sim.psd.state import PsdState
from tests.rig import Full, Rig, answer, operational, sign

UNLOCKS = "The provider unlocks it when the books are reconciled"


# What sets and clears each


def order_lock(rig: Rig, *reasons: Lock) -> Values:
    return rig.ask("lock", message=rig.order("lock_order", lock_reasons=[reason.value for reason in reasons]))


def unlock(rig: Rig, *reasons: Lock) -> Values:
    return rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=[reason.value for reason in reasons]))


def refuse_checkin(rig: Rig, *reasons: Lock) -> Values:
    refusal = answer(
        "checkin_refusal", rig.report(), lock_reasons=[r.value for r in reasons], reason="the books differ"
    )
    return rig.ask("checkin_complete", message=refusal)


def put_back(rig: Rig) -> None:
    """The provider knows later registers than the device."""
    later = {"piece_count": rig.registers()["piece_count"] + 1}
    with pytest.raises(Locked):
        rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=[Lock.PROVIDER.value], **later))


def fail_battery(rig: Rig) -> None:
    rig.rtc = Rtc(battery_failed=True)
    rig.power_on()
    rig.rtc = Rtc()


def wait(time: int) -> Callable[[Rig], None]:
    def do(rig: Rig) -> None:
        rig.now += time
        rig.status()

    return do


def set_time(rig: Rig) -> Values:
    return rig.ask("set_time", message=rig.order("time_setting", device_time=rig.now))


@dataclass(frozen=True)
class Case:
    """By hand: a reason, its status, what it says, and who clears it how."""

    lock: Lock
    status: Status
    sets: Callable[[Rig], object]
    message: str
    hint: str
    cleared_by: str
    clears: Callable[[Rig], object]


CASES = (
    Case(Lock.ROLLBACK_FOUND, Status.LOCKED_ROLLBACK_FOUND, put_back,
         "the provider knows later registers than this device's",
         f"An older image was put back. {UNLOCKS}, or withdraws it",
         "unlock", lambda rig: unlock(rig, Lock.ROLLBACK_FOUND)),
    Case(Lock.REGISTER_FAULT, Status.LOCKED_REGISTER_FAULT, lambda rig: refuse_checkin(rig, Lock.REGISTER_FAULT),
         "the registers and the provider's books cannot both be right", UNLOCKS,
         "unlock", lambda rig: unlock(rig, Lock.REGISTER_FAULT)),
    Case(Lock.PROVIDER, Status.LOCKED_BY_PROVIDER, lambda rig: order_lock(rig, Lock.PROVIDER),
         "the provider locked it", "The provider unlocks it",
         "unlock", lambda rig: unlock(rig, Lock.PROVIDER)),
    Case(Lock.DATE_FAULT, Status.LOCKED_DATE_FAULT, fail_battery,
         "the real-time clock lost its time (battery)", "The provider sets the time", "set_time", set_time),
    Case(Lock.CHECKIN_OVERDUE, Status.LOCKED_CHECKIN_OVERDUE, wait(90 * DAY),
         "no check-in for 90 days, overdue by 0 h 0 min", "A check-in with the provider clears it",
         "checkin_complete", lambda rig: rig.check_in()),
    Case(Lock.INSPECTION_DUE, Status.LOCKED_INSPECTION_DUE, lambda rig: order_lock(rig, Lock.INSPECTION_DUE),
         "the inspection is overdue", "The provider unlocks it after the inspection",
         "unlock", lambda rig: unlock(rig, Lock.INSPECTION_DUE)),
)  # fmt: skip
BY_LOCK = {case.lock: case for case in CASES}


def ibi() -> Rig:
    """A device that knows every reason: IMI has no inspection."""
    return operational(regime="IBI")


def dispense(rig: Rig) -> Values:
    return rig.dispense(mailing_date=rig.status()["today"])


def refused(rig: Rig) -> PesError:
    before = rig.everything()
    with pytest.raises(Locked) as caught:
        dispense(rig)
    assert rig.everything() == before
    return caught.value


def test_every_reason_has_its_case() -> None:
    assert [case.lock for case in CASES] == list(Lock) == list(LOCKS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.lock)
def test_a_reason_locks_by_its_status_says_what_clears_it_and_is_cleared_by_that(case: Case) -> None:
    rig = ibi()
    before = rig.registers()
    case.sets(rig)
    for _ in range(2):
        problem = refused(rig)
        assert problem.status is case.status
        assert str(problem).startswith(f"locked: {case.message}. {case.hint}")
        assert problem.detail["reasons"] == [case.lock.value]
        assert problem.detail["cleared_by"] == case.cleared_by
        status = rig.status()
        assert (status["state"], status["lock_reasons"]) == (State.LOCKED, [case.lock.value])
        assert status["cleared_by"] == [case.cleared_by]
        rig.power_on()  # and it survives that
    assert rig.registers() == before
    case.clears(rig)
    status = rig.status()
    assert (status["state"], status["lock_reasons"], status["cleared_by"]) == (State.OPERATIONAL, [], [])
    assert rig.registers() == before
    dispense(rig)


# Several at once


def test_all_at_once_are_named_in_the_tables_order_and_each_takes_its_turn() -> None:
    rig = ibi()
    for case in reversed(CASES):
        case.sets(rig)
    for gone, case in enumerate(CASES):
        left = CASES[gone:]
        problem = refused(rig)
        assert problem.status is case.status
        assert problem.detail["reasons"] == [c.lock.value for c in left]
        assert problem.detail["cleared_by"] == ", ".join(dict.fromkeys(c.cleared_by for c in left))
        assert all(c.message in problem.message and c.hint in problem.hint for c in left)
        case.clears(rig)
    dispense(rig)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(Lock, 2)))
def test_clearing_one_leaves_the_other(first: Lock, second: Lock) -> None:
    rig = ibi()
    BY_LOCK[first].sets(rig)
    BY_LOCK[second].sets(rig)
    assert refused(rig).status is BY_LOCK[min(first, second, key=list(Lock).index)].status
    BY_LOCK[first].clears(rig)
    assert rig.status()["lock_reasons"] == [second.value]
    assert refused(rig).status is BY_LOCK[second].status
    BY_LOCK[second].clears(rig)
    assert rig.status()["state"] == State.OPERATIONAL


def test_one_order_sets_and_clears_several() -> None:
    rig = operational()
    reasons = [Lock.INSPECTION_DUE, Lock.PROVIDER, Lock.ROLLBACK_FOUND]
    answered = order_lock(rig, *reasons)
    assert answered["lock_reasons"] == ["rollback found", "provider lock", "inspection due"]
    assert unlock(rig, *reasons)["state"] == State.OPERATIONAL


def test_setting_one_twice_is_setting_it_once_and_clearing_what_is_not_set_clears_nothing_else() -> None:
    rig = operational()
    order_lock(rig, Lock.PROVIDER)
    assert order_lock(rig, Lock.PROVIDER)["lock_reasons"] == ["provider lock"]
    assert unlock(rig, Lock.REGISTER_FAULT)["lock_reasons"] == ["provider lock"]
    assert unlock(rig, Lock.PROVIDER) == unlock(rig, Lock.PROVIDER)


@pytest.mark.parametrize("reasons", [["date fault"], ["check-in overdue"], ["provider lock", "date fault"], ["x"]])
def test_the_provider_neither_sets_nor_clears_what_the_device_finds_for_itself(reasons: list[str]) -> None:
    rig = operational()
    fail_battery(rig)
    before = rig.everything()
    for service, kind in (("lock", "lock_order"), ("unlock", "unlock_order")):
        with pytest.raises(BadMessage, match="an order names") as caught:
            rig.ask(service, message=rig.order(kind, lock_reasons=reasons))
        assert "rollback found, register fault, provider lock, inspection due" in caught.value.hint
    refusal = answer("checkin_refusal", rig.report(), lock_reasons=reasons, reason="")
    with pytest.raises(BadMessage):
        rig.ask("checkin_complete", message=refusal)
    assert rig.everything()[:2] == before[:2]


def test_a_check_in_clears_nothing_but_its_own() -> None:
    rig = operational()
    order_lock(rig, Lock.PROVIDER, Lock.REGISTER_FAULT, Lock.INSPECTION_DUE)
    fail_battery(rig)
    assert rig.check_in()["lock_reasons"] == ["register fault", "provider lock", "date fault", "inspection due"]
    assert set_time(rig)["state"] == State.LOCKED


# The check-in lockout


def test_the_refusal_says_how_long_the_check_in_is_overdue() -> None:
    rig = operational()
    rig.now += 72 * HOUR + 3 * HOUR + 5 * MINUTE
    problem = refused(rig)
    assert isinstance(problem, LockedCheckinOverdue)
    assert "no check-in for 72 hours, overdue by 3 h 5 min" in problem.message
    assert problem.detail["seconds_overdue"] == 3 * 3600 + 5 * 60
    assert rig.status()["seconds_to_lockout"] == -(3 * 3600 + 5 * 60)


def test_another_reason_in_front_does_not_hide_it() -> None:
    rig = operational()
    order_lock(rig, Lock.PROVIDER)
    rig.now += 73 * HOUR
    problem = refused(rig)
    assert not isinstance(problem, LockedCheckinOverdue)
    assert problem.message == "locked: the provider locked it; no check-in for 72 hours, overdue by 1 h 0 min"
    assert problem.detail["seconds_overdue"] == 3600


def test_a_device_that_is_locked_for_something_else_is_not_overdue() -> None:
    rig = operational()
    order_lock(rig, Lock.PROVIDER)
    problem = refused(rig)
    assert problem.message == "locked: the provider locked it"
    assert problem.detail["seconds_overdue"] == 0


def test_a_lock_that_time_brings_is_written_down_when_it_is_found() -> None:
    rig = operational()
    before = rig.status()["log_sequence"]
    rig.now += 73 * HOUR
    assert rig.status()["log_sequence"] == before + 1
    rig.status()
    assert rig.status()["log_sequence"] == before + 1
    rig.now -= 73 * HOUR
    rig.power_on()
    assert refused(rig).status is Status.LOCKED_CHECKIN_OVERDUE


def test_on_a_full_disk_it_locks_all_the_same_reads_on_and_changes_nothing() -> None:
    storage = Full()
    rig = operational(storage=storage)
    before = rig.registers()
    storage.full = True
    rig.now += 73 * HOUR
    with pytest.raises(StorageFailed):
        rig.dispense(mailing_date="2026-11-24")
    assert rig.status()["state"] == State.LOCKED
    assert rig.registers() == before
    with pytest.raises(Locked):
        rig.dispense(mailing_date="2026-11-24")
    storage.full = False
    rig.power_on()
    assert refused(rig).status is Status.LOCKED_CHECKIN_OVERDUE


# Before service, and after it


def authorized() -> Rig:
    rig = Rig(regime="IBI")
    rig.initialize()
    rig.authorize()
    return rig


@pytest.mark.parametrize("lock", [Lock.ROLLBACK_FOUND, Lock.REGISTER_FAULT, Lock.PROVIDER, Lock.DATE_FAULT])
def test_a_reason_found_before_the_first_receipt_locks_with_it(lock: Lock) -> None:
    rig = authorized()
    BY_LOCK[lock].sets(rig)
    assert (rig.status()["state"], rig.status()["lock_reasons"]) == (State.AUTHORIZED, [lock.value])
    answered = rig.check_in()
    assert (answered["state"], answered["lock_reasons"]) == (State.LOCKED, [lock.value])
    assert refused(rig).status is BY_LOCK[lock].status
    BY_LOCK[lock].clears(rig)
    assert rig.status()["state"] == State.OPERATIONAL


@pytest.mark.parametrize("lock", [Lock.ROLLBACK_FOUND, Lock.REGISTER_FAULT, Lock.PROVIDER, Lock.DATE_FAULT])
def test_a_reason_cleared_before_the_first_receipt_is_forgotten(lock: Lock) -> None:
    rig = authorized()
    BY_LOCK[lock].sets(rig)
    BY_LOCK[lock].clears(rig)
    assert rig.status()["state"] == State.AUTHORIZED
    assert rig.check_in()["state"] == State.OPERATIONAL


def test_a_refused_first_check_in_does_not_bring_the_device_into_service() -> None:
    rig = authorized()
    assert refuse_checkin(rig)["state"] == State.AUTHORIZED
    assert refuse_checkin(rig, Lock.PROVIDER)["state"] == State.AUTHORIZED
    assert rig.status()["seconds_to_lockout"] == 0


def test_a_device_out_of_service_is_not_locked_any_more() -> None:
    rig = operational()
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    rig.ask("withdraw_complete", message=answer("withdrawal_grant", asked, amount_mills=100_000))
    rig.now += 1000 * DAY
    fail_battery(rig)
    assert (rig.status()["state"], rig.status()["lock_reasons"]) == (State.WITHDRAWN, [])


def test_a_locked_device_can_be_withdrawn() -> None:
    rig = operational()
    order_lock(rig, Lock.ROLLBACK_FOUND)
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    rig.ask("withdraw_complete", message=answer("withdrawal_grant", asked, amount_mills=100_000))
    assert rig.status()["state"] == State.WITHDRAWN


# The parts


def test_what_is_due_is_noted_once() -> None:
    state = PsdState(lifecycle=State.OPERATIONAL, last_receipt=1)
    assert locks.due(state, 1 + 72 * HOUR) == (Lock.CHECKIN_OVERDUE,)
    noted = locks.with_locks(state, [Lock.CHECKIN_OVERDUE])
    assert locks.due(noted, 1 + 72 * HOUR) == ()
    assert locks.without(noted, [Lock.CHECKIN_OVERDUE]) == state


def test_a_stranger_cannot_lock_the_device() -> None:
    rig = operational()
    challenge = rig.challenge()
    values = {"psd_serial": 1234567, "nonce": challenge["nonce"], "message_number": challenge["message_number"]}
    later = rig.registers() | {"piece_count": 1000}
    message = sign("lock_order", values | later | {"lock_reasons": ["provider lock"]}, "another CA")
    with pytest.raises(PesError) as caught:
        rig.ask("lock", message=message)
    assert caught.value.status is Status.BAD_SIGNATURE
    assert rig.status()["state"] == State.OPERATIONAL


def test_before_the_first_receipt_there_is_no_lockout_to_count_to() -> None:
    assert locks.to_lockout(PsdState(), 10**15) == 0
