"""What lies behind the log's last whole record: what a cut leaves there is dropped, and anything else is rot, of
however many records. The device then knows every record, or stops.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.errors import IntegrityError, StorageFailed
from pes_sim.psd.head import HEAD, PAGE
from pes_sim.psd.nvram import Nvram
from pes_sim.psd.records import ALIGN, OVERHEAD, Kind, LogKey, frame
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.torn import SECTOR, Remains, remains
from tests.psd.walk import Noting, survivors

KEY = b"k" * 32
BANK = 4 * PAGE
FIRST = "log-0000000000000001.seg"
RECORDS = 12


def body(number: int, length: int = 700) -> bytes:
    """Of many values, as a piece's is."""
    return random.Random(number).randbytes(length)


def opened(storage: MemoryStorage) -> Nvram:
    return Nvram(storage, KEY, BANK)


def log(storage: MemoryStorage, count: int = RECORDS) -> Nvram:
    """So many records; the newest ends in a segment's third page."""
    nvram = opened(storage)
    for number in range(count):
        nvram.append(Kind.PIECE if number else Kind.STATE, body(number), lambda: b"")
    return nvram


WHOLE = MemoryStorage()
log(WHOLE)
SPAN = -(-(OVERHEAD + 700) // ALIGN) * ALIGN
END = RECORDS * SPAN


def damaged(change: Iterator[tuple[int, int, int]] | list[tuple[int, int, int]]) -> MemoryStorage:
    """With bytes of some banks exclusive-ored: bank, offset in it, and with what."""
    storage = MemoryStorage()
    storage.areas = {name: bytearray(area) for name, area in WHOLE.areas.items()}
    for bank, offset, value in change:
        page, within = divmod(offset, PAGE)
        storage.areas[FIRST][(2 * page + bank) * PAGE + within] ^= value
    return storage


def stops(storage: MemoryStorage) -> bool:
    """Whether it does; else it must know every record."""
    left = {name: bytes(area) for name, area in storage.areas.items()}
    try:
        assert opened(storage).sequence == RECORDS
    except IntegrityError:
        assert storage.areas == left  # what is there may help to find out
        return True
    return False


# Rot


def test_rot_of_the_logs_end_from_any_byte_on_stops_the_device_unless_it_knows_every_record() -> None:
    """Two records at least, to the end of the last one or of the segment: noise in each bank, the same in both, or all
    bits turned over.
    """
    edges = {record * SPAN + more for record in range(RECORDS - 1) for more in (0, 1, 4, 6, 8, 14, 16, 17)}
    for start in sorted({*range(0, END - SPAN, 331), *edges}):
        draw = random.Random(start)
        for end in (END, BANK):
            span = range(start, end)
            alike = [(offset, draw.randrange(1, 256)) for offset in span]
            kinds = (
                [(bank, offset, draw.randrange(1, 256)) for offset in span for bank in (0, 1)],
                [(bank, offset, value) for offset, value in alike for bank in (0, 1)],
                [(bank, offset, 0xFF) for offset in span for bank in (0, 1)],
            )
            for change in kinds:
                assert stops(damaged(change)), (start, end)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_bits_that_flip_in_the_last_records_in_both_banks_stop_it(data: st.DataObject) -> None:
    change = []
    for record in range(RECORDS - data.draw(st.integers(2, 4)), RECORDS):
        offset = record * SPAN + data.draw(st.integers(0, 19) | st.integers(0, OVERHEAD + 699))
        value = 1 << data.draw(st.integers(0, 7))
        change += [(bank, offset, value) for bank in (0, 1)]
    assert stops(damaged(change))


def test_any_bit_in_the_body_of_the_very_last_record_is_missed_too() -> None:
    """It does not end in zeros, as a torn one does."""
    first = END - SPAN + 16
    for offset, bit in itertools.product(range(first, first + 700, 13), range(8)):
        ends = {at - 1 for at in range(SECTOR, BANK, SECTOR)}
        if offset not in ends:
            assert stops(damaged([(bank, offset, 1 << bit) for bank in (0, 1)])), offset


def test_a_longer_length_in_the_header_does_not_hide_the_record_behind() -> None:
    at = END - 2 * SPAN + 6
    for more in range(SPAN, 3 * SPAN, 64):
        length = ((700 + more) ^ 700).to_bytes(2, "little")
        for other in (*range(END - SPAN, END - SPAN + 4), END - 100):
            change = [(bank, at + n, byte) for bank in (0, 1) for n, byte in enumerate(length)]
            assert stops(damaged([*change, *((bank, other, 0x55) for bank in (0, 1))]))


@pytest.mark.parametrize("text", [b"PES-SIM test", b"PESr", b"PES-SIM \x08"])
def test_text_in_a_torn_record_that_looks_like_a_header_is_none(text: bytes) -> None:
    data = frame(LogKey(KEY), Kind.STATE, (body(1, ALIGN - 16) + text).ljust(300, b"x"), 7)
    for kept in range(ALIGN, ALIGN + len(text) + 1):
        torn = data[:kept].ljust(BANK, b"\0")
        assert remains([torn, torn], 0, 7) == Remains(6 * ALIGN, OVERHEAD + 300)


def test_a_row_of_zeros_before_noise_is_no_lost_sector_where_the_copies_differ_or_it_is_too_long() -> None:
    whole = bytes(BANK)
    late = bytearray(1 << 18)
    late[-1] = 1
    assert remains([bytes(late), bytes(late)], 0, 7) is None
    a, b = bytearray(whole), bytearray(whole)
    a[SECTOR], b[SECTOR] = 1, 2
    assert remains([bytes(a), bytes(b)], 0, 7) is None
    b[SECTOR] = 1
    assert remains([bytes(a), bytes(b)], 0, 7) == Remains(SECTOR + ALIGN)
    assert remains([bytes(a), bytes(b)], SECTOR, 7) is None


def test_two_headers_that_differ_are_none_of_one_append() -> None:
    one, two = (frame(LogKey(KEY), Kind.PIECE, body(1, length), 7)[:20].ljust(BANK, b"\0") for length in (100, 200))
    assert remains([one, one], 0, 7) == Remains(2 * ALIGN + ALIGN, OVERHEAD + 100)
    assert remains([one, two], 0, 7) is None
    assert remains([one, bytes(BANK)], 0, 7) is not None
    assert remains([one, one], 0, 8) is None


def test_a_header_that_says_more_than_the_bank_holds_is_none() -> None:
    short = frame(LogKey(KEY), Kind.PIECE, body(1, 3000), 7)[:100].ljust(512, b"\0")
    assert remains([short, short], 0, 7) is None


# Cuts


def cuts(storage: Noting, begin: int) -> list[dict[str, bytes]]:
    found = {}
    for moment in storage.moments[begin:]:
        for areas in survivors(moment.durable, moment.pending):
            found[tuple(sorted(areas.items()))] = areas
    return list(found.values())


def medium(areas: dict[str, bytes]) -> Noting:
    storage = Noting()
    storage.areas = {name: bytearray(area) for name, area in areas.items()}
    storage.durable = dict(areas)
    return storage


@pytest.mark.parametrize("length", [1, 30, 500, 2000, 5000])
def test_a_cut_in_an_append_and_a_cut_in_what_comes_after_it_never_stop_the_device(length: int) -> None:
    """Whatever is left of one record goes before the next is written, and may be cut off while it goes."""
    base = Noting()
    nvram = log(base, 6)
    begin = len(base.moments)
    nvram.append(Kind.BATCH, body(77, length), lambda: b"")
    for areas in cuts(base, begin):
        storage = medium(areas)
        nvram = opened(storage)
        assert nvram.sequence in (6, 7)
        before, begin = nvram.sequence, len(storage.moments)
        nvram.append(Kind.PIECE, body(88, 40), lambda: b"")
        assert opened(medium({name: bytes(area) for name, area in storage.areas.items()})).sequence == before + 1
        for again in cuts(storage, begin):
            found = opened(medium(again))
            assert found.sequence in (6, 7, before + 1)
            found.append(Kind.PIECE, b"goes on", lambda: b"")


def test_nothing_of_a_record_that_failed_lies_behind_a_shorter_one() -> None:
    class Failing(Noting):
        fails = 0

        def sync(self, name: str) -> None:
            self.fails -= 1
            if self.fails == 0:
                raise StorageFailed("EIO")
            super().sync(name)

    for steps in range(1, 5):
        storage = Failing()
        nvram = log(storage, 3)
        storage.fails = 1
        with pytest.raises(StorageFailed):
            nvram.append(Kind.PIECE, body(50, 3000), lambda: b"")
        storage.fails = steps
        begin = len(storage.moments)
        for _ in range(2):
            try:
                nvram.append(Kind.PIECE, b"short", lambda: b"")
                break
            except StorageFailed:
                assert steps < 5
        assert not any(storage.areas[FIRST][nvram._end : PAGE])
        for areas in cuts(storage, begin):
            assert opened(medium(areas)).sequence in (3, 4)


def test_a_debit_writes_no_more_than_its_two_copies_and_the_sync() -> None:
    storage = Noting()
    nvram = log(storage, 2)
    before = len(storage.moments)
    nvram.append(Kind.PIECE, body(9, 100), lambda: b"")
    assert len(storage.moments) == before + 3


# Pages that cannot be read


class Unreadable(MemoryStorage):
    """Whole pages of it, until they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.areas = {name: bytearray(area) for name, area in WHOLE.areas.items()}
        self.bad: set[tuple[str, int]] = set()

    def read(self, name: str, offset: int, length: int) -> bytes:
        if any(area == name and offset - PAGE < page < offset + length for area, page in self.bad):
            raise StorageFailed("EIO")
        return super().read(name, offset, length)

    def write(self, name: str, offset: int, data: bytes) -> None:
        super().write(name, offset, data)
        if len(data) == PAGE:
            self.bad.discard((name, offset))


def test_a_page_that_cannot_be_read_is_read_from_its_twin_and_mended() -> None:
    for name in (FIRST, HEAD):
        for page in range(0, len(WHOLE.areas[name]), PAGE):
            storage = Unreadable()
            storage.bad = {(name, page)}
            nvram = opened(storage)
            assert (nvram.sequence, nvram.repaired, storage.bad) == (RECORDS, 1, set())
            assert storage.areas == WHOLE.areas
            assert opened(storage).repaired == 0


def test_a_page_that_cannot_be_read_in_either_bank_counts_as_rotten_also_where_nothing_is_written_yet() -> None:
    for page in range(0, len(WHOLE.areas[FIRST]), 2 * PAGE):
        storage = Unreadable()
        storage.bad = {(FIRST, page), (FIRST, page + PAGE)}
        with pytest.raises(IntegrityError):
            opened(storage)
    storage.bad = {(HEAD, 0), (HEAD, PAGE)}
    with pytest.raises(IntegrityError, match=f"neither copy of {HEAD}"):
        opened(storage)


def test_while_the_device_runs_such_a_page_refuses_and_stops_nothing() -> None:
    storage = Unreadable()
    nvram = opened(storage)
    records = nvram.take_recovered()
    storage.bad = {(FIRST, 0)}
    assert nvram.reread(records[0]).body == body(0)
    storage.bad = {(FIRST, 0), (FIRST, PAGE)}
    with pytest.raises(StorageFailed):
        nvram.reread(records[0])
    with pytest.raises(StorageFailed):
        list(nvram.read_from(1))
    assert nvram.reread(records[-1]).body == body(RECORDS - 1)


def test_a_page_that_cannot_be_mended_is_read_all_the_same() -> None:
    class Worn(Unreadable):
        def write(self, name: str, offset: int, data: bytes) -> None:
            raise StorageFailed("EIO")

    for name in (FIRST, HEAD):
        storage = Worn()
        storage.bad = {(name, 0)}
        nvram = opened(storage)
        assert (nvram.sequence, nvram.repaired) == (RECORDS, 0)
