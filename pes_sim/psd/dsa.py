"""Signing by DSA-1024 with SHA-1, in the legacy profile only: not approved, and not for anything but specimens of IBI.

By our own few lines: `cryptography` does not sign so that the same bytes come out again (RFC 6979), here everything
follows from a seed, and a second cryptographic library would be more to trust than these. They are not safe against
whoever measures their time; who checks them is a library (`indicium.dsa.verify`).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

from pes_sim.indicium.dsa import HALF, PUBLIC, G, P, Q


def public(scalar: bytes) -> bytes:
    """y of a private key: 128 bytes, big-endian."""
    return pow(G, int.from_bytes(scalar, "big"), P).to_bytes(PUBLIC, "big")


def sign(scalar: bytes, message: bytes) -> bytes:
    """r and s, 20 bytes each, big-endian (FIPS 186-4, 4.6)."""
    x, digest = int.from_bytes(scalar, "big"), hashlib.sha1(message, usedforsecurity=False).digest()
    nonces = _nonces(scalar, digest)
    while True:
        k = next(nonces)
        r = pow(G, k, P) % Q
        s = pow(k, -1, Q) * (int.from_bytes(digest, "big") + x * r) % Q
        if r and s:
            return r.to_bytes(HALF, "big") + s.to_bytes(HALF, "big")


def _nonces(scalar: bytes, digest: bytes) -> Iterator[int]:
    """The numbers below Q that key and message give, without end (RFC 6979, 3.2)."""
    seed = scalar + (int.from_bytes(digest, "big") % Q).to_bytes(HALF, "big")
    key, value = bytes(HALF), b"\x01" * HALF
    for round_ in (b"\x00", b"\x01"):
        key = hmac.digest(key, value + round_ + seed, "sha1")
        value = hmac.digest(key, value, "sha1")
    while True:
        value = hmac.digest(key, value, "sha1")
        if 0 < (k := int.from_bytes(value, "big")) < Q:
            yield k
        key = hmac.digest(key, value + b"\x00", "sha1")
        value = hmac.digest(key, value, "sha1")
