"""A meter's directory: one process at a time, and what is missing, foreign or broken in it is an error, not a loss."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pes_sim.bench.place import CONTROL_FILE
from pes_sim.clock import HOUR, SystemClock, VirtualClock
from pes_sim.errors import (
    BadCertificate,
    DirectoryInUse,
    FieldError,
    HostileDirectory,
    IntegrityError,
    LayoutError,
    NotAuthenticated,
    NotForThisDevice,
    PesError,
    StorageFailed,
    StorageFull,
    UsageError,
)
from pes_sim.meter import home
from pes_sim.meter.config import MeterConfig, check_new, read_config
from pes_sim.meter.home import StoredClock, check_place, open_home
from pes_sim.meter.store import DepartmentTotal
from pes_sim.psd.device import Psd
from pes_sim.psd.storage import FileStorage, write_atomically
from pes_sim.virtual import DEFAULT_START, VirtualMeter, create
from tests.meter.bench import SMALL_BANK
from tests.meter.made import CUSTOMER, FUNDS, SERIAL, copy_of_a_meter

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return copy_of_a_meter(tmp_path / "m1")


def files(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, but for the lock's note of its holder and SQLite's own helpers."""
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in paths
        if path.name != "lock" and not path.name.endswith(("-wal", "-shm"))
    }


def refused(directory: Path, kind: type[PesError]) -> PesError:
    """Opening is refused, in a line or two, and changes nothing."""
    before = files(directory)
    with pytest.raises(kind) as refusal:
        VirtualMeter(directory)
    assert files(directory) == before
    assert "\n" not in refusal.value.message
    return refusal.value


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_meter_is_opened_as_it_was_left(directory: Path) -> None:
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")
        registers = meter.registers()
        meter.advance(HOUR)
    with VirtualMeter(directory) as again:
        assert again.registers() == registers
        assert again.clock.now() == DEFAULT_START + HOUR
        assert again.status().seconds_to_lockout == 71 * 3600
    assert read_config(directory).psd_serial == SERIAL
    assert read_config(directory).customer == CUSTOMER


def test_all_its_parts_are_those_that_the_module_names(directory: Path) -> None:
    assert {path.name for path in directory.iterdir()} <= set(home.PARTS)


def test_the_keys_are_for_the_owner_alone(directory: Path) -> None:
    assert (directory / "psd").stat().st_mode & 0o077 == 0
    assert (directory / "psd" / "master.key").stat().st_mode & 0o077 == 0


def test_where_there_is_no_meter_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "none", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError) as refusal:
            VirtualMeter(place)
        assert refusal.value.message == f"there is no meter in {place}"
        assert refusal.value.hint == f"Make one: pes-sim meter new {place}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        VirtualMeter(tmp_path / ("m" * 300))


# --- one process at a time -------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from pes_sim.virtual import VirtualMeter
with VirtualMeter(Path(sys.argv[1])):
    print("holding", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the meter open."""
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        yield process


def test_a_second_process_is_told_who_has_the_meter(directory: Path) -> None:
    with holder(directory) as process:
        problem = refused(directory, DirectoryInUse)
        assert f"{directory / 'psd'} is in use by process {process.pid} (" in problem.message
        assert problem.hint != ""
        process.communicate("")
        assert process.returncode == 0
    VirtualMeter(directory).close()


def test_a_meter_that_is_served_names_the_command_that_moves_it(tmp_path: Path) -> None:
    directory = copy_of_a_meter(tmp_path / "the meter")
    with VirtualMeter(directory):
        assert home.CONTROL_FILE == CONTROL_FILE
        (directory / CONTROL_FILE).write_text("{}")
        assert f"pes-sim bench '{directory}' --help" in refused(directory, DirectoryInUse).hint


def test_a_process_that_was_killed_holds_nothing(directory: Path) -> None:
    with holder(directory) as process:
        process.kill()
    VirtualMeter(directory).close()


def test_this_process_is_no_exception(directory: Path) -> None:
    with VirtualMeter(directory):
        assert str(os.getpid()) in refused(directory, DirectoryInUse).message


def test_what_stands_in_the_lock_does_not_matter(directory: Path) -> None:
    (directory / "psd" / "lock").write_bytes(b"\xff\x00process 1\n" * 1000)
    VirtualMeter(directory).close()
    (directory / "psd" / "lock").unlink()
    VirtualMeter(directory).close()


# --- missing and broken parts ----------------------------------------------------------------------------------------


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        (directory / name).write_bytes(content)

    return damage


def remove(*names: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        for name in names:
            path = directory / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def change(name: str, **fields: Any) -> Callable[[Path], None]:
    """Changes fields of a JSON file; None takes one away."""

    def damage(directory: Path) -> None:
        document = json.loads((directory / name).read_bytes()) | fields
        (directory / name).write_text(json.dumps({key: v for key, v in document.items() if v is not None}))

    return damage


def both(*damages: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        for part in damages:
            part(directory)

    return damage


def remove_log(directory: Path) -> None:
    for path in (directory / "psd").glob("*.seg"):
        path.unlink()


def lock_is_a_directory(directory: Path) -> None:
    (directory / "psd" / "lock").unlink()
    (directory / "psd" / "lock").mkdir()


DAMAGED: dict[str, tuple[Callable[[Path], None], type[PesError], str]] = {
    "no meter.json": (remove("meter.json"), UsageError, "there is no meter in"),
    "an empty meter.json": (write("meter.json", b""), UsageError, "meter.json is not JSON"),
    "half a meter.json": (write("meter.json", b'{"format": 1, "psd_se'), UsageError, "meter.json is not JSON"),
    "a meter.json in latin-1": (write("meter.json", b'{"customer": "\xe9"}'), UsageError, "meter.json is not JSON"),
    "a deep meter.json": (write("meter.json", b"[" * 100_000), UsageError, "meter.json is not JSON"),
    "a list for a meter.json": (write("meter.json", b"[1]"), UsageError, "meter.json is not a JSON object"),
    "an empty object": (write("meter.json", b"{}"), UsageError, "has another format than 1"),
    "a later format": (change("meter.json", format=2), UsageError, "has another format than 1"),
    "no serial number": (change("meter.json", psd_serial=None), UsageError, "psd_serial is not what it must be"),
    "a serial number in text": (change("meter.json", psd_serial="1"), UsageError, "psd_serial is not what"),
    "a layout that is a number": (change("meter.json", layout=5), UsageError, "layout is not what"),
    "an offset that is true": (change("meter.json", utc_offset_minutes=True), UsageError, "utc_offset_minutes"),
    "an offset beyond the date line": (
        change("meter.json", utc_offset_minutes=841),
        UsageError,
        "m1/meter.json: utc_offset_minutes 841 is out of range; allowed: -840 to 840",
    ),
    "an offset as far the other way": (
        change("meter.json", utc_offset_minutes=-841),
        UsageError,
        "m1/meter.json: utc_offset_minutes -841 is out of range; allowed: -840 to 840",
    ),
    "a negative serial number": (
        change("meter.json", psd_serial=-1),
        UsageError,
        "m1/meter.json: psd_serial -1 is out of range; allowed: 0 to 4294967295",
    ),
    "a serial number beyond 4 bytes": (
        change("meter.json", psd_serial=1 << 32),
        UsageError,
        "m1/meter.json: psd_serial 4294967296 is out of range; allowed: 0 to 4294967295",
    ),
    "a third kind of clock": (change("meter.json", clock="sundial"), UsageError, "clock is not what it must be"),
    "a field too many": (change("meter.json", colour="red"), UsageError, "colour is not what it must be"),
    "a layout that is unknown": (change("meter.json", layout="imi"), LayoutError, "there is no layout 'imi'"),
    "a standard that is unknown": (
        change("meter.json", profile="FIPS 140-1"),
        UsageError,
        "profile 'FIPS 140-1' is un",
    ),
    "rules that are unknown": (
        change("meter.json", regime="imi"),
        UsageError,
        "regime 'imi' is unknown; known: IMI, IBI",
    ),
    "no clock.json": (remove("clock.json"), UsageError, "clock.json cannot be read: No such file"),
    "an empty clock.json": (write("clock.json", b""), UsageError, "clock.json is not JSON"),
    "a clock without now": (write("clock.json", b"{}"), UsageError, "clock.json tells no time"),
    "a clock in text": (write("clock.json", b'{"now": "noon"}'), UsageError, "clock.json tells no time"),
    "a clock with a fraction": (write("clock.json", b'{"now": 1.5}'), UsageError, "clock.json tells no time"),
    "a clock before 1970": (write("clock.json", b'{"now": -1}'), UsageError, "clock.json tells no time"),
    "a clock behind all dates": (write("clock.json", b'{"now": %d}' % 10**20), UsageError, "clock.json tells no time"),
    "no master key": (remove("psd/master.key"), IntegrityError, "master.key is missing"),
    "half a master key": (write("psd/master.key", bytes(16)), IntegrityError, "psd/master.key has 16 bytes, not 32"),
    "an empty master key": (write("psd/master.key", b""), IntegrityError, "m1/psd/master.key is empty"),
    "another master key": (write("psd/master.key", bytes(32)), IntegrityError, "another meter's master key"),
    "no log": (remove_log, IntegrityError, "holds no log"),
    "no log and no key": (both(remove_log, remove("psd/master.key")), IntegrityError, "holds no log"),
    "no psd": (remove("psd"), IntegrityError, "psd cannot be read: No such file"),
    "a lock that is a directory": (lock_is_a_directory, HostileDirectory, "lock is a directory, not"),
    "a broken list of departments": (
        both(remove("meter.sqlite"), write("departments.json", b"[]")),
        UsageError,
        "departments.json is not a JSON object",
    ),
    "a broken provider": (write("provider/provider.sqlite", b"x" * 4096), StorageFailed, "provider.sqlite"),
    "no certificate of the CA": (remove("provider/ca.pem"), BadCertificate, "ca.pem or its key cannot be read"),
    "no key of the provider": (
        remove("provider/provider-key-NOT-FOR-PRODUCTION.pem"),
        BadCertificate,
        "provider.pem or its key cannot be read",
    ),
    "a broken certificate": (write("provider/provider.pem", b"-----"), BadCertificate, "provider.pem or its key"),
}


@pytest.mark.parametrize(("damage", "kind", "says"), DAMAGED.values(), ids=DAMAGED)
def test_a_part_that_is_missing_or_broken_is_named_and_the_rest_is_left_alone(
    directory: Path, damage: Callable[[Path], None], kind: type[PesError], says: str
) -> None:
    intact = directory.with_name("intact")
    shutil.copytree(directory, intact)
    damage(directory)
    problem = refused(directory, kind)
    assert says in problem.message
    # With what was damaged put back, everything is there again.
    shutil.rmtree(directory)
    intact.rename(directory)
    with VirtualMeter(directory) as meter:
        assert meter.registers().descending_mills == FUNDS


@pytest.mark.parametrize(
    "fields",
    [{"utc_offset_minutes": 840}, {"utc_offset_minutes": -840}, {"psd_serial": 0}, {"psd_serial": (1 << 32) - 1}],
)
def test_what_is_just_in_range_in_meter_json_is_taken(directory: Path, fields: dict[str, int]) -> None:
    change("meter.json", **fields)(directory)
    config = read_config(directory)
    assert {name: getattr(config, name) for name in fields} == fields


def test_without_its_sqlite_file_a_meter_is_whole_again(directory: Path) -> None:
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")
    remove("meter.sqlite")(directory)
    with VirtualMeter(directory) as again:
        assert again.departments() == [
            DepartmentTotal("100", "Sales", 1, 740),
            DepartmentTotal("200", "Billing", 0, 0),
        ]
        again.print_piece(department="200")


def test_with_a_broken_database_registers_are_read_and_nothing_is_printed(directory: Path) -> None:
    intact = (directory / "meter.sqlite").read_bytes()
    write("meter.sqlite", b"x" * 4096)(directory)
    with VirtualMeter(directory) as meter:
        assert meter.registers().descending_mills == FUNDS
        with pytest.raises(StorageFailed, match=r"meter\.sqlite cannot be used: file is not a database"):
            meter.print_piece(department="100")
        assert meter.registers().piece_count == 0
        (directory / "meter.sqlite").write_bytes(intact)  # put back while the meter is on
        meter.print_piece(department="100")


def test_without_the_providers_database_the_meter_prints_and_its_refill_says_what_is_wrong(directory: Path) -> None:
    remove("provider/provider.sqlite")(directory)
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")
        with pytest.raises(NotForThisDevice, match=f"PSD {SERIAL} is not registered with this provider"):
            meter.refill(1_000)


@pytest.mark.parametrize("damage", [remove("meter.key"), write("meter.key", bytes(32)), write("meter.key", b"")])
def test_without_its_key_a_meter_can_be_looked_at_and_says_what_is_missing(
    directory: Path, damage: Callable[[Path], None]
) -> None:
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")
    secret = (directory / "meter.key").read_bytes()
    damage(directory)
    for _ in range(12):  # more than the PSD would look at wrong proofs
        with VirtualMeter(directory) as meter:
            assert meter.registers().ascending_mills == 740
            with pytest.raises(NotAuthenticated, match=r"meter\.key is missing, or another meter's"):
                meter.print_piece(department="100")
    write_atomically(directory / "meter.key", secret, 0o600)
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")


def test_the_checks_in_meter_json_give_nothing_of_the_keys_away(directory: Path) -> None:
    document = json.loads((directory / "meter.json").read_bytes())
    for name, path in (("key_check", "psd/master.key"), ("secret_check", "meter.key")):
        assert len(bytes.fromhex(document[name])) == 8
        assert document[name] not in (directory / path).read_bytes().hex()


# --- a log of several segments ---------------------------------------------------------------------------------------


@pytest.fixture
def long_log(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A meter whose log has ten small segments, the newer ones full of pieces."""
    monkeypatch.setattr(home, "Psd", partial(Psd, bank=SMALL_BANK))
    shutil.rmtree(directory)
    create(directory, customer=CUSTOMER)
    with VirtualMeter(directory) as meter:
        meter.refill(10 * FUNDS)
        while len(segments(directory)) < 10:
            meter.print_piece(department="100")
    return directory


def segments(directory: Path) -> list[Path]:
    return sorted((directory / "psd").glob("log-*.seg"))


def test_a_newest_segment_that_was_deleted_stops_the_device(long_log: Path) -> None:
    segments(long_log)[-1].unlink()
    before = files(long_log)
    with VirtualMeter(long_log) as meter:
        assert meter.status().state == "ERROR"
        assert "is missing or empty" in meter.status().lock_reasons[0]
        with pytest.raises(IntegrityError):
            meter.print_piece(department="100")
        with pytest.raises(IntegrityError):
            meter.check_in()
    assert files(long_log) == before


def test_a_segment_missing_among_the_newest_stops_the_device(long_log: Path) -> None:
    segments(long_log)[-2].unlink()
    with VirtualMeter(long_log) as meter:
        assert meter.status().state == "ERROR"
        with pytest.raises(IntegrityError):
            meter.print_piece(department="100")


def test_an_old_segment_that_was_deleted_is_missed_when_the_database_is_too(long_log: Path) -> None:
    segments(long_log)[-4].unlink()
    with VirtualMeter(long_log) as meter:
        meter.print_piece(department="100")  # its pieces are in the database
    remove("meter.sqlite")(long_log)
    with VirtualMeter(long_log) as meter:
        with pytest.raises(IntegrityError, match="the PSD's log cannot be read to the end: .* are missing or rotten"):
            meter.print_piece(department="100")
        assert meter.status().state == "OPERATIONAL"
        assert meter.registers().piece_count > 0


def test_the_oldest_segment_is_missed_at_once_until_the_provider_has_acknowledged_it(long_log: Path) -> None:
    oldest = segments(long_log)[0]
    kept = oldest.rename(long_log / "aside")
    with VirtualMeter(long_log) as meter:
        assert meter.status().state == "ERROR"
        assert "the provider has not acknowledged them" in meter.status().lock_reasons[0]
    kept.rename(oldest)
    with VirtualMeter(long_log) as meter:
        assert meter.check_in().state == "OPERATIONAL"
        assert segments(long_log)[0] != oldest


def test_what_was_acknowledged_leaves_the_log_and_stays_in_the_books(long_log: Path) -> None:
    with VirtualMeter(long_log) as meter:
        before = meter.departments()
        meter.check_in()
        assert len(segments(long_log)) == 2
        assert meter.departments() == before
    with VirtualMeter(long_log) as meter:
        assert meter.departments() == before


def test_without_log_and_database_the_sums_are_right_and_say_what_is_not_known(long_log: Path) -> None:
    with VirtualMeter(long_log) as meter:
        used = meter.registers().ascending_mills
        meter.check_in()
    remove("meter.sqlite")(long_log)
    for _ in range(2):
        with VirtualMeter(long_log) as meter:
            totals = {d.code: d for d in meter.departments()}
            assert totals["(carried)"].name == "before the PSD's log begins"
            assert totals["(carried)"].postage_mills + totals["100"].postage_mills == used
            assert totals["(carried)"].pieces + totals["100"].pieces == meter.registers().piece_count
    with VirtualMeter(long_log) as meter:
        meter.print_piece(department="100")


# --- places without permission ---------------------------------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that others may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="pes-sim-test-"))
    path.chmod(0o755)
    VirtualMeter().close()  # whatever is imported late is imported now: a nobody may not read our libraries either
    yield path
    shutil.rmtree(path)


@contextmanager
def as_nobody() -> Iterator[None]:
    """With the rights of no one, where the tests run as root; else as whoever runs them."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_meter_that_one_may_not_read_is_named(place: Path) -> None:
    directory = copy_of_a_meter(place / "m1")
    directory.chmod(0)
    with as_nobody(), pytest.raises(UsageError, match=r"m1/meter\.json cannot be read: Permission denied"):
        VirtualMeter(directory)
    directory.chmod(0o755)
    (directory / "psd").chmod(0)
    with as_nobody(), pytest.raises(IntegrityError, match=r"m1/psd cannot be read: Permission denied"):
        VirtualMeter(directory)
    (directory / "psd").chmod(0o555)
    (directory / "psd" / "lock").chmod(0o444)
    with as_nobody(), pytest.raises(StorageFailed, match=r"cannot lock .*m1/psd/lock: Permission denied"):
        VirtualMeter(directory)
    (directory / "psd").chmod(0o755)
    (directory / "psd" / "lock").chmod(0o600)
    if os.geteuid() == 0:
        os.chown(directory / "psd" / "lock", NOBODY, -1)
    else:
        (directory / "psd" / "master.key").chmod(0)
    with as_nobody():
        opened = open_home(directory)
        with pytest.raises(StorageFailed, match=r"m1/psd/master\.key cannot be read: Permission denied"):
            opened.power_on(None)
        opened.close()


def test_a_place_that_one_may_not_write_to_is_named(place: Path) -> None:
    place.chmod(0o555)
    with as_nobody(), pytest.raises(UsageError, match="m2 cannot be made: Permission denied"):
        create(place / "m2")
    assert list(place.iterdir()) == []
    place.chmod(0o755)


# --- what somebody hostile has prepared -------------------------------------------------------------------------------

FOLDERS = ("psd", "provider", "jobs", "meter.restore", "meter.restore.tmp")
PARTS_AND_KINDS = [(name, "directory" if name in FOLDERS else "regular file") for name in home.PARTS]


def aside(directory: Path, name: str) -> Path:
    """Takes a part, or what there is of it, out of the meter."""
    (directory.parent / "elsewhere").mkdir()
    if (directory / name).exists():
        (directory / name).rename(directory.parent / "elsewhere" / name)
    return directory.parent / "elsewhere" / name


@pytest.mark.parametrize(("name", "kind"), PARTS_AND_KINDS)
def test_a_part_that_is_a_link_is_not_followed(directory: Path, name: str, kind: str) -> None:
    (directory / name).symlink_to(aside(directory, name))
    problem = refused(directory, UsageError)
    assert problem.message == f"{directory / name} is a symbolic link, not a {kind}"
    assert f"mv {directory / name} {directory / name}.aside" in problem.hint
    assert not list(directory.glob("psd/.*"))


@pytest.mark.parametrize(("name", "kind"), PARTS_AND_KINDS)
def test_a_part_that_is_a_fifo_is_not_waited_for(directory: Path, name: str, kind: str) -> None:
    aside(directory, name)
    os.mkfifo(directory / name)
    assert refused(directory, UsageError).message == f"{directory / name} is a FIFO, not a {kind}"
    subprocess.run(["bash", "-c", f"mv {directory / name} {directory / name}.aside"], check=True)
    if (directory.parent / "elsewhere" / name).exists():
        (directory.parent / "elsewhere" / name).rename(directory / name)
    VirtualMeter(directory).close()


def test_who_asks_only_for_the_description_waits_for_no_fifo_either(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_waits(monkeypatch)
    aside(directory, "meter.json")
    os.mkfifo(directory / "meter.json")
    with pytest.raises(UsageError, match=r"meter\.json is a FIFO, not a regular file"):
        read_config(directory)


def never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails, where the test would hang."""
    plain = os.open

    def careful(path: Path, flags: int, *mode: int, dir_fd: int | None = None) -> int:
        assert flags & os.O_NONBLOCK, path
        return plain(path, flags, *mode, dir_fd=dir_fd)

    def regular(path: Path) -> bytes:
        assert path.is_file(), path
        return whole(path)

    whole = Path.read_bytes
    monkeypatch.setattr(os, "open", careful)
    monkeypatch.setattr(Path, "read_bytes", regular)


@pytest.mark.parametrize("name", ["meter.json", "clock.json", "departments.json"])
def test_a_part_replaced_after_the_look_is_not_followed_nor_waited_for(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "departments.json":
        (directory / "meter.sqlite").unlink()
    monkeypatch.setattr(home, "check_kind", lambda *_, **__: None)
    kept = aside(directory, name)
    (directory / name).symlink_to(kept)
    assert refused(directory, UsageError).message.endswith(f"{name} is a symbolic link, not a regular file")
    (directory / name).unlink()
    os.mkfifo(directory / name)
    never_waits(monkeypatch)
    with pytest.raises(UsageError, match=f"{name} is a FIFO"):
        VirtualMeter(directory)


@pytest.mark.parametrize("name", ["psd", "provider"])
def test_a_folder_replaced_by_a_link_after_the_look_is_not_followed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(home, "check_kind", lambda *_, **__: None)
    (directory / name).symlink_to(aside(directory, name))
    assert "is a symbolic link, not a directory" in refused(directory, HostileDirectory).message


def test_a_master_key_replaced_after_the_look_is_not_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(home, "SoftwareKeyStoreNotForProduction", never)  # nothing of it is given to anyone
    opened, key = open_home(directory), directory / "psd" / "master.key"
    key.chmod(0o604)
    with pytest.raises(HostileDirectory, match=r"others may read .*master\.key \(mode 604\)"):
        opened.power_on(None)
    key.rename(directory / "elsewhere.key")
    key.symlink_to(directory / "elsewhere.key")
    with pytest.raises(HostileDirectory, match=r"master\.key is a symbolic link"):
        opened.power_on(None)
    opened.close()


SECRETS = [
    "psd/master.key",
    "psd/head.seg",
    "provider/ca-key-NOT-FOR-PRODUCTION.pem",
    "provider/provider-key-NOT-FOR-PRODUCTION.pem",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_others_may_read_is_refused(directory: Path, name: str) -> None:
    (directory / name).chmod(0o644)
    assert refused(directory, HostileDirectory).message == f"others may read {directory / name} (mode 644)"


@pytest.mark.parametrize("name", ["psd", "provider", "provider/provider.sqlite", "provider/ca.pem", "psd/lock"])
def test_what_others_may_write_to_is_refused(directory: Path, name: str) -> None:
    (directory / name).chmod(0o777)
    assert refused(directory, HostileDirectory).message == f"others may write to {directory / name} (mode 777)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["psd", "provider", "provider/provider.sqlite", *SECRETS])
def test_what_belongs_to_somebody_else_is_refused(directory: Path, name: str) -> None:
    os.chown(directory / name, NOBODY, -1)
    assert refused(directory, HostileDirectory).message == f"{directory / name} belongs to user {NOBODY}, not to root"


@pytest.mark.parametrize("name", ["psd/master.key", "psd/head.seg", "provider/provider.sqlite", "provider/ca.pem"])
def test_a_link_within_its_folders_is_not_followed(directory: Path, name: str) -> None:
    (directory / name).rename(directory.parent / "kept")
    (directory / name).symlink_to(directory.parent / "kept")
    problem = refused(directory, HostileDirectory)
    assert problem.message == f"{directory / name} is a symbolic link, not a regular file"


def test_a_meter_restored_with_loose_modes_works_after_the_commands_that_it_names(directory: Path) -> None:
    for path in (*directory.rglob("*"), directory):
        path.chmod(0o777)
    for folder in ("psd", "provider"):  # one refusal for each says all that is wrong there
        problem = refused(directory, HostileDirectory)
        assert problem.message.startswith(f"others may write to {directory / folder} (mode 777) (and ")
        subprocess.run(["bash", "-c", problem.hint.removeprefix("Put it right: ")], check=True)
    problem = refused(directory, HostileDirectory)
    assert problem.message.startswith(f"others may write to {directory / 'meter.key'} (mode 777)")
    subprocess.run(["bash", "-c", problem.hint.split(": ", 1)[1]], check=True)
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")
        meter.refill(1_000)


@pytest.mark.parametrize("name", ["meter.json", "psd", "provider"])
def test_a_meter_is_not_made_where_a_link_waits_for_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "m1").mkdir()
    (tmp_path / "m1" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="there is a meter in|holds a meter that was not finished"):
        create(tmp_path / "m1")
    assert [path.name for path in tmp_path.rglob("*")] == ["m1", name]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_whatever_the_umask_a_new_meters_keys_are_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        create(tmp_path / "m1")
        VirtualMeter(tmp_path / "m1").close()
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes["m1/psd"] == modes["m1/provider"] == 0o700
    assert {modes[f"m1/{name}"] for name in SECRETS} == {0o600}
    assert not any(mode & 0o022 for mode in modes.values())


# --- making one ------------------------------------------------------------------------------------------------------

CONFIG = MeterConfig(psd_serial=SERIAL, licensing_zip="20260", customer=CUSTOMER)
IMPOSSIBLE: dict[str, tuple[dict[str, Any], type[PesError], str]] = {
    "a ZIP of four digits": ({"licensing_zip": "2026"}, UsageError, "licensing ZIP '2026' must be 5 digits"),
    "a ZIP of letters": ({"licensing_zip": "2026O"}, UsageError, "must be 5 digits"),
    "a ZIP of other digits": ({"licensing_zip": "٢٠٢٦٠"}, UsageError, "must be 5 digits"),
    "a serial beyond 4 bytes": ({"psd_serial": 1 << 32}, FieldError, "psd_serial"),
    "a negative serial": ({"psd_serial": -1}, FieldError, "psd_serial"),
    "no customer": ({"customer": ""}, UsageError, "'' is no name"),
    "a customer of 65": ({"customer": "x" * 65}, FieldError, "customer must be text of length up to 64"),
    "a customer with a bell": ({"customer": "bell\a"}, UsageError, "is no name"),
    "a customer that is no text": ({"customer": "\udcff"}, UsageError, "is no name"),
    "an offset of 15 hours": ({"utc_offset_minutes": 900}, FieldError, "utc_offset_minutes"),
    "no such layout": ({"layout": "imi"}, LayoutError, "there is no layout 'imi'"),
    "a layout for reading": ({"layout": "ibi"}, LayoutError, "layout ibi is read-only"),
    "a layout file that is missing": ({"layout": "/none.toml"}, LayoutError, "/none.toml: cannot be read"),
    "a department of 17": ({"departments": {"x" * 17: "X"}}, FieldError, "department must be text"),
    "a department of too many bytes": ({"departments": {"é" * 17: "X"}}, FieldError, "department must be text"),
    "a department of mailboxes": ({"departments": {"\U0001f4ee" * 9: "X"}}, FieldError, "reference must be bytes"),
    "a department without a code": ({"departments": {"": "X"}}, UsageError, "'' is no name"),
    "a department without a name": ({"departments": {"1": ""}}, UsageError, "'' is no name"),
    "a name of 65": ({"departments": {"1": "x" * 65}}, FieldError, "department_name"),
    "a clock before 1970-01-02": ({"start": 0}, UsageError, "the virtual clock cannot begin there"),
    "a clock in the year 9999": ({"start": 253_370_764_800_000_000}, UsageError, "the virtual clock cannot begin"),
    "a negative deposit": ({"deposit_mills": -1}, PesError, "-1 mills is outside"),
    "a deposit with a fraction": ({"deposit_mills": 1.5}, PesError, "money must be an int of mills"),
}


@pytest.mark.parametrize(("arguments", "kind", "says"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_a_meter_cannot_be_made_of_is_refused_before_anything_is_made(
    tmp_path: Path, arguments: dict[str, Any], kind: type[PesError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        create(tmp_path / "m1", **arguments)
    assert list(tmp_path.iterdir()) == []
    create(tmp_path / "m1")  # the mistake is corrected, and the same place serves


def test_a_meter_is_not_made_over_another(directory: Path) -> None:
    before = files(directory)
    with pytest.raises(UsageError, match="there is a meter in .*m1 already"):
        create(directory)
    assert files(directory) == before


def test_a_meter_may_move_in_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    create(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    VirtualMeter(tmp_path).close()


STAGES = [
    "pes_sim.provider.centre.Pki",
    "pes_sim.provider.books.open_engine",
    "pes_sim.virtual.create_home",
    "pes_sim.meter.home.write_atomically",
    "pes_sim.meter.home.Psd.execute",
    "pes_sim.provider.centre.DataCentre.authorize",
    "pes_sim.provider.centre.DataCentre.check_in",
    "pes_sim.meter.home.MeterStore",
    "pes_sim.provider.centre.DataCentre.deposit",
    "pes_sim.virtual.pem",
    "pes_sim.virtual.finish_home",
]


@pytest.mark.parametrize("stage", STAGES)
def test_a_meter_that_was_cut_off_while_it_was_made_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    class Cut(BaseException):
        pass

    def cut(*_: object, **__: object) -> None:
        raise Cut

    with monkeypatch.context() as power:
        power.setattr(stage, cut)
        with pytest.raises(Cut):
            create(tmp_path / "m1", start=None)
    with pytest.raises(UsageError, match="there is no meter in"):
        VirtualMeter(tmp_path / "m1")
    with pytest.raises(UsageError, match="holds a meter that was not finished") as refusal:
        create(tmp_path / "m1")
    assert refusal.value.hint == "Remove the directory"


def test_the_check_is_the_same_for_whoever_asks_first(tmp_path: Path) -> None:
    check_place(tmp_path)
    check_new(CONFIG, {"100": "Sales"}, None)
    assert list(tmp_path.iterdir()) == []


# --- its clock -------------------------------------------------------------------------------------------------------


def test_a_meter_on_the_real_clock_tells_the_real_time(tmp_path: Path) -> None:
    create(tmp_path / "m1", start=None)
    assert not (tmp_path / "m1" / "clock.json").exists()
    before = SystemClock().now()
    opened = open_home(tmp_path / "m1")
    assert isinstance(opened.clock, SystemClock)
    opened.close()
    with VirtualMeter(tmp_path / "m1") as meter:
        assert before <= meter.status().device_time <= SystemClock().now()
        with pytest.raises(UsageError, match="runs on the real clock"):
            meter.advance(HOUR)


def test_a_virtual_clock_stands_where_it_was_left_also_after_a_kill(directory: Path) -> None:
    opened = open_home(directory)
    assert isinstance(opened.clock, VirtualClock)
    opened.clock.advance(5)
    with pytest.raises(UsageError, match="never goes back"):
        opened.clock.advance(-1)
    assert stored(directory) == DEFAULT_START + 5
    opened.close()
    assert stored(directory) == DEFAULT_START + 5


def test_a_meter_is_read_once_nobody_else_can_change_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class HeldUntilNow(FileStorage):
        """As if the process that holds the directory moved the clock on, restored another, and then let go of it."""

        def __init__(self, path: Path) -> None:
            (directory / "clock.json").write_text(json.dumps({"now": DEFAULT_START + HOUR}))
            change("meter.json", customer="ANOTHER")(directory)
            super().__init__(path)

    monkeypatch.setattr(home, "FileStorage", HeldUntilNow)
    opened = open_home(directory)
    assert opened.clock.now() == stored(directory) == DEFAULT_START + HOUR
    assert opened.config.customer == "ANOTHER"
    opened.close()
    assert stored(directory) == DEFAULT_START + HOUR


def test_a_meter_that_cannot_be_opened_is_let_go_of(directory: Path) -> None:
    before = (directory / "clock.json").read_bytes()
    (directory / "clock.json").write_bytes(b"{}")
    with pytest.raises(UsageError, match="tells no time"):
        open_home(directory)
    (directory / "clock.json").write_bytes(before)
    open_home(directory).close()


def stored(directory: Path) -> int:
    return int(json.loads((directory / "clock.json").read_bytes())["now"])


def test_time_that_passes_by_itself_is_stored_once_a_second_and_when_it_is_closed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed = [0.0]
    monkeypatch.setattr("pes_sim.meter.home.stopwatch", lambda: elapsed[0])
    opened = open_home(directory)
    clock = opened.clock
    assert isinstance(clock, StoredClock)
    clock.wait(HOUR)
    assert (clock.now(), stored(directory)) == (DEFAULT_START + HOUR, DEFAULT_START)
    elapsed[0] += 1.1
    clock.wait(HOUR)
    assert stored(directory) == DEFAULT_START + 2 * HOUR
    clock.run(1000)
    clock.wait(1)
    assert stored(directory) == DEFAULT_START + 2 * HOUR
    elapsed[0] += 1.1
    shown = clock.now()
    assert stored(directory) == shown > DEFAULT_START + 2 * HOUR
    clock.run(0)
    clock.wait(7)
    assert stored(directory) < clock.now()
    opened.close()
    assert stored(directory) == clock.now()


def test_on_a_full_disk_a_running_clock_is_read_and_who_moves_it_is_told(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise StorageFull(f"cannot write {path}: No space left on device")

    elapsed = [0.0]
    monkeypatch.setattr("pes_sim.meter.home.stopwatch", lambda: elapsed[0])
    opened = open_home(directory)
    clock = opened.clock
    assert isinstance(clock, StoredClock)
    with monkeypatch.context() as patched:
        patched.setattr("pes_sim.meter.home.write_atomically", full)
        elapsed[0] += 1.1
        clock.wait(HOUR)
        clock.run(1000)
        elapsed[0] += 1.1
        clock.now()  # as a port does, whose thread would end with the error
        assert caplog.text.count("the clock is not stored") == 2
        with pytest.raises(StorageFull):
            clock.advance(HOUR)
    elapsed[0] += 1.1
    clock.now()
    assert stored(directory) > DEFAULT_START + HOUR
    opened.close()


def test_a_clock_that_cannot_be_stored_keeps_nobody_from_the_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise StorageFull(f"cannot write {path}: No space left on device")

    opened = open_home(directory)
    opened.power_on(None)
    opened.clock.wait(1)
    with monkeypatch.context() as patched:
        patched.setattr("pes_sim.meter.home.write_atomically", full)
        with pytest.raises(StorageFull):
            opened.close()
    open_home(directory).close()


def test_a_clock_that_was_looked_at_only_is_not_stored_again(directory: Path) -> None:
    written = (directory / "clock.json").stat().st_mtime_ns
    opened = open_home(directory)
    opened.clock.now()
    opened.close()
    assert (directory / "clock.json").stat().st_mtime_ns == written


def test_setting_the_clock_file_back_gains_nothing(directory: Path) -> None:
    with VirtualMeter(directory) as meter:
        meter.advance(73 * HOUR)
        assert meter.status().state == "LOCKED"
    (directory / "clock.json").write_text(json.dumps({"now": DEFAULT_START}))
    with VirtualMeter(directory) as meter:
        assert meter.status().state == "LOCKED"
        assert meter.status().today == "2026-01-08"
