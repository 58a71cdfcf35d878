"""Requests and replies as frames: CBOR bodies keyed by field number, deterministic (RFC 8949 §4.2.1). Sans-IO.

A body that cannot be read is a `ProtocolError` with the frame's byte range: the peer's mistake, never a traceback.
"""

from __future__ import annotations

import io
from typing import Any, Final

import cbor2

from pes_sim.errors import FieldError, PesError, ProtocolError, Status, from_wire
from pes_sim.link.frame import Frame, FrameKind
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
)
"""The link's own service. A host may leave it out: version 1 and frames of 2,048 bytes always work."""

NO_REQUEST: Final = bytes(16)
"""The request id of a reply to a frame that could not be read."""
UNREADABLE: Final = 0xFF
"""The service code of such a reply."""

_MESSAGE, _HINT, _DETAIL = 1, 2, 3
"""Keys of an error's body: what was wrong, what to do, and the same for a machine (a map with text keys)."""


def request(service: Service, values: Values, request_id: bytes) -> Frame:
    """A request frame."""
    return Frame(FrameKind.REQUEST, service.code, 0, request_id, _dump(to_numbers(values)))


def reply(asked: Frame, values: Values) -> Frame:
    """The answer to `asked`."""
    return Frame(FrameKind.REPLY, asked.service, Status.OK, asked.request_id, _dump(to_numbers(values)))


def refusal(service: int, request_id: bytes, error: PesError) -> Frame:
    """The answer that says why not."""
    body = _dump({_MESSAGE: error.message, _HINT: error.hint, _DETAIL: error.detail})
    return Frame(FrameKind.REPLY, service, error.status, request_id, body)


def read_values(frame: Frame) -> Values:
    """A request's or a good reply's values. Raises `ProtocolError`."""
    try:
        return to_names(_load(frame), BY_NUMBER)
    except FieldError as problem:
        raise ProtocolError(problem.message, frame.start, frame.end, Status.BAD_BODY) from None


def read_refusal(frame: Frame) -> PesError:
    """The exception that an error reply stands for. Raises `ProtocolError` when its body is none."""
    body = _load(frame)
    try:
        detail = {str(key): value for key, value in body[_DETAIL].items()}
        return from_wire(frame.status, str(body[_MESSAGE]), str(body[_HINT]), detail)
    except (KeyError, TypeError, AttributeError):
        raise ProtocolError("an error reply without its text", frame.start, frame.end, Status.BAD_BODY) from None


def _dump(body: object) -> bytes:
    data: bytes = cbor2.dumps(body, canonical=True)
    return data


def _load(frame: Frame) -> Any:
    try:
        stream = io.BytesIO(frame.body)
        body = cbor2.load(stream)
    except Exception:  # the decoder's complaints are of many kinds, and any of them means bytes that are not CBOR
        raise ProtocolError("the body is not CBOR", frame.start, frame.end, Status.BAD_BODY) from None
    if stream.read(1):
        raise ProtocolError("bytes after the body's CBOR", frame.start, frame.end, Status.BAD_BODY)
    return body
