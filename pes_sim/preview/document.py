"""A PDF file written page by page: what a page needs is on the disk when the next one begins.

Three rules:

* Memory does not grow with the pages, but for eight bytes an object. (reportlab keeps every page until the end.)
* Fonts are embedded, with the characters that were used and no others, so text can be selected and looks the same
  everywhere.
* The same pages give the same bytes. No time of day is in the file.

Its structure is that of PDF 1.7 (ISO 32000-1): sections are named where one is followed.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from pes_sim.preview import fonts
from pes_sim.preview.content import Content, Encoder, SharedFont
from pes_sim.preview.marks import Page

_CATALOG, _PAGES, _RESOURCES, _INFO = 1, 2, 3, 4
_LEVEL: Final = 6
_CHUNK: Final = 1 << 16


class Document:
    """Writes into `file`: `add` for every page, then `finish`. What `file` raises comes through; it is broken then.

    `information`: the document's Title, Subject and so on. The attachment `attached` holds a line of JSON for each call
    of `attach`; it waits in a file without a name in `folder`, or without one in memory.
    """

    def __init__(
        self, file: IO[bytes], information: Mapping[str, str], attached: str, folder: Path | None = None
    ) -> None:
        self._file = file
        self._information = information
        self._attached = attached
        self._offsets = array("Q", [0] * (_INFO + 1))
        self._at = 0
        self._hash = hashlib.sha256()
        self._page_numbers = array("Q")
        self._encoder = Encoder(name for name in fonts.FONTS)
        self._pictures: list[int] = []
        # Closed by `close`.
        self._waiting: IO[bytes] = tempfile.TemporaryFile(dir=folder) if folder else io.BytesIO()  # noqa: SIM115
        self._packer = zlib.compressobj(_LEVEL)
        self._lines_length = 0
        self._write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")

    def add(self, page: Page) -> None:
        """Writes a page."""
        content = Content(self._encoder)
        content.draw(page.marks)
        self._pictures += [self._picture(picture) for picture in self._encoder.pictures[len(self._pictures) :]]
        stream = self._stream(zlib.compress(content.bytes(), _LEVEL), b"/Filter/FlateDecode")
        size = f"{page.width:.4g} {page.height:.4g}".encode()
        number = self._object(
            b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 %b]/Resources %d 0 R/Contents %d 0 R>>"
            % (_PAGES, size, _RESOURCES, stream)
        )
        self._page_numbers.append(number)

    def attach(self, line: Mapping[str, Any]) -> None:
        """Adds a line to the attachment."""
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self._lines_length += len(text)
        self._waiting.write(self._packer.compress(text))

    def finish(self) -> None:
        """Writes all that the pages refer to, and the end."""
        attachment = self._attachment()
        shared = {name: self._font(font) for name, font in self._encoder.fonts.items()}
        self._object(b"<</Font<<%b>>/XObject<<%b>>>>" % (
            b"".join(b"/%b %d 0 R" % (font.resource, shared[name]) for name, font in self._encoder.fonts.items()
                     if shared[name]),
            b"".join(b"/L%d %d 0 R" % place for place in enumerate(self._pictures)),
        ), _RESOURCES)  # fmt: skip
        self._object(b"<<%b>>" % b"".join(b"/%b%b" % (k.encode(), _text(v)) for k, v in self._information.items()),
                     _INFO)  # fmt: skip
        self._object(
            b"<</Type/Catalog/Pages %d 0 R/Names<</EmbeddedFiles<</Names[%b %d 0 R]>>>>/PageMode/UseNone>>"
            % (_PAGES, _text(self._attached), attachment),
            _CATALOG,
        )
        self._page_tree()
        self._cross_references()

    def close(self) -> None:
        """Lets go of what waited for the end."""
        self._waiting.close()

    # --- objects (7.3.10) --------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._at += len(data)

    def _begin(self, number: int = 0) -> int:
        if not number:
            number = len(self._offsets)
            self._offsets.append(0)
        self._offsets[number] = self._at
        return number

    def _object(self, body: bytes, number: int = 0) -> int:
        number = self._begin(number)
        self._write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
        return number

    def _stream(self, data: bytes, entries: bytes) -> int:
        return self._object(b"<</Length %d%b>>stream\n%b\nendstream" % (len(data), entries, data))

    def _page_tree(self) -> None:
        self._begin(_PAGES)
        self._write(b"%d 0 obj\n<</Type/Pages/Count %d/Kids[" % (_PAGES, len(self._page_numbers)))
        for number in self._page_numbers:
            self._write(b"%d 0 R\n" % number)
        self._write(b"]>>\nendobj\n")

    def _cross_references(self) -> None:
        """The table of every object's place (7.5.4), and where it is."""
        start, digest = self._at, self._hash.hexdigest()[:32].encode()
        self._write(b"xref\n0 %d\n0000000000 65535 f \n" % len(self._offsets))
        for offset in self._offsets[1:]:
            self._write(b"%010d 00000 n \n" % offset)
        self._write(
            b"trailer\n<</Size %d/Root %d 0 R/Info %d 0 R/ID[<%b><%b>]>>\nstartxref\n%d\n%%%%EOF\n"
            % (len(self._offsets), _CATALOG, _INFO, digest, digest, start)
        )

    # --- what pages share --------------------------------------------------------------------------------------------

    def _attachment(self) -> int:
        """The embedded file (7.11.4), copied piece by piece from where it waited."""
        self._waiting.write(self._packer.flush())
        length = self._waiting.tell()
        self._waiting.seek(0)
        data = self._begin()
        self._write(
            b"%d 0 obj\n<</Type/EmbeddedFile/Subtype/application#2Fjsonl/Filter/FlateDecode/Length %d"
            b"/Params<</Size %d>>>>stream\n" % (data, length, self._lines_length)
        )
        for chunk in _chunks(self._waiting):
            self._write(chunk)
        self._write(b"\nendstream\nendobj\n")
        name = _text(self._attached)
        return self._object(b"<</Type/Filespec/F%b/UF%b/EF<</F %d 0 R>>>>" % (name, name, data))

    def _font(self, font: SharedFont) -> int:
        """A composite font of TrueType glyphs, whose codes are the glyphs' numbers (9.7.4); 0 for one not used."""
        if not font.characters:
            return 0
        face = font.face
        name = b"AAAAAA+" + face.name
        packed = face.makeSubset(font.characters)
        program = self._stream(zlib.compress(packed, _LEVEL), b"/Filter/FlateDecode/Length1 %d" % len(packed))
        box = " ".join(f"{value:.0f}" for value in face.bbox).encode()
        descriptor = self._object(
            b"<</Type/FontDescriptor/FontName/%b/Flags 4/FontBBox[%b]/ItalicAngle 0/Ascent %d/Descent %d/CapHeight %d"
            b"/StemV %d/FontFile2 %d 0 R>>"
            % (name, box, face.ascent, face.descent, face.capHeight, face.stemV, program)
        )
        widths = " ".join(f"{face.charWidths[code]:.2f}" for code in font.characters).encode()
        descendant = self._object(
            b"<</Type/Font/Subtype/CIDFontType2/BaseFont/%b/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)"
            b"/Supplement 0>>/FontDescriptor %d 0 R/W[1[%b]]/CIDToGIDMap/Identity>>" % (name, descriptor, widths)
        )
        mapping = self._stream(zlib.compress(_to_unicode(font.characters), _LEVEL), b"/Filter/FlateDecode")
        return self._object(
            b"<</Type/Font/Subtype/Type0/BaseFont/%b/Encoding/Identity-H/DescendantFonts[%d 0 R]/ToUnicode %d 0 R>>"
            % (name, descendant, mapping)
        )

    def _picture(self, picture: Any) -> int:
        """A picture in colours, without loss (8.9.5)."""
        return self._stream(
            zlib.compress(picture.tobytes(), _LEVEL),
            b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB/BitsPerComponent 8"
            b"/Filter/FlateDecode" % picture.size,
        )


def _text(value: str) -> bytes:
    """A text string (7.9.2.2), in hexadecimal digits: nothing in it can end it."""
    return b"<" + (b"\xfe\xff" + value.encode("utf-16-be", "replace")).hex().encode() + b">"


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _to_unicode(codes: Iterable[int]) -> bytes:
    """Which character a glyph's number stands for, for whoever copies text (9.10.3)."""
    rows = [f"<{number:04x}> <{chr(code).encode('utf-16-be').hex()}>" for number, code in enumerate(codes, 1)]
    blocks = [rows[start : start + 100] for start in range(0, len(rows), 100)]
    body = "\n".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks)
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def\n"
        "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
        "1 begincodespacerange\n<0000> <ffff>\nendcodespacerange\n"
        f"{body}\nendcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
    ).encode()
