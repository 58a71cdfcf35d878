"""How a line is: one frozen dataclass, and the same as text ("baud=9600,bit-errors=1e-4")."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum, unique
from functools import cached_property
from typing import Any, Final, NamedTuple

from pes_sim.clock import DAY, SECOND
from pes_sim.errors import UsageError


@unique
class Direction(StrEnum):
    """Which way bytes go."""

    TO_DEVICE = "to-device"
    TO_HOST = "to-host"


@unique
class Parity(StrEnum):
    """What the parity bit is. Both ends agree on it."""

    NONE = "none"
    EVEN = "even"
    ODD = "odd"


@unique
class BadByte(StrEnum):
    """What a receiver does with a byte whose parity or stop bit is wrong, as termios(3) has it.

    `KEEP` takes it as it came, `DROP` ignores it (IGNPAR), `ZERO` reads it as 0x00 (neither IGNPAR nor PARMRK), `MARK`
    puts 0xFF 0x00 before it (PARMRK), and doubles each good 0xFF.
    """

    KEEP = "keep"
    DROP = "drop"
    ZERO = "zero"
    MARK = "mark"


RATES: Final = ("bit_errors", "drops", "duplicates", "breaks", "unplugs")
"""Settings that are chances: the first of each bit on the line, the others of each byte."""
SIGNALS: Final = ("plugged", "host_cts", "device_cts", "host_dtr", "device_dtr")
"""Settings that are on or off: the plug, and the control lines."""


@dataclass(frozen=True)
class LineConfig:
    """A line's settings. As it stands, nothing is between the two ends. Raises `UsageError` for what no line is."""

    baud: int = 0
    """Bits a second; 0: bytes take no time."""
    data_bits: int = 8
    """7 or 8 in a byte. With 7 the highest bit does not come through."""
    parity: Parity = Parity.NONE
    stop_bits: int = 1
    """1 or 2."""
    bad_bytes: BadByte = BadByte.KEEP
    """What the receivers do with a byte that has a parity or framing error."""
    latency_us: int = 0
    """Microseconds from the end of a byte on the wire until its receiver has it, as in an adapter's buffer."""
    jitter_us: int = 0
    """Up to so many microseconds more, drawn for each piece that is written. Bytes do not overtake each other."""
    bit_errors: float = 0.0
    """Chance that a bit is flipped, of each bit on the wire: start, data, parity and stop bits."""
    drops: float = 0.0
    """Chance that a byte is lost, of each byte."""
    duplicates: float = 0.0
    """Chance that a byte comes twice."""
    breaks: float = 0.0
    """Chance that a break comes before a byte."""
    unplugs: float = 0.0
    """Chance that the plug comes out before a byte, for `unplugged_us`."""
    unplugged_us: int = SECOND
    """How long it is out then, in microseconds."""
    only: Direction | None = None
    """The direction in which the five chances hold; None: in both."""
    plugged: bool = True
    """Whether the plug is in. Without it nothing goes either way."""
    port_vanishes: bool = False
    """Whether the host's port goes with the plug, as a USB adapter's does (`LinkError`); a cable's falls silent."""
    host_cts: bool = True
    """The host's CTS: it sends only while it is on."""
    device_cts: bool = True
    """The device's CTS: it sends only while it is on."""
    host_dtr: bool = True
    """The host's DTR: off, it has hung up."""
    device_dtr: bool = True
    """The device's DTR: off, it has hung up."""

    def __post_init__(self) -> None:
        for name, (lowest, highest) in _RANGES.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:  # nor is a NaN
                raise UsageError(
                    f"a line's {name} cannot be {value}", hint=f"Allowed: {lowest} to {highest}", field=name
                )

    @cached_property
    def bits(self) -> int:
        """Of one byte on the wire."""
        return 1 + self.data_bits + (self.parity is not Parity.NONE) + self.stop_bits

    @cached_property
    def transparent(self) -> bool:
        """Whether every byte comes through at once, unchanged."""
        return all(getattr(self, name) == value for name, value in _TRANSPARENT.items()) and (
            self.bad_bytes is not BadByte.MARK
        )


_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "baud": (0, 100_000_000),
    "data_bits": (7, 8),
    "stop_bits": (1, 2),
    "latency_us": (0, DAY),
    "jitter_us": (0, DAY),
    "unplugged_us": (1, DAY),
    **dict.fromkeys(RATES, (0, 1)),
}
_TRANSPARENT: Final[Mapping[str, object]] = {
    field.name: field.default
    for field in fields(LineConfig)
    if field.name in ("baud", "data_bits", "latency_us", "jitter_us", *RATES, *SIGNALS)
}


class _Setting(NamedTuple):
    field: str
    read: Callable[[str], object]
    allowed: str


def whole(text: str) -> int:
    """A whole number from 0 on. Raises `ValueError`."""
    if not re.fullmatch("[0-9]{1,12}", text, re.ASCII):
        raise ValueError
    return int(text)


def duration(text: str) -> int:
    """Microseconds of "250us", "5ms" or "2s". Raises `ValueError`."""
    match = re.fullmatch("([0-9]{1,12})(us|ms|s)", text, re.ASCII)
    if match is None:
        raise ValueError
    return int(match[1]) * {"us": 1, "ms": 1_000, "s": SECOND}[match[2]]


def _switch(text: str) -> bool:
    return {"on": True, "off": False}[text]


_DURATION: Final = "such as 250us, 5ms or 2s"
_CHANCE: Final = "0 to 1, such as 1e-4"
_SWITCH: Final = "on or off"
SETTINGS: Final[Mapping[str, _Setting]] = {
    "baud": _Setting("baud", whole, "bits a second, such as 9600; 0 for no pace"),
    "data-bits": _Setting("data_bits", whole, "7 or 8"),
    "parity": _Setting("parity", Parity, ", ".join(Parity)),
    "stop-bits": _Setting("stop_bits", whole, "1 or 2"),
    "bad-bytes": _Setting("bad_bytes", BadByte, ", ".join(BadByte)),
    "latency": _Setting("latency_us", duration, _DURATION),
    "jitter": _Setting("jitter_us", duration, _DURATION),
    "bit-errors": _Setting("bit_errors", float, _CHANCE),
    "drops": _Setting("drops", float, _CHANCE),
    "duplicates": _Setting("duplicates", float, _CHANCE),
    "breaks": _Setting("breaks", float, _CHANCE),
    "unplugs": _Setting("unplugs", float, _CHANCE),
    "unplugged": _Setting("unplugged_us", duration, _DURATION),
    "only": _Setting("only", Direction, ", ".join(Direction)),
    "plugged": _Setting("plugged", _switch, _SWITCH),
    "port-vanishes": _Setting("port_vanishes", _switch, _SWITCH),
    "host-cts": _Setting("host_cts", _switch, _SWITCH),
    "device-cts": _Setting("device_cts", _switch, _SWITCH),
    "host-dtr": _Setting("host_dtr", _switch, _SWITCH),
    "device-dtr": _Setting("device_dtr", _switch, _SWITCH),
}
"""A line's settings as text: the name, the field, how its value is read, and what is allowed."""


def written(config: LineConfig) -> str:
    """The settings that are not as they were made, as `parse_line` reads them; "" when all are."""
    usual, parts = LineConfig(), []
    for name, setting in SETTINGS.items():
        value = getattr(config, setting.field)
        if value != getattr(usual, setting.field):
            text = "on" if value is True else "off" if value is False else str(value)
            parts.append(f"{name}={text}{'us' if setting.read is duration else ''}")
    return ",".join(parts)


def parse_line(text: str) -> LineConfig:
    """A line from "baud=9600,bit-errors=1e-4". Raises `UsageError` naming the setting that is wrong."""
    return LineConfig(**parse_settings(text))


def parse_settings(text: str) -> dict[str, Any]:
    """Only the fields that the text names, as `Line.change` takes them. Raises as `parse_line` does."""
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        setting = SETTINGS.get(name)
        if setting is None or not equals:
            known = ", ".join(SETTINGS)
            raise UsageError(f"{part!r} is no setting of a line", hint=f"Allowed: NAME=VALUE,...; NAME: {known}")
        if setting.field in values:
            raise UsageError(f"a line's {name} is given twice", hint="Give it once")
        try:
            values[setting.field] = setting.read(value)
            LineConfig(**{setting.field: values[setting.field]})
        except (ValueError, KeyError):
            raise UsageError(f"a line's {name} cannot be {value!r}", hint=f"Allowed: {setting.allowed}") from None
    return values
