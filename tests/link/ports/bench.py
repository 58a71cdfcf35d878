"""What tests of ports share: patience, ordinary programs at a port, and a cable between two serial ports."""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import select
import threading
import tty
from collections.abc import Callable, Iterator
from typing import Final

from pes_sim.clock import Clock, VirtualClock
from pes_sim.link import message
from pes_sim.link.device import DeviceSession, Endpoint
from pes_sim.link.frame import Frame, Framer, encode
from pes_sim.link.ports import serve
from pes_sim.link.ports.server import Server
from pes_sim.psd.fields import Values
from tests.link.fakes import GET, ID, NOW

LETTER: Final[Values] = {"message": bytes(range(256)), "reference": b"100"}
"""Its message has every byte that a terminal, or telnet, could take for something else."""
PATIENCE: Final = 20
"""Seconds after which a test that waits for a thread gives up: it is stuck."""
GET_LINE: Final = encode(message.request(GET, {}, ID))


def served(uri: str, endpoint: Endpoint, clock: Clock | None = None) -> Server:
    """A port with plain sessions at it."""
    return serve(uri, lambda: DeviceSession(endpoint), clock or VirtualClock(NOW))


def descriptors() -> set[str]:
    """This process's open descriptors, without the one that reading them takes."""
    return {number for number in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{number}")}


@contextlib.contextmanager
def nothing_left_open() -> Iterator[None]:
    gc.collect()
    before, threads = descriptors(), set(threading.enumerate())
    yield
    gc.collect()
    assert descriptors() == before
    assert set(threading.enumerate()) == threads


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


def close_in_time(server: Server) -> None:
    closer = threading.Thread(target=server.close, daemon=True)
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


@contextlib.contextmanager
def cable() -> Iterator[tuple[str, str]]:
    """Two serial ports, each of which has the other plugged in. Gives their paths."""
    with contextlib.ExitStack() as held:

        def port() -> tuple[int, str]:
            master, slave = os.openpty()
            held.callback(os.close, master)
            held.callback(os.close, slave)
            tty.setraw(slave)
            return master, os.ttyname(slave)

        (one, first), (other, second) = port(), port()
        stop, stopping = os.pipe()
        held.callback(os.close, stop)
        held.callback(os.close, stopping)

        def carry() -> None:
            while stop not in (ready := select.select([one, other, stop], [], [])[0]):
                for fd in ready:
                    os.write(other if fd == one else one, os.read(fd, 1024))

        carrier = threading.Thread(target=carry, daemon=True)
        carrier.start()
        try:
            yield first, second
        finally:
            os.write(stopping, b"x")
            in_time(carrier)


class Talker:
    """A session that says things by itself. It tells when it was asked for them."""

    def __init__(self, endpoint: Endpoint, says: list[bytes]) -> None:
        self._session = DeviceSession(endpoint)
        self._says = says
        self.asked: queue.SimpleQueue[int] = queue.SimpleQueue()

    def receive(self, data: bytes, now: int) -> bytes:
        return self._session.receive(data, now)

    def unasked(self, now: int) -> bytes:
        self.asked.put(now)
        said = b"".join(self._says)
        self._says.clear()
        return said


def in_thread(call: Callable[[], object]) -> threading.Thread:
    """Runs it beside the test."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread
