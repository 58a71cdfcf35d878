"""The ledger: deposits in, refills out, to the mill, and never below zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from pes_sim.errors import MoneyError, RefusedByProvider
from pes_sim.money import MAX_MILLS
from pes_sim.provider.ledger import Ledger
from pes_sim.provider.store import open_engine


@dataclass
class Books:
    ledger: Ledger
    connection: Connection

    def balance(self, customer: str = "A") -> int:
        return self.ledger.balance(self.connection, customer)

    def deposit(self, amount: int, customer: str = "A") -> None:
        self.ledger.deposit(self.connection, customer, amount, 0)

    def refill(self, amount: int, customer: str = "A") -> None:
        self.ledger.withdraw_for_refill(self.connection, customer, amount, 0, 1234567)

    def entries(self) -> list[tuple[str, int, str]]:
        entry = self.ledger._entry
        columns = entry.c.customer, entry.c.amount_mills, entry.c.what
        return [tuple(row) for row in self.connection.execute(entry.select().with_only_columns(*columns))]


@pytest.fixture
def books() -> Iterator[Books]:
    engine, metadata = open_engine(None)
    ledger = Ledger(metadata)
    with engine.begin() as connection:
        for customer in ("A", "B"):
            ledger.open(connection, customer)
        yield Books(ledger, connection)
    engine.dispose()


def test_an_account_begins_with_nothing(books: Books) -> None:
    assert books.balance() == 0
    assert books.balance("nobody") == 0


def test_a_balance_is_the_sum_of_what_came_in_and_went_out(books: Books) -> None:
    books.deposit(10_000)
    books.deposit(1)
    books.refill(9_999)
    assert books.balance() == 2
    assert books.entries() == [("A", 10_000, "deposit"), ("A", 1, "deposit"), ("A", -9_999, "refill of PSD 1234567")]


def test_a_refill_may_take_the_last_mill_and_not_one_more(books: Books) -> None:
    books.deposit(1_000)
    with pytest.raises(RefusedByProvider) as refusal:
        books.refill(1_001)
    assert refusal.value.message == "account A holds $1.00, $0.001 less than the refill"
    assert refusal.value.hint == "Deposit funds with the provider first"
    assert refusal.value.detail == {"missing_mills": 1}
    books.refill(1_000)
    assert books.balance() == 0
    with pytest.raises(RefusedByProvider):
        books.refill(1)
    assert books.balance() == 0


def test_customers_do_not_pay_for_each_other(books: Books) -> None:
    books.deposit(1_000, "B")
    with pytest.raises(RefusedByProvider):
        books.refill(1, "A")
    books.refill(1, "B")
    assert (books.balance("A"), books.balance("B")) == (0, 999)


def test_opening_an_account_again_changes_nothing(books: Books) -> None:
    books.deposit(1_000)
    books.ledger.open(books.connection, "A")
    assert books.balance() == 1_000


@pytest.mark.parametrize("amount", [0, -1, -10_000, MAX_MILLS + 1, 1.0, 0.5, True, "100", None])
def test_a_deposit_that_is_no_amount_is_refused(books: Books, amount: object) -> None:
    with pytest.raises(MoneyError):
        books.deposit(amount)  # type: ignore[arg-type]
    assert books.entries() == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("AB"), st.booleans(), st.integers(1, 5_000)), max_size=30))
def test_any_sequence_leaves_what_plain_arithmetic_leaves(steps: list[tuple[str, bool, int]]) -> None:
    engine, metadata = open_engine(None)
    ledger, plain = Ledger(metadata), {"A": 0, "B": 0}
    with engine.begin() as connection:
        books = Books(ledger, connection)
        for customer in plain:
            ledger.open(connection, customer)
        for customer, is_deposit, amount in steps:
            if is_deposit:
                books.deposit(amount, customer)
                plain[customer] += amount
            elif amount <= plain[customer]:
                books.refill(amount, customer)
                plain[customer] -= amount
            else:
                with pytest.raises(RefusedByProvider):
                    books.refill(amount, customer)
            assert {name: books.balance(name) for name in plain} == plain
    engine.dispose()
