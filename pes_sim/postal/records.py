"""What the provider and the inspectors tell the post office: meters out of service, refills granted, reprints reported.

A JSON file of one object, `{"meters": [...]}`, an object a meter: `psd_serial`; and, as far as known, `status` with
`since`, `granted_mills` (all refills ever), and `reprints` (payloads in hex, once for each time).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from pes_sim.errors import UsageError
from pes_sim.indicium.codings import Value, iso_date
from pes_sim.meter.files import load
from pes_sim.money import MAX_MILLS

_MOST_BYTES: Final = 1 << 26
_KNOWN: Final = frozenset({"psd_serial", "status", "since", "granted_mills", "reprints"})


class Status(StrEnum):
    """Whether a meter may print."""

    IN_SERVICE = "in service"
    LOST = "lost"
    STOLEN = "stolen"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Meter:
    """One PSD. `since`: the first day of its status; None for always. `granted_mills`: None where nobody says.

    `reprints`: how often each payload was given out once more, by its bytes.
    """

    psd_serial: str
    status: Status = Status.IN_SERVICE
    since: date | None = None
    granted_mills: int | None = None
    reprints: Mapping[bytes, int] = field(default_factory=dict)


class Records:
    """Meters by the serial number of their PSD, as text."""

    def __init__(self, meters: Iterable[Meter] = ()) -> None:
        """Raises `UsageError` for a meter that is listed twice."""
        self._meters: dict[str, Meter] = {}
        for meter in meters:
            key = _key(meter.psd_serial)
            if key in self._meters:
                raise UsageError(f"PSD {meter.psd_serial} is listed twice", hint="Give one entry a meter")
            self._meters[key] = meter

    def __len__(self) -> int:
        return len(self._meters)

    def find(self, psd_serial: Value) -> Meter | None:
        """The entry of that PSD."""
        return self._meters.get(_key(psd_serial.hex() if isinstance(psd_serial, bytes) else str(psd_serial)))


def _key(serial: str) -> str:
    """A serial number however it is written: a stolen meter is not missed for the zeros before its number."""
    return serial.lstrip("0") or serial[:1]


def load_file(path: Path) -> Records:
    """Records from a JSON file. Raises `UsageError` naming the file, the entry and what is wrong in it."""
    return load(path, _MOST_BYTES, _records, "the records of meters", "docs/acceptance.md shows one")


def _records(data: bytes) -> Records:
    import json

    document = json.loads(data, object_pairs_hook=_once)
    if type(document) is not dict or type(document.get("meters")) is not list or len(document) != 1:
        raise ValueError('it must be one object with the list "meters" and nothing else')
    return Records(_meter(row, f"meter {number}") for number, row in enumerate(document["meters"], 1))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; the last of two keys would quietly take the place of the first."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return found


def _meter(row: Any, where: str) -> Meter:
    if type(row) is not dict:
        raise ValueError(f"{where} is no object")
    if unknown := sorted(set(row) - _KNOWN):
        raise ValueError(f"{where} has {unknown[0]!r}, which nobody knows; known: {', '.join(sorted(_KNOWN))}")
    serial = row.get("psd_serial")
    if type(serial) not in (int, str) or not re.fullmatch(r"[!-~]+( +[!-~]+)*", str(serial)) or str(serial)[0] == "-":
        raise ValueError(f"{where} needs psd_serial, a number or a text, without blanks around it")
    return Meter(str(serial), _status(row, where), _since(row, where), _granted(row, where), _reprints(row, where))


def _status(row: Mapping[str, Any], where: str) -> Status:
    try:
        return Status(row.get("status", Status.IN_SERVICE))
    except ValueError:
        raise ValueError(f"{where}: status must be one of {', '.join(Status)}") from None


def _since(row: Mapping[str, Any], where: str) -> date | None:
    if row.get("since") is None:
        return None
    try:
        return iso_date(row["since"])
    except (TypeError, ValueError):
        raise ValueError(f"{where}: since must be a date, YYYY-MM-DD") from None


def _granted(row: Mapping[str, Any], where: str) -> int | None:
    granted = row.get("granted_mills")
    if granted is None:
        return None
    if type(granted) is not int or not 0 <= granted <= MAX_MILLS:
        raise ValueError(f"{where}: granted_mills must be a whole number of mills, 0 to {MAX_MILLS}")
    return granted


def _reprints(row: Mapping[str, Any], where: str) -> Mapping[bytes, int]:
    reprints = row.get("reprints", [])
    try:
        if type(reprints) is not list:
            raise TypeError
        return Counter(bytes.fromhex(text) for text in reprints)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: reprints must be a list of payloads in hex") from None
