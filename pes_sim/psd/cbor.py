"""The CBOR of bodies and messages: a small, deterministic part of it (RFC 8949 §4.2.1), one encoding a value.

* Integers, byte strings, text, lists, and maps whose keys stand in order, each once. Nothing else.
* Reading is our own: a general decoder builds what a peer's tags tell it to, and a few hundred bytes of nested
  references in a key (tags 28 and 29) hold it up for hours. Checking and reading are one pass here.
"""

from __future__ import annotations

import io
from typing import Any, Final

import cbor2

_NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _OTHER = 0x20, 0x40, 0x60, 0x80, 0xA0, 0xC0
"""The least first byte of each major type. Below are the integers from 0 on; `_OTHER` are tags, floats, true, null."""
_INLINE: Final = 24
"""A number below it stands in the first byte itself; this one there says: in the byte that follows."""
_DEPTH: Final = 3
"""A body is a map, an error's detail in it is one too, and that may hold a list."""
_LONG: Final = ((1, 24), (2, 1 << 8), (4, 1 << 16), (8, 1 << 32))
"""What an item's first byte says of a number that follows, from `_INLINE` on: in how many bytes, and the smallest that
needs so many."""

_canonical: Final[list[cbor2.CBOREncoder]] = []
_plain: Final[list[cbor2.CBOREncoder]] = []
"""Encoders at rest: making one costs more than encoding a body with it. A thread takes one out while it uses it."""


def dump(body: object) -> bytes:
    """The one encoding of `body`."""
    encoder = _canonical.pop() if _canonical else cbor2.CBOREncoder(io.BytesIO(), canonical=True)
    data: bytes = encoder.encode_to_bytes(body)
    _canonical.append(encoder)
    return data


def dump_fields(body: dict[int, object]) -> bytes:
    """The same for fields by number that stand in order and hold no map: nothing is left to be put in order."""
    encoder = _plain.pop() if _plain else cbor2.CBOREncoder(io.BytesIO())
    data: bytes = encoder.encode_to_bytes(body)
    _plain.append(encoder)
    return data


def load(data: bytes) -> Any:
    """What `dump` made `data` of. Raises `ValueError` for bytes that it does not make."""
    try:
        value, end = _item(data, 0, _DEPTH)
    except IndexError:
        raise ValueError("it ends too early") from None
    except UnicodeDecodeError:
        raise ValueError("a text is not UTF-8") from None
    if end != len(data):
        raise ValueError("bytes follow it")
    return value


def load_fields(data: bytes) -> Any:
    """What `load` says, sooner where `data` is a map of fields by number, as nearly every body is.

    One loop, without a call for each item: a body stands in the way of every debit, four times. Whatever is not plainly
    such a map, a fault above all, is left to `load`.
    """
    length = len(data)
    if not length or not _MAP <= data[0] < _MAP + _INLINE:
        return load(data)
    numbered: dict[int, Any] = {}
    before, at = -1, 1
    try:
        for _ in range(data[0] - _MAP):
            key = data[at]
            at += 1
            if key == _INLINE and data[at] >= _INLINE:
                key = data[at]
                at += 1
            elif key >= _INLINE:
                return load(data)
            if key <= before:
                return load(data)
            before = key
            first = data[at]
            number = first & 0x1F
            if first >= _ARRAY or _NEGATIVE <= first < _BYTES:
                numbered[key], at = _item(data, at, _DEPTH - 1)
                continue
            at += 1
            if number == _INLINE and data[at] >= _INLINE:
                number = data[at]
                at += 1
            elif number >= _INLINE:
                width, least = _LONG[number - _INLINE]
                end = at + width
                number = int.from_bytes(data[at:end], "big")
                at = end
                if number < least:
                    return load(data)
            if first < _NEGATIVE:
                numbered[key] = number
                continue
            end = at + number
            numbered[key] = data[at:end] if first < _TEXT else str(data[at:end], "utf-8")
            at = end
    except (IndexError, ValueError):
        return load(data)
    return numbered if at == length else load(data)


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The item at `at`, and where it ends. Raises `IndexError` for one that is cut off."""
    first = data[at]
    at += 1
    if first < _INLINE:
        return first, at
    number = first & 0x1F
    if number == _INLINE and data[at] >= _INLINE:  # by far the most: a field's number, the length of bytes or a text
        number = data[at]
        at += 1
    elif number >= _INLINE:
        number, at = _number(data, at, number)
    if first < _NEGATIVE:
        return number, at
    if first < _BYTES:
        return -1 - number, at
    if first < _ARRAY:
        end = at + number
        if end > len(data):
            raise IndexError
        return (data[at:end] if first < _TEXT else str(data[at:end], "utf-8")), end
    if first >= _OTHER:
        raise ValueError("it holds a tag, a float, true, false or null")
    if depth == 0:
        raise ValueError("it is nested where it may not be")
    return _array(data, at, number, depth - 1) if first < _MAP else _map(data, at, number, depth - 1)


def _number(data: bytes, at: int, code: int) -> tuple[int, int]:
    if code >= _INLINE + len(_LONG):
        raise ValueError("a length is left open, or reserved")
    width, least = _LONG[code - _INLINE]
    end = at + width
    if end > len(data):
        raise IndexError
    number = int.from_bytes(data[at:end], "big")
    if number < least:
        raise ValueError("a number is longer than it needs to be")
    return number, end


def _array(data: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(count):
        item, at = _item(data, at, depth)
        items.append(item)
    return items, at


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
    pairs: dict[Any, Any] = {}
    number = -1
    last = last_end = at
    for _ in range(count):
        key, end = _item(data, at, 0)
        # Shorter keys first (§4.2.3), as the encoder has it; among texts §4.2.1 says the same. Field numbers, as most
        # keys are, have the order of their encodings.
        rises = type(key) is int and key > number >= 0
        if not rises and (end - at, data[at:end]) <= (last_end - last, data[last:last_end]):
            raise ValueError("its keys are not in order, each once")
        number = key if type(key) is int else -1
        last, last_end = at, end
        pairs[key], at = _item(data, end, depth)
    return pairs, at
