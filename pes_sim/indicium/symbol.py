"""Data Matrix ECC 200: payload bytes into modules, and out of the image of a page.

Three rules:

* A symbol is one Base 256 segment without an ECI, in a square of the size asked for, whatever the content.
* `writing` writes that. libdmtx, which can be made to, is the second opinion: the same modules, in half as long again
  and with a shared library. zxing-cpp picks the compaction byte by byte and has no switch for it, so as a writer it is
  the third: same size, same payload, other codewords.
* Who wrote a symbol does not read it: zxing-cpp reads, and libdmtx is the second opinion again.

Source of sizes and capacities: ISO/IEC 16022, table 7.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pes_sim.errors import SymbolError
from pes_sim.indicium import writing
from pes_sim.indicium.sizes import CAPACITY, SQUARES

if TYPE_CHECKING:
    from PIL.Image import Image

_INDEX: Final = {size: index for index, size in enumerate(CAPACITY)}
_SIDE: Final = dict(zip(CAPACITY, SQUARES, strict=True))
_DARK_IS_ONE: Final = b"\1" + bytes(255)
"""Translation from grey pixels of a drawn symbol (0 = dark) to modules (1 = dark)."""

_Engine = TypeVar("_Engine")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A square Data Matrix symbol. `size`: modules along one side, the finder pattern included, no quiet zone.

    `modules`: `size * size` bytes, row by row from the top left, 1 = dark.
    """

    size: int
    modules: bytes


def encode(payload: bytes, size: str = "44x44", engine: str = "pes_sim") -> Symbol:
    """The symbol of `payload` in exactly `size`, without ECI.

    Engines "pes_sim" and "dmtx" write one Base 256 segment, module for module the same. Engine "zxing" chooses its own
    compaction.
    Raises `SymbolError` for an unknown size or engine, an empty payload, one that is too long for the size (whichever
    the engine), or, with "dmtx", a missing libdmtx.
    """
    write = _chosen(_WRITERS, engine)
    if size not in CAPACITY:
        raise SymbolError(f"there is no square Data Matrix of {size!r} modules", hint=f"Allowed: {', '.join(CAPACITY)}")
    if not 0 < len(payload) <= CAPACITY[size]:
        raise SymbolError(f"a payload of {len(payload)} bytes does not fit {size}", hint=_what_fits(payload, size))
    return Symbol(_SIDE[size], write(payload, size))


def read(image: Image, engine: str = "zxing", limit: int = 1, timeout_ms: int = 2000) -> list[bytes]:
    """The payloads of up to `limit` Data Matrix symbols in `image`, in no promised order; empty when there is none.

    Engine "zxing" takes a few milliseconds, up to some seconds where there is nothing to find; `reading.find` also says
    where they are. Engine "dmtx" may search for ever and is stopped after `timeout_ms`. A reader can be wrong on a bad
    scan: verify the signature.
    Raises `SymbolError` for an unknown engine, a limit below 1, or a missing libdmtx.
    """
    find = _chosen(_READERS, engine)
    if limit < 1:
        raise SymbolError(f"a limit of {limit} symbols asks for nothing", hint="Give 1 or more")
    if min(image.size) < min(SQUARES):
        return []  # no symbol has so few modules; and libdmtx ends the process at an image of one pixel
    return find(image if image.mode == "L" else image.convert("L"), limit, timeout_ms)


def _chosen(engines: dict[str, _Engine], name: str) -> _Engine:
    if name not in engines:
        raise SymbolError(f"there is no symbol engine {name!r}", hint=f"Allowed: {', '.join(engines)}")
    return engines[name]


def _what_fits(payload: bytes, size: str) -> str:
    best = next((name for name, capacity in CAPACITY.items() if capacity >= len(payload)), None)
    advice = f"the smallest that fits is {best}" if best else "no size holds that much"
    return f"{size} holds 1 to {CAPACITY[size]} bytes; {advice}"


def _write(payload: bytes, size: str) -> bytes:
    return writing.write(payload, _SIDE[size])


def _write_zxing(payload: bytes, size: str) -> bytes:
    import zxingcpp

    # Each of the three is needed: without `eci` it adds ECI 899, without `force_square` it may choose a rectangle, and
    # a `version` that is no int ends the process. Unknown names are ignored silently.
    barcode = zxingcpp.create_barcode(
        payload, zxingcpp.BarcodeFormat.DataMatrix, eci=0, force_square=True, version=_INDEX[size] + 1
    )
    drawn: Any = barcode.to_image(scale=1, add_quiet_zones=False)  # a buffer, which Python before 3.12 cannot type
    return memoryview(drawn).tobytes().translate(_DARK_IS_ONE)


def _write_dmtx(payload: bytes, size: str) -> bytes:
    # pylibdmtx.encode draws 5 pixels a module in RGB, 15 times the work; one grey pixel a module is all there is to it.
    lib = _libdmtx()
    encoder = lib.dmtxEncodeCreate()
    try:
        for name, value in _dmtx_settings(size):
            lib.dmtxEncodeSetProp(encoder, name, value)
        lib.dmtxEncodeDataMatrix(encoder, len(payload), _pointer(lib, payload))
        # A failure (no memory) leaves no image, and ctypes raises at the null pointer: no symbol comes from nothing.
        return ctypes.string_at(encoder.contents.image.contents.pxl, _SIDE[size] ** 2).translate(_DARK_IS_ONE)
    finally:
        lib.dmtxEncodeDestroy(ctypes.byref(encoder))


@cache
def _dmtx_settings(size: str) -> tuple[tuple[int, int], ...]:
    """What makes libdmtx write one Base 256 segment in that size, one grey pixel a module."""
    lib = _libdmtx()
    properties = lib.DmtxProperty
    return (
        (properties.DmtxPropPixelPacking, lib.DmtxPackOrder.DmtxPack8bppK),
        (properties.DmtxPropMarginSize, 0),
        (properties.DmtxPropModuleSize, 1),
        (properties.DmtxPropScheme, lib.DmtxScheme.DmtxSchemeBase256),
        (properties.DmtxPropSizeRequest, _INDEX[size]),
    )


def _read_zxing(image: Image, limit: int, timeout_ms: int) -> list[bytes]:
    from pes_sim.indicium import reading

    return [mark.payload for mark in reading.find(image, limit)][:limit]


def _read_dmtx(image: Image, limit: int, timeout_ms: int) -> list[bytes]:
    # pylibdmtx.decode would do, but for ending every payload at its first zero byte (its issue 109, open since 2019).
    lib = _libdmtx()
    grey = lib.DmtxPackOrder.DmtxPack8bppK
    pixels = image.tobytes()
    found: list[bytes] = []
    with (
        _freed(lib.dmtxImageCreate(_pointer(lib, pixels), *image.size, grey), lib.dmtxImageDestroy) as picture,
        _freed(lib.dmtxDecodeCreate(picture, 1), lib.dmtxDecodeDestroy) as decoder,
    ):
        deadline = lib.dmtxTimeAdd(lib.dmtxTimeNow(), timeout_ms)
        while len(found) < limit:
            with _freed(lib.dmtxRegionFindNext(decoder, deadline), lib.dmtxRegionDestroy) as region:
                if not region:
                    break
                message = lib.dmtxDecodeMatrixRegion(decoder, region, lib.DmtxUndefined)
                with _freed(message, lib.dmtxMessageDestroy):
                    if message:
                        found.append(ctypes.string_at(message.contents.output, message.contents.outputIdx))
    return found


_WRITERS: Final[dict[str, Callable[[bytes, str], bytes]]] = {
    "pes_sim": _write, "dmtx": _write_dmtx, "zxing": _write_zxing,
}  # fmt: skip
_READERS: Final[dict[str, Callable[[Image, int, int], list[bytes]]]] = {"zxing": _read_zxing, "dmtx": _read_dmtx}

_importing = threading.Lock()


@contextmanager
def _freed(pointer: Any, destroy: Callable[[Any], object]) -> Iterator[Any]:
    """Gives a pointer of libdmtx and frees it afterwards; a null one is none, and freeing it does nothing."""
    try:
        yield pointer
    finally:
        destroy(ctypes.byref(pointer))


def _pointer(lib: Any, data: bytes) -> Any:
    """`data` as libdmtx takes it. Whoever calls keeps `data` alive meanwhile."""
    return ctypes.cast(ctypes.c_char_p(data), lib.c_ubyte_p)


@cache
def _libdmtx() -> Any:
    """pylibdmtx's table of C functions. `Any`: it ships no types. Raises `SymbolError` where libdmtx is missing."""
    with _importing:
        try:
            return _import_with_distutils("pylibdmtx.wrapper")
        except (ImportError, OSError) as error:
            raise SymbolError(
                f"libdmtx cannot be loaded ({error})",
                hint="On Debian 12: sudo apt-get install libdmtx0b, and: pip install 'pes-sim[dmtx]'. "
                "Only engine 'dmtx' needs them",
            ) from error


def _import_with_distutils(name: str) -> ModuleType:
    """Imports a module that asks `distutils` for `LooseVersion` and for nothing else.

    Python 3.12 dropped distutils; setuptools brings it back at 120 ms. A stand-in does for the one comparison of
    versions, and is gone after the import: nobody else shall find it.
    """
    package, module = ModuleType("distutils"), ModuleType("distutils.version")
    module.__dict__["LooseVersion"] = _version
    stand_in = {"distutils": package, "distutils.version": module}
    before = {key: sys.modules[key] for key in stand_in if key in sys.modules}
    sys.modules.update(stand_in)
    try:
        return importlib.import_module(name)
    finally:
        for key in stand_in:
            del sys.modules[key]
        sys.modules.update(before)


def _version(text: str) -> tuple[int, ...]:
    """The numbers in a version's text: (0, 7, 7) compares as versions do, "0.7.10" would not."""
    return tuple(int(number) for number in re.findall(r"\d+", text))
