"""What is written from tables is what the tables say, and where it is not, the check finds it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from pes_sim.errors import Status
from pes_sim.link.events import EVENTS
from pes_sim.meter.services import OWN
from pes_sim.psd.fields import FIELDS
from pes_sim.psd.services import SERVICES
from tools.generate import FILES, SECTIONS, generate

ROOT: Final = Path(__file__).parents[1]
HEADER: Final = ROOT / "firmware_stubs/include/pes_protocol.h"
NAMES: Final = [*SECTIONS, *FILES]


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
