"""kill -9 of a real process while it dispenses: no indicium without its debit, and at most one debit undelivered.

What was debited and not delivered is delivered by the retry. Starting Python costs a thousand times what a piece does,
so one process imports everything, and forks the one that dispenses anew for each kill. When the kill comes is drawn: so
many lines of what the process tells, and then so many turns of waiting without sleeping, in which it goes on.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pes_sim.psd.device import Psd
from pes_sim.psd.storage import FileStorage
from pes_sim.psd.vault import FileVault
from tests.psd.test_device import read_all
from tests.rig import Rig

KILLS = 52
"""In each part."""
PARTS = 4
BANK = 8192
"""Small, so that some of the kills fall on the beginning of a segment."""
TURNS = 600
"""Of waiting, at most: about what a piece takes; a new segment takes ten times as long."""
PROGRAM = "from tests.psd.test_kill import fork_and_dispense; fork_and_dispense()"
UNLIMITED = 1_000_000


class Telling(FileStorage):
    """Files that tell when a segment is begun."""

    tells = False

    def create(self, name: str, size: int) -> None:
        if self.tells:
            tell("begins", name)
        super().create(name, size)


class OnDisk(Rig):
    """A device whose log and vault are files, so that they outlive its process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # The 140-3 profile tests an algorithm at its first use: a power-on would be self-tests mostly.
        super().__init__(storage=Telling(directory), bank=BANK, profile="FIPS 140-3")

    def power_on(self, *, log_in: bool = True) -> Psd:
        self.vault = FileVault(self.directory / "vault")  # type: ignore[assignment]
        return super().power_on(log_in=log_in)


# In the process that is killed


def tell(*words: object) -> None:
    """A line that leaves the process whole, or not at all: one write, shorter than what a pipe takes at once. (What
    `print` does in how many depends on the environment.)
    """
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def fork_and_dispense() -> None:
    """For each line "directory, first request id" a process that dispenses until it is killed."""
    for line in sys.stdin:
        directory, first = line.split()
        child = os.fork()
        if child == 0:
            try:
                dispense_for_ever(Path(directory), int(first))
            finally:
                os._exit(1)
        tell("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def dispense_for_ever(directory: Path, first: int) -> None:
    tell("process", os.getpid())
    rig = OnDisk(directory)
    Telling.tells = True
    for number in range(first, UNLIMITED):
        tell("asked", number)
        tell("got", rig.dispense(number.to_bytes(16, "big"), postage_mills=1)["indicium"].hex())


# In the one that kills it


@pytest.fixture
def helper() -> Iterator[subprocess.Popen[str]]:
    """The process that forks. Coverage does not look on: what it would find out dies with the child."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    yield process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()


def run_and_kill(helper: subprocess.Popen[str], directory: Path, first: int, draw: random.Random) -> list[list[str]]:
    """What the process told before it was killed, as words."""
    assert helper.stdin is not None
    assert helper.stdout is not None
    print(directory, first, file=helper.stdin, flush=True)
    kind, process = helper.stdout.readline().split()
    assert kind == "process"
    awaited, count = draw.choice((("asked", draw.randrange(1, 9)), ("got", draw.randrange(1, 9)), ("begins", 1)))
    turns = draw.randrange(TURNS * (10 if awaited == "begins" else 1))
    told: list[list[str]] = []
    while count:
        told.append(helper.stdout.readline().split())
        assert told[-1][0] != "ended", "the process ended before it was killed"
        count -= told[-1][0] == awaited
    for _ in range(turns):
        os.sched_yield()  # on a machine with one processor it goes on just here
    os.kill(int(process), signal.SIGKILL)
    while (words := helper.stdout.readline().split())[0] != "ended":
        told.append(words)
    assert words == ["ended", str(-signal.SIGKILL)]
    return told


@pytest.mark.parametrize("part", range(PARTS))
def test_a_killed_process_leaves_books_that_match_what_it_delivered(
    part: int, tmp_path: Path, helper: subprocess.Popen[str], figure: Callable[[str], None]
) -> None:
    draw = random.Random(part)
    rig = OnDisk(tmp_path)
    rig.initialize()
    rig.authorize()
    rig.check_in()
    rig.refill(UNLIMITED)
    delivered: list[str] = []
    asked, undelivered, beginning = 1000, 0, 0
    for _ in range(KILLS):
        following = rig.status()["log_sequence"] + 1
        rig.storage.close()
        told = run_and_kill(helper, tmp_path, asked, draw)
        got = [word for kind, word in told if kind == "got"]
        asked = max((int(word) for kind, word in told if kind == "asked"), default=asked)

        rig = OnDisk(tmp_path)
        booked = [entry["indicium"].hex() for entry in read_all(rig, following)]
        registers = rig.registers()
        assert registers["ascending_mills"] + registers["descending_mills"] == registers["control_sum_mills"]
        assert registers["control_sum_mills"] == UNLIMITED
        assert registers["piece_count"] == registers["ascending_mills"] == len(delivered) + len(booked)
        assert booked[: len(got)] == got
        assert len(booked) - len(got) in (0, 1)
        again = rig.dispense(asked.to_bytes(16, "big"), postage_mills=1)["indicium"].hex()
        if len(booked) > len(got):
            undelivered += 1
            assert again == booked[-1]
        if again in booked:
            assert rig.registers() == registers
        delivered += dict.fromkeys([*booked, again])
        beginning += [kind for kind, _ in told if kind != "asked"][-1:] == ["begins"]
        asked += 1
    assert [entry["indicium"].hex() for entry in read_all(rig)] == delivered
    assert len(set(delivered)) == len(delivered)
    rig.storage.close()
    figure(f"kills: {KILLS}, on a debit whose indicium was not delivered: {undelivered}, "
           f"in a piece that began a segment: {beginning}; pieces: {len(delivered)}")  # fmt: skip
    assert undelivered
    assert beginning
