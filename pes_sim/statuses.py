"""The status codes of the serial protocol, and the facts that an error tells a machine. docs/errors.md comes from here.

A status is one byte with a name. It crosses the serial line, so a number is never reused for something else. What a
status means, the exceptions that have it say (`errors`); here is only what no exception says.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, unique
from typing import Final


@unique
class Status(IntEnum):
    """Answer codes of the serial protocol. The tens say who has to act."""

    OK = 0x00

    # 0x1_: the frame or its body could not be understood; nothing was done.
    BAD_FRAME = 0x10
    BAD_BODY = 0x11
    UNKNOWN_SERVICE = 0x12
    BAD_FIELD = 0x13
    UNSUPPORTED_VERSION = 0x14
    FRAME_TOO_LARGE = 0x15
    ANSWER_TOO_LONG = 0x16

    # 0x2_: understood, and refused for what was asked.
    REFUSED_IN_STATE = 0x20
    REQUEST_ID_REUSED = 0x21
    INSUFFICIENT_FUNDS = 0x22
    BAD_DATE = 0x23
    BAD_POSTAGE = 0x24
    UNKNOWN_DEPARTMENT = 0x25
    NO_RATE = 0x26
    REGISTER_LIMIT = 0x27
    REFILL_PENDING = 0x28
    NOTHING_PENDING = 0x29
    ID_BEYOND_REACH = 0x2A
    LOG_FULL = 0x2B
    NOT_AUTHENTICATED = 0x2C
    AUTHENTICATION_FAILED = 0x2D
    AUTHENTICATION_WAITS = 0x2E
    BAD_TIME = 0x2F

    # 0x3_: locked; the detail says what clears it.
    LOCKED_CHECKIN_OVERDUE = 0x31
    LOCKED_INSPECTION_DUE = 0x32
    LOCKED_BY_PROVIDER = 0x33
    LOCKED_REGISTER_FAULT = 0x34
    LOCKED_ROLLBACK_FOUND = 0x35
    LOCKED_DATE_FAULT = 0x36

    # 0x4_: a message of the provider (or of the PSD, at the provider) was not accepted.
    BAD_SIGNATURE = 0x40
    BAD_MESSAGE = 0x41
    NOT_FOR_THIS_DEVICE = 0x42
    STALE_MESSAGE = 0x43
    BAD_CERTIFICATE = 0x44
    REFUSED_BY_PROVIDER = 0x45
    # 0x46 was REGISTERS_DISAGREE: a provider says that in a signed refusal now. The number is not used again.
    OLD_SOFTWARE = 0x47

    # 0x5_: the device cannot serve; somebody has to look at it.
    STORAGE_FAILED = 0x50
    STORAGE_FULL = 0x51
    INTEGRITY = 0x52
    NO_CONNECTION = 0x53
    SELF_TEST_FAILED = 0x54
    INTERNAL = 0x5F

    def __str__(self) -> str:
        return f"0x{self.value:02X} {self.name}"


OF_THE_PROTOCOL: Final[Mapping[Status, str]] = {
    Status.OK: "Done. It is the status of every request, too, and of every answer that is no refusal.",
    Status.BAD_FRAME: (
        "The frame cannot be read (COBS, length or CRC), or is no request. Nothing was done. Send it again under the "
        "same request id; if that is refused too, look at the line: speed, parity, what else writes to it."
    ),
    Status.BAD_BODY: (
        "The frame is whole, but its body is no map of known fields in deterministic CBOR: keys in rising order, "
        "every number in its shortest form. Nothing was done. The same bytes are refused again, so put right what "
        "makes them."
    ),
    Status.UNSUPPORTED_VERSION: (
        "The frame, or what `hello` offers, is of a protocol version that the device does not speak. The answer is in "
        "the device's own. Update the older of the two."
    ),
    Status.FRAME_TOO_LARGE: (
        "The frame is longer than any may be, or the answer would be longer than the host takes. Send less; or say "
        "`hello` for longer frames, and ask again under the same request id."
    ),
    Status.INTERNAL: (
        "A defect of the simulator, which logs it and goes on. Report it; what was asked may have been done, so ask "
        "again under the same request id."
    ),
}
"""The statuses that no exception has for itself: what each means, and what to do."""

FACTS: Final[Mapping[str, str]] = {
    "field": "the field, option or parameter that is wrong",
    "piece": "in a refusal of dispense_batch, whatever its status: which piece of the batch, from 0 on",
    "offset": "the offset in the software package that is wanted next",
    "most": "so many items of `field` have an answer that fits",
    "mistakes": "how many mistakes the layout file has",
    "length": "bytes that the payload has",
    "expected": "bytes that its layout has",
    "version": "the version that cannot be taken: of an indicium (its first byte), or of a software package",
    "start": "the first of the offending bytes, in what was received",
    "end": "the byte after the last of them",
    "state": "the state of the life cycle, or sub-state, that forbids it",
    "event": "the event of the life cycle that it would have been",
    "missing_mills": "how much is missing, in mills",
    "available_mills": "what the descending register holds",
    "asked_mills": "the postage that was asked for",
    "limit_mills": "the most that the register holds",
    "pending_mills": "the amount of the refill under way",
    "today": "the device's own date",
    "most_days_ahead": "how many days after it a piece may be dated",
    "last_dispense": "the device's time at its last piece, microseconds since 1970-01-01 UTC",
    "waiting": "records that wait for the provider's acknowledgement",
    "roles": "the roles that may ask for the service",
    "attempts_left": "wrong proofs that are still looked at",
    "attempts": "wrong proofs in a row",
    "seconds": "how long to wait for the next; not there where waiting does not help",
    "seconds_overdue": "by how much the check-in is overdue; 0 where it is not",
    "reasons": "all that the device is locked for, in the words of `lock_reasons`",
    "cleared_by": "the services that clear that, with commas between them",
    "ascending_mills": "of the registers that are known: the ascending one",
    "descending_mills": "the descending one",
    "control_sum_mills": "their sum",
    "piece_count": "pieces that are known of",
    "zero_piece_count": "how many of these were of zero value",
    "next_record": "the record behind what cannot be read, where `read_log` goes on",
    "commands": "what to type to put files and folders right, one command after the other",
    "connection": "how the meter is connected",
    "regime": "the regime that does not allow it",
    "test": "the self-test that failed",
    "reason": "what was wrong with it",
}
"""What an error's `detail` may hold, by name; each class of `errors` names its own."""
