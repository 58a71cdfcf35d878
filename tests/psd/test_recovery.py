"""A device that cannot read its registers: who it is and what it last said stay readable; the provider's order, and
nothing else, says with which registers it goes on.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any, Final

import pytest

from pes_sim.clock import DAY, HOUR, MINUTE
from pes_sim.errors import (
    BadMessage,
    BadSignature,
    BadTime,
    IntegrityError,
    KeysGone,
    Locked,
    NotForThisDevice,
    NothingPending,
    PesError,
    RefusedInState,
    RequestIdReused,
    SelfTestFailed,
    StaleMessage,
    StorageFailed,
    StorageFull,
)
from pes_sim.psd import messages, rtc
from pes_sim.psd.faults import Fault, FaultKind, FaultyStorage, PowerCut
from pes_sim.psd.fields import Values, pack, unpack
from pes_sim.psd.head import PAGE
from pes_sim.psd.keys import Slot
from pes_sim.psd.records import Kind, frame
from pes_sim.psd.roles import Role
from pes_sim.psd.rtc import Rtc
from pes_sim.psd.selftest import TestName
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.vault import MemoryVault
from pes_sim.psd.wreck import COPY, REPORT
from tests.psd.walk import Noting, survivors
from tests.rig import NOON, SERIAL, Rig, answer, correction, operational, piece, pki, sign

BANK: Final = 16384
FUNDS: Final = 100_000
GAP: Final = 1 << 32
HEAD: Final = "head.seg"

Areas = dict[str, bytearray]


def logs(areas: Areas) -> list[str]:
    return sorted(name for name in areas if name.startswith("log-"))


def _rot(area: bytearray, start: int, end: int) -> None:
    """In both banks: of a segment's pages, two and two are copies."""
    for page in range(0, len(area) // PAGE, 2):
        for bank in (0, 1):
            for at in range(start, end):
                if page // 2 * PAGE <= at < (page // 2 + 1) * PAGE:
                    area[(page + bank) * PAGE + at % PAGE] ^= 0xFF


def everything(areas: Areas) -> None:
    for name in logs(areas):
        areas[name][:] = b"\xa5" * len(areas[name])


def newest_segment(areas: Areas) -> None:
    name = logs(areas)[-1]
    areas[name][:] = b"\xa5" * len(areas[name])


def middle_of_newest(areas: Areas) -> None:
    area = areas[logs(areas)[-1]]
    bank = b"".join(area[at : at + PAGE] for at in range(0, len(area), 2 * PAGE))
    records = [at for at in range(0, BANK, 64) if bank[at : at + 4] == b"PESr"]
    assert len(records) > 1
    at = records[(len(records) - 1) // 2]
    _rot(area, at + 30, at + 31)


def state_record(areas: Areas) -> None:
    _rot(areas[logs(areas)[-1]], 30, 31)


def head(areas: Areas) -> None:
    areas[HEAD][:] = b"\xa5" * len(areas[HEAD])


def head_is_missing(areas: Areas) -> None:
    del areas[HEAD]


def newest_is_missing(areas: Areas) -> None:
    del areas[logs(areas)[-1]]


def newest_is_cut_short(areas: Areas) -> None:
    name = logs(areas)[-1]
    areas[name] = areas[name][: 3 * PAGE + 100]


def all_are_missing(areas: Areas) -> None:
    for name in logs(areas):
        del areas[name]


ROTS: Final[list[Callable[[Areas], None]]] = [
    everything, newest_segment, middle_of_newest, state_record, head, head_is_missing, newest_is_missing,
    newest_is_cut_short, all_are_missing,
]  # fmt: skip


def areas_of(rig: Rig) -> Areas:
    assert isinstance(rig.storage, MemoryStorage)
    return rig.storage.areas


def lived(**made: Any) -> Rig:
    """A device with pieces in several segments: two before its last report and two after it."""
    rig = operational(FUNDS, bank=BANK, **made)
    for _ in range(4):
        rig.check_in()
        rig.dispense()
    rig.report()
    rig.dispense()
    rig.dispense()
    assert len(logs(areas_of(rig))) > 1
    return rig


def wrecked(rot: Callable[[Areas], None] = everything, **made: Any) -> Rig:
    rig = lived(**made)
    rot(areas_of(rig))
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    return rig


def registers(spent: int, pieces: int, *, zero: int = 0, funds: int = FUNDS) -> Values:
    return {
        "ascending_mills": spent,
        "descending_mills": funds - spent,
        "control_sum_mills": funds,
        "piece_count": pieces,
        "zero_piece_count": zero,
    }


TRUE: Final = registers(6 * 740, 6)
"""What `lived` has come to."""
REPORTED: Final = registers(4 * 740, 4)


def order(rig: Rig, **said: Any) -> bytes:
    """The provider's, over a fresh challenge."""
    challenge = rig.challenge()
    values = {"psd_serial": SERIAL, "nonce": challenge["nonce"], "message_number": challenge["message_number"], **TRUE}
    more = {"newest_number": GAP, "log_sequence": 0, "device_time": rig.now}
    return sign("recovery_order", values | more | said)


def recover(rig: Rig, **said: Any) -> Values:
    return rig.ask("recover", message=order(rig, **said))


def image(rig: Rig) -> dict[str, bytes]:
    return {name: bytes(area) for name, area in areas_of(rig).items()}


def unlocked(rig: Rig) -> Rig:
    """As the provider brings it back: unlocked, and checked in."""
    rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=["register fault"]))
    rig.log_in()
    rig.check_in()
    assert rig.status()["state"] == "OPERATIONAL"
    return rig


# What can still be read


@pytest.mark.parametrize("rot", ROTS)
def test_whatever_has_rotted_the_device_says_who_it_is_and_what_it_reported_last(rot: Callable[[Areas], None]) -> None:
    before = lived()
    info, certificates = before.ask("get_info"), before.ask("get_certificates")
    rig = wrecked(rot)
    assert rig.ask("get_info") == info
    assert rig.ask("get_certificates") == certificates
    with pytest.raises(IntegrityError, match="cannot be read"):
        rig.registers()
    said = rig.read("checkin_report", rig.ask("get_statement")["statement"])
    assert {name: said[name] for name in REPORTED} == REPORTED
    assert not any(rig.psd._keys.has(slot) for slot in Slot)
    assert image(rig) == image(wrecked(rot))  # looking changes nothing


def _audited(rig: Rig) -> tuple[str, bytes]:
    rig.log_in(Role.INSPECTOR)
    return "audit_report", rig.ask("audit", nonce=bytes(16))["statement"]


REPORTING: Final[dict[str, Callable[[Rig], tuple[str, bytes]]]] = {
    "check-in": lambda rig: ("checkin_report", rig.ask("checkin_begin")["message"]),
    "refill": lambda rig: ("refill_request", rig.ask("refill_begin", amount_mills=5)["message"]),
    "withdrawal": lambda rig: ("withdrawal_request", rig.ask("withdraw_begin")["message"]),
    "audit": _audited,
}


@pytest.mark.parametrize("kind", REPORTING)
def test_every_message_that_states_the_registers_is_kept(kind: str) -> None:
    rig = lived()
    name, message = REPORTING[kind](rig)
    everything(areas_of(rig))
    rig.power_on(log_in=False)
    kept = rig.ask("get_statement")["statement"]
    assert kept == message
    assert {field: rig.read(name, kept)[field] for field in TRUE} == TRUE


def test_a_cancellation_is_kept_and_a_request_that_is_given_once_more_is_not_taken_for_a_new_report() -> None:
    rig = lived()
    asked = rig.ask("refill_begin", amount_mills=5)["message"]
    report = rig.ask("checkin_begin")["message"]
    assert rig.ask("refill_begin", amount_mills=5)["message"] == asked
    everything(areas_of(rig))
    rig.power_on(log_in=False)
    assert rig.ask("get_statement")["statement"] == report
    rig = lived()
    rig.ask("refill_begin", amount_mills=5)
    cancelled = rig.ask("refill_cancel")["message"]
    everything(areas_of(rig))
    rig.power_on(log_in=False)
    assert rig.ask("get_statement")["statement"] == cancelled


def withdrawn() -> Rig:
    rig = lived()
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    rig.ask("withdraw_complete", message=answer("withdrawal_grant", asked, amount_mills=asked["amount_mills"]))
    return rig


@pytest.mark.parametrize("rot", [everything, newest_segment, middle_of_newest])
def test_a_withdrawn_device_gives_its_final_statement_and_never_comes_back(rot: Callable[[Areas], None]) -> None:
    rig = withdrawn()
    last = rig.ask("get_statement")["statement"]
    rot(areas_of(rig))
    rig.power_on(log_in=False)
    assert rig.ask("get_statement")["statement"] == last
    gone = registers(6 * 740, 6, funds=6 * 740)
    with pytest.raises(RefusedInState, match="withdrawn, and that is for good"):
        recover(rig, **gone)
    assert rig.status()["state"] == "ERROR"


def test_nor_when_it_only_wrote_a_stop_down() -> None:
    rig = withdrawn()
    last = rig.ask("get_statement")["statement"]
    del areas_of(rig)[REPORT]
    assert rig.ask("get_statement")["statement"] == last
    rig.psd._books.stop("a test said so")
    rig.power_on(log_in=False)
    with pytest.raises(RefusedInState, match="withdrawn, and that is for good"):
        recover(rig, **registers(6 * 740, 6, funds=6 * 740))


@pytest.mark.parametrize("spoiled", [0, 1])
def test_either_bank_tells_who_it_is(spoiled: int) -> None:
    rig = lived()
    del areas_of(rig)[REPORT]
    head(areas_of(rig))
    for name in logs(areas_of(rig)):
        for page in range(spoiled * PAGE, 2 * BANK, 2 * PAGE):
            areas_of(rig)[name][page : page + PAGE] = bytes(PAGE)
    rig.power_on(log_in=False)
    assert rig.ask("get_info")["psd_serial"] == SERIAL
    recover(rig)


def test_a_report_in_the_logs_place_and_a_record_in_the_heads_stop_the_device() -> None:
    rig = lived()
    report = bytes(areas_of(rig)[REPORT][:COPY])
    number = int.from_bytes(report[8:16], "little")
    record = next(record for record in rig.psd._books._log().read_from(number) if record.sequence == number)
    area = areas_of(rig)[record.segment]
    for at in range(record.span):
        page, within = divmod(record.offset + at, PAGE)
        for bank in (0, 1):
            area[(2 * page + bank) * PAGE + within] = report[at]
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    recover(rig)
    rig = lived()
    record_of_state = frame(rig.psd._books._wreck._key, Kind.STATE, b"", 1)
    for at in (0, PAGE):
        areas_of(rig)[HEAD][at : at + len(record_of_state)] = record_of_state
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    recover(rig)


def test_one_copy_of_the_report_is_enough_and_without_one_there_is_nothing() -> None:
    rig = wrecked(middle_of_newest)
    area = areas_of(rig)[REPORT]
    kept = rig.ask("get_statement")["statement"]
    for spoiled in (0, COPY):
        whole = bytes(area)
        area[spoiled + 20] ^= 1
        assert rig.ask("get_statement")["statement"] == kept
        area[:] = whole
    for spoiled in (0, COPY):
        area[spoiled + 20] ^= 1
    assert rig.ask("get_statement") == {"statement": b"", "service_indicator": 0}
    del areas_of(rig)[REPORT]
    assert rig.ask("get_statement")["statement"] == b""
    recover(rig)


def test_of_two_copies_the_newer_counts() -> None:
    rig = lived()
    old = bytes(areas_of(rig)[REPORT][COPY:])
    newer = rig.ask("checkin_begin")["message"]
    areas_of(rig)[REPORT][COPY:] = old
    everything(areas_of(rig))
    rig.power_on(log_in=False)
    assert rig.ask("get_statement")["statement"] == newer


def test_a_device_that_stopped_for_a_self_test_gives_its_report_too() -> None:
    rig = lived()
    rig.options["failing"] = frozenset({TestName.SHA_256})
    rig.power_on(log_in=False)
    said = rig.read("checkin_report", rig.ask("get_statement")["statement"])
    assert {name: said[name] for name in REPORTED} == REPORTED


def test_a_report_that_cannot_be_kept_refuses_nothing_and_one_of_a_wrong_size_is_made_anew() -> None:
    class Refusing(MemoryStorage):
        refuses = True

        def write(self, name: str, offset: int, data: bytes) -> None:
            if name == REPORT and self.refuses:
                raise StorageFailed("the disk said no")
            super().write(name, offset, data)

    storage = Refusing()
    rig = operational(storage=storage)
    rig.dispense()
    assert not any(storage.areas[REPORT])
    storage.refuses = False
    storage.areas[REPORT] = bytearray(COPY)
    rig.report()
    assert len(storage.areas[REPORT]) == 2 * COPY
    rig.psd._books._wreck.keep_report(bytes(COPY - 32), 1)
    with pytest.raises(StorageFull, match="does not fit"):
        rig.psd._books._wreck.keep_report(bytes(COPY - 31), 1)


def test_a_report_costs_a_debit_nothing() -> None:
    rig = operational(storage=FaultyStorage(MemoryStorage()))
    assert isinstance(rig.storage, FaultyStorage)
    before = rig.storage.operations
    rig.dispense()
    assert rig.storage.operations == before + 3


def test_a_medium_that_cannot_be_read_leaves_what_can_be() -> None:
    class Unreadable(MemoryStorage):
        names_of: tuple[str, ...] = ()

        def read(self, name: str, offset: int, length: int) -> bytes:
            if name in self.names_of:
                raise StorageFailed("the disk said no")
            return super().read(name, offset, length)

    storage = Unreadable()
    rig = lived(storage=storage)
    head(storage.areas)
    assert len(logs(storage.areas)) == 2
    storage.names_of = (REPORT, logs(storage.areas)[-1])
    rig.power_on(log_in=False)
    assert rig.ask("get_statement")["statement"] == b""
    assert rig.ask("get_info")["psd_serial"] == SERIAL  # from the segment before
    storage.names_of = (REPORT, *logs(storage.areas))
    rig.power_on(log_in=False)
    assert rig.ask("get_info")["psd_serial"] == 0


def test_records_that_only_a_newer_version_knows_are_not_passed_over_for_older_ones() -> None:
    rig = wrecked(head)
    wreck = rig.psd._books._wreck
    newer = bytearray(frame(wreck._key, Kind.STATE, b"\xa1\x66format\x18\x63", 10_000))
    name = "log-0000000000010000.seg"
    areas_of(rig)[name] = bytearray(2 * BANK)
    areas_of(rig)[name][: len(newer)] = newer
    rig.power_on(log_in=False)
    assert (rig.status()["state"], rig.ask("get_info")["psd_serial"]) == ("ERROR", 0)
    del areas_of(rig)[name]
    wreck._storage = rig.storage
    wreck.keep_report(b"\xa1\x66format\x18\x63", 10_000)
    rig.power_on(log_in=False)
    assert (rig.ask("get_statement")["statement"], rig.ask("get_info")["psd_serial"]) == (b"", 0)


# Recovery


@pytest.mark.parametrize("rot", ROTS)
def test_a_recovered_device_is_locked_with_the_registers_ordered_and_serves_once_it_is_unlocked(
    rot: Callable[[Areas], None],
) -> None:
    rig = wrecked(rot)
    old = logs(areas_of(rig))
    message = order(rig, log_sequence=500_000)
    done = rig.ask("recover", b"r" * 16, message=message)
    assert done == {"state": "LOCKED", "lock_reasons": ["register fault"], "service_indicator": 0, **TRUE}
    for _ in range(2):
        assert rig.ask("recover", b"r" * 16, message=message) == done
        assert rig.registers() == TRUE
        status = rig.status()
        assert (status["state"], status["sub_state"], status["role"]) == ("LOCKED", "", "unauthenticated")
        assert status["log_sequence"] > 500_000
        assert not set(old) & set(areas_of(rig))
        with pytest.raises(Locked):
            rig.dispense()
        rig.power_on(log_in=False)
    unlocked(rig)
    rig.dispense()
    rig.refill(1_000)
    now = registers(7 * 740, 7, funds=FUNDS + 1_000)
    rig.power_on()
    assert rig.registers() == now
    entries = [unpack(entry) for entry in rig.ask("read_log", first_record=1)["entries"]]
    assert entries[-1]["record"] > 500_000 > max([entry["record"] for entry in entries[:-1]], default=0)


def test_where_all_segments_are_gone_it_goes_on_above_the_report_all_the_same() -> None:
    rig = wrecked(all_are_missing)
    reported = rig.read("checkin_report", rig.ask("get_statement")["statement"])["log_sequence"]
    recover(rig)
    assert rig.status()["log_sequence"] > reported + 1  # the report's own record
    rig.power_on(log_in=False)
    head(areas_of(rig))
    rig.power_on(log_in=False)
    with pytest.raises(BadMessage, match="would fall"):  # the registers ordered are the newest, not the report's
        recover(rig, **REPORTED)


def test_without_a_power_cycle_it_serves_as_well() -> None:
    rig = wrecked()
    recover(rig)
    rig.log_in()
    unlocked(rig).dispense()


def test_a_device_that_wrote_its_stop_down_is_recovered_the_same_way() -> None:
    rig = lived()
    rig.psd._books.stop("a test said so")
    for _ in range(2):
        with pytest.raises(BadMessage, match="the ascending register would fall"):
            recover(rig, **REPORTED)
        assert rig.registers() == TRUE
        rig.power_on(log_in=False)
    recover(rig)
    unlocked(rig).dispense()


def test_one_that_misses_only_an_older_part_of_its_log_goes_on_from_the_registers_it_knows() -> None:
    rig = operational(FUNDS, bank=BANK)
    while len(logs(areas_of(rig))) < 4:
        rig.dispense(postage_mills=1)
    known = rig.registers()
    del areas_of(rig)[logs(areas_of(rig))[0]]
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    with pytest.raises(BadMessage, match="the ascending register would fall"):
        recover(rig, **REPORTED | registers(1, 1))
    recover(rig, **known)
    assert rig.registers() == known
    rig.power_on(log_in=False)
    unlocked(rig).dispense()


def test_nothing_goes_on_that_was_under_way() -> None:
    rig = lived()
    asked = rig.request_refill(2_000)
    grant = rig.grant(asked)
    everything(areas_of(rig))
    rig.power_on(log_in=False)
    assert rig.status()["refill_pending_mills"] == 2_000
    recover(rig, **registers(6 * 740, 6, funds=FUNDS + 2_000))
    assert (rig.status()["sub_state"], rig.status()["refill_pending_mills"]) == ("", 0)
    with pytest.raises(NothingPending):
        rig.ask("refill_complete", message=grant)
    unlocked(rig)
    assert rig.report()["message_number"] > GAP


def test_nor_does_a_cancelled_refill_or_a_check_in() -> None:
    rig = lived()
    rig.request_refill(2_000)
    rig.ask("refill_cancel")
    receipt = rig.receipt(rig.report())
    everything(areas_of(rig))
    rig.power_on(log_in=False)
    recover(rig)
    with pytest.raises(NothingPending):
        rig.ask("checkin_complete", message=receipt)
    rig.log_in()
    assert rig.report()["reports"] == []  # which named the log that is gone
    unlocked(rig)
    rig.refill(1_000)


def test_locks_that_held_hold_still() -> None:
    rig = lived()
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock"]))
    rig.report()
    everything(areas_of(rig))
    rig.power_on(log_in=False)
    message = order(rig)
    said = messages.peek(message, "recovery_order")[1]
    assert rig.ask("recover", message=message)["lock_reasons"] == ["register fault", "provider lock"]
    with pytest.raises(NothingPending):  # one order a challenge
        rig.ask("unlock", message=answer("unlock_order", said, lock_reasons=["register fault"]))


def test_the_clock_is_the_providers_and_never_before_the_last_piece() -> None:
    rig = lived()
    last = rig.now
    head(areas_of(rig))
    rig.now += 400 * DAY  # a host that sets its clock wrong
    rig.power_on(log_in=False)
    recover(rig, device_time=last + HOUR)
    assert rig.status()["device_time"] == last + HOUR
    assert rig.status()["lock_reasons"] == ["register fault", "check-in overdue"]  # not put off by setting it back
    rig = wrecked(head)
    recover(rig, device_time=NOON - DAY)
    assert rig.status()["device_time"] == rig.now
    rig = wrecked(head)
    rig.now -= HOUR  # a host that sets its clock back: the device's stands still until it is set
    recover(rig, device_time=rig.now + 2 * HOUR)
    assert rig.status()["device_time"] == rig.now + 2 * HOUR
    rig = wrecked(head)
    with pytest.raises(BadTime):
        recover(rig, device_time=rtc.LAST + 1)


def test_a_battery_that_failed_meanwhile_is_settled_by_the_order() -> None:
    rig = lived()
    everything(areas_of(rig))
    rig.rtc = Rtc(battery_failed=True)
    rig.power_on(log_in=False)
    recover(rig)
    rig.rtc = Rtc()
    assert rig.status()["lock_reasons"] == ["register fault"]
    rig.power_on(log_in=False)
    assert rig.status()["lock_reasons"] == ["register fault"]


def test_and_one_that_had_failed_before() -> None:
    rig = lived()
    rig.rtc = Rtc(battery_failed=True)
    rig.power_on(log_in=False)
    assert rig.status()["lock_reasons"] == ["date fault"]
    rig.rtc = Rtc()
    head(areas_of(rig))
    rig.power_on(log_in=False)
    assert recover(rig)["lock_reasons"] == ["register fault"]


@pytest.mark.parametrize("profile", ["FIPS 140-2", "FIPS 140-3"])
def test_a_self_test_that_fails_keeps_it_in_error_until_the_power_goes(profile: str) -> None:
    rig = wrecked(profile=profile)
    before = image(rig)
    message = order(rig)
    rig.psd.fail_self_test(TestName.AES_256_KEY_WRAP)
    with pytest.raises(SelfTestFailed):
        rig.ask("recover", message=message)
    assert (rig.status()["state"], image(rig)) == ("ERROR", before)
    assert not any(rig.psd._keys.has(slot) for slot in Slot)
    rig.power_on(log_in=False)
    recover(rig)


def test_an_error_that_ends_with_the_power_is_not_recovered_but_ended() -> None:
    rig = lived()
    kept = rig.vault.read()
    rig.vault.write(bytes(32))  # of another device
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    for name in ("challenge", "recover"):
        with pytest.raises(IntegrityError, match="cannot be unwrapped") as caught:
            rig.ask(name, **({"message": b""} if name == "recover" else {}))
        assert caught.value.hint == "It can still be read, tested and zeroized"
    rig.vault.write(kept)
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "OPERATIONAL"


# What is refused

CHANGED: Final[dict[str, tuple[Values, type[PesError], str]]] = {
    "AR below what was salvaged": (registers(5 * 740, 6), BadMessage, "the ascending register would fall"),
    "fewer pieces": (registers(6 * 740, 5), BadMessage, "the piece count would fall"),
    "more zero-value pieces than pieces": (registers(6 * 740, 6, zero=1), BadMessage, "the zero-value count"),
    "postage without a piece": (registers(7 * 740, 6), BadMessage, "postage left without an indicium"),
    "postage with zero-value pieces only": (registers(7 * 740, 7, zero=1), BadMessage, "without an indicium"),
    "postage taken away": (registers(6 * 740, 6, funds=FUNDS - 1), BadMessage, "the control sum would fall"),
    "DR made up": (TRUE | {"descending_mills": FUNDS}, BadMessage, r"AR \+ DR is not the control sum"),
    "an old message number": ({"newest_number": 1}, BadMessage, "the message number would fall"),
    "another device": ({"psd_serial": SERIAL + 1}, NotForThisDevice, "this is"),
    "another nonce": ({"nonce": bytes(16)}, StaleMessage, "another request"),
    "another number": ({"message_number": 4_000}, StaleMessage, "another request"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_an_order_that_cannot_be_true_is_refused_and_the_right_one_is_taken(what: str) -> None:
    said, error, text = CHANGED[what]
    rig = wrecked(middle_of_newest)
    before = image(rig)
    with pytest.raises(error, match=text):
        recover(rig, **said)
    assert (rig.status()["state"], image(rig)) == ("ERROR", before)
    assert not any(rig.psd._keys.has(slot) for slot in Slot)
    recover(rig)


def test_the_last_report_is_a_bound_also_where_the_log_holds_less() -> None:
    rig = wrecked(everything)
    with pytest.raises(BadMessage, match="the piece count would fall") as caught:
        recover(rig, **registers(4 * 740, 3))
    assert caught.value.detail == REPORTED
    assert "$2.96 used in 4 pieces" in caught.value.hint
    recover(rig, **REPORTED)  # two pieces were printed since: only the provider can know that


def test_pieces_count_that_lie_behind_the_last_report_and_before_the_rot() -> None:
    rig = wrecked(head)
    with pytest.raises(BadMessage) as caught:
        recover(rig, **REPORTED)
    assert caught.value.detail == TRUE


def test_batches_count_too() -> None:
    rig = lived()
    rig.ask("dispense_batch", pieces=[pack(piece())] * 3)
    head(areas_of(rig))
    rig.power_on(log_in=False)
    with pytest.raises(BadMessage) as caught:
        recover(rig)
    assert caught.value.detail == registers(9 * 740, 9)


def test_orders_replayed_foreign_and_old_are_refused() -> None:
    rig = wrecked(middle_of_newest)
    message = order(rig)
    foreign = messages.peek(message, "recovery_order")[1]
    with pytest.raises(BadSignature):
        rig.ask("recover", message=sign("recovery_order", foreign, "somebody else"))
    with pytest.raises(BadSignature):
        rig.ask("recover", message=messages.sign("recovery_order", foreign, pki().inspector(NOON).sign))
    with pytest.raises(BadMessage):
        rig.ask("recover", message=answer("unlock_order", foreign, lock_reasons=["register fault"]))
    rig.challenge()
    with pytest.raises(StaleMessage):
        rig.ask("recover", message=message)
    message = order(rig)
    rig.now += HOUR + MINUTE
    with pytest.raises(NothingPending):
        rig.ask("recover", message=message)
    message = order(rig)
    rig.ask("recover", message=message)
    with pytest.raises(NothingPending):
        rig.ask("recover", message=message)
    everything(areas_of(rig))
    rig.power_on(log_in=False)
    with pytest.raises(NothingPending):
        rig.ask("recover", message=message)
    rig.challenge()
    with pytest.raises(StaleMessage):
        rig.ask("recover", message=message)


def test_a_device_of_which_nothing_is_left_is_not_brought_back() -> None:
    rig = lived()
    everything(areas_of(rig))
    del areas_of(rig)[REPORT]
    rig.power_on(log_in=False)
    assert rig.ask("get_info")["psd_serial"] == 0
    with pytest.raises(IntegrityError):
        rig.ask("get_certificates")
    with pytest.raises(IntegrityError, match="nothing is left that says who this device is"):
        recover(rig)


def test_a_device_that_was_never_licensed_is_not_brought_back() -> None:
    rig = Rig(bank=BANK)
    rig.initialize()
    rig.psd._books.stop("a test said so")
    with pytest.raises(IntegrityError, match="never licensed"):
        recover(rig)


def test_a_zeroized_device_is_not_brought_back() -> None:
    rig = wrecked()
    message = order(rig)
    rig.psd.tamper()
    with pytest.raises(RefusedInState):
        rig.ask("recover", message=message)
    rig.power_on(log_in=False)
    with pytest.raises(KeysGone):
        recover(rig)
    assert not any(rig.psd._keys.has(slot) for slot in Slot)
    rig = lived()
    rig.ask("zeroize")
    head(areas_of(rig))
    rig.power_on(log_in=False)
    with pytest.raises(RefusedInState, match="zeroized, and that is for good"):
        recover(rig)


# Cuts and faults


def opened(rig: Rig, areas: dict[str, bytes]) -> Rig:
    medium, vault = MemoryStorage(), MemoryVault()
    medium.areas = {name: bytearray(area) for name, area in areas.items()}
    vault.write(rig.vault.read())
    other = copy.copy(rig)
    other.storage, other.vault = medium, vault
    other.power_on(log_in=False)
    return other


@pytest.mark.parametrize("rot", ROTS)
def test_a_cut_at_any_write_of_a_recovery_leaves_it_done_or_to_be_done_again(rot: Callable[[Areas], None]) -> None:
    storage = Noting()
    rig = lived(storage=storage, vault=storage.vault, profile="FIPS 140-3")
    rot(storage.areas)
    storage.durable = {name: bytes(area) for name, area in storage.areas.items()}
    storage.pending = []
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    message, begin = order(rig), len(storage.moments)
    done = rig.ask("recover", b"r" * 16, message=message)
    cuts = {
        tuple(sorted(areas.items())): dict(areas)
        for moment in storage.moments[begin:]
        for areas in survivors(moment.durable, moment.pending)
    }
    states = []
    for areas in cuts.values():
        found = opened(rig, areas)
        states.append(found.status()["state"])
        assert states[-1] in ("ERROR", "LOCKED")
        if states[-1] == "LOCKED":
            assert found.registers() == TRUE
            assert found.ask("recover", b"r" * 16, message=message) == done
        else:
            assert found.ask("get_info")["psd_serial"] == SERIAL
            assert found.ask("get_statement")["statement"]
            with pytest.raises(PesError):
                found.ask("recover", b"r" * 16, message=message)
            assert recover(found)["state"] == "LOCKED"
        found.power_on(log_in=False)
        assert (found.status()["state"], found.registers()) == ("LOCKED", TRUE)
    assert set(states) == {"ERROR", "LOCKED"}
    assert len(cuts) > 50


@pytest.mark.parametrize("rot", [everything, middle_of_newest, newest_is_missing])
def test_an_order_that_a_cut_kept_from_counting_binds_nobody(rot: Callable[[Areas], None]) -> None:
    """It may have been a slip, and the next one is lower. Twice: two logs are begun that never count."""
    base, cuts = lived(), []
    rot(areas_of(base))
    for operation in range(1, 20):
        rig = opened(base, image(base))
        for _ in range(2):
            rig.storage = faulty = FaultyStorage(rig.storage)
            rig.power_on(log_in=False)
            faulty.add(Fault(FaultKind.CUT, faulty.operations + operation))
            with contextlib.suppress(PowerCut):
                recover(rig, **registers(90_000, 900))
            faulty.mend()
            faulty.power_on()
            rig.power_on(log_in=False)
            cuts.append(rig.status()["state"])
            if cuts[-1] == "LOCKED":
                break
        else:
            recover(rig)
            assert rig.registers() == TRUE
            rig.power_on(log_in=False)
        assert rig.registers() in (TRUE, registers(90_000, 900))
    assert cuts.count("ERROR") > 6


@pytest.mark.parametrize("kind", [FaultKind.EIO, FaultKind.EIO_WRITTEN, FaultKind.WEAR, FaultKind.FULL])
@pytest.mark.parametrize("rot", [everything, middle_of_newest, head_is_missing])
def test_a_medium_that_fails_at_any_operation_leaves_it_done_or_to_be_done_again(
    rot: Callable[[Areas], None], kind: FaultKind
) -> None:
    base = lived()
    rot(areas_of(base))
    failed, operation = 0, 1
    while operation < 60:
        rig = opened(base, image(base))
        rig.storage = faulty = FaultyStorage(rig.storage)
        rig.power_on(log_in=False)
        message, before = order(rig), faulty.operations
        faulty.add(Fault(kind, before + operation))
        try:
            rig.ask("recover", message=message)
        except StorageFailed:
            failed += 1
            assert rig.status()["state"] == "ERROR"
            assert not any(rig.psd._keys.has(slot) for slot in Slot)
        again = opened(base, {name: faulty.read(name, 0, faulty.size(name)) for name in faulty.names()})
        if again.status()["state"] == "ERROR":
            recover(again)
        assert (again.status()["state"], again.registers()) == ("LOCKED", TRUE)
        if kind is not FaultKind.WEAR:
            faulty.make_room()
            with contextlib.suppress(StorageFailed):  # in the same power cycle
                recover(rig)
            assert (rig.status()["state"], rig.registers()) == ("LOCKED", TRUE)
            rig.power_on(log_in=False)
            assert (rig.status()["state"], rig.registers()) == ("LOCKED", TRUE)
        operation += 1
    assert failed > 0


def test_a_state_too_large_for_a_segment_is_refused_before_anything_is_written() -> None:
    rig = wrecked()
    before = image(rig)
    with pytest.raises(StorageFull, match="does not fit a bank"):
        rig.psd._books._wreck.begin_anew(10_000, bytes(BANK))
    assert image(rig) == before


def test_a_log_that_was_begun_and_cannot_be_read_again_is_no_recovery() -> None:
    class Forgetting(MemoryStorage):
        forgets = False

        def write(self, name: str, offset: int, data: bytes) -> None:
            super().write(name, offset, bytes(len(data)) if self.forgets and name == HEAD else data)

    storage = Forgetting()
    rig = lived(storage=storage)
    head(storage.areas)
    rig.power_on(log_in=False)
    storage.forgets = True
    with pytest.raises(IntegrityError, match="the log that was begun cannot be read"):
        recover(rig)
    assert rig.status()["state"] == "ERROR"
    storage.forgets = False
    recover(rig)


def test_segments_that_cannot_be_removed_count_for_nothing_and_go_later() -> None:
    class Keeping(MemoryStorage):
        keeps = True

        def remove(self, name: str) -> None:
            if self.keeps:
                raise StorageFailed("the disk said no")
            super().remove(name)

    storage = Keeping()
    rig = lived(storage=storage)
    old = logs(storage.areas)
    middle_of_newest(storage.areas)
    rig.power_on(log_in=False)
    recover(rig)
    for _ in range(2):
        assert rig.registers() == TRUE
        rig.power_on(log_in=False)
    unlocked(rig)
    for _ in range(60):  # into the segments after
        rig.check_in()
    assert set(old) <= set(storage.areas)
    rig.power_on()
    assert rig.registers() == TRUE
    storage.keeps = False
    rig.power_on()
    assert not set(old) & set(storage.areas)
    assert rig.dispense()["piece_count"] == 7


def test_a_recovered_device_whose_head_was_put_back_does_not_go_on_with_the_old_log() -> None:
    rig = lived()
    old = copy.deepcopy(areas_of(rig))
    middle_of_newest(areas_of(rig))
    rig.power_on(log_in=False)
    recover(rig, **registers(9 * 740, 9))
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock"]))
    areas_of(rig).update({name: area for name, area in old.items() if name not in (REPORT,)})
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    with pytest.raises(BadMessage) as caught:
        recover(rig)
    assert caught.value.detail == registers(9 * 740, 9)


# A log that ends too early


@pytest.mark.parametrize("copy_lost", [None, 0, COPY])
def test_a_log_that_ends_before_the_last_report_has_lost_its_tail(copy_lost: int | None) -> None:
    rig = operational(FUNDS)
    rig.dispense()
    rig.report()
    reported = rig.psd._books._wreck.report()
    assert reported is not None
    if copy_lost is not None:
        areas_of(rig)[REPORT][copy_lost : copy_lost + COPY] = bytes(COPY)
    area = areas_of(rig)[logs(areas_of(rig))[-1]]
    record = next(r for r in rig.psd._books._log().read_from(1) if r.sequence == reported.sequence)
    for at in range(record.offset, len(area) // 2):
        page, within = divmod(at, PAGE)
        for bank in (0, 1):
            area[(2 * page + bank) * PAGE + within] = 0
        if at > record.offset + 20_000:
            break
    before = image(rig)
    rig.power_on(log_in=False)
    status = rig.status()
    assert status["state"] == "ERROR"
    assert f"before the last report, of record {reported.sequence}" in status["lock_reasons"][0]
    assert image(rig) == before
    recover(rig, **registers(740, 1))


def test_a_blank_log_beside_a_report_is_no_new_device() -> None:
    rig = lived()
    areas = areas_of(rig)
    for name in logs(areas):
        del areas[name]
    areas[HEAD][:] = bytes(len(areas[HEAD]))
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    assert "the log is blank, before the last report" in rig.status()["lock_reasons"][0]
    recover(rig)


@pytest.mark.parametrize("at", [0, COPY])
def test_a_bad_copy_of_the_report_is_mended_and_counted(at: int) -> None:
    rig = lived()
    whole = image(rig)
    areas_of(rig)[REPORT][at + 9] ^= 1
    rig.power_on(log_in=False)
    assert rig.status()["repaired"] == 1
    assert image(rig)[REPORT] == whole[REPORT]
    rig.power_on(log_in=False)
    assert rig.status()["repaired"] == 0


def test_a_report_that_is_not_there_is_written_from_the_log_at_the_next_change_of_state() -> None:
    rig = lived()
    del areas_of(rig)[REPORT]
    before = image(rig)
    rig.power_on(log_in=False)
    assert image(rig) == before  # looking writes nothing
    rig.log_in()
    everything(areas_of(rig))
    rig.power_on(log_in=False)
    said = rig.read("checkin_report", rig.ask("get_statement")["statement"])
    assert {name: said[name] for name in REPORTED} == REPORTED
    recover(rig)


# What a recovery carries on


def rotten_before(rig: Rig, record: int) -> None:
    """A record in both banks; those behind it are whole."""
    found = next(r for r in rig.psd._books._log().read_from(record) if r.sequence == record)
    for bank in (0, 1):
        page, within = divmod(found.offset + 30, PAGE)
        areas_of(rig)[found.segment][(2 * page + bank) * PAGE + within] ^= 1
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"


def entries_of(rig: Rig) -> list[Values]:
    found: list[Values] = []
    following = 1
    while following:
        chunk = rig.ask("read_log", first_record=following)
        found += map(unpack, chunk["entries"])
        following = chunk["next_record"]
    return found


def test_a_piece_that_can_still_be_read_is_answered_to_its_retry_after_a_recovery_and_debited_once() -> None:
    rig = operational(FUNDS)
    spoiled = rig.dispense()["record"]
    batch = [pack(piece(postage_mills=100 + number)) for number in range(7)]
    requests: dict[bytes, tuple[str, dict[str, Any]]] = {
        b"a" * 16: ("dispense", piece()),
        b"b" * 16: ("dispense_batch", {"pieces": batch}),
        b"c" * 16: ("redate", correction()),
        b"d" * 16: ("reprint", {"original": spoiled}),
    }
    answers = {key: rig.ask(name, key, **request) for key, (name, request) in requests.items()}
    log, known = entries_of(rig), rig.registers()
    victim = rig.psd._books.sequence
    rig.log_in()
    for again in range(2):
        rotten_before(rig, victim + 1)
        if again:
            with pytest.raises(BadMessage, match="would fall"):  # they are covered by what is ordered
                recover(rig, **REPORTED)
        recover(rig, newest_number=GAP << again, **known)
        for _ in range(2):
            unlocked(rig)
            now = rig.registers()
            for key, (name, request) in requests.items():
                assert rig.ask(name, key, **request) == answers[key]
            assert rig.registers() == now == known
            assert entries_of(rig) == log
            first = answers[b"b" * 16]["record"]
            assert [rig.psd._books.find(first + n) is not None for n in range(7)] == [True] * 7
            with pytest.raises(RequestIdReused):
                rig.dispense(b"a" * 16, postage_mills=741)
            rig.ask("lock", message=rig.order("lock_order", lock_reasons=["register fault"]))
            rig.power_on()
        victim = rig.psd._books.sequence
        rig.log_in()


def test_a_carried_piece_can_be_reprinted_and_new_ones_begin_a_chain_of_their_own() -> None:
    rig = operational(FUNDS)
    old = rig.dispense(b"a" * 16)
    end = rig.psd._books.sequence
    rig.log_in()
    rotten_before(rig, end + 1)
    recover(rig, **registers(740, 1))
    unlocked(rig)
    assert rig.ask("reprint", original=old["record"])["indicium"] == old["indicium"]
    rig.dispense()
    carried, again, new = entries_of(rig)
    assert (carried["record"], again["original"]) == (old["record"], old["record"])
    assert new["record"] == again["record"] + 1 > carried["record"]
    rig.power_on()
    assert (rig.registers(), len(entries_of(rig))) == (registers(2 * 740, 2), 3)


def test_as_many_are_carried_as_fit_the_newest_first_and_a_piece_once() -> None:
    rig = operational(10_000_000, bank=BANK)
    while len(logs(areas_of(rig))) < 4:
        rig.dispense(postage_mills=1)
    known, log = rig.registers(), entries_of(rig)
    rig.log_in()
    areas_of(rig)["log-0000000000099999.seg"] = areas_of(rig)[logs(areas_of(rig))[-1]][:]
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    recover(rig, **known)
    rig.log_in()
    carried = entries_of(rig)
    assert carried == log[-len(carried) :]
    assert 15 < len(carried) < len(log)
    rig.power_on()
    unlocked(rig).dispense()
    assert rig.registers()["piece_count"] == known["piece_count"] + 1
