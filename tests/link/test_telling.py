"""Frames in words: the exact lines, and that nothing from a device reaches a terminal as it came."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.cli.monitoring import _SERVICES
from pes_sim.clock import parse_iso
from pes_sim.errors import Locked
from pes_sim.link import message
from pes_sim.link.events import LOW_FUNDS
from pes_sim.link.frame import Frame, FrameKind, encode
from pes_sim.link.showing import Shown, Splitter, harmless, show
from pes_sim.link.telling import Names, Seen, document, line
from pes_sim.meter.services import OWN
from pes_sim.psd import cbor
from pes_sim.psd.services import BY_NAME, SERVICES

ID: Final = bytes.fromhex("0123456789abcdef0123456789abcdef")
NOW: Final = parse_iso("2026-01-05T15:00:00Z") + 42
NAMES: Final = Names.of(_SERVICES)
KNOWN: Final = harmless(_SERVICES)
WHEN: Final = "2026-01-05T15:00:00.000042Z"
REQUEST: Final = message.request(
    BY_NAME["dispense"],
    {"postage_mills": 740, "mailing_date": "2026-01-05", "mail_class": "first_class_letter", "weight": 100,
     "destination": "", "reference": b"100"}, ID,
)  # fmt: skip
REPLY: Final = message.reply(REQUEST, {"indicium": bytes(range(89)), "record": 7, "lock_reasons": ["a b", "c"]})
AUTHENTICATE: Final = message.request(BY_NAME["authenticate"], {"role": "provider", "proof": b"0123456789ABCDEF"}, ID)


def seen(frame: Frame, *, to_device: bool = True, **more: Any) -> Seen:
    return Seen(NOW, to_device, show(encode(frame)[1:-1], KNOWN, to_device=to_device), **more)


def test_no_code_is_one_service_here_and_another_there() -> None:
    codes = [service.code for service in (*SERVICES, *OWN, *message.LINK_SERVICES)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("frame", "to_device", "text"),
    [
        (REQUEST, True, "> request dispense id=01234567.. postage_mills=740 mailing_date=2026-01-05 "
         'mail_class=first_class_letter weight=100 destination="" reference=313030'),
        (REPLY, False, '< reply   dispense OK id=01234567.. lock_reasons=["a b", c] '
         "indicium=000102030405060708090a0b.. (89 bytes) record=7"),
        (message.refusal(0x20, ID, Locked("locked: it is due", hint="Check in")), False,
         '< reply   dispense LOCKED_BY_PROVIDER id=01234567.. message="locked: it is due" hint="Check in" detail={}'),
        (message.event(LOW_FUNDS, {"event_sequence": 1, "descending_mills": 5}), False,
         "< event   low_funds descending_mills=5 event_sequence=1"),
        (AUTHENTICATE, True, "> request authenticate id=01234567.. role=provider proof=************ (16 bytes) "
         "(blanked: proof; the CRC is made anew)"),
        (Frame(FrameKind.REQUEST, 0xEE, 0x99, ID, b"\x01", version=3), True,
         "> request 0xEE 0x99 frame_version=3 id=01234567.. body=* (1 bytes) "
         "(a body that cannot be read is blanked; the CRC is made anew)"),
        (Frame(9, 0x20, 0, ID, cbor.dump({60_000: [b"x", 2]})), False,
         "< kind 9  dispense id=01234567.. field 60000=[78, 2]"),
        (Frame(FrameKind.EVENT, 0xEE, 0, message.NO_REQUEST, cbor.dump({})), False, "< event   0xEE"),
    ],
)  # fmt: skip
def test_a_frame_is_one_line(frame: Frame, to_device: bool, text: str) -> None:
    assert line(seen(frame, to_device=to_device), NAMES) == f"{WHEN} {text}"


def test_broken_bytes_are_told_with_their_range_and_why() -> None:
    splitter = Splitter(KNOWN, to_device=False)
    (shown,) = splitter.feed(b"\0\0rubbish\0")
    assert line(Seen(NOW, False, shown, *splitter.span), NAMES) == (
        f"{WHEN} < broken  bytes 2 to 9 (7): not COBS: 72756262697368"
    )
    assert line(Seen(NOW, False, shown), NAMES) == f"{WHEN} < broken  bytes (7): not COBS: 72756262697368"
    assert line(Seen(NOW, False, Shown(b"")), NAMES) == f"{WHEN} < broken  bytes (0): nothing is in it: "
    (shown,) = Splitter(KNOWN, to_device=True).feed(b"rubbish\0")
    assert line(Seen(NOW, True, shown, 0, 7, lost=3), NAMES) == (
        f"{WHEN} > broken  bytes 0 to 7 (7): not COBS; 7 bytes, blanked since they may be a piece of a secret: "
        "******* (7 bytes) (3 packets are missing before it)"
    )


def test_where_something_stood_is_counted_through_whatever_comes() -> None:
    splitter = Splitter(KNOWN, to_device=False, position=100)
    pieces = [(splitter.span, shown.data) for shown in splitter.feed(b"ab\0\0" + b"c" * 9000 + b"\0d\0")]
    assert pieces[0] == ((100, 102), b"ab")
    assert pieces[-1] == ((9105, 9106), b"d")
    assert [span for span, _ in pieces[1:-1]] == [
        (104, 4217), (4217, 8330), (8330, 9104),
    ]  # fmt: skip


def test_a_frame_is_one_object_with_all_of_its_bytes() -> None:
    assert document(seen(REPLY, to_device=False, start=3, end=150), NAMES) == {
        "time_us": NOW, "time": WHEN, "direction": "to-host", "kind": "reply", "service": "dispense", "code": 0x20,
        "status": "OK", "request_id": ID.hex(), "start": 3, "end": 150,
        "fields": {"lock_reasons": ["a b", "c"], "indicium": bytes(range(89)).hex(), "record": 7},
    }  # fmt: skip
    told = document(seen(AUTHENTICATE, lost=1), NAMES)
    assert (told["fields"]["proof"], told["lost"]) == ((b"*" * 16).hex(), 1)
    assert told["remark"] == "blanked: proof; the CRC is made anew"
    assert document(Seen(NOW, False, Shown(b"ab", "no frame")), NAMES) == {
        "time_us": NOW, "time": WHEN, "direction": "to-host", "kind": "broken", "error": "no frame", "bytes": "6162",
    }  # fmt: skip
    refused = message.refusal(0x20, ID, Locked("no", hours=3, cleared_by=["check_in"]))
    detail = {"hours": 3, "cleared_by": ["check_in"]}
    assert document(seen(refused, to_device=False), NAMES)["fields"]["detail"] == detail
    assert document(seen(refused._replace(version=2), to_device=False), NAMES)["frame_version"] == 2


@given(
    st.dictionaries(
        st.integers(0, 300),
        st.text(max_size=20) | st.binary(max_size=20) | st.none() | st.floats() | st.lists(st.text()), max_size=4,
    ), st.sampled_from([0, 1, 2, 3, 4]), st.integers(0, 255), st.booleans(),
)  # fmt: skip
def test_nothing_that_a_terminal_could_obey_comes_out(
    body: dict[int, Any], kind: int, status: int, to_device: bool
) -> None:
    """Whatever a device says: one line of printable ASCII, and JSON that can be read."""
    frame = Frame(kind, 0x20, status, ID, cbor.dump(body))
    told = seen(frame, to_device=to_device)
    assert all(" " <= char <= "~" for char in line(told, NAMES))
    json.loads(json.dumps(document(told, NAMES)))
