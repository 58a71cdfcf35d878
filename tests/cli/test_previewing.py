"""`pes-sim preview`: pieces of a meter, of payloads, or made-up ones on any page; never a real indicium, no debit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pes_sim.cli import previewing
from pes_sim.indicium import layout as layouts
from pes_sim.indicium import symbol
from pes_sim.preview import image, imprint
from pes_sim.preview.stationery import KINDS, NAMES
from pes_sim.virtual import VirtualMeter
from tests.cli.conftest import HEADER, Cli, letters
from tests.preview.made import PAYLOADS, REAL, VECTORS, attached, payloads_of, text_of

PAYLOAD = PAYLOADS["imi_std"].hex()
NOTICE = "  Specimens: no valid postage. Destroy what is printed of them on the same day (39 CFR 501.9)"
ADDRESSED = f"{HEADER},recipient,sender"


def printed(cli: Cli, meter: Path, folder: Path, *rows: str) -> list[bytes]:
    """Prints a job; gives the payloads in the meter's log."""
    file = folder / "j.csv"
    file.write_text("\n".join((ADDRESSED, *rows)) + "\n")
    assert cli("print", "--meter", meter, "--job", file, "--out", folder / "printed.pdf").code == 0
    with VirtualMeter(meter) as opened:
        return [entry["indicium"] for entry in opened.log()]


# --- made-up ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", NAMES)
def test_every_kind_of_page_is_drawn_from_made_up_pieces(cli: Cli, tmp_path: Path, page: str) -> None:
    out = tmp_path / "a.pdf"
    result = cli("preview", "--page", page, "--out", out)
    assert (result.code, result.err) == (0, "")
    pieces, pages = {"withdrawal": (1, 1), "proof": (6, 1), "tape-roll": (6, 2)}.get(page, (6, 6))
    said = f"{pieces} piece{'s' * (pieces > 1)} on {pages} page{'s' * (pages > 1)} {page} in {out}"
    assert result.out.splitlines() == [said, NOTICE]
    assert "SPECIMEN — NOT VALID POSTAGE" in text_of(out)
    assert len(attached(out)) == pieces


def test_made_up_pieces_are_of_every_kind_and_always_the_same(cli: Cli, tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        assert cli("preview", "--page", "proof", "--out", tmp_path / name).code == 0
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    kinds = {line["kind"] for line in attached(tmp_path / "a.pdf")}
    assert kinds == {"standard", "date correction", "amount correction", "reprint"}


def test_the_kinds_of_pages_are_listed(cli: Cli) -> None:
    lines = cli("preview", "--list").out.splitlines()
    assert [line.split()[0] for line in lines] == [kind.name for kind in KINDS]
    assert "(9.5 x 4.125 in)" in lines[0]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_pictures_of_several_pages_are_numbered(cli: Cli, tmp_path: Path, form: str) -> None:
    result = cli("preview", "--page", "tape", "--out", tmp_path / f"t.{form}", "--dpi", 200)
    assert f"6 pieces on 6 pages tape in {tmp_path / f't-1.{form}'} to {tmp_path / f't-6.{form}'}" in result.out
    assert len(list(tmp_path.iterdir())) == 6
    if form == "png":
        assert all(symbol.read(next(image.pages(file))) for file in tmp_path.iterdir())


# --- a meter's -------------------------------------------------------------------------------------------------------


def test_a_meters_pieces_are_drawn_with_their_jobs_addresses_and_nothing_is_paid(
    cli: Cli, meter: Path, tmp_path: Path
) -> None:
    row = 'today,100,first_class_letter,1,62701-1234-56,Hello,,"ACME|1 MAIN ST|SPRINGFIELD IL","BROTHERS INC|NEW YORK"'
    payloads = printed(cli, meter, tmp_path, row, "today,200,first_class_letter,1,10001,,,,")
    with VirtualMeter(meter) as opened:
        before = opened.registers()
    result = cli("preview", "--meter", meter, "--out", tmp_path / "a.pdf")
    assert (result.code, result.err) == (0, "")
    assert payloads_of(attached(tmp_path / "a.pdf")) == payloads
    first, second = (text_of(tmp_path / "a.pdf", page=number) for number in (0, 1))
    for part in ("Hello ACME 1 MAIN ST SPRINGFIELD IL 62701-1234", "BROTHERS INC NEW YORK", "Department 100"):
        assert part in first
        assert part in text_of(tmp_path / "printed.pdf")
    assert "ADDRESSEE (SIMULATED) ZIP 10001" in second
    with VirtualMeter(meter) as opened:
        assert opened.registers() == before
    assert cli("verify", tmp_path / "a.pdf", "--ca", meter / "ca.pem", "--psd", meter / "psd.pem").code == 0


def test_one_piece_is_drawn_by_its_piece_count(cli: Cli, meter: Path, tmp_path: Path) -> None:
    _, second = printed(cli, meter, tmp_path, *(f"{row},," for row in letters(2)))
    assert cli("preview", "--meter", meter, "--piece", 2, "--out", tmp_path / "a.pdf").code == 0
    assert payloads_of(attached(tmp_path / "a.pdf")) == [second]
    complaint = cli("preview", "--meter", meter, "--piece", 3, "--out", tmp_path / "b.pdf").complaint()
    assert complaint[0] == f"pes-sim: {meter} has no piece 3"
    assert not (tmp_path / "b.pdf").exists()


def test_a_job_that_cannot_be_read_costs_a_piece_its_address_and_no_more(cli: Cli, meter: Path, tmp_path: Path) -> None:
    printed(cli, meter, tmp_path, "today,100,first_class_letter,1,10001,,,ACME,")
    (kept,) = (meter / "jobs").glob("*.json")
    kept.write_text("[{")
    assert cli("preview", "--meter", meter, "--out", tmp_path / "a.pdf").code == 0
    assert "ADDRESSEE (SIMULATED) ZIP 10001" in text_of(tmp_path / "a.pdf")


def test_a_layout_without_a_piece_count_has_the_logs(cli: Cli, tmp_path: Path) -> None:
    assert cli("meter", "new", tmp_path / "m1", "--layout", "imi_min", "--refill", 10).code == 0
    printed(cli, tmp_path / "m1", tmp_path, "today,100,first_class_letter,1,10001,,,,")
    assert cli("preview", "--meter", tmp_path / "m1", "--out", tmp_path / "a.pdf").code == 0
    assert text_of(tmp_path / "a.pdf").startswith(text_of(tmp_path / "printed.pdf")[:60])
    assert attached(tmp_path / "a.pdf")[0]["layout"] == "imi_min"


@pytest.mark.parametrize("form", ["pdf", "png", "svg"])
def test_the_signed_statement_of_a_withdrawn_meter_is_drawn(cli: Cli, tmp_path: Path, form: str) -> None:
    meter, out = tmp_path / "our m1", tmp_path / f"w.{form}"
    assert cli("meter", "new", meter, "--zip", "20260", "--refill", 10).code == 0
    words = ("preview", "--meter", meter, "--page", "withdrawal", "--out", out)
    assert cli(*words).complaint() == [
        f"pes-sim: {meter} has stated no withdrawal",
        f"  It states one at the end of its service: pes-sim meter withdraw '{meter}'",
    ]
    printed(cli, meter, tmp_path, "today,100,first_class_letter,1,10001,,,,")
    assert cli("meter", "withdraw", meter).code == 0
    assert "is of no piece" in cli(*words, "--piece", 1).complaint()[0]
    assert cli(*words).code == 0
    with VirtualMeter(meter) as opened:
        statement, info = opened.statement(), opened.info()
    if form != "svg":
        assert symbol.read(next(image.pages(out))) == [statement], "who scans it can check the signature"
    if form == "pdf":
        text = text_of(out)
        for part in ("SPECIMEN — NOT VALID POSTAGE", f"PSD 99S1{info['psd_serial']:010d}", "$9.26", "$0.74",
                     "TEST CUSTOMER", "control sum", "What was left, and is paid back",
                     statement[-64:].hex()[:64]):  # fmt: skip
            assert part in text
        assert "Amount of a refill" not in text, "as the same field means in other messages"
        assert payloads_of(attached(out)) == [statement]


# --- somebody's payloads ---------------------------------------------------------------------------------------------


def test_a_payload_is_drawn_from_hex_and_from_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "p.bin").write_bytes(bytes.fromhex(PAYLOAD))
    for source in (PAYLOAD, tmp_path / "p.bin"):
        assert cli("preview", source, "--out", tmp_path / "a.png", "--page", "label").code == 0
        assert symbol.read(next(image.pages(tmp_path / "a.png"))) == [bytes.fromhex(PAYLOAD)]


def test_a_payload_is_drawn_as_what_somebody_says_it_is(cli: Cli, tmp_path: Path) -> None:
    assert cli("preview", PAYLOAD, "--as", "amount-correction", "--out", tmp_path / "a.pdf").code == 0
    text = text_of(tmp_path / "a.pdf")
    assert "ADDITIONAL POSTAGE" in text
    assert "Non-address side" in text


def test_the_attachment_of_a_pdf_is_drawn_again(cli: Cli, tmp_path: Path) -> None:
    assert cli("preview", "--out", tmp_path / "a.pdf").code == 0
    lines = attached(tmp_path / "a.pdf")
    (tmp_path / "p.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    assert cli("preview", tmp_path / "p.jsonl", "--page", "tape-roll", "--out", tmp_path / "b.pdf").code == 0
    again = attached(tmp_path / "b.pdf")
    assert [(line["kind"], line["payload_hex"]) for line in again] == [
        (line["kind"], line["payload_hex"]) for line in lines
    ]


@pytest.mark.parametrize("layout", ["imi_std", "imi_min"])
def test_what_was_printed_is_drawn_again_dot_for_dot(cli: Cli, tmp_path: Path, layout: str) -> None:
    """Addresses, sender, department, licensing ZIP Code and meter, which no payload of IMI-MIN has."""
    meter = tmp_path / "m1"
    assert cli("meter", "new", meter, "--layout", layout, "--refill", 10).code == 0
    row = 'today,100,first_class_letter,1,62701-1234-56,Hello,,"ACME|1 MAIN ST|SPRINGFIELD IL","BROTHERS INC|NEW YORK"'
    printed(cli, meter, tmp_path, row, "today,100,first_class_letter,2,10001,,,,")
    lines = attached(tmp_path / "printed.pdf")
    (tmp_path / "p.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert cli("preview", tmp_path / "p.jsonl", "--out", tmp_path / "again.pdf").code == 0
    drawn, again = (list(image.pages(tmp_path / f"{name}.pdf", 100)) for name in ("printed", "again"))
    assert [page.tobytes() for page in again] == [page.tobytes() for page in drawn]
    assert attached(tmp_path / "again.pdf") == lines


def test_a_line_of_a_layout_of_ones_own_is_drawn_by_its_file(cli: Cli, tmp_path: Path) -> None:
    own = (Path(layouts.__file__).parent / "layouts" / "imi_std.toml").read_text("utf-8")
    (tmp_path / "own.toml").write_text(own.replace('symbol = "44x44"', 'symbol = "52x52"'))
    assert cli("preview", PAYLOAD, "--layout", tmp_path / "own.toml", "--out", tmp_path / "a.pdf").code == 0
    (tmp_path / "p.jsonl").write_text(json.dumps(attached(tmp_path / "a.pdf")[0]))
    complaint = cli("preview", tmp_path / "p.jsonl", "--out", tmp_path / "b.pdf").complaint()
    assert complaint[0].endswith("p.jsonl, line 1: its layout 'imi_std' is not one of those built in")
    words = ("preview", tmp_path / "p.jsonl", "--layout", tmp_path / "own.toml", "--out", tmp_path / "b.pdf")
    assert cli(*words).code == 0
    drawn, again = (next(image.pages(tmp_path / name)).tobytes() for name in ("a.pdf", "b.pdf"))
    assert drawn == again


def test_a_piece_with_postage_is_no_date_correction(cli: Cli, tmp_path: Path) -> None:
    says = "a piece of $0.74 is no date correction, which is of no value"
    words = (PAYLOAD, "--as", "date-correction", "--out", tmp_path / "a.pdf")
    assert cli("preview", *words).complaint()[0] == f"pes-sim: {says}"
    (tmp_path / "p.jsonl").write_text(json.dumps({"payload_hex": PAYLOAD, "kind": "date correction"}))
    complaint = cli("preview", tmp_path / "p.jsonl", "--out", tmp_path / "a.pdf").complaint()
    assert complaint[0].endswith(f"p.jsonl, line 1: {says}")
    assert not (tmp_path / "a.pdf").exists()


def test_a_payload_of_a_layout_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    payload = (bytes([150]) + bytes(37) + b"99" + bytes(56)).hex()
    complaint = cli("preview", payload, "--layout", VECTORS / "vendor_layout.toml", "--out", tmp_path / "p.svg")
    assert "it has no postage, date, weight or piece count that could be printed" in complaint.complaint()[0]
    assert "unknown indicia version 150" in cli("preview", payload, "--out", tmp_path / "p.svg").complaint()[0]


@pytest.mark.parametrize("payload", [payload.hex() for payload in REAL], ids=range(len(REAL)))
@pytest.mark.parametrize("page", ["envelope-10", "proof", "withdrawal"])
@pytest.mark.parametrize("form", ["pdf", "png", "svg"])
def test_a_real_indicium_is_never_drawn(cli: Cli, tmp_path: Path, payload: str, page: str, form: str) -> None:
    result = cli("preview", payload, "--page", page, "--out", tmp_path / f"real.{form}")
    assert result.code == 2
    assert result.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_statement_is_known_by_its_page(cli: Cli, tmp_path: Path) -> None:
    """It has no version byte, and would be taken for an IBI indicium."""
    payload = PAYLOADS["withdrawal"].hex()
    assert cli("preview", payload, "--page", "withdrawal", "--out", tmp_path / "w.pdf").code == 0
    assert "WITHDRAWAL STATEMENT" in text_of(tmp_path / "w.pdf")


def test_postage_is_no_statement_and_a_statement_no_postage(cli: Cli, tmp_path: Path) -> None:
    complaint = cli("preview", PAYLOAD, "--page", "withdrawal", "--out", tmp_path / "a.pdf").complaint()
    assert complaint[0] == "pes-sim: layout imi_std is no withdrawal statement"
    other = PAYLOADS["withdrawal"].hex()
    complaint = cli("preview", other, "--layout", "withdrawal", "--out", tmp_path / "a.pdf").complaint()
    assert "layout withdrawal has no field mail_class" in complaint[0]
    both = ("--page", "withdrawal", "--slogan", "Hello", "--out", tmp_path / "a.pdf")
    assert "no place for a slogan" in cli("preview", other, "--layout", "withdrawal", *both).complaint()[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", 'no JSON object with a "payload_hex"'),
        ("[]", 'no JSON object with a "payload_hex"'),
        ('{"payload_hex": 7}', 'no JSON object with a "payload_hex"'),
        ('{"payload_hex": "7"}', "1 hex digits are no whole number of bytes"),
        ('{"payload_hex": "c9"}', "truncated"),
        (f'{{"payload_hex": "{PAYLOAD}", "printed": {{"to": 1}}}}', "\"printed\" has 'to', which no piece has"),
        (f'{{"payload_hex": "{PAYLOAD}", "printed": {{"destination": "x"}}}}', "destination 'x' is not a ZIP Code"),
    ],
)
def test_a_bad_line_is_named(cli: Cli, tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "p.jsonl").write_text(f'{{"payload_hex": "{PAYLOAD}"}}\n{line}\n')
    complaint = cli("preview", tmp_path / "p.jsonl", "--out", tmp_path / "a.pdf").complaint()
    assert f"p.jsonl, line 2: {says}" in complaint[0]


@pytest.mark.parametrize("form", ["pdf", "svg"])
def test_a_bad_line_leaves_the_file_of_yesterday(cli: Cli, tmp_path: Path, form: str) -> None:
    (tmp_path / f"a.{form}").write_bytes(b"yesterday's")
    (tmp_path / "p.jsonl").write_text(f'{{"payload_hex": "{PAYLOAD}"}}\n' * 3 + "{\n")
    assert "line 4" in cli("preview", tmp_path / "p.jsonl", "--out", tmp_path / f"a.{form}").complaint()[0]
    assert (tmp_path / f"a.{form}").read_bytes() == b"yesterday's"
    assert sorted(os.listdir(tmp_path)) == [f"a.{form}", "p.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_preview_leaves_the_file_of_yesterday(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = imprint.of_payload

    def interrupted(*what: Any, **besides: Any) -> Any:
        os.kill(os.getpid(), number)
        return real(*what, **besides)

    (tmp_path / "a.pdf").write_bytes(b"yesterday's")
    monkeypatch.setattr("pes_sim.cli.previewing.of_payload", interrupted)
    assert cli("preview", "--out", tmp_path / "a.pdf").code == 130
    assert (tmp_path / "a.pdf").read_bytes() == b"yesterday's"
    assert os.listdir(tmp_path) == ["a.pdf"]


def test_files_that_cannot_be_read_are_named(cli: Cli, tmp_path: Path) -> None:
    assert "no.jsonl cannot be read" in cli("preview", "no.jsonl", "--out", tmp_path / "a.pdf").complaint()[0]
    (tmp_path / "p.jsonl").write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in cli("preview", tmp_path / "p.jsonl", "--out", tmp_path / "a.pdf").complaint()[0]
    assert os.listdir(tmp_path) == ["p.jsonl"]


# --- what is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "where to draw is not said"),
        ((PAYLOAD, "--meter", "m1", "--out", "a.pdf"), "both a payload and a meter are given"),
        (("--piece", 1, "--out", "a.pdf"), "--piece is a meter's"),
        (("--page", "a4", "--out", "a.pdf"), "there is no page 'a4'"),
        (("--out", "a.tiff"), "a.tiff names no format"),
        (("--out", "."), ". names no format"),
        (("--format", "pdf", "--out", "/"), "/ cannot be written: it is a directory"),
    ],
)
def test_what_cannot_be_asked_is_said(cli: Cli, words: tuple[object, ...], says: str) -> None:
    assert says in cli("preview", *words).complaint()[0]


def test_the_made_up_pieces_are_one_for_each_place_on_a_proof() -> None:
    from pes_sim.preview.stationery import PROOF

    assert len(previewing._MADE_UP) == len(PROOF)
