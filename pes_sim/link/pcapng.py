"""Blocks of a pcapng file (IETF draft-ietf-opsawg-pcapng): sections, interfaces and packets. Bytes out, no I/O.

Three blocks are all that a trace needs; the libraries there are for them bring readers, and are not kept.
"""

from __future__ import annotations

import struct
from typing import Final

USER0: Final = 147
"""The link type of what nobody has registered: LINKTYPE_USER0."""

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_END, _COMMENT = 0, 1
_SECTION_PROGRAM: Final = 4
_INTERFACE_NAME, _INTERFACE_DESCRIPTION, _INTERFACE_RESOLUTION = 2, 3, 9
_PACKET_FLAGS, _PACKET_DROPPED = 2, 4
_INBOUND, _OUTBOUND = 1, 2
_MICROSECONDS: Final = b"\x06"
"""Time stamps count in 10 to the power of minus six seconds."""


def section(program: str, comment: str) -> bytes:
    """What a file begins with."""
    head = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    return _block(_SECTION, head, [(_COMMENT, comment.encode()), (_SECTION_PROGRAM, program.encode())])


def interface(name: str, description: str) -> bytes:
    """What packets were seen on. The first of a section has number 0."""
    options = [
        (_INTERFACE_NAME, name.encode()),
        (_INTERFACE_DESCRIPTION, description.encode()),
        (_INTERFACE_RESOLUTION, _MICROSECONDS),
    ]
    return _block(_INTERFACE, struct.pack("<HHI", USER0, 0, 0), options)


def packet(on: int, time: int, data: bytes, *, inbound: bool, comment: str = "", dropped: int = 0) -> bytes:
    """A packet on interface number `on`. `time` in microseconds since 1970; `dropped`: packets lost just before it."""
    head = struct.pack("<IIIII", on, time >> 32, time & 0xFFFFFFFF, len(data), len(data))
    options = [(_PACKET_FLAGS, struct.pack("<I", _INBOUND if inbound else _OUTBOUND))]
    if dropped:
        options.append((_PACKET_DROPPED, struct.pack("<Q", dropped)))
    if comment:
        options.append((_COMMENT, comment.encode()))
    return _block(_PACKET, head + _padded(data), options)


def _block(kind: int, body: bytes, options: list[tuple[int, bytes]]) -> bytes:
    for code, value in [*options, (_END, b"")]:
        body += struct.pack("<HH", code, len(value)) + _padded(value)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
