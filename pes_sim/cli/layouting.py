"""`pes-sim layout`: which layouts there are, what one says byte for byte, and what is wrong with a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pes_sim.cli import console, paging
from pes_sim.errors import LayoutError
from pes_sim.indicium import bytemap
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.document import Mistake
from pes_sim.indicium.layout import Layout
from pes_sim.preview import placing
from pes_sim.psd.piece import check_for_new
from pes_sim.psd.storage import write_atomically


def run_list(options: argparse.Namespace) -> int:
    """`pes-sim layout list`"""
    known = [layouts.builtin(name) for name in layouts.BUILT_IN]
    console.table(
        "",
        ("name", "bytes", "symbol", "signature", "a meter prints by it", "title"),
        [(x.name, x.length, x.symbol, x.signature.scheme, "no" if _unprintable(x) else "yes", x.title) for x in known],
        right=(1,),
    )
    print("A file of your own goes wherever a name does: --layout FILE.toml")
    return 0


def run_show(options: argparse.Namespace) -> int:
    """`pes-sim layout show NAME|FILE`"""
    layout = layouts.load(options.layout)
    if options.svg:
        placing.check(options.svg)
        paging.check_out(options.svg, options.layout)
    if options.json:
        print(json.dumps(_document(layout), indent=2))
    else:
        print(f"{layout.title}: {bytemap.summary(layout)}")
        console.table(
            "",
            ("offset", "length", "field", "coding", "unit", "meaning", "basis"),
            [(p.offset, p.length, p.name, p.coding, p.unit, p.meaning, p.said) for p in bytemap.parts(layout)],
            right=(0, 1),
        )
        for line in layout.text:
            print(f"  {line}")
    if options.svg:
        write_atomically(options.svg, bytemap.svg(layout).encode())
        if not options.json:
            print(f"The picture is in {options.svg}")
    return 0


def run_check(options: argparse.Namespace) -> int:
    """`pes-sim layout check FILE …`. 0 when no file has a mistake."""
    found: list[tuple[Path, Layout | None, list[Mistake]]] = []
    problems = []
    for path in options.files:
        try:
            found.append((path, *layouts.examine(path)))
        except LayoutError as problem:  # the other files are looked at all the same
            problems.append(problem)
    if found and options.json:
        print(json.dumps([_checked(str(path), layout, wrong) for path, layout, wrong in found], indent=2))
    elif found:
        _say(found)
    console.raise_all(problems)
    return 1 if any(wrong for _, _, wrong in found) else 0


def _say(found: Sequence[tuple[Path, Layout | None, list[Mistake]]]) -> None:
    for path, layout, wrong in found:
        for mistake in wrong:
            print(f"{path}, line {mistake.line}: {mistake.text}{f'. {mistake.hint}' if mistake.hint else ''}")
        if layout is None:
            print(f"{path}: {'1 mistake' if len(wrong) == 1 else f'{len(wrong)} mistakes'}")
            continue
        print(f"{path}: good. {layout.title}: {bytemap.summary(layout)}")
        if why := _unprintable(layout):
            print(f"  A meter cannot print by it, but it can be read: {why}")


def _unprintable(layout: Layout) -> str:
    """Why a meter cannot print by it; empty when it can."""
    try:
        check_for_new(layout)
    except LayoutError as problem:
        return str(problem)
    return ""


def _document(layout: Layout) -> dict[str, Any]:
    return {
        "name": layout.name,
        "title": layout.title,
        "construct": layout.construct,
        "writable": layout.writable,
        "symbol": layout.symbol,
        "versions": [layout.versions[0], layout.versions[-1]] if layout.versions else [],
        "length": layout.length,
        "signed_length": layout.signed_length,
        "scheme": layout.signature.scheme,
        "text": list(layout.text),
        "fields": [part._asdict() for part in bytemap.parts(layout)],
    }


def _checked(path: str, layout: Layout | None, mistakes: list[Mistake]) -> dict[str, Any]:
    return {
        "file": path,
        "good": layout is not None,
        "printable": layout is not None and not _unprintable(layout),
        "mistakes": [{"line": m.line, "text": m.text, "hint": m.hint} for m in mistakes],
    }
