"""`pes-sim vectors`: the file that is published with the project."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cli.conftest import Cli

PUBLISHED = Path(__file__).parents[1] / "vectors" / "indicia" / "indicia.json"


def test_the_file_is_written_as_it_is_published(cli: Cli, tmp_path: Path) -> None:
    result = cli("vectors", "--out", tmp_path / "v.json")
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "v.json").read_bytes() == PUBLISHED.read_bytes()
    assert "tests in 6 groups" in result.out


def test_a_device_or_a_pipe_is_not_replaced(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "v.json")
    complaint = cli("vectors", "--out", tmp_path / "v.json").complaint()
    assert complaint[0] == f"pes-sim: {tmp_path / 'v.json'} cannot be written: it is no regular file"


def test_a_meters_own_file_is_not_replaced(cli: Cli, meter: Path) -> None:
    before = (meter / "meter.json").read_bytes()
    complaint = cli("vectors", "--out", meter / "meter.json").complaint()
    assert complaint[0] == f"pes-sim: {meter / 'meter.json'} is a meter's own file, and would be replaced"
    assert (meter / "meter.json").read_bytes() == before
