"""Rates: how postage follows from class and weight on a date. Effective-dated data files; no price stands in code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pes_sim.errors import NoRate, UsageError
from pes_sim.meter.files import load, take, toml

_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Category:
    """One rate category. `steps`: (up to this weight in 1/100 oz, postage in mills), rising."""

    name: str
    title: str
    domestic: bool
    steps: tuple[tuple[int, int], ...]

    @property
    def heaviest(self) -> int:
        """The class's weight limit, in 1/100 oz."""
        return self.steps[-1][0]


@dataclass(frozen=True, slots=True)
class RateTable:
    """The rates that hold from `effective` on."""

    version: str
    effective: date
    categories: dict[str, Category]

    def category(self, name: str) -> Category:
        """Raises `NoRate` with the classes there are."""
        found = self.categories.get(name)
        if found is None:
            raise NoRate(f"unknown mail class {name!r}", hint=f"Allowed: {', '.join(self.categories)}")
        return found

    def postage(self, mail_class: str, weight: int) -> int:
        """Mills for a piece of `weight` 1/100 oz. Raises `NoRate`."""
        category = self.category(mail_class)
        if weight > 0:
            for up_to, price in category.steps:
                if weight <= up_to:
                    return price
        raise NoRate(
            f"no rate for {mail_class} of {ounces(weight)} oz", hint=f"Allowed: 0.01 to {ounces(category.heaviest)} oz"
        )


class RateBook:
    """Rate tables by the date from which they hold. Raises `UsageError` for none, or for two of one date."""

    def __init__(self, tables: Sequence[RateTable]) -> None:
        self._tables = sorted(tables, key=lambda table: table.effective)
        if not tables:
            raise UsageError("there is no rate table", hint="Give at least one")
        for table, following in pairwise(self._tables):
            if table.effective == following.effective:
                raise UsageError(f"rate tables {table.version} and {following.version} both begin on {table.effective}")

    @property
    def first(self) -> RateTable:
        """The oldest table."""
        return self._tables[0]

    def on(self, day: date) -> RateTable:
        """The table for a mailing date. Raises `NoRate` before the first."""
        for table in reversed(self._tables):
            if table.effective <= day:
                return table
        raise NoRate(f"no rate table covers {day}", hint=f"The first begins on {self.first.effective}")


def ounces(weight: int) -> str:
    """A weight of 1/100 oz as people read it: "1.00"."""
    return f"{weight // 100}.{weight % 100:02d}"


@cache
def built_in() -> RateBook:
    """The tables that come with the package."""
    return RateBook([load_file(path) for path in sorted((Path(__file__).parent / "rates").glob("*.toml"))])


def load_file(path: Path) -> RateTable:
    """A rate table from a TOML file. Raises `UsageError` naming the file and what is wrong in it."""
    return load(path, _MOST_BYTES, lambda data: _table(toml(data)), "a rate table")


def _table(document: Mapping[str, Any]) -> RateTable:
    categories: dict[str, Category] = {}
    for number, row in enumerate(take(document, "category", list, "the table"), 1):
        category = _category(row, f"category {number}")
        if category.name in categories:
            raise ValueError(f"category {category.name} stands twice")
        categories[category.name] = category
    return RateTable(
        take(document, "version", str, "the table"), take(document, "effective", date, "the table"), categories
    )


def _category(row: Any, where: str) -> Category:
    if type(row) is not dict:
        raise ValueError(f"{where} is not a table")
    steps = take(row, "steps", list, where)
    # No float gets in: a price of 740.5 would lose half a mill, silently.
    whole = all(type(step) is list and [type(part) for part in step] == [int, int] for step in steps)
    weights = [0, *(step[0] for step in steps)] if whole else []
    if not steps or not whole or weights != sorted(set(weights)) or any(price <= 0 for _, price in steps):
        raise ValueError(
            f"{where}: steps must be pairs of whole numbers, weight in 1/100 oz and postage in mills, "
            "with rising weights above 0 and a postage above 0 each"
        )
    pairs = tuple((up_to, price) for up_to, price in steps)
    return Category(take(row, "name", str, where), take(row, "title", str, where),
                    take(row, "domestic", bool, where), pairs)  # fmt: skip
