"""DIR/control.json: where the bench of a running meter is, and the token that opens it. For its owner alone.

It is no part of the meter: no snapshot has it, and nothing of a meter depends on it. It goes when the meter stops; one
that a killed process has left is replaced by the next, and until then a client finds that nobody answers there.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from pes_sim.errors import LinkError, UsageError
from pes_sim.psd.owned import quoted, read_secret
from pes_sim.psd.storage import write_atomically

CONTROL_FILE: Final = "control.json"
LOOPBACK: Final = "127.0.0.1"
_ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:([0-9]{1,5})", re.ASCII)
_TOKEN: Final = re.compile("[0-9a-f]{64}", re.ASCII)


class Place(NamedTuple):
    """A port on this machine, the token, and the process that has it."""

    port: int
    token: str
    pid: int

    @property
    def address(self) -> str:
        """As a URL."""
        return f"http://{LOOPBACK}:{self.port}"


def write(directory: Path, place: Place) -> Path:
    """Says where it is; gives the file. Raises `StorageFailed`."""
    # A copy of the directory must not lead to the meter in the first one.
    said = {"address": place.address, "token": place.token, "pid": place.pid, "inode": os.stat(directory).st_ino}
    path = directory.resolve() / CONTROL_FILE
    write_atomically(path, json.dumps(said, indent=2).encode() + b"\n", 0o600)
    return path


def read(directory: Path) -> Place:
    """Where it is. Raises `LinkError` when no meter runs there, `UsageError` for a file that is none, and
    `HostileDirectory` when others may have written or read it.
    """
    path = directory / CONTROL_FILE
    none = LinkError(
        f"no meter is running in {directory} that could be controlled",
        hint=f"Start it, without --no-control: pes-sim meter run {quoted(directory)}",
    )
    try:
        document = json.loads(read_secret(path))
        found, token, pid = _ADDRESS.fullmatch(document["address"]), document["token"], document["pid"]
        if not (found and _TOKEN.fullmatch(token) and type(pid) is int):
            raise ValueError
        here = os.stat(directory).st_ino == document["inode"]
    except (FileNotFoundError, NotADirectoryError):
        raise none from None
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        hint = "Stop the meter, remove it, and start the meter again"
        raise UsageError(f"{path} is no control file", hint=hint) from None
    if not here:
        raise none
    return Place(int(found[1]), token, pid)
