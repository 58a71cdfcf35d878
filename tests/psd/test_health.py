"""Health tests of an entropy source: they find one that has broken down, and leave a good one alone."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, comb

import pytest

from pes_sim.entropy import Entropy, SeededEntropy, SystemEntropy
from pes_sim.psd import health
from pes_sim.psd.health import PROPORTION_CUTOFF, PROPORTION_WINDOW, REPETITION_CUTOFF, SAMPLES, proportion, repetition

GOOD = SeededEntropy("health")(SAMPLES)


def without(value: int, samples: bytes) -> bytes:
    """The same with another value in that one's place, without making a run of two."""
    return bytes(x if x != value else (value + 1 + at % 2 * 2) % 256 for at, x in enumerate(samples))


def test_the_cutoffs_are_those_of_their_definition() -> None:
    alpha, entropy = 40, 8  # -log2 of the false alarms, and bits a byte (SP 800-90B 4.4.1 and 4.4.2)
    assert 1 + ceil(Fraction(alpha, entropy)) == REPETITION_CUTOFF
    p, total, critical = Fraction(1, 2**entropy), Fraction(0), -1
    while total < 1 - Fraction(1, 2**alpha):  # CRITBINOM: the smallest k with P(X <= k) >= 1 - alpha
        critical += 1
        total += comb(PROPORTION_WINDOW, critical) * p**critical * (1 - p) ** (PROPORTION_WINDOW - critical)
    assert 1 + critical == PROPORTION_CUTOFF
    assert PROPORTION_WINDOW == 512
    assert SAMPLES >= 1024
    assert SAMPLES % PROPORTION_WINDOW == 0


@pytest.mark.parametrize("source", [SystemEntropy(), SeededEntropy("a"), SeededEntropy("")])
def test_good_sources_give_no_alarm(source: Entropy) -> None:
    for _ in range(200):
        samples = source(SAMPLES)
        assert repetition(samples)
        assert proportion(samples)


@pytest.mark.parametrize("value", [0, 0x5A, 0xFF])
def test_a_stuck_source_is_found_by_both(value: int) -> None:
    assert not repetition(bytes([value]) * SAMPLES)
    assert not proportion(bytes([value]) * SAMPLES)


@pytest.mark.parametrize("at", [0, 100, SAMPLES - REPETITION_CUTOFF])
def test_a_run_is_found_wherever_it_is_and_a_shorter_one_is_not(at: int) -> None:
    base = without(7, GOOD)
    run = bytes([7]) * REPETITION_CUTOFF
    assert not repetition(base[:at] + run + base[at + len(run) :])
    assert repetition(base[:at] + run[1:] + base[at + len(run) - 1 :])
    assert proportion(base[:at] + run + base[at + len(run) :])  # too few to be out of proportion


@pytest.mark.parametrize("window", [0, PROPORTION_WINDOW])
def test_a_value_that_comes_too_often_is_found_in_either_window(window: int) -> None:
    samples = bytearray(without(7, GOOD))
    places = [window + 3 * i for i in range(PROPORTION_CUTOFF)]  # the window's first value, and never twice in a row
    for at in places[:-1]:
        samples[at] = 7
    assert proportion(bytes(samples))
    samples[places[-1]] = 7
    assert not proportion(bytes(samples))
    assert repetition(bytes(samples))


def test_what_comes_often_across_the_windows_is_not_counted_together() -> None:
    samples = bytearray(without(7, GOOD))
    for i in range(PROPORTION_CUTOFF - 1):
        samples[3 * i] = samples[PROPORTION_WINDOW + 3 * i] = 7
    assert proportion(bytes(samples))


@pytest.mark.parametrize("length", [0, 1, SAMPLES - 1, SAMPLES + 1])
@pytest.mark.parametrize("test", [health.repetition, health.proportion])
def test_a_source_that_gives_another_number_of_bytes_is_no_good(test: object, length: int) -> None:
    assert callable(test)
    assert test(SeededEntropy("length")(length)) is False
