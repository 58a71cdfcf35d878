"""`pes-sim print`: paid and drawn, or neither, whatever the job, the money, the disk and the user do."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from pes_sim.indicium import layout, symbol
from pes_sim.meter.meter import Meter, Printed
from pes_sim.preview import image
from pes_sim.preview.document import Document
from pes_sim.preview.marks import Page
from pes_sim.virtual import VirtualMeter, create
from tests.cli.conftest import HEADER, ROOT, Cli, job, letters, paused
from tests.meter.made import CUSTOMER, DEPOSIT
from tests.preview.made import attached, payloads_of, text_of

IMI = layout.builtin("imi_std")


def pages(path: Path) -> int:
    with pypdfium2.PdfDocument(path) as document:
        return len(document)


def payloads(path: Path) -> list[bytes]:
    return [payload for page in image.pages(path, 200) for payload in symbol.read(page, "zxing")]


def books(directory: Path) -> tuple[int, int]:
    """Pieces and mills that the meter has dispensed; all its books must agree on them."""
    with VirtualMeter(directory) as meter:
        registers, departments = meter.registers(), meter.departments()
        assert registers.balanced()
        assert sum(d.postage_mills for d in departments) == registers.ascending_mills
        assert sum(d.pieces for d in departments) == registers.piece_count == len(list(meter.log()))
        assert meter.centre.balance(CUSTOMER) == DEPOSIT - registers.control_sum_mills
    return registers.piece_count, registers.ascending_mills


def jobs(directory: Path) -> list[str]:
    return sorted(path.stem for path in (directory / "jobs").glob("*.json"))


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix not in (".csv",) and path.name != "m1")


# --- a good job ------------------------------------------------------------------------------------------------------


def test_a_job_becomes_a_page_a_piece_and_each_is_paid(cli: Cli, meter: Path, tmp_path: Path) -> None:
    rows = [*letters(2), "+1,200,international_letter,0.5,,Zürich,2.00"]
    result = cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *rows), "--out", tmp_path / "o.pdf")
    (job_id,) = jobs(meter)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"{job_id}: 3 pieces",
        f"3 of 3 pieces printed into {tmp_path / 'o.pdf'}, $3.48; $96.52 available",
    ]
    assert pages(tmp_path / "o.pdf") == 3
    assert books(meter) == (3, 3_480)
    values = [IMI.unpack(payload).values for payload in payloads(tmp_path / "o.pdf")]
    assert [v["postage_mills"] for v in values] == [740, 740, 2_000]
    assert [v["mailing_date"] for v in values] == ["2026-01-05", "2026-01-05", "2026-01-06"]
    with VirtualMeter(meter) as opened:
        assert [entry["indicium"] for entry in opened.log()] == payloads(tmp_path / "o.pdf")
        assert [entry["reference"] for entry in opened.log()] == [b"100", b"200", b"200"]


def test_the_example_job_prints_with_departments_of_its_own(cli: Cli, tmp_path: Path) -> None:
    examples = ROOT / "examples"
    directory = tmp_path / "m1"
    made = cli("meter", "new", directory, "--departments", examples / "departments.csv", "--refill", "100")
    assert made.code == 0
    result = cli("print", "--meter", directory, "--job", examples / "mail_job.csv", "--out", tmp_path / "o.pdf")
    assert (result.code, result.err) == (0, "")
    assert "23 of 23 pieces printed" in result.out
    assert "$21.75; $78.25 available" in result.out
    assert pages(tmp_path / "o.pdf") == 23


def test_the_same_job_again_is_another_run_and_paid_again(cli: Cli, meter: Path, tmp_path: Path) -> None:
    arguments = ("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(2)), "--out", tmp_path / "o.pdf")
    assert cli(*arguments).code == cli(*arguments).code == 0
    assert len(jobs(meter)) == 2
    assert books(meter) == (4, 4 * 740)


def test_a_meter_of_a_layout_of_ones_own_prints(cli: Cli, tmp_path: Path) -> None:
    built_in = (Path(layout.__file__).parent / "layouts" / "imi_std.toml").read_text()
    (tmp_path / "mine.toml").write_text(built_in.replace('name = "imi_std"', 'name = "mine"'))
    create(tmp_path / "m1", layout=str(tmp_path / "mine.toml"))
    assert cli("meter", "refill", tmp_path / "m1", "10").code == 0
    rows = job(tmp_path / "j.csv", "today,100,first_class_letter,1,10001,,")
    assert cli("print", "--meter", tmp_path / "m1", "--job", rows, "--out", tmp_path / "o.pdf").code == 0
    assert pages(tmp_path / "o.pdf") == 1


# --- bad rows --------------------------------------------------------------------------------------------------------

BAD_ROWS = [
    "today,100,parcel,1,10001,,",
    "today,999,first_class_letter,0,1000,,-1",
    "yesterday,100,first_class_letter,1,10001,,",
]


def test_one_bad_row_and_nothing_is_printed_or_debited(cli: Cli, meter: Path, tmp_path: Path) -> None:
    file = job(tmp_path / "j.csv", *letters(3), *BAD_ROWS)
    before = books(meter)
    result = cli("print", "--meter", meter, "--job", file, "--out", tmp_path / "o.pdf")
    assert (result.code, result.out) == (2, "")
    lines = result.err.splitlines()
    assert [line[: line.index(":")] for line in lines[:-2]] == [
        f"{file}, line 5, column 3 (mail_class)",
        f"{file}, line 6, column 2 (department)",
        f"{file}, line 6, column 4 (weight_oz)",
        f"{file}, line 6, column 5 (destination)",
        f"{file}, line 6, column 7 (amount)",
        f"{file}, line 7, column 1 (date)",
    ]
    assert all(". Allowed: " in line for line in lines[:-2])
    assert lines[-2:] == [
        "pes-sim: 3 bad rows; nothing was printed or debited",
        "  Correct them, or print the others with --skip-bad",
    ]
    assert books(meter) == before == (0, 0)
    assert leftovers(tmp_path) == []
    assert jobs(meter) == []


def test_with_skip_bad_the_others_are_printed_and_the_bad_ones_listed(cli: Cli, meter: Path, tmp_path: Path) -> None:
    file = job(tmp_path / "j.csv", BAD_ROWS[0], *letters(2), BAD_ROWS[1])
    result = cli("print", "--meter", meter, "--job", file, "--out", tmp_path / "o.pdf", "--skip-bad")
    assert result.code == 0
    assert "2 of 2 pieces printed" in result.out
    listed = result.err.splitlines()
    assert len(listed) == 5
    assert all(line.startswith(f"skipped: {file}, line ") for line in listed)
    assert {line.split(", line ")[1].split(",")[0] for line in listed} == {"2", "5"}
    assert pages(tmp_path / "o.pdf") == 2
    assert books(meter) == (2, 1_480)


def test_where_all_rows_are_bad_there_is_nothing_to_print(cli: Cli, meter: Path, tmp_path: Path) -> None:
    file = job(tmp_path / "j.csv", BAD_ROWS[0])
    result = cli("print", "--meter", meter, "--job", file, "--out", tmp_path / "o.pdf", "--skip-bad")
    assert result.code == 2
    assert result.err.splitlines()[-1] == "pes-sim: no good row is left; nothing was printed or debited"
    assert books(meter) == (0, 0)
    result = cli("print", "--meter", meter, "--job", file, "--out", tmp_path / "o.pdf")
    assert result.err.splitlines()[-2] == "pes-sim: 1 bad row; nothing was printed or debited"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1: no column date"),
        (HEADER.encode(), "has no rows below line 1"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_no_job_is_refused(
    cli: Cli, meter: Path, tmp_path: Path, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "j.csv").write_bytes(content)
    result = cli("print", "--meter", meter, "--job", tmp_path / "j.csv", "--out", tmp_path / "o.pdf")
    assert result.code == 2
    assert f"{tmp_path / 'j.csv'}" in result.complaint()[0]
    assert says in result.complaint()[0]
    assert leftovers(tmp_path) == []


def test_a_department_that_a_row_names_must_be_one_of_this_meter(cli: Cli, meter: Path, tmp_path: Path) -> None:
    file = job(tmp_path / "j.csv", "today,300,first_class_letter,1,10001,,")
    result = cli("print", "--meter", meter, "--job", file, "--out", tmp_path / "o.pdf")
    assert "unknown department '300'. Allowed: 100, 200" in result.err


# --- where it goes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["none/o.pdf", "folder", "j.csv/o.pdf", "pipe", "/proc/o.pdf", "x" * 300])
def test_a_place_that_cannot_be_written_to_is_said_before_anything_is_paid(
    cli: Cli, meter: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "folder").mkdir()
    subprocess.run(["mkfifo", tmp_path / "pipe"], check=True)
    out = tmp_path / place
    result = cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(1)), "--out", out)
    assert result.code in (1, 2)
    lines = [line for line in result.err.splitlines() if line.startswith("pes-sim: ")]
    assert len(lines) == 1
    assert str(out) in lines[0]
    assert "To go on" not in result.err
    assert books(meter) == (0, 0)
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "folder").is_dir()
    assert leftovers(tmp_path) == ["folder", "pipe"]


def test_a_device_is_not_replaced_by_a_file(cli: Cli, meter: Path, tmp_path: Path) -> None:
    # Not /dev/full itself: if this went wrong, it would be gone.
    (tmp_path / "full").symlink_to("/dev/full")
    result = cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(1)), "--out", tmp_path / "full")
    assert result.complaint()[0] == f"pes-sim: {tmp_path / 'full'} is a device or a pipe"
    assert (tmp_path / "full").is_symlink()
    assert books(meter) == (0, 0)


def test_an_earlier_file_is_replaced_when_the_new_one_is_whole(cli: Cli, meter: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.pdf"
    out.write_text("earlier")
    bad = job(tmp_path / "bad.csv", BAD_ROWS[0])
    assert cli("print", "--meter", meter, "--job", bad, "--out", out).code == 2
    assert out.read_text() == "earlier"
    assert cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(1)), "--out", out).code == 0
    assert pages(out) == 1


def resume_line(result_err: str) -> list[str]:
    """The arguments of the command that an unfinished job tells."""
    (line,) = [line for line in result_err.splitlines() if "To go on: " in line]
    return shlex.split(line.split("To go on: pes-sim ")[1])


def test_paid_pieces_whose_file_cannot_be_written_are_drawn_by_going_on(
    cli: Cli, meter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "our own; o'pdf.pdf"
    with monkeypatch.context() as context:

        def takes_the_directory_away(meter: Meter, **request: object) -> Printed:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            return print_piece(meter, **request)  # type: ignore[arg-type]

        print_piece = Meter.print_piece
        context.setattr(Meter, "print_piece", takes_the_directory_away)
        result = cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(3)), "--out", out)
    assert result.code == 2
    assert f"{out} cannot be written: No such file or directory" in result.err
    assert "none of them twice" in result.err
    assert books(meter) == (3, 3 * 740)
    (tmp_path / "out").mkdir()
    again = cli(*resume_line(result.err))
    assert (again.code, pages(out)) == (0, 3)
    assert books(meter) == (3, 3 * 740)


def test_what_to_type_next_names_a_directory_with_a_blank_for_a_shell(cli: Cli, tmp_path: Path) -> None:
    meter = tmp_path / "our meter"
    assert cli("meter", "new", meter, "--refill", "1.00").code == 0
    rows = ["today,100,first_class_letter,1,10001,,"] * 2
    result = cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *rows), "--out", tmp_path / "o.pdf")
    assert f"missing: pes-sim meter refill '{meter}' DOLLARS" in result.err
    assert resume_line(result.err)[2] == str(meter)
    assert cli(*resume_line(result.err)).code == 1
    fresh = cli("meter", "new", tmp_path / "a b").out
    assert f"(pes-sim meter refill '{tmp_path / 'a b'}' 100.00 adds some)" in fresh


def test_going_on_takes_names_and_texts_that_begin_like_an_option_for_what_they_are(
    cli: Cli, meter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    meter.rename("-m1")
    Image.new("L", (40, 40), 128).save("-logo.png")
    too_dear = job(tmp_path / "j.csv", *letters(1), "today,100,first_class_letter,1,10001,,99.50")
    for look in (["--slogan=-50% off"], ["--logo=-logo.png", "--page", "tape"]):
        printed = cli("print", "--meter=-m1", "--job", too_dear, "--out=-o.pdf", *look)
        first = payloads(tmp_path / "-o.pdf"), text_of(tmp_path / "-o.pdf")
        again = cli(*resume_line(printed.err))
        assert again.err == printed.err  # there is still no money for the second
        assert (payloads(tmp_path / "-o.pdf"), text_of(tmp_path / "-o.pdf")) == first
        assert "missing: pes-sim meter refill ./-m1 DOLLARS" in again.err


# --- money that runs out ---------------------------------------------------------------------------------------------


def test_a_job_stops_at_the_piece_that_there_is_no_money_for_and_goes_on_after_a_refill(
    cli: Cli, meter: Path, tmp_path: Path
) -> None:
    # $100.00: 2 letters of $40.00, then $20.00 are left for one of $30.00.
    rows = [f"today,{code},first_class_letter,1,10001,,{amount}" for code, amount in ((100, 40), (200, 40), (100, 30))]
    out = tmp_path / "o.pdf"
    result = cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *rows, *letters(1)), "--out", out)
    (job_id,) = jobs(meter)
    assert result.code == 1
    assert result.out.splitlines()[-1] == f"2 of 4 pieces printed into {out}, $80.00; $20.00 available"
    assert result.err.splitlines() == [
        "pes-sim: stopped at line 4: $30.00 asked, $20.00 available, $10.00 missing",
        f"  $10.00 missing: pes-sim meter refill {meter} DOLLARS",
        f"  To go on: pes-sim print --meter {meter} --resume {job_id} --out {out}",
    ]
    assert pages(out) == 2
    assert books(meter) == (2, 80_000)
    first = payloads(out)
    # Still too little: the same again, and nothing is paid twice.
    assert cli(*resume_line(result.err)).code == 1
    assert books(meter) == (2, 80_000)
    assert cli("meter", "refill", meter, "50").code == 0
    again = cli(*resume_line(result.err))
    assert (again.code, again.err) == (0, "")
    assert again.out.splitlines()[-1] == f"4 of 4 pieces printed into {out}, $110.74; $39.26 available"
    assert pages(out) == 4
    assert payloads(out)[:2] == first
    assert books(meter) == (4, 110_740)
    assert cli(*resume_line(result.err)).code == 0  # once more changes nothing
    assert books(meter) == (4, 110_740)


def test_no_money_at_all_leaves_no_file(cli: Cli, meter: Path, tmp_path: Path) -> None:
    file = job(tmp_path / "j.csv", "today,100,first_class_letter,1,10001,,100.001")
    result = cli("print", "--meter", meter, "--job", file, "--out", tmp_path / "o.pdf")
    assert result.code == 1
    assert result.out.splitlines()[-1] == "0 of 1 pieces printed, $0.00; $100.00 available"
    assert "$0.001 missing" in result.err
    assert leftovers(tmp_path) == []


def test_a_locked_meter_prints_nothing_and_says_what_clears_it(cli: Cli, meter: Path, tmp_path: Path) -> None:
    assert cli("meter", "advance", meter, "72h1m").code == 0
    file = job(tmp_path / "j.csv", *letters(2))
    result = cli("print", "--meter", meter, "--job", file, "--out", tmp_path / "o.pdf")
    assert result.code == 1
    assert result.err.splitlines()[:2] == [
        "pes-sim: stopped at line 2: locked: no check-in for 72 hours, overdue by 0 h 1 min",
        "  A check-in with the provider clears it",
    ]
    assert cli("meter", "checkin", meter).code == 0
    assert cli(*resume_line(result.err)).code == 0
    assert books(meter) == (2, 1_480)


# --- going on --------------------------------------------------------------------------------------------------------


def test_a_job_that_is_not_known_is_answered_with_those_that_are(cli: Cli, meter: Path, tmp_path: Path) -> None:
    def resume(job_id: str) -> list[str]:
        return cli("print", "--meter", meter, "--resume", job_id, "--out", tmp_path / "o.pdf").complaint()

    assert resume("job-1-00000000") == [f"pes-sim: {meter} has no job 'job-1-00000000'", "  Known: none"]
    folder = meter / "jobs"
    folder.mkdir()
    for number in (1, 9, 10, 99, 100, 1000):
        (folder / f"job-{number}-00000000.json").write_text("[]")
    assert resume("")[1] == "  Known: " + ", ".join(f"job-{n}-00000000" for n in (9, 10, 99, 100, 1000))
    assert resume("../meter")[0] == f"pes-sim: {meter} has no job '../meter'"


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[1]", '[{"line": 2}]', '[{"colour": "red"}]', "3"])
def test_a_saved_job_that_is_broken_is_named(cli: Cli, meter: Path, tmp_path: Path, content: str) -> None:
    (meter / "jobs").mkdir()
    (meter / "jobs" / "job-1-00000000.json").write_text(content)
    result = cli("print", "--meter", meter, "--resume", "job-1-00000000", "--out", tmp_path / "o.pdf")
    assert result.code == 2
    assert "job-1-00000000.json cannot be understood" in result.complaint()[0]
    assert books(meter) == (0, 0)


def test_today_in_a_job_stays_the_day_on_which_it_was_begun(cli: Cli, meter: Path, tmp_path: Path) -> None:
    rows = ["today,100,first_class_letter,1,10001,,99.27", "+2,100,first_class_letter,1,10001,,"]
    out = tmp_path / "o.pdf"
    stopped = cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *rows), "--out", out)
    assert stopped.code == 1
    cli("meter", "advance", meter, "24h")
    cli("meter", "refill", meter, "1")
    assert cli(*resume_line(stopped.err)).code == 0
    dates = [IMI.unpack(payload).values["mailing_date"] for payload in payloads(out)]
    assert dates == ["2026-01-05", "2026-01-07"]


@pytest.mark.parametrize(
    ("plant", "kind"), [(lambda path: path.symlink_to(__file__), "symbolic link"), (os.mkfifo, "FIFO")]
)
def test_a_saved_job_that_is_no_file_is_neither_followed_nor_waited_for(
    cli: Cli, meter: Path, tmp_path: Path, plant: Callable[[Path], None], kind: str
) -> None:
    (meter / "jobs").mkdir()
    plant(meter / "jobs" / "job-1-00000000.json")
    result = cli("print", "--meter", meter, "--resume", "job-1-00000000", "--out", tmp_path / "o.pdf")
    assert f"job-1-00000000.json is a {kind}, not a regular file" in result.complaint()[0]


def test_two_jobs_that_printed_nothing_yet_are_two_jobs_also_on_a_seeded_meter(cli: Cli, tmp_path: Path) -> None:
    create(tmp_path / "m1", seed="lucky", customer=CUSTOMER, deposit_mills=DEPOSIT)
    out = tmp_path / "o.pdf"
    stopped = []
    for text in ("first", "second"):
        file = job(tmp_path / f"{text}.csv", f"today,100,first_class_letter,1,10001,{text},")
        stopped.append(cli("print", "--meter", tmp_path / "m1", "--job", file, "--out", out))
    assert len(jobs(tmp_path / "m1")) == 2
    saved = [json.loads(path.read_text())[0]["text"] for path in (tmp_path / "m1" / "jobs").iterdir()]
    assert sorted(saved) == ["first", "second"]
    cli("meter", "refill", tmp_path / "m1", "10")
    assert [cli(*resume_line(result.err)).code for result in stopped] == [0, 0]
    assert books(tmp_path / "m1") == (2, 1_480)


# --- Ctrl-C and kill -9 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_mid_job_finishes_the_piece_and_leaves_books_and_pages_that_agree(
    cli: Cli, meter: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "o.pdf"
    with paused("piece", 3, "print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(6)), "--out", out) as (
        p,
        _,
    ):
        p.send_signal(number)
        printed, complaint = p.communicate("\n")
    assert p.returncode == 130
    assert f"3 of 6 pieces printed into {out}, $2.22; $97.78 available" in printed
    assert len(complaint.splitlines()) == 1
    assert books(meter) == (3, 3 * 740)
    assert pages(out) == 3
    assert cli(*resume_line(complaint)).code == 0
    assert pages(out) == 6
    assert books(meter) == (6, 6 * 740)


def test_a_second_one_interrupts_at_once_and_going_on_pays_nothing_twice(cli: Cli, meter: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.pdf"
    with paused("piece", 3, "print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(6)), "--out", out) as (
        p,
        _,
    ):
        p.send_signal(signal.SIGTERM)
        p.send_signal(signal.SIGINT)
        _, complaint = p.communicate()
    assert p.returncode == 130
    assert "Traceback" not in complaint
    assert complaint.splitlines()[0].startswith("pes-sim: cut short after pieces were paid")
    assert complaint.splitlines()[-1] == "pes-sim: interrupted"
    assert pages(out) == 2  # those that were drawn
    assert books(meter) == (3, 3 * 740)
    assert cli(*resume_line(complaint)).code == 0
    assert len(set(payloads(out))) == pages(out) == 6
    assert books(meter) == (6, 6 * 740)


@pytest.mark.parametrize("piece", [1, 4])
def test_kill_9_in_mid_job_leaves_a_meter_that_opens_and_a_job_that_goes_on(
    cli: Cli, meter: Path, tmp_path: Path, piece: int
) -> None:
    out = tmp_path / "o.pdf"
    with paused(
        "piece", piece, "print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(4)), "--out", out
    ) as (p, _):
        p.kill()
        assert p.wait() == -signal.SIGKILL
    assert books(meter) == (piece, piece * 740)
    assert not out.exists()  # whole, or not there
    with VirtualMeter(meter) as opened:
        paid = [entry["indicium"] for entry in opened.log()]
    (job_id,) = jobs(meter)
    assert cli("print", "--meter", meter, "--resume", job_id, "--out", out).code == 0
    assert books(meter) == (4, 4 * 740)
    assert payloads(out)[:piece] == paid
    assert len(set(payloads(out))) == pages(out) == 4


def test_a_killed_job_can_be_gone_on_with_from_what_it_said_at_its_start(meter: Path, tmp_path: Path) -> None:
    file, out = job(tmp_path / "j.csv", *letters(2)), tmp_path / "o.pdf"
    with paused("piece", 1, "print", "--meter", meter, "--job", file, "--out", out) as (process, said):
        process.kill()
    assert said == [f"{jobs(meter)[0]}: 2 pieces"]


def test_while_one_prints_another_is_told_who(cli: Cli, meter: Path, tmp_path: Path) -> None:
    file, out = job(tmp_path / "j.csv", *letters(2)), tmp_path / "o.pdf"
    with paused("piece", 1, "print", "--meter", meter, "--job", file, "--out", out) as (process, _):
        result = cli("meter", "status", meter)
        assert result.code == 1
        assert f"in use by process {process.pid} (" in result.complaint()[0]
        process.communicate("\n")
    assert process.returncode == 0
    assert books(meter) == (2, 1_480)


# --- onto which pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "count"), [("label", 3), ("tape-roll", 1), ("proof", 1)])
def test_a_job_is_printed_onto_any_page(cli: Cli, meter: Path, tmp_path: Path, page: str, count: int) -> None:
    rows = job(tmp_path / "j.csv", *letters(3))
    result = cli("print", "--meter", meter, "--job", rows, "--page", page, "--out", tmp_path / "o.pdf")
    assert (result.code, result.err) == (0, "")
    assert f"3 of 3 pieces printed into {tmp_path / 'o.pdf'}" in result.out
    assert pages(tmp_path / "o.pdf") == count
    with VirtualMeter(meter) as opened:
        assert payloads_of(attached(tmp_path / "o.pdf")) == [entry["indicium"] for entry in opened.log()]
    assert books(meter) == (3, 3 * 740)


@pytest.mark.parametrize("form", ["png", "svg"])
def test_a_job_becomes_pictures(cli: Cli, meter: Path, tmp_path: Path, form: str) -> None:
    rows, out = job(tmp_path / "j.csv", *letters(2)), tmp_path / f"o.{form}"
    result = cli("print", "--meter", meter, "--job", rows, "--out", out, "--dpi", 200)
    assert result.code == 0
    assert f"printed into {tmp_path / f'o-1.{form}'} to {tmp_path / f'o-2.{form}'}, $1.48" in result.out
    assert leftovers(tmp_path) == [f"o-1.{form}", f"o-2.{form}"]


def test_the_addresses_of_a_job_are_on_its_pages_also_when_it_is_gone_on_with(
    cli: Cli, meter: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "j.csv"
    rows.write_text(
        f"{HEADER},recipient,sender\ntoday,100,first_class_letter,1,10001,,,ACME|NEW YORK NY,BROTHERS INC\n"
    )
    assert cli("print", "--meter", meter, "--job", rows, "--out", tmp_path / "o.pdf").code == 0
    (job_id,) = jobs(meter)
    assert cli("print", "--meter", meter, "--resume", job_id, "--out", tmp_path / "p.pdf").code == 0
    for name in ("o.pdf", "p.pdf"):
        assert "ACME NEW YORK NY 10001" in text_of(tmp_path / name)
        assert "BROTHERS INC" in text_of(tmp_path / name)
    assert (tmp_path / "o.pdf").read_bytes() == (tmp_path / "p.pdf").read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--page", "a4"), "there is no page 'a4'"),
        (("--page", "withdrawal"), "layout imi_std is no withdrawal statement"),
        (("--page", "label", "--slogan", "Hello"), "page label has no place for a slogan"),
        (("--slogan", "x" * 60), "would enter the clear zone"),
        (("--logo", "none.png"), "none.png cannot be read"),
        (("--format", "png", "--dpi", "9"), "9 dpi is no useful resolution"),
    ],
)
def test_what_has_no_room_is_found_before_anything_is_paid(
    cli: Cli, meter: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    rows = job(tmp_path / "j.csv", *letters(2))
    result = cli("print", "--meter", meter, "--job", rows, "--out", tmp_path / "o.pdf", *words)
    assert result.code == 2
    assert says in result.err
    assert books(meter) == (0, 0)
    assert leftovers(tmp_path) == []


def test_letters_that_the_font_lacks_are_told_before_they_are_printed(cli: Cli, meter: Path, tmp_path: Path) -> None:
    rows = job(tmp_path / "j.csv", *letters(1), "today,100,first_class_letter,1,10001,Привет,")
    result = cli("print", "--meter", meter, "--job", rows, "--out", tmp_path / "o.pdf")
    assert result.code == 0
    assert result.err == "pes-sim: line 3: characters that the font lacks; a lozenge stands for each\n"


def test_a_disk_that_fills_up_in_mid_job_loses_no_piece(
    cli: Cli, meter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o.pdf"
    with monkeypatch.context() as context:

        def full_at_the_second(self: Document, page: Page) -> None:
            if self._page_numbers:
                raise OSError(28, "No space left on device")
            add(self, page)

        add = Document.add
        context.setattr(Document, "add", full_at_the_second)
        rows = job(tmp_path / "j.csv", *letters(3))
        words = ("--page", "label", "--format", "pdf")
        result = cli("print", "--meter", meter, "--job", rows, "--out", out, *words)
    assert result.code == 2
    assert f"{out} cannot be written: No space left on device" in result.err
    assert books(meter) == (2, 2 * 740)
    assert leftovers(tmp_path) == []
    assert resume_line(result.err)[-4:] == ["--page", "label", "--format", "pdf"]
    again = cli(*resume_line(result.err))
    assert (again.code, pages(out)) == (0, 3)
    assert books(meter) == (3, 3 * 740)
