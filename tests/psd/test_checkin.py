"""Check-in: 72 hours, on the device's own time, and only the provider's fresh receipt restarts them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pes_sim.clock import HOUR, SECOND
from pes_sim.errors import (
    BadMessage,
    BadSignature,
    Locked,
    LockedCheckinOverdue,
    NotForThisDevice,
    NothingPending,
    PesError,
    StaleMessage,
    Status,
    StorageFull,
)
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import State
from pes_sim.psd.registers import REGISTERS
from pes_sim.psd.services import SERVICES
from pes_sim.psd.storage import MemoryStorage
from tests.rig import Rig, answer, operational, sign


def test_a_device_serves_until_72_hours_have_passed_and_not_a_microsecond_longer() -> None:
    rig = operational()
    rig.now += 72 * HOUR - 1
    rig.dispense(mailing_date="2026-11-24")
    rig.now += 1
    with pytest.raises(LockedCheckinOverdue):
        rig.dispense(mailing_date="2026-11-24")


def test_a_lock_says_its_code_how_long_and_what_clears_it() -> None:
    rig = operational()
    rig.now += 73 * HOUR + 5 * 60 * SECOND
    with pytest.raises(
        LockedCheckinOverdue, match=r"overdue by 1 h 5 min\. A check-in with the provider clears it"
    ) as caught:
        rig.dispense()
    assert caught.value.status is Status.LOCKED_CHECKIN_OVERDUE
    assert caught.value.detail == {
        "seconds_overdue": 3900, "reasons": ["check-in overdue"], "cleared_by": "checkin_complete",
    }  # fmt: skip
    status = rig.status()
    assert (status["state"], status["lock_reasons"], status["seconds_to_lockout"]) == (
        "LOCKED",
        ["check-in overdue"],
        -3900,
    )


def test_a_check_in_unlocks_and_restarts_the_72_hours() -> None:
    rig = operational()
    rig.now += 100 * HOUR
    assert rig.check_in() == {
        "state": "OPERATIONAL", "lock_reasons": [], "reason": "", "seconds_to_lockout": 72 * 3600,
        "service_indicator": 0,
    }  # fmt: skip
    rig.dispense(mailing_date=rig.status()["today"])
    rig.now += 72 * HOUR
    with pytest.raises(LockedCheckinOverdue):
        rig.dispense(mailing_date="2026-11-28")


def test_setting_the_hosts_clock_back_does_not_unlock_not_even_over_a_restart() -> None:
    rig = operational()
    rig.now += 73 * HOUR
    rig.status()
    rig.now -= 73 * HOUR
    rig.power_on()
    assert rig.status()["state"] == "LOCKED"
    with pytest.raises(LockedCheckinOverdue):
        rig.dispense()


def test_a_new_device_prints_nothing_before_its_first_check_in() -> None:
    rig = Rig()
    rig.initialize()
    rig.authorize()
    assert rig.status()["seconds_to_lockout"] == 0
    with pytest.raises(PesError, match="state AUTHORIZED does not allow dispense"):
        rig.dispense()


def test_the_report_tells_the_registers_and_the_log() -> None:
    rig = operational(100_000)
    record = rig.dispense()["record"]
    report = rig.report()
    assert (report["ascending_mills"], report["piece_count"]) == (740, 1)
    assert report["descending_mills"] == 99_260
    assert report["log_sequence"] == record
    assert report["device_time"] == rig.now


def test_each_report_has_a_fresh_nonce_and_a_rising_number() -> None:
    rig = operational()
    first, second = rig.report(), rig.report()
    assert first["nonce"] != second["nonce"]
    assert second["message_number"] == first["message_number"] + 1


def refused(rig: Rig, message: bytes, error: type[PesError]) -> None:
    before = rig.everything(), rig.status()["seconds_to_lockout"]
    with pytest.raises(error):
        rig.ask("checkin_complete", message=message)
    assert (rig.everything(), rig.status()["seconds_to_lockout"]) == before


def test_a_replayed_receipt_is_refused() -> None:
    rig = operational()
    receipt = rig.receipt(rig.report())
    rig.ask("checkin_complete", message=receipt)
    rig.now += HOUR
    refused(rig, receipt, NothingPending)
    rig.report()
    refused(rig, receipt, StaleMessage)


def test_only_the_newest_report_can_be_answered() -> None:
    rig = operational()
    late, newest = rig.report(), rig.report()
    refused(rig, rig.receipt(late), StaleMessage)
    rig.ask("checkin_complete", message=rig.receipt(newest))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"psd_serial": 1}, NotForThisDevice),
        ({"nonce": bytes(16)}, StaleMessage),
        ({"message_number": 0}, StaleMessage),
        ({"acknowledged": 10_000}, BadMessage),
    ],
)
def test_a_receipt_that_says_something_else_is_refused(changes: dict[str, Any], error: type[PesError]) -> None:
    rig = operational()
    report = rig.report()
    refused(rig, answer("checkin_receipt", report, **{"acknowledged": report["log_sequence"]} | changes), error)


def test_a_receipt_never_takes_an_acknowledgement_back() -> None:
    rig = operational()
    rig.dispense()
    rig.check_in()
    refused(rig, answer("checkin_receipt", rig.report(), acknowledged=0), BadMessage)


def test_a_receipt_may_acknowledge_anything_from_the_last_one_on_to_the_newest_record() -> None:
    rig = operational()
    known = rig.status()["log_sequence"]
    rig.ask("checkin_complete", message=answer("checkin_receipt", rig.report(), acknowledged=known))
    rig.ask("checkin_complete", message=answer("checkin_receipt", rig.report(), acknowledged=known))
    for offset, accepted in ((1, False), (0, True)):
        report = rig.report()
        newest = rig.status()["log_sequence"]
        receipt = answer("checkin_receipt", report, acknowledged=newest + offset)
        if accepted:
            rig.ask("checkin_complete", message=receipt)
        else:
            refused(rig, receipt, BadMessage)
    refused(rig, answer("checkin_receipt", rig.report(), acknowledged=newest - 1), BadMessage)


def mark(report: Values) -> bytes:
    """How a report is named by later ones: the log's length when it was made, in 8 bytes, and the chain then."""
    return int(report["log_sequence"]).to_bytes(8, "big") + bytes(report["chain"])


def test_a_report_names_those_before_it_back_to_the_one_of_the_last_receipt() -> None:
    rig = operational()
    first = rig.report()
    rig.ask("checkin_complete", message=rig.receipt(first))
    made = [first]
    for _ in range(3):
        rig.dispense()
        made.append(rig.report())
        assert made[-1]["reports"] == [mark(report) for report in made[:-1]]
        rig.power_on()
    rig.dispense()
    last = rig.report()
    # This receipt acknowledges no more than the second report told: that one and later ones are still named.
    second = made[1]["log_sequence"]
    rig.ask("checkin_complete", message=answer("checkin_receipt", last, acknowledged=second))
    assert rig.report()["reports"] == [mark(report) for report in (*made[1:], last)]


def test_of_many_reports_without_a_receipt_the_first_and_the_newest_fifteen_are_named() -> None:
    rig = operational()
    first = rig.report()
    rig.ask("checkin_complete", message=rig.receipt(first))
    made = [first]
    for count in range(1, 20):
        made.append(rig.report())
        named = [mark(report) for report in made[:-1]]
        assert made[-1]["reports"] == (named if count <= 16 else [named[0], *named[-15:]])
    assert len(made[-1]["reports"]) == 16


def test_a_receipt_of_another_provider_is_refused() -> None:
    rig = operational()
    report = rig.report()
    values = {name: report[name] for name in ("psd_serial", "nonce", "message_number", *REGISTERS)}
    values["acknowledged"] = report["log_sequence"]
    refused(rig, sign("checkin_receipt", values, "another provider"), BadSignature)


def test_a_grant_is_no_receipt() -> None:
    rig = operational()
    report = rig.report()
    refused(rig, answer("refill_grant", report, amount_mills=1), BadMessage)


def test_a_receipt_that_was_kept_back_unlocks_nothing() -> None:
    rig = operational()
    receipt = rig.receipt(rig.report())
    rig.now += 1 * HOUR
    rig.ask("checkin_complete", message=receipt)
    receipt = rig.receipt(rig.report())
    rig.now += 1 * HOUR + 1
    refused(rig, receipt, StaleMessage)
    rig.now += 500 * HOUR
    refused(rig, receipt, StaleMessage)
    assert rig.status()["state"] == "LOCKED"
    rig.check_in()


class Full(MemoryStorage):
    """A disk that can be full."""

    full = False

    def write(self, name: str, offset: int, data: bytes) -> None:
        if self.full:
            raise StorageFull("no room")
        super().write(name, offset, data)


def test_a_full_disk_at_the_lockout_keeps_nobody_from_reading_and_nobody_prints() -> None:
    storage = Full()
    rig = operational(storage=storage)
    storage.full = True
    rig.now += 73 * HOUR
    assert rig.status()["state"] == "LOCKED"
    assert rig.registers()["descending_mills"] == 100_000
    rig.power_on(log_in=False)
    with pytest.raises(StorageFull):
        rig.dispense(mailing_date="2026-11-24")
    with pytest.raises(LockedCheckinOverdue):
        rig.dispense(mailing_date="2026-11-24")
    storage.full = False
    rig.power_on()
    assert rig.status()["state"] == "LOCKED"


# Refusals


def refuse(rig: Rig, *reasons: str) -> Values:
    """A check-in that the provider answers with a refusal."""
    refusal = answer("checkin_refusal", rig.report(), lock_reasons=list(reasons), reason="look into it")
    return rig.ask("checkin_complete", message=refusal)


def test_a_refusal_locks_the_device_for_what_it_names_and_says_why() -> None:
    rig = operational()
    done = refuse(rig, "provider lock", "register fault")
    assert (done["state"], done["lock_reasons"]) == ("LOCKED", ["register fault", "provider lock"])
    assert done["reason"] == "look into it"
    with pytest.raises(Locked, match="the registers and the provider's books cannot both be right; ") as caught:
        rig.dispense()
    assert caught.value.status is Status.LOCKED_REGISTER_FAULT
    assert caught.value.detail["reasons"] == ["register fault", "provider lock"]
    rig.power_on()
    assert rig.status()["lock_reasons"] == ["register fault", "provider lock"]


def test_a_refusal_does_not_restart_the_72_hours() -> None:
    rig = operational()
    rig.now += 10 * HOUR
    assert refuse(rig, "provider lock")["seconds_to_lockout"] == 62 * 3600
    rig.now += 62 * HOUR
    assert rig.status()["lock_reasons"] == ["provider lock", "check-in overdue"]


def test_a_refusal_without_a_reason_to_lock_locks_nothing_and_ends_the_check_in() -> None:
    rig = operational()
    refusal = answer("checkin_refusal", rig.report(), lock_reasons=[], reason="come again")
    done = rig.ask("checkin_complete", message=refusal)
    assert (done["state"], done["lock_reasons"], done["reason"]) == ("OPERATIONAL", [], "come again")
    refused(rig, refusal, NothingPending)
    rig.dispense()


@pytest.mark.parametrize("reason", ["check-in overdue", "date fault", "because", ""])
def test_a_refusal_that_names_what_is_not_the_providers_to_name_locks_nothing(reason: str) -> None:
    rig = operational()
    report = rig.report()
    for reasons in ([reason], ["provider lock", reason]):
        refusal = answer("checkin_refusal", report, lock_reasons=reasons, reason="")
        refused(rig, refusal, BadMessage)
        if reason:
            with pytest.raises(BadMessage, match=f"an order names {', '.join(reasons)}"):
                rig.ask("checkin_complete", message=refusal)
    rig.ask("checkin_complete", message=rig.receipt(report))


def test_an_order_to_lock_names_a_reason() -> None:
    rig = operational()
    with pytest.raises(BadMessage, match="an order names no reason"):
        rig.ask("lock", message=rig.order("lock_order", lock_reasons=[]))


def test_an_order_to_unlock_need_not_and_then_clears_nothing() -> None:
    rig = operational()
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock"]))
    done = rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=[]))
    assert done["lock_reasons"] == ["provider lock"]


def test_a_receipt_clears_what_a_check_in_clears_and_keeps_every_other_lock() -> None:
    rig = operational()
    refuse(rig, "provider lock")
    rig.now += 80 * HOUR
    assert rig.status()["lock_reasons"] == ["provider lock", "check-in overdue"]
    done = rig.check_in()
    assert (done["state"], done["lock_reasons"], done["seconds_to_lockout"]) == ("LOCKED", ["provider lock"], 259_200)
    with pytest.raises(Locked, match="the provider locked it"):
        rig.dispense()
    rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=["provider lock"]))
    rig.dispense(mailing_date=rig.status()["today"])


def test_a_device_that_was_refused_before_its_first_receipt_is_locked_when_that_comes() -> None:
    rig = Rig()
    rig.initialize()
    rig.authorize()
    assert refuse(rig, "provider lock")["state"] == "AUTHORIZED"
    assert rig.check_in()["state"] == "LOCKED"
    rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=["provider lock"]))
    assert rig.status()["state"] == "OPERATIONAL"


def test_a_refusal_too_comes_within_the_hour() -> None:
    rig = operational()
    refusal = answer("checkin_refusal", rig.report(), lock_reasons=["provider lock"], reason="")
    rig.now += 1 * HOUR + 1
    refused(rig, refusal, StaleMessage)


# Rollback


ORDERS: dict[str, Callable[[Rig, dict[str, int]], bytes]] = {
    "checkin_complete": lambda rig, known: answer("checkin_receipt", rig.report(), acknowledged=0, **known),
    "refill_complete": lambda rig, known: answer(
        "refill_grant", rig.request_refill(5_000), amount_mills=5_000, **known
    ),
    "withdraw_complete": lambda rig, known: answer(
        "withdrawal_grant",
        rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"]),
        amount_mills=rig.registers()["descending_mills"],
        **known,
    ),
    "reauthorize": lambda rig, known: rig.order(
        "reauthorization", licensing_zip="10001", customer="C", utc_offset_minutes=0, **known
    ),
    "set_time": lambda rig, known: rig.order("time_setting", device_time=rig.now + HOUR, **known),
    "lock": lambda rig, known: rig.order("lock_order", lock_reasons=["provider lock"], **known),
    "unlock": lambda rig, known: rig.order("unlock_order", lock_reasons=["provider lock"], **known),
    "renew_key": lambda rig, known: rig.order("key_renewal", **known),
}
"""An order of each kind, with other registers than the device's own."""


@pytest.mark.parametrize("ahead", ["ascending_mills", "piece_count"])
@pytest.mark.parametrize("service", ORDERS)
def test_a_device_behind_the_registers_that_the_provider_knows_obeys_no_order_and_locks_for_good(
    service: str, ahead: str
) -> None:
    rig = operational(10_000)
    rig.dispense()
    known = {ahead: rig.registers()[ahead] + 1}
    message = ORDERS[service](rig, known)
    before = rig.registers(), rig.ask("get_info"), rig.status()["sub_state"]
    with pytest.raises(Locked, match="the provider knows later registers than this device's") as caught:
        rig.ask(service, message=message)
    assert caught.value.status is Status.LOCKED_ROLLBACK_FOUND
    assert caught.value.detail["cleared_by"] == "unlock"
    assert (rig.registers(), rig.ask("get_info"), rig.status()["sub_state"]) == before
    rig.power_on()
    assert (rig.status()["state"], rig.status()["lock_reasons"]) == ("LOCKED", ["rollback found"])
    with pytest.raises(Locked):
        rig.dispense()
    rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=["rollback found"]))
    assert rig.status()["state"] == "OPERATIONAL"


def test_every_service_that_takes_an_order_in_service_is_tried() -> None:
    signed = {service.name for service in SERVICES if service.signed and State.OPERATIONAL in service.states}
    # A recovery says with which registers to go on: there they are the order, and not what the provider knows.
    assert set(ORDERS) == signed - {"load_certificate", "load_key", "software_begin", "recover"}


def test_an_unlock_order_of_a_provider_that_still_knows_later_registers_unlocks_nothing() -> None:
    rig = operational(10_000)
    later = {"piece_count": 7}
    for _ in range(2):
        with pytest.raises(Locked):
            rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=["rollback found"], **later))
        assert rig.status()["lock_reasons"] == ["rollback found"]


def test_a_provider_that_knows_less_than_the_device_is_obeyed() -> None:
    rig = operational(10_000)
    report = rig.report()
    rig.dispense()
    assert rig.ask("checkin_complete", message=rig.receipt(report))["state"] == "OPERATIONAL"


def test_an_older_image_put_back_is_found_at_the_next_check_in() -> None:
    storage = MemoryStorage()
    rig = operational(10_000, storage=storage)
    image = copy.deepcopy(storage.areas)
    rig.dispense()
    known = rig.report()
    storage.areas = image
    rig.power_on()
    assert rig.registers()["piece_count"] == 0
    provider = {name: known[name] for name in REGISTERS}
    with pytest.raises(Locked):
        rig.ask("checkin_complete", message=answer("checkin_receipt", rig.report(), acknowledged=0, **provider))
    assert rig.status()["lock_reasons"] == ["rollback found"]


def test_a_rollback_found_while_the_disk_is_full_locks_all_the_same() -> None:
    storage = Full()
    rig = operational(storage=storage)
    message = ORDERS["checkin_complete"](rig, {"piece_count": 1})
    storage.full = True
    with pytest.raises(Locked):
        rig.ask("checkin_complete", message=message)
    assert rig.status()["lock_reasons"] == ["rollback found"]
    storage.full = False
    with pytest.raises(Locked):
        rig.dispense()
    with pytest.raises(Locked):
        rig.ask("checkin_complete", message=message)
    rig.power_on()
    assert rig.status()["lock_reasons"] == ["rollback found"]


# Against a host that holds things back


def test_a_receipt_kept_back_gains_nothing_by_a_clock_that_was_set_back_meanwhile() -> None:
    rig = operational()
    rig.now += 50 * HOUR
    receipt = rig.receipt(rig.report())
    rig.ask("set_time", message=rig.order("time_setting", device_time=rig.now - 40 * HOUR))
    rig.now += 2 * HOUR
    refused(rig, receipt, StaleMessage)


def test_a_clock_that_was_set_back_does_not_put_the_lockout_off() -> None:
    rig = operational()
    rig.now += 50 * HOUR
    rig.ask("set_time", message=rig.order("time_setting", device_time=rig.now - 40 * HOUR))
    assert rig.status()["seconds_to_lockout"] == 22 * 3600
    rig.now += 22 * HOUR
    with pytest.raises(LockedCheckinOverdue):
        rig.dispense(mailing_date=rig.status()["today"])


def test_an_order_that_was_kept_back_sets_no_clock_back() -> None:
    rig = operational()
    order = rig.order("time_setting", device_time=rig.now)
    rig.now += 1 * HOUR + 1
    with pytest.raises(NothingPending):
        rig.ask("set_time", message=order)
    order = rig.order("time_setting", device_time=rig.now)
    rig.now += 1 * HOUR
    assert rig.ask("set_time", message=order)["device_time"] == rig.now - HOUR
