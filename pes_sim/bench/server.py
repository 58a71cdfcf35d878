"""The bench control of one running meter: a socket on this machine alone, and the file that says where it is (`place`).

The socket listens before the constructor returns: whoever connects from then on is answered. What answers (FastAPI,
uvicorn) is loaded at the first connection: that takes longer than to start a meter, which nobody may ever control.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from pes_sim.bench import place
from pes_sim.bench.control import Bench
from pes_sim.bench.place import LOOPBACK, Place
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import UsageError
from pes_sim.virtual import VirtualMeter

if TYPE_CHECKING:
    from asyncio import Transport

    from uvicorn import Server

    from pes_sim.link.line.line import Line

MISSING: Final = "Install what it needs: pip install 'pes-sim[bench]'"
_NEEDED: Final = ("fastapi", "uvicorn")
MOST: Final = 200
"""Connections at once. Anybody on this machine can open one, and each takes a descriptor that the meter may need."""

_log: Final = logging.getLogger(__name__)


def missing() -> str:
    """Why there can be no control here, and how to get one; empty when there can."""
    absent = [name for name in _NEEDED if find_spec(name) is None]
    return f"{' and '.join(absent)} cannot be found. {MISSING}" if absent else ""


class ControlServer:
    """Serves a bench until `close`. Raises `UsageError` for a port that cannot be had; 0 takes any that is free.

    `line`: the one that the meter is served over, for the controls of a line.
    """

    def __init__(self, meter: VirtualMeter, port: int = 0, *, line: Line | None = None) -> None:
        with ExitStack() as opened:
            self._socket = _listen(port)
            opened.callback(self._socket.close)
            self._wake_read, self._wake_write = os.pipe()
            opened.callback(os.close, self._wake_read)
            opened.callback(os.close, self._wake_write)
            self.bench = Bench(meter, comes_back=True, line=line)
            opened.callback(self.bench.close)
            # Not the meter's own entropy: a seed would give the token away.
            self.place = Place(self._socket.getsockname()[1], SystemEntropy()(32).hex(), os.getpid())
            self.token_file = place.write(meter.home.directory, self.place)
            opened.callback(self.token_file.unlink, missing_ok=True)
            self._server: Server | None = None
            self._closing = False
            self._thread = threading.Thread(target=self._serve, name=f"pes-sim bench {self.place.port}", daemon=True)
            self._thread.start()
            opened.callback(self._stop)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Stops serving: a control that is under way is over first, and event streams end."""
        self._opened.close()

    def __enter__(self) -> ControlServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stop(self) -> None:
        self.bench.close()
        self._closing = True
        os.write(self._wake_write, b"x")
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()

    def _serve(self) -> None:
        ready = select.poll()
        for descriptor in (self._socket.fileno(), self._wake_read):
            ready.register(descriptor, select.POLLIN)
        if any(descriptor == self._wake_read for descriptor, _ in ready.poll()):
            return
        try:
            self._load().run(sockets=[self._socket])
        except Exception:
            _log.exception("the bench control ends")
            self._socket.close()  # whoever waits for an answer is told

    def _load(self) -> Server:
        import uvicorn
        from uvicorn.protocols.http.h11_impl import H11Protocol

        from pes_sim.bench.app import build

        class Bounded(H11Protocol):
            def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                if len(self.connections) > MOST:
                    transport.abort()

        config = uvicorn.Config(
            build(self.bench, self.place.token, self.place.port), loop="asyncio", http=Bounded, ws="none",
            lifespan="off", log_config=None, access_log=False, proxy_headers=False, server_header=False,
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        self._server = server = uvicorn.Server(config)
        if self._closing:  # meanwhile
            server.should_exit = True
        return server


def _listen(port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UsageError(f"there is no port {port}", hint="Allowed: 0 (any that is free) to 65535")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen(64)
    except OSError as problem:
        listening.close()
        hint = "Take another port, or 0 for any that is free"
        raise UsageError(f"port {port} of {LOOPBACK} cannot be used: {problem.strerror}", hint=hint) from None
    return listening
