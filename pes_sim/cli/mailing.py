"""`pes-sim imb`: an Intelligent Mail barcode from its digits, and the digits of one."""

from __future__ import annotations

import argparse
import json

from pes_sim.indicium import imb
from pes_sim.indicium.imb import Imb

_NOTICE = "An Intelligent Mail barcode sorts a piece and tracks it. It is no evidence of postage paid."


def run_encode(options: argparse.Namespace) -> int:
    """`pes-sim imb encode TRACKING`"""
    fields = imb.parse(options.tracking, options.routing)
    _show(fields, imb.encode(fields), options.json)
    return 0


def run_decode(options: argparse.Namespace) -> int:
    """`pes-sim imb decode BARS`"""
    bars = options.bars.strip().upper()
    _show(imb.decode(imb.turned(bars) if options.upside_down else bars), bars, options.json)
    return 0


def _show(fields: Imb, bars: str, as_json: bool) -> None:
    parts = {
        "bars": bars,
        "tracking": fields.tracking,
        "barcode_id": fields.barcode_id,
        "service_type": fields.service_type,
        "mailer_id": fields.mailer_id,
        "serial": fields.serial,
        "routing": fields.routing,
    }
    if as_json:
        print(json.dumps(parts | {"notice": _NOTICE}, indent=2))
        return
    for name, value in parts.items():
        print(f"  {name.replace('_', ' '):13} {value or '(none)'}")
    if fields.mailer_id == imb.TEST_MAILER:
        print("The mailer identifier is this simulator's own for specimens, and assumed to be nobody's.")
    print(_NOTICE)
