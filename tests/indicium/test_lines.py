"""Lines: where each key of a TOML text stands, however the text is written."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.indicium.lines import line_of, line_of_error, places, too_much

TEXT = '''\
# name = "not this one"
name = "a # b = [c]"   # title = "nor this"
"quoted key" = 1

text = [
  "field = 1",  # a = ]
  "[signature]",
]
long = """
title = "in a string"
[[field]]
"""
raw = \'\'\'
= [ { \'\'\'
inline = { a = 1, b = [2, 3] }
[signature]
scheme = "x"
meaning = 'an = sign'

[[ field ]]
name = "first"
values.a = 1
values."b.c" = 2
[field.more]
deep = 1

[signature.by.whom]
key = 1

[[field]] # the second
name = "second"
"""a"""
'''.replace('"""a"""\n', "")


def test_every_key_is_on_its_line() -> None:
    lines = TEXT.splitlines()
    found = places(TEXT)
    expected = {
        ("name",): 'name = "a #', ("quoted key",): '"quoted', ("text",): "text =", ("long",): "long =",
        ("raw",): "raw =", ("inline",): "inline", ("signature",): "[sig", ("signature", "scheme"): "scheme",
        ("signature", "meaning"): "meaning", ("field", 0): "[[ field", ("field", 0, "name"): 'name = "first',
        ("field", 0, "values"): "values.a", ("field", 0, "values", "a"): "values.a",
        ("field", 0, "values", "b.c"): 'values."b', ("field", 0, "more"): "[field.more", ("field", 1): "[[field]] #",
        ("field", 0, "more", "deep"): "deep", ("signature", "by"): "[signature.by",
        ("signature", "by", "whom", "key"): "key = 1", ("field", 1, "name"): 'name = "second',
    }  # fmt: skip
    for place, beginning in expected.items():
        assert lines[found[place] - 1].startswith(beginning), place
    assert not {("title",), ("a",), ("field", 2)} & set(found)


def test_a_last_line_needs_no_end() -> None:
    assert places("a = 1\n[b]") == {("a",): 1, ("b",): 2}
    assert places("a = 1\nb = 2") == {("a",): 1, ("b",): 2}
    assert places("") == {}
    assert places("a = 1\r\n[b]\r\nc = 1\r\n")[("b", "c")] == 3


def test_what_has_no_line_of_its_own_is_on_the_line_of_what_is_around_it() -> None:
    found = places("field = [ { name = 1 } ]\n[x]\na = 1\n")
    assert line_of(("field", 0, "name"), found) == 1
    assert line_of(("x", "missing"), found) == 2
    assert line_of(("missing",), found) == 1
    assert line_of((), found) == 1


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = = 2\n", 2), ('a = 1\n\nb = """x', 3), ("", 1)])
def test_a_text_that_is_no_toml_has_its_mistake_on_a_line(text: str, line: int) -> None:
    problem: Exception = ValueError("at end of document")
    try:
        tomllib.loads(text)
    except ValueError as found:
        problem = found
    assert line_of_error(problem, text) == line


ALMOST = [
    "9" * 999,
    "a" + ".a" * 31 + " = 1",
    "[" * 31 + "]" * 31,
    "a.\"b c\".'d' = [[1], [2]]",
    "a.b\n" * 99,
    "a" + r'."\""' * 31,
]


@pytest.mark.parametrize("text", ALMOST)
def test_what_is_long_is_not_too_much(text: str) -> None:
    assert too_much(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "9" * 1000,
        "0x" + "F_" * 500,
        "a" + ' . "b c"' * 32,
        "[" + "{a=[" * 16,
        "a" * 10**6,
        ".a" * 10**5,
        "['" * 10**5,
        "a" + r'."\""' * 32,
    ],
)
def test_of_what_is_too_much_the_first_is_told_by_its_line(text: str) -> None:
    found = too_much(f"a = 1\nb = {text}\n{'.a' * 99}\n")
    assert found is not None
    assert found.line == 2


words = st.text("abz_-09", min_size=1, max_size=4)
values = st.sampled_from(["1", '"#"', "'='", '"""\n[[x]]\n"""', "[1,\n# ]\n2]", "{ a = '}' }", "'''\n'''", '"\\""'])


@given(st.lists(st.tuples(words, words, values), max_size=8))
def test_every_key_of_any_text_has_a_line_that_names_it(chosen: list[tuple[str, str, str]]) -> None:
    text = ""
    for number, (table, key, value) in enumerate(chosen):
        text += f"[{table}{number}]\n{key} = {value} # end\n"
    tomllib.loads(text)
    found, lines = places(text), text.split("\n")
    for number, (table, key, _) in enumerate(chosen):
        assert lines[found[(f"{table}{number}",)] - 1] == f"[{table}{number}]"
        assert lines[found[(f"{table}{number}", key)] - 1].startswith(f"{key} = ")
