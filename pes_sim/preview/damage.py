"""What printing, handling and scanning do to a picture: named damages, each with a strength in a real unit.

Three rules:

* A damage is a row of the table `DAMAGES`: name, unit, what is too much, and the function that does it. The order of
  the rows is that of the world (ink, then paper, then scanner), whatever the order in which somebody asks for them.
* The same picture, strength and seed give the same pixels. Chance comes from the `Random` that is passed in.
* A model, made to be plausible and repeatable; no printer or scanner was measured for it (docs/reading.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

PAPER: Final = 255
"""What is beyond the page, and below what is torn off: the scanner's white lid."""
NOZZLES: Final = 12.7
"""Millimetres from one blocked nozzle to the next: the height of a usual half-inch print head."""

_GRAIN: Final = 0.1  # millimetres; how far the edge of spread ink wanders before it turns
_MIDDLE: Final = 128


@dataclass(frozen=True, slots=True)
class Damage:
    """One kind. `most`: the strength above which nobody would call it a scan. `done`: the function, see `DAMAGES`.

    `sampled`: it belongs to the scanner's pixels and not to the paper.
    """

    name: str
    unit: str
    most: float
    meaning: str
    done: Callable[[Image, float, float, Random], Image]
    sampled: bool = False


def _dot_gain(page: Image, strength: float, dpi: float, chance: Random) -> Image:
    """Every edge of ink moves outwards. What is less than a pixel is a share of the next one."""
    from PIL import Image, ImageFilter

    pixels = strength / 25.4 * dpi
    for _ in range(int(pixels)):
        page = page.filter(ImageFilter.MinFilter(3))
    return Image.blend(page, page.filter(ImageFilter.MinFilter(3)), pixels % 1)


def _ink_spread(page: Image, strength: float, dpi: float, chance: Random) -> Image:
    """Ink runs into the fibres: outwards as well, but here more and there less. It only adds ink."""
    from PIL import Image, ImageChops, ImageFilter

    pixels = strength / 25.4 * dpi
    coarse = max(1.0, _GRAIN / 25.4 * dpi)
    small = math.ceil(page.width / coarse), math.ceil(page.height / coarse)
    fibres = Image.frombytes("L", small, chance.randbytes(small[0] * small[1])).resize(
        page.size, Image.Resampling.BICUBIC
    )
    soaked = page.filter(ImageFilter.GaussianBlur(pixels))
    # Half dark is an edge; with the fibres' say it is moved by up to about one strength, outwards on the whole.
    wet = ImageChops.add(soaked, fibres.point([round((grain - 192) * 0.55) + _MIDDLE for grain in range(256)]), 1, -128)
    return ImageChops.darker(page, wet.point([min(255, max(0, (grey - 112) * 8)) for grey in range(256)]))


def _stripe(page: Image, strength: float, dpi: float, chance: Random) -> Image:
    """Blocked nozzles leave lines without ink along the way of the paper, one to each height of the print head."""
    from PIL import Image

    page = page.copy()
    pitch, thick = NOZZLES / 25.4 * dpi, strength / 25.4 * dpi
    top = chance.random() * pitch
    # Drawn four times as fine and averaged, so that a line need not be whole pixels wide.
    mask = Image.new("L", (1, page.height * 4))
    while top < page.height:
        mask.paste(255, (0, round(top * 4), 1, round((top + thick) * 4)))
        top += pitch
    page.paste(PAPER, None, mask.resize((1, page.height), Image.Resampling.BOX).resize(page.size))
    return page


def _torn_corner(page: Image, strength: float, dpi: float, chance: Random) -> Image:
    """One corner is gone, about as far along both edges, with a ragged edge."""
    from PIL import ImageDraw

    page = page.copy()
    reach = strength / 25.4 * dpi
    right, low = chance.random() < 0.5, chance.random() < 0.5
    across, down = (reach * chance.uniform(0.8, 1.2) for _ in range(2))
    steps = max(2, round(strength))  # a tooth to a millimetre
    ragged = dpi / 25.4 * 0.4
    edge = [(across * (1 - step / steps) + chance.uniform(-ragged, ragged),
             down * step / steps + chance.uniform(-ragged, ragged)) for step in range(steps + 1)]  # fmt: skip
    outline = [(-ragged, -ragged), (edge[0][0], -ragged), *edge, (-ragged, edge[-1][1])]
    width, height = page.size
    ImageDraw.Draw(page).polygon(
        [(width - 1 - x if right else x, height - 1 - y if low else y) for x, y in outline], fill=PAPER
    )
    return page


def _low_contrast(page: Image, strength: float, dpi: float, chance: Random) -> Image:
    """Pale ink on grey paper: three quarters of what is lost is lost by the ink."""
    lost = strength / 100
    darkest, lightest = 0.75 * lost, 1 - 0.25 * lost
    return page.point([round(255 * (darkest + (lightest - darkest) * grey / 255)) for grey in range(256)])


def _skew(page: Image, strength: float, dpi: float, chance: Random) -> Image:
    """The page lies askew, or on its side: turned against the clock, on a lid that is large enough for all of it."""
    from PIL import Image

    return page.rotate(strength, Image.Resampling.BICUBIC, expand=True, fillcolor=PAPER)


def _blur(page: Image, strength: float, dpi: float, chance: Random) -> Image:
    """The optics, out of focus."""
    from PIL import ImageFilter

    return page.filter(ImageFilter.GaussianBlur(strength / 25.4 * dpi))


def _noise(page: Image, strength: float, dpi: float, chance: Random) -> Image:
    """The sensor's: normal and independent from pixel to pixel."""
    from PIL import Image, ImageChops

    normal = NormalDist(_MIDDLE, strength / 100 * 255)
    quantiles = [min(255, max(0, round(normal.inv_cdf((byte + 0.5) / 256)))) for byte in range(256)]
    grain = Image.frombytes("L", page.size, chance.randbytes(page.width * page.height)).point(quantiles)
    return ImageChops.add(page, grain, 1, -_MIDDLE)


DAMAGES: Final[dict[str, Damage]] = {
    damage.name: damage
    for damage in (
        Damage("dot-gain", "mm", 1, "every edge of ink moves outwards by so much", _dot_gain),
        Damage("ink-spread", "mm", 1, "ink runs into the paper, unevenly, by up to about so much", _ink_spread),
        Damage("stripe", "mm", 5, "a blocked nozzle leaves lines so thick without ink, one in 12.7 mm", _stripe),
        Damage("low-contrast", "%", 95, "so much of the contrast between ink and paper is gone", _low_contrast),
        Damage("torn-corner", "mm", 100, "a corner is torn off, so far along both edges", _torn_corner),
        Damage("skew", "degrees", 360, "the page is turned against the clock", _skew),
        Damage("blur", "mm", 2, "out of focus: standard deviation of a point's image", _blur),
        Damage("noise", "% of white", 50, "the sensor's noise: its standard deviation", _noise, sampled=True),
    )
}
"""In the order in which they happen. `done(page, strength, dpi, chance)` takes a grey page (mode "L") of so many dots
to an inch and gives another one; it changes nothing of the first."""
