"""What was answered to which message: a row a nonce. Every call works inside the caller's transaction.

The table is why a message counts once: whoever repeats it gets the bytes that it got before.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, MetaData


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer under the nonce and number of what it answers. `request` is empty where that has not arrived yet.

    A grant names the account that paid for it, and how much: a cancelled refill goes back there.
    """

    psd_serial: int
    nonce: bytes
    message_number: int
    request: bytes
    kind: str
    reply: bytes
    paid_by: str = ""
    amount_mills: int = 0


class Answers:
    """The table of answers."""

    def __init__(self, metadata: MetaData) -> None:
        self._answer = metadata.tables["answer"]

    def find(self, connection: Connection, psd_serial: int, nonce: bytes) -> Answer | None:
        """What the message of this nonce was answered."""
        row = connection.execute(self._answer.select().where(self._key(psd_serial, nonce))).one_or_none()
        return None if row is None else Answer(**row._mapping)

    def has_number(self, connection: Connection, psd_serial: int, message_number: int) -> bool:
        """Whether a message of this number was answered: a device never gives two messages the same one."""
        wanted = (self._answer.c.psd_serial == psd_serial) & (self._answer.c.message_number == message_number)
        return connection.execute(self._answer.select().where(wanted).limit(1)).first() is not None

    def keep(self, connection: Connection, answer: Answer) -> None:
        """Remembers an answer, in place of another one to the same message."""
        connection.execute(self._answer.delete().where(self._key(answer.psd_serial, answer.nonce)))
        connection.execute(self._answer.insert().values(**asdict(answer)))

    def forget_numbers_after(self, connection: Connection, psd_serial: int, message_number: int) -> None:
        """For a device that counts again from an earlier number. The answers themselves stay."""
        later = (self._answer.c.psd_serial == psd_serial) & (self._answer.c.message_number > message_number)
        connection.execute(self._answer.update().where(later).values(message_number=0))

    def _key(self, psd_serial: int, nonce: bytes) -> ColumnElement[bool]:
        return (self._answer.c.psd_serial == psd_serial) & (self._answer.c.nonce == nonce)
