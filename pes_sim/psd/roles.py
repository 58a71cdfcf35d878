"""Who asks: the roles of FIPS 140-2 level 3, in which an operator is known by what only he has (identity-based).

A provider's order carries its own signature over a fresh nonce, whoever brings it; the other roles open a session,
which ends with the power or with the next one. Role names are ours; provider as crypto officer, user, and services
without authentication are public (PB iButton PSD, facts in docs/fidelity.md).
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """The roles, by their names on the wire."""

    NONE = "unauthenticated"
    USER = "customer's meter"
    INSPECTOR = "postal inspector"
    PROVIDER = "provider"
