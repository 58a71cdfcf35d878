"""What the provider ordered of a PSD that lost its registers, and how it settled one that cannot come back.

Kept apart from what a PSD reported: an order is somebody's word, and binds nobody before the PSD has reported by it.
Every call works inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pes_sim.psd.fields import Values
from pes_sim.psd.registers import REGISTERS

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData


@dataclass(frozen=True, slots=True)
class Ordered:
    """The newest recovery that was ordered of a PSD: with these registers it was to go on, if it ever got the order.

    A message numbered up to `newest_number` is from before, or of an older image: whoever obeyed counts on from there.
    """

    newest_number: int
    log_sequence: int
    ascending_mills: int
    descending_mills: int
    control_sum_mills: int
    piece_count: int
    zero_piece_count: int

    @property
    def registers(self) -> Values:
        """By field name."""
        return {name: getattr(self, name) for name in REGISTERS}


@dataclass(frozen=True, slots=True)
class Settled:
    """How a PSD that cannot come back was settled: what it printed, and what was paid back. Amounts in mills."""

    ascending_mills: int
    piece_count: int
    zero_piece_count: int
    amount_mills: int


class Recoveries:
    """The tables of both."""

    def __init__(self, metadata: MetaData) -> None:
        self._recovery = metadata.tables["recovery"]
        self._settlement = metadata.tables["settlement"]

    def newest(self, connection: Connection, psd_serial: int) -> Ordered | None:
        """The newest order; None where there was none."""
        from sqlalchemy import select

        columns = [self._recovery.c[name] for name in Ordered.__slots__]
        of_it = select(*columns).where(self._recovery.c.psd_serial == psd_serial)
        row = connection.execute(of_it.order_by(self._recovery.c.newest_number.desc()).limit(1)).one_or_none()
        return None if row is None else Ordered(**row._mapping)

    def add(self, connection: Connection, psd_serial: int, ordered: Ordered, time: int) -> None:
        """Notes an order. Those before it stay in the table: somebody may ask who said what."""
        values = {name: getattr(ordered, name) for name in Ordered.__slots__}
        connection.execute(self._recovery.insert().values(psd_serial=psd_serial, time=time, **values))

    def forget(self, connection: Connection, psd_serial: int) -> None:
        """For a device that somebody has looked at: its own statement counts, and no order is waited for any more."""
        connection.execute(self._recovery.delete().where(self._recovery.c.psd_serial == psd_serial))

    def settled(self, connection: Connection, psd_serial: int) -> Settled | None:
        """How it was settled; None where it was not."""
        from sqlalchemy import select

        columns = [self._settlement.c[name] for name in Settled.__slots__]
        row = connection.execute(select(*columns).where(self._settlement.c.psd_serial == psd_serial)).one_or_none()
        return None if row is None else Settled(**row._mapping)

    def settle(self, connection: Connection, psd_serial: int, settled: Settled, time: int) -> None:
        """Notes a settlement. There is one for a device."""
        values = {name: getattr(settled, name) for name in Settled.__slots__}
        connection.execute(self._settlement.insert().values(psd_serial=psd_serial, time=time, **values))
