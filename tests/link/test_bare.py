"""A bare PSD behind a line: every service of the PSD's, and one thread at a time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pes_sim.clock import VirtualClock
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import NotAuthenticated, UnknownService
from pes_sim.link import message
from pes_sim.link.bare import BarePsd
from pes_sim.link.client import Client
from pes_sim.link.device import DeviceSession
from pes_sim.link.frame import Frame, Framer, encode
from pes_sim.link.ports.memory import MemoryTransport
from pes_sim.meter.services import BY_NAME as METER_SERVICES
from pes_sim.psd.services import BY_NAME
from tests.link.fakes import is_free
from tests.rig import NOON, Rig, operational, piece


def host(rig: Rig) -> Client:
    return Client(MemoryTransport(BarePsd(rig.psd), VirtualClock(rig.now)), BY_NAME, SystemEntropy())


def test_what_answers_says_that_it_is_a_psd_and_has_all_its_services() -> None:
    rig = operational()
    port = host(rig)
    assert port.hello()["device_kind"] == "psd"
    assert BarePsd.services == {service.code: service for service in BY_NAME.values()}
    answer = port.call("dispense", piece())
    assert rig.ask("read_log", first_record=answer["record"])["entries"] != []
    rig.power_on(log_in=False)
    with pytest.raises(NotAuthenticated):
        host(rig).call("dispense", piece())


def test_a_service_of_the_meters_is_unknown_to_it_and_its_name_is_in_the_refusal() -> None:
    session = DeviceSession(BarePsd(Rig().psd))
    line = encode(message.request(METER_SERVICES["quote"], {}, b"q" * 16))
    (refusal,) = Framer().feed(session.receive(line, NOON))
    assert isinstance(refusal, Frame)
    error = message.read_refusal(refusal)
    assert isinstance(error, UnknownService)
    assert "a psd has no service 0x61" in error.message


@pytest.mark.parametrize("shared", [True, False])
def test_it_serves_one_thread_at_a_time(shared: bool) -> None:
    turn = threading.RLock()
    free: list[bool] = []

    class Psd:
        def execute(self, *_: Any, **__: Any) -> dict[str, Any]:
            free.append(is_free(bare._turn))
            return {}

    bare = BarePsd(Psd(), turn if shared else None)  # type: ignore[arg-type]
    bare.execute("get_info", {}, request_id=b"", now=NOON)
    assert free == [False]
    assert is_free(bare._turn)
    assert (bare._turn is turn) is shared
