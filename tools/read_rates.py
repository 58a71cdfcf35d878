"""How many damaged scans are read, by damage, resolution and reader; and whether any is read wrongly.

`python -m tools.read_rates` writes the table into docs/reading.md (minutes on two cores). Everything but the
last digits of pylibdmtx's column follows from the seeds: libdmtx is stopped by a clock.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from pes_sim.indicium import reading, symbol
from pes_sim.preview import scanner
from tools.markdown import table

if TYPE_CHECKING:
    from PIL.Image import Image

PAGE: Final = Path(__file__).parent.parent / "docs/reading.md"
BEGIN, END = "<!-- measured: read-rates -->", "<!-- end -->"
DPIS: Final = (200, 300, 400, 600)
TRIES: Final = 12
REALISTIC_TRIES: Final = 100
TIMEOUT_MS: Final = 2000
PAYLOAD: Final = 114
SIZE: Final = "44x44"
MODULES_TO_AN_INCH: Final = 50
_MARGIN: Final = 6

STRENGTHS: Final[Mapping[str, tuple[float, ...]]] = {
    "dot-gain": (0.05, 0.1, 0.15),
    "ink-spread": (0.05, 0.1, 0.15),
    "stripe": (0.1, 0.2, 0.4),
    "torn-corner": (6, 8, 10),
    "low-contrast": (50, 80, 90),
    "skew": (3, 17, 45),
    "blur": (0.1, 0.15, 0.2),
    "noise": (5, 10, 20),
}


def printed(payload: bytes, dpi: int) -> Image:
    """A symbol with modules of 1/50 inch on a page a little larger, at a resolution that 50 divides."""
    from PIL import Image

    drawn = symbol.encode(payload, SIZE)
    dots = dpi // MODULES_TO_AN_INCH
    grey = Image.frombytes("L", (drawn.size,) * 2, drawn.modules.translate(b"\xff\0" + bytes(254)))
    page = Image.new("L", ((drawn.size + 2 * _MARGIN) * dots,) * 2, 255)
    page.paste(grey.resize((drawn.size * dots,) * 2, Image.Resampling.NEAREST), (_MARGIN * dots,) * 2)
    return page


READERS: Final[Mapping[str, Callable[[Image], list[bytes]]]] = {
    "zxing-cpp": lambda page: [mark.payload for mark in reading.plain(page)],
    "pylibdmtx": lambda page: symbol.read(page, "dmtx", timeout_ms=TIMEOUT_MS),
    "ours": lambda page: [mark.payload for mark in reading.find(page)],
}


@dataclass(frozen=True)
class Counts:
    """Of so many scans, those that each reader read, and the payloads that it gave and nobody had printed."""

    tries: int
    read: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)


def measured(damages: Mapping[str, float] | None, dpi: int, tries: int, readers: tuple[str, ...] = tuple(READERS)
             ) -> Counts:  # fmt: skip
    """So many scans with these damages, or realistic ones; each with a payload and a seed of its own."""
    counts = Counts(tries)
    for seed in range(tries):
        payload = Random(f"read rates {seed}").randbytes(PAYLOAD)
        done = scanner.drawn(seed) if damages is None else damages
        work = dpi * scanner.FINER
        page = scanner.scan(printed(payload, work), work, dpi, done, seed)
        for name in readers:
            found = READERS[name](page)
            counts.read[name] += payload in found
            counts.wrong[name] += sum(other != payload for other in found)
    return counts


def _cell(arguments: tuple[dict[str, float] | None, int, int]) -> Counts:
    return measured(*arguments)


def measured_table() -> str:
    """All of it, as Markdown."""
    rows: list[tuple[str, dict[str, float] | None, int]] = [
        (f"{name} {strength:g} {scanner.unit(name)}", {name: strength}, TRIES)
        for name, strengths in STRENGTHS.items()
        for strength in strengths
    ]
    rows.append(("realistic", None, REALISTIC_TRIES))
    asked = [(damages, dpi, tries) for _, damages, tries in rows for dpi in DPIS]
    with ProcessPoolExecutor() as pool:
        counts = list(pool.map(_cell, asked))
    lines = []
    for number, (what, _, _) in enumerate(rows):
        cells = counts[number * len(DPIS) : (number + 1) * len(DPIS)]
        lines.append((what, *(" / ".join(_percent(one, name) for name in READERS) for one in cells)))
    scans = sum(one.tries for one in counts)
    wrong = ", ".join(f"{name} {sum(one.wrong[name] for one in counts)}" for name in READERS)
    head = ("damage", *(f"{dpi} dpi" for dpi in DPIS))
    return (
        f"Read, in %: {' / '.join(READERS)}. {TRIES} scans to a cell, {REALISTIC_TRIES} realistic ones.\n\n"
        f"{table(head, lines)}\n\n"
        f"Payloads read that nobody had printed, over all {scans:,} scans: {wrong}."
    )


def _percent(counts: Counts, name: str) -> str:
    return f"{100 * counts.read[name] / counts.tries:.3g}"


def main() -> int:
    """The command: writes the table between its marks."""
    made = measured_table()
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", "utf-8")
    print(f"written: {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
