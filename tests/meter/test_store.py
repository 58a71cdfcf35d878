"""The meter's database: pieces all or none, totals to the mill, and what it says when it cannot."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pes_sim.errors import StorageFailed, StorageFull
from pes_sim.meter.store import CARRIED, DepartmentTotal, MeterStore, StoredPiece

FIRST = StoredPiece(
    record=7,
    request_id=b"\x01" * 16,
    time=1_767_625_200_000_000,
    printed_on="2026-01-05",
    department="100",
    mailing_date="2026-01-05",
    mail_class="first_class_letter",
    weight=100,
    destination="10001",
    postage_mills=740,
    indicium=bytes(range(113)),
    ascending_mills=740,
    descending_mills=99_260,
    control_sum_mills=100_000,
    piece_count=1,
    zero_piece_count=0,
)


def piece(number: int, **changes: object) -> StoredPiece:
    """The piece after `number - 1` others of 74 cents."""
    follower = replace(
        FIRST,
        record=FIRST.record + number - 1,
        request_id=number.to_bytes(16, "big"),
        ascending_mills=740 * number,
        descending_mills=100_000 - 740 * number,
        piece_count=number,
    )
    return replace(follower, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meter.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[MeterStore]:
    made = MeterStore(path)
    made.add_department("100", "Sales")
    made.add_department("200", "Billing")
    yield made
    made.close()


# --- pieces ----------------------------------------------------------------------------------------------------------


def test_a_piece_comes_back_as_it_was_also_after_closing(store: MeterStore, path: Path) -> None:
    store.add(FIRST)
    assert store.find(FIRST.request_id) == FIRST
    assert store.find(b"\x02" * 16) is None
    store.close()
    again = MeterStore(path)
    assert list(again.pieces()) == [FIRST]
    again.close()


def test_a_piece_knows_what_was_asked_for_it_and_the_registers_after_it() -> None:
    assert FIRST.asked() == {
        "postage_mills": 740,
        "mailing_date": "2026-01-05",
        "mail_class": "first_class_letter",
        "weight": 100,
        "destination": "10001",
        "reference": b"100",
    }
    assert FIRST.registers() == {
        "ascending_mills": 740,
        "descending_mills": 99_260,
        "control_sum_mills": 100_000,
        "piece_count": 1,
        "zero_piece_count": 0,
    }


def test_a_record_that_is_there_is_left_as_it_is(store: MeterStore) -> None:
    store.add(FIRST)
    store.add(replace(FIRST, department="200", postage_mills=1), piece(2))
    assert list(store.pieces()) == [FIRST, piece(2)]


def test_pieces_come_in_all_or_none(store: MeterStore) -> None:
    with pytest.raises(StorageFailed, match=r"meter\.sqlite: FOREIGN KEY"):
        store.add(piece(1), piece(2), piece(3, department="999"))
    assert list(store.pieces()) == []
    store.add(piece(1))
    assert list(store.pieces()) == [piece(1)]


def test_one_request_id_for_two_pieces_is_loud(store: MeterStore) -> None:
    store.add(FIRST)
    with pytest.raises(StorageFailed, match=r"UNIQUE constraint failed: piece\.request_id"):
        store.add(piece(2, request_id=FIRST.request_id))
    assert list(store.pieces()) == [FIRST]


def test_a_piece_of_negative_postage_is_refused(store: MeterStore) -> None:
    with pytest.raises(StorageFailed, match="CHECK constraint"):
        store.add(replace(FIRST, postage_mills=-1))
    assert store.totals() == (0, 0)


# --- totals ----------------------------------------------------------------------------------------------------------


def test_departments_stand_in_order_of_code_with_all_they_used_and_the_idle_ones_too(store: MeterStore) -> None:
    store.add_department("050", "Idle")
    store.add(piece(1), piece(2, department="200", postage_mills=1_030), piece(3))
    totals = [
        DepartmentTotal("050", "Idle", 0, 0),
        DepartmentTotal("100", "Sales", 2, 1_480),
        DepartmentTotal("200", "Billing", 1, 1_030),
    ]
    assert list(store.departments()) == totals
    assert list(store.departments("100")) == totals[1:]
    assert list(store.departments("101")) == totals[2:]
    assert list(store.departments("201")) == []
    assert store.totals() == (3, 2_510)


def test_a_department_is_renamed_and_keeps_its_pieces(store: MeterStore) -> None:
    store.add(FIRST)
    store.add_department("100", "Marketing")
    assert next(store.departments()) == DepartmentTotal("100", "Marketing", 1, 740)
    assert store.has_department("100")
    assert not store.has_department("1")


def test_evidence_is_what_the_newest_piece_bears_out(store: MeterStore) -> None:
    assert store.evidence() is None
    store.add_department("100", "Sales")
    store.add(piece(2, zero_piece_count=1))
    assert store.evidence() is None  # where is the first?
    store.carry(1, 740)
    assert store.evidence() == (1_480, 2, 1)
    store.carry(1, 0)
    assert store.evidence() is None


def test_the_specimen_log_counts_by_the_day_of_printing(store: MeterStore) -> None:
    store.add(piece(1), piece(2, mailing_date="2026-01-06"), piece(3, printed_on="2026-01-06", postage_mills=1_030))
    assert store.printed_by_day() == [("2026-01-05", 2, 1_480), ("2026-01-06", 1, 1_030)]


# --- where to go on reading the PSD's log ----------------------------------------------------------------------------


def test_an_empty_database_begins_at_the_start_of_the_log(store: MeterStore) -> None:
    assert store.complete_up_to() == 0
    assert store.totals() == (0, 0)


def test_a_complete_one_goes_on_behind_its_newest_record(store: MeterStore) -> None:
    store.add(piece(1), piece(2), piece(3, record=40))
    assert store.complete_up_to() == 40


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_one_with_a_hole_begins_at_the_start(store: MeterStore, missing: int) -> None:
    store.add(*(piece(number) for number in range(1, 5) if number != missing))
    assert store.complete_up_to() == 0


# --- when the medium says no -----------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_takes_nothing_with_it(store: MeterStore) -> None:
    # A real SQLITE_FULL: the database may not grow by a page.
    store.add(piece(1))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    many = [piece(number) for number in range(2, 200)]
    with pytest.raises(StorageFull, match=r"no room in .*meter\.sqlite") as refusal:
        store.add(*many)
    assert refusal.value.hint == "Free some room on its disk; nothing was booked"
    assert list(store.pieces()) == [piece(1)]
    store._db.execute("PRAGMA max_page_count = 100000")
    store.add(*many)
    assert store.totals() == (199, 199 * 740)


def test_what_is_synced_is_in_the_database_file_itself(store: MeterStore, path: Path, tmp_path: Path) -> None:
    # As after a power cut that takes everything that was only in the write-ahead log.
    store.add(FIRST)
    store.sync()
    shutil.copyfile(path, tmp_path / "copy.sqlite")
    copy = MeterStore(tmp_path / "copy.sqlite")
    assert list(copy.pieces()) == [FIRST]
    copy.close()


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_bytes(b"department,mills\n" * 100)
    with pytest.raises(StorageFailed, match=r"meter\.sqlite cannot be used: file is not a database") as refusal:
        MeterStore(path)
    assert refusal.value.hint.startswith("Put the meter's database back")
    assert path.read_bytes() == b"department,mills\n" * 100


def test_a_database_of_a_later_version_is_left_alone(store: MeterStore, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as later:
        later.execute("PRAGMA user_version = 3")
    later.close()
    with pytest.raises(StorageFailed, match="its format is 3, this version knows 2"):
        MeterStore(path)
    with sqlite3.connect(path) as again:
        assert again.execute("PRAGMA user_version").fetchone() == (3,)
    again.close()


def test_a_database_from_before_the_log_was_reclaimed_is_brought_up_to_date(store: MeterStore, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as earlier:
        earlier.executescript("DROP TABLE carried; PRAGMA user_version = 1;")
    earlier.close()
    store = MeterStore(path)
    assert store.totals() == (0, 0)
    store.carry(2, 1480)
    store.carry(1, 740)
    assert store.totals() == (3, 2220)
    assert list(store.departments(CARRIED))[:1] == [DepartmentTotal(CARRIED, "before the PSD's log begins", 3, 2220)]
    store.close()
    with sqlite3.connect(path) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (2,)
    now.close()


@pytest.mark.parametrize("name", ["no/such/directory/meter.sqlite", "."])
def test_a_place_without_a_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageFailed, match="cannot be used: unable to open database file") as refusal:
        MeterStore(tmp_path / name)
    assert str(tmp_path / name) in refusal.value.message


def test_a_database_that_breaks_under_way_is_named_by_every_question(store: MeterStore, path: Path) -> None:
    with sqlite3.connect(path) as outsider:
        outsider.execute("DROP TABLE piece")
        outsider.execute("DROP TABLE department")
    outsider.close()
    for question in (
        lambda: store.add(FIRST),
        lambda: store.find(FIRST.request_id),
        lambda: store.add_department("1", "x"),
        lambda: store.has_department("1"),
        lambda: list(store.departments()),
        lambda: list(store.pieces()),
        store.totals,
        store.complete_up_to,
        store.evidence,
        store.printed_by_day,
    ):
        with pytest.raises(StorageFailed, match=r"meter\.sqlite: no such table"):
            question()


def test_a_database_in_memory_needs_no_file() -> None:
    store = MeterStore(None)
    store.add_department("100", "Sales")
    store.add(FIRST)
    assert store.totals() == (1, 740)
    store.close()


@pytest.mark.parametrize("damage", ["DELETE FROM carried", "UPDATE carried SET pieces = 'abc'"])
def test_what_is_carried_forward_and_damaged_is_named(store: MeterStore, path: Path, damage: str) -> None:
    store.close()
    with sqlite3.connect(path) as other:
        other.execute(damage)
    other.close()
    again = MeterStore(path)
    with pytest.raises(StorageFailed, match="what it carries forward is damaged"):
        again.totals()
    again.close()
