"""A meter's device on a bench, with everything around it within reach: storage, keys, store, data centre, clock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pes_sim.clock import VirtualClock
from pes_sim.entropy import SystemEntropy
from pes_sim.indicium import layout
from pes_sim.meter import rates
from pes_sim.meter.connection import Centre, Connection
from pes_sim.meter.device import MeterDevice
from pes_sim.meter.meter import LocalCaller, Meter, Registers
from pes_sim.meter.session import log_in
from pes_sim.meter.store import MeterStore
from pes_sim.provider.centre import DataCentre
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values
from pes_sim.psd.nvram import BANK
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.vault import MemoryVault
from pes_sim.virtual import DEFAULT_START
from tests.meter.made import CUSTOMER, DEPARTMENTS, DEPOSIT, FUNDS, SERIAL, TODAY

SMALL_BANK = 8192
"""The PSD then remembers some 40 requests."""


class Interrupted(Exception):
    """Stands for whatever keeps an answer from arriving."""


class Wire:
    """The line to the data centre. It can be cut on the way there or back, and keeps what went over it."""

    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        self.cut = ""
        self.sent: list[bytes] = []
        self.received: list[bytes] = []

    def refill(self, request: bytes) -> bytes:
        return self._over("refill", request)

    def check_in(self, report: bytes) -> bytes:
        return self._over("check_in", report)

    def cancel_refill(self, cancellation: bytes) -> bytes:
        return self._over("cancel_refill", cancellation)

    def withdraw(self, request: bytes) -> bytes:
        return self._over("withdraw", request)

    def _over(self, name: str, message: bytes) -> bytes:
        if self.cut == "there":
            raise Interrupted
        self.sent.append(message)
        reply: bytes = getattr(self.centre, name)(message)
        if self.cut == "back":
            raise Interrupted
        self.received.append(reply)
        return reply


class Bench:
    """A checked-in meter. `device` is the one that is on; `power_on` is a restart after a power cut."""

    def __init__(
        self,
        directory: Path,
        *,
        bank: int = BANK,
        funds: int = FUNDS,
        departments: Mapping[str, str] = DEPARTMENTS,
        regime: str = "IMI",
        connection: Connection = Connection.LAN,
    ) -> None:
        self.bank = bank
        self.regime = regime
        self.connection = connection
        self.clock = VirtualClock(DEFAULT_START)
        self.storage = MemoryStorage()
        self.database = directory / "meter.sqlite"
        self.provider = directory / "provider"
        self.entropy = SystemEntropy()
        self.master = self.entropy(32)
        self.vault = MemoryVault()
        self.secret = self.entropy(32)
        self.centre = self.open_centre()
        self.wire = Wire(self.centre)
        self.psd = self._psd()
        self._manufacture()
        self.centre.deposit(CUSTOMER, DEPOSIT)
        self.store = MeterStore(self.database)
        for code, name in departments.items():
            self.store.add_department(code, name)
        self.store.close()
        self.device = self.power_on()
        if funds:
            self.meter.refill(funds)

    def open_centre(self) -> DataCentre:
        return DataCentre(self.provider, clock=self.clock, entropy=self.entropy)

    def _psd(self) -> Psd:
        self.keys = SoftwareKeyStoreNotForProduction(self.master, self.entropy, self.vault)
        return Psd(self.storage, self.keys, entropy=self.entropy, layout=layout.builtin("imi_std"), bank=self.bank)

    def _manufacture(self) -> None:
        made = self.ask_psd(
            "initialize", psd_serial=SERIAL, trust_anchor=self.centre.trust_anchor, user_secret=self.secret,
            transport_key=b"", profile="FIPS 140-2", regime=self.regime, curve="P-256",
        )  # fmt: skip
        licence = self.centre.authorize(
            psd_serial=SERIAL,
            public_key=made["public_key"],
            message_key=made["message_key"],
            nonce=made["nonce"],
            licensing_zip="20260",
            customer=CUSTOMER,
        )
        self.ask_psd("authorize", message=licence)
        log_in(self.psd, self.secret, SERIAL, self.clock.now())
        receipt = self.centre.check_in(self.ask_psd("checkin_begin")["message"])
        self.ask_psd("checkin_complete", message=receipt)

    def power_on(self) -> MeterDevice:
        """What is not in the PSD's storage, the database or the provider's directory is gone."""
        self.store.close()
        self.psd = self._psd()
        self.store = MeterStore(self.database)
        self.device = MeterDevice(
            self.psd,
            self.store,
            rates.built_in(),
            layout.builtin("imi_std"),
            self.clock,
            self.wire,
            self.secret,
            self.connection,
        )
        self.meter = Meter(LocalCaller(self.device, self.clock, self.entropy))
        return self.device

    def lose_database(self) -> None:
        """Takes the meter's database away; `power_on` comes next."""
        self.store.close()
        for path in self.database.parent.glob("meter.sqlite*"):
            path.unlink()

    def ask_psd(self, name: str, **request: Any) -> Values:
        return self.psd.execute(name, request, request_id=self.entropy(16), now=self.clock.now())

    def ask(self, name: str, request_id: bytes = b"", **request: Any) -> Values:
        return self.device.execute(name, request, request_id=request_id or self.entropy(16), now=self.clock.now())

    def print(self, request_id: bytes = b"", **changes: Any) -> Values:
        return self.ask("print_piece", request_id, **(PIECE | changes))

    def registers(self) -> Registers:
        return self.meter.registers()

    def log_sequence(self) -> int:
        return self.meter.status().log_sequence

    def check_books(self) -> None:
        """What must hold at all times: registers, departments, pieces and the provider's ledger agree to the mill."""
        registers = self.registers()
        assert registers.balanced()
        departments = self.meter.departments()
        assert sum(d.postage_mills for d in departments) == registers.ascending_mills
        assert sum(d.pieces for d in departments) == registers.piece_count == len(list(self.meter.log()))
        assert self.centre.balance(CUSTOMER) == DEPOSIT - registers.control_sum_mills


PIECE: dict[str, Any] = {
    "department": "100",
    "mail_class": "first_class_letter",
    "weight": 100,
    "destination": "100011234",
    "mailing_date": TODAY,
    "declared_mills": 0,
}
