"""The Wireshark dissector reads traces as the protocol has it: every published frame, field by field, and live."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any, Final

import pytest

from pes_sim.clock import VirtualClock
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import InsufficientFunds
from pes_sim.link import message
from pes_sim.link.bare import BarePsd
from pes_sim.link.client import Client
from pes_sim.link.device import DeviceSession, Session
from pes_sim.link.events import BY_CODE
from pes_sim.link.forge import STUFFING_FAULTS, forge
from pes_sim.link.frame import FrameKind, encode
from pes_sim.link.showing import Shown
from pes_sim.link.trace import Trace, TracedSession
from pes_sim.psd.services import BY_NAME
from tests.link.fakes import ID, NOW, FakeDevice
from tests.link.test_vectors import TABLE, load, value
from tests.rig import operational, piece
from tests.tshark import columns, command, environment, tshark

PATIENCE: Final = 60


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace.pcapng"


class Line:
    """A line in memory to a session, which takes its time."""

    name = "line:"

    def __init__(self, session: Session, clock: VirtualClock) -> None:
        self._session = session
        self._clock = clock
        self._coming = b""

    def write(self, data: bytes) -> None:
        self._coming += self._session.receive(data, self._clock.advance(1500))

    def read(self) -> bytes:
        coming, self._coming = self._coming, b""
        return coming

    def close(self) -> None:
        """Nothing is open."""


def test_a_trace_of_a_device_is_read_back_with_names_directions_times_and_pairs(file: Path) -> None:
    rig = operational(funds=1000)
    clock = VirtualClock(rig.now)
    with Trace(file) as trace:
        session = TracedSession(DeviceSession(BarePsd(rig.psd)), trace, "psd", clock, BY_NAME.values())
        host = Client(Line(session, clock), BY_NAME, SeededEntropy("dissector"))
        host.hello()
        host.subscribe(low_funds_mills=500)
        for _ in range(2):
            host.call("dispense", piece(), request_id=ID)
        nonce = host.call("challenge", {})["nonce"]
        host.call("authenticate", {"role": "customer's meter", "proof": rig.user_proof(nonce)})
        with pytest.raises(InsufficientFunds):
            host.call("dispense", piece())
        host.send_raw(forge(message.request(BY_NAME["get_info"], {}, ID), crc=0))
    names = (
        "frame.time_epoch", "frame.packet_flags_direction", "pes.kind", "pes.name", "pes.status", "pes.crc.good",
        "pes.request_in", "pes.reply_in",
    )  # fmt: skip
    start = rig.now // 1_000_000
    rows = [["1" if cell == "True" else "0" if cell == "False" else cell for cell in row]  # newer ones say so
            for row in columns(file, *names)]  # fmt: skip
    times = [f"{start}.{1500 * n:06d}000" for n in (1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8)]
    assert [row[0] for row in rows] == times
    into, out = "0x00000001", "0x00000002"
    assert [row[1:] for row in rows] == [
        [into, "1", "hello", "0x00", "1", "", "2"],
        [out, "2", "hello", "0x00", "1", "1", ""],
        [into, "1", "subscribe", "0x00", "1", "", "4"],
        [out, "2", "subscribe", "0x00", "1", "3", ""],
        [into, "1", "dispense", "0x00", "1", "", "6"],
        [out, "2", "dispense", "0x00", "1", "5", ""],
        [out, "3", "low_funds", "0x00", "1", "", ""],
        [into, "1", "dispense", "0x00", "1", "", "9"],
        [out, "2", "dispense", "0x00", "1", "8", ""],
        [into, "1", "challenge", "0x00", "1", "", "11"],
        [out, "2", "challenge", "0x00", "1", "10", ""],
        [into, "1", "authenticate", "0x00", "1", "", "13"],
        [out, "2", "authenticate", "0x00", "1", "12", ""],
        [into, "1", "dispense", "0x00", "1", "", "15"],
        [out, "2", "dispense", "0x22", "1", "14", ""],
        [into, "1", "get_info", "0x00", "0", "", ""],
        [out, "2", "unreadable", "0x10", "1", "", ""],
    ]
    assert {row[0] for row in columns(file, "pes.time")} == {"", "0.000000000"}
    assert [row[0] for row in columns(file, "pes.field.proof")].count("2a" * 32) == 1
    assert columns(file, "pes.error.message", "pes.error.hint", "pes.error.detail")[14] == [
        "$0.74 asked, $0.26 available, $0.48 missing", "Refill the meter",
        "asked_mills=740, missing_mills=480, available_mills=260",
    ]  # fmt: skip
    text = tshark("-r", str(file))
    assert "dispense reply: INSUFFICIENT_FUNDS" in text
    assert "low_funds event" in text
    assert "get_info request (CRC does not match)" in text
    experts = columns(file, "_ws.expert.message")
    assert experts[7] == ["The same request once more"]
    assert (
        experts[15] == ["the CRC does not match (bytes 405 to 431)|The CRC does not match"] or "CRC" in experts[15][0]
    )


def test_a_time_between_request_and_reply_is_the_clocks(file: Path) -> None:
    asked = message.request(BY_NAME["get_registers"], {}, ID)
    with Trace(file) as trace:
        line = trace.line("psd", "")
        for time, frame in ((NOW, asked), (NOW + 1_234_567, message.reply(asked, {"service_indicator": 0}))):
            trace.write(line, time, Shown(encode(frame)[1:-1]), inbound=frame is asked)
    assert columns(file, "pes.time")[1] == ["1.234567000"]


def published() -> list[dict[str, Any]]:
    return [vector for name in ("services", "refusals", "events") for vector in load(name)]


def shown(values: Any) -> Any:
    """A field's value as tshark has it in JSON; None for what it has no field for."""
    if isinstance(values, bytes):
        return values.hex(":") or None
    if isinstance(values, list):
        items = [item for item in map(shown, values) if item is not None]
        return items[0] if len(items) == 1 else items or None
    return str(values)


def test_every_published_frame_is_dissected_field_by_field(file: Path) -> None:
    vectors = published()
    with Trace(file) as trace:
        line = trace.line("vectors", "")
        for number, vector in enumerate(vectors):
            run = bytes.fromhex(vector["line"])[1:-1]
            trace.write(line, NOW + number, Shown(run), inbound=vector["kind"] == FrameKind.REQUEST)
    packets = json.loads(tshark("-r", str(file), "-T", "json", "--no-duplicate-keys", "-J", "pes"))
    assert len(packets) == len(vectors)
    for vector, packet in zip(vectors, packets, strict=True):
        pes = packet["_source"]["layers"]["pes"]
        name = (BY_CODE if vector["kind"] == FrameKind.EVENT else TABLE).get(vector["service"])
        assert pes["pes.name"] == (name.name if name else "unreadable"), vector["name"]
        assert pes["pes.crc.good"] in ("1", "True")
        body = pes.get("pes.body_tree", {})
        entries = vector["name"].endswith("most")  # what stands in a list is no map there
        assert entries or "pes.body.bad" not in json.dumps(body), vector["name"]
        found = {key.removeprefix("pes.field."): one for key, one in body.items() if key.startswith("pes.field.")}
        if vector["status"]:
            assert (body["pes.error.message"], body["pes.error.hint"]) == (
                vector["values"]["message"], vector["values"]["hint"],
            )  # fmt: skip
            continue
        values = {name: shown(one) for name, one in value(vector["values"]).items()}
        flat = {name: one for name, one in found.items() if not name.endswith("_tree")}
        assert flat == {name: one for name, one in values.items() if one is not None}, vector["name"]


@pytest.mark.parametrize(
    ("run", "complaint", "info"),
    [
        (b"login", "This is no COBS", "5 bytes that are no frame"),
        (b"\x05abc", "This is no COBS", "4 bytes that are no frame"),
        (forge(message.request(BY_NAME["get_info"], {}, ID), request_id=b"", crc=0)[1:-1],
         "Too few bytes for a frame", "9 bytes, too few for a frame"),
        (forge(message.request(BY_NAME["get_info"], {}, ID), body=b"\xff")[1:-1],
         "This is no map of known fields", "get_info request"),
        (forge(message.request(BY_NAME["get_info"], {}, ID), body=b"\xa1\x18\xfe\x00")[1:-1],
         "This is no map of known fields", "get_info request"),
        (forge(message.request(BY_NAME["get_info"], {}, ID), service=0x77, kind=9)[1:-1], "", "0x77 kind 9"),
        (forge(message.request(BY_NAME["get_info"], {}, ID), stuffing=STUFFING_FAULTS["code beyond the end"])[1:-1],
         "This is no COBS", "26 bytes that are no frame"),
    ],
)  # fmt: skip
def test_what_is_no_good_frame_is_said_what_is_wrong_with_it(run: bytes, complaint: str, info: str, file: Path) -> None:
    with Trace(file) as trace:
        trace.write(trace.line("x", ""), NOW, Shown(run), inbound=True)
    assert columns(file, "_ws.expert.message", "_ws.col.Info") == [[complaint, info]]


def test_a_named_pipe_is_captured_live(tmp_path: Path) -> None:
    pipe = tmp_path / "live.pcapng"
    os.mkfifo(pipe)
    live = subprocess.Popen(
        command("-i", str(pipe), "-l", "-T", "fields", "-e", "pes.name", "-e", "pes.kind", "-c", "2"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    opening = threading.Thread(target=lambda: probe.append(os.open(pipe, os.O_WRONLY)), daemon=True)
    probe: list[int] = []
    opening.start()
    opening.join(PATIENCE)  # it is opened for writing when tshark has it open for reading
    assert probe, "tshark does not read from the pipe"
    try:
        with Trace(pipe) as trace:
            os.close(probe[0])
            session = TracedSession(DeviceSession(FakeDevice()), trace, "meter", VirtualClock(NOW))
            session.receive(encode(message.request(message.UNSUBSCRIBE, {}, ID)), NOW)
            out, complaints = live.communicate(timeout=PATIENCE)
    finally:
        live.kill()
        live.communicate()
    assert out.splitlines() == ["unsubscribe\t1", "unsubscribe\t2"], complaints
