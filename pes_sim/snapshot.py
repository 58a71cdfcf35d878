"""Snapshot, restore and clone of a whole device, as one file (`meter.archive`).

* The device and its world are told apart. `restore` puts only the device back: the clock and the data centre stay, and
  so the provider finds the rollback at the next check-in. `clone` makes a directory of both.
* The directory's lock is held all the while. A cut leaves the old device or the new one (`meter.replacing`).
* The file is MACed under a key derived from the device's master key, and holds that key: `restore` knows it beforehand
  and believes no other; to `clone` the MAC only says that the file is whole.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from pes_sim.entropy import SystemEntropy
from pes_sim.errors import IntegrityError, StorageFailed, StorageFull, UsageError
from pes_sim.meter import replacing
from pes_sim.meter.archive import KEY_PART, Archive, Entry, Key, Manifest, write
from pes_sim.meter.config import MeterConfig, read_config
from pes_sim.meter.home import check_kinds, key_check
from pes_sim.meter.replacing import DEVICE, PASSING, Parts, belongs
from pes_sim.psd.owned import OwnDirectory, quoted
from pes_sim.psd.softkeys import MASTER_KEY_LENGTH, SoftwareKeyStoreNotForProduction
from pes_sim.psd.storage import DirectoryLock, errors
from pes_sim.psd.vault import MemoryVault

WORLD: Final[Parts] = {"": ("clock.json",), "provider": (".pem", ".sqlite", ".sqlite-wal", ".keys")}
"""What is around it: where its virtual clock stands, and its embedded data centre."""
_NEEDED: Final = frozenset({KEY_PART, "meter.json"})


def take(directory: Path, file: Path, *, psd: OwnDirectory | None = None) -> Manifest:
    """Writes a snapshot of the meter in `directory` to a new file. Nothing of the meter is changed.

    Raises `DirectoryInUse` while it is running, `UsageError` when there is no meter, or a file of that name already.
    Whoever runs it hands in its open `psd/` instead, and sees to it that the meter rests (`VirtualMeter.at_rest`).
    """
    with ExitStack() as held:
        config, psd = _hold(directory, held, psd)
        key = _key_of(directory, config, psd)
        folders = {"psd": psd}
        if os.path.lexists(directory / "provider"):
            with errors("use", directory / "provider"):
                folders["provider"] = OwnDirectory(directory / "provider")
            held.callback(folders["provider"].close)

        def opened(name: str) -> int:
            return _open_part(directory, folders, name)

        device = tuple(Entry(name, _size(opened(name))) for name in _found(directory, DEVICE))
        world = tuple(Entry(name, _size(opened(name))) for name in _found(directory, WORLD))
        manifest = Manifest(config.psd_serial, device, world)
        write(file, key, manifest, directory, opened)
        return manifest


def check(file: Path, directory: Path, *, psd: OwnDirectory | None = None) -> Manifest:
    """Whether `restore` would take the file: raises what it would, and touches nothing."""
    with ExitStack() as held:
        config, psd = _hold(directory, held, psd)
        return _opened(file, directory, config, psd, held)[2]


def restore(file: Path, directory: Path, *, psd: OwnDirectory | None = None) -> Manifest:
    """Puts the device in `directory` back to what it was in `file`; its clock and its data centre stay as they are.

    Raises `UsageError` when it is another device, or the file no snapshot; `IntegrityError` when the file was altered;
    `DirectoryInUse`, `StorageFull`. The device is then what it was before. Whoever runs the meter hands in its open
    `psd/`, and has let go of everything else (`VirtualMeter.without_files`).
    """
    if not os.path.lexists(directory / "meter.json"):
        hint = f"To make a meter of the snapshot there: pes-sim meter clone {quoted(file)} {quoted(directory)}"
        raise UsageError(f"there is no meter in {directory} to restore", hint=hint)
    with ExitStack() as held:
        config, psd = _hold(directory, held, psd)
        archive, key, manifest = _opened(file, directory, config, psd, held)
        held.callback(replacing.discard, directory)
        staged = replacing.stage(directory)
        _unpack(archive, key, staged, manifest.device, unused=manifest.world)
        gone = {*_found(directory, DEVICE), *PASSING} - {entry.name for entry in manifest.device}
        replacing.decide(directory, staged, sorted(gone))
        replacing.finish(directory)
        return manifest


def clone(file: Path, directory: Path) -> Manifest:
    """Makes a new directory of the device in `file` and its world: the same serial number, the same keys.

    Raises `UsageError` when there is something of that name, or the file is no snapshot; `IntegrityError` when it was
    altered; `StorageFull`. Nothing is made then.
    """
    if os.path.lexists(directory):
        raise UsageError(f"{directory} is there already", hint="Take another name, or remove it")
    with ExitStack() as held:
        archive = held.enter_context(Archive(file))
        manifest = _checked(archive)
        key = _key(archive.key_part())
        archive.check(key)
        with errors("create", directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
        _check_room(directory.parent, manifest.parts)
        temporary = directory.parent / f".{os.urandom(8).hex()}.tmp"
        held.callback(shutil.rmtree, temporary, ignore_errors=True)
        staged = replacing.Stage(temporary)
        _unpack(archive, key, staged, manifest.parts)
        staged.sync()
        with errors("create", directory):
            os.rename(temporary, directory)
            replacing.sync_directory(directory.parent)
        return manifest


def _opened(file: Path, directory: Path, config: MeterConfig, psd: OwnDirectory,
            held: ExitStack) -> tuple[Archive, Key, Manifest]:  # fmt: skip
    """The file until `held` ends, its key and what is in it, once all of it can be restored there."""
    key = _key_of(directory, config, psd)
    archive = held.enter_context(Archive(file))
    _check_same(archive, key, config, directory)
    archive.check(key)
    manifest = _checked(archive)
    _check_room(directory, manifest.device)
    return archive, key, manifest


def _hold(directory: Path, held: ExitStack, psd: OwnDirectory | None) -> tuple[MeterConfig, OwnDirectory]:
    """Takes the meter's lock until `held` ends, unless the caller has it; gives what the meter is, and `psd/`."""
    check_kinds(directory)
    config = read_config(directory)
    if psd is not None:
        return config, psd
    lock = DirectoryLock(directory / "psd")
    held.callback(lock.release)
    if replacing.is_unfinished(directory):
        replacing.finish(directory)
        config = read_config(directory)
    return config, lock.directory


def _key_of(directory: Path, config: MeterConfig, psd: OwnDirectory) -> Key:
    path = directory / KEY_PART
    with errors("read", path), open(psd.open(path.name, os.O_RDONLY), "rb") as opened:
        key = _key(opened.read(MASTER_KEY_LENGTH + 1))
    if config.key_check not in ("", key.check.hex()):
        raise IntegrityError(f"{path} is another meter's master key", hint="Put back the one that was made with it")
    return key


def _key(master: bytes) -> Key:
    keys = SoftwareKeyStoreNotForProduction(master, SystemEntropy(), MemoryVault())
    return Key(bytes.fromhex(key_check(keys)), keys.derive("snapshot"))


def _check_same(archive: Archive, key: Key, config: MeterConfig, directory: Path) -> None:
    hint = f"To make a meter of it in another directory: pes-sim meter clone {quoted(archive.path)} DIR"
    serial = archive.manifest.psd_serial
    if serial != config.psd_serial:
        raise UsageError(f"{archive.path} is of PSD {serial}; {directory} is PSD {config.psd_serial}", hint=hint)
    if archive.key_check != key.check:
        raise UsageError(f"{archive.path} is of another PSD {serial} than {directory}, or was altered", hint=hint)


def _checked(archive: Archive) -> Manifest:
    """The manifest of a file that holds the parts of a meter, and nothing else."""
    manifest = archive.manifest
    for entries, parts in ((manifest.device, DEVICE), (manifest.world, WORLD)):
        for entry in entries:
            if not belongs(entry.name, parts):
                raise archive.damaged(f"it holds {entry.name}, which is no part of a meter")
    for name in sorted(_NEEDED - {entry.name for entry in manifest.device}):
        raise archive.damaged(f"it holds no {name}")
    return manifest


def _check_room(directory: Path, entries: Iterable[Entry]) -> None:
    needed = sum(entry.size for entry in entries)
    with errors("look at", directory):
        free = shutil.disk_usage(directory).free
    if needed > free:
        hint = "Free some space; nothing was changed"
        raise StorageFull(f"{directory} has room for {free} bytes, and {needed} are needed", hint=hint)


def _unpack(archive: Archive, key: Key, staged: replacing.Stage, wanted: Iterable[Entry],
            unused: Iterable[Entry] = ()) -> None:  # fmt: skip
    contents = archive.contents(key)
    for entry in wanted:
        staged.write(entry.name, contents.read(entry.size))
    for entry in unused:
        for _ in contents.read(entry.size):
            pass
    contents.end()


def _found(directory: Path, parts: Parts) -> Iterator[str]:
    """The parts that are there, in the order of a manifest."""
    names = []
    for folder in parts:
        try:
            inside = os.listdir(directory / folder)
        except FileNotFoundError:
            continue
        except OSError as problem:
            raise StorageFailed(f"{directory / folder} cannot be read: {problem.strerror}") from None
        paths = (f"{folder}/{name}" if folder else name for name in inside)
        names += [path for path in paths if belongs(path, parts)]
    for name in names:
        if not replacing.is_part_name(name):
            raise UsageError(f"{directory / name} has a name that no part of a meter has", hint="Move it elsewhere")
    return iter(sorted(names, key=lambda name: (name != KEY_PART, name)))


def _open_part(directory: Path, folders: Mapping[str, OwnDirectory], name: str) -> int:
    folder, _, last = name.rpartition("/")
    path = directory / name
    with errors("read", path):
        if folder in folders:
            return folders[folder].open(last, os.O_RDONLY)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{path} is no regular file", hint="Put back the file that was made with the meter")
    return fd


def _size(fd: int) -> int:
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)
