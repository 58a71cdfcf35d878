"""Every test of ports must leave the process with the descriptors and the threads that it found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.link.fakes import FakeDevice
from tests.link.ports.bench import nothing_left_open


@pytest.fixture(autouse=True)
def leaves_nothing_open() -> Iterator[None]:
    with nothing_left_open():
        yield


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    return folder


@pytest.fixture
def nobody(closed_folder: Path) -> Iterator[None]:
    """Takes root's rights away for the test, where there are any; what root alone can do is done before."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)
