"""`pes-sim symbol`: one indicium's symbol, with its SPECIMEN band, in a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from pes_sim.cli import paging
from pes_sim.cli.verifying import read_payload
from pes_sim.errors import UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import Layout
from pes_sim.preview import drawing, placing
from pes_sim.psd.storage import write_atomically
from pes_sim.virtual import VirtualMeter

_USUAL_SCAN: Final = 300
"""Dots to an inch of an office scanner."""


def run(options: argparse.Namespace) -> int:
    """`pes-sim symbol HEX|FILE --out FILE`, or `--meter DIR --piece N` in place of the payload"""
    write = drawing.FORMATS.get(options.out.suffix.lower())
    if write is None:
        raise UsageError(f"{options.out} names no format", hint=f"It ends in {', '.join(drawing.FORMATS)}")
    placing.check(options.out)
    paging.check_out(options.out, options.payload, options.layout)
    payload, layout = _asked(options)
    picture = drawing.draw(payload, layout, dpi=options.dpi, dots=options.dots)
    drawing.check_reads(picture, payload)
    write_atomically(options.out, write(picture))
    across, down = (f"{side * 25.4 / picture.dpi:.1f}" for side in (picture.width, picture.height))
    print(f"{layout.symbol} modules, {len(payload)} bytes, {across} x {down} mm at {picture.dpi} dpi, in {options.out}")
    if picture.finest > _USUAL_SCAN:
        print(f"pes-sim: a module is {picture.module / picture.dpi * 25.4:.2f} mm wide: it takes a scan at "
              f"{picture.finest} dpi or more to read it. More --dots make it larger", file=sys.stderr)  # fmt: skip
    print("  A specimen: no valid postage. Destroy what is printed of it on the same day (39 CFR 501.9)")
    return 0


def _asked(options: argparse.Namespace) -> tuple[bytes, Layout]:
    if (options.payload is None) == (options.meter is None) or (options.meter is None) != (options.piece is None):
        raise UsageError("which indicium is not said", hint="Give a payload (HEX or FILE), or --meter DIR --piece N")
    if options.meter is not None:
        return _printed(options.meter, options.piece)
    payload = read_payload(options.payload)
    return payload, layouts.load(options.layout) if options.layout else layouts.recognise(payload)


def _printed(directory: Path, piece: int) -> tuple[bytes, Layout]:
    """A piece that a meter has printed, by its piece count, as its log has it. The log is looked at, not written."""
    with VirtualMeter(directory) as meter:
        layout = layouts.load(meter.home.config.layout)
        kept = {entry["piece_count"]: entry["indicium"] for entry in meter.log()}
    if piece not in kept:
        has = f"Its log has {min(kept)} to {max(kept)}" if kept else "It has printed none that its log still has"
        raise UsageError(f"{directory} has no piece {piece}", hint=has)
    return kept[piece], layout
