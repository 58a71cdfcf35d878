"""`pes-sim meter snapshot`, `restore` and `clone`: a whole device in one file, and back."""

from __future__ import annotations

import argparse

from pes_sim import snapshot


def run_snapshot(options: argparse.Namespace) -> int:
    """`pes-sim meter snapshot DIR FILE`"""
    held = snapshot.take(options.directory, options.file)
    size = options.file.stat().st_size
    print(f"Meter {held.psd_serial} of {options.directory}: {len(held.parts)} files in {options.file}, {size:,} bytes")
    print("  The meter's keys are in it: whoever can read it has the meter")
    return 0


def run_restore(options: argparse.Namespace) -> int:
    """`pes-sim meter restore DIR FILE`"""
    held = snapshot.restore(options.file, options.directory)
    print(f"Meter {held.psd_serial} in {options.directory} is what it was in {options.file}")
    print("  Its clock and its data centre are not: what it reported since, the next check-in finds missing")
    return 0


def run_clone(options: argparse.Namespace) -> int:
    """`pes-sim meter clone FILE DIR`"""
    held = snapshot.clone(options.file, options.directory)
    print(f"Meter {held.psd_serial} once more in {options.directory}, with a clock and a data centre of its own")
    print("  It has the keys of the first: as much a specimen, for experiments")
    return 0
