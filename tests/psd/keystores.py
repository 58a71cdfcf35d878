"""Key stores on a bench: what two backends promise alike is tested once."""

from __future__ import annotations

import hashlib
import uuid
from typing import Protocol

from pes_sim.entropy import SystemEntropy
from pes_sim.psd.keys import KeyStore
from pes_sim.psd.pkcs11 import Pkcs11KeyStore
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.vault import MemoryVault
from tests import softhsm


class Bench(Protocol):
    """Opens key stores. The same device again is the same key store after a power cycle."""

    def open(self, device: str = "A") -> KeyStore: ...

    def close(self) -> None: ...


class SoftwareBench:
    """Master key and vault outlive a store."""

    def __init__(self) -> None:
        self.vaults: dict[str, MemoryVault] = {}

    def open(self, device: str = "A") -> SoftwareKeyStoreNotForProduction:
        master = hashlib.sha256(device.encode()).digest()
        return SoftwareKeyStoreNotForProduction(master, SystemEntropy(), self.vaults.setdefault(device, MemoryVault()))

    def close(self) -> None:
        """Nothing is held."""


class TokenBench:
    """All devices of all tests share one token, as devices of one maker would; their names differ."""

    def __init__(self) -> None:
        self.module = softhsm.module()
        self.prefix = uuid.uuid4().hex
        self.opened: list[Pkcs11KeyStore] = []

    def open(self, device: str = "A") -> Pkcs11KeyStore:
        self.opened.append(Pkcs11KeyStore(self.module, softhsm.TOKEN, softhsm.PIN, self.prefix + device))
        return self.opened[-1]

    def close(self) -> None:
        for store in self.opened:
            store.close()
