"""The file of a snapshot: what goes in comes out, and whatever else is in it is refused before it is used."""

from __future__ import annotations

import hmac
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pes_sim.errors import IntegrityError, PesError, StorageFailed, StorageFull, UsageError
from pes_sim.meter import archive
from pes_sim.meter.archive import KEY_PART, Archive, Entry, Key, Manifest, write
from pes_sim.psd import cbor

KEY = Key(b"8 bytes.", bytes(range(32)))
DEVICE = {KEY_PART: b"k" * 32, "meter.json": b"{}\n", "psd/log-1.seg": bytes(5_000) + b"end"}
WORLD = {"clock.json": b"", "provider/ca.pem": b"certificate"}


def entries(parts: dict[str, bytes]) -> tuple[Entry, ...]:
    return tuple(Entry(name, len(content)) for name, content in parts.items())


def written(folder: Path, name: str = "file") -> Path:
    """A file of `DEVICE` and `WORLD`."""
    root = folder / "parts"
    for part, content in {**DEVICE, **WORLD}.items():
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).write_bytes(content)
    manifest = Manifest(7, entries(DEVICE), entries(WORLD))
    write(folder / name, KEY, manifest, root, lambda part: os.open(root / part, os.O_RDONLY))
    return folder / name


def read(path: Path, key: Key = KEY) -> dict[str, bytes]:
    """All of a file, as it is to be read."""
    with Archive(path) as opened:
        opened.check(key)
        contents = opened.contents(key)
        found = {entry.name: b"".join(contents.read(entry.size)) for entry in opened.manifest.parts}
        contents.end()
        return found


def listed(device: Any = None, world: Any = None, **more: Any) -> bytes:
    """A manifest, which may be none."""
    device = [[KEY_PART, 32]] if device is None else device
    return cbor.dump({"notice": "", "psd_serial": 7, "device": device, "world": world or [], **more})


def forged(path: Path, manifest: bytes, contents: bytes = b"k" * 32, packed: bytes | None = None) -> Path:
    """A file with the right MAC, as only who has the key can make it."""
    head = struct.pack(">8sH8sI", archive.MAGIC, archive.VERSION, KEY.check, len(manifest))
    body = head + manifest + (zlib.compress(contents) if packed is None else packed)
    path.write_bytes(body + hmac.digest(KEY.mac, body, "sha256"))
    return path


def refused(path: Path, kind: type[PesError], says: str, use: Callable[[Path], object] = read) -> None:
    with pytest.raises(kind) as refusal:
        use(path)
    assert says in refusal.value.message
    assert str(path) in refusal.value.message
    assert "\n" not in str(refusal.value)
    assert refusal.value.hint != ""


# --- what goes in comes out ------------------------------------------------------------------------------------------


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert read(path) == {**DEVICE, **WORLD}
    with Archive(path) as opened:
        assert opened.manifest == Manifest(7, entries(DEVICE), entries(WORLD))
        assert opened.key_check == KEY.check
        assert opened.key_part() == DEVICE[KEY_PART]
        opened.close()


def test_the_same_contents_make_the_same_bytes_and_no_more_than_they_need(tmp_path: Path) -> None:
    first, second = written(tmp_path), written(tmp_path, "second")
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes()) < 500


def test_it_says_in_plain_text_that_it_is_a_specimens(tmp_path: Path) -> None:
    assert b"SPECIMEN ONLY" in written(tmp_path).read_bytes()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        path = written(tmp_path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(UsageError, match="file is there already"):
        written(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="file is there already"):
        written(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "parts"]


@pytest.mark.parametrize(("number", "kind"), [(28, StorageFull), (5, StorageFailed)])
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_file_that_cannot_be_written_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type[PesError]
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as medium:
        medium.setattr(os, call, fails)
        with pytest.raises(kind, match="write .*file"):
            written(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["parts"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    with pytest.raises(StorageFailed, match="cannot write .*none/file: No such file or directory"):
        write(tmp_path / "none" / "file", KEY, Manifest(7, (), ()), tmp_path, lambda _: -1)


@pytest.mark.parametrize("change", [b"123456", b"", b"54321"])
def test_a_part_that_changes_while_it_is_copied_makes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    part, real, once = tmp_path / "part", os.read, [change]
    part.write_bytes(b"12345")

    def read_and_change(fd: int, length: int) -> bytes:
        data = real(fd, length)
        while once:
            part.write_bytes(once.pop())
            os.utime(part, ns=(0, 0))
        return data

    monkeypatch.setattr(os, "read", read_and_change)
    manifest = Manifest(7, (Entry("part", 5),), ())
    with pytest.raises(StorageFailed, match="part changed while it was copied") as refusal:
        write(tmp_path / "file", KEY, manifest, tmp_path, lambda _: os.open(part, os.O_RDONLY))
    assert refusal.value.hint != ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["part"]


# --- what is no such file, or not any more ---------------------------------------------------------------------------


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    good = path.read_bytes()
    for at in range(len(good)):
        for bit in (0x01, 0x80):
            path.write_bytes(good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :])
            with pytest.raises((UsageError, IntegrityError)):
                read(path)
    path.write_bytes(good)
    read(path)


def test_a_file_cut_short_anywhere_is_found_and_so_is_one_that_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises((UsageError, IntegrityError)):
            read(path)
    path.write_bytes(good + b"\0")
    refused(path, IntegrityError, "its MAC does not fit")


def test_the_mac_is_checked_before_anything_is_unpacked(tmp_path: Path) -> None:
    path = forged(tmp_path / "file", listed(), packed=b"no zlib at all")
    refused(path, IntegrityError, "its MAC does not fit", lambda path: read(path, Key(KEY.check, bytes(32))))
    refused(path, IntegrityError, "its contents cannot be unpacked")


def test_a_file_that_changes_between_the_check_and_the_use_is_found(tmp_path: Path) -> None:
    path = forged(tmp_path / "file", listed(), packed=zlib.compress(b"k" * 32))
    with Archive(path) as opened:
        opened.check(KEY)
        forged(tmp_path / "other", listed(), packed=zlib.compress(b"K" * 32))
        path.write_bytes((tmp_path / "other").read_bytes()[:-32] + path.read_bytes()[-32:])
        contents = opened.contents(KEY)
        assert b"".join(contents.read(32)) == b"K" * 32
        with pytest.raises(IntegrityError, match="its MAC does not fit"):
            contents.end()


@pytest.mark.parametrize("content", [b"", b"PESsnap", b"%PDF-1.7\n" + bytes(100), b"{}"])
def test_what_is_no_snapshot_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    refused(tmp_path / "file", UsageError, "is not a snapshot of a meter")


@pytest.mark.parametrize("version", [0, 2, 65_535])
def test_another_version_is_told_with_the_one_that_is_known(tmp_path: Path, version: int) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:8] + struct.pack(">H", version) + data[10:])
    refused(path, UsageError, f"is a snapshot of version {version}")


def test_what_is_no_file_of_its_own_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "link", UsageError, "it is a symbolic link")
    refused(tmp_path / "fifo", UsageError, "is no file")
    refused(tmp_path, UsageError, "is no file")
    refused(tmp_path / "none", UsageError, "cannot be read: No such file or directory")


# --- what only the key's holder could have made, and is refused all the same -----------------------------------------

NAMES = [
    "..", "../x", "psd/../../x", "/etc/passwd", "psd//x", "psd/", "/", "", ".", ".x", "psd/.x", "a/b/c", "psd\\x",
    "psd/x\0", "psd/x\n", "ä", "x" * 101, "psd/" + "x" * 101, "psd/x ",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["device", "world"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str, part: str) -> None:
    lists = {"device": [[KEY_PART, 32]], "world": []}
    lists[part].append([name, 0])
    refused(forged(tmp_path / "file", listed(**lists)), IntegrityError, "it holds a part of the name")


WRONG: dict[str, bytes] = {
    "no CBOR": b"\xff",
    "empty": b"",
    "a list": cbor.dump([]),
    "a field missing": cbor.dump({"notice": "", "psd_serial": 7, "device": []}),
    "a field too many": listed(time=1),
    "a serial number that is text": listed(psd_serial="7"),
    "a map for a list": listed(device={}),
    "a part that is none": listed(device=["x"]),
    "a part of one": listed(device=[["x"]]),
    "a part of three": listed(device=[[KEY_PART, 32, 1]]),
    "a size that is text": listed(device=[[KEY_PART, "32"]]),
    "a size below zero": listed(device=[[KEY_PART, -1]]),
    "no key": listed(device=[["meter.json", 3]]),
    "nothing": listed(device=[]),
    "the key twice": listed(device=[[KEY_PART, 32], [KEY_PART, 32]]),
    "the key not first": listed(device=[["meter.json", 0], [KEY_PART, 32]]),
    "a part twice": listed(device=[[KEY_PART, 32], ["a", 0], ["a", 0]]),
    "a part in both": listed(device=[[KEY_PART, 32], ["a", 0]], world=[["a", 0]]),
    "out of order": listed(device=[[KEY_PART, 32], ["b", 0], ["a", 0]]),
    "a world out of order": listed(world=[["b", 0], ["a", 0]]),
    "more than any disk holds": listed(world=[["b", 1 << 50]]),
}


@pytest.mark.parametrize("manifest", WRONG.values(), ids=WRONG)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, manifest: bytes) -> None:
    refused(forged(tmp_path / "file", manifest), IntegrityError, "is no good snapshot any more: ")


def test_it_says_how_much_it_is_that_no_disk_holds(tmp_path: Path) -> None:
    path = forged(tmp_path / "file", WRONG["more than any disk holds"])
    refused(path, IntegrityError, f"it claims to hold {(1 << 50) + 32} bytes", Archive)


def test_a_manifest_longer_than_any_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(struct.pack(">8sH8sI", archive.MAGIC, archive.VERSION, KEY.check, (1 << 32) - 1))
        file.truncate(1 << 33)
    refused(tmp_path / "file", IntegrityError, "its manifest is too long")


def test_a_key_longer_than_any_is_not_unpacked(tmp_path: Path) -> None:
    path = forged(tmp_path / "file", listed(device=[[KEY_PART, 1 << 39]]))
    with Archive(path) as opened, pytest.raises(IntegrityError, match="its key has 549755813888 bytes"):
        opened.key_part()


@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (b"", "its contents end too early"),
        (zlib.compress(b"k" * 31), "its contents end too early"),
        (zlib.compress(b"k" * 32)[:-1], "it holds more than it lists"),
        (zlib.compress(b"k" * 33), "it holds more than it lists"),
        (zlib.compress(b"k" * 32) + b"more", "it holds more than it lists"),
        (zlib.compress(b"k" * 32) + bytes(archive._CHUNK), "it holds more than it lists"),
    ],
)
def test_contents_are_as_long_as_the_manifest_says(tmp_path: Path, packed: bytes, says: str) -> None:
    refused(forged(tmp_path / "file", listed(), packed=packed), IntegrityError, says)


def test_memory_is_bounded_however_much_comes_out_of_a_few_bytes(tmp_path: Path) -> None:
    size = 64 << 20
    path = forged(tmp_path / "file", listed(world=[["zeros", size]]), b"k" * 32 + bytes(size))
    assert path.stat().st_size < size / 500
    tracemalloc.start()
    try:
        with Archive(path) as opened:
            opened.check(KEY)
            contents = opened.contents(KEY)
            assert sum(map(len, read_all(contents.read(entry.size) for entry in opened.manifest.parts))) == size + 32
            contents.end()
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def read_all(parts: Iterable[Iterable[bytes]]) -> Iterable[bytes]:
    for part in parts:
        yield from part
