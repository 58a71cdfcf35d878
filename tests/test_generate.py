"""What is written from tables is what the tables say, and where it is not, the check finds it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from pes_sim.cli import EXITS, exit_code
from pes_sim.errors import PesError, Status
from pes_sim.indicium.verify import Verdict as OfTheVerifier
from pes_sim.link.events import EVENTS
from pes_sim.meter.services import OWN
from pes_sim.postal.assessment import Verdict as OfTheOffice
from pes_sim.psd.fields import FIELDS
from pes_sim.psd.lifecycle import Lock, State
from pes_sim.psd.locks import LOCKS
from pes_sim.psd.services import SERVICES, Service
from pes_sim.statuses import FACTS, OF_THE_PROTOCOL
from tools.errors_page import CLASSES, VERDICTS, docstring, facts
from tools.generate import FILES, SECTIONS, generate

ROOT: Final = Path(__file__).parents[1]
HEADER: Final = ROOT / "firmware_stubs/include/pes_protocol.h"
NAMES: Final = [*SECTIONS, *FILES]
ERRORS: Final = (ROOT / "docs/errors.md").read_text("utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The generated files, and nothing else."""
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def test_nothing_is_stale(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(checkout, check=True) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_stale_is_named_and_left_alone_by_the_check_and_mended_by_writing(
    name: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkout / name
    good = file.read_text("utf-8")
    # An older table had one line less: the last generated one.
    lines = good.splitlines(keepends=True)
    ends = [at for at, line in enumerate(lines) if line == "<!-- end -->\n"] or [len(lines) - 1]
    stale = "".join(lines[: ends[-1] - 1] + lines[ends[-1] :])
    assert stale != good
    file.write_text(stale, "utf-8")
    assert generate(checkout, check=True) == 1
    assert capsys.readouterr().out == f"stale: {name} (run: make generate)\n"
    assert file.read_text("utf-8") == stale
    assert generate(checkout, check=False) == 0
    assert capsys.readouterr().out == f"written: {name}\n"
    assert file.read_text("utf-8") == good
    assert generate(checkout, check=True) == 0


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_stale_and_made(name: str, checkout: Path) -> None:
    (checkout / name).unlink()
    assert generate(checkout, check=True) == 1
    assert generate(checkout, check=False) == 0
    assert (checkout / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.parametrize("name", SECTIONS)
def test_a_page_that_has_lost_its_marks_is_an_error(name: str, checkout: Path) -> None:
    (checkout / name).write_text("nothing", "utf-8")
    with pytest.raises(SystemExit, match=f"{re.escape(name)}: 0 places marked"):
        generate(checkout, check=True)


# The C header


def test_the_header_has_every_number_of_the_tables_once() -> None:
    found = re.findall(r"^    (PES_\w+) = (0x[0-9A-F]{2}|\d+),", HEADER.read_text("utf-8"), re.MULTILINE)
    numbers = {name: int(number, 0) for name, number in found}
    assert len(numbers) == len(found)
    for service in (*SERVICES, *OWN):
        assert numbers[f"PES_SERVICE_{service.name.upper()}"] == service.code
    assert {name: n for name, n in numbers.items() if name.startswith("PES_STATUS_")} == {
        f"PES_STATUS_{status.name}": status for status in Status
    }
    assert {n for name, n in numbers.items() if name.startswith("PES_FIELD_")} == {f.number for f in FIELDS}
    assert {n for name, n in numbers.items() if name.startswith("PES_EVENT_")} == {e.code for e in EVENTS}


def test_the_header_compiles_alone_and_twice_as_strictly_as_a_compiler_can(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        assert not os.environ.get("PES_SIM_REQUIRE_CC"), "there is no C compiler (cc): run make system"
        pytest.skip("there is no C compiler (cc)")
    program = tmp_path / "program.c"
    program.write_text(
        '#include "pes_protocol.h"\n#include "pes_protocol.h"\n'
        '_Static_assert(PES_SERVICE_DISPENSE == 0x20 && PES_OVERHEAD == 24, "as docs/protocol.md says");\n'
        "const char *state(void);\nconst char *state(void) { return PES_STATE_OPERATIONAL; }\n"
    )
    strict = [compiler, "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    subprocess.run([*strict, "-x", "c", str(HEADER)], check=True)
    subprocess.run([*strict, f"-I{HEADER.parent}", str(program)], check=True)


# The page of errors


def about(status: Status) -> str:
    """What the page says of a status."""
    (found,) = re.findall(rf"^### {status}\n(.*?)(?=\n\n#|\n<!--)", ERRORS, re.DOTALL | re.MULTILINE)
    return str(found)


def row(first: str) -> list[str]:
    """The one row of a table of the page that begins so: what stands in its further columns."""
    (found,) = re.findall(rf"^\| {re.escape(first)} \| (.*) \|$", ERRORS, re.MULTILINE)
    return str(found).split(" | ")


@pytest.mark.parametrize("status", Status, ids=lambda status: status.name)
def test_every_status_is_found_by_its_number_and_says_what_it_is_and_who_answers_it(status: Status) -> None:
    assert row(f"0x{status.value:02X}") == [f"[{status.name}](#0x{status.value:02x}-{status.name.lower()})"]
    said = about(status).splitlines()
    assert len(said[0]) > len("* What it is, and what to do")
    if status is not Status.OK:
        assert said[-2] == f"* Detail: {', '.join(f'`{name}`' for name in facts(status)) or 'none'}."
        assert re.match(
            r"\* Answered to (any request|every service of|`\w+`).*\. Over a port it is raised as `", said[-1]
        )


@pytest.mark.parametrize("status", OF_THE_PROTOCOL, ids=lambda status: status.name)
def test_a_status_without_an_exception_of_its_own_is_explained_all_the_same(status: Status) -> None:
    assert about(status).startswith(f"* {OF_THE_PROTOCOL[status]}\n" if status else f"* {OF_THE_PROTOCOL[status]}")


def said_to_answer(status: Status, family: str, services: Sequence[Service]) -> set[str]:
    """The services of a family that the page names with a status."""
    answer = about(status).splitlines()[-1].split(". Over a port")[0]
    own = {service.name for service in services}
    for part in answer.split("; "):
        names = set(re.findall(r"`(\w+)`", part))
        if f"every service of {family}" in part:
            return own - names
        if "every service of" not in part and names <= own:
            return names
    return set()


@pytest.mark.parametrize("status", [s for s in Status if any(s in service.statuses for service in (*SERVICES, *OWN))])
def test_just_the_services_that_refuse_with_a_status_are_named_with_it(status: Status) -> None:
    for family, services in (("the PSD", SERVICES), ("the meter", OWN)):
        answering = {service.name for service in services if status in service.statuses}
        if status is Status.LOCKED_ROLLBACK_FOUND:  # by itself; and as the reason of a lock, like the others
            answering |= {service.name for service in services if State.LOCKED not in service.states}
        assert said_to_answer(status, family, services) == answering


@pytest.mark.parametrize("lock", Lock)
def test_a_lock_is_answered_to_whatever_a_locked_device_does_not_do(lock: Lock) -> None:
    answering = {service.name for service in SERVICES if State.LOCKED not in service.states}
    assert answering <= said_to_answer(LOCKS[lock].status, "the PSD", SERVICES)
    assert "dispense" in answering


@pytest.mark.parametrize("lock", Lock)
def test_every_reason_to_be_locked_says_what_clears_it(lock: Lock) -> None:
    assert (
        f'* Reason "{lock}": {LOCKS[lock].meaning}. {LOCKS[lock].hint}. Cleared by `{LOCKS[lock].cleared_by}`'
        in about(LOCKS[lock].status)
    )


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_exception_is_found_by_its_name_and_says_what_it_is_where_its_status_is(kind: type[PesError]) -> None:
    _, leads_to, ends_with = row(f"`{kind.__name__}`")
    assert f"[{kind.status}](" in leads_to
    assert ends_with == str(exit_code(kind))
    assert f"* `{kind.__name__}` (exit code {exit_code(kind)}): {docstring(kind)}\n" in about(kind.status) + "\n"


def test_every_exit_code_verdict_and_fact_has_its_row() -> None:
    for code, says in EXITS.items():
        assert row(str(code)) == [says]
    assert set(VERDICTS) == {*OfTheVerifier, *OfTheOffice}
    for verdict, says in VERDICTS.items():
        commands = [name for name, of in (("verify", OfTheVerifier), ("accept", OfTheOffice)) if verdict in set(of)]
        assert row(f"`{verdict}`") == [", ".join(commands), says]
    for name, says in FACTS.items():
        assert row(f"`{name}`") == [says]


def test_every_link_within_the_page_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", ERRORS, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]*)\)", ERRORS)
    assert links
    assert set(links) <= headings
