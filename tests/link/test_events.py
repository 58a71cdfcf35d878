"""Events: what a device says without being asked, to whom, when, and never in the middle of anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.clock import HOUR, VirtualClock
from pes_sim.entropy import SeededEntropy
from pes_sim.errors import IntegrityError, PesError, Status, UnknownService
from pes_sim.link import message
from pes_sim.link.bare import BarePsd
from pes_sim.link.client import Client
from pes_sim.link.device import DeviceSession, Session
from pes_sim.link.events import BY_CODE, BY_NAME, CHECKIN_IS_DUE, EVENTS, LOW_FUNDS, STATE_CHANGED, TAMPERED, Watch
from pes_sim.link.frame import VERSION, Frame, FrameKind, Framer, encode
from pes_sim.link.inbox import MOST, Inbox
from pes_sim.link.ports.memory import MemoryTransport
from pes_sim.meter.services import SERVICES as METER_SERVICES
from pes_sim.psd.fields import Values, check_all
from pes_sim.psd.lifecycle import TAMPER
from pes_sim.psd.policy import POLICIES, Regime
from pes_sim.psd.services import BY_NAME as PSD_SERVICES
from pes_sim.psd.services import SERVICES, Service
from tests.link.fakes import ID, NOW, OTHER_ID, FakeDevice, client, frames
from tests.rig import Rig, operational, piece

GET_STATUS: Final = message.request(PSD_SERVICES["get_status"], {}, ID)
LOW: Final = 1000


class Moody:
    """A device that is as it is told to be. It has the two services that events come from."""

    kind = "moody"
    services: Mapping[int, Service] = {PSD_SERVICES[name].code: PSD_SERVICES[name] for name in
                                       ("get_status", "get_registers")}  # fmt: skip

    def __init__(self) -> None:
        self.status: Values = {
            "state": "OPERATIONAL", "sub_state": "", "lock_reasons": [], "warnings": [], "seconds_to_lockout": 3600,
            "device_time": NOW,
        }  # fmt: skip
        self.descending = 5000
        self.asked: list[str] = []
        self.fails: dict[str, Exception] = {}

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values:
        self.asked.append(name)
        if name in self.fails:
            raise self.fails[name]
        if name == "get_status":
            return {**self.status, "device_time": now}
        return {"descending_mills": self.descending}


def subscribe(session: Session, low: int = LOW, request_id: bytes = ID) -> list[Frame]:
    return frames(
        session.receive(encode(message.request(message.SUBSCRIBE, {"low_funds_mills": low}, request_id)), NOW)
    )


def told(line: bytes) -> list[tuple[str, Values]]:
    """The events in what a device sent; there must be nothing else in it."""
    found = []
    for frame in frames(line):
        assert (frame.kind, frame.status, frame.request_id) == (FrameKind.EVENT, Status.OK, message.NO_REQUEST)
        values = message.read_values(frame)
        check_all(BY_CODE[frame.service].fields, values)
        found.append((BY_CODE[frame.service].name, values))
    return found


def names(line: bytes) -> list[str]:
    return [name for name, _ in told(line)]


@pytest.fixture
def moody() -> Moody:
    return Moody()


@pytest.fixture
def session(moody: Moody) -> DeviceSession:
    session = DeviceSession(moody)
    (answer,) = subscribe(session)
    assert message.read_values(answer) == {"event_sequence": 0}
    return session


# The table


def test_every_event_has_a_code_a_number_and_the_devices_time() -> None:
    assert {kind.code: kind.name for kind in EVENTS} == {
        1: "state_changed", 2: "low_funds", 3: "checkin_due", 4: "tamper",
    }  # fmt: skip
    for kind in EVENTS:
        assert [field.name for field in kind.fields[:2]] == ["event_sequence", "device_time"]
    assert {kind.name: kind for kind in EVENTS} == BY_NAME


def test_the_links_own_services_are_no_devices() -> None:
    taken = {service.code for service in (*SERVICES, *METER_SERVICES)} | {message.UNREADABLE}
    assert not taken & {service.code for service in message.LINK_SERVICES}
    assert [service.code for service in message.LINK_SERVICES] == [0x00, 0xF0, 0xF1]


# Who is told


def test_nobody_who_has_not_subscribed_is_told_anything_or_makes_the_device_do_anything(moody: Moody) -> None:
    session = DeviceSession(moody)
    moody.status["state"] = "LOCKED"
    assert len(frames(session.receive(encode(GET_STATUS), NOW))) == 1
    assert session.unasked(NOW) == b""
    assert moody.asked == ["get_status"]


def test_who_has_unsubscribed_is_told_no_more_and_how_many_there_were(moody: Moody, session: DeviceSession) -> None:
    moody.descending = 0
    assert names(session.unasked(NOW)) == ["low_funds"]
    (answer,) = frames(session.receive(encode(message.request(message.UNSUBSCRIBE, {}, OTHER_ID)), NOW))
    assert message.read_values(answer) == {"event_sequence": 1}
    moody.status["state"] = "LOCKED"
    assert session.unasked(NOW) == b""
    answer, event = subscribe(session)
    assert message.read_values(answer) == {"event_sequence": 1}  # numbers go on
    assert message.read_values(event)["event_sequence"] == 2


def test_a_session_that_subscribes_leaves_another_of_the_same_device_alone(
    moody: Moody, session: DeviceSession
) -> None:
    other = DeviceSession(moody)
    moody.descending = 0
    assert len(frames(other.receive(encode(GET_STATUS), NOW))) == 1
    assert names(session.unasked(NOW)) == ["low_funds"]


def test_a_device_that_cannot_say_how_it_is_refuses_to_tell() -> None:
    (answer,) = subscribe(DeviceSession(FakeDevice()))
    assert answer.status == Status.UNKNOWN_SERVICE
    assert (
        message.read_refusal(answer).message
        == "a fake tells no events: it has not both of get_status and get_registers"
    )
    (answer,) = frames(DeviceSession(FakeDevice()).receive(
        encode(message.request(message.UNSUBSCRIBE, {}, ID)), NOW))  # fmt: skip
    assert answer.status == Status.OK


@pytest.mark.parametrize("values", [{}, {"low_funds_mills": -1}, {"low_funds_mills": 1 << 32}])
def test_a_subscription_with_a_field_that_is_wrong_is_refused(moody: Moody, values: Values) -> None:
    session = DeviceSession(moody)
    (answer,) = frames(session.receive(encode(message.request(message.SUBSCRIBE, values, ID)), NOW))
    assert answer.status == Status.BAD_FIELD
    assert moody.asked == []


# What is told, and when


def test_each_is_told_when_it_begins_and_not_again_until_it_has_ended(moody: Moody, session: DeviceSession) -> None:
    assert names(session.unasked(NOW)) == []
    moody.descending = LOW
    assert names(session.unasked(NOW)) == []
    moody.descending = LOW - 1
    assert told(session.unasked(NOW + 5)) == [
        ("low_funds", {"event_sequence": 1, "device_time": NOW + 5, "descending_mills": 999, "low_funds_mills": LOW}),
    ]
    moody.descending = 0
    assert names(session.unasked(NOW)) == []
    moody.descending = LOW
    assert names(session.unasked(NOW)) == []
    moody.descending = 0
    assert names(session.unasked(NOW)) == ["low_funds"]


@pytest.mark.parametrize("change", [{"state": "LOCKED"}, {"sub_state": "REFILL_PENDING"}, {"lock_reasons": ["x"]}])
def test_another_state_sub_state_or_reason_is_a_change(moody: Moody, session: DeviceSession, change: Values) -> None:
    moody.status |= change
    ((name, values),) = told(session.unasked(NOW))
    assert name == STATE_CHANGED.name
    assert {**values, **change} == values
    assert session.unasked(NOW) == b""


def test_several_at_once_are_told_in_the_order_of_the_table(moody: Moody, session: DeviceSession) -> None:
    moody.descending = 0
    moody.status |= {"state": "ZEROIZED", "lock_reasons": [TAMPER], "warnings": ["check-in due", "inspection warning"]}
    line = session.unasked(NOW)
    assert names(line) == [STATE_CHANGED.name, LOW_FUNDS.name, CHECKIN_IS_DUE.name, TAMPERED.name]
    assert [values["event_sequence"] for _, values in told(line)] == [1, 2, 3, 4]


@pytest.mark.parametrize("change", [{"lock_reasons": ["zeroized"]}, {"lock_reasons": [TAMPER], "state": "ERROR"}])
def test_only_the_tamper_input_is_tampering(moody: Moody, session: DeviceSession, change: Values) -> None:
    moody.status |= {"state": "ZEROIZED"} | change
    assert names(session.unasked(NOW)) == ["state_changed"]


def test_what_holds_already_is_told_with_the_answer_to_the_subscription_but_not_the_state(moody: Moody) -> None:
    moody.descending = 0
    moody.status |= {"state": "LOCKED", "warnings": ["check-in due"]}
    answer, *events = subscribe(DeviceSession(moody))
    assert answer.kind == FrameKind.REPLY
    assert [BY_CODE[event.service] for event in events] == [LOW_FUNDS, CHECKIN_IS_DUE]


def test_funds_are_never_low_for_who_names_no_amount(moody: Moody) -> None:
    moody.descending = 0
    session = DeviceSession(moody)
    assert len(subscribe(session, low=0)) == 1


def test_events_follow_the_answers_in_whole_frames_and_never_come_before_them(
    moody: Moody, session: DeviceSession
) -> None:
    moody.descending = 0
    line = encode(GET_STATUS)
    half = len(line) // 2
    assert session.receive(line[:half], NOW) == b""  # a request under way is no reason to say something
    answers = frames(session.receive(line[half:] + line, NOW))
    assert [frame.kind for frame in answers] == [FrameKind.REPLY, FrameKind.REPLY, FrameKind.EVENT]


def test_a_refusal_is_an_answer_too_and_silence_is_none(moody: Moody, session: DeviceSession) -> None:
    moody.descending = 0
    assert session.receive(bytes(9), NOW) == b""
    assert session.receive(encode(GET_STATUS._replace(kind=FrameKind.EVENT)), NOW) == b""
    refused, event = frames(session.receive(encode(GET_STATUS._replace(service=0x55)), NOW))
    assert (refused.status, event.kind) == (Status.UNKNOWN_SERVICE, FrameKind.EVENT)


# What goes wrong


def test_registers_that_cannot_be_read_hold_up_no_other_event(moody: Moody, session: DeviceSession) -> None:
    moody.fails["get_registers"] = IntegrityError("gone")
    moody.status["state"] = "ERROR"
    assert names(session.unasked(NOW)) == ["state_changed"]


@pytest.mark.parametrize("problem", [PesError("not now"), RuntimeError("a defect of ours")])
def test_a_device_that_cannot_be_asked_tells_it_the_next_time(
    moody: Moody, session: DeviceSession, problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    moody.status["state"] = "LOCKED"
    moody.fails["get_status"] = problem
    assert session.unasked(NOW) == b""
    assert ("could not be asked" in caplog.text) is isinstance(problem, RuntimeError)
    (answer,) = frames(session.receive(encode(GET_STATUS), NOW))
    assert answer.status == Status.INTERNAL
    moody.fails.clear()
    ((_, values),) = told(session.unasked(NOW))
    assert values["event_sequence"] == 1


# A real device


def test_a_psd_tells_of_its_life_through_its_own_services() -> None:
    rig = operational(funds=2000)
    watch = Watch(rig.psd, rig.now, low_funds_mills=LOW)
    found = [event.name for event in watch.look(rig.now)]
    rig.dispense(postage_mills=1500)
    found += [event.name for event in watch.look(rig.now)]
    due = POLICIES[Regime.IMI].warn
    assert watch.look(rig.now + due - 1) == []
    found += [event.name for event in watch.look(rig.now + due)]
    found += [event.name for event in watch.look(rig.now + 73 * HOUR)]
    rig.psd.tamper()
    found += [event.name for event in watch.look(rig.now + 73 * HOUR)]
    assert found == ["low_funds", "checkin_due", "state_changed", "state_changed", "tamper"]


def test_a_psd_that_is_zeroized_by_request_was_not_tampered_with() -> None:
    rig = operational()
    watch = Watch(rig.psd, rig.now)
    rig.ask("zeroize")
    assert [event.name for event in watch.look(rig.now)] == ["state_changed"]


# The host


def host(rig: Rig, clock: VirtualClock) -> Client:
    return Client(MemoryTransport(BarePsd(rig.psd), clock), PSD_SERVICES, SeededEntropy("events"))


def test_a_host_is_given_its_answers_and_its_events_apart() -> None:
    rig = operational(funds=2000)
    clock = VirtualClock(rig.now)
    caller = host(rig, clock)
    assert caller.events() == []
    caller.subscribe(low_funds_mills=LOW)
    caller.call("dispense", piece(postage_mills=1500))
    assert caller.call("get_registers", {})["descending_mills"] == 500
    ((name, sequence, values, missed),) = caller.events()
    assert (name, sequence, missed) == ("low_funds", 1, 0)
    assert values["descending_mills"] == 500
    assert caller.events() == []
    caller.unsubscribe()
    clock.advance(73 * HOUR)
    caller.call("get_status", {})
    assert caller.events(listen=True) == []


def test_a_host_that_listens_is_told_what_the_time_brings_about_meanwhile() -> None:
    rig = operational()
    clock = VirtualClock(rig.now)
    caller = host(rig, clock)
    caller.subscribe()
    clock.advance(24 * HOUR - 1)
    assert [event.name for event in caller.events(listen=True)] == ["checkin_due"]
    assert caller.events(listen=True) == []


def test_a_host_whose_device_tells_nothing_is_told_so_and_has_no_events() -> None:
    caller = client(MemoryTransport(FakeDevice(), VirtualClock(NOW)))
    with pytest.raises(UnknownService, match="a fake tells no events"):
        caller.subscribe()
    assert caller.events(listen=True) == []


class Scripted:
    """A port where what comes back is written down beforehand."""

    name = "scripted:"

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def write(self, data: bytes) -> None:
        """Nobody looks at it."""

    def close(self) -> None:
        """Nothing is open."""


def low_funds(sequence: int) -> Frame:
    values = {"event_sequence": sequence, "device_time": NOW, "descending_mills": 1, "low_funds_mills": 2}
    return message.event(LOW_FUNDS, values)


def inbox(*frames: Frame | bytes, begun: int | None = 0) -> Inbox:
    made = Inbox()
    if begun is not None:
        made.begin(begun)
    line = b"".join(frame if isinstance(frame, bytes) else encode(frame) for frame in frames)
    made.take(Framer().feed(line))
    return made


def numbers(made: Inbox) -> list[tuple[int, int]]:
    return [(event.sequence, event.missed) for event in made.fetch()]


def test_a_gap_in_the_numbers_is_an_event_missed() -> None:
    assert numbers(inbox(low_funds(1), low_funds(2), low_funds(5), b"noise\0", low_funds(6))) == [
        (1, 0), (2, 0), (5, 2), (6, 0),
    ]  # fmt: skip
    assert numbers(inbox(low_funds(12), begun=10)) == [(12, 1)]


def test_an_event_that_comes_twice_or_late_counts_once() -> None:
    assert numbers(inbox(low_funds(1), low_funds(1), low_funds(3), low_funds(2))) == [(1, 0), (3, 1)]


def test_events_that_come_before_the_device_has_said_where_the_numbers_begin_are_none_missed() -> None:
    made = inbox(low_funds(8), begun=None)
    made.begin(7)
    made.take([low_funds(9)])
    assert numbers(made) == [(8, 0), (9, 0)]


@pytest.mark.parametrize(
    "frame",
    [
        low_funds(2)._replace(version=VERSION + 1),
        low_funds(2)._replace(service=0x77),
        low_funds(2)._replace(body=b"\xa0"),
        low_funds(2)._replace(body=b"hello"),
        low_funds(2)._replace(service=CHECKIN_IS_DUE.code),
    ],
)
def test_what_cannot_be_read_or_is_of_a_later_version_is_passed_over_and_missed(frame: Frame) -> None:
    assert numbers(inbox(low_funds(1), frame, low_funds(3))) == [(1, 0), (3, 1)]
    assert numbers(inbox(low_funds(1)._replace(kind=FrameKind.REPLY))) == []


@given(st.integers(1, 3 * MOST))
def test_what_is_not_fetched_is_bounded_and_what_was_lost_is_counted(count: int) -> None:
    made = Inbox()
    made.begin(0)
    made.take(low_funds(sequence) for sequence in range(1, count + 1))
    found = numbers(made)
    assert len(found) == min(count, MOST)
    assert found[-1] == (count, 0) or count > MOST or found == [(count, 0)]
    assert sum(missed + 1 for _, missed in found) == count


def test_the_halves_of_an_event_are_put_together_and_an_answer_between_two_is_found() -> None:
    answer = message.reply(
        message.request(message.SUBSCRIBE, {"low_funds_mills": 1}, _first_id()), {"event_sequence": 0}
    )
    line = encode(low_funds(1)) + encode(answer) + encode(low_funds(2))
    caller = Client(Scripted(line[:9], line[9:50], line[50:-9], line[-9:]), PSD_SERVICES, SeededEntropy("halves"))
    caller.subscribe()
    assert [event.sequence for event in caller.events(listen=True)] == [1, 2]


def _first_id() -> bytes:
    return SeededEntropy("halves")(16)


def test_a_subscription_that_nobody_answers_leaves_nothing_behind() -> None:
    caller: Any = Client(Scripted(encode(low_funds(1))), PSD_SERVICES, SeededEntropy("nobody"))
    with pytest.raises(PesError, match="no answer"):
        caller.subscribe()
    assert caller.events(listen=True) == []
