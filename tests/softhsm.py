"""A SoftHSM2 of the tests' own: one configuration and two tokens per process, gone when it ends."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

import pytest

REQUIRE: Final = "PES_SIM_REQUIRE_SOFTHSM"
"""`make test` sets it: a missing SoftHSM2 is then a failure, not a skipped test."""
PIN: Final = "739158"
TOKEN: Final = "pes-sim test"
LOCKED: Final = "pes-sim locked"
"""A token that no test logs in to: PKCS#11 looks at the PIN only for a process that is not logged in yet."""

_LIBRARIES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/*/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


def library() -> str:
    """The path of SoftHSM2's library, or no path."""
    found = (str(path) for pattern in _LIBRARIES for path in Path("/").glob(pattern[1:]))
    return next(found, "")


@cache
def module() -> str:
    """The path of the library, with the tokens made. Skips the test, or fails it, where there is none."""
    path, tool = library(), shutil.which("softhsm2-util")
    if not path or not tool:
        why = "SoftHSM2 is not installed (Debian: apt-get install softhsm2)"
        if os.environ.get(REQUIRE):
            pytest.fail(f"{why}, and {REQUIRE} is set")
        pytest.skip(why)
    home = Path(tempfile.mkdtemp(prefix="pes-sim-softhsm-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / "tokens").mkdir()
    (home / "softhsm2.conf").write_text(f"directories.tokendir = {home / 'tokens'}\nlog.level = ERROR\n")
    # Before the library is loaded: it reads its configuration, and looks for tokens, once.
    os.environ["SOFTHSM2_CONF"] = str(home / "softhsm2.conf")
    for label in (TOKEN, LOCKED):
        command = [tool, "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", PIN]
        subprocess.run(command, check=True, capture_output=True)
    return path
