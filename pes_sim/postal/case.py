"""What a check looks at: the scan, what the verifier said, what was scanned before, and what the office was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

from pes_sim.indicium.layout import Layout
from pes_sim.indicium.verify import Check, Report
from pes_sim.meter.rates import RateBook
from pes_sim.postal.assessment import Finding, Result, Scan, Verdict
from pes_sim.postal.calendar import Calendar, Regime
from pes_sim.postal.identity import identity
from pes_sim.postal.records import Records

LARGEST: Final = (1 << 63) - 1
"""What a store holds of a number. No meter's register gets there: a layout may have eight bytes for one."""
NO_AMOUNT: Final = LARGEST
"""What a mailpiece costs that has no rate: nothing is enough for it."""


class Registers(NamedTuple):
    """What an indicium says of its PSD after it. `descending` is None where the layout has none."""

    piece_count: int
    ascending: int
    descending: int | None
    postage: int


class Seen(NamedTuple):
    """An earlier scan."""

    scan_id: str
    day: date

    def __str__(self) -> str:
        return f"scan {self.scan_id} of {self.day}"


class Paid(NamedTuple):
    """What was scanned before on the same mailpiece: what it paid, in mills, how many indicia that were, the newest
    date on any of them that its PSD did not print after this one, how many redated it, what it costs by the dearest
    of them, in mills (`NO_AMOUNT` where one of them has no rate), and the oldest dates of its postage and of those that
    redated it.
    """

    mills: int = 0
    pieces: int = 0
    latest: date | None = None
    redates: int = 0
    due: int = 0
    oldest: date | None = None
    redated: date | None = None

    def dated(self, today: date, early_days: int) -> date | None:
        """The date that holds for the mailpiece: of its oldest postage, or of the one date correction that is allowed,
        unless that is too early today. Added postage makes it no newer. None where no postage on it bears a date.
        """
        if self.oldest is None or self.redated is None or (self.redated - today).days > early_days:
            return self.oldest
        return max(self.oldest, self.redated)


NOTHING_PAID: Final = Paid()


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the store knows before a scan is judged. For one that is proved genuine, all of it is of genuine scans: no
    forgery, and nobody's wrong certificate, makes a true piece look like a copy.

    `copies`: scans of the very payload that used it up, on another mailpiece or on none, and `first_copy` one of them;
    `again`: it counts for this mailpiece already. `same_count`, `same_tracking`: another payload of that PSD and piece
    count, or of that tracking number, used up on other mail. `before`, `after`: the PSD's next scanned pieces by count.
    """

    copies: int = 0
    first_copy: Seen | None = None
    again: bool = False
    same_count: Seen | None = None
    same_tracking: Seen | None = None
    before: Registers | None = None
    after: Registers | None = None
    paid: Paid = NOTHING_PAID


@dataclass(frozen=True, slots=True)
class Case:
    """All that a check may look at. `layout` is None where the payload could not be told to be of any."""

    scan: Scan
    report: Report
    layout: Layout | None
    rates: RateBook
    calendar: Calendar
    records: Records | None = None
    earlier: Earlier = field(default_factory=Earlier)

    def made(self, name: str) -> Check | None:
        """The verifier's check of that name, if it came to it."""
        return next((check for check in self.report.checks if check.name == name), None)

    @property
    def identity(self) -> bytes:
        """The payload in the form in which it is compared with others."""
        return identity(self.scan.payload, self.layout)

    @property
    def regime(self) -> Regime | None:
        """What holds for its construct; None where the calendar does not say, or it could not be read."""
        return None if self.layout is None else self.calendar.regime(self.layout.construct)

    @property
    def is_postage(self) -> bool:
        """Whether such an indicium is postage at all. One that is not, is nothing that a PSD counted as a piece."""
        return self.regime is None or self.regime.postage

    @property
    def genuine(self) -> bool:
        """Whether the signature proves that a PSD made it. An expired certificate proves that as well."""
        made = self.made("signature") is not None
        return made and all(check.passed or check.name == "validity" for check in self.report.checks)

    def number(self, name: str) -> int | None:
        """A field that is a whole number small enough to be true."""
        value = self.report.values.get(name)
        return value if isinstance(value, int) and value <= LARGEST else None

    def text(self, name: str) -> str:
        """A field as text; empty where the layout has none."""
        value = self.report.values.get(name, "")
        return value.hex() if isinstance(value, bytes) else str(value)

    @property
    def mailing_date(self) -> date | None:
        """The date of mailing, None where it is no date."""
        try:
            return date.fromisoformat(self.text("mailing_date"))
        except ValueError:
            return None

    @property
    def psd(self) -> str:
        """Which PSD, for all layouts that name it alike; empty where the payload does not say, or is no postage."""
        serial = self.report.values.get("psd_serial")
        if serial is None or not self.is_postage:
            return ""
        maker = self.text("provider_id") or self.report.layout
        return f"{maker}:{self.text('psd_serial')}"

    @property
    def piece_count(self) -> int | None:
        """Which piece of its PSD it is; None where the payload does not say."""
        return self.number("piece_count") if self.psd else None

    @property
    def registers(self) -> Registers | None:
        """What it says of its PSD; None where that is too little to compare."""
        piece_count, ascending = self.piece_count, self.number("ascending_mills")
        postage = self.number("postage_mills")
        if piece_count is None or ascending is None or postage is None:
            return None
        return Registers(piece_count, ascending, self.number("descending_mills"), postage)

    @property
    def tracking_number(self) -> str:
        """Empty for none; zeros are none, however the layout codes them."""
        text = self.text("tracking_number").strip()
        return text if text.strip("0") and self.is_postage else ""


class Found(NamedTuple):
    """What a check found, before the table gives it its name."""

    result: Result
    note: str
    verdict: Verdict = Verdict.ACCEPTED

    def named(self, check: str, subject: str) -> Finding:
        """As the assessment lists it."""
        return Finding(check, subject, self.result, self.note, self.verdict)


def passed(note: str) -> Found:
    """It held."""
    return Found(Result.PASSED, note)


def failed(verdict: Verdict, note: str) -> Found:
    """It did not hold, and what that makes of the piece."""
    return Found(Result.FAILED, note, verdict)


def not_applicable(note: str) -> Found:
    """There is nothing that it could look at."""
    return Found(Result.NOT_APPLICABLE, note)


def not_checkable(note: str, verdict: Verdict = Verdict.ACCEPTED) -> Found:
    """There is something, but not all that it takes. `verdict`: where no piece may pass without it."""
    return Found(Result.NOT_CHECKABLE, note, verdict)


NO_FIELDS: Final = "the payload's fields could not be read"


def lacking(case: Case, *names: str) -> Found | None:
    """What a check says that needs postage with fields which the payload has not; None when they are all there."""
    if not case.report.values:
        return not_checkable(NO_FIELDS)
    if not case.is_postage:
        return not_applicable(f"{case.report.layout} is no postage")
    missing = [name for name in names if name not in case.report.values]
    return not_applicable(f"{case.report.layout} has no {', '.join(missing)}") if missing else None
