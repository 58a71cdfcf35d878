"""The crash walk: power is cut at every single write of one long script, in every manner, and nothing is ever lost.

The script runs once over a storage that notes each operation. Then, for each operation, the medium is put together as
a cut at that moment would leave it, the device is opened on it, and the books, the invariants and the retry of the
command that was under way are checked. Cuts tried: see `test_the_walk_tries_enough_cuts`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from pes_sim.clock import HOUR
from pes_sim.errors import InsufficientFunds, LockedCheckinOverdue
from pes_sim.psd.fields import Values
from pes_sim.psd.storage import MemoryStorage
from tests.rig import Rig, operational, piece

BANK = 16384
COMMANDS = 300
TEAR_EVERY = 120
"""A torn write keeps its first bytes only: this many, and twice this many, and so on."""
SLICES = 8
LEAST_CUTS = 20_000

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


@dataclass(frozen=True)
class Command:
    """One command of the script: what was asked, what came of it, and the device before and after."""

    name: str
    request: dict[str, Any]
    request_id: bytes
    now: int
    answer: Values
    before: dict[str, int]
    after: dict[str, int]
    first_moment: int
    last_moment: int


@cache
def script() -> tuple[Noting, list[Command]]:
    """The run: prints mostly, and refills, check-ins, and days that pass."""
    draw = random.Random(2026)
    storage = Noting()
    rig = operational(50_000, storage=storage, bank=BANK)
    commands: list[Command] = []

    def do(name: str, **request: Any) -> Values:
        request_id, before, begin = rig.new_id(), rig.registers(), len(storage.moments)
        answer = rig.psd.execute(name, request, request_id=request_id, now=rig.now)
        commands.append(
            Command(name, request, request_id, rig.now, answer, before, rig.registers(), begin, len(storage.moments))
        )
        return answer

    while len(commands) < COMMANDS:
        dice = draw.random()
        if dice < 0.80:
            try:
                do("dispense", **piece(mailing_date=rig.status()["today"], postage_mills=draw.randrange(1, 2000)))
            except InsufficientFunds:
                dice = 0.85
            except LockedCheckinOverdue:
                dice = 0.95
        if 0.80 <= dice < 0.90 and rig.status()["state"] == "OPERATIONAL":
            request = rig.read("refill_request", do("refill_begin", amount_mills=20_000)["message"])
            do("refill_complete", message=rig.grant(request))
        elif 0.90 <= dice < 0.97 or rig.status()["state"] == "LOCKED":
            report = rig.read("checkin_report", do("checkin_begin")["message"])
            do("checkin_complete", message=rig.receipt(report))
        elif dice >= 0.97:
            rig.now += 20 * HOUR
    return storage, commands


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


def check(command: Command, areas: Areas) -> None:
    """Opens the device on what a cut left."""
    medium = MemoryStorage()
    medium.areas = {name: bytearray(area) for name, area in areas.items()}
    rig = Rig(storage=medium, bank=BANK)
    found = rig.psd.execute("get_registers", {}, request_id=b"", now=command.now)
    assert found in (command.before, command.after)
    assert found["ascending_mills"] + found["descending_mills"] == found["control_sum_mills"]
    again = rig.psd.execute(command.name, command.request, request_id=command.request_id, now=command.now)
    if found == command.after != command.before or command.name == "dispense":
        assert again == command.answer
    assert rig.psd.execute("get_registers", {}, request_id=b"", now=command.now) == command.after
    rig.power_on()
    assert rig.psd.execute(command.name, command.request, request_id=command.request_id, now=command.now) == again
    assert rig.psd.execute("get_registers", {}, request_id=b"", now=command.now) == command.after


@pytest.mark.parametrize("part", range(SLICES))
def test_a_cut_at_any_write_in_any_manner_loses_nothing_and_pays_nothing_twice(part: int) -> None:
    storage, commands = script()
    for command, areas in cuts(commands[part::SLICES], storage):
        check(command, areas)


def test_the_walk_tries_enough_cuts() -> None:
    storage, commands = script()
    count = sum(1 for _ in cuts(commands, storage))
    print(f"cuts tried: {count} over {len(commands)} commands and {len(storage.moments)} operations")
    assert len(commands) >= COMMANDS
    assert {command.name for command in commands} == {
        "dispense", "refill_begin", "refill_complete", "checkin_begin", "checkin_complete",
    }  # fmt: skip
    assert len(storage.names()) > 5
    assert count >= LEAST_CUTS
