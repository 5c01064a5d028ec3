"""Tickets as its tests see it: the real app over a real MongoDB and a real bus."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from common.bus.provision import provision
from common.events import Currency, ItemKind, ItemListed, ItemStatus, OrderPaid, OrderRefundRequested
from common.http.sessions import User
from common.ids import new_id
from common.mail_tokens import MailTokens, Purpose
from common.mongo.client import Database
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.sessions import Tokens, person
from tickets.codes import TicketCodes
from tickets.consumers import consumers
from tickets.main import app

TRANSFER_KEY = "a key that only tests have"


@dataclass
class Venue:
    """The running service, and the shortest way to what tests do with it."""

    http: httpx.AsyncClient
    db: Database
    events: Events
    tokens: Tokens
    codes: TicketCodes
    seller: User = field(default_factory=lambda: person("Ada"))
    buyer: User = field(default_factory=lambda: person("Bea"))
    item_id: str = field(default_factory=new_id)

    def item(self, version: int = 1, **different: Any) -> ItemListed:
        """The event that is sold here, unless told otherwise."""
        fields = {
            "item_id": self.item_id,
            "item_version": version,
            "seller_id": self.seller.id,
            "title": "A concert",
            "description": "",
            "price": 1250,
            "currency": Currency.EUR,
            "quantity": 500,
            "status": ItemStatus.LISTED,
            "kind": ItemKind.EVENT,
            "starts_at": datetime(2027, 5, 1, 18, tzinfo=UTC),
            "venue": "The opera",
            "city": "Zürich",
            "timezone": "Europe/Zurich",
        }
        return ItemListed.model_validate(fields | different)

    def paid(self, quantity: int = 1, **different: Any) -> OrderPaid:
        """An order of it that is paid."""
        return OrderPaid.model_validate(self._order(quantity) | different)

    def refund_of(self, order: OrderPaid) -> OrderRefundRequested:
        """Its seller gives the money back."""
        return OrderRefundRequested.model_validate(
            order.model_dump() | {"order_version": order.order_version + 1, "restated": False}
        )

    def _order(self, quantity: int) -> dict[str, Any]:
        return {
            "order_id": new_id(),
            "order_version": 2,
            "buyer_id": self.buyer.id,
            "seller_id": self.seller.id,
            "item_id": self.item_id,
            "item_title": "A concert",
            "quantity": quantity,
            "unit_price": 1250,
            "currency": Currency.EUR,
            "expires_at": datetime.now(UTC) + timedelta(minutes=15),
            "payment_id": new_id(),
        }

    async def sold(self, quantity: int = 1) -> list[Any]:
        """The tickets of a new paid order, as its buyer sees them."""
        await self.events.deliver(self.item())
        order = self.paid(quantity)
        await self.events.deliver(order)
        return await self.tickets(order.order_id)

    async def call(self, method: str, path: str = "", user: User | None = None, **options: Any) -> httpx.Response:
        """One request to /api/tickets, as `user`, else as nobody."""
        headers = self.tokens.headers(user) if user else {}
        return await self.http.request(method, f"/api/tickets{path}", headers=headers, **options)

    async def tickets(self, order_id: str | None = None, user: User | None = None) -> list[Any]:
        """Tickets as somebody sees them, the buyer unless told otherwise."""
        params = {"order_id": order_id} if order_id else {}
        answer = await self.call("GET", user=user or self.buyer, params=params)
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    async def gate(self, name: str = "North", item_id: str | None = None) -> str:
        """The token of a new gate."""
        body = {"item_id": item_id or self.item_id, "name": name}
        answer = await self.call("POST", "/gates", self.seller, json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    async def scan(self, code: str, gate: str, device: str = "phone", seq: int | None = None) -> Any:
        """The answer to a scan."""
        answer = await self.call("POST", "/scan", json=self.scanned(code, gate, device, seq))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def scanned(self, code: str, gate: str, device: str = "phone", seq: int | None = None) -> dict[str, Any]:
        """The body of a scan, which is a new one unless it has a `seq`."""
        number = secrets.randbelow(2**50) if seq is None else seq
        return {"code": code, "gate": gate, "device": device, "seq": number, "at": datetime.now(UTC).isoformat()}

    async def link_token(self, number: int = 1) -> str:
        """The token in the mail of the offer with this number, from 1 on."""
        from common.events import TicketTransferOffered

        offered = await self.events.published(TicketTransferOffered, number)
        return MailTokens(SecretStr(TRANSFER_KEY)).token(Purpose.ACCEPT_TICKET, offered[-1].request_id)


@pytest_asyncio.fixture
async def venue(
    db: Database, mongo_url: str, bus_url: str, events: Events, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Venue]:
    """The service, running."""
    pem = Tokens(Ed25519PrivateKey.generate()).private_pem
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("NATS_URL", bus_url)
    monkeypatch.setenv("JWT_PUBLIC_KEYS", tokens.jwk_set)
    monkeypatch.setenv("TICKET_PRIVATE_KEY", pem)
    monkeypatch.setenv("TRANSFER_TOKEN_KEY", TRANSFER_KEY)
    await provision(bus_url, consumers.durables)
    async with running(app) as client:
        yield Venue(client, db, events, tokens, TicketCodes(pem))
