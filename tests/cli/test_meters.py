"""`pes-sim meter …`: made, looked at, refilled, checked in, moved on in time; each with what can go wrong."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from pes_sim.cli.meters import read_departments, utc_offset
from pes_sim.errors import BadMessage, StorageFailed, UsageError
from pes_sim.meter.store import MeterStore, StoredPiece
from pes_sim.psd.storage import write_atomically
from pes_sim.virtual import VirtualMeter
from tests.cli.conftest import Cli, job, letters, paused
from tests.meter.made import CUSTOMER, DEPOSIT, FUNDS, SERIAL


def status(cli: Cli, directory: Path) -> dict[str, Any]:
    result = cli("meter", "status", directory, "--json")
    assert (result.code, result.err) == (0, "")
    document: dict[str, Any] = json.loads(result.out)
    return document


# --- new -------------------------------------------------------------------------------------------------------------


def test_a_new_meter_says_what_it_is_and_how_to_go_on(cli: Cli, tmp_path: Path) -> None:
    result = cli("meter", "new", tmp_path / "m1", "--serial", "42", "--zip", "00501")
    assert (result.code, result.err) == (0, "")
    first, notice, funds = result.out.splitlines()
    assert first == f"Meter 42 in {tmp_path / 'm1'}, licensed for ZIP 00501"
    assert "SPECIMEN ONLY, NOT VALID POSTAGE" in notice
    assert funds == f"  available $0.00 (pes-sim meter refill {tmp_path / 'm1'} 100.00 adds some)"
    assert status(cli, tmp_path / "m1")["clock"] == "real"


def test_all_options_of_a_new_meter_arrive(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("code,name\nA1,Arts\nB2,Books\n")
    options = "--zip 94105 --customer ACME --serial 7 --deposit 50.00 --refill 20.005 --clock virtual --seed lucky"
    more = ("--start", "2026-03-01T23:00:00Z", "--utc-offset", "+02:00", "--departments", tmp_path / "d.csv")
    result = cli("meter", "new", tmp_path / "m1", *options.split(), *more)
    assert result.code == 0
    assert result.out.splitlines()[-1] == "  available $20.005"
    assert "Keys are reproducible from a seed" in result.out
    document = status(cli, tmp_path / "m1")
    wanted = {
        "psd_serial": 7,
        "licensing_zip": "94105",
        "customer": "ACME",
        "clock": "virtual",
        "device_time": "2026-03-01T23:00:00Z",
        "today": "2026-03-02",
        "control_sum_mills": 20_005,
    }
    assert {name: document[name] for name in wanted} == wanted
    assert list(document["departments"]) == ["A1", "B2"]
    with VirtualMeter(tmp_path / "m1") as meter:
        assert meter.centre.balance("ACME") == 29_995


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--zip 2026", "licensing ZIP '2026' must be 5 digits"),
        ("--zip ABCDE", "must be 5 digits"),
        ("--serial 4294967296", "psd_serial"),
        ("--deposit lots", "--deposit: 'lots' is not an amount in dollars"),
        ("--deposit -5", "--deposit: '-5' is not an amount in dollars"),
        ("--deposit 1e9", "--deposit: '1e9' is not an amount in dollars"),
        ("--refill 0.0001", "--refill: '0.0001' needs one to three digits"),
        ("--utc-offset +15:00", "'+15:00' is not an offset from UTC"),
        ("--start 2026-01-05", "--start is for a virtual clock"),
        ("--clock virtual --start soon", "'soon' is not a date and time"),
        ("--clock virtual --start 1970-01-01", "the virtual clock cannot begin there"),
        ("--clock virtual --start 9999-01-01", "the virtual clock cannot begin there"),
        ("--layout imi", "there is no layout 'imi'"),
        ("--layout ibi", "layout ibi is read-only"),
        ("--layout none.toml", "none.toml: cannot be read"),
        ("--departments none.csv", "none.csv cannot be read: No such file"),
    ],
)
def test_an_option_that_is_wrong_is_named_and_nothing_is_made(
    cli: Cli, tmp_path: Path, options: str, says: str
) -> None:
    words = options.split()
    arguments = [f"{words[0]}={words[1]}", *words[2:]]
    result = cli("meter", "new", tmp_path / "m1", *arguments)
    assert result.code == 2
    assert says in result.complaint()[0]
    assert list(tmp_path.iterdir()) == []


def test_a_first_refill_beyond_the_funds_leaves_a_meter_without_postage(cli: Cli, tmp_path: Path) -> None:
    result = cli("meter", "new", tmp_path / "m1", "--deposit", "10", "--refill", "10.001")
    assert result.code == 1
    assert result.out.startswith("Meter ")
    assert "holds $10.00, $0.001 less than the refill" in result.err
    assert status(cli, tmp_path / "m1")["control_sum_mills"] == 0


def test_a_meter_is_not_made_over_another_one_or_a_file(cli: Cli, meter: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = cli("meter", "new", meter)
    assert result.complaint() == [
        f"pes-sim: there is a meter in {meter} already",
        "  Take another directory, or remove it",
    ]
    assert cli("meter", "new", tmp_path / "file").complaint() == [
        f"pes-sim: {tmp_path / 'file'} cannot be made: File exists"
    ]
    assert (tmp_path / "file").read_text() == "mine"


# --- status ----------------------------------------------------------------------------------------------------------


def test_the_status_as_json_has_the_documented_names(cli: Cli, meter: Path) -> None:
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="200")
    document = status(cli, meter)
    assert document.pop("notice").startswith("SPECIMEN ONLY, NOT VALID POSTAGE")
    assert document == {
        "psd_serial": SERIAL,
        "model_id": "S1",
        "provider_id": "99",
        "layout": "imi_std",
        "licensing_zip": "20260",
        "customer": CUSTOMER,
        "profile": "FIPS 140-2",
        "regime": "IMI",
        "state": "OPERATIONAL",
        "sub_state": "",
        "lock_reasons": [],
        "cleared_by": [],
        "warnings": [],
        "hours_to_lockout": 72.0,
        "device_time": "2026-01-05T15:00:00Z",
        "clock": "virtual",
        "today": "2026-01-05",
        "ascending_mills": 740,
        "descending_mills": FUNDS - 740,
        "control_sum_mills": FUNDS,
        "piece_count": 1,
        "zero_piece_count": 0,
        "reprint_count": 0,
        "refill_pending_mills": 0,
        "self_tests_failed": [],
        "repaired": 0,
        "departments": {
            "100": {"name": "Sales", "piece_count": 0, "postage_mills": 0},
            "200": {"name": "Billing", "piece_count": 1, "postage_mills": 740},
        },
    }


def test_the_status_for_people(cli: Cli, meter: Path) -> None:
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="200")
    result = cli("meter", "status", meter)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == f"Meter {SERIAL}: OPERATIONAL"
    assert [line.split() for line in lines[1:8]] == [
        ["check-in", "within", "72.0", "h,", "or", "it", "locks"],
        ["clock", "2026-01-05T15:00:00Z", "(virtual),", "its", "date", "is", "2026-01-05"],
        ["used", "$0.74"],
        ["available", "$99.26"],
        ["control", "$100.00"],
        ["pieces", "1"],
        ["reprints", "0"],
    ]
    assert lines[8:10] == ["  department 100 Sales: 0 pieces, $0.00", "  department 200 Billing: 1 pieces, $0.74"]
    assert "SPECIMEN ONLY" in lines[10]


def test_the_status_writes_nothing(cli: Cli, meter: Path) -> None:
    def files() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in meter.rglob("*") if p.is_file() and p.name != "lock"}

    with VirtualMeter(meter) as opened:
        opened.print_piece(department="200")
    before = files()
    for options in ([], ["--json"]):
        assert cli("meter", "status", meter, *options).code == 0
    assert cli("meter", "specimens", meter).code == 0
    assert files() == before


def test_the_specimen_log_counts_what_the_database_has_no_room_for(
    cli: Cli, meter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """39 CFR 501.9(b): all of them are to be collected; a shorter list would leave some out."""

    def full(self: MeterStore, *pieces: StoredPiece) -> None:
        raise StorageFailed("no room in meter.sqlite")

    with VirtualMeter(meter) as opened:
        opened.print_piece(department="200")
    monkeypatch.setattr(MeterStore, "add", full)
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="200", weight=200)
        opened.print_piece(department="200")
    lines = cli("meter", "specimens", meter).out.splitlines()
    assert lines[1:] == [
        "  2026-01-05  1 pieces  $0.74 face value",
        "  and 2 pieces  $1.77 face value, of days that the meter's database does not have",
    ]
    spoil_the_log(meter)
    assert "whether that is all of them is not known" in cli("meter", "specimens", meter).out


def test_the_status_of_a_locked_meter_says_what_clears_it(cli: Cli, meter: Path) -> None:
    assert (
        cli("meter", "advance", meter, "73h").out == "the clock stands at 2026-01-08T16:00:00Z; the meter is LOCKED\n"
    )
    document = status(cli, meter)
    assert (document["state"], document["hours_to_lockout"]) == ("LOCKED", -1.0)
    assert (document["lock_reasons"], document["cleared_by"]) == (["check-in overdue"], ["checkin_complete"])
    out = cli("meter", "status", meter).out
    assert f"because: check-in overdue. A check-in clears it: pes-sim meter checkin {meter}" in out
    assert "overdue by 1.0 h" in out


def test_the_status_names_every_lock_with_what_clears_it_and_what_is_under_way(cli: Cli, meter: Path) -> None:
    with VirtualMeter(meter) as opened:
        port = opened._caller
        reasons = ["provider lock", "register fault"]
        order = opened.centre.order("lock_order", SERIAL, port.call("challenge", {}), lock_reasons=reasons)
        port.call("refill_begin", {"amount_mills": 1_000})
        with pytest.raises(BadMessage):
            port.call("unlock", {"message": b""})
        port.call("lock", {"message": order})
    assert cli("meter", "advance", meter, "73h").code == 0
    document = status(cli, meter)
    assert (document["state"], document["sub_state"]) == ("LOCKED", "REFILL_PENDING")
    assert document["lock_reasons"] == ["register fault", "provider lock", "check-in overdue"]
    assert document["cleared_by"] == ["unlock", "checkin_complete"]
    lines = cli("meter", "status", meter).out.splitlines()
    assert lines[:4] == [
        f"Meter {SERIAL}: LOCKED, REFILL_PENDING",
        f"  because: register fault. The provider clears it, by its order to unlock: pes-sim meter unlock {meter}",
        f"  because: provider lock. The provider clears it, by its order to unlock: pes-sim meter unlock {meter}",
        f"  because: check-in overdue. A check-in clears it: pes-sim meter checkin {meter}",
    ]


def test_the_status_warns_before_the_lockout(cli: Cli, meter: Path) -> None:
    assert cli("meter", "advance", meter, "24h").code == 0
    assert status(cli, meter)["warnings"] == ["check-in due"]
    assert "  warning: check-in due" in cli("meter", "status", meter).out.splitlines()


@pytest.mark.parametrize("damage", ["missing", "another meter's"])
def test_a_meter_whose_key_is_lost_can_be_looked_at_as_often_as_one_likes(
    cli: Cli, meter: Path, tmp_path: Path, damage: str
) -> None:
    key = (meter / "meter.key").read_bytes()
    (meter / "meter.key").unlink()
    if damage != "missing":
        write_atomically(meter / "meter.key", bytes(32), 0o600)
    for _ in range(12):  # more than the PSD would look at wrong proofs
        document = status(cli, meter)
    assert document["warnings"] == ["the PSD does not know this meter: is meter.key the one that was made with it?"]
    assert (document["state"], document["descending_mills"]) == ("OPERATIONAL", FUNDS)
    result = cli("meter", "refill", meter, "1.00")
    assert result.code == 1
    assert result.complaint() == [
        "pes-sim: the PSD does not know this meter: meter.key is missing, or another meter's",
        "  Put back the meter.key that was made with the meter, and power it on again. The registers can be read "
        "without it",
    ]
    write_atomically(meter / "meter.key", key, 0o600)
    assert cli("meter", "refill", meter, "1.00").code == 0
    assert status(cli, meter)["warnings"] == []


@pytest.mark.parametrize(
    ("options", "profile", "regime"),
    [
        ("", "FIPS 140-2", "IMI"),
        ("--profile 140-3 --regime IBI", "FIPS 140-3", "IBI"),
        ("--profile 140-2 --regime IMI", "FIPS 140-2", "IMI"),
    ],
)
def test_a_meter_is_made_for_the_rules_that_are_asked_for_and_keeps_them(
    cli: Cli, tmp_path: Path, options: str, profile: str, regime: str
) -> None:
    assert cli("meter", "new", tmp_path / "m1", "--clock", "virtual", *options.split()).code == 0
    document = status(cli, tmp_path / "m1")
    assert (document["profile"], document["regime"]) == (profile, regime)
    assert cli("meter", "advance", tmp_path / "m1", "73h").code == 0
    assert status(cli, tmp_path / "m1")["state"] == ("LOCKED" if regime == "IMI" else "OPERATIONAL")


@pytest.mark.parametrize("options", ["--profile=140-1", "--profile=FIPS 140-2", "--regime=imi", "--regime="])
def test_rules_that_do_not_exist_are_named_and_nothing_is_made(cli: Cli, tmp_path: Path, options: str) -> None:
    result = cli("meter", "new", tmp_path / "m1", options)
    assert result.code == 2
    assert "invalid choice" in result.err
    assert list(tmp_path.iterdir()) == []


def spoil_the_log(meter: Path) -> None:
    log = meter / "psd" / "log-0000000000000001.seg"
    data = bytearray(log.read_bytes())
    for page in (0, 1):  # the same record in both banks
        data[4096 * page + 100] ^= 1
    log.write_bytes(data)


def test_a_meter_that_has_stopped_can_still_be_looked_at(cli: Cli, meter: Path) -> None:
    spoil_the_log(meter)
    result = cli("meter", "status", meter)
    assert (result.code, result.err) == (0, "")
    assert f"Meter {SERIAL}: ERROR" in result.out
    assert "  registers  cannot be read" in result.out


# --- refill, deposit, check-in ---------------------------------------------------------------------------------------


def test_a_self_test_can_be_made_to_fail_and_the_meter_is_well_again_without(cli: Cli, meter: Path) -> None:
    ran = cli("meter", "status", meter, "--fail-self-test", "sha-256", "--fail-self-test", "hmac-sha-256")
    assert ran.code == 0
    assert "ERROR" in ran.out
    assert "failed self-test: sha-256" in ran.out
    for command in (["meter", "refill", meter, "1.00"], ["meter", "checkin", meter]):
        refused = cli(*command, "--fail-self-test", "sha-256")
        assert refused.code != 0
        assert "self-test sha-256 failed" in refused.err
    assert status(cli, meter)["state"] == "OPERATIONAL"


def test_a_self_test_that_there_is_not_is_named_with_those_that_there_are(cli: Cli, meter: Path) -> None:
    ran = cli("meter", "status", meter, "--fail-self-test", "sha-1")
    assert ran.code != 0
    assert "there is no self-test 'sha-1'" in ran.err
    assert "Known: sha-256, " in ran.err


def test_a_refill_says_what_it_added_and_what_there_is(cli: Cli, meter: Path) -> None:
    result = cli("meter", "refill", meter, "1,000.005")
    assert (result.code, result.out) == (1, "")  # $900.00 are on deposit
    assert result.complaint() == [
        f"pes-sim: the provider refuses the refill: account {CUSTOMER} holds $900.00, $100.005 less than the refill. "
        "Deposit funds with the provider first"
    ]
    assert cli("meter", "refill", meter, "$50.005").out == "$50.005 added, $150.005 available\n"


def test_what_the_refusal_asks_for_can_be_done(cli: Cli, meter: Path) -> None:
    result = cli("meter", "deposit", meter, "100.005")
    assert (result.code, result.out) == (
        0,
        f"$100.005 deposited with the provider; {CUSTOMER} holds $1,000.005 there\n",
    )
    assert cli("meter", "refill", meter, "1,000.005").code == 0
    with VirtualMeter(meter) as opened:
        assert opened.centre.balance(CUSTOMER) == 0
        assert opened.registers().control_sum_mills == DEPOSIT + 100_005


@pytest.mark.parametrize("action", ["refill", "deposit"])
@pytest.mark.parametrize(
    "text",
    ["0", "0.00", "-1", "1e3", "nan", "inf", "", "ten", "1,00", "1.0000", "١٠", "9" * 30, "9" * 5000, "1000000001"],
)
def test_an_amount_that_is_none_moves_nothing(cli: Cli, meter: Path, action: str, text: str) -> None:
    result = cli("meter", action, meter, "--", text)
    assert result.code == 2
    assert len(result.complaint()) >= 1
    with VirtualMeter(meter) as opened:
        assert opened.registers().control_sum_mills == FUNDS
        assert opened.centre.balance(CUSTOMER) == DEPOSIT - FUNDS


def test_kill_9_between_the_providers_books_and_the_meters_loses_and_makes_no_mill(cli: Cli, meter: Path) -> None:
    with paused("grant", 1, "meter", "refill", meter, "50") as (process, _):
        process.kill()
        assert process.wait() == -signal.SIGKILL
    with VirtualMeter(meter) as opened:
        assert opened.centre.balance(CUSTOMER) == DEPOSIT - FUNDS - 50_000  # booked there
        assert opened.registers().control_sum_mills == FUNDS  # and not here
    assert status(cli, meter)["refill_pending_mills"] == 50_000
    other = cli("meter", "refill", meter, "60")
    assert (other.code, other.complaint()) == (
        1,
        [
            "pes-sim: a refill of $50.00 is under way; $60.00 cannot take its place",
            "  Complete it first: begin again with the same amount and send the request to the provider",
        ],
    )
    assert cli("meter", "refill", meter, "50").out == "$50.00 added, $150.00 available\n"
    with VirtualMeter(meter) as opened:
        assert opened.centre.balance(CUSTOMER) == DEPOSIT - FUNDS - 50_000
        assert opened.registers().control_sum_mills == FUNDS + 50_000


def test_more_than_the_register_holds_is_refused(cli: Cli, meter: Path) -> None:
    assert cli("meter", "deposit", meter, "5000000").code == 0
    for amount in ("4294900", "4294967.296", "5000000"):
        result = cli("meter", "refill", meter, amount)
        assert result.code == 1
        assert "is more than the register holds" in result.complaint()[0]
        assert result.complaint()[1] == "  At most $4,294,967.295 in all"
    assert status(cli, meter)["refill_pending_mills"] == 0


def test_a_check_in_says_how_long_it_lasts(cli: Cli, meter: Path) -> None:
    cli("meter", "advance", meter, "30h")
    assert status(cli, meter)["hours_to_lockout"] == 42.0
    assert cli("meter", "checkin", meter).out == "checked in: OPERATIONAL, 72.0 h to the next one\n"
    assert status(cli, meter)["hours_to_lockout"] == 72.0


# --- the clock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is not a duration"),
        ("72", "'72' is not a duration"),
        ("h", "'h' is not a duration"),
        ("1h30", "'1h30' is not a duration"),
        ("1.5h", "'1.5h' is not a duration"),
        ("-1h", "'-1h' is not a duration"),
        ("9999999d", "the clock cannot go past the year 9999"),
        ("9" * 5000 + "d", "is not a duration"),
    ],
)
def test_a_step_that_is_none_moves_no_clock(cli: Cli, meter: Path, text: str, says: str) -> None:
    result = cli("meter", "advance", meter, "--", text)
    assert result.code == 2
    assert says in result.complaint()[0]
    assert status(cli, meter)["device_time"] == "2026-01-05T15:00:00Z"


@pytest.mark.parametrize("action", ["refill {} 5.00", "deposit {} 5.00", "checkin {}", "advance {} 1h"])
def test_what_moves_a_meter_on_tells_a_program_how_it_is_then(cli: Cli, meter: Path, action: str) -> None:
    result = cli("meter", *action.format(meter).split(), "--json")
    document = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    own = {"balance_mills"} if action.startswith("deposit") else set()
    assert document.keys() - own == status(cli, meter).keys()
    assert {name: document[name] for name in document.keys() - own} == status(cli, meter)


def test_a_real_clock_is_moved_by_time_alone(cli: Cli, tmp_path: Path) -> None:
    cli("meter", "new", tmp_path / "m1")
    result = cli("meter", "advance", tmp_path / "m1", "1h")
    assert result.complaint() == [
        "pes-sim: this meter runs on the real clock, which only time moves",
        "  Make one with a virtual clock: pes-sim meter new --clock virtual, and a new directory",
    ]
    assert result.code == 2


@pytest.mark.parametrize(
    ("text", "minutes"), [("+00:00", 0), ("-05:00", -300), ("+05:45", 345), ("+14:00", 840), ("-14:00", -840)]
)
def test_offsets_from_utc(text: str, minutes: int) -> None:
    assert utc_offset(text) == minutes


@pytest.mark.parametrize("text", ["", "5", "05:00", "+5:00", "+05:60", "+14:01", "-14:01", "+99:00", "UTC", "+05:00 "])
def test_offsets_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="is not an offset from UTC"):
        utc_offset(text)


# --- specimens -------------------------------------------------------------------------------------------------------


def test_specimens_are_listed_by_day_for_whoever_destroys_them(cli: Cli, meter: Path, tmp_path: Path) -> None:
    file = job(tmp_path / "j.csv", *letters(3))
    for _ in range(2):
        assert cli("print", "--meter", meter, "--job", file, "--out", tmp_path / "o.pdf").code == 0
        cli("meter", "advance", meter, "24h")
    result = cli("meter", "specimens", meter)
    assert (result.code, result.err) == (0, "")
    first, *days = result.out.splitlines()
    assert "501.9(b)" in first
    assert days == ["  2026-01-05  3 pieces  $2.22 face value", "  2026-01-06  3 pieces  $2.22 face value"]


@pytest.mark.parametrize("action", ["status", "refill", "deposit", "checkin", "advance", "specimens"])
def test_where_there_is_no_meter_every_action_says_so(cli: Cli, tmp_path: Path, action: str) -> None:
    more = {"refill": ["10"], "deposit": ["10"], "advance": ["1h"]}.get(action, [])
    result = cli("meter", action, tmp_path / "none", *more)
    assert result.code == 2
    assert result.complaint() == [
        f"pes-sim: there is no meter in {tmp_path / 'none'}",
        f"  Make one: pes-sim meter new {tmp_path / 'none'}",
    ]
    assert list(tmp_path.iterdir()) == []


# --- files of departments --------------------------------------------------------------------------------------------


def test_departments_keep_their_order_and_their_names(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes('\ufeffName, CODE\r\n"Sales, West",200\r\nZürich,A1\r\n'.encode())
    assert read_departments(path) == {"200": "Sales, West", "A1": "Zürich"}


NO_DEPARTMENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "line 1: the columns must be code and name"),
    "only the first line": (b"code,name\n", "names no department"),
    "no first line": (b"100,Sales\n", "line 1: the columns must be code and name"),
    "a column missing": (b"code\n100\n", "line 1: the columns must be code and name"),
    "a column too many": (b"code,name,pin\n100,Sales,1234\n", "line 1: the columns must be code and name"),
    "a column twice": (b"code,code,name\n1,1,Sales\n", "line 1: the columns must be code and name"),
    "no code": (b"code,name\n,Sales\n", "line 2: '' is not a code"),
    "a code with a blank": (b"code,name\n1 0,Sales\n", "line 2: '1 0' is not a code"),
    "a code of 17": (b"code,name\n" + b"x" * 17 + b",Sales\n", "line 2: 'xxxxxxxxxxxxxxxxx' is not a code"),
    "a code of other digits": ("code,name\n١,Sales\n".encode(), "is not a code"),
    "no name": (b"code,name\n100,\n", "line 2: department 100 has no good name"),
    "a cell missing": (b"code,name\n100\n", "line 2: 1 columns found"),
    "a cell too many": (b"code,name\n100,Sales,West\n", "line 2: 3 columns found"),
    "a name of 65": (b"code,name\n100," + b"x" * 65 + b"\n", "line 2: department 100 has no good name"),
    "a name with a bell": (b"code,name\n100,Sales\x07\n", "line 2: department 100 has no good name"),
    "a code twice": (b"code,name\n100,Sales\n\n100,Again\n", "line 4: department 100 stands twice"),
    "a name over two lines": (b'code,name\n\n1,"a\nb"\n', "line 3: department 1 has no good name"),
    "an open quotation mark": (b'code,name\n"1,Sales\n', "line 2: not CSV"),
    "not UTF-8": (b"code,name\n1,Z\xfcrich\n", "is not UTF-8 text (byte 13)"),
}


@pytest.mark.parametrize(("content", "says"), NO_DEPARTMENTS.values(), ids=NO_DEPARTMENTS)
def test_a_bad_file_of_departments_is_told_by_file_and_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refusal:
        read_departments(path)
    assert str(path) in refusal.value.message
    assert says in refusal.value.message
    assert "\n" not in str(refusal.value)


def test_a_file_of_departments_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.csv", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError) as refusal:
            read_departments(path)
        assert refusal.value.message == f"{path} cannot be read: {why}"
