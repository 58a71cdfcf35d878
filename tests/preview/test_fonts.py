"""The fonts: what they have, how wide a line is, and a line cut to its room."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.preview import fonts
from pes_sim.preview.block import indicium_box
from pes_sim.preview.marks import Box
from pes_sim.preview.stationery import USUAL
from tests.preview.made import PIECE, text_of, write


@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=80), size=st.integers(4, 30), width=st.floats(0, 400))
def test_any_text_fits_its_line(text: str, size: int, width: float) -> None:
    line = fonts.fit(text, fonts.REGULAR, size, width)
    assert fonts.width(line, fonts.REGULAR, size) <= max(width, fonts.width("…", fonts.REGULAR, size))
    assert len(line.splitlines()) <= 1
    assert line.isprintable()


def test_a_line_is_as_wide_as_reportlab_says() -> None:
    from reportlab.pdfbase.pdfmetrics import stringWidth

    fonts.load_fonts()
    for font in fonts.FONTS:
        line = "SPECIMEN — Zoë, 62701-1234 €"
        assert fonts.width(line, font, 9) == pytest.approx(stringWidth(line, font, 9))


def test_long_text_ends_in_an_ellipsis_on_the_page(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", replace(PIECE, text="word " * 100, mail_class="CLASS " * 20))
    assert re.search(r"(word ){5,}(w|wo|wor|word)?…", text_of(path, Box(280, 45, USUAL.width - 17, USUAL.height / 2)))
    assert re.search(r"CLASS (CLASS )*\w*… 1\.00 oz", text_of(path, indicium_box(44)))


def test_text_that_fits_exactly_is_not_shortened() -> None:
    width = fonts.width("exactly", fonts.BOLD, 8)
    assert fonts.fit("exactly", fonts.BOLD, 8, width) == "exactly"
    assert fonts.fit("exactly", fonts.BOLD, 8, width - 0.1) == "exac…"


@pytest.mark.parametrize(
    ("text", "shown", "lacking"),
    [
        ("Zoë", "Zoë", False),
        ("Łódź Čapek Őry", "Łódz Čapek Ory", False),
        ("Ďáblice \N{HORIZONTAL BAR}", "Dáblice \N{LOZENGE}", True),
        ("Привет", "\N{LOZENGE}" * 6, True),
        ("\N{LOZENGE}", "\N{LOZENGE}", False),
        ("a\uffffb", "a\N{LOZENGE}b", True),
    ],
)
def test_a_letter_that_the_font_lacks_is_shown_without_its_accent_or_as_a_lozenge(
    text: str, shown: str, lacking: bool
) -> None:
    assert fonts.fit(text, fonts.REGULAR, 8, 500) == shown
    assert fonts.lacks(text) is lacking
