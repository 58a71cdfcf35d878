"""On which line of a TOML text each key stands. The standard library's parser does not say.

Only for text that this parser has taken: what is a string, a bracket or a comment is then plain to see. `too_much` is
for text before it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final

from pes_sim.indicium.document import Mistake, Path

_TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""+|' r"'''.*?'''+|" r'"(?:\\.|[^"\\])*"|' r"'[^']*'|#[^\n]*|[\[\]{}=\n]|[^\[\]{}=\n\"'#]+",
    re.DOTALL,
)
_AT_LINE: Final = re.compile(r"at line (\d+)")
_PART: Final = r"""(?:"(?:\\.|[^"\\\n])*+"|'[^'\n]*'|[\w-]++)"""
_TOO_MUCH: Final = (
    (re.compile(r"[0-9A-Fa-f_]{1000}"), "a number of 1,000 digits or more"),
    (re.compile(rf"(?:\.[ \t]*{_PART}[ \t]*){{32}}"), "a key of more than 32 parts"),
    (re.compile(r"(?:[\[{][^\[\]{}]*+){32}"), "brackets within brackets, 32 deep or more"),
)
"""The parser takes minutes and gigabytes for some of it, and it can be too large to be shown."""


def places(text: str) -> dict[Path, int]:
    """The line, from 1, of every table and of every key outside of inline tables, by its place in the document."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    inside: Path = ()
    for line, head, value in _statements(text):
        if value:
            for place in _prefixes(inside, inside + _keys(head)):
                found.setdefault(place, line)
            continue
        array = head.startswith("[[")
        inside = _within(_keys(head[2:-2] if array else head[1:-1]), counts)
        if array:
            counts[inside] = counts.get(inside, -1) + 1
            inside = (*inside, counts[inside])
        for place in _prefixes((), inside):
            found.setdefault(place, line)
    return found


def too_much(text: str) -> Mistake | None:
    """The first thing in a text that no layout needs and the parser had better not see."""
    found = [(at.start(), what) for form, what in _TOO_MUCH if (at := form.search(text))]
    if not found:
        return None
    start, what = min(found)
    return Mistake((), f"not a TOML file of a layout: {what}", "Correct this first", text.count("\n", 0, start) + 1)


def line_of(place: Path, known: Mapping[Path, int]) -> int:
    """The line of a place, or of the nearest thing around it that has one; 1 for the file as a whole."""
    while place and place not in known:
        place = place[:-1]
    return known.get(place, 1)


def line_of_error(problem: Exception, text: str) -> int:
    """The line that the parser names, or the last one: it says "at end of document" otherwise."""
    named = _AT_LINE.search(str(problem))
    return int(named[1]) if named else max(1, len(text.splitlines()))


def _statements(text: str) -> Iterator[tuple[int, str, bool]]:
    """Line, head and kind of every statement: a table's header, or what stands before a key's first `=`."""
    line, begun, depth, head, value = 1, 1, 0, "", False
    for token in _TOKEN.findall(text):
        if token == "\n" and depth == 0:
            if head.strip():
                yield begun, head.strip(), value
            head, value = "", False
        elif token == "=" and not value:
            value = True
        elif not value:
            begun = line if not head.strip() else begun
            head += "" if token.startswith("#") else token
        else:
            depth += (token in "[{") - (token in "]}") if len(token) == 1 else 0
        line += token.count("\n")
    if head.strip():
        yield begun, head.strip(), value


def _keys(dotted: str) -> Path:
    """The parts of a key as it stands in the file, quoted or not."""
    path: list[str | int] = []
    table: object = tomllib.loads(f"{dotted} = 0")
    while isinstance(table, dict):
        key = next(iter(table))
        path.append(key)
        table = table[key]
    return tuple(path)


def _within(path: Path, counts: Mapping[Path, int]) -> Path:
    """`path` with the places of those of its parents that are lists: in the newest item of each."""
    inside: Path = ()
    for part in path[:-1]:
        inside = (*inside, part)
        if inside in counts:
            inside = (*inside, counts[inside])
    return (*inside, *path[-1:])


def _prefixes(outer: Path, whole: Path) -> Iterator[Path]:
    for length in range(len(outer) + 1, len(whole) + 1):
        yield whole[:length]
