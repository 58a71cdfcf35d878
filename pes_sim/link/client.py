"""The host's end of the line: one request, one answer, retried with the same request id until it comes.

A retry is safe because a device answers one request id once and for all: it gives the same bytes and debits nothing.
Events that arrive meanwhile are kept apart, so many at most, for whoever has subscribed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from pes_sim.entropy import Entropy
from pes_sim.errors import AnswerTooLong, LinkError, ProtocolError, Status, UnknownService
from pes_sim.link import message
from pes_sim.link.events import Event
from pes_sim.link.frame import MAX_FRAME, OVERHEAD, VERSION, Frame, FrameKind, Framer, encode
from pes_sim.link.inbox import Inbox
from pes_sim.psd.fields import Values, check_all
from pes_sim.psd.services import Service

ATTEMPTS: Final = 4
BYTES_PER_ATTEMPT: Final = 16 * MAX_FRAME
"""So much noise, or so many late answers, are read in wait for one answer: what never falls silent is no meter."""
_REPLY, _OK = FrameKind.REPLY, Status.OK
_BROKEN: Final = frozenset({Status.BAD_FRAME, Status.FRAME_TOO_LARGE})


class Transport(Protocol):
    """A port as the host sees it. `read` gives b"" when nothing came within the port's time-out."""

    name: str

    def read(self) -> bytes: ...

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class Client:
    """Calls services by name over a transport. `services` is the table of what is at the other end."""

    def __init__(self, transport: Transport, services: Mapping[str, Service], entropy: Entropy) -> None:
        self._transport = transport
        self._services = services
        self._entropy = entropy
        self._framer = Framer(MAX_FRAME)
        self._inbox: Inbox | None = None
        self._strange = 0
        """Bytes that came in wait for the latest answer, and were not it."""
        self.device_kind = ""

    def hello(self) -> Values:
        """Agrees on version and frame length. Raises `LinkError` when nothing answers."""
        asked: Values = {"lowest_version": VERSION, "highest_version": VERSION, "max_frame": MAX_FRAME}
        answer = self._exchange(message.HELLO, asked, self._entropy(16))
        if answer["version"] != VERSION:
            raise LinkError(
                f"{self._transport.name} answers in protocol version {answer['version']}, not {VERSION}",
                hint="Update the older of the two",
            )
        self.device_kind = str(answer["device_kind"])
        return answer

    def call(self, name: str, request: Values, *, request_id: bytes = b"") -> Values:
        """The service's answer. Without a request id it gets a new one.

        Raises what the device refused with, `ProtocolError` for an answer that cannot be read, `LinkError` for none.
        """
        service = self._services.get(name)
        if service is None:
            raise UnknownService(f"there is no service {name!r} to call")
        check_all(service.request, request, service.optional)
        request_id = request_id or self._entropy(16)
        try:
            return self._exchange(service, request, request_id)
        except AnswerTooLong:
            if not self.device_kind:
                raise
            self.hello()  # a device that was without power meanwhile does not remember the first
            return self._exchange(service, request, request_id)

    def subscribe(self, low_funds_mills: int = 0) -> None:
        """Has the device tell its events from now on; funds are low below `low_funds_mills`, 0 for never.

        A power cut ends it, at the device. Raises `UnknownService` where the device tells none.
        """
        self._inbox = Inbox()
        try:
            answer = self._exchange(message.SUBSCRIBE, {"low_funds_mills": low_funds_mills}, self._entropy(16))
        except BaseException:
            self._inbox = None
            raise
        self._inbox.begin(answer["event_sequence"])

    def unsubscribe(self) -> None:
        """Has the device tell no more. What it told before can still be fetched by `events`."""
        self._exchange(message.UNSUBSCRIBE, {}, self._entropy(16))

    def events(self, *, listen: bool = False) -> list[Event]:
        """What the device told since the last time, each once. With `listen` the line is read once for more, until
        something comes or the port's time is out.
        """
        if self._inbox is None:
            return []
        if listen:
            self._inbox.take(self._framer.feed(self._transport.read()))
        return self._inbox.fetch()

    def send_raw(self, data: bytes, expect: int = 1) -> list[Frame | ProtocolError]:
        """Sends just these bytes, once, and gives what comes back: frames, and what could not be read as one.

        For who tests a device, with `forge.forge`. Returns with `expect` items, or when the line falls silent; 0 waits
        for the silence. The error's byte ranges count from the first byte that this client ever received.
        """
        self._transport.write(data)
        found: list[Frame | ProtocolError] = []
        received = 0
        while received < BYTES_PER_ATTEMPT and (came := self._transport.read()):
            received += len(came)
            found += self._framer.feed(came)
            if 0 < expect <= len(found):
                break
        return found

    def close(self) -> None:
        """Closes the port."""
        self._transport.close()

    def _exchange(self, service: Service, request: Values, request_id: bytes) -> Values:
        asked = message.request(service, request, request_id)
        data = encode(asked)
        self._strange = 0
        for _ in range(ATTEMPTS):
            self._transport.write(data)
            answer = self._await(asked, data)
            if answer is None:
                continue
            if answer.version != VERSION:
                raise ProtocolError(
                    f"an answer in protocol version {answer.version}, not {VERSION}", answer.start, answer.end,
                    Status.UNSUPPORTED_VERSION,
                )  # fmt: skip
            if answer.status != _OK:
                raise message.read_refusal(answer)
            values = message.read_values(answer)
            try:
                check_all(service.reply, values)
            except ValueError as problem:
                raise ProtocolError(f"{service.name}: {problem}", answer.start, answer.end, Status.BAD_BODY) from None
            return values
        raise LinkError(
            f"no answer from {self._transport.name} to {service.name} after {ATTEMPTS} attempts"
            + (f", though {self._strange} bytes came" if self._strange else ""),
            hint="Is a meter running there, and is the line set to its speed?"
            + (" What came may be left from another program: try again" if self._strange else ""),
        )

    def _await(self, asked: Frame, data: bytes) -> Frame | None:
        """The reply to `asked`, sent as `data`; None when the line falls silent before it, or never does."""
        expected = (_REPLY, asked.service, asked.request_id)
        received, repeated = 0, False
        while received < BYTES_PER_ATTEMPT and (came := self._transport.read()):
            received += len(came)
            broken = False
            items = self._framer.feed(came)
            if self._inbox is not None:
                self._inbox.take(items)
            for item in items:
                if isinstance(item, Frame):
                    if (item.kind, item.service, item.request_id) == expected:
                        return item
                    broken = broken or _reports_a_broken_frame(item)
                else:
                    broken = broken or _was_a_frame(item)
            # Something came broken, there or here. That may have been our request, or its answer, or noise long before
            # it; so it is sent again at once, but not for every such report.
            if broken and not repeated:
                self._transport.write(data)
                repeated = True
        self._strange += received
        return None


def _was_a_frame(problem: ProtocolError) -> bool:
    """Whether it may have been the answer: what is shorter than any frame is noise."""
    return problem.detail["end"] - problem.detail["start"] > OVERHEAD  # type: ignore[operator]  # both are integers


def _reports_a_broken_frame(reply: Frame) -> bool:
    return reply.request_id == message.NO_REQUEST and reply.status in _BROKEN
