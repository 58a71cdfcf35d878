"""A simulated postage meter: security device, serial link, data centre. Specimens only: nothing it prints is postage.

The names below are the ones most programs need; docs/architecture.md says where the others live. They are loaded when
they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pes_sim.errors import PesError
    from pes_sim.indicium.api import decode, verify
    from pes_sim.meter.meter import Meter
    from pes_sim.virtual import VirtualMeter, connect

__version__: Final = "0.1.0"
__all__ = ["Meter", "PesError", "VirtualMeter", "__version__", "connect", "decode", "verify"]

_HOMES: Final = {
    "Meter": "pes_sim.meter.meter",
    "PesError": "pes_sim.errors",
    "VirtualMeter": "pes_sim.virtual",
    "connect": "pes_sim.virtual",
    "decode": "pes_sim.indicium.api",
    "verify": "pes_sim.indicium.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pes_sim' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
