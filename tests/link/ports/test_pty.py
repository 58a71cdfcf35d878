"""Pseudo-terminals, for real: pyserial at the other end, ordinary programs, and what goes wrong with both."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import queue
import random
import resource
import select
import subprocess
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pes_sim.clock import HOUR, VirtualClock
from pes_sim.errors import LinkError, Status, UsageError
from pes_sim.link import message
from pes_sim.link.frame import MAX_FRAME, encode
from pes_sim.link.ports import open_host
from pes_sim.link.ports.server import LineServer, Server
from pes_sim.link.ports.stream import DEVICE_LOOKS
from pes_sim.psd.fields import Values
from tests.link.fakes import ID, LIST, NOW, FakeDevice, client
from tests.link.ports.bench import (
    GET_LINE,
    LETTER,
    PATIENCE,
    close_in_time,
    descriptors,
    in_thread,
    in_time,
    opened,
    receive,
    served,
)  # fmt: skip


@pytest.fixture
def server(device: FakeDevice) -> Iterator[Server]:
    made = served("pty:", device)
    yield made
    close_in_time(made)


# Serving


def test_a_terminal_can_be_opened_as_soon_as_its_server_is_made(server: Server) -> None:
    host = client(open_host(server.path))
    assert host.hello() == {"version": 1, "max_frame": MAX_FRAME, "device_kind": "fake"}
    host.close()


def test_hundreds_of_requests_are_answered_one_by_one(server: Server, device: FakeDevice) -> None:
    host = client(open_host(server.path))
    assert [host.call("put", LETTER)["record"] for _ in range(300)] == list(range(1, 301))
    host.close()
    assert len(device.asked) == 300, "nothing had to be asked twice"


def test_every_byte_arrives_unchanged_both_ways(server: Server, device: FakeDevice) -> None:
    device._answer = lambda name, request: {"message": bytes(range(256))[::-1] * 7}
    host = client(open_host(server.path))
    assert host.call("get", {}) == {"message": bytes(range(256))[::-1] * 7}
    host.call("put", LETTER)
    assert device.asked[1][1] == LETTER
    host.close()


def test_the_largest_answers_arrive_whole(server: Server, device: FakeDevice) -> None:
    device._answer = lambda name, request: {"entries": [b"\xa5" * 1000, bytes(3000)], "next_record": 0}
    host = client(open_host(server.path))
    host.hello()
    for _ in range(20):
        assert host.call("list", {"first_record": 0})["entries"] == [b"\xa5" * 1000, bytes(3000)]
    host.close()


def test_the_services_are_told_the_time_of_the_injected_clock(device: FakeDevice) -> None:
    clock = VirtualClock(NOW)
    with served("pty:", device, clock) as port:
        host = client(open_host(port.path))
        host.call("get", {})
        clock.advance(72 * HOUR)
        host.call("get", {})
        host.close()
    assert [now for *_, now in device.asked] == [NOW, NOW + 72 * HOUR]


def test_the_port_can_be_closed_and_opened_again_by_one_program_after_another(server: Server) -> None:
    for record in range(1, 21):
        host = client(open_host(server.path))
        assert host.call("put", LETTER, request_id=bytes([record] * 16)) == {"record": record}
        host.close()


def test_who_opens_the_port_does_not_get_the_answers_of_who_had_it_before(server: Server) -> None:
    with opened(server.path) as fd:
        os.write(fd, GET_LINE * 10)
        assert select.select([fd], [], [], PATIENCE)[0], "the first answers are there, and stay unread"
    host = client(open_host(server.path))
    assert host.call("put", LETTER) == {"record": 1}
    host.close()


def test_two_servers_at_once_have_nothing_to_do_with_each_other() -> None:
    one, other = FakeDevice(), FakeDevice()
    with served("pty:", one) as first, served("pty:", other) as second:
        assert first.path != second.path
        hosts = [client(open_host(first.path)), client(open_host(second.path))]
        for round_ in range(1, 11):
            assert hosts[0].call("put", LETTER) == {"record": round_}
            assert hosts[1].call("get", {}) == {"message": b"hello"}
        first.close()
        assert hosts[1].call("get", {}) == {"message": b"hello"}
        for host in hosts:
            host.close()
    assert {name for name, *_ in one.asked} == {"put"}
    assert {name for name, *_ in other.asked} == {"get"}


def test_a_program_that_knows_nothing_of_raw_mode_gets_its_bytes_unchanged(server: Server) -> None:
    with opened(server.path) as fd:
        os.write(fd, GET_LINE)
        (answer,) = receive(fd, 1)
    assert message.read_values(answer) == {"message": b"hello"}


def test_a_program_that_writes_much_before_it_reads_gets_every_answer_in_order(
    server: Server, device: FakeDevice
) -> None:
    device._answer = lambda name, request: {"entries": [bytes(1900)], "next_record": request["first_record"]}
    asked = [encode(message.request(LIST, {"first_record": number}, ID)) for number in range(200)]
    with opened(server.path) as fd:
        writer = threading.Thread(target=lambda: [os.write(fd, line) for line in asked], daemon=True)
        writer.start()
        answers = receive(fd, len(asked))
        in_time(writer)
    assert [message.read_values(answer)["next_record"] for answer in answers] == list(range(200))


# Garbage


@pytest.mark.parametrize(
    "garbage",
    [b"hello\n", b"\xff" * 100_000, bytes(100_000), b"\x03\x04\x11\x13\x1a\x1c\x7f\r\n", b"x\0" * 50_000,
     random.Random(2).randbytes(100_000), GET_LINE[:-3]],
    ids=["text", "no delimiter", "zeros", "control characters", "tiny frames", "noise", "half a request"],
)  # fmt: skip
def test_what_an_ordinary_program_writes_to_the_port_disturbs_no_later_host(server: Server, garbage: bytes) -> None:
    subprocess.run(["sh", "-c", 'cat > "$0"', server.path], input=garbage, check=True, timeout=PATIENCE)
    host = client(open_host(server.path))
    assert host.call("put", LETTER) == {"record": 1}
    assert host.hello()["device_kind"] == "fake"
    host.close()


def test_who_floods_the_port_and_reads_nothing_disturbs_no_later_host(server: Server) -> None:
    with opened(server.path, os.O_NONBLOCK) as fd:
        fill(fd, GET_LINE)
    host = client(open_host(server.path))
    assert host.call("put", LETTER) == {"record": 1}
    host.close()


def fill(fd: int, line: bytes) -> int:
    """Writes until the device is stuck with answers that nobody reads, and takes no more. Gives how often."""
    for count in range(100_000):
        if not select.select([], [fd], [], 0.05)[1]:
            return count
        with contextlib.suppress(BlockingIOError):
            os.write(fd, line)
    raise AssertionError("it takes everything")


Rounds = queue.SimpleQueue[None]


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    """Gets an item whenever a server waits anew. (The real wait is only watched.)"""
    begun: Rounds = queue.SimpleQueue()
    make = select.poll

    class Watched:
        def __init__(self) -> None:
            self._poll = make()
            self.register = self._poll.register

        def poll(self, *arguments: int) -> list[tuple[int, int]]:
            if threading.current_thread().name.startswith("pes-sim"):
                begun.put(None)
            return self._poll.poll(*arguments)

    monkeypatch.setattr(select, "poll", Watched)
    return begun


@pytest.mark.parametrize("looks", [0, DEVICE_LOOKS])
def test_a_server_waits_once_or_twice_for_a_request_and_does_not_spin(
    rounds: Rounds, server: Server, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each sleep it looks so many times, and no more."""
    monkeypatch.setattr("pes_sim.link.ports.server.DEVICE_LOOKS", looks)
    host = client(open_host(server.path))
    host.call("get", {})
    while not rounds.empty():
        rounds.get()
    for _ in range(200):
        host.call("get", {})
    host.close()
    assert rounds.qsize() <= (2 * 200 + 2) * (1 + looks)


def test_a_server_waits_for_a_host_that_does_not_read_and_does_not_spin(rounds: Rounds, server: Server) -> None:
    with opened(server.path, os.O_NONBLOCK) as fd:
        written = fill(fd, GET_LINE)
    assert rounds.qsize() <= 2 * written


def takes_a_byte(fd: int, patience: float = 0) -> bool:
    select.select([], [fd], [], patience)
    try:
        return os.write(fd, b"\0") == 1
    except BlockingIOError:
        return False


def test_an_answer_that_finds_the_terminal_full_to_the_brim_waits_until_there_is_room(
    rounds: Rounds, server: Server
) -> None:
    assert isinstance(server, LineServer)
    with opened(server.path) as fd:
        rounds.get(timeout=PATIENCE)
        while takes_a_byte(server.fd) or takes_a_byte(server.fd, patience=0.02):
            pass
        os.write(fd, GET_LINE)
        rounds.get(timeout=PATIENCE)
        (answer,) = receive(fd, 1)
    assert message.read_values(answer) == {"message": b"hello"}


def test_what_is_flushed_away_on_the_line_does_not_stop_the_server(server: Server) -> None:
    with opened(server.path) as fd:
        for _ in range(300):
            os.write(fd, GET_LINE + b"\0half")
            termios.tcflush(fd, termios.TCIOFLUSH)
    host = client(open_host(server.path))
    assert host.call("put", LETTER) == {"record": 1}
    host.close()


# Closing


def test_a_server_can_be_made_and_closed_many_times(device: FakeDevice) -> None:
    before = descriptors()
    for _ in range(100):
        close_in_time(served("pty:", device))
    assert descriptors() == before


def test_closing_twice_closes_once(device: FakeDevice) -> None:
    port = served("pty:", device)
    path = port.path
    port.close()
    with open(os.devnull) as other:  # takes a number that the server has just given back
        port.close()
        with port:
            pass
        assert os.fstat(other.fileno())
    assert not os.path.exists(path)


def test_several_threads_may_close_at_once(device: FakeDevice) -> None:
    for _ in range(20):
        port = served("pty:", device)
        closers = [threading.Thread(target=port.close, daemon=True) for _ in range(8)]
        for closer in closers:
            closer.start()
        for closer in closers:
            in_time(closer)


def test_a_host_whose_server_closes_gets_a_link_error(server: Server) -> None:
    host = client(open_host(server.path))
    host.hello()
    close_in_time(server)
    for _ in range(2):
        with pytest.raises(LinkError, match=f"{server.path} was lost") as caught:
            host.call("get", {})
        assert caught.value.hint == "Is the meter still running, and plugged in?"
    host.close()


def test_closing_in_the_midst_of_traffic_ends_both_sides(device: FakeDevice) -> None:
    port = served("pty:", device)
    host = client(open_host(port.path))
    problems: list[LinkError] = []
    busy = threading.Event()

    def talk() -> None:
        try:
            while True:
                host.call("put", LETTER)
                busy.set()
        except LinkError as problem:
            problems.append(problem)

    talker = threading.Thread(target=talk, daemon=True)
    talker.start()
    assert busy.wait(PATIENCE)
    close_in_time(port)
    in_time(talker)
    host.close()
    assert "was lost" in problems[0].message


def test_closing_waits_for_the_request_under_way_but_not_for_the_next(device: FakeDevice) -> None:
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    closed_too_early: list[bool] = []

    def slow(name: str, request: Values) -> Values:
        begun.set()
        assert go_on.wait(PATIENCE)
        closed_too_early.append(closed.wait(0.05))
        return {"message": b""}

    device._answer = slow
    port = served("pty:", device)

    def close() -> None:
        port.close()
        closed.set()

    with opened(port.path) as fd:
        os.write(fd, GET_LINE)
        assert begun.wait(PATIENCE)
        os.write(fd, GET_LINE)
        closer = threading.Thread(target=close, daemon=True)
        closer.start()
        go_on.set()
        in_time(closer)
    assert closed_too_early == [False]
    assert len(device.asked) == 1


def test_closing_does_not_wait_for_a_host_that_never_reads(device: FakeDevice) -> None:
    device._answer = lambda name, request: {"message": bytes(2000)}
    port = served("pty:", device)
    with opened(port.path, os.O_NONBLOCK) as fd:
        fill(fd, GET_LINE)
        close_in_time(port)


def test_a_service_cannot_close_the_port_that_it_is_asked_through(
    device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    port = served("pty:", device)

    def close(name: str, request: Values) -> Values:
        port.close()
        return {"message": b""}

    device._answer = close
    with opened(port.path) as fd:
        os.write(fd, GET_LINE)
        (answer,) = receive(fd, 1)
    assert answer.status == Status.INTERNAL
    assert "would wait for its own end" in caplog.text
    close_in_time(port)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_whose_thread_was_ended_by_a_service_can_still_be_closed(device: FakeDevice) -> None:
    ended = threading.Event()

    def end(name: str, request: Values) -> Values:
        ended.set()
        raise SystemExit

    device._answer = end
    port = served("pty:", device)
    with opened(port.path) as fd:
        os.write(fd, GET_LINE)
        assert ended.wait(PATIENCE)
    close_in_time(port)


@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_without_descriptors_left_no_server_is_made_and_none_is_lost(device: FakeDevice, free: int) -> None:
    used = {int(number) for number in descriptors()}
    numbers = (number for number in range(1 << 20) if number not in used)
    limit = [next(numbers) for _ in range(free + 1)][-1]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with pytest.raises(LinkError, match="'pty:' cannot be served: Too many open files"):
            served("pty:", device)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# A link to it


def test_a_link_has_the_same_path_each_time(device: FakeDevice, tmp_path: Path) -> None:
    link = tmp_path / "meter0"
    for record in (1, 2):
        with served(f"pty:{link}", device) as port:
            assert (port.uri, port.path) == (f"pty:{link}", str(link))
            assert link.is_symlink()
            for uri in (port.uri, port.path):
                host = client(open_host(uri))
                assert host.call("put", LETTER, request_id=bytes([record] * 16)) == {"record": record}
                host.close()
        assert list(tmp_path.iterdir()) == [], "nothing is left of it"


def test_a_link_is_named_whole_wherever_the_program_goes(
    device: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with served("pty:meter0", device) as port:
        assert port.path == f"{tmp_path}/meter0"


def test_a_link_that_a_killed_meter_left_is_replaced(device: FakeDevice, tmp_path: Path) -> None:
    link = tmp_path / "meter0"
    link.symlink_to("/dev/pts/999999")
    with served(f"pty:{link}", device) as port:
        host = client(open_host(port.path))
        assert host.call("get", {}) == {"message": b"hello"}
        host.close()


def test_a_link_whose_number_has_become_our_own_is_replaced_too(
    device: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = os.openpty()
    monkeypatch.setattr(os, "openpty", lambda: pair)
    link = tmp_path / "meter0"
    link.symlink_to(spelled_as_ours(os.ttyname(pair[1])))
    with served(f"pty:{link}", device) as port:
        host = client(open_host(port.path))
        assert host.call("get", {}) == {"message": b"hello"}
        host.close()


def spelled_as_ours(terminal: str) -> str:
    return terminal.replace("/pts/", "/pts/./")


def test_a_link_of_ours_whose_number_went_to_another_program_is_replaced_and_that_programs_own_is_not(
    device: FakeDevice, tmp_path: Path
) -> None:
    master, slave = os.openpty()
    try:
        link, theirs = tmp_path / "meter0", os.ttyname(slave)
        link.symlink_to(theirs)
        with pytest.raises(LinkError, match=f"{link} is in use: it leads to {theirs}, which another program has open"):
            served(f"pty:{link}", device)
        assert os.readlink(link) == theirs
        link.unlink()
        link.symlink_to(spelled_as_ours(theirs))
        with served(f"pty:{link}", device) as port:
            assert os.path.realpath(link) != theirs
            host = client(open_host(port.path))
            assert host.call("get", {}) == {"message": b"hello"}
            host.close()
    finally:
        os.close(master)
        os.close(slave)


def test_a_link_of_ours_to_a_terminal_that_may_not_be_looked_at_is_in_use(
    device: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens, link = os.open, tmp_path / "meter0"

    def another_users(path: str, *how: int) -> int:
        if path == os.readlink(link):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opens(path, *how)

    master, slave = os.openpty()
    try:
        link.symlink_to(spelled_as_ours(os.ttyname(slave)))
        monkeypatch.setattr(os, "open", another_users)
        with pytest.raises(LinkError, match="which another meter has open"):
            served(f"pty:{link}", device)
    finally:
        os.close(master)
        os.close(slave)


def test_a_link_that_another_meter_serves_is_in_use(device: FakeDevice, tmp_path: Path) -> None:
    link = tmp_path / "meter0"
    with served(f"pty:{link}", device) as first:
        before = os.readlink(link)
        with pytest.raises(LinkError, match=f"{link} is in use: it leads to {before}, which another meter") as refusal:
            served(f"pty:{link}", device)
        assert refusal.value.hint == "Stop it, or choose another path"
        host = client(open_host(first.path))
        assert host.call("get", {}) == {"message": b"hello"}, "the attempt disturbed nobody"
        host.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link to a file", "link to nothing"])
def test_what_is_not_ours_is_never_replaced(device: FakeDevice, tmp_path: Path, kind: str) -> None:
    link = tmp_path / "meter0"
    if kind == "file":
        link.write_text("precious")
    elif kind == "folder":
        link.mkdir()
    else:
        link.symlink_to(__file__ if kind == "link to a file" else "/no/such")
    before = link.lstat()
    with pytest.raises(LinkError) as refusal:
        served(f"pty:{link}", device)
    assert refusal.value.message == f"{link} is there already, and is no link to a terminal"
    assert link.lstat() == before
    assert list(tmp_path.iterdir()) == [link]


def test_a_link_that_has_become_another_s_is_left_to_it(device: FakeDevice, tmp_path: Path) -> None:
    link = tmp_path / "meter0"
    with served(f"pty:{link}", device):
        link.unlink()
        link.symlink_to("/dev/pts/999999")
    assert os.readlink(link) == "/dev/pts/999999"
    link.unlink()
    with served(f"pty:{link}", device):
        link.unlink()


def test_of_two_that_take_over_a_stale_link_at_once_one_has_it(
    device: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "meter0"
    link.symlink_to("/dev/pts/999999")
    replace, flock, comes, refused = os.replace, fcntl.flock, threading.Event(), list[LinkError]()

    def second() -> None:
        try:
            served(f"pty:{link}", device)
        except LinkError as problem:
            refused.append(problem)

    def comes_and_locks(fd: int, how: int) -> None:
        comes.set()
        flock(fd, how)

    def when_another_comes(new: str, old: str) -> None:
        monkeypatch.setattr(fcntl, "flock", comes_and_locks)
        threads.append(in_thread(second))
        assert comes.wait(PATIENCE)
        replace(new, old)

    threads: list[threading.Thread] = []
    monkeypatch.setattr(os, "replace", when_another_comes)
    with served(f"pty:{link}", device):
        in_time(threads[0])
    assert "is in use: it leads to" in refused[0].message


def test_a_link_needs_a_folder_that_is_there_and_may_be_written(device: FakeDevice, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=f"there is no folder {tmp_path}/none to put {tmp_path}/none/meter0 in"):
        served(f"pty:{tmp_path}/none/meter0", device)
    with pytest.raises(LinkError, match=f"{tmp_path}/{'x' * 300} cannot be made: File name too long"):
        served(f"pty:{tmp_path}/{'x' * 300}", device)


@pytest.mark.usefixtures("nobody")
def test_a_link_in_a_folder_that_may_not_be_written_lacks_permission(device: FakeDevice, closed_folder: Path) -> None:
    with pytest.raises(LinkError, match=f"no permission to make a link in {closed_folder}") as refusal:
        served(f"pty:{closed_folder}/meter0", device)
    assert refusal.value.hint == "Choose a path in a folder of your own"


def test_a_terminal_to_open_has_a_path_and_no_parameters() -> None:
    with pytest.raises(UsageError, match="'pty:' names no terminal to open"):
        open_host("pty:")
    with pytest.raises(UsageError, match="has no parameter 'baud'") as refusal:
        open_host("pty:/dev/pts/3?baud=9600")
    assert refusal.value.hint == "A pty: port has none"
    with pytest.raises(UsageError, match="has no parameter 'baud'"):
        served("pty:?baud=9600", FakeDevice())


def test_a_terminal_that_fails_is_said_and_can_still_be_closed(
    device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    port = served("pty:", device)
    assert isinstance(port, LineServer)
    ended, other = os.pipe()
    os.close(other)
    os.dup2(ended, port.fd)  # so reads a line that has gone
    os.close(ended)
    port.poke()
    in_time(port._thread)
    close_in_time(port)
    assert f"{port.uri} was lost, and nothing is answered there any more" in caplog.text
