"""Serial ports, for real as far as a terminal is one: what a host opens, and a device at a port that is there."""

from __future__ import annotations

import fcntl
import os
import random
import select
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from pes_sim.errors import LinkError, UsageError
from pes_sim.link import message
from pes_sim.link.ports import open_host
from pes_sim.link.ports.serial import SerialTransport
from pes_sim.link.ports.server import Server
from tests.link.fakes import FakeDevice, client, frames
from tests.link.ports.bench import GET_LINE, PATIENCE, cable, close_in_time, in_time, opened, served


@pytest.fixture
def server(device: FakeDevice) -> Iterator[Server]:
    made = served("pty:", device)
    yield made
    close_in_time(made)


# Opening


def test_a_port_is_a_path_or_serial_and_a_path(server: Server) -> None:
    for uri in (server.path, f"serial:{server.path}"):
        transport = open_host(uri)
        assert transport.name == server.path
        assert client(transport).call("get", {}) == {"message": b"hello"}
        transport.close()


@pytest.mark.parametrize(
    "path",
    ["/dev/pts/no-such", "/no/such/folder/tty", "no-such", "/dev/" + "x" * 5000, "/dev/tty\0", "/dev/\udc80"],
)
def test_a_port_that_does_not_exist_is_named_and_where_to_find_one(path: str) -> None:
    with pytest.raises(LinkError) as caught:
        open_host(f"serial:{path}")
    assert caught.value.message == f"there is no port {path}"
    assert caught.value.hint == "Start the meter first, and take the path that it prints"


def test_a_port_that_another_program_has_is_in_use_until_it_lets_go(server: Server) -> None:
    first = open_host(server.path)
    for _ in range(2):
        with pytest.raises(LinkError) as caught:
            open_host(server.path)
        assert caught.value.message == f"{server.path} is in use by another program"
        assert caught.value.hint == "Close that one first"
    assert client(first).call("get", {}) == {"message": b"hello"}, "the attempts disturbed nobody"
    first.close()
    open_host(server.path).close()


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
def test_a_port_that_another_program_has_for_itself_alone_is_in_use(server: Server) -> None:
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


def test_a_line_is_set_as_the_uri_has_it(server: Server) -> None:
    transport = open_host(f"serial:{server.path}?baud=9600&stop=2&parity=none")
    assert isinstance(transport, SerialTransport)
    assert isinstance(transport.lines, serial.Serial)
    assert (transport.lines.baudrate, transport.lines.stopbits, transport.lines.parity) == (9600, 2, "N")
    assert termios.tcgetattr(transport.lines.fileno())[4] == termios.B9600
    transport.close()


def test_a_parity_that_a_terminal_does_not_have_is_said_and_the_port_is_not_kept(server: Server) -> None:
    open_host(server.path).close()  # a terminal lets parity pass together with another change
    with pytest.raises(LinkError) as caught:
        open_host(f"serial:{server.path}?parity=even")
    assert caught.value.message == f"{server.path} cannot be set to such a line: Invalid argument"
    assert "A pseudo-terminal has no parity" in caught.value.hint
    open_host(server.path).close()


# Silence


def test_a_port_behind_which_nothing_answers_is_given_up() -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    transport = open_host(path, timeout_ms=20)
    assert transport.read() == b""
    with pytest.raises(LinkError, match=f"no answer from {path} to hello after 4 attempts"):
        client(transport).hello()
    transport.close()
    asked = os.read(master, 65536)
    assert len(frames(asked)) == 4
    os.close(master)
    os.close(slave)


def test_a_device_that_takes_nothing_does_not_hold_the_host_for_ever() -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    transport = open_host(path, timeout_ms=20)
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


def test_a_port_that_ends_as_a_file_does_is_lost_and_not_silent(server: Server) -> None:
    transport = SerialTransport(server.path, timeout_ms=2_000)
    ended, other = os.pipe()
    os.close(other)
    os.dup2(ended, transport.lines.fileno())  # so reads a USB adapter that was pulled out
    os.close(ended)
    with pytest.raises(LinkError, match=f"{server.path} was lost: the other end has gone"):
        transport.read()
    transport.close()


def test_a_port_that_this_program_closed_is_lost_to_it(server: Server) -> None:
    transport = open_host(server.path)
    transport.close()
    transport.close()
    with pytest.raises(LinkError, match="was lost"):
        transport.write(b"x")
    with pytest.raises(LinkError, match="was lost"):
        transport.read()


def test_pyserial_is_what_opens_ports(server: Server) -> None:
    with serial.Serial(server.path, timeout=PATIENCE) as port:
        port.write(GET_LINE)
        answer = port.read(1) + port.read_until(b"\0")
    assert message.read_values(frames(answer)[0]) == {"message": b"hello"}


# A device at a port that is there


def test_a_device_answers_at_a_real_port_whoever_is_at_the_other_end(device: FakeDevice) -> None:
    with cable() as (ours, theirs), served(f"serial:{ours}?baud=9600", device) as port:
        assert (port.uri, port.path) == (f"serial:{ours}?baud=9600", ours)
        with opened(theirs) as fd:  # a board that knows nothing of raw mode
            os.write(fd, GET_LINE)
            assert select.select([fd], [], [], PATIENCE)[0]
        with pytest.raises(LinkError, match=f"{ours} is in use by another program"):
            served(f"serial:{ours}", device)


def test_a_device_at_a_port_that_is_not_there_says_how_to_find_one(device: FakeDevice) -> None:
    with pytest.raises(LinkError, match="there is no port /dev/ttyUSB99") as caught:
        served("serial:/dev/ttyUSB99", device)
    assert caught.value.hint == "Plug it in; `ls /dev/tty*` lists the ports of this machine"


def test_a_port_without_a_name_is_none_at_either_end(device: FakeDevice) -> None:
    for attempt in (lambda: served("serial:", device), lambda: open_host("serial:?baud=9600")):
        with pytest.raises(UsageError, match="names no port") as caught:
            attempt()
        assert "ls /dev/tty" in caught.value.hint


def test_a_port_that_is_pulled_out_under_a_device_is_said(device: FakeDevice, caplog: pytest.LogCaptureFixture) -> None:
    master, slave = os.openpty()
    port = served(f"serial:{os.ttyname(slave)}", device)
    os.close(slave)
    os.close(master)
    in_time(port._thread)  # type: ignore[attr-defined]
    assert f"{port.uri} was lost, and nothing is answered there any more" in caplog.text
    close_in_time(port)


@pytest.mark.parametrize("end", ["host", "device"])
@pytest.mark.parametrize(
    ("query", "said", "hint"),
    [
        ("speed=9600", "has no parameter 'speed'", "Known: baud, parity, stop"),
        ("baud=9600&baud=19200", "names 'baud' twice", "Name it once"),
        ("baud=fast", "has baud=fast, which is no speed", "Allowed: 1 to 4000000, such as baud=115200"),
        ("baud=-1", "has baud=-1, which is no speed", "Allowed: 1 to 4000000, such as baud=115200"),
        ("baud=0", "has baud=0, which is no speed", "Allowed: 1 to 4000000, such as baud=115200"),
        ("baud", "has baud=, which is no speed", "Allowed: 1 to 4000000, such as baud=115200"),
        ("parity=E", "has parity=E, which is none", "Allowed: none, even, odd, mark, space"),
        ("stop=3", "has stop=3, which is none", "Allowed: 1, 1.5, 2"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(device: FakeDevice, end: str, query: str, said: str, hint: str) -> None:
    uri = f"serial:/dev/ttyUSB0?{query}"
    with pytest.raises(UsageError) as caught:
        open_host(uri) if end == "host" else served(uri, device)
    assert (caught.value.message, caught.value.hint) == (f"{uri!r} {said}", hint)
