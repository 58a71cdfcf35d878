"""Was enough paid? The rate on the date of mailing, and what a redate or an amount correction adds to a mailpiece."""

from __future__ import annotations

from typing import Final

from pes_sim.errors import NoRate
from pes_sim.meter.rates import ounces
from pes_sim.money import dollars
from pes_sim.postal.assessment import Verdict
from pes_sim.postal.case import NO_AMOUNT, Case, Found, failed, lacking, not_applicable, not_checkable, passed

_BEFORE: Final = "what was scanned before says that the mailpiece"


def postage(case: Case) -> Found:
    """What the mailpiece bears, all its indicia together, beside what the dearest of them says that it costs."""
    before, own, costs = case.earlier.paid, case.number("postage_mills") or 0, _costs(case)
    paid = own + before.mills
    if isinstance(costs, Found):
        # Of this indicium nobody can say; what those before it say of the mailpiece holds all the same.
        if costs.verdict is Verdict.ACCEPTED and paid < before.due:
            return _not_enough(costs.note, paid, before.due)
        return costs
    due = max(costs, before.due)
    told = (
        f"{case.text('mail_class')} of {ounces(case.number('weight') or 0)} oz on {case.mailing_date} "
        f"costs {dollars(costs)}, paid {dollars(paid)}"
    )
    together = f", with {dollars(before.mills)} on the mailpiece before" if before.mills else ""
    if paid < due > costs:
        return _not_enough(f"{told}{together}", paid, due)
    if due > costs:  # or a piece could be made cheaper by a correction that says that it is lighter
        together += f"; {_BEFORE} costs {dollars(due)}"
    if paid < due:
        if own == 0 and not case.scan.mailpiece:
            together = "; a date correction pays nothing: scan what it corrects first, both with one --mailpiece"
        return failed(Verdict.SHORT_PAID, f"{told}{together}: {dollars(due - paid)} short")
    services = case.text("extra_services")
    if services:
        return passed(f"{told}{together}; no table here has the fees of {services}")
    if paid > due:
        return failed(Verdict.OVER_PAID, f"{told}{together}: {dollars(paid - due)} too much")
    return passed(f"{told}{together}")


def _not_enough(told: str, paid: int, due: int) -> Found:
    """What was scanned before costs more than all of it together paid."""
    if due == NO_AMOUNT:
        return failed(Verdict.NO_RATE, f"{told}; {_BEFORE} has no rate")
    return failed(Verdict.SHORT_PAID, f"{told}; {_BEFORE} costs {dollars(due)}: {dollars(due - paid)} short")


def due(case: Case) -> int | None:
    """What the class and weight of this indicium cost on its date, in mills; None where nobody can say."""
    costs = _costs(case)
    if isinstance(costs, Found):
        return NO_AMOUNT if costs.verdict is Verdict.NO_RATE else None
    return costs


def _costs(case: Case) -> int | Found:
    """The postage in mills, or why there is none."""
    if lack := lacking(case, "postage_mills", "mail_class", "weight", "mailing_date"):
        return lack
    name, weight, day = case.text("mail_class"), case.number("weight"), case.mailing_date
    if case.number("postage_mills") is None or weight is None or day is None:
        return not_checkable("postage, weight or date are nothing that a meter prints")
    try:
        table = case.rates.on(day)
    except NoRate as problem:
        return not_checkable(str(problem))
    if name not in table.categories:
        if name.startswith("#"):
            return failed(Verdict.NO_RATE, f"mail class {name} is none of the layout's")
        return not_checkable(f"rate table {table.version} has no class {name}")
    try:
        return table.postage(name, weight)
    except NoRate as problem:
        return failed(Verdict.NO_RATE, str(problem))


def redate(case: Case) -> Found:
    """An indicium of $0.00 corrects the date of a piece that is paid: one for a piece, and never back."""
    if lack := lacking(case, "postage_mills"):
        return lack
    if case.number("postage_mills") != 0:
        return not_applicable("it bears postage, and is no date correction")
    if not case.scan.mailpiece:
        # Whatever its rate is, or whether there is one: nothing was paid that is known of.
        return not_checkable("which mailpiece it was scanned on was not said", Verdict.SHORT_PAID)
    paid, day = case.earlier.paid, case.mailing_date
    if paid.redates:
        return failed(Verdict.BAD_REDATE, "the mailpiece bears a date correction already; one is allowed")
    if not paid.pieces:
        return failed(
            Verdict.BAD_REDATE, "no postage was scanned on this mailpiece before, so there is no date to correct"
        )
    if day is not None and paid.latest is not None and day < paid.latest:
        return failed(Verdict.BAD_REDATE, f"it corrects {paid.latest} to {day}, which is earlier")
    return passed(f"it is the mailpiece's first date correction, to {case.text('mailing_date')}")


def correction(case: Case) -> Found:
    """More postage on a piece that bears some: an amount correction, made no earlier than what it corrects."""
    if lack := lacking(case, "postage_mills"):
        return lack
    own, paid, day = case.number("postage_mills"), case.earlier.paid, case.mailing_date
    if not own:
        return not_applicable("it bears no postage, and is no amount correction")
    if not paid.pieces:
        return not_applicable("no other postage was scanned on this mailpiece before it")
    if case.earlier.again:
        return not_applicable("it counts for this mailpiece already")
    if day is not None and paid.latest is not None and day < paid.latest:
        return failed(Verdict.BAD_CORRECTION, f"it is dated {day}, before the postage of {paid.latest} that it adds to")
    return passed(f"it adds {dollars(own)} to the {dollars(paid.mills)} that the mailpiece bears")
