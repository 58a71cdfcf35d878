"""What pieces are printed on: a row for each kind of page. A kind is data; `face` and `sheets` draw any of them.

Where the indicium goes follows from the piece: upper right on the address side; a correction goes where its row says. A
date correction belongs on the non-address side, upper right, or as a label on the address side, lower left (a vendor's
guide). Sizes of envelopes are public; where else something stands on a page is assumed, but for the clear zone, the
facing identification mark and the barcode (see the sources beside them).

Lengths are in points (1/72 inch), from the lower left corner of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from pes_sim.errors import UsageError
from pes_sim.preview.marks import Box

INCH: Final = 72.0
MM: Final = 72 / 25.4

CLEAR_ZONE: Final = INCH / 2
"""Width of the blank paper left of the indicium and below it (DMM 604.4.3.3)."""


class Place(Enum):
    """Where on the piece an indicium goes."""

    FRONT = "upper right of the address side"
    BACK = "upper right of the non-address side"
    LOWER_LEFT = "lower left of the address side"
    TAPE = "on a tape"


class Barcode(Enum):
    """Where the Intelligent Mail barcode goes (DMM 202.5): above the address, or in the barcode clear zone."""

    NONE = "none"
    BLOCK = "above the address"
    CORNER = "lower right, in the barcode clear zone"


class Arrangement(Enum):
    """How pieces come onto pages."""

    SINGLE = "a page a piece"
    ROLL = "one after the other on a strip"
    PROOF = "several on a sheet, smaller"
    STATEMENT = "a letter page about one payload"


@dataclass(frozen=True, slots=True)
class PageKind:
    """One kind of page. `sender`, `addressee`, `advert`: where the addresses and a slogan or logo go, None for nowhere;
    the last one's right end is the clear zone, wherever that begins. `top`: from the upper edge to the indicium.
    `each`: the kind that each piece of a page with several has; `several`: how many of them at most.
    """

    name: str
    what: str
    width: float
    height: float
    margin: float = 18.0
    top: float = 18.0
    sender: Box | None = None
    addressee: Box | None = None
    advert: Box | None = None
    barcode: Barcode = Barcode.NONE
    fim: str = ""
    correction: Place = Place.BACK
    arrangement: Arrangement = Arrangement.SINGLE
    each: str = ""
    several: int = 1

    @property
    def size(self) -> str:
        """In inches, for people."""
        return f"{self.width / INCH:.4g} x {self.height / INCH:.4g} in"


@dataclass(frozen=True, slots=True)
class Cell:
    """A place on the proof sheet: which kind of piece, and where its lower left corner is."""

    kind: str
    left: float
    bottom: float


PROOF_SCALE: Final = 0.375
PROOF: Final = (
    Cell("envelope-10", 52, 604),
    Cell("envelope-10-fim", 52, 446),
    Cell("flat", 52, 74),
    Cell("envelope-c5", 344, 543.2),
    Cell("label", 344, 334),
    Cell("tape", 344, 234),
)
"""The cells of a proof sheet, in the order in which pieces fill them."""

KINDS: Final = (
    PageKind(
        "envelope-10", "#10 envelope", 9.5 * INCH, 4.125 * INCH,
        sender=Box(18, 233, 200, 279), addressee=Box(300, 46, 666, 130), advert=Box(208, 185, 0, 279),
        barcode=Barcode.BLOCK,
    ),
    PageKind(
        "envelope-10-fim", "#10 envelope with a facing identification mark, for ink that does not fluoresce",
        9.5 * INCH, 4.125 * INCH, top=58.0,
        sender=Box(18, 233, 200, 279), addressee=Box(300, 46, 666, 114), advert=Box(208, 185, 0, 279),
        barcode=Barcode.BLOCK, fim="D",
    ),
    PageKind(
        "envelope-c5", "C5 envelope (ISO 269)", 229 * MM, 162 * MM,
        sender=Box(18, 395, 190, 441), addressee=Box(280, 100, 631, 190), advert=Box(200, 345, 0, 441),
        barcode=Barcode.CORNER,
    ),
    PageKind(
        "flat", "Flat of 9 by 12 inches, its address in the upper half", 9 * INCH, 12 * INCH,
        sender=Box(18, 800, 190, 846), addressee=Box(240, 560, 630, 660), advert=Box(200, 750, 0, 846),
        barcode=Barcode.BLOCK,
    ),
    PageKind(
        "label", "Label of 4 by 6 inches, with the addresses", 4 * INCH, 6 * INCH, margin=14.0, top=14.0,
        sender=Box(14, 224, 274, 268), addressee=Box(44, 132, 274, 206), barcode=Barcode.BLOCK,
        correction=Place.LOWER_LEFT,
    ),
    PageKind(
        "tape", "Meter tape: the indicium, and a slogan or logo", 6.5 * INCH, 2 * INCH, margin=12.0, top=12.0,
        advert=Box(12, 34, 0, 132), correction=Place.TAPE,
    ),
    PageKind(
        "tape-roll", "Roll of such tapes, five to a strip", 6.5 * INCH, 2 * INCH, arrangement=Arrangement.ROLL,
        each="tape", several=5,
    ),
    PageKind(
        "proof", "Proof sheet: letter paper, a piece of each kind at 3/8 of its size, with measures and crop marks",
        8.5 * INCH, 11 * INCH, arrangement=Arrangement.PROOF, several=len(PROOF),
    ),
    PageKind(
        "withdrawal", "Statement of a withdrawal, for the layout of that name", 8.5 * INCH, 11 * INCH, margin=54.0,
        arrangement=Arrangement.STATEMENT,
    ),
)  # fmt: skip
"""Every kind of page."""
_BY_NAME: Final = {kind.name: kind for kind in KINDS}
NAMES: Final = tuple(_BY_NAME)


def kind_of(name: str) -> PageKind:
    """A kind by its name. Raises `UsageError` with those there are."""
    if name not in _BY_NAME:
        raise UsageError(f"there is no page {name!r}", hint=f"Known: {', '.join(NAMES)}")
    return _BY_NAME[name]


USUAL: Final = kind_of("envelope-10")
