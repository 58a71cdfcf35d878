"""Data Matrix symbols: what is in them, codeword by codeword, and that each engine reads what another wrote."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import zint
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from pes_sim.errors import SymbolError
from pes_sim.indicium import symbol
from pes_sim.indicium.sizes import CAPACITY
from pes_sim.indicium.symbol import Symbol, encode, read
from tests.indicium import datamatrix

WRITERS = ("pes_sim", "dmtx", "zxing")
READERS = ("zxing", "dmtx")
NOISE = random.Random(2026).randbytes(4096)
TRICKY = {
    "zeros": bytes(113),
    "ones": b"\xff" * 113,
    "leading zero": b"\0\0\0" + NOISE[:110],
    "trailing zero": NOISE[:110] + b"\0\0\0",
    "one zero": b"\0",
    "digits": b"0123456789" * 11,
    "text": b"Specimen only, not valid postage",
    "random": NOISE[:113],
    "every byte": bytes(range(128)),
    "upper half": bytes(range(128, 256)),
    "commands": b"\xe7\xf1\xeb\xe6" * 8,  # as codewords: Base 256, ECI, upper shift, C40
    "separators": b"[)>\x1e05\x1d" + b"\x1d" * 20 + b"\x1e\x04",
    "backslash": rb"\x00\\d123^{}",
    "full": NOISE[:142],
}
tricky = pytest.mark.parametrize("payload", TRICKY.values(), ids=TRICKY)
writer = pytest.mark.parametrize("engine", WRITERS)
engine = pytest.mark.parametrize("engine", READERS)


@pytest.fixture
def fresh_libdmtx(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that has not loaded libdmtx yet."""
    encode(b"x", "12x12", "dmtx")
    monkeypatch.delitem(sys.modules, "pylibdmtx.wrapper")
    symbol._libdmtx.cache_clear()
    yield
    symbol._libdmtx.cache_clear()


# --- what is written -------------------------------------------------------------------------------------------------


def zint_symbol(payload: bytes, size: str) -> Symbol:
    """What zint-bindings writes: the third opinion."""
    drawn = zint.Symbol()
    drawn.symbology = zint.Symbology.DATAMATRIX
    drawn.input_mode = zint.InputMode(0)
    drawn.option_2 = list(CAPACITY).index(size) + 1
    drawn.encode(payload)
    side, bits = drawn.rows, drawn.encoded_data  # one row of bytes each, the lowest bit first
    return Symbol(side, bytes(bits[y, x >> 3] >> (x & 7) & 1 for y in range(side) for x in range(side)))


def test_the_test_helper_reads_the_codewords_printed_in_the_standard() -> None:
    # ISO/IEC 16022, annex O: "123456" in 10x10, three data codewords and five of error correction.
    assert list(datamatrix.codewords(zint_symbol(b"123456", "10x10"))) == [142, 164, 186, 114, 25, 5, 88, 102]


@tricky
def test_a_payload_is_one_base_256_segment_and_padding(payload: bytes) -> None:
    words = datamatrix.data_codewords(encode(payload))
    segment = datamatrix.base256(words)
    assert segment.payload == payload
    assert segment.length == len(payload)
    # Nothing but padding follows, and nothing precedes: so no ECI (241) and no other compaction anywhere.
    assert datamatrix.is_padding(segment.rest, len(words))


def test_the_first_codewords_are_latch_and_randomised_length() -> None:
    # ISO/IEC 16022, annex B.2: 113 + (149 * 2 mod 255 + 1) = 157. Padding: 129, then 253-state randomised.
    words = datamatrix.data_codewords(encode(bytes(113)))
    assert list(words[:3]) == [231, 157, 0 + 149 * 3 % 255 + 1]
    assert words[115] == 129
    assert len(words) == 144


@pytest.mark.parametrize("size", CAPACITY)
def test_every_size_is_pinned_and_filled_to_its_capacity(size: str) -> None:
    for length in {1, CAPACITY[size] // 2 + 1, CAPACITY[size]}:
        payload = NOISE[:length]
        drawn = encode(payload, size)
        words = datamatrix.data_codewords(drawn)
        segment = datamatrix.base256(words)
        assert f"{drawn.size}x{drawn.size}" == size
        assert (segment.payload, segment.length) == (payload, length)
        assert datamatrix.is_padding(segment.rest, len(words))


def test_capacities_are_those_measured() -> None:
    assert {size: CAPACITY[size] for size in ("20x20", "32x32", "36x36", "40x40", "44x44", "48x48", "52x52")} == {
        "20x20": 20, "32x32": 60, "36x36": 84, "40x40": 112, "44x44": 142, "48x48": 172, "52x52": 202,
    }  # fmt: skip


def lengths(size: str) -> Iterator[int]:
    """The shortest, the longest, some between, and where the length of a segment takes a second codeword."""
    yield from (length for length in (1, 2, CAPACITY[size] // 2 + 1) if length < CAPACITY[size])
    yield from (length for length in (248, 249, 250, 251, 499, 500) if length < CAPACITY[size])
    yield from {CAPACITY[size] - 1, CAPACITY[size]} - {0}


@pytest.mark.parametrize("size", CAPACITY)
def test_libdmtx_writes_the_same_modules(size: str) -> None:
    for length in lengths(size):
        payload = NOISE[-length:]
        assert encode(payload, size) == encode(payload, size, "dmtx")


@tricky
def test_libdmtx_writes_the_same_modules_whatever_the_content(payload: bytes) -> None:
    assert encode(payload) == encode(payload, engine="dmtx")


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(min_size=1, max_size=CAPACITY["44x44"]))
def test_libdmtx_writes_the_same_modules_for_any_payload(payload: bytes) -> None:
    assert encode(payload) == encode(payload, engine="dmtx")


# Where all bytes are above 127 zint has no better choice than Base 256 either. Left out: below three bytes (it has);
# a full symbol of up to 249 bytes, where its length field says "to the end of the symbol", which is valid too; and
# 144x144, which it interleaves in its own order unless told otherwise.
@pytest.mark.parametrize("size", list(CAPACITY)[1:-1])
def test_four_writers_agree_module_for_module(size: str) -> None:
    for length in {3, CAPACITY[size] // 2 + 2, CAPACITY[size] - 1}:
        if 3 <= length < CAPACITY[size]:
            payload = bytes(byte | 0x80 for byte in NOISE[:length])
            ours = encode(payload, size)
            assert ours == encode(payload, size, "dmtx") == encode(payload, size, "zxing") == zint_symbol(payload, size)


# The sizes that meters' indicia have, all of four regions; and 52x52, the smallest whose blocks are interleaved.
IN_USE = pytest.mark.parametrize("size", ["32x32", "40x40", "44x44", "48x48", "52x52"])


def test_the_test_helper_corrects_as_printed_in_the_standard() -> None:
    # ISO/IEC 16022, annex O, again: 142 164 186 is followed by 114 25 5 88 102.
    assert list(datamatrix.correction(bytes([142, 164, 186]), 5)) == [114, 25, 5, 88, 102]
    assert datamatrix.syndromes(bytes([142, 164, 186, 114, 25, 5, 88, 102]), 5) == [0] * 5


@IN_USE
@pytest.mark.parametrize("engine", [*WRITERS, "zint"])
def test_every_codeword_of_the_error_correction_is_right(size: str, engine: str) -> None:
    for length in (1, CAPACITY[size] // 2, CAPACITY[size]):
        payload = NOISE[:length]
        drawn = zint_symbol(payload, size) if engine == "zint" else encode(payload, size, engine)
        _, length = datamatrix.CORRECTION[drawn.size]
        for block in datamatrix.blocks(drawn):
            assert block[-length:] == datamatrix.correction(block[:-length], length)
            assert datamatrix.syndromes(block, length) == [0] * length


@IN_USE
def test_a_wrong_module_is_seen_by_the_error_correction(size: str) -> None:
    drawn = encode(NOISE[: CAPACITY[size]], size)
    middle = drawn.size // 4 * drawn.size + drawn.size // 4
    wrong = Symbol(drawn.size, bytes(dot ^ (at == middle) for at, dot in enumerate(drawn.modules)))
    length = datamatrix.CORRECTION[drawn.size][1]
    assert any(any(datamatrix.syndromes(block, length)) for block in datamatrix.blocks(wrong))


@IN_USE
def test_placement_is_read_back_codeword_by_codeword(size: str) -> None:
    # The whole way down: modules to codewords, codewords to the payload; and by three writers the same.
    payload = bytes(byte | 0x80 for byte in NOISE[: CAPACITY[size] - 1])
    by_us = datamatrix.codewords(encode(payload, size))
    data, (count, length) = (
        datamatrix.TABLE[int(size.split("x")[0])][1],
        datamatrix.CORRECTION[encode(payload, size).size],
    )
    assert len(by_us) == data + count * length
    assert datamatrix.base256(by_us[:data]).payload == payload
    assert by_us == datamatrix.codewords(encode(payload, size, "zxing"))
    assert by_us == datamatrix.codewords(zint_symbol(payload, size))


@tricky
def test_the_zxing_writer_pins_the_size_and_adds_no_eci(payload: bytes) -> None:
    drawn = encode(payload, "44x44", "zxing")
    words = datamatrix.data_codewords(drawn)
    assert drawn.size == 44
    assert words[0] != datamatrix.ECI
    assert read(datamatrix.picture(drawn), "dmtx") == [payload]  # which would show an ECI as three bytes more


def test_zxing_cannot_be_made_to_write_base_256() -> None:
    # Should this fail one day, a library can write what `writing` does: see the second rule of the module.
    digits = datamatrix.data_codewords(encode(b"1" * 40, "44x44", "zxing"))
    assert set(digits[:20]) == {130 + 11}  # pairs of digits, in ASCII compaction


# --- both directions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("writer", WRITERS)
@tricky
def test_either_reads_what_either_wrote(payload: bytes, writer: str, reader: str) -> None:
    assert read(datamatrix.picture(encode(payload, "44x44", writer)), reader) == [payload]


@settings(max_examples=25, deadline=None)
@given(payload=st.binary(min_size=1, max_size=CAPACITY["44x44"]))
def test_any_payload_comes_back(payload: bytes) -> None:
    picture = datamatrix.picture(encode(payload), scale=4)
    assert read(picture, "zxing") == read(picture, "dmtx") == [payload]


@pytest.mark.parametrize("size", CAPACITY)
def test_every_size_is_read(size: str) -> None:
    payload = NOISE[: CAPACITY[size]]
    picture = datamatrix.picture(encode(payload, size), scale=4)
    assert read(picture, "zxing") == read(picture, "dmtx") == [payload]


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["16x48", "45x45", "44", "", "44X44"])
def test_an_unknown_size_names_the_allowed_ones(size: str) -> None:
    with pytest.raises(SymbolError, match=r"Allowed: 10x10, 12x12, .*, 44x44, .*, 144x144$"):
        encode(b"x", size)


@writer
def test_a_long_payload_names_capacity_and_the_size_that_fits(engine: str) -> None:
    with pytest.raises(SymbolError, match=r"143 bytes does not fit 44x44.*holds 1 to 142 bytes.*fits is 48x48$"):
        encode(bytes(143), "44x44", engine)


@writer
def test_a_payload_beyond_every_size_is_told_so(engine: str) -> None:
    with pytest.raises(SymbolError, match=r"1556 bytes does not fit 144x144.*no size holds that much$"):
        encode(bytes(1556), "144x144", engine)


@writer
def test_an_empty_payload_is_refused(engine: str) -> None:
    with pytest.raises(SymbolError, match="0 bytes"):
        encode(b"", "10x10", engine)


def test_an_unknown_engine_names_the_allowed_ones() -> None:
    with pytest.raises(SymbolError, match=r"'zint'\. Allowed: pes_sim, dmtx, zxing"):
        encode(b"x", engine="zint")
    with pytest.raises(SymbolError, match=r"'zint'\. Allowed: zxing, dmtx"):
        read(Image.new("L", (100, 100)), engine="zint")


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(SymbolError, match="limit of 0"):
        read(Image.new("L", (100, 100)), limit=0)


# --- reading pages ---------------------------------------------------------------------------------------------------


def page(*symbols: Symbol, scale: int = 5) -> Image.Image:
    """A white page with the symbols side by side."""
    whole = Image.new("L", (100 + 300 * len(symbols), 400), 255)
    for number, drawn in enumerate(symbols):
        whole.paste(datamatrix.picture(drawn, scale), (50 + 300 * number, 60))
    return whole


@engine
def test_up_to_limit_symbols_are_read(engine: str) -> None:
    payloads = [NOISE[start : start + 50] for start in (0, 100, 200)]
    whole = page(*(encode(payload, "32x32") for payload in payloads))
    assert sorted(read(whole, engine, limit=3)) == sorted(payloads)
    two = read(whole, engine, limit=2)
    assert len(two) == 2
    assert set(two) < set(payloads)
    assert len(read(whole, engine)) == 1


@engine
def test_equal_symbols_count_each(engine: str) -> None:
    drawn = encode(NOISE[:50], "32x32")
    assert read(page(drawn, drawn), engine, limit=2) == [NOISE[:50]] * 2


@engine
def test_fewer_symbols_than_the_limit_are_no_error(engine: str) -> None:
    assert read(page(encode(NOISE[:50], "32x32")), engine, limit=2, timeout_ms=200) == [NOISE[:50]]


@engine
def test_a_blank_page_has_none(engine: str) -> None:
    assert read(Image.new("L", (300, 300), 255), engine) == []


@engine
@pytest.mark.parametrize("size", [(0, 0), (1, 1), (9, 500), (500, 1), (10, 10)])
def test_an_image_too_small_for_a_symbol_has_none(engine: str, size: tuple[int, int]) -> None:
    assert read(Image.new("L", size), engine) == []


@engine
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "CMYK"])
def test_every_mode_of_image_is_read(engine: str, mode: str) -> None:
    assert read(datamatrix.picture(encode(NOISE[:113])).convert(mode), engine) == [NOISE[:113]]


@engine
def test_other_barcodes_are_not_taken_for_it(engine: str) -> None:
    import zxingcpp

    code = zxingcpp.create_barcode("123456", zxingcpp.BarcodeFormat.QRCode)
    assert read(Image.fromarray(code.to_image(scale=8)), engine, timeout_ms=200) == []


def test_the_dmtx_reader_stops_in_time() -> None:
    whole = Image.new("L", (1500, 1500), 255)
    whole.paste(datamatrix.picture(encode(NOISE[:113]), scale=3), (0, 0))  # it searches from the middle outwards
    assert read(whole, "dmtx", timeout_ms=0) == []
    assert read(whole, "dmtx", timeout_ms=60_000) == [NOISE[:113]]


def scanned(payload: bytes, scale: float, noise: int, seed: int) -> Image.Image:
    """A symbol as a poor scanner sees it: `scale` pixels a module, unsharp, with `noise` grey levels of noise."""
    sharp = datamatrix.picture(encode(payload), scale=12)
    side = round(sharp.width * scale / 12)
    grey = sharp.filter(ImageFilter.GaussianBlur(4)).resize((side, side), Image.Resampling.BILINEAR)
    dice = random.Random(seed)
    pixels = bytes(max(0, min(255, round(30 + value * 0.75 + dice.gauss(0, noise)))) for value in grey.tobytes())
    return Image.frombytes("L", grey.size, pixels)


# What each step of the ladder is for; which scans need it was found by trying.
NEEDS_SMOOTHING = scanned(NOISE[:113], 6, noise=60, seed=1)
NEEDS_ENLARGING = scanned(NOISE[:113], 6, noise=40, seed=6)


def test_a_noisy_scan_is_smoothed() -> None:
    assert read(NEEDS_SMOOTHING) == [NOISE[:113]]


def test_a_coarse_scan_is_enlarged() -> None:
    assert read(NEEDS_ENLARGING) == [NOISE[:113]]


def test_the_search_goes_on_until_the_limit_is_reached() -> None:
    clean = datamatrix.picture(encode(b"easy to read", "20x20"))
    whole = Image.new("L", (NEEDS_SMOOTHING.width + clean.width + 60, NEEDS_SMOOTHING.height + 40), 255)
    whole.paste(clean, (20, 20))
    whole.paste(NEEDS_SMOOTHING, (clean.width + 40, 20))
    assert read(whole) == [b"easy to read"]
    assert sorted(read(whole, limit=2)) == sorted([b"easy to read", NOISE[:113]])


def damaged(rows: range, columns: range) -> Image.Image:
    """A symbol with some modules inverted: inside one of its four regions, so that it is still found."""
    modules = bytearray(encode(NOISE[:113]).modules)
    for row in rows:
        for column in columns:
            modules[row * 44 + column] ^= 1
    return datamatrix.picture(Symbol(44, bytes(modules)))


@engine
def test_little_damage_is_repaired(engine: str) -> None:
    assert read(damaged(range(5, 12), range(5, 12)), engine) == [NOISE[:113]]


@engine
def test_damage_beyond_repair_gives_nothing_rather_than_something_wrong(engine: str) -> None:
    assert read(damaged(range(2, 20), range(2, 20)), engine, timeout_ms=200) == []


# --- libraries -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_libdmtx")
def test_a_missing_libdmtx_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pylibdmtx.dmtx_library.find_library", lambda name: None)
    for use in (lambda: encode(b"x", engine="dmtx"), lambda: read(Image.new("L", (100, 100)), "dmtx")):
        with pytest.raises(SymbolError, match="sudo apt-get install libdmtx0b"):
            use()
    assert read(datamatrix.picture(encode(b"x"))) == [b"x"]


@pytest.mark.usefixtures("fresh_libdmtx")
def test_an_unloadable_libdmtx_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pylibdmtx.dmtx_library.find_library", lambda name: "/nowhere/libdmtx.so")
    with pytest.raises(SymbolError, match="libdmtx0b"):
        encode(b"x", engine="dmtx")


@pytest.mark.usefixtures("fresh_libdmtx")
@pytest.mark.parametrize("there", [ModuleType("distutils"), None], ids=["present", "forbidden"])
def test_distutils_is_neither_needed_nor_left_changed(
    monkeypatch: pytest.MonkeyPatch, there: ModuleType | None
) -> None:
    # None is how Python marks a module that must not be found: as good as 3.12 without setuptools.
    monkeypatch.setitem(sys.modules, "distutils", there)
    monkeypatch.delitem(sys.modules, "distutils.version", raising=False)
    encode(b"x", engine="dmtx")
    assert sys.modules["distutils"] is there
    assert "distutils.version" not in sys.modules


def test_versions_compare_as_numbers() -> None:
    assert symbol._version("0.7.4") < symbol._version("0.7.5") < symbol._version("0.7.10") < symbol._version("1.0rc1")


def test_importing_the_module_loads_no_library() -> None:
    program = (
        "import sys, pes_sim.indicium.symbol; print([n for n in ('PIL', 'zxingcpp', 'pylibdmtx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
