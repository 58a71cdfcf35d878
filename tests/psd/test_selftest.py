"""Self-tests: each passes, can be made to fail, finds a really broken algorithm, and runs when it must."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import utils

from pes_sim.entropy import Entropy, SeededEntropy, SystemEntropy
from pes_sim.errors import BadSignature, SelfTestFailed, Status, from_wire
from pes_sim.indicium import signature
from pes_sim.indicium.signature import verify_p256
from pes_sim.psd import keys, selftest
from pes_sim.psd import known_answers as known
from pes_sim.psd.keys import Slot
from pes_sim.psd.profile import Profile
from pes_sim.psd.selftest import TESTS, Algorithm, Kind, SelfTests, Subject, TestName, When
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.vault import MemoryVault
from tests import rsp

DIGEST = bytes(range(32))
OLD, NEW = Profile.FIPS_140_2, Profile.FIPS_140_3
PAIRWISE = TestName.PAIRWISE_CONSISTENCY
NOT_APPROVED = (TestName.DSA_1024_SIGN, TestName.DSA_1024_VERIFY)
ON_DEMAND = tuple(name for name in TestName if name is not PAIRWISE)
AT_POWER_ON = {
    OLD: tuple(name for name in ON_DEMAND if name not in NOT_APPROVED),
    Profile.LEGACY: tuple(name for name in ON_DEMAND if name not in NOT_APPROVED),
    NEW: (
        TestName.SHA_256,
        TestName.HMAC_SHA_256,
        TestName.ECDSA_P256_VERIFY,
        TestName.SOFTWARE_INTEGRITY,
        TestName.REGISTER_INTEGRITY,
    ),
}
LATER = tuple(name for name in ON_DEMAND if name not in AT_POWER_ON[NEW])
ALGORITHM = {row.name: row.algorithm for row in TESTS}
SUBJECT = Subject(SeededEntropy("self-test"), lambda: (DIGEST, DIGEST), lambda: (b"registers", b"registers"))


def cycle(profile: Profile = OLD, *failing: TestName, subject: Subject = SUBJECT) -> SelfTests:
    return SelfTests(subject, profile, frozenset(failing))


def algorithm(name: TestName) -> Algorithm:
    found = ALGORITHM[name]
    assert found is not None
    return found


class Watched(dict[TestName, int]):
    """How often each test ran, counted where each draws or computes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = SelfTests._try

        def counted(self_tests: SelfTests, row: Any, run: Any) -> None:
            self[row.name] = self.get(row.name, 0) + 1
            real(self_tests, row, run)

        monkeypatch.setattr(SelfTests, "_try", counted)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def key_pair() -> SoftwareKeyStoreNotForProduction:
    made = SoftwareKeyStoreNotForProduction(bytes(32), SeededEntropy("pair"), MemoryVault())
    made.generate(Slot.MESSAGE)
    return made


def check_pair(self_tests: SelfTests, pair: SoftwareKeyStoreNotForProduction, point: bytes = b"") -> None:
    point = point or pair.public_point(Slot.MESSAGE)
    self_tests.pairwise(
        lambda message: pair.sign(Slot.MESSAGE, message), lambda message, signed: verify_p256(point, message, signed)
    )


# The table


def test_the_table_has_every_name_once_and_every_algorithm() -> None:
    assert [row.name for row in TESTS] == list(TestName)
    assert {row.algorithm for row in TESTS} == {*Algorithm, None}
    assert all(row.source for row in TESTS)


def test_what_a_row_vouches_for_follows_its_kind() -> None:
    for row in TESTS:
        assert (row.algorithm is not None) == (row.kind in {Kind.CAST, Kind.HEALTH})
        assert (row.run is None) == (row.kind is Kind.PAIRWISE)
        assert (row.fips_140_2 is When.POWER_ON) == (row.kind is not Kind.PAIRWISE and row.name not in NOT_APPROVED)


def test_names_are_what_a_user_types() -> None:
    assert TestName("ecdsa-p224-verify") is TestName.ECDSA_P224_VERIFY
    assert all(name == name.lower() and " " not in name for name in TestName)


def test_integrity_comes_after_the_algorithms_it_stands_on() -> None:
    order = list(AT_POWER_ON[NEW])
    assert order.index(TestName.SOFTWARE_INTEGRITY) > order.index(TestName.SHA_256)
    assert order.index(TestName.SOFTWARE_INTEGRITY) > order.index(TestName.ECDSA_P256_VERIFY)
    assert order.index(TestName.REGISTER_INTEGRITY) > order.index(TestName.HMAC_SHA_256)


# Passing, and failing on demand


@pytest.mark.parametrize("profile", Profile)
def test_all_is_well(profile: Profile) -> None:
    self_tests = cycle(profile)
    assert (self_tests.passed, self_tests.failed) == ((), ())
    self_tests.power_on()
    assert self_tests.passed == AT_POWER_ON[profile]
    self_tests.need(*Algorithm)
    check_pair(self_tests, key_pair())
    assert self_tests.passed == tuple(TestName)
    assert self_tests.failed == ()
    assert self_tests.run_all() == dict.fromkeys(ON_DEMAND, True)


@pytest.mark.parametrize("name", AT_POWER_ON[OLD])
def test_each_made_to_fail_stops_140_2_at_power_on(name: TestName) -> None:
    self_tests = cycle(OLD, name)
    with pytest.raises(SelfTestFailed, match=f"self-test {name} failed") as caught:
        self_tests.power_on()
    assert caught.value.detail["test"] == name
    assert type(caught.value.detail["test"]) is str  # it crosses the wire
    assert "told to fail" in caught.value.hint
    assert self_tests.failed == (name,)
    assert self_tests.passed == AT_POWER_ON[OLD][: AT_POWER_ON[OLD].index(name)]
    for any_algorithm in Algorithm:
        with pytest.raises(SelfTestFailed, match=name):
            self_tests.need(any_algorithm)


@pytest.mark.parametrize("name", AT_POWER_ON[NEW])
def test_each_made_to_fail_that_140_3_runs_at_power_on_stops_it(name: TestName) -> None:
    self_tests = cycle(NEW, name)
    with pytest.raises(SelfTestFailed, match=name):
        self_tests.power_on()
    for any_algorithm in Algorithm:
        with pytest.raises(SelfTestFailed, match=name):
            self_tests.need(any_algorithm)
    assert self_tests.failed == (name,)  # nothing further was run


@pytest.mark.parametrize("name", LATER)
def test_each_other_made_to_fail_degrades_140_3(name: TestName, ran: Watched) -> None:
    self_tests = cycle(NEW, name)
    self_tests.power_on()
    for _ in range(2):
        with pytest.raises(SelfTestFailed, match=name):
            self_tests.need(Algorithm.SHA_256, algorithm(name))
    assert ran[name] == 1  # a failure is not tried away
    self_tests.need(*set(Algorithm) - {algorithm(name)})
    assert self_tests.failed == (name,)
    self_tests.power_on()  # nor does it stop the integrity tests


@pytest.mark.parametrize("profile", Profile)
def test_a_pair_made_to_fail_is_not_to_be_used(profile: Profile) -> None:
    self_tests = cycle(profile, PAIRWISE)
    self_tests.power_on()
    with pytest.raises(SelfTestFailed, match="pairwise-consistency") as caught:
        check_pair(self_tests, key_pair())
    assert caught.value.detail["test"] == "pairwise-consistency"
    assert self_tests.failed == (PAIRWISE,)
    if profile is not NEW:
        with pytest.raises(SelfTestFailed, match="pairwise"):
            self_tests.need(Algorithm.SHA_256)
    else:
        self_tests.need(*Algorithm)
    self_tests.restore(PAIRWISE)
    check_pair(self_tests, key_pair())
    self_tests.need(*Algorithm)


def test_a_private_key_with_anothers_public_key_is_found() -> None:
    other = SoftwareKeyStoreNotForProduction(bytes(32), SeededEntropy("another pair"), MemoryVault())
    other.generate(Slot.MESSAGE)
    self_tests = cycle()
    with pytest.raises(SelfTestFailed, match="pairwise-consistency failed: BadSignature"):
        check_pair(self_tests, key_pair(), other.public_point(Slot.MESSAGE))


def test_the_failure_comes_over_the_wire_as_itself() -> None:
    with pytest.raises(SelfTestFailed) as caught:
        cycle(OLD, TestName.SHA_256).power_on()
    error = caught.value
    assert error.status is Status.SELF_TEST_FAILED
    assert int(error.status) == 0x54
    again = from_wire(error.status, error.message, error.hint, error.detail)
    assert type(again) is SelfTestFailed
    assert again.detail == {"test": "sha-256", "reason": "what it computed is not what it must be"}


# Really broken


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 0x80])


def broken_sha_256(patch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def __init__(self, message: bytes) -> None:
            self.right = real(message).digest()

        def digest(self) -> bytes:
            return flipped(self.right)

    real = hashlib.sha256
    patch.setattr(hashlib, "sha256", Wrong)


def broken_second_block(patch: pytest.MonkeyPatch) -> None:
    real = hashlib.sha256
    patch.setattr(hashlib, "sha256", lambda message: real(message[:50]))


def broken_hmac(patch: pytest.MonkeyPatch) -> None:
    real = hmac.digest
    patch.setattr(hmac, "digest", lambda *given: flipped(real(*given)))


def broken_wrap(patch: pytest.MonkeyPatch) -> None:
    real = keywrap.aes_key_wrap
    patch.setattr(keywrap, "aes_key_wrap", lambda *given: flipped(real(*given)))


def broken_unwrap(patch: pytest.MonkeyPatch) -> None:
    real = keywrap.aes_key_unwrap
    patch.setattr(keywrap, "aes_key_unwrap", lambda *given: flipped(real(*given)))


def failing_unwrap(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: bytes) -> bytes:
        raise keywrap.InvalidUnwrap

    patch.setattr(keywrap, "aes_key_unwrap", refuse)


def broken_sign_p256(patch: pytest.MonkeyPatch) -> None:
    real = keys.raw_signature
    patch.setattr(keys, "raw_signature", lambda der, half=32: flipped(real(der, half)))


def broken_sign_p224(patch: pytest.MonkeyPatch) -> None:
    real = utils.decode_dss_signature
    patch.setattr(utils, "decode_dss_signature", lambda der: (real(der)[0], real(der)[1] ^ 1))


def random_nonce(patch: pytest.MonkeyPatch) -> None:
    """A good signature that is not the deterministic one: a stored record could not be answered again."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    patch.setattr(keys, "signing_algorithm", lambda: ec.ECDSA(hashes.SHA256()))


def refuses_p256(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(signature, "verify_p256", refusing)


def accepts_p256(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(signature, "verify_p256", lambda *_: None)


def refuses_p224(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(signature, "verify_p224", refusing)


def accepts_p224(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(signature, "verify_p224", lambda *_: None)


def crashes_p224(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(signature, "verify_p224")


def refusing(*_: bytes) -> None:
    raise BadSignature("no")


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (TestName.SHA_256, broken_sha_256),
        (TestName.SHA_256, broken_second_block),
        (TestName.HMAC_SHA_256, broken_hmac),
        (TestName.AES_256_KEY_WRAP, broken_wrap),
        (TestName.AES_256_KEY_WRAP, broken_unwrap),
        (TestName.AES_256_KEY_WRAP, failing_unwrap),
        (TestName.ECDSA_P256_SIGN, broken_sign_p256),
        (TestName.ECDSA_P256_SIGN, random_nonce),
        (TestName.ECDSA_P256_VERIFY, refuses_p256),
        (TestName.ECDSA_P256_VERIFY, accepts_p256),
        (TestName.ECDSA_P224_SIGN, broken_sign_p224),
        (TestName.ECDSA_P224_SIGN, random_nonce),
        (TestName.ECDSA_P224_VERIFY, refuses_p224),
        (TestName.ECDSA_P224_VERIFY, accepts_p224),
        (TestName.ECDSA_P224_VERIFY, crashes_p224),
    ],
)
def test_a_really_broken_algorithm_is_found(
    name: TestName, damage: Callable[[pytest.MonkeyPatch], None], profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    self_tests = cycle(profile)
    assert self_tests.run_all()[name]
    damage(monkeypatch)
    assert not self_tests.run_all()[name]
    with pytest.raises(SelfTestFailed) as caught:
        self_tests.need(algorithm(name))
    assert "told" not in caught.value.hint
    monkeypatch.undo()
    assert all(self_tests.run_all().values())
    self_tests.need(algorithm(name))


def test_a_test_that_cannot_even_run_has_failed_and_says_why() -> None:
    def unreadable() -> tuple[bytes, bytes]:
        raise OSError("no such medium")

    self_tests = cycle(subject=replace(SUBJECT, registers=unreadable))
    with pytest.raises(SelfTestFailed, match="register-integrity failed: OSError: no such medium"):
        self_tests.power_on()


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("pair", [(DIGEST, flipped(DIGEST)), (flipped(DIGEST), DIGEST), (DIGEST, b""), (b"", DIGEST)])
def test_altered_software_and_altered_registers_are_found(profile: Profile, pair: tuple[bytes, bytes]) -> None:
    with pytest.raises(SelfTestFailed, match="software-integrity"):
        cycle(profile, subject=replace(SUBJECT, software=lambda: pair)).power_on()
    with pytest.raises(SelfTestFailed, match="register-integrity"):
        cycle(profile, subject=replace(SUBJECT, registers=lambda: pair)).power_on()


def test_even_registers_of_no_bytes_can_be_made_to_fail() -> None:
    subject = replace(SUBJECT, registers=lambda: (b"", b""))
    assert cycle(subject=subject).run_all()[TestName.REGISTER_INTEGRITY]
    assert not cycle(OLD, TestName.REGISTER_INTEGRITY, subject=subject).run_all()[TestName.REGISTER_INTEGRITY]


class Made:
    """A source of which a test says what it gives."""

    reproducible = True

    def __init__(self, samples: Callable[[int], bytes]) -> None:
        self.samples = samples

    def __call__(self, length: int) -> bytes:
        return self.samples(length)


REPETITION, PROPORTION = TestName.ENTROPY_REPETITION, TestName.ENTROPY_PROPORTION
BAD_SOURCES = {
    "stuck": (Made(bytes), {REPETITION, PROPORTION}),
    "every second byte the same": (Made(lambda n: bytes(i % 2 and i % 251 for i in range(n))), {PROPORTION}),
    "a run of 16": (Made(lambda n: bytes(max(i - 15, 0) % 251 for i in range(n))), {REPETITION}),
    "too few bytes": (Made(lambda n: bytes(i % 251 for i in range(n - 1))), {REPETITION, PROPORTION}),
}


@pytest.mark.parametrize("source", BAD_SOURCES)
def test_a_bad_source_is_found_and_is_all_that_140_3_loses(source: str) -> None:
    entropy, found_by = BAD_SOURCES[source]
    subject = replace(SUBJECT, entropy=entropy)
    with pytest.raises(SelfTestFailed, match="entropy-"):
        cycle(OLD, subject=subject).power_on()
    self_tests = cycle(NEW, subject=subject)
    self_tests.power_on()
    with pytest.raises(SelfTestFailed, match="entropy-"):
        self_tests.need(Algorithm.ENTROPY)
    self_tests.need(*set(Algorithm) - {Algorithm.ENTROPY})
    assert {name for name, good in self_tests.run_all().items() if not good} == found_by


@pytest.mark.parametrize("entropy", [SystemEntropy(), SeededEntropy("any")])
def test_a_good_source_is_left_alone(entropy: Entropy) -> None:
    for _ in range(50):
        cycle(NEW, subject=replace(SUBJECT, entropy=entropy)).need(Algorithm.ENTROPY)


# When


@pytest.mark.parametrize("profile", Profile)
def test_what_runs_at_power_on(profile: Profile, ran: Watched) -> None:
    self_tests = cycle(profile)
    assert not ran  # making the object runs nothing
    self_tests.power_on()
    assert tuple(ran) == AT_POWER_ON[profile]
    assert set(ran.values()) == {1}


def test_140_3_tests_an_algorithm_before_its_first_use_and_not_again(ran: Watched) -> None:
    self_tests = cycle(NEW)
    self_tests.power_on()
    for name in LATER:
        assert (name in ran) == (name is TestName.ENTROPY_PROPORTION)  # an algorithm's second test came with its first
        for _ in range(3):
            self_tests.need(algorithm(name))
            self_tests.need(Algorithm.SHA_256, algorithm(name))
        assert ran[name] == 1
    assert ran == dict.fromkeys(ON_DEMAND, 1)


@pytest.mark.parametrize("profile", Profile)
def test_what_passed_costs_no_look_at_the_table(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    self_tests = cycle(profile)
    self_tests.power_on()
    self_tests.need(*Algorithm)
    monkeypatch.setattr(selftest, "TESTS", None)  # `need` stands on the path of every debit
    self_tests.need(Algorithm.SHA_256, Algorithm.ECDSA_P256_SIGN)


def test_140_2_tests_nothing_more_after_power_on(ran: Watched) -> None:
    self_tests = cycle(OLD)
    self_tests.power_on()
    before = dict(ran)
    self_tests.need(*(row.algorithm for row in TESTS if row.algorithm and row.name not in NOT_APPROVED))
    assert ran == before


def test_nothing_is_used_untested_even_without_power_on(ran: Watched) -> None:
    cycle(OLD).need(Algorithm.ECDSA_P256_SIGN)
    assert list(ran) == [TestName.ECDSA_P256_SIGN]
    cycle(OLD).need()
    assert list(ran) == [TestName.ECDSA_P256_SIGN]


def test_a_new_power_cycle_tests_again(ran: Watched) -> None:
    for number in (1, 2):
        self_tests = cycle(NEW)
        self_tests.power_on()
        self_tests.need(Algorithm.AES_256_KEY_WRAP)
        assert ran[TestName.AES_256_KEY_WRAP] == ran[TestName.SHA_256] == number


def test_only_an_algorithms_own_answer_counts(ran: Watched) -> None:
    """`need` of one algorithm runs no other's test."""
    self_tests = cycle(NEW, TestName.AES_256_KEY_WRAP)
    self_tests.need(Algorithm.ECDSA_P224_SIGN)
    assert list(ran) == [TestName.ECDSA_P224_SIGN]


# The bench, and the self-test service


@pytest.mark.parametrize("profile", Profile)
def test_the_service_runs_everything_again_and_raises_nothing(profile: Profile, ran: Watched) -> None:
    self_tests = cycle(profile)
    self_tests.power_on()
    self_tests.fail(TestName.ECDSA_P256_SIGN)
    self_tests.need(Algorithm.ECDSA_P224_SIGN)
    ran.clear()
    results = self_tests.run_all()
    assert results == {**dict.fromkeys(ON_DEMAND, True), TestName.ECDSA_P256_SIGN: False}
    assert tuple(ran) == ON_DEMAND
    assert self_tests.failed == (TestName.ECDSA_P256_SIGN,)
    with pytest.raises(SelfTestFailed, match="ecdsa-p256-sign"):
        self_tests.need(Algorithm.ECDSA_P256_SIGN)
    if profile is NEW:
        self_tests.need(Algorithm.ECDSA_P224_SIGN)
    else:
        with pytest.raises(SelfTestFailed, match="ecdsa-p256-sign"):
            self_tests.need(Algorithm.ECDSA_P224_SIGN)
    self_tests.restore(TestName.ECDSA_P256_SIGN)
    with pytest.raises(SelfTestFailed):  # the fault is gone, the verdict stands until the test has passed
        self_tests.need(Algorithm.ECDSA_P256_SIGN)
    assert all(self_tests.run_all().values())
    self_tests.need(Algorithm.ECDSA_P256_SIGN)


@pytest.mark.parametrize("profile", Profile)
def test_a_failed_integrity_test_takes_everything_out_of_service(profile: Profile) -> None:
    self_tests = cycle(profile)
    self_tests.power_on()
    self_tests.need(*Algorithm)
    self_tests.fail(TestName.REGISTER_INTEGRITY)
    self_tests.need(*Algorithm)  # not yet: nothing ran
    assert not self_tests.run_all()[TestName.REGISTER_INTEGRITY]
    for any_algorithm in Algorithm:
        with pytest.raises(SelfTestFailed, match="register-integrity"):
            self_tests.need(any_algorithm)


def test_a_fault_set_on_the_bench_waits_for_the_next_run() -> None:
    self_tests = cycle(NEW)
    self_tests.power_on()
    self_tests.need(Algorithm.AES_256_KEY_WRAP)
    self_tests.fail(TestName.AES_256_KEY_WRAP)
    self_tests.fail(TestName.ECDSA_P224_SIGN)
    self_tests.need(Algorithm.AES_256_KEY_WRAP)
    with pytest.raises(SelfTestFailed, match="ecdsa-p224-sign"):
        self_tests.need(Algorithm.ECDSA_P224_SIGN)
    self_tests.restore(TestName.AES_256_KEY_WRAP)
    self_tests.restore(TestName.AES_256_KEY_WRAP)  # twice does no harm
    self_tests.need(Algorithm.AES_256_KEY_WRAP)


def test_the_answers_are_those_of_the_outside_vectors() -> None:
    """The table's numbers against tests/vectors, so that a slip of the pen in one of them is seen."""
    cases = json.loads((rsp.VECTORS / "rfc6979_ecdsa_sha256.json").read_text())
    by_curve = {case["curve"]: case["r"] + case["s"] for case in cases if case["message"] == "sample"}
    assert by_curve == {"P-256": known.P256_SIGNATURE.hex(), "P-224": known.P224_SIGNATURE.hex()}
    assert known.HMAC.hex() in {case["MD"] for case in rsp.cases("rfc4231_hmac_sha256.rsp")}
