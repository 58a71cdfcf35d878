"""`pes-sim` as tests call it: in this process where that is enough, else in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pes_sim.cli import main
from tests.meter.made import copy_of_a_meter

ROOT = Path(__file__).parents[2]
HEADER = "date,department,mail_class,weight_oz,destination,text,amount"


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def complaint(self) -> list[str]:
        """The lines of an error: one or two, the first with the program's name, and no traceback."""
        lines = self.err.splitlines()
        assert self.out == ""
        assert 1 <= len(lines) <= 2
        assert lines[0].startswith("pes-sim: ")
        assert all(line.startswith("  ") for line in lines[1:])
        return lines


Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse's own
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pes_sim.cli", *(str(argument) for argument in arguments)]


def environment() -> dict[str, str]:
    """Every process finds the package of this checkout, wherever it is started, and writes as it does for users."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | {"PYTHONPATH": str(ROOT)}


def process(*arguments: object, cwd: Path = ROOT) -> Result:
    """Runs one command in a process of its own."""
    done = subprocess.run(command(*arguments), cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


@contextmanager
def paused(what: str, number: int, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A command in a process of its own that has got to a point of `tests.cli.paused`, and what it said until then.

    It is killed at the end, unless it has ended before.
    """
    words = [sys.executable, "-m", "tests.cli.paused", what, str(number), *(str(argument) for argument in arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            if line == f"{what} {number}\n":
                break
            said.append(line.rstrip("\n"))
        else:
            raise AssertionError(f"it ended before {what} {number}: {said}, {process.communicate()[1]}")
        yield process, said
        process.kill()


@pytest.fixture
def meter(tmp_path: Path) -> Path:
    """A meter with $100 in it, departments 100 and 200, on 2026-01-05."""
    return copy_of_a_meter(tmp_path / "m1")


def job(path: Path, *rows: str) -> Path:
    """A job of `rows`, or of that many letters for department 100 and 200 in turn."""
    path.write_text("\n".join([HEADER, *rows, ""]))
    return path


def letters(count: int) -> list[str]:
    return [f"today,{(100, 200)[n % 2]},first_class_letter,1,1000{n % 10},Letter {n}," for n in range(count)]
