"""The signed statement of a PSD that was withdrawn, in the manner of a layout, so that the withdrawal's page shows it.

The statement is a message (COSE_Sign1, docs/protocol.md) and not an indicium: its symbol holds the very bytes, so that
whoever scans the page can check the signature.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from pes_sim.clock import iso
from pes_sim.indicium.codings import Value
from pes_sim.indicium.layout import Indicium, Layout, Row
from pes_sim.indicium.sizes import CAPACITY
from pes_sim.preview.imprint import Imprint
from pes_sim.preview.statement import CONSTRUCT
from pes_sim.psd import messages
from pes_sim.psd.fields import BY_NAME

KIND: Final = "withdrawal_statement"
_MEANINGS: Final = {
    "amount_mills": "What was left, and is paid back",
    "device_time": "The device's clock, UTC",
    "signature": "ECDSA P-256 with SHA-256 over the COSE Sig_structure, r then s, by the PSD's message key",
}
"""Of fields that other messages have for something else, or that are shown otherwise than they are sent."""
_SIGNATURE: Final = 64  # the last bytes of a COSE_Sign1 by ES256


class StatedLayout(Layout):
    """Takes the place of a layout for one statement: its fields are those of the message, wherever they lie in it."""

    def __init__(self, message: bytes) -> None:
        """Raises `BadMessage` for what is no such statement."""
        self._values = messages.peek(message, KIND)[1]
        self.name, self.construct = KIND, CONSTRUCT
        self.symbol = next(size for size, most in CAPACITY.items() if most >= len(message))  # its fields have limits
        self.versions, self.text, self.length = range(0), (), len(message)

    def unpack(self, payload: bytes) -> Indicium:
        """The fields by name."""
        return Indicium(self, self._values, payload[:-_SIGNATURE], payload[-_SIGNATURE:], b"")

    def describe(self, payload: bytes) -> list[Row]:
        """The fields for people, and the signature."""
        shown = {**self._values, "device_time": iso(self._values["device_time"])}
        signature = payload[-_SIGNATURE:]
        return [*(_row(name, value) for name, value in shown.items()), _row("signature", signature)]


def _row(name: str, value: Value) -> Row:
    meaning = _MEANINGS.get(name) or BY_NAME[name].meaning
    return Row(name, 0, 0, b"", value, "mills" if name.endswith("_mills") else "", meaning, "", "")


def last_word(message: bytes, **known: Any) -> Imprint:
    """What the withdrawal's page shows of a statement. `known`: the meter's serial number and origin ZIP Code, by
    `Imprint`'s names. Raises as `StatedLayout` does.
    """
    layout = StatedLayout(message)
    said = layout.unpack(message).values
    return Imprint(
        payload=message, layout=layout, postage_mills=int(said["amount_mills"]),
        mailing_date=date.fromisoformat(iso(int(said["device_time"]))[:10]), mail_class="",
        piece_count=int(said["piece_count"]), **known,
    )  # fmt: skip
