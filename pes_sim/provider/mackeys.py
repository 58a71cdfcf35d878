"""The keys of the MACs that IMI-MIN bears: the provider's file, and no copy anywhere but in the PSDs.

A line a key: the PSD's serial number, and the key in hex. An older key stays in it: pieces that bear its MAC are in the
mail. Whoever has the file can check such an indicium, and could make one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pes_sim.indicium.api import SECRETS_FILE
from pes_sim.psd.owned import read_secret
from pes_sim.psd.storage import write_atomically

KEY_LENGTH: Final = 32
_HEAD: Final = b"# pes_sim: secret keys of specimen indicia. PSD, key in hex. Only the provider has this file.\n"


def remember(directory: Path, psd_serial: int, key: bytes) -> None:
    """Adds a key, durably. Raises `HostileDirectory` for a file that others could read."""
    path = directory / SECRETS_FILE
    before = read_secret(path) if path.exists() else _HEAD
    write_atomically(path, before + f"{psd_serial} {key.hex()}\n".encode(), 0o600)
