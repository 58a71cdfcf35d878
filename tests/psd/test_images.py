"""Devices that an older version left on the disk: each opens in this one and goes on, or is refused and left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pes_sim.errors import IntegrityError, Locked
from pes_sim.psd import messages, state
from pes_sim.psd.fields import Values
from pes_sim.psd.registers import REGISTERS
from tests.psd.image import FOLDER, PACKAGE, VERSION, OnDisk, describe, lay_out, make, values
from tests.rig import Rig, piece

ALL = sorted(path.stem for path in FOLDER.glob("*.zip"))
READABLE = [name for name in ALL if describe(name)["format"] >= 2]
LATER = "2026-11-22"


@pytest.fixture(params=READABLE)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A device that has just been powered on, on a copy of the image."""
    device = OnDisk(tmp_path, lay_out(request.param, tmp_path))
    yield device
    device.storage.close()


def order(rig: OnDisk, kind: str, **fields: Any) -> bytes:
    answered = rig.challenge() | rig.registers() | fields
    names = {field.name for field in messages.BY_NAME[kind].fields}
    known = {name: value for name, value in answered.items() if name in names}
    return rig.sign(kind, {"psd_serial": rig.kept["psd_serial"]} | known)


def unlock(rig: OnDisk) -> None:
    reasons = rig.status()["lock_reasons"]
    assert reasons
    assert rig.ask("unlock", message=order(rig, "unlock_order", lock_reasons=reasons))["state"] == "OPERATIONAL"


def answered(rig: OnDisk, kind: str, message: bytes, answer: str, **fields: Any) -> bytes:
    """The provider's answer to a message of the device."""
    _, asked = messages.peek(message, kind)
    return rig.sign(
        answer, {name: asked[name] for name in ("psd_serial", "nonce", "message_number", *REGISTERS)} | fields
    )


def check_log(rig: OnDisk) -> list[str]:
    """What is left of the log is as it was noted, and what is gone was acknowledged; gives what came since."""
    now, kept = rig.log(), rig.kept["log"]
    there = [number for number in kept if number in now]
    assert {number: now[number] for number in there} == {number: kept[number] for number in there}
    assert there == [*kept][len(kept) - len(there) :]
    gone = [int(number) for number in kept if number not in now]
    assert max(gone, default=0) <= rig.psd._books.state.acknowledged
    return [number for number in now if number not in kept]


def test_what_this_version_writes_has_an_image() -> None:
    """Who changes the form makes an image of the new one, and says in the README what becomes of the older ones."""
    assert state.FORMAT in {describe(name)["format"] for name in ALL}
    text = (FOLDER / "README.md").read_text()
    assert all(f"`{name}" in text and describe(name)["written_by"] in text for name in ALL)


def test_an_image_opens_and_says_what_it_said_when_it_was_written(rig: OnDisk) -> None:
    before = rig.medium()
    for name, packed in rig.kept["read"].items():
        said, now = values(packed), rig.ask(name)
        assert {field: now[field] for field in said} == said, name
    assert rig.registers() == rig.kept["registers"]
    assert rig.medium() == before
    rig.log_in()
    check_log(rig)
    assert rig.status()["repaired"] == 0


def test_what_was_answered_before_is_answered_the_same_now(rig: OnDisk) -> None:
    rig.log_in()
    for one in rig.kept["answered"]:
        asked, expected = values(one["request"]), values(one["answer"])
        again = rig.psd.execute(one["service"], asked, request_id=bytes.fromhex(one["request_id"]), now=rig.now)
        assert {field: again[field] for field in expected} == expected, one["service"]
    assert rig.registers() == rig.kept["registers"]


def test_an_image_goes_on_where_it_stood(rig: OnDisk) -> None:
    """Locked, and half of everything under way: it is unlocked, and each half is brought to its end."""
    rig.log_in()
    with pytest.raises(Locked):
        rig.dispense()
    unlock(rig)
    pending = rig.status()["refill_pending_mills"]
    message = rig.ask("refill_begin", amount_mills=pending)["message"]
    grant = answered(rig, "refill_request", message, "refill_grant", amount_mills=pending)
    rig.ask("refill_complete", message=grant)
    rest = rig.status()["offset"]
    assert 0 < rest < len(PACKAGE)
    for start in range(rest, len(PACKAGE), 1000):
        rig.ask("software_data", offset=start, data=PACKAGE[start : start + 1000])
    assert rig.ask("software_complete")["software_id"] == VERSION
    report = rig.ask("checkin_begin")["message"]
    _, said = messages.peek(report, "checkin_report")
    receipt = answered(rig, "checkin_report", report, "checkin_receipt", acknowledged=said["log_sequence"])
    rig.ask("checkin_complete", message=receipt)

    old = rig.kept["registers"]
    for _ in range(2):
        for postage in range(1, 131):  # more than a segment holds
            rig.dispense(mailing_date=LATER, postage_mills=postage)
        rig.power_on()
        rig.log_in()
    spent = 2 * sum(range(1, 131))
    assert rig.registers() == old | {
        "ascending_mills": old["ascending_mills"] + spent,
        "descending_mills": old["descending_mills"] + pending - spent,
        "control_sum_mills": old["control_sum_mills"] + pending,
        "piece_count": old["piece_count"] + 260,
    }
    assert len(check_log(rig)) == 260
    assert rig.ask("get_info")["software_id"] == VERSION


# The first form


def test_a_device_of_the_first_form_is_refused_with_the_reason_and_nothing_is_changed(tmp_path: Path) -> None:
    """It cannot be carried over: it has no secret for its meter, and no key of its own for messages."""
    kept = lay_out("format-1", tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "psd").iterdir()}
    assert kept["registers"]["piece_count"] == 40
    rig = OnDisk(tmp_path, kept)
    for _ in range(2):
        assert rig.status()["state"] == "ERROR"
        (why,) = rig.status()["lock_reasons"]
        assert why.startswith("state records of format 1 cannot be read")
        for name, request in (("get_registers", Values()), ("dispense", piece())):
            with pytest.raises(IntegrityError, match="state records of format 1 cannot be read"):
                rig.ask(name, **request)
        rig.power_on()
    assert rig.medium() == before
    rig.storage.close()
    assert {path.name: path.read_bytes() for path in (tmp_path / "psd").glob("*.seg")} == before


# Making one


def test_the_tool_makes_an_image_as_this_version_writes_it_twice_the_same(tmp_path: Path) -> None:
    make(tmp_path / "a", "commit")
    make(tmp_path / "b", "commit")
    for kind in (".zip", ".json"):
        assert (tmp_path / "a").with_suffix(kind).read_bytes() == (tmp_path / "b").with_suffix(kind).read_bytes()


def test_a_rig_of_an_image_draws_request_ids_of_its_own() -> None:
    assert not Rig.new_id(Rig()).startswith(b"new")
