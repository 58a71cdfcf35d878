"""One indicium's symbol as a picture: read back from every format, always a specimen, never a real provider's."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from pes_sim.errors import LayoutError, PayloadError, UsageError
from pes_sim.indicium import symbol
from pes_sim.indicium.layout import Layout, builtin, load_file
from pes_sim.preview import drawing
from pes_sim.preview.drawing import FORMATS, NOTICE, Picture, check_specimen, draw

VECTORS = Path(__file__).parents[1] / "vectors"
GROUPS = json.loads((VECTORS / "indicia" / "indicia.json").read_text())["testGroups"]
SPECIMENS = {group["layout"]["name"]: bytes.fromhex(group["tests"][0]["payload"]) for group in reversed(GROUPS)}
PAYLOAD, LAYOUT = SPECIMENS["imi_std"], builtin("imi_std")
REAL = [bytes.fromhex(sample["hex"]) for sample in json.loads((VECTORS / "ibi_samples.json").read_text())]
LETTERS = {"".join(rows): letter for letter, rows in drawing._LETTERS.items()}


def grey(picture: Picture) -> Image.Image:
    dots = picture.dots.translate(b"\xff\0" + bytes(254))
    return Image.frombytes("L", (picture.width, picture.height), dots)


def from_png(data: bytes, picture: Picture) -> Image.Image:
    read = Image.open(io.BytesIO(data))
    assert read.mode == "1"
    assert read.info["dpi"] == pytest.approx((picture.dpi, picture.dpi), abs=0.02)
    assert read.info["Comment"] == NOTICE
    return read.convert("L")


def from_svg(data: bytes, picture: Picture) -> Image.Image:
    text = data.decode()
    assert f"<title>{NOTICE}</title>" in text
    (size,) = re.findall(r'width="([0-9.]+)mm" height="([0-9.]+)mm"', text)
    dots = (float(side) / 25.4 * picture.dpi for side in size)
    assert [*dots] == pytest.approx([picture.width, picture.height], abs=0.01)
    assert f'viewBox="0 0 {picture.width} {picture.height}"' in text
    page = Image.new("L", (picture.width, picture.height), 255)
    for x, y, w, h, back in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z", text):
        assert w == back
        page.paste(0, (int(x), int(y), int(x) + int(w), int(y) + int(h)))
    return page


def from_pdf(data: bytes, picture: Picture) -> Image.Image:
    with pypdfium2.PdfDocument(data) as document:
        assert (len(document), document.get_metadata_dict()["Title"]) == (1, NOTICE)
        page = document[0]
        assert page.get_width() * picture.dpi / 72 == pytest.approx(picture.width, abs=0.01)
        assert page.get_height() * picture.dpi / 72 == pytest.approx(picture.height, abs=0.01)
        drawn: Image.Image = page.render(scale=4 * picture.dpi / 72, grayscale=True).to_pil().copy()
    # PDFium rounds the page up to whole pixels, so it is drawn finer and looked at in the middle of each dot.
    middles = drawn.resize((picture.width, picture.height), Image.Resampling.NEAREST)
    return middles.point(lambda value: 255 * (value >= 128))


def from_zpl(data: bytes, picture: Picture) -> Image.Image:
    text = data.decode("ascii")
    assert text.startswith(f"^XA\n^FX {NOTICE}")
    assert f"^PW{picture.width}\n^LL{picture.height}\n" in text
    (found,) = re.findall(r"\^FO0,0\^GFA,(\d+),(\d+),(\d+),([0-9A-F\n]+)\^FS\n\^XZ\n$", text)
    sent, total, across = map(int, found[:3])
    bits = bytes.fromhex(found[3].replace("\n", ""))
    assert sent == total == len(bits) == across * picture.height
    page = Image.frombytes("1", (across * 8, picture.height), bits).convert("L").point(lambda value: 255 - value)
    assert set(page.crop((picture.width, 0, across * 8, picture.height)).tobytes()) <= {255}
    return page.crop((0, 0, picture.width, picture.height))


READ_BACK = {".png": from_png, ".svg": from_svg, ".pdf": from_pdf, ".zpl": from_zpl}


# --- what is drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("dpi", "dots"), [(300, 0), (200, 0), (600, 0), (203, 4), (203, 5), (100, 2)])
def test_every_format_is_the_picture_dot_for_dot_and_is_read(kind: str, dpi: int, dots: int) -> None:
    picture = draw(PAYLOAD, LAYOUT, dpi=dpi, dots=dots)
    page = READ_BACK[kind](FORMATS[kind](picture), picture)
    assert page.size == (picture.width, picture.height)
    assert page.tobytes() == grey(picture).tobytes()
    assert symbol.read(page, "zxing", limit=2) == [PAYLOAD]
    assert symbol.read(page, "dmtx") == [PAYLOAD]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_payload_gives_the_same_bytes(kind: str) -> None:
    assert FORMATS[kind](draw(PAYLOAD, LAYOUT)) == FORMATS[kind](draw(PAYLOAD, LAYOUT))


@pytest.mark.parametrize("name", ["imi_min", "imi_std", "imi_max"])
@pytest.mark.parametrize("dots", [2, 3, 6])
def test_the_symbol_has_the_layouts_size_and_its_modules_are_whole_dots(name: str, dots: int) -> None:
    payload, layout = SPECIMENS[name], builtin(name)
    picture, drawn = draw(payload, layout, dots=dots), symbol.encode(payload, layout.symbol)
    left, top = (picture.width - drawn.size * dots) // 2, top_of_symbol(picture, dots)
    for row in range(drawn.size * dots):
        start = (top + row) * picture.width + left
        expected = drawn.modules[row // dots * drawn.size :][: drawn.size]
        assert picture.dots[start : start + drawn.size * dots : dots] == expected
        assert picture.dots[start + dots - 1 : start + drawn.size * dots : dots] == expected


def top_of_symbol(picture: Picture, dots: int) -> int:
    """Where the symbol begins: after margin, one line of text, gap, and quiet zone."""
    rows = [picture.dots[start : start + picture.width] for start in range(0, len(picture.dots), picture.width)]
    after_text = next(at for at in range(2 * dots, len(rows)) if not any(rows[at]))
    return after_text + 3 * dots


@pytest.mark.parametrize("dots", [2, 3, 6])
@pytest.mark.parametrize("name", ["imi_min", "imi_std"])
def test_around_the_symbol_two_modules_are_blank(name: str, dots: int) -> None:
    layout = builtin(name)
    picture, side = draw(SPECIMENS[name], layout, dots=dots), int(layout.symbol.split("x")[0])
    left, top, quiet = (picture.width - side * dots) // 2, top_of_symbol(picture, dots), 2 * dots
    image = grey(picture)
    whole = image.crop((left - quiet, top - quiet, left + side * dots + quiet, top + side * dots + quiet))
    whole.paste(255, (quiet, quiet, quiet + side * dots, quiet + side * dots))
    assert set(whole.tobytes()) == {255}


# --- the band --------------------------------------------------------------------------------------------------------


def lines_of_text(picture: Picture) -> list[str]:
    """What stands in the band, read letter by letter from the dots."""
    rows = [picture.dots[start : start + picture.width] for start in range(0, len(picture.dots), picture.width)]
    blocks: list[list[bytes]] = [[]]
    for row in rows:
        if any(row):
            blocks[-1].append(row)
        elif blocks[-1]:
            blocks.append([])
    return [text(block) for block in blocks if block and len(block) % 7 == 0 and text(block)]


def text(block: list[bytes]) -> str:
    cell = len(block) // 7
    left = min(row.index(1) for row in block if any(row))
    right = max(row.rindex(1) for row in block if any(row)) + 1
    across = (right - left) // cell
    letters = []
    for start in range(0, across, 6):
        at = left + start * cell
        glyph = "".join(
            "".join("# "[not row[at + column * cell]] if at + column * cell < len(row) else " " for column in range(5))
            for row in block[::cell]
        )
        letters.append(LETTERS.get(glyph, ""))
    return "".join(letters)


@pytest.mark.parametrize("size", ["10x10", "20x20", "32x32", "40x40", "44x44", "48x48", "64x64"])
@pytest.mark.parametrize("dots", [2, 3, 4, 6, 12])
def test_whatever_the_size_the_band_says_specimen_in_letters_of_half_a_module_and_more(size: str, dots: int) -> None:
    picture = drawing._composed(symbol.encode(b"x", size), dots, 300)
    assert lines_of_text(picture) == ["SPECIMEN", "NOT VALID", "POSTAGE"]


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", REAL)
def test_a_real_indicium_is_decoded_and_never_drawn(payload: bytes) -> None:
    layout = builtin("ibi" if payload[0] < 100 else "ibi_lite")
    assert layout.unpack(payload).values
    with pytest.raises(LayoutError, match=r"of provider '0[17]' is not drawn: specimens bear 99 only.*501\.9"):
        draw(payload, layout)


@pytest.mark.parametrize("provider", [b"01", b"07", b"42", b"\xff\xff"])
def test_no_provider_but_the_specimens_is_drawn(provider: bytes) -> None:
    forged = PAYLOAD[:1] + provider + PAYLOAD[3:]
    with pytest.raises((LayoutError, PayloadError)):
        draw(forged, LAYOUT)


def own(tmp_path: Path, versions: str) -> Layout:
    """The made-up vendor's layout, with other version numbers: it has its provider at bytes 38 and 39."""
    changed = (VECTORS / "vendor_layout.toml").read_text().replace("versions = [150, 151]", f"versions = {versions}")
    if versions == "[]":
        changed = changed.replace('name = "indicia_version"', 'name = "kind"')
    (tmp_path / "own.toml").write_text(changed)
    return load_file(tmp_path / "own.toml")


@pytest.mark.parametrize(
    ("versions", "first", "at", "value", "provider"),
    [
        ("[150, 151]", 150, 1, b"02", "02"),
        ("[]", 48, 0, b"04", "04"),
        ("[]", 80, 6, b"07", "07"),
        ("[255, 255]", 255, 5, b"\x11", "01"),
    ],
    ids=["IMI", "withdrawal", "IBI", "IBI-Lite"],
)
def test_an_own_layout_does_not_make_a_real_indicium_drawable(
    tmp_path: Path, versions: str, first: int, at: int, value: bytes, provider: str
) -> None:
    payload = bytearray(96)
    payload[0], payload[38:40] = first, b"99"
    payload[at : at + len(value)] = value
    with pytest.raises(LayoutError, match=rf"of provider '{provider}' is not drawn"):
        check_specimen(bytes(payload), own(tmp_path, versions))


def test_an_own_layouts_specimen_is_drawn_in_its_own_size(tmp_path: Path) -> None:
    layout = own(tmp_path, "[150, 151]")
    payload = bytes([150]) + bytes(37) + b"99" + bytes(56)
    assert symbol.read(grey(draw(payload, layout))) == [payload]
    with pytest.raises(LayoutError, match="of provider '98' is not drawn"):
        draw(payload[:39] + b"8" + payload[40:], layout)


@pytest.mark.parametrize("name", ["ibi", "ibi_lite"])
def test_a_construct_that_is_never_made_is_never_drawn(name: str) -> None:
    layout = builtin(name)
    with pytest.raises(LayoutError):
        draw(bytes([layout.versions.start]) + bytes(layout.length - 1), layout)


def test_more_than_the_layouts_bytes_are_not_drawn() -> None:
    with pytest.raises(PayloadError, match=r"2 bytes follow the 114 of layout imi_std\. Give the payload alone"):
        draw(PAYLOAD + b"\0\0", LAYOUT)


def test_less_than_a_payload_is_not_drawn() -> None:
    with pytest.raises(PayloadError, match="the payload ends in field signature"):
        draw(PAYLOAD[:-1], LAYOUT)


@pytest.mark.parametrize(
    ("dpi", "dots", "said"),
    [
        (203, 0, r"at 203 dpi a module of 1/50 inch has 4\.06 dots.*Give --dots 4 for modules of 4/203 inch"),
        (72, 0, r"1\.44 dots.*Give --dots 2"),
        (71, 0, r"71 dpi is no resolution.*Give 72 to 2400"),
        (2401, 4, "2401 dpi is no resolution"),
        (300, 1, r"a module of 1 dots is not drawn\. Give 2 to 64"),
        (300, 65, "a module of 65 dots"),
        (300, -1, "a module of -1 dots"),
    ],
)
def test_a_module_of_other_than_whole_dots_is_refused(dpi: int, dots: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        draw(PAYLOAD, LAYOUT, dpi=dpi, dots=dots)
