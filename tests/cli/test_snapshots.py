"""`pes-sim meter snapshot`, `restore`, `clone`: what they say, and what is found out afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pes_sim.virtual import VirtualMeter
from tests.cli.conftest import Cli, job, letters
from tests.meter.made import FUNDS, SERIAL


@pytest.fixture
def taken(cli: Cli, meter: Path, tmp_path: Path) -> Path:
    assert cli("meter", "snapshot", meter, tmp_path / "m1.snapshot").code == 0
    return tmp_path / "m1.snapshot"


def test_a_snapshot_says_what_is_in_it_and_that_the_keys_are(cli: Cli, meter: Path, tmp_path: Path) -> None:
    file = tmp_path / "m1.snapshot"
    result = cli("meter", "snapshot", meter, file)
    assert (result.code, result.err) == (0, "")
    first, second = result.out.splitlines()
    assert first == f"Meter {SERIAL} of {meter}: 17 files in {file}, {file.stat().st_size:,} bytes"
    assert second == "  The meter's keys are in it: whoever can read it has the meter"


def test_an_older_image_put_back_is_found_at_the_next_check_in(
    cli: Cli, meter: Path, taken: Path, tmp_path: Path
) -> None:
    file = job(tmp_path / "j.csv", *letters(3))
    assert cli("print", "--meter", meter, "--job", file, "--out", tmp_path / "o.pdf").code == 0
    assert cli("meter", "checkin", meter).code == 0
    result = cli("meter", "restore", meter, taken)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"Meter {SERIAL} in {meter} is what it was in {taken}",
        "  Its clock and its data centre are not: what it reported since, the next check-in finds missing",
    ]
    result = cli("meter", "checkin", meter)
    assert result.code == 1
    assert "later registers than this device's" in result.complaint()[0]
    document = json.loads(cli("meter", "status", meter, "--json").out)
    assert (document["state"], document["lock_reasons"]) == ("LOCKED", ["rollback found"])
    assert (document["piece_count"], document["descending_mills"]) == (0, FUNDS)


def test_a_clone_goes_its_own_way(cli: Cli, meter: Path, taken: Path, tmp_path: Path) -> None:
    result = cli("meter", "clone", taken, tmp_path / "m2")
    assert (result.code, result.err) == (0, "")
    first, second = result.out.splitlines()
    assert first == f"Meter {SERIAL} once more in {tmp_path / 'm2'}, with a clock and a data centre of its own"
    assert "specimen" in second
    assert cli("meter", "refill", tmp_path / "m2", "5").code == 0
    with VirtualMeter(meter) as first_one, VirtualMeter(tmp_path / "m2") as other:
        assert first_one.registers().control_sum_mills == FUNDS
        assert other.registers().control_sum_mills == FUNDS + 5_000


def test_mistakes_are_told_in_two_lines_and_change_nothing(cli: Cli, meter: Path, taken: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert cli("meter", "new", other, "--serial", "42").code == 0
    altered = tmp_path / "altered"
    altered.write_bytes(taken.read_bytes()[:-1])
    for code, arguments, says in (
        (2, ("snapshot", meter, taken), f"{taken} is there already"),
        (2, ("snapshot", tmp_path, tmp_path / "x"), f"there is no meter in {tmp_path}"),
        (2, ("restore", tmp_path / "none", taken), f"there is no meter in {tmp_path / 'none'} to restore"),
        (2, ("restore", meter, tmp_path / "none"), f"{tmp_path / 'none'} cannot be read: No such file or directory"),
        (2, ("restore", meter, meter / "ca.pem"), f"{meter / 'ca.pem'} is not a snapshot of a meter"),
        (2, ("restore", other, taken), f"{taken} is of PSD {SERIAL}; {other} is PSD 42"),
        (1, ("restore", meter, altered), f"{altered} is no good snapshot any more: "),
        (1, ("clone", altered, tmp_path / "m2"), f"{altered} is no good snapshot any more: "),
        (2, ("clone", taken, meter), f"{meter} is there already"),
    ):
        result = cli("meter", *arguments)
        assert result.code == code
        first, second = result.complaint()
        assert first.startswith(f"pes-sim: {says}")
        assert len(second) > 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["altered", "m1", "m1.snapshot", "other"]


def test_a_meter_that_is_running_is_left_alone(cli: Cli, meter: Path, taken: Path, tmp_path: Path) -> None:
    with VirtualMeter(meter):
        for arguments in (("snapshot", meter, tmp_path / "x"), ("restore", meter, taken)):
            result = cli("meter", *arguments)
            assert result.code == 1
            assert f"{meter / 'psd'} is in use by process " in result.complaint()[0]
