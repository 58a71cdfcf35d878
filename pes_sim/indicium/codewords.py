"""From the modules of a square Data Matrix symbol to its codewords, and which of these are wrong.

Two rules:

* It counts errors for the grade of a scan and corrects none: reading is the library's task (`reading`).
* The symbol may be anybody's: nothing here goes by what its codewords say.

Source: ISO/IEC 16022, table 7 (sizes), annex E (error correction), annex F (placement).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple

from pes_sim.indicium.gf256 import LOGS, POWERS, times
from pes_sim.indicium.sizes import SQUARES

# Modules along one side: data regions along one side, codewords of error correction, interleaved blocks.
_SHAPES: Final = {
    10: (1, 5, 1), 12: (1, 7, 1), 14: (1, 10, 1), 16: (1, 12, 1), 18: (1, 14, 1), 20: (1, 18, 1), 22: (1, 20, 1),
    24: (1, 24, 1), 26: (1, 28, 1), 32: (2, 36, 1), 36: (2, 42, 1), 40: (2, 48, 1), 44: (2, 56, 1), 48: (2, 68, 1),
    52: (2, 84, 2), 64: (4, 112, 2), 72: (4, 144, 4), 80: (4, 192, 4), 88: (4, 224, 4), 96: (4, 272, 4),
    104: (4, 336, 6), 120: (6, 408, 6), 132: (6, 496, 8), 144: (6, 620, 10),
}  # fmt: skip


class Shape(NamedTuple):
    """Of a symbol: data regions along one side, codewords in all, those of error correction, interleaved blocks."""

    regions: int
    words: int
    correction: int
    blocks: int


def shape(side: int) -> Shape:
    """That of a square symbol of `side` modules. Raises `KeyError` where there is none."""
    regions, correction, blocks = _SHAPES[side]
    return Shape(regions, SQUARES[side] + correction, correction, blocks)


def fixed(side: int) -> Iterator[tuple[int, int, bool]]:
    """The modules of finder and timing patterns: row, column, and whether it is dark."""
    region = side // shape(side).regions
    for row in range(side):
        for column in range(side):
            down, across = row % region, column % region
            if across == 0 or down == region - 1:
                yield row, column, True
            elif down == 0:
                yield row, column, across % 2 == 0
            elif across == region - 1:
                yield row, column, down % 2 == 1


@cache
def placement(side: int) -> tuple[tuple[int, ...], ...]:
    """For each codeword the places of its eight modules, the highest bit first, as `row * side + column`."""
    found = shape(side)
    region = side // found.regions
    inner = [index for index in range(side) if index % region not in (0, region - 1)]
    return tuple(tuple(inner[row] * side + inner[column] for row, column in modules) for modules in _mapped(len(inner)))


_Place = tuple[int, int]
_UTAH: Final = ((-2, -2), (-2, -1), (-1, -2), (-1, -1), (-1, 0), (0, -2), (0, -1), (0, 0))
# Four codewords that lie in the corners, in the matrices that have them: negative counts from the far edge.
_CORNERS: Final = (
    ((-1, 0), (-1, 1), (-1, 2), (0, -2), (0, -1), (1, -1), (2, -1), (3, -1)),
    ((-3, 0), (-2, 0), (-1, 0), (0, -4), (0, -3), (0, -2), (0, -1), (1, -1)),
    ((-3, 0), (-2, 0), (-1, 0), (0, -2), (0, -1), (1, -1), (2, -1), (3, -1)),
    ((-1, 0), (-1, -1), (0, -3), (0, -2), (0, -1), (1, -3), (1, -2), (1, -1)),
)


def _mapped(n: int) -> list[list[_Place]]:
    """The same in the mapping matrix of `n` by `n` modules: all regions, pushed together."""
    taken: set[_Place] = set()
    words: list[list[_Place]] = []

    def put(places: list[_Place]) -> None:
        taken.update(places)
        words.append(places)

    def wrapped(row: int, column: int) -> _Place:
        shift = 4 - (n + 4) % 8
        if row < 0:
            row, column = row + n, column + shift
        if column < 0:
            row, column = row + shift, column + n
        return row, column

    def utah(row: int, column: int) -> None:
        if 0 <= row < n and 0 <= column < n and (row, column) not in taken:
            put([wrapped(row + down, column + across) for down, across in _UTAH])

    row, column = 4, 0
    while row < n or column < n:
        at_corner = (
            (row, column) == (n, 0),
            (row, column) == (n - 2, 0) and n % 4 != 0,
            (row, column) == (n - 2, 0) and n % 8 == 4,
            (row, column) == (n + 4, 2) and n % 8 == 0,
        )
        for here, corner in zip(at_corner, _CORNERS, strict=True):
            if here:
                put([(down % n, across % n) for down, across in corner])
        while row >= 0 and column < n:
            utah(row, column)
            row, column = row - 2, column + 2
        row, column = row + 1, column + 3
        while row < n and column >= 0:
            utah(row, column)
            row, column = row + 2, column - 2
        row, column = row + 3, column + 1
    return words


def read(side: int, modules: Sequence[int]) -> bytes:
    """The codewords of `side * side` modules (1 = dark), row by row: the data, then the error correction."""
    return bytes(sum(modules[place] << (7 - bit) for bit, place in enumerate(places)) for places in placement(side))


def block(side: int, word: int) -> int:
    """Which of the interleaved blocks a codeword belongs to: data and correction are each dealt out one by one."""
    data = SQUARES[side]
    return (word if word < data else word - data) % shape(side).blocks


def wrong(side: int, words: bytes) -> set[int] | None:
    """Which of a symbol's codewords are wrong; None where more are than the error correction can tell."""
    found = shape(side)
    wrong: set[int] = set()
    for number in range(found.blocks):
        places = [word for word in range(found.words) if block(side, word) == number]
        at = _errors(bytes(words[place] for place in places), found.correction // found.blocks)
        if at is None:
            return None
        wrong.update(places[index] for index in at)
    return wrong


def _value(polynomial: Sequence[int], at: int) -> int:
    """Of a polynomial with the highest power first."""
    value = 0
    for factor in polynomial:
        value = times(value, at) ^ factor
    return value


def _errors(block: bytes, correction: int) -> list[int] | None:
    """Which words of a block are wrong: the roots of the shortest polynomial that explains its syndromes
    (Berlekamp and Massey).
    """
    syndromes = [_value(block, POWERS[power]) for power in range(1, correction + 1)]
    locator, before, errors, gap, last = [1], [1], 0, 1, 1  # the lowest power first
    for index in range(correction):
        off = syndromes[index]
        for power in range(1, min(errors, len(locator) - 1) + 1):
            off ^= times(locator[power], syndromes[index - power])
        if off == 0:
            gap += 1
            continue
        factor = times(off, POWERS[-LOGS[last] % 255])
        shifted = [0] * gap + [times(factor, value) for value in before]
        longer = [*locator, *[0] * (len(shifted) - len(locator))]
        changed = [a ^ b for a, b in zip(longer, [*shifted, *[0] * (len(longer) - len(shifted))], strict=True)]
        if 2 * errors <= index:
            before, errors, last, gap = locator, index + 1 - errors, off, 1
        else:
            gap += 1
        locator = changed
    backwards = locator[::-1]
    at = [index for index in range(len(block)) if _value(backwards, POWERS[(index + 1 - len(block)) % 255]) == 0]
    return at if len(at) == errors <= correction // 2 else None
