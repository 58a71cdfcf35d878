"""A recovery in the middle of a refill, a cancellation or a withdrawal: in every order of events no mill is made or
lost, whatever was kept back and is sent afterwards. And the settlement of a device that cannot come back.
"""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pes_sim.errors import FieldError, NotForThisDevice, PesError, RefusedByProvider
from pes_sim.meter.store import MeterStore
from pes_sim.psd.fields import Values
from tests.meter.bench import Bench, Wire
from tests.meter.made import DEPOSIT, FUNDS, SERIAL
from tests.provider.helpers import balance, known, opened, ordered, reopen

AMOUNT = 5_000
USED = 1_480
"""Two pieces, of which the provider has heard of one."""

FLOWS = {
    "refill": ("ask", "send", "have"),
    "cancellation": ("ask", "send", "cancel", "send cancellation", "have refusal"),
    "cancellation of what was never asked": ("ask", "cancel", "send cancellation", "have refusal", "send"),
    "withdrawal": ("ask back", "send back", "have back"),
}
RECOVERIES = {
    "well": ("order", "obey"),
    "rotten": ("rot and order", "obey"),
    "an order that is lost": ("order",),
    "a slip, and the right order": ("slip and order", "obey"),
}


class World:
    """A meter and its provider. Each event is tried; a refusal is an event like any other."""

    def __init__(self, base: Bench, directory: Path) -> None:
        """A copy of `base`: making a meter takes longer than all that happens to it here."""
        self.bench = bench = copy.copy(base)
        shutil.copytree(base.provider, directory / "provider")
        shutil.copy(base.database, directory)
        bench.provider, bench.database = directory / "provider", directory / base.database.name
        bench.storage, bench.vault = copy.deepcopy(base.storage), copy.deepcopy(base.vault)
        bench.wire = Wire(bench.centre)
        reopen(bench)
        bench.store = MeterStore(bench.database)
        bench.power_on()
        self.sent: dict[str, bytes] = {}
        self.answers: dict[str, bytes] = {}

    def event(self, name: str) -> None:
        try:
            getattr(self, "_" + name.replace(" ", "_"))()
        except (PesError, KeyError):  # refused, or nothing to send, since something before was
            self.check()

    def _ask(self) -> None:
        self.sent["refill"] = self.bench.ask("refill_begin", amount_mills=AMOUNT)["message"]

    def _send(self) -> None:
        self.answers["refill"] = self.bench.centre.refill(self.sent["refill"])

    def _have(self) -> None:
        self.bench.ask("refill_complete", message=self.answers["refill"])

    def _cancel(self) -> None:
        self.sent["cancel_refill"] = self.bench.ask("refill_cancel")["message"]

    def _send_cancellation(self) -> None:
        self.answers["cancel_refill"] = self.bench.centre.cancel_refill(self.sent["cancel_refill"])

    def _have_refusal(self) -> None:
        self.bench.ask("refill_complete", message=self.answers["cancel_refill"])

    def _ask_back(self) -> None:
        self.sent["withdraw"] = self.bench.ask("withdraw_begin")["message"]

    def _send_back(self) -> None:
        self.answers["withdraw"] = self.bench.centre.withdraw(self.sent["withdraw"])

    def _have_back(self) -> None:
        self.bench.ask("withdraw_complete", message=self.answers["withdraw"])

    def _rot(self) -> None:
        for name, area in self.bench.storage.areas.items():
            if name.startswith("log-"):
                area[:] = b"\xa5" * len(area)
        self.bench.power_on()

    def _rot_and_order(self) -> None:
        self._rot()
        self._order()

    def _slip_and_order(self) -> None:
        self._signed(90_000, 900)
        self._order()

    def _order(self) -> None:
        self.answers["order"] = self._signed(USED, 2)

    def _signed(self, ascending: int, pieces: int) -> bytes:
        challenge = self.bench.ask("challenge")
        return self.bench.centre.recover(
            SERIAL, challenge, ascending_mills=ascending, piece_count=pieces, zero_piece_count=0
        )

    def _obey(self) -> None:
        self.bench.ask("recover", message=self.answers["order"])

    def replay(self) -> None:
        """Everything that was ever signed, once more, from both sides."""
        for name, message in self.sent.items():
            self.answers[name] = getattr(self.bench.centre, name)(message)
        for answer, service in itertools.product(self.answers.values(), ("refill_complete", "withdraw_complete")):
            try:
                self.bench.ask(service, message=answer)
            except PesError:
                self.check()

    def check(self) -> None:
        """The provider's own books: what it holds, and what it granted, is what was paid in."""
        assert balance(self.bench) + known(self.bench).granted_mills == DEPOSIT

    def end(self) -> None:
        """Every mill is on the account, in a register, or was printed. Where provider and device do not agree, another
        recovery is the way out; only who was withdrawn has none, and needs none.
        """
        bench = self.bench
        self.check()
        if known(bench).withdrawn:
            assert balance(bench) == DEPOSIT - USED
            return
        if bench.centre.waits_for(SERIAL) or bench.meter.status().state == "ERROR":
            if bench.meter.status().state != "LOCKED" or not self._agrees():
                self._order()
                self._obey()
            reasons = bench.meter.status().lock_reasons
            ordered(bench, "unlock", "unlock_order", lock_reasons=reasons)
        for name in ("withdraw", "refill"):
            if name == "refill" and bench.meter.status().sub_state.startswith("REFILL"):
                bench.meter.cancel_refill()
            if name == "withdraw" and bench.meter.status().sub_state == "WITHDRAWAL_PENDING":
                bench.meter.withdraw()
                assert balance(bench) == DEPOSIT - USED
                return
        bench.meter.check_in()
        registers = bench.registers()
        assert registers.balanced()
        assert balance(bench) + registers.ascending_mills + registers.descending_mills == DEPOSIT
        assert (registers.ascending_mills, registers.piece_count) == (USED, 2)
        assert known(bench).granted_mills == registers.control_sum_mills
        bench.print()
        bench.meter.refill(AMOUNT)
        bench.meter.check_in()
        assert balance(bench) + bench.registers().control_sum_mills == DEPOSIT

    def _agrees(self) -> bool:
        """Whether the device has carried the newest order out."""
        newest = known(self.bench).ordered
        return newest is not None and self.bench.ask("challenge")["message_number"] >= newest.newest_number


def interleaved(one: tuple[str, ...], other: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every way in which two rows of events can happen, each in its own order."""
    places = range(len(one) + len(other))
    for chosen in itertools.combinations(places, len(one)):
        first, second = iter(one), iter(other)
        yield tuple(next(first) if place in chosen else next(second) for place in places)


@pytest.mark.parametrize("recovery", RECOVERIES)
@pytest.mark.parametrize("flow", FLOWS)
def test_in_every_order_of_events_no_mill_is_made_or_lost(tmp_path: Path, flow: str, recovery: str) -> None:
    base, walked = Bench(tmp_path), 0
    base.print()
    base.meter.check_in()
    base.print()
    base.store.close()
    base.centre.close()
    for turn, events in enumerate(interleaved(FLOWS[flow], RECOVERIES[recovery])):
        world = World(base, tmp_path / str(turn))
        try:
            for event in events:
                world.event(event)
                world.check()
            world.replay()
            world.end()
            world.replay()
            world.check()
        except AssertionError as problem:
            raise AssertionError(f"{' > '.join(events)}: {problem}") from problem
        finally:
            world.bench.store.close()
            world.bench.centre.close()
        walked += 1
    assert walked >= 4


# Settlement


def settle(bench: Bench, ascending: int = USED, pieces: int = 2, zero: int = 0) -> int:
    return bench.centre.settle(SERIAL, ascending_mills=ascending, piece_count=pieces, zero_piece_count=zero)


@pytest.fixture
def used(bench: Bench) -> Bench:
    bench.print()
    bench.meter.check_in()
    bench.print()
    return bench


def test_a_device_that_cannot_come_back_is_settled_once(used: Bench) -> None:
    for _ in range(2):
        assert settle(used) == FUNDS - USED
        assert balance(used) == DEPOSIT - USED
        reopen(used)
    with pytest.raises(
        RefusedByProvider, match=r"was settled already, with \$1.48 used in 2 pieces: \$98.52 were paid"
    ):
        settle(used, USED + 740, 3)
    assert balance(used) == DEPOSIT - USED
    assert known(used).granted_mills == USED


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ((739, 2, 0), "the ascending register is below what it last reported"),
        ((USED, 0, 0), "the piece count is below"),
        ((USED, 2, 2), "the count of zero-value pieces"),
        ((FUNDS + 1, 200, 0), "more was used than was granted"),
    ],
)
def test_never_for_less_than_was_reported_or_more_than_was_granted(
    used: Bench, numbers: tuple[int, int, int], complaint: str
) -> None:
    with pytest.raises(RefusedByProvider, match=f"cannot be settled with these registers: {complaint}") as refused:
        settle(used, *numbers)
    assert "It has reported $0.74 used in 1 pieces" in refused.value.hint
    with pytest.raises(FieldError):
        settle(used, USED, 1 << 70)
    assert balance(used) == DEPOSIT - FUNDS
    assert settle(used, FUNDS, 140) == 0, "all of it may have been printed"
    assert known(used).withdrawn


def test_whoever_is_unknown_or_was_withdrawn_is_not_settled(used: Bench) -> None:
    with pytest.raises(NotForThisDevice):
        used.centre.settle(SERIAL + 1, ascending_mills=0, piece_count=0, zero_piece_count=0)
    used.meter.withdraw()
    with pytest.raises(RefusedByProvider, match="and its postage paid back"):
        settle(used)
    assert balance(used) == DEPOSIT - USED


def test_whatever_a_settled_device_says_or_is_told_is_refused(used: Bench) -> None:
    asked = used.ask("refill_begin", amount_mills=AMOUNT)["message"]
    used.centre.refill(asked)
    promise = used.ask("refill_cancel")["message"]
    report = used.ask("checkin_begin")["message"]
    used.centre.check_in(report)
    assert settle(used) == FUNDS + AMOUNT - USED
    money = balance(used)

    def said(answer: bytes) -> tuple[str, Values]:
        kind, values = opened(used, answer)
        assert "its postage was settled" in values["reason"]
        return kind, values

    assert said(used.centre.refill(asked))[0] == "refill_refusal"  # its grant is not given again
    assert said(used.centre.cancel_refill(promise))[0] == "refill_refusal"
    assert said(used.centre.check_in(report))[1]["lock_reasons"] == ["provider lock"]
    used.ask("refill_complete", message=used.centre.refill(asked))
    assert said(used.centre.withdraw(used.ask("withdraw_begin")["message"]))[0] == "withdrawal_refusal"
    with pytest.raises(RefusedByProvider, match="its postage was settled"):
        used.meter.check_in()
    assert used.meter.status().lock_reasons == ["provider lock"]
    challenge: Any = used.ask("challenge")
    for kind, fields in (("unlock_order", {"lock_reasons": ["provider lock"]}), ("key_renewal", {})):
        with pytest.raises(RefusedByProvider, match="withdrawn from service"):
            used.centre.order(kind, SERIAL, challenge, **fields)
    with pytest.raises(RefusedByProvider, match="withdrawn from service"):
        used.centre.recover(SERIAL, challenge, ascending_mills=USED, piece_count=2, zero_piece_count=0)
    assert balance(used) == money == DEPOSIT - USED


def test_a_withdrawal_that_was_asked_for_and_comes_after_the_settlement_pays_nothing(used: Bench) -> None:
    asked = used.ask("withdraw_begin")["message"]
    settle(used)
    used.ask("withdraw_complete", message=used.centre.withdraw(asked))
    assert balance(used) == DEPOSIT - USED
