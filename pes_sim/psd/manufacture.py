"""Initialize and authorize: a blank device gets its keys, then its licence. State in, state out;
the keys are made in the key store that is handed in."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Final, TypeVar

from pes_sim.errors import BadCertificate, FieldError
from pes_sim.indicium import certificates, dsa, signature
from pes_sim.indicium.certificates import Purpose
from pes_sim.psd import lifecycle, rtc
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import SLOTS, Curve, Slot
from pes_sim.psd.lifecycle import Event
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.policy import Regime
from pes_sim.psd.profile import Profile
from pes_sim.psd.state import PsdState

LARGEST_SERIAL: Final = (1 << 32) - 1
"""Of a certificate: it must fit the indicium's four bytes."""

_VERIFY: Final = {
    Curve.P256: signature.verify_p256, Curve.P224: signature.verify_p224, Curve.DSA_1024: dsa.verify,
}  # fmt: skip

_Choice = TypeVar("_Choice", bound=StrEnum)


def initialize(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """Serial number, trust anchor, the meter's secret, the rules, new key pairs, and the nonce of the authorization."""
    if request["psd_serial"] == 0:
        raise FieldError("field psd_serial must not be 0", field="psd_serial")
    if len(request["user_secret"]) < (shortest := SLOTS[Slot.USER].shortest):
        raise FieldError(f"field user_secret has at least {shortest} bytes", field="user_secret")
    profile, regime = _choice(request, "profile", Profile), _choice(request, "regime", Regime)
    curve = _choice(request, "curve", Curve)
    if curve is not tools.curve:
        raise FieldError(
            f"the layout is signed with {tools.curve}, not {curve}", hint="Take the curve of the layout", field="curve"
        )
    check_profile(profile, curve)
    certificates.check_anchor(request["trust_anchor"])
    point = key_pair(tools, Slot.INDICIUM, curve)
    message_point = key_pair(tools, Slot.MESSAGE, Curve.P256)
    tools.keys.put(Slot.USER, request["user_secret"])
    if request["transport_key"]:
        tools.keys.put(Slot.TRANSPORT, request["transport_key"])
    nonce = tools.entropy(16)
    after = replace(
        rtc.set_to(state, tools.time, tools.now),
        lifecycle=lifecycle.after(state.lifecycle, Event.INITIALIZE),
        psd_serial=request["psd_serial"],
        profile=profile,
        regime=regime,
        trust_anchor=request["trust_anchor"],
        keys=tools.keys.wrapped(),
        authorization_nonce=nonce,
    )
    return Outcome(after, {"public_key": point, "message_key": message_point, "nonce": nonce})


def authorize(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """The licence. Its certificates must chain to the trust anchor, and the PSD's must be for the PSD's own key."""
    own = certificates.read(message["psd_certificate"], state.trust_anchor, Purpose.PSD)
    if own.point != tools.keys.public_point(Slot.INDICIUM) or own.device != state.psd_serial:
        raise BadCertificate("the PSD certificate in the authorization is for another key or serial number")
    if own.serial > LARGEST_SERIAL:
        raise BadCertificate("the PSD certificate's serial number does not fit the four bytes of the indicium")
    provider = certificates.read(message["provider_certificate"], state.trust_anchor, Purpose.PROVIDER)
    for certificate in (own, provider):
        certificates.check_dates(certificate, tools.time)
    check_zip(message["licensing_zip"])
    after = replace(
        state,
        lifecycle=lifecycle.after(state.lifecycle, Event.AUTHORIZE),
        authorization_nonce=b"",
        licensing_zip=message["licensing_zip"],
        customer=message["customer"],
        utc_offset_minutes=message["utc_offset_minutes"],
        psd_certificate=message["psd_certificate"],
        certificate_serial=own.serial,
        provider_certificate=message["provider_certificate"],
        provider_point=provider.point,
    )
    return Outcome(after, {"state": after.lifecycle.value})


def key_pair(tools: Tools, slot: Slot, curve: Curve) -> bytes:
    """A new pair that has passed the pair-wise consistency test; gives its public point."""
    point = tools.keys.generate(slot, curve)
    verify = _VERIFY[curve]
    tools.tests.pairwise(
        lambda message: tools.keys.sign(slot, message), lambda message, made: verify(point, message, made)
    )
    return point


def check_profile(profile: Profile, curve: Curve) -> None:
    """Raises `FieldError` unless indicia may be signed so in that profile."""
    if (curve is Curve.DSA_1024) is not (profile is Profile.LEGACY):
        raise FieldError(
            f"profile {profile} does not go with indicia signed by {curve}",
            hint=f"{Curve.DSA_1024}, as in the layout ibi_specimen, is not approved: it is in the profile "
            f"{Profile.LEGACY} alone, and nothing else is",
            field="profile",
        )


def check_zip(text: str) -> None:
    """Raises `FieldError` unless `text` is a ZIP Code of 5 digits."""
    if not (len(text) == 5 and text.isascii() and text.isdigit()):
        raise FieldError("field licensing_zip must be 5 digits", field="licensing_zip")


def _choice(request: Values, name: str, kind: type[_Choice]) -> _Choice:
    try:
        return kind(request[name])
    except ValueError:
        raise FieldError(f"field {name} must be one of {', '.join(kind)}, not {request[name]!r}", field=name) from None
