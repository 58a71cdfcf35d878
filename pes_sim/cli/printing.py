"""`pes-sim print`: a mail job through a meter onto pages.

* Nothing is printed from a job with a bad row, unless `--skip-bad` is given.
* Every piece's request id follows from the job's id and the row's line, so a job that stopped can go on: pieces that
  were paid come back with the same indicia and are not paid again.
* The pages and the books agree whatever happens: a piece is paid and drawn, or neither; Ctrl-C waits for that. What
  would have no room on a page is found before the first debit.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from pes_sim.cli import console, for_this_meter, paging
from pes_sim.cli.paging import Look
from pes_sim.entropy import Entropy
from pes_sim.errors import InsufficientFunds, PesError, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.meter import rates
from pes_sim.meter.job import Job, JobPiece, read_job
from pes_sim.meter.meter import Meter, Printed
from pes_sim.money import dollars
from pes_sim.preview import fonts
from pes_sim.preview.imprint import Imprint, class_title
from pes_sim.psd.owned import quoted, read_regular
from pes_sim.psd.storage import write_atomically
from pes_sim.virtual import VirtualMeter


@dataclass(slots=True)
class Run:
    """What became of a job: the pieces printed, in which files, and what stopped it (None when nothing did)."""

    job_id: str
    printed: list[tuple[JobPiece, Printed]] = field(default_factory=list)
    stopped_by: PesError | None = None
    stopped_at: JobPiece | None = None
    interrupted: bool = False
    where: str = ""


def run(options: argparse.Namespace) -> int:
    """`pes-sim print --meter DIR --job FILE.csv --out FILE.pdf`"""
    if options.out.exists() and not (options.out.is_file() or options.out.is_dir()):
        raise UsageError(f"{options.out} is a device or a pipe", hint="Give the name of a PDF file")
    paging.check_out(options.out, options.job, options.logo)
    look = paging.look_of(options)
    with VirtualMeter(options.meter, failing_self_tests=options.fail_self_test) as meter:
        job_id, pieces = _load(options, meter)
        print(f"{job_id}: {len(pieces)} pieces", flush=True)
        _report_lozenges(pieces)
        before = meter.registers()
        try:
            result = print_job(meter, pieces, options.out, job_id, meter.home.config.layout, look)
        except (PesError, KeyboardInterrupt):
            if meter.registers() != before:
                print("pes-sim: cut short after pieces were paid; going on pays none of them twice", file=sys.stderr)
                print(f"  {_go_on(options, job_id)}", file=sys.stderr)
            raise
        left = meter.registers().descending_mills
    spent = sum(printed.postage_mills for _, printed in result.printed)
    where = f" into {result.where}" if result.printed else ""
    print(f"{len(result.printed)} of {len(pieces)} pieces printed{where}, {dollars(spent)}; {dollars(left)} available")
    if result.stopped_at is not None and result.stopped_by is not None:
        print(f"pes-sim: stopped at line {result.stopped_at.line}: {result.stopped_by.message}", file=sys.stderr)
        print(f"  {_what_now(result.stopped_by, options)}", file=sys.stderr)
    if result.interrupted or result.stopped_by:
        print(f"  {_go_on(options, job_id)}", file=sys.stderr)
        return 130 if result.interrupted else 1
    return 0


def _go_on(options: argparse.Namespace, job_id: str) -> str:
    where = f"--meter {quoted(options.meter)} --resume {job_id} --out {quoted(options.out)}"
    return f"To go on: pes-sim print {where}{paging.again(options)}"


def _what_now(problem: PesError, options: argparse.Namespace) -> str:
    missing = problem.detail.get("missing_mills")
    if isinstance(problem, InsufficientFunds) and isinstance(missing, int):
        return f"{dollars(missing)} missing: pes-sim meter refill {quoted(options.meter)} DOLLARS"
    return for_this_meter(problem.hint, options) or f"See pes-sim meter status {quoted(options.meter)}"


def _load(options: argparse.Namespace, meter: VirtualMeter) -> tuple[str, Sequence[JobPiece]]:
    if options.resume is not None:
        return options.resume, _load_saved(options.meter, options.resume)
    codes = [d.code for d in meter.departments()]
    today = date.fromisoformat(meter.status().today)
    layout = layouts.load(meter.home.config.layout)
    job = read_job(options.job, today=today, departments=codes, rates=rates.built_in(), layout=layout)
    report_problems(job, skip=options.skip_bad, hint="Correct them, or print the others with --skip-bad")
    return _save(meter, job.pieces), job.pieces


def report_problems(job: Job, *, skip: bool, hint: str) -> None:
    """Lists bad rows. Raises `UsageError` with `hint` unless they are to be skipped and good ones are left."""
    for problem in job.problems:
        print(f"{'skipped: ' if skip else ''}{problem}", file=sys.stderr)
    lines = len({problem.line for problem in job.problems})
    if job.problems and not skip:
        rows = "1 bad row" if lines == 1 else f"{lines} bad rows"
        raise UsageError(f"{rows}; nothing was printed or debited", hint=hint)
    if not job.pieces:
        raise UsageError("no good row is left; nothing was printed or debited")


def new_job_id(entropy: Entropy, log_sequence: int) -> str:
    """A name for one run of one job."""
    return f"job-{log_sequence}-{entropy(4).hex()}"


def request_id(job_id: str, line: int) -> bytes:
    """The request id of one row of one run: the same row again is the same request."""
    return hashlib.sha256(f"{job_id}:{line}".encode()).digest()[:16]


class _Stopped(Exception):
    """Leaves the PDF's `with`: it keeps the pages so far, or no file where there is none."""


def _report_lozenges(pieces: Sequence[JobPiece]) -> None:
    """Says which lines of a job have text that the pages cannot show as it is. It costs nothing to stop now."""
    odd = [
        str(piece.line)
        for piece in pieces
        if fonts.lacks(f"{piece.text} {piece.recipient} {piece.sender}".replace("\n", " "))
    ]
    if odd:
        lines = f"line{'s' if len(odd) > 1 else ''} {', '.join(odd[:10])}{' …' if len(odd) > 10 else ''}"
        print(f"pes-sim: {lines}: characters that the font lacks; a lozenge stands for each", file=sys.stderr)


def print_job(
    meter: Meter,
    pieces: Sequence[JobPiece],
    out: Path,
    job_id: str,
    layout: str,
    look: Look = Look(),  # noqa: B008  # immutable
) -> Run:
    """Prints every piece, by itself a page each. Stops at the first that the meter refuses; the pages hold those before
    it.

    `layout`: the meter's, by name or file, for the size of its symbol.
    """
    result = Run(job_id)
    draw = _Drawer(meter, layout)
    with (
        contextlib.suppress(_Stopped),
        console.held() as interruption,
        look.open(out, f"Specimen indicia of meter {draw.meter_name}", draw.layout) as pages,
    ):
        for piece in console.progress(pieces, "printing"):
            if interruption.asked:
                result.interrupted = True
                raise _Stopped
            try:
                printed = _print_one(meter, piece, job_id)
            except PesError as problem:
                result.stopped_by, result.stopped_at = problem, piece
                raise _Stopped from None
            pages.add(draw.imprint(piece, printed))
            result.printed.append((piece, printed))
    result.where = pages.where
    return result


class _Drawer:
    """What a meter's imprints have in common, asked for once."""

    def __init__(self, meter: Meter, layout: str) -> None:
        info = meter.info()
        self.meter_name = f"{info['provider_id']}{info['model_id']}{info['psd_serial']:010d}"
        self._zip = info["licensing_zip"]
        self.layout = layouts.load(layout)
        self._departments = {d.code: d.name for d in meter.departments()}

    def imprint(self, piece: JobPiece, printed: Printed) -> Imprint:
        """The page of one piece."""
        day = date.fromisoformat(piece.mailing_date)
        return Imprint(
            payload=printed.indicium,
            layout=self.layout,
            postage_mills=printed.postage_mills,
            mailing_date=day,
            mail_class=class_title(piece.mail_class, day),
            origin_zip=self._zip,
            meter_serial=self.meter_name,
            piece_count=printed.registers.piece_count,
            destination=piece.destination,
            text=piece.text,
            reference=f"Department {piece.department} {self._departments.get(piece.department, '')}",
            weight_text=f"{rates.ounces(piece.weight)} oz",
            tracking_number=piece.tracking_number,
            extra_services=piece.extra_services,
            recipient=tuple(piece.recipient.splitlines()),
            sender=tuple(piece.sender.splitlines()),
        )


def _print_one(meter: Meter, piece: JobPiece, job_id: str) -> Printed:
    return meter.print_piece(
        department=piece.department,
        mail_class=piece.mail_class,
        weight=piece.weight,
        destination=piece.destination,
        mailing_date=piece.mailing_date,
        amount_mills=piece.amount_mills,
        tracking_number=piece.tracking_number,
        extra_services=piece.extra_services,
        request_id=request_id(job_id, piece.line),
    )


def _save(meter: VirtualMeter, pieces: Sequence[JobPiece]) -> str:
    """Keeps a job under a new name, which it gives. Its dates are worked out: "today" stays the same day tomorrow."""
    jobs, entropy, sequence = meter.home.directory / "jobs", meter.home.entropy, meter.status().log_sequence
    jobs.mkdir(exist_ok=True)
    job_id = new_job_id(entropy, sequence)
    while (jobs / f"{job_id}.json").exists():
        job_id = new_job_id(entropy, sequence)
    write_atomically(jobs / f"{job_id}.json", json.dumps([asdict(piece) for piece in pieces]).encode())
    return job_id


def _load_saved(directory: Path, job_id: str) -> list[JobPiece]:
    path = directory / "jobs" / f"{job_id}.json"
    stems = (file.stem for file in (directory / "jobs").glob("*.json"))
    known = sorted(stems, key=lambda stem: (len(stem), stem))  # job-9 before job-10
    if job_id not in known:
        raise UsageError(f"{directory} has no job {job_id!r}", hint=f"Known: {', '.join(known[-5:]) or 'none'}")
    try:
        return [JobPiece(**row) for row in json.loads(read_regular(path))]
    except (ValueError, TypeError, RecursionError) as problem:
        raise UsageError(f"{path} cannot be understood: {problem}") from None
