"""`pes-sim demo`: the whole path in one run, each step on its own line, and a table at the end.

Everything a program outside would do goes through a pseudo-terminal and pyserial. Nothing is taken on trust: what was
printed is read back from the PDF, and what was booked is added up again from three sides.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pes_sim
from pes_sim.cli import console
from pes_sim.cli.meters import read_departments, utc_offset
from pes_sim.cli.printing import Run, new_job_id, print_job, report_problems
from pes_sim.clock import HOUR, MINUTE, SystemClock, iso, local_date, parse_iso, stopwatch
from pes_sim.errors import LockedCheckinOverdue, PesError, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium import symbol
from pes_sim.indicium.verify import Trust, Verdict, verify
from pes_sim.meter import rates
from pes_sim.meter.config import read_config
from pes_sim.meter.home import PARTS
from pes_sim.meter.job import Job, JobPiece, read_job
from pes_sim.meter.meter import Meter
from pes_sim.money import dollars
from pes_sim.preview import image
from pes_sim.psd.fields import Values
from pes_sim.psd.storage import DirectoryLock, write_atomically
from pes_sim.virtual import DEFAULT_START, VirtualMeter, connect, create

LICENSING_ZIP = "20260"
CUSTOMER = "DEMO CUSTOMER"
LAYOUT = "imi_std"
_MADE = ("indicia.pdf", "ca.pem", "psd.pem", "pieces.jsonl", "books.json")


@dataclass(frozen=True, slots=True)
class Proof:
    """One line of the closing table: what must hold, whether it does, and the figures."""

    what: str
    holds: bool
    figures: str


class _Failed(PesError):
    """A step that did not do what it must."""


def run(options: argparse.Namespace) -> int:
    """`pes-sim demo --out DIR`. 0 when everything held."""
    began = stopwatch()
    out, job_file = options.out, options.job or example("mail_job.csv")
    departments = read_departments(options.departments or example("departments.csv"))
    start, offset = _start(options), utc_offset(options.utc_offset)
    job = read_job(job_file, today=local_date(start, offset), departments=departments, rates=rates.built_in())
    report_problems(job, skip=False, hint="Correct them")
    _clear(out)
    create(
        out / "meter", licensing_zip=LICENSING_ZIP, customer=CUSTOMER, departments=departments, start=start,
        utc_offset_minutes=offset, seed=options.seed,
    )  # fmt: skip
    with VirtualMeter(out / "meter") as home, connect(home.serve_pty()) as meter:
        proofs = _Demo(out, home, meter, job).run()
        _write_results(out, meter)
    held = all(proof.holds for proof in proofs)
    console.table(
        "What must hold, and does" if held else "NOT EVERYTHING HELD",
        ("", "", "figures"),
        [("yes" if proof.holds else "NO", proof.what, proof.figures) for proof in proofs],
    )
    print(f"Left in {out}: {', '.join(_MADE)}, meter/. Done in {stopwatch() - began:.1f} s.")
    print("Specimens only: nothing here is valid postage.")
    return 0 if held else 1


class _Demo:
    """The steps. `meter` is at the other end of the pseudo-terminal; `home` is asked for its clock only."""

    def __init__(self, out: Path, home: VirtualMeter, meter: Meter, job: Job) -> None:
        self.out = out
        self.home = home
        self.meter = meter
        self.pieces: Sequence[JobPiece] = job.pieces
        self.pdf = out / "indicia.pdf"
        self.job_id = new_job_id(home.home.entropy, home.status().log_sequence)

    def run(self) -> list[Proof]:
        """All of them, in order."""
        self._introduce()
        self._refill()
        self._print()
        read_back = self._read_back()
        lockout = self._lock_out()
        return [*read_back, *lockout, *self._prove_books()]

    def _introduce(self) -> None:
        info = self.meter.info()
        if "seed" in info["notice"]:
            print("SEEDED RUN: keys, ids and times are reproducible.")
        step(1, f"PSD {info['psd_serial']} made: P-256 key pair, certificate of the test CA, serial number")
        step(1, f"authorized for ZIP {info['licensing_zip']} and {info['customer']}, checked in")
        step(2, f"virtual meter on {self.home.serve_pty()}, connected through pyserial")
        step(2, f"its clock says {iso(self.meter.status().device_time)}")

    def _refill(self) -> None:
        need = sum(p.amount_mills or self.meter.quote(p.mail_class, p.weight, p.mailing_date) for p in self.pieces)
        amount = (need // 10_000 + 2) * 10_000
        self.home.centre.deposit(CUSTOMER, amount)
        registers = self.meter.refill(amount)
        step(3, f"refilled {dollars(amount)} against a grant signed by the provider; "
                f"available {dollars(registers.descending_mills)}")  # fmt: skip

    def _print(self) -> None:
        result = print_job(self.meter, self.pieces, self.pdf, self.job_id, LAYOUT)
        _complete(result)
        spent = sum(printed.postage_mills for _, printed in result.printed)
        step(4, f"{len(result.printed)} pieces printed into {self.pdf}, {dollars(spent)}")

    def _read_back(self) -> list[Proof]:
        log = list(self.meter.log())
        pages = zip_longest(console.progress(log, "reading back"), image.pages(self.pdf))
        found = [
            _compare(entry, symbol.read(page, "zxing"), self._trust()) if entry and page else "page or piece is missing"
            for entry, page in pages
        ]
        good = sum(not complaint for complaint in found)
        for number, complaint in enumerate(found, 1):
            if complaint:
                print(f"    page {number}: {complaint}")
        step(5, f"{good} of {len(log)} symbols read from the rasterised PDF (by zxing-cpp, which wrote none), "
                "verified, and equal to the PSD's log field by field")  # fmt: skip
        return [Proof("every printed symbol reads, verifies and equals the log", good == len(found) == len(self.pieces),
                      f"{good} of {len(self.pieces)}")]  # fmt: skip

    def _trust(self) -> Trust:
        certificates = self.meter.certificates()
        return Trust(certificates["trust_anchor"], [certificates["psd_certificate"]])

    def _lock_out(self) -> list[Proof]:
        self.home.advance(72 * HOUR + MINUTE)
        extra = self._one_more()
        before = self.meter.registers()
        step(6, f"clock moved 72 h 1 min, to {iso(self.meter.status().device_time)}")
        refused = print_job(self.meter, [extra], self.out / "refused.pdf", self.job_id, LAYOUT).stopped_by
        locked = isinstance(refused, LockedCheckinOverdue) and self.meter.registers() == before
        code = str(refused.status) if refused else "NOT REFUSED"
        step(6, f"the next print is refused: {code}: {refused}")
        status = self.meter.check_in()
        step(6, f"checked in: {status.state}, {status.hours_to_lockout} h to the next check-in")
        # The same job with one piece more: what was paid comes back from the record, only the new one is debited.
        result = print_job(self.meter, [*self.pieces, extra], self.pdf, self.job_id, LAYOUT)
        _complete(result)
        last = deque(image.pages(self.pdf), maxlen=1).pop()
        newest = deque(self.meter.log(), maxlen=1).pop()
        complaint = _compare(newest, symbol.read(last, "zxing"), self._trust())
        again = not complaint and self.meter.registers().piece_count == before.piece_count + 1
        step(6, f"printed again: {dollars(result.printed[-1][1].postage_mills)}, verified; "
                "the pieces paid before were not paid twice")  # fmt: skip
        return [
            Proof("72 hours without a check-in lock the meter", locked, code),
            Proof("a check-in unlocks it, and it prints again", again, complaint or status.state),
        ]

    def _one_more(self) -> JobPiece:
        first = self.pieces[0]
        return JobPiece(
            line=0, mailing_date=self.home.status().today, department=first.department,
            mail_class="first_class_letter", weight=100, destination="20260", text="Printed after the check-in",
        )  # fmt: skip

    def _prove_books(self) -> list[Proof]:
        r, log, departments = self.meter.registers(), list(self.meter.log()), self.meter.departments()
        layout = layouts.load(self.meter.info()["layout"])
        postage = sum(int(layout.unpack(entry["indicium"]).values["postage_mills"]) for entry in log)
        step(7, "books added up again from the registers, the PSD's log and the departments")
        return [
            Proof("AR + DR = control sum", r.balanced(),
                  f"{dollars(r.ascending_mills)} + {dollars(r.descending_mills)} = {dollars(r.control_sum_mills)}"),
            Proof("AR = postage of all indicia in the log", r.ascending_mills == postage, dollars(postage)),
            Proof("AR = sum of the departments", r.ascending_mills == sum(d.postage_mills for d in departments),
                  ", ".join(f"{d.code} {dollars(d.postage_mills)}" for d in departments)),
            Proof("piece count = indicia in the log = pieces of the departments",
                  r.piece_count == len(log) == sum(d.pieces for d in departments), str(r.piece_count)),
        ]  # fmt: skip


def _compare(entry: Values, payloads: Sequence[bytes], trust: Trust) -> str:
    """What is wrong between a page and its log entry; empty when nothing is."""
    if not payloads:
        return "no symbol could be read"
    report = verify(payloads[0], trust)
    if report.verdict is not Verdict.VALID:
        return f"{report.verdict}: {report.checks[-1].note}"
    logged = layouts.recognise(entry["indicium"]).unpack(entry["indicium"]).values
    registers = {name: entry[name] for name in ("ascending_mills", "descending_mills", "piece_count")}
    for name, value in {**logged, **registers}.items():
        if report.values[name] != value:
            return f"{name} is {report.values[name]!r} on the page and {value!r} in the log"
    return "" if payloads[0] == entry["indicium"] else "the signatures differ"


def _complete(result: Run) -> None:
    if result.interrupted:
        raise KeyboardInterrupt
    if result.stopped_by is not None:
        raise result.stopped_by


def step(number: int, text: str) -> None:
    """One line of the run."""
    print(f"{number}. {text}", flush=True)


def _write_results(out: Path, meter: Meter) -> None:
    write_certificates_from(out)
    lines = [json.dumps(line) for line in _piece_lines(meter)]
    write_atomically(out / "pieces.jsonl", "".join(f"{line}\n" for line in lines).encode())
    r = meter.registers()
    books: Mapping[str, Any] = {
        "ascending_mills": r.ascending_mills,
        "descending_mills": r.descending_mills,
        "control_sum_mills": r.control_sum_mills,
        "piece_count": r.piece_count,
        "zero_piece_count": r.zero_piece_count,
        "departments": {
            d.code: {"name": d.name, "piece_count": d.pieces, "postage_mills": d.postage_mills}
            for d in meter.departments()
        },
    }
    write_atomically(out / "books.json", json.dumps(books, indent=2).encode() + b"\n")


def _piece_lines(meter: Meter) -> Iterator[dict[str, Any]]:
    layout = layouts.load(meter.info()["layout"])
    for entry in meter.log():
        values = layout.unpack(entry["indicium"]).values
        yield {
            "piece_count": entry["piece_count"],
            "date": values["mailing_date"],
            "department": entry["reference"].decode(),
            "mail_class": values["mail_class"],
            "weight_oz": rates.ounces(int(values["weight"])),
            "destination": values["destination"],
            "postage_mills": values["postage_mills"],
            "ascending_mills": entry["ascending_mills"],
            "descending_mills": entry["descending_mills"],
            "payload_hex": entry["indicium"].hex(),
        }


def write_certificates_from(out: Path) -> None:
    """Copies the meter's certificates beside the results, for verifiers."""
    for name in ("ca.pem", "psd.pem"):
        shutil.copyfile(out / "meter" / name, out / name)


def example(name: str) -> Path:
    """A file that comes along: in the package when it is installed, in the repository otherwise."""
    package = Path(pes_sim.__file__).parent
    for folder in (package / "examples", package.parent / "examples"):
        if (folder / name).exists():
            return folder / name
    raise UsageError(f"the example {name} is not installed", hint="Give a file of your own")


def _start(options: argparse.Namespace) -> int:
    if options.start:
        return parse_iso(options.start)
    return DEFAULT_START if options.seed else SystemClock().now() // 1_000_000 * 1_000_000


def _clear(out: Path) -> None:
    """Removes what an earlier demo left, and nothing else."""
    meter = out / "meter"
    if (out / "meter.json").exists():  # whose certificates would go
        raise UsageError(f"{out} is a meter's own directory", hint="Give another one with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        _check_own(meter)
        for name in _MADE:
            (out / name).unlink(missing_ok=True)
        if meter.exists():
            shutil.rmtree(meter)
    except OSError as problem:
        hint = "Give a directory you can write to"
        raise UsageError(f"{out} cannot be used: {problem.strerror}", hint=hint) from None


def _check_own(meter: Path) -> None:
    """Raises `UsageError` unless `meter` is missing, or a demo made it (half, perhaps), and nobody has it open."""
    if not meter.exists():
        return
    foreign = sorted(path.name for path in meter.iterdir() if path.name not in PARTS)
    if (meter / "meter.json").exists() and read_config(meter).customer != CUSTOMER:
        foreign.append("another customer's meter")
    if foreign:
        raise UsageError(f"{meter} holds {foreign[0]}, which no demo made", hint="Give another --out")
    if (meter / "psd").is_dir():
        DirectoryLock(meter / "psd").release()
