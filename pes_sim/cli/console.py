"""What people see: tables, a progress bar, and the hand that Ctrl-C is held by while a piece is paid and drawn."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from pes_sim.errors import PesError

_T = TypeVar("_T")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """A table on standard output; `right` are the columns whose cells stand at the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        grid.add_column(name, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 140
    console.print(grid)


def complain(problem: PesError) -> None:
    """An error on standard error: what is wrong, and what to do."""
    print(f"pes-sim: {problem.message}", file=sys.stderr)
    if problem.hint:
        print(f"  {problem.hint}", file=sys.stderr)


def raise_all(problems: Sequence[PesError]) -> None:
    """Complains of each once, however many files share it, and raises the last; nothing where there are none."""
    different = list({problem.message: problem for problem in problems}.values())
    for problem in different[:-1]:
        complain(problem)
    if different:
        raise different[-1]


def progress(items: Sequence[_T], what: str) -> Iterator[_T]:
    """The items, with a bar on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=what, console=Console(stderr=True), transient=True)


class Interruption:
    """Whether Ctrl-C (or SIGTERM) was asked for. See `held`."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def held() -> Iterator[Interruption]:
    """Inside, Ctrl-C only sets `asked`, so that a piece is paid and drawn, or neither. A second interrupts at once."""
    interruption = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        if interruption.asked:
            raise KeyboardInterrupt
        interruption.asked = True

    before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {
        number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
