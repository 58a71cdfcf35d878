"""The crash walk's machinery: a script over a medium that notes each operation, and every cut of it looked at.

The script runs once. Then, for each operation of storage and vault, the medium is put together as a cut at that moment
would leave it, the device is opened on it, and the books, the invariants and the retry of the command under way are
checked. Cuts that leave the same bytes are looked at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from pes_sim.clock import MINUTE
from pes_sim.errors import NotAuthenticated, NothingPending, PesError
from pes_sim.indicium import certificates, layout
from pes_sim.indicium.certificates import Purpose
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import Slot
from pes_sim.psd.roles import Role
from pes_sim.psd.services import BY_NAME
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.vault import MemoryVault
from tests.rig import Rig, piece

BANK = 16384
TEAR_EVERY = 180
"""A torn write keeps its first bytes only: this many, and twice this many, and so on."""
LOGIN: Final = 2
"""Records of a login, which comes before a retry."""
NO_CHANGES: Final = ("authenticate", "get_status")
"""Commands of the script that write without a request id: a wrong proof, a lock that is due."""
DRAWING: Final = ("refill_begin", "checkin_begin", "withdraw_begin")
"""Commands whose answer has a fresh nonce: made anew after a cut, it is another one."""
KEYED: Final = ("renew_key", "load_certificate", "load_key")
"""Commands after which, cut off or not, the key that signs must be the certificate's."""

Areas = dict[str, bytes]


@dataclass(frozen=True)
class Write:
    """One write that is not synced yet."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Moment:
    """After one operation: what is durable, what is written and not yet synced, and what the vault holds."""

    durable: Areas
    pending: tuple[Write, ...]
    vault: bytes


@dataclass(frozen=True)
class Cut:
    """What a cut left."""

    areas: Areas
    vault: bytes


class Noting(MemoryStorage):
    """Notes what is durable and what is not, after every operation. An area that is made is short for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.durable: Areas = {}
        self.pending: list[Write] = []
        self.moments: list[Moment] = []
        self.vault = NotingVault(self)

    def note(self, vault: bytes | None = None) -> None:
        held = self.vault.read() if vault is None else vault
        self.moments.append(Moment(dict(self.durable), tuple(self.pending), held))

    def create(self, name: str, size: int) -> None:
        super().create(name, size)
        for there in (0, size // 2, size):
            self.durable[name] = bytes(there)
            self.note()

    def write(self, name: str, offset: int, data: bytes) -> None:
        super().write(name, offset, data)
        self.pending.append(Write(name, offset, data))
        self.note()

    def sync(self, name: str) -> None:
        self.durable[name] = bytes(self.areas[name])
        self.pending = [write for write in self.pending if write.name != name]
        self.note()

    def remove(self, name: str) -> None:
        super().remove(name)
        self.durable.pop(name, None)
        self.note()


class NotingVault(MemoryVault):
    """Is written whole or not at all, and destroyed bit by bit, as a file is: zeros over it, and then it is gone."""

    def __init__(self, storage: Noting) -> None:
        super().__init__()
        self._storage = storage

    def write(self, data: bytes) -> None:
        super().write(data)
        self._storage.note()

    def destroy(self) -> None:
        whole = self.read()
        half = len(whole) // 2
        for left in (whole, bytes(half) + whole[half:], whole[:half] + bytes(half)):
            self._storage.note(left)
        super().destroy()
        self._storage.note()


class Reopened(Rig):
    """A device that comes up on what a cut left."""

    def __init__(self, cut: Cut, made: Values) -> None:
        medium, vault = MemoryStorage(), MemoryVault()
        medium.areas = {name: bytearray(area) for name, area in cut.areas.items()}
        vault.write(cut.vault)
        self.made, self.medium = made, medium
        super().__init__(storage=medium, bank=BANK, vault=vault)
        self.drawn = 1 << 32  # no id of the script's

    def power_on(self, *, log_in: bool = True) -> Psd:
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
    """What no command may lose: the registers, the states, what counts besides, keys, licence and software."""

    registers: tuple[int, ...]
    state: str
    sub_state: str
    locks: tuple[str, ...]
    reprints: int
    failed_attempts: int
    keys: bytes
    certificate: bytes
    licence: tuple[str, str, int]
    software: tuple[int, int, int]

    @staticmethod
    def of(psd: Psd) -> Books:
        """As they are, without asking the device for anything: asking lets time pass."""
        books = psd._books
        s = books.state
        return Books(
            tuple(books.registers.values().values()), s.lifecycle, s.sub_state, s.locks, books.reprints,
            sum(made.failed for made in s.attempts), s.keys, s.psd_certificate,
            (s.licensing_zip, s.customer, s.utc_offset_minutes),
            (s.software.software_id, s.loading.software_id, s.loading.offset),
        )  # fmt: skip


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
    secret: bytes
    """What the meter proves itself with, unless the command says otherwise."""

    order: tuple[str, dict[str, Any]] | None = None
    """What an order over a challenge says: the challenge is gone with the power, so after a cut it is signed anew."""
    new_secret: bytes = b""


class Script:
    """A run over a medium that notes everything, and how to add to it."""

    def __init__(self, rig: Rig, storage: Noting) -> None:
        self.rig = rig
        self.storage = storage
        self.commands: list[Command] = []
        self.packages: dict[int, bytes] = {}
        """The software packages that were announced, by version."""

    def do(
        self, name: str, order: tuple[str, dict[str, Any]] | None = None, /, new_secret: bytes = b"", **request: Any
    ) -> Values:
        self.status()
        return self._note(name, request, order, new_secret)

    def _note(
        self,
        name: str,
        request: dict[str, Any],
        order: tuple[str, dict[str, Any]] | None = None,
        new_secret: bytes = b"",
    ) -> Values:
        rig, moments = self.rig, self.storage.moments
        before, begin, role = Books.of(rig.psd), len(moments), rig.psd._access.role
        request_id = rig.new_id()
        got: Values = {}
        try:
            got = rig.psd.execute(name, request, request_id=request_id, now=rig.now)
        finally:
            if len(moments) > begin:
                noted = Command(
                    name, role, request, request_id, rig.now, got, before, Books.of(rig.psd), begin, len(moments),
                    rig.secret, order, new_secret,
                )  # fmt: skip
                self.commands.append(noted)
        return got

    def status(self) -> Values:
        """Writes down what is due by time."""
        return self._note("get_status", {})

    def order(self, name: str, kind: str, *, new_secret: bytes = b"", **fields: Any) -> Values:
        return self.do(name, (kind, fields), new_secret=new_secret, message=self.rig.order(kind, **fields))

    def cuts(self, commands: list[Command]) -> Iterator[tuple[Command, Cut]]:
        """Every cut: the command that was under way, and what the medium holds."""
        for command in commands:
            for moment in self.storage.moments[command.first_moment : command.last_moment]:
                for areas in survivors(moment.durable, moment.pending):
                    yield command, Cut(areas, moment.vault)


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


def walk(run: Script, commands: list[Command]) -> None:
    """Looks at every cut of some commands. Each is either done or not; asked again it is done, and once."""
    opened, done = set[int](), set[bytes]()
    for command, cut in run.cuts(commands):
        # A write that was lost and one that had not come yet leave the same bytes.
        mark = hash((command.request_id, cut.vault, *sorted(cut.areas.items())))
        if mark not in opened:
            opened.add(mark)
            _check(run, command, cut, done)


def _check(run: Script, command: Command, cut: Cut, seen: set[bytes]) -> None:
    """Opens the device on what a cut left."""
    rig = Reopened(cut, run.rig.made)
    rig.now, rig.secret = command.now, command.secret
    done = rig.psd._books.recall(command.request_id) is not None
    found = Books.of(rig.psd)
    if command.name in NO_CHANGES:
        counted = replace(command.before, failed_attempts=command.before.failed_attempts + 1)
        assert found in (command.before, command.after) or (command.name == "authenticate" and found == counted)
        _check_served(rig, command)
        return
    assert found == (command.after if done else command.before)
    if done:
        rig.secret = command.new_secret or command.secret
    if command.name in KEYED:
        check_signs(rig, cut)
    again, command = _retry(rig, command, done=done)
    assert Books.of(rig.psd) == command.after
    _check_software(rig, run)
    # What comes after depends on the medium only: once for each that the cuts leave.
    mark = rig.fingerprint() + repr(again).encode()
    if mark in seen:
        return
    seen.add(mark)
    rig.power_on()
    assert Books.of(rig.psd) == command.after
    assert _retry(rig, replace(command, answer=again), done=True)[0] == again
    assert Books.of(rig.psd) == command.after


def _check_served(rig: Rig, command: Command) -> None:
    """After a cut in a command that is not asked again: the lock holds, and the meter can prove itself."""
    registers, state = command.before.registers, command.after.state
    rig.now += MINUTE  # after so many attempts the next one has to wait a little
    rig.log_in()
    found = Books.of(rig.psd)
    assert (found.registers, found.state, found.failed_attempts) == (registers, state, 0)


def check_signs(cut_off: Rig, cut: Cut) -> None:
    """A device of the same bytes, in service, makes indicia that its own certificate vouches for."""
    rig = Reopened(cut, cut_off.made)
    rig.now, rig.secret = cut_off.now, cut_off.secret
    if rig.status()["state"] != "OPERATIONAL":
        return
    rig.log_in()
    own = rig.ask("get_certificates")
    certificate = certificates.read(own["psd_certificate"], own["trust_anchor"], Purpose.PSD)
    read = layout.builtin("imi_std").unpack(rig.dispense(mailing_date=rig.status()["today"])["indicium"])
    verify_p256(certificate.point, read.signed, read.signature)
    assert read.values["certificate_serial"] == certificate.serial


def _check_software(rig: Reopened, run: Script) -> None:
    """The bytes that were taken over are there."""
    loading = rig.psd._books.state.loading
    sent = run.packages.get(loading.software_id, b"")[: loading.offset]
    assert rig.medium.read(loading.area, 0, loading.offset) == sent if loading.area else not sent


def _retry(rig: Rig, command: Command, *, done: bool) -> tuple[Values, Command]:
    """The same request again, of the same id, by whoever may ask it; the answer, and what was asked in the end."""
    service = BY_NAME[command.name]
    if not service.signed and Role.NONE not in service.roles:
        with pytest.raises(NotAuthenticated):
            _ask_again(rig, command)
        rig.log_in(command.role)
    if command.order and not done:
        with pytest.raises(NothingPending):
            _ask_again(rig, command)
        assert Books.of(rig.psd) == command.before
        kind, fields = command.order
        command = replace(command, request={"message": rig.order(kind, **fields)})
    again = _ask_again(rig, command)
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


def _ask_again(rig: Rig, command: Command) -> Values:
    return rig.psd.execute(command.name, command.request, request_id=command.request_id, now=command.now)


def check_ended(run: Script, command: Command, cut: Cut) -> None:
    """After a cut in a zeroizing: all as before, or no key is left, in this medium or in an older one of the device."""
    oldest = run.storage.moments[command.first_moment].durable
    whole = run.storage.moments[command.first_moment].vault
    rig = Reopened(cut, run.rig.made)
    rig.now = command.now
    if cut.vault == whole:
        assert Books.of(rig.psd) == command.before
        check_signs(rig, cut)
    else:
        for areas in (cut.areas, oldest):
            check_keyless(Reopened(Cut(areas, cut.vault), run.rig.made), command)
    rig.ask("zeroize")
    for _ in range(2):
        assert rig.status()["state"] == "ZEROIZED"
        assert rig.vault.read() == b""
        check_keyless(rig, command)
        rig.power_on()


def check_keyless(rig: Reopened, command: Command) -> None:
    """Nothing can be signed, nobody can prove himself, and the registers are what they were."""
    rig.now = command.now
    found = Books.of(rig.psd)
    assert found.registers == command.before.registers
    assert tuple(rig.registers().values()) == command.before.registers
    # A vault of which a part was destroyed cannot be told from another device's: that may be put right, so ERROR.
    assert found.state == ("ERROR" if rig.vault.read() else "ZEROIZED")
    assert not any(rig.psd._keys.has(slot) for slot in Slot)
    for service, request in (("dispense", piece()), ("checkin_begin", {}), ("challenge", {})):
        with pytest.raises(PesError):
            rig.ask(service, **request)
