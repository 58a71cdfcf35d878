"""The bench runs: each of its measurements, once and small. What it finds is a matter for a quiet machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools import bench, bench_indicium, bench_link
from tools.bench import Line


@pytest.mark.parametrize(
    ("measure", "lines"), [(bench.dispensing, 6), (bench.batches, 1), (bench.long_log, 2), (bench.pages, 1)]
)
def test_a_measurement_gives_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measure: Callable[[Path], list[Line]], lines: int
) -> None:
    for name, small in (("ROUNDS", 1), ("TIMES", 2), ("LOGGED", 1000), ("SINGLE", 5)):
        monkeypatch.setattr(bench, name, small)
    found = measure(tmp_path)
    assert len(found) == lines
    assert all(line.what and line.figure for line in found)


def test_the_indiciums_lines_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("ROUNDS", 1), ("TIMES", 2), ("SCANS", 5)):
        monkeypatch.setattr(bench_indicium, name, small)
    found = bench_indicium.lines(tmp_path)
    assert len(found) == 4
    assert all(line.what and line.figure for line in found)


def test_the_links_lines_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 1)
    for name, small in (("ROUNDS", 1), ("ROUND_TRIPS", 2), ("METERS", 2), ("SECONDS", 0.3)):
        monkeypatch.setattr(bench_link, name, small)
    found = bench_link.lines(tmp_path)
    assert len(found) == 4
    assert all(line.what and line.figure for line in found)
