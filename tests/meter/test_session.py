"""The meter and its PSD: who knows whom, and what can be read when one of them serves no more."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from pes_sim.entropy import SystemEntropy
from pes_sim.errors import IntegrityError, NotAuthenticated, PesError, RefusedInState, StorageFull
from pes_sim.indicium import layout
from pes_sim.link.client import Client
from pes_sim.link.ports.memory import MemoryTransport
from pes_sim.meter import rates
from pes_sim.meter.device import MeterDevice
from pes_sim.meter.meter import LocalCaller, Meter
from pes_sim.meter.services import BY_NAME
from pes_sim.meter.store import MeterStore
from pes_sim.psd.access import MOST_ATTEMPTS
from pes_sim.psd.device import Psd
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.vault import MemoryVault
from tests.meter.bench import Bench
from tests.meter.made import FUNDS, SERIAL


def log_in_as_provider(bench: Bench) -> None:
    proof = bench.centre.login(SERIAL, bench.ask_psd("challenge"))
    bench.ask_psd("authenticate", role="provider", proof=proof)


# --- a secret that the PSD does not know -----------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [b"", bytes(32)], ids=["none", "another"])
def test_a_meter_that_its_psd_does_not_know_opens_and_shows_its_registers(bench: Bench, secret: bytes) -> None:
    bench.print()
    right, bench.secret = bench.secret, secret
    bench.power_on()
    assert bench.registers().descending_mills == FUNDS - 740
    assert bench.meter.status().role == "unauthenticated"
    assert [d.pieces for d in bench.meter.departments()] == [1, 0]  # the meter's own books
    steps: list[Callable[[], object]] = [
        bench.print,
        bench.meter.check_in,
        bench.meter.withdraw,
        lambda: bench.meter.refill(1_000),
        lambda: list(bench.meter.log()),
    ]
    for step in steps:
        with pytest.raises(NotAuthenticated, match=r"the PSD does not know this meter: .*meter\.key") as refusal:
            step()
        assert "Put back the meter.key that was made with the meter" in refusal.value.hint
        assert refusal.value.detail == {"roles": ["customer's meter"]}
    assert bench.registers().ascending_mills == 740
    bench.secret = right
    bench.power_on()
    bench.print()
    bench.check_books()


def test_a_wrong_secret_is_tried_once_a_power_cycle(bench: Bench) -> None:
    right, bench.secret = bench.secret, bytes(32)
    bench.power_on()
    for _ in range(3 * MOST_ATTEMPTS):
        with pytest.raises(NotAuthenticated, match="9 attempts are left"):
            bench.print()
    bench.secret = right
    bench.power_on()
    bench.print()


def test_no_secret_is_not_tried_at_all(bench: Bench) -> None:
    right, bench.secret = bench.secret, b""
    for _ in range(2 * MOST_ATTEMPTS):
        bench.power_on()
    bench.secret = right
    bench.power_on()
    bench.print()


def test_a_psd_that_waits_after_wrong_proofs_is_named_with_the_time(bench: Bench) -> None:
    right, bench.secret = bench.secret, bytes(32)
    for _ in range(4):
        bench.power_on()
        with pytest.raises(NotAuthenticated):
            bench.print()
    bench.secret = right
    bench.power_on()
    with pytest.raises(NotAuthenticated, match=r"the next is looked at in \d s") as refusal:
        bench.print()
    assert refusal.value.hint == "Wait so long, then power the meter on again"
    bench.clock.advance(60_000_000)
    bench.power_on()
    bench.print()
    bench.check_books()


def test_what_was_printed_without_this_database_is_taken_over_once_the_session_opens(bench: Bench) -> None:
    bench.print()
    right, bench.secret = bench.secret, b""
    bench.lose_database()
    bench.power_on()
    assert bench.meter.departments() == []
    bench.store.close()
    bench.secret = right
    bench.power_on()
    assert [d.pieces for d in bench.meter.departments()] == [1]


# --- who only looks --------------------------------------------------------------------------------------------------


def test_looking_opens_no_session_and_writes_nothing_and_the_next_piece_opens_one(bench: Bench) -> None:
    bench.print()
    bench.power_on()
    before = copy.deepcopy(bench.storage.areas)
    bench.meter.info()
    assert bench.meter.status().role == "unauthenticated"
    assert bench.registers().ascending_mills == 740
    assert [d.pieces for d in bench.meter.departments()] == [1, 0]
    assert bench.meter.quote("first_class_letter", 100) == 740
    assert bench.storage.areas == before
    bench.print()
    assert bench.meter.status().role == "customer's meter"
    bench.check_books()


def test_a_challenge_for_the_provider_outlives_what_the_meter_does_meanwhile(bench: Bench) -> None:
    bench.power_on()
    order = bench.centre.order("lock_order", SERIAL, bench.ask("challenge"), lock_reasons=["provider lock"])
    bench.print()
    assert bench.ask("lock", message=order)["state"] == "LOCKED"


def test_a_challenge_is_given_by_a_psd_that_does_not_know_the_meter_as_well(bench: Bench) -> None:
    bench.secret = bytes(32)
    bench.power_on()
    order = bench.centre.order("lock_order", SERIAL, bench.ask("challenge"), lock_reasons=["provider lock"])
    assert bench.ask("lock", message=order)["state"] == "LOCKED"


def test_a_meter_that_lags_behind_its_psd_reads_the_log_and_needs_the_session_for_that(bench: Bench) -> None:
    bench.print()
    bench.lose_database()
    bench.power_on()
    assert bench.meter.status().role == "customer's meter"
    assert [d.pieces for d in bench.meter.departments()] == [1]


def test_a_psd_that_could_not_log_anybody_in_is_caught_up_with_as_soon_as_it_can(bench: Bench) -> None:
    bench.print()
    bench.lose_database()
    bench.power_on()
    bench.lose_database()
    right, bench.secret = bench.secret, b""
    bench.power_on()
    assert bench.meter.departments() == []
    bench.device._session._secret, bench.device._session._unknown = right, ""
    bench.print()  # department 100 is known from the log again
    assert [(d.code, d.pieces) for d in bench.meter.departments()] == [("100", 2)]


# --- a session that is gone ------------------------------------------------------------------------------------------


def test_a_session_that_another_role_took_is_opened_again(bench: Bench) -> None:
    for step in (bench.print, bench.meter.check_in, lambda: bench.meter.refill(1_000), bench.meter.withdraw):
        log_in_as_provider(bench)
        step()
        assert bench.meter.status().role == "customer's meter"
    bench.check_books()


def test_a_disk_that_is_full_keeps_no_session_from_being_opened_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFull("no room")

    with monkeypatch.context() as disk:
        disk.setattr(bench.store, "add", full)
        for _ in range(3):
            log_in_as_provider(bench)
            bench.print()
    bench.check_books()


def test_a_request_that_went_through_anew_counts_once(bench: Bench) -> None:
    log_in_as_provider(bench)
    first = bench.print(b"\x01" * 16)
    log_in_as_provider(bench)
    assert bench.print(b"\x01" * 16) == first
    assert bench.registers().piece_count == 1


# --- a PSD that serves no more, or not yet ---------------------------------------------------------------------------


def refused(bench: Bench, state: str, hint: str) -> None:
    assert bench.meter.status().state == state
    for step in (bench.print, bench.meter.check_in, bench.meter.withdraw, lambda: bench.meter.refill(1_000)):
        with pytest.raises(RefusedInState, match=f"state {state} does not allow") as refusal:
            step()
        assert hint in refusal.value.hint


@pytest.mark.parametrize("restart", [False, True])
def test_a_zeroized_psd_leaves_registers_and_the_meters_own_books(bench: Bench, restart: bool) -> None:
    bench.print()
    bench.ask_psd("zeroize")
    if restart:
        bench.power_on()
    refused(bench, "ZEROIZED", "Its keys are destroyed for good")
    assert bench.registers().descending_mills == FUNDS - 740
    assert [d.pieces for d in bench.meter.departments()] == [1, 0]


@pytest.mark.parametrize("restart", [False, True])
def test_a_withdrawn_psd_leaves_registers_and_log(bench: Bench, restart: bool) -> None:
    bench.print()
    bench.meter.withdraw()
    if restart:
        bench.lose_database()
        bench.power_on()
    refused(bench, "WITHDRAWN", "It was withdrawn from service")
    assert bench.registers().ascending_mills == 740
    assert len(list(bench.meter.log())) == 1
    assert sum(d.pieces for d in bench.meter.departments()) == 1


def blank(bench: Bench, tmp_path: Path) -> Meter:
    """A meter around a PSD that has just left the factory."""
    keys = SoftwareKeyStoreNotForProduction(bytes(32), SystemEntropy(), MemoryVault())
    imi = layout.builtin("imi_std")
    bench.psd = Psd(MemoryStorage(), keys, entropy=SystemEntropy(), layout=imi)
    bench.store.close()
    bench.store = MeterStore(tmp_path / "blank.sqlite")
    bench.store.add_department("100", "Sales")
    bench.device = MeterDevice(bench.psd, bench.store, rates.built_in(), imi, bench.clock, bench.wire, bench.secret)
    bench.meter = Meter(LocalCaller(bench.device, bench.clock, SystemEntropy()))
    return bench.meter


def test_a_blank_psd_says_that_it_is_blank(bench: Bench, tmp_path: Path) -> None:
    blank(bench, tmp_path)
    refused(bench, "UNINITIALIZED", "The PSD is blank")
    assert bench.registers().control_sum_mills == 0
    made = bench.ask_psd(
        "initialize", psd_serial=2, trust_anchor=bench.centre.trust_anchor, user_secret=bench.secret,
        transport_key=b"", profile="FIPS 140-2", regime="IMI", curve="P-256",
    )  # fmt: skip
    refused(bench, "INITIALIZED", "The PSD has no licence yet")
    assert made["nonce"]


def test_a_psd_that_stopped_says_why_itself(bench: Bench) -> None:
    bench.psd._books.stop("both copies of a record are bad")
    for step in (bench.print, bench.meter.check_in, bench.meter.withdraw):
        with pytest.raises(IntegrityError, match="both copies of a record are bad"):
            step()
    assert bench.registers().descending_mills == FUNDS


def test_over_the_line_it_is_the_same_error_with_the_same_words(bench: Bench) -> None:
    bench.secret = b""
    bench.power_on()
    outside = Meter(Client(MemoryTransport(bench.device, bench.clock), BY_NAME, SystemEntropy()))
    with pytest.raises(PesError) as refusal:
        outside.print_piece(department="100")
    assert type(refusal.value) is NotAuthenticated
    assert "meter.key" in str(refusal.value)
