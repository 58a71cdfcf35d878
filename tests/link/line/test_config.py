"""A line's settings: what is allowed, how they are written as text, and when they leave every byte alone."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.clock import SECOND
from pes_sim.errors import UsageError
from pes_sim.link.line.config import SETTINGS, BadByte, Direction, LineConfig, Parity, parse_line, written

# Bits of a byte


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({}, 10),
        ({"parity": Parity.EVEN}, 11),
        ({"parity": Parity.ODD, "stop_bits": 2}, 12),
        ({"data_bits": 7}, 9),
        ({"data_bits": 7, "parity": Parity.EVEN}, 10),
    ],
    ids=["8N1", "8E1", "8O2", "7N1", "7E1"],
)
def test_a_byte_has_start_data_parity_and_stop_bits(settings: dict[str, Any], bits: int) -> None:
    assert LineConfig(**settings).bits == bits


# What is transparent

_QUIET = {"parity", "stop_bits", "only", "unplugged_us", "port_vanishes"}
"""Settings that change no byte by themselves."""
_OTHER: dict[str, Any] = {
    "baud": 9600, "data_bits": 7, "parity": Parity.ODD, "stop_bits": 2, "bad_bytes": BadByte.MARK, "latency_us": 1,
    "jitter_us": 1, "bit_errors": 1e-9, "drops": 1e-9, "duplicates": 1e-9, "breaks": 1e-9, "unplugs": 1e-9,
    "unplugged_us": 1, "only": Direction.TO_HOST, "plugged": False, "port_vanishes": True, "host_cts": False,
    "device_cts": False, "host_dtr": False, "device_dtr": False,
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(LineConfig)])
def test_a_line_is_transparent_until_a_setting_does_something(name: str) -> None:
    assert LineConfig().transparent
    assert LineConfig(**{name: _OTHER[name]}).transparent is (name in _QUIET)


@pytest.mark.parametrize("treatment", [BadByte.KEEP, BadByte.DROP, BadByte.ZERO])
def test_what_becomes_of_bad_bytes_matters_only_when_there_are_some(treatment: BadByte) -> None:
    assert LineConfig(bad_bytes=treatment).transparent


# What no line is


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("baud", -1), ("baud", 100_000_001), ("data_bits", 6), ("data_bits", 9), ("stop_bits", 0), ("stop_bits", 3),
        ("latency_us", -1), ("jitter_us", -1), ("unplugged_us", 0), ("bit_errors", -0.1), ("bit_errors", 1.1),
        ("drops", math.nan), ("duplicates", math.inf), ("breaks", 2), ("unplugs", -1),
    ],
)  # fmt: skip
def test_what_no_line_is_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"a line's {name} cannot be {value}. Allowed: ") as caught:
        LineConfig(**{name: value})  # type: ignore[arg-type]
    assert caught.value.detail == {"field": name}


# As text


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("baud=9600,bit-errors=1e-4", {"baud": 9600, "bit_errors": 1e-4}),
        ("data-bits=7,parity=even,stop-bits=2", {"data_bits": 7, "parity": Parity.EVEN, "stop_bits": 2}),
        ("latency=250us,jitter=5ms,unplugged=2s", {"latency_us": 250, "jitter_us": 5000, "unplugged_us": 2 * SECOND}),
        ("drops=0.1,duplicates=.2,breaks=1e-3,unplugs=0", {"drops": 0.1, "duplicates": 0.2, "breaks": 0.001}),
        ("bad-bytes=mark,only=to-host", {"bad_bytes": BadByte.MARK, "only": Direction.TO_HOST}),
        ("plugged=off,port-vanishes=on", {"plugged": False, "port_vanishes": True}),
        ("host-cts=off,device-cts=on,host-dtr=off,device-dtr=on", {"host_cts": False, "host_dtr": False}),
        ("baud=300,", {"baud": 300}),
    ],
)
def test_a_line_can_be_written_as_text(text: str, settings: dict[str, Any]) -> None:
    assert parse_line(text) == LineConfig(**settings)


def test_every_setting_has_a_name_as_text() -> None:
    assert [setting.field for setting in SETTINGS.values()] == [field.name for field in fields(LineConfig)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("moths", "'moths' is no setting of a line. Allowed: NAME=VALUE,...; NAME: baud, data-bits, "),
        ("moths=1", "'moths=1' is no setting of a line"),
        ("baud", "'baud' is no setting of a line"),
        ("baud=9600,baud=9600", "a line's baud is given twice"),
        ("baud=fast", "a line's baud cannot be 'fast'. Allowed: bits a second, such as 9600; 0 for no pace"),
        ("baud=٣٠٠", "a line's baud cannot be"),
        ("baud=-1", "a line's baud cannot be '-1'"),
        ("data-bits=9", "a line's data-bits cannot be '9'. Allowed: 7 or 8"),
        ("stop-bits=1.5", "a line's stop-bits cannot be '1.5'. Allowed: 1 or 2"),
        ("parity=strange", "a line's parity cannot be 'strange'. Allowed: none, even, odd"),
        ("bad-bytes=eat", "a line's bad-bytes cannot be 'eat'. Allowed: keep, drop, zero, mark"),
        ("latency=5", "a line's latency cannot be '5'. Allowed: such as 250us, 5ms or 2s"),
        ("unplugged=0s", "a line's unplugged cannot be '0s'"),
        ("latency=99999999s", "a line's latency cannot be '99999999s'"),
        ("bit-errors=nan", "a line's bit-errors cannot be 'nan'. Allowed: 0 to 1, such as 1e-4"),
        ("drops=often", "a line's drops cannot be 'often'"),
        ("only=both", "a line's only cannot be 'both'. Allowed: to-device, to-host"),
        ("plugged=no", "a line's plugged cannot be 'no'. Allowed: on or off"),
    ],
)
def test_text_that_is_no_line_is_told_with_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_line(text)
    assert str(caught.value).startswith(said)


CHANCES = st.floats(0, 1)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "baud": st.integers(0, 100_000_000), "data_bits": st.sampled_from([7, 8]),
            "parity": st.sampled_from(Parity),
            "bad_bytes": st.sampled_from(BadByte), "latency_us": st.integers(0, 10**9), "bit_errors": CHANCES,
            "drops": CHANCES, "unplugged_us": st.integers(1, 10**9), "only": st.sampled_from([None, *Direction]),
            "plugged": st.booleans(), "host_cts": st.booleans(),
        },
    )
)  # fmt: skip
def test_any_line_is_written_as_text_that_makes_it_again(settings: dict[str, Any]) -> None:
    line = LineConfig(**settings)
    assert parse_line(written(line)) == line


def test_what_is_as_it_was_made_is_not_written() -> None:
    assert written(LineConfig()) == ""
    line = LineConfig(baud=9600, bit_errors=1e-4, latency_us=5_000, plugged=False, port_vanishes=True)
    assert written(line) == "baud=9600,latency=5000us,bit-errors=0.0001,plugged=off,port-vanishes=on"
