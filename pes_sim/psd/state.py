"""What the PSD remembers besides its registers, as one immutable value, and its form in a state record.

Registers, time and the log's hash chain change with every piece; they stand beside it in the record (`Snapshot`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from pes_sim.errors import IntegrityError
from pes_sim.psd.lifecycle import State
from pes_sim.psd.registers import Registers

FORMAT: Final = 1
"""Version of the record's form. A newer program reads an older one, or says why not."""


@dataclass(frozen=True, slots=True)
class PsdState:
    """Instants in microseconds since 1970-01-01 UTC; certificates in DER; amounts in mills. Empty means: not yet."""

    lifecycle: State = State.UNINITIALIZED
    fault: str = ""
    psd_serial: int = 0
    trust_anchor: bytes = b""
    wrapped_key: bytes = b""
    authorization_nonce: bytes = b""
    licensing_zip: str = ""
    customer: str = ""
    utc_offset_minutes: int = 0
    psd_certificate: bytes = b""
    certificate_serial: int = 0
    provider_certificate: bytes = b""
    provider_point: bytes = b""
    message_number: int = 0
    refill_nonce: bytes = b""
    refill_mills: int = 0
    refill_message: bytes = b""
    checkin_nonce: bytes = b""
    checkin_begun: int = 0
    last_receipt: int = 0
    acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered with, kept so that a retry gets the same."""

    request_id: bytes = b""
    service: str = ""
    digest: bytes = b""
    reply: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a state record holds."""

    state: PsdState
    registers: Registers
    time: int
    chain: bytes
    answer: Answer


def encode(snapshot: Snapshot) -> bytes:
    """The body of a state record."""
    import cbor2

    body: bytes = cbor2.dumps({"format": FORMAT, **asdict(snapshot)}, canonical=True)
    return body


def decode(body: bytes) -> Snapshot:
    """The reverse. Raises `IntegrityError` for a form that this version does not know."""
    import cbor2

    document = cbor2.loads(body)
    found = document.get("format")
    if found != FORMAT:
        raise IntegrityError(f"state records of format {found} cannot be read; this version knows {FORMAT}")
    state = {**document["state"], "lifecycle": State(document["state"]["lifecycle"])}
    unknown = set(state) - {f.name for f in fields(PsdState)}
    if unknown:
        # Dropping what a newer program wrote could bring a withdrawn device back.
        raise IntegrityError(
            f"the state record has fields that this version does not know: {', '.join(sorted(unknown))}"
        )
    return Snapshot(
        PsdState(**state),
        Registers(**document["registers"]),
        document["time"],
        document["chain"],
        Answer(**document["answer"]),
    )
