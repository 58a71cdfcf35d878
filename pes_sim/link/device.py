"""The device's end of the line: bytes in, bytes out. Sans-IO; the caller owns the port and passes the time.

Whatever comes in, the device answers or stays silent, and goes on. A service's refusal is an answer; bytes that break
the protocol are answered with their byte range; a defect of our own is `INTERNAL`, logged, and never ends the session.
Only a reply or an event is met with silence: it is our own echo, or another device, and two that answer each other
never end. What the device says without being asked follows the answers, in whole frames, and only where the host has
subscribed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol

from pes_sim.errors import AnswerTooLong, PesError, ProtocolError, Status, UnknownService
from pes_sim.link import events, message
from pes_sim.link.events import BY_NAME, Watch
from pes_sim.link.frame import MAX_FRAME, MIN_MAX_FRAME, OVERHEAD, VERSION, Frame, FrameKind, Framer, encode
from pes_sim.psd.fields import Values, check_all
from pes_sim.psd.services import Service

_REST_OF_AN_ANSWER: Final = 160

_OWN: Final[Mapping[int, Service]] = {service.code: service for service in message.LINK_SERVICES}
_REQUEST: Final = FrameKind.REQUEST
_NEVER_ANSWERED: Final = frozenset({FrameKind.REPLY, FrameKind.EVENT})

_log: Final = logging.getLogger(__name__)


class Endpoint(Protocol):
    """What answers behind the line: a PSD, or a meter around one."""

    kind: str
    services: Mapping[int, Service]

    def execute(self, name: str, request: Values, *, request_id: bytes, now: int) -> Values: ...


class Session(Protocol):
    """A conversation with whoever is at the other end of a line: bytes and the time in, whole frames out. A port asks
    it, from one thread at a time.
    """

    def receive(self, data: bytes, now: int) -> bytes:
        """The bytes to send back for what came in."""

    def unasked(self, now: int) -> bytes:
        """What the device has to say of itself since the last look; nothing to a host that has not subscribed. A port
        asks for it when it is poked, and sends it when all answers are sent.
        """


class DeviceSession:
    """A session with one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._framer = Framer(MAX_FRAME)
        self._max_frame = MIN_MAX_FRAME
        self._watch: Watch | None = None
        """What the host has been told, if it has subscribed."""
        self._told = 0
        """Events so far, in this session."""

    def receive(self, data: bytes, now: int) -> bytes:
        """The bytes to send back for what came in."""
        answers: list[Frame] = []
        broken = False
        for item in self._framer.feed(data):
            if isinstance(item, Frame):
                broken = False
                if item.kind not in _NEVER_ANSWERED:
                    answers.append(self._answer(item, now))
            elif not broken:
                # Of broken frames in a row the first is enough: answers to noise must not be more than the noise.
                broken = True
                answers.append(message.refusal(message.UNREADABLE, message.NO_REQUEST, item))
        line = b"".join(map(encode, answers))
        return line + self.unasked(now) if self._watch is not None and answers else line

    def unasked(self, now: int) -> bytes:
        """See `Session.unasked`."""
        if self._watch is None:
            return b""
        try:
            happened = self._watch.look(now)
        except PesError:
            return b""  # it cannot be asked now; whoever asks it something is told why
        except Exception:
            _log.exception("the device could not be asked how it is")
            return b""
        self._told = self._watch.sequence
        return b"".join(encode(message.event(BY_NAME[event.name], event.values)) for event in happened)

    def _answer(self, asked: Frame, now: int) -> Frame:
        try:
            return self._fitting(self._reply(asked, now))
        except Exception:
            _log.exception("service 0x%02X failed", asked.service)
            error = PesError("internal error of the simulator: report it")
            return message.refusal(asked.service, asked.request_id, error)

    def _reply(self, asked: Frame, now: int) -> Frame:
        try:
            return message.reply(asked, self._serve(asked, now))
        except PesError as refusal:
            return message.refusal(asked.service, asked.request_id, refusal)

    def _fitting(self, answer: Frame) -> Frame:
        length = len(answer.body) + OVERHEAD
        if length <= self._max_frame:
            return answer
        error = PesError(f"the answer has {length} bytes, the host takes {self._max_frame}", hint="Say hello first")
        error.status = Status(answer.status or Status.FRAME_TOO_LARGE)  # a refusal keeps at least its status
        return message.refusal(answer.service, answer.request_id, error)

    def _serve(self, frame: Frame, now: int) -> Values:
        if frame.version != VERSION:
            raise ProtocolError(
                f"protocol version {frame.version} is not {VERSION}", frame.start, frame.end, Status.UNSUPPORTED_VERSION
            )
        if frame.kind != _REQUEST:
            raise ProtocolError(f"a frame of kind {frame.kind} is no request", frame.start, frame.end)
        service = self._endpoint.services.get(frame.service)
        if service is None:
            return self._serve_itself(frame, now)
        values = message.read_values(frame)
        self._check_answer_fits(service, values)
        return self._endpoint.execute(service.name, values, request_id=frame.request_id, now=now)

    def _check_answer_fits(self, service: Service, request: Values) -> None:
        """Before anything is paid: an answer that no frame takes would be one that never arrives."""
        field, each = service.grows
        if not field:
            return
        items, most = request.get(field), (self._max_frame - _REST_OF_AN_ANSWER) // each
        if isinstance(items, list) and len(items) > most:
            raise AnswerTooLong(
                f"{len(items)} {field} have an answer that is longer than a frame of {self._max_frame} bytes",
                hint=f"Nothing was done for this request now. Say hello for longer frames and ask again with the same "
                f"request id; or ask for {most} at a time", field=field, most=most,
            )  # fmt: skip

    def _serve_itself(self, frame: Frame, now: int) -> Values:
        """The link's own services."""
        service = _OWN.get(frame.service)
        if service is None:
            raise UnknownService(f"a {self._endpoint.kind} has no service 0x{frame.service:02X}")
        asked = message.read_values(frame)
        check_all(service.request, asked)
        if service is message.HELLO:
            return self._hello(asked, frame)
        if service is message.SUBSCRIBE:
            events.check_can_tell(self._endpoint.kind, self._endpoint.services)
            self._watch = Watch(self._endpoint, now, asked["low_funds_mills"], self._told)
        else:
            self._watch = None
        return {"event_sequence": self._told}

    def _hello(self, asked: Values, frame: Frame) -> Values:
        lowest, highest = asked["lowest_version"], asked["highest_version"]
        if not lowest <= VERSION <= highest:
            raise ProtocolError(
                f"the host speaks versions {lowest} to {highest}, this device {VERSION}", frame.start, frame.end,
                Status.UNSUPPORTED_VERSION,
            )  # fmt: skip
        self._max_frame = max(MIN_MAX_FRAME, min(asked["max_frame"], MAX_FRAME))
        return {"version": VERSION, "max_frame": self._max_frame, "device_kind": self._endpoint.kind}
