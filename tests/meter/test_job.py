"""Mail jobs: each good form of a cell, each bad one with its file, line and column, and files that are no job."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pes_sim.errors import UsageError
from pes_sim.meter import rates
from pes_sim.meter.job import OPTIONAL, REQUIRED, Job, JobPiece, read_job
from pes_sim.meter.rates import Category, RateBook, RateTable

TODAY = date(2026, 1, 5)
DEPARTMENTS = ("200", "100", "SALES")
HEADER = "date,department,mail_class,weight_oz,destination,text,amount"
NAMES = HEADER.split(",")
CELLS = dict(zip(NAMES, ("today", "100", "first_class_letter", "1.00", "10001-1234", "Hello", ""), strict=True))
PIECE = JobPiece(2, "2026-01-05", "100", "first_class_letter", 100, "100011234", "Hello", 0)
EXAMPLE = Path(__file__).parents[2] / "examples" / "mail_job.csv"


def row(**cells: str) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in (CELLS | cells).values())


def read(path: Path, content: str | bytes, today: date = TODAY, book: RateBook | None = None) -> Job:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_job(path, today=today, departments=DEPARTMENTS, rates=book or rates.built_in())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "job.csv"


def no_job(file: Path, content: str | bytes) -> UsageError:
    with pytest.raises(UsageError) as refusal:
        read(file, content)
    assert str(file) in refusal.value.message
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400
    return refusal.value


# --- what is good ----------------------------------------------------------------------------------------------------


def test_a_row_becomes_a_piece_with_everything_worked_out(file: Path) -> None:
    assert read(file, f"{HEADER}\n{row()}\n") == Job((PIECE,), ())


def test_columns_stand_in_any_order_and_letters_of_any_case_and_the_optional_ones_may_be_missing(file: Path) -> None:
    text = "Destination, WEIGHT_OZ ,mail_class,department,date\n10001-1234,1,first_class_letter,100,today\n"
    assert read(file, text).pieces == (JobPiece(2, "2026-01-05", "100", "first_class_letter", 100, "100011234"),)


def test_the_example_that_comes_along_is_all_good() -> None:
    job = read_job(EXAMPLE, today=TODAY, departments=("100", "200", "300"), rates=rates.built_in())
    assert job.problems == ()
    assert [piece.line for piece in job.pieces] == list(range(2, 25))
    prices = rates.built_in().on(TODAY)
    assert sum(p.amount_mills or prices.postage(p.mail_class, p.weight) for p in job.pieces) == 21_750


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("today", "2026-01-05"),
        ("TODAY", "2026-01-05"),
        (" today ", "2026-01-05"),
        ("2026-01-05", "2026-01-05"),
        ("2026-02-04", "2026-02-04"),
        ("+0", "2026-01-05"),
        ("+1", "2026-01-06"),
        ("+30", "2026-02-04"),
    ],
)
def test_dates(file: Path, cell: str, day: str) -> None:
    assert [piece.mailing_date for piece in read(file, f"{HEADER}\n{row(date=cell)}").pieces] == [day]


@pytest.mark.parametrize(
    ("cell", "weight"),
    [
        ("0.01", 1),
        ("0.1", 10),
        ("1", 100),
        ("001.00", 100),
        ("1.5", 150),
        ("3.50", 350),
        ("3.500000", 350),
        (" 2 ", 200),
    ],
)
def test_weights(file: Path, cell: str, weight: int) -> None:
    assert [piece.weight for piece in read(file, f"{HEADER}\n{row(weight_oz=cell)}").pieces] == [weight]


@pytest.mark.parametrize(
    ("cell", "digits"),
    [
        ("10001", "10001"),
        ("00501", "00501"),
        ("10001-1234", "100011234"),
        ("10001 1234", "100011234"),
        ("100011234", "100011234"),
        ("00501-0001-01", "00501000101"),
        ("10001123456", "10001123456"),
    ],
)
def test_destinations(file: Path, cell: str, digits: str) -> None:
    assert [piece.destination for piece in read(file, f"{HEADER}\n{row(destination=cell)}").pieces] == [digits]


@pytest.mark.parametrize(
    ("cell", "mills"), [("", 0), ("0.74", 740), ("$0.74", 740), ("0.741", 741), ("1", 1000), ("16,777.215", 16777215)]
)
def test_amounts_to_the_mill(file: Path, cell: str, mills: int) -> None:
    assert [piece.amount_mills for piece in read(file, f"{HEADER}\n{row(amount=cell)}").pieces] == [mills]


@pytest.mark.parametrize(
    "cell", ["first_class_letter", "First-Class Letter", "FIRST CLASS LETTER", " first_class_letter"]
)
def test_a_class_may_be_written_as_people_write_it(file: Path, cell: str) -> None:
    assert read(file, f"{HEADER}\n{row(mail_class=cell)}").pieces == (PIECE,)


def test_a_piece_abroad_has_no_zip_code(file: Path) -> None:
    (piece,) = read(file, f"{HEADER}\n{row(mail_class='international_letter', destination='')}").pieces
    assert (piece.mail_class, piece.destination) == ("international_letter", "")


def test_text_is_kept_but_for_characters_that_no_printer_prints(file: Path) -> None:
    text = 'Zürich, "Büro" 3\u2028second\x0bthird\x00fourth\tfifth\x1b[31m'
    (piece,) = read(file, f"{HEADER}\n{row(text=text)}\n").pieces
    assert piece.text == 'Zürich, "Büro" 3 second third fourth fifth [31m'


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_of_any_system_reads_the_same(file: Path, ending: str, mark: str) -> None:
    text = ending.join([HEADER, row(), "", row(text=f"two{ending}lines"), row(), ""])
    job = read(file, mark + text)
    assert [(piece.line, piece.text) for piece in job.pieces] == [
        (2, "Hello"),
        (4, "two" + " " * len(ending) + "lines"),
        (6, "Hello"),
    ]


# --- what is bad -----------------------------------------------------------------------------------------------------

DATES = "Allowed: 2026-01-05 to 2026-02-04, today, or +1 to +30 days"
CLASSES = "Allowed: first_class_letter, first_class_postcard, international_letter"
LETTER = "Allowed: 0.01 to 3.50 oz for first_class_letter"
ZIPS = "Allowed: a ZIP Code (5 digits), ZIP+4 (9) or delivery point (11)"
AMOUNTS = "Allowed: $0.74 (the rate) to $16,777.215, or empty for the rate"
LOST = "(has a spreadsheet dropped a leading 0?)"
BAD_CELLS = [
    # a date before today or over 30 days ahead
    ("date", "", "'' is not a date", DATES),
    ("date", "2026-01-04", "2026-01-04 is before today", DATES),
    ("date", "2026-02-05", "2026-02-05 is more than 30 days ahead", DATES),
    ("date", "+31", "2026-02-05 is more than 30 days ahead", DATES),
    ("date", "+9999", "is more than 30 days ahead", DATES),
    ("date", "+99999", "'+99999' is not a date", DATES),
    ("date", "-1", "'-1' is not a date", DATES),
    ("date", "yesterday", "'yesterday' is not a date", DATES),
    ("date", "2026-02-30", "'2026-02-30' is not a date", DATES),
    ("date", "2026-13-01", "'2026-13-01' is not a date", DATES),
    ("date", "0000-00-00", "'0000-00-00' is not a date", DATES),
    ("date", "9999-12-31", "9999-12-31 is more than 30 days ahead", DATES),
    ("date", "01/06/2026", "'01/06/2026' is not a date", DATES),
    ("date", "20260106", "'20260106' is not a date", DATES),
    ("date", "2026-W02-2", "'2026-W02-2' is not a date", DATES),
    ("date", "2026-01-05T00:00:00", "is not a date", DATES),
    ("date", "٢٠٢٦-٠١-٠٥", "is not a date", DATES),
    # an unknown department
    ("department", "", "unknown department ''", "Allowed: 100, 200, SALES"),
    ("department", "300", "unknown department '300'", "Allowed: 100, 200, SALES"),
    ("department", "sales", "unknown department 'sales'", "Allowed: 100, 200, SALES"),
    ("department", "0100", "unknown department '0100'", "Allowed: 100, 200, SALES"),
    ("department", "١٠٠", "unknown department", "Allowed: 100, 200, SALES"),
    # an unknown class
    ("mail_class", "", "unknown class ''", CLASSES),
    ("mail_class", "priority", "unknown class 'priority'", CLASSES),
    ("mail_class", "first_class_letter\x00", r"unknown class 'first_class_letter\x00'", CLASSES),
    # weight at or below 0, or above the class's limit
    ("weight_oz", "", "'' is not a weight", LETTER),
    ("weight_oz", "0", "0.00 oz is not above 0", LETTER),
    ("weight_oz", "0.00", "0.00 oz is not above 0", LETTER),
    ("weight_oz", "-1", "'-1' is not a weight", LETTER),
    ("weight_oz", "3.51", "3.51 oz is too heavy", LETTER),
    ("weight_oz", "999999.99", "999999.99 oz is too heavy", LETTER),
    ("weight_oz", "9" * 5000, "is not a weight", LETTER),
    ("weight_oz", "1.001", "'1.001' is not a weight in ounces above 0, with at most two decimals", LETTER),
    ("weight_oz", "1e0", "'1e0' is not a weight", LETTER),
    ("weight_oz", "1e5", "'1e5' is not a weight", LETTER),
    ("weight_oz", "nan", "'nan' is not a weight", LETTER),
    ("weight_oz", "inf", "'inf' is not a weight", LETTER),
    ("weight_oz", "1,5", "'1,5' is not a weight", LETTER),
    ("weight_oz", ".5", "'.5' is not a weight", LETTER),
    ("weight_oz", "1.", "'1.' is not a weight", LETTER),
    ("weight_oz", "+1", "'+1' is not a weight", LETTER),
    ("weight_oz", "1 oz", "'1 oz' is not a weight", LETTER),
    ("weight_oz", "١", "is not a weight", LETTER),
    ("weight_oz", "½", "is not a weight", LETTER),
    # a ZIP of the wrong length
    ("destination", "", "'' is not a destination.", ZIPS),
    ("destination", "1", "'1' is not a destination.", ZIPS),
    ("destination", "501", f"'501' is not a destination {LOST}.", ZIPS),
    ("destination", "2139", f"'2139' is not a destination {LOST}.", ZIPS),
    ("destination", "2139-4307", f"'2139-4307' is not a destination {LOST}.", ZIPS),
    ("destination", "21394307", f"'21394307' is not a destination {LOST}.", ZIPS),
    ("destination", "602-3105-17", f"'602-3105-17' is not a destination {LOST}.", ZIPS),
    ("destination", "100010", "'100010' is not a destination.", ZIPS),
    ("destination", "1000112345", "'1000112345' is not a destination", ZIPS),
    ("destination", "100011234567", "'100011234567' is not a destination.", ZIPS),
    ("destination", "00000", "there is no ZIP Code 00000", ZIPS),
    ("destination", "00000-1234", "there is no ZIP Code 00000", ZIPS),
    ("destination", "1000A", "'1000A' is not a destination.", ZIPS),
    ("destination", "-10001", "'-10001' is not a destination.", ZIPS),
    ("destination", "1-0-0-0-1", "'1-0-0-0-1' is not a destination.", ZIPS),
    ("destination", "10001-", "'10001-' is not a destination.", ZIPS),
    ("destination", "10001.0", "'10001.0' is not a destination.", ZIPS),
    ("destination", "١٠٠٠١", "is not a destination.", ZIPS),
    ("destination", "١٢", "is not a destination.", ZIPS),
    # a negative amount, one below the rate, or none at all
    ("amount", "-0.74", "'-0.74' is not an amount in dollars", AMOUNTS),
    ("amount", "-1", "'-1' is not an amount in dollars", AMOUNTS),
    ("amount", "0", "$0.00 is below the rate", AMOUNTS),
    ("amount", "0.73", "$0.73 is below the rate", AMOUNTS),
    ("amount", "0.739", "$0.739 is below the rate", AMOUNTS),
    ("amount", "16777.216", "$16,777.216 is too much", AMOUNTS),
    ("amount", "0.7405", "three digits after the point", AMOUNTS),
    ("amount", "1e3", "'1e3' is not an amount in dollars", AMOUNTS),
    ("amount", "nan", "'nan' is not an amount in dollars", AMOUNTS),
    ("amount", "0,74", "'0,74' is not an amount in dollars", AMOUNTS),
    ("amount", "€1", "'€1' is not an amount in dollars", AMOUNTS),
    ("amount", "١", "is not an amount in dollars", AMOUNTS),
    ("amount", "9" * 5000, "(5000 characters) is not an amount in dollars", AMOUNTS),
]


@pytest.mark.parametrize(
    ("column", "cell", "says", "allowed"), BAD_CELLS, ids=[f"{c}={v[:20]!r}" for c, v, *_ in BAD_CELLS]
)
def test_a_bad_cell_is_told_by_file_line_and_column_and_what_is_allowed(
    file: Path, column: str, cell: str, says: str, allowed: str
) -> None:
    job = read(file, f"{HEADER}\n{row()}\n{row(**{column: cell})}\n{row()}\n")
    assert [piece.line for piece in job.pieces] == [2, 4]
    (problem,) = job.problems
    text = str(problem)
    assert text.startswith(f"{file}, line 3, column {NAMES.index(column) + 1} ({column}): ")
    assert says in text
    assert text.endswith(allowed)
    assert text.isprintable()
    assert len(text) < 300 + len(str(file))


def test_a_problem_reads_as_one_sentence_and_what_is_allowed(file: Path) -> None:
    (problem,) = read(file, f"{HEADER}\n{row(weight_oz='4')}\n").problems
    assert str(problem) == f"{file}, line 2, column 4 (weight_oz): 4.00 oz is too heavy. {LETTER}"


def test_all_that_is_wrong_with_a_row_is_told_at_once(file: Path) -> None:
    bad = row(date="x", department="x", mail_class="x", weight_oz="x", destination="x", amount="x")
    job = read(file, f"{HEADER}\n{bad}\n")
    assert job.pieces == ()
    assert [(p.line, p.column, p.name) for p in job.problems] == [
        (2, 1, "date"),
        (2, 3, "mail_class"),
        (2, 2, "department"),
        (2, 4, "weight_oz"),
        (2, 5, "destination"),
        (2, 7, "amount"),
    ]


def test_where_the_rate_is_not_known_an_amount_is_not_compared_with_it(file: Path) -> None:
    for cell in ("0.01", "5"):
        (problem,) = read(file, f"{HEADER}\n{row(mail_class='x', amount=cell)}\n").problems
        assert problem.name == "mail_class"
    *_, problem = read(file, f"{HEADER}\n{row(mail_class='x', amount='0')}\n").problems
    assert str(problem).endswith("Allowed: the rate to $16,777.215, or empty for the rate")


def test_a_zip_code_for_a_piece_abroad_is_a_mistake(file: Path) -> None:
    (problem,) = read(file, f"{HEADER}\n{row(mail_class='international_letter', destination='10001')}\n").problems
    assert problem.name == "destination"
    assert problem.message == "'10001' given for an international piece"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("today,100", "column 3 (row): 2 columns found. Allowed: 7, as in line 1"),
        (row() + ",", "column 8 (row): 8 columns found. Allowed: 7, as in line 1"),
        ("today;100;first_class_letter;1;10001;;", "column 2 (row): 1 columns found"),
    ],
)
def test_a_row_with_more_or_fewer_cells_than_the_first_line_is_bad(file: Path, line: str, says: str) -> None:
    (problem,) = read(file, f"{HEADER}\n{line}\n").problems
    assert f"line 2, {says}" in str(problem)


def test_line_numbers_are_those_of_an_editor_behind_quoted_line_breaks_and_blank_lines(file: Path) -> None:
    three_lines, two_lines = row(text="one\ntwo\nthree"), row(text="a\nb", date="y")
    text = "\n".join(["", HEADER, "", three_lines, ",,,,,,", row(date="x"), two_lines, row(date="z")])
    job = read(file, text)
    assert [piece.line for piece in job.pieces] == [4]
    assert [problem.line for problem in job.problems] == [8, 9, 11]


def test_line_separators_of_unicode_end_no_line(file: Path) -> None:
    text = f"{HEADER}\n" + row(text="a\u2028b\u2029c\x85d\x0ce\x1cf").replace('"', "") + f"\n{row(date='x')}\n"
    job = read(file, text)
    assert [(piece.line, piece.text) for piece in job.pieces] == [(2, "a b c d e f")]
    assert [problem.line for problem in job.problems] == [3]


def test_of_many_departments_a_dozen_are_named(file: Path) -> None:
    file.write_text(f"{HEADER}\n{row(department='x')}\n")
    codes = [f"{number:03d}" for number in range(500)]
    (problem,) = read_job(file, today=TODAY, departments=codes, rates=rates.built_in()).problems
    assert problem.allowed == ", ".join(codes[:12]) + ", …"
    (problem,) = read_job(file, today=TODAY, departments=(), rates=rates.built_in()).problems
    assert problem.allowed == "none is set up"


# --- rates by date ---------------------------------------------------------------------------------------------------


def a_table(effective: date, price: int) -> RateTable:
    letter = Category("first_class_letter", "LETTER", True, ((100, price),))
    return RateTable(str(effective), effective, {letter.name: letter})


def test_a_row_is_held_against_the_rates_of_its_own_date(file: Path) -> None:
    book = RateBook([a_table(date(2026, 1, 1), 740), a_table(date(2026, 1, 10), 780)])
    rows = [row(date=day, amount="0.74") for day in ("2026-01-09", "2026-01-10")]
    job = read(file, "\n".join([HEADER, *rows]), book=book)
    assert [piece.mailing_date for piece in job.pieces] == ["2026-01-09"]
    (problem,) = job.problems
    assert (problem.line, problem.name, problem.message) == (3, "amount", "$0.74 is below the rate")


def test_a_date_before_the_first_rate_table_is_the_rows_problem(file: Path) -> None:
    book = RateBook([a_table(date(2026, 1, 10), 740)])
    job = read(file, f"{HEADER}\n{row()}\n{row(date='+5')}\n", book=book)
    assert [piece.line for piece in job.pieces] == [3]
    assert [str(problem) for problem in job.problems] == [
        f"{file}, line 2, column 1 (date): no rate table covers 2026-01-05. Allowed: The first begins on 2026-01-10"
    ]


def test_the_last_days_of_the_calendar_are_days_like_others(file: Path) -> None:
    last = date.max - timedelta(days=1)
    job = read(file, f"{HEADER}\n{row()}\n{row(date='+1')}\n{row(date='+2')}\n", today=last)
    assert [piece.mailing_date for piece in job.pieces] == ["9999-12-30", "9999-12-31"]
    assert [problem.message for problem in job.problems] == ["'+2' is not a date"]


# --- files that are no job -------------------------------------------------------------------------------------------

NO_JOB: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", f"line 1: no column {', '.join(REQUIRED)}"),
    "blank": ("\n \n,,\n", "line 1: no column"),
    "only a first line": (HEADER, "has no rows below line 1"),
    "only a first line, further down": (f"\n\n{HEADER}\n\n,,\n", "has no rows below line 3"),
    "semicolons": (HEADER.replace(",", ";") + "\n" + row().replace(",", ";"), "line 1: no column date"),
    "tabs": (HEADER.replace(",", "\t") + "\n" + row().replace(",", "\t"), "line 1: no column date"),
    "no first line": (row() + "\n" + row(), "line 1: no column date"),
    "a column missing": (HEADER.replace("weight_oz,", ""), "line 1: no column weight_oz"),
    "two missing": ("date,department,mail_class", "line 1: no column weight_oz, destination"),
    "an unknown column": (HEADER + ",colour", "line 1, column 8: unknown column 'colour'"),
    "a nameless column": (HEADER + ",", "line 1, column 8: unknown column ''"),
    "a column twice": (HEADER + ",date", "line 1, column 8: column date stands twice"),
    "a bad first line, further down": (f"\n\n{HEADER},date", "line 3, column 8: column date stands twice"),
    "a huge column name": (HEADER + "," + "x" * 9999, "(9999 characters)"),
    "not UTF-8": (HEADER.encode() + b"\ntoday,100,caf\xe9", "is not UTF-8 text (byte 74)"),
    "UTF-16": (HEADER.encode("utf-16"), "is not UTF-8 text (byte 0)"),
    "a PDF": (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3", "is not UTF-8 text"),
    "a quotation mark left open": (f'{HEADER}\n{row()}\n"today,100\n{row()}\n', "line 3: not CSV"),
    "a quotation mark too many": (f'{HEADER}\n{row()}\n\n"today"x,100\n', "line 4: not CSV"),
    "a field of a megabyte": (f"{HEADER}\n{row(text='x' * (1 << 20))}\n", "line 2: not CSV: field larger"),
}


@pytest.mark.parametrize(("content", "says"), NO_JOB.values(), ids=NO_JOB)
def test_a_file_that_is_no_job_is_refused_as_a_whole(file: Path, content: str | bytes, says: str) -> None:
    assert says in no_job(file, content).message


def test_a_missing_column_is_answered_with_all_there_are(file: Path) -> None:
    hint = no_job(file, "").hint
    assert hint.startswith("The first line names the columns, separated by commas: ")
    assert all(name in hint for name in (*REQUIRED, *(f"{name} (optional)" for name in OPTIONAL)))


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.csv", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError) as refusal:
            read_job(path, today=TODAY, departments=DEPARTMENTS, rates=rates.built_in())
        assert refusal.value.message == f"{path} cannot be read: {why}"


# --- whatever comes --------------------------------------------------------------------------------------------------

CELL = st.text(max_size=12) | st.sampled_from([*CELLS.values(), "0.73", "+30", "2026-02-30", "00000"])
anything = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def attempt(path: Path, content: bytes) -> Job | UsageError:
    try:
        return read(path, content)
    except UsageError as refusal:
        return refusal


@anything
@given(st.lists(st.tuples(*[CELL] * len(NAMES)), min_size=1, max_size=4))
def test_any_cells_are_a_piece_that_can_be_paid_or_a_problem_and_never_both(
    tmp_path: Path, rows: list[tuple[str, ...]]
) -> None:
    lines = [row(**dict(zip(NAMES, cells, strict=True))) for cells in rows]
    job = attempt(tmp_path / "job.csv", "\n".join([HEADER, *lines]).encode("utf-8", "replace"))
    if isinstance(job, UsageError):
        assert "has no rows below line 1" in job.message
        return
    prices = rates.built_in()
    assert not {piece.line for piece in job.pieces} & {problem.line for problem in job.problems}
    for piece in job.pieces:
        day = date.fromisoformat(piece.mailing_date)
        assert TODAY <= day <= TODAY + timedelta(days=30)
        rate = prices.on(day).postage(piece.mail_class, piece.weight)
        assert piece.amount_mills == 0 or rate <= piece.amount_mills < 1 << 24
        assert piece.department in DEPARTMENTS
        assert len(piece.destination) in (0, 5, 9, 11)
        assert piece.text.isprintable()
    for problem in job.problems:
        assert str(problem).isprintable()


@anything
@given(st.binary(max_size=200))
def test_any_bytes_are_a_job_or_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    for data in (content, HEADER.encode() + b"\n" + content):
        job = attempt(tmp_path / "job.csv", data)
        if isinstance(job, UsageError):
            assert str(tmp_path) in job.message
        else:
            assert job.pieces or job.problems


# --- addresses -------------------------------------------------------------------------------------------------------

ADDRESSED = f"{HEADER},recipient,sender"


def addressed(recipient: str = "", sender: str = "", **cells: str) -> str:
    return f'{ADDRESSED}\n{row(**cells)},"{recipient}","{sender}"\n'


@pytest.mark.parametrize("between", ["|", " | ", "\n", "\r\n", "||", "\u2028"])
def test_an_address_is_lines_however_they_are_parted(file: Path, between: str) -> None:
    text = addressed(
        between.join(("MS ZOË MÜLLER", "1  MAIN\tST", "NEW YORK NY 10001-1234")), f"{between}ACME{between}"
    )
    (piece,) = read(file, text).pieces
    assert piece.recipient == "MS ZOË MÜLLER\n1 MAIN ST\nNEW YORK NY 10001-1234"
    assert piece.sender == "ACME"


@pytest.mark.parametrize(
    ("recipient", "sender", "column", "says", "allowed"),
    [
        ("a|b|c|d|e", "", "8 (recipient)", "'a|b|c|d|e' has 5 lines", "up to 4 lines of up to 40 characters"),
        ("", "a|b|c|d", "9 (sender)", "'a|b|c|d' has 4 lines", "up to 3 lines of up to 40 characters"),
        ("A|" + "x" * 41, "", "8 (recipient)", "line 2 of the address has 41 characters", "up to 40 characters"),
        ("ACME|NEW YORK NY 10002", "", "8 (recipient)", "ends in ZIP Code 10002, and the destination is 1000112",
         "an address with the destination's ZIP Code, or without any"),
        ("ACME|NEW YORK NY 10001-9999", "", "8 (recipient)", "ends in ZIP Code 10001-9999", "without any"),
    ],
)  # fmt: skip
def test_a_bad_address_is_named_with_line_and_column(
    file: Path, recipient: str, sender: str, column: str, says: str, allowed: str
) -> None:
    job = read(file, addressed(recipient, sender))
    (problem,) = job.problems
    assert job.pieces == ()
    assert str(problem).startswith(f"{file}, line 2, column {column}: ")
    assert says in problem.message
    assert allowed in problem.allowed


@pytest.mark.parametrize(
    ("recipient", "destination"),
    [
        ("ACME|NEW YORK NY 10001", "10001-1234"),
        ("ACME|NEW YORK NY 10001-1234", "10001"),
        ("ACME|NEW YORK NY 10001-1234", "10001-1234-56"),
        ("10001", "10001"),
        ("ACME|UNIT 123456", "10001"),
        ("ACME|PHONE 555-10002", "10001"),
        ("ACME", "10001"),
    ],
)
def test_an_address_with_the_destinations_zip_code_or_none_is_good(
    file: Path, recipient: str, destination: str
) -> None:
    assert read(file, addressed(recipient, destination=destination)).problems == ()


def test_where_the_destination_is_bad_that_is_all_that_is_said(file: Path) -> None:
    (problem,) = read(file, addressed("ACME|NEW YORK NY 10001", destination="x")).problems
    assert problem.name == "destination"


def test_an_address_abroad_may_end_in_digits(file: Path) -> None:
    text = addressed("ACME|75001 PARIS|FRANCE 12345", mail_class="international_letter", destination="")
    assert read(file, text).problems == ()
