"""A mail job: a CSV file, a row a piece. Read as a whole before anything is printed, so that a bad row costs nothing.

Columns by name, in any order. Every problem says file, line, column, what was found and what is allowed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from pes_sim.errors import MoneyError, NoRate, UsageError
from pes_sim.indicium.layout import Layout
from pes_sim.meter.rates import Category, RateBook, RateTable, ounces
from pes_sim.money import dollars, parse
from pes_sim.psd.piece import DATE_ADVANCE_DAYS

REQUIRED: Final = ("date", "department", "mail_class", "weight_oz", "destination")
OPTIONAL: Final = ("text", "amount", "tracking_number", "extra_services", "recipient", "sender")
ADDRESS_LINES: Final = {"recipient": 4, "sender": 3}
"""Lines that an address may have; "|" or a line break stands between two."""
ADDRESS_LENGTH: Final = 40
"""Characters of such a line. More would be too small to read on a label."""
_MOST_POSTAGE: Final = (1 << 24) - 1
_WEIGHT: Final = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,2})0*)?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AHEAD: Final = re.compile(r"\+([0-9]{1,4})")
_DESTINATION: Final = re.compile(r"([0-9]{5})(?:[- ]?([0-9]{4})(?:[- ]?([0-9]{2}))?)?")
_ZIP_AT_END: Final = re.compile(r"(?:^|[^0-9-])([0-9]{5})(?:-([0-9]{4}))?$", re.ASCII)
_LOST_ZERO: Final = re.compile(r"[0-9]{3,4}(?:[- ]?[0-9]{4}(?:[- ]?[0-9]{2})?)?")
_LONGEST: Final = 40
"""Of a bad cell, this many characters are shown."""


@dataclass(frozen=True, slots=True)
class JobPiece:
    """One good row. `weight` in 1/100 oz; `amount_mills` 0 for the rate table's postage; `line` in the file. The
    addresses are lines, with line breaks between them.
    """

    line: int
    mailing_date: str
    department: str
    mail_class: str
    weight: int
    destination: str
    text: str = ""
    amount_mills: int = 0
    tracking_number: str = ""
    extra_services: str = ""
    recipient: str = ""
    sender: str = ""


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
        where = f"{self.file}, line {self.line}, column {self.column} ({self.name})"
        return f"{where}: {self.message}. Allowed: {self.allowed}"


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


def read_job(
    path: Path, *, today: date, departments: Collection[str], rates: RateBook, layout: Layout | None = None
) -> Job:
    """Reads the whole file. Raises `UsageError` for one that is no mail job at all.

    `layout`: the meter's; without it a tracking number or extra services are taken as they are.
    """
    pieces: list[JobPiece] = []
    problems: list[Problem] = []
    reader = _RowReader(today, departments, rates, layout)
    rows = read_rows(path)
    first, header = next(rows, (1, []))
    columns = _columns(path, first, header)
    for line, row in rows:
        if len(row) != len(header):
            problems.append(
                Problem(str(path), line, min(len(row), len(header)) + 1, "row", f"{len(row)} columns found",
                        f"{len(header)}, as in line {first}")
            )  # fmt: skip
            continue
        cells = {name: row[index].strip() for name, index in columns.items()}
        piece, bad = reader.read(line, cells)
        problems += [Problem(str(path), line, columns[name] + 1, name, b.message, b.allowed) for name, b in bad]
        if piece is not None:
            pieces.append(piece)
    if not pieces and not problems:
        raise UsageError(f"{path} has no rows below line {first}", hint="A row a piece; see examples/mail_job.csv")
    return Job(tuple(pieces), tuple(problems))


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row of a CSV file that is not blank. Raises `UsageError`."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UsageError(f"{path} is not UTF-8 text (byte {problem.start})", hint="Save it as CSV, UTF-8") from None
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    # Lines end where CSV says so; `str.splitlines` would cut a text at characters such as U+2028, too.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as problem:
            hint = "Is a quotation mark left open?"
            raise UsageError(f"{path}, line {line}: not CSV: {problem}", hint=hint) from None
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield line, row
        line = reader.line_num + 1


def _columns(path: Path, line: int, header: list[str]) -> dict[str, int]:
    names = [cell.strip().lower() for cell in header]
    every = ", ".join((*REQUIRED, *(f"{name} (optional)" for name in OPTIONAL)))
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        hint = f"The first line names the columns, separated by commas: {every}"
        raise UsageError(f"{path}, line {line}: no column {', '.join(missing)}", hint=hint)
    for index, name in enumerate(names):
        where = f"{path}, line {line}, column {index + 1}"
        if name not in REQUIRED + OPTIONAL:
            raise UsageError(f"{where}: unknown column {_shown(name)}", hint=f"Known: {every}")
        if name in names[:index]:
            raise UsageError(f"{where}: column {name} stands twice", hint="Remove one of them")
    return {name: index for index, name in enumerate(names)}


def _shown(cell: str) -> str:
    """A cell in an error: quoted, its control characters visible, and not longer than a line."""
    return repr(cell) if len(cell) <= _LONGEST else f"{cell[:_LONGEST]!r}… ({len(cell)} characters)"


class _RowReader:
    """Turns a row's cells into a piece, and collects what is wrong with every cell of it."""

    def __init__(
        self, today: date, departments: Collection[str], rates: RateBook, layout: Layout | None = None
    ) -> None:
        self._layout = layout
        self._codecs = {name: encode for name, _, _, encode, _ in layout.codecs} if layout else {}
        self._today = today
        self._last = date.fromordinal(min(today.toordinal() + DATE_ADVANCE_DAYS, date.max.toordinal()))
        self._departments = sorted(departments)
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
        # A row without a good date is read on: all that is wrong with it is told at once.
        table = self._rates.on(day or max(self._today, self._rates.first.effective))
        category = take("mail_class", lambda cell: _category(table, cell))
        department = take("department", self._department)
        weight = take("weight_oz", lambda cell: _weight(cell, category))
        destination = take("destination", lambda cell: _destination(cell, category))
        rate = table.postage(category.name, weight) if category and weight else None
        amount = take("amount", lambda cell: _amount(cell, rate))
        tracking = take("tracking_number", lambda cell: self._besides("tracking_number", "".join(cell.split())))
        extra = take("extra_services", lambda cell: self._besides("extra_services", cell))
        recipient = take("recipient", lambda cell: _recipient(cell, destination))
        sender = take("sender", lambda cell: _address("sender", cell))
        if bad:
            return None, bad
        return JobPiece(
            line, day.isoformat(), department, category.name, weight, destination, _printable(cells.get("text", "")),
            amount, tracking, extra, recipient, sender,
        ), []  # fmt: skip

    def _date(self, cell: str) -> date:
        allowed = f"{self._today} to {self._last}, today, or +1 to +{DATE_ADVANCE_DAYS} days"
        ahead = _AHEAD.fullmatch(cell)
        try:
            if ahead:
                day = self._today + timedelta(days=int(ahead[1]))
            elif cell.lower() == "today":
                day = self._today
            elif _DATE.fullmatch(cell):
                day = date.fromisoformat(cell)
            else:
                raise ValueError
        except (ValueError, OverflowError):
            raise _Bad(f"{_shown(cell)} is not a date", allowed) from None
        if day < self._today:
            raise _Bad(f"{day} is before today", allowed)
        if day > self._last:
            raise _Bad(f"{day} is more than {DATE_ADVANCE_DAYS} days ahead", allowed)
        try:
            self._rates.on(day)
        except NoRate as problem:
            raise _Bad(problem.message, problem.hint) from None
        return day

    def _department(self, cell: str) -> str:
        if cell not in self._departments:
            more = ", …" if len(self._departments) > 12 else ""
            raise _Bad(
                f"unknown department {_shown(cell)}", ", ".join(self._departments[:12]) + more or "none is set up"
            )
        return cell

    def _besides(self, name: str, cell: str) -> str:
        """What only some layouts have a place for."""
        if cell and self._layout is not None:
            if name not in self._codecs:
                raise _Bad(f"{_shown(cell)} has no place in an indicium of layout {self._layout.name}", "empty")
            try:
                self._codecs[name](cell)
            except ValueError as problem:
                allowed = str(problem).removeprefix("must be ")
                raise _Bad(f"{_shown(cell)} cannot be taken", f"{allowed}; or empty") from None
        return cell


def _category(table: RateTable, cell: str) -> Category:
    try:
        return table.category(cell.lower().replace(" ", "_").replace("-", "_"))
    except NoRate:
        raise _Bad(f"unknown class {_shown(cell)}", ", ".join(table.categories)) from None


def _weight(cell: str, category: Category | None) -> int:
    heaviest = category.heaviest if category else 350
    allowed = f"0.01 to {ounces(heaviest)} oz" + (f" for {category.name}" if category else "")
    found = _WEIGHT.fullmatch(cell)
    if not found:
        raise _Bad(f"{_shown(cell)} is not a weight in ounces above 0, with at most two decimals", allowed)
    weight = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
    if not 0 < weight <= heaviest:
        raise _Bad(f"{ounces(weight)} oz is {'not above 0' if weight == 0 else 'too heavy'}", allowed)
    return weight


def _destination(cell: str, category: Category | None) -> str:
    if category is not None and not category.domestic:
        if cell:
            raise _Bad(f"{_shown(cell)} given for an international piece", "empty: a ZIP Code is a domestic one")
        return ""
    allowed = "a ZIP Code (5 digits), ZIP+4 (9) or delivery point (11)"
    found = _DESTINATION.fullmatch(cell)
    if not found:
        lost = " (has a spreadsheet dropped a leading 0?)" if _LOST_ZERO.fullmatch(cell) else ""
        raise _Bad(f"{_shown(cell)} is not a destination{lost}", allowed)
    if found[1] == "00000":
        raise _Bad("there is no ZIP Code 00000", allowed)
    return "".join(part or "" for part in found.groups())


def _amount(cell: str, rate: int | None) -> int:
    """Mills; 0 for an empty cell. `rate` is None where class or weight are bad."""
    if not cell:
        return 0
    least = "the rate" if rate is None else f"{dollars(rate)} (the rate)"
    allowed = f"{least} to {dollars(_MOST_POSTAGE)}, or empty for the rate"
    try:
        amount = parse(cell)
    except MoneyError as problem:
        short = len(cell) <= _LONGEST
        raise _Bad(problem.message if short else f"{_shown(cell)} is not an amount in dollars", allowed) from None
    if amount > _MOST_POSTAGE:
        raise _Bad(f"{dollars(amount)} is too much", allowed)
    if amount < (rate or 1):
        raise _Bad(f"{dollars(amount)} is below the rate", allowed)
    return amount


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _address(name: str, cell: str) -> str:
    lines = [" ".join(_printable(line).split()) for line in cell.replace("|", "\n").splitlines()]
    lines = [line for line in lines if line]
    most = ADDRESS_LINES[name]
    allowed = f'up to {most} lines of up to {ADDRESS_LENGTH} characters, with "|" between them; or empty'
    if len(lines) > most:
        raise _Bad(f"{_shown(cell)} has {len(lines)} lines", allowed)
    for number, line in enumerate(lines, start=1):
        if len(line) > ADDRESS_LENGTH:
            raise _Bad(f"line {number} of the address has {len(line)} characters: {_shown(line)}", allowed)
    return "\n".join(lines)


def _recipient(cell: str, destination: str | None) -> str:
    """`destination` is None where it is bad. A piece whose address names another ZIP Code would go there, and its
    indicium says that it does not.
    """
    address = _address("recipient", cell)
    found = _ZIP_AT_END.search(address)
    if found and destination:
        said, add_on = found.groups()
        if said != destination[:5] or (add_on and len(destination) > 5 and add_on != destination[5:9]):
            raise _Bad(
                f"the address ends in ZIP Code {found[0].strip()}, and the destination is {destination}",
                "an address with the destination's ZIP Code, or without any",
            )
    return address
