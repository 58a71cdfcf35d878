"""The service table, walked cell by cell: allowed means it works, everything else is refused and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pes_sim.errors import IntegrityError, LockedCheckinOverdue, PesError, RefusedInState, Status
from pes_sim.psd.fields import Values, check_all
from pes_sim.psd.lifecycle import State
from pes_sim.psd.services import SERVICES, Service
from tests.rig import SERIAL, Rig, locked, operational, piece, pki, sign


def _initialized() -> Rig:
    rig = Rig()
    rig.initialize()
    return rig


def _authorized() -> Rig:
    rig = _initialized()
    rig.authorize()
    return rig


def _stopped() -> Rig:
    rig = operational()
    rig.psd._books.stop("a test said so")
    return rig


RIGS: dict[State, Callable[[], Rig]] = {
    State.UNINITIALIZED: Rig,
    State.INITIALIZED: _initialized,
    State.AUTHORIZED: _authorized,
    State.OPERATIONAL: operational,
    State.LOCKED: locked,
    State.ERROR: _stopped,
}


def _refill_grant(rig: Rig) -> Values:
    # A grant may arrive in a device that was locked meanwhile, so the request is made while it still can be.
    if rig.status()["state"] == State.LOCKED:
        rig.check_in()
        request = rig.request_refill(1000)
        rig.now += 73 * 3_600_000_000
        return {"message": rig.grant(request)}
    if rig.status()["state"] == State.OPERATIONAL:
        return {"message": rig.grant(rig.request_refill(1000))}
    return {"message": sign("refill_grant", {"psd_serial": SERIAL, "nonce": bytes(16), "amount_mills": 1000})}


def _receipt(rig: Rig) -> Values:
    if rig.status()["state"] in (State.AUTHORIZED, State.OPERATIONAL, State.LOCKED):
        return {"message": rig.receipt(rig.report())}
    return {"message": sign("checkin_receipt", {"psd_serial": SERIAL, "nonce": bytes(16), "acknowledged": 0})}


def _authorization(rig: Rig) -> Values:
    if not hasattr(rig, "made"):
        rig.made = Rig(seed="other").initialize()  # the device has no key yet: another one's must do
    return {"message": sign("authorization", rig.authorization())}


REQUESTS: dict[str, Callable[[Rig], Values]] = {
    "initialize": lambda rig: {"psd_serial": SERIAL, "trust_anchor": pki().ca.certificate},
    "authorize": _authorization,
    "dispense": lambda rig: piece(mailing_date=rig.status()["today"]),
    "refill_begin": lambda rig: {"amount_mills": 1000},
    "refill_complete": _refill_grant,
    "checkin_complete": _receipt,
    "read_log": lambda rig: {"first_record": 1},
}


def _id(value: object) -> str:
    return value.name if isinstance(value, Service) else str(value)


WHERE = {
    "get_info": "UIAOLE",
    "get_status": "UIAOLE",
    "get_registers": "UIAOLE",
    "get_certificates": "AOLE",
    "initialize": "U",
    "authorize": "I",
    "dispense": "O",
    "refill_begin": "O",
    "refill_complete": "OL",
    "checkin_begin": "AOL",
    "checkin_complete": "AOL",
    "read_log": "AOLE",
}
"""By hand, by the states' first letters: where each service is allowed. The table must say the same."""


def test_the_table_says_what_was_decided() -> None:
    assert {s.name: "".join(state[0] for state in State if state in s.states) for s in SERVICES} == WHERE


@pytest.mark.parametrize("state", list(State), ids=_id)
@pytest.mark.parametrize("service", SERVICES, ids=_id)
def test_every_cell_of_the_table(service: Service, state: State) -> None:
    rig = RIGS[state]()
    request = REQUESTS[service.name](rig) if service.name in REQUESTS else {}
    before = rig.everything()
    assert before[1] == state
    if state in service.states:
        answer = rig.psd.execute(service.name, request, request_id=rig.new_id(), now=rig.now)
        check_all(service.reply, answer)
        assert (rig.everything() != before) is service.changes
        return
    with pytest.raises(PesError) as caught:
        rig.psd.execute(service.name, request, request_id=rig.new_id(), now=rig.now)
    expected = {State.LOCKED: LockedCheckinOverdue, State.ERROR: IntegrityError}.get(state, RefusedInState)
    assert type(caught.value) is expected
    assert rig.everything() == before


def test_no_code_and_no_name_stands_twice() -> None:
    assert len({s.code for s in SERVICES}) == len({s.name for s in SERVICES}) == len(SERVICES)


def test_an_unknown_service_is_refused() -> None:
    with pytest.raises(PesError, match="there is no service 'print_money'") as caught:
        Rig().ask("print_money")
    assert caught.value.status is Status.UNKNOWN_SERVICE
