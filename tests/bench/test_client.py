"""The other end: it finds the bench by the meter's directory, and passes on what that says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pes_sim.bench import place
from pes_sim.bench.client import BenchClient
from pes_sim.bench.server import ControlServer
from pes_sim.errors import FieldError, IntegrityError, LinkError, NotAuthenticated, PesError, RefusedInState
from pes_sim.virtual import VirtualMeter


@contextmanager
def answering(directory: Path, *answers: bytes) -> Iterator[None]:
    """A server that answers each connection with such bytes, whatever is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                line, _ = listening.accept()
                with line:
                    line.recv(65536)
                    line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        place.write(directory, place.Place(listening.getsockname()[1], "0" * 64, 4711))
        yield
        thread.join()


def http(body: bytes, code: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (code, len(body), body)


def test_it_does_what_it_is_told_and_gives_the_answer(server: ControlServer, directory: Path) -> None:
    client = BenchClient(directory)
    assert client.perform("lan", {"plug": "out"})["lan"] == "out"
    assert client.perform("cut", {"at": None})["power"] == "off"
    assert client.perform("status", {})["power"] == "off"


def test_a_refusal_is_raised_as_the_bench_raised_it(server: ControlServer, directory: Path) -> None:
    client = BenchClient(directory)
    with pytest.raises(FieldError, match="'soon' is not a duration") as refusal:
        client.perform("advance", {"duration": "soon"})
    assert refusal.value.hint == "Allowed: 72h1m, 3d, 90s"
    server.bench.close()
    with pytest.raises(RefusedInState):
        client.perform("pause", {})


def test_events_are_given_one_after_the_other_until_the_end(server: ControlServer, directory: Path) -> None:
    client = BenchClient(directory)
    for _ in range(3):
        client.perform("pause", {})
    assert [event["number"] for event in client.events(after=1, count=2)] == [2, 3]
    following = client.events(after=2)
    assert next(following)["number"] == 3
    server.bench.close()
    assert list(following) == []


def test_whoever_has_another_token_gets_no_event(server: ControlServer, directory: Path) -> None:
    place.write(directory, server.place._replace(token="0" * 64))
    with pytest.raises(NotAuthenticated):
        next(BenchClient(directory).events())


def test_a_meter_that_was_killed_is_told_with_what_to_do(meter: VirtualMeter, directory: Path) -> None:
    server = ControlServer(meter)
    server.close()
    place.write(directory, server.place)
    with pytest.raises(LinkError, match="does not answer: .*refused") as refusal:
        BenchClient(directory).perform("status", {})
    assert refusal.value.hint.endswith(f"Else start it: pes-sim meter run {directory}")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\n{}", b"no HTTP\r\n\r\n"])
def test_an_answer_that_is_cut_off_is_told(directory: Path, answer: bytes) -> None:
    with answering(directory, answer), pytest.raises(LinkError, match="does not answer"):
        BenchClient(directory).perform("status", {})


@pytest.mark.parametrize(("code", "body"), [
    (200, b"hello"), (200, b"7"), (404, b"{}"), (404, b"[]"), (500, b"oops"), (422, b'{"status": "x"}'),
])  # fmt: skip
def test_what_is_no_answer_of_a_bench_is_told(directory: Path, code: int, body: bytes) -> None:
    with answering(directory, http(body, code)), pytest.raises(PesError, match=rf"none of its answers \(HTTP {code}\)"):
        BenchClient(directory).perform("status", {})


def test_a_refusal_keeps_its_class(directory: Path) -> None:
    refusal = {"status": 0x52, "name": "INTEGRITY", "message": "m", "hint": "h", "detail": {}}
    with answering(directory, http(json.dumps(refusal).encode(), 500)), pytest.raises(IntegrityError, match="m"):
        BenchClient(directory).perform("restore", {"file": "/x"})


def test_a_stream_that_is_cut_off_ends(directory: Path) -> None:
    cut = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n10\r\ndata: {}\n"
    with answering(directory, cut):
        assert list(BenchClient(directory).events()) == [{}]
