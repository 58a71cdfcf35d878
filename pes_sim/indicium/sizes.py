"""Sizes of square Data Matrix symbols, and what each holds (ISO/IEC 16022, table 7)."""

from __future__ import annotations

from typing import Final

# Modules along one side: data codewords. In the order in which both libraries number the square sizes.
SQUARES: Final = {
    10: 3, 12: 5, 14: 8, 16: 12, 18: 18, 20: 22, 22: 30, 24: 36, 26: 44, 32: 62, 36: 86, 40: 114, 44: 144, 48: 174,
    52: 204, 64: 280, 72: 368, 80: 456, 88: 576, 96: 696, 104: 816, 120: 1050, 132: 1304, 144: 1558,
}  # fmt: skip
LONGEST_SHORT_SEGMENT: Final = 249
"""Bytes in a Base 256 segment up to which its length takes one codeword; beyond, two (ISO/IEC 16022, 5.2.9)."""

CAPACITY: Final[dict[str, int]] = {
    f"{side}x{side}": words - 2 if words - 2 <= LONGEST_SHORT_SEGMENT else words - 3 for side, words in SQUARES.items()
}
"""Bytes of payload that each size holds as one Base 256 segment, smallest first: `CAPACITY["44x44"] == 142`."""
