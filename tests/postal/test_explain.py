"""The teaching view: every field, every check with its reason, and a signature that is really worked out."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pes_sim.errors import UsageError
from pes_sim.indicium.layout import Layout, builtin
from pes_sim.indicium.verify import Trust
from pes_sim.postal.acceptance import CHECKS
from pes_sim.postal.assessment import LONGEST_PAYLOAD, Verdict
from pes_sim.postal.explain import Explanation, explain
from tests.postal.made import DAY, MAX, MIN, SECRET, STD, VENDOR, indicium, office, trust
from tests.rig import CERTIFICATE_SERIAL, SERIAL, operational, pki

SAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "ibi_samples.json").read_text())
IBI, IBI_LITE = (bytes.fromhex(sample["hex"]) for sample in SAMPLES)
LATER = date(2030, 1, 1)


def told(payload: bytes, day: date | None = None, **given: Any) -> Explanation:
    return explain(payload, office(**given), LATER, day)


def step(explained: Explanation, start: str) -> str:
    return next(step.value for step in explained.steps if step.what.startswith(start))


@pytest.mark.parametrize("layout", [STD, MAX, MIN, VENDOR], ids=lambda layout: layout.name)
def test_every_field_and_every_check_is_there_with_its_reason(layout: Layout) -> None:
    payload = indicium(layout)
    explained = told(payload, layouts=[layout])
    assert [row.name for row in explained.fields] == [*(field.name for field in layout.fields), "signature"]
    assert "".join(row.raw for row in explained.fields) == payload.hex()
    assert all(row.coding and row.value and row.meaning and row.basis.split(":")[0] in ("public", "assumed")
               for row in explained.fields)  # fmt: skip
    assert [row.name for row in explained.checks] == [row.name for row in CHECKS]
    assert all(row.note and row.why for row in explained.checks)
    assert explained.assessment.verdict is Verdict.ACCEPTED


def test_more_bytes_than_a_symbol_holds_are_refused() -> None:
    with pytest.raises(UsageError, match="are no payload"):
        told(bytes(LONGEST_PAYLOAD + 1))
    assert not told(bytes(LONGEST_PAYLOAD)).assessment.accepted


@pytest.mark.parametrize("layout", [STD, MAX, VENDOR], ids=lambda layout: layout.name)
def test_a_signature_is_worked_out_to_its_end(layout: Layout) -> None:
    payload = indicium(layout)
    explained = told(payload, layouts=[layout])
    half = layout.signature.length // 2
    assert step(explained, "What is signed") == payload[: layout.signed_length].hex()
    assert step(explained, "SHA-256") == hashlib.sha256(payload[: layout.signed_length]).hexdigest()
    r = payload[layout.signed_length :][:half].hex()
    assert step(explained, "r, the first half") == r
    assert step(explained, "Its x modulo n") == f"{r}\nthe same as r: it verifies"


def test_a_bad_signature_does_not_come_out_as_r() -> None:
    payload = indicium()[:-1] + b"\0"
    assert step(told(payload), "Its x modulo n").endswith("not r: it does not verify")


def test_a_signature_out_of_range_ends_early() -> None:
    payload = indicium()[:50] + bytes(64)
    explained = told(payload)
    assert step(explained, "It ends here") == "r and s must be above 0 and below n"


@pytest.mark.parametrize("believed", [Trust(), trust(psd_certificates=[])])
def test_without_a_certificate_the_sum_ends_at_the_public_key(believed: Trust) -> None:
    explained = told(indicium(), trust=believed)
    assert explained.steps[-1].what.startswith("The public key, from certificate 4711")
    assert "--ca ca.pem" in explained.steps[-1].value


def test_a_mac_is_worked_out_and_its_key_is_not_shown() -> None:
    explained = told(indicium(MIN), trust=trust(secrets={SERIAL: [b"another", SECRET]}))
    assert step(explained, "Its first 16 bytes").startswith(indicium(MIN)[-16:].hex())
    everything = json.dumps(explained.document())
    assert SECRET.hex() not in everything
    assert "32 bytes, not shown" in everything


def test_a_long_key_is_hashed_first() -> None:
    import hmac

    long = bytes(100)
    signed = indicium(MIN)[:33]
    explained = told(signed + hmac.digest(long, signed, "sha256")[:16], trust=trust(secrets={SERIAL: [long]}))
    assert "it verifies" in step(explained, "Its first 16 bytes")


def test_of_a_false_mac_the_right_one_is_not_told() -> None:
    good = indicium(MIN)
    altered = good[:14] + b"\1\2\3" + good[17:]
    explained = told(altered)
    assert "it does not verify" in explained.steps[-1].value
    assert indicium(MIN, postage_mills=0x030201)[-16:].hex() not in json.dumps(explained.document())


def test_without_the_key_a_mac_cannot_be_followed() -> None:
    explained = told(indicium(MIN), trust=Trust())
    assert "--mac-keys" in explained.steps[-1].value


def test_an_older_construct_says_why_it_cannot_be_checked() -> None:
    explained = told(IBI_LITE)
    assert "MAC of 6 bytes" in explained.steps[-1].value
    assert "cannot be checked here" in explained.steps[-1].what


@pytest.mark.parametrize("believed", [Trust(), None], ids=["nothing", "other certificates"])
def test_a_real_ibi_ends_where_its_providers_key_would_be_needed(believed: Trust | None) -> None:
    explained = told(IBI, trust=believed or trust())
    assert "Real PSDs' keys were never published" in explained.steps[-1].value


# IBI specimens


@cache
def legacy() -> tuple[bytes, Trust]:
    """A payload of a device of the legacy profile, and what it takes to check it."""
    rig = operational(layout=builtin("ibi_specimen"), profile="legacy", curve="DSA-1024")
    certificate = rig.ask("get_certificates")["psd_certificate"]
    return rig.dispense()["indicium"], Trust(pki().ca.certificate, [certificate])


def test_a_signature_by_dsa_is_worked_out_to_its_end() -> None:
    payload, known = legacy()
    explained = told(payload, trust=known)
    assert step(explained, "SHA-1") == hashlib.sha1(payload[:49], usedforsecurity=False).hexdigest()
    assert explained.steps[-1].value == f"{payload[49:69].hex()}\nthe same as r: it verifies"
    altered = told(payload[:20] + bytes([payload[20] ^ 1]) + payload[21:], trust=known)
    assert altered.steps[-1].value.endswith("not r: it does not verify")


@pytest.mark.parametrize("wrong", [bytes(20) + b"\1" * 20, b"\1" * 20 + bytes(20), b"\xff" * 40])
def test_numbers_that_no_signature_by_dsa_has_end_it(wrong: bytes) -> None:
    payload, known = legacy()
    assert told(payload[:49] + wrong, trust=known).steps[-1].what == "It ends here"


def test_a_key_of_another_kind_ends_it_too() -> None:
    payload, _ = legacy()
    serials = {"certificate_serial": CERTIFICATE_SERIAL, "psd_serial": SERIAL}
    assert {name: builtin("ibi_specimen").unpack(payload).values[name] for name in serials} == serials
    assert told(payload, trust=trust()).steps[-1].what == "It ends here"


def test_a_scheme_that_nobody_has_heard_of_is_said_to_be_one() -> None:
    import tomllib

    from pes_sim.indicium import layout as layouts

    text = (Path(layouts.__file__).parent / "layouts" / "ibi_lite.toml").read_text()
    layout = Layout(tomllib.loads(text.replace('"hmac-truncated"', '"secret-sauce"')), "mine.toml")
    explained = told(IBI_LITE, layouts=[layout])
    assert explained.steps[-1].value == "Nothing here knows how such a signature is made."


def test_it_is_looked_at_on_its_own_date_unless_said_otherwise() -> None:
    assert f"as if scanned on {DAY}" in told(indicium()).title
    assert told(indicium(), LATER).assessment.verdict is Verdict.STALE
    assert f"as if scanned on {LATER}" in told(IBI_LITE).title, "it has no date"
    payload = indicium()
    assert f"as if scanned on {LATER}" in told(payload[:30] + bytes(4) + payload[34:]).title


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=150), st.sampled_from([b"", b"\xca99S1", b"\xc999S1", b"\x50", b"\xff"]))
def test_no_bytes_raise(noise: bytes, start: bytes) -> None:
    explained = told(start + noise, layouts=None)
    assert json.loads(json.dumps(explained.document()))["verdict"] == explained.assessment.verdict
    assert bool(explained.fields) is bool(explained.steps)


def test_what_is_no_indicium_is_said_and_the_checks_are_still_listed() -> None:
    explained = told(b"\xcb")
    assert (explained.title[:12], len(explained.fields), len(explained.checks)) == ("No indicium:", 0, len(CHECKS))
    assert told(indicium(builtin("withdrawal")), layouts=[builtin("withdrawal")]).fields
