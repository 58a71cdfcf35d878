"""kill -9 of a real process while it dispenses: no indicium without its debit, and at most one debit undelivered."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pes_sim.psd.device import Psd
from pes_sim.psd.storage import FileStorage
from pes_sim.psd.vault import FileVault
from tests.psd.test_device import read_all
from tests.rig import Rig

PROGRAM = """
import sys
from pathlib import Path
from tests.psd.test_kill import OnDisk
rig = OnDisk(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 1_000_000):
    request_id = number.to_bytes(16, "big")
    print("asked", request_id.hex(), flush=True)
    print("got", rig.dispense(request_id, postage_mills=1)["indicium"].hex(), flush=True)
"""
BANK = 8192
"""Small, so that some of the kills fall on the beginning of a segment."""


class OnDisk(Rig):
    """A device whose log and vault are files, so that they outlive its process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(storage=FileStorage(directory), bank=BANK)

    def power_on(self, *, log_in: bool = True) -> Psd:
        self.vault = FileVault(self.directory / "vault")  # type: ignore[assignment]
        return super().power_on(log_in=log_in)


@pytest.mark.parametrize("lines", [1, 2, 3, 40, 41, 58, 59, 97])
def test_a_killed_process_leaves_books_that_match_what_it_delivered(lines: int, tmp_path: Path) -> None:
    first = OnDisk(tmp_path)
    first.initialize()
    first.authorize()
    first.check_in()
    first.refill(1_000_000)
    first.storage.close()
    delivered: list[str] = []
    asked = 1000
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(asked)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        seen = [process.stdout.readline().split() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        # Not communicate(): that loses what the pipe's buffer in this process still holds.
        seen += [words for line in process.stdout if len(words := line.split()) == 2]
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        requests = [word for kind, word in seen if kind == "asked"]
        delivered += [word for kind, word in seen if kind == "got" and len(word) == 228]

        rig = OnDisk(tmp_path)
        booked = [entry["indicium"].hex() for entry in read_all(rig)]
        registers = rig.registers()
        assert registers["ascending_mills"] + registers["descending_mills"] == registers["control_sum_mills"]
        assert registers["piece_count"] == registers["ascending_mills"] == len(booked)
        assert booked[: len(delivered)] == delivered
        assert len(booked) <= len(delivered) + 1
        again = rig.dispense(bytes.fromhex(requests[-1]), postage_mills=1)["indicium"].hex()
        if len(booked) > len(delivered):
            assert again == booked[-1]
            assert rig.registers() == registers
        if again not in delivered:
            delivered.append(again)
        asked = int(requests[-1], 16) + 1
        rig.storage.close()
