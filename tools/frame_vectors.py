"""tests/vectors/frames/*.json: frames byte for byte, for whoever writes the other end of the line.

Good ones are made by the code that makes all frames; tests hold them against an implementation that shares nothing with
it. What the bad ones are answered with is written here by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pes_sim.errors import PesError, Status
from pes_sim.link import message
from pes_sim.link.events import EVENTS
from pes_sim.link.forge import STUFFING_FAULTS, forge
from pes_sim.link.frame import MAX_FRAME, OVERHEAD, VERSION, Frame, cobs_encode, encode
from pes_sim.meter.services import DEPARTMENT, OWN
from pes_sim.psd.fields import Field, Form, Values, pack
from pes_sim.psd.services import BY_NAME, LOG_ENTRY, SERVICES

_ORIGIN: Final = (
    f"Made by this project, pes_sim (tools/frame_vectors.py, Apache-2.0), for version {VERSION} of its own serial "
    "protocol (docs/protocol.md). No real meter's protocol. "
)
_FRAME: Final = (
    "'line' is what goes over the line, in hex: a delimiter, COBS of version, kind, service, status, request id, body "
    "and CRC-32, a delimiter. 'values' are the body's fields by name; byte strings as h'hex'."
)
ID: Final = bytes(range(0xA0, 0xB0))

_USUAL: Final[Values] = {
    "state": "OPERATIONAL", "sub_state": "", "lock_reasons": [], "cleared_by": [], "warnings": ["check-in due"],
    "mailing_date": "2026-11-21", "today": "2026-11-21", "mail_class": "first_class_letter", "weight": 100,
    "destination": "100011234", "postage_mills": 740, "reference": b"100", "seconds_to_lockout": -3600,
    "device_time": 1_795_262_400_000_000, "lowest_version": 1, "highest_version": 1, "version": 1,
    "max_frame": MAX_FRAME, "device_kind": "psd", "self_tests_failed": [], "self_tests_passed": ["sha-256"],
    "role": "customer's meter", "department": "100", "department_name": "General", "next_department": "",
    "service_indicator": 0, "notice": "SPECIMEN ONLY, NOT VALID POSTAGE", "provider_id": "99", "layout": "imi_std",
}  # fmt: skip


def _usual(field: Field) -> Any:
    if field.name in _USUAL:
        return _USUAL[field.name]
    packed = {"pieces": BY_NAME["dispense"].request, "entries": LOG_ENTRY, "departments": DEPARTMENT}
    if field.name in packed:
        return [pack({item.name: _usual(item) for item in packed[field.name]})] * 2
    return {
        Form.UINT: min(field.limit, 1000 + field.number),
        Form.INT: min(field.limit, field.number),
        Form.BYTES: bytes(range(field.number, field.number + min(field.limit, 16))),
        Form.TEXT: field.name[: min(field.limit, 10)],
        Form.TEXTS: [field.name, ""],
        Form.BLOBS: [b"\0\xff", b""],
    }[field.form]


def _least(field: Field) -> Any:
    return {Form.UINT: 0, Form.INT: 0, Form.BYTES: b"", Form.TEXT: "", Form.TEXTS: [], Form.BLOBS: []}[field.form]


def _most(field: Field) -> Any:
    """The greatest number; of what has a length, as much as first needs a longer head, where it may be that long."""
    return {
        Form.UINT: field.limit,
        Form.INT: -field.limit,
        Form.BYTES: bytes(min(field.limit, 256)),
        Form.TEXT: "é" * min(field.limit, 24),
        Form.TEXTS: ["x" * 24] * min(field.limit, 3),
        Form.BLOBS: [b"\0" * 24] * min(field.limit, 3),
    }[field.form]


_VARIANTS: Final[Mapping[str, Callable[[Field], Any]]] = {"usual": _usual, "least": _least, "most": _most}


def _good(name: str, frame: Frame, values: object) -> Values:
    header = {"version": frame.version, "kind": frame.kind, "service": frame.service, "status": frame.status}
    texts = {"request_id": frame.request_id.hex(), "body": frame.body.hex(), "line": encode(frame).hex()}
    return {"name": name, **header, "values": _shown(values), **texts}


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, dict):
        return {name: _shown(one) for name, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list) else value


def _services() -> Iterator[Values]:
    for service in (*message.LINK_SERVICES, *SERVICES, *OWN):
        for variant, make in _VARIANTS.items():
            asked = {field.name: make(field) for field in service.request}
            request = message.request(service, asked, ID)
            if asked or variant == "usual":
                yield _good(f"{service.name}: request, {variant}", request, asked)
            answer = {field.name: make(field) for field in service.reply}
            yield _good(f"{service.name}: reply, {variant}", message.reply(request, answer), answer)


def _refusals() -> Iterator[Values]:
    for status in Status:
        if status is not Status.OK:
            error = PesError("why not", hint="What to do", field="weight", missing_mills=5, roles=["provider"])
            error.status = status
            facts = {"message": error.message, "hint": error.hint, "detail": error.detail}
            yield _good(f"dispense: refused, {status.name}", message.refusal(0x20, ID, error), facts)
    error = PesError("not COBS (bytes 1 to 8)", start=1, end=8)
    error.status = Status.BAD_FRAME
    facts = {"message": error.message, "hint": "", "detail": error.detail}
    yield _good("what could not be read", message.refusal(message.UNREADABLE, message.NO_REQUEST, error), facts)


def _events() -> Iterator[Values]:
    for kind in EVENTS:
        for variant, make in _VARIANTS.items():
            says = {field.name: make(field) for field in kind.fields}
            yield _good(f"{kind.name}, {variant}", message.event(kind, says), says)


def _bad() -> Iterator[Values]:
    good = message.request(BY_NAME["get_registers"], {}, ID)  # 27 bytes on the line, at 1 to 26
    wrong = STUFFING_FAULTS
    cases: tuple[tuple[str, Values, Status, int, int], ...] = (
        # name, overrides of a good get_registers, status, first byte and the one after the last
        ("version 0", {"version": 0}, Status.UNSUPPORTED_VERSION, 1, 27),
        ("version 2", {"version": 2}, Status.UNSUPPORTED_VERSION, 1, 27),
        ("kind 0", {"kind": 0}, Status.BAD_FRAME, 1, 27),
        ("kind 255", {"kind": 255}, Status.BAD_FRAME, 1, 27),
        ("a request id of 15 bytes", {"request_id": ID[:15]}, Status.BAD_BODY, 1, 26),
        ("no request id", {"request_id": b""}, Status.BAD_FRAME, 1, 11),
        ("no body", {"body": b""}, Status.BAD_BODY, 1, 26),
        ("a body with a tag", {"body": b"\xd9\xd9\xf7\xa0"}, Status.BAD_BODY, 1, 30),
        ("a body with a longer number than it needs", {"body": b"\xa1\x18\x09\x00"}, Status.BAD_BODY, 1, 30),
        ("a body with a field that nobody knows", {"body": b"\xa1\x18\xfe\x01"}, Status.BAD_BODY, 1, 30),
        (
            "a body too long by one byte",
            {"body": b"\xa5" * (MAX_FRAME - OVERHEAD + 1)},
            Status.FRAME_TOO_LARGE,
            1,
            4115,
        ),
        ("CRC of zeros", {"crc": 0}, Status.BAD_FRAME, 1, 27),
        ("CRC in the other order", {"crc": bytes.fromhex("086b1fcf")}, Status.BAD_FRAME, 1, 27),
        ("no CRC", {"crc": b""}, Status.BAD_FRAME, 1, 23),
        ("COBS: a code beyond the end", {"stuffing": wrong["code beyond the end"]}, Status.BAD_FRAME, 1, 27),
        ("COBS: the last byte lost", {"stuffing": wrong["last byte lost"]}, Status.BAD_FRAME, 1, 26),
        ("COBS: a code too many", {"stuffing": wrong["a code too many"]}, Status.BAD_FRAME, 1, 28),
        ("COBS: a zero inside", {"stuffing": wrong["zero inside"]}, Status.BAD_FRAME, 1, 13),
        ("not stuffed at all", {"stuffing": wrong["not stuffed"]}, Status.BAD_FRAME, 1, 4),
        ("text in place of the delimiter before it", {"before": b"login:"}, Status.BAD_FRAME, 0, 32),
    )
    for name, overrides, status, start, end in cases:
        line = forge(good, **overrides).hex()
        yield {"name": name, "status": status, "status_name": status.name, "start": start, "end": end, "line": line}


def _cobs() -> Iterator[Values]:
    ones, run = b"\1", bytes(range(1, 255))
    cases = {
        "empty": b"", "a zero": b"\0", "two zeros": b"\0\0", "three zeros": b"\0\0\0",
        "Cheshire and Baker 1999, the packet of their figure": bytes.fromhex("4500002c4c79000040064f37"),
        "Wikipedia, example 4": bytes.fromhex("11220033"), "Wikipedia, example 5": bytes.fromhex("11223344"),
        "Wikipedia, example 9": run + b"\xff", "Wikipedia, example 10": run[1:] + b"\xff\0",
        "Wikipedia, example 11": run[2:] + b"\xff\0\1",
        **{f"a run of {n}": ones * n for n in (1, 252, 253, 254, 255, 256, 507, 508, 509, 762)},
        **{f"a run of {n}, a zero": ones * n + b"\0" for n in (253, 254, 255)},
        **{f"a zero, a run of {n}": b"\0" + ones * n for n in (253, 254, 255)},
        **{f"a run of {n}, a zero, another such": ones * n + b"\0" + ones * n for n in (253, 254, 255)},
    }  # fmt: skip
    for name, data in cases.items():
        stuffed = cobs_encode(data)
        row = {"name": name, "data": data.hex(), "stuffed": stuffed.hex()}
        # The last code of a full run may be left out; both are read.
        yield row | ({"also_read": stuffed[:-1].hex()} if _ends_with_a_full_run(data) else {})


def _ends_with_a_full_run(data: bytes) -> bool:
    last = len(data.rpartition(b"\0")[2])
    return last > 0 and last % 254 == 0


def _file(about: str, vectors: Callable[[], Iterator[Values]]) -> Callable[[], str]:
    def make() -> str:
        lines: Sequence[str] = [json.dumps(vector, ensure_ascii=False) for vector in vectors()]
        head = json.dumps(_ORIGIN + about, ensure_ascii=False)
        return f'{{\n"about": {head},\n"vectors": [\n' + ",\n".join(lines) + "\n]\n}\n"

    return make


FILES: Final[Mapping[str, Callable[[], str]]] = {
    "services": _file("A request and a reply of every service. " + _FRAME, _services),
    "refusals": _file("Refusals of every status, and what is said of an unreadable frame. " + _FRAME, _refusals),
    "events": _file("Every event. " + _FRAME, _events),
    "bad": _file(
        "What a device of a line that has carried nothing yet answers first to a bad frame: its status, and in the "
        "detail the range of bytes, 'start' up to but without 'end', counted from the first of 'line' (in hex).", _bad,
    ),
    "cobs": _file(
        "COBS of 'data' is 'stuffed' (hex, without delimiters). 'also_read': the same without the empty code after a "
        "full last run, as many encoders have it; it is read, too.", _cobs,
    ),
}  # fmt: skip
