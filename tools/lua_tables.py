"""hardware/wireshark/pes_tables.lua: what the dissector knows of the protocol, from the tables that execute it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from pes_sim.errors import Status
from pes_sim.link import message
from pes_sim.link.events import EVENTS
from pes_sim.link.frame import VERSION, FrameKind
from pes_sim.meter.services import OWN
from pes_sim.psd.fields import FIELDS
from pes_sim.psd.services import SERVICES

_HEAD: Final = """\
-- The tables of the serial protocol for the dissector, pes.lua. Written by tools/generate.py from the tables that
-- pes_sim itself goes by: change those, and say "make generate". SPDX-License-Identifier: Apache-2.0
return {
"""
_OF_ENTRIES: Final = ("entries", "departments", "pieces")
"""Lists whose items are CBOR maps of fields."""


def made() -> str:
    """The whole file."""
    services = (*message.LINK_SERVICES, *SERVICES, *OWN)
    tables: Mapping[str, Iterable[tuple[int, str]]] = {
        "kinds": ((kind.value, kind.name.lower()) for kind in FrameKind),
        "services": ((service.code, service.name) for service in services),
        "statuses": ((status.value, status.name) for status in Status),
        "events": ((event.code, event.name) for event in EVENTS),
        "error_fields": (
            (message.ERROR_MESSAGE, "message"), (message.ERROR_HINT, "hint"), (message.ERROR_DETAIL, "detail"),
        ),
    }  # fmt: skip
    lines = [f"  version = {VERSION},", f"  unreadable = {message.UNREADABLE},"]
    for name, rows in tables.items():
        lines += [f"  {name} = {{", *(f"    [{number}] = {_text(text)}," for number, text in rows), "  },"]
    lines.append("  fields = {")
    for field in FIELDS:
        entries = ", entries = true" if field.name in _OF_ENTRIES else ""
        said = f"form = {_text(field.form.value)}, meaning = {_text(field.meaning)}{entries}"
        lines.append(f"    [{field.number}] = {{ name = {_text(field.name)}, {said} }},")
    return _HEAD + "\n".join([*lines, "  },", "}\n"])


def _text(text: str) -> str:
    """A string for Lua: what JSON escapes, Lua reads the same way, as long as no character needs a \\u."""
    return json.dumps(text, ensure_ascii=False)
