"""What SQLite's errors mean to whoever keeps the file, in one table: the cause, and what to do about it.

SQLite says "disk I/O error" of a disk without a free byte as well: its shared memory file finds no room there. So the
file system is asked before anybody is sent to look for a broken disk.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from pes_sim.errors import StorageFailed, StorageFull

_ROOM: Final = 1 << 16
"""Bytes that SQLite wants at least, for what it keeps beside a database."""
_BUSY: Final = "Another process has it open: stop that (a backup, a database browser), and try again"
_READ_ONLY: Final = "Let its user write to it and to its directory: chmod u+w, or mount the disk for writing"
_CAUSES: Final = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: "It must be a file that its user may read and write, in a directory that he may write to",
    sqlite3.SQLITE_IOERR: "The disk fails: look at the system's log, and copy the directory to another disk",
}
_WANT_ROOM: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""What SQLite says where it has no room for its other files."""


def failure(path: Path | str, problem: BaseException | None, *, damaged: str, said: str = "") -> StorageFailed:
    """The error for `problem` with the database at `path`, to be raised. `damaged`: what to do about a file that is no
    database, or that is broken. `said` comes between the two, such as " cannot be used".
    """
    code = int(getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code in _WANT_ROOM and _is_full(path)):
        return StorageFull(f"no room in {path}", hint="Free some room on its disk; nothing was booked")
    return StorageFailed(f"{path}{said}: {problem}", hint=_CAUSES.get(code, damaged))


def _is_full(path: Path | str) -> bool:
    try:
        system = os.statvfs(Path(path).parent)
    except OSError:
        return False
    return system.f_bavail * system.f_frsize < _ROOM
