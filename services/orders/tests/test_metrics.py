"""What orders tells Prometheus."""

import asyncio
from typing import TYPE_CHECKING

from orders.main import app
from orders.store import OrderStore
from tests.support.scraping import scraped

if TYPE_CHECKING:
    from services.orders.tests.conftest import World


async def test_holds_and_groups_of_the_desk_are_scraped(orders: "World") -> None:
    before = await scraped(orders.http)
    item = await orders.listed(quantity=9)
    await asyncio.gather(*(orders.placed(item, 3) for _ in range(2)))
    store: OrderStore = app.state.parts[OrderStore]
    await store.count_holds()

    after = await scraped(orders.http)
    assert (after["souk_holds"], after["souk_held_units"]) == (2, 6)
    commands = "souk_desk_group_commands_sum"
    assert after[commands] - before[commands] == 3, "an item was followed, and two orders placed"
