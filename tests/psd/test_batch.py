"""A batch: several pieces in one durable write, all of them or none, and each of them a piece like any other."""

from __future__ import annotations

from typing import Any

import pytest

from pes_sim.errors import BadDate, FieldError, InsufficientFunds, LogFull, RequestIdReused, Status, StorageFull
from pes_sim.indicium import layout
from pes_sim.indicium.signature import verify_p256
from pes_sim.link import message
from pes_sim.link.bare import BarePsd
from pes_sim.link.device import DeviceSession
from pes_sim.link.frame import Frame, Framer, encode
from pes_sim.psd.fields import Values, pack, unpack
from pes_sim.psd.lifecycle import State
from pes_sim.psd.services import BY_NAME
from pes_sim.psd.storage import MemoryStorage
from tests.rig import Rig, operational, piece

ID = b"b" * 16


def pieces(*postages: int, **changes: Any) -> list[bytes]:
    return [pack(piece(postage_mills=postage, **changes)) for postage in postages]


def dispense(rig: Rig, batch: list[bytes], request_id: bytes = ID) -> dict[str, Any]:
    return rig.ask("dispense_batch", request_id, pieces=batch)


def log(rig: Rig, first: int = 1) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while first:
        answer = rig.ask("read_log", first_record=first)
        entries += map(unpack, answer["entries"])
        first = answer["next_record"]
    return entries


class Counting(MemoryStorage):
    """Counts the syncs."""

    syncs = 0

    def sync(self, name: str) -> None:
        self.syncs += 1


def test_each_piece_has_its_own_indicium_counts_and_number_and_there_is_one_sync() -> None:
    storage = Counting()
    rig = operational(10_000, storage=storage)
    before, first = storage.syncs, rig.status()["log_sequence"] + 1
    answer = dispense(rig, pieces(740, 1030, 610))
    assert storage.syncs == before + 1
    assert (answer["record"], rig.status()["log_sequence"]) == (first, first + 2)
    read = [layout.builtin("imi_std").unpack(indicium) for indicium in answer["indicia"]]
    assert [r.values["postage_mills"] for r in read] == [740, 1030, 610]
    assert [r.values["piece_count"] for r in read] == [1, 2, 3]
    assert [r.values["ascending_mills"] for r in read] == [740, 1770, 2380]
    for r in read:
        verify_p256(rig.made["public_key"], r.signed, r.signature)
    assert rig.registers() == {
        "ascending_mills": 2380, "descending_mills": 7620, "control_sum_mills": 10_000, "piece_count": 3,
        "zero_piece_count": 0,
    }  # fmt: skip


def test_a_retry_gets_the_same_indicia_and_pays_nothing_also_after_a_restart() -> None:
    rig = operational()
    first = dispense(rig, pieces(740, 741))
    assert dispense(rig, pieces(740, 741)) == first
    rig.power_on()
    assert dispense(rig, pieces(740, 741)) == first
    assert rig.registers()["piece_count"] == 2


@pytest.mark.parametrize("other", [pieces(740), pieces(741, 740), pieces(740, 741, 742), pieces(740, 741, weight=99)])
def test_the_same_id_with_another_batch_is_refused(other: list[bytes]) -> None:
    rig = operational()
    dispense(rig, pieces(740, 741))
    with pytest.raises(RequestIdReused):
        dispense(rig, other)
    with pytest.raises(RequestIdReused):
        rig.dispense(ID)
    assert rig.registers()["piece_count"] == 2


def test_an_id_of_a_single_piece_serves_no_batch() -> None:
    rig = operational()
    rig.dispense(ID, postage_mills=740)
    with pytest.raises(RequestIdReused):
        dispense(rig, pieces(740))


def test_one_bad_piece_and_none_is_paid_and_the_refusal_says_which() -> None:
    rig = operational(2000)
    bad = [
        (pieces(740) + pieces(740, mailing_date="2026-11-20"), BadDate),
        (pieces(740, 740, 740), InsufficientFunds),
        ([*pieces(740), b"\xa0"], FieldError),
        ([*pieces(740), b"\xff"], FieldError),
        (pieces(740, 0), Exception),
    ]
    before = rig.everything()
    for batch, kind in bad:
        with pytest.raises(kind, match=f"piece {len(batch) - 1} of the batch") as caught:
            dispense(rig, batch, rig.new_id())
        assert caught.value.detail["piece"] == len(batch) - 1  # type: ignore[attr-defined]
    with pytest.raises(FieldError, match="at least one"):
        dispense(rig, [])
    assert rig.everything() == before


def test_pieces_of_a_batch_stand_in_the_log_like_any_other_and_can_be_read_from_the_middle() -> None:
    rig = operational()
    rig.dispense()
    batch = dispense(rig, pieces(*range(1, 13)))
    rig.dispense()
    for _again in range(2):
        entries = log(rig)
        assert [e["piece_count"] for e in entries] == list(range(1, 15))
        assert [e["indicium"] for e in entries[1:13]] == batch["indicia"]
        assert len({e["chain"] for e in entries}) == 14
        assert [e["record"] for e in log(rig, batch["record"] + 5)] == [e["record"] for e in entries[6:]]
        rig.power_on()


def test_a_piece_of_a_batch_can_be_printed_again() -> None:
    rig = operational()
    batch = dispense(rig, pieces(1, 2, 3))
    again = rig.ask("reprint", original=batch["record"] + 1)
    assert again["indicium"] == batch["indicia"][1]
    assert rig.registers()["piece_count"] == 3


def test_a_batch_of_a_hundred_fits_and_does_not_stop_at_a_segments_end() -> None:
    rig = operational(10_000_000, bank=32768)
    for number in range(1, 6):
        dispense(rig, pieces(*[1] * 100), rig.new_id())
        rig.power_on()
        assert rig.registers()["piece_count"] == 100 * number
    assert len(log(rig)) == 500
    assert rig.status()["state"] is not State.ERROR


def test_a_batch_that_no_segment_holds_is_refused_and_paid_by_nobody() -> None:
    rig = operational(10_000_000, bank=8192)
    before = rig.registers()
    with pytest.raises(StorageFull, match="does not fit"):
        dispense(rig, pieces(*[1] * 100))
    assert rig.registers() == before
    rig.power_on()
    assert rig.registers() == before
    rig.dispense()


def test_a_full_log_takes_no_batch_that_is_longer_than_what_is_left() -> None:
    rig = operational()
    rig.check_in()
    rig.options["log_limit"] = 10
    rig.power_on()
    free = 6  # the report, its receipt and the login are not acknowledged yet
    with pytest.raises(LogFull, match="4 records wait"):
        dispense(rig, pieces(*[1] * (free + 1)))
    dispense(rig, pieces(*[1] * free))
    with pytest.raises(LogFull):
        rig.dispense()


@pytest.mark.parametrize("kept", range(0, 1200, 97))
def test_a_torn_batch_is_none_at_all(kept: int) -> None:
    rig = operational()
    storage = rig.storage
    assert isinstance(storage, MemoryStorage)
    before, areas = rig.registers(), {name: bytes(area) for name, area in storage.areas.items()}
    dispense(rig, pieces(1, 2, 3, 4, 5))
    for name, area in storage.areas.items():
        old = bytearray(areas[name])
        changed = [at for at in range(len(area)) if area[at] != old[at]]
        for at in changed[:kept]:
            old[at] = area[at]
        storage.areas[name] = old
    rig.power_on()
    assert rig.status()["state"] == "OPERATIONAL"
    assert rig.registers()["piece_count"] in (0, 5)
    if rig.registers()["piece_count"] == 0:
        assert rig.registers() == before
    assert len(dispense(rig, pieces(1, 2, 3, 4, 5))["indicia"]) == 5
    assert rig.registers()["piece_count"] == 5


# Over the line


def over_the_line(rig: Rig, batch: object, max_frame: int = 4096) -> Frame:
    """The answer to a batch, from a session that has agreed on frames of this length."""
    session = DeviceSession(BarePsd(rig.psd))
    asked: Values = {"lowest_version": 1, "highest_version": 1, "max_frame": max_frame}
    session.receive(encode(message.request(message.HELLO, asked, ID)), rig.now)
    line = session.receive(encode(message.request(BY_NAME["dispense_batch"], {"pieces": batch}, ID)), rig.now)
    (answer,) = Framer().feed(line)
    assert isinstance(answer, Frame)
    return answer


@pytest.mark.parametrize(("max_frame", "most"), [(2048, 14), (4096, 29)])
def test_a_batch_whose_answer_no_frame_holds_is_refused_before_anything_is_paid(max_frame: int, most: int) -> None:
    rig = operational()
    refusal = message.read_refusal(over_the_line(rig, pieces(*[1] * (most + 1)), max_frame))
    assert (refusal.status, refusal.detail["most"]) == (Status.ANSWER_TOO_LONG, most)
    assert rig.registers()["piece_count"] == 0
    answer = over_the_line(rig, pieces(*[1] * most), max_frame)
    assert answer.status == Status.OK
    assert len(message.read_values(answer)["indicia"]) == most


def test_a_batch_that_is_no_list_is_a_bad_field() -> None:
    assert over_the_line(operational(), b"x").status == Status.BAD_FIELD
