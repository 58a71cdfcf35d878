"""The log: whatever a cut or rot does to it, it opens as it was before the last append or after it, or it stops."""

from __future__ import annotations

import hmac
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.errors import IntegrityError, StorageFailed, StorageFull
from pes_sim.psd.head import PAGE
from pes_sim.psd.nvram import Nvram
from pes_sim.psd.records import ALIGN, Kind, Record
from pes_sim.psd.storage import MemoryStorage

KEY = b"k" * 32
BANK = 1024
"""Small: a segment holds a handful of records, so that tests roll over often."""
FIRST = "log-0000000000000001.seg"
HEAD = "head.seg"


def segments(storage: MemoryStorage) -> list[str]:
    """The log's segments, without the head."""
    return [name for name in storage.names() if name != HEAD]


def opened(storage: MemoryStorage, key: bytes = KEY) -> Nvram:
    return Nvram(storage, key, BANK)


def append(nvram: Nvram, number: int, kind: Kind = Kind.PIECE) -> Record:
    return nvram.append(kind, f"body {number}".encode(), lambda: f"state before {number}".encode())


def filled(count: int) -> MemoryStorage:
    storage = MemoryStorage()
    nvram = opened(storage)
    append(nvram, 0, Kind.STATE)
    for number in range(1, count):
        append(nvram, number)
    return storage


def bodies(storage: MemoryStorage) -> list[str]:
    """Bodies of pieces and asked-for states, oldest first, as a fresh opening reads them."""
    nvram = opened(storage)
    found = [record.body.decode() for record in nvram.read_from(1)]
    return [body for body in found if body.startswith("body")]


def copy(storage: MemoryStorage) -> MemoryStorage:
    other = MemoryStorage()
    other.areas = {name: bytearray(area) for name, area in storage.areas.items()}
    return other


def test_a_blank_storage_is_an_empty_log() -> None:
    nvram = opened(MemoryStorage())
    assert (nvram.sequence, nvram.take_recovered(), list(nvram.read_from(1))) == (0, [], [])


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 60])
def test_what_was_appended_is_read_again_in_order_whatever_the_number_of_segments(count: int) -> None:
    storage = filled(count)
    assert bodies(storage) == [f"body {number}" for number in range(count)]
    nvram = opened(storage)
    append(nvram, count)
    assert bodies(storage)[-1] == f"body {count}"


def test_a_segment_is_filled_to_its_last_byte() -> None:
    assert [len(segments(filled(count))) for count in (15, 16, 17)] == [1, 1, 2]
    storage = MemoryStorage()
    body = bytes(BANK - 16 - 16)
    assert opened(storage).append(Kind.STATE, body, lambda: b"").span == BANK
    assert [record.body for record in opened(storage).take_recovered()] == [body]


def test_a_piece_that_fills_what_the_state_leaves_of_a_new_segment_just_fits() -> None:
    for more in (0, 1):
        nvram = opened(MemoryStorage())
        append(nvram, 0, Kind.STATE)
        nvram.append(Kind.PIECE, bytes(BANK - ALIGN - 32), lambda: b"")  # fills the first segment
        largest = bytes(BANK - ALIGN - 32 + more)
        if more:
            with pytest.raises(StorageFull, match="does not fit a bank"):
                nvram.append(Kind.PIECE, largest, lambda: b"a state")
        else:
            assert nvram.append(Kind.PIECE, largest, lambda: b"a state").offset == ALIGN


@pytest.mark.parametrize(("count", "recovered"), [(16, 16), (17, 18), (31, 32), (32, 18)])
def test_opening_gives_the_newest_two_segments(count: int, recovered: int) -> None:
    records = opened(filled(count)).take_recovered()
    newest = records[-1].sequence
    assert [record.sequence for record in records] == list(range(newest - recovered + 1, newest + 1))


def by_hand(kind: int, body: bytes, sequence: int, numbers: int = 1) -> bytes:
    """A record as docs/storage.md has it."""
    head = b"PESr" + struct.pack("<BBHQ", kind, numbers - 1, len(body), sequence) + body
    data = head + hmac.digest(KEY, head, "sha256")[:16]
    return data + bytes(-len(data) % 64)


def test_the_bytes_on_the_medium_are_those_that_the_documentation_has() -> None:
    storage = MemoryStorage()
    nvram = Nvram(storage, KEY)
    nvram.append(Kind.STATE, b"a state", lambda: b"")
    nvram.append(Kind.PIECE, b"a piece", lambda: b"")
    nvram.append(Kind.BATCH, b"three pieces " * 9, lambda: b"", 3)
    log = by_hand(1, b"a state", 1) + by_hand(2, b"a piece", 2) + by_hand(4, b"three pieces " * 9, 3, numbers=3)
    assert len(log) == 64 + 64 + 192
    for bank in (0, 4096):
        assert storage.areas[FIRST][bank : bank + 4096] == log + bytes(4096 - len(log))
        assert storage.areas[HEAD][bank : bank + 4096] == by_hand(3, b"", 1) + bytes(4096 - 64)
    assert (len(storage.areas[FIRST]), len(storage.areas[HEAD])) == (2 << 20, 2 * 4096)
    assert not any(storage.areas[FIRST][2 * 4096 :])


def test_a_record_of_a_kind_that_only_a_newer_version_knows_stops_the_device_as_its_state_would() -> None:
    storage = filled(3)
    newer = by_hand(9, b"what a newer version wrote", 4)
    for bank in (0, BANK):
        storage.areas[FIRST][bank + 3 * ALIGN : bank + 3 * ALIGN + len(newer)] = newer
    with pytest.raises(IntegrityError):
        opened(storage)


def test_appending_says_where_the_record_lies_and_which_numbers_it_takes() -> None:
    nvram = opened(MemoryStorage())
    first = nvram.append(Kind.STATE, b"first", lambda: b"")
    assert (first, first.last) == (Record(1, Kind.STATE, b"", FIRST, 0, 64, 1), 1)
    second = nvram.append(Kind.BATCH, b"second", lambda: b"", 3)
    assert (second, second.last) == (Record(2, Kind.BATCH, b"", FIRST, 64, 64, 3), 4)
    third = nvram.append(Kind.STATE, bytes(900), lambda: b"")
    assert (third, third.last) == (Record(5, Kind.STATE, b"", "log-0000000000000005.seg", 0, 960, 1), 5)


def test_the_head_is_made_once_and_never_without_a_good_copy() -> None:
    class Watched(MemoryStorage):
        def __init__(self) -> None:
            super().__init__()
            self.made: list[str] = []

        def create(self, name: str, size: int) -> None:
            self.made.append(name)
            super().create(name, size)

    storage = Watched()
    nvram = opened(storage)
    for number in range(60):
        append(nvram, number, Kind.STATE)
    assert storage.made == [HEAD, *segments(storage)]


def test_each_record_is_there_twice() -> None:
    storage = filled(3)
    area = storage.areas[FIRST]
    assert area[:BANK] == area[BANK:]


def test_banks_take_turns_by_pages_and_a_record_over_a_pages_end_is_whole() -> None:
    storage = MemoryStorage()
    nvram = Nvram(storage, KEY, 4 * PAGE)
    bodies = [bytes([number]) * 1500 for number in range(9)]
    for body in bodies:
        nvram.append(Kind.STATE, body, lambda: b"")
    area = storage.areas[FIRST]
    for page in range(0, len(area), 2 * PAGE):
        assert area[page : page + PAGE] == area[page + PAGE : page + 2 * PAGE]
    records = Nvram(storage, KEY, 4 * PAGE).take_recovered()
    assert [r.body for r in records] == bodies
    assert any(r.offset // PAGE != (r.offset + r.span - 1) // PAGE for r in records)
    for victim in range(0, len(area), 2 * PAGE):
        area[victim : victim + PAGE] = bytes(PAGE)  # a whole page of bank A is lost
    again = Nvram(storage, KEY, 4 * PAGE)
    assert [again.reread(r).body for r in records] == bodies
    assert again.repaired == len(records)


def test_every_segment_begins_with_a_whole_state() -> None:
    storage = filled(60)
    assert len(segments(storage)) > 3
    for name in segments(storage)[1:]:
        first = next(r for r in opened(storage).read_from(int(name[4:20])))
        assert first.kind is Kind.STATE
        assert first.body.startswith(b"state before")


def test_a_state_that_begins_a_segment_is_written_once() -> None:
    storage = MemoryStorage()
    nvram = opened(storage)
    for number in range(40):
        append(nvram, number, Kind.STATE)
    assert bodies(storage) == [f"body {number}" for number in range(40)]


def test_reading_may_begin_anywhere() -> None:
    nvram = opened(filled(60))
    assert [r.sequence for r in nvram.read_from(50)] == list(range(50, nvram.sequence + 1))


def test_only_the_segments_that_hold_what_is_wanted_are_read() -> None:
    class Watched(MemoryStorage):
        def __init__(self) -> None:
            super().__init__()
            self.looked_at: set[str] = set()

        def read(self, name: str, offset: int, length: int) -> bytes:
            self.looked_at.add(name)
            return super().read(name, offset, length)

    storage = Watched()
    nvram = opened(storage)
    for number in range(60):
        append(nvram, number, Kind.STATE if not number else Kind.PIECE)
    names = segments(storage)
    assert len(names) == 4
    for index, name in enumerate(names):
        for log in (nvram, opened(storage)):
            storage.looked_at = set()
            first = int(name[4:20])
            assert [r.sequence for r in log.read_from(first)] == list(range(first, nvram.sequence + 1))
            assert storage.looked_at == set(names[index:])


def test_a_record_can_be_read_again_from_either_bank() -> None:
    storage = filled(5)
    nvram = opened(storage)
    record = nvram.take_recovered()[3]
    storage.areas[FIRST][record.offset + 20] ^= 1
    assert nvram.reread(record).body == b"body 3"
    storage.areas[FIRST][BANK + record.offset + 20] ^= 1
    with pytest.raises(IntegrityError, match="cannot be read in either bank"):
        nvram.reread(record)


def test_another_record_in_its_place_is_not_taken_for_it() -> None:
    storage = filled(5)
    nvram = opened(storage)
    second, third = nvram.take_recovered()[2:4]
    area = storage.areas[FIRST]
    for bank in (0, BANK):
        assert nvram.reread(third).body == b"body 3"
        area[bank + third.offset : bank + third.offset + ALIGN] = area[second.offset : second.offset + ALIGN]
    with pytest.raises(IntegrityError, match="record 4 cannot be read in either bank"):
        nvram.reread(third)


def test_reading_a_record_again_reads_no_more_pages_than_it_lies_on() -> None:
    class Watched(MemoryStorage):
        def __init__(self) -> None:
            super().__init__()
            self.lengths: list[int] = []

        def read(self, name: str, offset: int, length: int) -> bytes:
            self.lengths.append(length)
            return super().read(name, offset, length)

    storage = Watched()
    nvram = Nvram(storage, KEY, 8 * PAGE)
    records = [nvram.append(Kind.STATE, bytes([n]) * 1500, lambda: b"") for n in range(20)]
    storage.lengths.clear()
    for record in records:
        assert nvram.reread(record).body == bytes([records.index(record)]) * 1500
        pages = (record.offset + record.span - 1) // PAGE - record.offset // PAGE + 1
        assert storage.lengths.pop() == 2 * PAGE * pages


@pytest.mark.parametrize("lost", [0, PAGE])
def test_either_bank_alone_gives_records_over_several_pages(lost: int) -> None:
    storage = MemoryStorage()
    nvram = Nvram(storage, KEY, 4 * PAGE)
    bodies = [bytes([number]) * 5000 for number in range(3)]
    records = [nvram.append(Kind.STATE, body, lambda: b"") for body in bodies]
    assert Nvram(storage, KEY, 4 * PAGE).repaired == 0
    area = storage.areas[FIRST]
    for page in range(lost, len(area), 2 * PAGE):
        area[page : page + PAGE] = bytes(PAGE)
    assert [nvram.reread(record).body for record in records] == bodies
    assert Nvram(storage, KEY, 4 * PAGE).repaired == 3
    assert Nvram(storage, KEY, 4 * PAGE).repaired == 0


@pytest.mark.parametrize("bank", [0, BANK])
def test_rot_anywhere_in_one_bank_is_repaired_and_reported(bank: int) -> None:
    whole = filled(8)
    used = 8 * ALIGN
    for position in range(used):
        storage = copy(whole)
        storage.areas[FIRST][bank + position] ^= 0x10
        nvram = opened(storage)
        assert [r.body for r in nvram.take_recovered()] == [f"body {n}".encode() for n in range(8)]
        assert nvram.repaired == 1 or whole.areas[FIRST][position] == 0, position  # padding is not covered
        if nvram.repaired:
            assert storage.areas == whole.areas


def test_rot_in_both_banks_of_a_record_that_others_follow_stops_the_device() -> None:
    for victim in range(7):
        storage = filled(8)
        for bank in (0, BANK):
            storage.areas[FIRST][bank + victim * ALIGN + 10] ^= 1
        with pytest.raises(IntegrityError, match=f"record {victim + 1} is bad in both banks"):
            opened(storage)


@pytest.mark.parametrize("bank", [0, BANK])
def test_a_record_behind_a_bad_one_is_found_in_whichever_bank_it_is_left(bank: int) -> None:
    storage = filled(8)
    for damaged in (0, BANK):
        storage.areas[FIRST][damaged + 5 * ALIGN + 10] ^= 1
    storage.areas[FIRST][bank + 6 * ALIGN : bank + BANK] = bytes(BANK - 6 * ALIGN)
    with pytest.raises(IntegrityError, match="record 6 is bad in both banks"):
        opened(storage)


def test_a_mended_copy_is_synced_before_it_counts_as_mended() -> None:
    class Watched(MemoryStorage):
        def write(self, name: str, offset: int, data: bytes) -> None:
            calls.append("write")
            super().write(name, offset, data)

        def sync(self, name: str) -> None:
            calls.append("sync")

    calls: list[str] = []
    storage = Watched()
    storage.areas = filled(8).areas
    storage.areas[FIRST][3 * ALIGN + 20] ^= 1
    assert opened(storage).repaired == 1
    assert calls == ["write", "sync", "sync"]  # the last one is for what was read


@pytest.mark.parametrize("bank", [0, BANK])
@pytest.mark.parametrize("other", [1, 4])
def test_a_good_record_in_the_place_of_another_is_no_copy_of_that_one(bank: int, other: int) -> None:
    storage = filled(6)
    area, place = storage.areas[FIRST], 3 * ALIGN
    area[bank + place : bank + place + ALIGN] = area[other * ALIGN : (other + 1) * ALIGN]
    assert opened(storage).repaired == 1
    assert bodies(storage) == [f"body {number}" for number in range(6)]
    for at in (0, BANK):
        area[at + place : at + place + ALIGN] = area[other * ALIGN : (other + 1) * ALIGN]
    with pytest.raises(IntegrityError, match="record 4 is bad in both banks"):
        opened(storage)


def test_the_copies_of_the_head_are_made_durable_one_after_the_other() -> None:
    class Watched(MemoryStorage):
        def __init__(self) -> None:
            super().__init__()
            self.did: list[str] = []

        def write(self, name: str, offset: int, data: bytes) -> None:
            self.did.append(f"write {name}")
            super().write(name, offset, data)

        def sync(self, name: str) -> None:
            self.did.append(f"sync {name}")

    storage = Watched()
    append(opened(storage), 0, Kind.STATE)
    assert storage.did[-4:] == [f"write {HEAD}", f"sync {HEAD}"] * 2


def test_two_good_copies_that_differ_are_made_one() -> None:
    storage = filled(3)
    other = copy(storage)
    append(opened(storage), 3)
    append(opened(other), 4)
    storage.areas[FIRST][BANK:] = other.areas[FIRST][BANK:]
    assert opened(storage).repaired == 1
    assert storage.areas[FIRST][:BANK] == storage.areas[FIRST][BANK:]
    assert bodies(storage)[-1] == "body 3"


def test_rot_in_different_banks_of_different_records_is_repaired() -> None:
    storage = filled(8)
    for victim in range(8):
        storage.areas[FIRST][(victim % 2) * BANK + victim * ALIGN + 10] ^= 1
    assert opened(storage).repaired == 8
    assert bodies(storage) == [f"body {number}" for number in range(8)]


def test_a_cut_at_any_byte_of_a_write_leaves_the_state_before_or_after() -> None:
    before = filled(8)
    after = copy(before)
    append(opened(after), 8)
    start, end = 8 * ALIGN, 9 * ALIGN
    for written_a in range(0, ALIGN + 1, 3):
        for written_b in range(0, ALIGN + 1, 7):
            storage = copy(before)
            new = after.areas[FIRST]
            storage.areas[FIRST][start : start + written_a] = new[start : start + written_a]
            storage.areas[FIRST][BANK + start : BANK + start + written_b] = new[BANK + start : BANK + start + written_b]
            found = bodies(storage)
            assert found in ([f"body {n}" for n in range(8)], [f"body {n}" for n in range(9)])
            append(opened(storage), 99)
            assert bodies(storage) == [*found, "body 99"]
    assert end > start


def test_a_cut_while_a_segment_is_begun_leaves_the_one_before() -> None:
    for count in range(12, 20):
        storage = filled(count)
        begun = f"log-{count + 5:016d}.seg"
        storage.create(begun, 2 * BANK)
        opened(storage)
        assert begun not in storage.names()
        assert bodies(storage) == [f"body {number}" for number in range(count)]


@pytest.mark.parametrize("size", [0, 100, 2 * BANK - 1])
def test_a_cut_while_a_segments_zeros_are_written_leaves_the_one_before(size: int) -> None:
    storage = filled(14)
    storage.create("log-0000000000000015.seg", size)
    assert bodies(storage) == [f"body {number}" for number in range(14)]
    assert segments(storage) == [FIRST]


def test_a_cut_while_the_very_first_segment_is_begun_leaves_a_blank_device() -> None:
    storage = MemoryStorage()
    storage.create(HEAD, 2 * PAGE)
    storage.create(FIRST, 2 * BANK)
    assert opened(storage).sequence == 0
    assert segments(storage) == []


def test_a_segment_taken_away_between_others_is_missed() -> None:
    storage = filled(60)
    storage.remove(segments(storage)[-2])
    with pytest.raises(IntegrityError, match="are missing or rotten"):
        opened(storage)


@pytest.mark.parametrize("noise", [b"\xa5", b"\0"])
def test_rot_of_all_that_opening_reads_before_the_newest_segment_stops_the_device(noise: bytes) -> None:
    """The registers are in the newest; but what was answered in the one before would be debited once more."""
    storage = filled(60)
    before = storage.areas[segments(storage)[-2]]
    before[:] = noise * len(before)
    with pytest.raises(IntegrityError, match="are missing or rotten"):
        opened(storage)


@pytest.mark.parametrize("damage", ["removed", "zeroed", "cut short", "grown", "newest two removed"])
def test_the_newest_segment_gone_stops_the_device_for_an_older_state_would_print_money(damage: str) -> None:
    storage = filled(60)
    newest, before = segments(storage)[-1], segments(storage)[-2]
    if damage == "zeroed":
        storage.areas[newest][:] = bytes(2 * BANK)
    elif damage == "cut short":
        del storage.areas[newest][BANK:]
    elif damage == "grown":
        storage.areas[newest] += bytes(BANK)
    else:
        storage.remove(newest)
    if damage == "newest two removed":
        storage.remove(before)
    left = copy(storage).areas
    said = f"has [0-9]+ bytes, not {2 * BANK}[.]" if damage in ("cut short", "grown") else "missing or empty"
    with pytest.raises(IntegrityError, match=said):
        opened(storage)
    assert storage.areas == left  # nothing is taken away: the right file may be put back


def test_all_segments_gone_is_no_blank_device() -> None:
    storage = filled(60)
    for name in segments(storage):
        storage.remove(name)
    with pytest.raises(IntegrityError, match="missing or empty"):
        opened(storage)


def test_the_head_gone_is_missed_and_rot_in_one_copy_of_it_does_no_harm() -> None:
    storage = filled(60)
    for at in (0, PAGE):
        whole = copy(storage)
        whole.areas[HEAD][at + 9] ^= 1
        assert bodies(whole)[-1] == "body 59"
        whole.remove(segments(whole)[-1])
        with pytest.raises(IntegrityError):
            opened(whole)
    storage.remove(HEAD)
    with pytest.raises(IntegrityError, match="head.seg is missing"):
        opened(storage)


class Stubborn(MemoryStorage):
    """A disk that fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.sync_fails: set[str] = set()
        self.remove_fails = False

    def sync(self, name: str) -> None:
        if any(name.startswith(start) for start in self.sync_fails):
            raise StorageFailed("no")

    def remove(self, name: str) -> None:
        if self.remove_fails:
            raise StorageFailed("no")
        super().remove(name)


def full(storage: MemoryStorage) -> Nvram:
    """A log whose next large record begins a segment."""
    nvram = opened(storage)
    append(nvram, 0, Kind.STATE)
    for number in range(1, 14):
        append(nvram, number)
    return nvram


def test_a_segment_that_could_not_be_begun_leaves_no_trace_and_smaller_records_go_on() -> None:
    storage = Stubborn()
    nvram = full(storage)
    storage.sync_fails = {"log-0000000000000015"}
    with pytest.raises(StorageFailed):
        nvram.append(Kind.STATE, bytes(300), lambda: b"")
    append(nvram, 14)
    assert bodies(storage) == [f"body {number}" for number in range(15)]


def test_a_segment_that_could_be_neither_begun_nor_removed_stops_all_writing_until_it_is_opened_again() -> None:
    storage = Stubborn()
    nvram = full(storage)
    storage.sync_fails, storage.remove_fails = {"log-0000000000000015"}, True
    with pytest.raises(StorageFailed):
        nvram.append(Kind.STATE, bytes(300), lambda: b"")
    storage.sync_fails, storage.remove_fails = set(), False
    with pytest.raises(StorageFailed, match="Power it off and on again"):
        append(nvram, 14)
    assert bodies(storage) == [f"body {number}" for number in range(14)]
    assert opened(storage).sequence == 15


def test_a_head_that_cannot_be_written_does_not_hold_the_log_up() -> None:
    storage = Stubborn()
    nvram = full(storage)
    storage.sync_fails = {HEAD}
    for number in range(14, 40):
        append(nvram, number)
    assert bodies(storage) == [f"body {number}" for number in range(40)]


def test_a_hostile_tail_is_looked_through_in_no_time() -> None:
    storage = filled(2)
    tail = b"PESr\x01\x00\xff\xff"
    storage.areas[FIRST][2 * ALIGN : BANK] = (tail * BANK)[: BANK - 2 * ALIGN]
    looked = 0

    class Counting(Nvram):
        def _parse(self, bank: bytes, position: int, segment: str, offset: int) -> Record | None:
            nonlocal looked
            looked += 1
            return super()._parse(bank, position, segment, offset)

    Counting(storage, KEY, BANK)
    assert looked < 2 * BANK // ALIGN + 10


def test_another_devices_log_is_not_taken_for_ones_own() -> None:
    storage = filled(8)
    with pytest.raises(IntegrityError, match="of another master key"):
        opened(storage, b"another key".ljust(32))
    assert bodies(storage) == [f"body {number}" for number in range(8)]


def test_a_foreign_file_among_the_segments_is_left_alone() -> None:
    storage = filled(8)
    foreign = [
        "log-note.seg",
        "zzz-9999999999999999-my-thesis.seg",
        f"{FIRST[:-4]} (copy).seg",
        "log-000000000000000².seg",
    ]
    for name in foreign:
        storage.create(name, 64)
    assert bodies(storage) == [f"body {number}" for number in range(8)]
    assert set(foreign) < set(storage.names())


def test_a_write_that_fails_counts_for_nothing_and_its_number_is_used_again() -> None:
    class Failing(MemoryStorage):
        broken = False

        def sync(self, name: str) -> None:
            if self.broken:
                raise StorageFailed("no")

    storage = Failing()
    nvram = opened(storage)
    append(nvram, 0, Kind.STATE)
    storage.broken = True
    with pytest.raises(StorageFailed):
        append(nvram, 1)
    storage.broken = False
    assert append(nvram, 2).sequence == 2
    assert bodies(storage) == ["body 0", "body 2"]


def test_a_state_larger_than_a_bank_is_refused() -> None:
    with pytest.raises(StorageFull, match="does not fit a bank"):
        opened(MemoryStorage()).append(Kind.STATE, bytes(BANK), lambda: bytes(BANK))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 8))
def test_noise_behind_the_last_record_stops_the_device_for_it_may_have_been_records(seed: int, count: int) -> None:
    storage = filled(9)
    noise, cut = random.Random(seed).randbytes(2 * BANK), count * ALIGN
    for bank in (0, BANK):
        storage.areas[FIRST][bank + cut : bank + BANK] = noise[bank + cut : bank + BANK]
    left = copy(storage).areas
    with pytest.raises(IntegrityError, match=f"breaks off before record {count + 1}"):
        opened(storage)
    assert storage.areas == left


@pytest.mark.parametrize("bank", [0, BANK])
def test_noise_behind_the_last_record_in_one_bank_is_mended(bank: int) -> None:
    whole = filled(9)
    for start in range(9 * ALIGN, BANK, 50):
        storage = copy(whole)
        storage.areas[FIRST][bank + start : bank + BANK] = random.Random(start).randbytes(BANK - start)
        nvram = opened(storage)
        assert (nvram.repaired, nvram.sequence) == (1, 9)
        assert storage.areas == whole.areas


# A record that failed, and that reached the disk all the same


class Failing(MemoryStorage):
    """Its sync fails so many times, with everything written."""

    failures = 0

    def sync(self, name: str) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageFailed("EIO")


def one_that_failed_before_the_segments_end() -> tuple[Failing, Nvram, int]:
    """A log in which record n has failed, and the next does not fit the segment any more; and n."""
    storage = Failing()
    nvram = opened(storage)
    append(nvram, 0, Kind.STATE)
    while nvram._end + 2 * ALIGN <= BANK:
        append(nvram, nvram.sequence)
    storage.failures = 1
    with pytest.raises(StorageFailed):
        append(nvram, 777)
    return storage, nvram, nvram.sequence + 1


def test_its_number_is_given_again_in_the_next_segment_and_it_is_not_there_any_more() -> None:
    storage, nvram, number = one_that_failed_before_the_segments_end()
    record = nvram.append(Kind.PIECE, b"long " * 30, lambda: b"whole state")
    assert len(segments(storage)) == 2
    append(nvram, 5)
    for log in (nvram, opened(storage)):
        numbers = [found.sequence for found in log.read_from(1)]
        assert numbers == list(range(1, log.sequence + 1))
        assert not any(found.body == b"body 777" for found in log.read_from(1))
    assert record.sequence == number + 1  # the state that begins the segment has the number


def test_it_counts_when_the_power_goes_before_anything_else_is_written() -> None:
    storage, _, number = one_that_failed_before_the_segments_end()
    assert opened(storage).sequence == number
    assert bodies(storage)[-1] == "body 777"


def test_while_it_cannot_be_erased_no_segment_is_begun() -> None:
    storage, nvram, number = one_that_failed_before_the_segments_end()
    storage.failures = 1
    with pytest.raises(StorageFailed):
        nvram.append(Kind.PIECE, b"long " * 30, lambda: b"whole state")
    assert len(segments(storage)) == 1
    nvram.append(Kind.PIECE, b"long " * 30, lambda: b"whole state")
    assert [found.sequence for found in opened(storage).read_from(1)] == list(range(1, number + 2))


def test_a_shorter_record_in_its_place_leaves_nothing_of_it() -> None:
    storage = Failing()
    nvram = opened(storage)
    append(nvram, 0, Kind.STATE)
    storage.failures = 1
    with pytest.raises(StorageFailed):
        nvram.append(Kind.PIECE, b"long " * 60, lambda: b"")
    append(nvram, 1)
    append(nvram, 2)
    assert bodies(storage) == ["body 0", "body 1", "body 2"]


def test_a_blank_head_beside_more_than_the_first_record_is_no_head() -> None:
    for count in (40, 2, 1):
        storage = filled(count)
        storage.areas[HEAD] = bytearray(len(storage.areas[HEAD]))
        if count == 1:  # a cut before it was written
            nvram = opened(storage)
            append(nvram, 1)
            assert storage.areas[HEAD] == filled(1).areas[HEAD]
            assert bodies(storage) == ["body 0", "body 1"]
            continue
        with pytest.raises(IntegrityError, match=f"blank beside {len(segments(storage))} segments"):
            opened(storage)


@pytest.mark.parametrize("size", [0, PAGE, 2 * PAGE - 1])
def test_a_head_that_is_cut_short_is_missed_where_no_cut_can_have_made_it_so(size: int) -> None:
    storage = filled(1)
    del storage.areas[HEAD][size:]
    with pytest.raises(IntegrityError, match=f"{HEAD} has {size} bytes, not {2 * PAGE}"):
        opened(storage)
    storage.remove(FIRST)
    if size:
        with pytest.raises(IntegrityError, match=f"{HEAD} has {size} bytes"):
            opened(storage)
        storage.areas[HEAD][:] = bytes(size)
    append(opened(storage), 0, Kind.STATE)  # a cut while it was made
    assert storage.areas[HEAD] == filled(1).areas[HEAD]


@pytest.mark.parametrize("damage", ["rotten", "blank", "older"])
@pytest.mark.parametrize("at", [0, PAGE])
def test_a_bad_copy_of_the_head_is_mended_and_counted(at: int, damage: str) -> None:
    whole = filled(60)
    storage = copy(whole)
    other = {"rotten": bytearray(b"\xa5" * PAGE), "blank": bytearray(PAGE), "older": filled(1).areas[HEAD][:PAGE]}
    storage.areas[HEAD][at : at + PAGE] = other[damage]
    assert opened(storage).repaired == 1
    assert storage.areas == whole.areas
    assert opened(storage).repaired == 0


class Headless(MemoryStorage):
    """The head cannot be written while it is stuck."""

    stuck = True

    def write(self, name: str, offset: int, data: bytes) -> None:
        if name == HEAD and self.stuck:
            raise StorageFailed("EIO")
        super().write(name, offset, data)


def test_without_a_head_there_is_one_record_and_it_is_written_before_the_second() -> None:
    storage = Headless()
    nvram = opened(storage)
    append(nvram, 0, Kind.STATE)
    for _ in range(2):
        with pytest.raises(StorageFailed):
            append(nvram, 1)
    assert bodies(storage) == ["body 0"]
    storage.stuck = False
    append(nvram, 1)
    assert bodies(storage) == ["body 0", "body 1"]


def test_a_head_that_lags_is_written_again_by_the_next_record_or_after_the_next_opening() -> None:
    for again in (False, True):
        storage = Headless()
        storage.stuck = False
        nvram = opened(storage)
        append(nvram, 0, Kind.STATE)
        storage.stuck = True
        for number in range(1, 17):
            append(nvram, number)
        assert len(segments(storage)) == 2
        storage.stuck = False
        whole = copy(storage)
        if again:
            nvram = opened(storage)
        assert storage.areas == whole.areas
        append(nvram, 17)
        storage.remove(segments(storage)[-1])
        with pytest.raises(IntegrityError, match="missing or empty"):
            opened(storage)


def test_a_segment_above_the_head_that_is_cut_short_or_rotten_throughout_was_not_just_begun() -> None:
    for size, fill, said in ((BANK, b"", "bytes, not"), (2 * BANK, b"\xa5", "breaks off before record 15")):
        storage = filled(14)
        other = filled(1).areas[FIRST]
        storage.areas["log-0000000000000015.seg"] = (bytearray(fill * size) or other)[:size]
        with pytest.raises(IntegrityError, match=said):
            opened(storage)


def test_a_segment_that_was_reclaimed_for_all_that_the_medium_says_is_read_no_more() -> None:
    class Lying(MemoryStorage):
        def remove(self, name: str) -> None:
            super().remove(name)
            raise StorageFailed("EIO")

    storage = Lying()
    nvram = opened(storage)
    for number in range(60):
        append(nvram, number)
    with pytest.raises(StorageFailed):
        nvram.reclaim(nvram.sequence)
    assert next(nvram.read_from(1)).sequence == nvram.oldest > 1
