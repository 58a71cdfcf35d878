"""Reading a layout's TOML document, key by key. What is wrong is noted with its place, and the reading goes on.

So a user sees every mistake of a file at once. What stands in for a value that is wrong is never used: whoever asks
for a value checks `bad` before comparing it with another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Path = tuple[str | int, ...]
"""Where something stands in a document: keys, and places in lists from 0."""
_SHOWN: Final = 60


class Mistake(NamedTuple):
    """What is wrong in a document, where, and what to do. `line` counts from 1; 0 where there is no text."""

    path: Path
    text: str
    hint: str = ""
    line: int = 0


class Document:
    """One table of the file. Takers give the key's value; `done` notes the keys that nobody asked for."""

    def __init__(self, table: object, path: Path, mistakes: list[Mistake]) -> None:
        self.path = path
        self._mistakes = mistakes
        self._taken: set[str] = set()
        self._table: Mapping[str, Any] = {}
        if isinstance(table, Mapping):
            self._table = table
        elif table is not None:
            self.note((), f"{label(path)} must be a table")

    def note(self, at: Path, text: str, hint: str = "") -> None:
        """Notes a mistake at a place within this table."""
        self._mistakes.append(Mistake(self.path + at, text, hint))

    def bad(self, *keys: str) -> bool:
        """Whether something is wrong with one of these keys."""
        places = {(*self.path, key) for key in keys} | {self.path}
        return any(mistake.path in places for mistake in self._mistakes)

    def text(self, key: str, most: int, default: str | None = None) -> str:
        """A text of up to `most` characters, not empty unless that is its default."""
        value = self._take(key, default)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > most or (not value.strip() and default is None):
            self._complain(key, f"a text of 1 to {most} characters")
            return ""
        if not value.isprintable():  # it is shown on terminals and in pictures, which a control character can upset
            self._complain(key, "a text of printable characters")
            return ""
        return value

    def texts(self, key: str, count: int, most: int) -> tuple[str, ...]:
        """Up to `count` texts of up to `most` characters each; none where the key is missing."""
        value = self._take(key, [])
        if not isinstance(value, list) or len(value) > count:
            self._complain(key, f"a list of up to {count} texts")
            return ()
        if not all(isinstance(item, str) and 0 < len(item) <= most and item.isprintable() for item in value):
            self._complain(key, f"a list of texts of 1 to {most} printable characters")
            return ()
        return tuple(value)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            self._complain(key, "true or false")
        return value is True

    def whole(self, key: str, least: int, most: int) -> int:
        """A whole number."""
        value = self._take(key)
        if value is None:
            return least
        if type(value) is not int or not least <= value <= most:
            self._complain(key, f"a whole number from {least} to {most}")
            return least
        return value

    def span(self, key: str, most: int) -> range:
        """Two whole numbers, the first and the last that belong; nothing belongs to an empty list."""
        value = self._take(key)
        if value is None or value == []:
            return range(0)
        if not (isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value)):
            self._complain(key, "two whole numbers")
            return range(0)
        if not 0 <= value[0] <= value[1] <= most:
            self._complain(key, f"two numbers from 0 to {most}, the smaller first")
            return range(0)
        return range(value[0], value[1] + 1)

    def numbers(self, key: str, most: int) -> dict[str, int]:
        """Names with a number of its own each; none where the key is missing."""
        value = self._take(key, {})
        if not isinstance(value, Mapping) or not all(type(n) is int and 0 <= n <= most for n in value.values()):
            self._complain(key, f"names with numbers from 0 to {most}")
            return {}
        if len(set(value.values())) != len(value):
            self._complain(key, "names with a number of its own each")
        if not all(name.isprintable() and name for name in value):
            self._complain(key, "names of printable characters")
            return {}
        return dict(value)

    def constant(self, key: str) -> int | str | None:
        """A whole number or a text; None where the key is missing."""
        self._taken.add(key)
        value = self._table.get(key)
        if value is not None and type(value) is not int and not isinstance(value, str):
            self._complain(key, "a whole number or a text")
            return None
        return value

    def table(self, key: str) -> Document:
        """A table within."""
        return Document(self._take(key), (*self.path, key), self._mistakes)

    def tables(self, key: str, most: int) -> list[Document]:
        """A list of tables, at least one."""
        value = self._take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not value:
            self._complain(key, "a list of tables, at least one")
            return []
        if len(value) > most:
            self.note((key,), self._at(f"{key} stands {len(value)} times, {most} is the most"))
            return []
        return [Document(row, (*self.path, key, number), self._mistakes) for number, row in enumerate(value)]

    def done(self) -> None:
        """Notes every key that nobody asked for."""
        for key in self._table:
            if key not in self._taken:
                self.note((key,), self._at(f"unknown key {key:.{_SHOWN}}"), f"Known: {', '.join(sorted(self._taken))}")

    def _take(self, key: str, default: object = None) -> Any:
        """The key's value, or None, noted, where it is missing and has no default."""
        self._taken.add(key)
        value = self._table.get(key, default)
        if value is None and not self.bad():
            self.note((key,), self._at(f"{key} is missing"))
        return value

    def _complain(self, key: str, wanted: str) -> None:
        self.note((key,), self._at(f"{key} must be {wanted}, not {shown(self._table[key])}"))

    def _at(self, text: str) -> str:
        return f"{label(self.path)}: {text}" if self.path else text


def shown(value: object) -> str:
    """The beginning of a value as a message shows it, whatever a file may hold."""
    try:
        return f"{value!r:.{_SHOWN}}"
    except (ValueError, RecursionError):  # Python writes no number of 5,000 digits, and no table 1,000 tables deep
        return "something too large to be shown"


def label(path: Path) -> str:
    """A place as people say it: "field 3" for the third of them, "the file" for the whole."""
    return " ".join(str(part + 1) if isinstance(part, int) else part for part in path) or "the file"
