"""From pieces to pages: one on each, five tapes on a strip, a sheet of proofs, a statement.

A page is given out when it is full, and what is left when the pieces are over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final

from pes_sim.indicium import symbol
from pes_sim.indicium.layout import Layout
from pes_sim.indicium.symbol import Symbol
from pes_sim.preview import drawing
from pes_sim.preview.face import NO_ADVERT, NOTES, Advert, check_room, face
from pes_sim.preview.fonts import BOLD, REGULAR, fit, width
from pes_sim.preview.imprint import Imprint, check_meter
from pes_sim.preview.marks import BLACK, GREY, Group, Line, Mark, Page, Text
from pes_sim.preview.statement import check_statement, statement
from pes_sim.preview.stationery import INCH, PROOF, PROOF_SCALE, Arrangement, PageKind, kind_of

_CROP: Final = (3.0, 9.0)  # points from the corner to a crop mark, and its length
_MEASURE: Final = 14.0  # from the piece to its measure


class Sheets:
    """Puts pieces onto pages of one kind. `layout`, if it is known, is asked for room at once (`check_room`)."""

    def __init__(self, kind: PageKind, advert: Advert = NO_ADVERT, layout: Layout | None = None) -> None:
        self._kind = kind
        self._advert = advert
        self._waiting: list[tuple[Imprint, Symbol]] = []
        self._asked: set[tuple[Layout, str]] = set()
        if layout is not None:
            for number in range(kind.several):
                self._check(layout, self._page_of(number))

    def add(self, imprint: Imprint) -> Iterator[Page]:
        """Puts a piece into its place, and gives the page that is full by it, or all that it needs.

        Raises `LayoutError` for what is no specimen, `SymbolError` for a payload that does not fit its symbol,
        `UsageError` where it has no room. The piece is then nowhere.
        """
        if self._kind.arrangement is Arrangement.STATEMENT:
            drawing.check_provider(imprint.payload, imprint.layout)
        else:
            drawing.check_specimen(imprint.payload, imprint.layout)
        check_meter(imprint)
        self._check(imprint.layout, self._page_of(len(self._waiting)))
        self._waiting.append((imprint, symbol.encode(imprint.payload, imprint.layout.symbol)))
        if len(self._waiting) == self._kind.several:
            yield from self.rest()

    def rest(self) -> Iterator[Page]:
        """The page that is not full, if there is one; of a statement all of its pages."""
        if self._waiting:
            pieces, self._waiting = self._waiting, []
            yield from _ARRANGED[self._kind.arrangement](self._kind, self._advert, pieces)

    def _page_of(self, number: int) -> PageKind:
        """The kind of page that the piece of this number on a page is drawn as."""
        if self._kind.arrangement is Arrangement.PROOF:
            return kind_of(PROOF[number].kind)
        return kind_of(self._kind.each) if self._kind.each else self._kind

    def _check(self, layout: Layout, page: PageKind) -> None:
        if page.arrangement is Arrangement.STATEMENT:
            check_statement(layout, self._advert)
        elif (layout, page.name) not in self._asked:
            shown = NO_ADVERT if self._kind.arrangement is Arrangement.PROOF and not page.advert else self._advert
            check_room(layout, page, shown)
            self._asked.add((layout, page.name))


_Pieces = list[tuple[Imprint, Symbol]]


def _single(kind: PageKind, advert: Advert, pieces: _Pieces) -> Iterator[Page]:
    ((imprint, drawn),) = pieces
    yield Page(kind.width, kind.height, list(face(imprint, drawn, kind, advert)))


def _roll(kind: PageKind, advert: Advert, pieces: _Pieces) -> Iterator[Page]:
    """As long as what is on it, with a line to cut along behind each tape but the last."""
    marks: list[Mark] = []
    tape = kind_of(kind.each)
    for number, (imprint, drawn) in enumerate(pieces):
        marks.append(Group(number * tape.width, 0, 1, list(face(imprint, drawn, tape, advert))))
        if number:
            marks.append(Line(number * tape.width, 0, number * tape.width, tape.height, dash=4))
    yield Page(len(pieces) * tape.width, tape.height, marks)


def _proof(kind: PageKind, advert: Advert, pieces: _Pieces) -> Iterator[Page]:
    marks: list[Mark] = [
        Text(52, 762, BOLD, 13, "PROOF SHEET \N{EM DASH} SPECIMENS, NOT VALID POSTAGE"),
        Text(
            52,
            748,
            REGULAR,
            7,
            f"Each piece at {Fraction(PROOF_SCALE)} of its size; the measures are those of the piece itself",
        ),
        Text(52, 30, REGULAR, 6, NOTES[0]),
    ]
    for cell, (imprint, drawn) in zip(PROOF, pieces, strict=False):
        page = kind_of(cell.kind)
        marks += _cut_and_measured(cell.left, cell.bottom, page)
        shown = advert if page.advert else NO_ADVERT
        marks.append(Group(cell.left, cell.bottom, PROOF_SCALE, list(face(imprint, drawn, page, shown))))
        label = f"{page.name}: {imprint.kind.label}, piece {imprint.piece_count}"
        marks.append(Text(cell.left, cell.bottom - 19, REGULAR, 7, fit(label, REGULAR, 7, page.width * PROOF_SCALE)))
    yield Page(kind.width, kind.height, marks)


def _cut_and_measured(left: float, bottom: float, page: PageKind) -> Iterator[Mark]:
    """A piece's outline, a crop mark at each corner both ways, and its width and height in inches."""
    right, top = left + page.width * PROOF_SCALE, bottom + page.height * PROOF_SCALE
    for x1, y1, x2, y2 in ((left, bottom, right, bottom), (right, bottom, right, top), (right, top, left, top),
                           (left, top, left, bottom)):  # fmt: skip
        yield Line(x1, y1, x2, y2, dash=2)
    near, long = _CROP
    for x, outwards in ((left, -1), (right, 1)):
        for y, up in ((bottom, -1), (top, 1)):
            yield Line(x + outwards * near, y, x + outwards * (near + long), y, colour=BLACK)
            yield Line(x, y + up * near, x, y + up * (near + long), colour=BLACK)
    above, beside = top + _MEASURE, left - _MEASURE
    yield Line(left, above, right, above)
    yield Line(beside, bottom, beside, top)
    across, down = f"{page.width / INCH:.4g} in", f"{page.height / INCH:.4g} in"
    yield Text((left + right - width(across, REGULAR, 7)) / 2, above + 2.5, REGULAR, 7, across, GREY)
    yield Text(beside - 2.5, (bottom + top - width(down, REGULAR, 7)) / 2, REGULAR, 7, down, GREY, 90)


def _statement(kind: PageKind, advert: Advert, pieces: _Pieces) -> Iterator[Page]:
    ((imprint, drawn),) = pieces
    for marks in statement(imprint, drawn, kind):
        yield Page(kind.width, kind.height, marks)


_ARRANGED: Final[dict[Arrangement, Callable[[PageKind, Advert, _Pieces], Iterator[Page]]]] = {
    Arrangement.SINGLE: _single,
    Arrangement.ROLL: _roll,
    Arrangement.PROOF: _proof,
    Arrangement.STATEMENT: _statement,
}
