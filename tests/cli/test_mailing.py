"""`pes-sim imb`: digits into bars and back, and that it is no postage."""

from __future__ import annotations

import json

import pytest

from pes_sim.indicium import imb
from tests.cli.conftest import Cli

TRACKING, ROUTING = "01234567094987654321", "01234567891"
BARS = "AADTFFDFTDADTAADAATFDTDDAAADDTDTTDAFADADDDTFFFDDTTTADFAAADFTDAADA"
NO_POSTAGE = "An Intelligent Mail barcode sorts a piece and tracks it. It is no evidence of postage paid."


def test_bars_are_written_and_read_with_their_fields(cli: Cli) -> None:
    written = cli("imb", "encode", TRACKING, "--routing", ROUTING)
    assert (written.code, written.err) == (0, "")
    assert written.out.splitlines() == [
        f"  bars          {BARS}",
        "  tracking      01234567094987654321",
        "  barcode id    01",
        "  service type  234",
        "  mailer id     567094",
        "  serial        987654321",
        "  routing       01234567891",
        NO_POSTAGE,
    ]
    assert cli("imb", "decode", BARS.lower()).out == written.out


@pytest.mark.parametrize("routing", ["", ROUTING])
def test_json_says_the_same(cli: Cli, routing: str) -> None:
    written = json.loads(cli("imb", "encode", TRACKING, "--routing", routing, "--json").out)
    assert written == {
        "bars": written["bars"], "tracking": TRACKING, "barcode_id": "01", "service_type": "234", "mailer_id": "567094",
        "serial": "987654321", "routing": routing, "notice": NO_POSTAGE,
    }  # fmt: skip
    assert json.loads(cli("imb", "decode", written["bars"], "--json").out) == written


def test_upside_down_is_said_and_read_on_request(cli: Cli) -> None:
    lying = imb.turned(BARS)
    assert cli("imb", "decode", lying).complaint()[1] == "  It reads upside down: turn it by 180 degrees"
    read = cli("imb", "decode", lying, "--upside-down", "--json")
    assert json.loads(read.out)["routing"] == ROUTING


def test_the_simulators_own_mailer_says_so(cli: Cli) -> None:
    out = cli("imb", "encode", f"00300{imb.TEST_MAILER}000001").out
    assert "this simulator's own for specimens, and assumed to be nobody's" in out
    assert "routing       (none)" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("encode", "123"), "'123' is no tracking code"),
        (("encode", "05300567094000000001"), "'05' is no barcode identifier"),
        (("decode", "ADFT"), "4 bars is not 65 bars"),
        (("decode", "F" + BARS[1:]), "the bars are damaged"),
    ],
)
def test_bad_input_is_one_clear_error(cli: Cli, words: tuple[str, ...], said: str) -> None:
    result = cli("imb", *words)
    assert result.code == 2
    assert said in result.complaint()[0]
