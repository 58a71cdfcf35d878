"""For every test: a property is judged by what it asserts, never by how fast the machine was at that moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

# On a fresh machine the first text that hypothesis draws takes seconds: it works out a table of characters first.
settings.register_profile("pes_sim", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pes_sim")

_FIGURE = "figure"


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says a figure that was measured by counting: it stands at the end of every run, also of one that passes."""
    return lambda text: record_property(_FIGURE, text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = [
        str(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == _FIGURE
    ]
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write("".join(f"{text}\n" for text in sorted(figures)))
