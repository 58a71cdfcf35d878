"""pty: a pseudo-terminal, where a host that knows only serial ports finds the device. `pty:/tmp/meter0` makes a
symbolic link to it besides, so that its path is the same each time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tty
from collections.abc import Callable, Iterator

from pes_sim.clock import Clock
from pes_sim.errors import LinkError
from pes_sim.link.client import Transport
from pes_sim.link.device import Session
from pes_sim.link.ports.server import LineServer, Server
from pes_sim.link.ports.uri import Uri


def open_host(uri: Uri, timeout_ms: int) -> Transport:
    """A terminal is opened as any serial port; it has no speed, and no parity."""
    from pes_sim.link.ports.serial import SerialTransport

    uri.parameters()
    if not uri.where:
        raise uri.bad("names no terminal to open", "Start the meter first, and take the path that it prints")
    return SerialTransport(uri.where, timeout_ms=timeout_ms)


def serve(uri: Uri, sessions: Callable[[], Session], clock: Clock) -> Server:
    """A new pseudo-terminal, and the link to it where the URI names one."""
    uri.parameters()
    with contextlib.ExitStack() as opened:
        master, slave = os.openpty()
        opened.callback(os.close, master)
        # The slave stays open here, or the master would see an error whenever the last outside program closes.
        opened.callback(os.close, slave)
        # Raw on our side: an outside program that forgets it still gets its bytes unchanged.
        tty.setraw(slave)
        os.set_blocking(master, False)
        path = os.ttyname(slave)
        if uri.where:
            path = _link(os.path.abspath(uri.where), path, opened)
        return LineServer(f"pty:{path}", sessions, clock, master, opened, path=path)


def _link(link: str, terminal: str, opened: contextlib.ExitStack) -> str:
    """Makes the link, until what was opened is closed; gives its path."""
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
    """A link is ours when it leads to where terminals are, and stale when that terminal is gone, or has just become
    ours: its number was free. Raises `LinkError` for any other.
    """
    target = os.readlink(link) if os.path.islink(link) else ""
    if os.path.dirname(target) != os.path.dirname(terminal):
        raise LinkError(f"{link} is there already, and is no link to a terminal", hint="Choose another path")
    if target != terminal and os.path.exists(target):
        raise LinkError(
            f"{link} is in use: it leads to {target}, which another program has open",
            hint="Stop the meter that serves it; or, if there is none, remove the link",
        )


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
