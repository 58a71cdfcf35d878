"""The meter's store as a projection of its PSD's log; test_device.py has what a power cut or a full disk does to it."""

from __future__ import annotations

import pytest

from pes_sim.meter.projection import _department


@pytest.mark.parametrize(
    ("reference", "code"),
    [(b"100", "100"), ("é".encode(), "é"), (b"", "?"), (b"\xff", "?"), (b"a\x07", "?"), (b"x" * 200, "?")],
)
def test_what_is_no_departments_code_is_all_one_departments(reference: bytes, code: str) -> None:
    """The PSD's own port takes any reference, and a table of departments is shown on terminals."""
    assert _department(reference) == code
