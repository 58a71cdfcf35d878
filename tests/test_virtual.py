"""A whole virtual meter: in one line, on a port, and the same again from a seed."""

from __future__ import annotations

import contextlib
import hmac
import os
import pty
import random
import shutil
import tempfile
import threading
import tty
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pes_sim.clock import HOUR, MINUTE, SECOND, VirtualClock
from pes_sim.entropy import SystemEntropy
from pes_sim.errors import (
    BadMessage,
    FieldError,
    LinkError,
    LockedCheckinOverdue,
    NotAuthenticated,
    RefusedByProvider,
    RefusedInState,
    StorageFailed,
    StorageFull,
    UsageError,
)
from pes_sim.indicium import layout
from pes_sim.indicium.api import verify
from pes_sim.indicium.verify import Verdict
from pes_sim.link.client import Client
from pes_sim.link.line.config import Direction, LineConfig
from pes_sim.link.line.faults import Kind, Step
from pes_sim.link.line.line import Line
from pes_sim.link.ports import open_host
from pes_sim.meter.connection import Connection
from pes_sim.meter.meter import Meter
from pes_sim.meter.store import DepartmentTotal, MeterStore
from pes_sim.provider.centre import DataCentre
from pes_sim.psd import messages
from pes_sim.psd.access import user_challenge
from pes_sim.psd.device import Psd
from pes_sim.psd.faults import Fault, FaultKind, PowerCut
from pes_sim.psd.fields import Values, pack
from pes_sim.psd.policy import Regime
from pes_sim.psd.profile import Profile
from pes_sim.psd.rtc import Rtc
from pes_sim.psd.services import BY_NAME
from pes_sim.virtual import DEFAULT_START, PrintedSoFar, VirtualMeter, connect, create
from tests.link.fakes import is_free
from tests.meter.made import FUNDS, SERIAL, TODAY, copy_of_a_meter

IMI = layout.builtin("imi_std")


# --- in one line -----------------------------------------------------------------------------------------------------


def test_a_meter_in_one_line_is_checked_in_and_gone_afterwards() -> None:
    with VirtualMeter() as meter:
        folder = meter.home.directory
        assert meter.status().state == "OPERATIONAL"
        assert meter.registers().control_sum_mills == 0
        assert meter.departments() == [DepartmentTotal("100", "General", 0, 0)]
        meter.refill(1_000)
        assert meter.print_piece(department="100").postage_mills == 740
        assert meter.centre.balance("TEST CUSTOMER") == 9_999_000
    assert not folder.parent.exists()


def test_a_meter_that_fails_to_open_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def broken(*_: object, **__: object) -> None:
        raise UsageError("no")

    monkeypatch.setattr("pes_sim.virtual.open_home", broken)
    with pytest.raises(UsageError, match="no"):
        VirtualMeter()
    assert list(tmp_path.iterdir()) == []


def test_a_meter_whose_data_centre_fails_to_open_lets_go_of_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = copy_of_a_meter(tmp_path / "m1")

    def broken(*_: object, **__: object) -> None:
        raise UsageError("no")

    with monkeypatch.context() as context:
        context.setattr("pes_sim.virtual.DataCentre", broken)
        with pytest.raises(UsageError, match="no"):
            VirtualMeter(directory)
    VirtualMeter(directory).close()


def test_closing_twice_does_nothing_more() -> None:
    meter = VirtualMeter()
    meter.serve_pty()
    meter.close()
    meter.close()


def test_jumping_72_hours_locks_it_and_a_check_in_clears_it() -> None:
    with VirtualMeter() as meter:
        meter.refill(10_000)
        meter.advance(72 * HOUR + MINUTE)
        with pytest.raises(LockedCheckinOverdue, match="overdue by 0 h 1 min"):
            meter.print_piece(department="100")
        assert meter.check_in().hours_to_lockout == 72.0
        meter.print_piece(department="100")


def test_a_customer_may_begin_without_funds(tmp_path: Path) -> None:
    create(tmp_path / "m1", deposit_mills=0)
    with VirtualMeter(tmp_path / "m1") as meter:
        assert meter.centre.balance("TEST CUSTOMER") == 0
        with pytest.raises(RefusedByProvider, match=r"holds \$0\.00, \$0\.001 less"):
            meter.refill(1)


def test_its_date_is_that_of_its_own_place(tmp_path: Path) -> None:
    for minutes, today in ((0, "2026-01-05"), (9 * 60, "2026-01-06"), (14 * 60, "2026-01-06"), (-840, "2026-01-05")):
        create(tmp_path / str(minutes), utc_offset_minutes=minutes)
        with VirtualMeter(tmp_path / str(minutes)) as meter:
            meter.refill(1_000)
            assert meter.status().today == today
            values = IMI.unpack(meter.print_piece(department="100").indicium).values
            assert values["mailing_date"] == today
            assert meter.home.store.printed_by_day() == [(today, 1, 740)]


def test_what_it_prints_verifies_against_the_certificates_in_its_directory(tmp_path: Path) -> None:
    directory = copy_of_a_meter(tmp_path / "m1")
    with VirtualMeter(directory) as meter:
        indicium = meter.print_piece(department="100").indicium
    report = verify(indicium, ca=directory / "ca.pem", psd=directory / "psd.pem")
    assert report.verdict is Verdict.VALID


def test_a_layout_of_ones_own_serves_from_wherever_the_meter_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in = Path(layout.__file__).parent / "layouts" / "imi_std.toml"
    (tmp_path / "mine.toml").write_text(built_in.read_text().replace('name = "imi_std"', 'name = "mine"'))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    create(Path("m1"), layout="mine.toml")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with VirtualMeter(Path("..") / "m1") as meter:
        assert meter.info()["layout"] == "mine"
        meter.refill(1_000)
        assert len(meter.print_piece(department="100").indicium) == IMI.length


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("regime", Regime)
def test_a_meter_is_made_for_a_standard_and_for_a_regime_and_keeps_them(
    tmp_path: Path, profile: Profile, regime: Regime
) -> None:
    layout = "ibi_specimen" if profile is Profile.LEGACY else "imi_std"
    create(tmp_path / "m1", profile=profile, regime=regime, layout=layout)
    for _ in range(2):
        with VirtualMeter(tmp_path / "m1") as meter:
            info = meter.info()
            assert (info["profile"], info["regime"]) == (profile.value, regime.value)
            meter.refill(1_000)
            meter.print_piece(department="100")


@pytest.mark.parametrize(("profile", "layout"), [(Profile.LEGACY, "imi_std"), (Profile.FIPS_140_2, "ibi_specimen")])
def test_a_profile_that_does_not_go_with_the_layout_is_named_before_anything_is_made(
    tmp_path: Path, profile: Profile, layout: str
) -> None:
    with pytest.raises(FieldError, match="does not go with indicia signed by"):
        create(tmp_path / "m1", profile=profile, layout=layout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "value"), [("profile", "FIPS 140-1"), ("profile", "140-2"), ("regime", "imi")])
def test_rules_that_do_not_exist_are_named_before_anything_is_made(tmp_path: Path, name: str, value: str) -> None:
    rules: dict[str, Any] = {name: value}
    with pytest.raises(UsageError, match=f"{name} '{value}' is unknown; known: "):
        create(tmp_path / "m1", **rules)
    assert list(tmp_path.iterdir()) == []


def test_a_meter_may_cancel_a_refill_and_be_withdrawn() -> None:
    with VirtualMeter() as meter:
        meter.refill(10_000)
        meter.print_piece(department="100")
        assert meter.withdraw().amount_mills == 9_260
        assert meter.centre.balance("TEST CUSTOMER") == 10_000_000 - 740


# --- on a port -------------------------------------------------------------------------------------------------------


def test_a_port_is_served_until_the_end_and_only_once(tmp_path: Path) -> None:
    with VirtualMeter(copy_of_a_meter(tmp_path / "m1")) as meter:
        path = meter.serve_pty()
        assert meter.serve_pty() == path
        outside = connect(f"serial:{path}")
        assert outside.info() == meter.info()
        printed = outside.print_piece(department="100")
        assert printed.registers == meter.registers() == outside.registers()
    # Not by opening the path again: another process may have been given its number by now.
    with outside, pytest.raises(LinkError, match="was lost"):
        outside.info()


@pytest.mark.parametrize("uri", ["memory:", "pty:", "tcp:0", "rfc2217:0"])
def test_a_print_that_ran_into_a_power_cut_is_paid_once_whatever_the_port(tmp_path: Path, uri: str) -> None:
    cut = [Fault(FaultKind.CUT, 3)]
    with VirtualMeter(copy_of_a_meter(tmp_path / "m1"), storage_faults=cut) as meter:
        server = meter.serve(uri)
        assert meter.serve(uri) is server
        with connect(server.uri, timeout_ms=200) as outside:
            printed = [outside.print_piece(department="100") for _ in range(3)]
        assert meter.medium is not None
        assert meter.medium.cut_at
        assert len({piece.indicium for piece in printed}) == meter.registers().piece_count == 3


def test_a_port_that_was_closed_is_served_anew(tmp_path: Path) -> None:
    with VirtualMeter(copy_of_a_meter(tmp_path / "m1")) as meter:
        first = meter.serve("tcp:0")
        first.close()
        again = meter.serve("tcp:0")
        assert again is not first
        assert meter.serve_psd("tcp:0") is not again
        with connect(again.uri) as outside:
            assert outside.info() == meter.info()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("/dev/none", "there is no port /dev/none"),
        ("serial:/dev/none", "there is no port /dev/none"),
        ("COM1", "'COM1' is not a port"),
        ("ftp:/dev/none", "'ftp:/dev/none' is not a port"),
        ("", "'' is not a port"),
    ],
)
def test_a_port_that_is_none_is_said_with_what_to_do(uri: str, says: str) -> None:
    with pytest.raises((LinkError, UsageError)) as refusal:
        connect(uri)
    assert refusal.value.message == says
    assert refusal.value.hint != ""


def test_a_port_behind_which_nobody_answers_is_given_up_and_closed() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    path = os.ttyname(theirs)
    failures = []  # kept, so that nothing but `connect` itself can have closed the port when it is opened again
    for _ in range(2):
        with pytest.raises(LinkError, match=f"no answer from {path} to hello") as failure:
            connect(path, timeout_ms=1)
        failures.append(failure)
    assert len(failures) == 2
    os.close(theirs)
    os.close(ours)


# --- another clock, another line -------------------------------------------------------------------------------------


def test_its_psds_clock_may_drift_or_lose_its_time_from_this_power_on(tmp_path: Path) -> None:
    directory = copy_of_a_meter(tmp_path / "m1")
    with VirtualMeter(directory, rtc=Rtc(drift_ppm=1_000_000)) as meter:
        before = meter.status().device_time
        meter.advance(HOUR)
        assert meter.status().device_time == before + 2 * HOUR
    with VirtualMeter(directory, rtc=Rtc(battery_failed=True)) as meter:
        assert (meter.status().state, meter.status().lock_reasons) == ("LOCKED", ["date fault"])
        assert meter.order("set_time", device_time=meter.clock.now() + HOUR).state == "OPERATIONAL"
    with VirtualMeter(directory) as meter:
        assert meter.status().state == "OPERATIONAL"


@pytest.mark.parametrize("regime", Regime)
def test_a_meter_may_dial_up_under_the_older_rules_only(tmp_path: Path, regime: Regime) -> None:
    create(tmp_path / "m1", regime=regime)
    with VirtualMeter(tmp_path / "m1", connection=Connection.DIAL_UP) as meter:
        if regime is Regime.IBI:
            meter.check_in()
        else:
            with pytest.raises(LinkError, match="this one dials up"):
                meter.check_in()
    with VirtualMeter(tmp_path / "m1") as meter:
        meter.check_in()


# --- the provider's orders -------------------------------------------------------------------------------------------


def test_the_provider_locks_it_sets_its_time_and_moves_it() -> None:
    with VirtualMeter() as meter:
        assert meter.lock().lock_reasons == ["provider lock"]
        assert meter.lock("inspection due").lock_reasons == ["provider lock", "inspection due"]
        assert meter.unlock("provider lock").lock_reasons == ["inspection due"]
        assert meter.unlock().state == "OPERATIONAL"
        later = meter.clock.now() + HOUR
        assert meter.order("set_time", device_time=later).device_time == later
        meter.order("reauthorize", licensing_zip="10001", customer="B", utc_offset_minutes=0)
        assert meter.info()["licensing_zip"] == "10001"


@pytest.mark.parametrize("seed", ["", "a seed"])
def test_a_meter_whose_log_rots_again_and_again_is_recovered_each_time(tmp_path: Path, seed: str) -> None:
    create(tmp_path / "m", seed=seed)
    for time in range(1, 4):
        with VirtualMeter(tmp_path / "m") as meter:
            meter.refill(10_000)
            meter.print_piece(department="100")
            meter.check_in()
            meter.print_piece(department="100")
        for path in (tmp_path / "m" / "psd").glob("log-*.seg"):
            path.write_bytes(b"\xa5" * path.stat().st_size)
        with VirtualMeter(tmp_path / "m") as meter:
            assert meter.recover().lock_reasons == ["register fault"]
            assert meter.unlock().state == "OPERATIONAL"
            meter.check_in()
            registers = meter.registers()
            assert (registers.ascending_mills, registers.control_sum_mills) == (time * 1_480, time * 10_000)
            assert [d.postage_mills for d in meter.departments()] == [time * 1_480]


def rot_record(meter: VirtualMeter, number: int) -> None:
    """In both banks, of one record of the PSD's log."""
    place = next(found for found in meter._device._psd._books._log().read_from(number))
    path = meter.home.directory / "psd" / place.segment
    area = bytearray(path.read_bytes())
    for bank in (0, 1):
        page, within = divmod(place.offset + 30, 4096)
        area[(2 * page + bank) * 4096 + within] ^= 1
    path.write_bytes(area)


@pytest.mark.parametrize("database", ["kept", "lost"])
def test_a_print_that_was_answered_before_the_log_rotted_is_not_paid_again_after_a_recovery(
    tmp_path: Path, database: str
) -> None:
    create(tmp_path / "m")
    with VirtualMeter(tmp_path / "m") as meter:
        meter.refill(10_000)
        printed = [meter.print_piece(department="100", request_id=bytes([n]) * 16) for n in range(1, 7)]
        rot_record(meter, printed[2].record)
    if database == "lost":
        for path in (tmp_path / "m").glob("meter.sqlite*"):
            path.unlink()
    with VirtualMeter(tmp_path / "m") as meter:
        assert meter.status().state == "ERROR"
        meter.recover(PrintedSoFar(6 * 740, 6))
        meter.unlock()
        meter.check_in()
        for n, first in enumerate(printed, 1):
            if n == 3 and database == "lost":
                continue  # nothing is left of it but its postage
            again = meter.print_piece(department="100", request_id=bytes([n]) * 16)
            assert (again.indicium, again.record) == (first.indicium, first.record)
        assert meter.registers().ascending_mills == 6 * 740
        assert sum(department.postage_mills for department in meter.departments()) == 6 * 740
        meter.print_piece(department="100")
    with VirtualMeter(tmp_path / "m") as meter:
        assert sum(department.pieces for department in meter.departments()) == 7


def test_rot_of_the_logs_end_is_no_power_cut_whatever_was_printed_in_it(tmp_path: Path) -> None:
    create(tmp_path / "m")
    with VirtualMeter(tmp_path / "m") as meter:
        meter.refill(100_000)
        for _ in range(10):
            meter.print_piece(department="100")
        meter.check_in()
        for _ in range(10):
            meter.print_piece(department="100")
    (path,) = (tmp_path / "m" / "psd").glob("log-*.seg")
    whole, end = path.read_bytes(), len(path.read_bytes().rstrip(b"\0"))
    for first in range(0, end // 8192 * 8192 + 1, 8192):
        area = bytearray(whole)
        area[first : first + 8192] = random.Random(first).randbytes(8192)
        path.write_bytes(area)
        with VirtualMeter(tmp_path / "m") as meter:
            assert meter.status().state == "ERROR"
    path.write_bytes(whole)
    with VirtualMeter(tmp_path / "m") as meter:
        assert meter.registers().piece_count == 20


def test_pieces_that_wait_for_the_database_are_evidence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with VirtualMeter() as meter:
        meter.refill(10_000)
        meter.print_piece(department="100")
        with monkeypatch.context() as broken:

            def refuse(*_: object) -> None:
                raise StorageFailed("the disk said no")

            broken.setattr(meter.home.store, "add", refuse)
            meter.print_piece(department="100")
            for path in (meter.home.directory / "psd").glob("log-*.seg"):
                path.write_bytes(b"\xa5" * path.stat().st_size)
            meter._device._psd._books.stop("a test said so")
            with pytest.raises(StorageFailed):
                meter.recover()
        assert meter.recover().state == "LOCKED"
        assert meter.registers().ascending_mills == 1_480


def test_an_order_that_a_meter_does_not_pass_on_is_named_with_those_that_it_does() -> None:
    with VirtualMeter() as meter:
        for service in ("renew_key", "refill_complete", "open"):
            with pytest.raises(
                FieldError, match=f"'{service}' is no order to a meter. Known: lock, unlock, set_time, "
            ):
                meter.order(service)


# --- its PSD alone ---------------------------------------------------------------------------------------------------


@contextmanager
def mainboard(meter: VirtualMeter) -> Iterator[Client]:
    """A host at the PSD's own port, logged in by the meter's secret."""
    client = Client(open_host(meter.serve_psd_pty()), BY_NAME, SystemEntropy())
    try:
        assert client.hello()["device_kind"] == "psd"
        challenge = user_challenge(SERIAL, client.call("challenge", {})["nonce"])
        proof = hmac.digest(meter.home.secret(), challenge, "sha256")
        client.call("authenticate", {"role": "customer's meter", "proof": proof})
        yield client
    finally:
        client.close()


def asked(reference: bytes = b"100") -> Values:
    return {
        "postage_mills": 740, "mailing_date": TODAY, "mail_class": "first_class_letter", "weight": 100,
        "destination": "", "reference": reference,
    }  # fmt: skip


def test_its_psd_is_served_alone_beside_the_meter_until_the_end(tmp_path: Path) -> None:
    with VirtualMeter(copy_of_a_meter(tmp_path / "m1")) as meter:
        path = meter.serve_psd_pty()
        assert meter.serve_psd_pty() == path != meter.serve_pty()
        client = Client(open_host(path), BY_NAME, SystemEntropy())
        with pytest.raises(NotAuthenticated):
            client.call("dispense", asked())
        with connect(meter.serve_pty()) as whole:
            assert whole.registers() == meter.registers()
    with pytest.raises(LinkError, match="was lost"):
        client.call("get_info", {})
    client.close()


def test_what_a_mainboard_does_with_the_psd_the_meter_knows_of(tmp_path: Path) -> None:
    directory = copy_of_a_meter(tmp_path / "m1")
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")
        with mainboard(meter) as psd:
            answer = psd.call("dispense", asked(b"200"))
            assert meter.registers().ascending_mills == answer["ascending_mills"] == 1480
            assert [(d.code, d.pieces) for d in meter.departments()] == [("100", 1), ("200", 1)]
            psd.call("dispense", asked(b"100"))
            meter.check_in()
            assert meter.home.store.totals()[0] == 3  # safe here before it is acknowledged
            meter.print_piece(department="100")
        assert [(d.code, d.pieces) for d in meter.departments()] == [("100", 3), ("200", 1)]
    with VirtualMeter(directory) as again:
        assert [(d.code, d.pieces) for d in again.departments()] == [("100", 3), ("200", 1)]


def test_what_bears_no_departments_code_is_nobodys_and_a_batch_is_as_many_pieces(tmp_path: Path) -> None:
    directory = copy_of_a_meter(tmp_path / "m1")
    references = (b"", b"\xff\xfe", b"x" * 32, b"two\nlines", b"100")
    with VirtualMeter(directory) as meter, mainboard(meter) as psd:
        for reference in references:
            psd.call("dispense", asked(reference))
        psd.call("dispense_batch", {"pieces": [pack(asked(b"200"))] * 7})
    for turn in range(2):
        with VirtualMeter(directory) as again:
            assert [(d.code, d.pieces) for d in again.departments()] == [("100", 1), ("200", 7 + turn), ("?", 4)]
            with connect(again.serve_pty()) as outside:
                assert outside.departments() == again.departments()
            again.print_piece(department="200")
            again.check_in()
        (directory / "meter.sqlite").unlink()  # the next one finds it all in the PSD's log once more


def test_meter_and_port_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    free: set[bool] = set()
    execute = Psd.execute

    def watched(psd: Psd, *arguments: Any, **named: Any) -> Values:
        free.add(is_free(meter._device._turn))
        return execute(psd, *arguments, **named)

    with VirtualMeter() as meter:
        path = meter.serve_psd_pty()
        monkeypatch.setattr(Psd, "execute", watched)
        client = Client(open_host(path), BY_NAME, SystemEntropy())
        client.call("get_status", {})
        meter.psd.execute("get_status", {}, request_id=b"", now=meter.clock.now())
        meter.registers()
        client.close()
        assert free == {False}


# --- from a seed -----------------------------------------------------------------------------------------------------


def live(directory: Path, seed: str) -> list[bytes]:
    """One life of a meter, with restarts; its payloads."""
    create(directory, seed=seed, departments={"100": "Sales", "200": "Billing"})
    payloads: list[bytes] = []
    for day in range(3):
        with VirtualMeter(directory) as meter:
            meter.refill(20_000)
            payloads += [meter.print_piece(department=code, weight=100 + day).indicium for code in ("100", "200")]
            meter.check_in()
            meter.advance(20 * HOUR)
            payloads.append(meter.print_piece(department="100").indicium)
    return payloads


def log_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "psd").glob("*.seg")}


def test_the_same_seed_is_the_same_meter_byte_for_byte(tmp_path: Path) -> None:
    first, second = live(tmp_path / "a", "lucky"), live(tmp_path / "b", "lucky")
    assert first == second
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b") != {}
    for name in (
        "ca.pem",
        "psd.pem",
        "meter.json",
        "clock.json",
        "psd/master.key",
        "meter.key",
        "provider/provider.pem",
    ):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for key in (tmp_path / "a" / "provider").glob("*key*"):
        assert key.read_bytes() == (tmp_path / "b" / "provider" / key.name).read_bytes()


@pytest.mark.parametrize(("one", "other"), [("lucky", "lucky "), ("lucky", ""), ("", "")])
def test_another_seed_or_none_is_another_meter(tmp_path: Path, one: str, other: str) -> None:
    create(tmp_path / "a", seed=one)
    create(tmp_path / "b", seed=other)
    for name in ("ca.pem", "psd.pem", "psd/master.key"):
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


def test_a_seeded_meter_says_that_its_keys_are_reproducible(tmp_path: Path) -> None:
    create(tmp_path / "a", seed="lucky")
    create(tmp_path / "b")
    with VirtualMeter(tmp_path / "a") as seeded, VirtualMeter(tmp_path / "b") as other:
        assert seeded.info()["notice"].endswith("Keys are reproducible from a seed.")
        assert "seed" not in other.info()["notice"]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The nonces of every message that reaches a data centre."""
    nonces: list[bytes] = []

    def watch(name: str, kind: str) -> None:
        real: Callable[[DataCentre, bytes], bytes] = getattr(DataCentre, name)

        def watched(centre: DataCentre, message: bytes) -> bytes:
            nonces.append(messages.peek(message, kind)[1]["nonce"])
            return real(centre, message)

        monkeypatch.setattr(DataCentre, name, watched)

    watch("refill", "refill_request")
    watch("check_in", "checkin_report")
    return nonces


@pytest.mark.parametrize("seed", ["lucky", ""])
def test_no_nonce_and_no_request_id_ever_comes_twice_however_often_a_meter_is_opened(
    tmp_path: Path, sent: list[bytes], seed: str
) -> None:
    create(tmp_path / "m1", seed=seed)
    for turn in range(6):
        with VirtualMeter(tmp_path / "m1") as meter:
            for _ in range(2):
                meter.refill(1_000)
                meter.check_in()
            if turn % 2:
                meter.print_piece(department="100")
                meter.print_piece(department="100")
    assert len(sent) == 1 + 6 * 4
    assert [nonce for nonce, times in Counter(sent).items() if times > 1] == []
    with VirtualMeter(tmp_path / "m1") as meter:
        ids = [entry["request_id"] for entry in meter.log()]
        assert len(set(ids)) == len(ids) == 6


def test_opening_a_seeded_meter_again_at_the_same_record_is_the_same_again(tmp_path: Path) -> None:
    """Where nothing was committed, nothing has been used up: two copies of a directory go the same way."""
    create(tmp_path / "a", seed="lucky")
    with VirtualMeter(tmp_path / "a") as meter:
        meter.refill(10_000)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    payloads = []
    for name in ("a", "b"):
        with VirtualMeter(tmp_path / name) as meter:
            meter.check_in()
            payloads.append(meter.print_piece(department="100").indicium)
    assert payloads[0] == payloads[1]
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")


@pytest.mark.parametrize("rotten", ["all of it", "its tail"])
def test_a_seeded_meter_that_was_recovered_draws_no_request_id_twice(tmp_path: Path, rotten: str) -> None:
    """Its database knows the pieces that the PSD has lost: one of their ids would print without a debit."""
    create(tmp_path / "m1", seed="lucky")
    with VirtualMeter(tmp_path / "m1") as meter:
        meter.refill(100_000)
    psd, printed = tmp_path / "m1" / "psd", []
    tail: dict[Path, bytes] = {}
    for life in range(3):
        with VirtualMeter(tmp_path / "m1") as meter:
            if life:
                assert meter.recover().lock_reasons == ["register fault"]
                meter.unlock()
            tail = tail or {path: path.read_bytes() for path in psd.glob("*.seg")}
            printed += [meter.print_piece(department="100") for _ in range(3)]
            assert meter.registers().piece_count == len(printed) == len({p.indicium for p in printed})
        if rotten == "all of it":
            for path in psd.glob("log-*.seg"):
                path.write_bytes(b"\xa5" * path.stat().st_size)
        elif not life:
            for path, content in tail.items():
                path.write_bytes(content)
        else:
            break
    with VirtualMeter(tmp_path / "m1") as meter:
        if rotten == "all of it":
            meter.recover()
        assert meter.registers().ascending_mills == sum(p.postage_mills for p in printed)


def test_who_only_looks_opens_nothing_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without a free byte keeps nobody from reading the registers, nor does a broken database."""
    directory = copy_of_a_meter(tmp_path / "m1")

    def full(*_: object) -> None:
        raise StorageFull("no room in meter.sqlite", hint="Free some room")

    with monkeypatch.context() as disk:
        disk.setattr(MeterStore, "open", full)
        disk.setattr("pes_sim.provider.books.open_engine", full)
        with VirtualMeter(directory) as meter:
            assert meter.registers().descending_mills == FUNDS
            assert meter.status().state == "OPERATIONAL"
            for needs_room in (meter.departments, meter.check_in, lambda: meter.refill(1_000), meter.lock):
                with pytest.raises(StorageFull, match="no room"):
                    needs_room()
    assert not list((directory / "provider").glob("*-shm"))
    with VirtualMeter(directory) as meter:
        meter.registers()
        assert not list((directory / "provider").glob("*-shm")), "the provider was asked nothing"


def test_where_meter_psd_and_provider_agree_there_is_nothing_to_recover(tmp_path: Path) -> None:
    with VirtualMeter(copy_of_a_meter(tmp_path / "m1")) as meter:
        meter.print_piece(department="100")
        for lock in ("", "provider lock"):
            with pytest.raises(RefusedInState, match="there is nothing to recover"):
                meter.recover()
            if lock == "":
                meter.lock()
        meter.unlock()
        challenge = meter._caller.call("challenge", {})
        meter.centre.recover(SERIAL, challenge, ascending_mills=90_000, piece_count=900, zero_piece_count=0)  # a slip
        with pytest.raises(RefusedByProvider, match="from before the recovery"):
            meter.check_in()
        with pytest.raises(RefusedByProvider, match="has not carried out the recovery"):
            meter.unlock()
        assert meter.recover().lock_reasons == ["rollback found", "register fault"]
        meter.unlock()
        assert meter.check_in().state == "OPERATIONAL"
        meter.print_piece(department="100")
        assert meter.registers().ascending_mills == 1_480


def test_what_the_psd_still_knows_bounds_a_recovery_and_is_said(tmp_path: Path) -> None:
    directory = copy_of_a_meter(tmp_path / "m1")
    with VirtualMeter(directory) as meter:
        meter.print_piece(department="100")
        meter.print_piece(department="100")
        meter.lock("rollback found")
    (directory / "meter.sqlite").unlink()
    with VirtualMeter(directory) as meter:
        meter._home.store._db.execute("DELETE FROM piece")  # no evidence at all
        with pytest.raises(BadMessage) as refused:
            meter.recover(PrintedSoFar(740, 1))
        assert "pes-sim meter recover DIR --used 1.48 --pieces 2 --zero-pieces 0" in refused.value.hint
        assert meter.recover(PrintedSoFar(1_480, 2)).state == "LOCKED"


def test_a_virtual_meter_is_a_meter_with_a_clock_of_its_own() -> None:
    with VirtualMeter() as meter:
        assert isinstance(meter, Meter)
        assert isinstance(meter.clock, VirtualClock)
        assert meter.clock.now() == DEFAULT_START


def test_a_power_cut_in_process_is_an_exception_until_the_power_is_back(tmp_path: Path) -> None:
    create(tmp_path / "m1")
    with VirtualMeter(tmp_path / "m1") as meter:
        meter.refill(1_000_000)
    for at in range(2, 10):  # the first operation comes at power-on
        with VirtualMeter(tmp_path / "m1", storage_faults=[Fault(FaultKind.CUT_KEPT, at)]) as meter:
            before = meter.registers().piece_count
            printed = 0
            with contextlib.suppress(PowerCut):
                while True:
                    meter.print_piece(department="100", request_id=bytes([at, printed]) + bytes(14))
                    printed += 1
            with pytest.raises(PowerCut):
                meter.registers()
            meter.power_on()
            assert meter.registers().piece_count - before in (printed, printed + 1)
            meter.print_piece(department="100", request_id=bytes([at, printed]) + bytes(14))
            assert meter.registers().piece_count - before == printed + 1
    with VirtualMeter(tmp_path / "m1") as meter:
        assert sum(d.pieces for d in meter.departments()) == meter.registers().piece_count
        meter.power_on()
        assert meter.registers().balanced()


def test_a_request_under_way_is_finished_before_the_power_goes() -> None:
    """Two devices on one medium would both debit, and write over each other's records."""
    asked = {"postage_mills": 740, "mailing_date": "2026-01-05", "mail_class": "first_class_letter", "weight": 100,
             "destination": "", "reference": b"100"}  # fmt: skip
    with VirtualMeter() as meter:
        meter.refill(50_000)
        meter.print_piece(department="100")
        before, psd = meter._device, meter.psd  # held by somebody since before the power went
        with meter._turn:
            switching = threading.Thread(target=meter.power_on)
            switching.start()
            psd.execute("dispense", asked, request_id=b"B" * 16, now=meter.clock.now())
            assert meter._device is before
        switching.join()
        assert meter._device is not before
        meter.print_piece(department="100")
        psd.execute("dispense", asked, request_id=b"C" * 16, now=meter.clock.now())  # of the device that is on now
        assert [entry["piece_count"] for entry in meter.log()] == [1, 2, 3, 4]


def test_on_the_psds_port_nobody_is_logged_in() -> None:
    with VirtualMeter() as meter:
        meter.refill(50_000)
        client = Client(open_host(meter.serve_psd_pty()), BY_NAME, SystemEntropy())
        assert client.call("get_status", {})["role"] == "unauthenticated"
        client.close()


def test_a_batch_whose_answer_the_power_cut_swallowed_is_answered_to_the_retry() -> None:
    item = pack({"postage_mills": 740, "mailing_date": "2026-01-05", "mail_class": "first_class_letter", "weight": 100,
                 "destination": "", "reference": b"100"})  # fmt: skip
    with VirtualMeter(storage_faults=[Fault(FaultKind.ROT, 10**8)]) as meter:
        meter.refill(500_000)
        client = Client(open_host(meter.serve_psd_pty()), BY_NAME, SystemEntropy())
        client.hello()
        assert meter.medium is not None
        log_in(client, meter)
        meter.medium.add(Fault(FaultKind.CUT_KEPT, meter.medium.operations + 5))
        with contextlib.suppress(NotAuthenticated):  # the session may have gone with the power
            client.call("dispense_batch", {"pieces": [item] * 25}, request_id=b"B" * 16)
        log_in(client, meter)
        done = client.call("dispense_batch", {"pieces": [item] * 25}, request_id=b"B" * 16)
        assert meter.medium.cut_at > 0
        assert len(done["indicia"]) == meter.registers().piece_count == 25
        client.close()


def log_in(client: Client, meter: VirtualMeter) -> None:
    """As a mainboard that knows the meter's secret."""
    nonce = client.call("challenge", {})["nonce"]
    serial = client.call("get_info", {})["psd_serial"]
    proof = hmac.digest(meter.home.secret(), user_challenge(serial, nonce), "sha256")
    client.call("authenticate", {"role": "customer's meter", "proof": proof})


# --- over a line -----------------------------------------------------------------------------------------------------


def test_a_meter_in_this_process_may_be_behind_a_line() -> None:
    line = Line(LineConfig(baud=9600, bit_errors=1e-4), seed="virtual")
    with VirtualMeter(line=line) as meter:
        before = meter.clock.now()
        meter.refill(100_000)
        indicia = {meter.print_piece(department="100").indicium for _ in range(50)}
        assert len(indicia) == meter.registers().piece_count == 50
        # What was sent took its time.
        assert meter.clock.now() - before > line.counts().sent_bytes // 2 * 10 * SECOND // 9600
    assert line.counts().flipped_bits > 5


def test_a_line_is_changed_while_its_meter_is_in_use() -> None:
    line = Line()
    with VirtualMeter(line=line) as meter:
        meter.refill(1_000)
        line.change(plugged=False)
        with pytest.raises(LinkError, match="no answer from memory: to get_status after 4 attempts"):
            meter.status()
        line.change(plugged=True)
        assert meter.status().state == "OPERATIONAL"
        assert len(list(meter.log())) == 0


@pytest.mark.parametrize("uri", ["pty:", "memory:"])
def test_a_port_may_have_a_line_between_it_and_the_meter(uri: str) -> None:
    """Its answers come in parts on a terminal: what is on its way for long does not look like silence."""
    line = Line(LineConfig(baud=9600, latency_us=100))
    with VirtualMeter() as meter:
        server = meter.serve(uri, line=line)
        assert meter.serve(uri) is server
        meter.refill(10_000)
        before = meter.clock.now()
        with connect(server.uri) as outside:
            indicia = [outside.print_piece(department="100").indicium for _ in range(3)]
        assert [entry["indicium"] for entry in meter.log()] == indicia
        assert line.counts().sent_bytes > 500
        assert meter.clock.now() - before >= line.counts().sent_bytes * 10 * SECOND // 9600


def test_a_mainboard_may_have_a_line_to_its_psd_too() -> None:
    line = Line(LineConfig(latency_us=100))
    with VirtualMeter() as meter:
        client = Client(open_host(meter.serve_psd("pty:", line=line).uri), BY_NAME, SystemEntropy())
        assert client.hello()["device_kind"] == "psd"
        client.close()
    assert line.counts().sent_bytes > 50


def test_a_host_that_hangs_up_and_comes_again_is_served() -> None:
    line = Line()
    with VirtualMeter() as meter, connect(meter.serve("pty:", line=line).uri) as outside:
        outside.status()
        line.change(host_dtr=False)
        line.change(host_dtr=True)
        assert outside.status().state == "OPERATIONAL"


def test_a_host_may_put_a_line_before_its_port() -> None:
    line = Line(steps=[Step(Kind.FLIP, Direction.TO_DEVICE, byte=20), Step(Kind.FLIP, Direction.TO_HOST, byte=200)])
    with VirtualMeter() as meter:
        meter.refill(1_000)
        with connect(meter.serve_pty(), line=line) as outside:
            assert outside.print_piece(department="100").postage_mills == 740
    assert line.counts().flipped_bits == 2
    assert line.transparent


@pytest.mark.parametrize("uri", ["pty:", "tcp:127.0.0.1:0", "memory:"])
def test_a_clock_that_is_moved_tells_the_host_at_a_port_what_the_time_has_brought_about(uri: str) -> None:
    with VirtualMeter() as meter:
        server = meter.serve(uri)
        with connect(server.uri) as outside:
            outside.subscribe()
            meter.advance(25 * HOUR)  # which tells the hosts of every port
            assert [event.name for event in outside.events(listen=True)] == ["checkin_due"]
