"""`pes-sim vectors`: the test vectors, in a file."""

from __future__ import annotations

import argparse
import json

from pes_sim.cli import paging
from pes_sim.preview import placing
from pes_sim.provider import vectors
from pes_sim.psd.storage import write_atomically


def run(options: argparse.Namespace) -> int:
    """`pes-sim vectors --out FILE.json`"""
    placing.check(options.out)
    paging.check_out(options.out)
    text = vectors.text()
    write_atomically(options.out, text.encode())
    made = json.loads(text)
    print(f"{made['numberOfTests']} tests in {len(made['testGroups'])} groups, in {options.out}")
    print("  Specimens, by keys that everybody knows: good for testing a verifier, and for nothing else")
    return 0
