"""A whole device whose keys lie in a PKCS#11 token (SoftHSM2): it does all that it does in software."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from pes_sim.entropy import SeededEntropy
from pes_sim.indicium import layout
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd.keys import KeyStore
from pes_sim.psd.pkcs11 import Pkcs11KeyStore
from tests import softhsm
from tests.rig import NOON, SERIAL, Rig, pki


class OnToken(Rig):
    """A rig whose key stores are sessions of one token."""

    name = ""
    opened: ClassVar[list[Pkcs11KeyStore]] = []

    def key_store(self, entropy: SeededEntropy) -> KeyStore:
        self.opened.append(Pkcs11KeyStore(softhsm.module(), softhsm.TOKEN, softhsm.PIN, self.name))
        return self.opened[-1]


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[OnToken]:
    class Named(OnToken):
        name = request.node.name

    made = Named(transport_key=b"")
    made.initialize()
    made.authorize()
    made.check_in()
    made.refill(100_000)
    yield made
    made.psd._keys.zeroize()
    while made.opened:
        made.opened.pop().close()


def test_it_dispenses_and_a_retry_gets_the_same_bytes_also_after_a_restart(rig: OnToken) -> None:
    first = rig.dispense(b"r" * 16)
    assert rig.dispense(b"r" * 16) == first
    rig.power_on()
    assert rig.dispense(b"r" * 16) == first
    read = layout.builtin("imi_std").unpack(first["indicium"])
    verify_p256(rig.made["public_key"], read.signed, read.signature)
    assert rig.registers()["piece_count"] == 1


def test_it_checks_in_withdraws_and_states_so(rig: OnToken) -> None:
    rig.dispense()
    rig.check_in()
    rig.power_on()
    assert rig.read("withdrawal_request", rig.ask("withdraw_begin")["message"])["amount_mills"] == 99_260


def test_a_new_key_takes_over_with_its_certificate(rig: OnToken) -> None:
    new = rig.ask("renew_key", message=rig.order("key_renewal"))["public_key"]
    certificate = pki().issue_psd(new, SERIAL, 4712, NOON)
    rig.ask("load_certificate", message=rig.order("certificate_load", psd_certificate=certificate))
    rig.power_on()
    read = layout.builtin("imi_std").unpack(rig.dispense()["indicium"])
    verify_p256(new, read.signed, read.signature)


def test_zeroized_it_serves_no_more_and_an_older_image_does_not_either(rig: OnToken) -> None:
    areas = {name: bytearray(area) for name, area in rig.storage.areas.items()}  # type: ignore[attr-defined]
    rig.psd.tamper()
    assert rig.status()["state"] == "ZEROIZED"
    assert rig.registers()["control_sum_mills"] == 100_000
    rig.storage.areas = areas  # type: ignore[attr-defined]
    rig.power_on()
    assert rig.status()["state"] == "ZEROIZED"
