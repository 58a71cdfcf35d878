"""Requests and replies as frames: CBOR bodies keyed by field number, deterministic (RFC 8949 §4.2.1). Sans-IO.

A body that cannot be read is a `ProtocolError` with the frame's byte range: the peer's mistake, never a traceback.
"""

from __future__ import annotations

from typing import Any, Final

from pes_sim.errors import FieldError, PesError, ProtocolError, Status, from_wire
from pes_sim.link.events import EventKind
from pes_sim.link.frame import Frame, FrameKind
from pes_sim.psd import cbor
from pes_sim.psd.fields import BY_NUMBER, Values, to_names, to_numbers
from pes_sim.psd.lifecycle import State
from pes_sim.psd.services import Service, row

HELLO: Final = row(
    0x00,
    "hello",
    State,
    "lowest_version highest_version max_frame",
    "version max_frame device_kind",
    "Agrees on the protocol version and the longest frame; says what answers",
    statuses=(Status.BAD_FIELD, Status.UNSUPPORTED_VERSION),
)
"""A host may leave it out: version 1 and frames of 2,048 bytes always work."""
SUBSCRIBE: Final = row(
    0xF0,
    "subscribe",
    State,
    "low_funds_mills",
    "event_sequence",
    "From now on the device tells events; says how many it told so far",
    statuses=(Status.BAD_FIELD, Status.UNKNOWN_SERVICE),
)
UNSUBSCRIBE: Final = row(
    0xF1,
    "unsubscribe",
    State,
    "",
    "event_sequence",
    "It tells no more; says how many it told so far",
    statuses=(Status.BAD_FIELD,),
)
LINK_SERVICES: Final = (HELLO, SUBSCRIBE, UNSUBSCRIBE)
"""The link's own. They are for everybody, and no device's."""

_REQUEST, _REPLY, _OK = FrameKind.REQUEST, FrameKind.REPLY, Status.OK

NO_REQUEST: Final = bytes(16)
"""The request id of a reply to a frame that could not be read."""
UNREADABLE: Final = 0xFF
"""The service code of such a reply."""

ERROR_MESSAGE, ERROR_HINT, ERROR_DETAIL = 1, 2, 3
"""Keys of an error's body: what was wrong, what to do, and the same for a machine (a map with text keys)."""


def request(service: Service, values: Values, request_id: bytes) -> Frame:
    """A request frame. Raises `FieldError` for a request id that no answer could be told by."""
    if len(request_id) != len(NO_REQUEST) or request_id == NO_REQUEST:
        raise FieldError("a request id is 16 bytes, and not all of them zero", field="request_id")
    return Frame(_REQUEST, service.code, 0, request_id, cbor.dump_fields(to_numbers(values)))


def reply(asked: Frame, values: Values) -> Frame:
    """The answer to `asked`."""
    return Frame(_REPLY, asked.service, _OK, asked.request_id, cbor.dump_fields(to_numbers(values)))


def event(kind: EventKind, values: Values) -> Frame:
    """A frame that nobody asked for: its code stands where a service's does, and it answers no request."""
    return Frame(FrameKind.EVENT, kind.code, Status.OK, NO_REQUEST, cbor.dump_fields(to_numbers(values)))


def refusal(service: int, request_id: bytes, error: PesError) -> Frame:
    """The answer that says why not."""
    facts = {ERROR_MESSAGE: error.message, ERROR_HINT: error.hint, ERROR_DETAIL: error.detail}
    return Frame(FrameKind.REPLY, service, error.status, request_id, cbor.dump(facts))


def read_values(frame: Frame) -> Values:
    """A request's or a good reply's values. Raises `ProtocolError`."""
    numbered = _load(frame)
    try:
        return to_names(numbered, BY_NUMBER)
    except FieldError as problem:
        raise _bad_body(frame, problem.message) from None


def read_refusal(frame: Frame) -> PesError:
    """The exception that an error reply stands for. Raises `ProtocolError` when its body is none."""
    facts = _load(frame)
    if type(facts) is not dict:
        raise _bad_body(frame, "the body must be a CBOR map")
    text, hint, detail = facts.get(ERROR_MESSAGE), facts.get(ERROR_HINT), facts.get(ERROR_DETAIL)
    if type(text) is not str or type(hint) is not str or type(detail) is not dict:
        raise _bad_body(frame, "an error reply without its text")
    if not all(type(name) is str and _is_fact(value) for name, value in detail.items()):
        raise _bad_body(frame, "an error's detail names integers, texts or lists of text")
    return from_wire(frame.status, text, hint, detail)


def _is_fact(value: object) -> bool:
    return type(value) in (int, str) or (type(value) is list and all(type(item) is str for item in value))


def _load(frame: Frame) -> Any:
    try:
        return cbor.load_fields(frame.body)
    except ValueError as problem:
        raise _bad_body(frame, f"the body is not deterministic CBOR: {problem}") from None


def _bad_body(frame: Frame, message: str) -> ProtocolError:
    return ProtocolError(message, frame.start, frame.end, Status.BAD_BODY)
