"""A piece as a JSON object: what a PDF's attachment has of it, and the same piece drawn from that again.

The payload says what was paid; beside it stands all that is printed on the piece and that no payload has. What somebody
else has written in such a line is looked at first: a name or a value that is none is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pes_sim.errors import LayoutError, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import Layout
from pes_sim.meter.job import ADDRESS_LINES
from pes_sim.preview.imprint import Imprint
from pes_sim.psd.piece import PieceKind

KINDS: Final = {kind.label: kind for kind in PieceKind}


class _Sort(NamedTuple):
    """A sort of value: whether something is one, for people, and what `Imprint` has for it."""

    is_one: Callable[[object], bool]
    what: str
    made: Callable[[Any], object]


def _lines(most: int) -> _Sort:
    def is_one(value: object) -> bool:
        return isinstance(value, list) and len(value) <= most and all(isinstance(line, str) for line in value)

    return _Sort(is_one, f"a list of up to {most} lines", tuple)


_WORDS: Final = _Sort(lambda value: isinstance(value, str), "text", str)
_COUNT: Final = _Sort(lambda value: type(value) is int and value >= 0, "a whole number", int)
_PRINTED: Final[Mapping[str, _Sort]] = {
    "mail_class": _WORDS,
    "origin_zip": _WORDS,
    "meter_serial": _WORDS,
    "piece_count": _COUNT,
    "destination": _WORDS,
    "text": _WORDS,
    "reference": _WORDS,
    "weight_text": _WORDS,
    "tracking_number": _WORDS,
    "extra_services": _WORDS,
    **{name: _lines(most) for name, most in ADDRESS_LINES.items()},
}
"""What is printed besides what the payload says, by `Imprint`'s names."""


def line(imprint: Imprint, page: int) -> dict[str, Any]:
    """A piece in the attachment: what it is, its payload, the payload's fields, and what is printed besides."""
    layout = imprint.layout
    values = layout.unpack(imprint.payload).values
    return {
        "page": page,
        "kind": imprint.kind.label,
        "layout": layout.name,
        "built_in": _is_built_in(layout),
        "payload_hex": imprint.payload.hex(),
        "fields": {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()},
        "printed": {name: getattr(imprint, name) for name in _PRINTED},
    }


def _is_built_in(layout: Layout) -> bool:
    return layout.name in layouts.BUILT_IN and layout is layouts.builtin(layout.name)


def layout_of(said: Mapping[str, Any]) -> Layout | None:
    """The layout that a line names; None for a line that names none. Raises `UsageError` for one of somebody's own,
    which is in a file.
    """
    name = said.get("layout")
    if name is None:
        return None
    try:
        if said.get("built_in", True) is True:
            return layouts.builtin(name)
    except (LayoutError, TypeError):  # its name is no text
        pass
    raise UsageError(f"its layout {name!r:.40} is not one of those built in", hint="Give its file: --layout FILE.toml")


def besides(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a line says of a piece besides its payload, by `Imprint`'s names. Raises `UsageError`."""
    found: dict[str, Any] = {}
    if (kind := said.get("kind")) is not None:
        if not isinstance(kind, str) or kind not in KINDS:
            raise UsageError(f"there is no kind {kind!r:.40}", hint=f"Kinds: {', '.join(KINDS)}")
        found["kind"] = KINDS[kind]
    printed = said.get("printed", {})
    if not isinstance(printed, dict):
        raise UsageError('"printed" is no JSON object', hint="Leave it out, or give names and values")
    for name, value in printed.items():
        if name not in _PRINTED:
            raise UsageError(f'"printed" has {name!r:.40}, which no piece has', hint=f"Known: {', '.join(_PRINTED)}")
        sort = _PRINTED[name]
        if not sort.is_one(value):
            raise UsageError(f'"printed": {name} is not {sort.what}', hint="Correct it, or leave it out")
        found[name] = sort.made(value)
    return found
