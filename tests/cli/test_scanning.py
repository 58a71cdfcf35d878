"""`pes-sim scan`: simulated scans in files, which `pes-sim verify` reads again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pes_sim.cli import main
from pes_sim.preview import block, image, stationery
from pes_sim.virtual import VirtualMeter
from tests.cli.conftest import Cli, job, letters
from tests.meter.made import copy_of_a_meter

BOX, HEIGHT = block.symbol_box(44), stationery.USUAL.height
PLACE = [points / 72 * 25.4 for points in (BOX.left, HEIGHT - BOX.top, BOX.right, HEIGHT - BOX.bottom)]
"""Where the symbol is printed: millimetres from the left and from the top."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a PDF of two pieces, and the certificates beside it."""
    folder = tmp_path_factory.mktemp("scanned")
    meter = copy_of_a_meter(folder / "m1")
    rows = job(folder / "j.csv", *letters(2))
    assert main(["print", "--meter", str(meter), "--job", str(rows), "--out", str(folder / "o.pdf")]) == 0
    for name in ("ca.pem", "psd.pem"):
        shutil.copy(meter / name, folder)
    return folder


def payloads(folder: Path) -> list[str]:
    with VirtualMeter(folder / "m1") as opened:
        return [entry["indicium"].hex() for entry in opened.log()]


def scanned(cli: Cli, folder: Path, out: Path, *options: object) -> list[Path]:
    result = cli("scan", folder / "o.pdf", "--out", out, *options)
    assert (result.code, result.err) == (0, "")
    for name in ("ca.pem", "psd.pem"):
        shutil.copy(folder / name, out)
    return sorted(out.glob("*.png"))


@pytest.mark.parametrize("dpi", [200, 300, 600])
def test_what_was_scanned_is_valid_and_in_its_place(cli: Cli, made: Path, tmp_path: Path, dpi: int) -> None:
    files = scanned(cli, made, tmp_path / "s", "--dpi", dpi, "--damage", "noise=3", "--damage", "blur=0.05")
    assert [file.name for file in files] == ["o-001.png", "o-002.png"]
    result = cli("verify", *files, "--json")
    assert result.code == 0
    found = json.loads(result.out)["indicia"]
    assert [indicium["payload_hex"] for indicium in found] == payloads(made)
    for indicium in found:
        assert indicium["place"].keys() == {"box_mm", "box_pixels", "rotation_degrees", "read"}
        assert indicium["place"]["box_mm"] == pytest.approx(PLACE, abs=0.2)
        assert indicium["place"]["box_pixels"] == pytest.approx(
            [side / 25.4 * dpi for side in indicium["place"]["box_mm"]], abs=2
        )


def test_it_says_what_was_done_and_to_which_file(cli: Cli, made: Path, tmp_path: Path) -> None:
    result = cli("scan", made / "o.pdf", "--out", tmp_path, "--damage", "skew=90", "--dpi", 100)
    assert result.out.splitlines() == [
        f"{tmp_path}/o-001.png: 412 x 961 pixels at 100 dpi, skew=90",
        f"{tmp_path}/o-002.png: 412 x 961 pixels at 100 dpi, skew=90",
        "  Specimens: no valid postage. Destroy what is printed of them on the same day (39 CFR 501.9)",
    ]


def test_without_damage_it_is_a_good_scan(cli: Cli, made: Path, tmp_path: Path) -> None:
    assert "300 dpi, no damage" in cli("scan", made / "o.pdf", "--out", tmp_path).out


def test_the_same_seed_writes_the_same_bytes(cli: Cli, made: Path, tmp_path: Path) -> None:
    options = ("--realistic", "--dpi", 150, "--seed")
    first, again, other = (
        [file.read_bytes() for file in scanned(cli, made, tmp_path / name, *options, seed)]
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert first == again != other


def test_realistic_scans_are_valid(cli: Cli, made: Path, tmp_path: Path) -> None:
    assert cli("verify", *scanned(cli, made, tmp_path / "s", "--realistic")).code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--damage", "fire=1"), "there is no damage 'fire'"),
        (("--damage", "blur=99"), "'blur=99' is no strength of blur"),
        (("--dpi", 50), "50 dpi is no resolution of a scanner"),
        (("--realistic", "--damage", "blur=0.1"), "--realistic draws its own damages"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(
    cli: Cli, made: Path, tmp_path: Path, options: tuple[object, ...], says: str
) -> None:
    result = cli("scan", made / "o.pdf", "--out", tmp_path / "s", *options)
    assert result.code == 2
    assert says in result.complaint()[0]
    assert not list(tmp_path.glob("s/*"))


def test_a_file_that_is_no_page_and_a_place_that_is_no_directory_are_told(cli: Cli, made: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Dear Sir or Madam")
    assert "text is no file that can be read" in cli("scan", tmp_path / "text", "--out", tmp_path).complaint()[0]
    assert "cannot be made: File exists" in cli("scan", made / "o.pdf", "--out", tmp_path / "text").complaint()[0]


# --- pages of several, and grades ------------------------------------------------------------------------------------


@pytest.fixture
def both(made: Path, tmp_path: Path) -> Path:
    """Both pieces on one sheet, and the certificates beside it."""
    first, second = image.pages(made / "o.pdf", 200)
    sheet = Image.new("L", (first.width, 2 * first.height), 255)
    sheet.paste(first, (0, 0))
    sheet.paste(second.rotate(180), (0, first.height))
    sheet.save(tmp_path / "sheet.png")
    for name in ("ca.pem", "psd.pem"):
        shutil.copy(made / name, tmp_path)
    return tmp_path / "sheet.png"


def test_a_sheet_of_two_gives_both_each_once(cli: Cli, both: Path, made: Path) -> None:
    result = cli("verify", both, "--json")
    found = json.loads(result.out)["indicia"]
    assert [indicium["payload_hex"] for indicium in found] == payloads(made)
    assert [round(indicium["place"]["rotation_degrees"]) % 360 for indicium in found] == [0, 180]
    assert all(indicium["place"]["box_mm"] is None for indicium in found)  # the file does not say its resolution
    assert result.code == 0


def test_one_that_was_expected_and_is_not_found_is_told(cli: Cli, both: Path) -> None:
    result = cli("verify", both, "--expect", 3)
    assert result.code == 1
    assert result.out.splitlines()[2:] == [
        f"{both} page 1: unreadable: 1 of 3 Data Matrix symbols could not be read "
        "(a higher --dpi or a better scan may help)",
        "2 of 3 valid. Specimens: no valid postage, whatever the verdict.",
    ]
    document = json.loads(cli("verify", both, "--expect", 3, "--json").out)
    assert document["valid"] is False
    assert document["indicia"][2] == {"file": str(both), "page": 1, "verdict": "unreadable", "missing": 1, "checks": []}


def test_nothing_to_expect_is_a_mistake(cli: Cli, both: Path) -> None:
    assert "has nothing to read" in cli("verify", both, "--expect", 0).complaint()[0]


def test_a_grade_is_an_estimate_and_says_so(cli: Cli, both: Path) -> None:
    result = cli("verify", both, "--grade")
    lines = result.out.splitlines()
    assert lines[1] == "  grade A (4): ESTIMATE after ISO/IEC 15415 from a scan, no verification"
    assert [line.split()[0] for line in lines[2:8]] == ["A"] * 6
    assert lines[2] == "    A  symbol contrast 1.00 of white"
    found = json.loads(cli("verify", both, "--grade", "--json").out)["indicia"]
    for indicium in found:
        assert indicium["grade"].keys() == {"estimate", "overall", "letter", "parameters"}
        assert indicium["grade"]["estimate"].startswith("ESTIMATE")
        assert (indicium["grade"]["overall"], indicium["grade"]["letter"]) == (4, "A")
        assert indicium["grade"]["parameters"]["symbol_contrast"] == {"value": 1.0, "unit": "of white", "grade": 4}


def test_without_the_option_there_is_no_grade(cli: Cli, both: Path) -> None:
    assert "grade" not in cli("verify", both).out
    assert "grade" not in json.loads(cli("verify", both, "--json").out)["indicia"][0]


def test_bytes_have_no_place_and_no_grade(cli: Cli, made: Path, tmp_path: Path) -> None:
    (tmp_path / "p.bin").write_bytes(bytes.fromhex(payloads(made)[0]))
    (indicium,) = json.loads(cli("verify", tmp_path / "p.bin", "--grade", "--json").out)["indicia"]
    assert not {"place", "grade"} & indicium.keys()


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.tif"])
def test_a_scan_that_is_cut_off_is_told_with_its_name(cli: Cli, both: Path, tmp_path: Path, name: str) -> None:
    with Image.open(both) as picture:
        picture.save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    complaint = cli("verify", tmp_path / name).complaint()
    assert f"{tmp_path / name}, page 1 is damaged" in complaint[0]
    assert complaint[1] == "  Scan or export it again"
