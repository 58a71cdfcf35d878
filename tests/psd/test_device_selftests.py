"""Self-tests in the device: what a failure stops, in either profile, and what brings the device back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pes_sim.errors import PesError, SelfTestFailed, Status
from pes_sim.psd.keys import Slot
from pes_sim.psd.lifecycle import State
from pes_sim.psd.selftest import TESTS, Algorithm, TestName, When
from pes_sim.psd.services import BY_NAME, SERVICES
from tests.rig import Rig, correction, operational, piece

AT_POWER_ON = [row.name for row in TESTS if row.fips_140_2 is When.POWER_ON]
STANDS = [row.name for row in TESTS if row.fips_140_3 is When.POWER_ON]
"""What stops the device in the 140-3 profile too."""
ALWAYS = {"get_info", "get_status", "get_registers", "get_certificates", "self_test", "zeroize"}


def made(profile: str, *failing: TestName) -> Rig:
    """An operational device that is off and on again with failing self-tests."""
    rig = operational(profile=profile)
    rig.options["failing"] = frozenset(failing)
    rig.power_on(log_in=False)
    return rig


def refused(rig: Rig, name: str, **request: Any) -> Status | None:
    """The status that a service is refused with; None when it is served."""
    try:
        rig.ask(name, **request)
    except PesError as refusal:
        return refusal.status
    return None


def plain(name: str, rig: Rig) -> dict[str, Any]:
    """A request that is well formed, whatever the device says to it."""
    samples: dict[str, dict[str, Any]] = {
        "dispense": piece(), "correct_amount": piece(), "redate": correction(), "reprint": {"original": 1},
        "authenticate": {"role": "customer's meter", "proof": b""}, "read_log": {"first_record": 1},
        "refill_begin": {"amount_mills": 1}, "audit": {"nonce": bytes(16)},
        "software_data": {"offset": 0, "data": b"x"},
        "dispense_batch": {"pieces": []},
        "initialize": {"psd_serial": 1, "trust_anchor": b"", "user_secret": bytes(6), **rig.how_made},
    }  # fmt: skip
    return samples.get(name, {"message": b""} if BY_NAME[name].signed else {})


@pytest.mark.parametrize("failing", AT_POWER_ON)
def test_140_2_any_failure_at_power_on_stops_the_device_and_says_which(failing: TestName) -> None:
    rig = made("FIPS 140-2", failing)
    status = rig.status()
    assert (status["state"], status["self_tests_failed"]) == ("ERROR", [failing.value])
    assert failing.value in status["lock_reasons"][0]
    with pytest.raises(SelfTestFailed) as caught:
        rig.dispense()
    assert caught.value.detail["test"] == failing.value
    assert rig.registers()["control_sum_mills"] == 100_000


def test_140_2_in_error_every_service_but_reading_and_zeroizing_is_refused() -> None:
    rig = made("FIPS 140-2", TestName.SHA_256)
    answers = {s.name: refused(rig, s.name, **plain(s.name, rig)) for s in SERVICES if s.name != "zeroize"}
    served = {name for name, status in answers.items() if status is None}
    assert served == ALWAYS - {"zeroize"} | {"get_statement"}
    assert set(answers.values()) == {None, Status.SELF_TEST_FAILED}
    assert refused(rig, "zeroize") is None


@pytest.mark.parametrize("failing", AT_POWER_ON)
def test_a_device_is_well_again_after_a_power_cycle_without_the_failure(failing: TestName) -> None:
    rig = made("FIPS 140-2", failing)
    before = rig.status()["log_sequence"]
    rig.options.clear()
    rig.power_on(log_in=False)
    assert rig.status()["log_sequence"] == before  # nothing was written down
    rig.log_in()
    assert rig.dispense()["piece_count"] == 1


@pytest.mark.parametrize("failing", STANDS)
def test_140_3_what_integrity_stands_on_stops_the_device_there_too(failing: TestName) -> None:
    rig = made("FIPS 140-3", failing)
    assert rig.status()["state"] == "ERROR"
    assert refused(rig, "dispense", **piece()) is Status.SELF_TEST_FAILED


DEGRADED: list[tuple[TestName, Algorithm]] = [
    (TestName.ENTROPY_REPETITION, Algorithm.ENTROPY),
    (TestName.ENTROPY_PROPORTION, Algorithm.ENTROPY),
    (TestName.ECDSA_P256_SIGN, Algorithm.ECDSA_P256_SIGN),
]


@pytest.mark.parametrize(("failing", "algorithm"), DEGRADED)
def test_140_3_an_algorithm_that_fails_is_out_of_service_and_the_rest_goes_on(
    failing: TestName, algorithm: Algorithm
) -> None:
    rig = operational(profile="FIPS 140-3")
    rig.options["failing"] = frozenset({failing})
    rig.power_on(log_in=algorithm is not Algorithm.ENTROPY)
    for service in SERVICES:
        if State.OPERATIONAL in service.states and algorithm in service.needs and not service.signed:
            status = refused(rig, service.name, **plain(service.name, rig))
            assert status in (Status.SELF_TEST_FAILED, Status.NOT_AUTHENTICATED), service.name
    assert rig.status()["state"] == "OPERATIONAL"
    assert rig.status()["self_tests_failed"] == [failing.value]


def test_140_3_without_entropy_a_meter_that_is_logged_in_goes_on_printing() -> None:
    rig = operational(profile="FIPS 140-3")
    rig.psd.fail_self_test(TestName.ENTROPY_REPETITION)
    assert rig.ask("self_test")["self_tests_failed"] == ["entropy-repetition"]
    assert rig.dispense()["piece_count"] == 1
    assert refused(rig, "refill_begin", amount_mills=1) is Status.SELF_TEST_FAILED
    assert refused(rig, "challenge") is Status.SELF_TEST_FAILED
    rig.psd.fail_self_test(TestName.ENTROPY_REPETITION, fails=False)
    assert rig.ask("self_test")["self_tests_failed"] == []
    assert refused(rig, "challenge") is None


def test_140_3_a_signature_that_fails_gives_no_indicium_and_debits_nothing_nor_answers_a_retry() -> None:
    rig = operational(profile="FIPS 140-3")
    rig.dispense(b"r" * 16)
    rig.options["failing"] = frozenset({TestName.ECDSA_P256_SIGN})
    rig.power_on()
    assert refused(rig, "dispense", **piece()) is Status.SELF_TEST_FAILED
    with pytest.raises(SelfTestFailed):
        rig.dispense(b"r" * 16)
    assert rig.registers()["piece_count"] == 1


@pytest.mark.parametrize("profile", ["FIPS 140-2", "FIPS 140-3"])
def test_keys_that_cannot_be_unwrapped_with_confidence_stop_the_device(profile: str) -> None:
    rig = made(profile, TestName.AES_256_KEY_WRAP)
    assert rig.status()["state"] == "ERROR"
    rig.options.clear()
    rig.power_on()
    assert rig.dispense()["piece_count"] == 1


@pytest.mark.parametrize("profile", ["FIPS 140-2", "FIPS 140-3"])
def test_a_pair_that_is_not_consistent_is_thrown_away(profile: str) -> None:
    rig = Rig(profile=profile)
    rig.psd.fail_self_test(TestName.PAIRWISE_CONSISTENCY)
    with pytest.raises(SelfTestFailed, match="pairwise-consistency"):
        rig.initialize()
    rig.power_on()
    assert rig.status()["state"] == "UNINITIALIZED"
    rig.initialize()
    assert rig.status()["state"] == "INITIALIZED"


@pytest.mark.parametrize("profile", ["FIPS 140-2", "FIPS 140-3"])
def test_a_new_key_that_is_not_consistent_leaves_the_old_one(profile: str) -> None:
    rig = operational(profile=profile)
    rig.psd.fail_self_test(TestName.PAIRWISE_CONSISTENCY)
    with pytest.raises(SelfTestFailed):
        rig.ask("renew_key", message=rig.order("key_renewal"))
    rig.power_on()
    assert not rig.psd._keys.has(Slot.NEXT_INDICIUM)
    assert rig.dispense()["piece_count"] == 1


def test_on_demand_every_test_runs_again_and_a_failure_stops_a_140_2_device() -> None:
    rig = operational()
    answer = rig.ask("self_test")
    made_here = TestName.PAIRWISE_CONSISTENCY  # its keys were, since the power came on
    assert answer["self_tests_passed"] == [
        *(row.name.value for row in TESTS if row.name is not made_here),
        made_here.value,
    ]
    rig.psd.fail_self_test(TestName.HMAC_SHA_256)
    assert rig.ask("self_test")["self_tests_failed"] == ["hmac-sha-256"]
    assert rig.status()["state"] == "ERROR"
    assert refused(rig, "dispense", **piece()) is Status.SELF_TEST_FAILED
    rig.psd.fail_self_test(TestName.HMAC_SHA_256, fails=False)
    assert rig.ask("self_test")["self_tests_failed"] == []
    assert rig.status()["state"] == "ERROR"  # only a power cycle leads out
    rig.power_on()
    assert rig.status()["state"] == "OPERATIONAL"


def test_the_profile_chosen_at_manufacture_holds_at_once() -> None:
    rig = Rig(profile="FIPS 140-3")
    assert rig.ask("get_info")["service_indicator"] == 0
    rig.initialize()
    assert rig.ask("get_info")["profile"] == "FIPS 140-3"
    assert rig.ask("get_info")["service_indicator"] == 2


def test_140_3_every_answer_says_whether_the_service_is_an_approved_one() -> None:
    rig = operational(profile="FIPS 140-3")
    asked: dict[str, Callable[[], dict[str, Any]]] = {
        "get_info": dict, "get_status": dict, "get_registers": dict, "get_certificates": dict, "self_test": dict,
        "challenge": dict, "dispense": piece, "redate": correction, "checkin_begin": dict,
        "read_log": lambda: {"first_record": 1},
    }  # fmt: skip
    said = {name: rig.ask(name, **request())["service_indicator"] for name, request in asked.items()}
    plain_reading = ALWAYS - {"zeroize"} | {"read_log"}
    assert {name for name, indicator in said.items() if indicator == 2} == plain_reading
    assert {name for name, indicator in said.items() if indicator == 1} == set(asked) - plain_reading


def test_140_2_knows_no_service_indicator() -> None:
    rig = operational()
    assert rig.dispense()["service_indicator"] == rig.status()["service_indicator"] == 0


def test_a_device_that_stopped_for_its_storage_runs_no_self_test_at_power_on() -> None:
    rig = operational()
    rig.psd._books.stop("a test said so")
    rig.options["failing"] = frozenset({TestName.SHA_256})
    rig.power_on()
    assert rig.status()["lock_reasons"] == ["a test said so"]


def test_registers_that_differ_from_their_record_are_found() -> None:
    rig = operational()
    rig.dispense()
    books = rig.psd._books
    books.registers = books.registers.debit(1)
    assert rig.ask("self_test")["self_tests_failed"] == ["register-integrity"]


@pytest.mark.parametrize("failing", STANDS)
def test_140_3_on_demand_too_what_integrity_stands_on_stops_the_device(failing: TestName) -> None:
    rig = operational(profile="FIPS 140-3")
    rig.psd.fail_self_test(failing)
    assert rig.ask("self_test")["self_tests_failed"] == [failing.value]
    assert rig.status()["state"] == "ERROR"
    assert refused(rig, "dispense", **piece()) is Status.SELF_TEST_FAILED


def test_140_3_without_signing_the_log_can_be_read_and_a_piece_printed_again() -> None:
    rig = operational(profile="FIPS 140-3")
    record = rig.dispense()["record"]
    rig.options["failing"] = frozenset({TestName.ECDSA_P256_SIGN})
    rig.power_on()
    assert len(rig.ask("read_log", first_record=1)["entries"]) == 1
    assert rig.ask("reprint", original=record)["piece_count"] == 1
