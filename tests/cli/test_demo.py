"""`pes-sim demo`: what it leaves, that it all agrees, that a seed repeats it, and what it leaves alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from pes_sim.cli import demo as demo_module
from pes_sim.cli.printing import Run
from pes_sim.errors import InsufficientFunds
from pes_sim.indicium import layout, symbol
from pes_sim.indicium.api import verify
from pes_sim.indicium.verify import Verdict
from pes_sim.meter.meter import Meter, Registers
from pes_sim.meter.store import DepartmentTotal
from pes_sim.preview import image
from pes_sim.virtual import VirtualMeter, create
from tests.cli.conftest import Cli, Result, job, letters, process
from tests.meter.made import copy_of_a_meter

MADE = ["books.json", "ca.pem", "indicia.pdf", "meter", "pieces.jsonl", "psd.pem"]
IMI = layout.builtin("imi_std")


def demo(*arguments: object) -> Result:
    return process("demo", *arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_whole_path_in_one_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = demo("--out", out, "--seed", "x")
    assert (result.code, result.err) == (0, "")

    # It says what it does as it goes, and closes with a table in which everything holds.
    lines = result.out.splitlines()
    assert [line[0] for line in lines if line[:2] in [f"{n}." for n in range(1, 8)]] == list("11223456666" + "7")
    assert "2. virtual meter on /dev/pts/" in result.out
    assert "4. 23 pieces printed into " in result.out
    assert "5. 23 of 23 symbols read" in result.out
    assert "is refused: 0x31 LOCKED_CHECKIN_OVERDUE: " in result.out
    assert "A check-in with the provider clears it" in result.out
    verdicts = [line.split()[0] for line in lines if line.split()[:1] in (["yes"], ["NO"])]
    assert verdicts == ["yes"] * 7
    assert lines[-1] == "Specimens only: nothing here is valid postage."

    # It leaves what it should, and nothing else.
    assert sorted(path.name for path in out.iterdir()) == MADE
    pieces = [json.loads(line) for line in (out / "pieces.jsonl").read_text().splitlines()]
    books = json.loads((out / "books.json").read_text())
    printed = [payload for page in image.pages(out / "indicia.pdf", 200) for payload in symbol.read(page, "dmtx")]
    assert len(printed) == len(pieces) == books["piece_count"] == 24

    # Three books, one truth: pieces, registers, departments; and each payload is on its page.
    assert [piece["payload_hex"] for piece in pieces] == [payload.hex() for payload in printed]
    used: dict[str, int] = {}
    for number, piece in enumerate(pieces, 1):
        values = IMI.unpack(bytes.fromhex(piece["payload_hex"])).values
        used[piece["department"]] = used.get(piece["department"], 0) + piece["postage_mills"]
        assert piece["piece_count"] == number
        assert piece["ascending_mills"] == sum(used.values())
        assert [piece["postage_mills"], piece["date"], piece["destination"], piece["ascending_mills"]] == [
            values[name] for name in ("postage_mills", "mailing_date", "destination", "ascending_mills")
        ]
        assert verify(piece["payload_hex"], ca=out / "ca.pem", psd=out / "psd.pem").verdict is Verdict.VALID
    assert {code: total["postage_mills"] for code, total in books["departments"].items()} == used
    assert books["ascending_mills"] == sum(used.values()) == 22_490
    assert books["ascending_mills"] + books["descending_mills"] == books["control_sum_mills"] == 40_000
    assert [total["name"] for total in books["departments"].values()] == ["Sales", "Billing", "Human Resources"]

    # The meter itself says the same, and its provider has every mill that is not in it.
    with VirtualMeter(out / "meter") as meter:
        registers = meter.registers()
        assert registers.ascending_mills == books["ascending_mills"]
        assert registers.descending_mills == books["descending_mills"]
        assert meter.centre.balance("DEMO CUSTOMER") == 10_000_000
        assert (meter.home.directory / "ca.pem").read_bytes() == (out / "ca.pem").read_bytes()


def test_a_seed_repeats_it_byte_for_byte_and_another_run_replaces_it(cli: Cli, tmp_path: Path) -> None:
    for name, seed in (("a", "lucky"), ("b", "lucky")):
        result = cli("demo", "--out", tmp_path / name, "--seed", seed)
        assert result.code == 0
        assert result.out.splitlines()[0] == "SEEDED RUN: keys, ids and times are reproducible."
    files = [name for name in MADE if name != "meter"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    before = {name: (tmp_path / "a" / name).read_bytes() for name in files}
    assert cli("demo", "--out", tmp_path / "a", "--seed", "other").code == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == MADE
    for name in ("ca.pem", "psd.pem", "pieces.jsonl", "indicia.pdf"):
        assert (tmp_path / "a" / name).read_bytes() != before[name]


def test_a_job_of_ones_own_on_a_day_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("code,name\nX1,Expedition\n")
    rows = ["2026-03-03,X1,first_class_letter,1,10001,,", "+1,X1,international_letter,1,,Zürich,5"]
    arguments = ("--job", job(tmp_path / "j.csv", *rows), "--departments", tmp_path / "d.csv")
    start = ("--start", "2026-03-02T20:00:00Z", "--utc-offset", "+05:30")
    result = cli("demo", "--out", tmp_path / "out", *arguments, *start)
    assert (result.code, result.err) == (0, "")
    assert "SEEDED" not in result.out
    pieces = [json.loads(line) for line in (tmp_path / "out" / "pieces.jsonl").read_text().splitlines()]
    assert [(p["date"], p["department"], p["postage_mills"]) for p in pieces] == [
        ("2026-03-03", "X1", 740),
        ("2026-03-04", "X1", 5_000),
        ("2026-03-06", "X1", 740),
    ]


# --- what does not hold is found -------------------------------------------------------------------------------------


def blank(*_: object, **__: object) -> list[bytes]:
    return []


def altered(page: Image.Image, engine: str) -> list[bytes]:
    (payload,) = symbol.read(page, "zxing")
    return [payload[:30] + bytes([payload[30] ^ 1]) + payload[31:]]


def always_the_first(page: Image.Image, engine: str) -> list[bytes]:
    always_the_first.seen = getattr(always_the_first, "seen", symbol.read(page, "zxing"))  # type: ignore[attr-defined]
    return always_the_first.seen  # type: ignore[attr-defined,no-any-return]


def all_but_the_last(path: Path, dpi: int = 300) -> list[Image.Image]:
    return list(image.pages(path, dpi))[:-1]


def one_too_many(path: Path, dpi: int = 300) -> list[Image.Image]:
    pages = list(image.pages(path, dpi))
    return [*pages, pages[-1]]


def a_mill_too_many(meter: Meter) -> list[DepartmentTotal]:
    first, *others = DEPARTMENTS(meter)
    return [replace(first, postage_mills=first.postage_mills + 1), *others]


def a_piece_too_many(meter: Meter) -> list[DepartmentTotal]:
    first, *others = DEPARTMENTS(meter)
    return [replace(first, pieces=first.pieces + 1), *others]


def a_mill_lost(meter: Meter) -> Registers:
    return replace(REGISTERS(meter), descending_mills=REGISTERS(meter).descending_mills - 1)


def a_mill_more_used(meter: Meter) -> Registers:
    registers = REGISTERS(meter)
    return replace(
        registers,
        ascending_mills=registers.ascending_mills + 1,
        control_sum_mills=registers.control_sum_mills + 1,
    )


def not_at_all(meter: VirtualMeter, microseconds: int) -> None:
    """The clock stands still."""


DEPARTMENTS, REGISTERS = Meter.departments, Meter.registers
FAULTS: dict[str, tuple[str, object, list[str], str]] = {
    "no symbol reads": (
        "pes_sim.cli.demo.symbol",
        SimpleNamespace(read=blank),
        ["every printed symbol", "it prints again"],
        "page 1: no symbol could be read",
    ),
    "an altered payload": (
        "pes_sim.cli.demo.symbol",
        SimpleNamespace(read=altered),
        ["every printed symbol", "it prints again"],
        "page 2: bad_signature",
    ),
    "the same symbol on every page": (
        "pes_sim.cli.demo.symbol",
        SimpleNamespace(read=always_the_first),
        ["every printed symbol", "it prints again"],
        "page 2: piece_count is 1 on the page and 2 in the log",
    ),
    "a page is missing": (
        "pes_sim.cli.demo.image",
        SimpleNamespace(pages=all_but_the_last),
        ["every printed symbol", "it prints again"],
        "page 2: page or piece is missing",
    ),
    "a page too many": (
        "pes_sim.cli.demo.image",
        SimpleNamespace(pages=one_too_many),
        ["every printed symbol"],
        "page 3: page or piece is missing",
    ),
    "no lockout": (
        "pes_sim.virtual.VirtualMeter.advance",
        not_at_all,
        ["72 hours without a check-in"],
        "the next print is refused: NOT REFUSED",
    ),
    "a department with a mill too many": (
        "pes_sim.meter.meter.Meter.departments",
        a_mill_too_many,
        ["AR = sum of the departments"],
        "",
    ),
    "a department with a piece too many": (
        "pes_sim.meter.meter.Meter.departments",
        a_piece_too_many,
        ["piece count = "],
        "",
    ),
    "a mill that is lost": ("pes_sim.meter.meter.Meter.registers", a_mill_lost, ["AR + DR = control sum"], ""),
    "a mill that nobody used": (
        "pes_sim.meter.meter.Meter.registers",
        a_mill_more_used,
        ["AR = postage of all indicia", "AR = sum of the departments"],
        "",
    ),
}


@pytest.mark.parametrize(("what", "fault", "fails", "says"), FAULTS.values(), ids=FAULTS)
def test_whatever_does_not_hold_is_shown_and_the_exit_code_tells(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, fault: object, fails: list[str], says: str
) -> None:
    file = job(tmp_path / "j.csv", *letters(2))
    monkeypatch.setattr(what, fault)
    monkeypatch.delattr(always_the_first, "seen", raising=False)
    result = cli("demo", "--out", tmp_path / "out", "--job", file)
    assert (result.code, result.err) == (1, "")
    assert says in result.out
    assert "NOT EVERYTHING HELD" in result.out
    failed = [line for line in result.out.splitlines() if line.strip().startswith("NO ")]
    assert len(failed) == len(fails)
    for line, name in zip(failed, fails, strict=True):
        assert name in line


def test_a_job_beyond_all_funds_of_a_meter_is_refused_in_a_line(cli: Cli, tmp_path: Path) -> None:
    rows = ["today,100,first_class_letter,1,10001,,16777.215"] * 300
    result = cli("demo", "--out", tmp_path / "out", "--job", job(tmp_path / "j.csv", *rows))
    assert result.code == 1
    assert result.err.splitlines() == [
        "pes-sim: $5,033,180.00 is more than the register holds",
        "  At most $4,294,967.295 in all",
    ]


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_run_that_is_cut_short_ends_with_its_reason(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    problem = None if interrupted else InsufficientFunds("too little")
    monkeypatch.setattr(demo_module, "print_job", lambda *_: Run("job-1", interrupted=interrupted, stopped_by=problem))
    result = cli("demo", "--out", tmp_path / "out", "--job", job(tmp_path / "j.csv", *letters(1)))
    assert (result.code, result.err) == (
        (130, "pes-sim: interrupted\n") if interrupted else (1, "pes-sim: too little\n")
    )


def test_an_example_that_is_not_installed_is_named(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pes_sim.__file__", str(tmp_path / "pes_sim" / "__init__.py"))
    assert cli("demo", "--out", tmp_path / "out").complaint() == [
        "pes-sim: the example mail_job.csv is not installed",
        "  Give a file of your own",
    ]


# --- what it leaves alone --------------------------------------------------------------------------------------------


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """What a demo left, made the short way, with files of somebody else beside it."""
    out = tmp_path / "out"
    create(out / "meter", customer="DEMO CUSTOMER")
    for name in ("indicia.pdf", "ca.pem", "psd.pem", "pieces.jsonl", "books.json"):
        (out / name).write_text("earlier")
    (out / "notes.txt").write_text("mine")
    (out / "letters").mkdir()
    (out / "letters" / "indicia.pdf").write_text("mine")
    return out


def test_foreign_files_in_the_directory_stay(cli: Cli, earlier: Path) -> None:
    assert cli("demo", "--out", earlier).code == 0
    assert sorted(path.name for path in earlier.iterdir()) == sorted([*MADE, "notes.txt", "letters"])
    assert (earlier / "notes.txt").read_text() == (earlier / "letters" / "indicia.pdf").read_text() == "mine"
    assert (earlier / "books.json").read_text() != "earlier"


BAD_RUNS: dict[str, tuple[list[str], str]] = {
    "a bad row": (["--job", "{bad}"], "1 bad row; nothing was printed or debited"),
    "no job": (["--job", "none.csv"], "none.csv cannot be read"),
    "no departments": (["--departments", "none.csv"], "none.csv cannot be read"),
    "departments that the job does not name": (["--departments", "{few}"], "bad rows; nothing was printed"),
    "a start that is none": (["--start", "noon"], "'noon' is not a date and time"),
    "a start before the rates": (["--start", "2020-01-01"], "bad rows; nothing was printed or debited"),
    "an offset that is none": (["--utc-offset", "5"], "'5' is not an offset from UTC"),
}


@pytest.mark.parametrize(("arguments", "says"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_a_run_that_cannot_begin_leaves_the_earlier_one_as_it_is(
    cli: Cli, earlier: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    names = {"bad": job(tmp_path / "bad.csv", "today,100,parcel,1,10001,,"), "few": tmp_path / "few.csv"}
    names["few"].write_text("code,name\nX1,Expedition\n")
    before = contents(earlier)
    result = cli("demo", "--out", earlier, *(argument.format(**names) for argument in arguments))
    assert (result.code, result.out) == (2, "")
    (line,) = [line for line in result.err.splitlines() if line.startswith("pes-sim: ")]
    assert says in line
    assert "--skip-bad" not in result.err  # which the demo does not have
    assert contents(earlier) == before


def test_a_bad_row_is_told_by_file_line_and_column(cli: Cli, tmp_path: Path) -> None:
    file = job(tmp_path / "j.csv", "today,100,first_class_letter,1,10001,,", "today,100,parcel,1,10001,,")
    result = cli("demo", "--out", tmp_path / "out", "--job", file)
    assert result.code == 2
    assert result.err.startswith(f"{file}, line 3, column 3 (mail_class): unknown class 'parcel'. Allowed: ")
    assert not (tmp_path / "out").exists()


def test_somebody_elses_meter_is_not_replaced(cli: Cli, tmp_path: Path) -> None:
    copy_of_a_meter(tmp_path / "out" / "meter")
    before = contents(tmp_path / "out")
    result = cli("demo", "--out", tmp_path / "out")
    assert result.code == 2
    assert result.complaint() == [
        f"pes-sim: {tmp_path / 'out' / 'meter'} holds another customer's meter, which no demo made",
        "  Give another --out",
    ]
    assert contents(tmp_path / "out") == before


def test_nor_are_a_meters_certificates_by_a_demo_in_its_directory(cli: Cli, meter: Path) -> None:
    before = {path.name: path.read_bytes() for path in meter.iterdir() if path.is_file()}
    assert cli("demo", "--out", meter).complaint()[0] == f"pes-sim: {meter} is a meter's own directory"
    assert {path.name: path.read_bytes() for path in meter.iterdir() if path.is_file()} == before


def test_nor_is_a_folder_of_that_name_or_a_file_in_it(cli: Cli, earlier: Path, tmp_path: Path) -> None:
    (earlier / "meter" / "diary.txt").write_text("mine")
    assert f"{earlier / 'meter'} holds diary.txt, which no demo made" in cli("demo", "--out", earlier).complaint()[0]
    assert (earlier / "meter" / "diary.txt").exists()
    assert (earlier / "books.json").read_text() == "earlier"
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path / 'file'} cannot be used: File exists" in cli("demo", "--out", tmp_path / "file").complaint()[0]


def test_a_meter_that_a_demo_left_half_made_is_replaced(cli: Cli, earlier: Path) -> None:
    (earlier / "meter" / "meter.json").unlink()
    shutil.rmtree(earlier / "meter" / "psd")
    assert cli("demo", "--out", earlier).code == 0


def test_a_meter_that_is_in_use_is_not_replaced(cli: Cli, earlier: Path) -> None:
    with VirtualMeter(earlier / "meter"):
        before = contents(earlier)  # with the holder's own login
        result = cli("demo", "--out", earlier)
    assert result.code == 1
    assert "is in use by process" in result.complaint()[0]
    assert {name for name, data in contents(earlier).items() if before.get(name) != data} <= {"meter/psd/lock"}
