"""Every status code and every exception of the project.

Three rules:

* A status code is one byte with a name. It crosses the serial line, so a number is never reused for something else.
* An exception says what was wrong, where, and what to do (`hint`). `detail` says the same to a machine.
  Neither ever holds a secret.
* "You" and "they" differ: misuse by the caller raises `PesError` or a child of it; bytes from a peer that cannot be
  understood raise `ProtocolError`, which names the offending byte range.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, unique

Detail = dict[str, int | str | list[str]]


@unique
class Status(IntEnum):
    """Answer codes of the serial protocol. The tens say who has to act; docs/protocol.md is generated from this."""

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


class PesError(Exception):
    """Base of everything this package raises on purpose.

    `status`: the wire code. `hint`: what to do about it. `detail`: the same facts for a machine.
    """

    status: Status = Status.INTERNAL

    def __init__(self, message: str, *, hint: str = "", **detail: int | str | list[str]) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail: Detail = detail

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class MoneyError(PesError, ValueError):
    """An amount that is not a whole, non-negative number of mills."""

    status = Status.BAD_POSTAGE


class FieldError(PesError, ValueError):
    """A field's value is outside what the field may hold."""

    status = Status.BAD_FIELD


class AnswerTooLong(PesError, ValueError):
    """The answer would not fit the longest frame that the host has said it takes; the request was not looked at."""

    status = Status.ANSWER_TOO_LONG


class LayoutError(PesError, ValueError):
    """A layout file that cannot work, or a value its field cannot hold."""

    status = Status.BAD_FIELD


class PayloadError(PesError, ValueError):
    """Bytes that are no indicium of any known layout. `detail["field"]` says how far they could be read."""

    status = Status.BAD_BODY


class SymbolError(PesError, ValueError):
    """A symbol that cannot be written, or a library for it that is missing."""


class UnknownService(PesError):
    """A service that the device does not have."""

    status = Status.UNKNOWN_SERVICE


class RefusedInState(PesError):
    """The device's state does not allow this service or event. Both are named."""

    status = Status.REFUSED_IN_STATE


class RequestIdReused(PesError):
    """A request id came back with other content: one of the two requests is a mistake."""

    status = Status.REQUEST_ID_REUSED


class InsufficientFunds(PesError):
    """The descending register is below the postage asked. `detail["missing_mills"]` says by how much."""

    status = Status.INSUFFICIENT_FUNDS


class BadDate(PesError):
    """A mailing date before the device's own, or too far ahead."""

    status = Status.BAD_DATE


class UnknownDepartment(PesError):
    """No such department, or an inactive one."""

    status = Status.UNKNOWN_DEPARTMENT


class NoRate(PesError):
    """No rate covers the piece."""

    status = Status.NO_RATE


class RegisterLimit(PesError):
    """A register would not fit its field in the indicium any more."""

    status = Status.REGISTER_LIMIT


class RefillPending(PesError):
    """Another refill is under way; its amount cannot be changed on retry."""

    status = Status.REFILL_PENDING


class NothingPending(PesError):
    """A grant, refusal or receipt without a request for it."""

    status = Status.NOTHING_PENDING


class IdBeyondReach(PesError):
    """A record that is asked for is not kept any more."""

    status = Status.ID_BEYOND_REACH


class LogFull(PesError):
    """So many records wait for the provider's acknowledgement that no piece is dispensed. A check-in clears it."""

    status = Status.LOG_FULL


class NotAuthenticated(PesError):
    """The service belongs to a role that has not authenticated itself. `detail["roles"]` says which have it."""

    status = Status.NOT_AUTHENTICATED


class AuthenticationFailed(PesError):
    """The proof is wrong. `detail` says how many attempts are left, and how long to wait."""

    status = Status.AUTHENTICATION_FAILED


class AuthenticationWaits(PesError):
    """After wrong proofs none is looked at for a while, and after too many only the provider helps."""

    status = Status.AUTHENTICATION_WAITS


class BadTime(PesError):
    """A time that the device must not be set to."""

    status = Status.BAD_TIME


class Locked(PesError):
    """The device is locked. `status` says for what, `detail` names all reasons and what clears them."""

    status = Status.LOCKED_BY_PROVIDER


class LockedCheckinOverdue(Locked):
    """No check-in in time: 72 hours under IMI. `detail` says how long overdue and what clears it."""

    status = Status.LOCKED_CHECKIN_OVERDUE


class BadSignature(PesError):
    """A signature that does not verify."""

    status = Status.BAD_SIGNATURE


class BadMessage(PesError):
    """A signed message whose content is not what it must be."""

    status = Status.BAD_MESSAGE


class NotForThisDevice(PesError):
    """A signed message that names another device."""

    status = Status.NOT_FOR_THIS_DEVICE


class StaleMessage(PesError):
    """A signed message with another nonce than the one that is waited for: late, or replayed."""

    status = Status.STALE_MESSAGE


class OldSoftware(PesError):
    """A software package whose version does not rise."""

    status = Status.OLD_SOFTWARE


class BadCertificate(PesError):
    """A certificate that does not chain, is out of its dates, or serves another purpose."""

    status = Status.BAD_CERTIFICATE


class RefusedByProvider(PesError):
    """The provider said no, and why."""

    status = Status.REFUSED_BY_PROVIDER


class StorageFailed(PesError):
    """The storage said no. Nothing was answered, so nothing was promised."""

    status = Status.STORAGE_FAILED


class StorageFull(StorageFailed):
    """No room to make a debit durable."""

    status = Status.STORAGE_FULL


class DirectoryInUse(StorageFailed):
    """Another process holds the state directory; the message names it."""


class KeyStoreFailed(StorageFailed):
    """What holds the keys (a PKCS#11 token) cannot be reached or said no. It may serve again; no key is lost by it."""


class HostileDirectory(StorageFailed):
    """Somebody else owns, may change or has planted a file that only its owner may touch. The hint puts it right."""


class IntegrityError(PesError):
    """Both copies of a record are bad, or a money invariant does not hold. The device stops."""

    status = Status.INTEGRITY


class KeysGone(IntegrityError):
    """The device's keys were zeroized. No record brings them back."""


class SelfTestFailed(PesError):
    """A self-test of the security device failed. `detail["test"]` names it, `detail["reason"]` says what was wrong."""

    status = Status.SELF_TEST_FAILED


class ProtocolError(PesError):
    """The peer sent bytes that break the protocol. `start:end` is the offending range in what was received."""

    status = Status.BAD_FRAME

    def __init__(self, message: str, start: int, end: int, status: Status = Status.BAD_FRAME) -> None:
        super().__init__(f"{message} (bytes {start} to {end})", start=start, end=end)
        self.status = status


class LinkError(PesError):
    """The port cannot be opened, the device does not answer, or it does not reach its own data centre."""

    status = Status.NO_CONNECTION


class UsageError(PesError, ValueError):
    """A file or an option given by the user is wrong; the message says which and what is allowed."""

    status = Status.BAD_FIELD


_BY_STATUS: dict[int, type[PesError]] = {
    int(cls.status): cls
    for cls in (
        FieldError, AnswerTooLong, UnknownService, RefusedInState, RequestIdReused, InsufficientFunds, BadDate,
        MoneyError, UnknownDepartment, NoRate, RegisterLimit, RefillPending, NothingPending, IdBeyondReach,
        LockedCheckinOverdue, BadSignature, BadMessage, NotForThisDevice, StaleMessage, BadCertificate,
        RefusedByProvider, StorageFailed, StorageFull, IntegrityError, LinkError, SelfTestFailed, LogFull,
        NotAuthenticated, AuthenticationFailed, AuthenticationWaits, BadTime, OldSoftware,
    )
} | dict.fromkeys((0x32, 0x33, 0x34, 0x35, 0x36), Locked)  # fmt: skip


def from_wire(status: int, message: str, hint: str, detail: Mapping[str, int | str | list[str]]) -> PesError:
    """The exception for a status that came over the wire: of the class that the device raised, where it has one."""
    error = _BY_STATUS.get(status, PesError)(message, hint=hint)
    error.detail = dict(detail)  # not as keywords: a peer may name a fact "hint"
    if status in Status._value2member_map_:
        error.status = Status(status)
    else:
        error.message = f"{message} (status 0x{status:02X}, which this version does not know)"
    return error
