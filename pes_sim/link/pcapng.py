"""Blocks of a pcapng file (IETF draft-ietf-opsawg-pcapng): sections, interfaces and packets. No I/O.

Three blocks are all that a trace needs; the libraries there are for them bring readers, and are not kept. `Reader`
reads them back, as they come, whichever program has written them; blocks of other kinds are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from pes_sim.errors import UsageError

USER0: Final = 147
"""The link type of what nobody has registered: LINKTYPE_USER0."""

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
BEGIN: Final = struct.pack("<I", _SECTION)
"""What every pcapng file begins with; the same from either end."""
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


class Packet(NamedTuple):
    """A packet that was read. `on` and `description` are its interface's; `inbound` is None where nothing says that.

    `time` in microseconds since 1970; `dropped`: packets lost just before it.
    """

    on: str
    description: str
    time: int
    inbound: bool | None
    data: bytes
    comment: str
    dropped: int


class _Interface(NamedTuple):
    name: str
    description: str
    per_second: int
    """How many of its units of time a second has."""


_LONGEST: Final = 1 << 20
"""Bytes of a block. Ours have a few thousand; a reader need not take what a hostile file claims."""
_MAGIC: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}


class Reader:
    """Bytes in, packets out. Raises `UsageError` for what is no pcapng file, naming the byte at which it is not."""

    def __init__(self) -> None:
        self._rest = b""
        self._at = 0
        self._order = ""
        self._interfaces: list[_Interface] = []

    def feed(self, data: bytes) -> Iterator[Packet]:
        """What `data` completes."""
        self._rest += data
        while (block := self._next()) is not None:
            kind, body = block
            try:
                if kind == _SECTION:
                    self._interfaces = []
                elif kind == _INTERFACE:
                    self._interfaces.append(self._interface(body))
                elif kind == _PACKET:
                    yield self._packet(body)
            except (struct.error, IndexError, ValueError):
                raise self._bad("a block that cannot be read") from None
            self._at += len(body) + 12

    def end(self) -> None:
        """Nothing more comes. Raises `UsageError` in the middle of a block, and where nothing came at all."""
        if self._rest or not self._at:
            raise self._bad("the trace is cut off" if self._at else "no trace")

    def _next(self) -> tuple[int, bytes] | None:
        """The next block, once it is there whole."""
        if len(self._rest) < 12:
            return None
        if self._rest[:4] == struct.pack("<I", _SECTION):  # the same from both ends
            self._order = _MAGIC.get(self._rest[8:12], "")
        if not self._order:
            raise self._bad("this is no pcapng file")
        kind, length = struct.unpack_from(f"{self._order}II", self._rest)
        if length % 4 or not 12 <= length <= _LONGEST:
            raise self._bad(f"a block of {length} bytes")
        if len(self._rest) < length:
            return None
        block, self._rest = self._rest[:length], self._rest[length:]
        if block[-4:] != block[4:8]:
            raise self._bad("a block with two lengths")
        return kind, block[8:-4]

    def _interface(self, body: bytes) -> _Interface:
        options = self._options(body[8:])
        exponent = options.get(_INTERFACE_RESOLUTION, _MICROSECONDS)[0]
        units = 2 ** (exponent & 0x7F) if exponent & 0x80 else 10**exponent
        name, description = (
            options.get(code, b"").decode("utf-8", "replace") for code in (_INTERFACE_NAME, _INTERFACE_DESCRIPTION)
        )
        return _Interface(name, description, units)

    def _packet(self, body: bytes) -> Packet:
        on, high, low, length, _ = struct.unpack_from(f"{self._order}IIIII", body)
        if length > len(body) - 20:
            raise ValueError
        interface = self._interfaces[on]
        options = self._options(body[20 + length + -length % 4 :])
        (flags,) = struct.unpack(f"{self._order}I", options.get(_PACKET_FLAGS, bytes(4)))
        (dropped,) = struct.unpack(f"{self._order}Q", options.get(_PACKET_DROPPED, bytes(8)))
        return Packet(
            interface.name, interface.description, (high << 32 | low) * 1_000_000 // interface.per_second,
            {_INBOUND: True, _OUTBOUND: False}.get(flags & 3), body[20 : 20 + length],
            options.get(_COMMENT, b"").decode("utf-8", "replace"), dropped,
        )  # fmt: skip

    def _options(self, data: bytes) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        while data:
            code, length = struct.unpack_from(f"{self._order}HH", data)
            if code == _END or len(data) < 4 + length:
                break
            found.setdefault(code, data[4 : 4 + length])
            data = data[4 + length + -length % 4 :]
        return found

    def _bad(self, what: str) -> UsageError:
        return UsageError(f"{what}, at byte {self._at}", hint="Give a trace that --trace has written")
