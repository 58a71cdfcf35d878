"""Where the PSD's bytes lie: named areas of fixed size, written in place and synced.

* `write` promises nothing until `sync` returns. `create` and `remove` are durable when they return.
* One process holds a directory at a time; the second gets an error that names the holder.
* A directory or a file that others may change is refused, as `owned` says; this costs nothing where a file stays open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol, cast

from pes_sim.errors import DirectoryInUse, StorageFailed, StorageFull
from pes_sim.psd.owned import OwnDirectory

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


_CALLS: Final = ("names", "create", "size", "read", "write", "sync", "remove", "close")


class MediumSlot:
    """Where a medium is plugged in, so that another can take its place while the device is on, between two requests.

    `storage` is handed to the device. A call through it costs what it costs without a slot: it is the medium's own.
    """

    def __init__(self, medium: Storage) -> None:
        self.put(medium)

    @property
    def storage(self) -> Storage:
        """Whatever is plugged in."""
        return cast("Storage", self)

    def put(self, medium: Storage) -> None:
        """From the next call on it is this one."""
        vars(self).update({name: getattr(medium, name) for name in _CALLS})


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
    """Areas as files of one directory, which this process holds until `close`. Made where it is missing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._fds: dict[str, int] = {}
        self._lock = DirectoryLock(directory, make=True)
        self._inside = self._lock.directory

    def names(self) -> list[str]:
        with errors("look at", self.directory):
            return [name for name in self._inside.names() if name.endswith(".seg")]

    def create(self, name: str, size: int) -> None:
        # Zeros are written, not only promised: a later fdatasync then has no block to allocate and no size to note,
        # and a full disk shows here, where nothing has been debited yet.
        with errors("create", self.directory / name):
            fd = self._inside.open(name, os.O_RDWR | os.O_CREAT)
        self._keep(name, fd)
        try:
            with errors("create", self.directory / name):
                os.ftruncate(fd, 0)  # not by O_TRUNC: what is there was not looked at yet
                for offset in range(0, size, len(_ZEROS)):
                    _write_all(fd, _ZEROS[: size - offset], offset)
                os.fsync(fd)
                os.fsync(self._inside.fd)
        except StorageFailed:
            with contextlib.suppress(StorageFailed):
                self.remove(name)
            raise

    def size(self, name: str) -> int:
        with errors("look at", self.directory / name):
            return os.fstat(self._fd(name)).st_size

    def read(self, name: str, offset: int, length: int) -> bytes:
        with errors("read", self.directory / name):
            data = os.pread(self._fd(name), length, offset)
            # Before a page that cannot be read it gives less; the next call says so, or that the file ends there.
            while 0 < len(data) < length and (more := os.pread(self._fd(name), length - len(data), offset + len(data))):
                data += more
            return data

    # The next two stand on the path of every debit: the path is put together only for an error that names it.

    def write(self, name: str, offset: int, data: bytes) -> None:
        try:
            fd = self._fds.get(name) or self._fd(name)
            written = os.pwrite(fd, data, offset)
            if written < len(data):
                _write_all(fd, data[written:], offset + written)
        except OSError as problem:
            raise _failure("write", self.directory / name, problem) from problem

    def sync(self, name: str) -> None:
        try:
            os.fdatasync(self._fds.get(name) or self._fd(name))
        except OSError as problem:
            raise _failure("sync", self.directory / name, problem) from problem

    def remove(self, name: str) -> None:
        fd = self._fds.pop(name, -1)
        if fd >= 0:
            os.close(fd)
        with errors("remove", self.directory / name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._inside.fd)
            os.fsync(self._inside.fd)

    def close(self) -> None:
        self.let_go()
        self._lock.release()

    def let_go(self) -> OwnDirectory:
        """Closes its files until the next call; gives the directory, which this process goes on to hold."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        return self._inside

    @property
    def inside(self) -> OwnDirectory:
        """The open directory."""
        return self._inside

    def _fd(self, name: str) -> int:
        fd = self._fds.get(name, -1)
        if fd < 0:
            fd = self._inside.open(name, os.O_RDWR)
            self._keep(name, fd)
        return fd

    def _keep(self, name: str, fd: int) -> None:
        """Keeps a descriptor for the next call, and not more of them than the work at hand needs."""
        for old in [name, *list(self._fds)[: len(self._fds) - _OPEN_FILES + 1]]:
            if old in self._fds:
                os.close(self._fds.pop(old))
        self._fds[name] = fd


class DirectoryLock:
    """Holds `directory` for this process until `release` or the process's end. Raises `DirectoryInUse`.

    The directory itself is locked, so that it helps nobody to remove the file `lock`: that only says who has it.
    """

    def __init__(self, directory: Path, *, make: bool = False) -> None:
        self._fd = -1
        with errors("use", directory):
            self.directory = OwnDirectory(directory, make=make)
        try:
            self._take()
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        path = self.directory.path
        with contextlib.suppress(StorageFull), errors("lock", path / "lock"):  # a full disk keeps nobody from looking
            self._fd = self.directory.open("lock", os.O_RDWR | os.O_CREAT)
        try:
            for fd in (self.directory.fd, self._fd):  # an older version knows of the file only
                if fd >= 0:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            found = os.pread(self._fd, 200, 0) if self._fd >= 0 else b""
            holder = found.decode("utf-8", "replace").strip() or "another process"
            raise DirectoryInUse(f"{path} is in use by {holder}", hint="Stop it, or use another directory") from None
        if self._fd >= 0:
            name = f"process {os.getpid()} ({Path(sys.argv[0]).name or 'python'})\n".encode()
            with contextlib.suppress(OSError):
                _write_all(self._fd, name, 0)  # where the old name was there is room for this one
                os.ftruncate(self._fd, len(name))

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.directory.close()


@contextlib.contextmanager
def errors(verb: str, path: Path) -> Iterator[None]:
    """Turns `OSError` into `StorageFailed` or `StorageFull`, with the verb and the path."""
    try:
        yield
    except OSError as problem:
        raise _failure(verb, path, problem) from problem


def _failure(verb: str, path: Path, problem: OSError) -> StorageFailed:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"no room to {verb} {path}", hint="Free some space; nothing was debited")
    return StorageFailed(f"cannot {verb} {path}: {problem.strerror}")


def _write_all(fd: int, data: bytes, offset: int) -> None:
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces a small file so that a cut leaves the old one or the new one, durably. Raises `StorageFailed`, also for
    what is there and no file: root could put one in the place of a device such as /dev/full.
    """
    # Its name can be neither foreseen nor shared; O_EXCL refuses whatever is there all the same, a link included.
    temporary = f".{os.urandom(8).hex()}.tmp"
    with errors("write", path):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise StorageFailed(f"cannot write {path}: it is a device or a pipe", hint="Give the name of a file")
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(temporary, flags, mode, dir_fd=directory)
            try:
                try:
                    _write_all(fd, data, 0)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                os.replace(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise
            os.fsync(directory)
        finally:
            os.close(directory)
