"""Frames: COBS with a 0x00 delimiter around header, body and CRC-32. Sans-IO.

* Any bytes give frames or `ProtocolError`s that name their byte range in the stream, and nothing else.
* The next good frame after bad bytes is always read. Memory stays bounded: a run without a delimiter that is longer
  than any frame is reported once and dropped.
* What comes out does not depend on how the stream was cut into pieces.

Frame before COBS: version 1, kind 1, service 1, status 1, request id 16, body, CRC-32 (zlib's) over all before it,
little-endian.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

from pes_sim.errors import ProtocolError, Status

VERSION: Final = 1
MIN_MAX_FRAME: Final = 2048
"""Every side can take a frame of this length, in bytes before COBS."""
MAX_FRAME: Final = 4096

_HEADER: Final = struct.Struct("<BBBB16s")
_CRC: Final = struct.Struct("<I")
OVERHEAD: Final = _HEADER.size + _CRC.size
_LONGEST_RUN: Final = 254
_CODES: Final = tuple(bytes((length + 1,)) for length in range(_LONGEST_RUN + 1))
"""COBS: the byte before a run of so many bytes."""


class FrameKind(IntEnum):
    """Direction and purpose of a frame."""

    REQUEST = 1
    REPLY = 2
    EVENT = 3


class Frame(NamedTuple):  # not a dataclass: four are made for every request, and a tuple costs a quarter
    """One frame. `start:end` is where it stood in the received stream (0:0 for one that was made here)."""

    kind: int
    service: int
    status: int
    request_id: bytes
    body: bytes
    version: int = VERSION
    start: int = 0
    end: int = 0


def encode(frame: Frame) -> bytes:
    """The bytes on the line, with a delimiter before and after: noise ahead of a frame then cannot spoil it."""
    head = _HEADER.pack(frame.version, frame.kind, frame.service, frame.status, frame.request_id)
    content = head + frame.body
    return b"\0" + cobs_encode(content + _CRC.pack(zlib.crc32(content))) + b"\0"


def cobs_encode(data: bytes) -> bytes:
    """Consistent overhead byte stuffing (Cheshire and Baker, 1999): the same bytes without a 0x00."""
    if len(data) < _LONGEST_RUN:  # as most are
        return b"".join([_CODES[len(run)] + run for run in data.split(b"\0")])
    parts: list[bytes] = []
    for run in data.split(b"\0"):
        while len(run) > _LONGEST_RUN - 1:
            parts += _CODES[_LONGEST_RUN], run[:_LONGEST_RUN]
            run = run[_LONGEST_RUN:]
        parts += _CODES[len(run)], run
    return b"".join(parts)


def cobs_decode(data: bytes) -> bytes:
    """The reverse. Raises `ValueError` for bytes that no encoder makes."""
    if not data or 0 in data:
        raise ValueError("COBS is never empty, and never holds a zero byte")
    # Every code but that of a longest run stands where the zero was.
    out = bytearray(data)
    position, length, surplus = 0, len(data), [0]
    while position < length:
        code = data[position]
        out[position] = 0
        position += code
        if code == 0xFF and position < length:
            surplus.append(position)
    if position != length:
        raise ValueError("COBS code points beyond the end")
    for position in reversed(surplus):
        del out[position]
    return bytes(out)


class Framer:
    """Bytes in, frames and protocol errors out, in the order in which they ended in the stream."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._rest = b""
        self._offset = 0
        self._skipping = False
        self._max_frame = max_frame
        self._limit = max_frame + max_frame // 254 + 1  # after COBS

    def feed(self, data: bytes) -> list[Frame | ProtocolError]:
        """What `data` completes."""
        out: list[Frame | ProtocolError] = []
        *whole, rest = (self._rest + data).split(b"\0")
        for raw in whole:
            start = self._offset
            self._offset += len(raw) + 1
            if self._skipping:
                self._skipping = False
            elif len(raw) > self._limit:
                out.append(self._too_long(start))
            elif raw:
                out.append(_parse(raw, start, self._max_frame))
        if len(rest) > self._limit:
            if not self._skipping:
                out.append(self._too_long(self._offset))
                self._skipping = True
            self._offset += len(rest)
            rest = b""
        self._rest = rest
        return out

    def _too_long(self, start: int) -> ProtocolError:
        # The range ends at the byte that was too many: how much more there was is not known yet, or no matter.
        return ProtocolError(
            f"no frame has more than {self._max_frame} bytes; dropped up to the next delimiter",
            start, start + self._limit + 1, Status.FRAME_TOO_LARGE,
        )  # fmt: skip


def _parse(raw: bytes, start: int, max_frame: int) -> Frame | ProtocolError:
    end = start + len(raw)
    try:
        data = cobs_decode(raw)
    except ValueError:
        return ProtocolError("not COBS", start, end)
    if len(data) > max_frame:
        return ProtocolError(f"no frame has more than {max_frame} bytes", start, end, Status.FRAME_TOO_LARGE)
    if len(data) < OVERHEAD:
        return ProtocolError(f"{len(data)} bytes are too few for a frame", start, end)
    if zlib.crc32(data[:-4]) != _CRC.unpack(data[-4:])[0]:
        return ProtocolError("the CRC does not match", start, end)
    version, kind, service, status, request_id = _HEADER.unpack_from(data)
    return Frame(kind, service, status, request_id, data[_HEADER.size : -4], version, start, end)
