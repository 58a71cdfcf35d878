"""`pes-sim`, stopped in mid-job: says on its output that piece N is paid, before it is drawn, and waits for a line.

Run as `python -m tests.cli.paused N print …`, so that a test can send its signal at just that point.
"""

from __future__ import annotations

import sys
from typing import Any

from pes_sim.cli import main
from pes_sim.meter.meter import Meter, Printed

stop_after = int(sys.argv[1])
print_piece = Meter.print_piece
paid = 0


def paused(meter: Meter, **request: Any) -> Printed:
    global paid
    printed = print_piece(meter, **request)
    paid += 1
    if paid == stop_after:
        print(f"paid {paid}", flush=True)
        sys.stdin.readline()
    return printed


Meter.print_piece = paused  # type: ignore[method-assign,assignment]
sys.exit(main(sys.argv[2:]))
