"""Manufacture and authorization: a device takes only what chains to its trust anchor and is meant for it."""

from __future__ import annotations

from typing import Any

import pytest

from pes_sim.clock import DAY
from pes_sim.errors import (
    BadCertificate,
    BadMessage,
    BadSignature,
    FieldError,
    NotForThisDevice,
    PesError,
    StaleMessage,
)
from pes_sim.psd import messages
from tests.rig import CERTIFICATE_SERIAL, NOON, SERIAL, Rig, pki, sign


def initialized() -> Rig:
    rig = Rig()
    rig.initialize()
    return rig


def test_a_new_device_gives_its_public_key_and_a_nonce() -> None:
    made = initialized().made
    assert len(made["public_key"]) == 65
    assert made["public_key"][0] == 4
    assert len(made["nonce"]) == 16


@pytest.mark.parametrize("anchor", [b"", b"not a certificate"])
def test_a_trust_anchor_that_is_no_certificate_is_refused(anchor: bytes) -> None:
    with pytest.raises(BadCertificate):
        Rig().ask("initialize", psd_serial=SERIAL, trust_anchor=anchor)


def test_a_trust_anchor_that_is_not_the_cas_own_is_refused() -> None:
    with pytest.raises(BadCertificate, match="not for PES-SIM test CA"):
        Rig().ask("initialize", psd_serial=SERIAL, trust_anchor=pki().provider.certificate)


def test_the_serial_number_0_is_refused() -> None:
    with pytest.raises(FieldError, match="psd_serial"):
        Rig().ask("initialize", psd_serial=0, trust_anchor=pki().ca.certificate)


def test_an_authorized_device_shows_its_certificates() -> None:
    rig = initialized()
    values = rig.authorization()
    rig.ask("authorize", message=sign("authorization", values))
    assert rig.ask("get_certificates") == {
        "psd_certificate": values["psd_certificate"],
        "provider_certificate": pki().provider.certificate,
        "trust_anchor": pki().ca.certificate,
    }
    info = rig.ask("get_info")
    assert (info["licensing_zip"], info["customer"], info["utc_offset_minutes"]) == ("20260", "TEST CUSTOMER", 0)


def other_key() -> bytes:
    return bytes(Rig(seed="other").initialize()["public_key"])


def psd_certificate(point: bytes, serial: int = SERIAL, name: str = "test") -> bytes:
    return pki(name).issue_psd(point, serial, CERTIFICATE_SERIAL, NOON)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"psd_serial": 1}, NotForThisDevice),
        ({"nonce": bytes(16)}, StaleMessage),
        ({"licensing_zip": "2026"}, FieldError),
        ({"licensing_zip": "2026A"}, FieldError),
        ({"licensing_zip": "٢٠٢٦٠"}, FieldError),
        ({"psd_certificate": b"junk"}, BadCertificate),
        ({"psd_certificate": pki().provider.certificate}, BadCertificate),
        ({"psd_certificate": psd_certificate(other_key())}, BadCertificate),
        ({"provider_certificate": pki().ca.certificate}, BadCertificate),
        ({"provider_certificate": pki("other").provider.certificate}, BadCertificate),
    ],
)
def test_an_authorization_that_says_something_else_is_refused(changes: dict[str, Any], error: type[PesError]) -> None:
    rig = initialized()
    before = rig.everything()
    with pytest.raises(error):
        rig.authorize(**changes)
    assert rig.everything() == before
    rig.authorize()


def test_a_certificate_for_another_serial_number_is_refused() -> None:
    rig = initialized()
    with pytest.raises(BadCertificate, match="another key or serial number"):
        rig.authorize(psd_certificate=psd_certificate(rig.made["public_key"], SERIAL + 1))


def test_a_certificate_of_another_ca_is_refused() -> None:
    rig = initialized()
    with pytest.raises(BadCertificate, match="not issued by the trust anchor"):
        rig.authorize(psd_certificate=psd_certificate(rig.made["public_key"], name="other"))


def test_an_authorization_that_the_provider_did_not_sign_is_refused() -> None:
    rig = initialized()
    message = messages.sign("authorization", rig.authorization(), pki("other").provider.sign)
    with pytest.raises(BadSignature):
        rig.ask("authorize", message=message)


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(BadMessage):
        initialized().ask("authorize", message=b"junk")


@pytest.mark.parametrize("years", [-20, 20])
def test_a_certificate_that_does_not_hold_yet_or_any_more_is_refused(years: int) -> None:
    rig = initialized()
    certificate = pki().issue_psd(rig.made["public_key"], SERIAL, CERTIFICATE_SERIAL, NOON + years * 365 * DAY)
    with pytest.raises(BadCertificate, match="does not hold at the device's time, 2026-11-21"):
        rig.authorize(psd_certificate=certificate)


def test_a_certificate_whose_number_the_indicium_cannot_hold_is_refused() -> None:
    rig = initialized()
    with pytest.raises(BadCertificate, match="four bytes"):
        rig.authorize(psd_certificate=pki().issue_psd(rig.made["public_key"], SERIAL, 1 << 32, NOON))
