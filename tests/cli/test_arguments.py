"""The command line's shape: every command explains itself with an example that works."""

from __future__ import annotations

import argparse
import shlex

import pytest

import pes_sim
from pes_sim.bench.actions import ACTIONS
from pes_sim.cli.arguments import build_parser
from tests.cli.conftest import Cli

COMMANDS = [
    "",
    "demo",
    "print",
    "preview",
    "verify",
    "scan",
    "decode",
    "accept",
    "explain",
    "layout",
    "layout list",
    "layout show",
    "layout check",
    "vectors",
    "symbol",
    "imb",
    "imb encode",
    "imb decode",
    "meter",
    "meter new",
    "meter status",
    "meter refill",
    "meter deposit",
    "meter checkin",
    "meter advance",
    "meter cancel-refill",
    "meter withdraw",
    "meter lock",
    "meter unlock",
    "meter recover",
    "meter settle",
    "meter self-test",
    "meter run",
    "meter specimens",
    "meter snapshot",
    "meter restore",
    "meter clone",
    "bench",
    *(f"bench {action.name}" for action in ACTIONS),
    "monitor",
]


def below(parser: argparse.ArgumentParser, name: str = "") -> dict[str, argparse.ArgumentParser]:
    """A parser and those of all its subcommands, by name."""
    found = {name: parser}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                found |= below(child, f"{name} {word}".strip())
    return found


def test_no_command_is_left_out_of_these_tests() -> None:
    assert list(below(build_parser())) == COMMANDS


def words(name: str) -> list[str]:
    """As it is typed: a control of a bench is named after the meter."""
    first, *rest = name.split() or [""]
    return [first, "m1", *rest] if first == "bench" and rest else name.split()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_an_example_that_the_command_line_takes(cli: Cli, name: str) -> None:
    result = cli(*words(name), "--help")
    assert (result.code, result.err) == (0, "")
    text = " ".join(result.out.split())
    example = text[text.index("example: ") + len("example: ") :]
    for part in example.split(" && "):
        program, *arguments = shlex.split(part)
        assert program == "pes-sim"
        assert arguments[: len(words(name))] == words(name)
        assert build_parser().parse_args(arguments).run.startswith("pes_sim.cli.")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_leads_to_a_function_that_is_there(name: str) -> None:
    from importlib import import_module

    run = below(build_parser())[name].get_default("run")
    if name in ("", "layout", "imb", "meter", "bench"):
        assert run is None
    else:
        module, _, function = run.partition(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("prnt", "invalid choice: 'prnt'"),
        ("meter", "the following arguments are required: ACTION"),
        ("meter sell m1", "invalid choice: 'sell'"),
        ("demo", "the following arguments are required: --out"),
        ("print --meter m1 --out x.pdf", "one of the arguments --job --resume is required"),
        ("print --meter m1 --job x.csv --resume 1 --out x.pdf", "not allowed with argument"),
        ("verify", "the following arguments are required: FILE"),
        ("verify x.pdf --dpi high", "invalid int value: 'high'"),
        ("meter new m1 --clock lunar", "invalid choice: 'lunar'"),
        ("meter new m1 --serial x", "invalid int value: 'x'"),
        ("decode ff --colour", "unrecognized arguments: --colour"),
        ("bench m1", "the following arguments are required: CONTROL"),
        ("bench m1 sell", "invalid choice: 'sell'"),
        ("bench m1 lan", "the following arguments are required: plug"),
        ("bench m1 lan half", "invalid choice: 'half'"),
        ("bench m1 cut --at soon", "invalid int value: 'soon'"),
        ("bench m1 self-test sha-256 --fails --passes", "not allowed with argument"),
    ],
)
def test_wrong_use_is_told_with_the_right_one(cli: Cli, arguments: str, says: str) -> None:
    result = cli(*arguments.split())
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("usage: pes-sim")
    assert says in result.err


@pytest.mark.parametrize("command", ["decode", "meter new", "layout show", "imb encode"])
def test_an_option_that_a_command_lacks_is_told_with_that_commands_usage(cli: Cli, command: str) -> None:
    result = cli(*command.split(), "m1", "--colour")
    assert result.err.startswith(f"usage: pes-sim {command} [-h] [--")
    assert result.err.endswith(f"pes-sim {command}: error: unrecognized arguments: --colour\n")
    assert (result.code, result.out) == (2, "")


def test_it_says_its_version_and_that_it_makes_specimens(cli: Cli) -> None:
    assert cli("--version").out == f"pes-sim {pes_sim.__version__}\n"
    assert "nothing this program prints is valid postage" in " ".join(cli("--help").out.split())
