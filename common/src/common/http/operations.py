"""The routes of every service for probes and scrapers: /healthz, /readyz, /metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from common import errors
from common.http.problems import problem

CHECK_TIMEOUT = 3.0
"""Seconds after which a silent server counts as away. Probes wait longer."""

Check = Callable[[], Awaitable[object]]


async def _not_through_the_gateway(request: Request) -> None:
    """Probes and scrapers ask the process directly. What came through the gateway gets a 404."""
    if "x-forwarded-for" in request.headers:
        raise errors.NotFound("there is nothing here")


operations = APIRouter(include_in_schema=False, dependencies=[Depends(_not_through_the_gateway)])


@operations.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is alive. Checks nothing else."""
    return {"status": "ok"}


@operations.get("/readyz")
async def readyz(request: Request, everything: bool = False) -> Response:
    """200 if every server answers that this service needs to answer its callers; otherwise 503, and who is `away`.

    `servers` has every server that it uses. With `everything`, it is ready only if all of them answer.
    """
    state = request.app.state
    away = await _away(state.checks)
    needed = {name for name in state.checks if everything or name not in state.serves_without}
    servers = {name: {"answers": name not in away, "needed": name in needed} for name in state.checks}
    if missing := {name: error for name, error in away.items() if name in needed}:
        detail = "a server that this service needs is away"
        return problem(503, "not_ready", detail, away=missing, servers=servers)
    return JSONResponse({"status": "ready", "servers": servers})


@operations.get("/metrics")
async def metrics() -> Response:
    """The metrics in Prometheus text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _away(checks: Mapping[str, Check]) -> dict[str, str]:
    """The servers that do not answer, each with the name of its error."""
    errors_found = await asyncio.gather(*(_error(check) for check in checks.values()))
    return {name: error for name, error in zip(checks, errors_found, strict=True) if error}


async def _error(check: Check) -> str | None:
    """The name of the error of a check, None if the server answers. Waits `CHECK_TIMEOUT` seconds."""
    answer = asyncio.ensure_future(check())
    await asyncio.wait([answer], timeout=CHECK_TIMEOUT)  # Not `wait_for`: pymongo may swallow its cancellation.
    if not answer.done():
        answer.cancel()
        return TimeoutError.__name__
    error = answer.exception()
    return type(error).__name__ if error else None
