"""The software key store. Its name says that it protects nothing real; what it promises can be tested all the same.

* The keys leave it only wrapped (AES key wrap, RFC 3394), under a key made of two: the master key, which outlives
  everything, and the key-encryption key in the vault. Without the latter no blob can be unwrapped, old or new.
* So zeroizing is destroying 32 bytes. They lie in the vault alone; the store asks for them when it wraps or unwraps.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pes_sim.entropy import Entropy, child
from pes_sim.errors import IntegrityError, KeysGone
from pes_sim.psd import dsa
from pes_sim.psd.keys import (
    CURVES,
    SLOTS,
    Curve,
    Entry,
    Form,
    Slot,
    Use,
    body_of,
    check_pair,
    check_promotion,
    check_secret,
    check_wrapped,
    curve_class,
    not_unwrapped,
    pack,
    raw_signature,
    refusal,
    signing_algorithm,
    unpack,
)
from pes_sim.psd.vault import Vault

MASTER_KEY_LENGTH: Final = 32
_KEK_LENGTH: Final = 32
_EXTRA: Final = 8
"""FIPS 186-5 A.2.1: 64 bits more than the order has, so that the reduction leaves no bias worth the name."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A key pair, kept ready: making the object costs more than a signature. `sign` gives r and s over a message."""

    curve: Curve
    point: bytes
    sign: Callable[[bytes], bytes] = field(repr=False)
    scalar: bytes = field(repr=False)


class SoftwareKeyStoreNotForProduction:
    """Keys in this process's memory, wrapped under a master key that the caller keeps. For simulation only.

    With a seeded `entropy` its keys follow from the seed, the slot and the keys that are held, so that a key pair is
    repeated by a new run and not by a later process of the same run.
    """

    def __init__(self, master: bytes, entropy: Entropy, vault: Vault) -> None:
        if len(master) != MASTER_KEY_LENGTH:
            raise IntegrityError(f"the master key has {len(master)} bytes, not {MASTER_KEY_LENGTH}")
        self._master = master
        self._entropy = entropy
        self._vault = vault
        self._pairs: dict[Slot, Pair] = {}
        self._secrets: dict[Slot, bytes] = {}

    def generate(self, slot: Slot, curve: Curve = Curve.P256) -> bytes:
        check_pair(slot, curve)
        self._prepare()
        facts = CURVES[curve]
        draw = child(self._entropy, f"{slot} {curve} {self._fingerprint()}")
        scalar = int.from_bytes(draw(facts.half + _EXTRA), "big") % (facts.order - 1) + 1
        self._pairs[slot] = pair(curve, scalar.to_bytes(facts.half, "big"))
        return self.public_point(slot)

    def put(self, slot: Slot, secret: bytes) -> None:
        check_secret(slot, secret)
        self._prepare()
        self._secrets[slot] = secret

    def unwrap_into(self, slot: Slot, wrapped: bytes) -> None:
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

        check_wrapped(slot, wrapped)
        try:
            secret = aes_key_unwrap(self._secret(Slot.TRANSPORT, Use.UNWRAP), wrapped)
        except InvalidUnwrap:
            raise not_unwrapped(slot) from None
        self.put(slot, secret)

    def promote(self, source: Slot, target: Slot) -> None:
        check_promotion(source, target, self.curve(source))
        self._pairs[target] = self._pairs.pop(source)

    def has(self, slot: Slot) -> bool:
        return slot in self._pairs or slot in self._secrets

    def public_point(self, slot: Slot) -> bytes:
        return self._pair(slot).point

    def curve(self, slot: Slot) -> Curve:
        return self._pair(slot).curve

    def sign(self, slot: Slot, message: bytes) -> bytes:
        return self._pair(slot).sign(message)

    def mac(self, slot: Slot, message: bytes) -> bytes:
        return hmac.digest(self._secret(slot, Use.MAC), message, "sha256")

    def wrapped(self) -> bytes:
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        entries = [Entry(slot, pair.curve, pair.scalar) for slot, pair in self._pairs.items()]
        entries += [Entry(slot, None, secret) for slot, secret in self._secrets.items()]
        if not entries:
            return b""
        packed = pack(sorted(entries, key=lambda entry: SLOTS[entry.slot].number))
        # Filled up here and not by RFC 5649, which would leave 32 of the 64 bits that find an alteration.
        packed += bytes(-len(packed) % 8)
        return bytes((Form.SOFTWARE,)) + aes_key_wrap(self._wrapping_key(), packed)

    def load(self, wrapped: bytes) -> None:
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

        self._forget()
        if not wrapped:
            return
        body = body_of(wrapped, Form.SOFTWARE)
        try:
            packed = aes_key_unwrap(self._wrapping_key(), body)
        except InvalidUnwrap:
            raise IntegrityError("the keys cannot be unwrapped: altered, or of another device") from None
        entries = unpack(packed)
        self._pairs = {slot: pair(curve, content) for slot, curve, content in entries if curve}
        self._secrets = {slot: content for slot, curve, content in entries if not curve}

    def derive(self, purpose: str) -> bytes:
        return hmac.digest(self._master, b"pes-sim " + purpose.encode(), "sha256")

    def zeroize(self) -> None:
        # Memory first: it is gone then even when the vault says no.
        self._forget()
        self._vault.destroy()

    def _forget(self) -> None:
        self._pairs = {}
        self._secrets = {}

    def _prepare(self) -> None:
        """Sees to it that there is a key-encryption key before there is a key."""
        if not self._pairs and not self._secrets and not self._vault.read():
            self._vault.write(self._entropy(_KEK_LENGTH))
        self._wrapping_key()

    def _wrapping_key(self) -> bytes:
        """The key of two keys. Raises `KeysGone` when the vault's is gone, also while this store holds keys."""
        kek = self._vault.read()
        if not kek:
            raise KeysGone(
                "the device's keys were zeroized",
                hint="No order brings it back: make a new device, and have this one settled",
            )
        if len(kek) != _KEK_LENGTH:
            raise IntegrityError(f"the key-encryption key has {len(kek)} bytes, not {_KEK_LENGTH}")
        return hmac.digest(self.derive("key wrap"), kek, "sha256")

    def _pair(self, slot: Slot) -> Pair:
        try:
            return self._pairs[slot]
        except KeyError:
            raise refusal(slot, Use.SIGN) from None

    def _secret(self, slot: Slot, use: Use) -> bytes:
        if slot not in self._secrets or SLOTS[slot].use is not use:
            raise refusal(slot, use)
        return self._secrets[slot]

    def _fingerprint(self) -> str:
        """Differs whenever a key pair was generated or promoted; gives nothing away."""
        points = (f"{slot} {self._pairs[slot].point.hex()}" for slot in sorted(self._pairs))
        return hashlib.sha256(" ".join(points).encode()).hexdigest()


def pair(curve: Curve, scalar: bytes) -> Pair:
    """The key pair with that private key."""
    if curve is Curve.DSA_1024:
        return Pair(curve, dsa.public(scalar), lambda message: dsa.sign(scalar, message), scalar)
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key, algorithm = ec.derive_private_key(int.from_bytes(scalar, "big"), curve_class(curve)), signing_algorithm()
    point, half = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint), CURVES[curve].half
    return Pair(curve, point, lambda message: raw_signature(key.sign(message, algorithm), half), scalar)
