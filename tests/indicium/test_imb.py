"""The Intelligent Mail barcode: its examples, a round trip, and no wrong bar that is read as something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zint
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.graphics.barcode.usps4s import USPS_4State

from pes_sim.errors import UsageError
from pes_sim.indicium import imb
from pes_sim.indicium.imb import Imb, decode, encode, parse, turned

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "imb.json").read_text())
EXAMPLES = VECTORS["bars"].items()
BARS = VECTORS["bars"]["01234567891"]


def of(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=length, max_size=length)


@st.composite
def fields(draw: st.DrawFn) -> Imb:
    """Any barcode: both kinds of mailer, every length of routing code."""
    mailer = draw(st.one_of(of(6).filter(lambda text: text[0] != "9"), of(8).map("9".__add__)))
    routing = draw(st.sampled_from((0, 5, 9, 11)).flatmap(of))
    first, second = draw(of(1)), draw(st.sampled_from("01234"))
    return Imb(first + second, draw(of(3)), mailer, draw(of(15 - len(mailer))), routing)


def bars_of(value: int) -> str:
    """The bars of a whole number, possible or not: reportlab's steps after its first."""
    barcode = USPS_4State("01234567094987654321", "01234567891")
    vars(barcode)["_bvalue"] = value
    return str(barcode.barcodes)


def zint_bars(code: Imb) -> str:
    """What zint draws: three rows of a bar's height, of which the middle one is always there."""
    drawn = zint.Symbol()
    drawn.symbology = zint.Symbology.USPS_IMAIL
    drawn.encode(code.tracking + ("-" + code.routing if code.routing else ""))
    rows = [
        [int(drawn.encoded_data[row, column >> 3]) >> (column & 7) & 1 for column in range(0, 129, 2)]
        for row in range(3)
    ]
    assert drawn.rows == 3
    assert set(rows[1]) == {1}
    return "".join("TADF"[above + 2 * below] for above, below in zip(rows[0], rows[2], strict=True))


# --- what is written and read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("routing", "bars"), EXAMPLES)
def test_the_specifications_examples_both_ways(routing: str, bars: str) -> None:
    code = parse(VECTORS["tracking_code"], routing)
    assert encode(code) == bars
    assert decode(bars) == code
    assert code == Imb("01", "234", "567094", "987654321", routing)


# CRC-11 of the specification's four examples: no routing code, 5 digits, 9 and 11.
@pytest.mark.parametrize(
    ("value", "check"),
    [
        (0x1122103B5C2004B1, 0x51),
        (0xD138A87BAB5CF3804B1, 0x65),
        (0x202BDC097711204D21804B1, 0x606),
        (0x16907B2A24ABC16A2E5C004B1, 0x751),
    ],
)
def test_crc_11_is_the_specifications(value: int, check: int) -> None:
    assert imb.crc11(value) == check


def test_the_tables_of_characters_are_the_specifications() -> None:
    five, two = imb._of_13(5), imb._of_13(2)
    assert (len(five), len(two)) == (1287, 78)
    assert five[:5] == [31, 7936, 47, 7808, 55]
    assert [five[at] for at in (1271, 1272, 1284, 1285, 1286)] == [6275, 6211, 856, 744, 496]
    assert two[:2] == [3, 6144]


@settings(max_examples=150, deadline=None)
@given(code=fields())
def test_every_barcode_comes_back_and_zint_draws_the_same(code: Imb) -> None:
    bars = encode(code)
    assert decode(bars) == code
    assert zint_bars(code) == bars


@pytest.mark.parametrize("routing", ["", "00000", "99999", "000000000", "999999999", "00000000000", "99999999999"])
@pytest.mark.parametrize("tracking", ["00000000000000000000", "94999999999999999999"])
def test_the_ends_of_every_range_come_back(tracking: str, routing: str) -> None:
    code = parse(tracking, routing)
    assert decode(encode(code)) == code
    assert zint_bars(code) == encode(code)


def test_a_mailer_that_begins_with_9_has_nine_digits() -> None:
    assert parse("00300999999999000001") == Imb("00", "300", "999999999", "000001")
    assert parse("00300899999999000001") == Imb("00", "300", "899999", "999000001")


# --- upside down -----------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(code=fields())
def test_an_upside_down_barcode_is_told_so_and_read_when_turned(code: Imb) -> None:
    bars = encode(code)
    assert turned(turned(bars)) == bars
    with pytest.raises(UsageError, match="It reads upside down: turn it by 180 degrees"):
        decode(turned(bars))


# --- damage ----------------------------------------------------------------------------------------------------------


def test_no_bar_holds_two_bits_of_one_character_and_every_bit_has_its_place() -> None:
    assert all(low != high for low, _, high, _ in imb._MAP)
    places = [place for low, a, high, b in imb._MAP for place in ((low, a), (high, b))]
    assert sorted(places) == [(character, bit) for character in range(10) for bit in range(13)]


def test_no_character_is_one_bit_away_from_another() -> None:
    # With the one above: whatever the barcode, one wrong bar makes one or two characters that there are not.
    known = set(imb._table())
    assert len(known) == 2 * 1365
    assert not {character ^ 1 << bit for character in known for bit in range(13)} & known


@settings(max_examples=3, deadline=None)
@given(code=fields())
def test_every_wrong_bar_is_found(code: Imb) -> None:
    bars = encode(code)
    for at, right in enumerate(bars):
        for wrong in set("TADF") - {right}:
            with pytest.raises(UsageError, match="damaged") as caught:
                decode(bars[:at] + wrong + bars[at + 1 :])
            named = caught.value.message.rpartition("bar")[2].strip("s ").split(", ")
            assert str(at + 1) in named


def test_a_wrong_bar_that_no_other_shares_both_characters_with_is_named() -> None:
    pairs = [frozenset((low, high)) for low, _, high, _ in imb._MAP]
    at = next(at for at, pair in enumerate(pairs) if pairs.count(pair) == 1)
    wrong = {"T": "F", "F": "T", "A": "D", "D": "A"}[BARS[at]]  # both halves of it
    with pytest.raises(UsageError, match=rf"the bars are damaged: look at bar {at + 1}\. Scan it again$"):
        decode(BARS[:at] + wrong + BARS[at + 1 :])


def swapped(place: int, word: int, bars: str = BARS) -> str:
    """The bars with another codeword's character, not inverted, in `place`."""
    characters = imb._characters(bars)
    characters[place] = [*imb._of_13(5), *imb._of_13(2)][word]
    return "".join("TDAF"[(characters[low] >> a & 1) + 2 * (characters[high] >> b & 1)] for low, a, high, b in imb._MAP)


@pytest.mark.parametrize(
    ("place", "word"), [(0, 1364), (9, 3), (9, 1272)], ids=["first too large", "last is odd", "last too large"]
)
def test_a_codeword_out_of_its_range_is_damage(place: int, word: int) -> None:
    with pytest.raises(UsageError, match=r"a codeword is out of its range\. Scan it again"):
        decode(swapped(place, word))


def test_a_character_that_is_another_is_found_by_the_crc() -> None:
    with pytest.raises(UsageError, match=r"CRC-11 is [0-9a-f]{3}, not [0-9a-f]{3}"):
        decode(swapped(3, 17))


def test_a_routing_code_that_cannot_be_is_the_writers_mistake() -> None:
    last = 101_000_100_000 * 50 * 10**18
    assert decode(bars_of(last)).routing == "9" * 11
    with pytest.raises(UsageError, match=r"routing code 101000100001 is beyond 11 digits\. Whoever printed it"):
        decode(bars_of(last + 50 * 10**18))


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("05", "300", "567094", "000000001"), r"'05' is no barcode identifier.*second of them 0 to 4"),
        (("0", "300", "567094", "000000001"), "'0' is no barcode identifier"),
        (("00", "30x", "567094", "000000001"), r"'30x' is no service type\. Give 3 digits"),
        (("00", "300", "967094", "000000001"), r"'967094' is no mailer identifier\. Give 6 digits, or 9 that begin"),
        (("00", "300", "567094123", "000001"), "no mailer identifier"),
        (("00", "300", "567094", "1"), r"'1' is no serial number\. Give 9 digits"),
        (("00", "300", "956709412", "000000001"), r"no serial number\. Give 6 digits"),
        (("00", "300", "567094", "000000001", "123"), r"'123' is no routing code\. Give 5 digits, 9"),
        (("00", "300", "567094", "000000001", "1234x"), "'1234x' is no routing code"),
        (("00", "300", "567094", "٠٠٠٠٠٠٠٠١"), "no serial number"),
    ],
)
def test_a_part_that_cannot_be_is_named(values: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Imb(*values)


@pytest.mark.parametrize("tracking", ["", "0123456709498765432", "012345670949876543210", "0123456709498765432x"])
def test_a_tracking_code_of_other_than_20_digits_is_refused(tracking: str) -> None:
    with pytest.raises(UsageError, match=r"no tracking code\. Give 20 digits"):
        parse(tracking)


@pytest.mark.parametrize(
    ("bars", "said"),
    [("", "0 bars"), (BARS[:-1], "64 bars"), (BARS + "T", "66 bars"), ("X" + BARS[1:], "'X' at bar 1")],
)
def test_other_than_65_bars_are_refused(bars: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"{said} is not 65 bars of T, A, D and F"):
        decode(bars)
