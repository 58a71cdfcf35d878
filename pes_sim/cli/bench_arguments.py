"""The commands of `pes-sim bench`, from the table of controls."""

from __future__ import annotations

import argparse
from pathlib import Path

from pes_sim.bench.actions import ACTIONS, Form, Parameter
from pes_sim.cli.options import Commands, add, as_json


def add_bench(commands: Commands) -> None:
    """A control is named after the meter, and its arguments come from the table of controls."""
    parent = commands.add_parser(
        "bench",
        help="control a meter while it runs: clock, LAN, power, faults, snapshots",
        description="Control a meter while 'pes-sim meter run' runs it: clock, LAN, power, faults, snapshots.",
        epilog="example: pes-sim bench m1 advance 72h",
    )
    parent.add_argument("directory", type=Path, metavar="DIR", help="the meter's directory")
    controls = parent.add_subparsers(title="controls", metavar="CONTROL", required=True, dest="control")
    for row in ACTIONS:
        p = add(controls, row.name, "pes_sim.cli.benching:run", row.what, f"pes-sim bench m1 {row.example}")
        for parameter in row.parameters:
            _argument(p, parameter)
        as_json(p)


def _argument(p: argparse.ArgumentParser, parameter: Parameter) -> None:
    name, kind = parameter.name, {Form.WHOLE: int, Form.NUMBER: float}.get(parameter.form, str)
    if parameter.form is Form.FLAG:
        either = p.add_mutually_exclusive_group()
        for word, value in zip(parameter.words, (True, False), strict=True):
            either.add_argument(f"--{word}", dest=name, action="store_const", const=value, default=parameter.default,
                                help=f"{parameter.meaning}: {'yes' if value else 'no'}")  # fmt: skip
    elif parameter.needed:
        p.add_argument(name, type=kind, choices=parameter.words or None, help=parameter.meaning,
                       metavar=None if parameter.words else name.upper())  # fmt: skip
    else:
        p.add_argument(f"--{name.replace('_', '-')}", type=kind, default=parameter.default, metavar="N",
                       help=parameter.meaning)  # fmt: skip
