"""`pes-sim meter run`: a meter on a port until it is stopped, and through power cuts."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pes_sim import connect
from pes_sim.bench.client import BenchClient
from pes_sim.cli import main
from pes_sim.cli.running import Cuts
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import IntegrityError, ProtocolError, Status
from pes_sim.link.client import Client
from pes_sim.link.frame import Frame, encode
from pes_sim.link.message import request
from pes_sim.link.ports import open_host
from pes_sim.psd.services import BY_NAME
from pes_sim.virtual import VirtualMeter, create
from tests.cli.conftest import process as one_run
from tests.link import capture

Start = Callable[..., tuple["subprocess.Popen[str]", dict[str, Any]]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    create(tmp_path / "m1")
    with VirtualMeter(tmp_path / "m1") as meter:
        meter.refill(1_000_000)
    return tmp_path / "m1"


@pytest.fixture
def start(directory: Path) -> Iterator[Start]:
    """Starts it; gives the process and its first line."""
    running: list[subprocess.Popen[str]] = []

    def begin(
        *options: str, before: Callable[[], object] | None = None
    ) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        command = [sys.executable, "-m", "pes_sim.cli", "meter", "run", str(directory), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=before)
        running.append(process)
        return process, read(process)

    yield begin
    for process in running:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    return line


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_says_where_it_is_serves_and_ends_when_it_is_told(start: Start, sent: signal.Signals) -> None:
    process, ready = start()
    assert (ready["event"], ready["device_kind"], ready["pid"], ready["state"]) == (
        "ready", "meter", process.pid, "OPERATIONAL",
    )  # fmt: skip
    meter = connect(ready["port"])
    meter.print_piece(department="100")
    process.send_signal(sent)
    assert process.wait() == 0
    assert process.stdout is not None
    assert process.stdout.read() == ""


def test_under_nohup_it_runs_on_when_its_terminal_goes(start: Start) -> None:
    process, ready = start(before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    with connect(ready["port"]) as meter:
        assert meter.status().state == "OPERATIONAL"
    process.terminate()
    assert process.wait() == 0


def test_it_ends_at_once_where_a_line_waits_on_a_slow_clock(start: Start, directory: Path) -> None:
    process, ready = start("--line", "latency=1s")
    BenchClient(directory).perform("rate", {"rate": 1e-5})
    host = open_host(ready["port"])
    host.write(b"\0")
    BenchClient(directory).perform("status", {})
    process.terminate()
    assert process.wait(20) == 0


def test_a_meter_whose_registers_cannot_be_read_is_served_for_what_it_answers_then(
    start: Start, directory: Path
) -> None:
    for file in directory.glob("psd/*.seg"):
        file.write_bytes(b"\xff" * file.stat().st_size)
    _, ready = start()
    assert (ready["state"], ready["piece_count"]) == ("ERROR", None)
    with connect(ready["port"]) as meter, pytest.raises(IntegrityError):
        meter.registers()


@pytest.mark.parametrize("port", ["pty:", "tcp:0", "rfc2217:0"])
def test_it_is_served_on_the_port_that_it_is_told(start: Start, port: str) -> None:
    process, ready = start("--port", port)
    assert ready["port"].startswith("/dev/" if port == "pty:" else port.removesuffix("0"))
    with connect(ready["port"]) as meter:
        assert meter.print_piece(department="100").record
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0


def test_a_link_to_its_terminal_is_there_while_it_runs_and_is_replaced_when_it_was_killed(
    start: Start, tmp_path: Path
) -> None:
    link = tmp_path / "meter0"
    killed, ready = start("--port", f"pty:{link}")
    assert ready["port"] == str(link)
    killed.kill()
    killed.wait()
    assert link.is_symlink(), "nobody took it away"
    process, _ = start("--port", f"pty:{link}")
    with connect(str(link)) as meter:
        assert meter.print_piece(department="100").record
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert not link.is_symlink()


def test_the_meter_is_in_use_while_it_runs(start: Start, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process, _ = start()
    assert main(["meter", "status", str(directory)]) == 1
    assert f"is in use by process {process.pid}" in capsys.readouterr().err


@pytest.mark.parametrize("at", range(1, 13))
def test_a_host_that_asks_again_comes_through_a_power_cut_in_the_middle_of_a_print(start: Start, at: int) -> None:
    """Whatever the cut came in: one answer, one debit."""
    process, ready = start("--cut-power-at-write", str(at))
    meter = connect(ready["port"])
    indicia = [meter.print_piece(department="100").indicium for _ in range(4)]
    assert len(set(indicia)) == 4
    assert meter.registers().piece_count == 4
    assert [d.pieces for d in meter.departments()] == [4]
    assert [entry["indicium"] for entry in meter.log()] == indicia
    said = read(process)
    assert (said["event"], said["operation"], said["state"]) == ("power cut", at, "OPERATIONAL")


def test_the_psd_alone_can_be_had_and_torn(start: Start) -> None:
    process, ready = start("--psd", "--storage-fault", "tear@2:100", "--storage-fault", "cut@5")
    assert ready["device_kind"] == "psd"
    client = Client(open_host(ready["port"]), BY_NAME, SystemEntropy())
    assert client.hello()["device_kind"] == "psd"
    registers = client.call("get_registers", {})
    challenge = client.call("challenge", {})
    assert len(challenge["nonce"]) == 16
    assert client.call("get_registers", {}) == registers
    assert process.poll() is None


def test_a_line_can_be_put_before_it_and_its_seed_is_told(start: Start) -> None:
    process, ready = start("--line", "bit-errors=1e-4,duplicates=1e-3", "--line-seed", "a seed")
    assert ready["line_seed"] == "a seed"
    meter = connect(ready["port"])
    indicia = {meter.print_piece(department="100").indicium for _ in range(30)}
    assert len(indicia) == meter.registers().piece_count == 30
    process.terminate()
    assert process.wait() == 0
    _, ready = start("--line", "latency=1ms")
    assert re.fullmatch("[0-9a-f]{16}", ready["line_seed"])


def test_what_happens_on_the_line_can_be_scripted(start: Start) -> None:
    _, ready = start("--line-step", "drop to-host byte=5", "--line-step", "flip to-device frame=2 bit=3")
    client = Client(open_host(ready["port"]), BY_NAME, SystemEntropy())
    asked = encode(request(BY_NAME["get_registers"], {}, bytes(range(16))))
    answers = [client.send_raw(asked)[0] for _ in range(4)]
    assert isinstance(answers[0], ProtocolError)  # a byte of the first answer was lost
    assert [answer.status for answer in answers[1:] if isinstance(answer, Frame)] == [0, Status.BAD_FRAME, 0]


@pytest.mark.parametrize("options", [(), ("--cut-power-at-write", "3")])
def test_what_went_over_the_port_is_in_the_trace_also_through_a_power_cut(
    start: Start, tmp_path: Path, options: tuple[str, ...]
) -> None:
    file = tmp_path / "trace.pcapng"
    process, ready = start("--trace", str(file), *options)
    meter = connect(ready["port"])
    before = capture.read(file.read_bytes())
    assert before.lines == [("meter", "meter, the device's end")]
    assert [packet.inbound for packet in before.packets] == [True, False]  # it said hello
    meter.print_piece(department="100")
    process.terminate()
    assert process.wait() == 0
    sent = Counter((packet.inbound, packet.data) for packet in capture.read(file.read_bytes()).packets)
    twice = [inbound for (inbound, _), count in sent.items() if count > 1]
    assert twice == ([True] if options else [])  # what was asked again after the cut


def test_a_trace_that_cannot_be_written_is_refused(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["meter", "run", str(directory), "--trace", str(tmp_path / "no" / "file")]) == 2
    assert "no trace can be written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cut-power-at-write", "0"), "--cut-power-at-write counts from 1"),
        (("--storage-fault", "moths"), "'moths' is no storage fault\n  Allowed: KIND[@N[:K]], N from 1; KIND: cut, "),
        (("--line", "bauds=9600"), "'bauds=9600' is no setting of a line\n  Allowed: NAME=VALUE,...; NAME: baud, "),
        (("--line", "parity=strange"), "a line's parity cannot be 'strange'\n  Allowed: none, even, odd"),
        (("--line-step", "drop to-host"), "when is this drop?\n  Give one of byte=, frame= (how many before it)"),
        (("--fail-self-test", "moths"), "there is no self-test 'moths'"),
        (("--port", "memory:"), "nothing outside this program can reach a memory: port\n  Allowed: pty:, tcp:PORT"),
        (("--port", "COM1"), "'COM1' is not a port\n  Allowed: a path such as /dev/ttyUSB0, or memory:, pty:, "),
        (("--port", "tcp:somewhere"), "'tcp:somewhere' has no port number from 0 to 65535, but 'somewhere'\n  Write"),
    ],
)
def test_a_fault_or_a_port_that_is_none_is_refused(
    directory: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert main(["meter", "run", str(directory), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_port_that_cannot_be_had_is_said_and_the_meter_is_free_again(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["meter", "run", str(directory), "--port", "serial:/dev/ttyUSB99"]) == 1
    assert "there is no port /dev/ttyUSB99\n  Plug it in" in capsys.readouterr().err
    assert main(["meter", "status", str(directory)]) == 0


# --- its bench control -----------------------------------------------------------------------------------------------


def test_the_ready_line_says_where_its_control_is_and_the_file_goes_with_it(start: Start, directory: Path) -> None:
    process, ready = start()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", ready["control"])
    assert ready["token_file"] == str(directory / "control.json")
    assert json.loads((directory / "control.json").read_text())["pid"] == process.pid
    process.terminate()
    assert process.wait() == 0
    assert not (directory / "control.json").exists()


def test_a_control_that_is_not_wanted_is_not_there(start: Start, directory: Path) -> None:
    _, ready = start("--no-control")
    assert (ready["control"], ready["token_file"], ready["no_control"]) == (None, None, "--no-control was given")
    assert not (directory / "control.json").exists()


def test_its_port_may_be_chosen_and_one_that_is_taken_is_said(start: Start, directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = one_run("meter", "run", directory, "--control", port)
    assert done.code == 2
    assert done.complaint()[0] == f"pes-sim: port {port} of 127.0.0.1 cannot be used: Address already in use"
    _, ready = start("--control", str(port))
    assert ready["control"] == f"http://127.0.0.1:{port}"


def test_one_that_a_killed_process_has_left_is_replaced(start: Start, directory: Path) -> None:
    first, _ = start()
    first.kill()
    first.wait()
    assert (directory / "control.json").exists()
    second, again = start()
    assert json.loads((directory / "control.json").read_text())["pid"] == second.pid
    assert again["control"] == json.loads((directory / "control.json").read_text())["address"]


@pytest.mark.parametrize("asked", [(), ("--control", "0")])
def test_without_the_extra_a_meter_runs_and_says_how_to_get_a_control(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: tuple[str, ...]
) -> None:
    monkeypatch.setattr("pes_sim.bench.server.find_spec", lambda name: None)
    monkeypatch.setattr(signal, "sigtimedwait", lambda signals, seconds: signal.SIGTERM)
    code = main(["meter", "run", str(directory), *asked])
    said = capsys.readouterr()
    if asked:
        assert code == 2
        assert "--control cannot be had: fastapi and uvicorn cannot be found" in said.err
    else:
        ready = json.loads(said.out.splitlines()[0])
        assert (code, ready["event"], ready["control"]) == (0, "ready", None)
        assert ready["no_control"].endswith("pip install 'pes-sim[bench]'")


def test_a_cut_that_a_control_runs_into_is_said_too(start: Start, directory: Path) -> None:
    running, _ = start()
    client = BenchClient(directory)
    client.perform("cut", {"at": 1})
    assert client.perform("tamper", {})["state"] == "ZEROIZED"
    said = read(running)
    assert (said["event"], said["operation"], said["state"]) == ("power cut", 1, "ZEROIZED")


def test_power_cuts_are_silence_also_where_nobody_reads_what_is_told_of_them(start: Start, directory: Path) -> None:
    process, ready = start("--port", "tcp:0")
    assert process.stdout is not None
    process.stdout.close()
    bench = BenchClient(directory)
    with connect(ready["port"], timeout_ms=100) as meter:
        bench.perform("cut", {"at": 1})
        meter.print_piece(department="100")
        assert meter.registers().piece_count == 1
    process.terminate()
    assert process.wait() == 0


def test_a_program_that_reads_only_the_first_line_holds_up_no_meter_and_is_told_what_it_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 8192)
    cuts, told = Cuts(), 100
    with open(read_end) as reader, open(write_end, "w") as writer:
        monkeypatch.setattr(sys, "stdout", writer)
        for number in range(told):
            cuts.tell(event="power cut", operation=number, state="OPERATIONAL")  # or this waits, and never ends
        seen = os.read(reader.fileno(), 65536).decode().splitlines()
        assert 0 < len(seen) < told
        cuts.tell(operation=told)
        cuts.tell(operation=told + 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), write_end)
        after = [json.loads(line) for line in reader]
        assert after == [{"operation": told, "missed": told - len(seen)}, {"operation": told + 1}]


def test_without_an_output_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    Cuts().tell(operation=1)
