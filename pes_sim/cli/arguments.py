"""The command line's shape: every subcommand with its options and an example, and which function runs it.

The commands of a meter and of its bench have modules of their own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pes_sim
from pes_sim.cli.bench_arguments import add_bench
from pes_sim.cli.meter_arguments import add_meter
from pes_sim.cli.options import Commands, add, as_json, faults, group

_NOTICE = "Specimens only: nothing this program prints is valid postage."


def build_parser() -> argparse.ArgumentParser:
    """The parser of `pes-sim`."""
    parser = argparse.ArgumentParser(
        prog="pes-sim",
        description=f"A simulated postage meter: security device, serial link, data centre. {_NOTICE}",
        epilog="example: pes-sim demo --out demo-out",
    )
    parser.add_argument("--version", action="version", version=f"pes-sim {pes_sim.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _demo(commands)
    _print(commands)
    _preview(commands)
    _verify(commands)
    _scan(commands)
    _decode(commands)
    _accept(commands)
    _explain(commands)
    _layout(commands)
    _vectors(commands)
    _symbol(commands)
    _imb(commands)
    add_meter(commands)
    add_bench(commands)
    _monitor(commands)
    return parser


def _demo(commands: Commands) -> None:
    p = add(commands, "demo", "pes_sim.cli.demo:run",
            "The whole path in one run: make a meter, refill it, print a mail job, read it back, check the books",
            "pes-sim demo --out demo-out --job examples/mail_job.csv")  # fmt: skip
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to leave the results (replaced)")
    p.add_argument("--job", type=Path, metavar="FILE.csv", help="the mail job (default: the one that comes along)")
    p.add_argument("--departments", type=Path, metavar="FILE.csv", help="code,name of each department")
    p.add_argument("--seed", default="", metavar="TEXT", help="keys, ids and times follow from it: the same run again")
    p.add_argument("--start", default="", metavar="TIME",
                   help="where the virtual clock begins (default: now; with --seed 2026-01-05T15:00:00Z)")  # fmt: skip
    p.add_argument("--utc-offset", default="+00:00", metavar="±HH:MM", help="the meter's fixed offset from UTC")


def _print(commands: Commands) -> None:
    p = add(commands, "print", "pes_sim.cli.printing:run",
            "Print a mail job onto envelopes, labels or tapes, as PDF or pictures",
            "pes-sim print --meter m1 --job examples/mail_job.csv --out indicia.pdf")  # fmt: skip
    p.add_argument("--meter", type=Path, required=True, metavar="DIR", help="the meter's directory")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--job", type=Path, metavar="FILE.csv", help="the mail job")
    what.add_argument("--resume", metavar="ID", help="go on with a job that stopped; pieces already paid stay paid")
    p.add_argument("--out", type=Path, required=True, metavar="FILE.pdf", help="the file to write (replaced)")
    _pages(p)
    p.add_argument("--skip-bad", action="store_true", help="print the good rows and list the others")
    faults(p)


def _preview(commands: Commands) -> None:
    p = add(commands, "preview", "pes_sim.cli.previewing:run",
            "Draw specimens on envelopes, labels, tapes or a proof sheet: a meter's, a payload's, or made-up ones",
            "pes-sim preview --page proof --out proof.png")  # fmt: skip
    p.add_argument("payload", nargs="?", metavar="HEX|FILE",
                   help="hex digits, a file with a payload, or .jsonl with many (default: made-up pieces)")  # fmt: skip
    p.add_argument("--meter", type=Path, metavar="DIR", help="in place of a payload: what this meter has printed")
    p.add_argument("--piece", type=int, metavar="N", help="with --meter: only the piece of this piece count")
    p.add_argument("--out", type=Path, metavar="FILE", help="the file to write (replaced)")
    p.add_argument("--list", action="store_true", help="the kinds of pages there are")
    _pages(p)
    p.add_argument("--as", dest="kind", default="", metavar="KIND",
                   choices=("standard", "date-correction", "amount-correction", "reprint"),
                   help="what a payload is: standard, date-correction, amount-correction or reprint "
                   "(default: standard; of no value: date-correction)")  # fmt: skip
    p.add_argument("--layout", default="", metavar="NAME",
                   help="a payload's layout, or its .toml file (default: by the version byte)")  # fmt: skip


def _pages(p: argparse.ArgumentParser) -> None:
    """What pieces are drawn on, and how."""
    p.add_argument("--page", default="envelope-10", metavar="KIND",
                   help="envelope-10, label, tape or so (envelope-10); 'pes-sim preview --list' has all")  # fmt: skip
    p.add_argument("--format", default="", choices=("pdf", "png", "svg"), help="default: by the file's end")
    p.add_argument("--dpi", type=int, default=300, metavar="N", help="resolution of a PNG (300)")
    p.add_argument("--slogan", default="", metavar="TEXT", help='left of the clear zone; "|" between its lines')
    p.add_argument("--logo", type=Path, metavar="FILE.png", help="in place of a slogan")
    p.add_argument("--logo-dpi", type=int, default=0, metavar="N",
                   help="dots of the logo to an inch (default: as its file says, or 300)")  # fmt: skip


def _verify(commands: Commands) -> None:
    p = add(commands, "verify", "pes_sim.cli.verifying:run_verify",
            "Read indicia from PDF or image files, or payloads from .bin files, and check each",
            "pes-sim verify demo-out/indicia.pdf")  # fmt: skip
    _indicia(p)
    _believed(p)
    p.add_argument("--expect", type=int, default=1, metavar="N",
                   help="symbols on each page at least; it is searched until so many are found (1)")  # fmt: skip
    p.add_argument("--grade", action="store_true", help="how good each print is: an estimate after ISO/IEC 15415")
    as_json(p)


def _indicia(p: argparse.ArgumentParser) -> None:
    """What is read."""
    p.add_argument("files", nargs="+", type=Path, metavar="FILE",
                   help=".pdf, .png, .jpg, .tiff or .bin (one payload), or hex digits")  # fmt: skip


def _believed(p: argparse.ArgumentParser) -> None:
    """What a payload is read and checked with."""
    p.add_argument("--ca", type=Path, metavar="PEM", help="the CA's certificate (default: ca.pem beside the file)")
    p.add_argument("--psd", type=Path, action="append", metavar="PEM",
                   help="a PSD's certificate, as often as needed (default: psd.pem beside the file)")  # fmt: skip
    p.add_argument("--revoked", type=int, action="append", metavar="N",
                   help="serial number of a certificate that is called back, as often as needed")  # fmt: skip
    p.add_argument("--mac-keys", type=Path, metavar="FILE",
                   help="the provider's secret keys of PSDs, for layouts with a MAC (imi_min)")  # fmt: skip
    p.add_argument("--layout", default="", metavar="NAME",
                   help="a layout's name or its .toml file (default: by the version byte)")  # fmt: skip
    p.add_argument("--dpi", type=int, default=300, metavar="N", help="resolution at which PDF pages are drawn (300)")


def _accept(commands: Commands) -> None:
    p = add(commands, "accept", "pes_sim.cli.accepting:run_accept",
            "Judge indicia as the post office does: all that verify checks, and postage, date, copies, registers",
            "pes-sim accept demo-out/indicia.pdf --store scans.db")  # fmt: skip
    _indicia(p)
    p.add_argument("--store", type=Path, required=True, metavar="DB", help="the post office's scans (made if missing)")
    p.add_argument("--mailpiece", default="", metavar="ID",
                   help="all of it is on one mailpiece: an original with its redate or correction")  # fmt: skip
    p.add_argument("--scan-id", default="", metavar="ID",
                   help="the reading's id, which is judged once (default: by file, page and symbol)")  # fmt: skip
    _told(p)
    _believed(p)
    p.add_argument("--brief", action="store_true", help="a line a piece, and what speaks against it")
    as_json(p)


def _told(p: argparse.ArgumentParser) -> None:
    """What a post office goes by."""
    p.add_argument("--date", default="", metavar="YYYY-MM-DD",
                   help="the day of the scan (accept: today; explain: that of mailing)")  # fmt: skip
    p.add_argument("--records", type=Path, metavar="FILE.json",
                   help="meters lost, stolen or withdrawn, refills and reprints (docs/acceptance.md)")  # fmt: skip
    p.add_argument("--rates", type=Path, action="append", metavar="FILE.toml",
                   help="a rate table in place of those that come along, as often as needed")  # fmt: skip
    p.add_argument("--calendar", type=Path, metavar="FILE.toml",
                   help="compliance calendar and window of dates in place of the one that comes along")  # fmt: skip


def _explain(commands: Commands) -> None:
    p = add(commands, "explain", "pes_sim.cli.accepting:run_explain",
            "Go through an indicium as a teacher would: fields, checks and why, the signature step by step",
            "pes-sim explain demo-out/indicia.pdf")  # fmt: skip
    p.add_argument("payload", metavar="HEX|FILE", help="hex digits, or .pdf, .png, .jpg, .tiff or .bin")
    _told(p)
    _believed(p)
    as_json(p)


def _scan(commands: Commands) -> None:
    p = add(commands, "scan", "pes_sim.cli.scanning:run",
            "Print, damage and scan pages, simulated: what a scanner would see of a PDF or a picture, as PNG files",
            "pes-sim scan demo-out/indicia.pdf --out scans --dpi 300 --damage blur=0.1 --damage skew=3")  # fmt: skip
    p.add_argument("file", type=Path, metavar="FILE", help=".pdf, .png, .jpg or .tiff")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the scans go (made if need be)")
    p.add_argument("--dpi", type=int, default=300, metavar="N", help="the scanner's resolution (300)")
    p.add_argument("--damage", action="append", default=[], metavar="NAME=STRENGTH",
                   help="such as blur=0.1 or skew=3, as often as needed; docs/reading.md lists them")  # fmt: skip
    p.add_argument("--realistic", action="store_true", help="damages drawn for each page, as from an office scanner")
    p.add_argument("--seed", type=int, default=1, metavar="N", help="chance follows from it: the same scans again (1)")


def _decode(commands: Commands) -> None:
    p = add(commands, "decode", "pes_sim.cli.verifying:run_decode",
            "Show a payload field by field: offset, length, bytes, meaning, and whether its place is public",
            "pes-sim decode ff4713270011f50fce96010000009aca2921e3f1")  # fmt: skip
    p.add_argument("payload", metavar="HEX|FILE", help="hex digits, or a file with the payload (or with hex digits)")
    p.add_argument("--layout", default="", metavar="NAME",
                   help="a layout's name, or its .toml file (default: by the version byte)")  # fmt: skip
    as_json(p)


def _layout(commands: Commands) -> None:
    what = "Which layouts there are, a layout byte for byte, and what is wrong with a file"
    actions = group(commands, "layout", what, "pes-sim layout check mine.toml")
    run = "pes_sim.cli.layouting:run_"
    add(actions, "list", f"{run}list", "The layouts that come with it", "pes-sim layout list")
    p = add(actions, "show", f"{run}show", "The byte map of a layout, as a table and as a picture",
            "pes-sim layout show imi_std --svg imi_std.svg")  # fmt: skip
    p.add_argument("layout", metavar="NAME|FILE", help="a built-in layout, or a layout's .toml file")
    p.add_argument("--svg", type=Path, metavar="FILE", help="the picture to write (replaced)")
    as_json(p)
    p = add(actions, "check", f"{run}check", "Every mistake in layout files, by line", "pes-sim layout check mine.toml")
    p.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a layout's .toml file")
    as_json(p)


def _vectors(commands: Commands) -> None:
    p = add(commands, "vectors", "pes_sim.cli.vectoring:run",
            "Write test vectors for verifiers: specimens by every layout and scheme, good and bad, with their keys",
            "pes-sim vectors --out indicia.json")  # fmt: skip
    p.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="the file to write (replaced)")


def _symbol(commands: Commands) -> None:
    p = add(commands, "symbol", "pes_sim.cli.drawing:run",
            "Draw one indicium's Data Matrix, with its SPECIMEN band, as PNG, SVG, PDF or ZPL",
            "pes-sim symbol --meter m1 --piece 1 --out piece.png")  # fmt: skip
    p.add_argument("payload", nargs="?", metavar="HEX|FILE", help="hex digits, or a file with the payload")
    p.add_argument("--meter", type=Path, metavar="DIR", help="in place of a payload: a meter, with --piece")
    p.add_argument("--piece", type=int, metavar="N", help="its piece count: which piece of that meter")
    p.add_argument("--out", type=Path, required=True, metavar="FILE",
                   help="ends in .png, .svg, .pdf or .zpl (replaced)")  # fmt: skip
    p.add_argument("--layout", default="", metavar="NAME",
                   help="a layout's name, or its .toml file (default: by the version byte)")  # fmt: skip
    p.add_argument("--dpi", type=int, default=300, metavar="N", help="the printer's resolution (300)")
    p.add_argument("--dots", type=int, default=0, metavar="N",
                   help="dots along one side of a module (default: those of 1/50 inch)")  # fmt: skip


def _imb(commands: Commands) -> None:
    what = "An Intelligent Mail barcode from its digits, and the digits of one; it is no evidence of postage"
    actions = group(commands, "imb", what, "pes-sim imb encode 00300999999999000001 --routing 62701123456")
    run = "pes_sim.cli.mailing:run_"
    p = add(actions, "encode", f"{run}encode", "The 65 bars of a tracking code",
            "pes-sim imb encode 00300999999999000001 --routing 62701123456")  # fmt: skip
    p.add_argument("tracking", metavar="TRACKING",
                   help="20 digits: barcode identifier 2, service type 3, mailer 6 or 9, serial number")  # fmt: skip
    p.add_argument("--routing", default="", metavar="ZIP", help="5, 9 or 11 digits (default: none)")
    as_json(p)
    p = add(actions, "decode", f"{run}decode", "The digits of 65 bars",
            "pes-sim imb decode ATTFATTDTTADTAATTDTDTATTDAFDDFADFDFTFFFFFTATFAAAATDFFTDAADFTFDTDT")  # fmt: skip
    p.add_argument("bars", metavar="BARS", help="65 letters: F full, A ascends, D descends, T neither")
    p.add_argument("--upside-down", action="store_true", help="the piece lies upside down")
    as_json(p)


def _monitor(commands: Commands) -> None:
    p = add(commands, "monitor", "pes_sim.cli.monitoring:run",
            "Show what goes over a port, frame by frame, from between program and device; or what a trace has of it",
            "pes-sim monitor --port tcp:4000 --listen pty:/tmp/meter0")  # fmt: skip
    p.add_argument("--port", metavar="URI",
                   help="the device: a terminal's path, tcp:HOST:PORT, rfc2217:HOST:PORT or serial:PATH")  # fmt: skip
    p.add_argument("--listen", metavar="URI",
                   help="what the program opens instead: pty:, pty:LINK, tcp:PORT or serial:PATH (pty:)")  # fmt: skip
    p.add_argument("--trace", type=Path, metavar="FILE.pcapng",
                   help="write a trace besides; without --port: read this one, - for standard input")  # fmt: skip
    p.add_argument("--json", action="store_true", help="one JSON object a line")
