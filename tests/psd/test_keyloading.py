"""New keys and certificates by the provider's order: the old key signs until the new certificate is there."""

from __future__ import annotations

import hmac

import pytest

from pes_sim.errors import BadCertificate, BadMessage, NotAuthenticated, NothingPending, StorageFailed, StorageFull
from pes_sim.indicium import layout
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd.keys import Slot, wrap_secret
from pes_sim.psd.storage import MemoryStorage
from pes_sim.psd.vault import MemoryVault
from tests.rig import CERTIFICATE_SERIAL, NOON, SERIAL, TRANSPORT, Rig, operational, pki

YEARS = 365 * 24 * 3_600_000_000


def certificate(point: bytes, number: int = CERTIFICATE_SERIAL + 1, serial: int = SERIAL) -> bytes:
    return pki().issue_psd(point, serial, number, NOON)


def load(rig: Rig, der: bytes) -> None:
    rig.ask("load_certificate", message=rig.order("certificate_load", psd_certificate=der))


def signs_with(rig: Rig, point: bytes) -> int:
    """Checks that a new indicium verifies by `point`; gives the certificate serial number that it bears."""
    read = layout.builtin("imi_std").unpack(rig.dispense()["indicium"])
    verify_p256(point, read.signed, read.signature)
    return int(read.values["certificate_serial"])


def test_a_new_key_waits_until_its_certificate_comes_and_then_signs_and_survives_a_restart() -> None:
    rig = operational()
    new = rig.ask("renew_key", message=rig.order("key_renewal"))["public_key"]
    assert new != rig.made["public_key"]
    assert signs_with(rig, rig.made["public_key"]) == CERTIFICATE_SERIAL
    rig.power_on()
    load(rig, certificate(new))
    assert signs_with(rig, new) == CERTIFICATE_SERIAL + 1
    rig.power_on()
    assert signs_with(rig, new) == CERTIFICATE_SERIAL + 1
    assert rig.ask("get_certificates")["psd_certificate"] == certificate(new)


def test_the_key_in_use_may_get_another_certificate() -> None:
    rig = operational()
    load(rig, certificate(rig.made["public_key"]))
    assert signs_with(rig, rig.made["public_key"]) == CERTIFICATE_SERIAL + 1


def test_the_largest_serial_number_that_an_indicium_takes_is_taken() -> None:
    rig = operational()
    load(rig, certificate(rig.made["public_key"], number=(1 << 32) - 1))
    assert signs_with(rig, rig.made["public_key"]) == (1 << 32) - 1


def test_a_certificate_of_another_key_device_or_time_is_refused_and_changes_nothing() -> None:
    rig = operational()
    new = rig.ask("renew_key", message=rig.order("key_renewal"))["public_key"]
    other = pki().provider.certificate
    refused = {
        "not for": other,
        "for another key": certificate(Rig(seed="other").initialize()["public_key"]),
        "for another device": certificate(new, serial=SERIAL + 1),
        "does not fit an indicium": certificate(new, number=1 << 32),
        "does not hold at": pki().issue_psd(new, SERIAL, 5, NOON + 5 * YEARS),
    }
    for why, der in refused.items():
        with pytest.raises(BadCertificate, match=why):
            load(rig, der)
    assert signs_with(rig, rig.made["public_key"]) == CERTIFICATE_SERIAL


def test_a_full_disk_at_the_new_certificate_leaves_the_old_key_signing(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = operational()
    new = rig.ask("renew_key", message=rig.order("key_renewal"))["public_key"]
    order = rig.order("certificate_load", psd_certificate=certificate(new))

    def full(*_: object) -> None:
        raise StorageFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryStorage, "write", full)
        with pytest.raises(StorageFull):
            rig.ask("load_certificate", message=order)
    assert signs_with(rig, rig.made["public_key"]) == CERTIFICATE_SERIAL
    rig.ask("load_certificate", message=order)
    assert signs_with(rig, new) == CERTIFICATE_SERIAL + 1


def test_an_hmac_key_comes_wrapped_and_is_there_after_a_restart() -> None:
    rig = operational()
    secret = b"a key for IMI-MIN, 32 bytes long"
    order = rig.order("key_load", slot="mac", wrapped_secret=wrap_secret(Slot.MAC, TRANSPORT, secret))
    assert rig.ask("load_key", message=order)["slot"] == "mac"
    rig.power_on()
    assert rig.psd._keys.mac(Slot.MAC, b"payload") == hmac.digest(secret, b"payload", "sha256")


def test_the_meters_secret_can_be_changed_and_the_old_one_opens_nothing_any_more() -> None:
    rig = operational()
    wrapped = wrap_secret(Slot.USER, TRANSPORT, b"another secret")
    rig.ask("load_key", message=rig.order("key_load", slot="user", wrapped_secret=wrapped))
    rig.power_on(log_in=False)
    nonce = rig.challenge()["nonce"]
    proof = rig.user_proof(nonce, b"another secret")
    assert rig.ask("authenticate", role="customer's meter", proof=proof)["role"] == "customer's meter"
    with pytest.raises(Exception, match="proof is wrong"):
        rig.log_in()


@pytest.mark.parametrize("slot", ["indicium", "message", "transport", "next indicium", "", "MAC"])
def test_no_secret_goes_where_a_key_pair_lies_or_nowhere(slot: str) -> None:
    rig = operational()
    wrapped = wrap_secret(Slot.MAC, TRANSPORT, bytes(32))
    with pytest.raises(BadMessage, match="no secret goes into"):
        rig.ask("load_key", message=rig.order("key_load", slot=slot, wrapped_secret=wrapped))


def test_a_secret_under_another_transport_key_is_refused() -> None:
    rig = operational()
    wrapped = wrap_secret(Slot.MAC, bytes(32), bytes(32))
    with pytest.raises(BadMessage, match="cannot be unwrapped"):
        rig.ask("load_key", message=rig.order("key_load", slot="mac", wrapped_secret=wrapped))
    assert rig.status()["state"] == "OPERATIONAL"


def test_a_device_without_a_transport_key_takes_no_secret() -> None:
    rig = operational(transport_key=b"")
    wrapped = wrap_secret(Slot.MAC, TRANSPORT, bytes(32))
    with pytest.raises(NothingPending, match="without a transport key"):
        rig.ask("load_key", message=rig.order("key_load", slot="mac", wrapped_secret=wrapped))
    assert rig.status()["state"] == "OPERATIONAL"


def test_a_new_secret_of_the_meters_ends_the_session_that_the_old_one_opened() -> None:
    rig = operational()
    for slot, role in (("mac", "customer's meter"), ("user", "unauthenticated")):
        rig.log_in()
        wrapped = wrap_secret(Slot(slot), TRANSPORT, b"a secret of thirty-two bytes, ok")
        rig.ask("load_key", message=rig.order("key_load", slot=slot, wrapped_secret=wrapped))
        assert rig.status()["role"] == role
        if slot == "user":
            with pytest.raises(NotAuthenticated):
                rig.dispense()


def test_a_key_store_that_is_away_at_a_new_key_stops_the_device_until_the_next_power_on_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = operational()
    order = rig.order("key_renewal")

    def away(*_: object) -> bytes:
        raise StorageFailed("EIO")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryVault, "read", away)
        with pytest.raises(StorageFailed):
            rig.ask("renew_key", message=order)
    assert rig.status()["state"] == "ERROR"
    rig.power_on()
    assert signs_with(rig, rig.made["public_key"]) == CERTIFICATE_SERIAL


def test_another_devices_vault_stops_the_device_until_the_right_one_is_back() -> None:
    rig = operational()
    kept = rig.vault.read()
    for wrong in (bytes(31) + b"x", b"short"):
        rig.vault.write(wrong)
        rig.power_on()
        assert rig.status()["state"] == "ERROR"
        rig.vault.write(kept)
        rig.power_on()
        assert signs_with(rig, rig.made["public_key"]) == CERTIFICATE_SERIAL
