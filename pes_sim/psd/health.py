"""Health tests of an entropy source: NIST SP 800-90B, 4.4. Pure functions of the bytes that were drawn.

The sources here are conditioned ones (the system's, or a seed's), so this finds one that has broken down, and says
nothing of how much entropy a good one has.
"""

from __future__ import annotations

from itertools import groupby
from typing import Final

# For H = 8 bits of entropy a byte. The standard recommends a false alarm once in 2^20 to 2^40; a simulator is powered
# on thousands of times in a test run, hence alpha = 2^-40. 4.4.1: C = 1 + ceil(-log2(alpha) / H) = 1 + 40/8. 4.4.2:
# C = 1 + critbinom(W, 2^-H, 1 - alpha), W = 512 as for every source that is not binary: tests/psd/test_health.py
# computes it from that definition.
SAMPLES: Final = 1024  # 4.3: a start-up test takes at least so many consecutive samples
REPETITION_CUTOFF: Final = 6
PROPORTION_WINDOW: Final = 512
PROPORTION_CUTOFF: Final = 19


def repetition(samples: bytes) -> bool:
    """The repetition count test: `SAMPLES` samples, and no value `REPETITION_CUTOFF` times in a row."""
    runs = (sum(1 for _ in run) for _, run in groupby(samples))
    return len(samples) == SAMPLES and max(runs) < REPETITION_CUTOFF


def proportion(samples: bytes) -> bool:
    """The adaptive proportion test: `SAMPLES` samples, and no window's first value `PROPORTION_CUTOFF` times in it."""
    windows = (samples[at : at + PROPORTION_WINDOW] for at in range(0, SAMPLES, PROPORTION_WINDOW))
    return len(samples) == SAMPLES and all(window.count(window[0]) < PROPORTION_CUTOFF for window in windows)
