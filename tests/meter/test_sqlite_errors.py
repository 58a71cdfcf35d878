"""SQLite's errors, each with its cause and what to do about it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from pes_sim.errors import StorageFailed, StorageFull
from pes_sim.meter.sqlite_errors import failure
from pes_sim.meter.store import MeterStore


def problem(code: int, text: str = "what SQLite says") -> sqlite3.Error:
    made = sqlite3.OperationalError(text)
    made.sqlite_errorcode = code
    return made


CAUSES = {
    sqlite3.SQLITE_BUSY: "Another process has it open",
    sqlite3.SQLITE_BUSY | 2 << 8: "Another process has it open",  # an extended code
    sqlite3.SQLITE_LOCKED: "Another process has it open",
    sqlite3.SQLITE_READONLY: "chmod u+w",
    sqlite3.SQLITE_PERM: "chmod u+w",
    sqlite3.SQLITE_CANTOPEN: "must be a file that its user may read and write",
    sqlite3.SQLITE_IOERR: "The disk fails: look at the system's log",
    sqlite3.SQLITE_CORRUPT: "put it back",
    sqlite3.SQLITE_NOTADB: "put it back",
    sqlite3.SQLITE_ERROR: "put it back",
}


@pytest.mark.parametrize("code", CAUSES)
def test_each_has_its_remedy(tmp_path: Path, code: int) -> None:
    made = failure(tmp_path / "x.sqlite", problem(code), damaged="put it back", said=" cannot be used")
    assert type(made) is StorageFailed
    assert made.message == f"{tmp_path / 'x.sqlite'} cannot be used: what SQLite says"
    assert CAUSES[code] in made.hint


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR | 19 << 8, sqlite3.SQLITE_CANTOPEN])
def test_a_disk_without_room_is_no_broken_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
    made = failure(tmp_path / "x.sqlite", problem(code, "disk I/O error"), damaged="")
    assert (type(made), made.message) == (StorageFull, f"no room in {tmp_path / 'x.sqlite'}")
    assert "Free some room" in made.hint


def test_full_is_full_wherever_it_lies() -> None:
    assert type(failure(":memory:", problem(sqlite3.SQLITE_FULL), damaged="")) is StorageFull


def test_a_place_that_is_gone_is_not_full(tmp_path: Path) -> None:
    made = failure(tmp_path / "none" / "x.sqlite", problem(sqlite3.SQLITE_CANTOPEN), damaged="")
    assert type(made) is StorageFailed


def test_a_database_that_another_process_holds_is_said_to_be_held(tmp_path: Path) -> None:
    store = MeterStore(tmp_path / "m.sqlite")
    other = sqlite3.connect(tmp_path / "m.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store._db.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(StorageFailed, match="database is locked") as refused:
        store.add_department("100", "Sales")
    assert "Another process has it open" in refused.value.hint
    other.close()
    store.close()


def test_one_that_is_opened_later_is_tried_again_by_every_call(tmp_path: Path) -> None:
    (tmp_path / "m.sqlite").write_bytes(b"no database" * 1000)
    store = MeterStore(tmp_path / "m.sqlite", {"100": "Sales"}, later=True)
    for _ in range(2):
        with pytest.raises(StorageFailed, match="file is not a database"):
            store.totals()
    store.close()  # nothing is open
    (tmp_path / "m.sqlite").unlink()
    assert store.totals() == (0, 0)
    assert [row.name for row in store.departments()] == ["Sales"]
    store.close()
