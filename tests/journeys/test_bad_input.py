"""Whatever a client sends, the answer is a problem with a code; no stack trace reaches anybody, not even the log."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from common.http.sessions import User
from infra.local.stack.stack import Stack
from tests.support.forgeries import bad_tokens
from tests.support.people import People, Person
from tests.support.sessions import person
from tests.support.shopping import Json, place, sell, try_to_pay

ROUTES = [
    ("POST", "/api/users/signup"),
    ("POST", "/api/users/signin"),
    ("POST", "/api/items"),
    ("PATCH", "/api/items/{item}"),
    ("POST", "/api/orders"),
    ("POST", "/api/payments"),
]
"""Every route that reads a body."""


@pytest_asyncio.fixture
async def places(people: People) -> AsyncIterator[tuple[Person, dict[str, str]]]:
    """A seller, their item, and an order of somebody else."""
    seller, buyer = await people.new("Sid"), await people.new("Bea")
    item = await sell(seller, 3)
    yield seller, {"item": item, "order": (await place(buyer, item))["id"]}


def problem(answer: Any, status: int, code: str | None = None) -> Json:
    """Check the status and code of a problem and return its body."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    body: Json = answer.json()
    assert body["status"] == status
    assert body["code"] == (code or body["code"])
    assert "Traceback" not in answer.text
    return body


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "validation_failed"),
        (b"{", 400, "malformed_json"),
        (b"\xff\xfe", 400, None),
        (b"null", 422, "validation_failed"),
        (b"[1, 2]", 422, "validation_failed"),
        (b'"text"', 422, "validation_failed"),
        (b"{}", 422, "validation_failed"),
        (b'{"\\ud800": "\\ud800"}', 422, "validation_failed"),
        (b"[" * 30_000, 400, None),
        (b'{"quantity": ' + b"9" * 5_000 + b"}", 400, None),
        (b"{" + b" " * 300_000 + b"}", 413, "too_large"),
    ],
    ids=["empty", "cut off", "no text", "null", "list", "string", "no fields", "surrogate", "deep", "digits", "huge"],
)
async def test_a_body_that_makes_no_sense(
    places: tuple[Person, dict[str, str]], method: str, path: str, body: bytes, status: int, code: str | None
) -> None:
    seller, ids = places
    headers = {"Content-Type": "application/json"}
    answer = await seller.http.request(method, path.format(**ids), content=body, headers=headers)
    problem(answer, status, code)


GOOD_ITEM = {"title": "A seat", "price": 4500, "currency": "EUR", "quantity": 2}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/items", GOOD_ITEM | {"price": -1}, "price"),
        ("/api/items", GOOD_ITEM | {"price": 0}, "price"),
        ("/api/items", GOOD_ITEM | {"price": 45.5}, "price"),
        ("/api/items", GOOD_ITEM | {"price": "45"}, "price"),
        ("/api/items", GOOD_ITEM | {"price": True}, "price"),
        ("/api/items", GOOD_ITEM | {"price": 2**63}, "price"),
        ("/api/items", GOOD_ITEM | {"quantity": 0}, "quantity"),
        ("/api/items", GOOD_ITEM | {"currency": "XXX"}, "currency"),
        ("/api/items", GOOD_ITEM | {"currency": {"$ne": 1}}, "currency"),
        ("/api/items", GOOD_ITEM | {"title": " "}, "title"),
        ("/api/items", GOOD_ITEM | {"title": "x" * 201}, "title"),
        ("/api/items", GOOD_ITEM | {"seller_id": "me"}, "seller_id"),
        ("/api/orders", {"item_id": "x", "quantity": 0}, "quantity"),
        ("/api/orders", {"item_id": ["x"]}, "item_id"),
        ("/api/payments", {"order_id": {"$gt": ""}, "payment_method": "pm_card_visa"}, "order_id"),
        ("/api/payments", {"order_id": "x", "payment_method": 7}, "payment_method"),
        ("/api/users/signup", {"email": "no", "password": "correct horse", "name": "X"}, "email"),
        ("/api/users/signup", {"email": "a@souk.test", "password": "short", "name": "X"}, "password"),
    ],
)
async def test_a_wrong_field_is_named(people: People, path: str, body: Json, field: str) -> None:
    somebody = await people.new()
    errors = problem(await somebody.http.post(path, json=body), 422, "validation_failed")["errors"]
    assert [error["field"] for error in errors] == [field]


@pytest.mark.parametrize("kind", ["bearer", "cookie"])
async def test_a_session_that_does_not_hold(people: People, stack: Stack, kind: str) -> None:
    for name, (token, code) in bad_tokens(stack.keys).items():
        http = await people.anybody()
        headers = {"Authorization": f"Bearer {token}"} if kind == "bearer" else {"Cookie": f"session={token}"}
        for method, path in [("POST", "/api/items"), ("GET", "/api/orders"), ("GET", "/api/payments")]:
            body = {"json": GOOD_ITEM} if method == "POST" else {}
            answer = await http.request(method, path, headers=headers, **body)  # type: ignore[arg-type]
            assert problem(answer, 401)["code"] == code, name
        assert (await http.get("/api/users/currentuser", headers=headers)).json() == {"current_user": None}, name


async def test_what_is_somebody_elses(people: People, places: tuple[Person, dict[str, str]]) -> None:
    _, ids = places
    eve = await people.new("Eve")
    order, item = f"/api/orders/{ids['order']}", f"/api/items/{ids['item']}"

    problem(await eve.http.get(order), 404, "order_not_found")
    problem(await eve.http.delete(order), 404, "order_not_found")
    problem(await eve.http.post(f"{order}/refund"), 404, "order_not_found")
    problem(await try_to_pay(eve, ids["order"]), 404, "order_not_found")
    problem(await eve.http.patch(item, json={"price": 1}), 403, "not_owner")
    problem(await eve.http.delete(item), 403, "not_owner")
    assert (await eve.http.get("/api/payments", params={"order_id": ids["order"]})).json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/items?limit=0", 422, "validation_failed"),
        ("GET", "/api/items?limit=1000000", 422, "validation_failed"),
        ("GET", "/api/items?q=" + "x" * 201, 422, "validation_failed"),
        ("GET", "/api/items/nothing", 404, "item_not_found"),
        ("GET", "/api/orders/" + "x" * 500, 404, "order_not_found"),
        ("GET", "/api/orders?cursor=" + "x" * 500, 422, "validation_failed"),
        ("PUT", "/api/items/nothing", 405, "method_not_allowed"),
        ("GET", "/api/orders/a/b/c", 404, "not_found"),
        ("GET", "/api/items/a/healthz", 404, None),
    ],
)
async def test_an_address_that_makes_no_sense(
    people: People, method: str, path: str, status: int, code: str | None
) -> None:
    somebody = await people.new()
    problem(await somebody.http.request(method, path), status, code)


async def test_a_webhook_without_a_good_signature(people: People) -> None:
    anybody = await people.anybody()
    for headers in ({}, {"Sandbox-Signature": "t=1,v1=00"}, {"Sandbox-Signature": "\u00e9".encode("latin-1")}):
        answer = await anybody.post("/api/payments/webhook", content=b"{}", headers=headers)  # type: ignore[arg-type]
        problem(answer, 400, "bad_signature")


async def test_a_session_cookie_is_out_of_reach_of_scripts_and_other_sites(people: People) -> None:
    somebody: User = person()
    http = await people.anybody()
    body = {"email": somebody.email, "password": "correct horse", "name": "Ada"}
    cookie = (await http.post("/api/users/signup", json=body)).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    unknown = await http.post("/api/users/signin", json={"email": "nobody@souk.test", "password": "correct horse"})
    wrong = await http.post("/api/users/signin", json={"email": somebody.email, "password": "wrong horse"})
    assert problem(unknown, 401)["code"] == problem(wrong, 401)["code"] == "bad_credentials"
    assert unknown.json()["detail"] == wrong.json()["detail"]
