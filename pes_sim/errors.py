"""Every exception of the project, each with its status code (`statuses`). docs/errors.md comes from here.

Three rules:

* A class says what is wrong and what to do in its docstring, and in `facts` what its detail may hold.
* An exception says what was wrong, where, and what to do (`hint`). `detail` says the same to a machine.
  Neither ever holds a secret.
* "You" and "they" differ: misuse by the caller raises `PesError` or a child of it; bytes from a peer that cannot be
  understood raise `ProtocolError`, which names the offending byte range.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pes_sim.statuses import Status as Status

Detail = dict[str, int | str | list[str]]


class PesError(Exception):
    """Base of everything this package raises on purpose.

    `status`: the wire code. `hint`: what to do about it. `detail`: the same for a machine, by the names in `facts`.
    """

    status: Status = Status.INTERNAL
    facts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str, *, hint: str = "", **detail: int | str | list[str]) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail: Detail = detail

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class MoneyError(PesError, ValueError):
    """An amount that is not a whole, non-negative number of mills, is nothing where there must be something, or is less
    than the rate. Give it in mills (1/1000 dollar); `money.parse` reads dollars.
    """

    status = Status.BAD_POSTAGE


class FieldError(PesError, ValueError):
    """A field's value is outside what the field may hold, or a field is missing or one too many. Nothing was done. The
    message says what is allowed.
    """

    status = Status.BAD_FIELD
    facts = ("field", "offset")


class AnswerTooLong(PesError, ValueError):
    """The answer would not fit the longest frame that the host has said it takes; the request was not looked at. Say
    `hello` for longer frames and ask again under the same request id, or ask for fewer items.
    """

    status = Status.ANSWER_TOO_LONG
    facts = ("field", "most")


class LayoutError(PesError, ValueError):
    """A layout file that cannot work, or a value its field cannot hold. `pes-sim layout check FILE` lists every
    mistake.
    """

    status = Status.BAD_FIELD
    facts = ("field", "mistakes")


class PayloadError(PesError, ValueError):
    """Bytes that are no indicium of any known layout. `detail["field"]` says how far they could be read. A layout of
    your own has to be given (`--layout FILE.toml`).
    """

    status = Status.BAD_BODY
    facts = ("field", "length", "expected", "version")


class SymbolError(PesError, ValueError):
    """A symbol that cannot be written or looked for, or a library for it that is missing. The message says what to
    change or to install.
    """


class UnknownService(PesError):
    """A service that the device does not have: another kind of device answers, or an older one. `hello` says which
    kind.
    """

    status = Status.UNKNOWN_SERVICE


class RefusedInState(PesError):
    """The device's state does not allow this service or event. Both are named. The hint says in which states it is
    allowed; docs/psd.md says what leads there.
    """

    status = Status.REFUSED_IN_STATE
    facts = ("state", "event")


class RequestIdReused(PesError):
    """A request id came back with other content: one of the two requests is a mistake. Nothing was done. A retry
    repeats the whole request; anything else takes a new id.
    """

    status = Status.REQUEST_ID_REUSED


class InsufficientFunds(PesError):
    """The descending register is below the postage asked. `detail["missing_mills"]` says by how much. Refill it."""

    status = Status.INSUFFICIENT_FUNDS
    facts = ("missing_mills", "available_mills", "asked_mills")


class BadDate(PesError):
    """A mailing date before the device's own, too far ahead, or no date. Take one from `detail["today"]` on; for a
    piece that is dated earlier already, redate it.
    """

    status = Status.BAD_DATE
    facts = ("today", "most_days_ahead")


class UnknownDepartment(PesError):
    """No such department, or an inactive one. `get_departments` (`pes-sim meter status DIR`) lists those there are."""

    status = Status.UNKNOWN_DEPARTMENT


class NoRate(PesError):
    """No rate covers the piece: its class, its weight or its day. The hint says what the table has."""

    status = Status.NO_RATE


class RegisterLimit(PesError):
    """A register would not fit its field in the indicium any more. Refill by less; a device whose ascending register or
    piece count is full is withdrawn.
    """

    status = Status.REGISTER_LIMIT
    facts = ("limit_mills",)


class RefillPending(PesError):
    """Another refill, or a withdrawal, is under way; its amount cannot be changed on retry. Complete it first (`pes-sim
    meter refill` with the same amount, or `withdraw`), or give a refill up: `pes-sim meter cancel-refill DIR`.
    """

    status = Status.REFILL_PENDING
    facts = ("pending_mills",)


class NothingPending(PesError):
    """A grant, refusal, receipt or proof without a request or a challenge for it, or one that has been used up. Begin
    anew.
    """

    status = Status.NOTHING_PENDING


class IdBeyondReach(PesError):
    """A record that is asked for is not kept any more, or cannot be repeated. `read_log` lists what there is."""

    status = Status.ID_BEYOND_REACH


class LogFull(PesError):
    """So many records wait for the provider's acknowledgement that no piece is dispensed. A check-in clears it."""

    status = Status.LOG_FULL
    facts = ("waiting",)


class NotAuthenticated(PesError):
    """The service belongs to a role that has not authenticated itself. `detail["roles"]` says which have it. Ask for a
    challenge and authenticate; a session ends with the power.
    """

    status = Status.NOT_AUTHENTICATED
    facts = ("roles",)


class AuthenticationFailed(PesError):
    """The proof is wrong. `detail` says how many attempts are left. Ask for a new challenge, and look at the secret: a
    meter's is in its `meter.key`.
    """

    status = Status.AUTHENTICATION_FAILED
    facts = ("attempts_left",)


class AuthenticationWaits(PesError):
    """After wrong proofs none is looked at for a while (`detail["seconds"]`), and after too many only the provider
    helps: `pes-sim meter unlock DIR`.
    """

    status = Status.AUTHENTICATION_WAITS
    facts = ("attempts", "seconds")


class BadTime(PesError):
    """A time that the device must not be set to: before its last piece. Set a later one."""

    status = Status.BAD_TIME
    facts = ("last_dispense",)


class Locked(PesError):
    """The device is locked. `status` says for what, `detail` names all reasons and what clears them."""

    status = Status.LOCKED_BY_PROVIDER
    facts = ("reasons", "cleared_by", "seconds_overdue")


class LockedCheckinOverdue(Locked):
    """No check-in in time: 72 hours under IMI. `detail` says how long overdue and what clears it: a check-in (`pes-sim
    meter checkin DIR`).
    """

    status = Status.LOCKED_CHECKIN_OVERDUE


class BadSignature(PesError):
    """A signature that does not verify: the message was altered, or somebody else signed it. Ask its sender for it
    again.
    """

    status = Status.BAD_SIGNATURE


class BadMessage(PesError):
    """A signed message whose content is not what it must be, or does not fit what is under way. Its maker has to put it
    right; nothing was done.
    """

    status = Status.BAD_MESSAGE
    facts = ("ascending_mills", "descending_mills", "control_sum_mills", "piece_count", "zero_piece_count")


class NotForThisDevice(PesError):
    """A signed message that names another device, or a device that the provider does not know. Bring it to the device
    whose serial number it names.
    """

    status = Status.NOT_FOR_THIS_DEVICE


class StaleMessage(PesError):
    """A signed message with another nonce than the one that is waited for: late, or replayed. Begin again, and bring
    the newest answer.
    """

    status = Status.STALE_MESSAGE


class OldSoftware(PesError):
    """A software package whose version does not rise. Give it a higher one; `get_info` says which the device has."""

    status = Status.OLD_SOFTWARE
    facts = ("version",)


class BadCertificate(PesError):
    """A certificate that does not chain, is out of its dates, is for another key, or serves another purpose. Use the
    files of one meter and its own provider.
    """

    status = Status.BAD_CERTIFICATE


class RefusedByProvider(PesError):
    """The provider said no, and why: funds, registers, or a device that it has withdrawn. `pes-sim meter deposit DIR
    DOLLARS` adds funds; for registers somebody has to look at both logs (docs/storage.md). Over a port the answer to a
    refill or a withdrawal says it in its `reason`, and the host's end raises this.
    """

    status = Status.REFUSED_BY_PROVIDER
    facts = ("missing_mills", "ascending_mills", "piece_count", "zero_piece_count")


class StorageFailed(PesError):
    """The storage said no. Nothing was answered, so nothing was promised. Put right what the message names
    (permissions, the disk), and ask again under the same request id.
    """

    status = Status.STORAGE_FAILED
    facts = ("next_record",)


class StorageFull(StorageFailed):
    """No room to make a debit durable; nothing was debited. Free some, and ask again."""

    status = Status.STORAGE_FULL


class DirectoryInUse(StorageFailed):
    """Another process holds the state directory; the message names it. Stop that one, or use another directory."""


class KeyStoreFailed(StorageFailed):
    """What holds the keys (a PKCS#11 token) cannot be reached or said no. It may serve again; no key is lost by it.
    Plug it in, and look at its PIN.
    """


class HostileDirectory(StorageFailed):
    """Somebody else owns, may change or has planted a file that only its owner may touch. The hint puts it right, and
    `detail["commands"]` has the commands.
    """

    facts = ("commands",)


class IntegrityError(PesError):
    """Both copies of a record are bad, a money invariant does not hold, or the meter's database and its PSD disagree.
    Nothing is dispensed any more. The hint says whether it can be recovered (`pes-sim meter recover DIR`), or only
    settled; docs/storage.md says how.
    """

    status = Status.INTEGRITY


class KeysGone(IntegrityError):
    """The device's keys were zeroized. No record brings them back: make a new device, and have this one settled
    (`pes-sim meter settle DIR`).
    """


class SelfTestFailed(PesError):
    """A self-test of the security device failed. `detail["test"]` names it, `detail["reason"]` says what was wrong.
    Power the device off and on; if it fails again, return it.
    """

    status = Status.SELF_TEST_FAILED
    facts = ("test", "reason")


class ProtocolError(PesError):
    """The peer sent bytes that break the protocol. `start:end` is the offending range in what was received."""

    status = Status.BAD_FRAME
    facts = ("start", "end")

    def __init__(self, message: str, start: int, end: int, status: Status = Status.BAD_FRAME) -> None:
        super().__init__(f"{message} (bytes {start} to {end})", start=start, end=end)
        self.status = status


class LinkError(PesError):
    """The port cannot be opened, the device does not answer, or it does not reach its own data centre. The hint says
    what to look at; what was asked may have been done: ask again under the same request id.
    """

    status = Status.NO_CONNECTION
    facts = ("connection", "regime")


class UsageError(PesError, ValueError):
    """A file or an option given by the user is wrong; the message says which and what is allowed."""

    status = Status.BAD_FIELD
    facts = ("field",)


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
