"""How a port's URI is written: SCHEME:WHERE?NAME=VALUE&NAME=VALUE. What is wrong in one is named, and what is allowed.

Nothing is opened here. What follows from a good URI is a matter of its scheme.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from pes_sim.errors import UsageError

LOOPBACK: Final = "127.0.0.1"
FASTEST: Final = 4_000_000
"""Bits a second; no serial port that we know is faster."""

PARITIES: Final[Mapping[str, str]] = {"none": "N", "even": "E", "odd": "O", "mark": "M", "space": "S"}
STOPS: Final[Mapping[str, float]] = {"1": 1, "1.5": 1.5, "2": 2}


class Uri(NamedTuple):
    """A port's name in its parts. `text` is what the user wrote."""

    text: str
    scheme: str
    where: str
    query: str = ""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """A path alone is a serial port's. Any scheme is taken here; whether there is such a one is asked later."""
        scheme, colon, rest = ("serial", ":", text) if text.startswith("/") else text.partition(":")
        where, _, query = rest.partition("?")
        return cls(text, scheme if colon else "", where, query)

    def parameters(self, *known: str) -> dict[str, str]:
        """What stands after the question mark. Raises `UsageError` for what is not among the `known`."""
        found: dict[str, str] = {}
        for part in filter(None, self.query.split("&")):
            name, _, value = part.partition("=")
            if name not in known:
                allowed = f"Known: {', '.join(known)}" if known else f"A {self.scheme}: port has none"
                raise self.bad(f"has no parameter {name!r}", allowed)
            if name in found:
                raise self.bad(f"names {name!r} twice", "Name it once")
            found[name] = value
        return found

    def host_and_port(self) -> tuple[str, int]:
        """HOST:PORT, [HOST]:PORT or PORT; without a host it is this machine's loopback. Raises `UsageError`."""
        host, _, port = self.where.rpartition(":")
        allowed = f"Write {self.scheme}:HOST:PORT, such as {self.scheme}:{LOOPBACK}:4000; 0 is any port that is free"
        if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
            raise self.bad(f"has no port number from 0 to 65535, but {port!r}", allowed)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise self.bad(f"has a host {host!r} with colons in it", "Write an IPv6 address as [::1]")
        if "/" in host or "\0" in host:
            raise self.bad(f"has {host!r} where the host's name stands", allowed)
        return host or LOOPBACK, int(port)

    def bad(self, what: str, hint: str) -> UsageError:
        """The refusal of this URI."""
        return UsageError(f"{self.text!r} {what}", hint=hint)


class Line(NamedTuple):
    """How a serial line is set: bits a second, parity, stop bits. A byte has 8 bits, since a frame needs them all."""

    baud: int = 115_200
    parity: str = "none"
    stop: str = "1"

    @classmethod
    def of(cls, uri: Uri) -> Line:
        """As the URI's parameters have it. Raises `UsageError`."""
        found = uri.parameters(*cls._fields)
        baud, parity, stop = (found.get(name, str(usual)) for name, usual in zip(cls._fields, cls(), strict=True))
        if not (baud.isascii() and baud.isdigit() and len(baud) < 9 and 0 < int(baud) <= FASTEST):
            raise uri.bad(f"has baud={baud}, which is no speed", f"Allowed: 1 to {FASTEST}, such as baud=115200")
        for name, value, table in (("parity", parity, PARITIES), ("stop", stop, STOPS)):
            if value not in table:
                raise uri.bad(f"has {name}={value}, which is none", f"Allowed: {', '.join(table)}")
        return cls(int(baud), parity, stop)


def join(scheme: str, host: str, port: int) -> str:
    """The URI of a port on a network."""
    return f"{scheme}:[{host}]:{port}" if ":" in host else f"{scheme}:{host}:{port}"


def not_a_port(text: str, schemes: Iterable[str]) -> UsageError:
    """The refusal of what names no scheme that we have."""
    known = ", ".join(f"{name}:" for name in schemes)
    return UsageError(
        f"{text!r} is not a port", hint=f"Allowed: a path such as /dev/ttyUSB0, or {known} (docs/ports.md)"
    )
