"""What each cell of service × role × state answers, worked out from the tables: what a device is tested against.

The status is the first that such a device refuses with; OK means that state and role allow it, not that what is asked
for can be done. Of a service that the provider signs, "the role" is whose key has signed the order.
"""

from __future__ import annotations

from pes_sim.errors import Status
from pes_sim.psd.lifecycle import Lock, State
from pes_sim.psd.locks import LOCKS
from pes_sim.psd.roles import Role
from pes_sim.psd.services import Service


def expected(service: Service, role: Role, place: State | Lock) -> Status:
    """The status of a cell. A device that is LOCKED is at a place by the reason, the first of several.

    In ERROR it is that of a device whose records are bad; one that failed a self-test refuses with SELF_TEST_FAILED.
    """
    state = State.LOCKED if isinstance(place, Lock) else place
    if state not in service.states:
        if isinstance(place, Lock):
            return LOCKS[place].status
        return Status.INTEGRITY if state is State.ERROR else Status.REFUSED_IN_STATE
    if role in service.roles or Role.NONE in service.roles:
        return Status.OK
    if service.signed:
        return Status.BAD_MESSAGE if role is Role.NONE else Status.BAD_SIGNATURE
    return Status.NOT_AUTHENTICATED
