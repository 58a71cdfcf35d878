"""The program around its commands: exit codes, its name in every complaint, and outputs that cannot be written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pes_sim import cli as program
from pes_sim.errors import InsufficientFunds, PesError, RefusedByProvider, UsageError
from tests.cli.conftest import ROOT, Cli, command, environment, process

STATUS = ("meter", "status", "m1")


@pytest.mark.parametrize(
    ("problem", "code", "lines"),
    [
        (UsageError("a.csv is empty", hint="Fill it"), 2, ["pes-sim: a.csv is empty", "  Fill it"]),
        (InsufficientFunds("too little"), 1, ["pes-sim: too little"]),
        (RefusedByProvider("no", hint="Look"), 1, ["pes-sim: no", "  Look"]),
        (PermissionError(13, "Permission denied", "/x"), 1, ["pes-sim: /x cannot be used: Permission denied"]),
        (KeyboardInterrupt(), 130, ["pes-sim: interrupted"]),
    ],
)
def test_a_complaint_is_a_line_or_two_and_its_exit_code_tells_whose_fault_it_is(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, problem: BaseException, code: int, lines: list[str]
) -> None:
    def fail(_: object) -> int:
        raise problem

    monkeypatch.setattr(program, "_run", fail)
    result = cli(*STATUS)
    assert (result.code, result.complaint()) == (code, lines)


def test_every_error_of_ours_gets_an_exit_code() -> None:
    codes = {
        kind.__name__: program.EXIT_USAGE if issubclass(kind, ValueError) else program.EXIT_REFUSED
        for kind in PesError.__subclasses__()
    }
    assert {name for name, code in codes.items() if code == program.EXIT_USAGE} == {
        "MoneyError",
        "AnswerTooLong",
        "FieldError",
        "LayoutError",
        "PayloadError",
        "SymbolError",
        "UsageError",
    }


def test_the_installed_command_the_module_and_the_function_are_one_program() -> None:
    assert process("--version").out == process("--version").out != ""
    installed = ROOT / ".venv" / "bin" / "pes-sim"
    if installed.exists():
        done = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == process("--version").out


def test_an_unreadable_meter_is_refused_from_the_outside_too(tmp_path: Path) -> None:
    result = process("meter", "status", tmp_path)
    assert (result.code, len(result.complaint())) == (2, 2)


def run_into(meter: Path, output: int | None, shell: str = "") -> subprocess.CompletedProcess[str]:
    line = command("meter", "status", meter)
    if shell:
        line = ["/bin/sh", "-c", f'"$@" {shell}', "sh", *line]
    return subprocess.run(
        line, env=environment(), cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True, check=False
    )


def test_an_output_that_is_full_is_an_error(meter: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run_into(meter, full.fileno())
    assert done.returncode == 1
    assert done.stderr == "pes-sim: the output cannot be used: No space left on device\n"


def test_a_reader_who_has_gone_hears_nothing_more(meter: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = run_into(meter, write)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_without_an_output_there_is_none(meter: Path) -> None:
    done = run_into(meter, None, shell=">&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_letters_that_a_terminal_lacks_are_shown_by_their_number(tmp_path: Path) -> None:
    departments = tmp_path / "d.csv"
    departments.write_text("code,name\n1,Zürich\n")
    environ = environment() | {"PYTHONIOENCODING": "ascii"}
    for arguments in (("new", "--departments", str(departments)), ("status",)):
        line = command("meter", arguments[0], tmp_path / "m\udcff", *arguments[1:])
        done = subprocess.run(line, env=environ, cwd=ROOT, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
    assert b"department 1 Z\\xfcrich" in done.stdout
