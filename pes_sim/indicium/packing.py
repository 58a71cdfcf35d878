"""From values to the bytes that are signed, by a layout. No provider but the specimen's is packed (39 CFR 501.9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pes_sim.errors import LayoutError
from pes_sim.indicium.codings import Encode, Value
from pes_sim.indicium.definition import FIRST_IMI_VERSION

if TYPE_CHECKING:
    from pes_sim.indicium.layout import Layout

SPECIMEN_PROVIDER: Final = "99"
REAL_PROVIDERS: Final = frozenset(f"{number:02d}".encode() for number in range(1, 8))


class Packer:
    """Packs by a layout where some values stay the same: those are looked at and encoded once."""

    def __init__(self, layout: Layout, fixed: Mapping[str, Value]) -> None:
        if not layout.writable:
            raise LayoutError(f"layout {layout.name} is read-only", hint="This construct is read here, never made")
        self._layout = layout
        self._fixed = fixed = {**fixed, **layout.constants}
        self._places = [1] if layout.versions else [1, 0]
        if layout.versions and layout.versions.start < FIRST_IMI_VERSION:
            self._places.append(6)
        self._parts: list[bytes] = []
        self._rest: list[tuple[int, str, Encode]] = []
        for index, (name, _, _, encode, _) in enumerate(layout.codecs):
            if name in fixed:
                self._parts.append(_encoded(name, encode, fixed))
            else:
                self._parts.append(b"")
                self._rest.append((index, name, encode))

    def pack(self, values: Mapping[str, Value]) -> bytes:
        """The bytes to be signed. `values`: all that is not fixed. Raises as `Layout.pack` does."""
        provider = self._fixed.get("provider_id") or values.get("provider_id")
        if provider != SPECIMEN_PROVIDER:
            raise LayoutError(f"provider ID {provider!r} is refused: specimens bear {SPECIMEN_PROVIDER} only",
                              hint="39 CFR 501.9: a test system never prints under a real provider's ID")  # fmt: skip
        parts, name = self._parts.copy(), ""
        try:
            for index, name, encode in self._rest:
                parts[index] = encode(values[name])
        except (KeyError, ValueError):
            _encoded(name, encode, values)  # raises what is wrong
        if len(values) != len(self._rest):
            unknown = sorted(set(values) - {name for _, name, _ in self._rest})
            raise LayoutError(f"layout {self._layout.name} has no field {', '.join(unknown)}")
        packed = b"".join(parts)
        for at in self._places:
            # Where IMI has the provider, or a withdrawal, or IBI, whatever this layout calls the field.
            if packed[at : at + 2] in REAL_PROVIDERS:
                raise LayoutError(
                    f"bytes {at} and {at + 1} would read as the real provider {packed[at : at + 2].decode()}",
                    hint="Put another field there, or the provider ID",
                )
        return packed


def _encoded(name: str, encode: Encode, values: Mapping[str, Value]) -> bytes:
    try:
        return encode(values[name])
    except KeyError:
        raise LayoutError(f"the layout needs a value for {name}") from None
    except ValueError as problem:
        raise LayoutError(f"{name} {problem}, not {values[name]!r}", field=name) from None
