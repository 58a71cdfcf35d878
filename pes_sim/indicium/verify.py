"""Is this payload what it says? Every check with its result, and one verdict: that of the first check that fails.

Whoever calls brings the certificates; nothing is fetched. The checks on postage, dates and earlier scans are the post
office's (`postal`), not these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from pes_sim.errors import BadCertificate, BadSignature, PayloadError
from pes_sim.indicium import certificates, signature
from pes_sim.indicium.certificates import Checked, Purpose
from pes_sim.indicium.codings import Value
from pes_sim.indicium.layout import SPECIMEN_PROVIDER, Indicium, Layout, recognise


class Verdict(StrEnum):
    """What came of it. Only `VALID` is good."""

    VALID = "valid"
    TRUNCATED = "truncated"
    UNKNOWN_VERSION = "unknown_version"
    WRONG_LENGTH = "wrong_length"
    UNKNOWN_SCHEME = "unknown_scheme"
    NO_CERTIFICATE = "no_certificate"
    NO_KEY = "no_key"
    WRONG_CERTIFICATE = "wrong_certificate"
    UNTRUSTED_CERTIFICATE = "untrusted_certificate"
    EXPIRED_CERTIFICATE = "expired_certificate"
    REVOKED_CERTIFICATE = "revoked_certificate"
    BAD_SIGNATURE = "bad_signature"
    NOT_A_SPECIMEN = "not_a_specimen"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, whether it held, and what was found."""

    name: str
    passed: bool
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict, the checks that led to it in order, and the payload's fields where they could be read."""

    verdict: Verdict
    checks: Sequence[Check]
    layout: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a verifier believes: the test CA's certificate, and the PSD certificates it knows, all in DER.

    `secrets`: of the PSDs that make MACs, by serial number, the keys they had; only the provider has them. `revoked`:
    serial numbers of certificates that are called back, None where nobody says.
    """

    anchor: bytes = b""
    psd_certificates: Sequence[bytes] = ()
    secrets: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    revoked: frozenset[int] | None = None


class _Failed(Exception):
    def __init__(self, verdict: Verdict, note: str) -> None:
        super().__init__(note)
        self.verdict = verdict
        self.note = note


class _Progress:
    """The checks so far, and the name of the one under way."""

    def __init__(self) -> None:
        self.done: list[Check] = []
        self._name = ""

    def begin(self, name: str) -> None:
        self._name = name

    def passed(self, note: str) -> None:
        self.done.append(Check(self._name, True, note))

    def failed(self, note: str) -> None:
        self.done.append(Check(self._name, False, note))


def verify(payload: bytes, trust: Trust, layouts: Iterable[Layout] | None = None) -> Report:
    """The verdict on `payload`. Never raises for bytes, whatever they are."""
    checks = _Progress()
    parsed: Indicium | None = None
    try:
        checks.begin("version")
        layout = _layout(payload, layouts)
        checks.passed(f"{payload[0]} is {layout.title}" if layout.versions else f"none: read as {layout.title}")
        checks.begin("length")
        parsed = _whole(layout, payload)
        checks.passed(f"{len(payload)} bytes")
        checks.begin("provider")
        _specimen(parsed)
        checks.passed(f"{SPECIMEN_PROVIDER}: the simulator's own")
        if layout.signature.scheme in signature.MACS:
            _by_secret(parsed, trust, checks)
        else:
            _by_certificate(parsed, trust, checks)
        verdict = Verdict.VALID
    except _Failed as failure:
        checks.failed(failure.note)
        verdict = failure.verdict
    if parsed is None:
        return Report(verdict, checks.done)
    return Report(verdict, checks.done, parsed.layout.name, parsed.values)


def _by_secret(parsed: Indicium, trust: Trust, checks: _Progress) -> None:
    checks.begin("key")
    device = parsed.values["psd_serial"]
    keys = trust.secrets.get(device, ()) if isinstance(device, int) else ()
    if not keys:
        raise _Failed(
            Verdict.NO_KEY,
            f"a MAC cannot be checked without the key that made it; no key of PSD {device!r} was given, and only the "
            "provider has it",
        )
    checks.passed(f"{len(keys)} of PSD {device!r}")
    checks.begin("signature")
    _any_signature(parsed, keys)
    scheme = parsed.layout.signature
    checks.passed(
        f"{scheme.scheme}, its first {scheme.length} bytes, over the first {parsed.layout.signed_length} bytes"
    )


def _by_certificate(parsed: Indicium, trust: Trust, checks: _Progress) -> None:
    checks.begin("certificate")
    checked = _certificate(parsed, trust)
    checks.passed(f"serial number {checked.serial}, issued by the trust anchor for PSD {checked.device}")
    checks.begin("validity")
    day = str(parsed.values["mailing_date"])
    _valid_on(checked, day)
    checks.passed(f"the certificate holds on {day}")
    if trust.revoked is not None:
        checks.begin("revocation")
        if checked.serial in trust.revoked:
            raise _Failed(Verdict.REVOKED_CERTIFICATE, f"the certificate {checked.serial} is revoked")
        checks.passed(f"not among the {len(trust.revoked)} that are revoked")
    checks.begin("signature")
    _any_signature(parsed, [checked.point])
    checks.passed(f"{parsed.layout.signature.scheme} over the first {parsed.layout.signed_length} bytes")


def _layout(payload: bytes, layouts: Iterable[Layout] | None) -> Layout:
    try:
        return recognise(payload, layouts)
    except PayloadError as problem:
        raise _Failed(Verdict.UNKNOWN_VERSION if payload else Verdict.TRUNCATED, str(problem)) from None


def _whole(layout: Layout, payload: bytes) -> Indicium:
    try:
        parsed = layout.unpack(payload)
    except PayloadError as problem:
        raise _Failed(Verdict.TRUNCATED, problem.message) from None
    if parsed.trailing and layout.writable:
        raise _Failed(Verdict.WRONG_LENGTH, f"{len(parsed.trailing)} bytes more than the {layout.length} of the layout")
    if layout.signature.scheme not in signature.LENGTHS:
        raise _Failed(
            Verdict.UNKNOWN_SCHEME,
            f"{layout.title}: signatures of scheme {layout.signature.scheme} cannot be checked here",
        )
    return parsed


def _specimen(parsed: Indicium) -> None:
    provider = parsed.values.get("provider_id")
    if provider != SPECIMEN_PROVIDER:
        raise _Failed(Verdict.NOT_A_SPECIMEN, f"provider {provider!r} is not the simulator's ({SPECIMEN_PROVIDER})")


def _certificate(parsed: Indicium, trust: Trust) -> Checked:
    if not trust.anchor or not trust.psd_certificates:
        raise _Failed(Verdict.NO_CERTIFICATE, "no CA or PSD certificate was given, so the signature cannot be checked")
    wanted, device = parsed.values["certificate_serial"], parsed.values["psd_serial"]
    complaint = ""
    for der in trust.psd_certificates:
        try:
            checked = certificates.read(der, trust.anchor, Purpose.PSD)
        except BadCertificate as problem:
            complaint = problem.message
            continue
        if (checked.serial, checked.device) == (wanted, device):
            return checked
    if complaint:
        raise _Failed(Verdict.UNTRUSTED_CERTIFICATE, complaint)
    raise _Failed(
        Verdict.WRONG_CERTIFICATE, f"no certificate given has serial number {wanted!r} and is for PSD {device!r}"
    )


def _valid_on(checked: Checked, mailing_date: str) -> None:
    try:
        days = date.fromisoformat(mailing_date).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        # An impossible date in a payload: the signature decides whether it was altered.
        return
    if not checked.not_before // 86400 <= days <= checked.not_after // 86400:
        raise _Failed(Verdict.EXPIRED_CERTIFICATE, f"the certificate does not hold on {mailing_date}")


def _any_signature(parsed: Indicium, keys: Sequence[bytes]) -> None:
    """Raises `_Failed` unless one of the keys, which are points or secrets, made the signature."""
    scheme = parsed.layout.signature.scheme
    check = signature.SCHEMES.get(scheme) or signature.MACS[scheme]
    complaint = ""
    for key in keys:
        try:
            return check(key, parsed.signed, parsed.signature)
        except BadSignature as problem:
            complaint = problem.message
    raise _Failed(Verdict.BAD_SIGNATURE, complaint)
