"""What every key store promises, in software and in a PKCS#11 token; and the helpers that they share."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from pes_sim.errors import BadMessage, FieldError, IntegrityError, KeysGone, PesError
from pes_sim.indicium import dsa
from pes_sim.psd.keys import (
    CURVES,
    P256_ORDER,
    SLOTS,
    Curve,
    Entry,
    Form,
    KeyStore,
    Slot,
    Use,
    check_wrapped,
    curve_class,
    pack,
    raw_signature,
    signing_algorithm,
    unpack,
    wrap_secret,
)
from tests.psd.keystores import Bench, SoftwareBench, TokenBench

# RFC 6979, A.2.4 (P-224) and A.2.5 (P-256), with SHA-256: private key; then r and s for "sample" and for "test".
RFC6979 = {
    Curve.P224: (
        0xF220266E1105BFE3083E03EC7A3A654651F45E37167E88600BF257C1,
        "61aa3da010e8e8406c656bc477a7a7189895e7e840cdfe8ff42307ba"
        "bc814050dab5d23770879494f9e0a680dc1af7161991bde692b10101",
        "ad04dde87b84747a243a631ea47a1ba6d1faa059149ad2440de6fba6"
        "178d49b1ae90e3d8b629be3db5683915f4e8c99fdf6e666cf37adcfd",
    ),
    Curve.P256: (
        0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721,
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
        "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
    ),
}

# RFC 3394, 4.6: 256 bits of key data under a 256-bit key.
RFC3394_KEY = bytes(range(32))
RFC3394_DATA = bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
RFC3394_WRAPPED = bytes.fromhex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")

# RFC 4231, 4.2 to 4.5: key, data, HMAC-SHA-256. The zeros after "Jefe" are HMAC's own: a slot takes 6 bytes at least.
RFC4231 = (
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe\0\0", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
)

PAIRS = [slot for slot, facts in SLOTS.items() if facts.use is Use.SIGN]
SECRETS = [slot for slot in SLOTS if slot not in PAIRS]
BENCHES: dict[str, type[SoftwareBench] | type[TokenBench]] = {"software": SoftwareBench, "pkcs11": TokenBench}


@pytest.fixture(params=sorted(BENCHES))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = BENCHES[request.param]()
    yield made
    made.close()


def filled(bench: Bench) -> KeyStore:
    """A store with a key in every slot."""
    made = bench.open()
    made.generate(Slot.INDICIUM, Curve.P224)
    made.generate(Slot.NEXT_INDICIUM)
    made.generate(Slot.MESSAGE)
    made.put(Slot.MAC, b"m" * 33)
    made.put(Slot.USER, b"secret")
    made.put(Slot.TRANSPORT, b"t" * 32)
    return made


def shown(store: KeyStore) -> dict[str, object]:
    """All that a store shows of its keys."""
    points = {f"{slot} point": store.public_point(slot) for slot in PAIRS if store.has(slot)}
    curves = {f"{slot} curve": store.curve(slot) for slot in PAIRS if store.has(slot)}
    macs = {f"{slot} mac": store.mac(slot, b"x") for slot in (Slot.MAC, Slot.USER) if store.has(slot)}
    return {**points, **curves, **macs, "held": [slot for slot in Slot if store.has(slot)]}


def verify(curve: Curve, point: bytes, signature: bytes, message: bytes) -> None:
    half = CURVES[curve].half
    assert len(signature) == 2 * half
    if curve is Curve.DSA_1024:
        dsa.verify(point, message, signature)
        return
    der = utils.encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve_class(curve), point)
    key.verify(der, message, ec.ECDSA(hashes.SHA256()))


# Signing.


@pytest.mark.parametrize("curve", [Curve.P256, Curve.P224])
def test_signatures_are_those_of_rfc_6979(curve: Curve) -> None:
    scalar, sample, test = RFC6979[curve]
    key = ec.derive_private_key(scalar, curve_class(curve))
    for message, expected in ((b"sample", sample), (b"test", test)):
        assert raw_signature(key.sign(message, signing_algorithm()), CURVES[curve].half).hex() == expected


def test_r_and_s_have_their_length_whatever_their_der_looks_like() -> None:
    for r, s in ((1, 1), (0x80, 1 << 255), (P256_ORDER - 1, 0xFF), (1 << 248, (1 << 247) - 1)):
        raw = raw_signature(utils.encode_dss_signature(r, s))
        assert (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")) == (r, s)
        assert len(raw) == 64
    assert raw_signature(utils.encode_dss_signature(1, 2), 28) == bytes(27) + b"\1" + bytes(27) + b"\2"


@pytest.mark.parametrize(("slot", "curve"), [(slot, curve) for slot in PAIRS for curve in SLOTS[slot].curves])
def test_another_library_verifies_what_was_signed(bench: Bench, slot: Slot, curve: Curve) -> None:
    store = bench.open()
    if curve is Curve.DSA_1024 and isinstance(bench, TokenBench):
        with pytest.raises(PesError, match="no token makes a key pair of DSA-1024"):
            store.generate(slot, curve)
        return
    point = store.generate(slot, curve)
    assert (len(point), store.public_point(slot), store.curve(slot)) == (CURVES[curve].point, point, curve)
    for message in (b"", b"message", bytes(1000)):
        verify(curve, point, store.sign(slot, message), message)


def test_each_generated_key_is_another(bench: Bench) -> None:
    store = bench.open()
    points = [store.generate(Slot.INDICIUM), store.generate(Slot.INDICIUM), store.generate(Slot.MESSAGE)]
    assert len({*points, bench.open("B").generate(Slot.INDICIUM)}) == 4
    assert store.public_point(Slot.INDICIUM) == points[1]


# Secrets.


@pytest.mark.parametrize("slot", [Slot.MAC, Slot.USER])
@pytest.mark.parametrize("by", ["put", "wrapped"])
def test_macs_are_those_of_rfc_4231(bench: Bench, slot: Slot, by: str) -> None:
    store = bench.open()
    store.put(Slot.TRANSPORT, RFC3394_KEY)
    for key, data, expected in RFC4231:
        if by == "put":
            store.put(slot, key)
        else:
            store.unwrap_into(slot, wrap_secret(slot, RFC3394_KEY, key))
        assert store.mac(slot, data).hex() == expected


def test_secrets_are_wrapped_as_in_rfc_3394(bench: Bench) -> None:
    assert wrap_secret(Slot.TRANSPORT, RFC3394_KEY, RFC3394_DATA) == RFC3394_WRAPPED
    store = bench.open()
    store.put(Slot.TRANSPORT, RFC3394_KEY)
    store.unwrap_into(Slot.MAC, RFC3394_WRAPPED)
    assert store.mac(Slot.MAC, b"x") == hmac.digest(RFC3394_DATA, b"x", "sha256")


def test_the_transport_key_itself_can_be_replaced(bench: Bench) -> None:
    store = bench.open()
    store.put(Slot.TRANSPORT, RFC3394_KEY)
    store.unwrap_into(Slot.TRANSPORT, wrap_secret(Slot.TRANSPORT, RFC3394_KEY, b"n" * 32))
    store.unwrap_into(Slot.USER, wrap_secret(Slot.USER, b"n" * 32, b"secret"))
    assert store.mac(Slot.USER, b"x") == hmac.digest(b"secret", b"x", "sha256")


def test_a_wrapped_secret_that_was_altered_is_refused_and_changes_nothing(bench: Bench) -> None:
    store = filled(bench)
    before = shown(store)
    good = wrap_secret(Slot.USER, b"t" * 32, b"other secret")
    spoiled = [good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :] for at in range(len(good))]
    spoiled += [wrap_secret(Slot.USER, b"u" * 32, b"other secret"), good[:-1], good[:32], good + bytes(8), b""]
    for wrapped in spoiled:
        with pytest.raises(BadMessage):
            store.unwrap_into(Slot.USER, wrapped)
    with pytest.raises(BadMessage, match="'transport'"):
        store.unwrap_into(Slot.TRANSPORT, good)
    assert shown(store) == before


@pytest.mark.parametrize(
    ("slot", "length"), [(Slot.MAC, 39), (Slot.MAC, 41), (Slot.USER, 80), (Slot.USER, 0), (Slot.TRANSPORT, 48)]
)
def test_a_wrapped_secret_of_another_length_is_refused_before_anything_is_asked(slot: Slot, length: int) -> None:
    with pytest.raises(BadMessage, match=f"{length} bytes are no wrapped secret for the slot {slot.value!r}"):
        check_wrapped(slot, bytes(length))


@pytest.mark.parametrize(
    ("slot", "length"), [(Slot.MAC, 5), (Slot.MAC, 65), (Slot.USER, 0), (Slot.TRANSPORT, 31), (Slot.TRANSPORT, 33)]
)
def test_a_secret_of_another_length_is_refused(bench: Bench, slot: Slot, length: int) -> None:
    with pytest.raises(FieldError, match=f"{slot.value!r} has .* bytes, not {length}"):
        bench.open().put(slot, bytes(length))
    with pytest.raises(FieldError):
        wrap_secret(slot, RFC3394_KEY, bytes(length))


# Slots.


@pytest.mark.parametrize("slot", Slot)
def test_an_empty_slot_does_nothing(bench: Bench, slot: Slot) -> None:
    store = bench.open()
    assert not store.has(slot)
    calls: list[Callable[[Slot], object]]
    match SLOTS[slot].use:
        case Use.SIGN:
            calls = [store.public_point, store.curve, lambda s: store.sign(s, b""), lambda s: store.promote(s, s)]
        case Use.MAC:
            calls = [lambda s: store.mac(s, b"")]
        case Use.UNWRAP:
            calls = [lambda s: store.unwrap_into(s, RFC3394_WRAPPED)]
    for call in calls:
        with pytest.raises(IntegrityError, match=f"no key in the slot {slot.value!r}.*Initialize"):
            call(slot)


def test_a_key_does_what_its_slot_is_for_and_nothing_else(bench: Bench) -> None:
    store = filled(bench)
    before = shown(store)
    misuse: list[Callable[[], object]] = [
        lambda: store.generate(Slot.MAC),
        lambda: store.generate(Slot.MESSAGE, Curve.P224),
        lambda: store.put(Slot.INDICIUM, bytes(32)),
        lambda: store.unwrap_into(Slot.MESSAGE, RFC3394_WRAPPED),
        lambda: store.sign(Slot.MAC, b""),
        lambda: store.mac(Slot.TRANSPORT, b""),
        lambda: store.mac(Slot.INDICIUM, b""),
        lambda: store.public_point(Slot.USER),
        lambda: store.curve(Slot.TRANSPORT),
        lambda: store.promote(Slot.MAC, Slot.USER),
        lambda: store.promote(Slot.MESSAGE, Slot.USER),
        lambda: store.promote(Slot.INDICIUM, Slot.MESSAGE),
        lambda: store.promote(Slot.MESSAGE, Slot.MESSAGE),
    ]
    for call in misuse:
        with pytest.raises(PesError) as caught:
            call()
        # The caller's mistake, not a device that has to stop.
        assert type(caught.value) is PesError
    assert shown(store) == before


def test_a_promoted_key_takes_the_place_of_the_old_one(bench: Bench) -> None:
    store = filled(bench)
    point, message = store.public_point(Slot.NEXT_INDICIUM), store.public_point(Slot.MESSAGE)
    store.promote(Slot.NEXT_INDICIUM, Slot.INDICIUM)
    for now in (store, reopened(bench, store.wrapped())):
        assert not now.has(Slot.NEXT_INDICIUM)
        assert (now.public_point(Slot.INDICIUM), now.curve(Slot.INDICIUM)) == (point, Curve.P256)
        assert now.public_point(Slot.MESSAGE) == message
        verify(Curve.P256, point, now.sign(Slot.INDICIUM, b"message"), b"message")


# The blob.


def reopened(bench: Bench, blob: bytes, device: str = "A") -> KeyStore:
    """The device after a power cycle."""
    store = bench.open(device)
    store.load(blob)
    return store


def test_all_keys_come_back_from_the_blob(bench: Bench) -> None:
    store = filled(bench)
    again = reopened(bench, store.wrapped())
    assert shown(again) == shown(store)
    again.unwrap_into(Slot.MAC, wrap_secret(Slot.MAC, b"t" * 32, b"by the transport key"))
    for slot in PAIRS:
        verify(again.curve(slot), store.public_point(slot), again.sign(slot, b"message"), b"message")


def test_an_empty_store_has_an_empty_blob_and_an_empty_blob_empties_a_store(bench: Bench) -> None:
    assert bench.open().wrapped() == b""
    store = filled(bench)
    blob = store.wrapped()
    store.load(b"")
    assert shown(store) == {"held": []}
    assert store.wrapped() == b""
    store.load(blob)
    assert shown(store)["held"] == list(Slot)


def test_an_altered_blob_is_refused_at_every_byte_and_leaves_nothing(bench: Bench) -> None:
    store = filled(bench)
    blob = store.wrapped()
    spoiled = [blob[:at] + bytes((blob[at] ^ 1,)) + blob[at + 1 :] for at in range(len(blob))]
    spoiled += [blob[:length] for length in range(1, len(blob))] + [blob + bytes(1), blob + bytes(8)]
    for wrapped in spoiled:
        with pytest.raises(IntegrityError):
            store.load(wrapped)
    assert shown(store) == {"held": []}
    store.load(blob)
    assert shown(store)["held"] == list(Slot)


def test_another_devices_blob_is_refused(bench: Bench) -> None:
    blob = filled(bench).wrapped()
    other = bench.open("B")
    other.generate(Slot.INDICIUM)
    with pytest.raises(IntegrityError, match="of another device"):
        other.load(blob)


@pytest.mark.parametrize("form", [0, 1, 2, 255])
def test_a_blob_of_another_kind_of_key_store_is_named(bench: Bench, form: int) -> None:
    blob = filled(bench).wrapped()
    if blob[0] != form:
        named = Form(form).name if form in (1, 2) else "unknown"
        with pytest.raises(IntegrityError, match=rf"form {form} \({named}\).*{Form(blob[0]).name}"):
            bench.open().load(bytes((form,)) + blob[1:])


def test_what_a_newer_version_wrote_is_refused() -> None:
    assert unpack(pack([Entry(Slot.MAC, None, b"abc"), Entry(Slot.MESSAGE, Curve.P256, b"")]) + bytes(5)) == [
        (Slot.MAC, None, b"abc"),
        (Slot.MESSAGE, Curve.P256, b""),
    ]
    for packed in (b"\x63\0\1x", b"\1\x63\1x"):
        with pytest.raises(IntegrityError, match="which this version does not know.*version that wrote it"):
            unpack(packed)


def test_a_failed_commit_takes_the_device_back(bench: Bench) -> None:
    store = bench.open()
    store.generate(Slot.INDICIUM)
    store.put(Slot.MAC, b"first secret")
    before, old = shown(store), store.wrapped()
    store.generate(Slot.INDICIUM, Curve.P224)
    store.generate(Slot.NEXT_INDICIUM)
    store.promote(Slot.NEXT_INDICIUM, Slot.INDICIUM)
    store.put(Slot.MAC, b"second secret")
    after, new = shown(store), store.wrapped()
    store.load(old)
    assert shown(store) == before
    # A sync that failed may have been durable all the same: at power-on the log says which it was.
    assert shown(reopened(bench, new)) == after != before


# Zeroizing.


def test_zeroize_makes_every_blob_worthless(bench: Bench) -> None:
    store = bench.open()
    store.generate(Slot.INDICIUM)
    old = store.wrapped()
    store.generate(Slot.INDICIUM)
    store.put(Slot.USER, b"secret")
    copies = [old, store.wrapped()]
    registers = store.derive("log")
    store.zeroize()
    assert shown(store) == {"held": []}
    assert store.wrapped() == b""
    for now in (store, bench.open()):
        for copy in copies:
            with pytest.raises(KeysGone, match="zeroized"):
                now.load(copy)
        now.load(b"")
        assert now.derive("log") == registers


def test_new_keys_after_zeroize_do_not_bring_the_old_ones_back(bench: Bench) -> None:
    store = filled(bench)
    old = store.wrapped()
    store.zeroize()
    point = store.generate(Slot.INDICIUM)
    new = store.wrapped()
    for now in (store, bench.open()):
        with pytest.raises(IntegrityError):
            now.load(old)
    assert reopened(bench, new).public_point(Slot.INDICIUM) == point


def test_zeroizing_twice_or_a_blank_device_is_no_error(bench: Bench) -> None:
    store = bench.open()
    for _ in range(2):
        store.zeroize()
    assert store.wrapped() == b""


def test_zeroizing_one_device_leaves_the_other(bench: Bench) -> None:
    other = bench.open("B")
    point = other.generate(Slot.INDICIUM)
    blob = other.wrapped()
    filled(bench).zeroize()
    other.load(blob)
    assert other.public_point(Slot.INDICIUM) == point


def test_keys_that_are_held_while_another_zeroizes_get_no_new_blob(bench: Bench) -> None:
    store = filled(bench)
    bench.open().zeroize()
    for call in (store.wrapped, lambda: store.generate(Slot.MESSAGE), lambda: store.put(Slot.MAC, b"secret")):
        with pytest.raises(KeysGone):
            call()


# What is derived, and what is shown.


def test_each_purpose_and_each_device_has_a_key_of_its_own_that_stays(bench: Bench) -> None:
    store, other = bench.open(), bench.open("B")
    keys = [store.derive("log"), store.derive("Log"), store.derive("key wrap"), other.derive("log")]
    assert len(set(keys)) == 4
    assert {len(key) for key in keys} == {32}
    assert bench.open().derive("log") == keys[0]


def test_nothing_shown_or_stored_holds_a_secret(bench: Bench) -> None:
    store = filled(bench)
    texts = [repr(store), str(store), repr(Entry(Slot.MAC, None, b"m" * 33))]
    assert not [text for text in texts if "mmm" in text]
    assert not [key for key in (b"m" * 8, b"secret", b"t" * 8) if key in store.wrapped()]
