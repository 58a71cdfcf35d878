"""What a receiver makes of a byte, what a step is, and how far it is to the next thing that comes by chance."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from pes_sim.errors import UsageError
from pes_sim.link.line.config import BadByte, Direction, LineConfig, Parity
from pes_sim.link.line.faults import MEANING, NEVER, Gap, Kind, Step, good, parse_step, received

_8N1: dict[str, Any] = {}
_8N2: dict[str, Any] = {"stop_bits": 2}
_8E1: dict[str, Any] = {"parity": Parity.EVEN}
_7O1: dict[str, Any] = {"parity": Parity.ODD, "data_bits": 7}

# A byte with flipped bits


@pytest.mark.parametrize(
    ("settings", "flipped", "came", "framing_error", "parity_error"),
    [
        (_8N1, [], 0x41, False, False),
        (_8N1, [0], 0x41, True, False),  # the start bit
        (_8N1, [1], 0x40, False, False),
        (_8N1, [8], 0xC1, False, False),
        (_8N1, [1, 8], 0xC0, False, False),
        (_8N1, [9], 0x41, True, False),  # the stop bit
        (_8N2, [9], 0x41, True, False),
        (_8N2, [10], 0x41, False, False),  # a receiver does not look at the second one
        (_8E1, [1], 0x40, False, True),
        (_8E1, [9], 0x41, False, True),  # the parity bit
        (_8E1, [1, 9], 0x40, False, False),  # which is fooled by two
        (_8E1, [1, 2], 0x42, False, False),
        (_8E1, [1, 2, 3], 0x46, False, True),
        (_8E1, [10], 0x41, True, False),
        (_8E1, [1, 10], 0x40, True, True),
        (_7O1, [7], 0x01, False, True),
        (_7O1, [8], 0x41, False, True),
        (_7O1, [9], 0x41, True, False),
    ],
)
def test_each_bit_of_a_byte_does_its_own_harm(
    settings: dict[str, Any], flipped: list[int], came: int, framing_error: bool, parity_error: bool
) -> None:
    flips = sum(1 << bit for bit in flipped)
    assert received(0x41, flips, LineConfig(**settings)) == (bytes([came]), framing_error, parity_error)


@pytest.mark.parametrize(
    ("treatment", "came", "ff"),
    [
        (BadByte.KEEP, b"\x40", b"\xff"),
        (BadByte.DROP, b"", b"\xff"),
        (BadByte.ZERO, b"\0", b"\xff"),
        (BadByte.MARK, b"\xff\0\x40", b"\xff\xff"),
    ],
)
def test_a_receiver_does_with_a_bad_byte_what_it_is_set_to(treatment: BadByte, came: bytes, ff: bytes) -> None:
    config = LineConfig(parity=Parity.EVEN, bad_bytes=treatment)
    assert received(0x41, 0b10, config).data == came
    assert received(0x40, 0b1, config).data == came  # a framing error is treated alike
    assert received(0xFF, 0, config).data == ff
    assert received(0xF3, 0b11000, config) == (ff, False, False)  # two flips that parity does not show
    assert good(b"a\xffb\xff", config) == b"a" + ff + b"b" + ff


def test_seven_bits_do_not_carry_the_eighth() -> None:
    assert received(0xC1, 0, LineConfig(data_bits=7)).data == b"\x41"


# Steps


@pytest.mark.parametrize(
    "when", [{}, {"byte": 1, "frame": 1}, {"byte": 1, "at": 1}, {"byte": -1}, {"frame": -1}, {"at": -1}], ids=str
)
def test_a_step_happens_at_one_time(when: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="when is this unplug"):
        Step(Kind.UNPLUG, Direction.TO_HOST, **when)


@pytest.mark.parametrize("wrong", [{"bit": -1}, {"for_us": -1}])
def test_a_step_has_nothing_negative(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="count from 0"):
        Step(Kind.FLIP, Direction.TO_HOST, byte=0, **wrong)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("drop to-host byte=100", Step(Kind.DROP, Direction.TO_HOST, byte=100)),
        (" unplug  to-device frame=3 for=2s ", Step(Kind.UNPLUG, Direction.TO_DEVICE, frame=3, for_us=2_000_000)),
        ("flip to-host bit=0 byte=7", Step(Kind.FLIP, Direction.TO_HOST, byte=7, bit=0)),
    ],
)
def test_a_step_is_read_from_its_text(text: str, step: Step) -> None:
    assert parse_step(text) == step


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "step '': 'nothing' is none of flip, drop"),
        ("moths to-host byte=1", "'moths' is none of flip, drop"),
        ("drop", "'nothing' is none of to-device, to-host"),
        ("drop sideways byte=1", "'sideways' is none of to-device, to-host"),
        ("drop to-host byte=-1", "'byte=-1' cannot be read"),
        ("drop to-host bite=1", "'bite=1' cannot be read"),
        ("unplug to-host byte=1 for=2", "'for=2' cannot be read"),
        ("drop to-host", "when is this drop"),
        ("drop to-host byte=1 frame=1", "when is this drop"),
    ],
)
def test_what_is_no_step_is_told(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_step(text)


def test_every_kind_of_step_says_what_it_does() -> None:
    assert set(MEANING) == set(Kind)


# By chance


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.3, 0.9])
def test_gaps_are_as_far_as_if_every_bit_were_drawn(rate: float) -> None:
    """The mean of a geometric distribution, to five times its standard error; and 0 as often as the rate says."""
    gap = Gap("a seed")
    gap.set_rate(rate, 0)
    distances = []
    for _ in range(20_000):
        start = gap.at + 1
        gap.draw(start)
        distances.append(gap.at - start)
    mean, deviation = (1 - rate) / rate, (1 - rate) ** 0.5 / rate
    assert abs(sum(distances) / 20_000 - mean) < 5 * deviation / 20_000**0.5
    assert abs(Counter(distances)[0] / 20_000 - rate) < 5 * (rate * (1 - rate) / 20_000) ** 0.5


@pytest.mark.parametrize(("rate", "next_"), [(0.0, NEVER), (1.0, 7), (5e-324, 7 + NEVER)])
def test_never_always_and_as_good_as_never(rate: float, next_: int) -> None:
    gap = Gap("a seed")
    gap.set_rate(0.5, 0)
    gap.set_rate(rate, 7)
    assert gap.at == next_


def test_a_rate_that_is_set_again_leaves_the_next_where_it_is() -> None:
    gap = Gap("a seed")
    gap.set_rate(0.001, 0)
    before = gap.at
    gap.set_rate(0.001, before - 1)
    assert gap.at == before


def test_a_seed_is_a_seed_and_another_is_another() -> None:
    drawn = set()
    for seed in ("1", "1", "2"):
        gap = Gap(seed)
        gap.set_rate(1e-9, 0)
        drawn.add(gap.at)
    assert len(drawn) == 2


def test_what_is_drawn_does_not_touch_pythons_own_random() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    gap = Gap("a seed")
    gap.set_rate(0.5, 0)
    assert random.random() == expected
