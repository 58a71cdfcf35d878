"""Initialize and authorize: a blank device gets its keys, then its licence. Both are pure: state in, state out."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pes_sim.clock import SECOND, iso
from pes_sim.errors import BadCertificate, FieldError
from pes_sim.indicium import certificates
from pes_sim.psd import lifecycle
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import Event
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import PsdState

_LARGEST_SERIAL: Final = (1 << 32) - 1


def initialize(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """Serial number, trust anchor, a new key pair, and the nonce that the authorization must repeat."""
    if request["psd_serial"] == 0:
        raise FieldError("field psd_serial must not be 0", field="psd_serial")
    certificates.check_anchor(request["trust_anchor"])
    tools.keys.generate()
    nonce = tools.entropy(16)
    after = replace(
        state,
        lifecycle=lifecycle.after(state.lifecycle, Event.INITIALIZE),
        psd_serial=request["psd_serial"],
        trust_anchor=request["trust_anchor"],
        wrapped_key=tools.keys.wrapped(),
        authorization_nonce=nonce,
    )
    return Outcome(after, {"public_key": tools.keys.public_point(), "nonce": nonce})


def authorize(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """The licence. Its certificates must chain to the trust anchor, and the PSD's must be for the PSD's own key."""
    own = certificates.read(message["psd_certificate"], state.trust_anchor, certificates.Purpose.PSD)
    if own.point != tools.keys.public_point() or own.device != state.psd_serial:
        raise BadCertificate("the PSD certificate in the authorization is for another key or serial number")
    if own.serial > _LARGEST_SERIAL:
        raise BadCertificate("the PSD certificate's serial number does not fit the four bytes of the indicium")
    if not own.not_before <= tools.time // SECOND <= own.not_after:
        raise BadCertificate(f"the PSD certificate does not hold at the device's time, {iso(tools.time)}")
    origin = message["licensing_zip"]
    if not (len(origin) == 5 and origin.isascii() and origin.isdigit()):
        raise FieldError("field licensing_zip must be 5 digits", field="licensing_zip")
    provider = certificates.read(message["provider_certificate"], state.trust_anchor, certificates.Purpose.PROVIDER)
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
