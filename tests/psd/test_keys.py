"""Keys: deterministic signatures that others can check, and a private key that leaves only wrapped."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from pes_sim.entropy import SeededEntropy, SystemEntropy
from pes_sim.errors import IntegrityError
from pes_sim.psd.keys import P256_ORDER, SoftwareKeyStoreNotForProduction, raw_signature, signing_algorithm

MASTER = bytes(range(32))

# RFC 6979, A.2.5: P-256 with SHA-256, message "sample".
RFC6979_KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC6979_SAMPLE = (
    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
)


def store(seed: str = "keys") -> SoftwareKeyStoreNotForProduction:
    made = SoftwareKeyStoreNotForProduction(MASTER, SeededEntropy(seed))
    made.generate()
    return made


def test_signatures_are_those_of_rfc_6979() -> None:
    key = ec.derive_private_key(RFC6979_KEY, ec.SECP256R1())
    assert raw_signature(key.sign(b"sample", signing_algorithm())).hex() == RFC6979_SAMPLE


def test_r_and_s_are_32_bytes_whatever_their_der_looks_like() -> None:
    for r, s in ((1, 1), (0x80, 1 << 255), (P256_ORDER - 1, 0xFF), (1 << 248, (1 << 247) - 1)):
        raw = raw_signature(utils.encode_dss_signature(r, s))
        assert (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")) == (r, s)
        assert len(raw) == 64


def test_another_library_call_verifies_what_was_signed() -> None:
    made = store()
    signature = made.sign(b"message")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), made.public_point())
    der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    key.verify(der, b"message", ec.ECDSA(hashes.SHA256()))


def test_the_same_message_always_gives_the_same_signature() -> None:
    made = store()
    assert made.sign(b"message") == made.sign(b"message")


def test_a_seed_repeats_the_key_and_the_system_does_not() -> None:
    assert store().public_point() == store().public_point() != store("other").public_point()
    first, second = (SoftwareKeyStoreNotForProduction(MASTER, SystemEntropy()) for _ in range(2))
    first.generate()
    second.generate()
    assert first.public_point() != second.public_point()


def test_a_key_comes_back_from_its_wrapped_form() -> None:
    made = store()
    again = SoftwareKeyStoreNotForProduction(MASTER, SystemEntropy())
    again.load(made.wrapped())
    assert again.public_point() == made.public_point()


@pytest.mark.parametrize("spoil", ["altered", "other master key"])
def test_a_wrapped_key_that_was_altered_or_is_anothers_is_refused(spoil: str) -> None:
    wrapped = bytearray(store().wrapped())
    wrapped[5] ^= spoil == "altered"
    master = MASTER if spoil == "altered" else bytes(32)
    with pytest.raises(IntegrityError, match="cannot be unwrapped"):
        SoftwareKeyStoreNotForProduction(master, SystemEntropy()).load(bytes(wrapped))


def test_the_wrapped_form_does_not_hold_the_key_in_the_clear() -> None:
    made = store()
    assert made._scalar not in made.wrapped()
    assert len(made.wrapped()) == 40


def test_without_a_key_nothing_is_signed_and_nothing_is_wrapped() -> None:
    empty = SoftwareKeyStoreNotForProduction(MASTER, SystemEntropy())
    assert empty.wrapped() == b""
    with pytest.raises(IntegrityError, match="no signing key"):
        empty.sign(b"")


def test_a_master_key_of_another_length_is_refused() -> None:
    with pytest.raises(IntegrityError, match="31 bytes"):
        SoftwareKeyStoreNotForProduction(MASTER[1:], SystemEntropy())


def test_each_purpose_has_a_key_of_its_own() -> None:
    made = store()
    assert len({made.derive("log"), made.derive("key wrap"), made.derive("Log")}) == 3
