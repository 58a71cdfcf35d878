"""A medium that fails on request: each kind of fault does what it says, once, and the device stands all of them."""

from __future__ import annotations

import contextlib

import pytest

from pes_sim.errors import PesError, StorageFailed, StorageFull, UsageError
from pes_sim.psd.faults import MEANING, Fault, FaultKind, FaultyStorage, PowerCut
from pes_sim.psd.head import PAGE
from pes_sim.psd.storage import MemoryStorage
from tests.psd.test_failed_writes import check_books
from tests.rig import Rig, operational, piece

BANK = 32768
AREA = "log.seg"
CUTS = (FaultKind.CUT, FaultKind.CUT_KEPT, FaultKind.CUT_REORDERED, FaultKind.TEAR)
REQUEST = bytes(15) + b"\x63"


def medium(*faults: str) -> tuple[FaultyStorage, MemoryStorage]:
    """A medium with one area of eight bytes (operation 1), and what is behind its cache."""
    inner = MemoryStorage()
    made = FaultyStorage(inner, map(Fault.parse, faults))
    made.create(AREA, 8)
    return made, inner


def fill(storage: FaultyStorage) -> None:
    """Operations 2 to 5."""
    storage.write(AREA, 0, b"AA")
    storage.write(AREA, 2, b"BB")
    storage.sync(AREA)
    storage.write(AREA, 4, b"CC")


def test_without_a_fault_it_is_a_medium_whose_cache_is_read_through() -> None:
    storage, inner = medium()
    fill(storage)
    storage.write(AREA, 5, b"DDD")
    assert storage.read(AREA, 0, 8) == b"AABBCDDD"
    assert storage.read(AREA, 4, 3) == b"CDD"
    assert bytes(inner.areas[AREA]) == b"AABB\0\0\0\0"
    storage.create("other.seg", 4)
    storage.sync("other.seg")
    assert bytes(inner.areas[AREA]) == b"AABB\0\0\0\0"  # a sync is one area's
    storage.sync(AREA)
    assert bytes(inner.areas[AREA]) == b"AABBCDDD"
    assert (storage.names(), storage.size(AREA), storage.operations) == ([AREA, "other.seg"], 8, 9)
    storage.write(AREA, 0, b"gone")
    storage.remove(AREA)
    storage.create(AREA, 4)
    assert storage.read(AREA, 0, 4) == bytes(4)
    storage.close()


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        ("cut@3", b"\0\0\0\0"),
        ("cut-kept@3", b"AA\0\0"),
        ("cut@4", b"\0\0\0\0"),
        ("cut-kept@4", b"AABB"),
        ("cut-reordered@4", b"\0\0BB"),
        ("tear@3:1", b"AAB\0"),
        ("tear@3", b"AA\0\0"),
        ("tear@4:1", b"AABB"),
        ("cut@5", b"AABB"),
    ],
)
def test_a_cut_leaves_what_it_says_and_then_nothing_answers_until_the_power_is_back(fault: str, left: bytes) -> None:
    storage, inner = medium(fault)
    with pytest.raises(PowerCut):
        fill(storage)
    assert bytes(inner.areas[AREA][:4]) == left
    for ask in (
        storage.names,
        lambda: storage.size(AREA),
        lambda: storage.read(AREA, 0, 1),
        lambda: storage.sync(AREA),
        lambda: storage.write(AREA, 0, b"x"),
        lambda: storage.create(AREA, 1),
        lambda: storage.remove(AREA),
    ):
        with pytest.raises(PowerCut):
            ask()
    storage.power_on()
    assert storage.read(AREA, 0, 4) == left
    fill(storage)  # once is enough
    assert storage.read(AREA, 0, 6) == b"AABBCC"


def test_a_dropped_sync_shows_at_the_next_cut_only() -> None:
    for fault, left in (("cut@5", b"\0\0\0\0"), ("cut-kept@5", b"AABB")):
        storage, inner = medium("drop-sync@2", fault)
        with pytest.raises(PowerCut):
            fill(storage)
        assert bytes(inner.areas[AREA][:4]) == left
    storage, inner = medium("drop-sync@2")
    fill(storage)
    storage.sync(AREA)
    assert bytes(inner.areas[AREA]) == b"AABBCC\0\0"


def test_rot_changes_one_bit_of_one_write() -> None:
    storage, _ = medium("rot@3:9")
    fill(storage)
    assert storage.read(AREA, 0, 6) == b"AAB@CC"
    storage, _ = medium("rot@1:16")
    storage.write(AREA, 0, b"")
    fill(storage)
    assert storage.read(AREA, 0, 6) == b"@ABBCC"


def test_an_error_comes_once_with_the_work_done_or_not() -> None:
    for fault, left in (("eio@3", b"AA\0\0"), ("eio-written@3", b"AABB")):
        storage, _ = medium(fault)
        with pytest.raises(StorageFailed, match=r"operation 3 of the medium failed \(a fault that was asked for\)"):
            fill(storage)
        assert storage.read(AREA, 0, 4) == left
        fill(storage)


def test_a_full_medium_takes_no_new_area_until_there_is_room() -> None:
    storage, _ = medium("full@2")
    fill(storage)
    for _ in range(2):
        with pytest.raises(StorageFull, match="no room on the medium"):
            storage.create("other.seg", 4)
    storage.make_room()
    storage.create("other.seg", 4)


def test_a_worn_out_medium_can_be_read_and_nothing_else() -> None:
    storage, _ = medium("wear@3")
    for _ in range(2):
        with pytest.raises(StorageFailed, match="worn out"):
            fill(storage)
    assert storage.read(AREA, 0, 4) == b"AA\0\0"


def test_a_fault_can_be_added_while_it_works() -> None:
    storage, _ = medium()
    fill(storage)
    storage.add(Fault(FaultKind.EIO))
    with pytest.raises(StorageFailed, match="operation 6"):
        storage.sync(AREA)


def test_a_fault_is_written_as_text() -> None:
    assert Fault.parse("tear@120:17") == Fault(FaultKind.TEAR, 120, 17)
    assert Fault.parse("eio") == Fault(FaultKind.EIO, 1, 0)
    assert set(MEANING) == set(FaultKind)


@pytest.mark.parametrize("text", ["", "cuts", "cut@", "cut@0", "cut@00", "cut@-1", "cut:", "cut@1:x", "cut@1 ", "CUT@1",
                                  "cut@9999999999", "cut@\N{ARABIC-INDIC DIGIT ONE}"])  # fmt: skip
def test_any_other_text_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError, match="is no storage fault") as caught:
        Fault.parse(text)
    assert "cut-reordered, tear" in caught.value.hint


def test_a_page_that_cannot_be_read_stays_so_until_the_whole_of_it_is_written() -> None:
    storage = FaultyStorage(MemoryStorage(), [Fault(FaultKind.UNREADABLE, 3)])
    storage.create(AREA, 3 * PAGE)
    storage.write(AREA, 0, b"one")
    storage.write(AREA, PAGE + 5, b"two")  # operation 3
    storage.write(AREA, PAGE + 9, b"more")
    for offset, length in ((PAGE, 1), (PAGE - 1, 2), (2 * PAGE - 1, 1), (0, 3 * PAGE)):
        with pytest.raises(StorageFailed, match="cannot read"):
            storage.read(AREA, offset, length)
    assert storage.read(AREA, 0, PAGE)[:3] == b"one"
    assert storage.read(AREA, 2 * PAGE, PAGE) == bytes(PAGE)
    storage.write(AREA, PAGE - 1, bytes(PAGE))
    with pytest.raises(StorageFailed):
        storage.read(AREA, PAGE, 1)
    storage.write(AREA, PAGE - 1, bytes(PAGE + 1))
    assert storage.read(AREA, PAGE, 1) == b"\0"
    storage.add(Fault(FaultKind.UNREADABLE))
    storage.write(AREA, 0, b"x")
    storage.remove(AREA)
    storage.create(AREA, 4)
    assert storage.read(AREA, 0, 4) == bytes(4)


def asked(number: int) -> bytes:
    """A request id."""
    return b"asked" + number.to_bytes(11, "big")


def served(*faults: Fault) -> tuple[Rig, FaultyStorage]:
    """A device in service on such a medium; the faults count from here."""
    storage = FaultyStorage(MemoryStorage())
    rig = operational(100_000, storage=storage, bank=BANK, profile="FIPS 140-3")
    for fault in faults:
        storage.add(Fault(fault.kind, storage.operations + fault.at, fault.k))
    return rig, storage


@pytest.mark.parametrize("kind", CUTS)
def test_a_cut_at_any_operation_of_a_row_of_debits_is_made_good_by_the_retry(kind: FaultKind) -> None:
    for at in range(1, 130, 3 if kind is FaultKind.TEAR else 1):
        rig, storage = served(Fault(kind, at, 100))
        delivered: list[bytes] = []
        with contextlib.suppress(PowerCut):
            while True:
                delivered.append(rig.dispense(asked(len(delivered)))["indicium"])
        storage.power_on()
        rig.power_on()
        count = len(delivered)
        assert rig.registers()["piece_count"] in (count, count + 1)
        delivered.append(rig.dispense(asked(count))["indicium"])
        assert rig.registers()["piece_count"] == count + 1
        assert [rig.dispense(asked(number))["indicium"] for number in range(count + 1)] == delivered
        check_books(rig)


@pytest.mark.parametrize("kind", sorted(set(FaultKind) - set(CUTS) - {FaultKind.DROP_SYNC}))
def test_any_other_fault_loses_no_piece_that_was_answered(kind: FaultKind) -> None:
    for at in range(1, 130, 2):
        rig, _ = served(Fault(kind, at, 333))
        delivered = {}
        for number in range(1, 60):
            with contextlib.suppress(PesError):
                delivered[number] = rig.dispense(asked(number), postage_mills=1)["indicium"]
        check_books(rig)
        rig.psd._books._nvram._storage.make_room()  # type: ignore[union-attr]
        rig.power_on(log_in=kind is not FaultKind.WEAR)
        assert rig.registers()["piece_count"] - len(delivered) in (0, 1)
        if kind is not FaultKind.WEAR:
            check_books(rig)
            for number, indicium in delivered.items():
                assert rig.dispense(asked(number), postage_mills=1)["indicium"] == indicium


def test_a_medium_that_lies_about_a_sync_loses_a_piece_that_was_given_out() -> None:
    """No device can prevent it. Here it can be had on purpose: does whatever watches the meter find out?"""
    rig, storage = served(Fault(FaultKind.DROP_SYNC, 1), Fault(FaultKind.CUT, 4))
    rig.dispense(REQUEST)
    with pytest.raises(PowerCut):
        rig.dispense()
    storage.power_on()
    rig.power_on()
    assert rig.registers()["piece_count"] == 0
    check_books(rig)


def test_wear_leaves_a_device_that_says_so_and_can_be_read() -> None:
    rig, _ = served(Fault(FaultKind.WEAR, 4))
    rig.dispense(REQUEST)
    for _ in range(2):
        with pytest.raises(StorageFailed, match="worn out"):
            rig.ask("dispense", **piece())
    assert rig.registers()["piece_count"] == 1
    assert rig.status()["state"] == "OPERATIONAL"


def test_a_medium_that_can_only_be_read_is_opened_mended_or_not() -> None:
    """A copy torn by the wear itself, and a segment that was just being begun."""
    for at in range(1, 260):
        rig, _ = served(Fault(FaultKind.WEAR, at))
        with contextlib.suppress(StorageFailed):
            while True:
                rig.dispense(postage_mills=1)
        before = rig.registers()
        rig.power_on(log_in=False)
        assert rig.status()["state"] == "OPERATIONAL"
        assert rig.registers()["piece_count"] - before["piece_count"] in (0, 1)


def test_a_cut_between_two_operations_takes_what_was_not_synced() -> None:
    storage, inner = medium()
    fill(storage)
    storage.cut()
    assert (storage.powered, storage.cut_at, storage.operations) == (False, 5, 5)
    with pytest.raises(PowerCut):
        storage.read(AREA, 0, 1)
    storage.power_on()
    assert storage.read(AREA, 0, 6) == bytes(inner.areas[AREA][:6]) == b"AABB\0\0"


@pytest.mark.parametrize("text", ["cut@7", "tear@3:100", "wear@2"])
def test_the_faults_that_are_left_can_be_told_and_mended(text: str) -> None:
    storage, _ = medium("eio@3", text)
    assert [str(fault) for fault in storage.faults] == ["eio@3", text]
    storage.mend()
    assert storage.faults == ()
    fill(storage)
    storage.sync(AREA)
