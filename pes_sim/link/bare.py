"""A PSD on a port of its own, without a meter around it: what a mainboard finds on its serial line.

A PSD serves one thread at a time. Whoever else asks it (a meter, another port) shares `turn`, and waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values
from pes_sim.psd.services import SERVICES, Service


class BarePsd:
    """A PSD with all its services, from any thread. Without `turn` it has one that only its own callers take."""

    kind = "psd"
    services: Mapping[int, Service] = {service.code: service for service in SERVICES}

    def __init__(self, psd: Psd, turn: threading.RLock | None = None) -> None:
        self._psd = psd
        self._turn = turn or threading.RLock()

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        """See `Psd.execute`."""
        with self._turn:
            return self._psd.execute(name, request, request_id=request_id, now=now)
