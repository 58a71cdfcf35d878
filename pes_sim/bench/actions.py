"""The controls of a bench, in one literal table: HTTP routes and their description, the command line, the checks of
arguments and docs/bench.md come from it.

It is imported whenever `pes-sim` starts, so it imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Form(StrEnum):
    """What an argument is made of."""

    TEXT = "text"
    FILE = "a file: absolute path"
    WHOLE = "whole number"
    NUMBER = "number"
    CHOICE = "one of"
    FLAG = "a flag"


class Parameter(NamedTuple):
    """One argument. `default` is None for one that must be given, or (`optional`) may be left out. `words`: what a
    choice may be, or what a flag is called on the command line, first for true, then for false.
    """

    name: str
    form: Form
    meaning: str
    default: int | bool | None = None
    optional: bool = False
    words: tuple[str, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether it must be given."""
        return self.default is None and not self.optional


class Action(NamedTuple):
    """One control. `reads`: it changes nothing (GET); all others are POST. `answer`: which of `ANSWERS` comes back.
    `refusals`: what it may be refused with, by the names of docs/errors.md; every control also with `BAD_FIELD`.
    """

    name: str
    what: str
    example: str
    parameters: tuple[Parameter, ...] = ()
    reads: bool = False
    answer: str = "status"
    refusals: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """The method of `Bench` that does it."""
        return self.name.replace("-", "_")

    @property
    def path(self) -> str:
        """Where it is over HTTP."""
        return f"/v1/{self.name}"

    @property
    def verb(self) -> str:
        """GET or POST."""
        return "GET" if self.reads else "POST"


class Answered(NamedTuple):
    """One fact of an answer: its name, its type in Python's words, and what it says."""

    name: str
    kind: str
    meaning: str


_FILE: Final = Parameter("file", Form.FILE, "where the snapshot is, on the machine that the meter runs on")

ACTIONS: Final[tuple[Action, ...]] = (
    Action("status", "How the meter is: power, LAN, state, registers, clock, medium, faults", "status", reads=True),
    Action("clock", "What the clock shows, and how fast it runs", "clock", reads=True, answer="clock"),
    Action("advance", "Move a virtual clock on", "advance 72h", (
        Parameter("duration", Form.TEXT, "how far: 72h1m, 3d or 90s (days, hours, minutes, seconds)"),
    )),
    Action("pause", "Let a virtual clock stand still", "pause"),
    Action("rate", "Let a virtual clock run by itself", "rate 60", (
        Parameter("rate", Form.NUMBER, "times the machine's own speed, 0 (stands still) to 1000000"),
    )),
    Action("lan", "Plug the meter's LAN in or out: its connection to its data centre", "lan out", (
        Parameter("plug", Form.CHOICE, "in or out", words=("in", "out")),
    )),
    Action("cut", "Cut the power: now, until 'power'; or before an operation of the medium, and it comes back at once",
           "cut --at 2", (
        Parameter("at", Form.WHOLE, "before the N-th operation of the PSD's medium from now on", optional=True),
    )),
    Action("power", "Bring the power back; where it is on, it goes and comes back", "power",
           refusals=("STORAGE_FAILED", "INTEGRITY")),
    Action("tamper", "The tamper input of the PSD: every key is destroyed, for good", "tamper",
           refusals=("STORAGE_FAILED",)),
    Action("fault", "Let something go wrong with the PSD's medium", "fault tear@2:100", (
        Parameter("fault", Form.TEXT, "KIND[@N[:K]] of docs/storage.md; operation N is counted from now, from 1"),
    )),
    Action("mend", "No storage fault any more: none is to come, and none lasts", "mend"),
    Action("self-test", "Let a self-test of the PSD fail from its next run on, or no longer",
           "self-test sha-256 --fails", (
        Parameter("name", Form.TEXT, "the self-test, by its name in docs/psd.md"),
        Parameter("fails", Form.FLAG, "whether it fails", default=True, words=("fails", "passes")),
    )),
    Action("snapshot", "Copy the whole meter, its keys and its data centre into one new file", "snapshot m1.snapshot",
           (_FILE,), refusals=("STORAGE_FAILED", "STORAGE_FULL", "INTEGRITY")),
    Action("restore", "Put the device back to what it was in a snapshot; not its clock, nor its data centre",
           "restore m1.snapshot", (_FILE,), refusals=("STORAGE_FAILED", "STORAGE_FULL", "INTEGRITY")),
    Action("line", "Change the line that the port is served over, from the next byte on",
           "line baud=9600,bit-errors=1e-4", (
        Parameter("settings", Form.TEXT, "NAME=VALUE,... of docs/line.md; off: a line that does nothing"),
    )),
    Action("unplug", "Pull the line's plug: what is on its way is lost, and nothing goes until 'replug'", "unplug"),
    Action("replug", "Put the line's plug in again", "replug"),
    Action("play", "Let one thing happen on the line: a step of docs/line.md", "play drop to-device --frame 1", (
        Parameter("step", Form.CHOICE, "what happens", words=(
            "flip", "drop", "duplicate", "break", "unplug", "plug", "cts-off", "cts-on", "dtr-off", "dtr-on",
        )),
        Parameter("direction", Form.CHOICE, "in which direction", words=("to-device", "to-host")),
        Parameter("byte", Form.WHOLE, "after so many bytes from now on; 0: at the next", optional=True),
        Parameter("frame", Form.WHOLE, "after so many frames from now on (with neither: now)", optional=True),
        Parameter("bit", Form.WHOLE, "which bit of the byte is flipped", 1),
        Parameter("for_us", Form.WHOLE, "how long it lasts, in microseconds; 0: until another step", 0),
    )),
    Action("events", "What happens, as it happens: controls, power cuts and returns, changes of state",
           "events --count 1", (
        Parameter("after", Form.WHOLE, "only events of a higher number; 0: all that are kept (the newest 1000)", 0),
        Parameter("count", Form.WHOLE, "end after so many; 0: never", 0),
    ), reads=True, answer="event"),
)  # fmt: skip
"""Every control, in the order of the help."""

BY_NAME: Final[Mapping[str, Action]] = {action.name: action for action in ACTIONS}

_CLOCK: Final = (
    Answered("clock", "str", "virtual, or real"),
    Answered("time_us", "int", "what it shows, in microseconds since 1970-01-01 UTC"),
    Answered("time", "str", "the same as ISO 8601 in UTC, to the second"),
    Answered("rate", "float | None", "how many times as fast as the machine's it runs, 0 for one that stands still; "
             "none for the real one"),
)  # fmt: skip
_REGISTERS: Final = tuple(
    Answered(name, "int | None", f"{meaning}; none without power, or where the PSD cannot read it")
    for name, meaning in (
        ("ascending_mills", "postage ever dispensed, in mills"),
        ("descending_mills", "postage still available, in mills"),
        ("control_sum_mills", "their sum, in mills"),
        ("piece_count", "indicia ever dispensed"),
        ("zero_piece_count", "of these, indicia of zero value"),
    )
)

ANSWERS: Final[Mapping[str, tuple[Answered, ...]]] = {
    "status": (
        Answered("psd_serial", "int", "the PSD's serial number"),
        Answered("power", "str", "on, or off"),
        Answered("lan", "str", "in, or out"),
        Answered("state", "str | None", "the PSD's state; none without power"),
        Answered("lock_reasons", "list[str]", "what it is locked for, or has stopped for"),
        *_REGISTERS,
        *_CLOCK,
        Answered("device_time_us", "int | None", "what the PSD's own clock shows, as time_us; none without power"),
        Answered("medium_operations", "int", "operations of the PSD's medium since a first fault was asked for"),
        Answered("medium_cut_at", "int", "the operation that the latest power cut came in; 0 for none"),
        Answered("medium_faults", "list[str]", "storage faults to come, or that last: KIND@N:K, N counted so"),
        Answered("self_tests_made_to_fail", "list[str]", "self-tests that are made to fail"),
        Answered("self_tests_failed", "list[str]", "self-tests whose latest run failed"),
        Answered("repaired", "int", "records that were mended from their second copy at the latest power-on"),
        Answered("line", "str | None", "the line's settings that are not as they were made, NAME=VALUE,...; empty for "
                 "a line that does nothing, none without a line"),
        Answered("line_off", "list[str]", "what is off now, by a setting or a step: plugged, host_cts, host_dtr, ..."),
        Answered("line_counts", "dict[str, int] | None", "what the line did so far (docs/line.md); none without a line."
                 " Bytes that went past it, while it did nothing, are not counted"),
        Answered("newest_event", "int", "the number of the latest event; 0 for none"),
    ),
    "clock": _CLOCK,
    "event": (
        Answered("number", "int", "rises by 1: a gap means that events were lost to a reader that was too slow"),
        Answered("time_us", "int", "when, by the meter's clock, in microseconds since 1970-01-01 UTC"),
        Answered("event", "str", "control, refused, power cut, power back, or state; the other names depend on it"),
    ),
}  # fmt: skip
"""What comes back, by name."""

EVENTS: Final[Mapping[str, str]] = {
    "control": "a control was used; its name (`control`) and its arguments",
    "refused": "it was refused; its name, `status` and `message`",
    "power cut": "the power went; `operation`: of the medium, 0 where no fault was asked for yet",
    "power back": "it came back, and the device was switched on",
    "state": "`state` and `lock_reasons` are others than before",
}
"""What an event may be."""
