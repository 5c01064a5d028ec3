"""What people do at the gateway, for the journeys: each step says what it expects."""

from typing import Any

import httpx

from tests.support.people import Person
from tests.support.waiting import eventually

Json = dict[str, Any]


def ok(answer: httpx.Response, status: int = 200) -> Json:
    """The body of an answer with this status."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    body: Json = answer.json()
    return body


async def sell(seller: Person, quantity: int, title: str = "A seat at the opera", price: int = 4500) -> str:
    """The id of a new item."""
    body = {"title": title, "description": "Row 7", "price": price, "currency": "EUR", "quantity": quantity}
    item_id: str = ok(await seller.http.post("/api/items", json=body), 201)["id"]
    return item_id


async def place(buyer: Person, item_id: str, quantity: int = 1) -> Json:
    """A new order."""
    return ok(await buyer.http.post("/api/orders", json={"item_id": item_id, "quantity": quantity}), 201)


async def pay(buyer: Person, order_id: str, card: str = "pm_card_visa") -> Json:
    """A new payment, captured or processing."""
    return ok(await buyer.http.post("/api/payments", json={"order_id": order_id, "payment_method": card}), 201)


async def order(buyer: Person, order_id: str) -> Json:
    """An order as its buyer sees it."""
    return ok(await buyer.http.get(f"/api/orders/{order_id}"))


async def payments(buyer: Person, order_id: str) -> list[Json]:
    """The payments for an order, newest first."""
    found: list[Json] = ok(await buyer.http.get("/api/payments", params={"order_id": order_id}))["items"]
    return found


async def available(anybody: Person, item_id: str) -> int:
    """What the item page says is left."""
    left: int = ok(await anybody.http.get(f"/api/items/{item_id}"))["available"]
    return left


async def becomes(buyer: Person, order_id: str, status: str, seconds: float = 30) -> Json:
    """The order once it has this status; whatever is away for a moment is waited for."""

    async def reached() -> Json | None:
        answer = await buyer.http.get(f"/api/orders/{order_id}")
        found: Json = answer.json() if answer.status_code == 200 else {}
        return found if found.get("status") == status else None

    return await eventually(reached, seconds, why=f"order {order_id} is not {status}")


async def leaves(anybody: Person, item_id: str, left: int, seconds: float = 30) -> None:
    """Wait until the item page says that this much is left."""

    async def reached() -> bool:
        answer = await anybody.http.get(f"/api/items/{item_id}")
        return answer.status_code == 200 and answer.json()["available"] == left

    await eventually(reached, seconds, why=f"item {item_id} does not come to {left} available")


async def money(buyer: Person, order_id: str, *statuses: str, seconds: float = 30) -> list[Json]:
    """The payments for an order once their statuses, newest first, are these."""

    async def reached() -> list[Json] | None:
        found = await payments(buyer, order_id)
        return found if [p["status"] for p in found] == list(statuses) else None

    return await eventually(reached, seconds, why=f"the payments of {order_id} do not become {statuses}")
