"""`pes-sim bench`: the controls of a meter that another process runs, from its directory alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pes_sim import connect
from pes_sim.bench.actions import ACTIONS, ANSWERS
from tests.cli.conftest import Cli, command, environment


@pytest.fixture
def running(meter: Path) -> Iterator[dict[str, Any]]:
    """`pes-sim meter run`, and what it said when it was ready."""
    with subprocess.Popen(
        command("meter", "run", meter), env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


def test_every_control_can_be_used_and_says_how_the_meter_is_then(
    running: dict[str, Any], cli: Cli, meter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a file is meant from here
    for action in ACTIONS:
        result = cli("bench", meter, *action.example.split(), "--json")
        assert (result.code, result.err) == (0, ""), action.name
        document = json.loads(result.out)
        names = [fact.name for fact in ANSWERS[action.answer]]
        assert list(document)[: len(names)] == names
    assert (tmp_path / "m1.snapshot").exists()


def test_what_people_see(running: dict[str, Any], cli: Cli, meter: Path) -> None:
    assert cli("bench", meter, "status").out.splitlines() == [
        "Meter 1234567: OPERATIONAL, LAN in",
        "  clock      2026-01-05T15:00:00Z (virtual, stands still)",
        "  PSD        2026-01-05T15:00:00Z",
        "  used       $0.00 in 0 pieces",
        "  available  $100.00",
    ]
    assert "  because: check-in overdue\n" in cli("bench", meter, "advance", "72h").out
    assert "LAN out" in cli("bench", meter, "lan", "out").out
    assert "  medium     operation 0; to come: tear@2:100\n" in cli("bench", meter, "fault", "tear@2:100").out
    assert "  self-tests made to fail: sha-256\n" in cli("bench", meter, "self-test", "sha-256").out
    cli("bench", meter, "mend")
    assert "  self-tests failed: sha-256\n" in cli("bench", meter, "power").out
    assert cli("bench", meter, "self-test", "sha-256", "--passes").out.count("made to fail") == 0
    assert cli("bench", meter, "cut").out.startswith("Meter 1234567: no power, LAN out\n")
    assert cli("bench", meter, "rate", "0.5").out.count("virtual, runs at 0.5") == 1
    assert cli("bench", meter, "clock").out.endswith("(virtual, runs at 0.5)\n")
    events = cli("bench", meter, "events", "--after", "1", "--count", "2").out.splitlines()
    assert events[0] == "2 2026-01-08T15:00:00Z state state=LOCKED lock_reasons=['check-in overdue']"
    assert events[1].startswith("3 2026-01-08T15:00:00Z control control=lan plug=out")


def test_what_people_see_of_the_line(running: dict[str, Any], cli: Cli, meter: Path) -> None:
    said = cli("bench", meter, "line", "baud=9600,duplicates=1").out
    assert "  line       baud=9600,duplicates=1.0\n             nothing went over it yet\n" in said
    cli("bench", meter, "line", "duplicates=0")
    with connect(running["port"]) as host:
        host.registers()
    assert "             sent_bytes " in cli("bench", meter, "status").out
    assert "  line       baud=9600,plugged=off; plugged off\n" in cli("bench", meter, "unplug").out


def test_a_cut_in_the_middle_of_a_print_is_come_through(running: dict[str, Any], cli: Cli, meter: Path) -> None:
    """The host at the port asks again by itself; one answer, one debit."""
    with connect(running["port"]) as host:
        host.print_piece(department="100")
        assert cli("bench", meter, "cut", "--at", "3").code == 0
        indicia = [host.print_piece(department="100").indicium for _ in range(3)]
        assert len(set(indicia)) == 3
        assert host.registers().piece_count == 4
        assert [d.pieces for d in host.departments()] == [4, 0]
    kinds = [json.loads(line)["event"] for line in cli(
        "bench", meter, "events", "--count", "3", "--json").out.splitlines()]  # fmt: skip
    assert kinds == ["control", "power cut", "power back"]


def test_it_goes_back_to_a_snapshot_at_the_same_port(
    running: dict[str, Any], cli: Cli, meter: Path, tmp_path: Path
) -> None:
    with connect(running["port"]) as host:
        assert cli("bench", meter, "snapshot", tmp_path / "file").code == 0
        host.print_piece(department="100")
        assert "used       $0.00 in 0 pieces" in cli("bench", meter, "restore", tmp_path / "file").out
        assert host.registers().piece_count == 0
        host.print_piece(department="200")


@pytest.mark.parametrize(
    ("arguments", "code", "lines"),
    [
        (["advance", "soon"], 2, ["pes-sim: 'soon' is not a duration", "  Allowed: 72h1m, 3d, 90s"]),
        (["rate", "-1"], 2, ["pes-sim: a clock does not run at -1.0 times its speed", "  Allowed: 0 to 1000000"]),
        (["rate", "nan"], 2, ["pes-sim: a clock does not run at nan times its speed", "  Allowed: 0 to 1000000"]),
        (["cut", "--at", "0"], 2, ["pes-sim: at: there is no operation 0", "  They are counted from 1: the next"]),
    ],
)
def test_a_refusal_is_told_in_two_lines(
    running: dict[str, Any], cli: Cli, meter: Path, arguments: list[str], code: int, lines: list[str]
) -> None:
    result = cli("bench", meter, *arguments)
    assert (result.code, result.complaint()) == (code, lines)


def test_a_meter_that_does_not_run_is_told_with_how_to_start_it(cli: Cli, meter: Path) -> None:
    result = cli("bench", meter, "status")
    assert result.code == 1
    assert result.complaint() == [
        f"pes-sim: no meter is running in {meter} that could be controlled",
        f"  Start it, without --no-control: pes-sim meter run {meter}",
    ]


def test_and_so_is_one_that_was_killed(running: dict[str, Any], cli: Cli, meter: Path) -> None:
    os.kill(running["pid"], 9)
    os.waitid(os.P_PID, running["pid"], os.WEXITED | os.WNOWAIT)
    result = cli("bench", meter, "status")
    assert result.code == 1
    assert "does not answer: [Errno 111] Connection refused" in result.complaint()[0]
    assert f"Is process {running['pid']} still running?" in result.complaint()[1]


def test_whoever_reads_events_and_goes_is_no_error(running: dict[str, Any], cli: Cli, meter: Path) -> None:
    cli("bench", meter, "pause")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command("bench", meter, "events"), env=environment(), stdout=pipe, stderr=pipe, text=True
    ) as reading:
        assert reading.stdout is not None
        assert reading.stderr is not None
        assert reading.stdout.readline() == "1 2026-01-05T15:00:00Z control control=pause\n"
        reading.stdout.close()
        cli("bench", meter, "pause")  # it finds that when there is something to say
        assert reading.stderr.read() == ""
    assert reading.returncode == 1
