"""What was seen on a line, in words: a frame as one readable line, or as one object for JSON. No I/O, and no clock.

It is given what `showing` lets be seen, so what is a secret there is none here either: its bytes have become asterisks.
What a device sends is not trusted: nothing of it that a terminal could obey is written as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from pes_sim.clock import SECOND, iso
from pes_sim.errors import Status
from pes_sim.link import events, message
from pes_sim.link.frame import VERSION, Frame, FrameKind, Framer
from pes_sim.link.showing import BLANK, Shown
from pes_sim.psd import cbor
from pes_sim.psd.fields import BY_NUMBER
from pes_sim.psd.services import Service

_LONG: Final = 12
"""Bytes of a value, or of what is broken, that a line shows."""
_SHORT_ID: Final = 4
_REFUSAL: Final = {message.ERROR_MESSAGE: "message", message.ERROR_HINT: "hint", message.ERROR_DETAIL: "detail"}
_WITHIN: Final = re.compile(r" \(bytes \d+ to \d+\)")
"""A range within the frame alone, in an error's words."""
_PLAIN: Final = re.compile(r"[\w.:+/-]+", re.ASCII)


class Seen(NamedTuple):
    """A frame, or bytes that are none: when (microseconds since 1970-01-01 UTC), which way, and what may be shown.

    `start:end` is where it stood among the bytes of its direction, None where nobody counted. `lost`: packets that are
    missing just before it.
    """

    time: int
    to_device: bool
    shown: Shown
    start: int | None = None
    end: int | None = None
    lost: int = 0


class Names(NamedTuple):
    """What services are called, by code."""

    services: Mapping[int, str]

    @classmethod
    def of(cls, services: Iterable[Service]) -> Names:
        """Those of a device, with the link's own."""
        known = {service.code: service.name for service in (*services, *message.LINK_SERVICES)}
        return cls(known | {message.UNREADABLE: "unreadable"})

    def of_frame(self, frame: Frame) -> str:
        """The service that a frame is about, or the event."""
        if frame.kind == FrameKind.EVENT:
            kind = events.BY_CODE.get(frame.service)
            return kind.name if kind else f"0x{frame.service:02X}"
        return self.services.get(frame.service, f"0x{frame.service:02X}")


def document(seen: Seen, names: Names) -> dict[str, Any]:
    """For JSON: bytes are hex digits. The names are in docs/monitor.md."""
    facts: dict[str, Any] = {
        "time_us": seen.time, "time": _time(seen.time), "direction": "to-device" if seen.to_device else "to-host",
    }  # fmt: skip
    frame = _frame(seen.shown)
    if isinstance(frame, str):
        facts |= {"kind": "broken", "error": frame, "bytes": seen.shown.data.hex()}
    else:
        facts |= {
            "kind": _kind(frame), "service": names.of_frame(frame), "code": frame.service,
            "status": _status(frame.status), "request_id": frame.request_id.hex(),
            "fields": {name: _plain(value) for name, value in _values(frame).items()},
        }  # fmt: skip
        if frame.version != VERSION:
            facts["frame_version"] = frame.version
        if seen.shown.remark:
            facts["remark"] = seen.shown.remark
    if seen.start is not None:
        facts |= {"start": seen.start, "end": seen.end}
    return facts | ({"lost": seen.lost} if seen.lost else {})


def line(seen: Seen, names: Names) -> str:
    """For people. `>` goes to the device, `<` comes from it."""
    frame = _frame(seen.shown)
    words = [_time(seen.time), ">" if seen.to_device else "<"]
    if isinstance(frame, str):
        where = f" {seen.start} to {seen.end}" if seen.start is not None else ""
        data = seen.shown.data
        words += [f"broken  bytes{where} ({len(data)}): {frame}:", _bytes(data)]
    else:
        words += [f"{_kind(frame):7}", names.of_frame(frame)]
        if frame.kind == FrameKind.REPLY or frame.status:
            words.append(_status(frame.status))
        if frame.version != VERSION:
            words.append(f"frame_version={frame.version}")
        if frame.request_id != message.NO_REQUEST:
            words.append(f"id={frame.request_id[:_SHORT_ID].hex()}..")
        words += [f"{name}={_text(value)}" for name, value in _values(frame).items()]
        if seen.shown.remark:
            words.append(f"({seen.shown.remark})")
    if seen.lost:
        words.append(f"({seen.lost} packets are missing before it)")
    return " ".join(words)


def _time(instant: int) -> str:
    return f"{iso(instant)[:-1]}.{instant % SECOND:06}Z"


def _frame(shown: Shown) -> Frame | str:
    """The frame, or why it is none."""
    items = Framer().feed(shown.data + b"\0")
    if len(items) == 1 and isinstance(items[0], Frame):
        return items[0]
    why = shown.remark or (getattr(items[0], "message", "") if items else "nothing is in it")
    return _WITHIN.sub("", why or "no frame")


def _kind(frame: Frame) -> str:
    return FrameKind(frame.kind).name.lower() if frame.kind in list(FrameKind) else f"kind {frame.kind}"


def _status(code: int) -> str:
    return Status(code).name if code in list(Status) else f"0x{code:02X}"


def _values(frame: Frame) -> dict[str, Any]:
    try:
        body = cbor.load_fields(frame.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return {"body": frame.body}
    if frame.kind == FrameKind.REPLY and frame.status:
        return {_REFUSAL.get(key, str(key)): value for key, value in body.items()}
    return {BY_NUMBER[n].name if n in BY_NUMBER else f"field {n}": value for n, value in body.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(_plain(value))


def _bytes(data: bytes) -> str:
    if data and data == BLANK * len(data):
        return f"{'*' * min(len(data), _LONG)} ({len(data)} bytes)"
    return data.hex() if len(data) <= _LONG else f"{data[:_LONG].hex()}.. ({len(data)} bytes)"
