"""The provider's orders: each once, over a fresh challenge, for this device, signed by the device's own provider."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from pes_sim.clock import DAY, HOUR, LATEST, SECOND
from pes_sim.errors import (
    AuthenticationFailed,
    AuthenticationWaits,
    BadMessage,
    BadSignature,
    BadTime,
    FieldError,
    Locked,
    NotForThisDevice,
    NothingPending,
    PesError,
    RequestIdReused,
    StaleMessage,
    Status,
)
from pes_sim.indicium import layout
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.psd.inbox import ORDERS, uses_challenge
from pes_sim.psd.keys import Slot
from pes_sim.psd.lifecycle import State
from pes_sim.psd.rtc import Rtc
from tests.rig import CUSTOMER, NOON, SERIAL, TRANSPORT, ZIP, Rig, operational, pki, sign

LAYOUT = layout.builtin("imi_std")

FIELDS: dict[str, tuple[str, Callable[[Rig], Values]]] = {
    "reauthorize": ("reauthorization", lambda rig: {
        "licensing_zip": "10001", "customer": CUSTOMER, "utc_offset_minutes": 0}),
    "set_time": ("time_setting", lambda rig: {"device_time": NOON + 3 * HOUR}),
    "lock": ("lock_order", lambda rig: {"lock_reasons": ["provider lock"]}),
    "unlock": ("unlock_order", lambda rig: {"lock_reasons": ["provider lock"]}),
    "renew_key": ("key_renewal", lambda rig: {}),
    "load_certificate": ("certificate_load", lambda rig: {
        "psd_certificate": pki().issue_psd(rig.made["public_key"], SERIAL, 4712, NOON)}),
    "load_key": ("key_load", lambda rig: {
        "slot": "mac", "wrapped_secret": aes_key_wrap(TRANSPORT, bytes(range(32)))}),
    "software_begin": ("software_manifest", lambda rig: {
        "software_id": 0x00_02_00_00, "size": 10, "digest": hashlib.sha256(bytes(10)).digest()}),
}  # fmt: skip
"""The services that answer a challenge: what their order is called, and what it says."""


def order(rig: Rig, service: str, **changes: object) -> bytes:
    """The order for `service`, with changes to what it says, over a fresh challenge."""
    kind, fields = FIELDS[service]
    return rig.order(kind, **fields(rig) | changes)


def obey(rig: Rig, service: str, request_id: bytes = b"", **changes: object) -> Values:
    return rig.ask(service, request_id, message=order(rig, service, **changes))


def signed_anew(message: bytes, signer: messages.Sign, **changes: object) -> bytes:
    """What a message says, with changes, under another signature."""
    name, values = messages.peek(message, *messages.BY_NAME)
    return messages.sign(name, values | changes, signer)


# All alike


def test_every_service_that_answers_a_challenge_is_walked_here() -> None:
    assert set(FIELDS) == {name for name in ORDERS if uses_challenge(name)} - {"recover"}  # of a device that serves


@pytest.mark.parametrize("service", FIELDS)
def test_an_order_is_obeyed_whoever_brings_it_and_touches_no_register(service: str) -> None:
    rig = operational()
    rig.power_on(log_in=False)
    before = rig.registers()
    obey(rig, service)
    assert rig.registers() == before
    assert rig.status()["role"] == "unauthenticated"


WRONG: dict[str, tuple[Callable[[bytes, Rig], bytes], type[PesError]]] = {
    "for another device": (
        lambda message, rig: signed_anew(message, pki().provider.sign, psd_serial=SERIAL + 1), NotForThisDevice),
    "over another nonce": (
        lambda message, rig: signed_anew(message, pki().provider.sign, nonce=bytes(16)), StaleMessage),
    "of another number": (
        lambda message, rig: signed_anew(message, pki().provider.sign, message_number=10_000), StaleMessage),
    "signed by a provider of another CA": (
        lambda message, rig: signed_anew(message, pki("another CA").provider.sign), BadSignature),
    "signed by the CA": (lambda message, rig: signed_anew(message, pki().ca.sign), BadSignature),
    "signed by an inspector": (lambda message, rig: signed_anew(message, pki().inspector(NOON).sign), BadSignature),
    "signed by the device itself": (
        lambda message, rig: signed_anew(message, lambda data: rig.psd._keys.sign(Slot.MESSAGE, data)), BadSignature),
    "with one bit changed": (lambda message, rig: message[:-1] + bytes([message[-1] ^ 1]), BadSignature),
    "cut short": (lambda message, rig: message[:-1], BadMessage),
    "empty": (lambda message, rig: b"", BadMessage),
    "of another kind": (
        lambda message, rig: sign("checkin_receipt", waiting(message) | {"acknowledged": 0}), BadMessage),
}  # fmt: skip


def waiting(message: bytes) -> Values:
    values = messages.peek(message, *messages.BY_NAME)[1]
    names = ("psd_serial", "nonce", "message_number", "ascending_mills", "descending_mills", "control_sum_mills")
    return {name: values[name] for name in (*names, "piece_count", "zero_piece_count")}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("service", FIELDS)
def test_an_order_with_something_wrong_is_refused_and_the_right_one_still_counts(service: str, what: str) -> None:
    change, error = WRONG[what]
    rig = operational()
    message = order(rig, service)
    before = rig.everything()
    with pytest.raises(error):
        rig.ask(service, message=change(message, rig))
    assert rig.everything() == before
    rig.ask(service, message=message)


@pytest.mark.parametrize("service", FIELDS)
def test_an_order_counts_once(service: str) -> None:
    rig = operational()
    message = order(rig, service)
    rig.ask(service, message=message)
    before = rig.everything()
    with pytest.raises(NothingPending, match="nothing is pending"):
        rig.ask(service, message=message)
    rig.challenge()
    with pytest.raises(StaleMessage):
        rig.ask(service, message=message)
    assert rig.everything() == before


@pytest.mark.parametrize("service", FIELDS)
def test_an_order_is_for_the_newest_challenge(service: str) -> None:
    rig = operational()
    message = order(rig, service)
    rig.challenge()
    before = rig.everything()
    with pytest.raises(StaleMessage):
        rig.ask(service, message=message)
    assert rig.everything() == before


@pytest.mark.parametrize("service", FIELDS)
def test_an_order_is_for_the_power_cycle_of_its_challenge(service: str) -> None:
    rig = operational()
    message = order(rig, service)
    rig.power_on()
    before = rig.everything()
    with pytest.raises(NothingPending):
        rig.ask(service, message=message)
    rig.challenge()
    with pytest.raises(StaleMessage):
        rig.ask(service, message=message)
    assert rig.everything() == before


@pytest.mark.parametrize("service", FIELDS)
def test_a_retry_of_an_order_gets_the_same_answer_and_does_nothing_again(service: str) -> None:
    rig = operational()
    message = order(rig, service)
    answered = rig.ask(service, b"a" * 16, message=message)
    rig.power_on()
    before = rig.everything()
    assert rig.ask(service, b"a" * 16, message=message) == answered
    with pytest.raises(RequestIdReused):
        rig.ask(service, b"a" * 16, message=order(rig, service))
    assert rig.everything() == before


@pytest.mark.parametrize("service", FIELDS)
def test_a_provider_who_knows_later_registers_finds_a_rollback_and_is_not_obeyed(service: str) -> None:
    for later in ({"ascending_mills": 1}, {"piece_count": 1}):
        rig = operational()
        before = rig.everything()
        message = order(rig, service, **later)
        with pytest.raises(Locked) as caught:
            rig.ask(service, message=message)
        assert caught.value.status is Status.LOCKED_ROLLBACK_FOUND
        registers, state, sequence = rig.everything()
        assert (registers, state, sequence) == (before[0], State.LOCKED, before[2] + 1)
        rig.power_on()
        assert rig.status()["lock_reasons"] == ["rollback found"]


def test_an_order_waits_while_other_messages_go_out() -> None:
    rig = operational()
    message = order(rig, "lock")
    rig.report()
    rig.ask("lock", message=message)
    assert rig.status()["lock_reasons"] == ["provider lock"]


# The licence


def test_indicia_bear_the_new_zip_from_then_on_and_old_ones_still_verify() -> None:
    rig = operational()
    old = rig.dispense(b"a" * 16)["indicium"]
    assert obey(rig, "reauthorize", licensing_zip="10001", customer="MOVED")["state"] == State.OPERATIONAL
    new = rig.dispense()["indicium"]
    assert [LAYOUT.unpack(indicium).values["origin_zip"] for indicium in (old, new)] == [ZIP, "10001"]
    for indicium in (old, new, rig.dispense(b"a" * 16)["indicium"]):
        verify_p256(rig.made["public_key"], indicium[:50], indicium[50:])
    assert rig.dispense(b"a" * 16)["indicium"] == old
    rig.power_on()
    assert LAYOUT.unpack(rig.dispense()["indicium"]).values["origin_zip"] == "10001"
    info = rig.ask("get_info")
    assert (info["licensing_zip"], info["customer"]) == ("10001", "MOVED")
    assert rig.report()["customer"] == "MOVED"


def test_the_devices_date_goes_by_the_new_offset() -> None:
    rig = operational()
    obey(rig, "reauthorize", utc_offset_minutes=-13 * 60)
    assert rig.status()["today"] == "2026-11-20"
    rig.dispense(mailing_date="2026-11-20")


@pytest.mark.parametrize("zip_code", ["", "1234", "123456", "1234x", "１２３４５"])
def test_a_licence_for_no_zip_code_is_refused(zip_code: str) -> None:
    rig = operational()
    before = rig.everything()
    with pytest.raises(PesError) as caught:
        obey(rig, "reauthorize", licensing_zip=zip_code)
    assert isinstance(caught.value, FieldError)
    assert rig.everything() == before


# The time


def shown(rig: Rig) -> int:
    return int(rig.status()["device_time"])


@pytest.mark.parametrize("step", [0, 1, -1, 5 * HOUR, -5 * HOUR])
def test_the_time_is_set_and_goes_on_from_there_and_over_a_restart(step: int) -> None:
    rig = operational()
    answered = obey(rig, "set_time", device_time=rig.now + step)
    assert (answered["device_time"], answered["state"]) == (rig.now + step, State.OPERATIONAL)
    for _ in range(2):
        assert shown(rig) == rig.now + step
        rig.now += HOUR
        assert shown(rig) == rig.now + step
        rig.power_on()


def test_pieces_are_dated_by_the_time_that_was_set() -> None:
    rig = operational()
    obey(rig, "set_time", device_time=rig.now - 2 * DAY)
    assert rig.status()["today"] == "2026-11-19"
    done = rig.dispense(mailing_date="2026-11-19")
    assert done["device_time"] == rig.now - 2 * DAY


def test_the_time_goes_back_to_the_last_piece_and_not_past_it() -> None:
    rig = operational()
    last = rig.dispense()["device_time"]
    rig.now += 10 * HOUR
    assert obey(rig, "set_time", device_time=last)["device_time"] == last
    before = rig.everything()
    with pytest.raises(BadTime, match="is before the last piece") as caught:
        obey(rig, "set_time", device_time=last - 1)
    assert caught.value.detail == {"last_dispense": last}
    assert rig.everything() == before
    rig.power_on()
    with pytest.raises(BadTime):
        obey(rig, "set_time", device_time=last - 1)


def test_a_reprint_counts_as_a_piece_there() -> None:
    rig = operational()
    record = rig.dispense()["record"]
    rig.now += HOUR
    last = rig.ask("reprint", original=record)["device_time"]
    with pytest.raises(BadTime):
        obey(rig, "set_time", device_time=last - 1)


@pytest.mark.parametrize("time", [LATEST, LATEST - 31 * DAY + 1])
def test_no_time_is_set_after_which_no_date_could_be_written(time: int) -> None:
    rig = operational()
    before = rig.everything()
    with pytest.raises(BadTime, match="beyond the year 9999"):
        obey(rig, "set_time", device_time=time)
    assert rig.everything() == before
    obey(rig, "set_time", device_time=LATEST - 31 * DAY)
    assert shown(rig) == LATEST - 31 * DAY


def test_a_retry_does_not_set_it_again() -> None:
    rig = operational()
    message = order(rig, "set_time", device_time=rig.now - HOUR)
    first = rig.ask("set_time", b"a" * 16, message=message)
    rig.now += 2 * HOUR
    assert rig.ask("set_time", b"a" * 16, message=message) == first
    assert shown(rig) == rig.now - HOUR


def test_it_clears_a_date_fault_and_no_other_reason() -> None:
    rig = operational()
    rig.rtc = Rtc(battery_failed=True)
    rig.power_on()
    rig.rtc = Rtc()
    obey(rig, "lock")
    assert rig.status()["lock_reasons"] == ["provider lock", "date fault"]
    assert obey(rig, "set_time", device_time=rig.now)["state"] == State.LOCKED
    assert rig.status()["lock_reasons"] == ["provider lock"]


def test_set_forward_over_the_lockout_it_locks() -> None:
    rig = operational()
    assert obey(rig, "set_time", device_time=rig.now + 72 * HOUR)["state"] == State.OPERATIONAL
    with pytest.raises(Locked):
        rig.dispense(mailing_date="2026-11-24")
    obey(rig, "set_time", device_time=rig.now)
    assert rig.status()["lock_reasons"] == ["check-in overdue"]  # it was found, so a check-in must clear it
    rig.check_in()
    rig.dispense()


@pytest.mark.parametrize("step", [1, HOUR, 60 * HOUR])
def test_set_forward_it_brings_the_lockout_nearer_by_just_that(step: int) -> None:
    rig = operational()
    obey(rig, "set_time", device_time=rig.now + step)
    rig.now += 72 * HOUR - step - 1
    assert rig.status()["state"] == State.OPERATIONAL
    rig.now += 1
    assert rig.status()["state"] == State.LOCKED


@pytest.mark.parametrize("back", [0, SECOND, 10 * DAY])
def test_a_wait_after_wrong_proofs_was_on_the_old_time_and_ends_with_it(back: int) -> None:
    rig = operational()
    for _ in range(3):
        rig.challenge()
        with pytest.raises(AuthenticationFailed):
            rig.ask("authenticate", role="customer's meter", proof=b"wrong")
    with pytest.raises(AuthenticationWaits):
        rig.log_in()
    obey(rig, "set_time", device_time=rig.now - back)
    rig.log_in()
    rig.dispense(mailing_date=rig.status()["today"])


def test_the_time_makes_no_wrong_proof_forgotten() -> None:
    rig = operational()
    for failed in range(1, 11):
        rig.challenge()
        with pytest.raises(AuthenticationFailed) as caught:
            rig.ask("authenticate", role="customer's meter", proof=b"wrong")
        assert caught.value.detail == {"attempts_left": 10 - failed}
        obey(rig, "set_time", device_time=rig.now)
    with pytest.raises(AuthenticationWaits, match="10 wrong proofs in a row"):
        rig.log_in()


@pytest.mark.parametrize("back", [1, HOUR, 71 * HOUR, 10 * DAY])
def test_set_back_it_does_not_put_the_lockout_off(back: int) -> None:
    rig = operational()
    rig.now += 71 * HOUR
    obey(rig, "set_time", device_time=rig.now - back)
    assert rig.status()["seconds_to_lockout"] == 3600
    rig.now += HOUR - 1
    assert rig.status()["state"] == State.OPERATIONAL
    rig.now += 1
    assert rig.status()["state"] == State.LOCKED


def test_set_back_it_does_not_put_the_inspection_off() -> None:
    rig = operational(regime="IBI")
    rig.now += 80 * DAY
    rig.check_in()
    obey(rig, "set_time", device_time=rig.now - 80 * DAY)
    rig.now += 40 * DAY
    assert rig.status()["lock_reasons"] == ["inspection due"]


def test_set_back_to_the_beginning_of_time_it_still_counts() -> None:
    rig = operational()
    rig.now += 71 * HOUR
    obey(rig, "set_time", device_time=1)
    assert rig.status()["seconds_to_lockout"] == 72 * 3600
    rig.now += 72 * HOUR
    assert rig.status()["state"] == State.LOCKED


def test_the_very_first_instant_is_a_time_too() -> None:
    rig = operational()
    assert obey(rig, "set_time", device_time=0)["device_time"] == 0
    assert shown(rig) == 0


def test_set_before_the_first_receipt_it_starts_no_lockout() -> None:
    rig = Rig()
    rig.initialize()
    rig.authorize()
    obey(rig, "set_time", device_time=rig.now - DAY)
    rig.now += 1000 * DAY
    assert (rig.status()["state"], rig.status()["seconds_to_lockout"]) == (State.AUTHORIZED, 0)


def test_set_back_it_does_not_keep_an_old_report_open() -> None:
    rig = operational()
    receipt = rig.receipt(rig.report())
    obey(rig, "set_time", device_time=rig.now - 20 * HOUR)
    rig.now += 20 * HOUR
    with pytest.raises(StaleMessage):
        rig.ask("checkin_complete", message=receipt)


def test_a_device_out_of_service_can_be_set_too() -> None:
    rig = operational(0)
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    grant = {name: asked[name] for name in ("psd_serial", "nonce", "message_number", *rig.registers())}
    rig.ask("withdraw_complete", message=sign("withdrawal_grant", grant | {"amount_mills": 0}))
    assert obey(rig, "set_time", device_time=rig.now + SECOND)["state"] == State.WITHDRAWN


# Lock and unlock


def test_lock_and_unlock_say_how_the_device_is_then() -> None:
    rig = operational()
    locked, unlocked = obey(rig, "lock"), obey(rig, "unlock")
    assert (locked["state"], locked["lock_reasons"]) == (State.LOCKED, ["provider lock"])
    assert (unlocked["state"], unlocked["lock_reasons"]) == (State.OPERATIONAL, [])


def test_only_the_order_that_names_the_inspection_counts_as_one() -> None:
    for reasons, locked_at_120 in ((["provider lock"], True), (["inspection due", "provider lock"], False)):
        rig = operational(regime="IBI")
        rig.now += 80 * DAY
        rig.check_in()
        obey(rig, "lock")
        obey(rig, "unlock", lock_reasons=reasons)
        rig.now += 40 * DAY
        assert (rig.status()["lock_reasons"] == ["inspection due"]) is locked_at_120
