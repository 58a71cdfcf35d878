"""Which standard's rules for self-tests the device follows.

The notice (A9) asks for FIPS 140-2, as the latest standard that is recognised outside the United States as well. Its
certificates are historical since 2026-09-21, and FIPS 140-3 (ISO/IEC 19790:2012) follows it; so there are both.
"""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Profile(StrEnum):
    """What differs between the first two is when a test runs, and what its failure puts out of service.

    `FIPS_140_2` (section 4.9): every known-answer, health and integrity test runs at power-on, and the first failure
    stops the device.
    `FIPS_140_3` (ISO/IEC 19790 7.10): at power-on the pre-operational integrity tests run, each after the tests of the
    algorithms that it stands on; every other algorithm is tested before its first use in a power cycle, and a failure
    there puts that algorithm alone out of service (degraded operation).
    `LEGACY`: none is claimed. The rules for tests are those of FIPS 140-2; indicia are signed by DSA-1024 with SHA-1,
    as IBI was, and neither is approved any more. Nothing else is signed so, and in no other profile.
    """

    FIPS_140_2 = "FIPS 140-2"
    FIPS_140_3 = "FIPS 140-3"
    LEGACY = "legacy"
