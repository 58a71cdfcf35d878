"""A PSD on a bench: its storage, its keys, a provider that signs what it is told to, and the time."""

from __future__ import annotations

import hmac
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from pes_sim.clock import HOUR, parse_iso
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import StorageFull
from pes_sim.indicium.layout import Layout, builtin
from pes_sim.indicium.signature import MACS
from pes_sim.provider.pki import Pki
from pes_sim.psd import messages
from pes_sim.psd.access import user_challenge
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import KeyStore, Slot, wrap_secret
from pes_sim.psd.nvram import BANK
from pes_sim.psd.registers import REGISTERS
from pes_sim.psd.roles import Role
from pes_sim.psd.rtc import Rtc
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.storage import MemoryStorage, Storage
from pes_sim.psd.vault import MemoryVault

NOON = parse_iso("2026-11-21T12:00:00Z")
TODAY = "2026-11-21"
SERIAL = 1234567
CERTIFICATE_SERIAL = 4711
ZIP = "20260"
CUSTOMER = "TEST CUSTOMER"
MASTER = bytes(range(32))
SECRET = b"the meter's secret"
MAC_KEY = bytes(range(50, 82))
TRANSPORT = bytes(range(100, 132))


@cache
def pki(name: str = "test") -> Pki:
    """A test CA with its provider key; one per name, kept for the run."""
    return Pki(Path(tempfile.mkdtemp(prefix="pes-sim-test-")), SeededEntropy("rig", name), NOON)


def piece(**changes: Any) -> Values:
    """A dispense request."""
    return {
        "postage_mills": 740,
        "mailing_date": TODAY,
        "mail_class": "first_class_letter",
        "weight": 100,
        "destination": "100011234",
        "reference": b"100",
    } | changes


def correction(**changes: Any) -> Values:
    """A redate request."""
    request = piece(**changes)
    del request["postage_mills"]
    return request


class Full(MemoryStorage):
    """A medium that takes nothing more while it is `full`."""

    full = False

    def write(self, name: str, offset: int, data: bytes) -> None:
        if self.full:
            raise StorageFull("no room")
        super().write(name, offset, data)


class Rig:
    """A device and everything around it. Each step gives the device's answer."""

    def __init__(
        self,
        storage: Storage | None = None,
        bank: int = BANK,
        seed: str = "rig",
        rtc: Rtc = Rtc(),  # noqa: B008  # immutable
        vault: MemoryVault | None = None,
        layout: Layout | None = None,
        **made: Any,
    ) -> None:
        self.storage = storage if storage is not None else MemoryStorage()
        self.vault = vault if vault is not None else MemoryVault()
        self.secret = SECRET
        """What the meter proves itself with."""
        self.layout = layout or builtin("imi_std")
        self.bank = bank
        self.seed = seed
        self.rtc = rtc
        self.options: dict[str, Any] = {}
        """For the device itself, from the next power-on."""
        self.how_made = {"transport_key": TRANSPORT, "profile": "FIPS 140-2", "regime": "IMI", "curve": "P-256"} | made
        self.now = NOON
        self.drawn = 0
        self.psd = self.power_on()

    def power_on(self, *, log_in: bool = True) -> Psd:
        """Off, and on again; the meter authenticates itself where the device knows it."""
        entropy = SeededEntropy(self.seed)
        self.psd = Psd(
            self.storage, self.key_store(entropy), entropy=entropy, layout=self.layout, bank=self.bank,
            rtc=self.rtc, **self.options,
        )  # fmt: skip
        if log_in and self.status()["state"] in ("AUTHORIZED", "OPERATIONAL", "LOCKED", "WITHDRAWN"):
            self.log_in()
        return self.psd

    def key_store(self, entropy: SeededEntropy) -> KeyStore:
        """What holds the keys from a power-on on."""
        return SoftwareKeyStoreNotForProduction(MASTER, entropy.child("keys"), self.vault)

    def new_id(self) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(16, "big")

    def ask(self, name: str, request_id: bytes = b"", **request: Any) -> Values:
        return self.psd.execute(name, request, request_id=request_id or self.new_id(), now=self.now)

    # Roles

    def challenge(self) -> Values:
        return self.ask("challenge")

    def user_proof(self, nonce: bytes, secret: bytes = b"") -> bytes:
        return hmac.digest(secret or self.secret, user_challenge(SERIAL, nonce), "sha256")

    def log_in(self, role: Role = Role.USER) -> None:
        """Opens a session."""
        nonce = self.challenge()["nonce"]
        proof = self.user_proof(nonce) if role is Role.USER else login(role, nonce)
        self.ask("authenticate", role=role.value, proof=proof)

    def order(self, kind: str, **fields: Any) -> bytes:
        """A provider's order over a fresh challenge; registers as the device's own unless `fields` say otherwise."""
        challenge = self.challenge()
        known = {} if set(REGISTERS) <= set(fields) else self.registers()
        values = {"psd_serial": SERIAL, "nonce": challenge["nonce"], "message_number": challenge["message_number"]}
        return sign(kind, values | known | fields)

    # Life

    def manufacture(self) -> dict[str, Any]:
        """What the device is told when it is made."""
        told = {"psd_serial": SERIAL, "trust_anchor": pki().ca.certificate, "user_secret": SECRET}
        return told | self.how_made

    def initialize(self) -> Values:
        self.made = self.ask("initialize", **self.manufacture())
        return self.made

    def authorization(self, **changes: Any) -> dict[str, Any]:
        """What an authorization says, with changes."""
        certificate = pki().issue_psd(self.made["public_key"], SERIAL, CERTIFICATE_SERIAL, NOON)
        return {
            "psd_serial": SERIAL,
            "nonce": self.made["nonce"],
            "message_number": 0,
            **dict.fromkeys(REGISTERS, 0),
            "licensing_zip": ZIP,
            "customer": CUSTOMER,
            "utc_offset_minutes": 0,
            "psd_certificate": certificate,
            "provider_certificate": pki().provider.certificate,
        } | changes

    def authorize(self, **changes: Any) -> Values:
        answer = self.ask("authorize", message=sign("authorization", self.authorization(**changes)))
        self.log_in()
        return answer

    def report(self) -> Values:
        """Begins a check-in; the values of the report."""
        return self.read("checkin_report", self.ask("checkin_begin")["message"])

    def read(self, kind: str, message: bytes) -> Values:
        return messages.open_signed(message, self.made["message_key"], kind)[1]

    def receipt(self, report: Values, **changes: Any) -> bytes:
        return answer("checkin_receipt", report, acknowledged=report["log_sequence"], **changes)

    def check_in(self) -> Values:
        return self.ask("checkin_complete", message=self.receipt(self.report()))

    def load_mac_key(self, key: bytes = MAC_KEY) -> Values:
        wrapped = wrap_secret(Slot.MAC, TRANSPORT, key)
        return self.ask("load_key", message=self.order("key_load", slot="mac", wrapped_secret=wrapped))

    def request_refill(self, amount: int) -> Values:
        return self.read("refill_request", self.ask("refill_begin", amount_mills=amount)["message"])

    def grant(self, request: Values, **changes: Any) -> bytes:
        return answer("refill_grant", request, amount_mills=request["amount_mills"], **changes)

    def refill(self, amount: int) -> Values:
        return self.ask("refill_complete", message=self.grant(self.request_refill(amount)))

    def dispense(self, request_id: bytes = b"", **changes: Any) -> Values:
        return self.ask("dispense", request_id, **piece(**changes))

    def registers(self) -> dict[str, int]:
        answered = self.ask("get_registers")
        return {name: answered[name] for name in REGISTERS}

    def status(self) -> Values:
        return self.ask("get_status")

    def everything(self) -> tuple[dict[str, int], str, int]:
        """What must not change when a request is refused."""
        status = self.status()
        return self.registers(), status["state"], status["log_sequence"]


def sign(kind: str, values: dict[str, Any], name: str = "test") -> bytes:
    """A message signed by the provider of a PKI."""
    return messages.sign(kind, values, pki(name).provider.sign)


def answer(kind: str, asked: Values, **fields: Any) -> bytes:
    """The provider's answer to a message of the PSD; `fields` may also change what it repeats."""
    repeated = {name: asked[name] for name in ("psd_serial", "nonce", "message_number", *REGISTERS)}
    return sign(kind, repeated | fields)


def login(role: Role, nonce: bytes, *, psd_serial: int = SERIAL, name: str = "test") -> bytes:
    """The proof by which provider or inspector opens a session."""
    who = pki(name).provider if role is Role.PROVIDER else pki(name).inspector(NOON)
    values = {"psd_serial": psd_serial, "nonce": nonce, "role": role.value, "certificate": who.certificate}
    return messages.sign("login", values, who.sign)


def operational(funds: int = 100_000, **rig: Any) -> Rig:
    """A device ready to dispense."""
    made = Rig(**rig)
    made.initialize()
    made.authorize()
    made.check_in()
    if made.layout.signature.scheme in MACS:
        made.load_mac_key()
    if funds:
        made.refill(funds)
    return made


def locked() -> Rig:
    """A device that missed its check-in."""
    made = operational()
    made.now += 73 * HOUR
    made.status()
    return made
