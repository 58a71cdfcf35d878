"""Check-in: 72 hours, on the device's own time, and only the provider's fresh receipt restarts them."""

from __future__ import annotations

from typing import Any

import pytest

from pes_sim.clock import HOUR, SECOND
from pes_sim.errors import (
    BadMessage,
    BadSignature,
    LockedCheckinOverdue,
    NotForThisDevice,
    NothingPending,
    PesError,
    StaleMessage,
    Status,
    StorageFull,
)
from pes_sim.psd.storage import MemoryStorage
from tests.rig import Rig, operational, sign


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
    assert caught.value.detail == {"seconds_overdue": 3900, "cleared_by": "checkin"}
    status = rig.status()
    assert (status["state"], status["lock_reasons"], status["seconds_to_lockout"]) == (
        "LOCKED",
        ["check-in overdue"],
        -3900,
    )


def test_a_check_in_unlocks_and_restarts_the_72_hours() -> None:
    rig = operational()
    rig.now += 100 * HOUR
    assert rig.check_in() == {"state": "OPERATIONAL", "seconds_to_lockout": 72 * 3600}
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
        ({"acknowledged": 10_000}, BadMessage),
    ],
)
def test_a_receipt_that_says_something_else_is_refused(changes: dict[str, Any], error: type[PesError]) -> None:
    rig = operational()
    refused(rig, rig.receipt(rig.report(), **changes), error)


def test_a_receipt_never_takes_an_acknowledgement_back() -> None:
    rig = operational()
    rig.dispense()
    rig.check_in()
    refused(rig, rig.receipt(rig.report(), acknowledged=0), BadMessage)


def test_a_receipt_of_another_provider_is_refused() -> None:
    rig = operational()
    report = rig.report()
    values = {"psd_serial": report["psd_serial"], "nonce": report["nonce"], "acknowledged": report["log_sequence"]}
    refused(rig, sign("checkin_receipt", values, "another provider"), BadSignature)


def test_a_grant_is_no_receipt() -> None:
    rig = operational()
    report = rig.report()
    grant = sign("refill_grant", {"psd_serial": report["psd_serial"], "nonce": report["nonce"], "amount_mills": 1})
    refused(rig, grant, BadMessage)


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


def test_a_full_disk_at_the_lockout_keeps_nobody_from_reading_and_nobody_prints() -> None:
    class Full(MemoryStorage):
        full = False

        def write(self, name: str, offset: int, data: bytes) -> None:
            if self.full:
                raise StorageFull("no room")
            super().write(name, offset, data)

    storage = Full()
    rig = operational(storage=storage)
    storage.full = True
    rig.now += 73 * HOUR
    assert rig.status()["state"] == "LOCKED"
    assert rig.registers()["descending_mills"] == 100_000
    rig.power_on()
    with pytest.raises(StorageFull):
        rig.dispense(mailing_date="2026-11-24")
    with pytest.raises(LockedCheckinOverdue):
        rig.dispense(mailing_date="2026-11-24")
    storage.full = False
    rig.power_on()
    assert rig.status()["state"] == "LOCKED"
