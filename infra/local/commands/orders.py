"""The orders of the seeded Souk: placed through the HTTP API and brought to the status that each should have."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from infra.local.commands.api import Api, Json, Refused
from infra.local.commands.trade import Sale
from infra.local.stack.program import Program
from infra.local.stack.stack import Stack
from infra.servers.process import free_port
from infra.services import service_command

LIMIT_SECONDS = 30.0
"""How long an order may take to reach a status."""


class Buying:
    """Makes sales. One that was made before is left alone; one that was interrupted is finished."""

    def __init__(
        self,
        api: Api,
        hasty: Api,
        sessions: Mapping[str, str],
        items: Mapping[tuple[str, str], str],
        orders: Mapping[tuple[str, str], Json],
    ) -> None:
        """`hasty` is an API at which holds end at once. `sessions` are by email.

        `items` are ids by the seller's email and title; `orders` are the newest ones by the buyer's email and title.
        """
        self._api = api
        self._hasty = hasty
        self._sessions = sessions
        self._items = items
        self._orders = orders

    async def make(self, sale: Sale) -> None:
        """Bring one sale to its outcome, as far as what others did in the meantime allows. Raises `Refused`."""
        buyer, seller = self._sessions[sale.buyer.email], self._sessions[sale.seller.email]
        order = await self._placed(sale, buyer)
        if order is None or order["status"] == sale.outcome:
            return
        path = f"/api/orders/{order['id']}"
        if sale.outcome in {"paid", "refunded"} and order["status"] == "awaiting_payment":
            if not order["accepted_payment"]:
                payment = {"order_id": order["id"], "payment_method": "pm_card_visa"}
                await self._api.send("POST", "/api/payments", buyer, json=payment)
            order = await self._becomes("paid", path, buyer)
        match sale.outcome, order["status"]:
            case "refunded", "paid":
                await self._api.send("POST", f"{path}/refund", seller)
                await self._becomes("refunded", path, buyer)
            case "cancelled", "awaiting_payment":
                await self._api.send("DELETE", path, buyer)
            case "expired", "awaiting_payment":
                await self._becomes("expired", path, buyer)

    async def _placed(self, sale: Sale, buyer: str) -> Json | None:
        """Return the order of a sale, placing it if need be; None where the item is withdrawn or sold out."""
        known = self._orders.get((sale.buyer.email, sale.title))
        if known and not known["status"] == "expired" != sale.outcome:
            return known
        if not (item_id := self._items.get((sale.seller.email, sale.title))):
            return None
        api = self._hasty if sale.outcome == "expired" else self._api
        body = {"item_id": item_id, "quantity": sale.quantity}

        async def place() -> Json | None:
            try:
                return await api.send("POST", "/api/orders", buyer, json=body)
            except Refused as refused:
                if refused.status == httpx.codes.NOT_FOUND:  # Orders has not received the item yet.
                    return None
                raise

        try:
            return await _eventually(place, f"orders does not know {sale.title}")
        except Refused as refused:
            if refused.status == httpx.codes.CONFLICT:
                return None
            raise

    async def _becomes(self, status: str, path: str, buyer: str) -> Json:
        async def reached() -> Json | None:
            order = await self._api.send("GET", path, buyer)
            return order if order["status"] == status else None

        return await _eventually(reached, f"{path} did not become {status}")


async def _eventually(attempt: Callable[[], Awaitable[Json | None]], otherwise: str) -> Json:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        if (found := await attempt()) is not None:
            return found
        await asyncio.sleep(0.1)
    raise Refused(f"{otherwise} within {LIMIT_SECONDS:.0f} s")


@asynccontextmanager
async def hasty_orders(stack: Stack) -> AsyncIterator[Api]:
    """Run one more replica of orders for a while, whose holds last a second, and yield its API.

    The API cannot shorten a hold. What is held here expires as every hold does: expiration says when, orders releases.
    """
    port = free_port()
    env = stack.env("orders") | {"HOST": "127.0.0.1", "PORT": str(port), "HOLD_SECONDS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        replica = Program("orders", Path(folder), port, service_command("orders"), env, say=lambda *_: None)
        await replica.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
                yield Api(client)
        finally:
            await replica.stop()
