"""The data centre: one answer a request, one debit a refill, and no answer for registers that cannot be true."""

from __future__ import annotations

import copy
import re
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pes_sim.errors import (
    BadCertificate,
    BadMessage,
    BadSignature,
    FieldError,
    Locked,
    MoneyError,
    NotForThisDevice,
    PesError,
    RefusedByProvider,
    Status,
    StorageFailed,
)
from pes_sim.indicium import certificates
from pes_sim.indicium.certificates import Purpose
from pes_sim.provider.centre import DataCentre
from pes_sim.psd import messages
from pes_sim.psd.keys import Slot
from tests.meter.bench import Bench, Interrupted
from tests.meter.made import CUSTOMER, DEPOSIT, FUNDS, SERIAL
from tests.provider.helpers import Device, balance, forged, known, opened, ordered, reopen, repeated, report, request

# --- authorization ---------------------------------------------------------------------------------------------------


def authorization(bench: Bench, serial: int = 2, licensing_zip: str = "20260", customer: str = CUSTOMER) -> bytes:
    point = bench.keys.public_point(Slot.INDICIUM)
    return bench.centre.authorize(
        psd_serial=serial,
        public_key=point,
        message_key=point,
        nonce=bytes(16),
        licensing_zip=licensing_zip,
        customer=customer,
    )


def test_a_serial_number_is_registered_once(bench: Bench) -> None:
    with pytest.raises(RefusedByProvider, match=f"PSD {SERIAL} is registered already"):
        authorization(bench, SERIAL)


@pytest.mark.parametrize("licensing_zip", ["", "2026", "202600", "2026O", "٢٠٢٦٠", "20 60"])
def test_a_licence_is_for_a_zip_code(bench: Bench, licensing_zip: str) -> None:
    with pytest.raises(FieldError, match="must be 5 digits"):
        authorization(bench, licensing_zip=licensing_zip)
    authorization(bench)  # nothing was registered


def test_a_licence_that_cannot_be_written_registers_nobody(bench: Bench) -> None:
    with pytest.raises(FieldError, match="customer"):
        authorization(bench, customer="A" * 65)
    authorization(bench)  # the serial number is free


def test_certificate_numbers_rise_and_fit_four_bytes(bench: Bench) -> None:
    numbers = []
    for serial in range(2, 6):
        values = messages.peek(authorization(bench, serial), "authorization")[1]
        checked = certificates.read(values["psd_certificate"], bench.centre.trust_anchor, Purpose.PSD)
        assert checked.device == serial
        numbers.append(checked.serial)
        reopen(bench)
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert 0 < numbers[0] < numbers[-1] < 1 << 32


def test_a_key_that_is_none_gets_no_licence_and_no_registration(bench: Bench) -> None:
    arguments: dict[str, Any] = {"psd_serial": 2, "nonce": bytes(16), "licensing_zip": "20260", "customer": "NEW"}
    point = bench.keys.public_point(Slot.MESSAGE)
    for public_key, message_key in ((bytes(65), point), (point, bytes(65))):
        with pytest.raises(BadCertificate):
            bench.centre.authorize(public_key=public_key, message_key=message_key, **arguments)
    bench.centre.authorize(public_key=point, message_key=point, **arguments)


# --- refills ---------------------------------------------------------------------------------------------------------


def test_a_refill_is_granted_for_what_was_asked_and_taken_from_the_account(bench: Bench) -> None:
    message = request(bench)
    answer = repeated(bench, message, "refill_request", amount_mills=5_000)
    assert opened(bench, bench.centre.refill(message)) == ("refill_grant", answer)
    assert balance(bench) == DEPOSIT - FUNDS - 5_000


def test_the_same_request_gets_the_same_bytes_and_is_debited_once_also_after_a_restart(bench: Bench) -> None:
    message = request(bench)
    grant = bench.centre.refill(message)
    assert bench.centre.refill(message) == grant
    assert reopen(bench).refill(message) == grant
    assert balance(bench) == DEPOSIT - FUNDS - 5_000
    bench.ask("refill_complete", message=grant)
    assert bench.centre.refill(message) == grant  # and long after
    bench.check_books()


def test_a_refill_without_funds_is_refused_in_writing_and_for_good(bench: Bench) -> None:
    message = request(bench, DEPOSIT)
    refusal = bench.centre.refill(message)
    kind, values = opened(bench, refusal)
    assert kind == "refill_refusal"
    assert values["reason"] == (
        f"account {CUSTOMER} holds $900.00, $100.00 less than the refill. Deposit funds with the provider first"
    )
    bench.centre.deposit(CUSTOMER, FUNDS)
    assert bench.centre.refill(message) == refusal  # money that came later does not change an answer that was given
    assert bench.ask("refill_complete", message=refusal)["amount_mills"] == 0
    assert bench.meter.status().refill_pending_mills == 0
    assert bench.registers().control_sum_mills == FUNDS
    bench.meter.refill(DEPOSIT)
    assert balance(bench) == 0


def test_two_refills_at_once_never_draw_one_account_below_zero(bench: Bench) -> None:
    others = [Device(bench, serial) for serial in (2, 3, 4, 5)]
    left = balance(bench)
    requests = [other.request(left // 2) for other in others]
    replies: list[bytes] = []
    threads = [threading.Thread(target=lambda m=m: replies.append(bench.centre.refill(m))) for m in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = sorted(opened(bench, reply)[0] for reply in replies)
    assert kinds == ["refill_grant"] * 2 + ["refill_refusal"] * 2
    assert balance(bench) == 0


# --- check-ins -------------------------------------------------------------------------------------------------------


def test_a_receipt_repeats_the_nonce_and_acknowledges_the_log(bench: Bench) -> None:
    bench.print()
    message = report(bench)
    log_sequence = messages.peek(message, "checkin_report")[1]["log_sequence"]
    receipt = bench.centre.check_in(message)
    answer = repeated(bench, message, "checkin_report", acknowledged=log_sequence)
    assert opened(bench, receipt) == ("checkin_receipt", answer)
    assert bench.centre.check_in(message) == receipt == reopen(bench).check_in(message)


# --- messages that are not what they must be -------------------------------------------------------------------------


def test_an_altered_message_is_refused_whatever_byte_was_altered(bench: Bench) -> None:
    for service, message in (("refill", request(bench)), ("check_in", report(bench))):
        for position in range(0, len(message), 7):
            altered = bytearray(message)
            altered[position] ^= 1
            with pytest.raises(PesError) as refusal:
                getattr(bench.centre, service)(bytes(altered))
            assert isinstance(refusal.value, BadSignature | BadMessage | NotForThisDevice)
    assert balance(bench) == DEPOSIT - FUNDS


@pytest.mark.parametrize("message", [b"", b"\x00", b"hello", b"\xd2\x84" + bytes(40), bytes(3000), b"\xff" * 64])
def test_garbage_is_no_message(bench: Bench, message: bytes) -> None:
    centre = bench.centre
    for service in (centre.refill, centre.check_in, centre.withdraw, centre.cancel_refill):
        with pytest.raises(BadMessage):
            service(message)


def test_one_kind_of_message_never_passes_for_another(bench: Bench) -> None:
    with pytest.raises(BadMessage, match="a checkin_report message came where refill_request belongs"):
        bench.centre.refill(report(bench))
    with pytest.raises(BadMessage, match="a refill_request message came where checkin_report belongs"):
        bench.centre.check_in(request(bench))
    with pytest.raises(BadMessage, match="a refill_grant message came where"):
        bench.centre.refill(bench.centre.refill(request(bench)))


def test_a_device_of_another_provider_is_not_known_here(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = Bench(tmp_path / "other")
    message = forged(stranger, report(stranger), "checkin_report", psd_serial=99)
    with pytest.raises(NotForThisDevice, match="PSD 99 is not registered with this provider"):
        bench.centre.check_in(message)


def test_a_device_cannot_draw_on_anothers_account(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    thief = Bench(tmp_path / "other")  # of the same serial number, with a key of its own
    with pytest.raises(BadSignature):
        bench.centre.refill(request(thief))
    assert balance(bench) == DEPOSIT - FUNDS


def test_a_nonce_belongs_to_one_message(bench: Bench) -> None:
    message = request(bench)
    grant = bench.centre.refill(message)
    with pytest.raises(BadMessage, match="this nonce was used for another message"):
        bench.centre.refill(forged(bench, message, "refill_request", amount_mills=5_001))
    assert bench.centre.refill(message) == grant
    assert balance(bench) == DEPOSIT - FUNDS - 5_000


def test_a_report_whose_nonce_another_had_tells_that_the_device_was_put_back(bench: Bench) -> None:
    """One whose nonces follow from a seed draws them again after a rollback."""
    message = report(bench)
    receipt = bench.centre.check_in(message)
    again = forged(bench, message, "checkin_report", log_sequence=1)
    refusals = [bench.centre.check_in(again) for _ in range(2)]
    assert refusals[0] == refusals[1]
    kind, values = opened(bench, refusals[0])
    assert (kind, values["lock_reasons"]) == ("checkin_refusal", ["rollback found"])
    assert values["reason"] == "two different messages have the same nonce. Both logs have to be looked at"
    assert known(bench).suspicion == "two different messages have the same nonce"
    assert bench.centre.check_in(message) == receipt


def test_a_late_check_in_is_refused_in_writing_locks_nobody_and_moves_nothing(bench: Bench) -> None:
    late = report(bench)
    bench.print()
    bench.meter.check_in()
    refusal = bench.centre.check_in(late)
    kind, values = opened(bench, refusal)
    assert (kind, values["lock_reasons"]) == ("checkin_refusal", [])
    assert re.fullmatch(r"message \d+ of PSD 1234567 comes after \d+: late, or replayed. Begin again", values["reason"])
    assert bench.centre.check_in(late) == refusal
    bench.print()
    bench.meter.refill(5_000)
    bench.meter.check_in()
    bench.check_books()


def test_a_report_that_a_refill_overtook_does_not_lock_an_innocent_device(bench: Bench) -> None:
    bench.print()
    late = report(bench)
    bench.print()
    bench.meter.refill(5_000)  # tells the provider of registers that the report is behind
    reply = bench.ask("checkin_complete", message=bench.centre.check_in(late))
    assert (reply["state"], reply["lock_reasons"]) == ("OPERATIONAL", [])
    assert "comes after" in reply["reason"]
    bench.meter.check_in()
    bench.print()
    bench.check_books()


def test_a_refill_that_a_check_in_overtook_is_refused_in_writing_so_that_another_can_follow(bench: Bench) -> None:
    late = request(bench)
    bench.meter.check_in()
    refusal = bench.centre.refill(late)
    kind, values = opened(bench, refusal)
    assert kind == "refill_refusal"
    assert values["reason"].endswith("Begin again")
    assert balance(bench) == DEPOSIT - FUNDS
    assert bench.centre.refill(late) == refusal
    bench.ask("refill_complete", message=refusal)
    bench.meter.refill(5_000)
    bench.check_books()


LIES: dict[str, tuple[dict[str, int], str, str]] = {
    "AR + DR is not the control sum": (
        {"descending_mills": FUNDS + 1}, "AR + DR is not the control sum", "register fault",
    ),
    "AR fell": (
        {"ascending_mills": 0, "descending_mills": FUNDS}, "the ascending register fell", "rollback found",
    ),
    "pieces fell": ({"piece_count": 0}, "the piece count fell", "rollback found"),
    "postage from nowhere": (
        {"descending_mills": FUNDS - 740 + 1, "control_sum_mills": FUNDS + 1},
        "the control sum is $100.001, refills come to $100.00", "register fault",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("lie", "says", "lock"), LIES.values(), ids=LIES)
def test_registers_that_cannot_be_true_lock_the_device_and_get_no_money(
    bench: Bench, lie: dict[str, int], says: str, lock: str
) -> None:
    bench.print()
    bench.meter.check_in()
    bench.ask_psd("checkin_begin")
    checkin = forged(bench, report(bench), "checkin_report", **lie)
    refusal = bench.centre.check_in(checkin)
    kind, values = opened(bench, refusal)
    assert (kind, values["lock_reasons"]) == ("checkin_refusal", [lock])
    assert values["reason"] == f"{says}. Both logs have to be looked at"
    assert (values["ascending_mills"], values["piece_count"]) == (740, 1)  # what is known, not what was claimed
    assert bench.centre.check_in(checkin) == refusal
    assert balance(bench) == DEPOSIT - FUNDS
    # The truth comes too late, until somebody has looked.
    reply = bench.ask("refill_complete", message=bench.centre.refill(request(bench)))
    assert (reply["amount_mills"], reply["reason"]) == (0, f"{says}. Both logs have to be looked at")
    with pytest.raises(RefusedByProvider, match=re.escape(says)):
        bench.meter.check_in()
    assert bench.meter.status().lock_reasons == ["register fault"]
    assert balance(bench) == DEPOSIT - FUNDS


@pytest.mark.parametrize(("lie", "says", "lock"), LIES.values(), ids=LIES)
def test_a_refill_request_with_such_registers_is_refused_in_writing(
    bench: Bench, lie: dict[str, int], says: str, lock: str
) -> None:
    bench.print()
    bench.meter.check_in()
    kind, values = opened(bench, bench.centre.refill(forged(bench, request(bench), "refill_request", **lie)))
    assert (kind, values["reason"]) == ("refill_refusal", f"{says}. Both logs have to be looked at")
    assert balance(bench) == DEPOSIT - FUNDS
    with pytest.raises(RefusedByProvider, match=re.escape(says)):
        bench.meter.check_in()  # it is told to lock itself, though the report is true
    assert bench.meter.status().state == "LOCKED"


def test_a_refill_request_with_less_than_was_granted_is_refused_and_a_check_in_on_the_way_is_not(bench: Bench) -> None:
    bench.wire.cut = "back"
    with pytest.raises(Interrupted):
        bench.meter.refill(5_000)
    bench.wire.cut = ""
    bench.meter.check_in()  # the grant is on its way: less than granted, and fine
    bench.meter.refill(5_000)
    bench.check_books()
    bench.wire.cut = "back"
    with pytest.raises(Interrupted):
        bench.meter.refill(5_000)
    lost = forged(bench, request(bench), "refill_request", nonce=bytes(16), message_number=99)
    kind, values = opened(bench, bench.centre.refill(lost))
    assert kind == "refill_refusal"
    assert values["reason"].startswith("the control sum is $105.00, refills come to $110.00")


# --- an older image of the PSD was put back --------------------------------------------------------------------------


def put_back(bench: Bench, image: dict[str, bytearray]) -> None:
    bench.storage.areas = copy.deepcopy(image)
    bench.lose_database()  # so that the meter itself has nothing to compare with
    bench.power_on()
    bench.store.add_department("100", "Sales")


def test_an_image_from_before_a_check_in_is_found_out_by_the_next_one(bench: Bench) -> None:
    image = copy.deepcopy(bench.storage.areas)
    bench.print()
    bench.meter.check_in()
    put_back(bench, image)
    bench.print()  # until then nobody can tell
    with pytest.raises(RefusedByProvider, match="two different messages have the number"):
        bench.meter.check_in()
    assert bench.meter.status().lock_reasons == ["rollback found"]
    with pytest.raises(Locked):
        bench.print()


def test_an_image_that_is_behind_finds_that_out_itself_from_what_the_provider_knows(bench: Bench) -> None:
    image = copy.deepcopy(bench.storage.areas)
    for _ in range(3):
        bench.print()
    bench.meter.check_in()
    put_back(bench, image)
    bench.print()
    states = []
    for _ in range(4):
        with pytest.raises(PesError) as refusal:
            bench.meter.check_in()
        states.append(refusal.value.status)
    assert states == [Status.LOCKED_ROLLBACK_FOUND] * 4  # trying again and again does not get it through
    with pytest.raises(Locked):
        bench.print()


def test_an_image_from_before_a_refill_gets_no_further_one(bench: Bench) -> None:
    image = copy.deepcopy(bench.storage.areas)
    bench.meter.refill(5_000)
    put_back(bench, image)
    for says in ("two different messages have the number", r"the control sum is \$100\.00, refills come to \$105\.00"):
        with pytest.raises(RefusedByProvider, match=says):
            bench.meter.refill(5_000)
    assert balance(bench) == DEPOSIT - FUNDS - 5_000
    assert bench.registers().control_sum_mills == FUNDS


def another_refill_begun(bench: Bench) -> None:
    bench.wire.cut = "there"
    with pytest.raises(Interrupted):
        bench.meter.refill(5_000)
    bench.wire.cut = ""


def two_checkins_begun(bench: Bench) -> None:
    report(bench)
    report(bench)


@pytest.mark.parametrize("covers", [another_refill_begun, two_checkins_begun])
def test_an_image_from_before_a_refill_is_found_though_it_has_used_up_the_number_that_would_tell(
    bench: Bench, covers: Callable[[Bench], object]
) -> None:
    """By the refill that it waits for, or does not: it is not the one that was granted."""
    image = copy.deepcopy(bench.storage.areas)
    bench.meter.refill(5_000)
    bench.storage.areas = image
    bench.power_on()
    covers(bench)
    with pytest.raises(RefusedByProvider, match=r"the control sum is \$100\.00, refills come to \$105\.00"):
        bench.meter.check_in()
    assert bench.meter.status().lock_reasons == ["rollback found"]


@pytest.mark.parametrize("how", ["granted", "never sent", "cancelled, not sent", "cancelled"])
def test_a_check_in_while_a_refill_waits_locks_no_innocent_device(bench: Bench, how: str) -> None:
    message = request(bench)
    if how == "granted":
        bench.centre.refill(message)
    elif how != "never sent":
        bench.centre.refill(message)
        cancellation = bench.ask("refill_cancel")["message"]
        if how == "cancelled":
            bench.centre.cancel_refill(cancellation)
    assert bench.meter.check_in().state == "OPERATIONAL"
    if how.startswith("cancelled"):
        bench.meter.cancel_refill()
    else:
        if how == "never sent":
            with pytest.raises(RefusedByProvider, match="Begin again"):
                bench.meter.refill(5_000)
        bench.meter.refill(5_000)
    assert bench.meter.check_in().state == "OPERATIONAL"
    bench.check_books()


def test_an_image_from_before_a_refill_is_found_by_a_check_in_as_well(bench: Bench) -> None:
    bench.ask_psd("checkin_begin")  # this number never reaches the provider under another nonce
    image = copy.deepcopy(bench.storage.areas)
    bench.centre.check_in(report(bench))
    bench.meter.refill(5_000)
    bench.meter.check_in()
    put_back(bench, image)
    for _ in range(9):  # past all numbers that were used
        bench.ask("checkin_begin")
    with pytest.raises(RefusedByProvider, match="the control sum fell"):
        bench.meter.check_in()
    assert bench.meter.status().lock_reasons == ["rollback found"]


def test_a_log_that_got_shorter_is_found_though_every_register_is_the_same(bench: Bench) -> None:
    image = copy.deepcopy(bench.storage.areas)
    for _ in range(6):  # records without a message
        ordered(bench, "lock", "lock_order", lock_reasons=["provider lock"])
        ordered(bench, "unlock", "unlock_order", lock_reasons=["provider lock"])
    bench.meter.check_in()
    put_back(bench, image)
    bench.ask("checkin_begin")  # the number that was used
    with pytest.raises(RefusedByProvider, match="the log got shorter"):
        bench.meter.check_in()
    assert bench.meter.status().lock_reasons == ["rollback found"]


# --- a grant that gets lost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider_too", [False, True])
def test_a_power_cut_between_the_providers_books_and_the_psds_loses_and_makes_no_mill(
    bench: Bench, provider_too: bool
) -> None:
    bench.wire.cut = "back"
    with pytest.raises(Interrupted):
        bench.meter.refill(5_000)
    bench.wire.cut = ""
    assert (balance(bench), bench.registers().control_sum_mills) == (DEPOSIT - FUNDS - 5_000, FUNDS)
    if provider_too:
        reopen(bench)
    bench.power_on()
    bench.print()
    bench.meter.refill(5_000)
    bench.check_books()
    assert bench.registers().control_sum_mills == FUNDS + 5_000


# --- its directory and database --------------------------------------------------------------------------------------


def test_a_deposit_is_money(bench: Bench) -> None:
    bench.centre.deposit("SOMEBODY NEW", 1)
    assert bench.centre.balance("SOMEBODY NEW") == 1
    for amount in (0, -1, 1.5):
        with pytest.raises(MoneyError):
            bench.centre.deposit(CUSTOMER, amount)  # type: ignore[arg-type]
    assert reopen(bench).balance(CUSTOMER) == DEPOSIT - FUNDS


@pytest.mark.parametrize("table", ["answer", "entry", "meter"])
def test_a_database_that_breaks_under_way_books_nothing_and_names_itself(bench: Bench, table: str) -> None:
    message = request(bench)
    with sqlite3.connect(bench.provider / "provider.sqlite") as outsider:
        outsider.execute(f"ALTER TABLE {table} RENAME TO away")
    with pytest.raises(StorageFailed, match=r"provider\.sqlite: no such table") as refusal:
        bench.centre.refill(message)
    assert "Nothing was booked" in refusal.value.hint
    outsider.execute(f"ALTER TABLE away RENAME TO {table}")
    outsider.close()
    assert balance(bench) == DEPOSIT - FUNDS
    bench.ask("refill_complete", message=bench.centre.refill(message))
    bench.check_books()


def test_a_database_without_which_the_keys_were_used_is_missed_not_replaced(bench: Bench) -> None:
    bench.centre.close()
    for path in bench.provider.glob("provider.sqlite*"):
        path.unlink()
    centre = bench.open_centre()
    with pytest.raises(NotForThisDevice, match="not registered"):
        centre.check_in(report(bench))
    assert centre.trust_anchor == bench.meter.certificates()["trust_anchor"]
    bench.centre = centre


def test_keys_are_not_made_anew_where_there_is_a_database(bench: Bench) -> None:
    bench.centre.close()
    (bench.provider / "ca.pem").unlink()
    with pytest.raises(BadCertificate, match=r"ca\.pem or its key cannot be read"):
        bench.open_centre()


def test_a_place_that_is_no_directory_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageFailed, match="cannot be used: (File exists|Not a directory)"):
            DataCentre(place, clock=bench.clock, entropy=bench.entropy)
