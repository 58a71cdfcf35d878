"""A payload as a teacher would go through it: each field in words, each check and why, the signature step by step.

The numbers of the signature are really worked out (`curves`), beside the verifier's own answer. No secret is shown: of
a MAC's key only how long it is, and the MAC only where it is the one that stands in the payload anyway.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final, NamedTuple

from pes_sim.errors import PayloadError
from pes_sim.indicium import dsa
from pes_sim.indicium.certificates import Checked
from pes_sim.indicium.codings import CODINGS
from pes_sim.indicium.definition import LEGACY
from pes_sim.indicium.layout import Indicium, Layout, Row, recognise
from pes_sim.indicium.signature import MACS
from pes_sim.postal import curves
from pes_sim.postal.acceptance import CHECKS, Office, assess
from pes_sim.postal.assessment import Assessment, Scan

_NOT_CHECKED: Final = {
    "hmac-truncated": "Its MAC of 6 bytes was made with a key that the provider shares with the Postal Service alone. "
    "Without that key nobody can tell a true one from a guess.",
}
_BLOCK: Final = 64
"""Bytes that SHA-256 works on at a time."""


class FieldTold(NamedTuple):
    """One field in words. `basis`: public or assumed, with the reason."""

    name: str
    offset: int
    length: int
    raw: str
    coding: str
    value: str
    meaning: str
    basis: str


class CheckTold(NamedTuple):
    """One check: what came of it, and why it is made."""

    name: str
    result: str
    note: str
    why: str


class Step(NamedTuple):
    """One step of a signature: what is done, and the number that comes of it."""

    what: str
    value: str


class Explanation(NamedTuple):
    """All there is to say of a payload."""

    title: str
    fields: Sequence[FieldTold]
    checks: Sequence[CheckTold]
    steps: Sequence[Step]
    assessment: Assessment

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "title": self.title,
            "verdict": self.assessment.verdict.value,
            "fields": [row._asdict() for row in self.fields],
            "checks": [row._asdict() for row in self.checks],
            "signature": [step._asdict() for step in self.steps],
        }


def explain(payload: bytes, office: Office, today: date, day: date | None = None) -> Explanation:
    """Goes through a payload as if it was scanned on `day`, else on its own date of mailing, else `today`.

    It is looked at alone: checks that need earlier scans say so. Raises `UsageError` for bytes that are too many.
    """
    try:
        layout = recognise(payload, office.layouts)
        parsed = layout.unpack(payload)
    except PayloadError as problem:
        assessment = assess(office.case(Scan("explained", payload, day or today)))
        return Explanation(f"No indicium: {problem}", (), _checks(assessment), (), assessment)
    case = office.case(Scan("explained", payload, day or today))
    if day is None and case.mailing_date is not None:
        case = replace(case, scan=replace(case.scan, day=case.mailing_date))
    assessment = assess(case)
    steps = list(_signature(parsed, office))
    title = f"{layout.title}: {len(payload)} bytes, as if scanned on {case.scan.day}"
    return Explanation(title, _fields(layout, payload), _checks(assessment), steps, assessment)


def _fields(layout: Layout, payload: bytes) -> list[FieldTold]:
    codings = {field.name: CODINGS[field.coding].holds for field in layout.fields}
    return [
        FieldTold(
            row.name, row.offset, row.length, row.raw.hex(), codings.get(row.name, "bytes"),
            _in_words(row), row.meaning, f"{row.basis}: {row.source}" if row.source else row.basis,
        )
        for row in layout.describe(payload)
    ]  # fmt: skip


def _in_words(row: Row) -> str:
    if isinstance(row.value, bytes):
        return f"{len(row.value)} bytes"
    if row.unit == "mills" and isinstance(row.value, int):
        return f"{row.said} ({row.value} mills)"
    return row.said or "none"


def _checks(assessment: Assessment) -> list[CheckTold]:
    why = {row.name: row.why for row in CHECKS}
    return [CheckTold(f.check, f.result.value, f.note, why[f.check]) for f in assessment.findings]


def _signature(parsed: Indicium, office: Office) -> Iterator[Step]:
    scheme = parsed.layout.signature
    last = parsed.layout.signed_length - 1
    yield Step(f"What is signed: bytes 0 to {last}, all fields", parsed.signed.hex())
    yield Step(f"What is said to sign it: bytes {last + 1} to {last + scheme.length}", parsed.signature.hex())
    if scheme.scheme in curves.BY_SCHEME:
        yield from _ecdsa(parsed, office)
    elif scheme.scheme == LEGACY:
        yield from _dsa(parsed, office)
    elif scheme.scheme in MACS:
        yield from _hmac(parsed, office)
    else:
        reason = _NOT_CHECKED.get(scheme.scheme, "Nothing here knows how such a signature is made.")
        yield Step(f"Scheme {scheme.scheme}: it cannot be checked here", reason)


def _ecdsa(parsed: Indicium, office: Office) -> Iterator[Step]:
    curve = curves.BY_SCHEME[parsed.layout.signature.scheme]
    yield Step("SHA-256 of what is signed", hashlib.sha256(parsed.signed).hexdigest())
    found = _certificate(parsed, office)
    if found is None:
        yield _no_key(parsed)
        return
    w = curves.verify(curve, found.point, parsed.signed, parsed.signature)
    size = 2 * curve.length

    def shown(number: int) -> str:
        return f"{number:0{size}x}"

    def at(point: curves.Point) -> str:
        return "the point at infinity" if point is None else f"x = {shown(point[0])}\ny = {shown(point[1])}"

    yield Step(f"The public key Q, from certificate {found.serial} of PSD {found.device}", at(w.public))
    yield Step("r, the first half of the signature", shown(w.r))
    yield Step("s, the second half", shown(w.s))
    if not w.z and w.complaint:
        yield Step("It ends here", w.complaint)
        return
    yield Step(f"z: the leftmost {curve.n.bit_length()} bits of the hash as a number", shown(w.z))
    yield Step(f"w = 1 / s modulo n, the order of {curve.name}", shown(w.w))
    yield Step("u1 = z w modulo n", shown(w.u1))
    yield Step("u2 = r w modulo n", shown(w.u2))
    yield Step("u1 G, the base point so many times", at(w.first))
    yield Step("u2 Q, the public key so many times", at(w.second))
    yield Step("Their sum", at(w.total))
    told = f"{shown(w.v)}\n{'the same as r: it verifies' if w.good else 'not r: it does not verify'}"
    yield Step("Its x modulo n, beside r", w.complaint or told)


def _dsa(parsed: Indicium, office: Office) -> Iterator[Step]:
    digest = hashlib.sha1(parsed.signed, usedforsecurity=False).digest()
    yield Step("SHA-1 of what is signed (IBI; neither SHA-1 nor DSA-1024 is approved any more)", digest.hex())
    found = _certificate(parsed, office)
    if found is None:
        yield _no_key(parsed)
        return
    y = int.from_bytes(found.point, "big")
    r, s = (int.from_bytes(half, "big") for half in (parsed.signature[: dsa.HALF], parsed.signature[dsa.HALF :]))
    yield Step(f"The public key y, from certificate {found.serial} of PSD {found.device}", found.point.hex())
    yield Step("r, the first half of the signature", f"{r:040x}")
    yield Step("s, the second half", f"{s:040x}")
    if not (0 < r < dsa.Q and 0 < s < dsa.Q) or len(found.point) != dsa.PUBLIC:
        yield Step("It ends here", "r and s must be above 0 and below q, and y a number of the group")
        return
    w = pow(s, -1, dsa.Q)
    u1, u2 = int.from_bytes(digest, "big") * w % dsa.Q, r * w % dsa.Q
    v = pow(dsa.G, u1, dsa.P) * pow(y, u2, dsa.P) % dsa.P % dsa.Q
    yield Step("w = 1 / s modulo q, the order of the group", f"{w:040x}")
    yield Step("u1 = hash times w modulo q", f"{u1:040x}")
    yield Step("u2 = r w modulo q", f"{u2:040x}")
    told = "the same as r: it verifies" if v == r else "not r: it does not verify"
    yield Step("g to the u1 times y to the u2, modulo p, then modulo q, beside r", f"{v:040x}\n{told}")


def _certificate(parsed: Indicium, office: Office) -> Checked | None:
    trust = office.trust
    if not trust.anchor:
        return None
    return trust.certificate(parsed.values["certificate_serial"], parsed.values["psd_serial"])


def _no_key(parsed: Indicium) -> Step:
    serial, device = parsed.values["certificate_serial"], parsed.values["psd_serial"]
    return Step(
        f"The public key, from certificate {serial!r} of PSD {device!r}",
        "none: no certificate was given that the CA issued for it, so the sum ends here (--ca ca.pem --psd psd.pem). "
        "Real PSDs' keys were never published",
    )


def _hmac(parsed: Indicium, office: Office) -> Iterator[Step]:
    device, length = parsed.values["psd_serial"], parsed.layout.signature.length
    keys = office.trust.secrets.get(device, ()) if isinstance(device, int) else ()
    if not keys:
        yield Step(
            f"The secret key of PSD {device!r}", "none was given: nobody can check a MAC without it (--mac-keys)"
        )
        return
    macs = [_mac(key, parsed.signed) for key in keys]
    matching = next((n for n, (_, mac) in enumerate(macs) if hmac.compare_digest(mac[:length], parsed.signature)), None)
    key = keys[matching or 0]
    yield Step(f"The secret key of PSD {device!r}", f"{len(key)} bytes, not shown: who has it can make MACs")
    yield Step(f"K: the key, filled up with zeros to {_BLOCK} bytes", "not shown")
    if matching is None:
        # What is right for these fields is not told: it would make a forgery of them true.
        yield Step(f"SHA-256(K xor 5c... + SHA-256(K xor 36... + what is signed)), its first {length} bytes",
                   "not what stands in the payload: it does not verify")  # fmt: skip
        return
    inner, mac = macs[matching]
    yield Step("Inner hash: SHA-256 of (K xor 36 36 36 ...) and what is signed", inner.hex())
    yield Step("Outer hash: SHA-256 of (K xor 5c 5c 5c ...) and the inner hash", mac.hex())
    yield Step(f"Its first {length} bytes, beside the payload's", f"{mac[:length].hex()}\nthe same: it verifies")


def _mac(key: bytes, message: bytes) -> tuple[bytes, bytes]:
    """The inner and the outer hash of HMAC-SHA-256 (FIPS 198-1), by hand."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return inner, hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()
