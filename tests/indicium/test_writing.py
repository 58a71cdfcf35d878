"""What our own writer is trusted for; that each module is right is compared with three libraries in test_symbol."""

from __future__ import annotations

import subprocess
import sys

from pes_sim.indicium import writing
from pes_sim.indicium.symbol import Symbol
from tests.indicium import datamatrix


def test_a_payload_of_250_bytes_takes_two_codewords_for_its_length() -> None:
    # ISO/IEC 16022, 5.2.9: length div 250 + 249, then length mod 250.
    for length, written in ((249, [249]), (250, [250, 0]), (499, [250, 249]), (500, [251, 0])):
        words = datamatrix.codewords(Symbol(88, writing.write(bytes(length), 88)))
        plain = [(word - 149 * position % 255 - 1) % 256 for position, word in enumerate(words, 1)]
        assert plain[1 : 1 + len(written)] == written
        assert plain[1 + len(written) : 1 + len(written) + length] == [0] * length


def test_a_full_symbol_has_no_padding_and_one_less_has_one() -> None:
    full = datamatrix.data_codewords(Symbol(44, writing.write(bytes(142), 44)))
    assert datamatrix.base256(full).rest == b""
    assert datamatrix.base256(datamatrix.data_codewords(Symbol(44, writing.write(bytes(141), 44)))).rest == (
        bytes([datamatrix.PAD])
    )


def test_the_corner_that_no_codeword_covers_has_a_dark_diagonal() -> None:
    # ISO/IEC 16022, annex F: in 12x12, among others, the last four modules of the mapping matrix.
    modules = writing.write(b"abc", 12)
    assert [modules[row * 12 + column] for row in (9, 10) for column in (9, 10)] == [1, 0, 0, 1]


def test_a_symbol_is_written_without_any_library() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('PIL', 'pylibdmtx', 'zxingcpp')))\n"
        "from pes_sim.indicium.symbol import encode; print(encode(bytes(113)).size)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "44\n"
