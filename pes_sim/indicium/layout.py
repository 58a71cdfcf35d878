"""Layouts are data: a TOML file says which bytes an indicium holds; this module compiles it to `pack` and `unpack`.

* A layout that cannot work (gap, overlap, unknown coding, overflow of the symbol) is refused when it is loaded.
* Only the specimen provider's ID can be packed (39 CFR 501.9: a test system prints specimen indicia only). Reading any
  provider's payload is fine.
* Bytes beyond the end of the layout are kept as `trailing`, never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from pes_sim.errors import LayoutError, PayloadError
from pes_sim.indicium.codings import CODINGS, Decode, Encode, Value
from pes_sim.indicium.document import Document
from pes_sim.indicium.signature import SCHEMES
from pes_sim.indicium.sizes import CAPACITY

SPECIMEN_PROVIDER: Final = "99"
BUILT_IN: Final = ("imi_std", "ibi", "ibi_lite")
REAL_PROVIDERS: Final = frozenset(f"{number:02d}".encode() for number in range(1, 8))
FIRST_IMI_VERSION: Final = 100
_VERIFIED: Final = frozenset({"certificate_serial", "psd_serial", "mailing_date"})
"""Fields without which a signature cannot be checked."""
_MOST_VALUE: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a layout. `basis` is "public" or "assumed"; `source` says where a public fact stands."""

    name: str
    offset: int
    length: int
    coding: str
    meaning: str
    basis: str
    unit: str = ""
    source: str = ""
    values: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signature:
    """The bytes after the fields. `scheme` names an algorithm of `verify.SCHEMES` where the verifier knows it."""

    scheme: str
    length: int
    meaning: str
    basis: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Indicium:
    """A payload that was understood: `values` by field name, and the very bytes it was read from."""

    layout: Layout
    values: Mapping[str, Value]
    signed: bytes
    signature: bytes
    trailing: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One field of one payload, for people: what it holds, where, and how sure its place is."""

    name: str
    offset: int
    length: int
    raw: bytes
    value: Value
    unit: str
    meaning: str
    basis: str
    source: str


class Layout:
    """A compiled layout. Make one with `load` or `builtin`."""

    def __init__(self, document: object, where: str) -> None:
        top = Document(document, where)
        self.name = top.text("name", 64)
        self.title = top.text("title", 120)
        self.construct = top.text("construct", 64)
        self.writable = top.flag("writable")
        self.symbol = top.text("symbol", 16)
        self.versions = top.span("versions", 255)
        self.signature = _signature(top.table("signature"))
        self.fields = tuple(_field(row) for row in top.tables("field"))
        top.done()
        self.codecs = tuple(self._compile(row, where) for row in self.fields)
        self.signed_length = sum(row.length for row in self.fields)
        self.length = self.signed_length + self.signature.length
        self._check(where)

    def _compile(self, row: Field, where: str) -> tuple[str, int, int, Encode, Decode]:
        coding = CODINGS.get(row.coding)
        if coding is None:
            raise LayoutError(f"{where}: field {row.name} has the unknown coding {row.coding!r}",
                              hint=f"Known: {', '.join(CODINGS)}")  # fmt: skip
        if row.length not in coding.lengths:
            raise LayoutError(f"{where}: field {row.name} has {row.length} bytes; {row.coding} takes "
                              f"{coding.lengths.start} to {coding.lengths.stop - 1}")  # fmt: skip
        if any(number >> 8 * row.length for number in row.values.values()):
            raise LayoutError(f"{where}: field {row.name} has values that do not fit {row.length} bytes")
        encode, decode = coding.make(row.length, row.values)
        return row.name, row.offset, row.offset + row.length, encode, decode

    def _check(self, where: str) -> None:
        position = 0
        for row in self.fields:
            if row.offset != position:
                raise LayoutError(f"{where}: field {row.name} begins at {row.offset}, but the one before ends at "
                                  f"{position}", hint="Fields stand in order, without gap or overlap")  # fmt: skip
            if row.basis not in ("public", "assumed"):
                raise LayoutError(f"{where}: field {row.name} has basis {row.basis!r}", hint="Public or assumed?")
            position += row.length
        names = [row.name for row in self.fields]
        if len(set(names)) != len(names):
            raise LayoutError(f"{where}: two fields have one name")
        if self.signature.scheme in SCHEMES and not set(names) >= _VERIFIED:
            raise LayoutError(f"{where}: a {self.signature.scheme} signature cannot be checked without the fields "
                              f"{', '.join(sorted(_VERIFIED))}")  # fmt: skip
        if self.writable:
            self._check_writable(where)
        if self.symbol not in CAPACITY:
            raise LayoutError(f"{where}: unknown symbol {self.symbol!r}", hint=f"Known: {', '.join(CAPACITY)}")
        if self.length > CAPACITY[self.symbol]:
            raise LayoutError(f"{where}: {self.length} bytes do not fit a {self.symbol} symbol, which holds "
                              f"{CAPACITY[self.symbol]}")  # fmt: skip

    def _check_writable(self, where: str) -> None:
        # What is made bears the specimen's provider ID in a field of that name, and an IMI version.
        providers = [f for f in self.fields if f.name == "provider_id" and (f.coding, f.length) == ("ascii", 2)]
        if not providers:
            raise LayoutError(f"{where}: a layout that is made needs the field provider_id, ascii, 2 bytes")
        if self.versions.start < FIRST_IMI_VERSION:
            raise LayoutError(f"{where}: version {self.versions.start} is IBI's, which is read here and never made",
                              hint=f"{FIRST_IMI_VERSION} to 255")  # fmt: skip

    def pack(self, values: Mapping[str, Value]) -> bytes:
        """The bytes to be signed. Raises `LayoutError` for a missing, unknown or impossible value."""
        return Packer(self, {}).pack(values)

    def unpack(self, payload: bytes) -> Indicium:
        """The fields of `payload`. Raises `PayloadError` naming the field in which a short one ends."""
        if len(payload) < self.length:
            name, start, end = self._field_at(len(payload))
            raise PayloadError(
                f"truncated: the payload ends in field {name} (bytes {start} to {end}), "
                f"{len(payload)} of {self.length} bytes",
                field=name, length=len(payload), expected=self.length,
            )  # fmt: skip
        return Indicium(
            layout=self,
            values={name: decode(payload[start:end]) for name, start, end, _, decode in self.codecs},
            signed=payload[: self.signed_length],
            signature=payload[self.signed_length : self.length],
            trailing=payload[self.length :],
        )

    def _field_at(self, position: int) -> tuple[str, int, int]:
        for name, start, end, _, _ in self.codecs:
            if position < end:
                return name, start, end
        return "signature", self.signed_length, self.length

    def describe(self, payload: bytes) -> list[Row]:
        """Every field of `payload` for people, the signature and trailing bytes included."""
        parsed = self.unpack(payload)
        rows = [
            Row(f.name, f.offset, f.length, payload[f.offset : f.offset + f.length], parsed.values[f.name], f.unit,
                f.meaning, f.basis, f.source)
            for f in self.fields
        ]  # fmt: skip
        s = self.signature
        rows.append(Row("signature", self.signed_length, s.length, parsed.signature, parsed.signature, "",
                        f"{s.scheme}: {s.meaning}", s.basis, s.source))  # fmt: skip
        if parsed.trailing:
            rows.append(Row("trailing", self.length, len(parsed.trailing), parsed.trailing, parsed.trailing, "",
                            "Bytes after the layout's end, kept as they are", "assumed", ""))  # fmt: skip
        return rows


class Packer:
    """Packs by a layout where some values stay the same: those are looked at and encoded once."""

    def __init__(self, layout: Layout, fixed: Mapping[str, Value]) -> None:
        if not layout.writable:
            raise LayoutError(f"layout {layout.name} is read-only", hint="This construct is read here, never made")
        self._layout = layout
        self._fixed = dict(fixed)
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
        if packed[1:3] in REAL_PROVIDERS:
            # Where IMI has the provider, whatever this layout calls the field.
            raise LayoutError(f"bytes 1 and 2 would read as the real provider {packed[1:3].decode()}",
                              hint="Put another field there, or the provider ID")  # fmt: skip
        return packed


def _encoded(name: str, encode: Encode, values: Mapping[str, Value]) -> bytes:
    try:
        return encode(values[name])
    except KeyError:
        raise LayoutError(f"the layout needs a value for {name}") from None
    except ValueError as problem:
        raise LayoutError(f"{name} {problem}, not {values[name]!r}", field=name) from None


def _field(row: Document) -> Field:
    made = Field(
        name=row.text("name", 64),
        offset=row.whole("offset", 0, 4096),
        length=row.whole("length", 1, 128),
        coding=row.text("coding", 32),
        meaning=row.text("meaning", 300),
        basis=row.text("basis", 16),
        unit=row.text("unit", 32, ""),
        source=row.text("source", 300, ""),
        values=row.numbers("values", _MOST_VALUE),
    )
    row.done()
    return made


def _signature(row: Document) -> Signature:
    made = Signature(
        scheme=row.text("scheme", 64),
        length=row.whole("length", 1, 512),
        meaning=row.text("meaning", 300),
        basis=row.text("basis", 16),
        source=row.text("source", 300, ""),
    )
    row.done()
    return made


@cache
def builtin(name: str) -> Layout:
    """A layout that comes with the package. Raises `LayoutError` with the names there are."""
    if name not in BUILT_IN:
        raise LayoutError(f"there is no layout {name!r}", hint=f"Known: {', '.join(BUILT_IN)}, or a TOML file's path")
    return load_file(Path(__file__).parent / "layouts" / f"{name}.toml")


def load_file(path: Path) -> Layout:
    """A layout from a TOML file. Raises `LayoutError` naming the file and what is wrong in it."""
    import tomllib

    try:
        text = path.read_bytes().decode("utf-8")
        document = tomllib.loads(text)
    except OSError as problem:
        raise LayoutError(f"{path}: cannot be read: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise LayoutError(f"{path}: not a TOML file: {problem}") from None
    return Layout(document, str(path))


def load(name: str) -> Layout:
    """A layout by built-in name, or by path when `name` ends in .toml."""
    return load_file(Path(name)) if name.endswith(".toml") else builtin(name)


def recognise(payload: bytes, layouts: Iterable[Layout] | None = None) -> Layout:
    """The layout whose version numbers hold byte 0. Raises `PayloadError` when none does."""
    if not payload:
        raise PayloadError("truncated: the payload is empty", field="indicia_version", length=0, expected=1)
    known = list(layouts) if layouts is not None else [builtin(name) for name in BUILT_IN]
    for layout in known:
        if payload[0] in layout.versions:
            return layout
    raise PayloadError(
        f"unknown indicia version {payload[0]}",
        hint=f"Known: {', '.join(f'{x.name} ({x.versions.start} to {x.versions.stop - 1})' for x in known)}",
        version=payload[0],
    )
