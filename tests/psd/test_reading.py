"""What only reads: answered wherever the table says, of whatever can be read, and changing nothing."""

from __future__ import annotations

import pytest

from pes_sim.clock import HOUR
from pes_sim.errors import IntegrityError, NotAuthenticated, StorageFailed
from pes_sim.indicium import layout
from pes_sim.link.frame import MIN_MAX_FRAME, OVERHEAD
from pes_sim.psd.fields import Values, check_all, pack, unpack
from pes_sim.psd.head import PAGE
from pes_sim.psd.lifecycle import State, SubState
from pes_sim.psd.nvram import first_of
from pes_sim.psd.reading import LOG_CHUNK
from pes_sim.psd.roles import Role
from pes_sim.psd.services import BY_NAME, SERVICES
from pes_sim.psd.storage import MemoryStorage
from tests.rig import CUSTOMER, SERIAL, TODAY, ZIP, Rig, answer, operational, pki

READS = ("get_info", "get_status", "get_registers", "get_certificates", "self_test")


def unreadable() -> Rig:
    """A device whose storage has rotten away in both banks."""
    storage = MemoryStorage()
    rig = operational(storage=storage)
    rig.dispense()
    name = storage.names()[-1]
    for bank in (0, PAGE):
        storage.areas[name][bank + 30] ^= 1
    rig.power_on(log_in=False)
    return rig


def test_reading_changes_nothing() -> None:
    rig = operational()
    before = rig.everything()
    for name in READS:
        assert rig.ask(name) == rig.ask(name)
    rig.ask("read_log", first_record=1)
    assert rig.everything() == before


@pytest.mark.parametrize("name", [service.name for service in SERVICES if not service.changes])
def test_an_answer_has_just_the_fields_of_its_row(name: str) -> None:
    rig = operational()
    rig.dispense()
    if name == "get_statement":
        asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
        rig.ask("withdraw_complete", message=answer("withdrawal_grant", asked, amount_mills=99_260))
    request: Values = {"read_log": {"first_record": 1}}.get(name, {})
    if name == "authenticate":
        request = {"role": Role.USER.value, "proof": rig.user_proof(rig.challenge()["nonce"])}
    check_all(BY_NAME[name].reply, rig.ask(name, **request))


def test_info_says_what_the_device_is() -> None:
    info = operational(regime="IBI", profile="FIPS 140-3").ask("get_info")
    title = layout.builtin("imi_std").title
    assert info.pop("notice") == f"SPECIMEN ONLY, NOT VALID POSTAGE. {title}. Keys are reproducible from a seed."
    assert info == {
        "model_id": "S1", "psd_serial": SERIAL, "provider_id": "99", "software_id": 0x00_01_00_00, "layout": "imi_std",
        "licensing_zip": ZIP, "customer": CUSTOMER, "utc_offset_minutes": 0, "profile": "FIPS 140-3", "regime": "IBI",
        "curve": "P-256", "service_indicator": 2,
    }  # fmt: skip


def test_the_status_of_a_blank_device_is_a_status() -> None:
    rig = Rig()
    status = rig.status()
    assert (status["state"], status["sub_state"], status["role"]) == (State.UNINITIALIZED, SubState.NONE, Role.NONE)
    assert (status["log_sequence"], status["today"], status["device_time"]) == (0, TODAY, rig.now)


def test_the_status_says_what_is_under_way() -> None:
    rig = operational()
    rig.request_refill(1_000)
    assert (rig.status()["sub_state"], rig.status()["refill_pending_mills"]) == (SubState.REFILL_PENDING, 1_000)
    rig.ask("refill_cancel")
    assert rig.status()["sub_state"] == SubState.REFILL_CANCELLED
    rig = operational()
    rig.ask("withdraw_begin")
    assert rig.status()["sub_state"] == SubState.WITHDRAWAL_PENDING


def test_a_stopped_device_says_why_and_that_nothing_clears_it() -> None:
    rig = operational()
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock"]))
    rig.psd._books.stop("a test said so")
    for _ in range(2):
        status = rig.status()
        assert (status["state"], status["lock_reasons"]) == (State.ERROR, ["a test said so"])
        assert status["cleared_by"] == []
        rig.power_on(log_in=False)


def test_a_zeroized_device_says_why_too() -> None:
    rig = operational()
    before = rig.registers()
    rig.psd.tamper()
    status = rig.status()
    assert (status["state"], status["lock_reasons"], status["cleared_by"]) == (State.ZEROIZED, ["tamper input"], [])
    assert rig.registers() == before


def test_of_a_storage_that_cannot_be_read_nothing_is_made_up() -> None:
    rig = unreadable()
    assert rig.status()["state"] == State.ERROR
    assert "bad in both banks" in rig.status()["lock_reasons"][0]
    assert rig.ask("get_info")["provider_id"] == "99"
    with pytest.raises(IntegrityError, match="the storage cannot be read"):
        rig.ask("get_registers")


def test_the_certificates_are_those_of_the_licence() -> None:
    rig = operational()
    certificates = rig.ask("get_certificates")
    assert certificates["trust_anchor"] == pki().ca.certificate
    assert certificates["provider_certificate"] == pki().provider.certificate
    assert certificates["psd_certificate"] == rig.authorization()["psd_certificate"]


# The log


@pytest.mark.parametrize("role", [Role.USER, Role.INSPECTOR, Role.PROVIDER])
def test_whoever_has_logged_in_reads_the_log(role: Role) -> None:
    rig = operational()
    record = rig.dispense()["record"]
    rig.log_in(role)
    (entry,) = rig.ask("read_log", first_record=1)["entries"]
    assert unpack(entry)["record"] == record


def test_the_log_names_departments_so_nobody_else_reads_it() -> None:
    rig = operational()
    rig.dispense(reference=b"a department")
    rig.power_on(log_in=False)
    with pytest.raises(NotAuthenticated):
        rig.ask("read_log", first_record=1)


def test_a_reader_goes_on_where_he_was_and_anybody_can_begin_anew() -> None:
    rig = operational()
    records = [rig.dispense()["record"] for _ in range(2 * LOG_CHUNK + 1)]
    first = rig.ask("read_log", first_record=0)
    second = rig.ask("read_log", first_record=first["next_record"])
    again = rig.ask("read_log", first_record=records[0])
    assert again == first
    third = rig.ask("read_log", first_record=second["next_record"])
    seen = [unpack(entry)["record"] for part in (first, second, third) for entry in part["entries"]]
    assert (seen, third["next_record"]) == (records, 0)
    beyond = rig.ask("read_log", first_record=records[-1] + 1)
    assert (beyond["entries"], beyond["next_record"]) == ([], 0)


def test_a_chunk_of_the_log_is_five_entries_and_fits_the_smallest_frame_that_a_host_may_take() -> None:
    rig = operational(0xFFFFFFFF)
    for _ in range(6):
        rig.dispense(bytes([255]) * 15 + rig.new_id()[15:], postage_mills=(1 << 24) - 1, reference=bytes(32))
    chunk = rig.ask("read_log", first_record=1)
    assert [len(chunk["entries"]), len(rig.ask("read_log", first_record=chunk["next_record"])["entries"])] == [5, 1]
    assert len(pack(chunk)) + OVERHEAD <= MIN_MAX_FRAME


def test_who_reads_on_does_not_have_the_log_looked_through_again() -> None:
    class Counting(MemoryStorage):
        reads = 0

        def read(self, name: str, offset: int, length: int) -> bytes:
            self.reads += 1
            return super().read(name, offset, length)

    storage = Counting()
    rig = operational(storage=storage)
    for _ in range(4 * LOG_CHUNK):
        rig.dispense()
    following = rig.ask("read_log", first_record=1)["next_record"]
    before = storage.reads
    for _ in range(2):
        following = rig.ask("read_log", first_record=following)["next_record"]
    assert storage.reads == before
    rig.dispense()  # the log has grown: what was being read is void
    last = rig.ask("read_log", first_record=following)
    assert storage.reads > before
    assert len(last["entries"]) + len(rig.ask("read_log", first_record=last["next_record"])["entries"]) == 6


def test_a_locked_and_a_withdrawn_device_give_their_log() -> None:
    rig = operational()
    rig.dispense()
    rig.now += 73 * HOUR
    assert len(rig.ask("read_log", first_record=1)["entries"]) == 1
    asked = rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])
    done = rig.ask("withdraw_complete", message=answer("withdrawal_grant", asked, amount_mills=99_260))
    assert rig.ask("get_statement")["statement"] == done["statement"]
    assert len(rig.ask("read_log", first_record=1)["entries"]) == 1


def test_a_stopped_device_gives_no_log_for_its_indicia_would_have_to_be_signed() -> None:
    rig = operational()
    rig.dispense()
    rig.psd._books.stop("a test said so")
    with pytest.raises(IntegrityError, match="state ERROR"):
        rig.ask("read_log", first_record=1)


def test_a_disk_that_says_no_while_the_log_is_read_refuses_by_a_status_of_the_row() -> None:
    class Failing(MemoryStorage):
        broken = False

        def read(self, name: str, offset: int, length: int) -> bytes:
            if self.broken:
                raise StorageFailed("the disk said no")
            return super().read(name, offset, length)

    storage = Failing()
    rig = operational(storage=storage)
    rig.dispense()
    storage.broken = True
    with pytest.raises(StorageFailed) as caught:
        rig.ask("read_log", first_record=1)
    assert caught.value.status in BY_NAME["read_log"].statuses


def test_a_log_that_cannot_be_read_further_says_so_again_when_asked_again() -> None:
    rig = operational(1_000_000, bank=16384)
    for _ in range(150):
        rig.dispense(postage_mills=1)
    rotten = [name for name in rig.storage.names() if name.startswith("log-")][1]
    area = rig.storage.areas[rotten]  # type: ignore[attr-defined]
    area[len(area) // 2 :] = bytes(len(area) // 2)
    following, said = 1, []
    for _ in range(100):
        try:
            following = rig.ask("read_log", first_record=following)["next_record"]
        except StorageFailed as problem:
            said.append(problem.message)
        if len(said) == 3 or not following:
            break
    assert len(said) == 3
    assert len(set(said)) == 1
    assert "are missing or rotten" in said[0]


def test_a_part_of_the_log_that_cannot_be_read_hides_neither_what_is_before_it_nor_what_is_behind() -> None:
    storage = MemoryStorage()
    rig = operational(storage=storage, bank=8192)
    records: list[int] = []
    while len(logs := [name for name in storage.names() if name.startswith("log-")]) < 9:
        records.append(rig.dispense()["record"])
    spoiled = range(first_of(logs[-5]), first_of(logs[-4]))
    storage.areas[logs[-5]][:] = bytes(len(storage.areas[logs[-5]]))
    found, following, chunks, refused = [], 1, [], 0
    while following:
        try:
            chunk = rig.ask("read_log", first_record=following)
        except StorageFailed as problem:
            following, refused = int(str(problem.detail["next_record"])), refused + 1
            continue
        found += [unpack(entry)["record"] for entry in chunk["entries"]]
        chunks.append(len(chunk["entries"]))
        following = chunk["next_record"]
    assert found == [record for record in records if record not in spoiled] != records
    assert refused == 1
    assert any(length < LOG_CHUNK for length in chunks[:-1])
