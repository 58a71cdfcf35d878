"""examples/hil, as somebody else's project: in a clean environment, against the wheel that users would install."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = Path(sys.executable).parent


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """The output of a program that ends with that code. Nothing of this checkout is in its way."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment: what pes-sim needs to run, as it is locked, the wheel, pytest and xdist."""
    folder = tmp_path_factory.mktemp("clean")
    # As in `make setup`: built with what is locked, and nothing is fetched for it.
    run(TOOLS / "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    run(TOOLS / "uv", "venv", "--python", sys.executable, folder / "venv", cwd=ROOT)
    programs = folder / "venv" / "bin"
    install = (TOOLS / "uv", "pip", "install", "--python", programs / "python")
    run(*install, "--require-hashes", "-r", "requirements/run.txt", cwd=ROOT)
    run(*install, "-c", "requirements/dev.txt", "pytest", "pytest-xdist", cwd=ROOT)
    run(*install, "--no-deps", "--offline", wheel, cwd=ROOT)
    return programs


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "examples" / "hil", tmp_path / "hil"))


@pytest.fixture
def port(environment: Path, tmp_path: Path) -> Iterator[str]:
    """What is a real device to the project: the meter of another process, with $100 in it."""
    run(environment / "pes-sim", "meter", "new", "m1", "--refill", "100", cwd=tmp_path)
    command = [str(environment / "pes-sim"), "meter", "run", "m1", "--no-control"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["port"])
        process.terminate()


def test_three_tests_pass_at_fresh_meters_in_memory_and_their_report_says_which(
    environment: Path, project: Path
) -> None:
    output = run(environment / "pytest", "--junitxml", "report.xml", "--pes-trace", "traces", cwd=project)
    assert re.search(r"^=* ?3 passed", output, re.MULTILINE)
    cases = ElementTree.parse(project / "report.xml").findall(".//testcase")
    said = [{(p.get("name"), p.get("value")) for p in case.findall(".//property")} for case in cases]
    assert [("pes_device_kind", "meter") in facts for facts in said] == [True] * 3
    assert len({value for facts in said for name, value in facts if name == "pes_psd_serial"}) == 3
    assert {value for name, value in said[2] if name == "requirement"} == {"A2", "A3"}
    assert list((project / "traces").iterdir()) == []


def test_they_pass_at_pseudo_terminals_two_at_a_time(environment: Path, project: Path) -> None:
    output = run(environment / "pytest", "-n", "2", "--pes-port=pty:", "--pes-trace=traces", cwd=project)
    assert re.search(r"^=* ?3 passed", output, re.MULTILINE)
    assert list((project / "traces").iterdir()) == []


def test_at_a_device_what_it_cannot_do_and_what_costs_money_is_skipped_until_it_may_cost(
    environment: Path, project: Path, port: str
) -> None:
    output = run(environment / "pytest", "-rs", f"--pes-port={port}", cwd=project)
    assert re.search(r"1 passed, 2 skipped", output)
    assert f"spends postage, and --pes-spend was not given: {port} is a real device" in output
    assert f"needs a bench: {port} is a real device" in output
    output = run(environment / "pytest", f"--pes-port={port}", "--pes-spend", cwd=project)
    assert re.search(r"2 passed, 1 skipped", output)


def test_the_wheel_has_the_demos_files_and_no_project_of_ours(environment: Path) -> None:
    where = run(environment / "python", "-c", "import pes_sim; print(*pes_sim.__path__)", cwd=environment).strip()
    assert environment.parent in Path(where).parents
    assert sorted(path.name for path in (Path(where) / "examples").iterdir()) == ["departments.csv", "mail_job.csv"]
