"""A service under test, running in the process of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from tests.support.documented import compared


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run the app with its lifespan in this process. An exception becomes a 500, as with a real server.

    An answer that the app's OpenAPI document does not have raises `Undocumented`.
    """
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://souk.test", event_hooks=compared(app)) as c,
    ):
        yield c
