"""`pes-sim verify` and `pes-sim decode`: what a payload says, and whether it is true."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pes_sim.cli import console
from pes_sim.errors import PayloadError, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.api import SECRETS_FILE, from_hex, trust
from pes_sim.indicium.layout import Layout, Row
from pes_sim.indicium.verify import Report, Trust, Verdict, verify
from pes_sim.money import dollars

if TYPE_CHECKING:
    from pes_sim.indicium.grade import Grade
    from pes_sim.indicium.reading import Mark

_BESIDE: Final = ("ca.pem", "psd.pem")
"""What is believed where `--ca` or `--psd` is not given: the certificate of that name beside the file."""
_LONGEST: Final = 65536
"""Bytes of a file that may hold one payload."""
_SHORTEST_HEX: Final = 40
"""Hex digits that are taken for a payload and not for a name: those of IBI-Lite."""
_TEXTS: Final = ("utf-8-sig", "utf-16")
"""What hex digits may be written in: that of Windows' shell among them."""


@dataclass(frozen=True, slots=True)
class Found:
    """One payload and where it was: file and page (1 for a .bin). None for what a page has that cannot be read.

    `mark`: the symbol on the page; `box_mm`: left, top, right and bottom in millimetres, where the file says its
    resolution; `missing`: how many of the symbols `expected` on the page were not found.
    """

    file: Path
    page: int
    payload: bytes | None
    mark: Mark | None = None
    box_mm: tuple[float, ...] | None = None
    grade: Grade | None = None
    missing: int = 0
    expected: int = 1


def run_verify(options: argparse.Namespace) -> int:
    """`pes-sim verify FILE …`. 0 when every indicium is valid."""
    known = [layouts.load(options.layout)] if options.layout else None
    results: list[tuple[Found, Report | None]] = []
    problems: list[tuple[Path, UsageError]] = []
    for file in options.files:
        try:
            believed = trusted(options, file)  # its certificates are read once for all pages
            for found in read_file(file, options.dpi, options.expect, graded=options.grade):
                results.append((found, None if found.payload is None else verify(found.payload, believed, known)))
        except UsageError as error:  # what the other files and the pages before it say is not lost
            problems.append((file, error))
    good = not problems and all(report is not None and report.verdict is Verdict.VALID for _, report in results)
    if results:
        _tell(options, good, results, problems)
    console.raise_all([problem for _, problem in problems])
    return 0 if good else 1


def _tell(
    options: argparse.Namespace,
    good: bool,
    results: Sequence[tuple[Found, Report | None]],
    problems: Sequence[tuple[Path, UsageError]],
) -> None:
    if options.json:
        document = {
            "valid": good,
            "indicia": [_document(found, report) for found, report in results],
            "unread": [{"file": str(file), "problem": problem.message} for file, problem in problems],
        }
        print(json.dumps(document, indent=2))
        return
    for found, report in results:
        _show(found, report, options)
    count = sum(report is not None and report.verdict is Verdict.VALID for _, report in results)
    print(f"{count} of {len(results)} valid. Specimens: no valid postage, whatever the verdict.")


def read_file(path: Path, dpi: int, expected: int = 1, *, graded: bool = False) -> Iterator[Found]:
    """The payloads of a file: its bytes for a .bin, otherwise the symbols of its pages. Hex digits may stand in place
    of a file's name.

    `expected`: how many symbols there are on a page at least; `graded`: with an estimate of how good each print is.
    """
    payload = _alone(path)
    if payload is not None:
        yield Found(path, 1, payload)
        return
    from pes_sim.indicium import grade, reading
    from pes_sim.preview import image

    for number, page in enumerate(image.pages(path, dpi), 1):
        marks = reading.find(page, expected)
        for mark in marks:
            estimate = grade.grade(page, mark) if graded else None
            yield Found(path, number, mark.payload, mark, _millimetres(mark, image.resolution(page)), estimate)
        if len(marks) < expected:
            yield Found(path, number, None, missing=expected - len(marks), expected=expected)


def _alone(path: Path) -> bytes | None:
    """The one payload of a .bin, or of hex digits in place of a file's name; None for a file of pages."""
    if path.suffix.lower() == ".bin":
        data = read_bytes(path)
        digits = _in_hex(data)
        return data if digits is None else digits
    typed = os.fsencode(path)
    return _in_hex(typed) if len(typed) >= _SHORTEST_HEX and not os.path.exists(path) else None


def _millimetres(mark: Mark, resolution: tuple[float, float] | None) -> tuple[float, ...] | None:
    if resolution is None:
        return None
    return tuple(round(side / dpi * 25.4, 1) for side, dpi in zip(mark.box, resolution * 2, strict=True))


def read_bytes(path: Path) -> bytes:
    """A small file's bytes. Raises `UsageError`."""
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    if len(data) > _LONGEST:
        raise UsageError(f"{path} has more than {_LONGEST} bytes: no payload", hint="A payload has some 20 to 200")
    return data


def trusted(options: argparse.Namespace, file: Path) -> Trust:
    """What `--ca`, `--psd`, `--mac-keys` and `--revoked` say, or the certificates beside the file."""
    if absent(options, file):
        believed = trust(options.ca, options.psd or (), options.mac_keys)
    else:
        ca, psd = (file.parent / name for name in _BESIDE)
        believed = trust(options.ca or ca, options.psd or [psd], options.mac_keys)
    return replace(believed, revoked=frozenset(options.revoked)) if options.revoked else believed


def absent(options: argparse.Namespace, file: Path) -> list[Path]:
    """The certificates that were neither given nor are beside the file."""
    given = {"ca.pem": options.ca, "psd.pem": options.psd}
    return [file.parent / name for name in _BESIDE if not given[name] and not (file.parent / name).exists()]


def what_to_give(options: argparse.Namespace, file: Path) -> str:
    """The certificates without which nothing can be checked, and where one was looked for."""
    missing = ", ".join(str(path) for path in absent(options, file))
    return f"Give --ca ca.pem and --psd psd.pem; a meter's directory holds both. Missing: {missing}"


def _document(found: Found, report: Report | None) -> dict[str, Any]:
    document: dict[str, Any] = {"file": str(found.file), "page": found.page}
    if report is None or found.payload is None:
        return document | {"verdict": "unreadable", "missing": found.missing, "checks": []}
    return (
        document
        | _place(found)
        | {
            "verdict": report.verdict.value,
            "layout": report.layout,
            "payload_hex": found.payload.hex(),
            "fields": {name: _plain(value) for name, value in report.values.items()},
            "checks": [{"name": c.name, "passed": c.passed, "note": c.note} for c in report.checks],
        }
    )


def _place(found: Found) -> dict[str, Any]:
    """Where the symbol is on its page, and how good it is, where that was asked for."""
    if found.mark is None:
        return {}
    place: dict[str, Any] = {
        "box_mm": found.box_mm,
        "box_pixels": [round(side, 1) for side in found.mark.box],
        "rotation_degrees": found.mark.rotation,
        "read": found.mark.how,
    }
    if found.grade is None:
        return {"place": place}
    return {"place": place, "grade": _graded(found.grade)}


def _graded(estimate: Grade) -> dict[str, Any]:
    from pes_sim.indicium.grade import NOTICE, PARAMETERS

    return {
        "estimate": NOTICE,
        "overall": estimate.overall,
        "letter": estimate.letter,
        "parameters": {
            name: {"value": value, "unit": PARAMETERS[name].unit, "grade": estimate.grades[name]}
            for name, value in estimate.values.items()
        },
    }


def _show(found: Found, report: Report | None, options: argparse.Namespace) -> None:
    where = f"{found.file} page {found.page}"
    if report is None:
        what = "no Data Matrix symbol could be read"
        if found.expected > 1:
            what = f"{found.missing} of {found.expected} Data Matrix symbols could not be read"
        print(f"{where}: unreadable: {what} (a higher --dpi or a better scan may help)")
        return
    values, summary = report.values, ""
    postage = values.get("postage_mills")
    # In a layout of a user's own it may be anything, or not there.
    if isinstance(postage, int) and {"mailing_date", "psd_serial"} <= set(values):
        summary = f": {dollars(postage)}, {values['mailing_date']!s}, PSD {values['psd_serial']!s}"
    print(f"{where}: {report.verdict}{summary}")
    if found.grade is not None:
        _show_grade(found.grade)
    if report.verdict is not Verdict.VALID:
        failed = report.checks[-1]
        print(f"  {failed.name}: {failed.note}")
        if report.verdict is Verdict.NO_CERTIFICATE:
            print(f"  {what_to_give(options, found.file)}")
        if report.verdict is Verdict.NO_KEY:
            print(f"  Give --mac-keys FILE; a meter's provider keeps it: provider/{SECRETS_FILE}")
        if report.verdict is Verdict.UNKNOWN_VERSION:
            print("  Give --layout FILE.toml for a layout of your own")


def _show_grade(estimate: Grade) -> None:
    from pes_sim.indicium.grade import LETTERS, NOTICE, PARAMETERS

    print(f"  grade {estimate.letter} ({estimate.overall}): {NOTICE}")
    for name, value in estimate.values.items():
        said = f"{name.replace('_', ' ')} {value:.2f} {PARAMETERS[name].unit}"
        print(f"    {LETTERS[estimate.grades[name]]}  {said}")


def run_decode(options: argparse.Namespace) -> int:
    """`pes-sim decode HEX|FILE`"""
    payload = read_payload(options.payload)
    layout = layouts.load(options.layout) if options.layout else layouts.recognise(payload)
    rows = layout.describe(payload)
    if options.json:
        print(json.dumps(_decoded(layout, payload, rows), indent=2))
        return 0
    print(f"{layout.title}: {len(payload)} bytes")
    console.table(
        "",
        ("offset", "length", "field", "bytes", "value", "basis", "meaning"),
        [(r.offset, r.length, r.name, _short(r.raw), _shown(r), r.basis, r.meaning) for r in rows],
        right=(0, 1),
    )
    if layout.construct.startswith("IMI") and any(row.basis == "assumed" for row in rows):
        print("The IMI Performance Criteria are not public: fields marked assumed are this simulator's own.")
    return 0


def read_payload(text: str) -> bytes:
    """What a HEX|FILE argument holds. Raises `UsageError` for neither."""
    if os.path.exists(text):
        data = read_bytes(Path(text))
        digits = _in_hex(data)
        if digits is None and data.isascii() and all(char.isprintable() or char.isspace() for char in data.decode()):
            raise UsageError(f"{text} is text, but no hex digits", hint="0-9, a-f, blanks and line ends belong there")
        return data if digits is None else digits
    try:
        return from_hex(text)
    except PayloadError as problem:
        raise UsageError(f"{text[:60]!r} is neither a file nor hex digits: {problem.message}") from None


def _in_hex(data: bytes) -> bytes | None:
    """What hex digits in a file say; None for a file of anything else."""
    for encoding in _TEXTS:
        with suppress(UnicodeDecodeError, PayloadError):
            return from_hex(data.decode(encoding))
    return None


def _decoded(layout: Layout, payload: bytes, rows: list[Row]) -> dict[str, Any]:
    return {
        "layout": layout.name,
        "title": layout.title,
        "construct": layout.construct,
        "length": len(payload),
        "fields": [
            {
                "name": r.name, "offset": r.offset, "length": r.length, "raw_hex": r.raw.hex(),
                "value": _plain(r.value), "unit": r.unit, "meaning": r.meaning, "basis": r.basis, "source": r.source,
            }
            for r in rows
        ],
    }  # fmt: skip


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _short(raw: bytes) -> str:
    return raw.hex() if len(raw) <= 8 else f"{raw[:6].hex()}…"


def _shown(row: Row) -> str:
    return _short(row.value) if isinstance(row.value, bytes) else row.said
