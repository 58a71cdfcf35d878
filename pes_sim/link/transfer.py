"""What is too long for one frame goes over in parts: a PSD's log to the host, a software package to the PSD.

* The device keeps the place, durable, so a transfer that was cut off goes on where it stopped, whoever goes on with it.
* Each part has a number that the device checks (a record's, an offset): none is taken twice, and none left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from pes_sim.errors import FieldError
from pes_sim.psd.fields import BY_NAME, Values, check_all, unpack
from pes_sim.psd.services import LOG_ENTRY

PART: Final = BY_NAME["data"].limit
"""Bytes of a package in one request."""


class Calls(Protocol):
    """A client, or whatever else carries a request to a device and its answer back."""

    def call(self, name: str, request: Values, *, request_id: bytes = b"") -> Values: ...


def read_log(device: Calls, first_record: int = 1) -> Iterator[Values]:
    """The log of pieces from a record on, to its end; of each the fields of docs/protocol.md (`read_log`).

    Raises `FieldError` for a device whose records do not rise. Who was cut off goes on at the record after the last.
    """
    following = first_record
    while following:
        answer = device.call("read_log", {"first_record": following})
        for packed in answer["entries"]:
            entry = unpack(packed)
            check_all(LOG_ENTRY, entry)
            if entry["record"] < following:
                raise FieldError("the device goes round in a circle: record does not rise", field="record")
            following = entry["record"] + 1
            yield entry
        next_record = answer["next_record"]
        if 0 < next_record < following or (next_record and not answer["entries"]):
            raise FieldError("the device goes round in a circle: next_record does not rise", field="next_record")
        following = next_record


def send_package(device: Calls, package: bytes, order: bytes = b"") -> int:
    """Sends a software package and puts it into use; gives its version. Needs the session of the customer's meter.

    `order` is the provider's, for this package. Without one the package that was announced before goes on where it
    stopped. Raises `NothingPending` where none was, also because it is in use already: `get_info` says the version in
    use. Raises `BadMessage` where the bytes are not those that were announced, `FieldError` where there are fewer.
    """
    if order:
        offset = device.call("software_begin", {"message": order})["offset"]
    else:
        offset = device.call("get_status", {})["offset"]
    while offset < len(package):
        offset = _send_part(device, offset, package[offset : offset + PART])
    if offset > len(package):
        raise FieldError(
            f"the device has {offset} bytes of a package already, and this one has {len(package)}",
            hint="Another package is under way: send that one, or have this one announced", offset=offset,
        )  # fmt: skip
    return int(device.call("software_complete", {})["software_id"])


def _send_part(device: Calls, offset: int, part: bytes) -> int:
    """Sends one part; gives where the next one is wanted."""
    try:
        reached = device.call("software_data", {"offset": offset, "data": part})["offset"]
    except FieldError as refusal:
        # An earlier sender came further than was known here, as when the answer to his last part was lost.
        wanted = refusal.detail.get("offset")
        if not isinstance(wanted, int) or wanted == offset:
            raise
        reached = wanted
    if reached <= offset:
        raise FieldError("the device goes round in a circle: offset does not rise", field="offset")
    return int(reached)
