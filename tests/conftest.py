"""For every test: a property is judged by what it asserts, never by how fast the machine was at that moment."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# On a fresh machine the first text that hypothesis draws takes seconds: it works out a table of characters first.
settings.register_profile("pes_sim", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pes_sim")
