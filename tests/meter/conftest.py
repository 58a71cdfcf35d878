"""What tests of the meter begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.meter.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A checked-in meter with money."""
    made = Bench(tmp_path)
    yield made
    made.store.close()
    made.centre.close()
