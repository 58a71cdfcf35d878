"""What is tested: a mailroom that prints a batch of letters, and asks for money before it runs out."""

from __future__ import annotations

from pes_sim import Meter


def frank(meter: Meter, letters: int, *, department: str = "100", reserve_mills: int = 20_000) -> list[bytes]:
    """Prints so many one-ounce letters; gives their indicia. Refills first where less than that would be left."""
    needed = letters * meter.quote("first_class_letter", 100) + reserve_mills
    missing = needed - meter.registers().descending_mills
    if missing > 0:
        meter.refill(missing)
    # A letter whose answer was lost is asked for again under its own id, by the meter's client: it is paid once.
    return [meter.print_piece(department=department).indicium for _ in range(letters)]
