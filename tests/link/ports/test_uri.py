"""How ports are written: what is wrong in a URI is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.errors import LinkError, UsageError
from pes_sim.link.ports import SCHEMES, open_host
from pes_sim.link.ports.uri import Line, Uri, join


@pytest.mark.parametrize(
    "uri", ["", "COM3", "ttyUSB0", "udp:localhost:9", "SERIAL:/dev/ttyUSB0", ":/dev/ttyUSB0", "-", "?baud=1"]
)
def test_a_scheme_that_does_not_exist_is_refused_with_those_that_do(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_host(uri)
    assert caught.value.message == f"{uri!r} is not a port"
    for scheme in SCHEMES:
        assert f"{scheme}:" in caught.value.hint


def test_a_path_alone_is_a_serial_port() -> None:
    assert Uri.parse("/dev/ttyUSB0?baud=9600")[1:] == ("serial", "/dev/ttyUSB0", "baud=9600")
    assert Uri.parse("serial:/dev/ttyUSB0")[1:] == ("serial", "/dev/ttyUSB0", "")


@pytest.mark.parametrize(
    ("where", "host", "port"),
    [
        ("4000", "127.0.0.1", 4000),
        (":4000", "127.0.0.1", 4000),
        ("meter.example:0", "meter.example", 0),
        ("192.0.2.7:65535", "192.0.2.7", 65535),
        ("[::1]:4000", "::1", 4000),
    ],
)
def test_a_place_on_a_network_is_a_host_and_a_port_and_without_a_host_this_machine(
    where: str, host: str, port: int
) -> None:
    assert Uri.parse(f"tcp:{where}").host_and_port() == (host, port)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("", "has no port number from 0 to 65535, but ''"),
        ("meter.example", "has no port number from 0 to 65535, but 'meter.example'"),
        ("meter.example:", "has no port number from 0 to 65535, but ''"),
        ("meter.example:65536", "has no port number from 0 to 65535, but '65536'"),
        ("meter.example:-1", "has no port number from 0 to 65535, but '-1'"),
        ("meter.example:٣", "has no port number from 0 to 65535, but '٣'"),
        ("::1:4000", "has a host '::1' with colons in it"),
        ("//meter.example:4000", "has '//meter.example' where the host's name stands"),
        ("a\0b:4000", "has 'a\\x00b' where the host's name stands"),
    ],
)
@pytest.mark.parametrize("scheme", ["tcp", "rfc2217"])
def test_the_part_that_is_wrong_is_named(scheme: str, where: str, said: str) -> None:
    uri = f"{scheme}:{where}"
    with pytest.raises(UsageError) as caught:
        open_host(uri)
    assert caught.value.message == f"{uri!r} {said}"
    assert caught.value.hint


def test_a_line_is_what_most_are_unless_it_is_told_otherwise() -> None:
    assert Line.of(Uri.parse("serial:/dev/ttyUSB0")) == (115_200, "none", "1")
    assert Line.of(Uri.parse("serial:x?&stop=1.5&parity=odd&baud=300")) == (300, "odd", "1.5")


def test_an_address_of_version_6_is_written_in_brackets() -> None:
    assert join("tcp", "::1", 4000) == "tcp:[::1]:4000"
    assert join("tcp", "127.0.0.1", 4000) == "tcp:127.0.0.1:4000"


@given(st.sampled_from(["", "/", "pty:", "serial:", "memory:", "tcp:x", "rfc2217:x", "tcp://", "udp:"]), st.text())
def test_whatever_is_written_for_a_port_is_taken_apart_or_refused_with_what_is_allowed(scheme: str, rest: str) -> None:
    uri = Uri.parse(scheme + rest)
    problems: list[UsageError] = []
    for look in (uri.host_and_port, lambda: Line.of(uri), uri.parameters):
        try:
            look()
        except UsageError as problem:
            problems.append(problem)
    assert all(problem.hint for problem in problems)


@given(st.sampled_from(["", "pty:", "serial:", "memory:", "serial:/dev/", "tcp:x"]), st.text())
def test_what_names_no_port_opens_none(scheme: str, rest: str) -> None:
    with pytest.raises((UsageError, LinkError)):
        open_host(f"{scheme}\0{rest}")
