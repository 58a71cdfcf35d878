"""What every port does, whatever its scheme: one specification, run over each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from pes_sim.clock import HOUR, VirtualClock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import DeviceSession, Session
from pes_sim.link.frame import MAX_FRAME, encode
from pes_sim.link.message import request
from pes_sim.link.ports import open_host, serve
from pes_sim.link.ports.server import Server
from pes_sim.psd.faults import PowerCut
from pes_sim.psd.fields import Values
from tests.link.fakes import ID, NOW, PUT, FakeDevice, client, frames
from tests.link.ports.bench import GET_LINE, LETTER, PATIENCE, Talker, cable, close_in_time, in_thread, in_time

PUT_LINE = encode(request(PUT, LETTER, ID))


@dataclass
class Port:
    """A device that is served, its sessions so far, and what a host opens to reach it."""

    server: Server
    host_uri: str
    clock: VirtualClock
    sessions: list[Session]
    says: list[bytes]
    tells_the_end: bool = True

    def open(self, timeout_ms: int = PATIENCE * 1000) -> Transport:
        return open_host(self.host_uri, timeout_ms=timeout_ms)


@pytest.fixture(params=["memory:", "pty:", "pty with a link", "serial:", "tcp:0", "rfc2217:0"])
def port(request: pytest.FixtureRequest, device: FakeDevice, tmp_path: Path) -> Iterator[Port]:
    uri, host_uri, sessions, says = request.param, "", list[Session](), list[bytes]()

    def session() -> Session:
        sessions.append(Talker(device, says))
        return sessions[-1]

    with ExitStack() as held:
        if uri == "pty with a link":
            uri = f"pty:{tmp_path}/meter0"
        if uri == "serial:":
            ours, theirs = held.enter_context(cable())
            uri, host_uri = f"serial:{ours}?baud=9600", f"serial:{theirs}?baud=9600"
        clock = VirtualClock(NOW)
        server = serve(uri, session, clock)
        yield Port(server, host_uri or server.uri, clock, sessions, says, tells_the_end=not host_uri)
        close_in_time(server)


def test_it_can_be_opened_as_soon_as_it_is_served(port: Port) -> None:
    host = client(port.open())
    assert host.hello() == {"version": 1, "max_frame": MAX_FRAME, "device_kind": "fake"}
    host.close()


def test_requests_are_answered_one_by_one_and_none_is_asked_twice(port: Port, device: FakeDevice) -> None:
    host = client(port.open())
    assert [host.call("put", LETTER)["record"] for _ in range(50)] == list(range(1, 51))
    assert len(device.asked) == 50
    host.close()


def test_a_retry_gets_the_same_bytes(port: Port) -> None:
    transport = port.open()
    answers = []
    for _ in range(2):
        transport.write(PUT_LINE)
        answer = b""
        while answer.count(b"\0") < 2:
            answer += transport.read()
        answers.append(answer)
    assert answers[0] == answers[1]
    transport.close()


def test_every_byte_arrives_unchanged_both_ways(port: Port, device: FakeDevice) -> None:
    device._answer = lambda name, request: {"message": bytes(range(256))[::-1] * 7 + b"\xff" * 99}
    host = client(port.open())
    assert host.call("get", {}) == {"message": bytes(range(256))[::-1] * 7 + b"\xff" * 99}
    host.call("put", LETTER)
    assert device.asked[1][1] == LETTER
    host.close()


def test_the_largest_answers_arrive_whole(port: Port, device: FakeDevice) -> None:
    device._answer = lambda name, request: {"entries": [b"\xff" * 1000, bytes(3000)], "next_record": 0}
    host = client(port.open())
    host.hello()
    for _ in range(20):
        assert host.call("list", {"first_record": 0})["entries"] == [b"\xff" * 1000, bytes(3000)]
    host.close()


def test_one_host_goes_and_another_comes(port: Port) -> None:
    for record in (1, 2, 3):
        host = client(port.open())
        assert host.call("put", LETTER, request_id=bytes([record] * 16)) == {"record": record}
        host.close()


def test_a_host_that_left_in_the_midst_of_a_request_disturbs_no_later_one(port: Port) -> None:
    transport = port.open()
    transport.write(GET_LINE + PUT_LINE[:-9])
    assert transport.read()
    transport.close()
    host = client(port.open())
    assert host.call("put", LETTER, request_id=bytes(16 * [7])) == {"record": 1}
    host.close()


def test_the_services_are_told_the_time_of_the_injected_clock(port: Port, device: FakeDevice) -> None:
    host = client(port.open())
    host.call("get", {})
    port.clock.advance(72 * HOUR)
    host.call("get", {})
    host.close()
    assert [now for *_, now in device.asked] == [NOW, NOW + 72 * HOUR]


def test_a_silence_ends_with_the_host_s_time_out(port: Port) -> None:
    transport = port.open(timeout_ms=1)
    assert transport.read() == b""
    transport.close()


def test_a_power_cut_is_silence_and_then_another_session_answers(port: Port, device: FakeDevice) -> None:
    cut = [True]

    def answer(name: str, request: Values) -> Values:
        if cut:
            cut.clear()
            raise PowerCut
        return {"message": b"again"}

    device._answer = answer
    host = client(port.open(timeout_ms=100))
    host.hello()
    before = len(port.sessions)
    assert host.call("get", {}) == {"message": b"again"}
    assert len(port.sessions) == before + 1
    assert [name for name, *_ in device.asked] == ["get", "get"]
    host.close()


def test_a_power_cut_while_the_device_speaks_by_itself_is_one_too(port: Port) -> None:
    transport = port.open()
    transport.write(GET_LINE)
    assert transport.read()
    cut, speaking = threading.Event(), port.sessions[-1]

    def cuts(now: int) -> bytes:
        cut.set()
        raise PowerCut

    speaking.unasked = cuts  # type: ignore[method-assign]
    before = len(port.sessions)
    port.server.poke()
    assert cut.wait(PATIENCE)
    assert client(transport).call("get", {}) == {"message": b"hello"}
    assert len(port.sessions) == before + 1
    transport.close()


def test_what_a_device_says_by_itself_comes_when_the_port_is_poked(port: Port) -> None:
    transport = port.open()
    transport.write(GET_LINE)
    answer = transport.read()
    while answer.count(b"\0") < 2:
        answer += transport.read()
    came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    waiter = in_thread(lambda: came.put(transport.read()))
    port.clock.advance(HOUR)
    port.says.append(b"\xffby itself")
    port.server.poke()
    in_time(waiter)
    said = came.get_nowait()
    while len(said) < 10:
        said += transport.read()
    assert said == b"\xffby itself"
    transport.close()


def test_pokes_by_many_threads_never_break_into_an_answer(port: Port, device: FakeDevice) -> None:
    device._answer = lambda name, request: {"entries": [bytes(3000)], "next_record": 0}
    host = client(port.open())
    host.hello()

    def poke() -> None:
        for _ in range(200):
            port.says.append(b"\0")  # between two frames it does no harm, and within one it would
            port.server.poke()

    pokers = [in_thread(poke) for _ in range(3)]
    for _ in range(30):
        assert host.call("list", {"first_record": 0})["entries"] == [bytes(3000)]
    for poker in pokers:
        in_time(poker)
    assert len(device.asked) == 30, "nothing had to be asked twice"
    host.close()


def test_what_a_device_says_by_itself_waits_for_the_whole_answer(port: Port, device: FakeDevice) -> None:
    device._answer = lambda name, request: {"message": bytes([7]) * 1900}
    transport = port.open()
    writer = in_thread(lambda: transport.write(GET_LINE * 60))  # its answers are more than a line holds
    came = transport.read()
    port.says.append(b"by itself")
    port.server.poke()
    while b"by itself" not in came or came.count(b"\0") < 120:
        came += transport.read()
    in_time(writer)
    for part in came.split(b"by itself"):
        assert frames(part) or not part, "nothing but whole answers"
    transport.close()


def test_a_request_may_poke_its_own_port(port: Port, device: FakeDevice) -> None:
    def answer(name: str, request: Values) -> Values:
        port.says.append(b"\0")
        port.server.poke()
        return {"message": b"hello"}

    device._answer = answer
    host = client(port.open())
    assert host.call("get", {}) == {"message": b"hello"}
    host.close()


def test_a_poke_of_a_port_that_is_closed_does_nothing(port: Port) -> None:
    port.server.close()
    assert port.server.closed
    port.server.poke()


def write_on(transport: Transport) -> None:
    """A connection takes what is written until it hears that nobody reads it."""
    for _ in range(1000):
        transport.write(GET_LINE * 100)


def test_a_host_that_waits_while_the_server_closes_is_told(port: Port) -> None:
    if not port.tells_the_end:
        pytest.skip("a cable does not say what is at its other end")
    transport = port.open(timeout_ms=10 * PATIENCE * 1000)
    transport.write(GET_LINE)
    assert transport.read()
    begun, said = threading.Event(), queue.SimpleQueue[str]()

    def wait() -> None:
        begun.set()
        try:
            while True:
                transport.read()
        except LinkError as problem:
            said.put(problem.message)

    waiter = in_thread(wait)
    assert begun.wait(PATIENCE)
    close_in_time(port.server)
    in_time(waiter)
    assert said.get_nowait().startswith(f"{transport.name} was lost: ")
    with pytest.raises(LinkError, match="was lost"):
        write_on(transport)
    transport.close()


def test_a_port_that_this_program_closed_is_lost_to_it(port: Port) -> None:
    transport = port.open()
    transport.close()
    transport.close()
    for use in (transport.read, lambda: transport.write(b"x")):
        with pytest.raises(LinkError, match=f"{transport.name} was lost"):
            use()


def test_closing_twice_closes_once_and_a_with_closes(device: FakeDevice, port: Port) -> None:
    assert not port.server.closed
    with port.server as same:
        assert same is port.server
    assert same.closed
    same.close()


def test_it_is_served_again_after_it_was_closed(port: Port, device: FakeDevice) -> None:
    uri = port.server.uri
    host = client(port.open())
    host.call("get", {})
    close_in_time(port.server)
    host.close()
    if uri.startswith("pty:/dev/"):
        uri = "pty:"
    with serve(uri, lambda: DeviceSession(device), port.clock) as again:
        host = client(open_host(again.uri if port.tells_the_end else port.host_uri))
        assert host.call("get", {}) == {"message": b"hello"}
        host.close()


def test_a_session_is_made_anew_for_each_connection_and_a_terminal_has_but_one(port: Port) -> None:
    for _ in range(3):
        host = client(port.open())
        host.call("get", {})
        host.close()
    assert len(port.sessions) == (1 if port.server.path else 3)
