"""The arrows between the rooms, and what stays cheap: checked here too, not only by `make check`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_no_room_imports_what_is_above_it() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "3 kept, 0 broken" in done.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, pes_sim, pes_sim.cli; print(*sys.modules)"
    # Unmeasured: coverage loads much of its own, and of ours, before the program begins.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", program], env=plain, capture_output=True, text=True, check=True)
    heavy = {"cryptography", "cbor2", "cwt", "serial", "sqlalchemy", "reportlab", "PIL", "rich", "asyncio", "sqlite3",
             "fastapi", "uvicorn", "pydantic"}  # fmt: skip
    assert not heavy & set(done.stdout.split())
