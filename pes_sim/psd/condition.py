"""Whether the device is fit to work: its self-tests at power-on and on request, and what a failure puts out of service.

* FIPS 140-2: a failure stops the whole device until the power goes.
* FIPS 140-3 (ISO/IEC 19790): it stops what the test vouches for, and the rest goes on (degraded operation). A failure
  at power-on stops everything there too.
* What stopped the device is what it answers from then on, with the name of the test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pes_sim.entropy import Entropy, child
from pes_sim.errors import IntegrityError, KeysGone, PesError, SelfTestFailed
from pes_sim.psd import software
from pes_sim.psd.books import Books
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import KeyStore
from pes_sim.psd.lifecycle import State
from pes_sim.psd.profile import Profile
from pes_sim.psd.selftest import Algorithm, SelfTests, Subject, TestName
from pes_sim.psd.storage import Storage

_POWER_CYCLE: Final = "Power the device off and on; if it fails again, return it"


class Condition:
    """Of one power cycle. `tests`: the results so far."""

    def __init__(self, books: Books, storage: Storage, entropy: Entropy, failing: frozenset[TestName]) -> None:
        self._books = books
        self._storage = storage
        self._entropy = entropy
        self._failing = failing
        self._stopped_by: SelfTestFailed | None = None
        self.tests = self._new_tests()

    def power_on(self, keys: KeyStore) -> None:
        """The tests of the profile, then the keys. What is wrong puts the device into state ERROR; nothing raises."""
        books = self._books
        if books.state.lifecycle is State.ERROR:
            return
        if books.state.lifecycle is State.ZEROIZED:
            with contextlib.suppress(PesError):
                keys.zeroize()
        try:
            self.make_ready(keys)
        except KeysGone:
            # A cut came between their end and the record of it; or a file was lost, and may be put back.
            books.state = replace(books.state, lifecycle=State.ZEROIZED, fault="the keys are gone")
        except IntegrityError as problem:
            books.halt(problem.message)  # not for good: the right file may be put back
        except SelfTestFailed as problem:
            self._halt(problem)

    def make_ready(self, keys: KeyStore) -> None:
        """Runs the tests of the profile and loads the keys. Raises what is wrong."""
        self.tests.power_on()
        if self._books.state.keys:
            self.tests.need(Algorithm.AES_256_KEY_WRAP)
        keys.load(self._books.state.keys)

    def need(self, algorithms: Sequence[Algorithm]) -> None:
        """Raises `SelfTestFailed` unless each has passed its tests, which run now if they have not yet."""
        self.tests.need(*algorithms)

    def self_test(self, _: Values) -> Values:
        """The service: every test again."""
        self.tests.run_all()
        if self.tests.failed:
            names = ", ".join(self.tests.failed)
            self.failed(SelfTestFailed(f"self-test failed: {names}", hint=_POWER_CYCLE, test=names))
        return {
            "self_tests_passed": [name.value for name in self.tests.passed],
            "self_tests_failed": [name.value for name in self.tests.failed],
        }

    def failed(self, problem: SelfTestFailed) -> None:
        """Stops the device for a failed test, unless only what the test vouches for is out of service."""
        if self._books.state.profile is not Profile.FIPS_140_3 or self.tests.stopped:
            self._halt(problem)

    def refusal(self) -> PesError:
        """Why a device in state ERROR does not work."""
        if (failure := self._stopped_by) is not None:
            return SelfTestFailed(failure.message, hint=failure.hint, **failure.detail)
        why = self._books.state.fault
        known = self._books.last_known()
        remedy = "It can still be read, tested and zeroized"
        if not self._books.halted:
            if known is None or not known.state.provider_point:
                remedy = "Nothing is left that says who it is, and no order brings it back: it can only be settled"
            else:
                remedy += "; the provider's recovery order may bring it back: pes-sim meter recover DIR"
        return IntegrityError(f"the device is in state ERROR: {why}", hint=remedy)

    def rules_changed(self) -> None:
        """Another profile was chosen: its tests are due."""
        self.tests = self._new_tests()

    def fail(self, name: TestName, *, fails: bool) -> None:
        """From its next run on this test fails, or no longer does."""
        (self.tests.fail if fails else self.tests.restore)(name)
        self._failing = self._failing | {name} if fails else self._failing - {name}

    def _new_tests(self) -> SelfTests:
        def measured() -> tuple[bytes, bytes]:
            return software.measured(self._storage, self._books.state)

        subject = Subject(child(self._entropy, "self-test"), measured, self._books.registers_twice)
        return SelfTests(subject, self._books.state.profile, self._failing)

    def _halt(self, problem: SelfTestFailed) -> None:
        self._stopped_by = problem
        self._books.halt(problem.message)
