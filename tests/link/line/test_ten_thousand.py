"""Ten thousand pieces over a line with bit errors at 1e-4 and a plug that comes out: each is delivered, and paid once.

Two lines, one after the other: at the host (its port goes with the plug) and at the device (a cable: silence). The host
does what any software would: when a call fails for want of a connection, it asks again under the same request id.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from pes_sim.clock import MINUTE, SECOND, VirtualClock, local_date
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import InsufficientFunds, LinkError, LockedCheckinOverdue
from pes_sim.link.bare import BarePsd
from pes_sim.link.client import Client
from pes_sim.link.device import DeviceSession, Session
from pes_sim.link.line.config import LineConfig
from pes_sim.link.line.ends import TIMEOUT_US, LineSession, LineTransport
from pes_sim.link.line.line import Counts, Line
from pes_sim.psd.fields import Values, unpack
from pes_sim.psd.services import BY_NAME
from tests.rig import Rig, operational, piece

PIECES: Final = 10_000
EVERY: Final = 70 * SECOND
"""A piece is printed so often: the 72 hours pass twice on the way."""
POSTAGE: Final = 740
REFILL: Final = 1_000 * POSTAGE
NOISE: Final = LineConfig(baud=115_200, bit_errors=1e-4, unplugs=1e-5, unplugged_us=12 * SECOND)


class Cable:
    """What is between the two lines: the device's end at once, and a silence that lasts."""

    name = "cable:"

    def __init__(self, session: Session, clock: VirtualClock) -> None:
        self.came = b""
        self._session = session
        self._clock = clock

    def read(self) -> bytes:
        data, self.came = self.came, b""
        if not data:
            self._clock.wait(TIMEOUT_US)
        return data

    def write(self, data: bytes) -> None:
        self.came += self._session.receive(data, self._clock.now())

    def close(self) -> None:
        raise AssertionError("nobody asked for that")


class Counted(LineTransport):
    """The host's end, with how often it was written to."""

    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)


class Host:
    """A host's software: it asks until it knows."""

    def __init__(self, rig: Rig, lines: tuple[Line, Line], clock: VirtualClock) -> None:
        self.rig = rig
        self.auditor = Auditor(rig, clock)
        self.clock = clock
        cable = Cable(LineSession(DeviceSession(BarePsd(rig.psd)), lines[1], clock), clock)
        self.port = Counted(cable, lines[0], clock)
        self.calls = self.repeated = self.refills = self.check_ins = 0
        self._client = Client(self.port, BY_NAME, SeededEntropy("a host"))
        self._ids = SeededEntropy("request ids")

    def ask(self, name: str, request: Values) -> Values:
        request_id = self._ids(16)
        while True:
            self.calls += 1
            try:
                return self._client.call(name, request, request_id=request_id)
            except LinkError:
                self.repeated += 1
                self.clock.wait(SECOND)
            except InsufficientFunds:
                self.refill()
            except LockedCheckinOverdue:
                self.check_in()

    def dispense(self) -> bytes:
        answer = self.ask(
            "dispense", piece(postage_mills=POSTAGE, mailing_date=local_date(self.clock.now()).isoformat())
        )
        return bytes(answer["indicium"])

    def refill(self) -> None:
        self.refills += 1
        request = self.rig.read("refill_request", self.ask("refill_begin", {"amount_mills": REFILL})["message"])
        self.ask("refill_complete", {"message": self.rig.grant(request)})

    def check_in(self) -> None:
        self.check_ins += 1
        self.auditor.read()
        report = self.rig.read("checkin_report", self.ask("checkin_begin", {})["message"])
        self.ask("checkin_complete", {"message": self.rig.receipt(report)})


class Auditor:
    """Reads the PSD's own log, beside the line, before the device forgets what was acknowledged."""

    def __init__(self, rig: Rig, clock: VirtualClock) -> None:
        self.indicia: list[bytes] = []
        self._rig = rig
        self._clock = clock
        self._following = 1

    def read(self) -> None:
        self._rig.now = self._clock.now()
        while self._following <= self._rig.status()["log_sequence"]:
            answer = self._rig.ask("read_log", first_record=self._following)
            for entry in map(unpack, answer["entries"]):
                self.indicia.append(entry["indicium"])
                self._following = entry["record"] + 1
            if not answer["entries"]:
                break


def noise_of(line: Line) -> Counts:
    """What a line did: as many flipped bits as there should be, and unplugged again and again."""
    counts = line.counts()
    expected = counts.sent_bytes * NOISE.bits * NOISE.bit_errors
    assert abs(counts.flipped_bits - expected) < 5 * expected**0.5
    assert counts.unplugs > 10
    assert counts.lost_bytes > 1_000
    return counts


def test_ten_thousand_indicia_are_delivered_exactly_once_over_a_noisy_line() -> None:
    rig = operational(funds=REFILL)
    start = rig.now
    clock = VirtualClock(start)
    at_host = Line(NOISE, seed="at the host")
    at_host.change(port_vanishes=True)
    at_device = Line(NOISE, seed="at the device")
    host = Host(rig, (at_host, at_device), clock)
    delivered = []
    for _ in range(PIECES):
        clock.advance(EVERY)
        delivered.append(host.dispense())
    waited = clock.now() - start - PIECES * EVERY

    assert len(set(delivered)) == PIECES
    host.auditor.read()
    assert host.auditor.indicia == delivered
    registers = rig.registers()
    assert registers["piece_count"] == PIECES
    assert registers["ascending_mills"] == PIECES * POSTAGE
    assert registers["control_sum_mills"] == (1 + host.refills) * REFILL
    assert registers["ascending_mills"] + registers["descending_mills"] == registers["control_sum_mills"]

    retries = host.port.writes - host.calls
    print(f"{PIECES} pieces, {host.refills} refills, {host.check_ins} check-ins; {waited // MINUTE} minutes of it")
    for name, line in (("host", at_host), ("device", at_device)):
        print(f"the line at the {name}:", *(f"{k}={v}" for k, v in asdict(noise_of(line)).items()))
    print(f"{retries} requests sent again by the client, {host.repeated} calls repeated by the host")
    assert retries > 1_000
    assert host.repeated > 10
    assert host.refills >= 9
    assert host.check_ins >= 2


def test_answers_that_come_late_are_not_taken_for_the_next_ones() -> None:
    """Jitter of up to five seconds, and a host that asks again after two: late answers are all over the line."""
    rig = operational(funds=REFILL)
    clock = VirtualClock(rig.now)
    lines = Line(LineConfig(jitter_us=5 * SECOND), seed="late"), Line(NOISE, seed="noise")
    host = Host(rig, lines, clock)
    delivered = [host.dispense() for _ in range(500)]
    host.auditor.read()
    assert host.auditor.indicia == delivered
    assert len(set(delivered)) == 500
    assert host.port.writes - host.calls > 200
