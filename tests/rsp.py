"""Reads NIST's response files (.rsp): `name = value` lines, a blank line between cases, `[section]` lines above."""

from __future__ import annotations

from pathlib import Path

VECTORS = Path(__file__).parent / "vectors"


def cases(name: str) -> list[dict[str, str]]:
    """Every case of a file in tests/vectors. Its section stands under "section"; a lone word stands under itself."""
    found: list[dict[str, str]] = []
    section = ""
    for block in (VECTORS / name).read_text().split("\n\n"):
        case = {}
        for line in block.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                key, _, value = line.partition("=")
                case[key.strip()] = value.strip()
        if case:
            found.append({"section": section, **case})
    return found
