"""The host's end: one request, one answer, asked again under the same id until it comes or there is none."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.errors import (
    FieldError,
    InsufficientFunds,
    LinkError,
    LockedCheckinOverdue,
    PesError,
    ProtocolError,
    Status,
    UnknownService,
)
from pes_sim.link import message
from pes_sim.link.client import ATTEMPTS, BYTES_PER_ATTEMPT
from pes_sim.link.device import DeviceSession
from pes_sim.link.frame import MAX_FRAME, OVERHEAD, VERSION, Frame, FrameKind, encode
from pes_sim.psd.cbor import dump
from pes_sim.psd.fields import Values
from tests.link.fakes import GET, ID, NOW, OTHER_ID, PUT, FakeDevice, client, frames

Fault = Callable[[bytes], bytes]
LETTER: Final[Values] = {"message": b"a letter", "reference": b"100"}


def whole(data: bytes) -> bytes:
    return data


def lost(data: bytes) -> bytes:
    return b""


def broken(data: bytes) -> bytes:
    """One byte in the middle wrong, but no delimiter."""
    if not data:
        return data
    middle = len(data) // 2
    flipped = data[middle] ^ 0x80 or 0x7F
    return data[:middle] + bytes([flipped]) + data[middle + 1 :]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def twice(data: bytes) -> bytes:
    return data + data


def after_noise(data: bytes) -> bytes:
    return b"\xffnoise" + data


class Line:
    """A line to a real device session. What goes to the device, and what comes back, meets the faults in turn."""

    name = "line:"

    def __init__(self, device: FakeDevice, requests: Iterable[Fault] = (), answers: Iterable[Fault] = ()) -> None:
        self._session = DeviceSession(device)
        self._requests, self._answers = iter(requests), iter(answers)
        self.coming: deque[bytes] = deque()
        self.sent: list[bytes] = []
        self.silences = 0
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        arriving = next(self._requests, whole)(data)
        answer = next(self._answers, whole)(self._session.receive(arriving, NOW))
        if answer:
            self.coming.append(answer)

    def read(self) -> bytes:
        if self.coming:
            return self.coming.popleft()
        self.silences += 1
        return b""

    def close(self) -> None:
        self.closed = True


class Script:
    """A peer that says to each request what it was told to: a list of pieces, made of the request's frame."""

    name = "script:"

    def __init__(self, *scenes: Callable[[Frame], Iterable[bytes]]) -> None:
        self._scenes = iter(scenes)
        self._coming: Iterator[bytes] = iter(())
        self.sent: list[bytes] = []
        self.read_bytes = 0
        self.silences = 0

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        (asked,) = frames(data)
        pieces = next(self._scenes, lambda asked: ())(asked)
        self._coming = itertools.chain(self._coming, pieces)

    def read(self) -> bytes:
        piece = next(self._coming, b"")
        self.read_bytes += len(piece)
        self.silences += not piece
        assert self.read_bytes < 100 * BYTES_PER_ATTEMPT, "this would go on for ever"
        return piece

    def close(self) -> None:
        raise AssertionError("nobody asked for that")


def answering(asked: Frame, **changes: object) -> bytes:
    """The good answer to `get`, or to `put`, with changes to its frame."""
    values = {"message": b"hello"} if asked.service == GET.code else {"record": 1}
    return encode(message.reply(asked, values)._replace(**changes))  # type: ignore[arg-type]


def report(status: Status = Status.BAD_FRAME) -> bytes:
    """What a device says of a frame that it could not read."""
    return encode(message.refusal(message.UNREADABLE, message.NO_REQUEST, ProtocolError("broken", 0, 9, status)))


# One call


def test_a_call_is_one_request_and_one_answer() -> None:
    device = FakeDevice()
    line = Line(device)
    assert client(line).call("put", LETTER, request_id=ID) == {"record": 1}
    assert line.sent == [encode(message.request(PUT, LETTER, ID))]
    assert device.asked == [("put", LETTER, ID, NOW)]
    assert line.silences == 0


def test_calls_without_a_request_id_get_a_new_one_each() -> None:
    device = FakeDevice()
    caller = client(Line(device))
    assert [caller.call("put", LETTER)["record"] for _ in range(3)] == [1, 2, 3]
    ids = {request_id for _, _, request_id, _ in device.asked}
    assert len(ids) == 3
    assert {len(request_id) for request_id in ids} == {16}


@pytest.mark.parametrize("piece", [1, 7, 30])
def test_an_answer_may_come_in_pieces(piece: int) -> None:
    def pieces(asked: Frame) -> list[bytes]:
        line = answering(asked)
        return [line[at : at + piece] for at in range(0, len(line), piece)]

    script = Script(pieces)
    assert client(script).call("get", {}) == {"message": b"hello"}
    assert len(script.sent) == 1


@pytest.mark.parametrize("name", ["", "GET", "dispense", "hello"])
def test_a_service_that_is_not_in_the_table_is_refused_before_anything_is_sent(name: str) -> None:
    script = Script()
    with pytest.raises(UnknownService, match=f"there is no service '{name}' to call"):
        client(script).call(name, {})
    assert script.sent == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({}, "message"),
        ({"message": b""}, "reference"),
        ({**LETTER, "weight": 1}, "weight"),
        ({**LETTER, "message": "a letter"}, "message"),
        ({**LETTER, "message": bytes(3001)}, "message"),
        ({**LETTER, "no such": 1}, "no such"),
    ],
)
def test_a_request_that_no_device_would_take_is_refused_before_anything_is_sent(request_: Values, field: str) -> None:
    script = Script()
    with pytest.raises(FieldError) as caught:
        client(script).call("put", request_)
    assert caught.value.detail == {"field": field}
    assert script.sent == []


@pytest.mark.parametrize("request_id", [b"\x01" * 15, b"\x01" * 17, b"1", bytes(16)])
def test_a_request_id_that_no_answer_could_be_told_by_is_refused_before_anything_is_sent(request_id: bytes) -> None:
    script = Script()
    with pytest.raises(FieldError, match="a request id is 16 bytes"):
        client(script).call("put", LETTER, request_id=request_id)
    assert script.sent == []


def test_close_closes_the_port() -> None:
    line = Line(FakeDevice())
    client(line).close()
    assert line.closed


# What goes wrong on the line


@pytest.mark.parametrize(("requests", "answers"), [([lost], []), ([cut], []), ([], [lost]), ([], [cut])])
def test_what_is_lost_is_asked_again_after_a_silence_under_the_same_id(
    requests: list[Fault], answers: list[Fault]
) -> None:
    device = FakeDevice()
    line = Line(device, requests, answers)
    assert client(line).call("put", LETTER, request_id=ID) == {"record": 1}
    assert line.sent == [encode(message.request(PUT, LETTER, ID))] * 2
    assert line.silences == 1
    assert {request_id for _, _, request_id, _ in device.asked} == {ID}


def test_an_answer_that_is_lost_is_given_again_and_nothing_is_done_twice() -> None:
    device = FakeDevice()
    line = Line(device, answers=[lost, broken, cut])
    caller = client(line)
    assert caller.call("put", LETTER, request_id=ID) == {"record": 1}
    assert len(device.asked) == 4
    assert caller.call("put", LETTER, request_id=OTHER_ID) == {"record": 2}


def test_a_request_that_arrives_broken_is_sent_again_at_once() -> None:
    device = FakeDevice()
    line = Line(device, [broken])
    assert client(line).call("put", LETTER) == {"record": 1}
    assert len(line.sent) == 2
    assert line.silences == 0
    assert len(device.asked) == 1


def test_so_is_one_whose_answer_arrives_broken() -> None:
    """On a noisy line every third answer does: to wait for silence each time would take most of the time."""
    device = FakeDevice()
    line = Line(device, answers=[broken])
    assert client(line).call("put", LETTER, request_id=ID) == {"record": 1}
    assert line.sent == [encode(message.request(PUT, LETTER, ID))] * 2
    assert line.silences == 0


@pytest.mark.parametrize(("noise", "sent"), [(b"\xff" * OVERHEAD, 1), (b"\xff" * (OVERHEAD + 1), 2)])
def test_what_is_too_short_for_an_answer_is_noise(noise: bytes, sent: int) -> None:
    script = Script(lambda asked: [b"\0" + noise + b"\0", answering(asked)], lambda asked: [answering(asked)])
    assert client(script).call("get", {}) == {"message": b"hello"}
    assert len(script.sent) == sent


def test_so_is_one_that_is_too_long_with_the_noise_before_it() -> None:
    script = Script(lambda asked: [report(Status.FRAME_TOO_LARGE)], lambda asked: [answering(asked)])
    assert client(script).call("get", {}) == {"message": b"hello"}
    assert len(script.sent) == 2


def test_noise_before_every_request_costs_nothing() -> None:
    line = Line(FakeDevice(), itertools.repeat(after_noise))
    caller = client(line)
    assert [caller.call("put", LETTER)["record"] for _ in range(50)] == list(range(1, 51))
    assert len(line.sent) == 50


def test_many_reports_of_old_noise_do_not_use_up_the_attempts() -> None:
    script = Script(lambda asked: [report()] * 100 + [answering(asked)])
    assert client(script).call("get", {}) == {"message": b"hello"}
    assert len(script.sent) == 2


def test_a_report_is_not_missed_beside_an_answer_to_something_else() -> None:
    def both(asked: Frame) -> list[bytes]:
        return [report() + answering(asked, request_id=OTHER_ID)]

    script = Script(both, lambda asked: [answering(asked)])
    assert client(script).call("get", {}) == {"message": b"hello"}
    assert (len(script.sent), script.silences) == (2, 0)


def test_a_report_and_the_answer_may_come_in_one_piece() -> None:
    script = Script(lambda asked: [report() + answering(asked)])
    assert client(script).call("get", {}) == {"message": b"hello"}
    assert len(script.sent) == 1


@pytest.mark.parametrize(
    "stale",
    [
        {"request_id": OTHER_ID},
        {"request_id": OTHER_ID, "status": Status.INSUFFICIENT_FUNDS},
        {"request_id": OTHER_ID, "status": Status.BAD_FRAME},
        {"request_id": message.NO_REQUEST},
        {"request_id": message.NO_REQUEST, "status": Status.INTERNAL},
        {"service": PUT.code},
        {"kind": FrameKind.REQUEST},
        {"kind": 3},
        {"body": b"\xff" * 50, "request_id": OTHER_ID},
    ],
    ids=str,
)
def test_what_answers_something_else_is_passed_over(stale: dict[str, object]) -> None:
    script = Script(lambda asked: [answering(asked, **stale), b"\0noise\0", answering(asked)])
    assert client(script).call("get", {}) == {"message": b"hello"}
    assert len(script.sent) == 1


def test_an_answer_that_comes_twice_is_passed_over_by_the_next_call() -> None:
    device = FakeDevice()
    caller = client(Line(device, answers=itertools.repeat(twice)))
    assert [caller.call("put", LETTER)["record"] for _ in range(5)] == [1, 2, 3, 4, 5]
    assert len(device.asked) == 5


def test_the_half_of_an_answer_does_not_spoil_the_next_call() -> None:
    line = Line(FakeDevice(), answers=[cut] * ATTEMPTS)
    caller = client(line)
    with pytest.raises(LinkError):
        caller.call("get", {})
    assert caller.call("get", {}) == {"message": b"hello"}


FAULTS = st.sampled_from([whole, lost, broken, cut, twice, after_noise])


@given(st.lists(st.tuples(st.lists(FAULTS, max_size=3), st.lists(FAULTS, max_size=3)), max_size=5))
def test_whatever_three_faults_a_call_meets_it_is_answered_and_done_once(
    calls: list[tuple[list[Fault], list[Fault]]],
) -> None:
    done = FakeDevice()
    line = Line(done)
    caller = client(line)
    for number, (requests, answers) in enumerate(calls, start=1):
        together = max(len(requests), len(answers))
        line._requests, line._answers = iter(requests), iter(answers)
        assert caller.call("put", LETTER) == {"record": number}
        assert len(line.sent) <= 2 * (together + 1)
        line.sent.clear()


# No answer


def test_without_an_answer_four_attempts_are_made_and_then_the_error_says_what_to_look_at() -> None:
    script = Script()
    with pytest.raises(LinkError) as caught:
        client(script).call("get", {}, request_id=ID)
    assert ATTEMPTS == 4
    assert script.sent == [encode(message.request(GET, {}, ID))] * ATTEMPTS
    assert caught.value.message == "no answer from script: to get after 4 attempts"
    assert caught.value.hint == "Is a meter running there, and is the line set to its speed?"


def test_a_request_that_never_arrives_whole_ends_too() -> None:
    line = Line(FakeDevice(), itertools.repeat(broken))
    with pytest.raises(LinkError):
        client(line).call("get", {})
    assert len(line.sent) == 2 * ATTEMPTS


@pytest.mark.parametrize(
    "babble",
    [b"\x55", b"\0", b"\x05abc\0", b"login: " * 1000, report(), report(Status.FRAME_TOO_LARGE), report() * 500,
     encode(Frame(FrameKind.REPLY, GET.code, 0, OTHER_ID, b"\xa0"))],
    ids=["one byte", "zero", "broken", "text", "report", "too large", "reports", "stale"],
)  # fmt: skip
def test_a_device_that_never_falls_silent_does_not_hold_the_host_for_ever(babble: bytes) -> None:
    script = Script(lambda asked: itertools.repeat(babble))
    with pytest.raises(LinkError, match="no answer from script: to get after 4 attempts") as caught:
        client(script).call("get", {})
    assert caught.value.message.endswith(f", though {script.read_bytes} bytes came")
    assert "may be left from another program" in caught.value.hint
    assert script.read_bytes <= ATTEMPTS * (BYTES_PER_ATTEMPT + len(babble))
    assert len(script.sent) <= 2 * ATTEMPTS


def test_what_came_for_an_earlier_request_is_not_counted_again() -> None:
    caller = client(Script(lambda asked: iter([b"\x55"])))
    with pytest.raises(LinkError, match="though 1 bytes came"):  # the script says its piece once
        caller.call("get", {})
    with pytest.raises(LinkError, match="after 4 attempts. Is a meter"):
        caller.call("get", {})


@pytest.mark.parametrize(("babble", "sent"), [(BYTES_PER_ATTEMPT - 1, 1), (BYTES_PER_ATTEMPT, 2)])
def test_an_attempt_ends_with_so_many_bytes_of_babble_and_not_one_earlier(babble: int, sent: int) -> None:
    script = Script(lambda asked: [b"\0" * babble, answering(asked)])
    assert client(script).call("get", {}) == {"message": b"hello"}
    assert len(script.sent) == sent


def test_an_answer_amid_much_babble_is_found() -> None:
    script = Script(lambda asked: [b"\x05abc\0" * 1000, b"x" * (BYTES_PER_ATTEMPT - 6000), answering(asked)])
    assert client(script).call("get", {}) == {"message": b"hello"}
    assert BYTES_PER_ATTEMPT >= 4 * MAX_FRAME


class Unplugged(Script):
    """A port that is pulled out after the request."""

    def read(self) -> bytes:
        raise LinkError("the port was lost")


def test_a_port_that_is_lost_is_not_asked_again() -> None:
    port = Unplugged()
    with pytest.raises(LinkError, match="the port was lost"):
        client(port).call("get", {})
    assert len(port.sent) == 1


# Refusals, and answers that are none


@pytest.mark.parametrize(
    "problem",
    [
        InsufficientFunds("too little", hint="Refill", missing_mills=5),
        LockedCheckinOverdue("72 h are over", hint="Check in", hours_overdue=1, clears=["a check-in"]),
        LinkError("no connection to the data centre", hint="Plug the LAN in"),
        PesError("something"),
    ],
)
def test_what_the_device_refuses_is_raised_as_it_was_there_and_not_asked_again(problem: PesError) -> None:
    def refuse(name: str, request: Values) -> Values:
        raise problem

    device = FakeDevice(refuse)
    with pytest.raises(type(problem)) as caught:
        client(Line(device)).call("get", {})
    raised = caught.value
    assert type(raised) is type(problem)
    assert (raised.status, raised.message, raised.hint, raised.detail) == (
        problem.status,
        problem.message,
        problem.hint,
        problem.detail,
    )
    assert len(device.asked) == 1


def test_a_defect_of_the_device_is_raised_as_an_internal_error_of_it() -> None:
    def fail(name: str, request: Values) -> Values:
        raise RuntimeError("inside")

    with pytest.raises(PesError, match="internal error of the simulator") as caught:
        client(Line(FakeDevice(fail))).call("get", {})
    assert caught.value.status is Status.INTERNAL


def test_a_status_of_a_later_version_is_raised_all_the_same() -> None:
    body = dump({1: "the tray is empty", 2: "Put paper in", 3: {}})
    script = Script(lambda asked: [answering(asked, status=0x77, body=body)])
    with pytest.raises(PesError, match="status 0x77, which this version does not know"):
        client(script).call("get", {})


@pytest.mark.parametrize(
    ("name", "values", "complaint"),
    [
        ("get", {}, "get: field message is missing"),
        ("get", {"message": "hello"}, "get: field message must be bytes of length up to 3000"),
        ("get", {"message": bytes(3001)}, "get: field message must be bytes of length up to 3000"),
        ("get", {"message": b"", "record": 1}, "get: unknown field record"),
        ("put", {"record": -1}, "put: field record must be uint up to 9223372036854775807"),
        ("put", {"record": 1 << 63}, "put: field record must be uint up to 9223372036854775807"),
        ("list", {"entries": ["one"], "next_record": 0}, "list: field entries must be list of bytes"),
    ],
)
def test_an_answer_with_a_field_that_is_wrong_is_the_devices_mistake(name: str, values: Values, complaint: str) -> None:
    noise = b"\0noise\0"
    script = Script(lambda asked: [noise, encode(message.reply(asked, values))])
    requests: dict[str, Values] = {"get": {}, "put": LETTER, "list": {"first_record": 0}}
    with pytest.raises(ProtocolError) as caught:
        client(script).call(name, requests[name])
    assert caught.value.message.startswith(complaint)
    assert caught.value.status is Status.BAD_BODY
    assert caught.value.detail["start"] == len(noise) + 1
    assert len(script.sent) == 1


@pytest.mark.parametrize("status", [Status.OK, Status.INSUFFICIENT_FUNDS])
@pytest.mark.parametrize("body", [b"", b"\xf6", b"\x81" * 500, b"\xa0\xa0", b"\xa1\xf5\x01"])
def test_an_answer_whose_body_cannot_be_read_is_the_devices_mistake(status: Status, body: bytes) -> None:
    script = Script(lambda asked: [answering(asked, status=status, body=body)])
    with pytest.raises(ProtocolError) as caught:
        client(script).call("get", {})
    assert caught.value.status is Status.BAD_BODY
    assert caught.value.detail["start"] == 1
    assert len(script.sent) == 1


@pytest.mark.parametrize("status", [Status.OK, Status.INSUFFICIENT_FUNDS])
def test_an_answer_in_another_version_is_the_devices_mistake_whatever_it_says(status: Status) -> None:
    script = Script(lambda asked: [answering(asked, version=2, status=status)])
    with pytest.raises(ProtocolError, match=f"an answer in protocol version 2, not {VERSION}") as caught:
        client(script).call("get", {})
    assert caught.value.status is Status.UNSUPPORTED_VERSION


def test_an_answer_too_large_for_this_host_asks_for_a_hello() -> None:
    device = FakeDevice(lambda name, request: {"message": bytes(3000)})
    caller = client(Line(device))
    with pytest.raises(PesError, match="Say hello first") as caught:
        caller.call("get", {})
    assert caught.value.status is Status.FRAME_TOO_LARGE
    caller.hello()
    assert caller.call("get", {}) == {"message": bytes(3000)}


# Hello


def test_hello_gives_what_was_agreed_and_remembers_what_answers() -> None:
    caller = client(Line(FakeDevice()))
    assert caller.device_kind == ""
    assert caller.hello() == {"version": VERSION, "max_frame": MAX_FRAME, "device_kind": "fake"}
    assert caller.device_kind == "fake"


def test_hello_is_asked_again_like_any_request() -> None:
    line = Line(FakeDevice(), [lost], [lost, broken])
    assert client(line).hello()["version"] == VERSION
    assert len(set(line.sent)) == 1


def test_hello_to_nobody_is_a_link_error() -> None:
    with pytest.raises(LinkError, match="no answer from script: to hello"):
        client(Script()).hello()


def test_hello_to_a_device_of_other_versions_says_so() -> None:
    def of_later_versions(asked: Frame) -> list[bytes]:
        problem = ProtocolError("the host speaks versions 1 to 1, this device 2", 1, 9, Status.UNSUPPORTED_VERSION)
        return [encode(message.refusal(asked.service, asked.request_id, problem))]

    with pytest.raises(PesError, match="the host speaks versions 1 to 1, this device 2") as caught:
        client(Script(of_later_versions)).hello()
    assert caught.value.status is Status.UNSUPPORTED_VERSION


def test_hello_does_not_believe_a_device_that_agrees_on_what_was_not_asked() -> None:
    agreed: Values = {"version": 2, "max_frame": MAX_FRAME, "device_kind": "fake"}
    caller = client(Script(lambda asked: [encode(message.reply(asked, agreed))]))
    with pytest.raises(LinkError, match=f"answers in protocol version 2, not {VERSION}"):
        caller.hello()
    assert caller.device_kind == ""
