"""The device: commit, then answer; a request id counts once; what was answered survives."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.clock import DAY, HOUR, SECOND
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import (
    AuthenticationFailed,
    BadDate,
    BadTime,
    FieldError,
    HostileDirectory,
    InsufficientFunds,
    IntegrityError,
    KeyStoreFailed,
    LayoutError,
    LockedCheckinOverdue,
    MoneyError,
    NotAuthenticated,
    NothingPending,
    RequestIdReused,
    SelfTestFailed,
    StaleMessage,
    StorageFailed,
)
from pes_sim.indicium import layout
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import BY_NUMBER, Values, check_all, to_names
from pes_sim.psd.head import PAGE
from pes_sim.psd.keys import Slot, raw_signature
from pes_sim.psd.reading import LOG_CHUNK
from pes_sim.psd.registers import Registers
from pes_sim.psd.rtc import Rtc
from pes_sim.psd.selftest import TestName
from pes_sim.psd.services import LOG_ENTRY
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.vault import FileVault, MemoryVault
from tests.rig import CERTIFICATE_SERIAL, MASTER, NOON, SERIAL, TODAY, ZIP, Rig, correction, operational, pki

SMALL_BANK = 8192


# Dispensing


def test_an_indicium_says_what_was_asked_and_what_the_registers_are_after_it() -> None:
    rig = operational(100_000)
    answer = rig.dispense(destination="00501123412", weight=250, postage_mills=1320)
    assert layout.builtin("imi_std").unpack(answer["indicium"]).values == {
        "indicia_version": 202,
        "provider_id": "99",
        "model_id": "S1",
        "psd_serial": SERIAL,
        "algorithm_id": 2,
        "certificate_serial": CERTIFICATE_SERIAL,
        "piece_count": 1,
        "ascending_mills": 1320,
        "descending_mills": 98_680,
        "postage_mills": 1320,
        "mailing_date": TODAY,
        "origin_zip": ZIP,
        "mail_class": "first_class_letter",
        "weight": 250,
        "destination": "00501123412",
        "software_id": 0x00010000,
    }
    assert answer["device_time"] == rig.now


def test_its_signature_verifies_with_the_devices_public_key() -> None:
    rig = operational()
    indicium = rig.dispense()["indicium"]
    verify_p256(rig.made["public_key"], indicium[:50], indicium[50:])


def test_the_debit_is_durable_before_the_answer() -> None:
    synced: list[tuple[str, int]] = []

    class Watching(MemoryStorage):
        def sync(self, name: str) -> None:
            synced.append((name, len(synced)))

    rig = operational(storage=Watching())
    before = len(synced)
    rig.dispense()
    assert len(synced) == before + 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"postage_mills": 0}, MoneyError),
        ({"postage_mills": 100_001}, InsufficientFunds),
        ({"mailing_date": "2026-11-20"}, BadDate),
        ({"mailing_date": "2026-12-22"}, BadDate),
        ({"mail_class": "parcel"}, LayoutError),
        ({"weight": 70_000}, FieldError),
        ({"destination": "1234"}, LayoutError),
        ({"reference": bytes(33)}, FieldError),
    ],
)
def test_a_piece_that_cannot_be_is_refused_and_nothing_is_debited(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    rig = operational(100_000)
    before = rig.everything()
    with pytest.raises(error):
        rig.dispense(**changes)
    assert rig.everything() == before


def test_the_funds_can_be_spent_to_the_last_mill_and_not_beyond() -> None:
    rig = operational(1480)
    rig.dispense()
    rig.dispense()
    assert rig.registers()["descending_mills"] == 0
    with pytest.raises(InsufficientFunds):
        rig.dispense(postage_mills=1)


def device_with(made: layout.Layout) -> Psd:
    keys = SoftwareKeyStoreNotForProduction(MASTER, SystemEntropy(), MemoryVault())
    return Psd(MemoryStorage(), keys, entropy=SystemEntropy(), layout=made)


def test_a_read_only_layout_makes_no_device() -> None:
    with pytest.raises(LayoutError, match="read-only"):
        device_with(layout.builtin("ibi"))


def test_a_layout_that_a_device_could_not_print_by_is_refused_before_any_debit() -> None:
    document = tomllib.loads((Path(layout.__file__).parent / "layouts" / "imi_std.toml").read_text())
    device_with(layout.Layout(document, "vendor.toml"))
    short = document | {"signature": document["signature"] | {"length": 40}}
    with pytest.raises(LayoutError, match="64 bytes"):
        device_with(layout.Layout(short, "vendor.toml"))
    more = document | {"field": [*document["field"], document["field"][9] | {"name": "colour", "offset": 50}]}
    with pytest.raises(LayoutError, match="a device has nothing to put into colour"):
        device_with(layout.Layout(more, "vendor.toml"))


# Request ids


def test_the_same_request_id_gets_the_same_bytes_and_debits_once() -> None:
    rig = operational()
    first = rig.dispense(b"a" * 16)
    registers = rig.registers()
    rig.dispense()
    assert rig.dispense(b"a" * 16) == first
    rig.power_on()
    assert rig.dispense(b"a" * 16) == first
    assert rig.registers()["piece_count"] == registers["piece_count"] + 1


def test_a_retry_is_answered_though_the_device_has_locked_meanwhile() -> None:
    rig = operational()
    first = rig.dispense(b"a" * 16)
    rig.now += 80 * HOUR
    assert rig.dispense(b"a" * 16) == first


@pytest.mark.parametrize("changes", [{"postage_mills": 741}, {"destination": ""}, {"reference": b"200"}, {"weight": 1}])
def test_a_request_id_with_another_request_is_refused(changes: dict[str, Any]) -> None:
    rig = operational()
    rig.dispense(b"a" * 16)
    before = rig.everything()
    with pytest.raises(RequestIdReused):
        rig.dispense(b"a" * 16, **changes)
    assert rig.everything() == before


def test_a_request_id_does_not_serve_two_services() -> None:
    rig = operational()
    rig.dispense(b"a" * 16)
    with pytest.raises(RequestIdReused):
        rig.ask("refill_begin", b"a" * 16, amount_mills=740)
    rig.ask("refill_begin", b"b" * 16, amount_mills=740)
    with pytest.raises(RequestIdReused):
        rig.dispense(b"b" * 16)
    with pytest.raises(RequestIdReused):
        rig.ask("refill_begin", b"b" * 16, amount_mills=741)


def test_a_request_id_of_another_length_is_refused() -> None:
    for length in (15, 17):
        with pytest.raises(FieldError, match=f"16 bytes, not {length}"):
            operational().dispense(b"a" * length)


def test_a_stopped_device_gives_no_indicium_out_not_even_for_a_retry() -> None:
    rig = operational()
    rig.dispense(b"a" * 16)
    rig.psd._books.stop("a test said so")
    with pytest.raises(IntegrityError):
        rig.dispense(b"a" * 16)
    rig.power_on()
    with pytest.raises(IntegrityError):
        rig.dispense(b"a" * 16)


@pytest.mark.parametrize("now", [-1, 2**63])
def test_a_time_that_is_none_is_refused_and_not_remembered(now: int) -> None:
    rig = operational()
    with pytest.raises(FieldError, match="outside 1970 to 9999"):
        rig.psd.execute("get_status", {}, request_id=b"", now=now)
    assert rig.status()["device_time"] == rig.now


def test_every_state_changing_answer_is_given_again_after_a_restart() -> None:
    rig = operational()
    begun = rig.ask("refill_begin", b"b" * 16, amount_mills=740)
    rig.power_on()
    assert rig.ask("refill_begin", b"b" * 16, amount_mills=740) == begun
    request = rig.read("refill_request", begun["message"])
    done = rig.ask("refill_complete", b"c" * 16, message=rig.grant(request))
    rig.power_on()
    assert rig.ask("refill_complete", b"c" * 16, message=rig.grant(request)) == done
    assert rig.registers()["control_sum_mills"] == 100_740


ID_BANK = 1 << 15
LEAST = (ID_BANK - 3 * 3000) // 256
"""Pieces in a segment beside three state records: its first, and those of a login. A piece takes 256 bytes."""
MOST = (ID_BANK - 2000) // 256


def test_request_ids_are_remembered_for_a_whole_segment() -> None:
    rig = operational(10_000_000, bank=ID_BANK)
    ids = [rig.new_id() for _ in range(5 * LEAST)]
    answers = [rig.dispense(request_id) for request_id in ids]
    assert rig.dispense(ids[-LEAST]) == answers[-LEAST]
    assert len(rig.storage.names()) > 4
    rig.power_on()
    assert rig.dispense(ids[-LEAST]) == answers[-LEAST]
    assert rig.registers()["piece_count"] == len(ids)


def test_request_ids_older_than_two_segments_take_no_memory() -> None:
    rig = operational(10_000_000, bank=ID_BANK)
    for _ in range(8 * LEAST):
        rig.dispense()
    remembered = len(rig.psd._books._answers)
    assert LEAST <= remembered <= 2 * MOST + 2
    rig.power_on(log_in=False)
    assert remembered <= len(rig.psd._books._answers) <= 2 * MOST + 2


# Surviving


def test_everything_is_as_it_was_after_a_restart() -> None:
    rig = operational(bank=SMALL_BANK)
    for _ in range(70):
        rig.dispense(postage_mills=1)
    before, status = rig.registers(), rig.status()
    rig.power_on()
    assert rig.registers() == before
    assert rig.status() == status | {"log_sequence": status["log_sequence"] + 2}  # the meter's login


def test_a_storage_that_fails_leaves_the_registers_and_a_retry_succeeds() -> None:
    class Failing(MemoryStorage):
        broken = False

        def sync(self, name: str) -> None:
            if self.broken:
                raise StorageFailed("the disk said no")

    storage = Failing()
    rig = operational(storage=storage)
    before = rig.registers()
    storage.broken = True
    with pytest.raises(StorageFailed):
        rig.dispense(b"a" * 16)
    assert rig.registers() == before
    storage.broken = False
    rig.dispense(b"a" * 16)
    assert rig.registers()["piece_count"] == 1


def test_a_write_that_failed_but_reached_the_disk_is_answered_by_the_retry() -> None:
    class Deceiving(MemoryStorage):
        broken = False

        def sync(self, name: str) -> None:
            if self.broken:
                raise StorageFailed("the disk said no, and wrote it all the same")

    storage = Deceiving()
    rig = operational(storage=storage)
    storage.broken = True
    with pytest.raises(StorageFailed):
        rig.dispense(b"a" * 16)
    storage.broken = False
    rig.power_on()
    assert rig.registers()["piece_count"] == 1
    rig.dispense(b"a" * 16)
    assert rig.registers()["piece_count"] == 1


def test_a_device_whose_log_is_rotten_comes_up_in_error_and_says_why() -> None:
    storage = MemoryStorage()
    rig = operational(storage=storage)
    rig.dispense()
    name = storage.names()[-1]
    for bank in (0, PAGE):
        storage.areas[name][bank + 30] ^= 1
    newest = rig.status()["log_sequence"]
    rig.power_on()
    status = rig.status()
    assert status["state"] == "ERROR"
    assert "bad in both banks" in status["lock_reasons"][0]
    assert status["log_sequence"] == newest  # the newest that can still be read
    with pytest.raises(IntegrityError, match="cannot be read"):
        rig.ask("get_registers")
    with pytest.raises(IntegrityError, match="state ERROR: .* bad in both banks"):
        rig.ask("read_log", first_record=1)
    with pytest.raises(IntegrityError):
        rig.dispense()


def test_rot_that_is_found_while_the_log_is_read_stops_the_device_for_good() -> None:
    storage = MemoryStorage()
    rig = operational(storage=storage)
    rig.dispense()
    rig.dispense()
    name = storage.names()[-1]
    for bank in (0, PAGE):
        storage.areas[name][bank + 30] ^= 1
    with pytest.raises(IntegrityError):
        rig.ask("read_log", first_record=1)
    assert rig.status()["state"] == "ERROR"
    assert rig.registers()["piece_count"] == 2


def test_a_fault_is_remembered_after_a_restart() -> None:
    rig = operational()
    rig.psd._books.stop("a test said so")
    rig.psd._books.stop("and again")
    rig.power_on()
    assert rig.status()["lock_reasons"] == ["a test said so"]
    assert rig.registers()["control_sum_mills"] == 100_000


def test_a_broken_invariant_stops_the_device_before_anything_is_written() -> None:
    rig = operational()
    sequence = rig.status()["log_sequence"]
    rig.psd._books.registers = Registers(0, 200_000, 100_000)
    with pytest.raises(IntegrityError, match="not the control sum"):
        rig.dispense()
    assert rig.status()["state"] == "ERROR"
    assert rig.status()["log_sequence"] == sequence + 1  # the fault's own record


def test_a_broken_invariant_stops_a_refill_as_it_stops_a_piece() -> None:
    rig = operational()
    grant = rig.grant(rig.request_refill(1_000))
    sequence = rig.status()["log_sequence"]
    rig.psd._books.registers = Registers(0, 200_000, 100_000)
    with pytest.raises(IntegrityError, match="not the control sum"):
        rig.ask("refill_complete", message=grant)
    assert rig.status()["state"] == "ERROR"
    assert rig.status()["log_sequence"] == sequence + 1  # the fault's own record


@pytest.mark.parametrize(
    ("registers", "complaint"),
    [
        (Registers(0, 99_000, 100_000, 1), "not the control sum"),
        (Registers(0, 99_000, 99_000), "takes postage away without a withdrawal"),
    ],
    ids=["unbalanced", "a control sum that fell"],
)
def test_a_state_record_that_breaks_an_invariant_is_not_believed(registers: Registers, complaint: str) -> None:
    from pes_sim.psd import state
    from pes_sim.psd.nvram import Nvram
    from pes_sim.psd.records import Kind

    rig = operational(100_000)
    books = rig.psd._books
    forged = state.Snapshot(
        books.state, registers, books.time, books.last_dispense, books.reprints, books.chain, state.Answer()
    )
    Nvram(rig.storage, rig.psd._keys.derive("log")).append(Kind.STATE, state.encode(forged), lambda: b"")
    rig.power_on()
    assert rig.status()["state"] == "ERROR"
    assert complaint in rig.status()["lock_reasons"][0]


def test_a_piece_record_that_breaks_an_invariant_is_not_believed() -> None:
    from pes_sim.psd import piece as pieces
    from pes_sim.psd.nvram import Nvram
    from pes_sim.psd.piece import Piece, PieceKind
    from pes_sim.psd.records import Kind

    rig = operational(100_000)
    forged = Piece(PieceKind.STANDARD, bytes(16), rig.now, Registers(740, 100_000, 100_740, 1, 0), b"", b"x", b"y")
    body, _ = pieces.encode(forged, rig.psd._books.chain)
    Nvram(rig.storage, rig.psd._keys.derive("log")).append(Kind.PIECE, body, lambda: b"")
    rig.power_on()
    assert "something else than a refill" in rig.status()["lock_reasons"][0]


def test_another_master_key_reads_nothing_of_the_log() -> None:
    rig = operational()
    keys = SoftwareKeyStoreNotForProduction(bytes(32), SystemEntropy(), rig.vault)
    psd = Psd(rig.storage, keys, entropy=SystemEntropy(), layout=layout.builtin("imi_std"))
    status = psd.execute("get_status", {}, request_id=b"", now=rig.now)
    assert status["state"] == "ERROR"
    assert "another master key" in status["lock_reasons"][0]


def test_a_wrapped_key_of_another_device_stops_this_one() -> None:
    class OtherKeys(SoftwareKeyStoreNotForProduction):
        def derive(self, purpose: str) -> bytes:
            return bytes(32) if purpose == "key wrap" else super().derive(purpose)

    rig = operational()
    keys = OtherKeys(MASTER, SystemEntropy(), rig.vault)
    psd = Psd(rig.storage, keys, entropy=SystemEntropy(), layout=layout.builtin("imi_std"))
    status = psd.execute("get_status", {}, request_id=b"", now=rig.now)
    assert status["state"] == "ERROR"
    assert "cannot be unwrapped" in status["lock_reasons"][0]


def test_a_log_whose_chain_is_broken_is_not_believed() -> None:
    from pes_sim.psd import piece as pieces
    from pes_sim.psd.nvram import Nvram
    from pes_sim.psd.piece import Piece, PieceKind
    from pes_sim.psd.records import Kind

    rig = operational()
    nvram = Nvram(rig.storage, rig.psd._keys.derive("log"))
    forged = Piece(PieceKind.STANDARD, bytes(16), rig.now, Registers(740, 99_260, 100_000, 1, 0), b"", b"x", b"y")
    nvram.append(Kind.PIECE, pieces.encode(forged, b"another chain".ljust(32))[0], lambda: b"")
    rig.power_on()
    assert "hash chain breaks" in rig.status()["lock_reasons"][0]


# The log


def read_all(rig: Rig, first: int = 1) -> list[Values]:
    entries: list[Values] = []
    while first:
        answer = rig.ask("read_log", first_record=first)
        assert len(answer["entries"]) <= LOG_CHUNK
        entries += [to_names(cbor2.loads(entry), BY_NUMBER) for entry in answer["entries"]]
        first = answer["next_record"]
    return entries


@pytest.mark.parametrize("count", [0, 1, LOG_CHUNK, LOG_CHUNK + 1, 70])
def test_the_log_gives_every_piece_as_it_was_answered(count: int) -> None:
    rig = operational(bank=SMALL_BANK)
    answers = [rig.dispense(postage_mills=1 + n) for n in range(count)]
    entries = read_all(rig)
    for entry in entries:
        check_all(LOG_ENTRY, entry)
    for answer in answers:
        assert answer.pop("service_indicator") == 0
    assert [{name: entry[name] for name in answers[0]} for entry in entries] == answers
    assert [(entry["piece_kind"], entry["original"]) for entry in entries] == [("standard", 0)] * count


def test_the_log_can_be_read_from_its_start_again_and_again() -> None:
    rig = operational()
    for _ in range(3):
        rig.dispense()
    for first in (0, 0, 1, 0):
        answer = rig.ask("read_log", first_record=first)
        assert (len(answer["entries"]), answer["next_record"]) == (3, 0)


def test_the_log_can_be_read_from_anywhere_and_while_it_grows() -> None:
    rig = operational()
    records = [rig.dispense()["record"] for _ in range(20)]
    assert [entry["record"] for entry in read_all(rig, records[12])] == records[12:]
    first = rig.ask("read_log", first_record=1)
    records.append(rig.dispense()["record"])
    seen = read_all(rig, first["next_record"])
    assert [entry["record"] for entry in seen] == records[LOG_CHUNK:]


# Time


def test_time_never_runs_back() -> None:
    rig = operational()
    rig.now += 10 * HOUR
    rig.dispense()
    rig.now -= 10 * DAY
    assert rig.status()["seconds_to_lockout"] == 62 * 3600
    rig.power_on()
    assert rig.status()["seconds_to_lockout"] == 62 * 3600
    with pytest.raises(BadDate):
        rig.dispense(mailing_date="2026-11-11")


def test_a_piece_is_dated_by_the_devices_own_offset() -> None:
    rig = Rig()
    rig.initialize()
    rig.authorize(utc_offset_minutes=-13 * 60)
    rig.check_in()
    rig.refill(1000)
    rig.dispense(mailing_date="2026-11-20")


# What it says of itself


def test_info_says_that_it_is_a_specimen_and_whether_its_keys_can_be_repeated() -> None:
    rig = operational()
    info = rig.ask("get_info")
    assert info["provider_id"] == "99"
    assert info["notice"].startswith("SPECIMEN ONLY, NOT VALID POSTAGE. IMI-STD (simulator profile, not USPS's).")
    assert "reproducible" in info["notice"]
    real = Psd(
        MemoryStorage(),
        SoftwareKeyStoreNotForProduction(MASTER, SystemEntropy(), MemoryVault()),
        entropy=SystemEntropy(),
        layout=layout.builtin("imi_std"),
    )
    assert "reproducible" not in real.execute("get_info", {}, request_id=b"", now=rig.now)["notice"]


def test_a_seed_repeats_a_run_byte_for_byte() -> None:
    def run() -> list[bytes]:
        rig = operational()
        return [rig.dispense()["indicium"], rig.report()["nonce"], *map(bytes, rig.storage.areas.values())]  # type: ignore[attr-defined]

    assert run() == run()


def test_a_seeded_device_that_is_restarted_repeats_no_nonce() -> None:
    rig = operational()
    nonces = []
    for _ in range(4):
        nonces.append(rig.report()["nonce"])
        rig.power_on()
    assert len(set(nonces)) == 4


# Everything at once


actions = st.sampled_from(["dispense", "again", "refill", "checkin", "restart", "wait", "too much"])


@settings(max_examples=40, deadline=None)
@given(st.lists(actions, max_size=40))
def test_whatever_happens_the_books_balance_and_nothing_is_paid_twice(script: list[str]) -> None:
    rig = operational(5_000, bank=1 << 16)
    spent, pieces, refilled, answers = 0, 0, 5_000, []
    for number, action in enumerate(script):
        if action == "dispense":
            request_id, day = rig.new_id(), rig.status()["today"]
            try:
                answers.append((request_id, day, rig.dispense(request_id, mailing_date=day)))
            except (InsufficientFunds, LockedCheckinOverdue):
                pass
            else:
                spent, pieces = spent + 740, pieces + 1
        elif action == "again" and answers:
            request_id, day, answer = answers[number % len(answers)]
            assert rig.dispense(request_id, mailing_date=day) == answer
        elif action == "refill" and rig.status()["state"] == "OPERATIONAL":
            rig.refill(1_000)
            refilled += 1_000
        elif action == "checkin":
            rig.check_in()
        elif action == "restart":
            rig.power_on()
        elif action == "wait":
            rig.now += 30 * HOUR + SECOND
        elif action == "too much" and rig.status()["state"] == "OPERATIONAL":
            with pytest.raises(InsufficientFunds):
                rig.dispense(mailing_date=rig.status()["today"], postage_mills=10_000_000)
        registers = rig.registers()
        assert registers["ascending_mills"] == spent
        assert registers["descending_mills"] == refilled - spent
        assert registers["control_sum_mills"] == refilled
        assert registers["piece_count"] == pieces


# Signatures that cannot be made again


class Undetermined(SoftwareKeyStoreNotForProduction):
    """As a token that draws its own random number for each signature."""

    broken = False

    def sign(self, slot: Slot, message: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        if Undetermined.broken:
            raise KeyStoreFailed("the token was pulled out")
        key = ec.derive_private_key(int.from_bytes(self._pair(slot).scalar, "big"), ec.SECP256R1())
        return raw_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))


@pytest.fixture
def undetermined(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Devices whose key store never signs the same bytes alike twice."""
    monkeypatch.setattr("tests.rig.SoftwareKeyStoreNotForProduction", Undetermined)
    yield
    Undetermined.broken = False


@pytest.mark.usefixtures("undetermined")
def test_a_retry_gets_the_same_bytes_though_the_key_store_would_not_sign_them_alike_again() -> None:
    rig = operational()
    keys = rig.psd._keys
    assert keys.sign(Slot.INDICIUM, b"x") != keys.sign(Slot.INDICIUM, b"x")
    first = rig.dispense(b"a" * 16)
    spoiled = rig.ask("reprint", b"r" * 16, original=first["record"])
    redated = rig.ask("redate", b"d" * 16, **correction())
    for _ in range(3):
        assert rig.dispense(b"a" * 16) == first
        assert rig.ask("reprint", b"r" * 16, original=first["record"]) == spoiled
        assert rig.ask("redate", b"d" * 16, **correction()) == redated
        assert [entry["indicium"] for entry in read_all(rig)] == [
            answer["indicium"] for answer in (first, spoiled, redated)
        ]
        rig.power_on()
    assert spoiled["indicium"] == first["indicium"]
    verify_p256(rig.made["public_key"], first["indicium"][:50], first["indicium"][50:])
    assert rig.registers()["piece_count"] == 2


@pytest.mark.usefixtures("undetermined")
def test_such_a_messages_signature_is_kept_too() -> None:
    rig = operational()
    begun = rig.ask("refill_begin", amount_mills=1_000)
    assert rig.ask("refill_begin", amount_mills=1_000) == begun
    rig.power_on()
    assert rig.ask("refill_begin", amount_mills=1_000) == begun
    cancelled = rig.ask("refill_cancel")
    rig.power_on()
    assert rig.ask("refill_cancel") == cancelled


@pytest.mark.usefixtures("undetermined")
def test_a_key_store_that_cannot_sign_beforehand_costs_nothing() -> None:
    rig = operational()
    before = rig.registers()
    Undetermined.broken = True
    with pytest.raises(KeyStoreFailed):
        rig.dispense(b"a" * 16)
    assert rig.registers() == before
    Undetermined.broken = False
    assert rig.dispense(b"a" * 16)["piece_count"] == 1


def test_a_key_store_that_fails_after_the_debit_gives_the_indicium_to_the_retry() -> None:
    class Pulled(SoftwareKeyStoreNotForProduction):
        out = False

        def sign(self, slot: Slot, message: bytes) -> bytes:
            if self.out:
                raise KeyStoreFailed("the token was pulled out")
            return super().sign(slot, message)

    rig = operational()
    keys = Pulled(MASTER, SystemEntropy(), rig.vault)
    rig.psd = Psd(rig.storage, keys, entropy=SystemEntropy(), layout=layout.builtin("imi_std"))
    rig.log_in()
    keys.out = True
    with pytest.raises(KeyStoreFailed):
        rig.dispense(b"a" * 16)
    keys.out = False
    answer = rig.dispense(b"a" * 16)
    assert rig.registers()["piece_count"] == answer["piece_count"] == 1


def test_a_new_key_changes_nothing_about_the_pieces_that_the_old_one_signed() -> None:
    rig = operational()
    first = rig.dispense(b"a" * 16)
    point = rig.ask("renew_key", message=rig.order("key_renewal"))["public_key"]
    certificate = pki().issue_psd(point, SERIAL, CERTIFICATE_SERIAL + 1, NOON)
    rig.ask("load_certificate", message=rig.order("certificate_load", psd_certificate=certificate))
    assert rig.dispense(b"a" * 16) == first
    assert read_all(rig)[0]["indicium"] == first["indicium"]
    assert rig.ask("reprint", original=first["record"])["indicium"] == first["indicium"]


# What the newest records tell of the older ones


def test_reprints_are_counted_over_restarts_and_over_segments() -> None:
    rig = operational(1_000_000, bank=SMALL_BANK)
    made = 0
    for number in range(120):
        record = rig.dispense(postage_mills=1)["record"]
        for _ in range(number % 3):
            rig.ask("reprint", original=record)
            made += 1
        if number % 17 == 0:
            rig.power_on()
        assert rig.status()["reprint_count"] == made
    assert len(rig.storage.names()) > 5
    rig.power_on()
    assert rig.status()["reprint_count"] == made == 120
    assert rig.registers()["piece_count"] == 120
    kinds = [entry["piece_kind"] for entry in read_all(rig)]
    assert (kinds.count("standard"), kinds.count("reprint")) == (120, 120)


@pytest.mark.parametrize("afterwards", ["nothing", "a check-in", "another segment"])
def test_the_last_piece_is_remembered_over_a_restart_so_that_no_clock_goes_back_past_it(afterwards: str) -> None:
    rig = operational(bank=SMALL_BANK)
    rig.now += HOUR
    rig.dispense()
    last = rig.now
    if afterwards != "nothing":
        rig.now += HOUR
        rig.check_in()
    first = rig.storage.names()
    while afterwards == "another segment" and set(first) & set(rig.storage.names()) != {"head.seg", "last-report.seg"}:
        rig.check_in()
    rig.power_on()
    with pytest.raises(BadTime) as caught:
        rig.ask("set_time", message=rig.order("time_setting", device_time=last - 1))
    assert caught.value.detail == {"last_dispense": last}
    assert rig.ask("set_time", message=rig.order("time_setting", device_time=last))["device_time"] == last


def test_a_reprint_too_is_a_piece_that_no_clock_goes_back_past() -> None:
    rig = operational()
    record = rig.dispense()["record"]
    rig.now += HOUR
    rig.ask("reprint", original=record)
    rig.power_on()
    with pytest.raises(BadTime):
        rig.ask("set_time", message=rig.order("time_setting", device_time=rig.now - 1))


def test_a_register_that_was_emptied_without_a_withdrawal_is_not_believed() -> None:
    from pes_sim.psd import state
    from pes_sim.psd.nvram import Nvram
    from pes_sim.psd.records import Kind

    rig = operational(100_000)
    books = rig.psd._books
    forged = state.Snapshot(books.state, Registers(), books.time, 0, 0, books.chain, state.Answer())
    Nvram(rig.storage, rig.psd._keys.derive("log")).append(Kind.STATE, state.encode(forged), lambda: b"")
    rig.power_on()
    assert rig.status()["state"] == "ERROR"


# Hostile surroundings


def test_a_proof_that_was_overheard_opens_no_session_after_a_power_cycle() -> None:
    rig = operational()
    rig.power_on(log_in=False)
    nonce = rig.challenge()["nonce"]
    proof = rig.user_proof(nonce)
    rig.ask("authenticate", role="customer's meter", proof=proof)
    rig.power_on(log_in=False)
    assert rig.challenge()["nonce"] != nonce
    with pytest.raises(AuthenticationFailed):
        rig.ask("authenticate", role="customer's meter", proof=proof)


def test_a_vault_that_others_could_read_stops_the_device_until_that_is_mended(tmp_path: Path) -> None:
    class OnDisk(Rig):
        def power_on(self, *, log_in: bool = True) -> Psd:
            self.vault = FileVault(tmp_path / "vault")  # type: ignore[assignment]
            return super().power_on(log_in=log_in)

    rig = OnDisk()
    rig.initialize()
    rig.authorize()
    rig.check_in()
    (tmp_path / "vault").chmod(0o644)
    with pytest.raises(HostileDirectory, match="others may read"):
        rig.power_on()
    (tmp_path / "vault").chmod(0o600)
    rig.power_on()
    assert rig.status()["state"] == "OPERATIONAL"


def test_a_battery_failure_is_not_forgotten_over_a_request_at_an_impossible_time() -> None:
    rig = operational()
    rig.rtc = Rtc(battery_failed=True)
    rig.power_on(log_in=False)
    with pytest.raises(FieldError):
        rig.psd.execute("get_status", {}, request_id=b"", now=-1)
    assert rig.status()["lock_reasons"] == ["date fault"]


def test_a_retry_of_a_meters_request_needs_the_meters_session_again() -> None:
    rig = operational()
    first = rig.dispense(b"a" * 16)
    rig.power_on(log_in=False)
    with pytest.raises(NotAuthenticated):
        rig.dispense(b"a" * 16)
    rig.log_in()
    assert rig.dispense(b"a" * 16) == first


def test_a_retry_of_an_order_needs_neither_its_challenge_nor_a_session() -> None:
    rig = operational()
    order = rig.order("lock_order", lock_reasons=["provider lock"])
    done = rig.ask("lock", b"o" * 16, message=order)
    with pytest.raises(NothingPending):
        rig.ask("lock", message=order)
    rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=["provider lock"]))
    rig.power_on(log_in=False)
    assert rig.ask("lock", b"o" * 16, message=order) == done
    assert rig.status()["state"] == "OPERATIONAL"
    rig.challenge()
    with pytest.raises(StaleMessage):
        rig.ask("lock", message=order)


def test_a_device_whose_log_is_rotten_can_still_be_zeroized() -> None:
    storage = MemoryStorage()
    rig = operational(storage=storage)
    rig.dispense()
    for bank in (0, PAGE):
        storage.areas[storage.names()[-1]][bank + 30] ^= 1
    rig.power_on()
    assert rig.status()["state"] == "ERROR"
    assert rig.ask("zeroize")["state"] == "ZEROIZED"
    assert rig.vault.read() == b""


def test_a_zeroized_device_stays_that_though_a_self_test_fails() -> None:
    rig = operational()
    rig.ask("zeroize")
    rig.psd.fail_self_test(TestName.SHA_256)
    with contextlib.suppress(SelfTestFailed):
        rig.ask("self_test")
    assert rig.status()["state"] == "ZEROIZED"
    rig.power_on()
    assert rig.status()["state"] == "ZEROIZED"


class Unsteady(SoftwareKeyStoreNotForProduction):
    """A key store that cannot be reached now and then."""

    failing = ""

    def mac(self, slot: Slot, message: bytes) -> bytes:
        if self.failing == "mac":
            raise KeyStoreFailed("the token was pulled out")
        return super().mac(slot, message)

    def wrapped(self) -> bytes:
        if self.failing == "wrapped":
            raise KeyStoreFailed("the token was pulled out")
        return super().wrapped()


@pytest.fixture
def unsteady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices with such a key store."""
    monkeypatch.setattr("tests.rig.SoftwareKeyStoreNotForProduction", Unsteady)


@pytest.mark.usefixtures("unsteady")
def test_a_key_store_that_fails_while_a_certificate_is_loaded_leaves_the_old_key_in_use() -> None:
    rig = operational()
    point = rig.ask("renew_key", message=rig.order("key_renewal"))["public_key"]
    certificate = pki().issue_psd(point, SERIAL, CERTIFICATE_SERIAL + 1, NOON)
    message = rig.order("certificate_load", psd_certificate=certificate)
    keys = rig.psd._keys
    assert isinstance(keys, Unsteady)
    keys.failing = "wrapped"
    with pytest.raises(KeyStoreFailed):
        rig.ask("load_certificate", message=message)
    keys.failing = ""
    indicium = rig.dispense()["indicium"]
    assert layout.builtin("imi_std").unpack(indicium).values["certificate_serial"] == CERTIFICATE_SERIAL
    verify_p256(rig.made["public_key"], indicium[:50], indicium[50:])


@pytest.mark.usefixtures("unsteady")
def test_a_key_store_that_is_away_costs_the_meter_no_attempt() -> None:
    rig = operational()
    keys = rig.psd._keys
    assert isinstance(keys, Unsteady)
    keys.failing = "mac"
    for _ in range(10):
        rig.now += HOUR
        with pytest.raises(KeyStoreFailed):
            rig.log_in()
    keys.failing = ""
    rig.now += HOUR
    rig.log_in()
    rig.dispense()


def test_registers_are_read_where_only_an_older_part_of_the_log_is_missing() -> None:
    rig = operational(100_000, bank=SMALL_BANK)
    while len(rig.storage.names()) < 6:
        rig.dispense(postage_mills=1)
    known = rig.registers()
    rig.storage.remove(min(name for name in rig.storage.names() if name.startswith("log-")))
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    assert "has not acknowledged them" in rig.status()["lock_reasons"][0]
    assert rig.registers() == known


@pytest.mark.parametrize(
    ("hours", "asked", "tampered", "standing"),
    [
        (0, False, False, ("OPERATIONAL", ())),
        (73, False, False, ("OPERATIONAL", ())),  # it has not looked at its clock
        (73, True, False, ("LOCKED", ("check-in overdue",))),
        (73, True, True, ("ZEROIZED", ("tamper input",))),
    ],
)
def test_how_it_stands_can_be_seen_without_asking_it(
    hours: int, asked: bool, tampered: bool, standing: tuple[str, tuple[str, ...]]
) -> None:
    rig = operational()
    rig.now += hours * HOUR
    if asked:
        rig.status()
    if tampered:
        rig.psd.tamper()
    assert rig.psd.standing == standing
