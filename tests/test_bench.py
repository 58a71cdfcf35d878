"""The bench runs: each of its measurements, once and small. What it finds is a matter for a quiet machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pes_sim.indicium import symbol
from pes_sim.preview import image
from tests.preview.made import text_of
from tools import bench, bench_indicium, bench_link, bench_preview
from tools.bench import Line


@pytest.mark.parametrize(("measure", "lines"), [(bench.dispensing, 6), (bench.batches, 1), (bench.long_log, 2)])
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


def test_the_previews_lines_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("PAGES", 10), ("IN_A_ROUND", 2)):
        monkeypatch.setattr(bench_preview, name, small)
    monkeypatch.setattr(bench, "ROUNDS", 1)
    found = bench_preview.lines(tmp_path)
    assert len(found) == 3
    assert all(line.what and line.figure for line in found)


def test_the_bare_pages_are_the_same_pages(tmp_path: Path) -> None:
    bench_preview.ours(tmp_path / "ours.pdf", 2)
    bench_preview.bare(tmp_path / "bare.pdf", bench_preview.marks_of(2))
    for number, (own, bare) in enumerate(
        zip(image.pages(tmp_path / "ours.pdf"), image.pages(tmp_path / "bare.pdf"), strict=True)
    ):
        assert symbol.read(own) == symbol.read(bare) != []
        assert sorted(text_of(tmp_path / "ours.pdf", page=number)) == sorted(
            text_of(tmp_path / "bare.pdf", page=number)
        )
        different = sum(abs(a - b) > 100 for a, b in zip(own.tobytes(), bare.tobytes(), strict=True))
        assert different < own.width * own.height / 10_000
