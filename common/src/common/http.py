"""The app factory: health, problem+json, request ids, bounded bodies, one log line a request, metrics."""

import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from http import HTTPStatus
from types import FrameType
from typing import Annotated, Any, Generic, TypeVar

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common import errors
from common.clock import now
from common.mongo import AWAY
from common.settings import Settings, load
from common.telemetry import REQUESTS, caused_by, log_as_json, new_cause

log = logging.getLogger(__name__)

T = TypeVar("T")

STATUS: Mapping[type[errors.SoukError], HTTPStatus] = {
    errors.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Declined: HTTPStatus.PAYMENT_REQUIRED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Unsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
MOST_DISCARDED = 64 * 1024 * 1024
"""Bytes of a body that is too large are read to the end up to here; over that, the connection just ends."""

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]
"""The `Idempotency-Key` header of a POST."""

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=64)]


class Body(BaseModel):
    """Base of request bodies: a field nobody knows is an error, not a silence."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Page(BaseModel, Generic[T]):
    """One page of a list, and the cursor of the next: null on the last."""

    items: list[T]
    next: str | None


async def current_time() -> datetime:
    """The clock, as a dependency."""
    return now()


Now = Annotated[datetime, Depends(current_time)]


def Provided(kind: type[Any]) -> Any:  # noqa: N802 - used like a type: Annotated[OrderStore, Provided(OrderStore)]
    """A dependency: the one object of this type that `main.py` built."""

    async def provided(request: Request) -> Any:
        return request.app.state.parts[kind]

    return Depends(provided)


@dataclass(frozen=True, slots=True)
class Running:
    """What `main.py` built: the parts that routes ask for by type, and a check for each server they need.

    `leaving` is called when the process is told to end: answers that would last for ever end now.
    """

    parts: Sequence[object]
    checks: Mapping[str, Callable[[], Awaitable[object]]]
    leaving: Callable[[], None] | None = None


def create_app(
    service: str,
    router: APIRouter,
    start: Callable[[], AbstractAsyncContextManager[Running]],
    max_body: int = 64 * 1024,
    larger_bodies: Mapping[re.Pattern[str], int] | None = None,
) -> FastAPI:
    """A service's HTTP side. `start` runs for the life of the process.

    Bodies over `max_body` bytes are refused; `larger_bodies` says how many bytes a path that it matches may have.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with start() as running:
            app.state.parts = {type(part): part for part in running.parts}
            app.state.checks = running.checks
            app.state.leaving = running.leaving
            yield

    app = FastAPI(title=f"Souk {service}", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(router)  # before the rest: routes are tried in this order
    app.include_router(operations)
    app.add_middleware(RequestMiddleware, max_body=max_body, larger_bodies=larger_bodies or {})
    app.add_exception_handler(errors.SoukError, _souk_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    for away in AWAY:
        app.add_exception_handler(away, _away)
    return app


def serve(app: FastAPI, kind: type[Settings], service: str) -> None:
    """Run the service until SIGTERM: requests are finished, consumers drained, the outbox relayed."""
    settings = load(kind)
    log_as_json(service, settings.log_level)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    server = _Server(config)
    server.run()
    if not server.started:
        raise SystemExit(1)


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if leaving := getattr(self.config.app.state, "leaving", None):  # type: ignore[union-attr]
            leaving()


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    """An RFC 9457 answer. ASCII, so that no input echoed in it can break its encoding."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail}
    content = json.dumps({**body, **more})
    return Response(content, status, media_type="application/problem+json", headers=dict(headers or {}))


def problems(*kinds: type[errors.SoukError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route in OpenAPI: which errors it answers with."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        known = responses.setdefault(_status(kind), {"description": "", "content": {"application/problem+json": {}}})
        known["description"] = f"{known['description']}, {kind.code}".removeprefix(", ")
    return responses


def _status(kind: type[errors.SoukError]) -> int:
    return next((STATUS[base] for base in kind.__mro__ if base in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


async def _souk_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, errors.SoukError)  # noqa: S101 - registered for this type
    headers = {}
    if isinstance(error, errors.TooMany):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = "1"
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem(_status(type(error)), error.code, str(error), headers)


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return problem(400, "malformed_json", "the body is not JSON")
    fields = [{"field": ".".join(str(p) for p in e["loc"][1:]) or str(e["loc"][0]), "message": e["msg"]} for e in found]
    return problem(422, "validation_failed", "some fields are wrong", errors=fields)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type
    code = HTTPStatus(error.status_code).name.lower()
    return problem(error.status_code, code, str(error.detail), error.headers)


async def _away(_: Request, error: Exception) -> Response:
    log.warning("a server is away: %s", error)
    unavailable = errors.Unavailable("a part of Souk is away for a moment; try again")
    return await _souk_error(_, unavailable)


class RequestMiddleware:
    """Gives every request an id and its cause, bounds its body, logs and measures it, and answers when code fails."""

    def __init__(self, app: ASGIApp, max_body: int, larger_bodies: Mapping[re.Pattern[str], int]) -> None:
        self.app = app
        self.max_body = max_body
        self.larger_bodies = larger_bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, from its first byte to the last of its answer."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        # Raw headers, read and written: this runs for every request, and the wrappers would double its cost.
        given: dict[bytes, bytes] = dict(scope["headers"])
        cause = new_cause(
            _valid(REQUEST_ID, given.get(b"x-request-id")), _valid(TRACEPARENT, given.get(b"traceparent"))
        )
        status = 0
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(b"x-request-id", cause.request_id.encode()), (b"x-content-type-options", b"nosniff")]
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    own.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *own]
            await send(message)

        with caused_by(cause):
            try:
                app = self._refusal(given, scope["path"]) or self.app
                await app(scope, receive, send_with_id)
            except Exception:
                log.exception("%s %s failed", scope["method"], scope["path"])
                if status:
                    raise  # The answer has begun: only breaking the connection tells the truth.
                failed = problem(500, "internal_error", "something went wrong here; the request id helps us find it")
                await failed(scope, receive, send_with_id)
            finally:
                _account(scope, status, time.perf_counter() - began)

    def _refusal(self, given: Mapping[bytes, bytes], path: str) -> ASGIApp | None:
        if b"transfer-encoding" in given:
            return problem(411, "length_required", "send the body with a Content-Length")
        length = int(given.get(b"content-length", 0))
        if length > self.max_body and length > (bound := self._bound(path)):
            return _after_the_body(problem(413, "too_large", f"the body may have at most {bound} bytes"), length)
        return None

    def _bound(self, path: str) -> int:
        return next((bound for paths, bound in self.larger_bodies.items() if paths.fullmatch(path)), self.max_body)


def _after_the_body(answer: ASGIApp, length: int) -> ASGIApp:
    """The answer, once the body has been read and thrown away: a client that is still sending would not see it."""

    async def read_and_answer(scope: Scope, receive: Receive, send: Send) -> None:
        if length <= MOST_DISCARDED:
            while (await receive()).get("more_body"):
                pass
        await answer(scope, receive, send)

    return read_and_answer


def _valid(pattern: re.Pattern[bytes], value: bytes | None) -> str | None:
    return value.decode() if value and pattern.fullmatch(value) else None


@cache
def _clock(method: str, route: str, status: int) -> Histogram:
    return REQUESTS.labels(method, route, status)


def _account(scope: Scope, status: int, seconds: float) -> None:
    if scope["path"] in QUIET:
        return
    route = getattr(scope.get("route"), "path", "none")
    _clock(scope["method"], route, status).observe(seconds)
    # A line for every read would cost as much as the read; the metrics count them.
    quiet = scope["method"] in {"GET", "HEAD"} and status < HTTPStatus.BAD_REQUEST
    log.log(
        logging.DEBUG if quiet else logging.INFO,
        "%s %s %s",
        scope["method"],
        scope["path"],
        status,
        extra={"route": route, "status": status, "ms": round(seconds * 1000, 2)},
    )


async def _not_through_the_gateway(request: Request) -> None:
    """Operations are for probes and scrapers beside the process, not for the world."""
    if "x-forwarded-for" in request.headers:
        raise errors.NotFound("there is nothing here")


operations = APIRouter(include_in_schema=False, dependencies=[Depends(_not_through_the_gateway)])


@operations.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives. Looks at nothing else."""
    return {"status": "ok"}


@operations.get("/readyz")
async def readyz(request: Request) -> Response:
    """Every server this service needs answers; otherwise 503 with the names of those that do not."""
    away = {}
    for name, check in request.app.state.checks.items():
        try:
            await check()
        except Exception as error:
            away[name] = type(error).__name__
    if away:
        return problem(503, "not_ready", "a server that this service needs is away", away=away)
    return Response('{"status": "ready"}', media_type="application/json")


@operations.get("/metrics")
async def metrics() -> Response:
    """Prometheus text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
