"""The state record: everything comes back, older and newer forms are told apart."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.errors import IntegrityError
from pes_sim.psd import state
from pes_sim.psd.lifecycle import Lock, State, SubState
from pes_sim.psd.policy import Regime
from pes_sim.psd.profile import Profile
from pes_sim.psd.registers import Registers
from pes_sim.psd.state import Answer, Attempts, Exchange, PsdState, Snapshot, Software
from tests.rig import Rig, operational

numbers = st.integers(0, 2**63 - 1)
words = st.text(max_size=10)
blobs = st.binary(max_size=40)
exchanges = st.builds(Exchange, blobs, numbers, numbers, blobs)
images = st.builds(Software, numbers, numbers, blobs, words, numbers)
states = st.builds(
    PsdState,
    **{
        "lifecycle": st.sampled_from(State),
        "locks": st.lists(st.sampled_from([lock.value for lock in Lock]), unique=True).map(tuple),
        "profile": st.sampled_from(Profile),
        "regime": st.sampled_from(Regime),
        "attempts": st.tuples(*[st.builds(Attempts, numbers, numbers)] * 3),
        "reports": st.lists(blobs, max_size=16).map(tuple),
        "software": images,
        "loading": images,
        "refill": exchanges,
        "withdrawal": exchanges,
        "checkin": exchanges,
        "utc_offset_minutes": st.integers(-840, 840),
        "clock_offset": st.integers(-(2**63), 2**63 - 1),
    }
    | {
        f.name: {"int": numbers, "str": words, "bytes": blobs}[str(f.type)]
        for f in fields(PsdState)
        if f.type in ("int", "str", "bytes") and f.name not in ("utc_offset_minutes", "clock_offset")
    },
)
answers = st.builds(
    Answer, st.binary(min_size=16, max_size=16), words, blobs,
    st.dictionaries(words, st.one_of(numbers, blobs, words, st.lists(words))),
)  # fmt: skip
snapshots = st.builds(
    Snapshot, states, st.builds(Registers, *[numbers] * 5), numbers, numbers, numbers,
    st.binary(min_size=32, max_size=32), answers,
)  # fmt: skip


def other(value: Any) -> Any:
    """A value of the same kind that no field has by default."""
    if isinstance(value, Exchange):
        return Exchange(b"nonce", 7, 740, b"message")
    if isinstance(value, Software):
        return Software(0x01020300, 9, b"digest", "software-1.seg", 4)
    if isinstance(value, State):
        return State.WITHDRAWN
    if isinstance(value, Profile):
        return Profile.FIPS_140_3
    if isinstance(value, Regime):
        return Regime.IBI
    if value and isinstance(value, tuple):
        return (Attempts(3, 7), Attempts(), Attempts(1, 2))
    return {int: -300, str: "text", bytes: b"bytes", tuple: ("provider lock", "date fault")}[type(value)]


FULL = PsdState(**{f.name: other(getattr(PsdState(), f.name)) for f in fields(PsdState)})
"""A state in which no field is as it is in a blank device."""
SNAPSHOT = Snapshot(
    FULL, Registers(1, 2, 3, 4, 5), 13, 12, 6, bytes(range(32)),
    Answer(bytes(16), "refill_begin", b"digest", {"message": b"message", "lock_reasons": ["a"], "n": 1, "t": "x"}),
)  # fmt: skip


def test_everything_comes_back_of_a_state_that_differs_from_a_blank_one_in_every_field() -> None:
    blank = PsdState()
    assert all(getattr(FULL, f.name) != getattr(blank, f.name) for f in fields(PsdState))
    found = state.decode(state.encode(SNAPSHOT))
    assert found == SNAPSHOT
    for f in fields(PsdState):  # 1 == True, "x" == StrEnum("x"): the kinds too
        assert type(getattr(found.state, f.name)) is type(getattr(FULL, f.name)), f.name


@given(snapshots)
def test_whatever_is_written_comes_back(snapshot: Snapshot) -> None:
    assert state.decode(state.encode(snapshot)) == snapshot


def test_the_same_state_has_the_same_bytes() -> None:
    assert state.encode(SNAPSHOT) == state.encode(replace(SNAPSHOT))


@pytest.mark.parametrize(
    ("changes", "sub_state"),
    [
        ({}, SubState.NONE),
        ({"refill": Exchange(b"n")}, SubState.REFILL_PENDING),
        ({"refill": Exchange(b"n"), "refill_cancellation": b"c"}, SubState.REFILL_CANCELLED),
        ({"withdrawal": Exchange(b"n")}, SubState.WITHDRAWAL_PENDING),
        ({"checkin": Exchange(b"n")}, SubState.NONE),
    ],
)
def test_what_is_under_way_makes_the_sub_state(changes: dict[str, Any], sub_state: SubState) -> None:
    assert PsdState(**changes).sub_state is sub_state


# Other forms


def document(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = cbor2.loads(state.encode(SNAPSHOT))
    return found | changes


@pytest.mark.parametrize("found", [1, 3, None, "2"])
def test_another_form_is_refused_by_number(found: object) -> None:
    with pytest.raises(IntegrityError, match=f"format {found} cannot be read; this version knows 2"):
        state.decode(cbor2.dumps(document(format=found)))


def test_a_record_without_a_form_is_refused() -> None:
    body = document()
    del body["format"]
    with pytest.raises(IntegrityError, match="format None"):
        state.decode(cbor2.dumps(body))


def test_a_device_of_the_first_form_comes_up_stopped_and_says_why_and_is_not_written_to() -> None:
    from pes_sim.psd.nvram import Nvram
    from pes_sim.psd.records import Kind

    rig = Rig()
    old = {"format": 1, "state": {"lifecycle": "OPERATIONAL"}, "registers": {}, "time": 1, "chain": bytes(32),
           "answer": {}}  # fmt: skip
    Nvram(rig.storage, rig.psd._keys.derive("log")).append(Kind.STATE, cbor2.dumps(old), lambda: b"")
    before = {name: rig.storage.read(name, 0, rig.storage.size(name)) for name in rig.storage.names()}
    rig.power_on()
    assert rig.status()["state"] == "ERROR"
    assert rig.status()["lock_reasons"] == ["state records of format 1 cannot be read; this version knows 2"]
    assert {name: rig.storage.read(name, 0, rig.storage.size(name)) for name in rig.storage.names()} == before


def test_a_field_that_a_newer_program_added_is_not_dropped_but_refused() -> None:
    body = document()
    body["state"] |= {"withdrawn": 1, "sealed": 1}
    with pytest.raises(IntegrityError, match="does not know: sealed, withdrawn"):
        state.decode(cbor2.dumps(body))


@pytest.mark.parametrize(
    "changes",
    [
        {"state": {"lifecycle": "SLEEPING"}},
        {"state": {"regime": "IMX"}},
        {"state": {"profile": "FIPS 140-4"}},
        {"state": {"locks": ["moonlight"]}},
        {"state": {"refill": {"nonce": b"", "number": 0, "amount": 0, "message": b"", "currency": "CAD"}}},
        {"registers": {"ascending": 0, "escrow": 1}},
        {"answer": {"request_id": b"", "extra": 1}},
        {"escrow": 1},
    ],
    ids=["state", "regime", "profile", "lock", "exchange", "register", "answer", "record"],
)
def test_whatever_else_a_newer_program_added_is_refused_by_name(changes: dict[str, Any]) -> None:
    body = document()
    for name, value in changes.items():
        body[name] = body[name] | value if isinstance(value, dict) else value
    with pytest.raises(IntegrityError):
        state.decode(cbor2.dumps(body))


# In the device


def test_every_field_survives_a_restart_of_a_device_with_everything_under_way() -> None:
    rig = operational(10_000)
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock", "inspection due"]))
    rig.ask("withdraw_begin")
    rig.report()
    before = rig.psd._books.state
    assert before.withdrawal.nonce
    assert before.checkin.nonce
    rig.power_on()
    assert rig.psd._books.state == before
