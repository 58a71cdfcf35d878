"""`pes-sim`, stopped half-way: says on its output that call N is done, and waits for a line.

Run as `python -m tests.cli.paused piece N print …` (piece N is paid, and not drawn yet) or `… grant N meter refill …`
(the provider has booked a refill, and its grant is not with the meter yet), to send a signal at just that point.
"""

from __future__ import annotations

import sys
from typing import Any

from pes_sim.cli import main
from pes_sim.meter.meter import Meter
from pes_sim.provider.centre import DataCentre

CALLS: dict[str, tuple[type, str]] = {"piece": (Meter, "print_piece"), "grant": (DataCentre, "refill")}

what, stop_after = sys.argv[1], int(sys.argv[2])
owner, name = CALLS[what]
real = getattr(owner, name)
done = 0


def paused(self: object, *arguments: Any, **named: Any) -> Any:
    global done
    answer = real(self, *arguments, **named)
    done += 1
    if done == stop_after:
        print(f"{what} {done}", flush=True)
        sys.stdin.readline()
    return answer


setattr(owner, name, paused)
sys.exit(main(sys.argv[3:]))
