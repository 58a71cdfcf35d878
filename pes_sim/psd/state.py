"""What the PSD remembers besides its registers, as one immutable value, and its form in a state record.

Registers, time and the log's hash chain change with every piece; they stand beside it in the record (`Snapshot`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from pes_sim.errors import IntegrityError
from pes_sim.psd.lifecycle import Lock, State, SubState
from pes_sim.psd.policy import Regime
from pes_sim.psd.profile import Profile
from pes_sim.psd.registers import Registers

FORMAT: Final = 2
"""Version of the record's form. A newer program reads an older one, or says why not.

1: before there were roles. Such a device has no secret for its meter, and no separate key for messages.
"""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request to the provider that waits for its answer: the message that was sent, and what the answer repeats."""

    nonce: bytes = b""
    number: int = 0
    amount: int = 0
    message: bytes = b""


@dataclass(frozen=True, slots=True)
class Attempts:
    """Wrong proofs of one role in a row, and the instant before which no further one is looked at."""

    failed: int = 0
    not_before: int = 0


@dataclass(frozen=True, slots=True)
class Software:
    """A software image: its version, size and digest, the storage area it lies in (none: built in), bytes there yet."""

    software_id: int = 0
    size: int = 0
    digest: bytes = b""
    area: str = ""
    offset: int = 0


RELEASED: Final = Software(software_id=0x00_01_00_00)
"""The software that a device is made with: 0.1.0, as get_info and the indicium give it."""


@dataclass(frozen=True, slots=True)
class PsdState:
    """Instants in microseconds since 1970-01-01 UTC; certificates in DER; amounts in mills. Empty means: not yet."""

    lifecycle: State = State.UNINITIALIZED
    locks: tuple[str, ...] = ()
    fault: str = ""
    # Manufacture
    psd_serial: int = 0
    profile: Profile = Profile.FIPS_140_2
    regime: Regime = Regime.IMI
    trust_anchor: bytes = b""
    keys: bytes = b""
    authorization_nonce: bytes = b""
    software: Software = RELEASED
    loading: Software = Software()
    # Licence
    licensing_zip: str = ""
    customer: str = ""
    utc_offset_minutes: int = 0
    psd_certificate: bytes = b""
    certificate_serial: int = 0
    provider_certificate: bytes = b""
    provider_point: bytes = b""
    # The real-time clock: what it is ahead of the host's, as set at an instant of the host's
    clock_offset: int = 0
    clock_set: int = 0
    # Exchanges with the provider
    message_number: int = 0
    refill: Exchange = Exchange()
    refill_cancellation: bytes = b""
    withdrawal: Exchange = Exchange()
    checkin: Exchange = Exchange()
    checkin_begun: int = 0
    reports: tuple[bytes, ...] = ()
    last_receipt: int = 0
    last_inspection: int = 0
    acknowledged: int = 0
    final_statement: bytes = b""
    # Authentication
    attempts: tuple[Attempts, ...] = (Attempts(), Attempts(), Attempts())
    """Of each role that authenticates itself, in the order of `Role`."""

    @property
    def sub_state(self) -> SubState:
        """What is under way."""
        if self.refill.nonce:
            return SubState.REFILL_CANCELLED if self.refill_cancellation else SubState.REFILL_PENDING
        return SubState.WITHDRAWAL_PENDING if self.withdrawal.nonce else SubState.NONE


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
    last_dispense: int
    reprints: int
    chain: bytes
    answer: Answer


def encode(snapshot: Snapshot) -> bytes:
    """The body of a state record."""
    import cbor2

    document = {"format": FORMAT, **asdict(snapshot), "registers": snapshot.registers._asdict()}
    body: bytes = cbor2.dumps(document, canonical=True)
    return body


def decode(body: bytes) -> Snapshot:
    """The reverse. Raises `IntegrityError` for whatever this version does not know.

    Dropping what a newer program wrote could bring a withdrawn device back.
    """
    import cbor2

    document = cbor2.loads(body)
    found = document.pop("format", None)
    if found != FORMAT:
        raise IntegrityError(f"state records of format {found} cannot be read; this version knows {FORMAT}")
    unknown = set(document["state"]) - {f.name for f in fields(PsdState)}
    if unknown:
        raise IntegrityError(
            f"the state record has fields that this version does not know: {', '.join(sorted(unknown))}"
        )
    try:
        document["state"] = PsdState(**{name: _typed(name, value) for name, value in document["state"].items()})
        document["registers"] = Registers(**document["registers"])
        document["answer"] = Answer(**document["answer"])
        return Snapshot(**document)
    except (TypeError, ValueError) as problem:
        raise IntegrityError(f"the state record holds what this version does not know: {problem}") from None


_TYPED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "lifecycle": State,
    "locks": lambda names: tuple(Lock(name).value for name in names),
    "profile": Profile,
    "regime": Regime,
    "reports": tuple,
    "attempts": lambda rows: tuple(Attempts(**row) for row in rows),
    "software": lambda values: Software(**values),
    "loading": lambda values: Software(**values),
    "refill": lambda values: Exchange(**values),
    "withdrawal": lambda values: Exchange(**values),
    "checkin": lambda values: Exchange(**values),
}
"""Fields that CBOR does not give back as they were."""


def _typed(name: str, value: Any) -> Any:
    return _TYPED[name](value) if name in _TYPED else value
