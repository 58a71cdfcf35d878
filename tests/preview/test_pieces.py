"""A piece as a line of JSON: all that is printed on it, and nothing that is not looked at when it comes back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from pes_sim.errors import UsageError
from pes_sim.indicium.layout import builtin
from pes_sim.preview import pieces
from pes_sim.preview.imprint import Imprint, of_payload
from pes_sim.psd.piece import PieceKind
from tests.preview.made import PAYLOADS, PIECE, changed

ADDRESSED = replace(
    PIECE,
    recipient=("MS Z MILLER", "SPRINGFIELD IL"),
    sender=("EXAMPLE BROTHERS",),
    kind=PieceKind.REPRINT,
    weight_text="3 oz",
    tracking_number="9400",
    extra_services="certified",
)


def drawn_again(imprint: Imprint) -> Imprint:
    """What its line makes, on its way through a file."""
    said = json.loads(json.dumps(pieces.line(imprint, 1)))
    layout = pieces.layout_of(said)
    assert layout is not None
    return of_payload(bytes.fromhex(said["payload_hex"]), layout, **pieces.besides(said))


@pytest.mark.parametrize("name", [name for name in PAYLOADS if name not in ("ibi", "ibi_lite") and "p224" not in name])
def test_a_piece_is_drawn_again_as_it_was(name: str) -> None:
    piece = replace(ADDRESSED, layout=builtin(name), payload=PAYLOADS[name])
    values = piece.layout.unpack(piece.payload).values
    day = date.fromisoformat(str(values["mailing_date"]))
    piece = replace(piece, postage_mills=int(values["postage_mills"]), mailing_date=day)
    assert drawn_again(piece) == piece


def test_a_layout_of_ones_own_has_to_be_given_also_if_it_is_called_like_another() -> None:
    own = replace(PIECE, layout=changed("imi_std", symbol="52x52"))
    with pytest.raises(UsageError, match="its layout 'imi_std' is not one of those built in. Give its file: --layout"):
        drawn_again(own)


@pytest.mark.parametrize("name", ["mine", "/dev/zero", "x.toml", 7, ["imi_std"], {}])
def test_a_layout_that_a_line_names_is_no_file(name: object) -> None:
    with pytest.raises(UsageError, match="is not one of those built in"):
        pieces.layout_of({"layout": name})


def test_a_line_may_say_nothing_but_its_payload() -> None:
    assert pieces.layout_of({}) is None
    assert pieces.besides({"date": "2026-01-05", "department": "100"}) == {}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"kind": "mail"}, "there is no kind 'mail'"),
        ({"kind": []}, r"there is no kind \[\]"),
        ({"printed": []}, "is no JSON object"),
        ({"printed": None}, "is no JSON object"),
        ({"printed": {"layout": "x"}}, "has 'layout', which no piece has"),
        ({"printed": {"text": 7}}, "text is not text"),
        ({"printed": {"piece_count": True}}, "piece_count is not a whole number"),
        ({"printed": {"piece_count": -1}}, "piece_count is not a whole number"),
        ({"printed": {"sender": "ACME"}}, "sender is not a list of up to 3 lines"),
        ({"printed": {"sender": ["a", "b", "c", "d"]}}, "sender is not a list of up to 3 lines"),
        ({"printed": {"recipient": ["a", 7]}}, "recipient is not a list of up to 4 lines"),
    ],
)
def test_what_no_piece_has_is_refused(said: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        pieces.besides(said)
