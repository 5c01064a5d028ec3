"""`python -m bench.road`: what the road to a route costs, without sockets and servers: CPU time of this process alone.

Each line is one path, in microseconds of CPU per request and in static answers of bare FastAPI, turn by turn in
one run. A machine that is busy with other things disturbs these figures little.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvloop
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, Field

from common.http.app import Running, create_app
from common.http.dependencies import IdempotencyKey, Provided
from common.http.paging import Body
from common.http.sessions import Sessions, VerifiedUser
from common.telemetry import log_to_stdout
from tests.support.sessions import Tokens, person

ID = "019a1b2c3d4e7f00a1b2c3d4e5f60718"


class NewChair(Body):
    """The size of a new order."""

    item_id: Annotated[str, Field(max_length=64)]
    quantity: Annotated[int, Field(ge=1)] = 1


class Chair(BaseModel):
    """The size of an item."""

    id: str
    item_id: str
    quantity: int
    title: str = "A lamp"
    description: str = "It shines."
    price: int = 1250
    currency: str = "EUR"
    status: str = "listed"
    version: int = 1


class Chairs:
    """What a route gets from `main.py`."""

    def any(self, chair_id: str, item_id: str, quantity: int) -> Chair:
        """A chair."""
        return Chair(id=chair_id, item_id=item_id, quantity=quantity)


bare = FastAPI()
router = APIRouter(prefix="/api/chairs")
Shelf = Annotated[Chairs, Provided(Chairs)]


@bare.get("/static")
async def static_answer() -> dict[str, str]:
    """The unit."""
    return {"status": "ok"}


@bare.get("/chairs/{chair_id}")
async def bare_get(chair_id: str) -> Chair:
    """What bare FastAPI takes for a read."""
    return Chair(id=chair_id, item_id=ID, quantity=1)


@bare.post("/chairs", status_code=201)
async def bare_post(body: NewChair) -> Chair:
    """What bare FastAPI takes for a change, without a session or a key."""
    return Chair(id=ID, **body.model_dump())


@router.get("/{chair_id}")
async def get_chair(chair_id: str, chairs: Shelf) -> Chair:
    """A read of Souk."""
    return chairs.any(chair_id, ID, 1)


@router.post("", status_code=201)
async def add_chair(body: NewChair, user: VerifiedUser, chairs: Shelf, idempotency_key: IdempotencyKey = None) -> Chair:
    """A change of Souk: a session, a key, a log line."""
    return chairs.any(idempotency_key or user.id, body.item_id, body.quantity)


def souk(tokens: Tokens) -> FastAPI:
    """A service of Souk with these routes."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Running]:
        yield Running([Chairs(), Sessions(tokens.jwk_set, writes_per_minute=10**9)], {})

    return create_app("bench", router, start)


def call(
    app: FastAPI, method: str, path: str, headers: Mapping[str, str], body: Any = None
) -> Callable[[], Awaitable[int]]:
    """A request as uvicorn hands it over; calling it answers with the status."""
    content = b"" if body is None else json.dumps(body).encode()
    sent = {"host": "souk.test", "accept": "*/*", "user-agent": "bench", **headers}
    if content:
        sent |= {"content-type": "application/json", "content-length": str(len(content))}
    raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    given: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
    }
    given |= {"method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    given |= {"client": ("192.0.2.7", 1), "server": ("souk.test", 80)}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def request() -> int:
        status = 0

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        await app({**given, "headers": list(raw), "state": {}}, receive, send)
        return status

    return request


async def cpu(request: Callable[[], Awaitable[int]], times: int, status: int) -> float:
    """Microseconds of CPU per request."""
    began = time.process_time()
    for _ in range(times):
        assert await request() == status  # noqa: S101
    return (time.process_time() - began) / times * 1_000_000


async def main() -> None:
    """Measure every path, turn by turn, and print the medians."""
    parser = argparse.ArgumentParser(prog="bench.road", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000, help="of each turn")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    figures, tokens = sys.stderr, Tokens()
    app, session, key = souk(tokens), tokens.headers(person()), {"Idempotency-Key": ID}
    order = {"item_id": ID, "quantity": 2}
    paths = {
        "static answer of bare FastAPI": (call(bare, "GET", "/static", {}), 200),
        "bare FastAPI, GET": (call(bare, "GET", f"/chairs/{ID}", {}), 200),
        "bare FastAPI, POST": (call(bare, "POST", "/chairs", {}, order), 201),
        "Souk, GET": (call(app, "GET", f"/api/chairs/{ID}", {}), 200),
        "Souk, POST with session, key and log line": (call(app, "POST", "/api/chairs", session | key, order), 201),
        "Souk, POST of a wrong body": (call(app, "POST", "/api/chairs", session | key, {"quantity": 0}), 422),
    }
    log_to_stdout("bench", "INFO", "json")
    async with app.router.lifespan_context(app):
        taken: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(options.rounds):
            for name, (request, status) in paths.items():
                taken[name].append(await cpu(request, options.requests, status))
    unit = statistics.median(taken["static answer of bare FastAPI"])
    for name, several in taken.items():
        middle = statistics.median(several)
        spread = f"{min(several):.0f} to {max(several):.0f}"
        print(f"{name:44s} {middle:6.1f} us ({spread}) = {middle / unit:4.2f} static answers", file=figures)


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main())
