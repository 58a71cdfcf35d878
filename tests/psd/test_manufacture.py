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
    StorageFailed,
)
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd import messages
from pes_sim.psd.fields import Values
from pes_sim.psd.storage import MemoryStorage
from tests.rig import CERTIFICATE_SERIAL, NOON, SECRET, SERIAL, TRANSPORT, Rig, operational, pki, sign

REQUEST: dict[str, Any] = {
    "psd_serial": SERIAL, "trust_anchor": pki().ca.certificate, "user_secret": SECRET, "transport_key": TRANSPORT,
    "profile": "FIPS 140-2", "regime": "IMI", "curve": "P-256",
}  # fmt: skip


def initialized() -> Rig:
    rig = Rig()
    rig.initialize()
    return rig


def initialize(**changes: Any) -> Values:
    """A blank device's answer."""
    return Rig().ask("initialize", **REQUEST | changes)


def test_a_new_device_gives_two_public_keys_and_a_nonce() -> None:
    made = initialized().made
    for key in (made["public_key"], made["message_key"]):
        assert len(key) == 65
        assert key[0] == 4
    assert made["public_key"] != made["message_key"]
    assert len(made["nonce"]) == 16


def test_indicia_and_messages_are_signed_by_keys_of_their_own() -> None:
    rig = operational()
    indicium = rig.dispense()["indicium"]
    verify_p256(rig.made["public_key"], indicium[:50], indicium[50:])
    with pytest.raises(BadSignature):
        verify_p256(rig.made["message_key"], indicium[:50], indicium[50:])
    report = rig.ask("checkin_begin")["message"]
    messages.open_signed(report, rig.made["message_key"], "checkin_report")
    with pytest.raises(BadSignature):
        messages.open_signed(report, rig.made["public_key"], "checkin_report")


@pytest.mark.parametrize("name", ["profile", "regime", "curve"])
def test_a_choice_that_is_none_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(FieldError, match=f"field {name} must be one of .*, not 'other'") as caught:
        initialize(**{name: "other"})
    assert caught.value.detail == {"field": name}


def test_a_curve_that_the_layout_is_not_signed_on_is_refused() -> None:
    with pytest.raises(FieldError, match=r"the layout is signed with P-256, not P-224\. Take the curve of the layout"):
        initialize(curve="P-224")


@pytest.mark.parametrize(("length", "taken"), [(0, False), (5, False), (6, True), (64, True), (65, False)])
def test_the_meters_secret_has_6_to_64_bytes(length: int, taken: bool) -> None:
    if taken:
        assert initialize(user_secret=bytes(length))["message_key"]
        return
    with pytest.raises(FieldError, match="user_secret"):
        initialize(user_secret=bytes(length))


@pytest.mark.parametrize(
    "changes", [{"psd_serial": 0}, {"user_secret": b"short"}, {"regime": "other"}, {"trust_anchor": b"x"}]
)
def test_a_refused_initialization_leaves_the_device_blank_and_without_keys(changes: dict[str, Any]) -> None:
    rig = Rig()
    with pytest.raises(PesError):
        rig.ask("initialize", **REQUEST | changes)
    status = rig.status()
    assert (status["state"], status["log_sequence"]) == ("UNINITIALIZED", 0)
    assert rig.vault.read() == b""
    rig.initialize()


@pytest.mark.parametrize("fails_at", range(4))
def test_an_initialization_that_the_disk_refuses_is_made_again_and_serves(fails_at: int) -> None:
    class Failing(MemoryStorage):
        left = -1

        def _count(self) -> None:
            self.left -= 1
            if self.left == 0:
                raise StorageFailed("the disk said no")

        def create(self, name: str, size: int) -> None:
            self._count()
            super().create(name, size)

        def write(self, name: str, offset: int, data: bytes) -> None:
            self._count()
            super().write(name, offset, data)

        def sync(self, name: str) -> None:
            self._count()

    storage = Failing()
    rig = Rig(storage=storage)
    storage.left = fails_at + 1
    with pytest.raises(StorageFailed):
        rig.initialize()
    assert rig.status()["state"] == "UNINITIALIZED"
    rig.initialize()
    rig.power_on()
    rig.authorize()
    rig.check_in()
    assert rig.status()["state"] == "OPERATIONAL"


@pytest.mark.parametrize("anchor", [b"", b"not a certificate"])
def test_a_trust_anchor_that_is_no_certificate_is_refused(anchor: bytes) -> None:
    with pytest.raises(BadCertificate):
        initialize(trust_anchor=anchor)


def test_a_trust_anchor_that_is_not_the_cas_own_is_refused() -> None:
    with pytest.raises(BadCertificate, match="not for PES-SIM test CA"):
        initialize(trust_anchor=pki().provider.certificate)


def test_the_serial_number_0_is_refused() -> None:
    with pytest.raises(FieldError, match="psd_serial"):
        initialize(psd_serial=0)


def test_an_authorized_device_shows_its_certificates() -> None:
    rig = initialized()
    values = rig.authorization()
    rig.ask("authorize", message=sign("authorization", values))
    assert rig.ask("get_certificates") == {
        "psd_certificate": values["psd_certificate"],
        "provider_certificate": pki().provider.certificate,
        "trust_anchor": pki().ca.certificate,
        "service_indicator": 0,
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
    with pytest.raises(BadCertificate, match="does not hold at 2026-11-21T12:00:00Z"):
        rig.authorize(psd_certificate=certificate)


def test_a_certificate_whose_number_the_indicium_cannot_hold_is_refused() -> None:
    rig = initialized()
    with pytest.raises(BadCertificate, match="four bytes"):
        rig.authorize(psd_certificate=pki().issue_psd(rig.made["public_key"], SERIAL, 1 << 32, NOON))


def test_a_device_without_a_transport_key_is_made_too() -> None:
    assert initialize(transport_key=b"")["message_key"]
    with pytest.raises(FieldError, match="32 bytes, not 5"):
        initialize(transport_key=b"short")
