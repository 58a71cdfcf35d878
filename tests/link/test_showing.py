"""What a trace shows of a line: each frame as it stood there, and of a secret not a bit."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.link import message
from pes_sim.link.forge import STUFFING_FAULTS, forge
from pes_sim.link.frame import Frame, FrameKind, Framer, encode
from pes_sim.link.showing import LONGEST, Shown, Splitter, harmless, show
from pes_sim.meter.services import SERVICES as METER_SERVICES
from pes_sim.psd.fields import FIELDS, Values
from pes_sim.psd.services import BY_NAME, SERVICES
from tests.link.fakes import ID

SECRET: Final = bytes(range(0x41, 0x51))
KEY: Final = bytes(range(0x80, 0xA0))
AUTHENTICATE: Final = message.request(BY_NAME["authenticate"], {"role": "customer's meter", "proof": KEY}, ID)
INITIALIZE: Final = message.request(
    BY_NAME["initialize"],
    {"psd_serial": 1, "trust_anchor": b"DER", "user_secret": SECRET, "transport_key": KEY, "profile": "FIPS 140-2",
     "regime": "IMI", "curve": "P-256"}, ID,
)  # fmt: skip
CHALLENGE: Final = message.request(BY_NAME["challenge"], {}, ID)
STATUS: Final = encode(message.request(BY_NAME["get_status"], {}, ID))
KNOWN: Final = harmless(SERVICES)


def runs(splitter: Splitter, *pieces: bytes) -> list[Shown]:
    return [shown for piece in pieces for shown in splitter.feed(piece)]


def seen(line: bytes, *, to_device: bool = True) -> list[Shown]:
    splitter = Splitter(KNOWN, to_device=to_device)
    return [*splitter.feed(line), *splitter.end()]


def leaks(shown: list[Shown]) -> bool:
    """Whether four bytes of a secret in a row stand anywhere."""
    everything = b"".join(one.data + one.remark.encode() for one in shown)
    return any(s[at : at + 4] in everything for s in (SECRET, KEY) for at in range(len(s) - 3))


def frame(shown: Shown) -> Frame:
    (item,) = Framer().feed(shown.data + b"\0")
    assert isinstance(item, Frame)
    return item


# The table


def test_what_is_secret_was_decided_and_no_answer_has_any_of_it() -> None:
    secrets = {field for field in FIELDS if field.secret}
    assert {field.name for field in secrets} == {"user_secret", "proof", "transport_key"}
    for service in (*SERVICES, *METER_SERVICES, *message.LINK_SERVICES):
        assert not secrets & set(service.reply)
    assert {s.name for s in SERVICES if secrets & set(s.request)} == {"initialize", "authenticate"}


# Frames


def test_frames_are_shown_as_they_stood_without_their_delimiters_however_they_arrive() -> None:
    line = STATUS + bytes(3) + STATUS
    once = Shown(STATUS[1:-1])
    assert runs(Splitter(KNOWN, to_device=True), line) == [once, once]
    assert runs(Splitter(KNOWN, to_device=True), *(bytes([byte]) for byte in line)) == [once, once]


@pytest.mark.parametrize(
    ("asked", "secrets"), [(AUTHENTICATE, {"proof": KEY}), (INITIALIZE, {"user_secret": SECRET, "transport_key": KEY})]
)
@pytest.mark.parametrize("to_device", [True, False])
def test_a_secret_is_blanked_and_nothing_else_is_and_the_crc_is_made_anew(
    asked: Frame, secrets: Values, to_device: bool
) -> None:
    (shown,) = seen(encode(asked), to_device=to_device)
    assert not leaks([shown])
    assert shown.remark == f"blanked: {', '.join(secrets)}; the CRC is made anew"
    blanked = {name: b"*" * len(secret) for name, secret in secrets.items()}
    assert message.read_values(frame(shown)) == message.read_values(asked) | blanked
    assert frame(shown)._replace(body=b"", start=0, end=0) == asked._replace(body=b"")


@pytest.mark.parametrize("value", [SECRET.decode(), [SECRET], [SECRET.decode()], {1: SECRET}, 1])
def test_a_secret_of_another_form_than_the_fields_is_blanked_too(value: object) -> None:
    from pes_sim.psd.cbor import dump

    (shown,) = seen(encode(AUTHENTICATE._replace(body=dump({56: value}))))
    assert not leaks([shown])
    assert shown.remark.startswith("blanked: proof")
    assert len(frame(shown).body) > 0


def test_a_body_that_cannot_be_read_is_blanked_in_a_request_and_shown_in_an_answer() -> None:
    odd = AUTHENTICATE._replace(body=b"\xff" + SECRET)
    (shown,) = seen(encode(odd))
    assert frame(shown).body == b"*" * 17
    assert shown.remark == "a body that cannot be read is blanked; the CRC is made anew"
    reply = odd._replace(kind=FrameKind.REPLY)
    assert seen(encode(reply)) == [Shown(encode(reply)[1:-1])]
    assert seen(encode(odd), to_device=False) == [Shown(encode(odd)[1:-1])]


# Bytes that are no frame


def test_a_request_that_asks_for_no_secret_is_shown_though_its_crc_is_wrong() -> None:
    line = forge(CHALLENGE, crc=7)
    (shown,) = seen(line)
    assert shown == Shown(line[1:-1], "the CRC does not match (bytes 0 to 26)")
    (shown,) = Splitter(harmless(()), to_device=True).feed(line)
    assert shown.data != line[1:-1]  # of a device that is not known, any service may ask for one


@pytest.mark.parametrize(
    "line",
    [
        forge(AUTHENTICATE, crc=7),
        forge(AUTHENTICATE, service=BY_NAME["challenge"].code, crc=7),
        forge(CHALLENGE, body=b"\xa1\x18\x3a\x58\x20" + KEY, crc=7),
        forge(CHALLENGE, body=b"\x58\x20" + KEY, crc=7),
        forge(CHALLENGE, body=KEY, crc=7),
        forge(message.request(BY_NAME["reprint"], {"original": 1}, ID), body=b"\xa1\x18\x40\x58\x20" + KEY, crc=7),
        forge(AUTHENTICATE, body=KEY, crc=b""),
    ],
)
def test_of_any_other_that_begins_as_a_request_does_the_header_is_shown(line: bytes) -> None:
    (shown,) = seen(line)
    assert not leaks([shown])
    assert "all but the header is blanked" in shown.remark
    assert len(shown.data) == len(line) - 2
    (error,) = Framer().feed(shown.data + b"\0")
    assert not isinstance(error, Frame)
    assert ID in shown.data


@pytest.mark.parametrize("kind", [FrameKind.REPLY, 0, 9])
@pytest.mark.parametrize("change", [{"version": 2}, {"status": 1}, {"kind": 2}, {"kind": 0}])
def test_of_what_begins_otherwise_only_the_length_is_shown(kind: int, change: dict[str, int]) -> None:
    overrides: dict[str, int] = {"kind": kind} | change
    line = forge(AUTHENTICATE, version=overrides.get("version"), kind=overrides["kind"], crc=7)
    (shown,) = seen(line)
    assert shown.data == b"*" * (len(line) - 2)
    assert f"; {len(line) - 2} bytes, blanked" in shown.remark


@pytest.mark.parametrize("line", [b"login\0", b"\x07\0", KEY + b"\0", KEY])
def test_noise_from_the_host_is_blanked_and_from_the_device_is_shown(line: bytes) -> None:
    run = line.rstrip(b"\0")
    (shown,) = seen(line)
    assert shown.data == b"*" * len(run)
    (shown,) = seen(line, to_device=False)
    assert shown.data == run
    assert shown.remark != ""


def test_what_is_longer_than_any_frame_is_shown_in_pieces_and_the_next_frame_as_it_is() -> None:
    splitter = Splitter(KNOWN, to_device=False)
    found = runs(splitter, b"x" * 9000, b"y" * 100, b"\0" + STATUS)
    assert b"".join(shown.data for shown in found[:-1]) == b"x" * 9000 + b"y" * 100
    assert max(len(shown.data) for shown in found) == LONGEST
    assert {shown.remark for shown in found[:-1]} == {"no frame"}
    assert found[-1] == Shown(STATUS[1:-1])
    assert runs(splitter, STATUS) == [Shown(STATUS[1:-1])]


def test_a_long_run_in_one_piece_with_its_end_is_no_frame_either() -> None:
    assert [len(shown.data) for shown in seen(b"x" * (LONGEST + 1) + b"\0")] == [LONGEST, 1]
    (shown,) = seen(b"x" * LONGEST + b"\0", to_device=False)
    assert shown.remark != "no frame"


def test_memory_stays_bounded() -> None:
    splitter = Splitter(KNOWN, to_device=True)
    for _ in range(100):
        runs(splitter, b"x" * 1000)
        assert len(splitter._rest) <= LONGEST


@given(st.data())
def test_whatever_becomes_of_a_secret_on_the_line_it_does_not_show(data: st.DataObject) -> None:
    """Bits flipped, bytes lost, cut, doubled, run into others: as long as the host sent it."""
    line = bytearray(encode(data.draw(st.sampled_from([AUTHENTICATE, INITIALIZE]))))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(line) - 1))
        fault = data.draw(st.sampled_from(["flip", "lose", "zero", "double"]))
        if fault == "flip":
            line[at] ^= 1 << data.draw(st.integers(0, 7))
        elif fault == "zero":
            line[at] = 0
        else:
            line[at : at + 1] = b"" if fault == "lose" else bytes([line[at]]) * 2
    noisy = STATUS + bytes(line) + STATUS
    assert not leaks(seen(noisy))
    assert not leaks(seen(noisy + STATUS * 3))


@pytest.mark.parametrize("fault", STUFFING_FAULTS)
def test_a_secret_in_a_frame_that_is_stuffed_badly_does_not_show(fault: str) -> None:
    assert not leaks(seen(forge(INITIALIZE, stuffing=STUFFING_FAULTS[fault])))


def test_one_run_is_shown_as_the_splitter_shows_it() -> None:
    assert show(STATUS[1:-1], KNOWN, to_device=True) == Shown(STATUS[1:-1])
