"""`pes_sim.decode` and `pes_sim.verify`: one payload, in bytes, hex or PEM as people have them at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pes_sim.errors import PayloadError, UsageError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium import verify as verifier
from pes_sim.indicium.certificates import from_pem
from pes_sim.indicium.layout import Indicium
from pes_sim.indicium.verify import Report, Trust


def decode(payload: bytes | str, layout: str = "") -> Indicium:
    """The fields of a payload (bytes, or hex text): `decode(p).values["postage_mills"]`.

    `layout`: a built-in name or the path of a TOML file; empty finds it by the version byte. Raises `PayloadError`.
    """
    data = from_hex(payload) if isinstance(payload, str) else payload
    return (layouts.load(layout) if layout else layouts.recognise(data)).unpack(data)


def verify(payload: bytes | str, *, ca: Path | str, psd: Path | str | Sequence[Path | str]) -> Report:
    """The verdict on a payload (bytes, or hex text), with every check. `ca` and `psd` are PEM files."""
    data = from_hex(payload) if isinstance(payload, str) else payload
    files = [psd] if isinstance(psd, Path | str) else psd
    return verifier.verify(data, trust(Path(ca), [Path(file) for file in files]))


def trust(ca: Path, psd: Sequence[Path]) -> Trust:
    """What a verifier believes, from PEM files. Raises `UsageError` naming one that cannot be read."""
    return Trust(_read_pem(ca), [_read_pem(file) for file in psd])


def from_hex(text: str) -> bytes:
    """Bytes from hex text; blanks and line ends do not matter. Raises `PayloadError` naming the first bad character."""
    digits = "".join(text.split())
    for index, char in enumerate(digits):
        if char not in "0123456789abcdefABCDEF":
            raise PayloadError(f"not hex: {char!r} at character {index + 1}", hint="Only 0-9 and a-f belong there")
    if len(digits) % 2:
        raise PayloadError(f"{len(digits)} hex digits are no whole number of bytes", hint="Is one missing?")
    return bytes.fromhex(digits)


def _read_pem(path: Path) -> bytes:
    try:
        return from_pem(path.read_bytes())
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is not a certificate in PEM") from None
