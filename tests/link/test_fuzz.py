"""One invariant at both ends of a line: any bytes, whole or one at a time, give valid frames or protocol errors with
their byte range; the next good frame after them is always read; memory stays bounded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.entropy import SeededEntropy
from pes_sim.errors import PesError, ProtocolError, Status
from pes_sim.link import message
from pes_sim.link.client import ATTEMPTS, Client
from pes_sim.link.device import DeviceSession
from pes_sim.link.events import EVENTS
from pes_sim.link.forge import STUFFING_FAULTS, forge
from pes_sim.link.frame import MAX_FRAME, Frame, FrameKind, Framer, encode
from pes_sim.link.inbox import MOST
from pes_sim.psd.fields import Values
from pes_sim.psd.services import BY_NAME
from tests.link.fakes import GET, ID, NOW, OTHER_ID, PUT, FakeDevice, frames
from tests.link.test_events import Moody, low_funds

LIMIT: Final = MAX_FRAME + MAX_FRAME // 254 + 1
GOOD: Final = message.request(GET, {}, ID)
HELLO: Final = message.request(
    message.HELLO, {"lowest_version": 1, "highest_version": 1, "max_frame": MAX_FRAME}, OTHER_ID
)
LETTER: Final[Values] = {"message": b"a letter", "reference": b"100"}

# What comes: frames good and forged, frames with damage, noise, and runs that are too long.

FRAMES = st.one_of(
    st.sampled_from(
        [GOOD, HELLO, message.request(PUT, LETTER, OTHER_ID), message.reply(GOOD, {"message": b"hello"}), low_funds(1),
         message.request(message.SUBSCRIBE, {"low_funds_mills": 9}, ID), message.request(message.UNSUBSCRIBE, {}, ID),
         message.refusal(message.UNREADABLE, message.NO_REQUEST, ProtocolError("broken", 0, 9))]
    ),
    st.builds(
        Frame, st.integers(0, 5), st.sampled_from([0, 1, 2, 3, 0x55, 0xF0, 0xF1, 0xFF]), st.integers(0, 255),
        st.binary(min_size=16, max_size=16), st.binary(max_size=60), st.integers(0, 3),
    ),
)  # fmt: skip
FORGED = st.builds(
    lambda frame, overrides: forge(frame, **overrides),
    FRAMES,
    st.fixed_dictionaries(
        {},
        optional={
            "request_id": st.binary(max_size=20),
            "body": st.binary(max_size=40),
            "crc": st.binary(max_size=5) | st.integers(0, (1 << 32) - 1),
            "stuffing": st.sampled_from(list(STUFFING_FAULTS.values())),
            "before": st.binary(max_size=3),
            "after": st.binary(max_size=3),
        },
    ),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    line = bytearray(encode(draw(FRAMES)))
    at = draw(st.integers(0, len(line) - 1))
    line[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(line)


LONG = st.builds(bytes.__mul__, st.sampled_from([b"x", b"\xff", b"\x01\x02"]), st.integers(LIMIT // 2 - 5, LIMIT + 5))
STREAMS = st.lists(FRAMES.map(encode) | FORGED | damaged() | st.binary(max_size=40) | LONG, max_size=6).map(b"".join)


@st.composite
def pieces(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream whole, one byte at a time, or cut anywhere."""
    how = draw(st.sampled_from(["whole", "bytes", "cut"]))
    if how == "bytes" and len(stream) < 3000:
        return [bytes([byte]) for byte in stream]
    edges = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=5))) if how == "cut" else []
    return [stream[a:b] for a, b in zip([0, *edges], [*edges, len(stream)], strict=True)]


def span(item: Frame | ProtocolError) -> tuple[int, int]:
    if isinstance(item, Frame):
        return item.start, item.end
    start, end = item.detail["start"], item.detail["end"]
    assert isinstance(start, int)
    assert isinstance(end, int)
    return start, end


def check_spans(items: list[Frame | ProtocolError], stream: bytes) -> None:
    """Each names bytes of the stream without a delimiter among them, in order, and none twice."""
    reached = 0
    for item in items:
        start, end = span(item)
        assert reached <= start < end <= len(stream)
        assert 0 not in stream[start:end]
        assert isinstance(item, Frame) or item.status in (Status.BAD_FRAME, Status.FRAME_TOO_LARGE)
        reached = end


# The framer


@given(st.data())
def test_the_framer(data: st.DataObject) -> None:
    stream = data.draw(STREAMS)
    framer = Framer()
    items = []
    for piece in data.draw(pieces(stream)):
        items += framer.feed(piece)
        assert len(framer._rest) <= LIMIT
    check_spans(items, stream)
    reports = [(type(item), *span(item)) for item in items]
    assert reports == [(type(item), *span(item)) for item in Framer().feed(stream)]
    for good in (item for item in items if isinstance(item, Frame)):
        (again,) = frames(encode(good))
        assert again._replace(start=good.start, end=good.end) == good
    *_, last = framer.feed(encode(GOOD))
    assert isinstance(last, Frame)
    assert last._replace(start=0, end=0) == GOOD
    assert last.start == len(stream) + 1


# The device


@pytest.mark.parametrize("make", [FakeDevice, Moody])
@given(data=st.data())
def test_the_devices_end(make: type[FakeDevice], data: st.DataObject) -> None:
    stream = data.draw(STREAMS)
    device = make()
    session = DeviceSession(device)
    for piece in data.draw(pieces(stream)):
        for answer in frames(session.receive(piece, NOW)):  # all that it says are whole frames
            assert answer.kind in (FrameKind.REPLY, FrameKind.EVENT)
            if answer.service == message.UNREADABLE and answer.request_id == message.NO_REQUEST:
                start, end = span(message.read_refusal(answer))  # type: ignore[arg-type]
                assert 0 <= start < end <= len(stream)
                assert 0 not in stream[start:end]
        assert len(session._framer._rest) <= LIMIT
    # What was asked of the device is what stands in the stream, however it was cut.
    twin = make()
    DeviceSession(twin).receive(stream, NOW)
    if make is FakeDevice:
        assert device.asked == twin.asked
    answers = [frame for frame in frames(session.receive(encode(HELLO), NOW)) if frame.kind == FrameKind.REPLY]
    assert (answers[-1].service, answers[-1].request_id, answers[-1].status) == (0, OTHER_ID, Status.OK)


# The host


class Noisy:
    """A line on which anything comes before, between and after the answers of a device."""

    name = "noisy:"

    def __init__(self, noise: list[list[bytes]]) -> None:
        self._session = DeviceSession(FakeDevice())
        self._noise = iter(noise)
        self._coming: Iterator[bytes] = iter(())
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        coming = [*self._coming, *next(self._noise, []), self._session.receive(data, NOW)]
        self._coming = iter([piece for piece in coming if piece])

    def read(self) -> bytes:
        return next(self._coming, b"")

    def close(self) -> None:
        """Nothing is open."""


@given(st.data())
def test_the_hosts_end(data: st.DataObject) -> None:
    noise = data.draw(st.lists(STREAMS.flatmap(pieces), max_size=3))
    line = Noisy(noise)
    caller = Client(line, {"put": PUT}, SeededEntropy("fuzz"))
    for number in (1, 2, 3):
        before = line.writes
        assert caller.call("put", LETTER) == {"record": number}
        assert line.writes <= before + 2 * ATTEMPTS
        assert len(caller._framer._rest) <= LIMIT
    assert caller.events() == []


@given(st.data())
def test_a_host_that_listens(data: st.DataObject) -> None:
    """Events among anything else: those that arrive whole are given, in order, once."""
    count = data.draw(st.integers(0, 6))
    parts: list[bytes] = []
    for sequence in range(1, count + 1):
        parts += [
            b"\0",
            data.draw(STREAMS.filter(lambda stream: b"\x03" not in stream[1:5])),
            encode(low_funds(sequence)),
        ]
    stream = b"".join(parts)
    cut = data.draw(pieces(stream))

    class Telling(Noisy):
        def write(self, data: bytes) -> None:
            (asked,) = frames(data)
            self._coming = iter([encode(message.reply(asked, {"event_sequence": 0})), *(p for p in cut if p)])

    caller: Any = Client(Telling([]), BY_NAME, SeededEntropy("fuzz"))
    caller.subscribe()
    found = []
    for _ in cut:
        found += caller.events(listen=True)
        assert len(caller._framer._rest) <= LIMIT
        assert len(caller._inbox._waiting) <= MOST
    numbers = [event.sequence for event in found]
    assert numbers == sorted(set(numbers))
    assert set(range(1, count + 1)) <= set(numbers)
    assert {event.name for event in found} <= {kind.name for kind in EVENTS}


@given(st.binary(max_size=200), st.integers(0, 255))
def test_any_answer_at_all_is_values_or_an_error_and_nothing_else(body: bytes, status: int) -> None:
    class Odd(Noisy):
        def write(self, data: bytes) -> None:
            (asked,) = frames(data)
            self._coming = iter([encode(message.reply(asked, {})._replace(body=body, status=status))])

    values: Values = {}
    with contextlib.suppress(PesError):
        values = Client(Odd([]), {"put": PUT}, SeededEntropy("fuzz")).call("put", LETTER)
    assert set(values) in (set(), {"record"})
