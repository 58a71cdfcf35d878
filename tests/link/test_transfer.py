"""Logs and software packages in parts: cut off anywhere, they go on where they stopped, and nothing is there twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import pytest

from pes_sim.clock import VirtualClock
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import BadMessage, FieldError, LinkError, NothingPending
from pes_sim.link.bare import BarePsd
from pes_sim.link.client import Client
from pes_sim.link.ports.memory import MemoryTransport
from pes_sim.link.transfer import PART, read_log, send_package
from pes_sim.psd.fields import Values, pack
from pes_sim.psd.services import BY_NAME, LOG_ENTRY
from tests.rig import Rig, operational

PACKAGE: Final = bytes(range(251)) * 20
VERSION: Final = 0x00_02_00_00
PARTS: Final = -(-len(PACKAGE) // PART)


def host(rig: Rig) -> Client:
    return Client(MemoryTransport(BarePsd(rig.psd), VirtualClock(rig.now)), BY_NAME, SeededEntropy(f"{rig.new_id()!r}"))


def order(rig: Rig, package: bytes = PACKAGE) -> bytes:
    digest = hashlib.sha256(package).digest()
    return rig.order("software_manifest", software_id=VERSION, size=len(package), digest=digest)


class Cut:
    """A host that is cut off at its call number `at`: before it, or when its answer is on the way."""

    def __init__(self, client: Client, at: int, *, after: bool) -> None:
        self._client = client
        self._at = at
        self._after = after

    def call(self, name: str, request: Values, *, request_id: bytes = b"") -> Values:
        self._at -= 1
        if self._at == 0 and not self._after:
            raise LinkError("cut off")
        answer = self._client.call(name, request, request_id=request_id)
        if self._at == 0:
            raise LinkError("cut off")
        return answer


# The log


def test_a_whole_log_is_read_in_parts_each_piece_once_and_in_order() -> None:
    rig = operational()
    records = [rig.dispense()["record"] for _ in range(23)]
    entries = list(read_log(host(rig)))
    assert [entry["record"] for entry in entries] == records
    assert {frozenset(entry) for entry in entries} == {frozenset(field.name for field in LOG_ENTRY)}
    assert [entry["record"] for entry in read_log(host(rig), records[20])] == records[20:]
    assert list(read_log(host(rig), records[-1] + 1)) == []


@pytest.mark.parametrize("after", [False, True])
def test_a_log_that_is_cut_off_anywhere_goes_on_at_the_record_after_the_last(after: bool) -> None:
    rig = operational()
    records = [rig.dispense()["record"] for _ in range(12)]
    for at in range(1, 4):
        kept: list[int] = []
        with pytest.raises(LinkError):
            kept.extend(entry["record"] for entry in read_log(Cut(host(rig), at, after=after)))
        rig.power_on()
        kept += [entry["record"] for entry in read_log(host(rig), kept[-1] + 1 if kept else 1)]
        assert kept == records


class Answering:
    """A device that answers what it is told to."""

    def __init__(self, answer: Callable[[str, Values], Values]) -> None:
        self.call = lambda name, request, request_id=b"": answer(name, request)


def entry(record: int) -> bytes:
    rig = operational()
    rig.dispense()
    (good,) = read_log(host(rig))
    return pack({**good, "record": record})


@pytest.mark.parametrize(
    ("records", "following", "what"),
    [
        ([5, 5], 0, "record"),
        ([5, 4], 0, "record"),
        ([3], 0, "record"),
        ([5, 6], 6, "next_record"),
        ([], 9, "next_record"),
    ],
)
def test_a_device_whose_records_do_not_rise_is_not_followed(records: list[int], following: int, what: str) -> None:
    entries = [entry(record) for record in records]
    device = Answering(lambda name, request: {"entries": entries, "next_record": following})
    with pytest.raises(FieldError, match=f"circle: {what} does not rise"):
        list(read_log(device, 4))


def test_an_entry_that_lacks_a_field_is_an_error() -> None:
    device = Answering(lambda name, request: {"entries": [pack({"record": 1})], "next_record": 0})
    with pytest.raises(FieldError, match="is missing"):
        list(read_log(device))


# A package


def in_use(rig: Rig) -> int:
    return int(rig.ask("get_info")["software_id"])


def test_a_whole_package_goes_over_in_parts_and_is_in_use() -> None:
    rig = operational()
    before = rig.status()["log_sequence"]
    assert send_package(host(rig), PACKAGE, order(rig)) == VERSION == in_use(rig)
    assert rig.status()["log_sequence"] == before + 1 + PARTS + 1
    assert "firmware integrity" not in rig.ask("self_test")["self_tests_failed"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(2, PARTS + 3))
def test_a_package_that_is_cut_off_anywhere_goes_on_where_it_stopped_after_a_power_cut(at: int, after: bool) -> None:
    rig = operational()
    before = rig.status()["log_sequence"]
    with pytest.raises(LinkError):
        send_package(Cut(host(rig), at, after=after), PACKAGE, order(rig))
    rig.power_on()
    logins = 2
    if at == PARTS + 2 and after:  # it was in use, only the answer that said so was lost
        with pytest.raises(NothingPending):
            send_package(host(rig), PACKAGE)
    else:
        assert send_package(host(rig), PACKAGE) == VERSION
    assert in_use(rig) == VERSION
    assert rig.status()["log_sequence"] == before + 1 + PARTS + 1 + logins  # each part once


def test_a_sender_that_does_not_know_how_far_another_came_is_told() -> None:
    rig = operational()
    caller = host(rig)
    behind = Answering(lambda name, request: {"offset": 0} if name == "get_status" else caller.call(name, request))
    with pytest.raises(LinkError):
        send_package(Cut(caller, 4, after=False), PACKAGE, order(rig))
    assert rig.status()["offset"] == 2 * PART
    assert send_package(behind, PACKAGE) == VERSION


def test_nothing_is_sent_that_was_not_announced() -> None:
    rig = operational()
    with pytest.raises(NothingPending, match="no software package was announced"):
        send_package(host(rig), PACKAGE)


def test_another_package_than_the_announced_one_is_not_put_into_use() -> None:
    rig = operational()
    was = in_use(rig)
    with pytest.raises(BadMessage, match="not what was announced"):
        send_package(host(rig), PACKAGE[::-1], order(rig))
    with pytest.raises(LinkError):
        send_package(Cut(host(rig), 4, after=False), PACKAGE, order(rig))
    with pytest.raises(FieldError, match="the device has 2048 bytes of a package already, and this one has 9"):
        send_package(host(rig), PACKAGE[:9])
    with pytest.raises(FieldError, match="are not the next of"):
        send_package(host(rig), PACKAGE + PACKAGE)  # more than was announced
    assert in_use(rig) == was


@pytest.mark.parametrize("offset", [0, -5])
def test_a_device_whose_offset_does_not_rise_is_not_sent_to_for_ever(offset: int) -> None:
    with pytest.raises(FieldError, match="circle: offset does not rise"):
        send_package(Answering(lambda name, request: {"offset": offset if name == "software_data" else 0}), PACKAGE)
