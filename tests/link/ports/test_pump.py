"""A descriptor for a port that has none: what goes in at the one side comes out at the other, until either goes."""

from __future__ import annotations

import os
import queue
import select
import threading

import pytest

from pes_sim.errors import LinkError
from pes_sim.link.ports.pump import Pump
from pes_sim.link.ports.stream import poll
from tests.link.ports.bench import PATIENCE, in_thread, in_time


class Port:
    """A port of the test's own, without a descriptor."""

    name = "a port"

    def __init__(self) -> None:
        self.coming: queue.Queue[bytes | None] = queue.Queue()
        self.written: queue.Queue[bytes] = queue.Queue()
        self.closed = threading.Event()
        self.deaf = False

    def read(self) -> bytes:
        data = self.coming.get(timeout=PATIENCE)
        if data is None:
            raise LinkError("a port was lost: unplugged")
        return data

    def write(self, data: bytes) -> None:
        if self.deaf:
            raise LinkError("a port was lost: unplugged")
        self.written.put(data)

    def close(self) -> None:
        self.closed.set()
        self.coming.put(None)


def readable(pump: Pump) -> bytes:
    assert poll(pump.fileno(), select.POLLIN).poll(PATIENCE * 1000)
    return os.read(pump.fileno(), 65536)


def closed_in_time(pump: Pump) -> None:
    in_time(in_thread(pump.close))


def test_bytes_go_through_both_ways_and_silence_is_not_their_end() -> None:
    port = Port()
    pump = Pump(port)
    os.write(pump.fileno(), b"asked")
    assert port.written.get(timeout=PATIENCE) == b"asked"
    port.coming.put(b"")
    port.coming.put(b"answered")
    assert readable(pump) == b"answered"
    with pytest.raises(BlockingIOError):
        os.read(pump.fileno(), 1)
    closed_in_time(pump)
    assert port.closed.is_set()


def test_what_came_before_the_port_was_lost_is_still_read_and_then_it_ends() -> None:
    port = Port()
    pump = Pump(port)
    port.coming.put(b"last")
    port.coming.put(None)
    assert readable(pump) == b"last"
    assert readable(pump) == b""
    closed_in_time(pump)


def test_a_port_that_takes_nothing_any_more_ends_it_too() -> None:
    port = Port()
    port.deaf = True
    pump = Pump(port)
    os.write(pump.fileno(), b"asked")
    assert readable(pump) == b""
    port.coming.put(b"nobody reads this")
    closed_in_time(pump)
