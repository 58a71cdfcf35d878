"""A data file that somebody wrote (rates, a calendar, records): small, and a mistake in it is named with the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

from pes_sim.errors import UsageError

T = TypeVar("T")
_KINDS: Final = {dict: "table", list: "array", str: "string", date: "date", bool: "boolean", int: "integer"}


def load(path: Path, most: int, make: Callable[[bytes], T], what: str, hint: str = "") -> T:
    """What `make` makes of a file of at most so many bytes; `what` it should be. Raises `UsageError` naming the file,
    for one that cannot be read and for what `make` raises: `ValueError`, `UsageError`, or that it is nested too deep.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    try:
        if len(data) > most:
            raise ValueError(f"more than {most} bytes")
        return make(data)
    except UsageError as problem:
        raise UsageError(f"{path}: {problem.message}", hint=problem.hint) from None
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{path}: not {what}: {problem}", hint=hint) from None


def toml(data: bytes) -> dict[str, Any]:
    """The document. Raises `ValueError`."""
    import tomllib

    return tomllib.loads(data.decode("utf-8"))


def take(row: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """A value of that very kind, and not empty. Raises `ValueError` naming `where` it is missing."""
    if type(row.get(name)) is not kind or (not row[name] and kind not in (bool, int)):
        raise ValueError(f"{where} needs {name}, a TOML {_KINDS[kind]}")
    return row[name]
