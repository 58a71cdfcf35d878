"""What a meter is made of, as `meter.json` says it: read, and checked whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from pes_sim.clock import parse_iso
from pes_sim.errors import HostileDirectory, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.psd.fields import BY_NAME, check
from pes_sim.psd.manufacture import check_profile
from pes_sim.psd.owned import quoted, read_regular
from pes_sim.psd.piece import check_for_new, signing
from pes_sim.psd.policy import Regime
from pes_sim.psd.profile import Profile

FORMAT: Final = 1
RESTORE: Final = "Put back the file that was made with the meter"
_STARTS: Final = ("1970-01-02", "9900-01-01")
"""A virtual clock begins between these: certificates made then must have dates that exist."""


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
    profile: str = Profile.FIPS_140_2.value
    regime: str = Regime.IMI.value
    key_check: str = ""
    """Tells this meter's master key from another's."""
    secret_check: str = ""
    """The same for `meter.key`: the PSD counts wrong proofs, so that another meter's secret is not even tried."""


def check_new(config: MeterConfig, departments: Mapping[str, str], start: int | None) -> None:
    """Raises `UsageError`, `FieldError` or `LayoutError` for what a new meter cannot be made of."""
    if not (len(config.licensing_zip) == 5 and config.licensing_zip.isascii() and config.licensing_zip.isdigit()):
        raise UsageError(f"licensing ZIP {config.licensing_zip!r} must be 5 digits", hint="For example 20260")
    for name in ("psd_serial", "customer", "utc_offset_minutes"):
        check(BY_NAME[name], getattr(config, name))
    for problem in _unknown_rules(config):
        raise UsageError(problem)
    for code, name in departments.items():
        check(BY_NAME["department"], code)
        check(BY_NAME["department_name"], name)
    for text in (config.customer, *departments, *departments.values()):
        if not text or not text.isprintable():
            raise UsageError(f"{text!r} is no name", hint="Allowed: printable characters")
    for code in departments:
        check(BY_NAME["reference"], code.encode())
    layout = layouts.load(config.layout)
    check_for_new(layout, config.psd_serial)
    check_profile(Profile(config.profile), signing(layout).curve)
    first, last = (parse_iso(day) for day in _STARTS)
    if start is not None and not first <= start <= last:
        raise UsageError("the virtual clock cannot begin there", hint=f"Allowed: {_STARTS[0]} to {_STARTS[1]}")


def read_config(directory: Path) -> MeterConfig:
    """What `meter.json` says. Raises `UsageError` where there is none, or it is not what it must be."""
    path = directory / "meter.json"
    try:
        document = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        hint = f"Make one: pes-sim meter new {quoted(directory)}"
        raise UsageError(f"there is no meter in {directory}", hint=hint) from None
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    if document.pop("format", None) != FORMAT:
        raise UsageError(f"{path} has another format than {FORMAT}", hint="Open it with the version that made it")
    document.pop("notice", None)
    known = {field.name: field for field in fields(MeterConfig)}
    wrong = [name for name in document if name not in known]
    wrong += [name for name, field in known.items() if type(document.get(name, field.default)).__name__ != field.type]
    if wrong or document.get("clock", "real") not in ("real", "virtual"):
        raise UsageError(f"{path}: {', '.join(wrong) or 'clock'} is not what it must be", hint=RESTORE)
    config = MeterConfig(**document)
    for fault in (*_unknown_rules(config), *_out_of_range(config)):
        raise UsageError(f"{path}: {fault}", hint=RESTORE)
    return config


def _unknown_rules(config: MeterConfig) -> Iterator[str]:
    for name, kind in (("profile", Profile), ("regime", Regime)):
        value = getattr(config, name)
        if value not in list(kind):
            yield f"{name} {value!r} is unknown; known: {', '.join(kind)}"


def _out_of_range(config: MeterConfig) -> Iterator[str]:
    for name in ("psd_serial", "utc_offset_minutes"):
        value, field = getattr(config, name), BY_NAME[name]
        if not field.least <= value <= field.limit:
            yield f"{name} {value} is out of range; allowed: {field.least} to {field.limit}"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `UsageError`, or `OSError` where the file cannot be read."""
    try:
        document = json.loads(read_regular(path))
    except HostileDirectory as problem:
        raise UsageError(problem.message, hint=problem.hint) from None
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{path} is not JSON: {problem}", hint=RESTORE) from None
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a JSON object", hint=RESTORE)
    return document
