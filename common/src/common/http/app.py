"""Makes the HTTP side of a service, and serves it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from common.http.documents import complete
from common.http.middleware import HeadMiddleware, RequestMiddleware
from common.http.operations import operations
from common.http.problems import add_problem_handlers
from common.http.road import Road
from common.http.tls import context_factory
from common.http.traces import traced
from common.metrics import loop_watched
from common.settings import Settings, load
from common.telemetry import log_to_stdout
from common.tracing import tracing


@dataclass(frozen=True, slots=True)
class Running:
    """What a service's `main.py` has built, while the service runs.

    `parts` are the objects that routes get with `Provided(type)`. `checks` has, by server name, a call that raises if
    the server does not answer; `/readyz` makes them. `serves_without` are those servers without which the service still
    answers its callers: for most only the bus, because their events wait in the outbox. `leaving` is called on SIGTERM,
    to end answers that never end.
    """

    parts: Sequence[object]
    checks: Mapping[str, Callable[[], Awaitable[object]]]
    serves_without: frozenset[str] = frozenset({"bus"})
    leaving: Callable[[], None] | None = None


def create_app(
    service: str,
    router: APIRouter,
    start: Callable[[], AbstractAsyncContextManager[Running]],
    *,
    away: tuple[type[Exception], ...] = (),
    max_body: int = 64 * 1024,
    larger_bodies: Mapping[re.Pattern[str], int] | None = None,
    unlimited: re.Pattern[str] | None = None,
) -> FastAPI:
    """The HTTP side of a service. `start` is entered when the process starts, and left when it ends.

    The errors in `away` mean that a server is unreachable; they are answered with 503. A body may have `max_body`
    bytes; for paths that match a pattern in `larger_bodies`, as many as are given there. Changes are limited
    (`WriteLimit`) where the parts have `Sessions`, except at paths that match `unlimited`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as exits:
            exits.enter_context(tracing(service))
            running = await exits.enter_async_context(start())
            await exits.enter_async_context(loop_watched())
            app.state.parts = {type(part): part for part in running.parts}
            app.state.checks = running.checks
            app.state.serves_without = running.serves_without
            app.state.leaving = running.leaving
            yield

    app = _App(
        title=f"Souk {service}",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # Souk has its own.
    )
    app.answers_unavailable = bool(away)
    app.service = service
    app.include_router(router)  # First: routes are tried in this order.
    app.include_router(operations)
    app.add_middleware(Road)
    app.add_middleware(RequestMiddleware, max_body=max_body, larger_bodies=larger_bodies or {}, unlimited=unlimited)
    add_problem_handlers(app, away)
    return app


class _App(FastAPI):
    answers_unavailable = False
    service = ""

    def build_middleware_stack(self) -> ASGIApp:
        # Outermost but for the measuring: all others see the GET.
        return traced(HeadMiddleware(super().build_middleware_stack()), self.service)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi(), self.routes, away=self.answers_unavailable)
        return self.openapi_schema


def serve(app: FastAPI, kind: type[Settings], service: str) -> None:
    """Run the service until SIGTERM. Then finish requests, drain the consumers and relay the outbox."""
    settings = load(kind)
    log_to_stdout(service, settings.log_level, settings.log_format)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=10,
        ssl_context_factory=context_factory(settings),
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
