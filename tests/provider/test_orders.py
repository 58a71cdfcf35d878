"""Orders to a device in service, the provider's login, suspicion, and how a device comes back from a rollback."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pes_sim.clock import HOUR
from pes_sim.errors import (
    BadMessage,
    BadSignature,
    FieldError,
    Locked,
    NotAuthenticated,
    NotForThisDevice,
    PesError,
    RefusedByProvider,
    StaleMessage,
    Status,
)
from pes_sim.provider.centre import ORDERS
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from tests.meter.bench import Bench
from tests.meter.made import CUSTOMER, DEPOSIT, FUNDS, SERIAL
from tests.provider.helpers import Device, balance, forged, known, opened, ordered, reopen, report, request

MOVE: dict[str, Any] = {"licensing_zip": "10001", "customer": "B", "utc_offset_minutes": -300}
NONCE = b"\x07" * 16


def challenge(bench: Bench) -> Values:
    return bench.ask("challenge")


def make_suspect(bench: Bench) -> None:
    """The provider has seen registers that cannot be true."""
    bench.print()
    bench.meter.check_in()
    refusal = bench.centre.refill(forged(bench, request(bench), "refill_request", piece_count=0))
    assert known(bench).suspicion == "the piece count fell"
    bench.ask("refill_complete", message=refusal)


def audited(bench: Bench, nonce: bytes = NONCE) -> bytes:
    """The provider's own session with the PSD, and what it states."""
    proof = bench.centre.login(SERIAL, bench.ask_psd("challenge"))
    bench.ask_psd("authenticate", role="provider", proof=proof)
    statement: bytes = bench.ask_psd("audit", nonce=nonce)["statement"]
    return statement


# --- orders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lock_order", "unlock_order", "reauthorization", "time_setting"])
def test_an_order_repeats_the_challenge_and_says_what_is_known(bench: Bench, kind: str) -> None:
    bench.print()
    bench.meter.check_in()
    asked = challenge(bench)
    fields: dict[str, dict[str, Any]] = {"reauthorization": MOVE, "time_setting": {"device_time": 5}}
    said = fields.get(kind, {"lock_reasons": ["provider lock"]})
    name, values = opened(bench, bench.centre.order(kind, SERIAL, asked, **said))
    assert name == kind
    assert values == said | known(bench).registers | {
        "psd_serial": SERIAL, "nonce": asked["nonce"], "message_number": asked["message_number"],
    }  # fmt: skip
    assert known(bench).registers["ascending_mills"] == 740


def test_an_order_for_a_psd_that_is_not_registered_is_refused(bench: Bench) -> None:
    with pytest.raises(NotForThisDevice, match="PSD 2 is not registered with this provider"):
        bench.centre.order("lock_order", 2, challenge(bench), lock_reasons=["provider lock"])
    with pytest.raises(NotForThisDevice, match="PSD 2 is not registered with this provider"):
        bench.centre.login(2, challenge(bench))


@pytest.mark.parametrize(
    "kind", ["", "open_sesame", "refill_grant", "withdrawal_grant", "checkin_receipt", "authorization", "login"]
)
def test_nothing_but_an_order_is_signed_as_an_order(bench: Bench, kind: str) -> None:
    """A grant over a nonce of one's choice would be postage that nobody has paid."""
    with pytest.raises(FieldError, match=f"'{kind}' is no order") as refusal:
        bench.centre.order(kind, SERIAL, challenge(bench), amount_mills=5_000)
    assert all(known in refusal.value.hint for known in ("lock_order", "unlock_order", "time_setting"))


def test_the_orders_are_those_of_the_psd() -> None:
    assert {"reauthorization", "time_setting", "lock_order", "unlock_order"} <= set(ORDERS)
    assert all(messages.BY_NAME[kind].signer == "provider" for kind in ORDERS)


@pytest.mark.parametrize(
    ("kind", "fields", "error"),
    [
        ("lock_order", {}, FieldError),
        ("lock_order", {"lock_reasons": []}, BadMessage),
        ("lock_order", {"lock_reasons": ["check-in overdue"]}, BadMessage),
        ("unlock_order", {"lock_reasons": ["register fault", "bad mood"]}, BadMessage),
        ("unlock_order", {"lock_reasons": "register fault"}, FieldError),
        ("reauthorization", {"customer": "B"}, FieldError),
        ("reauthorization", MOVE | {"licensing_zip": "1000"}, FieldError),
        ("reauthorization", MOVE | {"licensing_zip": "1000A"}, FieldError),
        ("reauthorization", MOVE | {"customer": "B" * 65}, FieldError),
        ("reauthorization", MOVE | {"utc_offset_minutes": 15 * 60}, FieldError),
        ("time_setting", {"device_time": -1}, FieldError),
        ("time_setting", {"device_time": 1, "amount_mills": 1}, FieldError),
    ],
)
def test_an_order_that_no_device_would_obey_is_not_given_and_changes_nothing(
    bench: Bench, kind: str, fields: dict[str, Any], error: type[PesError]
) -> None:
    make_suspect(bench)
    before = known(bench)
    with pytest.raises(error):
        bench.centre.order(kind, SERIAL, challenge(bench), **fields)
    assert known(bench) == before
    assert bench.centre.balance("B") == 0


def test_a_customer_who_moves_pays_from_the_new_account(bench: Bench) -> None:
    bench.centre.deposit("B", 10_000)
    ordered(bench, "reauthorize", "reauthorization", **MOVE)
    assert (known(bench).licensing_zip, known(bench).customer) == ("10001", "B")
    bench.meter.refill(4_000)
    assert (bench.centre.balance("B"), balance(bench)) == (6_000, DEPOSIT - FUNDS)
    bench.meter.withdraw()
    assert (bench.centre.balance("B"), balance(bench)) == (10_000 + FUNDS, DEPOSIT - FUNDS)


def test_a_new_account_is_opened_with_nothing(bench: Bench) -> None:
    ordered(bench, "reauthorize", "reauthorization", **MOVE)
    with pytest.raises(RefusedByProvider, match=r"account B holds \$0\.00"):
        bench.meter.refill(1)


def test_a_lock_of_the_providers_holds_until_its_unlock(bench: Bench) -> None:
    ordered(bench, "lock", "lock_order", lock_reasons=["provider lock"])
    for _ in range(2):
        with pytest.raises(Locked, match="the provider locked it"):
            bench.print()
        bench.power_on()
    bench.meter.check_in()
    assert bench.meter.status().cleared_by == ["unlock"]
    ordered(bench, "unlock", "unlock_order", lock_reasons=["provider lock"])
    bench.print()
    bench.check_books()


def test_an_order_serves_once_and_for_its_own_challenge(bench: Bench) -> None:
    message = bench.centre.order("lock_order", SERIAL, challenge(bench), lock_reasons=["provider lock"])
    bench.ask("lock", message=message)
    ordered(bench, "unlock", "unlock_order", lock_reasons=["provider lock"])
    challenge(bench)
    with pytest.raises(StaleMessage):
        bench.ask("lock", message=message)
    assert bench.meter.status().state == "OPERATIONAL"


# --- the provider's own session --------------------------------------------------------------------------------------


def test_the_provider_logs_in_and_the_meter_takes_its_session_back_when_it_needs_it(bench: Bench) -> None:
    bench.print()
    audited(bench)
    assert bench.meter.status().role == "provider"
    bench.print()
    assert bench.meter.status().role == "customer's meter"
    bench.check_books()


def test_a_login_is_for_one_device_and_one_challenge(bench: Bench) -> None:
    proof = bench.centre.login(SERIAL, bench.ask_psd("challenge"))
    bench.ask_psd("challenge")
    with pytest.raises(PesError) as refusal:
        bench.ask_psd("authenticate", role="provider", proof=proof)
    assert refusal.value.status is Status.AUTHENTICATION_FAILED
    with pytest.raises(NotAuthenticated):
        bench.ask_psd("audit", nonce=NONCE)


# --- suspicion -------------------------------------------------------------------------------------------------------


def test_suspicion_lasts_until_somebody_has_looked_at_the_books(bench: Bench) -> None:
    make_suspect(bench)
    reopen(bench)
    for _ in range(2):
        with pytest.raises(RefusedByProvider, match="the piece count fell"):
            bench.meter.check_in()
    assert bench.meter.status().lock_reasons == ["register fault"]
    ordered(bench, "lock", "lock_order", lock_reasons=["inspection due"])
    ordered(bench, "unlock", "unlock_order", lock_reasons=["inspection due", "provider lock"])  # that is not enough
    assert known(bench).suspicion == "the piece count fell"
    with pytest.raises(RefusedByProvider, match="the piece count fell"):
        bench.meter.check_in()
    ordered(bench, "unlock", "unlock_order", lock_reasons=["register fault"])
    assert known(bench).suspicion == ""
    bench.meter.check_in()
    bench.meter.refill(1_000)
    bench.print()
    bench.check_books()


def test_no_suspicion_falls_on_anybody_else(bench: Bench) -> None:
    other = Device(bench, 2)
    make_suspect(bench)
    late = other.request(1_000)  # of a number that the suspect used as well
    bench.centre.check_in(other.ask("checkin_begin")["message"])
    kind, values = opened(bench, bench.centre.refill(late))
    assert (kind, values["reason"][:10]) == ("refill_refusal", "message 2 ")
    other.ask("refill_complete", message=bench.centre.refill(late))
    assert opened(bench, bench.centre.refill(other.request(1_000)))[0] == "refill_grant"


# --- back from a rollback --------------------------------------------------------------------------------------------


def rolled_back(bench: Bench) -> None:
    image = copy.deepcopy(bench.storage.areas)
    for _ in range(3):
        bench.print()
    bench.meter.refill(5_000)
    for _ in range(6):
        bench.meter.check_in()
    bench.storage.areas = image
    bench.lose_database()
    bench.power_on()
    bench.store.add_department("100", "Sales")
    with pytest.raises(PesError):
        bench.meter.check_in()
    assert bench.meter.status().lock_reasons == ["rollback found"]


def test_an_unlock_alone_does_not_bring_a_rolled_back_device_into_service(bench: Bench) -> None:
    rolled_back(bench)
    for _ in range(2):
        with pytest.raises(Locked):
            ordered(bench, "unlock", "unlock_order", lock_reasons=["rollback found"])
        assert bench.meter.status().state == "LOCKED"


def test_a_rolled_back_device_serves_again_once_its_books_are_reconciled(bench: Bench) -> None:
    rolled_back(bench)
    spent = balance(bench)
    bench.centre.reconcile(audited(bench), NONCE)
    assert known(bench).registers == {name: getattr(bench.registers(), name) for name in known(bench).registers}
    assert known(bench).suspicion != ""  # who looked at the logs says so by unlocking it
    ordered(bench, "unlock", "unlock_order", lock_reasons=["rollback found", "register fault"])
    assert balance(bench) == spent == DEPOSIT - FUNDS - 5_000  # what was lost is for people to settle
    bench.power_on()
    bench.meter.check_in()
    late = request(bench, 1_000)  # its number was used once, in what was rolled back
    bench.meter.check_in()
    reply = bench.ask("refill_complete", message=bench.centre.refill(late))
    assert "comes after" in reply["reason"]
    bench.meter.refill(1_000)
    bench.meter.check_in()
    bench.print()
    assert known(bench).suspicion == ""
    assert balance(bench) == spent - 1_000


def test_a_statement_over_another_nonce_is_not_taken(bench: Bench) -> None:
    rolled_back(bench)
    before = known(bench)
    statement = audited(bench)
    with pytest.raises(StaleMessage, match="over another nonce"):
        bench.centre.reconcile(statement, b"\x08" * 16)
    assert known(bench) == before


def test_a_statement_that_somebody_else_signed_is_not_taken(bench: Bench) -> None:
    statement = bytearray(audited(bench))
    statement[-1] ^= 1
    with pytest.raises(BadSignature):
        bench.centre.reconcile(bytes(statement), NONCE)
    with pytest.raises(BadMessage, match="a checkin_report message came where audit_report belongs"):
        bench.centre.reconcile(report(bench), NONCE)


def test_books_are_not_closed_over_something_under_way(bench: Bench) -> None:
    bench.centre.refill(request(bench))  # granted, and not with the device yet
    with pytest.raises(RefusedByProvider, match="has something under way: REFILL_PENDING"):
        bench.centre.reconcile(audited(bench), NONCE)
    bench.meter.refill(5_000)
    bench.centre.reconcile(audited(bench), NONCE)
    bench.check_books()


def test_registers_that_do_not_add_up_are_never_taken_for_the_truth(bench: Bench) -> None:
    statement = forged(bench, audited(bench), "audit_report", descending_mills=FUNDS + 1)
    with pytest.raises(RefusedByProvider, match=r"AR \+ DR is not the control sum"):
        bench.centre.reconcile(statement, NONCE)


def test_a_withdrawn_device_is_not_reconciled(bench: Bench) -> None:
    bench.meter.withdraw()
    with pytest.raises(RefusedByProvider, match="was withdrawn from service"):
        bench.centre.reconcile(audited(bench), NONCE)


def test_a_device_that_missed_its_check_in_is_innocent(bench: Bench) -> None:
    bench.clock.advance(73 * HOUR)
    bench.meter.check_in()
    assert known(bench).suspicion == ""
    assert bench.centre.balance(CUSTOMER) == DEPOSIT - FUNDS
