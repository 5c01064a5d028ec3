"""A service that needs no server: `python -m tests.support.listening`, with the settings of any service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from common.http.app import Running, create_app, serve
from common.settings import Settings

router = APIRouter()


@router.get("/scheme")
async def scheme(request: Request) -> str:
    """Return the scheme that the request came by."""
    return request.url.scheme


@router.get("/events")
async def events() -> StreamingResponse:
    """Send an event ten times a second for ever."""
    return StreamingResponse(_ticks(), media_type="text/event-stream")


async def _ticks() -> AsyncIterator[str]:
    while True:
        yield "data: tick\n\n"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Have no parts."""
    yield Running([], {})


if __name__ == "__main__":
    serve(create_app("listening", router, start), Settings, "listening")
