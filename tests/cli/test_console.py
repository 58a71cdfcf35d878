"""What people see: a bar only on a terminal, tables that keep their figures, and Ctrl-C held while it must be."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from pes_sim.cli import console
from tests.cli.conftest import ROOT, command, environment, job, letters


def test_without_a_terminal_the_items_go_by_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(console.progress([1, 2, 3], "counting")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_on_standard_error(meter: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    line = command(
        "print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(3)), "--out", tmp_path / "o.pdf"
    )
    terminal = {**environment(), "TERM": "xterm"}  # a dumb one gets no bar
    with subprocess.Popen(line, cwd=ROOT, env=terminal, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        try:
            while data := os.read(ours, 4096):
                seen += data
        except OSError:  # how a pseudo-terminal says that nobody is at the other end any more
            pass
        assert process.stdout is not None
        printed = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0
    assert b"printing" in seen
    assert b"100%" in seen
    assert b"3 of 3 pieces printed" in printed
    assert b"printing" not in printed


def test_a_table_shows_every_cell_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("Title", ("left", "right"), [("[bold]x[/bold]", 12), (":smile:", "1,234.56")], right=(1,))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "Title"
    assert [line.split() for line in lines if "smile" in line] == [[":smile:", "1,234.56"]]
    assert any("[bold]x[/bold]" in line and line.rstrip().endswith("      12") for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with console.held() as interruption:
        asked = [interruption.asked]
        signal.raise_signal(number)
        assert [*asked, interruption.asked] == [False, True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_handlers_are_as_before_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), console.held():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
