"""The CBOR of bodies and messages: a small, deterministic part of it (RFC 8949 §4.2.1), one encoding a value.

* Integers, byte strings, text, lists, and maps whose keys stand in order, each once. Nothing else.
* Bytes are checked before a decoder meets them. Tags make it build what a peer likes, and a few hundred bytes of
  nested references in a key (tags 28 and 29) hold it up for hours.
"""

from __future__ import annotations

from typing import Any, Final

import cbor2

_BYTES, _TEXT, _ARRAY, _MAP = 2, 3, 4, 5
"""CBOR's major types from those with a length on. Below are integers; beyond are tags, floats, true, false, null."""
_DEPTH: Final = 3
"""A body is a map, an error's detail in it is one too, and that may hold a list."""
_LONG: Final = {24: (1, 24), 25: (2, 1 << 8), 26: (4, 1 << 16), 27: (8, 1 << 32)}
"""What an item's first byte says of a number that follows: in how many bytes, and the smallest that needs so many."""


def dump(body: object) -> bytes:
    """The one encoding of `body`."""
    data: bytes = cbor2.dumps(body, canonical=True)
    return data


def load(data: bytes) -> Any:
    """What `dump` made `data` of. Raises `ValueError` for bytes that it does not make."""
    if _end(data, 0, _DEPTH) != len(data):
        raise ValueError("bytes follow it")
    try:
        return cbor2.loads(data)
    except cbor2.CBORDecodeError:
        raise ValueError("a text is not UTF-8") from None  # all else was checked


def _end(data: bytes, at: int, depth: int) -> int:
    """Where the item at `at` ends. Raises `ValueError` for one that no body holds."""
    if at == len(data):
        raise ValueError("it ends too early")
    major, number, least = data[at] >> 5, data[at] & 0x1F, 0
    at += 1
    if number > 23:
        if number not in _LONG:
            raise ValueError("a length is left open, or reserved")
        width, least = _LONG[number]
        number, at = int.from_bytes(data[at : at + width], "big"), at + width
    if major in (_BYTES, _TEXT):
        at += number
    if at > len(data):
        raise ValueError("it ends too early")
    if number < least:
        raise ValueError("a number is longer than it needs to be")
    if major < _ARRAY:
        return at
    if major > _MAP:
        raise ValueError("it holds a tag, a float, true, false or null")
    if depth == 0:
        raise ValueError("it is nested where it may not be")
    return _end_of_array(data, at, number, depth - 1) if major == _ARRAY else _end_of_map(data, at, number, depth - 1)


def _end_of_array(data: bytes, at: int, count: int, depth: int) -> int:
    for _ in range(count):
        at = _end(data, at, depth)
    return at


def _end_of_map(data: bytes, at: int, count: int, depth: int) -> int:
    last = (0, b"")
    for _ in range(count):
        end = _end(data, at, 0)
        # Shorter keys first (§4.2.3), as the encoder has it. Among field numbers, as among texts, §4.2.1 says the same.
        key = (end - at, data[at:end])
        if key <= last:
            raise ValueError("its keys are not in order, each once")
        last, at = key, _end(data, end, depth)
    return at
