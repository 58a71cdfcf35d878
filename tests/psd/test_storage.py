"""Storage: files that are durable, errors that say what and where, one process a directory."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pes_sim.errors import DirectoryInUse, HostileDirectory, StorageFailed, StorageFull
from pes_sim.psd.storage import DirectoryLock, FileStorage, MediumSlot, MemoryStorage, Storage, write_atomically

NAME = "log-0000000000000001.seg"


@pytest.fixture(params=["file", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return FileStorage(tmp_path / "psd") if request.param == "file" else MemoryStorage()


def test_an_area_is_zeros_until_written_and_keeps_what_is_written(storage: Storage) -> None:
    storage.create(NAME, 200_000)
    assert storage.names() == [NAME]
    assert storage.size(NAME) == 200_000
    assert storage.read(NAME, 0, 200_000) == bytes(200_000)
    storage.write(NAME, 70_000, b"abc")
    storage.sync(NAME)
    assert storage.read(NAME, 69_999, 5) == b"\0abc\0"
    storage.remove(NAME)
    assert storage.names() == []
    storage.close()


def test_an_area_made_once_more_is_zeros_again(storage: Storage) -> None:
    storage.create(NAME, 200)
    storage.write(NAME, 0, b"old" * 60)
    storage.create(NAME, 64)
    assert storage.size(NAME) == 64
    assert storage.read(NAME, 0, 64) == bytes(64)
    storage.close()


def test_files_are_there_for_the_next_process(tmp_path: Path) -> None:
    first = FileStorage(tmp_path)
    first.create(NAME, 64)
    first.write(NAME, 0, b"kept")
    first.close()
    second = FileStorage(tmp_path)
    assert second.read(NAME, 0, 4) == b"kept"
    second.close()
    third = FileStorage(tmp_path)
    third.remove(NAME)
    assert third.names() == []


def test_what_is_created_or_removed_is_on_the_disk_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    storage = FileStorage(tmp_path)
    storage.create(NAME, 64)
    assert synced == [str(tmp_path / NAME), str(tmp_path)]  # its zeros and length, then its name
    synced.clear()
    storage.remove(NAME)
    assert synced == [str(tmp_path)]
    storage.close()


def test_only_the_owner_may_read_what_the_device_keeps(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "psd")
    storage.create(NAME, 64)
    assert stat.S_IMODE((tmp_path / "psd").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "psd" / NAME).stat().st_mode) == 0o600


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    FileStorage(tmp_path)
    with pytest.raises(DirectoryInUse, match=rf"{tmp_path} is in use by process {os.getpid()} \("):
        FileStorage(tmp_path)


def test_no_descriptor_stays_open_after_a_refusal_or_after_close(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    first = FileStorage(tmp_path)
    held = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(DirectoryInUse) as refusal:
            FileStorage(tmp_path)
        assert len(os.listdir("/proc/self/fd")) == held, refusal
    first.close()
    first.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_process_is_told_too_and_may_have_it_after_close(tmp_path: Path) -> None:
    program = f"from pes_sim.psd.storage import *; FileStorage(Path({str(tmp_path)!r}))"
    storage = FileStorage(tmp_path)
    refused = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"in use by process {os.getpid()}" in refused.stderr
    storage.close()
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_lock_holds_though_somebody_removes_its_file(tmp_path: Path) -> None:
    """Two devices on one medium would both debit."""
    held = FileStorage(tmp_path)
    (tmp_path / "lock").unlink()
    with pytest.raises(DirectoryInUse, match="another process"):
        FileStorage(tmp_path)
    held.close()
    FileStorage(tmp_path).close()


def test_a_holder_that_knows_of_the_file_only_is_respected(tmp_path: Path) -> None:
    FileStorage(tmp_path).close()
    with open(tmp_path / "lock", "rb+") as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        with pytest.raises(DirectoryInUse, match="process"):
            FileStorage(tmp_path)
    FileStorage(tmp_path).close()


@pytest.mark.parametrize("call", ["open", "pwrite"])
def test_a_full_disk_keeps_nobody_from_holding_his_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The file only says who has it: without room for it the directory is held all the same."""
    FileStorage(tmp_path).close()
    real = {name: getattr(os, name) for name in ("open", "pwrite")}

    def full(*arguments: Any, **more: Any) -> Any:
        if call == "pwrite" or arguments[0] == "lock":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real[call](*arguments, **more)

    with monkeypatch.context() as disk:
        disk.setattr(os, call, full)
        held = FileStorage(tmp_path)
        with pytest.raises(DirectoryInUse):
            FileStorage(tmp_path)
        held.close()
    FileStorage(tmp_path).close()


def test_a_lock_whose_holder_left_no_name_is_still_a_lock(tmp_path: Path) -> None:
    held = DirectoryLock(tmp_path)
    (tmp_path / "lock").write_bytes(b"")
    with pytest.raises(DirectoryInUse, match="another process"):
        DirectoryLock(tmp_path)
    held.release()
    held.release()
    DirectoryLock(tmp_path).release()


def failing(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageFailed)]
)
@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_disk_that_says_no_is_named_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StorageFailed], call: str
) -> None:
    storage = FileStorage(tmp_path)
    storage.create(NAME, 64)
    monkeypatch.setattr(os, call, failing(code))
    if call == "pwrite":
        with pytest.raises(StorageFailed, match=NAME) as caught:
            storage.write(NAME, 0, b"x")
    else:
        with pytest.raises(StorageFailed, match=NAME) as caught:
            storage.sync(NAME)
    assert type(caught.value) is kind


def test_an_area_that_could_not_be_made_whole_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FileStorage(tmp_path)
    monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
    with pytest.raises(StorageFull, match="no room to create"):
        storage.create(NAME, 64)
    assert storage.names() == []
    monkeypatch.undo()
    storage.create(NAME, 64)
    assert storage.size(NAME) == 64


def test_a_missing_area_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match=NAME):
        FileStorage(tmp_path).read(NAME, 0, 1)


def test_a_place_that_is_no_directory_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "psd").write_text("a file")
    with pytest.raises(StorageFailed, match="psd"):
        FileStorage(tmp_path / "psd")


def test_a_short_write_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FileStorage(tmp_path)
    storage.create(NAME, 64)
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, bytes(data[:3]), offset))
    storage.write(NAME, 5, b"0123456789")
    assert storage.read(NAME, 5, 10) == b"0123456789"


def test_a_read_that_stops_before_a_page_that_cannot_be_read_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FileStorage(tmp_path)
    storage.create(NAME, 64)
    storage.write(NAME, 0, b"0123456789")
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: whole(fd, min(length, 3), offset))
    assert storage.read(NAME, 0, 10) == b"0123456789"
    assert len(storage.read(NAME, 60, 10)) == 4  # the file ends there

    def broken(fd: int, length: int, offset: int) -> bytes:
        if offset >= 6:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return whole(fd, min(length, 3), offset)

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(StorageFailed, match=f"cannot read .*{NAME}"):
        storage.read(NAME, 0, 10)


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["clock.json"]


def test_nothing_is_put_in_the_place_of_a_device_or_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(StorageFailed, match=f"cannot write .*{name}: it is a device or a pipe"):
            write_atomically(tmp_path / name, b"new")
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode)
    assert (tmp_path / "link").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clock.json"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(StorageFull, match=r"clock\.json"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["clock.json"]


def test_however_many_areas_there_are_few_files_stay_open(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    names = [f"log-{number:016d}.seg" for number in range(30)]
    before = len(os.listdir("/proc/self/fd"))
    for name in names:
        storage.create(name, 64)
        storage.create(name, 64)
        storage.write(name, 0, name.encode())
    assert [storage.read(name, 0, 24).decode() for name in names] == names
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    storage.close()


def test_a_directory_or_a_link_among_the_areas_is_refused(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    (tmp_path / "log-0000000000000001.seg").mkdir()
    with pytest.raises(HostileDirectory, match=r"01\.seg is a directory, not a regular file"):
        storage.names()
    (tmp_path / "log-0000000000000001.seg").rmdir()
    (tmp_path / "log-0000000000000002.seg").symlink_to("/dev/zero")
    with pytest.raises(HostileDirectory, match=r"02\.seg is a symbolic link, not a regular file"):
        storage.names()  # and not a device that misses a segment


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    (tmp_path / "psd").mkdir()
    (tmp_path / "psd" / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageFailed, match="lock"):
        FileStorage(tmp_path / "psd")
    assert (tmp_path / "precious").read_text() == "data"


def test_a_medium_can_take_another_ones_place_while_the_device_is_on(tmp_path: Path) -> None:
    slot = MediumSlot(MemoryStorage())
    device = slot.storage
    device.create("a.seg", 4)
    slot.put(files := FileStorage(tmp_path))
    assert device.names() == []
    device.create("b.seg", 2)
    device.write("b.seg", 0, b"BB")
    device.sync("b.seg")
    assert (files.read("b.seg", 0, 2), device.size("b.seg"), device.read("b.seg", 1, 1)) == (b"BB", 2, b"B")
    device.remove("b.seg")
    device.close()
    FileStorage(tmp_path).close()


def test_its_files_can_be_exchanged_while_it_holds_the_directory(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    storage.create("a.seg", 2)
    assert storage.let_go() is storage.inside
    (tmp_path / "new").write_bytes(b"NN")
    (tmp_path / "new").chmod(0o600)
    (tmp_path / "new").rename(tmp_path / "a.seg")
    with pytest.raises(DirectoryInUse):
        DirectoryLock(tmp_path)
    assert storage.read("a.seg", 0, 2) == b"NN"
    storage.close()
