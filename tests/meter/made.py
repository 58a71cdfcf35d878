"""Meters in directories: made once, and copied for each test that wants one."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from pes_sim.virtual import VirtualMeter, create

DEPARTMENTS = {"100": "Sales", "200": "Billing"}
CUSTOMER = "TEST CUSTOMER"
FUNDS = 100_000
DEPOSIT = 1_000_000
TODAY = "2026-01-05"
SERIAL = 1234567


def copy_of_a_meter(directory: Path, seed: str = "") -> Path:
    """A meter with $100 in it, a virtual clock, and $900 more with the provider, in `directory`.."""
    shutil.copytree(_made(seed), directory)
    return directory


@cache
def _made(seed: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="pes-sim-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    create(
        folder / "meter",
        psd_serial=SERIAL,
        customer=CUSTOMER,
        departments=DEPARTMENTS,
        seed=seed,
        deposit_mills=DEPOSIT,
    )
    with VirtualMeter(folder / "meter") as meter:
        meter.refill(FUNDS)
    return folder / "meter"
