"""The meter's session with its PSD: proved by the secret in `meter.key`, opened again where another took its place.

* It is opened when something needs it: a login is written to the PSD's log, and who only looks leaves nothing there.
* Wrong proofs are counted by the PSD. One is enough: after it none is tried until the meter is powered on again.
* A meter that its PSD does not know says so, and names `meter.key`, whenever it needs the session, and not before.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Mapping
from typing import Final

from pes_sim.errors import AuthenticationFailed, AuthenticationWaits, NotAuthenticated, RefusedInState
from pes_sim.psd.access import user_challenge
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values
from pes_sim.psd.lifecycle import State
from pes_sim.psd.roles import Role
from pes_sim.psd.services import BY_NAME

_OUT_OF_SERVICE: Final[Mapping[str, str]] = {
    State.UNINITIALIZED: "The PSD is blank: it is made into a meter by initialize and authorize",
    State.INITIALIZED: "The PSD has no licence yet: authorize comes next",
    State.WITHDRAWN: "It was withdrawn from service and its postage paid back; registers and log can still be read",
    State.ZEROIZED: "Its keys are destroyed for good, and another meter has to be made; unless psd/kek.key was only "
    "lost: put it back then. The registers can still be read",
}
"""What to do about a PSD that serves no more, or not yet."""
_PUT_BACK: Final = (
    "Put back the meter.key that was made with the meter, and power it on again. The registers can be read without it"
)
_WAIT: Final = "Wait so long, then power the meter on again"
_UNLOCK: Final = "The provider's order to unlock lets them be forgotten; power the meter on again then"


class Session:
    """A PSD as its meter uses it. `secret` is empty where there is none."""

    def __init__(self, psd: Psd, secret: bytes) -> None:
        self._psd = psd
        self._secret = secret
        self._unknown = "" if secret else "meter.key is missing, or another meter's"
        """Why the PSD does not know this meter; empty where that was not found."""
        self._remedy = _PUT_BACK
        self._tried = False

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        """See `Psd.execute`. Raises `NotAuthenticated`, naming `meter.key`, when the PSD does not know this meter."""
        try:
            if name == "challenge" and not self._tried and self._stands_open(now):
                # Whoever asks wants to have it signed elsewhere, and a login of ours would meanwhile use it up.
                with contextlib.suppress(NotAuthenticated):
                    self._open(now)
            try:
                return self._psd.execute(name, request, request_id=request_id, now=now)
            except NotAuthenticated:
                self._open(now)
                return self._psd.execute(name, request, request_id=request_id, now=now)
        except RefusedInState as refusal:
            refusal.hint = _OUT_OF_SERVICE.get(str(refusal.detail.get("state")), refusal.hint)
            raise

    def _stands_open(self, now: int) -> bool:
        """Whether the PSD is in a state in which anybody can log in. One that waits for its recovery is not."""
        state = self._psd.execute("get_status", {}, request_id=b"", now=now)["state"]
        return state in BY_NAME["authenticate"].states

    def _open(self, now: int) -> None:
        self._tried = True
        if not self._unknown:
            serial = self._psd.execute("get_info", {}, request_id=b"", now=now)["psd_serial"]
            try:
                log_in(self._psd, self._secret, serial, now)
            except (AuthenticationFailed, AuthenticationWaits) as problem:
                self._unknown = f"it does not take the secret in meter.key: {problem.message}"
                if isinstance(problem, AuthenticationWaits):
                    self._remedy = _WAIT if "seconds" in problem.detail else _UNLOCK
        if self._unknown:
            raise NotAuthenticated(
                f"the PSD does not know this meter: {self._unknown}",
                hint=self._remedy,
                roles=[Role.USER.value],
            )


def log_in(psd: Psd, secret: bytes, psd_serial: int, now: int) -> None:
    """Opens the meter's session with its PSD; it ends with the power. Raises `AuthenticationFailed`."""
    nonce = psd.execute("challenge", {}, request_id=b"", now=now)["nonce"]
    proof = hmac.digest(secret, user_challenge(psd_serial, nonce), "sha256")
    psd.execute("authenticate", {"role": Role.USER.value, "proof": proof}, request_id=b"", now=now)
