"""Software packages: signed, rising, in order, whole; and what the self-test says of an image that rots."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from pes_sim.errors import BadMessage, FieldError, NothingPending, OldSoftware, StorageFailed
from pes_sim.indicium import layout
from pes_sim.psd.software import DIGEST, IMAGE
from pes_sim.psd.state import RELEASED
from pes_sim.psd.storage import FileStorage, MemoryStorage
from tests.rig import Rig, operational

PACKAGE = b"\x7fnew software\0" * 190
VERSION = 0x00_02_00_00
PART = 1000
AREA = f"software-{VERSION:08x}-{hashlib.sha256(PACKAGE).hexdigest()[:8]}.seg"


def announce(rig: Rig, package: bytes = PACKAGE, version: int = VERSION, **changes: Any) -> int:
    said = {"software_id": version, "size": len(package), "digest": hashlib.sha256(package).digest()} | changes
    return int(rig.ask("software_begin", message=rig.order("software_manifest", **said))["offset"])


def send(rig: Rig, package: bytes = PACKAGE, start: int = 0) -> None:
    for offset in range(start, len(package), PART):
        rig.ask("software_data", offset=offset, data=package[offset : offset + PART])


def version(rig: Rig) -> int:
    return int(rig.ask("get_info")["software_id"])


def test_the_digest_is_that_of_the_image() -> None:
    assert hashlib.sha256(IMAGE).digest() == DIGEST


def test_a_package_is_in_use_when_it_is_whole_and_indicia_bear_its_version() -> None:
    rig = operational()
    assert announce(rig) == 0
    send(rig)
    assert version(rig) == RELEASED.software_id
    assert rig.ask("software_complete")["software_id"] == VERSION
    rig.power_on()
    assert version(rig) == VERSION
    read = layout.builtin("imi_std").unpack(rig.dispense()["indicium"])
    assert read.values["software_id"] == VERSION
    assert rig.report()["software_id"] == VERSION
    assert rig.ask("self_test")["self_tests_failed"] == []


def test_each_answer_says_the_version_or_where_the_next_bytes_are_wanted() -> None:
    rig = operational()
    said = {"software_id": VERSION, "size": len(PACKAGE), "digest": hashlib.sha256(PACKAGE).digest()}
    begun = rig.ask("software_begin", message=rig.order("software_manifest", **said))
    assert begun == {"software_id": VERSION, "offset": 0, "service_indicator": 0}
    assert rig.ask("software_data", offset=0, data=PACKAGE[:PART]) == {"offset": PART, "service_indicator": 0}
    send(rig, start=PART)
    assert rig.ask("software_complete") == {"software_id": VERSION, "service_indicator": 0}


def test_packages_lie_in_files_and_are_found_again_in_both_areas(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    rig = operational(storage=storage)
    for number in range(1, 4):
        announce(rig, version=VERSION + number)
        send(rig)
        rig.ask("software_complete")
        rig.power_on()
        assert (version(rig), rig.status()["state"]) == (VERSION + number, "OPERATIONAL")
    storage.close()


def test_after_a_cut_loading_goes_on_where_it_stopped() -> None:
    rig = operational()
    announce(rig)
    rig.ask("software_data", offset=0, data=PACKAGE[:PART])
    rig.power_on()
    assert rig.status()["offset"] == PART
    assert announce(rig) == PART  # the same order once more drops nothing
    send(rig, start=PART)
    rig.ask("software_complete")
    assert version(rig) == VERSION


def test_a_part_that_was_sent_twice_with_one_request_id_counts_once() -> None:
    rig = operational()
    announce(rig)
    part = {"offset": 0, "data": PACKAGE[:PART]}
    first = rig.ask("software_data", b"p" * 16, **part)
    assert rig.ask("software_data", b"p" * 16, **part) == first
    assert rig.status()["offset"] == PART


@pytest.mark.parametrize(
    ("offset", "data"), [(1, b"x"), (PART, b"x"), (0, b""), (0, bytes(1024)), (1 << 20, b"x")],
)  # fmt: skip
def test_bytes_that_are_not_the_next_are_refused_saying_where_to_go_on(offset: int, data: bytes) -> None:
    rig = operational()
    announce(rig, PACKAGE[:1000])
    with pytest.raises(FieldError, match="Go on at 0") as caught:
        rig.ask("software_data", offset=offset, data=data)
    assert caught.value.detail == {"field": "offset", "offset": 0}


@pytest.mark.parametrize("number", [0, RELEASED.software_id - 1, RELEASED.software_id])
def test_a_version_that_does_not_rise_is_refused(number: int) -> None:
    rig = operational()
    with pytest.raises(OldSoftware, match="the device has 0.1.0"):
        announce(rig, version=number)
    announce(rig)
    send(rig)
    rig.ask("software_complete")
    with pytest.raises(OldSoftware, match=r"version 0.2.0, the device has 0.2.0") as caught:
        announce(rig)
    assert caught.value.detail == {"version": VERSION}


@pytest.mark.parametrize("changes", [{"size": 0}, {"digest": b""}, {"digest": bytes(31)}])
def test_an_announcement_of_nothing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadMessage, match="no bytes, or no SHA-256 digest"):
        announce(operational(), **changes)


def test_nothing_can_be_sent_or_completed_that_was_not_announced() -> None:
    rig = operational()
    with pytest.raises(NothingPending, match="announced"):
        rig.ask("software_data", offset=0, data=b"x")
    with pytest.raises(NothingPending, match="0 of 0 bytes"):
        rig.ask("software_complete")
    announce(rig)
    rig.ask("software_data", offset=0, data=PACKAGE[:PART])
    with pytest.raises(NothingPending, match=f"{PART} of {len(PACKAGE)} bytes"):
        rig.ask("software_complete")


def test_a_package_with_another_digest_is_not_put_into_use_and_can_be_sent_again() -> None:
    rig = operational()
    announce(rig)
    send(rig, PACKAGE[:-1] + b"x")
    with pytest.raises(BadMessage, match="digest differs"):
        rig.ask("software_complete")
    assert version(rig) == RELEASED.software_id
    rig.power_on()
    assert rig.status()["state"] == "OPERATIONAL"
    assert announce(rig) == 0
    send(rig)
    assert rig.ask("software_complete")["software_id"] == VERSION


def test_each_part_is_on_the_disk_before_it_is_answered() -> None:
    class Watched(MemoryStorage):
        def write(self, name: str, offset: int, data: bytes) -> None:
            calls.append(f"write {name}")
            super().write(name, offset, data)

        def sync(self, name: str) -> None:
            calls.append(f"sync {name}")

    calls: list[str] = []
    rig = operational(storage=Watched())
    announce(rig)
    calls.clear()
    rig.ask("software_data", offset=0, data=PACKAGE[:PART])
    assert calls[:2] == [f"write {AREA}", f"sync {AREA}"]


def test_each_package_has_an_area_of_its_own_and_no_more_than_two_are_kept() -> None:
    rig = operational()
    for number in range(1, 4):
        announce(rig, PACKAGE + bytes([number]), VERSION + number)
        rig.power_on()  # the image in use was not touched
        assert rig.status()["state"] == "OPERATIONAL"
        send(rig, PACKAGE + bytes([number]))
        rig.ask("software_complete")
        rig.power_on()
        assert version(rig) == VERSION + number
        assert rig.status()["state"] == "OPERATIONAL"
        assert sum(name.startswith("software-") for name in rig.storage.names()) <= 2


def test_an_image_that_rots_stops_the_device_at_the_next_power_on_and_healed_it_goes_on() -> None:
    rig = operational()
    announce(rig)
    send(rig)
    rig.ask("software_complete")
    assert isinstance(rig.storage, MemoryStorage)
    rig.storage.areas[AREA][17] ^= 1
    rig.power_on()
    status = rig.status()
    assert (status["state"], status["self_tests_failed"]) == ("ERROR", ["software-integrity"])
    rig.storage.areas[AREA][17] ^= 1
    rig.power_on()
    assert rig.status()["state"] == "OPERATIONAL"


def test_a_disk_that_fails_at_a_part_leaves_the_device_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = operational()
    announce(rig)

    def fails(*_: object) -> None:
        raise StorageFailed("EIO")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryStorage, "write", fails)
        with pytest.raises(StorageFailed):
            rig.ask("software_data", offset=0, data=PACKAGE[:PART])
    assert rig.status()["offset"] == 0
    send(rig)
    rig.ask("software_complete")
    assert version(rig) == VERSION


@pytest.mark.parametrize("size", [None, 0, PART, len(PACKAGE) - 1])
def test_a_cut_between_one_package_and_the_next_leaves_nothing_that_cannot_be_announced_again(size: int | None) -> None:
    rig = operational()
    announce(rig)
    rig.ask("software_data", offset=0, data=PACKAGE[:PART])
    rig.storage.remove(AREA)
    if size is not None:
        rig.storage.create(AREA, size)
    rig.power_on()
    with pytest.raises(NothingPending, match="announced"):
        rig.ask("software_data", offset=PART, data=PACKAGE[PART : 2 * PART])
    with pytest.raises(NothingPending, match="not there"):
        rig.ask("software_complete")
    assert announce(rig) == 0
    send(rig)
    rig.ask("software_complete")
    assert version(rig) == VERSION


def test_another_package_takes_the_place_of_one_that_is_not_whole_yet() -> None:
    other = PACKAGE[::-1]
    for package, version_ in ((other, VERSION), (PACKAGE, VERSION + 1), (PACKAGE + b"more", VERSION)):
        rig = operational()
        announce(rig)
        rig.ask("software_data", offset=0, data=PACKAGE[:PART])
        assert announce(rig, package, version_) == 0
        assert rig.status()["offset"] == 0
        send(rig, package)
        rig.ask("software_complete")
        rig.power_on()
        assert (version(rig), rig.status()["state"]) == (version_, "OPERATIONAL")


def test_a_package_that_is_whole_is_not_sent_again() -> None:
    rig = operational()
    announce(rig)
    send(rig)
    assert announce(rig) == len(PACKAGE)
    rig.ask("software_complete")
    assert version(rig) == VERSION


def test_a_package_in_use_is_not_under_way_any_more() -> None:
    rig = operational()
    announce(rig)
    send(rig)
    rig.ask("software_complete")
    assert rig.status()["offset"] == 0
    with pytest.raises(NothingPending, match="0 of 0 bytes"):
        rig.ask("software_complete")
