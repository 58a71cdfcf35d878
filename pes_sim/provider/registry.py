"""What the provider knows of each PSD: a row a device. Every call works inside the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pes_sim.errors import NotForThisDevice
from pes_sim.provider.recoveries import Ordered, Recoveries, Settled
from pes_sim.psd.fields import Values
from pes_sim.psd.registers import REGISTERS

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

_RISING: Final = tuple(name for name in REGISTERS if name != "descending_mills")


@dataclass(frozen=True, slots=True)
class Registered:
    """One PSD. Its registers are those that it last reported and that could be true; never what was only ordered.

    `granted_mills`: all refills that were granted, less those that were cancelled. `suspicion`: what was wrong with a
    message of it, until it is unlocked; empty for a device whose books agree. `last_report`: the mark of the last
    check-in that was accepted (`checkin.report_mark`); empty for none. `ordered`: the newest recovery; `settled`: how
    its postage was settled without it.
    """

    psd_serial: int
    customer: str
    certificate_serial: int
    certificate: bytes
    public_point: bytes
    message_point: bytes
    licensing_zip: str
    message_number: int
    granted_mills: int
    ascending_mills: int
    descending_mills: int
    control_sum_mills: int
    piece_count: int
    zero_piece_count: int
    suspicion: str
    withdrawn: int
    log_sequence: int
    last_report: bytes
    last_contact: int
    ordered: Ordered | None = None
    settled: Settled | None = None

    @property
    def registers(self) -> Values:
        """By field name."""
        return {name: getattr(self, name) for name in REGISTERS}

    @property
    def waits(self) -> bool:
        """Whether a recovery was ordered by which it has not reported yet."""
        return self.ordered is not None and self.message_number <= self.ordered.newest_number

    def is_from_before(self, message_number: int) -> bool:
        """Whether a message of that number was signed before the recovery that was ordered, or by another image."""
        return self.ordered is not None and message_number <= self.ordered.newest_number

    @property
    def least(self) -> Values:
        """The registers that it must have got to if it has carried out the recovery."""
        if self.ordered is None or all(getattr(self, name) >= getattr(self.ordered, name) for name in _RISING):
            return self.registers
        return self.ordered.registers


class Registry:
    """The table of PSDs."""

    def __init__(self, metadata: MetaData) -> None:
        self._meter = metadata.tables["meter"]
        self.recoveries = Recoveries(metadata)

    def find(self, connection: Connection, psd_serial: int) -> Registered | None:
        """The device, or None for one that is not registered here."""
        row = connection.execute(self._meter.select().where(self._meter.c.psd_serial == psd_serial)).one_or_none()
        if row is None:
            return None
        ordered = self.recoveries.newest(connection, psd_serial)
        return Registered(**row._mapping, ordered=ordered, settled=self.recoveries.settled(connection, psd_serial))

    def get(self, connection: Connection, psd_serial: int) -> Registered:
        """The device. Raises `NotForThisDevice`."""
        found = self.find(connection, psd_serial)
        if found is None:
            raise NotForThisDevice(f"PSD {psd_serial} is not registered with this provider")
        return found

    def add(self, connection: Connection, psd_serial: int, **values: object) -> None:
        """Registers one."""
        connection.execute(self._meter.insert().values(psd_serial=psd_serial, **values))

    def update(self, connection: Connection, psd_serial: int, **values: object) -> None:
        """Notes what is new of it."""
        connection.execute(self._meter.update().where(self._meter.c.psd_serial == psd_serial).values(**values))

    def newest_certificate(self, connection: Connection) -> int:
        """The highest certificate number that was given out; 0 for none."""
        from sqlalchemy import func, select

        return int(connection.execute(select(func.max(self._meter.c.certificate_serial))).scalar() or 0)
