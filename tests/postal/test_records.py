"""What the office is told by files: records of meters, and the compliance calendar. Each mistake is named."""

from __future__ import annotations

import contextlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.errors import UsageError
from pes_sim.postal import calendar, records
from pes_sim.postal.records import Meter, Records, Status

CALENDAR = Path(calendar.__file__).with_name("calendar.toml").read_text("utf-8")


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_records_say_what_is_known_of_a_meter(tmp_path: Path) -> None:
    row = {
        "psd_serial": 7,
        "status": "stolen",
        "since": "2026-01-05",
        "granted_mills": 5,
        "reprints": ["ca", "ca", "cb"],
    }
    found = records.load_file(written(tmp_path / "r.json", {"meters": [row, {"psd_serial": "A8", "since": None}]}))
    assert len(found) == 2
    assert found.find(7) == Meter("7", Status.STOLEN, date(2026, 1, 5), 5, {b"\xca": 2, b"\xcb": 1})
    assert found.find("A8") == Meter("A8")
    assert (found.find(b"\xa8"), found.find(9)) == (None, None)
    assert Records([Meter("a8")]).find(b"\xa8") == Meter("a8")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], 'one object with the list "meters"'),
        ({"meters": {}}, 'one object with the list "meters"'),
        ({"meters": [], "more": 1}, 'one object with the list "meters"'),
        ({"meters": [1]}, "meter 1 is no object"),
        ({"meters": [{"psd_serial": 1}, {"serial": 1}]}, "meter 2 has 'serial', which nobody knows"),
        ({"meters": [{"status": "lost"}]}, "meter 1 needs psd_serial"),
        ({"meters": [{"psd_serial": True}]}, "meter 1 needs psd_serial"),
        ({"meters": [{"psd_serial": ""}]}, "meter 1 needs psd_serial"),
        ({"meters": [{"psd_serial": 1, "status": "sold"}]}, "status must be one of in service, lost"),
        ({"meters": [{"psd_serial": 1, "status": ["lost"]}]}, "status must be one of"),
        ({"meters": [{"psd_serial": 1, "since": "5 May"}]}, "since must be a date"),
        ({"meters": [{"psd_serial": 1, "since": 20260105}]}, "since must be a date"),
        ({"meters": [{"psd_serial": 1, "since": "20260105"}]}, "since must be a date, YYYY-MM-DD"),
        ({"meters": [{"psd_serial": 1, "since": "2026-W02-1"}]}, "since must be a date, YYYY-MM-DD"),
        ({"meters": [{"psd_serial": 1, "granted_mills": -1}]}, "granted_mills must be a whole number"),
        ({"meters": [{"psd_serial": 1, "granted_mills": 1.5}]}, "granted_mills must be a whole number"),
        ({"meters": [{"psd_serial": 1, "granted_mills": 10**30}]}, "granted_mills must be a whole number"),
        ({"meters": [{"psd_serial": 1, "reprints": "ca"}]}, "reprints must be a list of payloads in hex"),
        ({"meters": [{"psd_serial": 1, "reprints": ["cx"]}]}, "reprints must be a list of payloads in hex"),
        ({"meters": [{"psd_serial": 1, "reprints": [None]}]}, "reprints must be a list of payloads in hex"),
        ({"meters": [{"psd_serial": 1}, {"psd_serial": "1"}]}, "PSD 1 is listed twice"),
        ({"meters": [{"psd_serial": 1}, {"psd_serial": "01"}]}, "PSD 01 is listed twice"),
        ({"meters": [{"psd_serial": " 1"}]}, "meter 1 needs psd_serial, a number or a text, without blanks"),
        ({"meters": [{"psd_serial": "1\n"}]}, "meter 1 needs psd_serial"),
        ({"meters": [{"psd_serial": -1}]}, "meter 1 needs psd_serial"),
    ],
)
def test_a_mistake_in_the_records_is_named(tmp_path: Path, document: Any, said: str) -> None:
    path = written(tmp_path / "r.json", document)
    with pytest.raises(UsageError) as caught:
        records.load_file(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_stolen_meter_is_found_however_its_number_is_written() -> None:
    for listed in ("7", "007"):
        for read in (7, "7", "0000000007"):
            found = Records([Meter(listed, Status.STOLEN)]).find(read)
            assert found is not None
            assert found.status is Status.STOLEN
    zero = Records([Meter("000")])
    assert zero.find(0) is not None
    assert zero.find("") is None
    assert zero.find(7) is None


def test_a_key_that_stands_twice_is_refused_as_the_last_would_hide_that_a_meter_was_stolen(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for text in (
        '{"meters": [{"psd_serial": 1, "status": "stolen", "status": "in service"}]}',
        '{"meters": [{"psd_serial": 1, "status": "stolen"}], "meters": []}',
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match="stands twice in one object"):
            records.load_file(path)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b'{"meters": [{"psd_serial": 1' + b"0" * 5000]
)
@pytest.mark.parametrize("load", [records.load_file, calendar.load_file])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, data: bytes, load: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="not "):
        load(path)


@pytest.mark.parametrize("load", [records.load_file, calendar.load_file])
def test_a_file_that_is_not_there_or_huge_is_refused(tmp_path: Path, load: Any) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load(tmp_path / "none")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load(tmp_path)
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="more than"):
        load(huge)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["psd_serial", "status", "since", "reprints", "x"]), inner)
        ),
    )
)
def test_no_records_raise_anything_but_an_error_for_the_user(
    tmp_path_factory: pytest.TempPathFactory, row: Any
) -> None:
    path = written(tmp_path_factory.getbasetemp() / "any.json", {"meters": [row]})
    with contextlib.suppress(UsageError):
        records.load_file(path)


# The calendar


def test_the_calendar_knows_the_days_of_the_notices() -> None:
    built_in = calendar.built_in()
    ibi, older, imi = (built_in.regime(name) for name in ("IBI-FULL", "NON-IBI", "IMI-MAX"))
    assert ibi is not None
    assert older is not None
    assert imi is not None
    assert ibi is built_in.regime("IBI-LITE")
    assert (ibi.decertified, ibi.withdrawn_by, ibi.last_valid) == (
        date(2024, 6, 30),
        date(2024, 12, 31),
        date(2025, 6, 30),
    )
    assert (older.decertified, older.last_valid) == (date(2016, 1, 1), date(2015, 12, 31))
    assert (imi.decertified, imi.withdrawn_by, imi.last_valid, imi.postage) == (None, None, None, True)
    assert all(row.basis in ("public", "assumed") and row.source for row in built_in.regimes)
    assert built_in.window.basis == "assumed"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[window]", "[windows]", "the file needs window, a TOML table"),
        ("[[regime]]", "[[regimes]]", "the file needs regime, a TOML array"),
        ("late_days = 7", "late_days = -1", "days are 0 to 3650"),
        ("late_days = 7", "late_days = 7.5", "window needs late_days, a TOML integer"),
        ("late_days = 7", "late_days = true", "window needs late_days, a TOML integer"),
        ("early_days = 1", "early_days = 31", "early_days at most ahead_days"),
        ("last_valid = 2025-06-30", 'last_valid = "2025-06-30"', "regime 2 needs last_valid, a TOML date"),
        ("last_valid = 2025-06-30", "last_valid = 2025-06-30T00:00:00", "regime 2 needs last_valid, a TOML date"),
        ('["NON-IBI"]', "[1]", "regime 3: constructs must be texts"),
        ("postage = false", "postage = 0", "regime 4 needs postage, a TOML boolean"),
        ('name = "IMI"', "", "regime 1 needs name, a TOML string"),
        ('name = "IMI"', 'name = ""', "regime 1 needs name, a TOML string"),
        (
            "last_valid = 2025-06-30",
            "last_vaild = 2025-06-30",
            "regime 2 has 'last_vaild', which nobody knows; known: ",
        ),
        ("late_days = 7", "late_days = 7\nlatest = 8", "window has 'latest', which nobody knows"),
        ("[window]", "note = 1\n[window]", "the file has 'note', which nobody knows"),
        ('["NON-IBI"]', '["NON-IBI", "IMI-STD"]', "construct IMI-STD stands twice"),
    ],
)
def test_a_mistake_in_a_calendar_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    assert old in CALENDAR
    path.write_text(CALENDAR.replace(old, new))
    with pytest.raises(UsageError, match=said) as caught:
        calendar.load_file(path)
    assert str(path) in caught.value.message


def test_a_regime_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("regime = [1]\n" + CALENDAR[: CALENDAR.index("[[regime]]")])
    with pytest.raises(UsageError, match="regime 1 is not a table"):
        calendar.load_file(path)
