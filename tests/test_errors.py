"""Errors: one number a status for ever, and a refusal that comes over the wire as the error that it was."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from pes_sim import errors
from pes_sim.errors import (
    AnswerTooLong,
    DirectoryInUse,
    FieldError,
    HostileDirectory,
    InsufficientFunds,
    IntegrityError,
    KeysGone,
    KeyStoreFailed,
    LayoutError,
    LinkError,
    LockedCheckinOverdue,
    MoneyError,
    PayloadError,
    PesError,
    ProtocolError,
    Status,
    StorageFailed,
    StorageFull,
    SymbolError,
    UsageError,
    from_wire,
)
from pes_sim.psd.registers import Registers
from pes_sim.statuses import FACTS

NUMBERS = {
    "OK": 0x00,
    "BAD_FRAME": 0x10,
    "BAD_BODY": 0x11,
    "UNKNOWN_SERVICE": 0x12,
    "BAD_FIELD": 0x13,
    "UNSUPPORTED_VERSION": 0x14,
    "FRAME_TOO_LARGE": 0x15,
    "ANSWER_TOO_LONG": 0x16,
    "REFUSED_IN_STATE": 0x20,
    "REQUEST_ID_REUSED": 0x21,
    "INSUFFICIENT_FUNDS": 0x22,
    "BAD_DATE": 0x23,
    "BAD_POSTAGE": 0x24,
    "UNKNOWN_DEPARTMENT": 0x25,
    "NO_RATE": 0x26,
    "REGISTER_LIMIT": 0x27,
    "REFILL_PENDING": 0x28,
    "NOTHING_PENDING": 0x29,
    "ID_BEYOND_REACH": 0x2A,
    "LOG_FULL": 0x2B,
    "NOT_AUTHENTICATED": 0x2C,
    "AUTHENTICATION_FAILED": 0x2D,
    "AUTHENTICATION_WAITS": 0x2E,
    "BAD_TIME": 0x2F,
    "LOCKED_CHECKIN_OVERDUE": 0x31,
    "LOCKED_INSPECTION_DUE": 0x32,
    "LOCKED_BY_PROVIDER": 0x33,
    "LOCKED_REGISTER_FAULT": 0x34,
    "LOCKED_ROLLBACK_FOUND": 0x35,
    "LOCKED_DATE_FAULT": 0x36,
    "BAD_SIGNATURE": 0x40,
    "BAD_MESSAGE": 0x41,
    "NOT_FOR_THIS_DEVICE": 0x42,
    "STALE_MESSAGE": 0x43,
    "BAD_CERTIFICATE": 0x44,
    "REFUSED_BY_PROVIDER": 0x45,
    "OLD_SOFTWARE": 0x47,
    "STORAGE_FAILED": 0x50,
    "STORAGE_FULL": 0x51,
    "INTEGRITY": 0x52,
    "NO_CONNECTION": 0x53,
    "SELF_TEST_FAILED": 0x54,
    "INTERNAL": 0x5F,
}
"""The wire's numbers. A new one is added here; an old one is neither changed nor used again."""
RETIRED = {"REGISTERS_DISAGREE": 0x46}
"""Numbers that once meant something, and are not used again."""

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PesError)]

COMES_BACK_AS = {
    # A host makes these of its own files and options; they share the status of a field out of range.
    LayoutError: FieldError,
    UsageError: FieldError,
    # And these while it reads or draws symbols; no status of theirs is a device's.
    PayloadError: PesError,
    SymbolError: PesError,
    # Here the host's bytes were bad, not the device's: to the host it is not "they sent bytes that I cannot read".
    ProtocolError: PesError,
    # Which process holds a directory is no status of its own.
    DirectoryInUse: StorageFailed,
    # To the host a token that does not answer is storage that does not, and keys that are gone stop the device.
    KeyStoreFailed: StorageFailed,
    KeysGone: IntegrityError,
    HostileDirectory: StorageFailed,
}
"""The errors that do not come back over the wire as themselves, and why. All others do."""


def made(kind: type[PesError]) -> PesError:
    """An error of this class with every part filled in."""
    if issubclass(kind, ProtocolError):
        return kind("bytes that nobody expected", 3, 17)
    return kind("it does not go", hint="Do something else", missing_mills=5, field="weight", clears=["a", "b"])


def test_every_status_keeps_the_number_that_it_has_always_had() -> None:
    assert {status.name: status.value for status in Status} == NUMBERS
    assert not set(RETIRED.values()) & set(NUMBERS.values())


def test_every_status_has_a_number_of_its_own_that_fits_one_byte() -> None:
    assert len(Status.__members__) == len(set(Status)), "an alias is a number used twice"
    assert all(0 <= status <= 0xFF for status in Status)


@pytest.mark.parametrize(
    ("status", "text"), [(Status.OK, "0x00 OK"), (Status.LOCKED_CHECKIN_OVERDUE, "0x31 LOCKED_CHECKIN_OVERDUE")]
)
def test_a_status_is_shown_as_its_number_in_hex_and_its_name(status: Status, text: str) -> None:
    assert str(status) == text
    assert f"{status}" == text


def test_every_failure_has_a_class_or_is_the_protocols_own() -> None:
    without = {status for status in Status if type(from_wire(status, "", "", {})) is PesError}
    assert without == {
        Status.OK,
        Status.BAD_FRAME,
        Status.BAD_BODY,
        Status.UNSUPPORTED_VERSION,
        Status.FRAME_TOO_LARGE,
        Status.INTERNAL,
    }


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_over_the_wire_with_all_its_parts(kind: type[PesError]) -> None:
    raised = made(kind)
    back = from_wire(raised.status, raised.message, raised.hint, raised.detail)
    assert type(back) is COMES_BACK_AS.get(kind, kind)
    assert back.status is raised.status
    assert (back.message, back.hint, back.detail) == (raised.message, raised.hint, raised.detail)
    assert str(back) == str(raised)


@pytest.mark.parametrize("kind", sorted(COMES_BACK_AS, key=str), ids=lambda kind: kind.__name__)
def test_the_exceptions_to_that_are_no_wider_than_they_must_be(kind: type[PesError]) -> None:
    assert kind in ERRORS
    assert COMES_BACK_AS[kind] is not kind


def test_each_error_has_a_status_and_says_what_it_is() -> None:
    for kind in ERRORS:
        assert isinstance(kind.status, Status)
        assert kind.__doc__


@pytest.mark.parametrize("number", [0x01, 0x17, 0x7F, 0xFF])
def test_a_status_of_a_later_version_can_still_be_read(number: int) -> None:
    back = from_wire(number, "the tray is empty", "Put paper in", {"trays": 2, "which": ["left", "right"]})
    assert type(back) is PesError
    assert back.message == f"the tray is empty (status 0x{number:02X}, which this version does not know)"
    assert str(back) == f"{back.message}. Put paper in"
    assert back.hint == "Put paper in"
    assert back.detail == {"trays": 2, "which": ["left", "right"]}
    assert back.status is Status.INTERNAL


@pytest.mark.parametrize("name", ["message", "hint", "detail", "status", "self", "cls", "args", ""])
def test_a_detail_of_any_name_comes_back(name: str) -> None:
    back = from_wire(Status.INSUFFICIENT_FUNDS, "too little", "Refill", {name: 7})
    assert type(back) is InsufficientFunds
    assert (back.message, back.hint, back.detail) == ("too little", "Refill", {name: 7})


def test_the_detail_that_comes_back_is_a_copy() -> None:
    sent: errors.Detail = {"missing_mills": 5}
    back = from_wire(Status.INSUFFICIENT_FUNDS, "too little", "", sent)
    sent["missing_mills"] = 6
    assert back.detail == {"missing_mills": 5}


def test_an_error_says_what_to_do_after_what_was_wrong() -> None:
    assert str(PesError("the tray is empty")) == "the tray is empty"
    error = PesError("the tray is empty", hint="Put paper in")
    assert str(error) == "the tray is empty. Put paper in"
    assert repr(error) == "PesError('the tray is empty')"


def test_an_error_tells_a_machine_what_it_tells_people() -> None:
    error = LockedCheckinOverdue("locked", hint="Check in", hours_overdue=3, clears=["check-in"])
    assert error.detail == {"hours_overdue": 3, "clears": ["check-in"]}


def test_a_protocol_error_names_the_offending_bytes_to_people_and_machines() -> None:
    error = ProtocolError("not COBS", 7, 12)
    assert error.message == "not COBS (bytes 7 to 12)"
    assert error.detail == {"start": 7, "end": 12}
    assert error.status is Status.BAD_FRAME
    assert ProtocolError("not a map", 0, 1, Status.BAD_BODY).status is Status.BAD_BODY
    assert ProtocolError.status is Status.BAD_FRAME, "the status of one error is not that of all"


@pytest.mark.parametrize(
    "kind", [MoneyError, AnswerTooLong, FieldError, LayoutError, PayloadError, SymbolError, UsageError]
)
def test_a_bad_value_is_a_value_error_too(kind: type[PesError]) -> None:
    assert issubclass(kind, ValueError)


@pytest.mark.parametrize("kind", [StorageFull, DirectoryInUse, HostileDirectory])
def test_whoever_catches_a_storage_that_failed_catches_its_kinds(kind: type[PesError]) -> None:
    assert issubclass(kind, StorageFailed)


def test_a_device_without_its_data_centre_is_no_internal_error() -> None:
    assert type(from_wire(LinkError.status, "no connection", "", {})) is LinkError
    assert LinkError.status is not Status.INTERNAL


# What a machine is told


def told() -> Iterator[tuple[str, str, str]]:
    """Every fact that the package's own code puts into an error: where, of which class, and its name."""
    known = {kind.__name__: kind.__name__ for kind in ERRORS}
    for path in sorted(Path(errors.__file__).parent.rglob("*.py")):
        names = known | ({"kind": "Locked"} if path.name == "locks.py" else {})  # as it calls the one of two it chose
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                facts = [word.arg for word in node.keywords if word.arg not in (None, "hint")]
                yield from ((f"{path}:{node.lineno}", names[node.func.id], str(fact)) for fact in facts)
            elif isinstance(node, ast.Assign) and (key := ast.unparse(node.targets[0])).startswith("refusal.detail["):
                yield f"{path}:{node.lineno}", "", ast.literal_eval(key.removeprefix("refusal.detail[")[:-1])


def test_every_fact_in_a_detail_is_named_by_its_class_and_explained() -> None:
    found = list(told())
    assert len(found) > 60
    for where, name, fact in found:
        assert fact in FACTS, where
        assert not name or fact in getattr(errors, name).facts, where


def test_no_class_names_a_fact_that_nobody_tells() -> None:
    told_by: dict[str, set[str]] = {}
    for _, name, fact in told():
        told_by.setdefault(name, set()).add(fact)
    told_by["BadMessage"] = set(Registers().values())  # a recovery's refusal tells them all
    told_by["ProtocolError"] = set(ProtocolError("", 0, 0).detail)
    for kind in ERRORS:
        assert set(vars(kind).get("facts", ())) == told_by.get(kind.__name__, set()), kind
    assert set(FACTS) == {fact for kind in ERRORS for fact in kind.facts} | told_by[""]
