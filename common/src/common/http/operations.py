"""The routes of every service for probes and scrapers: /healthz, /readyz, /metrics."""

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from common import errors
from common.http.problems import problem


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
async def readyz(request: Request) -> Response:
    """200 if every server that this service needs answers; otherwise 503 with the names of those that do not."""
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
    """The metrics in Prometheus text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
