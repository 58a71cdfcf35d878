"""Keys: what the PSD needs of whatever holds them, and the tables that every key store obeys.

* A key stays in its store. The device keeps one opaque blob (`wrapped`) and gives it back at power-on (`load`).
* `zeroize` makes every blob worthless, also the copies that old log records hold: each is bound to something that is
  destroyed. What `derive` gives is not touched, so registers stay readable.
* A device whose commit failed goes back with `load(older blob)`. So `generate`, `put`, `unwrap_into` and `promote`
  leave all that an older blob refers to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from pes_sim.errors import BadMessage, FieldError, IntegrityError, PesError
from pes_sim.indicium import dsa

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P224_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF16A2E0B8F03E13DD29455C5C2A3D
_HMAC_BLOCK: Final = 64
_WRAP_OVERHEAD: Final = 8
_SHORTEST_WRAPPED: Final = 32
"""SoftHSM2 refuses an HMAC key below 32 bytes, and what a token unwraps nobody can fill up any more."""


class Curve(StrEnum):
    """The curves of an indicium's signature (FIPS 186-5; P-224 is for the shorter IMI constructs). And what is none:
    the group of DSA-1024, by which IBI was signed, not approved and for the legacy profile alone.
    """

    P256 = "P-256"
    P224 = "P-224"
    DSA_1024 = "DSA-1024"


@dataclass(frozen=True, slots=True)
class CurveFacts:
    """`half`: bytes of r, of s and of the private key. `point`: bytes of an uncompressed point, or of y. `class_name`,
    `oid` (in DER): as others call it; empty where they have no such curve.
    """

    number: int
    order: int
    half: int
    point: int
    class_name: str
    oid: bytes


# Numbers stand in blobs, here and below: one is never used again for something else.
CURVES: Final = {
    Curve.P256: CurveFacts(1, P256_ORDER, 32, 65, "SECP256R1", bytes.fromhex("06082a8648ce3d030107")),
    Curve.P224: CurveFacts(2, _P224_ORDER, 28, 57, "SECP224R1", bytes.fromhex("06052b81040021")),
    Curve.DSA_1024: CurveFacts(3, dsa.Q, dsa.HALF, dsa.PUBLIC, "", b""),
}


class Slot(StrEnum):
    """Where a key lies, and what it is for."""

    INDICIUM = "indicium"
    """Signs indicia."""
    NEXT_INDICIUM = "next indicium"
    """A new key pair that waits for its certificate."""
    MESSAGE = "message"
    """Signs messages to the provider."""
    MAC = "mac"
    """HMAC-SHA-256 of IMI-MIN."""
    USER = "user"
    """The secret that the customer's meter authenticates with."""
    TRANSPORT = "transport"
    """AES-256, under which the provider wraps secrets for this device."""


class Use(Enum):
    """What a slot's key can do. It does nothing else."""

    SIGN = "sign"
    MAC = "make MACs"
    UNWRAP = "unwrap secrets"


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """A key pair's slot names its curves, a secret's its shortest and longest length in bytes."""

    number: int
    use: Use
    curves: tuple[Curve, ...] = ()
    shortest: int = 0
    longest: int = 0


SLOTS: Final = {
    Slot.INDICIUM: SlotFacts(1, Use.SIGN, curves=tuple(Curve)),
    Slot.NEXT_INDICIUM: SlotFacts(2, Use.SIGN, curves=tuple(Curve)),
    Slot.MESSAGE: SlotFacts(3, Use.SIGN, curves=(Curve.P256,)),
    Slot.MAC: SlotFacts(4, Use.MAC, shortest=6, longest=_HMAC_BLOCK),
    Slot.USER: SlotFacts(5, Use.MAC, shortest=6, longest=_HMAC_BLOCK),
    Slot.TRANSPORT: SlotFacts(6, Use.UNWRAP, shortest=32, longest=32),
}
_SLOT_OF: Final = {facts.number: slot for slot, facts in SLOTS.items()}
_CURVE_OF: Final[dict[int, Curve | None]] = {0: None} | {facts.number: curve for curve, facts in CURVES.items()}


class KeyStore(Protocol):
    """What the PSD needs of whatever holds its keys.

    Misuse (a MAC of a signing key, a wrong curve) raises `PesError`, an empty slot `IntegrityError`, and a token that
    does not do its work `KeyStoreFailed`. After an error the slots are as before, except that `load` leaves them empty.
    """

    def generate(self, slot: Slot, curve: Curve = Curve.P256) -> bytes:
        """Puts a new key pair into the slot; gives its public key as an uncompressed point (SEC 1), or y of DSA."""
        ...

    def put(self, slot: Slot, secret: bytes) -> None:
        """Puts a secret into the slot. Raises `FieldError` for a length that the slot does not take."""
        ...

    def unwrap_into(self, slot: Slot, wrapped: bytes) -> None:
        """Puts a secret that `wrap_secret` wrapped under TRANSPORT into the slot. Raises `BadMessage`."""
        ...

    def promote(self, source: Slot, target: Slot) -> None:
        """Moves a key pair: it takes the target's place, and the source is empty then."""
        ...

    def has(self, slot: Slot) -> bool:
        """Whether the slot holds a key."""
        ...

    def public_point(self, slot: Slot) -> bytes:
        """The public key as an uncompressed point (SEC 1): 65 bytes, or 57 on P-224; 128 bytes of DSA."""
        ...

    def curve(self, slot: Slot) -> Curve:
        """The curve of the slot's key pair."""
        ...

    def sign(self, slot: Slot, message: bytes) -> bytes:
        """r and s, big-endian, 32 bytes each, or 28 on P-224: ECDSA with SHA-256 (FIPS 186-5). DSA: 20, with SHA-1."""
        ...

    def mac(self, slot: Slot, message: bytes) -> bytes:
        """HMAC-SHA-256, 32 bytes (FIPS 198-1)."""
        ...

    def wrapped(self) -> bytes:
        """All slots as one opaque blob for the device's state record; empty when there is nothing."""
        ...

    def load(self, wrapped: bytes) -> None:
        """Takes back what `wrapped` gave, in place of everything held.

        Raises `KeysGone` when the keys were zeroized, `IntegrityError` when the blob was altered or is another's.
        """
        ...

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose. `zeroize` does not touch it."""
        ...

    def zeroize(self) -> None:
        """Destroys the keys of all slots, at once and for good: no blob that was ever given loads any more."""
        ...


class Form(IntEnum):
    """The first byte of a blob: what kind of key store can read the rest."""

    SOFTWARE = 1
    PKCS11 = 2


class Entry(NamedTuple):
    """One slot's part of a blob. `content` is the store's own, up to 255 bytes."""

    slot: Slot
    curve: Curve | None
    content: bytes

    def __repr__(self) -> str:
        return f"Entry({self.slot!r})"  # the content may be a key


def pack(entries: Iterable[Entry]) -> bytes:
    """Entries one after the other: number of the slot, number of the curve or 0, length, content."""
    parts = (
        bytes((SLOTS[slot].number, CURVES[curve].number if curve else 0, len(content))) + content
        for slot, curve, content in entries
    )
    return b"".join(parts)


def unpack(data: bytes) -> list[Entry]:
    """The reverse; zeros may follow. For data whose authenticity was checked. Raises `IntegrityError`."""
    entries, at = [], 0
    while at < len(data) and data[at]:
        number, curve, length = data[at : at + 3]
        if number not in _SLOT_OF or curve not in _CURVE_OF:
            raise IntegrityError(
                f"the device's keys include slot {number} with curve {curve}, which this version does not know",
                hint="Open it with the version that wrote it",
            )
        entries.append(Entry(_SLOT_OF[number], _CURVE_OF[curve], data[at + 3 : at + 3 + length]))
        at += 3 + length
    return entries


def body_of(blob: bytes, form: Form) -> bytes:
    """A blob without its first byte. Raises `IntegrityError` when another kind of key store made it."""
    if blob[0] != form:
        known = Form(blob[0]).name if blob[0] in Form._value2member_map_ else "unknown"
        raise IntegrityError(
            f"the device's keys are in form {blob[0]} ({known}); this key store reads form {form.value} ({form.name})",
            hint="Open the device with the key store that it was made with",
        )
    return blob[1:]


def check_pair(slot: Slot, curve: Curve) -> None:
    """Raises `PesError` when the slot takes no key pair, or none on this curve."""
    if curve not in SLOTS[slot].curves:
        allowed = " or ".join(SLOTS[slot].curves) or "no key pair"
        raise PesError(f"the slot {slot.value!r} takes {allowed}, not {curve.value}")


def check_secret(slot: Slot, secret: bytes) -> None:
    """Raises `PesError` when the slot takes no secret, `FieldError` when it takes none of this length."""
    facts = _secret_facts(slot)
    if not facts.shortest <= len(secret) <= facts.longest:
        allowed = f"{facts.shortest} to {facts.longest}" if facts.shortest < facts.longest else f"{facts.longest}"
        raise FieldError(f"a secret for the slot {slot.value!r} has {allowed} bytes, not {len(secret)}")


def wrap_secret(slot: Slot, transport: bytes, secret: bytes) -> bytes:
    """The provider's side of `unwrap_into`: AES key wrap (RFC 3394) under the device's transport key, 8 bytes longer.

    A short secret is filled up with zeros as HMAC itself would do it (RFC 2104), so all its MACs stay what they are.
    """
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap

    check_secret(slot, secret)
    return aes_key_wrap(transport, secret.ljust(SLOTS[slot].longest, b"\0"))


def check_wrapped(slot: Slot, wrapped: bytes) -> None:
    """Raises `PesError` when the slot takes no secret, `BadMessage` when none that it takes is wrapped so."""
    facts = _secret_facts(slot)
    length = len(wrapped) - _WRAP_OVERHEAD
    if length % 8 or not _SHORTEST_WRAPPED <= length <= facts.longest:
        raise BadMessage(f"{len(wrapped)} bytes are no wrapped secret for the slot {slot.value!r}")


def _secret_facts(slot: Slot) -> SlotFacts:
    if not SLOTS[slot].longest:
        raise PesError(f"the slot {slot.value!r} takes a key pair, not a secret")
    return SLOTS[slot]


def not_unwrapped(slot: Slot) -> BadMessage:
    """The error for a wrapped secret that is not what the provider wrapped."""
    return BadMessage(
        f"the secret for the slot {slot.value!r} cannot be unwrapped: altered, or wrapped under another transport key"
    )


def check_promotion(source: Slot, target: Slot, curve: Curve) -> None:
    """Raises `PesError` when the target does not take the source's key pair, or is the source."""
    check_pair(target, curve)
    if source is target:
        raise PesError(f"the slot {source.value!r} cannot take its own place")


def refusal(slot: Slot, use: Use) -> PesError:
    """The error for a slot whose key is not there: nothing may be done with it, or nothing yet."""
    if SLOTS[slot].use is not use:
        return PesError(f"the key in the slot {slot.value!r} does not {use.value}")
    return IntegrityError(f"there is no key in the slot {slot.value!r}", hint="Initialize the device first")


def curve_class(curve: Curve) -> ec.EllipticCurve:
    """The curve as `cryptography` knows it."""
    from cryptography.hazmat.primitives.asymmetric import ec

    made: ec.EllipticCurve = getattr(ec, CURVES[curve].class_name)()
    return made


@cache
def signing_algorithm() -> ec.ECDSA:
    """Deterministic ECDSA with SHA-256."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def raw_signature(der: bytes, half: int = 32) -> bytes:
    """r and s, `half` bytes each, from the DER that `cryptography` makes of a signature on P-256 or P-224."""
    # SEQUENCE { INTEGER r, INTEGER s }: every length is below 128, so one byte each.
    r_end = 4 + der[3]
    r = int.from_bytes(der[4:r_end], "big")
    s = int.from_bytes(der[r_end + 2 :], "big")
    return r.to_bytes(half, "big") + s.to_bytes(half, "big")
