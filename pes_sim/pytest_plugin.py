"""The pytest plugin: a fresh virtual meter for each test, or a real one, by one option (docs/pytest.md).

* pytest loads this at its start, in every project of an environment. So nothing of ours is imported here: each fixture
  loads what it needs, and who uses none pays for none. (What is measured by coverage begins later, too.)
* The same tests run at a virtual meter and at a real device. What a real one cannot do is skipped, with the reason.
* A real device is spent and shared: what moves money is said twice, and no two processes use one port.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from pes_sim.bench.control import Bench
    from pes_sim.link.line.line import Line
    from pes_sim.meter.meter import Meter
    from pes_sim.stand import Stand

VIRTUAL: Final = ("memory:", "pty:")
"""Ports at which a meter is made for the test. At any other there is one."""
MARKS: Final = (
    "needs_bench: the test needs what only a virtual meter can do; at a real device it is skipped",
    "spends_postage: the test moves money; at a real device it is skipped without --pes-spend",
    "requirement(*ids): requirements that the test is about; they stand in the JUnit report",
    "pes_meter(**settings): of the virtual meter: funds_mills, and those of pes_sim.virtual.create",
    "pes_line(**settings): of the line before the virtual meter: those of LineConfig",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pes-sim", "a postage meter to test against (pes-sim)")
    group.addoption(
        "--pes-port", metavar="URI",
        help="where the meter is: memory: (the default) or pty: for a fresh virtual one for each test; "
        "serial:/dev/ttyUSB0, tcp:HOST:PORT or a terminal's path for a real device",
    )  # fmt: skip
    group.addoption(
        "--pes-trace", metavar="DIR", help="keep what went over the port of each test that fails, as a pcapng file"
    )
    group.addoption(
        "--pes-spend", action="store_true", help="let tests that are marked spends_postage spend a real device's money"
    )
    parser.addini("pes_port", "where the meter is, without --pes-port", default="memory:")


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    _check_root(config)
    if _is_real(config):
        _check_device(config)
    if directory := config.getoption("pes_trace"):
        # Workers are told the whole path: one of them may have been started elsewhere.
        config.option.pes_trace = str(_made(config.invocation_params.dir / directory))


def _port(config: pytest.Config) -> str:
    return str(config.getoption("pes_port") or config.getini("pes_port"))


def _is_real(config: pytest.Config) -> bool:
    return _port(config) not in VIRTUAL


def _check_root(config: pytest.Config) -> None:
    """pytest looks for the project's settings before it knows our options. A path after a space is one of tests to it:
    with /dev/ttyUSB0 the project would be in /dev, and nobody would see that its settings are not used.
    """
    params = config.invocation_params
    if config.rootpath in (params.dir, *params.dir.parents):
        return
    for option in ("--pes-port", "--pes-trace"):
        value = config.getoption(option)
        if value and value in params.args and (params.dir / value).exists():
            raise pytest.UsageError(
                f"{option} {value}: pytest takes this path for that of tests, and the project to be in "
                f"{config.rootpath}. Write {option}={value}"
            )


def _check_device(config: pytest.Config) -> None:
    from pes_sim.errors import UsageError
    from pes_sim.link.ports import SCHEMES
    from pes_sim.link.ports.uri import Line, Uri, not_a_port

    uri = Uri.parse(_port(config))
    try:
        if uri.scheme not in SCHEMES:
            raise not_a_port(uri.text, SCHEMES)
        if uri.scheme == "memory":
            raise uri.bad("is in no other program's reach", "Allowed: memory: alone, for a fresh virtual meter")
        if uri.scheme in ("tcp", "rfc2217"):
            uri.host_and_port()
        if uri.scheme in ("serial", "rfc2217"):
            Line.of(uri)
        else:
            uri.parameters()
    except UsageError as problem:
        raise pytest.UsageError(f"--pes-port: {problem}") from None
    if config.getoption("dist", "no") != "no":
        raise pytest.UsageError(
            f"--pes-port {uri.text}: one device, and several processes would talk to it at once (pytest-xdist). "
            "Run with -n0, or with --pes-port pty: for a virtual meter for each test"
        )


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise pytest.UsageError(
            f"--pes-trace: {directory} cannot be made: {problem.strerror}. Name a folder of yours"
        ) from None
    return directory


def pytest_report_header(config: pytest.Config) -> str | None:
    if not _is_real(config):
        return None
    money = "may be spent" if config.getoption("pes_spend") else "is not spent without --pes-spend"
    return f"pes-sim: the device at {_port(config)}; its postage {money}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in reversed(list(item.iter_markers("requirement"))):
            item.user_properties += [("requirement", name) for name in mark.args]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not _is_real(item.config):
        return
    why = ""
    if item.get_closest_marker("needs_bench"):
        why = "needs a bench"
    elif item.get_closest_marker("spends_postage") and not item.config.getoption("pes_spend"):
        why = "spends postage, and --pes-spend was not given"
    if why:  # by a mark, before marks are looked at: so the report says which test, and not which line of ours
        item.add_marker(pytest.mark.skip(reason=_at_device(item.config, why)))


def _at_device(config: pytest.Config, why: str) -> str:
    return f"{why}: {_port(config)} is a real device"


# Traces: written while a test runs, so they are there whatever becomes of it; those of tests that pass are removed.


class _Traces:
    """Of one test. `name` is that of its first; a further meter's has a number."""

    def __init__(self, item: pytest.Item) -> None:
        import hashlib
        import re

        plain = re.sub(r"[^\w.-]+", "_", item.nodeid, flags=re.ASCII)[-150:]
        # Two tests whose names differ in such characters only, or in what was cut off, have two files.
        self._name = f"{plain}-{hashlib.sha256(item.nodeid.encode()).hexdigest()[:8]}"
        self._folder = item.config.getoption("pes_trace")
        self.paths: list[Path] = []
        self.failed = False

    def next(self) -> Path | None:
        """Where the next meter's goes; None where nobody asked for traces."""
        if not self._folder:
            return None
        number = f"-{len(self.paths) + 1}" if self.paths else ""
        self.paths.append(Path(self._folder) / f"{self._name}{number}.pcapng")
        return self.paths[-1]


_TRACES: Final = pytest.StashKey[_Traces]()


def _traces(item: pytest.Item) -> _Traces:
    return item.stash.setdefault(_TRACES, _Traces(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    traces = item.stash.get(_TRACES, None)
    if traces is not None and traces.paths:
        if report.failed:
            traces.failed = True
            report.sections.append(("pes-sim trace", "\n".join(map(str, traces.paths))))
        if report.when == "teardown":
            if not traces.failed:
                for path in traces.paths:
                    path.unlink(missing_ok=True)
            del item.stash[_TRACES]  # a plugin may run the test again
    return report


# The fixtures. A test, a class or a folder that has one of the same name has its own.


@pytest.fixture
def meter(request: pytest.FixtureRequest) -> Iterator[Meter]:
    """A meter behind a port: a fresh virtual one, checked in and with $100 in it; or the device at `--pes-port`."""
    if not _is_real(request.config):
        stand: Stand = request.getfixturevalue("pes_stand")
        yield stand.meter
        return
    from pes_sim.stand import device, facts

    spends = request.node.get_closest_marker("spends_postage") is not None
    with device(
        _port(request.config),
        may_spend=spends and request.config.getoption("pes_spend"),
        trace=_traces(request.node).next(),
    ) as opened:
        _tell(request, "real", facts(opened))
        yield opened


@pytest.fixture
def bench(pes_stand: Stand) -> Bench:
    """The hands on `meter`: its clock, power, LAN, storage faults, self-tests, snapshots (docs/bench.md)."""
    return pes_stand.bench


@pytest.fixture
def line(pes_stand: Stand) -> Line:
    """What is between `meter` and its host: pace, noise, plug and control lines (docs/line.md)."""
    return pes_stand.line


@pytest.fixture
def pes_stand(request: pytest.FixtureRequest, new_pes_stand: Callable[..., Stand]) -> Stand:
    """`meter`, `bench` and `line` in one, with the virtual meter itself (`virtual`); as the test's marks want it."""
    from pes_sim.stand import facts

    settings: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("pes_meter"))):  # the test's own comes last, and wins
        settings |= mark.kwargs
    line: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("pes_line"))):
        line |= mark.kwargs
    stand = new_pes_stand(line=line, **settings)
    _tell(request, "virtual", facts(stand.virtual))
    return stand


@pytest.fixture
def new_pes_stand(request: pytest.FixtureRequest) -> Iterator[Callable[..., Stand]]:
    """Makes a further virtual meter, which shares nothing with the first; its arguments are those of `pes_meter`, and
    `line`, a mapping of those of `pes_line`. What a line does by chance follows from the test's name.
    """
    if _is_real(request.config):
        pytest.skip(_at_device(request.config, "needs a virtual meter"))
    from pes_sim.stand import stand

    with contextlib.ExitStack() as opened:
        made: list[Stand] = []

        def new(**settings: Any) -> Stand:
            usual = {"line_seed": f"{request.node.nodeid} {len(made)}", "trace": _traces(request.node).next()}
            made.append(opened.enter_context(stand(_port(request.config), **usual | settings)))
            return made[-1]

        yield new


def _tell(request: pytest.FixtureRequest, kind: str, facts: dict[str, str]) -> None:
    """What the JUnit report says of the device."""
    told = {"device": kind, "port": _port(request.config), **facts}
    request.node.user_properties += [(f"pes_{name}", value) for name, value in told.items()]
