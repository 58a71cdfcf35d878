"""How fast an indicium is made, drawn, verified and judged, beside what the libraries alone take for their part."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pes_sim.clock import DAY, parse_iso
from pes_sim.entropy import SeededEntropy
from pes_sim.indicium import symbol
from pes_sim.indicium.layout import builtin
from pes_sim.indicium.verify import Trust, Verdict, verify
from pes_sim.postal.acceptance import Office, accept
from pes_sim.postal.assessment import Scan
from pes_sim.postal.sqlite_store import SqliteScans
from pes_sim.provider.pki import Pki
from pes_sim.psd.keys import Slot
from pes_sim.psd.piece import Printer
from pes_sim.psd.registers import Registers
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.vault import MemoryVault
from tools.bench import Line, seconds, us

ROUNDS = 25
TIMES = 200
SCANS = 20_000
"""Scans in the store that is full, beside an empty one."""
SIGNED = 50
"""Bytes that IMI-STD signs, and so the messages of the raw signatures."""
DRAWN = 60e-6
"""Seconds for a symbol. The goal was set where zxing-cpp takes 42 us for one: its figure stands beside it."""


def least(actions: Sequence[Callable[[], object]], count: int) -> list[float]:
    """The least seconds of each action, taken in turns: what else the machine did can only have made it longer."""
    timed = [[seconds(action, count) for action in actions] for _ in range(ROUNDS)]
    return [min(column) for column in zip(*timed, strict=True)]


class Maker:
    """A printer with its keys, one piece after the other, as a PSD has it in its dispense without the log."""

    def __init__(self, folder: Path) -> None:
        self.keys = SoftwareKeyStoreNotForProduction(bytes(32), SeededEntropy("bench"), MemoryVault())
        point, now = self.keys.generate(Slot.INDICIUM), parse_iso("2026-01-05T12:00:00Z")
        pki = Pki(folder, SeededEntropy("bench pki"), now)
        self.trust = Trust(pki.ca.certificate, [pki.issue_psd(point, 1234567, 4711, now - 30 * DAY)])
        self.printer = Printer(
            builtin("imi_std"), psd_serial=1234567, certificate_serial=4711, origin_zip="20260", software_id=65_536
        )
        self.count = 0

    def make(self) -> bytes:
        """The next indicium."""
        self.count += 1
        n = self.count
        asked = {"postage_mills": 740, "mailing_date": "2026-01-05", "mail_class": "first_class_letter", "weight": 100,
                 "destination": "100011234", "reference": b"100"}  # fmt: skip
        after = Registers(740 * n, 10**9 - 740 * n, 10**9, n, 0)
        signed = self.printer.signed_bytes(asked, after)
        return signed + self.keys.sign(Slot.INDICIUM, signed)


def made(maker: Maker) -> Line:
    key, algorithm = _raw(deterministic=True)
    message = bytes(SIGNED)
    raw, ours = least([lambda: key.sign(message, algorithm), maker.make], TIMES)
    return Line("an indicium: fields packed and signed", us(ours), f"raw deterministic P-256 signature {us(raw)}",
                raw / ours, "at least 0.7", raw / ours >= 0.7)  # fmt: skip


def verified(maker: Maker) -> Line:
    key, algorithm = _raw(deterministic=False)
    message = bytes(SIGNED)
    signature, public, payload = key.sign(message, algorithm), key.public_key(), maker.make()
    assert verify(payload, maker.trust).verdict is Verdict.VALID
    raw, ours = least(
        [lambda: public.verify(signature, message, algorithm), lambda: verify(payload, maker.trust)], TIMES
    )
    return Line("a payload verified, every check", us(ours), f"raw P-256 verification {us(raw)}", raw / ours,
                "at least 0.7", raw / ours >= 0.7)  # fmt: skip


def drawn() -> Line:
    import zxingcpp

    payload = os.urandom(114)

    def other() -> None:
        zxingcpp.create_barcode(payload, zxingcpp.BarcodeFormat.DataMatrix, eci=0, force_square=True, version=13)

    ours, library = least([lambda: symbol.encode(payload, "44x44"), other], TIMES)
    return Line("symbol 44x44, Base 256", us(ours), f"zxing-cpp, its own choice {us(library)}", library / ours,
                "at most 60 us", ours <= DRAWN)  # fmt: skip


def judged(folder: Path, maker: Maker) -> Line:
    """A scan accepted and synced, in a store with some thousand others and in an empty one."""
    office, day = Office(maker.trust), date(2026, 1, 5)
    stores = [SqliteScans(folder / name) for name in ("full.db", "empty.db")]
    full = stores[0]
    full._db.execute("PRAGMA synchronous = OFF")  # only to have it soon
    for _ in range(SCANS):
        accept(Scan(os.urandom(8).hex(), maker.make(), day), office, full)
    full._db.execute("PRAGMA synchronous = FULL")

    def hand_in(store: SqliteScans) -> Callable[[], object]:
        return lambda: accept(Scan(os.urandom(8).hex(), maker.make(), day), office, store)

    much, little = least([hand_in(store) for store in stores], max(1, TIMES // 10))
    for store in stores:
        store.close()
    return Line(f"a scan accepted, {SCANS:,} scans in the store", us(much), f"in a new store {us(little)}",
                little / much, "flat: at least 0.7", little / much >= 0.7)  # fmt: skip


def _raw(*, deterministic: bool) -> tuple[ec.EllipticCurvePrivateKey, ec.ECDSA]:
    return ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256(), deterministic_signing=deterministic)


def lines(folder: Path) -> list[Line]:
    """The indicium's part of the table."""
    (folder / "indicium").mkdir()
    maker = Maker(folder / "indicium")
    return [made(maker), verified(maker), drawn(), judged(folder / "indicium", maker)]
