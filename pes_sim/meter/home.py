"""A meter's directory: what lies in it, how a new one is made, and how it is opened.

    meter.json          what it is: serial number, clock, layout, whether its keys come from a seed
    clock.json          where its virtual clock stands
    meter.sqlite        departments and pieces
    psd/                the PSD's log, its master key, its lock
    ca.pem, psd.pem     the certificates that a verifier needs

One process holds the directory at a time. `meter.json` is written last, so a meter that was cut off while it was being
made is not mistaken for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from pes_sim.clock import Clock, SystemClock, VirtualClock
from pes_sim.entropy import Entropy, SeededEntropy, SystemEntropy, child
from pes_sim.errors import IntegrityError, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.meter import rates
from pes_sim.meter.device import Centre, MeterDevice
from pes_sim.meter.store import MeterStore
from pes_sim.psd.device import Psd
from pes_sim.psd.keys import MASTER_KEY_LENGTH, SoftwareKeyStoreNotForProduction
from pes_sim.psd.storage import FileStorage, write_atomically

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """What `meter.json` says. `clock` is "real" or "virtual"; `seed` is empty for keys from the system's entropy."""

    psd_serial: int
    licensing_zip: str
    customer: str
    layout: str = "imi_std"
    clock: str = "real"
    utc_offset_minutes: int = 0
    seed: str = ""


class Registrar(Centre, Protocol):
    """The data centre as manufacture needs it."""

    @property
    def trust_anchor(self) -> bytes: ...

    def authorize(
        self, *, psd_serial: int, public_key: bytes, nonce: bytes, licensing_zip: str, customer: str,
        utc_offset_minutes: int,
    ) -> bytes: ...  # fmt: skip


class StoredClock(VirtualClock):
    """A virtual clock that stands in the directory where it was left."""

    def __init__(self, path: Path, start: int | None = None) -> None:
        self._path = path
        super().__init__(_read_json(path)["now"] if start is None else start)
        if start is not None:
            self._save()

    def advance(self, microseconds: int) -> int:
        now = super().advance(microseconds)
        self._save()
        return now

    def _save(self) -> None:
        write_atomically(self._path, json.dumps({"now": self.now()}).encode() + b"\n")


class MeterHome:
    """An open directory: its clock, its entropy, and (after `power_on`) its device."""

    def __init__(self, directory: Path, config: MeterConfig, clock: Clock) -> None:
        self.directory = directory
        self.config = config
        self.clock = clock
        self._storage = FileStorage(directory / "psd")
        self._store: MeterStore | None = None

    @property
    def entropy(self) -> Entropy:
        """Where this meter's random bytes come from."""
        return SeededEntropy(self.config.seed) if self.config.seed else SystemEntropy()

    def psd(self) -> Psd:
        """Powers the PSD on."""
        path = self.directory / "psd" / "master.key"
        if not path.exists():
            if self._storage.names():
                raise IntegrityError(f"{path} is missing", hint="Without it the PSD's log cannot be read: restore it")
            write_atomically(path, child(self.entropy, "master key")(MASTER_KEY_LENGTH), 0o600)
        keys = SoftwareKeyStoreNotForProduction(path.read_bytes(), child(self.entropy, "psd key"))
        return Psd(self._storage, keys, entropy=self.entropy, layout=layouts.load(self.config.layout))

    def power_on(self, centre: Centre | None) -> MeterDevice:
        """Powers the meter on, with or without its connection to the data centre."""
        self._store = MeterStore(self.directory / "meter.sqlite")
        layout = layouts.load(self.config.layout)
        return MeterDevice(self.psd(), self._store, rates.built_in(), layout, self.clock, centre)

    @property
    def store(self) -> MeterStore:
        """The meter's store, while it is powered on."""
        assert self._store is not None, "power_on comes first"
        return self._store

    def close(self) -> None:
        """Powers off and lets go of the directory."""
        if self._store is not None:
            self._store.close()
        self._storage.close()


def open_home(directory: Path) -> MeterHome:
    """An existing meter. Raises `UsageError` when there is none, `DirectoryInUse` when another process has it."""
    path = directory / "meter.json"
    if not path.exists():
        raise UsageError(f"there is no meter in {directory}", hint=f"Make one: pes-sim meter new {directory}")
    document = dict(_read_json(path))
    if document.pop("format", None) != FORMAT:
        raise UsageError(f"{path} has another format than {FORMAT}", hint="Open it with the version that made it")
    document.pop("notice", None)
    try:
        config = MeterConfig(**document)
    except TypeError as problem:
        raise UsageError(f"{path} cannot be understood: {problem}") from None
    clock: Clock = StoredClock(directory / "clock.json") if config.clock == "virtual" else SystemClock()
    return MeterHome(directory, config, clock)


def create_home(
    directory: Path, config: MeterConfig, registrar: Registrar, departments: Mapping[str, str], clock: Clock
) -> None:
    """Manufactures a PSD, has it authorized and checked in, and writes the meter down.

    Raises `UsageError` when there is a meter in `directory` already.
    """
    if (directory / "meter.json").exists():
        raise UsageError(f"there is a meter in {directory} already", hint="Take another directory, or remove it")
    home = MeterHome(directory, config, clock)
    try:
        if home._storage.names():
            raise UsageError(f"{directory} holds a meter that was not finished", hint="Remove the directory")
        _manufacture(home, registrar)
        store = MeterStore(directory / "meter.sqlite")
        for code, name in departments.items():
            store.add_department(code, name)
        store.close()
        notice = "SPECIMEN ONLY. A simulated meter; nothing it prints is valid postage."
        document = {"format": FORMAT, "notice": notice, **asdict(config)}
        write_atomically(directory / "meter.json", json.dumps(document, indent=2).encode() + b"\n")
    finally:
        home.close()


def _manufacture(home: MeterHome, registrar: Registrar) -> None:
    psd, config, draw = home.psd(), home.config, child(home.entropy, "manufacture")

    def step(name: str, **request: object) -> dict[str, bytes]:
        return psd.execute(name, request, request_id=draw(16), now=home.clock.now())

    made = step("initialize", psd_serial=config.psd_serial, trust_anchor=registrar.trust_anchor)
    licence = registrar.authorize(
        psd_serial=config.psd_serial, public_key=made["public_key"], nonce=made["nonce"],
        licensing_zip=config.licensing_zip, customer=config.customer, utc_offset_minutes=config.utc_offset_minutes,
    )  # fmt: skip
    step("authorize", message=licence)
    step("checkin_complete", message=registrar.check_in(step("checkin_begin")["message"]))


def _read_json(path: Path) -> Mapping[str, object]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path} cannot be read: {problem}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a JSON object")
    return document
