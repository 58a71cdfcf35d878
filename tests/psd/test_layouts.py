"""Devices by other layouts than IMI-STD: a MAC in place of a signature, and what only some layouts have a place for."""

from __future__ import annotations

import hmac
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pes_sim.errors import FieldError, LayoutError, RefusedInState, RequestIdReused, SelfTestFailed
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import Layout, builtin
from pes_sim.psd import piece
from pes_sim.psd.fields import Values, pack
from pes_sim.psd.keys import Curve
from pes_sim.psd.selftest import Algorithm, TestName
from pes_sim.psd.services import BY_NAME, needs
from tests.rig import MAC_KEY, TODAY, Rig, correction, operational
from tests.rig import piece as request

TRACKING = "9400100000000000000001"
BESIDES: Values = {"tracking_number": TRACKING, "extra_services": "certified_mail+return_receipt"}
ID = b"i" * 16


def printed(rig: Rig, indicium: bytes) -> dict[str, Any]:
    return dict(rig.layout.unpack(indicium).values)


# IMI-MIN: a MAC


def test_an_indicium_bears_the_first_bytes_of_the_mac_of_everything_before_it() -> None:
    rig = operational(layout=builtin("imi_min"))
    for indicium in (
        rig.dispense()["indicium"],
        rig.ask("redate", **correction())["indicium"],
        rig.ask("correct_amount", **request(postage_mills=10))["indicium"],
        *rig.ask("dispense_batch", pieces=[pack(request()), pack(request(weight=200))])["indicia"],
    ):
        assert len(indicium) == 49
        assert indicium[33:] == hmac.digest(MAC_KEY, indicium[:33], "sha256")[:16]
        assert printed(rig, indicium)["algorithm_id"] == 4


def test_a_retry_and_a_reprint_give_the_same_bytes_also_under_a_newer_key() -> None:
    rig = operational(layout=builtin("imi_min"))
    first = rig.dispense(ID)
    rig.load_mac_key(b"a newer key that is long enough.")
    assert rig.dispense(ID) == first
    assert rig.ask("reprint", original=first["record"])["indicium"] == first["indicium"]
    rig.power_on()
    assert rig.dispense(ID) == first
    assert rig.dispense()["indicium"][33:] != first["indicium"][33:]
    assert rig.registers()["piece_count"] == 2


def test_without_its_key_a_device_debits_nothing_and_goes_on_working() -> None:
    rig = Rig(layout=builtin("imi_min"))
    rig.initialize()
    rig.authorize()
    rig.check_in()
    rig.refill(10_000)
    before = rig.everything()
    asks: list[Callable[[], Values]] = [
        lambda: rig.dispense(ID), lambda: rig.ask("dispense_batch", ID, pieces=[pack(request())]),
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(RefusedInState, match=r"no key for the MAC .* was loaded\. The provider loads it"):
            ask()
    assert rig.everything() == before
    rig.load_mac_key()
    assert rig.dispense(ID)["piece_count"] == 1


def test_a_device_of_a_mac_has_an_indicium_key_for_its_certificate_all_the_same() -> None:
    rig = operational(layout=builtin("imi_min"))
    assert rig.ask("get_info")["curve"] == "P-256"
    assert len(rig.made["public_key"]) == 65
    assert rig.ask("get_certificates")["psd_certificate"]


def test_what_is_needed_for_a_piece_is_the_algorithm_of_its_layout() -> None:
    dispense = BY_NAME["dispense"]
    assert Algorithm.ECDSA_P256_SIGN not in needs(dispense, Curve.P256, mac=True)
    assert Algorithm.HMAC_SHA_256 in needs(dispense, Curve.P256, mac=True)
    assert Algorithm.ECDSA_P256_SIGN in needs(BY_NAME["renew_key"], Curve.P256, mac=True)


def test_a_failed_signature_test_is_nothing_to_a_device_of_macs() -> None:
    rig = operational(layout=builtin("imi_min"), profile="FIPS 140-3")
    rig.options["failing"] = frozenset({TestName.ECDSA_P256_SIGN})
    rig.power_on()
    assert rig.dispense()["piece_count"] == 1
    other = operational(profile="FIPS 140-3")
    other.options["failing"] = frozenset({TestName.ECDSA_P256_SIGN})
    other.power_on()
    with pytest.raises(SelfTestFailed):
        other.dispense()


# IMI-MAX: a tracking number and extra services


def test_a_tracking_number_and_extra_services_are_in_the_indicium() -> None:
    rig = operational(layout=builtin("imi_max"))
    answers = [
        rig.dispense(**BESIDES)["indicium"],
        rig.ask("redate", **correction(), **BESIDES)["indicium"],
        rig.ask("correct_amount", **request(), **BESIDES)["indicium"],
        rig.ask("dispense_batch", pieces=[pack(request(**BESIDES))])["indicia"][0],
    ]
    for indicium in answers:
        assert len(indicium) == 125
        assert printed(rig, indicium).items() >= BESIDES.items()


def test_without_them_the_fields_say_that_there_is_none() -> None:
    rig = operational(layout=builtin("imi_max"))
    found = printed(rig, rig.dispense()["indicium"])
    assert (found["tracking_number"], found["extra_services"]) == ("", "")


RETRIES = [({}, {}), (BESIDES, BESIDES), ({}, {"tracking_number": ""}), ({"extra_services": ""}, {})]


@pytest.mark.parametrize(("first", "again"), RETRIES)
def test_a_retry_gets_the_same_indicium_and_an_empty_one_is_none(first: Values, again: Values) -> None:
    rig = operational(layout=builtin("imi_max"))
    answer = rig.dispense(ID, **first)
    assert rig.dispense(ID, **again) == answer
    batch = rig.ask("dispense_batch", b"b" * 16, pieces=[pack(request(**first))])
    assert rig.ask("dispense_batch", b"b" * 16, pieces=[pack(request(**again))]) == batch
    assert rig.registers()["piece_count"] == 2


@pytest.mark.parametrize(
    ("first", "again"), [({}, BESIDES), (BESIDES, {}), (BESIDES, BESIDES | {"extra_services": ""})]
)
def test_another_tracking_number_is_another_request(first: Values, again: Values) -> None:
    rig = operational(layout=builtin("imi_max"))
    rig.dispense(ID, **first)
    before = rig.everything()
    with pytest.raises(RequestIdReused):
        rig.dispense(ID, **again)
    rig.ask("dispense_batch", b"b" * 16, pieces=[pack(request(**first))])
    with pytest.raises(RequestIdReused):
        rig.ask("dispense_batch", b"b" * 16, pieces=[pack(request(**again))])
    with pytest.raises(RequestIdReused):
        rig.dispense(b"b" * 16, **first)
    assert rig.registers()["piece_count"] == before[0]["piece_count"] + 1


@pytest.mark.parametrize("name", BESIDES)
@pytest.mark.parametrize("made", ["imi_std", "imi_min"])
def test_what_the_layout_has_no_place_for_is_refused_and_never_dropped(made: str, name: str) -> None:
    rig = operational(layout=builtin(made))
    before = rig.everything()
    asks: list[Callable[[], Values]] = [
        lambda: rig.dispense(**{name: BESIDES[name]}),
        lambda: rig.ask("redate", **correction(), **{name: BESIDES[name]}),
        lambda: rig.ask("dispense_batch", pieces=[pack(request(**{name: BESIDES[name]}))]),
    ]
    for ask in asks:
        with pytest.raises(LayoutError, match=f"layout {made} has no place for {name}. IMI-MAX has one"):
            ask()
    assert rig.everything() == before
    nothing: Values = {name: ""}
    assert rig.dispense(**nothing)["piece_count"] == 1


def test_a_bad_tracking_number_and_an_unknown_service_are_named_before_any_debit() -> None:
    rig = operational(layout=builtin("imi_max"))
    before = rig.everything()
    bad: list[tuple[Values, str]] = [
        ({"tracking_number": "12"}, "tracking_number must be text of 20 or 22 digits, or empty, not '12'"),
        ({"extra_services": "balloon"}, "extra_services must be names out of certified_mail, "),
        ({"tracking_number": "9" * 23}, "field tracking_number must be text of length up to 22"),
        ({"tracking_number": 5}, "field tracking_number must be text"),
        ({"colour": 5}, "unknown field colour"),
    ]
    for changes, complaint in bad:
        with pytest.raises((FieldError, LayoutError), match=complaint):
            rig.dispense(**changes)
    with pytest.raises(FieldError, match="unknown field tracking_number"):
        rig.ask("refill_begin", amount_mills=5, tracking_number="")
    assert rig.everything() == before


# Files of a user's own


def document() -> dict[str, Any]:
    return tomllib.loads((Path(layouts.__file__).parent / "layouts" / "imi_std.toml").read_text())


def without(*names: str) -> Layout:
    changed, position = document(), 0
    changed["field"] = [row for row in changed["field"] if row["name"] not in names]
    for row in changed["field"]:
        row["offset"] = position
        position += row["length"]
    return Layout(changed, "vendor.toml")


def test_a_layout_needs_no_registers_and_may_say_what_is_always_the_same() -> None:
    changed = without("ascending_mills", "descending_mills", "piece_count", "software_id")
    rig = operational(layout=changed)
    assert rig.dispense()["piece_count"] == 1
    with_model = document()
    with_model["field"][2]["constant"] = "ZZ"
    rig = operational(layout=Layout(with_model, "vendor.toml"))
    assert printed(rig, rig.dispense()["indicium"])["model_id"] == "ZZ"


def test_a_class_of_mail_may_have_the_vendors_own_name() -> None:
    changed = document()
    changed["field"][12]["values"] = {"FCM": 7}
    rig = operational(layout=Layout(changed, "vendor.toml"))
    assert printed(rig, rig.dispense(mail_class="FCM")["indicium"])["mail_class"] == "FCM"


@pytest.mark.parametrize("name", piece.ASKED)
def test_what_a_piece_is_asked_with_is_in_every_layout_that_a_device_prints_by(name: str) -> None:
    signed = {"mailing_date": r"cannot be checked without the fields mailing_date"}
    with pytest.raises(
        LayoutError, match=signed.get(name, f"layout imi_std has no field {name}. A device prints these")
    ):
        Rig(layout=without(name))


def test_a_field_that_no_device_can_fill_needs_a_constant() -> None:
    changed = document()
    extra = {"name": "reserved", "offset": 50, "length": 2, "coding": "bytes", "meaning": "Zeros", "basis": "assumed"}
    changed["field"].append(extra)
    with pytest.raises(LayoutError, match="a device has nothing to put into reserved. Give such a field a constant"):
        Rig(layout=Layout(changed, "vendor.toml"))
    extra["constant"] = "0000"
    rig = operational(layout=Layout(changed, "vendor.toml"))
    assert printed(rig, rig.dispense()["indicium"])["reserved"] == b"\0\0"


@pytest.mark.parametrize("name", ["ibi", "ibi_lite", "withdrawal"])
def test_by_these_no_device_prints(name: str) -> None:
    with pytest.raises(LayoutError, match=f"layout {name} (is read-only|has no field)"):
        Rig(layout=builtin(name))


def test_what_a_device_fills_is_what_its_printer_packs() -> None:
    every = {row.name for name in ("imi_std", "imi_max") for row in builtin(name).fields}
    assert set(piece.FILLED) == every


def test_the_date_that_is_printed_is_todays() -> None:
    for name in ("imi_min", "imi_max"):
        rig = operational(layout=builtin(name))
        assert printed(rig, rig.dispense()["indicium"])["mailing_date"] == TODAY
