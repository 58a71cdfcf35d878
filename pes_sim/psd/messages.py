"""Messages between PSD and provider: COSE_Sign1 (RFC 9052) around a CBOR map of numbered fields.

* Each kind of message is a row of `KINDS`; its number is in the signed part, so one kind never passes for another.
* `open_signed` checks the signature first and reads nothing of a message that fails it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pes_sim.errors import BadMessage, BadSignature, FieldError
from pes_sim.indicium import signature
from pes_sim.indicium.signature import P256_LENGTH
from pes_sim.psd import cbor
from pes_sim.psd.fields import BY_NUMBER, Field, Values, check_all, fields, to_names, to_numbers
from pes_sim.psd.registers import REGISTER_FIELDS

if TYPE_CHECKING:
    from cwt.cose_key_interface import COSEKeyInterface

Sign = Callable[[bytes], bytes]

_KIND: Final = 0
"""Key of the kind's number in a message's map."""
_ENVELOPE: Final = bytes.fromhex("d28443a10126a0")
"""How every message begins: tag 18, an array of four, the protected header {alg: ES256}, no unprotected header."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message: number, name, whether the provider or the PSD signs it, fields."""

    number: int
    name: str
    signer: str
    fields: tuple[Field, ...]


_PSD: Final = "psd_serial nonce message_number device_time " + REGISTER_FIELDS + " "
"""What every message of the PSD says: who, fresh, in which order, when, and the registers."""
_PROVIDER: Final = "psd_serial nonce message_number " + REGISTER_FIELDS + " "
"""What every message of the provider says: nonce and number are those of what it answers; the registers are those that
the provider knows of. A device that is behind them was rolled back."""


def _psd(number: int, name: str, more: str) -> Kind:
    return Kind(number, name, "psd", fields(_PSD + more))


def _provider(number: int, name: str, more: str) -> Kind:
    return Kind(number, name, "provider", fields(_PROVIDER + more))


# fmt: off
KINDS: Final = (
    _provider(1, "authorization", "licensing_zip customer utc_offset_minutes psd_certificate provider_certificate"),
    _psd(2, "refill_request", "customer amount_mills"),
    _provider(3, "refill_grant", "amount_mills"),
    _provider(4, "refill_refusal", "reason"),
    _psd(5, "checkin_report", "customer log_sequence software_id lock_reasons chain reports refill_nonce"),
    _provider(6, "checkin_receipt", "acknowledged"),
    _provider(7, "checkin_refusal", "lock_reasons reason"),
    _psd(8, "refill_cancellation", "customer amount_mills"),
    _psd(9, "withdrawal_request", "customer amount_mills"),
    _provider(10, "withdrawal_grant", "amount_mills"),
    _provider(11, "withdrawal_refusal", "reason"),
    _psd(12, "withdrawal_statement", "customer amount_mills log_sequence chain"),
    _psd(13, "audit_report", "customer state sub_state lock_reasons log_sequence reprint_count software_id chain"),
    _provider(14, "reauthorization", "licensing_zip customer utc_offset_minutes"),
    _provider(15, "time_setting", "device_time"),
    _provider(16, "lock_order", "lock_reasons"),
    _provider(17, "unlock_order", "lock_reasons"),
    _provider(20, "key_renewal", ""),
    _provider(21, "certificate_load", "psd_certificate"),
    _provider(22, "key_load", "slot wrapped_secret"),
    _provider(23, "software_manifest", "software_id size digest"),
    _provider(24, "recovery_order", "newest_number log_sequence device_time"),
    Kind(18, "login", "role", fields("psd_serial nonce role certificate")),
)
# fmt: on

BY_NAME: Final[Mapping[str, Kind]] = {kind.name: kind for kind in KINDS}
_BY_NUMBER: Final[Mapping[int, Kind]] = {kind.number: kind for kind in KINDS}


def sign(name: str, values: Mapping[str, object], signer: Sign) -> bytes:
    """A signed message. `signer` gives r and s over the bytes it is handed. Raises `FieldError` for a bad value."""
    from cwt import COSE

    kind = BY_NAME[name]
    check_all(kind.fields, values)
    body = {_KIND: kind.number, **to_numbers(values)}
    cose = COSE.new(alg_auto_inclusion=True)
    message: bytes = cose.encode_and_sign(cbor.dump(body), _cose_key(signer, None))
    return message


def open_signed(message: bytes, point: bytes, *allowed: str) -> tuple[str, Values]:
    """Name and values of a message signed by the key at `point`, of one of the `allowed` kinds.

    Raises `BadSignature`, or `BadMessage` when what was signed is not one of them.
    """
    from cwt import COSE, VerifyError

    payload = _payload(message)
    try:
        COSE.new().decode(message, _cose_key(None, point))
    except VerifyError:
        raise BadSignature("the message's signature does not verify") from None
    return _parse(payload, *allowed)


def peek(message: bytes, *allowed: str) -> tuple[str, Values]:
    """The same without checking the signature: only to learn whose key to check it with. Raises `BadMessage`."""
    return _parse(_payload(message), *allowed)


def _payload(message: bytes) -> bytes:
    """What is signed, from bytes that are a COSE_Sign1 as `sign` makes it and no other. Raises `BadMessage`.

    The COSE library sees nothing else: its CBOR decoder builds whatever an unsigned message tells it to.
    """
    try:
        if not message.startswith(_ENVELOPE):
            raise ValueError
        payload, signed = cbor.load(b"\x82" + message[len(_ENVELOPE) :])  # the rest, as an array of two
        if not (type(payload) is type(signed) is bytes and len(signed) == P256_LENGTH):
            raise ValueError
    except ValueError:
        raise BadMessage("not a COSE_Sign1 message of this protocol (ES256, no unprotected header)") from None
    return payload


def _parse(payload: bytes, *allowed: str) -> tuple[str, Values]:
    """Name and values of a message's payload. Raises `BadMessage`."""
    try:
        body = cbor.load_fields(payload)
        if type(body) is not dict:
            raise ValueError
        kind = _BY_NUMBER[body.pop(_KIND)]
    except (ValueError, KeyError, TypeError):
        raise BadMessage("the signed content is not a message of this protocol") from None
    if kind.name not in allowed:
        raise BadMessage(f"a {kind.name} message came where {' or '.join(allowed)} belongs")
    try:
        values = to_names(body, BY_NUMBER)
        check_all(kind.fields, values)
    except FieldError as problem:
        raise BadMessage(f"{kind.name}: {problem.message}") from None
    return kind.name, values


def _cose_key(signer: Sign | None, point: bytes | None) -> COSEKeyInterface:
    """Our key as the COSE library wants it, so that any `KeyStore` can sign and a raw point can verify."""
    from cwt import VerifyError
    from cwt.cose_key_interface import COSEKeyInterface

    class Es256(COSEKeyInterface):
        def sign(self, msg: bytes) -> bytes:
            assert signer is not None
            return signer(msg)

        def verify(self, msg: bytes, sig: bytes) -> None:
            assert point is not None
            try:
                signature.verify_p256(point, msg, sig)
            except BadSignature:
                raise VerifyError("ES256") from None

    return Es256({1: 2, 3: -7, 4: [1] if signer else [2]})
