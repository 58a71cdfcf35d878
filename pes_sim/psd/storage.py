"""Where the PSD's bytes lie: named areas of fixed size, written in place and synced.

* `write` promises nothing until `sync` returns. `create` and `remove` are durable when they return.
* One process holds a directory at a time; the second gets an error that names the holder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import Final, Protocol

from pes_sim.errors import DirectoryInUse, StorageFailed, StorageFull

_ZEROS: Final = bytes(1 << 16)
_OPEN_FILES: Final = 4
"""The newest segment, the head, and two that are being read."""


class Storage(Protocol):
    """What `nvram` needs of a medium. Offsets and lengths are in bytes; errors are `StorageFailed`."""

    def names(self) -> list[str]: ...

    def create(self, name: str, size: int) -> None: ...

    def size(self, name: str) -> int: ...

    def read(self, name: str, offset: int, length: int) -> bytes: ...

    def write(self, name: str, offset: int, data: bytes) -> None: ...

    def sync(self, name: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def close(self) -> None: ...


class MemoryStorage:
    """Areas in memory, for tests and for meters that need not outlive their process."""

    def __init__(self) -> None:
        self.areas: dict[str, bytearray] = {}

    def names(self) -> list[str]:
        return sorted(self.areas)

    def create(self, name: str, size: int) -> None:
        self.areas[name] = bytearray(size)

    def size(self, name: str) -> int:
        return len(self.areas[name])

    def read(self, name: str, offset: int, length: int) -> bytes:
        return bytes(self.areas[name][offset : offset + length])

    def write(self, name: str, offset: int, data: bytes) -> None:
        self.areas[name][offset : offset + len(data)] = data

    def sync(self, name: str) -> None:
        """Memory has nothing to sync."""

    def remove(self, name: str) -> None:
        self.areas.pop(name, None)

    def close(self) -> None:
        """Nothing is held."""


class FileStorage:
    """Areas as files of one directory, which this process holds until `close`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._fds: dict[str, int] = {}
        with _errors("use", directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = DirectoryLock(directory)

    def names(self) -> list[str]:
        with _errors("look at", self.directory):
            return sorted(p.name for p in self.directory.glob("*.seg") if p.is_file() and not p.is_symlink())

    def create(self, name: str, size: int) -> None:
        # Zeros are written, not only promised: a later fdatasync then has no block to allocate and no size to note,
        # and a full disk shows here, where nothing has been debited yet.
        path = self.directory / name
        try:
            with _errors("create", path):
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                self._keep(name, fd)
                for offset in range(0, size, len(_ZEROS)):
                    _write_all(fd, _ZEROS[: size - offset], offset)
                os.fsync(fd)
                self._sync_directory()
        except StorageFailed:
            with contextlib.suppress(StorageFailed):
                self.remove(name)
            raise

    def size(self, name: str) -> int:
        with _errors("look at", self.directory / name):
            return os.fstat(self._fd(name)).st_size

    def read(self, name: str, offset: int, length: int) -> bytes:
        with _errors("read", self.directory / name):
            return os.pread(self._fd(name), length, offset)

    def write(self, name: str, offset: int, data: bytes) -> None:
        with _errors("write", self.directory / name):
            _write_all(self._fd(name), data, offset)

    def sync(self, name: str) -> None:
        with _errors("sync", self.directory / name):
            os.fdatasync(self._fd(name))

    def remove(self, name: str) -> None:
        fd = self._fds.pop(name, -1)
        if fd >= 0:
            os.close(fd)
        with _errors("remove", self.directory / name):
            (self.directory / name).unlink(missing_ok=True)
            self._sync_directory()

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        self._lock.release()

    def _fd(self, name: str) -> int:
        fd = self._fds.get(name, -1)
        if fd < 0:
            fd = os.open(self.directory / name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._keep(name, fd)
        return fd

    def _keep(self, name: str, fd: int) -> None:
        """Keeps a descriptor for the next call, and not more of them than the work at hand needs."""
        for old in [name, *list(self._fds)[: len(self._fds) - _OPEN_FILES + 1]]:
            if old in self._fds:
                os.close(self._fds.pop(old))
        self._fds[name] = fd

    def _sync_directory(self) -> None:
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class DirectoryLock:
    """Holds `directory/lock` for this process until `release` or the process's end. Raises `DirectoryInUse`."""

    def __init__(self, directory: Path) -> None:
        path = directory / "lock"
        with _errors("lock", path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 200, 0).decode("utf-8", "replace").strip() or "another process"
            self.release()
            hint = "Stop it, or use another directory"
            raise DirectoryInUse(f"{directory} is in use by {holder}", hint=hint) from None
        name = Path(sys.argv[0]).name or "python"
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()} ({name})\n".encode(), 0)

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _errors:
    """Turns `OSError` into `StorageFailed` or `StorageFull`, with the verb and the path.

    A class, not a generator: it stands on the path of every debit.
    """

    __slots__ = ("path", "verb")

    def __init__(self, verb: str, path: Path) -> None:
        self.verb = verb
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, OSError):
            if problem.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"no room to {self.verb} {self.path}", hint="Free some space; nothing was debited")
            raise StorageFailed(f"cannot {self.verb} {self.path}: {problem.strerror}") from problem


def _write_all(fd: int, data: bytes, offset: int) -> None:
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces a small file so that a cut leaves the old one or the new one, durably. Raises `StorageFailed`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with _errors("write", path):
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
            try:
                _write_all(fd, data, 0)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(temporary, path)
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
