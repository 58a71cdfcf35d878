"""The life cycle: the table says everything, and what it does not say is refused by name."""

from __future__ import annotations

import itertools

import pytest

from pes_sim.errors import RefusedInState
from pes_sim.psd.lifecycle import TRANSITIONS, Event, State, after


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_cell_leads_where_the_table_says_or_is_refused_naming_both(state: State, event: Event) -> None:
    expected = TRANSITIONS[state].get(event)
    if expected is not None:
        assert after(state, event) is expected
        return
    with pytest.raises(RefusedInState) as caught:
        after(state, event)
    assert state in str(caught.value)
    assert event in str(caught.value)


def test_every_state_can_be_reached_from_the_first() -> None:
    reached, todo = set(), [State.UNINITIALIZED]
    while todo:
        state = todo.pop()
        reached.add(state)
        todo += [target for target in TRANSITIONS[state].values() if target not in reached]
    assert reached == set(State)


def test_a_fault_leads_to_error_from_everywhere_and_only_recovery_and_zeroization_lead_out() -> None:
    assert {TRANSITIONS[state][Event.FAULT] for state in set(State) - {State.ZEROIZED}} == {State.ERROR}
    assert TRANSITIONS[State.ERROR] == {
        Event.RECOVER: State.LOCKED, Event.FAULT: State.ERROR, Event.ZEROIZE: State.ZEROIZED,
    }  # fmt: skip


def test_every_state_can_be_zeroized_and_nothing_at_all_leads_out_of_that() -> None:
    assert {TRANSITIONS[state][Event.ZEROIZE] for state in set(State) - {State.ZEROIZED}} == {State.ZEROIZED}
    assert set(TRANSITIONS[State.ZEROIZED].values()) == {State.ZEROIZED}


def test_a_withdrawn_device_never_serves_again() -> None:
    assert set(TRANSITIONS[State.WITHDRAWN].values()) == {State.ERROR, State.ZEROIZED}
