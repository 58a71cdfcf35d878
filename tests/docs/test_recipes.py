"""What the documentation says to type works as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from pes_sim.link.line.config import SETTINGS
from pes_sim.link.line.faults import Kind
from pes_sim.postal import records
from tests import programs, softhsm
from tools import pictures

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def run(*command: str, cwd: Path) -> str:
    """The output of a program that must succeed; `pes-sim` is found as after `make`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("number", [0, 1])
def test_the_readmes_python_runs(number: int, tmp_path: Path) -> None:
    run(sys.executable, "-c", blocks("README.md", "python")[number], cwd=tmp_path)


def test_the_readme_has_no_other_python() -> None:
    assert len(blocks("README.md", "python")) == 2


def test_the_readmes_commands_run_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    commands = blocks("README.md", "sh")[1].strip().splitlines()
    assert len(commands) == 13
    output = [run("sh", "-ec", command, cwd=tmp_path) for command in commands]
    assert "pieces printed into indicia.pdf" in output[1]
    assert re.search(r"(\d+) of \1 valid", output[2])
    assert '"state": "LOCKED"' in output[4]
    assert "OPERATIONAL" in output[5]
    assert "The picture is in imi_std.svg" in output[8]
    assert "tests in 6 groups" in output[9]
    assert "44x44 modules, 114 bytes" in output[10]
    assert "no evidence of postage paid" in output[11]
    assert "6 pieces on 1 page proof" in output[12]


@pytest.mark.parametrize("number", [0, 1])
def test_the_ways_to_open_a_port_in_python_run(number: int, tmp_path: Path) -> None:
    output = run(sys.executable, "-c", blocks("docs/ports.md", "python")[number], cwd=tmp_path)
    assert len(blocks("docs/ports.md", "python")) == 2
    assert output.count("\n") == (5, 0)[number]


PSD_PYTHON = ("in a program", "on a pseudo-terminal", "another clock and line", "a token")


@pytest.mark.parametrize("number", range(len(PSD_PYTHON)), ids=PSD_PYTHON)
def test_the_ways_to_a_psd_in_python_run(number: int, tmp_path: Path) -> None:
    program = blocks("docs/psd.md", "python")[number]
    before = ""
    if "PKCS11_MODULE" in program:
        (token,) = blocks("docs/psd.md", "console")
        before = token.replace("/usr/lib/softhsm/libsofthsm2.so", softhsm.module())  # Debian's place of it
    (tmp_path / "program.py").write_text(program)
    output = run("sh", "-ec", f"{before}{sys.executable} program.py", cwd=tmp_path)
    assert ("and this one dials up" in output) is ("DIAL_UP" in program)


def test_there_is_no_other_way_to_a_psd() -> None:
    assert len(blocks("docs/psd.md", "python")) == len(PSD_PYTHON)
    assert len(blocks("docs/psd.md", "sh")) == 1


def test_the_commands_to_a_psd_run_one_after_the_other(tmp_path: Path) -> None:
    commands = blocks("docs/psd.md", "sh")[0].strip().splitlines()
    assert len(commands) == 5
    output = [run("sh", "-ec", command, cwd=tmp_path) for command in commands]
    assert "  passed: sha-256" in output[1]
    assert "because: inspection due" in output[2]
    assert "OPERATIONAL" in output[3]
    assert '"state": "WITHDRAWN"' in output[4]


def test_a_stranger_checks_a_payload_with_openssl_alone(tmp_path: Path) -> None:
    run("pes-sim", "demo", "--out", "demo-out", "--seed", "recipes", cwd=tmp_path)
    (recipe,) = blocks("docs/indicia.md", "sh")
    output = run("sh", "-ec", recipe, cwd=tmp_path)
    assert "psd.pem: OK" in output
    assert output.endswith("Verified OK\n")


def test_the_recipe_finds_an_altered_payload(tmp_path: Path) -> None:
    run("pes-sim", "demo", "--out", "demo-out", "--seed", "recipes", cwd=tmp_path)
    pieces = tmp_path / "demo-out" / "pieces.jsonl"
    text = pieces.read_text()
    pieces.write_text(text.replace('"payload_hex": "ca3939533', '"payload_hex": "ca3939534', 1))
    (recipe,) = blocks("docs/indicia.md", "sh")
    done = subprocess.run(["sh", "-ec", recipe], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Verified OK" not in done.stdout


def test_scans_are_made_read_and_graded_as_the_page_says(tmp_path: Path) -> None:
    (recipe,) = blocks("docs/reading.md", "sh")
    commands = recipe.strip().splitlines()
    assert len(commands) == 6
    output = [run("sh", "-ec", command, cwd=tmp_path) for command in commands]
    assert "300 dpi, noise=4, skew=2.5, stripe=0.1" in output[2]
    assert "1 of 1 valid" in output[3]
    assert "ESTIMATE after ISO/IEC 15415" in output[3]
    found = json.loads(output[5])
    assert found["valid"] is True
    assert all(indicium["place"]["box_mm"] for indicium in found["indicia"])


def test_a_rollback_is_made_and_found_as_the_page_on_storage_says(tmp_path: Path) -> None:
    _, recipe = blocks("docs/storage.md", "sh")
    commands = recipe.strip().splitlines()
    assert len(commands) == 9
    output = [run("sh", "-ec", command, cwd=tmp_path) for command in commands]
    assert output[5] == "found\n"
    assert re.search(r": LOCKED\n  because: rollback found\.", output[6])
    assert output[8] == "checked in: OPERATIONAL, 72.0 h to the next one\n"


def test_a_meter_to_cut_the_power_of_comes_up_as_the_page_says(tmp_path: Path) -> None:
    run("pes-sim", "meter", "new", "m1", "--refill", "100", cwd=tmp_path)
    command, _ = blocks("docs/storage.md", "sh")
    words = [str(Path(sys.executable).parent / "pes-sim"), *command.split()[1:]]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.terminate()
    assert (process.returncode, ready["device_kind"]) == (0, "psd")


def test_a_power_cut_in_a_program_is_come_through_as_the_page_says(tmp_path: Path) -> None:
    (program,) = blocks("docs/storage.md", "python")
    run(sys.executable, "-c", program, cwd=tmp_path)


def test_a_piece_is_paid_once_over_a_bad_line_as_the_page_says(tmp_path: Path) -> None:
    (program,) = blocks("docs/line.md", "python")
    output = run(sys.executable, "-c", program, cwd=tmp_path)
    counted = dict(re.findall(r"(\w+)=(\d+)", output))
    assert int(counted["flipped_bits"]) > 5
    assert counted["unplugs"] == "1"


def test_the_page_on_the_line_has_every_setting_and_every_step() -> None:
    text = (ROOT / "docs/line.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z-]+)=\S+` \| `(\w+)` \|", text, re.MULTILINE)
    assert rows == [(name, setting.field) for name, setting in SETTINGS.items()]
    assert [kind for kind in Kind if f"`{kind}`" not in text] == []


def test_a_meter_on_the_bench_does_what_the_page_says(tmp_path: Path) -> None:
    """Both blocks in one shell: the second one talks to the meter that the first one started."""
    first, second = blocks("docs/bench.md", "sh")
    output = run("bash", "-ec", f"{first}\n{second}\nwait %1", cwd=tmp_path)
    assert output.count("LOCKED, LAN in\n  because: check-in overdue") == 2  # the restored one is overdue as well
    assert '"control": "cut", "at": 3' in output
    assert '"lan":"out"' in output
    assert "event: control" in output
    assert not (tmp_path / "m1" / "control.json").exists()


def test_a_port_is_monitored_as_the_page_says(tmp_path: Path) -> None:
    (program,) = blocks("docs/monitor.md", "sh")
    output = run("bash", "-ec", program, cwd=tmp_path).splitlines()
    assert output.count(f"ready: open {tmp_path}/meter1; what goes to pty:meter0 and back is shown here") == 1
    assert output.count("end: stopped") == 1
    shown = [line for line in output if " > " in line or " < " in line]
    assert len(shown) % 2 == 0
    assert shown[: len(shown) // 2] == shown[len(shown) // 2 :], "live, and from the trace"
    assert any("reply   print_piece OK" in line for line in shown)


def test_the_post_office_judges_as_its_page_says(tmp_path: Path) -> None:
    (recipe,) = blocks("docs/acceptance.md", "sh")
    commands = recipe.strip().splitlines()
    assert len(commands) == 5
    output = [run("sh", "-ec", command, cwd=tmp_path) for command in commands]
    assert ": accepted: $0.74" in output[1]
    assert re.search(r"\d+ of 24 accepted", output[1])
    scans = json.loads((tmp_path / "copies.json").read_text())["scans"]
    assert {scan["verdict"] for scan in scans} == {"duplicate"}
    assert (tmp_path / "lesson.txt").read_text().count("the same as r: it verifies") == 24
    (program,) = blocks("docs/acceptance.md", "python")
    assert run(sys.executable, "-c", program, cwd=tmp_path).startswith("accepted duplicate scan scan 1 of ")


def test_the_records_on_the_post_offices_page_can_be_read(tmp_path: Path) -> None:
    (document,) = blocks("docs/acceptance.md", "json")
    (tmp_path / "records.json").write_text(document)
    assert len(records.load_file(tmp_path / "records.json")) == 2


def test_pages_are_drawn_and_printed_as_the_page_on_them_says(tmp_path: Path) -> None:
    (program,) = blocks("docs/preview.md", "sh")
    output = run("sh", "-ec", program, cwd=tmp_path)
    assert "6 pieces on 1 page proof in proof.png" in output
    assert "6 pieces on 2 pages tape-roll in tapes-1.svg to tapes-2.svg" in output
    assert "1 of 1 valid" in output
    assert output.endswith("no specimen, no page\n")
    assert not (tmp_path / "no.pdf").exists()


def test_the_attachment_is_taken_out_and_drawn_again_as_the_page_says(tmp_path: Path) -> None:
    text = (ROOT / "docs/preview.md").read_text("utf-8")
    out, again = re.findall(r"`((?:pdfdetach|pes-sim preview pieces)[^`]+)`", text)
    run("pes-sim", "preview", "--out", "letters.pdf", cwd=tmp_path)
    programs.run(out.split()[0], *out.split()[1:-1], "-o", tmp_path / "pieces.jsonl", tmp_path / "letters.pdf")
    assert "6 pieces on 6 pages label" in run(*again.split(), cwd=tmp_path)


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_the_pictures_show_what_is_drawn_today(name: str, tmp_path: Path) -> None:
    """But for single pixels, which another version of PDFium may set otherwise."""
    with Image.open(ROOT / "docs/images" / name) as kept, Image.open(pictures.draw(name, tmp_path)) as drawn:
        assert kept.size == drawn.size
        different = ImageChops.difference(kept.convert("L"), drawn.convert("L"))
        assert sum(different.histogram()[64:]) < kept.width * kept.height / 1000


def test_a_bench_in_a_program_does_what_the_page_says(tmp_path: Path) -> None:
    (program,) = blocks("docs/bench.md", "python")
    run(sys.executable, "-c", program, cwd=tmp_path)


def test_the_tests_on_the_page_for_pytest_pass(tmp_path: Path) -> None:
    (program,) = blocks("docs/pytest.md", "python")
    (tmp_path / "test_page.py").write_text(program)
    options = ("-q", "--strict-markers", "-p", "pes_sim.pytest_plugin", "-p", "no:cacheprovider")
    assert "4 passed" in run(sys.executable, "-m", "pytest", *options, cwd=tmp_path)
