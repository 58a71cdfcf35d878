"""Mail pieces as a PDF file, one #10 envelope a page.

Three rules:

* The file is whole or not there: it is written beside its place and put there in one step.
* Pages that were added are kept, also when what adds them fails half-way: their postage is spent.
* The same pieces give the same bytes. No time of day is in the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final

from pes_sim.errors import UsageError
from pes_sim.indicium import symbol
from pes_sim.preview import envelope
from pes_sim.preview.envelope import Imprint

__all__ = ["EnvelopePdf", "Imprint"]

_file_number: Final = count(1)


class EnvelopePdf:
    """A PDF that grows by `add`. Use it in a `with`: leaving that writes the file, whether by its end or by an error.

    `title` is what a viewer shows as the document's. Everything that can be missing is looked for at once, so that no
    postage is spent for pages that cannot be written: raises `UsageError` for a `path` that cannot be written to,
    `SymbolError` where libdmtx is missing.
    """

    def __init__(self, path: Path, *, title: str) -> None:
        from reportlab.pdfgen.canvas import Canvas

        symbol.encode(b"\0", "10x10")
        envelope.load_fonts()
        self._path = path
        self._temporary = path.with_name(f".pes-sim-{os.getpid()}-{next(_file_number)}.tmp")
        self._pages = 0
        self._open = True
        if path.exists() and not path.is_file():
            what = "a directory" if path.is_dir() else "no regular file"
            raise UsageError(f"{path} cannot be written: it is {what}", hint="Give the name of a PDF file")
        with self._said_clearly():
            self._file = self._temporary.open("wb")
        # Without a font of ours, reportlab would name Helvetica on every page, which is not embedded.
        self._canvas = Canvas(
            self._file,
            pagesize=envelope.PAGE,
            pageCompression=1,
            invariant=1,
            initialFontName=envelope.REGULAR,  # type: ignore[arg-type]  # its stubs say float
        )
        self._canvas.setTitle(title)
        self._canvas.setSubject("SPECIMEN. NOT VALID POSTAGE")
        self._canvas.setAuthor("pes_sim")
        self._canvas.setCreator("pes_sim")

    @property
    def pages(self) -> int:
        """Pages added so far."""
        return self._pages

    def add(self, imprint: Imprint) -> None:
        """Adds a page. Raises `SymbolError` for a payload that does not fit its symbol, `UsageError` after `close`."""
        if not self._open:
            raise UsageError(f"{self._path} is written; no page can be added")
        envelope.draw(self._canvas, imprint, symbol.encode(imprint.payload, imprint.symbol_size))
        self._canvas.showPage()
        self._pages += 1

    def close(self) -> None:
        """Writes the file, durably. Closing twice does nothing.

        Raises `UsageError` where there is no page, or the disk says no; what was at the path is then still there.
        """
        if not self._open:
            return
        self._open = False
        try:
            if not self._pages:
                raise UsageError(f"{self._path} is not written: no mail piece was printed")
            with self._said_clearly(), _binary_streams():
                self._canvas.save()
                self._file.flush()
                os.fsync(self._file.fileno())
                self._temporary.replace(self._path)
        finally:
            self._discard()

    def __enter__(self) -> EnvelopePdf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not self._pages:
            self._open = False
            self._discard()
        else:
            self.close()

    def _discard(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _said_clearly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"{self._path} cannot be written: {error.strerror}", hint="Give a file in a directory you can write to"
            ) from error


@contextmanager
def _binary_streams() -> Iterator[None]:
    """Keeps reportlab from writing pages as text (ASCII 85), which costs a third of the time and a quarter more room.

    Its setting is one for the whole process; whoever writes another PDF meanwhile gets binary streams too, no harm.
    """
    from reportlab import rl_config

    before = rl_config.useA85
    rl_config.useA85 = 0
    try:
        yield
    finally:
        rl_config.useA85 = before
