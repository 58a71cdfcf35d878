"""docs/conformance.md: what a device answers in each cell of service × role × state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pes_sim.errors import Status
from pes_sim.psd.lifecycle import State
from pes_sim.psd.locks import LOCKS
from pes_sim.psd.matrix import expected
from pes_sim.psd.roles import Role
from pes_sim.psd.services import SERVICES, Service
from tools.markdown import table

_LOCK: Final = "lock"
"""Stands for the status of the reason that the device is locked for."""


def legend() -> str:
    """What the cells say."""
    met = {expected(service, role, state) for service in SERVICES for role in Role for state in State}
    rows = [(_cell(status), status.name) for status in sorted(met)]
    locks = ", ".join(f"0x{row.status:02X} ({lock})" for lock, row in LOCKS.items())
    return table(("cell", "status"), [*rows, (_LOCK, f"of the reason, the first of several: {locks}")])


def rows() -> str:
    """The matrix: a row for each service and the roles that it treats alike."""
    head = ("code", "service", "role", *(state.value.lower() for state in State))
    return table(head, [row for service in SERVICES for row in _of(service)])


def _of(service: Service) -> Iterator[tuple[str, ...]]:
    alike: dict[tuple[str, ...], list[Role]] = {}
    for role in Role:
        alike.setdefault(tuple(_answer(service, role, state) for state in State), []).append(role)
    for cells, roles in alike.items():
        who = "all" if len(roles) == len(Role) else ", ".join(roles)
        yield (f"0x{service.code:02X}", service.name, who, *cells)


def _answer(service: Service, role: Role, state: State) -> str:
    if state is State.LOCKED and state not in service.states:
        return _LOCK
    return _cell(expected(service, role, state))


def _cell(status: Status) -> str:
    return "OK" if status is Status.OK else f"0x{status:02X}"
