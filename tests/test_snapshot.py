"""Snapshots of a whole meter: taken, restored, cloned; and what the provider says to a device that was put back."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from pes_sim import snapshot
from pes_sim.errors import (
    DirectoryInUse,
    HostileDirectory,
    IntegrityError,
    Locked,
    PesError,
    RefusedByProvider,
    StorageFailed,
    StorageFull,
    UsageError,
)
from pes_sim.meter import archive, home, replacing
from pes_sim.meter.archive import KEY_PART, Archive, Entry, Manifest
from pes_sim.meter.config import MeterConfig, read_config
from pes_sim.psd.device import Psd
from pes_sim.psd.lifecycle import Lock
from pes_sim.virtual import DEFAULT_START, VirtualMeter, create
from tests.meter.bench import SMALL_BANK
from tests.meter.made import DEPOSIT, FUNDS, SERIAL, copy_of_a_meter

ROOT = Path(__file__).parents[1]
HOUR = 3_600_000_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return copy_of_a_meter(tmp_path / "m1")


@pytest.fixture
def taken(tmp_path: Path, directory: Path) -> Path:
    """A snapshot of the meter as it came: $100 in it, nothing printed, the refill not yet reported."""
    snapshot.take(directory, tmp_path / "taken")
    return tmp_path / "taken"


def files(directory: Path) -> dict[str, bytes]:
    """Every file of a meter but the lock's note of its holder."""
    paths = (path for path in directory.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def device(directory: Path) -> dict[str, bytes]:
    """Its files without those of its world."""
    found = files(directory)
    return {name: found[name] for name in found if name != "clock.json" and not name.startswith("provider/")}


def world(directory: Path) -> dict[str, bytes]:
    found = files(directory)
    return {name: found[name] for name in found if name == "clock.json" or name.startswith("provider/")}


def live(directory: Path, pieces: int = 1, *, check_in: bool = False, refill: int = 0) -> None:
    """Some of a meter's life."""
    with VirtualMeter(directory) as meter:
        if refill:
            meter.refill(refill)
        for _ in range(pieces):
            meter.print_piece(department="100")
        if check_in:
            meter.check_in()
        meter.advance(HOUR)


def complaint(kind: type[PesError], call: Callable[[], object]) -> PesError:
    with pytest.raises(kind) as refusal:
        call()
    assert "\n" not in refusal.value.message
    assert "\n" not in refusal.value.hint != ""
    return refusal.value


# --- taking one ------------------------------------------------------------------------------------------------------


def test_everything_of_a_meter_is_in_it_the_device_and_its_world_apart(directory: Path, taken: Path) -> None:
    (directory / "jobs").mkdir()
    (directory / "jobs" / "job-1.json").write_text("[]")
    manifest = snapshot.take(directory, taken.with_name("second"))
    assert manifest.psd_serial == SERIAL
    assert {entry.name: entry.size for entry in manifest.device} == {n: len(c) for n, c in device(directory).items()}
    assert {entry.name: entry.size for entry in manifest.world} == {n: len(c) for n, c in world(directory).items()}
    assert "jobs/job-1.json" in device(directory)


def test_every_part_that_a_meter_may_have_is_known_to_snapshots() -> None:
    known = {*replacing.DEVICE[""], *snapshot.WORLD[""], *replacing.DEVICE, *snapshot.WORLD} - {""}
    passing = {"meter.sqlite-shm", replacing.DECIDED, replacing.UNDECIDED}
    assert known | passing == set(home.PARTS)


def test_the_same_meter_makes_the_same_bytes_and_is_not_changed(directory: Path, taken: Path) -> None:
    before = files(directory)
    snapshot.take(directory, taken.with_name("second"))
    assert taken.read_bytes() == taken.with_name("second").read_bytes()
    assert files(directory) == before
    assert len(taken.read_bytes()) < sum(map(len, before.values())) / 50
    VirtualMeter(directory).close()


def test_pieces_that_are_not_yet_in_the_databases_own_file_are_in_it(tmp_path: Path, directory: Path) -> None:
    """As a meter leaves it that was killed: beside meter.sqlite lies what is to be written into it."""
    crashed = tmp_path / "crashed"
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")
        meter.centre.balance("TEST CUSTOMER")  # its database is opened when somebody asks for it
        shutil.copytree(directory, crashed)
    manifest = snapshot.take(crashed, tmp_path / "file")
    assert "meter.sqlite-wal" in [entry.name for entry in manifest.device]
    assert "provider/provider.sqlite-wal" in [entry.name for entry in manifest.world]
    snapshot.clone(tmp_path / "file", tmp_path / "m2")
    with VirtualMeter(tmp_path / "m2") as meter:
        assert [total.pieces for total in meter.departments()] == [1, 0]
        assert meter.centre.balance("TEST CUSTOMER") == DEPOSIT - FUNDS


def test_other_files_in_the_directory_are_not_in_it(directory: Path, taken: Path) -> None:
    for name in ("notes.txt", "psd/notes.txt", "provider/notes.txt", "m1.snapshot"):
        (directory / name).write_text("mine")
    snapshot.take(directory, taken.with_name("second"))
    assert taken.with_name("second").read_bytes() == taken.read_bytes()


def test_a_part_whose_name_no_part_has_is_told_and_not_left_out(directory: Path, tmp_path: Path) -> None:
    (directory / "jobs").mkdir()
    (directory / "jobs" / "copy of job-1.json").write_text("[]")
    problem = complaint(UsageError, lambda: snapshot.take(directory, tmp_path / "file"))
    assert problem.message == f"{directory}/jobs/copy of job-1.json has a name that no part of a meter has"
    assert not (tmp_path / "file").exists()


def test_a_part_that_is_missing_is_left_out_and_one_that_cannot_be_read_is_told(
    directory: Path, tmp_path: Path
) -> None:
    shutil.rmtree(directory / "provider")
    assert [entry.name for entry in snapshot.take(directory, tmp_path / "file").world] == ["clock.json"]
    (directory / "jobs").write_text("a file")
    with pytest.raises(StorageFailed, match="jobs cannot be read: Not a directory"):
        snapshot.take(directory, tmp_path / "second")


HOLDER = """
import sys
from pathlib import Path
from pes_sim.virtual import VirtualMeter
with VirtualMeter(Path(sys.argv[1])):
    print("holding", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(directory: Path) -> Iterator[int]:
    """Another process that has the meter open."""
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        yield process.pid
        process.communicate("")


def test_a_meter_that_is_running_is_neither_taken_nor_restored_and_the_error_names_who_has_it(
    directory: Path, taken: Path
) -> None:
    with holder(directory) as process:
        for call in (
            lambda: snapshot.take(directory, taken.with_name("second")),
            lambda: snapshot.restore(taken, directory),
        ):
            problem = complaint(DirectoryInUse, call)
            assert f"{directory / 'psd'} is in use by process {process} (" in problem.message
    assert sorted(path.name for path in taken.parent.iterdir()) == ["m1", "taken"]


@pytest.mark.parametrize("work", ["take", "restore"])
def test_the_lock_is_held_while_files_are_copied_and_not_longer(
    directory: Path, taken: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    asked = []

    def second(*_: object, **__: object) -> None:
        with pytest.raises(DirectoryInUse):
            VirtualMeter(directory)
        asked.append(work)
        raise UsageError("enough")

    monkeypatch.setattr(snapshot, "write", second)
    monkeypatch.setattr(snapshot, "_unpack", second)
    whole = {"take": (directory, taken.with_name("second")), "restore": (taken, directory)}
    with pytest.raises(UsageError, match="enough"):
        getattr(snapshot, work)(*whole[work])
    assert asked == [work]
    VirtualMeter(directory).close()


def test_where_there_is_no_meter_there_is_nothing_to_take(tmp_path: Path) -> None:
    assert complaint(UsageError, lambda: snapshot.take(tmp_path, tmp_path / "file")).message == (
        f"there is no meter in {tmp_path}"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["psd", "provider", "jobs", "meter.sqlite"])
def test_a_part_that_is_a_link_is_not_followed(directory: Path, tmp_path: Path, name: str) -> None:
    shutil.rmtree(directory / name) if (directory / name).is_dir() else (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(tmp_path)
    problem = complaint(UsageError, lambda: snapshot.take(directory, tmp_path / "file"))
    assert f"{directory / name} is a symbolic link" in problem.message
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("name", ["jobs/job-1.json", "psd/kek.key", "provider/ca.pem"])
def test_nor_is_a_link_within_its_folders(directory: Path, tmp_path: Path, name: str) -> None:
    (directory / "jobs").mkdir()
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to("/etc/hostname")
    with pytest.raises(StorageFailed, match=f"{name}"):
        snapshot.take(directory, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_fifo_among_the_jobs_is_not_waited_for(directory: Path, tmp_path: Path) -> None:
    (directory / "jobs").mkdir()
    os.mkfifo(directory / "jobs" / "job-1.json")
    assert "is no regular file" in complaint(UsageError, lambda: snapshot.take(directory, tmp_path / "file")).message


def test_a_directory_that_others_may_write_to_is_not_taken(directory: Path, tmp_path: Path) -> None:
    (directory / "provider").chmod(0o777)
    with pytest.raises(HostileDirectory, match="others may write to"):
        snapshot.take(directory, tmp_path / "file")


def test_a_meter_with_a_damaged_log_can_be_taken_for_somebody_to_look_at(directory: Path, tmp_path: Path) -> None:
    (directory / "psd" / "log-0000000000000001.seg").write_bytes(b"rot")
    snapshot.take(directory, tmp_path / "file")
    snapshot.clone(tmp_path / "file", tmp_path / "m2")
    assert device(tmp_path / "m2") == device(directory)


@pytest.mark.parametrize("damage", ["missing", "another's", "short"])
def test_without_its_master_key_there_is_nothing_to_put_it_under(directory: Path, tmp_path: Path, damage: str) -> None:
    (directory / KEY_PART).unlink()
    if damage != "missing":
        (directory / KEY_PART).write_bytes(bytes(32 if damage == "another's" else 5))
        (directory / KEY_PART).chmod(0o600)
    with pytest.raises((StorageFailed, IntegrityError), match=r"master\.key|master key"):
        snapshot.take(directory, tmp_path / "file")
    assert not (tmp_path / "file").exists()


# --- restoring: the device goes back, the world does not --------------------------------------------------------------


def test_the_device_is_what_it_was_and_clock_and_provider_are_what_they_are(directory: Path, taken: Path) -> None:
    before = device(directory)
    live(directory, 3, check_in=True)
    (directory / "jobs").mkdir()
    (directory / "jobs" / "job-1.json").write_text("[]")
    (directory / "notes.txt").write_text("mine")
    around = world(directory)
    snapshot.restore(taken, directory)
    assert device(directory) == before | {"notes.txt": b"mine"}
    assert world(directory) == around
    with VirtualMeter(directory) as meter:
        assert meter.registers().piece_count == 0
        assert meter.registers().descending_mills == FUNDS
        assert meter.clock.now() == DEFAULT_START + HOUR


def test_nothing_of_the_later_database_is_left_beside_the_earlier_one(directory: Path, taken: Path) -> None:
    """SQLite would mix them: a write-ahead file belongs to one database."""
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")
        shutil.copytree(directory, directory.with_name("crashed"))
    crashed = directory.with_name("crashed")
    assert {"meter.sqlite-wal", "meter.sqlite-shm"} <= set(os.listdir(crashed))
    snapshot.restore(taken, crashed)
    assert not {"meter.sqlite-wal", "meter.sqlite-shm"} & set(os.listdir(crashed))
    with VirtualMeter(crashed) as meter:
        assert [total.pieces for total in meter.departments()] == [0, 0]
        meter.print_piece(department="100")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_put_back_is_for_its_owner_alone(directory: Path, taken: Path, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        snapshot.restore(taken, directory)
        snapshot.clone(taken, tmp_path / "m2")
    finally:
        os.umask(before)
    for path in [directory / name for name in replacing.DEVICE[""] if (directory / name).exists()]:
        assert path.stat().st_mode & 0o777 == 0o600
    for path in (tmp_path / "m2", *(tmp_path / "m2").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def found_out(directory: Path) -> None:
    """The next check-in finds that an older image was put back, and so does every one after it."""
    with VirtualMeter(directory) as meter:
        assert meter.status().state == "OPERATIONAL"
        with pytest.raises(PesError):
            meter.check_in()
    with VirtualMeter(directory) as meter:
        assert meter.status().state == "LOCKED"
        assert Lock.ROLLBACK_FOUND.value in meter.status().lock_reasons
        with pytest.raises(Locked):
            meter.print_piece(department="100")
        with pytest.raises(PesError):
            meter.check_in()
        assert meter.status().state == "LOCKED"


@pytest.mark.parametrize("seed", ["", "lucky"])
def test_an_older_image_is_found_at_the_next_check_in_and_the_device_is_locked(tmp_path: Path, seed: str) -> None:
    directory, file = copy_of_a_meter(tmp_path / "m1", seed), tmp_path / "file"
    snapshot.take(directory, file)
    live(directory, 3, check_in=True)
    snapshot.restore(file, directory)
    found_out(directory)


@pytest.mark.parametrize("seed", ["", "lucky"])
def test_it_is_found_also_after_it_has_printed_as_much_again(tmp_path: Path, seed: str) -> None:
    directory, file = copy_of_a_meter(tmp_path / "m1", seed), tmp_path / "file"
    snapshot.take(directory, file)
    live(directory, 3, check_in=True)
    snapshot.restore(file, directory)
    live(directory, 5)
    found_out(directory)


def test_it_is_found_after_a_refill_that_the_image_does_not_know(directory: Path, taken: Path) -> None:
    live(directory, 0, refill=50_000)
    snapshot.restore(taken, directory)
    found_out(directory)


def test_it_gets_no_money_before_it_checks_in_either(directory: Path, taken: Path) -> None:
    live(directory, 3, check_in=True)
    snapshot.restore(taken, directory)
    with VirtualMeter(directory) as meter:
        with pytest.raises(RefusedByProvider):
            meter.refill(1_000)
        assert meter.registers().control_sum_mills == FUNDS
        assert meter.centre.balance("TEST CUSTOMER") == DEPOSIT - FUNDS


def test_restored_twice_it_is_found_out_all_the_same(directory: Path, taken: Path) -> None:
    live(directory, 3, check_in=True)
    snapshot.restore(taken, directory)
    once = device(directory)
    snapshot.restore(taken, directory)
    assert device(directory) == once
    found_out(directory)
    snapshot.restore(taken, directory)
    with VirtualMeter(directory) as meter:  # it does not know of its lock any more; the provider does
        with pytest.raises(PesError):
            meter.check_in()
        assert meter.status().state == "LOCKED"


@pytest.mark.parametrize("check_in", [True, False])
def test_in_the_newest_image_nothing_is_found_and_service_goes_on(tmp_path: Path, check_in: bool) -> None:
    directory, file = copy_of_a_meter(tmp_path / "m1"), tmp_path / "file"
    live(directory, 3, check_in=check_in)
    snapshot.take(directory, file)
    before = files(directory)
    snapshot.restore(file, directory)
    assert files(directory) == before
    with VirtualMeter(directory) as meter:
        assert meter.check_in().state == "OPERATIONAL"
        meter.refill(1_000)
        meter.print_piece(department="100")
        assert meter.registers().piece_count == 4


def test_what_nobody_was_told_of_nobody_can_miss(directory: Path, taken: Path) -> None:
    """The window that docs/storage.md names: what was printed since the last report that arrived."""
    live(directory, 3)
    snapshot.restore(taken, directory)
    with VirtualMeter(directory) as meter:
        assert meter.check_in().state == "OPERATIONAL"


def test_a_withdrawn_device_that_is_put_back_is_not_taken_into_service_again(directory: Path, taken: Path) -> None:
    with VirtualMeter(directory) as meter:
        meter.withdraw()
    snapshot.restore(taken, directory)
    with VirtualMeter(directory) as meter:
        with pytest.raises(PesError):
            meter.check_in()
        assert meter.status().state == "LOCKED"
        with pytest.raises(PesError):
            meter.refill(1_000)


# --- what is not restored ---------------------------------------------------------------------------------------------


def unchanged(directory: Path, kind: type[PesError], call: Callable[[], object]) -> PesError:
    before = files(directory)
    problem = complaint(kind, call)
    assert files(directory) == before
    VirtualMeter(directory).close()
    return problem


def test_another_devices_image_is_refused(directory: Path, taken: Path, tmp_path: Path) -> None:
    create(tmp_path / "other", psd_serial=42)
    problem = unchanged(tmp_path / "other", UsageError, lambda: snapshot.restore(taken, tmp_path / "other"))
    assert problem.message == f"{taken} is of PSD {SERIAL}; {tmp_path / 'other'} is PSD 42"
    assert f"pes-sim meter clone {taken} DIR" in problem.hint


def test_and_so_is_that_of_another_device_of_the_same_number(taken: Path, tmp_path: Path) -> None:
    create(tmp_path / "other", psd_serial=SERIAL)
    problem = unchanged(tmp_path / "other", UsageError, lambda: snapshot.restore(taken, tmp_path / "other"))
    assert problem.message == f"{taken} is of another PSD {SERIAL} than {tmp_path / 'other'}, or was altered"


def test_where_there_is_no_meter_nothing_is_restored_and_the_error_names_what_would_be(
    taken: Path, tmp_path: Path
) -> None:
    problem = complaint(UsageError, lambda: snapshot.restore(taken, tmp_path / "none"))
    assert problem.message == f"there is no meter in {tmp_path / 'none'} to restore"
    assert problem.hint.endswith(f"pes-sim meter clone {taken} {tmp_path / 'none'}")
    assert not (tmp_path / "none").exists()


def test_a_file_that_was_altered_cut_short_or_replaced_changes_nothing(directory: Path, taken: Path) -> None:
    live(directory, 2)
    good = taken.read_bytes()
    for at in (*range(0, 700, 9), *range(700, len(good), 397), *range(len(good) - 40, len(good))):
        for bad in (good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :], good[:at]):
            taken.write_bytes(bad)
            before = device(directory)
            complaint(PesError, lambda: snapshot.restore(taken, directory))
            complaint(PesError, lambda: snapshot.clone(taken, directory.with_name("m2")))
            assert device(directory) == before
    taken.write_bytes(b"no snapshot")
    problem = unchanged(directory, UsageError, lambda: snapshot.restore(taken, directory))
    assert problem.message == f"{taken} is not a snapshot of a meter"
    assert sorted(path.name for path in taken.parent.iterdir()) == ["m1", "taken"]


def test_nothing_is_unpacked_before_the_whole_file_was_checked(
    directory: Path, taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = taken.read_bytes()
    taken.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    monkeypatch.setattr(snapshot, "_unpack", lambda *_, **__: pytest.fail("unpacked"))
    unchanged(directory, IntegrityError, lambda: snapshot.restore(taken, directory))
    complaint(IntegrityError, lambda: snapshot.clone(taken, directory.with_name("m2")))


def test_a_link_to_a_snapshot_is_not_followed(directory: Path, taken: Path) -> None:
    taken.with_name("link").symlink_to(taken)
    problem = unchanged(directory, UsageError, lambda: snapshot.restore(taken.with_name("link"), directory))
    assert problem.message == f"{taken.with_name('link')} cannot be read: it is a symbolic link"


def forged(directory: Path, file: Path, *, add: str = "", leave: str = "", to: str = "device") -> Path:
    """A file with the right MAC that lists what it should not, or lacks what it should have."""
    master = (directory / KEY_PART).read_bytes()
    parts = {"device": {KEY_PART: master, "meter.json": (directory / "meter.json").read_bytes()}, "world": {}}
    if add:
        parts[to][add] = b"x"
    if leave:
        del parts[to][leave]
    contents = parts["device"] | parts["world"]

    def opened(name: str) -> int:
        fd = os.memfd_create("part")
        os.pwrite(fd, contents[name], 0)
        return fd

    device, world = (tuple(Entry(name, len(part[name])) for name in part) for part in parts.values())
    archive.write(file, snapshot._key(master), Manifest(SERIAL, device, world), directory, opened)
    return file


FOREIGN = [
    ("device", "psd/lock"), ("device", "provider/ca.pem"), ("device", "zz"), ("device", "psd/x"), ("device", "psd.seg"),
    ("world", "psd/a.key"), ("world", "meter.key"), ("world", "provider/x"), ("world", "folder/ca.pem"),
    ("device", "meter.restore/list.json"),
]  # fmt: skip


@pytest.mark.parametrize(("to", "name"), FOREIGN)
def test_a_file_that_holds_what_is_no_part_of_a_meter_is_refused_as_a_whole(
    directory: Path, tmp_path: Path, to: str, name: str
) -> None:
    file = forged(directory, tmp_path / "file", add=name, to=to)
    for call in (lambda: snapshot.restore(file, directory), lambda: snapshot.clone(file, tmp_path / "m2")):
        problem = unchanged(directory, IntegrityError, call)
        assert f"it holds {name}, which is no part of a meter" in problem.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "m1"]


def test_a_file_without_what_makes_a_meter_is_refused(directory: Path, tmp_path: Path) -> None:
    file = forged(directory, tmp_path / "file", leave="meter.json")
    problem = unchanged(directory, IntegrityError, lambda: snapshot.restore(file, directory))
    assert "it holds no meter.json" in problem.message


def test_a_name_that_leads_out_of_the_directory_is_refused(directory: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("psd/../../escaped", "zz/../../escaped")):
        file = forged(directory, tmp_path / str(number), add=name)
        unchanged(directory, IntegrityError, lambda file=file: snapshot.restore(file, directory))  # type: ignore[misc]
        complaint(IntegrityError, lambda file=file: snapshot.clone(file, tmp_path / "m2"))  # type: ignore[misc]
    assert not list(tmp_path.rglob("escaped"))


def test_more_than_there_is_room_for_is_told_before_anything_is_written(
    directory: Path, taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    monkeypatch.setattr(replacing.Stage, "write", lambda *_: pytest.fail("written"))
    for call in (lambda: snapshot.restore(taken, directory), lambda: snapshot.clone(taken, taken.with_name("m2"))):
        problem = unchanged(directory, StorageFull, call)
        assert "has room for 1000000 bytes, and 2" in problem.message


# --- cloning ----------------------------------------------------------------------------------------------------------


def test_a_clone_is_the_whole_meter_and_goes_its_own_way(directory: Path, taken: Path, tmp_path: Path) -> None:
    manifest = snapshot.clone(taken, tmp_path / "new" / "m2")
    assert files(tmp_path / "new" / "m2") == files(directory)
    assert len(manifest.parts) == len(files(directory))
    live(directory, 3, check_in=True)
    with VirtualMeter(tmp_path / "new" / "m2") as meter:
        assert meter.info()["psd_serial"] == SERIAL
        meter.print_piece(department="200")
        assert meter.check_in().state == "OPERATIONAL"
        meter.refill(5_000)
        assert meter.registers().control_sum_mills == FUNDS + 5_000
        assert meter.centre.balance("TEST CUSTOMER") == DEPOSIT - FUNDS - 5_000
    with VirtualMeter(directory) as meter:
        assert meter.centre.balance("TEST CUSTOMER") == DEPOSIT - FUNDS


def test_a_clone_is_as_much_a_specimen(taken: Path, tmp_path: Path) -> None:
    snapshot.clone(taken, tmp_path / "m2")
    with VirtualMeter(tmp_path / "m2") as meter:
        assert "SPECIMEN ONLY" in meter.info()["notice"]
        assert meter.info()["provider_id"] == "99"
    assert "SPECIMEN ONLY" in json.loads((tmp_path / "m2" / "meter.json").read_bytes())["notice"]


@pytest.mark.parametrize("seed", ["", "lucky"])
def test_two_clones_with_one_provider_are_found_out(tmp_path: Path, seed: str) -> None:
    snapshot.take(copy_of_a_meter(tmp_path / "m1", seed), tmp_path / "file")
    for name in ("a", "b"):
        snapshot.clone(tmp_path / "file", tmp_path / name)
    live(tmp_path / "a", 1, check_in=True)
    live(tmp_path / "b", 2)
    shutil.rmtree(tmp_path / "b" / "provider")
    (tmp_path / "a" / "provider").rename(tmp_path / "b" / "provider")
    found_out(tmp_path / "b")


def test_what_is_there_is_not_cloned_over(taken: Path, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = files(tmp_path)
    for name in ("m1", "empty", "link"):
        problem = complaint(UsageError, lambda name=name: snapshot.clone(taken, tmp_path / name))  # type: ignore[misc]
        assert problem.message == f"{tmp_path / name} is there already"
    assert files(tmp_path) == before


def test_a_snapshot_of_a_clone_is_the_same_again(taken: Path, tmp_path: Path) -> None:
    snapshot.clone(taken, tmp_path / "m2")
    snapshot.take(tmp_path / "m2", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == taken.read_bytes()


# --- cut off ----------------------------------------------------------------------------------------------------------

CALLS = ("open", "mkdir", "write", "fsync", "rename", "replace", "unlink", "rmdir")


class Cut(BaseException):
    pass


@contextmanager
def power_cut(monkeypatch: pytest.MonkeyPatch, number: int, problem: OSError | None = None) -> Iterator[list[str]]:
    """The `number`th call to the system does not happen: nor does any after it, or it alone fails with a `problem`."""
    made: list[str] = []

    def watched(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            made.append(name)
            if problem and len(made) == number and name != "open":
                raise problem
            if not problem and len(made) >= number:
                raise Cut
            return None if name == "fsync" else real(*arguments, **options)  # the disk's own work shows in no file

        return call

    with monkeypatch.context() as system:
        for name in CALLS:
            system.setattr(os, name, watched(name, getattr(os, name)))
        yield made


@pytest.fixture
def two_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A meter of small segments, and a snapshot of an earlier state of it: other segments, and other jobs."""
    monkeypatch.setattr(home, "Psd", partial(Psd, bank=SMALL_BANK))
    directory, file = tmp_path / "m1", tmp_path / "file"
    create(directory)
    (directory / "jobs").mkdir()
    (directory / "jobs" / "job-1.json").write_text("[1]")
    live(directory, 0, refill=FUNDS)
    snapshot.take(directory, file)
    live(directory, 30, check_in=True)
    (directory / "jobs" / "job-1.json").rename(directory / "jobs" / "job-2.json")
    with Archive(file) as archived:
        earlier = {entry.name for entry in archived.manifest.device}
    assert {f"psd/{path.name}" for path in directory.glob("psd/*.seg")} - earlier
    return directory, file


def calls_of(call: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    with power_cut(monkeypatch, 1 << 30) as made:
        call()
    return len(made)


def test_a_restore_that_is_cut_off_anywhere_leaves_the_old_device_or_the_new_one(
    two_lives: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, file = two_lives
    old, around = device(directory), world(directory)
    shutil.copytree(directory, tmp_path / "kept")
    count = calls_of(lambda: snapshot.restore(file, directory), monkeypatch)
    new = device(directory)
    assert new != old
    ends = []
    for number in range(1, count + 1):
        shutil.rmtree(directory)
        shutil.copytree(tmp_path / "kept", directory)
        with power_cut(monkeypatch, number), pytest.raises(Cut):
            snapshot.restore(file, directory)
        if number % 2:  # and once more, while what is left is being put right
            with power_cut(monkeypatch, number // 2), suppress(Cut):
                home.open_home(directory).close()
        home.open_home(directory).close()
        assert device(directory) in (old, new), number
        assert world(directory) == around
        ends.append(device(directory) == new)
        if number % 5 == 0:
            with VirtualMeter(directory) as meter:
                assert meter.registers().piece_count == (0 if ends[-1] else 30)
    assert ends == sorted(ends)  # one moment decides
    assert True in ends
    assert False in ends
    assert count > 60


@pytest.mark.parametrize("work", ["restore", "clone"])
def test_what_is_staged_is_durable_before_it_counts(
    two_lives: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    directory, file = two_lives
    dirty: set[str] = set()
    decided = []

    def path_of(fd: int) -> str:
        return os.readlink(f"/proc/self/fd/{fd}")

    real = {name: getattr(os, name) for name in ("write", "fsync", "rename")}

    def writes(fd: int, data: bytes) -> int:
        dirty.update((path_of(fd), str(Path(path_of(fd)).parent)))
        written: int = real["write"](fd, data)
        return written

    def syncs(fd: int) -> None:
        dirty.discard(path_of(fd))
        real["fsync"](fd)

    def renames(source: Path, target: Path) -> None:
        if target.name in (replacing.DECIDED, "m2"):
            decided.append(set(dirty))
        real["rename"](source, target)

    for name, call in (("write", writes), ("fsync", syncs), ("rename", renames)):
        monkeypatch.setattr(os, name, call)
    if work == "restore":
        snapshot.restore(file, directory)
    else:
        snapshot.clone(file, directory.with_name("m2"))
    assert decided == [set()]


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_restore_that_fails_leaves_nothing_behind(
    directory: Path, taken: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException
) -> None:
    before, names = files(directory), sorted(os.listdir(directory))

    def fails(*_: object) -> None:
        raise problem

    with monkeypatch.context() as medium:
        medium.setattr(os, "write", fails)
        with pytest.raises((StorageFull, KeyboardInterrupt)):
            snapshot.restore(taken, directory)
    assert files(directory) == before
    assert sorted(os.listdir(directory)) == names


def test_a_cut_off_restore_is_completed_by_whatever_is_done_next(
    two_lives: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, file = two_lives
    with monkeypatch.context() as patch:
        patch.setattr(replacing, "finish", lambda _: None)
        snapshot.restore(file, directory)
    assert (directory / replacing.DECIDED).is_dir()
    shutil.copytree(directory, tmp_path / "m2")
    with VirtualMeter(tmp_path / "m2") as meter:
        assert meter.registers().piece_count == 0
    snapshot.take(directory, tmp_path / "again")
    assert (tmp_path / "again").exists()
    assert not (directory / replacing.DECIDED).exists()
    with Archive(file) as first, Archive(tmp_path / "again") as again:
        assert again.manifest.device == first.manifest.device


def test_one_that_another_process_has_cut_off_meanwhile_is_completed_too(
    two_lives: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, file = two_lives
    real, once = read_config, [file]

    def meanwhile(path: Path) -> MeterConfig:
        while once:
            once_more, finish = once.pop(), replacing.finish
            monkeypatch.setattr(replacing, "finish", lambda _: None)
            snapshot.restore(once_more, directory)
            monkeypatch.setattr(replacing, "finish", finish)
        return real(path)

    monkeypatch.setattr("pes_sim.meter.home.read_config", meanwhile)
    with VirtualMeter(directory) as meter:
        assert meter.registers().piece_count == 0
    assert not replacing.is_unfinished(directory)


def test_a_restore_that_another_process_is_about_is_waited_out_with_an_error(
    two_lives: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, file = two_lives
    seen = []

    def meanwhile(*arguments: object) -> None:
        complaint(DirectoryInUse, lambda: VirtualMeter(directory))
        assert (directory / replacing.UNDECIDED).is_dir()
        seen.append(arguments)

    monkeypatch.setattr(replacing, "decide", meanwhile)
    snapshot.restore(file, directory)
    assert len(seen) == 1


FAULTS = ((errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageFailed))


def test_a_full_disk_or_a_failing_one_is_told_and_loses_nothing(
    two_lives: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, file = two_lives
    old = device(directory)
    shutil.copytree(directory, tmp_path / "kept")
    count = calls_of(lambda: snapshot.restore(file, directory), monkeypatch)
    new = device(directory)
    ends = set()
    for step in range(1, count + 1):
        shutil.rmtree(directory)
        shutil.copytree(tmp_path / "kept", directory)
        told, (number, kind) = False, FAULTS[step % 3]
        with power_cut(monkeypatch, step, OSError(number, os.strerror(number))):
            try:
                snapshot.restore(file, directory)
            except kind:
                told = True
        home.open_home(directory).close()
        assert device(directory) in (old, new)
        assert told or device(directory) == new
        ends.add((told, device(directory) == new))
    assert {(True, False), (False, True)} <= ends


@pytest.mark.parametrize("call", ["mkdir", "write", "fsync", "rename"])
def test_a_clone_that_fails_or_is_interrupted_is_not_there(
    taken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for problem, kind in ((OSError(28, "No space left on device"), StorageFull), (KeyboardInterrupt(), BaseException)):

        def fails(*_: object, problem: BaseException = problem, **__: object) -> None:
            raise problem

        with monkeypatch.context() as medium:
            medium.setattr(os, call, fails)
            with pytest.raises(kind):
                snapshot.clone(taken, tmp_path / "m2")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m1", "taken"]


def test_a_clone_that_is_cut_off_is_no_meter(taken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = calls_of(lambda: snapshot.clone(taken, tmp_path / "whole"), monkeypatch)
    for number in range(1, count + 1, 3):
        with power_cut(monkeypatch, number), pytest.raises(Cut):
            snapshot.clone(taken, tmp_path / "m2")
        if (tmp_path / "m2").exists():
            assert files(tmp_path / "m2") == files(tmp_path / "whole")
            shutil.rmtree(tmp_path / "m2")


def test_whether_a_file_would_be_taken_can_be_asked_and_touches_nothing(
    directory: Path, taken: Path, tmp_path: Path
) -> None:
    live(directory)
    before = files(directory)
    assert snapshot.check(taken, directory).psd_serial == SERIAL
    assert files(directory) == before
    (tmp_path / "file").write_bytes(taken.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        snapshot.check(tmp_path / "file", directory)
    assert files(directory) == before
