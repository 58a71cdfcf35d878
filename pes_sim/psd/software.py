"""The device's software: the image that the self-test measures, and how a newer one is loaded.

* A package is announced by the provider's signed order with version, size and digest; the version must rise.
* Its bytes come in order, each part made durable before the answer; after a cut loading goes on where it stopped.
* It is in use once its digest was found to be the announced one. Until then the old image stays; one with another
  digest is announced again, and its bytes sent again.

The image is a stand-in. A simulator's code is the Python that runs it; nothing here measures or replaces that, and
docs/fidelity.md says so. What is real is the order, the test, the way it fails, and what the device does then.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from pes_sim.errors import BadMessage, FieldError, NothingPending, OldSoftware
from pes_sim.psd.fields import Values
from pes_sim.psd.outcome import Outcome, Tools
from pes_sim.psd.state import PsdState, Software
from pes_sim.psd.storage import Storage

IMAGE: Final = b"pes-sim PSD software 0.1.0\n"
DIGEST: Final = bytes.fromhex("3a5e4d289e419138cb1f5ee7c432ce5e8c95c1e299dfb5776c44e10c28e432a3")
"""SHA-256 of the image, as released."""
_AREA: Final = "software-"
"""How the areas' names begin. Each package has one of its own: a cut while it is made must not touch another's."""


def measured(storage: Storage, state: PsdState) -> tuple[bytes, bytes]:
    """The digest of the image as it is now, and the one that it must have."""
    used = state.software
    if not used.area:
        return hashlib.sha256(IMAGE).digest(), DIGEST
    return hashlib.sha256(_read(storage, used)).digest(), used.digest


def text(software_id: int) -> str:
    """A version for people: 0x01020300 is 1.2.3."""
    major, minor, patch, _ = software_id.to_bytes(4, "big")
    return f"{major}.{minor}.{patch}"


def begin(state: PsdState, message: Values, tools: Tools) -> Outcome:
    """Makes room for the package. The same one announced again goes on where it stopped."""
    version, size, digest = message["software_id"], message["size"], message["digest"]
    if version <= state.software.software_id:
        raise OldSoftware(
            f"the package is version {text(version)}, the device has {text(state.software.software_id)}",
            hint="A version must rise", version=version,
        )  # fmt: skip
    if size == 0 or len(digest) != hashlib.sha256().digest_size:
        raise BadMessage("the announced package has no bytes, or no SHA-256 digest")
    loading = state.loading
    announced = (loading.software_id, loading.size, loading.digest)
    there = _there(tools.storage, loading)
    spoiled = not there or (loading.offset == loading.size and not _whole(tools.storage, loading))
    if announced != (version, size, digest) or spoiled:
        for old in tools.storage.names():
            if old.startswith(_AREA) and old not in (state.software.area, loading.area):
                tools.storage.remove(old)
        area = f"{_AREA}{version:08x}-{digest[:4].hex()}.seg"
        tools.storage.create(area, size)
        loading = Software(version, size, digest, area)
    after = replace(state, loading=loading)
    return Outcome(after, {"software_id": version, "offset": loading.offset})


def data(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """The next bytes. Raises `FieldError` naming where they are wanted."""
    loading, part = state.loading, request["data"]
    if not _there(tools.storage, loading):
        raise NothingPending("no software package was announced", hint="The provider's order comes first")
    end = loading.offset + len(part)
    if request["offset"] != loading.offset or not part or end > loading.size:
        raise FieldError(
            f"{len(part)} bytes at {request['offset']} are not the next of {loading.size}",
            hint=f"Go on at {loading.offset}", field="offset", offset=loading.offset,
        )  # fmt: skip
    tools.storage.write(loading.area, loading.offset, part)
    tools.storage.sync(loading.area)
    return Outcome(replace(state, loading=replace(loading, offset=end)), {"offset": end})


def complete(state: PsdState, request: Values, tools: Tools) -> Outcome:
    """Puts the package into use."""
    loading = state.loading
    if not _there(tools.storage, loading) or loading.offset < loading.size:
        raise NothingPending(
            f"the package is not there: {loading.offset} of {loading.size} bytes", hint=f"Go on at {loading.offset}"
        )
    if not _whole(tools.storage, loading):
        raise BadMessage(
            "the package is not what was announced: its digest differs",
            hint="Announce it again; its bytes are then wanted from the first on",
        )
    after = replace(state, software=loading, loading=Software())
    return Outcome(after, {"software_id": loading.software_id})


def _whole(storage: Storage, loading: Software) -> bool:
    """Whether the bytes that are there are those that were announced."""
    return _there(storage, loading) and hashlib.sha256(_read(storage, loading)).digest() == loading.digest


def _there(storage: Storage, loading: Software) -> bool:
    """Whether there is a package, and its area: a cut may have come between the old one's end and the new one's."""
    return loading.area in storage.names() and storage.size(loading.area) == loading.size


def _read(storage: Storage, software: Software) -> bytes:
    return storage.read(software.area, 0, software.size)
