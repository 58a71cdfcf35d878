"""`pes-sim meter …`: make a meter, look at it, refill it, check it in, move its clock."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pes_sim.clock import SystemClock, iso, parse_duration, parse_iso
from pes_sim.errors import IntegrityError, MoneyError, StorageFailed, UsageError
from pes_sim.meter.job import read_rows
from pes_sim.meter.meter import MeterStatus
from pes_sim.money import dollars, parse
from pes_sim.psd import messages
from pes_sim.psd.lifecycle import Lock
from pes_sim.psd.locks import LOCKS
from pes_sim.psd.owned import quoted
from pes_sim.psd.policy import Regime
from pes_sim.psd.profile import Profile
from pes_sim.psd.registers import REGISTERS
from pes_sim.psd.services import BY_NAME as PSD_SERVICES
from pes_sim.virtual import DEFAULT_DEPARTMENTS, VirtualMeter, create

_STATEMENTS: Final = tuple(kind.name for kind in messages.KINDS if kind.signer == "psd")


def run_new(options: argparse.Namespace) -> int:
    """`pes-sim meter new DIR`"""
    if options.start and options.clock != "virtual":
        raise UsageError("--start is for a virtual clock", hint="Add --clock virtual")
    refill = amount("--refill", options.refill) if options.refill else 0
    start = None
    if options.clock == "virtual":
        start = parse_iso(options.start) if options.start else SystemClock().now()
    create(
        options.directory,
        licensing_zip=options.zip,
        customer=options.customer,
        psd_serial=options.serial,
        departments=read_departments(options.departments) if options.departments else DEFAULT_DEPARTMENTS,
        start=start,
        utc_offset_minutes=utc_offset(options.utc_offset),
        seed=options.seed,
        deposit_mills=amount("--deposit", options.deposit),
        layout=options.layout,
        profile=Profile.LEGACY if options.profile == "legacy" else Profile(f"FIPS {options.profile}"),
        regime=Regime(options.regime),
    )
    with VirtualMeter(options.directory) as meter:
        info = meter.info()
        print(f"Meter {info['psd_serial']} in {options.directory}, licensed for ZIP {info['licensing_zip']}")
        print(f"  {info['notice']}")
        if refill:
            print(f"  available {dollars(meter.refill(refill).descending_mills)}")
        else:
            print(f"  available $0.00 (pes-sim meter refill {quoted(options.directory)} 100.00 adds some)")
    return 0


def run_status(options: argparse.Namespace) -> int:
    """`pes-sim meter status DIR`"""
    with VirtualMeter(options.directory, failing_self_tests=options.fail_self_test) as meter:
        document = status_document(meter)
    if wrote_json(options, document):
        return 0
    print_state(document, options.directory)
    for warning in document["warnings"]:
        print(f"  warning: {warning}")
    hours = document["hours_to_lockout"]
    print(f"  check-in   {f'within {hours} h, or it locks' if hours >= 0 else f'overdue by {-hours} h'}")
    print(f"  clock      {document['device_time']} ({document['clock']}), its date is {document['today']}")
    if document["ascending_mills"] is None:
        _print_unreadable(document, options.directory)
    else:
        print(f"  used       {dollars(document['ascending_mills'])}")
        print(f"  available  {dollars(document['descending_mills'])}")
        print(f"  control    {dollars(document['control_sum_mills'])}")
        print(f"  pieces     {document['piece_count']}")
        print(f"  reprints   {document['reprint_count']}")
    for code, total in document["departments"].items():
        print(f"  department {code} {total['name']}: {total['piece_count']} pieces, {dollars(total['postage_mills'])}")
    print(f"  {document['notice']}")
    return 0


def wrote_json(options: argparse.Namespace, document: Mapping[str, Any]) -> bool:
    """Prints the document where `--json` asks for it."""
    if options.json:
        print(json.dumps(document, indent=2))
    return bool(options.json)


def _print_unreadable(document: Mapping[str, Any], directory: Path) -> None:
    """What a meter whose PSD cannot read its registers has said of them, and what brings it back."""
    last, said = document["last_report"], "is lost as well"
    if last:
        said = (
            f"says {dollars(last['ascending_mills'])} used, {dollars(last['descending_mills'])} available, "
            f"{last['piece_count']} pieces (get_statement gives it)"
        )
    print(f"  registers  cannot be read; the last signed report {said}")
    which = quoted(directory)
    remedy = f"the provider's order brings it back, locked at first: pes-sim meter recover {which}"
    lost = f"nothing is left that says which PSD this is; the provider can settle it: pes-sim meter settle {which}"
    print(f"  recovery   {remedy if document['psd_serial'] else lost}")


def print_state(document: Mapping[str, Any], directory: Path) -> None:
    """A line on the state of a `status_document`, and one on everything that stands in the way."""
    under_way = f", {document['sub_state']}" if document["sub_state"] else ""
    print(f"Meter {document['psd_serial']}: {document['state']}{under_way}")
    for reason in document["lock_reasons"]:
        print(f"  because: {reason}.{_what_clears(reason, directory)}")
    for name in document["self_tests_failed"]:
        print(f"  failed self-test: {name}")


def status_document(meter: VirtualMeter) -> dict[str, Any]:
    """Everything that `status --json` prints."""
    info, status = meter.info(), meter.status()
    departments, wrong = _departments(meter)
    return {
        "psd_serial": info["psd_serial"],
        "model_id": info["model_id"],
        "provider_id": info["provider_id"],
        "layout": info["layout"],
        "notice": info["notice"],
        "licensing_zip": info["licensing_zip"],
        "customer": info["customer"],
        "profile": info["profile"],
        "regime": info["regime"],
        "state": status.state,
        "sub_state": status.sub_state,
        "lock_reasons": status.lock_reasons,
        "cleared_by": status.cleared_by,
        "warnings": status.warnings + _without_key(meter, status) + wrong,
        "hours_to_lockout": status.hours_to_lockout,
        "device_time": iso(status.device_time),
        "clock": meter.home.config.clock,
        "today": status.today,
        **_registers(meter),
        "reprint_count": status.reprint_count,
        "refill_pending_mills": status.refill_pending_mills,
        "self_tests_failed": status.self_tests_failed,
        "repaired": status.repaired,
        "departments": departments,
    }


def _departments(meter: VirtualMeter) -> tuple[dict[str, Any], list[str]]:
    """The departments, and what is wrong with the meter's database, or between it and the PSD; that keeps nobody from
    reading the registers.
    """
    try:
        found = meter.departments()
    except StorageFailed as problem:
        return {}, [f"the departments cannot be read: {problem.message}. {problem.hint}"]
    rows = {d.code: {"name": d.name, "piece_count": d.pieces, "postage_mills": d.postage_mills} for d in found}
    remedy = f": pes-sim meter recover {quoted(meter.home.directory)}" if meter.lost else ""
    return rows, [meter.complaint + remedy] if meter.complaint else []


def _registers(meter: VirtualMeter) -> dict[str, Any]:
    """The registers; where the PSD cannot read them, what its last signed report says of them beside."""
    try:
        return asdict(meter.registers())
    except IntegrityError:
        statement = meter.statement()
    said = messages.peek(statement, *_STATEMENTS)[1] if statement else {}
    last = {name: said[name] for name in REGISTERS if name in said}
    return dict.fromkeys(REGISTERS, None) | {"last_report": last or None}


def _what_clears(reason: str, directory: Path) -> str:
    """A sentence on it, for a reason that is a lock; a device that has stopped gives the fault for a reason."""
    if reason not in list(Lock):
        return ""
    said = {
        "checkin_complete": f" A check-in clears it: pes-sim meter checkin {quoted(directory)}",
        "set_time": " The provider clears it, who sets the time",
        "unlock": f" The provider clears it, by its order to unlock: pes-sim meter unlock {quoted(directory)}",
    }
    return said[LOCKS[Lock(reason)].cleared_by]


def _without_key(meter: VirtualMeter, status: MeterStatus) -> list[str]:
    if meter.home.secret() or status.state not in PSD_SERVICES["authenticate"].states:
        return []
    return ["the PSD does not know this meter: is meter.key the one that was made with it?"]


def run_refill(options: argparse.Namespace) -> int:
    """`pes-sim meter refill DIR DOLLARS`"""
    wanted = amount("the amount", options.amount)
    with VirtualMeter(options.directory, failing_self_tests=options.fail_self_test) as meter:
        registers = meter.refill(wanted)
        document = status_document(meter)
    if not wrote_json(options, document):
        print(f"{dollars(wanted)} added, {dollars(registers.descending_mills)} available")
    return 0


def run_deposit(options: argparse.Namespace) -> int:
    """`pes-sim meter deposit DIR DOLLARS`"""
    paid = amount("the amount", options.amount)
    with VirtualMeter(options.directory) as meter:
        customer = meter.info()["customer"]
        meter.centre.deposit(customer, paid)
        balance = meter.centre.balance(customer)
        document = status_document(meter) | {"balance_mills": balance}
    if not wrote_json(options, document):
        print(f"{dollars(paid)} deposited with the provider; {customer} holds {dollars(balance)} there")
    return 0


def run_checkin(options: argparse.Namespace) -> int:
    """`pes-sim meter checkin DIR`"""
    with VirtualMeter(options.directory, failing_self_tests=options.fail_self_test) as meter:
        status = meter.check_in()
        document = status_document(meter)
    if not wrote_json(options, document):
        print(f"checked in: {status.state}, {status.hours_to_lockout} h to the next one")
    return 0


def run_advance(options: argparse.Namespace) -> int:
    """`pes-sim meter advance DIR TIME`"""
    step = parse_duration(options.duration)
    with VirtualMeter(options.directory) as meter:
        meter.advance(step)
        document = status_document(meter)
    if not wrote_json(options, document):
        print(f"the clock stands at {document['device_time']}; the meter is {document['state']}")
    return 0


def run_specimens(options: argparse.Namespace) -> int:
    """`pes-sim meter specimens DIR`"""
    with VirtualMeter(options.directory) as meter:
        days, registers = meter.home.store.printed_by_day(), _registers(meter)
    print("Specimens printed by day. 39 CFR 501.9(b): all of them are to be collected and destroyed daily.")
    for day, pieces, mills in days:
        print(f"  {day}  {pieces} pieces  {dollars(mills)} face value")
    if registers["piece_count"] is None:
        print("  The PSD's registers cannot be read: whether that is all of them is not known")
        return 0
    pieces = registers["piece_count"] - sum(day[1] for day in days)
    if pieces > 0:  # a database that was lost, or has no room
        mills = registers["ascending_mills"] - sum(day[2] for day in days)
        print(f"  and {pieces} pieces  {dollars(mills)} face value, of days that the meter's database does not have")
    return 0


def amount(what: str, text: str) -> int:
    """Mills from an option in dollars. Raises `UsageError`."""
    try:
        return parse(text)
    except MoneyError as problem:
        raise UsageError(f"{what}: {problem.message}", hint=problem.hint) from None


def utc_offset(text: str) -> int:
    """Minutes from "+05:30". Raises `UsageError`."""
    found = re.fullmatch(r"([+-])(\d\d):([0-5]\d)", text)
    minutes = (int(found[2]) * 60 + int(found[3])) * (-1 if found[1] == "-" else 1) if found else 9999
    if abs(minutes) > 14 * 60:
        hint = "Allowed: -14:00 to +14:00, such as --utc-offset=-05:00"
        raise UsageError(f"{text!r} is not an offset from UTC", hint=hint)
    return minutes


def read_departments(path: Path) -> dict[str, str]:
    """Codes and names from a CSV file with the columns code and name. Raises `UsageError`."""
    rows = read_rows(path)
    first, header = next(rows, (1, []))
    columns = [cell.strip().lower() for cell in header]
    if sorted(columns) != ["code", "name"]:
        hint = "Its first line is code,name"
        raise UsageError(f"{path}, line {first}: the columns must be code and name", hint=hint)
    found: dict[str, str] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        if len(row) != 2:
            hint = "Allowed: code and name, in quotation marks where there is a comma in it"
            raise UsageError(f"{where}: {len(row)} columns found", hint=hint)
        cells = dict(zip(columns, row, strict=True))
        code, name = cells["code"].strip(), cells["name"].strip()
        if not (code.isascii() and code.isalnum() and len(code) <= 16):
            raise UsageError(f"{where}: {code[:40]!r} is not a code", hint="Allowed: 1 to 16 letters and digits")
        if not (0 < len(name) <= 64 and name.isprintable()):
            raise UsageError(f"{where}: department {code} has no good name", hint="Allowed: 1 to 64 characters")
        if code in found:
            raise UsageError(f"{where}: department {code} stands twice", hint="Remove one of them")
        found[code] = name
    if not found:
        raise UsageError(f"{path} names no department", hint="A row each, below the first line")
    return found
