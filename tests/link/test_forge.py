"""Frames that are wrong on purpose: each gets its status and its byte range, and the next good one is answered."""

from __future__ import annotations

import zlib
from typing import Any, Final

import pytest

from pes_sim.clock import VirtualClock
from pes_sim.errors import ProtocolError, Status
from pes_sim.link import message
from pes_sim.link.device import DeviceSession
from pes_sim.link.forge import STUFFING_FAULTS, forge
from pes_sim.link.frame import MAX_FRAME, OVERHEAD, VERSION, Frame, FrameKind, Framer, cobs_encode, encode
from pes_sim.link.ports.memory import MemoryTransport
from tests.link.fakes import GET, ID, NOW, OTHER_ID, FakeDevice, client, frames

GOOD: Final = message.request(GET, {}, ID)
LINE: Final = encode(GOOD)
END: Final = len(LINE) - 1
"""Where the good frame's bytes end; they begin at 1."""
NOBODY: Final = (message.UNREADABLE, message.NO_REQUEST)
"""Service and request id of an answer to what could not be read."""
MINE: Final = (GET.code, ID)

REFUSED: Final[dict[str, tuple[dict[str, Any], tuple[int, bytes], Status, tuple[int, int] | None]]] = {
    # name: overrides, service and request id of the answer, status, byte range (None: the detail names no range)
    "version 0": ({"version": 0}, MINE, Status.UNSUPPORTED_VERSION, (1, END)),
    "version 2": ({"version": 2}, MINE, Status.UNSUPPORTED_VERSION, (1, END)),
    "kind 0": ({"kind": 0}, MINE, Status.BAD_FRAME, (1, END)),
    "kind 4": ({"kind": 4}, MINE, Status.BAD_FRAME, (1, END)),
    "a service that is not there": ({"service": 0x55}, (0x55, ID), Status.UNKNOWN_SERVICE, None),
    "request id of 15 bytes, of a body less": ({"request_id": ID[:15]}, (GET.code, ID[:15] + b"\xa0"),
                                               Status.BAD_BODY, (1, END - 1)),
    "request id of 17 bytes": ({"request_id": ID + b"\x11"}, MINE, Status.BAD_BODY, (1, END + 1)),
    "no request id": ({"request_id": b""}, NOBODY, Status.BAD_FRAME, (1, END - 16)),
    "no body": ({"body": b""}, MINE, Status.BAD_BODY, (1, END - 1)),
    "a body that is text": ({"body": b"hello"}, MINE, Status.BAD_BODY, (1, END + 4)),
    "a body with a tag": ({"body": b"\xd9\xd9\xf7\xa0"}, MINE, Status.BAD_BODY, (1, END + 3)),
    "a body with a field that is not asked for": ({"body": b"\xa1\x18\x2b\x01"}, MINE, Status.BAD_FIELD, None),
    "a body too long": ({"body": b"\xa5" * (MAX_FRAME - OVERHEAD + 1)}, NOBODY, Status.FRAME_TOO_LARGE, (1, 4115)),
    "CRC 0": ({"crc": 0}, NOBODY, Status.BAD_FRAME, (1, END)),
    "CRC of something else": ({"crc": b"\x01\x02\x03\x04"}, NOBODY, Status.BAD_FRAME, (1, END)),
    "CRC in the other order": ({"crc": zlib.crc32(b"\1\1\1\0" + ID + b"\xa0").to_bytes(4, "big")}, NOBODY,
                               Status.BAD_FRAME, (1, END)),
    "no CRC": ({"crc": b""}, NOBODY, Status.BAD_FRAME, (1, END - 4)),
    "code beyond the end": ({"stuffing": STUFFING_FAULTS["code beyond the end"]}, NOBODY, Status.BAD_FRAME, (1, END)),
    "last byte lost": ({"stuffing": STUFFING_FAULTS["last byte lost"]}, NOBODY, Status.BAD_FRAME, (1, END - 1)),
    "first byte lost": ({"stuffing": STUFFING_FAULTS["first byte lost"]}, NOBODY, Status.BAD_FRAME, (1, END - 1)),
    "a code too many": ({"stuffing": STUFFING_FAULTS["a code too many"]}, NOBODY, Status.BAD_FRAME, (1, END + 1)),
    "stuffed twice": ({"stuffing": STUFFING_FAULTS["stuffed twice"]}, NOBODY, Status.BAD_FRAME, (1, END + 1)),
    "not stuffed": ({"stuffing": STUFFING_FAULTS["not stuffed"]}, NOBODY, Status.BAD_FRAME, (1, 4)),
    "zero inside": ({"stuffing": STUFFING_FAULTS["zero inside"]}, NOBODY, Status.BAD_FRAME, (1, 13)),
    "text before it in place of a delimiter": ({"before": b"login:"}, NOBODY, Status.BAD_FRAME, (0, END + 5)),
    "no delimiter behind it": ({"after": b""}, NOBODY, Status.BAD_FRAME, (1, END + 5)),
}  # fmt: skip
"""`after`: what closes it is "login" and a delimiter, for those that are not closed by themselves."""


def statuses(line: bytes) -> list[int]:
    return [frame.status for frame in frames(line)]


@pytest.mark.parametrize("name", REFUSED)
def test_a_forged_frame_gets_its_status_and_its_range_and_the_next_good_one_is_answered(name: str) -> None:
    overrides, (service, request_id), status, span = REFUSED[name]
    device = FakeDevice()
    session = DeviceSession(device)
    line = forge(GOOD, **overrides)
    if overrides.get("after") == b"":
        assert session.receive(line, NOW) == b""  # it may still become a frame
        line = b"login\0"
    answer, *more = frames(session.receive(line, NOW))
    assert (answer.kind, answer.version) == (FrameKind.REPLY, VERSION)
    assert (answer.status, answer.service, answer.request_id) == (status, service, request_id)
    refusal = message.read_refusal(answer)
    assert refusal.hint is not None
    if span is not None:
        assert (refusal.detail["start"], refusal.detail["end"]) == span
    assert more == []
    assert device.asked == [] or status is Status.BAD_FIELD
    assert statuses(session.receive(LINE, NOW)) == [Status.OK]


def test_what_is_not_overridden_is_as_it_should_be() -> None:
    assert forge(GOOD) == LINE
    (forged,) = frames(forge(GOOD, version=9, kind=8, service=7, status=6, request_id=OTHER_ID, body=b"\x01"))
    assert forged == Frame(8, 7, 6, OTHER_ID, b"\x01", 9, 1, forged.end)


@pytest.mark.parametrize("delimiters", [{"before": b""}, {"before": bytes(9), "after": bytes(9)}])
def test_a_delimiter_before_is_only_for_what_comes_before_and_one_too_many_does_no_harm(
    delimiters: dict[str, Any],
) -> None:
    assert statuses(DeviceSession(FakeDevice()).receive(forge(GOOD, **delimiters), NOW)) == [Status.OK]


def test_frames_between_which_both_delimiters_are_missing_are_one_bad_one() -> None:
    session = DeviceSession(FakeDevice())
    two = forge(GOOD, after=b"") + forge(GOOD, before=b"")
    (answer,) = frames(session.receive(two, NOW))
    assert message.read_refusal(answer).detail == {"start": 1, "end": len(two) - 1}


@pytest.mark.parametrize("kind", [FrameKind.REPLY, FrameKind.EVENT])
def test_a_status_in_a_request_is_nothing_and_a_reply_or_event_is_met_with_silence(kind: int) -> None:
    session = DeviceSession(FakeDevice())
    assert statuses(session.receive(forge(GOOD, status=0x33), NOW)) == [Status.OK]
    assert session.receive(forge(GOOD, kind=kind), NOW) == b""


@pytest.mark.parametrize("number", ["version", "kind", "service", "status"])
@pytest.mark.parametrize("value", [-1, 256])
def test_a_number_that_has_no_byte_is_the_callers_mistake(number: str, value: int) -> None:
    overrides: dict[str, Any] = {number: value}
    with pytest.raises(ValueError, match="range"):
        forge(GOOD, **overrides)


@pytest.mark.parametrize("fault", STUFFING_FAULTS)
@pytest.mark.parametrize("data", [bytes(range(1, 200)), bytes(range(255)) * 3, bytes(40)])
def test_a_stuffing_fault_makes_what_no_encoder_makes_of_that_data(fault: str, data: bytes) -> None:
    assert STUFFING_FAULTS[fault](data) != cobs_encode(data)


# On the client


def test_a_client_sends_raw_bytes_and_gives_what_comes_back_frames_and_errors() -> None:
    device = FakeDevice()
    host = client(MemoryTransport(device, VirtualClock(NOW)))
    (refused,) = host.send_raw(forge(GOOD, crc=0))
    assert isinstance(refused, Frame)
    assert message.read_refusal(refused).status is Status.BAD_FRAME
    good, unknown = host.send_raw(LINE + forge(GOOD, service=0x55), expect=2)
    assert isinstance(good, Frame)
    assert message.read_values(good) == {"message": b"hello"}
    assert isinstance(unknown, Frame)
    assert unknown.status == Status.UNKNOWN_SERVICE
    assert host.call("get", {}) == {"message": b"hello"}


class Noise:
    """A port that answers with bytes of one's own."""

    name = "noise:"

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.sent: list[bytes] = []

    def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        """Nothing is open."""


def test_what_it_cannot_read_is_an_error_with_its_range_and_nothing_is_sent_again() -> None:
    line = Noise(b"\0noise", b"\0", LINE)
    error, frame = client(line).send_raw(b"\x07\x07", expect=0)
    assert isinstance(error, ProtocolError)
    assert error.detail == {"start": 1, "end": 6}
    assert isinstance(frame, Frame)
    assert line.sent == [b"\x07\x07"]


def test_it_ends_with_silence_with_what_it_waits_for_and_with_endless_babble() -> None:
    assert client(Noise()).send_raw(LINE) == []
    line = Noise(LINE, LINE)
    assert len(client(line).send_raw(LINE)) == 1
    assert line.read() == LINE

    class Babble(Noise):
        def read(self) -> bytes:
            return b"\x07" * 1000

    (error,) = client(Babble()).send_raw(LINE, expect=0)
    assert isinstance(error, ProtocolError)
    assert Framer().feed(LINE) != []
