"""The servers of the tests in Docker containers (BACKEND=docker), by testcontainers. No service runs this code.

The images are those of docker-compose.test.yml.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import StartFailed
from infra.servers.redis import RedisServer
from infra.servers.server import Server

MONGO = "mongo:8.2"
NATS = "nats:2.15-alpine"
REDIS = "valkey/valkey:9.1-alpine"

_LIMIT_SECONDS = 120.0
_POLL_SECONDS = 0.05


class Recipe(NamedTuple):
    """What a container is made of."""

    image: str
    command: list[str]
    data: str
    """The folder that is kept in memory."""
    opened: str
    """What it says once its port is open; Docker's own is open before."""


@contextlib.asynccontextmanager
async def contained(server: Server) -> AsyncIterator[str]:
    """Run `server` from its image instead of as a child process, and yield its URL once it answers.

    `StartFailed` where no Docker Engine answers, and for a container that does not answer in time.
    """
    try:
        container = await asyncio.to_thread(_started, server)
    except DockerException as error:
        raise StartFailed(f"BACKEND=docker needs a Docker Engine and its images: {error}") from error
    try:
        await _answering(server, container)
        yield server.url
    finally:
        await asyncio.to_thread(container.stop)


def recipe(server: Server) -> Recipe:
    """Return how to run `server`: inside the container it has the port that it has outside, so that its URL is true."""
    port = str(server.port)
    match server:
        case MongoServer():
            options = ["--replSet=rs0", "--bind_ip_all", "--wiredTigerCacheSizeGB=0.25"]
            command = ["mongod", f"--port={port}", *options, "--setParameter=transactionLifetimeLimitSeconds=3"]
            return Recipe(MONGO, command, "/data/db", "Waiting for connections")
        case NatsServer():
            command = ["nats-server", "--port", port, "--jetstream", "--store_dir", "/data"]
            return Recipe(NATS, command, "/data", "Server is ready")
        case RedisServer():
            options = ["--protected-mode", "no", "--appendonly", "yes", "--maxmemory-policy", "noeviction"]
            command = ["valkey-server", "--port", port, *options, "--save", ""]
            return Recipe(REDIS, command, "/data", "Ready to accept connections")
    raise TypeError(f"no image for {server}")


def _started(server: Server) -> DockerContainer:
    made = recipe(server)
    opened = LogMessageWaitStrategy(made.opened).with_poll_interval(0.1).with_startup_timeout(int(_LIMIT_SECONDS))
    container = DockerContainer(made.image).with_command(made.command).with_bind_ports(server.port, server.port)
    try:
        return container.with_tmpfs_mount(made.data).waiting_for(opened).start()
    except BaseException:
        container.stop()
        raise


async def _answering(server: Server, container: DockerContainer) -> None:
    deadline = time.monotonic() + _LIMIT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if await server.answers():
                return
        await asyncio.sleep(_POLL_SECONDS)
    output = b"".join(await asyncio.to_thread(container.get_logs)).decode(errors="replace")
    raise StartFailed(f"{server.name} did not answer within {_LIMIT_SECONDS:.0f} s:\n{output[-2000:]}")
