"""The data centre's services: authorize a PSD, grant a refill, acknowledge a check-in. Signed bytes in and out.

* Every answer is committed before it is given, under the request's nonce: the same request gets the same answer, and a
  refill is debited once.
* A PSD's registers must agree with what was granted and reported before. An older image put back shows here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pes_sim.clock import Clock
from pes_sim.entropy import Entropy
from pes_sim.errors import (
    BadMessage,
    FieldError,
    NotForThisDevice,
    RefusedByProvider,
    RegistersDisagree,
    StaleMessage,
    StorageFailed,
)
from pes_sim.money import dollars
from pes_sim.provider.ledger import Ledger
from pes_sim.provider.pki import Pki
from pes_sim.provider.store import open_engine
from pes_sim.psd import messages

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from pes_sim.psd.fields import Values


class DataCentre:
    """The provider, embedded: a directory with its keys and its database, and the shared clock."""

    def __init__(self, directory: Path, *, clock: Clock, entropy: Entropy) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StorageFailed(f"{directory} cannot be used: {problem.strerror}") from None
        self._clock = clock
        self._entropy = entropy
        self._database = directory / "provider.sqlite"
        # Once there is a database, the keys have been used: new ones would make every meter's messages worthless.
        self._pki = Pki(directory, entropy, clock.now(), may_make=not self._database.exists())
        self._engine, metadata = open_engine(self._database)
        self._ledger = Ledger(metadata)
        self._meter = metadata.tables["meter"]
        self._answer = metadata.tables["answer"]

    @property
    def trust_anchor(self) -> bytes:
        """The test CA's certificate, DER."""
        return self._pki.ca.certificate

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()

    def deposit(self, customer: str, amount: int) -> None:
        """Puts money on a customer's account, opening it where there is none."""
        with self._transaction() as connection:
            self._ledger.open(connection, customer)
            self._ledger.deposit(connection, customer, amount, self._clock.now())

    def balance(self, customer: str) -> int:
        """What a customer has on deposit, in mills."""
        with self._transaction() as connection:
            return self._ledger.balance(connection, customer)

    def authorize(
        self,
        *,
        psd_serial: int,
        public_key: bytes,
        nonce: bytes,
        licensing_zip: str,
        customer: str,
        utc_offset_minutes: int = 0,
    ) -> bytes:
        """Registers a PSD and gives the signed authorization for it. A serial number is registered once."""
        if not (len(licensing_zip) == 5 and licensing_zip.isascii() and licensing_zip.isdigit()):
            raise FieldError(f"licensing ZIP {licensing_zip!r} must be 5 digits", hint="For example 20260")
        now = self._clock.now()
        with self._transaction() as connection:
            if self._find(connection, psd_serial) is not None:
                raise RefusedByProvider(f"PSD {psd_serial} is registered already", hint="Give it another serial number")
            number = self._new_certificate_serial(connection)
            certificate = self._pki.issue_psd(public_key, psd_serial, number, now)
            self._ledger.open(connection, customer)
            connection.execute(
                self._meter.insert().values(
                    psd_serial=psd_serial, customer=customer, certificate_serial=number, certificate=certificate,
                    public_point=public_key, licensing_zip=licensing_zip, last_contact=now,
                )
            )  # fmt: skip
        values = {
            "psd_serial": psd_serial,
            "nonce": nonce,
            "licensing_zip": licensing_zip,
            "customer": customer,
            "utc_offset_minutes": utc_offset_minutes,
            "psd_certificate": certificate,
            "provider_certificate": self._pki.provider.certificate,
        }
        return messages.sign("authorization", values, self._pki.provider.sign)

    def refill(self, request: bytes) -> bytes:
        """A grant for a signed refill request, or a signed refusal that clears it."""
        return self._answer_once(request, "refill_request", self._decide_refill)

    def check_in(self, report: bytes) -> bytes:
        """The receipt for a signed check-in report."""
        return self._answer_once(report, "checkin_report", self._take_report)

    def _answer_once(
        self, request: bytes, kind: str, decide: Callable[[Connection, Row[Any], Values], tuple[str, Values]]
    ) -> bytes:
        _, claimed = messages.peek(request, kind)
        with self._transaction() as connection:
            meter = self._find(connection, claimed["psd_serial"])
            if meter is None:
                raise NotForThisDevice(f"PSD {claimed['psd_serial']} is not registered with this provider")
            _, values = messages.open_signed(request, meter.public_point, kind)
            key = (self._answer.c.psd_serial == meter.psd_serial) & (self._answer.c.nonce == values["nonce"])
            known = connection.execute(self._answer.select().where(key)).one_or_none()
            if known is not None:
                if known.request != request:
                    raise BadMessage("this nonce was used for another message")
                return bytes(known.reply)
            if values["message_number"] <= meter.message_number:
                name, fields = self._refuse_late(meter, values)
            else:
                self._check_registers(meter, values)
                name, fields = decide(connection, meter, values)
                self._note_contact(connection, meter, values)
            common = {"psd_serial": meter.psd_serial, "nonce": values["nonce"]}
            reply = messages.sign(name, common | fields, self._pki.provider.sign)
            connection.execute(
                self._answer.insert().values(
                    psd_serial=meter.psd_serial, nonce=values["nonce"], request=request, reply=reply
                )
            )
        return reply

    def _note_contact(self, connection: Connection, meter: Row[Any], values: Values) -> None:
        connection.execute(
            self._meter.update()
            .where(self._meter.c.psd_serial == meter.psd_serial)
            .values(
                message_number=values["message_number"],
                ascending_mills=values["ascending_mills"],
                piece_count=values["piece_count"],
                last_contact=self._clock.now(),
            )
        )

    def _refuse_late(self, meter: Row[Any], values: Values) -> tuple[str, Values]:
        late = f"message {values['message_number']} of PSD {meter.psd_serial} comes after {meter.message_number}"
        if "amount_mills" in values:
            # A refill that a check-in overtook: without this answer it would stay pending, and none could follow it.
            return "refill_refusal", {"reason": f"{late}. Begin the refill again"}
        raise StaleMessage(late, hint="Late or replayed; or an older image of the device was put back")

    def _decide_refill(self, connection: Connection, meter: Row[Any], values: Values) -> tuple[str, Values]:
        amount = values["amount_mills"]
        try:
            self._ledger.withdraw_for_refill(connection, meter.customer, amount, self._clock.now(), meter.psd_serial)
        except RefusedByProvider as refusal:
            return "refill_refusal", {"reason": str(refusal)[:200]}
        connection.execute(
            self._meter.update()
            .where(self._meter.c.psd_serial == meter.psd_serial)
            .values(granted_mills=meter.granted_mills + amount)
        )
        return "refill_grant", {"amount_mills": amount}

    def _take_report(self, connection: Connection, meter: Row[Any], values: Values) -> tuple[str, Values]:
        connection.execute(
            self._meter.update()
            .where(self._meter.c.psd_serial == meter.psd_serial)
            .values(log_sequence=values["log_sequence"])
        )
        return "checkin_receipt", {"acknowledged": values["log_sequence"]}

    def _check_registers(self, meter: Row[Any], values: Values) -> None:
        rules = (
            ("AR + DR is not the control sum",
             values["ascending_mills"] + values["descending_mills"] == values["control_sum_mills"]),
            ("the ascending register fell", values["ascending_mills"] >= meter.ascending_mills),
            ("the piece count fell", values["piece_count"] >= meter.piece_count),
            (f"the control sum is {dollars(values['control_sum_mills'])}, refills come to "
             f"{dollars(meter.granted_mills)}", self._control_sum_fits(meter, values)),
        )  # fmt: skip
        for complaint, holds in rules:
            if not holds:
                hint = "The device may have been rolled back; look at both logs"
                raise RegistersDisagree(f"PSD {meter.psd_serial}: {complaint}", hint=hint)

    @staticmethod
    def _control_sum_fits(meter: Row[Any], values: Values) -> bool:
        # A check-in may come while a grant is still on its way to the PSD; a refill request may not (one at a time).
        if "amount_mills" in values:
            return bool(values["control_sum_mills"] == meter.granted_mills)
        return bool(values["control_sum_mills"] <= meter.granted_mills)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Commits at its end; an error in it changes nothing. The database's errors become `StorageFailed`."""
        from sqlalchemy.exc import DatabaseError

        try:
            with self._engine.begin() as connection:
                yield connection
        except DatabaseError as problem:
            hint = "Nothing was booked; try again when the file can be written"
            raise StorageFailed(f"{self._database}: {problem.orig}", hint=hint) from None

    def _find(self, connection: Connection, psd_serial: int) -> Row[Any] | None:
        return connection.execute(self._meter.select().where(self._meter.c.psd_serial == psd_serial)).one_or_none()

    def _new_certificate_serial(self, connection: Connection) -> int:
        from sqlalchemy import func, select

        newest = connection.execute(select(func.max(self._meter.c.certificate_serial))).scalar()
        # Four bytes in the indicium: drawn at random for the first one, then rising.
        return int(newest or 1000 + int.from_bytes(self._entropy(3), "big")) + 1
