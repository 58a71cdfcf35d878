"""`pes-sim bench DIR ...`: the controls of a meter that `pes-sim meter run` runs, by their table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pes_sim.bench.actions import BY_NAME, Form
from pes_sim.bench.client import BenchClient
from pes_sim.clock import iso
from pes_sim.money import dollars


def run(options: argparse.Namespace) -> int:
    """`pes-sim bench DIR CONTROL ...`"""
    action = BY_NAME[options.control]
    arguments = {p.name: _value(p.form, getattr(options, p.name)) for p in action.parameters}
    client = BenchClient(options.directory)
    if action.answer == "event":
        for event in client.events(**arguments):
            print(json.dumps(event) if options.json else _event(event), flush=True)
        return 0
    answer = client.perform(action.name, arguments)
    if options.json:
        print(json.dumps(answer, indent=2))
    elif action.answer == "clock":
        print(_clock(answer))
    else:
        _print_status(answer)
    return 0


def _value(form: Form, value: Any) -> Any:
    """A file is meant from here, and the meter's process may be elsewhere."""
    return str(Path(value).absolute()) if form is Form.FILE else value


def _clock(answer: Mapping[str, Any]) -> str:
    rate = answer["rate"]
    how = "real" if rate is None else f"virtual, {f'runs at {rate:g}' if rate else 'stands still'}"
    return f"{answer['time']} ({how})"


def _print_status(answer: Mapping[str, Any]) -> None:
    state = answer["state"] or "no power"
    print(f"Meter {answer['psd_serial']}: {state}, LAN {answer['lan']}")
    for reason in answer["lock_reasons"]:
        print(f"  because: {reason}")
    print(f"  clock      {_clock(answer)}")
    if answer["device_time_us"] is not None:
        print(f"  PSD        {iso(answer['device_time_us'])}")
    if answer["ascending_mills"] is not None:
        print(f"  used       {dollars(answer['ascending_mills'])} in {answer['piece_count']} pieces")
        print(f"  available  {dollars(answer['descending_mills'])}")
    if answer["medium_faults"]:
        print(f"  medium     operation {answer['medium_operations']}; to come: {', '.join(answer['medium_faults'])}")
    if answer["line"] or answer["line_off"]:
        off = [f"{name} off" for name in answer["line_off"]]
        print(f"  line       {'; '.join(filter(None, (answer['line'], *off)))}")
        did = ", ".join(f"{name} {count}" for name, count in answer["line_counts"].items() if count)
        print(f"             {did or 'nothing went over it yet'}")
    for what, name in (("made to fail", "self_tests_made_to_fail"), ("failed", "self_tests_failed")):
        if answer[name]:
            print(f"  self-tests {what}: {', '.join(answer[name])}")


def _event(event: Mapping[str, Any]) -> str:
    facts = [f"{name}={value}" for name, value in event.items() if name not in ("number", "time_us", "event")]
    return " ".join([str(event["number"]), iso(event["time_us"]), event["event"], *facts])
