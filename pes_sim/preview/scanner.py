"""A page as a scanner would have seen it: printed, handled, and sampled at a resolution.

Three rules:

* What is done to a page is a list of damages with strengths (`damage.DAMAGES`), chosen, or drawn from `REALISTIC`.
* The same page, damages, resolution and seed give the same pixels.
* Below each scan stands SPECIMEN NOT VALID POSTAGE, added last: no damage takes it away (39 CFR 501.9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from pes_sim.errors import UsageError
from pes_sim.indicium import reading
from pes_sim.preview import damage, drawing, image

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

DPI: Final = range(100, 601)
NOTICE: Final = "SPECIMEN NOT VALID POSTAGE"
FINER: Final = 2
"""How much finer than the scan the page is while ink and paper are dealt with, if it is not too large for that."""


@dataclass(frozen=True, slots=True)
class Chance:
    """Strengths from `least` to `most`, each as likely, for a `share` of all pages."""

    least: float
    most: float
    share: float = 1.0


REALISTIC: Final[Mapping[str, Chance]] = {
    "dot-gain": Chance(0.0, 0.05),
    "ink-spread": Chance(0.0, 0.06),
    "stripe": Chance(0.05, 0.1, share=0.1),
    "low-contrast": Chance(10, 45),
    "skew": Chance(-5, 5),
    "blur": Chance(0.02, 0.08),
    "noise": Chance(1, 4),
}
"""What an office's ink-jet print on an envelope goes through, scanned without care. Assumed, not measured."""


def drawn(seed: int, page: int = 1) -> dict[str, float]:
    """The damages of a realistic scan. Every name takes its two draws, so that none depends on another's share."""
    chance = Random(f"realistic {seed} {page}")
    strengths = {}
    for name, may in REALISTIC.items():
        strength, hit = chance.uniform(may.least, may.most), chance.random() < may.share
        if hit:
            strengths[name] = round(strength, 4)
    return strengths


def parsed(text: str) -> tuple[str, float]:
    """A damage as it is typed: "blur=0.1". Raises `UsageError` for an unknown one and a strength beyond its range."""
    name, _, strength = text.partition("=")
    known = damage.DAMAGES.get(name)
    if known is None:
        raise UsageError(f"there is no damage {name!r}", hint=f"Damages: {', '.join(damage.DAMAGES)}")
    try:
        value = float(strength)
    except ValueError:
        value = -1.0
    if not 0 <= value <= known.most:
        raise UsageError(
            f"{text!r} is no strength of {name}", hint=f"Give {name}=N, 0 to {known.most:g} ({known.unit})"
        )
    return name, value


def unit(name: str) -> str:
    """What a damage's strength is given in."""
    return damage.DAMAGES[name].unit


def scan(page: Image, page_dpi: image.Resolution, dpi: int, damages: Mapping[str, float], seed: int) -> Image:
    """A grey page (mode "L") of `page_dpi` as a scan at `dpi`: no notice is added here."""
    from PIL import Image

    chance = Random(f"scan {seed}")
    across, down = image.both_ways(page_dpi)
    work = float(_finer(page.width / across, page.height / down, dpi))
    seen = _resized(page, (work / across, work / down), Image.Resampling.BICUBIC)
    for kind in damage.DAMAGES.values():
        if kind.sampled and work != dpi:
            seen, work = _resized(seen, (dpi / work, dpi / work), Image.Resampling.BOX), dpi
        strength = damages.get(kind.name, 0.0)
        if strength:
            seen = kind.done(seen, strength, work, chance)
    return seen


def _finer(width: float, height: float, dpi: int) -> int:
    """The resolution at which ink and paper are dealt with, for a page of so many inches."""
    return dpi * FINER if width * height * (dpi * FINER) ** 2 <= image.MAX_PIXELS else dpi


def _resized(page: Image, scale: tuple[float, float], how: Resampling) -> Image:
    size = max(1, round(page.width * scale[0])), max(1, round(page.height * scale[1]))
    return page.copy() if size == page.size else page.resize(size, how)


def marked(seen: Image, dpi: int) -> Image:
    """A scan with the notice below it, in letters as high as the resolution and the width allow."""
    from PIL import Image

    cells = len(NOTICE) * 6
    width = max(seen.width, cells)
    cell = max(1, min(dpi // 75, width // cells))
    rows = drawing.lettering(NOTICE, (NOTICE,), cell, width, width)
    whole = Image.new("L", (width, seen.height + len(rows) + 4 * cell), damage.PAPER)
    whole.paste(seen, (0, 0))
    letters = Image.frombytes("L", (width, len(rows)), b"".join(rows).translate(b"\xff\0" + bytes(254)))
    whole.paste(letters, (0, seen.height + 2 * cell))
    return whole


def scans(
    path: Path, dpi: int, damages: Mapping[str, float] | None, seed: int
) -> Iterator[tuple[Image, dict[str, float]]]:
    """The pages of a PDF or image file, each as a scan with the notice below it, and what was done to it.

    `damages`: for all pages, or None for a realistic scan of each. A picture that does not say its own resolution is
    taken to be of `dpi`. Raises `UsageError`, as `image.pages` does.
    """
    if dpi not in DPI:
        raise UsageError(f"{dpi} dpi is no resolution of a scanner", hint=f"Give {DPI.start} to {DPI.stop - 1}")
    for number, page in enumerate(image.pages(path, dpi * FINER, if_too_large=dpi), 1):
        own = image.resolution(page) or (dpi, dpi)
        done = drawn(seed, number) if damages is None else dict(damages)
        _check_size(path, page.width / own[0], page.height / own[0], dpi)
        seen = scan(page, own, dpi, done, seed_of(seed, number))
        yield marked(seen, dpi), done


def _check_size(path: Path, width: float, height: float, dpi: int) -> None:
    """Raises `UsageError` for a page of so many inches that no scan of this resolution can be had of."""
    if width * height * dpi**2 > image.MAX_PIXELS or max(width, height) * dpi > reading.LONGEST:
        raise UsageError(
            f"{path}: a scan at {dpi} dpi of a page of {width:.1f} by {height:.1f} inches is too large",
            hint="Give a lower --dpi; or a file that says its true resolution (a photo often says 72)",
        )


def seed_of(seed: int, page: int) -> int:
    """A seed of its own for each page, so that the pages of a file are not damaged alike."""
    return Random(f"page {seed} {page}").getrandbits(32)


def save(seen: Image, path: Path, dpi: int) -> None:
    """Writes a scan as PNG, with its resolution and the notice in the file."""
    import io

    from PIL.PngImagePlugin import PngInfo

    from pes_sim.psd.storage import write_atomically

    said = PngInfo()
    said.add_text("Comment", drawing.NOTICE)
    out = io.BytesIO()
    seen.save(out, "PNG", dpi=(dpi, dpi), pnginfo=said)
    write_atomically(path, out.getvalue())
