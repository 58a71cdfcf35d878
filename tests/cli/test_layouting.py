"""`pes-sim layout`, and layouts of every kind from a new meter to the verdict."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pypdfium2
import pytest

import pes_sim
from pes_sim.indicium import layout as layouts
from pes_sim.indicium import symbol
from pes_sim.indicium.api import SECRETS_FILE
from pes_sim.indicium.layout import BUILT_IN, builtin
from pes_sim.preview import image
from pes_sim.virtual import VirtualMeter, connect
from tests.cli.conftest import Cli, Result

FILES = Path(layouts.__file__).parent / "layouts"
VENDOR = Path(__file__).parents[1] / "vectors" / "vendor_layout.toml"
TRACKING = "9400100000000000000001"


def changed(path: Path, *changes: tuple[str, str]) -> Path:
    text = (FILES / "imi_std.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


def complaints(result: Result, path: Path) -> list[tuple[str, str]]:
    """What a check says of a file: the line it points at, as it stands there, and the text."""
    lines, found = path.read_text().splitlines(), []
    for said in result.out.splitlines():
        if said.startswith(f"{path}, line "):
            number, _, text = said.removeprefix(f"{path}, line ").partition(": ")
            found.append((lines[int(number) - 1], text))
    return found


def test_the_built_in_layouts_are_listed_with_what_they_are(cli: Cli) -> None:
    result = cli("layout", "list")
    assert (result.code, result.err) == (0, "")
    rows = [line.split() for line in result.out.splitlines()]
    assert [row[0] for row in rows if row and row[0] in BUILT_IN] == list(BUILT_IN)
    assert ["imi_max", "125", "44x44", "ecdsa-p256-sha256", "yes"] in [row[:5] for row in rows]
    assert ["withdrawal", "102", "40x40", "ecdsa-p256-sha256", "no"] in [row[:5] for row in rows]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_layout_is_shown_as_a_table_and_as_a_picture(cli: Cli, tmp_path: Path, name: str) -> None:
    result = cli("layout", "show", name, "--svg", tmp_path / "map.svg")
    assert (result.code, result.err) == (0, "")
    assert builtin(name).title in result.out
    assert all(field.name in result.out for field in builtin(name).fields)
    assert f"The picture is in {tmp_path / 'map.svg'}" in result.out
    assert ElementTree.parse(tmp_path / "map.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_layout_is_shown_as_json_too(cli: Cli, tmp_path: Path) -> None:
    result = cli("layout", "show", VENDOR, "--json", "--svg", tmp_path / "map.svg")
    document = json.loads(result.out)
    assert (document["name"], document["length"], document["versions"]) == ("acme_1", 96, [150, 151])
    assert document["fields"][3]["meaning"] == "The vendor's mark; always acce55"
    assert (tmp_path / "map.svg").exists()
    assert json.loads(cli("layout", "show", "withdrawal", "--json").out)["versions"] == []


def test_a_picture_does_not_take_the_layouts_own_place(cli: Cli, tmp_path: Path) -> None:
    path = changed(tmp_path / "mine.toml")
    text = path.read_text()
    result = cli("layout", "show", path, "--svg", tmp_path / "." / "mine.toml")
    assert (result.code, result.complaint()[0]) == (2, f"pes-sim: {path} is read here, and would be replaced")
    assert path.read_text() == text


def test_an_unknown_layout_is_answered_with_the_known_ones(cli: Cli) -> None:
    result = cli("layout", "show", "imi")
    assert result.code == 2
    assert "Known: imi_min, imi_std, imi_max" in result.complaint()[1]


def test_a_good_file_is_good(cli: Cli) -> None:
    result = cli("layout", "check", VENDOR, *(FILES / f"{name}.toml" for name in BUILT_IN))
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{VENDOR}: good. ACME indicium 1 (made up): 96 bytes, 48x48 Data Matrix")
    assert result.out.count(": good. ") == 8
    assert result.out.count("A meter cannot print by it, but it can be read") == 3


def test_every_mistake_is_told_by_its_line_all_at_once(cli: Cli, tmp_path: Path) -> None:
    path = changed(
        tmp_path / "mine.toml",
        ('symbol = "44x44"', 'symbol = "45x45"'),
        ("versions = [202, 202]", "versions = [80, 80]\ncolour = 1"),
        ("length = 64", "length = 63"),
        ("offset = 9\n", "offset = 10\n"),
        ('unit = "mills"', 'units = "mills"'),
        ('coding = "date-le"', "coding = 7"),
        ('coding = "zip5-le"', 'coding = "bcd"'),
        ('name = "weight"', 'name = "mail_class"'),
        ("length = 5\ncoding", "length = 50\ncoding"),
    )
    result = cli("layout", "check", path)
    assert (result.code, result.err) == (1, "")
    found = complaints(result, path)
    assert [line for line, _ in found] == [
        'symbol = "45x45"', "versions = [80, 80]", "colour = 1", "length = 63", "offset = 10", "length = 50",
        'units = "mills"', "coding = 7", 'coding = "bcd"', 'name = "mail_class"',
    ]  # fmt: skip
    said = " ".join(text for _, text in found)
    for part in ("unknown symbol '45x45'", "version 80 does not go with", "unknown key colour", "has 64 bytes, not 63",
                 "a gap of 1 byte", "unknown key units", "coding must be a text", "unknown coding 'bcd'",
                 "two fields have one name: mail_class", "50 bytes; uint-le takes 1 to 8"):  # fmt: skip
        assert part in said
    assert result.out.splitlines()[-1] == f"{path}: 10 mistakes"


def test_a_layout_that_is_too_long_for_its_symbol_is_told_at_the_symbols_line(cli: Cli, tmp_path: Path) -> None:
    path = changed(tmp_path / "mine.toml", ('symbol = "44x44"', 'symbol = "36x36"'))
    result = cli("layout", "check", path)
    assert complaints(result, path) == [
        ('symbol = "36x36"', "114 bytes do not fit a 36x36 symbol, which holds 84. The smallest that fits is 44x44")
    ]
    assert result.out.splitlines()[-1] == f"{path}: 1 mistake"


def test_text_that_is_no_toml_is_told_by_its_line(cli: Cli, tmp_path: Path) -> None:
    path = changed(tmp_path / "mine.toml", ("[signature]", "[signature"))
    result = cli("layout", "check", path)
    ((line, said),) = complaints(result, path)
    assert (result.code, line) == (1, "[signature")
    assert "not a TOML file" in said


def test_mistakes_as_json(cli: Cli, tmp_path: Path) -> None:
    path = changed(tmp_path / "mine.toml", ("length = 64", "length = 63"))
    result = cli("layout", "check", path, VENDOR, FILES / "ibi.toml", "--json")
    assert result.code == 1
    bad, good, read_only = json.loads(result.out)
    assert (bad["good"], bad["printable"], len(bad["mistakes"])) == (False, False, 1)
    assert path.read_text().splitlines()[bad["mistakes"][0]["line"] - 1] == "length = 63"
    assert (good["good"], good["printable"], good["mistakes"]) == (True, True, [])
    assert (read_only["good"], read_only["printable"]) == (True, False)


def test_a_file_that_is_not_there_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    result = cli("layout", "check", tmp_path / "none.toml")
    assert (result.code, "cannot be read" in result.complaint()[0]) == (2, True)


def test_a_file_that_is_not_there_does_not_hide_the_mistakes_of_the_others(cli: Cli, tmp_path: Path) -> None:
    path = changed(tmp_path / "mine.toml", ("length = 64", "length = 63"))
    result = cli("layout", "check", tmp_path / "none.toml", path, tmp_path, VENDOR)
    assert (result.code, len(complaints(result, path))) == (2, 1)
    assert f"{VENDOR}: good. " in result.out
    assert result.err.splitlines() == [
        f"pes-sim: {tmp_path / 'none.toml'}: cannot be read: No such file or directory",
        f"pes-sim: {tmp_path}: cannot be read: Is a directory",
    ]
    document = json.loads(cli("layout", "check", tmp_path / "none.toml", path, "--json").out)
    assert [row["file"] for row in document] == [str(path)]


@pytest.mark.parametrize("name", ["psd_serial", "certificate_serial", "software_id"])
def test_a_meter_is_not_made_by_a_layout_without_room_for_its_numbers(cli: Cli, tmp_path: Path, name: str) -> None:
    head, tail = (FILES / "imi_std.toml").read_text().split(f'name = "{name}"')
    offset = int(tail.split("offset = ")[1].split("\n")[0])
    small = tail.replace("length = 4", "length = 1", 1)
    rest = {"name": "filler", "offset": offset + 1, "length": 3, "coding": "bytes", "meaning": "Nothing",
            "basis": "assumed", "constant": "000000"}  # fmt: skip
    field, fence, more = small.partition("\n[[")
    filler = "".join(f"{key} = {json.dumps(value)}\n" for key, value in rest.items())
    (tmp_path / "x.toml").write_text(f'{head}name = "{name}"{field}\n[[field]]\n{filler}{fence}{more}')
    checked = cli("layout", "check", tmp_path / "x.toml")
    assert (checked.code, f"A meter cannot print by it, but it can be read: {name} must be" in checked.out) == (0, True)
    made = cli("meter", "new", tmp_path / "m", "--layout", tmp_path / "x.toml")
    assert (made.code, made.complaint()[0].startswith(f"pes-sim: {name} must be a whole number from 0 to 255")) == (
        2, True
    )  # fmt: skip
    assert not (tmp_path / "m").exists()


# From a new meter to the verdict


def made(cli: Cli, folder: Path, layout: object, *rows: str) -> tuple[Path, Path]:
    """A meter by the layout, and the PDF of a job."""
    meter, pdf = folder / "m1", folder / "o.pdf"
    new = cli("meter", "new", meter, "--layout", layout, "--refill", "100", "--clock", "virtual")
    assert (new.code, new.err) == (0, "")
    lines = ["date,department,mail_class,weight_oz,destination,tracking_number,extra_services", *rows, ""]
    (folder / "j.csv").write_text("\n".join(lines))
    printed = cli("print", "--meter", meter, "--job", folder / "j.csv", "--out", pdf)
    assert (printed.code, printed.err) == (0, "")
    return meter, pdf


def verdicts(cli: Cli, *arguments: object) -> list[str]:
    result = cli("verify", *arguments, "--json")
    return [indicium["verdict"] for indicium in json.loads(result.out)["indicia"]]


def page_text(pdf: Path, number: int = 0) -> str:
    with pypdfium2.PdfDocument(pdf) as document:
        return " ".join(str(document[number].get_textpage().get_text_range()).split())


def test_imi_min_from_a_new_meter_to_the_verdict(cli: Cli, tmp_path: Path) -> None:
    meter, pdf = made(cli, tmp_path, "imi_min", "today,100,first_class_letter,1,10001-1234,,")
    keys = meter / "provider" / SECRETS_FILE
    assert keys.stat().st_mode & 0o077 == 0
    assert verdicts(cli, pdf, "--mac-keys", keys) == ["valid"]
    without = cli("verify", pdf, "--ca", meter / "ca.pem", "--psd", meter / "psd.pem")
    assert without.code == 1
    assert "no_key" in without.out
    assert "cannot be checked without the key" in without.out
    assert f"Give --mac-keys FILE; a meter's provider keeps it: provider/{SECRETS_FILE}" in without.out
    (payload,) = symbol.read(next(image.pages(pdf, 300)), "zxing")
    assert len(payload) == 49
    assert keys.read_text().split()[-1] not in without.out + page_text(pdf)
    with VirtualMeter(meter) as opened:
        assert opened.info()["layout"] == "imi_min"
        again = opened.print_piece(department="100")
        assert pes_sim.verify(again.indicium, mac_keys=keys).verdict == "valid"


def test_a_clone_of_a_meter_of_macs_has_its_providers_keys_as_well(cli: Cli, tmp_path: Path) -> None:
    meter, pdf = made(cli, tmp_path, "imi_min", "today,100,first_class_letter,1,10001-1234,,")
    assert cli("meter", "snapshot", meter, tmp_path / "m1.snapshot").code == 0
    assert cli("meter", "clone", tmp_path / "m1.snapshot", tmp_path / "m2").code == 0
    assert verdicts(cli, pdf, "--mac-keys", tmp_path / "m2" / "provider" / SECRETS_FILE) == ["valid"]


def test_a_certificate_can_be_told_to_be_revoked(cli: Cli, tmp_path: Path) -> None:
    meter, pdf = made(cli, tmp_path, "imi_std", "today,100,first_class_letter,1,10001-1234,,")
    trust = ("--ca", meter / "ca.pem", "--psd", meter / "psd.pem")
    (payload,) = symbol.read(next(image.pages(pdf, 300)), "zxing")
    number = builtin("imi_std").unpack(payload).values["certificate_serial"]
    assert verdicts(cli, pdf, *trust, "--revoked", number) == ["revoked_certificate"]
    assert verdicts(cli, pdf, *trust, "--revoked", int(str(number)) + 1) == ["valid"]


def test_imi_max_from_a_new_meter_to_the_verdict(cli: Cli, tmp_path: Path) -> None:
    row = f"today,100,first_class_letter,1,10001-1234,{TRACKING},certified_mail+return_receipt"
    meter, pdf = made(cli, tmp_path, "imi_max", row, "today,100,first_class_letter,1,10001-1234,,")
    assert verdicts(cli, pdf, "--ca", meter / "ca.pem", "--psd", meter / "psd.pem") == ["valid", "valid"]
    (payload,) = symbol.read(next(image.pages(pdf, 300)), "zxing")
    decoded: dict[str, Any] = json.loads(cli("decode", payload.hex(), "--json").out)
    values = {field["name"]: field["value"] for field in decoded["fields"]}
    assert (decoded["length"], values["tracking_number"]) == (125, TRACKING)
    assert values["extra_services"] == "certified_mail+return_receipt"
    assert TRACKING in page_text(pdf)
    assert "CERTIFIED MAIL, RETURN RECEIPT" in page_text(pdf)
    assert "CERTIFIED" not in page_text(pdf, 1)


@pytest.mark.parametrize(
    ("layout", "cells", "complaint"),
    [
        ("imi_std", f"{TRACKING},", "no place in an indicium of layout imi_std. Allowed: empty"),
        ("imi_std", ",certified_mail", "no place in an indicium of layout imi_std. Allowed: empty"),
        ("imi_max", "123,", "cannot be taken. Allowed: text of 20 or 22 digits, or empty"),
        ("imi_max", ",balloon", "Allowed: names out of certified_mail, certified_restricted"),
    ],
)
def test_what_the_meters_layout_cannot_carry_is_told_before_anything_is_paid(
    cli: Cli, tmp_path: Path, layout: str, cells: str, complaint: str
) -> None:
    meter, _ = made(cli, tmp_path, layout, "today,100,first_class_letter,1,10001-1234,,")
    (tmp_path / "bad.csv").write_text(
        "date,department,mail_class,weight_oz,destination,tracking_number,extra_services\n"
        f"today,100,first_class_letter,1,10001,{cells}\n"
    )
    result = cli("print", "--meter", meter, "--job", tmp_path / "bad.csv", "--out", tmp_path / "bad.pdf")
    assert (result.code, complaint in result.err) == (2, True)
    with VirtualMeter(meter) as opened:
        assert opened.registers().piece_count == 1


def test_a_vendors_own_file_works_everywhere_a_built_in_does(cli: Cli, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(VENDOR.read_text())
    meter, pdf = made(cli, tmp_path, mine, "today,100,first_class_letter,2,10001-1234,,")
    trust = ("--ca", meter / "ca.pem", "--psd", meter / "psd.pem")
    assert verdicts(cli, pdf, *trust, "--layout", mine) == ["valid"]
    unknown = cli("verify", pdf, *trust)
    assert "unknown indicia version 150" in unknown.out
    assert "Give --layout FILE.toml" in unknown.out

    (payload,) = symbol.read(next(image.pages(pdf, 300)), "zxing")
    assert len(payload) == 96
    assert payload[0] == 150
    assert payload[5:12].hex() == (1030).to_bytes(4, "big").hex() + "acce55"
    assert payload[38:40] == b"99"
    decoded = json.loads(cli("decode", payload.hex(), "--layout", mine, "--json").out)
    values = {field["name"]: field["value"] for field in decoded["fields"]}
    assert (values["postage_mills"], values["destination"], values["weight"]) == (1030, "100011234", 200)
    assert "ACME indicium 1 (made up): 96 bytes" in cli("decode", payload.hex(), "--layout", mine).out
    text = page_text(pdf)
    assert all(part in text for part in ("ACME METERS", "SPECIMEN", "$1.03", "No. 1 of 99S1"))
    assert "US POSTAGE" not in text

    with VirtualMeter(meter) as opened, connect(opened.serve_pty()) as port:
        piece = port.print_piece(department="100", destination="94105280212", request_id=b"i" * 16)
        assert port.print_piece(department="100", destination="94105280212", request_id=b"i" * 16) == piece
        assert port.info()["curve"] == "P-224"
        assert pes_sim.decode(piece.indicium, str(mine)).values["destination"] == "94105280212"
        good = pes_sim.verify(piece.indicium, ca=meter / "ca.pem", psd=meter / "psd.pem", layout=str(mine))
        assert good.verdict == "valid"
        assert port.registers().piece_count == 2


def test_a_meter_whose_database_is_lost_reads_the_pieces_of_any_layout_from_the_log(cli: Cli, tmp_path: Path) -> None:
    meter, _ = made(cli, tmp_path, VENDOR, "today,100,first_class_letter,2,10001-1234,,")
    for path in meter.glob("meter.sqlite*"):
        path.unlink()
    with VirtualMeter(meter) as opened:
        (department,) = opened.departments()
        assert (department.pieces, department.postage_mills) == (1, 1030)


def test_of_a_tracked_piece_another_tracking_number_is_another_request(cli: Cli, tmp_path: Path) -> None:
    meter, _ = made(cli, tmp_path, "imi_max", "today,100,first_class_letter,1,10001-1234,,")
    request = b"r" * 16
    with VirtualMeter(meter) as opened:
        first = opened.print_piece(department="100", tracking_number=TRACKING, request_id=request)
        assert opened.print_piece(department="100", tracking_number=TRACKING, request_id=request) == first
        for other in ("", TRACKING[:-1] + "2"):
            with pytest.raises(pes_sim.PesError, match="this request id printed another piece"):
                opened.print_piece(department="100", tracking_number=other, request_id=request)
        assert opened.registers().piece_count == 2


@pytest.mark.parametrize("provider", ["07", "01", "98"])
def test_no_file_of_a_users_own_makes_another_providers_indicia(cli: Cli, tmp_path: Path, provider: str) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        VENDOR.read_text().replace('meaning = "Provider"', f'meaning = "Provider"\nconstant = "{provider}"')
    )
    result = cli("meter", "new", tmp_path / "m1", "--layout", mine)
    assert result.code == 2
    assert "field provider_id is not the same on every piece" in result.complaint()[0]
    mine.write_text(VENDOR.read_text().replace('name = "provider_id"', 'name = "maker"\nconstant = "99"'))
    assert "needs the field provider_id" in cli("layout", "check", mine).out
    assert not (tmp_path / "m1").exists()


def test_a_picture_of_a_layout_replaces_no_pipe_and_not_the_layout(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "map.svg")
    assert "no regular file" in cli("layout", "show", VENDOR, "--svg", tmp_path / "map.svg").complaint()[0]
    own = tmp_path / "own.toml"
    own.write_bytes(VENDOR.read_bytes())
    assert "is read here" in cli("layout", "show", own, "--svg", own).complaint()[0]
    assert own.read_bytes() == VENDOR.read_bytes()
