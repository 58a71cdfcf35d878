"""The state record: everything comes back, older and newer forms are told apart."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest

from pes_sim.errors import IntegrityError
from pes_sim.psd import state
from pes_sim.psd.lifecycle import State
from pes_sim.psd.registers import Registers
from pes_sim.psd.state import Answer, PsdState, Snapshot

SNAPSHOT = Snapshot(
    PsdState(State.LOCKED, "", 7, b"anchor", b"key", b"", "20260", "ACME", -300, b"psd", 5, b"provider", b"point", 9,
             b"nonce", 740, b"message", b"other", 10, 11, 12),
    Registers(1, 2, 3, 4, 5),
    13,
    bytes(32),
    Answer(bytes(16), "refill_begin", b"digest", {"message": b"message"}),
)  # fmt: skip


def test_everything_comes_back() -> None:
    assert state.decode(state.encode(SNAPSHOT)) == SNAPSHOT


def test_the_same_state_has_the_same_bytes() -> None:
    assert state.encode(SNAPSHOT) == state.encode(replace(SNAPSHOT))


def test_another_form_is_refused_by_number() -> None:
    document = cbor2.loads(state.encode(SNAPSHOT))
    document["format"] = 2
    with pytest.raises(IntegrityError, match="format 2 cannot be read; this version knows 1"):
        state.decode(cbor2.dumps(document))


def test_a_field_that_a_newer_program_added_is_not_dropped_but_refused() -> None:
    document = cbor2.loads(state.encode(SNAPSHOT))
    document["state"]["withdrawn"] = 1
    with pytest.raises(IntegrityError, match="does not know: withdrawn"):
        state.decode(cbor2.dumps(document))
