"""The bench over HTTP: a route a row of `ACTIONS`, described by OpenAPI (/openapi.json), and a guard before all.

* The guard lets nobody in without the token, nor under another name than this machine's own (a page in a browser whose
  name was made to lead here: DNS rebinding), and takes no more than `LONGEST` bytes.
* Every refusal is one JSON object: status, name, message, hint, detail, as everywhere in `pes_sim`.

Imported when somebody first connects: FastAPI takes longer to load than a meter.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, Literal

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.exceptions import HTTPException

import pes_sim
from pes_sim.bench.actions import ACTIONS, ANSWERS, BY_NAME, EVENTS, Action, Form, Parameter
from pes_sim.bench.control import Bench
from pes_sim.errors import FieldError, NotAuthenticated, PesError, Status, UnknownService, UsageError

LONGEST: Final = 1 << 14
"""Bytes of a request's body."""
_LONGEST_TEXT: Final = 4096
_TYPES: Final[Mapping[Form, Any]] = {
    Form.TEXT: str, Form.FILE: str, Form.WHOLE: int, Form.NUMBER: float, Form.FLAG: bool,
}  # fmt: skip
_KINDS: Final[Mapping[str, Any]] = {
    "str": str, "str | None": str | None, "int": int, "int | None": int | None, "float | None": float | None,
    "list[str]": list[str], "dict[str, int] | None": dict[str, int] | None,
}  # fmt: skip

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Refusal(BaseModel):
    """What every refusal says."""

    status: int = Field(description="a status code of docs/errors.md", examples=[int(Status.BAD_FIELD)])
    name: str = Field(description="its name", examples=[Status.BAD_FIELD.name])
    message: str = Field(description="what was wrong, and where")
    hint: str = Field(description="what to do; may be empty")
    detail: dict[str, int | str | list[str]] = Field(description="the same facts for a machine")


def build(bench: Bench, token: str, port: int) -> App:
    """The application, for a server that listens on 127.0.0.1."""
    app = FastAPI(
        title="pes-sim bench",
        version=pes_sim.__version__,
        summary="The controls of a simulated postage meter while it runs. Specimens only.",
        description="Every request bears the token of the control file: `Authorization: Bearer TOKEN`. Amounts are in "
        "mills (1/1000 dollar), instants in microseconds since 1970-01-01 UTC.",
        docs_url=None,  # it would load a program from the network
        redoc_url=None,
        redirect_slashes=False,  # an address with a slash too many is refused as any other that is none
        dependencies=[
            Depends(HTTPBearer(auto_error=False, description="Checked before anything else")),
            Depends(_check_query),
        ],
    )
    models = {name: _answer_model(name) for name in ANSWERS}
    for action in ACTIONS:
        streams = action.answer == "event"
        app.add_api_route(
            action.path,
            _events_route(bench) if streams else _route(bench, action),
            methods=[action.verb],
            name=action.name,
            operation_id=action.method,
            summary=action.what,
            description=_described(action),
            response_model=None if streams else models[action.answer],
            response_class=Response if streams else JSONResponse,
            responses=_responses(models["event"] if streams else None),
        )
    app.add_exception_handler(PesError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _defect)
    return _Guard(app, token, port)


class EventStream(StreamingResponse):
    """Server-sent events: `id:` and `event:` of each, and `data:`, one line of JSON."""

    media_type = "text/event-stream"


def _answer_model(name: str) -> type[BaseModel]:
    fields: dict[str, Any] = {fact.name: (_KINDS[fact.kind], Field(description=fact.meaning)) for fact in ANSWERS[name]}
    return create_model(name.capitalize(), **fields)


def _body_model(action: Action) -> type[BaseModel]:
    fields: dict[str, Any] = {p.name: _field(p) for p in action.parameters}
    name = "".join(word.capitalize() for word in action.name.split("-"))
    return create_model(f"{name}Request", __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _field(parameter: Parameter) -> tuple[Any, Any]:
    kind = Literal[parameter.words] if parameter.form is Form.CHOICE else _TYPES[parameter.form]
    about: dict[str, Any] = {"description": parameter.meaning}
    if kind is str:
        about["max_length"] = _LONGEST_TEXT
    if parameter.needed:
        return kind, Field(**about)
    return (kind | None if parameter.optional else kind), Field(parameter.default, **about)


def _described(action: Action) -> str:
    refusals = ", ".join(("BAD_FIELD", *action.refusals))
    kinds = "".join(f"\n* `{kind}`: {meaning}" for kind, meaning in EVENTS.items()) if action.answer == "event" else ""
    return f"On the command line: `pes-sim bench DIR {action.example}`. May be refused with: {refusals}.{kinds}"


def _responses(streamed: type[BaseModel] | None) -> dict[int | str, dict[str, Any]]:
    about = {
        401: "No token, or another one (NOT_AUTHENTICATED)", 404: "There is no such control (UNKNOWN_SERVICE)",
        409: "Refused as things stand", 413: f"More than {LONGEST} bytes (FRAME_TOO_LARGE)",
        421: "The Host header names another machine (BAD_FIELD)",
        422: "An argument is wrong: the detail names the field (BAD_FIELD, BAD_BODY)",
        500: "The meter's storage or the simulator fails (STORAGE_FAILED, STORAGE_FULL, INTEGRITY, INTERNAL)",
    }  # fmt: skip
    found: dict[int | str, dict[str, Any]] = {
        code: {"model": Refusal, "description": text} for code, text in about.items()
    }
    if streamed is not None:
        content = {EventStream.media_type: {"schema": streamed.model_json_schema()}}
        found[200] = {"description": EventStream.__doc__, "content": content}
    return found


# --- routes ----------------------------------------------------------------------------------------------------------


def _route(bench: Bench, action: Action) -> Callable[..., Any]:
    def bare() -> dict[str, Any]:
        return bench.perform(action.name, {})

    def given(body: Any) -> dict[str, Any]:
        return bench.perform(action.name, body.model_dump())

    def needless(body: Any = None) -> dict[str, Any]:
        return bare()  # one without arguments: a body may be there, and have none

    if action.reads:
        return bare
    model: Any = _body_model(action)
    work, kind = (given, model) if action.parameters else (needless, model | None)
    work.__annotations__ = {"body": kind, "return": dict[str, Any]}
    return work


async def _check_query(request: Request) -> None:
    """What stands after the question mark: arguments of what reads, each once, and no others."""
    action = BY_NAME[request.scope["route"].name]
    known = [parameter.name for parameter in action.parameters] if action.reads else []
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known or given.count(name) > 1:
            raise FieldError(
                f"{name[:100]}: {'given twice' if name in known else f'no argument of {action.name} in the address'}",
                hint=f"Known there: {', '.join(known)}" if known else "Arguments are a JSON object in the body",
                field=name[:100],
            )


def _events_route(bench: Bench) -> Callable[..., Any]:
    after, count = BY_NAME["events"].parameters

    async def events(
        after: int = Query(after.default, ge=0, description=after.meaning),
        count: int = Query(count.default, ge=0, description=count.meaning),
    ) -> Response:
        return EventStream(_stream(bench, after, count))

    events.__annotations__ = {"after": int, "count": int, "return": Response}
    return events


async def _stream(bench: Bench, after: int, count: int) -> AsyncIterator[str]:
    """Whoever reads slowly is not waited for: what was dropped meanwhile, the next number tells."""
    loop, fresh, sent = asyncio.get_running_loop(), asyncio.Event(), 0
    end = bench.events.listen(lambda: _wake(loop, fresh))
    try:
        yield ": pes-sim\n\n"  # the head of the answer goes out at once
        while True:
            fresh.clear()
            closed = bench.events.closed
            for event in bench.events.after(after):
                after = event.number
                data = json.dumps(event.document())
                yield f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"
                sent += 1
                if sent == count:
                    return
            if closed:
                return
            await fresh.wait()
    finally:
        end()


def _wake(loop: asyncio.AbstractEventLoop, fresh: asyncio.Event) -> None:
    # Whoever tells has just answered a host: a stream that has ended meanwhile must not spoil that.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(fresh.set)


# --- refusals --------------------------------------------------------------------------------------------------------

_CODES: Final[Mapping[Status, int]] = {
    Status.NOT_AUTHENTICATED: 401, Status.UNKNOWN_SERVICE: 404, Status.FRAME_TOO_LARGE: 413,
    Status.STORAGE_FAILED: 500, Status.STORAGE_FULL: 500, Status.INTEGRITY: 500, Status.INTERNAL: 500,
}  # fmt: skip


def document(problem: PesError) -> dict[str, Any]:
    """A refusal as it goes over the wire."""
    return {
        "status": int(problem.status), "name": problem.status.name, "message": problem.message, "hint": problem.hint,
        "detail": problem.detail,
    }  # fmt: skip


def _answer(problem: PesError, code: int = 0) -> JSONResponse:
    code = code or _CODES.get(problem.status, 422 if isinstance(problem, ValueError) else 409)
    return JSONResponse(document(problem), code, {"WWW-Authenticate": "Bearer"} if code == 401 else None)


async def _refused(_: Any, problem: Any) -> JSONResponse:
    return _answer(problem)


async def _invalid(_: Any, problem: Any) -> JSONResponse:
    first = problem.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query")]
    if first["type"] == "json_invalid":
        wrong = UsageError(f"the body is not JSON: {first['ctx']['error']}, at character {where[0]}")
        wrong.status = Status.BAD_BODY
    elif not where:
        wrong = UsageError("the body is not a JSON object", hint='For example {"duration": "72h"}, as application/json')
        wrong.status = Status.BAD_BODY
    else:
        name = ".".join(where)[:100]
        wrong = FieldError(f"{name}: {first['msg']}", hint="/openapi.json describes each field", field=name)  # type: ignore[assignment]
    return _answer(wrong)


async def _no_route(request: Any, problem: Any) -> JSONResponse:
    if problem.status_code not in (404, 405):
        unread = UsageError("the body cannot be read", hint="It is one JSON object, in UTF-8")
        unread.status = Status.BAD_BODY
        return _answer(unread)
    known = {action.path: action.verb for action in ACTIONS}
    hint = f"It takes {known[request.url.path]}" if request.url.path in known else f"Known: {', '.join(known)}"
    return _answer(
        UnknownService(f"there is no {request.method} {request.url.path[:100]}", hint=hint), problem.status_code
    )


async def _defect(_: Any, problem: Exception) -> JSONResponse:
    return _answer(PesError(f"internal error of the simulator ({type(problem).__name__}): report it"))


# --- the guard -------------------------------------------------------------------------------------------------------


class _Guard:
    """Stands before the application: name, token, length. What it lets through, it has read whole."""

    def __init__(self, app: App, token: str, port: int) -> None:
        self._app = app
        self._authorization = f"Bearer {token}".encode()
        self._hosts = [[f"{name}:{port}".encode()] for name in ("127.0.0.1", "localhost")]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no websockets, no lifespan
        try:
            self._check(scope["headers"])
            body = await _read(scope["headers"], receive)
            if body is None:
                return  # whoever asked has gone in the middle of it, and nobody knows what it would have been
        except PesError as problem:
            code = 421 if isinstance(problem, UsageError) and problem.detail.get("field") == "Host" else 0
            await _answer(problem, code)(scope, receive, send)
            return
        unread = [body]

        async def again() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        await self._app(scope, again, send)

    def _check(self, headers: list[tuple[bytes, bytes]]) -> None:
        if _of(headers, b"host") not in self._hosts:
            raise UsageError("the Host header is not this server's address", hint="Use the address of the control file",
                             field="Host")  # fmt: skip
        given = _of(headers, b"authorization")
        if len(given) != 1 or not hmac.compare_digest(given[0], self._authorization):
            raise NotAuthenticated(
                "the bench's token is missing, or another one",
                hint="Send 'Authorization: Bearer TOKEN', with the token of the control file",
            )


async def _read(headers: list[tuple[bytes, bytes]], receive: Receive) -> bytes | None:
    """The whole body, or None when it never comes. Raises as soon as it is too long, or claims to be."""
    announced = _of(headers, b"content-length")
    body, more = b"", True
    if announced and int(announced[0]) > LONGEST:
        raise _too_long()
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LONGEST:
            raise _too_long()
    return body


def _too_long() -> PesError:
    problem = PesError(f"the body has more than {LONGEST} bytes", hint="No control needs as many")
    problem.status = Status.FRAME_TOO_LARGE
    return problem


def _of(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]
