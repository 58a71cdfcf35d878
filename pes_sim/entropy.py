"""Where random bytes come from: the system, or a seed.

Keys, nonces and request ids take their bytes from one injected source, so that a seed repeats a run byte for byte.
A seeded source says of itself that it is `reproducible`; whoever shows keys made from it must say so too.
"""

from __future__ import annotations

import hashlib
import os
from typing import Protocol


class Entropy(Protocol):
    """A source of random bytes. `reproducible` is true when a seed determines them."""

    reproducible: bool

    def __call__(self, length: int) -> bytes: ...


class SystemEntropy:
    """The operating system's random bytes."""

    reproducible = False

    def __call__(self, length: int) -> bytes:
        return os.urandom(length)


class SeededEntropy:
    """Bytes that follow from a seed: SHAKE-256 of the seed, the label and a counter. Never for anything real."""

    reproducible = True

    def __init__(self, seed: str, label: str = "") -> None:
        self._text = f"pes-sim seed\0{seed}\0{label}\0"
        self._key = self._text.encode(errors="surrogatepass")  # a seed from the command line may be any bytes
        self._counter = 0

    def __call__(self, length: int) -> bytes:
        self._counter += 1
        return hashlib.shake_256(self._key + self._counter.to_bytes(8, "little")).digest(length)

    def child(self, label: str) -> SeededEntropy:
        """A source of its own for one part, so that the order in which parts draw changes nothing."""
        return SeededEntropy(self._text, label)


def child(source: Entropy, label: str) -> Entropy:
    """A source for one part of a run: derived from a seeded one, the same one otherwise."""
    return source.child(label) if isinstance(source, SeededEntropy) else source
