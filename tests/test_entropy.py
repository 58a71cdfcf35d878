"""Random bytes: a seed repeats a run byte for byte, and says so."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.entropy import Entropy, SeededEntropy, SystemEntropy, child

SEED = "demo"
FIRST_DRAWS = ("9d2f11cf99d7b3d0375ac8d78889e7fd", "a34f1e40ad88ba5cbf02c1f704d8c165")
OF_PSD = "6e04b94c225f150efcd84ebdd1321802"
OF_KEYS_OF_PSD = "316e8391c43432e75ff42d2b0089fe23"
"""Bytes that have been published with seeded runs: they must never change."""


def test_a_seed_gives_the_bytes_that_it_always_gave() -> None:
    source = SeededEntropy(SEED)
    assert tuple(source(16).hex() for _ in FIRST_DRAWS) == FIRST_DRAWS
    assert source.child("psd")(16).hex() == OF_PSD
    assert source.child("psd").child("keys")(16).hex() == OF_KEYS_OF_PSD


def test_they_are_shake_256_of_seed_label_and_a_counter_from_one() -> None:
    said = b"pes-sim seed\0demo\0requests\0" + (1).to_bytes(8, "little")
    assert SeededEntropy("demo", "requests")(40) == hashlib.shake_256(said).digest(40)


@given(st.text(), st.text(), st.lists(st.integers(0, 100), min_size=1))
def test_the_same_seed_repeats_the_same_run_whatever_the_seed(seed: str, label: str, lengths: list[int]) -> None:
    one, other = SeededEntropy(seed, label), SeededEntropy(seed, label)
    drawn = [one(length) for length in lengths]
    assert drawn == [other(length) for length in lengths]
    assert [len(piece) for piece in drawn] == lengths


def test_other_seeds_other_labels_and_later_draws_give_other_bytes() -> None:
    source = SeededEntropy("a", "b")
    drawn = [source(16), source(16), SeededEntropy("b", "a")(16), SeededEntropy("a")(16), SeededEntropy("ab")(16)]
    assert len(set(drawn)) == len(drawn)


def test_a_seed_from_a_command_line_that_is_no_text_is_a_seed_too() -> None:
    seed = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert SeededEntropy(seed)(16) == SeededEntropy(seed)(16)
    assert SeededEntropy(seed).child("psd")(16) != SeededEntropy(seed)(16)


def test_children_differ_from_each_other_and_from_their_parent() -> None:
    sources = [SeededEntropy(SEED), *(SeededEntropy(SEED).child(label) for label in ("", "psd", "provider"))]
    sources.append(sources[2].child("psd"))
    assert len({source(16) for source in sources}) == len(sources)


def test_a_child_draws_the_same_whatever_was_drawn_before_it_and_from_whom() -> None:
    eager, lazy = SeededEntropy(SEED), SeededEntropy(SEED)
    eager(1000)
    eager.child("provider")(5)
    assert eager.child("psd")(16) == lazy.child("psd")(16)


def test_a_child_disturbs_its_parent_in_nothing() -> None:
    source = SeededEntropy(SEED)
    source.child("psd")(16)
    assert source(16).hex() == FIRST_DRAWS[0]


def test_a_seeded_source_says_that_it_is_reproducible_and_so_do_its_children() -> None:
    assert SeededEntropy(SEED).reproducible is True
    assert SeededEntropy(SEED).child("psd").reproducible is True
    assert child(SeededEntropy(SEED), "psd").reproducible is True


def test_the_systems_bytes_are_not_reproducible_and_never_repeat() -> None:
    source = SystemEntropy()
    assert source.reproducible is False
    assert source(16) != source(16)
    assert SystemEntropy()(16) != SystemEntropy()(16)


@pytest.mark.parametrize("source", [SystemEntropy(), SeededEntropy(SEED)])
def test_it_gives_as_many_bytes_as_asked_even_none(source: Entropy) -> None:
    assert [len(source(length)) for length in (0, 1, 16, 4097)] == [0, 1, 16, 4097]


def test_a_part_of_a_seeded_run_gets_a_source_of_its_own_and_of_the_systems_the_same() -> None:
    seeded, system = SeededEntropy(SEED), SystemEntropy()
    assert child(seeded, "psd")(16).hex() == OF_PSD
    assert child(system, "psd") is system
