"""A post office's scans in an SQLite file, for one process or several.

* One turn is one write transaction, begun before anything is looked up: two scanners with the same copy at the same
  moment cannot both be told that it is new.
* A commit is synced (synchronous=FULL) before the turn ends, and so before anybody is answered.
* A file that is somebody else's database is refused, and nothing is written into it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Any, Final

from pes_sim.errors import StorageFailed
from pes_sim.meter.sqlite_errors import failure
from pes_sim.postal.assessment import Assessment
from pes_sim.postal.case import Case, Earlier, Paid, Registers, Seen
from pes_sim.postal.store import MOST_COPIES, Entry, Known, digest, entry, known

_APPLICATION: Final = 0x50455341
"""Written into the file: which program's database it is."""
_FORMAT: Final = 3
_WAIT: Final = 30.0
"""Seconds for which another process's turn is waited for."""
_SCHEMA: Final = (
    """CREATE TABLE scan (
  number INTEGER PRIMARY KEY,
  scan_id TEXT NOT NULL UNIQUE,
  day TEXT NOT NULL,
  payload BLOB NOT NULL,
  digest BLOB NOT NULL,
  mailpiece TEXT NOT NULL,
  psd TEXT NOT NULL,
  piece_count INTEGER,
  ascending INTEGER,
  descending INTEGER,
  postage INTEGER,
  due INTEGER,
  tracking TEXT NOT NULL,
  mailing_date TEXT,
  genuine INTEGER NOT NULL,
  bears INTEGER NOT NULL,
  assessment TEXT NOT NULL
)""",
    "CREATE INDEX scan_by_payload ON scan (digest, mailpiece)",
    "CREATE INDEX scan_by_bearing_payload ON scan (digest, mailpiece) WHERE bears",
    "CREATE INDEX scan_by_piece ON scan (psd, piece_count, digest) WHERE genuine AND piece_count IS NOT NULL",
    "CREATE INDEX scan_by_registers ON scan (psd, piece_count, ascending)"
    " WHERE genuine AND piece_count IS NOT NULL AND ascending IS NOT NULL AND postage IS NOT NULL",
    "CREATE INDEX scan_by_tracking ON scan (tracking, mailpiece, digest) WHERE bears AND tracking <> ''",
    "CREATE INDEX scan_by_mailpiece ON scan (mailpiece) WHERE bears",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)
_INSERT: Final = f"INSERT INTO scan ({', '.join(Entry._fields)}) VALUES ({', '.join('?' * len(Entry._fields))})"
_DAMAGED: Final = "Is it a post office's store of scans? Put its last good copy back, or name a new file"
_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""The second is what Python makes of an error of SQLite's that quotes a damaged name."""
_NEIGHBOUR: Final = (
    "SELECT piece_count, ascending, descending, postage FROM scan WHERE genuine AND psd = ? AND piece_count {} ?"
    " AND piece_count IS NOT NULL AND ascending IS NOT NULL AND postage IS NOT NULL"
    " ORDER BY piece_count {}, ascending {}, number {} LIMIT 1"
)
# Of several with one piece count, that whose register is the hardest to agree with.
_BEFORE: Final = _NEIGHBOUR.format("<", "DESC", "DESC", "DESC")
_AFTER: Final = _NEIGHBOUR.format(">", "ASC", "ASC", "ASC")

_SAME: Final = "FROM scan WHERE digest = ?1 AND ?3 IS NOT NULL"  # names the day, as the other does
_SAME_GENUINE: Final = "FROM scan WHERE digest = ?1 AND bears AND (bears = 1 OR day = ?3)"
"""As `Entry.bears_on`."""
_SAME_COUNT: Final = tuple(
    "SELECT scan_id, day FROM scan WHERE genuine AND piece_count IS NOT NULL AND psd = ? AND piece_count = ?"
    f" AND digest {side} ? ORDER BY digest, number LIMIT 1"
    for side in ("<", ">")
)
_SAME_TRACKING: Final = (
    "SELECT scan_id, day FROM scan WHERE bears AND bears = 1 AND tracking <> '' AND tracking = ?1 AND digest <> ?2"
    " AND (?3 = '' OR mailpiece <> ?3) ORDER BY mailpiece, digest, number LIMIT 1"
)
_PAID: Final = (
    "SELECT coalesce(sum(postage), 0), count(nullif(postage, 0)),"
    " max(CASE WHEN psd = ?3 AND piece_count > ?4 THEN NULL ELSE mailing_date END),"
    " count(*) - count(nullif(postage, 0)), coalesce(max(due), 0),"
    " min(CASE WHEN postage <> 0 THEN mailing_date END), min(CASE WHEN postage <> 0 THEN NULL ELSE mailing_date END)"
    " FROM scan WHERE bears AND mailpiece = ?1 AND digest <> ?2"
)
_BEARS_NO_MORE: Final = "UPDATE scan SET bears = 0 WHERE bears AND digest = ? AND mailpiece = ?"


class SqliteScans:
    """The store in a file, which is made where there is none; None is one in memory. Errors are `StorageFailed`."""

    def __init__(self, path: Path | None) -> None:
        self._name = str(path or ":memory:")
        self._turn = Lock()
        db: sqlite3.Connection | None = None
        try:
            # Absolute, or SQLite would take a file of the name ":memory:" for none.
            place = ":memory:" if path is None else str(path.absolute())
            db = sqlite3.connect(place, timeout=_WAIT, check_same_thread=False, isolation_level=None)
            _prepare(db)
        except _ERRORS as problem:
            if db is not None:
                db.close()
            raise self._failure(problem, " cannot be used") from None
        self._db = db

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        with self._turn:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._db.execute("COMMIT")
                finally:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
            except _ERRORS as problem:
                raise self._failure(problem) from None

    def _failure(self, problem: Exception, said: str = "") -> StorageFailed:
        if isinstance(problem, UnicodeDecodeError):
            problem = sqlite3.DatabaseError("its tables are damaged")
        return failure(self._name, problem, damaged=_DAMAGED, said=said)

    def find(self, scan_id: str) -> Known | None:
        row = self._first("SELECT payload, assessment, day, mailpiece FROM scan WHERE scan_id = ?", scan_id)
        if row is None:
            return None
        try:
            return known(*row)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise sqlite3.DatabaseError(f"what it has of scan {scan_id} is damaged") from None

    def earlier(self, case: Case) -> Case:
        key, piece, day = digest(case), case.scan.mailpiece, case.scan.day.isoformat()
        same = _SAME_GENUINE if case.genuine else _SAME
        copies, first = self._copies(same, key, piece, day)
        again = piece and self._first(f"SELECT 1 {same} AND mailpiece = ?2 LIMIT 1", key, piece, day)
        before, after = self._neighbours(case)
        return replace(
            case,
            earlier=Earlier(copies, first, bool(again), self._same_count(case, key), self._same_tracking(case, key),
                            before, after, self._paid(case, key)),
        )  # fmt: skip

    def forget(self, scan_id: str) -> None:
        self._db.execute("DELETE FROM scan WHERE scan_id = ?", (scan_id,))

    def add(self, case: Case, assessment: Assessment) -> None:
        new = entry(case, assessment)
        if new.bears and new.mailpiece:
            self._db.execute(_BEARS_NO_MORE, (new.digest, new.mailpiece))
        self._db.execute(_INSERT, new)

    def _first(self, query: str, *values: object) -> Any:
        return self._db.execute(query, values).fetchone()

    def _copies(self, same: str, key: bytes, piece: str, day: str) -> tuple[int, Seen | None]:
        """`piece` is empty for a scan of which nobody knows on what it was: all others are copies then."""
        others = f"{same} AND (?2 = '' OR mailpiece <> ?2)"
        count = self._first(f"SELECT count(*) FROM (SELECT 1 {others} LIMIT {MOST_COPIES})", key, piece, day)[0]
        return count, self._seen(f"SELECT scan_id, day {others} ORDER BY mailpiece, number LIMIT 1", key, piece, day)

    def _same_count(self, case: Case, key: bytes) -> Seen | None:
        if case.piece_count is None:
            return None
        # On either side of the digest, not "another one": a payload copied a million times is not looked through.
        found = (self._seen(query, case.psd, case.piece_count, key) for query in _SAME_COUNT)
        return next((seen for seen in found if seen is not None), None)

    def _same_tracking(self, case: Case, key: bytes) -> Seen | None:
        if not case.tracking_number:
            return None
        return self._seen(_SAME_TRACKING, case.tracking_number, key, case.scan.mailpiece)

    def _seen(self, query: str, *values: object) -> Seen | None:
        row = self._first(query, *values)
        return None if row is None else Seen(str(row[0]), _day(row[1]))

    def _neighbours(self, case: Case) -> Sequence[Registers | None]:
        own = case.registers
        if own is None:
            return None, None
        rows = (self._first(query, case.psd, own.piece_count) for query in (_BEFORE, _AFTER))
        return [None if row is None else _registers(row) for row in rows]

    def _paid(self, case: Case, key: bytes) -> Paid:
        piece = case.scan.mailpiece
        if not piece:
            return Paid()
        row = self._first(_PAID, piece, key, case.psd, case.piece_count)
        latest, oldest, redated = (None if row[n] is None else _day(row[n]) for n in (2, 5, 6))
        return Paid(_whole(row[0]), row[1], latest, row[3], _whole(row[4]), oldest, redated)


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("BEGIN IMMEDIATE")  # or two that begin at once would both make the tables
    try:
        found = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if found == [0, 0] and not tables:
            for statement in _SCHEMA:
                db.execute(statement)
        elif found[0] != _APPLICATION:
            raise sqlite3.DatabaseError("it is another program's database")
        elif found[1] != _FORMAT:
            raise sqlite3.DatabaseError(f"its format is {found[1]}, this version knows {_FORMAT}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    # Faster, and as durable. While another process has just begun it stays as it is: the next to open it tries again.
    with contextlib.suppress(sqlite3.OperationalError):
        db.execute("PRAGMA journal_mode = WAL")


def _whole(value: object) -> int:
    """A number out of a file that anybody may have written."""
    if type(value) is not int:
        raise sqlite3.DatabaseError("a number in it is none")
    return value


def _day(value: object) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise sqlite3.DatabaseError("a day in it is none") from None


def _registers(row: Sequence[object]) -> Registers:
    count, ascending, descending, postage = row
    left = None if descending is None else _whole(descending)
    return Registers(_whole(count), _whole(ascending), left, _whole(postage))
