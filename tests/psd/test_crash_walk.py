"""The crash walk: power is cut at every single write of one long script, in every manner, and nothing is ever lost.

The script runs once over a storage that notes each operation. Then, for each operation, the medium is put together as
a cut at that moment would leave it, the device is opened on it, and the books, the invariants and the retry of the
command that was under way are checked. Cuts tried: see `test_the_walk_tries_enough_cuts`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import pytest

from pes_sim.clock import HOUR, MINUTE
from pes_sim.errors import AuthenticationFailed, InsufficientFunds, NotAuthenticated, NothingPending
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values, pack
from pes_sim.psd.roles import Role
from pes_sim.psd.services import BY_NAME
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.vault import MemoryVault
from tests.rig import Rig, answer, correction, operational, piece

BANK = 16384
COMMANDS = 300
TEAR_EVERY = 180
"""A torn write keeps its first bytes only: this many, and twice this many, and so on."""
SLICES = 8
LEAST_CUTS = 20_000
LOGIN: Final = 2
"""Records of a login, which comes before a retry."""
NO_CHANGES: Final = ("authenticate", "get_status")
"""Commands of the script that write without a request id: a wrong proof, a lock that is due."""
DRAWING: Final = ("refill_begin", "checkin_begin", "withdraw_begin")
"""Commands whose answer has a fresh nonce: made anew after a cut, it is another one."""

Areas = dict[str, bytes]


@dataclass(frozen=True)
class Write:
    """One write that is not synced yet."""

    name: str
    offset: int
    data: bytes


class Noting(MemoryStorage):
    """Notes what is durable and what is not, after every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.durable: Areas = {}
        self.pending: list[Write] = []
        self.moments: list[tuple[Areas, tuple[Write, ...]]] = []

    def _note(self) -> None:
        self.moments.append((dict(self.durable), tuple(self.pending)))

    def create(self, name: str, size: int) -> None:
        super().create(name, size)
        self.durable[name] = bytes(size)
        self._note()

    def write(self, name: str, offset: int, data: bytes) -> None:
        super().write(name, offset, data)
        self.pending.append(Write(name, offset, data))
        self._note()

    def sync(self, name: str) -> None:
        self.durable[name] = bytes(self.areas[name])
        self.pending.clear()
        self._note()

    def remove(self, name: str) -> None:
        super().remove(name)
        self.durable.pop(name, None)
        self._note()


class Reopened(Rig):
    """A device that comes up on what a cut left: its storage, and the vault, which is written at manufacture only."""

    def __init__(self, areas: Areas, vault: MemoryVault, made: Values) -> None:
        medium = MemoryStorage()
        medium.areas = {name: bytearray(area) for name, area in areas.items()}
        self.carried, self.made, self.medium = vault, made, medium
        super().__init__(storage=medium, bank=BANK)

    def power_on(self, *, log_in: bool = True) -> Psd:
        self.vault = self.carried
        return super().power_on(log_in=False)

    def fingerprint(self) -> bytes:
        """Of all that the medium holds."""
        digest = hashlib.blake2b()
        for name, area in sorted(self.medium.areas.items()):
            digest.update(name.encode())
            digest.update(area)
        return digest.digest()


@dataclass(frozen=True)
class Books:
    """What no command may lose: the registers, the states, and what counts besides."""

    registers: tuple[int, ...]
    state: str
    sub_state: str
    locks: tuple[str, ...]
    reprints: int
    failed_attempts: int

    @staticmethod
    def of(psd: Psd) -> Books:
        """As they are, without asking the device for anything: asking lets time pass."""
        books = psd._books
        s = books.state
        values = tuple(books.registers.values().values())
        return Books(values, s.lifecycle, s.sub_state, s.locks, books.reprints, sum(made.failed for made in s.attempts))


@dataclass(frozen=True)
class Command:
    """One command of the script: who asked what, what came of it, and the device before and after."""

    name: str
    role: Role
    request: dict[str, Any]
    request_id: bytes
    now: int
    answer: Values
    before: Books
    after: Books
    first_moment: int
    last_moment: int

    order: tuple[str, dict[str, Any]] | None = None
    """What an order over a challenge says: the challenge is gone with the power, so after a cut it is signed anew."""


@dataclass
class Script:
    """The run, and how to add to it."""

    rig: Rig
    storage: Noting
    commands: list[Command]

    def do(self, name: str, order: tuple[str, dict[str, Any]] | None = None, /, **request: Any) -> Values:
        self.status()
        return self._note(name, request, order)

    def _note(self, name: str, request: dict[str, Any], order: tuple[str, dict[str, Any]] | None = None) -> Values:
        rig, moments = self.rig, self.storage.moments
        before, begin, role = Books.of(rig.psd), len(moments), rig.psd._access.role
        request_id = rig.new_id()
        got: Values = {}
        try:
            got = rig.psd.execute(name, request, request_id=request_id, now=rig.now)
        finally:
            if len(moments) > begin:
                after = Books.of(rig.psd)
                self.commands.append(
                    Command(name, role, request, request_id, rig.now, got, before, after, begin, len(moments), order)
                )
        return got

    def status(self) -> Values:
        """Writes down what is due by time."""
        return self._note("get_status", {})

    def order(self, name: str, kind: str, **fields: Any) -> Values:
        return self.do(name, (kind, fields), message=self.rig.order(kind, **fields))

    def refill(self) -> None:
        request = self.rig.read("refill_request", self.do("refill_begin", amount_mills=20_000)["message"])
        self.do("refill_complete", message=self.rig.grant(request))

    def cancelled_refill(self) -> None:
        request = self.rig.read("refill_request", self.do("refill_begin", amount_mills=30_000)["message"])
        self.do("refill_cancel")
        self.do("refill_complete", message=answer("refill_refusal", request, reason="taken back"))

    def check_in(self) -> None:
        report = self.rig.read("checkin_report", self.do("checkin_begin")["message"])
        self.do("checkin_complete", message=self.rig.receipt(report))

    def refused_check_in(self) -> None:
        report = self.rig.read("checkin_report", self.do("checkin_begin")["message"])
        refusal = answer("checkin_refusal", report, lock_reasons=["register fault"], reason="look into it")
        self.do("checkin_complete", message=refusal)
        self.order("unlock", "unlock_order", lock_reasons=["register fault"])

    def locked_and_unlocked(self) -> None:
        self.order("lock", "lock_order", lock_reasons=["provider lock"])
        self.order("unlock", "unlock_order", lock_reasons=["provider lock"])

    def set_time(self) -> None:
        self.order("set_time", "time_setting", device_time=self.rig.psd._books.time + MINUTE)

    def attempts(self) -> None:
        """Wrong proofs and then the right one."""
        rig = self.rig
        for _ in range(2):
            rig.challenge()
            with pytest.raises(AuthenticationFailed):
                self.do("authenticate", role=Role.USER.value, proof=b"wrong")
        self.do("authenticate", role=Role.USER.value, proof=rig.user_proof(rig.challenge()["nonce"]))

    def audit(self) -> None:
        self.rig.log_in(Role.INSPECTOR)
        self.do("audit", nonce=b"auditor's nonce.")
        self.rig.log_in()

    def refused_withdrawal(self) -> None:
        request = self.rig.read("withdrawal_request", self.do("withdraw_begin")["message"])
        self.do("withdraw_complete", message=answer("withdrawal_refusal", request, reason="not yet"))

    def withdrawal(self) -> None:
        request = self.rig.read("withdrawal_request", self.do("withdraw_begin")["message"])
        grant = answer("withdrawal_grant", request, amount_mills=request["amount_mills"])
        self.do("withdraw_complete", message=grant)
        self.audit()
        self.set_time()


RARE: Final[tuple[Callable[[Script], None], ...]] = (
    Script.cancelled_refill, Script.refused_check_in, Script.locked_and_unlocked, Script.set_time, Script.attempts,
    Script.audit, Script.refused_withdrawal,
)  # fmt: skip


@cache
def script() -> Script:
    """The run: prints mostly, and refills, check-ins, days that pass, and all the rest; a withdrawal at its end."""
    draw = random.Random(2026)
    storage = Noting()
    # The 140-3 profile tests an algorithm at its first use: half of a cut's time would be self-tests otherwise.
    run = Script(operational(50_000, storage=storage, bank=BANK, profile="FIPS 140-3"), storage, [])
    rig, printed, rare = run.rig, 0, 0
    while len(run.commands) < COMMANDS:
        dice, day = draw.random(), run.status()["today"]
        if rig.status()["state"] == "LOCKED":
            run.check_in()
        elif dice < 0.76:
            postage = draw.randrange(1, 2000)
            try:
                if dice < 0.60:
                    printed = run.do("dispense", **piece(mailing_date=day, postage_mills=postage))["record"]
                elif dice < 0.66:
                    run.do("redate", **correction(mailing_date=day))
                elif dice < 0.71:
                    run.do("correct_amount", **piece(mailing_date=day, postage_mills=postage))
                elif dice < 0.74 and printed:
                    run.do("reprint", original=printed)
                else:
                    items = [pack(piece(mailing_date=day, postage_mills=postage + n)) for n in range(3)]
                    run.do("dispense_batch", pieces=items)
            except InsufficientFunds:
                run.refill()
        elif dice < 0.82:
            run.refill()
        elif dice < 0.86:
            run.check_in()
        elif dice < 0.90:
            rig.now, printed = rig.now + 20 * HOUR, 0
        else:
            RARE[rare % len(RARE)](run)
            rare += 1
    run.withdrawal()
    return run


def survivors(durable: Areas, pending: tuple[Write, ...]) -> Iterator[Areas]:
    """What a cut may leave of writes that were not synced: none, all, any one lost, any one alone, any one torn."""
    fates: list[tuple[int | None, ...]] = [tuple(0 for _ in pending), tuple(None for _ in pending)]
    for index, write in enumerate(pending):
        fates.append(tuple(0 if n == index else None for n in range(len(pending))))
        fates.append(tuple(None if n == index else 0 for n in range(len(pending))))
        for kept in range(TEAR_EVERY, len(write.data), TEAR_EVERY):
            fates.append(tuple(kept if n == index else None for n in range(len(pending))))
            fates.append(tuple(kept if n == index else 0 for n in range(len(pending))))
    for fate in dict.fromkeys(fates):
        areas = dict(durable)
        for write, length in zip(pending, fate, strict=True):
            part = write.data[:length]
            area = areas[write.name]
            areas[write.name] = area[: write.offset] + part + area[write.offset + len(part) :]
        yield areas


def cuts(commands: list[Command], storage: Noting) -> Iterator[tuple[Command, Areas]]:
    """Every cut: the command that was under way, and what the medium holds."""
    for command in commands:
        for moment in range(command.first_moment, command.last_moment):
            for areas in survivors(*storage.moments[moment]):
                yield command, areas


def check(run: Script, command: Command, areas: Areas, seen: set[bytes]) -> None:
    """Opens the device on what a cut left."""
    rig = Reopened(areas, run.rig.vault, run.rig.made)
    rig.now = command.now
    done = rig.psd._books.recall(command.request_id) is not None
    found = Books.of(rig.psd)
    if command.name in NO_CHANGES:
        counted = replace(command.before, failed_attempts=command.before.failed_attempts + 1)
        assert found in (command.before, command.after) or (command.name == "authenticate" and found == counted)
        check_served(rig, command)
        return
    assert found == (command.after if done else command.before)
    again, command = retry(rig, command, done=done)
    assert Books.of(rig.psd) == command.after
    # What comes after depends on the medium only: once for each that the cuts leave.
    mark = rig.fingerprint() + repr(again).encode()
    if mark in seen:
        return
    seen.add(mark)
    rig.power_on()
    assert Books.of(rig.psd) == command.after
    assert retry(rig, replace(command, answer=again), done=True)[0] == again
    assert Books.of(rig.psd) == command.after


def check_served(rig: Rig, command: Command) -> None:
    """After a cut in a command that is not asked again: the lock holds, and the meter can prove itself."""
    registers, state = command.before.registers, command.after.state
    rig.now += MINUTE  # after so many attempts the next one has to wait a little
    rig.log_in()
    found = Books.of(rig.psd)
    assert (found.registers, found.state, found.failed_attempts) == (registers, state, 0)


def retry(rig: Rig, command: Command, *, done: bool) -> tuple[Values, Command]:
    """The same request again, of the same id, by whoever may ask it; the answer, and what was asked in the end."""
    if not BY_NAME[command.name].signed:
        with pytest.raises(NotAuthenticated):
            ask_again(rig, command)
        rig.log_in(command.role)
    if command.order and not done:
        with pytest.raises(NothingPending):
            ask_again(rig, command)
        assert Books.of(rig.psd) == command.before
        kind, fields = command.order
        command = replace(command, request={"message": rig.order(kind, **fields)})
    again = ask_again(rig, command)
    if done:
        assert again == command.answer
    elif command.name == "audit":
        newest, first = (rig.read("audit_report", values["statement"]) for values in (again, command.answer))
        assert newest == first | {"log_sequence": first["log_sequence"] + LOGIN}
    elif "record" in command.answer:
        assert again == command.answer | {"record": again["record"]}
        assert rig.psd._books.find(again["record"]) is not None
    elif command.name not in DRAWING:
        assert again == command.answer
    return again, command


def ask_again(rig: Rig, command: Command) -> Values:
    return rig.psd.execute(command.name, command.request, request_id=command.request_id, now=command.now)


@pytest.mark.parametrize("part", range(SLICES))
def test_a_cut_at_any_write_in_any_manner_loses_nothing_and_pays_nothing_twice(part: int) -> None:
    run, seen = script(), set[bytes]()
    for command, areas in cuts(run.commands[part::SLICES], run.storage):
        check(run, command, areas, seen)


def test_the_walk_tries_enough_cuts() -> None:
    run = script()
    count = sum(1 for _ in cuts(run.commands, run.storage))
    print(f"cuts tried: {count} over {len(run.commands)} commands and {len(run.storage.moments)} operations")
    assert len(run.commands) >= COMMANDS
    assert {command.name for command in run.commands} == {
        "dispense", "dispense_batch", "redate", "correct_amount", "reprint", "refill_begin", "refill_complete",
        "refill_cancel", "checkin_begin", "checkin_complete", "lock", "unlock", "set_time", "authenticate",
        "get_status", "audit", "withdraw_begin", "withdraw_complete",
    }  # fmt: skip
    assert run.commands[-1].after.state == "WITHDRAWN"
    assert {command.after.sub_state for command in run.commands} == {
        "", "REFILL_PENDING", "REFILL_CANCELLED", "WITHDRAWAL_PENDING",
    }  # fmt: skip
    assert {command.after.failed_attempts for command in run.commands} == {0, 1, 2}
    assert {command.after.locks for command in run.commands} == {
        (), ("provider lock",), ("register fault",), ("check-in overdue",),
    }  # fmt: skip
    assert len(run.storage.names()) > 5
    assert count >= LEAST_CUTS
