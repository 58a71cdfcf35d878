"""The device's end: whatever comes in, it answers or stays silent, says why not, and goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.errors import (
    InsufficientFunds,
    LinkError,
    LockedCheckinOverdue,
    PesError,
    ProtocolError,
    Status,
    StorageFull,
)
from pes_sim.link import message
from pes_sim.link.device import DeviceSession
from pes_sim.link.frame import MAX_FRAME, MIN_MAX_FRAME, OVERHEAD, VERSION, Frame, FrameKind, encode
from pes_sim.psd.fields import Values, check_all
from pes_sim.psd.services import BY_NAME as PSD_SERVICES
from pes_sim.psd.services import Service
from tests.link.fakes import GET, ID, LIST, NOW, OTHER_ID, PUT, FakeDevice, frames, read

GET_REQUEST: Final = message.request(GET, {}, ID)
PUT_REQUEST: Final = message.request(PUT, {"message": b"a letter", "reference": b"100"}, OTHER_ID)


def raising(problem: BaseException) -> FakeDevice:
    """A device whose services fail with this."""

    def fail(name: str, request: Values) -> Values:
        raise problem

    return FakeDevice(fail)


def giving(**answer: Any) -> FakeDevice:
    return FakeDevice(lambda name, request: answer)


def hello(**changes: int) -> Frame:
    asked = {"lowest_version": VERSION, "highest_version": VERSION, "max_frame": MAX_FRAME} | changes
    return message.request(message.HELLO, asked, ID)


def answer_to(frame: Frame, device: FakeDevice | None = None) -> Frame:
    """The one answer that a device gives to one frame."""
    (answer,) = frames(DeviceSession(device or FakeDevice()).receive(encode(frame), NOW))
    assert answer.kind == FrameKind.REPLY
    assert answer.version == VERSION
    return answer


def refusal_of(frame: Frame, device: FakeDevice | None = None) -> PesError:
    """What a device says why not, with the request's own service and id."""
    answer = answer_to(frame, device)
    assert (answer.service, answer.request_id) == (frame.service, frame.request_id)
    assert answer.status != Status.OK
    return message.read_refusal(answer)


# Answers


def test_a_request_is_carried_out_with_its_id_and_the_callers_time_and_answered_under_its_id() -> None:
    device = FakeDevice()
    answer = answer_to(PUT_REQUEST, device)
    assert (answer.service, answer.status, answer.request_id) == (PUT.code, Status.OK, OTHER_ID)
    assert message.read_values(answer) == {"record": 1}
    assert device.asked == [("put", {"message": b"a letter", "reference": b"100"}, OTHER_ID, NOW)]


def test_the_same_request_gets_the_same_bytes_and_another_id_does_not() -> None:
    session = DeviceSession(FakeDevice())
    first = session.receive(encode(PUT_REQUEST), NOW)
    assert session.receive(encode(PUT_REQUEST), NOW + 1) == first
    assert session.receive(encode(PUT_REQUEST._replace(request_id=ID)), NOW) != first


def test_several_requests_at_once_are_answered_in_their_order() -> None:
    session = DeviceSession(FakeDevice())
    line = encode(GET_REQUEST) + encode(PUT_REQUEST) + encode(hello())
    answers = frames(session.receive(line, NOW))
    assert [answer.service for answer in answers] == [GET.code, PUT.code, message.HELLO.code]


def test_a_request_that_comes_byte_by_byte_is_answered_with_its_last_byte() -> None:
    session = DeviceSession(FakeDevice())
    *before, last = (session.receive(bytes([byte]), NOW) for byte in encode(GET_REQUEST))
    assert not any(before)
    assert list(read(last)) == [{"message": b"hello"}]


def test_nothing_is_answered_to_nothing() -> None:
    session = DeviceSession(FakeDevice())
    assert session.receive(b"", NOW) == b""
    assert session.receive(bytes(100), NOW) == b""


# Refusals


@pytest.mark.parametrize(
    "problem",
    [
        InsufficientFunds("too little", hint="Refill", missing_mills=5),
        LockedCheckinOverdue("72 h are over", hint="Check in", hours_overdue=1, clears=["a check-in"]),
        StorageFull("no room"),
        LinkError("no connection to the data centre", hint="Plug the LAN in"),
    ],
)
def test_what_a_service_refuses_is_an_answer_with_everything_that_it_said(problem: PesError) -> None:
    refusal = refusal_of(GET_REQUEST, raising(problem))
    assert type(refusal) is type(problem)
    assert (refusal.status, refusal.message, refusal.hint, refusal.detail) == (
        problem.status,
        problem.message,
        problem.hint,
        problem.detail,
    )


@pytest.mark.parametrize("code", [0x04, 0x7F, message.UNREADABLE])
def test_an_unknown_service_is_refused_by_its_number_and_the_kind_of_device(code: int) -> None:
    refusal = refusal_of(GET_REQUEST._replace(service=code))
    assert refusal.status is Status.UNKNOWN_SERVICE
    assert refusal.message == f"a fake has no service 0x{code:02X}"


@pytest.mark.parametrize("version", [0, 2, 255])
@pytest.mark.parametrize("frame", [GET_REQUEST, hello()])
def test_a_frame_of_another_version_is_refused_in_ours(version: int, frame: Frame) -> None:
    refusal = refusal_of(frame._replace(version=version))
    assert refusal.status is Status.UNSUPPORTED_VERSION
    assert refusal.message.startswith(f"protocol version {version} is not {VERSION}")


@pytest.mark.parametrize("kind", [0, 4, 255])
def test_a_frame_of_another_kind_is_refused(kind: int) -> None:
    device = FakeDevice()
    refusal = refusal_of(GET_REQUEST._replace(kind=kind), device)
    assert refusal.status is Status.BAD_FRAME
    assert refusal.message.startswith(f"a frame of kind {kind} is no request")
    assert device.asked == []


@pytest.mark.parametrize("body", [b"", b"\xf6", b"\x80", b"\xa1\x18\xff\x00", b"\xa0\xa0", b"\xa2\x18\x32\0\x18\x32\0"])
def test_a_body_that_cannot_be_read_is_refused_with_its_range_and_never_reaches_a_service(body: bytes) -> None:
    device = FakeDevice()
    frame = PUT_REQUEST._replace(body=body)
    refusal = refusal_of(frame, device)
    assert refusal.status is Status.BAD_BODY
    assert refusal.detail == {"start": 1, "end": len(encode(frame)) - 1}
    assert device.asked == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"message": b"a letter"}, "reference"),
        ({"message": b"a letter", "reference": "100"}, "reference"),
        ({"message": bytes(3001), "reference": b""}, "message"),
        ({"message": b"", "reference": b"", "weight": 1}, "weight"),
    ],
)
def test_a_field_that_is_missing_wrong_or_too_much_is_refused_by_its_name(values: Values, field: str) -> None:
    refusal = refusal_of(message.request(PUT, values, ID))
    assert refusal.status is Status.BAD_FIELD
    assert refusal.detail == {"field": field}


def test_each_refusal_of_several_is_given_and_the_good_between_them_served() -> None:
    session = DeviceSession(FakeDevice())
    broken, good = b"\0broken\0", encode(GET_REQUEST)
    strange = encode(GET_REQUEST._replace(service=0x55))
    statuses = [frame.status for frame in frames(session.receive(broken + good + broken + strange + good, NOW))]
    assert statuses == [Status.BAD_FRAME, Status.OK, Status.BAD_FRAME, Status.UNKNOWN_SERVICE, Status.OK]


# Bytes that are no frame


def test_a_broken_frame_is_answered_without_service_and_id_and_with_its_range_in_the_stream() -> None:
    session = DeviceSession(FakeDevice())
    session.receive(encode(GET_REQUEST), NOW)
    (answer,) = frames(session.receive(b"login: \0", NOW))
    assert (answer.service, answer.request_id) == (message.UNREADABLE, message.NO_REQUEST)
    start = len(encode(GET_REQUEST))
    assert message.read_refusal(answer).detail == {"start": start, "end": start + 7}
    assert answer.status == Status.BAD_FRAME


def test_a_frame_that_is_too_long_is_answered_before_it_ends() -> None:
    session = DeviceSession(FakeDevice())
    (answer,) = frames(session.receive(b"x" * 5000, NOW))
    assert (answer.status, answer.request_id) == (Status.FRAME_TOO_LARGE, message.NO_REQUEST)
    assert session.receive(b"x" * 100_000 + b"\0", NOW) == b""
    assert list(read(session.receive(encode(GET_REQUEST), NOW))) == [{"message": b"hello"}]


def test_answers_to_noise_are_less_than_the_noise() -> None:
    session = DeviceSession(FakeDevice())
    (answer,) = frames(session.receive(b"\x07\0" * 2000, NOW))
    assert message.read_refusal(answer).detail == {"start": 0, "end": 1}
    (again,) = frames(session.receive(b"\x07\0" * 2000, NOW))
    assert message.read_refusal(again).detail == {"start": 4000, "end": 4001}


@pytest.mark.parametrize("status", [Status.OK, Status.BAD_FRAME])
@pytest.mark.parametrize("kind", [FrameKind.REPLY, FrameKind.EVENT])
def test_a_reply_or_event_is_never_answered_lest_two_devices_answer_each_other_for_ever(
    kind: FrameKind, status: Status
) -> None:
    device = FakeDevice()
    reply = GET_REQUEST._replace(kind=kind, status=status)
    for frame in (reply, reply._replace(version=9), reply._replace(request_id=message.NO_REQUEST)):
        assert DeviceSession(device).receive(encode(frame), NOW) == b""
    assert device.asked == []


def test_a_device_that_hears_its_own_answers_falls_silent() -> None:
    session = DeviceSession(FakeDevice())
    echo = session.receive(b"\0noise\0" + encode(GET_REQUEST), NOW)
    assert len(frames(echo)) == 2
    assert session.receive(echo, NOW) == b""


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"\0", encode(PUT_REQUEST), encode(hello())[:-3]])))
def test_after_any_noise_it_still_answers(noise: list[bytes]) -> None:
    session = DeviceSession(FakeDevice())
    for piece in noise:
        frames(session.receive(piece, NOW))  # all that it says are whole frames
    *_, last = read(session.receive(encode(GET_REQUEST), NOW))
    assert last == {"message": b"hello"}


# Defects of our own


SECRET = "the PIN is 1234"


@pytest.mark.parametrize(
    "device",
    [
        raising(RuntimeError(SECRET)),
        raising(KeyError(SECRET)),
        raising(RecursionError(SECRET)),
        raising(PesError(SECRET, thing=object())),  # type: ignore[arg-type]
        giving(no_such_field=SECRET),
        giving(message=object()),
    ],
    ids=["RuntimeError", "KeyError", "RecursionError", "odd detail", "odd field", "odd value"],
)
def test_a_defect_of_our_own_is_logged_answered_as_internal_and_ends_nothing(
    device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    session = DeviceSession(device)
    (answer,) = frames(session.receive(encode(GET_REQUEST), NOW))
    assert (answer.service, answer.request_id, answer.status) == (GET.code, ID, Status.INTERNAL)
    refusal = message.read_refusal(answer)
    assert (refusal.message, refusal.hint, refusal.detail) == ("internal error of the simulator: report it", "", {})
    for inside in (SECRET, "1234", "Traceback", "Error(", ".py", "object"):
        assert inside.encode() not in answer.body
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "service 0x01 failed")
    assert record.exc_info
    assert list(read(session.receive(encode(PUT_REQUEST), NOW))) == [{"record": 1}]


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), SystemExit(3)])
def test_who_wants_the_program_to_end_is_not_held_up(problem: BaseException) -> None:
    with pytest.raises(type(problem)):
        DeviceSession(raising(problem)).receive(encode(GET_REQUEST), NOW)


def test_a_refusal_is_not_logged_as_a_defect(caplog: pytest.LogCaptureFixture) -> None:
    refusal_of(GET_REQUEST, raising(InsufficientFunds("too little")))
    assert caplog.records == []


# Hello


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        (MAX_FRAME, MAX_FRAME),
        (MAX_FRAME - 1, MAX_FRAME - 1),
        (3000, 3000),
        (MIN_MAX_FRAME, MIN_MAX_FRAME),
        (65535, MAX_FRAME),
        (MIN_MAX_FRAME - 1, MIN_MAX_FRAME),
        (0, MIN_MAX_FRAME),
    ],
)
def test_hello_agrees_on_frames_that_both_can_take_and_says_what_answers(asked: int, agreed: int) -> None:
    answer = answer_to(hello(max_frame=asked))
    assert message.read_values(answer) == {"version": VERSION, "max_frame": agreed, "device_kind": "fake"}


@pytest.mark.parametrize(("lowest", "highest"), [(1, 1), (0, 1), (1, 255), (0, 255)])
def test_hello_agrees_on_our_version_when_the_host_has_it_among_others(lowest: int, highest: int) -> None:
    answer = answer_to(hello(lowest_version=lowest, highest_version=highest))
    assert message.read_values(answer)["version"] == VERSION


@pytest.mark.parametrize(("lowest", "highest"), [(2, 2), (2, 255), (0, 0), (1, 0), (2, 1)])
def test_hello_from_a_host_of_other_versions_is_refused_with_ours(lowest: int, highest: int) -> None:
    refusal = refusal_of(hello(lowest_version=lowest, highest_version=highest))
    assert refusal.status is Status.UNSUPPORTED_VERSION
    assert refusal.message.startswith(f"the host speaks versions {lowest} to {highest}, this device {VERSION}")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"lowest_version": 1, "highest_version": 1},
        {"lowest_version": 1, "highest_version": 1, "max_frame": 65536},
        {"lowest_version": -1, "highest_version": 1, "max_frame": 4096},
        {"lowest_version": "1", "highest_version": "1", "max_frame": "4096"},
        {"lowest_version": 1, "highest_version": 1, "max_frame": 4096, "version": 1},
    ],
)
def test_hello_with_a_field_that_is_wrong_is_refused(values: Values) -> None:
    assert refusal_of(message.request(message.HELLO, values, ID)).status is Status.BAD_FIELD


# Answers that the host cannot take

BATCH: Final = PSD_SERVICES["dispense_batch"]


class Batches(FakeDevice):
    """A device that answers each piece of a batch with the longest indicium that there may be."""

    services: Mapping[int, Service] = {**FakeDevice.services, BATCH.code: BATCH}

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        self.asked.append((name, request, request_id, now))
        check_all(BATCH.request, request)
        largest = {field.name: field.limit for field in BATCH.reply if field.name != "indicia"}
        return {"indicia": [bytes(128)] * len(request["pieces"])} | largest


def of(pieces: object) -> Frame:
    return message.request(BATCH, {"pieces": pieces}, ID)


@pytest.mark.parametrize("agreed", [MIN_MAX_FRAME, 3000, MAX_FRAME])
def test_a_batch_whose_answer_would_not_fit_is_refused_before_anything_is_paid(agreed: int) -> None:
    device = Batches()
    session = DeviceSession(device)
    session.receive(encode(hello(max_frame=agreed)), NOW)
    (refused,) = frames(session.receive(encode(of([b""] * 100)), NOW))
    refusal = message.read_refusal(refused)
    most = int(str(refusal.detail["most"]))
    assert (refusal.status, refusal.detail) == (Status.ANSWER_TOO_LONG, {"field": "pieces", "most": most})
    assert refusal.message == f"100 pieces have an answer that is longer than a frame of {agreed} bytes"
    (refused,) = frames(session.receive(encode(of([b""] * (most + 1))), NOW))
    assert (refused.status, device.asked) == (Status.ANSWER_TOO_LONG, [])
    (answer,) = frames(session.receive(encode(of([b""] * most)), NOW))
    assert answer.status == Status.OK
    assert agreed - 3 * 132 < len(answer.body) + OVERHEAD <= agreed


def test_what_is_no_list_of_pieces_is_left_to_the_service_to_refuse() -> None:
    for pieces in (7, bytes(100)):
        refusal = refusal_of(of(pieces), device := Batches())
        assert (refusal.status, len(device.asked)) == (Status.BAD_FIELD, 1)
        assert refusal.detail == {"field": "pieces"}
    assert refusal_of(message.request(BATCH, {}, ID), Batches()).detail == {"field": "pieces"}


def sized(body: int) -> FakeDevice:
    """A device whose answer to `get` has a body of that many bytes."""
    device = giving(message=bytes(body - 6))
    assert len(answer_to_largest(device).body) == body
    return device


def answer_to_largest(device: FakeDevice) -> Frame:
    return message.reply(GET_REQUEST, device.execute("get", {}, request_id=ID, now=NOW))


@pytest.mark.parametrize(("agreed", "greeting"), [(MIN_MAX_FRAME, b""), (3000, encode(hello(max_frame=3000)))])
def test_an_answer_that_just_fits_is_given_and_one_byte_more_is_refused(agreed: int, greeting: bytes) -> None:
    fitting, too_large = sized(agreed - OVERHEAD), sized(agreed - OVERHEAD + 1)
    for device in (fitting, too_large):
        session = DeviceSession(device)
        session.receive(greeting, NOW)
        (answer,) = frames(session.receive(encode(GET_REQUEST), NOW))
        if device is fitting:
            assert answer.status == Status.OK
            continue
        refusal = message.read_refusal(answer)
        assert (answer.request_id, refusal.status) == (ID, Status.FRAME_TOO_LARGE)
        assert refusal.message == f"the answer has {agreed + 1} bytes, the host takes {agreed}"
        assert refusal.hint == "Say hello first"


def test_an_answer_longer_than_any_frame_is_refused_even_after_hello() -> None:
    device = FakeDevice(lambda name, request: {"entries": [bytes(1000)] * 5, "next_record": 0})
    session = DeviceSession(device)
    session.receive(encode(hello()), NOW)
    (answer,) = frames(session.receive(encode(message.request(LIST, {"first_record": 0}, ID)), NOW))
    assert answer.status == Status.FRAME_TOO_LARGE


@pytest.mark.parametrize("status", [Status.INSUFFICIENT_FUNDS, Status.INTERNAL])
def test_a_refusal_too_long_for_the_host_keeps_its_status(status: Status) -> None:
    problem = PesError("no " * 2000)
    problem.status = status
    answer = answer_to(GET_REQUEST, raising(problem))
    assert answer.status == status
    assert "bytes, the host takes 2048" in message.read_refusal(answer).message


def test_every_session_starts_with_the_frames_that_every_host_takes() -> None:
    device = sized(MAX_FRAME - OVERHEAD)
    first, second = DeviceSession(device), DeviceSession(device)
    first.receive(encode(hello()), NOW)
    assert [frame.status for frame in frames(first.receive(encode(GET_REQUEST), NOW))] == [Status.OK]
    assert [frame.status for frame in frames(second.receive(encode(GET_REQUEST), NOW))] == [Status.FRAME_TOO_LARGE]


def test_protocol_errors_of_a_service_itself_are_refusals_like_any_other() -> None:
    refusal = refusal_of(GET_REQUEST, raising(ProtocolError("no map", 1, 2, Status.BAD_BODY)))
    assert (refusal.status, refusal.detail) == (Status.BAD_BODY, {"start": 1, "end": 2})
