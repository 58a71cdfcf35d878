"""A device of one's own to put behind a line: it remembers what it was asked, and answers what it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from pes_sim.entropy import SeededEntropy
from pes_sim.link import message
from pes_sim.link.client import Client, Transport
from pes_sim.link.frame import Frame, Framer
from pes_sim.psd.fields import Values, check_all
from pes_sim.psd.lifecycle import State
from pes_sim.psd.services import Service, row

ID: Final = bytes(range(1, 17))
OTHER_ID: Final = bytes(range(101, 117))
NOW: Final = 1_783_954_800_000_000

SERVICES: Final = (
    row(0x01, "get", State, "", "message", "Gives a message"),
    row(0x02, "put", State, "message reference", "record", "Takes a message", changes=True),
    row(0x03, "list", State, "first_record", "entries next_record", "Gives a list"),
)
BY_NAME: Final[Mapping[str, Service]] = {service.name: service for service in SERVICES}
GET, PUT, LIST = SERVICES


class FakeDevice:
    """An endpoint. `asked` has each request as it came; `answer` makes the answers."""

    kind = "fake"
    services: Mapping[int, Service] = {service.code: service for service in SERVICES}

    def __init__(self, answer: Callable[[str, Values], Values] | None = None) -> None:
        self.asked: list[tuple[str, Values, bytes, int]] = []
        self._answer = answer or usual_answer
        self._record = 0
        self._done: dict[bytes, Values] = {}

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        self.asked.append((name, request, request_id, now))
        check_all(BY_NAME[name].request, request)
        if name != "put":
            return self._answer(name, request)
        if request_id not in self._done:
            self._record += 1
            self._done[request_id] = {"record": self._record}
        return self._done[request_id]


def usual_answer(name: str, request: Values) -> Values:
    """What a fake device answers unless told otherwise."""
    if name == "get":
        return {"message": b"hello"}
    return {"entries": [b"one", b"two"], "next_record": request["first_record"] + 2}


def client(transport: Transport) -> Client:
    """A client of a fake device, with request ids that repeat from run to run."""
    return Client(transport, BY_NAME, SeededEntropy("tests of the link"))


def frames(line: bytes) -> list[Frame]:
    """The frames in what a side sent; there must be nothing else in it."""
    items = Framer().feed(line)
    good = [item for item in items if isinstance(item, Frame)]
    assert len(good) == len(items)
    return good


def read(line: bytes) -> Iterator[Values | tuple[int, str]]:
    """What a device answered: the values of each answer, or the status and the text of each refusal."""
    for frame in frames(line):
        if frame.status:
            yield frame.status, message.read_refusal(frame).message
        else:
            yield message.read_values(frame)


def is_free(turn: threading.RLock) -> bool:
    """Whether another thread could take its turn now."""
    found: list[bool] = []

    def look() -> None:
        found.append(turn.acquire(blocking=False))
        if found[0]:
            turn.release()

    other = threading.Thread(target=look)
    other.start()
    other.join()
    return found[0]
