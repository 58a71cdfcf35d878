"""Ports over TCP: who is let in, who is turned away, and what cannot be reached."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from pes_sim.errors import LinkError, UsageError
from pes_sim.link.ports import open_host, tcp
from pes_sim.link.ports.server import Server
from pes_sim.link.ports.uri import Uri
from pes_sim.psd.fields import Values
from tests.link.fakes import FakeDevice, client
from tests.link.ports.bench import GET_LINE, LETTER, PATIENCE, close_in_time, in_time, receive, served

FIN_WAIT2 = 5
"""A connection's state (Linux): the other side knows that this one sends no more."""


@pytest.fixture
def server(device: FakeDevice) -> Iterator[Server]:
    made = served("tcp:0", device)
    yield made
    close_in_time(made)


def plain(server: Server) -> socket.socket:
    """A connection as a program makes it that knows nothing of us."""
    return socket.create_connection(Uri.parse(server.uri).host_and_port(), timeout=PATIENCE)


def test_a_port_is_this_machine_s_alone_unless_a_host_is_named(server: Server, device: FakeDevice) -> None:
    assert server.uri.startswith("tcp:127.0.0.1:")
    assert server.path == ""
    with served("tcp:0.0.0.0:0", device) as everywhere, served("tcp:[::1]:0", device) as six:
        assert everywhere.uri.startswith("tcp:127.0.0.1:")
        assert six.uri.startswith("tcp:[::1]:")
        for uri in (everywhere.uri, six.uri):
            host = client(open_host(uri))
            assert host.call("get", {}) == {"message": b"hello"}
            host.close()
    with served("tcp:localhost:0", device) as named:
        open_host(named.uri.replace("127.0.0.1", "localhost")).close()


def test_a_port_that_is_taken_says_so(server: Server, device: FakeDevice) -> None:
    with pytest.raises(LinkError) as refusal:
        served(server.uri, device)
    assert refusal.value.message == f"{server.uri} is in use by another program"
    assert refusal.value.hint == "Choose another port, or 0 for any that is free"


def test_a_second_host_is_turned_away_and_disturbs_nobody(server: Server) -> None:
    first = client(open_host(server.uri))
    first.hello()
    for _ in range(3):
        second = open_host(server.uri)
        with pytest.raises(LinkError) as refusal:
            second.read()
        assert refusal.value.message == f"{server.uri} closed the connection before it answered anything"
        assert "only one at a time is served" in refusal.value.hint
        second.close()
    assert first.call("put", LETTER) == {"record": 1}
    first.close()


def test_the_place_of_a_host_that_closed_is_free_at_once(server: Server) -> None:
    for record in range(1, 101):
        host = client(open_host(server.uri))
        assert host.call("put", LETTER, request_id=record.to_bytes(16, "big")) == {"record": record}
        host.close()


def test_the_place_of_a_host_that_was_killed_is_free_at_once(server: Server) -> None:
    with plain(server) as killed:
        killed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        killed.sendall(GET_LINE * 50)
    host = client(open_host(server.uri))
    assert host.call("put", LETTER) == {"record": 1}
    host.close()


def test_what_a_host_asked_before_it_closed_is_still_done(server: Server, device: FakeDevice) -> None:
    with plain(server) as hasty:
        hasty.sendall(GET_LINE * 1000)
        hasty.shutdown(socket.SHUT_WR)
        assert len(receive(hasty.fileno(), 1000)) == 1000
        assert hasty.recv(1) == b"", "then the device closes, too"


def test_a_host_that_sends_no_more_and_reads_nothing_gives_way_to_the_next(server: Server, device: FakeDevice) -> None:
    device._answer = lambda name, request: {"message": bytes(1900)}
    with plain(server) as stuck:
        stuck.sendall(GET_LINE * 2700)  # it all arrives, and the answers are more than a connection holds
        stuck.shutdown(socket.SHUT_WR)
        while stuck.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != FIN_WAIT2:
            select.select([], [], [], 0.01)
        host = client(open_host(server.uri, timeout_ms=PATIENCE * 1000))
        assert host.call("get", {}) == {"message": bytes(1900)}
        host.close()


def test_who_knocks_while_one_that_left_is_still_answered_comes_next(server: Server, device: FakeDevice) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(name: str, request: Values) -> Values:
        begun.set()
        assert go_on.wait(PATIENCE)
        return {"message": b"hello"}

    device._answer = slow
    with plain(server) as leaving:
        leaving.sendall(GET_LINE)
        assert begun.wait(PATIENCE)
    host = open_host(server.uri)
    host.write(GET_LINE)
    go_on.set()
    assert host.read()
    host.close()


def test_without_descriptors_nobody_is_let_in_until_there_are_some(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, failed = socket.socket.accept, threading.Event()

    def fails(listener: socket.socket) -> tuple[socket.socket, object]:
        if failed.is_set():
            return accept(listener)
        failed.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(tcp, "_AT_REST", 1)
    monkeypatch.setattr(socket.socket, "accept", fails)
    host = client(open_host(server.uri))
    assert host.call("get", {}) == {"message": b"hello"}
    assert failed.is_set()
    failed.clear()
    knocks = plain(server)
    assert failed.wait(PATIENCE)
    assert host.call("get", {}) == {"message": b"hello"}
    assert knocks.recv(1) == b"", "a moment later it is turned away"
    knocks.close()
    host.close()


def test_who_knocks_and_has_gone_again_is_nobody(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    accept, failed = socket.socket.accept, threading.Event()

    def fails(listener: socket.socket) -> tuple[socket.socket, object]:
        if failed.is_set():
            return accept(listener)
        failed.set()
        raise BlockingIOError

    monkeypatch.setattr(tcp, "_AT_REST", PATIENCE * 1000_000)
    monkeypatch.setattr(socket.socket, "accept", fails)
    host = client(open_host(server.uri))
    assert host.call("get", {}) == {"message": b"hello"}, "nothing was waited for"
    host.close()


def test_a_host_that_its_machine_lost_is_missed_in_half_a_minute(server: Server, device: FakeDevice) -> None:
    found: list[dict[int, int]] = []
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)

    def look(name: str, request: Values) -> Values:
        for number in map(int, os.listdir("/proc/self/fd")):
            if not os.path.lexists(link := f"/proc/self/fd/{number}") or "socket:" not in os.readlink(link):
                continue
            with socket.socket(fileno=os.dup(number)) as ours:
                if ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                    found.append({option: ours.getsockopt(socket.IPPROTO_TCP, option) for option in options})
        return {"message": b""}

    device._answer = look
    host = client(open_host(server.uri))
    host.call("get", {})
    host.close()
    (kept,) = found
    idle, every, times, unread = (kept[option] for option in options)
    assert idle + every * times == 30
    assert unread == 30_000


def test_nothing_that_listens_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(LinkError) as refusal:
        open_host(f"tcp:{port}")
    assert refusal.value.message == f"nothing listens at tcp:127.0.0.1:{port}"
    assert refusal.value.hint == "Start the meter first, and take the port that it prints"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "the host of tcp:h:1 is not known: Name or"),
        (UnicodeError("label too long"), "the host of tcp:h:1 is not known: label too long"),
        (ConnectionRefusedError(), "nothing listens at tcp:h:1"),
        (TimeoutError(), "tcp:h:1 does not answer"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "tcp:h:1 cannot be reached: No route to host"),
    ],
)
def test_what_cannot_be_reached_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, said: str
) -> None:
    def fails(*_: object, **__: object) -> socket.socket:
        raise problem

    monkeypatch.setattr(socket, "create_connection", fails)
    with pytest.raises(LinkError) as refusal:
        open_host("tcp:h:1")
    assert refusal.value.message.startswith(said)
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (OSError(errno.EACCES, "Permission denied"), "no permission to listen at tcp:127.0.0.1:80"),
        (OSError(errno.EADDRNOTAVAIL, "no"), "tcp:127.0.0.1:80 is no address of this machine"),
        (OSError(errno.ENOBUFS, "No buffers"), "tcp:127.0.0.1:80 cannot be listened at: No buffers"),
        (UnicodeError("label too long"), "the host of tcp:127.0.0.1:80 is not known: label too long"),
        (socket.gaierror(socket.EAI_NONAME, "no"), "the host of tcp:127.0.0.1:80 is not known: no"),
    ],
)
def test_where_nobody_can_listen_is_said_with_what_to_do(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch, problem: Exception, said: str
) -> None:
    def fails(*_: object, **__: object) -> socket.socket:
        raise problem

    monkeypatch.setattr(socket, "create_server", fails)
    with pytest.raises(LinkError) as refusal:
        served("tcp:80", device)
    assert refusal.value.message == said
    assert refusal.value.hint


def test_an_address_that_is_another_machine_s_is_none_of_ours(device: FakeDevice) -> None:
    with pytest.raises(LinkError, match="tcp:192.0.2.1:0 is no address of this machine"):
        served("tcp:192.0.2.1:0", device)


def test_it_has_no_parameters(device: FakeDevice) -> None:
    with pytest.raises(UsageError, match="has no parameter 'baud'"):
        open_host("tcp:4000?baud=9600")
    with pytest.raises(UsageError, match="has no parameter 'baud'"):
        served("tcp:4000?baud=9600", device)


def test_a_host_is_given_up_that_takes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = open_host(f"tcp:{listener.getsockname()[1]}", timeout_ms=50)
        with pytest.raises(LinkError, match="was lost: nothing takes what is written"):
            host.write(bytes(100_000_000))
        host.close()


def test_closing_ends_whoever_waits_to_be_let_in(device: FakeDevice) -> None:
    server = served("tcp:0", device)
    server.poke()  # with nobody there it tells nobody
    first = client(open_host(server.uri))
    first.hello()
    closer = threading.Thread(target=server.close, daemon=True)
    closer.start()
    in_time(closer)
    with pytest.raises(LinkError, match="was lost: the other end has gone"):
        first.call("get", {})
    first.close()
    with pytest.raises(LinkError, match="nothing listens"):
        open_host(server.uri)
