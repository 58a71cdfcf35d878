"""Codings: legal values come back, illegal ones are refused, and bytes that mean nothing are shown as what they are."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.indicium.codings import CODINGS, Value

CLASSES = {"letter": 1, "card": 2}

KNOWN: list[tuple[str, int, Value, str]] = [
    ("uint-le", 3, 740, "e40200"),
    ("uint-be", 3, 740, "0002e4"),
    ("uint-le", 1, 0, "00"),
    ("uint-le", 5, 2**40 - 1, "ffffffffff"),
    ("ascii", 2, "99", "3939"),
    ("bytes", 2, b"\0\xff", "00ff"),
    ("date-le", 4, "2010-10-02", "8ab73201"),
    ("zip5-le", 4, "20260", "244f0000"),
    ("zip5-le", 3, "00501", "f50100"),
    ("routing-le", 5, "", "0000000000"),
    ("routing-le", 5, "359483751", "67496d1500"),
    ("routing-le", 5, "10001", "1127000000"),
    ("routing-le", 5, "94105280212", "d49e1ce915"),
    ("routing-le", 5, "00501123412", "5489de1d80"),
    ("name-le", 2, "card", "0200"),
    ("date-be", 4, "2010-10-02", "0132b78a"),
    ("zip5-be", 3, "00501", "0001f5"),
    ("routing-be", 5, "359483751", "00156d4967"),
    ("name-be", 2, "card", "0002"),
    ("tracking-le", 10, "", "00" * 10),
    ("tracking-be", 10, "9400100000000000000001", "01fd9497da22bd6a0001"),
    ("tracking-be", 10, "00000000000000000001", "00" * 9 + "01"),
    ("tracking-be", 10, "70200000000000000000", "0003ce388010806c0000"),
    ("flags-le", 1, "", "00"),
    ("flags-le", 1, "letter+card", "03"),
    ("flags-be", 2, "card", "0002"),
]


@pytest.mark.parametrize(("coding", "length", "value", "raw"), KNOWN)
def test_known_values_have_known_bytes(coding: str, length: int, value: Value, raw: str) -> None:
    encode, decode = CODINGS[coding].make(length, CLASSES)
    assert encode(value).hex() == raw
    assert decode(bytes.fromhex(raw)) == value


REFUSED: list[tuple[str, int, object]] = [
    ("uint-le", 1, 256), ("uint-le", 1, -1), ("uint-le", 1, True), ("uint-le", 1, 1.0), ("uint-be", 2, "1"),
    ("ascii", 2, "9"), ("ascii", 2, "999"), ("ascii", 2, "9é"), ("ascii", 2, "9\n"), ("ascii", 2, b"99"),
    ("bytes", 2, b"1"), ("bytes", 2, "12"),
    ("date-le", 4, "2026-02-30"), ("date-le", 4, "today"), ("date-le", 4, "20261121"), ("date-le", 4, "2026-W47-6"),
    ("date-le", 4, 20260101), ("date-le", 4, None),
    ("zip5-le", 3, "2026"), ("zip5-le", 3, "2026A"), ("zip5-le", 3, 20260), ("zip5-le", 3, "٢٠٢٦٠"),
    ("routing-le", 5, "1234"), ("routing-le", 5, "1234567890"), ("routing-le", 5, 10001), ("routing-le", 5, "1000A"),
    ("routing-le", 5, "00000"), ("routing-le", 5, "000012345"),
    ("tracking-le", 10, "94001"), ("tracking-le", 10, 94001), ("tracking-le", 10, "0" * 20),
    ("tracking-le", 10, "0" * 22),
    ("tracking-le", 10, "00" + "9" * 20), ("tracking-le", 10, "x" * 20), ("tracking-le", 10, "9" * 21),
    ("flags-le", 1, "card+letter"), ("flags-le", 1, "card+card"), ("flags-le", 1, "parcel"), ("flags-le", 1, 1),
    ("flags-le", 1, "letter+"), ("flags-le", 1, "+"),
    ("name-le", 2, "parcel"), ("name-le", 2, 1), ("name-le", 2, ["card"]),
]  # fmt: skip


@pytest.mark.parametrize(("coding", "length", "value"), REFUSED)
def test_any_other_value_is_refused_and_never_cut(coding: str, length: int, value: Value) -> None:
    encode, _ = CODINGS[coding].make(length, CLASSES)
    with pytest.raises(ValueError, match="must"):
        encode(value)


MEANINGLESS = [
    ("ascii", "ff41", "#ff41"),
    ("date-le", "ffffffff", "#4294967295"),
    ("date-le", "00000000", "#0"),
    ("zip5-le", "a0860100", "#100000"),
    ("routing-le", "ffffffffff", "#1099511627775"),
    ("routing-le", "ffffffff7f", "#549755813887"),
    ("name-le", "0900", "#9"),
    ("date-le", "ffffffffffffffff", "#18446744073709551615"),
    ("tracking-be", "ff" * 10, "#1208925819614629174706175"),
    ("flags-le", "05", "#5"),
]


@pytest.mark.parametrize(("coding", "raw", "shown"), MEANINGLESS)
def test_bytes_that_mean_nothing_are_shown_as_the_number_or_hex_they_hold(coding: str, raw: str, shown: str) -> None:
    data = bytes.fromhex(raw)
    _, decode = CODINGS[coding].make(len(data), CLASSES)
    assert decode(data) == shown


@given(st.sampled_from(sorted(CODINGS)), st.data())
def test_decoding_never_fails_and_a_legal_value_comes_back(name: str, data: st.DataObject) -> None:
    coding = CODINGS[name]
    length = data.draw(st.sampled_from(list(coding.lengths)))
    names: Mapping[str, int] = CLASSES if length > 1 else {"letter": 1}
    encode, decode = coding.make(length, names)
    raw = data.draw(st.binary(min_size=length, max_size=length))
    value = decode(raw)
    try:
        again = encode(value)
    except ValueError:
        assert str(value).startswith("#") or name.startswith("routing")
    else:
        assert decode(again) == value


@given(st.one_of(st.integers(501, 99950).map(lambda n: f"{n:05d}"),
                 st.integers(5_010_000, 999_509_999).map(lambda n: f"{n:09d}"),
                 st.integers(501_000_000, 99_950_999_999).map(lambda n: f"{n:011d}")))  # fmt: skip
def test_no_destination_is_taken_for_another(code: str) -> None:
    encode, decode = CODINGS["routing-le"].make(5, {})
    assert decode(encode(code)) == code
