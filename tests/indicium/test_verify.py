"""The verifier: each way in which a payload can be wrong has a verdict of its own."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.clock import DAY
from pes_sim.entropy import SeededEntropy
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import Layout, builtin
from pes_sim.indicium.verify import Report, Trust, Verdict, verify
from pes_sim.provider.pki import Pki
from pes_sim.psd.keys import Slot
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.vault import MemoryVault
from tests.rig import CERTIFICATE_SERIAL, MAC_KEY, NOON, SERIAL, TODAY, operational, pki

SAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "ibi_samples.json").read_text())
IBI, IBI_LITE = (bytes.fromhex(sample["hex"]) for sample in SAMPLES)


@pytest.fixture(scope="module")
def good() -> tuple[bytes, Trust]:
    rig = operational()
    indicium = rig.dispense()["indicium"]
    certificates = rig.ask("get_certificates")
    return indicium, Trust(certificates["trust_anchor"], [certificates["psd_certificate"]])


def verdict(report: Report) -> Verdict:
    """The verdict, with what must hold of every report."""
    assert all(check.passed for check in report.checks[:-1])
    assert report.checks[-1].passed is (report.verdict is Verdict.VALID)
    assert all(check.note for check in report.checks)
    return report.verdict


def test_a_good_payload_is_valid_and_every_check_is_listed(good: tuple[bytes, Trust]) -> None:
    report = verify(*good)
    assert verdict(report) is Verdict.VALID
    assert [c.name for c in report.checks] == ["version", "length", "provider", "certificate", "validity", "signature"]
    assert (report.layout, report.values["mailing_date"], report.values["psd_serial"]) == ("imi_std", TODAY, SERIAL)


def test_an_empty_and_a_short_payload_are_truncated(good: tuple[bytes, Trust]) -> None:
    for length in (0, 1, 50, 113):
        assert verdict(verify(good[0][:length], good[1])) is Verdict.TRUNCATED


def test_a_long_payload_has_the_wrong_length(good: tuple[bytes, Trust]) -> None:
    assert verdict(verify(good[0] + b"\0", good[1])) is Verdict.WRONG_LENGTH


def test_an_unknown_version_is_one(good: tuple[bytes, Trust]) -> None:
    assert verdict(verify(b"\xcb" + good[0][1:], good[1])) is Verdict.UNKNOWN_VERSION


def test_a_real_providers_indicium_is_read_and_is_no_specimen(good: tuple[bytes, Trust]) -> None:
    report = verify(IBI, good[1])
    assert verdict(report) is Verdict.NOT_A_SPECIMEN


def test_another_provider_is_no_specimen(good: tuple[bytes, Trust]) -> None:
    assert verdict(verify(good[0][:1] + b"02" + good[0][3:], good[1])) is Verdict.NOT_A_SPECIMEN


def test_every_altered_byte_has_a_verdict_other_than_valid(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    where = {0: {Verdict.UNKNOWN_VERSION}, 1: {Verdict.NOT_A_SPECIMEN}, 2: {Verdict.NOT_A_SPECIMEN}}
    serials = {*range(5, 9), *range(10, 14)}
    dates = set(range(30, 34))
    for index in range(len(payload)):
        altered = payload[:index] + bytes([payload[index] ^ 0x04]) + payload[index + 1 :]
        expected = where.get(index, {Verdict.BAD_SIGNATURE})
        if index in serials:
            expected = {Verdict.WRONG_CERTIFICATE}
        if index in dates:
            expected = {Verdict.BAD_SIGNATURE, Verdict.EXPIRED_CERTIFICATE}
        assert verdict(verify(altered, trust)) in expected, index


def test_without_certificates_nothing_is_believed(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    for lacking in (Trust(), Trust(trust.anchor), Trust(b"", trust.psd_certificates)):
        assert verdict(verify(payload, lacking)) is Verdict.NO_CERTIFICATE


def own_key_certificate(issuer: Pki, serial: int = SERIAL, number: int = CERTIFICATE_SERIAL, now: int = NOON) -> bytes:
    """A certificate for another key."""
    keys = SoftwareKeyStoreNotForProduction(bytes(32), SeededEntropy("another"), MemoryVault())
    return issuer.issue_psd(keys.generate(Slot.INDICIUM), serial, number, now)


def test_a_certificate_of_another_meter_is_the_wrong_one(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    for certificate in (own_key_certificate(pki(), SERIAL + 1), own_key_certificate(pki(), number=1)):
        assert verdict(verify(payload, Trust(trust.anchor, [certificate]))) is Verdict.WRONG_CERTIFICATE


def test_a_certificate_of_the_same_name_for_another_key_does_not_verify(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    assert verdict(verify(payload, Trust(trust.anchor, [own_key_certificate(pki())]))) is Verdict.BAD_SIGNATURE


def test_a_certificate_of_another_ca_is_not_trusted(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    forged = own_key_certificate(pki("other"))
    assert verdict(verify(payload, Trust(trust.anchor, [forged]))) is Verdict.UNTRUSTED_CERTIFICATE
    assert (
        verdict(verify(payload, Trust(pki("other").ca.certificate, trust.psd_certificates)))
        is Verdict.UNTRUSTED_CERTIFICATE
    )


def test_a_certificate_for_another_purpose_is_not_trusted(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    for certificate in (pki().provider.certificate, trust.anchor, b"junk"):
        assert verdict(verify(payload, Trust(trust.anchor, [certificate]))) is Verdict.UNTRUSTED_CERTIFICATE


def test_the_right_certificate_is_found_among_others(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    others = [b"junk", own_key_certificate(pki(), SERIAL + 1), *trust.psd_certificates]
    assert verdict(verify(payload, Trust(trust.anchor, others))) is Verdict.VALID


def test_a_certificate_that_does_not_hold_on_the_mailing_date_is_expired(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    for now in (NOON + 400 * DAY, NOON - 4000 * DAY):
        certificate = own_key_certificate(pki(), now=now)
        assert verdict(verify(payload, Trust(trust.anchor, [certificate]))) is Verdict.EXPIRED_CERTIFICATE


def test_a_certificate_that_is_called_back_is_revoked(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    revoked = replace(trust, revoked=frozenset({CERTIFICATE_SERIAL}))
    assert verdict(verify(payload, revoked)) is Verdict.REVOKED_CERTIFICATE
    others = verify(payload, replace(trust, revoked=frozenset({CERTIFICATE_SERIAL + 1})))
    assert verdict(others) is Verdict.VALID
    assert [c.name for c in others.checks][-2:] == ["revocation", "signature"]


def test_a_thorough_report_goes_on_with_what_can_still_be_checked(good: tuple[bytes, Trust]) -> None:
    """The verdict is that of the first check that fails, as without it."""
    payload, trust = good
    wrong = payload[:1] + b"02" + payload[3:] + b"\0"
    report = verify(wrong, replace(trust, revoked=frozenset({CERTIFICATE_SERIAL})), thorough=True)
    assert report.verdict is Verdict.WRONG_LENGTH
    failed = {check.name: check.verdict for check in report.checks if not check.passed}
    assert failed == {
        "length": Verdict.WRONG_LENGTH, "provider": Verdict.NOT_A_SPECIMEN, "revocation": Verdict.REVOKED_CERTIFICATE,
        "signature": Verdict.BAD_SIGNATURE,
    }  # fmt: skip
    assert [check.name for check in report.checks if check.passed] == ["version", "certificate", "validity"]


@pytest.mark.parametrize(
    ("payload", "names"),
    [
        (b"", ["version"]),
        (b"\xca99", ["version", "length"]),
        (IBI_LITE, ["version", "length", "scheme", "provider"]),
    ],
    ids=["empty", "truncated", "a scheme that cannot be checked"],
)
def test_a_thorough_report_ends_where_nothing_can_be_checked_any_more(
    good: tuple[bytes, Trust], payload: bytes, names: list[str]
) -> None:
    report = verify(payload, good[1], thorough=True)
    assert [check.name for check in report.checks] == names
    assert (report.verdict, report.checks[-1].passed) == (verify(payload, good[1]).verdict, False)


def test_an_impossible_date_is_left_to_the_signature(good: tuple[bytes, Trust]) -> None:
    payload, trust = good
    assert verdict(verify(payload[:30] + bytes(4) + payload[34:], trust)) is Verdict.BAD_SIGNATURE


def test_a_trust_reads_its_certificates_once(good: tuple[bytes, Trust], monkeypatch: pytest.MonkeyPatch) -> None:
    payload, (anchor, known) = good[0], (good[1].anchor, list(good[1].psd_certificates))
    trust = Trust(anchor, known)
    known.clear()  # what was given stays, whatever becomes of the list
    assert verdict(verify(payload, trust)) is Verdict.VALID
    monkeypatch.setattr("pes_sim.indicium.certificates.read", None)
    assert verdict(verify(payload, trust)) is Verdict.VALID


# MACs


@pytest.fixture(scope="module")
def short() -> bytes:
    return bytes(operational(layout=builtin("imi_min")).dispense()["indicium"])


def test_a_mac_is_checked_with_the_secret_key_alone(short: bytes) -> None:
    report = verify(short, Trust(secrets={SERIAL: [MAC_KEY]}))
    assert verdict(report) is Verdict.VALID
    assert [c.name for c in report.checks] == ["version", "length", "provider", "key", "signature"]
    assert report.checks[-1].note == "hmac-sha256, its first 16 bytes, over the first 33 bytes"
    assert (report.layout, report.values["postage_mills"]) == ("imi_min", 740)


def test_a_mac_cannot_be_checked_without_the_key(short: bytes, good: tuple[bytes, Trust]) -> None:
    for trust in (Trust(), good[1], Trust(secrets={SERIAL + 1: [MAC_KEY]})):
        report = verify(short, trust)
        assert verdict(report) is Verdict.NO_KEY
        assert "cannot be checked without the key" in report.checks[-1].note


def test_any_of_a_psds_keys_may_have_made_a_mac(short: bytes) -> None:
    old_and_new = Trust(secrets={SERIAL: [b"an older key", MAC_KEY, b"a newer key"]})
    assert verdict(verify(short, old_and_new)) is Verdict.VALID
    assert verdict(verify(short, Trust(secrets={SERIAL: [b"another key", b"a third"]}))) is Verdict.BAD_SIGNATURE


def test_every_altered_bit_under_a_mac_is_found(short: bytes) -> None:
    trust = Trust(secrets={SERIAL: [MAC_KEY]})
    for bit in range(8 * len(short)):
        altered = bytearray(short)
        altered[bit // 8] ^= 1 << bit % 8
        assert verdict(verify(bytes(altered), trust)) is not Verdict.VALID


def test_a_psd_whose_serial_number_is_no_number_has_no_key() -> None:
    document = tomllib.loads((Path(layouts.__file__).parent / "layouts" / "imi_min.toml").read_text())
    document["field"][3].update(coding="ascii")
    layout = Layout(document, "vendor.toml")
    payload = b"\xc99911ABCD" + bytes(layout.length - 9)
    assert verdict(verify(payload, Trust(), [layout])) is Verdict.NO_KEY


def test_layouts_of_ones_own_can_be_given(good: tuple[bytes, Trust]) -> None:
    assert verdict(verify(*good, [builtin("imi_std")])) is Verdict.VALID
    assert verdict(verify(*good, [builtin("ibi")])) is Verdict.UNKNOWN_VERSION


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_raise_and_none_are_valid(noise: bytes, versioned: bool) -> None:
    payload = b"\xca99S1" + noise if versioned else noise
    trust = Trust(pki().ca.certificate, [own_key_certificate(pki())])
    assert verdict(verify(payload, trust)) is not Verdict.VALID
