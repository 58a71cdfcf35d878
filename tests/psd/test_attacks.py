"""Attacks, one a row: what somebody tries who holds the line, the messages of yesterday, or a copy of the storage.

Each ends in a refusal with the registers untouched. What is not claimed: that a copy of storage *and* vault is
worthless. Whoever has both has the device (a real one's are in one sealed chip).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from pes_sim.clock import DAY, HOUR, MINUTE, VirtualClock
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import (
    BadCertificate,
    BadMessage,
    BadSignature,
    IntegrityError,
    Locked,
    NotAuthenticated,
    NotForThisDevice,
    NothingPending,
    PesError,
    RefusedInState,
    StaleMessage,
    Status,
    StorageFailed,
)
from pes_sim.provider.centre import DataCentre
from pes_sim.provider.pki import Issued
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import Slot
from pes_sim.psd.lifecycle import Lock, State
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.vault import MemoryVault
from tests.rig import CUSTOMER, NOON, SECRET, SERIAL, ZIP, Full, Rig, answer, operational, piece, pki, sign

YEAR = 365 * DAY
Attack = Callable[[Rig], tuple[str, Values]]
"""Brings the device where the attack begins; gives the service, and the request that must be refused."""


# By the line, with messages old and new


def replayed_receipt(rig: Rig) -> tuple[str, Values]:
    receipt = rig.receipt(rig.report())
    rig.ask("checkin_complete", message=receipt)
    return "checkin_complete", {"message": receipt}


def replayed_receipt_for_a_new_report(rig: Rig) -> tuple[str, Values]:
    name, request = replayed_receipt(rig)
    rig.report()
    return name, request


def receipt_kept_back(rig: Rig) -> tuple[str, Values]:
    receipt = rig.receipt(rig.report())
    rig.now += HOUR + 1
    return "checkin_complete", {"message": receipt}


def receipt_of_the_report_before(rig: Rig) -> tuple[str, Values]:
    receipt = rig.receipt(rig.report())
    rig.report()
    return "checkin_complete", {"message": receipt}


def forged_receipt(rig: Rig) -> tuple[str, Values]:
    report = rig.report()
    values = messages.peek(rig.receipt(report), "checkin_receipt")[1]
    return "checkin_complete", {"message": sign("checkin_receipt", values, "another CA")}


def receipt_for_records_that_are_not_there(rig: Rig) -> tuple[str, Values]:
    report = rig.report()
    return "checkin_complete", {"message": answer("checkin_receipt", report, acknowledged=report["log_sequence"] + 2)}


def receipt_for_fewer_records_than_before(rig: Rig) -> tuple[str, Values]:
    return "checkin_complete", {"message": answer("checkin_receipt", rig.report(), acknowledged=1)}


def receipt_for_another_device(rig: Rig) -> tuple[str, Values]:
    return "checkin_complete", {"message": rig.receipt(rig.report(), psd_serial=SERIAL + 1)}


def replayed_grant(rig: Rig) -> tuple[str, Values]:
    grant = rig.grant(rig.request_refill(1_000))
    rig.ask("refill_complete", message=grant)
    return "refill_complete", {"message": grant}


def replayed_grant_for_a_new_request(rig: Rig) -> tuple[str, Values]:
    name, request = replayed_grant(rig)
    rig.request_refill(1_000)
    return name, request


def replayed_grant_after_a_restart(rig: Rig) -> tuple[str, Values]:
    name, request = replayed_grant(rig)
    rig.power_on()
    rig.request_refill(1_000)
    return name, request


def grant_for_more(rig: Rig) -> tuple[str, Values]:
    return "refill_complete", {"message": answer("refill_grant", rig.request_refill(1_000), amount_mills=2_000)}


def grant_after_the_promise_not_to_take_it(rig: Rig) -> tuple[str, Values]:
    request = rig.request_refill(1_000)
    rig.ask("refill_cancel")
    return "refill_complete", {"message": rig.grant(request)}


def grant_for_another_device(rig: Rig) -> tuple[str, Values]:
    return "refill_complete", {"message": rig.grant(rig.request_refill(1_000), psd_serial=SERIAL + 1)}


def grant_of_nobody(rig: Rig) -> tuple[str, Values]:
    values = messages.peek(rig.grant(rig.request_refill(1_000)), "refill_grant")[1]
    return "refill_complete", {"message": sign("refill_grant", values, "another CA")}


def grant_by_the_device_itself(rig: Rig) -> tuple[str, Values]:
    values = messages.peek(rig.grant(rig.request_refill(1_000)), "refill_grant")[1]
    own = messages.sign("refill_grant", values, lambda message: rig.psd._keys.sign(Slot.MESSAGE, message))
    return "refill_complete", {"message": own}


def the_devices_own_request_for_a_grant(rig: Rig) -> tuple[str, Values]:
    return "refill_complete", {"message": rig.ask("refill_begin", amount_mills=1_000)["message"]}


def withdrawal_grant_for_a_refill(rig: Rig) -> tuple[str, Values]:
    request = rig.request_refill(1_000)
    return "refill_complete", {"message": answer("withdrawal_grant", request, amount_mills=1_000)}


def receipt_for_a_refill(rig: Rig) -> tuple[str, Values]:
    rig.request_refill(1_000)
    return "refill_complete", {"message": rig.receipt(rig.report())}


def grant_by_the_nonce_of_a_report(rig: Rig) -> tuple[str, Values]:
    rig.request_refill(1_000)
    return "refill_complete", {"message": answer("refill_grant", rig.report(), amount_mills=1_000)}


def withdrawal_grant_for_less(rig: Rig) -> tuple[str, Values]:
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    return "withdraw_complete", {"message": answer("withdrawal_grant", asked, amount_mills=1)}


def replayed_order(service: str, kind: str, **values: object) -> Attack:
    def attack(rig: Rig) -> tuple[str, Values]:
        message = rig.order(kind, **values)
        rig.ask(service, message=message)
        rig.challenge()
        return service, {"message": message}

    return attack


def unlock_for_another_device(rig: Rig) -> tuple[str, Values]:
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock"]))
    message = rig.order("unlock_order", lock_reasons=["provider lock"], psd_serial=SERIAL + 1)
    return "unlock", {"message": message}


def unlock_out_of_a_lock(rig: Rig) -> tuple[str, Values]:
    message = rig.order("lock_order", lock_reasons=["provider lock"])
    rig.ask("lock", message=message)
    rig.challenge()
    return "unlock", {"message": message}


def authorization_again(rig: Rig) -> tuple[str, Values]:
    return "authorize", {"message": sign("authorization", rig.authorization())}


def dispense_without_a_session(rig: Rig) -> tuple[str, Values]:
    rig.power_on(log_in=False)
    return "dispense", piece()


def dispense_as_an_inspector(rig: Rig) -> tuple[str, Values]:
    from pes_sim.psd.roles import Role

    rig.log_in(Role.INSPECTOR)
    return "dispense", piece()


def dispense_at_a_host_clock_set_back(rig: Rig) -> tuple[str, Values]:
    rig.now += 73 * HOUR
    rig.status()
    rig.now -= 73 * HOUR
    return "dispense", piece(mailing_date="2026-11-24")


BY_THE_LINE: tuple[tuple[Attack, type[PesError]], ...] = (
    (replayed_receipt, NothingPending),
    (replayed_receipt_for_a_new_report, StaleMessage),
    (receipt_kept_back, StaleMessage),
    (receipt_of_the_report_before, StaleMessage),
    (forged_receipt, BadSignature),
    (receipt_for_records_that_are_not_there, BadMessage),
    (receipt_for_fewer_records_than_before, BadMessage),
    (receipt_for_another_device, NotForThisDevice),
    (replayed_grant, NothingPending),
    (replayed_grant_for_a_new_request, StaleMessage),
    (replayed_grant_after_a_restart, StaleMessage),
    (grant_for_more, BadMessage),
    (grant_after_the_promise_not_to_take_it, BadMessage),
    (grant_for_another_device, NotForThisDevice),
    (grant_of_nobody, BadSignature),
    (grant_by_the_device_itself, BadSignature),
    (the_devices_own_request_for_a_grant, BadSignature),
    (withdrawal_grant_for_a_refill, BadMessage),
    (receipt_for_a_refill, BadMessage),
    (grant_by_the_nonce_of_a_report, StaleMessage),
    (withdrawal_grant_for_less, BadMessage),
    (replayed_order("set_time", "time_setting", device_time=NOON), StaleMessage),
    (replayed_order("unlock", "unlock_order", lock_reasons=["provider lock"]), StaleMessage),
    (replayed_order("lock", "lock_order", lock_reasons=["provider lock"]), StaleMessage),
    (unlock_for_another_device, NotForThisDevice),
    (unlock_out_of_a_lock, BadMessage),
    (authorization_again, RefusedInState),
    (dispense_without_a_session, NotAuthenticated),
    (dispense_as_an_inspector, NotAuthenticated),
    (dispense_at_a_host_clock_set_back, Locked),
)  # fmt: skip


@pytest.mark.parametrize(("attack", "error"), BY_THE_LINE, ids=lambda row: getattr(row, "__name__", None))
def test_it_is_refused_and_touches_nothing(attack: Attack, error: type[PesError]) -> None:
    rig = operational()
    rig.dispense()
    name, request = attack(rig)
    before = rig.everything()
    for _ in range(2):
        with pytest.raises(error):
            rig.ask(name, **request)
    assert rig.everything() == before


# At the licence


def foreign(**changes: object) -> Callable[[Rig], Values]:
    return lambda rig: {"message": sign("authorization", rig.authorization(**changes))}


def signed_by(who: Issued) -> Callable[[Rig], Values]:
    """An authorization by somebody who brings a certificate of the right CA for another purpose, and its key."""
    return lambda rig: {
        "message": messages.sign("authorization", rig.authorization(provider_certificate=who.certificate), who.sign)
    }


def by_the_device_itself(rig: Rig) -> Values:
    own = rig.authorization()["psd_certificate"]
    values = rig.authorization(provider_certificate=own)
    return {
        "message": messages.sign("authorization", values, lambda data: rig.psd._keys.sign(Slot.INDICIUM, data)),
    }


def for_another_key(rig: Rig) -> Values:
    certificate = pki().issue_psd(rig.made["message_key"], SERIAL, 4711, NOON)
    return foreign(psd_certificate=certificate)(rig)


def for_another_serial(rig: Rig) -> Values:
    certificate = pki().issue_psd(rig.made["public_key"], SERIAL + 1, 4711, NOON)
    return foreign(psd_certificate=certificate)(rig)


def of_another_ca(rig: Rig) -> Values:
    certificate = pki("another CA").issue_psd(rig.made["public_key"], SERIAL, 4711, NOON)
    return foreign(psd_certificate=certificate)(rig)


def wholly_of_another_ca(rig: Rig) -> Values:
    values = rig.authorization(provider_certificate=pki("another CA").provider.certificate)
    return {"message": sign("authorization", values, "another CA")}


LICENCES: tuple[tuple[Callable[[Rig], Values], type[PesError]], ...] = (
    (signed_by(pki().inspector(NOON)), BadCertificate),
    (signed_by(pki().ca), BadCertificate),
    (by_the_device_itself, BadCertificate),
    (foreign(provider_certificate=pki().inspector(NOON).certificate), BadCertificate),
    (foreign(psd_certificate=pki().provider.certificate), BadCertificate),
    (for_another_key, BadCertificate),
    (for_another_serial, BadCertificate),
    (of_another_ca, BadCertificate),
    (wholly_of_another_ca, BadCertificate),
    (foreign(psd_serial=SERIAL + 1), NotForThisDevice),
    (foreign(nonce=bytes(16)), StaleMessage),
    (foreign(message_number=1), StaleMessage),
)


@pytest.mark.parametrize(("forge", "error"), LICENCES)
def test_a_licence_that_is_not_the_devices_is_refused(forge: Callable[[Rig], Values], error: type[PesError]) -> None:
    rig = Rig()
    rig.initialize()
    before = rig.everything()
    with pytest.raises(error):
        rig.ask("authorize", **forge(rig))
    assert rig.everything() == before
    rig.authorize()


@pytest.mark.parametrize("now", [NOON + 11 * YEAR, NOON - 2 * DAY])
def test_a_licence_by_certificates_out_of_their_dates_is_refused(now: int) -> None:
    rig = Rig()
    rig.now = now
    rig.power_on()
    rig.initialize()
    before = rig.everything()
    with pytest.raises(BadCertificate, match="does not hold at"):
        rig.authorize()
    assert rig.everything() == before


# By guessing


def test_a_year_of_guessing_is_ten_guesses() -> None:
    rig = operational()
    before, ends, guesses = rig.registers(), rig.now + YEAR, 0
    while rig.now < ends:
        try:
            rig.ask("authenticate", role="customer's meter", proof=rig.user_proof(rig.challenge()["nonce"], b"guess"))
        except PesError as problem:
            guesses += problem.status is Status.AUTHENTICATION_FAILED
        rig.now += MINUTE if guesses < 10 else 30 * DAY
        rig.power_on(log_in=False)
    assert guesses == 10
    assert rig.registers() == before


# With a copy of the storage


def copied(rig: Rig) -> MemoryStorage:
    assert isinstance(rig.storage, MemoryStorage)
    return copy.deepcopy(rig.storage)


class Served:
    """A device, and the data centre that serves it."""

    def __init__(self, directory: Path) -> None:
        self.clock = VirtualClock(NOON)
        self.centre = DataCentre(directory, clock=self.clock, entropy=SeededEntropy("centre"))
        self.centre.deposit(CUSTOMER, 1_000_000)
        self.rig = rig = Rig()
        rig.made = rig.ask(
            "initialize", psd_serial=SERIAL, trust_anchor=self.centre.trust_anchor, user_secret=SECRET,
            **rig.how_made,
        )  # fmt: skip
        made = {name: rig.made[name] for name in ("public_key", "message_key", "nonce")}
        licence = self.centre.authorize(psd_serial=SERIAL, licensing_zip=ZIP, customer=CUSTOMER, **made)
        rig.ask("authorize", message=licence)
        rig.log_in()
        self.check_in()
        self.refill(100_000)

    def check_in(self) -> Values:
        report = self.rig.ask("checkin_begin")["message"]
        return self.rig.ask("checkin_complete", message=self.centre.check_in(report))

    def refill(self, amount: int) -> Values:
        request = self.rig.ask("refill_begin", amount_mills=amount)["message"]
        return self.rig.ask("refill_complete", message=self.centre.refill(request))

    def order(self, service: str, kind: str, **values: object) -> Values:
        return self.rig.ask(service, message=self.centre.order(kind, SERIAL, self.rig.challenge(), **values))

    def put_back(self, image: MemoryStorage) -> None:
        """An older image in the device. What is random is random again, unlike in a run from one seed."""
        self.rig.storage = copy.deepcopy(image)
        self.rig.seed += "'"
        self.rig.power_on()


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def spend(served: Served, pieces: int) -> None:
    for _ in range(pieces):
        served.rig.dispense()


@pytest.mark.parametrize("reports", [0, 1, 5])
def test_an_image_put_back_is_found_at_the_next_check_in(served: Served, reports: int) -> None:
    image = copied(served.rig)
    spend(served, 3)
    served.check_in()
    served.put_back(image)
    before = served.rig.registers()
    for _ in range(reports):  # so that the message's number gives nothing away
        served.rig.ask("checkin_begin")
    with pytest.raises(Locked) as caught:
        served.check_in()
    assert caught.value.status is Status.LOCKED_ROLLBACK_FOUND
    served.rig.power_on()
    assert (served.rig.status()["state"], served.rig.status()["lock_reasons"]) == (State.LOCKED, ["rollback found"])
    assert served.rig.registers() == before
    with pytest.raises(Locked):
        served.rig.dispense()


def test_an_image_put_back_gets_no_refill_and_is_found_by_any_order(served: Served) -> None:
    image = copied(served.rig)
    spend(served, 3)
    served.check_in()
    deposit = served.centre.balance(CUSTOMER)
    served.put_back(image)
    before = served.rig.registers()
    answered = served.refill(1_000)
    assert (answered["amount_mills"], served.rig.registers()) == (0, before)
    with pytest.raises(Locked):
        served.order("set_time", "time_setting", device_time=served.rig.now)
    assert served.rig.status()["lock_reasons"] == ["rollback found"]
    assert served.centre.balance(CUSTOMER) == deposit


def test_a_refill_put_back_and_done_again_is_not_paid_out_again(served: Served) -> None:
    request = served.rig.ask("refill_begin", amount_mills=1_000)["message"]
    image = copied(served.rig)
    grant = served.centre.refill(request)
    served.rig.ask("refill_complete", message=grant)
    spend(served, 2)
    served.check_in()
    served.put_back(image)
    # The image still waits for this very grant: with it the device is where it was, behind what it has reported.
    served.rig.ask("refill_complete", message=grant)
    with pytest.raises(Locked) as caught:
        served.check_in()
    assert caught.value.status is Status.LOCKED_ROLLBACK_FOUND
    assert served.centre.balance(CUSTOMER) == 1_000_000 - 101_000


@pytest.mark.parametrize("reports", [0, 1, 5, 40])
def test_an_image_put_back_is_found_also_when_it_has_caught_up(served: Served, reports: int) -> None:
    image = copied(served.rig)
    spend(served, 3)
    served.check_in()
    served.put_back(image)
    spend(served, 4)  # three of them were never paid for
    for _ in range(reports):  # which nobody gets to see: the number of the one that is sent is new
        served.rig.ask("checkin_begin")
    with contextlib.suppress(Locked):
        served.check_in()
    assert served.rig.status()["state"] == State.LOCKED


@pytest.mark.parametrize("lost", [1, 3, 14])
def test_receipts_that_were_lost_make_nobody_suspicious(served: Served, lost: int) -> None:
    for _ in range(lost):
        spend(served, 1)
        served.centre.check_in(served.rig.ask("checkin_begin")["message"])  # the receipt never arrives
    for _ in range(3):  # and these reports never do
        served.rig.ask("checkin_begin")
    assert served.check_in()["reason"] == ""
    assert served.check_in()["reason"] == ""
    assert len(served.rig.psd._books.state.reports) == 1


def test_a_device_names_so_many_reports_and_no_more_and_always_that_of_its_last_receipt(served: Served) -> None:
    first = served.rig.psd._books.state.reports
    for _ in range(100):
        served.rig.ask("checkin_begin")
    named = served.rig.psd._books.state.reports
    assert len(named) == 16
    assert named[0] == first[-1]
    assert served.check_in()["reason"] == ""
    served.rig.power_on()
    assert served.check_in()["reason"] == ""


def test_a_device_that_was_put_back_is_unlocked_only_when_its_books_are_reconciled(served: Served) -> None:
    image = copied(served.rig)
    spend(served, 3)
    served.check_in()
    served.put_back(image)
    with pytest.raises(Locked):
        served.check_in()
    with pytest.raises(Locked):  # the order itself names the registers that this device is behind
        served.order("unlock", "unlock_order", lock_reasons=[Lock.ROLLBACK_FOUND.value])
    proof = served.centre.login(SERIAL, served.rig.challenge())
    served.rig.ask("authenticate", role="provider", proof=proof)
    nonce = bytes(range(16))
    served.centre.reconcile(served.rig.ask("audit", nonce=nonce)["statement"], nonce)
    served.order("unlock", "unlock_order", lock_reasons=[Lock.ROLLBACK_FOUND.value])
    served.rig.log_in()
    assert served.check_in()["state"] == State.OPERATIONAL
    served.rig.dispense()


def test_an_image_of_another_device_is_not_this_one() -> None:
    other = Rig(seed="another", curve="P-256")
    other.initialize()
    rig = operational()
    rig.storage, other.storage = copied(other), rig.storage
    rig.power_on(log_in=False)
    assert rig.status()["state"] == State.ERROR
    assert "cannot be unwrapped" in rig.status()["lock_reasons"][0]


# With a screwdriver


def made(state: State) -> Rig:
    """A device in each state."""
    rig = Rig()
    if state is State.UNINITIALIZED:
        return rig
    rig.initialize()
    if state is State.INITIALIZED:
        return rig
    rig.authorize()
    if state is State.AUTHORIZED:
        return rig
    rig.check_in()
    rig.refill(100_000)
    rig.dispense()
    if state is State.LOCKED:
        rig.now += 73 * HOUR
        rig.status()
    elif state is State.WITHDRAWN:
        asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
        rig.ask("withdraw_complete", message=answer("withdrawal_grant", asked, amount_mills=99_260))
    elif state is State.ERROR:
        rig.psd._books.stop("a test said so")
    elif state is State.ZEROIZED:
        rig.psd.tamper()
    assert rig.status()["state"] == state
    return rig


KEYED = [state for state in State if state not in (State.UNINITIALIZED, State.ZEROIZED)]


@pytest.mark.parametrize("state", State)
def test_tampering_zeroizes_at_once_whatever_the_state_and_leaves_the_registers(state: State) -> None:
    rig = made(state)
    before = rig.registers()
    rig.psd.tamper()
    for _ in range(2):
        status = rig.status()
        assert (status["state"], status["lock_reasons"]) == (State.ZEROIZED, ["tamper input"])
        assert (status["role"], rig.registers()) == ("unauthenticated", before)
        for name, request in (("dispense", piece()), ("challenge", {}), ("checkin_begin", {})):
            with pytest.raises(RefusedInState):
                rig.ask(name, **request)
        for slot in Slot:
            assert not rig.psd._keys.has(slot)
        assert (rig.vault.read(), rig.psd._books.state.keys) == (b"", b"")
        rig.psd.tamper()  # again is as good as once
        rig.power_on(log_in=False)


@pytest.mark.parametrize("state", KEYED)
def test_an_image_from_before_is_worthless_without_what_the_tampering_destroyed(state: State) -> None:
    rig = made(state)
    image, before = copied(rig), rig.registers()
    rig.psd.tamper()
    rig.storage = image
    rig.power_on(log_in=False)
    assert rig.status()["state"] in (State.ZEROIZED, state if state is State.ERROR else State.ZEROIZED)
    assert rig.registers() == before
    with pytest.raises(PesError) as caught:
        rig.dispense()
    assert caught.value.status in (Status.REFUSED_IN_STATE, Status.INTEGRITY)
    assert not any(rig.psd._keys.has(slot) for slot in Slot)


def test_a_retry_gets_no_indicium_from_a_zeroized_device() -> None:
    rig = operational()
    rig.dispense(b"a" * 16)
    rig.psd.tamper()
    with pytest.raises(RefusedInState):
        rig.dispense(b"a" * 16)


def test_a_device_whose_storage_cannot_be_read_is_zeroized_too() -> None:
    rig = operational()
    assert isinstance(rig.storage, MemoryStorage)
    del rig.storage.areas["head.seg"]
    rig.power_on(log_in=False)
    assert rig.status()["state"] == State.ERROR
    rig.psd.tamper()
    assert (rig.status()["state"], rig.vault.read()) == (State.ZEROIZED, b"")
    with pytest.raises(IntegrityError):
        rig.registers()


@pytest.mark.parametrize("state", [state for state in KEYED if state is not State.ERROR])
def test_a_cut_between_the_end_of_the_keys_and_its_record_ends_zeroized(state: State) -> None:
    rig = made(state)
    before = rig.registers()
    rig.psd._keys.zeroize()
    rig.power_on(log_in=False)
    for _ in range(2):
        assert (rig.status()["state"], rig.status()["lock_reasons"]) == (State.ZEROIZED, ["the keys are gone"])
        assert rig.registers() == before
        rig.power_on(log_in=False)


def test_in_state_error_that_cut_leaves_an_error_without_keys_and_zeroizing_again_completes_it() -> None:
    rig = made(State.ERROR)
    rig.psd._keys.zeroize()
    rig.power_on(log_in=False)
    assert rig.status()["state"] == State.ERROR
    rig.ask("zeroize")
    assert rig.status()["state"] == State.ZEROIZED


def test_a_full_disk_keeps_nobody_from_zeroizing() -> None:
    storage = Full()
    rig = operational(storage=storage)
    storage.full = True
    rig.psd.tamper()
    assert rig.status()["state"] == State.ZEROIZED
    rig.power_on(log_in=False)
    assert rig.status()["state"] == State.ZEROIZED
    storage.full = False
    rig.power_on(log_in=False)
    assert rig.status()["state"] == State.ZEROIZED


def test_a_vault_that_says_no_keeps_nobody_from_zeroizing() -> None:
    class Stuck(MemoryVault):
        def destroy(self) -> None:
            raise StorageFailed("the vault said no")

    rig = operational()
    stuck = Stuck()
    stuck.write(rig.vault.read())
    rig.vault = stuck
    rig.power_on()
    with pytest.raises(StorageFailed):
        rig.psd.tamper()
    assert rig.status()["state"] == State.ZEROIZED
    rig.power_on(log_in=False)
    assert rig.status()["state"] == State.ZEROIZED


def test_a_vault_that_was_lost_and_is_put_back_brings_the_device_back_unless_it_was_zeroized_meanwhile() -> None:
    rig = operational()
    kept = rig.vault.read()
    rig.vault.destroy()
    rig.power_on()
    assert rig.status()["state"] == "ZEROIZED"
    assert rig.status()["lock_reasons"] == ["the keys are gone"]
    rig.vault.write(kept)
    rig.power_on()
    assert rig.dispense()["piece_count"] == 1
    rig.vault.destroy()
    rig.power_on()
    rig.ask("zeroize")
    rig.vault.write(kept)
    rig.power_on()
    assert rig.status()["state"] == "ZEROIZED"
    with pytest.raises(RefusedInState):
        rig.dispense()
