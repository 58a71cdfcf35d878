"""A bench: the controls of a virtual meter that is running, for tests in this process and for the HTTP side (`app`).

* A control takes its turn: nothing happens in the middle of a request, and two controls never mix.
* It acts on the meter from outside, as hands do. None debits, refills or answers, so none can lose or make a mill.
* What was done and what came of it is in `events`, in that order.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, cast

from pes_sim import snapshot
from pes_sim.bench.actions import BY_NAME, Form
from pes_sim.bench.events import KEPT, Events
from pes_sim.clock import VirtualClock, iso, parse_duration
from pes_sim.errors import FieldError, PesError, RefusedInState, UnknownService
from pes_sim.psd.faults import Fault, FaultKind, PowerCut
from pes_sim.psd.fields import Values
from pes_sim.psd.registers import REGISTERS
from pes_sim.virtual import Happening, VirtualMeter

if TYPE_CHECKING:
    from pes_sim.link.line.line import Line

_P = ParamSpec("_P")
_PLUGS: Final = {"in": True, "out": False}
_MOST: Final = (1 << 53) - 1
"""Of a whole number that every JSON reader knows."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the clock shows; `ANSWERS` has what each means."""

    clock: str
    time_us: int
    time: str
    rate: float | None


@dataclass(frozen=True, slots=True)
class BenchStatus:
    """How a meter on the bench is; `ANSWERS` has what each means."""

    psd_serial: int
    power: str
    lan: str
    state: str | None
    lock_reasons: list[str]
    ascending_mills: int | None
    descending_mills: int | None
    control_sum_mills: int | None
    piece_count: int | None
    zero_piece_count: int | None
    clock: str
    time_us: int
    time: str
    rate: float | None
    device_time_us: int | None
    medium_operations: int
    medium_cut_at: int
    medium_faults: list[str]
    self_tests_made_to_fail: list[str]
    self_tests_failed: list[str]
    repaired: int
    line: str | None
    line_off: list[str]
    line_counts: dict[str, int] | None
    newest_event: int


def _told(value: Any) -> Any:
    """As JSON has it: no paths, and no number that is none."""
    if isinstance(value, Path) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value


def _control(work: Callable[Concatenate[Bench, _P], None]) -> Callable[Concatenate[Bench, _P], BenchStatus]:
    """A control: alone with the meter, noted with its arguments and its refusal; gives the status after it."""
    signature, name = inspect.signature(work), work.__name__.replace("_", "-")

    @functools.wraps(work)
    def alone(self: Bench, *args: _P.args, **kwargs: _P.kwargs) -> BenchStatus:
        told = signature.bind(self, *args, **kwargs).arguments
        facts = {key: _told(value) for key, value in told.items() if key != "self"}
        with self._alone():
            self._note("control", control=name, **facts)
            try:
                work(self, *args, **kwargs)
            except PesError as refusal:
                self._note("refused", control=name, status=str(refusal.status), message=refusal.message)
                raise
            return self.status()

    return cast("Callable[Concatenate[Bench, _P], BenchStatus]", alone)


class Bench:
    """The controls of `meter`, until `close`; any thread may use them. Each gives the status after it.

    Raises `UsageError` or `FieldError` for what no control takes, and what a control says it is refused with (the table
    `ACTIONS`); `RefusedInState` after `close`. One bench a meter: the later one gets its events.

    `comes_back`: as at a port, the power comes back by itself after a cut that a control ran into. `line`: the one that
    the meter was made or is served with, for the controls of a line; they are refused without one.
    """

    def __init__(
        self, meter: VirtualMeter, *, comes_back: bool = False, kept: int = KEPT, line: Line | None = None
    ) -> None:
        self._meter = meter
        self._line = line
        self._comes_back = comes_back
        self.events = Events(kept)
        self._standing = meter.standing
        self._closed = False
        meter.observer = self._saw

    def perform(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The control of that name in `ACTIONS`, for whoever has it as text. Raises also `UnknownService`."""
        action = BY_NAME.get(name)
        if action is None or action.answer == "event":
            raise UnknownService(f"a bench has no control {name!r}", hint=f"Known: {', '.join(BY_NAME)}")
        for parameter in action.parameters:
            given = arguments.get(parameter.name)
            if parameter.form is Form.FILE and (not Path(str(given)).is_absolute() or "\0" in str(given)):
                raise FieldError(
                    f"{parameter.name}: {given!r} is not an absolute path",
                    hint="The meter's process may have been started anywhere: name the file from / on",
                    field=parameter.name,
                )
        result: ClockReading | BenchStatus = getattr(self, action.method)(**arguments)
        return asdict(result)

    def close(self) -> None:
        """No control works any more; one that is under way is over when this returns."""
        with self._meter.turn:
            self._closed = True
            self._meter.observer = None
            self.events.close()

    # Looking

    def status(self) -> BenchStatus:
        """How the meter is. To look is to let the PSD look at its clock: what is overdue locks it now."""
        with self._alone():
            meter, said = self._meter, self._look()
            powered, medium = meter.powered, meter.medium
            registers: dict[str, Any] = {name: said.get(name) if powered else None for name in REGISTERS}
            return BenchStatus(
                psd_serial=meter.home.config.psd_serial,
                power="on" if powered else "off",
                lan="in" if meter.lan else "out",
                state=meter.standing[0] if powered else None,
                lock_reasons=list(said.get("lock_reasons", ())) if powered else [],
                **registers,
                **asdict(self.clock()),
                device_time_us=said.get("device_time") if powered else None,
                medium_operations=medium.operations if medium else 0,
                medium_cut_at=medium.cut_at if medium else 0,
                medium_faults=[str(fault) for fault in medium.faults] if medium else [],
                self_tests_made_to_fail=list(meter.failing_self_tests),
                self_tests_failed=list(said.get("self_tests_failed", ())),
                repaired=int(said.get("repaired", 0)),
                **self._line_facts(),
                newest_event=self.events.newest,
            )

    def clock(self) -> ClockReading:
        """What the meter's clock shows."""
        with self._alone():
            clock = self._meter.clock
            now, virtual = clock.now(), isinstance(clock, VirtualClock)
            rate = clock.rate if isinstance(clock, VirtualClock) else None
            return ClockReading("virtual" if virtual else "real", now, iso(now), rate)

    # Time

    @_control
    def advance(self, duration: str | int) -> None:
        """Moves a virtual clock on: by text such as "72h1m", or microseconds."""
        self._meter.advance(parse_duration(duration) if isinstance(duration, str) else duration)

    @_control
    def pause(self) -> None:
        """Lets a virtual clock stand still."""
        self._meter.run_clock(0)

    @_control
    def rate(self, rate: float) -> None:
        """Lets a virtual clock run by itself, so many times as fast as the machine's."""
        self._meter.run_clock(rate)

    # What is plugged into it

    @_control
    def lan(self, plug: str) -> None:
        """Plugs its LAN "in" or "out"."""
        if plug not in _PLUGS:
            raise FieldError(f"plug: {plug!r} is neither in nor out", hint="Allowed: in, out", field="plug")
        self._meter.plug_lan(_PLUGS[plug])

    @_control
    def cut(self, at: int | None = None) -> None:
        """Cuts the power: now, and it stays away until `power`; or before the `at`-th operation of the PSD's medium
        from now on, and a port brings it back at once. In this process such a cut is the exception `PowerCut`.
        """
        if at is None:
            self._meter.cut_power()
        else:
            self._fail(Fault(FaultKind.CUT, at))

    @_control
    def power(self) -> None:
        """Brings the power back; where it is on, it goes and comes back."""
        self._meter.power_on()

    # What goes wrong in it

    @_control
    def tamper(self) -> None:
        """The tamper input of the PSD: its keys are destroyed, for good."""
        self._meter.tamper()

    @_control
    def fault(self, fault: str) -> None:
        """A storage fault, KIND[@N[:K]]: operation N of the PSD's medium from now on, from 1."""
        self._fail(Fault.parse(fault))

    def _fail(self, fault: Fault) -> None:
        if fault.at < 1:
            raise FieldError(
                f"at: there is no operation {fault.at}", hint="They are counted from 1: the next", field="at"
            )
        self._meter.fail_storage(fault)

    @_control
    def mend(self) -> None:
        """No storage fault is to come any more, and none lasts."""
        self._meter.mend_storage()

    @_control
    def self_test(self, name: str, fails: bool = True) -> None:
        """From its next run on a self-test of the PSD fails, or passes again."""
        self._meter.fail_self_test(name, fails=fails)

    # What is between it and its host

    @_control
    def line(self, settings: str) -> None:
        """Changes the line's settings: by text such as "baud=9600,bit-errors=1e-4"; "off" is a line that does nothing.
        Steps that are still to come stay.
        """
        from pes_sim.link.line.config import LineConfig, parse_settings

        line = self._has_line()
        line.change(**(asdict(LineConfig()) if settings == "off" else parse_settings(settings)))

    @_control
    def unplug(self) -> None:
        """Pulls the line's plug: what is on its way is lost."""
        self._has_line().change(plugged=False)

    @_control
    def replug(self) -> None:
        """Puts the line's plug in again."""
        self._has_line().change(plugged=True)

    @_control
    def play(
        self, step: str, direction: str, byte: int | None = None, frame: int | None = None, bit: int = 1,
        for_us: int = 0,
    ) -> None:  # fmt: skip
        """One step of a script: after so many bytes, or frames, from now on; with neither now."""
        from pes_sim.link.line.config import Direction
        from pes_sim.link.line.faults import Kind, Step

        line = self._has_line()
        for name, value, known in (("step", step, list(Kind)), ("direction", direction, list(Direction))):
            if value not in known:
                hint = f"Allowed: {', '.join(known)}"
                raise FieldError(f"{name}: {value!r} is none", hint=hint, field=name)
        numbers = {"byte": byte, "frame": frame, "bit": bit, "for_us": for_us}
        for name, number in numbers.items():
            if number is not None and not 0 <= number <= _MOST:
                raise FieldError(f"{name}: {number} is none", hint=f"Allowed: 0 to {_MOST}", field=name)
        if byte is not None and frame is not None:
            raise FieldError("a step is counted in bytes or in frames", hint="Give one of the two", field="frame")
        now = self._meter.clock.now() if byte is None and frame is None else None
        line.play(Step(Kind(step), Direction(direction), byte, frame, now, bit, for_us))

    def _has_line(self) -> Line:
        if self._line is None:
            raise RefusedInState(
                "no line is known here",
                hint="Give the bench the line that the meter is served over: Bench(meter, line=line)",
            )
        return self._line

    def _line_facts(self) -> dict[str, Any]:
        line = self._line
        if line is None:
            return {"line": None, "line_off": [], "line_counts": None}
        from pes_sim.link.line.config import SIGNALS, written

        now = self._meter.clock.now()
        off = [signal for signal in SIGNALS if not line.is_on(signal, now)]
        return {"line": written(line.config), "line_off": off, "line_counts": asdict(line.counts())}

    # All of it

    @_control
    def snapshot(self, file: Path | str) -> None:
        """Copies the whole meter into one new file. It goes on as it is."""
        with self._meter.at_rest() as psd:
            snapshot.take(self._meter.home.directory, Path(file), psd=psd)

    @_control
    def restore(self, file: Path | str) -> None:
        """Puts the device back to what it was in a snapshot. Its power goes for that, and is then as it was before.
        What is refused is refused before that.
        """
        meter, directory = self._meter, self._meter.home.directory
        snapshot.check(Path(file), directory, psd=meter.home.inside)
        with meter.without_files() as psd:
            snapshot.restore(Path(file), directory, psd=psd)

    # What it sees

    def _look(self) -> Values:
        """Registers and status of the PSD; nothing without power."""
        meter, found = self._meter, Values()
        while self._has_power():
            # A lock that is due is written down, and a cut that somebody asked for may come in that.
            with contextlib.suppress(PowerCut):
                for service in ("get_registers", "get_status"):
                    with contextlib.suppress(PesError):
                        found |= meter.psd.execute(service, {}, request_id=b"", now=meter.clock.now())
                break
        return found

    def _has_power(self) -> bool:
        if self._comes_back:
            self._meter.come_back()
        return self._meter.powered

    @contextlib.contextmanager
    def _alone(self) -> Any:
        with self._meter.turn:
            if self._closed:
                raise RefusedInState("the meter is being stopped", hint="Start it again: pes-sim meter run DIR")
            yield

    def _saw(self, what: Happening) -> None:
        """Called in the meter's turn, after each request too: it must cost nothing where nothing happened."""
        meter = self._meter
        if what is not Happening.REQUEST:
            self._note(what.value, operation=meter.medium.operations if meter.medium else 0)
        standing = meter.standing
        if standing != self._standing:
            self._standing = standing
            self._note("state", state=standing[0], lock_reasons=list(standing[1]))

    def _note(self, kind: str, **facts: Any) -> None:
        self.events.add(self._meter.clock.now(), kind, **facts)
