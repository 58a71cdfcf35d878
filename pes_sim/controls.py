"""The bench's controls of a virtual meter: power, LAN, tampering, faults, self-tests that fail, its clock, its files.

Each takes its turn, so that nothing happens in the middle of a request. `bench` has them by HTTP and command line.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum

from pes_sim.clock import Clock, VirtualClock
from pes_sim.errors import UsageError
from pes_sim.link.ports.server import Server
from pes_sim.meter.device import MeterDevice
from pes_sim.meter.home import MeterHome, StoredClock
from pes_sim.meter.meter import Meter
from pes_sim.provider.centre import DataCentre
from pes_sim.psd.faults import Fault, FaultyStorage, PowerCut
from pes_sim.psd.owned import OwnDirectory
from pes_sim.psd.selftest import TestName


class Happening(StrEnum):
    """What an observer of a virtual meter is told of."""

    REQUEST = "request"
    CUT = "power cut"
    POWER = "power back"


class Controls(Meter):
    """A meter in this process that can be switched off and on, and failed. `VirtualMeter` makes what it stands on."""

    clock: Clock
    centre: DataCentre
    medium: FaultyStorage | None
    on_cut: Callable[[], None]
    observer: Callable[[Happening], None] | None
    _home: MeterHome
    _device: MeterDevice
    _turn: threading.RLock
    _off: bool
    _lan: bool
    _seen_powered: bool
    _servers: dict[tuple[str, str], Server]

    def tell_hosts(self) -> None:
        """Has every port look for what is new to hosts that have subscribed. Nobody else notices (docs/protocol.md)."""
        for server in list(self._servers.values()):
            server.poke()

    def power_on(self) -> None:
        """The power comes back after a cut; or it goes and comes back. What is under way is finished first."""
        with self._turn:
            if self.powered:
                self._gone()
            self._device = self._switch_on()
            self._off, self._seen_powered = False, True
            self._tell(Happening.POWER)
        self.tell_hosts()

    def _switch_on(self) -> MeterDevice:
        while True:
            if self.medium is not None:
                self.medium.power_on()
            with contextlib.suppress(PowerCut):  # a cut that comes just now
                return self._home.power_on(self.centre if self._lan else None)

    @property
    def turn(self) -> threading.RLock:
        """Whoever has it is alone with the meter: no port asks anything, and no other control is used."""
        return self._turn

    @property
    def powered(self) -> bool:
        """Whether it has power."""
        return not self._off and (self.medium is None or self.medium.powered)

    def cut_power(self) -> None:
        """The power goes between two requests, and stays away until `power_on`: ports are silent, and whoever asks in
        this process gets `PowerCut`. What was answered is durable.
        """
        with self._turn:
            if self.medium is not None:
                self.medium.cut()
            self._off = True
            self._gone()

    def come_back(self) -> None:
        """The power comes back after a cut that the medium was told to make, not after `cut_power`."""
        with self._turn:
            if not self.powered and not self._off:
                self.power_on()
                self.on_cut()

    @property
    def lan(self) -> bool:
        """Whether its LAN is plugged in."""
        return self._lan

    def plug_lan(self, plugged: bool) -> None:
        """Plugs its LAN in or out. Without it nothing reaches its data centre; an exchange under way is over first."""
        with self._turn:
            self._lan = plugged
            self._device.centre = self.centre if plugged else None

    def tamper(self) -> None:
        """The tamper input of its PSD, which then has no keys any more; without power too, from its battery.

        Raises `StorageFailed` when the medium would not let go of the keys. The PSD is out of service all the same.
        """
        with self._turn:
            powered = self.powered
            try:
                # A device of before the cut may be over files that were exchanged since: it must not write any more.
                device = self._device if powered else self._switch_on()
                # A cut that comes just now takes the record of it with it: the next power-on finds the keys gone.
                with contextlib.suppress(PowerCut):
                    device.tamper()
            finally:
                if not powered and self.medium is not None:
                    self.medium.cut()
            if not self.powered:
                self._gone()
        self.tell_hosts()

    def fail_self_test(self, name: str, *, fails: bool = True) -> None:
        """From its next run on a self-test fails, or no longer does. Raises `UsageError` for an unknown one."""
        names = self_tests([name])
        with self._turn:
            self._home.failing = self._home.failing | names if fails else self._home.failing - names
            for test in names:
                self._device.fail_self_test(test, fails=fails)

    @property
    def failing_self_tests(self) -> tuple[str, ...]:
        """Those that are made to fail."""
        return tuple(sorted(self._home.failing))

    def fail_storage(self, fault: Fault) -> None:
        """Something goes wrong with the PSD's medium; the fault's operation is counted from now."""
        with self._turn:
            if self.medium is None:
                self.medium = self._home.fail(())
            self.medium.add(replace(fault, at=self.medium.operations + fault.at))

    def mend_storage(self) -> None:
        """Nothing is wrong with the PSD's medium any more. What it has lost stays lost."""
        with self._turn:
            if self.medium is not None:
                self.medium.mend()

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[OwnDirectory]:
        """Inside, nothing is asked and the clock stands still: the directory can be copied. Gives its open `psd/`."""
        with self._turn, ExitStack() as stopped:
            if isinstance(self.clock, VirtualClock) and (rate := self.clock.rate):
                self.clock.run(0)
                stopped.callback(self.clock.run, rate)
            if isinstance(self.clock, StoredClock):
                self.clock.save()
            yield self._home.inside

    @contextlib.contextmanager
    def without_files(self) -> Iterator[OwnDirectory]:
        """Inside, it has no power and no file of its device is open, for whoever exchanges them; the directory stays
        held. Afterwards the power is as it was, and ports and clock are the same. Gives its open `psd/`.
        """
        with self._turn:
            powered, off = self.powered, self._off
            self.cut_power()
            try:
                yield self._home.let_go()
            finally:
                if powered:
                    self.power_on()
                elif not off:
                    self._off = False  # a cut that the next request at a port ends

    @property
    def standing(self) -> tuple[str, tuple[str, ...]]:
        """The PSD's state and its reasons to be locked, as they were last written down."""
        return self._device.standing

    def _gone(self) -> None:
        if self._seen_powered:
            self._seen_powered = False
            self._tell(Happening.CUT)

    def _tell(self, what: Happening) -> None:
        if self.observer is not None:
            self.observer(what)

    def advance(self, microseconds: int) -> None:
        """Moves a virtual clock on. Raises `UsageError` when the meter runs on the real one."""
        self._virtual_clock().advance(microseconds)
        self.tell_hosts()

    def run_clock(self, rate: float) -> None:
        """Lets a virtual clock run, so many times as fast as the machine's; 0 stops it. Raises as `advance`."""
        self._virtual_clock().run(rate)

    def _virtual_clock(self) -> VirtualClock:
        if not isinstance(self.clock, VirtualClock):
            raise UsageError(
                "this meter runs on the real clock, which only time moves",
                hint="Make one with a virtual clock: pes-sim meter new --clock virtual, and a new directory",
            )
        return self.clock


def self_tests(names: Iterable[str]) -> frozenset[TestName]:
    """Self-tests by their names. Raises `UsageError` for an unknown one."""
    known = {test.value: test for test in TestName}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise UsageError(f"there is no self-test {wrong[0]!r}", hint=f"Known: {', '.join(known)}")
    return frozenset(known[name] for name in names)
