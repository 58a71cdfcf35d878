"""A reader of pcapng of the tests' own, written after the IETF draft; it knows the three blocks that we write."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple


class Packet(NamedTuple):
    """A packet: the name of its line, when, which way, what, and what was said about it."""

    line: str
    time: int
    inbound: bool
    data: bytes
    comment: str
    dropped: int


class Capture(NamedTuple):
    """A section."""

    comment: str
    program: str
    lines: list[tuple[str, str]]
    packets: list[Packet]


def read(data: bytes) -> Capture:
    """The one section that `data` is. Fails for anything that is not as the draft says."""
    comment = program = ""
    lines: list[tuple[str, str]] = []
    packets: list[Packet] = []
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        assert length % 4 == 0
        assert data[at + length - 4 : at + length] == struct.pack("<I", length)
        body = data[at + 8 : at + length - 4]
        if kind == 0x0A0D0D0A:
            assert at == 0
            assert struct.unpack_from("<IHHq", body) == (0x1A2B3C4D, 1, 0, -1)
            said = _options(body[16:])
            comment, program = said[1].decode(), said[4].decode()
        elif kind == 1:
            assert struct.unpack_from("<HHI", body) == (147, 0, 0)
            said = _options(body[8:])
            assert said[9] == b"\x06"
            lines.append((said[2].decode(), said[3].decode()))
        else:
            assert kind == 6
            packets.append(_packet(body, lines))
        at += length
    return Capture(comment, program, lines, packets)


def _packet(body: bytes, lines: list[tuple[str, str]]) -> Packet:
    line, high, low, captured, original = struct.unpack_from("<IIIII", body)
    assert captured == original
    said = _options(body[20 + captured + -captured % 4 :])
    (flags,) = struct.unpack("<I", said[2])
    assert flags in (1, 2)
    (dropped,) = struct.unpack("<Q", said.get(4, bytes(8)))
    return Packet(
        lines[line][0], high << 32 | low, flags == 1, body[20 : 20 + captured], said.get(1, b"").decode(), dropped
    )


def _options(data: bytes) -> dict[int, Any]:
    found: dict[int, bytes] = {}
    at = 0
    while True:
        code, length = struct.unpack_from("<HH", data, at)
        at += 4
        if code == 0:
            assert at == len(data)
            return found
        found[code] = data[at : at + length]
        at += length + -length % 4
