"""Vaults: where the few bytes lie that all of a device's keys depend on, and that can be destroyed for good.

* Whoever can read a vault's file has half of what protects the keys: one that others could read is refused.
* Destroying asks for less than reading: a file that others could read is destroyed all the same.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Protocol

from pes_sim.psd.owned import read_secret
from pes_sim.psd.storage import errors, write_atomically


class Vault(Protocol):
    """Where a few bytes lie that can be destroyed for good."""

    def read(self) -> bytes:
        """What was written; empty when there is nothing, or not any more."""
        ...

    def write(self, data: bytes) -> None:
        """Durable when it returns."""
        ...

    def destroy(self) -> None:
        """Nothing is left when it returns; nothing to destroy is no error."""
        ...


class MemoryVault:
    """A vault in memory: for tests, and for devices that need not outlive their process."""

    def __init__(self) -> None:
        self._data = bytearray()

    def read(self) -> bytes:
        return bytes(self._data)

    def write(self, data: bytes) -> None:
        self._data = bytearray(data)

    def destroy(self) -> None:
        self._data[:] = bytes(len(self._data))
        self._data = bytearray()


class FileVault:
    """A vault in a file of mode 0600. What it writes over may survive on flash or in a copy-on-write file system.

    Raises `HostileDirectory` when the file could be somebody else's, `StorageFailed` when the system says no.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes:
        with errors("use", self._path), contextlib.suppress(FileNotFoundError):
            data = read_secret(self._path)
            # Zeros were left by a destruction that a power cut ended before the file was gone.
            return data if any(data) else b""
        return b""

    def write(self, data: bytes) -> None:
        write_atomically(self._path, data, 0o600)

    def destroy(self) -> None:
        # First what is in use: from there on nothing can be unwrapped. Then what a cut in `write` may have left.
        with errors("use", self._path), contextlib.suppress(FileNotFoundError):
            _overwrite(self._path)
        folder = self._path.parent
        with errors("use", folder), contextlib.suppress(FileNotFoundError):
            for name in os.listdir(folder):
                if name.startswith(".") and name.endswith(".tmp"):
                    _overwrite(folder / name)
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def _overwrite(path: Path) -> None:
    """Destroys a regular file. A link, or a FIFO that somebody put there, is only taken away."""
    if stat.S_ISREG(os.lstat(path).st_mode):
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
            os.fsync(fd)
        finally:
            os.close(fd)
    os.unlink(path)
