"""Real servers for the tests.

Backends: the URL in the environment (MONGO_URL, NATS_URL, REDIS_URL), else a server that is started for the test run
and removed after it: as a process of this machine, or with BACKEND=docker in a container.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from infra.servers.server import Server


@asynccontextmanager
async def server_url(variable: str, make: Callable[[], Server]) -> AsyncIterator[str]:
    if url := os.environ.get(variable):
        yield url
        return
    async with _runner()(make()) as url:
        yield url


def _runner() -> Callable[[Server], AbstractAsyncContextManager[str]]:
    match os.environ.get("BACKEND") or "local":
        case "local":
            return _child
        case "docker":
            from infra.servers.containers import contained  # takes a while to import

            return contained
        case other:
            raise ValueError(f"BACKEND is {other!r}, but must be local or docker")


@asynccontextmanager
async def _child(server: Server) -> AsyncIterator[str]:
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()
