"""Where the control is: a port of this machine alone, and a file for its owner alone that comes and goes with it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import stat
import threading
from pathlib import Path

import pytest

from pes_sim import snapshot
from pes_sim.bench import place
from pes_sim.bench import server as servers
from pes_sim.bench.client import BenchClient
from pes_sim.bench.server import ControlServer, missing
from pes_sim.errors import HostileDirectory, LinkError, UsageError
from pes_sim.virtual import VirtualMeter
from tests.bench.conftest import Web
from tests.meter.made import copy_of_a_meter


def test_it_says_where_it_is_in_a_file_for_its_owner_alone(server: ControlServer, directory: Path) -> None:
    file = directory / place.CONTROL_FILE
    assert server.token_file == file.resolve()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert place.read(directory) == server.place
    assert json.loads(file.read_text())["address"] == server.place.address == f"http://127.0.0.1:{server.place.port}"
    assert server.place.pid == os.getpid()


def test_the_file_goes_at_the_end_and_twice_is_as_once(meter: VirtualMeter, directory: Path) -> None:
    server = ControlServer(meter)
    server.close()
    server.close()
    assert not (directory / place.CONTROL_FILE).exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.place.port))


def test_a_seeded_meter_gives_no_token_away(tmp_path: Path) -> None:
    tokens = set()
    for name in ("a", "b"):
        with VirtualMeter(copy_of_a_meter(tmp_path / name, "a seed")) as meter, ControlServer(meter) as server:
            tokens.add(server.place.token)
    assert len(tokens) == 2


def test_what_a_killed_process_has_left_is_replaced_whatever_it_is(meter: VirtualMeter, directory: Path) -> None:
    (directory / "elsewhere").write_text("untouched")
    (directory / place.CONTROL_FILE).symlink_to(directory / "elsewhere")
    with ControlServer(meter):
        assert not (directory / place.CONTROL_FILE).is_symlink()
        assert BenchClient(directory).perform("status", {})["power"] == "on"
    assert (directory / "elsewhere").read_text() == "untouched"


def test_it_is_no_part_of_the_meter(server: ControlServer, directory: Path, tmp_path: Path) -> None:
    server.bench.snapshot(tmp_path / "file")
    snapshot.clone(tmp_path / "file", tmp_path / "m2")
    assert not (tmp_path / "m2" / place.CONTROL_FILE).exists()
    server.bench.restore(tmp_path / "file")
    assert place.read(directory) == server.place


def test_a_meter_opens_whatever_is_left_of_a_control(directory: Path) -> None:
    (directory / place.CONTROL_FILE).symlink_to("/dev/null")
    VirtualMeter(directory).close()


def test_the_wanted_port_is_taken_or_it_is_said_why_not(meter: VirtualMeter, directory: Path) -> None:
    with ControlServer(meter) as first:
        with pytest.raises(UsageError, match=f"port {first.place.port} of 127.0.0.1 cannot be used") as refusal:
            ControlServer(meter, first.place.port)
        assert refusal.value.hint == "Take another port, or 0 for any that is free"
    with ControlServer(meter, first.place.port) as second:
        assert second.place.port == first.place.port
    for port in (-1, 65536):
        with pytest.raises(UsageError, match=f"there is no port {port}"):
            ControlServer(meter, port)
    assert not (directory / place.CONTROL_FILE).exists()


def test_a_server_that_cannot_say_where_it_is_is_none(
    meter: VirtualMeter, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / place.CONTROL_FILE).mkdir()
    before = threading.active_count()
    with pytest.raises(Exception, match="cannot write"):
        ControlServer(meter)
    assert threading.active_count() == before


def test_nothing_is_loaded_before_somebody_connects(server: ControlServer) -> None:
    assert server._server is None
    assert Web(server.place.port, server.place.token).get("clock").code == 200
    assert server._server is not None


def test_strangers_take_no_more_than_so_many_connections_and_when_they_go_it_is_as_before(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pes_sim.bench.server.MOST", 3)
    web = Web(server.place.port, server.place.token)
    assert web.get("clock").code == 200
    strangers = [socket.create_connection(("127.0.0.1", server.place.port), timeout=60) for _ in range(10)]
    for stranger in strangers[3:]:
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    for stranger in strangers:
        stranger.close()
    while True:  # until the server has seen that they went
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert web.get("clock").code == 200
            break


def test_it_ends_also_while_it_is_being_loaded(meter: VirtualMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, go_on = threading.Event(), threading.Event()
    load = ControlServer._load

    def slow(self: ControlServer) -> object:
        loading.set()
        go_on.wait()
        return load(self)

    monkeypatch.setattr(ControlServer, "_load", slow)
    server = ControlServer(meter)
    connection = socket.create_connection(("127.0.0.1", server.place.port))
    loading.wait()
    closing = threading.Thread(target=server.close)
    closing.start()
    go_on.set()
    closing.join()
    connection.close()


def test_a_broken_installation_ends_the_control_and_says_so(
    meter: VirtualMeter, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: ControlServer) -> None:
        raise ImportError("half of it is missing")

    monkeypatch.setattr(ControlServer, "_load", broken)
    with ControlServer(meter) as server:
        with pytest.raises(LinkError, match="does not answer"):
            BenchClient(directory).perform("status", {})
        server._thread.join()
    assert "the bench control ends" in caplog.text
    meter.print_piece(department="100")


def test_what_is_missing_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing() == ""
    monkeypatch.setattr(servers, "find_spec", lambda name: None)
    assert missing() == ("fastapi and uvicorn cannot be found. Install what it needs: pip install 'pes-sim[bench]'")


# --- the file, as a client finds it ----------------------------------------------------------------------------------


def test_where_no_meter_runs_it_is_said_how_to_start_one(directory: Path, tmp_path: Path) -> None:
    for where in (directory, tmp_path / "nowhere", directory / "meter.json"):
        with pytest.raises(LinkError, match="no meter is running in") as refusal:
            place.read(where)
        assert refusal.value.hint == f"Start it, without --no-control: pes-sim meter run {where}"


def test_a_copy_of_its_directory_does_not_lead_to_a_running_meter(
    server: ControlServer, directory: Path, tmp_path: Path
) -> None:
    shutil.copytree(directory, tmp_path / "m2")
    with pytest.raises(LinkError, match="no meter is running in"):
        BenchClient(tmp_path / "m2")


@pytest.mark.parametrize(
    "change",
    [
        {"address": "http://evil.example:80"}, {"address": "http://127.0.0.1:80/x"}, {"address": 1}, {"token": "short"},
        {"token": None}, {"pid": "1"}, {"inode": None},
    ],
)  # fmt: skip
def test_a_file_that_leads_elsewhere_is_not_followed(
    server: ControlServer, directory: Path, change: dict[str, object]
) -> None:
    file = directory / place.CONTROL_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises((UsageError, LinkError), match="is no control file|no meter is running"):
        place.read(directory)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "[" * 100_000])
def test_a_file_that_is_none_is_told(directory: Path, content: str) -> None:
    (directory / place.CONTROL_FILE).write_text(content)
    (directory / place.CONTROL_FILE).chmod(0o600)
    with pytest.raises(UsageError, match="is no control file"):
        place.read(directory)


def test_a_file_that_others_may_have_written_or_read_is_not_believed(server: ControlServer, directory: Path) -> None:
    (directory / place.CONTROL_FILE).chmod(0o644)
    with pytest.raises(HostileDirectory, match="others may read"):
        place.read(directory)


def test_a_directory_in_its_place_is_told(directory: Path) -> None:
    (directory / place.CONTROL_FILE).mkdir()
    with pytest.raises(HostileDirectory, match="is a directory, not a regular file"):
        place.read(directory)


def test_a_name_that_no_system_takes_is_told() -> None:
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        place.read(Path("x" * 300))
