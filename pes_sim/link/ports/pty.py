"""pty: a pseudo-terminal, where a host that knows only serial ports finds the device. `pty:/tmp/meter0` makes a
symbolic link to it besides, so that its path is the same each time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import tty
from collections.abc import Callable, Iterator
from typing import Final

from pes_sim.clock import Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import Session
from pes_sim.link.ports.server import LineServer, Server
from pes_sim.link.ports.uri import Uri

_FLOCK: Final = "hhqqi4x"
"""struct flock of fcntl(2), on 64-bit Linux: kind, whence, start, length, process."""


def open_host(uri: Uri, timeout_ms: int) -> Transport:
    """A terminal is opened as any serial port; it has no speed, and no parity."""
    from pes_sim.link.ports.serial import SerialTransport

    uri.parameters()
    if not uri.where:
        raise uri.bad("names no terminal to open", "Start the meter first, and take the path that it prints")
    return SerialTransport(uri.where, timeout_ms=timeout_ms)


def serve(uri: Uri, sessions: Callable[[], Session], clock: Clock) -> Server:
    """A new pseudo-terminal, and the link to it where the URI names one."""
    with contextlib.ExitStack() as opened:
        master, path = terminal(uri, opened)
        return LineServer(f"pty:{path}", sessions, clock, master, opened, path=path)


def terminal(uri: Uri, opened: contextlib.ExitStack) -> tuple[int, str]:
    """The device's end of a new one, and the path that a host opens; both until what was `opened` is closed."""
    uri.parameters()
    master, slave = os.openpty()
    opened.callback(os.close, master)
    # The slave stays open here, or the master would see an error whenever the last outside program closes.
    opened.callback(os.close, slave)
    # Raw on our side: an outside program that forgets it still gets its bytes unchanged.
    tty.setraw(slave)
    os.set_blocking(master, False)
    path = os.ttyname(slave)
    if uri.where:
        _mark(slave)
        path = _link(os.path.abspath(uri.where), path, opened)
    return master, path


def _link(link: str, terminal: str, opened: contextlib.ExitStack) -> str:
    """Makes the link, until what was opened is closed; gives its path. It leads to "/dev/pts/./7": by that spelling a
    link of ours is told from one that socat, say, has made, also when the number went to another program.
    """
    terminal = os.path.join(os.path.dirname(terminal), ".", os.path.basename(terminal))
    try:
        with _alone_in(os.path.dirname(link)):
            if os.path.lexists(link):
                _check_stale(link, terminal)
            new = f"{link}.{os.getpid()}"
            os.symlink(terminal, new)
            os.replace(new, link)  # whoever opens it finds one that works, or none
    except OSError as problem:
        raise _cannot_link(link, problem) from None
    opened.callback(_unlink, link, terminal)
    return link


def _check_stale(link: str, terminal: str) -> None:
    """A link is stale when its terminal is gone, or is served by no meter any more though the link is ours: the number
    went to another program. Raises `LinkError` for any other.
    """
    target = os.readlink(link) if os.path.islink(link) else ""
    if os.path.dirname(os.path.normpath(target)) != os.path.dirname(os.path.normpath(terminal)):
        raise LinkError(f"{link} is there already, and is no link to a terminal", hint="Choose another path")
    ours = os.path.dirname(target) == os.path.dirname(terminal)
    if target != terminal and os.path.exists(target) and (not ours or _is_served(target)):
        raise LinkError(
            f"{link} is in use: it leads to {target}, which another {'meter' if ours else 'program'} has open",
            hint="Stop it, or choose another path",
        )


def _mark(slave: int) -> None:
    """Locks the terminal as one that a meter serves, as long as it is open here. It is no lock that a host meets: those
    of pyserial and the like are of another kind.
    """
    fcntl.fcntl(slave, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))


def _is_served(terminal: str) -> bool:
    try:
        fd = os.open(terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as problem:
        return problem.errno not in (errno.ENOENT, errno.EIO)  # what cannot be looked at is somebody's
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind: int = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK
    finally:
        os.close(fd)


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Of two servers that take over the same stale link at once, the second finds the first one's."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _unlink(link: str, terminal: str) -> None:
    """Another may have replaced it: what leads elsewhere is not ours any more."""
    with contextlib.suppress(OSError):
        if os.readlink(link) == terminal:
            os.unlink(link)


def _cannot_link(link: str, problem: OSError) -> LinkError:
    folder = os.path.dirname(link)
    if problem.errno == errno.ENOENT:
        return LinkError(f"there is no folder {folder} to put {link} in", hint="Make it first, or choose another path")
    if problem.errno in (errno.EACCES, errno.EPERM):
        return LinkError(f"no permission to make a link in {folder}", hint="Choose a path in a folder of your own")
    return LinkError(f"{link} cannot be made: {problem.strerror}", hint="Choose another path, such as pty:/tmp/meter0")
