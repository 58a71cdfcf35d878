"""A meter's directory: what lies in it, how a new one is made, and how it is opened.

    meter.json          what it is: serial number, clock, layout, whether its keys come from a seed
    clock.json          where its virtual clock stands
    meter.sqlite        departments and pieces
    departments.json    the departments it was made with, for when meter.sqlite is lost
    meter.key           the secret by which the PSD knows its meter
    psd/                the PSD's log, its master key, the key that its keys lie under, its lock
    ca.pem, psd.pem     the certificates that a verifier needs
    provider/           the embedded data centre: its keys and its database
    jobs/               mail jobs that can go on
    meter.restore/      what a restore that was cut off has still to put in its place (`replacing`)
    control.json        while `pes-sim meter run` serves it: where its bench control is (`bench.server`); no part of it

Links in it are not followed, and its keys are read only where nobody else could.

One process holds the directory at a time. `meter.json` is written last, so a meter that was cut off while it was being
made is not mistaken for one. A part that is missing or another meter's is an error, never made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Final, Protocol

from pes_sim.clock import Clock, SystemClock, VirtualClock, parse_iso, stopwatch
from pes_sim.entropy import Entropy, SeededEntropy, SystemEntropy, child
from pes_sim.errors import DirectoryInUse, HostileDirectory, IntegrityError, StorageFailed, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.meter import rates, replacing
from pes_sim.meter.config import FORMAT, RESTORE, MeterConfig, read_config, read_json
from pes_sim.meter.connection import Centre, Connection
from pes_sim.meter.device import MeterDevice
from pes_sim.meter.session import log_in
from pes_sim.meter.store import MeterStore
from pes_sim.psd.device import Psd
from pes_sim.psd.faults import Fault, FaultyStorage
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import SLOTS, Slot
from pes_sim.psd.owned import OwnDirectory, check_kind, quoted, read_secret
from pes_sim.psd.piece import signing
from pes_sim.psd.rtc import Rtc
from pes_sim.psd.selftest import TestName
from pes_sim.psd.softkeys import MASTER_KEY_LENGTH, SoftwareKeyStoreNotForProduction
from pes_sim.psd.storage import DirectoryLock, FileStorage, MediumSlot, Storage, write_atomically
from pes_sim.psd.vault import FileVault, MemoryVault

PARTS: Final = (
    "meter.json", "clock.json", "departments.json", "meter.sqlite", "meter.sqlite-wal", "meter.sqlite-shm",
    "meter.key", "psd", "ca.pem", "psd.pem", "provider", "jobs", replacing.DECIDED, replacing.UNDECIDED,
)  # fmt: skip
"""Everything that may lie in a meter's directory."""
CONTROL_FILE: Final = "control.json"
"""The same as `bench.place.CONTROL_FILE`, which loads quicker than this module."""
METER_SECRET_LENGTH: Final = 32
_log: Final = logging.getLogger(__name__)
_FOLDERS: Final = ("psd", "provider", "jobs", replacing.DECIDED, replacing.UNDECIDED)


class Registrar(Centre, Protocol):
    """The data centre as manufacture needs it."""

    @property
    def trust_anchor(self) -> bytes: ...

    def authorize(
        self, *, psd_serial: int, public_key: bytes, message_key: bytes, nonce: bytes, licensing_zip: str,
        customer: str, utc_offset_minutes: int,
    ) -> bytes: ...  # fmt: skip

    def new_mac_key(self, psd_serial: int, challenge: Values, transport_key: bytes) -> bytes: ...


class StoredClock(VirtualClock):
    """A virtual clock that stands in the directory where it was left.

    What it was moved on is stored at once. What passed while it ran, or while somebody waited, is once in a second:
    whoever only asks for the time is not told of a full disk, and it is tried again.
    """

    def __init__(self, path: Path, start: int | None = None) -> None:
        self._path = path
        self._saved = stopwatch()
        self._stored = _read_clock(path) if start is None else -1
        super().__init__(self._stored if start is None else start)
        self.save()

    def advance(self, microseconds: int) -> int:
        now = super().advance(microseconds)
        self.save()
        return now

    def _pass(self, microseconds: int) -> int:
        now = super()._pass(microseconds)
        self._save_now_and_then(now)
        return now

    def _running(self) -> int:
        now = super()._running()
        if self.rate:
            self._save_now_and_then(now)
        return now

    def save(self) -> None:
        """Stores what it shows, unless that is stored."""
        self._store(self.now())

    def _save_now_and_then(self, now: int) -> None:
        if stopwatch() - self._saved > 1:
            try:
                self._store(now)
            except StorageFailed as problem:
                _log.warning("the clock is not stored, and will stand where it was stored last: %s", problem.message)

    def _store(self, now: int) -> None:
        self._saved = stopwatch()
        if now != self._stored:
            write_atomically(self._path, json.dumps({"now": now}).encode() + b"\n")
            self._stored = now


class MeterHome:
    """An open directory: its clock, its entropy, and (after `power_on`) its device."""

    def __init__(self, directory: Path, config: MeterConfig, clock: Clock) -> None:
        self.directory = directory
        self.config = config
        self.clock = clock
        self.rtc = Rtc()
        """The PSD's real-time clock, from the next power-on."""
        self.connection = Connection.LAN
        """What the meter reaches its data centre by, from the next power-on."""
        self.failing: frozenset[TestName] = frozenset()
        """Self-tests of the PSD that fail, from the next power-on."""
        self._files = FileStorage(directory / "psd")
        self._slot = MediumSlot(self._files)
        self._storage: Storage = self._slot.storage
        self._store: MeterStore | None = None
        self._let_go = False

    @property
    def entropy(self) -> Entropy:
        """Where this meter's random bytes come from."""
        return SeededEntropy(self.config.seed) if self.config.seed else SystemEntropy()

    def fail(self, faults: Iterable[Fault]) -> FaultyStorage:
        """Puts a medium that fails between the PSD and its files, from its next operation on."""
        medium = FaultyStorage(self._files, faults)
        self._slot.put(medium)
        return medium

    def psd(self) -> Psd:
        """Powers the PSD on."""
        path = self.directory / "psd" / "master.key"
        if not path.exists():
            if self._storage.names():
                raise IntegrityError(f"{path} is missing", hint="Without it the PSD's log cannot be read: restore it")
            write_atomically(path, child(self.entropy, "master key")(MASTER_KEY_LENGTH), 0o600)
        vault = FileVault(self.directory / "psd" / "kek.key")
        keys = SoftwareKeyStoreNotForProduction(_master_key(path), child(self.entropy, "psd key"), vault)
        if self.config.key_check not in ("", key_check(keys)):
            raise IntegrityError(f"{path} is another meter's master key", hint=RESTORE)
        return Psd(
            self._storage, keys, entropy=self.entropy, layout=layouts.load(self.config.layout), rtc=self.rtc,
            failing=self.failing,
        )  # fmt: skip

    def power_on(self, centre: Centre | None) -> MeterDevice:
        """Powers the meter on, with or without its connection to the data centre."""
        if self._let_go:
            replacing.finish(self.directory)  # half of the old parts and half of the new ones would be no meter
            self.config, self._let_go = read_config(self.directory), False
        psd, layout = self.psd(), layouts.load(self.config.layout)
        path, known = self.directory / "meter.sqlite", self.directory / "departments.json"
        departments = read_json(known) if known.exists() and not path.exists() else {}
        if self._store is not None:
            self._store.close()
        # Without it, or without room for it, registers and log can be read all the same.
        self._store = MeterStore(path, {code: str(name) for code, name in departments.items()}, later=True)
        return MeterDevice(
            psd, self._store, rates.built_in(), layout, self.clock, centre, self.secret(), self.connection
        )  # fmt: skip

    @property
    def inside(self) -> OwnDirectory:
        """The open `psd/`, for whoever copies the directory while this process holds it."""
        return self._files.inside

    def let_go(self) -> OwnDirectory:
        """Closes every file of the device, for whoever exchanges them; the directory stays held. The meter must have no
        power; `power_on` opens them again. Gives the open `psd/`.
        """
        if self._store is not None:
            self._store.close()
        self._let_go = True
        return self._files.let_go()

    def secret(self) -> bytes:
        """What is in `meter.key`; empty where it is missing or another meter's. The meter says so when it is needed."""
        path = self.directory / "meter.key"
        secret = _read(path) if path.exists() else b""
        return secret if self.config.secret_check in ("", secret_check(secret)) else b""

    @property
    def store(self) -> MeterStore:
        """The meter's store, while it is powered on."""
        assert self._store is not None, "power_on comes first"
        return self._store

    def close(self) -> None:
        """Powers off and lets go of the directory."""
        with ExitStack() as last:  # where a full disk takes no time either, whoever comes next can have the directory
            last.callback(self._storage.close)
            if self._store is not None:
                last.callback(self._store.close)
            if isinstance(self.clock, StoredClock):
                self.clock.save()


def open_home(directory: Path) -> MeterHome:
    """An existing meter. Raises `UsageError` when there is none, `DirectoryInUse` when another process has it."""
    check_kinds(directory)
    if replacing.is_unfinished(directory):
        lock = DirectoryLock(directory / "psd")
        try:
            replacing.finish(directory)
        finally:
            lock.release()
    config = read_config(directory)
    try:
        log = [name for name in os.listdir(directory / "psd") if name.endswith(".seg")]
    except OSError as problem:
        raise IntegrityError(f"{directory / 'psd'} cannot be read: {problem.strerror}", hint=RESTORE) from None
    if not log:
        raise IntegrityError(f"{directory / 'psd'} holds no log: the PSD's registers are gone", hint=RESTORE)
    try:
        home = MeterHome(directory, config, SystemClock())
    except DirectoryInUse as problem:
        if not os.path.lexists(directory / CONTROL_FILE):
            raise
        ask = f"pes-sim bench {quoted(directory)} --help"
        raise DirectoryInUse(problem.message, hint=f"It can be moved while it runs: {ask}. Or stop it") from None
    try:
        if replacing.is_unfinished(directory):  # another process has begun to restore it since, and was cut off
            home.close()
            return open_home(directory)
        # Whoever held the directory until now may have moved its clock, or restored another meter.
        home.config = read_config(directory)
        if home.config.clock == "virtual":
            home.clock = StoredClock(directory / "clock.json")
    except BaseException:
        home.close()
        raise
    return home


def check_kinds(directory: Path) -> None:
    """Raises `UsageError` for a part that is a link, a FIFO or the like: SQLite for one would follow it."""
    for name in PARTS:
        try:
            check_kind(directory / name, directory=name in _FOLDERS)
        except HostileDirectory as problem:
            raise UsageError(problem.message, hint=problem.hint) from None


def check_place(directory: Path) -> None:
    """Raises `UsageError` where there is a meter already, or a part of one."""
    if os.path.lexists(directory / "meter.json"):
        raise UsageError(f"there is a meter in {directory} already", hint="Take another directory, or remove it")
    if os.path.lexists(directory / "psd") or os.path.lexists(directory / "provider"):
        raise UsageError(f"{directory} holds a meter that was not finished", hint="Remove the directory")


def create_home(
    directory: Path, config: MeterConfig, registrar: Registrar, departments: Mapping[str, str], clock: Clock
) -> Values:
    """Manufactures a PSD, has it authorized and checked in; gives its certificates. `finish_home` makes it a meter."""
    home = MeterHome(directory, config, clock)
    try:
        certificates = _manufacture(home, registrar)
        write_atomically(directory / "departments.json", json.dumps(dict(departments), indent=2).encode() + b"\n")
        home.power_on(None)
        return certificates
    finally:
        home.close()


def finish_home(directory: Path, config: MeterConfig) -> None:
    """Writes the meter down, as the last step of making it."""
    master = _master_key(directory / "psd" / "master.key")
    keys = SoftwareKeyStoreNotForProduction(master, SystemEntropy(), MemoryVault())
    notice = "SPECIMEN ONLY. A simulated meter; nothing it prints is valid postage."
    checks = {"key_check": key_check(keys), "secret_check": secret_check(_read(directory / "meter.key"))}
    document = {"format": FORMAT, "notice": notice, **asdict(config), **checks}
    write_atomically(directory / "meter.json", json.dumps(document, indent=2).encode() + b"\n")


def key_check(keys: SoftwareKeyStoreNotForProduction) -> str:
    """Text that differs from meter to meter and gives nothing of the key away."""
    return keys.derive("key check")[:8].hex()


def secret_check(secret: bytes) -> str:
    """The same for the meter's secret."""
    return hashlib.sha256(b"pes-sim meter secret" + secret).hexdigest()[:16]


def _manufacture(home: MeterHome, registrar: Registrar) -> Values:
    psd, config, draw = home.psd(), home.config, child(home.entropy, "manufacture")

    def step(name: str, **request: object) -> Values:
        return psd.execute(name, request, request_id=draw(16), now=home.clock.now())

    secret = draw(METER_SECRET_LENGTH)
    write_atomically(home.directory / "meter.key", secret, 0o600)
    signs = signing(layouts.load(config.layout))
    transport = draw(SLOTS[Slot.TRANSPORT].longest) if signs.slot is Slot.MAC else b""
    made = step(
        "initialize", psd_serial=config.psd_serial, trust_anchor=registrar.trust_anchor, user_secret=secret,
        transport_key=transport, profile=config.profile, regime=config.regime, curve=signs.curve.value,
    )  # fmt: skip
    licence = registrar.authorize(
        psd_serial=config.psd_serial, public_key=made["public_key"], message_key=made["message_key"],
        nonce=made["nonce"], licensing_zip=config.licensing_zip, customer=config.customer,
        utc_offset_minutes=config.utc_offset_minutes,
    )  # fmt: skip
    step("authorize", message=licence)
    log_in(psd, secret, config.psd_serial, home.clock.now())
    step("checkin_complete", message=registrar.check_in(step("checkin_begin")["message"]))
    if transport:
        step("load_key", message=registrar.new_mac_key(config.psd_serial, step("challenge"), transport))
    return step("get_certificates")


def _master_key(path: Path) -> bytes:
    """The PSD's master key. Raises `IntegrityError`, naming the file, for one of another length."""
    key = _read(path)
    if len(key) != MASTER_KEY_LENGTH:
        what = f"has {len(key)} bytes, not {MASTER_KEY_LENGTH}" if key else "is empty"
        raise IntegrityError(f"{path} {what}", hint=RESTORE)
    return key


def _read_clock(path: Path) -> int:
    try:
        now = read_json(path).get("now")
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}", hint=RESTORE) from None
    if type(now) is not int or not 0 <= now <= parse_iso("9999-12-30"):
        raise UsageError(f"{path} tells no time", hint='Its form is {"now": microseconds since 1970-01-01 UTC}')
    return now


def _read(path: Path) -> bytes:
    try:
        return read_secret(path)
    except OSError as problem:
        raise StorageFailed(f"{path} cannot be read: {problem.strerror}") from None
