"""What is on its way in one direction: bytes one after the other, each with the instant at which it arrives.

A run of bytes back to back is one `Piece`, and its instants are worked out when somebody asks: an hour of a slow line
costs as much as a second. They are counted from the run's beginning, so that rounding never adds up.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final, NamedTuple

from pes_sim.clock import SECOND
from pes_sim.link.line.config import RATES, Direction, LineConfig
from pes_sim.link.line.faults import Gap, Step


class Piece(NamedTuple):
    """Bytes that arrive one after the other, or (`baud` 0) all at once."""

    data: bytes
    base: int
    """The instant at which their run began."""
    before: int = 0
    """Bits of the run that were on the wire before this piece."""
    bits: int = 0
    """Of each byte."""
    baud: int = 0
    delay: int = 0
    """Microseconds from the end of a byte on the wire until it arrives."""
    floor: int = 0
    """None arrives before this instant: what was sent earlier comes first."""

    def wired(self, instant: int) -> int:
        """How many of its bytes had ended on the wire at `instant`."""
        if self.baud == 0:
            return len(self.data) if self.base <= instant else 0
        ended = ((instant - self.base) * self.baud // SECOND - self.before) // self.bits
        return min(max(ended, 0), len(self.data))

    def arrived(self, now: int) -> int:
        """How many of its bytes have arrived."""
        return self.wired(now - self.delay) if now >= self.floor else 0

    def arrival(self, number: int) -> int:
        """The instant at which byte `number` (from 0) arrives."""
        return max(self.floor, ended(self.base, self.before + (number + 1) * self.bits, self.baud) + self.delay)

    def part(self, start: int, end: int) -> Piece:
        """Some of its bytes, at the same instants."""
        return self._replace(data=self.data[start:end], before=self.before + start * self.bits)

    def without(self, start: int, until: int) -> list[Piece]:
        """What is left of it when the wire was dead after `start` and before `until`."""
        first, behind = self.wired(start), self.wired(until - 1)
        if first == behind:
            return [self]
        return [part for part in (self.part(0, first), self.part(behind, len(self.data))) if part.data]


def ended(base: int, bits: int, baud: int) -> int:
    """The first instant at which a run that began at `base` has sent so many bits."""
    return base + (-(-bits * SECOND // baud) if baud else 0)


class Way:
    """One direction. Pieces join the queue in the order in which they were sent, and never overtake."""

    def __init__(self, direction: Direction, seed: str) -> None:
        def named(what: str) -> str:
            return f"{seed}\0{direction}\0{what}"

        self.direction: Final = direction
        self.sent = 0
        """Bytes, since the line was made."""
        self.sent_bits = 0
        self.gaps: Final = {name: Gap(named(name)) for name in RATES}
        self._jitter: Final = random.Random(named("jitter"))
        self.steps: list[tuple[int, Step]] = []
        """What is to happen after so many bytes."""
        self._frame_steps: list[tuple[int, Step]] = []
        self._frames, self._in_frame = 0, False
        self.queue: Final[deque[Piece]] = deque()
        self._base = self._bits = self._baud = self._delay = 0

    def configure(self, config: LineConfig) -> None:
        """The chances from now on."""
        noisy = config.only in (None, self.direction)
        for name, gap in self.gaps.items():
            gap.set_rate(getattr(config, name) * noisy, self.sent_bits if name == "bit_errors" else self.sent)

    def begin(self, now: int, config: LineConfig) -> None:
        """Something is sent: behind what is on the wire still, or now."""
        end = self.free_at()
        if now > end or config.baud != self._baud:
            self._base, self._bits, self._baud = max(now, end), 0, config.baud
        self._delay = config.latency_us + (self._jitter.randint(0, config.jitter_us) if config.jitter_us else 0)

    def free_at(self) -> int:
        """The instant at which the wire has ended what was sent."""
        return ended(self._base, self._bits, self._baud)

    def occupy(self, count: int, bits: int) -> None:
        """So many bytes of so many bits are on the wire next."""
        self._bits += count * bits
        self.sent_bits += count * bits
        self.sent += count

    def hold(self, bits: int) -> None:
        """Something that is no byte is on the wire next, for so many bits."""
        self._bits += bits

    def run(self, data: bytes, bits: int) -> Piece:
        """Good bytes, each of which takes its time."""
        piece = Piece(data, self._base, self._bits, bits, self._baud, self._delay)
        self.occupy(len(data), bits)
        return piece

    def lump(self, data: bytes) -> Piece:
        """What the receiver makes of the byte that has just ended."""
        return Piece(data, self.free_at(), delay=self._delay)

    def join(self, piece: Piece) -> None:
        """Puts a piece on its way."""
        if piece.data:
            last = self.last()
            self.queue.append(piece if last is None else piece._replace(floor=max(piece.floor, last)))

    def last(self) -> int | None:
        """The instant at which the last byte on its way arrives; None when there is none."""
        return self.queue[-1].arrival(len(self.queue[-1].data) - 1) if self.queue else None

    def take(self, now: int) -> bytes:
        """What has arrived."""
        out = []
        while self.queue:
            piece = self.queue[0]
            count = piece.arrived(now)
            out.append(piece.data[:count])
            if count < len(piece.data):
                if count:
                    self.queue[0] = piece.part(count, len(piece.data))
                break
            self.queue.popleft()
        return b"".join(out)

    def lose(self, start: int, until: int) -> int:
        """Takes away what is on the wire after `start` and before `until`; gives how many bytes."""
        before = sum(len(piece.data) for piece in self.queue)
        kept = [part for piece in self.queue for part in piece.without(start, until)]
        self.queue.clear()
        self.queue.extend(kept)
        return before - sum(len(piece.data) for piece in kept)

    def place(self, step: Step) -> None:
        """Something is to happen here, after so many bytes or frames from now on."""
        if step.frame:
            self._frame_steps.append((self._frames + step.frame, step))
        else:
            self._put_step(self.sent + (step.byte or 0), step)

    def watch(self, data: bytes) -> None:
        """Looks at what is sent next: where the frame ends that a step waits for, the step is due."""
        for at, byte in enumerate(data if self._frame_steps else b""):
            if byte == 0 and self._in_frame:
                self._frames += 1
                for number, step in self._frame_steps:
                    if number == self._frames:
                        self._put_step(self.sent + at + 1, step)
            self._in_frame = byte != 0
        self._frame_steps = [(number, step) for number, step in self._frame_steps if number > self._frames]
        self._in_frame = data[-1:] not in (b"", b"\0")

    def _put_step(self, at: int, step: Step) -> None:
        self.steps = sorted([*self.steps, (at, step)], key=lambda placed: placed[0])

    @property
    def scripted(self) -> bool:
        """Whether something is still to happen."""
        return bool(self.steps or self._frame_steps)
