"""What a post office remembers of its scans: the interface, what of a scan is kept, and the smallest store there is.

* A turn is all or nothing, and nobody else's scan comes between: what is looked up in it still holds when it ends.
* What is looked up is looked up by an index. A store of a million scans answers as fast as an empty one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import date
from enum import IntEnum
from threading import Lock
from typing import Any, Final, NamedTuple, Protocol

from pes_sim.postal import payment
from pes_sim.postal.assessment import Assessment, Judged, Verdict, from_document
from pes_sim.postal.case import Case, Earlier, Paid, Registers, Seen

MOST_COPIES: Final = 1000
"""Copies of one payload that are counted; more are as many."""
_BEARS: Final = frozenset(
    (
        Verdict.ACCEPTED, Verdict.OVER_PAID, Verdict.SHORT_PAID, Verdict.STALE, Verdict.TOO_EARLY, Verdict.FUTURE_DATED,
        Verdict.BAD_REDATE, Verdict.NO_RATE,
    )
)  # fmt: skip
"""What all checks may ask for, and an indicium still belongs to its mailpiece: what it paid, or corrected, and what it
says that the piece costs, counts for the next one."""
_HANDED_BACK: Final = frozenset(
    (
        Verdict.SHORT_PAID, Verdict.STALE, Verdict.NO_RATE, Verdict.DUPLICATE, Verdict.REGISTERS_DISAGREE,
        Verdict.METER_LOST_OR_STOLEN, Verdict.METER_WITHDRAWN,
    )
)  # fmt: skip
"""Verdicts by which a piece without a mailpiece's name is handed back, and may come again: mended, or after the office
was told better. That is no copy. Postage that was accepted is used up, and so is what never can be."""
_KEPT_FOR_THE_DAY: Final = frozenset((Verdict.TOO_EARLY, Verdict.FUTURE_DATED))
"""Verdicts that only another day mends: what comes again on the same one is another print."""


class Use(IntEnum):
    """What becomes of an indicium's postage by a scan."""

    NONE = 0
    USED = 1
    FOR_THE_DAY = 2


class Known(NamedTuple):
    """What was said of a scan that came before."""

    payload: bytes
    assessment: Assessment
    judged: Judged


class ScanStore(Protocol):
    """Whatever remembers scans. All but `turn` is called inside one only."""

    def turn(self) -> AbstractContextManager[None]:
        """Keeps others out. What was added in it is durable when it ends well, and gone when it does not."""
        ...

    def find(self, scan_id: str) -> Known | None:
        """The scan of that id."""
        ...

    def earlier(self, case: Case) -> Case:
        """The case, with what is known that bears on it."""
        ...

    def forget(self, scan_id: str) -> None:
        """Takes the scan of that id away, for another to take its place in the same turn."""
        ...

    def add(self, case: Case, assessment: Assessment) -> None:
        """Remembers it. Where it bears, an earlier reading of the same payload on the same mailpiece does no more."""
        ...


class Entry(NamedTuple):
    """What is kept of a scan. Days are ISO text. None where the payload does not say."""

    scan_id: str
    day: str
    payload: bytes
    digest: bytes
    mailpiece: str
    psd: str
    piece_count: int | None
    ascending: int | None
    descending: int | None
    postage: int | None
    due: int | None
    """What a piece of its class and weight costs."""
    tracking: str
    mailing_date: str | None
    genuine: int
    bears: int
    """Its `Use`. Its postage is used up where it counts for its mailpiece, as the newest reading of that payload on it;
    or it was scanned without one, and not handed back."""
    assessment: str

    def bears_on(self, day: date) -> bool:
        """Whether it makes the same payload a copy, when that is scanned on another piece on a day."""
        return self.bears == Use.USED or (self.bears == Use.FOR_THE_DAY and self.day == day.isoformat())

    @property
    def seen(self) -> Seen:
        """As a check names it."""
        return Seen(self.scan_id, date.fromisoformat(self.day))

    @property
    def registers(self) -> Registers | None:
        """As a check compares them."""
        if not self.genuine or self.piece_count is None or self.ascending is None or self.postage is None:
            return None
        return Registers(self.piece_count, self.ascending, self.descending, self.postage)


def digest(case: Case) -> bytes:
    """What a payload is found by."""
    return hashlib.sha256(case.identity).digest()


def _use(case: Case, assessment: Assessment) -> Use:
    if not case.genuine:
        return Use.NONE
    if case.scan.mailpiece:
        return Use({finding.verdict for finding in assessment.findings} <= _BEARS)
    if assessment.verdict in _KEPT_FOR_THE_DAY:
        return Use.FOR_THE_DAY
    return Use(assessment.verdict not in _HANDED_BACK)


def entry(case: Case, assessment: Assessment) -> Entry:
    """What is to be kept."""
    day = case.mailing_date
    return Entry(
        case.scan.scan_id, case.scan.day.isoformat(), case.scan.payload, digest(case), case.scan.mailpiece,
        case.psd, case.piece_count, case.number("ascending_mills"), case.number("descending_mills"),
        case.number("postage_mills"), payment.due(case), case.tracking_number, None if day is None else day.isoformat(),
        int(case.genuine), int(_use(case, assessment)), json.dumps(assessment.document()),
    )  # fmt: skip


def known(payload: bytes, assessment: str, day: str, mailpiece: str) -> Known:
    """What `entry` kept. Raises `ValueError`, `TypeError` or `KeyError` for anything else."""
    return Known(payload, from_document(json.loads(assessment)), Judged(date.fromisoformat(day), mailpiece))


def paid(entries: Iterable[Entry], case: Case) -> Paid:
    """What entries that bear on the mailpiece of a case come to."""
    on_it = list(entries)
    dated = [(date.fromisoformat(row.mailing_date), row) for row in on_it if row.mailing_date is not None]
    latest = max((day for day, row in dated if not _printed_after(row, case)), default=None)
    oldest = min((day for day, row in dated if row.postage), default=None)
    redated = min((day for day, row in dated if not row.postage), default=None)
    postage = [row.postage or 0 for row in on_it]
    free = postage.count(0)
    costs = max((row.due or 0 for row in on_it), default=0)
    return Paid(sum(postage), len(postage) - free, latest, free, costs, oldest, redated)


def _printed_after(row: Entry, case: Case) -> bool:
    """Whether the same PSD says so. The order of scans does not: a correction may be read before what it corrects."""
    if row.piece_count is None or case.piece_count is None:
        return False
    return row.psd == case.psd and row.piece_count > case.piece_count


def _first(entries: Sequence[Entry], key: Callable[[Entry], Any]) -> Seen | None:
    """One of them, always the same."""
    return min(entries, key=key).seen if entries else None


class MemoryScans:
    """A store that ends with its process, and looks through all it has: for tests, and for one look at one piece."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._turn = Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._turn:
            before = self._entries.copy()
            try:
                yield
            except BaseException:
                self._entries = before
                raise

    def find(self, scan_id: str) -> Known | None:
        return next((known(row.payload, row.assessment, row.day, row.mailpiece)
                     for row in self._entries if row.scan_id == scan_id), None)  # fmt: skip

    def earlier(self, case: Case) -> Case:
        key, piece = digest(case), case.scan.mailpiece
        others = [row for row in self._entries if row.digest != key]
        same = [row for row in self._entries
                if row.digest == key and (not case.genuine or row.bears_on(case.scan.day))]  # fmt: skip
        copies = [row for row in same if not piece or row.mailpiece != piece]
        genuine = [row for row in others if row.genuine]
        count = [row for row in genuine if case.piece_count is not None
                 and (row.psd, row.piece_count) == (case.psd, case.piece_count)]  # fmt: skip
        tracking = [row for row in others if row.bears == Use.USED and (not piece or row.mailpiece != piece)
                    and case.tracking_number and row.tracking == case.tracking_number]  # fmt: skip
        registers = [] if case.registers is None else [row.registers for row in genuine if row.psd == case.psd]
        own = case.registers.piece_count if case.registers else 0
        before = [found for found in registers if found and found.piece_count < own]
        after = [found for found in registers if found and found.piece_count > own]
        return replace(
            case,
            earlier=Earlier(
                copies=min(len(copies), MOST_COPIES),
                first_copy=_first(copies, lambda row: row.mailpiece),
                again=len(copies) < len(same),
                same_count=_first(count, lambda row: row.digest),
                same_tracking=_first(tracking, lambda row: (row.mailpiece, row.digest)),
                before=max(reversed(before), default=None, key=lambda found: found[:2]),
                after=min(after, default=None, key=lambda found: found[:2]),
                paid=paid((row for row in others if piece and row.mailpiece == piece and row.bears), case),
            ),
        )

    def forget(self, scan_id: str) -> None:
        self._entries = [row for row in self._entries if row.scan_id != scan_id]

    def add(self, case: Case, assessment: Assessment) -> None:
        new = entry(case, assessment)
        if new.bears and new.mailpiece:
            own = new.mailpiece, new.digest
            self._entries = [
                row._replace(bears=0) if (row.mailpiece, row.digest) == own else row for row in self._entries
            ]
        self._entries.append(new)
