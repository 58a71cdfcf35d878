"""What commands have in common: how one is added with its example, and the options that several of them take."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""The subcommands of a parser."""


def add(commands: Commands, name: str, run: str, what: str, example: str) -> argparse.ArgumentParser:
    """A subcommand that `run` ("module:function") carries out."""
    parser = _command(commands, name, what, example)
    parser.set_defaults(run=run, parser=parser)
    return parser


def group(commands: Commands, name: str, what: str, example: str) -> Commands:
    """A subcommand that has subcommands of its own; gives those."""
    parser = _command(commands, name, what, example)
    return parser.add_subparsers(title="actions", metavar="ACTION", required=True)


def _command(commands: Commands, name: str, what: str, example: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=what[0].lower() + what[1:], description=f"{what}.", epilog=f"example: {example}"
    )


def as_json(parser: argparse.ArgumentParser) -> None:
    """The answer for a machine."""
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def faults(parser: argparse.ArgumentParser) -> None:
    """Options that break the meter while this command runs."""
    parser.add_argument("--fail-self-test", action="append", default=[], metavar="NAME",
                        help="a self-test of the PSD fails, such as sha-256 (docs/psd.md lists them)")  # fmt: skip
