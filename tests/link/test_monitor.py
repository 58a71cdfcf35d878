"""A monitor: it tells all that goes by, and holds nobody up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.clock import VirtualClock
from pes_sim.errors import UsageError
from pes_sim.link import message, pcapng
from pes_sim.link.frame import encode
from pes_sim.link.monitor import Decoder, Monitor, Notice, recorded
from pes_sim.link.showing import Shown
from pes_sim.link.telling import Seen
from pes_sim.link.trace import Trace
from pes_sim.psd.services import BY_NAME, SERVICES
from tests.link import capture
from tests.link.fakes import ID, NOW

ASKED = message.request(BY_NAME["get_status"], {}, ID)
REQUEST, REPLY = encode(ASKED), encode(message.reply(ASKED, {"state": "OPERATIONAL"}))


def monitor(tell: Callable[[Seen | Notice], None], **more: object) -> Monitor:
    return Monitor(SERVICES, VirtualClock(NOW), tell, **more)  # type: ignore[arg-type]


def test_it_tells_frames_in_order_with_their_direction_and_place() -> None:
    told: list[Seen | Notice] = []
    watching = monitor(told.append)
    watching.saw(REQUEST[:5], True)
    watching.said("a program has come")
    watching.saw(REQUEST[5:], True)
    watching.saw(REPLY + b"\0half", False)
    watching.close()
    assert told == [
        Notice(NOW, "a program has come"),
        Seen(NOW, True, Shown(REQUEST[1:-1]), 1, len(REQUEST) - 1),
        Seen(NOW, False, Shown(REPLY[1:-1]), 1, len(REPLY) - 1),
        Seen(NOW, False, Shown(b"half", "no frame"), len(REPLY) + 1, len(REPLY) + 5),
    ]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_what_it_tells_does_not_follow_from_how_the_bytes_were_cut(noise: bytes, cuts: list[int]) -> None:
    data = noise + REQUEST + noise
    at = sorted(min(cut, len(data)) for cut in cuts)
    pieces = [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]

    def told(pieces: list[bytes]) -> list[Seen]:
        decoder = Decoder(SERVICES)
        return [s for piece in pieces for s in decoder.feed(NOW, piece, to_device=True)] + [*decoder.end(NOW)]

    assert told(pieces) == told([data])


def test_who_passes_bytes_on_never_waits_and_what_was_too_much_is_told() -> None:
    told: list[Seen | Notice] = []
    begun, go_on = threading.Event(), threading.Event()

    def slowly(item: Seen | Notice) -> None:
        begun.set()
        go_on.wait()
        told.append(item)

    watching = monitor(slowly, most=1000)
    watching.saw(REQUEST, True)
    begun.wait()  # it tells, and does not come to an end of it
    for _ in range(100):
        watching.saw(REPLY, False)
        watching.saw(REQUEST, True)
        watching.said("something")
    go_on.set()
    watching.close()
    notices = [item.text for item in told if isinstance(item, Notice) and "too fast" in item.text]
    lost = sum(int(text.split()[0]) for text in notices)
    shown = sum(len(item.shown.data) + 2 for item in told if isinstance(item, Seen))
    assert lost + shown == 100 * len(REPLY) + 101 * len(REQUEST)
    assert all(item.shown.remark == "" for item in told if isinstance(item, Seen))


def test_after_what_was_too_much_the_next_frame_is_read_at_its_place() -> None:
    decoder = Decoder(SERVICES)
    assert list(decoder.feed(NOW, b"\0begun", to_device=False)) == []
    begun, notice = decoder.skip(NOW, (100, 7))
    assert isinstance(begun, Seen)
    assert (begun.shown.data, begun.start, begun.end) == (b"begun", 1, 6)
    assert notice == Notice(NOW, "107 bytes went by too fast to be shown; they were passed on")
    (seen,) = decoder.feed(NOW, REPLY, to_device=False)
    assert (seen.start, seen.shown) == (107, Shown(REPLY[1:-1]))
    (seen,) = decoder.feed(NOW, REQUEST, to_device=True)
    assert seen.start == 8


def test_when_it_cannot_be_told_whoever_waits_is_told_why() -> None:
    def fail(item: Seen | Notice) -> None:
        raise BrokenPipeError("nobody reads")

    failed = threading.Event()
    watching = monitor(fail, failed=failed.set)
    watching.saw(REQUEST, True)
    assert failed.wait(20)
    with pytest.raises(BrokenPipeError):
        watching.close()


def test_it_writes_a_trace_besides_which_reads_back_as_what_was_told(tmp_path: Path) -> None:
    told: list[Seen | Notice] = []
    with Trace(tmp_path / "t.pcapng") as trace:
        watching = monitor(told.append, trace=trace, name="tcp:4000")
        watching.saw(REQUEST, True)
        watching.saw(REPLY + b"rubbish\0", False)
        watching.close()
    data = (tmp_path / "t.pcapng").read_bytes()
    assert [packet.inbound for packet in capture.read(data).packets] == [True, False, False]
    again = [recorded(packet) for packet in pcapng.Reader().feed(data)]
    assert again == [item._replace(start=None, end=None) for item in told if isinstance(item, Seen)]


# Reading traces

HEAD = pcapng.section("pes_sim", "comment")


def read(data: bytes) -> list[pcapng.Packet]:
    reader = pcapng.Reader()
    found = list(reader.feed(data))
    reader.end()
    return found


@pytest.mark.parametrize(
    ("description", "inbound", "to_device"),
    [
        ("m, the device's end", True, True), ("m, the device's end", False, False),
        ("m, the host's end", True, False), ("m, the host's end", False, True), ("of another program", False, True),
    ],
)  # fmt: skip
def test_which_way_a_packet_went_follows_from_the_end_where_it_was_seen(
    description: str, inbound: bool, to_device: bool
) -> None:
    data = HEAD + pcapng.interface("m", description) + pcapng.packet(0, NOW, REQUEST[1:-1], inbound=inbound, dropped=2)
    (packet,) = read(data)
    assert recorded(packet) == Seen(NOW, to_device, Shown(REQUEST[1:-1]), lost=2)


def test_a_trace_is_read_as_it_comes_a_byte_at_a_time() -> None:
    data = HEAD + pcapng.interface("m", "d") + pcapng.packet(0, NOW, b"abc", inbound=True, comment="said") * 2
    reader = pcapng.Reader()
    found = [packet for at in range(len(data)) for packet in reader.feed(data[at : at + 1])]
    reader.end()
    assert found == [pcapng.Packet("m", "d", NOW, True, b"abc", "said", 0)] * 2


def test_another_programs_trace_is_read_too() -> None:
    """Big-endian, with a block of another kind, nanoseconds, or powers of two, and no options."""
    import struct

    def block(kind: int, body: bytes) -> bytes:
        length = struct.pack(">I", len(body) + 12)
        return struct.pack(">I", kind) + length + body + length

    head = block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
    for resolution, stamp in ((b"\x09", NOW * 1000), (b"\x94", NOW * (1 << 20) // 1_000_000 + 1)):
        interface = block(1, struct.pack(">HHI", 147, 0, 0) + struct.pack(">HH", 9, 1) + resolution + bytes(3))
        packet = block(6, struct.pack(">IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, 2, 2) + b"ab\0\0")
        (found,) = read(head + block(0xBAD, b"") + interface + packet)
        assert abs(found.time - NOW) <= 1
        assert found == pcapng.Packet("", "", found.time, None, b"ab", "", 0)


INTERFACE = pcapng.interface("m", "d")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no trace, at byte 0"),
        (b"not a trace at all", "this is no pcapng file, at byte 0"),
        (HEAD[:-1], "no trace, at byte 0"),
        (HEAD + INTERFACE[:20], f"the trace is cut off, at byte {len(HEAD)}"),
        (HEAD + b"\x06\0\0\0\x07\0\0\0" + bytes(4), f"a block of 7 bytes, at byte {len(HEAD)}"),
        (HEAD + b"\x06\0\0\0\xfc\xff\xff\xff" + bytes(4), f"a block of 4294967292 bytes, at byte {len(HEAD)}"),
        (HEAD[:-4] + bytes(4), "a block with two lengths, at byte 0"),
        (HEAD + pcapng.packet(0, NOW, b"", inbound=True), f"a block that cannot be read, at byte {len(HEAD)}"),
        (HEAD + INTERFACE + b"\x06\0\0\0\x20\0\0\0" + bytes(12) + b"\xff" + bytes(7) + b"\x20\0\0\0",
         f"a block that cannot be read, at byte {len(HEAD + INTERFACE)}"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_told_with_its_place(data: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(data)
    assert caught.value.message == says


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(noise: bytes) -> None:
    for data in (noise, HEAD + noise, HEAD + INTERFACE + noise):
        with contextlib.suppress(UsageError):
            read(data)
