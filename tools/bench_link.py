"""How fast the link is: its share of a round trip, what a message costs, a hundred meters in one process, a start."""

from __future__ import annotations

import heapq
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from pes_sim.entropy import SystemEntropy
from pes_sim.link import message
from pes_sim.link.client import Client
from pes_sim.link.frame import Frame, Framer, encode
from pes_sim.link.ports import open_host
from pes_sim.link.ports.switchboard import Switchboard
from pes_sim.psd.services import BY_NAME
from pes_sim.virtual import VirtualMeter, create
from tools.bench import ASKED, BINARY, ROUNDS, Line, processors, turns, us

METERS = 100
RATE = 10
"""Durable dispenses a second of each meter."""
SECONDS = 5.0
ROUND_TRIPS = 500

_ECHO = """
import os, tty
master, slave = os.openpty()
tty.setraw(slave)
print(os.ttyname(slave), flush=True)
while True:
    os.write(master, os.read(master, 65536))
"""


@contextmanager
def other_process(*command: str, on: set[int] | None = None) -> Iterator[list[str]]:
    """A process that says where its ports are, a line each and an empty one, or its output's end; until we are done.

    `on`: the processors that it keeps to.
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if on is not None:
            os.sched_setaffinity(process.pid, on)  # before it has a thread
        said = []
        while line := process.stdout.readline().strip():
            said.append(line)
            if command[1] == "-c":
                break
        try:
            yield said
        finally:
            process.kill()


def serve(folder: Path, count: int) -> int:
    """The other process: so many meters, funded, the PSD of each with its session, all on one switchboard."""
    with ExitStack() as opened:
        board = opened.enter_context(Switchboard())
        paths = []
        for number in range(count):
            create(folder / f"meter-{number}", psd_serial=1000 + number, deposit_mills=10**9)
            meter = opened.enter_context(VirtualMeter(folder / f"meter-{number}"))
            meter.refill(100_000_000)
            # As `serve_psd`, but with the meter's session.
            paths.append(meter._serve("pty:", meter.psd, None, board).path)
        print("\n".join([*paths, ""]), flush=True)
        sys.stdin.read()
    return 0


def round_trips(folder: Path) -> Line:
    import serial

    me = [sys.executable, "-m", "tools.bench_link", str(folder / "one"), "1"]
    # Host and device on two processors, in both contests: where the scheduler puts an echo beside its host on one,
    # nobody is ever woken, and it takes a seventh of the time; the next run is on two again.
    anywhere, (there, here) = os.sched_getaffinity(0), processors()
    with (
        other_process(sys.executable, "-c", _ECHO, on=there) as (echo,),
        other_process(*me, on=there) as (device,),
    ):
        os.sched_setaffinity(0, here)
        port, data = serial.Serial(echo, exclusive=True), bytes(64)
        client = Client(open_host(device), BY_NAME, SystemEntropy())

        def raw() -> None:
            port.write(data)
            left = len(data)
            while left:
                left -= len(port.read(left))

        def ours() -> None:
            client.call("get_registers", {})

        bare, whole = turns([raw, ours], ROUND_TRIPS)
        client.close()
        port.close()
    os.sched_setaffinity(0, anywhere)
    return Line("round trip through a pty (get_registers)", us(whole), f"64 bytes echoed, pyserial {us(bare)}",
                bare / whole, "at least 0.5", bare / whole >= 0.5)  # fmt: skip


def framing() -> Line:
    service = BY_NAME["dispense"]
    asked = ASKED | {"mailing_date": "2026-01-05"}
    id_ = bytes(range(16))

    def there() -> None:
        (frame,) = Framer().feed(encode(message.request(service, asked, id_)))
        assert isinstance(frame, Frame)
        message.read_values(frame)

    cost = turns([there], 2000)[0]
    return Line("a message: fields, CBOR, frame, and back", us(cost), "", None, "at most 15 us", cost <= 15e-6)


class Load(NamedTuple):
    """What a hundred hosts saw: seconds from when a request was due to its answer, sorted, and how long all took."""

    waits: list[float]
    took: float


def load(paths: list[str], seconds: float) -> Load:
    """Each host asks for a piece `RATE` times a second, on time or as soon as its last answer is there."""
    hosts = [open_host(path) for path in paths]
    fds = [os.open(path, os.O_RDWR | os.O_NOCTTY) for path in paths]
    number = {fd: index for index, fd in enumerate(fds)}
    framers = [Framer() for _ in fds]
    asked = ASKED | {"mailing_date": "2026-01-05"}
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    begin = time.perf_counter() + 0.1
    due = [(begin + index / len(fds) / RATE, index) for index in range(len(fds))]
    heapq.heapify(due)
    under_way: dict[int, float] = {}
    waits: list[float] = []
    while due or under_way:
        now = time.perf_counter()
        while due and due[0][0] <= now:
            wanted, index = heapq.heappop(due)
            os.write(fds[index], encode(message.request(BY_NAME["dispense"], asked, os.urandom(16))))
            under_way[index] = wanted
        timeout = max(0.0, due[0][0] - time.perf_counter()) * 1000 if due else None
        for fd, _ in poll.poll(timeout):
            index = number[fd]
            for answer in framers[index].feed(os.read(fd, 65536)):
                assert isinstance(answer, Frame)
                assert answer.status == 0
                wanted = under_way.pop(index)
                waits.append(time.perf_counter() - wanted)
                if wanted + 1 / RATE < begin + seconds:
                    heapq.heappush(due, (wanted + 1 / RATE, index))
    took = time.perf_counter() - begin
    for host in hosts:
        host.close()
    for fd in fds:
        os.close(fd)
    return Load(sorted(waits), took)


def many(folder: Path) -> Line:
    with other_process(sys.executable, "-m", "tools.bench_link", str(folder / "many"), str(METERS)) as paths:
        found = load(paths, SECONDS)
    late = found.waits[int(len(found.waits) * 0.99)]
    rate = len(found.waits) / found.took
    met = late <= 0.02 and rate >= 0.97 * METERS * RATE
    return Line(f"{METERS} meters, one process, {RATE} dispenses/s each", f"p99 {late * 1e3:.1f} ms",
                f"{rate:.0f} a second, p50 {found.waits[len(found.waits) // 2] * 1e3:.1f} ms", None,
                f"p99 under 20 ms at {METERS * RATE} a second", met)  # fmt: skip


def ready(folder: Path) -> Line:
    create(folder / "ready")

    def once() -> float:
        begin = time.perf_counter()
        with subprocess.Popen([str(BINARY), "meter", "run", str(folder / "ready")], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert b'"ready"' in process.stdout.readline()
            took = time.perf_counter() - begin
            process.terminate()
        return took

    took = statistics.median(once() for _ in range(ROUNDS))
    return Line("pes-sim meter run: ready", f"{took:.3f} s", "with its bench control", None, "at most 0.5 s",
                took <= 0.5)  # fmt: skip


def lines(folder: Path) -> list[Line]:
    """The link's part of the table."""
    measures: list[Callable[[], Line]] = [
        lambda: round_trips(folder), framing, lambda: many(folder), lambda: ready(folder),
    ]  # fmt: skip
    return [measure() for measure in measures]


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1]), int(sys.argv[2])))
