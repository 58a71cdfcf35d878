"""The line on the bench: its settings, its plug and its steps, while a host talks over it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pes_sim import connect
from pes_sim.bench.actions import BY_NAME
from pes_sim.bench.control import Bench
from pes_sim.errors import FieldError, LinkError, RefusedInState, UsageError
from pes_sim.link.line.config import Direction
from pes_sim.link.line.faults import Kind
from pes_sim.link.line.line import Line
from pes_sim.virtual import VirtualMeter
from tests.bench.conftest import Web


@pytest.fixture
def line() -> Line:
    return Line(seed="bench")


@pytest.fixture
def bench(meter: VirtualMeter, line: Line) -> Bench:
    return Bench(meter, line=line)


def test_the_table_has_every_step_and_both_directions() -> None:
    step, direction, *_ = BY_NAME["play"].parameters
    assert step.words == tuple(Kind)
    assert direction.words == tuple(Direction)


def test_it_is_changed_while_a_host_talks_over_it_and_nothing_is_paid_twice(
    bench: Bench, meter: VirtualMeter, line: Line
) -> None:
    status = bench.status()
    assert (status.line, status.line_off) == ("", [])
    with connect(meter.serve("tcp:0", line=line).uri, timeout_ms=100) as host:
        host.print_piece(department="100")
        assert bench.line("bit-errors=1e-3,duplicates=1e-3").line == "bit-errors=0.001,duplicates=0.001"
        request_ids = [bytes([number]) * 16 for number in range(1, 11)]
        indicia = set()
        for request_id in request_ids:
            while True:
                try:
                    indicia.add(host.print_piece(department="100", request_id=request_id).indicium)
                    break
                except LinkError:
                    continue  # four attempts were not enough: asked again with the same id
        counts = bench.line("off").line_counts
        assert counts is not None
        assert counts["flipped_bits"] > 0
        assert (len(indicia), host.registers().piece_count) == (10, 11)
        assert (bench.status().line, line.transparent) == ("", True)


def test_without_its_plug_nothing_goes_until_it_is_put_in_again(bench: Bench, meter: VirtualMeter, line: Line) -> None:
    with connect(meter.serve("tcp:0", line=line).uri, timeout_ms=20) as host:
        status = bench.unplug()
        assert (status.line, status.line_off) == ("plugged=off", ["plugged"])
        with pytest.raises(LinkError, match="no answer"):
            host.registers()
        status = bench.replug()
        assert (status.line, status.line_off) == ("", [])
        assert status.line_counts is not None
        assert (status.line_counts["unplugs"], status.line_counts["lost_bytes"] > 0) == (1, True)
        assert host.registers().piece_count == 0


def test_a_step_happens_once_and_the_host_asks_again(bench: Bench, meter: VirtualMeter, line: Line) -> None:
    with connect(meter.serve("tcp:0", line=line).uri, timeout_ms=100) as host:
        bench.play("flip", "to-device", byte=5, bit=3)
        host.print_piece(department="100")
        bench.play("unplug", "to-device", frame=1, for_us=3_000_000)
        request_id = b"while unplugged."
        with pytest.raises(LinkError, match="no answer"):  # the clock stands still, and the plug is out
            host.print_piece(department="100", request_id=request_id)
        assert bench.status().line_off == ["plugged"]
        assert bench.advance("3s").line_off == []
        host.print_piece(department="100", request_id=request_id)
        counts = bench.status().line_counts
        assert counts is not None
        assert (counts["flipped_bits"], counts["unplugs"]) == (1, 1)
        assert host.registers().piece_count == 2


def test_what_a_step_has_switched_off_is_told(bench: Bench) -> None:
    assert bench.play("cts-off", "to-device").line_off == ["host_cts"]
    assert bench.play("cts-on", "to-device").line_off == []


@pytest.mark.parametrize(
    ("use", "kind", "says"),
    [
        (lambda b: b.line("baud=fast"), UsageError, "a line's baud cannot be 'fast'"),
        (lambda b: b.line("speed=1"), UsageError, "'speed=1' is no setting of a line"),
        (lambda b: b.play("melt", "to-device"), FieldError, "step: 'melt' is none"),
        (lambda b: b.play("drop", "sideways"), FieldError, "direction: 'sideways' is none"),
        (lambda b: b.play("drop", "to-device", byte=-1), FieldError, "byte: -1 is none"),
        (lambda b: b.play("drop", "to-device", for_us=10**30), FieldError, "for_us: 10+ is none"),
        (lambda b: b.play("drop", "to-device", byte=1, frame=1), FieldError, "in bytes or in frames"),
    ],
)
def test_what_no_line_takes_is_refused_and_noted(
    bench: Bench, use: Callable[[Bench], object], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says.replace("?", r"\?")):
        use(bench)
    assert [event.kind for event in bench.events.after(0)] == ["control", "refused"]
    assert bench.status().line == ""


def test_a_bench_that_was_given_no_line_says_so(meter: VirtualMeter) -> None:
    bench = Bench(meter)
    status = bench.status()
    assert (status.line, status.line_off, status.line_counts) == (None, [], None)
    for name, arguments in (
        ("line", {"settings": "off"}), ("unplug", {}), ("replug", {}),
        ("play", {"step": "drop", "direction": "to-host"}),
    ):  # fmt: skip
        with pytest.raises(RefusedInState, match="no line is known here"):
            bench.perform(name, arguments)


def test_over_http_settings_are_changed_and_read(web: Web) -> None:
    answer = web.post("line", settings="baud=9600,bit-errors=1e-4")
    assert (answer.code, answer.document["line"]) == (200, "baud=9600,bit-errors=0.0001")
    assert web.get("status").document["line_counts"]["sent_bytes"] == 0
    assert web.post("unplug").document["line_off"] == ["plugged"]
    assert web.post("play", step="plug", direction="to-host").document["line_off"] == []
    refused = web.post("line", settings="baud=-1")
    assert (refused.code, refused.document["name"]) == (422, "BAD_FIELD")
    assert web.post("play", step="melt", direction="to-host").code == 422
