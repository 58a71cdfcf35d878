"""The pytest plugin, as somebody else's project sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pes_sim.stand import stand
from pes_sim.virtual import VirtualMeter
from tests.link import capture

Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="module", autouse=True)
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Pytester forgets what a run has loaded, and an extension module cannot be loaded twice: it is loaded before."""
    with stand("pty:", trace=tmp_path_factory.mktemp("loaded") / "t.pcapng", line={"baud": 9600}) as made:
        made.meter.print_piece(department="100")


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Runs the tests given as text, in another project, with options."""

    def begin(tests: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_it="import pytest\n" + tests)
        return pytester.runpytest_inprocess(
            "-p", "pes_sim.pytest_plugin", "--strict-markers", "--strict-config", "-rs", *options
        )

    return begin


@pytest.fixture
def port() -> Iterator[tuple[VirtualMeter, str]]:
    """What stands for a real device, with $10 in it, and where it is."""
    with VirtualMeter() as meter:
        meter.refill(10_000)
        yield meter, meter.serve().path


FRESH = """
@pytest.mark.parametrize("number", range(2))
def test_each_has_a_fresh_one(meter, number):
    assert meter.registers().descending_mills == 100_000
    meter.print_piece(department="100")
    assert meter.registers().piece_count == 1
"""


@pytest.mark.parametrize("options", [(), ("--pes-port", "memory:"), ("--pes-port=pty:",)])
def test_each_test_has_a_fresh_funded_meter_in_memory_or_at_a_pseudo_terminal(
    run: Run, options: tuple[str, ...]
) -> None:
    run(FRESH, *options).assert_outcomes(passed=2)


def test_the_port_may_stand_in_the_projects_own_file(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\npes_port = pty:")
    ask = "def test_where(meter, record_property): assert meter.caller._transport.name.startswith('/dev/pts/')"
    run(ask).assert_outcomes(passed=1)
    run(ask, "--pes-port", "memory:").assert_outcomes(failed=1)  # the option counts more


HANDS = """
def test_hands(meter, bench, line, pes_stand):
    assert (meter, bench, line) == (pes_stand.meter, pes_stand.bench, pes_stand.line)
    assert bench.advance("72h").state == "LOCKED"
    assert meter.check_in().state == "OPERATIONAL"
    line.change(drops=0.001, only="to-device")
    bench.cut(at=2)
    meter.print_piece(department="100", mailing_date="2026-01-08")
    line.change(drops=0.0)
    assert meter.registers().piece_count == 1
    assert pes_stand.virtual.lock().state == meter.status().state == "LOCKED"
"""


def test_bench_and_line_are_those_of_the_meter(run: Run) -> None:
    run(HANDS).assert_outcomes(passed=1)


MARKED = """
pytestmark = [pytest.mark.pes_meter(funds_mills=7, layout="imi_min"), pytest.mark.pes_line(baud=300, parity="even")]

@pytest.mark.pes_meter(funds_mills=8)
@pytest.mark.pes_line(baud=9600)
def test_as_marked(meter, line):
    assert meter.registers().control_sum_mills == 8
    assert meter.info()["layout"].startswith("imi_min")
    assert (line.config.baud, line.config.parity) == (9600, "even")
"""


def test_marks_say_how_the_meter_is_and_the_nearest_counts_most(run: Run) -> None:
    run(MARKED).assert_outcomes(passed=1)


NOISE = """
@pytest.mark.parametrize("number", range(2))
@pytest.mark.pes_line(bit_errors=1e-3)
def test_noise(line, number):
    line.send("to-device", bytes(2000), 0)
    with open("noise", "a") as said:
        print(line.take("to-device", 1).hex(), file=said)
"""


def test_what_a_line_does_by_chance_follows_from_the_tests_name(run: Run, pytester: pytest.Pytester) -> None:
    for _ in range(2):
        run(NOISE).assert_outcomes(passed=2)
    one, other, again, other_again = (pytester.path / "noise").read_text().splitlines()
    assert (one, other) == (again, other_again)
    assert one != other


TWO = """
def test_two(meter, new_pes_stand):
    other = new_pes_stand(funds_mills=0, line={"baud": 9600})
    assert other.meter.registers().control_sum_mills == 0
    assert other.meter.info()["psd_serial"] != meter.info()["psd_serial"]
    assert other.line.config.baud == 9600
    assert False
"""


def test_a_second_meter_has_a_trace_of_its_own(run: Run, pytester: pytest.Pytester) -> None:
    run(TWO, "--pes-trace", "traces").assert_outcomes(failed=1)
    first, second = sorted((pytester.path / "traces").iterdir(), key=lambda path: len(path.name))
    assert second.name == f"{first.stem}-2.pcapng"


def test_a_test_that_has_fixtures_of_these_names_has_its_own(run: Run) -> None:
    run("""
for name in ("meter", "bench", "line"):
    globals()[name] = pytest.fixture(lambda name=name: name, name=name)

def test_own(meter, bench, line):
    assert isinstance(meter, str) and isinstance(bench, str) and isinstance(line, str)
""", "--pes-port", "/dev/nothing").assert_outcomes(passed=1)  # fmt: skip


def test_fixtures_and_marks_are_told_to_who_asks(run: Run, pytester: pytest.Pytester) -> None:
    run("", "--fixtures").stdout.fnmatch_lines(["meter -- *", "*checked in and with $100*", "bench -- *", "line -- *"])
    marks = run("", "--markers").stdout.str()
    for name in ("needs_bench", "spends_postage", "requirement(*ids)", "pes_meter(**settings)", "pes_line(**settings)"):
        assert f"@pytest.mark.{name}:" in marks
    run("", "--help").stdout.fnmatch_lines(["*--pes-port=URI*", "*--pes-trace=DIR*", "*--pes-spend*"])


# At a real device

REAL = """
def test_free(meter): assert meter.status().state == "OPERATIONAL"

@pytest.mark.spends_postage
def test_spends(meter): assert meter.print_piece(department="100").postage_mills

def test_unmarked(meter): meter.print_piece(department="100")

@pytest.mark.needs_bench
def test_needs(): pytest.fail("it ran")

def test_bench(bench): pytest.fail("it ran")

def test_line(meter, line): pytest.fail("it ran")

def test_another(new_pes_stand): pytest.fail("it ran")

def test_nothing_of_it(): pass
"""


def test_at_a_device_what_it_cannot_do_is_skipped_and_what_costs_is_not_done(
    run: Run, port: tuple[VirtualMeter, str]
) -> None:
    result = run(REAL, f"--pes-port={port[1]}")
    result.assert_outcomes(passed=2, failed=1, skipped=5)
    result.stdout.fnmatch_lines(
        [
            f"pes-sim: the device at {port[1]}; its postage is not spent without --pes-spend",
            "*RefusedInState: print_piece moves real money, and this test is not marked for it.*",
            f"SKIPPED*1* test_*.py:*: spends postage, and --pes-spend was not given: {port[1]} is a real device",
            f"SKIPPED*1* test_*.py:*: needs a bench: {port[1]} is a real device",
            f"SKIPPED*3*needs a virtual meter: {port[1]} is a real device",
        ],
        consecutive=False,
    )
    assert port[0].registers().piece_count == 0


def test_at_a_device_a_marked_test_spends_once_the_command_line_says_so(
    run: Run, port: tuple[VirtualMeter, str]
) -> None:
    result = run(REAL, f"--pes-port={port[1]}", "--pes-spend")
    result.assert_outcomes(passed=3, failed=1, skipped=4)
    result.stdout.fnmatch_lines([f"pes-sim: the device at {port[1]}; its postage may be spent"])
    assert port[0].registers().piece_count == 1


def test_marks_are_nothing_at_a_virtual_meter(run: Run) -> None:
    run("""
@pytest.mark.needs_bench
@pytest.mark.spends_postage
@pytest.mark.requirement("A2")
def test_it(meter): meter.print_piece(department="100")
""").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pes-port", "pty"), "*--pes-port: 'pty' is not a port. Allowed: a path such as /dev/ttyUSB0*"),
        (("--pes-port", "memory:bench"), "*--pes-port: 'memory:bench' is in no other program's reach. Allowed: *"),
        (("--pes-port", "tcp:localhost"), "*--pes-port: 'tcp:localhost' has no port number from 0 to 65535*"),
        (("--pes-port", "serial:board?baud=fast"), "*--pes-port: 'serial:board[?]baud=fast' has baud=fast*"),
        (("--pes-port", "pty:?baud=9600"), "*--pes-port: 'pty:[?]baud=9600' has no parameter 'baud'*"),
        (("--pes-port", "tcp:localhost:4000", "-n", "2"), "*one device, and several processes would talk to it*"),
        (("--pes-trace", "test_it.py"), "*--pes-trace: *test_it.py cannot be made: File exists. Name a folder*"),
    ],
    ids=[
        "no port", "another program's memory", "no number", "no speed", "no parameter", "in parallel",
        "a file as folder",
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused_before_any_test(run: Run, options: tuple[str, ...], said: str) -> None:
    result = run(FRESH, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


@pytest.mark.parametrize("option", ["--pes-port", "--pes-trace"])
def test_a_path_that_pytest_would_take_for_that_of_tests_is_refused(run: Run, option: str, tmp_path: Path) -> None:
    result = run(FRESH, option, "/dev/pts")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option} /dev/pts: pytest takes this path*Write {option}=/dev/pts"])


def test_a_path_after_an_equals_sign_is_ours_wherever_the_project_is(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    run("def test_none(): pass", f"--rootdir={other}", f"--pes-trace={other}").assert_outcomes(passed=1)


def test_a_path_in_the_project_is_not(run: Run, pytester: pytest.Pytester) -> None:
    pytester.mkdir("traces")
    run("def test_fails(meter): assert False", "--pes-trace", "traces").assert_outcomes(failed=1)
    assert len(list((pytester.path / "traces").iterdir())) == 1


def test_one_process_may_have_a_device(run: Run, port: tuple[VirtualMeter, str]) -> None:
    run(REAL, f"--pes-port={port[1]}", "-n0", "-k", "free").assert_outcomes(passed=1)


# Traces

OUTCOMES = """
@pytest.fixture
def late(meter):
    yield
    raise ValueError("late")

def test_passes(meter): meter.registers()

def test_fails(meter):
    meter.registers()
    assert False

def test_fails_late(late): pass

@pytest.mark.xfail
def test_fails_as_expected(meter): assert False

@pytest.mark.parametrize("what", ["a/b", "a:b"])
def test_odd_names(meter, what): assert False

def test_without(): assert False
"""


def test_of_tests_that_fail_a_trace_is_kept_and_named(run: Run, pytester: pytest.Pytester) -> None:
    folder = pytester.path / "new" / "traces"
    result = run(OUTCOMES, "--pes-trace", "new/traces")
    result.assert_outcomes(passed=2, failed=4, errors=1, xfailed=1)
    names = sorted(path.name.rsplit("-", 1)[0] for path in folder.iterdir())
    odd = "test_it.py_test_odd_names_a_b_"
    assert names == ["test_it.py_test_fails", "test_it.py_test_fails_late", odd, odd]
    (kept,) = folder.glob("test_it.py_test_fails-*")
    result.stdout.fnmatch_lines(["*- pes-sim trace -*", str(kept)])
    assert [packet.inbound for packet in capture.read(kept.read_bytes()).packets] == [True, False, True, False]
    # What passes the next time has none any more.
    run("def test_fails(meter): pass", "--pes-trace", "new/traces").assert_outcomes(passed=1)
    assert not kept.exists()


def test_a_device_is_traced_too(run: Run, pytester: pytest.Pytester, port: tuple[VirtualMeter, str]) -> None:
    run("def test_fails(meter): assert False", f"--pes-port={port[1]}", "--pes-trace", "t").assert_outcomes(failed=1)
    (kept,) = (pytester.path / "t").iterdir()
    assert capture.read(kept.read_bytes()).lines == [(port[1], f"{port[1]}, the host's end")]


def test_nothing_is_traced_unless_it_is_wanted(run: Run, pytester: pytest.Pytester) -> None:
    run("def test_fails(meter): assert False").assert_outcomes(failed=1)
    assert list(pytester.path.rglob("*.pcapng")) == []


# Reports

REPORTED = """
pytestmark = pytest.mark.requirement("A1")

@pytest.mark.requirement("A2", "A3")
def test_meter(meter): pass

@pytest.mark.needs_bench
def test_bench(bench): pass
"""


def _report(path: Path) -> list[list[tuple[str, str]]]:
    cases = ElementTree.parse(path).findall(".//testcase")
    return [[(str(p.get("name")), str(p.get("value"))) for p in case.findall(".//property")] for case in cases]


def test_a_report_says_device_software_serial_number_and_requirements(
    run: Run, pytester: pytest.Pytester, port: tuple[VirtualMeter, str]
) -> None:
    info = port[0].info()
    run(REPORTED, f"--pes-port={port[1]}", "--junitxml", "r.xml").assert_outcomes(passed=1, skipped=1)
    first, second = _report(pytester.path / "r.xml")
    assert first == [
        ("requirement", "A1"), ("requirement", "A2"), ("requirement", "A3"), ("pes_device", "real"),
        ("pes_port", port[1]), ("pes_device_kind", "meter"), ("pes_model_id", info["model_id"]),
        ("pes_psd_serial", str(info["psd_serial"])), ("pes_software_id", str(info["software_id"])),
        ("pes_layout", info["layout"]),
    ]  # fmt: skip
    assert second == [("requirement", "A1")]


def test_a_report_says_that_a_device_is_virtual(run: Run, pytester: pytest.Pytester) -> None:
    run(REPORTED, "--junitxml", "r.xml").assert_outcomes(passed=2)
    for said in _report(pytester.path / "r.xml"):
        assert ("pes_device", "virtual") in said
        assert ("pes_port", "memory:") in said
