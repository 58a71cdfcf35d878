"""Does it agree with what was scanned before? Copies, and the registers of its PSD, which only move one way."""

from __future__ import annotations

from pes_sim.money import dollars
from pes_sim.postal.assessment import Verdict
from pes_sim.postal.case import (
    NO_FIELDS,
    Case,
    Found,
    Registers,
    failed,
    lacking,
    not_applicable,
    not_checkable,
    passed,
)
from pes_sim.postal.identity import identity
from pes_sim.postal.records import Meter


def duplicate(case: Case) -> Found:
    """No other mail bears the same payload, the same PSD and piece count, or the same tracking number."""
    if not case.report.values:
        return not_checkable(NO_FIELDS)
    earlier, copy = case.earlier, case.earlier.first_copy
    if earlier.same_count is not None:
        return failed(Verdict.DUPLICATE, f"{earlier.same_count} bore another payload of this PSD with piece count "
                      f"{case.text('piece_count')}")  # fmt: skip
    if earlier.same_tracking is not None:
        return failed(Verdict.DUPLICATE, f"{earlier.same_tracking} bore tracking number {case.tracking_number}")
    if copy is not None and earlier.copies > _reported(case):
        return failed(Verdict.DUPLICATE, f"{copy} bore the very same payload")
    if copy is not None:
        return passed(f"{copy} bore the same payload, and it was reported as reprinted")
    told = ["payload"]
    told += ["PSD and piece count"] if case.piece_count is not None else []
    told += ["tracking number"] if case.tracking_number else []
    again = "; this mailpiece was scanned before" if earlier.again else ""
    return passed(f"no other mail bears the same {', '.join(told)}{again}")


def reprint(case: Case) -> Found:
    """A payload that comes again is a copy, unless the provider's log has a reprint of it for each time."""
    earlier = case.earlier
    if not earlier.copies:
        return not_applicable("the payload was not seen on other mail")
    if case.records is None:
        return not_checkable("nobody said which pieces were reprinted (--records)")
    reported = _reported(case)
    told = f"seen {earlier.copies + 1} times, with {reported} reprints reported"
    return passed(told) if earlier.copies <= reported else failed(Verdict.DUPLICATE, told)


def _reported(case: Case) -> int:
    """How often the provider's log has this payload as a reprint."""
    meter = _meter(case)
    reprints = {} if meter is None else meter.reprints
    return sum(times for payload, times in reprints.items() if identity(payload, case.layout) == case.identity)


def _meter(case: Case) -> Meter | None:
    serial = case.report.values.get("psd_serial")
    return None if serial is None or case.records is None else case.records.find(serial)


def ascending(case: Case) -> Found:
    """The ascending register rises with the piece count, from piece to piece by what the later one cost, at least."""
    if lack := lacking(case, "psd_serial", "piece_count", "ascending_mills", "postage_mills"):
        return lack
    own = case.registers
    if own is None:
        return not_checkable("its registers are no numbers that a meter has")
    if own.ascending < own.postage:
        complaint = f"the ascending register {dollars(own.ascending)} is below its own postage {dollars(own.postage)}"
        return failed(Verdict.REGISTERS_DISAGREE, complaint)
    steps = _steps(case, own)
    for older, newer in steps:
        if complaint := _rise(older, newer):
            return failed(Verdict.REGISTERS_DISAGREE, complaint)
    return _agrees(steps, own)


def _rise(older: Registers, newer: Registers) -> str:
    """What is wrong with the ascending registers of two pieces; empty for nothing."""
    rise = newer.ascending - older.ascending
    told = f"from piece {older.piece_count} to {newer.piece_count} the ascending register"
    if rise < 0:
        return f"{told} fell by {dollars(-rise)}"
    if rise < newer.postage:
        return f"{told} rose by {dollars(rise)}, less than the {dollars(newer.postage)} of the later piece"
    if newer.piece_count == older.piece_count + 1 and rise != newer.postage:
        return f"{told} rose by {dollars(rise)}, and the piece cost {dollars(newer.postage)}"
    return ""


def control_sum(case: Case) -> Found:
    """AR + DR changes by refills only: it never falls, and never exceeds what was granted."""
    if lack := lacking(case, "psd_serial", "piece_count", "ascending_mills", "descending_mills", "postage_mills"):
        return lack
    own = case.registers
    total = None if own is None else _sum(own)
    if own is None or total is None:
        return not_checkable("its registers are no numbers that a meter has")
    meter = _meter(case)
    if meter is not None and meter.granted_mills is not None and total > meter.granted_mills:
        complaint = f"AR + DR is {dollars(total)}, and only {dollars(meter.granted_mills)} was ever granted"
        return failed(Verdict.REGISTERS_DISAGREE, complaint)
    steps = [(older, newer) for older, newer in _steps(case, own) if None not in (older.descending, newer.descending)]
    refilled = 0
    for older, newer in steps:
        rise = (_sum(newer) or 0) - (_sum(older) or 0)
        if rise < 0:
            return failed(Verdict.REGISTERS_DISAGREE, f"from piece {older.piece_count} to {newer.piece_count} AR + DR "
                          f"fell by {dollars(-rise)}, which no refill does")  # fmt: skip
        refilled += rise
    if refilled:
        return passed(f"AR + DR rose by {dollars(refilled)}: refills")
    return _agrees(steps, own)


def _sum(registers: Registers) -> int | None:
    return None if registers.descending is None else registers.ascending + registers.descending


def _steps(case: Case, own: Registers) -> list[tuple[Registers, Registers]]:
    """The piece with its neighbours among those scanned: mail does not come in the order in which it was printed."""
    before, after = case.earlier.before, case.earlier.after
    return ([(before, own)] if before else []) + ([(own, after)] if after else [])


def _agrees(steps: list[tuple[Registers, Registers]], own: Registers) -> Found:
    if not steps:
        return not_applicable("no other piece of this PSD was scanned before")
    others = [newer if older is own else older for older, newer in steps]
    return passed(f"it agrees with piece {' and piece '.join(str(other.piece_count) for other in others)}")


def status(case: Case) -> Found:
    """The meter is neither lost nor stolen nor withdrawn on the date that it printed."""
    if lack := lacking(case, "psd_serial"):
        return lack
    if case.records is None:
        return not_checkable("no list of meters was given (--records)")
    meter = _meter(case)
    verdict = None if meter is None else _OUT_OF_SERVICE.get(meter.status)
    if meter is None or verdict is None:
        return passed(f"PSD {case.text('psd_serial')} is not among those out of service")
    since = "" if meter.since is None else f" since {meter.since}"
    told = f"PSD {meter.psd_serial} is {meter.status}{since}"
    if meter.since is not None and (day := case.mailing_date or case.scan.day) < meter.since:
        return passed(f"{told}; it printed on {day}")
    return failed(verdict, told)


_OUT_OF_SERVICE = {
    "lost": Verdict.METER_LOST_OR_STOLEN,
    "stolen": Verdict.METER_LOST_OR_STOLEN,
    "withdrawn": Verdict.METER_WITHDRAWN,
}
