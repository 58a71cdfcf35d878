"""The store in a file: durable, shared, as fast when it is full, and no file makes it raise what nobody expects."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pes_sim.errors import StorageFailed, UsageError
from pes_sim.indicium.layout import builtin
from pes_sim.postal.assessment import LONGEST_NAME, LONGEST_PAYLOAD, Scan, Verdict, from_document
from pes_sim.postal.sqlite_store import SqliteScans
from pes_sim.postal.store import MOST_COPIES, MemoryScans, digest
from tests.postal.made import DAY, MAX, Desk, certificate, finding, indicium, judged, office, trust

ROOT = Path(__file__).parents[2]
TRACKING = "9400100000000000000001"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scans.db"


def changed(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def filled(path: Path) -> bytes:
    """A store with one scan, of id "one"; its payload."""
    store = SqliteScans(path)
    payload = indicium(MAX, tracking_number=TRACKING)
    Desk(store).scan(payload, id_="one", mailpiece="m")
    store.close()
    return payload


def test_what_was_said_outlives_the_process(path: Path) -> None:
    payload = filled(path)
    again = SqliteScans(path)
    assert Desk(again).scan(payload, id_="one").verdict is Verdict.ACCEPTED
    assert Desk(again).scan(payload, id_="two").verdict is Verdict.DUPLICATE
    again.close()


def test_it_is_durable_before_it_is_answered(path: Path) -> None:
    """Another process sees it at once, and a commit is synced."""
    store = SqliteScans(path)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    Desk(store).scan(indicium(), id_="one")
    other = SqliteScans(path)
    assert Desk(other).scan(indicium(), id_="two").verdict is Verdict.DUPLICATE
    other.close()
    store.close()


@pytest.mark.parametrize("kind", [MemoryScans, lambda: SqliteScans(None)])
def test_a_turn_that_fails_leaves_nothing(kind: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    desk, payload = Desk(kind()), indicium()

    def cut(case: Any, assessment: Any) -> None:
        add(case, assessment)
        raise KeyboardInterrupt

    add = desk.store.add
    monkeypatch.setattr(desk.store, "add", cut)
    with pytest.raises(KeyboardInterrupt):
        desk.scan(payload, id_="one")
    monkeypatch.undo()
    assert desk.scan(payload, id_="two").verdict is Verdict.ACCEPTED


_PROCESS = """
import json, sys
from pathlib import Path
from pes_sim.indicium.verify import Trust
from pes_sim.postal.acceptance import Office, accept
from pes_sim.postal.assessment import Scan
from pes_sim.postal.sqlite_store import SqliteScans
from tests.postal.made import DAY
path, name = sys.argv[1:]
print("ready", flush=True)
told = json.loads(sys.stdin.readline())
office = Office(Trust(bytes.fromhex(told["anchor"]), [bytes.fromhex(told["psd"])]))
store = SqliteScans(Path(path))
for number, payload in enumerate(told["payloads"]):
    print(accept(Scan(f"{name}-{number}", bytes.fromhex(payload), DAY), office, store).verdict, flush=True)
"""


def test_two_processes_with_the_same_copies_accept_each_once(path: Path) -> None:
    """Both begin with a file that neither has made yet."""
    counts = range(1, 21)
    payloads = [indicium(piece_count=n, ascending_mills=740 * n, descending_mills=100_000 - 740 * n) for n in counts]
    told = {"anchor": trust().anchor.hex(), "psd": certificate().hex(), "payloads": [p.hex() for p in payloads]}
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([sys.executable, "-c", _PROCESS, str(path), name], cwd=ROOT, text=True,
                         stdin=pipe, stdout=pipe, stderr=pipe)
        for name in ("a", "b")
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
    said = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        said.append(out.split())
    assert [sorted(both) for both in zip(*said, strict=True)] == [["accepted", "duplicate"]] * len(payloads)


def test_two_threads_with_one_copy_cannot_both_be_first(path: Path) -> None:
    desk, payload = Desk(SqliteScans(path)), indicium()
    said: list[Verdict] = []
    start = threading.Barrier(4)

    def hand_in() -> None:
        start.wait()
        said.append(desk.scan(payload).verdict)

    threads = [threading.Thread(target=hand_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [Verdict.ACCEPTED, *[Verdict.DUPLICATE] * 3]
    assert isinstance(desk.store, SqliteScans)
    desk.store.close()


def test_every_look_goes_by_an_index(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of a million scans is not looked through: no plan scans the table or sorts."""
    store = SqliteScans(path)
    asked: list[tuple[str, tuple[object, ...]]] = []
    first = store._first

    def heard(query: str, *values: object) -> Any:
        asked.append((query, values))
        return first(query, *values)

    monkeypatch.setattr(store, "_first", heard)
    Desk(store).scan(indicium(MAX, tracking_number=TRACKING), mailpiece="m")
    assert len(asked) == 10
    for query, values in asked:
        plan = [row[3] for row in store._db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
        assert not any("TEMP B-TREE" in step for step in plan), (query, plan)
        assert all("USING" in step and "INDEX" in step for step in plan if "scan" in step), (query, plan)
    store.close()


def test_a_payload_that_was_copied_very_often_is_counted_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pes_sim.postal.store.MOST_COPIES", 2)
    monkeypatch.setattr("pes_sim.postal.sqlite_store.MOST_COPIES", 2)
    assert MOST_COPIES > 2
    for store in (MemoryScans(), SqliteScans(None)):
        desk = Desk(store)
        notes = [finding(desk.scan(indicium()), "reprint").note for _ in range(4)]
        assert len(set(notes[1:])) == 1


def test_a_file_of_any_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SqliteScans(Path(":memory:")).close()
    assert (tmp_path / ":memory:").is_file()


# Files that are something else


def test_another_programs_database_is_refused_and_left_as_it_was(path: Path) -> None:
    changed(path, "CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match="another program's database") as caught:
        SqliteScans(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert path.read_bytes() == before


def test_a_later_format_is_refused(path: Path) -> None:
    filled(path)
    changed(path, "PRAGMA user_version = 4")
    with pytest.raises(StorageFailed, match="its format is 4, this version knows 3"):
        SqliteScans(path)


@pytest.mark.parametrize("data", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(200)])
def test_a_file_that_is_no_database_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(StorageFailed, match="cannot be used"):
        SqliteScans(path)
    assert path.read_bytes() == data


def test_a_table_whose_very_name_is_damaged_is_refused(path: Path) -> None:
    filled(path)
    data = path.read_bytes()
    assert b"tablescanscan" in data
    data = data.replace(b"tablescanscan", b"tables\xec\xffnscan").replace(b"CREATE TABLE scan", b"CREATE LABEL scan")
    path.write_bytes(data)
    with pytest.raises(StorageFailed, match="cannot be used: its tables are damaged"):
        SqliteScans(path)


def test_a_directory_or_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "such"):
        with pytest.raises(StorageFailed, match="cannot be used"):
            SqliteScans(place)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE scan SET assessment = 'x'",
        "UPDATE scan SET assessment = '[]'",
        "UPDATE scan SET assessment = '{}'",
        "UPDATE scan SET assessment = x'00'",
        "UPDATE scan SET assessment = '" + "[" * 50_000 + "'",
        """UPDATE scan SET assessment = json_set(assessment, '$.verdict', 'fine')""",
        """UPDATE scan SET assessment = json_set(assessment, '$.layout', 5)""",
        """UPDATE scan SET assessment = json_set(assessment, '$.fields', json('{"a": null}'))""",
        """UPDATE scan SET assessment = json_set(assessment, '$.fields', json('{"a": {"hex": "zz"}}'))""",
        """UPDATE scan SET assessment = json_set(assessment, '$.checks', json('[5]'))""",
        "DROP TABLE scan",
        "ALTER TABLE scan RENAME assessment TO x",
    ],
)
def test_a_damaged_row_is_named_and_not_taken_for_an_answer(path: Path, damage: str) -> None:
    payload = filled(path)
    changed(path, damage)
    store = SqliteScans(path)
    with pytest.raises(StorageFailed) as caught:
        Desk(store).scan(payload, id_="one")
    assert str(path) in caught.value.message
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE scan SET day = 'never'",
        "UPDATE scan SET day = x'ff'",
        "UPDATE scan SET ascending = 'much'",
        "UPDATE scan SET descending = 1.5",
        "UPDATE scan SET mailing_date = '#5', mailpiece = 'n'",
        "UPDATE scan SET postage = 1e300, mailpiece = 'n'",
        "CREATE TRIGGER stop BEFORE INSERT ON scan BEGIN SELECT raise(ABORT, 'no'); END",
    ],
)
def test_damage_to_what_is_compared_is_an_error_and_no_verdict(path: Path, damage: str) -> None:
    filled(path)
    changed(path, damage)
    store = SqliteScans(path)
    payload = indicium(MAX, tracking_number=TRACKING, piece_count=4)
    with pytest.raises(StorageFailed):
        Desk(store).scan(payload, mailpiece="n")
    store.close()


def test_a_store_that_another_process_keeps_is_said_to_be_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pes_sim.postal.sqlite_store._WAIT", 0.01)
    filled(path)
    holder = sqlite3.connect(path, isolation_level=None)
    store = SqliteScans(path)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageFailed, match="locked") as caught:
        Desk(store).scan(indicium())
    assert "Another process has it open" in caught.value.hint
    with pytest.raises(StorageFailed, match="locked"):
        SqliteScans(path)
    holder.close()
    store.close()


# What is kept


def test_an_assessment_comes_back_as_it_was_written() -> None:
    for payload in (indicium(), b"", indicium()[:50], bytes.fromhex(
        json.loads((ROOT / "tests/vectors/ibi_samples.json").read_text())[0]["hex"]
    )):  # fmt: skip
        assessment = judged(payload)
        again = from_document(json.loads(json.dumps(assessment.document())))
        assert again == assessment


@pytest.mark.parametrize("name", ["", "x" * (LONGEST_NAME + 1), "a\nb", "\ud800"])
def test_an_id_is_a_printable_name(name: str) -> None:
    with pytest.raises(UsageError, match="is no scan id"):
        Scan(name, b"", DAY)
    if name:
        with pytest.raises(UsageError, match="is no mailpiece"):
            Scan("s", b"", DAY, name)


def test_a_payload_is_no_file() -> None:
    with pytest.raises(UsageError, match="65537 bytes are no payload"):
        Scan("s", bytes(LONGEST_PAYLOAD + 1), DAY)
    assert Scan("s", bytes(LONGEST_PAYLOAD), date.min).mailpiece == ""


def test_bytes_that_nobody_signed_make_no_other_payload() -> None:
    """A layout that is only read lets them pass: real samples of IBI have some."""
    sample = json.loads((Path(__file__).parents[1] / "vectors" / "ibi_samples.json").read_text())[0]
    payload = bytes.fromhex(sample["hex"])
    behind = [payload, payload + b"\0", payload[:89]]
    cases = [office(layouts=[builtin("ibi")]).case(Scan("1", one, DAY)) for one in behind]
    assert len({digest(case) for case in cases}) == 1
