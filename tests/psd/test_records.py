"""A record's MAC is HMAC-SHA-256, whatever is hashed beforehand."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.psd.records import MAC_LENGTH, LogKey


@given(st.binary(min_size=1, max_size=64), st.binary(max_size=600), st.binary(max_size=600))
def test_the_mac_is_the_librarys_cut_short_and_the_same_however_often_the_key_is_used(
    key: bytes, one: bytes, two: bytes
) -> None:
    prepared = LogKey(key)
    for data in (one, two, one):
        assert prepared.mac(data) == hmac.digest(key, data, "sha256")[:MAC_LENGTH]


def test_a_key_that_would_have_to_be_hashed_first_is_refused() -> None:
    with pytest.raises(ValueError, match="up to 64 bytes, not 65"):
        LogKey(bytes(65))
