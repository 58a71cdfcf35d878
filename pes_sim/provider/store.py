"""The provider's tables, in SQLite through SQLAlchemy. Amounts in mills, instants in microseconds since 1970 UTC."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pes_sim.errors import StorageFailed
from pes_sim.meter.sqlite_errors import failure

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData

DAMAGED: Final = "Is it a provider's database? Put its last good copy back: nothing else knows what was granted"


def check_database(path: Path) -> None:
    """Raises `StorageFailed` for a file that is no database, without loading what `open_engine` needs.

    Nothing is made beside it, as a lock or a log: on a full disk there is no room for it, and most that open a meter
    never ask their provider anything.
    """
    import sqlite3

    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            opened.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as problem:
        raise unusable(path, problem) from None


def unusable(path: Path | None, problem: BaseException | None) -> StorageFailed:
    """The error for a database that cannot be opened."""
    return failure(path or "", problem, damaged=DAMAGED, said=" cannot be used")


def open_engine(path: Path | None) -> tuple[Engine, MetaData]:
    """The database, with its tables made where they are missing. `None` is a database in memory."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DatabaseError
    from sqlalchemy.pool import StaticPool

    if path is None:
        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _settings(connection: object, _: object) -> None:
        # A grant that was sent must still be known after a power cut, or the same request could be granted twice.
        connection.isolation_level = None  # type: ignore[attr-defined]  # the driver would begin too late, see below
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Locked before the balance is read: else two refills at once could both find it high enough.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    metadata = _tables()
    try:
        metadata.create_all(engine)
    except DatabaseError as problem:
        raise unusable(path, problem.orig) from None
    return engine, metadata


def _tables() -> MetaData:
    from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table

    metadata = MetaData()
    Table(
        "account", metadata,
        Column("customer", String, primary_key=True),
    )  # fmt: skip
    Table(
        "entry", metadata,
        Column("number", Integer, primary_key=True),
        Column("customer", String, ForeignKey("account.customer"), nullable=False),
        Column("time", Integer, nullable=False),
        Column("amount_mills", Integer, CheckConstraint("amount_mills <> 0"), nullable=False),
        Column("what", String, nullable=False),
    )  # fmt: skip
    Table(
        "meter", metadata,
        Column("psd_serial", Integer, primary_key=True),
        Column("customer", String, ForeignKey("account.customer"), nullable=False),
        Column("certificate_serial", Integer, unique=True, nullable=False),
        Column("certificate", LargeBinary, nullable=False),
        Column("public_point", LargeBinary, nullable=False),
        Column("message_point", LargeBinary, nullable=False),
        Column("licensing_zip", String, nullable=False),
        Column("message_number", Integer, nullable=False, default=0),
        Column("granted_mills", Integer, nullable=False, default=0),
        Column("ascending_mills", Integer, nullable=False, default=0),
        Column("descending_mills", Integer, nullable=False, default=0),
        Column("control_sum_mills", Integer, nullable=False, default=0),
        Column("piece_count", Integer, nullable=False, default=0),
        Column("zero_piece_count", Integer, nullable=False, default=0),
        Column("suspicion", String, nullable=False, default=""),
        Column("withdrawn", Integer, nullable=False, default=0),
        Column("log_sequence", Integer, nullable=False, default=0),
        Column("last_report", LargeBinary, nullable=False, default=b""),
        Column("last_contact", Integer, nullable=False, default=0),
    )  # fmt: skip
    Table(
        "answer", metadata,
        Column("psd_serial", Integer, ForeignKey("meter.psd_serial"), primary_key=True),
        Column("nonce", LargeBinary, primary_key=True),
        Column("message_number", Integer, nullable=False),
        Column("request", LargeBinary, nullable=False),
        Column("kind", String, nullable=False),
        Column("reply", LargeBinary, nullable=False),
        Column("paid_by", String, nullable=False),
        Column("amount_mills", Integer, nullable=False),
        Index("answer_by_number", "psd_serial", "message_number"),
    )  # fmt: skip
    Table(
        "recovery", metadata,
        Column("number", Integer, primary_key=True),
        Column("psd_serial", Integer, ForeignKey("meter.psd_serial"), nullable=False, index=True),
        Column("time", Integer, nullable=False),
        Column("newest_number", Integer, nullable=False),
        Column("log_sequence", Integer, nullable=False),
        Column("ascending_mills", Integer, nullable=False),
        Column("descending_mills", Integer, nullable=False),
        Column("control_sum_mills", Integer, nullable=False),
        Column("piece_count", Integer, nullable=False),
        Column("zero_piece_count", Integer, nullable=False),
    )  # fmt: skip
    Table(
        "settlement", metadata,
        Column("psd_serial", Integer, ForeignKey("meter.psd_serial"), primary_key=True),
        Column("time", Integer, nullable=False),
        Column("ascending_mills", Integer, nullable=False),
        Column("piece_count", Integer, nullable=False),
        Column("zero_piece_count", Integer, nullable=False),
        Column("amount_mills", Integer, nullable=False),
    )  # fmt: skip
    return metadata
