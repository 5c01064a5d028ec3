"""What a buyer does: everything that the API allows with an order, in any sequence."""

import asyncio
import contextlib

from tests.chaos.history import Json, Operation
from tests.chaos.market import Market
from tests.chaos.people import NotSignedUp, Person
from tests.chaos.visiting import Visitor

CARDS = (
    *("pm_card_visa", "pm_card_slow", "pm_card_duplicate", "pm_card_lost", "pm_card_visa", "pm_card_late"),
    *("pm_card_capture_fails", "pm_bank", "pm_bank_late", "pm_card_refund_fails", "pm_card_disputed"),
)

VISITS = 0.9
"""Share of orders of an event after which the buyer wants to go there."""


class Buyer:
    """Places orders, then pays, cancels or forgets them."""

    def __init__(self, person: Person, market: Market) -> None:
        self.person = person
        self._market = market
        self._visitor = Visitor(person, market)

    async def act(self) -> None:
        """Look around, perhaps go to an event, place one order, and end it in one of the possible ways."""
        await self._look()
        await self._visitor.go()
        item = self._market.choose(self.person.chance)
        if item is None:
            return
        placed = await self._place(item)
        if placed.status != 201:
            return
        ends = {
            self._pay: 8,
            self._pay_twice: 2,
            self._decline_then_pay: 2,
            self._cancel: 2,
            self._pay_then_cancel: 2,
            self._cancel_while_paying: 2,
            self._pay_after_cancel: 1,
            self._forget: 2,
            self._hoard: 2,
            self._pay_at_the_end: 2,
        }
        [end] = self.person.chance.choices(list(ends), list(ends.values()))
        await end(placed.body)
        await self._show(placed.body["id"])
        if item in self._market.doors and self.person.chance.random() < VISITS:
            self._visitor.plan(placed.body["id"])

    async def _look(self) -> None:
        person, chance = self.person, self.person.chance
        match chance.randrange(6):
            case 0:
                await person.ask("search", "GET", "/api/items", params={"q": "seat", "limit": 10})
            case 1:
                await person.ask("list items", "GET", "/api/items", params={"limit": 50})
            case 2:
                await person.ask("list orders", "GET", "/api/orders", params={"limit": 100})
            case 3:
                await person.ask("list payments", "GET", "/api/payments", params={"limit": 50})
            case 4:
                await self._change_session()
            case _:
                await person.ask("who am i", "GET", "/api/users/currentuser")

    async def _change_session(self) -> None:
        """Sometimes sign out and in again, or sign up as a new user."""
        match self.person.chance.randrange(20):
            case 0 | 1:
                await self.person.sign_out_and_in()
            case 2:
                with contextlib.suppress(NotSignedUp):
                    await self.person.sign_up()

    async def _place(self, item: str) -> Operation:
        person = self.person
        body = {"item_id": item, "quantity": person.chance.choice((1, 1, 2, 3, 4)), **await self._expected(item)}
        if person.chance.random() < 0.2:
            return await person.ask("place", "POST", "/api/orders", body=body)
        key = person.new_key()
        answer = await person.insist("place", "POST", "/api/orders", body=body, key=key)
        if person.chance.random() < 0.2:
            await person.ask("place", "POST", "/api/orders", body=body, key=key)  # a person who reloads
        return answer

    async def _expected(self, item: str) -> Json:
        """The price on the page, which some buyers have had open since the first of all saw the item; or nothing."""
        person = self.person
        shown = await person.ask("show item", "GET", f"/api/items/{item}", {"item_id": item})
        if shown.status != 200 or person.chance.random() < 0.3:
            return {}
        first = self._market.first_prices.setdefault(item, shown.body["price"])
        return {"expected_unit_price": first if person.chance.random() < 0.6 else shown.body["price"]}

    async def _charge(self, order: Json, card: str, key: str = "") -> Operation:
        body = {"order_id": order["id"], "payment_method": card}
        return await self.person.insist("pay", "POST", "/api/payments", body=body, key=key or self.person.new_key())

    async def _pay(self, order: Json) -> None:
        key = self.person.new_key()
        card = self.person.chance.choice(CARDS)
        await self._charge(order, card, key)
        if self.person.chance.random() < 0.2:
            await self._charge(order, card, key)
        if self.person.chance.random() < 0.3:
            path = "/api/payments"
            await self.person.ask("list payments", "GET", path, params={"order_id": order["id"]})

    async def _pay_twice(self, order: Json) -> None:
        cards = self.person.chance.sample(CARDS, 2)
        await asyncio.gather(*(self._charge(order, card) for card in cards))

    async def _decline_then_pay(self, order: Json) -> None:
        await self._charge(order, "pm_card_declined")
        await self._pay(order)

    async def _cancel(self, order: Json) -> None:
        path = f"/api/orders/{order['id']}"
        await self.person.insist("cancel", "DELETE", path, {"order_id": order["id"]})

    async def _pay_then_cancel(self, order: Json) -> None:
        await self._pay(order)
        await self._cancel(order)

    async def _cancel_while_paying(self, order: Json) -> None:
        await asyncio.gather(self._pay(order), self._cancel(order))

    async def _pay_after_cancel(self, order: Json) -> None:
        await self._cancel(order)
        await self._pay(order)

    async def _forget(self, _: Json) -> None:
        """Do nothing: the hold runs out."""

    async def _hoard(self, order: Json) -> None:
        """Want more of the same than one buyer may hold, with several requests at once."""
        body = {"item_id": order["item_id"], "quantity": 2}
        keys = [self.person.new_key() for _ in range(6)]
        await asyncio.gather(*(self.person.insist("place", "POST", "/api/orders", body=body, key=key) for key in keys))

    async def _pay_at_the_end(self, order: Json) -> None:
        """Pay within a second of the end of the hold."""
        await asyncio.sleep(self._market.hold_seconds - self.person.chance.uniform(-0.2, 0.8))
        await self._pay(order)

    async def _show(self, order_id: str) -> None:
        await self.person.ask("show order", "GET", f"/api/orders/{order_id}", {"order_id": order_id})
        if self.person.chance.random() < 0.2:
            await self.person.ask("list orders", "GET", "/api/orders", params={"limit": 100})
