"""What a PSD says to its data centre, true or forged, and what it is answered."""

from __future__ import annotations

from functools import partial
from typing import Any

from pes_sim.entropy import SystemEntropy
from pes_sim.indicium import certificates, layout
from pes_sim.indicium.certificates import Purpose
from pes_sim.meter.session import log_in
from pes_sim.provider.centre import DataCentre
from pes_sim.provider.registry import Registered
from pes_sim.psd import messages
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import Slot
from pes_sim.psd.registers import REGISTERS
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.vault import MemoryVault
from tests.meter.bench import Bench
from tests.meter.made import CUSTOMER, SERIAL


def request(bench: Bench, amount: int = 5_000) -> bytes:
    message: bytes = bench.ask("refill_begin", amount_mills=amount)["message"]
    return message


def report(bench: Bench) -> bytes:
    message: bytes = bench.ask("checkin_begin")["message"]
    return message


def reopen(bench: Bench) -> DataCentre:
    bench.centre.close()
    bench.centre = bench.wire.centre = bench.open_centre()
    return bench.centre


def opened(bench: Bench, reply: bytes) -> tuple[str, Values]:
    certificate = bench.meter.certificates()["provider_certificate"]
    point = certificates.read(certificate, bench.centre.trust_anchor, Purpose.PROVIDER).point
    return messages.open_signed(reply, point, *(kind.name for kind in messages.KINDS if kind.signer == "provider"))


def repeated(bench: Bench, message: bytes, kind: str, **more: Any) -> Values:
    """What an answer to `message` says: what it answers, the registers that were told, and `more`."""
    _, values = messages.peek(message, kind)
    return {name: values[name] for name in ("psd_serial", "nonce", "message_number", *REGISTERS)} | more


def forged(bench: Bench, message: bytes, kind: str, **changes: Any) -> bytes:
    """The same message with other content, signed by the PSD's own key: what a tampered device could send."""
    _, values = messages.peek(message, kind)
    return messages.sign(kind, values | changes, partial(bench.keys.sign, Slot.MESSAGE))


def balance(bench: Bench) -> int:
    return bench.centre.balance(CUSTOMER)


def known(bench: Bench) -> Registered:
    """What the provider knows of the bench's PSD."""
    with bench.centre._transaction() as connection:
        return bench.centre._registry.get(connection, SERIAL)


def ordered(bench: Bench, service: str, kind: str, **fields: Any) -> Values:
    """An order of the provider, carried to the PSD."""
    message = bench.centre.order(kind, SERIAL, bench.ask("challenge"), **fields)
    return bench.ask(service, message=message)


class Device:
    """One more PSD of the same customer."""

    def __init__(self, bench: Bench, serial: int) -> None:
        entropy = SystemEntropy()
        self.now = bench.clock.now()
        keys = SoftwareKeyStoreNotForProduction(entropy(32), entropy, MemoryVault())
        self.psd = Psd(MemoryStorage(), keys, entropy=entropy, layout=layout.builtin("imi_std"))
        made = self.ask(
            "initialize", psd_serial=serial, trust_anchor=bench.centre.trust_anchor, user_secret=bench.secret,
            transport_key=b"", profile="FIPS 140-2", regime="IMI", curve="P-256",
        )  # fmt: skip
        licence = bench.centre.authorize(
            psd_serial=serial,
            public_key=made["public_key"],
            message_key=made["message_key"],
            nonce=made["nonce"],
            licensing_zip="20260",
            customer=CUSTOMER,
        )
        self.ask("authorize", message=licence)
        log_in(self.psd, bench.secret, serial, self.now)
        self.ask("checkin_complete", message=bench.centre.check_in(self.ask("checkin_begin")["message"]))

    def ask(self, name: str, **request: object) -> Values:
        return self.psd.execute(name, request, request_id=SystemEntropy()(16), now=self.now)

    def request(self, amount: int) -> bytes:
        message: bytes = self.ask("refill_begin", amount_mills=amount)["message"]
        return message
