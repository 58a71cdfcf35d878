"""Self-tests of the security device: FIPS 140-2 section 4.9, and ISO/IEC 19790 section 7.10 for FIPS 140-3.

* `TESTS` is the one table: what each test runs, for which algorithm, and when in which profile.
* A test that the bench makes fail has its own bytes spoiled before they are compared or checked. Everything after that
  is the way that a real failure takes.
* What counts is the latest run in a power cycle. A test that failed is not tried again until `run_all` is asked for.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, unique
from typing import Final

from pes_sim.entropy import Entropy
from pes_sim.errors import SelfTestFailed
from pes_sim.psd import health
from pes_sim.psd import known_answers as known
from pes_sim.psd.profile import Profile


@unique
class TestName(StrEnum):
    """The tests, by the names that a user types."""

    __test__ = False  # for pytest: a name, not a class of tests

    SHA_256 = "sha-256"
    HMAC_SHA_256 = "hmac-sha-256"
    AES_256_KEY_WRAP = "aes-256-key-wrap"
    ECDSA_P256_SIGN = "ecdsa-p256-sign"
    ECDSA_P256_VERIFY = "ecdsa-p256-verify"
    ECDSA_P224_SIGN = "ecdsa-p224-sign"
    ECDSA_P224_VERIFY = "ecdsa-p224-verify"
    DSA_1024_SIGN = "dsa-1024-sign"
    DSA_1024_VERIFY = "dsa-1024-verify"
    ENTROPY_REPETITION = "entropy-repetition"
    ENTROPY_PROPORTION = "entropy-proportion"
    SOFTWARE_INTEGRITY = "software-integrity"
    REGISTER_INTEGRITY = "register-integrity"
    PAIRWISE_CONSISTENCY = "pairwise-consistency"


@unique
class Algorithm(StrEnum):
    """What a test vouches for, and what `SelfTests.need` is asked about."""

    SHA_256 = "SHA-256"
    HMAC_SHA_256 = "HMAC-SHA-256"
    AES_256_KEY_WRAP = "AES-256 key wrap"
    ECDSA_P256_SIGN = "ECDSA P-256 sign"
    ECDSA_P256_VERIFY = "ECDSA P-256 verify"
    ECDSA_P224_SIGN = "ECDSA P-224 sign"
    ECDSA_P224_VERIFY = "ECDSA P-224 verify"
    DSA_1024_SIGN = "DSA-1024 sign"
    DSA_1024_VERIFY = "DSA-1024 verify"
    ENTROPY = "entropy source"


class Kind(StrEnum):
    """The standards' kinds of test. A CAST is ISO/IEC 19790's cryptographic algorithm self-test (7.10.3)."""

    PRE_OPERATIONAL = "pre-operational"
    CAST = "conditional CAST"
    PAIRWISE = "conditional pair-wise"
    HEALTH = "entropy health"


class When(Enum):
    """What makes a test run."""

    POWER_ON = "at power-on"
    FIRST_USE = "before first use"
    KEY_GENERATION = "at key generation"


@dataclass(frozen=True, slots=True)
class Subject:
    """What the device hands in. `software`: the SHA-256 of the software image as stored, and the digest that came under
    signature. `registers`: the registers in use, encoded, and the same as read again from storage.
    """

    entropy: Entropy
    software: Callable[[], tuple[bytes, bytes]]
    registers: Callable[[], tuple[bytes, bytes]]


Spoil = Callable[[bytes], bytes]
Run = Callable[[Subject, Spoil], bool]


def _as_they_are(data: bytes) -> bytes:
    return data


def _one_bit(data: bytes) -> bytes:
    data = data or b"\0"
    return bytes([data[0] ^ 1]) + data[1:]


def _stuck(samples: bytes) -> bytes:
    """What a source gives whose output has stopped changing. One wrong byte among random ones is no fault at all."""
    return samples[:1] * len(samples)


def _known_answer(compute: Callable[[], bytes], answer: bytes) -> Run:
    return lambda _, spoil: hmac.compare_digest(spoil(compute()), answer)


def _verification(verifies: Callable[[bytes], bool], signature: bytes) -> Run:
    return lambda _, spoil: verifies(spoil(signature))


def _health(healthy: Callable[[bytes], bool]) -> Run:
    return lambda subject, spoil: healthy(spoil(subject.entropy(health.SAMPLES)))


def _software(subject: Subject, spoil: Spoil) -> bool:
    stored, signed = subject.software()
    return hmac.compare_digest(spoil(stored), signed)


def _registers(subject: Subject, spoil: Spoil) -> bool:
    used, stored = subject.registers()
    return hmac.compare_digest(spoil(used), stored)


@dataclass(frozen=True, slots=True)
class Row:
    """One test. `algorithm`: what it vouches for, if one. `run`: none where what it needs comes only with the occasion.
    `spoil`: what becomes of its bytes when the bench makes it fail.
    """

    name: TestName
    kind: Kind
    algorithm: Algorithm | None
    fips_140_2: When
    fips_140_3: When
    source: str
    run: Run | None
    spoil: Spoil = _one_bit

    def when(self, profile: Profile) -> When:
        return self.fips_140_3 if profile is Profile.FIPS_140_3 else self.fips_140_2


# In the 140-3 profile those algorithms are tested at power-on that the integrity tests below them stand on: the digest
# of the software and the signature over it, and the HMAC that seals every record of the registers.
# fmt: off
TESTS: Final = (
    Row(TestName.SHA_256, Kind.CAST, Algorithm.SHA_256, When.POWER_ON, When.POWER_ON,
        "FIPS 180-2, B.1 and B.2", _known_answer(known.sha_256, known.SHA_DIGESTS)),
    Row(TestName.HMAC_SHA_256, Kind.CAST, Algorithm.HMAC_SHA_256, When.POWER_ON, When.POWER_ON,
        "RFC 4231, test case 2", _known_answer(known.hmac_sha_256, known.HMAC)),
    Row(TestName.AES_256_KEY_WRAP, Kind.CAST, Algorithm.AES_256_KEY_WRAP, When.POWER_ON, When.FIRST_USE,
        "RFC 3394, 4.6", _known_answer(known.key_wrap, known.WRAPPED + known.KEY_DATA)),
    Row(TestName.ECDSA_P256_SIGN, Kind.CAST, Algorithm.ECDSA_P256_SIGN, When.POWER_ON, When.FIRST_USE,
        "RFC 6979, A.2.5", _known_answer(known.sign_p256, known.P256_SIGNATURE)),
    Row(TestName.ECDSA_P256_VERIFY, Kind.CAST, Algorithm.ECDSA_P256_VERIFY, When.POWER_ON, When.POWER_ON,
        "RFC 6979, A.2.5", _verification(known.verifies_p256, known.P256_SIGNATURE)),
    Row(TestName.ECDSA_P224_SIGN, Kind.CAST, Algorithm.ECDSA_P224_SIGN, When.POWER_ON, When.FIRST_USE,
        "RFC 6979, A.2.4", _known_answer(known.sign_p224, known.P224_SIGNATURE)),
    Row(TestName.ECDSA_P224_VERIFY, Kind.CAST, Algorithm.ECDSA_P224_VERIFY, When.POWER_ON, When.FIRST_USE,
        "RFC 6979, A.2.4", _verification(known.verifies_p224, known.P224_SIGNATURE)),
    # Not approved, so no device needs them to come up; only one that prints IBI in the legacy profile ever uses them.
    Row(TestName.DSA_1024_SIGN, Kind.CAST, Algorithm.DSA_1024_SIGN, When.FIRST_USE, When.FIRST_USE,
        "RFC 6979, A.2.1", _known_answer(known.sign_dsa, known.DSA_SIGNATURE)),
    Row(TestName.DSA_1024_VERIFY, Kind.CAST, Algorithm.DSA_1024_VERIFY, When.FIRST_USE, When.FIRST_USE,
        "RFC 6979, A.2.1", _verification(known.verifies_dsa, known.DSA_SIGNATURE)),
    Row(TestName.ENTROPY_REPETITION, Kind.HEALTH, Algorithm.ENTROPY, When.POWER_ON, When.FIRST_USE,
        "NIST SP 800-90B, 4.4.1", _health(health.repetition), _stuck),
    Row(TestName.ENTROPY_PROPORTION, Kind.HEALTH, Algorithm.ENTROPY, When.POWER_ON, When.FIRST_USE,
        "NIST SP 800-90B, 4.4.2", _health(health.proportion), _stuck),
    Row(TestName.SOFTWARE_INTEGRITY, Kind.PRE_OPERATIONAL, None, When.POWER_ON, When.POWER_ON,
        "FIPS 140-2, 4.9.1; ISO/IEC 19790, 7.10.2", _software),
    Row(TestName.REGISTER_INTEGRITY, Kind.PRE_OPERATIONAL, None, When.POWER_ON, When.POWER_ON,
        "FIPS 140-2, 4.9.1; ISO/IEC 19790, 7.10.2", _registers),
    Row(TestName.PAIRWISE_CONSISTENCY, Kind.PAIRWISE, None, When.KEY_GENERATION, When.KEY_GENERATION,
        "FIPS 140-2, 4.9.2; ISO/IEC 19790, 7.10.3", None),
)
# fmt: on

_ROWS: Final[Mapping[TestName, Row]] = {row.name: row for row in TESTS}
_OF: Final[Mapping[Algorithm, tuple[Row, ...]]] = {
    algorithm: tuple(row for row in TESTS if row.algorithm is algorithm) for algorithm in Algorithm
}
_PAIRWISE_MESSAGE: Final = b"pes-sim pair-wise consistency"
_OTHER_BYTES: Final = "what it computed is not what it must be"


class SelfTests:
    """The self-tests of one power cycle. The next cycle takes a new object."""

    def __init__(self, subject: Subject, profile: Profile, failing: frozenset[TestName] = frozenset()) -> None:
        self._subject = subject
        self._profile = profile
        self._failing = failing
        self._problems: dict[TestName, str] = {}  # the latest run of each test: what was wrong; empty when it passed
        self._ready: frozenset[Algorithm] = frozenset()

    @property
    def passed(self) -> tuple[TestName, ...]:
        """The tests whose latest run passed, in the table's order."""
        return tuple(name for name in _ROWS if self._problems.get(name) == "")

    @property
    def failed(self) -> tuple[TestName, ...]:
        """The tests whose latest run failed, in the table's order."""
        return tuple(name for name in _ROWS if self._problems.get(name))

    @property
    def stopped(self) -> bool:
        """Whether a test has failed that puts the whole device out of service."""
        return any(map(self._stops, TESTS))

    def power_on(self) -> None:
        """Runs what the profile wants at power-on. Raises `SelfTestFailed` at the first failure; nothing is in service
        then, in either profile.
        """
        for row in TESTS:
            if row.run is not None and row.when(self._profile) is When.POWER_ON:
                self._try(row, row.run)
                self._raise_if_failed(row)

    def need(self, *algorithms: Algorithm) -> None:
        """Whoever uses an algorithm calls this first: it is tested unless it was in this power cycle.

        Raises `SelfTestFailed` when one of `algorithms` is out of service, or the whole device.
        """
        if self._ready.issuperset(algorithms):
            return
        for row in TESTS:
            if self._stops(row):
                self._raise_if_failed(row)
        for row in (row for algorithm in algorithms for row in _OF[algorithm]):
            if row.run is not None and row.name not in self._problems:
                self._try(row, row.run)
            self._raise_if_failed(row)

    def pairwise(self, sign: Callable[[bytes], bytes], verify: Callable[[bytes, bytes], None]) -> None:
        """At key generation: what the new private key signs (`sign(message)`), the public key verifies
        (`verify(message, signature)`, which raises `BadSignature`). Raises `SelfTestFailed`: the pair must not be used.
        """

        def run(_: Subject, spoil: Spoil) -> bool:
            verify(_PAIRWISE_MESSAGE, spoil(sign(_PAIRWISE_MESSAGE)))
            return True

        row = _ROWS[TestName.PAIRWISE_CONSISTENCY]
        self._try(row, run)
        self._raise_if_failed(row)

    def run_all(self) -> dict[TestName, bool]:
        """The self-test service, on demand or periodic: every test again but the pair-wise one, which belongs to a key
        generation. Nothing is raised; what failed is out of service, and what passed is in it again.
        """
        for row in TESTS:
            if row.run is not None:
                self._try(row, row.run)
        return {row.name: self._problems[row.name] == "" for row in TESTS if row.run is not None}

    def fail(self, name: TestName) -> None:
        """From its next run on, this test fails."""
        self._failing |= {name}

    def restore(self, name: TestName) -> None:
        """From its next run on, this test says again what it finds."""
        self._failing -= {name}

    def _try(self, row: Row, run: Run) -> None:
        try:
            good = run(self._subject, row.spoil if row.name in self._failing else _as_they_are)
            self._problems[row.name] = "" if good else _OTHER_BYTES
        except Exception as problem:  # an algorithm that does not even run has failed its test
            self._problems[row.name] = f"{type(problem).__name__}: {problem}"
        in_service = () if self.stopped else Algorithm
        self._ready = frozenset(a for a in in_service if all(self._problems.get(r.name) == "" for r in _OF[a]))

    def _stops(self, row: Row) -> bool:
        """Whether this test failed, and that is the end of the whole device."""
        whole = self._profile is not Profile.FIPS_140_3 or row.when(self._profile) is When.POWER_ON
        return whole and bool(self._problems.get(row.name))

    def _raise_if_failed(self, row: Row) -> None:
        if reason := self._problems.get(row.name):
            told = row.name in self._failing
            raise SelfTestFailed(
                f"the self-test {row.name} failed: {reason}",
                hint="It was told to fail" if told else "Power the device off and on; if it fails again, return it",
                test=str(row.name),
                reason=reason,
            )
