"""A process that dies leaves what it wrote in the cache of the system: the next one reads it; the disk may not have it.

Neither the crash walk nor `kill -9` alone shows this: it takes the death of the process first, and then the power.
"""

from __future__ import annotations

import pytest

from tests.psd.failing_medium import Cut, Medium, PowerCut
from tests.psd.test_device import read_all
from tests.rig import Rig, operational

BANK = 12288


def killed_before_the_sync(pieces: int) -> tuple[Rig, Medium, bytes]:
    """A device whose process died when both copies of a piece were written and not synced; the next process has come
    up on what the cache holds. Also the medium, and the id of that piece's request.
    """
    rig = operational(storage=Medium({}), bank=BANK, profile="FIPS 140-3")
    medium = rig.storage
    assert isinstance(medium, Medium)
    for _ in range(pieces):
        rig.dispense(postage_mills=1)
    request_id = rig.new_id()
    medium.arm(Cut(2, ()))
    with pytest.raises(PowerCut):
        rig.dispense(request_id, postage_mills=1)
    medium.disarm()
    medium.gone = False  # it was not the power: what was written is in the cache
    rig.power_on()
    return rig, medium, request_id


def test_what_is_answered_after_a_process_died_survives_a_power_cut() -> None:
    lost = []
    for pieces in range(40):
        rig, medium, request_id = killed_before_the_sync(pieces)
        given = rig.dispense(request_id, postage_mills=1)["indicium"]
        rig.storage = medium.after_cut((0,))
        rig.power_on(log_in=False)
        if rig.status()["state"] == "ERROR":
            lost.append((pieces, rig.status()["lock_reasons"]))
            continue
        rig.log_in()
        if given not in [entry["indicium"] for entry in read_all(rig)]:
            lost.append((pieces, ["the piece is gone"]))
    print(lost)
    assert not lost
