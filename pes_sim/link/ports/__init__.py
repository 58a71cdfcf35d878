"""Ports by URI: `open_host` is what a host opens, `serve` what a device answers at. One file a scheme, in `SCHEMES`.

A scheme's file is imported when a URI first names it, so what only one of them needs costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, Protocol, cast

from pes_sim.clock import Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import Session
from pes_sim.link.ports.server import Server
from pes_sim.link.ports.uri import Uri, not_a_port

TIMEOUT_MS: Final = 2_000
"""How long a host waits for an answer before it asks again, and for a device to take what it writes."""

SCHEMES: Final[Mapping[str, str]] = {
    "memory": "pes_sim.link.ports.memory",
    "pty": "pes_sim.link.ports.pty",
    "serial": "pes_sim.link.ports.serial",
    "tcp": "pes_sim.link.ports.tcp",
    "rfc2217": "pes_sim.link.ports.rfc2217",
}


class Scheme(Protocol):
    """What each scheme's file has."""

    def open_host(self, uri: Uri, timeout_ms: int) -> Transport: ...

    def serve(self, uri: Uri, sessions: Callable[[], Session], clock: Clock) -> Server: ...


def open_host(uri: str, *, timeout_ms: int = TIMEOUT_MS) -> Transport:
    """The host's end of a port: "serial:/dev/ttyUSB0", "tcp:192.168.0.7:4000", or just a terminal's path.

    A `read` gives b"" when nothing came within `timeout_ms`. Raises `UsageError` for a URI that is badly written,
    `LinkError` for a port that is busy, missing, forbidden or not to be reached; both say what to do.
    """
    address = Uri.parse(uri)
    return _scheme(address).open_host(address, timeout_ms)


def serve(uri: str, sessions: Callable[[], Session], clock: Clock) -> Server:
    """A device's port, ready to be opened when this returns: nobody has to wait or to guess.

    `sessions` makes a fresh session: at the start, for each new connection, and after a power cut. It is called, and
    what it makes is used, by one thread at a time. Raises as `open_host` does.
    """
    address = Uri.parse(uri)
    try:
        return _scheme(address).serve(address, sessions, clock)
    except OSError as problem:
        raise LinkError(
            f"{uri!r} cannot be served: {problem.strerror}", hint="Close ports and files that nobody uses"
        ) from problem


def _scheme(uri: Uri) -> Scheme:
    if uri.scheme not in SCHEMES:
        raise not_a_port(uri.text, SCHEMES)
    return cast(Scheme, import_module(SCHEMES[uri.scheme]))
