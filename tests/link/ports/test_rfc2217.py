"""RFC 2217: a serial port over TCP, with its settings and its control lines."""

from __future__ import annotations

import socket
import struct
import warnings
from collections.abc import Iterator

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from serial import rfc2217

from pes_sim.errors import LinkError, UsageError
from pes_sim.link import message
from pes_sim.link.device import DeviceSession
from pes_sim.link.ports import open_host
from pes_sim.link.ports.rfc2217 import Rfc2217Transport, TelnetSession
from pes_sim.link.ports.server import Server
from pes_sim.psd.faults import PowerCut
from pes_sim.psd.fields import Values
from tests.link.fakes import NOW, FakeDevice, client, frames
from tests.link.ports.bench import GET_LINE, PATIENCE, close_in_time, served

IAC, SB, SE, WILL, DO = b"\xff", b"\xfa", b"\xf0", b"\xfb", b"\xfd"
COM_PORT = b"\x2c"


@pytest.fixture
def server(device: FakeDevice) -> Iterator[Server]:
    made = served("rfc2217:0", device)
    yield made
    close_in_time(made)


def open_port(uri: str, timeout_ms: int = PATIENCE * 1000) -> Rfc2217Transport:
    transport = open_host(uri, timeout_ms=timeout_ms)
    assert isinstance(transport, Rfc2217Transport)
    return transport


def session(device: FakeDevice) -> TelnetSession:
    """One whose greeting has been read, and that has a host which agrees to the option."""
    made = TelnetSession(lambda: DeviceSession(device))
    assert made.unasked(NOW)
    made.receive(IAC + DO + COM_PORT + IAC + WILL + COM_PORT, NOW)
    return made


def option(data: bytes) -> bytes:
    return IAC + SB + COM_PORT + data + IAC + SE


# Over a connection


def test_control_lines_can_be_set_and_read_without_harm(server: Server) -> None:
    transport = open_port(server.uri)
    host, lines = client(transport), transport.lines
    for up in (False, True):
        lines.rts = up
        lines.dtr = up
        assert (lines.rts, lines.dtr) == (up, up)
        assert (lines.cts, lines.dsr, lines.cd, lines.ri) == (True, True, True, False)
        assert host.call("get", {}) == {"message": b"hello"}
    lines.break_condition = True
    lines.break_condition = False
    lines.reset_input_buffer()
    lines.reset_output_buffer()
    assert host.call("get", {}) == {"message": b"hello"}
    host.close()


def test_a_line_is_set_as_the_uri_has_it_and_may_be_set_anew(server: Server) -> None:
    transport = open_port(f"{server.uri}?baud=9600&parity=even&stop=2")
    lines = transport.lines
    assert (lines.baudrate, lines.parity, lines.stopbits) == (9600, "E", 2)
    lines.baudrate = 300
    lines.rtscts = True
    lines.xonxoff = False
    assert client(transport).call("get", {}) == {"message": b"hello"}
    transport.close()


def test_another_program_s_pyserial_finds_it_by_its_own_kind_of_name(server: Server) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        port = serial.serial_for_url(server.uri.replace("rfc2217:", "rfc2217://"), timeout=PATIENCE)
    with port:
        port.write(GET_LINE)
        answer = port.read(1) + port.read_until(b"\0")
    assert message.read_values(frames(answer)[0]) == {"message": b"hello"}


def test_a_second_host_is_turned_away_and_disturbs_nobody(server: Server) -> None:
    first = client(open_port(server.uri))
    with pytest.raises(LinkError) as refusal:
        open_host(server.uri)
    assert refusal.value.message.startswith(f"{server.uri} does not answer as an RFC 2217 port")
    assert "only one at a time is served" in refusal.value.hint
    assert first.call("get", {}) == {"message": b"hello"}
    first.close()


def test_what_speaks_no_telnet_is_not_opened(device: FakeDevice) -> None:
    with served("tcp:0", device) as plain, pytest.raises(LinkError, match="does not answer as an RFC 2217 port") as no:
        open_host(plain.uri.replace("tcp:", "rfc2217:"))
    assert "open it as tcp:" in no.value.hint


def test_nothing_that_listens_and_no_such_host_are_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(LinkError, match=f"nothing listens at rfc2217:127.0.0.1:{port}"):
        open_host(f"rfc2217:{port}")
    with pytest.raises(LinkError, match="the host of rfc2217:x+:1 is not known"):
        open_host(f"rfc2217:{'x' * 99}:1")


def test_what_is_set_is_the_host_s_so_a_device_has_no_parameters(device: FakeDevice) -> None:
    with pytest.raises(UsageError, match="has no parameter 'baud'") as refusal:
        served("rfc2217:0?baud=9600", device)
    assert refusal.value.hint == "A rfc2217: port has none"


# The telnet side alone


def test_the_greeting_comes_first_and_once(device: FakeDevice) -> None:
    made = TelnetSession(lambda: DeviceSession(device))
    assert IAC + WILL + COM_PORT in made.unasked(NOW)
    assert made.unasked(NOW) == b""


def test_what_the_device_says_is_escaped_and_what_it_hears_is_not(device: FakeDevice) -> None:
    device._answer = lambda name, request: {"message": b"\xff" * 5}
    plain = DeviceSession(device).receive(GET_LINE, NOW)
    assert session(device).receive(GET_LINE, NOW) == plain.replace(b"\xff", b"\xff\xff") != plain


def test_a_request_may_come_in_pieces_around_options(device: FakeDevice) -> None:
    made = session(device)
    baud = option(b"\1" + struct.pack("!I", 9600))
    came = b"".join(
        made.receive(bytes([number]), NOW) for number in GET_LINE[:9] + baud + GET_LINE[9:]
    )  # fmt: skip
    answer = option(b"\x65" + struct.pack("!I", 9600))
    assert came.startswith(answer)
    assert message.read_values(frames(came.removeprefix(answer))[0]) == {"message": b"hello"}
    assert made.lines.baudrate == 9600


def test_a_power_cut_takes_the_device_s_session_and_leaves_the_telnet_side(device: FakeDevice) -> None:
    made = session(device)
    answer = device._answer

    def cut(name: str, request: Values) -> Values:
        raise PowerCut

    device._answer = cut
    said = made.receive(option(b"\5\x08") + GET_LINE, NOW)
    assert said == option(b"\x69\x08"), "DTR is up, and nothing else is answered"
    device._answer = answer
    assert message.read_values(frames(made.receive(GET_LINE, NOW))[0]) == {"message": b"hello"}


@pytest.mark.parametrize(
    "wrong",
    [
        option(b"\1\0"),
        option(b"\3\x63"),
        option(b"\4\x63"),
        option(b"\x0a"),
        option(b""),
        IAC + SE,
        IAC + SB + bytes(100_000) + IAC + SE,
        IAC + WILL + b"\x99",
        IAC + b"\xf6",
    ],
    ids=["half a speed", "no such parity", "no such stop", "no mask", "empty", "an end alone", "endless", "unknown",
         "are you there"],
)  # fmt: skip
def test_an_option_that_is_none_is_left_out_and_what_follows_is_read(device: FakeDevice, wrong: bytes) -> None:
    made = session(device)
    made.receive(wrong, NOW)
    made.receive(b"\0", NOW)
    last = made.receive(GET_LINE, NOW)
    assert message.read_values(frames(last)[0]) == {"message": b"hello"}


def test_an_option_without_an_end_is_not_kept(device: FakeDevice) -> None:
    made = session(device)
    for _ in range(100):
        made.receive(IAC + SB + bytes(5_000), NOW)
        assert len(made._manager.suboption or b"") <= 1024
    made.receive(b"\0" + IAC + SE + b"\0", NOW)
    assert message.read_values(frames(made.receive(GET_LINE, NOW))[0]) == {"message": b"hello"}


@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([IAC, IAC + SB + COM_PORT, IAC + SE, GET_LINE]))))
def test_any_bytes_at_all_leave_a_session_that_answers_and_keeps_little(pieces: list[bytes]) -> None:
    made = session(FakeDevice())
    for piece in pieces:
        made.receive(piece, NOW)
    kept = made._manager.suboption
    assert kept is None or len(kept) <= 1024
    made.receive(b"\0" + IAC + SE + IAC + SE + b"\0", NOW)
    assert made._manager.mode == rfc2217.M_NORMAL
    assert message.read_values(frames(made.receive(GET_LINE, NOW))[0]) == {"message": b"hello"}
