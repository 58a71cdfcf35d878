"""A PKCS#11 token: opened once for a process, and its errors as this project's.

* A PIN is tried once. It is kept nowhere, and no message holds it.
* PKCS#11 logs in and out per process and token, not per session; so the key stores of a process share one session.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pes_sim.errors import KeyStoreFailed

if TYPE_CHECKING:
    import pkcs11

_HINTS: Final = {
    "NoSuchToken": "Is the token connected? Its label is shown by: pkcs11-tool --module MODULE --list-token-slots",
    "MultipleTokensReturned": "Several tokens have this label: disconnect one, or give it another label",
    "PinIncorrect": "It was tried once and is not tried again: a token locks itself after a few wrong PINs",
    "PinLenRange": "It was tried once and is not tried again: a token locks itself after a few wrong PINs",
    "PinLocked": "Too many wrong PINs: the token's security officer has to set a new one",
    "PinExpired": "The token wants a new PIN before it serves",
    "UserPinNotInitialized": "The token has no user PIN yet: its security officer has to set one",
    "TokenWriteProtected": "The token takes no new keys: remove its write protection",
    "DeviceMemory": "The token is full: remove keys that no device uses",
    "MechanismInvalid": "The token lacks a mechanism: ECDSA, HMAC-SHA-256 and AES key wrap are needed",
}
_DEFAULT_HINT: Final = "Check that the token is connected and not reset, then start again"


@dataclass(slots=True)
class _Login:
    """A token's session, and how many stores use it."""

    session: pkcs11.Session
    users: int = 0


_logins: Final[dict[tuple[str, str], _Login]] = {}


def log_in(module: str, label: str, pin: str) -> pkcs11.Session:
    """The process's session with a token. Only the first login of a process shows whether the PIN is right."""
    known = _logins.get((module, label))
    if known is None:
        with asking(f"be used: module {module}", "Give the path of the token's PKCS#11 library"):
            import pkcs11

            library = pkcs11.lib(module)
        with asking(f"be opened: label {label!r}"):
            known = _logins[module, label] = _Login(library.get_token(token_label=label).open(rw=True, user_pin=pin))
    known.users += 1
    return known.session


def log_out(module: str, label: str) -> None:
    """The reverse; the last store to leave closes the session."""
    login = _logins[module, label]
    login.users -= 1
    if not login.users:
        del _logins[module, label]
        with asking("be closed"):
            login.session.close()


@contextlib.contextmanager
def asking(what: str, hint: str = _DEFAULT_HINT) -> Iterator[None]:
    """Turns what goes wrong with the token into `KeyStoreFailed`. Its text is ours: a token's could hold anything."""
    try:
        import pkcs11
    except ImportError:
        hint = "Install it with: pip install 'pes-sim[pkcs11]'"
        raise KeyStoreFailed("PKCS#11 tokens need the package python-pkcs11", hint=hint) from None
    try:
        yield
    except pkcs11.PKCS11Error as problem:
        name = type(problem).__name__
        raise KeyStoreFailed(f"the PKCS#11 token cannot {what} ({name})", hint=_HINTS.get(name, hint)) from None
