"""A key store in a PKCS#11 token: a hardware security module, or SoftHSM2. Needs the extra `pes-sim[pkcs11]`.

* Keys are made in the token, or brought into it, as sensitive and non-extractable objects. They never leave it.
* The device's blob names objects; the token's seal key makes its MAC. Zeroizing destroys the seal first: from that
  moment no blob loads, and the next `load` finishes what a power cut left.
* Signatures are randomized: a token chooses k itself, and PKCS#11 2.40 has no way to ask for RFC 6979. Whoever must
  give the same bytes twice keeps them.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pes_sim.errors import IntegrityError, KeysGone, PesError
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
    not_unwrapped,
    pack,
    refusal,
    unpack,
)
from pes_sim.psd.token import asking, log_in, log_out

if TYPE_CHECKING:
    import pkcs11

# Labels of objects; the device's name follows. The space after the colon keeps them apart whatever that name is.
_KEY: Final = "pes-sim key: "
_SEAL: Final = "pes-sim seal: "
_DERIVE: Final = "pes-sim derive: "
_ID_LENGTH: Final = 16
_MAC_LENGTH: Final = 32

_NOT_UNWRAPPED: Final = {"WrappedKeyInvalid", "WrappedKeyLenRange", "EncryptedDataInvalid", "GeneralError"}
"""What tokens say to a wrapped key that was altered; SoftHSM2 2.6 says GeneralError."""


@dataclass(frozen=True, slots=True)
class _Held:
    """An object in the token. `point` is empty for a secret."""

    curve: Curve | None
    id: bytes
    point: bytes
    key: Any


class Pkcs11KeyStore:
    """The keys of one device in a token. Raises `KeyStoreFailed` whenever the token does not do what it is asked.

    `module`: path of the token's PKCS#11 library. `token_label`, `pin`: as set when the token was initialized.
    `device`: tells this device's objects from others' in the same token.
    """

    def __init__(self, module: str, token_label: str, pin: str, device: str) -> None:
        self._device = device
        self._token = (module, token_label)
        self._held: dict[Slot, _Held] = {}
        self._derive: Any = None
        self._session: Any = log_in(module, token_label, pin)

    def close(self) -> None:
        """Lets go of the token. The last store of the process logs out."""
        self._held = {}
        self._derive = None
        if self._session is not None:
            self._session = None
            log_out(*self._token)

    def generate(self, slot: Slot, curve: Curve = Curve.P256) -> bytes:
        check_pair(slot, curve)
        facts = CURVES[curve]
        if not facts.oid:
            raise PesError(f"no token makes a key pair of {curve}", hint="The key store in software does")
        self._prepare()
        with asking("generate a key pair"):
            from pkcs11 import Attribute, KeyType, MechanismFlag

            name = self._new_id()
            parameters = self._session.create_domain_parameters(
                KeyType.EC, {Attribute.EC_PARAMS: facts.oid}, local=True
            )
            public, private = parameters.generate_keypair(
                id=name, label=_KEY + self._device, store=True, capabilities=MechanismFlag.SIGN,
                # The public key need not stay: the blob holds it.
                public_template={Attribute.TOKEN: False}, private_template=_kept(),
            )  # fmt: skip
            # An OCTET STRING around the point (PKCS#11 2.40), or the point itself, as some tokens have it.
            point: bytes = public[Attribute.EC_POINT][-facts.point :]
            public.destroy()
        self._held[slot] = _Held(curve, name, point, private)
        return point

    def put(self, slot: Slot, secret: bytes) -> None:
        check_secret(slot, secret)
        self._prepare()
        with asking("take a secret"):
            from pkcs11 import Attribute, ObjectClass

            name, use = self._new_id(), SLOTS[slot].use
            unused = dict.fromkeys(
                (Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.WRAP, Attribute.VERIFY, Attribute.DERIVE), False
            )
            template = unused | {
                Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: _key_type(use),
                Attribute.LABEL: _KEY + self._device, Attribute.ID: name, Attribute.TOKEN: True,
                Attribute.SIGN: use is Use.MAC, Attribute.UNWRAP: use is Use.UNWRAP,
                # Filled up as HMAC itself would do it: SoftHSM2 refuses an HMAC key below 32 bytes.
                Attribute.VALUE: secret.ljust(SLOTS[slot].longest, b"\0"),
            }  # fmt: skip
            key = self._session.create_object(template | _kept())
        self._held[slot] = _Held(None, name, b"", key)

    def unwrap_into(self, slot: Slot, wrapped: bytes) -> None:
        check_wrapped(slot, wrapped)
        transport = self._key(Slot.TRANSPORT, Use.UNWRAP)
        self._prepare()
        with asking("unwrap a secret"):
            from pkcs11 import Mechanism, MechanismFlag, ObjectClass, PKCS11Error

            name, use = self._new_id(), SLOTS[slot].use
            try:
                key = transport.unwrap_key(
                    ObjectClass.SECRET_KEY, _key_type(use), wrapped, id=name, label=_KEY + self._device, store=True,
                    mechanism=Mechanism.AES_KEY_WRAP, template=_kept(),
                    capabilities=MechanismFlag.SIGN if use is Use.MAC else MechanismFlag.UNWRAP,
                )  # fmt: skip
            except PKCS11Error as problem:
                if type(problem).__name__ in _NOT_UNWRAPPED:
                    raise not_unwrapped(slot) from None
                raise
        self._held[slot] = _Held(None, name, b"", key)

    def promote(self, source: Slot, target: Slot) -> None:
        check_promotion(source, target, self.curve(source))
        self._held[target] = self._held.pop(source)

    def has(self, slot: Slot) -> bool:
        return slot in self._held

    def public_point(self, slot: Slot) -> bytes:
        self._key(slot, Use.SIGN)
        return self._held[slot].point

    def curve(self, slot: Slot) -> Curve:
        self._key(slot, Use.SIGN)
        curve = self._held[slot].curve
        assert curve is not None, "a signing key has a curve"
        return curve

    def sign(self, slot: Slot, message: bytes) -> bytes:
        key = self._key(slot, Use.SIGN)
        with asking("sign"):
            from pkcs11 import Mechanism

            signature: bytes = key.sign(hashlib.sha256(message).digest(), mechanism=Mechanism.ECDSA)
        return signature

    def mac(self, slot: Slot, message: bytes) -> bytes:
        return _mac(self._key(slot, Use.MAC), message)

    def wrapped(self) -> bytes:
        if not self._held:
            return b""
        slots = sorted(self._held, key=lambda slot: SLOTS[slot].number)
        held = ((slot, self._held[slot]) for slot in slots)
        packed = pack(Entry(slot, h.curve, h.id + h.point) for slot, h in held)
        return bytes((Form.PKCS11,)) + packed + _mac(self._seal(), packed)

    def load(self, wrapped: bytes) -> None:
        # Objects that no blob names are left by power cuts and by keys that were replaced. What was held until now is
        # kept once more: it comes from a commit that failed, and may be found durable after all at the next power-on.
        before, self._held = self._held, {}
        held = self._opened(wrapped) if wrapped else {}
        self._destroy(_KEY, keep={h.id for h in (*before.values(), *held.values())})
        self._held = held

    def derive(self, purpose: str) -> bytes:
        if self._derive is None:
            self._derive = self._special(_DERIVE, make=True)
        return _mac(self._derive, b"pes-sim " + purpose.encode())

    def zeroize(self) -> None:
        self._held = {}
        self._destroy(_SEAL)
        self._destroy(_KEY)

    def _opened(self, wrapped: bytes) -> dict[Slot, _Held]:
        """The objects that a blob names."""
        body = body_of(wrapped, Form.PKCS11)
        try:
            seal = self._seal()
        except KeysGone:
            self._destroy(_KEY)
            raise
        packed, mac = body[:-_MAC_LENGTH], body[-_MAC_LENGTH:]
        if not hmac.compare_digest(_mac(seal, packed), mac):
            raise IntegrityError("the keys' names do not bear the token's seal: altered, or of another device")
        return {entry.slot: self._found(entry) for entry in unpack(packed)}

    def _found(self, entry: Entry) -> _Held:
        name, point = entry.content[:_ID_LENGTH], entry.content[_ID_LENGTH:]
        with asking("find a key"):
            from pkcs11 import NoSuchKey, ObjectClass

            kind = ObjectClass.PRIVATE_KEY if entry.curve else ObjectClass.SECRET_KEY
            try:
                key = self._session.get_key(object_class=kind, label=_KEY + self._device, id=name)
            except NoSuchKey:
                raise KeysGone(
                    f"the token does not hold the key of the slot {entry.slot.value!r} any more",
                    hint="Is this an older copy of the device's directory? The key that it had then was destroyed",
                ) from None
        return _Held(entry.curve, name, point, key)

    def _prepare(self) -> None:
        """Sees to it that there is a seal before there is a key."""
        if self._held:
            self._seal()
        else:
            self._special(_SEAL, make=True)

    def _seal(self) -> Any:
        key = self._special(_SEAL, make=False)
        if key is None:
            raise KeysGone(
                "the device's keys were zeroized",
                hint="No order brings it back: make a new device, and have this one settled",
            )
        return key

    def _special(self, label: str, *, make: bool) -> Any:
        """The seal, or the secret behind `derive`. None when it is not there and not to be made."""
        with asking("find or make a secret"):
            from pkcs11 import KeyType, MechanismFlag, NoSuchKey, ObjectClass

            try:
                return self._session.get_key(object_class=ObjectClass.SECRET_KEY, label=label + self._device)
            except NoSuchKey:
                if not make:
                    return None
            return self._session.generate_key(
                KeyType.GENERIC_SECRET, 256, id=self._new_id(), label=label + self._device, store=True,
                capabilities=MechanismFlag.SIGN, template=_kept(),
            )  # fmt: skip

    def _destroy(self, label: str, keep: set[bytes] | frozenset[bytes] = frozenset()) -> None:
        with asking("destroy keys"):
            from pkcs11 import Attribute

            for thing in list(self._session.get_objects({Attribute.LABEL: label + self._device})):
                if thing[Attribute.ID] not in keep:
                    thing.destroy()

    def _new_id(self) -> bytes:
        made: bytes = self._session.generate_random(8 * _ID_LENGTH)
        return made

    def _key(self, slot: Slot, use: Use) -> Any:
        if slot not in self._held or SLOTS[slot].use is not use:
            raise refusal(slot, use)
        return self._held[slot].key


def _kept() -> dict[Any, Any]:
    """The attributes of every key of ours: in the token for good, seen after login only, and never given out."""
    from pkcs11 import Attribute

    return {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}


def _key_type(use: Use) -> pkcs11.KeyType:
    from pkcs11 import KeyType

    return KeyType.GENERIC_SECRET if use is Use.MAC else KeyType.AES


def _mac(key: Any, message: bytes) -> bytes:
    with asking("make a MAC"):
        from pkcs11 import Mechanism

        made: bytes = key.sign(message, mechanism=Mechanism.SHA256_HMAC)
    return made
