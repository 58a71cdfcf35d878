"""The meter's SQLite store: departments, and every piece with who paid for it.

* It is a projection of the PSD's log: what a power cut took from it is read from the log again (`complete_up_to` says
  where to go on). So a piece costs one durable write, in the PSD, and none here.
* A request id is found here as long as the database lives; the PSD itself remembers one segment of its log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pes_sim.errors import StorageFailed
from pes_sim.meter.sqlite_errors import failure

_SCHEMA: Final = """
BEGIN;
CREATE TABLE department (code TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE piece (
  record INTEGER PRIMARY KEY,
  request_id BLOB NOT NULL UNIQUE,
  time INTEGER NOT NULL,
  printed_on TEXT NOT NULL,
  department TEXT NOT NULL REFERENCES department(code),
  mailing_date TEXT NOT NULL,
  mail_class TEXT NOT NULL,
  weight INTEGER NOT NULL,
  destination TEXT NOT NULL,
  postage_mills INTEGER NOT NULL CHECK (postage_mills >= 0),
  indicium BLOB NOT NULL,
  ascending_mills INTEGER NOT NULL,
  descending_mills INTEGER NOT NULL,
  control_sum_mills INTEGER NOT NULL,
  piece_count INTEGER NOT NULL,
  zero_piece_count INTEGER NOT NULL
);
CREATE INDEX piece_by_department ON piece (department, postage_mills);
COMMIT;
"""
_SINCE_2: Final = """
BEGIN;
CREATE TABLE carried (pieces INTEGER NOT NULL, postage_mills INTEGER NOT NULL);
INSERT INTO carried VALUES (0, 0);
PRAGMA user_version = 2;
COMMIT;
"""
_FORMAT: Final = 2
"""1: before the PSD's log was reclaimed, when nothing had to be carried forward. Opening brings it up to date."""

CARRIED: Final = "(carried)"
"""The department of pieces of which nothing but their number and their postage is known any more."""


@dataclass(frozen=True, slots=True)
class StoredPiece:
    """One piece. `time` in microseconds since 1970-01-01 UTC; `printed_on` the device's date then."""

    record: int
    request_id: bytes
    time: int
    printed_on: str
    department: str
    mailing_date: str
    mail_class: str
    weight: int
    destination: str
    postage_mills: int
    indicium: bytes
    ascending_mills: int
    descending_mills: int
    control_sum_mills: int
    piece_count: int
    zero_piece_count: int

    def asked(self) -> dict[str, int | str | bytes]:
        """What was asked for, by the names of the PSD's `dispense`."""
        return {
            "postage_mills": self.postage_mills,
            "mailing_date": self.mailing_date,
            "mail_class": self.mail_class,
            "weight": self.weight,
            "destination": self.destination,
            "reference": self.department.encode(),
        }

    def registers(self) -> dict[str, int]:
        """The registers after the piece, by field name."""
        return {
            "ascending_mills": self.ascending_mills,
            "descending_mills": self.descending_mills,
            "control_sum_mills": self.control_sum_mills,
            "piece_count": self.piece_count,
            "zero_piece_count": self.zero_piece_count,
        }


_NAMES: Final = tuple(StoredPiece.__slots__)
_COLUMNS: Final = ", ".join(_NAMES)
_VALUES: Final = ", ".join("?" * len(_NAMES))
_INSERT: Final = f"INSERT INTO piece ({_COLUMNS}) VALUES ({_VALUES}) ON CONFLICT (record) DO NOTHING"


@dataclass(frozen=True, slots=True)
class DepartmentTotal:
    """A department and what it has used."""

    code: str
    name: str
    pieces: int
    postage_mills: int

    def values(self) -> dict[str, int | str]:
        """By the names of the protocol's fields."""
        return {
            "department": self.code,
            "department_name": self.name,
            "department_pieces": self.pieces,
            "department_mills": self.postage_mills,
        }


_DAMAGED: Final = (
    "Put the meter's database back. Only while the PSD can read its registers may it be set aside, to be made again "
    "from the log: where it cannot, the database is the only evidence of what was printed"
)


class MeterStore:
    """The database in a file, or in memory for `None`. Errors are `StorageFailed` with the file's name.

    A new one has `departments`. One that cannot be opened is tried again by every call where it is to be opened
    `later`; else the constructor raises.
    """

    def __init__(self, path: Path | None, departments: Mapping[str, str] = {}, *, later: bool = False) -> None:
        self._name = str(path or ":memory:")
        self._departments = departments
        self._opened: sqlite3.Connection | None = None
        try:
            self.open()
        except StorageFailed:
            if not later:
                raise

    def open(self) -> None:
        """Opens it, unless it is open. Raises `StorageFailed`."""
        if self._opened is not None:
            return
        db: sqlite3.Connection | None = None
        try:
            db = sqlite3.connect(self._name, check_same_thread=False, isolation_level=None)
            _prepare(db, self._departments)
        except sqlite3.Error as problem:
            if db is not None:
                db.close()
            raise failure(self._name, problem, damaged=_DAMAGED, said=" cannot be used") from None
        self._opened = db

    @property
    def _db(self) -> sqlite3.Connection:
        """While `_errors` has it open."""
        assert self._opened is not None
        return self._opened

    def close(self) -> None:
        """Writes everything back and closes. Nothing to close is no error."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def add_department(self, code: str, name: str) -> None:
        """Opens a department, or renames it. A code is never taken away: pieces refer to it."""
        with self._errors():
            self._db.execute(
                "INSERT INTO department VALUES (?, ?) ON CONFLICT (code) DO UPDATE SET name = excluded.name",
                (code, name),
            )

    def has_department(self, code: str) -> bool:
        """Whether there is one of that code."""
        with self._errors():
            return self._db.execute("SELECT 1 FROM department WHERE code = ?", (code,)).fetchone() is not None

    def departments(self, start: str = "") -> Iterator[DepartmentTotal]:
        """Departments from code `start` on, with their totals, in order of code."""
        with self._errors():
            rows = self._db.execute(
                "SELECT code, name, count(record), coalesce(sum(postage_mills), 0) FROM department"
                " LEFT JOIN piece ON piece.department = code WHERE code >= ? GROUP BY code ORDER BY code",
                (start,),
            ).fetchall()
            carried = self._carried()
        for code, name, pieces, postage in rows:
            more = carried if code == CARRIED else (0, 0)
            yield DepartmentTotal(code, name, pieces + more[0], postage + more[1])

    def add(self, *pieces: StoredPiece) -> None:
        """Takes pieces in, all or none. One whose record is there already is left as it is."""
        rows = [tuple(getattr(piece, name) for name in _NAMES) for piece in pieces]
        with self._errors():
            self._db.execute("BEGIN")
            try:
                self._db.executemany(_INSERT, rows)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def find(self, request_id: bytes) -> StoredPiece | None:
        """The piece that a request id dispensed."""
        with self._errors():
            row = self._db.execute(f"SELECT {_COLUMNS} FROM piece WHERE request_id = ?", (request_id,)).fetchone()
        return StoredPiece(*row) if row else None

    def pieces(self) -> Iterator[StoredPiece]:
        """Every piece, in order."""
        with self._errors():
            for row in self._db.execute(f"SELECT {_COLUMNS} FROM piece ORDER BY record"):
                yield StoredPiece(*row)

    def carry(self, pieces: int, postage_mills: int) -> None:
        """Books pieces that can be found nowhere any more, so that the totals are right: on `CARRIED`."""
        self.add_department(CARRIED, "before the PSD's log begins")
        with self._errors():
            self._db.execute(
                "UPDATE carried SET pieces = pieces + ?, postage_mills = postage_mills + ?", (pieces, postage_mills)
            )

    def complete_up_to(self) -> int:
        """Number of the newest log record up to which no piece is missing here; 0 to look at the log from its start."""
        with self._errors():
            count, pieces, record = self._db.execute(
                "SELECT count(*), coalesce(max(piece_count), 0), coalesce(max(record), 0) FROM piece"
            ).fetchone()
            return int(record) if count + self._carried()[0] == pieces else 0

    def totals(self) -> tuple[int, int]:
        """Pieces, and their postage in mills: what the PSD's piece count and ascending register must say."""
        with self._errors():
            count, postage = self._db.execute("SELECT count(*), coalesce(sum(postage_mills), 0) FROM piece").fetchone()
            carried = self._carried()
        return int(count) + carried[0], int(postage) + carried[1]

    def evidence(self) -> tuple[int, int, int] | None:
        """Postage in mills, pieces, and those of zero value, where the newest piece bears out that none before it is
        missing; None where it does not, or there is none. (Whether pieces after it are missing, nothing here can tell.)
        """
        pieces, postage = self.totals()
        with self._errors():
            newest = self._db.execute(
                "SELECT ascending_mills, piece_count, zero_piece_count FROM piece ORDER BY record DESC LIMIT 1"
            ).fetchone()
        return newest if newest is not None and tuple(newest[:2]) == (postage, pieces) else None

    def printed_by_day(self) -> list[tuple[str, int, int]]:
        """Day, pieces, mills: what a specimen log lists (39 CFR 501.9(b): collected and destroyed daily)."""
        with self._errors():
            return self._db.execute(
                "SELECT printed_on, count(*), sum(postage_mills) FROM piece GROUP BY printed_on ORDER BY printed_on"
            ).fetchall()

    def sync(self) -> None:
        """Makes everything durable, before the PSD is told that its log was taken over."""
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(FULL)")

    def _carried(self) -> tuple[int, int]:
        row = self._db.execute("SELECT pieces, postage_mills FROM carried").fetchone()
        if row is None or not all(type(value) is int for value in row):
            raise sqlite3.DatabaseError("what it carries forward is damaged")
        return row[0], row[1]

    def _errors(self) -> _SqlErrors:
        return _SqlErrors(self)


def _prepare(db: sqlite3.Connection, departments: Mapping[str, str]) -> None:
    # NORMAL: a commit is not synced, so a power cut may take the newest pieces; the PSD's log has them.
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;")
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, 1, _FORMAT):
        raise sqlite3.DatabaseError(f"its format is {found}, this version knows {_FORMAT}")
    if found == 0:
        db.executescript(_SCHEMA)
        db.executemany("INSERT INTO department VALUES (?, ?)", departments.items())
    if found < _FORMAT:
        db.executescript(_SINCE_2)


class _SqlErrors:
    """Has the store open, and turns SQLite's errors into ours, with the file's name."""

    __slots__ = ("store",)

    def __init__(self, store: MeterStore) -> None:
        self.store = store

    def __enter__(self) -> None:
        if self.store._opened is None:
            self.store.open()

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, sqlite3.Error):
            raise failure(self.store._name, problem, damaged=_DAMAGED) from None
