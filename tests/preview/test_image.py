"""Pages out of files: each kind that is read, and each way in which a file can be no use."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from pes_sim.errors import UsageError
from pes_sim.indicium.symbol import encode, read
from pes_sim.preview.image import pages, resolution
from tests.indicium import datamatrix

PAYLOAD = bytes(range(100))
SYMBOL = datamatrix.picture(encode(PAYLOAD))


def write_pdf(path: Path, count: int = 1, **options: object) -> Path:
    canvas = Canvas(str(path), pagesize=(144, 72), **options)  # type: ignore[arg-type]
    for number in range(count):
        canvas.rect(0, 0, 72, 72, stroke=0, fill=1)
        canvas.drawString(80, 30, f"page {number}")
        canvas.showPage()
    canvas.save()
    return path


@pytest.mark.parametrize(
    "name", ["scan.png", "scan.jpg", "scan.tif", "scan.JPEG", "no extension", "wrong.pdf", "\N{SNOWMAN} é.png"]
)
def test_a_scan_is_one_grey_page(tmp_path: Path, name: str) -> None:
    kind = {".jpg": "JPEG", ".JPEG": "JPEG", ".tif": "TIFF"}.get(Path(name).suffix, "PNG")
    SYMBOL.convert("RGB").save(tmp_path / name, kind)
    (page,) = pages(tmp_path / name)
    assert page.mode == "L"
    assert page.size == SYMBOL.size
    assert read(page) == [PAYLOAD]


def test_a_tiff_gives_all_its_pages_in_order(tmp_path: Path) -> None:
    frames = [Image.new("L", (20, 30 + number), 40 * number) for number in range(5)]
    frames[0].save(tmp_path / "scan.tif", save_all=True, append_images=frames[1:])
    found = list(pages(tmp_path / "scan.tif"))
    assert [page.size for page in found] == [frame.size for frame in frames]
    assert [page.getpixel((0, 0)) for page in found] == [0, 40, 80, 120, 160]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_paper(tmp_path: Path, mode: str) -> None:
    clear = Image.new(mode, SYMBOL.size, (0,) * len(mode))
    ink = SYMBOL.point(lambda value: 255 - value)
    clear.putalpha(ink)
    clear.save(tmp_path / "scan.png")
    (page,) = pages(tmp_path / "scan.png")
    assert page.getpixel((0, 0)) == 255
    assert read(page) == [PAYLOAD]


@pytest.mark.parametrize("name", ["scan.png", "scan.tif"])
def test_sixteen_bits_become_eight(tmp_path: Path, name: str) -> None:
    deep = Image.new("I;16", (2, 1), 0x8000)
    deep.putpixel((1, 0), 0xFFFF)
    deep.save(tmp_path / name)
    (page,) = pages(tmp_path / name)
    assert (page.mode, page.getpixel((0, 0)), page.getpixel((1, 0))) == ("L", 0x80, 0xFF)


@pytest.mark.parametrize(("dpi", "size"), [(72, (144, 72)), (300, (600, 300)), (600, (1200, 600))])
def test_a_pdf_is_drawn_at_the_resolution_asked_for(tmp_path: Path, dpi: int, size: tuple[int, int]) -> None:
    path = write_pdf(tmp_path / "some thing é.pdf", count=3)
    found = list(pages(path, dpi))
    assert [page.size for page in found] == [size] * 3
    assert [(page.mode, page.getpixel((5, 5)), page.getpixel((size[0] - 5, 5))) for page in found] == [
        ("L", 0, 255)
    ] * 3


@pytest.mark.parametrize("name", ["scan.jpg", "scan.tif"])
def test_cmyk_is_grey_as_printed(tmp_path: Path, name: str) -> None:
    SYMBOL.convert("CMYK").save(tmp_path / name)
    (page,) = pages(tmp_path / name)
    assert read(page) == [PAYLOAD]
    assert page.getpixel((0, 0)) == pytest.approx(255, abs=2)


@pytest.mark.parametrize("mode", ["1", "P", "PA", "LA", "RGBA", "I", "F", "LAB", "YCbCr", "I;16"])
def test_every_kind_of_pixel_is_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("scan.png" if mode in ("PA", "I;16") else "scan.tif")
    if mode == "PA":
        SYMBOL.convert("P").save(path, transparency=255)
    elif mode == "LAB":
        Image.merge("LAB", (SYMBOL, *[Image.new("L", SYMBOL.size, 128)] * 2)).save(path)
    elif mode in ("I", "F"):  # numbers from 0 to 1, or far above 65535
        factor = 300_000.0 if mode == "I" else 1 / 255
        SYMBOL.convert(mode).point(lambda grey: grey * factor).save(path)
    elif mode == "I;16":
        SYMBOL.convert("I").point(lambda grey: grey * 257.0).convert("I;16").save(path)
    else:
        SYMBOL.convert(mode).save(path)
    (page,) = pages(path)
    assert (page.mode, page.size) == ("L", SYMBOL.size)
    assert read(page) == [PAYLOAD]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_page_of_one_number_is_a_page(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (30, 30), 7).save(tmp_path / "scan.tif")
    (page,) = pages(tmp_path / "scan.tif")
    assert set(page.tobytes()) == {0}


# The corner in which a picture's first pixel is seen, by its EXIF tag: whether on the right, whether below.
CORNERS = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}


@pytest.mark.parametrize("name", ["scan.jpg", "scan.png", "scan.tif", "packed.tif"])
@pytest.mark.parametrize("orientation", CORNERS)
def test_a_page_is_turned_as_its_file_says(tmp_path: Path, name: str, orientation: int) -> None:
    picture = Image.new("L", (60, 40), 255)
    picture.paste(0, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / name, exif=exif, dpi=(300, 150), compression="tiff_lzw" if name == "packed.tif" else None)
    (page,) = pages(tmp_path / name)
    width, height = page.size
    assert (width, height) == ((60, 40) if orientation < 5 else (40, 60))
    right, low = CORNERS[orientation]
    assert page.getpixel((width - 3 if right else 2, height - 3 if low else 2)) == pytest.approx(0, abs=20)
    assert resolution(page) == pytest.approx((300, 150) if orientation < 5 else (150, 300), rel=0.01)


@pytest.mark.parametrize("data", [b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0", b"\xff" * 40, b"II*\0"])
@pytest.mark.parametrize("name", ["scan.jpg", "scan.png"])
def test_exif_data_that_is_damaged_does_no_harm(tmp_path: Path, name: str, data: bytes) -> None:
    SYMBOL.save(tmp_path / name, exif=b"Exif\0\0" + data)
    (page,) = pages(tmp_path / name)
    assert read(page) == [PAYLOAD]


@pytest.mark.parametrize("said", [(0, 0), (300, 0), (1e9, 1e9), (float("nan"), 300), "three hundred", None, (300,)])
def test_a_resolution_that_cannot_be_is_none(said: object) -> None:
    page = Image.new("L", (9, 9))
    page.info["dpi"] = said
    assert resolution(page) is None


def test_a_file_that_does_not_say_its_resolution_has_none(tmp_path: Path) -> None:
    SYMBOL.save(tmp_path / "scan.png")
    (page,) = pages(tmp_path / "scan.png")
    assert resolution(page) is None


def test_a_pdf_page_too_large_for_one_resolution_is_drawn_at_the_other(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "small.pdf")
    (page,) = pages(path, 1200, if_too_large=300)
    assert (page.width, resolution(page)) == (2400, (1200, 1200))
    document = pypdfium2.PdfDocument.new()
    document.new_page(612, 792)
    document.save(tmp_path / "letter.pdf")
    document.close()
    (page,) = pages(tmp_path / "letter.pdf", 1200, if_too_large=600)
    assert (page.width, resolution(page)) == (5100, (600, 600))


def test_a_pdf_is_known_by_its_content(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "scan.png")
    path.write_bytes(b"\n\n" + path.read_bytes())
    assert len(list(pages(path))) == 1


def test_a_scan_that_speaks_of_pdf_is_a_scan(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("Source", "%PDF-1.7")
    SYMBOL.save(tmp_path / "scan.png", pnginfo=text)
    (page,) = pages(tmp_path / "scan.png")
    assert read(page) == [PAYLOAD]


def test_a_pipe_is_told_to_be_saved_first(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    SYMBOL.resize((30, 30)).save(tmp_path / "scan.png")  # little enough for a pipe to hold
    os.write(writing, (tmp_path / "scan.png").read_bytes())
    os.close(writing)
    with pytest.raises(UsageError, match="is a pipe or a device.* Save it as a file first"):
        pages(Path(f"/dev/fd/{reading}"))
    os.close(reading)


def test_a_page_is_the_callers_own(tmp_path: Path) -> None:
    first, second = pages(write_pdf(tmp_path / "two.pdf", count=2))
    first.paste(77, (0, 0, *first.size))
    assert second.getpixel((5, 5)) == 0
    assert first.getpixel((5, 5)) == 77


@pytest.mark.parametrize("kind", ["pdf", "tif"])
def test_only_one_page_is_in_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"many.{kind}"
    if kind == "pdf":
        write_pdf(path, count=40)
    else:
        Image.new("L", (600, 300), 255).save(path, save_all=True, append_images=[Image.new("L", (600, 300))] * 39)
    assert sum(1 for _ in pages(path)) == 40  # what reading such a file imports is not counted
    tracemalloc.start()
    sizes = [page.size for page in pages(path)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sizes == [(600, 300)] * 40
    assert peak < 10 * 600 * 300  # of 40


# --- files that are no use -------------------------------------------------------------------------------------------


def png_of_size(width: int, height: int) -> bytes:
    """The few bytes of a PNG that claims to be this large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def saved(kind: str, image: Image.Image = SYMBOL) -> bytes:
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def animated(kind: str) -> bytes:
    data = io.BytesIO()
    SYMBOL.save(data, kind, save_all=True, append_images=[SYMBOL.rotate(90), SYMBOL.rotate(180)])
    return data.getvalue()


def test_each_picture_of_an_animated_png_is_a_page(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(animated("PNG"))
    assert [read(page) for page in pages(tmp_path / "scan.png")] == [[PAYLOAD]] * 3


def damaged_tiff() -> bytes:
    """A TIFF whose second page is cut off."""
    data = io.BytesIO()
    SYMBOL.save(data, "TIFF", save_all=True, append_images=[SYMBOL])
    return data.getvalue()[:-5000]


USELESS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", r"is empty\. Give a PDF, PNG, JPEG or TIFF"),
    "text": (lambda: b"Dear Sir or Madam", r"is no file that can be read\. Give a PDF"),
    "gif": (lambda: saved("GIF"), r"is no file that can be read"),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"is no file that can be read"),
    "cut png": (lambda: saved("PNG")[:300], r"page 1 is damaged \(.*\)\. Scan or export it again"),
    "cut jpeg": (lambda: saved("JPEG")[:2000], r"page 1 is damaged"),
    "cut tiff": (damaged_tiff, r"page 2 is damaged"),
    "broken png": (lambda: saved("PNG").replace(b"IDAT", b"XXXX"), r"is no file that can be read"),
    "pdf without content": (lambda: b"%PDF-1.4\nnothing", r"is a damaged PDF file \(.*\)\. Export it again"),
    "large png": (lambda: png_of_size(10_000, 8_001), r"page 1 is too large: 10000 x 8001 pixels.*Take a lower resol"),
    "larger png": (lambda: png_of_size(10_000, 12_000), r"page 1 is too large .*Scan it at 300 dpi"),
    "long png": (
        lambda: png_of_size(65_536, 100),
        r"page 1 is too large: 65536 x 100 pixels.*side of more than 65,535",
    ),
    "animated gif": (lambda: animated("GIF"), r"is no file that can be read\. Give a PDF, PNG, JPEG or TIFF"),
    "bomb": (lambda: png_of_size(60_000, 60_000), r"page 1 is too large .*300 dpi"),
}


@pytest.mark.parametrize("case", USELESS)
def test_a_useless_file_is_said_to_be_so(tmp_path: Path, case: str) -> None:
    content, says = USELESS[case]
    path = tmp_path / "the file"
    path.write_bytes(content())
    with pytest.raises(UsageError, match=says) as caught:
        list(pages(path))
    assert str(path) in str(caught.value)


def test_pages_before_the_damaged_one_are_given(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(damaged_tiff())
    found = pages(tmp_path / "scan.tif")
    assert read(next(found)) == [PAYLOAD]
    with pytest.raises(UsageError, match="page 2"):
        next(found)


@pytest.mark.parametrize(("name", "says"), [("none.pdf", "No such file"), (".", "Is a directory")])
def test_a_path_that_is_no_file_is_said_at_once(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be read: {says}"):
        pages(tmp_path / name)  # before the first page is asked for


def test_an_encrypted_pdf_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "secret.pdf", encrypt=StandardEncryption("open sesame", strength=128))
    with pytest.raises(UsageError, match=r"secret\.pdf is encrypted\. Save it without a password"):
        list(pages(path))


def test_a_pdf_with_a_page_that_is_none_names_the_page(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "two.pdf", count=2, pageCompression=0)
    data = path.read_bytes()
    second = data.index(b"/Type /Page\n", data.index(b"/Type /Page\n") + 1)
    path.write_bytes(data[:second] + b"/Type /Nope\n" + data[second + 12 :])
    found = pages(path)
    next(found)
    with pytest.raises(UsageError, match=r"two\.pdf, page 2 is damaged"):
        next(found)


def test_a_huge_pdf_page_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "poster.pdf"
    document = pypdfium2.PdfDocument.new()
    document.new_page(14_400, 14_400)
    document.save(path)
    document.close()
    with pytest.raises(UsageError, match=r"poster\.pdf, page 1 is too large: 60000 x 60000 pixels.*lower resolution"):
        list(pages(path))
    (page,) = pages(path, 36)
    assert page.size == (7200, 7200)


@pytest.mark.parametrize("dpi", [0, -300, 35, 1201])
def test_a_useless_resolution_is_refused(tmp_path: Path, dpi: int) -> None:
    with pytest.raises(UsageError, match=f"{dpi} dpi is no useful resolution. Give 36 to 1200"):
        pages(tmp_path / "any.pdf", dpi)


def test_importing_the_module_loads_no_library() -> None:
    program = "import sys, pes_sim.preview.image; print([n for n in ('PIL', 'pypdfium2') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
