"""Rates: the published prices, each step to the hundredth of an ounce, and files that are wrong."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pes_sim.errors import NoRate, UsageError
from pes_sim.indicium import layout
from pes_sim.meter import rates
from pes_sim.meter.rates import Category, RateBook, RateTable, built_in, load_file, ounces

FIRST_DAY = date(2025, 7, 13)

# news.usps.com/2025/07/14: metered letter $0.74, additional ounce $0.29, postcard $0.61, international letter $1.70.
PUBLISHED = [
    ("first_class_letter", 1, 740),
    ("first_class_letter", 99, 740),
    ("first_class_letter", 100, 740),
    ("first_class_letter", 101, 1030),
    ("first_class_letter", 200, 1030),
    ("first_class_letter", 201, 1320),
    ("first_class_letter", 300, 1320),
    ("first_class_letter", 301, 1610),
    ("first_class_letter", 350, 1610),
    ("first_class_postcard", 1, 610),
    ("first_class_postcard", 100, 610),
    ("international_letter", 1, 1700),
    ("international_letter", 100, 1700),
]
BEYOND = [
    ("first_class_letter", 0, "0.01 to 3.50 oz"),
    ("first_class_letter", 351, "0.01 to 3.50 oz"),
    ("first_class_letter", 65535, "0.01 to 3.50 oz"),
    ("first_class_letter", -100, "0.01 to 3.50 oz"),
    ("first_class_postcard", 101, "0.01 to 1.00 oz"),
    ("international_letter", 101, "0.01 to 1.00 oz"),
]


def table(version: str = "v1", effective: date = FIRST_DAY, price: int = 740) -> RateTable:
    return RateTable(version, effective, {"letter": Category("letter", "LETTER", True, ((100, price),))})


# --- the built-in table ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mail_class", "weight", "mills"), PUBLISHED)
def test_the_published_prices(mail_class: str, weight: int, mills: int) -> None:
    assert built_in().on(FIRST_DAY).postage(mail_class, weight) == mills


def test_every_weight_of_a_letter_costs_the_first_ounce_and_29_cents_for_each_begun_one_after_it() -> None:
    letters = built_in().on(FIRST_DAY)
    for weight in range(1, 351):
        begun_after_the_first = (weight - 1) // 100
        assert letters.postage("first_class_letter", weight) == 740 + 290 * begun_after_the_first


@pytest.mark.parametrize(("mail_class", "weight", "allowed"), BEYOND)
def test_no_price_is_made_up_beyond_a_class(mail_class: str, weight: int, allowed: str) -> None:
    with pytest.raises(NoRate) as refusal:
        built_in().on(FIRST_DAY).postage(mail_class, weight)
    assert mail_class in refusal.value.message
    assert refusal.value.hint == f"Allowed: {allowed}"


def test_an_unknown_class_is_answered_with_those_there_are() -> None:
    with pytest.raises(NoRate, match="unknown mail class 'flat'") as refusal:
        built_in().on(FIRST_DAY).postage("flat", 100)
    assert refusal.value.hint == "Allowed: first_class_letter, first_class_postcard, international_letter"


def test_every_category_is_a_mail_class_of_the_layout() -> None:
    mail_class = next(field for field in layout.builtin("imi_std").fields if field.name == "mail_class")
    categories = built_in().on(FIRST_DAY).categories
    assert set(categories) <= set(mail_class.values)
    assert set(categories) == {mail_class for mail_class, _, _ in PUBLISHED}


def test_every_price_and_weight_fits_its_field_in_the_indicium() -> None:
    for category in built_in().on(FIRST_DAY).categories.values():
        assert all(weight < 1 << 16 and price < 1 << 24 for weight, price in category.steps)


# --- dates -----------------------------------------------------------------------------------------------------------


def test_the_table_holds_from_its_first_day_on_and_not_before() -> None:
    assert built_in().on(FIRST_DAY).version == "2025-07-13.1"
    assert built_in().on(date.max).version == "2025-07-13.1"
    with pytest.raises(NoRate, match="no rate table covers 2025-07-12") as refusal:
        built_in().on(date(2025, 7, 12))
    assert refusal.value.hint == "The first begins on 2025-07-13"


def test_a_later_table_takes_over_on_its_day_whatever_the_order_of_the_files() -> None:
    old, new = table("old", date(2026, 1, 1), 740), table("new", date(2026, 7, 12), 780)
    for book in (RateBook([old, new]), RateBook([new, old])):
        assert book.first is old
        assert book.on(date(2026, 7, 11)).postage("letter", 100) == 740
        assert book.on(date(2026, 7, 12)).postage("letter", 100) == 780


def test_two_tables_of_one_day_are_refused_since_nobody_could_say_which_holds() -> None:
    with pytest.raises(UsageError, match="rate tables a and b both begin on 2025-07-13"):
        RateBook([table("a"), table("b", price=780)])


def test_a_book_without_a_table_is_refused() -> None:
    with pytest.raises(UsageError, match="no rate table"):
        RateBook([])


# --- files -----------------------------------------------------------------------------------------------------------

GOOD = """\
version = "2026-07-12.1"
effective = 2026-07-12
[[category]]
name = "letter"
title = "LETTER"
domestic = true
steps = [[100, 780], [200, 1080]]
"""
BAD = {
    "no version": ('version = "2026-07-12.1"', "", "the table needs version"),
    "a version that is a number": ('"2026-07-12.1"', "2", "the table needs version, a TOML string"),
    "an empty version": ('"2026-07-12.1"', '""', "the table needs version"),
    "no date": ("effective = 2026-07-12", "", "the table needs effective, a TOML date"),
    "a date in quotation marks": ("2026-07-12\n", '"2026-07-12"\n', "the table needs effective, a TOML date"),
    "a date with a time": ("2026-07-12\n", "2026-07-12T00:00:00\n", "the table needs effective, a TOML date"),
    "a date that does not exist": ("2026-07-12\n", "2026-02-30\n", "not a rate table"),
    "no category": ("[[category]]", "[[categories]]", "the table needs category"),
    "a category that is a number": (GOOD[GOOD.index("[[") :], "category = [1]", "category 1 is not a table"),
    "no name": ('name = "letter"', "", "category 1 needs name"),
    "no title": ('title = "LETTER"', "", "category 1 needs title"),
    "domestic in quotation marks": ("true", '"false"', "category 1 needs domestic, a TOML boolean"),
    "no steps": ("steps = [[100, 780], [200, 1080]]", "", "category 1 needs steps"),
    "empty steps": ("[[100, 780], [200, 1080]]", "[]", "category 1 needs steps"),
    "a price with half a mill": ("780", "780.5", "whole numbers"),
    "a price in quotation marks": ("780", '"780"', "whole numbers"),
    "a price of nothing": ("780", "0", "above 0 each"),
    "a negative price": ("780", "-780", "above 0 each"),
    "a weight of nothing": ("100,", "0,", "rising weights above 0"),
    "a weight that is a truth": ("100,", "true,", "whole numbers"),
    "weights that fall": ("200", "50", "rising weights"),
    "a weight twice": ("200", "100", "rising weights"),
    "a step of three": ("100, 780", "100, 780, 1", "pairs"),
    "a step that is no pair": ("[100, 780]", "100", "pairs"),
    "a class twice": (GOOD[GOOD.index("[[") :], GOOD[GOOD.index("[[") :] * 2, "category letter stands twice"),
    "no TOML": ("=", ":", "not a rate table"),
}


def test_a_file_of_ones_own_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(GOOD)
    assert load_file(tmp_path / "r.toml") == RateTable(
        "2026-07-12.1", date(2026, 7, 12), {"letter": Category("letter", "LETTER", True, ((100, 780), (200, 1080)))}
    )


@pytest.mark.parametrize(("old", "new", "says"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_with_its_name_and_what_is_wrong(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "r.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError) as refusal:
        load_file(path)
    assert str(path) in refusal.value.message
    assert says in refusal.value.message
    assert "\n" not in refusal.value.message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read: No such file"):
        load_file(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'version = "\xe9"')
    with pytest.raises(UsageError, match=r"latin\.toml: not a rate table: 'utf-8' codec"):
        load_file(tmp_path / "latin.toml")


def test_a_file_that_is_huge_or_nested_without_end_is_no_rate_table(tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("a=" + "[" * 100_000)
    with pytest.raises(UsageError, match=r"deep\.toml: not a rate table: "):
        load_file(tmp_path / "deep.toml")
    with (tmp_path / "huge.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match=r"huge\.toml: not a rate table: more than 1048576 bytes"):
        load_file(tmp_path / "huge.toml")


def test_all_files_that_come_along_are_good() -> None:
    files = sorted((Path(rates.__file__).parent / "rates").iterdir())
    assert [path.suffix for path in files] == [".toml"] * len(files) != []
    assert [load_file(path).effective.isoformat() for path in files] == [path.stem for path in files]


@pytest.mark.parametrize(("weight", "text"), [(0, "0.00"), (1, "0.01"), (99, "0.99"), (100, "1.00"), (65535, "655.35")])
def test_weights_are_shown_in_ounces(weight: int, text: str) -> None:
    assert ounces(weight) == text
