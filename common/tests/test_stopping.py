"""A service that stops: what is still under way when its time is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter

from common.http.app import Running, create_app


async def test_a_request_that_is_cancelled_because_the_service_stops_is_answered_503() -> None:
    waiting = asyncio.Event()
    router = APIRouter()

    @router.get("/chairs")
    async def never_made() -> None:
        waiting.set()
        await asyncio.Event().wait()

    @asynccontextmanager
    async def start() -> AsyncIterator[Running]:
        yield Running([], {})

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    app = create_app("test", router, start)
    scope = {"type": "http", "method": "GET", "path": "/chairs", "query_string": b"", "headers": [], "app": app}
    request = asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]
    await waiting.wait()

    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request

    assert sent, "no answer: the server makes a 500 of it"
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]
