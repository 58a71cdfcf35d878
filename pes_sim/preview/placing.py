"""Files that were written beside their places are put there: all obstacles are looked for before the first is moved."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pes_sim.errors import UsageError
from pes_sim.meter.replacing import sync_directory


def check(path: Path) -> None:
    """Raises `UsageError` where no file can be put at a path."""
    if reason := obstacle(path):
        raise UsageError(f"{path} cannot be written: {reason}", hint="Give the name of a file")


def obstacle(path: Path) -> str:
    """What keeps a file from being put at a path, as far as it shows; empty for nothing."""
    try:
        if path.exists() and not path.is_file():
            return "it is a directory" if path.is_dir() else "it is no regular file"
        folder, found = os.stat(path.parent), os.lstat(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return str(error.strerror)
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, found.st_uid, folder.st_uid):
        return f"it belongs to user {found.st_uid}, and only they may replace it in that directory"
    return ""


def numbered(path: Path, number: int) -> Path:
    """The name of one file of several."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def already_numbered(path: Path) -> Iterator[Path]:
    """What bears such a name now."""
    before, behind = f"{path.stem}-", path.suffix
    for found in sorted(path.parent.glob(f"{glob.escape(before)}*{glob.escape(behind)}")):
        if found.name[len(before) : len(found.name) - len(behind)].isdecimal():
            yield found


def put(drawn: Sequence[tuple[Path, Path]], *, paid: bool) -> Mapping[Path, str]:
    """Puts each file (first) into its place (second), durably. Gives the files that stay where they are, with why.

    Without `paid` an obstacle keeps all of them from their places: raises `UsageError`. With it every file that can
    be put is.
    """
    if not paid:
        for _, place in drawn:
            check(place)
    stuck = {beside: reason for beside, place in drawn if (reason := obstacle(place))}
    for beside, place in drawn:
        if beside not in stuck:
            try:
                beside.replace(place)
            except OSError as error:
                if not paid:
                    raise
                stuck[beside] = str(error.strerror)
    # A directory may be written to and not be read. And what is stuck has to be told of, whatever else fails.
    with suppress(OSError if stuck else PermissionError):
        sync_directory(drawn[0][1].parent)
    return stuck
