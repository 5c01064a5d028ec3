"""Audit as its tests see it: the real app over a real MongoDB and a real bus, and operators who use it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio

from audit.consumers import consumers
from audit.main import app
from common.bus.envelope import Envelope
from common.bus.provision import provision
from common.events import Event, ItemListed, ItemStatus, OrderPlaced
from common.http.sessions import OPERATOR, User
from common.ids import new_id
from common.mongo.client import Database
from common.telemetry import Cause
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually


@dataclass
class World:
    """Audit, running, and the bus beside it."""

    http: httpx.AsyncClient
    events: Events
    tokens: Tokens
    db: Database
    operator: User = field(default_factory=lambda: person("Ola", OPERATOR))

    @staticmethod
    def item(title: str = "A lamp", **more: Any) -> ItemListed:
        """An item that is listed."""
        fields = {"item_id": new_id(), "item_version": 1, "seller_id": new_id(), "title": title, "description": ""}
        fields |= {"price": 700, "currency": "EUR", "quantity": 3, "status": ItemStatus.LISTED}
        return ItemListed.model_validate(fields | more)

    @staticmethod
    def placed(listed: ItemListed, **more: Any) -> OrderPlaced:
        """An order of it."""
        fields = {"order_id": new_id(), "order_version": 1, "buyer_id": new_id(), "seller_id": listed.seller_id}
        fields |= {"item_id": listed.item_id, "item_title": listed.title, "quantity": 2, "unit_price": listed.price}
        fields |= {"currency": "EUR", "expires_at": "2026-11-22T12:15:00Z"}
        return OrderPlaced.model_validate(fields | more)

    async def publish(self, event: Event, because: str | None = None, event_id: str | None = None) -> str:
        """Publish an event as its owner does; return its id once it is in the log."""
        envelope = Envelope.of(event, Cause("request", "00-trace", because), event_id)
        owner = event.subject.partition(".")[0]
        await self.events.js.publish(envelope.subject, envelope.body.encode(), headers=envelope.headers(owner))
        await self.events.handled(event.stream)
        return envelope.id

    async def get(self, path: str, **query: Any) -> Any:
        """GET as an operator."""
        answer = await self.http.get(f"/api/audit{path}", params=query, headers=self.tokens.headers(self.operator))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, **body: Any) -> httpx.Response:
        """POST as an operator."""
        return await self.http.post(f"/api/audit{path}", json=body, headers=self.tokens.headers(self.operator))

    async def dead_letter(
        self, body: bytes = b"{broken", sequence: int = 17, handler: str = "finish_paid_order"
    ) -> str:
        """A handler of orders dead-letters a message; return the dead letter's id once audit has it."""
        letter_id = f"orders-{handler}:PAYMENTS:{sequence}"
        headers = {
            "Nats-Msg-Id": letter_id,
            "ce-id": f"event-{sequence}",
            "Souk-Subject": "payments.captured",
            "Souk-Stream": "PAYMENTS",
            "Souk-Sequence": str(sequence),
            "Souk-Consumer": f"orders-{handler}",
            "Souk-Error": "ValidationError: broken",
            "Souk-Deliveries": "1",
            "Souk-Failed-At": "2026-11-22T12:00:00+00:00",
        }
        await self.events.js.publish(f"dead_letters.orders.{handler}", body, headers=headers)
        await self.events.handled("DEAD_LETTERS")
        return letter_id

    async def letter(self, letter_id: str) -> Any:
        """A letter in the list."""
        [found] = [one for one in (await self.get("/dead-letters", limit=100))["items"] if one["id"] == letter_id]
        return found

    async def kept(self) -> dict[str, list[Any]]:
        """Everything that audit keeps, once it has filled its database."""
        await eventually(lambda: self.db.marks.find_one({"_id": "filled"}))
        names = ("events", "retries", "letters")
        return {name: await self.db[name].find({}, {"pending": 0}).sort("_id").to_list() for name in names}


@pytest.fixture
def environment(mongo_url: str, bus_url: str, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of audit."""
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("NATS_URL", bus_url)
    monkeypatch.setenv("JWT_PUBLIC_KEYS", tokens.jwk_set)


@pytest_asyncio.fixture
async def audit(environment: None, bus_url: str, db: Database, events: Events, tokens: Tokens) -> AsyncIterator[World]:
    """A running audit."""
    await provision(bus_url, consumers.durables)
    async with running(app) as http:
        yield World(http, events, tokens, db)
