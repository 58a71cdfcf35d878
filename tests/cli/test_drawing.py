"""`pes-sim symbol`: a payload, or a meter's piece, as a picture; never of a real indicium."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from pes_sim.indicium import symbol
from pes_sim.indicium.layout import builtin
from pes_sim.preview import drawing, image
from pes_sim.virtual import VirtualMeter
from tests.cli.conftest import Cli, job, letters

VECTORS = Path(__file__).parents[1] / "vectors"
GROUPS = json.loads((VECTORS / "indicia" / "indicia.json").read_text())["testGroups"]
PAYLOAD = next(g["tests"][0]["payload"] for g in GROUPS if g["layout"]["name"] == "imi_std")
REAL = [sample["hex"] for sample in json.loads((VECTORS / "ibi_samples.json").read_text())]


@pytest.mark.parametrize("end", ["png", "PNG", "svg", "pdf", "zpl"])
def test_the_files_end_chooses_the_format(cli: Cli, tmp_path: Path, end: str) -> None:
    out = tmp_path / f"piece.{end}"
    result = cli("symbol", PAYLOAD, "--out", out)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"44x44 modules, 114 bytes, 26.4 x 37.4 mm at 300 dpi, in {out}",
        "  A specimen: no valid postage. Destroy what is printed of it on the same day (39 CFR 501.9)",
    ]
    picture = drawing.draw(bytes.fromhex(PAYLOAD), builtin("imi_std"))
    assert out.read_bytes() == drawing.FORMATS[f".{end.lower()}"](picture)


def test_a_picture_is_verified_as_any_scan_is(cli: Cli, meter: Path, tmp_path: Path) -> None:
    cli("print", "--meter", meter, "--job", job(tmp_path / "j.csv", *letters(2)), "--out", tmp_path / "o.pdf")
    with VirtualMeter(meter) as opened:
        before, second = opened.registers(), [entry["indicium"] for entry in opened.log()][1]
    for name in ("two.png", "two.pdf"):
        assert cli("symbol", "--meter", meter, "--piece", 2, "--out", tmp_path / name).code == 0
        assert symbol.read(next(image.pages(tmp_path / name))) == [second]
        trust = ("--ca", meter / "ca.pem", "--psd", meter / "psd.pem")
        assert cli("verify", tmp_path / name, *trust).code == 0
    with VirtualMeter(meter) as opened:
        assert opened.registers() == before
        assert opened.status().reprint_count == 0
    missing = cli("symbol", "--meter", meter, "--piece", 3, "--out", tmp_path / "x.png").complaint()
    assert missing == [f"pes-sim: {meter} has no piece 3", "  Its log has 1 to 2"]


def test_a_meter_that_has_printed_nothing_says_so(cli: Cli, meter: Path, tmp_path: Path) -> None:
    complaint = cli("symbol", "--meter", meter, "--piece", 1, "--out", tmp_path / "x.png").complaint()
    assert complaint[1] == "  It has printed none that its log still has"


def test_resolution_and_dots_are_the_pictures(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "piece.png"
    assert cli("symbol", PAYLOAD, "--out", out, "--dpi", 203, "--dots", 4).code == 0
    with Image.open(out) as picture:
        assert picture.width == (44 + 4 + 4) * 4
        assert round(picture.info["dpi"][0]) == 203
    assert "4.06 dots" in cli("symbol", PAYLOAD, "--out", out, "--dpi", 203).complaint()[0]


def test_a_payload_of_a_layout_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    payload = (bytes([150]) + bytes(37) + b"99" + bytes(56)).hex()
    arguments = ("symbol", payload, "--out", tmp_path / "p.svg")
    assert "unknown indicia version 150" in cli(*arguments).complaint()[0]
    assert cli(*arguments, "--layout", VECTORS / "vendor_layout.toml").out.startswith("48x48 modules, 96 bytes")


@pytest.mark.parametrize("end", ["png", "svg", "pdf", "zpl"])
def test_a_symbol_that_does_not_read_back_is_not_written(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(symbol, "read", lambda image: [b"another one"])
    complaint = cli("symbol", PAYLOAD, "--out", tmp_path / f"p.{end}").complaint()
    assert complaint == ["pes-sim: the picture does not read back as its payload", "  Give more --dots"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dpi", "dots", "needs"), [(300, 2, 0), (600, 3, 400), (2400, 2, 2400), (2400, 16, 0)])
def test_modules_that_a_usual_scan_cannot_read_are_told_of(
    cli: Cli, tmp_path: Path, dpi: int, dots: int, needs: int
) -> None:
    result = cli("symbol", PAYLOAD, "--out", tmp_path / "p.png", "--dpi", dpi, "--dots", dots)
    assert result.code == 0
    assert (f"it takes a scan at {needs} dpi or more" in result.err) == bool(needs)
    assert bool(result.err) == bool(needs)


def test_a_pipe_is_not_replaced_by_a_file(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.png")
    complaint = cli("symbol", PAYLOAD, "--out", tmp_path / "p.png").complaint()
    assert complaint[0] == f"pes-sim: {tmp_path / 'p.png'} cannot be written: it is no regular file"


@pytest.mark.parametrize("payload", REAL)
@pytest.mark.parametrize("end", ["png", "svg", "pdf", "zpl"])
def test_a_real_indicium_is_never_drawn(cli: Cli, tmp_path: Path, payload: str, end: str) -> None:
    assert cli("decode", payload).code == 0
    result = cli("symbol", payload, "--out", tmp_path / f"real.{end}")
    assert result.code == 2
    assert "is not drawn: specimens bear 99 only" in result.complaint()[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [(), (PAYLOAD, "--meter", "m1", "--piece", 1), ("--meter", "m1"), (PAYLOAD, "--piece", 1)]
)
def test_one_indicium_is_asked_for_in_one_way(cli: Cli, tmp_path: Path, words: tuple[object, ...]) -> None:
    complaint = cli("symbol", *words, "--out", tmp_path / "p.png").complaint()
    assert complaint[1] == "  Give a payload (HEX or FILE), or --meter DIR --piece N"


@pytest.mark.parametrize("name", ["piece", "piece.jpg", ".png"])
def test_another_end_is_refused_with_those_there_are(cli: Cli, tmp_path: Path, name: str) -> None:
    complaint = cli("symbol", PAYLOAD, "--out", tmp_path / name).complaint()
    assert complaint[1] == "  It ends in .png, .svg, .pdf, .zpl"
