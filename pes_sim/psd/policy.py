"""How long a device may go without its provider: one row a regime. Durations in microseconds.

Public: IMI meters connect daily and are locked after 72 hours (notices A2, A3; Quadient iX-1 user guide, p. 255). IBI
meters had 90 days and could dial up (A1); "inspection due" came after 90 days and "inspection required" blocked after
120 (PB DM125, p. 6-3). Assumed: when the warning begins under IBI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pes_sim.clock import DAY, HOUR


class Regime(StrEnum):
    """The rules that a device is made for."""

    IMI = "IMI"
    IBI = "IBI"


@dataclass(frozen=True, slots=True)
class Policy:
    """Since the last receipt: from `warn` on the status says "due", at `block` the device locks. Since the last
    inspection the same, where there is one (0: none). `dial_up`: whether the meter may use a telephone line."""

    warn: int
    block: int
    inspection_warn: int
    inspection_block: int
    dial_up: bool


POLICIES: Final[Mapping[Regime, Policy]] = {
    Regime.IMI: Policy(24 * HOUR, 72 * HOUR, 0, 0, dial_up=False),
    Regime.IBI: Policy(83 * DAY, 90 * DAY, 90 * DAY, 120 * DAY, dial_up=True),
}
