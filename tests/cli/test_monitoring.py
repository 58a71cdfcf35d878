"""`pes-sim monitor`: between a program and a device, and over a trace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pes_sim import VirtualMeter, connect
from pes_sim.errors import LinkError
from pes_sim.link.trace import Trace
from tests.cli.conftest import Cli, command, environment

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(*options: object) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(command("monitor", *options), stdout=pipe, stderr=pipe, text=True, env=environment())
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    return line


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_shows_what_goes_by_until_it_is_stopped(
    start: Start, cli: Cli, tmp_path: Path, stop: signal.Signals
) -> None:
    trace = tmp_path / "t.pcapng"
    with VirtualMeter() as meter:
        meter.refill(10_000)
        process = start("--port", meter.serve("tcp:0").uri, "--listen", "tcp:0", "--json", "--trace", trace)
        ready = read(process)
        assert (ready["event"], ready["pid"]) == ("ready", process.pid)
        with connect(ready["listen"]) as host:
            host.print_piece(department="100")
        process.send_signal(stop)
        out, err = process.communicate()
    told = [json.loads(line) for line in out.splitlines()]
    frames = [item for item in told if "kind" in item]
    assert (process.returncode, err, told[-1]["event"]) == (0, "", "end")
    assert told[0]["message"] == "a program has come"
    printed = [item for item in frames if item["service"] == "print_piece"]
    assert [(item["direction"], item["kind"], item["status"]) for item in printed] == [
        ("to-device", "request", "OK"), ("to-host", "reply", "OK"),
    ]  # fmt: skip
    assert len(printed[1]["fields"]["indicium"]) > 100
    again = [json.loads(line) for line in cli("monitor", "--trace", trace, "--json").out.splitlines()]
    assert again == [{k: v for k, v in item.items() if k not in ("start", "end")} for item in frames]


def test_when_the_device_goes_it_says_so(start: Start) -> None:
    with VirtualMeter() as meter:
        server = meter.serve("tcp:0")
        process = start("--port", server.uri, "--json")
        assert read(process)["listen"].startswith("/dev/")
        server.close()
        out, err = process.communicate()
    assert process.returncode == 1
    assert json.loads(out)["message"] == f"{server.uri} was lost: the other end has gone"
    assert err.startswith(f"pes-sim: {server.uri} was lost")


def test_a_trace_that_is_being_written_to_a_pipe_is_shown_as_it_comes(start: Start, tmp_path: Path) -> None:
    pipe = tmp_path / "live"
    os.mkfifo(pipe)
    process = start("--trace", pipe)
    # Opening it here waits until the reader has: from then on whoever writes has one.
    with open(os.open(pipe, os.O_WRONLY), "wb"), VirtualMeter(trace=pipe) as meter:
        with connect(meter.serve().path) as host:
            host.registers()
        assert process.stdout is not None
        assert " > request hello id=" in process.stdout.readline()
        assert " < reply   hello OK id=" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0


def test_whoever_reads_what_is_shown_and_goes_ends_it_without_a_word(start: Start) -> None:
    with VirtualMeter() as meter:
        process = start("--port", meter.serve("tcp:0").uri, "--listen", "tcp:0", "--json")
        listen = read(process)["listen"]
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        with contextlib.suppress(LinkError):  # as soon as there is something to say
            connect(listen, timeout_ms=20_000).close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


def test_under_nohup_the_end_of_its_terminal_does_not_end_it(start: Start) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a program that is started inherits that
    try:
        with VirtualMeter() as meter:
            process = start("--port", meter.serve("tcp:0").uri, "--listen", "tcp:0", "--json")
            ready = read(process)
            process.send_signal(signal.SIGHUP)
            with connect(ready["listen"]) as host:
                assert host.registers().piece_count == 0
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_trace_is_read_from_standard_input(tmp_path: Path) -> None:
    with Trace(tmp_path / "t"):
        pass
    done = subprocess.run(
        command("monitor", "--trace", "-"), input=(tmp_path / "t").read_bytes(), capture_output=True, check=False,
        env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "there is nothing to monitor"),
        (["--trace", "x", "--listen", "pty:"], "--listen offers a port between a program and --port"),
        (["--port", "tcp:1", "--trace", "-"], "a trace is written to a file"),
        (["--port", "memory:"], "no relay can be put at 'memory:'"),
        (["--trace", "/nowhere/x"], "/nowhere/x cannot be read: No such file or directory"),
        (["--trace", __file__], "this is no pcapng file, at byte 0"),
    ],
)
def test_what_it_cannot_do_is_told(cli: Cli, arguments: list[str], says: str) -> None:
    result = cli("monitor", *arguments)
    assert result.code == 2
    assert result.complaint()[0] == f"pes-sim: {says}"
