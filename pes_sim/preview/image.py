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
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pes_sim.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

DPI: Final = range(36, 1201)
"""Resolutions that make sense for a page of mail. The envelopes of `pdf` read well from 150 on."""
MAX_PIXELS: Final = 80_000_000
"""The largest page that is opened: ledger paper at 600 dpi has 67 million. A small file can claim to be far larger.

Pillow's own limit, a little above this one, guards against what a file says only on being opened.
"""

_FORMATS: Final = ("PNG", "JPEG", "TIFF")
_PDF_MARK: Final = b"%PDF-"
_PDF_MARK_WITHIN: Final = 1024  # bytes; where readers look for it, as many PDF files begin with something else

# What Pillow raises for a damaged file, besides OSError.
_DAMAGED: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error)


def pages(path: Path, dpi: int = 300) -> Iterator[Image]:
    """The pages of `path` in order, each a grey image (mode "L") that is the caller's own.

    A PDF is drawn at `dpi`; a scan has the resolution that it has. Raises `UsageError` for a file that is missing,
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
    return _pdf_pages(path, dpi) if _PDF_MARK in head else _image_pages(path)


def _pdf_pages(path: Path, dpi: int) -> Iterator[Image]:
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
            scale = dpi / 72
            _check_pixels(where, page.get_width() * scale, page.get_height() * scale)
            bitmap = page.render(scale=scale, grayscale=True)
            yield bitmap.to_pil().copy()  # the original's pixels go with the bitmap
            bitmap.close()
            page.close()


def _image_pages(path: Path) -> Iterator[Image]:
    from PIL import Image, ImageSequence, UnidentifiedImageError

    number = 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=_FORMATS)
        with picture:
            for number, frame in enumerate(ImageSequence.Iterator(picture), start=1):
                _check_pixels(f"{path}, page {number}", *frame.size)
                yield _grey(frame)
    except UsageError:  # ours; it is a ValueError, too
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{path}, page {number} is too large ({error})", hint="Scan it at 300 dpi") from error
    except UnidentifiedImageError as error:
        raise UsageError(f"{path} is no file that can be read", hint="Give a PDF, PNG, JPEG or TIFF file") from error
    except _DAMAGED as error:
        raise UsageError(f"{path}, page {number} is damaged ({error})", hint="Scan or export it again") from error


def _check_pixels(where: str, width: float, height: float) -> None:
    if width * height > MAX_PIXELS:
        raise UsageError(
            f"{where} is too large: {width:.0f} x {height:.0f} pixels, more than {MAX_PIXELS:,}",
            hint="Take a lower resolution, 300 dpi is enough",
        )


def _grey(frame: Image) -> Image:
    """A copy in grey. What is transparent becomes white, as on paper, and 16 bits become 8.

    Pillow alone would make the first black, and all but the darkest of the second white.
    """
    from PIL import Image

    if frame.mode.startswith("I"):
        return frame.point(lambda value: value * (1 / 256)).convert("L")
    if frame.has_transparency_data:
        coloured = frame.convert("RGBA")
        paper = Image.new("RGBA", coloured.size, "white")
        paper.alpha_composite(coloured)
        frame = paper
    return frame.convert("L") if frame.mode != "L" else frame.copy()
