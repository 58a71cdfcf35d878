"""The `pes-sim` command: one table of subcommands, one place where errors become text and exit codes.

Exit codes: 0 done, 1 something did not hold or was refused, 2 wrong use or bad input, 130 interrupted.
A subcommand's module is imported when it runs, so that `--help` comes at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from pes_sim.cli.arguments import build_parser
from pes_sim.errors import PesError, UsageError

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Gives the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except UsageError as problem:
        return _complain(problem, EXIT_USAGE)
    except PesError as problem:
        return _complain(problem, EXIT_REFUSED)
    except KeyboardInterrupt:
        print("pes-sim: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): nothing is left to say.
        sys.stderr.close()
        return EXIT_REFUSED


def _run(options: argparse.Namespace) -> int:
    module, _, function = options.run.partition(":")
    return int(getattr(import_module(module), function)(options))


def _complain(problem: PesError, code: int) -> int:
    print(f"pes-sim: {problem.message}", file=sys.stderr)
    if problem.hint:
        print(f"  {problem.hint}", file=sys.stderr)
    return code
