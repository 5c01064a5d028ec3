"""`python -m infra.devtraces`: take spans by OTLP over HTTP on PORT, and show them there under /dev/traces."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from zlib import crc32

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import SecretStr

from common.errors import Invalid, NotFound
from common.http.app import Running, create_app, serve
from common.http.dependencies import Provided
from common.http.problems import problems
from common.settings import Settings, load
from infra.devtraces.traces import Trace, Traces
from infra.services import NAMES

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
"""The page loads nothing and runs nothing."""

MAX_BODY = 4 * 1024 * 1024
"""Bytes of one request of an exporter, which sends 512 spans at most."""

SHOWN = 100
"""Traces in the list."""


def _clock(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9 % 10**10, UTC).strftime("%H:%M:%S")


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"


def _hue(service: str) -> int:
    """The angle of a service's colour: of those known here, no two have the same."""
    return NAMES.index(service) * 360 // len(NAMES) if service in NAMES else crc32(service.encode()) % 360


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_environment.filters |= {"clock": _clock, "duration": _duration, "hue": _hue, "quoted": partial(quote, safe="")}


class TracesSettings(Settings):
    """Where it listens; the bus is not needed."""

    nats_url: SecretStr = SecretStr("")


router = APIRouter()

Kept = Annotated[Traces, Provided(Traces)]


@router.post("/v1/traces", responses=problems(Invalid))
async def take(request: Request, kept: Kept) -> Response:
    """Keep the spans of a service."""
    kept.take(await request.body())
    return Response(media_type="application/x-protobuf")


@router.get("/dev/traces")
async def page(kept: Kept, q: Annotated[str | None, Query(max_length=300)] = None) -> Response:
    """The last traces, or those that have an id: of a trace, a request, an order, an event."""
    return _page(kept, (q or "").strip(), None)


@router.get("/dev/traces/{trace_id}", responses=problems(NotFound))
async def trace_page(trace_id: str, kept: Kept, q: Annotated[str | None, Query(max_length=300)] = None) -> Response:
    """One trace as a tree, beside the others."""
    if (opened := kept.find(trace_id)) is None:
        raise NotFound("there is no such trace here any more")
    return _page(kept, (q or "").strip(), opened)


def _page(kept: Traces, word: str, opened: Trace | None) -> Response:
    traces = list(islice(kept.with_id(word), SHOWN))
    html = _environment.get_template("page.html").render(traces=traces, word=word, opened=opened)
    return HTMLResponse(html, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """The traces, for the life of the process."""
    load(TracesSettings)
    yield Running([Traces()], {})


app = create_app("traces", router, start, max_body=MAX_BODY)

if __name__ == "__main__":
    serve(app, TracesSettings, "traces")
