"""Device, reference and laws agree after every command: cuts, failing writes, power cycles and old images included.

Hypothesis draws the commands. The device is the real one, with the real data centre behind it; `model.Reference` says
what it must answer, and `laws.Laws` what must hold whatever it answers. After a cut the reference goes on as two, one
for which the request was carried out and one for which it was not; the device tells which it was, and a retry has to
agree.

A long run, of a new seed: PES_SIM_MODEL_EXAMPLES=5000 .venv/bin/pytest -n0 -rP tests/psd/test_model.py. With
PES_SIM_MODEL_SHRINKS=1 a failure is made as short as it can be, which may take minutes.
"""

from __future__ import annotations

import hmac
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final
from unittest import mock

import pytest
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from pes_sim.clock import DAY, HOUR
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import PesError, RefusedByProvider, Status, StorageFailed
from pes_sim.indicium import layout
from pes_sim.provider import books
from pes_sim.provider.centre import DataCentre
from pes_sim.provider.pki import Pki
from pes_sim.provider.registry import Registered
from pes_sim.provider.store import open_engine
from pes_sim.psd import messages
from pes_sim.psd.access import user_challenge
from pes_sim.psd.device import Psd
from pes_sim.psd.fields import Values, pack, unpack
from pes_sim.psd.vault import MemoryVault
from tests.psd.failing_medium import Cut, Failure, Medium, PowerCut
from tests.psd.laws import Laws
from tests.psd.model import LOCKS, MESSAGES, PROVIDER, USER, Entry, Expected, Reference, Refused, Request, date
from tests.rig import CUSTOMER, NOON, SECRET, SERIAL, ZIP, Rig, correction, piece

BANK: Final = 12288
"""Three pages: some forty pieces, or four state records."""
LIMIT: Final = 90
"""Records that may wait for a check-in."""
FUNDS: Final = 20_000
PARTS: Final = 2
EXAMPLES: Final = int(os.environ.get("PES_SIM_MODEL_EXAMPLES", "0"))
SHRINKS: Final = "PES_SIM_MODEL_SHRINKS" in os.environ
STEPS: Final = 50
KINDS_OF_ANSWER: Final = {
    "refill_complete": ("refill_grant", "refill_refusal"),
    "withdraw_complete": ("withdrawal_grant", "withdrawal_refusal"),
    "checkin_complete": ("checkin_receipt", "checkin_refusal"),
    "lock": ("lock_order",),
    "unlock": ("unlock_order",),
}
BOOKS: Final = ("rollback found", "register fault")
LAYOUT: Final = layout.builtin("imi_std")


class Device(Rig):
    """Comes up on a medium, with the vault as it was made. Every power-on draws other nonces."""

    def __init__(self, medium: Medium, vault: bytes, on: int) -> None:
        self.keep, self.on = vault, on
        super().__init__(storage=medium, bank=BANK, profile="FIPS 140-3")

    def power_on(self, *, log_in: bool = True) -> Psd:
        if self.keep:
            self.vault = MemoryVault()
            self.vault.write(self.keep)
        self.seed = f"power-on {self.on}"
        self.options = {"log_limit": LIMIT}
        return super().power_on(log_in=False)


@dataclass
class Time:
    """The data centre's clock."""

    at: int = NOON

    def now(self) -> int:
        return self.at

    def wait(self, microseconds: int) -> None:
        self.at += microseconds


@dataclass(frozen=True)
class World:
    """A device that has been made and licensed, and its data centre, to begin each example with."""

    areas: dict[str, bytes]
    vault: bytes
    made: Values
    centre: DataCentre
    database: bytes
    pki: Pki
    reference: Reference

    def begin(self, time: Time) -> None:
        self.centre._clock = time
        driver(self.centre).deserialize(self.database)


def driver(centre: DataCentre) -> Any:
    return centre._engine.raw_connection().driver_connection


@cache
def world() -> World:
    place, time = Path(tempfile.mkdtemp(prefix="pes-sim-test-")), Time()
    with mock.patch.object(books, "open_engine", return_value=open_engine(None)):
        centre = DataCentre(place, clock=time, entropy=SeededEntropy("model"))
    centre.deposit(CUSTOMER, 10**12)
    medium = Medium({})
    rig = Device(medium, b"", 0)
    made = rig.made = rig.ask("initialize", psd_serial=SERIAL, trust_anchor=centre.trust_anchor, user_secret=SECRET,
                              **rig.how_made)  # fmt: skip
    keys = {name: made[name] for name in ("public_key", "message_key", "nonce")}
    rig.ask("authorize", message=centre.authorize(psd_serial=SERIAL, licensing_zip=ZIP, customer=CUSTOMER, **keys))
    rig.log_in()
    rig.ask("checkin_complete", message=centre.check_in(rig.ask("checkin_begin")["message"]))
    rig.ask("refill_complete", message=centre.refill(rig.ask("refill_begin", amount_mills=FUNDS)["message"]))
    reference = Reference(
        limit=LIMIT, last_receipt=NOON, registers=rig.registers(), number=2,
        sequence=rig.status()["log_sequence"],
        acknowledged=rig.psd._books.state.acknowledged,
    )  # fmt: skip
    medium.flush()
    pki = Pki(place, SeededEntropy("model"), NOON, may_make=False)
    return World(medium.durable, rig.vault.read(), made, centre, driver(centre).serialize(), pki, reference)


def shows(indicium: bytes) -> dict[str, Any]:
    return dict(LAYOUT.unpack(indicium).values)


def holds(values: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    return all(values[name] == value for name, value in expected.items())


@dataclass(frozen=True)
class Image:
    """A copy of the medium that somebody keeps, and what was known then."""

    areas: dict[str, bytes]
    candidates: list[Reference]
    laws: Laws
    provider: Registered


troubles = st.one_of(
    st.none(),
    st.none(),
    st.builds(
        Cut,
        st.integers(1, 12),
        st.lists(st.sampled_from([None, None, 0, 0, 64, 200]), min_size=1, max_size=4).map(tuple),
    ),
    st.builds(Failure, st.integers(1, 12), st.booleans()),
)
postages = st.sampled_from([1, 740, 1, 300, 2_000])
amounts = st.sampled_from([500, 3_000, 20_000])
which = st.integers(0, 40)


class Machine(RuleBasedStateMachine):
    """A device with all that is around it. `candidates`: what it may be; one, but after a cut."""

    seen: ClassVar[Counter[str]] = Counter()
    """What the examples came to, over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.world = Time(), world()
        self.world.begin(self.time)
        self.centre = self.world.centre
        self.medium = Medium(self.world.areas)
        self.ons = 0
        self.device = self.power_on()
        self.candidates = [self.world.reference.copy()]
        self.ghosts: list[Reference] = []
        """What it may be after a power cycle besides: what failed may lie on the disk all the same."""
        self.laws = Laws(FUNDS, self.candidates[0].registers)
        self.requests: list[Request] = []
        self.mail: list[tuple[str, bytes]] = []
        self.answered_mail: set[bytes] = set()
        self.drawn = 1000  # the world has used lower ones
        self.returned = 0
        """What the provider has paid back, or taken back."""
        self.image: Image | None = None
        self.honest = True
        """It was never put back, or somebody has looked at the books since."""
        self.numbers: dict[int, bytes] = {}
        """The messages that the provider has answered."""
        self.behind = 0
        """Of a device that was put back to before a check-in: tries until that must be found."""
        self.log_in()

    # The device

    @property
    def now(self) -> int:
        return self.time.at

    @property
    def known(self) -> Reference:
        return self.candidates[0]

    def ask(self, name: str, **request: Any) -> Values:
        return self.device.psd.execute(name, request, request_id=bytes(16), now=self.now)

    def request(self, service: str, **values: Any) -> Request:
        self.drawn += 1
        return Request(service, values, self.drawn.to_bytes(16, "big"))

    def order(self, service: str, message: bytes, *, forged: bool = False) -> Request:
        said = messages.peek(message, *KINDS_OF_ANSWER[service])[1]
        if forged:
            message = message[:-1] + bytes([message[-1] ^ 1])
        return replace(self.request(service, message=message), said=said, forged=forged)

    def new(self, service: str, trouble: Cut | Failure | None = None, /, **values: Any) -> Values | None:
        return self.do(self.request(service, **values), trouble)

    def do(self, request: Request, trouble: Cut | Failure | None = None) -> Values | None:
        """One request to the device; its answer, if it gave one, on which everybody agrees."""
        if request not in self.requests:
            self.requests.append(request)
        self.medium.arm(trouble)
        try:
            got: Values | Status = self.device.psd.execute(
                request.service, request.values, request_id=request.request_id, now=self.now
            )
        except PowerCut:
            self.come_back(request, trouble)
            return None
        except PesError as problem:
            got = problem.status
        failed = self.medium.disarm()
        branches = [branch for one in self.candidates for branch in self.branches(one, request)]
        after = [one for one, _ in branches]
        if failed:
            self.seen["failure"] += 1
            self.ghosts += [*after, *self.candidates]
            self.may_have_moved(request)
        if got in (Status.STORAGE_FAILED, Status.STORAGE_FULL):
            assert failed, f"{request.service} failed, and the storage did not"
            for one in self.candidates:
                one.tick(self.now)
        else:
            self.agree(request, got, branches)
        self.look(clean=not failed)
        return got if isinstance(got, dict) else None

    def segments(self) -> list[int]:
        """The first record of each."""
        return [int(name[4:20]) for name in self.medium.names() if name.startswith("log-")]

    def branches(self, one: Reference, request: Request) -> Iterable[tuple[Reference, Expected | Status]]:
        """What may come of a request. An id may be forgotten from the third segment on, and then it counts anew."""
        reach = self.segments()[-2] if len(self.segments()) > 1 else 0
        place = one.places.get(request.request_id, self.known.sequence)
        old = request.request_id in one.answered
        for remembers in [True, False] if old and place < reach else [True]:
            after = one.copy()
            try:
                expected: Expected | Status = after.execute(request, self.now, remembers=remembers)
            except Refused as refusal:
                expected = refusal.status
            yield after, expected

    def agree(
        self, request: Request, got: Values | Status, branches: list[tuple[Reference, Expected | Status]]
    ) -> None:
        said = self.read(request.service, got)
        right = [branch for branch in branches if self.fits(branch[0], branch[1], got, said)]
        assert right, f"{request}: answered {got!r}, not {[expected for _, expected in branches]}"
        self.candidates = [after for after, _ in right]
        self.seen[f"{request.service}: {got.name if isinstance(got, Status) else 'answered'}"] += 1
        if isinstance(got, dict):
            for one in self.candidates:
                one.learn(request, got, said)
            unknown = all(isinstance(expected, Expected) and expected.exactly is None for _, expected in right)
            self.laws.see_answer(request, got, anew=unknown)

    def read(self, service: str, got: Values | Status) -> Values:
        """What the device's message in an answer says."""
        message = b"" if isinstance(got, Status) else got.get("message") or got.get("statement")
        return messages.open_signed(message, self.world.made["message_key"], MESSAGES[service])[1] if message else {}

    def fits(self, after: Reference, expected: Expected | Status, got: Values | Status, said: Values) -> bool:
        if isinstance(expected, Status) or isinstance(got, Status):
            return expected == got
        if expected.exactly is not None:
            return expected.exactly == got
        indicia = got.get("indicia") or [got[name] for name in got if name == "indicium"]
        return (
            holds(got, expected.values)
            and len(indicia) == len(expected.entries)
            and all(
                holds(shows(indicium), entry.shows) and entry.indicium in (b"", indicium)
                for entry, indicium in zip(expected.entries, indicia, strict=True)
            )
            and holds(said, expected.says or {})
        )

    def look(self, *, clean: bool) -> None:
        """Asks the device how it is, and leaves those candidates that are so."""
        status, registers = self.ask("get_status"), self.device_registers()
        for one in [*self.candidates, *self.ghosts]:
            one.tick(self.now)
        right = [one for one in self.candidates if self.is_like(one, status, registers)]
        assert right, f"the device is {status}, {registers}; not {self.candidates}"
        if clean and status["log_sequence"] > self.known.sequence:
            self.ghosts = []  # written over
            self.laws.under_way = {}
        for one in right:
            one.sequence, one.oldest = status["log_sequence"], self.segments()[0]
            for request_id in one.answered.keys() - one.places.keys():
                one.places[request_id] = one.sequence
        self.candidates = [one for number, one in enumerate(right) if one not in right[:number]]
        self.laws.see_registers(registers, self.paid().granted_mills + self.returned)
        if self.known.role == USER:
            self.look_at_log(self.known.log[-6].record if len(self.known.log) > 6 else 1)

    def device_registers(self) -> dict[str, int]:
        answered = self.ask("get_registers")
        return {name: answered[name] for name in self.world.reference.registers}

    def is_like(self, one: Reference, status: Values, registers: dict[str, int]) -> bool:
        if self.segments()[0] > one.acknowledged + 1:
            return False  # the log lost what the provider has not acknowledged
        return registers == one.registers and holds(
            status,
            {
                "state": one.state, "sub_state": one.sub_state, "lock_reasons": list(one.locks),
                "refill_pending_mills": one.refill.amount if one.refill else 0, "reprint_count": one.reprints,
                "role": one.role or "unauthenticated",
            },
        )  # fmt: skip

    def look_at_log(self, first: int) -> list[Entry]:
        """Its entries from a record on; each candidate that goes on has the same."""
        found, following = [], first or 1
        while following:
            try:
                chunk = self.ask("read_log", first_record=following)
            except StorageFailed:
                assert self.ghosts, "nothing failed lately, and the log cannot be read"
                return list(self.known.log)  # a segment was reclaimed, and the device was told that it was not
            found += [unpack(entry) for entry in chunk["entries"]]
            following = chunk["next_record"]
        right = [one for one in self.candidates if has_log(one, found, first)]
        assert right, f"the log holds {found}; not {[one.log[-len(found) :] for one in self.candidates]}"
        self.candidates = right
        return list(self.known.log)

    def whole_log(self) -> None:
        if self.known.role == USER:
            log = self.look_at_log(1)
            self.laws.see_log([entry for entry in log if entry.record >= self.known.oldest], self.known.oldest, shows)

    def log_in(self, role: str = USER) -> None:
        challenge = self.ask("challenge")
        if role == USER:
            proof = hmac.digest(SECRET, user_challenge(SERIAL, challenge["nonce"]), "sha256")
        else:
            proof = self.centre.login(SERIAL, challenge)
        self.ask("authenticate", role=role, proof=proof)
        for one in self.candidates:
            one.role, one.challenge = role, (b"", 0)
        self.look(clean=True)

    # Power

    def power_on(self) -> Device:
        self.ons += 1
        return Device(self.medium, self.world.vault, self.ons)

    def may_have_moved(self, request: Request) -> None:
        """A refill or a withdrawal that was not answered."""
        amount = request.said.get("amount_mills", 0)
        if request.service in ("refill_complete", "withdraw_complete") and request.request_id not in self.laws.answers:
            self.laws.under_way[request.request_id] = amount if request.service == "refill_complete" else -amount

    def come_back(self, request: Request, trouble: Cut | Failure | None) -> None:
        """After a cut: the request was carried out or not, and a retry of it agrees with that."""
        assert isinstance(trouble, Cut)
        self.seen["cut"] += 1
        after = [one for before in self.candidates for one, _ in self.branches(before, request)]
        self.may_have_moved(request)
        self.medium = self.medium.after_cut(trouble.fates)
        self.device = self.power_on()
        self.candidates = [one.power_cycle() for one in [*self.candidates, *after, *self.ghosts]]
        self.ghosts = []
        self.look(clean=False)
        self.laws.under_way = {}
        self.log_in()
        self.whole_log()
        self.seen["done" if request.request_id in self.known.answered else "not done"] += 1
        self.do(request)

    def restart(self) -> None:
        """Off and on. What was written reaches the disk meanwhile, synced or not."""
        self.medium.flush()
        self.device = self.power_on()
        self.candidates = [one.power_cycle() for one in [*self.candidates, *self.ghosts]]
        self.ghosts = []
        self.look(clean=False)

    # The provider

    def paid(self) -> Registered:
        with self.centre._transaction() as connection:
            return self.centre._registry.get(connection, SERIAL)

    def send(self, service: str, message: bytes) -> bytes:
        """The data centre's answer to a message of the device."""
        before = self.paid()
        number = messages.peek(message, *MESSAGES.values())[1]["message_number"]
        self.numbers.setdefault(number, message)
        ask: dict[str, Callable[[bytes], bytes]] = {
            "refill_complete": self.centre.refill, "refill_cancel": self.centre.cancel_refill,
            "withdraw_complete": self.centre.withdraw, "checkin_complete": self.centre.check_in,
        }  # fmt: skip
        answer = ask[service](message)
        self.returned += max(0, before.granted_mills - self.paid().granted_mills)
        self.mail.append(("refill_complete" if service == "refill_cancel" else service, answer))
        return answer

    def make_ready(self, funds: int) -> None:
        """For postage, if it is in the customer's hand."""
        if self.known.role != USER:
            self.log_in()
        if self.known.withdrawal:
            self.refuse_withdrawal()
        if set(BOOKS) & set(self.known.locks):
            self.reconcile()
        if "check-in overdue" in self.known.locks or self.known.sequence - self.known.acknowledged > LIMIT - 20:
            self.check_in()
        if "provider lock" in self.known.locks and not set(BOOKS) & set(self.known.locks):
            self.command("unlock", ["provider lock"])
        if self.known.registers["descending_mills"] < funds:
            self.refill(self.known.refill.amount if self.known.refill else 20_000)

    def refuse_withdrawal(self, trouble: Cut | Failure | None = None) -> None:
        begun = self.new("withdraw_begin")
        if begun:
            said = messages.peek(begun["message"], "withdrawal_request")[1]
            repeated = {name: said[name] for name in ("psd_serial", "nonce", "message_number", *self.laws.registers)}
            answer = messages.sign("withdrawal_refusal", repeated | {"reason": "no"}, self.world.pki.provider.sign)
            self.do(self.order("withdraw_complete", answer), trouble)

    # Rules

    @rule(count=st.integers(1, 12), postage=postages)
    def print_some(self, count: int, postage: int) -> None:
        """As a mailroom does, which sees to it that the device is ready."""
        self.make_ready(count * postage)
        for number in range(count):
            self.new("dispense", **piece(mailing_date=date(self.now), postage_mills=postage, reference=bytes(number)))

    @rule(
        service=st.sampled_from(["dispense", "dispense", "redate", "correct_amount"]),
        postage=st.one_of(postages, st.just(0)), days=st.sampled_from([0, 0, 0, 1, -1, 31]), trouble=troubles,
    )  # fmt: skip
    def spend(self, service: str, postage: int, days: int, trouble: Cut | Failure | None) -> None:
        asked = piece(mailing_date=date(self.now + days * DAY), postage_mills=postage)
        self.new(service, trouble, **(correction(mailing_date=asked["mailing_date"]) if service == "redate" else asked))

    @rule(operation=st.integers(2, 4), goes_on=st.booleans())
    def fail_at_the_end_of_a_segment(self, operation: int, goes_on: bool) -> None:
        """What failed there is not written over by what comes next, if that is too long for the rest."""
        self.make_ready(FUNDS // 4)
        log = self.device.psd._books._nvram
        assert log is not None
        asked = piece(mailing_date=date(self.now), postage_mills=1)
        for _ in range(50):
            if 256 < BANK - log._end < 1000:
                break
            self.new("dispense", **asked)
        self.new("dispense", Failure(operation, written=True), **asked)
        if goes_on:
            self.new("checkin_begin")
        self.power_cycle(log_in=True)

    @rule(items=st.lists(st.one_of(postages, postages, st.just(0)), max_size=4), trouble=troubles)
    def batch(self, items: list[int], trouble: Cut | Failure | None) -> None:
        pieces = [pack(piece(mailing_date=date(self.now), postage_mills=postage)) for postage in items]
        self.new("dispense_batch", trouble, pieces=pieces)

    @rule(
        count=st.integers(2, 4), operation=st.integers(1, 8),
        fates=st.lists(st.sampled_from([None, 0, 64]), min_size=1, max_size=3),
    )  # fmt: skip
    def cut_in_a_batch(self, count: int, operation: int, fates: list[int | None]) -> None:
        self.make_ready(FUNDS // 4)
        pieces = [pack(piece(mailing_date=date(self.now), postage_mills=1 + number)) for number in range(count)]
        self.new("dispense_batch", Cut(operation, tuple(fates)), pieces=pieces)

    @rule(back=which, trouble=troubles)
    def reprint(self, back: int, trouble: Cut | Failure | None) -> None:
        log = self.known.log
        self.new("reprint", trouble, original=log[-back % len(log)].record if log and back < 35 else back)

    @rule(back=which, trouble=troubles)
    @precondition(lambda self: self.requests)
    def retry(self, back: int, trouble: Cut | Failure | None) -> None:
        self.do(self.requests[-1 - back % len(self.requests)], trouble)

    @rule(back=st.integers(0, 5))
    @precondition(lambda self: self.requests)
    def reuse(self, back: int) -> None:
        """The id of another request."""
        other = self.requests[-1 - back % len(self.requests)]
        values = piece(mailing_date=date(self.now), postage_mills=77, reference=b"reused")
        self.do(Request("dispense", values, other.request_id))

    @rule(amount=st.one_of(amounts, amounts, st.sampled_from([0, (1 << 32) - 1])), trouble=troubles)
    def begin_refill(self, amount: int, trouble: Cut | Failure | None) -> None:
        self.new("refill_begin", trouble, amount_mills=amount)

    @rule(trouble=troubles)
    @precondition(lambda self: self.known.refill)
    def cancel_refill(self, trouble: Cut | Failure | None) -> None:
        self.new("refill_cancel", trouble)

    @rule(trouble=troubles)
    @precondition(lambda self: self.known.refill and self.known.refill.message)
    def end_refill(self, trouble: Cut | Failure | None) -> None:
        """As the provider answers: a grant, a refusal, or what ends a cancelled one."""
        refill, cancellation = self.known.refill, self.known.cancellation
        assert refill is not None
        if cancellation is not None and cancellation.message:
            answer = self.send("refill_cancel", cancellation.message)
        else:
            answer = self.send("refill_complete", refill.message)
        self.do(self.order("refill_complete", answer), trouble)

    @rule(trouble=troubles)
    def cancel_when_granted(self, trouble: Cut | Failure | None) -> None:
        """The grant comes after the promise never to accept it."""
        self.make_ready(0)
        begun = self.new("refill_begin", amount_mills=self.known.refill.amount if self.known.refill else 900)
        if begun:
            grant = self.send("refill_complete", begun["message"])
            self.new("refill_cancel")
            self.do(self.order("refill_complete", grant), trouble)

    @rule(amount=amounts)
    def refill(self, amount: int) -> None:
        begun = self.new("refill_begin", amount_mills=amount)
        if begun:
            self.do(self.order("refill_complete", self.send("refill_complete", begun["message"])))

    @rule(trouble=troubles)
    def begin_check_in(self, trouble: Cut | Failure | None) -> None:
        self.new("checkin_begin", trouble)

    @rule(trouble=troubles)
    @precondition(lambda self: self.known.checkin and self.known.checkin.message)
    def end_check_in(self, trouble: Cut | Failure | None) -> None:
        assert self.known.checkin is not None
        message = self.known.checkin.message
        late = self.now - self.known.checkin_begun > HOUR
        again = message in self.answered_mail
        self.answered_mail.add(message)
        paid, number = self.paid(), self.known.checkin.number
        reused = number in self.numbers and self.numbers[number] != message
        answer = self.send("checkin_complete", message)
        request = self.order("checkin_complete", answer)
        if self.honest and number > paid.message_number and not paid.withdrawn:
            assert "acknowledged" in request.said, "a device that was never put back got no receipt"
        if reused and not self.honest and not paid.withdrawn:
            assert "rollback found" in request.said["lock_reasons"], "two messages of one number"
        if self.behind and not again:
            assert "lock_reasons" in request.said, "a device that was put back got a receipt"
        self.do(request, trouble)
        if self.behind and not again and not late:
            found = set(BOOKS if paid.suspicion else BOOKS[:1]) & set(self.known.locks)
            self.behind = 0 if found else self.behind - 1
            assert found or self.behind, "a device that was put back was not found"
            self.seen["rollback found"] += bool(found)

    @rule()
    def check_in(self) -> None:
        if self.new("checkin_begin"):
            self.end_check_in(None)

    @rule(
        unlock=st.booleans(),
        reason=st.sampled_from(["provider lock", "provider lock", "register fault"]),
        trouble=troubles,
    )
    def lock_or_unlock(self, unlock: bool, reason: str, trouble: Cut | Failure | None) -> None:
        if unlock and reason == "register fault":
            return  # the provider does so after a look at the books only
        self.command("unlock" if unlock else "lock", [reason], trouble)

    def command(self, service: str, reasons: list[str], trouble: Cut | Failure | None = None) -> None:
        challenge = self.ask("challenge")
        for one in self.candidates:
            one.challenge, one.challenged = (challenge["nonce"], challenge["message_number"]), self.now
        try:
            message = self.centre.order(f"{service}_order", SERIAL, challenge, lock_reasons=reasons)
        except RefusedByProvider:
            return
        self.mail.append((service, message))
        self.do(self.order(service, message), trouble)

    @rule(trouble=troubles, seldom=st.integers(0, 3))
    def begin_withdrawal(self, trouble: Cut | Failure | None, seldom: int) -> None:
        if seldom == 0:
            self.new("withdraw_begin", trouble)

    @rule(trouble=troubles, granted=st.integers(0, 3))
    @precondition(lambda self: self.known.withdrawal and self.known.withdrawal.message)
    def end_withdrawal(self, trouble: Cut | Failure | None, granted: int) -> None:
        assert self.known.withdrawal is not None
        if granted:
            self.refuse_withdrawal(trouble)
        else:
            answer = self.send("withdraw_complete", self.known.withdrawal.message)
            self.do(self.order("withdraw_complete", answer), trouble)

    @rule(back=st.integers(0, 8), forged=st.booleans(), trouble=troubles)
    @precondition(lambda self: self.mail)
    def old_mail(self, back: int, forged: bool, trouble: Cut | Failure | None) -> None:
        """A message of the provider once more, under a new id; or one that somebody has changed."""
        service, message = self.mail[-1 - back % len(self.mail)]
        self.do(self.order(service, message, forged=forged), trouble)

    @rule(log_in=st.sampled_from([True, True, False]))
    def power_cycle(self, log_in: bool) -> None:
        self.restart()
        if log_in:
            self.log_in()
            self.whole_log()

    @rule()
    @precondition(lambda self: self.known.role != USER)
    def log_in_again(self) -> None:
        self.log_in()

    @rule(hours=st.sampled_from([1, 2, 20, 20, 73]))
    def wait(self, hours: int) -> None:
        self.time.at += hours * HOUR
        self.look(clean=True)

    @rule(newer=st.sampled_from([False, False, True]))
    @precondition(lambda self: not self.ghosts)
    def keep_image(self, newer: bool) -> None:
        copies = [one.power_cycle() for one in self.candidates]
        areas = {name: bytes(area) for name, area in self.medium.areas.items()}
        if newer or not self.image:
            self.image = Image(areas, copies, self.laws.copy(), self.paid())

    @rule(reports=st.booleans())
    @precondition(lambda self: self.image)
    def put_back(self, reports: bool) -> None:
        """The older image: the device knows nothing of what came after, and the provider does."""
        assert self.image is not None
        old, paid = self.image, self.paid()
        self.medium = Medium(old.areas)
        self.device = self.power_on()
        self.candidates, self.ghosts = [one.copy() for one in old.candidates], []
        self.laws, self.honest = old.laws.copy(), False
        # A report that was begun before the image was taken is known to the device, whenever it arrived.
        if int.from_bytes(paid.last_report[:8], "big") >= old.candidates[0].sequence:
            self.behind = paid.message_number - old.provider.message_number + 1
        self.seen["put back"] += 1
        self.look(clean=False)
        self.log_in()
        self.whole_log()
        if reports:
            self.check_in()

    @rule(unsent=st.integers(1, 3), pieces=st.integers(0, 3))
    @precondition(lambda self: not self.behind and not self.ghosts)
    def put_back_and_catch_up(self, unsent: int, pieces: int) -> None:
        """Its numbers and registers are beyond those that were reported: only the log's chain tells."""
        self.make_ready(FUNDS // 4)
        if self.known.state == "OPERATIONAL":
            self.image = None
            self.keep_image(newer=True)
            asked = piece(mailing_date=date(self.now), postage_mills=1)
            for _ in range(pieces):
                self.new("dispense", **asked)
            self.check_in()
            self.put_back(reports=False)
            for _ in range(pieces + 1):
                self.new("dispense", **asked)
            for _ in range(unsent):
                self.new("checkin_begin")
            self.check_in()

    @rule()
    @precondition(lambda self: bool(set(BOOKS) & set(self.known.locks)))
    def reconcile(self) -> None:
        """Somebody has looked at both logs."""
        if self.known.role != USER:
            self.log_in()
        if self.known.refill:
            cancelled = self.new("refill_cancel")
            assert cancelled is not None
            self.do(self.order("refill_complete", self.send("refill_cancel", cancelled["message"])))
        if self.known.withdrawal:
            begun = self.new("withdraw_begin")
            assert begun is not None
            self.do(self.order("withdraw_complete", self.send("withdraw_complete", begun["message"])))
        self.log_in(PROVIDER)
        nonce = b"a reconciliation"
        stated = self.new("audit", nonce=nonce)
        if stated:
            try:
                self.centre.reconcile(stated["statement"], nonce)
            except RefusedByProvider:
                return  # it was withdrawn
            self.behind, self.honest, self.image = 0, True, None
            self.numbers = {}
            self.returned += max(0, self.laws.refilled - self.paid().granted_mills)
            self.command("unlock", [name for name in BOOKS if name in LOCKS])
            self.seen["reconciled"] += 1
        self.log_in()

    def teardown(self) -> None:
        self.restart()
        self.log_in()
        self.whole_log()


def has_log(one: Reference, found: list[Values], first: int) -> bool:
    """Whether the newest of its entries are those; it learns what it did not know of them."""
    mine = [entry for entry in one.log if not entry.record or entry.record >= max(first, one.oldest)]
    if len(mine) != len(found):
        return False
    for entry, there in zip(mine, found, strict=True):
        expected = {"piece_kind": entry.kind, "request_id": entry.request_id, "reference": entry.reference,
                    "original": entry.original}  # fmt: skip
        same = holds(there, expected | entry.registers) and holds(shows(there["indicium"]), entry.shows)
        if not same or entry.indicium not in (b"", there["indicium"]) or entry.record not in (0, there["record"]):
            return False
    learnt = [replace(entry, indicium=there["indicium"], record=there["record"])
              for entry, there in zip(mine, found, strict=True)]  # fmt: skip
    one.log = (*one.log[: len(one.log) - len(learnt)], *learnt)
    return True


@pytest.mark.parametrize("part", range(PARTS))
def test_device_reference_and_laws_agree_after_every_command(part: int) -> None:
    class Part(Machine):
        seen: ClassVar[Counter[str]] = Counter()

    phases = [Phase.generate, Phase.shrink] if SHRINKS else [Phase.generate]
    run = settings(
        max_examples=EXAMPLES or 24, stateful_step_count=STEPS, database=None, print_blob=bool(EXAMPLES),
        report_multiple_bugs=False, phases=phases,
    )  # fmt: skip
    run_state_machine_as_test(Part if EXAMPLES else seed(part)(Part), settings=run)
    print(", ".join(f"{what} {count}" for what, count in sorted(Part.seen.items())))
    for what in () if EXAMPLES else ("cut", "done", "not done", "failure", "rollback found", "reconciled"):
        assert Part.seen[what], what
