"""Pages that a user chooses: which, in which form, with which slogan or logo."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Cli, job, letters
from tests.preview.made import PAYLOADS, PIECE, text_of, write

PAYLOAD = PAYLOADS["imi_std"].hex()


def png(path: Path, size: tuple[int, int] = (200, 100), mode: str = "RGB", **more: object) -> Path:
    Image.new(mode, size).save(path, "PNG", **more)
    return path


def by_hand(path: Path, width: int, height: int, data: bytes = b"") -> Path:
    """A PNG file that says it is so large, whatever follows."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


def preview(cli: Cli, folder: Path, *words: object) -> list[str]:
    """The complaint that a preview with these options leaves."""
    complaint = cli("preview", PAYLOAD, "--out", folder / "out.pdf", *words).complaint()
    assert not (folder / "out.pdf").exists()
    return complaint


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "P", "LA"])
def test_a_logo_of_any_png_is_drawn(cli: Cli, tmp_path: Path, mode: str) -> None:
    logo = png(tmp_path / "logo.png", mode=mode)
    assert cli("preview", PAYLOAD, "--logo", logo, "--out", tmp_path / "a.pdf").code == 0
    assert b"/Subtype/Image" in (tmp_path / "a.pdf").read_bytes()


def test_a_slogan_is_drawn(cli: Cli, tmp_path: Path) -> None:
    assert cli("preview", PAYLOAD, "--slogan", "Ask for our|CATALOGUE", "--out", tmp_path / "a.pdf").code == 0
    assert "Ask for our CATALOGUE" in text_of(tmp_path / "a.pdf")


def test_a_logo_is_as_large_as_its_file_or_the_user_says(cli: Cli, tmp_path: Path) -> None:
    wide = (850, 100)
    finer = png(tmp_path / "a.png", wide, dpi=(200, 200))
    assert "4.25 x 0.50 in would enter the clear zone" in preview(cli, tmp_path, "--logo", finer)[0]
    assert "2.83 x 0.33 in" in preview(cli, tmp_path, "--logo", png(tmp_path / "b.png", wide))[0]
    fax = png(tmp_path / "f.png", wide, dpi=(200, 100))
    assert "4.25 x 1.00 in would enter the clear zone" in preview(cli, tmp_path, "--logo", fax)[0]
    odd = png(tmp_path / "c.png", wide, dpi=(1, 1))  # no resolution that a logo has
    assert cli("preview", PAYLOAD, "--logo", odd, "--logo-dpi", 600, "--out", tmp_path / "x.pdf").code == 0
    assert "9000 dpi is no useful resolution" in preview(cli, tmp_path, "--logo", odd, "--logo-dpi", 9000)[0]


@pytest.mark.parametrize("numbered", [False, True])
def test_no_file_that_is_read_is_replaced(cli: Cli, tmp_path: Path, numbered: bool) -> None:
    logo = png(tmp_path / ("a-1.png" if numbered else "a.png"))
    before = logo.read_bytes()
    complaint = cli("preview", PAYLOAD, "--logo", logo, "--out", tmp_path / "a.png").complaint()
    assert complaint == [f"pes-sim: {logo} is read here, and would be replaced", "  Give another name with --out"]
    assert logo.read_bytes() == before
    (tmp_path / "p.jsonl").write_text(f'{{"payload_hex": "{PAYLOAD}"}}\n')
    words = ("preview", tmp_path / "p.jsonl", "--format", "pdf", "--out", tmp_path / "p.jsonl")
    assert "is read here" in cli(*words).complaint()[0]
    (tmp_path / "mine.toml").touch()
    mine = ("--layout", tmp_path / "mine.toml", "--format", "pdf", "--out", tmp_path / "mine.toml")
    assert "is read here" in cli("preview", PAYLOAD, *mine).complaint()[0]
    (tmp_path / "p.png").write_bytes(bytes.fromhex(PAYLOAD))
    assert "is read here" in cli("symbol", tmp_path / "p.png", "--out", tmp_path / "p.png").complaint()[0]


@pytest.mark.parametrize("name", ["meter.json", "ca.pem", "psd/master.key"])
def test_no_file_of_a_meter_is_replaced(cli: Cli, meter: Path, tmp_path: Path, name: str) -> None:
    before = (meter / name).read_bytes()
    rows = job(tmp_path / "j.csv", *letters(1))
    for words in (("preview",), ("print", "--meter", meter, "--job", rows)):
        complaint = cli(*words, "--format", "pdf", "--out", meter / name).complaint()
        assert complaint[0] == f"pes-sim: {meter / name} is a meter's own file, and would be replaced"
    assert (meter / name).read_bytes() == before
    assert cli("preview", "--out", meter / "a.pdf").code == 0
    assert cli("preview", "--out", meter / "a.pdf").code == 0


@pytest.mark.parametrize("name", ["meter.json", "psd/master.key", "provider/provider.sqlite"])
def test_nor_is_one_from_within_its_directory(
    cli: Cli, meter: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir((meter / name).parent)
    before = (meter / name).read_bytes()
    complaint = cli("preview", "--format", "pdf", "--out", Path(name).name).complaint()
    assert complaint[0] == f"pes-sim: {Path(name).name} is a meter's own file, and would be replaced"
    assert (meter / name).read_bytes() == before


def test_a_slogan_and_a_logo_have_one_place(cli: Cli, tmp_path: Path) -> None:
    logo = png(tmp_path / "logo.png")
    assert "have the same place" in preview(cli, tmp_path, "--logo", logo, "--slogan", "Hello")[0]


def test_a_logo_with_an_indicium_in_it_is_refused(cli: Cli, tmp_path: Path) -> None:
    """Or a real indicium would come onto a page as a picture."""
    write(tmp_path / "a.pdf", PIECE)
    assert cli("symbol", PAYLOAD, "--out", tmp_path / "symbol.png").code == 0
    complaint = preview(cli, tmp_path, "--logo", tmp_path / "symbol.png", "--logo-dpi", 1200)
    assert "has a Data Matrix symbol in it" in complaint[0]


def test_also_one_that_only_colours_show(cli: Cli, tmp_path: Path) -> None:
    assert cli("symbol", PAYLOAD, "--out", tmp_path / "symbol.png").code == 0
    with Image.open(tmp_path / "symbol.png") as drawn:
        dark = drawn.convert("L").point(lambda value: 255 - value)
    coloured = Image.new("RGB", dark.size, (0, 130, 0))
    coloured.paste((255, 0, 0), mask=dark)  # the same grey as its background
    coloured.save(tmp_path / "coloured.png")
    complaint = preview(cli, tmp_path, "--logo", tmp_path / "coloured.png", "--logo-dpi", 1200)
    assert "has a Data Matrix symbol in it" in complaint[0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.png", "cannot be read: No such file"),
        ("folder.png", "cannot be read: Is a directory"),
        ("text.png", "is no PNG file"),
        ("empty.png", "is no PNG file"),
        ("photo.png", "is no PNG file"),  # a JPEG
        ("zero.png", "PNG file"),
        ("cut.png", "logo|damaged|cannot be read"),
        ("broken.png", "is a damaged PNG file"),
        ("large.png", "too many for a logo"),
        ("bomb.png", "too large for a logo"),
    ],
)
def test_what_is_no_logo_is_refused(cli: Cli, tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    Image.new("RGB", (10, 10)).save(tmp_path / "photo.png", "JPEG")
    by_hand(tmp_path / "zero.png", 0, 0)
    by_hand(tmp_path / "cut.png", 100, 100, zlib.compress(bytes(50)))
    whole = by_hand(tmp_path / "broken.png", 100, 100, zlib.compress(bytes(50))).read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[:-12] + bytes(40))  # what follows the pixels is no chunk
    by_hand(tmp_path / "large.png", 5000, 5000)
    by_hand(tmp_path / "bomb.png", 60_000, 60_000)
    complaint = preview(cli, tmp_path, "--logo", tmp_path / name)
    assert name in complaint[0]
    assert re.search(says, complaint[0])
