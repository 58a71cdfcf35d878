"""The data centre's services to PSDs: licence, refills, check-ins, withdrawal, orders. Signed bytes in and out.

* Every answer is committed before it is given, under the request's nonce: the same request gets the same answer, and a
  refill is debited once.
* A PSD's registers must agree with what was granted and reported before (`judgement`). One whose registers do not is
  told to lock itself, and is given no money until somebody has looked at both logs and unlocks it.
* A message that comes late is refused, and says nothing against its device.
* A recovery is an order, not a report: it changes nothing that is known of the device, until a message comes that only
  who obeyed can have signed. What was signed before the order gets no money and no receipt any more.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pes_sim.clock import Clock
from pes_sim.entropy import Entropy
from pes_sim.errors import BadMessage, FieldError, RefusedByProvider, StaleMessage, StorageFailed
from pes_sim.money import dollars
from pes_sim.provider import mackeys
from pes_sim.provider.answers import Answer
from pes_sim.provider.books import OnBooks
from pes_sim.provider.decisions import Decide, Decision, told
from pes_sim.provider.judgement import BOOKS, possible
from pes_sim.provider.pki import Pki
from pes_sim.provider.recoveries import Ordered, Settled
from pes_sim.provider.registry import Registered
from pes_sim.psd import inbox, locks, messages
from pes_sim.psd.fields import Values, check_all, fields
from pes_sim.psd.keys import Slot, wrap_secret
from pes_sim.psd.manufacture import check_zip
from pes_sim.psd.owned import OwnDirectory
from pes_sim.psd.registers import REGISTER_FIELDS, REGISTERS
from pes_sim.psd.roles import Role

if TYPE_CHECKING:
    from sqlalchemy import Connection

ORDERS: Final = tuple(
    kind
    for order in inbox.ORDERS.values()
    if order.waiting is None and not order.sets_registers
    for kind in order.kinds
)
"""The orders to a device in service: each over a challenge of its own. A grant, say, answers a request and is none."""
NUMBERS_BEYOND: Final = 1 << 32
"""Message numbers that a recovered device skips: what it sent before, and what nobody has seen, then comes late."""
RECORDS_BEYOND: Final = 1 << 20
"""Numbers of the log that it skips at least: more than a device dispenses without an acknowledgement."""
_REGISTERS: Final = fields(REGISTER_FIELDS)


class DataCentre(OnBooks):
    """The provider, embedded: a directory with its keys and its database, and the shared clock."""

    def __init__(self, directory: Path, *, clock: Clock, entropy: Entropy) -> None:
        try:
            OwnDirectory(directory, make=True).close()
        except OSError as problem:
            raise StorageFailed(f"{directory} cannot be used: {problem.strerror}") from None
        self._clock = clock
        self._entropy = entropy
        self._directory = directory
        super().__init__(directory / "provider.sqlite")
        # Once there is a database, the keys have been used: new ones would make every meter's messages worthless.
        self._pki = Pki(directory, entropy, clock.now(), may_make=not self._database.exists())
        self._check_books()

    @property
    def trust_anchor(self) -> bytes:
        """The test CA's certificate, DER."""
        return self._pki.ca.certificate

    # Accounts and licences

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
        message_key: bytes,
        nonce: bytes,
        licensing_zip: str,
        customer: str,
        utc_offset_minutes: int = 0,
    ) -> bytes:
        """Registers a PSD and gives the signed authorization for it. A serial number is registered once."""
        check_zip(licensing_zip)
        self._pki.check_point(message_key)
        now = self._clock.now()
        with self._transaction() as connection:
            if self._registry.find(connection, psd_serial) is not None:
                raise RefusedByProvider(f"PSD {psd_serial} is registered already", hint="Give it another serial number")
            # Four bytes in the indicium: drawn at random for the first one, then rising.
            newest = self._registry.newest_certificate(connection)
            number = (newest or 1000 + int.from_bytes(self._entropy(3), "big")) + 1
            certificate = self._pki.issue_psd(public_key, psd_serial, number, now)
            self._ledger.open(connection, customer)
            self._registry.add(
                connection, psd_serial, customer=customer, certificate_serial=number, certificate=certificate,
                public_point=public_key, message_point=message_key, licensing_zip=licensing_zip, last_contact=now,
            )  # fmt: skip
            asked = {"psd_serial": psd_serial, "nonce": nonce, "message_number": 0} | dict.fromkeys(REGISTERS, 0)
            return self._sign(
                "authorization", asked, licensing_zip=licensing_zip, customer=customer,
                utc_offset_minutes=utc_offset_minutes, psd_certificate=certificate,
                provider_certificate=self._pki.provider.certificate,
            )  # fmt: skip

    # Answers to a PSD

    def refill(self, request: bytes) -> bytes:
        """A grant for a signed refill request, or a signed refusal that clears it."""
        return self._answer_once(request, "refill_request", self._decider.refill)

    def check_in(self, report: bytes) -> bytes:
        """The receipt for a signed check-in report; or a refusal, which locks a device whose registers are wrong."""
        return self._answer_once(report, "checkin_report", self._decider.check_in)

    def withdraw(self, request: bytes) -> bytes:
        """A grant for a signed withdrawal request: what the PSD still holds goes back on the customer's account."""
        return self._answer_once(request, "withdrawal_request", self._decider.withdrawal)

    def cancel_refill(self, cancellation: bytes) -> bytes:
        """The refusal that ends a refill which the PSD has promised not to accept; a grant of it is taken back."""
        with self._transaction() as connection:
            psd, values = self._open(connection, cancellation, "refill_cancellation")
            known = self._answers.find(connection, psd.psd_serial, values["nonce"])
            if known is not None and known.kind == "refill_refusal":
                return known.reply
            if known is not None and known.kind != "refill_grant":
                raise BadMessage("this nonce was used for another message")
            if (over := self._decider.over(psd, values, "refill_cancellation")) is not None:
                return self._sign(over.kind, values, **over.fields)
            decision = self._decider.cancellation(connection, psd, values, self._clock.now(), known)
            # Kept also where the request has not arrived: it may still come, and must then find the refusal.
            return self._give(connection, values, known.request if known else b"", decision, values)

    # Orders to a PSD

    def order(self, kind: str, psd_serial: int, challenge: Values, **fields: object) -> bytes:
        """A signed order of one of the `ORDERS` over a challenge of the PSD (the answer of its service).

        A reauthorization moves the device to the new customer's account. Unlocking it for its registers ends the
        provider's own suspicion too. Raises `FieldError` or `BadMessage` for an order that no device would obey.
        """
        if kind not in ORDERS:
            raise FieldError(f"{kind!r} is no order", hint=f"Known: {', '.join(ORDERS)}")
        with self._transaction() as connection:
            psd = self._registry.get(connection, psd_serial)
            if psd.withdrawn and kind != "lock_order":
                hint = "Only an older image of it that was put back can be locked"
                raise RefusedByProvider(f"PSD {psd_serial} was withdrawn from service", hint=hint)
            answered = {name: challenge[name] for name in ("nonce", "message_number")}
            behind = psd.ordered is not None and challenge["message_number"] < psd.ordered.newest_number
            if behind and kind != "lock_order":
                raise RefusedByProvider(
                    f"PSD {psd_serial} has not carried out the recovery that was ordered: an older image, or it was "
                    "never given the order",
                    hint="Recover it again first: pes-sim meter recover DIR",
                )
            told = psd.registers if behind else psd.least
            message = self._sign(kind, {"psd_serial": psd_serial} | answered | told, **fields)
            _, said = messages.peek(message, kind)
            if "lock_reasons" in said:
                reasons = locks.ordered(said["lock_reasons"], some=kind == "lock_order")
                if kind == "unlock_order" and BOOKS & set(reasons):
                    self._registry.update(connection, psd_serial, suspicion="")
            if kind == "reauthorization":
                check_zip(said["licensing_zip"])
                self._ledger.open(connection, said["customer"])
                moved = {name: said[name] for name in ("licensing_zip", "customer")}
                self._registry.update(connection, psd_serial, **moved)
            return message

    def new_mac_key(self, psd_serial: int, challenge: Values, transport_key: bytes) -> bytes:
        """The order that loads a new key for the MACs of a PSD's indicia, wrapped under its transport key."""
        key = self._entropy(mackeys.KEY_LENGTH)
        mackeys.remember(self._directory, psd_serial, key)  # before it can be used: what it makes is to be checked
        wrapped = wrap_secret(Slot.MAC, transport_key, key)
        return self.order("key_load", psd_serial, challenge, slot=Slot.MAC.value, wrapped_secret=wrapped)

    def login(self, psd_serial: int, challenge: Values) -> bytes:
        """The proof by which the provider itself opens a session with a PSD."""
        with self._transaction() as connection:
            self._registry.get(connection, psd_serial)
        values = {
            "psd_serial": psd_serial,
            "nonce": challenge["nonce"],
            "role": Role.PROVIDER.value,
            "certificate": self._pki.provider.certificate,
        }
        return messages.sign("login", values, self._pki.provider.sign)

    def reconcile(self, statement: bytes, nonce: bytes) -> None:
        """Takes the registers of a PSD as it states them, once somebody has looked at both logs; then unlock it.

        `statement` is the answer of its service "audit" over `nonce`, which the caller drew for it. No account is
        touched: what a rollback has lost, or hidden, is for people to settle. Raises `RefusedByProvider` for a device
        that has something under way, `StaleMessage` for a statement over another nonce.
        """
        with self._transaction() as connection:
            psd, values = self._open(connection, statement, "audit_report")
            if values["nonce"] != nonce:
                raise StaleMessage("the statement is over another nonce", hint="Let the device be audited again")
            if psd.withdrawn:
                raise RefusedByProvider(f"PSD {psd.psd_serial} was withdrawn from service")
            if values["sub_state"]:
                raise RefusedByProvider(
                    f"PSD {psd.psd_serial} has something under way: {values['sub_state']}",
                    hint="Complete or cancel it first",
                )
            if values["ascending_mills"] + values["descending_mills"] != values["control_sum_mills"]:
                raise RefusedByProvider("AR + DR is not the control sum", hint="Such a device never serves again")
            seen = {name: values[name] for name in ("message_number", "log_sequence", *REGISTERS)}
            granted = values["control_sum_mills"]
            self._registry.update(connection, psd.psd_serial, granted_mills=granted, last_report=b"", **seen)
            self._registry.recoveries.forget(connection, psd.psd_serial)
            self._answers.forget_numbers_after(connection, psd.psd_serial, values["message_number"])

    def recover(
        self, psd_serial: int, challenge: Values, *, ascending_mills: int, piece_count: int, zero_piece_count: int
    ) -> bytes:
        """The order by which a PSD goes on that has lost its registers, over a challenge of it. Then unlock it.

        What it printed is for the caller to establish: registers that are too low give postage away (though the device
        takes none below its own), and ones that are too high take it. What is left follows: all that was granted, less
        what was printed. A refill under way counts as had, since its grant was booked; no message that was signed
        before is answered with money, or a receipt, any more. An order that never arrives, or that the device refuses,
        binds nobody: another one may be lower. Until one is carried out the device gets nothing from here.

        Raises `RefusedByProvider` for registers below what it last reported, or above what was granted.
        """
        printed = {
            "ascending_mills": ascending_mills, "piece_count": piece_count, "zero_piece_count": zero_piece_count,
        }  # fmt: skip
        with self._transaction() as connection:
            psd = self._registry.get(connection, psd_serial)
            if psd.withdrawn:
                raise RefusedByProvider(f"PSD {psd_serial} was withdrawn from service, and its postage paid back")
            before = psd.ordered or Ordered(0, 0, **psd.registers)
            ordered = Ordered(
                # Beyond another order, too: of two images that are recovered one after the other, the newer one counts.
                newest_number=max(psd.message_number, before.newest_number) + NUMBERS_BEYOND,
                log_sequence=max(psd.log_sequence, before.log_sequence) + RECORDS_BEYOND,
                **possible(psd, printed, "go on with these registers"),
            )
            numbers = {name: getattr(ordered, name) for name in ("newest_number", "log_sequence")}
            answered = {name: challenge[name] for name in ("nonce", "message_number")}
            said = {"psd_serial": psd_serial} | answered | ordered.registers
            message = self._sign("recovery_order", said, device_time=self._clock.now(), **numbers)
            self._registry.recoveries.add(connection, psd_serial, ordered, self._clock.now())
            return message

    def settle(self, psd_serial: int, *, ascending_mills: int, piece_count: int, zero_piece_count: int) -> int:
        """Ends the service of a PSD that cannot come back: what was granted, less what it printed, is paid back on its
        customer's account (39 CFR 501.17: unused postage is submitted for refund). Gives that, in mills.

        It is for good. Whatever the device sends from then on, or has sent before, is refused. The same numbers again
        change nothing and give the same. Raises `RefusedByProvider` for less than it has reported, more than was
        granted, other numbers than before, or a device that was withdrawn.
        """
        printed = {
            "ascending_mills": ascending_mills, "piece_count": piece_count, "zero_piece_count": zero_piece_count,
        }  # fmt: skip
        with self._transaction() as connection:
            psd = self._registry.get(connection, psd_serial)
            if (before := psd.settled) is not None:
                if any(getattr(before, name) != value for name, value in printed.items()):
                    raise RefusedByProvider(
                        f"PSD {psd_serial} was settled already, with {dollars(before.ascending_mills)} used in "
                        f"{before.piece_count} pieces: {dollars(before.amount_mills)} were paid back",
                        hint="A device is settled once",
                    )
                return before.amount_mills
            if psd.withdrawn:
                raise RefusedByProvider(f"PSD {psd_serial} was withdrawn from service, and its postage paid back")
            registers = possible(psd, printed, "be settled with these registers")
            check_all(_REGISTERS, registers)
            now, amount = self._clock.now(), int(registers["descending_mills"])
            self._ledger.pay_back(connection, psd.customer, amount, now, f"settlement of PSD {psd_serial}")
            left = psd.granted_mills - amount
            self._registry.update(connection, psd_serial, granted_mills=left, withdrawn=1)
            self._registry.recoveries.settle(connection, psd_serial, Settled(**printed, amount_mills=amount), now)
            return amount

    def waits_for(self, psd_serial: int) -> str:
        """Why the device gets nothing from here but another recovery; empty where nothing stands in its way."""
        with self._transaction() as connection:
            psd = self._registry.get(connection, psd_serial)
        return "a recovery was ordered, and the device has not reported by it" if psd.waits else psd.suspicion

    # One answer a message

    def _answer_once(self, request: bytes, kind: str, decide: Decide) -> bytes:
        with self._transaction() as connection:
            psd, values = self._open(connection, request, kind)
            if (over := self._decider.over(psd, values, kind)) is not None:
                # Not kept, and what was kept is not given again: a grant of before could be had by an older image.
                return self._sign(over.kind, told(over, values, psd.registers), **over.fields)
            known = self._answers.find(connection, psd.psd_serial, values["nonce"])
            if known is not None:
                cancelled = not known.request and kind == "refill_request"
                if known.request == request or cancelled:
                    return known.reply
                if kind != "checkin_report" or not known.request:
                    raise BadMessage("this nonce was used for another message")
                # A device whose nonces follow from a seed draws them again when it was put back. The first keeps it.
                decision = self._decider.drawn_again(connection, psd)
                return self._sign(decision.kind, values | psd.registers, **decision.fields)
            if values["message_number"] > psd.message_number:
                now = self._clock.now()
                if psd.waits:  # the first that only who carried out the recovery can have signed: another log begins
                    psd = replace(psd, last_report=b"")
                    self._registry.update(connection, psd.psd_serial, last_report=b"")
                decision = decide(connection, psd, values, now)
                seen = {"message_number": values["message_number"], "last_contact": now}
                self._registry.update(connection, psd.psd_serial, **seen)
            else:
                decision = self._decider.late(connection, psd, values, kind)
            return self._give(connection, values, request, decision, told(decision, values, psd.least))

    def _open(self, connection: Connection, message: bytes, kind: str) -> tuple[Registered, Values]:
        """The PSD that sent a message, and what it says once its signature is checked."""
        _, claimed = messages.peek(message, kind)
        psd = self._registry.get(connection, claimed["psd_serial"])
        _, values = messages.open_signed(message, psd.message_point, kind)
        return psd, values

    def _give(self, connection: Connection, values: Values, request: bytes, decision: Decision, told: Values) -> bytes:
        """The signed answer, once it is kept. It repeats what was `told` by the PSD."""
        reply = self._sign(decision.kind, told, **decision.fields)
        self._answers.keep(
            connection,
            Answer(
                values["psd_serial"], values["nonce"], values["message_number"], request, decision.kind, reply,
                decision.paid_by, decision.amount_mills,
            ),
        )  # fmt: skip
        return reply

    def _sign(self, kind: str, answered: Values, **fields: object) -> bytes:
        """A message of the provider, which repeats serial number, nonce and number of what it answers."""
        common = {name: answered[name] for name in ("psd_serial", "nonce", "message_number", *REGISTERS)}
        return messages.sign(kind, common | fields, self._pki.provider.sign)
