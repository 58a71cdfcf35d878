"""What tells one payload from another, wherever they are compared: copies, reprints, a scan that comes again."""

from __future__ import annotations

from pes_sim.indicium.layout import Layout
from pes_sim.postal.curves import BY_SCHEME


def identity(payload: bytes, layout: Layout | None) -> bytes:
    """The payload in the one form that stands for all of it.

    With n - s in place of s an ECDSA signature is as good, and anybody can write it so: those two are one payload. And
    so are those that differ in bytes behind the layout's end, which nobody signed.
    """
    if layout is None:
        return payload
    payload, curve = payload[: layout.length], BY_SCHEME.get(layout.signature.scheme)
    if curve is None or len(payload) < layout.length:
        return payload
    half = layout.signature.length // 2
    s = int.from_bytes(payload[-half:], "big")
    return payload[:-half] + (curve.n - s).to_bytes(half, "big") if curve.n > s > curve.n - s else payload
