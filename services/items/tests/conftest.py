"""Items as its tests see it: the real app over a real MongoDB and a real bus."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from common.bus.provision import provision
from common.http.sessions import User
from common.mongo.client import Database
from items.catalogue_store import CatalogueStore
from items.consumers import consumers
from items.index.feed import IndexFeed
from items.main import app
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.sessions import Tokens, person

LAMP = {"title": "A brass lamp", "description": "Old.", "price": 1250, "currency": "EUR", "quantity": 5}


@dataclass
class Shop:
    """The running service, and the shortest way to what tests do with it."""

    http: httpx.AsyncClient
    db: Database
    events: Events
    tokens: Tokens
    seller: User

    async def call(self, method: str, path: str = "", user: User | None = None, **options: Any) -> httpx.Response:
        """One request to /api/items, as `user`, else as nobody; `content` is taken for JSON."""
        headers = self.tokens.headers(user) if user else {}
        if "content" in options:
            headers["Content-Type"] = "application/json"
        return await self.http.request(method, f"/api/items{path}", headers=headers, **options)

    async def offer(self, user: User | None = None, **different: Any) -> Any:
        """An item that is on sale now: a lamp, unless told otherwise."""
        answer = await self.call("POST", user=user or self.seller, json=LAMP | different)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def upload(
        self, item_id: str, content: bytes, kind: str = "image/png", user: User | None = None
    ) -> httpx.Response:
        """Add a picture, as the seller unless told otherwise."""
        headers = self.tokens.headers(user or self.seller) | {"Content-Type": kind}
        return await self.http.post(f"/api/items/{item_id}/pictures", headers=headers, content=content)

    async def item(self, item_id: str) -> Any:
        """The item as everybody sees it."""
        answer = await self.call("GET", f"/{item_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def titles(self, user: User | None = None, **params: Any) -> list[str]:
        """The titles on the first page."""
        answer = await self.call("GET", user=user, params=params)
        assert answer.status_code == 200, answer.text
        return [item["title"] for item in answer.json()["items"]]


@pytest.fixture(params=["index", "mongodb"])
def answered_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who looks for words and counts lists: each test runs with both, and with no other in disguise."""

    async def away(*_: object) -> bool:
        return False

    async def by_mongodb(store: CatalogueStore, *args: Any) -> Any:
        assert not (store._index and args[1]), "MongoDB was asked for words"
        return await found(store, *args)

    found = CatalogueStore._found

    if request.param == "mongodb":
        monkeypatch.setattr(IndexFeed, "up_to_date", away)
    else:
        monkeypatch.setattr(CatalogueStore, "_found", by_mongodb)
        for patience in ("FIRST_READING", "PATIENCE", "MOST_AGE"):
            monkeypatch.setattr(f"items.index.feed.{patience}", 60.0)
    return str(request.param)


@pytest_asyncio.fixture
async def shop(
    db: Database, mongo_url: str, bus_url: str, events: Events, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    """The service, running."""
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("NATS_URL", bus_url)
    monkeypatch.setenv("JWT_PUBLIC_KEYS", tokens.jwk_set)
    monkeypatch.setattr("items.store.EFFECT_TIMEOUT", 0.05)  # there is no orders that could follow an edit
    await provision(bus_url, consumers.durables)
    async with running(app) as client:
        yield Shop(client, db, events, tokens, person("Ada"))
