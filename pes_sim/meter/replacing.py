"""How parts of a meter's directory are exchanged for others, so that a cut leaves all the old ones or all the new ones.

* The new parts lie whole and synced in `meter.restore.tmp` first. Renaming it to `meter.restore` decides: before, the
  old ones count, and after, the new ones, whatever comes.
* What was decided is carried out by renames that can be repeated; where that was cut off, whoever opens the meter next
  does it (`finish`), before anything of it is read.
* `psd/` itself stays, and the lock in it. Whoever calls a function here holds that lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from pes_sim.errors import IntegrityError
from pes_sim.psd.owned import OwnDirectory, read_regular
from pes_sim.psd.storage import errors

DECIDED: Final = "meter.restore"
UNDECIDED: Final = "meter.restore.tmp"
_LIST: Final = "list.json"
"""In `meter.restore`: the parts that come, and those that go."""
_NAME: Final = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,99}/)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


Parts = Mapping[str, tuple[str, ...]]
DEVICE: Final[Parts] = {
    "": ("meter.json", "departments.json", "meter.key", "meter.sqlite", "meter.sqlite-wal", "ca.pem", "psd.pem"),
    "psd": (".seg", ".key"),
    "jobs": (".json",),
}
"""What is the device: file names in its directory, and how the names end of those in its folders."""
PASSING: Final = ("meter.sqlite-shm",)
"""What SQLite makes again from the others, and must not find beside them when they were exchanged."""


def belongs(name: str, parts: Parts) -> bool:
    """Whether a part of that name is one of `parts`."""
    folder, _, last = name.rpartition("/")
    known = parts.get(folder, ())
    return last.endswith(known) if folder else name in known


def is_part_name(name: str) -> bool:
    """Whether it leads to a file in a directory, or in a folder of it, and nowhere else."""
    return _NAME.fullmatch(name) is not None


class Stage:
    """A new directory that is filled with parts, for its owner alone. Raises `StorageFailed`, `StorageFull`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.names: list[str] = []
        with errors("create", root):
            root.mkdir(mode=0o700)

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Adds one part. Durable after `sync`."""
        path = self._root / name
        with errors("write", path):
            if "/" in name:
                path.parent.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                for chunk in chunks:
                    write_all(fd, chunk)
                os.fsync(fd)
            finally:
                os.close(fd)
        self.names.append(name)

    def sync(self) -> None:
        """Makes the names durable, as the contents are already."""
        with errors("sync", self._root), _folders(self._root, self.names) as folders:
            for fd in folders.values():
                os.fsync(fd)


def stage(directory: Path) -> Stage:
    """Where the new parts of a meter's directory are gathered."""
    return Stage(directory / UNDECIDED)


def decide(directory: Path, staged: Stage, obsolete: Iterable[str]) -> None:
    """From here on the staged parts count, and the `obsolete` ones do not any more. `finish` comes next."""
    document = {"put": list(staged.names), "remove": list(obsolete)}
    staged.write(_LIST, [json.dumps(document, indent=1).encode() + b"\n"])
    staged.sync()
    with errors("restore", directory):
        os.rename(directory / UNDECIDED, directory / DECIDED)
        sync_directory(directory)


def is_unfinished(directory: Path) -> bool:
    """Whether a replacement was cut off here, or is under way in another process."""
    return os.path.lexists(directory / DECIDED) or os.path.lexists(directory / UNDECIDED)


def finish(directory: Path) -> None:
    """Carries out what was decided, and drops what was not. Nothing to do is no error."""
    discard(directory)
    if os.path.lexists(directory / DECIDED):
        with errors("restore", directory):
            _carry_out(directory)
            os.rename(directory / DECIDED, directory / UNDECIDED)
            sync_directory(directory)
        discard(directory)


def discard(directory: Path) -> None:
    """Removes what was gathered and never decided, or is carried out. What stays is of no consequence."""
    shutil.rmtree(directory / UNDECIDED, ignore_errors=True)


def _carry_out(directory: Path) -> None:
    source = directory / DECIDED
    OwnDirectory(source).close()  # nobody else's
    put, remove = _read_list(source / _LIST)
    with _folders(source, put) as here, _folders(directory, [*put, *remove], make=True) as there:
        for name in remove:
            folder, _, last = name.rpartition("/")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(last, dir_fd=there[folder])
        for name in put:
            folder, _, last = name.rpartition("/")
            try:
                os.replace(last, last, src_dir_fd=here[folder], dst_dir_fd=there[folder])
            except FileNotFoundError:
                if not os.path.lexists(directory / name):  # else it went before the cut
                    raise _damaged(source, f"{name} is missing") from None
        for fd in there.values():
            os.fsync(fd)


def _read_list(path: Path) -> tuple[list[str], list[str]]:
    try:
        document = json.loads(read_regular(path))
        put, remove = document["put"], document["remove"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        raise _damaged(path.parent, f"{path.name} cannot be read") from None
    for names in (put, remove):
        if not (isinstance(names, list) and all(isinstance(name, str) and _is_ours(name) for name in names)):
            raise _damaged(path.parent, f"{path.name} names what is no part of a meter")
    return put, remove


def _is_ours(name: str) -> bool:
    """Whoever prepared the list may have written it: nothing but a part of the device is touched."""
    return is_part_name(name) and (belongs(name, DEVICE) or name in PASSING)


def _damaged(source: Path, why: str) -> IntegrityError:
    hint = "Make a meter of the snapshot in another directory: pes-sim meter clone FILE DIR"
    return IntegrityError(f"a restore was cut off, and {source} is damaged: {why}", hint=hint)


@contextlib.contextmanager
def _folders(root: Path, names: Iterable[str], *, make: bool = False) -> Iterator[Mapping[str, int]]:
    """Descriptors of a directory ("") and of those of its folders that names lead through; no link is followed."""
    with ExitStack() as opened:
        found: dict[str, int] = {}
        for folder in ["", *sorted({name.rpartition("/")[0] for name in names} - {""})]:
            if make and folder:
                (root / folder).mkdir(mode=0o700, exist_ok=True)
            found[folder] = os.open(root / folder, _DIRECTORY)
            opened.callback(os.close, found[folder])
        yield found


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it, however often it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(path: Path) -> None:
    """Makes a directory's names durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
