"""How well damaged scans are read: a seeded part of what `tools.read_rates` measures, and what is promised of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tools import read_rates
from tools.read_rates import DPIS, READERS, STRENGTHS, measured

Figure = Callable[[str], None]
REALISTIC = 300
OURS = ("ours",)


def test_realistic_scans_at_300_dpi_are_read(figure: Figure) -> None:
    counts = measured(None, 300, REALISTIC, OURS)
    figure(f"realistic scans at 300 dpi: {counts.read['ours']} of {REALISTIC} read")
    assert counts.read["ours"] >= 0.99 * REALISTIC
    assert counts.wrong["ours"] == 0


def test_no_damage_makes_a_reader_say_what_nobody_printed(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each damage at its worst, where readers have the most to guess."""
    monkeypatch.setattr(read_rates, "TIMEOUT_MS", 200)
    scans, wrong, read = 0, 0, 0
    for name, strengths in STRENGTHS.items():
        for dpi in DPIS[:2]:
            counts = measured({name: max(strengths)}, dpi, 6)
            scans += counts.tries
            read += counts.read["ours"]
            wrong += sum(counts.wrong.values())
    figure(f"payloads that nobody printed, from {scans} badly damaged scans and {len(READERS)} readers: {wrong}")
    assert wrong == 0
    assert 0 < read < scans  # some are beyond reading: that is where it would go wrong


@pytest.mark.parametrize("name", STRENGTHS)
def test_the_weakest_of_each_damage_is_read_at_every_resolution(name: str) -> None:
    strength = min(STRENGTHS[name])
    for dpi in DPIS:
        assert measured({name: strength}, dpi, 2, OURS).read["ours"] == 2


def test_ours_reads_all_that_the_decoder_reads_by_itself() -> None:
    for name, strengths in STRENGTHS.items():
        counts = measured({name: strengths[1]}, 300, 4, ("zxing-cpp", "ours"))
        assert counts.read["ours"] >= counts.read["zxing-cpp"]


def test_the_same_seeds_give_the_same_counts() -> None:
    first, again = (measured(None, 200, 3, OURS) for _ in range(2))
    assert first == again
