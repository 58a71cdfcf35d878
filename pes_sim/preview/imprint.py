"""What is printed on one piece: its indicium, what people read beside it, and who it is from and for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from pes_sim import money
from pes_sim.errors import LayoutError, NoRate, PayloadError, UsageError
from pes_sim.indicium.layout import SPECIMEN_PROVIDER, Layout
from pes_sim.meter import rates
from pes_sim.psd.piece import PieceKind

PROVIDER: Final = "PES-SIM TEST PROVIDER 99"

USUAL: Final = (
    "US POSTAGE | SPECIMEN",
    "{postage}",
    "{mail_class} | {weight}",
    "{date} | ZIP {origin_zip}",
    "{meter} | PIECE {piece_count}",
    "{provider}",
)
"""The human-readable text of a layout that has none of its own."""
MARKINGS: Final = {
    PieceKind.STANDARD: "",
    PieceKind.DATE_CORRECTION: "DATE CORRECTION",
    PieceKind.AMOUNT_CORRECTION: "ADDITIONAL POSTAGE",
    PieceKind.REPRINT: "REPRINT",
}
"""What the indicium says besides, by what it is. The words are assumed."""

_NAMED: Final = re.compile(r"\{([a-z_]+)\}")
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True, slots=True)
class Imprint:
    """What is printed on one piece.

    `layout`: that of the payload. `postage_mills`: 1/1000 dollar. `destination`: empty, or 5, 9 or 11 digits. `text`: a
    line of the customer's own, printed with the destination. `recipient` and `sender`: lines of the two addresses; none
    for made-up ones. `reference`: who pays, such as "Department 100 Sales", printed below the return address. Raises
    `UsageError` for a destination or an origin ZIP of other than its digits.
    """

    payload: bytes
    layout: Layout
    postage_mills: int
    mailing_date: date
    mail_class: str
    origin_zip: str
    meter_serial: str
    piece_count: int
    destination: str = ""
    text: str = ""
    reference: str = ""
    weight_text: str = ""
    tracking_number: str = ""
    extra_services: str = ""
    kind: PieceKind = PieceKind.STANDARD
    recipient: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9]{5}", self.origin_zip):
            raise UsageError(f"origin ZIP {self.origin_zip!r} is not a ZIP Code", hint="Give 5 digits")
        if not re.fullmatch(r"([0-9]{5}([0-9]{4}([0-9]{2})?)?)?", self.destination):
            raise UsageError(
                f"destination {self.destination!r} is not a ZIP Code",
                hint="Give 5 digits, 9 (ZIP+4), 11 (delivery point) or none",
            )


def of_payload(payload: bytes, layout: Layout, **besides: Any) -> Imprint:
    """The imprint that a payload's own fields make. `besides`: what no payload says, by `Imprint`'s names.

    Without a `kind` a piece of no value is a date correction. Raises `PayloadError` for one that is not whole, or has
    values that no piece has, `UsageError` for a date correction with postage.
    """
    values = layout.unpack(payload).values
    try:
        postage, day = _number(values["postage_mills"]), date.fromisoformat(str(values["mailing_date"]))
        weight, count = _number(values.get("weight", 0)), _number(values.get("piece_count", 0))
    except (KeyError, ValueError) as problem:
        raise PayloadError(
            f"it has no postage, date, weight or piece count that could be printed ({problem})"
        ) from None
    said: dict[str, Any] = {
        "payload": payload,
        "layout": layout,
        "postage_mills": postage,
        "mailing_date": day,
        "mail_class": class_title(str(values.get("mail_class", "")), day),
        "origin_zip": str(values.get("origin_zip", "00000")),
        "meter_serial": serial(values),
        "piece_count": count,
        "destination": str(values.get("destination", "")),
        "weight_text": f"{rates.ounces(weight)} oz" if "weight" in values else "",
        "tracking_number": str(values.get("tracking_number", "")),
        "extra_services": str(values.get("extra_services", "")),
        "kind": PieceKind.STANDARD if postage else PieceKind.DATE_CORRECTION,
    }
    imprint = Imprint(**(said | besides))
    if imprint.kind is PieceKind.DATE_CORRECTION and postage:
        raise UsageError(
            f"a piece of {money.dollars(postage)} is no date correction, which is of no value",
            hint="Say what it is: standard, amount correction or reprint",
        )
    return imprint


def serial(values: Any) -> str:
    """Provider, model and serial number of a PSD, as an indicium shows them, from the fields of those names."""
    maker = f"{values.get('provider_id', '99')}{_written(values.get('model_id', ''))}"
    return f"{maker}{_written(values.get('psd_serial', 0)):0>10}"


def check_meter(imprint: Imprint) -> None:
    """Raises `LayoutError` for a meter of another provider in the lines that people read, whatever the payload says."""
    if imprint.meter_serial and not imprint.meter_serial.startswith(SPECIMEN_PROVIDER):
        raise LayoutError(
            f"meter {imprint.meter_serial!r:.40} is not drawn: those of specimens begin with {SPECIMEN_PROVIDER}",
            hint="Give the meter as its indicium names it: provider, model, serial number",
        )


def _number(value: object) -> int:
    """A field that somebody's own layout may have coded as anything. Raises `ValueError` for other than a number."""
    if type(value) is not int:
        raise ValueError(f"{value!r:.40} is no number")
    return value


def _written(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def class_title(name: str, day: date) -> str:
    """A class of mail as people write it; as it is named where that day's rate table has no such class."""
    try:
        return rates.built_in().on(day).category(name).title
    except NoRate:
        return name.replace("_", " ").upper()


def block_lines(imprint: Imprint) -> list[tuple[str, str]]:
    """The lines that people read in the indicium, each in its left half and its right one; empty ones are left out."""
    templates = [*(imprint.layout.text or USUAL), MARKINGS[imprint.kind]]
    return [line for line in (fill(template, imprint) for template in templates) if any(line)]


def fill(template: str, imprint: Imprint) -> tuple[str, str]:
    """A line of human-readable text with its values, in its left half and its right one."""
    day = imprint.mailing_date
    values = {
        "postage": money.dollars(imprint.postage_mills),
        "date": f"{_MONTHS[day.month - 1]} {day.day:02d} {day.year}",
        "mail_class": imprint.mail_class,
        "weight": imprint.weight_text,
        "origin_zip": imprint.origin_zip,
        "meter": imprint.meter_serial,
        "piece_count": str(imprint.piece_count),
        "provider": PROVIDER,
        "tracking_number": imprint.tracking_number,
        "extra_services": imprint.extra_services.replace("_", " ").replace("+", ", ").upper(),
    }
    left, _, right = _NAMED.sub(lambda found: values[found[1]], template).partition("|")
    return left.strip(), right.strip()


def routing(digits: str) -> str:
    """A destination of 0, 5, 9 or 11 digits as people write it: "ZIP 62701-1234, DELIVERY POINT 56"."""
    point = f", DELIVERY POINT {digits[9:]}" if len(digits) > 9 else ""
    return f"ZIP {zip_code(digits)}{point}" if digits else ""


def zip_code(digits: str) -> str:
    """The ZIP Code or ZIP+4 of a destination, as people write it."""
    return digits[:5] + (f"-{digits[5:9]}" if len(digits) > 5 else "")
