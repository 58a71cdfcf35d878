"""New keys and certificates for a device in service, by the provider's order, in the key store that is handed in.

What a commit that fails leaves in the key store is undone by loading the keys of the old state again (`device`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pes_sim.errors import BadCertificate, BadMessage, NothingPending
from pes_sim.indicium import certificates
from pes_sim.indicium.certificates import Purpose
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import Slot
from pes_sim.psd.manufacture import LARGEST_SERIAL, key_pair
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import PsdState

_LOADABLE: Final = (Slot.MAC, Slot.USER)


def renew(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """A new key pair in the slot that waits; the one in use goes on signing."""
    point = key_pair(tools, Slot.NEXT_INDICIUM, tools.curve)
    return Outcome(replace(state, keys=tools.keys.wrapped()), {"public_key": point})


def load_certificate(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Takes the certificate over, and the key that it is for."""
    own = certificates.read(message["psd_certificate"], state.trust_anchor, Purpose.PSD)
    certificates.check_dates(own, tools.time)
    if own.device != state.psd_serial or own.serial > LARGEST_SERIAL:
        raise BadCertificate("the certificate is for another device, or its serial number does not fit an indicium")
    keys = tools.keys
    if keys.has(Slot.NEXT_INDICIUM) and own.point == keys.public_point(Slot.NEXT_INDICIUM):
        keys.promote(Slot.NEXT_INDICIUM, Slot.INDICIUM)
    elif own.point != keys.public_point(Slot.INDICIUM):
        raise BadCertificate("the certificate is for another key", hint="Order a new key first")
    after = replace(
        state,
        keys=keys.wrapped(),
        psd_certificate=message["psd_certificate"],
        certificate_serial=own.serial,
    )
    return Outcome(after, {"state": after.lifecycle.value})


def load_key(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Takes a secret over that is wrapped under the transport key."""
    try:
        slot = Slot(message["slot"])
    except ValueError:
        slot = Slot.TRANSPORT
    if slot not in _LOADABLE:
        raise BadMessage(f"no secret goes into {message['slot']!r}", hint=f"Allowed: {', '.join(_LOADABLE)}")
    if not tools.keys.has(Slot.TRANSPORT):
        raise NothingPending("the device was made without a transport key", hint="Give it one at initialize")
    tools.keys.unwrap_into(slot, message["wrapped_secret"])
    after = replace(state, keys=tools.keys.wrapped())
    return Outcome(after, {"slot": slot.value}, ends_session=slot is Slot.USER)  # it opened the session
