"""Reading a layout's TOML document, key by key: each is there, of its kind and within its bounds, or is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pes_sim.errors import LayoutError


class Document:
    """One table of the file. `where` begins every complaint; `done` refuses the keys that nobody asked for."""

    def __init__(self, table: object, where: str) -> None:
        if not isinstance(table, Mapping):
            raise LayoutError(f"{where} must be a table")
        self._table: Mapping[str, Any] = table
        self._where = where
        self._taken: set[str] = set()

    def text(self, key: str, most: int, default: str | None = None) -> str:
        """A text of up to `most` characters, not empty unless that is its default."""
        value = self._take(key, default)
        if not isinstance(value, str) or len(value) > most or (not value and default is None):
            raise self._complaint(key, f"a text of 1 to {most} characters")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._take(key)
        if not isinstance(value, bool):
            raise self._complaint(key, "true or false")
        return value

    def whole(self, key: str, least: int, most: int) -> int:
        """A whole number."""
        value = self._take(key)
        if type(value) is not int or not least <= value <= most:
            raise self._complaint(key, f"a whole number from {least} to {most}")
        return value

    def span(self, key: str, most: int) -> range:
        """Two whole numbers, the first and the last that belong."""
        value = self._take(key)
        if not (isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value)):
            raise self._complaint(key, "two whole numbers")
        if not 0 <= value[0] <= value[1] <= most:
            raise self._complaint(key, f"two numbers from 0 to {most}, the smaller first")
        return range(value[0], value[1] + 1)

    def numbers(self, key: str, most: int) -> dict[str, int]:
        """Names with a number of its own each; none where the key is missing."""
        value = self._take(key, {})
        if not isinstance(value, Mapping) or not all(type(n) is int and 0 <= n <= most for n in value.values()):
            raise self._complaint(key, f"names with numbers from 0 to {most}")
        if len(set(value.values())) != len(value):
            raise self._complaint(key, "names with a number of its own each")
        return dict(value)

    def table(self, key: str) -> Document:
        """A table within."""
        return Document(self._take(key), f"{self._where}: {key}")

    def tables(self, key: str) -> list[Document]:
        """A list of tables, at least one."""
        value = self._take(key)
        if not isinstance(value, list) or not value:
            raise self._complaint(key, "a list of tables, at least one")
        return [Document(row, f"{self._where}: {key} {number}") for number, row in enumerate(value, 1)]

    def done(self) -> None:
        """Nothing else is there. Raises `LayoutError` naming what is."""
        unknown = sorted(set(self._table) - self._taken)
        if unknown:
            raise LayoutError(
                f"{self._where}: unknown key {', '.join(unknown)}", hint=f"Known: {', '.join(sorted(self._taken))}"
            )

    def _take(self, key: str, default: object = None) -> Any:
        self._taken.add(key)
        value = self._table.get(key, default)
        if value is None:
            raise LayoutError(f"{self._where}: {key} is missing")
        return value

    def _complaint(self, key: str, wanted: str) -> LayoutError:
        return LayoutError(f"{self._where}: {key} must be {wanted}, not {self._table[key]!r:.60}")
