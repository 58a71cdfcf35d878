"""`pes-sim monitor`: what goes over a port, frame by frame, as it goes; or what a trace has of it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pes_sim.clock import SystemClock
from pes_sim.errors import LinkError, UsageError
from pes_sim.link import pcapng
from pes_sim.link.monitor import Monitor, Notice, recorded
from pes_sim.link.ports.relay import Relay
from pes_sim.link.telling import Names, Seen, document, line
from pes_sim.link.trace import Trace
from pes_sim.meter import services as meter_services
from pes_sim.psd import services as psd_services

_SERVICES: Final = tuple({service.code: service for service in (*psd_services.SERVICES, *meter_services.OWN)}.values())
"""A meter's and a PSD's: no code is one thing here and another there."""
_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PIECE: Final = 65536


def run(options: argparse.Namespace) -> int:
    """`pes-sim monitor`: until it is stopped, an end goes, or the trace is at its end."""
    if options.port is None and options.trace is None:
        raise UsageError(
            "there is nothing to monitor", hint="Give --port URI, or --trace FILE.pcapng alone to read one"
        )
    if options.port is None and options.listen is not None:
        raise UsageError("--listen offers a port between a program and --port", hint="Give --port URI as well")
    return _between(options) if options.port is not None else _recorded(options)


class _Teller:
    """Writes what is told on standard output, a line at once."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._names = Names.of(_SERVICES)

    def __call__(self, item: Seen | Notice) -> None:
        if isinstance(item, Notice):
            self.say("notice", item.text, time_us=item.time)
        else:
            told = json.dumps(document(item, self._names)) if self._json else line(item, self._names)
            print(told, flush=True)

    def say(self, event: str, text: str, **facts: object) -> None:
        """What is no frame."""
        said = {"event": event, **facts, "message": text}
        print(json.dumps(said) if self._json else f"{event}: {text}", flush=True)


def _between(options: argparse.Namespace) -> int:
    tell = _Teller(as_json=options.json)
    with contextlib.ExitStack() as opened:
        path = str(options.trace) if options.trace else ""
        if path == "-":
            raise UsageError("a trace is written to a file", hint="Name one, or a pipe that was made with mkfifo")
        monitor: Monitor  # it tells of what the relay passes on, and the relay stops when it cannot
        relay = opened.enter_context(
            Relay(
                options.port, options.listen or "pty:", lambda data, to_device: monitor.saw(data, to_device),
                told=lambda text: monitor.said(text),
            )
        )  # fmt: skip
        trace = opened.enter_context(Trace(options.trace)) if options.trace else None
        opened.enter_context(_stopped_by_signals(relay))
        tell.say("ready", f"open {relay.uri}; what goes to {options.port} and back is shown here", port=options.port,
                 listen=relay.uri, pid=os.getpid())  # fmt: skip
        monitor = Monitor(_SERVICES, SystemClock(), tell, trace=trace, name=options.port, failed=relay.stop)
        why = "stopped"
        try:
            relay.run()
        except LinkError as gone:
            why = gone.message
            raise
        finally:
            monitor.close()
            tell.say("end", why)
    return 0


@contextlib.contextmanager
def _stopped_by_signals(relay: Relay) -> Iterator[None]:
    """A second one, while the rest is told to whoever does not read, ends it as it would any program."""

    def stop(*_: object) -> None:
        restore()
        relay.stop()

    def restore() -> None:
        for number, before in former.items():
            signal.signal(number, before)

    # nohup has one of them ignored, and means it.
    heard = [number for number in _STOPS if signal.getsignal(number) != signal.SIG_IGN]
    former = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        restore()


def _recorded(options: argparse.Namespace) -> int:
    tell, reader = _Teller(as_json=options.json), pcapng.Reader()
    with contextlib.suppress(KeyboardInterrupt):  # how one ends a pipe that goes on
        for data in _pieces(options.trace):
            for packet in reader.feed(data):
                tell(recorded(packet))
        reader.end()
    return 0


def _pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes, of a pipe as they come."""
    with contextlib.ExitStack() as opened:
        try:
            source = sys.stdin.fileno() if str(path) == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if str(path) != "-":
                opened.callback(os.close, source)
            while data := os.read(source, _PIECE):
                yield data
        except OSError as problem:
            raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
