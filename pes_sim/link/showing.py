"""What may be shown of a line to whoever reads a trace: whole frames, one by one, and no secret.

* A frame's secret fields (`psd.fields`) are blanked, byte by byte. Its CRC is then made anew: the old one would let a
  short secret be guessed.
* What a host sends and nobody can read may be a piece of a frame that holds a secret. It is shown only where but for
  its CRC it is a request, field for field, of a service that asks for none; of anything else that begins as a request
  does the header is shown, and else its length. What a device sends holds no secret, and is shown as it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pes_sim.errors import Status
from pes_sim.link import message
from pes_sim.link.frame import (
    MAX_FRAME,
    OVERHEAD,
    VERSION,
    Frame,
    FrameKind,
    Framer,
    cobs_decode,
    cobs_encode,
    encode,
)
from pes_sim.psd import cbor
from pes_sim.psd.fields import BY_NUMBER, FIELDS, check
from pes_sim.psd.services import Service

LONGEST: Final = MAX_FRAME + MAX_FRAME // 254 + 1
"""No frame is longer on the line. A longer run is shown in pieces."""
BLANK: Final = b"*"
HEADER: Final = OVERHEAD - 4
_SECRETS: Final = frozenset(field.number for field in FIELDS if field.secret)


class Shown(NamedTuple):
    """A frame as it stood on the line, between its delimiters, or bytes that are none; and what is to be said of it."""

    data: bytes
    remark: str = ""


Harmless = Mapping[int, frozenset[int]]
"""Services that ask for no secret, by their code: the numbers of the fields that each asks for."""


def harmless(services: Iterable[Service]) -> Harmless:
    """Those of a device, with the link's own."""
    asked = {s.code: frozenset(field.number for field in s.request) for s in (*services, *message.LINK_SERVICES)}
    return {code: numbers for code, numbers in asked.items() if not numbers & _SECRETS}


class Splitter:
    """Cuts the bytes of one direction of a line at the delimiters. `to_device`: it is the host who sends them.

    `span`: where what was given last stood among these bytes, from and to; the first of them is number `position`.
    """

    def __init__(self, services: Harmless, *, to_device: bool, position: int = 0) -> None:
        self._services = services
        self._to_device = to_device
        self._rest = b""
        self.span = (position, position)
        self._position = position
        self._broken = False
        """Whether the run under way is longer than any frame, and its beginning was shown."""

    def feed(self, data: bytes) -> Iterator[Shown]:
        """What `data` completes."""
        *whole, rest = (self._rest + data).split(b"\0")
        self._rest = b""
        for run in whole:
            yield from self._run(run)
            self._position += 1
            self._broken = False
        if len(rest) > LONGEST:
            yield from self._run(rest)
            self._broken, rest = True, b""
        self._rest = rest

    def end(self) -> Iterator[Shown]:
        """What is left when nothing more comes."""
        rest, self._rest = self._rest, b""
        self._broken = self._broken or bool(rest)
        yield from self._run(rest)

    def _run(self, run: bytes) -> Iterator[Shown]:
        if run and len(run) <= LONGEST and not self._broken:
            self._pass(run)
            yield show(run, self._services, to_device=self._to_device)
            return
        for at in range(0, len(run), LONGEST):
            piece = run[at : at + LONGEST]
            self._pass(piece)
            yield _blanked(piece, "no frame") if self._to_device else Shown(piece, "no frame")

    def _pass(self, run: bytes) -> None:
        self.span = (self._position, self._position + len(run))
        self._position += len(run)


def show(run: bytes, services: Harmless, *, to_device: bool) -> Shown:
    """What may be shown of the bytes between two delimiters."""
    (item,) = Framer().feed(run + b"\0")
    if not isinstance(item, Frame):
        return _unreadable(run, item.message, services) if to_device else Shown(run, item.message)
    try:
        body = cbor.load_fields(item.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        if not to_device or item.kind == FrameKind.REPLY:
            return Shown(run)
        return _with(item, BLANK * len(item.body), "a body that cannot be read is blanked")
    secrets = [number for number in body if number in _SECRETS]
    if not secrets:
        return Shown(run)
    blanked = cbor.dump(body | {number: _blank(body[number]) for number in secrets})
    return _with(item, blanked, f"blanked: {', '.join(BY_NUMBER[number].name for number in secrets)}")


def _unreadable(run: bytes, why: str, services: Harmless) -> Shown:
    try:
        data = cobs_decode(run)
    except ValueError:
        return _blanked(run, why)
    # By chance one in 16 million pieces of anything begins so.
    if len(data) < HEADER or (data[0], data[1], data[3]) != (VERSION, FrameKind.REQUEST, Status.OK):
        return _blanked(run, why)
    if data[2] in services and _asks_for(data[HEADER:-4], services[data[2]]):
        return Shown(run, why)
    shown = cobs_encode(data[:HEADER] + BLANK * (len(data) - HEADER))
    return Shown(shown, f"{why}; all but the header is blanked, since it may be a piece of a secret")


def _asks_for(body: bytes, numbers: frozenset[int]) -> bool:
    """Whether a body has just these fields, each with what it may hold."""
    try:
        values = cbor.load_fields(body)
        if not isinstance(values, dict) or set(values) != numbers:
            return False
        for number, value in values.items():
            check(BY_NUMBER[number], value)
    except ValueError:  # a field's error is one, too
        return False
    return True


def _blanked(run: bytes, why: str) -> Shown:
    return Shown(BLANK * len(run), f"{why}; {len(run)} bytes, blanked since they may be a piece of a secret")


def _with(frame: Frame, body: bytes, remark: str) -> Shown:
    return Shown(encode(frame._replace(body=body))[1:-1], f"{remark}; the CRC is made anew")


def _blank(value: Any) -> Any:
    if isinstance(value, bytes):
        return BLANK * len(value)
    return BLANK.decode() * len(value) if isinstance(value, str) else b""
