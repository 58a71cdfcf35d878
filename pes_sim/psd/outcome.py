"""What a state-changing service works with, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

from pes_sim.entropy import Entropy
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import Curve, KeyStore
from pes_sim.psd.registers import Registers
from pes_sim.psd.selftest import SelfTests
from pes_sim.psd.state import PsdState
from pes_sim.psd.storage import Storage


@dataclass(frozen=True, slots=True)
class Tools:
    """The device's means at the moment of the request.

    `time` is the device's own clock, `now` the host's (both in microseconds since 1970-01-01 UTC); `log_sequence`
    numbers the newest record, and `chain` is the log's hash chain after it. `curve` is what the layout signs with.
    """

    keys: KeyStore
    entropy: Entropy
    time: int
    now: int
    registers: Registers
    log_sequence: int
    chain: bytes
    reprints: int
    last_dispense: int
    curve: Curve
    tests: SelfTests
    storage: Storage


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state to commit, the answer to give once it is durable, what the provider added or took back (mills).

    `time`: what the device's clock was set to, if it was. `ends_session`: who is there must prove himself again.
    """

    state: PsdState
    reply: Values = field(default_factory=dict)
    refilled: int = 0
    withdrawn: int = 0
    time: int | None = None
    ends_session: bool = False
