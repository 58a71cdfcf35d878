"""Files and directories that are ours alone: what somebody else has planted, or may change, is refused.

* A file is opened first and its open descriptor is looked at, so that nothing can be put in its place between the look
  and the use. Opening follows no link in the path's last part, and waits for no FIFO's other end.
* Ours is what this process's user owns, or root, who can change everything anyway.
* A refusal changes nothing, and names the commands that put things right (`detail["commands"]` has them one by one).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pes_sim.errors import HostileDirectory

_NO_TRAP: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_KINDS: Final = {
    stat.S_IFREG: "regular file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket", stat.S_IFBLK: "block device", stat.S_IFCHR: "character device",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is asked of a file. `denied`: the rights that nobody else may have. `mode`: what chmod makes of it."""

    denied: int
    mode: str
    kind: int = stat.S_IFREG


_SECRET: Final = _Rule(0o077, "600")
_PLAIN: Final = _Rule(0o022, "go-w")
_DIRECTORY: Final = _Rule(0o022, "700", stat.S_IFDIR)
_RULES: Final = (
    ((".seg", ".key", "-key-NOT-FOR-PRODUCTION.pem"), _SECRET),
    (("lock", ".pem", ".sqlite", ".sqlite-wal", ".sqlite-shm"), _PLAIN),
)
"""By the end of a file's name. Other files in a directory of ours are never opened, and do not matter."""


class _Fault(NamedTuple):
    """Why something is refused, and the command against it. They are carried out by rank, directories first."""

    rank: int
    text: str
    command: str


class OwnDirectory:
    """A directory of ours, held open until `close`: its files are found in it wherever its name leads by then.

    Raises `HostileDirectory` when it, or a file in it that we would use, is not ours alone; and `OSError`.
    """

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self.path = path
        if make:
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700, parents=True)
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_TRAP)
        except OSError:
            _explain(path, None, _DIRECTORY)
            raise
        try:
            self.names()
        except BaseException:
            self.close()
            raise

    def names(self) -> list[str]:
        """What lies in it, sorted, after another look at all of it."""
        names = sorted(os.listdir(self.fd))
        faults = list(_faults(self.path, os.fstat(self.fd), _DIRECTORY))
        for name in names:
            rule = _rule(name)
            if rule is not None:
                with contextlib.suppress(FileNotFoundError):  # its owner, another process of ours, has removed it
                    faults += _faults(self.path / name, os.lstat(name, dir_fd=self.fd), rule)
        _refuse(faults)
        return names

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a file in it. A new one (`O_CREAT`) is for its owner alone."""
        return _open(self.path / name, flags, _rule(name) or _SECRET, self.fd)

    def close(self) -> None:
        """Lets go of it. A second time does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def read_secret(path: Path) -> bytes:
    """A key's file: regular, ours, of one name, and closed to everybody else. Raises `HostileDirectory`, `OSError`."""
    return _read(path, _SECRET)


def read_regular(path: Path) -> bytes:
    """A file that is no secret, whoever owns it: no link is followed, no FIFO is waited for. Raises as above."""
    return _read(path, None)


def check_kind(path: Path, *, directory: bool = False) -> None:
    """Raises `HostileDirectory` when something else is there than a regular file, or a directory."""
    _explain(path, None, _DIRECTORY if directory else None)


def _read(path: Path, rule: _Rule | None) -> bytes:
    with open(_open(path, os.O_RDONLY, rule), "rb") as file:
        return file.read()


def _open(path: Path, flags: int, rule: _Rule | None, directory: int | None = None) -> int:
    try:
        fd = os.open(path if directory is None else path.name, flags | _NO_TRAP, 0o600, dir_fd=directory)
    except OSError:
        _explain(path, directory, rule)
        raise
    try:
        _refuse(list(_faults(path, os.fstat(fd), rule)))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _explain(path: Path, directory: int | None, rule: _Rule | None) -> None:
    """Says what stands at a path that could not be opened, if that is why."""
    with contextlib.suppress(OSError):
        found = os.lstat(path if directory is None else path.name, dir_fd=directory)
        _refuse([fault for fault in _faults(path, found, rule) if fault.rank == 0])


def _rule(name: str) -> _Rule | None:
    return next((rule for ends, rule in _RULES if name.endswith(ends)), None)


def _faults(path: Path, found: os.stat_result, rule: _Rule | None) -> Iterator[_Fault]:
    """What is wrong with a file. Without a rule, only its kind matters."""
    shown, named = _shown(path), quoted(path)
    kind, wanted = stat.S_IFMT(found.st_mode), rule.kind if rule else stat.S_IFREG
    if kind != wanted and (wanted, kind) != (stat.S_IFDIR, stat.S_IFREG):  # that is a slip; the system's error names it
        yield _Fault(0, f"{shown} is a {_KINDS[kind]}, not a {_KINDS[wanted]}", f"mv {named} {named}.aside")
    if rule is None or kind != wanted:
        return
    base = 1 if kind == stat.S_IFDIR else 3
    if path.name.endswith(".seg") and not path.name.startswith("."):
        named = f"{quoted(path.parent)}/*.seg"  # a log has many segments, and a hint few lines
    if kind == stat.S_IFREG and found.st_nlink != 1:
        copy = f'for f in {named}; do cp -p "$f" "$f.new" && mv "$f.new" "$f"; done'
        yield _Fault(base, f"{shown} is one file under {found.st_nlink} names (hard links)", copy)
    user = os.geteuid()
    if found.st_uid not in (0, user):
        whose, root = (f"user {user} or root", "sudo ") if user else ("root", "")
        yield _Fault(
            base + 1, f"{shown} belongs to user {found.st_uid}, not to {whose}", f"{root}chown -h {user} {named}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & rule.denied:
        may = "write to" if mode & 0o022 else "read"
        yield _Fault(base + 2, f"others may {may} {shown} (mode {mode:03o})", f"chmod {rule.mode} {named}")


def _shown(path: Path) -> str:
    """For a person. Whoever planted a file chose its name: no control character of it gets to a terminal."""
    return str(path) if str(path).isprintable() else ascii(str(path))[1:-1]


def quoted(path: Path) -> str:
    """For a shell, and a command, which are to take the name and nothing else: it begins no option."""
    name = str(path)
    return shell_word(f"./{name}" if name.startswith("-") else name)


def shell_word(text: str) -> str:
    """Any text for a shell, on one line."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(f"\\x{byte:02x}" for byte in os.fsencode(text)) + "'"


def _refuse(faults: list[_Fault]) -> None:
    if not faults:
        return
    first, *more = sorted(faults, key=lambda fault: fault.rank)
    commands = list(dict.fromkeys([first.command, *(fault.command for fault in more)]))
    message = first.text + (f" (and {len(more)} more such faults)" if more else "")
    hint = f"Put it right: {' && '.join(commands)}"
    if first.rank == 0:
        hint += ", and put back what was made with the meter"
    raise HostileDirectory(message, hint=hint, commands=commands)
