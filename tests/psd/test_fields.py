"""Fields: one number, one name, one meaning; and values that are what they say."""

from __future__ import annotations

import pytest

from pes_sim.errors import FieldError
from pes_sim.psd.fields import (
    BY_NAME,
    BY_NUMBER,
    FIELDS,
    Form,
    check,
    check_all,
    fields,
    pack,
    to_names,
    to_numbers,
    unpack,
)


def test_no_number_and_no_name_stands_twice() -> None:
    assert len(BY_NAME) == len(BY_NUMBER) == len(FIELDS)


GOOD = [("psd_serial", 0), ("psd_serial", 2**32 - 1), ("seconds_to_lockout", -5), ("nonce", bytes(16)), ("state", "x"),
        ("lock_reasons", ["a", "b"]), ("entries", [b"x"])]  # fmt: skip
BAD = [("psd_serial", -1), ("psd_serial", 2**32), ("psd_serial", True), ("psd_serial", 1.0), ("psd_serial", "1"),
       ("utc_offset_minutes", 841), ("utc_offset_minutes", -841), ("nonce", bytes(17)), ("nonce", "x"),
       ("nonce", bytearray(16)), ("licensing_zip", "202600"), ("licensing_zip", b"20260"),
       ("lock_reasons", ["a", b"b"]),
       ("lock_reasons", ["a"] * 9), ("lock_reasons", "ab"), ("entries", ["x"]), ("entries", None)]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_value_within_its_field_passes(name: str, value: object) -> None:
    check(BY_NAME[name], value)


@pytest.mark.parametrize(("name", "value"), BAD)
def test_any_other_value_is_refused_naming_the_field(name: str, value: object) -> None:
    with pytest.raises(FieldError, match=name) as caught:
        check(BY_NAME[name], value)
    assert caught.value.detail == {"field": name}


def test_every_form_is_tried_both_ways() -> None:
    for cases in (GOOD, BAD):
        assert {BY_NAME[name].form for name, _ in cases} == set(Form)


ROW = fields("psd_serial nonce")
VALUES = {"psd_serial": 7, "nonce": bytes(16)}


def test_values_must_be_just_those_of_the_row() -> None:
    check_all(ROW, VALUES)
    with pytest.raises(FieldError, match="nonce is missing") as caught:
        check_all(ROW, {"psd_serial": 7})
    assert caught.value.detail == {"field": "nonce"}
    with pytest.raises(FieldError, match="unknown field less, more") as caught:
        check_all(ROW, {**VALUES, "more": 1, "less": 1})
    assert caught.value.detail == {"field": "less"}


def test_a_field_that_is_there_and_empty_is_not_called_missing() -> None:
    with pytest.raises(FieldError, match="field nonce must be bytes of length up to 16") as caught:
        check_all(ROW, {"psd_serial": 7, "nonce": None})
    assert caught.value.detail == {"field": "nonce"}


def test_a_number_is_refused_by_its_size_and_anything_longer_by_its_length() -> None:
    for name, value, said in (
        ("weight", 65536, "must be uint up to 65535"),
        ("utc_offset_minutes", 841, "must be int up to 840"),
        ("nonce", bytes(17), "must be bytes of length up to 16"),
        ("lock_reasons", ["a"] * 9, "must be list of text of length up to 8"),
    ):
        with pytest.raises(FieldError, match=said):
            check(BY_NAME[name], value)


def test_names_become_numbers_and_come_back() -> None:
    numbered = to_numbers(VALUES)
    assert numbered == {2: 7, 51: bytes(16)}
    assert to_names(numbered, BY_NUMBER) == VALUES


@pytest.mark.parametrize("numbered", [None, [], {9999: 1}, {"psd_serial": 1}, {(1, 2): 3}])
def test_anything_else_than_known_numbers_is_refused(numbered: object) -> None:
    with pytest.raises(FieldError):
        to_names(numbered, BY_NUMBER)


def test_an_unknown_number_is_named() -> None:
    with pytest.raises(FieldError, match="unknown field number 9999") as caught:
        to_names({2: 1, 9999: 1}, BY_NUMBER)
    assert caught.value.detail == {"field": "9999"}


def test_an_entry_comes_back_and_any_other_bytes_are_refused() -> None:
    assert unpack(pack(VALUES)) == VALUES
    for bad in (b"", b"\x80", b"\xa1\x19\x27\x0f\x00", pack(VALUES) + b"\0"):
        with pytest.raises(FieldError):
            unpack(bad)


def test_a_service_fields_limit_is_what_the_value_of_its_form_can_be() -> None:
    assert all(row.limit > 0 for row in FIELDS)
    assert {row.kind for row in FIELDS} == {int, bytes, str, list}
    assert {row.least < 0 for row in FIELDS if row.form is Form.INT} == {True}
    assert {row.least for row in FIELDS if row.form is not Form.INT} == {0}
