"""Indicia made to order: any values, signed by a PSD that the test CA knows, and no device that would refuse them."""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pes_sim.clock import DAY as CLOCK_DAY
from pes_sim.indicium.codings import Value
from pes_sim.indicium.layout import Layout, builtin, load_file
from pes_sim.indicium.signature import MACS
from pes_sim.indicium.verify import Trust
from pes_sim.postal.acceptance import Office, accept, assess
from pes_sim.postal.assessment import Assessment, Finding, Result, Scan
from pes_sim.postal.records import Meter, Records
from pes_sim.postal.store import MemoryScans, ScanStore
from pes_sim.psd.keys import raw_signature, signing_algorithm
from tests.rig import CERTIFICATE_SERIAL, NOON, SERIAL, pki

DAY = date(2026, 11, 21)
NUMBERS = {"secp256r1": CERTIFICATE_SERIAL, "secp224r1": CERTIFICATE_SERIAL + 1}
ANOTHERS = CERTIFICATE_SERIAL + 2
SECRET = bytes(range(50, 82))
VENDOR = load_file(Path(__file__).parents[1] / "vectors" / "vendor_layout.toml")
STD = builtin("imi_std")
MAX = builtin("imi_max")
MIN = builtin("imi_min")
VALUES: Mapping[str, Value] = {
    "provider_id": "99", "model_id": "S1", "psd_serial": SERIAL, "certificate_serial": CERTIFICATE_SERIAL,
    "algorithm_id": 2, "piece_count": 3, "ascending_mills": 2220, "descending_mills": 97_780, "postage_mills": 740,
    "control_sum_mills": 100_000, "mailing_date": DAY.isoformat(), "origin_zip": "20260",
    "mail_class": "first_class_letter", "weight": 100, "destination": "100011234", "software_id": 65_536,
    "tracking_number": "", "extra_services": "",
}  # fmt: skip
_ids = itertools.count(1)


@cache
def key(curve: str = "secp256r1") -> ec.EllipticCurvePrivateKey:
    """The PSD's, one a run."""
    return ec.generate_private_key(ec.SECP256R1() if curve == "secp256r1" else ec.SECP224R1())


def point(of: ec.EllipticCurvePrivateKey) -> bytes:
    """Its public key as an uncompressed point."""
    return of.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@cache
def certificate(curve: str = "secp256r1") -> bytes:
    """The certificate of that key."""
    return pki().issue_psd(point(key(curve)), SERIAL, NUMBERS[curve], NOON - 90 * CLOCK_DAY)


@cache
def certificate_of_another() -> bytes:
    """Of a PSD with the next serial number, and the same key."""
    return pki().issue_psd(point(key("secp256r1")), SERIAL + 1, ANOTHERS, NOON - 90 * CLOCK_DAY)


def trust(**changes: Any) -> Trust:
    """All that it takes to check what `indicium` makes."""
    known = [certificate(), certificate("secp224r1")]
    given = {"anchor": pki().ca.certificate, "psd_certificates": known, "secrets": {SERIAL: [SECRET]}}
    return Trust(**(given | changes))


def curve_of(layout: Layout) -> str:
    return "secp224r1" if "p224" in layout.signature.scheme else "secp256r1"


def indicium(layout: Layout = STD, **changes: Value) -> bytes:
    """A payload with a good signature."""
    of_layout: Mapping[str, Value] = {
        "indicia_version": layout.versions.start if layout.versions else 0,
        "certificate_serial": NUMBERS[curve_of(layout)],
    }
    known = {**VALUES, **of_layout, **changes}
    wanted = {row.name for row in layout.fields} - set(layout.constants)
    signed = layout.pack({name: known[name] for name in wanted})
    if layout.signature.scheme in MACS:
        return signed + hmac.digest(SECRET, signed, "sha256")[: layout.signature.length]
    half = layout.signature.length // 2
    return signed + raw_signature(key(curve_of(layout)).sign(signed, signing_algorithm()), half)


def office(**changes: Any) -> Office:
    """A post office with `trust` and, unless said otherwise, no records."""
    return Office(changes.pop("trust", None) or trust(), **changes)


class Desk:
    """A post office with its store, at which one scan after the other is handed in."""

    def __init__(self, store: ScanStore | None = None, **given: Any) -> None:
        self.store = store or MemoryScans()
        self.office = office(**given)

    def scan(self, payload: bytes, *, id_: str = "", day: date = DAY, mailpiece: str = "") -> Assessment:
        """The assessment of a reading with an id of its own."""
        return accept(Scan(id_ or f"s{next(_ids)}", payload, day, mailpiece), self.office, self.store)

    def give(self, layout: Layout = STD, day: date = DAY, mailpiece: str = "", **values: Value) -> Assessment:
        """The assessment of a new indicium of these values."""
        return self.scan(indicium(layout, **values), day=day, mailpiece=mailpiece)


def judged(payload: bytes, day: date = DAY, **given: Any) -> Assessment:
    """The assessment of the first scan of all."""
    return assess(office(**given).case(Scan("s", payload, day)))


def finding(assessment: Assessment, check: str) -> Finding:
    return next(found for found in assessment.findings if found.check == check)


def result(assessment: Assessment, check: str) -> Result:
    return finding(assessment, check).result


def records(**meter: Any) -> Records:
    """Records of the one PSD."""
    return Records([Meter(str(SERIAL), **meter)])
