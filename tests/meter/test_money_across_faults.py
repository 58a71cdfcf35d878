"""One meter, everything that can go wrong, in any order: after each step every book agrees with every other.

The reference beside it is a handful of integers and a dictionary.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pes_sim.clock import HOUR, MINUTE
from pes_sim.errors import (
    InsufficientFunds,
    Locked,
    NothingPending,
    PesError,
    RefillPending,
    RefusedByProvider,
    RefusedInState,
    RequestIdReused,
    StorageFull,
)
from pes_sim.indicium import layout
from pes_sim.meter.rates import built_in
from pes_sim.meter.store import CARRIED, StoredPiece
from tests.meter.bench import SMALL_BANK, Bench, Interrupted
from tests.meter.made import CUSTOMER, DEPARTMENTS, DEPOSIT

IMI = layout.builtin("imi_std")
RATES = built_in().on(date(2026, 1, 5))
CUTS = st.sampled_from(["", "there", "back"])


class MoneyAcrossFaults(RuleBasedStateMachine):
    """A meter with a short memory and little money, and what it ought to say."""

    @initialize()
    def manufacture(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pes-sim-test-"))
        self.bench = Bench(self.folder, bank=SMALL_BANK, funds=3_000)
        self.deposited = DEPOSIT
        self.on_deposit = DEPOSIT - 3_000
        self.ascending = 0
        self.descending = 3_000
        self.used = dict.fromkeys(DEPARTMENTS, 0)
        self.printed: list[tuple[bytes, dict[str, object], bytes]] = []
        self.known = list(self.printed)  # of these the request ids are
        self.acknowledged = 0
        self.nothing_pending()
        self.not_withdrawing()
        self.withdrawn = False
        self.locked_by_provider = False
        self.last_receipt = self.bench.clock.now()
        self.disk_is_full = False
        self.unstored = 0  # pieces that were paid meanwhile

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.bench.store.close()
            self.bench.centre.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def nothing_pending(self) -> None:
        self.pending = 0  # the amount of the refill under way
        self.decided = False  # whether the provider has answered it, granting or refusing
        self.granted = False
        self.cancelled = False  # whether the PSD has promised not to accept it
        self.overtaken = False  # whether a check-in arrived before it

    def not_withdrawing(self) -> None:
        self.withdrawing = False
        self.withdrawal_decided = False
        self.paid_back = False
        self.withdrawal_overtaken = False

    @property
    def locked(self) -> bool:
        return self.locked_by_provider or self.bench.clock.now() >= self.last_receipt + 72 * HOUR

    @property
    def refusal(self) -> type[PesError] | None:
        """With what a print is refused, before anybody looks at its amount."""
        if self.locked and not self.withdrawn:
            return Locked
        return RefusedInState if self.withdrawn or self.withdrawing else None

    # Printing

    @rule(
        department=st.sampled_from(sorted(DEPARTMENTS)),
        weight=st.sampled_from([1, 100, 101, 350]),
        extra=st.sampled_from([0, 0, 0, 1, 999, 90_000]),
    )
    def prints(self, department: str, weight: int, extra: int) -> None:
        today = self.bench.meter.status().today
        postage = RATES.postage("first_class_letter", weight) + extra
        request_id = self.bench.entropy(16)
        asked: dict[str, object] = {
            "department": department,
            "weight": weight,
            "mailing_date": today,
            "declared_mills": postage if extra else 0,
        }
        if self.refusal:
            with pytest.raises(self.refusal):
                self.bench.print(request_id, **asked)
        elif postage > self.descending:
            with pytest.raises(InsufficientFunds) as refusal:
                self.bench.print(request_id, **asked)
            assert refusal.value.detail["missing_mills"] == postage - self.descending
        else:
            answer = self.bench.print(request_id, **asked)
            self.ascending += postage
            self.descending -= postage
            self.used[department] += postage
            self.unstored += self.disk_is_full
            self.printed.append((request_id, asked, answer["indicium"]))
            self.known.append(self.printed[-1])
            values = IMI.unpack(answer["indicium"]).values
            assert values["postage_mills"] == postage
            assert values["ascending_mills"] == self.ascending
            assert values["descending_mills"] == self.descending

    @precondition(lambda self: self.known)
    @rule(which=st.integers(0, 1 << 30), twist=st.booleans())
    def asks_again(self, which: int, twist: bool) -> None:
        request_id, asked, indicium = self.known[which % len(self.known)]
        if twist:
            with pytest.raises(RequestIdReused):
                self.bench.print(request_id, **asked | {"destination": "60601"})
        else:
            assert self.bench.print(request_id, **asked)["indicium"] == indicium

    @rule()
    def prints_until_the_psd_has_forgotten(self) -> None:
        for _ in range(25):
            if not self.refusal and self.descending >= 740:
                self.prints("100", 100, 0)

    # Refills

    @rule(amount=st.sampled_from([740, 5_000, 20_000, 900_000]), cut=CUTS)
    def refills(self, amount: int, cut: str) -> None:
        refusal = self.refusal
        other = self.pending and (amount != self.pending or self.cancelled)
        if not self.withdrawn and not self.locked and (self.withdrawing or other):
            refusal = RefillPending
        if refusal:
            with pytest.raises(refusal):
                self.bench.meter.refill(amount)
            return
        self.pending = amount
        if cut != "there" and not self.decided:
            # Once: the same request has the same answer for ever.
            self.decided = True
            self.granted = not self.overtaken and amount <= self.on_deposit
            self.on_deposit -= amount if self.granted else 0
        self.bench.wire.cut = cut
        if cut:
            with pytest.raises(Interrupted):
                self.bench.meter.refill(amount)
        elif self.granted:
            self.bench.meter.refill(amount)
            self.descending += amount
            self.nothing_pending()
        else:
            with pytest.raises(RefusedByProvider):
                self.bench.meter.refill(amount)
            self.nothing_pending()
        self.bench.wire.cut = ""

    @rule(cut=CUTS)
    def cancels(self, cut: str) -> None:
        if self.withdrawn or not self.pending:
            with pytest.raises(RefusedInState if self.withdrawn else NothingPending):
                self.bench.meter.cancel_refill()
            return
        self.cancelled = True
        if cut != "there":
            self.on_deposit += self.pending if self.granted else 0
            self.decided, self.granted = True, False
        self.bench.wire.cut = cut
        if cut:
            with pytest.raises(Interrupted):
                self.bench.meter.cancel_refill()
        else:
            self.bench.meter.cancel_refill()
            self.nothing_pending()
        self.bench.wire.cut = ""

    @rule(cut=CUTS, seldom=st.integers(0, 3))
    def withdraws(self, cut: str, seldom: int) -> None:
        if seldom and not self.withdrawing:
            return  # nothing much happens afterwards
        if self.unstored or self.withdrawn or self.pending:
            error = StorageFull if self.unstored else RefusedInState if self.withdrawn else RefillPending
            with pytest.raises(error):
                self.bench.meter.withdraw()
            return
        self.withdrawing = True
        if cut != "there" and not self.withdrawal_decided:
            self.withdrawal_decided = True
            self.paid_back = not self.withdrawal_overtaken
            self.on_deposit += self.descending if self.paid_back else 0
        self.bench.wire.cut = cut
        if cut:
            with pytest.raises(Interrupted):
                self.bench.meter.withdraw()
        elif self.paid_back:
            assert self.bench.meter.withdraw().amount_mills == self.descending
            self.descending, self.withdrawn = 0, True
            self.not_withdrawing()
        else:
            with pytest.raises(RefusedByProvider):
                self.bench.meter.withdraw()
            self.not_withdrawing()
        self.bench.wire.cut = ""

    @rule(amount=st.sampled_from([1, 10_000]))
    def deposits(self, amount: int) -> None:
        self.bench.centre.deposit(CUSTOMER, amount)
        self.on_deposit += amount
        self.deposited += amount

    # Check-in and time

    @rule(cut=CUTS)
    def checks_in(self, cut: str) -> None:
        if self.unstored:
            with pytest.raises(StorageFull):
                self.bench.meter.check_in()
            return
        if self.withdrawn:
            with pytest.raises(RefusedInState):
                self.bench.meter.check_in()
            return
        self.bench.wire.cut = cut
        if cut:
            with pytest.raises(Interrupted):
                self.bench.meter.check_in()
        elif self.paid_back:
            with pytest.raises(RefusedByProvider, match="withdrawn"):
                self.bench.meter.check_in()
            self.locked_by_provider = True
        else:
            self.bench.meter.check_in()
            self.last_receipt = self.bench.clock.now()
            self.acknowledged = len(self.printed)
        self.bench.wire.cut = ""
        self.overtaken |= bool(self.pending) and cut != "there"
        self.withdrawal_overtaken |= self.withdrawing and cut != "there"

    @rule(minutes=st.sampled_from([1, 60, 24 * 60, 72 * 60, 72 * 60 + 1]))
    def time_passes(self, minutes: int) -> None:
        self.bench.clock.advance(minutes * MINUTE)

    # Faults

    @rule()
    def the_power_is_cut(self) -> None:
        self.bench.power_on()
        self.disk_is_full = False
        self.unstored = 0

    @rule()
    def the_database_is_lost(self) -> None:
        self.bench.lose_database()
        self.the_power_is_cut()
        # Of pieces that are neither there nor in the log any more, nothing but their number and postage is known.
        self.used = dict.fromkeys(DEPARTMENTS, 0)
        log = [entry for entry in self.bench.meter.log() if entry["piece_kind"] != "reprint"]
        for entry in log:
            paid = IMI.unpack(entry["indicium"]).values["postage_mills"]
            self.used[entry["reference"].decode()] += int(str(paid))
        held = {entry["request_id"] for entry in log}
        self.known = [piece for piece in self.printed if piece[0] in held]
        if carried := self.ascending - sum(self.used.values()):
            assert len(self.printed) - len(log) <= self.acknowledged
            self.used[CARRIED] = carried
        for code, name in DEPARTMENTS.items():
            self.bench.store.add_department(code, name)

    @rule()
    def the_provider_is_restarted(self) -> None:
        self.bench.centre.close()
        self.bench.centre = self.bench.wire.centre = self.bench.open_centre()

    @rule()
    def the_disk_is_full_until_the_next_power_cut_or_clean_up(self) -> None:
        def full(*pieces: StoredPiece) -> None:
            raise StorageFull("no room")

        self.bench.store.add = full  # type: ignore[method-assign]
        self.disk_is_full = True

    @precondition(lambda self: self.disk_is_full)
    @rule()
    def there_is_room_again(self) -> None:
        del self.bench.store.add
        self.disk_is_full = False
        self.unstored = 0

    # What holds at all times

    @invariant()
    def every_book_agrees(self) -> None:
        if not hasattr(self, "folder"):
            return
        registers = self.bench.registers()
        assert (registers.ascending_mills, registers.descending_mills) == (self.ascending, self.descending)
        assert registers.control_sum_mills == self.ascending + self.descending
        assert registers.piece_count == len(self.printed)
        under_way = self.pending if self.granted else 0
        assert self.bench.centre.balance(CUSTOMER) == self.on_deposit
        back = self.descending if self.paid_back else 0  # with the customer again, and not off the register yet
        assert self.on_deposit + under_way + registers.control_sum_mills - back == self.deposited
        if self.unstored:
            with pytest.raises(StorageFull):
                self.bench.meter.departments()
        else:
            assert {d.code: d.postage_mills for d in self.bench.meter.departments()} == self.used
            assert self.bench.store.totals() == (len(self.printed), self.ascending)


TestMoneyAcrossFaults = MoneyAcrossFaults.TestCase
TestMoneyAcrossFaults.settings = settings(
    max_examples=12,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
