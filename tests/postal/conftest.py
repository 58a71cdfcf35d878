"""The same tests for every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pes_sim.postal.sqlite_store import SqliteScans
from pes_sim.postal.store import MemoryScans, ScanStore
from tests.postal.made import Desk


@pytest.fixture(params=["memory", "sqlite", "sqlite in a file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScanStore]:
    if request.param == "memory":
        yield MemoryScans()
        return
    scans = SqliteScans(tmp_path / "scans.db" if "file" in request.param else None)
    yield scans
    scans.close()


@pytest.fixture
def desk(store: ScanStore) -> Desk:
    return Desk(store)
