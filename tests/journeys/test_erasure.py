"""Somebody deletes their account: their name and address are nowhere any more, and what they bought and sold stays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from common.events import UserRegistered
from common.http.sessions import User
from infra.local.commands.running import run_as
from infra.local.commands.unname import unname
from infra.local.stack.stack import Stack
from tests.journeys.test_mail import mail, token_in
from tests.support.people import People, Person
from tests.support.shopping import Json, becomes, ok, order, pay, place, sell
from tests.support.stacks import events_of
from tests.support.traces import spellings, traces
from tests.support.waiting import eventually

NAME = "Þórbjörg Œster-Žižková"
FIRST_EMAIL = "thorbjoerg+souk@wohnung-7.souk.test"
EMAIL = "o'ester.zizkova@königgrätz-süd.souk.test"
FRIEND = "freyja+tickets@þingvellir-süd.souk.test"
PASSWORD = {"password": "correct horse"}
"""Of everybody."""


pytestmark = pytest.mark.servers


@dataclass
class Market:
    """A stack of its own, all that it said, and people."""

    stack: Stack
    said: list[str]
    people: People

    async def traces(self) -> list[str]:
        """Where the person's name or an address of theirs is."""
        return await traces(self.stack, self.said, NAME, FIRST_EMAIL, EMAIL, FRIEND)

    async def without_traces(self) -> None:
        """Wait until there is none."""

        async def gone() -> bool:
            return not await self.traces()

        try:
            await eventually(gone, 60, why="their name is forgotten")
        finally:
            assert await self.traces() == []


@pytest_asyncio.fixture
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    said: list[str] = []
    async with (
        Stack(tmp_path_factory.mktemp("erasure"), say=lambda name, line: said.append(f"{name}: {line}")) as stack,
        AsyncExitStack() as exits,
    ):
        yield Market(stack, said, People(stack, exits))


async def moved_in(market: Market) -> Person:
    """Somebody who has signed up, proved their address, and moved to another one."""
    http = await market.people.anybody()
    signed_up = await http.post(
        "/api/users/signup",
        json={"email": FIRST_EMAIL, "name": NAME, **PASSWORD},
        headers={"Accept-Language": "de", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0"},
    )
    user = User(**ok(signed_up, 201))
    token = token_in(await mail(http, FIRST_EMAIL, "Willkommen"))
    assert (await http.post("/api/users/verify-email", json={"token": token})).status_code == 204
    asked = await http.post("/api/users/email", json={**PASSWORD, "new_email": EMAIL})
    assert asked.status_code == 202
    token = token_in(await mail(http, EMAIL, "Bestätige deine"))
    assert (await http.post("/api/users/email/confirm", json={"token": token})).status_code == 204
    await mail(http, FIRST_EMAIL, "Deine Adresse")
    await http.post("/api/users/signin", json={"email": EMAIL, "password": "not this one"})
    await http.post("/api/users/password-reset", json={"email": EMAIL})
    ok(await http.post("/api/users/refresh"))
    return Person(user, http)


@pytest.mark.prove
async def test_who_deletes_their_account_is_forgotten_everywhere_and_their_orders_stay(market: Market) -> None:
    thora, sid, bea = await moved_in(market), await market.people.signed_up("Sid"), await market.people.signed_up("Bea")
    ola = await market.people.new("Ola", "operator")
    chair = await sell(sid, 9, title="A chair", price=4500)
    paid, held, paying = [(await place(thora, chair))["id"] for _ in range(3)]
    await pay(thora, paid)
    await becomes(thora, paid, "paid")
    lamp = await sell(thora, 5, title="A lamp", price=1000)
    await eventually(lambda: shows_seller(bea, lamp, NAME), why="the seller is named")
    sold, wanted = [(await place(bea, lamp))["id"] for _ in range(2)]
    await pay(bea, sold)
    await becomes(bea, sold, "paid")
    assert (await mail(thora.http, EMAIL, "Quittung"))["to"] == EMAIL
    await pay(thora, paying, "pm_bank")
    visit = await offered_ticket(thora, sid)
    gate = await gate_of_her_own(thora)

    # Until now they are where they are needed, and in no stream or file: so the search can find something.
    found = await market.traces()
    assert {
        "auth.users",
        "items.items",
        "items.sellers",
        "notifications.people",
        "orders.orders",
        "tickets.bookings",
    } <= set(found)
    keepers = ("auth.", "items.", "notifications.", "orders.", "tickets.")
    assert [place for place in found if not place.startswith(keepers)] == []
    async with events_of(market.stack) as events:
        await events.handled()
    hits = ok(await ola.http.get("/api/audit/search", params={"q": EMAIL}))["items"]
    assert {hit["id"] for hit in hits} == {paid, held, paying, visit, sold, wanted}

    taken_along = ok(await thora.http.get("/api/users/me/export"))
    assert (taken_along["account"]["name"], taken_along["account"]["email"]) == (NAME, EMAIL)
    assert {order["id"] for order in taken_along["orders"]} == {paid, held, paying, visit}
    assert {sale["id"] for sale in taken_along["sales"]} == {sold, wanted}
    assert {item["title"] for item in taken_along["items"]} == {"A lamp", "A reading"}
    assert [(one["name"], one["item_id"]) for one in taken_along["gates"]] == [("Garden", gate["item_id"])]
    assert {payment["order_id"] for payment in taken_along["payments"]} == {paid, paying, visit}
    assert {(mail["kind"], mail["to"]) for mail in taken_along["mails"]} >= {("email_changed", FIRST_EMAIL)}
    assert [session["device"] for session in taken_along["sessions"]] == ["Firefox, Linux"]
    assert {event["subject"] for event in taken_along["events"]} >= {"users.registered", "users.email_changed"}

    wrong = await thora.http.request("DELETE", "/api/users/me", json={"password": "wrong horse"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "bad_credentials")
    deleted = await thora.http.request("DELETE", "/api/users/me", json=PASSWORD)
    assert deleted.status_code == 204
    assert not thora.http.cookies
    await market.without_traces()

    assert await sale_becomes(sid, held, "cancelled") == {"status": "cancelled", "buyer_name": None}
    assert await sale_becomes(sid, paid, "paid") == {"status": "paid", "buyer_name": None}
    left = await eventually(lambda: withdrawn(bea, lamp), why="what they sell is withdrawn")
    assert (left["seller_name"], left["seller_id"]) == (None, thora.user.id)
    assert (await withdrawn(bea, gate["item_id"]) or {}).get("seller_name") is None
    sign = ok(await bea.http.post("/api/tickets/gates/sign", json={"gate": gate["token"]}))
    assert sign["name"] == "Garden", "whoever has paid for a place comes in"
    await pay(bea, wanted)  # A hold that somebody else had is kept.
    await becomes(bea, wanted, "paid")
    assert (await order(bea, sold))["status"] == "paid"
    assert ok(await ola.http.get("/api/audit/search", params={"q": EMAIL}))["items"] == []
    assert len(ok(await ola.http.get("/api/audit/search", params={"q": thora.user.id}))["items"]) == 6

    await sale_becomes(sid, paying, "paid", "cancelled")  # By when the bank's debit came: it ended under the id alone.

    assert await asyncio.to_thread(run_as, "auth", "auth.republish", stack=market.stack) == 0
    assert await asyncio.to_thread(run_as, "items", "items.projections", "items.sellers", stack=market.stack) == 0
    await market.without_traces()

    again = await thora.http.post("/api/users/signup", json={"email": EMAIL, "name": "Thora", **PASSWORD})
    assert ok(again, 201)["id"] != thora.user.id
    assert ok(await thora.http.get("/api/orders"))["items"] == []


@pytest.mark.prove
async def test_events_of_revisions_that_named_people_bring_nobody_back_and_are_unnamed(market: Market) -> None:
    thora = await moved_in(market)
    assert (await thora.http.request("DELETE", "/api/users/me", json=PASSWORD)).status_code == 204
    await market.without_traces()

    named = UserRegistered(user_id=thora.user.id, email=FIRST_EMAIL, name=NAME)
    async with events_of(market.stack) as events:
        await events.deliver(named)

    # Nobody but the log and the stream has it: this also shows that the search finds what is planted.
    found = {place for place in await market.traces() if not place.startswith("file nats/")}
    assert found == {"audit.events", "stream USERS"}
    assert await asyncio.to_thread(unname, market.stack) == 0
    await market.without_traces()


async def offered_ticket(holder: Person, seller: Person) -> str:
    """Buy a ticket and offer it to a friend; return the order. The mail has reached the friend."""
    concert = {"title": "A concert", "description": "", "price": 900, "currency": "EUR", "quantity": 2, "kind": "event"}
    begins = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    item = ok(await seller.http.post("/api/items", json={**concert, "starts_at": begins, "timezone": "UTC"}), 201)
    order_id = (await place(holder, item["id"]))["id"]
    await pay(holder, order_id)

    async def issued() -> list[Json]:
        found: list[Json] = (await holder.http.get("/api/tickets", params={"order_id": order_id})).json()
        return found

    [ticket] = await eventually(issued, why="the ticket is issued")
    ok(await holder.http.post(f"/api/tickets/{ticket['id']}/transfer", json={"email": FRIEND}))
    assert "A concert" in (await mail(holder.http, FRIEND, "Ein Ticket"))["text"]
    return str(order_id)


async def gate_of_her_own(seller: Person) -> Json:
    """Open a gate of a new event, which tickets may know a moment later."""
    reading = {"title": "A reading", "description": "", "price": 900, "currency": "EUR", "quantity": 2, "kind": "event"}
    begins = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    item = ok(await seller.http.post("/api/items", json={**reading, "starts_at": begins, "timezone": "UTC"}), 201)

    async def opened() -> Json | None:
        answer = await seller.http.post("/api/tickets/gates", json={"item_id": item["id"], "name": "Garden"})
        return dict(answer.json()) if answer.status_code == 201 else None

    return await eventually(opened, why="there is a gate")


async def shows_seller(anybody: Person, item_id: str, name: str) -> bool:
    """Whether an item shows this name of its seller."""
    return bool(ok(await anybody.http.get(f"/api/items/{item_id}"))["seller_name"] == name)


async def withdrawn(anybody: Person, item_id: str) -> Json | None:
    """An item, once it is off sale."""
    item = ok(await anybody.http.get(f"/api/items/{item_id}"))
    return item if item["status"] == "withdrawn" else None


async def sale_becomes(seller: Person, order_id: str, *statuses: str) -> Json:
    """Wait until a sale has one of these statuses; return it and the name of the buyer."""

    async def reached() -> Json | None:
        sales = ok(await seller.http.get("/api/orders/sales"))["items"]
        [sale] = [
            {"status": sale["status"], "buyer_name": sale["buyer_name"]} for sale in sales if sale["id"] == order_id
        ]
        return sale if sale["status"] in statuses else None

    return await eventually(reached, 30, why=f"the sale is {' or '.join(statuses)}")


@pytest.mark.parametrize("word", [NAME, EMAIL])
def test_a_word_is_found_however_it_is_spelled(word: str) -> None:
    """As JSON with escapes, in an address of a page, or inside base64."""
    assert len(spellings(word)) > 4
