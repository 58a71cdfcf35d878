"""A switchboard: many terminals, one thread, and each host served as if it were alone."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pes_sim.clock import VirtualClock
from pes_sim.errors import LinkError, UsageError
from pes_sim.link.device import DeviceSession
from pes_sim.link.ports import open_host
from pes_sim.link.ports.server import Server
from pes_sim.link.ports.stream import DEVICE_LOOKS
from pes_sim.link.ports.switchboard import Switchboard
from pes_sim.psd.faults import PowerCut
from pes_sim.psd.fields import Values
from tests.link.fakes import NOW, FakeDevice, client
from tests.link.ports.bench import GET_LINE, LETTER, PATIENCE, in_thread, in_time


@pytest.fixture
def board() -> Iterator[Switchboard]:
    with Switchboard() as board:
        yield board


def plug_in(board: Switchboard, device: FakeDevice, uri: str = "pty:") -> Server:
    return board.serve(uri, lambda: DeviceSession(device), VirtualClock(NOW))


def test_each_of_many_hosts_talks_to_its_own_device(board: Switchboard) -> None:
    devices = [FakeDevice() for _ in range(40)]
    hosts = [client(open_host(plug_in(board, device).path)) for device in devices]
    before = threading.active_count()
    for round_ in (1, 2):
        for host in hosts:
            assert host.call("put", LETTER)["record"] == round_
    assert [len(device.asked) for device in devices] == [2] * 40
    assert threading.active_count() == before
    for host in hosts:
        host.close()


def test_one_that_does_not_read_its_answers_holds_nobody_up(board: Switchboard) -> None:
    stubborn, other = plug_in(board, FakeDevice()), plug_in(board, FakeDevice())
    fd = os.open(stubborn.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    sent = 0
    try:
        for _ in range(2000):
            sent += os.write(fd, GET_LINE)
    except BlockingIOError:
        pass
    host = client(open_host(other.path))
    assert host.call("get", {}) == {"message": b"hello"}
    host.close()
    # And when it reads at last, every whole request has its answer.
    answers, wanted = b"", sent // len(GET_LINE)
    os.set_blocking(fd, True)
    while answers.count(b"hello") < wanted:
        answers += os.read(fd, 65536)
    os.close(fd)


def test_a_device_that_is_cut_off_answers_nothing_and_the_others_go_on(board: Switchboard) -> None:
    class Dark(FakeDevice):
        def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
            if not self.asked:
                self.asked.append((name, request, request_id, now))
                raise PowerCut
            return super().execute(name, request, request_id=request_id, now=now)

    dark, bright = plug_in(board, Dark()), plug_in(board, FakeDevice())
    host = client(open_host(dark.path, timeout_ms=50))
    assert host.call("get", {}) == {"message": b"hello"}, "asked again, it is there again"
    other = client(open_host(bright.path))
    assert other.call("get", {}) == {"message": b"hello"}
    host.close()
    other.close()


def test_what_a_device_says_by_itself_goes_to_its_own_host_when_it_is_poked(board: Switchboard) -> None:
    class Talker(DeviceSession):
        said = b""

        def unasked(self, now: int) -> bytes:
            said, self.said = self.said, b""
            return said

    class Fainting(Talker):
        def unasked(self, now: int) -> bytes:
            if self.said:
                raise PowerCut
            return b""

    sessions = [Talker(FakeDevice()), Talker(FakeDevice())]
    first, second = (board.serve("pty:", lambda s=s: s, VirtualClock(NOW)) for s in sessions)  # type: ignore[misc]
    hosts = [open_host(port.path) for port in (first, second)]
    sessions[0].said = b"news"
    first.poke()
    assert hosts[0].read() == b"news"

    made: list[Talker] = [Talker(FakeDevice()), Fainting(FakeDevice())]
    fainting = made[-1]
    fainted = threading.Event()

    def make() -> Talker:
        if len(made) == 1:
            fainted.set()
        return made.pop()

    third = board.serve("pty:", make, VirtualClock(NOW))
    fainting.said = b"never"
    third.poke()
    assert fainted.wait(PATIENCE), "a power cut makes a new session there too"
    for host in hosts:
        host.close()


def test_a_closed_line_is_gone_and_the_others_stay(board: Switchboard, tmp_path: Path) -> None:
    link = tmp_path / "meter0"
    gone, stays = plug_in(board, FakeDevice(), f"pty:{link}"), plug_in(board, FakeDevice())
    assert gone.path == str(link)
    host = client(open_host(gone.path))
    assert host.call("get", {}) == {"message": b"hello"}
    gone.close()
    gone.close()
    gone.poke()
    assert gone.closed
    assert not link.is_symlink()
    with pytest.raises(LinkError):
        host.call("get", {})
    other = client(open_host(stays.path))
    assert other.call("get", {}) == {"message": b"hello"}
    other.close()


def test_a_line_that_fails_is_said_and_ends_alone(
    board: Switchboard, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails, stays = plug_in(board, FakeDevice()), plug_in(board, FakeDevice())
    host, other = open_host(fails.path), client(open_host(stays.path))
    reads, said = os.read, threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.set()

    handler = Told()
    logging.getLogger("pes_sim.link.ports.switchboard").addHandler(handler)
    broken = fails.host.fd  # type: ignore[attr-defined]

    def read(fd: int, length: int) -> bytes:
        if fd == broken:
            raise OSError("no such device")
        return reads(fd, length)

    monkeypatch.setattr(os, "read", read)
    host.write(b"anything")
    assert said.wait(PATIENCE)
    monkeypatch.undo()
    logging.getLogger("pes_sim.link.ports.switchboard").removeHandler(handler)
    assert f"{fails.uri} was lost" in caplog.text
    assert other.call("get", {}) == {"message": b"hello"}
    other.close()
    fails.close()


def test_a_request_cannot_close_the_line_that_it_came_through_nor_the_board() -> None:
    board = Switchboard()
    refused: list[RuntimeError] = []

    class Suicidal(FakeDevice):
        def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
            for close in (line.close, board.close):
                with pytest.raises(RuntimeError, match="cannot close the port that it came through") as refusal:
                    close()
                refused.append(refusal.value)
            return super().execute(name, request, request_id=request_id, now=now)

    line = plug_in(board, Suicidal())
    host = client(open_host(line.path))
    assert host.call("get", {}) == {"message": b"hello"}
    assert len(refused) == 2
    host.close()
    board.close()


def test_a_board_that_is_closed_closes_its_lines_and_takes_no_more() -> None:
    board = Switchboard()
    lines = [plug_in(board, FakeDevice()) for _ in range(3)]
    lines[0].close()
    closer = in_thread(board.close)
    in_time(closer)
    board.close()
    assert all(line.closed for line in lines)
    with pytest.raises(RuntimeError, match="was closed"):
        plug_in(board, FakeDevice())


@pytest.mark.parametrize("uri", ["tcp:127.0.0.1:0", "memory:", "serial:/dev/ttyUSB0"])
def test_only_terminals_are_served_there(board: Switchboard, uri: str) -> None:
    with pytest.raises(UsageError, match="is served by a thread of its own"):
        plug_in(board, FakeDevice(), uri)


def test_its_thread_looks_so_many_times_before_it_sleeps_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int | None, int]] = []

    def noted(waits: select.poll, timeout_ms: int | None, looks: int) -> list[tuple[int, int]]:
        asked.append((timeout_ms, looks))
        return waits.poll(timeout_ms)

    monkeypatch.setattr("pes_sim.link.ports.switchboard.wait_for", noted)
    with Switchboard():
        pass
    assert set(asked) == {(None, DEVICE_LOOKS)}
