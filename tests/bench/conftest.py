"""A meter on a bench: in this process, and with its control served."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pes_sim.bench.control import Bench
from pes_sim.bench.server import ControlServer
from pes_sim.errors import NotAuthenticated
from pes_sim.link.line.line import Line
from pes_sim.psd.faults import PowerCut
from pes_sim.psd.fields import Values
from pes_sim.virtual import VirtualMeter, _Outlet
from tests.meter.made import FUNDS, TODAY, copy_of_a_meter

PIECE = {
    "department": "100", "mail_class": "first_class_letter", "weight": 100, "destination": "", "mailing_date": TODAY,
    "declared_mills": 0,
}  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A meter with $100 in it, on 2026-01-05."""
    return copy_of_a_meter(tmp_path / "m1")


@pytest.fixture
def meter(directory: Path) -> Iterator[VirtualMeter]:
    with VirtualMeter(directory) as opened:
        yield opened


@pytest.fixture
def bench(meter: VirtualMeter) -> Bench:
    return Bench(meter)


@pytest.fixture
def server(meter: VirtualMeter) -> Iterator[ControlServer]:
    with ControlServer(meter, line=Line()) as serving:
        yield serving


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over HTTP."""

    code: int
    headers: dict[str, str]
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Web:
    """Anybody who connects to the control's port. Headers of the caller replace those that an honest one sends."""

    port: int
    token: str

    def ask(self, verb: str, path: str, body: bytes | str | None = None, **headers: str | None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.putrequest(verb, path, skip_host="Host" in given)
            for name, value in (
                sent | given | ({"Content-Length": str(len(body))} if body is not None else {})
            ).items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body.encode() if isinstance(body, str) else body)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), json.loads(response.read() or b"{}"))
        finally:
            connection.close()

    def post(self, control: str, **arguments: Any) -> Answer:
        return self.ask("POST", f"/v1/{control}", json.dumps(arguments))

    def get(self, control: str) -> Answer:
        return self.ask("GET", f"/v1/{control}")


@pytest.fixture
def web(server: ControlServer) -> Web:
    return Web(server.place.port, server.place.token)


class Host:
    """A host that prints in a loop as one at a port does, in a thread of its own: each piece under one request id, that
    it repeats until it is answered. No line is between, so that nothing has to wait for a time-out. After `pause_after`
    pieces it waits until it is told to `go`.
    """

    def __init__(self, meter: VirtualMeter, bench: Bench, pieces: int, pause_after: int = -1) -> None:
        self.done: list[Values] = []
        self.problem: BaseException | None = None
        self._meter, self._pieces = meter, pieces
        self._port = _Outlet(meter, lambda device: device, comes_back=True)
        self._some = threading.Semaphore(0)
        self._pause_after, self._may_go = pause_after, threading.Event()
        self._news = threading.Event()
        bench.events.listen(self._news.set)
        self._thread = threading.Thread(target=self._print, daemon=True)
        self._thread.start()

    def printed(self, count: int) -> None:
        """Returns when so many more were answered, or it has ended."""
        for _ in range(count):
            self._some.acquire()

    def go(self) -> None:
        """After its pause."""
        self._may_go.set()

    def finish(self) -> list[Values]:
        """What it was answered, all in all. Raises what it was refused with."""
        self._thread.join()
        if self.problem is not None:
            raise self.problem
        return self.done

    def _print(self) -> None:
        try:
            for number in range(self._pieces):
                if number == self._pause_after:
                    self._may_go.wait()
                self.done.append(self._piece(number.to_bytes(16, "big")))
                self._some.release()
        except BaseException as problem:
            self.problem = problem
        finally:
            for _ in range(self._pieces):
                self._some.release()

    def _piece(self, request_id: bytes) -> Values:
        while True:
            try:
                return self._port.execute("print_piece", PIECE, request_id=request_id, now=self._meter.clock.now())
            except PowerCut:
                while not self._meter.powered:
                    self._news.wait()
                    self._news.clear()
            except NotAuthenticated:
                # Cuts in the middle of three logins in a row: each counts as a wrong proof, or guessing would be free.
                with contextlib.suppress(PowerCut):
                    self._meter.unlock()


def books_balance(meter: VirtualMeter, answered: list[Values], funds: int = FUNDS) -> None:
    """To the mill: what was answered, the registers, the log and the departments say the same, each piece once."""
    registers = meter.registers()
    indicia = [answer["indicium"] for answer in answered]
    paid = sum(answer["postage_mills"] for answer in answered)
    assert len(set(indicia)) == len(indicia) == registers.piece_count
    assert (registers.ascending_mills, registers.descending_mills) == (paid, funds - paid)
    assert registers.control_sum_mills == funds
    assert [entry["indicium"] for entry in meter.log()] == indicia
    departments = meter.departments()
    assert (sum(d.pieces for d in departments), sum(d.postage_mills for d in departments)) == (len(indicia), paid)
