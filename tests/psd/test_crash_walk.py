"""The crash walk: power is cut at every single write of some scripts, in every manner, and nothing is ever lost.

One long script is a meter's life, and a short one each is its manufacture and upkeep, and its end. How a cut is made,
and what is looked at after it, stands in `walk`. Cuts tried: see `test_the_walk_tries_enough_cuts`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import cache
from typing import Final

import pytest

from pes_sim.clock import HOUR, MINUTE
from pes_sim.errors import AuthenticationFailed, InsufficientFunds
from pes_sim.psd.fields import Values, pack
from pes_sim.psd.head import PAGE
from pes_sim.psd.keys import Slot, wrap_secret
from pes_sim.psd.roles import Role
from pes_sim.psd.services import SERVICES
from tests import rig as bench
from tests.psd.walk import BANK, Command, Noting, Reopened, Script, check_ended, walk
from tests.rig import NOON, TRANSPORT, Rig, answer, correction, operational, piece, pki, sign

COMMANDS = 300
SLICES = 8
LEAST_CUTS = 25_000
PACKAGE = b"\x7fnew software\0" * 40
PART = 200


class Life(Script):
    """What happens to a meter."""

    def refill(self) -> None:
        request = self.rig.read("refill_request", self.do("refill_begin", amount_mills=20_000)["message"])
        self.do("refill_complete", message=self.rig.grant(request))

    def cancelled_refill(self) -> None:
        request = self.rig.read("refill_request", self.do("refill_begin", amount_mills=30_000)["message"])
        self.do("refill_cancel")
        self.do("refill_complete", message=answer("refill_refusal", request, reason="taken back"))

    def check_in(self) -> None:
        report = self.rig.read("checkin_report", self.do("checkin_begin")["message"])
        self.do("checkin_complete", message=self.rig.receipt(report))

    def refused_check_in(self) -> None:
        report = self.rig.read("checkin_report", self.do("checkin_begin")["message"])
        refusal = answer("checkin_refusal", report, lock_reasons=["register fault"], reason="look into it")
        self.do("checkin_complete", message=refusal)
        self.order("unlock", "unlock_order", lock_reasons=["register fault"])

    def locked_and_unlocked(self) -> None:
        self.order("lock", "lock_order", lock_reasons=["provider lock"])
        self.order("unlock", "unlock_order", lock_reasons=["provider lock"])

    def set_time(self) -> None:
        self.order("set_time", "time_setting", device_time=self.rig.psd._books.time + MINUTE)

    def attempts(self) -> None:
        """Wrong proofs and then the right one."""
        rig = self.rig
        for _ in range(2):
            rig.challenge()
            with pytest.raises(AuthenticationFailed):
                self.do("authenticate", role=Role.USER.value, proof=b"wrong")
        self.do("authenticate", role=Role.USER.value, proof=rig.user_proof(rig.challenge()["nonce"]))

    def audit(self) -> None:
        self.rig.log_in(Role.INSPECTOR)
        self.do("audit", nonce=b"auditor's nonce.")
        self.rig.log_in()

    def refused_withdrawal(self) -> None:
        request = self.rig.read("withdrawal_request", self.do("withdraw_begin")["message"])
        self.do("withdraw_complete", message=answer("withdrawal_refusal", request, reason="not yet"))

    def withdrawal(self) -> None:
        request = self.rig.read("withdrawal_request", self.do("withdraw_begin")["message"])
        grant = answer("withdrawal_grant", request, amount_mills=request["amount_mills"])
        self.do("withdraw_complete", message=grant)
        self.audit()
        self.set_time()


class Upkeep(Script):
    """What is done to a meter, seldom and by order: manufacture, licence, keys, software."""

    def made(self) -> None:
        rig = self.rig
        rig.made = self.do("initialize", **rig.manufacture())
        self.do("authorize", message=sign("authorization", rig.authorization()))
        rig.log_in()
        report = rig.read("checkin_report", self.do("checkin_begin")["message"])
        self.do("checkin_complete", message=rig.receipt(report))
        request = rig.read("refill_request", self.do("refill_begin", amount_mills=20_000)["message"])
        self.do("refill_complete", message=rig.grant(request))

    def moved(self) -> None:
        self.order(
            "reauthorize", "reauthorization", licensing_zip="10001", customer="MOVED CUSTOMER", utc_offset_minutes=-300
        )

    def another_key(self) -> None:
        point = self.order("renew_key", "key_renewal")["public_key"]
        self.do("dispense", **piece())
        certificate = pki().issue_psd(point, bench.SERIAL, bench.CERTIFICATE_SERIAL + 1, NOON)
        self.order("load_certificate", "certificate_load", psd_certificate=certificate)
        self.do("dispense", **piece())

    def other_secrets(self) -> None:
        for slot, secret in ((Slot.MAC, b"a key for IMI-MIN, 32 bytes long"), (Slot.USER, b"another secret")):
            wrapped = wrap_secret(slot, TRANSPORT, secret)
            new = secret if slot is Slot.USER else b""
            self.order("load_key", "key_load", new_secret=new, slot=slot.value, wrapped_secret=wrapped)
            self.rig.secret = new or self.rig.secret
            self.rig.log_in()

    def announce(self, version: int, package: bytes) -> None:
        self.packages[version] = package
        digest = hashlib.sha256(package).digest()
        self.order("software_begin", "software_manifest", software_id=version, size=len(package), digest=digest)

    def send(self, version: int, parts: int) -> None:
        for offset in range(0, parts * PART, PART):
            self.do("software_data", offset=offset, data=self.packages[version][offset : offset + PART])

    def new_software(self, number: int) -> None:
        """A package that is given up for another one, which is put into use."""
        self.announce(number << 16, PACKAGE + bytes([number]))
        self.send(number << 16, 1)
        self.announce(number << 16 | 1 << 8, PACKAGE)
        self.send(number << 16 | 1 << 8, 3)
        self.do("software_complete")
        self.do("dispense", **piece())


@cache
def upkeep() -> Upkeep:
    """The run of a device from its manufacture on. Its packages take turns in the two areas."""
    storage = Noting()
    run = Upkeep(Rig(storage=storage, bank=BANK, vault=storage.vault, profile="FIPS 140-3"), storage)
    run.made()
    run.new_software(2)
    run.moved()
    run.another_key()
    run.other_secrets()
    run.new_software(3)
    return run


@cache
def zeroized() -> Script:
    """The run that ends by the service."""
    storage = Noting()
    run = Script(operational(storage=storage, bank=BANK, vault=storage.vault, profile="FIPS 140-3"), storage)
    run.do("dispense", **piece())
    run.do("zeroize")
    return run


@cache
def recovered() -> Script:
    """The run of a device whose log rots, and that goes on by the provider's order."""
    storage = Noting()
    rig = operational(storage=storage, bank=BANK, vault=storage.vault, profile="FIPS 140-3")
    rig.dispense()
    rig.ask("lock", message=rig.order("lock_order", lock_reasons=["register fault"]))
    known, name = rig.registers(), storage.names()[-1]
    for bank in (0, PAGE):
        storage.areas[name][bank + 30] ^= 1
    storage.durable[name] = bytes(storage.areas[name])
    rig.power_on(log_in=False)
    run = Script(rig, storage)
    said: Values = {**known, "newest_number": 1 << 32, "log_sequence": 0, "device_time": rig.now}
    run.order("recover", "recovery_order", **said)
    return run


RARE: Final[tuple[Callable[[Life], None], ...]] = (
    Life.cancelled_refill, Life.refused_check_in, Life.locked_and_unlocked, Life.set_time, Life.attempts,
    Life.audit, Life.refused_withdrawal,
)  # fmt: skip


@cache
def life() -> Life:
    """The run: prints mostly, and refills, check-ins, days that pass, and all the rest; a withdrawal at its end."""
    draw = random.Random(2026)
    storage = Noting()
    # The 140-3 profile tests an algorithm at its first use: half of a cut's time would be self-tests otherwise.
    run = Life(operational(50_000, storage=storage, bank=BANK, vault=storage.vault, profile="FIPS 140-3"), storage)
    rig, printed, rare = run.rig, 0, 0
    while len(run.commands) < COMMANDS:
        dice, day = draw.random(), run.status()["today"]
        if rig.status()["state"] == "LOCKED":
            run.check_in()
        elif dice < 0.76:
            postage = draw.randrange(1, 2000)
            try:
                if dice < 0.60:
                    printed = run.do("dispense", **piece(mailing_date=day, postage_mills=postage))["record"]
                elif dice < 0.66:
                    run.do("redate", **correction(mailing_date=day))
                elif dice < 0.71:
                    run.do("correct_amount", **piece(mailing_date=day, postage_mills=postage))
                elif dice < 0.74 and printed:
                    run.do("reprint", original=printed)
                else:
                    items = [pack(piece(mailing_date=day, postage_mills=postage + n)) for n in range(3)]
                    run.do("dispense_batch", pieces=items)
            except InsufficientFunds:
                run.refill()
        elif dice < 0.82:
            run.refill()
        elif dice < 0.86:
            run.check_in()
        elif dice < 0.90:
            rig.now, printed = rig.now + 20 * HOUR, 0
        else:
            RARE[rare % len(RARE)](run)
            rare += 1
    run.withdrawal()
    return run


def slices(run: Callable[[], Script], count: int) -> list[object]:
    """A run in parts, so that more than one processor has something to do."""
    return [pytest.param(run, part, count, id=f"{run.__name__} {part}") for part in range(count)]


@pytest.mark.parametrize(("run", "part", "count"), [*slices(life, SLICES), *slices(upkeep, 2), *slices(recovered, 1)])
def test_a_cut_at_any_write_in_any_manner_loses_nothing_and_pays_nothing_twice(
    run: Callable[[], Script], part: int, count: int
) -> None:
    script = run()
    walk(script, script.commands[part::count])


def test_a_cut_while_the_keys_are_destroyed_leaves_them_all_or_none_that_can_be_used() -> None:
    run = zeroized()
    ended = run.commands[-1]
    assert (ended.name, ended.after.state) == ("zeroize", "ZEROIZED")
    vaults = set()
    for command, cut in run.cuts([ended]):
        check_ended(run, command, cut)
        vaults.add(cut.vault)
    assert len(vaults) == 4


def test_after_a_cut_between_two_packages_of_one_size_the_first_goes_on_only_where_its_bytes_are() -> None:
    storage, first, second = Noting(), PACKAGE, PACKAGE[::-1]
    rig = operational(storage=storage, bank=BANK, vault=storage.vault, profile="FIPS 140-3")
    run = Upkeep(rig, storage)
    run.announce(2 << 16, first)
    run.send(2 << 16, 1)
    run.announce(3 << 16, second)
    said = {"software_id": 2 << 16, "size": len(first), "digest": hashlib.sha256(first).digest()}
    for _, cut in run.cuts(run.commands[-1:]):
        reopened = Reopened(cut, rig.made)
        there = reopened.ask("software_begin", message=reopened.order("software_manifest", **said))["offset"]
        area = reopened.psd._books.state.loading.area
        assert reopened.medium.read(area, 0, there) == first[:there]


def commands() -> list[Command]:
    return [command for run in (life, upkeep, zeroized, recovered) for command in run().commands]


def test_every_service_that_changes_something_is_walked() -> None:
    assert {command.name for command in commands()} == {
        *(service.name for service in SERVICES if service.changes), "authenticate", "get_status",
    }  # fmt: skip


def test_the_walk_tries_enough_cuts(figure: Callable[[str], None]) -> None:
    runs: list[Script] = [life(), upkeep(), zeroized(), recovered()]
    count = sum(1 for run in runs for _ in run.cuts(run.commands))
    operations = sum(len(run.storage.moments) for run in runs)
    figure(f"cuts tried: {count} over {len(commands())} commands and {operations} operations")
    lived = life().commands
    assert len(lived) >= COMMANDS
    assert lived[-1].after.state == "WITHDRAWN"
    assert {command.after.sub_state for command in lived} == {
        "", "REFILL_PENDING", "REFILL_CANCELLED", "WITHDRAWAL_PENDING",
    }  # fmt: skip
    assert {command.after.failed_attempts for command in lived} == {0, 1, 2}
    assert {command.after.locks for command in lived} == {
        (), ("provider lock",), ("register fault",), ("check-in overdue",),
    }  # fmt: skip
    assert len(life().storage.names()) > 5
    assert count >= LEAST_CUTS
