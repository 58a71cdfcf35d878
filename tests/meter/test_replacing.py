"""Parts are exchanged as a whole or not at all; what somebody may have prepared is not carried out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pes_sim.errors import HostileDirectory, IntegrityError, PesError, StorageFailed
from pes_sim.meter import replacing
from pes_sim.meter.replacing import DECIDED, UNDECIDED, decide, discard, finish, is_part_name, is_unfinished, stage


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with two parts and a note."""
    root = tmp_path / "m1"
    (root / "psd").mkdir(parents=True)
    for name in ("meter.key", "psd/two.seg", "notes.txt"):
        (root / name).write_text("old")
    return root


def files(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


OLD = {"meter.key": "old", "psd/two.seg": "old", "notes.txt": "old"}
NEW = {"meter.key": "new", "jobs/three.json": "new", "notes.txt": "old"}


def decided(directory: Path) -> None:
    staged = stage(directory)
    staged.write("meter.key", [b"n", b"ew"])
    staged.write("jobs/three.json", [b"new"])
    decide(directory, staged, ["psd/two.seg"])


def test_parts_come_and_go_and_what_is_none_stays(directory: Path) -> None:
    decided(directory)
    assert is_unfinished(directory)
    finish(directory)
    assert files(directory) == NEW
    assert not is_unfinished(directory)
    finish(directory)
    assert files(directory) == NEW


def test_what_was_not_decided_is_dropped(directory: Path) -> None:
    stage(directory).write("meter.key", [b"new"])
    assert is_unfinished(directory)
    finish(directory)
    assert files(directory) == OLD
    assert not is_unfinished(directory)
    discard(directory)


def test_what_was_carried_out_in_part_is_carried_out(directory: Path) -> None:
    decided(directory)
    (directory / DECIDED / "meter.key").replace(directory / "meter.key")
    (directory / "psd" / "two.seg").unlink()
    finish(directory)
    assert files(directory) == NEW


def test_new_parts_are_for_their_owner_alone(directory: Path) -> None:
    decided(directory)
    finish(directory)
    modes = {name: (directory / name).stat().st_mode & 0o777 for name in ("meter.key", "jobs", "jobs/three.json")}
    assert modes == {"meter.key": 0o600, "jobs": 0o700, "jobs/three.json": 0o600}


def test_a_part_is_staged_once(directory: Path) -> None:
    staged = stage(directory)
    staged.write("meter.key", [])
    with pytest.raises(StorageFailed, match=r"meter\.key: File exists"):
        staged.write("meter.key", [])
    with pytest.raises(StorageFailed, match=r"meter\.restore\.tmp: File exists"):
        stage(directory)


@pytest.mark.parametrize("name", ["a", "a/b", "psd/log-01.seg", "ca-key-NOT-FOR-PRODUCTION.pem", "-", "_"])
def test_names_of_parts(name: str) -> None:
    assert is_part_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/a", "a/", "a//b", "../a", "a/..", "a/../b", "a/b/c", ".a", "a b", "a\n"]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    assert not is_part_name(name)


LISTS = {
    "no JSON": "{",
    "a list": "[]",
    "nothing": "{}",
    "no names": '{"put": 1, "remove": []}',
    "numbers": '{"put": [1], "remove": []}',
    "a name that leads elsewhere": '{"put": [], "remove": ["../kept"]}',
    "an absolute name": '{"put": ["/etc/passwd"], "remove": []}',
    "a file that is no part": '{"put": [], "remove": ["notes.txt"]}',
    "the lock": '{"put": [], "remove": ["psd/lock"]}',
    "its data centre": '{"put": [], "remove": ["provider/provider.sqlite"]}',
    "nested beyond reason": "[" * 100_000,
    "a part that is in neither place": '{"put": ["ca.pem"], "remove": []}',
}


@pytest.mark.parametrize("document", LISTS.values(), ids=LISTS)
def test_a_list_that_is_damaged_is_told_and_nothing_outside_is_touched(directory: Path, document: str) -> None:
    (directory.parent / "kept").write_text("mine")
    decided(directory)
    (directory / DECIDED / "list.json").write_text(document)
    with pytest.raises(IntegrityError) as refusal:
        finish(directory)
    assert refusal.value.message.startswith(f"a restore was cut off, and {directory / DECIDED} is damaged: ")
    assert "pes-sim meter clone FILE DIR" in refusal.value.hint
    assert "\n" not in str(refusal.value)
    assert files(directory.parent)["kept"] == "mine"
    assert {name: content for name, content in files(directory).items() if name in OLD} == OLD
    assert is_unfinished(directory)


def test_a_list_that_is_missing_is_damage_too(directory: Path) -> None:
    decided(directory)
    (directory / DECIDED / "list.json").unlink()
    with pytest.raises(IntegrityError, match=r"list\.json cannot be read"):
        finish(directory)


def test_what_others_may_have_put_there_is_not_carried_out(directory: Path) -> None:
    decided(directory)
    (directory / DECIDED).chmod(0o777)
    with pytest.raises(HostileDirectory, match="others may write to"):
        finish(directory)
    assert files(directory)["meter.key"] == "old"


@pytest.mark.parametrize("folder", ["psd", "jobs", DECIDED])
def test_a_folder_that_is_a_link_is_not_gone_into(directory: Path, folder: str) -> None:
    elsewhere = directory.parent / "elsewhere"
    decided(directory)
    (directory / folder).rename(elsewhere) if (directory / folder).exists() else elsewhere.mkdir()
    (directory / folder).symlink_to(elsewhere)
    before = files(elsewhere)
    with pytest.raises(PesError, match=r"a symbolic link|Not a directory|Too many levels of symbolic links"):
        finish(directory)
    assert files(elsewhere) == before


def test_the_list_is_text_that_a_person_can_read(directory: Path) -> None:
    decided(directory)
    document = json.loads((directory / DECIDED / "list.json").read_text())
    assert document == {"put": ["meter.key", "jobs/three.json"], "remove": ["psd/two.seg"]}
    assert not os.path.lexists(directory / UNDECIDED)
    assert replacing.DECIDED in os.listdir(directory)
