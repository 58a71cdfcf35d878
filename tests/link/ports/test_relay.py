"""A relay between two ports: every byte comes through as it was, both ways, whoever comes and goes."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim import VirtualMeter, connect
from pes_sim.errors import LinkError, UsageError
from pes_sim.link.ports.relay import Relay
from tests.link.ports.bench import PATIENCE, cable, in_thread, in_time


class Running:
    """A relay that runs in a thread: what it saw, what it said, and how it ended."""

    def __init__(self, port: str, listen: str) -> None:
        self.to_device, self.to_host = bytearray(), bytearray()
        self.said: list[str] = []
        self.news = threading.Condition()
        self.ended: LinkError | None = None
        self.relay = Relay(port, listen, self._saw, told=self._told)
        self._thread = in_thread(self._run)

    def _saw(self, data: bytes, to_device: bool) -> None:
        with self.news:
            (self.to_device if to_device else self.to_host).extend(data)
            self.news.notify_all()

    def _told(self, text: str) -> None:
        with self.news:
            self.said.append(text)
            self.news.notify_all()

    def _run(self) -> None:
        try:
            self.relay.run()
        except LinkError as gone:
            self.ended = gone

    def wait(self, *, said: int = 0, to_host: int = 0) -> None:
        with self.news:
            assert self.news.wait_for(lambda: len(self.said) >= said and len(self.to_host) >= to_host, PATIENCE)

    def gone(self) -> str:
        """How it ended by itself."""
        in_time(self._thread)
        assert self.ended is not None
        return self.ended.message

    def close(self) -> None:
        self.relay.stop()
        in_time(self._thread)
        self.relay.close()


@contextlib.contextmanager
def running(port: str, listen: str) -> Iterator[Running]:
    made = Running(port, listen)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def between_sockets() -> Iterator[tuple[Running, socket.socket, socket.socket]]:
    """A relay with a device and a program of the test's own: gives the device's end and the program's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        running(f"tcp:{listener.getsockname()[1]}", "tcp:0") as relay,
    ):
        device, _ = listener.accept()
        with device, _program(relay) as program:
            relay.wait(said=1)
            device.settimeout(PATIENCE)
            yield relay, device, program


def _program(relay: Running) -> socket.socket:
    host, port = relay.relay.uri.removeprefix("tcp:").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def receive(from_: socket.socket, count: int) -> bytes:
    came = b""
    while len(came) < count and (data := from_.recv(65536)):
        came += data
    return came


@pytest.mark.parametrize("port", ["pty:", "tcp:0", "rfc2217:0"])
@pytest.mark.parametrize("listen", ["pty:", "tcp:0"])
def test_a_piece_is_dispensed_through_it(port: str, listen: str) -> None:
    with VirtualMeter() as meter:
        meter.refill(10_000)
        server = meter.serve(port)
        with running(server.path or server.uri, listen) as relay:
            with connect(relay.relay.uri) as host:
                piece = host.print_piece(department="100")
                assert host.registers().piece_count == 1
            assert b"".join(piece.indicium.split(b"\0", 1)[:1]) in relay.to_host
            assert relay.to_device.count(b"\0") >= 6


def test_it_offers_a_link_that_stays_while_it_runs(tmp_path: Path) -> None:
    link = tmp_path / "meter0"
    with VirtualMeter() as meter, running(meter.serve("tcp:0").uri, f"pty:{link}") as relay:
        assert (relay.relay.uri, link.is_symlink()) == (str(link), True)
        with connect(str(link)) as host:
            assert host.registers().piece_count == 0
    assert not link.is_symlink()


def test_it_can_be_put_between_two_serial_ports() -> None:
    with (
        VirtualMeter() as meter, cable() as (mine, programs), running(meter.serve().path, f"serial:{mine}"),
        connect(programs) as host,
    ):  # fmt: skip
        assert host.registers().piece_count == 0


PIECES = st.lists(st.binary(min_size=1, max_size=5000), max_size=8)


def test_any_bytes_pass_unchanged_however_they_are_cut() -> None:
    with between_sockets() as (relay, device, program):

        @settings(max_examples=60, deadline=None)
        @given(PIECES, PIECES)
        def pass_unchanged(down: list[bytes], up: list[bytes]) -> None:
            before = len(relay.to_host)
            for sent, back in zip(down + [b""] * len(up), up + [b""] * len(down), strict=True):
                program.sendall(sent)
                device.sendall(back)
            assert receive(device, len(b"".join(down))) == b"".join(down)
            assert receive(program, len(b"".join(up))) == b"".join(up)
            relay.wait(to_host=before + len(b"".join(up)))
            assert relay.to_host[before:] == b"".join(up)

        pass_unchanged()


@pytest.mark.parametrize("cut", [1, 7, 4096])
def test_a_terminal_passes_every_byte_too(cut: int) -> None:
    data = bytes(range(256)) * 4
    with cable() as (mine, devices), running(mine, "pty:") as relay:
        device, program = (os.open(path, os.O_RDWR | os.O_NOCTTY) for path in (devices, relay.relay.uri))
        try:
            for near, far in ((device, program), (program, device)):
                for at in range(0, len(data), cut):
                    os.write(near, data[at : at + cut])
                came = b""
                while len(came) < len(data):
                    assert select.select([far], [], [], PATIENCE)[0]
                    came += os.read(far, 65536)
                assert came == data
        finally:
            os.close(device)
            os.close(program)


def test_who_reads_nothing_holds_up_only_who_sends_to_him() -> None:
    """The device sends more than anybody keeps; the other direction goes on, and nothing is lost in the end."""
    with between_sockets() as (_, device, program):
        data = os.urandom(20_000_000)
        sender = in_thread(lambda: device.sendall(data))
        for number in range(50):
            program.sendall(bytes([number]))
            assert device.recv(1) == bytes([number])
        assert sender.is_alive(), "back pressure reaches it"
        assert receive(program, len(data)) == data
        in_time(sender)


def test_a_program_may_go_and_another_come() -> None:
    with between_sockets() as (relay, device, program):
        program.sendall(b"first")
        assert device.recv(100) == b"first"
        program.close()
        relay.wait(said=2)
        device.sendall(b"nobody is there")
        relay.wait(to_host=len(b"nobody is there"))
        with _program(relay) as second:
            relay.wait(said=3)
            second.sendall(b"second")
            assert device.recv(100) == b"second"
            device.sendall(b"answer")
            assert second.recv(100) == b"answer"
        assert relay.said[:3] == ["a program has come", "the program has gone", "a program has come"]


def test_one_program_at_a_time_and_the_next_is_told() -> None:
    with between_sockets() as (relay, device, program):
        with _program(relay) as second:
            assert second.recv(1) == b""
        program.sendall(b"still here")
        assert device.recv(100) == b"still here"


def test_a_program_that_is_reset_has_gone() -> None:
    with between_sockets() as (relay, device, program):
        program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        program.close()
        relay.wait(said=2)
        with _program(relay) as second:
            relay.wait(said=3)
            device.sendall(b"x")
            assert second.recv(1) == b"x"


def test_when_the_device_goes_it_ends_and_says_so_and_its_last_words_arrive() -> None:
    with between_sockets() as (relay, device, program):
        last = os.urandom(6_000_000)  # more than the program's connection holds

        def send() -> None:
            device.sendall(last)
            device.close()

        sender = in_thread(send)
        assert receive(program, len(last)) == last
        in_time(sender)
        assert "was lost: the other end has gone" in relay.gone()


def test_a_device_that_takes_nothing_any_more_has_gone() -> None:
    with between_sockets() as (relay, device, program):
        device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        program.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                program.send(bytes(65536))
        device.close()
        assert "was lost" in relay.gone()


def test_a_port_without_a_descriptor_that_goes_is_told() -> None:
    with VirtualMeter() as meter:
        server = meter.serve("rfc2217:0")
        with running(server.uri, "pty:") as relay:
            server.close()
            assert f"{server.uri} was lost" in relay.gone()


def test_a_device_that_goes_with_bytes_unread_is_told_of_alike() -> None:
    with between_sockets() as (relay, device, _):
        device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it resets the connection
        device.close()
        assert relay.gone().endswith("was lost: the other end has gone")


def test_a_terminal_that_goes_is_told() -> None:
    with VirtualMeter() as meter:
        server = meter.serve()
        with running(server.path, "pty:") as relay:
            server.close()
            assert f"{server.path} was lost" in relay.gone()


@pytest.mark.parametrize(
    ("port", "listen", "says"),
    [
        ("memory:", "pty:", "no relay can be put at 'memory:'"),
        ("tcp:1", "rfc2217:0", "no relay can be put at 'rfc2217:0'"),
        ("nothing", "pty:", "no relay can be put at 'nothing'"),
    ],
)
def test_where_none_can_be_is_told(port: str, listen: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        Relay(port, listen, lambda *_: None)
    assert "docs/monitor.md" in caught.value.hint


def test_a_port_that_cannot_be_had_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="there is no port"):
        Relay(f"pty:{tmp_path}/none", "pty:", lambda *_: None)
    with VirtualMeter() as meter, socket.create_server(("127.0.0.1", 0)) as taken:
        uri = meter.serve().path
        with pytest.raises(LinkError, match="is in use by another program"):
            Relay(uri, f"tcp:{taken.getsockname()[1]}", lambda *_: None)
        with Relay(uri, "tcp:0", lambda *_: None):
            pass
