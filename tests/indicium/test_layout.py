"""Layouts: the built-in ones byte for byte, the real samples exactly, a file that cannot work refused and why."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pes_sim.errors import LayoutError, PayloadError
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.codings import Value
from pes_sim.indicium.layout import BUILT_IN, Layout, Row, builtin, load, recognise
from pes_sim.indicium.sizes import CAPACITY

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ibi_samples.json").read_text())
FILES = Path(layouts.__file__).parent / "layouts"

VALUES: dict[str, Any] = {
    "indicia_version": 202,
    "provider_id": "99",
    "model_id": "S1",
    "psd_serial": 1234567,
    "algorithm_id": 2,
    "certificate_serial": 4711,
    "piece_count": 3,
    "ascending_mills": 2220,
    "descending_mills": 97780,
    "postage_mills": 740,
    "mailing_date": "2026-11-21",
    "origin_zip": "20260",
    "mail_class": "first_class_letter",
    "weight": 100,
    "destination": "100011234",
    "software_id": 65536,
}
PACKED = "".join(
    [
        "ca", "3939", "5331", "87d61200", "02", "67120000", "03000000", "ac08000000", "f47d0100", "e40200", "01293501",
        "244f00", "0100", "6400", "e20cf60500", "00000100",
    ]
)  # fmt: skip

# IMI-STD, byte for byte: the profile's own table of what stands where.
IMI_STD = [
    ("indicia_version", 0, 1), ("provider_id", 1, 2), ("model_id", 3, 2), ("psd_serial", 5, 4), ("algorithm_id", 9, 1),
    ("certificate_serial", 10, 4), ("piece_count", 14, 4), ("ascending_mills", 18, 5), ("descending_mills", 23, 4),
    ("postage_mills", 27, 3), ("mailing_date", 30, 4), ("origin_zip", 34, 3), ("mail_class", 37, 2), ("weight", 39, 2),
    ("destination", 41, 5), ("software_id", 46, 4),
]  # fmt: skip


def test_imi_std_has_its_fields_where_its_profile_says() -> None:
    layout = builtin("imi_std")
    assert [(f.name, f.offset, f.length) for f in layout.fields] == IMI_STD
    assert (layout.signed_length, layout.signature.length, layout.length) == (50, 64, 114)
    assert layout.length <= 125
    assert layout.symbol == "44x44"


def test_imi_max_is_imi_std_with_a_tracking_number_and_extra_services() -> None:
    layout, standard = builtin("imi_max"), builtin("imi_std")
    place = [(f.name, f.offset, f.length, f.coding) for f in layout.fields]
    assert place[:16] == [(f.name, f.offset, f.length, f.coding) for f in standard.fields]
    assert place[16:] == [("tracking_number", 50, 10, "tracking-le"), ("extra_services", 60, 1, "flags-le")]
    assert (layout.signed_length, layout.signature.length, layout.length, layout.symbol) == (61, 64, 125, "44x44")
    more = {"indicia_version": 204, "tracking_number": "9400100000000000000001", "extra_services": "certified_mail"}
    assert layout.pack(VALUES | more).hex() == "cc" + PACKED[2:] + "01006abd22da9794fd01" + "01"
    none = {"indicia_version": 204, "tracking_number": "", "extra_services": ""}
    assert layout.pack(VALUES | none).hex() == "cc" + PACKED[2:] + "00" * 11


def test_imi_min_has_no_registers_and_a_short_mac() -> None:
    layout = builtin("imi_min")
    names = [f.name for f in layout.fields]
    assert not {"ascending_mills", "descending_mills", "certificate_serial"} & set(names)
    assert (layout.signed_length, layout.signature.length, layout.signature.scheme) == (33, 16, "hmac-sha256")
    assert layout.symbol == "32x32"
    packed = layout.pack({name: value for name, value in VALUES.items() if name in names} | {"indicia_version": 201})
    assert packed.hex() == "c93939533187d612000203000000e4020001293501244f0001006400e20cf60500"


def test_a_withdrawal_has_no_version_and_is_found_by_its_name_only() -> None:
    layout = builtin("withdrawal")
    assert (layout.versions, layout.fields[0].name, layout.fields[0].offset) == (range(0), "provider_id", 0)
    values: dict[str, Any] = {name: VALUES[name] for name in ("provider_id", "model_id", "psd_serial", "algorithm_id",
                              "certificate_serial", "piece_count", "ascending_mills", "mailing_date")}  # fmt: skip
    packed = layout.pack(values | {"control_sum_mills": 100_000, "postage_mills": 97_780})
    parsed = layout.unpack(packed + bytes(64))
    assert parsed.values["origin_zip"] == "00000"  # its constant: invalid, so that it never passes for postage
    assert recognise(packed).name == "ibi"  # as 9 in ASCII is 57; so nobody goes by its first byte


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_layout_stands_in_the_smallest_symbol_that_shows_what_the_real_one_does(name: str) -> None:
    layout = builtin(name)
    assert layout.length <= CAPACITY[layout.symbol]
    smaller = [size for size, capacity in CAPACITY.items() if layout.length <= capacity]
    assert layout.symbol == smaller[0]


def test_imi_std_packs_to_known_bytes() -> None:
    assert builtin("imi_std").pack(VALUES).hex() == PACKED


@pytest.mark.parametrize("sample", VECTORS, ids=lambda sample: sample["name"])
def test_the_real_samples_parse_exactly(sample: dict[str, Any]) -> None:
    payload = bytes.fromhex(sample["hex"])
    layout = recognise(payload)
    parsed = layout.unpack(payload)
    assert layout.name == sample["layout"]
    expected = dict(sample["fields"])
    if "provider_nibble" in expected:
        expected["vendor_model"] = expected.pop("provider_nibble") << 4 | expected.pop("model_nibble")
    if "hmac" in expected:
        assert parsed.signature.hex() == expected.pop("hmac")
    assert {name: parsed.values[name] for name in expected} == expected
    assert parsed.signed + parsed.signature + parsed.trailing == payload


def test_trailing_bytes_are_kept() -> None:
    payload = bytes.fromhex(VECTORS[0]["hex"])
    assert builtin("ibi").unpack(payload).trailing.hex() == "95e62069c775010000"
    assert builtin("ibi").describe(payload)[-1].name == "trailing"
    assert builtin("ibi").describe(payload[:89])[-1].name == "signature"


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (740, "mills", "$0.74"),
        (105, "1/100 oz", "1.05 oz"),
        (1, "pieces", "1 piece"),
        (2, "pieces", "2 pieces"),
        (3, "furlongs {", "3 furlongs {"),
        (4, "", "4"),
        ("#6400", "1/100 oz", "#6400 1/100 oz"),
        ("", "", ""),
        (b"\xca", "mills", "ca"),
    ],
)
def test_a_value_is_said_in_its_unit(value: Value, unit: str, said: str) -> None:
    assert Row("any", 0, 1, b"\0", value, unit, "", "", "").said == said


def test_a_truncated_payload_says_in_which_field_it_ends() -> None:
    layout = builtin("imi_std")
    payload = layout.pack(VALUES) + bytes(64)
    for length in range(len(payload)):
        with pytest.raises(PayloadError) as caught:
            layout.unpack(payload[:length])
        expected = next((name for name, offset, size in IMI_STD if length < offset + size), "signature")
        assert caught.value.detail == {"field": expected, "length": length, "expected": 114}
        assert expected in str(caught.value)


@pytest.mark.parametrize("sample", VECTORS, ids=lambda sample: sample["name"])
def test_a_real_sample_that_is_cut_off_says_in_which_field_it_ends(sample: dict[str, Any]) -> None:
    layout, payload = builtin(sample["layout"]), bytes.fromhex(sample["hex"])
    ends = [(f.offset, f.offset + f.length, f.name) for f in layout.fields]
    ends.append((layout.signed_length, layout.length, "signature"))
    for length in range(layout.length):
        start, last, name = next((start, end - 1, name) for start, end, name in ends if length < end)
        place = f"byte {start}" if start == last else f"bytes {start} to {last}"
        with pytest.raises(PayloadError, match=rf"ends in field {name} \({place}\), {length} of") as caught:
            layout.unpack(payload[:length])
        assert caught.value.detail["field"] == name
    assert layout.unpack(payload).signed == payload[: layout.signed_length]


@pytest.mark.parametrize("provider", ["01", "02", "03", "04", "05", "06", "07", "00", "98"])
def test_no_providers_id_but_the_specimens_can_be_made(provider: str) -> None:
    with pytest.raises(LayoutError, match=f"provider ID '{provider}' is refused"):
        builtin("imi_std").pack({**VALUES, "provider_id": provider})


def test_a_layout_that_hides_a_real_provider_behind_another_name_packs_nothing() -> None:
    changed = document() | {"construct": "VENDOR"}
    changed["field"][1].update(name="model_id")
    changed["field"][2].update(name="provider_id")
    layout = Layout(changed, "vendor.toml")
    layout.pack({**VALUES, "model_id": "08"})
    with pytest.raises(LayoutError, match="bytes 1 and 2 would read as the real provider 07"):
        layout.pack({**VALUES, "model_id": "07"})


def test_a_legacy_layout_may_not_have_a_real_provider_where_ibi_has_it() -> None:
    changed = document() | {"construct": "VENDOR", "versions": [50, 50]}
    changed["signature"] |= {"scheme": "dsa-1024-sha1", "length": 40}
    changed["field"][3].update(name="mark", coding="bytes")
    changed["field"][5].update(name="psd_serial")
    changed["field"].append(changed["field"][5] | {"name": "certificate_serial", "offset": 50})
    layout = Layout(changed, "vendor.toml")
    values = {**VALUES, "indicia_version": 50}
    layout.pack({**values, "mark": b"\x0008\x00"})
    with pytest.raises(LayoutError, match="bytes 6 and 7 would read as the real provider 07"):
        layout.pack({**values, "mark": b"\x0007\x00"})


def test_a_layout_without_versions_may_not_begin_with_a_real_provider_either() -> None:
    changed = document() | {"construct": "VENDOR", "versions": []}
    del changed["field"][0]
    changed["field"][0].update(name="model_id")
    changed["field"][1].update(name="provider_id")
    for row in changed["field"]:
        row["offset"] -= 1
    layout = Layout(changed, "vendor.toml")
    values = {name: value for name, value in VALUES.items() if name != "indicia_version"}
    assert layout.pack({**values, "model_id": "08"}).startswith(b"0899")
    with pytest.raises(LayoutError, match="bytes 0 and 1 would read as the real provider 07"):
        layout.pack({**values, "model_id": "07"})


def test_the_provider_is_never_left_to_a_default() -> None:
    with pytest.raises(LayoutError, match="provider ID None is refused"):
        builtin("imi_std").pack({name: value for name, value in VALUES.items() if name != "provider_id"})


@pytest.mark.parametrize("name", ["ibi", "ibi_lite"])
def test_the_older_constructs_are_read_only(name: str) -> None:
    with pytest.raises(LayoutError, match="read-only"):
        builtin(name).pack({})


def test_a_missing_an_unknown_and_an_impossible_value_are_named() -> None:
    layout = builtin("imi_std")
    with pytest.raises(LayoutError, match="needs a value for weight"):
        layout.pack({name: value for name, value in VALUES.items() if name != "weight"})
    with pytest.raises(LayoutError, match="has no field colour"):
        layout.pack({**VALUES, "colour": 1})
    with pytest.raises(
        LayoutError, match="postage_mills must be a whole number from 0 to 16777215, not 16777216"
    ) as caught:
        layout.pack({**VALUES, "postage_mills": 1 << 24})
    assert caught.value.detail == {"field": "postage_mills"}


values = st.fixed_dictionaries(
    {
        "indicia_version": st.just(202),
        "provider_id": st.just("99"),
        "model_id": st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2),
        "psd_serial": st.integers(0, 2**32 - 1),
        "algorithm_id": st.integers(0, 255),
        "certificate_serial": st.integers(0, 2**32 - 1),
        "piece_count": st.integers(0, 2**32 - 1),
        "ascending_mills": st.integers(0, 2**40 - 1),
        "descending_mills": st.integers(0, 2**32 - 1),
        "postage_mills": st.integers(0, 2**24 - 1),
        "mailing_date": st.integers(0, 20_000).map(lambda n: (date(2000, 1, 1) + timedelta(days=n)).isoformat()),
        "origin_zip": st.integers(0, 99999).map(lambda n: f"{n:05d}"),
        "mail_class": st.sampled_from(["first_class_letter", "first_class_postcard", "international_letter"]),
        "weight": st.integers(0, 65535),
        "destination": st.sampled_from(["", "10001", "100011234", "00501123412", "94105280212"]),
        "software_id": st.integers(0, 2**32 - 1),
    }
)


@given(values, st.binary(min_size=64, max_size=64))
def test_what_is_packed_is_unpacked(chosen: dict[str, Any], signature: bytes) -> None:
    layout = builtin("imi_std")
    parsed = layout.unpack(layout.pack(chosen) + signature)
    assert parsed.values == chosen
    assert parsed.signature == signature


@given(st.binary(min_size=114, max_size=140))
def test_any_bytes_of_the_length_unpack_and_are_kept_whole(payload: bytes) -> None:
    parsed = builtin("imi_std").unpack(payload)
    assert parsed.signed + parsed.signature + parsed.trailing == payload


def test_recognition_goes_by_the_version_byte() -> None:
    assert {version: recognise(bytes([version])).name for version in (0, 57, 80, 99, 201, 202, 204, 255)} == {
        0: "ibi", 57: "ibi", 80: "ibi", 99: "ibi_specimen", 201: "imi_min", 202: "imi_std", 204: "imi_max",
        255: "ibi_lite",
    }  # fmt: skip
    with pytest.raises(PayloadError, match="unknown indicia version 100") as caught:
        recognise(bytes([100]))
    assert caught.value.detail == {"version": 100}
    with pytest.raises(PayloadError, match="empty"):
        recognise(b"")
    with pytest.raises(PayloadError):
        recognise(bytes([202]), [builtin("ibi")])


def test_every_field_says_whether_it_is_public_and_where_from() -> None:
    for name in BUILT_IN:
        for row in builtin(name).describe(bytes([builtin(name).versions.start]) + bytes(200)):
            assert row.basis in ("public", "assumed")
            assert row.meaning
            assert row.source or row.name == "trailing"


def test_the_fields_of_imi_std_are_assumed_but_for_the_provider() -> None:
    for name in ("imi_min", "imi_std", "imi_max", "withdrawal"):
        assert [f.name for f in builtin(name).fields if f.basis == "public"] == ["provider_id"]
        assert builtin(name).signature.basis == "assumed"


# Files of a user's own


def document() -> dict[str, Any]:
    return tomllib.loads((FILES / "imi_std.toml").read_text())


def edit(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    changed = document()
    change(changed)
    return changed


LEGACY = {"scheme": "dsa-1024-sha1", "length": 40}


def _as_mac_without_its_fields(changed: dict[str, Any]) -> None:
    changed["signature"].update(scheme="hmac-sha256", length=16)
    changed["field"][3].update(name="serial")
    changed["field"][10].update(name="date")


def _with_provider_and_model_exchanged(changed: dict[str, Any]) -> None:
    changed["field"][1].update(name="model_id")
    changed["field"][2].update(name="provider_id")


BAD: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("title is missing", lambda d: d.pop("title")),
    ("field 1: unknown key colour. Known: basis, coding", lambda d: d["field"][0].update(colour="red")),
    ("unknown key colour", lambda d: d["signature"].update(colour="red")),
    ("unknown key colour", lambda d: d.update(colour="red")),
    ("versions must be two whole numbers", lambda d: d.update(versions=[1])),
    ("versions must be two whole numbers", lambda d: d.update(versions=[1e400, 1e400])),
    ("the smaller first", lambda d: d.update(versions=[203, 201])),
    ("from 0 to 255", lambda d: d.update(versions=[300, 300])),
    ("writable must be true or false, not 'false'", lambda d: d.update(writable="false")),
    ("title must be a text of 1 to 120", lambda d: d.update(title="x" * 121)),
    ("name must be a text", lambda d: d.update(name="")),
    ("name must be a text", lambda d: d["field"][3].update(name=7)),
    ("offset must be a whole number", lambda d: d["field"][3].update(offset="5")),
    ("length must be a whole number", lambda d: d["field"][3].update(length=4.0)),
    ("length must be a whole number from 1 to 512, not -40", lambda d: d["signature"].update(length=-40)),
    ("signature is missing", lambda d: d.pop("signature")),
    ("field is missing", lambda d: d.pop("field")),
    ("construct is missing", lambda d: d.pop("construct")),
    ("symbol must be a text", lambda d: d.update(symbol=44)),
    ("signature must be a table", lambda d: d.update(signature=7)),
    ("field must be a list of tables", lambda d: d.update(field=[])),
    ("field 1 must be a table", lambda d: d.update(field=[7])),
    ("values must be names with numbers", lambda d: d["field"][12].update(values=[1])),
    ("values must be names with numbers", lambda d: d["field"][12].update(values={"a": "1"})),
    ("values must be names with numbers", lambda d: d["field"][12].update(values={"a": -1})),
    ("a number of its own each", lambda d: d["field"][12].update(values={"a": 1, "b": 1})),
    ("do not fit 2 bytes", lambda d: d["field"][12].update(values={"a": 70000})),
    ("cannot be checked without the fields certificate_serial", lambda d: d["field"][5].update(name="certificate")),
    ("cannot be checked without the fields mailing_date, psd_serial", _as_mac_without_its_fields),
    ("needs the field provider_id", lambda d: d["field"][1].update(name="provider")),
    ("needs the field provider_id", lambda d: d["field"][1].update(coding="name-le", values={"99": 0x3130})),
    ("version 1 does not go with the scheme ecdsa-p256-sha256", lambda d: d.update(versions=[1, 1])),
    ("version 202 does not go with the scheme dsa-1024-sha1", lambda d: d["signature"].update(LEGACY)),
    ("version 90 does not go with", lambda d: d.update(versions=[90, 110]) or d["signature"].update(LEGACY)),
    ("unknown coding 'bcd'", lambda d: d["field"][3].update(coding="bcd")),
    ("has 9 bytes; uint-le takes 1 to 8", lambda d: d["field"][3].update(length=9)),
    ("begins at 6, but the one before ends at 5", lambda d: d["field"][3].update(offset=6)),
    ("begins at 4, but the one before ends at 5", lambda d: d["field"][3].update(offset=4)),
    ("has basis 'sure'", lambda d: d["field"][3].update(basis="sure")),
    ("two fields have one name", lambda d: d["field"][3].update(name="model_id")),
    ("unknown symbol '45x45'", lambda d: d.update(symbol="45x45")),
    (
        "114 bytes do not fit a 40x40 symbol, which holds 112. The smallest that fits is 44x44",
        lambda d: d.update(symbol="40x40"),
    ),
    (
        "No size holds that much",
        lambda d: d["field"].extend(
            d["field"][15] | {"name": f"filler_{n}", "offset": 50 + 128 * n, "length": 128, "coding": "bytes"}
            for n in range(13)
        ),
    ),
    ("field stands 320 times, 256 is the most", lambda d: d.update(field=d["field"] * 20)),
    ("an overlap of 2 bytes", lambda d: d["field"][3].update(offset=3)),
    ("a gap of 1 byte\\.", lambda d: d["field"][3].update(offset=6)),
    ("is public without a source", lambda d: d["field"][1].pop("source")),
    ("the signature has basis 'x'", lambda d: d["signature"].update(basis="x")),
    ("the signature is public without a source", lambda d: d["signature"].update(basis="public", source="")),
    ("field mail_class needs the names it stands for", lambda d: d["field"][12].pop("values")),
    ("field weight is uint-le, which knows no names", lambda d: d["field"][13].update(values={"a": 1})),
    ("has values that are no bits", lambda d: d["field"][12].update(coding="flags-le")),
    ("has values that are no bits", lambda d: d["field"][12].update(coding="flags-le", values={"a+b": 1})),
    (
        "constant must be a whole number from 0 to 255, not 256",
        lambda d: d["field"][9].update(name="reserved", length=1, constant=256),
    ),
    (
        "constant must be 2 bytes, not '00'. Of a bytes field it is written in hex",
        lambda d: d["field"][2].update(name="reserved", coding="bytes", constant="00"),
    ),
    ("constant non-hexadecimal number", lambda d: d["field"][2].update(name="reserved", coding="bytes", constant="x")),
    ("constant must be a whole number or a text", lambda d: d["field"][2].update(constant=1.5)),
    ("field postage_mills is not the same on every piece", lambda d: d["field"][9].update(constant=1)),
    ("nothing here signs by 'rsa'", lambda d: d["signature"].update(scheme="rsa")),
    ("a signature of ecdsa-p256-sha256 has 64 bytes, not 63", lambda d: d["signature"].update(length=63)),
    (
        "a signature of hmac-sha256 has 4 to 32 bytes, not 3",
        lambda d: d["signature"].update(scheme="hmac-sha256", length=3),
    ),
    ("IMI-STD has the provider at bytes 1 and 2, not from 3 on", _with_provider_and_model_exchanged),
    ("version 80 is not above 99, and IMI-STD is", lambda d: d.update(versions=[80, 80], writable=False)),
    (
        "version 100 is above 99, and IBI-FULL is not",
        lambda d: d.update(construct="IBI-FULL", versions=[99, 100], writable=False),
    ),
    ("byte 0 is the field indicia_version", lambda d: d["field"][0].update(name="version")),
    ("text must be a list of up to 8 texts", lambda d: d.update(text="US POSTAGE")),
    ("text must be a list of up to 8 texts", lambda d: d.update(text=["{postage}"] * 9)),
    ("printable characters", lambda d: d.update(text=["{postage}", "a\nb"])),
    ("title must be a text of printable characters", lambda d: d.update(title="\x1b[2J")),
    ("field 1: meaning must be a text of printable characters", lambda d: d["field"][0].update(meaning="a\0b")),
    ("values must be names of printable characters", lambda d: d["field"][12].update(values={"a\x1b": 1})),
    (
        "the line '{colour}' cannot be filled. In braces: postage, date",
        lambda d: d.update(text=["{postage}", "{colour}"]),
    ),
    ("the line '}' cannot be filled", lambda d: d.update(text=["{postage}", "}"])),
    ("the line 'a|b|c' cannot be filled", lambda d: d.update(text=["{postage}", "a|b|c"])),
    ("leaves out {postage}. An indicium shows its amount", lambda d: d.update(text=["{date}"])),
    ("title must be a text of 1 to 120 characters, not ' '", lambda d: d.update(title=" ")),
    ("signature is no field's name: so the bytes after the fields", lambda d: d["field"][2].update(name="signature")),
    ("trailing is no field's name: so the bytes after the layout", lambda d: d["field"][2].update(name="trailing")),
    ("field 1: offset must be .*, not something too large", lambda d: d["field"][0].update(offset=10**5000)),
    ("versions must be .*, not something too large", lambda d: d.update(versions=[1, 10**5000])),
    ("constant must be .*, not something too large", lambda d: d["field"][15].update(constant=10**5000)),
    ("title must be .*, not something too large", lambda d: d.update(title=_nested(5000))),
]


def _nested(depth: int) -> object:
    table: object = 1
    for _ in range(depth):
        table = {"a": table}
    return table


@pytest.mark.parametrize(("complaint", "change"), BAD, ids=[complaint for complaint, _ in BAD])
def test_a_layout_that_cannot_work_is_refused_with_its_reason(
    complaint: str, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(LayoutError, match=complaint) as caught:
        Layout(edit(change), "vendor.toml")
    assert caught.value.message.startswith("vendor.toml: ")
    assert ", line" not in caught.value.message


def test_a_file_with_mistakes_says_the_first_by_its_line_and_how_many_there_are(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (FILES / "imi_std.toml").read_text()
    path.write_text(text.replace("length = 64", "length = 63"))
    with pytest.raises(LayoutError, match=r"mine.toml, line \d+: a signature of ecdsa-p256-sha256 has 64") as caught:
        load(str(path))
    assert path.read_text().splitlines()[_line(caught.value) - 1] == "length = 63"
    path.write_text(text.replace("length = 64", "length = 63").replace('"44x44"', '"45x45"'))
    with pytest.raises(LayoutError, match="one more mistake: pes-sim layout check FILE lists all"):
        load(str(path))
    path.write_text(text.replace('basis = "assumed"', 'basis = "sure"'))
    with pytest.raises(LayoutError, match="Public or assumed\\?; 15 more mistakes") as caught:
        load(str(path))
    assert caught.value.detail == {"mistakes": 16}


def _line(problem: LayoutError) -> int:
    return int(problem.message.split("line ")[1].split(":")[0])


def test_a_file_of_ones_own_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((FILES / "imi_std.toml").read_text().replace('name = "imi_std"', 'name = "mine"', 1))
    assert load(str(path)).name == "mine"
    assert load("ibi") is builtin("ibi")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"= nonsense", "not a TOML file"),
        (b"\xff\xfe", "not a TOML file"),
        (b"a = " + b"[" * 5000, "not a TOML file"),
        (b'a = 1\ntitle = """\n', "line 2: not a TOML file"),
        (b"a = 1\nb = \xff", "line 2: not a TOML file: it is not UTF-8 text"),
        (b"a = 1\nb = 0x" + b"f" * 5000, "line 2: not a TOML file of a layout: a number of 1,000 digits or more"),
        (b"a = 1\nb = " + b"9" * 5000, "line 2: not a TOML file of a layout: a number of 1,000 digits or more"),
        (b"\n\na" + b".a" * 60_000 + b" = 1", "line 3: not a TOML file of a layout: a key of more than 32 parts"),
        (b"a = 1\nb = " + b"[" * 300 + b"]" * 300, "line 2: not a TOML file of a layout: brackets within brackets"),
        (b"", "mine.toml, line 1: name is missing"),
        (b"#" * 140_000, "more than 131072 bytes are no layout"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_layout_is_named(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LayoutError, match=complaint) as caught:
        load(str(path))
    assert "mine.toml" in caught.value.message


def test_a_byte_order_mark_before_a_file_stands_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (FILES / "imi_std.toml").read_bytes())
    assert load(str(path)).name == "imi_std"


def test_without_its_fields_a_layout_is_not_told_what_these_would_do(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text((FILES / "imi_std.toml").read_text().split("[[field]]")[0])
    found = layouts.examine(tmp_path / "mine.toml")[1]
    assert [mistake.text for mistake in found] == ["field is missing"]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(LayoutError, match="imi_min, imi_std, imi_max, withdrawal, ibi_specimen, ibi, ibi_lite"):
        load("imi")
