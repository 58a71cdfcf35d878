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
    WRONG_CERTIFICATE = "wrong_certificate"
    UNTRUSTED_CERTIFICATE = "untrusted_certificate"
    EXPIRED_CERTIFICATE = "expired_certificate"
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
    """What a verifier believes: the test CA's certificate, and the PSD certificates it knows, all in DER."""

    anchor: bytes = b""
    psd_certificates: Sequence[bytes] = ()


class _Failed(Exception):
    def __init__(self, verdict: Verdict, note: str) -> None:
        super().__init__(note)
        self.verdict = verdict
        self.note = note


def verify(payload: bytes, trust: Trust, layouts: Iterable[Layout] | None = None) -> Report:
    """The verdict on `payload`. Never raises for bytes, whatever they are."""
    checks: list[Check] = []
    parsed: Indicium | None = None

    def passed(name: str, note: str) -> None:
        checks.append(Check(name, True, note))

    name = "version"
    try:
        layout = _layout(payload, layouts)
        passed(name, f"{payload[0]} is {layout.title}")
        name = "length"
        parsed = _whole(layout, payload)
        passed(name, f"{len(payload)} bytes")
        name = "provider"
        _specimen(parsed)
        passed(name, f"{SPECIMEN_PROVIDER}: the simulator's own")
        name = "certificate"
        checked = _certificate(parsed, trust)
        passed(name, f"serial number {checked.serial}, issued by the trust anchor for PSD {checked.device}")
        name = "validity"
        _valid_on(checked, str(parsed.values["mailing_date"]))
        passed(name, f"the certificate holds on {parsed.values['mailing_date']!s}")
        name = "signature"
        _signature(parsed, checked)
        passed(name, f"{layout.signature.scheme} over the first {layout.signed_length} bytes")
        verdict = Verdict.VALID
    except _Failed as failure:
        checks.append(Check(name, False, failure.note))
        verdict = failure.verdict
    if parsed is None:
        return Report(verdict, checks)
    return Report(verdict, checks, parsed.layout.name, parsed.values)


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
    if layout.signature.scheme not in signature.SCHEMES:
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


def _signature(parsed: Indicium, checked: Checked) -> None:
    check = signature.SCHEMES[parsed.layout.signature.scheme]
    try:
        check(checked.point, parsed.signed, parsed.signature)
    except BadSignature as problem:
        raise _Failed(Verdict.BAD_SIGNATURE, problem.message) from None
