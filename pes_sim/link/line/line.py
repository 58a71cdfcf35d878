"""The line itself: bytes, a direction and the time in; what arrives, and when, out. It has no clock and does no I/O.

* Without a fault and without a pace it is `transparent`: whoever carries bytes need not ask it.
* What happens by chance follows from the seed and the bytes, never from how they were cut, nor from the time. (Jitter
  is drawn for each piece.)
* Any thread may change its settings, add a step, or read its counts; what was sent before is not changed by it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

from pes_sim.errors import UsageError
from pes_sim.link.line.config import Direction, LineConfig
from pes_sim.link.line.faults import NEVER, ON_THE_NEXT_BYTE, SIGNAL, Kind, Step, good, received
from pes_sim.link.line.wire import Piece, Way

_DEAD: Final = ("plugged", "host_dtr", "device_dtr")
"""Without one of these nothing goes either way."""
_BY_CHANCE: Final = (
    ("drops", Kind.DROP),
    ("duplicates", Kind.DUPLICATE),
    ("breaks", Kind.BREAK),
    ("unplugs", Kind.UNPLUG),
)
_FIELDS: Final = frozenset(field.name for field in fields(LineConfig))
_SEVEN_BITS: Final = bytes(byte & 0x7F for byte in range(256))


@dataclass(slots=True)
class Counts:
    """What the line did so far, in both directions together."""

    sent_bytes: int = 0
    flipped_bits: int = 0
    framing_errors: int = 0
    parity_errors: int = 0
    dropped_bytes: int = 0
    duplicated_bytes: int = 0
    breaks: int = 0
    unplugs: int = 0
    hang_ups: int = 0
    lost_bytes: int = 0
    """While the plug was out, or an end had hung up."""


class _Off(NamedTuple):
    """A signal that is off for a while: from `start` to before `until`."""

    signal: str
    start: int
    until: int


class Line:
    """Two ends, and what may go wrong between them. One line carries one conversation.

    `steps` is its script; what happens by chance follows from `seed`.
    """

    def __init__(self, config: LineConfig = LineConfig(), *, steps: Iterable[Step] = (), seed: str = "") -> None:  # noqa: B008  # immutable
        self._turn = threading.Lock()
        self._config = config
        self._ways = {direction: Way(direction, seed) for direction in Direction}
        self._timed: list[Step] = []
        self._off: list[_Off] = []
        self._counts = Counts()
        self.transparent = False
        """Whether bytes may go past it: nothing would happen to them, and nothing is on its way."""
        self.host_hang_ups = 0
        """How often the host has hung up: a device's end looks whether that rose."""
        for way in self._ways.values():
            way.configure(config)
        for step in steps:
            self._place(step)
        self._settle()

    # From any thread

    @property
    def config(self) -> LineConfig:
        """The settings as they are."""
        return self._config

    def change(self, **settings: Any) -> LineConfig:
        """Changes settings, from the next byte on. Raises `UsageError` for what no line is.

        A signal that is set is no longer what a step made of it. When the plug comes out, or an end hangs up, what is
        on its way is lost.
        """
        if unknown := sorted(settings.keys() - _FIELDS):
            raise UsageError(f"a line has no {unknown[0]!r}", hint=f"Known: {', '.join(sorted(_FIELDS))}")
        with self._turn:
            before, self._config = self._config, replace(self._config, **settings)
            self._off = [off for off in self._off if off.signal not in settings]
            for signal in _DEAD:
                if getattr(before, signal) and not getattr(self._config, signal):
                    self._count_cut(signal)
                    self._lose(-NEVER, NEVER)
            for way in self._ways.values():
                way.configure(self._config)
            self._settle()
            return self._config

    def play(self, *steps: Step) -> None:
        """More steps. Their bytes and frames are counted from now on."""
        with self._turn:
            for step in steps:
                self._place(step)
            self._settle()

    def counts(self) -> Counts:
        """What it did so far."""
        with self._turn:
            return replace(self._counts)

    def is_on(self, signal: str, now: int) -> bool:
        """Whether one of the `SIGNALS` of `config.py` is on."""
        with self._turn:
            self._pass(now)
            return self._is_on(signal, now)

    # From its ends

    def send(self, direction: Direction, data: bytes, now: int) -> None:
        """An end sends."""
        with self._turn:
            self._pass(now)
            way = self._ways[direction]
            way.begin(now, self._config)
            way.watch(data)
            self._counts.sent_bytes += len(data)
            position = 0
            while position < len(data):
                self._happen(way)
                plain = min(self._quiet(way), len(data) - position)
                if plain:
                    self._send_plain(way, data[position : position + plain])
                else:
                    self._send_one(way, data[position])
                position += plain or 1
            self._happen(way)
            self._settle()

    def take(self, direction: Direction, now: int) -> bytes:
        """What has arrived at the other end."""
        with self._turn:
            self._pass(now)
            data = self._ways[direction].take(now)
            self._settle()
            return data

    def last(self, direction: Direction) -> int | None:
        """The instant at which the last byte on its way arrives; None when there is none."""
        with self._turn:
            return self._ways[direction].last()

    # What happens

    def _place(self, step: Step) -> None:
        if step.at is None:
            self._ways[step.direction].place(step)
        else:
            self._timed = sorted([*self._timed, step], key=lambda step: step.at or 0)

    def _pass(self, now: int) -> None:
        """Time has passed."""
        while self._timed and (self._timed[0].at or 0) <= now:
            step = self._timed.pop(0)
            if step.kind in ON_THE_NEXT_BYTE:
                self._ways[step.direction].place(replace(step, at=None, byte=0))
            else:
                self._do(self._ways[step.direction], step.kind, step.at or 0, step.for_us)
        self._off = [off for off in self._off if off.until > now]

    def _happen(self, way: Way) -> None:
        """What the script says to happen before the next byte, whether there is one or not."""
        if not way.steps or way.steps[0][0] > way.sent:
            return
        placed, way.steps = way.steps, []
        for at, step in placed:
            if at <= way.sent and step.kind not in ON_THE_NEXT_BYTE:
                self._do(way, step.kind, way.free_at(), step.for_us)
            else:
                way.steps.append((at, step))

    def _quiet(self, way: Way) -> int:
        """How many bytes go through before something happens."""
        following = [gap.at for name, gap in way.gaps.items() if name != "bit_errors"]
        if way.steps:
            following.append(way.steps[0][0])
        bits = (way.gaps["bit_errors"].at - way.sent_bits) // self._config.bits
        return max(0, min(bits, min(following) - way.sent))

    def _send_plain(self, way: Way, data: bytes) -> None:
        if self._config.data_bits == 7:
            data = data.translate(_SEVEN_BITS)
        if good(data, self._config) == data:
            self._join(way, way.run(data, self._config.bits))
            return
        for byte in data:  # some are doubled
            way.occupy(1, self._config.bits)
            self._join(way, way.lump(good(bytes((byte,)), self._config)))

    def _send_one(self, way: Way, byte: int) -> None:
        kinds, flips = self._due(way)
        for kind in sorted(kinds - ON_THE_NEXT_BYTE):
            self._do(way, kind, way.free_at(), self._config.unplugged_us)
        came = received(byte, flips, self._config)
        way.occupy(1, self._config.bits)
        counts = self._counts
        counts.flipped_bits += flips.bit_count()
        if Kind.DROP in kinds:
            counts.dropped_bytes += 1
            return
        counts.framing_errors += came.framing_error
        counts.parity_errors += came.parity_error
        counts.duplicated_bytes += Kind.DUPLICATE in kinds
        self._join(way, way.lump(came.data * (1 + (Kind.DUPLICATE in kinds))))

    def _due(self, way: Way) -> tuple[set[Kind], int]:
        """What happens to the next byte, and which of its bits are flipped."""
        kinds: set[Kind] = set()
        flips = 0
        while way.steps and way.steps[0][0] <= way.sent:
            _, step = way.steps.pop(0)
            kinds.add(step.kind)
            flips ^= (1 << step.bit) if step.kind is Kind.FLIP else 0
        for name, kind in _BY_CHANCE:
            if way.gaps[name].at <= way.sent:
                way.gaps[name].draw(way.sent + 1)
                kinds.add(kind)
        gap, end = way.gaps["bit_errors"], way.sent_bits + self._config.bits
        while gap.at < end:
            flips ^= 1 << (gap.at - way.sent_bits)
            gap.draw(gap.at + 1)
        return kinds, flips & ((1 << self._config.bits) - 1)

    def _do(self, way: Way, kind: Kind, at: int, for_us: int) -> None:
        """Something that happens to the line, and not to one byte."""
        if kind is Kind.BREAK:
            self._counts.breaks += 1
            self._counts.framing_errors += 1
            way.begin(at, self._config)
            way.hold(self._config.bits)
            self._join(way, way.lump(received(0, 1, self._config).data))
            return
        signal, on = SIGNAL[kind, way.direction]
        if on:
            self._config = replace(self._config, **{signal: True})  # type: ignore[arg-type]  # a name's type is not known
            self._off = [off._replace(until=min(off.until, at)) if off.signal == signal else off for off in self._off]
            return
        until = at + for_us if for_us else NEVER
        self._off.append(_Off(signal, at, until))
        if signal in _DEAD:
            self._count_cut(signal)
            self._lose(at, until)

    def _count_cut(self, signal: str) -> None:
        self._counts.unplugs += signal == "plugged"
        self._counts.hang_ups += signal != "plugged"
        self.host_hang_ups += signal == "host_dtr"

    def _lose(self, start: int, until: int) -> None:
        self._counts.lost_bytes += sum(way.lose(start, until) for way in self._ways.values())

    def _join(self, way: Way, piece: Piece) -> None:
        """On its way, but for what is sent while nothing goes."""
        if not all(getattr(self._config, signal) for signal in _DEAD):
            self._counts.lost_bytes += len(piece.data)
            return
        pieces = [piece]
        for off in self._off:
            if off.signal in _DEAD:
                pieces = [part for each in pieces for part in each.without(off.start - 1, off.until)]
        for part in pieces:
            way.join(part)
            self._counts.lost_bytes -= len(part.data)
        self._counts.lost_bytes += len(piece.data)

    def _is_on(self, signal: str, now: int) -> bool:
        return getattr(self._config, signal) and not any(
            off.signal == signal and off.start <= now < off.until for off in self._off
        )

    def _settle(self) -> None:
        self.transparent = (
            self._config.transparent
            and not (self._timed or self._off)
            and not any(way.queue or way.scripted for way in self._ways.values())
        )
