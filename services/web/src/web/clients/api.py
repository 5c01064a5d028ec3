"""The services' HTTP API, as this visitor may use it, and what comes back. Amounts are in minor units."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field

from common.errors import SoukError, Unavailable
from common.events import Currency
from common.http.sessions import COOKIE
from common.telemetry import current_cause
from web.settings import WebSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE = 24
"""Rows or cards on a page."""


class Picture(BaseModel):
    """A picture of an item: paths of its two sizes."""

    id: str
    small: str
    large: str


class Item(BaseModel):
    """An item as everybody sees it."""

    id: str
    seller_id: str
    seller_name: str | None
    title: str
    description: str
    price: int
    currency: Currency
    quantity: int
    available: int
    status: str
    version: int
    pictures: list[Picture] = []

    @property
    def listed(self) -> bool:
        """Whether the seller still takes orders."""
        return self.status == "listed"

    @property
    def left(self) -> int:
        """Units that can be ordered now."""
        return self.available if self.listed else 0


class Order(BaseModel):
    """An order as its buyer and its seller see it."""

    id: str
    buyer_name: str
    seller_id: str
    item_id: str
    item_title: str
    quantity: int
    unit_price: int
    total: int
    currency: Currency
    status: str
    placed_at: datetime
    expires_at: datetime
    cancel_reason: str | None
    late_payment: str | None
    refund_requested: bool
    version: int


class Payment(BaseModel):
    """A payment in its buyer's list."""

    id: str
    order_id: str
    amount: int
    currency: Currency
    status: str
    reason: str | None
    client_secret: str | None = Field(default=None, repr=False)
    """There while his bank waits for the buyer: his page confirms with it."""


class Page(BaseModel, Generic[T]):
    """One page of a list, and the cursor of the next."""

    items: list[T]
    next: str | None


class Refused(SoukError):
    """A service said no: `reason` is its stable code, `fields` what is wrong by field."""

    def __init__(self, status: int, reason: str, detail: str, fields: frozenset[str]) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.fields = fields


@dataclass(frozen=True)
class Services:
    """The shared connection pool and where each service answers."""

    http: httpx.AsyncClient
    addresses: Mapping[str, str]

    @classmethod
    def at(cls, http: httpx.AsyncClient, settings: WebSettings) -> "Services":
        """The services where the settings say."""
        addresses = {
            "users": settings.auth_url,
            "items": settings.items_url,
            "orders": settings.orders_url,
            "payments": settings.payments_url,
            "audit": settings.audit_url,
        }
        return cls(http, {name: url.rstrip("/") for name, url in addresses.items()})


class Api:
    """The services in the name of one visitor."""

    def __init__(self, services: Services, token: str | None = None, address: str | None = None) -> None:
        """`token` is the visitor's session; `address` where he comes from."""
        self._services = services
        self._token = token
        self._address = address

    async def sign_up(self, email: str, password: str, name: str) -> list[str]:
        """Open an account; returns the cookies to set."""
        body = {"email": email, "password": password, "name": name}
        return (await self.send("POST", "users", "signup", json=body)).headers.get_list("set-cookie")

    async def sign_in(self, email: str, password: str) -> list[str]:
        """Open a session; returns the cookies to set."""
        body = {"email": email, "password": password}
        return (await self.send("POST", "users", "signin", json=body)).headers.get_list("set-cookie")

    async def sign_out(self) -> list[str]:
        """End the session; returns the cookies to set."""
        return (await self.send("POST", "users", "signout")).headers.get_list("set-cookie")

    async def items(
        self, *, q: str | None = None, seller_id: str | None = None, cursor: str | None = None
    ) -> Page[Item]:
        """Items on sale, newest first; a seller sees his withdrawn ones too."""
        params = {"q": q, "seller_id": seller_id, "cursor": cursor, "limit": PAGE}
        return Page[Item].model_validate_json((await self.get("items", **params)).content)

    async def item(self, item_id: str) -> Item:
        """One item."""
        return Item.model_validate_json((await self.get("items", item_id)).content)

    async def offer(self, fields: Mapping[str, object]) -> Item:
        """Put something up for sale."""
        return Item.model_validate_json((await self.send("POST", "items", json=fields)).content)

    async def edit(self, item_id: str, fields: Mapping[str, object]) -> Item:
        """Change an item."""
        return Item.model_validate_json((await self.send("PATCH", "items", item_id, json=fields)).content)

    async def withdraw(self, item_id: str) -> None:
        """Take an item off sale."""
        await self.send("DELETE", "items", item_id)

    async def add_picture(self, item_id: str, content: bytes, kind: str) -> None:
        """Add a picture of a media type (`image/jpeg`) to an item."""
        await self.send("POST", "items", item_id, "pictures", content=content, headers={"Content-Type": kind})

    async def remove_picture(self, item_id: str, picture_id: str) -> None:
        """Remove a picture."""
        await self.send("DELETE", "items", item_id, "pictures", picture_id)

    async def place_order(self, item_id: str, quantity: int, key: str) -> Order:
        """Hold some units; the same `key` again is the same order."""
        body = {"item_id": item_id, "quantity": quantity}
        answer = await self.send("POST", "orders", json=body, headers={"Idempotency-Key": key})
        return Order.model_validate_json(answer.content)

    async def orders(self, cursor: str | None = None) -> Page[Order]:
        """What the visitor ordered, newest first."""
        return Page[Order].model_validate_json((await self.get("orders", cursor=cursor, limit=PAGE)).content)

    async def sales(self, cursor: str | None = None) -> Page[Order]:
        """What others ordered of him, newest first."""
        return Page[Order].model_validate_json((await self.get("orders", "sales", cursor=cursor, limit=PAGE)).content)

    async def order(self, order_id: str) -> Order:
        """One of the visitor's own orders."""
        return Order.model_validate_json((await self.get("orders", order_id)).content)

    async def cancel(self, order_id: str) -> None:
        """Give the units of an order back."""
        await self.send("DELETE", "orders", order_id)

    async def refund(self, order_id: str) -> None:
        """Send the buyer's money back."""
        await self.send("POST", "orders", order_id, "refund")

    async def pay(self, order_id: str, method: str, key: str) -> None:
        """Pay an order; the same `key` again is the same payment."""
        body = {"order_id": order_id, "payment_method": method}
        await self.send("POST", "payments", json=body, headers={"Idempotency-Key": key})

    async def payments(self, order_id: str) -> list[Payment]:
        """What was tried to pay an order, newest first."""
        answer = await self.get("payments", order_id=order_id)
        return Page[Payment].model_validate_json(answer.content).items

    async def get(self, service: str, *path: str, **params: object) -> httpx.Response:
        """Read from a service. Raises as `send` does."""
        wanted = {name: str(value) for name, value in params.items() if value is not None}
        return await self.send("GET", service, *path, params=wanted)

    async def send(
        self, method: str, service: str, *path: str, headers: Mapping[str, str] | None = None, **request: Any
    ) -> httpx.Response:
        """Ask a service. Raises `Refused` for a no, `Unavailable` where it does not answer as it should."""
        url = "/".join((self._services.addresses[service], "api", service, *(quote(part, safe="") for part in path)))
        try:
            answer = await self._services.http.request(
                method, url, headers={**self._headers(), **(headers or {})}, **request
            )
        except httpx.TransportError as error:
            log.warning("%s is away: %s", service, type(error).__name__)
            raise Unavailable(f"{service} is away for a moment") from None
        if answer.is_success:
            return answer
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("%s answered %s", service, answer.status_code)
            raise Unavailable(f"{service} is away for a moment")
        raise _refusal(answer)

    def _headers(self) -> dict[str, str]:
        cause = current_cause()
        headers = {"X-Request-ID": cause.request_id, "traceparent": cause.traceparent}
        if self._token:
            headers["Cookie"] = f"{COOKIE}={self._token}"
        if self._address:
            headers["X-Forwarded-For"] = self._address
        return headers


def _refusal(answer: httpx.Response) -> Refused:
    try:
        problem = answer.json()
        fields = frozenset(str(error["field"]).split(".")[0] for error in problem.get("errors", ()))
        return Refused(answer.status_code, problem["code"], problem["detail"], fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused(answer.status_code, "error", "a service refused this", frozenset())
