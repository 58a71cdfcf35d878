"""The compliance calendar: which construct holds on which day, and the window of dates. Data, in calendar.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final

from pes_sim.meter.files import load, take, toml

_MOST_BYTES: Final = 1 << 17
_MOST_DAYS: Final = 3650


@dataclass(frozen=True, slots=True)
class Regime:
    """What holds for some constructs. Days are None where nothing was decided.

    `decertified`: from when on the systems were not authorised; `withdrawn_by`: the last day one may have been in
    service; `last_valid`: the last day on which what they printed is postage.
    """

    name: str
    constructs: tuple[str, ...]
    basis: str
    source: str
    decertified: date | None = None
    withdrawn_by: date | None = None
    last_valid: date | None = None
    postage: bool = True


@dataclass(frozen=True, slots=True)
class Window:
    """How far the printed date may lie from the day of the scan, in days: after it, and before it.

    Up to `ahead_days` it is a piece that came too early, beyond them one that no meter prints.
    """

    early_days: int
    late_days: int
    ahead_days: int
    basis: str
    source: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """Window, and the regimes."""

    window: Window
    regimes: Sequence[Regime]

    def regime(self, construct: str) -> Regime | None:
        """The one that a construct is of."""
        return next((regime for regime in self.regimes if construct in regime.constructs), None)


@cache
def built_in() -> Calendar:
    """The one that comes with the package."""
    return load_file(Path(__file__).parent / "calendar.toml")


def load_file(path: Path) -> Calendar:
    """A calendar from a TOML file. Raises `UsageError` naming the file and what is wrong in it."""
    return load(path, _MOST_BYTES, _calendar, "a calendar", "The one that comes along is pes_sim/postal/calendar.toml")


def _calendar(data: bytes) -> Calendar:
    document = toml(data)
    rows = take(document, "regime", list, "the file")
    regimes = [_regime(row, f"regime {number}") for number, row in enumerate(rows, 1)]
    window = _window(take(document, "window", dict, "the file"))
    _only(document, ("window", "regime"), "the file")
    return Calendar(window, _disjoint(regimes))


def _disjoint(regimes: Sequence[Regime]) -> Sequence[Regime]:
    named = [construct for regime in regimes for construct in regime.constructs]
    if twice := next((construct for construct in named if named.count(construct) > 1), ""):
        raise ValueError(f"construct {twice} stands twice, and only one regime can hold for it")
    return regimes


def _only(row: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """A day under a name that nobody asks for would be one that never comes."""
    if unknown := sorted(set(row) - set(known)):
        raise ValueError(f"{where} has {unknown[0]!r}, which nobody knows; known: {', '.join(known)}")


def _window(row: Mapping[str, Any]) -> Window:
    _only(row, ("early_days", "late_days", "ahead_days", "basis", "source"), "window")
    days = [take(row, name, int, "window") for name in ("early_days", "late_days", "ahead_days")]
    if not all(0 <= number <= _MOST_DAYS for number in days) or days[0] > days[2]:
        raise ValueError(f"window: days are 0 to {_MOST_DAYS}, and early_days at most ahead_days")
    early, late, ahead = days
    return Window(early, late, ahead, take(row, "basis", str, "window"), take(row, "source", str, "window"))


def _regime(row: Any, where: str) -> Regime:
    if type(row) is not dict:
        raise ValueError(f"{where} is not a table")
    _only(row, ("name", "constructs", "basis", "source", *_DAYS, "postage"), where)
    constructs = take(row, "constructs", list, where)
    if not all(type(construct) is str for construct in constructs):
        raise ValueError(f"{where}: constructs must be texts")
    days = {name: take(row, name, date, where) if name in row else None for name in _DAYS}
    name, basis, source = (take(row, key, str, where) for key in ("name", "basis", "source"))
    postage = take(row, "postage", bool, where) if "postage" in row else True
    return Regime(name, tuple(constructs), basis, source, postage=postage, **days)


_DAYS: Final = ("decertified", "withdrawn_by", "last_valid")
