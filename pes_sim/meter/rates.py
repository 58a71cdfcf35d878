"""Rates: how postage follows from class and weight on a date. Effective-dated data files; no price stands in code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from pes_sim.errors import NoRate, UsageError


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
    """Rate tables by the date from which they hold."""

    def __init__(self, tables: Sequence[RateTable]) -> None:
        self._tables = sorted(tables, key=lambda table: table.effective)

    def on(self, day: date) -> RateTable:
        """The table for a mailing date. Raises `NoRate` before the first."""
        for table in reversed(self._tables):
            if table.effective <= day:
                return table
        raise NoRate(f"no rate table covers {day}", hint=f"The first begins on {self._tables[0].effective}")


def ounces(weight: int) -> str:
    """A weight of 1/100 oz as people read it: "1.00"."""
    return f"{weight // 100}.{weight % 100:02d}"


@cache
def built_in() -> RateBook:
    """The tables that come with the package."""
    return RateBook([load_file(path) for path in sorted((Path(__file__).parent / "rates").glob("*.toml"))])


def load_file(path: Path) -> RateTable:
    """A rate table from a TOML file. Raises `UsageError` naming the file and what is wrong in it."""
    import tomllib

    try:
        document = tomllib.loads(path.read_text("utf-8"))
        categories = [_category(row) for row in document["category"]]
        return RateTable(document["version"], document["effective"], {c.name: c for c in categories})
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UsageError(f"{path}: not a rate table: {problem}") from None


def _category(row: dict[str, Any]) -> Category:
    steps = tuple((int(up_to), int(price)) for up_to, price in row["steps"])
    weights = [up_to for up_to, _ in steps]
    if not steps or weights != sorted(set(weights)) or any(price <= 0 for _, price in steps):
        raise ValueError(f"category {row['name']}: steps must rise, with a postage above 0 each")
    return Category(row["name"], row["title"], bool(row["domestic"]), steps)
