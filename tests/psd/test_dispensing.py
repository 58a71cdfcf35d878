"""Indicia beyond the plain one: corrections and reprints, a log that is full, request ids, and the log's hash chain."""

from __future__ import annotations

import hashlib
import itertools
import struct
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pes_sim.clock import DAY, HOUR
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import (
    BadDate,
    FieldError,
    IdBeyondReach,
    InsufficientFunds,
    IntegrityError,
    Locked,
    LogFull,
    MoneyError,
    PesError,
    RefusedInState,
    RequestIdReused,
)
from pes_sim.indicium import layout
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd import fields
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values
from pes_sim.psd.piece import PieceKind
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from tests.rig import MASTER, TODAY, Rig, answer, correction, operational, piece

LAYOUT = layout.builtin("imi_std")
RECORD = b"r" * 16
NAMES = ("dispense", "redate", "correct_amount", "reprint", "dispense_batch")
"""The services that make pieces."""


def redate(rig: Rig, request_id: bytes = b"", **changes: Any) -> Values:
    return rig.ask("redate", request_id, **correction(**changes))


def correct_amount(rig: Rig, request_id: bytes = b"", **changes: Any) -> Values:
    return rig.ask("correct_amount", request_id, **piece(**changes))


def reprint(rig: Rig, original: int, request_id: bytes = b"") -> Values:
    return rig.ask("reprint", request_id, original=original)


def batch(rig: Rig, *pieces: Values) -> Values:
    return rig.ask("dispense_batch", pieces=[fields.pack(single) for single in pieces])


def log(rig: Rig) -> list[Values]:
    entries: list[Values] = []
    first = 1
    while first:
        answered = rig.ask("read_log", first_record=first)
        entries += [fields.unpack(entry) for entry in answered["entries"]]
        first = answered["next_record"]
    return entries


def registers(answered: Values) -> dict[str, int]:
    return {name: value for name, value in answered.items() if name.endswith(("_mills", "_count"))}


# Date correction


def test_a_redate_is_a_piece_of_zero_postage_and_takes_no_money() -> None:
    rig = operational(100_000)
    rig.dispense(postage_mills=740)
    before = rig.registers()
    done = redate(rig, mailing_date="2026-11-23")
    bears = LAYOUT.unpack(done["indicium"]).values
    assert (bears["postage_mills"], bears["mailing_date"], bears["piece_count"]) == (0, "2026-11-23", 2)
    assert bears["descending_mills"] == 99_260
    verify_p256(rig.made["public_key"], done["indicium"][:50], done["indicium"][50:])
    after = rig.registers()
    assert after == before | {"piece_count": 2, "zero_piece_count": 1}
    assert registers(done) == after
    assert log(rig)[-1]["piece_kind"] == "date correction"


def test_a_redate_needs_no_funds() -> None:
    rig = operational(0)
    redate(rig)
    assert rig.registers()["zero_piece_count"] == 1


@pytest.mark.parametrize("make", [redate, correct_amount, Rig.dispense])
@pytest.mark.parametrize(
    ("day", "good"),
    [("2026-11-20", False), (TODAY, True), ("2026-12-21", True), ("2026-12-22", False), ("20261121", False)],
)
def test_every_new_piece_obeys_the_same_rule_for_its_date(make: Callable[..., Values], day: str, good: bool) -> None:
    rig = operational()
    before = rig.everything()
    if good:
        make(rig, mailing_date=day)
        return
    with pytest.raises(BadDate):
        make(rig, mailing_date=day)
    assert rig.everything() == before


def test_a_redate_names_no_postage_and_a_piece_of_none_is_no_redate() -> None:
    rig = operational()
    before = rig.everything()
    with pytest.raises(FieldError):
        rig.ask("redate", **piece(postage_mills=0))
    for name in ("dispense", "correct_amount"):
        with pytest.raises(MoneyError, match="redate"):
            rig.ask(name, **piece(postage_mills=0))
    assert rig.everything() == before


# Amount correction


def test_an_amount_correction_is_debited_like_any_piece_and_logged_as_what_it_is() -> None:
    rig = operational(1_000)
    done = correct_amount(rig, postage_mills=150)
    assert rig.registers() == {
        "ascending_mills": 150, "descending_mills": 850, "control_sum_mills": 1_000, "piece_count": 1,
        "zero_piece_count": 0,
    }  # fmt: skip
    assert LAYOUT.unpack(done["indicium"]).values["postage_mills"] == 150
    assert log(rig)[-1]["piece_kind"] == "amount correction"
    with pytest.raises(InsufficientFunds):
        correct_amount(rig, postage_mills=851)


# A batch


def test_a_batch_is_so_many_pieces_in_one_write_and_each_is_logged_and_can_be_reprinted() -> None:
    rig = operational(100_000)
    alone = operational(100_000)
    done = batch(rig, piece(), piece(postage_mills=100), piece(reference=b"another"))
    one_by_one = [alone.dispense(), alone.dispense(postage_mills=100), alone.dispense(reference=b"another")]
    assert done["indicia"] == [single["indicium"] for single in one_by_one]
    assert rig.registers() == alone.registers() == registers(done)
    entries = log(rig)
    assert [entry["record"] for entry in entries] == [done["record"] + index for index in range(3)]
    assert [entry["indicium"] for entry in entries] == done["indicia"]
    for index in range(3):
        assert reprint(rig, done["record"] + index)["indicium"] == done["indicia"][index]
    rig.power_on()
    assert rig.registers() == alone.registers()


def test_of_a_batch_with_one_bad_piece_nothing_is_dispensed_and_the_refusal_names_it() -> None:
    rig = operational(1_000)
    before = rig.everything()
    refused: tuple[tuple[Values, type[PesError]], ...] = (
        (piece(postage_mills=261), InsufficientFunds),
        (piece(postage_mills=0), MoneyError),
        (piece(mailing_date="2026-11-20"), BadDate),
        (piece(reference=bytes(33)), FieldError),
        ({}, FieldError),
    )
    for bad, error in refused:
        with pytest.raises(error, match="piece 1 of the batch") as caught:
            batch(rig, piece(), bad)
        assert caught.value.detail["piece"] == 1
        assert rig.everything() == before
    with pytest.raises(FieldError, match="at least one piece"):
        batch(rig)
    batch(rig, piece(), piece(postage_mills=260))


def test_a_batch_that_the_log_has_no_room_for_is_refused_whole() -> None:
    rig = with_room_for(3)
    before = rig.everything()
    with pytest.raises(LogFull):
        batch(rig, *[piece()] * 4)
    assert rig.everything() == before
    batch(rig, *[piece()] * 3)


# Reprint


@pytest.mark.parametrize("make", [Rig.dispense, redate, correct_amount])
def test_a_reprint_is_the_same_indicium_again_and_neither_a_piece_nor_a_debit(make: Callable[..., Values]) -> None:
    rig = operational()
    first = make(rig)
    rig.dispense()
    before = rig.registers()
    rig.now += HOUR
    done = reprint(rig, first["record"])
    assert done["indicium"] == first["indicium"]
    assert (rig.registers(), registers(done)) == (before, before)
    assert rig.status()["reprint_count"] == 1
    entry = log(rig)[-1]
    assert (entry["piece_kind"], entry["original"], entry["record"]) == ("reprint", first["record"], done["record"])
    assert entry["indicium"] == first["indicium"]
    assert entry["device_time"] == rig.now
    assert registers(entry) == before


def test_reprints_are_counted_over_restarts() -> None:
    rig = operational(bank=8192)
    original = rig.dispense()["record"]
    for count in range(1, 40):
        reprint(rig, original)
        if count % 7 == 0:
            rig.power_on()
        assert rig.status()["reprint_count"] == count
    assert rig.registers()["piece_count"] == 1


def test_a_reprint_after_the_licence_has_changed_is_still_the_same_indicium() -> None:
    rig = operational()
    first = rig.dispense()
    rig.ask("reauthorize", message=rig.order(
        "reauthorization", licensing_zip="10001", customer="MOVED", utc_offset_minutes=0))  # fmt: skip
    assert reprint(rig, first["record"])["indicium"] == first["indicium"]


def test_there_is_no_reprint_of_a_reprint() -> None:
    rig = operational()
    original = rig.dispense()["record"]
    again = reprint(rig, original)["record"]
    before = rig.everything()
    with pytest.raises(IdBeyondReach, match=f"is a reprint itself. Reprint the piece: record {original}"):
        reprint(rig, again)
    assert rig.everything() == before


def test_there_is_no_reprint_of_what_is_no_piece() -> None:
    rig = operational()
    newest = rig.dispense()["record"]
    before = rig.everything()
    for number in (0, 1, newest - 1, newest + 1, 1_000_000, (1 << 63) - 1):
        with pytest.raises(IdBeyondReach, match="is no piece that the log still holds"):
            reprint(rig, number)
    assert rig.everything() == before


def test_there_is_no_reprint_after_the_date_that_the_piece_bears() -> None:
    rig = operational()
    today, later = rig.dispense()["record"], rig.dispense(mailing_date="2026-11-22")["record"]
    rig.now += 12 * HOUR - 1
    reprint(rig, today)
    rig.now += 1
    before = rig.everything()
    with pytest.raises(BadDate, match=f"dated {TODAY}, and today is 2026-11-22. Redate it instead"):
        reprint(rig, today)
    assert rig.everything() == before
    reprint(rig, later)


def test_a_locked_device_reprints_nothing() -> None:
    rig = operational()
    original = rig.dispense(mailing_date="2026-12-21")["record"]
    rig.now += 73 * HOUR
    with pytest.raises(Locked):
        reprint(rig, original)


@pytest.mark.parametrize("name", NAMES)
def test_while_a_withdrawal_is_under_way_nothing_is_dispensed(name: str) -> None:
    rig = operational()
    request = request_for(name, rig.dispense()["record"])
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    before = rig.everything()
    with pytest.raises(RefusedInState, match="sub-state WITHDRAWAL_PENDING") as caught:
        rig.ask(name, **request)
    assert caught.value.detail == {"state": "WITHDRAWAL_PENDING"}
    assert rig.everything() == before
    rig.ask("withdraw_complete", message=answer("withdrawal_refusal", asked, reason="not now"))
    rig.ask(name, **request)


# A log that is full


def with_room_for(records: int) -> Rig:
    """A device whose log is full after so many records more."""
    rig = operational()
    acknowledged = 4  # what the first check-in reported: made, licensed, and the two records of a login
    rig.options = {"log_limit": rig.status()["log_sequence"] + 2 + records - acknowledged}
    rig.power_on()
    return rig


def request_for(name: str, original: int) -> Values:
    if name == "reprint":
        return {"original": original}
    if name == "dispense_batch":
        return {"pieces": [fields.pack(piece())]}
    return correction() if name == "redate" else piece()


@pytest.mark.parametrize("name", NAMES)
def test_a_full_log_stops_every_kind_of_piece_and_a_check_in_clears_it(name: str) -> None:
    rig = with_room_for(3)
    limit = rig.options["log_limit"]
    original = rig.dispense()["record"]
    for _ in range(2):
        rig.dispense()
    before = rig.everything()
    with pytest.raises(LogFull, match=f"{limit} records wait for the provider's acknowledgement") as caught:
        rig.ask(name, **request_for(name, original))
    assert caught.value.detail == {"waiting": limit}
    assert "check-in" in caught.value.hint
    assert rig.everything() == before
    rig.power_on()
    with pytest.raises(LogFull):
        rig.ask(name, **request_for(name, original))
    rig.check_in()
    rig.ask(name, **request_for(name, original))


def test_a_full_log_still_answers_a_retry_and_takes_a_refill() -> None:
    rig = with_room_for(1)
    done = rig.dispense(RECORD)
    with pytest.raises(LogFull):
        rig.dispense()
    assert rig.dispense(RECORD) == done
    rig.refill(1_000)


def test_a_check_in_acknowledges_what_it_reported_and_no_more() -> None:
    rig = with_room_for(6)
    report = rig.report()
    for _ in range(5):
        rig.dispense()
    with pytest.raises(LogFull):
        rig.dispense()
    rig.ask("checkin_complete", message=rig.receipt(report))
    left = rig.options["log_limit"] - (rig.status()["log_sequence"] - report["log_sequence"])
    for _ in range(left):
        rig.dispense()
    with pytest.raises(LogFull):
        rig.dispense()


# Request ids


@pytest.mark.parametrize("name", NAMES)
def test_a_retry_gets_the_same_bytes_also_after_a_restart(name: str) -> None:
    rig = operational()
    request = request_for(name, rig.dispense()["record"])
    first = rig.ask(name, RECORD, **request)
    before = rig.everything()
    reprints = rig.status()["reprint_count"]
    assert rig.ask(name, RECORD, **request) == first
    rig.power_on()
    assert rig.ask(name, RECORD, **request) == first
    rig.now += 40 * DAY
    assert rig.ask(name, RECORD, **request) == first
    assert rig.registers() == before[0]
    assert rig.status()["reprint_count"] == reprints


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(NAMES, 2)))
def test_a_request_id_does_not_serve_two_services(first: str, second: str) -> None:
    rig = operational()
    original = rig.dispense()["record"]
    rig.ask(first, RECORD, **request_for(first, original))
    before = rig.everything()
    with pytest.raises(RequestIdReused):
        rig.ask(second, RECORD, **request_for(second, original))
    with pytest.raises(RequestIdReused):
        rig.ask("refill_begin", RECORD, amount_mills=740)
    assert rig.everything() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_request_id_does_not_serve_two_requests(name: str) -> None:
    rig = operational()
    original = rig.dispense()["record"]
    request = request_for(name, original)
    rig.ask(name, RECORD, **request)
    others = {
        "reprint": {"original": original + 1},
        "dispense_batch": {"pieces": [fields.pack(piece(weight=101))]},
    }
    other = others.get(name, request | {"weight": 101})
    before = rig.everything()
    with pytest.raises(RequestIdReused):
        rig.ask(name, RECORD, **other)
    assert rig.everything() == before


# The hash chain, as an outsider works it out

_CODES = {"standard": 0, "date correction": 1, "amount correction": 2, "reprint": 3}


def chain_after(chain: bytes, entry: Values) -> bytes:
    """The chain after an entry of `read_log`, from the chain before it (at first 32 bytes of zeros):

        SHA-256(chain || content), where content is, little-endian,
        kind (1 byte: 0 standard, 1 date correction, 2 amount correction, 3 reprint) || request id (16) ||
        device time (8) || original (8) || AR (8) || DR (8) || control sum (8) || piece count (8) || zero pieces (8) ||
        length of the reference (1) || length of the signed part (1) || length of the signature (1) ||
        reference || signed part of the indicium || signature

    The signature is as long as the layout says; the signed part is what stands before it.
    """
    length = LAYOUT.signature.length
    signed, signature = entry["indicium"][:-length], entry["indicium"][-length:]
    content = struct.pack(
        "<B16sQQQIQIIBBB",
        _CODES[entry["piece_kind"]], entry["request_id"], entry["device_time"], entry["original"],
        entry["ascending_mills"], entry["descending_mills"], entry["control_sum_mills"], entry["piece_count"],
        entry["zero_piece_count"], len(entry["reference"]), len(signed), len(signature),
    )  # fmt: skip
    return hashlib.sha256(chain + content + entry["reference"] + signed + signature).digest()


def mixed(rig: Rig) -> None:
    """Some of everything, over restarts, check-ins and refills."""
    for number in range(30):
        record = rig.dispense(postage_mills=1 + number, reference=bytes(number))["record"]
        if number % 3 == 0:
            reprint(rig, record)
        if number % 5 == 0:
            redate(rig)
        if number % 7 == 0:
            correct_amount(rig)
            batch(rig, piece(), piece(reference=b"batch"))
        if number % 11 == 0:
            rig.check_in()
            rig.refill(1_000)
            rig.power_on()


def test_an_outsider_works_the_chain_out_from_the_log_alone_and_finds_what_the_device_signs() -> None:
    rig = operational(1_000_000)
    mixed(rig)
    chain = bytes(32)
    entries = log(rig)
    assert {entry["piece_kind"] for entry in entries} == {kind.label for kind in PieceKind}
    for entry in entries:
        chain = chain_after(chain, entry)
        assert entry["chain"] == chain
    assert rig.report()["chain"] == chain


@pytest.mark.parametrize(
    "change",
    [{"ascending_mills": 1}, {"request_id": bytes(16)}, {"device_time": 1}, {"reference": b"another"},
     {"piece_kind": "amount correction"}, {"original": 1}, {"zero_piece_count": 9}],
)  # fmt: skip
def test_a_changed_entry_shows_in_the_chain(change: Values) -> None:
    rig = operational()
    rig.dispense()
    (entry,) = log(rig)
    assert chain_after(bytes(32), entry) == entry["chain"]
    assert chain_after(bytes(32), entry | change) != entry["chain"]


# What the layout is signed with


def test_a_curve_that_the_layout_is_not_signed_with_is_refused() -> None:
    rig = Rig(curve="P-224")
    with pytest.raises(FieldError, match="the layout is signed with P-256, not P-224"):
        rig.initialize()
    assert rig.status()["state"] == "UNINITIALIZED"
    rig.how_made["curve"] = "P-521"
    with pytest.raises(FieldError, match="field curve must be one of P-256, P-224"):
        rig.initialize()
    rig.how_made["curve"] = "P-256"
    rig.initialize()


def test_a_layout_that_is_signed_on_p_224_makes_a_device_with_such_a_key() -> None:
    document = tomllib.loads((Path(layout.__file__).parent / "layouts" / "imi_std.toml").read_text())
    signature = document["signature"] | {"scheme": "ecdsa-p224-sha256", "length": 56}
    rig = Rig()
    keys = SoftwareKeyStoreNotForProduction(MASTER, SeededEntropy("keys"), rig.vault)
    made = layout.Layout(document | {"signature": signature}, "vendor.toml")
    rig.psd = Psd(rig.storage, keys, entropy=SeededEntropy("device"), layout=made)
    with pytest.raises(FieldError, match="the layout is signed with P-224, not P-256"):
        rig.initialize()
    rig.how_made["curve"] = "P-224"
    answered = rig.initialize()
    assert (len(answered["public_key"]), len(answered["message_key"])) == (57, 65)
    assert rig.ask("get_info")["curve"] == "P-224"


def test_a_record_of_a_kind_that_is_not_known_stops_the_device() -> None:
    from pes_sim.psd import piece as pieces

    with pytest.raises(IntegrityError, match="a piece record of kind 4"):
        pieces.decode(b"\4" + bytes(107))
