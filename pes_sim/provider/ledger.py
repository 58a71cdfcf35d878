"""Customers' money with the provider: deposits come in, refills go out, and no balance falls below zero.

A balance is the sum of an account's entries; nothing else holds it, so nothing can disagree with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pes_sim.errors import MoneyError, RefusedByProvider
from pes_sim.money import dollars, mills

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData


class Ledger:
    """Accounts and their entries. Every call works inside the caller's transaction."""

    def __init__(self, metadata: MetaData) -> None:
        self._account = metadata.tables["account"]
        self._entry = metadata.tables["entry"]

    def open(self, connection: Connection, customer: str) -> None:
        """Opens an account unless there is one."""
        from sqlalchemy.dialects.sqlite import insert

        connection.execute(insert(self._account).values(customer=customer).on_conflict_do_nothing())

    def balance(self, connection: Connection, customer: str) -> int:
        """In mills."""
        from sqlalchemy import func, select

        total = select(func.coalesce(func.sum(self._entry.c.amount_mills), 0)).where(self._entry.c.customer == customer)
        return int(connection.execute(total).scalar_one())

    def deposit(self, connection: Connection, customer: str, amount: int, time: int) -> None:
        """Adds money (39 CFR 501.15: a customer has funds on deposit before a reset). Raises `MoneyError`."""
        if mills(amount) == 0:
            raise MoneyError("a deposit of nothing is no deposit")
        self._add(connection, customer, amount, time, "deposit")

    def withdraw_for_refill(self, connection: Connection, customer: str, amount: int, time: int, psd: int) -> None:
        """Takes a refill's amount. Raises `RefusedByProvider` when the balance is below it."""
        available = self.balance(connection, customer)
        if available < amount:
            raise RefusedByProvider(
                f"account {customer} holds {dollars(available)}, {dollars(amount - available)} less than the refill",
                hint="Deposit funds with the provider first",
                missing_mills=amount - available,
            )
        self._add(connection, customer, -amount, time, f"refill of PSD {psd}")

    def pay_back(self, connection: Connection, customer: str, amount: int, time: int, what: str) -> None:
        """Puts back what a PSD did not take, or gave back."""
        if amount:
            self._add(connection, customer, amount, time, what)

    def _add(self, connection: Connection, customer: str, amount: int, time: int, what: str) -> None:
        connection.execute(self._entry.insert().values(customer=customer, time=time, amount_mills=amount, what=what))
