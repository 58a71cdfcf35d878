"""What the post office is given, and what it answers: a scan, and the assessment of it with every check.

An assessment is stored as JSON, so that the same scan gets the same answer for as long as the store lives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Final, NamedTuple

from pes_sim.errors import UsageError
from pes_sim.indicium.codings import Value

LONGEST_NAME: Final = 200
"""Characters of a scan's id, or of a mailpiece's."""
LONGEST_PAYLOAD: Final = 1 << 16


class Result(StrEnum):
    """What came of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    NOT_CHECKABLE = "not checkable"


class Verdict(StrEnum):
    """What came of the scan. Those of the verifier keep its words. `acceptance.PRECEDENCE` says which one rules."""

    ACCEPTED = "accepted"
    OVER_PAID = "over_paid"

    TRUNCATED = "truncated"
    UNKNOWN_VERSION = "unknown_version"
    WRONG_LENGTH = "wrong_length"
    UNKNOWN_SCHEME = "unknown_scheme"
    NO_CERTIFICATE = "no_certificate"
    NO_KEY = "no_key"
    WRONG_CERTIFICATE = "wrong_certificate"
    UNTRUSTED_CERTIFICATE = "untrusted_certificate"
    EXPIRED_CERTIFICATE = "expired_certificate"
    REVOKED_CERTIFICATE = "revoked_certificate"
    BAD_SIGNATURE = "bad_signature"
    NOT_A_SPECIMEN = "not_a_specimen"

    NOT_POSTAGE = "not_postage"
    DECERTIFIED = "decertified"
    METER_LOST_OR_STOLEN = "meter_lost_or_stolen"
    METER_WITHDRAWN = "meter_withdrawn"
    DUPLICATE = "duplicate"
    REGISTERS_DISAGREE = "registers_disagree"
    BAD_DATE = "bad_date"
    FUTURE_DATED = "future_dated"
    TOO_EARLY = "too_early"
    STALE = "stale"
    BAD_REDATE = "bad_redate"
    BAD_CORRECTION = "bad_correction"
    NO_RATE = "no_rate"
    SHORT_PAID = "short_paid"


ACCEPTING: Final = frozenset({Verdict.ACCEPTED, Verdict.OVER_PAID})
"""Verdicts by which a piece goes on into the mail. Who paid too much may ask for it back (assumed)."""
NOT_GIVEN: Final = frozenset({Verdict.NO_CERTIFICATE, Verdict.NO_KEY})
UNDECIDED: Final = NOT_GIVEN | {Verdict.WRONG_CERTIFICATE, Verdict.UNTRUSTED_CERTIFICATE}
"""Verdicts on what the office has, not on the piece: such a scan is not remembered, and may be submitted again."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One reading of one symbol. `scan_id` is the scanner's: the same id is the same reading, whenever it comes.

    `mailpiece`: which piece it was read on, where the scanner knows; only then can a redate or an amount correction be
    told from other mail. Raises `UsageError` for an id that is empty or too long, or a payload that no symbol holds.
    """

    scan_id: str
    payload: bytes
    day: date
    mailpiece: str = ""

    def __post_init__(self) -> None:
        if len(self.payload) > LONGEST_PAYLOAD:
            raise UsageError(f"{len(self.payload)} bytes are no payload", hint=f"{LONGEST_PAYLOAD} is the most")
        for name, text, least in (("scan id", self.scan_id, 1), ("mailpiece", self.mailpiece, 0)):
            if not (least <= len(text) <= LONGEST_NAME and text.isprintable()):
                raise UsageError(
                    f"{text[:60]!a} is no {name}", hint=f"Allowed: {least} to {LONGEST_NAME} printable characters"
                )


class Finding(NamedTuple):
    """One check of the table: what came of it, in a sentence, and the verdict that it asks for."""

    check: str
    subject: str
    result: Result
    note: str
    verdict: Verdict = Verdict.ACCEPTED


class Judged(NamedTuple):
    """As what a scan was judged: its day, and its mailpiece, empty where nobody knew."""

    day: date
    mailpiece: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """The verdict, every check in the order of the table, and the fields as far as they could be read.

    `judged_before`: where this is the answer that the same scan got before, as what it was judged then.
    """

    scan_id: str
    verdict: Verdict
    findings: Sequence[Finding]
    layout: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)
    judged_before: Judged | None = field(default=None, compare=False)

    @property
    def accepted(self) -> bool:
        """Whether the piece goes on into the mail."""
        return self.verdict in ACCEPTING

    @property
    def reasons(self) -> list[Finding]:
        """The checks that speak against it, those of the verdict first."""
        against = [finding for finding in self.findings if finding.verdict is not Verdict.ACCEPTED]
        return sorted(against, key=lambda finding: finding.verdict is not self.verdict)

    def document(self) -> dict[str, Any]:
        """As JSON has it; bytes are hex."""
        return {
            "scan_id": self.scan_id,
            "verdict": self.verdict.value,
            "accepted": self.accepted,
            "layout": self.layout,
            "judged_before": self.judged_before and {
                "date": self.judged_before.day.isoformat(), "mailpiece": self.judged_before.mailpiece,
            },
            "fields": {name: _plain(value) for name, value in self.values.items()},
            "checks": [
                {"name": f.check, "subject": f.subject, "result": f.result.value, "note": f.note,
                 "verdict": f.verdict.value}
                for f in self.findings
            ],
        }  # fmt: skip


def from_document(document: Any) -> Assessment:
    """The reverse. Raises `ValueError`, `TypeError` or `KeyError` for what no assessment was written as."""
    return Assessment(
        scan_id=_text(document["scan_id"]),
        verdict=Verdict(document["verdict"]),
        layout=_text(document["layout"]),
        values={_text(name): _value(value) for name, value in dict(document["fields"]).items()},
        findings=tuple(
            Finding(_text(row["name"]), _text(row["subject"]), Result(row["result"]), _text(row["note"]),
                    Verdict(row["verdict"]))
            for row in document["checks"]
        ),
    )  # fmt: skip


def _plain(value: Value) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r} is no text")
    return value


def _value(value: Any) -> Value:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    if type(value) not in (int, str):
        raise TypeError(f"{value!r} is no field's value")
    return value  # type: ignore[no-any-return]
