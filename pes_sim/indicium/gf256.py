"""The field of 256 elements in which Data Matrix corrects errors (ISO/IEC 16022, 5.7.1). Addition is exclusive or."""

from __future__ import annotations

from typing import Final

_POLYNOMIAL: Final = 0x12D
"""x^8 + x^5 + x^3 + x^2 + 1; 2 generates all elements but zero."""


def double(element: int) -> int:
    """The element times 2."""
    shifted = element << 1
    return shifted ^ _POLYNOMIAL if shifted & 0x100 else shifted


def _powers() -> tuple[int, ...]:
    powers = [1]
    while len(powers) < 255:
        powers.append(double(powers[-1]))
    return tuple(powers)


POWERS: Final = _powers()
"""2 to the power of 0 to 254."""
LOGS: Final = {element: power for power, element in enumerate(POWERS)}
"""The power for each element but zero."""


def times(first: int, second: int) -> int:
    """The product of two elements."""
    return POWERS[(LOGS[first] + LOGS[second]) % 255] if first and second else 0
