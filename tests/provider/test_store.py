"""The provider's database: its own file, its own rules, and a lock before anything is read."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from pes_sim.errors import StorageFailed
from pes_sim.provider.store import check_database, open_engine
from pes_sim.virtual import VirtualMeter, create

ROOT = Path(__file__).parents[2]


def test_a_grant_is_on_the_disk_before_it_is_sent(tmp_path: Path) -> None:
    engine, _ = open_engine(tmp_path / "p.sqlite")
    with engine.connect() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "foreign_keys")]
        assert settings == [2, 1]  # FULL, on
    engine.dispose()


def test_tables_that_are_there_are_left_as_they_are(tmp_path: Path) -> None:
    for customers in (["A"], ["A", "B"]):
        engine, metadata = open_engine(tmp_path / "p.sqlite")
        account = metadata.tables["account"]
        with engine.begin() as connection:
            connection.execute(insert(account).values(customer=customers[-1]))
            assert sorted(connection.execute(account.select()).scalars()) == customers
        engine.dispose()


def test_no_entry_is_of_nothing_and_none_is_of_nobody(tmp_path: Path) -> None:
    engine, metadata = open_engine(tmp_path / "p.sqlite")
    entry = {"customer": "A", "time": 0, "what": "x"}
    for values in (entry | {"amount_mills": 0}, entry | {"amount_mills": 1}):  # the account is not there
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(insert(metadata.tables["entry"]).values(values))
    engine.dispose()


def test_whoever_reads_a_balance_to_draw_on_it_has_the_database_for_himself(tmp_path: Path) -> None:
    engine, metadata = open_engine(tmp_path / "p.sqlite")
    with engine.begin() as connection:
        connection.execute(metadata.tables["account"].select())
        second = sqlite3.connect(tmp_path / "p.sqlite", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            second.execute("BEGIN IMMEDIATE")
        second.close()
    engine.dispose()


@pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.sqlite").write_bytes(content)
    for look in (open_engine, check_database):
        with pytest.raises(StorageFailed, match=r"p\.sqlite cannot be used: file is not a database") as refusal:
            look(tmp_path / "p.sqlite")
        assert refusal.value.hint.startswith("Is it a provider's database? Put its last good copy back")
    assert (tmp_path / "p.sqlite").read_bytes() == content


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match=r"none/p\.sqlite cannot be used: unable to open database file"):
        open_engine(tmp_path / "none" / "p.sqlite")


def test_a_data_centre_that_is_opened_again_loads_its_database_when_it_is_asked(tmp_path: Path) -> None:
    """SQLAlchemy takes longer to load than a meter takes to start."""
    create(tmp_path / "m1")
    program = (
        "import sys; from pathlib import Path; from pes_sim import VirtualMeter\n"
        "with VirtualMeter(Path('m1')) as meter:\n"
        "    meter.status(); print('sqlalchemy' in sys.modules)\n"
        "    meter.check_in(); print('sqlalchemy' in sys.modules)"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=plain | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\nTrue\n"


def test_a_spoiled_database_is_found_when_the_data_centre_is_opened(tmp_path: Path) -> None:
    create(tmp_path / "m1")
    (tmp_path / "m1" / "provider" / "provider.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageFailed, match=r"provider\.sqlite cannot be used: file is not a database"):
        VirtualMeter(tmp_path / "m1")
