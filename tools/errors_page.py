"""The generated parts of docs/errors.md: every status, exception, exit code and verdict that a user can meet."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from pes_sim import errors
from pes_sim.cli import EXITS, exit_code
from pes_sim.errors import PesError, ProtocolError, from_wire
from pes_sim.indicium.verify import Verdict as OfTheVerifier
from pes_sim.link.message import LINK_SERVICES
from pes_sim.meter.services import OWN
from pes_sim.postal.assessment import Verdict as OfTheOffice
from pes_sim.psd.lifecycle import State
from pes_sim.psd.locks import LOCKS
from pes_sim.psd.services import SERVICES, Service
from pes_sim.statuses import FACTS, OF_THE_PROTOCOL, Status
from tools.markdown import table

CLASSES: Final = sorted(
    (kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PesError)),
    key=lambda kind: kind.__name__,
)
"""Every exception, by name."""

_TENS: Final = {
    0x0: "Done",
    0x1: "The frame or its body could not be understood; nothing was done",
    0x2: "Understood, and refused for what was asked",
    0x3: "Locked; the detail says what clears it",
    0x4: "A message of the provider, or of the PSD at the provider, was not accepted",
    0x5: "The device cannot serve; somebody has to look at it",
}
"""Who has to act: the first digit of a status."""
_OF_A_FRAME: Final = frozenset(
    {Status.BAD_FRAME, Status.BAD_BODY, Status.UNSUPPORTED_VERSION, Status.FRAME_TOO_LARGE}
)  # fmt: skip
"""What a frame is refused with before it is known what it asks for; the detail says which bytes."""
_OF_ANY: Final = _OF_A_FRAME | {Status.UNKNOWN_SERVICE, Status.INTERNAL}
_LOCKED: Final = frozenset(row.status for row in LOCKS.values())
_MANY: Final = 0.5
"""From such a part of all services on, those are named that do not."""

VERDICTS: Final[Mapping[str, str]] = {
    "valid": "Every check held: it is what it says, and its PSD signed it. Whether it is good for mail, `accept` says",
    "accepted": "Nothing speaks against it: it goes on into the mail",
    "over_paid": "It bears more than the rate. It goes on into the mail; who paid too much may ask for it back",
    "truncated": "The payload ends before its layout does. Scan it again; digits or a file have to be whole",
    "unknown_version": "Its first byte is of no known layout. Give the layout's file (`--layout`)",
    "wrong_length": "It has more bytes than its layout. Scan it again, or give its own layout (`--layout`)",
    "unknown_scheme": "Nobody here can check a signature of its scheme; nothing is said of it that could be wrong",
    "no_certificate": "No certificate was given to check it with. Give the CA's and the PSD's: `--ca`, `--psd`",
    "no_key": "Its MAC is checked with the secret key that made it. The provider has it: `--mac-keys`",
    "wrong_certificate": "None of the certificates given is the one it names, for its PSD. Give that one: `--psd`",
    "untrusted_certificate": "The certificate is not by the CA that was given, or cannot be read. Give its own CA's "
    "(`--ca`); if it is the right one, somebody made the certificate up",
    "expired_certificate": "The certificate does not hold on the day of mailing. The PSD needs a new one",
    "revoked_certificate": "The certificate was called back (`--revoked`): others may have its key. It needs another",
    "bad_signature": "It was altered, or another key signed it. Scan it again; if that says the same, it is a forgery",
    "not_a_specimen": "It bears a provider other than the simulator's own, 99: it is none of this program's specimens",
    "not_postage": "Its construct states something else (a withdrawal) and pays for nothing",
    "decertified": "A system printed it that is decertified, and the day until which its postage held is over",
    "meter_lost_or_stolen": "The records say that its meter was lost or stolen by then (`--records`)",
    "meter_withdrawn": "The records say that its meter was withdrawn from service by then (`--records`)",
    "duplicate": "It was scanned before: the same payload, or another with its piece count or tracking number. What is "
    "on one mailpiece is scanned with one `--mailpiece`; a reprint stands in the records",
    "registers_disagree": "Its registers do not fit earlier scans, or what was granted. Have the meter looked at",
    "bad_date": "What it bears as its date is no date",
    "future_dated": "It is dated further ahead than any meter prints. Look at the meter's clock, and at `--date`",
    "too_early": "It is dated ahead. Hand it in on its day",
    "stale": "It is dated too long ago, or adds postage to a mailpiece that is. Redate it once, and scan all that it "
    "bears with one `--mailpiece`",
    "bad_redate": "A date correction that corrects nothing: the mailpiece has one already, bears no postage yet, or a "
    "later date. Scan what it corrects first, both with one `--mailpiece`",
    "bad_correction": "An amount correction that is dated before the postage that it adds to. Print one of today",
    "no_rate": "Its weight is none that the rate table has for its class, or its class is none of its layout's; or so "
    "it is with another indicium on its mailpiece. Give the table or the layout that has it: `--rates`, `--layout`",
    "short_paid": "It bears less than the rate. Print the rest as an amount correction, and scan both with one "
    "`--mailpiece`; so is a date correction scanned with what it corrects, as by itself it pays nothing",
}
"""What a verdict means, and what to do."""


def statuses() -> str:
    """A line a status, which leads to what is said of it."""
    return table(("status", "name"), [(f"0x{status.value:02X}", _link(status, status.name)) for status in Status])


def entries() -> str:
    """What is said of each."""
    found = []
    for tens, says in _TENS.items():
        found.append(f"## 0x{tens:X}_: {says[0].lower()}{says[1:]}")
        found += ["\n".join(_entry(status)) for status in Status if status >> 4 == tens]
    return "\n\n".join(found)


def _entry(status: Status) -> Iterator[str]:
    yield f"### {status}"
    if status in OF_THE_PROTOCOL:
        yield f"* {OF_THE_PROTOCOL[status]}"
    for lock, row in LOCKS.items():
        if row.status is status:
            yield f'* Reason "{lock}": {row.meaning}. {row.hint}. Cleared by `{row.cleared_by}` ([more](psd.md#locks)).'
    for kind in CLASSES:
        if kind.status is status:
            yield f"* `{kind.__name__}` (exit code {exit_code(kind)}): {docstring(kind)}"
    if status is not Status.OK:
        yield f"* Detail: {', '.join(f'`{name}`' for name in facts(status)) or 'none'}."
        yield f"* Answered to {answered_to(status)}. Over a port it is raised as `{_back(status).__name__}`."


def docstring(kind: type[PesError]) -> str:
    """In one line, with its pages as links."""
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", " ".join((inspect.getdoc(kind) or "").split()))


def _back(status: Status) -> type[PesError]:
    return type(from_wire(status, "", "", {}))


def facts(status: Status) -> list[str]:
    """What an error's detail may hold that has this status, in the order of the table."""
    kinds = [_back(status), *(kind for kind in CLASSES if kind.status is status)]
    if status in _OF_A_FRAME:
        kinds.append(ProtocolError)
    named = {name for kind in kinds for name in kind.facts}
    return [name for name in FACTS if name in named]


def answered_to(status: Status) -> str:
    """The services that refuse with it."""
    if status in _OF_ANY:
        return "any request"
    families: Mapping[str, Sequence[Service]] = {"the PSD": SERVICES, "the meter": OWN, "the link": LINK_SERVICES}
    named = [_named(family, rows, _refuses(status)) for family, rows in families.items()]
    return "; ".join(name for name in named if name)


def _refuses(status: Status) -> Callable[[Service], bool]:
    def refuses(service: Service) -> bool:
        if status is Status.ANSWER_TOO_LONG:
            return bool(service.grows[0])
        return status in service.statuses or (status in _LOCKED and State.LOCKED not in service.states)

    return refuses


def _named(family: str, rows: Sequence[Service], refuses: Callable[[Service], bool]) -> str:
    found, others = [s for s in rows if refuses(s)], [s for s in rows if not refuses(s)]
    if not others:
        return f"every service of {family}"
    if len(found) > _MANY * len(rows):
        return f"every service of {family} but {_names(others)}"
    return _names(found)


def _names(rows: Iterable[Service]) -> str:
    return ", ".join(f"`{service.name}`" for service in rows)


def _link(status: Status, text: str) -> str:
    return f"[{text}](#0x{status.value:02x}-{status.name.lower()})"


def facts_table() -> str:
    """What each name in a detail says."""
    return table(("in the detail", "what it says"), [(f"`{name}`", says) for name, says in FACTS.items()])


def exceptions() -> str:
    """A line a class, which leads to what is said of it."""

    def others(kind: type[PesError]) -> str:
        found = [status for status in Status if status is not Status.OK and _back(status) is kind]
        return ", ".join(_link(status, str(status)) for status in dict.fromkeys([kind.status, *found]))

    def above(kind: type[PesError]) -> str:
        return ", ".join(f"`{one.__name__}`" for one in kind.__bases__)

    return table(
        ("exception", "is also", "status", "exit code"),
        [(f"`{kind.__name__}`", above(kind), others(kind), exit_code(kind)) for kind in CLASSES],
    )


def exits() -> str:
    """What `pes-sim` ends with."""
    return table(("exit code", "what it says"), EXITS.items())


def verdicts() -> str:
    """What `verify` and `accept` say of an indicium."""
    commands: Mapping[str, frozenset[str]] = {
        "verify": frozenset(OfTheVerifier), "accept": frozenset(OfTheOffice),
    }  # fmt: skip
    return table(
        ("verdict", "of", "what it means, and what to do"),
        [(f"`{verdict}`", ", ".join(name for name, known in commands.items() if verdict in known), says)
         for verdict, says in VERDICTS.items()],
    )  # fmt: skip
