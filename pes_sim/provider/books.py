"""The provider's database with all that stands on it: opened when it is first needed, one transaction a call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pes_sim.meter.sqlite_errors import failure
from pes_sim.provider.answers import Answers
from pes_sim.provider.decisions import Decider
from pes_sim.provider.ledger import Ledger
from pes_sim.provider.registry import Registry
from pes_sim.provider.store import DAMAGED, check_database, open_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class _Books(NamedTuple):
    """What stands on the open database."""

    engine: Engine
    ledger: Ledger
    registry: Registry
    answers: Answers
    decider: Decider


class OnBooks:
    """What works on the provider's database. A child says what, and when the database is looked at first."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._opening = threading.Lock()
        self._open_books: _Books | None = None

    def close(self) -> None:
        """Lets go of the database."""
        if self._open_books is not None:
            self._open_books.engine.dispose()

    def _check_books(self) -> None:
        """Makes the database where there is none. Raises `StorageFailed` where there is something else."""
        if self._database.exists():
            check_database(self._database)
        else:
            _ = self._books

    @property
    def _books(self) -> _Books:
        """The database, opened when somebody first needs it: loading SQLAlchemy takes longer than the rest of a meter,
        and most that are opened print without ever asking for their provider.
        """
        with self._opening:
            if self._open_books is None:
                engine, metadata = open_engine(self._database)
                ledger, registry, answers = Ledger(metadata), Registry(metadata), Answers(metadata)
                self._open_books = _Books(engine, ledger, registry, answers, Decider(registry, answers, ledger))
            return self._open_books

    @property
    def _engine(self) -> Engine:
        return self._books.engine

    @property
    def _ledger(self) -> Ledger:
        return self._books.ledger

    @property
    def _registry(self) -> Registry:
        return self._books.registry

    @property
    def _answers(self) -> Answers:
        return self._books.answers

    @property
    def _decider(self) -> Decider:
        return self._books.decider

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Commits at its end; an error in it changes nothing. The database's errors become `StorageFailed`."""
        from sqlalchemy.exc import DatabaseError

        try:
            with self._engine.begin() as connection:
                yield connection
        except DatabaseError as problem:
            raise failure(self._database, problem.orig, damaged=f"Nothing was booked. {DAMAGED}") from None
