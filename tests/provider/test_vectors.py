"""The test vectors: what they promise holds by our own verifier, and by `cryptography` without any of our code."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from pes_sim.indicium.dsa import G, P
from pes_sim.indicium.verify import Trust, Verdict, verify
from pes_sim.provider import vectors

PUBLISHED = Path(__file__).parents[1] / "vectors" / "indicia" / "indicia.json"


class Case(NamedTuple):
    """A test of the file, with its group, and the keys that hold for it."""

    group: dict[str, Any]
    test: dict[str, Any]

    @property
    def keys(self) -> dict[str, Any]:
        return {**self.group["keys"], **{name: self.test[name] for name in self.group["keys"] if name in self.test}}

    @property
    def payload(self) -> bytes:
        return bytes.fromhex(self.test["payload"])


CASES = [Case(group, test) for group in json.loads(PUBLISHED.read_text())["testGroups"] for test in group["tests"]]
NAMES = [f"{case.test['tcId']} {case.group['layout']['name']} {case.test['comment']}" for case in CASES]

VERDICTS = {
    "SwappedRS": {Verdict.BAD_SIGNATURE}, "RangeCheck": {Verdict.BAD_SIGNATURE}, "WrongHash": {Verdict.BAD_SIGNATURE},
    "WrongKey": {Verdict.BAD_SIGNATURE, Verdict.NO_KEY}, "TruncatedMac": {Verdict.BAD_SIGNATURE},
    "WrongCurve": {Verdict.BAD_SIGNATURE, Verdict.TRUNCATED, Verdict.WRONG_LENGTH},
    "WrongCertificate": {Verdict.WRONG_CERTIFICATE}, "UntrustedCertificate": {Verdict.UNTRUSTED_CERTIFICATE},
    "ExpiredCertificate": {Verdict.EXPIRED_CERTIFICATE}, "RevokedCertificate": {Verdict.REVOKED_CERTIFICATE},
    "ModifiedSignature": {Verdict.BAD_SIGNATURE},
    "WrongLength": {Verdict.TRUNCATED, Verdict.WRONG_LENGTH, Verdict.UNKNOWN_VERSION, Verdict.NOT_A_SPECIMEN},
}  # fmt: skip
"""By hand: what our verifier says to what a flag stands for. A modified field may be any of them."""


def our_verdict(case: Case) -> Verdict:
    keys = case.keys
    trust = Trust(
        bytes.fromhex(keys.get("trustAnchor", "")),
        [bytes.fromhex(der) for der in keys.get("psdCertificates", [])],
        {int(serial): [bytes.fromhex(key) for key in found] for serial, found in keys.get("macKeys", {}).items()},
        frozenset(keys["revoked"]) if "revoked" in keys else None,
    )
    return verify(case.payload, trust, [vectors.layout_of(case.group)]).verdict


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_our_verifier_says_what_the_vector_promises(case: Case) -> None:
    verdict = our_verdict(case)
    assert (verdict is Verdict.VALID) == (case.test["result"] in ("valid", "acceptable"))
    for flag in case.test["flags"]:
        assert verdict in VERDICTS.get(flag, set(Verdict))


# Another verifier, which knows what the file says and nothing of this project


def accepts(case: Case) -> bool:
    """Whether an indicium is good, by the group's own table of fields and by `cryptography` alone."""
    layout, payload = case.group["layout"], case.payload
    end = layout["signedLength"]
    if len(payload) != end + layout["signatureLength"]:
        return False
    signed, signature = payload[:end], payload[end:]
    raw = {f["name"]: signed[f["offset"] : f["offset"] + f["length"]] for f in layout["fields"]}
    number = {name: int.from_bytes(value, "little") for name, value in raw.items()}
    first = bytes.fromhex(case.group["tests"][0]["payload"])
    if ("indicia_version" in raw and payload[0] != first[0]) or raw["provider_id"] != b"99":
        return False
    if layout["scheme"] == "hmac-sha256":
        keys = case.keys["macKeys"].get(str(number["psd_serial"]), [])
        macs = [hmac.new(bytes.fromhex(key), signed, hashlib.sha256).digest()[: len(signature)] for key in keys]
        return signature in macs
    return any(_signed_by(certificate, case, number, signed, signature) for certificate in _certificates(case))


@cache
def _read(der: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(bytes.fromhex(der))


def _certificates(case: Case) -> list[x509.Certificate]:
    return [_read(der) for der in case.keys["psdCertificates"]]


def _signed_by(
    certificate: x509.Certificate, case: Case, number: dict[str, int], signed: bytes, signature: bytes
) -> bool:
    anchor = _read(case.keys["trustAnchor"])
    try:
        certificate.verify_directly_issued_by(anchor)
    except (ValueError, InvalidSignature):
        return False
    names = certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    if not names or int(str(names[0].value)) != number["psd_serial"]:
        return False
    if certificate.serial_number != number["certificate_serial"] or certificate.serial_number in case.keys["revoked"]:
        return False
    begin, end = (int(f"{day:%Y%m%d}") for day in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
    if not begin <= number["mailing_date"] <= end:
        return False
    key = certificate.public_key()
    half = len(signature) // 2
    der = utils.encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
    try:
        if isinstance(key, dsa.DSAPublicKey):
            key.verify(der, signed, hashes.SHA1())
            return bool(case.keys["curve"] == "DSA-1024")
        assert isinstance(key, ec.EllipticCurvePublicKey)
        if key.curve.name != {"P-256": "secp256r1", "P-224": "secp224r1"}.get(case.keys["curve"]):
            return False
        key.verify(der, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_verifier_that_knows_nothing_of_ours_says_the_same(case: Case) -> None:
    assert accepts(case) == (case.test["result"] in ("valid", "acceptable"))


# The file


def test_the_published_file_is_what_this_version_writes_byte_for_byte() -> None:
    assert PUBLISHED.read_text() == vectors.text() == vectors.text()


def test_every_group_has_good_ones_and_every_kind_of_bad_one_that_its_scheme_knows() -> None:
    flags = set(vectors.NOTES)
    signatures = flags - {"TruncatedMac"}
    macs = {"Good", "ModifiedField", "ModifiedSignature", "WrongKey", "WrongLength", "TruncatedMac", "Replay"}
    groups = json.loads(PUBLISHED.read_text())["testGroups"]
    assert [group["layout"]["scheme"] for group in groups] == [
        "hmac-sha256", "ecdsa-p256-sha256", "ecdsa-p224-sha256", "ecdsa-p256-sha256", "ecdsa-p256-sha256",
        "dsa-1024-sha1",
    ]  # fmt: skip
    for group in groups:
        found = {flag for test in group["tests"] for flag in test["flags"]}
        by_scheme = {"hmac-sha256": macs, "dsa-1024-sha1": signatures - {"WrongHash"}}
        assert found == by_scheme.get(group["layout"]["scheme"], signatures)
        names = [field["name"] for field in group["layout"]["fields"]]
        flipped = Counter(test["comment"].split(":")[0] for test in group["tests"] if "Modified" in test["flags"][0])
        assert flipped == dict.fromkeys([*names, "signature"], 2)


def test_numbers_are_unique_and_in_order_and_counted() -> None:
    document = json.loads(PUBLISHED.read_text())
    numbers = [case.test["tcId"] for case in CASES]
    assert numbers == list(range(1, len(numbers) + 1))
    assert document["numberOfTests"] == len(numbers)
    assert {case.test["result"] for case in CASES} == {"valid", "invalid", "acceptable"}
    assert "Specimens only" in document["header"][0]


def test_no_vector_bears_a_real_provider() -> None:
    for case in CASES:
        field = next(f for f in case.group["layout"]["fields"] if f["name"] == "provider_id")
        found = case.payload[field["offset"] :][:2]
        assert found not in {f"{number:02d}".encode() for number in range(1, 8)}


def test_the_private_keys_belong_to_the_public_ones() -> None:
    for group in json.loads(PUBLISHED.read_text())["testGroups"]:
        if "privateKey" in group["keys"]:
            scalar, public = int(group["keys"]["privateKey"], 16), group["keys"]["publicKey"]
            if group["keys"]["curve"] == "DSA-1024":
                assert pow(G, scalar, P) == int(public, 16)
                continue
            curve = ec.SECP256R1() if group["keys"]["curve"] == "P-256" else ec.SECP224R1()
            key = ec.derive_private_key(scalar, curve).public_key()
            assert key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex() == public
