"""The other end: finds the bench of a running meter by its directory, and uses its controls. Standard library only."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from pes_sim.bench import place
from pes_sim.bench.actions import BY_NAME
from pes_sim.errors import LinkError, PesError, from_wire
from pes_sim.psd.owned import quoted

_PATIENCE: Final = 120
"""Seconds that an answer may take: a snapshot of a meter of years is copied in less."""


class BenchClient:
    """The bench of the meter that `pes-sim meter run` runs in `directory`.

    Raises `LinkError` when none is running, or it stops; `HostileDirectory` when others may have written the file that
    says where it is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._place = place.read(directory)

    def perform(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The control of that name; gives its answer (`ANSWERS`). Raises what the bench refuses with."""
        action = BY_NAME[name]
        body = None if action.reads else json.dumps({k: v for k, v in arguments.items() if v is not None})
        connection, response = self._ask(action.verb, action.path, body, _PATIENCE)
        try:
            return self._understood(response.status, self._read(response))
        finally:
            connection.close()

    def events(self, after: int = 0, count: int = 0) -> Iterator[dict[str, Any]]:
        """The events of a higher number than `after`, as they come, `count` of them (0: until the meter stops)."""
        query = urlencode({"after": after, "count": count})
        connection, response = self._ask("GET", f"{BY_NAME['events'].path}?{query}", None, None)
        try:
            if response.status != 200:
                self._understood(response.status, self._read(response))
            while line := self._line(response):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        finally:
            connection.close()

    def _ask(
        self, verb: str, path: str, body: str | None, patience: int | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(place.LOOPBACK, self._place.port, timeout=patience)
        headers = {"Authorization": f"Bearer {self._place.token}", "Content-Type": "application/json"}
        try:
            connection.request(verb, path, body, headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            raise self._gone(problem) from None

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as problem:
            raise self._gone(problem) from None

    def _line(self, response: http.client.HTTPResponse) -> bytes:
        """The next one; empty at the end, also where the meter was killed."""
        try:
            return response.readline()
        except (OSError, http.client.HTTPException):
            return b""

    def _gone(self, problem: Exception) -> LinkError:
        return LinkError(
            f"the meter in {self._directory} does not answer: {problem or type(problem).__name__}",
            hint=f"Is process {self._place.pid} still running? "
            f"Else start it: pes-sim meter run {quoted(self._directory)}",
        )

    def _understood(self, code: int, body: bytes) -> dict[str, Any]:
        try:
            document = json.loads(body)
            if code == 200:
                return dict(document)
            refusal = from_wire(document["status"], document["message"], document["hint"], document["detail"])
        except (ValueError, LookupError, TypeError):
            raise PesError(f"the bench answers with what is none of its answers (HTTP {code})") from None
        raise refusal
