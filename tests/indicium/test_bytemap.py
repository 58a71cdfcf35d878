"""The byte map: every byte of a layout is in it once, as rows and as a picture."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pes_sim.indicium import bytemap
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.layout import BUILT_IN, Layout, builtin

SVG = "{http://www.w3.org/2000/svg}"


def document() -> dict[str, Any]:
    return tomllib.loads((Path(layouts.__file__).parent / "layouts" / "imi_std.toml").read_text())


def picture(layout: Layout) -> ElementTree.Element:
    return ElementTree.fromstring(bytemap.svg(layout))


def texts(drawn: ElementTree.Element) -> list[str]:
    return [str(element.text) for element in drawn.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_rows_cover_every_byte_once(name: str) -> None:
    layout, position = builtin(name), 0
    for part in bytemap.parts(layout):
        assert part.offset == position
        position += part.length
    assert position == layout.length


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_boxes_of_the_picture_cover_every_byte_once(name: str) -> None:
    layout = builtin(name)
    boxes = [box for box in picture(layout).iter(f"{SVG}rect") if box.get("height") == "46"]
    assert sum(float(str(box.get("width"))) for box in boxes) == 64 * layout.length
    corners = {(box.get("x"), box.get("y")) for box in boxes}
    assert len(corners) == len(boxes)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_picture_names_every_field_with_its_bytes_and_its_meaning(name: str) -> None:
    layout = builtin(name)
    shown = texts(picture(layout))
    assert {layout.title, bytemap.summary(layout)} <= set(shown)
    for number, part in enumerate(bytemap.parts(layout), 1):
        assert {f"({number})", part.span, part.name, part.meaning[:117]} <= {text[:117] for text in shown}


def test_public_and_assumed_fields_and_the_signature_have_colours_of_their_own() -> None:
    boxes = [box.get("fill") for box in picture(builtin("imi_std")).iter(f"{SVG}rect") if box.get("height") == "46"]
    assert [boxes[1], boxes[2], boxes[-1]] == ["#cde7cd", "#fbe3b6", "#d5def3"]
    key = [box.get("fill") for box in picture(builtin("imi_std")).iter(f"{SVG}rect") if box.get("height") == "12"]
    assert key == ["#cde7cd", "#fbe3b6", "#d5def3"]


def test_a_name_that_does_not_fit_its_box_is_a_number_there() -> None:
    changed = document()
    changed["field"][9]["name"] = "abcdefghijklmnop"  # one byte has room for ten letters
    changed["field"][9].update(name="x" * 40 + "_" + "<&>", length=3)
    changed["field"][4]["name"] = "a_very_long_name_for_one_byte"
    changed["field"][13]["meaning"] = "m" * 200
    shown = texts(picture(Layout(changed, "vendor.toml")))
    assert shown.count("(5)") == shown.count("(10)") == 2  # in the box, and in the legend
    assert "m" * 117 + "…" in shown
    assert ("x" * 40)[:26] in shown


def test_a_name_of_two_words_stands_in_two_lines() -> None:
    shown = texts(picture(builtin("imi_std")))
    assert {"indicia_", "version", "algorithm_", "id"} <= set(shown)


def test_a_constant_says_what_it_always_is() -> None:
    part = next(part for part in bytemap.parts(builtin("withdrawal")) if part.name == "origin_zip")
    assert part.meaning.endswith("; always 00000")


@pytest.mark.parametrize(
    ("name", "summary"),
    [
        ("imi_min", "49 bytes, 32x32 Data Matrix, hmac-sha256, version 201, made and read"),
        ("withdrawal", "102 bytes, 40x40 Data Matrix, ecdsa-p256-sha256, no version, made and read"),
        ("ibi", "89 bytes, 40x40 Data Matrix, dsa-1024-sha1, versions 0 to 99, read only"),
    ],
)
def test_a_layout_in_a_line(name: str, summary: str) -> None:
    assert bytemap.summary(builtin(name)) == summary


def test_bytes_and_certainty_as_people_read_them() -> None:
    first, second = bytemap.parts(builtin("imi_std"))[:2]
    assert (first.span, second.span) == ("0", "1-2")
    assert second.said == "public: bytes 1-2 in an unofficial verification tool (2017)"
    assert first._replace(source="").said == "assumed"
