"""firmware_stubs/include/pes_protocol.h: the protocol's numbers for C11, from the tables that execute them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from pes_sim.errors import Status
from pes_sim.link import message
from pes_sim.link.events import EVENTS
from pes_sim.link.frame import MAX_FRAME, MIN_MAX_FRAME, OVERHEAD, VERSION, FrameKind
from pes_sim.meter.services import OWN
from pes_sim.psd.fields import FIELDS, Field, Form
from pes_sim.psd.lifecycle import Lock, State, SubState
from pes_sim.psd.roles import Role
from pes_sim.psd.services import SERVICES

Row = tuple[str, int, str]
"""A name, its number, and what is said about it."""

_HEAD: Final = """\
/* The numbers of the serial protocol (docs/protocol.md). Written by tools/generate.py from the tables that pes_sim
 * itself goes by: change those, and say "make generate". SPDX-License-Identifier: Apache-2.0 */
#ifndef PES_PROTOCOL_H
#define PES_PROTOCOL_H
"""
_WIDTH: Final = 120


def made() -> str:
    """The whole file."""
    frame = (
        ("VERSION", VERSION, "the version that this file describes"),
        ("HEADER_LENGTH", OVERHEAD - 4, "version, kind, service, status, request id"),
        ("REQUEST_ID_LENGTH", len(message.NO_REQUEST), ""),
        ("CRC_LENGTH", 4, "CRC-32 as zlib has it, little-endian"),
        ("OVERHEAD", OVERHEAD, "a frame without its body"),
        ("MIN_MAX_FRAME", MIN_MAX_FRAME, "every side takes frames of this length, before COBS"),
        ("MAX_FRAME", MAX_FRAME, "no frame is longer, before COBS"),
        ("MAX_STUFFED", MAX_FRAME + MAX_FRAME // 254 + 1, "nor after it, without delimiters"),
        ("DELIMITER", 0, "before and after each frame"),
    )
    numbers = [
        _enum("pes_frame", "PES_", frame),
        _enum("pes_kind", "PES_KIND_", ((kind.name, kind.value, "") for kind in FrameKind)),
        _enum("pes_service", "PES_SERVICE_", _services()),
        _enum("pes_status", "PES_STATUS_", ((status.name, status.value, "") for status in Status)),
        _enum("pes_event", "PES_EVENT_", ((e.name.upper(), e.code, f"says {_names(e.fields)}") for e in EVENTS)),
        _enum("pes_field", "PES_FIELD_", ((f.name.upper(), f.number, f"{_form(f)}. {f.meaning}") for f in FIELDS)),
        _enum("pes_length", "PES_LENGTH_", _lengths()),
        _enum("pes_error_field", "PES_ERROR_", (
            ("MESSAGE", message.ERROR_MESSAGE, "text: what was wrong"),
            ("HINT", message.ERROR_HINT, "text: what to do about it"),
            ("DETAIL", message.ERROR_DETAIL, "map of text to integer, text or list of text"),
        )),
    ]  # fmt: skip
    texts = [_texts(kind) for kind in (State, SubState, Lock, Role)]
    return "\n".join([_HEAD, *numbers, *texts, "#endif\n"])


def _services() -> Iterable[Row]:
    yield "UNREADABLE", message.UNREADABLE, "in a reply to a frame that could not be read"
    for service in (*message.LINK_SERVICES, *SERVICES, *OWN):
        yield service.name.upper(), service.code, f"asks {_names(service.request)}; gives {_names(service.reply)}"


def _lengths() -> Iterable[Row]:
    for field in FIELDS:
        if field.form in (Form.BYTES, Form.TEXT):
            yield field.name.upper(), field.limit, f"{field.form}, at most"


def _form(field: Field) -> str:
    return f"{field.form}, at most {field.limit}" + ("" if field.form in (Form.UINT, Form.INT) else " long")


def _names(fields: tuple[Field, ...]) -> str:
    return ", ".join(field.name for field in fields) or "nothing"


def _enum(name: str, prefix: str, rows: Iterable[Row]) -> str:
    hexadecimal = prefix in ("PES_SERVICE_", "PES_STATUS_", "PES_EVENT_")
    lines = []
    for what, number, said in rows:
        line = f"    {prefix}{what} = " + (f"0x{number:02X}," if hexadecimal else f"{number},")
        lines += _remark(line, said)
    return "\n".join([f"enum {name} {{", *lines, "};\n"])


def _remark(line: str, said: str) -> list[str]:
    """The line with its remark behind it, or before it where it is long."""
    if not said:
        return [line]
    said = said.replace("*/", "* /")
    if len(line) + len(said) + 7 <= _WIDTH:
        return [f"{line} /* {said} */"]
    lines, rest = [], "    /* "
    *words, last = said.split()
    for word in (*words, f"{last} */"):
        if len(rest) + len(word) > _WIDTH:
            lines.append(rest.rstrip())
            rest = "     * "
        rest += word + " "
    return [*lines, rest.rstrip(), line]


def _texts(kind: type[StrEnum]) -> str:
    """What stands in the fields `state`, `sub_state`, `lock_reasons` and `role`: they are texts."""
    prefix = {State: "STATE", SubState: "SUB_STATE", Lock: "LOCK", Role: "ROLE"}[kind]
    return "\n".join([*(f'#define PES_{prefix}_{one.name} "{one.value}"' for one in kind), ""])
