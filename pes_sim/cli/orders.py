"""`pes-sim meter …`: what provider and customer do to a meter now and then. Lock, unlock, recover, settle, withdraw,
cancel, self-test.

`--json` gives the document of `status --json` as it is afterwards, with what the action itself had to say.
"""

from __future__ import annotations

import argparse
import json

from pes_sim.cli.meters import amount, print_state, status_document, wrote_json
from pes_sim.errors import UsageError
from pes_sim.money import dollars
from pes_sim.virtual import PROVIDERS_LOCKS, PrintedSoFar, VirtualMeter, settle


def run_cancel_refill(options: argparse.Namespace) -> int:
    """`pes-sim meter cancel-refill DIR`"""
    with VirtualMeter(options.directory) as meter:
        given_up = meter.status().refill_pending_mills
        reason = meter.cancel_refill()
        document = status_document(meter) | {"amount_mills": given_up, "reason": reason}
        held = _held(meter)
    if not wrote_json(options, document):
        print(f"the refill of {dollars(given_up)} is given up: {reason}; {held}")
    return 0


def run_withdraw(options: argparse.Namespace) -> int:
    """`pes-sim meter withdraw DIR`"""
    with VirtualMeter(options.directory) as meter:
        done = meter.withdraw()
        document = status_document(meter) | {"amount_mills": done.amount_mills, "statement_hex": done.statement.hex()}
        held = _held(meter)
    if not wrote_json(options, document):
        print_state(document, options.directory)
        print(f"  {dollars(done.amount_mills)} paid back; {held}")
        print(f"  {dollars(done.registers.ascending_mills)} used, in {done.registers.piece_count} pieces")
    return 0


def run_lock(options: argparse.Namespace) -> int:
    """`pes-sim meter lock DIR`"""
    reasons = _reasons(options)
    with VirtualMeter(options.directory) as meter:
        meter.lock(*reasons)
        document = status_document(meter)
    if not wrote_json(options, document):
        print_state(document, options.directory)
    return 0


def run_unlock(options: argparse.Namespace) -> int:
    """`pes-sim meter unlock DIR`"""
    reasons = _reasons(options)
    with VirtualMeter(options.directory) as meter:
        before = meter.status().lock_reasons
        meter.unlock(*reasons)
        document = status_document(meter)
    if not wrote_json(options, document):
        cleared = [reason for reason in before if reason not in document["lock_reasons"]]
        print_state(document, options.directory)
        print(f"  cleared: {', '.join(cleared) or 'no lock'}; wrong proofs of identity are forgotten, if any")
    return 0


def run_recover(options: argparse.Namespace) -> int:
    """`pes-sim meter recover DIR`"""
    printed = _printed_so_far(options)
    with VirtualMeter(options.directory) as meter:
        meter.recover(printed)
        document = status_document(meter)
    if not wrote_json(options, document):
        print_state(document, options.directory)
        used, left = dollars(document["ascending_mills"]), dollars(document["descending_mills"])
        print(f"  recovered with {used} used in {document['piece_count']} pieces, {left} available")
        if printed is None:
            print("  by the word of the meter's database. What the PSD's own port printed since the meter last looked,")
            print("  and pieces missing at the database's end, are not in it: --used and --pieces can say them")
    return 0


def run_settle(options: argparse.Namespace) -> int:
    """`pes-sim meter settle DIR`"""
    paid = settle(options.directory, _printed_so_far(options))
    if options.json:
        print(json.dumps({"amount_mills": paid}, indent=2))
    else:
        print(f"settled: {dollars(paid)} paid back. The meter is out of service for good, whatever it sends")
    return 0


def _printed_so_far(options: argparse.Namespace) -> PrintedSoFar | None:
    """What was printed, as the options say; None where they do not."""
    given = options.pieces is not None
    if (options.used is not None) != given or (options.zero_pieces is not None and not given):
        raise UsageError("--used and --pieces belong together", hint="Without both, the meter's database is looked at")
    return PrintedSoFar(amount("--used", options.used), options.pieces, options.zero_pieces or 0) if given else None


def run_self_test(options: argparse.Namespace) -> int:
    """`pes-sim meter self-test DIR`: 1 when a test fails."""
    with VirtualMeter(options.directory, failing_self_tests=options.fail_self_test) as meter:
        ran = meter.self_test()
        document = status_document(meter) | {"self_tests_passed": ran.passed, "self_tests_failed": ran.failed}
    if not wrote_json(options, document):
        print_state(document, options.directory)
        for name in ran.passed:
            print(f"  passed: {name}")
    return 1 if ran.failed else 0


def _held(meter: VirtualMeter) -> str:
    customer = meter.info()["customer"]
    return f"{customer} holds {dollars(meter.centre.balance(customer))} with the provider"


def _reasons(options: argparse.Namespace) -> list[str]:
    wrong = [reason for reason in options.reason if reason not in PROVIDERS_LOCKS]
    if wrong:
        raise UsageError(f"{wrong[0]!r} is no reason of the provider's", hint=f"Allowed: {', '.join(PROVIDERS_LOCKS)}")
    return list(options.reason)
