"""Who is there: a challenge is good for one attempt, a wrong proof is written down and costs time, a session ends with
the power. No answer tells which part of a wrong proof was wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pes_sim.clock import DAY, HOUR, SECOND
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import (
    AuthenticationFailed,
    AuthenticationWaits,
    FieldError,
    NotAuthenticated,
    NothingPending,
    PesError,
    Status,
    StorageFull,
)
from pes_sim.provider.pki import Issued
from pes_sim.psd import access, messages
from pes_sim.psd.access import MOST_ATTEMPTS, user_challenge
from pes_sim.psd.fields import Values
from pes_sim.psd.keys import Slot
from pes_sim.psd.lifecycle import State
from pes_sim.psd.roles import Role
from pes_sim.psd.state import PsdState
from pes_sim.psd.storage import MemoryStorage
from tests.rig import NOON, SECRET, SERIAL, Rig, login, operational, pki, sign

YEAR = 365 * DAY
Make = Callable[[Rig, bytes], bytes]
"""A proof over a nonce."""


def authenticate(rig: Rig, make: Make, role: str = Role.USER) -> Values:
    """One attempt over a fresh challenge."""
    return rig.ask("authenticate", role=str(role), proof=make(rig, rig.challenge()["nonce"]))


def right(rig: Rig, nonce: bytes) -> bytes:
    return rig.user_proof(nonce)


def wrong(rig: Rig, nonce: bytes) -> bytes:
    return bytes(32)


def fail(rig: Rig, times: int = 1) -> AuthenticationFailed:
    """So many wrong proofs, each as soon as it is looked at; the last one's answer."""
    for _ in range(times):
        while True:
            try:
                authenticate(rig, wrong)
            except AuthenticationWaits as problem:
                rig.now += int(str(problem.detail["seconds"])) * SECOND
            except AuthenticationFailed as problem:
                found = problem
                break
    return found


def seconds_to_wait(rig: Rig) -> int:
    """For how long not even the right proof is looked at."""
    with pytest.raises(AuthenticationWaits) as caught:
        authenticate(rig, right)
    return int(str(caught.value.detail["seconds"]))


def presented(role: str, nonce: bytes, certificate: bytes, sign: messages.Sign, psd_serial: int = SERIAL) -> bytes:
    """A login with any certificate, signed by any key."""
    values = {"psd_serial": psd_serial, "nonce": nonce, "role": str(role), "certificate": certificate}
    return messages.sign("login", values, sign)


def as_inspector(who: Issued) -> Make:
    return lambda rig, nonce: presented(Role.INSPECTOR, nonce, who.certificate, who.sign)


# Sessions


@pytest.mark.parametrize("role", [Role.USER, Role.INSPECTOR, Role.PROVIDER])
def test_each_role_opens_a_session_by_its_proof(role: Role) -> None:
    rig = operational()
    rig.power_on(log_in=False)
    assert rig.status()["role"] == Role.NONE
    registers, state, sequence = rig.everything()
    rig.log_in(role)
    assert rig.status()["role"] == role
    assert rig.everything() == (registers, state, sequence + 2)  # one record before the proof is looked at, one after


def test_the_next_session_takes_the_place_of_the_one_before() -> None:
    rig = operational()
    rig.log_in(Role.INSPECTOR)
    with pytest.raises(NotAuthenticated):
        rig.dispense()
    rig.log_in()
    rig.dispense()


def test_a_session_ends_with_the_power_and_so_does_a_challenge() -> None:
    rig = operational()
    nonce = rig.challenge()["nonce"]
    rig.power_on(log_in=False)
    with pytest.raises(NotAuthenticated):
        rig.dispense()
    with pytest.raises(NothingPending):
        rig.ask("authenticate", role=Role.USER.value, proof=rig.user_proof(nonce))


def test_a_wrong_proof_ends_the_session_that_was_open() -> None:
    # Whoever is at the line now does not know the secret: he does not go on with the session of him who did.
    rig = operational()
    fail(rig)
    assert rig.status()["role"] == Role.NONE
    with pytest.raises(NotAuthenticated):
        rig.dispense()


def test_what_is_no_attempt_ends_no_session() -> None:
    rig = operational()
    with pytest.raises(NothingPending):
        rig.ask("authenticate", role=Role.USER.value, proof=bytes(32))
    rig.challenge()
    with pytest.raises(FieldError):
        rig.ask("authenticate", role="king", proof=bytes(32))
    rig.dispense()


def test_a_session_lasts_when_the_device_locks() -> None:
    rig = operational()
    rig.now += 73 * HOUR
    rig.check_in()
    rig.dispense(mailing_date=rig.status()["today"])


# Challenges


def test_a_challenge_is_good_for_one_right_proof() -> None:
    rig = operational()
    proof = rig.user_proof(rig.challenge()["nonce"])
    rig.ask("authenticate", role=Role.USER.value, proof=proof)
    for _ in range(2):
        with pytest.raises(NothingPending):
            rig.ask("authenticate", role=Role.USER.value, proof=proof)


def test_a_challenge_is_good_for_one_wrong_proof() -> None:
    rig = operational()
    nonce = rig.challenge()["nonce"]
    with pytest.raises(AuthenticationFailed):
        rig.ask("authenticate", role=Role.USER.value, proof=bytes(32))
    with pytest.raises(NothingPending):
        rig.ask("authenticate", role=Role.USER.value, proof=rig.user_proof(nonce))


def test_a_new_challenge_takes_the_place_of_one_that_waits() -> None:
    rig = operational()
    old = rig.user_proof(rig.challenge()["nonce"])
    assert len({rig.challenge()["nonce"] for _ in range(20)}) == 20
    with pytest.raises(AuthenticationFailed):
        rig.ask("authenticate", role=Role.USER.value, proof=old)


def test_a_login_uses_up_the_challenge_and_an_order_finds_none() -> None:
    rig = operational()
    order = rig.order("lock_order", lock_reasons=["provider lock"])
    nonce = messages.peek(order, "lock_order")[1]["nonce"]
    rig.ask("authenticate", role=Role.USER.value, proof=rig.user_proof(nonce))
    with pytest.raises(NothingPending):
        rig.ask("lock", message=order)


def test_an_order_uses_up_the_challenge_and_a_login_finds_none() -> None:
    rig = operational()
    order = rig.order("lock_order", lock_reasons=["provider lock"])
    nonce = messages.peek(order, "lock_order")[1]["nonce"]
    rig.ask("lock", message=order)
    with pytest.raises(NothingPending):
        rig.ask("authenticate", role=Role.USER.value, proof=rig.user_proof(nonce))


@pytest.mark.parametrize("role", [Role.USER, Role.INSPECTOR, Role.PROVIDER])
def test_a_proof_is_refused_after_a_restart_too(role: Role) -> None:
    rig = operational()
    nonce = rig.challenge()["nonce"]
    proof = rig.user_proof(nonce) if role is Role.USER else login(role, nonce)
    rig.ask("authenticate", role=role.value, proof=proof)
    rig.power_on(log_in=False)
    rig.challenge()
    with pytest.raises(AuthenticationFailed):
        rig.ask("authenticate", role=role.value, proof=proof)


@pytest.mark.parametrize(("after", "good"), [(HOUR, True), (HOUR + 1, False)])
def test_a_challenge_serves_for_an_hour(after: int, good: bool) -> None:
    rig = operational()
    proof = rig.user_proof(rig.challenge()["nonce"])
    rig.now += after
    if good:
        rig.ask("authenticate", role=Role.USER.value, proof=proof)
        return
    before = rig.everything()
    for _ in range(2):
        with pytest.raises(NothingPending, match="it serves for an hour"):
            rig.ask("authenticate", role=Role.USER.value, proof=proof)
        rig.now -= HOUR  # set back, the host does not bring it back
    assert rig.everything() == before


# Wrong proofs

INSPECTOR = pki().inspector(NOON)
PROVIDER = pki().provider
STRANGER = pki("another CA")

WRONG: dict[str, tuple[Role, Make]] = {
    "a wrong secret": (Role.USER, lambda rig, nonce: rig.user_proof(nonce, b"not the secret")),
    "no proof": (Role.USER, lambda rig, nonce: b""),
    "part of the right proof": (Role.USER, lambda rig, nonce: rig.user_proof(nonce)[:31]),
    "more than the right proof": (Role.USER, lambda rig, nonce: rig.user_proof(nonce) + b"\0"),
    "the meter's proof to another device": (
        Role.USER, lambda rig, nonce: SeededMac.over(user_challenge(SERIAL + 1, nonce))),
    "the MAC of the bare nonce": (Role.USER, lambda rig, nonce: SeededMac.over(nonce)),
    "the meter's proof for an inspector": (Role.INSPECTOR, right),
    "a login for the meter": (Role.USER, lambda rig, nonce: login(Role.INSPECTOR, nonce)),
    "no login": (Role.INSPECTOR, lambda rig, nonce: b""),
    "bytes for a login": (Role.PROVIDER, lambda rig, nonce: b"\xd2\x84" + bytes(600)),
    "another message for a login": (Role.PROVIDER, lambda rig, nonce: sign(
        "checkin_receipt", {"psd_serial": SERIAL, "nonce": nonce, "message_number": 0, "acknowledged": 0,
                            **rig.registers()})),
    "a login to another device": (
        Role.PROVIDER, lambda rig, nonce: login(Role.PROVIDER, nonce, psd_serial=SERIAL + 1)),
    "a login over another nonce": (Role.PROVIDER, lambda rig, nonce: login(Role.PROVIDER, bytes(16))),
    "the inspector's login for the provider": (Role.PROVIDER, lambda rig, nonce: login(Role.INSPECTOR, nonce)),
    "the provider's login for the inspector": (Role.INSPECTOR, lambda rig, nonce: login(Role.PROVIDER, nonce)),
    "a login in which he calls himself another": (
        Role.PROVIDER, lambda rig, nonce: presented(Role.INSPECTOR, nonce, PROVIDER.certificate, PROVIDER.sign)),
    "the inspector's certificate for a provider": (
        Role.PROVIDER, lambda rig, nonce: presented(Role.PROVIDER, nonce, INSPECTOR.certificate, INSPECTOR.sign)),
    "the provider's certificate for an inspector": (
        Role.INSPECTOR, lambda rig, nonce: presented(Role.INSPECTOR, nonce, PROVIDER.certificate, PROVIDER.sign)),
    "the device's own certificate": (
        Role.INSPECTOR, lambda rig, nonce: presented(
            Role.INSPECTOR, nonce, rig.ask("get_certificates")["psd_certificate"],
            lambda message: rig.psd._keys.sign(Slot.INDICIUM, message))),
    "the CA's certificate": (
        Role.PROVIDER, lambda rig, nonce: presented(Role.PROVIDER, nonce, pki().ca.certificate, pki().ca.sign)),
    "an inspector of another CA": (Role.INSPECTOR, as_inspector(STRANGER.inspector(NOON))),
    "a provider of another CA": (Role.PROVIDER, lambda rig, nonce: login(Role.PROVIDER, nonce, name="another CA")),
    "an expired certificate": (Role.INSPECTOR, as_inspector(pki().inspector(NOON - 11 * YEAR))),
    "a certificate that is not valid yet": (Role.INSPECTOR, as_inspector(pki().inspector(NOON + 2 * DAY))),
    "a certificate without its key": (
        Role.INSPECTOR, lambda rig, nonce: presented(Role.INSPECTOR, nonce, INSPECTOR.certificate, PROVIDER.sign)),
    "no certificate": (Role.INSPECTOR, lambda rig, nonce: presented(Role.INSPECTOR, nonce, b"", INSPECTOR.sign)),
}  # fmt: skip


class SeededMac:
    """What somebody who knows the secret can make besides the right proof."""

    @staticmethod
    def over(message: bytes) -> bytes:
        import hmac

        return hmac.digest(SECRET, message, "sha256")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_proof_is_refused_and_counted_and_nothing_tells_what_was_wrong_with_it(name: str) -> None:
    role, make = WRONG[name]
    rig = operational()
    before = rig.everything()
    with pytest.raises(AuthenticationFailed) as caught:
        authenticate(rig, make, role)
    assert str(caught.value) == "the proof is wrong; 9 attempts are left. Ask for a new challenge for each"
    assert caught.value.detail == {"attempts_left": 9}
    assert caught.value.__cause__ is None
    registers, state, sequence = rig.everything()
    assert (registers, state, sequence) == (*before[:2], before[2] + 1)
    assert rig.status()["role"] == Role.NONE


@pytest.mark.parametrize("name", ["king", "", Role.NONE.value, "Provider"])
def test_a_role_that_nobody_can_prove_is_refused_by_name_and_is_no_attempt(name: str) -> None:
    rig = operational()
    with pytest.raises(FieldError, match="field role names") as caught:
        authenticate(rig, right, name)
    assert caught.value.hint == "Known: customer's meter, postal inspector, provider"
    assert caught.value.detail == {"field": "role"}
    assert fail(rig).detail == {"attempts_left": 9}


def test_a_certificate_is_judged_by_the_devices_own_clock_to_the_second() -> None:
    ends = NOON + 9 * DAY + 10 * YEAR
    for late, good in ((0, True), (SECOND, False)):
        rig = operational()
        rig.now = ends + late
        issued = pki().inspector(NOON + 10 * DAY)  # certificates begin a day before they are made
        if good:
            authenticate(rig, as_inspector(issued), Role.INSPECTOR)
        else:
            with pytest.raises(AuthenticationFailed):
                authenticate(rig, as_inspector(issued), Role.INSPECTOR)


def test_no_bit_of_a_login_can_be_changed() -> None:
    rig = operational()
    nonce = rig.challenge()["nonce"]
    proof = presented(Role.INSPECTOR, nonce, INSPECTOR.certificate, INSPECTOR.sign)

    def proves(proof: bytes) -> bool:
        return access.proves(rig.psd._books.state, rig.psd._keys, Role.INSPECTOR, proof, nonce, rig.now)

    assert proves(proof)
    bits = SeededEntropy("bits")(len(proof))
    for at in range(len(proof)):
        altered = bytearray(proof)
        altered[at] ^= 1 << bits[at] % 8
        assert not proves(bytes(altered))
    for length in range(0, len(proof), 7):
        assert not proves(proof[:length])


# What wrong proofs cost


def test_three_are_free_then_each_costs_twice_the_time_and_after_ten_none_is_looked_at() -> None:
    rig = operational()
    waits = []
    for failed in range(1, MOST_ATTEMPTS):
        assert fail(rig).detail == {"attempts_left": 10 - failed}
        if failed < 3:
            continue
        waits.append(seconds_to_wait(rig))
        rig.now += waits[-1] * SECOND - 1
        assert seconds_to_wait(rig) == 1
        rig.now += 1
    assert waits == [1, 2, 4, 8, 16, 32, 64]
    assert fail(rig).detail == {"attempts_left": 0}
    rig.now += 50 * YEAR
    with pytest.raises(AuthenticationWaits, match="10 wrong proofs in a row") as caught:
        authenticate(rig, right)
    assert caught.value.detail == {"attempts": 10}
    assert caught.value.hint == "The provider's unlock order lets them be forgotten"


def test_a_proof_that_comes_too_early_is_not_counted_and_leaves_the_challenge() -> None:
    rig = operational()
    fail(rig, 3)
    nonce = rig.challenge()["nonce"]
    before = rig.everything()
    for proof in (bytes(32), rig.user_proof(nonce)):
        with pytest.raises(AuthenticationWaits) as caught:
            rig.ask("authenticate", role=Role.USER.value, proof=proof)
        assert caught.value.detail == {"seconds": 1, "attempts": 3}  # the same for a right one: no oracle
    assert rig.everything() == before
    rig.now += SECOND
    rig.ask("authenticate", role=Role.USER.value, proof=rig.user_proof(nonce))


def test_each_role_has_a_count_of_its_own_that_no_other_roles_proof_ends() -> None:
    rig = operational()
    for role in (Role.USER, Role.INSPECTOR, Role.PROVIDER):
        with pytest.raises(AuthenticationFailed):
            authenticate(rig, wrong, role)
    # Who knows the inspector's secret gains nothing for guessing the meter's.
    for _ in range(2):
        rig.log_in(Role.INSPECTOR)
        with pytest.raises(AuthenticationFailed):
            authenticate(rig, wrong, Role.USER)
    assert seconds_to_wait(rig) == 1
    rig.log_in(Role.INSPECTOR)


def test_the_wait_survives_restarts_and_a_host_clock_that_is_set_back() -> None:
    rig = operational()
    fail(rig, 6)
    assert seconds_to_wait(rig) == 8
    rig.power_on(log_in=False)
    assert seconds_to_wait(rig) == 8
    rig.now -= 10 * DAY
    assert seconds_to_wait(rig) == 8
    rig.now += 3 * SECOND
    assert seconds_to_wait(rig) == 5
    rig.power_on(log_in=False)
    assert seconds_to_wait(rig) == 8  # a power cycle forgets time that no record has noted; it never gives any
    rig.now += 8 * SECOND
    authenticate(rig, right)


def test_the_lockout_survives_restarts_and_a_host_clock_that_is_set_back() -> None:
    rig = operational()
    fail(rig, 10)
    for step in (0, -30 * DAY, 60 * DAY):
        rig.now += step
        rig.power_on(log_in=False)
        with pytest.raises(AuthenticationWaits, match="10 wrong proofs"):
            authenticate(rig, right)


def test_a_right_proof_lets_the_wrong_ones_be_forgotten() -> None:
    rig = operational()
    fail(rig, 9)
    rig.now += 64 * SECOND
    authenticate(rig, right)
    rig.power_on(log_in=False)
    assert fail(rig).detail == {"attempts_left": 9}
    authenticate(rig, right)


def test_the_providers_unlock_lets_them_be_forgotten() -> None:
    rig = operational()
    fail(rig, 10)
    rig.ask("unlock", message=rig.order("unlock_order", lock_reasons=[]))
    authenticate(rig, right)
    rig.dispense()
    assert fail(rig).detail == {"attempts_left": 9}


def test_the_provider_can_order_what_he_likes_while_no_proof_is_looked_at() -> None:
    rig = operational()
    fail(rig, 10)
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["provider lock"]))
    assert rig.status()["state"] == State.LOCKED


def test_setting_the_time_ends_the_wait_and_not_the_lockout() -> None:
    rig = operational()
    fail(rig, 9)
    rig.ask("set_time", message=rig.order("time_setting", device_time=rig.now - HOUR))
    assert fail(rig).detail == {"attempts_left": 0}
    rig.ask("set_time", message=rig.order("time_setting", device_time=rig.now))
    with pytest.raises(AuthenticationWaits):
        authenticate(rig, right)


# Written down before it is answered


class Full(MemoryStorage):
    """A disk that can be full."""

    full = False

    def write(self, name: str, offset: int, data: bytes) -> None:
        if self.full:
            raise StorageFull("no room")
        super().write(name, offset, data)


def test_a_wrong_proof_is_on_record_before_it_is_answered() -> None:
    synced: list[int] = []

    class Watching(MemoryStorage):
        def sync(self, name: str) -> None:
            synced.append(len(synced))

    rig = operational(storage=Watching())
    rig.challenge()
    before = len(synced)
    with pytest.raises(AuthenticationFailed):
        rig.ask("authenticate", role=Role.USER.value, proof=bytes(32))
    assert len(synced) == before + 1
    rig.power_on(log_in=False)
    assert fail(rig).detail == {"attempts_left": 8}


def test_on_a_full_disk_a_wrong_proof_is_not_answered_as_one_and_the_registers_can_be_read() -> None:
    storage = Full()
    rig = operational(storage=storage)
    before = rig.registers()
    storage.full = True
    with pytest.raises(StorageFull):
        authenticate(rig, wrong)
    assert rig.status()["role"] == Role.NONE
    assert rig.registers() == before


def test_on_a_full_disk_a_right_proof_after_a_wrong_one_opens_nothing() -> None:
    storage = Full()
    rig = operational(storage=storage)
    fail(rig)
    storage.full = True
    with pytest.raises(StorageFull):
        authenticate(rig, right)
    assert rig.status()["role"] == Role.NONE
    storage.full = False
    authenticate(rig, right)


@pytest.mark.parametrize("power_cycles", [False, True])
def test_a_full_disk_gives_no_free_attempts(power_cycles: bool) -> None:
    # A power cut at the very write of the count is the same to the one who guesses.
    storage = Full()
    rig = operational(storage=storage)
    storage.full = True
    for _ in range(MOST_ATTEMPTS + 1):
        with pytest.raises(PesError):
            authenticate(rig, wrong)
        if power_cycles:
            rig.power_on(log_in=False)
    with pytest.raises(PesError) as caught:
        authenticate(rig, right)
    assert caught.value.status in (Status.AUTHENTICATION_WAITS, Status.STORAGE_FULL)


# The pieces that it is made of


def test_the_meters_challenge_names_what_it_is_for_and_the_device() -> None:
    assert user_challenge(0x01020304, b"a nonce of these") == b"pes-sim user\x01\x02\x03\x04a nonce of these"


def test_a_power_cycle_begins_with_nobody_there_and_nothing_asked_for() -> None:
    fresh = access.Access()
    assert (fresh.role, fresh.nonce, fresh.number) == (Role.NONE, b"", 0)


def test_a_challenge_has_16_bytes() -> None:
    assert len(operational().challenge()["nonce"]) == 16


@pytest.mark.parametrize(("later", "serves"), [(0, True), (HOUR, True), (HOUR + 1, False), (-1, False)])
def test_a_challenge_serves_from_its_instant_on_for_an_hour(later: int, serves: bool) -> None:
    of_one_cycle = access.Access()
    of_one_cycle.challenge(PsdState(), SeededEntropy("a challenge"), NOON)
    of_one_cycle.forget_old(NOON + later)
    assert bool(of_one_cycle.nonce) is serves
