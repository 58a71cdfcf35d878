"""`pes-sim accept` and `pes-sim explain`: the post office on the command line."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from pes_sim.cli import main
from pes_sim.indicium import layout
from pes_sim.postal import calendar
from pes_sim.postal.acceptance import CHECKS
from pes_sim.provider.pki import pem
from pes_sim.virtual import VirtualMeter
from tests.cli.conftest import Cli, job, letters
from tests.meter.made import copy_of_a_meter
from tests.rig import TODAY, correction, operational

DAY = "2026-01-05"
SAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "ibi_samples.json").read_text())
IBI = bytes.fromhex(SAMPLES[0]["hex"])


@dataclass(frozen=True, slots=True)
class Printed:
    """A PDF of two pages, its payloads, and the certificates, in a folder."""

    folder: Path
    pdf: Path
    payloads: list[bytes]

    def bin(self, name: str, payload: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(payload)
        return path

    @property
    def store(self) -> Path:
        return self.folder / "scans.db"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    folder = tmp_path_factory.mktemp("printed")
    meter, pdf = copy_of_a_meter(folder / "m1"), folder / "o.pdf"
    jobs = job(folder / "j.csv", *letters(2))
    assert main(["print", "--meter", str(meter), "--job", str(jobs), "--out", str(pdf)]) == 0
    with VirtualMeter(meter) as opened:
        payloads = [entry["indicium"] for entry in opened.log()]
    for name in ("ca.pem", "psd.pem"):
        shutil.copy(meter / name, folder)
    return Printed(folder, pdf, payloads)


@pytest.fixture
def printed(made: Printed, tmp_path: Path) -> Printed:
    for path in (made.pdf, made.folder / "ca.pem", made.folder / "psd.pem"):
        shutil.copy(path, tmp_path)
    return Printed(tmp_path, tmp_path / "o.pdf", made.payloads)


def test_what_was_printed_is_accepted_page_by_page(cli: Cli, printed: Printed) -> None:
    result = cli("accept", printed.pdf, "--store", printed.store, "--date", DAY, "--brief")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"{printed.pdf} page 1: accepted: $0.74, 2026-01-05",
        f"{printed.pdf} page 2: accepted: $0.74, 2026-01-05",
        "2 of 2 accepted. Specimens: no valid postage, whatever the verdict.",
    ]


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_judged(cli: Cli, printed: Printed) -> None:
    files = [printed.bin("a.bin", printed.payloads[0]), printed.folder / "none.pdf", printed.bin("b.pdf", b"no page")]
    files.append(printed.bin("c.bin", printed.payloads[1]))
    result = cli("accept", *files, "--store", printed.store, "--date", DAY, "--brief")
    assert result.code == 2
    assert result.out.endswith("2 of 2 accepted. Specimens: no valid postage, whatever the verdict.\n")
    assert [name in result.err for name in ("none.pdf cannot be read", "b.pdf is no file that can be read")] == [
        True,
        True,
    ]
    again = cli("accept", *files, "--store", printed.store, "--date", DAY, "--json")
    assert again.code == 2
    told = json.loads(again.out)
    assert not told["accepted"]
    assert [scan["accepted"] for scan in told["scans"]] == [True, True]
    assert [unread["file"] for unread in told["unread"]] == [str(files[1]), str(files[2])]


def test_what_was_stored_is_said_though_the_next_files_certificate_is_none(cli: Cli, printed: Printed) -> None:
    (printed.folder / "bad").mkdir()
    for name in ("ca.pem", "psd.pem"):
        (printed.folder / "bad" / name).write_text("no certificate")
    files = [printed.bin("a.bin", printed.payloads[0]), printed.bin("bad/b.bin", printed.payloads[1])]
    result = cli("accept", *files, "--store", printed.store, "--date", DAY, "--json")
    told = json.loads(result.out)
    assert (result.code, told["accepted"], [scan["accepted"] for scan in told["scans"]]) == (2, False, [True])
    assert [unread["file"] for unread in told["unread"]] == [str(files[1])]


def test_hex_digits_may_be_more_than_a_files_name_may_have(
    cli: Cli, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(printed.folder)
    spaced = cli("accept", printed.payloads[0].hex(" "), "--store", printed.store, "--date", DAY, "--json")
    plain = cli("accept", printed.payloads[0].hex(), "--store", printed.store, "--date", DAY, "--json")
    one, same = (json.loads(result.out)["scans"][0]["scan_id"] for result in (spaced, plain))
    assert one == same


def test_a_payload_may_be_typed_as_hex_digits(cli: Cli, printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(printed.folder)  # where its certificates are
    for judged_before in (False, True):
        result = cli("accept", printed.payloads[0].hex(), "--store", printed.store, "--date", DAY, "--json")
        (scan,) = json.loads(result.out)["scans"]
        assert (result.code, scan["accepted"], scan.get("judged_before") is not None) == (0, True, judged_before)


def test_the_table_and_the_json_have_every_check(cli: Cli, printed: Printed) -> None:
    path = printed.bin("p.bin", printed.payloads[0])
    table = cli("accept", path, "--store", printed.store, "--date", DAY)
    assert (table.code, table.err) == (0, "")
    result = cli("accept", path, "--store", printed.store, "--date", DAY, "--json")
    document = json.loads(result.out)
    (scan,) = document["scans"]
    assert (result.code, document["accepted"], scan["verdict"], scan["layout"]) == (0, True, "accepted", "imi_std")
    assert scan["fields"] == dict(layout.builtin("imi_std").unpack(printed.payloads[0]).values)
    assert [check["name"] for check in scan["checks"]] == [row.name for row in CHECKS]
    for check in scan["checks"]:
        assert check["result"] in table.out
        assert f" {check['name']} " in table.out


def test_the_same_file_is_the_same_scan_and_a_copy_of_it_is_a_duplicate(cli: Cli, printed: Printed) -> None:
    path = printed.bin("p.bin", printed.payloads[0])

    def verdict(path: Path, *more: str) -> str:
        result = cli("accept", path, "--store", printed.store, "--date", DAY, "--json", *more)
        (scan,) = json.loads(result.out)["scans"]
        assert result.code == (0 if scan["verdict"] == "accepted" else 1)
        return str(scan["verdict"])

    assert [verdict(path), verdict(path)] == ["accepted", "accepted"]
    assert verdict(printed.bin("copy.bin", printed.payloads[0])) == "duplicate"
    os.utime(path, ns=(1, 1))  # written anew: another scan
    assert verdict(path) == "duplicate"
    assert verdict(path, "--scan-id", "s1") == "duplicate"
    assert verdict(printed.bin("other.bin", printed.payloads[1]), "--scan-id", "s2") == "accepted"
    result = cli("accept", printed.bin("third.bin", printed.payloads[0]), "--store", printed.store, "--scan-id", "s2")
    assert result.code == 1
    assert "scan s2 was of another payload" in result.complaint()[0]


@pytest.mark.parametrize("more", [(), ("--records",), ("--mailpiece", "m")], ids=["the same", "records", "mailpiece"])
def test_a_file_that_comes_again_is_said_to_have_been_judged(cli: Cli, printed: Printed, more: tuple[str, ...]) -> None:
    path = printed.bin("p.bin", printed.payloads[0])
    lost = printed.folder / "records.json"
    lost.write_text(json.dumps({"meters": [{"psd_serial": 1234567, "status": "lost"}]}))
    first = cli("accept", path, "--store", printed.store, "--date", DAY, "--records", lost, "--mailpiece", "m")
    assert "judged before" not in first.out
    given = ("--records", lost) if "--records" in more else more
    again = ("accept", path, "--store", printed.store, "--date", "2026-01-06", *given)
    said = cli(*again, "--brief").out.splitlines()
    assert said[:2] == [
        f"{path} page 1: meter_lost_or_stolen: $0.74, 2026-01-05",
        f"  judged before, as scanned on {DAY}, on mailpiece m: that answer stands, whatever is given now; "
        "--scan-id ID makes it another scan",
    ]
    (scan,) = json.loads(cli(*again, "--json").out)["scans"]
    assert scan["judged_before"] == {"date": DAY, "mailpiece": "m"}
    if "--records" not in more:
        assert cli(*again, "--scan-id", "another").code == 0
        accepted = cli(*again, "--scan-id", "another", "--brief").out
        assert "that answer stands, whatever is given now\n" in accepted, "a new scan of it would be its copy"


@pytest.mark.parametrize("length", [193, 199, 200])
def test_a_scan_id_without_room_for_numbers_is_refused_before_anything_is_stored(
    cli: Cli, printed: Printed, length: int
) -> None:
    given = ("accept", printed.pdf, "--store", printed.store, "--date", DAY, "--scan-id")
    result = cli(*given, "s" * length)
    assert (result.code, result.complaint()[0]) == (2, f"pes-sim: --scan-id has {length} characters")
    assert not printed.store.exists()
    assert cli(*given, "s" * 192).code == 0


def test_several_of_one_scan_id_are_numbered(cli: Cli, printed: Printed) -> None:
    result = cli("accept", printed.pdf, "--store", printed.store, "--date", DAY, "--scan-id", "s", "--json")
    assert [scan["scan_id"] for scan in json.loads(result.out)["scans"]] == ["s", "s#2"]


def test_what_speaks_against_it_is_said_first(cli: Cli, printed: Printed) -> None:
    path = printed.bin("p.bin", printed.payloads[0])
    result = cli("accept", path, "--store", printed.store, "--date", "2026-02-05", "--brief")
    assert result.code == 1
    assert (
        result.out.splitlines()[1]
        == "  date: dated 2026-01-05, scanned on 2026-02-05: 31 days late, 7 allowed; it can be redated"
    )


def test_today_is_the_machines_day(cli: Cli, printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pes_sim.clock.SystemClock.now", lambda self: 1_767_614_400_000_000)  # 2026-01-05T12:00Z
    assert cli("accept", printed.bin("p.bin", printed.payloads[0]), "--store", printed.store).code == 0


def test_without_certificates_nothing_is_stored_and_it_says_what_to_give(cli: Cli, printed: Printed) -> None:
    ca = (printed.folder / "ca.pem").rename(printed.folder / "other.pem")
    path = printed.bin("p.bin", printed.payloads[0])
    result = cli("accept", path, "--store", printed.store, "--date", DAY, "--brief")
    assert "Give --ca ca.pem and --psd psd.pem" in result.out
    psd = printed.folder / "psd.pem"
    assert cli("accept", path, "--store", printed.store, "--date", DAY, "--ca", ca, "--psd", psd).code == 0


def test_the_certificate_that_is_missing_is_named(cli: Cli, printed: Printed) -> None:
    path = printed.bin("p.bin", printed.payloads[0])
    (printed.folder / "safe").mkdir()
    for option, given, name, kind in (
        ("--ca", printed.folder / "ca.pem", "psd.pem", "PSD"), ("--psd", printed.folder / "psd.pem", "ca.pem", "CA"),
    ):  # fmt: skip
        away = (printed.folder / name).rename(printed.folder / "safe" / name)
        for command in (("accept", "--store", printed.store, "--brief"), ("verify",)):
            said = cli(*command, path, option, given).out
            assert f"a meter's directory holds both. Missing: {printed.folder / name}" in said
            assert f"no {kind} certificate was given" in said
        away.rename(printed.folder / name)


def test_a_redate_read_alone_is_accepted_as_its_hint_says(cli: Cli, tmp_path: Path) -> None:
    """The very same files, with one --mailpiece."""
    rig = operational()
    known = rig.ask("get_certificates")
    for name, der in (("ca.pem", known["trust_anchor"]), ("psd.pem", known["psd_certificate"])):
        (tmp_path / name).write_bytes(pem(der))
    paths = [tmp_path / "original.bin", tmp_path / "redate.bin"]
    for path, answer in zip(paths, (rig.dispense(), rig.ask("redate", **correction())), strict=True):
        path.write_bytes(answer["indicium"])
    given = ("accept", *paths, "--date", TODAY, "--brief", "--store", tmp_path / "scans.db")
    assert "scan what it corrects first, both with one --mailpiece" in cli(*given).out
    together = cli(*given, "--mailpiece", "letter 1")
    assert (together.code, together.out.count(": accepted: ")) == (0, 2)


def test_a_mac_without_its_key_says_what_to_give(cli: Cli, printed: Printed) -> None:
    path = printed.bin("p.bin", b"\xc999S1" + bytes(44))
    assert "Give --mac-keys FILE" in cli("accept", path, "--store", printed.store).out


def test_the_records_the_rates_and_the_calendar_are_files(cli: Cli, printed: Printed) -> None:
    path = printed.bin("p.bin", printed.payloads[0])
    told = printed.folder / "records.json"
    told.write_text(json.dumps({"meters": [{"psd_serial": 1234567, "status": "stolen"}]}))
    rates = printed.folder / "rates.toml"
    rates.write_text('version = "v"\neffective = 2026-01-01\n[[category]]\nname = "first_class_letter"\ntitle = "L"\n'
                     "domestic = true\nsteps = [[100, 800]]\n")  # fmt: skip
    mine = printed.folder / "calendar.toml"
    mine.write_text(
        Path(calendar.__file__).with_name("calendar.toml").read_text().replace("late_days = 7", "late_days = 99")
    )
    for number, (option, file, day, verdict) in enumerate(
        (("--records", told, DAY, "meter_lost_or_stolen"), ("--rates", rates, DAY, "short_paid"),
         ("--calendar", mine, "2026-03-05", "accepted"))
    ):  # fmt: skip
        store = printed.folder / f"{number}.db"
        result = cli("accept", path, "--store", store, "--date", day, option, file, "--brief")
        assert f": {verdict}: " in result.out


def test_a_page_without_a_symbol_is_not_accepted(cli: Cli, printed: Printed) -> None:
    png = printed.folder / "blank.png"
    Image.new("L", (300, 200), 255).save(png)
    result = cli("accept", png, "--store", printed.store)
    assert (result.code, "unreadable" in result.out) == (1, True)
    assert json.loads(cli("accept", png, "--store", printed.store, "--json").out)["scans"][0]["verdict"] == "unreadable"
    assert "no Data Matrix symbol" in cli("explain", png).complaint()[0]


def test_a_payload_that_cannot_be_read_is_said_without_its_fields(cli: Cli, printed: Printed) -> None:
    for payload in (b"", b"\xca", os.urandom(65_536)):
        path = printed.bin("p.bin", payload)
        result = cli("accept", path, "--store", printed.store, "--brief")
        assert (result.code, result.err) == (1, "")


@pytest.mark.parametrize("text", ["5.1.2026", "2026-13-01", "20260105", "today"])
def test_a_date_is_a_date(cli: Cli, printed: Printed, text: str) -> None:
    result = cli("accept", printed.pdf, "--store", printed.store, "--date", text)
    assert result.code == 2
    assert "is not a date" in result.complaint()[0]
    assert not printed.store.exists()


def test_a_store_that_is_none_is_refused(cli: Cli, printed: Printed) -> None:
    result = cli("accept", printed.pdf, "--store", printed.folder / "ca.pem")
    assert result.code == 1
    assert "ca.pem cannot be used" in result.complaint()[0]


def test_the_mailpiece_joins_an_original_with_its_redate(cli: Cli, tmp_path: Path) -> None:
    rig = operational()
    original, redate = rig.dispense()["indicium"], rig.ask("redate", **correction())["indicium"]
    known = rig.ask("get_certificates")
    for name, der in (("ca.pem", known["trust_anchor"]), ("psd.pem", known["psd_certificate"])):
        (tmp_path / name).write_bytes(pem(der))
    paths = [tmp_path / "original.bin", tmp_path / "redate.bin"]
    for path, payload in zip(paths, (original, redate), strict=True):
        path.write_bytes(payload)
    day = ("--date", TODAY, "--brief", "--store")
    assert ": short_paid: $0.00" in cli("accept", *paths, *day, tmp_path / "apart.db").out
    together = cli("accept", *paths, *day, tmp_path / "together.db", "--mailpiece", "letter 1")
    assert (together.code, together.out.count(": accepted: ")) == (0, 2)


# explain


def test_explain_goes_through_fields_checks_and_signature(cli: Cli, printed: Printed) -> None:
    result = cli("explain", printed.pdf)
    assert (result.code, result.err) == (0, "")
    for words in ("What stands in it", "byte 0: ca", "bytes 1 to 2: 3939", "What the post office checks, and why",
                  "SHA-256 of what is signed", "the same as r: it verifies", "Verdict: accepted"):  # fmt: skip
        assert result.out.count(words) == 2


def test_explain_takes_hex_digits_and_finds_certificates_that_are_given(cli: Cli, printed: Printed) -> None:
    result = cli("explain", printed.payloads[0].hex(" "), "--ca", printed.folder / "ca.pem",
                 "--psd", printed.folder / "psd.pem", "--json")  # fmt: skip
    (explained,) = json.loads(result.out)
    assert (result.code, explained["file"], explained["verdict"]) == (0, "payload", "accepted")
    assert len(explained["signature"]) == 14


def test_explain_says_where_a_real_ibi_indicium_cannot_be_followed_further(cli: Cli, printed: Printed) -> None:
    result = cli("explain", printed.bin("ibi.bin", IBI))
    assert (result.code, "keys were never published" in " ".join(result.out.split())) == (0, True)
    assert "Verdict: not_a_specimen" in result.out
    assert "Verdict: decertified" in cli("explain", IBI.hex(), "--date", "2026-01-05").out


def test_explain_of_something_else_fails_and_says_so(cli: Cli, tmp_path: Path) -> None:
    result = cli("explain", "cb" * 200)
    assert (result.code, "No indicium: unknown indicia version 203" in result.out) == (1, True)
    for argument in ("no hex", "", tmp_path / "none.bin"):
        assert cli("explain", argument).complaint()
    assert "no whole number of bytes" in cli("explain", "abc").complaint()[0]
