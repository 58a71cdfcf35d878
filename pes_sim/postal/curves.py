"""Elliptic curves in plain whole numbers, to show how a signature is verified. For teaching only.

It is slow, and whoever measures its time learns its numbers; nothing secret may go through it. The verifier uses
`cryptography`, which the tests hold this against. Sources: FIPS 186-4 (the curves), SEC 1 4.1.4 (the steps).
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple


class Curve(NamedTuple):
    """y² = x³ - 3x + b modulo p; a base point of order n. `length`: bytes of a coordinate, of r and of s."""

    name: str
    p: int
    b: int
    x: int
    y: int
    n: int
    length: int


Point = tuple[int, int] | None
"""A point of a curve; None is the point at infinity, which is to points as zero is to numbers."""

P256: Final = Curve(
    "P-256",
    p=2**256 - 2**224 + 2**192 + 2**96 - 1,
    b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    x=0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    y=0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    n=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    length=32,
)
P224: Final = Curve(
    "P-224",
    p=2**224 - 2**96 + 1,
    b=0xB4050A850C04B3ABF54132565044B0B7D7BFD8BA270B39432355FFB4,
    x=0xB70E0CBD6BB4BF7F321390B94A03C1D356C21122343280D6115C1D21,
    y=0xBD376388B5F723FB4C22DFE6CD4375A05A07476444D5819985007E34,
    n=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF16A2E0B8F03E13DD29455C5C2A3D,
    length=28,
)
BY_SCHEME: Final = {"ecdsa-p256-sha256": P256, "ecdsa-p224-sha256": P224}


def is_on(curve: Curve, point: Point) -> bool:
    """Whether the curve's equation holds for it."""
    if point is None:
        return True
    x, y = point
    return 0 <= x < curve.p and 0 <= y < curve.p and (y * y - (x * x * x - 3 * x + curve.b)) % curve.p == 0


def add(curve: Curve, one: Point, other: Point) -> Point:
    """The sum: the line through both meets the curve once more; the sum is that, mirrored."""
    if one is None:
        return other
    if other is None:
        return one
    if one[0] == other[0] and (one[1] + other[1]) % curve.p == 0:
        return None
    if one == other:
        slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, curve.p)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, curve.p)
    x = (slope * slope - one[0] - other[0]) % curve.p
    return x, (slope * (one[0] - x) - one[1]) % curve.p


def multiply(curve: Curve, times: int, point: Point) -> Point:
    """The point added to itself so many times, by doubling and adding."""
    total: Point = None
    while times:
        if times & 1:
            total = add(curve, total, point)
        point = add(curve, point, point)
        times >>= 1
    return total


class Working(NamedTuple):
    """Every number on the way from a signature to its verdict. `complaint` ends it early; the rest is 0 then."""

    r: int
    s: int
    public: tuple[int, int]
    digest: bytes
    z: int = 0
    w: int = 0
    u1: int = 0
    u2: int = 0
    first: Point = None
    second: Point = None
    total: Point = None
    v: int = 0
    complaint: str = ""

    @property
    def good(self) -> bool:
        """Whether it verifies."""
        return not self.complaint and self.v == self.r


def verify(curve: Curve, point: bytes, message: bytes, signature: bytes) -> Working:
    """ECDSA with SHA-256, step by step. `point`: uncompressed (SEC 1). `signature`: r, then s, big-endian."""
    half = len(signature) // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    public = int.from_bytes(point[1 : 1 + curve.length], "big"), int.from_bytes(point[1 + curve.length :], "big")
    begun = Working(r, s, public, hashlib.sha256(message).digest())
    if len(point) != 1 + 2 * curve.length or not is_on(curve, public):
        return begun._replace(complaint=f"the public key is no point of {curve.name}")
    if not (0 < r < curve.n and 0 < s < curve.n):
        return begun._replace(complaint="r and s must be above 0 and below n")
    z = int.from_bytes(begun.digest, "big") >> max(0, 256 - curve.n.bit_length())
    w = pow(s, -1, curve.n)
    u1, u2 = z * w % curve.n, r * w % curve.n
    first, second = multiply(curve, u1, (curve.x, curve.y)), multiply(curve, u2, public)
    total = add(curve, first, second)
    done = begun._replace(z=z, w=w, u1=u1, u2=u2, first=first, second=second, total=total)
    if total is None:
        return done._replace(complaint="the sum is the point at infinity")
    return done._replace(v=total[0] % curve.n)
