"""Is this payload what it says? Every check with its result, and one verdict: that of the first check that fails.

Whoever calls brings the certificates; nothing is fetched. The checks on postage, dates and earlier scans are the post
office's (`postal`), not these; it asks for a `thorough` report, which goes on where `verify` otherwise stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final, NamedTuple

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


class Check(NamedTuple):  # not a dataclass: a verifier makes half a dozen for every payload, and a tuple costs a third
    """One check: what was looked at, whether it held, and what was found.

    `verdict`: what it would lead to if nothing had failed before it; `VALID` for one that held.
    """

    name: str
    passed: bool
    note: str
    verdict: Verdict = Verdict.VALID


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

    The certificates are read once, when one is first asked for: keep a `Trust` for as many payloads as there are.
    """

    anchor: bytes = b""
    psd_certificates: Sequence[bytes] = ()
    secrets: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    revoked: frozenset[int] | None = None
    _read: list[_Certificates] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "psd_certificates", tuple(self.psd_certificates))  # what was read stays true

    def certificate(self, serial: Value, device: Value) -> Checked | None:
        """The certificate of that serial number for that PSD, among those that the anchor issued for one."""
        return self._certificates().known.get((serial, device))

    @property
    def complaint(self) -> str:
        """What is wrong with the last of the certificates that cannot be trusted; empty where all can."""
        return self._certificates().complaint

    def _certificates(self) -> _Certificates:
        if not self._read:
            self._read.append(_read(self.anchor, self.psd_certificates))
        return self._read[0]


class _Certificates(NamedTuple):
    """Certificates by serial number and PSD, and what is wrong with one that is not among them."""

    known: Mapping[tuple[Value, Value], Checked]
    complaint: str


def _read(anchor: bytes, psd_certificates: Sequence[bytes]) -> _Certificates:
    known: dict[tuple[Value, Value], Checked] = {}
    complaint = ""
    for der in psd_certificates:
        try:
            checked = certificates.read(der, anchor, Purpose.PSD)
        except BadCertificate as problem:
            complaint = problem.message
        else:
            known.setdefault((checked.serial, checked.device), checked)
    return _Certificates(known, complaint)


class _Failed(Exception):
    def __init__(self, verdict: Verdict, note: str) -> None:
        super().__init__(note)
        self.verdict = verdict
        self.note = note


class _Case:
    """A payload, what is believed, and what the steps have found so far."""

    __slots__ = ("checked", "keys", "layout", "layouts", "parsed", "payload", "trust", "values")

    def __init__(self, payload: bytes, trust: Trust, layouts: Iterable[Layout] | None) -> None:
        self.payload, self.trust, self.layouts = payload, trust, layouts
        self.layout: Layout
        self.parsed: Indicium | None = None
        self.checked: Checked
        self.keys: Sequence[bytes] = ()
        self.values: Mapping[str, Value] = {}


def verify(payload: bytes, trust: Trust, layouts: Iterable[Layout] | None = None, *, thorough: bool = False) -> Report:
    """The verdict on `payload`. Never raises for bytes, whatever they are.

    `thorough` makes every check that still can be made after one has failed; the verdict stays the first one's.
    """
    case = _Case(payload, trust, layouts)
    checks: list[Check] = []
    if _made(_FIRST, case, checks, thorough) and case.layout.signature.scheme in signature.LENGTHS:
        by_secret = case.layout.signature.scheme in signature.MACS
        _made(_BY_SECRET if by_secret else _BY_CERTIFICATE, case, checks, thorough)
    verdict = next((check.verdict for check in checks if not check.passed), Verdict.VALID)
    if case.parsed is None:
        return Report(verdict, checks)
    return Report(verdict, checks, case.layout.name, case.values)


def _made(steps: Sequence[_Step], case: _Case, checks: list[Check], thorough: bool) -> bool:
    """Makes the checks of `steps`. Whether there is anything left to be made after them."""
    for step in steps:
        try:
            note = step.look(case)
        except _Failed as failure:
            checks.append(Check(step.name, False, failure.note, failure.verdict))
            if not thorough or step.needed or failure.verdict is Verdict.TRUNCATED:
                return False
        else:
            if note:
                checks.append(Check(step.name, True, note))
    return True


def _version(case: _Case) -> str:
    payload = case.payload
    try:
        case.layout = layout = recognise(payload, case.layouts)
    except PayloadError as problem:
        raise _Failed(Verdict.UNKNOWN_VERSION if payload else Verdict.TRUNCATED, str(problem)) from None
    return f"{payload[0]} is {layout.title}" if layout.versions else f"none: read as {layout.title}"


def _length(case: _Case) -> str:
    layout = case.layout
    try:
        case.parsed = parsed = layout.unpack(case.payload)
    except PayloadError as problem:
        raise _Failed(Verdict.TRUNCATED, problem.message) from None
    case.values = parsed.values
    if parsed.trailing and layout.writable:
        raise _Failed(Verdict.WRONG_LENGTH, f"{len(parsed.trailing)} bytes more than the {layout.length} of the layout")
    return f"{len(case.payload)} bytes"


def _scheme(case: _Case) -> str:
    scheme = case.layout.signature.scheme
    if scheme not in signature.LENGTHS:
        raise _Failed(
            Verdict.UNKNOWN_SCHEME, f"{case.layout.title}: signatures of scheme {scheme} cannot be checked here"
        )
    return ""


def _provider(case: _Case) -> str:
    provider = case.values.get("provider_id")
    if provider != SPECIMEN_PROVIDER:
        raise _Failed(Verdict.NOT_A_SPECIMEN, f"provider {provider!r} is not the simulator's ({SPECIMEN_PROVIDER})")
    return _OUR_PROVIDER


def _key(case: _Case) -> str:
    device = case.values["psd_serial"]
    case.keys = keys = case.trust.secrets.get(device, ()) if isinstance(device, int) else ()
    if not keys:
        raise _Failed(
            Verdict.NO_KEY,
            f"a MAC cannot be checked without the key that made it; no key of PSD {device!r} was given, and only the "
            "provider has it",
        )
    return f"{len(keys)} of PSD {device!r}"


def _mac(case: _Case) -> str:
    scheme = case.layout.signature
    _any_signature(case.parsed, case.keys, signature.MACS[scheme.scheme])
    return f"{scheme.scheme}, its first {scheme.length} bytes, over the first {case.layout.signed_length} bytes"


def _certificate(case: _Case) -> str:
    trust = case.trust
    if not trust.anchor or not trust.psd_certificates:
        missing = "CA or PSD" if not trust.anchor and not trust.psd_certificates else "PSD" if trust.anchor else "CA"
        raise _Failed(Verdict.NO_CERTIFICATE, f"no {missing} certificate was given, so the signature cannot be checked")
    wanted, device = case.values["certificate_serial"], case.values["psd_serial"]
    checked = trust.certificate(wanted, device)
    if checked is None:
        if trust.complaint:
            raise _Failed(Verdict.UNTRUSTED_CERTIFICATE, trust.complaint)
        raise _Failed(
            Verdict.WRONG_CERTIFICATE, f"no certificate given has serial number {wanted!r} and is for PSD {device!r}"
        )
    case.checked = checked
    return f"serial number {checked.serial}, issued by the trust anchor for PSD {checked.device}"


def _validity(case: _Case) -> str:
    day = str(case.values["mailing_date"])
    try:
        days = date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        return f"{day} is no date: the signature decides whether it was altered"
    if not case.checked.not_before // 86400 <= days <= case.checked.not_after // 86400:
        raise _Failed(Verdict.EXPIRED_CERTIFICATE, f"the certificate does not hold on {day}")
    return f"the certificate holds on {day}"


def _revocation(case: _Case) -> str:
    revoked = case.trust.revoked
    if revoked is None:
        return ""
    if case.checked.serial in revoked:
        raise _Failed(Verdict.REVOKED_CERTIFICATE, f"the certificate {case.checked.serial} is revoked")
    return f"not among the {len(revoked)} that are revoked"


def _signature(case: _Case) -> str:
    scheme = case.layout.signature.scheme
    _any_signature(case.parsed, (case.checked.point,), signature.SCHEMES[scheme])
    return f"{scheme} over the first {case.layout.signed_length} bytes"


def _any_signature(parsed: Indicium | None, keys: Sequence[bytes], check: signature.Check) -> None:
    """Raises `_Failed` unless one of the keys, which are points or secrets, made the signature."""
    complaint = ""
    assert parsed is not None  # or no step would have come here
    for key in keys:
        try:
            return check(key, parsed.signed, parsed.signature)
        except BadSignature as problem:
            complaint = problem.message
    raise _Failed(Verdict.BAD_SIGNATURE, complaint)


class _Step(NamedTuple):
    """A check by name. `look` gives what it found, empty where there was nothing to look at; it raises `_Failed`.

    `needed`: without it, none of the steps after it can be made.
    """

    name: str
    look: Callable[[_Case], str]
    needed: bool = False


_OUR_PROVIDER: Final = f"{SPECIMEN_PROVIDER}: the simulator's own"
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_FIRST: Final = (
    _Step("version", _version, needed=True),
    _Step("length", _length),
    _Step("scheme", _scheme),
    _Step("provider", _provider),
)
_BY_SECRET: Final = (_Step("key", _key, needed=True), _Step("signature", _mac))
_BY_CERTIFICATE: Final = (
    _Step("certificate", _certificate, needed=True),
    _Step("validity", _validity),
    _Step("revocation", _revocation),
    _Step("signature", _signature),
)
