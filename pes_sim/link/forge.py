"""Frames that are wrong on purpose: any part of one can be overridden, to see what the other side makes of it.

What is not overridden is as it should be: `forge(frame)` is `encode(frame)`, and a frame with another service has the
CRC that belongs to it unless that is overridden, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final

from pes_sim.link.frame import Frame, cobs_encode


def forge(
    frame: Frame,
    *,
    version: int | None = None,
    kind: int | None = None,
    service: int | None = None,
    status: int | None = None,
    request_id: bytes | None = None,
    body: bytes | None = None,
    crc: int | bytes | None = None,
    stuffing: Callable[[bytes], bytes] = cobs_encode,
    before: bytes = b"\0",
    after: bytes = b"\0",
) -> bytes:
    """The bytes on the line of `frame`, with overrides. Raises `ValueError` for a number that has no byte.

    `request_id` may have any length, `body` need not be CBOR. `crc`: another CRC-32, or bytes in its place (b"" for
    none). `stuffing`: what makes the bytes on the line of the frame's; `STUFFING_FAULTS` has some that do it wrong.
    `before` and `after`: the delimiters, or what stands in their place (b"" for none).
    """
    numbers = zip(
        (version, kind, service, status), (frame.version, frame.kind, frame.service, frame.status), strict=True
    )
    head = bytes(good if forged is None else forged for forged, good in numbers)
    head += frame.request_id if request_id is None else request_id
    content = head + (frame.body if body is None else body)
    if crc is None:
        crc = zlib.crc32(content)
    closing = crc.to_bytes(4, "little") if isinstance(crc, int) else crc
    return before + stuffing(content + closing) + after


def _beyond_the_end(data: bytes) -> bytes:
    """The last code says one byte more than there is."""
    stuffed = bytearray(cobs_encode(data))
    at = 0
    while at + stuffed[at] < len(stuffed):
        at += stuffed[at]
    stuffed[at] += 1
    return bytes(stuffed)


STUFFING_FAULTS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "not stuffed": lambda data: data,
    "code beyond the end": _beyond_the_end,
    "last byte lost": lambda data: cobs_encode(data)[:-1],
    "first byte lost": lambda data: cobs_encode(data)[1:],
    "zero inside": lambda data: (stuffed := cobs_encode(data))[:12] + b"\0" + stuffed[12:],
    "a code too many": lambda data: cobs_encode(data) + b"\x01",
    "stuffed twice": lambda data: cobs_encode(cobs_encode(data)),
}
"""Ways to do COBS wrong. Each gives what no encoder makes of this data: no frame, or another one."""
