"""The pictures of the documentation, drawn by what they show: `make pictures`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pes_sim.cli.previewing import made_up
from pes_sim.preview.face import NO_ADVERT, Advert
from pes_sim.preview.pdf import PicturePages
from pes_sim.preview.stationery import kind_of

FOLDER = Path(__file__).parents[1] / "docs" / "images"


class Picture(NamedTuple):
    """A page with the first made-up pieces on it, as many as it takes."""

    page: str
    dpi: int
    advert: Advert = NO_ADVERT


PICTURES: Mapping[str, Picture] = {
    "envelope.png": Picture("envelope-10", 100),
    "proof.png": Picture("proof", 120),
    "tape-roll.png": Picture("tape-roll", 40, Advert("Specimens|are for tests")),
}


def draw(name: str, folder: Path) -> Path:
    """Writes one of them into `folder`."""
    page, dpi, advert = PICTURES[name]
    kind = kind_of(page)
    with PicturePages(folder / name, form="png", dpi=dpi, title="Specimen indicia", kind=kind, advert=advert) as out:
        for _, piece in zip(range(kind.several), made_up(), strict=False):
            out.add(piece)
    return folder / name


def main() -> int:
    """The command."""
    for name in PICTURES:
        print(draw(name, FOLDER))
    return 0


if __name__ == "__main__":
    sys.exit(main())
