"""Messages: requests, replies and refusals as frames, and every body that is none of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.errors import FieldError, InsufficientFunds, LockedCheckinOverdue, PesError, ProtocolError, Status
from pes_sim.link import message
from pes_sim.link.frame import MAX_FRAME, OVERHEAD, Frame, FrameKind, Framer, encode
from pes_sim.psd.cbor import dump
from pes_sim.psd.fields import BY_NAME as FIELDS
from pes_sim.psd.fields import Form, Values
from pes_sim.psd.services import BY_NAME, SERVICES
from tests.link.fakes import GET, ID, PUT

T = TypeVar("T")

LINES: Final[dict[str, str]] = {
    vector["name"]: vector["line"]
    for vector in json.loads((Path(__file__).parents[1] / "vectors" / "frames" / "by_hand.json").read_text())["frames"]
}
HELLO_ID: Final = bytes(range(16))
DISPENSE_ID: Final = bytes(range(0xF0, 0x100))
DISPENSE: Final[Values] = {
    "reference": b"100",
    "destination": "100011234",
    "weight": 100,
    "mail_class": "first_class_letter",
    "mailing_date": "2026-11-21",
    "postage_mills": 740,
}
TOO_LITTLE = InsufficientFunds("too little", hint="Refill", missing_mills=5)

NO_VALUES = {
    # a body: why it is none
    "": "the body is not deterministic CBOR: it ends too early",
    "a0a0": "the body is not deterministic CBOR: bytes follow it",
    "a2183200183200": "the body is not deterministic CBOR: its keys are not in order, each once",
    "a1f5626162": "the body is not deterministic CBOR: it holds a tag, a float, true, false or null",
    "a1f93c00626162": "the body is not deterministic CBOR: it holds a tag, a float, true, false or null",
    "d9d9f7a0": "the body is not deterministic CBOR: it holds a tag, a float, true, false or null",
    "81" * 4000: "the body is not deterministic CBOR: it is nested where it may not be",
    "9bffffffffffffffff": "the body is not deterministic CBOR: it ends too early",
    "61ff": "the body is not deterministic CBOR: a text is not UTF-8",
    "00": "the body must be a CBOR map from field numbers to values",
    "80": "the body must be a CBOR map from field numbers to values",
    "81a0": "the body must be a CBOR map from field numbers to values",
    "60": "the body must be a CBOR map from field numbers to values",
    "a1613100": "unknown field number '1'",
    "a1413100": "unknown field number b'1'",
    "a201006131" + "00": "unknown field number '1'",
    "a100" + "00": "unknown field number 0",
    "a12000": "unknown field number -1",
    "a118ff00": "unknown field number 255",
    "a11bffffffffffffffff00": "unknown field number 18446744073709551615",
    "a2010018ff00": "unknown field number 255",
}

NO_REFUSALS = {
    "": "the body is not deterministic CBOR",
    "a301616102616103a0" + "00": "the body is not deterministic CBOR",
    "a301616102616103a1f900" + "0000": "the body is not deterministic CBOR",
    "00": "the body must be a CBOR map",
    "80": "the body must be a CBOR map",
    "a0": "an error reply without its text",
    "a20161610261" + "61": "an error reply without its text",
    "a20161" + "6103a0": "an error reply without its text",
    "a3010102616103a0": "an error reply without its text",
    "a301616102" + "4003a0": "an error reply without its text",
    "a3016161026161" + "0380": "an error reply without its text",
    "a301616102616103a10000": "an error's detail names integers, texts or lists of text",
    "a301616102616103a1616140": "an error's detail names integers, texts or lists of text",
    "a301616102616103a16161a0": "an error's detail names integers, texts or lists of text",
    "a301616102616103a161618100": "an error's detail names integers, texts or lists of text",
}


def framed(body: bytes, status: int = 0) -> Frame:
    """A reply with this body, as it is read from a stream in which it stands at bytes 1,001 on."""
    line = encode(Frame(FrameKind.REPLY, 1, status, ID, body))
    _, frame = (framer := Framer()).feed(b"x" * 999 + b"\0") + framer.feed(line)
    assert isinstance(frame, Frame)
    return frame


def strategy_for(name: str) -> st.SearchStrategy[Any]:
    """Whatever the field may hold, within what one frame takes."""
    field = FIELDS[name]
    return {
        Form.UINT: st.integers(0, field.limit),
        Form.INT: st.integers(-field.limit, field.limit),
        Form.BYTES: st.binary(max_size=min(field.limit, 200)),
        Form.TEXT: st.text(max_size=min(field.limit, 50)),
        Form.TEXTS: st.lists(st.text(max_size=20), max_size=5),
        Form.BLOBS: st.lists(st.binary(max_size=100), max_size=5),
    }[field.form]


REQUESTS = st.sampled_from(SERVICES).flatmap(
    lambda service: st.tuples(
        st.just(service), st.fixed_dictionaries({field.name: strategy_for(field.name) for field in service.request})
    )
)


# What goes out


def test_requests_replies_and_refusals_have_just_the_published_bytes() -> None:
    asked: Values = {"max_frame": 4096, "highest_version": 1, "lowest_version": 1}
    hello = message.request(message.HELLO, asked, HELLO_ID)
    agreed: Values = {"version": 1, "device_kind": "psd", "max_frame": 4096}
    registers = message.request(BY_NAME["get_registers"], {}, bytes(15) + b"\x01")
    zero = dict.fromkeys((field.name for field in BY_NAME["get_registers"].reply), 0)
    unreadable = PesError("not COBS")
    unreadable.status = Status.BAD_FRAME
    sent = [
        hello,
        message.reply(hello, agreed),
        registers,
        message.reply(registers, zero),
        message.request(BY_NAME["dispense"], DISPENSE, DISPENSE_ID),
        message.refusal(0x20, DISPENSE_ID, TOO_LITTLE),
        message.refusal(message.UNREADABLE, message.NO_REQUEST, unreadable),
    ]
    assert [encode(frame).hex() for frame in sent] == list(LINES.values())[: len(sent)]


def test_the_order_of_a_requests_fields_does_not_show() -> None:
    turned = dict(reversed(DISPENSE.items()))
    assert message.request(BY_NAME["dispense"], turned, ID) == message.request(BY_NAME["dispense"], DISPENSE, ID)


@given(REQUESTS)
def test_any_request_and_any_reply_comes_back_as_it_was(made: tuple[Any, Values]) -> None:
    service, values = made
    (asked,) = Framer().feed(encode(message.request(service, values, ID)))
    assert isinstance(asked, Frame)
    assert (asked.kind, asked.service, asked.status, asked.request_id) == (FrameKind.REQUEST, service.code, 0, ID)
    assert message.read_values(asked) == values
    (answer,) = Framer().feed(encode(message.reply(asked, values)))
    assert isinstance(answer, Frame)
    assert (answer.kind, answer.service, answer.status, answer.request_id) == (FrameKind.REPLY, service.code, 0, ID)
    assert message.read_values(answer) == values


@pytest.mark.parametrize("length", [0, 1, 15, 17, 32])
def test_a_request_id_of_another_length_is_refused_before_it_is_cut_or_filled_up(length: int) -> None:
    with pytest.raises(FieldError, match="a request id is 16 bytes") as caught:
        message.request(GET, {}, b"\x01" * length)
    assert caught.value.detail == {"field": "request_id"}


def test_the_request_id_of_unreadable_frames_is_no_requests() -> None:
    with pytest.raises(FieldError, match="not all of them zero"):
        message.request(GET, {}, message.NO_REQUEST)


def test_every_request_of_the_tables_fits_a_frame() -> None:
    largest: Values = {"message": b"\xff" * 3000, "reference": b"\xff" * 32}
    assert len(message.request(PUT, largest, ID).body) + OVERHEAD <= MAX_FRAME


# What comes in


@pytest.mark.parametrize("body", NO_VALUES)
def test_a_body_that_holds_no_values_is_a_protocol_error_with_its_range(body: str) -> None:
    frame = framed(bytes.fromhex(body))
    with pytest.raises(ProtocolError) as caught:
        message.read_values(frame)
    assert caught.value.message == f"{NO_VALUES[body]} (bytes 1001 to {frame.end})"
    assert caught.value.detail == {"start": 1001, "end": frame.end}
    assert caught.value.status is Status.BAD_BODY


@pytest.mark.parametrize("body", NO_REFUSALS)
def test_a_body_that_holds_no_refusal_is_a_protocol_error_with_its_range(body: str) -> None:
    frame = framed(bytes.fromhex(body), Status.INSUFFICIENT_FUNDS)
    with pytest.raises(ProtocolError, match=NO_REFUSALS[body]) as caught:
        message.read_refusal(frame)
    assert caught.value.detail == {"start": 1001, "end": frame.end}
    assert caught.value.status is Status.BAD_BODY


ODD = st.integers(-(2**70), 2**70) | st.binary(max_size=9) | st.text(max_size=9) | st.floats() | st.booleans()
NESTED = ODD | st.lists(ODD, max_size=3) | st.dictionaries(st.integers(0, 90) | st.text(max_size=3), ODD, max_size=3)
ALMOST = st.dictionaries(st.integers(-1, 90) | st.booleans(), NESTED, max_size=4).map(cbor2.dumps)


@given(st.binary(max_size=80) | ALMOST, st.integers(0, 255))
def test_any_body_at_all_is_read_or_is_a_protocol_error_and_nothing_else(body: bytes, status: int) -> None:
    frame = framed(body, status)
    values = attempt(message.read_values, frame)
    if isinstance(values, ProtocolError):
        assert values.status is Status.BAD_BODY
    else:
        assert set(values) <= set(FIELDS)
    refusal = attempt(message.read_refusal, frame)
    if type(refusal) is ProtocolError:
        assert refusal.status is Status.BAD_BODY
    else:
        assert isinstance(refusal, PesError)


def attempt(read: Callable[[Frame], T], frame: Frame) -> T | ProtocolError:
    try:
        return read(frame)
    except ProtocolError as problem:
        return problem


def test_values_are_not_judged_here_only_named() -> None:
    assert message.read_values(framed(dump({40: "much", 45: [1, {2: 3}]}))) == {
        "postage_mills": "much",
        "reference": [1, {2: 3}],
    }


@pytest.mark.parametrize(
    "error",
    [
        TOO_LITTLE,
        PesError(""),
        LockedCheckinOverdue("72 h are over", hint="Check in", hours_overdue=-1, clears=["a check-in"], more=[]),
        PesError("Stra\N{LATIN SMALL LETTER SHARP S}e \U0001f4ee", hint="\n\0", name="\N{SNOWMAN}"),
    ],
)
def test_a_refusal_comes_back_as_the_error_that_it_was(error: PesError) -> None:
    back = message.read_refusal(framed(message.refusal(0x20, ID, error).body, error.status))
    assert type(back) is type(error)
    assert (back.status, back.message, back.hint, back.detail) == (
        error.status,
        error.message,
        error.hint,
        error.detail,
    )


def test_a_protocol_error_comes_back_with_its_status_and_its_range() -> None:
    error = ProtocolError("the body is not deterministic CBOR", 7, 12, Status.BAD_BODY)
    back = message.read_refusal(framed(message.refusal(0x20, ID, error).body, error.status))
    assert (back.status, back.detail) == (Status.BAD_BODY, {"start": 7, "end": 12})
    assert back.message == "the body is not deterministic CBOR (bytes 7 to 12)"


def test_what_a_later_version_adds_to_a_refusal_is_passed_over() -> None:
    back = message.read_refusal(framed(dump({1: "no", 2: "", 3: {}, 4: [1, 2]}), 0x77))
    assert back.message == "no (status 0x77, which this version does not know)"


def test_the_tables_say_of_the_links_own_service_what_a_host_and_a_device_do() -> None:
    assert message.HELLO.code == 0
    assert message.UNREADABLE == 0xFF
    assert bytes(16) == message.NO_REQUEST
    assert not {0x00, 0xFF} & {service.code for service in SERVICES}
