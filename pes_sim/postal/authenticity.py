"""Is it what it says? The verifier's own checks (`indicium/verify.py`), and why some could not be made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pes_sim.indicium.signature import MACS
from pes_sim.postal.assessment import NOT_GIVEN, Verdict
from pes_sim.postal.case import NO_FIELDS, Case, Found, failed, not_applicable, not_checkable, passed

_OF_CERTIFICATES: Final = ("certificate", "validity", "revocation")
_NO_MAC: Final = "it bears a signature, which is checked with a certificate"
_NO_CERTIFICATE: Final = "a MAC is checked with the key that made it, and has no certificate"


def said_by_the_verifier(name: str) -> Callable[[Case], Found]:
    """The check that gives what the verifier said to its check `name`."""

    def look(case: Case) -> Found:
        made = case.made(name)
        if made is None:
            return _not_made(case, name)
        if made.passed:
            return passed(made.note)
        verdict = Verdict(made.verdict.value)
        return not_checkable(made.note, verdict) if verdict in NOT_GIVEN else failed(verdict, made.note)

    return look


def _not_made(case: Case, name: str) -> Found:
    """Why the verifier did not come to it."""
    if not case.report.values:
        return not_checkable(NO_FIELDS)
    scheme = case.made("scheme")
    if scheme is not None:
        return not_checkable(scheme.note, Verdict.UNKNOWN_SCHEME if name == "signature" else Verdict.ACCEPTED)
    by_secret = case.layout is not None and case.layout.signature.scheme in MACS
    if by_secret and name in _OF_CERTIFICATES:
        return not_applicable(_NO_CERTIFICATE)
    if not by_secret and name == "key":
        return not_applicable(_NO_MAC)
    certificate = case.made("certificate")
    if name == "revocation" and certificate is not None and certificate.passed:
        return not_checkable("no list of revoked certificates was given")
    return not_checkable("there is no key for it that could be trusted")
