"""`pes-sim scan`: what a scanner would have seen of a page, in files."""

from __future__ import annotations

import argparse

from pes_sim.errors import UsageError
from pes_sim.preview import scanner


def run(options: argparse.Namespace) -> int:
    """`pes-sim scan FILE --out DIR`"""
    if options.realistic and options.damage:
        raise UsageError("--realistic draws its own damages", hint="Leave out --damage, or --realistic")
    damages = None if options.realistic else dict(map(scanner.parsed, options.damage))
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"{options.out} cannot be made: {problem.strerror}", hint="Give a directory") from None
    for number, (seen, done) in enumerate(scanner.scans(options.file, options.dpi, damages, options.seed), 1):
        path = options.out / f"{options.file.stem}-{number:03}.png"
        scanner.save(seen, path, options.dpi)
        said = ", ".join(f"{name}={strength:g}" for name, strength in done.items()) or "no damage"
        print(f"{path}: {seen.width} x {seen.height} pixels at {options.dpi} dpi, {said}")
    print("  Specimens: no valid postage. Destroy what is printed of them on the same day (39 CFR 501.9)")
    return 0
