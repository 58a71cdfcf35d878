"""`pes-sim meter run`: a meter on a port until it is stopped, with faults where they are asked for.

Standard output is one JSON object a line: first where it is, then each power cut that it came through.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pes_sim.entropy import SystemEntropy
from pes_sim.errors import UsageError
from pes_sim.link.ports.uri import Uri
from pes_sim.psd.faults import Fault, FaultKind
from pes_sim.virtual import VirtualMeter

if TYPE_CHECKING:
    from pes_sim.link.line.line import Line

_STOPS: Final = (signal.SIGINT, signal.SIGTERM)
_LOOKS_EVERY: Final = 1.0
"""Seconds after which subscribers are told what the time has brought about, such as a check-in that is due."""


def run_run(options: argparse.Namespace) -> int:
    """`pes-sim meter run DIR`: until SIGINT or SIGTERM."""
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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        with VirtualMeter(
            options.directory, failing_self_tests=options.fail_self_test, storage_faults=faults, trace=options.trace
        ) as meter:
            meter.on_cut = lambda: _say(event="power cut", operation=_operations(meter), **_state(meter))
            server = (meter.serve_psd if options.psd else meter.serve)(options.port, line=line)
            kind = "psd" if options.psd else "meter"
            where = {"port": server.path or server.uri}
            more = {"line_seed": seed} if line else {}
            with _control(options, meter, line) as control:
                _say(event="ready", **where, **control, device_kind=kind, pid=os.getpid(), **_state(meter), **more)
                if _operations(meter):
                    meter.on_cut()  # it came while the meter was switched on
                while signal.sigtimedwait(_STOPS, _LOOKS_EVERY) is None:
                    meter.tell_hosts()
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
    status = meter.status()
    return {"state": status.state, "piece_count": meter.registers().piece_count, "repaired": status.repaired}


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)
