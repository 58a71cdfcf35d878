"""Ports in memory: both ends in one program."""

from __future__ import annotations

import queue
import threading
from typing import Final

import pytest

from pes_sim.clock import HOUR, VirtualClock
from pes_sim.errors import LinkError, UsageError
from pes_sim.link import message
from pes_sim.link.client import ATTEMPTS
from pes_sim.link.ports import TIMEOUT_MS, open_host, serve
from pes_sim.link.ports.memory import MemoryTransport
from pes_sim.psd.fields import Values
from tests.link.fakes import NOW, FakeDevice, client, frames
from tests.link.ports.bench import GET_LINE, LETTER, PATIENCE, Talker, in_thread, in_time, served

SILENCE: Final = TIMEOUT_MS * 1000


def test_a_line_in_memory_answers_at_once_and_once(device: FakeDevice) -> None:
    clock = VirtualClock(NOW)
    transport = MemoryTransport(device, clock)
    assert (transport.name, transport.read()) == ("memory:", b"")
    assert clock.now() == NOW + SILENCE
    transport.write(GET_LINE)
    clock.advance(HOUR)
    transport.write(GET_LINE)
    answers = frames(transport.read())
    assert [message.read_values(answer) for answer in answers] == [{"message": b"hello"}] * 2
    assert transport.read() == b""
    transport.close()
    assert [now for *_, now in device.asked] == [NOW + SILENCE, NOW + SILENCE + HOUR]
    assert clock.now() == NOW + HOUR + 2 * SILENCE


def test_a_silence_in_memory_takes_its_time_on_the_shared_clock(device: FakeDevice) -> None:
    clock = VirtualClock(NOW)
    host = client(MemoryTransport(device, clock))
    assert host.call("put", LETTER) == {"record": 1}
    assert clock.now() == NOW
    host.send_raw(b"\0half of a fra")
    assert clock.now() == NOW + SILENCE

    class Deaf(MemoryTransport):
        def write(self, data: bytes) -> None:
            """Nothing arrives."""

    with pytest.raises(LinkError, match="after 4 attempts"):
        client(Deaf(device, clock)).call("put", LETTER)
    assert clock.now() == NOW + (1 + ATTEMPTS) * SILENCE


def test_a_line_in_memory_goes_through_the_same_frames(device: FakeDevice) -> None:
    host = client(MemoryTransport(device, VirtualClock(NOW)))
    assert host.hello()["device_kind"] == "fake"
    assert [host.call("put", LETTER)["record"] for _ in range(5)] == [1, 2, 3, 4, 5]
    host.close()


def test_ports_have_names_of_their_own_or_are_given_them(device: FakeDevice) -> None:
    with served("memory:", device) as one, served("memory:", device) as other, served("memory:bench", device) as named:
        assert len({one.uri, other.uri, named.uri}) == 3
        assert named.uri == "memory:bench"
        with pytest.raises(LinkError, match="memory:bench is in use"):
            served("memory:bench", device)
        with served(f"memory:{int(other.uri.partition(':')[2]) + 1}", device), served("memory:", device) as next_one:
            assert next_one.uri == f"memory:{int(other.uri.partition(':')[2]) + 2}"
    served("memory:bench", device).close()


@pytest.mark.parametrize("uri", ["memory:", "memory:nobody"])
def test_there_is_nothing_to_connect_to_from_outside(uri: str) -> None:
    with pytest.raises(LinkError, match=f"nothing serves {uri} in this program") as refusal:
        open_host(uri)
    assert "cannot be reached from outside" in refusal.value.hint


def test_it_has_no_parameters(device: FakeDevice) -> None:
    for opens in (open_host, lambda uri: served(uri, device)):
        with pytest.raises(UsageError, match="has no parameter 'baud'"):
            opens("memory:bench?baud=9600")


def test_one_host_at_a_time(device: FakeDevice) -> None:
    with served("memory:", device) as port:
        first = open_host(port.uri)
        with pytest.raises(LinkError, match=f"{port.uri} is in use by another host"):
            open_host(port.uri)
        first.close()
        second = open_host(port.uri)
        first.close()
        with pytest.raises(LinkError, match="was lost: this program closed it"):
            first.write(GET_LINE)
        assert client(second).call("get", {}) == {"message": b"hello"}
        second.close()


def test_a_read_after_a_write_does_not_wait_for_what_will_not_come(device: FakeDevice) -> None:
    with served("memory:", device) as port:
        host = open_host(port.uri, timeout_ms=PATIENCE * 1000_000)
        host.write(b"\0")
        assert host.read() == b""
        host.close()


def test_a_request_that_pokes_its_own_port_is_answered_first(device: FakeDevice) -> None:
    says: list[bytes] = []

    def answer(name: str, request: Values) -> Values:
        says.append(b"by itself")
        port.poke()
        return {"message": b"hello"}

    device._answer = answer
    port = serve("memory:", lambda: Talker(device, says), VirtualClock(NOW))
    host = open_host(port.uri)
    host.write(GET_LINE)
    came = host.read()
    assert came.endswith(b"\0by itself")
    assert message.read_values(frames(came.removesuffix(b"by itself"))[0]) == {"message": b"hello"}
    host.close()
    port.close()


def test_a_request_cannot_close_the_port_that_it_came_through(
    device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    def close(name: str, request: Values) -> Values:
        port.close()
        return {"message": b""}

    device._answer = close
    port = served("memory:", device)
    host = open_host(port.uri)
    host.write(GET_LINE)
    assert frames(host.read())[0].status
    assert "cannot close the port" in caplog.text
    host.close()
    port.close()
    port.close()


def test_who_waits_in_vain_is_told_that_nothing_came_or_that_it_is_over(device: FakeDevice) -> None:
    port = served("memory:", device)
    host = open_host(port.uri, timeout_ms=1)
    assert host.read() == b""
    host.close()
    host = open_host(port.uri, timeout_ms=PATIENCE * 1000)
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        try:
            host.read()
        except LinkError as problem:
            said.put(problem.message)

    waiter = in_thread(wait)
    assert begun.wait(PATIENCE)
    host.close()
    in_time(waiter)
    assert said.get_nowait() == f"{port.uri} was lost: this program closed it"
    port.close()


def test_who_pokes_does_not_wait_for_a_request_that_may_wait_for_it(device: FakeDevice) -> None:
    asked, poked, says, in_vain = threading.Event(), threading.Event(), [b"by itself"], list[bool]()

    def slow(name: str, request: Values) -> Values:
        asked.set()
        in_vain.append(not poked.wait(PATIENCE / 4))
        return {"message": b"hello"}

    device._answer = slow
    with serve("memory:", lambda: Talker(device, says), VirtualClock(NOW)) as port:
        host = open_host(port.uri)
        assert host.read() == b"by itself"
        writer = in_thread(lambda: host.write(GET_LINE))
        assert asked.wait(PATIENCE)
        says.append(b"once more")
        port.poke()
        poked.set()
        in_time(writer)
        assert in_vain == [False]
        assert host.read().endswith(b"\0once more")
        host.close()
