"""Both ends of a line: a host's port and a device's session behind it, on a virtual clock that waiting moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.clock import HOUR, SECOND, VirtualClock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import Session
from pes_sim.link.line.config import Direction, LineConfig
from pes_sim.link.line.ends import TIMEOUT_US, LineSession, LineTransport
from pes_sim.link.line.faults import Kind, Step
from pes_sim.link.line.line import Line
from tests.link.fakes import NOW

D: Final = Direction.TO_DEVICE
H: Final = Direction.TO_HOST


class FakePort:
    """A port that remembers what was written to it and when, and is answered from a list."""

    name = "fake:"

    def __init__(self, clock: VirtualClock, *answers: bytes) -> None:
        self.coming = deque(answers)
        self.written: list[tuple[int, bytes]] = []
        self.reads = 0
        self.closed = False
        self._clock = clock

    def read(self) -> bytes:
        self.reads += 1
        return self.coming.popleft() if self.coming else b""

    def write(self, data: bytes) -> None:
        self.written.append((self._clock.now() - NOW, data))

    def close(self) -> None:
        self.closed = True


class FakeSession:
    """A session that answers each piece with itself in capitals, and remembers when it came."""

    def __init__(self, clock: VirtualClock) -> None:
        self.came: list[tuple[int, bytes]] = []
        self.to_say: deque[bytes] = deque()
        self._clock = clock

    def receive(self, data: bytes, now: int) -> bytes:
        self.came.append((now - NOW, data))
        return data.upper()

    def unasked(self, now: int) -> bytes:
        return self.to_say.popleft() if self.to_say else b""


class Host:
    """A host with a line, and everything around it."""

    def __init__(self, line: Line, *answers: bytes) -> None:
        self.clock = VirtualClock(NOW)
        self.port = FakePort(self.clock, *answers)
        self.line = line
        self.end: Transport = LineTransport(self.port, line, self.clock)

    def passed(self) -> int:
        """Microseconds since the beginning."""
        return self.clock.now() - NOW


class Device:
    """A device with a line, and everything around it."""

    def __init__(self, line: Line, **options: Any) -> None:
        self.clock = VirtualClock(NOW)
        self.session = FakeSession(self.clock)
        self.line = line
        self.end: Session = LineSession(self.session, line, self.clock, **options)

    def ask(self, data: bytes) -> bytes:
        return self.end.receive(data, self.clock.now())

    def say(self) -> bytes:
        return self.end.unasked(self.clock.now())

    def passed(self) -> int:
        return self.clock.now() - NOW


# Transparent


def test_a_host_goes_straight_to_its_port_over_a_line_that_does_nothing() -> None:
    host = Host(Line(), b"answer")
    host.end.write(b"ask")
    assert (host.end.name, host.end.read(), host.end.read()) == ("fake:", b"answer", b"")
    assert host.port.written == [(0, b"ask")]
    assert (host.passed(), host.port.reads) == (0, 2)  # the port has waited itself
    assert host.line.counts().sent_bytes == 0
    host.end.close()
    assert host.port.closed


def test_so_does_a_device() -> None:
    device = Device(Line())
    device.session.to_say.append(b"event")
    assert (device.ask(b"ask"), device.say(), device.say()) == (b"ASK", b"event", b"")
    assert device.passed() == 0
    assert device.line.counts().sent_bytes == 0


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=10), st.sampled_from([0, 9600]), st.integers(0, 3000))
def test_all_that_either_end_says_comes_through(pieces: list[bytes], baud: int, latency: int) -> None:
    line = Line(LineConfig(baud=baud, latency_us=latency))
    host = Host(line, *pieces)
    for piece in pieces:
        host.end.write(piece)
    assert b"".join(data for _, data in host.port.written) == b"".join(pieces)
    came = b""
    while piece := host.end.read():
        came += piece
    assert came == b"".join(pieces)
    device = Device(Line(LineConfig(baud=baud, latency_us=latency)))
    assert b"".join(map(device.ask, pieces)) == b"".join(pieces).upper()


# Time


def test_a_host_writes_as_long_as_the_line_takes() -> None:
    host = Host(Line(LineConfig(baud=1000, latency_us=7)))
    host.end.write(b"abc")
    assert host.port.written == [(30_007, b"abc")]
    assert host.passed() == 30_007


def test_a_host_reads_what_has_come_when_the_line_falls_silent() -> None:
    host = Host(Line(LineConfig(baud=1000, latency_us=7)), b"abc")
    assert host.end.read() == b"abc"
    assert host.passed() == 30_007


def test_a_silence_lasts_as_long_as_the_time_out() -> None:
    host = Host(Line(LineConfig(baud=1000)))
    assert host.end.read() == b""
    assert host.passed() == TIMEOUT_US


def test_a_long_answer_on_a_slow_line_is_not_silence() -> None:
    host = Host(Line(LineConfig(baud=1000)), bytes(500))
    assert [len(host.end.read()) for _ in range(4)] == [200, 200, 100, 0]
    assert host.passed() == 5 * SECOND + TIMEOUT_US


def test_what_comes_after_the_time_out_comes_with_the_next_read() -> None:
    host = Host(Line(LineConfig(latency_us=3 * SECOND)), b"late")
    assert (host.end.read(), host.end.read()) == (b"", b"late")
    assert host.passed() == 3 * SECOND


def test_what_is_lost_is_waited_for_until_the_time_out() -> None:
    host = Host(Line(LineConfig(drops=1)), b"lost", b"lost, too")
    host.end.write(b"and so is this")
    assert host.end.read() == b""
    assert host.passed() == TIMEOUT_US
    assert host.port.written == []


@pytest.mark.parametrize(("at", "written"), [(5_000, []), (15_000, [(30_000, b"a")])])
def test_what_is_lost_while_it_is_on_its_way_holds_nobody_up(at: int, written: list[tuple[int, bytes]]) -> None:
    host = Host(Line(LineConfig(baud=1000), steps=[Step(Kind.UNPLUG, D, at=NOW + at)]))
    host.end.write(b"abc")
    assert host.port.written == written


def test_a_device_is_asked_when_the_request_has_arrived_and_its_answer_takes_its_time() -> None:
    device = Device(Line(LineConfig(baud=1000, latency_us=7)))
    assert device.ask(b"abc") == b"ABC"
    assert device.session.came == [(30_007, b"abc")]
    assert device.passed() == 2 * 30_007


def test_an_hour_of_a_slow_line_is_over_at_once() -> None:
    device = Device(Line(LineConfig(baud=1200)))
    assert device.ask(b"x" * 216_000) == b"X" * 216_000
    assert device.passed() == HOUR


def test_a_device_that_is_asked_for_more_gives_an_answer_in_parts() -> None:
    """A host that is silent for two seconds asks again: so the parts come four times a second."""
    asked = [0]

    def more() -> None:
        asked[0] += 1

    device = Device(Line(LineConfig(baud=1000)), more=more)
    parts = [device.ask(b"x" * 100)]
    while asked[0] == len(parts):
        parts.append(device.say())
    assert b"".join(parts) == b"X" * 100
    assert [len(part) for part in parts] == [0, 25, 25, 25, 25]
    assert device.passed() == 5 * SECOND // 4
    assert device.session.came == [(at * SECOND // 4, b"x" * 25) for at in (1, 2, 3, 4)]


def test_what_a_device_says_by_itself_goes_over_the_line_as_well() -> None:
    device = Device(Line(LineConfig(baud=1000)))
    device.session.to_say.append(b"event")
    assert (device.say(), device.say()) == (b"event", b"")
    assert device.passed() == 50_000


# Control lines


def test_a_host_waits_for_its_cts_and_is_told_when_it_does_not_come() -> None:
    host = Host(Line(steps=[Step(Kind.CTS_OFF, D, at=NOW, for_us=SECOND)]))
    host.end.write(b"ask")
    assert host.port.written == [(SECOND, b"ask")]
    host.line.change(host_cts=False)
    with pytest.raises(LinkError, match="fake: does not take what is written: CTS is off. Is the device ready"):
        host.end.write(b"ask")
    assert host.passed() == SECOND + TIMEOUT_US
    assert len(host.port.written) == 1


def test_a_device_waits_for_its_cts_and_keeps_its_answer_to_itself_when_it_does_not_come() -> None:
    device = Device(Line(steps=[Step(Kind.CTS_OFF, H, at=NOW, for_us=SECOND)]))
    assert device.ask(b"ask") == b"ASK"
    assert device.passed() == SECOND
    device.line.change(device_cts=False)
    assert device.ask(b"ask") == b""
    assert device.passed() == SECOND + TIMEOUT_US
    device.line.change(device_cts=True)
    assert device.ask(b"again") == b"AGAIN"


@pytest.mark.parametrize("use", [lambda end: end.write(b"ask"), lambda end: end.read()], ids=["write", "read"])
@pytest.mark.parametrize(
    ("config", "said"),
    [
        (LineConfig(device_dtr=False), "the device at fake: has hung up. Is it switched on?"),
        (LineConfig(plugged=False, port_vanishes=True), "fake: was lost: it is unplugged. Plug it in, and ask again"),
    ],
)
def test_a_host_is_told_that_nobody_is_there(use: Callable[[Transport], object], config: LineConfig, said: str) -> None:
    host = Host(Line(config))
    with pytest.raises(LinkError) as caught:
        use(host.end)
    assert str(caught.value) == said
    host.line.change(plugged=True, device_dtr=True)
    use(host.end)


def test_a_cable_that_is_pulled_out_is_silence() -> None:
    host = Host(Line(LineConfig(plugged=False)), b"answer")
    host.end.write(b"ask")
    assert (host.end.read(), host.port.written) == (b"", [])
    assert host.passed() == TIMEOUT_US


@pytest.mark.parametrize("at_once", [True, False])
def test_a_host_that_hung_up_finds_a_fresh_session(at_once: bool) -> None:
    """Whether the line is noisy again or transparent when it comes back."""
    fresh: list[FakeSession] = []

    def make() -> FakeSession:
        fresh.append(FakeSession(VirtualClock(NOW)))
        return fresh[-1]

    device = Device(Line(LineConfig(latency_us=0 if at_once else 5)), fresh=make)
    device.ask(b"one")
    device.line.change(host_dtr=False)
    if not at_once:
        assert device.ask(b"lost") == b""
    device.line.change(host_dtr=True)
    assert device.ask(b"two") == b"TWO"
    assert len(fresh) == 1
    assert [data for _, data in device.session.came] == [b"one"]
    assert [data for _, data in fresh[0].came] == [b"two"]


def test_a_device_without_another_session_goes_on_with_the_one_it_has() -> None:
    device = Device(Line())
    device.line.change(host_dtr=False)
    device.line.change(host_dtr=True)
    assert device.ask(b"one") == b"ONE"
