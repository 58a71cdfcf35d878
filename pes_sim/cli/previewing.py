"""`pes-sim preview`: pieces on any kind of page, without a debit: a meter's, somebody's payloads, or made-up ones."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pes_sim.cli import console, paging
from pes_sim.cli.printing import request_id
from pes_sim.cli.verifying import read_payload
from pes_sim.errors import PayloadError, PesError, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.api import from_hex
from pes_sim.indicium.layout import Layout
from pes_sim.meter.job import JobPiece
from pes_sim.preview import pieces
from pes_sim.preview.imprint import Imprint, of_payload, serial
from pes_sim.preview.lastword import last_word
from pes_sim.preview.stationery import KINDS, Arrangement
from pes_sim.psd.lifecycle import State
from pes_sim.psd.owned import quoted, read_regular
from pes_sim.psd.piece import PieceKind
from pes_sim.virtual import VirtualMeter, create

_SEED: Final = "pes-sim preview"
_SENDER: Final = ("PES-SIM MAIL ROOM", "1 SIMULATION PLAZA", "WASHINGTON DC 20260")
_MADE_UP: Final[tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...]] = (
    ("dispense", {"destination": "62701123456"}, ("MS ZOË MÜLLER", "ACME CORPORATION", "123 MAIN ST STE 200",
                                                   "SPRINGFIELD IL")),
    ("dispense", {"destination": "100011234", "weight": 200, "postage_mills": 1030},
     ("ACCOUNTS PAYABLE", "EXAMPLE BROTHERS INC", "9 TEST AVE", "NEW YORK NY")),
    ("reprint", {}, ("MS ZOË MÜLLER", "ACME CORPORATION", "123 MAIN ST STE 200", "SPRINGFIELD IL")),
    ("redate", {"destination": "62701123456"}, ()),
    ("dispense", {"destination": "94105", "weight": 300, "postage_mills": 1320},
     ("JANE Q SAMPLE", "PO BOX 1", "SAN FRANCISCO CA")),
    ("correct_amount", {"destination": "100011234", "postage_mills": 290, "weight": 200}, ()),
)  # fmt: skip
"""The pieces of a sample, in the order of the proof sheet's places: service, what differs from a letter, to whom."""


def run(options: argparse.Namespace) -> int:
    """`pes-sim preview --out FILE`, with HEX|FILE or --meter DIR or neither, or --list"""
    if options.list:
        for kind in KINDS:
            size = "" if kind.arrangement is Arrangement.ROLL else f" ({kind.size})"
            print(f"  {kind.name:16} {kind.what}{size}")
        return 0
    if options.out is None:
        raise UsageError("where to draw is not said", hint="Give --out FILE.pdf (or .png, .svg), or --list")
    if options.payload is not None and options.meter is not None:
        raise UsageError("both a payload and a meter are given", hint="Give one of them, or neither for made-up pieces")
    if options.piece is not None and options.meter is None:
        raise UsageError("--piece is a meter's", hint="Give --meter DIR with it")
    paging.check_out(options.out, options.payload, options.logo, options.layout)
    look = paging.look_of(options)
    count = 0
    with console.held() as interruption, look.open(options.out, "Specimen indicia", None, paid=False) as pages:
        for imprint in _pieces(options, look):
            if interruption.asked:
                raise KeyboardInterrupt
            pages.add(imprint)
            count += 1
    print(f"{count} piece{'s' if count != 1 else ''} on {pages.pages} page{'s' if pages.pages != 1 else ''} "
          f"{look.kind.name} in {pages.where}")  # fmt: skip
    print("  Specimens: no valid postage. Destroy what is printed of them on the same day (39 CFR 501.9)")
    return 0


def _pieces(options: argparse.Namespace, look: paging.Look) -> Iterator[Imprint]:
    if options.meter is not None and look.kind.arrangement is Arrangement.STATEMENT:
        if options.piece is not None:
            raise UsageError("a withdrawal statement is of no piece", hint="Leave out --piece")
        return of_withdrawn(options.meter)
    if options.meter is not None:
        return of_meter(options.meter, options.piece)
    if options.payload is not None:
        stated = look.kind.arrangement is Arrangement.STATEMENT
        return _of_payloads(options.payload, options.layout, options.kind, stated)
    if look.kind.arrangement is Arrangement.STATEMENT:
        return made_up_statement()
    return made_up()


# --- a meter's -------------------------------------------------------------------------------------------------------


def of_meter(directory: Path, piece: int | None) -> Iterator[Imprint]:
    """The pieces in a meter's log, with what its kept jobs say of them; one of them by its piece count. The log is
    looked at, not written. Raises `UsageError` for a piece that is not in it.
    """
    found = False
    with VirtualMeter(directory) as meter:
        layout = layouts.load(meter.home.config.layout)
        departments = {d.code: d.name for d in meter.departments()}
        known, info = _from_jobs(directory), meter.info()
        for entry in meter.log():
            if piece is None or (entry["piece_count"] == piece and not entry["original"]):
                found = True
                code = entry["reference"].decode(errors="replace")
                asked = known.get(entry["request_id"])
                yield of_payload(
                    entry["indicium"], layout, kind=pieces.KINDS[entry["piece_kind"]], meter_serial=serial(info),
                    origin_zip=info["licensing_zip"], **_counted(layout, entry["piece_count"]),
                    reference=f"Department {code} {departments.get(code, '')}".strip(), **_besides(asked),
                )  # fmt: skip
    if piece is not None and not found:
        raise UsageError(f"{directory} has no piece {piece}", hint="Its log no longer has it, or never had")


def of_withdrawn(directory: Path) -> Iterator[Imprint]:
    """The signed statement of a meter that was withdrawn. Raises `UsageError` for one that was not."""
    with VirtualMeter(directory) as meter:
        if meter.status().state != State.WITHDRAWN:
            hint = f"It states one at the end of its service: pes-sim meter withdraw {quoted(directory)}"
            raise UsageError(f"{directory} has stated no withdrawal", hint=hint)
        info = meter.info()
        yield last_word(meter.statement(), meter_serial=serial(info), origin_zip=info["licensing_zip"])


def _counted(layout: Layout, count: int) -> dict[str, int]:
    """The log's piece count, for a layout without one."""
    return {} if any(row.name == "piece_count" for row in layout.fields) else {"piece_count": count}


def _from_jobs(directory: Path) -> dict[bytes, JobPiece]:
    """The rows of the jobs that a meter keeps, by the request ids that they were printed with. A damaged file tells
    nothing, and costs a piece its address on a preview, no more.
    """
    known: dict[bytes, JobPiece] = {}
    for path in sorted((directory / "jobs").glob("*.json")):
        try:
            rows = [JobPiece(**row) for row in json.loads(read_regular(path))]
        except (ValueError, TypeError, RecursionError, OSError):
            continue
        known |= {request_id(path.stem, row.line): row for row in rows}
    return known


def _besides(asked: JobPiece | None) -> dict[str, Any]:
    if asked is None:
        return {}
    return {
        "text": asked.text,
        "recipient": tuple(asked.recipient.splitlines()),
        "sender": tuple(asked.sender.splitlines()),
    }


# --- somebody's payloads ---------------------------------------------------------------------------------------------


def _of_payloads(text: str, layout: str, kind: str, stated: bool) -> Iterator[Imprint]:
    drawn_as = {"kind": pieces.KINDS[kind.replace("-", " ")]} if kind else {}
    own = layouts.load(layout) if layout else None
    for where, payload, said in _payloads(text):
        try:
            of = own or pieces.layout_of(said) or _recognised(payload, stated)
            imprint = of_payload(payload, of, **(pieces.besides(said) | drawn_as))
        except PesError as problem:
            problem.message = f"{where}{problem.message}"
            raise
        yield imprint


def _recognised(payload: bytes, stated: bool) -> Layout:
    """The layout by its version byte; a statement has none, and would be taken for an IBI indicium."""
    statement = layouts.builtin("withdrawal")
    is_one = stated and len(payload) == statement.length and payload[:2] == layouts.SPECIMEN_PROVIDER.encode()
    return statement if is_one else layouts.recognise(payload)


def _payloads(text: str) -> Iterator[tuple[str, bytes, Mapping[str, Any]]]:
    """Those of a file of JSON lines, each with where it is and what its line says; or the one that HEX|FILE is."""
    if not text.endswith(".jsonl"):
        yield "", read_payload(text), {}
        return
    try:
        with Path(text).open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{text}, line {number}: "
                    yield where, *_from_line(line, where)
    except OSError as problem:
        raise UsageError(f"{text} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{text} is not UTF-8 text") from None


def _from_line(line: str, where: str) -> tuple[bytes, Mapping[str, Any]]:
    try:
        said = json.loads(line)
        return from_hex(said["payload_hex"]), said
    except PayloadError as problem:
        raise UsageError(f"{where}{problem.message}", hint=problem.hint) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        hint = "A line is as in demo-out/pieces.jsonl, or in the attachment of a PDF that was printed here"
        raise UsageError(f'{where}no JSON object with a "payload_hex"', hint=hint) from None


# --- made-up ones ----------------------------------------------------------------------------------------------------


def made_up() -> Iterator[Imprint]:
    """A piece of every kind from a meter that is made for it, always the same, and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pes-sim-preview-") as folder:
        create(Path(folder) / "meter", seed=_SEED)
        with VirtualMeter(Path(folder) / "meter") as meter:
            meter.refill(100_000)
            info, layout = meter.info(), layouts.load(meter.home.config.layout)
            meter.print_piece(department="100")  # opens the session; and spoiled, so that it is printed again
            asked = {"postage_mills": 740, "mailing_date": meter.status().today, "mail_class": "first_class_letter",
                     "weight": 100, "destination": "", "reference": b"100"}  # fmt: skip
            first = 0
            for number, (service, differs, recipient) in enumerate(_MADE_UP):
                request = {"original": first} if service == "reprint" else asked | differs
                if service == "redate":
                    del request["postage_mills"]
                id_ = number.to_bytes(16, "big")
                done = meter.psd.execute(service, request, request_id=id_, now=meter.clock.now())
                first = first or done["record"]
                yield of_payload(
                    done["indicium"], layout, kind=_KINDS[service], meter_serial=serial(info), recipient=recipient,
                    sender=_SENDER, reference="Department 100 General",
                )  # fmt: skip


_KINDS: Final = {
    "dispense": PieceKind.STANDARD,
    "reprint": PieceKind.REPRINT,
    "redate": PieceKind.DATE_CORRECTION,
    "correct_amount": PieceKind.AMOUNT_CORRECTION,
}


def made_up_statement() -> Iterator[Imprint]:
    """The withdrawal statement among the published test vectors."""
    from pes_sim.provider import vectors

    group = next(g for g in vectors.document()["testGroups"] if g["layout"]["name"] == "withdrawal")
    yield of_payload(bytes.fromhex(group["tests"][0]["payload"]), layouts.builtin("withdrawal"))
