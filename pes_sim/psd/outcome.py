"""What a state-changing service works with, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

from pes_sim.entropy import Entropy
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import KeyStore
from pes_sim.psd.registers import Registers
from pes_sim.psd.state import PsdState


@dataclass(frozen=True, slots=True)
class Tools:
    """The device's means at the moment of the request. `time` never runs back; `log_sequence` is the newest record."""

    keys: KeyStore
    entropy: Entropy
    time: int
    registers: Registers
    log_sequence: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state to commit, the answer to give once it is durable, and what was added to the registers."""

    state: PsdState
    reply: Values = field(default_factory=dict)
    refilled: int = 0
