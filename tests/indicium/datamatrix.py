"""Codewords out of a Data Matrix ECC 200 symbol, so that a test sees what a writer emitted and not only what it means.

Two rules:

* Nothing here is shared with the writers under test: the placement follows ISO/IEC 16022 annex F step by step.
* Square symbols only. The error correction is computed and compared, never used: a test symbol that is not exact is a
  failure, not a case.

Sizes and codewords are those of ISO/IEC 16022, table 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from PIL import Image

from pes_sim.indicium.symbol import Symbol

PAD = 129
BASE256_LATCH = 231
ECI = 241
FIELD = 301
"""The polynomial of the field of 256 elements, x^8 + x^5 + x^3 + x^2 + 1 (ISO/IEC 16022, 5.7.1)."""

# Modules along one side: (data regions along one side, data codewords).
TABLE = MappingProxyType({
    10: (1, 3), 12: (1, 5), 14: (1, 8), 16: (1, 12), 18: (1, 18), 20: (1, 22), 22: (1, 30), 24: (1, 36), 26: (1, 44),
    32: (2, 62), 36: (2, 86), 40: (2, 114), 44: (2, 144), 48: (2, 174), 52: (2, 204), 64: (4, 280), 72: (4, 368),
    80: (4, 456), 88: (4, 576), 96: (4, 696), 104: (4, 816), 120: (6, 1050), 132: (6, 1304), 144: (6, 1558),
})  # fmt: skip


def picture(symbol: Symbol, scale: int = 6, quiet: int = 2) -> Image.Image:
    """The symbol as a grey image, `scale` pixels a module, `quiet` blank modules around it."""
    grey = Image.frombytes("L", (symbol.size, symbol.size), symbol.modules.translate(b"\xff\0" + bytes(254)))
    whole = Image.new("L", ((symbol.size + 2 * quiet) * scale,) * 2, 255)
    whole.paste(grey.resize((symbol.size * scale,) * 2, Image.Resampling.NEAREST), (quiet * scale, quiet * scale))
    return whole


def mapping_matrix(size: int, modules: bytes) -> list[list[int]]:
    """The modules without finder and timing patterns, after checking that every region's own patterns are right."""
    assert len(modules) == size * size
    assert set(modules) <= {0, 1}
    side = size // TABLE[size][0]
    rows = [list(modules[start : start + size]) for start in range(0, size * size, size)]
    for top in range(0, size, side):
        for left in range(0, size, side):
            for i in range(side):
                assert rows[top + i][left] == 1, "the left edge is solid"
                assert rows[top + side - 1][left + i] == 1, "the bottom edge is solid"
                assert rows[top][left + i] == 1 - i % 2, "the top edge alternates"
                assert rows[top + i][left + side - 1] == i % 2, "the right edge alternates"
    inner = [n for n in range(size) if n % side not in (0, side - 1)]
    return [[rows[row][column] for column in inner] for row in inner]


class _Placement:
    """Annex F: which codeword and bit each module of the mapping matrix holds."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.where: dict[tuple[int, int], tuple[int, int]] = {}
        self.next = 0
        self._run()

    def _module(self, row: int, column: int, bit: int) -> None:
        if row < 0:
            row += self.side
            column += 4 - (self.side + 4) % 8
        if column < 0:
            column += self.side
            row += 4 - (self.side + 4) % 8
        self.where[row, column] = (self.next, bit)

    def _utah(self, row: int, column: int) -> None:
        offsets = ((-2, -2), (-2, -1), (-1, -2), (-1, -1), (-1, 0), (0, -2), (0, -1), (0, 0))
        for bit, (down, right) in enumerate(offsets):
            self._module(row + down, column + right, bit)
        self.next += 1

    def _corner(self, places: list[tuple[int, int]]) -> None:
        for bit, (row, column) in enumerate(places):
            self._module(row % self.side, column % self.side, bit)
        self.next += 1

    def _run(self) -> None:
        n = self.side
        row, column = 4, 0
        while row < n or column < n:
            if row == n and column == 0:
                self._corner([(-1, 0), (-1, 1), (-1, 2), (0, -2), (0, -1), (1, -1), (2, -1), (3, -1)])
            if row == n - 2 and column == 0 and n % 4:
                self._corner([(-3, 0), (-2, 0), (-1, 0), (0, -4), (0, -3), (0, -2), (0, -1), (1, -1)])
            if row == n - 2 and column == 0 and n % 8 == 4:
                self._corner([(-3, 0), (-2, 0), (-1, 0), (0, -2), (0, -1), (1, -1), (2, -1), (3, -1)])
            if row == n + 4 and column == 2 and n % 8 == 0:
                self._corner([(-1, 0), (-1, -1), (0, -3), (0, -2), (0, -1), (1, -3), (1, -2), (1, -1)])
            while True:
                if row < n and column >= 0 and (row, column) not in self.where:
                    self._utah(row, column)
                row, column = row - 2, column + 2
                if row < 0 or column >= n:
                    break
            row, column = row + 1, column + 3
            while True:
                if row >= 0 and column < n and (row, column) not in self.where:
                    self._utah(row, column)
                row, column = row + 2, column - 2
                if row >= n or column < 0:
                    break
            row, column = row + 3, column + 1


@cache
def _placement(side: int) -> _Placement:
    return _Placement(side)


def codewords(symbol: Symbol) -> bytes:
    """All codewords of a square symbol in the order of their placement: the data ones come first."""
    matrix = mapping_matrix(symbol.size, symbol.modules)
    placement = _placement(len(matrix))
    words = bytearray(placement.next)
    for (row, column), (word, bit) in placement.where.items():
        words[word] |= matrix[row][column] << (7 - bit)
    return bytes(words)


def data_codewords(symbol: Symbol) -> bytes:
    """The data codewords of a square symbol, pads included, without those of the error correction."""
    return codewords(symbol)[: TABLE[symbol.size][1]]


# Modules along one side: (interleaved blocks, codewords of error correction in each).
CORRECTION = MappingProxyType({32: (1, 36), 36: (1, 42), 40: (1, 48), 44: (1, 56), 48: (1, 68), 52: (2, 42)})


def times(first: int, second: int) -> int:
    """The product of two elements of the field: by shifting and adding, with no table to be wrong in."""
    product = 0
    while second:
        if second & 1:
            product ^= first
        first, second = first << 1, second >> 1
        if first & 0x100:
            first ^= FIELD
    return product


def correction(data: bytes, length: int) -> bytes:
    """The error correction of one block: what is left of it after division by (x-2)(x-4)...(x-2^length)."""
    divisor, root = [1], 1
    for _ in range(length):
        root = times(root, 2)
        shifted = [*divisor, 0]
        divisor = [high ^ times(low, root) for high, low in zip(shifted, [0, *divisor], strict=True)]
    left = [0] * length
    for word in data:
        lead = word ^ left[0]
        left = [place ^ times(lead, factor) for place, factor in zip([*left[1:], 0], divisor[1:], strict=True)]
    return bytes(left)


def syndromes(block: bytes, length: int) -> list[int]:
    """The block as a polynomial at 2, 4, ... 2^length: all zero where no codeword is wrong."""
    found, root = [], 1
    for _ in range(length):
        root, value = times(root, 2), 0
        for word in block:
            value = times(value, root) ^ word
        found.append(value)
    return found


def blocks(symbol: Symbol) -> list[bytes]:
    """The codewords block by block, as they are interleaved: every second one where there are two."""
    words, (count, _) = codewords(symbol), CORRECTION[symbol.size]
    return [words[start::count] for start in range(count)]


@dataclass(frozen=True, slots=True)
class Base256:
    """What one Base 256 segment at the start of a symbol holds. `rest`: the codewords behind it."""

    length: int
    payload: bytes
    rest: bytes


def _derandomise(word: int, position: int) -> int:
    """The 255-state algorithm of ISO/IEC 16022 annex B.2, backwards. `position`: 1 for the first codeword."""
    return (word - (149 * position % 255 + 1)) % 256


def base256(words: bytes) -> Base256:
    """Reads the segment. A length field of 0 means "to the end of the symbol"."""
    assert words[0] == BASE256_LATCH, f"the first codeword is {words[0]}"
    plain = bytes(_derandomise(word, position) for position, word in enumerate(words[1:], start=2))
    length, start = plain[0], 1
    if length == 0:
        return Base256(length, plain[start:], b"")
    if length >= 250:
        length, start = (length - 249) * 250 + plain[1], 2
    return Base256(length, plain[start : start + length], words[1 + start + length :])


def is_padding(rest: bytes, total: int) -> bool:
    """Whether `rest`, the last of `total` data codewords, is a pad codeword and then 253-state randomised ones."""
    expected: list[int] = []
    for position in range(total - len(rest) + 1, total + 1):
        value = PAD if not expected else PAD + 149 * position % 253 + 1
        expected.append(value if value <= 254 else value - 254)
    return list(rest) == expected
