"""Three tests: one for any meter, one that costs money, one that needs a bench."""

from __future__ import annotations

import pytest
from mailroom import frank

from pes_sim import Meter
from pes_sim.bench.control import Bench
from pes_sim.link.line.line import Line


@pytest.mark.requirement("A2")
def test_the_meter_is_ready_for_the_day(meter: Meter) -> None:
    assert meter.status().state == "OPERATIONAL"
    assert meter.registers().balanced()
    assert meter.quote("first_class_letter", 100) > 0


@pytest.mark.spends_postage
def test_a_batch_is_franked_and_the_books_balance(meter: Meter) -> None:
    before = meter.registers()
    assert len(set(frank(meter, 3))) == 3
    after = meter.registers()
    assert after.piece_count == before.piece_count + 3
    assert after.ascending_mills == before.ascending_mills + 3 * meter.quote("first_class_letter", 100)
    assert after.balanced()


@pytest.mark.needs_bench
@pytest.mark.requirement("A2", "A3")
@pytest.mark.pes_meter(funds_mills=0)
@pytest.mark.pes_line(bit_errors=1e-4)
def test_a_batch_comes_through_noise_a_power_cut_and_a_lockout(meter: Meter, bench: Bench, line: Line) -> None:
    bench.cut(at=12)  # in the middle of a write, in the middle of the batch
    assert len(set(frank(meter, 5))) == 5
    assert meter.registers().piece_count == 5
    assert line.counts().sent_bytes > 0
    assert bench.advance("72h").state == "LOCKED"
    assert meter.check_in().state == "OPERATIONAL"
