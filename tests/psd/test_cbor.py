"""Bodies: one encoding a value, and nothing else is read, whatever a peer sends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pes_sim.psd import cbor
from pes_sim.psd.cbor import dump, dump_fields, load, load_fields

KNOWN = {
    # RFC 8949, appendix A, as far as a body may hold it
    "00": 0,
    "17": 23,
    "1818": 24,
    "18ff": 255,
    "190100": 256,
    "1903e8": 1000,
    "1a000f4240": 1_000_000,
    "1b000000e8d4a51000": 10**12,
    "1bffffffffffffffff": 2**64 - 1,
    "20": -1,
    "3863": -100,
    "3bffffffffffffffff": -(2**64),
    "40": b"",
    "4401020304": b"\x01\x02\x03\x04",
    "60": "",
    "6449455446": "IETF",
    "62c3bc": "\N{LATIN SMALL LETTER U WITH DIAERESIS}",
    "64f0908591": "\U00010151",
    "80": [],
    "83010203": [1, 2, 3],
    "8301820203820405": [1, [2, 3], [4, 5]],
    "a0": {},
    "a201020304": {1: 2, 3: 4},
    "a26161016162820203": {"a": 1, "b": [2, 3]},
    # Keys in order: field numbers, and the facts of an error, shorter names first
    "a301001700181800": {24: 0, 23: 0, 1: 0},
    "a3616200626161006361616100": {"aaa": 0, "aa": 0, "b": 0},
    # As deep as a body goes: an error, its detail, a list in it
    "a103a166636c65617273816161": {3: {"clears": ["a"]}},
}

EARLY = "it ends too early"
OPEN = "a length is left open, or reserved"
LONG = "a number is longer than it needs to be"
OTHER = "it holds a tag, a float, true, false or null"
DEEP = "it is nested where it may not be"
ORDER = "its keys are not in order, each once"
REST = "bytes follow it"

REFUSED = [
    ("nothing at all", "", EARLY),
    ("a number without its byte", "18", EARLY),
    ("a number cut in the middle", "1a00ff", EARLY),
    ("a number cut before its last byte", "1bffffffffffffff", EARLY),
    ("bytes cut off", "4401", EARLY),
    ("bytes without their last", "44010203", EARLY),
    ("text cut off", "6449", EARLY),
    ("2^63 bytes announced", "5b7fffffffffffffff", EARLY),
    ("2^64 characters announced", "7bffffffffffffffff", EARLY),
    ("2^64 items announced", "9bffffffffffffffff", EARLY),
    ("2^64 pairs announced", "bbffffffffffffffff", EARLY),
    ("2^28 items announced", "9a10000000", EARLY),
    ("a list without its last item", "8201", EARLY),
    ("a map without its value", "a101", EARLY),
    ("a map without its last pair", "a20102", EARLY),
    ("bytes that never end", "5f4101ff", OPEN),
    ("text that never ends", "7f6161ff", OPEN),
    ("a list that never ends", "9f01ff", OPEN),
    ("a map that never ends", "bf0102ff", OPEN),
    ("a break on its own", "ff", OPEN),
    ("a reserved length", "1c", OPEN),
    ("another reserved length", "5d00", OPEN),
    ("0 in two bytes", "1800", LONG),
    ("23 in two bytes", "1817", LONG),
    ("255 in three bytes", "1900ff", LONG),
    ("65535 in five bytes", "1a0000ffff", LONG),
    ("2^32 - 1 in nine bytes", "1b00000000ffffffff", LONG),
    ("-1 in two bytes", "3800", LONG),
    ("a byte string's length in two bytes", "580101", LONG),
    ("a text's length in two bytes", "780161", LONG),
    ("a list's length in two bytes", "980101", LONG),
    ("a map's length in two bytes", "b8010101", LONG),
    ("a key in two bytes", "a1180101", LONG),
    ("a key in two bytes and no value", "a11801", LONG),
    ("a field's value in two bytes", "a1011805", LONG),
    ("a field's value in three bytes", "a1011900ff", LONG),
    ("a field's length in two bytes", "a101580101", LONG),
    ("a field's length in two bytes, and as many bytes as the first says", "a1015805" + "00" * 23, LONG),
    ("a field's length in five bytes", "a1017a0000ffff" + "61" * 65535, LONG),
    ("a field's value cut in the middle", "a1011a00ff", EARLY),
    ("a field's bytes without their last", "a10144010203", EARLY),
    ("a field's length reserved", "a1015d00", OPEN),
    ("false", "f4", OTHER),
    ("true", "f5", OTHER),
    ("null", "f6", OTHER),
    ("undefined", "f7", OTHER),
    ("a simple value", "f818", OTHER),
    ("half a float", "f93c00", OTHER),
    ("a float", "fb3ff0000000000000", OTHER),
    ("not a number", "f97e00", OTHER),
    ("true as a key, which equals 1", "a1f501", OTHER),
    ("1.0 as a key, which equals 1", "a1f93c0001", OTHER),
    ("a date", "c074323031332d30332d32315432303a30343a30305a", OTHER),
    ("a big number", "c249010000000000000000", OTHER),
    ("a big number as a key", "a1c24901000000000000000001", OTHER),
    ("a decimal fraction", "c48221196ab3", OTHER),
    ("a fraction over zero", "d81e820100", OTHER),
    ("a regular expression", "d823612e", OTHER),
    ("a list that holds itself", "d81c81d81d00", OTHER),
    ("a set", "d901028101", OTHER),
    ("a tagged map", "d9d9f7a0", OTHER),
    ("lists 4,000 deep", "81" * 4000, DEEP),
    ("maps 2,000 deep", "a101" * 2000, DEEP),
    ("tags 4,000 deep", "c1" * 4000, OTHER),
    ("a list one too deep", "8181818100", DEEP),
    ("a map one too deep", "a101a101a101a0", DEEP),
    ("a list as a key", "a18000", DEEP),
    ("a map as a key", "a1a000", DEEP),
    ("a key twice", "a201000100", ORDER),
    ("a text key twice", "a2616100616100", ORDER),
    ("a key of one byte after one of two", "a21818002000", ORDER),
    ("keys in falling order", "a202000100", ORDER),
    ("a longer key first", "a262616100616200", ORDER),
    ("a key twice in a map within", "a101a201000100", ORDER),
    ("a number as long as a text before it", "a2616100181800", ORDER),
    ("0 after -1", "a220000000", ORDER),
    ("a number after it", "a000", REST),
    ("a second body after it", "a0a0", REST),
    ("zeros after it", "00" * 100, REST),
    ("text that is no UTF-8", "61ff", "a text is not UTF-8"),
    ("half a surrogate pair", "63eda080", "a text is not UTF-8"),
    ("a key that is no UTF-8", "a161ff00", "a text is not UTF-8"),
]  # fmt: skip


def nested_references(depth: int) -> bytes:
    """A map of one key: a list of (a list of (...) and once more the same): 6 bytes a level, twice the work."""
    key = b"\xd8\x1c\x82\x01\x02"
    for level in reversed(range(depth)):
        number = level + 1
        key = b"\xd8\x1c\x82" + key + b"\xd8\x1d" + (bytes([number]) if number < 24 else bytes([0x18, number]))
    return b"\xa1" + key + b"\x01"


NUMBERS: Final = st.integers(-(2**64), 2**64 - 1)
LEAVES: Final = NUMBERS | st.binary(max_size=300) | st.text(max_size=300)
LISTS: Final = st.lists(LEAVES, max_size=30)
FACTS: Final = st.dictionaries(st.text(max_size=30), LEAVES | LISTS)
MIXED: Final = st.dictionaries(NUMBERS | st.text(max_size=30) | st.binary(max_size=3), LEAVES)
VALUES: Final = LEAVES | LISTS | FACTS | MIXED
BODIES: Final = st.dictionaries(st.integers(0, 2**64 - 1), VALUES)


@pytest.mark.parametrize(("encoded", "value"), KNOWN.items())
def test_a_value_has_just_these_bytes(encoded: str, value: object) -> None:
    assert dump(value).hex() == encoded
    assert load(bytes.fromhex(encoded)) == value


@given(BODIES)
def test_any_body_comes_back_as_it_was(body: dict[int, object]) -> None:
    assert load(dump(body)) == body


@given(BODIES)
def test_the_order_in_which_a_body_was_made_does_not_show(body: dict[int, object]) -> None:
    assert dump(dict(reversed(body.items()))) == dump(body)


@given(st.dictionaries(st.integers(0, 2**32), LEAVES | LISTS))
def test_fields_that_stand_in_order_are_encoded_alike(body: dict[int, object]) -> None:
    assert dump_fields(dict(sorted(body.items()))) == dump(body)


@pytest.mark.parametrize(("encoded", "why"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_anything_else_is_a_value_error_that_says_why(encoded: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        load(bytes.fromhex(encoded))
    with pytest.raises(ValueError, match=f"^{why}$"):
        load_fields(bytes.fromhex(encoded))


def read(reader: Callable[[bytes], object], data: bytes) -> object:
    """The value, or why there is none."""
    try:
        return reader(data)
    except ValueError as problem:
        return str(problem)


SHORT: Final = st.dictionaries(st.integers(0, 300), LEAVES | LISTS, max_size=20)


@given(SHORT)
def test_fields_are_read_alike_in_one_loop(body: dict[int, object]) -> None:
    assert load_fields(dump(body)) == body


EDGES: Final = [0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1]
PLAIN: Final = st.dictionaries(st.integers(0, 255), LEAVES | LISTS | FACTS, max_size=23)


@contextlib.contextmanager
def without_load() -> Iterator[None]:
    """Whoever asks `load` fails."""
    whole = cbor.load
    cbor.load = lambda data: pytest.fail(f"load was asked for {data.hex()}")
    try:
        yield
    finally:
        cbor.load = whole


@given(PLAIN)
@example({0: 1, 1: 1, 23: 1, 24: 1, 25: 1, 255: 1})
@example(dict(enumerate(EDGES)))
@example(dict(enumerate(-1 - number for number in EDGES)))
@example({number: b"\x18" * length for number, length in enumerate((0, 1, 23, 24, 25, 255, 256, 3000))})
@example({number: "\x18" * length for number, length in enumerate((0, 1, 23, 24, 25, 255, 256, 3000))})
@example({1: [], 2: [1, b"2", "3"], 3: {"clears": ["a"]}, 24: []})
def test_fields_by_number_as_nearly_every_body_has_them_take_the_one_loop(body: dict[int, object]) -> None:
    data = dump(body)
    with without_load():
        assert load_fields(data) == body


@given(SHORT, st.data())
def test_what_is_wrong_with_fields_is_what_load_says(body: dict[int, object], data: st.DataObject) -> None:
    whole = bytearray(dump(body))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        assert read(load_fields, bytes(whole)) == read(load, bytes(whole))
        if not whole:
            break


@pytest.mark.parametrize("depth", [3, 40])
def test_nested_references_are_refused_before_they_hold_a_decoder_up_for_hours(depth: int) -> None:
    with pytest.raises(ValueError, match=OTHER):
        load(nested_references(depth))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_error_or_the_one_encoding_of_what_is_read(data: bytes) -> None:
    try:
        value = load(data)
    except ValueError:
        return
    assert dump(value) == data


@given(BODIES.filter(bool), st.data())
def test_a_body_cut_off_anywhere_is_refused(body: dict[int, object], data: st.DataObject) -> None:
    whole = dump(body)
    with pytest.raises(ValueError, match=EARLY):
        load(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(BODIES, st.data())
def test_a_changed_byte_gives_another_body_or_a_value_error(body: dict[int, object], data: st.DataObject) -> None:
    whole = bytearray(dump(body))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        value = load(bytes(whole))
    except ValueError:
        return
    assert value != body
    assert dump(value) == whole
