"""Named contents in one file under a MAC: what a snapshot of a meter is written in (docs/storage.md has the format).

* Nothing in a file is used before the MAC over the whole of it was checked; what is unpacked then goes through the MAC
  a second time, so that a file that changes in between is found.
* Files are read and written in pieces: memory is bounded, however long one is or claims to be.
* The same contents make the same bytes: no time, no random number, one order.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pes_sim.errors import IntegrityError, StorageFailed, UsageError
from pes_sim.meter.replacing import is_part_name, sync_directory, write_all
from pes_sim.psd import cbor
from pes_sim.psd.storage import errors

MAGIC: Final = b"PESsnap\n"
VERSION: Final = 1
KEY_PART: Final = "psd/master.key"
"""Stands first, so that whoever has nothing but the file finds the key without unpacking more."""
_PROLOGUE: Final = struct.Struct(">8sH8sI")
"""Magic, version, key check, length of the manifest."""
_MAC: Final = 32
_CHUNK: Final = 1 << 18
_LONGEST_MANIFEST: Final = 1 << 22
_MOST: Final = 1 << 40
"""Bytes that the contents may come to: a device's log of a billion pieces."""
_NOTICE: Final = "SPECIMEN ONLY. A simulated meter; nothing it prints is valid postage. Its keys are in this file."
_AGAIN: Final = "Take another copy of it; nothing was changed"


@dataclass(frozen=True, slots=True)
class Key:
    """What a file is MACed under, and 8 bytes that tell this key from another and give nothing away."""

    check: bytes
    mac: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """A part by its name, and how many bytes it has."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Whose the contents are, and what they are: the device's, its key first, then its world's, in order of name."""

    psd_serial: int
    device: tuple[Entry, ...]
    world: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes of all contents together."""
        return sum(entry.size for entry in self.parts)

    @property
    def parts(self) -> tuple[Entry, ...]:
        """All of them, in the order of their contents."""
        return (*self.device, *self.world)

    def encode(self) -> bytes:
        """Strict CBOR."""
        lists = {name: [[entry.name, entry.size] for entry in getattr(self, name)] for name in ("device", "world")}
        return cbor.dump({"notice": _NOTICE, "psd_serial": self.psd_serial, **lists})


def write(path: Path, key: Key, manifest: Manifest, root: Path, opened: Callable[[str], int]) -> None:
    """Writes a new file, whole or not at all, for its owner alone. `opened` gives a descriptor of each part of `root`.

    Raises `UsageError` when there is a file already, `StorageFailed` when a part changes while it is read.
    """
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already", hint="Take another name, or remove it")
    temporary = path.parent / f".{os.urandom(8).hex()}.tmp"
    with errors("write", path):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                mac = hmac.new(key.mac, digestmod="sha256")
                for data in _encoded(key, manifest, root, opened):
                    mac.update(data)
                    write_all(fd, data)
                write_all(fd, mac.digest())
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_directory(path.parent)


def _encoded(key: Key, manifest: Manifest, root: Path, opened: Callable[[str], int]) -> Iterator[bytes]:
    listed = manifest.encode()
    yield _PROLOGUE.pack(MAGIC, VERSION, key.check, len(listed)) + listed
    deflate = zlib.compressobj()
    for entry in manifest.parts:
        for data in _content(root / entry.name, entry.size, opened(entry.name)):
            yield deflate.compress(data)
    yield deflate.flush()


def _content(path: Path, size: int, fd: int) -> Iterator[bytes]:
    try:
        with errors("read", path):
            before, left = os.fstat(fd), size
            while data := os.read(fd, _CHUNK):
                left -= len(data)
                yield data
            after = os.fstat(fd)
    finally:
        os.close(fd)
    if left or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise StorageFailed(f"{path} changed while it was copied", hint="Does another program have it open?")


class Archive:
    """A file that was opened, and of which nothing is believed yet. Use it in a `with`.

    Raises `UsageError` for what is no such file, or of a newer version, `IntegrityError` for one that is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = _opened(path)
        try:
            with errors("read", path):
                self._end = os.fstat(self._fd).st_size - _MAC
                self._head, self.key_check = self._read_head()
            self.manifest = self._understood(self._head[_PROLOGUE.size :])
        except BaseException:
            self.close()
            raise

    def _read_head(self) -> tuple[bytes, bytes]:
        head = os.pread(self._fd, _PROLOGUE.size, 0)
        if head[: len(MAGIC)] != MAGIC:
            hint = "One is made by: pes-sim meter snapshot DIR FILE"
            raise UsageError(f"{self.path} is not a snapshot of a meter", hint=hint)
        if len(head) < _PROLOGUE.size:
            raise self.damaged("it is cut short")
        _, version, check, length = _PROLOGUE.unpack(head)
        if version != VERSION:
            hint = f"Use the pes-sim that made it; this one knows version {VERSION}"
            raise UsageError(f"{self.path} is a snapshot of version {version}", hint=hint)
        if length > _LONGEST_MANIFEST:
            raise self.damaged("its manifest is too long")
        if len(head) + length > self._end:
            raise self.damaged("it is cut short")
        return head + os.pread(self._fd, length, len(head)), check

    def _understood(self, listed: bytes) -> Manifest:
        """The manifest, once every part of it is what it must be."""
        try:
            document = cbor.load(listed)
        except ValueError as problem:
            raise self.damaged(f"its manifest cannot be read, {problem}") from None
        kinds = {"notice": str, "psd_serial": int, "device": list, "world": list}
        if not isinstance(document, dict) or {name: type(value) for name, value in document.items()} != kinds:
            raise self.damaged("its manifest is none")
        device, world = (tuple(self._entry(pair) for pair in document[name]) for name in ("device", "world"))
        manifest = Manifest(document["psd_serial"], device, world)
        if not in_order(manifest):
            raise self.damaged("its parts are not in order, each once, the key first")
        if manifest.size > _MOST:
            raise self.damaged(f"it claims to hold {manifest.size} bytes")
        return manifest

    def _entry(self, pair: Any) -> Entry:
        if not isinstance(pair, list) or [type(value) for value in pair] != [str, int] or pair[1] < 0:
            raise self.damaged("its manifest lists what is no part")
        if not is_part_name(pair[0]):
            raise self.damaged(f"it holds a part of the name {pair[0][:100]!a}")
        return Entry(*pair)

    def check(self, key: Key) -> None:
        """Raises `IntegrityError` unless the whole file is as it was written under this key."""
        self._running(key).finish()

    def contents(self, key: Key) -> Contents:
        """The contents from their beginning, to be read in order."""
        return self._running(key)

    def key_part(self) -> bytes:
        """The first part, unchecked: the key that the rest is then checked under, for whoever has no other."""
        size = self.manifest.device[0].size
        if size > _CHUNK:
            raise self.damaged(f"its key has {size} bytes")
        return b"".join(self._running(Key(b"", b"")).read(size))

    def _running(self, key: Key) -> Contents:
        return Contents(self, self._fd, self._head, self._end, key)

    def damaged(self, why: str) -> IntegrityError:
        """The error for a file that is not what was written."""
        return IntegrityError(f"{self.path} is no good snapshot any more: {why}", hint=_AGAIN)

    def close(self) -> None:
        """Lets go of the file. A second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Contents:
    """One pass through the contents of an `Archive`, and through its MAC."""

    def __init__(self, archive: Archive, fd: int, head: bytes, end: int, key: Key) -> None:
        self._archive, self._fd, self._at, self._end = archive, fd, len(head), end
        self._mac = hmac.new(key.mac, head, "sha256")
        self._inflate = zlib.decompressobj()
        self._input = b""

    def read(self, length: int) -> Iterator[bytes]:
        """The next `length` bytes, in pieces."""
        while length:
            data = self._inflated(min(length, _CHUNK))
            if not data:
                raise self._archive.damaged("its contents end too early")
            length -= len(data)
            yield data

    def end(self) -> None:
        """Raises `IntegrityError` unless everything was read, and was what the MAC says."""
        if self._inflated(1) or not self._inflate.eof or self._inflate.unused_data or self._at < self._end:
            raise self._archive.damaged("it holds more than it lists")
        self.finish()

    def finish(self) -> None:
        """The same for the MAC alone, whatever was read."""
        while self._more():
            pass
        with errors("read", self._archive.path):
            written = os.pread(self._fd, _MAC, self._end)
        if not hmac.compare_digest(written, self._mac.digest()):
            raise self._archive.damaged("it was cut short or altered, its MAC does not fit")

    def _inflated(self, length: int) -> bytes:
        """Up to `length` bytes; none at the end."""
        try:
            while True:
                data = self._inflate.decompress(self._input, length)
                self._input = self._inflate.unconsumed_tail
                if data or self._inflate.eof:
                    return data
                if not self._input:
                    self._input = self._more()
                    if not self._input:
                        return b""
        except zlib.error as problem:
            raise self._archive.damaged(f"its contents cannot be unpacked, {problem}") from None

    def _more(self) -> bytes:
        with errors("read", self._archive.path):
            data = os.pread(self._fd, min(_CHUNK, self._end - self._at), self._at)
        self._at += len(data)
        self._mac.update(data)
        return data


def in_order(manifest: Manifest) -> bool:
    """Whether the parts stand in their one order, each once, and begin with the key."""
    device, world = ([entry.name for entry in entries] for entries in (manifest.device, manifest.world))
    ordered = [*sorted({*device} - {KEY_PART}), *sorted({*world})]
    return [*device, *world] == [KEY_PART, *ordered] and not {*device} & {*world}


def _opened(path: Path) -> int:
    """A regular file, by no link, and without waiting for a FIFO's writer."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as problem:
        why = "it is a symbolic link" if problem.errno == errno.ELOOP else problem.strerror
        raise UsageError(f"{path} cannot be read: {why}", hint="Name the snapshot itself") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{path} is no file", hint="Name a snapshot: pes-sim meter snapshot DIR FILE makes one")
    return fd
