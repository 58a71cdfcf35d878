"""`pes-sim meter run`: a meter on a port until it is stopped, with faults where they are asked for.

Standard output is one JSON object a line: first where it is, then each power cut that it came through. Whoever reads
only the first, or has gone, holds up no meter.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pes_sim.clock import VirtualClock
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import PesError, UsageError
from pes_sim.link.ports.stream import poll
from pes_sim.link.ports.uri import Uri
from pes_sim.psd.faults import Fault, FaultKind
from pes_sim.virtual import VirtualMeter

if TYPE_CHECKING:
    from pes_sim.link.line.line import Line

_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOKS_EVERY: Final = 1.0
"""Seconds after which subscribers are told what the time has brought about, such as a check-in that is due."""


def run_run(options: argparse.Namespace) -> int:
    """`pes-sim meter run DIR`: until SIGINT, SIGTERM, or the end of its terminal."""
    if Uri.parse(options.port).scheme == "memory":
        raise UsageError(
            "nothing outside this program can reach a memory: port", hint="Allowed: pty:, tcp:PORT and so on"
        )
    faults = list(_faults(options))
    # A seed that nobody chose is told, so that what was seen once can be seen again.
    seed = options.line_seed or SystemEntropy()(8).hex()
    # Whoever controls it may want a line later on: one that does nothing costs a look at one flag.
    wanted = options.line or options.line_step or not _without_control(options)
    line = _line(options, seed) if wanted else None
    # Before any thread is there: a signal that a thread of ours took would stop nothing.
    stops = _stops()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        with VirtualMeter(
            options.directory, failing_self_tests=options.fail_self_test, storage_faults=faults, trace=options.trace
        ) as meter:
            cuts = Cuts()
            meter.on_cut = lambda: cuts.tell(event="power cut", operation=_operations(meter), **_state(meter))
            server = (meter.serve_psd if options.psd else meter.serve)(options.port, line=line)
            kind = "psd" if options.psd else "meter"
            where = {"port": server.path or server.uri}
            more = {"line_seed": seed} if line else {}
            with _control(options, meter, line) as control:
                ready = {"event": "ready", **where, **control, "device_kind": kind, "pid": os.getpid()}
                print(json.dumps({**ready, **_state(meter), **more}), flush=True)
                if _operations(meter):
                    meter.on_cut()  # it came while the meter was switched on
                while signal.sigtimedwait(stops, _LOOKS_EVERY) is None:
                    meter.tell_hosts()
            if isinstance(meter.clock, VirtualClock):
                meter.run_clock(0)  # a line that waits on a slow clock is not waited for
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


def _line(options: argparse.Namespace, seed: str) -> Line:
    from pes_sim.link.line.config import parse_line
    from pes_sim.link.line.faults import parse_step
    from pes_sim.link.line.line import Line

    return Line(parse_line(options.line), steps=map(parse_step, options.line_step), seed=seed)


@contextlib.contextmanager
def _control(options: argparse.Namespace, meter: VirtualMeter, line: Line | None) -> Iterator[dict[str, object]]:
    """Serves the bench control; gives what the first line says of it. A meter runs without, too."""
    from pes_sim.bench.server import ControlServer

    if without := _without_control(options):
        if options.control is not None:
            raise UsageError(f"--control cannot be had: {without}")
        yield {"control": None, "token_file": None, "no_control": without}
        return
    with ControlServer(meter, options.control or 0, line=line) as server:
        yield {"control": server.place.address, "token_file": str(server.token_file)}


def _without_control(options: argparse.Namespace) -> str:
    """Why there is no control; empty when there is one."""
    from pes_sim.bench.server import missing

    return "--no-control was given" if options.no_control else missing()


def _faults(options: argparse.Namespace) -> Iterator[Fault]:
    if options.cut_power_at_write is not None:
        if options.cut_power_at_write < 1:
            raise UsageError("--cut-power-at-write counts from 1", hint="For example --cut-power-at-write 12")
        yield Fault(FaultKind.CUT, options.cut_power_at_write)
    yield from map(Fault.parse, options.storage_fault)


def _operations(meter: VirtualMeter) -> int:
    return meter.medium.cut_at if meter.medium else 0


def _state(meter: VirtualMeter) -> dict[str, object]:
    """A meter that can read its registers no more runs all the same: what it answers then is what a test asks for."""
    status = meter.status()
    pieces = None
    with contextlib.suppress(PesError):
        pieces = meter.registers().piece_count
    return {"state": status.state, "piece_count": pieces, "repaired": status.repaired}


class Cuts:
    """Tells power cuts on standard output while a host waits for its answer: never waits, and never fails. A line that
    nobody has room for, or reads, is left out, and the next one says how many were.
    """

    def __init__(self) -> None:
        self._missed = 0

    def tell(self, **facts: object) -> None:
        """One more line. A pipe that polls as writable takes one of this length at once (pipe(7): PIPE_BUF)."""
        missed = {"missed": self._missed} if self._missed else {}
        self._missed += 1
        if sys.stdout is None:  # as after `>&-`
            return
        with contextlib.suppress(OSError):
            descriptor = sys.stdout.fileno()
            if poll(descriptor, select.POLLOUT).poll(0):
                os.write(descriptor, f"{json.dumps({**facts, **missed})}\n".encode())
                self._missed = 0


def _stops() -> set[signal.Signals]:
    """What ends it. nohup has SIGHUP ignored, and one that is waited for would come all the same."""
    return {number for number in _STOPS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN}
