"""tshark with the dissector, for tests that read a trace the way a user does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

REQUIRE: Final = "PES_SIM_REQUIRE_TSHARK"
"""`make test` sets it: a missing tshark is then a failure, not a skipped test."""
DISSECTOR: Final = Path(__file__).parents[1] / "hardware" / "wireshark" / "pes.lua"


def command(*options: str) -> list[str]:
    """tshark with the dissector and these options. Skips the test, or fails it, where there is none."""
    found = shutil.which("tshark")
    if found is None:
        why = "tshark is not installed (Debian: apt-get install tshark)"
        if os.environ.get(REQUIRE):
            pytest.fail(f"{why}, and {REQUIRE} is set")
        pytest.skip(why)
    return [found, "-X", f"lua_script:{DISSECTOR}", *options]


def tshark(*options: str) -> str:
    """What it says. A dissector that Lua does not take, or that fails, is an error."""
    done = subprocess.run(command(*options), capture_output=True, text=True, check=True, env=environment())
    assert "Lua" not in done.stderr, done.stderr
    assert "Lua Error" not in done.stdout
    return done.stdout


def environment() -> dict[str, str]:
    """Without what the user has set up for himself."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC", "WIRESHARK_CONFIG_DIR": os.devnull}


def columns(path: Path, *names: str) -> list[list[str]]:
    """A row of these fields for each packet; several of one field stand with a "|" between."""
    fields = [option for name in names for option in ("-e", name)]
    out = tshark("-2", "-r", str(path), "-T", "fields", "-E", "separator=/t", "-E", "aggregator=|", *fields)
    return [line.split("\t") for line in out.splitlines()]
