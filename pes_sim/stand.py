"""A test stand: a fresh virtual meter at a port, its host's end, and the hands on it. What the pytest plugin hands out.

* A test talks to `meter` through a port, in frames, whatever the port: it sees the same in memory, at a pseudo-terminal
  and at a real device. A power cut is silence there, and the host asks again.
* What only a simulator can do is in `bench` and `line`; what only this one can, in `virtual`.
* Stands share nothing: each has a directory, a clock, a data centre, a port and a line of its own.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pes_sim.bench.control import Bench
from pes_sim.errors import RefusedInState
from pes_sim.link.line.line import Line
from pes_sim.link.ports import TIMEOUT_MS
from pes_sim.link.trace import Trace
from pes_sim.meter.meter import Caller, Meter
from pes_sim.psd.fields import Values
from pes_sim.virtual import VirtualMeter, connect, create

FUNDS: Final = 100_000
"""What is in a fresh meter unless told otherwise: $100."""
FACTS: Final = ("device_kind", "model_id", "psd_serial", "software_id", "layout")
"""What a report of tests says of the device: its kind, and fields of `get_info`."""
SPENDING: Final = frozenset({"print_piece", "refill", "cancel_refill"})
"""Services that move money. At a real device it is real money."""
_TIMEOUTS_MS: Final[Mapping[str, int]] = {"memory:": 10}
"""How long a host listens into silence. In memory whatever comes has come when `write` returns."""


@dataclass(frozen=True, slots=True)
class Stand:
    """One meter, and what a test can do to it."""

    meter: Meter
    """The host's end of its port."""
    bench: Bench
    line: Line
    """Between the two. As it stands it does nothing."""
    virtual: VirtualMeter
    """The meter itself, in this process: orders of the provider, other ports."""


@contextlib.contextmanager
def stand(
    uri: str = "memory:", *, funds_mills: int = FUNDS, line: Mapping[str, Any] | None = None, line_seed: str = "",
    trace: Path | None = None, **settings: Any,
) -> Iterator[Stand]:  # fmt: skip
    """A fresh meter, checked in and funded, at `uri`. `settings` are those of `virtual.create`, `line` those that
    its line has after the first hello, and `line_seed` what happens on it by chance.

    `trace`: a file for what goes over its port, as the device sees it. Raises what `create`, `refill` and `serve` do.
    """
    with contextlib.ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="pes-sim-"))
        directory = Path(folder) / "meter"
        create(directory, **settings)
        virtual = opened.enter_context(VirtualMeter(directory, trace=trace))
        if funds_mills:
            virtual.refill(funds_mills)
        between = Line(seed=line_seed)
        bench = Bench(virtual, comes_back=True)
        opened.callback(bench.close)
        server = virtual.serve(uri, line=between)
        meter = opened.enter_context(connect(server.uri, timeout_ms=_TIMEOUTS_MS.get(uri, TIMEOUT_MS)))
        between.change(**(line or {}))  # only now: a host and a device that never met are no test
        yield Stand(meter, bench, between, virtual)


@contextlib.contextmanager
def device(uri: str, *, may_spend: bool, trace: Path | None = None) -> Iterator[Meter]:
    """A real device at `uri`, which refuses to be asked for what moves money unless this test `may_spend`.

    `trace`: a file for what goes over the port, as the host sees it. Raises as `connect` does.
    """
    with contextlib.ExitStack() as opened:
        log = opened.enter_context(Trace(trace)) if trace is not None else None
        meter = opened.enter_context(connect(uri, trace=log))
        yield Meter(_Guard(meter.caller, may_spend=may_spend))


def facts(meter: Meter) -> dict[str, str]:
    """What a report says of it, by the names of `FACTS`."""
    said = {"device_kind": getattr(meter.caller, "device_kind", "meter"), **meter.info()}
    return {name: str(said[name]) for name in FACTS}


class _Guard:
    """A caller that lets nothing through that costs somebody something, unless that was said twice: by the mark of
    the test, and on the command line.
    """

    def __init__(self, inner: Caller, *, may_spend: bool) -> None:
        self._inner = inner
        self._may_spend = may_spend
        self.device_kind = getattr(inner, "device_kind", "meter")

    def call(self, name: str, request: Values, *, request_id: bytes = b"") -> Values:
        """See `Caller`. Raises `RefusedInState` for what may not be asked of a real device; it is not asked."""
        if name == "withdraw":
            raise RefusedInState(
                "withdraw ends a real device's service for good", hint="A test does that to a virtual one only"
            )
        if name in SPENDING and not self._may_spend:
            raise RefusedInState(
                f"{name} moves real money, and this test is not marked for it",
                hint="Mark it with @pytest.mark.spends_postage, and run it with --pes-spend",
            )
        return self._inner.call(name, request, request_id=request_id)

    def subscribe(self, low_funds_mills: int = 0) -> None:
        """See `Caller`."""
        self._inner.subscribe(low_funds_mills)

    def unsubscribe(self) -> None:
        """See `Caller`."""
        self._inner.unsubscribe()

    def events(self, *, listen: bool = False) -> Any:
        """See `Caller`."""
        return self._inner.events(listen=listen)

    def close(self) -> None:
        """See `Caller`."""
        self._inner.close()
