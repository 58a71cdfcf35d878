"""`pes-sim accept` and `pes-sim explain`: what the post office makes of an indicium, and how anybody can follow it."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

from pes_sim.cli import console
from pes_sim.cli.verifying import Found, read_file, trusted, what_to_give
from pes_sim.clock import SystemClock, local_date
from pes_sim.errors import UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.api import from_hex
from pes_sim.indicium.codings import iso_date
from pes_sim.meter import rates
from pes_sim.money import dollars
from pes_sim.postal import calendar, records
from pes_sim.postal.acceptance import Office, accept
from pes_sim.postal.assessment import LONGEST_NAME, Assessment, Scan, Verdict
from pes_sim.postal.explain import Explanation, explain

_LONGEST_ID: Final = LONGEST_NAME - 8
"""Characters of --scan-id; the rest is for the number behind it."""


class _Done(NamedTuple):
    found: Found
    assessment: Assessment | None
    """None where no symbol could be read."""


def run_accept(options: argparse.Namespace) -> int:
    """`pes-sim accept FILE … --store DB`. 0 when everything is accepted."""
    from pes_sim.postal.sqlite_store import SqliteScans

    day = _day(options.date) or local_date(SystemClock().now())
    if len(options.scan_id) > _LONGEST_ID:  # before the first of several is stored, and the second has no room
        raise UsageError(f"--scan-id has {len(options.scan_id)} characters", hint=f"At most {_LONGEST_ID}: "
                         "where there are several symbols, #2, #3 … are put behind it")  # fmt: skip
    done: list[_Done] = []
    problems: list[tuple[Path, UsageError]] = []
    given = _given(options)
    with closing(SqliteScans(options.store)) as store:
        for file in options.files:
            try:
                office = Office(trusted(options, file), **given)
                for number, found in enumerate(read_file(file, options.dpi)):
                    assessment = None
                    if found.payload is not None:
                        scan_id = _scan_id(options.scan_id, found, number, len(done))
                        assessment = accept(Scan(scan_id, found.payload, day, options.mailpiece), office, store)
                    done.append(_Done(found, assessment))
                    if not options.json:  # as it comes: what was stored is also said, should the next be none
                        _show(done[-1], options)
            except UsageError as error:  # the other files are judged all the same
                problems.append((file, error))
    good = sum(row.assessment is not None and row.assessment.accepted for row in done)
    all_good = good == len(done) and not problems
    if options.json and done:
        unread = [{"file": str(file), "problem": problem.message} for file, problem in problems]
        print(json.dumps({"accepted": all_good, "scans": [_document(row) for row in done], "unread": unread}, indent=2))
    elif done:
        print(f"{good} of {len(done)} accepted. Specimens: no valid postage, whatever the verdict.")
    console.raise_all([problem for _, problem in problems])
    return 0 if all_good else 1


def _scan_id(given: str, found: Found, number: int, before: int) -> str:
    """The scan's id: what was given, or one that the same symbol of the same file as it lies there always has."""
    if given:
        return given if not before else f"{given}#{before + 1}"
    if not os.path.exists(found.file):  # hex digits in place of a file's name; they may be too many for one
        return hashlib.sha256(found.payload or b"").hexdigest()[:32]
    when = found.file.stat().st_mtime_ns
    told = f"{found.file.resolve()}\0{when}\0{found.page}\0{number}\0".encode(errors="surrogateescape")
    return hashlib.sha256(told + (found.payload or b"")).hexdigest()[:32]


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """What an `Office` is told besides what it trusts, by name."""
    return {
        "layouts": [layouts.load(options.layout)] if options.layout else None,
        "records": records.load_file(options.records) if options.records else None,
        "rates": rates.RateBook([rates.load_file(path) for path in options.rates]) if options.rates else None,
        "calendar": calendar.load_file(options.calendar) if options.calendar else None,
    }


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        return iso_date(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a date", hint="Allowed: YYYY-MM-DD") from None


def _document(row: _Done) -> dict[str, Any]:
    where = {"file": str(row.found.file), "page": row.found.page}
    if row.assessment is None:
        return where | {"verdict": "unreadable", "accepted": False, "checks": []}
    return where | row.assessment.document()


def _show(row: _Done, options: argparse.Namespace) -> None:
    where = f"{row.found.file} page {row.found.page}"
    if row.assessment is None:
        print(f"{where}: unreadable: no Data Matrix symbol could be read (a higher --dpi or a better scan may help)")
        return
    values, summary = row.assessment.values, ""
    if isinstance(values.get("postage_mills"), int) and "mailing_date" in values:
        summary = f": {dollars(int(values['postage_mills']))}, {values['mailing_date']!s}"
    print(f"{where}: {row.assessment.verdict}{summary}")
    if (before := row.assessment.judged_before) is not None:
        on = f", on mailpiece {before.mailpiece}" if before.mailpiece else ""
        # An accepted one would only be its own copy.
        other = "" if row.assessment.accepted else "; --scan-id ID makes it another scan"
        print(f"  judged before, as scanned on {before.day}{on}: that answer stands, whatever is given now{other}")
    for finding in row.assessment.reasons:
        print(f"  {finding.check}: {finding.note}")
    if row.assessment.verdict is Verdict.NO_CERTIFICATE:
        print(f"  {what_to_give(options, row.found.file)}. It was not stored: hand it in again")
    if row.assessment.verdict is Verdict.NO_KEY:
        print("  Give --mac-keys FILE, which its provider keeps. It was not stored: hand it in again")
    if not options.brief:
        console.table(
            "", ("check", "result", "what was found"), [(f.check, f.result, f.note) for f in row.assessment.findings]
        )


def run_explain(options: argparse.Namespace) -> int:
    """`pes-sim explain FILE`: 0 when the payload could be read, whatever it says."""
    day = _day(options.date)
    today = local_date(SystemClock().now())
    told = [(found, explain(payload, office, today, day)) for found, payload, office in _payloads(options)]
    if options.json:
        rows = [{"file": str(found.file), "page": found.page} | explained.document() for found, explained in told]
        print(json.dumps(rows, indent=2))
    else:
        for found, explained in told:
            _tell(f"{found.file} page {found.page}", explained)
    return 0 if told and all(explained.fields for _, explained in told) else 1


def _payloads(options: argparse.Namespace) -> Iterator[tuple[Found, bytes, Office]]:
    """What a FILE holds, or the hex digits themselves."""
    path = Path(options.payload)
    digits = "".join(options.payload.split())
    if digits and all(char in "0123456789abcdefABCDEF" for char in digits) and not os.path.exists(options.payload):
        yield Found(Path("payload"), 1, None), from_hex(digits), Office(trusted(options, path), **_given(options))
        return
    office = Office(trusted(options, path), **_given(options))
    for found in read_file(path, options.dpi):
        if found.payload is None:
            raise UsageError(f"{path} page {found.page}: no Data Matrix symbol could be read",
                             hint="A higher --dpi or a better scan may help")  # fmt: skip
        yield found, found.payload, office


def _tell(where: str, explained: Explanation) -> None:
    print(f"{where}: {explained.title}")
    if explained.fields:
        print("\nWhat stands in it")
        for row in explained.fields:
            to = f"s {row.offset} to {row.offset + row.length - 1}" if row.length > 1 else f" {row.offset}"
            print(f"\n  {row.name}: {row.value}")
            print(f"    byte{to}: {row.raw}")
            print(f"    {row.coding}. {row.meaning}")
            print(f"    {row.basis}")
    print("\nWhat the post office checks, and why")
    for check in explained.checks:
        print(f"\n  {check.name}: {check.result}: {check.note}")
        print(f"    {check.why}")
    if explained.steps:
        print("\nThe signature, step by step (numbers in hex)")
        for number, step in enumerate(explained.steps, 1):
            print(f"\n  {number}. {step.what}")
            for line in step.value.splitlines():
                print(f"     {line}")
    print(f"\nVerdict: {explained.assessment.verdict}. Looked at alone: a copy would look the same (pes-sim accept).")
