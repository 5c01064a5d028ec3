"""Calls the services' HTTP API on behalf of a visitor. Amounts are in minor units."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from common.errors import SoukError, Unavailable
from common.http.paging import Page
from common.http.sessions import COOKIE, REFRESH_COOKIE, cookie_name
from common.telemetry import current_cause
from web.clients.models import SESSIONS, UNITS, FoundItems, Item, Order, Payment, Session, TroubledPayment
from web.settings import WebSettings

log = logging.getLogger(__name__)

PAGE_SIZE = 24
"""Rows or cards on a page."""


class Refused(SoukError):
    """A service has refused a request. `reason` is its stable code, `fields` are the fields that are wrong.

    `problem` is the whole of its answer, empty if that is no problem.
    """

    def __init__(
        self, status: int, reason: str, detail: str, fields: frozenset[str], problem: Mapping[str, Any]
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.fields = fields
        self.problem = problem


@dataclass(frozen=True)
class Services:
    """The shared connection pool, the address of each service, and whether their cookies are those of https."""

    http: httpx.AsyncClient
    addresses: Mapping[str, str]
    secure: bool = False

    @classmethod
    def at(cls, http: httpx.AsyncClient, settings: WebSettings) -> "Services":
        """The services at the addresses in the settings."""
        addresses = {
            "users": settings.auth_url,
            "items": settings.items_url,
            "orders": settings.orders_url,
            "payments": settings.payments_url,
            "audit": settings.audit_url,
            "notifications": settings.notifications_url,
            "tickets": settings.tickets_url,
        }
        return cls(http, {name: url.rstrip("/") for name, url in addresses.items()}, settings.cookie_secure)


class Api:
    """Calls on behalf of one visitor. Every call raises as `send` does."""

    def __init__(
        self, services: Services, token: str | None = None, address: str | None = None, agent: str | None = None
    ) -> None:
        """`token` is the visitor's access token, `address` their IP address, `agent` their browser's User-Agent."""
        self._services = services
        self._token = token
        self._address = address
        self._agent = agent

    async def sign_up(self, email: str, password: str, name: str, language: str) -> list[str]:
        """Create an account whose mails are in a language. Returns the cookies to set; none if a mail says the rest."""
        body = {"email": email, "password": password, "name": name}
        answer = await self.send("POST", "users", "signup", json=body, headers={"Accept-Language": language})
        return answer.headers.get_list("set-cookie")

    async def ask_to_reset(self, email: str) -> None:
        """Have a link to a new password mailed."""
        await self.send("POST", "users", "password-reset", json={"email": email})

    async def reset_password(self, token: str, new_password: str) -> None:
        """Set a new password with the token of a link."""
        body = {"token": token, "new_password": new_password}
        await self.send("POST", "users", "password-reset", "confirm", json=body)

    async def send_verification(self) -> None:
        """Have another link mailed that proves the visitor's address."""
        await self.send("POST", "users", "verify-email", "send")

    async def change_password(self, current_password: str, new_password: str) -> None:
        """Set a new password."""
        body = {"current_password": current_password, "new_password": new_password}
        await self.send("POST", "users", "password", json=body)

    async def change_email(self, password: str, new_email: str) -> None:
        """Have a link mailed to a new address."""
        await self.send("POST", "users", "email", json={"password": password, "new_email": new_email})

    async def verify_email(self, token: str) -> None:
        """Prove an address with the token of a link."""
        await self.send("POST", "users", "verify-email", json={"token": token})

    async def confirm_email(self, token: str) -> None:
        """Make a new address count with the token of a link."""
        await self.send("POST", "users", "email", "confirm", json={"token": token})

    async def undo_email(self, token: str) -> None:
        """Take a change of the address back with the token of a link."""
        await self.send("POST", "users", "email", "undo", json={"token": token})

    async def sign_in(self, email: str, password: str, device: Mapping[str, str]) -> list[str]:
        """Start a session. `device` is the browser's cookie of that name, if it has one. Returns the cookies to set."""
        body = {"email": email, "password": password}
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in device.items())} if device else None
        return (await self.send("POST", "users", "signin", json=body, headers=headers)).headers.get_list("set-cookie")

    async def sign_out(self, refresh_token: str | None) -> httpx.Headers:
        """End the session. Returns the headers of the answer: cookies to clear, and what else the browser forgets."""
        return (await self.send("POST", "users", "signout", headers=self._refresh_cookie(refresh_token))).headers

    async def refresh(self, refresh_token: str) -> list[str]:
        """Exchange the refresh token. Returns the cookies to set; for half a minute the same ones if called again."""
        key = sha256(refresh_token.encode()).hexdigest()
        headers = {**self._refresh_cookie(refresh_token), "Idempotency-Key": key}
        return (await self.send("POST", "users", "refresh", headers=headers)).headers.get_list("set-cookie")

    async def sessions(self) -> list[Session]:
        """The visitor's sessions, the one seen last first."""
        return SESSIONS.validate_json((await self.get("users", "sessions")).content)

    async def end_session(self, session_id: str) -> None:
        """End one of the visitor's sessions."""
        await self.send("DELETE", "users", "sessions", session_id)

    async def end_other_sessions(self) -> None:
        """End all of the visitor's sessions but this one."""
        await self.send("DELETE", "users", "sessions")

    async def delete_account(self, password: str) -> httpx.Headers:
        """Delete the visitor's account. Returns the headers of the answer, as `sign_out` does."""
        return (await self.send("DELETE", "users", "me", json={"password": password})).headers

    async def items(self, **wanted: object) -> FoundItems:
        """Items on sale, by the parameters of GET /api/items. Sellers get their own withdrawn items too."""
        return FoundItems.model_validate_json((await self.get("items", **wanted, limit=PAGE_SIZE)).content)

    async def item(self, item_id: str) -> Item:
        """One item."""
        return Item.model_validate_json((await self.get("items", item_id)).content)

    async def with_units(self, items: Sequence[Item]) -> list[Item]:
        """The items with their units; without them while orders is away."""
        try:
            ids = [item.id for item in items]
            answer = await self.send("GET", "orders", "units", params={"item_id": ids}) if ids else None
        except Unavailable:
            answer = None
        counted = {units.item_id: units for units in UNITS.validate_json(answer.content)} if answer else {}
        return [item.model_copy(update={"units": counted.get(item.id)}) for item in items]

    async def offer(self, fields: Mapping[str, object], key: str) -> Item:
        """List an item. A second call with the same `key`, unless that is empty, returns the item as it was listed."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = await self.send("POST", "items", json=fields, headers=headers)
        return Item.model_validate_json(answer.content)

    async def edit(self, item_id: str, fields: Mapping[str, object]) -> Item:
        """Change an item."""
        return Item.model_validate_json((await self.send("PATCH", "items", item_id, json=fields)).content)

    async def turn(self, item_id: str, what: str) -> Item:
        """`publish` a draft, `pause` an item, or `resume` it."""
        return Item.model_validate_json((await self.send("POST", "items", item_id, what)).content)

    async def withdraw(self, item_id: str) -> Item:
        """Take an item off sale."""
        return Item.model_validate_json((await self.send("DELETE", "items", item_id)).content)

    async def add_picture(self, item_id: str, content: bytes, kind: str) -> None:
        """Add a picture of a media type (`image/jpeg`) to an item."""
        await self.send("POST", "items", item_id, "pictures", content=content, headers={"Content-Type": kind})

    async def focus_picture(self, item_id: str, picture_id: str, x: int, y: int) -> None:
        """Say which point of a picture stays visible where it is cropped."""
        await self.send("PUT", "items", item_id, "pictures", picture_id, "focal-point", json={"x": x, "y": y})

    async def remove_picture(self, item_id: str, picture_id: str) -> None:
        """Remove a picture."""
        await self.send("DELETE", "items", item_id, "pictures", picture_id)

    async def place_order(self, item_id: str, quantity: int, key: str, seen: tuple[int, str] | None) -> Order:
        """Hold `quantity` units at the unit price and currency `seen`. The same `key` again returns the same order."""
        body: dict[str, object] = {"item_id": item_id, "quantity": quantity}
        if seen:
            body["expected_unit_price"], body["expected_currency"] = seen
        answer = await self.send("POST", "orders", json=body, headers={"Idempotency-Key": key})
        return Order.model_validate_json(answer.content)

    async def orders(self, cursor: str | None = None, state: str | None = None) -> Page[Order]:
        """The visitor's own orders, newest first: all, or those that are `open`, `upcoming` or `past`."""
        answer = await self.get("orders", state=state, cursor=cursor, limit=PAGE_SIZE)
        return Page[Order].model_validate_json(answer.content)

    async def order(self, order_id: str) -> Order:
        """One of the visitor's own orders."""
        return Order.model_validate_json((await self.get("orders", order_id)).content)

    async def cancel(self, order_id: str) -> None:
        """Cancel an order."""
        await self.send("DELETE", "orders", order_id)

    async def refund(self, order_id: str) -> None:
        """Refund an order in full."""
        await self.send("POST", "orders", order_id, "refund")

    async def message(self, user_id: str, order_id: str, text: str, key: str) -> None:
        """For operators: mail somebody a text about an order. A second call with the same `key` sends nothing more."""
        body = {"user_id": user_id, "order_id": order_id, "text": text}
        await self.send("POST", "notifications", "messages", json=body, headers={"Idempotency-Key": key})

    async def pay(self, order_id: str, method: str, key: str) -> None:
        """Pay an order. A second call with the same `key` is the same payment."""
        body = {"order_id": order_id, "payment_method": method}
        await self.send("POST", "payments", json=body, headers={"Idempotency-Key": key})

    async def payments(self, order_id: str) -> list[Payment]:
        """The attempts to pay an order, newest first."""
        answer = await self.get("payments", order_id=order_id)
        return Page[Payment].model_validate_json(answer.content).items

    async def trouble(self, *, lost: bool, cursor: str | None = None) -> Page[TroubledPayment]:
        """For operators: payments whose refund failed or which are disputed, newest first. Lost disputes if wanted."""
        answer = await self.get("payments", "trouble", lost=lost, cursor=cursor, limit=PAGE_SIZE)
        return Page[TroubledPayment].model_validate_json(answer.content)

    async def retry_refund(self, payment_id: str) -> None:
        """For operators: make a failed refund once more."""
        await self.send("POST", "payments", payment_id, "refund", "retry")

    async def settle_refund(self, payment_id: str, reason: str) -> None:
        """For operators: record that the money of a failed refund went back by other means."""
        await self.send("POST", "payments", payment_id, "refund", "settled", json={"reason": reason})

    async def get(self, service: str, *path: str, **params: object) -> httpx.Response:
        """Send a GET request. Parameters that are None are left out."""
        wanted = {name: str(value) for name, value in params.items() if value is not None}
        return await self.send("GET", service, *path, params=wanted)

    async def send(
        self, method: str, service: str, *path: str, headers: Mapping[str, str] | None = None, **request: Any
    ) -> httpx.Response:
        """Send a request. Raises `Refused` for a 4xx answer, `Unavailable` for a 5xx answer or none."""
        url = "/".join((self._services.addresses[service], "api", service, *(quote(part, safe="") for part in path)))
        try:
            answer = await self._services.http.request(
                method, url, headers={**self._headers(), **(headers or {})}, **request
            )
        except httpx.TransportError as error:
            log.warning("%s is unavailable: %s", service, type(error).__name__)
            raise Unavailable(f"{service} is unavailable") from None
        if answer.is_success:
            return answer
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("%s answered %s", service, answer.status_code)
            raise Unavailable(f"{service} is unavailable")
        raise _refusal(answer)

    def _headers(self) -> dict[str, str]:
        cause = current_cause()
        headers = {"X-Request-ID": cause.request_id, "traceparent": cause.traceparent}
        if self._token:
            headers["Cookie"] = f"{cookie_name(COOKIE, secure=self._services.secure)}={self._token}"
        if self._address:
            headers["X-Forwarded-For"] = self._address
        if self._agent:
            headers["User-Agent"] = self._agent
        return headers

    def _refresh_cookie(self, refresh_token: str | None) -> dict[str, str]:
        """The headers of a call that needs the refresh token. Only auth gets it, and only from these calls."""
        if not refresh_token:
            return {}
        cookie = f"{cookie_name(REFRESH_COOKIE, secure=self._services.secure)}={refresh_token}"
        own = self._headers().get("Cookie")
        return {"Cookie": f"{own}; {cookie}" if own else cookie}


def _refusal(answer: httpx.Response) -> Refused:
    try:
        problem = answer.json()
        fields = frozenset(str(error["field"]).split(".")[0] for error in problem.get("errors", ()))
        return Refused(answer.status_code, problem["code"], problem["detail"], fields, problem)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused(answer.status_code, "error", "a service refused this", frozenset(), {})
