"""`pes_sim.decode` and `pes_sim.verify`: one payload, in bytes, hex or PEM as people have them at hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pes_sim.errors import PayloadError, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium import verify as verifier
from pes_sim.indicium.certificates import from_pem
from pes_sim.indicium.layout import Indicium
from pes_sim.indicium.verify import Report, Trust

SECRETS_FILE: Final = "mac-NOT-FOR-PRODUCTION.keys"
"""Where a provider keeps the keys of its PSDs' MACs."""
_LONGEST_FILE: Final = 1 << 24
_SECRET: Final = re.compile(r"[0-9]{1,10} ([0-9a-fA-F]{2}){6,64}")


def decode(payload: bytes | str, layout: str = "") -> Indicium:
    """The fields of a payload (bytes, or hex text): `decode(p).values["postage_mills"]`.

    `layout`: a built-in name or the path of a TOML file; empty finds it by the version byte. Raises `PayloadError`.
    """
    data = from_hex(payload) if isinstance(payload, str) else payload
    return (layouts.load(layout) if layout else layouts.recognise(data)).unpack(data)


def verify(
    payload: bytes | str,
    *,
    ca: Path | str | None = None,
    psd: Path | str | Sequence[Path | str] = (),
    mac_keys: Path | str | None = None,
    layout: str = "",
) -> Report:
    """The verdict on a payload (bytes, or hex text), with every check. `ca` and `psd` are PEM files, `mac_keys` is the
    provider's file of secret keys, which IMI-MIN is checked with. `layout`: as for `decode`.
    """
    data = from_hex(payload) if isinstance(payload, str) else payload
    files = [psd] if isinstance(psd, Path | str) else psd
    known = [layouts.load(layout)] if layout else None
    believed = trust(Path(ca) if ca else None, [Path(file) for file in files], Path(mac_keys) if mac_keys else None)
    return verifier.verify(data, believed, known)


def trust(ca: Path | None, psd: Sequence[Path], mac_keys: Path | None = None) -> Trust:
    """What a verifier believes, from files. Raises `UsageError` naming one that cannot be read."""
    secrets = read_secrets(mac_keys) if mac_keys else {}
    return Trust(_read_pem(ca) if ca else b"", [_read_pem(file) for file in psd], secrets)


def read_secrets(path: Path) -> dict[int, list[bytes]]:
    """The MAC keys of PSDs, by serial number: a line each, serial number and key in hex. Raises `UsageError`."""
    try:
        data = _small_file(path)
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    if len(data) > _LONGEST_FILE:
        raise UsageError(f"{path} has more than {_LONGEST_FILE} bytes: no keys", hint="A key is a line")
    text = data.decode("utf-8", errors="replace")
    found: dict[int, list[bytes]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (words := line.partition("#")[0].split()):
            continue
        if not _SECRET.fullmatch(" ".join(words)):  # never shown: part of it may be a key
            raise UsageError(f"{path}, line {number}: not a PSD's key", hint="Its serial number, and its key in hex")
        found.setdefault(int(words[0]), []).append(bytes.fromhex(words[1]))
    return found


def from_hex(text: str) -> bytes:
    """Bytes from hex text; blanks and line ends do not matter. Raises `PayloadError` naming the first bad character."""
    digits = "".join(text.split())
    for index, char in enumerate(text, 1):
        if char not in "0123456789abcdefABCDEF" and not char.isspace():
            raise PayloadError(f"not hex: {char!r} at character {index}", hint="Only 0-9 and a-f belong there")
    if len(digits) % 2:
        raise PayloadError(f"{len(digits)} hex digits are no whole number of bytes", hint="Is one missing?")
    return bytes.fromhex(digits)


def _small_file(path: Path) -> bytes:
    """What is in a file, or the beginning of one that is too long to be what it should be."""
    with path.open("rb") as file:
        return file.read(_LONGEST_FILE + 1)


def _read_pem(path: Path) -> bytes:
    try:
        return from_pem(_small_file(path))
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is not a certificate in PEM") from None
