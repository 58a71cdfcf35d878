"""The device: commit, then answer; a request id counts once; what was answered survives."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.clock import DAY, HOUR, SECOND
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import (
    BadDate,
    FieldError,
    InsufficientFunds,
    IntegrityError,
    LayoutError,
    LockedCheckinOverdue,
    MoneyError,
    RequestIdReused,
    StorageFailed,
)
from pes_sim.indicium import layout
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd.device import LOG_CHUNK, Psd
from pes_sim.psd.fields import BY_NUMBER, Values, check_all, to_names
from pes_sim.psd.keys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.nvram import PAGE
from pes_sim.psd.registers import Registers
from pes_sim.psd.services import LOG_ENTRY
from pes_sim.psd.storage import MemoryStorage
from tests.rig import CERTIFICATE_SERIAL, MASTER, SERIAL, TODAY, ZIP, Rig, operational

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
    keys = SoftwareKeyStoreNotForProduction(MASTER, SystemEntropy())
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
    with pytest.raises(LayoutError, match="needs a value for colour"):
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


def test_request_ids_are_remembered_for_a_whole_segment() -> None:
    rig = operational(10_000_000, bank=SMALL_BANK)
    per_segment = (SMALL_BANK - 3000) // 192  # a state record begins a segment; a piece takes 192 bytes
    ids = [rig.new_id() for _ in range(5 * per_segment)]
    answers = [rig.dispense(request_id) for request_id in ids]
    assert rig.dispense(ids[-per_segment]) == answers[-per_segment]
    assert len(rig.storage.names()) > 4
    rig.power_on()
    assert rig.dispense(ids[-per_segment]) == answers[-per_segment]
    assert rig.registers()["piece_count"] == len(ids)


def test_request_ids_older_than_two_segments_take_no_memory() -> None:
    rig = operational(10_000_000, bank=SMALL_BANK)
    per_segment = (SMALL_BANK - 3000) // 192
    for _ in range(8 * per_segment):
        rig.dispense()
    remembered = len(rig.psd._books._answers)
    assert per_segment <= remembered <= 2 * per_segment + 2
    rig.power_on()
    assert remembered <= len(rig.psd._books._answers) <= 2 * per_segment + 2


# Surviving


def test_everything_is_as_it_was_after_a_restart() -> None:
    rig = operational(bank=SMALL_BANK)
    for _ in range(70):
        rig.dispense(postage_mills=1)
    before, status = rig.registers(), rig.status()
    rig.power_on()
    assert rig.registers() == before
    assert rig.status() == status


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
    _, name = storage.names()
    for bank in (0, PAGE):
        storage.areas[name][bank + 30] ^= 1
    rig.power_on()
    status = rig.status()
    assert status["state"] == "ERROR"
    assert "bad in both banks" in status["lock_reasons"][0]
    assert status["log_sequence"] == 0
    for name in ("get_registers", "get_certificates"):
        with pytest.raises(IntegrityError, match="cannot be read"):
            rig.ask(name)
    with pytest.raises(IntegrityError, match="cannot be read"):
        rig.ask("read_log", first_record=1)
    with pytest.raises(IntegrityError):
        rig.dispense()


def test_rot_that_is_found_while_the_log_is_read_stops_the_device_for_good() -> None:
    storage = MemoryStorage()
    rig = operational(storage=storage)
    rig.dispense()
    rig.dispense()
    _, name = storage.names()
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
    [(Registers(0, 99_000, 100_000, 1), "not the control sum"), (Registers(0, 99_000, 99_000), "by something else")],
    ids=["unbalanced", "a control sum that fell"],
)
def test_a_state_record_that_breaks_an_invariant_is_not_believed(registers: Registers, complaint: str) -> None:
    from pes_sim.psd import state
    from pes_sim.psd.nvram import Kind, Nvram

    rig = operational(100_000)
    books = rig.psd._books
    forged = state.Snapshot(books.state, registers, books.time, books._chain, state.Answer())
    Nvram(rig.storage, rig.psd._keys.derive("log")).append(Kind.STATE, state.encode(forged), lambda: b"")
    rig.power_on()
    assert rig.status()["state"] == "ERROR"
    assert complaint in rig.status()["lock_reasons"][0]


def test_a_piece_record_that_breaks_an_invariant_is_not_believed() -> None:
    from pes_sim.psd import piece as pieces
    from pes_sim.psd.nvram import Kind, Nvram
    from pes_sim.psd.piece import Piece

    rig = operational(100_000)
    forged = Piece(bytes(16), rig.now, Registers(740, 100_000, 100_740, 1, 0), b"", b"x")
    body, _ = pieces.encode(forged, rig.psd._books._chain)
    Nvram(rig.storage, rig.psd._keys.derive("log")).append(Kind.PIECE, body, lambda: b"")
    rig.power_on()
    assert "something else than a refill" in rig.status()["lock_reasons"][0]


def test_another_master_key_reads_nothing_of_the_log() -> None:
    rig = operational()
    keys = SoftwareKeyStoreNotForProduction(bytes(32), SystemEntropy())
    psd = Psd(rig.storage, keys, entropy=SystemEntropy(), layout=layout.builtin("imi_std"))
    status = psd.execute("get_status", {}, request_id=b"", now=rig.now)
    assert status["state"] == "ERROR"
    assert "another master key" in status["lock_reasons"][0]


def test_a_wrapped_key_of_another_device_stops_this_one() -> None:
    class OtherKeys(SoftwareKeyStoreNotForProduction):
        def derive(self, purpose: str) -> bytes:
            return bytes(32) if purpose == "key wrap" else super().derive(purpose)

    rig = operational()
    keys = OtherKeys(MASTER, SystemEntropy())
    psd = Psd(rig.storage, keys, entropy=SystemEntropy(), layout=layout.builtin("imi_std"))
    status = psd.execute("get_status", {}, request_id=b"", now=rig.now)
    assert status["state"] == "ERROR"
    assert "cannot be unwrapped" in status["lock_reasons"][0]


def test_a_log_whose_chain_is_broken_is_not_believed() -> None:
    from pes_sim.psd import piece as pieces
    from pes_sim.psd.nvram import Kind, Nvram
    from pes_sim.psd.piece import Piece

    rig = operational()
    nvram = Nvram(rig.storage, rig.psd._keys.derive("log"))
    forged = Piece(bytes(16), rig.now, Registers(740, 99_260, 100_000, 1, 0), b"", b"x")
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
    assert [{name: entry[name] for name in answers[0]} for entry in entries] == answers


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
        SoftwareKeyStoreNotForProduction(MASTER, SystemEntropy()),
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
