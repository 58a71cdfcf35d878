"""Files are put in their places: obstacles are found first, what is paid for is not lost, and the names are durable."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from pes_sim.errors import UsageError
from pes_sim.preview import placing


def drawn(folder: Path, *names: str) -> list[tuple[Path, Path]]:
    """Files that were written beside these places."""
    pairs = [(folder / f".{number}.tmp", folder / name) for number, name in enumerate(names)]
    for number, (beside, _) in enumerate(pairs):
        beside.write_bytes(b"%d" % number)
    return pairs


def test_every_file_is_put_and_then_the_directory_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: seen.append((os.readlink(f"/proc/self/fd/{fd}"), sorted(os.listdir(tmp_path))))
    )
    assert placing.put(drawn(tmp_path, "a-1", "a-2"), paid=False) == {}
    assert seen == [(str(tmp_path), ["a-1", "a-2"])]


@pytest.mark.parametrize("obstacle", ["directory", "fifo", "somebody else's"])
def test_an_obstacle_in_the_way_of_one_keeps_all_that_cost_nothing_from_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    (tmp_path / "a-1").write_bytes(b"yesterday's")
    put_in_the_way(tmp_path / "a-2", obstacle, monkeypatch)
    with pytest.raises(UsageError, match="a-[12] cannot be written: it"):
        placing.put(drawn(tmp_path, "a-1", "a-2", "a-3"), paid=False)
    assert (tmp_path / "a-1").read_bytes() == b"yesterday's"
    assert not (tmp_path / "a-3").exists()


@pytest.mark.parametrize("obstacle", ["directory", "fifo", "somebody else's"])
def test_what_is_paid_for_is_put_where_it_can_be_and_the_rest_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    put_in_the_way(tmp_path / "a-2", obstacle, monkeypatch)
    stuck = placing.put(drawn(tmp_path, "a-1", "a-2", "a-3"), paid=True)
    assert list(stuck) == [tmp_path / ".1.tmp"]
    assert [(tmp_path / name).read_bytes() for name in ("a-1", ".1.tmp", "a-3")] == [b"0", b"1", b"2"]


def put_in_the_way(path: Path, obstacle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thing that no file can take the place of."""
    if obstacle == "directory":
        path.mkdir()
    elif obstacle == "fifo":
        os.mkfifo(path)
    else:
        path.touch()
        path.parent.chmod(0o1777)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)


def test_a_file_of_ones_own_is_no_obstacle_in_a_sticky_directory(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    tmp_path.chmod(0o1777)
    assert placing.obstacle(tmp_path / "a") == ""


@pytest.mark.parametrize(
    ("user", "obstacle"), [(0, ""), (7, ""), (8, ""), (9, "it belongs to user 8, and only they may replace it")]
)
def test_in_a_sticky_directory_root_its_owner_and_the_files_owner_may_replace_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, obstacle: str
) -> None:
    (tmp_path / "a").touch()
    tmp_path.chmod(0o1777)

    def owned(path: Path) -> os.stat_result:
        return os.stat_result((*os.stat(path)[:4], 7 if path == tmp_path else 8, *os.stat(path)[5:]))

    monkeypatch.setattr(placing, "os", SimpleNamespace(stat=owned, lstat=owned, geteuid=lambda: user))
    assert placing.obstacle(tmp_path / "a").startswith(obstacle)
    assert bool(placing.obstacle(tmp_path / "a")) == bool(obstacle)


def test_a_name_that_no_file_can_have_is_an_obstacle(tmp_path: Path) -> None:
    assert placing.obstacle(tmp_path / ("n" * 256)) == "File name too long"


@pytest.mark.parametrize("paid", [True, False])
def test_an_obstacle_that_shows_only_on_the_way_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paid: bool
) -> None:
    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "replace", refused)
    pairs = drawn(tmp_path, "a")
    if paid:
        assert placing.put(pairs, paid=True) == {pairs[0][0]: "Operation not permitted"}
    else:
        with pytest.raises(PermissionError):
            placing.put(pairs, paid=False)


def test_a_directory_that_cannot_be_read_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(placing, "sync_directory", refused)
    assert placing.put(drawn(tmp_path, "a"), paid=True) == {}


def test_what_stays_is_named_also_where_the_directory_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or what was paid for and drawn would be cleared away with what is left over."""

    def refused(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(placing, "sync_directory", refused)
    (tmp_path / "a-2").mkdir()
    assert list(placing.put(drawn(tmp_path, "a-1", "a-2"), paid=True)) == [tmp_path / ".1.tmp"]
    with pytest.raises(OSError, match="Input/output error"):
        placing.put(drawn(tmp_path, "a-1"), paid=True)


def test_files_of_a_series_are_known_by_their_numbers(tmp_path: Path) -> None:
    for name in ("a[1]-1.svg", "a[1]-22.svg", "a[1]-b.svg", "a[1]-1.png", "a[1].svg", "a1-1.svg"):
        (tmp_path / name).touch()
    assert [path.name for path in placing.already_numbered(tmp_path / "a[1].svg")] == ["a[1]-1.svg", "a[1]-22.svg"]
    assert placing.numbered(tmp_path / "a[1].svg", 22) == tmp_path / "a[1]-22.svg"
