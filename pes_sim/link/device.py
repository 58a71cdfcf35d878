"""The device's end of the line: bytes in, bytes out. Sans-IO; the caller owns the port and passes the time.

Whatever comes in, the device answers or stays silent, and goes on. A service's refusal is an answer; bytes that break
the protocol are answered with their byte range; a defect of our own is `INTERNAL`, logged, and never ends the session.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol

from pes_sim.errors import PesError, ProtocolError, Status, UnknownService
from pes_sim.link import message
from pes_sim.link.frame import MAX_FRAME, MIN_MAX_FRAME, OVERHEAD, VERSION, Frame, FrameKind, Framer, encode
from pes_sim.psd.fields import Values, check_all
from pes_sim.psd.services import Service

_log: Final = logging.getLogger(__name__)


class Endpoint(Protocol):
    """What answers behind the line: a PSD, or a meter around one."""

    kind: str
    services: Mapping[int, Service]

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values: ...


class DeviceSession:
    """One host's conversation with one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._framer = Framer(MAX_FRAME)
        self._max_frame = MIN_MAX_FRAME

    def receive(self, data: bytes, now: int) -> bytes:
        """The bytes to send back for what came in."""
        return b"".join(encode(self._answer(item, now)) for item in self._framer.feed(data))

    def _answer(self, item: Frame | ProtocolError, now: int) -> Frame:
        if isinstance(item, ProtocolError):
            return message.refusal(message.UNREADABLE, message.NO_REQUEST, item)
        try:
            answer = message.reply(item, self._serve(item, now))
        except PesError as refusal:
            return message.refusal(item.service, item.request_id, refusal)
        except Exception:
            _log.exception("service 0x%02X failed", item.service)
            return message.refusal(item.service, item.request_id, PesError("internal error of the simulator: report it"))
        length = len(answer.body) + OVERHEAD
        if length > self._max_frame:
            error = PesError(f"the answer has {length} bytes, the host takes {self._max_frame}", hint="Say hello first")
            error.status = Status.FRAME_TOO_LARGE
            return message.refusal(item.service, item.request_id, error)
        return answer

    def _serve(self, frame: Frame, now: int) -> Values:
        if frame.version != VERSION:
            raise ProtocolError(
                f"protocol version {frame.version} is not {VERSION}", frame.start, frame.end, Status.UNSUPPORTED_VERSION
            )
        if frame.kind != FrameKind.REQUEST:
            raise ProtocolError(f"a frame of kind {frame.kind} is no request", frame.start, frame.end)
        if frame.service == message.HELLO.code:
            return self._hello(message.read_values(frame), frame)
        service = self._endpoint.services.get(frame.service)
        if service is None:
            raise UnknownService(f"a {self._endpoint.kind} has no service 0x{frame.service:02X}")
        return self._endpoint.execute(
            service.name, message.read_values(frame), request_id=frame.request_id, now=now
        )

    def _hello(self, asked: Values, frame: Frame) -> Values:
        check_all(message.HELLO.request, asked)
        if not asked["lowest_version"] <= VERSION <= asked["highest_version"]:
            raise ProtocolError(
                f"the host speaks versions {asked['lowest_version']} to {asked['highest_version']}, this device {VERSION}",
                frame.start, frame.end, Status.UNSUPPORTED_VERSION,
            )  # fmt: skip
        self._max_frame = max(MIN_MAX_FRAME, min(asked["max_frame"], MAX_FRAME))
        return {"version": VERSION, "max_frame": self._max_frame, "device_kind": self._endpoint.kind}
