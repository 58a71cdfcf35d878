"""Programs that only tests call, such as pdftotext or mutool."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

import pytest

REQUIRE: Final = "PES_SIM_REQUIRE_PDF_READERS"
"""`make test` sets it: a missing program is then a failure, not a skipped test."""
PACKAGES: Final = {
    "pdfinfo": "poppler-utils", "pdftotext": "poppler-utils", "pdffonts": "poppler-utils",
    "pdftoppm": "poppler-utils", "pdfdetach": "poppler-utils", "mutool": "mupdf-tools",
}  # fmt: skip


def run(name: str, *arguments: object) -> str:
    """What the program says, on both outputs. Skips the test, or fails it, where there is none; it must succeed."""
    found = shutil.which(name)
    if found is None:
        why = f"{name} is not installed (Debian: apt-get install {PACKAGES[name]})"
        if os.environ.get(REQUIRE):
            pytest.fail(f"{why}, and {REQUIRE} is set")
        pytest.skip(why)
    done = subprocess.run(
        [found, *(str(argument) for argument in arguments)], capture_output=True, check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    return (done.stdout + done.stderr).decode()
