"""Layouts are data: a TOML file says which bytes an indicium holds; this module compiles it to `pack` and `unpack`.

* A layout that cannot work (gap, overlap, unknown coding, overflow of the symbol) is refused when it is loaded.
* Only the specimen provider's ID can be packed (39 CFR 501.9: a test system prints specimen indicia only). Reading any
  provider's payload is fine.
* Bytes beyond the end of the layout are kept as `trailing`, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from pes_sim.errors import LayoutError, PayloadError
from pes_sim.indicium import definition, lines
from pes_sim.indicium.codings import CODINGS, Decode, Encode, Value
from pes_sim.indicium.definition import Field
from pes_sim.indicium.document import Mistake
from pes_sim.indicium.packing import SPECIMEN_PROVIDER, Packer
from pes_sim.money import dollars

__all__ = ["BUILT_IN", "SPECIMEN_PROVIDER", "Indicium", "Layout", "Packer", "Row", "builtin", "examine", "load",
           "load_file", "recognise"]  # fmt: skip

BUILT_IN: Final = ("imi_min", "imi_std", "imi_max", "withdrawal", "ibi_specimen", "ibi", "ibi_lite")
LONGEST_FILE: Final = 1 << 17
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Some editors write it before UTF-8. TOML 1.0 has no place for it, and it stands for nothing."""


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

    @property
    def said(self) -> str:
        """The value as people read it: "$0.74", "1.00 oz", "1 piece"; bytes in hex digits, whatever their unit."""
        if isinstance(self.value, bytes):
            return self.value.hex()
        if not isinstance(self.value, int):
            return f"{self.value} {self.unit}".strip()
        say = _UNITS.get(self.unit)
        return say(self.value) if say else f"{self.value} {self.unit}".strip()


def _hundredths(value: int) -> str:
    return f"{value // 100}.{value % 100:02d} oz"


def _pieces(value: int) -> str:
    return f"{value} piece" if value == 1 else f"{value} pieces"


_UNITS: Final[Mapping[str, Callable[[int], str]]] = {"mills": dollars, "1/100 oz": _hundredths, "pieces": _pieces}
"""How a number of a unit is said; one of any other stands before its unit as that is written."""


class Layout:
    """A compiled layout. Make one with `load` or `builtin`."""

    def __init__(self, document: object, where: str, text: str | None = None) -> None:
        """`where`: the file's name, for errors; `text`: what stands in it, so that they can name the line.

        Raises `LayoutError` with the first mistake, and how many there are.
        """
        made, mistakes = definition.read(document)
        if mistakes:
            raise _refusal(located(mistakes, text), where)
        self.name, self.title, self.construct = made.name, made.title, made.construct
        self.writable, self.symbol, self.versions = made.writable, made.symbol, made.versions
        self.signature, self.fields, self.text = made.signature, made.fields, made.text
        self.codecs = tuple(_codec(row) for row in self.fields)
        self.constants: Mapping[str, Value] = {
            row.name: definition.constant(row) for row in self.fields if row.constant is not None
        }
        self.signed_length = made.signed_length
        self.length = self.signed_length + self.signature.length

    def pack(self, values: Mapping[str, Value]) -> bytes:
        """The bytes to be signed. Raises `LayoutError` for a missing, unknown or impossible value."""
        return Packer(self, {}).pack(values)

    def unpack(self, payload: bytes) -> Indicium:
        """The fields of `payload`. Raises `PayloadError` naming the field in which a short one ends."""
        if len(payload) < self.length:
            name, start, end = self._field_at(len(payload))
            place = f"byte {start}" if end == start + 1 else f"bytes {start} to {end - 1}"
            raise PayloadError(
                f"truncated: the payload ends in field {name} ({place}), "
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


def _codec(row: Field) -> tuple[str, int, int, Encode, Decode]:
    encode, decode = CODINGS[row.coding].make(row.length, row.values)
    return row.name, row.offset, row.offset + row.length, encode, decode


def located(mistakes: Iterable[Mistake], text: str | None) -> list[Mistake]:
    """The mistakes with their lines, in the order of these. Without a text they stay as they are."""
    if text is None:
        return list(mistakes)
    known = lines.places(text)
    found = (mistake._replace(line=lines.line_of(mistake.path, known)) for mistake in mistakes)
    return sorted(found, key=lambda mistake: mistake.line)


def _refusal(mistakes: Sequence[Mistake], where: str) -> LayoutError:
    first = mistakes[0]
    place = f"{where}, line {first.line}" if first.line else where
    hint, more = first.hint, len(mistakes) - 1
    if more:
        others = "one more mistake" if more == 1 else f"{more} more mistakes"
        hint = f"{hint}{'; ' if hint else ''}{others}: pes-sim layout check FILE lists all"
    return LayoutError(f"{place}: {first.text}", hint=hint, mistakes=len(mistakes))


@cache
def builtin(name: str) -> Layout:
    """A layout that comes with the package. Raises `LayoutError` with the names there are."""
    if name not in BUILT_IN:
        raise LayoutError(
            f"there is no layout {name!r}", hint=f"Known: {', '.join(BUILT_IN)}, or the path of a .toml file"
        )
    return load_file(Path(__file__).parent / "layouts" / f"{name}.toml")


def examine(path: Path) -> tuple[Layout | None, list[Mistake]]:
    """The layout in a TOML file; or, where there is none, every mistake, with its line. Raises `LayoutError` for a file
    that cannot be read at all.
    """
    import tomllib

    try:
        with path.open("rb") as file:
            data = file.read(LONGEST_FILE + 1)
    except OSError as problem:
        raise LayoutError(f"{path}: cannot be read: {problem.strerror}") from None
    if len(data) > LONGEST_FILE:
        raise LayoutError(f"{path}: more than {LONGEST_FILE} bytes are no layout", hint="A layout has some thousand")
    try:
        text = data.removeprefix(_BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        return None, [Mistake((), "not a TOML file: it is not UTF-8 text", "Save it as UTF-8", line)]
    if found := lines.too_much(text):
        return None, [found]
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as problem:
        return None, [
            Mistake((), f"not a TOML file: {problem}", "Correct this first", lines.line_of_error(problem, text))
        ]
    mistakes = located(definition.read(document)[1], text)
    return (None, mistakes) if mistakes else (Layout(document, str(path), text), [])


def load_file(path: Path) -> Layout:
    """A layout from a TOML file. Raises `LayoutError` naming the file, the line and what is wrong there."""
    layout, mistakes = examine(path)
    if layout is None:
        raise _refusal(mistakes, str(path))
    return layout


def load(name: str) -> Layout:
    """A layout by built-in name, or by path when `name` ends in .toml."""
    return load_file(Path(name)) if name.endswith(".toml") else builtin(name)


def recognise(payload: bytes, layouts: Iterable[Layout] | None = None) -> Layout:
    """The layout whose version numbers hold byte 0. Raises `PayloadError` when none does.

    `layouts`: those that may be it, in place of the built-in ones. One without version numbers is taken for anything,
    but only where it is asked for.
    """
    if not payload:
        raise PayloadError("truncated: the payload is empty", field="indicia_version", length=0, expected=1)
    known = list(layouts) if layouts is not None else [builtin(name) for name in BUILT_IN]
    for layout in known:
        if payload[0] in layout.versions or (layouts is not None and not layout.versions):
            return layout
    raise PayloadError(
        f"unknown indicia version {payload[0]}",
        hint=f"Known: {', '.join(_versions(x) for x in known if x.versions)}; a file of your own: --layout FILE.toml",
        version=payload[0],
    )


def _versions(layout: Layout) -> str:
    first, last = layout.versions[0], layout.versions[-1]
    return f"{layout.name} ({first})" if first == last else f"{layout.name} ({first} to {last})"
