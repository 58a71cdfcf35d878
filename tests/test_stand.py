"""A test stand: what a fresh one is, that it shares nothing, and what a real device is kept from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pes_sim.errors import LinkError, RefusedInState, UsageError
from pes_sim.link.line.config import Direction
from pes_sim.link.line.faults import Kind, Step
from pes_sim.stand import FACTS, FUNDS, device, facts, stand
from pes_sim.virtual import VirtualMeter
from tests.link import capture

PORTS = ("memory:", "pty:")


@pytest.mark.parametrize("uri", PORTS)
def test_a_fresh_meter_is_checked_in_and_funded_at_any_port(uri: str) -> None:
    with stand(uri) as made:
        assert made.meter.status().state == "OPERATIONAL"
        assert made.meter.registers().descending_mills == FUNDS
        assert made.meter.print_piece(department="100").postage_mills > 0
        assert made.bench.status().piece_count == 1
        assert made.virtual.registers() == made.meter.registers()


@pytest.mark.parametrize("uri", PORTS)
def test_a_power_cut_in_the_middle_of_a_print_is_silence_and_the_piece_is_paid_once(uri: str) -> None:
    with stand(uri, funds_mills=10_000) as made:
        made.bench.cut(at=2)
        made.meter.print_piece(department="100")
        assert [event.kind for event in made.bench.events.after(0)][:3] == ["control", "power cut", "power back"]
        assert made.meter.registers().piece_count == 1


def test_the_hands_move_the_clock_and_the_host_is_told() -> None:
    with stand() as made:
        made.meter.subscribe()
        made.bench.advance("72h")
        assert made.meter.status().state == "LOCKED"
        assert "lock_reasons" in str(made.meter.events(listen=True))
        assert made.meter.check_in().state == "OPERATIONAL"


@pytest.mark.parametrize("uri", PORTS)
def test_the_line_is_between_the_two_and_does_nothing_until_it_is_told_to(uri: str) -> None:
    with stand(uri) as made:
        made.meter.registers()
        assert made.line.counts().sent_bytes == 0
        made.line.play(Step(Kind.DROP, Direction.TO_DEVICE, byte=3))
        assert made.meter.registers().balanced()
        assert made.line.counts().dropped_bytes == 1


def test_a_line_without_its_plug_is_silence() -> None:
    with stand(line={"plugged": False}) as made:
        with pytest.raises(LinkError, match="no answer from memory:"):
            made.meter.registers()
        made.line.change(plugged=True)
        assert made.meter.registers().balanced()


def test_what_a_line_does_by_chance_follows_from_its_seed() -> None:
    def came(seed: str) -> bytes:
        with stand(line={"bit_errors": 1e-3}, line_seed=seed) as made:
            made.line.send(Direction.TO_DEVICE, bytes(2000), 0)
            return made.line.take(Direction.TO_DEVICE, 1)

    assert came("one") == came("one") != came("other")


def test_a_meter_is_made_as_it_is_wanted() -> None:
    with stand(departments={"7": "Seventh"}, psd_serial=77, layout="imi_min", funds_mills=0) as made:
        assert [department.code for department in made.meter.departments()] == ["7"]
        assert made.meter.registers().control_sum_mills == 0
        assert made.meter.info()["layout"].startswith("imi_min")


def test_two_at_once_share_nothing_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with stand() as one, stand() as other:
        assert len(list(tmp_path.iterdir())) == 2
        assert one.meter.info()["psd_serial"] != other.meter.info()["psd_serial"]
        one.bench.advance("72h")
        assert other.meter.status().state == "OPERATIONAL"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RefusedInState):
        one.bench.status()


def test_a_trace_of_a_stand_begins_with_the_hosts_hello(tmp_path: Path) -> None:
    with stand(trace=tmp_path / "t.pcapng") as made:
        made.meter.registers()
    found = capture.read((tmp_path / "t.pcapng").read_bytes())
    assert [packet.inbound for packet in found.packets] == [True, False, True, False]
    assert found.lines == [("meter", "meter, the device's end")]


@pytest.fixture
def port() -> Iterator[tuple[VirtualMeter, str]]:
    """What stands for a real device, and where it is."""
    with VirtualMeter() as meter:
        meter.refill(FUNDS)
        yield meter, meter.serve().path


def test_a_device_is_opened_traced_and_let_go(port: tuple[VirtualMeter, str], tmp_path: Path) -> None:
    for number in range(2):
        trace = tmp_path / f"{number}.pcapng"
        with device(port[1], may_spend=False, trace=trace) as meter:
            assert facts(meter) == facts(port[0])
        found = capture.read(trace.read_bytes())
        assert [packet.inbound for packet in found.packets] == [False, True, False, True]
        assert found.lines == [(port[1], f"{port[1]}, the host's end")]


def test_a_report_says_kind_model_serial_number_and_software(port: tuple[VirtualMeter, str]) -> None:
    said = facts(port[0])
    assert tuple(said) == FACTS
    assert said["device_kind"] == "meter"
    assert said["psd_serial"] == str(port[0].info()["psd_serial"])


@pytest.mark.parametrize("service", ["print", "refill", "cancel"])
def test_nothing_that_costs_is_asked_of_a_device_unless_it_may(service: str, port: tuple[VirtualMeter, str]) -> None:
    before = port[0].registers()
    with device(port[1], may_spend=False) as meter:
        asks: dict[str, Callable[[], object]] = {
            "print": lambda: meter.print_piece(department="100"),
            "refill": lambda: meter.refill(1000),
            "cancel": meter.cancel_refill,
        }
        with pytest.raises(RefusedInState, match=r"not marked for it. Mark it with @pytest.mark.spends_postage"):
            asks[service]()
        assert meter.registers() == before


def test_a_device_that_may_spend_prints_but_is_never_withdrawn(port: tuple[VirtualMeter, str]) -> None:
    with device(port[1], may_spend=True) as meter:
        meter.print_piece(department="100")
        with pytest.raises(RefusedInState, match="for good"):
            meter.withdraw()
        assert meter.registers().piece_count == 1


def test_a_device_tells_its_events_as_ever(port: tuple[VirtualMeter, str]) -> None:
    with device(port[1], may_spend=False) as meter:
        meter.subscribe()
        port[0].advance(72 * 3_600_000_000)
        assert meter.events(listen=True) != []
        meter.unsubscribe()
        meter.close()
        with pytest.raises(LinkError):
            meter.registers()


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(LinkError, match="there is no port /dev/nothing"), device("/dev/nothing", may_spend=True):
        pass


def test_a_setting_that_no_meter_has_is_named() -> None:
    with pytest.raises(UsageError, match="licensing ZIP"), stand(licensing_zip="x"):
        pass
    with pytest.raises(UsageError, match="a line has no 'boud'"), stand(line={"boud": 9600}):
        pass


def test_the_plugin_loads_nothing_of_ours_where_nobody_uses_it(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    assert {m for m in sys.modules if m.startswith('pes_sim')} == {'pes_sim', 'pes_sim.pytest_plugin'}\n"
        "    assert not {'cryptography', 'serial', 'sqlalchemy', 'cbor2', 'asyncssh'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pes_sim.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
