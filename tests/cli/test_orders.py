"""`pes-sim meter …`: locked and unlocked, refills given up, withdrawn, self-tested; each with what can go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pes_sim.clock import HOUR
from pes_sim.errors import PesError
from pes_sim.psd import messages
from pes_sim.psd.access import MOST_ATTEMPTS
from pes_sim.psd.selftest import TestName
from pes_sim.virtual import PROVIDERS_LOCKS, VirtualMeter
from tests.cli.conftest import Cli
from tests.meter.made import CUSTOMER, DEPOSIT, FUNDS, SERIAL

ACTIONS = ["cancel-refill", "withdraw", "lock", "unlock", "recover", "settle", "self-test"]


def document(cli: Cli, *arguments: object, code: int = 0) -> dict[str, Any]:
    """What an action says with --json."""
    result = cli("meter", *arguments, "--json")
    assert (result.code, result.err) == (code, "")
    said: dict[str, Any] = json.loads(result.out)
    return said


def status(cli: Cli, meter: Path) -> dict[str, Any]:
    return document(cli, "status", meter)


@pytest.mark.parametrize("action", ACTIONS)
def test_where_there_is_no_meter_every_action_says_so(cli: Cli, tmp_path: Path, action: str) -> None:
    result = cli("meter", action, tmp_path / "none")
    assert (result.code, result.complaint()[0]) == (2, f"pes-sim: there is no meter in {tmp_path / 'none'}")


# --- lock and unlock -------------------------------------------------------------------------------------------------


def test_a_lock_holds_until_it_is_unlocked(cli: Cli, meter: Path) -> None:
    result = cli("meter", "lock", meter)
    because = f"  because: provider lock. The provider clears it, by its order to unlock: pes-sim meter unlock {meter}"
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [f"Meter {SERIAL}: LOCKED", because]
    refused = cli("meter", "refill", meter, "1.00")
    assert refused.code == 1
    assert refused.complaint()[0] == "pes-sim: locked: the provider locked it"
    result = cli("meter", "unlock", meter)
    assert (result.code, result.out.splitlines()) == (
        0,
        [f"Meter {SERIAL}: OPERATIONAL", "  cleared: provider lock; wrong proofs of identity are forgotten, if any"],
    )
    assert cli("meter", "refill", meter, "1.00").code == 0


def test_reasons_can_be_named_as_often_as_needed(cli: Cli, meter: Path) -> None:
    two = ("--reason", "inspection due", "--reason", "register fault")
    locked = document(cli, "lock", meter, *two)
    assert (locked["state"], locked["lock_reasons"]) == ("LOCKED", ["register fault", "inspection due"])
    assert locked == status(cli, meter)
    assert document(cli, "unlock", meter, "--reason", "inspection due")["lock_reasons"] == ["register fault"]
    assert document(cli, "unlock", meter)["state"] == "OPERATIONAL"


@pytest.mark.parametrize("action", ["lock", "unlock"])
@pytest.mark.parametrize("reason", ["", "check-in overdue", "Provider Lock"])
def test_a_reason_that_is_not_the_providers_is_named_with_those_that_are(
    cli: Cli, meter: Path, action: str, reason: str
) -> None:
    result = cli("meter", action, meter, "--reason", reason)
    assert result.code == 2
    assert result.complaint() == [
        f"pes-sim: {reason!r} is no reason of the provider's",
        "  Allowed: rollback found, register fault, provider lock, inspection due",
    ]
    assert status(cli, meter)["state"] == "OPERATIONAL"


@pytest.mark.parametrize("reason", PROVIDERS_LOCKS)
def test_each_of_the_providers_locks_is_among_what_an_unlock_clears(cli: Cli, meter: Path, reason: str) -> None:
    assert document(cli, "lock", meter, "--reason", reason)["lock_reasons"] == [reason]
    assert document(cli, "unlock", meter)["lock_reasons"] == []


def test_what_the_provider_does_not_clear_stands_there_still_with_what_does(cli: Cli, meter: Path) -> None:
    with VirtualMeter(meter) as opened:
        opened.lock()
        opened.advance(73 * HOUR)
    result = cli("meter", "unlock", meter)
    assert result.code == 0
    assert result.out.splitlines() == [
        f"Meter {SERIAL}: LOCKED",
        f"  because: check-in overdue. A check-in clears it: pes-sim meter checkin {meter}",
        "  cleared: provider lock; wrong proofs of identity are forgotten, if any",
    ]


def test_guesses_at_the_meters_secret_are_forgotten_by_an_unlock_without_a_reason(cli: Cli, meter: Path) -> None:
    with VirtualMeter(meter) as opened:
        for guess in range(MOST_ATTEMPTS):
            opened.psd.execute("challenge", {}, request_id=b"", now=opened.clock.now())
            wrong = {"role": "customer's meter", "proof": bytes([guess] * 32)}
            with pytest.raises(PesError, match="proof is wrong"):
                opened.psd.execute("authenticate", wrong, request_id=b"", now=opened.clock.now())
            opened.advance(HOUR)
    refused = cli("meter", "refill", meter, "1.00")
    assert refused.code == 1
    assert refused.complaint() == [
        "pes-sim: the PSD does not know this meter: it does not take the secret in meter.key: 10 wrong proofs in a "
        "row: none is looked at any more",
        "  The provider's order to unlock lets them be forgotten; power the meter on again then",
    ]
    result = cli("meter", "unlock", meter)
    assert (result.code, result.out.splitlines()) == (
        0,
        [f"Meter {SERIAL}: OPERATIONAL", "  cleared: no lock; wrong proofs of identity are forgotten, if any"],
    )
    assert cli("meter", "refill", meter, "1.00").code == 0


# --- recover ---------------------------------------------------------------------------------------------------------


def rotten(meter: Path) -> Path:
    """A meter that printed two pieces, reported one of them, and whose log has rotted away."""
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="100")
        opened.check_in()
        opened.print_piece(department="100")
    for path in (meter / "psd").glob("log-*.seg"):
        path.write_bytes(b"\xa5" * path.stat().st_size)
    return meter


def test_a_meter_whose_log_has_rotted_says_what_it_reported_last_and_what_brings_it_back(cli: Cli, meter: Path) -> None:
    result = cli("meter", "status", rotten(meter))
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == f"Meter {SERIAL}: ERROR"
    assert (
        "  registers  cannot be read; the last signed report says $0.74 used, $99.26 available, 1 pieces "
        "(get_statement gives it)"
    ) in lines
    assert f"  recovery   the provider's order brings it back, locked at first: pes-sim meter recover {meter}" in lines
    said = status(cli, meter)
    assert (said["ascending_mills"], said["last_report"]["ascending_mills"]) == (None, 740)
    assert cli("meter", "unlock", meter).code == 1


def test_recovered_and_unlocked_it_serves_again(cli: Cli, meter: Path) -> None:
    result = cli("meter", "recover", rotten(meter))
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"Meter {SERIAL}: LOCKED",
        f"  because: register fault. The provider clears it, by its order to unlock: pes-sim meter unlock {meter}",
        "  recovered with $1.48 used in 2 pieces, $98.52 available",
        "  by the word of the meter's database. What the PSD's own port printed since the meter last looked,",
        "  and pieces missing at the database's end, are not in it: --used and --pieces can say them",
    ]
    assert document(cli, "unlock", meter)["state"] == "OPERATIONAL"
    assert cli("meter", "checkin", meter).code == 0
    assert cli("meter", "refill", meter, "1.00").code == 0
    assert document(cli, "withdraw", meter)["amount_mills"] == FUNDS - 1_480 + 1_000
    assert (
        cli("meter", "recover", meter).complaint()[0] == "pes-sim: the meter is WITHDRAWN: there is nothing to recover"
    )


def test_without_its_database_somebody_must_say_what_was_printed(cli: Cli, meter: Path) -> None:
    rotten(meter)
    for path in meter.glob("meter.sqlite*"):
        path.unlink()
    result = cli("meter", "recover", meter)
    assert result.code == 2
    assert result.complaint()[0].startswith("pes-sim: the meter's database does not show what was printed")
    result = cli("meter", "recover", meter, "--used", "0.73", "--pieces", "1")
    assert (result.code, "below what it last reported" in result.err) == (1, True)
    said = document(cli, "recover", meter, "--used", "5.00", "--pieces", "7", "--zero-pieces", "1")
    assert (said["state"], said["ascending_mills"], said["zero_piece_count"]) == ("LOCKED", 5_000, 1)
    assert said["departments"]["(carried)"] == {
        "name": "before the PSD's log begins", "piece_count": 7, "postage_mills": 5_000,
    }  # fmt: skip


def test_less_than_its_database_shows_is_refused_before_anything_is_signed(cli: Cli, meter: Path) -> None:
    rotten(meter)
    for options in (["--used", "0.74", "--pieces", "2"], ["--used", "1.48", "--pieces", "1"]):
        result = cli("meter", "recover", meter, *options)
        assert (result.code, result.complaint()[0]) == (
            2, "pes-sim: the meter's database shows 2 pieces of $1.48, more than that",
        )  # fmt: skip
    assert cli("meter", "recover", meter).code == 0


@pytest.mark.parametrize("options", [["--used", "1.00"], ["--pieces", "1"], ["--zero-pieces", "0"]])
def test_postage_and_pieces_are_said_together(cli: Cli, meter: Path, options: list[str]) -> None:
    result = cli("meter", "recover", rotten(meter), *options)
    assert (result.code, result.complaint()[0]) == (2, "pes-sim: --used and --pieces belong together")


def test_a_meter_that_serves_is_not_recovered(cli: Cli, meter: Path) -> None:
    result = cli("meter", "recover", meter)
    assert (result.code, result.complaint()[0]) == (1, "pes-sim: the meter is OPERATIONAL: there is nothing to recover")
    assert cli("meter", "checkin", meter).code == 0


def test_of_a_meter_of_which_nothing_is_left_the_status_says_so(cli: Cli, meter: Path) -> None:
    rotten(meter)
    (meter / "psd" / "last-report.seg").unlink()
    result = cli("meter", "status", meter)
    assert result.code == 0
    assert "  registers  cannot be read; the last signed report is lost as well" in result.out.splitlines()
    settle = f"the provider can settle it: pes-sim meter settle {meter}"
    assert f"  recovery   nothing is left that says which PSD this is; {settle}" in result.out.splitlines()
    for numbers in ([], ["--used", "1.48", "--pieces", "2"]):
        refused = cli("meter", "recover", meter, *numbers)
        assert (refused.code, refused.complaint()) == (1, [
            f"pes-sim: nothing is left in {meter / 'psd'} that says which PSD this is, and nothing can be recovered",
            f"  The provider can settle it: pes-sim meter settle {meter} --used DOLLARS --pieces N",
        ])  # fmt: skip
    for action in ("unlock", "withdraw"):
        refused = cli("meter", action, meter)
        assert (refused.code, "is not registered" in refused.err, "bring it back:" in refused.err) == (1, False, False)
        assert "it can only be settled" in refused.err
    for _ in range(2):
        assert document(cli, "settle", meter) == {"amount_mills": FUNDS - 1_480}
    with VirtualMeter(meter) as opened:
        assert opened.centre.balance(CUSTOMER) == DEPOSIT - 1_480


def test_too_little_is_refused_with_the_command_that_is_enough(cli: Cli, meter: Path) -> None:
    rotten(meter)
    for path in meter.glob("meter.sqlite*"):
        path.unlink()
    result = cli("meter", "recover", meter, "--used", "0.73", "--pieces", "1")
    assert (result.code, "below what it last reported" in result.err) == (1, True)
    enough = f"pes-sim meter recover {meter} --used 0.74 --pieces 1 --zero-pieces 0"
    assert enough in result.err
    assert cli(*enough.split()[1:]).code == 0


def test_what_a_stopped_meter_refuses_names_the_way_out(cli: Cli, meter: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.csv"
    job.write_text("date,department,mail_class,weight_oz,destination\ntoday,100,first_class_letter,1,10001\n")
    refused = cli("print", "--meter", rotten(meter), "--job", job, "--out", tmp_path / "o.pdf")
    assert refused.code == 1
    assert f"pes-sim meter recover {meter}" in refused.err


def psd_put_back(meter: Path) -> Path:
    """A meter whose PSD has lost the last of its two pieces; its database has not."""
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="100")
    image = {path: path.read_bytes() for path in (meter / "psd").glob("*.seg")}
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="100")
    for path, content in image.items():
        path.write_bytes(content)
    return meter


def test_where_the_database_knows_more_the_status_says_so_and_nothing_is_made_official(cli: Cli, meter: Path) -> None:
    psd_put_back(meter)
    lost = "the meter's database knows 2 pieces of $1.48, the PSD 1 of $0.74: the PSD has lost a part of its log"
    result = cli("meter", "status", meter)
    assert f"  warning: {lost}: pes-sim meter recover {meter}" in result.out.splitlines()
    for action in (["checkin"], ["refill", "1.00"], ["withdraw"], ["cancel-refill"]):
        refused = cli("meter", action[0], meter, *action[1:])
        assert (refused.code, refused.complaint()) == (1, [
            f"pes-sim: {lost}",
            f"  The provider's order lets it go on with what the database knows: pes-sim meter recover {meter}",
        ])  # fmt: skip
    assert "recovered with $1.48 used in 2 pieces, $98.52 available" in cli("meter", "recover", meter).out
    assert document(cli, "unlock", meter)["state"] == "OPERATIONAL"
    assert cli("meter", "checkin", meter).code == 0
    assert document(cli, "withdraw", meter)["amount_mills"] == FUNDS - 1_480


def test_an_older_image_is_recovered_from_its_lock(cli: Cli, meter: Path, tmp_path: Path) -> None:
    assert cli("meter", "snapshot", meter, tmp_path / "m.snapshot").code == 0
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="100")
        opened.check_in()
    assert cli("meter", "restore", meter, tmp_path / "m.snapshot").code == 0
    assert cli("meter", "checkin", meter).code == 1
    assert status(cli, meter)["lock_reasons"] == ["rollback found"]
    assert cli("meter", "recover", meter, "--used", "0.74", "--pieces", "1").code == 0
    assert cli("meter", "unlock", meter).code == 0
    assert cli("meter", "checkin", meter).code == 0


def test_a_meter_whose_database_is_garbled_too_shows_what_it_has_and_keeps_the_evidence(cli: Cli, meter: Path) -> None:
    rotten(meter)
    (meter / "meter.sqlite").write_bytes(b"x" * 4096)
    result = cli("meter", "status", meter)
    assert result.code == 0
    warning = next(line for line in result.out.splitlines() if "the departments cannot be read" in line)
    assert "the database is the only evidence of what was printed" in warning
    refused = cli("meter", "recover", meter)
    assert (refused.code, "meter.sqlite cannot be used: file is not a database" in refused.err) == (1, True)
    assert (meter / "meter.sqlite").read_bytes() == b"x" * 4096
    assert cli("meter", "recover", meter, "--used", "1.48", "--pieces", "2").code == 0


def test_keys_that_are_gone_are_not_said_to_leave_registers_that_can_be_read(cli: Cli, meter: Path) -> None:
    rotten(meter)
    (meter / "psd" / "kek.key").unlink()
    refused = cli("meter", "recover", meter)
    assert (refused.code, "can still be read" in refused.err, "settle" in refused.err) == (1, False, True)


# --- settlement ------------------------------------------------------------------------------------------------------


def test_a_meter_that_can_serve_is_withdrawn_instead(cli: Cli, meter: Path) -> None:
    refused = cli("meter", "settle", meter)
    assert refused.complaint() == [
        "pes-sim: the meter is OPERATIONAL: it can be withdrawn, and then states itself what is left",
        f"  pes-sim meter withdraw {meter}",
    ]


def test_a_meter_without_its_key_can_be_settled_for_no_less_than_its_registers(cli: Cli, meter: Path) -> None:
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="100")
    (meter / "meter.key").unlink()
    (meter / "meter.sqlite").unlink()
    refused = cli("meter", "settle", meter, "--used", "0.00", "--pieces", "0")
    assert (refused.code, refused.complaint()[0]) == (
        2, "pes-sim: the PSD's registers show 1 pieces of $0.74, more than that",
    )  # fmt: skip
    result = cli("meter", "settle", meter, "--used", "0.74", "--pieces", "1")
    assert (result.code, result.out) == (
        0, "settled: $99.26 paid back. The meter is out of service for good, whatever it sends\n",
    )  # fmt: skip


def test_settled_by_its_database_or_not_at_all(cli: Cli, meter: Path) -> None:
    rotten(meter)
    refused = cli("meter", "settle", meter, "--used", "0.74", "--pieces", "1")
    assert refused.complaint()[0] == "pes-sim: the meter's database shows 2 pieces of $1.48, more than that"
    (meter / "meter.sqlite").unlink()
    refused = cli("meter", "settle", meter)
    assert refused.complaint()[0].startswith("pes-sim: the meter's database does not show what was printed")
    assert document(cli, "settle", meter, "--used", "1.48", "--pieces", "2") == {"amount_mills": FUNDS - 1_480}
    assert cli("meter", "recover", meter, "--used", "1.48", "--pieces", "2").code == 1


@pytest.mark.parametrize("gone", ["psd", "psd/master.key"])
def test_a_meter_that_cannot_be_opened_is_settled_all_the_same(cli: Cli, meter: Path, gone: str) -> None:
    if gone == "psd":
        shutil.rmtree(meter / gone)
    else:
        (meter / gone).unlink()
    refused = cli("meter", "settle", meter)
    assert refused.code == 2
    assert refused.complaint()[0].startswith("pes-sim: the meter cannot be opened:")
    for _ in range(2):
        said = document(cli, "settle", meter, "--used", "0.00", "--pieces", "0")
        assert said == {"amount_mills": FUNDS}


@pytest.mark.parametrize("gone", ["psd", "psd/master.key"])
def test_nor_is_that_one_settled_for_less_than_its_database_shows(cli: Cli, meter: Path, gone: str) -> None:
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="100")
    shutil.rmtree(meter / gone) if gone == "psd" else (meter / gone).unlink()
    refused = cli("meter", "settle", meter, "--used", "0.00", "--pieces", "0")
    assert (refused.code, refused.complaint()[0]) == (
        2, "pes-sim: the meter's database shows 1 pieces of $0.74, more than that",
    )  # fmt: skip
    (meter / "meter.sqlite").write_bytes(b"no database, and so no evidence")
    assert document(cli, "settle", meter, "--used", "0.74", "--pieces", "1") == {"amount_mills": FUNDS - 740}


def test_nor_one_that_has_stopped_for_less_than_its_psd_can_still_read(cli: Cli, meter: Path) -> None:
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="100")
    newest = sorted((meter / "psd").glob("log-*.seg"))[-1]
    area = bytearray(newest.read_bytes())
    for bank in (0, 4096):
        area[bank + 30] ^= 1
    newest.write_bytes(area)
    (meter / "meter.sqlite").unlink()
    assert status(cli, meter)["state"] == "ERROR"
    refused = cli("meter", "settle", meter, "--used", "0.00", "--pieces", "0")
    assert refused.complaint()[0] == "pes-sim: the PSD's registers show 1 pieces of $0.74, more than that"
    assert document(cli, "settle", meter, "--used", "0.74", "--pieces", "1") == {"amount_mills": FUNDS - 740}


# --- a refill given up -----------------------------------------------------------------------------------------------


def begin_a_refill(meter: Path, *, granted: bool) -> None:
    with VirtualMeter(meter) as opened:
        request = opened._caller.call("refill_begin", {"amount_mills": 50_000})["message"]
        if granted:
            opened.centre.refill(request)


@pytest.mark.parametrize("granted", [False, True])
def test_a_refill_is_given_up_and_what_was_granted_is_paid_back(cli: Cli, meter: Path, granted: bool) -> None:
    begin_a_refill(meter, granted=granted)
    result = cli("meter", "cancel-refill", meter)
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        f"the refill of $50.00 is given up: cancelled by the device; {CUSTOMER} holds $900.00 with the provider\n"
    )
    assert status(cli, meter)["refill_pending_mills"] == 0
    assert cli("meter", "refill", meter, "60").code == 0


def test_the_same_as_json(cli: Cli, meter: Path) -> None:
    begin_a_refill(meter, granted=True)
    said = document(cli, "cancel-refill", meter)
    assert (said.pop("amount_mills"), said.pop("reason")) == (50_000, "cancelled by the device")
    assert said == status(cli, meter)
    assert (said["sub_state"], said["descending_mills"]) == ("", FUNDS)


def test_where_no_refill_is_under_way_there_is_none_to_give_up(cli: Cli, meter: Path) -> None:
    result = cli("meter", "cancel-refill", meter)
    assert (result.code, result.complaint()) == (1, ["pes-sim: no refill is under way that could be cancelled"])


# --- withdrawal ------------------------------------------------------------------------------------------------------


def test_a_meter_is_withdrawn_once_and_for_good(cli: Cli, meter: Path) -> None:
    with VirtualMeter(meter) as opened:
        opened.print_piece(department="100")
    result = cli("meter", "withdraw", meter)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"Meter {SERIAL}: WITHDRAWN",
        f"  $99.26 paid back; {CUSTOMER} holds $999.26 with the provider",
        "  $0.74 used, in 1 pieces",
    ]
    for action in ("withdraw", "lock", "unlock", "cancel-refill"):
        refused = cli("meter", action, meter)
        assert refused.code == 1
        assert len(refused.complaint()) == 2, "what was wrong, and what it means"
    assert status(cli, meter)["descending_mills"] == 0


def test_the_last_word_of_a_withdrawn_psd_is_in_the_json(cli: Cli, meter: Path) -> None:
    said = document(cli, "withdraw", meter)
    statement = bytes.fromhex(said.pop("statement_hex"))
    assert messages.peek(statement, "withdrawal_statement")[1]["control_sum_mills"] == 0
    assert said.pop("amount_mills") == FUNDS
    assert said == status(cli, meter)
    with VirtualMeter(meter) as opened:
        assert opened.centre.balance(CUSTOMER) == DEPOSIT


def test_a_withdrawal_waits_for_the_refill_under_way(cli: Cli, meter: Path) -> None:
    begin_a_refill(meter, granted=True)
    refused = cli("meter", "withdraw", meter)
    assert refused.code == 1
    assert refused.complaint()[0] == "pes-sim: a refill of $50.00 is under way"
    assert len(refused.complaint()) == 2
    assert cli("meter", "cancel-refill", meter).code == 0
    assert cli("meter", "withdraw", meter).code == 0


# --- self-tests ------------------------------------------------------------------------------------------------------


def test_self_tests_are_run_and_listed(cli: Cli, meter: Path) -> None:
    result = cli("meter", "self-test", meter)
    assert (result.code, result.err) == (0, "")
    names = [test.value for test in TestName if test.value != "pairwise-consistency"]  # that runs where keys are made
    assert result.out.splitlines() == [f"Meter {SERIAL}: OPERATIONAL", *(f"  passed: {name}" for name in names)]
    said = document(cli, "self-test", meter)
    assert said.pop("self_tests_passed") == names
    assert said == status(cli, meter)


def test_a_self_test_that_fails_is_named_and_the_exit_code_tells(cli: Cli, meter: Path) -> None:
    result = cli("meter", "self-test", meter, "--fail-self-test", "sha-256")
    assert (result.code, result.err) == (1, "")
    lines = result.out.splitlines()
    assert lines[0] == f"Meter {SERIAL}: ERROR"
    assert "  failed self-test: sha-256" in lines
    assert "  passed: sha-256" not in lines
    said = document(cli, "self-test", meter, "--fail-self-test", "sha-256", code=1)
    assert said["self_tests_failed"] == ["sha-256"]
    assert cli("meter", "self-test", meter).code == 0, "the next power-on finds it well"


def test_under_the_later_standard_the_rest_goes_on(cli: Cli, tmp_path: Path) -> None:
    assert cli("meter", "new", tmp_path / "m1", "--profile", "140-3", "--refill", "1").code == 0
    said = document(cli, "self-test", tmp_path / "m1", "--fail-self-test", "ecdsa-p224-sign", code=1)
    assert (said["state"], said["self_tests_failed"]) == ("OPERATIONAL", ["ecdsa-p224-sign"])
