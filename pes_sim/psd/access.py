"""Who is there: challenges, proofs, and what becomes of wrong ones. A session lasts until the power goes, or the next.

* A challenge is good for one attempt, or for one order of the provider's.
* The customer's meter proves itself with a MAC by the secret that it shares with the device since manufacture; provider
  and postal inspector with a login signed by a key that the trust anchor certifies for them.
* Every proof is written down as a wrong one before it is looked at. After `FREE_ATTEMPTS` each costs twice the time of
  the one before; after `MOST_ATTEMPTS` none is looked at until the provider unlocks the device. (Numbers assumed.)
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final

from pes_sim.clock import HOUR, SECOND
from pes_sim.entropy import Entropy
from pes_sim.errors import (
    AuthenticationFailed,
    AuthenticationWaits,
    FieldError,
    KeyStoreFailed,
    NotAuthenticated,
    NothingPending,
    PesError,
)
from pes_sim.indicium import certificates
from pes_sim.indicium.certificates import Purpose
from pes_sim.psd import messages
from pes_sim.psd.books import Books
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import KeyStore, Slot
from pes_sim.psd.roles import Role
from pes_sim.psd.services import Service
from pes_sim.psd.state import Answer, Attempts, PsdState

FREE_ATTEMPTS: Final = 3
MOST_ATTEMPTS: Final = 10
LIFETIME: Final = 1 * HOUR
"""Of a challenge (assumed)."""
_NOBODY: Final = Role.NONE
_COUNTED: Final = tuple(role for role in Role if role is not Role.NONE)
_PURPOSE: Final = {Role.PROVIDER: Purpose.PROVIDER, Role.INSPECTOR: Purpose.INSPECTOR}


def user_challenge(psd_serial: int, nonce: bytes) -> bytes:
    """What the customer's meter makes its HMAC-SHA-256 over, with the secret it shares with the device."""
    return b"pes-sim user" + psd_serial.to_bytes(4, "big") + nonce


class Access:
    """Of one power cycle: who has authenticated himself, and the challenge that waits."""

    def __init__(self) -> None:
        self.role = Role.NONE
        self.nonce = b""
        self.number = 0
        self._asked_for = 0

    def challenge(self, state: PsdState, entropy: Entropy, time: int) -> Values:
        """A new nonce, in place of one that still waits."""
        self.nonce, self.number, self._asked_for = entropy(16), state.message_number, time
        return {"nonce": self.nonce, "message_number": self.number}

    def forget_old(self, time: int) -> None:
        """A challenge serves for an hour: an order kept back must not work whenever the host likes."""
        if not 0 <= time - self._asked_for <= LIFETIME:
            self.nonce = b""

    def check(self, service: Service) -> None:
        """Raises `NotAuthenticated` unless the service is for who is there. A signed order proves itself."""
        if _NOBODY in service.roles or service.signed or self.role in service.roles:
            return
        roles = [role.value for role in Role if role in service.roles]
        raise NotAuthenticated(
            f"{service.name} is for {' or '.join(roles)}; who is there: {self.role}",
            hint="Ask for a challenge and authenticate; a session ends with the power", roles=roles,
        )  # fmt: skip

    def authenticate(self, request: Values, books: Books, keys: KeyStore) -> Values:
        """Opens a session for who proves himself. Each attempt is made durable, whatever comes of it."""
        before, role = books.state, _claimed(request)
        _check_wait(before, role, books.time)
        self.forget_old(books.time)
        nonce = self._take_nonce()
        self.role = Role.NONE
        # Counted as wrong before it is looked at: an attempt that cannot be written down would be free.
        books.commit(after_failure(before, role, books.time), Answer())
        try:
            proven = proves(before, keys, role, request["proof"], nonce, books.time)
        except KeyStoreFailed:
            books.commit(before, Answer())  # a token that is away has not looked at the proof
            raise
        if not proven:
            raise _failure(books.state, role)
        books.commit(_after_success(books.state, role), Answer())
        self.role = role
        return {"role": role.value}

    def _take_nonce(self) -> bytes:
        """The nonce that waits, used up. Raises `NothingPending` when there is none."""
        nonce, self.nonce = self.nonce, b""
        if not nonce:
            raise NothingPending(
                "no challenge was asked for, or it was used up", hint="Ask for a challenge first; it serves for an hour"
            )
        return nonce


def _check_wait(state: PsdState, role: Role, time: int) -> None:
    """Raises `AuthenticationWaits` while no proof of that role is looked at."""
    made = state.attempts[_COUNTED.index(role)]
    if made.failed >= MOST_ATTEMPTS:
        raise AuthenticationWaits(
            f"{made.failed} wrong proofs in a row: none is looked at any more",
            hint="The provider's unlock order lets them be forgotten", attempts=made.failed,
        )  # fmt: skip
    if time < made.not_before:
        seconds = -(-(made.not_before - time) // SECOND)
        raise AuthenticationWaits(
            f"after {made.failed} wrong proofs the next is looked at in {seconds} s",
            hint="Wait, then ask for a new challenge", seconds=seconds, attempts=made.failed,
        )  # fmt: skip


def _claimed(request: Values) -> Role:
    """The role that a request is for. Raises `FieldError` for one that has no proof."""
    known = [role.value for role in Role if role is not Role.NONE]
    if request["role"] not in known:
        raise FieldError(f"field role names {request['role']!r}", hint=f"Known: {', '.join(known)}", field="role")
    return Role(request["role"])


def proves(state: PsdState, keys: KeyStore, role: Role, proof: bytes, nonce: bytes, time: int) -> bool:
    """Whether `proof` is what only that role can have made of the nonce."""
    if role is Role.USER:
        expected = keys.mac(Slot.USER, user_challenge(state.psd_serial, nonce))
        return hmac.compare_digest(expected, proof)
    try:
        _check_login(state, role, proof, nonce, time)
    except PesError:
        return False
    return True


def _check_login(state: PsdState, role: Role, login: bytes, nonce: bytes, time: int) -> None:
    _, claimed = messages.peek(login, "login")
    who = certificates.read(claimed["certificate"], state.trust_anchor, _PURPOSE[role])
    certificates.check_dates(who, time)
    _, values = messages.open_signed(login, who.point, "login")
    if (values["psd_serial"], values["nonce"], values["role"]) != (state.psd_serial, nonce, role):
        raise FieldError("the login is for another device, challenge or role")


def after_failure(state: PsdState, role: Role, time: int) -> PsdState:
    """`state` with one more wrong proof of that role."""
    failed = state.attempts[_COUNTED.index(role)].failed + 1
    wait = SECOND << max(0, failed - FREE_ATTEMPTS) if failed >= FREE_ATTEMPTS else 0
    return _with(state, role, Attempts(failed, time + wait))


def _after_success(state: PsdState, role: Role) -> PsdState:
    """`state` with none: of that role only, or who knows one role's secret could guess another's for nothing."""
    return _with(state, role, Attempts())


def _failure(state: PsdState, role: Role) -> AuthenticationFailed:
    """The answer to a wrong proof."""
    left = max(0, MOST_ATTEMPTS - state.attempts[_COUNTED.index(role)].failed)
    return AuthenticationFailed(
        f"the proof is wrong; {left} attempts are left", hint="Ask for a new challenge for each", attempts_left=left
    )


def _with(state: PsdState, role: Role, made: Attempts) -> PsdState:
    attempts = (made if one is role else before for one, before in zip(_COUNTED, state.attempts, strict=True))
    return replace(state, attempts=tuple(attempts))
