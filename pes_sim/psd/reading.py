"""The services that only read: what the device is, how it is, its registers, certificates and log."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from pes_sim.clock import SECOND
from pes_sim.errors import IntegrityError, StorageFailed
from pes_sim.indicium.layout import SPECIMEN_PROVIDER, Layout
from pes_sim.psd import locks, piece
from pes_sim.psd.access import Access
from pes_sim.psd.books import Books
from pes_sim.psd.condition import Condition
from pes_sim.psd.dispensing import Dispenser
from pes_sim.psd.fields import Values, pack
from pes_sim.psd.lifecycle import State
from pes_sim.psd.records import Record

LOG_CHUNK: Final = 5
"""Entries of one `read_log` answer: they fit the smallest frame that a peer may ask for."""


class Reader:
    """Reads from the books of one device."""

    def __init__(
        self,
        books: Books,
        access: Access,
        dispenser: Dispenser,
        layout: Layout,
        condition: Condition,
        *,
        reproducible: bool,
    ) -> None:
        self._books = books
        self._condition = condition
        self._access = access
        self._dispenser = dispenser
        self._layout = layout
        self._reproducible = reproducible
        # Where a reader of the log is, so that the next chunk need not look for it. Void once the log has grown.
        self._log_cursor: tuple[tuple[int, int], Iterator[Record]] = ((0, 0), iter(()))

    def get_info(self, _: Values) -> Values:
        """Answered in every state, whatever can be read."""
        s = self._books.state
        notice = f"SPECIMEN ONLY, NOT VALID POSTAGE. {self._layout.title}."
        return {
            "model_id": piece.MODEL_ID,
            "psd_serial": s.psd_serial,
            "provider_id": SPECIMEN_PROVIDER,
            "software_id": s.software.software_id,
            "layout": self._layout.name,
            "licensing_zip": s.licensing_zip,
            "customer": s.customer,
            "utc_offset_minutes": s.utc_offset_minutes,
            "profile": s.profile.value,
            "regime": s.regime.value,
            "curve": piece.signing(self._layout).curve.value,
            "notice": notice + (" Keys are reproducible from a seed." if self._reproducible else ""),
        }

    def get_status(self, _: Values) -> Values:
        """Answered in every state, whatever can be read."""
        books, s = self._books, self._books.state
        stopped = s.lifecycle in (State.ERROR, State.ZEROIZED)
        return {
            "state": s.lifecycle.value,
            "sub_state": s.sub_state.value,
            "lock_reasons": [s.fault] if stopped else list(s.locks),
            "cleared_by": [] if stopped else locks.cleared_by(s),
            "warnings": locks.warnings(s, books.time),
            "seconds_to_lockout": locks.to_lockout(s, books.time) // SECOND,
            "device_time": books.time,
            "today": piece.today(books.time, s.utc_offset_minutes).isoformat(),
            "refill_pending_mills": s.refill.amount,
            "log_sequence": max(books.sequence, books.found),  # of a log that cannot be opened, what was found in it
            "reprint_count": books.reprints,
            "role": self._access.role.value,
            "self_tests_failed": [name.value for name in self._condition.tests.failed],
            "offset": s.loading.offset,
            "repaired": books.repaired,
        }

    def get_registers(self, _: Values) -> Values:
        """The registers; the last ones known where the device stopped."""
        self._check_readable()
        return {**self._books.registers.values()}

    def get_certificates(self, _: Values) -> Values:
        """What a verifier needs."""
        if self._books.salvaged is None:
            self._check_readable()
        s = self._books.state
        return {
            "psd_certificate": s.psd_certificate,
            "provider_certificate": s.provider_certificate,
            "trust_anchor": s.trust_anchor,
        }

    def get_statement(self, _: Values) -> Values:
        """The final statement of a device that was withdrawn; of any other the last signed report, if it is kept."""
        return {"statement": self._books.state.final_statement or self._books.last_report()}

    def read_log(self, request: Values) -> Values:
        """The next chunk of the log. Where a part of it cannot be read, what lies before that comes first; then
        `StorageFailed`, with the `next_record` behind it in the detail.
        """
        wanted, newest = request["first_record"], self._books.sequence
        place, records = self._log_cursor
        if place != (wanted, newest):
            records = self._books.pieces_from(wanted)
        self._log_cursor = ((0, 0), iter(()))  # one that fails half-way would go on as if it had come to the end
        entries, breaks_off = [], False
        try:
            for record in itertools.islice(records, LOG_CHUNK):
                entries.append(self._dispenser.entry(record))
        except StorageFailed:
            if not entries:
                raise
            breaks_off = True
        following = entries[-1]["record"] + 1 if len(entries) == LOG_CHUNK or breaks_off else 0
        self._log_cursor = ((following, newest if following and not breaks_off else -1), records)
        return {"entries": [pack(entry) for entry in entries], "next_record": following}

    def _check_readable(self) -> None:
        if not self._books.readable:
            raise IntegrityError(
                f"the storage cannot be read: {self._books.state.fault}",
                hint="The provider's recovery order may bring it back: pes-sim meter recover DIR",
            )
