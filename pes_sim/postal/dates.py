"""Does it hold today? The printed date beside the day of the scan, the construct beside the compliance calendar."""

from __future__ import annotations

from pes_sim.postal.assessment import Verdict
from pes_sim.postal.case import NO_FIELDS, Case, Found, failed, lacking, not_checkable, passed


def window(case: Case) -> Found:
    """The date of mailing: not too long ago, not too early, and none that no meter prints."""
    if lack := lacking(case, "mailing_date"):
        return lack
    day, allowed = case.mailing_date, case.calendar.window
    if day is None:
        return failed(Verdict.BAD_DATE, f"{case.text('mailing_date')} is no date")
    ahead = (day - case.scan.day).days
    told = f"dated {day}, scanned on {case.scan.day}"
    if ahead > allowed.ahead_days:
        return failed(Verdict.FUTURE_DATED, f"{told}: no meter prints more than {allowed.ahead_days} days ahead")
    if ahead > allowed.early_days:
        return failed(Verdict.TOO_EARLY, f"{told}: {ahead} days early, {allowed.early_days} allowed")
    of_all = case.earlier.paid.dated(case.scan.day, allowed.early_days)
    if of_all is not None and of_all < day and case.number("postage_mills"):
        # Or a mill of postage would make a stale mailpiece fresh, as often as anybody likes.
        ahead = (of_all - case.scan.day).days
        told = f"{told}, on a mailpiece of {of_all}, which only a date correction moves"
    if -ahead > allowed.late_days:
        hint = "" if case.earlier.paid.redates else "; it can be redated"
        return failed(Verdict.STALE, f"{told}: {-ahead} days late, {allowed.late_days} allowed{hint}")
    return passed(told)


def regime(case: Case) -> Found:
    """Whether what such a system prints is still postage on the day of the scan (A13, A14, A15)."""
    if case.layout is None:
        return not_checkable(NO_FIELDS)
    construct, today, found = case.layout.construct, case.scan.day, case.regime
    if found is None:
        return not_checkable(f"the compliance calendar has no construct {construct}")
    if not found.postage:
        return failed(Verdict.NOT_POSTAGE, f"{construct} is no postage: {found.source}")
    if found.last_valid is not None and today > found.last_valid:
        return failed(
            Verdict.DECERTIFIED, f"{found.name} indicia hold no longer after {found.last_valid}: {found.source}"
        )
    day = case.mailing_date
    if found.withdrawn_by is not None and day is not None and day > found.withdrawn_by:
        return failed(Verdict.DECERTIFIED, f"dated {day}, and {found.name} systems had to be out of service by "
                      f"{found.withdrawn_by}")  # fmt: skip
    if found.decertified is not None and today >= found.decertified:
        return passed(
            f"{found.name} is decertified since {found.decertified}; its indicia hold until {found.last_valid}"
        )
    return passed(f"{found.name} holds on {today}")
