"""What happens on a line, by chance or by a script, and what a receiver makes of a byte with flipped bits."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final, NamedTuple

from pes_sim.errors import UsageError
from pes_sim.link.line.config import BadByte, Direction, LineConfig, Parity, duration, whole

NEVER: Final = 1 << 62
"""Later than any instant, beyond any byte."""


@unique
class Kind(StrEnum):
    """What a step does. `MEANING` says how."""

    FLIP = "flip"
    DROP = "drop"
    DUPLICATE = "duplicate"
    BREAK = "break"
    UNPLUG = "unplug"
    PLUG = "plug"
    CTS_OFF = "cts-off"
    CTS_ON = "cts-on"
    DTR_OFF = "dtr-off"
    DTR_ON = "dtr-on"


MEANING: Final[Mapping[Kind, str]] = {
    Kind.FLIP: "bit `bit` of the next byte is flipped: 0 is the start bit, 1 to 8 the data bits (lowest first), then "
    "the parity bit if there is one, then the stop bits",
    Kind.DROP: "the next byte is lost",
    Kind.DUPLICATE: "the next byte comes twice",
    Kind.BREAK: "a break: it comes as a 0x00 with a framing error, and takes as long as a byte",
    Kind.UNPLUG: "the plug comes out: nothing goes in either direction, and what is on the wire is lost",
    Kind.PLUG: "it is in again",
    Kind.CTS_OFF: "whoever sends in this direction waits before its next write",
    Kind.CTS_ON: "it may send again",
    Kind.DTR_OFF: "whoever sends in this direction hangs up: as without the plug, and the other end notices",
    Kind.DTR_ON: "it is there again",
}
ON_THE_NEXT_BYTE: Final = frozenset({Kind.FLIP, Kind.DROP, Kind.DUPLICATE})
"""These wait for a byte that they happen to. The others happen at once."""
SIGNAL: Final[Mapping[tuple[Kind, Direction], tuple[str, bool]]] = {
    (kind, direction): (name if name == "plugged" else f"{side}_{name}", on)
    for direction, side in ((Direction.TO_DEVICE, "host"), (Direction.TO_HOST, "device"))
    for kind, name, on in (
        (Kind.UNPLUG, "plugged", False),
        (Kind.PLUG, "plugged", True),
        (Kind.CTS_OFF, "cts", False),
        (Kind.CTS_ON, "cts", True),
        (Kind.DTR_OFF, "dtr", False),
        (Kind.DTR_ON, "dtr", True),
    )
}
"""What switches a signal of `LineConfig`, and to what."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a script: what happens, in which direction, and when. It happens once.

    When is one of three: after so many bytes (`byte`) or frames (`frame`) were sent in this direction since the line
    was made, or at an instant (`at`, microseconds since 1970-01-01 UTC). A frame is what ends with a 0x00 and is not
    empty. `for_us`: how long what is switched off stays off, in microseconds; 0: until another step. `bit`: for a flip.
    """

    kind: Kind
    direction: Direction
    byte: int | None = None
    frame: int | None = None
    at: int | None = None
    bit: int = 1
    for_us: int = 0

    def __post_init__(self) -> None:
        whens = [when for when in (self.byte, self.frame, self.at) if when is not None]
        if len(whens) != 1 or min(whens) < 0:
            raise UsageError(
                f"when is this {self.kind}?", hint="Give one of byte=, frame= (how many before it) and at= (an instant)"
            )
        if self.bit < 0 or self.for_us < 0:
            raise UsageError(f"a {self.kind} with less than nothing", hint="bit= and for_us= count from 0")


_PARTS: Final[Mapping[str, tuple[str, Callable[[str], int]]]] = {
    "frame": ("frame", whole), "byte": ("byte", whole), "bit": ("bit", whole), "for": ("for_us", duration),
}  # fmt: skip
"""What follows kind and direction in a step's text, the field it is, and how its value is read."""


def parse_step(text: str) -> Step:
    """A step from "unplug to-device frame=3 for=2s". Raises `UsageError` naming the part that is wrong."""
    words = text.split()
    kind, direction = [*words, "", ""][:2]
    for word, known in ((kind, list(Kind)), (direction, list(Direction))):
        if word not in known:
            raise UsageError(
                f"step {text!r}: {word or 'nothing'!r} is none of {', '.join(known)}",
                hint='Such as "drop to-host byte=100" or "unplug to-device frame=3 for=2s"',
            )
    values: dict[str, int] = {}
    for part in words[2:]:
        name, _, value = part.partition("=")
        try:
            field, read = _PARTS[name]
            values[field] = read(value)
        except (KeyError, ValueError):
            raise UsageError(
                f"step {text!r}: {part!r} cannot be read",
                hint="Allowed: frame=N, byte=N (how many go before it), bit=N, for=2s (or us, ms)",
            ) from None
    return Step(Kind(kind), Direction(direction), **values)


class Gap:
    """Where the next of something that comes by chance is, counted in bits or bytes from the line's beginning.

    Drawn as a distance (geometrically distributed), so that what does not happen costs nothing.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._rate = 0.0
        self.at = NEVER

    def set_rate(self, rate: float, sent: int) -> None:
        """The chance from now on. One that stays as it was leaves the next where it is."""
        if rate != self._rate:
            self._rate = rate
            self.draw(sent)

    def draw(self, sent: int) -> None:
        """The next one, at `sent` at the earliest."""
        if self._rate == 0:
            self.at = NEVER
        elif self._rate == 1:
            self.at = sent
        else:
            distance = math.log(1 - self._random.random()) / math.log1p(-self._rate)
            self.at = sent + int(min(distance, NEVER))


class Received(NamedTuple):
    """What a receiver has of one byte."""

    data: bytes
    framing_error: bool
    parity_error: bool


def _mark(byte: int) -> bytes:
    return bytes((0xFF, 0x00, byte))


_TREATMENT: Final[Mapping[BadByte, Callable[[int], bytes]]] = {
    BadByte.KEEP: lambda byte: bytes((byte,)),
    BadByte.DROP: lambda byte: b"",
    BadByte.ZERO: lambda byte: b"\0",
    BadByte.MARK: _mark,
}


def good(data: bytes, config: LineConfig) -> bytes:
    """What a receiver has of bytes without an error."""
    return data.replace(b"\xff", b"\xff\xff") if config.bad_bytes is BadByte.MARK else data


def received(byte: int, flips: int, config: LineConfig) -> Received:
    """What a receiver has of `byte` when the bits of `flips` were flipped on the wire (bit 0: the start bit)."""
    mask = (1 << config.data_bits) - 1
    has_parity = config.parity is not Parity.NONE
    checked = (flips >> 1) & ((1 << config.data_bits + has_parity) - 1)
    parity_error = has_parity and checked.bit_count() % 2 == 1
    stop = 1 + config.data_bits + has_parity  # of two stop bits a receiver looks at the first
    framing_error = bool((flips | flips >> stop) & 1)
    came = (byte ^ flips >> 1) & mask
    if framing_error or parity_error:
        return Received(_TREATMENT[config.bad_bytes](came), framing_error, parity_error)
    return Received(good(bytes((came,)), config), False, False)
