"""Test vectors for whoever writes a verifier: specimens by every layout and scheme, with their keys, and bad ones.

JSON in the manner of Wycheproof: groups of tests, each with `tcId`, `comment`, `flags` and `result` ("valid",
"invalid", or "acceptable" where it takes a memory to refuse). All of it follows from one seed, so that the same version
writes the same bytes; the keys are known to everybody, and good for nothing else.
"""

from __future__ import annotations

import hmac
import json
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

from pes_sim.clock import DAY, parse_iso
from pes_sim.entropy import SeededEntropy
from pes_sim.indicium import bytemap
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.codings import CODINGS, Value
from pes_sim.indicium.layout import Layout, builtin
from pes_sim.indicium.signature import MACS
from pes_sim.provider.pki import Pki
from pes_sim.psd.keys import CURVES, Curve, curve_class, raw_signature
from pes_sim.psd.softkeys import Pair, pair

SEED: Final = "pes-sim test vectors 1"
NOW: Final = parse_iso("2026-01-05T12:00:00Z")
SERIAL: Final = 1234567
CERTIFICATE: Final = 4711
_YEAR: Final = 365 * DAY

NOTES: Final[Mapping[str, str]] = {
    "Good": "A specimen as a device prints it.",
    "HighS": "By ECDSA s and n - s verify alike, with no rule against the larger one; by DSA they do not.",
    "ModifiedField": "A bit of a field is not what was signed.",
    "ModifiedSignature": "A bit of the signature is not what was made.",
    "SwappedRS": "s stands before r.",
    "RangeCheck": "r or s is 0, or not below the order of the curve.",
    "WrongHash": "Signed over SHA-384 of the fields.",
    "WrongKey": "Made with another device's key.",
    "WrongCurve": "Certificate and signature are of the other curve; r and s are filled up, or too long.",
    "WrongCertificate": "The certificate names another PSD, or has another serial number.",
    "UntrustedCertificate": "The certificate was issued by another CA, or for another purpose.",
    "ExpiredCertificate": "The certificate does not hold on the date of mailing.",
    "RevokedCertificate": "The certificate's serial number is among those in `revoked`.",
    "WrongLength": "Bytes are missing, or there are more.",
    "TruncatedMac": "Not the first bytes of the MAC.",
    "Replay": "The payload of `replayOf` again: the signature is good, and only a verifier that remembers refuses it.",
}
"""What the flags mean."""

_VALUES: Final[Mapping[str, Value]] = {
    "provider_id": "99", "model_id": "S1", "psd_serial": SERIAL, "certificate_serial": CERTIFICATE, "piece_count": 3,
    "ascending_mills": 2220, "descending_mills": 97_780, "control_sum_mills": 100_000, "postage_mills": 740,
    "mailing_date": "2026-01-05", "origin_zip": "20260", "mail_class": "first_class_letter", "weight": 100,
    "destination": "100011234", "software_id": 65_536, "tracking_number": "9400100000000000000001",
    "extra_services": "certified_mail+return_receipt",
}  # fmt: skip
_OTHERS: Final[Mapping[str, Mapping[str, Value]]] = {
    "a date correction of no postage": {"postage_mills": 0, "piece_count": 4},
    "no destination, no tracking number": {"destination": "", "tracking_number": "", "extra_services": ""},
    "a delivery point of a ZIP Code that begins with 00": {"destination": "00501123412", "origin_zip": "00501"},
    "the largest registers": {"ascending_mills": 2**40 - 1, "descending_mills": 2**32 - 1, "piece_count": 2**32 - 1},
}


@dataclass(frozen=True, slots=True)
class _Test:
    comment: str
    flags: tuple[str, ...]
    payload: bytes
    result: str = "invalid"
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Signs by one layout. `key` is a private key, or the secret of a MAC."""

    layout: Layout
    pki: Pki
    curve: Curve
    key: Pair
    secret: bytes

    def pack(self, changes: Mapping[str, Value]) -> bytes:
        by_layout: dict[str, Value] = {"indicia_version": self.layout.versions.start, "algorithm_id": self.algorithm}
        if not self.layout.versions:  # a withdrawal pays back all that was left
            by_layout["postage_mills"] = _VALUES["descending_mills"]
        known = {**_VALUES, **by_layout, **changes}
        wanted = {row.name for row in self.layout.fields} - set(self.layout.constants)
        return self.layout.pack({name: known[name] for name in wanted})

    @property
    def mac(self) -> bool:
        return self.layout.signature.scheme in MACS

    @property
    def algorithm(self) -> int:
        return 4 if self.mac else {Curve.DSA_1024: 1, Curve.P256: 2, Curve.P224: 3}[self.curve]

    @property
    def half(self) -> int:
        return CURVES[self.curve].half

    def sign(self, signed: bytes, **by: Any) -> bytes:
        other = replace(self, **by)
        if self.mac:
            return hmac.digest(other.secret, signed, "sha256")[: self.layout.signature.length]
        return other.key.sign(signed)

    def make(self, **changes: Value) -> bytes:
        signed = self.pack(changes)
        return signed + self.sign(signed)

    def certificate(self, *, serial: int = SERIAL, number: int = CERTIFICATE, now: int = NOW) -> bytes:
        return self.pki.issue_psd(self.key.point, serial, number, now)


_CURVES: Final = {"ecdsa-p224-sha256": Curve.P224, "dsa-1024-sha1": Curve.DSA_1024}
"""Of the schemes that are not on P-256."""


def document() -> dict[str, Any]:
    """All vectors, as the JSON file says them."""
    numbers = count(1)
    with tempfile.TemporaryDirectory(prefix="pes-sim-vectors-") as folder:
        pkis = [Pki(Path(folder) / name, SeededEntropy(SEED, name), NOW) for name in ("ca", "another ca")]
        groups = [_group(layout, pkis[0], pkis[1], numbers) for layout in _layouts()]
    return {
        "algorithm": "postal indicia, simulator profiles",
        "header": [
            "Test vectors of pes_sim. Specimens only: provider 99, test keys, no valid postage (39 CFR 501.9).",
            "The layouts are this simulator's own, not USPS's: the IMI Performance Criteria are not public.",
        ],
        "licence": "Apache-2.0",
        "notes": NOTES,
        "numberOfTests": sum(len(group["tests"]) for group in groups),
        "testGroups": groups,
    }


def text() -> str:
    """The same as the bytes of the file."""
    return json.dumps(document(), indent=1) + "\n"


def layout_of(group: Mapping[str, Any]) -> Layout:
    """The layout that a group is of."""
    return next(layout for layout in _layouts() if layout.title == group["layout"]["title"])


def _layouts() -> list[Layout]:
    """Every layout that is made, and IMI-STD on the other curve, which no built-in one has."""
    standard = tomllib.loads((Path(layouts.__file__).parent / "layouts" / "imi_std.toml").read_text("utf-8"))
    short = standard["signature"] | {"scheme": "ecdsa-p224-sha256", "length": 56, "meaning": "ECDSA P-224 with SHA-256"}
    changes = {"name": "imi_std_p224", "title": "IMI-STD on P-224 (for these vectors only)", "signature": short}
    on_p224 = Layout(standard | changes | {"symbol": "40x40"}, "imi_std_p224")
    return [builtin("imi_min"), builtin("imi_std"), on_p224, builtin("imi_max"), builtin("withdrawal"),
            builtin("ibi_specimen")]  # fmt: skip


def _group(layout: Layout, pki: Pki, other_pki: Pki, numbers: Iterator[int]) -> dict[str, Any]:
    curve = _CURVES.get(layout.signature.scheme, Curve.P256)
    entropy = SeededEntropy(SEED, layout.name)
    maker = _Maker(layout, pki, curve, _key(entropy, curve), entropy(32))
    tests = [*_good(maker), *_flips(maker), *_lengths(maker)]
    tests += _bad_macs(maker) if maker.mac else [*_bad_signatures(maker), *_bad_certificates(maker, other_pki)]
    rows = [
        {"tcId": next(numbers), "comment": t.comment, "flags": list(t.flags), "payload": t.payload.hex(),
         "result": t.result, **t.more}
        for t in tests
    ]  # fmt: skip
    rows.append(rows[0] | {"tcId": next(numbers), "comment": "the first one once more", "flags": ["Replay"],
                           "result": "acceptable", "replayOf": rows[0]["tcId"]})  # fmt: skip
    keys = {"macKeys": {str(SERIAL): [maker.secret.hex()]}} if maker.mac else {
        "curve": curve.value,
        "privateKey": maker.key.scalar.hex(),
        "publicKey": maker.key.point.hex(),
        "trustAnchor": pki.ca.certificate.hex(),
        "psdCertificates": [maker.certificate().hex()],
        "revoked": [],
    }  # fmt: skip
    return {"type": "IndiciumVerify", "layout": _described(layout), "keys": keys, "tests": rows}


def _described(layout: Layout) -> dict[str, Any]:
    return {
        "name": layout.name,
        "title": layout.title,
        "scheme": layout.signature.scheme,
        "signedLength": layout.signed_length,
        "signatureLength": layout.signature.length,
        "fields": [
            {"name": p.name, "offset": p.offset, "length": p.length, "coding": p.coding,
             "holds": CODINGS[p.coding].holds}
            for p in bytemap.parts(layout)[:-1]
        ],
    }  # fmt: skip


def _key(entropy: SeededEntropy, curve: Curve) -> Pair:
    facts = CURVES[curve]
    number = int.from_bytes(entropy(facts.half + 8), "big") % (facts.order - 1) + 1
    return pair(curve, number.to_bytes(facts.half, "big"))


def _good(maker: _Maker) -> Iterator[_Test]:
    names = {row.name for row in maker.layout.fields}
    yield _Test("a letter of one ounce", ("Good",), maker.make(), "valid")
    for comment, changes in _OTHERS.items():
        if names & set(changes):
            fitting = {name: value for name, value in changes.items() if name not in maker.layout.constants}
            yield _Test(comment, ("Good",), maker.make(**fitting), "valid")


def _flips(maker: _Maker) -> Iterator[_Test]:
    """The first and the last bit of every part, as it stands in the payload."""
    good = maker.make()
    for part in bytemap.parts(maker.layout):
        flag = "ModifiedSignature" if part.name == "signature" else "ModifiedField"
        for at, bit, which in ((part.offset, 0x80, "first"), (part.offset + part.length - 1, 0x01, "last")):
            altered = bytearray(good)
            altered[at] ^= bit
            yield _Test(f"{part.name}: {which} bit flipped", (flag,), bytes(altered))


def _lengths(maker: _Maker) -> Iterator[_Test]:
    good = maker.make()
    for comment, payload in (
        ("empty", b""),
        ("the fields without the signature", good[: maker.layout.signed_length]),
        ("cut in the middle of the fields", good[: maker.layout.signed_length // 2]),
        ("the last byte is missing", good[:-1]),
        ("a byte more", good + b"\0"),
        ("a byte more in front", b"\0" + good),
    ):
        yield _Test(comment, ("WrongLength",), payload)


def _bad_macs(maker: _Maker) -> Iterator[_Test]:
    signed, length = maker.pack({}), maker.layout.signature.length
    whole = hmac.digest(maker.secret, signed, "sha256")
    yield _Test("made with another key", ("WrongKey",), signed + maker.sign(signed, secret=bytes(32)))
    yield _Test("the last bytes of the MAC", ("TruncatedMac",), signed + whole[-length:])
    yield _Test("a MAC of zeros", ("TruncatedMac",), signed + bytes(length))
    yield _Test("a shorter MAC, filled up with zeros", ("TruncatedMac",), signed + whole[:6].ljust(length, b"\0"))
    yield _Test("of a PSD whose key is not known", ("WrongKey",), maker.make(psd_serial=SERIAL + 1))


def _bad_signatures(maker: _Maker) -> Iterator[_Test]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    signed, half, order = maker.pack({}), maker.half, CURVES[maker.curve].order
    signature = maker.sign(signed)
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")

    def joined(r: int, s: int) -> bytes:
        return signed + r.to_bytes(half, "big") + s.to_bytes(half, "big")

    size = "larger" if 2 * s < order else "smaller"
    # A curve's point and its opposite have one x; in the group of DSA a number and its inverse have nothing in common.
    opposite = "invalid" if maker.curve is Curve.DSA_1024 else "valid"
    yield _Test(f"n - s in place of s, which is the {size} one", ("HighS",), joined(r, order - s), opposite)
    yield _Test("r and s swapped", ("SwappedRS",), joined(s, r))
    for comment, values in (
        ("r = 0", (0, s)), ("s = 0", (r, 0)), ("r = s = 0", (0, 0)), ("r = n", (order, s)), ("s = n", (r, order)),
        ("r and s as large as their fields", ((1 << 8 * half) - 1,) * 2),
    ):  # fmt: skip
        yield _Test(comment, ("RangeCheck",), joined(*values))
    if maker.curve is not Curve.DSA_1024:
        key = ec.derive_private_key(int.from_bytes(maker.key.scalar, "big"), curve_class(maker.curve))
        wrong = key.sign(signed, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
        yield _Test("over SHA-384", ("WrongHash",), signed + raw_signature(wrong, half))
    another = _key(SeededEntropy(SEED, "another key"), maker.curve)
    yield _Test("by another key", ("WrongKey",), signed + maker.sign(signed, key=another))
    other = Curve.P224 if maker.curve is Curve.P256 else Curve.P256
    foreign = _key(SeededEntropy(SEED, "the other curve"), other)
    made = foreign.sign(signed)
    middle = len(made) // 2
    forms = {"to its length": made[:middle].rjust(half, b"\0")[-half:] + made[middle:].rjust(half, b"\0")[-half:]}
    for comment, form in (forms | {"as it is": made}).items():
        certificate = maker.pki.issue_psd(foreign.point, SERIAL, CERTIFICATE, NOW)
        yield _Test(f"by a key on {other}, brought {comment}", ("WrongCurve",), signed + form,
                    more={"psdCertificates": [certificate.hex()]})  # fmt: skip


def _bad_certificates(maker: _Maker, other_pki: Pki) -> Iterator[_Test]:
    good = maker.make()

    def judged_by(comment: str, flag: str, *certificates: bytes, result: str = "invalid", **more: Any) -> _Test:
        given = {"psdCertificates": [der.hex() for der in certificates]} if certificates else {}
        return _Test(comment, (flag,), good, result, given | more)

    at_noon = maker.certificate()
    yield judged_by("the right certificate among others", "Good", maker.certificate(serial=SERIAL + 1), at_noon,
                    result="valid")  # fmt: skip
    yield judged_by("another PSD's certificate", "WrongCertificate", maker.certificate(serial=SERIAL + 1))
    yield judged_by("a certificate of another serial number", "WrongCertificate",
                    maker.certificate(number=CERTIFICATE + 1))  # fmt: skip
    elsewhere = replace(maker, pki=other_pki).certificate()
    yield judged_by("issued by another CA of the same name", "UntrustedCertificate", elsewhere)
    yield judged_by("the provider's certificate", "UntrustedCertificate", maker.pki.provider.certificate)
    yield judged_by("ended two years before", "ExpiredCertificate", maker.certificate(now=NOW - 12 * _YEAR))
    yield judged_by("begins a year later", "ExpiredCertificate", maker.certificate(now=NOW + _YEAR))
    yield judged_by("the certificate is revoked", "RevokedCertificate", revoked=[CERTIFICATE])
    yield judged_by("another certificate is revoked", "Good", result="valid", revoked=[CERTIFICATE + 1])
