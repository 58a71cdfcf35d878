"""Pages to read symbols from: PDF files and scans (PNG, JPEG, TIFF), page by page.

Three rules:

* One page is in memory at a time, whatever the number of pages.
* What a file is follows from its bytes, not from its name.
* A file that cannot be read is an error that says what is wrong with which file or page; none is skipped silently.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from pes_sim.errors import UsageError
from pes_sim.indicium.reading import LONGEST

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

DPI: Final = range(36, 1201)
"""Resolutions that make sense for a page of mail. The envelopes of `pdf` read well from 150 on."""
MAX_PIXELS: Final = 80_000_000
"""The largest page that is opened: ledger paper at 600 dpi has 67 million. A small file can claim to be far larger.

Pillow's own limit, a little above this one, guards against what a file says only on being opened.
"""

Resolution = float | tuple[float, float]
"""Dots to an inch: as many both ways, or those across and those down, as a fax has them."""

_FINEST: Final = 9600  # dots to an inch that a scanner may claim
_ORIENTATION: Final = 0x0112  # the EXIF tag, and its values for a page as it is and for those that lie on a side
_AS_IT_IS: Final = 1
_LYING: Final = range(5, 9)

_FORMATS: Final = ("PNG", "JPEG", "TIFF")
_PDF_MARK: Final = b"%PDF-"
_IMAGE_MARKS: Final = (b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*")
_PDF_MARK_WITHIN: Final = 1024  # bytes; where readers look for it, as many PDF files begin with something else

# What Pillow raises for a damaged file, besides OSError.
_DAMAGED: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error)


def pages(path: Path, dpi: int = 300, *, if_too_large: int = 0) -> Iterator[Image]:
    """The pages of `path` in order, each a grey image (mode "L") that is the caller's own, as people look at it.

    A PDF is drawn at `dpi`; a page of it that is too large for that at `if_too_large`, if that is given. A scan has the
    resolution that it has (`resolution` says which). Raises `UsageError` for a file that is missing,
    empty, neither PDF nor PNG, JPEG or TIFF, encrypted, damaged or too large: at once where the file shows it at
    once, otherwise at the page concerned. PDF pages must not be drawn in several threads at once (a rule of PDFium).
    """
    if dpi not in DPI:
        raise UsageError(f"{dpi} dpi is no useful resolution", hint=f"Give {DPI.start} to {DPI.stop - 1}")
    try:
        with path.open("rb") as file:
            head = file.read(_PDF_MARK_WITHIN)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="Give a PDF, PNG, JPEG or TIFF file"
        ) from error
    if not head:
        raise UsageError(f"{path} is empty", hint="Give a PDF, PNG, JPEG or TIFF file")
    if not path.is_file():  # its first bytes are gone by now
        raise UsageError(f"{path} is a pipe or a device, and is read more than once", hint="Save it as a file first")
    if head.startswith(_IMAGE_MARKS) or _PDF_MARK not in head:
        return _image_pages(path)
    return _pdf_pages(path, dpi, if_too_large or dpi)


def both_ways(dpi: Resolution) -> tuple[float, float]:
    """Across and down."""
    return dpi if isinstance(dpi, tuple) else (dpi, dpi)


def resolution(page: Image) -> tuple[float, float] | None:
    """Pixels to an inch across and down; None where the file does not say it, or says what cannot be."""
    try:
        across, down = (float(value) for value in page.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if all(DPI.start <= value <= _FINEST for value in (across, down)) else None


def _pdf_pages(path: Path, dpi: int, otherwise: int) -> Iterator[Image]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise UsageError(f"{path} is encrypted", hint="Save it without a password") from error
        raise UsageError(f"{path} is a damaged PDF file ({error})", hint="Export it again") from error
    with document:
        for number in range(len(document)):
            where = f"{path}, page {number + 1}"
            try:
                page = document[number]
            except pypdfium2.PdfiumError as error:
                raise UsageError(f"{where} is damaged ({error})", hint="Export the file again") from error
            area = page.get_width() * page.get_height() / 72**2
            taken = dpi if area * dpi**2 <= MAX_PIXELS else otherwise
            scale = taken / 72
            _check_pixels(where, page.get_width() * scale, page.get_height() * scale)
            bitmap = page.render(scale=scale, grayscale=True)
            image = bitmap.to_pil().copy()  # the original's pixels go with the bitmap
            image.info["dpi"] = (taken, taken)
            yield image
            bitmap.close()
            page.close()


def _image_pages(path: Path) -> Iterator[Image]:
    from PIL import Image, ImageSequence, UnidentifiedImageError

    number = 1
    try:
        # Not by its name: Pillow would map an uncompressed TIFF into memory, and mixes up its sides if it is turned.
        with path.open("rb") as file, _opened(file) as picture:
            for number, frame in enumerate(ImageSequence.Iterator(picture), start=1):
                _check_pixels(f"{path}, page {number}", *frame.size)
                yield _upright(frame)
    except UsageError:  # ours; it is a ValueError, too
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{path}, page {number} is too large ({error})", hint="Scan it at 300 dpi") from error
    except UnidentifiedImageError as error:
        raise UsageError(f"{path} is no file that can be read", hint="Give a PDF, PNG, JPEG or TIFF file") from error
    except _DAMAGED as error:
        raise UsageError(f"{path}, page {number} is damaged ({error})", hint="Scan or export it again") from error


def _opened(file: BinaryIO) -> ImageFile:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is odd in a file, and no harm
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(file, formats=_FORMATS)


def _check_pixels(where: str, width: float, height: float) -> None:
    if width * height > MAX_PIXELS or max(width, height) > LONGEST:
        raise UsageError(
            f"{where} is too large: {width:.0f} x {height:.0f} pixels, more than {MAX_PIXELS:,} "
            f"or with a side of more than {LONGEST:,}",
            hint="Take a lower resolution, 300 dpi is enough",
        )


def _upright(frame: Image) -> Image:
    """A grey copy, turned as the camera or the scanner says it is to be looked at, with its resolution alone."""
    from PIL import ImageOps

    said = frame.info.get("dpi")
    before = _orientation(frame)
    grey = _grey(frame)
    grey.info = {}
    grey.getexif()[_ORIENTATION] = _orientation(frame)  # Pillow itself has turned a TIFF by now, and says so
    upright = ImageOps.exif_transpose(grey)
    if said:
        upright.info["dpi"] = said[::-1] if before in _LYING else said
    return upright


def _orientation(frame: Image) -> int:
    """By its EXIF data; where that is damaged, the page is looked at as it is."""
    with suppress(*_DAMAGED, KeyError, TypeError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return int(frame.getexif().get(_ORIENTATION, _AS_IT_IS))
    return _AS_IT_IS


def _grey(frame: Image) -> Image:
    """A copy in grey. What is transparent becomes white, as on paper, and 16 bits become 8.

    Pillow alone would make the first black, and all but the darkest of the second white. Numbers of other
    forms have no white of their own: the lightest is taken for it.
    """
    from PIL import Image

    if frame.mode == "LAB":
        return frame.getchannel("L")
    if frame.mode in ("F", "I"):
        least, most = (float(value) for value in frame.getextrema())  # type: ignore[arg-type]  # one band
        scale = 255 / (most - least) if most > least else 0.0
        return frame.point(lambda value: value * scale - least * scale).convert("L")
    if frame.mode.startswith("I"):
        return frame.point(lambda value: value * (1 / 256)).convert("L")
    if frame.has_transparency_data:
        coloured = frame.convert("RGBA")
        paper = Image.new("RGBA", coloured.size, "white")
        paper.alpha_composite(coloured)
        frame = paper
    return frame.convert("L") if frame.mode != "L" else frame.copy()
