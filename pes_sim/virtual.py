"""A whole virtual meter in one object: the meter, its clock, its embedded data centre, and a port where one is wanted.

A directory is made by `create` and opened by `VirtualMeter`; a meter at the other end of a port is a `connect` away.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pes_sim.clock import Clock, SystemClock
from pes_sim.controls import Happening, self_tests
from pes_sim.entropy import Entropy, SeededEntropy, SystemEntropy, child
from pes_sim.errors import (
    DirectoryInUse,
    FieldError,
    HostileDirectory,
    IntegrityError,
    StorageFailed,
    UsageError,
)
from pes_sim.link.client import Client
from pes_sim.link.device import DeviceSession, Endpoint, Session
from pes_sim.link.ports import TIMEOUT_MS, open_host, serve
from pes_sim.link.ports.server import Server
from pes_sim.meter.config import MeterConfig, check_new, read_config
from pes_sim.meter.connection import Connection
from pes_sim.meter.device import MeterDevice
from pes_sim.meter.home import MeterHome, StoredClock, check_place, create_home, finish_home, open_home
from pes_sim.meter.meter import Caller, LocalCaller, Meter, MeterStatus
from pes_sim.meter.services import BY_NAME
from pes_sim.meter.store import MeterStore
from pes_sim.money import mills
from pes_sim.provider.centre import DataCentre
from pes_sim.provider.pki import pem
from pes_sim.psd.faults import Fault, PowerCut
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Lock
from pes_sim.psd.locks import LOCKS
from pes_sim.psd.policy import Regime
from pes_sim.psd.profile import Profile
from pes_sim.psd.rtc import Rtc
from pes_sim.psd.storage import DirectoryLock, write_atomically
from pes_sim.recovering import PrintedSoFar, Recovering, check_database

if TYPE_CHECKING:
    from pes_sim.link.line.line import Line
    from pes_sim.link.ports.switchboard import Switchboard
    from pes_sim.link.trace import Trace

__all__ = [
    "DEFAULT_DEPARTMENTS", "DEFAULT_START", "PROVIDERS_LOCKS", "Happening", "PrintedSoFar", "VirtualMeter", "connect",
    "create", "settle",
]  # fmt: skip

DEFAULT_DEPARTMENTS: Mapping[str, str] = {"100": "General"}
DEFAULT_START = 1_767_625_200 * 1_000_000
"""Where a virtual clock begins unless told otherwise: 2026-01-05T15:00:00Z, a Monday."""

PROVIDERS_LOCKS: Final = tuple(lock.value for lock, row in LOCKS.items() if row.ordered)
"""Reasons that the provider locks a device for, and unlocks it."""
_ORDERS: Final[Mapping[str, str]] = {
    "lock": "lock_order",
    "unlock": "unlock_order",
    "set_time": "time_setting",
    "reauthorize": "reauthorization",
}
"""Services of the PSD that the meter passes on, with the kind of message that orders them."""


class VirtualMeter(Recovering):
    """A meter in this process, powered on, with `clock` and `centre` beside it. Use it in a `with`.

    Without a directory it is a fresh meter, checked in, that is gone after the `with`; with one it is the meter that
    `pes-sim meter new` (or `create`) made there. For this power-on: `failing_self_tests` are names from docs/psd.md,
    `rtc` is the PSD's real-time clock, `connection` what the meter reaches its data centre by, `storage_faults` what is
    wrong with the PSD's medium (docs/storage.md), `trace` a pcapng file, or a named pipe, for what goes over its ports.
    A power cut is the exception `PowerCut`, until `power_on`; at a port it is silence, and the power comes back by
    itself. With a `line` what is asked here goes over it, in frames, the first of which is a hello (docs/line.md).
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        failing_self_tests: Iterable[str] = (),
        rtc: Rtc = Rtc(),  # noqa: B008  # immutable
        connection: Connection = Connection.LAN,
        storage_faults: Iterable[Fault] = (),
        line: Line | None = None,
        trace: Path | None = None,
    ) -> None:
        failing = self_tests(failing_self_tests)
        self._turn = threading.RLock()
        """Whoever asks the device, or switches it off and on, has it: two devices on one medium would both debit."""
        self.on_cut: Callable[[], None] = lambda: None
        """Called when the power was cut while a port asked something, and is back."""
        self.observer: Callable[[Happening], None] | None = None
        """Told of each of these once it is over, before anything else happens."""
        self._off = False
        """Whether somebody has cut the power, and it stays away until `power_on`."""
        self._lan = True
        self._line = line
        self._seen_powered = True
        self._servers: dict[tuple[str, str], Server] = {}
        with ExitStack() as opened:
            if directory is None:
                made = tempfile.mkdtemp(prefix="pes-sim-")
                opened.callback(shutil.rmtree, made, ignore_errors=True)
                directory = Path(made) / "meter"
                create(directory)
            self._home = open_home(directory)
            opened.callback(self._home.close)
            self._trace = opened.enter_context(_begin_trace(trace)) if trace is not None else None
            self.clock: Clock = self._home.clock
            entropy = self._home.entropy
            self.centre = DataCentre(directory / "provider", clock=self.clock, entropy=child(entropy, "provider"))
            opened.callback(self.centre.close)
            self._home.failing = failing
            self._home.rtc, self._home.connection = rtc, connection
            self.medium = self._home.fail(faults) if (faults := tuple(storage_faults)) else None
            self._device = self._switch_on()
            super().__init__(self._new_caller())
            self._opened = opened.pop_all()

    @property
    def home(self) -> MeterHome:
        """The meter's directory."""
        return self._home

    def order(self, service: str, **fields: object) -> MeterStatus:
        """Has the provider order something of the PSD: `lock`, `unlock`, `set_time` or `reauthorize`; gives the status.

        `fields` are the order's own, by the names of its message in docs/protocol.md. Raises `FieldError` or
        `BadMessage` for what no device would obey.
        """
        if service not in _ORDERS:
            raise FieldError(f"{service!r} is no order to a meter", hint=f"Known: {', '.join(_ORDERS)}")
        challenge = self._caller.call("challenge", {})
        message = self.centre.order(_ORDERS[service], self._home.config.psd_serial, challenge, **fields)
        self._caller.call(service, {"message": message})
        return self.status()

    def lock(self, *reasons: str) -> MeterStatus:
        """The provider's lock, for the reasons of `PROVIDERS_LOCKS` that are given, or as its own."""
        return self.order("lock", lock_reasons=list(reasons) or [Lock.PROVIDER.value])

    def unlock(self, *reasons: str) -> MeterStatus:
        """The provider's unlock, for the reasons given, or for all that it may clear of those that hold.

        Wrong proofs of identity are forgotten by it in any case, and a device need not be locked for that.
        """
        held = [reason for reason in self.status().lock_reasons if reason in PROVIDERS_LOCKS]
        return self.order("unlock", lock_reasons=list(reasons) or held)

    def _new_caller(self) -> Caller:
        """For requests of its own: their ids differ from power-on to power-on, where a seed would repeat them."""
        drawn = child(self._home.entropy, f"requests after record {self._log_sequence()}")
        outlet = _Outlet(self, lambda device: device)
        if self._line is None:
            return LocalCaller(outlet, self.clock, drawn)
        from pes_sim.link.line.ends import LineTransport
        from pes_sim.link.ports.memory import MemoryTransport

        client = Client(LineTransport(MemoryTransport(outlet, self.clock), self._line, self.clock), BY_NAME, drawn)
        client.hello()
        return client

    @property
    def psd(self) -> Endpoint:
        """Its security device alone, for any service of docs/psd.md. It takes turns with the meter."""
        return _Outlet(self, lambda device: device.psd)

    def serve(self, uri: str = "pty:", *, line: Line | None = None, board: Switchboard | None = None) -> Server:
        """Puts the meter on a port until `close`: "pty:", "pty:/tmp/meter0", "tcp:4000" (docs/ports.md has them all).

        What it gives has the `uri` that a host opens, which it can at once. The same URI again gives the same port.
        With a `line` the device is at the other end of it (docs/line.md). A port has a thread of its own, or that of a
        `board`, which suits a hundred meters in one process. Raises as `pes_sim.link.ports.serve` does.
        """
        return self._serve(uri, _Outlet(self, lambda device: device, comes_back=True), line, board)

    def serve_psd(self, uri: str = "pty:", *, line: Line | None = None, board: Switchboard | None = None) -> Server:
        """The same for its PSD alone, as a mainboard finds it. Meter and port take turns; a login of one ends the
        session of the other, which the meter opens again when it needs it. What the port dispenses for a department
        counts for that department, anything else for the department `?`.
        """
        with self._turn:
            self._device.log_out()
        return self._serve(uri, _Outlet(self, lambda device: device.psd, comes_back=True), line, board)

    def serve_pty(self) -> str:
        """Puts the meter on a pseudo-terminal; gives its path."""
        return self.serve().path

    def serve_psd_pty(self) -> str:
        """Puts its PSD alone on a pseudo-terminal; gives its path."""
        return self.serve_psd().path

    def _serve(self, uri: str, endpoint: Endpoint, line: Line | None, board: Switchboard | None) -> Server:
        server = self._servers.get((endpoint.kind, uri))
        if server is None or server.closed:
            port = endpoint.kind, uri
            sessions = self._sessions(endpoint) if line is None else self._sessions_over(line, port, endpoint)
            server = self._servers[port] = (board.serve if board else serve)(uri, sessions, self.clock)
        return server

    def _sessions_over(self, line: Line, port: tuple[str, str], endpoint: Endpoint) -> Callable[[], Session]:
        from pes_sim.link.line.ends import LineSession

        fresh = self._sessions(endpoint)
        # In memory nobody waits for a part of an answer; elsewhere a long one must not look like silence.
        in_parts = not port[1].startswith("memory:")

        def poke() -> None:
            if port in self._servers:  # not in the instant before it is
                self._servers[port].poke()

        return lambda: LineSession(fresh(), line, self.clock, more=poke if in_parts else None, fresh=fresh)

    def _sessions(self, endpoint: Endpoint) -> Callable[[], Session]:
        trace = self._trace
        if trace is None:
            return lambda: DeviceSession(endpoint)
        from pes_sim.link.trace import TracedSession

        rows = endpoint.services.values()
        return lambda: TracedSession(DeviceSession(endpoint), trace, endpoint.kind, self.clock, rows)

    def close(self) -> None:
        """Powers off."""
        for server in self._servers.values():
            server.close()
        self._opened.close()

    def __enter__(self) -> VirtualMeter:
        return self

    def _log_sequence(self) -> int:
        answer = self._device.execute("get_status", {}, request_id=b"", now=self.clock.now())
        return int(answer["log_sequence"])


class _Outlet:
    """What answers here is the device of the latest power-on, and nothing while it has no power. After a cut that
    something asked here ran into, the power `comes_back` by itself.
    """

    def __init__(
        self, meter: VirtualMeter, pick: Callable[[MeterDevice], Endpoint], *, comes_back: bool = False
    ) -> None:
        self._meter = meter
        self._pick = pick
        self._comes_back = comes_back
        self.kind = pick(meter._device).kind
        self.services = pick(meter._device).services

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        """See `Psd.execute`. Raises `PowerCut`: whoever asked gets no answer."""
        meter = self._meter
        with meter._turn:
            try:
                if meter._off or (meter.medium is not None and not meter.medium.powered):
                    raise PowerCut
                return self._pick(meter._device).execute(name, request, request_id=request_id, now=now)
            except PowerCut:
                meter._gone()
                if self._comes_back:
                    meter.come_back()
                raise
            finally:
                if meter.observer is not None:
                    meter.observer(Happening.REQUEST)


def _begin_trace(path: Path) -> Trace:
    from pes_sim.link.trace import Trace

    return Trace(path)


def create(
    directory: Path,
    *,
    licensing_zip: str = "20260",
    customer: str = "TEST CUSTOMER",
    psd_serial: int = 0,
    departments: Mapping[str, str] = DEFAULT_DEPARTMENTS,
    start: int | None = DEFAULT_START,
    utc_offset_minutes: int = 0,
    seed: str = "",
    deposit_mills: int = 10_000_000,
    layout: str = "imi_std",
    profile: Profile = Profile.FIPS_140_2,
    regime: Regime = Regime.IMI,
) -> None:
    """Makes a meter in `directory`, with a data centre of its own, authorized, checked in, and not yet refilled.

    Nothing is made where an argument is wrong; a meter that was cut off while it was being made is none.

    `start`: where its virtual clock begins (microseconds since 1970-01-01 UTC), None for the real clock. `seed`: keys,
    ids and nonces follow from it, and the meter says so; empty for the system's entropy. `deposit_mills`: what the
    customer has on deposit with the provider. `psd_serial` 0 draws one. `profile`: whose rules its self-tests follow;
    `regime`: how long it may go without its provider.
    """
    entropy: Entropy = SeededEntropy(seed) if seed else SystemEntropy()
    serial = psd_serial or 1 + int.from_bytes(child(entropy, "serial")(4), "big") % 9_999_999
    if layout.endswith(".toml"):
        layout = str(Path(layout).resolve())  # the meter may be opened from elsewhere
    config = MeterConfig(
        serial, licensing_zip, customer, layout, "real" if start is None else "virtual", utc_offset_minutes, seed,
        str(profile), str(regime),
    )  # fmt: skip
    mills(deposit_mills)
    check_place(directory)
    check_new(config, departments, start)
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)  # whatever the umask, others write nothing in it
    except OSError as problem:
        raise UsageError(f"{directory} cannot be made: {problem.strerror}") from None
    clock: Clock = SystemClock() if start is None else StoredClock(directory / "clock.json", start)
    centre = DataCentre(directory / "provider", clock=clock, entropy=child(entropy, "provider"))
    try:
        certificates = create_home(directory, config, centre, departments, clock)
        if deposit_mills:
            centre.deposit(customer, deposit_mills)
    finally:
        centre.close()
    write_atomically(directory / "ca.pem", pem(certificates["trust_anchor"]))
    write_atomically(directory / "psd.pem", pem(certificates["psd_certificate"]))
    finish_home(directory, config)


def settle(directory: Path, printed: PrintedSoFar | None = None) -> int:
    """Has the provider settle the meter in `directory`, also one that cannot be opened any more; gives what was paid
    back, in mills. See `VirtualMeter.settle`; `printed` must be given where the meter cannot be opened.
    """
    with ExitStack() as opened:
        try:
            meter = opened.enter_context(VirtualMeter(directory))
        except (DirectoryInUse, HostileDirectory, UsageError):
            raise
        except (IntegrityError, StorageFailed) as problem:
            if printed is None:
                hint = "Say what was printed: pes-sim meter settle DIR --used DOLLARS --pieces N [--zero-pieces N]"
                raise UsageError(f"the meter cannot be opened: {problem.message}", hint=hint) from None
        else:
            return meter.settle(printed)
        config = read_config(directory)
        if (directory / "psd").is_dir():
            lock = DirectoryLock(directory / "psd")
            opened.callback(lock.release)
        if (directory / "meter.sqlite").exists():
            store = MeterStore(directory / "meter.sqlite", later=True)
            opened.callback(store.close)
            check_database(store, printed)
        clock: Clock = StoredClock(directory / "clock.json") if config.clock == "virtual" else SystemClock()
        entropy: Entropy = SeededEntropy(config.seed) if config.seed else SystemEntropy()
        centre = DataCentre(directory / "provider", clock=clock, entropy=child(entropy, "provider"))
        opened.callback(centre.close)
        return centre.settle(config.psd_serial, **asdict(printed))


def connect(uri: str, *, timeout_ms: int = TIMEOUT_MS, line: Line | None = None, trace: Trace | None = None) -> Meter:
    """A meter at the other end of a port: "serial:/dev/ttyUSB0", "tcp:HOST:PORT", or the path of a pseudo-terminal.

    Returns when the meter has answered; it is asked again after each `timeout_ms` of silence. Raises `LinkError` saying
    what to do when it does not, `UsageError` for a URI that is badly written. A `line` comes before the port, in real
    time (docs/line.md). What the host sends and gets goes into a `trace`, which stays open.
    """
    transport = open_host(uri, timeout_ms=timeout_ms)
    if line is not None:
        from pes_sim.link.line.ends import LineTransport

        transport = LineTransport(transport, line, SystemClock(), timeout_ms * 1000)
    if trace is not None:
        from pes_sim.link.trace import TracedTransport

        transport = TracedTransport(transport, trace, SystemClock(), BY_NAME.values())
    client = Client(transport, BY_NAME, SystemEntropy())
    try:
        client.hello()
    except BaseException:
        client.close()
        raise
    return Meter(client)
