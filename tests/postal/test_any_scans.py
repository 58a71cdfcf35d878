"""Any scans in any order: no postage is used twice, no mailpiece passes for less than it costs, two stores agree."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.errors import RequestIdReused
from pes_sim.postal.assessment import Assessment, Verdict
from pes_sim.postal.records import Status
from pes_sim.postal.sqlite_store import SqliteScans
from pes_sim.postal.store import MemoryScans
from tests.postal.made import Desk, office, records, trust
from tests.postal.test_mailpiece import days, piece, twin
from tests.rig import CERTIFICATE_SERIAL


class Print(NamedTuple):
    """A payload, the original that it repeats, what it paid and what its class and weight cost, in mills."""

    payload: bytes
    original: int
    paid: int
    costs: int


def _prints() -> list[Print]:
    made = [
        (piece(10, 740, 740), 740, 740),
        (piece(11, 740, 1480, weight=300), 740, 1320),
        (piece(12, 290, 1770, 1, weight=200), 290, 1030),
        (piece(13, 580, 2350), 580, 740),
        (piece(14, 0, 2350, 1), 0, 740),
        (piece(15, 0, 2350, 9), 0, 740),
        (piece(16, 10, 2360, -9), 10, 740),
        (piece(17, 740, 3100, 9), 740, 740),
    ]
    prints = [Print(payload, number, paid, costs) for number, (payload, paid, costs) in enumerate(made)]
    return prints + [row._replace(payload=twin(row.payload)) for row in prints[:3]]


PRINTS = _prints()
REPRINTED, REVOKED = 3, 2
OFFICES = [
    office(records=records(reprints={PRINTS[REPRINTED].payload: 1})),
    office(records=records(reprints={PRINTS[REPRINTED].payload: 1}, status=Status.LOST)),
    office(trust=trust(revoked=frozenset({CERTIFICATE_SERIAL}))),
]
SCANS = st.lists(
    st.tuples(
        st.sampled_from(range(len(PRINTS))), st.sampled_from(["a", "b", "c", "", ""]), st.sampled_from(["", "m", "n"]),
        st.sampled_from([0, 0, 0, 1, 9, -20]), st.sampled_from([0, 0, 0, 0, 1, 2]),
    ),
    max_size=14,
)  # fmt: skip


class Books:
    """What was accepted, kept apart from every store: which pieces of mail each print has paid for."""

    def __init__(self) -> None:
        self.pieces: dict[int, set[str]] = defaultdict(set)
        self.on: dict[str, set[int]] = defaultdict(set)
        self.costs: dict[str, int] = defaultdict(int)

    def note(self, row: Print, name: str, mailpiece: str, said: Assessment) -> None:
        pieces = self.pieces[row.original]
        if mailpiece:
            self.on[mailpiece].add(row.original)
            if said.verdict in (Verdict.ACCEPTED, Verdict.OVER_PAID, Verdict.SHORT_PAID):
                self.costs[mailpiece] = max(row.costs, self.costs[mailpiece])
        if said.judged_before is not None:
            if name in pieces and mailpiece:  # the same reading, of which it is known now on what it was
                pieces.discard(name)
                pieces.add(mailpiece)
        elif said.accepted:
            pieces.add(mailpiece or name)
            assert len(pieces) <= 1 + (row.original == REPRINTED), "postage is used once"
            paid = sum(PRINTS[index].paid for index in self.on[mailpiece]) if mailpiece else row.paid
            assert paid >= max(row.costs, self.costs[mailpiece]), "a mailpiece costs what the dearest says"


@settings(max_examples=150, deadline=None)
@given(SCANS)
def test_whatever_is_scanned_no_postage_is_used_twice(scans: list[tuple[int, str, str, int, int]]) -> None:
    books, plain, database = Books(), Desk(MemoryScans()), Desk(SqliteScans(None))
    for number, (index, name, mailpiece, day, told) in enumerate(scans):
        row, id_ = PRINTS[index], name or f"new {number}"
        said: list[Assessment | None] = []
        for desk in (plain, database):
            desk.office = OFFICES[told]
            try:
                said.append(desk.scan(row.payload, id_=id_, day=days(day), mailpiece=mailpiece))
            except RequestIdReused:
                said.append(None)
        assert said[0] == said[1]
        if said[0] is not None and said[1] is not None:
            assert said[0].judged_before == said[1].judged_before
            books.note(row, id_, mailpiece if told != REVOKED else "", said[0])
    assert isinstance(database.store, SqliteScans)
    database.store.close()
