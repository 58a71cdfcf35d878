"""Codewords out of modules: placed as the tests' own reading of the standard says, and every error found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.indicium import codewords
from pes_sim.indicium.sizes import CAPACITY, SQUARES
from pes_sim.indicium.symbol import encode
from tests.indicium import datamatrix

NOISE = random.Random(15415).randbytes(2000)
every_size = pytest.mark.parametrize("side", SQUARES)


def words_of(side: int) -> bytes:
    """The codewords of a full symbol."""
    name = f"{side}x{side}"
    return codewords.read(side, encode(NOISE[: CAPACITY[name]], name).modules)


@every_size
def test_every_codeword_is_where_the_standard_puts_it(side: int) -> None:
    drawn = encode(NOISE[: CAPACITY[f"{side}x{side}"]], f"{side}x{side}")
    assert codewords.read(side, drawn.modules) == datamatrix.codewords(drawn)
    assert len(words_of(side)) == codewords.shape(side).words


@every_size
def test_finder_and_timing_patterns_are_those_of_the_symbol(side: int) -> None:
    modules = encode(b"x", f"{side}x{side}").modules
    patterns = {(row, column): dark for row, column, dark in codewords.fixed(side)}
    assert all(modules[row * side + column] == dark for (row, column), dark in patterns.items())
    placed = {place for places in codewords.placement(side) for place in places}
    assert not placed & {row * side + column for row, column in patterns}


def test_of_44x44_the_patterns_are_a_frame_around_each_of_four_regions() -> None:
    assert len(list(codewords.fixed(44))) == 4 * (4 * 22 - 4)


@every_size
def test_no_codeword_of_a_good_symbol_is_wrong(side: int) -> None:
    assert codewords.wrong(side, words_of(side)) == set()


@every_size
def test_as_many_wrong_codewords_as_can_be_mended_are_named(side: int) -> None:
    chance, words, shape = random.Random(side), words_of(side), codewords.shape(side)
    for count in {1, shape.correction // shape.blocks // 2}:
        places = [place for place in range(len(words)) if codewords.block(side, place) == 0]
        chosen = set(chance.sample(places, count))
        damaged = bytes(word ^ (chance.randrange(1, 256) if at in chosen else 0) for at, word in enumerate(words))
        assert codewords.wrong(side, damaged) == chosen


@every_size
def test_a_symbol_of_noise_is_beyond_what_can_be_told(side: int) -> None:
    shape = codewords.shape(side)
    chance = random.Random(100 + side)
    # In a small symbol noise may well be near some code word: the standard's own weakness, and no figure for a test.
    found = [codewords.wrong(side, chance.randbytes(shape.words)) for _ in range(5)]
    assert side < 20 or found == [None] * 5


@given(st.binary(min_size=200, max_size=200))
def test_no_bytes_break_it(words: bytes) -> None:
    found = codewords.wrong(44, words)
    assert found is None or len(found) <= 28


@given(st.sets(st.integers(0, 199), max_size=28), st.randoms(use_true_random=False))
def test_any_errors_within_reach_are_found(places: set[int], chance: random.Random) -> None:
    damaged = bytearray(words_of(44))
    for place in places:
        damaged[place] ^= chance.randrange(1, 256)
    assert codewords.wrong(44, bytes(damaged)) == places


def test_a_size_that_does_not_exist_has_no_shape() -> None:
    with pytest.raises(KeyError):
        codewords.shape(30)
