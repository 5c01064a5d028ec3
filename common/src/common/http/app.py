"""The app factory: a service's HTTP side, and the process that serves it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import APIRouter, FastAPI

from common.http.middleware import RequestMiddleware
from common.http.operations import operations
from common.http.problems import add_problem_handlers
from common.settings import Settings, load
from common.telemetry import log_as_json


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
    *,
    away: tuple[type[Exception], ...] = (),
    max_body: int = 64 * 1024,
    larger_bodies: Mapping[re.Pattern[str], int] | None = None,
) -> FastAPI:
    """A service's HTTP side. `start` runs for the life of the process.

    An error of one of the kinds in `away` means that a server is unreachable; the caller gets a 503.

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
    add_problem_handlers(app, away)
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
