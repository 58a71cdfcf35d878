"""The software key store: what follows from a seed, and the vault whose destruction ends its keys."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pes_sim.entropy import Entropy, SeededEntropy, SystemEntropy
from pes_sim.errors import HostileDirectory, IntegrityError, KeysGone, StorageFailed
from pes_sim.psd.keys import CURVES, Curve, Slot, curve_class
from pes_sim.psd.softkeys import SoftwareKeyStoreNotForProduction
from pes_sim.psd.vault import FileVault, MemoryVault, Vault

MASTER = bytes(range(32))


class Bytes:
    """An entropy source that gives the same byte again and again."""

    reproducible = True

    def __init__(self, byte: int) -> None:
        self.byte = byte

    def __call__(self, length: int) -> bytes:
        return bytes((self.byte,)) * length


def store(seed: str = "keys", vault: Vault | None = None, entropy: Entropy | None = None) -> Any:
    return SoftwareKeyStoreNotForProduction(MASTER, entropy or SeededEntropy(seed), vault or MemoryVault())


@pytest.mark.parametrize("curve", [Curve.P256, Curve.P224])
@pytest.mark.parametrize("byte", [0x00, 0x5A, 0xFF])
def test_a_key_is_made_with_64_extra_random_bits_as_fips_186_5_says(curve: Curve, byte: int) -> None:
    made = store(entropy=Bytes(byte))
    drawn = int.from_bytes(bytes((byte,)) * (CURVES[curve].half + 8), "big")
    key = ec.derive_private_key(drawn % (CURVES[curve].order - 1) + 1, curve_class(curve))
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert made.generate(Slot.INDICIUM, curve) == point


@pytest.mark.parametrize("curve", [Curve.P256, Curve.P224])
def test_the_tables_name_the_curves_orders(curve: Curve) -> None:
    # The order's own multiple is no private key, and one less is the largest.
    order = CURVES[curve].order
    assert ec.derive_private_key(order - 1, curve_class(curve)).private_numbers().private_value == order - 1
    with pytest.raises(ValueError, match=r"."):
        ec.derive_private_key(order, curve_class(curve))
    assert curve_class(curve).key_size == 8 * CURVES[curve].half


@pytest.mark.parametrize("curve", Curve)
def test_signatures_are_deterministic_after_a_power_cycle_too(curve: Curve) -> None:
    vault = MemoryVault()
    first, second = store(vault=vault), store(vault=vault, entropy=SystemEntropy())
    first.generate(Slot.INDICIUM, curve)
    second.load(first.wrapped())
    assert first.sign(Slot.INDICIUM, b"message") == second.sign(Slot.INDICIUM, b"message")


def test_a_seed_repeats_the_keys_and_the_system_does_not() -> None:
    def run(seed: str) -> tuple[bytes, bytes]:
        made = store(seed)
        made.generate(Slot.INDICIUM)
        made.generate(Slot.MESSAGE)
        return made.public_point(Slot.MESSAGE), made.wrapped()

    assert run("a") == run("a")
    assert run("a")[0] != run("b")[0]
    assert store(entropy=SystemEntropy()).generate(Slot.MESSAGE) != store(entropy=SystemEntropy()).generate(
        Slot.MESSAGE
    )


def test_a_seeded_key_is_a_new_one_in_every_process_of_a_run() -> None:
    # Each process begins the seed's bytes anew; what it loads tells it how far the run is.
    vault, points = MemoryVault(), []
    blob = b""
    for _ in range(3):
        made = store(vault=vault)
        made.load(blob)
        points.append(made.generate(Slot.NEXT_INDICIUM))
        made.promote(Slot.NEXT_INDICIUM, Slot.INDICIUM)
        blob = made.wrapped()
    assert len(set(points)) == 3


def test_the_key_of_two_keys_needs_both() -> None:
    vault, other = MemoryVault(), MemoryVault()
    made = store(vault=vault)
    made.generate(Slot.INDICIUM)
    other.write(bytes(reversed(vault.read())))
    for master, kept in ((MASTER[::-1], vault), (MASTER, other)):
        with pytest.raises(IntegrityError, match="cannot be unwrapped"):
            SoftwareKeyStoreNotForProduction(master, SystemEntropy(), kept).load(made.wrapped())


def test_the_key_encryption_key_is_drawn_with_the_first_key_and_kept() -> None:
    vault = MemoryVault()
    made = store(vault=vault)
    made.load(b"")
    assert vault.read() == made.wrapped() == b""
    made.put(Slot.USER, b"secret")
    kek = vault.read()
    assert len(kek) == 32
    made.generate(Slot.INDICIUM)
    made.load(b"")
    made.generate(Slot.INDICIUM)
    assert vault.read() == kek
    made.zeroize()
    assert vault.read() == b""
    made.generate(Slot.INDICIUM)
    assert vault.read() not in (b"", kek)


def test_the_blob_holds_no_private_key_and_no_repr_does() -> None:
    made = store()
    made.generate(Slot.INDICIUM)
    pair = made._pairs[Slot.INDICIUM]
    assert len(pair.scalar) == 32
    assert pair.scalar not in made.wrapped()
    assert len(made.wrapped()) == 1 + 8 + 40
    assert repr(pair.scalar)[2:12] not in repr(pair)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_master_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError, match=f"{length} bytes, not 32"):
        SoftwareKeyStoreNotForProduction(bytes(length), SystemEntropy(), MemoryVault())


def test_a_vault_with_other_bytes_than_a_key_is_refused() -> None:
    vault = MemoryVault()
    vault.write(b"x" * 31)
    with pytest.raises(IntegrityError, match="31 bytes, not 32"):
        store(vault=vault).generate(Slot.INDICIUM)


# The vault in a file.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.vault"


def everything_in(directory: Path) -> bytes:
    return b"".join(found.read_bytes() for found in directory.rglob("*") if found.is_file())


def test_a_file_vault_keeps_and_gives_back(path: Path) -> None:
    vault = FileVault(path)
    assert vault.read() == b""
    vault.write(b"k" * 32)
    assert FileVault(path).read() == b"k" * 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_a_device_outlives_its_process_and_not_its_zeroizing(path: Path) -> None:
    made = store(vault=FileVault(path))
    point = made.generate(Slot.INDICIUM)
    blob, kek = made.wrapped(), path.read_bytes()
    again = store(vault=FileVault(path))
    again.load(blob)
    assert again.public_point(Slot.INDICIUM) == point
    again.zeroize()
    with pytest.raises(KeysGone):
        store(vault=FileVault(path)).load(blob)
    assert os.listdir(path.parent) == []
    assert kek not in everything_in(path.parent)


def test_destroying_writes_over_the_bytes_and_not_only_the_name(path: Path, tmp_path: Path) -> None:
    vault = FileVault(path)
    vault.write(b"k" * 32)
    link = tmp_path / "another name of the same file"
    os.link(path, link)
    vault.destroy()
    assert not path.exists()
    assert link.read_bytes() == bytes(32)


def test_destroying_syncs_the_zeros_before_the_name_goes_and_the_directory_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, steps = FileVault(path), []
    vault.write(b"k" * 32)

    def noted(name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def call(*arguments: Any) -> Any:
            directory = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            steps.append(f"{name} directory" if directory else name)
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("pwrite", "fsync", "unlink"):
        noted(name)
    vault.destroy()
    assert steps == ["pwrite", "fsync", "unlink", "fsync directory"]


def test_destroying_removes_what_a_cut_write_left(path: Path) -> None:
    vault = FileVault(path)
    vault.write(b"k" * 32)
    left = path.with_name(".0123456789abcdef.tmp")
    left.write_bytes(b"k" * 32)
    other = path.with_name("other.vault")
    other.write_bytes(b"o" * 32)
    vault.destroy()
    assert everything_in(path.parent) == b"o" * 32
    assert not left.exists()


def test_destroying_nothing_is_no_error(path: Path) -> None:
    FileVault(path).destroy()
    FileVault(path.parent / "missing" / "vault").destroy()
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("left", [b"", bytes(32)])
def test_a_vault_whose_destruction_was_cut_off_is_empty(path: Path, left: bytes) -> None:
    made = store(vault=FileVault(path))
    made.generate(Slot.INDICIUM)
    blob = made.wrapped()
    path.write_bytes(left)
    with pytest.raises(KeysGone):
        store(vault=FileVault(path)).load(blob)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_can_use_is_refused_and_destroyed_all_the_same(path: Path, mode: int) -> None:
    vault = FileVault(path)
    vault.write(b"k" * 32)
    path.chmod(mode)
    with pytest.raises(HostileDirectory, match=rf"{re.escape(str(path))}.*mode {mode:03o}.*chmod 600"):
        vault.read()
    vault.destroy()
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(path: Path) -> None:
    vault = FileVault(path)
    vault.write(b"k" * 32)
    os.chown(path, 12345, -1)
    with pytest.raises(HostileDirectory, match="belongs to user 12345"):
        vault.read()


def test_a_symbolic_link_is_refused_and_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    FileVault(target).write(b"k" * 32)
    path.symlink_to(target)
    with pytest.raises(HostileDirectory, match=f"{re.escape(str(path))} is a symbolic link"):
        FileVault(path).read()
    FileVault(path).destroy()
    assert not path.is_symlink()
    assert target.read_bytes() == b"k" * 32


def test_what_is_no_file_is_refused_at_once_and_taken_away_by_destroying(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(HostileDirectory, match="is a FIFO"):
        FileVault(path).read()
    FileVault(path).destroy()
    assert FileVault(path).read() == b""


def test_what_the_system_says_is_told_with_the_path(path: Path) -> None:
    path.mkdir()
    for call in (FileVault(path).destroy, lambda: FileVault(path).write(b"k")):
        with pytest.raises(StorageFailed, match=re.escape(str(path))):
            call()


def test_keys_are_gone_from_memory_even_when_the_vault_says_no(path: Path) -> None:
    made = store(vault=FileVault(path))
    made.generate(Slot.INDICIUM)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageFailed):
        made.zeroize()
    assert not made.has(Slot.INDICIUM)


def test_a_memory_vault_writes_over_its_bytes() -> None:
    vault = MemoryVault()
    vault.write(b"k" * 32)
    held = vault._data
    vault.destroy()
    assert held == bytes(32)
    assert vault.read() == b""
