"""Messages: COSE_Sign1, read only when the signature holds, and never one kind for another."""

from __future__ import annotations

import cbor2
import pytest
from cwt import COSE, COSEKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.errors import BadMessage, BadSignature, FieldError
from pes_sim.psd import messages
from pes_sim.psd.registers import REGISTERS
from tests.rig import pki, sign

GRANT = {
    "psd_serial": 7, "nonce": bytes(range(16)), "message_number": 3, "ascending_mills": 740, "descending_mills": 260,
    "control_sum_mills": 1000, "piece_count": 1, "zero_piece_count": 0, "amount_mills": 50_000,
}  # fmt: skip
BODY = {0: 3, 2: 7, 51: bytes(range(16)), 52: 3, 20: 740, 21: 260, 22: 1000, 23: 1, 24: 0, 53: 50_000}
"""The same by numbers."""


def point(name: str = "test") -> bytes:
    """The provider's public key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return pki(name).provider.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def signed_body(body: object) -> bytes:
    """A good signature over any CBOR."""
    key = messages._cose_key(pki().provider.sign, None)
    return bytes(COSE.new(alg_auto_inclusion=True).encode_and_sign(cbor2.dumps(body), key))


def test_no_kind_has_the_number_or_name_of_another() -> None:
    assert len({kind.number for kind in messages.KINDS}) == len({kind.name for kind in messages.KINDS})


def test_a_message_comes_back_as_it_was_said() -> None:
    assert messages.open_signed(sign("refill_grant", GRANT), point(), "refill_grant") == ("refill_grant", GRANT)


@pytest.mark.parametrize("kind", messages.KINDS, ids=lambda kind: kind.name)
def test_every_kind_but_a_login_says_for_whom_in_answer_to_what_and_which_registers(kind: messages.Kind) -> None:
    names = {field.name for field in kind.fields}
    assert {"psd_serial", "nonce"} <= names
    if kind.name != "login":
        assert {"message_number", *REGISTERS} <= names
        assert ("device_time" in names) == (kind.signer == "psd" or kind.name in ("time_setting", "recovery_order"))


def test_it_is_a_cose_sign1_that_the_library_verifies_by_itself() -> None:
    message, key = sign("refill_grant", GRANT), point()
    public = COSEKey.new({1: 2, -1: 1, -2: key[1:33], -3: key[33:], 3: -7, 4: [2]})
    assert cbor2.loads(COSE.new().decode(message, public)) == BODY


def test_the_same_message_has_the_same_bytes() -> None:
    assert sign("refill_grant", GRANT) == sign("refill_grant", GRANT)


def test_every_altered_byte_is_found() -> None:
    message = sign("refill_grant", GRANT)
    for index in range(len(message)):
        altered = bytearray(message)
        altered[index] ^= 0x41
        with pytest.raises((BadSignature, BadMessage)):
            messages.open_signed(bytes(altered), point(), "refill_grant")


def test_anothers_signature_is_refused() -> None:
    with pytest.raises(BadSignature):
        messages.open_signed(sign("refill_grant", GRANT, "other"), point(), "refill_grant")


def test_one_kind_does_not_pass_for_another() -> None:
    with pytest.raises(BadMessage, match="a refill_grant message came where checkin_receipt belongs"):
        messages.open_signed(sign("refill_grant", GRANT), point(), "checkin_receipt")


@pytest.mark.parametrize(
    "body", [7, [], {}, {0: 99}, {0: 3}, {key: BODY[key] for key in BODY if key != 53}, BODY | {2: -1},
             BODY | {999: 1}, BODY | {1: "S1"}, {0: [3]}],
)  # fmt: skip
def test_a_signed_body_that_is_no_message_is_refused(body: object) -> None:
    with pytest.raises(BadMessage):
        messages.open_signed(signed_body(body), point(), "refill_grant")


# Nested references in a map's key (tags 28 and 29): a common decoder is at it for hours.
HOLD_UP = bytes.fromhex("a1" + "d81c" * 40 + "81" * 40 + "d81d00" + "00")


def test_bytes_that_hold_a_decoder_up_never_reach_it() -> None:
    envelope, signature = bytes.fromhex("d28443a10126a0"), b"\x58\x40" + bytes(64)
    wrapped = b"\x58" + bytes([len(HOLD_UP)]) + HOLD_UP
    header = envelope[:6] + HOLD_UP + b"\x40" + signature
    for message in (HOLD_UP, header, envelope + wrapped + signature, envelope + HOLD_UP + signature, envelope + b"@@"):
        with pytest.raises(BadMessage):
            messages.peek(message, "authorization")
        with pytest.raises((BadMessage, BadSignature)):
            messages.open_signed(message, point(), "authorization")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_else_is_raised(noise: bytes) -> None:
    with pytest.raises((BadMessage, BadSignature)):
        messages.open_signed(noise, point(), "refill_grant")
    with pytest.raises(BadMessage):
        messages.peek(noise, "refill_grant")


def test_a_value_that_its_field_cannot_hold_is_not_signed() -> None:
    with pytest.raises(FieldError, match="amount_mills"):
        sign("refill_grant", {**GRANT, "amount_mills": 2**32})


def test_peek_tells_what_a_message_claims_without_a_key() -> None:
    assert messages.peek(sign("refill_grant", GRANT), "refill_grant") == ("refill_grant", GRANT)
