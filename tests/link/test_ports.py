"""Ports, for real: pseudo-terminals with pyserial at the other end, ordinary programs, and what goes wrong with both.

Every test here must leave the process with the descriptors and the threads that it found.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
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
from typing import Final

import pytest
import serial

from pes_sim.clock import HOUR, VirtualClock
from pes_sim.errors import LinkError, Status
from pes_sim.link import message, ports
from pes_sim.link.client import ATTEMPTS
from pes_sim.link.frame import MAX_FRAME, Frame, Framer, encode
from pes_sim.link.ports import TIMEOUT_MS, MemoryTransport, PtyServer, SerialTransport, open_host
from pes_sim.psd.fields import Values
from tests.link.fakes import GET, ID, LIST, NOW, FakeDevice, client, frames

SILENCE: Final = TIMEOUT_MS * 1000
LETTER: Final[Values] = {"message": bytes(range(256)), "reference": b"100"}
"""Its message has every byte that a terminal could take for something else."""
PATIENCE: Final = 20
"""Seconds after which a test that waits for a thread gives up: it is stuck."""
GET_LINE: Final = encode(message.request(GET, {}, ID))


def descriptors() -> set[str]:
    """This process's open descriptors, without the one that reading them takes."""
    return {number for number in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{number}")}


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    gc.collect()
    before, threads = descriptors(), set(threading.enumerate())
    yield
    gc.collect()
    assert descriptors() == before
    assert set(threading.enumerate()) == threads


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def server(device: FakeDevice) -> Iterator[PtyServer]:
    served = PtyServer(device, VirtualClock(NOW))
    yield served
    close_in_time(served)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts that give up soon, for tests of silence."""
    monkeypatch.setattr(ports, "TIMEOUT_MS", 20)


@contextlib.contextmanager
def opened(path: str, flags: int = 0) -> Iterator[int]:
    """A terminal as a program opens it that knows nothing of serial ports."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | flags)
    try:
        yield fd
    finally:
        os.close(fd)


def in_time(thread: threading.Thread) -> None:
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it is stuck"


def close_in_time(served: PtyServer) -> None:
    closer = threading.Thread(target=served.close, daemon=True)
    closer.start()
    in_time(closer)


def receive(fd: int, count: int) -> list[Frame]:
    """The next `count` answers."""
    framer = Framer()
    answers: list[Frame] = []
    while len(answers) < count:
        readable, _, _ = select.select([fd], [], [], PATIENCE)
        assert readable, f"only {len(answers)} answers of {count} came"
        for item in framer.feed(os.read(fd, 65536)):
            assert isinstance(item, Frame)
            answers.append(item)
    return answers


# Serving


def test_a_terminal_can_be_opened_as_soon_as_its_server_is_made(server: PtyServer) -> None:
    host = client(open_host(server.path))
    assert host.hello() == {"version": 1, "max_frame": MAX_FRAME, "device_kind": "fake"}
    host.close()


def test_hundreds_of_requests_are_answered_one_by_one(server: PtyServer, device: FakeDevice) -> None:
    host = client(open_host(server.path))
    assert [host.call("put", LETTER)["record"] for _ in range(300)] == list(range(1, 301))
    host.close()
    assert len(device.asked) == 300, "nothing had to be asked twice"


def test_every_byte_arrives_unchanged_both_ways(server: PtyServer, device: FakeDevice) -> None:
    device._answer = lambda name, request: {"message": bytes(range(256))[::-1] * 7}
    host = client(open_host(server.path))
    assert host.call("get", {}) == {"message": bytes(range(256))[::-1] * 7}
    host.call("put", LETTER)
    assert device.asked[1][1] == LETTER
    host.close()


def test_the_largest_answers_arrive_whole(server: PtyServer, device: FakeDevice) -> None:
    device._answer = lambda name, request: {"entries": [b"\xa5" * 1000, bytes(3000)], "next_record": 0}
    host = client(open_host(server.path))
    host.hello()
    for _ in range(20):
        assert host.call("list", {"first_record": 0})["entries"] == [b"\xa5" * 1000, bytes(3000)]
    host.close()


def test_the_services_are_told_the_time_of_the_injected_clock(device: FakeDevice) -> None:
    clock = VirtualClock(NOW)
    with PtyServer(device, clock) as served:
        host = client(open_host(served.path))
        host.call("get", {})
        clock.advance(72 * HOUR)
        host.call("get", {})
        host.close()
    assert [now for *_, now in device.asked] == [NOW, NOW + 72 * HOUR]


def test_the_port_can_be_closed_and_opened_again_by_one_program_after_another(server: PtyServer) -> None:
    for record in range(1, 21):
        host = client(open_host(server.path))
        assert host.call("put", LETTER, request_id=bytes([record] * 16)) == {"record": record}
        host.close()


def test_who_opens_the_port_does_not_get_the_answers_of_who_had_it_before(server: PtyServer) -> None:
    with opened(server.path) as fd:
        os.write(fd, GET_LINE * 10)
        assert select.select([fd], [], [], PATIENCE)[0], "the first answers are there, and stay unread"
    host = client(open_host(server.path))
    assert host.call("put", LETTER) == {"record": 1}
    host.close()


def test_two_servers_at_once_have_nothing_to_do_with_each_other() -> None:
    one, other = FakeDevice(), FakeDevice()
    with PtyServer(one, VirtualClock(NOW)) as first, PtyServer(other, VirtualClock(NOW)) as second:
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


def test_a_program_that_knows_nothing_of_raw_mode_gets_its_bytes_unchanged(server: PtyServer) -> None:
    with opened(server.path) as fd:
        os.write(fd, GET_LINE)
        (answer,) = receive(fd, 1)
    assert message.read_values(answer) == {"message": b"hello"}


def test_a_program_that_writes_much_before_it_reads_gets_every_answer_in_order(
    server: PtyServer, device: FakeDevice
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
def test_what_an_ordinary_program_writes_to_the_port_disturbs_no_later_host(server: PtyServer, garbage: bytes) -> None:
    subprocess.run(["sh", "-c", 'cat > "$0"', server.path], input=garbage, check=True, timeout=PATIENCE)
    host = client(open_host(server.path))
    assert host.call("put", LETTER) == {"record": 1}
    assert host.hello()["device_kind"] == "fake"
    host.close()


def test_who_floods_the_port_and_reads_nothing_disturbs_no_later_host(server: PtyServer) -> None:
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


def test_a_server_waits_once_or_twice_for_a_request_and_does_not_spin(rounds: Rounds, server: PtyServer) -> None:
    host = client(open_host(server.path))
    for _ in range(200):
        host.call("get", {})
    host.close()
    assert rounds.qsize() <= 2 * 200 + 2


def test_a_server_waits_for_a_host_that_does_not_read_and_does_not_spin(rounds: Rounds, server: PtyServer) -> None:
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
    rounds: Rounds, server: PtyServer
) -> None:
    with opened(server.path) as fd:
        rounds.get(timeout=PATIENCE)
        while takes_a_byte(server._master) or takes_a_byte(server._master, patience=0.02):
            pass
        os.write(fd, GET_LINE)
        rounds.get(timeout=PATIENCE)
        (answer,) = receive(fd, 1)
    assert message.read_values(answer) == {"message": b"hello"}


def test_what_is_flushed_away_on_the_line_does_not_stop_the_server(server: PtyServer) -> None:
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
        close_in_time(PtyServer(device, VirtualClock(NOW)))
    assert descriptors() == before


def test_closing_twice_closes_once(device: FakeDevice) -> None:
    served = PtyServer(device, VirtualClock(NOW))
    path = served.path
    served.close()
    with open(os.devnull) as other:  # takes a number that the server has just given back
        served.close()
        with served:
            pass
        assert os.fstat(other.fileno())
    assert not os.path.exists(path)


def test_several_threads_may_close_at_once(device: FakeDevice) -> None:
    for _ in range(20):
        served = PtyServer(device, VirtualClock(NOW))
        closers = [threading.Thread(target=served.close, daemon=True) for _ in range(8)]
        for closer in closers:
            closer.start()
        for closer in closers:
            in_time(closer)


def test_a_host_whose_server_closes_gets_a_link_error(server: PtyServer) -> None:
    host = client(open_host(server.path))
    host.hello()
    close_in_time(server)
    for _ in range(2):
        with pytest.raises(LinkError, match=f"{server.path} was lost") as caught:
            host.call("get", {})
        assert caught.value.hint == "Is the meter still running, and plugged in?"
    host.close()


def test_closing_in_the_midst_of_traffic_ends_both_sides(device: FakeDevice) -> None:
    served = PtyServer(device, VirtualClock(NOW))
    host = client(open_host(served.path))
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
    close_in_time(served)
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
    served = PtyServer(device, VirtualClock(NOW))

    def close() -> None:
        served.close()
        closed.set()

    with opened(served.path) as fd:
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
    served = PtyServer(device, VirtualClock(NOW))
    with opened(served.path, os.O_NONBLOCK) as fd:
        fill(fd, GET_LINE)
        close_in_time(served)


def test_a_service_cannot_close_the_port_that_it_is_asked_through(
    device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    served = PtyServer(device, VirtualClock(NOW))

    def close(name: str, request: Values) -> Values:
        served.close()
        return {"message": b""}

    device._answer = close
    with opened(served.path) as fd:
        os.write(fd, GET_LINE)
        (answer,) = receive(fd, 1)
    assert answer.status == Status.INTERNAL
    assert "would wait for its own end" in caplog.text
    close_in_time(served)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_whose_thread_was_ended_by_a_service_can_still_be_closed(device: FakeDevice) -> None:
    ended = threading.Event()

    def end(name: str, request: Values) -> Values:
        ended.set()
        raise SystemExit

    device._answer = end
    served = PtyServer(device, VirtualClock(NOW))
    with opened(served.path) as fd:
        os.write(fd, GET_LINE)
        assert ended.wait(PATIENCE)
    close_in_time(served)


@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_without_descriptors_left_no_server_is_made_and_none_is_lost(device: FakeDevice, free: int) -> None:
    used = {int(number) for number in descriptors()}
    numbers = (number for number in range(1 << 20) if number not in used)
    limit = [next(numbers) for _ in range(free + 1)][-1]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            PtyServer(device, VirtualClock(NOW))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Opening


def test_a_port_is_a_path_or_serial_and_a_path(server: PtyServer) -> None:
    for uri in (server.path, f"serial:{server.path}"):
        transport = open_host(uri)
        assert transport.name == server.path
        assert client(transport).call("get", {}) == {"message": b"hello"}
        transport.close()


@pytest.mark.parametrize("uri", ["", "COM3", "ttyUSB0", "tcp:localhost:9", "SERIAL:/dev/ttyUSB0", ":/dev/ttyUSB0", "-"])
def test_a_scheme_that_does_not_exist_is_refused_with_those_that_do(uri: str) -> None:
    with pytest.raises(LinkError) as caught:
        open_host(uri)
    assert caught.value.message == f"{uri!r} is not a port"
    assert caught.value.hint == "Allowed: a path such as /dev/ttyUSB0, or serial:PATH"


@pytest.mark.parametrize(
    "path",
    ["/dev/pts/no-such", "/no/such/folder/tty", "no-such", "", "/dev/" + "x" * 5000, "/dev/tty\0", "/dev/\udc80"],
)
def test_a_port_that_does_not_exist_is_named_and_where_to_find_one(path: str) -> None:
    with pytest.raises(LinkError) as caught:
        open_host(f"serial:{path}")
    assert caught.value.message == f"there is no port {path}"
    assert caught.value.hint == "Start the meter first, and take the path that it prints"


def test_a_port_that_another_program_has_is_in_use_until_it_lets_go(server: PtyServer) -> None:
    first = open_host(server.path)
    for _ in range(2):
        with pytest.raises(LinkError) as caught:
            open_host(server.path)
        assert caught.value.message == f"{server.path} is in use by another program"
        assert caught.value.hint == "Close that one first"
    assert client(first).call("get", {}) == {"message": b"hello"}, "the attempts disturbed nobody"
    first.close()
    open_host(server.path).close()


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    return folder


@pytest.fixture
def nobody(closed_folder: Path) -> Iterator[None]:
    """Takes root's rights away for the test, where there are any; what root alone can do is done before."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


@pytest.mark.usefixtures("nobody")
def test_a_port_without_permission_says_which_group_has_it() -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    os.chmod(path, 0)
    try:
        with pytest.raises(LinkError) as caught:
            open_host(path)
        assert caught.value.message == f"no permission to open {path}"
        assert caught.value.hint == "Add yourself to the group dialout and log in again"
    finally:
        os.close(slave)
        os.close(master)


@pytest.mark.usefixtures("nobody")
def test_a_port_in_a_folder_that_may_not_be_searched_lacks_permission_not_existence(closed_folder: Path) -> None:
    with pytest.raises(LinkError, match=f"no permission to open {closed_folder}/tty"):
        open_host(f"{closed_folder}/tty")


@pytest.mark.usefixtures("nobody")
def test_a_port_that_another_program_has_for_itself_alone_is_in_use(server: PtyServer) -> None:
    with opened(server.path) as fd:
        fcntl.ioctl(fd, termios.TIOCEXCL)
        with pytest.raises(LinkError, match=f"{server.path} is in use by another program"):
            open_host(server.path)
        fcntl.ioctl(fd, termios.TIOCNXCL)
        open_host(server.path).close()


@pytest.mark.parametrize("path", ["/dev/null", os.path.dirname(__file__), __file__])
def test_what_is_no_terminal_cannot_be_opened_and_the_system_says_why(path: str) -> None:
    with pytest.raises(LinkError) as caught:
        open_host(path)
    assert caught.value.message.startswith(f"{path} cannot be opened: ")
    assert len(caught.value.message) > len(f"{path} cannot be opened: ")


def test_a_speed_that_no_port_has_cannot_be_opened(server: PtyServer) -> None:
    with pytest.raises(LinkError, match="cannot be opened: .*-1"):
        SerialTransport(server.path, baud=-1)
    SerialTransport(server.path, baud=9600).close()


# Silence


@pytest.mark.usefixtures("impatient")
def test_a_port_behind_which_nothing_answers_is_given_up() -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    transport = open_host(path)
    assert transport.read() == b""
    with pytest.raises(LinkError, match=f"no answer from {path} to hello after 4 attempts"):
        client(transport).hello()
    transport.close()
    asked = os.read(master, 65536)
    assert len(frames(asked)) == 4
    os.close(master)
    os.close(slave)


@pytest.mark.usefixtures("impatient")
def test_a_device_that_takes_nothing_does_not_hold_the_host_for_ever() -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    transport = open_host(path)
    problems: list[str] = []

    def write() -> None:
        try:
            transport.write(bytes(1_000_000))
        except LinkError as problem:
            problems.append(problem.message)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    in_time(writer)
    assert problems == [f"{path} was lost: nothing takes what is written"]
    transport.close()
    os.close(master)
    os.close(slave)


def test_what_a_device_takes_piece_by_piece_arrives_whole() -> None:
    master, slave = os.openpty()
    transport = open_host(os.ttyname(slave))
    sent = random.Random(3).randbytes(300_000)
    writer = threading.Thread(target=transport.write, args=(sent,), daemon=True)
    writer.start()
    arrived = b""
    while len(arrived) < len(sent) and select.select([master], [], [], PATIENCE)[0]:
        arrived += os.read(master, 1000)
    in_time(writer)
    assert arrived == sent
    transport.close()
    os.close(master)
    os.close(slave)


def test_a_port_that_ends_as_a_file_does_is_lost_and_not_silent(server: PtyServer) -> None:
    transport = SerialTransport(server.path)
    ended, other = os.pipe()
    os.close(other)
    os.dup2(ended, transport._port.fileno())  # so reads a USB adapter that was pulled out
    os.close(ended)
    with pytest.raises(LinkError, match=f"{server.path} was lost: the other end has gone"):
        transport.read()
    transport.close()


def test_a_port_that_this_program_closed_is_lost_to_it(server: PtyServer) -> None:
    transport = open_host(server.path)
    transport.close()
    transport.close()
    with pytest.raises(LinkError, match="was lost"):
        transport.write(b"x")
    with pytest.raises(LinkError, match="was lost"):
        transport.read()


def test_pyserial_is_what_opens_ports(server: PtyServer) -> None:
    with serial.Serial(server.path, timeout=PATIENCE) as port:
        port.write(GET_LINE)
        answer = port.read(1) + port.read_until(b"\0")
    assert message.read_values(frames(answer)[0]) == {"message": b"hello"}


# A line in memory


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
