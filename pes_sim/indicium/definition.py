"""What a layout's file says, and everything that can be wrong with it: a rule a function, each noting all it finds.

A file with a mistake never becomes a layout; whoever only wants to know what is wrong gets the whole list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pes_sim.indicium.codings import CODINGS, Value
from pes_sim.indicium.document import Document, Mistake, shown
from pes_sim.indicium.signature import LENGTHS, MACS, SCHEMES
from pes_sim.indicium.sizes import CAPACITY

FIRST_IMI_VERSION: Final = 100
LEGACY: Final = "dsa-1024-sha1"
"""The scheme by which IBI was signed. Only specimens of IBI are made by it."""
BASES: Final = ("public", "assumed")
TEXT_LINES: Final = 8
PLACEHOLDERS: Final[Mapping[str, str]] = {
    "postage": "the amount in dollars and cents",
    "date": "the date of mailing",
    "mail_class": "the class of mail",
    "weight": "the weight",
    "origin_zip": "the ZIP Code of the licensing post office",
    "meter": "provider, model and serial number of the PSD",
    "piece_count": "the piece count",
    "provider": "the provider's name",
    "tracking_number": "the tracking number, if there is one",
    "extra_services": "the extra services, if there are any",
}
"""What the human-readable text may name in braces."""
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_CHECKED_BY: Final = {
    **dict.fromkeys(SCHEMES, frozenset({"certificate_serial", "psd_serial", "mailing_date"})),
    **dict.fromkeys(MACS, frozenset({"psd_serial", "mailing_date"})),
}
"""Fields without which a signature of a scheme cannot be checked."""
_NEVER_CONSTANT: Final = frozenset(
    (
        "indicia_version", "provider_id", "psd_serial", "certificate_serial", "piece_count", "ascending_mills",
        "descending_mills", "postage_mills", "mailing_date", "mail_class", "weight", "destination", "tracking_number",
        "extra_services",
    )
)  # fmt: skip
"""What differs from device to device or from piece to piece: a constant there would be signed for what is not so."""
_NOT_FIELDS: Final = {
    "signature": "so the bytes after the fields are called",
    "trailing": "so the bytes after the layout's end are called",
}
"""Names that mean something else wherever a payload is shown."""
_MOST_VALUE: Final = 1 << 64
_LONGEST: Final = 4096
_MOST_FIELDS: Final = 256


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a layout. `basis` is "public" or "assumed"; `source` says where a public fact stands, or why one is
    assumed. `constant`: what the field holds whatever the piece; None where that differs.
    """

    name: str
    offset: int
    length: int
    coding: str
    meaning: str
    basis: str
    unit: str = ""
    source: str = ""
    values: Mapping[str, int] = field(default_factory=dict)
    constant: Value | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """The bytes after the fields. `scheme` is one of `signature.LENGTHS`, or one that is only read."""

    scheme: str
    length: int
    meaning: str
    basis: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Definition:
    """A layout as its file says it. No version: it is found by its name only, never by a payload's first byte.

    `text`: the lines that people read beside the symbol, with `PLACEHOLDERS` in braces; "|" parts the left half of a
    line from the right.
    """

    name: str
    title: str
    construct: str
    writable: bool
    symbol: str
    versions: range
    signature: Signature
    fields: tuple[Field, ...]
    text: tuple[str, ...] = ()

    @property
    def signed_length(self) -> int:
        """Bytes before the signature."""
        return sum(row.length for row in self.fields)


def read(document: object) -> tuple[Definition, list[Mistake]]:
    """What the document says, as far as it can be understood, and all that is wrong with it."""
    mistakes: list[Mistake] = []
    top = Document(document, (), mistakes)
    name, title, construct = top.text("name", 64), top.text("title", 120), top.text("construct", 64)
    writable, symbol, versions = top.flag("writable"), top.text("symbol", 16), top.span("versions", 255)
    text = top.texts("text", TEXT_LINES, 80)
    signed = top.table("signature")
    signature = _signature(signed)
    rows = top.tables("field", _MOST_FIELDS)
    made = tuple(_field(row) for row in rows)
    top.done()
    definition = Definition(name, title, construct, writable, symbol, versions, signature, made, text)
    for rule in _RULES:
        rule(definition, top, rows, signed)
    return definition, mistakes


def _field(row: Document) -> Field:
    made = Field(
        name=row.text("name", 64),
        offset=row.whole("offset", 0, _LONGEST),
        length=row.whole("length", 1, 128),
        coding=row.text("coding", 32),
        meaning=row.text("meaning", 300),
        basis=row.text("basis", 16),
        unit=row.text("unit", 32, ""),
        source=row.text("source", 300, ""),
        values=row.numbers("values", _MOST_VALUE),
        constant=row.constant("constant"),
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


Rule = Callable[[Definition, Document, Sequence[Document], Document], None]


def _codings(definition: Definition, top: Document, rows: Sequence[Document], signed: Document) -> None:
    for made, row in zip(definition.fields, rows, strict=True):
        if row.bad("coding", "length"):
            continue
        coding = CODINGS.get(made.coding)
        if coding is None:
            row.note(("coding",), f"field {made.name} has the unknown coding {made.coding!r}",
                     f"Known: {', '.join(CODINGS)}")  # fmt: skip
            continue
        if made.length not in coding.lengths:
            row.note(("length",), f"field {made.name} has {made.length} bytes; {made.coding} takes "
                                  f"{coding.lengths.start} to {coding.lengths.stop - 1}")  # fmt: skip
            continue
        if coding.named != bool(made.values) and not row.bad("values"):
            text = "needs the names it stands for" if coding.named else f"is {made.coding}, which knows no names"
            row.note(("values",), f"field {made.name} {text}", "values = { name = 1, ... } goes with a coding of names")
        if made.coding.startswith("flags") and not all(_is_bit(*pair) for pair in made.values.items()):
            row.note(("values",), f"field {made.name} has values that are no bits", "1, 2, 4, 8 …; and no + in a name")
        if any(number >> 8 * made.length for number in made.values.values()):
            row.note(("values",), f"field {made.name} has values that do not fit {made.length} bytes")
        elif made.constant is not None and not row.bad("values", "constant"):
            _constant(made, row)


def _is_bit(name: str, number: int) -> bool:
    return number.bit_count() == 1 and "+" not in name


def _constant(made: Field, row: Document) -> None:
    if made.name in _NEVER_CONSTANT:
        row.note(("constant",), f"field {made.name} is not the same on every piece", "Leave its constant out")
        return
    try:
        CODINGS[made.coding].make(made.length, made.values)[0](constant(made))
    except ValueError as problem:
        row.note(("constant",), f"field {made.name}: constant {problem}, not {shown(made.constant)}",
                 "Of a bytes field it is written in hex digits" if made.coding == "bytes" else "")  # fmt: skip


def constant(made: Field) -> Value:
    """The value of a constant field. Raises `ValueError` for bytes that are not written in hex."""
    assert made.constant is not None
    if made.coding == "bytes" and isinstance(made.constant, str):
        return bytes.fromhex(made.constant)
    return made.constant


def _positions(definition: Definition, top: Document, rows: Sequence[Document], signed: Document) -> None:
    position: int | None = 0
    following = [made.offset for made in definition.fields[1:]]
    for index, (made, row) in enumerate(zip(definition.fields, rows, strict=True)):
        begin = position if row.bad("offset") else made.offset
        if begin is not None and position is not None and begin != position:
            distance = abs(begin - position)
            what = "an overlap" if begin < position else "a gap"
            row.note(("offset",), f"field {made.name} begins at {begin}, but the one before ends at {position}: "
                                  f"{what} of {distance} byte{'' if distance == 1 else 's'}",
                     "Fields stand in order, without gap or overlap; what a gap holds is a field, too")  # fmt: skip
            if following[index : index + 1] == [position + made.length]:
                begin = position  # the next one is where it belongs: this field alone is out of place
        position = None if begin is None or row.bad("length") else begin + made.length


def _bases(definition: Definition, top: Document, rows: Sequence[Document], signed: Document) -> None:
    everything: list[tuple[Field | Signature, Document, str]] = [
        *((made, row, f"field {made.name}") for made, row in zip(definition.fields, rows, strict=True)),
        (definition.signature, signed, "the signature"),
    ]
    for made, row, what in everything:
        if row.bad("basis"):
            continue
        if made.basis not in BASES:
            row.note(("basis",), f"{what} has basis {made.basis!r}", "Public or assumed?")
        elif made.basis == "public" and not made.source and not row.bad("source"):
            row.note(("basis",), f"{what} is public without a source", "Say in `source` where it is published")


def _names(definition: Definition, top: Document, rows: Sequence[Document], signed: Document) -> None:
    seen: set[str] = set()
    for made, row in zip(definition.fields, rows, strict=True):
        if made.name in _NOT_FIELDS:
            row.note(("name",), f"{made.name} is no field's name: {_NOT_FIELDS[made.name]}", "Take another name")
        if made.name in seen and not row.bad("name"):
            row.note(("name",), f"two fields have one name: {made.name}")
        seen.add(made.name)


def _scheme(definition: Definition, top: Document, rows: Sequence[Document], signed: Document) -> None:
    scheme, length = definition.signature.scheme, definition.signature.length
    if signed.bad("scheme", "length"):
        return
    if definition.writable and scheme not in LENGTHS:
        signed.note(("scheme",), f"nothing here signs by {scheme!r}", f"Known: {', '.join(LENGTHS)}")
    if scheme in LENGTHS and length not in LENGTHS[scheme]:
        allowed = LENGTHS[scheme]
        text = f"{allowed[0]}" if len(allowed) == 1 else f"{allowed[0]} to {allowed[-1]}"
        signed.note(("length",), f"a signature of {scheme} has {text} bytes, not {length}")
    names = {made.name for made in definition.fields}
    missing = sorted(_CHECKED_BY.get(scheme, frozenset()) - names)
    if missing and not top.bad("field") and not any(row.bad("name") for row in rows):
        signed.note(("scheme",), f"a signature of {scheme} cannot be checked without the fields {', '.join(missing)}")


def _writable(definition: Definition, top: Document, rows: Sequence[Document], signed: Document) -> None:
    # What is made bears the specimen's provider ID in a field of that name, and an IMI version.
    if not definition.writable or top.bad("field", "versions", "construct"):
        return
    providers = [f for f in definition.fields if f.name == "provider_id" and (f.coding, f.length) == ("ascii", 2)]
    if not providers and not any(row.bad("name", "coding", "length") for row in rows):
        top.note(("writable",), "a layout that is made needs the field provider_id, ascii, 2 bytes")
    legacy = definition.signature.scheme == LEGACY
    ends = definition.versions[:1], definition.versions[-1:]
    if any((version < FIRST_IMI_VERSION) is not legacy for end in ends for version in end):
        wanted = f"0 to {FIRST_IMI_VERSION - 1}" if legacy else f"{FIRST_IMI_VERSION} to 255"
        top.note(
            ("versions",),
            f"version {definition.versions.start} does not go with the scheme {definition.signature.scheme}: below "
            f"{FIRST_IMI_VERSION} is IBI, and what is made of it is signed by {LEGACY} alone",
            wanted,
        )
    version = definition.fields[0] if definition.fields else None
    if definition.versions and version and (version.name, version.offset, version.length) != ("indicia_version", 0, 1):
        rows[0].note(("name",), "byte 0 is the field indicia_version where a layout has version numbers",
                     "Without them (versions = []) a layout is found by its name only")  # fmt: skip


def _constructs(definition: Definition, top: Document, rows: Sequence[Document], signed: Document) -> None:
    """What is known of the real constructs (an unofficial verification tool, 2017)."""
    if top.bad("construct", "versions", "field"):
        return
    versions, construct = definition.versions, definition.construct
    if construct == "IBI-FULL" and versions and versions[-1] >= FIRST_IMI_VERSION:
        top.note(("versions",), f"version {versions[-1]} is above 99, and IBI-FULL is not", "0 to 99")
    if construct in ("IMI-MIN", "IMI-STD", "IMI-MAX"):
        if versions and versions.start < FIRST_IMI_VERSION and not top.bad("versions"):
            top.note(("versions",), f"version {versions.start} is not above 99, and {construct} is", "100 to 255")
        for made, row in zip(definition.fields, rows, strict=True):
            if made.name == "provider_id" and made.offset != 1 and not row.bad("offset"):
                row.note(("offset",), f"{construct} has the provider at bytes 1 and 2, not from {made.offset} on")


def _symbol(definition: Definition, top: Document, rows: Sequence[Document], signed: Document) -> None:
    if top.bad("symbol"):
        return
    if definition.symbol not in CAPACITY:
        top.note(("symbol",), f"unknown symbol {definition.symbol!r}", f"Known: {', '.join(CAPACITY)}")
        return
    if top.bad("field") or signed.bad("length") or any(row.bad("length") for row in rows):
        return
    length, holds = definition.signed_length + definition.signature.length, CAPACITY[definition.symbol]
    if length > holds:
        best = next((size for size, capacity in CAPACITY.items() if capacity >= length), "")
        top.note(("symbol",), f"{length} bytes do not fit a {definition.symbol} symbol, which holds {holds}",
                 f"The smallest that fits is {best}" if best else "No size holds that much")  # fmt: skip


def _text(definition: Definition, top: Document, rows: Sequence[Document], signed: Document) -> None:
    if not definition.text:
        return
    for line in definition.text:
        unknown = [name for name in _PLACEHOLDER.findall(line) if name not in PLACEHOLDERS]
        if unknown or "{" in (bare := _PLACEHOLDER.sub("", line)) or "}" in bare or line.count("|") > 1:
            top.note(
                ("text",), f"the line {line!r} cannot be filled", f"In braces: {', '.join(PLACEHOLDERS)}; one | at most"
            )
    if not any("{postage}" in line for line in definition.text):
        top.note(("text",), "the text leaves out {postage}", "An indicium shows its amount (DMM 604.4)")


_RULES: Final[tuple[Rule, ...]] = (
    _codings, _positions, _bases, _names, _scheme, _writable, _constructs, _symbol, _text,
)  # fmt: skip
