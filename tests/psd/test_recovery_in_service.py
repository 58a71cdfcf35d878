"""The provider's recovery order to a device that serves: the way out wherever it and the provider do not agree. Never
below what the device itself knows, and always locked at first.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest

from pes_sim.errors import (
    BadMessage,
    IntegrityError,
    Locked,
    NothingPending,
    PesError,
    RefusedInState,
    StorageFailed,
    StorageFull,
)
from pes_sim.psd.faults import Fault, FaultKind, FaultyStorage, PowerCut
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.wreck import REPORT
from tests.rig import SERIAL, Full, Rig, operational, sign

FUNDS: Final = 100_000
GAP: Final = 1 << 32
BANK: Final = 65536


def registers(spent: int, pieces: int, *, funds: int = FUNDS) -> dict[str, int]:
    return {
        "ascending_mills": spent, "descending_mills": funds - spent, "control_sum_mills": funds,
        "piece_count": pieces, "zero_piece_count": 0,
    }  # fmt: skip


def order(rig: Rig, said: dict[str, int], **more: Any) -> bytes:
    challenge = rig.challenge()
    values = {"psd_serial": SERIAL, "nonce": challenge["nonce"], "message_number": challenge["message_number"]}
    return sign(
        "recovery_order", {**values, **said, "newest_number": GAP, "log_sequence": 0, "device_time": rig.now, **more}
    )


def recover(rig: Rig, said: dict[str, int], **more: Any) -> None:
    rig.ask("recover", message=order(rig, said, **more))
    assert rig.status()["state"] == "LOCKED"
    assert "register fault" in rig.status()["lock_reasons"]
    assert rig.registers() == said


def unlock(rig: Rig, *reasons: str) -> None:
    rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=["register fault", *reasons]))
    rig.log_in()
    rig.check_in()
    assert rig.status()["state"] == "OPERATIONAL"


def used(**made: Any) -> Rig:
    """A device that printed two pieces."""
    rig = operational(FUNDS, bank=BANK, **made)
    rig.dispense(b"the first piece.")
    rig.dispense(b"the second piece")
    return rig


def retried(rig: Rig) -> Rig:
    """Its last piece, asked for once more."""
    before = rig.registers()
    rig.dispense(b"the second piece")
    assert rig.registers() == before
    return rig


def test_where_nothing_else_was_spent_the_log_goes_on_and_every_request_id_is_known_still() -> None:
    rig = used()
    first, newest = rig.ask("read_log", first_record=1)["entries"], rig.status()["log_sequence"]
    recover(rig, registers(1_480, 2))
    assert rig.status()["log_sequence"] == newest + 1
    rig.log_in()
    assert rig.report()["message_number"] == GAP + 1
    for turn in (2, 3):
        unlock(rig)
        assert retried(rig).ask("read_log", first_record=1)["entries"] == first
        rig.power_on()
        recover(rig, registers(1_480, 2), newest_number=turn * GAP)


def test_a_refill_under_way_is_had_by_the_order_and_its_grant_is_not() -> None:
    rig = used()
    grant = rig.grant(rig.request_refill(5_000))
    recover(rig, registers(1_480, 2, funds=FUNDS + 5_000))
    with pytest.raises(NothingPending):
        rig.ask("refill_complete", message=grant)
    rig.power_on()
    assert rig.registers() == registers(1_480, 2, funds=FUNDS + 5_000)
    unlock(rig)
    retried(rig)


def test_where_more_was_spent_than_its_log_shows_another_one_is_begun() -> None:
    rig = used()
    recover(rig, registers(3_700, 5), log_sequence=1_000)
    assert rig.status()["log_sequence"] > 1_000
    unlock(rig)
    assert rig.dispense()["record"] > 1_000
    rig.power_on()
    assert rig.registers() == registers(4_440, 6)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (registers(740, 2), "the ascending register would fall"),
        (registers(1_480, 1), "the piece count would fall"),
        (registers(1_480, 2, funds=FUNDS - 1), "the control sum would fall"),
    ],
)
@pytest.mark.parametrize("locked", [False, True])
def test_nothing_that_it_knows_itself_is_forgotten(said: dict[str, int], complaint: str, locked: bool) -> None:
    rig = used()
    if locked:
        rig.ask("lock", message=rig.order("lock_order", lock_reasons=["rollback found"]))
    before = rig.everything()
    with pytest.raises(BadMessage, match=complaint):
        rig.ask("recover", message=order(rig, said))
    assert rig.everything() == before


def test_it_is_the_way_out_of_a_rollback_that_was_found() -> None:
    rig = used()
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["rollback found"]))
    recover(rig, registers(2_220, 3))
    assert rig.status()["lock_reasons"] == ["rollback found", "register fault"]
    unlock(rig, "rollback found")
    rig.dispense()


def test_a_withdrawal_under_way_is_over() -> None:
    rig = used()
    rig.ask("withdraw_begin")
    recover(rig, registers(1_480, 2))
    assert rig.status()["sub_state"] == ""
    with pytest.raises(NothingPending):
        rig.ask("withdraw_complete", message=rig.order("withdrawal_grant", amount_mills=98_520))


def test_whoever_is_out_of_service_is_not_recovered() -> None:
    rig = used()
    message = order(rig, registers(1_480, 2))
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    grant = {name: asked[name] for name in ("psd_serial", "nonce", "message_number", *registers(0, 0))}
    rig.ask("withdraw_complete", message=sign("withdrawal_grant", grant | {"amount_mills": 98_520}))
    for _ in range(2):
        with pytest.raises(RefusedInState):
            rig.ask("recover", message=message)
        rig.ask("zeroize")


def test_a_full_disk_leaves_it_as_it_was_until_there_is_room() -> None:
    storage = Full()
    rig = used(storage=storage)
    message, before = order(rig, registers(1_480, 2), device_time=rig.now + 5), (rig.everything(), rig.status())
    storage.full = True
    with pytest.raises(StorageFull):
        rig.ask("recover", message=message)
    assert (rig.everything(), rig.status()) == before  # its clock, too
    storage.full = False
    rig.power_on()
    recover(rig, registers(1_480, 2))


def ends(rig: Rig, after: dict[str, int]) -> None:
    """Recovered, or as it was, or stopped with another log begun beside its own: then the same order brings it back."""
    state = rig.status()["state"]
    if state == "OPERATIONAL":
        assert rig.registers() == registers(1_480, 2)
        retried(rig)
    if state != "LOCKED":
        recover(rig, after, newest_number=2 * GAP)
    assert (rig.status()["state"], rig.registers()) == ("LOCKED", after)
    unlock(rig)


@pytest.mark.parametrize("kind", [FaultKind.EIO, FaultKind.EIO_WRITTEN, FaultKind.FULL])
def test_a_medium_that_fails_in_it_stops_the_device_until_the_power_goes(kind: FaultKind) -> None:
    """The new log may count from the next power-on: whatever was printed into the old one would be lost."""
    after, failed = registers(3_700, 5), 0
    for operation in range(1, 40):
        rig = used()
        rig.storage = faulty = FaultyStorage(rig.storage)
        rig.power_on()
        message = order(rig, after)
        faulty.add(Fault(kind, faulty.operations + operation))
        try:
            rig.ask("recover", message=message)
            break
        except StorageFailed:
            failed += 1
        assert rig.status()["state"] == "ERROR"
        for name in ("recover", "unlock"):
            with pytest.raises(IntegrityError, match="cut short"):
                rig.ask(name, message=message)
        with pytest.raises(IntegrityError, match="cut short"):
            rig.dispense()
        faulty.make_room()
        rig.power_on()
        ends(rig, after)
    assert failed > 0


@pytest.mark.parametrize("after", [registers(1_480, 2), registers(3_700, 5)])
@pytest.mark.parametrize("kind", [FaultKind.CUT, FaultKind.CUT_KEPT, FaultKind.CUT_REORDERED])
def test_a_power_cut_at_any_write_leaves_it_recovered_or_as_it_was(kind: FaultKind, after: dict[str, int]) -> None:
    base = used()
    before, cuts = base.everything(), 0
    for operation in range(1, 60):
        rig = copy.copy(base)
        rig.storage, rig.vault = copy.deepcopy(base.storage), copy.deepcopy(base.vault)
        rig.storage = faulty = FaultyStorage(rig.storage)
        rig.power_on()
        message, request_id, stood = order(rig, after), rig.new_id(), rig.everything()
        assert stood[:2] == before[:2]
        faulty.add(Fault(kind, faulty.operations + operation))
        try:
            rig.ask("recover", request_id, message=message)
        except PowerCut:
            cuts += 1
        else:
            break
        faulty.power_on()
        rig.power_on()
        if rig.status()["state"] == "LOCKED":
            assert rig.ask("recover", request_id, message=message)["piece_count"] == after["piece_count"]
        ends(rig, after)
    assert cuts > 2


def test_what_a_seed_gave_after_records_that_were_lost_it_does_not_give_again() -> None:
    """The provider would take a check-in after the recovery for one of an older image."""
    rig = used()
    assert isinstance(rig.storage, MemoryStorage)
    rig.report()
    kept = bytes(rig.storage.areas[REPORT])
    rig.power_on()
    lost = {rig.report()["nonce"] for _ in range(9)}
    for name, area in rig.storage.areas.items():
        area[:] = kept if name == REPORT else b"\xa5" * len(area)
    rig.power_on(log_in=False)
    assert rig.status()["state"] == "ERROR"
    recover(rig, registers(1_480, 2))
    unlock(rig)
    assert not lost & {rig.report()["nonce"] for _ in range(9)}


def test_whoever_cannot_be_brought_back_does_not_say_that_he_can() -> None:
    rig = used()
    assert isinstance(rig.storage, MemoryStorage)
    rig.psd._books.stop("a test said so")
    with pytest.raises(IntegrityError) as refused:
        rig.dispense()
    assert "pes-sim meter recover DIR" in refused.value.hint
    for name, area in rig.storage.areas.items():
        if name.startswith(("log-", REPORT)):
            area[:] = b"\xa5" * len(area)
    rig.power_on(log_in=False)
    with pytest.raises(IntegrityError) as refused:
        rig.dispense()
    assert "it can only be settled" in refused.value.hint
    blank = Rig()
    blank.initialize()  # never licensed
    blank.psd._books.stop("a test said so")
    with pytest.raises(IntegrityError) as refused:
        blank.dispense()
    assert "it can only be settled" in refused.value.hint


def test_a_locked_device_refuses_everything_else_as_before() -> None:
    rig = used()
    recover(rig, registers(1_480, 2))
    rig.log_in()
    with pytest.raises(Locked):
        rig.dispense()
    with pytest.raises(PesError):
        rig.ask("refill_begin", amount_mills=1_000)
