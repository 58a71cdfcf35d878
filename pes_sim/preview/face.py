"""The face of one piece: what is where on its kind of page.

Three rules:

* Nothing but the indicium stands in the indicium's clear zone: what would is refused before anything is drawn.
* Whatever text a customer gives, the page is made: what the font lacks is shown otherwise, what is too long is cut; no
  line of an address is left out.
* Every page says along its lower edge that it is a specimen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pes_sim.errors import UsageError
from pes_sim.indicium import imb
from pes_sim.indicium.imb import Imb
from pes_sim.indicium.layout import Layout
from pes_sim.indicium.sizes import CAPACITY, SQUARES
from pes_sim.indicium.symbol import Symbol
from pes_sim.preview import block
from pes_sim.preview.fonts import BOLD, REGULAR, fit, width
from pes_sim.preview.image import Resolution, both_ways
from pes_sim.preview.imprint import Imprint, routing, zip_code
from pes_sim.preview.marks import GREY, Box, Logo, Mark, Rectangles, Text
from pes_sim.preview.stationery import INCH, Barcode, PageKind, Place
from pes_sim.psd.piece import PieceKind

if TYPE_CHECKING:
    from PIL.Image import Image

# USPS-B-3200, 2.3: 20 to 24 bars an inch, full bars of 0.125 to 0.165 inch, trackers in their middle third.
_PITCH: Final = INCH / 22
_BAR: Final = 0.020 * INCH
_FULL: Final = 0.145 * INCH
_TRACKER: Final = 0.048 * INCH
_CORNER: Final = (4.0 * INCH, 0.22 * INCH)
"""The first bar from the right edge, the bars from the lower one: 3.5 to 4.25 and 3/16 to 1/4 inch (DMM 202.5)."""
_BARCODE_ID, _SERVICE_TYPE = "00", "300"
"""First-Class Mail without services, by the public list of service types."""

FIMS: Final = {"A": "110010011", "B": "101101101", "C": "110101011", "D": "111010111", "E": "101000101"}
"""Facing identification marks: a bar or none every 1/16 inch. D is that of information-based indicia (public lists)."""
_FIM_PITCH: Final = INCH / 16
_FIM_BAR: Final = INCH / 32
_FIM_HEIGHT: Final = 5 / 8 * INCH
_FIM_RIGHT: Final = 2 * INCH
_FIM_TOP: Final = INCH / 16

NOTES: Final = (
    "SPECIMEN: made by the simulator pes_sim for tests. Not valid postage.",
    "SPECIMEN. NOT VALID POSTAGE.",
)
"""Along the lower edge: the first that has room."""
_LARGEST_TEXT: Final = 11.0  # of an address; a long line makes all of it smaller
_SMALLEST_TEXT: Final = 4.5  # at which the widest line that a mail job allows has room on a label
_ROUNDED: Final = 1 - 1e-9  # so that a line as wide as its room is not a bit wider, and cut
_SLOGAN: Final = 12.0
_SLOGAN_LINES: Final = 4
_WHERE: Final = {
    (Place.BACK, PieceKind.DATE_CORRECTION): "Non-address side of the piece",
    (Place.BACK, PieceKind.AMOUNT_CORRECTION): "Non-address side of the piece",
    (Place.TAPE, PieceKind.DATE_CORRECTION): "Put it on the address side, lower left",
    (Place.TAPE, PieceKind.AMOUNT_CORRECTION): "Put it on the non-address side",
}


@dataclass(frozen=True, slots=True)
class Advert:
    """What a customer prints left of the indicium: a slogan of up to four lines, or a logo; never in the clear zone.

    `dpi`: of the logo, which says how large it is.
    """

    slogan: str = ""
    logo: Image | None = None
    dpi: Resolution = 300.0


NO_ADVERT: Final = Advert()


def place_of(kind: PieceKind, page: PageKind) -> Place:
    """Where on its page the indicium of such a piece goes. A reprint goes where the spoiled print was."""
    if page.correction is Place.TAPE:
        return Place.TAPE
    return page.correction if kind in (PieceKind.DATE_CORRECTION, PieceKind.AMOUNT_CORRECTION) else Place.FRONT


def face(imprint: Imprint, symbol: Symbol, page: PageKind, advert: Advert = NO_ADVERT) -> Iterator[Mark]:
    """The marks of one piece. `symbol` is that of its payload. Whether all has room was asked before: `check_room`."""
    place = place_of(imprint.kind, page)
    yield from block.indicium(imprint, symbol, page, place)
    zone = block.clear_zone(block.indicium_box(symbol.size, page, place))
    if page.sender and page.addressee and place is not Place.BACK:
        yield from _sender(imprint, page.sender)
        yield from _addressee(imprint, page, page.addressee)
        if page.fim:
            yield _fim(page)
    if place in (Place.FRONT, Place.TAPE):
        yield from _advert(advert, page, zone)
    yield from _notes(imprint, page, place, zone)


# --- what has room ---------------------------------------------------------------------------------------------------


def check_room(layout: Layout, page: PageKind, advert: Advert = NO_ADVERT) -> None:
    """Raises `UsageError` where an indicium of this layout, or the slogan or logo, has no room on such a page."""
    side = dict(zip(CAPACITY, SQUARES, strict=True))[layout.symbol]
    if not _has_room(side, page):
        largest = max((size for size in SQUARES if _has_room(size, page)), default=0)
        raise UsageError(
            f"a symbol of {side} modules has no room on page {page.name}, with a clear zone of half an inch",
            hint=f"Take a size up to {largest}x{largest}, or another page",
        )
    if advert.slogan or advert.logo is not None:
        _check_advert(advert, page, block.clear_zone(block.indicium_box(side, page)))


def _has_room(side: int, page: PageKind) -> bool:
    """Whether the indicium lies on the page, and its clear zone meets nothing else, wherever a piece's place is."""
    paper = Box(0, 0, page.width, page.height)
    for place in {place_of(kind, page) for kind in PieceKind}:
        indicium = block.indicium_box(side, page, place)
        others = [box for box in (page.sender, page.addressee) if box] if place is not Place.BACK else []
        if page.advert:
            others.append(page.advert._replace(right=page.advert.left + 1))
        if not indicium.within(paper) or any(block.clear_zone(indicium).meets(box) for box in others):
            return False
    return True


def _check_advert(advert: Advert, page: PageKind, zone: Box) -> None:
    if page.advert is None:
        raise UsageError(f"page {page.name} has no place for a slogan or a logo", hint="Leave it out")
    room = page.advert._replace(right=zone.left)
    across, down = _advert_size(advert)
    what = "the logo" if advert.logo is not None else "the slogan"
    free = f"{room.width / INCH:.2f} x {room.height / INCH:.2f} in is free there"
    size = f"{across / INCH:.2f} x {down / INCH:.2f} in"
    if across <= 0 or down <= 0:
        raise UsageError(f"{what} has no size: {size}", hint="Give another one")
    if across > room.width:
        raise UsageError(
            f"{what} of {size} would enter the clear zone of half an inch left of the indicium (DMM 604.4)",
            hint=f"{free}: give a smaller one" + (", or a higher --logo-dpi" if advert.logo is not None else ""),
        )
    if down > room.height:
        raise UsageError(f"{what} of {size} is too high for page {page.name}", hint=f"{free}: give a smaller one")


def _advert_size(advert: Advert) -> tuple[float, float]:
    if advert.logo is not None:
        dots_across, dots_down = both_ways(advert.dpi)
        return advert.logo.width * INCH / dots_across, advert.logo.height * INCH / dots_down
    lines = _slogan_lines(advert)
    return max(width(fit(line, BOLD, _SLOGAN, 10_000), BOLD, _SLOGAN) for line in lines), len(lines) * _SLOGAN * 1.2


def _slogan_lines(advert: Advert) -> list[str]:
    lines = [line.strip() for line in advert.slogan.split("|")]
    if len(lines) > _SLOGAN_LINES:
        raise UsageError(f"a slogan of {len(lines)} lines", hint=f'At most {_SLOGAN_LINES}, with "|" between them')
    return lines


# --- marks -----------------------------------------------------------------------------------------------------------


def _sender(imprint: Imprint, box: Box) -> Iterator[Mark]:
    made_up = ("PES-SIM MAIL ROOM", "SIMULATED POSTAGE METER", f"ORIGIN ZIP {imprint.origin_zip}")
    lines = [*(imprint.sender or made_up), imprint.reference]
    step = min(11.0, box.height / len(lines))
    for number, line in enumerate(lines):
        font, size = REGULAR if number else BOLD, min(8.0, step * 0.8)
        yield Text(box.left, box.top - 8 - step * number, font, size, fit(line, font, size, box.width))


def address_lines(imprint: Imprint) -> list[str]:
    """The lines of the delivery address; its last one has the ZIP Code."""
    code = zip_code(imprint.destination)
    if not imprint.recipient:
        return [line for line in ("ADDRESSEE (SIMULATED)", imprint.text, routing(imprint.destination)) if line]
    *first, last = imprint.recipient
    if code and code[:5] not in last:
        last = f"{last}  {code}"
    return [line for line in (imprint.text, *first, last) if line]


def _addressee(imprint: Imprint, page: PageKind, box: Box) -> Iterator[Mark]:
    """Clear of the lower right corner of a letter, where the Postal Service prints its barcode (DMM 202)."""
    top, bars = box.top, _bars(imprint) if page.barcode is not Barcode.NONE else ""
    if bars and page.barcode is Barcode.CORNER:
        yield barcode(bars, page.width - _CORNER[0], _CORNER[1])
    elif bars:
        yield barcode(bars, box.left, top - _FULL)
        top -= _FULL + 6
    lines = address_lines(imprint) or [""]
    step = min(15.0, (top - box.bottom) / len(lines))
    address = [line for line in lines if line != imprint.text]  # the customer's own line is cut instead
    widest = max([1.0, *(width(fit(line, REGULAR, 1, 10_000), REGULAR, 1) for line in address)])
    size = max(_SMALLEST_TEXT, min(_LARGEST_TEXT, step * 0.82, box.width / widest * _ROUNDED))
    for number, line in enumerate(lines):
        yield Text(box.left, top - size - step * number, REGULAR, size, fit(line, REGULAR, size, box.width))


def _bars(imprint: Imprint) -> str:
    """Of a piece with a destination; its serial number are the last digits of the piece count."""
    if not imprint.destination:
        return ""
    serial = f"{imprint.piece_count % 10 ** (15 - len(imb.TEST_MAILER)):0{15 - len(imb.TEST_MAILER)}d}"
    return imb.encode(Imb(_BARCODE_ID, _SERVICE_TYPE, imb.TEST_MAILER, serial, imprint.destination))


def barcode(bars: str, left: float, bottom: float) -> Rectangles:
    """65 bars of an Intelligent Mail barcode, its full ones from `bottom` up."""
    middle, rest = (_FULL - _TRACKER) / 2, (_FULL + _TRACKER) / 2
    places = {"F": (0.0, _FULL), "A": (middle, rest), "D": (0.0, rest), "T": (middle, _TRACKER)}
    return Rectangles(
        [(left + number * _PITCH, bottom + places[bar][0], _BAR, places[bar][1]) for number, bar in enumerate(bars)]
    )


def _fim(page: PageKind) -> Rectangles:
    """Along the upper edge, its last bar two inches from the right one (DMM 202.8)."""
    last, bottom = page.width - _FIM_RIGHT, page.height - _FIM_TOP - _FIM_HEIGHT
    return Rectangles(
        [
            (last - _FIM_PITCH * back, bottom, _FIM_BAR, _FIM_HEIGHT)
            for back, bar in enumerate(reversed(FIMS[page.fim]))
            if bar == "1"
        ]
    )


def _advert(advert: Advert, page: PageKind, zone: Box) -> Iterator[Mark]:
    box = page.advert
    if box is None:
        return
    if advert.logo is not None:
        across, down = _advert_size(advert)
        yield Logo(Box(box.left, box.top - down, box.left + across, box.top), advert.logo)
    elif advert.slogan:
        for number, line in enumerate(_slogan_lines(advert), start=1):
            shown = fit(line, BOLD, _SLOGAN, zone.left - box.left)
            yield Text(box.left, box.top - number * _SLOGAN * 1.2 + 2, BOLD, _SLOGAN, shown, GREY)


def _notes(imprint: Imprint, page: PageKind, place: Place, zone: Box) -> Iterator[Mark]:
    """Along the lower edge, up to the clear zone where that comes down to it."""
    low = place is not Place.LOWER_LEFT and zone.bottom < page.margin + 8
    room = (zone.left if low else page.width - page.margin) - page.margin
    note = next((note for note in NOTES if width(note, REGULAR, 6) <= room), NOTES[-1])
    yield Text(page.margin, page.margin, REGULAR, 6, fit(note, REGULAR, 6, room))
    if where := _WHERE.get((place, imprint.kind)):
        yield Text(page.margin, page.margin + 9, REGULAR, 6, fit(where, REGULAR, 6, room))
