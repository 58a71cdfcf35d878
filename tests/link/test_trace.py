"""Traces: what went over a line, in a file or through a pipe; whatever becomes of the trace, the line goes on."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from pes_sim.clock import VirtualClock
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import UsageError
from pes_sim.link import message, pcapng
from pes_sim.link.client import Client
from pes_sim.link.device import DeviceSession
from pes_sim.link.frame import Framer, encode
from pes_sim.link.ports.memory import MemoryTransport
from pes_sim.link.showing import Shown
from pes_sim.link.trace import COMMENT, Trace, TracedSession, TracedTransport
from tests.link import capture
from tests.link.capture import Packet
from tests.link.fakes import BY_NAME, GET, ID, NOW, FakeDevice
from tests.link.test_events import Moody, subscribe

LATE: Final = 250
GET_RUN: Final = encode(message.request(GET, {}, ID))


class Slow(FakeDevice):
    """A device that takes its time to answer, on the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def execute(self, name: str, request: dict[str, object], *, request_id: bytes, now: int) -> dict[str, object]:
        self._clock.advance(LATE)
        return super().execute(name, request, request_id=request_id, now=now)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace.pcapng"


def packets(file: Path) -> list[Packet]:
    return capture.read(file.read_bytes()).packets


# Blocks


def test_a_section_an_interface_and_a_packet_have_just_these_bytes() -> None:
    assert pcapng.section("me", "hi").hex() == (
        "0a0d0d0a" "30000000" "4d3c2b1a" "01000000" "ffffffffffffffff"
        "01000200" "68690000" "04000200" "6d650000" "00000000" "30000000"
    )  # fmt: skip
    assert pcapng.interface("a", "bcde").hex() == (
        "01000000" "30000000" "93000000" "00000000"
        "02000100" "61000000" "03000400" "62636465" "09000100" "06000000" "00000000" "30000000"
    )  # fmt: skip
    assert pcapng.packet(1, (5 << 32) + 6, b"\x07\x08\x09", inbound=False).hex() == (
        "06000000" "30000000" "01000000" "05000000" "06000000" "03000000" "03000000" "07080900"
        "02000400" "02000000" "00000000" "30000000"
    )  # fmt: skip
    said = capture.read(
        pcapng.section("", "") + pcapng.interface("x", "")
        + pcapng.packet(0, 1, b"", inbound=True, comment="äöü", dropped=3)
    )  # fmt: skip
    assert said.packets == [Packet("x", 1, True, b"", "äöü", 3)]


# A session, a transport


def test_both_directions_are_written_with_the_clocks_time_one_packet_a_frame(clock: VirtualClock, file: Path) -> None:
    with Trace(file) as trace:
        session = TracedSession(DeviceSession(Slow(clock)), trace, "meter", clock)
        answer = session.receive(GET_RUN[:9], clock.now()) + session.receive(GET_RUN[9:], clock.now())
        session.receive(b"", clock.now())
        found = capture.read(file.read_bytes())  # while it goes on
    assert (found.comment, found.program) == (COMMENT, "pes_sim")
    assert found.lines == [("meter", "meter, the device's end")]
    assert found.packets == [
        Packet("meter", NOW, True, GET_RUN[1:-1], "", 0),
        Packet("meter", NOW + LATE, False, answer[1:-1], "", 0),
    ]


def test_the_hosts_end_of_a_line_is_traced_the_other_way_round(clock: VirtualClock, file: Path) -> None:
    with Trace(file) as trace:
        port = TracedTransport(MemoryTransport(FakeDevice(), clock), trace, clock, BY_NAME.values())
        host = Client(port, BY_NAME, SeededEntropy("trace"))
        assert port.name == "memory:"
        assert host.call("get", {}) == {"message": b"hello"}
        assert port.read() == b""
        port.write(b"\0half of a fra")
        host.close()
    found = capture.read(file.read_bytes())
    assert found.lines == [("memory:", "memory:, the host's end")]
    assert [(packet.inbound, len(packet.data)) for packet in found.packets] == [(False, 26), (True, 34), (False, 13)]
    assert found.packets[2].data == b"*" * 13
    assert found.packets[2].comment.startswith("no frame; 13 bytes, blanked")


def test_bytes_that_are_no_frame_are_a_packet_with_what_is_wrong_with_them(clock: VirtualClock, file: Path) -> None:
    with Trace(file) as trace:
        session = TracedSession(DeviceSession(FakeDevice()), trace, "meter", clock)
        session.receive(b"\0login: \0", NOW)
    noise, answer = packets(file)
    assert (noise.data, noise.comment[:8]) == (b"*" * 7, "not COBS")
    assert Framer().feed(answer.data + b"\0")


def test_events_are_traced_too_and_silence_is_not(clock: VirtualClock, file: Path) -> None:
    moody = Moody()
    with Trace(file) as trace:
        session = TracedSession(DeviceSession(moody), trace, "psd", clock)
        assert session.unasked(NOW) == b""
        subscribe(session)
        moody.status["state"] = "LOCKED"
        line = session.unasked(NOW + 7)
    assert packets(file)[-1] == Packet("psd", NOW + 7, False, line[1:-1], "", 0)
    assert len(packets(file)) == 3


def test_several_lines_and_several_sessions_of_one_stand_in_one_trace(clock: VirtualClock, file: Path) -> None:
    with Trace(file) as trace:
        for name in ("meter", "psd", "meter"):
            TracedSession(DeviceSession(FakeDevice()), trace, name, clock).receive(GET_RUN, NOW)
    found = capture.read(file.read_bytes())
    assert [name for name, _ in found.lines] == ["meter", "psd"]
    assert [packet.line for packet in found.packets] == ["meter"] * 2 + ["psd"] * 2 + ["meter"] * 2


# What goes wrong


@pytest.mark.parametrize("older", [b"", pcapng.section("another program", "x" * 10_000)])
def test_a_trace_takes_the_place_of_an_older_one(clock: VirtualClock, file: Path, older: bytes) -> None:
    file.write_bytes(older)
    Trace(file).close()
    assert capture.read(file.read_bytes()).packets == []
    assert file.stat().st_size < 10_000


@pytest.mark.parametrize("content", [b"x", b"SQLite format 3\0", bytes(8192)])
def test_a_trace_takes_the_place_of_nothing_else(file: Path, content: bytes) -> None:
    """It could be a PSD's log, or a meter's database: all that is known of money that was spent."""
    file.write_bytes(content)
    with pytest.raises(UsageError, match="is no trace, and would be replaced") as caught:
        Trace(file)
    assert "new file" in caught.value.hint
    assert file.read_bytes() == content


@pytest.mark.parametrize("name", ["no/such/folder.pcapng", ""])
def test_a_file_that_cannot_be_written_is_named_before_anything_begins(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no trace can be written to .*: (No such file|Is a directory)") as caught:
        Trace(tmp_path / name)
    assert "mkfifo" in caught.value.hint


def test_a_file_that_can_be_written_no_more_ends_the_trace_and_not_the_meter(
    clock: VirtualClock, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Trace(file) as trace:
        session = TracedSession(DeviceSession(FakeDevice()), trace, "meter", clock)
        session.receive(GET_RUN, NOW)

        write, room = os.write, [7, 0]

        def full(fd: int, data: bytes) -> int:
            if not (left := room.pop(0)):
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(fd, data[:left])

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            assert session.receive(GET_RUN, NOW) != b""
        assert session.receive(GET_RUN, NOW) != b""
    assert caplog.text.count(f"the trace ends here: No space left on device: {file}") == 1
    assert len(packets(file)) == 2


def test_a_medium_that_takes_a_block_in_pieces_gets_the_whole_of_it(
    clock: VirtualClock, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    with Trace(file) as trace:
        TracedSession(DeviceSession(FakeDevice()), trace, "meter", clock).receive(GET_RUN, NOW)
    assert len(packets(file)) == 2


def test_a_trace_that_is_closed_takes_no_more_and_closes_twice(clock: VirtualClock, file: Path) -> None:
    trace = Trace(file)
    session = TracedSession(DeviceSession(FakeDevice()), trace, "meter", clock)
    trace.close()
    trace.close()
    assert session.receive(GET_RUN, NOW) != b""
    assert packets(file) == []


# A pipe


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "live.pcapng"
    os.mkfifo(path)
    return path


@pytest.fixture
def opened(pipe: Path) -> Iterator[Callable[[], int]]:
    """Opens the pipe for reading, as often as it is asked to."""
    fds: list[int] = []

    def open_it() -> int:
        fds.append(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
        return fds[-1]

    yield open_it
    for fd in fds:
        with contextlib.suppress(OSError):  # a test closed it
            os.close(fd)


def drained(fd: int) -> bytes:
    """All that stands in the pipe."""
    found = b""
    try:
        while more := os.read(fd, 65536):
            found += more
    except BlockingIOError:
        pass
    return found


def test_who_reads_from_the_beginning_gets_each_packet_as_it_comes(
    pipe: Path, opened: Callable[[], int], clock: VirtualClock
) -> None:
    fd = opened()
    with Trace(pipe) as trace:
        session = TracedSession(DeviceSession(FakeDevice()), trace, "meter", clock)
        found = drained(fd)
        assert capture.read(found).lines == [("meter", "meter, the device's end")]
        for count in (2, 4):
            session.receive(GET_RUN, NOW)
            found += drained(fd)
            assert len(capture.read(found).packets) == count


def test_a_meter_waits_for_no_reader_and_who_comes_late_learns_how_much_he_missed(
    pipe: Path, opened: Callable[[], int], clock: VirtualClock
) -> None:
    with Trace(pipe) as trace:
        session = TracedSession(DeviceSession(FakeDevice()), trace, "meter", clock)
        for _ in range(5):
            session.receive(GET_RUN, NOW)
        fd = opened()
        session.receive(GET_RUN, NOW)
        found = capture.read(drained(fd))
    assert found.lines == [("meter", "meter, the device's end")]
    assert [packet.dropped for packet in found.packets] == [10, 0]


def test_a_reader_that_goes_away_stops_nothing_and_the_next_has_a_head_of_his_own(
    pipe: Path, opened: Callable[[], int], clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with Trace(pipe) as trace:
        session = TracedSession(DeviceSession(FakeDevice()), trace, "meter", clock)
        for _ in range(3):
            fd = opened()
            session.receive(GET_RUN, NOW)
            assert len(capture.read(drained(fd)).packets) == 2
            os.close(fd)
            assert session.receive(GET_RUN, NOW) != b""
            trace.line("psd", "joins the head")
        fd = opened()
        session.receive(GET_RUN, NOW)
        assert capture.read(drained(fd)).lines == [("meter", "meter, the device's end"), ("psd", "joins the head")]
    assert caplog.text == ""


def test_a_reader_that_does_not_read_stops_nothing_and_gets_whole_packets_when_he_goes_on(
    pipe: Path, opened: Callable[[], int], clock: VirtualClock
) -> None:
    fd = opened()
    sent = 3000
    with Trace(pipe) as trace:
        line = trace.line("meter", "")
        for number in range(sent):
            trace.write(line, number, Shown(b"x" * 101), inbound=True)
        found = drained(fd)
        trace.write(line, sent, Shown(b"y"), inbound=True)  # the rest of the one that was cut goes first
        trace.write(line, sent + 1, Shown(b"z"), inbound=True)
        found += drained(fd)
    read = capture.read(found).packets
    assert read[-1].time == sent + 1
    whole = [packet for packet in read if packet.data == b"x" * 101]
    assert 100 < len(whole) < sent
    assert len(read) + sum(packet.dropped for packet in read) == sent + 2
    assert [packet.time for packet in read] == sorted(packet.time for packet in read)


def test_a_line_that_joins_while_the_pipe_is_full_comes_before_its_packets(
    pipe: Path, opened: Callable[[], int], clock: VirtualClock
) -> None:
    fd = opened()
    with Trace(pipe) as trace:
        first = trace.line("meter", "")
        for number in range(3000):
            trace.write(first, number, Shown(b"x" * 101), inbound=True)
        second = trace.line("psd", "")
        found = drained(fd)
        trace.write(second, 1, Shown(b"y"), inbound=True)
        trace.write(second, 2, Shown(b"y"), inbound=True)
        found += drained(fd)
    assert capture.read(found).packets[-1].line == "psd"


def test_a_pipe_that_fails_in_another_way_is_said_and_stops_nothing(
    pipe: Path, opened: Callable[[], int], clock: VirtualClock, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    opened()
    with Trace(pipe) as trace:
        session = TracedSession(DeviceSession(FakeDevice()), trace, "meter", clock)

        def broken(fd: int, data: bytes) -> int:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "write", broken)
        assert session.receive(GET_RUN, NOW) != b""
    assert "the trace loses its reader: Input/output error" in caplog.text


def test_a_device_that_fails_leaves_its_request_in_the_trace(clock: VirtualClock, file: Path) -> None:
    class Cut(BaseException):
        pass

    class Failing(DeviceSession):
        def receive(self, data: bytes, now: int) -> bytes:
            raise Cut

    with Trace(file) as trace:
        session = TracedSession(Failing(FakeDevice()), trace, "meter", clock)
        with pytest.raises(Cut):
            session.receive(GET_RUN, NOW)
    assert [packet.inbound for packet in packets(file)] == [True]
