"""The laws of money, which hold whatever a device answers: known from answers, registers and the log alone.

No indicium without its debit, and none debited twice. AR never falls. AR + DR = control sum = refills less withdrawals.
The same request id gets the same bytes. What was answered once stays in the log. And no more postage than was paid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pes_sim.psd.fields import Values
from tests.psd.model import Entry, Request


@dataclass
class Laws:
    """What has been seen of one device. Amounts in mills."""

    refilled: int
    """Refills less withdrawals."""
    registers: dict[str, int]
    answers: dict[bytes, tuple[Request, Values]] = field(default_factory=dict)
    given: dict[bytes, int] = field(default_factory=dict)
    """Indicia that left the device, and the record of each."""
    under_way: dict[bytes, int] = field(default_factory=dict)
    """By request id: what moves, if a request took effect that was never answered."""
    counted: frozenset[bytes] = frozenset()
    """Requests that did, and that may be answered yet."""

    def copy(self) -> Laws:
        return replace(self, answers={**self.answers}, given={**self.given}, under_way={**self.under_way})

    def see_answer(self, request: Request, reply: Values, *, anew: bool = False) -> None:
        """`anew`: the id was forgotten, as it may be after so long."""
        key = request.request_id
        if key in self.answers and not anew:
            assert self.answers[key] == (request, reply), "another answer to the same request"
            return
        counted = key in self.answers or key in self.counted
        self.answers[key] = (request, reply)
        if request.service in ("refill_complete", "withdraw_complete") and not counted:
            self.refilled += reply["amount_mills"] * (-1 if "statement" in reply else 1)
        indicia = reply.get("indicia") or [reply[name] for name in reply if name == "indicium"]
        for number, indicium in enumerate(indicia if request.service != "reprint" else []):
            assert indicium not in self.given, "two requests got the same indicium"
            self.given[indicium] = reply["record"] + number

    def see_registers(self, now: dict[str, int], paid: int) -> None:
        before, self.registers = self.registers, now
        for name in ("ascending_mills", "piece_count", "zero_piece_count"):
            assert now[name] >= before[name], f"{name} fell"
        assert now["ascending_mills"] + now["descending_mills"] == now["control_sum_mills"]
        assert now["descending_mills"] >= 0
        for key, amount in self.under_way.items():
            if now["control_sum_mills"] == self.refilled + amount != self.refilled:
                self.refilled, self.counted = self.refilled + amount, self.counted | {key}
        assert now["control_sum_mills"] == self.refilled, "money came or went without a refill or a withdrawal"
        assert self.refilled <= paid, "more postage than was paid"

    def see_log(self, log: Sequence[Entry], oldest: int, shows: Callable[[bytes], dict[str, Any]]) -> None:
        """`oldest`: the first record that is kept; what came before was acknowledged."""
        pieces = [entry for entry in log if entry.kind != "reprint"]
        held = {entry.indicium: entry.record for entry in pieces}
        spent, count = (0, 0) if oldest == 1 else (-1, -1)
        for indicium in held:
            seen = shows(indicium)
            assert spent < 0 or seen["ascending_mills"] == spent + seen["postage_mills"], "a debit without an indicium"
            assert count < 0 or seen["piece_count"] == count + 1
            spent, count = seen["ascending_mills"], seen["piece_count"]
        if count >= 0:
            assert (spent, count) == (self.registers["ascending_mills"], self.registers["piece_count"])
        assert len(held) == len(pieces), "an indicium was debited twice"
        given = {indicium: record for indicium, record in self.given.items() if record >= oldest}
        assert given.items() <= held.items(), "an indicium that was given is not in the log"
        assert held.keys() >= {entry.indicium for entry in log if entry.original >= oldest}, "a reprint of nothing"
