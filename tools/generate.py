"""Writes what comes from tables: parts of the documentation, between their marks, and whole files for other languages.

--check says which are stale. What a whole file holds is made by a module of its own, beside this one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pes_sim.bench.actions import ACTIONS, ANSWERS, Action
from pes_sim.bench.actions import EVENTS as BENCH_EVENTS
from pes_sim.clock import HOUR
from pes_sim.indicium import bytemap
from pes_sim.indicium import layout as layouts
from pes_sim.indicium.codings import CODINGS
from pes_sim.indicium.definition import PLACEHOLDERS
from pes_sim.indicium.grade import PARAMETERS, Parameter
from pes_sim.indicium.reading import PASSES
from pes_sim.link.events import EVENTS
from pes_sim.link.message import LINK_SERVICES
from pes_sim.meter import services as meter_services
from pes_sim.postal import acceptance, calendar
from pes_sim.preview import scanner
from pes_sim.preview.damage import DAMAGES
from pes_sim.preview.stationery import KINDS, Barcode, kind_of
from pes_sim.provider import vectors
from pes_sim.psd import messages
from pes_sim.psd.faults import MEANING
from pes_sim.psd.fields import FIELDS, Field, Form
from pes_sim.psd.lifecycle import TRANSITIONS, State
from pes_sim.psd.locks import LOCKS
from pes_sim.psd.piece import FILLED
from pes_sim.psd.policy import POLICIES
from pes_sim.psd.roles import Role
from pes_sim.psd.selftest import TESTS
from pes_sim.psd.services import SERVICES, Service
from tools import c_header, conformance, errors_page, frame_vectors, lua_tables
from tools.markdown import table

ROOT = Path(__file__).parent.parent


def _names(fields: Sequence[Field], optional: Sequence[Field] = ()) -> str:
    may = [f"({field.name})" for field in optional]
    return ", ".join([field.name for field in fields] + may) or "none"


def _services(rows: Iterable[Service]) -> str:
    def flags(s: Service) -> str:
        return "signed by the provider" if s.signed else "once per request id" if s.changes else "reads"

    head = ("code", "service", "request", "reply", "effect", "meaning")
    return table(
        head,
        [
            (f"0x{s.code:02X}", s.name, _names(s.request, s.optional), _names(s.reply), flags(s), s.meaning)
            for s in rows
        ],
    )


def _statuses(service: Service) -> str:
    return ", ".join(status.name for status in service.statuses)


def _refusals() -> str:
    return table(
        ("service", "needs", "may be refused with"),
        [(s.name, ", ".join(s.needs) or "nothing", _statuses(s)) for s in SERVICES],
    )


def _meter_refusals() -> str:
    return table(
        ("service", "may be refused with"), [(s.name, _statuses(s)) for s in (*LINK_SERVICES, *meter_services.OWN)]
    )


def _matrix() -> str:
    """Service by state: who may ask for it there."""

    def who(s: Service) -> str:
        return "all" if Role.NONE in s.roles else ", ".join(role for role in Role if role in s.roles)

    head = ("service", "for", *(state.value.lower() for state in State))
    return table(head, [(s.name, who(s), *("yes" if state in s.states else "" for state in State)) for s in SERVICES])


def _locks() -> str:
    return table(
        ("reason", "status", "when", "cleared by", "the provider may order it"),
        [
            (lock, str(row.status), row.meaning, row.cleared_by, "yes" if row.ordered else "")
            for lock, row in LOCKS.items()
        ],
    )


def _policies() -> str:
    def span(microseconds: int) -> str:
        hours = microseconds // HOUR
        return "none" if not hours else f"{hours} h" if hours <= 72 else f"{hours // 24} days"

    return table(
        ("regime", "check-in due", "locked", "inspection warning", "inspection lock", "dial-up"),
        [
            (regime, span(p.warn), span(p.block), span(p.inspection_warn), span(p.inspection_block),
             "allowed" if p.dial_up else "no")
            for regime, p in POLICIES.items()
        ],
    )  # fmt: skip


def _self_tests() -> str:
    return table(
        ("name", "kind", "vouches for", "140-2 profile", "140-3 profile", "source"),
        [(t.name, t.kind, t.algorithm or "", t.fips_140_2.value, t.fips_140_3.value, t.source) for t in TESTS],
    )


def _field_rows() -> str:
    def most(field: Field) -> str:
        return str(field.limit) if field.form in (Form.UINT, Form.INT) else f"{field.limit} long"

    def meaning(field: Field) -> str:
        return field.meaning + (" (secret: no trace shows it)" if field.secret else "")

    return table(
        ("number", "field", "form", "at most", "meaning"),
        [(f.number, f.name, f.form, most(f), meaning(f)) for f in FIELDS],
    )


def _actions() -> str:
    def call(action: Action) -> str:
        fields = ", ".join(p.name if p.needed else f"[{p.name}]" for p in action.parameters)
        return f"`{action.verb} {action.path}`" + (f" {fields}" if fields else "")

    def arguments(action: Action) -> str:
        return "; ".join(f"`{p.name}` ({p.form}{' ' if p.words else ''}{' or '.join(p.words)}): {p.meaning}"
                         for p in action.parameters)  # fmt: skip

    return table(
        ("`pes-sim bench DIR …`", "what", "HTTP", "arguments", "also refused with"),
        [(f"`{a.example}`", a.what, call(a), arguments(a), ", ".join(a.refusals)) for a in ACTIONS],
    )


def _answers() -> str:
    return table(
        ("of", "name", "type", "what it says"),
        [(of, fact.name, fact.kind, fact.meaning) for of, facts in ANSWERS.items() for fact in facts],
    )


_SIGNERS = {"psd": "the PSD", "provider": "the provider", "role": "provider or inspector"}


def _events() -> str:
    head = ("code", "event", "says", "meaning")
    return table(head, [(f"0x{e.code:02X}", e.name, _names(e.fields), e.meaning) for e in EVENTS])


def _message_rows() -> str:
    return table(
        ("number", "message", "signed by", "fields"),
        [(k.number, k.name, _SIGNERS[k.signer], _names(k.fields)) for k in messages.KINDS],
    )


def _transitions() -> str:
    return table(
        ("state", "event", "leads to"),
        [(state, event, target) for state, row in TRANSITIONS.items() for event, target in row.items()],
    )


def _realistic() -> str:
    return table(
        ("damage", "from", "to", "unit", "of all pages"),
        [(name, f"{may.least:g}", f"{may.most:g}", scanner.unit(name), f"{may.share:.0%}")
         for name, may in scanner.REALISTIC.items()],
    )  # fmt: skip


def _parameters() -> str:
    def limits(parameter: Parameter) -> str:
        sign = "≥" if parameter.more_is_better else "≤"
        return ", ".join(f"{letter} {sign} {limit:g}" for letter, limit in zip("ABCD", parameter.limits, strict=True))

    return table(
        ("parameter", "unit", "limits", "measured"),
        [(name.replace("_", " "), p.unit, limits(p), p.meaning) for name, p in PARAMETERS.items()],
    )


_ANYWHERE = (State.ERROR, State.ZEROIZED)
"""Where every state leads: arrows from all of them would hide the others."""


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.UNINITIALIZED}"]
    for state, row in TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {event}" for event, target in row.items() if target not in _ANYWHERE]
    return "\n".join([*lines, "```"])


def _layout(name: str) -> Callable[[], str]:
    def make() -> str:
        layout = layouts.builtin(name)
        rows = [(p.offset, p.length, p.name, p.coding, p.unit, p.meaning, p.said) for p in bytemap.parts(layout)]
        head = ("offset", "length", "field", "coding", "unit", "meaning", "basis")
        return f"{bytemap.summary(layout)}.\n\n{table(head, rows)}"

    return make


def _checks() -> str:
    head = ("check", "about", "why")
    return table(head, [(row.name, row.subject, row.why) for row in acceptance.CHECKS])


def _precedence() -> str:
    return ", ".join(f"`{verdict}`" for verdict in acceptance.PRECEDENCE) + "; `accepted` where no check asks for one."


def _calendar() -> str:
    known = calendar.built_in()
    head = ("regime", "constructs", "decertified", "in service until", "postage until", "basis")
    rows = [
        (r.name, ", ".join(r.constructs), r.decertified or "", r.withdrawn_by or "",
         (r.last_valid or "") if r.postage else "never", f"{r.basis}: {r.source}")
        for r in known.regimes
    ]  # fmt: skip
    w = known.window
    days = f"Dated at most {w.early_days} ahead of the scan and {w.late_days} before it, in days; no meter prints more"
    return f"{table(head, rows)}\n\n{days} than {w.ahead_days} ahead ({w.basis}: {w.source})."


def _kinds() -> str:
    def yes(there: object) -> str:
        return "yes" if there else ""

    shown = [kind_of(kind.each) if kind.each else kind for kind in KINDS]
    head = ("page", "what", "size", "addresses", "barcode", "mark", "slogan or logo")
    return table(
        head,
        [
            (f"`{kind.name}`", kind.what, kind.size.removesuffix(" in"), yes(one.addressee),
             "" if one.barcode is Barcode.NONE else one.barcode.value, one.fim, yes(one.advert))
            for kind, one in zip(KINDS, shown, strict=True)
        ],
    )  # fmt: skip


SECTIONS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/protocol.md": {
        "link-services": lambda: _services(LINK_SERVICES),
        "events": _events,
        "psd-services": lambda: _services(SERVICES),
        "meter-services": lambda: _services(meter_services.OWN),
        "fields": _field_rows,
        "messages": _message_rows,
        "refusals": _refusals,
        "meter-refusals": _meter_refusals,
    },
    "docs/errors.md": {
        "statuses": errors_page.statuses,
        "entries": errors_page.entries,
        "facts": errors_page.facts_table,
        "exceptions": errors_page.exceptions,
        "exits": errors_page.exits,
        "verdicts": errors_page.verdicts,
    },
    "docs/psd.md": {
        "diagram": _diagram,
        "transitions": _transitions,
        "matrix": _matrix,
        "locks": _locks,
        "policies": _policies,
        "self-tests": _self_tests,
    },
    "docs/acceptance.md": {"checks": _checks, "precedence": _precedence, "calendar": _calendar},
    "docs/conformance.md": {"legend": conformance.legend, "matrix": conformance.rows},
    "docs/storage.md": {"faults": lambda: table(("kind", "what fails"), MEANING.items())},
    "docs/bench.md": {
        "actions": _actions,
        "answers": _answers,
        "events": lambda: table(("event", "when, and what else it says"), BENCH_EVENTS.items()),
    },
    "docs/preview.md": {"kinds": _kinds},
    "docs/reading.md": {
        "passes": lambda: table(("pass", "against"), [(way.name, way.against) for way in PASSES]),
        "damages": lambda: table(
            ("damage", "unit", "at most", "what it does"),
            [(d.name, d.unit, f"{d.most:g}", d.meaning) for d in DAMAGES.values()],
        ),
        "realistic": _realistic,
        "parameters": _parameters,
    },
    "docs/indicia.md": {
        **{name: _layout(name) for name in layouts.BUILT_IN},
        "codings": lambda: table(
            ("coding", "bytes", "holds"),
            [(name, f"{c.lengths[0]} to {c.lengths[-1]}", c.holds) for name, c in CODINGS.items()],
        ),
        "placeholders": lambda: table(("in braces", "stands for"), PLACEHOLDERS.items()),
        "filled": lambda: ", ".join(f"`{name}`" for name in FILLED) + ".",
    },
}


FILES: Mapping[str, Callable[[], str]] = {
    "firmware_stubs/include/pes_protocol.h": c_header.made,
    "hardware/wireshark/pes_tables.lua": lua_tables.made,
    **{f"tests/vectors/frames/{name}.json": make for name, make in frame_vectors.FILES.items()},
    "tests/vectors/indicia/indicia.json": vectors.text,
}
"""Files that come from tables as a whole."""


def renewed(text: str, sections: Mapping[str, Callable[[], str]], where: str) -> str:
    """`text` with every section made anew. A section without its marks is an error."""
    for name, make in sections.items():
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
        fresh = f"{begin}\n{make()}\n{end}".replace("\\", r"\\")
        text, count = pattern.subn(fresh, text)
        if count != 1:
            raise SystemExit(f"{where}: {count} places marked {begin}, one is needed")
    return text


def fresh(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Each file that comes from tables: its path, what it holds, and what it should hold."""
    for name, sections in SECTIONS.items():
        old = (root / name).read_text("utf-8")
        yield root / name, old, renewed(old, sections, name)
    for name, make in FILES.items():
        path = root / name
        yield path, path.read_text("utf-8") if path.exists() else "", make()


def generate(root: Path, *, check: bool) -> int:
    """Writes, or compares. 1 when something is stale."""
    stale = []
    for path, old, new in fresh(root):
        if new != old:
            stale.append(str(path.relative_to(root)))
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(new, "utf-8")
    if stale:
        print(f"{'stale' if check else 'written'}: {', '.join(stale)}" + (" (run: make generate)" if check else ""))
    return 1 if stale and check else 0


def main() -> int:
    """The command."""
    return generate(ROOT, check="--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
