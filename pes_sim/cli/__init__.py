"""The `pes-sim` command: one table of subcommands, one place where errors become text and exit codes.

A subcommand's module is imported when it runs, so that `--help` comes at once.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

from pes_sim.cli import console
from pes_sim.cli.arguments import build_parser
from pes_sim.errors import PesError, UsageError

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
EXITS: Final[Mapping[int, str]] = {
    0: "Done, and everything held. A `meter run` or a `monitor` that was told to stop ends so, too",
    EXIT_REFUSED: "Something was refused, cannot be used (a file, a port, a disk), or did not hold: an indicium that "
    "is not valid or not accepted, a layout with mistakes, a self-test that failed, a mail job that stopped",
    EXIT_USAGE: "Wrong use, or bad input: an option, a file or a value has to be put right",
    EXIT_INTERRUPTED: "Interrupted (Ctrl-C). What was paid stays paid; a mail job goes on with `--resume`",
}
"""The exit codes, and what each says."""
_COMMAND = re.compile(r"(pes-sim meter [a-z-]+) DIR\b")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Gives the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name in it may be in letters that the terminal lacks, or a path in none at all.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(options)
        if sys.stdout is not None:  # as after `>&-`
            sys.stdout.flush()
    except PesError as problem:
        problem.hint = for_this_meter(problem.hint, options)
        return _complain(problem, exit_code(type(problem)))
    except KeyboardInterrupt:
        print("pes-sim: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): nothing is left to say.
        _drop_output()
        return EXIT_REFUSED
    except OSError as problem:
        if problem.filename is None:
            _drop_output()
        where = problem.filename or "the output"
        return _complain(UsageError(f"{where} cannot be used: {problem.strerror}"), EXIT_REFUSED)
    return code


def exit_code(kind: type[PesError]) -> int:
    """The exit code for an error: wrong input is a `ValueError` as well."""
    return EXIT_USAGE if issubclass(kind, ValueError) else EXIT_REFUSED


def for_this_meter(hint: str, options: argparse.Namespace) -> str:
    """A hint with the meter's directory in its command; who gave it knows of none."""
    directory = getattr(options, "directory", None) or getattr(options, "meter", None)
    return _COMMAND.sub(lambda found: f"{found[1]} {shlex.quote(str(directory))}", hint) if directory else hint


def _run(options: argparse.Namespace) -> int:
    module, _, function = options.run.partition(":")
    return int(getattr(import_module(module), function)(options))


def _drop_output() -> None:
    """What is still to be written goes nowhere, so that Python does not try, and fail, once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(problem: PesError, code: int) -> int:
    console.complain(problem)
    return code
