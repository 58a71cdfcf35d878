"""The host's end of the line: one request, one answer, retried with the same request id until it comes.

A retry is safe because a device answers one request id once and for all: it gives the same bytes and debits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from pes_sim.entropy import Entropy
from pes_sim.errors import LinkError, ProtocolError, Status
from pes_sim.link import message
from pes_sim.link.frame import MAX_FRAME, VERSION, Frame, FrameKind, Framer, encode
from pes_sim.psd.fields import Values, check_all
from pes_sim.psd.services import Service

ATTEMPTS: Final = 4
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
        self.device_kind = ""

    def hello(self) -> Values:
        """Agrees on version and frame length. Raises `LinkError` when nothing answers."""
        asked: Values = {"lowest_version": VERSION, "highest_version": VERSION, "max_frame": MAX_FRAME}
        answer = self._exchange(message.HELLO, asked, self._entropy(16))
        self.device_kind = str(answer["device_kind"])
        return answer

    def call(self, name: str, request: Values, *, request_id: bytes = b"") -> Values:
        """The service's answer. Without a request id it gets a new one.

        Raises what the device refused with, `ProtocolError` for an answer that cannot be read, `LinkError` for none.
        """
        service = self._services[name]
        check_all(service.request, request)
        return self._exchange(service, request, request_id or self._entropy(16))

    def close(self) -> None:
        """Closes the port."""
        self._transport.close()

    def _exchange(self, service: Service, request: Values, request_id: bytes) -> Values:
        data = encode(message.request(service, request, request_id))
        for _ in range(ATTEMPTS):
            self._transport.write(data)
            answer = self._await(request_id)
            if answer is None:
                continue
            if answer.status != Status.OK:
                raise message.read_refusal(answer)
            values = message.read_values(answer)
            try:
                check_all(service.reply, values)
            except ValueError as problem:
                raise ProtocolError(f"{service.name}: {problem}", answer.start, answer.end, Status.BAD_BODY) from None
            return values
        raise LinkError(
            f"no answer from {self._transport.name} to {service.name} after {ATTEMPTS} attempts",
            hint="Is a meter running there, and is the line set to its speed?",
        )

    def _await(self, request_id: bytes) -> Frame | None:
        """The reply to `request_id`, or None when it does not come or the request arrived broken."""
        while data := self._transport.read():
            for item in self._framer.feed(data):
                if isinstance(item, ProtocolError) or item.kind != FrameKind.REPLY:
                    continue
                if item.request_id == request_id:
                    return item
                if item.request_id == message.NO_REQUEST and item.status in _BROKEN:
                    return None
        return None
