"""A payload into the modules of a Data Matrix symbol: one Base 256 segment, whatever its content.

Two rules:

* No library that can be told to write Base 256 takes less than 60 us for a symbol, so this one is ours; every module of
  it is compared with libdmtx in the tests, and with zxing-cpp and zint where these choose Base 256 as well.
* What does not depend on the payload is worked out once for each size: where each bit goes, and what each data codeword
  adds to the error correction.

Source: ISO/IEC 16022, 5.2.9 (Base 256), 5.2.3 (padding), annex B (randomising), E (error correction), F (placement).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, reduce
from operator import getitem, itemgetter, xor
from typing import Final, NamedTuple

from pes_sim.indicium import codewords
from pes_sim.indicium.gf256 import POWERS, double, times
from pes_sim.indicium.sizes import LONGEST_SHORT_SEGMENT, SQUARES

_LATCH: Final = b"\xe7"
_PADDING: Final = b"\x81"
_MODULES: Final = bytes(character == ord("1") for character in range(256))
"""Translation from binary digits to modules (1 = dark)."""


class _Plan(NamedTuple):
    """Of one size."""

    bits: int
    """In all codewords together."""
    blocks: int
    correction: int
    """Codewords of error correction in one block."""
    adds: Sequence[Sequence[int]]
    """What a data codeword, counted from the end of its block, of each value adds to the error correction."""
    arrange: Callable[[str], tuple[str, ...]]
    """From the bits of the codewords, then "0" and "1", to the modules row by row."""
    randomised: Sequence[bytes]
    """What the 255-state algorithm makes of each byte of the segment at each position."""
    padding: bytes
    """What the 253-state algorithm makes of a padding codeword at each position."""


def write(payload: bytes, side: int) -> bytes:
    """The symbol's `side * side` modules row by row, 1 = dark. The caller has seen to it that the payload fits."""
    plan = _plan(side)
    data = _data(payload, plan)
    correction = bytearray(plan.correction * plan.blocks)
    for block in range(plan.blocks):
        added = map(getitem, plan.adds, data[block :: plan.blocks][::-1])
        correction[block :: plan.blocks] = reduce(xor, added).to_bytes(plan.correction, "big")
    bits = f"{int.from_bytes(data + correction, 'big'):0{plan.bits}b}01"
    return "".join(plan.arrange(bits)).encode().translate(_MODULES)


def _data(payload: bytes, plan: _Plan) -> bytes:
    """All data codewords."""
    count = len(payload)
    length = bytes([count]) if count <= LONGEST_SHORT_SEGMENT else bytes([count // 250 + 249, count % 250])
    words = _LATCH + bytes(map(getitem, plan.randomised, length + payload))
    return (words + _PADDING + plan.padding[len(words) + 1 :])[: len(plan.padding)]


@cache
def _plan(side: int) -> _Plan:
    shape, count = codewords.shape(side), SQUARES[side]
    correction = shape.correction // shape.blocks
    positions = range(1, count + 1)
    return _Plan(
        bits=8 * shape.words,
        blocks=shape.blocks,
        correction=correction,
        adds=_adds(-(-count // shape.blocks), correction),
        arrange=itemgetter(*_places(side)),
        randomised=[_rotated(149 * position % 255 + 1) for position in positions[1:]],
        padding=bytes((_PADDING[0] + 149 * position % 253) % 254 + 1 for position in positions),
    )


def _rotated(shift: int) -> bytes:
    """Each byte plus `shift`, modulo 256."""
    return bytes(byte + shift & 0xFF for byte in range(256))


def _places(side: int) -> list[int]:
    """For each module which of the bits it shows; behind those of the codewords stand a light and a dark one."""
    light = 8 * codewords.shape(side).words
    places = [light] * side**2
    # Where the codewords leave a corner of four modules open, its diagonal is dark; elsewhere they cover it.
    for corner in (side - 2, side - 3):
        places[corner * side + corner] = light + 1
    for row, column, dark in codewords.fixed(side):
        places[row * side + column] = light + dark
    for word, modules in enumerate(codewords.placement(side)):
        for bit, module in enumerate(modules):
            places[module] = 8 * word + bit
    return places


def _adds(length: int, correction: int) -> list[list[int]]:
    """For the last data codeword of a block, the one before it and so on to `length`: the remainder of its term by the
    generator, for each of its 256 values. Codewords are packed into one integer, the highest power first.
    """
    generator = _generator(correction)
    multiples = _multiples(int.from_bytes(generator[1:], "big"), correction)
    top, whole = 8 * (correction - 1), (1 << 8 * correction) - 1
    remainder, adds = multiples[1], [multiples]
    for _ in range(length - 1):
        remainder = (remainder << 8 & whole) ^ multiples[remainder >> top]
        adds.append(_multiples(remainder, correction))
    return adds


def _generator(degree: int) -> bytes:
    """The polynomial whose roots are the powers of 2 from 1 to `degree`, the highest power first."""
    factors = [1]
    for root in POWERS[1 : degree + 1]:
        factors = [low ^ times(high, root) for low, high in zip([*factors, 0], [0, *factors], strict=True)]
    return bytes(factors)


def _multiples(packed: int, count: int) -> list[int]:
    """`count` packed elements times each of the 256 elements."""
    every = int.from_bytes(b"\1" * count, "big")
    multiples = [0]
    for _ in range(8):
        multiples += [packed ^ other for other in multiples]
        carries = packed >> 7 & every
        packed = (packed ^ carries << 7) << 1 ^ carries * double(0x80)
    return multiples
