"""What somebody else has planted or may change is refused: links, FIFOs, other owners, loose modes, and races."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pes_sim.errors import HostileDirectory, StorageFailed
from pes_sim.psd.owned import OwnDirectory, check_kind, read_regular, read_secret
from pes_sim.psd.storage import DirectoryLock, FileStorage, write_atomically

SEGMENT = "log-0000000000000001.seg"
KEY = b"0123 the key"
NOBODY, SOMEBODY = 65534, 12345
as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def psd(tmp_path: Path) -> Path:
    """A directory with everything that the device keeps in it."""
    directory = tmp_path / "my meter's" / "psd"
    storage = FileStorage(directory)
    for name in (SEGMENT, "head.seg"):
        storage.create(name, 64)
        storage.write(name, 0, b"kept")
    storage.close()
    write_atomically(directory / "master.key", KEY, 0o600)
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "precious").chmod(0o600)
    return directory


def refused(directory: Path) -> HostileDirectory:
    """Opening is refused in one line, changes nothing and leaves no file open."""
    before, opened = contents(directory), len(os.listdir("/proc/self/fd"))
    with pytest.raises(HostileDirectory) as refusal:
        FileStorage(directory)
    assert contents(directory) == before
    assert len(os.listdir("/proc/self/fd")) == opened
    assert str(refusal.value).isprintable()
    return refusal.value


def contents(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {path.name: path.lstat() for path in directory.iterdir()}
    precious = directory.parents[1] / "precious"
    kept = {name: (directory / name).read_bytes() for name, s in found.items() if stat.S_ISREG(s.st_mode)}
    return {name: (s.st_mode, s.st_ino, kept.get(name, b"")) for name, s in found.items()} | {
        "precious": (0, 0, precious.read_bytes())
    }


def put_right(problem: HostileDirectory) -> None:
    """Types what the hint says, as a person would."""
    commands = problem.hint.removeprefix("Put it right: ").removesuffix(", and put back what was made with the meter")
    assert problem.detail["commands"] == commands.split(" && ") or "for f in" in commands
    done = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- what may be planted ---------------------------------------------------------------------------------------------


def symlink(path: Path) -> None:
    path.symlink_to(path.parents[2] / "precious")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def bind(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # the whole path may be too long for a socket


def device(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


PLANTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link": (symlink, "symbolic link"),
    "a link to nothing": (dangling, "symbolic link"),
    "a FIFO": (os.mkfifo, "FIFO"),
    "a socket": (bind, "socket"),
    "a device": (device, "character device"),
    "a directory": (Path.mkdir, "directory"),
}
NAMES = [SEGMENT, "head.seg", "lock", "master.key"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("plant", "kind"), PLANTED.values(), ids=PLANTED)
def test_what_is_no_file_is_refused_and_not_touched(
    psd: Path, name: str, plant: Callable[[Path], None], kind: str
) -> None:
    (psd / name).unlink()
    plant(psd / name)
    problem = refused(psd)
    assert problem.message == f"{psd / name} is a {kind}, not a regular file"
    assert problem.hint.endswith(", and put back what was made with the meter")
    put_right(problem)  # moves it aside
    assert (psd / f"{name}.aside").lstat()
    FileStorage(psd).close()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_a_second_name_is_refused(psd: Path, name: str, tmp_path: Path) -> None:
    (tmp_path / "other").hardlink_to(psd / name)
    inode = (psd / name).stat().st_ino
    problem = refused(psd)
    assert problem.message == f"{psd / name} is one file under 2 names (hard links)"
    put_right(problem)
    FileStorage(psd).close()
    assert (psd / name).stat().st_ino != inode
    assert (psd / name).stat().st_mode & 0o077 == 0


def test_a_lock_that_is_another_name_of_something_precious_is_not_written_to(psd: Path, tmp_path: Path) -> None:
    (psd / "lock").unlink()
    (psd / "lock").hardlink_to(tmp_path / "precious")
    for take in (FileStorage, DirectoryLock):
        with pytest.raises(HostileDirectory, match="lock is one file under 2 names"):
            take(psd)
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_may_write_to_is_refused(psd: Path, name: str, mode: int) -> None:
    (psd / name).chmod(mode)
    problem = refused(psd)
    assert problem.message == f"others may write to {psd / name} (mode {mode:o})"
    put_right(problem)
    FileStorage(psd).close()


@pytest.mark.parametrize("name", [SEGMENT, "head.seg", "master.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o601, 0o644])
def test_a_secret_that_others_may_read_is_refused(psd: Path, name: str, mode: int) -> None:
    (psd / name).chmod(mode)
    problem = refused(psd)
    assert problem.message == f"others may read {psd / name} (mode {mode:o})"
    put_right(problem)
    assert stat.S_IMODE((psd / name).stat().st_mode) == 0o600
    FileStorage(psd).close()


def test_the_lock_is_no_secret(psd: Path) -> None:
    (psd / "lock").chmod(0o644)
    FileStorage(psd).close()


@as_root_only
@pytest.mark.parametrize("name", [".", *NAMES])
def test_what_belongs_to_somebody_else_is_refused(psd: Path, name: str) -> None:
    os.chown(psd / name, SOMEBODY, -1)
    problem = refused(psd)
    assert problem.message == f"{psd / name} belongs to user {SOMEBODY}, not to root"
    put_right(problem)
    FileStorage(psd).close()


@as_root_only
def test_to_a_plain_user_what_is_roots_is_as_good_as_their_own() -> None:
    place = Path(tempfile.mkdtemp(prefix="pes-sim-test-"))
    (place / "psd").mkdir()
    place.chmod(0o755)
    (place / "mine.key").write_bytes(KEY)
    (place / "mine.key").chmod(0o600)
    os.chown(place / "mine.key", NOBODY, -1)
    os.seteuid(NOBODY)
    try:
        OwnDirectory(place / "psd").close()
        assert read_secret(place / "mine.key") == KEY
        os.seteuid(0)
        os.chown(place / "psd", SOMEBODY, -1)
        os.seteuid(NOBODY)
        with pytest.raises(HostileDirectory) as refusal:
            OwnDirectory(place / "psd")
        assert refusal.value.message == f"{place}/psd belongs to user {SOMEBODY}, not to user {NOBODY} or root"
        assert refusal.value.hint == f"Put it right: sudo chown -h {NOBODY} {place}/psd"
    finally:
        os.seteuid(0)
        shutil.rmtree(place)


# --- the directory itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(psd: Path, mode: int) -> None:
    psd.chmod(mode)
    problem = refused(psd)
    assert problem.message == f"others may write to {psd} (mode {mode:o})"
    assert problem.hint.startswith("Put it right: chmod 700 ")
    put_right(problem)
    FileStorage(psd).close()


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_directory_that_is_a_link_is_refused(psd: Path, target: str) -> None:
    psd.rename(psd.with_name("elsewhere"))
    psd.symlink_to(target)
    for take in (FileStorage, DirectoryLock):
        with pytest.raises(HostileDirectory) as refusal:
            take(psd)
        assert refusal.value.message == f"{psd} is a symbolic link, not a directory"
    assert not psd.with_name("nowhere").exists()
    put_right(refusal.value)
    FileStorage(psd).close()


def test_links_above_the_directory_are_the_callers_own(psd: Path, tmp_path: Path) -> None:
    (tmp_path / "short").symlink_to(psd.parent)
    FileStorage(tmp_path / "short" / "psd").close()


def test_a_file_where_the_directory_should_be_is_a_slip_and_nobody_is_told_to_move_it(tmp_path: Path) -> None:
    (tmp_path / "psd").write_text("mine")
    with pytest.raises(StorageFailed, match="cannot use .*psd: Not a directory") as refusal:
        FileStorage(tmp_path / "psd")
    assert not isinstance(refusal.value, HostileDirectory)


def test_other_files_in_it_do_not_matter(psd: Path) -> None:
    (psd / "notes.txt").symlink_to("nowhere")
    (psd / "lost+found").mkdir(mode=0o777)
    storage = FileStorage(psd)
    assert storage.names() == ["head.seg", SEGMENT]
    storage.close()


def test_a_backup_with_loose_modes_works_after_the_commands_of_one_refusal(psd: Path) -> None:
    storage = FileStorage(psd)
    for number in range(2, 40):
        storage.create(f"log-{number:016d}.seg", 64)
    storage.close()
    for path in psd.iterdir():
        path.chmod(0o666)
    psd.chmod(0o777)
    problem = refused(psd)
    assert problem.message == f"others may write to {psd} (mode 777) (and 42 more such faults)"
    quoted = f"'{psd.parent}".replace("my meter's", "my meter'\"'\"'s") + "/psd"
    assert problem.detail["commands"] == [
        f"chmod 700 {quoted}'", f"chmod 600 {quoted}'/*.seg", f"chmod go-w {quoted}/lock'",
        f"chmod 600 {quoted}/master.key'",
    ]  # fmt: skip
    put_right(problem)
    again = FileStorage(psd)
    assert again.read(SEGMENT, 0, 4) == b"kept"
    again.close()
    assert {stat.S_IMODE(path.stat().st_mode) for path in psd.glob("*.seg")} == {0o600}


@as_root_only
def test_a_backup_with_everything_wrong_at_once_works_after_the_commands_of_one_refusal(
    psd: Path, tmp_path: Path
) -> None:
    for path in (*psd.iterdir(), psd):
        os.chown(path, SOMEBODY, SOMEBODY)
        path.chmod(0o777)
    for name in NAMES:
        (tmp_path / name).hardlink_to(psd / name)  # as cp -al and rsnapshot do
    put_right(refused(psd))
    again = FileStorage(psd)
    assert again.read(SEGMENT, 0, 4) == b"kept"
    again.close()


def test_what_was_planted_is_moved_away_before_a_command_could_follow_it(psd: Path, tmp_path: Path) -> None:
    (psd / "head.seg").chmod(0o644)
    (psd / SEGMENT).unlink()
    (psd / SEGMENT).symlink_to(tmp_path / "precious")
    (tmp_path / "precious").chmod(0o644)
    problem = refused(psd)
    assert problem.message == f"{psd / SEGMENT} is a symbolic link, not a regular file (and 1 more such faults)"
    put_right(problem)
    assert stat.S_IMODE((tmp_path / "precious").stat().st_mode) == 0o644  # chmod *.seg did not reach it


@pytest.mark.parametrize("name", ["\x1b[2J\n.seg", "\udcff;touch x.seg", "\u202e.seg", ".hidden.seg", "$(touch x).seg"])
def test_a_name_chosen_by_somebody_hostile_reaches_neither_terminal_nor_shell(psd: Path, name: str) -> None:
    (psd / name).symlink_to("nowhere")
    put_right(refused(psd))
    assert os.path.lexists(psd / f"{name}.aside")
    (psd / f"{name}.aside").unlink()
    (psd / name).write_bytes(b"")
    (psd / name).chmod(0o640)
    put_right(refused(psd))
    FileStorage(psd).close()
    assert not (psd / "x").exists()
    assert not Path("x").exists()


# --- races -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plant", "kind"), PLANTED.values(), ids=PLANTED)
def test_a_segment_replaced_after_the_look_is_refused_where_it_is_opened(
    psd: Path, plant: Callable[[Path], None], kind: str, tmp_path: Path
) -> None:
    storage = FileStorage(psd)
    assert SEGMENT in storage.names()
    (psd / SEGMENT).unlink()
    plant(psd / SEGMENT)
    says = f"{SEGMENT} is a {kind}, not a regular file"
    with pytest.raises(HostileDirectory, match=says):
        storage.read(SEGMENT, 0, 4)
    with pytest.raises(HostileDirectory, match=says):
        storage.size(SEGMENT)
    with pytest.raises(HostileDirectory, match=says):
        storage.write(SEGMENT, 0, b"x")
    with pytest.raises(HostileDirectory, match=says):
        storage.create(SEGMENT, 64)
    with pytest.raises(HostileDirectory, match=says):
        storage.names()
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (psd / SEGMENT).lstat()
    storage.close()


def test_a_second_name_or_a_loose_mode_after_the_look_is_refused_where_it_is_opened(psd: Path, tmp_path: Path) -> None:
    storage = FileStorage(psd)
    (psd / SEGMENT).unlink()
    (psd / SEGMENT).hardlink_to(tmp_path / "precious")
    opened = len(os.listdir("/proc/self/fd"))
    for use in (lambda: storage.read(SEGMENT, 0, 4), lambda: storage.create(SEGMENT, 4)):
        with pytest.raises(HostileDirectory, match="2 names"):
            use()
    assert (tmp_path / "precious").read_bytes() == b"precious"
    (tmp_path / "precious").unlink()
    (psd / SEGMENT).chmod(0o604)
    with pytest.raises(HostileDirectory, match="others may read"):
        storage.read(SEGMENT, 0, 4)
    assert len(os.listdir("/proc/self/fd")) == opened
    storage.close()


def test_the_lock_is_looked_at_once_more_where_it_is_opened(
    psd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = OwnDirectory.names

    def then_replace(directory: OwnDirectory) -> list[str]:
        names = look(directory)
        (psd / "lock").unlink()
        (psd / "lock").hardlink_to(tmp_path / "precious")
        return names

    monkeypatch.setattr(OwnDirectory, "names", then_replace)
    with pytest.raises(HostileDirectory, match="lock is one file under 2 names"):
        FileStorage(psd)
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_directory_replaced_while_it_is_held_is_not_gone_into(psd: Path) -> None:
    storage = FileStorage(psd)
    psd.rename(psd.with_name("moved"))
    psd.mkdir()
    (psd / SEGMENT).write_bytes(b"false")
    assert storage.names() == ["head.seg", SEGMENT]
    assert storage.read(SEGMENT, 0, 4) == b"kept"
    storage.create("log-2.seg", 64)
    storage.remove(SEGMENT)
    assert (psd / SEGMENT).read_bytes() == b"false"
    assert [path.name for path in psd.iterdir()] == [SEGMENT]
    storage.close()


def test_a_file_that_its_owner_removes_during_the_look_does_not_matter(
    psd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = os.listdir
    monkeypatch.setattr(os, "listdir", lambda fd: [*there(fd), "provider.sqlite-wal"])
    FileStorage(psd).close()


def test_every_open_follows_no_link_and_waits_for_nobody(psd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, seen = os.open, []

    def careful(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        seen.append(str(path))
        assert flags & os.O_NONBLOCK, path  # without it, what follows would wait for ever
        assert flags & os.O_NOFOLLOW, path
        assert flags & os.O_CLOEXEC, path
        return plain(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", careful)
    storage = FileStorage(psd)
    storage.read(SEGMENT, 0, 4)
    storage.create("log-2.seg", 4)
    storage.close()
    assert seen == [str(psd), "lock", SEGMENT, "log-2.seg"]
    os.mkfifo(psd / "pipe")
    for read in (read_secret, read_regular):
        with pytest.raises(HostileDirectory, match="pipe is a FIFO, not a regular file"):
            read(psd / "pipe")


def test_a_debit_pays_nothing_for_it(psd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FileStorage(psd)
    storage.write(SEGMENT, 0, b"first")

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("open", "stat", "lstat", "fstat", "listdir"):
        monkeypatch.setattr(os, name, never)
    storage.write(SEGMENT, 0, b"again")
    storage.sync(SEGMENT)
    assert storage.read(SEGMENT, 0, 5) == b"again"
    monkeypatch.undo()
    storage.close()


# --- reading whole files ---------------------------------------------------------------------------------------------


def test_a_secret_is_read_whole_and_what_is_missing_is_the_systems_own_error(psd: Path) -> None:
    assert read_secret(psd / "master.key") == read_regular(psd / "master.key") == KEY
    for read in (read_secret, read_regular):
        with pytest.raises(FileNotFoundError):
            read(psd / "none")
        with pytest.raises(NotADirectoryError):
            read(psd / "lock" / "below")
        with pytest.raises(HostileDirectory, match="psd is a directory, not a regular file"):
            read(psd)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.chmod(0o640), "others may read"),
        (lambda path: path.chmod(0o604), "others may read"),
        (lambda path: path.chmod(0o602), "others may write to"),
        (lambda path: path.with_name("other").hardlink_to(path), "one file under 2 names"),
        (lambda path: path.rename(path.with_name("x")) and path.symlink_to("x"), "is a symbolic link"),
        pytest.param(lambda path: os.chown(path, SOMEBODY, -1), f"belongs to user {SOMEBODY}", marks=as_root_only),
    ],
)
def test_a_secret_that_is_not_ours_alone_is_not_read(psd: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(psd / "master.key")
    with pytest.raises(HostileDirectory, match=f"master.key {says}" if says[0] in "ib" else says) as refusal:
        read_secret(psd / "master.key")
    assert KEY.decode() not in str(refusal.value)


def test_what_is_no_secret_may_be_anybodys_but_no_link(psd: Path) -> None:
    path = psd / "meter.json"
    path.write_bytes(b"{}")
    path.chmod(0o666)
    (psd / "other").hardlink_to(path)
    assert read_regular(path) == b"{}"
    (psd / "link").symlink_to(path)
    with pytest.raises(HostileDirectory, match="link is a symbolic link, not a regular file"):
        read_regular(psd / "link")


def test_the_kind_of_what_is_there_is_checked_and_nothing_may_be_there(psd: Path) -> None:
    check_kind(psd / "none")
    check_kind(psd / "none" / "below", directory=True)
    check_kind(psd / "lock")
    check_kind(psd, directory=True)
    check_kind(psd / "lock", directory=True)  # a slip: whoever opens it says so
    with pytest.raises(HostileDirectory, match="psd is a directory, not a regular file"):
        check_kind(psd)


# --- umask -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[0o000, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_whatever_the_umask_what_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "a" / "psd")
    storage.create(SEGMENT, 64)
    storage.close()
    write_atomically(tmp_path / "a" / "psd" / "master.key", KEY, 0o600)
    made = [tmp_path / "a" / "psd", *sorted((tmp_path / "a" / "psd").iterdir())]
    assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in made] == [
        ("psd", 0o700), ("lock", 0o600), (SEGMENT, 0o600), ("master.key", 0o600),
    ]  # fmt: skip
    FileStorage(tmp_path / "a" / "psd").close()


# --- small files, replaced whole -------------------------------------------------------------------------------------


def test_a_link_planted_under_the_temporary_name_is_neither_followed_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / f".{bytes(8).hex()}.tmp").symlink_to("precious")
    monkeypatch.setattr(os, "urandom", bytes)
    with pytest.raises(StorageFailed, match=r"cannot write .*clock\.json: File exists"):
        write_atomically(tmp_path / "clock.json", b"new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / f".{bytes(8).hex()}.tmp").is_symlink()


def test_a_file_that_is_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "clock.json").symlink_to("precious")
    write_atomically(tmp_path / "clock.json", b"new")
    assert not (tmp_path / "clock.json").is_symlink()
    assert (tmp_path / "precious").read_text() == "precious"


def test_two_writers_at_once_share_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sync, turns = tmp_path / "clock.json", os.fsync, iter([b"second" * 1000])

    def interrupted(fd: int) -> None:
        sync(fd)
        for data in turns:
            write_atomically(path, data)
            assert path.read_bytes() == data

    monkeypatch.setattr(os, "fsync", interrupted)
    write_atomically(path, b"first")
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["clock.json"]


def test_a_writer_that_is_interrupted_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    opened = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "clock.json", b"new")
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == opened


def test_the_longest_of_names_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("n" * 255), b"new")
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]
