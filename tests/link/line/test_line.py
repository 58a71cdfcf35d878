"""The line: each fault alone, byte for byte and to the microsecond; by script, and by chance from a seed."""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.clock import HOUR, SECOND
from pes_sim.errors import UsageError
from pes_sim.link.line.config import RATES, SIGNALS, BadByte, Direction, LineConfig, Parity, parse_settings
from pes_sim.link.line.faults import Kind, Step
from pes_sim.link.line.line import Counts, Line

D: Final = Direction.TO_DEVICE
H: Final = Direction.TO_HOST
T: Final = 1_000_000
"""When a test begins."""
BOTH: Final = pytest.mark.parametrize("direction", Direction)


def arrivals(line: Line, direction: Direction) -> list[tuple[int, bytes]]:
    """What is on its way, with the instant at which each part of it arrives, counted from `T`."""
    found = []
    while (last := line.last(direction)) is not None:
        low, high = T - 1, last
        while high - low > 1:  # the first instant at which something has arrived
            middle = (low + high) // 2
            if _peek(line, direction, middle):
                high = middle
            else:
                low = middle
        found.append((high - T, line.take(direction, high)))
    return found


def _peek(line: Line, direction: Direction, now: int) -> bool:
    return any(piece.arrived(now) for piece in list(line._ways[direction].queue)[:1])


def through(line: Line, direction: Direction, data: bytes, now: int = T) -> bytes:
    """What comes of `data` in the end."""
    line.send(direction, data, now)
    return line.take(direction, line.last(direction) or now)


def scripted(*steps: Step, **settings: Any) -> Line:
    return Line(LineConfig(**settings), steps=steps)


# Nothing between the ends


@given(st.lists(st.binary(max_size=40)), st.sampled_from(list(Direction)), st.booleans())
def test_a_line_without_faults_is_the_identity_however_the_bytes_are_cut(
    pieces: list[bytes], direction: Direction, at_once: bool
) -> None:
    line = Line()
    came = b""
    for piece in pieces:
        line.send(direction, piece, T)
        came += line.take(direction, T) if at_once else b""
    came += line.take(direction, T)
    assert came == b"".join(pieces)
    assert line.transparent


@given(
    st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 50_000)), max_size=20),
    st.sampled_from([300, 9600, 115_200, 0]),
    st.integers(0, 3_000),
    st.integers(0, 9_000),
)
def test_no_pace_latency_or_jitter_changes_a_byte_or_its_place(
    pieces: list[tuple[bytes, int]], baud: int, latency: int, jitter: int
) -> None:
    line = Line(LineConfig(baud=baud, latency_us=latency, jitter_us=jitter))
    now, came = T, b""
    for data, pause in pieces:
        line.send(D, data, now)
        now += pause
        came += line.take(D, now)
    came += line.take(D, line.last(D) or now)
    assert came == b"".join(data for data, _ in pieces)


@BOTH
def test_each_direction_is_its_own(direction: Direction) -> None:
    line = Line(LineConfig(latency_us=5))
    line.send(direction, b"abc", T)
    other = H if direction is D else D
    assert line.last(other) is None
    assert line.take(other, T + HOUR) == b""
    assert line.take(direction, T + 5) == b"abc"


def test_bytes_may_go_past_it_only_while_nothing_would_happen_to_them() -> None:
    line = Line(LineConfig(latency_us=5))
    found = []
    for change in (
        lambda: line.send(D, b"abc", T),
        lambda: line.change(latency_us=0),  # what is on its way comes first
        lambda: line.take(D, T + 5),
        lambda: line.play(Step(Kind.DROP, D, frame=1)),
        lambda: line.send(D, b"frame\0", T + 5),
        lambda: line.send(D, b"end", T + 5),
        lambda: line.take(D, T + 5),
        lambda: line.play(Step(Kind.UNPLUG, D, at=T + 9, for_us=10)),
        lambda: line.take(H, T + 9),
        lambda: line.take(H, T + 18),
        lambda: line.take(H, T + 19),
    ):
        change()
        found.append(line.transparent)
    assert found == [False, False, True, False, False, False, True, False, False, False, True]


# Pace


@pytest.mark.parametrize(
    ("settings", "instants"),
    [
        ({"baud": 9600}, [1042, 2084, 3125, 4167]),
        ({"baud": 9600, "parity": Parity.EVEN}, [1146, 2292, 3438, 4584]),
        ({"baud": 1200, "parity": Parity.ODD, "stop_bits": 2}, [10_000, 20_000, 30_000, 40_000]),
        ({"baud": 115_200}, [87, 174, 261, 348]),
        ({"baud": 9600, "latency_us": 500}, [1542, 2584, 3625, 4667]),
        ({"latency_us": 500}, [500]),
        ({}, [0]),
    ],
)
def test_a_byte_arrives_when_its_last_bit_has_and_its_latency_has_passed(
    settings: dict[str, Any], instants: list[int]
) -> None:
    line = Line(LineConfig(**settings))
    line.send(D, b"abcd", T)
    came = arrivals(line, D)
    assert [instant for instant, _ in came] == instants
    assert b"".join(data for _, data in came) == b"abcd"


@given(st.integers(50, 1_000_000), st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_the_pace_does_not_drift_by_a_microsecond(baud: int, lengths: list[int]) -> None:
    """However a run is cut: byte n has arrived after n byte times from the beginning of all, rounded up once."""
    line = Line(LineConfig(baud=baud))
    sent = 0
    for length in lengths:
        line.send(D, bytes(length), T)
        sent += length
        assert line.last(D) == T - (-sent * 10 * SECOND // baud)
    middle = Fraction(sent // 2 * 10 * SECOND, baud)
    assert len(line.take(D, T - (-middle.numerator // middle.denominator))) == sent // 2


def test_an_hour_of_a_slow_line_is_exact_at_its_end() -> None:
    line = Line(LineConfig(baud=1200))
    for _ in range(432):  # 432,000 bytes of 10 bits
        line.send(D, bytes(1000), T)
    assert line.last(D) == T + HOUR
    assert len(line.take(D, T + HOUR - 1)) == 431_999
    assert line.take(D, T + HOUR) == b"\0"


def test_a_run_that_ended_is_followed_by_one_that_begins_when_it_is_sent() -> None:
    line = Line(LineConfig(baud=9600))
    line.send(D, b"a", T)
    line.send(D, b"b", T + 1042)  # back to back: from the exact end on
    line.send(D, b"c", T + 2085)
    assert arrivals(line, D) == [(1042, b"a"), (2084, b"b"), (2085 + 1042, b"c")]


@pytest.mark.parametrize("baud", [9600, 115_200, 7])
def test_bytes_that_are_each_sent_when_the_one_before_has_ended_do_not_drift_either(baud: int) -> None:
    line, now = Line(LineConfig(baud=baud)), T
    for _ in range(1000):
        line.send(D, b"x", now)
        now = line.last(D) or 0
    assert now == T - (-10_000 * SECOND // baud)


def test_a_new_pace_holds_for_what_is_sent_then() -> None:
    line = Line(LineConfig(baud=9600))
    line.send(D, b"ab", T)
    line.change(baud=1000)
    line.send(D, b"c", T)
    line.change(baud=0)
    line.send(D, b"d", T)
    assert arrivals(line, D) == [(1042, b"a"), (2084, b"b"), (12_084, b"cd")]


def test_jitter_delays_a_piece_by_up_to_so_much_and_nothing_overtakes() -> None:
    line = Line(LineConfig(latency_us=100, jitter_us=50), seed="jitter")
    last, delays = 0, []
    for number in range(300):
        sent = T + number * 20
        line.send(D, b"x", sent)
        arrives = line.last(D) or 0
        assert arrives >= last
        last = arrives
        delays.append(arrives - sent)
    assert 100 <= min(delays) <= 105
    assert 145 <= max(delays) <= 150


# Each fault alone, by script


@BOTH
@pytest.mark.parametrize(
    ("step", "settings", "came", "counted"),
    [
        ({"kind": Kind.DROP}, {}, b"abd", {"dropped_bytes": 1}),
        ({"kind": Kind.DUPLICATE}, {}, b"abccd", {"duplicated_bytes": 1}),
        ({"kind": Kind.FLIP}, {}, b"abbd", {"flipped_bits": 1}),
        ({"kind": Kind.FLIP, "bit": 8}, {}, b"ab\xe3d", {"flipped_bits": 1}),
        ({"kind": Kind.FLIP, "bit": 0}, {"bad_bytes": BadByte.DROP}, b"abd", {"flipped_bits": 1, "framing_errors": 1}),
        ({"kind": Kind.FLIP, "bit": 9}, {"bad_bytes": BadByte.ZERO}, b"ab\0d",
         {"flipped_bits": 1, "framing_errors": 1}),
        ({"kind": Kind.FLIP, "bit": 9}, {"parity": Parity.EVEN, "bad_bytes": BadByte.MARK}, b"ab\xff\0cd",
         {"flipped_bits": 1, "parity_errors": 1}),
        ({"kind": Kind.FLIP, "bit": 10}, {}, b"abcd", {}),  # beyond the stop bit is nothing
        ({"kind": Kind.BREAK}, {}, b"ab\0cd", {"breaks": 1, "framing_errors": 1}),
        ({"kind": Kind.BREAK}, {"bad_bytes": BadByte.DROP}, b"abcd", {"breaks": 1, "framing_errors": 1}),
        ({"kind": Kind.BREAK}, {"bad_bytes": BadByte.MARK}, b"ab\xff\0\0cd", {"breaks": 1, "framing_errors": 1}),
        ({"kind": Kind.UNPLUG, "for_us": 1}, {}, b"ab", {"unplugs": 1, "lost_bytes": 2}),
        ({"kind": Kind.DTR_OFF, "for_us": 1}, {}, b"ab", {"hang_ups": 1, "lost_bytes": 2}),
        ({"kind": Kind.CTS_OFF, "for_us": 1}, {}, b"abcd", {}),
    ],
)  # fmt: skip
def test_a_step_happens_at_its_byte_and_once(
    direction: Direction, step: dict[str, Any], settings: dict[str, Any], came: bytes, counted: dict[str, int]
) -> None:
    line = scripted(Step(direction=direction, byte=2, **step), **settings)
    assert through(line, direction, b"abcd") == came
    assert line.counts() == Counts(sent_bytes=4, **counted)
    assert through(line, direction, b"abcd", T + 1) == b"abcd"
    assert line.counts() == Counts(sent_bytes=8, **counted)


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize("kind", [Kind.DROP, Kind.DUPLICATE, Kind.FLIP, Kind.BREAK])
def test_however_the_bytes_are_cut_a_step_finds_its_own(kind: Kind, cut: int) -> None:
    whole, parts = (scripted(Step(kind, D, byte=2)) for _ in range(2))
    parts.send(D, b"abcd"[:cut], T)
    parts.send(D, b"abcd"[cut:], T)
    assert parts.take(D, T) == through(whole, D, b"abcd")


def test_a_dropped_byte_takes_its_time_and_so_does_a_break() -> None:
    line = scripted(Step(Kind.DROP, D, byte=1), Step(Kind.BREAK, D, byte=2), Step(Kind.DUPLICATE, D, byte=3), baud=1000)
    line.send(D, b"abcd", T)
    assert arrivals(line, D) == [(10_000, b"a"), (30_000, b"\0"), (40_000, b"c"), (50_000, b"dd")]


def test_steps_at_one_byte_all_happen() -> None:
    line = scripted(
        Step(Kind.FLIP, D, byte=1, bit=1), Step(Kind.FLIP, D, byte=1, bit=2), Step(Kind.DUPLICATE, D, byte=1),
        Step(Kind.BREAK, D, byte=1),
    )  # fmt: skip
    assert through(line, D, b"abc") == b"a\0aac"


def test_a_byte_that_is_dropped_is_not_there_to_come_twice() -> None:
    line = scripted(Step(Kind.DROP, D, byte=0), Step(Kind.DUPLICATE, D, byte=0), Step(Kind.FLIP, D, byte=0, bit=0))
    assert through(line, D, b"ab") == b"b"
    assert line.counts() == Counts(sent_bytes=2, dropped_bytes=1, flipped_bits=1)


@pytest.mark.parametrize(
    ("frame", "came"),
    [
        (0, b"\0\0\0ab\0\0de\0\0fg\0"),
        (1, b"\0\0ab\0\0\0de\0\0fg\0"),
        (2, b"\0\0ab\0\0de\0\0\0fg\0"),
        (3, b"\0\0ab\0\0de\0\0fg\0\0"),
        (4, b"\0\0ab\0\0de\0\0fg\0"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 20])
def test_a_step_after_a_frame_happens_behind_its_delimiter(frame: int, came: bytes, size: int) -> None:
    line, data = scripted(Step(Kind.BREAK, D, frame=frame)), b"\0\0ab\0\0de\0\0fg\0"
    for at in range(0, len(data), size):
        line.send(D, data[at : at + size], T)
    assert line.take(D, T) == came


def test_steps_after_bytes_are_counted_from_when_they_are_given() -> None:
    line = scripted(Step(Kind.DROP, D, byte=1), Step(Kind.DROP, D, frame=1))
    assert through(line, D, b"abc\0def") == b"ac\0ef"
    line.play(Step(Kind.DROP, D, byte=1), Step(Kind.DROP, D, frame=1))
    assert through(line, D, b"abc\0def") == b"ac\0ef"
    line.play(Step(Kind.DROP, D, frame=1))
    assert through(line, D, b"g\0hi") == b"g\0i"  # the end of a frame that had begun


def test_a_frame_that_had_begun_when_the_step_was_given_counts() -> None:
    line = Line(LineConfig(drops=1e-9))
    assert through(line, D, b"\0abc") == b"\0abc"
    line.play(Step(Kind.BREAK, D, frame=1))
    assert through(line, D, b"\0de\0") == b"\0\0de\0"


# At an instant


def test_what_happens_at_an_instant_happens_to_what_is_sent_then() -> None:
    line = scripted(Step(Kind.FLIP, D, at=T + 5), Step(Kind.BREAK, D, at=T + 3))
    assert through(line, D, b"ab", T + 2) == b"ab"
    assert through(line, D, b"ab", T + 4) == b"\0ab"
    assert through(line, D, b"ab", T + 9) == b"`b"
    assert through(line, D, b"ab", T + 9) == b"ab"
    assert line.transparent


@BOTH
def test_a_plug_that_comes_out_takes_along_what_is_on_the_wire_in_both_directions(direction: Direction) -> None:
    """At 1,000 baud a byte takes 10 ms. Out from 20 ms to 50 ms: those that end in between are lost."""
    line = scripted(Step(Kind.UNPLUG, direction, at=T + 20_000, for_us=30_000), baud=1000)
    line.send(D, b"abcdef", T)
    line.send(H, b"ABCDEF", T)
    assert line.is_on("plugged", T + 19_999)
    assert not line.is_on("plugged", T + 20_000)
    assert not line.is_on("plugged", T + 49_999)
    assert line.is_on("plugged", T + 50_000)
    assert arrivals(line, D) == [(10_000, b"a"), (20_000, b"b"), (50_000, b"e"), (60_000, b"f")]
    assert b"".join(data for _, data in arrivals(line, H)) == b"ABEF"
    assert line.counts() == Counts(sent_bytes=12, unplugs=1, lost_bytes=4)


def test_what_is_sent_while_the_plug_is_out_is_lost() -> None:
    line = scripted(Step(Kind.UNPLUG, H, at=T + 10, for_us=10))
    came = [through(line, direction, b"x", T + at) for at in (9, 10, 19, 20) for direction in Direction]
    assert came == [b"x", b"x", b"", b"", b"", b"", b"x", b"x"]


def test_what_had_left_the_wire_arrives_although_the_plug_is_out() -> None:
    """Latency is the receiver's own: a buffer, an adapter."""
    line = scripted(Step(Kind.UNPLUG, D, byte=2), latency_us=100)
    line.send(H, b"AB", T)
    line.send(D, b"abcd", T)
    assert (line.take(D, T + 100), line.take(H, T + 100)) == (b"ab", b"AB")


def test_a_plug_that_comes_out_behind_the_last_byte_is_out_before_the_answer() -> None:
    line = scripted(Step(Kind.UNPLUG, D, frame=1, for_us=50))
    assert through(line, D, b"ask\0") == b"ask\0"
    assert through(line, H, b"answer\0") == b""
    assert through(line, H, b"answer\0", T + 50) == b"answer\0"


@pytest.mark.parametrize(
    ("off", "on", "direction", "signal"),
    [
        (Kind.UNPLUG, Kind.PLUG, D, "plugged"),
        (Kind.UNPLUG, Kind.PLUG, H, "plugged"),
        (Kind.CTS_OFF, Kind.CTS_ON, D, "host_cts"),
        (Kind.CTS_OFF, Kind.CTS_ON, H, "device_cts"),
        (Kind.DTR_OFF, Kind.DTR_ON, D, "host_dtr"),
        (Kind.DTR_OFF, Kind.DTR_ON, H, "device_dtr"),
    ],
)
def test_what_is_switched_off_stays_off_until_it_is_switched_on(
    off: Kind, on: Kind, direction: Direction, signal: str
) -> None:
    line = scripted(Step(off, direction, at=T), Step(on, direction, at=T + HOUR))
    assert [line.is_on(signal, T + at) for at in (-1, 0, HOUR - 1, HOUR)] == [True, False, False, True]
    assert all(line.is_on(other, T + HOUR) for other in SIGNALS)
    line.change(**{signal: False})
    line.play(Step(on, direction, at=T + HOUR))
    assert line.is_on(signal, T + HOUR)
    assert line.config.transparent


def test_a_host_that_hangs_up_is_counted_for_the_device_to_notice() -> None:
    line = scripted(Step(Kind.DTR_OFF, D, at=T, for_us=5), Step(Kind.DTR_OFF, H, at=T + 1, for_us=5))
    line.take(D, T + 10)
    assert line.host_hang_ups == 1
    line.change(host_dtr=False, device_dtr=False)
    assert line.host_hang_ups == 2
    assert line.counts() == Counts(hang_ups=4)


# By chance

_NOISY: Final = LineConfig(
    baud=9600, jitter_us=300, bit_errors=1e-3, drops=1e-3, duplicates=1e-3, breaks=1e-3, unplugs=1e-3,
    unplugged_us=20_000, parity=Parity.EVEN,
)  # fmt: skip
_BYTES: Final = bytes(range(256)) * 8


def recorded(line: Line, size: int = 256) -> list[object]:
    """All that comes of many bytes, and when."""
    out: list[object] = []
    for at in range(0, len(_BYTES), size):
        for direction in Direction:
            line.send(direction, _BYTES[at : at + size], T + at * 100)
            while (last := line.last(direction)) is not None:
                out += (direction, last, line.take(direction, last))
    return [*out, line.counts()]


def test_a_seed_gives_the_same_line_byte_for_byte_and_another_seed_another() -> None:
    first = recorded(Line(_NOISY, seed="1"))
    assert recorded(Line(_NOISY, seed="1")) == first
    assert recorded(Line(_NOISY, seed="2")) != first


def test_the_noise_is_there() -> None:
    counts = recorded(Line(_NOISY, seed="1"))[-1]
    assert isinstance(counts, Counts)
    assert min(counts.flipped_bits, counts.parity_errors, counts.framing_errors) > 3
    assert min(counts.dropped_bytes, counts.duplicated_bytes, counts.breaks) > 1
    assert counts.unplugs > 0
    assert counts.lost_bytes > 0


@given(st.lists(st.integers(1, 200), max_size=40))
def test_noise_does_not_depend_on_how_the_bytes_are_cut(lengths: list[int]) -> None:
    config = LineConfig(bit_errors=1e-3, drops=1e-3, duplicates=1e-3, breaks=1e-3)
    whole = through(Line(config, seed="1"), D, _BYTES)
    line, came, start = Line(config, seed="1"), b"", 0
    for length in [*lengths, len(_BYTES)]:
        came += through(line, D, _BYTES[start : start + length])
        start += length
    assert came == whole


@pytest.mark.parametrize("name", RATES)
def test_one_chance_does_not_move_what_another_does(name: str) -> None:
    """The drops are at the same bytes whatever else goes on."""

    def dropped(config: LineConfig) -> list[int]:
        line, found = Line(config, seed="1"), []
        for number in range(4000):
            before = line.counts().dropped_bytes
            line.send(D, b"x", T + number * 2 * SECOND)
            found += [number] if line.counts().dropped_bytes > before else []
        return found

    alone = dropped(LineConfig(drops=0.01))
    assert len(alone) > 20
    if name != "drops":
        assert dropped(LineConfig(drops=0.01, **{name: 0.02})) == alone  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "counted"), [("drops", "dropped_bytes"), ("duplicates", "duplicated_bytes"), ("breaks", "breaks")]
)
def test_a_chance_is_as_large_as_it_says(name: str, counted: str) -> None:
    line = Line(LineConfig(**{name: 0.3}), seed="1")  # type: ignore[arg-type]
    for _ in range(20):
        through(line, D, bytes(1000))
    assert abs(getattr(line.counts(), counted) - 6_000) < 5 * (20_000 * 0.3 * 0.7) ** 0.5


def test_noise_that_begins_later_is_no_more_than_it_says() -> None:
    line = Line(LineConfig(latency_us=1), seed="1")
    through(line, D, bytes(10_000))
    line.change(bit_errors=1e-3)
    through(line, D, bytes(10_000))
    assert abs(line.counts().flipped_bits - 100) < 50


@pytest.mark.parametrize("only", Direction)
def test_noise_may_be_in_one_direction_only(only: Direction) -> None:
    line = Line(LineConfig(bit_errors=0.01, drops=0.01, only=only), seed="1")
    for direction in Direction:
        assert (through(line, direction, _BYTES) == _BYTES) is (direction is not only)


def test_bit_errors_fall_on_every_bit_of_a_byte_alike() -> None:
    """8E1 has 11: one in eleven is a start, one a stop bit (framing errors), nine are under the parity bit."""
    line = Line(LineConfig(bit_errors=1e-3, parity=Parity.EVEN), seed="1")
    for _ in range(100):
        through(line, D, bytes(10_000))
    counts = line.counts()
    assert abs(counts.flipped_bits - 11_000) < 5 * 11_000**0.5
    assert abs(counts.framing_errors - 2_000) < 5 * 2_000**0.5
    assert abs(counts.parity_errors - 9_000) < 5 * 9_000**0.5


@pytest.mark.parametrize(
    ("settings", "came"),
    [
        ({"drops": 1}, b""),
        ({"duplicates": 1}, b"aabbcc"),
        ({"breaks": 1}, b"\0a\0b\0c"),
        ({"unplugs": 1}, b""),
        ({"bit_errors": 1}, bytes(byte ^ 0xFF for byte in b"abc")),
        ({"bit_errors": 1, "bad_bytes": BadByte.DROP}, b""),
        ({"data_bits": 7}, b"abc"),
    ],
)
def test_a_chance_of_one_is_certain(settings: dict[str, Any], came: bytes) -> None:
    assert through(Line(LineConfig(**settings)), D, b"abc") == came


def test_a_plug_that_comes_out_by_chance_goes_in_again() -> None:
    line = Line(LineConfig(unplugs=0.01, unplugged_us=SECOND), seed="1")
    now = T
    while not line.counts().unplugs:
        now += 1_000
        came = through(line, D, b"x", now)
    assert came == b""
    assert not line.is_on("plugged", now + SECOND - 1)
    assert through(line, H, b"x", now + SECOND) == b"x"


# What goes through where eight bits do not


def test_seven_bits_and_marks_change_good_bytes_as_well() -> None:
    assert through(Line(LineConfig(data_bits=7)), D, b"a\xe1\xff") == b"aa\x7f"
    line = Line(LineConfig(bad_bytes=BadByte.MARK, baud=1000))
    line.send(D, b"a\xffb", T)
    assert arrivals(line, D) == [(10_000, b"a"), (20_000, b"\xff\xff"), (30_000, b"b")]


# Changed while it runs


def test_a_change_holds_from_the_next_byte_on() -> None:
    line = Line()
    assert through(line, D, b"a") == b"a"
    assert line.change(drops=1.0) == LineConfig(drops=1.0) == line.config
    assert through(line, D, b"a") == b""
    line.change(drops=0.0)
    assert through(line, D, b"a") == b"a"


def test_a_change_that_is_none_changes_nothing() -> None:
    line = Line(_NOISY)
    with pytest.raises(UsageError, match="bit_errors"):
        line.change(baud=1200, bit_errors=2)
    with pytest.raises(UsageError, match="a line has no 'speed'. Known: bad_bytes, baud, "):
        line.change(baud=1200, speed=9600)
    assert line.config is _NOISY


def test_a_change_may_be_written_as_text() -> None:
    line = Line(LineConfig(baud=9600, drops=0.5))
    assert line.change(**parse_settings("drops=0,host-cts=off")) == LineConfig(baud=9600, host_cts=False)


@pytest.mark.parametrize("signal", ["plugged", "host_dtr", "device_dtr"])
def test_a_line_that_is_cut_loses_what_is_on_its_way(signal: str) -> None:
    line = Line(LineConfig(latency_us=10))
    for direction in Direction:
        line.send(direction, b"abc", T)
    line.change(**{signal: False})
    assert not line.is_on(signal, T)
    assert [through(line, direction, b"d", T + 10) for direction in Direction] == [b"", b""]
    assert line.counts().lost_bytes == 8
    line.change(**{signal: True})
    assert [through(line, direction, b"e", T + 10) for direction in Direction] == [b"e", b"e"]


def test_a_signal_that_is_set_is_no_longer_what_a_step_made_of_it() -> None:
    line = scripted(Step(Kind.CTS_OFF, D, at=T), Step(Kind.UNPLUG, D, at=T))
    assert not line.is_on("host_cts", T)
    line.change(host_cts=True)
    assert line.is_on("host_cts", T)
    assert not line.is_on("plugged", T)


def test_any_thread_may_change_it_while_bytes_go_through() -> None:
    """Ten thousand bytes, each with an even number of changes before it or not: none is lost, none comes twice."""
    line = Line(LineConfig(baud=1_000_000))
    stop = threading.Event()
    changes = [0]

    def change() -> None:
        while not stop.is_set():
            line.change(latency_us=changes[0] % 50, baud=1_000_000 - changes[0] % 3)
            line.counts()
            changes[0] += 1

    other = threading.Thread(target=change)
    other.start()
    try:
        now, came = T, b""
        while len(came) < 10_000 or changes[0] < 100:
            line.send(D, b"0123456789", now)
            now += 1_000
            came += line.take(D, now)
    finally:
        stop.set()
        other.join()
    came += line.take(D, now + SECOND)
    assert came == b"0123456789" * (len(came) // 10)


def test_whats_done_with_nothing_to_send_is_nothing() -> None:
    line = Line(_NOISY)
    for direction in Direction:
        line.send(direction, b"", T)
    assert line.counts() == Counts()
    assert line.last(D) is None
