"""Mail pieces as files: a PDF with all their pages, or a picture (PNG, SVG) a page.

Three rules:

* A file is whole or not there: it is written beside its place and put there in one step.
* Pages whose postage is spent are kept, also when what adds them fails half-way. Only where the file itself could not
  be written on is nothing put in its place. Pages that cost nothing are all there or none: what was there stays.
* The same pieces give the same bytes. No time of day is in a file.
"""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

from pes_sim.errors import PesError, UsageError
from pes_sim.indicium.layout import Layout
from pes_sim.preview import image, pieces, placing, sheets
from pes_sim.preview.document import Document
from pes_sim.preview.drawing import NOTICE
from pes_sim.preview.face import NO_ADVERT, Advert
from pes_sim.preview.imprint import Imprint
from pes_sim.preview.marks import Page
from pes_sim.preview.stationery import USUAL, PageKind
from pes_sim.psd.owned import quoted

__all__ = ["ATTACHED", "FORMS", "Imprint", "PdfPages", "PicturePages", "open_pages"]

ATTACHED: Final = "pieces.jsonl"
"""The name of the PDF's attachment: a JSON object a line, each a piece; see `pieces`."""
FORMS: Final = ("pdf", "png", "svg")

_BROKEN: Final = "{} is not written: a page of it could not be"
_AGAIN: Final = "Make room for it, and draw all of it again"
_MOVES: Final = 3  # commands in a hint
_MOST: Final = 999_999  # pictures for whose names there is to be room
_file_number: Final = count(1)
_Self = TypeVar("_Self", bound="_Pages")


class _Pages(ABC):
    """Files that grow by `add`. Use it in a `with`: leaving that writes them; by an error, if they are `paid` for.

    Everything that can be missing is looked for at once, so that no postage is spent for pages that cannot be written:
    raises `UsageError` for a `path` that cannot be written to, and, where `layout` is given, for an indicium, a slogan
    or a logo without room.
    """

    def __init__(self, path: Path, kind: PageKind, advert: Advert, layout: Layout | None, *, paid: bool) -> None:
        self._sheets = sheets.Sheets(kind, advert, layout)
        self._path = path
        self._paid = paid
        self._pages = 0
        self._pieces = 0
        self._open = True
        self._broken = False
        self._kept: set[Path] = set()
        placing.check(path)

    @property
    def pages(self) -> int:
        """Pages written so far. What waits for a page to be full is on none of them."""
        return self._pages

    @property
    def where(self) -> str:
        """What was written, for people: the file, or the first and the last one."""
        return str(self._path)

    def add(self, imprint: Imprint) -> None:
        """Adds a piece. Raises `LayoutError` for what is no specimen, `SymbolError` for a payload that does not fit its
        symbol, `UsageError` for one without room, where the disk says no, and after `close`.
        """
        if not self._open:
            raise UsageError(f"{self._path} is written; no page can be added")
        if self._broken:
            raise UsageError(_BROKEN.format(self._path), hint=_AGAIN)
        try:
            full = list(self._sheets.add(imprint))
        except PesError:
            raise  # refused before anything was drawn: what waits still waits
        except BaseException:
            self._broken = True  # a second Ctrl-C while a full page is drawn: its pieces are on none
            raise
        self._pieces += 1
        with self._said_clearly():
            self._broken = True  # whatever ends this early, a second Ctrl-C too, leaves half a page
            self._note(imprint)
            self._put_all(full)
            self._broken = False

    def close(self) -> None:
        """Writes what is left, durably. Closing twice does nothing.

        Raises `UsageError` where there is no piece, or the disk says no; what was at the path is then still there. What
        was paid for, and is whole, is not lost: the error says where it lies.
        """
        if not self._open:
            return
        self._open = False
        try:
            if not self._pieces:
                raise UsageError(f"{self._path} is not written: no mail piece was printed")
            if self._broken:
                raise UsageError(_BROKEN.format(self._path), hint=_AGAIN)
            with self._said_clearly():
                self._put_all(self._sheets.rest())
                self._finish()
        finally:
            self._discard()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and (self._broken or not self._pieces or not self._paid):
            self._open = False
            self._discard()
        else:
            self.close()

    def _put_all(self, pages: Iterator[Page] | list[Page]) -> None:
        for page in pages:
            self._put(page)
            self._pages += 1

    @contextmanager
    def _said_clearly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"{self._path} cannot be written: {error.strerror}",
                hint="Give a file in a directory you can write to, with room on its disk",
            ) from error

    def _put_in_place(self, drawn: list[tuple[Path, Path]]) -> None:
        stuck = placing.put(drawn, paid=self._paid)
        if stuck:
            self._kept = set(stuck)
            moves = [f"mv {quoted(a)} {quoted(b)}" for a, b in drawn if a in stuck]
            more = f" (and {len(moves) - _MOVES} more)" if len(moves) > _MOVES else ""
            place = next(place for beside, place in drawn if beside in stuck)
            raise UsageError(
                f"{place} cannot be written: {next(iter(stuck.values()))}",
                hint=f"What was drawn is kept. Make way for it, then: {' && '.join(moves[:_MOVES])}{more}",
            )

    def _remove(self, beside: Path) -> None:
        if beside not in self._kept:
            beside.unlink(missing_ok=True)

    def _temporary(self) -> Path:
        return self._path.with_name(f".pes-sim-{os.getpid()}-{next(_file_number)}.tmp")

    @abstractmethod
    def _note(self, imprint: Imprint) -> None:
        """Keeps what a program is to read of a piece, if anything."""

    @abstractmethod
    def _put(self, page: Page) -> None:
        """Writes a page beside its place."""

    @abstractmethod
    def _finish(self) -> None:
        """Puts everything into its place, durably."""

    @abstractmethod
    def _discard(self) -> None:
        """Removes what is left beside it, if anything is."""


class PdfPages(_Pages):
    """A PDF; see `open_pages`. `title` is what a viewer shows as the document's."""

    def __init__(
        self, path: Path, *, title: str, kind: PageKind = USUAL, advert: Advert = NO_ADVERT,
        layout: Layout | None = None, paid: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(path, kind, advert, layout, paid=paid)
        self._beside = self._temporary()
        with self._said_clearly():
            self._file = self._beside.open("wb")
            self._document = Document(self._file, _information(title), ATTACHED, path.parent)

    def _note(self, imprint: Imprint) -> None:
        self._document.attach(pieces.line(imprint, self._pages + 1))

    def _put(self, page: Page) -> None:
        self._document.add(page)

    def _finish(self) -> None:
        self._document.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._put_in_place([(self._beside, self._path)])

    def _discard(self) -> None:
        for file in (self._document, self._file):
            with suppress(OSError):  # what was still to be written to a full disk; that has been said
                file.close()
        self._remove(self._beside)


class PicturePages(_Pages):
    """Pictures, a page each: `path` itself, or of several pages "-1", "-2" … before its end. See `open_pages`."""

    def __init__(
        self, path: Path, *, form: str, dpi: int = 300, title: str, kind: PageKind = USUAL,
        advert: Advert = NO_ADVERT, layout: Layout | None = None, paid: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(path, kind, advert, layout, paid=paid)
        if form == "png":
            check_resolution(dpi)
            across = kind.width * (kind.several if kind.each else 1)
            if across * kind.height * dpi**2 / 72**2 > image.MAX_PIXELS:
                raise UsageError(
                    f"a page {kind.name} at {dpi} dpi has more than {image.MAX_PIXELS:,} pixels",
                    hint="Take a lower resolution, 300 dpi is enough",
                )
        self._form, self._dpi, self._title = form, dpi, title
        self._drawn: list[Path] = []
        if paid:  # how many there will be is not known, and a directory of such a name is hardly wanted
            for other in (placing.numbered(path, _MOST), *placing.already_numbered(path)):
                placing.check(other)
        with self._said_clearly():
            probe = self._temporary()
            probe.touch()
            probe.unlink()

    def _note(self, imprint: Imprint) -> None:
        """A picture has no room for it."""

    @property
    def where(self) -> str:
        """The file, or the first and the last one."""
        return str(self._path) if self._pages < 2 else f"{self._name(1)} to {self._name(self._pages)}"

    def _name(self, number: int) -> Path:
        return placing.numbered(self._path, number) if self._pages > 1 else self._path

    def _put(self, page: Page) -> None:
        beside = self._temporary()
        self._drawn.append(beside)
        with beside.open("wb") as file:
            file.write(_svg(page) if self._form == "svg" else _png(page, self._dpi, self._title))
            file.flush()
            os.fsync(file.fileno())

    def _finish(self) -> None:
        self._put_in_place([(beside, self._name(number)) for number, beside in enumerate(self._drawn, start=1)])
        if self._pages > 1:  # of a job that stopped after one piece: that would be there twice
            with self._said_clearly():
                self._path.unlink(missing_ok=True)

    def _discard(self) -> None:
        for beside in self._drawn:
            self._remove(beside)


def open_pages(
    path: Path, *, form: str = "", dpi: int = 300, title: str, kind: PageKind = USUAL,
    advert: Advert = NO_ADVERT, layout: Layout | None = None, paid: bool = True,
) -> PdfPages | PicturePages:  # fmt: skip
    """The file, or files, at `path`, in a form of `FORMS`; empty for what the path's end says.

    `layout`: that of the pieces to come, if it is known: whether it has room is then asked at once. `dpi`: of a PNG.
    `paid`: whether their postage is spent; what is drawn of other pieces replaces nothing unless it is whole.
    """
    chosen = form or path.suffix.lower().removeprefix(".")
    if chosen not in FORMS:
        ends = ", ".join(f".{name}" for name in FORMS)
        raise UsageError(f"{path} names no format", hint=f"It ends in {ends}; or give one with --format")
    if chosen == "pdf":
        return PdfPages(path, title=title, kind=kind, advert=advert, layout=layout, paid=paid)
    return PicturePages(path, form=chosen, dpi=dpi, title=title, kind=kind, advert=advert, layout=layout, paid=paid)


def check_resolution(dpi: int) -> None:
    """Raises `UsageError` for one at which no page of mail is looked at."""
    if dpi not in image.DPI:
        raise UsageError(f"{dpi} dpi is no useful resolution", hint=f"Give {image.DPI.start} to {image.DPI.stop - 1}")


def _information(title: str) -> dict[str, str]:
    return {
        "Title": title,
        "Subject": NOTICE,
        "Keywords": "SPECIMEN, NOT VALID POSTAGE",
        "Author": "pes_sim",
        "Creator": "pes_sim",
        "Producer": "pes_sim",
    }


def _svg(page: Page) -> bytes:
    from pes_sim.preview.svg import svg

    return svg(page).encode()


def _png(page: Page, dpi: int, title: str) -> bytes:
    """The page as a PDF has it, drawn by PDFium."""
    import pypdfium2
    from PIL.PngImagePlugin import PngInfo

    file = io.BytesIO()
    document = Document(file, _information(title), ATTACHED)
    document.add(page)
    document.finish()
    said = PngInfo()
    said.add_text("Comment", NOTICE)
    said.add_text("Title", title)
    out = io.BytesIO()
    with pypdfium2.PdfDocument(file.getvalue()) as opened:
        drawn = opened[0].render(scale=dpi / 72).to_pil()
        drawn.save(out, "PNG", dpi=(dpi, dpi), pnginfo=said)
    return out.getvalue()
