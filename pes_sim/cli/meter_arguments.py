"""The commands of `pes-sim meter`: a table of them, and what each takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from pes_sim.cli.options import Commands, add, as_json, faults, group


def add_meter(commands: Commands) -> None:
    """Adds `meter` and its commands."""
    actions = group(commands, "meter", "Make a meter, look at it, refill it, check it in, withdraw it",
                    "pes-sim meter new m1 --zip 20260 && pes-sim meter status m1")  # fmt: skip
    for row in _ACTIONS:
        run = f"pes_sim.cli.{row.module}:run_{row.name.replace('-', '_')}"
        p = add(actions, row.name, run, row.what, f"pes-sim meter {row.name} {row.example}")
        for take in row.takes:
            take(p)


def _directory(p: argparse.ArgumentParser) -> None:
    p.add_argument("directory", type=Path, metavar="DIR", help="the meter's directory")


def _snapshot(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", type=Path, metavar="FILE", help="the snapshot")


def _amount(p: argparse.ArgumentParser) -> None:
    p.add_argument("amount", metavar="DOLLARS")


def _duration(p: argparse.ArgumentParser) -> None:
    p.add_argument("duration", metavar="TIME", help="such as 72h1m, 3d or 90s")


def _why_lock(p: argparse.ArgumentParser) -> None:
    _reason(p, "what for, as often as needed: provider lock (the default), inspection due, register fault or so")


def _which_lock(p: argparse.ArgumentParser) -> None:
    _reason(p, "which lock, as often as needed (default: all that the provider may clear)")


def _reason(p: argparse.ArgumentParser, what: str) -> None:
    p.add_argument("--reason", action="append", default=[], metavar="REASON", help=what)


def _printed(p: argparse.ArgumentParser) -> None:
    """What a meter has printed whose own word is lost."""
    p.add_argument("--used", metavar="DOLLARS", help="what it printed in its life (default: its database's word)")
    p.add_argument("--pieces", type=int, metavar="N", help="in how many pieces")
    p.add_argument("--zero-pieces", type=int, metavar="N", help="of which N were of zero value (0)")


def _new(p: argparse.ArgumentParser) -> None:
    """Who is to have the meter, and what it is."""
    p.add_argument("--zip", default="20260", metavar="NNNNN", help="ZIP Code of the licensing post office (20260)")
    p.add_argument("--customer", default="TEST CUSTOMER", metavar="NAME", help="the customer's account")
    p.add_argument("--serial", type=int, default=0, metavar="N", help="the PSD's serial number (default: drawn)")
    p.add_argument("--departments", type=Path, metavar="FILE.csv", help="code,name of each (default: 100 General)")
    p.add_argument("--deposit", default="10000.00", metavar="DOLLARS", help="the customer's funds (10000.00)")
    p.add_argument("--refill", default="", metavar="DOLLARS", help="refill it at once (default: not)")
    p.add_argument("--clock", choices=("real", "virtual"), default="real",
                   help="virtual: stands still until 'meter advance' moves it")  # fmt: skip
    p.add_argument("--start", default="", metavar="TIME", help="where a virtual clock begins (default: now)")
    p.add_argument("--utc-offset", default="+00:00", metavar="±HH:MM", help="the meter's fixed offset from UTC")
    p.add_argument(
        "--layout",
        default="imi_std",
        metavar="NAME",
        help="imi_min, imi_std, imi_max, ibi_specimen (legacy), or a layout's .toml file",
    )
    p.add_argument("--profile", choices=("140-2", "140-3", "legacy"), default="140-2",
                   help="whose rules it follows: FIPS 140-2, 140-3, or none, to sign as IBI was (140-2)")  # fmt: skip
    p.add_argument("--regime", choices=("IMI", "IBI"), default="IMI",
                   help="IMI: a check-in every 72 hours; IBI: every 90 days, and inspections (IMI)")  # fmt: skip
    p.add_argument("--seed", default="", metavar="TEXT", help="keys follow from it; the meter says so")


def _port(p: argparse.ArgumentParser) -> None:
    """Where a meter is served, and over what line."""
    p.add_argument("--port", default="pty:", metavar="URI",
                   help="pty:, pty:LINK, tcp:PORT, tcp:HOST:PORT, rfc2217:HOST:PORT or serial:PATH (pty:)")  # fmt: skip
    p.add_argument("--line", default="", metavar="NAME=VALUE,...",
                   help="the line to it: baud=9600,bit-errors=1e-4 or the like (docs/line.md)")  # fmt: skip
    p.add_argument("--line-step", action="append", default=[], metavar="STEP",
                   help='what happens on it once, as in "unplug to-device frame=3 for=2s"; repeatable')  # fmt: skip
    p.add_argument("--line-seed", default="", metavar="TEXT",
                   help="what goes wrong on the line follows from it (default: drawn, and told)")  # fmt: skip
    p.add_argument("--psd", action="store_true", help="its security device alone, as a mainboard finds it")


def _while_it_runs(p: argparse.ArgumentParser) -> None:
    """What befalls a meter that is served, and who is told of it."""
    p.add_argument("--cut-power-at-write", type=int, metavar="N",
                   help="cut the PSD's power before operation N of its medium; it comes back at once")  # fmt: skip
    p.add_argument("--storage-fault", action="append", default=[], metavar="KIND[@N[:K]]",
                   help="what is wrong with the PSD's medium: tear@12:100 or the like (docs/storage.md)")  # fmt: skip
    p.add_argument("--trace", type=Path, metavar="FILE.pcapng",
                   help="write what goes over the port to a file, or to a named pipe, for Wireshark "
                   "(hardware/wireshark)")  # fmt: skip
    p.add_argument("--control", type=int, metavar="PORT",
                   help="where on this machine its bench control listens (default: any free port)")  # fmt: skip
    p.add_argument("--no-control", action="store_true", help="without bench control (pes-sim bench)")


class _Action(NamedTuple):
    """One command: what it takes, in that order, and the module that has its function `run_NAME`."""

    name: str
    what: str
    example: str
    takes: tuple[Callable[[argparse.ArgumentParser], None], ...]
    module: str = "meters"


_ACTIONS: Final = (
    _Action("new", "Manufacture and authorize a meter with a data centre of its own", "m1 --zip 20260 --refill 100",
            (_directory, _new)),
    _Action("status", "State, registers, hours to the lockout, departments", "m1 --json",
            (_directory, as_json, faults)),
    _Action("refill", "Add postage from the customer's funds", "m1 50.00",
            (_directory, _amount, as_json, faults)),
    _Action("deposit", "Put funds on the customer's account with the provider, for refills", "m1 500.00",
            (_directory, _amount, as_json)),
    _Action("checkin", "Report to the data centre, which restarts the 72 hours", "m1",
            (_directory, as_json, faults)),
    _Action("advance", "Move a virtual clock on", "m1 72h1m", (_directory, _duration, as_json)),
    _Action("cancel-refill", "Give up the refill under way; what the provider granted for it is paid back", "m1",
            (_directory, as_json), "orders"),
    _Action("withdraw", "End service for good: what is left is paid back to the customer's account", "m1 --json",
            (_directory, as_json), "orders"),
    _Action("lock", "The provider's order to lock the meter", "m1 --reason 'inspection due'",
            (_directory, _why_lock, as_json), "orders"),
    _Action("unlock", "The provider's order to unlock the meter; wrong proofs of identity are forgotten, too", "m1",
            (_directory, _which_lock, as_json), "orders"),
    _Action("recover", "The provider's order to go on, for a meter that has lost its registers or its trust; then "
            "unlock it", "m1 --used 12.58 --pieces 17", (_directory, _printed, as_json), "orders"),
    _Action("settle", "End the service of a meter that cannot come back; what is left is paid back to the customer's "
            "account", "m1 --used 12.58 --pieces 17", (_directory, _printed, as_json), "orders"),
    _Action("self-test", "Run the PSD's self-tests, all of them", "m1 --fail-self-test sha-256",
            (_directory, as_json, faults), "orders"),
    _Action("run", "Serve the meter on a port until stopped; one line of JSON when it is ready",
            "m1 --port pty:/tmp/meter0", (_directory, _port, _while_it_runs, faults), "running"),
    _Action("specimens", "Specimens printed each day, to be collected and destroyed (39 CFR 501.9)", "m1",
            (_directory,)),
    # From where, and to where; a restore names the meter first, as every other command does.
    _Action("snapshot", "Copy a whole meter, its keys and its data centre into one new file", "m1 m1.snapshot",
            (_directory, _snapshot), "snapshots"),
    _Action("restore", "Put a meter back to what it was in a snapshot; not its clock, nor its data centre",
            "m1 m1.snapshot", (_directory, _snapshot), "snapshots"),
    _Action("clone", "Make a second meter of a snapshot, with a clock and a data centre of its own", "m1.snapshot m2",
            (_snapshot, _directory), "snapshots"),
)  # fmt: skip
