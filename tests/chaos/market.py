"""The items that people know, and what a seller does with them."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chaos.doors import GATES, ONLINE, Door, Gate, Phone
from tests.chaos.history import Json
from tests.chaos.people import TRIES, Person

MOST = 12
"""Items on sale at a time: few, so that buyers compete."""

EVENTS = 0.5
"""Share of items that are events."""

LOOKS = 8
PAUSE = 0.25
"""How often tickets is asked about an event that it does not know yet, and seconds between."""

EDITED = 3
"""Of how many items a seller edits one, the newest: people buy them."""

HOT = 0.5
"""Probability that a buyer wants the newest item, like everybody else."""


@dataclass
class Market:
    """Items on sale, oldest first."""

    hold_seconds: int
    offers: Sequence[int]
    items: list[str] = field(default_factory=list)
    crowd: Sequence[Person] = ()
    """Who may be given a ticket."""
    doors: dict[str, Door] = field(default_factory=dict)
    """Of each event."""
    first_prices: dict[str, int] = field(default_factory=dict)
    """What each item cost when somebody saw it first."""

    def choose(self, chance: random.Random) -> str | None:
        """Return the item that a buyer wants, or None if nothing is on sale."""
        if not self.items:
            return None
        return self.items[-1] if chance.random() < HOT else chance.choice(self.items)


class Seller:
    """Lists, edits, pauses and withdraws items, and refunds orders."""

    def __init__(self, person: Person, market: Market) -> None:
        self.person = person
        self._market = market
        self._own: list[Json] = []
        self._doors: dict[str, None] = {}

    async def act(self) -> None:
        """Do one thing that a seller does."""
        acts = {self._list: 5, self._edit: 4, self._pause: 1, self._withdraw: 1, self._refund: 4}
        if not self._own or len(self._market.items) < 3:
            acts = {self._list: 1}
        [act] = self.person.chance.choices(list(acts), list(acts.values()))
        await act()

    async def _list(self) -> None:
        chance = self.person.chance
        body = {
            "title": f"A seat, row {chance.randrange(1, 99)}",
            "description": "with a view",
            "price": chance.randrange(100, 9_999),
            "currency": chance.choice(("EUR", "USD", "JPY")),
            "quantity": chance.choice(self._market.offers),
        }
        if chance.random() < EVENTS:
            body |= {"kind": "event", "starts_at": "2030-05-01T18:00:00Z", "timezone": "UTC"}
        answer = await self.person.ask("list item", "POST", "/api/items", body=body)
        if answer.status == 201:
            self._own.append(dict(answer.body))
            if body.get("kind"):
                await self._open_door(answer.body["id"])
            self._market.items.append(answer.body["id"])
            del self._market.items[:-MOST]

    async def _edit(self) -> None:
        chance = self.person.chance
        item = chance.choice(self._own[-EDITED:])
        body: Json = chance.choice(
            (
                {"price": chance.randrange(100, 9_999)},
                {"price": item["price"] + 1},
                {"quantity": item["quantity"] + chance.randrange(1, 9)},
                {"quantity": max(1, item["quantity"] - 2)},
                {"title": f"A better seat, row {chance.randrange(1, 99)}"},
            )
        )
        path = f"/api/items/{item['id']}"
        answer = await self.person.insist("edit item", "PATCH", path, {"item_id": item["id"]}, body=body)
        if answer.status == 200:
            item.update(answer.body)

    async def _pause(self) -> None:
        """Pause an item, or resume one that is paused."""
        item = self.person.chance.choice(self._own)
        path = f"/api/items/{item['id']}/{'resume' if item['status'] == 'paused' else 'pause'}"
        answer = await self.person.insist("edit item", "POST", path, {"item_id": item["id"]})
        if answer.status == 200:
            item.update(answer.body)

    async def _withdraw(self) -> None:
        item = self._own.pop(self.person.chance.randrange(len(self._own)))
        path = f"/api/items/{item['id']}"
        answer = await self.person.insist("withdraw item", "DELETE", path, {"item_id": item["id"]})
        if answer.status == 200 and item["id"] in self._market.items and self.person.chance.random() < 0.8:
            self._market.items.remove(item["id"])

    async def _refund(self) -> None:
        sales = await self.person.ask("list sales", "GET", "/api/orders/sales", params={"limit": 50})
        if sales.status != 200:
            return
        paid = [order["id"] for order in sales.body["items"] if order["status"] == "paid"]
        if paid:
            order = self.person.chance.choice(paid)
            await self.person.insist("refund", "POST", f"/api/orders/{order}/refund", {"order_id": order})

    async def _open_door(self, item_id: str) -> None:
        """Make the gates of a new event. At the last ones there are phones that cannot ask."""
        door = Door()
        for name in GATES:
            for _ in range(LOOKS):
                body = {"item_id": item_id, "name": name}
                made = await self.person.ask("open gate", "POST", "/api/tickets/gates", body=body)
                if made.status == 201:
                    door.gates.append(Gate(item_id, name, made.body["token"]))
                    self._market.doors[item_id] = door
                    self._doors[item_id] = None
                    break
                await asyncio.sleep(PAUSE)
        door.phones = [Phone.at(gate, self.person.chance) for gate in door.gates[ONLINE - 1 :]]
        del door.gates[ONLINE:]

    async def look_at_doors(self) -> None:
        """See who was let in at each event, once all phones have sent what they did."""
        for item_id in self._doors:
            about, params = {"item_id": item_id}, {"item_id": item_id}
            for _ in range(TRIES):
                shown = await self.person.ask("show door", "GET", "/api/tickets/gates", about, params=params)
                if shown.known:
                    break
                await asyncio.sleep(PAUSE)
