"""A mail job: a CSV file, a row a piece. Read as a whole before anything is printed, so that a bad row costs nothing.

Columns by name, in any order. Every problem says file, line, column, what was found and what is allowed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from pes_sim.errors import MoneyError, NoRate, UsageError
from pes_sim.meter.rates import Category, RateBook, RateTable, ounces
from pes_sim.money import dollars, parse
from pes_sim.psd.piece import DATE_ADVANCE_DAYS

REQUIRED: Final = ("date", "department", "mail_class", "weight_oz", "destination")
OPTIONAL: Final = ("text", "amount")
_MOST_POSTAGE: Final = (1 << 24) - 1
_WEIGHT: Final = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,2})0*)?")
_AHEAD: Final = re.compile(r"\+([0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class JobPiece:
    """One good row. `weight` in 1/100 oz; `amount_mills` 0 for the rate table's postage; `line` in the file."""

    line: int
    mailing_date: str
    department: str
    mail_class: str
    weight: int
    destination: str
    text: str = ""
    amount_mills: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """One bad cell: where it is, what is wrong, and what is allowed. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    name: str
    message: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}, column {self.column} ({self.name}): {self.message}. Allowed: {self.allowed}"


@dataclass(frozen=True, slots=True)
class Job:
    """What a file holds: the pieces of its good rows, and what is wrong with the others."""

    pieces: tuple[JobPiece, ...]
    problems: tuple[Problem, ...]


class _Bad(Exception):
    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.message = message
        self.allowed = allowed


def read_job(path: Path, *, today: date, departments: Collection[str], rates: RateBook) -> Job:
    """Reads the whole file. Raises `UsageError` for one that is no mail job at all."""
    pieces: list[JobPiece] = []
    problems: list[Problem] = []
    reader = _RowReader(today, departments, rates)
    rows = _rows(path)
    _, header = next(rows, (0, []))
    columns = _columns(path, header)
    for line, row in rows:
        if len(row) != len(header):
            problems.append(
                Problem(str(path), line, min(len(row), len(header)) + 1, "row", f"{len(row)} columns found",
                        f"{len(header)}, as in the first line")
            )  # fmt: skip
            continue
        cells = {name: row[index].strip() for name, index in columns.items()}
        piece, bad = reader.read(line, cells)
        problems += [Problem(str(path), line, columns[name] + 1, name, b.message, b.allowed) for name, b in bad]
        if piece is not None:
            pieces.append(piece)
    if not pieces and not problems:
        raise UsageError(f"{path} has no rows below its first line", hint="A row a piece; see examples/mail_job.csv")
    return Job(tuple(pieces), tuple(problems))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not blank."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UsageError(f"{path} is not UTF-8 text (byte {problem.start})", hint="Save it as CSV, UTF-8") from None
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as problem:
            raise UsageError(f"{path}, line {line}: not CSV: {problem}", hint="Is a quotation mark left open?") from None
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield line, row
        line = reader.line_num + 1


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    names = [cell.strip().lower() for cell in header]
    every = ", ".join((*REQUIRED, *(f"{name} (optional)" for name in OPTIONAL)))
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        hint = f"The first line names the columns, separated by commas: {every}"
        raise UsageError(f"{path}, line 1: no column {', '.join(missing)}", hint=hint)
    for index, name in enumerate(names):
        if name not in REQUIRED + OPTIONAL:
            raise UsageError(f"{path}, line 1, column {index + 1}: unknown column {name!r}", hint=f"Known: {every}")
        if name in names[:index]:
            raise UsageError(f"{path}, line 1, column {index + 1}: column {name} stands twice")
    return {name: index for index, name in enumerate(names)}


class _RowReader:
    """Turns a row's cells into a piece, and collects what is wrong with every cell of it."""

    def __init__(self, today: date, departments: Collection[str], rates: RateBook) -> None:
        self._today = today
        self._departments = departments
        self._rates = rates

    def read(self, line: int, cells: Mapping[str, str]) -> tuple[JobPiece | None, list[tuple[str, _Bad]]]:
        bad: list[tuple[str, _Bad]] = []

        def take(name: str, read: Callable[[str], Any]) -> Any:
            try:
                return read(cells.get(name, ""))
            except _Bad as problem:
                bad.append((name, problem))
                return None

        day = take("date", self._date)
        table = self._rates.on(day or self._today)
        category = take("mail_class", lambda cell: _category(table, cell))
        department = take("department", self._department)
        weight = take("weight_oz", lambda cell: _weight(cell, category))
        destination = take("destination", lambda cell: _destination(cell, category))
        rate = table.postage(category.name, weight) if category and weight else 0
        amount = take("amount", lambda cell: _amount(cell, rate))
        if bad:
            return None, bad
        text = "".join(char if char.isprintable() else " " for char in cells.get("text", ""))
        return JobPiece(line, day.isoformat(), department, category.name, weight, destination, text, amount), []

    def _date(self, cell: str) -> date:
        last = self._today + timedelta(days=DATE_ADVANCE_DAYS)
        allowed = f"{self._today} to {last}, today, or +1 to +{DATE_ADVANCE_DAYS} days"
        ahead = _AHEAD.fullmatch(cell)
        try:
            day = (
                self._today if cell.lower() in ("", "today")
                else self._today + timedelta(days=int(ahead[1])) if ahead
                else date.fromisoformat(cell)
            )  # fmt: skip
        except ValueError:
            raise _Bad(f"{cell!r} is not a date", allowed) from None
        if day < self._today:
            raise _Bad(f"{day} is before today", allowed)
        if day > last:
            raise _Bad(f"{day} is more than {DATE_ADVANCE_DAYS} days ahead", allowed)
        try:
            self._rates.on(day)
        except NoRate as problem:
            raise _Bad(problem.message, problem.hint) from None
        return day

    def _department(self, cell: str) -> str:
        if cell not in self._departments:
            raise _Bad(f"unknown department {cell!r}", ", ".join(sorted(self._departments)) or "none is set up")
        return cell


def _category(table: RateTable, cell: str) -> Category:
    try:
        return table.category(cell.lower().replace(" ", "_").replace("-", "_"))
    except NoRate:
        raise _Bad(f"unknown class {cell!r}", ", ".join(table.categories)) from None


def _weight(cell: str, category: Category | None) -> int:
    heaviest = category.heaviest if category else 350
    allowed = f"0.01 to {ounces(heaviest)} oz" + (f" for {category.name}" if category else "")
    found = _WEIGHT.fullmatch(cell)
    if not found:
        raise _Bad(f"{cell!r} is not a weight in ounces above 0, with at most two decimals", allowed)
    weight = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
    if not 0 < weight <= heaviest:
        raise _Bad(f"{cell} oz is {'not above 0' if weight == 0 else 'too heavy'}", allowed)
    return weight


def _destination(cell: str, category: Category | None) -> str:
    digits = cell.replace("-", "").replace(" ", "")
    if category is not None and not category.domestic:
        if digits:
            raise _Bad(f"{cell!r} given for an international piece", "empty: a ZIP Code is a domestic one")
        return ""
    allowed = "a ZIP Code (5 digits), ZIP+4 (9) or delivery point (11)"
    if not (digits.isascii() and digits.isdigit() and len(digits) in (5, 9, 11)):
        lost = " (has a spreadsheet dropped a leading 0?)" if digits.isdigit() and len(digits) in (3, 4, 8, 10) else ""
        raise _Bad(f"{cell!r} is not a destination{lost}", allowed)
    if digits[:5] == "00000":
        raise _Bad("there is no ZIP Code 00000", allowed)
    return digits


def _amount(cell: str, rate: int) -> int:
    if not cell:
        return 0
    allowed = f"{dollars(rate)} (the rate) to {dollars(_MOST_POSTAGE)}, or empty for the rate"
    try:
        amount = parse(cell)
    except MoneyError as problem:
        raise _Bad(problem.message, allowed) from None
    if not max(rate, 1) <= amount <= _MOST_POSTAGE:
        raise _Bad(f"{dollars(amount)} is {'below the rate' if amount <= rate else 'too much'}", allowed)
    return amount
