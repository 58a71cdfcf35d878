"""The post office's acceptance: a table of checks, a table of which verdict rules, and the scan's way into the store.

* Every check that can be made is made, whatever the others found. What rules is the first of `PRECEDENCE`.
* A scan is judged once: its id gives the same assessment ever after, and it is never its own duplicate. It is judged
  once more only where it was refused, and its mailpiece is said that nobody had known.
* It is durable before it is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from pes_sim.errors import PayloadError, RequestIdReused
from pes_sim.indicium.layout import Layout, recognise
from pes_sim.indicium.verify import Trust, verify
from pes_sim.meter import rates as rate_tables
from pes_sim.meter.rates import RateBook
from pes_sim.postal import calendar as calendars
from pes_sim.postal import dates, history, payment
from pes_sim.postal.assessment import UNDECIDED, Assessment, Scan, Verdict
from pes_sim.postal.authenticity import said_by_the_verifier
from pes_sim.postal.calendar import Calendar
from pes_sim.postal.case import Case, Found
from pes_sim.postal.identity import identity
from pes_sim.postal.records import Records

if TYPE_CHECKING:
    from pes_sim.postal.store import ScanStore


class Row(NamedTuple):
    """One check: its name, what it is about, the function that makes it, and why it matters."""

    name: str
    subject: str
    look: Callable[[Case], Found]
    why: str


CHECKS: Final = (
    Row("layout", "layout", said_by_the_verifier("length"),
        "Bytes that are missing or too many change what every field after them means."),
    Row("version", "version", said_by_the_verifier("version"),
        "The first byte says which layout the others follow; without it they are noise."),
    Row("provider", "provider", said_by_the_verifier("provider"),
        "Only an authorised provider's meters print postage; here the specimen provider's, 99, print specimens."),
    Row("certificate", "certificate chain", said_by_the_verifier("certificate"),
        "It ties the key to one PSD, by a signature of the CA; otherwise anybody's key would do."),
    Row("key", "key of a MAC", said_by_the_verifier("key"),
        "A MAC is checked with the key that made it, which only the provider and the post office may have."),
    Row("validity", "validity", said_by_the_verifier("validity"),
        "A key that is used for too long is a key that somebody had time to find."),
    Row("revocation", "revocation", said_by_the_verifier("revocation"),
        "A certificate is called back when its key may be known to others."),
    Row("signature", "signature", said_by_the_verifier("signature"),
        "Only the PSD has the key, and one changed bit breaks the signature: it is what makes ink into evidence."),
    Row("postage", "postage", payment.postage,
        "The class and weight say what the piece costs; a meter with old rates, or a false weight, pays too little."),
    Row("date", "date window", dates.window,
        "A piece bears the day on which it is handed in; an old date may be a piece that was mailed before."),
    Row("duplicate", "duplicate", history.duplicate,
        "A copy has a perfect signature. Only a memory tells it from the original: a PSD counts each piece once."),
    Row("ascending", "register continuity", history.ascending,
        "What was ever printed only grows, piece by piece; one that falls shows a copied or an altered PSD."),
    Row("control_sum", "register continuity", history.control_sum,
        "AR + DR is the sum of all refills: if it exceeds what was granted, postage was printed that nobody paid."),
    Row("regime", "decertified regime", dates.regime,
        "Systems that do not print IMI are decertified; what they print is no postage after a day that was published."),
    Row("meter", "lost, stolen or withdrawn meter", history.status,
        "A stolen meter signs as well as before; only a list says that its postage is nobody's."),
    Row("redate", "redate", payment.redate,
        "A date correction costs nothing, so it must be on a piece that is paid, once."),
    Row("correction", "amount correction", payment.correction,
        "It completes the postage of the piece that it is on; on another it would be counted twice."),
    Row("reprint", "reprint", history.reprint,
        "A spoiled print may be repeated at no charge; unless it was reported, the repeat is a copy."),
)  # fmt: skip
"""Every check, in the order in which it is listed."""

PRECEDENCE: Final = (
    Verdict.TRUNCATED,
    Verdict.UNKNOWN_VERSION,
    Verdict.WRONG_LENGTH,
    Verdict.NOT_POSTAGE,
    Verdict.DECERTIFIED,
    Verdict.NOT_A_SPECIMEN,
    Verdict.UNTRUSTED_CERTIFICATE,
    Verdict.WRONG_CERTIFICATE,
    Verdict.BAD_SIGNATURE,
    Verdict.REVOKED_CERTIFICATE,
    Verdict.EXPIRED_CERTIFICATE,
    Verdict.NO_CERTIFICATE,
    Verdict.NO_KEY,
    Verdict.UNKNOWN_SCHEME,
    Verdict.METER_LOST_OR_STOLEN,
    Verdict.METER_WITHDRAWN,
    Verdict.DUPLICATE,
    Verdict.REGISTERS_DISAGREE,
    Verdict.BAD_DATE,
    Verdict.FUTURE_DATED,
    Verdict.TOO_EARLY,
    Verdict.STALE,
    Verdict.BAD_REDATE,
    Verdict.BAD_CORRECTION,
    Verdict.NO_RATE,
    Verdict.SHORT_PAID,
    Verdict.OVER_PAID,
)
"""Which verdict rules where several checks ask for one: first what it is, then whether it is genuine, then whether it
was used before, then whether it holds today, then whether it is enough. `ACCEPTED` where none asks for any."""


class Office:
    """What one post office believes and was told, the same for all scans.

    `layouts`: those that a payload may be of, in place of the built-in ones. `records`: None where nobody told.
    """

    def __init__(
        self,
        trust: Trust,
        *,
        layouts: Iterable[Layout] | None = None,
        records: Records | None = None,
        rates: RateBook | None = None,
        calendar: Calendar | None = None,
    ) -> None:
        self.trust = trust
        self.layouts = None if layouts is None else list(layouts)
        self.records = records
        self.rates = rates or rate_tables.built_in()
        self.calendar = calendar or calendars.built_in()

    def case(self, scan: Scan) -> Case:
        """The scan with what the verifier says of it, before anything earlier is looked up."""
        report = verify(scan.payload, self.trust, self.layouts, thorough=True)
        try:
            layout = recognise(scan.payload, self.layouts)
        except PayloadError:
            layout = None
        return Case(scan, report, layout, self.rates, self.calendar, self.records)


def assess(case: Case) -> Assessment:
    """Every check, and the verdict. Pure: the same case gives the same assessment."""
    findings = tuple(row.look(case).named(row.name, row.subject) for row in CHECKS)
    asked = {finding.verdict for finding in findings}
    verdict = next((verdict for verdict in PRECEDENCE if verdict in asked), Verdict.ACCEPTED)
    return Assessment(case.scan.scan_id, verdict, findings, case.report.layout, case.report.values)


def accept(scan: Scan, office: Office, store: ScanStore) -> Assessment:
    """Judges a scan by what was scanned before, and remembers it, durably; or gives what was said of it the first time,
    with `judged_before`. When the mailpiece is said of a scan of which nobody knew it, one that was accepted counts for
    it from then on, and one that was refused is judged once more.

    What could not be decided for want of the right certificate or key is not remembered. Raises `RequestIdReused` where
    the scan's id was another payload's, and `StorageFailed`.
    """
    case = office.case(scan)
    with store.turn():
        known = store.find(scan.scan_id)
        if known is not None:
            if identity(known.payload, case.layout) != case.identity:
                raise RequestIdReused(
                    f"scan {scan.scan_id} was of another payload", hint="Each reading of a symbol has an id of its own"
                )
            told = replace(known.assessment, judged_before=known.judged)
            if known.judged.mailpiece or not scan.mailpiece or not case.genuine:
                return told
            store.forget(scan.scan_id)
            if told.accepted:  # judged once more it might be refused, and then its postage would be nobody's
                store.add(replace(case, scan=replace(scan, day=known.judged.day)), known.assessment)
                return told
        full = store.earlier(case)
        assessment = assess(full)
        if assessment.verdict not in UNDECIDED:
            store.add(full, assessment)
    return assessment
