"""Every field of every request, reply and signed message: one number, one name, one meaning, everywhere.

On the wire a body is a CBOR map from the field's number to its value, so a field's number is never reused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from pes_sim.clock import LATEST
from pes_sim.errors import FieldError
from pes_sim.psd import cbor

Values = dict[str, Any]
"""Values by field name: int, str, bytes, or a list of those. `check` sees to it that each is what its field says."""


class Form(StrEnum):
    """What a field's value is in CBOR. `limit` is the largest number, or the greatest length."""

    UINT = "uint"
    INT = "int"
    BYTES = "bytes"
    TEXT = "text"
    TEXTS = "list of text"
    BLOBS = "list of bytes"


_KINDS: Final[Mapping[Form, type]] = {
    Form.UINT: int, Form.INT: int, Form.BYTES: bytes, Form.TEXT: str, Form.TEXTS: list, Form.BLOBS: list,
}  # fmt: skip
_ITEMS: Final[Mapping[Form, type]] = {Form.TEXTS: str, Form.BLOBS: bytes}


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its number in CBOR, its name, what it holds, how much of it, and what it means.

    A `secret` one is shown to nobody: not in a trace, not in a log.
    """

    number: int
    name: str
    form: Form
    limit: int
    meaning: str
    secret: bool = False
    kind: type[Any] = field(init=False, repr=False)
    least: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Worked out once: `check` stands in the way of every debit.
        object.__setattr__(self, "kind", _KINDS[self.form])
        object.__setattr__(self, "least", -self.limit if self.form is Form.INT else 0)


_U32: Final = (1 << 32) - 1
_U40: Final = (1 << 40) - 1
_U63: Final = (1 << 63) - 1

FIELDS: Final = (
    # What the device is
    Field(1, "model_id", Form.TEXT, 2, "Model of the PSD"),
    Field(2, "psd_serial", Form.UINT, _U32, "Serial number of the PSD"),
    Field(3, "provider_id", Form.TEXT, 2, "Provider; always 99, this simulator's test provider"),
    Field(4, "software_id", Form.UINT, _U32, "Version of the PSD's software: major, minor, patch, 0; a byte each"),
    Field(5, "layout", Form.TEXT, 64, "Name of the indicium layout"),
    Field(6, "notice", Form.TEXT, 300, "What this device is not: specimen only, assumed layout, reproducible keys"),
    Field(7, "profile", Form.TEXT, 16, "FIPS 140-2, FIPS 140-3 or legacy: which rules the device follows"),
    Field(8, "regime", Form.TEXT, 8, "IMI or IBI: how long the device may go without its provider"),
    Field(
        9,
        "service_indicator",
        Form.UINT,
        3,
        "140-3 profile: 1 for an approved service, 2 for one without security; legacy profile: 3 for one that signs "
        "by an algorithm that is not approved; otherwise 0",
    ),
    # How it is
    Field(10, "state", Form.TEXT, 32, "State of the life cycle"),
    Field(11, "lock_reasons", Form.TEXTS, 8, "Why the device is locked; empty when it is not"),
    Field(12, "seconds_to_lockout", Form.INT, _U63, "Until the check-in lockout; negative when overdue"),
    Field(13, "device_time", Form.UINT, LATEST, "The device's clock, microseconds since 1970-01-01 UTC"),
    Field(14, "today", Form.TEXT, 10, "The device's date, YYYY-MM-DD, at its offset from UTC"),
    Field(15, "refill_pending_mills", Form.UINT, _U32, "Amount of the refill under way; 0 when there is none"),
    Field(16, "log_sequence", Form.UINT, _U63, "Number of the newest record of the log"),
    Field(17, "repaired", Form.UINT, _U32, "Copies of records that were mended when the device was opened"),
    Field(18, "sub_state", Form.TEXT, 32, "What is under way with the provider; empty for nothing"),
    Field(19, "warnings", Form.TEXTS, 8, "What will lock the device unless somebody acts"),
    # Registers
    Field(20, "ascending_mills", Form.UINT, _U40, "Ascending register: total postage ever dispensed"),
    Field(21, "descending_mills", Form.UINT, _U32, "Descending register: postage still available"),
    Field(22, "control_sum_mills", Form.UINT, _U40, "Control sum: ascending + descending, the sum of all refills"),
    Field(23, "piece_count", Form.UINT, _U32, "Indicia ever dispensed, zero-value ones included"),
    Field(24, "zero_piece_count", Form.UINT, _U32, "Zero-value indicia ever dispensed"),
    Field(25, "reprint_count", Form.UINT, _U32, "Indicia given out once more; they are no pieces and cost nothing"),
    Field(26, "cleared_by", Form.TEXTS, 8, "The services that clear what the device is locked for"),
    Field(27, "role", Form.TEXT, 32, "A role by its name; who has authenticated himself"),
    Field(28, "self_tests_passed", Form.TEXTS, 16, "Self-tests whose latest run since power-on passed"),
    Field(29, "self_tests_failed", Form.TEXTS, 16, "Self-tests whose latest run since power-on failed"),
    # Manufacture and authorization
    Field(30, "public_key", Form.BYTES, 128, "The public key of the PSD's indicia, an uncompressed point, or y of DSA"),
    Field(31, "trust_anchor", Form.BYTES, 2048, "The test CA's X.509 certificate, DER"),
    Field(32, "psd_certificate", Form.BYTES, 2048, "The PSD's X.509 certificate, DER"),
    Field(33, "provider_certificate", Form.BYTES, 2048, "The provider's X.509 certificate, DER"),
    Field(34, "licensing_zip", Form.TEXT, 5, "ZIP Code of the licensing post office"),
    Field(35, "customer", Form.TEXT, 64, "The customer's account with the provider (the CMRS account number)"),
    Field(36, "utc_offset_minutes", Form.INT, 14 * 60, "The device's fixed offset from UTC"),
    Field(37, "message_key", Form.BYTES, 65, "The P-256 public key of the PSD's messages, an uncompressed point"),
    Field(38, "curve", Form.TEXT, 8, "Curve of the indicium key: P-256 or P-224; DSA-1024 in the legacy profile"),
    Field(
        39,
        "user_secret",
        Form.BYTES,
        64,
        "What the customer's meter authenticates itself with; at least 6 bytes",
        secret=True,
    ),
    # A piece
    Field(40, "postage_mills", Form.UINT, (1 << 24) - 1, "Postage of the piece"),
    Field(41, "mailing_date", Form.TEXT, 10, "Date of mailing, YYYY-MM-DD"),
    Field(42, "mail_class", Form.TEXT, 32, "Class of mail, by the name the layout gives it"),
    Field(43, "weight", Form.UINT, 65535, "Weight in 1/100 oz"),
    Field(44, "destination", Form.TEXT, 11, "ZIP, ZIP+4 or 11-digit delivery point; empty for none"),
    Field(45, "reference", Form.BYTES, 32, "Bytes of the meter's own (its department); kept in the log, never printed"),
    Field(46, "indicium", Form.BYTES, 128, "The signed payload of the indicium"),
    Field(47, "record", Form.UINT, _U63, "Number of the log record that holds the debit"),
    Field(48, "request_id", Form.BYTES, 16, "The id of the request that dispensed the piece"),
    Field(89, "tracking_number", Form.TEXT, 22, "Tracking number of 20 or 22 digits; for layouts that have one"),
    Field(90, "extra_services", Form.TEXT, 200, "Extra services by the names the layout gives them, joined by +"),
    Field(49, "piece_kind", Form.TEXT, 20, "standard, date correction, amount correction or reprint"),
    # Messages between PSD and provider
    Field(50, "message", Form.BYTES, 3000, "A COSE_Sign1 message (RFC 9052)"),
    Field(51, "nonce", Form.BYTES, 16, "Fresh random bytes of the PSD, which the answer repeats"),
    Field(52, "message_number", Form.UINT, _U63, "Number of this message of this PSD, rising by one"),
    Field(53, "amount_mills", Form.UINT, _U32, "Amount of a refill"),
    Field(54, "reason", Form.TEXT, 200, "Why the provider refuses"),
    Field(55, "acknowledged", Form.UINT, _U63, "Newest log record that the provider has taken over"),
    Field(
        56,
        "proof",
        Form.BYTES,
        3000,
        "What only the role has made of the challenge: a MAC, or a signed login",
        secret=True,
    ),
    Field(57, "certificate", Form.BYTES, 2048, "An X.509 certificate, DER"),
    Field(58, "statement", Form.BYTES, 3000, "A COSE_Sign1 message of the PSD that states how it is"),
    Field(
        59,
        "reports",
        Form.BLOBS,
        16,
        "Earlier reports since the last receipt, and that one: the log's length, "
        "8 bytes, big-endian, and the chain then",
    ),
    Field(
        79,
        "newest_number",
        Form.UINT,
        _U63,
        "A message number that no message of the PSD has had; it goes on from there",
    ),
    # The log
    Field(60, "first_record", Form.UINT, _U63, "Number of the first record wanted"),
    Field(61, "entries", Form.BLOBS, 1 << 16, "Pieces: each a CBOR map of the fields of one"),
    Field(62, "next_record", Form.UINT, _U63, "Where to go on reading; 0 at the end"),
    Field(63, "chain", Form.BYTES, 32, "The log's hash chain after a record (docs/storage.md)"),
    Field(64, "original", Form.UINT, _U63, "The record that a reprint repeats; 0 for any other"),
    Field(77, "pieces", Form.BLOBS, 100, "Pieces: each a CBOR map of the fields of one `dispense` request"),
    Field(78, "indicia", Form.BLOBS, 100, "Indicia, in the order of the request's pieces"),
    # Keys and software
    Field(
        65,
        "transport_key",
        Form.BYTES,
        32,
        "AES-256 key under which the provider wraps secrets; empty for none",
        secret=True,
    ),
    Field(66, "slot", Form.TEXT, 16, "Where a secret goes: mac, or user"),
    Field(67, "wrapped_secret", Form.BYTES, 80, "A secret under the transport key (AES key wrap, RFC 3394)"),
    Field(68, "size", Form.UINT, 1 << 20, "Bytes of a software package"),
    Field(69, "digest", Form.BYTES, 32, "SHA-256 of a software package"),
    Field(75, "offset", Form.UINT, 1 << 20, "Where bytes of a package belong; where the next ones are wanted"),
    Field(76, "data", Form.BYTES, 1024, "Bytes of a package"),
    Field(93, "refill_nonce", Form.BYTES, 16, "Nonce of the refill request that waits for its answer; empty for none"),
    # The link itself
    Field(70, "lowest_version", Form.UINT, 255, "Lowest protocol version that the host speaks"),
    Field(71, "highest_version", Form.UINT, 255, "Highest protocol version that the host speaks"),
    Field(72, "max_frame", Form.UINT, 65535, "Longest frame that the side can take, in bytes before COBS"),
    Field(73, "version", Form.UINT, 255, "The protocol version agreed on"),
    Field(74, "device_kind", Form.TEXT, 16, 'What answers: "psd" or "meter"'),
    Field(
        91, "low_funds_mills", Form.UINT, _U32, "Below so much in the descending register, funds are low; 0 for never"
    ),
    Field(92, "event_sequence", Form.UINT, _U63, "Number of an event, rising by one from 1 on; a gap is an event lost"),
    # The meter around the PSD
    Field(80, "department", Form.TEXT, 16, "Code of the department that pays"),
    Field(81, "department_name", Form.TEXT, 64, "Its name"),
    Field(82, "department_pieces", Form.UINT, _U63, "Pieces it has printed"),
    Field(83, "department_mills", Form.UINT, _U63, "Postage it has used"),
    Field(84, "departments", Form.BLOBS, 1 << 16, "Departments: each a CBOR map of the fields of one"),
    Field(85, "next_department", Form.TEXT, 16, "Where to go on reading; empty at the end"),
    Field(86, "from_department", Form.TEXT, 16, "The first department wanted; empty for all"),
    Field(87, "rate_table", Form.TEXT, 32, "Version of the rate table that gave the postage"),
    Field(88, "declared_mills", Form.UINT, (1 << 24) - 1, "Postage wanted; 0 for the rate table's, never below it"),
)

BY_NAME: Final[Mapping[str, Field]] = {row.name: row for row in FIELDS}


BY_NUMBER: Final[Mapping[int, Field]] = {row.number: row for row in FIELDS}


def fields(names: str) -> tuple[Field, ...]:
    """Fields by their names, separated by blanks."""
    return tuple(BY_NAME[name] for name in names.split())


def check(wanted: Field, value: Any) -> None:
    """Raises `FieldError`, naming the field, unless `value` is what the field may hold."""
    kind: Any = wanted.kind
    if type(value) is kind and wanted.least <= (value if kind is int else len(value)) <= wanted.limit:
        if kind is not list:
            return
        item_kind = _ITEMS[wanted.form]
        if all(type(item) is item_kind for item in value):
            return
    most = "up to" if kind is int else "of length up to"
    raise FieldError(f"field {wanted.name} must be {wanted.form} {most} {wanted.limit}", field=wanted.name)


def check_all(row: Sequence[Field], values: Mapping[str, object], optional: Sequence[Field] = ()) -> None:
    """Raises `FieldError` unless `values` has the fields of `row`, and of `optional` any, each holding what it may."""
    for wanted in row:
        value: Any = values.get(wanted.name)
        kind = wanted.kind
        # Twelve values are looked at for every debit: a call for each would cost more than the look.
        if type(value) is kind and wanted.least <= (value if kind is int else len(value)) <= wanted.limit:
            if kind is not list:
                continue
        elif value is None and wanted.name not in values:
            raise FieldError(f"field {wanted.name} is missing", field=wanted.name)
        check(wanted, value)
    if len(row) != len(values):
        given = [extra for extra in optional if extra.name in values]
        unknown = sorted(set(values) - {known.name for known in (*row, *given)})
        if unknown:
            raise FieldError(f"unknown field {', '.join(unknown)}", field=unknown[0])
        for extra in given:
            check(extra, values[extra.name])


@lru_cache(maxsize=256)
def _in_order(names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Names with their fields' numbers, by number. There are as many such tuples as services and messages."""
    return tuple(sorted(((name, BY_NAME[name].number) for name in names), key=lambda pair: pair[1]))


def to_numbers(values: Mapping[str, object]) -> dict[int, object]:
    """`values` keyed by field number, in order of these, as they go into CBOR."""
    return {number: values[name] for name, number in _in_order(tuple(values))}


def to_names(numbered: object, known: Mapping[int, Field]) -> Values:
    """What a peer sent, keyed by name. Raises `FieldError` for anything but a map of `known` numbers."""
    if type(numbered) is not dict:
        raise FieldError("the body must be a CBOR map from field numbers to values")
    try:
        return {known[number].name: value for number, value in numbered.items()}
    except (KeyError, TypeError) as problem:
        raise FieldError(f"unknown field number {problem}", field=str(problem)) from None


def pack(values: Mapping[str, object]) -> bytes:
    """An entry of a list of entries: its fields as a CBOR map."""
    return cbor.dump_fields(to_numbers(values))


def unpack(entry: bytes) -> Values:
    """The reverse, for what a peer sent. Raises `FieldError`."""
    try:
        return to_names(cbor.load_fields(entry), BY_NUMBER)
    except ValueError as problem:
        raise FieldError(f"an entry cannot be read: {problem}") from None
