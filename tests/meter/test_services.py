"""The meter's table of services: what it offers, what it passes on, and what it keeps from the outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pes_sim.entropy import SystemEntropy
from pes_sim.errors import FieldError, PesError, Status, UnknownService
from pes_sim.link.client import Client
from pes_sim.link.ports.memory import MemoryTransport
from pes_sim.meter.meter import Meter
from pes_sim.meter.services import BY_NAME, OWN, PASSED_THROUGH, SERVICES
from pes_sim.psd.selftest import TestName
from pes_sim.psd.services import BY_NAME as PSD_SERVICES
from tests.meter.bench import Bench
from tests.meter.made import TODAY


def test_postage_leaves_a_meter_on_a_departments_account_only(tmp_path: Path) -> None:
    # Passed on, `dispense` would print without a department, and at any postage.
    assert "dispense" not in BY_NAME
    bench = Bench(tmp_path)
    with pytest.raises(UnknownService, match="a meter has no service 'dispense'"):
        bench.ask("dispense", postage_mills=1)
    assert bench.registers().piece_count == 0


@pytest.mark.parametrize("name", ["initialize", "authorize", "dispense", "", "no_such"])
def test_manufacture_is_not_for_whoever_sits_at_the_port(name: str) -> None:
    assert name not in BY_NAME


def test_codes_and_names_are_used_once() -> None:
    assert len({service.code for service in SERVICES}) == len({service.name for service in SERVICES}) == len(SERVICES)


def test_what_is_passed_on_is_the_psds_own_service_unchanged() -> None:
    assert [BY_NAME[name] for name in PASSED_THROUGH] == [PSD_SERVICES[name] for name in PASSED_THROUGH]


def test_the_self_tests_of_its_psd_can_be_asked_for_at_the_meters_port(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = bench.log_sequence()
    outside = Meter(Client(MemoryTransport(bench.device, bench.clock), BY_NAME, SystemEntropy()))
    ran = outside.self_test()
    assert (len(ran.passed), ran.failed) == (13, [])
    bench.psd.fail_self_test(TestName.SHA_256)
    ran = outside.self_test()
    assert (len(ran.passed), ran.failed) == (12, ["sha-256"])
    assert outside.status().state == "ERROR"
    assert bench.log_sequence() == before


def test_every_own_service_refuses_a_request_of_another_shape_and_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = bench.log_sequence()
    for service in OWN:
        with pytest.raises(FieldError, match="unknown field mills"):
            bench.ask(service.name, mills=1, **{field.name: EMPTY[field.form] for field in service.request})
        for field in service.request:
            rest = {other.name: EMPTY[other.form] for other in service.request if other is not field}
            with pytest.raises(FieldError, match=f"field {field.name} is missing"):
                bench.ask(service.name, **rest)
            with pytest.raises(FieldError, match=f"field {field.name} must be {field.form}"):
                bench.ask(service.name, **rest | {field.name: None})
    assert bench.log_sequence() == before


EMPTY: dict[str, Any] = {"uint": 0, "text": ""}

PIECE: dict[str, Any] = {"mail_class": "first_class_letter", "weight": 100, "mailing_date": TODAY}


@pytest.mark.parametrize(
    ("name", "request_", "status"),
    [
        ("quote", PIECE | {"mail_class": "media_mail"}, Status.NO_RATE),
        ("quote", PIECE | {"weight": 60_000}, Status.NO_RATE),
        ("quote", PIECE | {"mailing_date": "soon"}, Status.BAD_DATE),
        ("quote", PIECE | {"weight": -1}, Status.BAD_FIELD),
        ("get_departments", {"from_department": "1" * 17}, Status.BAD_FIELD),
        *((name, {}, Status.NO_CONNECTION) for name in ("check_in", "withdraw")),
        ("refill", {"amount_mills": 5_000}, Status.NO_CONNECTION),
        ("refill", {"amount_mills": 0}, Status.BAD_POSTAGE),
        ("cancel_refill", {}, Status.NOTHING_PENDING),
    ],
)
def test_what_the_meter_refuses_with_stands_in_its_table(
    tmp_path: Path, name: str, request_: dict[str, Any], status: Status
) -> None:
    bench = Bench(tmp_path)
    if status is not Status.NOTHING_PENDING and status is not Status.BAD_POSTAGE:
        bench.device.centre = None
    with pytest.raises(PesError) as refusal:
        bench.ask(name, **request_)
    assert refusal.value.status is status
    assert status in BY_NAME[name].statuses


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"department": "300"}, Status.UNKNOWN_DEPARTMENT),
        ({"mail_class": "media_mail"}, Status.NO_RATE),
        ({"declared_mills": 1}, Status.BAD_POSTAGE),
        ({"mailing_date": "2020-01-01"}, Status.NO_RATE),
        ({"declared_mills": 16_000_000}, Status.INSUFFICIENT_FUNDS),
    ],
)
def test_what_a_print_is_refused_with_stands_in_its_table(
    tmp_path: Path, changes: dict[str, Any], status: Status
) -> None:
    with pytest.raises(PesError) as refusal:
        Bench(tmp_path).print(**changes)
    assert refusal.value.status is status
    assert status in BY_NAME["print_piece"].statuses


def test_what_its_psd_refuses_with_a_meter_may_refuse_with_as_well() -> None:
    behind = {
        "print_piece": ["dispense"],
        "refill": ["refill_begin", "refill_complete"],
        "check_in": ["checkin_begin", "checkin_complete"],
        "cancel_refill": ["refill_cancel", "refill_complete"],
        "withdraw": ["withdraw_begin", "withdraw_complete"],
    }
    for name, services in behind.items():
        for service in services:
            assert set(PSD_SERVICES[service].statuses) <= set(BY_NAME[name].statuses)
