"""Frames: the bytes on the line, pinned to published vectors, and what becomes of any other bytes."""

from __future__ import annotations

import itertools
import json
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.errors import ProtocolError, Status
from pes_sim.link.frame import (
    MAX_FRAME,
    MIN_MAX_FRAME,
    OVERHEAD,
    VERSION,
    Frame,
    FrameKind,
    Framer,
    cobs_decode,
    cobs_encode,
    encode,
)
from tests.link.by_hand import by_hand, by_hand_cobs, by_hand_crc32

PUBLISHED: Final = Path(__file__).parents[1] / "vectors" / "frames" / "by_hand.json"

RUN = bytes(range(1, 255))
"""The 254 bytes 01 to FE: the longest run that one COBS code covers."""

COBS = {
    # Wikipedia, "Consistent Overhead Byte Stuffing", encoding examples 1 to 6, 9 to 11 (read 2026; without delimiters)
    b"\0": b"\x01\x01",
    b"\0\0": b"\x01\x01\x01",
    b"\0\x11\0": b"\x01\x02\x11\x01",
    b"\x11\x22\0\x33": b"\x03\x11\x22\x02\x33",
    b"\x11\x22\x33\x44": b"\x05\x11\x22\x33\x44",
    b"\x11\0\0\0": b"\x02\x11\x01\x01\x01",
    RUN + b"\xff": b"\xff" + RUN + b"\x02\xff",
    RUN[1:] + b"\xff\0": b"\xff" + RUN[1:] + b"\xff\x01\x01",
    RUN[2:] + b"\xff\0\x01": b"\xfe" + RUN[2:] + b"\xff\x02\x01",
    # Cheshire and Baker, IEEE/ACM Transactions on Networking 7(2), 1999: the packet of their encoding example
    bytes.fromhex("4500002c4c79000040064f37"): bytes.fromhex("024501042c4c79010540064f37"),
    # At the edges
    b"": b"\x01",
    RUN[:-1]: b"\xfe" + RUN[:-1],
    RUN + b"\0": b"\xff" + RUN + b"\x01\x01",
    RUN + RUN + b"\x07": b"\xff" + RUN + b"\xff" + RUN + b"\x02\x07",
}

COBS_TWO_FORMS = {
    # Wikipedia's examples 7 and 8. The code of the paper closes a full last run with an empty one, and so do we;
    # many later encoders leave it out. Both are read.
    RUN: (b"\xff" + RUN + b"\x01", b"\xff" + RUN),
    b"\0" + RUN: (b"\x01\xff" + RUN + b"\x01", b"\x01\xff" + RUN),
    RUN + RUN: (b"\xff" + RUN + b"\xff" + RUN + b"\x01", b"\xff" + RUN + b"\xff" + RUN),
}

NO_COBS = [b"", b"\0", b"\x02", b"\x03\x01", b"\x01\x05", b"\xff" + RUN[:-1], b"\x02\0", b"\x03\x11\0", b"\x01\0\x01"]

ID: Final = bytes(range(16))
HELLO: Final = Frame(FrameKind.REQUEST, 0, 0, ID, b"\xa0")

FRAMES = st.builds(
    Frame,
    kind=st.integers(0, 255),
    service=st.integers(0, 255),
    status=st.integers(0, 255),
    request_id=st.binary(min_size=16, max_size=16),
    body=st.binary(max_size=40) | st.binary(min_size=700, max_size=1200),
    version=st.integers(0, 255),
)
NOISE = st.lists(
    st.sampled_from([b"\0", b"\0\0", b"\x01", b"\xff" * 9, encode(HELLO), encode(HELLO)[:-9], b"hello\r\n"])
    | st.binary(max_size=30)
    | st.builds(bytes.__mul__, st.sampled_from([b"x", b"\xff"]), st.integers(60, 300))
).map(b"".join)
SMALL: Final = 64
"""A framer with a limit this low meets runs that are too long often."""


def by_hand_vectors() -> dict[str, Any]:
    """What tests/vectors/frames/by_hand.json holds; this wrote it."""
    good = {
        # name: kind, service, status, request id, body (hex)
        "hello: a host asks for version 1 and frames of 4096 bytes": (1, 0, 0, ID, "a3184601184701184819" + "1000"),
        "hello: a PSD agrees": (2, 0, 0, ID, "a3184819" + "1000" + "184901184a63707364"),
        "get_registers, which asks nothing": (1, 3, 0, bytes(15) + b"\x01", "a0"),
        "get_registers: all zero": (2, 3, 0, bytes(15) + b"\x01", "a60900" + "1400150016001700181800"),
        "dispense, 74 cents": (
            1, 0x20, 0, bytes(range(0xF0, 0x100)),
            "a6" "18281902e4" "18296a323032362d31312d3231" "182a7266697273745f636c6173735f6c6574746572" "182b1864"
            "182c69313030303131323334" "182d43313030",
        ),
        "dispense refused: 5 mills are missing": (
            2, 0x20, 0x22, bytes(range(0xF0, 0x100)),
            "a3" "016a746f6f206c6974746c65" "0266526566696c6c" "03a16d6d697373696e675f6d696c6c7305",
        ),
        "a broken frame is reported: no service, no request id": (
            2, 0xFF, 0x10, bytes(16), "a301" "68" "6e6f7420434f4253" "0260" "03a0",
        ),
        "no body": (1, 0x7F, 0, b"\xff" * 16, ""),
        "a body of zeros only": (1, 1, 0, ID, "00" * 300),
        "a body without a zero, longer than a COBS run": (1, 1, 0, ID, "a5" * 600),
        "content of 254 bytes without a zero up to the CRC": (255, 255, 255, b"\x01" * 16, "5a" * 230),
        "the longest frame": (1, 1, 0, ID, bytes(n % 255 + 1 for n in range(4096 - 24)).hex()),
    }  # fmt: skip
    frames = []
    for name, (kind, service, status, request_id, body) in good.items():
        line = by_hand(1, kind, service, status, request_id, bytes.fromhex(body)).hex()
        fields = {"version": 1, "kind": kind, "service": service, "status": status, "request_id": request_id.hex()}
        frames.append({"name": name, **fields, "body": body, "line": line})
    whole = by_hand(1, 1, 3, 0, ID, b"\xa0")
    flipped = whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:]
    too_long = by_hand(1, 1, 0, 0, ID, b"\xa5" * (4096 - 24 + 1))
    short = b"\x01\x01" + struct.pack("<I", by_hand_crc32(b"\x01\x01"))
    bad = [
        # name, line, status, start, end
        ("one bit of the CRC is wrong", flipped, 0x10, 1, len(flipped) - 1),
        ("the last byte is lost", whole[:-2] + b"\0", 0x10, 1, len(whole) - 2),
        ("two frames run into each other", whole[:-1] + whole[1:], 0x10, 1, 2 * len(whole) - 3),
        ("text", b"\0login: \0", 0x10, 1, 8),
        ("a code that points beyond the end", b"\x05abc\0", 0x10, 0, 4),
        ("too few bytes, CRC correct", b"\0" + by_hand_cobs(short) + b"\0", 0x10, 1, 8),
        ("one byte longer than the longest", too_long, 0x15, 1, len(too_long) - 1),
        ("a run that no frame could be", b"\xa5" * 5000 + b"\0", 0x15, 0, 4114),
    ]  # fmt: skip
    broken = [
        {"name": name, "line": line.hex(), "status": status, "start": start, "end": end}
        for name, line, status, start, end in bad
    ]
    about = (
        "Frames of the serial protocol, byte for byte. Written once by by_hand_vectors() in tests/link/test_frame.py, "
        "which shares no code with pes_sim. All values in hex but the small integers. 'line' is what goes over the "
        "line: a delimiter, COBS of version, kind, service, status, request_id, body and CRC-32 (little-endian), a "
        "delimiter. 'broken' lists what is no frame, the status of the answer to it, and the range of bytes, counted "
        "from the first of 'line', that the answer names; a device that takes frames of 4096 bytes is assumed."
    )
    return {"about": about, "frames": frames, "broken": broken}


VECTORS: Final[dict[str, Any]] = json.loads(PUBLISHED.read_text())


def parsed(vector: dict[str, Any]) -> Frame:
    line = bytes.fromhex(vector["line"])
    return Frame(
        vector["kind"],
        vector["service"],
        vector["status"],
        bytes.fromhex(vector["request_id"]),
        bytes.fromhex(vector["body"]),
        vector["version"],
        start=1,
        end=len(line) - 1,
    )


def standing(frame: Frame, at: int) -> Frame:
    """The frame as it is read when its first delimiter stands at `at` in the stream."""
    return frame._replace(start=at + 1, end=at + len(encode(frame)) - 1)


# A framer as plain as can be: it has the whole stream before it begins.


def plain(stream: bytes, max_frame: int) -> list[Frame | tuple[Status, int, int]]:
    limit = len(by_hand_cobs(b"x" * max_frame))
    out: list[Frame | tuple[Status, int, int]] = []
    start = 0
    *runs, rest = stream.split(b"\0")
    for run in runs:
        end = start + len(run)
        if len(run) > limit:
            out.append((Status.FRAME_TOO_LARGE, start, start + limit + 1))
        elif run:
            out.append(plain_frame(run, start, end, max_frame))
        start = end + 1
    if len(rest) > limit:
        out.append((Status.FRAME_TOO_LARGE, start, start + limit + 1))
    return out


def plain_frame(run: bytes, start: int, end: int, max_frame: int) -> Frame | tuple[Status, int, int]:
    data, position = b"", 0
    while position < len(run):
        code = run[position]
        block = run[position + 1 : position + code]
        if len(block) != code - 1:
            return Status.BAD_FRAME, start, end
        data += block + (b"" if code == 255 else b"\0")
        position += code
    if run and code != 255:
        data = data[:-1]
    if len(data) > max_frame:
        return Status.FRAME_TOO_LARGE, start, end
    if len(data) < 24 or by_hand_crc32(data) != 0x2144DF1C:  # the CRC of anything with its CRC behind it
        return Status.BAD_FRAME, start, end
    version, kind, service, status = data[:4]
    return Frame(kind, service, status, data[4:20], data[20:-4], version, start, end)


def comparable(items: list[Frame | ProtocolError]) -> list[Frame | tuple[Status, int, int]]:
    out: list[Frame | tuple[Status, int, int]] = []
    for item in items:
        if isinstance(item, ProtocolError):
            start, end = item.detail["start"], item.detail["end"]
            assert isinstance(start, int)
            assert isinstance(end, int)
            assert item.message.endswith(f"(bytes {start} to {end})")
            out.append((item.status, start, end))
        else:
            out.append(item)
    return out


def fed(stream: bytes, cuts: list[int], max_frame: int = MAX_FRAME) -> list[Frame | tuple[Status, int, int]]:
    """What comes of a stream that arrives in pieces, cut at `cuts`."""
    framer = Framer(max_frame)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return comparable([item for a, b in itertools.pairwise(edges) for item in framer.feed(stream[a:b])])


# The published vectors


def test_the_published_vectors_are_those_of_the_independent_implementation() -> None:
    assert json.loads(PUBLISHED.read_text()) == by_hand_vectors()


def test_the_independent_implementation_agrees_with_the_papers() -> None:
    assert by_hand_crc32(b"123456789") == 0xCBF43926  # the check value of every CRC catalogue
    assert all(by_hand_cobs(data) == stuffed for data, stuffed in COBS.items())


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: str(vector["name"]))
def test_a_frame_has_just_the_published_bytes(vector: dict[str, Any]) -> None:
    assert encode(parsed(vector)).hex() == vector["line"]


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: str(vector["name"]))
def test_the_published_bytes_are_read_as_that_frame(vector: dict[str, Any]) -> None:
    assert Framer().feed(bytes.fromhex(vector["line"])) == [parsed(vector)]


@pytest.mark.parametrize("vector", VECTORS["broken"], ids=lambda vector: str(vector["name"]))
def test_published_bytes_that_are_no_frame_are_reported_with_their_range(vector: dict[str, Any]) -> None:
    line = bytes.fromhex(vector["line"])
    assert fed(line, []) == [(vector["status"], vector["start"], vector["end"])]
    assert fed(line + encode(HELLO), [])[1:] == [standing(HELLO, len(line))]


def test_a_frame_that_was_made_here_stands_nowhere() -> None:
    assert (HELLO.start, HELLO.end, HELLO.version) == (0, 0, VERSION)


def test_the_constants_that_others_build_upon() -> None:
    assert (VERSION, MIN_MAX_FRAME, MAX_FRAME, OVERHEAD) == (1, 2048, 4096, 24)
    assert (FrameKind.REQUEST, FrameKind.REPLY) == (1, 2)


# COBS


@pytest.mark.parametrize(("data", "stuffed"), COBS.items())
def test_cobs_has_the_bytes_of_the_literature(data: bytes, stuffed: bytes) -> None:
    assert cobs_encode(data) == stuffed
    assert cobs_decode(stuffed) == data


@pytest.mark.parametrize(("data", "forms"), COBS_TWO_FORMS.items())
def test_a_full_last_run_is_read_with_and_without_an_empty_one_after_it(
    data: bytes, forms: tuple[bytes, bytes]
) -> None:
    with_empty, without = forms
    assert cobs_encode(data) == with_empty
    assert cobs_decode(with_empty) == cobs_decode(without) == data


@given(st.binary(max_size=600) | st.lists(st.sampled_from([b"\0", RUN[:253], RUN, b"\x07"])).map(b"".join))
def test_cobs_gives_any_bytes_back_without_a_zero_in_between(data: bytes) -> None:
    stuffed = cobs_encode(data)
    assert 0 not in stuffed
    assert len(stuffed) <= len(data) + len(data) // 254 + 1
    assert stuffed == by_hand_cobs(data)
    assert cobs_decode(stuffed) == data


@pytest.mark.parametrize("stuffed", NO_COBS)
def test_what_no_encoder_makes_is_a_value_error(stuffed: bytes) -> None:
    with pytest.raises(ValueError, match="COBS"):
        cobs_decode(stuffed)


@given(st.binary(max_size=300))
def test_any_bytes_are_cobs_of_something_or_a_value_error(stuffed: bytes) -> None:
    try:
        data = cobs_decode(stuffed)
    except ValueError:
        return
    assert cobs_encode(data) in (stuffed, stuffed + b"\x01")


# One frame


@given(FRAMES)
def test_any_frame_comes_back_as_it_was(frame: Frame) -> None:
    line = encode(frame)
    assert line[0] == line[-1] == 0
    assert 0 not in line[1:-1]
    assert Framer().feed(line) == [standing(frame, 0)]


@given(FRAMES.filter(lambda frame: len(frame.body) < 50), st.data())
def test_a_frame_with_any_one_bit_flipped_is_never_read_as_a_frame(frame: Frame, data: st.DataObject) -> None:
    line = bytearray(encode(frame))
    bit = data.draw(st.integers(8, 8 * len(line) - 9))
    line[bit // 8] ^= 1 << bit % 8
    items = Framer().feed(bytes(line))
    assert items
    assert all(isinstance(item, ProtocolError) for item in items)


def incompressible(length: int) -> Frame:
    """A frame of that length before COBS, without a zero anywhere, which is longest after it."""
    for number in range(1, 256):
        frame = Frame(1, 1, 1, b"\x01" * 16, bytes([number]) * (length - OVERHEAD))
        line = encode(frame)
        if len(line) == length + length // 254 + 3:
            return frame
    raise AssertionError("every CRC has a zero")


@pytest.mark.parametrize("max_frame", [24, 64, 253, 254, 255, 507, 508, MIN_MAX_FRAME, MAX_FRAME])
def test_the_longest_frame_is_read_and_one_byte_more_is_too_large(max_frame: int) -> None:
    for longest in (incompressible(max_frame), Frame(1, 1, 0, ID, bytes(max_frame - OVERHEAD))):
        line = encode(longest)
        assert fed(line, [], max_frame) == [standing(longest, 0)]
        assert fed(line, list(range(len(line))), max_frame) == [standing(longest, 0)]
        too_long = encode(longest._replace(body=longest.body + b"\x01"))
        ((status, start, _),) = fed(too_long, [], max_frame)  # type: ignore[misc]
        assert (status, start) == (Status.FRAME_TOO_LARGE, 1)


@pytest.mark.parametrize("length", range(OVERHEAD))
def test_too_few_bytes_are_no_frame_even_with_a_good_crc(length: int) -> None:
    content = bytes(max(0, length - 4))
    data = (content + struct.pack("<I", by_hand_crc32(content)))[:length]
    (error,) = Framer().feed(cobs_encode(data) + b"\0")
    assert isinstance(error, ProtocolError)
    assert error.message == f"{length} bytes are too few for a frame (bytes 0 to {length + 1})"


# A stream


def test_nothing_comes_of_nothing() -> None:
    framer = Framer()
    assert framer.feed(b"") == []
    assert framer.feed(bytes(1000)) == []


def test_a_frame_comes_out_with_the_byte_that_ends_it_and_not_before() -> None:
    framer = Framer()
    *before, last = (framer.feed(bytes([byte])) for byte in encode(HELLO))
    assert before == [[]] * len(before)
    assert last == [standing(HELLO, 0)]


@given(NOISE, st.lists(st.integers(0, 10**6)), st.sampled_from([SMALL, MAX_FRAME]))
def test_it_does_not_matter_how_a_stream_is_cut_into_pieces(stream: bytes, cuts: list[int], max_frame: int) -> None:
    whole = fed(stream, [], max_frame)
    assert whole == plain(stream, max_frame)
    assert fed(stream, cuts, max_frame) == whole
    assert fed(stream, list(range(len(stream))), max_frame) == whole


@given(st.lists(st.tuples(NOISE, FRAMES), max_size=4), st.lists(st.integers(0, 10**6)))
def test_after_any_noise_the_next_good_frame_is_read_where_it_stands(
    sent: list[tuple[bytes, Frame]], cuts: list[int]
) -> None:
    stream, expected = b"", []
    for noise, frame in sent:
        stream += noise
        expected.append(standing(frame, len(stream)))
        stream += encode(frame)
    read = fed(stream, cuts)
    wanted = iter(expected)
    following = next(wanted, None)
    for item in read:
        if item == following:
            following = next(wanted, None)
    assert following is None


@given(NOISE, st.sampled_from([SMALL, MAX_FRAME]))
def test_every_range_names_bytes_of_the_stream_between_two_delimiters(stream: bytes, max_frame: int) -> None:
    last = 0
    for item in fed(stream, [], max_frame):
        status, start, end = (Status.OK, item.start, item.end) if isinstance(item, Frame) else item
        assert last <= start < end <= len(stream)
        assert start == 0 or stream[start - 1] == 0
        assert 0 not in stream[start:end]
        if status is not Status.FRAME_TOO_LARGE:
            assert stream[end] == 0
        last = end


@pytest.mark.parametrize("piece", [1, 63, 4114, 4115, 65536])
def test_a_run_that_is_too_long_is_reported_once_however_long_it_goes_on(piece: int) -> None:
    framer = Framer()
    length = 200_000
    items = [item for _ in range(0, length, piece) for item in framer.feed(b"\x55" * piece)]
    assert comparable(items) == [(Status.FRAME_TOO_LARGE, 0, 4114)]
    assert "no frame has more than 4096 bytes; dropped up to the next delimiter" in str(items[0])
    sent = -(-length // piece) * piece
    assert comparable(framer.feed(encode(HELLO))) == [standing(HELLO, sent)]


@pytest.mark.parametrize("max_frame", [253, 254, 507, 508, MIN_MAX_FRAME, MAX_FRAME])
def test_a_run_is_too_long_with_the_first_byte_that_no_frame_has_room_for(max_frame: int) -> None:
    framer, longest = Framer(max_frame), len(by_hand_cobs(b"x" * max_frame))
    assert framer.feed(b"\x55" * longest) == []
    assert comparable(framer.feed(b"\x55")) == [(Status.FRAME_TOO_LARGE, 0, longest + 1)]


def test_every_run_that_is_too_long_is_reported_and_where() -> None:
    run = b"\x55" * 5000 + b"\0"
    too_large = Status.FRAME_TOO_LARGE
    assert fed(run * 3, [0]) == [(too_large, start, start + 4114) for start in (0, 5001, 10002)]
    assert fed(run * 3, list(range(0, 15003, 700))) == fed(run * 3, [0])


def test_megabytes_without_a_delimiter_take_no_memory() -> None:
    framer, piece = Framer(), b"\x55" * 65536
    framer.feed(piece)
    tracemalloc.start()
    for _ in range(64):
        assert framer.feed(piece) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(piece)


def test_a_megabyte_of_random_bytes_gives_errors_only_and_then_goes_on() -> None:
    noise = random.Random(1).randbytes(1 << 20)
    framer = Framer()
    items = [item for at in range(0, len(noise), 4096) for item in framer.feed(noise[at : at + 4096])]
    assert len(items) > 1000
    assert all(isinstance(item, ProtocolError) for item in items)
    assert framer.feed(encode(HELLO))[-1] == standing(HELLO, len(noise))
