"""The bench over HTTP: who is let in, what is refused and how, and that it describes itself."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pes_sim import snapshot
from pes_sim.bench.actions import ACTIONS, ANSWERS
from pes_sim.bench.app import LONGEST, _wake, build
from pes_sim.bench.server import ControlServer
from pes_sim.clock import HOUR
from pes_sim.errors import Status
from pes_sim.virtual import VirtualMeter, create
from tests.bench.conftest import Answer, Host, Web, books_balance
from tests.meter.made import SERIAL


def refused(answer: Answer, code: int, status: Status, says: str) -> dict[str, Any]:
    """A refusal has one form, whatever refuses."""
    document = answer.document
    assert sorted(document) == ["detail", "hint", "message", "name", "status"]
    assert (answer.code, document["name"], document["status"]) == (code, status.name, int(status))
    assert says in document["message"]
    assert answer.headers["content-type"] == "application/json"
    return document


@contextmanager
def stream(web: Web, query: str = "") -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
    connection.request("GET", f"/v1/events{query}", headers={"Authorization": f"Bearer {web.token}"})
    response = connection.getresponse()
    try:
        yield response
    finally:
        response.close()
        connection.close()


def lines(response: http.client.HTTPResponse) -> Iterator[str]:
    while line := response.readline():
        yield line.decode().rstrip("\n")


# --- controls --------------------------------------------------------------------------------------------------------


def test_every_control_is_a_route_that_answers_what_its_table_says(web: Web, tmp_path: Path) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "advance": {"duration": "1h"}, "rate": {"rate": 60}, "lan": {"plug": "out"}, "fault": {"fault": "eio@99"},
        "self-test": {"name": "sha-256", "fails": False}, "snapshot": {"file": str(tmp_path / "file")},
        "restore": {"file": str(tmp_path / "file")}, "line": {"settings": "latency=1ms"},
        "play": {"step": "drop", "direction": "to-device"},
    }  # fmt: skip
    order = sorted((a for a in ACTIONS if a.answer != "event"), key=lambda a: a.name == "tamper")  # that is for good
    for action in order:
        answer = web.get(action.name) if action.reads else web.post(action.name, **arguments.get(action.name, {}))
        assert answer.code == 200, answer
        assert list(answer.document) == [fact.name for fact in ANSWERS[action.answer]]
    assert answer.document["state"] == "ZEROIZED"


def test_what_may_be_left_out_has_its_default(web: Web) -> None:
    assert web.post("self-test", name="sha-256").document["self_tests_made_to_fail"] == ["sha-256"]
    assert web.post("cut", at=3).document["medium_faults"] == ["cut@3"]
    assert web.post("cut").document["power"] == "off"


def test_no_body_is_needed_where_no_argument_is(web: Web) -> None:
    assert web.ask("POST", "/v1/pause").code == 200


def test_it_describes_itself_with_every_control_field_and_refusal(web: Web) -> None:
    described = web.ask("GET", "/openapi.json").document
    assert list(described["paths"]) == [action.path for action in ACTIONS]
    schemas = described["components"]["schemas"]
    for action in ACTIONS:
        operation = described["paths"][action.path][action.verb.lower()]
        assert operation["summary"] == action.what
        assert f"pes-sim bench DIR {action.example}" in operation["description"]
        assert set(operation["responses"]) == {"200", "401", "404", "409", "413", "421", "422", "500"}
        for code, response in operation["responses"].items():
            if code != "200":
                assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Refusal"}
        for parameter in action.parameters:
            assert parameter.meaning in json.dumps([operation, schemas])
    assert "HTTPValidationError" not in schemas
    assert {"Status", "Clock", "Refusal", "AdvanceRequest", "SelfTestRequest"} <= set(schemas)
    assert schemas["Status"]["properties"]["descending_mills"]["description"].startswith("postage still available")
    assert described["components"]["securitySchemes"] == {
        "HTTPBearer": {"type": "http", "scheme": "bearer", "description": "Checked before anything else"},
    }


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/"])
def test_it_serves_no_page(web: Web, path: str) -> None:
    refused(web.ask("GET", path), 404, Status.UNKNOWN_SERVICE, f"there is no GET {path}")


# --- who is let in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/status", "/openapi.json", "/v1/events", "/nowhere"])
@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer 0000", "Basic abc", "bearer {}", "Bearer {}0"])
def test_without_the_token_nobody_learns_anything(web: Web, path: str, given: str | None) -> None:
    said = given.format(web.token) if given else given
    answer = web.ask("GET", path, Authorization=said)
    refused(answer, 401, Status.NOT_AUTHENTICATED, "the bench's token is missing, or another one")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert web.token not in str(answer)


def test_without_the_token_nothing_is_done(web: Web, meter: VirtualMeter) -> None:
    before = meter.clock.now()
    answer = web.ask("POST", "/v1/advance", '{"duration": "72h"}', Authorization="Bearer x")
    assert (answer.code, meter.clock.now()) == (401, before)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{}", "127.0.0.1", "127.0.0.1:1", "[::1]:{}", ""])
def test_a_page_whose_name_was_made_to_lead_here_is_not_answered(web: Web, host: str) -> None:
    """DNS rebinding: the browser sends the page's own name."""
    answer = web.ask("GET", "/v1/status", Host=host.format(web.port))
    document = refused(answer, 421, Status.BAD_FIELD, "the Host header is not this server's address")
    assert document["detail"] == {"field": "Host"}


def test_localhost_is_this_machine_too(web: Web) -> None:
    assert web.ask("GET", "/v1/status", Host=f"localhost:{web.port}").code == 200


def raw(web: Web, *head: str, body: bytes = b"") -> bytes:
    """What comes back for bytes that no library would send."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as line:
        line.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode() + body)
        received = b""
        while data := line.recv(65536):
            received += data
        return received


def test_two_tokens_or_two_names_are_none(web: Web) -> None:
    host, token = f"Host: 127.0.0.1:{web.port}", f"Authorization: Bearer {web.token}"
    start = "GET /v1/status HTTP/1.1"
    assert b" 200 " in raw(web, start, host, token)
    assert b" 401 " in raw(web, start, host, token, token)
    assert b" 400 " in raw(web, start, host, host, token)  # the server's own


def test_an_upgrade_to_a_websocket_is_no_way_in(web: Web) -> None:
    answer = raw(
        web, "GET /v1/status HTTP/1.1", f"Host: 127.0.0.1:{web.port}", "Upgrade: websocket",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13",
    )  # fmt: skip
    assert b" 401 " in answer


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "body", "field"),
    [
        ("advance", "{}", "duration"),
        ("advance", '{"duration": 72}', "duration"),
        ("advance", '{"duration": null}', "duration"),
        ("advance", '{"duration": "1h", "twice": true}', "twice"),
        ("rate", '{"rate": "fast"}', "rate"),
        ("lan", '{"plug": "half"}', "plug"),
        ("cut", '{"at": 1.5}', "at"),
        ("cut", '{"at": 0}', "at"),
        ("cut", '{"at": true}', "at"),
        ("tamper", '{"dry_run": true}', "dry_run"),
        ("cut?at=3", "{}", "at"),
        ("tamper?dry_run", "{}", "dry_run"),
        ("self-test", '{"name": "sha-256", "fails": "no"}', "fails"),
        ("fault", '{"fault": "%s"}' % ("x" * 5000), "fault"),
        ("snapshot", '{"file": "m1.snapshot"}', "file"),
        ("snapshot", '{"file": "/tmp/\\u0000"}', "file"),
        ("snapshot", '{"file": "/tmp/\\ud800"}', "file"),
    ],
)
def test_an_argument_that_is_wrong_is_named(web: Web, control: str, body: str, field: str) -> None:
    document = refused(web.ask("POST", f"/v1/{control}", body), 422, Status.BAD_FIELD, field)
    assert document["detail"]["field"] == field
    assert document["hint"] != ""


@pytest.mark.parametrize(
    ("control", "arguments", "says"),
    [
        ("advance", {"duration": "soon"}, "'soon' is not a duration"),
        ("fault", {"fault": "moths"}, "'moths' is no storage fault"),
        ("self-test", {"name": "moths"}, "there is no self-test 'moths'"),
        ("rate", {"rate": -1}, "a clock does not run at -1"),
        ("restore", {"file": "/nowhere/m1.snapshot"}, "/nowhere/m1.snapshot cannot be read"),
    ],
)
def test_and_so_is_a_value_that_the_meter_does_not_take(
    web: Web, control: str, arguments: dict[str, Any], says: str
) -> None:
    refused(web.post(control, **arguments), 422, Status.BAD_FIELD, says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"duration": 1h}', "the body is not JSON: Expecting ',' delimiter, at character 14"),
        ("", "the body is not a JSON object"),
        ("[]", "the body is not a JSON object"),
        ("null", "the body is not a JSON object"),
        ("[" * 16000, "the body cannot be read"),
        (b'{"duration": "\xff"}', "the body cannot be read"),
    ],
)
def test_a_body_that_is_none_is_told_where(web: Web, body: str | bytes, says: str) -> None:
    refused(web.ask("POST", "/v1/advance", body), 422, Status.BAD_BODY, says)


def test_a_control_without_arguments_takes_a_body_that_has_none_and_no_other(web: Web, meter: VirtualMeter) -> None:
    for body in (None, "", "{}", "null"):
        assert web.ask("POST", "/v1/pause", body).code == 200
    refused(web.ask("POST", "/v1/tamper", "garbage"), 422, Status.BAD_BODY, "the body is not JSON")
    assert meter.status().state == "OPERATIONAL"


def test_a_body_of_another_kind_is_none(web: Web) -> None:
    answer = web.ask("POST", "/v1/advance", "duration=1h", Content_Type="application/x-www-form-urlencoded")
    refused(answer, 422, Status.BAD_BODY, "the body is not a JSON object")


def test_a_number_that_is_none_is_no_rate(web: Web) -> None:
    refused(web.ask("POST", "/v1/rate", '{"rate": NaN}'), 422, Status.BAD_FIELD, "a clock does not run at nan")


@pytest.mark.parametrize(("verb", "path", "code", "hint"), [
    ("GET", "/v1/advance", 405, "It takes POST"), ("POST", "/v1/status", 405, "It takes GET"),
    ("POST", "/v1/sell", 404, "Known: /v1/status, /v1/clock"), ("DELETE", "/v1/cut", 405, "It takes POST"),
    ("GET", "/v1/status/", 404, "Known: /v1/status"),
])  # fmt: skip
def test_a_control_that_is_none_is_told_with_those_that_are(
    web: Web, verb: str, path: str, code: int, hint: str
) -> None:
    document = refused(web.ask(verb, path), code, Status.UNKNOWN_SERVICE, f"there is no {verb} {path}")
    assert document["hint"].startswith(hint)


def test_the_length_of_a_body_is_bounded_whatever_is_announced(web: Web) -> None:
    body = '{"duration": "1h"}'
    longest = body + " " * (LONGEST - len(body))
    assert web.ask("POST", "/v1/advance", longest).code == 200
    says = f"the body has more than {LONGEST} bytes"
    refused(web.ask("POST", "/v1/advance", longest + " "), 413, Status.FRAME_TOO_LARGE, says)
    head = ["POST /v1/advance HTTP/1.1", f"Host: 127.0.0.1:{web.port}", f"Authorization: Bearer {web.token}"]
    assert b" 413 " in raw(web, *head, "Content-Length: 99999999999")
    chunk = b"%x\r\n" % LONGEST + b" " * LONGEST + b"\r\n"
    assert b" 413 " in raw(web, *head, "Transfer-Encoding: chunked", body=chunk * 2)
    assert web.get("status").code == 200


def test_somebody_who_goes_before_his_body_has_come_does_nothing(web: Web, meter: VirtualMeter) -> None:
    head = ["POST /v1/cut HTTP/1.1", f"Host: 127.0.0.1:{web.port}", f"Authorization: Bearer {web.token}",
            "Content-Type: application/json", "Content-Length: 100"]  # fmt: skip
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as line:
        line.sendall("\r\n".join([*head, "", "{}"]).encode())
        line.shutdown(socket.SHUT_WR)
        assert line.recv(1) == b""
    assert web.get("status").document["power"] == "on"
    assert meter.powered


def test_another_meters_snapshot_is_refused(web: Web, tmp_path: Path) -> None:
    create(tmp_path / "other")
    snapshot.take(tmp_path / "other", tmp_path / "file")
    answer = web.post("restore", file=str(tmp_path / "file"))
    refused(answer, 422, Status.BAD_FIELD, f"is PSD {SERIAL}")


def test_a_refusal_of_the_device_and_a_defect_have_the_same_form(
    web: Web, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patched:
        patched.setattr(server.bench._meter, "plug_lan", broken)
        document = refused(web.post("lan", plug="in"), 500, Status.INTERNAL, "internal error of the simulator")
        assert "secret" not in str(document)
    assert web.post("lan", plug="in").code == 200
    server.bench.close()
    refused(web.get("status"), 409, Status.REFUSED_IN_STATE, "the meter is being stopped")


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_come_as_they_happen_numbered_and_named(web: Web) -> None:
    with stream(web, "?count=3") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        read = lines(response)
        assert [next(read), next(read)] == [": pes-sim", ""]
        web.post("advance", duration="72h")
        assert [next(read), next(read)] == ["id: 1", "event: control"]
        first = json.loads(next(read).removeprefix("data: "))
        assert (first["number"], first["event"], first["control"]) == (1, "control", "advance")
        assert next(read) == ""
        web.post("power")
        assert [line for line in read if line.startswith("event: ")] == ["event: state", "event: control"]


def test_events_of_before_are_there_too_from_a_number_on(web: Web) -> None:
    for _ in range(3):
        web.post("pause")
    with stream(web, "?after=1&count=2") as response:
        assert [line for line in lines(response) if line.startswith("id: ")] == ["id: 2", "id: 3"]


def test_a_reader_that_has_gone_is_forgotten(web: Web, server: ControlServer) -> None:
    gone = threading.Event()
    listen = server.bench.events.listen

    def watched(told: Any) -> Any:
        end = listen(told)

        def ended() -> None:
            end()
            gone.set()

        return ended

    server.bench.events.listen = watched  # type: ignore[method-assign]
    with stream(web) as response:
        next(lines(response))
        assert len(server.bench.events._listeners) == 1
    assert gone.wait(60)
    assert not server.bench.events._listeners


def test_many_streams_keep_nobody_from_a_control(web: Web) -> None:
    """More of them than a server has threads."""
    lines_held = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(60)]
    for line in lines_held:
        head = f"Host: 127.0.0.1:{web.port}\r\nAuthorization: Bearer {web.token}"
        line.sendall(f"GET /v1/events HTTP/1.1\r\n{head}\r\n\r\n".encode())
    for line in lines_held:
        assert line.recv(15) == b"HTTP/1.1 200 OK"
    assert web.post("pause").code == 200
    for line in lines_held:
        line.close()


@pytest.mark.parametrize("query", ["?after=-1", "?after=x", "?count=-1", "?cuont=1", "?count=1&count=2"])
def test_a_number_of_events_that_is_none_is_named(web: Web, query: str) -> None:
    refused(web.ask("GET", f"/v1/events{query}"), 422, Status.BAD_FIELD, query[1:6])


def test_a_stream_ends_with_the_meter(meter: VirtualMeter) -> None:
    server = ControlServer(meter)
    with stream(Web(server.place.port, server.place.token)) as response:
        read = lines(response)
        next(read)
        closing = threading.Thread(target=server.close)
        closing.start()
        assert list(read) == [""]
        closing.join()


def test_a_stream_that_has_ended_meanwhile_does_not_disturb_who_tells() -> None:
    """Whoever tells has just paid for an indicium, and its answer is on its way."""
    loop = asyncio.new_event_loop()
    loop.close()
    _wake(loop, asyncio.Event())


def test_what_is_no_http_is_not_answered(server: ControlServer) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    asyncio.run(build(server.bench, "0" * 64, 1)({"type": "websocket"}, receive, send))  # type: ignore[arg-type]
    assert sent == []


# --- all at once -----------------------------------------------------------------------------------------------------


def test_many_at_once_while_a_host_prints_and_the_books_balance(
    web: Web, server: ControlServer, meter: VirtualMeter
) -> None:
    host = Host(meter, server.bench, 60)
    codes: list[int] = []

    def hands(*asked: tuple[str, dict[str, Any]]) -> None:
        for _ in range(5):
            codes.extend(web.post(control, **arguments).code for control, arguments in asked)

    threads = [
        threading.Thread(target=hands, args=asked)
        for asked in (
            (("cut", {}), ("power", {})),
            (("cut", {"at": 2}), ("advance", {"duration": "1s"})),
            (("lan", {"plug": "out"}), ("lan", {"plug": "in"})),
            (("fault", {"fault": "tear@3:99"}), ("power", {})),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) == {200}
    web.post("power")
    books_balance(meter, host.finish())
    assert meter.clock.now() % HOUR == 5_000_000
