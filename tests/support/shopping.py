"""What people do at the gateway, for the journeys. Each step checks its answer."""

from collections.abc import Mapping
from typing import Any

import httpx

from tests.support.people import Person
from tests.support.waiting import eventually

Json = dict[str, Any]


def ok(answer: httpx.Response, status: int = 200) -> Json:
    """Check the status of an answer and return its body."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    body: Json = answer.json()
    return body


async def sell(seller: Person, quantity: int, title: str = "A seat at the opera", price: int = 4500) -> str:
    """Put an item on sale; return its id."""
    body = {"title": title, "description": "Row 7", "price": price, "currency": "EUR", "quantity": quantity}
    item_id: str = ok(await seller.http.post("/api/items", json=body), 201)["id"]
    return item_id


async def place(buyer: Person, item_id: str, quantity: int = 1) -> Json:
    """Place an order and return it."""
    return ok(await _once_known(buyer, "/api/orders", {"item_id": item_id, "quantity": quantity}), 201)


async def pay(buyer: Person, order_id: str, card: str = "pm_card_visa") -> Json:
    """Pay an order; return the payment, captured or processing."""
    return ok(await try_to_pay(buyer, order_id, card), 201)


async def try_to_pay(buyer: Person, order_id: str, card: str = "pm_card_visa", **headers: str) -> httpx.Response:
    """Pay an order; return the answer, whatever it is."""
    return await _once_known(buyer, "/api/payments", {"order_id": order_id, "payment_method": card}, headers)


async def _once_known(
    somebody: Person, path: str, body: Json, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """The answer to a POST. Until what it names has arrived at its service, that says 503: try again."""

    async def answered() -> httpx.Response | None:
        answer = await somebody.http.post(path, json=body, headers=headers)
        return None if answer.status_code == 503 else answer

    return await eventually(answered, 30, why=f"POST {path} is answered 503")


async def order(buyer: Person, order_id: str) -> Json:
    """Return an order as its buyer sees it."""
    return ok(await buyer.http.get(f"/api/orders/{order_id}"))


async def payments(buyer: Person, order_id: str) -> list[Json]:
    """Return the payments for an order, newest first."""
    found: list[Json] = ok(await buyer.http.get("/api/payments", params={"order_id": order_id}))["items"]
    return found


async def in_effect(somebody: Person, item_id: str) -> bool:
    """Whether orders sells an item by its last change."""
    return bool(ok(await somebody.http.get(f"/api/items/{item_id}"))["in_effect"])


async def becomes(buyer: Person, order_id: str, status: str, seconds: float = 30) -> Json:
    """Wait until the order has this status, and return it. A service may be away meanwhile."""

    async def reached() -> Json | None:
        answer = await buyer.http.get(f"/api/orders/{order_id}")
        found: Json = answer.json() if answer.status_code == 200 else {}
        return found if found.get("status") == status else None

    return await eventually(reached, seconds, why=f"order {order_id} is not {status}")


async def leaves(anybody: Person, item_id: str, left: int, seconds: float = 30) -> None:
    """Wait until the item shows this many units as available."""

    async def reached() -> bool:
        answer = await anybody.http.get(f"/api/items/{item_id}")
        return answer.status_code == 200 and answer.json()["available"] == left

    await eventually(reached, seconds, why=f"item {item_id} does not have {left} available")


async def money(buyer: Person, order_id: str, *statuses: str, seconds: float = 30) -> list[Json]:
    """Wait until the payments for an order have these statuses, newest first; return the payments."""

    async def reached() -> list[Json] | None:
        found = await payments(buyer, order_id)
        return found if [p["status"] for p in found] == list(statuses) else None

    return await eventually(reached, seconds, why=f"the payments of {order_id} do not become {statuses}")
