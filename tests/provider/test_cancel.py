"""Cancelling a refill: whatever arrives when, and however often, no mill is lost and none is made."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pes_sim.errors import BadMessage, NothingPending, RefusedByProvider, StaleMessage, StorageFailed
from pes_sim.provider.centre import DataCentre
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import Slot
from tests.meter.bench import Bench
from tests.meter.made import CUSTOMER, DEPOSIT, FUNDS
from tests.provider.helpers import balance, forged, known, opened, ordered, reopen, repeated, report, request

LEFT = DEPOSIT - FUNDS


def cancellation(bench: Bench) -> bytes:
    message: bytes = bench.ask("refill_cancel")["message"]
    return message


def complete(bench: Bench, reply: bytes) -> Values:
    return bench.ask("refill_complete", message=reply)


def test_a_refill_that_was_never_asked_for_is_cancelled_for_nothing(bench: Bench) -> None:
    late = request(bench)
    refusal = bench.centre.cancel_refill(cancellation(bench))
    answer = repeated(bench, late, "refill_request", reason="cancelled by the device")
    assert opened(bench, refusal) == ("refill_refusal", answer)
    assert bench.centre.refill(late) == refusal  # it arrives after all
    assert balance(bench) == LEFT
    assert complete(bench, refusal)["amount_mills"] == 0
    bench.meter.refill(5_000)
    bench.check_books()


def test_a_grant_that_got_lost_is_taken_back_once(bench: Bench) -> None:
    message = request(bench)
    grant = bench.centre.refill(message)
    assert balance(bench) == LEFT - 5_000
    promise = cancellation(bench)
    refusal = bench.centre.cancel_refill(promise)
    assert balance(bench) == LEFT
    for centre in (bench.centre, reopen(bench)):
        assert centre.cancel_refill(promise) == refusal
        assert centre.refill(message) == refusal
    assert balance(bench) == LEFT
    with pytest.raises(BadMessage, match="cancelled"):
        complete(bench, grant)
    assert complete(bench, refusal)["amount_mills"] == 0
    with pytest.raises(NothingPending):
        complete(bench, grant)
    bench.meter.refill(5_000)
    bench.meter.check_in()
    bench.check_books()


def test_cancelling_after_a_refusal_gets_that_refusal(bench: Bench) -> None:
    message = request(bench, DEPOSIT)
    refusal = bench.centre.refill(message)
    assert bench.centre.cancel_refill(cancellation(bench)) == refusal
    assert balance(bench) == LEFT
    assert complete(bench, refusal)["reason"].startswith("account")


def test_pieces_and_check_ins_in_between_do_not_make_a_cancellation_suspicious(bench: Bench) -> None:
    bench.centre.refill(request(bench))
    promise = cancellation(bench)
    bench.print()
    bench.meter.check_in()
    bench.print()
    refusal = bench.centre.cancel_refill(promise)
    assert balance(bench) == LEFT
    complete(bench, refusal)
    bench.meter.check_in()
    bench.check_books()


def test_a_refusal_is_bound_to_its_refill(bench: Bench) -> None:
    request(bench)
    first = bench.centre.cancel_refill(cancellation(bench))
    complete(bench, first)
    request(bench)
    cancellation(bench)
    with pytest.raises(StaleMessage):
        complete(bench, first)
    assert bench.meter.status().sub_state == "REFILL_CANCELLED"


def test_the_money_goes_back_to_the_account_that_paid(bench: Bench) -> None:
    bench.centre.refill(request(bench))
    ordered(bench, "reauthorize", "reauthorization", licensing_zip="10001", customer="B", utc_offset_minutes=0)
    bench.centre.cancel_refill(cancellation(bench))
    assert (bench.centre.balance(CUSTOMER), bench.centre.balance("B")) == (LEFT, 0)


@pytest.mark.parametrize("claimed", [5_001, 1, 900_000])
def test_what_goes_back_is_what_was_taken_whatever_the_cancellation_claims(bench: Bench, claimed: int) -> None:
    bench.centre.refill(request(bench))
    promise = forged(bench, cancellation(bench), "refill_cancellation", amount_mills=claimed)
    bench.centre.cancel_refill(promise)
    assert balance(bench) == LEFT


def test_a_device_that_has_booked_the_refill_gets_nothing_back_for_it(bench: Bench) -> None:
    """It was rolled back, or broken into: no PSD of ours signs a cancellation after it booked the grant."""
    promise = forged(bench, message := request(bench), "refill_request")  # to get at the nonce
    grant = bench.centre.refill(message)
    complete(bench, grant)
    values = messages.peek(promise, "refill_request")[1]
    for registers in ({}, {"descending_mills": FUNDS + 5_000, "control_sum_mills": FUNDS + 5_000}):
        lie = forged_cancellation(bench, values | registers)
        if not registers:
            bench.meter.check_in()  # the provider hears of the booking first
        kind, said = opened(bench, bench.centre.cancel_refill(lie))
        assert kind == "refill_refusal"
        assert said["reason"] == (
            "a refill was cancelled that the registers say was booked. Both logs have to be looked at"
        )
    assert balance(bench) == LEFT - 5_000
    assert known(bench).suspicion == "a refill was cancelled that the registers say was booked"
    with pytest.raises(RefusedByProvider, match="that the registers say was booked"):
        bench.meter.refill(1_000)


def forged_cancellation(bench: Bench, values: Values) -> bytes:
    return messages.sign("refill_cancellation", values, partial(bench.keys.sign, Slot.MESSAGE))


def test_a_nonce_of_another_message_cancels_nothing(bench: Bench) -> None:
    message = report(bench)
    bench.centre.check_in(message)
    nonce = messages.peek(message, "checkin_report")[1]["nonce"]
    request(bench)
    with pytest.raises(BadMessage, match="this nonce was used for another message"):
        bench.centre.cancel_refill(forged(bench, cancellation(bench), "refill_cancellation", nonce=nonce))


def test_the_nonce_of_a_cancelled_refill_serves_no_other_message(bench: Bench) -> None:
    promise = cancellation_of_a_lost_request(bench)
    bench.centre.cancel_refill(promise)
    nonce = messages.peek(promise, "refill_cancellation")[1]["nonce"]
    with pytest.raises(BadMessage, match="this nonce was used for another message"):
        bench.centre.check_in(forged(bench, report(bench), "checkin_report", nonce=nonce))


def cancellation_of_a_lost_request(bench: Bench) -> bytes:
    request(bench)
    return cancellation(bench)


def test_many_of_both_at_once_take_and_give_back_once(bench: Bench) -> None:
    message, promise = request(bench), cancellation(bench)
    replies: list[bytes] = []
    calls = [lambda: bench.centre.refill(message), lambda: bench.centre.cancel_refill(promise)] * 4
    threads = [threading.Thread(target=lambda call=call: replies.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == 8
    assert balance(bench) == LEFT
    assert known(bench).granted_mills == FUNDS
    assert opened(bench, bench.centre.refill(message))[0] == "refill_refusal"


@pytest.mark.parametrize("granted", [True, False])
def test_a_provider_that_fails_in_the_middle_of_a_cancellation_has_done_nothing(
    bench: Bench, granted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    message, before = request(bench), LEFT
    if granted:
        bench.centre.refill(message)
        before -= 5_000
    promise = cancellation(bench)

    def broken(*_: object) -> None:
        raise StorageFailed("the disk is gone")

    with monkeypatch.context() as disk:
        disk.setattr("pes_sim.provider.answers.Answers.keep", broken)  # the last thing that is written
        with pytest.raises(StorageFailed):
            bench.centre.cancel_refill(promise)
    assert balance(bench) == before
    complete(bench, bench.centre.cancel_refill(promise))
    assert balance(bench) == LEFT
    bench.check_books()


# --- every order of arrival ------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.sampled_from(
        ["request arrives", "cancel", "cancellation arrives", "reply arrives", "first reply arrives", "print",
         "check in", "power cut", "provider restarts", "begin"]
    ),
    max_size=25,
)  # fmt: skip


class Parcels:
    """A refill whose messages go by a post that repeats, delays and loses them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.requests = [request(bench)]
        self.promises: list[bytes] = []
        self.replies: list[bytes] = []

    def step(self, name: str) -> None:
        bench = self.bench
        if name == "request arrives":
            self.replies.append(bench.centre.refill(self.requests[-1]))
        elif name == "cancel" and bench.meter.status().sub_state:
            self.promises.append(cancellation(bench))
        elif name == "cancellation arrives" and self.promises:
            self.replies.append(bench.centre.cancel_refill(self.promises[-1]))
        elif name in ("reply arrives", "first reply arrives") and self.replies:
            self.deliver(self.replies[0 if name.startswith("first") else -1])
        elif name == "begin" and not bench.meter.status().sub_state:
            self.requests.append(request(bench))
        elif name == "print":
            bench.print()
        elif name == "check in":
            bench.meter.check_in()
        elif name == "power cut":
            bench.power_on()
        elif name == "provider restarts":
            reopen(bench)

    def deliver(self, reply: bytes) -> None:
        with contextlib.suppress(BadMessage, StaleMessage, NothingPending):
            complete(self.bench, reply)

    def settle(self) -> None:
        """The post works at last."""
        if self.bench.meter.status().sub_state == "REFILL_PENDING":
            complete(self.bench, self.bench.centre.refill(self.requests[-1]))
        elif self.bench.meter.status().sub_state:
            complete(self.bench, self.bench.centre.cancel_refill(cancellation(self.bench)))

    def check(self, centre: DataCentre) -> None:
        on_the_way = known(self.bench).granted_mills - self.bench.registers().control_sum_mills
        assert on_the_way in (0, 5_000)
        assert on_the_way == 0 or self.bench.meter.status().sub_state
        assert centre.balance(CUSTOMER) + self.bench.registers().control_sum_mills + on_the_way == DEPOSIT
        assert known(self.bench).suspicion == ""


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_in_every_order_of_arrival_the_money_is_there_to_the_mill(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        parcels = Parcels(Bench(Path(folder)))
        for name in steps:
            parcels.step(name)
            parcels.check(parcels.bench.centre)
        parcels.settle()
        parcels.check(parcels.bench.centre)
        parcels.bench.check_books()
        parcels.bench.meter.refill(1_000)
        parcels.bench.meter.check_in()
        parcels.bench.check_books()
        parcels.bench.store.close()
        parcels.bench.centre.close()
