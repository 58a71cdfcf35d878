"""What `pes-sim print` and `pes-sim preview` have in common: on what kind of page, in which form, with which logo."""

from __future__ import annotations

import argparse
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pes_sim.errors import UsageError
from pes_sim.indicium.layout import Layout
from pes_sim.preview import image, placing
from pes_sim.preview.face import NO_ADVERT, Advert
from pes_sim.preview.pdf import FORMS, PdfPages, PicturePages, check_resolution, open_pages
from pes_sim.preview.stationery import USUAL, PageKind, kind_of
from pes_sim.psd.owned import shell_word

if TYPE_CHECKING:
    from PIL.Image import Image

_LOGO_PIXELS: Final = 16_000_000
_DAMAGED: Final = (SyntaxError, ValueError, EOFError, struct.error)
"""What Pillow raises for a damaged file, besides OSError."""


@dataclass(frozen=True, slots=True)
class Look:
    """How pieces are to look: `form` as in `open_pages`, `dpi` of a PNG."""

    kind: PageKind = USUAL
    form: str = ""
    dpi: int = 300
    advert: Advert = NO_ADVERT

    def open(self, path: Path, title: str, layout: Layout | None, *, paid: bool = True) -> PdfPages | PicturePages:
        """The file to put pieces into; see `open_pages`."""
        return open_pages(
            path, form=self.form, dpi=self.dpi, title=title, kind=self.kind, advert=self.advert, layout=layout,
            paid=paid,
        )  # fmt: skip


def look_of(options: argparse.Namespace) -> Look:
    """What the options say. Raises `UsageError` for a page that there is not, or a logo that is none."""
    if options.logo is not None and options.slogan:
        raise UsageError("a slogan and a logo have the same place", hint="Give one of them")
    return Look(kind_of(options.page), options.format, options.dpi, _advert(options))


def check_out(out: Path, *read: Path | str | None) -> None:
    """Raises `UsageError` where writing `out`, or pictures numbered after it, would replace a file that the command
    reads, or one of a meter's own.
    """
    for place in (out, *placing.already_numbered(out)):
        if any(source and os.path.exists(source) and _is_same(place, source) for source in read):
            raise UsageError(f"{place} is read here, and would be replaced", hint="Give another name with --out")
    # Not `parent.parent`: of a file in the current directory that is the same directory.
    own = any(os.path.exists(folder / "meter.json") for folder in (out.parent, out.parent / ".."))
    if own and os.path.isfile(out) and out.suffix.lower().removeprefix(".") not in FORMS:
        raise UsageError(f"{out} is a meter's own file, and would be replaced", hint="Give another name with --out")


def _is_same(place: Path, source: Path | str) -> bool:
    return os.path.exists(place) and os.path.samefile(place, source)


def again(options: argparse.Namespace) -> str:
    """The options to give once more, for the same look."""
    words = []
    for name, usual in (("page", USUAL.name), ("format", ""), ("dpi", 300), ("slogan", ""), ("logo", None),
                        ("logo_dpi", 0)):  # fmt: skip
        value = getattr(options, name)
        if value != usual:
            option, word = f"--{name.replace('_', '-')}", shell_word(str(value))
            words.append(f"{option}={word}" if str(value).startswith("-") else f"{option} {word}")
    return "".join(f" {word}" for word in words)


def _advert(options: argparse.Namespace) -> Advert:
    if options.logo is None:
        return Advert(slogan=options.slogan) if options.slogan else NO_ADVERT
    logo = read_logo(options.logo)
    if options.logo_dpi:
        check_resolution(options.logo_dpi)
        return Advert(logo=logo, dpi=options.logo_dpi)
    across, down = (round(dots) for dots in logo.info.get("dpi", (0, 0)))
    return Advert(logo=logo, dpi=(across, down) if across in image.DPI and down in image.DPI else 300)


def read_logo(path: Path) -> Image:
    """A logo from a PNG file, on white where it is transparent. Raises `UsageError`, also for one with a symbol in it:
    no indicium comes onto a page as a picture.
    """
    from PIL import Image, UnidentifiedImageError

    from pes_sim.indicium import symbol

    try:
        with Image.open(path, formats=("PNG",)) as opened:
            if opened.width * opened.height > _LOGO_PIXELS:
                raise UsageError(f"{path} has {opened.width} x {opened.height} pixels: too many for a logo",
                                 hint=f"At most {_LOGO_PIXELS:,}")  # fmt: skip
            said = opened.info.get("dpi")
            coloured = opened.convert("RGBA")
    except UsageError:  # ours; it is a ValueError, too
        raise
    except UnidentifiedImageError:
        raise UsageError(f"{path} is no PNG file", hint="Save the logo as PNG") from None
    except Image.DecompressionBombError as problem:
        raise UsageError(f"{path} is too large for a logo ({problem})") from None
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror or problem}") from None
    except _DAMAGED as problem:
        raise UsageError(f"{path} is a damaged PNG file ({problem})", hint="Save it again") from None
    paper = Image.new("RGBA", coloured.size, "white")
    paper.alpha_composite(coloured)
    logo = paper.convert("RGB")
    if said:
        logo.info["dpi"] = said
    bands = logo.split()
    coloured_in = bands if len({band.tobytes() for band in bands}) > 1 else ()
    if any(symbol.read(seen) for seen in (logo, *coloured_in)):  # red on green is one grey, and a scanner sees it
        raise UsageError(f"{path} has a Data Matrix symbol in it", hint="A logo bears no symbol (39 CFR 501.9)")
    return logo
