"""The legacy profile: specimens of IBI, signed by DSA-1024 with SHA-1, and marked as not approved."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa as library

from pes_sim.errors import BadCertificate, FieldError, SelfTestFailed
from pes_sim.indicium import certificates, dsa
from pes_sim.indicium.certificates import Purpose
from pes_sim.indicium.layout import builtin
from pes_sim.indicium.verify import Trust, Verdict, verify
from pes_sim.psd.fields import pack
from pes_sim.psd.selftest import TestName
from tests.indicium.test_certificates import handmade
from tests.rig import CERTIFICATE_SERIAL, NOON, Rig, correction, operational, pki
from tests.rig import piece as request

LEGACY: dict[str, Any] = {"profile": "legacy", "curve": "DSA-1024"}
CA = pki().ca.certificate


def legacy() -> Rig:
    return operational(layout=builtin("ibi_specimen"), **LEGACY)


def test_every_kind_of_piece_is_a_specimen_of_ibi_that_verifies() -> None:
    rig = legacy()
    trust = Trust(CA, [rig.ask("get_certificates")["psd_certificate"]])
    for indicium in (
        rig.dispense()["indicium"],
        rig.ask("redate", **correction())["indicium"],
        rig.ask("correct_amount", **request(postage_mills=10))["indicium"],
        *rig.ask("dispense_batch", pieces=[pack(request()), pack(request(weight=200))])["indicia"],
    ):
        assert (len(indicium), indicium[0], indicium[6:8]) == (89, 99, b"99")
        assert verify(indicium, trust).verdict is Verdict.VALID
        assert verify(indicium[:-1] + bytes([indicium[-1] ^ 1]), trust).verdict is Verdict.BAD_SIGNATURE


def test_a_retry_gives_the_same_bytes_and_so_does_a_power_cycle() -> None:
    rig = legacy()
    first = rig.dispense(b"i" * 16)
    assert rig.dispense(b"i" * 16) == first
    rig.power_on()
    assert rig.dispense(b"i" * 16) == first
    assert rig.registers()["piece_count"] == 1


def test_what_it_signs_so_is_marked_as_not_approved() -> None:
    rig = legacy()
    assert rig.dispense()["service_indicator"] == 3
    assert rig.ask("get_registers")["service_indicator"] == 0
    info = rig.ask("get_info")
    assert (info["profile"], info["curve"]) == ("legacy", "DSA-1024")
    assert "not approved" in info["notice"]


@pytest.mark.parametrize(
    ("layout", "made"),
    [
        ("imi_std", {"profile": "legacy"}),
        ("ibi_specimen", {"curve": "DSA-1024"}),
        ("ibi_specimen", {"curve": "DSA-1024", "profile": "FIPS 140-3"}),
    ],
)
def test_no_other_profile_has_it_and_this_one_has_nothing_else(layout: str, made: dict[str, Any]) -> None:
    rig = Rig(layout=builtin(layout), **made)
    with pytest.raises(FieldError, match=r"profile .* does not go with indicia signed by"):
        rig.initialize()
    assert rig.status()["state"] == "UNINITIALIZED"


@pytest.mark.parametrize("failing", [TestName.DSA_1024_SIGN, TestName.DSA_1024_VERIFY])
def test_no_key_is_made_by_an_algorithm_that_fails_its_test(failing: TestName) -> None:
    rig = Rig(layout=builtin("ibi_specimen"), **LEGACY)
    rig.psd.fail_self_test(failing)
    with pytest.raises(SelfTestFailed, match=failing):
        rig.initialize()


# Its certificate


def test_its_certificate_bears_the_key_and_is_for_indicia_alone() -> None:
    public = Rig(layout=builtin("ibi_specimen"), **LEGACY).initialize()["public_key"]
    der = pki().issue_psd(public, 1, CERTIFICATE_SERIAL, NOON)
    assert certificates.read(der, CA, Purpose.PSD).point == public
    with pytest.raises(BadCertificate, match="not one of DSA-1024"):
        pki().issue_psd(bytes(127) + b"\1", 1, 1, NOON)


def test_a_key_of_another_group_is_none_of_ours() -> None:
    other = replace_generator(dsa.group())
    key = library.DSAPrivateNumbers(2, library.DSAPublicNumbers(pow(other.g, 2, other.p), other)).private_key()
    with pytest.raises(BadCertificate, match="not a P-256 or P-224 or DSA-1024 key"):
        certificates.read(handmade(key, [Purpose.PSD]), CA, Purpose.PSD)


def replace_generator(group: library.DSAParameterNumbers) -> library.DSAParameterNumbers:
    return library.DSAParameterNumbers(group.p, group.q, pow(group.g, 2, group.p))
