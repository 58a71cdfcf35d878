"""The published frames, read both ways: the bytes give what the file says of them, and that gives the bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from pes_sim.errors import PesError, ProtocolError, Status
from pes_sim.link import message
from pes_sim.link.device import DeviceSession
from pes_sim.link.events import BY_CODE
from pes_sim.link.frame import MAX_FRAME, VERSION, Frame, FrameKind, Framer, cobs_decode, cobs_encode, encode
from pes_sim.meter.services import OWN
from pes_sim.psd.fields import check_all
from pes_sim.psd.services import SERVICES
from tests.link.by_hand import by_hand, by_hand_cobs
from tests.link.fakes import GET, ID, NOW, FakeDevice, frames

FOLDER: Final = Path(__file__).parents[1] / "vectors" / "frames"
TABLE: Final = {service.code: service for service in (*message.LINK_SERVICES, *SERVICES, *OWN)}


def load(name: str) -> list[dict[str, Any]]:
    document = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert document["about"].startswith("Made by this project, pes_sim")
    assert f"version {VERSION} of its own serial protocol" in document["about"]
    return list(document["vectors"])


def value(shown: Any) -> Any:
    """What the file shows: byte strings are h'hex' there."""
    if isinstance(shown, str) and shown.startswith("h'"):
        return bytes.fromhex(shown[2:-1])
    if isinstance(shown, dict):
        return {name: value(one) for name, one in shown.items()}
    return [value(one) for one in shown] if isinstance(shown, list) else shown


def stands_in(vector: dict[str, Any]) -> Frame:
    """The frame as the file describes it, and as it is read from its line."""
    line = bytes.fromhex(vector["line"])
    version, kind, service, status = (vector[name] for name in ("version", "kind", "service", "status"))
    request_id, body = bytes.fromhex(vector["request_id"]), bytes.fromhex(vector["body"])
    assert line == by_hand(version, kind, service, status, request_id, body)
    described = Frame(kind, service, status, request_id, body, version, 1, len(line) - 1)
    assert Framer().feed(line) == [described]
    assert encode(described) == line
    return described


@pytest.mark.parametrize("vector", load("services"), ids=lambda vector: str(vector["name"]))
def test_every_request_and_reply_has_the_published_bytes_and_they_say_what_is_published(vector: dict[str, Any]) -> None:
    frame, values = stands_in(vector), value(vector["values"])
    service = TABLE[frame.service]
    assert vector["name"].startswith(f"{service.name}: ")
    assert message.read_values(frame) == values
    asks = frame.kind == FrameKind.REQUEST
    check_all(service.request if asks else service.reply, values)
    made = message.request(service, values, frame.request_id) if asks else message.reply(frame, values)
    assert encode(made).hex() == vector["line"]


def test_every_service_has_a_request_and_a_reply_and_fields_of_every_size() -> None:
    found = {(vector["service"], vector["kind"]) for vector in load("services")}
    assert found == {(code, kind) for code in TABLE for kind in (FrameKind.REQUEST, FrameKind.REPLY)}


@pytest.mark.parametrize("vector", load("refusals"), ids=lambda vector: str(vector["name"]))
def test_every_refusal_has_the_published_bytes_and_they_say_what_is_published(vector: dict[str, Any]) -> None:
    frame, facts = stands_in(vector), vector["values"]
    refusal = message.read_refusal(frame)
    assert (refusal.status, refusal.message, refusal.hint, refusal.detail) == (
        vector["status"], facts["message"], facts["hint"], facts["detail"],
    )  # fmt: skip
    error = PesError(facts["message"], hint=facts["hint"], **facts["detail"])
    error.status = Status(vector["status"])
    assert encode(message.refusal(frame.service, frame.request_id, error)).hex() == vector["line"]


def test_every_status_has_a_refusal() -> None:
    assert {vector["status"] for vector in load("refusals")} == set(Status) - {Status.OK}


@pytest.mark.parametrize("vector", load("events"), ids=lambda vector: str(vector["name"]))
def test_every_event_has_the_published_bytes_and_they_say_what_is_published(vector: dict[str, Any]) -> None:
    frame, values = stands_in(vector), value(vector["values"])
    kind = BY_CODE[frame.service]
    assert (frame.kind, frame.status, frame.request_id) == (FrameKind.EVENT, 0, message.NO_REQUEST)
    check_all(kind.fields, values)
    assert message.read_values(frame) == values
    assert encode(message.event(kind, values)).hex() == vector["line"]


def test_every_event_is_published() -> None:
    assert {vector["service"] for vector in load("events")} == set(BY_CODE)


# Bad frames


@pytest.mark.parametrize("vector", load("bad"), ids=lambda vector: str(vector["name"]))
def test_every_bad_frame_gets_the_published_status_and_range_and_the_next_good_one_is_answered(
    vector: dict[str, Any],
) -> None:
    device = FakeDevice()
    session = DeviceSession(device)
    (answer,) = frames(session.receive(bytes.fromhex(vector["line"]), NOW))
    assert (answer.status, Status(answer.status).name) == (vector["status"], vector["status_name"])
    refusal = message.read_refusal(answer)
    assert refusal.detail == {"start": vector["start"], "end": vector["end"]}
    assert isinstance(refusal, (PesError, ProtocolError))
    assert device.asked == []
    (good,) = frames(session.receive(encode(message.request(GET, {}, ID)), NOW))
    assert good.status == Status.OK


# COBS


@pytest.mark.parametrize("vector", load("cobs"), ids=lambda vector: str(vector["name"]))
def test_cobs_has_the_published_bytes_and_gives_them_back(vector: dict[str, Any]) -> None:
    data, stuffed = bytes.fromhex(vector["data"]), bytes.fromhex(vector["stuffed"])
    assert cobs_encode(data) == by_hand_cobs(data) == stuffed
    assert cobs_decode(stuffed) == data
    if "also_read" in vector:
        other = bytes.fromhex(vector["also_read"])
        assert stuffed == other + b"\x01"
        assert cobs_decode(other) == data


LITERATURE: Final = {
    # As printed: Cheshire and Baker 1999; Wikipedia, "Consistent Overhead Byte Stuffing", without delimiters.
    "Cheshire and Baker 1999, the packet of their figure": "024501042c4c79010540064f37",
    "Wikipedia, example 4": "031122" + "0233",
    "Wikipedia, example 5": "0511223344",
    "Wikipedia, example 9": "ff" + bytes(range(1, 255)).hex() + "02ff",
    "Wikipedia, example 10": "ff" + bytes(range(2, 256)).hex() + "0101",
    "Wikipedia, example 11": "fe" + bytes(range(3, 256)).hex() + "0201",
    "a zero": "0101",
    "two zeros": "010101",
}


def test_cobs_is_that_of_the_paper_and_of_other_published_examples() -> None:
    published = {vector["name"]: vector["stuffed"] for vector in load("cobs")}
    assert {name: published[name] for name in LITERATURE} == LITERATURE


@pytest.mark.parametrize(("run", "codes"), [(253, "fe"), (254, "ff"), (255, "ff")])
def test_the_runs_around_the_longest_code_are_there(run: int, codes: str) -> None:
    found = {vector["name"]: vector for vector in load("cobs")}
    assert found[f"a run of {run}"]["stuffed"].startswith(codes)
    assert ("also_read" in found[f"a run of {run}"]) is (run == 254)
    assert {f"a run of {run}, a zero", f"a zero, a run of {run}", f"a run of {run}, a zero, another such"} <= set(found)
    assert max(len(vector["data"]) for vector in found.values()) < 2 * MAX_FRAME
