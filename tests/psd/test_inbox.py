"""What comes from the provider while nothing waits for it: refused, saying what comes first. The rest: test_orders."""

from __future__ import annotations

import pytest

from pes_sim.errors import NothingPending
from pes_sim.psd.fields import Values
from pes_sim.psd.inbox import ORDERS, uses_challenge
from tests.rig import SERIAL, operational, sign


def test_what_answers_nothing_says_what_comes_first() -> None:
    rig = operational()
    waiting: Values = {"psd_serial": SERIAL, "nonce": bytes(16), "message_number": 0, **rig.registers()}
    messages: dict[str, tuple[str, Values, str]] = {
        "lock": ("lock_order", {"lock_reasons": ["provider lock"]}, "Ask for a challenge first"),
        "checkin_complete": ("checkin_receipt", {"acknowledged": 0}, "Begin it first"),
        "refill_complete": ("refill_grant", {"amount_mills": 0}, "Begin it first"),
        "withdraw_complete": ("withdrawal_grant", {"amount_mills": 0}, "Begin it first"),
    }
    for service, (kind, said, hint) in messages.items():
        with pytest.raises(NothingPending) as caught:
            rig.ask(service, message=sign(kind, waiting | said))
        assert caught.value.hint == hint


def test_only_what_answers_no_message_of_the_device_uses_the_challenge_up() -> None:
    answers = {"authorize", "refill_complete", "withdraw_complete", "checkin_complete"}
    assert {name for name in ORDERS if not uses_challenge(name)} == answers
    assert not uses_challenge("dispense")
